/* cmd/lab/cable.c - the loopback backend: hosts are addresses of 127/8, joined by TCP proxies in this process.
 *
 * A run owns 127.R/16: R is taken by binding the abstract socket "@qmt-lab-127.R", which the kernel gives back when the
 * process ends, so two runs side by side do not meet. Host n binds 127.R.0.n. Host a reaches host b at 127.R.a.b, where
 * a cable listens that knows both its ends; 127.R.255.b is for anybody (what a node advertises): there the kernel's
 * table of connections tells whose process dials. Each cable has the ports of CABLE_PORTS.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/lab/cable_internal.h"

static const uint16_t cable_ports[CABLE_PORTS] = {LAB_NODE_PORT, 8080};

static struct pair *pair_of(struct net *net, unsigned a, unsigned b)
{
	return a < b ? &net->pairs[a][b] : &net->pairs[b][a];
}

/* ---- whose process dials (for addresses that anybody may dial) --------------------------------------------------- */

static unsigned long inode_of(const struct sockaddr_in *peer)
{
	char want[32], line[512];
	unsigned long inode = 0;
	FILE *table = fopen("/proc/self/net/tcp", "re");

	snprintf(want, sizeof want, "%08X:%04X", peer->sin_addr.s_addr, ntohs(peer->sin_port));
	while (table && !inode && fgets(line, sizeof line, table)) {
		char local[32];
		unsigned long found;
		if (sscanf(line, " %*d: %31s %*s %*s %*s %*s %*s %*s %lu", local, &found) == 2 && strcmp(local, want) == 0)
			inode = found;
	}
	if (table)
		fclose(table);
	return inode;
}

static bool has_socket(pid_t pid, unsigned long inode)
{
	char path[64], want[64], link[64];
	bool found = false;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	snprintf(want, sizeof want, "socket:[%lu]", inode);
	DIR *dir = opendir(path);
	for (struct dirent *entry; dir && !found && (entry = readdir(dir));) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof link - 1);
		link[n > 0 ? n : 0] = '\0';
		found = strcmp(link, want) == 0;
	}
	if (dir)
		closedir(dir);
	return found;
}

static unsigned dialer(struct net *net, uv_tcp_t *tcp)
{
	struct sockaddr_storage room;
	int len = sizeof room;
	unsigned long inode = uv_tcp_getpeername(tcp, (struct sockaddr *)&room, &len) == 0
		? inode_of((const struct sockaddr_in *)(const void *)&room)
		: 0;

	for (const struct lab_process *process = net->player->processes; inode && process; process = process->next)
		if (!process->reaped && has_socket(process->child.pid, inode))
			return process->host->index;
	return 0;
}

/* ---- listening --------------------------------------------------------------------------------------------------- */

static void cable_text(const struct net *net, unsigned from, unsigned to, char room[20])
{
	snprintf(room, 20, "127.%u.%u.%u", net->range, from, to + net->moves[to] * HOSTS_MAX);
}

static void on_accept(uv_stream_t *server, int status)
{
	struct listener *listener = server->data;
	struct net *net = listener->net;
	struct connection *connection = status == 0 ? cable_connection_new(net) : NULL;
	struct sockaddr_in from, to;

	if (!connection)
		return;
	if (uv_accept(server, (uv_stream_t *)&connection->near) != 0) {
		cable_connection_close(connection, false);
		return;
	}
	unsigned source = listener->from == ANYBODY ? dialer(net, &connection->near) : listener->from;
	if (source && source != listener->to)
		connection->pair = pair_of(net, source, listener->to);
	if (connection->pair && connection->pair->fault.block == NET_CUT) {
		cable_connection_close(connection, true);
		return;
	}
	uv_tcp_nodelay(&connection->near, 1);
	uv_tcp_nodelay(&connection->far, 1);
	uv_ip4_addr(net->own[source ? source : listener->to], 0, &from);
	uv_ip4_addr(net->own[listener->to], listener->port, &to);
	if (uv_tcp_bind(&connection->far, (const struct sockaddr *)&from, 0) != 0 ||
		uv_tcp_connect(&connection->connecting, &connection->far, (const struct sockaddr *)&to, cable_connected) != 0)
		cable_connection_close(connection, true);
}

static void listener_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void listener_close(struct listener **listener)
{
	if (*listener)
		uv_close((uv_handle_t *)&(*listener)->tcp, listener_closed);
	*listener = NULL;
}

static int listener_open(struct net *net, unsigned from, unsigned to, unsigned port)
{
	struct listener *listener = calloc(1, sizeof *listener);
	struct sockaddr_in address;
	char text[20];
	int rc;

	if (!listener)
		return -ENOMEM;
	*listener = (struct listener){.net = net, .from = from, .to = to, .port = cable_ports[port]};
	cable_text(net, from, to, text);
	uv_ip4_addr(text, cable_ports[port], &address);
	uv_tcp_init(net->loop, &listener->tcp);
	listener->tcp.data = listener;
	rc = uv_tcp_bind(&listener->tcp, (const struct sockaddr *)&address, 0);
	if (rc == 0)
		rc = uv_listen((uv_stream_t *)&listener->tcp, 128, on_accept);
	net->listeners[from == ANYBODY ? 0 : from][to][port] = listener;
	if (rc != 0)
		listener_close(&net->listeners[from == ANYBODY ? 0 : from][to][port]);
	return rc;
}

/* The cable from one host to another is there unless it is cut. */
static int cable_show(struct net *net, unsigned from, unsigned to)
{
	bool want = from == ANYBODY || pair_of(net, from, to)->fault.block != NET_CUT;
	int rc = 0;

	for (unsigned port = 0; rc == 0 && port < CABLE_PORTS; port++) {
		struct listener **at = &net->listeners[from == ANYBODY ? 0 : from][to][port];
		if (!want)
			listener_close(at);
		else if (!*at)
			rc = listener_open(net, from, to, port);
	}
	return rc;
}

/* ---- the backend ------------------------------------------------------------------------------------------------- */

static int open_net(struct player *player, struct net **ret_net, struct qmt_err *err)
{
	struct net *net = calloc(1, sizeof *net);

	if (!net)
		return -ENOMEM;
	*net = (struct net){.player = player, .loop = &player->loop, .claim_fd = -1};
	for (unsigned tries = 0; tries < 250; tries++) {
		struct sockaddr_un name = {.sun_family = AF_UNIX};
		net->range = 1 + ((unsigned)getpid() + tries) % 250;
		int len = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "qmt-lab-127.%u", net->range);
		net->claim_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (net->claim_fd >= 0 &&
			bind(net->claim_fd, (const struct sockaddr *)&name,
				(socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) == 0) {
			*ret_net = net;
			return 0;
		}
		if (net->claim_fd >= 0)
			close(net->claim_fd);
	}
	free(net);
	return qmt_err_set(err, -EADDRINUSE, "no free range of loopback addresses (250 scenarios run already?)");
}

static int add_network(struct net *net, const char *name, const char *behind, struct qmt_err *err)
{
	(void)net, (void)name;
	return behind ? qmt_err_set(err, -ENOTSUP, "loopback has no NAT: it needs `backend netns`") : 0;
}

static int add_host(struct net *net, struct lab_host *host, struct qmt_err *err)
{
	unsigned me = host->index;
	int rc;

	if (me > HOSTS_MAX)
		return qmt_err_set(err, -E2BIG, "loopback has room for %d hosts", HOSTS_MAX);
	net->hosts[me] = host;
	snprintf(net->own[me], sizeof net->own[me], "127.%u.0.%u", net->range, me);
	rc = cable_show(net, ANYBODY, me);
	for (unsigned other = 1; rc == 0 && other < me; other++) {
		rc = cable_show(net, me, other);
		if (rc == 0)
			rc = cable_show(net, other, me);
	}
	return rc == 0 ? 0 : qmt_err_set(err, rc, "loopback: %s", uv_strerror(rc));
}

static const char *address(struct net *net, const struct lab_host *from, const struct lab_host *to)
{
	cable_text(net, from ? from->index : ANYBODY, to->index, net->text);
	return net->text;
}

static const char *own_address(struct net *net, const struct lab_host *host)
{
	return net->own[host->index];
}

static int enter(struct net *net, const struct lab_host *host)
{
	(void)net, (void)host;
	return 0;
}

static void leave(struct net *net)
{
	(void)net;
}

static struct net_fault *fault_of(struct net *net, struct lab_host *a, struct lab_host *b)
{
	return &pair_of(net, a->index, b->index)->fault;
}

static void apply(struct net *net, struct lab_host *a, struct lab_host *b)
{
	struct pair *pair = pair_of(net, a->index, b->index);

	if (cable_show(net, a->index, b->index) != 0 || cable_show(net, b->index, a->index) != 0)
		player_note(net->player, "the cable between %s and %s does not come back", a->name, b->name);
	if (pair->fault.block == NET_CUT)
		cable_connections_close(net, pair, false);
	for (struct connection *at = net->connections; at; at = at->next)
		for (int i = 0; at->pair == pair && i < 2 && !at->closing; i++)
			cable_lane_pump(&at->lanes[i]);
}

static void reset(struct net *net, struct lab_host *a, struct lab_host *b)
{
	cable_connections_close(net, pair_of(net, a->index, b->index), true);
}

static uint64_t bytes_of(struct net *net, const struct lab_host *a, const struct lab_host *b)
{
	return pair_of(net, a->index, b->index)->bytes;
}

static int move_host(struct net *net, struct lab_host *host, const char *network, struct qmt_err *err)
{
	unsigned me = host->index;
	int rc = 0;

	(void)network;
	if (net->moves[me] + 1 == MOVES_MAX)
		return qmt_err_set(err, -E2BIG, "on loopback a host moves at most %d times", MOVES_MAX - 1);
	for (unsigned from = 0; from <= HOSTS_MAX; from++)
		for (unsigned port = 0; port < CABLE_PORTS; port++)
			listener_close(&net->listeners[from][me][port]);
	for (struct connection *at = net->connections; at; at = at->next)
		for (unsigned other = 1; other <= HOSTS_MAX; other++)
			if (other != me && at->pair == pair_of(net, me, other))
				cable_connection_close(at, true);
	net->moves[me]++;
	rc = cable_show(net, ANYBODY, me);
	for (unsigned other = 1; rc == 0 && other <= HOSTS_MAX; other++)
		if (other != me && net->hosts[other])
			rc = cable_show(net, other, me);
	return rc == 0 ? 0 : qmt_err_set(err, rc, "loopback: %s", uv_strerror(rc));
}

static void heal_all(struct net *net)
{
	for (unsigned a = 1; a <= HOSTS_MAX; a++)
		for (unsigned b = a + 1; b <= HOSTS_MAX; b++)
			if (net->hosts[a] && net->hosts[b]) {
				net->pairs[a][b].fault = (struct net_fault){0};
				apply(net, net->hosts[a], net->hosts[b]);
			}
}

static void close_net(struct net *net)
{
	if (!net)
		return;
	for (unsigned a = 0; a <= HOSTS_MAX; a++)
		for (unsigned b = 0; b <= HOSTS_MAX; b++)
			for (unsigned port = 0; port < CABLE_PORTS; port++)
				listener_close(&net->listeners[a][b][port]);
	for (struct connection *at = net->connections; at; at = at->next)
		cable_connection_close(at, true);
	while (net->connections)
		uv_run(net->loop, UV_RUN_NOWAIT);
	uv_run(net->loop, UV_RUN_NOWAIT); /* listeners give their memory back */
	close(net->claim_fd);
	free(net);
}

const struct net_ops cable_ops = {
	.open = open_net,
	.network = add_network,
	.host = add_host,
	.address = address,
	.own_address = own_address,
	.enter = enter,
	.leave = leave,
	.fault = fault_of,
	.apply = apply,
	.reset = reset,
	.bytes = bytes_of,
	.move = move_host,
	.heal_all = heal_all,
	.close = close_net,
};
