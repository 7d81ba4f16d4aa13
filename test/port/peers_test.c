/* test/port/peers_test.c - the actor "peers": up and down, names of hosts, listen addresses; refs that lie behind
 * two links. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <unistd.h>

#include "runtime/base/os.h"
#include "test/lib/mesh_node.h"
#include "test/lib/tcp_proxy.h"
#include "transports/control_client.h"

/* ---- a watcher --------------------------------------------------------------------------------------------------- */

#define WATCH_SEEN(F, T)                \
	F(T, U64, ups, 1, "up events.")     \
	F(T, U64, downs, 2, "down events.") \
	F(T, STR, last, 3, "PeerId of the last one.")
#define WATCH_MESSAGES(M)                                          \
	M(watch, what, QMT_NO_FIELDS, "local", "What was seen.", seen) \
	M(watch, seen, WATCH_SEEN, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(watch, WATCH_MESSAGES)
QMT_DEFINE_PROTOCOL(watch, WATCH_MESSAGES, "Counts up and down.")

struct watch_state {
	uint64_t ups, downs;
	char last[64];
};

static void on_event(struct watch_state *state, const struct peers_info *info, bool up)
{
	state->ups += up;
	state->downs += !up;
	(void)snprintf(state->last, sizeof(state->last), "%.*s", QMT_STR_ARG(info->peer_id));
}

static void on_up(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	on_event(state, &((const struct peers_up *)body)->peer, true);
}

static void on_down(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	on_event(state, &((const struct peers_down *)body)->peer, false);
}

static void on_what(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct watch_state *watch = state;

	(void)body;
	QMT_REPLY(ctx, qmt_token(ctx), watch_seen, .ups = watch->ups, .downs = watch->downs, .last = qmt_str(watch->last));
}

static qmt_handler *const peers_handlers[peers_message_count] = {[peers_up_id] = on_up, [peers_down_id] = on_down};
static qmt_handler *const watch_handlers[watch_message_count] = {[watch_what_id] = on_what};
static const struct qmt_actor_desc watch_desc = {
	.abi = QMT_ABI,
	.name = "watch",
	.state_size = sizeof(struct watch_state),
	.accepts = {{&watch_protocol, watch_handlers}, {&peers_protocol, peers_handlers}},
};

struct expected {
	struct mesh_node *node;
	struct qmt_ref watch;
	uint64_t ups, downs;
};

static bool seen(void *arg)
{
	struct expected *expected = arg;
	struct qmt_result result;

	assert_int_equal(MESH_ASK(expected->node, expected->watch, &result, watch_what, ), 0);
	return ((const struct watch_seen *)result.body)->ups == expected->ups &&
		((const struct watch_seen *)result.body)->downs == expected->downs;
}

/* A subscriber hears of each link that is in use, also of those that were there before, and of each end; once each. */
static void subscribers_hear(void **state)
{
	struct mesh_node a, b;
	struct qmt_ref watch, peers;
	struct qmt_result result;
	struct qmt_err err = {0};

	(void)state;
	mesh_node_init(&a, "a", NULL, 0);
	mesh_node_init(&b, "b", NULL, 0);
	mesh_node_start(&b);
	mesh_node_dials(&a, "b", b.port, NULL);
	mesh_node_start(&a);
	mesh_wait_peer(&a, b.id, true);
	assert_int_equal(qmt_spawn(a.ctx, &watch_desc, NULL, &watch, &err), 0);
	assert_int_equal(qmt_lookup(a.ctx, "peers", &peers), 0);
	assert_int_equal(MESH_ASK(&a, peers, &result, peers_subscribe, .watcher = watch), 0);
	mesh_until(seen, &(struct expected){&a, watch, 1, 0}, "up of what was there");
	for (uint64_t i = 1; i <= 3; i++) {
		mesh_node_stop(&b);
		mesh_until(seen, &(struct expected){&a, watch, i, i}, "down");
		mesh_node_start(&b);
		mesh_until(seen, &(struct expected){&a, watch, i + 1, i}, "up");
	}
	assert_int_equal(MESH_ASK(&a, peers, &result, peers_subscribe, ), QMT_FAIL_BAD_REQUEST);
	/* a subscriber that ends is forgotten */
	assert_int_equal(qmt_stop(a.ctx, watch), 0);
	mesh_node_stop(&b);
	mesh_wait_peer(&a, b.id, false);
	mesh_node_stop(&a);
}

/* A peer by the name of its host; a name that does not exist is said to be that, and tried again. */
static void names_of_hosts(void **state)
{
	struct mesh_node a, b;
	const struct peers_list_reply *list = NULL;
	uint64_t deadline = qmt_os_real_now_ms() + MESH_WAIT_MS;

	(void)state;
	mesh_node_init(&a, "a", NULL, 0);
	mesh_node_init(&b, "b", NULL, 0);
	mesh_node_start(&b);
	mesh_node_dials(&a, "b", b.port, &b.identity.id);
	a.peers[0].addr.host_kind = MULTIADDR_DNS4;
	(void)snprintf(a.peers[0].addr.host, sizeof(a.peers[0].addr.host), "localhost");
	mesh_node_dials(&a, "nowhere", b.port, NULL);
	a.peers[1].addr.host_kind = MULTIADDR_DNS6;
	(void)snprintf(a.peers[1].addr.host, sizeof(a.peers[1].addr.host), "no-such-host.invalid");
	mesh_node_start(&a);
	mesh_wait_peer(&a, b.id, true);
	for (bool found = false; !found;) {
		list = mesh_peers(&a);
		for (uint32_t i = 0; i < list->peers.count; i++)
			found |= qmt_str_is(list->peers.items[i].name, "nowhere") && list->peers.items[i].last_error.len > 0;
		if (qmt_os_real_now_ms() > deadline)
			fail_msg("no error was told");
	}
	mesh_node_stop(&a);
	mesh_node_stop(&b);
}

/* The side that decides waits for its own dial only so long: an address that swallows packets costs patience_ms, not
 * hello_ms. */
static void does_not_wait_for_ever(void **state)
{
	struct mesh_node a, b;
	struct tcp_proxy *proxy;
	uint16_t port = 0;
	uint64_t began;

	(void)state;
	mesh_node_init(&a, "a", NULL, 0);
	mesh_node_init(&b, "b", NULL, 0);
	while (peer_id_compare(&a.identity.id, &b.identity.id) > 0)
		mesh_node_init(&a, "a", NULL, 0);
	a.config.limits.patience_ms = 100;
	a.config.limits.hello_ms = 60000;
	b.config.limits.hello_ms = 60000;
	mesh_node_start(&b);
	proxy = tcp_proxy_start(b.port, &port);
	tcp_proxy_pause(proxy, 1); /* accepts by the kernel, and nothing more */
	mesh_node_dials(&a, "b", port, &b.identity.id);
	mesh_node_start(&a);
	mesh_node_stop(&b);
	mesh_node_dials(&b, "a", a.port, &a.identity.id);
	began = qmt_os_real_now_ms();
	mesh_node_start(&b);
	mesh_wait_peer(&a, b.id, true);
	mesh_wait_peer(&b, a.id, true);
	assert_in_range(qmt_os_real_now_ms() - began, 90, 15000);
	mesh_node_stop(&a);
	mesh_node_stop(&b);
	tcp_proxy_stop(proxy);
}

/* A wildcard is listed as the addresses that the interfaces have, each with /p2p/ and the real port; IPv6 works as
 * IPv4 does. */
static void listen_addresses(void **state)
{
	struct mesh_node a, b;
	const struct peers_list_reply *list;
	char expected[200], text[MULTIADDR_TEXT];
	bool found = false;

	(void)state;
	mesh_node_init(&a, "a", NULL, 0);
	(void)snprintf(a.listen.host, sizeof(a.listen.host), "0.0.0.0");
	mesh_node_start(&a);
	list = mesh_peers(&a);
	(void)snprintf(expected, sizeof(expected), "/ip4/127.0.0.1/tcp/%u/p2p/%s", a.port, a.id);
	for (uint32_t i = 0; i < list->listen_addresses.count; i++) {
		(void)snprintf(text, sizeof(text), "%.*s", QMT_STR_ARG(list->listen_addresses.items[i]));
		found |= strcmp(text, expected) == 0;
		assert_null(strstr(text, "0.0.0.0"));
	}
	assert_true(found);
	mesh_node_stop(&a);

	mesh_node_init(&a, "a", NULL, 0);
	mesh_node_init(&b, "b", NULL, 0);
	b.listen.host_kind = MULTIADDR_IP6;
	(void)snprintf(b.listen.host, sizeof(b.listen.host), "::1");
	mesh_node_start(&b);
	mesh_node_dials(&a, "b", b.port, &b.identity.id);
	a.peers[0].addr.host_kind = MULTIADDR_IP6;
	(void)snprintf(a.peers[0].addr.host, sizeof(a.peers[0].addr.host), "::1");
	mesh_node_start(&a);
	mesh_wait_peer(&a, b.id, true);
	mesh_node_stop(&a);
	mesh_node_stop(&b);
}

/* A client's watcher that is handed on to an actor on another node gets what is told there, in order, through the
 * client's own node. */
static void refs_behind_two_links(void **state)
{
	char folder[] = "/tmp/qmt-peers-XXXXXX";
	struct mesh_node a, b;
	struct control_client *client = NULL;
	struct control_reply reply;
	struct control_event event;
	struct qmt_err err = {0};
	struct qmt_ref watch;

	(void)state;
	assert_non_null(mkdtemp(folder));
	mesh_node_init(&a, "a", NULL, 0);
	mesh_node_init(&b, "b", NULL, 0);
	mesh_node_start(&b);
	mesh_node_dials(&a, "b", b.port, NULL);
	(void)snprintf(a.control, sizeof(a.control), "%s/qmtd.sock", folder);
	mesh_node_start(&a);
	mesh_wait_peer(&a, b.id, true);
	if (control_client_open(a.control, 0, -1, &client, &err))
		fail_msg("%s", err.text);
	watch = control_client_watch(client);
	if (CONTROL_ASK(
			client, "probe", 0, &reply, &err, probe_ask_peer, .peer = qmt_str(b.id), .back = watch, .notice = 500))
		fail_msg("%s", err.text);
	assert_true(qmt_ref_eq(((const struct probe_said *)reply.body)->back, watch)); /* there and back */
	control_reply_free(&reply);
	for (int i = 1; i <= 500; i++) {
		char text[24];

		(void)snprintf(text, sizeof(text), "%d", i);
		assert_int_equal(control_client_next(client, MESH_WAIT_MS, &event, &err), 0);
		assert_ptr_equal(event.type, &session_notice_type);
		assert_true(qmt_ref_eq(event.to, watch));
		assert_true(qmt_str_is(((const struct session_notice *)event.body)->text, text));
		control_event_free(&event);
	}
	control_client_close(client);
	/* the client is gone: b, which watches the ref, is told */
	for (uint64_t deadline = qmt_os_real_now_ms() + MESH_WAIT_MS; mesh_totals(&b).downs == 0;)
		if (qmt_os_real_now_ms() > deadline)
			fail_msg("b was not told that the watcher is down");
	mesh_node_stop(&a);
	mesh_node_stop(&b);
	rmdir(folder);
}

/* ---- metrics ----------------------------------------------------------------------------------------------------- */

static uint64_t metric(struct mesh_node *node, const char *actor, const char *name, const char *label)
{
	struct qmt_ref ref;
	struct qmt_result result;
	const struct metrics_values *values;
	uint64_t value = 0;

	assert_int_equal(qmt_lookup(node->ctx, actor, &ref), 0);
	assert_int_equal(MESH_ASK(node, ref, &result, metrics_get, ), 0);
	values = result.body;
	for (uint32_t i = 0; i < values->metrics.count; i++)
		if (qmt_str_is(values->metrics.items[i].name, name) && qmt_str_is(values->metrics.items[i].label, label))
			value = values->metrics.items[i].value;
	return value;
}

struct metric_goal {
	struct mesh_node *node;
	const char *actor, *name;
	uint64_t value;
};

static bool reached(void *arg)
{
	struct metric_goal *goal = arg;

	return metric(goal->node, goal->actor, goal->name, "") == goal->value;
}

/* What one side sends is what the other one gets; what an ended link had counted is kept under the peer's name; links,
 * dials and refused HELLOs are counted. */
static void metrics(void **state)
{
	struct mesh_node a, b, stranger;
	struct peer_id wrong;
	struct qmt_result result;
	char link[2][80];
	uint64_t out, bytes;

	(void)state;
	mesh_node_init(&a, "a", NULL, 0);
	mesh_node_init(&b, "b", NULL, 0);
	mesh_node_start(&b);
	mesh_node_dials(&a, "server", b.port, NULL);
	mesh_node_start(&a);
	mesh_wait_peer(&a, b.id, true);
	mesh_wait_peer(&b, a.id, true);
	assert_int_equal(MESH_ASK(&a, a.probe, &result, probe_tell_peer, .peer = qmt_str(b.id), .sender = 1, .from = 1,
						 .count = 10, .pad = 20),
		0);
	(void)snprintf(link[0], sizeof(link[0]), "peer/%s", b.id);
	(void)snprintf(link[1], sizeof(link[1]), "peer/%s", a.id);
	mesh_until(reached, &(struct metric_goal){&b, link[1], "link_messages_in", 10}, "all that was told");
	out = metric(&a, link[0], "link_messages_out", "");
	bytes = metric(&a, link[0], "link_bytes_out", "");
	assert_int_equal(out, 10);
	assert_true(bytes > 10 * 20);
	assert_true(metric(&b, link[1], "link_bytes_in", "") > 10 * 20);
	assert_int_equal(metric(&a, "peers", "link_messages_out", "server"), 0); /* it is in use */
	assert_int_equal(metric(&a, "peers", "links_made", ""), 1);
	assert_int_equal(metric(&a, "peers", "links_lost", ""), 0);
	assert_int_equal(metric(&a, "peers", "peers_connected", ""), 1);
	assert_true(metric(&a, "peers", "dials", "") >= 1);
	assert_int_equal(metric(&b, "peers", "dials", ""), 0);

	mesh_node_stop(&b);
	mesh_wait_peer(&a, b.id, false);
	assert_int_equal(metric(&a, "peers", "links_lost", ""), 1);
	assert_int_equal(metric(&a, "peers", "peers_connected", ""), 0);
	assert_int_equal(metric(&a, "peers", "link_messages_out", "server"), out);
	assert_true(metric(&a, "peers", "link_bytes_out", "server") >= bytes);
	mesh_node_start(&b);
	mesh_wait_peer(&a, b.id, true);
	assert_true(metric(&a, "peers", "links_made", "") - metric(&a, "peers", "links_replaced", "") == 2);
	assert_int_equal(metric(&a, "peers", "link_messages_out", "server"), out);

	/* one that expects another PeerId */
	mesh_node_init(&stranger, "c", NULL, 0);
	wrong = a.identity.id;
	mesh_node_dials(&stranger, "b", b.port, &wrong);
	mesh_node_start(&stranger);
	for (uint64_t deadline = qmt_os_real_now_ms() + MESH_WAIT_MS; metric(&b, "peers", "hellos_refused", "") < 2;)
		if (qmt_os_real_now_ms() > deadline)
			fail_msg("no refused HELLO was counted");
	assert_true(metric(&stranger, "peers", "dials_failed", "") >= 1);
	assert_int_equal(metric(&b, "peers", "links_made", ""), 1);
	mesh_node_stop(&stranger);
	mesh_node_stop(&a);
	mesh_node_stop(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(subscribers_hear),
		cmocka_unit_test(names_of_hosts),
		cmocka_unit_test(does_not_wait_for_ever),
		cmocka_unit_test(listen_addresses),
		cmocka_unit_test(refs_behind_two_links),
		cmocka_unit_test(metrics),
	};

	if (identity_crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
