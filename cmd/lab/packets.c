/* cmd/lab/packets.c - the backend netns: each host a network namespace, and this process the wires between them.
 *
 *     host ns      [eth0: TAP] --fd--+                      +--fd-- [wan: TAP]  router ns  [lan: TAP] --fd--+
 *     host ns      [eth0: TAP] --fd--+-- switch: "public" --+                                               |
 *                                                            host behind NAT ns [eth0: TAP] --fd-- switch: "home"
 *
 * Who meets whom: two hosts on one network meet there. Of others, each side is met on "public": a host there, or the
 * router that it is behind. So all hosts behind one router share its faults with one outside, and when a host moves
 * to the other side of a router, other faults hold for it: they belong to the wire between two ports.
 * Numbers: "public" is 198.51.100.0/24 (TEST-NET-2), the Kth network 10.K.0.0/24, or 192.168.K.0/24 behind a router.
 * An address is never given out again, so a host that moves has a new one even in the same network.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <unistd.h>

#include "cmd/lab/nat.h"
#include "cmd/lab/net.h"
#include "cmd/lab/packets_ns.h"
#include "cmd/lab/switch.h"

enum { NETWORKS = 250, FIRST_HOST = 2, LAST_HOST = 254, ROUTER_HOST = 1 };

struct member {
	int ns; /* -1: none yet */
	struct switch_port *port;
	struct network *network;
	char address[INET_ADDRSTRLEN];
};

struct network {
	char *name;
	unsigned number;      /* segment of the switch */
	uint32_t base;        /* host byte order */
	uint32_t next;        /* host number that is given out next */
	bool routed;          /* behind `router` */
	struct member router; /* on public */
	struct switch_port *inside;
};

struct net {
	int home;
	struct net_switch *net_switch;
	struct network *networks[NETWORKS]; /* [0]: public */
	unsigned network_count;
	struct member **members; /* hosts; owned */
	unsigned member_count;
	unsigned taps; /* made so far: MACs */
};

/* ---- members and their interfaces -------------------------------------------------------------------------------- */

static const struct member *member_of(const struct lab_host *host)
{
	return host->net;
}

static struct in_addr in(uint32_t address)
{
	return (struct in_addr){htonl(address)};
}

static int address_take(struct network *network, uint32_t *ret_address, struct qmt_err *err)
{
	if (network->next > LAST_HOST)
		return qmt_err_set(err, -ENOSPC, "network %s: all of its %d addresses were given out", network->name,
			LAST_HOST - FIRST_HOST + 1);
	*ret_address = network->base + network->next++;
	return 0;
}

/* Makes the interface in the namespace that the thread is in, and plugs it in. */
static int interface_open(struct net *net, const char *name, struct switch_port *port, const struct network *network,
	uint32_t address, struct qmt_err *err)
{
	unsigned n = ++net->taps;
	const uint8_t mac[6] = {2, 0, 0, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n}; /* 2: locally administered */
	int fd, rc = ns_tap(name, mac, in(address), &fd, err);

	if (rc != 0)
		return rc;
	rc = switch_plug(port, network->number, mac, fd);
	if (rc != 0) {
		close(fd);
		return qmt_err_set(err, rc, "interface %s: %s", name, strerror(-rc));
	}
	return 0;
}

/* Multicast has a way out on every host (224.0.0.0/4), all else only behind a router. */
static int routes_open(const struct network *network, struct qmt_err *err)
{
	int rc = ns_route("eth0", in(0xe0000000), in(0xf0000000), in(0), err);

	return rc == 0 && network->routed ? ns_route("eth0", in(0), in(0), in(network->base + ROUTER_HOST), err) : rc;
}

static int eth0_open(struct net *net, struct member *member, struct network *network, struct qmt_err *err)
{
	uint32_t address = 0;
	int rc = address_take(network, &address, err);

	if (rc == 0)
		rc = ns_enter(member->ns);
	if (rc != 0)
		return rc;
	switch_unplug(member->port); /* its TAP is gone with it, and the name is free */
	rc = interface_open(net, "eth0", member->port, network, address, err);
	if (rc == 0)
		rc = routes_open(network, err);
	ns_leave(net->home);
	if (rc != 0)
		return rc;
	member->network = network;
	inet_ntop(AF_INET, &(struct in_addr){htonl(address)}, member->address, sizeof member->address);
	return 0;
}

static void member_close(struct member *member)
{
	if (member->ns >= 0)
		close(member->ns);
	member->ns = -1;
}

/* ---- networks and routers ---------------------------------------------------------------------------------------- */

static struct network *network_find(struct net *net, const char *name)
{
	for (unsigned i = 0; i < net->network_count; i++)
		if (strcmp(net->networks[i]->name, name) == 0)
			return net->networks[i];
	return NULL;
}

static int router_set_up(struct net *net, struct network *network, const char *kind, struct qmt_err *err)
{
	struct network *public = net->networks[0];
	uint32_t address = 0;
	int rc = address_take(public, &address, err);

	if (rc == 0)
		rc = interface_open(net, NAT_INSIDE, network->inside, network, network->base + ROUTER_HOST, err);
	if (rc == 0)
		rc = interface_open(net, NAT_OUTSIDE, network->router.port, public, address, err);
	if (rc == 0)
		rc = nat_set_up(kind, err);
	if (rc == 0)
		rc = ns_sysctl("ipv4/ip_forward", "1", err); /* last: nothing passes without the filter */
	if (rc != 0)
		return rc;
	network->router.network = public;
	inet_ntop(AF_INET, &(struct in_addr){htonl(address)}, network->router.address, sizeof network->router.address);
	return 0;
}

static int router_open(struct net *net, struct network *network, const char *kind, struct qmt_err *err)
{
	int rc;

	if (!nat_is_kind(kind))
		return qmt_err_set(err, -EINVAL, "behind=%s: no such NAT (cone, symmetric, full, noudp)", kind);
	network->inside = switch_port_new(net->net_switch);
	network->router.port = switch_port_new(net->net_switch);
	if (!network->inside || !network->router.port)
		return -ENOMEM;
	rc = ns_new(net->home, &network->router.ns, err);
	if (rc == 0)
		rc = ns_enter(network->router.ns);
	if (rc != 0)
		return rc;
	rc = router_set_up(net, network, kind, err);
	ns_leave(net->home);
	return rc;
}

static void network_free(struct network *network)
{
	if (!network)
		return;
	if (network->inside)
		switch_unplug(network->inside);
	if (network->router.port)
		switch_unplug(network->router.port);
	member_close(&network->router);
	free(network->name);
	free(network);
}

static int packets_network(struct net *net, const char *name, const char *behind, struct qmt_err *err)
{
	unsigned number = net->network_count;
	struct network *network = network_find(net, name);
	int rc = 0;

	if (network && !network->routed && !behind)
		return 0; /* "public" and "lan" are there in any case */
	if (network)
		return qmt_err_set(err, -EEXIST, "network %s: there is one of this name already", name);
	if (number == NETWORKS)
		return qmt_err_set(err, -ENOSPC, "network %s: %d networks are the most", name, NETWORKS);
	network = calloc(1, sizeof *network);
	if (!network)
		return -ENOMEM;
	*network = (struct network){.name = strdup(name), .number = number, .next = FIRST_HOST, .routed = behind != NULL};
	network->router.ns = -1;
	network->base = number == 0 ? 0xc6336400 : behind ? 0xc0a80000 | number << 8 : 0x0a000000 | number << 16;
	if (!network->name)
		rc = -ENOMEM;
	else if (behind)
		rc = router_open(net, network, behind, err);
	if (rc != 0) {
		network_free(network);
		return rc;
	}
	net->networks[net->network_count++] = network;
	return 0;
}

/* ---- hosts ------------------------------------------------------------------------------------------------------- */

static int network_named(struct net *net, const char *name, struct network **ret_network, struct qmt_err *err)
{
	struct network *network = network_find(net, name);

	if (!network)
		return qmt_err_set(err, -ENOENT, "there is no network %s (declare it: network %s)", name, name);
	*ret_network = network;
	return 0;
}

static struct member *member_new(struct net *net)
{
	struct member **members = realloc(net->members, (net->member_count + 1) * sizeof *members);
	struct member *member = calloc(1, sizeof *member);

	if (members)
		net->members = members;
	if (!members || !member) {
		free(member);
		return NULL;
	}
	member->ns = -1;
	members[net->member_count++] = member;
	return member;
}

static int packets_host(struct net *net, struct lab_host *host, struct qmt_err *err)
{
	struct network *network = NULL;
	struct member *member;
	int rc = network_named(net, host->network, &network, err);

	if (rc != 0)
		return rc;
	member = member_new(net); /* freed by close, whatever becomes of the rest */
	if (!member)
		return -ENOMEM;
	member->port = switch_port_new(net->net_switch);
	if (!member->port)
		return -ENOMEM;
	rc = ns_new(net->home, &member->ns, err);
	if (rc == 0)
		rc = eth0_open(net, member, network, err);
	if (rc != 0)
		return qmt_err_prefix(err, "host %s", host->name);
	host->net = member;
	return 0;
}

static int packets_move(struct net *net, struct lab_host *host, const char *network_name, struct qmt_err *err)
{
	struct network *network = NULL;
	int rc = network_named(net, network_name, &network, err);

	if (rc == 0)
		rc = eth0_open(net, host->net, network, err);
	if (rc != 0)
		return qmt_err_prefix(err, "move %s", host->name);
	host->network = network->name;
	return 0;
}

static const char *packets_own_address(struct net *net, const struct lab_host *host)
{
	(void)net;
	return member_of(host)->address;
}

static const char *packets_address(struct net *net, const struct lab_host *from, const struct lab_host *to)
{
	const struct member *member = member_of(to);

	if (member->network->routed && (!from || member_of(from)->network != member->network))
		return member->network->router.address;
	return packets_own_address(net, to);
}

static int packets_enter(struct net *net, const struct lab_host *host)
{
	(void)net;
	return ns_enter(member_of(host)->ns);
}

static void packets_leave(struct net *net)
{
	ns_leave(net->home);
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

/* Where the host is met on "public". NULL: nowhere. */
static struct switch_port *outside_of(const struct net *net, const struct member *member)
{
	if (member->network->routed)
		return member->network->router.port;
	return member->network == net->networks[0] ? member->port : NULL;
}

static bool ports_of(
	const struct net *net, const struct lab_host *a, const struct lab_host *b, struct switch_port *ret_ports[2])
{
	const struct member *first = member_of(a), *second = member_of(b);
	bool together = first->network == second->network;

	ret_ports[0] = together ? first->port : outside_of(net, first);
	ret_ports[1] = together ? second->port : outside_of(net, second);
	return ret_ports[0] && ret_ports[1];
}

static struct net_fault *packets_fault(struct net *net, struct lab_host *a, struct lab_host *b)
{
	struct switch_port *ports[2];

	return ports_of(net, a, b, ports) ? switch_fault(ports[0], ports[1]) : NULL;
}

static void packets_apply(struct net *net, struct lab_host *a, struct lab_host *b)
{
	struct switch_port *ports[2];

	if (ports_of(net, a, b, ports))
		switch_apply(ports[0], ports[1]);
}

static void packets_reset(struct net *net, struct lab_host *a, struct lab_host *b)
{
	struct switch_port *ports[2];

	if (ports_of(net, a, b, ports))
		switch_reset(ports[0], ports[1]);
}

static uint64_t packets_bytes(struct net *net, const struct lab_host *a, const struct lab_host *b)
{
	struct switch_port *ports[2];

	return ports_of(net, a, b, ports) ? switch_bytes(ports[0], ports[1]) : 0;
}

static void packets_heal_all(struct net *net)
{
	switch_heal_all(net->net_switch);
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static void on_changed(void *player)
{
	player_changed(player);
}

static void packets_close(struct net *net)
{
	if (!net)
		return;
	for (unsigned i = 0; i < net->network_count; i++)
		network_free(net->networks[i]);
	for (unsigned i = 0; i < net->member_count; i++) {
		member_close(net->members[i]);
		free(net->members[i]);
	}
	free(net->members);
	switch_close(net->net_switch);
	if (net->home >= 0)
		close(net->home);
	free(net);
}

static int packets_open(struct player *player, struct net **ret_net, struct qmt_err *err)
{
	struct net *net = calloc(1, sizeof *net);
	int rc;

	if (!net)
		return -ENOMEM;
	net->home = -1;
	net->net_switch = switch_new(&player->loop, player->random, on_changed, player);
	rc = net->net_switch ? ns_home(&net->home, err) : -ENOMEM;
	if (rc == 0)
		rc = packets_network(net, "public", NULL, err);
	if (rc != 0) {
		packets_close(net);
		return rc;
	}
	*ret_net = net;
	return 0;
}

const struct net_ops packets_ops = {
	.open = packets_open,
	.network = packets_network,
	.host = packets_host,
	.address = packets_address,
	.own_address = packets_own_address,
	.enter = packets_enter,
	.leave = packets_leave,
	.fault = packets_fault,
	.apply = packets_apply,
	.reset = packets_reset,
	.bytes = packets_bytes,
	.move = packets_move,
	.heal_all = packets_heal_all,
	.close = packets_close,
};
