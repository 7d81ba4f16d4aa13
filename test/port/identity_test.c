/* test/port/identity_test.c - who is at the other end: pins, wrong PeerIds, a man in the middle, the same identity
 * twice.
 *
 * Both transports, except where the case is about CURVE.
 */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <zmq.h>

#include "runtime/base/os.h"
#include "test/lib/mesh_node.h"
#include "transports/channel_key.h"

struct wanted {
	struct mesh_node *node;
	const char *state, *error;
};

/* The first peer in the list has this state, and its last error has this text. */
static bool first_is(void *arg)
{
	struct wanted *wanted = arg;
	const struct peers_list_reply *list = mesh_peers(wanted->node);
	const struct peers_info *info = list && list->peers.count ? &list->peers.items[0] : NULL;
	char error[600];

	if (!info || !qmt_str_is(info->state, wanted->state))
		return false;
	(void)snprintf(error, sizeof(error), "%.*s", QMT_STR_ARG(info->last_error));
	return !wanted->error || strstr(error, wanted->error);
}

static void wait_first(struct mesh_node *node, const char *state, const char *error)
{
	mesh_until(first_is, &(struct wanted){node, state, error}, error ? error : state);
}

static struct loop_hub *hub_of(void **state)
{
	return *(enum mesh_kind *)*state == MESH_LOOP ? loop_hub_new() : NULL;
}

/* An address with /p2p/<PeerId> is dialed in vain when somebody else answers there; the other side learns nothing of
 * the dialer. */
static void wrong_peer_id(void **state)
{
	struct loop_hub *hub = hub_of(state);
	struct mesh_node a, b;
	struct identity stranger;

	identity_generate(&stranger);
	mesh_node_init(&a, "a", hub, hub ? 1 : 0);
	mesh_node_init(&b, "b", hub, hub ? 2 : 0);
	mesh_node_start(&b);
	mesh_node_dials(&a, "b", b.port, &stranger.id);
	mesh_node_start(&a);
	wait_first(&a, "refused", b.id);
	assert_int_equal(mesh_peers(&b)->peers.count, 0);
	mesh_node_stop(&a);
	mesh_node_stop(&b);
	loop_hub_free(hub);
}

/* Without /p2p/ the first who answers is pinned under the peer's name; another one later is refused, in words that say
 * what to do, until the name is forgotten. */
static void pinned_at_first_contact(void **state)
{
	struct loop_hub *hub = hub_of(state);
	struct mesh_node a, b, other;
	struct qmt_result result;
	struct qmt_ref peers;

	mesh_node_init(&a, "a", hub, hub ? 1 : 0);
	mesh_node_init(&b, "b", hub, hub ? 2 : 0);
	mesh_node_start(&b);
	mesh_node_dials(&a, "gpu", b.port, NULL);
	mesh_node_start(&a);
	mesh_wait_peer(&a, b.id, true);
	mesh_node_init(&other, "other", hub, b.port);
	mesh_node_stop(&b);
	mesh_node_start(&other); /* on the same address */
	wait_first(&a, "refused", "qmt peers forget gpu");
	assert_int_equal(mesh_peers(&other)->peers.count, 0); /* link actors come and go: it is dialed again and again */
	/* an unknown name */
	assert_int_equal(qmt_lookup(a.ctx, "peers", &peers), 0);
	assert_int_equal(MESH_ASK(&a, peers, &result, peers_forget, .name = qmt_str("nobody")), QMT_FAIL_NOT_FOUND);
	assert_int_equal(MESH_ASK(&a, peers, &result, peers_forget, .name = qmt_str("gpu")), 0);
	mesh_wait_peer(&a, other.id, true);
	assert_int_equal(MESH_ASK(&a, a.probe, &result, probe_ask_peer, .peer = qmt_str(other.id), .n = 1), 0);
	/* resolve finds it by its name, its own name and its PeerId; others are told what there is */
	assert_int_equal(MESH_ASK(&a, peers, &result, peers_resolve, .name = qmt_str("gpu")), 0);
	assert_true(qmt_str_is(((const struct peers_resolved *)result.body)->peer.peer_id, other.id));
	assert_int_equal(MESH_ASK(&a, peers, &result, peers_resolve, .name = qmt_str("other")), 0);
	assert_int_equal(MESH_ASK(&a, peers, &result, peers_resolve, .name = qmt_str(other.id)), 0);
	assert_int_equal(MESH_ASK(&a, peers, &result, peers_resolve, .name = qmt_str("cpu")), QMT_FAIL_NO_ROUTE);
	assert_true(result.text.len > 0);
	/* forgotten while it is connected: it stays, and once it has gone the next one is welcome */
	assert_int_equal(MESH_ASK(&a, peers, &result, peers_forget, .name = qmt_str("gpu")), 0);
	assert_int_equal(MESH_ASK(&a, peers, &result, peers_resolve, .name = qmt_str("gpu")), 0);
	mesh_node_stop(&other);
	mesh_node_start(&b);
	mesh_wait_peer(&a, b.id, true);
	mesh_node_stop(&a);
	mesh_node_stop(&b);
	loop_hub_free(hub);
}

/* Without a store that could keep the pin, a peer without /p2p/ is not dialed; that is said. */
static void no_store(void **state)
{
	struct loop_hub *hub = hub_of(state);
	struct mesh_node a, b;

	mesh_node_init(&a, "a", hub, hub ? 1 : 0);
	mesh_node_init(&b, "b", hub, hub ? 2 : 0);
	mesh_node_start(&b);
	mesh_node_dials(&a, "b", b.port, NULL);
	a.no_store = true;
	mesh_node_start(&a);
	wait_first(&a, "waiting", "could not be read");
	assert_int_equal(mesh_links(&a), 0);
	mesh_node_stop(&a);
	mesh_node_stop(&b);
	loop_hub_free(hub);
}

static uint64_t twins_of(struct mesh_node *node)
{
	struct qmt_result result;
	struct qmt_ref peers;

	assert_int_equal(qmt_lookup(node->ctx, "peers", &peers), 0);
	assert_int_equal(MESH_ASK(node, peers, &result, metrics_get, ), 0);
	const struct metrics_values *values = result.body;
	for (uint32_t i = 0; i < values->metrics.count; i++)
		if (qmt_str_is(values->metrics.items[i].name, "identity_twice"))
			return values->metrics.items[i].value;
	fail();
	return 0;
}

/* A node refuses another one that has its identity, and both say so, whoever dialed; dialing itself is refused too, and
 * no such thing. */
static void same_identity(void **state)
{
	struct loop_hub *hub = hub_of(state);
	struct mesh_node a, twin, self;
	uint16_t port = hub ? 3 : mesh_free_port();

	mesh_node_init(&a, "a", hub, hub ? 1 : 0);
	mesh_node_init(&twin, "twin", hub, hub ? 2 : 0);
	twin.identity = a.identity;
	mesh_node_start(&a);
	mesh_node_dials(&twin, "a", a.port, NULL);
	mesh_node_start(&twin);
	wait_first(&twin, "waiting", "own PeerId");
	assert_true(twins_of(&a) >= 1 && twins_of(&twin) >= 1);
	assert_true(mesh_peers(&a)->twin_ms > 0 && mesh_peers(&a)->twin_address.len > 0);
	assert_true(mesh_peers(&twin)->twin_ms > 0 && mesh_peers(&twin)->twin_address.len > 0);
	mesh_node_init(&self, "self", hub, port);
	mesh_node_dials(&self, "myself", port, NULL);
	mesh_node_start(&self);
	wait_first(&self, "waiting", "own PeerId: the address is this node itself");
	assert_int_equal(twins_of(&self), 0);
	assert_int_equal(mesh_peers(&self)->twin_address.len, 0);
	mesh_node_stop(&self);
	mesh_node_stop(&twin);
	mesh_node_stop(&a);
	loop_hub_free(hub);
}

/* ---- a man in the middle ----------------------------------------------------------------------------------------- */

/* Speaks CURVE to both sides, with the published key towards the dialer and a key of its own towards the listener, and
 * passes every frame on unchanged. */
struct middle {
	struct qmt_os_thread *thread;
	void *context, *front, *back;
	uint16_t port;
	int relayed;
};

static void relay(void *arg)
{
	struct middle *middle = arg;
	uint8_t id[256], frame[65536];
	int id_len = 0, len;

	for (;;) {
		zmq_pollitem_t items[2] = {
			{.socket = middle->front, .events = ZMQ_POLLIN}, {.socket = middle->back, .events = ZMQ_POLLIN}};

		if (zmq_poll(items, 2, -1) < 0)
			break;
		if (items[0].revents) {
			id_len = zmq_recv(middle->front, id, sizeof(id), 0);
			len = zmq_recv(middle->front, frame, sizeof(frame), 0);
			if (id_len < 0 || len < 0 || zmq_send(middle->back, frame, (size_t)len, 0) < 0)
				break;
			middle->relayed++;
		}
		if (items[1].revents) {
			len = zmq_recv(middle->back, frame, sizeof(frame), 0);
			if (len < 0 || zmq_send(middle->front, id, (size_t)id_len, ZMQ_SNDMORE) < 0 ||
				zmq_send(middle->front, frame, (size_t)len, 0) < 0)
				break;
			middle->relayed++;
		}
	}
	zmq_close(middle->front);
	zmq_close(middle->back);
}

static void start_middle(struct middle *middle, uint16_t target)
{
	uint8_t published[32], secret[32], mine[32], my_secret[32], seed[32] = {1, 2, 3};
	int one = 1, zero = 0;
	char endpoint[64];
	size_t size = sizeof(endpoint);

	channel_key_published(published, secret);
	channel_key_make(seed, mine, my_secret);
	*middle = (struct middle){.context = zmq_ctx_new()};
	middle->front = zmq_socket(middle->context, ZMQ_ROUTER);
	middle->back = zmq_socket(middle->context, ZMQ_DEALER);
	assert_int_equal(zmq_setsockopt(middle->front, ZMQ_LINGER, &zero, sizeof(zero)) |
			zmq_setsockopt(middle->back, ZMQ_LINGER, &zero, sizeof(zero)),
		0);
	assert_int_equal(zmq_setsockopt(middle->front, ZMQ_CURVE_SERVER, &one, sizeof(one)), 0);
	assert_int_equal(zmq_setsockopt(middle->front, ZMQ_CURVE_SECRETKEY, secret, 32), 0);
	assert_int_equal(zmq_setsockopt(middle->back, ZMQ_CURVE_SERVERKEY, published, 32), 0);
	assert_int_equal(zmq_setsockopt(middle->back, ZMQ_CURVE_PUBLICKEY, mine, 32), 0);
	assert_int_equal(zmq_setsockopt(middle->back, ZMQ_CURVE_SECRETKEY, my_secret, 32), 0);
	assert_int_equal(zmq_bind(middle->front, "tcp://127.0.0.1:*"), 0);
	assert_int_equal(zmq_getsockopt(middle->front, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
	middle->port = (uint16_t)strtoul(strrchr(endpoint, ':') + 1, NULL, 10);
	(void)snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%u", target);
	assert_int_equal(zmq_connect(middle->back, endpoint), 0);
	assert_int_equal(qmt_os_thread_start("middle", relay, middle, &middle->thread), 0);
}

static void stop_middle(struct middle *middle)
{
	zmq_ctx_shutdown(middle->context);
	qmt_os_thread_join(middle->thread);
	zmq_ctx_term(middle->context);
}

/* A man in the middle who knows the published key and relays everything is noticed by the dialer, with and without a
 * PeerId that is expected; the link never comes to be. */
static void man_in_the_middle(void **state)
{
	struct loop_hub *hub = hub_of(state);

	for (int expected = 0; expected < 2; expected++) {
		struct mesh_node a, b;
		struct middle middle;

		mesh_node_init(&a, "a", hub, hub ? 1 : 0);
		mesh_node_init(&b, "b", hub, hub ? 2 : 0);
		mesh_node_start(&b);
		if (hub)
			loop_hub_meddle(hub, true);
		else
			start_middle(&middle, b.port);
		mesh_node_dials(&a, "b", hub ? b.port : middle.port, expected ? &b.identity.id : NULL);
		mesh_node_start(&a);
		wait_first(&a, "waiting", "in the middle");
		assert_int_equal(mesh_peers(&b)->peers.count, 0);
		mesh_node_stop(&a);
		mesh_node_stop(&b);
		if (!hub) {
			stop_middle(&middle);
			assert_true(middle.relayed >= 2);
		}
	}
	loop_hub_free(hub);
}

/* ---- coming too early -------------------------------------------------------------------------------------------- */

/* Nodes that are stopped and started while others are in the middle of HELLO with them: no hang, and in the end
 * there is a link. */
static void restart_before_hello_ends(void **state)
{
	struct loop_hub *hub = hub_of(state);
	struct mesh_node a, b;

	mesh_node_init(&a, "a", hub, hub ? 1 : 0);
	mesh_node_init(&b, "b", hub, hub ? 2 : mesh_free_port());
	a.config.limits.redial_min_ms = 1;
	a.config.limits.redial_max_ms = 2;
	mesh_node_dials(&a, "b", b.port, NULL);
	mesh_node_start(&a);
	for (int i = 0; i < 40; i++) {
		mesh_node_start(&b);
		(void)poll(NULL, 0, i % 5); /* polls: any moment of HELLO will do */
		mesh_node_stop(&b);
	}
	mesh_node_start(&b);
	mesh_wait_peer(&a, b.id, true);
	mesh_wait_peer(&b, a.id, true);
	mesh_node_stop(&a);
	mesh_node_stop(&b);
	loop_hub_free(hub);
}

/* A port that is taken, a control path that is too long and limits out of range are errors of the start that name the
 * place; nothing is left behind. */
static void start_errors(void **state)
{
	struct mesh_node a, b;
	struct transports *transports = NULL;
	struct qmt_err err = {0};

	(void)state;
	mesh_node_init(&a, "a", NULL, 0);
	mesh_node_init(&b, "b", NULL, 0);
	mesh_node_start(&a);
	b.listen.port = a.port;
	b.config.identity = &b.identity;
	b.config.node_name = "b";
	b.config.listen = &b.listen;
	b.config.listen_count = 1;
	assert_int_equal(transports_start(a.ctx, &b.config, &transports, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "/ip4/127.0.0.1/tcp/"));
	b.config.listen_count = 0;
	b.config.control_path = "/tmp/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
							"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/qmtd.sock";
	assert_int_equal(transports_start(a.ctx, &b.config, &transports, &err), -ENAMETOOLONG);
	b.config.control_path = NULL;
	b.config.limits.suspect_ms = 1;
	assert_int_equal(transports_start(a.ctx, &b.config, &transports, &err), -EINVAL);
	assert_non_null(strstr(err.text, "suspect_ms"));
	mesh_node_stop(&a);
}

/* When the control socket's actor cannot be started, the actor that was started before it goes on with memory that is
 * its own until the end; its port is free afterwards. */
static void start_fails_late(void **state)
{
	struct mesh_node a;
	struct qmt_system *system;
	struct qmt_ctx *ctx;
	struct qmt_ref taken;
	struct transports *transports = NULL;
	struct qmt_err err = {0};

	(void)state;
	mesh_node_init(&a, "a", NULL, 0);
	system = qmt_system_start(&(struct qmt_system_options){.workers = 2}, &err);
	assert_non_null(system);
	ctx = qmt_outside_open(system);
	assert_int_equal(qmt_spawn(ctx, &probe_desc, &(struct qmt_spawn){.name = "control"}, &taken, &err), 0);
	mesh_node_dials(&a, "nobody", mesh_free_port(), NULL);
	a.config.identity = &a.identity;
	a.config.node_name = "a";
	a.config.listen = &a.listen;
	a.config.listen_count = 1;
	a.config.peers = a.peers;
	a.config.control_path = "/tmp/qmt-late-test.sock";
	assert_int_equal(transports_start(ctx, &a.config, &transports, &err), -EEXIST);
	assert_non_null(transports);
	qmt_outside_close(ctx);
	assert_int_equal(qmt_system_stop(system, 10000, &err), 0);
	qmt_system_free(system);
	transports_free(transports, 5000, NULL);
}

int main(void)
{
	static enum mesh_kind kinds[] = {MESH_TCP, MESH_LOOP};
#define CASE(fn)                                \
	{"tcp: " #fn, fn, NULL, NULL, &kinds[0]},   \
	{                                           \
		"loop: " #fn, fn, NULL, NULL, &kinds[1] \
	}
	const struct CMUnitTest tests[] = {
		CASE(wrong_peer_id),
		CASE(pinned_at_first_contact),
		CASE(no_store),
		CASE(same_identity),
		CASE(man_in_the_middle),
		CASE(restart_before_hello_ends),
		cmocka_unit_test(start_errors),
		cmocka_unit_test(start_fails_late),
	};

	if (identity_crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
