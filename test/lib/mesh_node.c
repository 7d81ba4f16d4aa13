/* test/lib/mesh_node.c - see mesh_node.h. */
#include "mesh_node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/base/os.h"
#include "runtime/names.h"

/* ---- a store that only knows pins -------------------------------------------------------------------------------- */

enum { PINS = 8, POLICIES = 8 };

struct pins {
	struct {
		char name[32], id[PEER_ID_TEXT + 1];
	} pin[PINS];
	struct {
		char id[PEER_ID_TEXT + 1], policy[8], name[32];
	} policy[POLICIES];
};

static int find_pin(struct pins *pins, struct qmt_str name)
{
	for (int i = 0; i < PINS; i++)
		if (pins->pin[i].name[0] && qmt_str_is(name, pins->pin[i].name))
			return i;
	return -1;
}

static void on_pin_get(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct store_pin_get *msg = body;
	struct pins *pins = state;
	int i = find_pin(pins, msg->name);

	QMT_REPLY(ctx, qmt_token(ctx), store_pin, .name = msg->name, .peer_id = qmt_str(i < 0 ? NULL : pins->pin[i].id));
}

static void on_pin_put(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct store_pin_put *msg = body;
	struct pins *pins = state;
	int i = find_pin(pins, msg->name);

	for (int free_one = 0; i < 0 && free_one < PINS; free_one++)
		if (!pins->pin[free_one].name[0])
			i = free_one;
	(void)snprintf(pins->pin[i].name, sizeof(pins->pin[i].name), "%.*s", QMT_STR_ARG(msg->name));
	(void)snprintf(pins->pin[i].id, sizeof(pins->pin[i].id), "%.*s", QMT_STR_ARG(msg->peer_id));
	QMT_REPLY(ctx, qmt_token(ctx), store_done, );
}

static void on_pin_forget(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct store_pin_forget *msg = body;
	struct pins *pins = state;
	int i = find_pin(pins, msg->name);

	if (i < 0) {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NOT_FOUND, NULL, 0, "nothing is pinned under that name");
		return;
	}
	pins->pin[i].name[0] = '\0';
	QMT_REPLY(ctx, qmt_token(ctx), store_done, );
}

static int find_policy(struct pins *pins, struct qmt_str id)
{
	for (int i = 0; i < POLICIES; i++)
		if (pins->policy[i].id[0] && qmt_str_is(id, pins->policy[i].id))
			return i;
	return -1;
}

static void on_policy_put(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct store_policy_put *msg = body;
	struct pins *pins = state;
	int i = find_policy(pins, msg->peer_id);

	for (int free_one = 0; i < 0 && free_one < POLICIES; free_one++)
		if (!pins->policy[free_one].id[0])
			i = free_one;
	qmt_text(pins->policy[i].id, sizeof(pins->policy[i].id), "%.*s", QMT_STR_ARG(msg->peer_id));
	qmt_text(pins->policy[i].policy, sizeof(pins->policy[i].policy), "%.*s", QMT_STR_ARG(msg->policy));
	if (msg->name.len)
		qmt_text(pins->policy[i].name, sizeof(pins->policy[i].name), "%.*s", QMT_STR_ARG(msg->name));
	QMT_REPLY(ctx, qmt_token(ctx), store_done, );
}

static void on_policy_forget(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct store_policy_forget *msg = body;
	struct pins *pins = state;
	int i = find_policy(pins, msg->peer_id);

	if (i < 0) {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NOT_FOUND, NULL, 0, "neither allowed nor blocked");
		return;
	}
	memset(&pins->policy[i], 0, sizeof(pins->policy[i]));
	QMT_REPLY(ctx, qmt_token(ctx), store_done, );
}

static void on_policy_list(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct pins *pins = state;
	struct store_policy rows[POLICIES];
	uint32_t count = 0;

	(void)body;
	for (int i = 0; i < POLICIES; i++)
		if (pins->policy[i].id[0])
			rows[count++] = (struct store_policy){.peer_id = qmt_str(pins->policy[i].id),
				.policy = qmt_str(pins->policy[i].policy),
				.name = qmt_str(pins->policy[i].name)};
	QMT_REPLY(ctx, qmt_token(ctx), store_policies, .policies = {rows, count});
}

static void on_audit_add(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx, (void)state, (void)body; /* test/cli looks at real ones */
}

static qmt_handler *const pin_handlers[store_message_count] = {
	[store_pin_get_id] = on_pin_get,
	[store_pin_put_id] = on_pin_put,
	[store_pin_forget_id] = on_pin_forget,
	[store_policy_put_id] = on_policy_put,
	[store_policy_forget_id] = on_policy_forget,
	[store_policy_list_id] = on_policy_list,
	[store_audit_add_id] = on_audit_add,
};

const struct qmt_actor_desc mesh_store_desc = {
	.abi = QMT_ABI,
	.name = "pins",
	.state_size = sizeof(struct pins),
	.accepts = {{&store_protocol, pin_handlers}},
};

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

void mesh_node_init(struct mesh_node *node, const char *name, struct loop_hub *hub, uint16_t port)
{
	*node = (struct mesh_node){.log_fd = -1, .workers = 2};
	assert_int_equal(identity_crypto_init(), 0);
	identity_generate(&node->identity);
	(void)snprintf(node->name, sizeof(node->name), "%s", name);
	node->listen = (struct multiaddr){.host_kind = MULTIADDR_IP4, .transport = MULTIADDR_TCP, .port = port};
	(void)snprintf(node->listen.host, sizeof(node->listen.host), "127.0.0.1");
	transports_limits_default(&node->config.limits);
	node->config.limits.redial_min_ms = 10;
	node->config.limits.redial_max_ms = 100;
	node->config.loop = hub;
	peer_id_text(&node->identity.id, node->id);
	node->port = port;
	if (getenv("MESH_LOG"))
		node->log_fd = STDERR_FILENO;
}

void mesh_node_dials(struct mesh_node *node, const char *name, uint16_t port, const struct peer_id *id)
{
	struct transports_peer *peer = &node->peers[node->config.peer_count++];

	*peer = (struct transports_peer){.name = name, .addr = node->listen};
	peer->addr.port = port;
	peer->addr.has_peer = id != NULL;
	if (id)
		peer->addr.peer = *id;
}

void mesh_node_start(struct mesh_node *node)
{
	struct qmt_err err = {0};
	struct qmt_system_options opt = {.workers = node->workers};
	struct multiaddr listening;

	if (node->log_fd >= 0) {
		node->log = qmt_log_new(node->log_fd, "debug", qmt_os_real_wall_ms, NULL, &err);
		assert_non_null(node->log);
	}
	opt.log = node->log;
	node->system = qmt_system_start(&opt, &err);
	assert_non_null(node->system);
	node->ctx = qmt_outside_open(node->system);
	assert_non_null(node->ctx);
	if (node->with_admission) {
		node->real_store = (struct store_config){.path = node->store_path[0] ? node->store_path : ":memory:"};
		node->admission.identity = &node->identity;
		node->admission.mesh = true;
		assert_int_equal(qmt_spawn(node->ctx, &store_desc,
							 &(struct qmt_spawn){
								 .name = "store",
								 .config = &node->real_store,
								 .restart = QMT_PERMANENT,
								 .own_thread = true},
							 &node->store, &err),
			0);
		assert_int_equal(qmt_spawn(node->ctx, &admission_desc,
							 &(struct qmt_spawn){
								 .name = "admission", .config = &node->admission, .restart = QMT_PERMANENT},
							 &node->admission_ref, &err),
			0);
	} else if (!node->no_store) {
		assert_int_equal(qmt_spawn(node->ctx, node->store_desc ? node->store_desc : &mesh_store_desc,
							 &(struct qmt_spawn){.name = "store", .config = node->store_config}, &node->store, &err),
			0);
	}
	assert_int_equal(qmt_spawn(node->ctx, &probe_desc, &(struct qmt_spawn){.name = "probe"}, &node->probe, &err), 0);
	if (node->names) {
		static const struct qmt_param_value short_times[] = {
			{"resync_ms", "20"}, {"peer_names_max", "200"}, {NULL, NULL}};
		struct qmt_ref names;

		assert_int_equal(qmt_spawn(node->ctx, &qmt_names_desc,
							 &(struct qmt_spawn){.name = "names", .params = short_times, .restart = QMT_PERMANENT},
							 &names, &err),
			0);
	}
	node->config.identity = &node->identity;
	node->config.node_name = node->name;
	node->config.listen = &node->listen;
	node->config.listen_count = 1;
	node->config.peers = node->peers;
	node->config.control_path = node->control[0] ? node->control : NULL;
	if (transports_start(node->ctx, &node->config, &node->transports, &err))
		fail_msg("%s", err.text);
	assert_true(transports_listening(node->transports, 0, &listening));
	node->port = node->listen.port = listening.port;
}

void mesh_node_stop(struct mesh_node *node)
{
	struct qmt_err err = {0};

	if (!node->system)
		return;
	node->ctx = qmt_outside_close(node->ctx);
	if (qmt_system_stop(node->system, 10000, &err))
		fail_msg("%s: %s", node->name, err.text);
	node->system = qmt_system_free(node->system);
	err = (struct qmt_err){0};
	node->transports = transports_free(node->transports, 5000, &err);
	assert_string_equal(err.text, "");
	node->log = qmt_log_free(node->log);
}

int mesh_ask(
	struct mesh_node *node, struct qmt_ref to, const struct qmt_type *type, const void *body, struct qmt_result *result)
{
	return qmt_outside_ask(node->ctx, to, type, body, MESH_WAIT_MS, result);
}

void mesh_until(bool (*fn)(void *arg), void *arg, const char *what)
{
	uint64_t deadline = qmt_os_real_now_ms() + MESH_WAIT_MS;

	while (!fn(arg)) {
		if (qmt_os_real_now_ms() > deadline)
			fail_msg("waited in vain for: %s", what);
		(void)poll(NULL, 0, 2); /* polls: any condition; deadline above */
	}
}

const struct peers_list_reply *mesh_peers(struct mesh_node *node)
{
	struct qmt_ref peers;
	struct qmt_result result;

	if (qmt_lookup(node->ctx, "peers", &peers) ||
		mesh_ask(node, peers, &peers_list_type, &(struct peers_list){}, &result))
		return NULL;
	return result.body;
}

struct waiting {
	struct mesh_node *node;
	const char *id;
	bool connected;
};

static bool peer_is(void *arg)
{
	struct waiting *waiting = arg;
	const struct peers_list_reply *list = mesh_peers(waiting->node);
	bool connected = false;

	for (uint32_t i = 0; list && i < list->peers.count; i++)
		if (qmt_str_is(list->peers.items[i].peer_id, waiting->id) &&
			qmt_str_is(list->peers.items[i].state, "connected"))
			connected = true;
	return list && connected == waiting->connected;
}

void mesh_wait_peer(struct mesh_node *node, const char *peer_id, bool connected)
{
	struct waiting waiting = {node, peer_id, connected};

	mesh_until(peer_is, &waiting, connected ? "peer is connected" : "peer is gone");
}

static void count_link(const struct qmt_actor_info *info, void *arg)
{
	uint32_t *count = arg;

	*count += strcmp(info->kind, "link") == 0;
}

uint32_t mesh_links(struct mesh_node *node)
{
	uint32_t count = 0;

	qmt_system_actors(node->system, count_link, &count);
	return count;
}

struct probe_totals mesh_totals(struct mesh_node *node)
{
	struct qmt_result result;

	assert_int_equal(mesh_ask(node, node->probe, &probe_total_type, &(struct probe_total){}, &result), 0);
	return *(const struct probe_totals *)result.body;
}

/* Not where the kernel takes the ports of outgoing connections from (32768 on): a dial, ours or of another process, may
 * have it before the node listens. Nor one after the other: tests run side by side. */
uint16_t mesh_free_port(void)
{
	static uint64_t calls;
	enum { FIRST = 10000, COUNT = 22000 };

	for (int tries = 0; tries < COUNT; tries++) {
		uint64_t mixed = ((uint64_t)getpid() << 32 | ++calls) * UINT64_C(0x9e3779b97f4a7c15);
		uint16_t port = (uint16_t)(FIRST + (mixed >> 32) % COUNT);
		struct sockaddr_in addr = {
			.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		int rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&addr, sizeof(addr));

		assert_true(fd >= 0);
		close(fd);
		if (rc == 0)
			return port;
	}
	fail_msg("no free port");
	return 0;
}
