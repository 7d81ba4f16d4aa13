/* test/port/conformance_test.c - what every transport has to do: a table of transports x cases. A new transport gets a
 * row in `transports` and a way to start its pair.
 *
 * Between the two nodes stands something that can fall silent: a TCP proxy, or the in-memory hub.
 */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <poll.h>

#include "runtime/base/os.h"
#include "test/lib/mesh_node.h"
#include "test/lib/tcp_proxy.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SLOW = 10 }; /* a sanitizer makes a turn with 5 MB long */
#else
enum { SLOW = 1 };
#endif

struct pair {
	enum mesh_kind kind;
	struct loop_hub *hub;
	struct tcp_proxy *proxy; /* a dials b through it */
	struct mesh_node a, b;
};

static struct pair pair;

static void make_pair(enum mesh_kind kind)
{
	pair = (struct pair){.kind = kind};
	pair.hub = kind == MESH_LOOP ? loop_hub_new() : NULL;
	mesh_node_init(&pair.a, "a", pair.hub, kind == MESH_LOOP ? 1 : 0);
	mesh_node_init(&pair.b, "b", pair.hub, kind == MESH_LOOP ? 2 : 0);
}

static void run_pair(void)
{
	uint16_t port;

	mesh_node_start(&pair.b);
	port = pair.b.port;
	if (pair.kind == MESH_TCP) {
		port = 0;
		pair.proxy = tcp_proxy_start(pair.b.port, &port);
	}
	mesh_node_dials(&pair.a, "b", port, NULL);
	mesh_node_start(&pair.a);
	mesh_wait_peer(&pair.a, pair.b.id, true);
	mesh_wait_peer(&pair.b, pair.a.id, true);
}

static void start_pair(void **state)
{
	make_pair(*(enum mesh_kind *)*state);
	run_pair();
}

static void stop_pair(void)
{
	mesh_node_stop(&pair.a);
	mesh_node_stop(&pair.b);
	if (pair.proxy)
		pair.proxy = tcp_proxy_stop(pair.proxy);
	pair.hub = loop_hub_free(pair.hub);
}

static void silence(bool on)
{
	if (pair.proxy)
		tcp_proxy_pause(pair.proxy, on);
	else
		loop_hub_silence(pair.hub, on);
}

/* ---- asking and telling ------------------------------------------------------------------------------------------ */

/* Two nodes ask each other and get the answer of the other one, which knows who asked, whatever the asker wrote. */
static void ask_both_ways(void **state)
{
	struct qmt_result result;

	start_pair(state);
	for (uint64_t i = 1; i <= 100; i++) {
		assert_int_equal(MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id), .n = i,
							 .text = qmt_str("from a")),
			0);
		assert_int_equal(((const struct probe_said *)result.body)->n, i);
		assert_true(qmt_str_is(((const struct probe_said *)result.body)->text, "from a"));
		assert_true(qmt_str_is(((const struct probe_said *)result.body)->origin, pair.a.id));
		assert_int_equal(
			MESH_ASK(&pair.b, pair.b.probe, &result, probe_ask_peer, .peer = qmt_str(pair.a.id), .n = i), 0);
		assert_int_equal(((const struct probe_said *)result.body)->n, i);
	}
	stop_pair();
}

struct expected_total {
	struct mesh_node *node;
	uint64_t notes, events;
};

static bool total_is(void *arg)
{
	struct expected_total *expected = arg;
	struct probe_totals totals = mesh_totals(expected->node);

	return totals.notes == expected->notes && totals.events == expected->events;
}

/* 20,000 tells each way, small and long ones mixed, arrive once each and in order. */
static void tells_in_order(void **state)
{
	struct qmt_result result;
	uint64_t n = 1;

	start_pair(state);
	for (int round = 0; round < 20; round++) {
		/* 900 short ones, then one of 100,000 bytes that travels in pieces; what follows may not overtake it */
		for (int part = 0; part < 2; part++) {
			uint64_t count = part ? 1 : 999, pad = part ? 100000 : 50;

			assert_int_equal(MESH_ASK(&pair.a, pair.a.probe, &result, probe_tell_peer, .peer = qmt_str(pair.b.id),
								 .sender = 1, .from = n, .count = count, .pad = pad),
				0);
			assert_int_equal(((const struct probe_told *)result.body)->taken, count);
			assert_int_equal(MESH_ASK(&pair.b, pair.b.probe, &result, probe_tell_peer, .peer = qmt_str(pair.a.id),
								 .sender = 2, .from = n, .count = count, .pad = pad),
				0);
			assert_int_equal(((const struct probe_told *)result.body)->taken, count);
			n += count;
		}
	}
	mesh_until(total_is, &(struct expected_total){&pair.b, 20000, 0}, "20,000 notes at b");
	mesh_until(total_is, &(struct expected_total){&pair.a, 20000, 0}, "20,000 notes at a");
	assert_int_equal(mesh_totals(&pair.a).disorder, 0);
	assert_int_equal(mesh_totals(&pair.b).disorder, 0);
	stop_pair();
}

static bool has_downs(void *arg)
{
	return mesh_totals(arg).downs > 0;
}

/* A ref that is sent in a message works on the other side, comes home as what it was, and is told to be down with
 * the link. */
static void refs_travel(void **state)
{
	struct qmt_result result;

	start_pair(state);
	/* a's probe goes along; b tells it an event and sends it back */
	assert_int_equal(
		MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id), .n = 4, .with_self = true),
		0);
	assert_true(qmt_ref_eq(((const struct probe_said *)result.body)->back, pair.a.probe));
	mesh_until(total_is, &(struct expected_total){&pair.a, 0, 1}, "the event at a");
	assert_int_equal(mesh_totals(&pair.a).last_event, 4);
	/* the link ends: b watched the ref that it was given */
	mesh_node_stop(&pair.a);
	mesh_until(has_downs, &pair.b, "b's probe is told that the ref is down");
	stop_pair();
}

/* What may not be sent comes back as the failure that it is: a local message, one of the owner's, an unknown one, an
 * unknown name. */
static void refuses_in_words(void **state)
{
	static const struct {
		enum probe_what what;
		const char *name;
		int fail;
	} cases[] = {
		{PROBE_ASK_SECRET, "probe", QMT_FAIL_NOT_ALLOWED},
		{PROBE_ASK_OWNER, "probe", QMT_FAIL_NOT_ALLOWED},
		{PROBE_ASK_STRANGER, "probe", QMT_FAIL_UNKNOWN_MESSAGE},
		{PROBE_ASK_SAY, "nobody", QMT_FAIL_UNKNOWN_ACTOR},
		{PROBE_ASK_PEERS_LIST, "peers", QMT_FAIL_NOT_ALLOWED},
		{PROBE_ASK_PEERS_RESOLVE, "peers", QMT_FAIL_NOT_ALLOWED},
	};
	struct qmt_result result;

	start_pair(state);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id),
							 .name = qmt_str(cases[i].name), .what = cases[i].what),
			cases[i].fail);
		assert_true(result.text.len > 0);
	}
	assert_int_equal(MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id), .n = 1), 0);
	stop_pair();
}

/* An ask that nobody answers ends at its deadline, and the link forgets it; late answers change nothing. */
static void asks_have_deadlines(void **state)
{
	struct qmt_result result;

	start_pair(state);
	assert_int_equal(MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id), .never = true,
						 .timeout_ms = 30),
		QMT_FAIL_DEADLINE);
	for (int i = 0; i < 20; i++)
		assert_int_equal(MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id),
							 .delay_ms = 30, .timeout_ms = 10),
			QMT_FAIL_DEADLINE);
	assert_int_equal(MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id), .n = 77,
						 .delay_ms = 50, .timeout_ms = 5000),
		0);
	assert_int_equal(((const struct probe_said *)result.body)->n, 77);
	stop_pair();
}

/* ---- long messages, time, flow ----------------------------------------------------------------------------------- */

static bool measured(void *arg)
{
	const struct peers_list_reply *list = mesh_peers(arg);

	return list && list->peers.count == 1 && list->peers.items[0].rtt_ms > 0;
}

/* 5 MB go out and come back while pings go on: with 200 and 600 ms the link stays. */
static void long_bodies_and_pings(void **state)
{
	enum { SIZE = 5 << 20 };
	struct qmt_result result;
	char *text = malloc(SIZE);

	memset(text, 'z', SIZE);
	make_pair(*(enum mesh_kind *)*state);
	pair.a.config.limits.suspect_ms = pair.b.config.limits.suspect_ms = 200 * SLOW;
	pair.a.config.limits.dead_ms = pair.b.config.limits.dead_ms = 600 * SLOW;
	run_pair();
	mesh_until(measured, &pair.a, "a round trip was measured");
	for (int i = 0; i < 4; i++) {
		const struct probe_said *said;

		assert_int_equal(MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id),
							 .text = qmt_strn(text, SIZE), .timeout_ms = MESH_WAIT_MS),
			0);
		said = result.body;
		assert_int_equal(said->text.len, SIZE);
		assert_memory_equal(said->text.p, text, SIZE);
		assert_int_equal(mesh_links(&pair.a), 1);
	}
	free(text);
	stop_pair();
}

/* A message longer than body_bytes is refused before anything of it is sent. */
static void too_large(void **state)
{
	struct qmt_result result;
	char *text = calloc(1, 200000);

	memset(text, 'q', 200000);
	make_pair(*(enum mesh_kind *)*state);
	pair.b.config.limits.body_bytes = 100000; /* the other side's limit counts */
	run_pair();
	assert_int_equal(MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id),
						 .text = qmt_strn(text, 200000)),
		QMT_FAIL_TOO_LARGE);
	assert_int_equal(MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id),
						 .text = qmt_strn(text, 90000)),
		0);
	/* an answer that is too large is the asker's failure too */
	assert_int_equal(
		MESH_ASK(&pair.b, pair.b.probe, &result, probe_ask_peer, .peer = qmt_str(pair.a.id), .pad = 200000),
		QMT_FAIL_TOO_LARGE);
	free(text);
	stop_pair();
}

static bool no_links(void *arg)
{
	return mesh_links(arg) == 0;
}

static bool can_ask(void *arg)
{
	struct qmt_result result;

	(void)arg;
	return MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id), .n = 1,
			   .timeout_ms = 1000) == 0;
}

/* A peer that falls silent is suspect after 50 ms and gone after 150: asks that wait fail with peer gone, and when the
 * network is back the link is too. */
static void dead_peer(void **state)
{
	struct qmt_result result;
	uint64_t began;

	make_pair(*(enum mesh_kind *)*state);
	pair.a.config.limits.suspect_ms = pair.b.config.limits.suspect_ms = 50;
	pair.a.config.limits.dead_ms = pair.b.config.limits.dead_ms = 150;
	run_pair();
	mesh_until(measured, &pair.a, "a round trip was measured");
	silence(true);
	began = qmt_os_real_now_ms();
	assert_int_equal(
		MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id), .timeout_ms = 10000),
		QMT_FAIL_PEER_GONE);
	assert_in_range(qmt_os_real_now_ms() - began, 50, 5000);
	if (pair.proxy)
		tcp_proxy_cut(pair.proxy);
	silence(false);
	mesh_until(can_ask, NULL, "asks work again"); /* a busy machine may lose a link of 150 ms more than once */
	stop_pair();
}

/* A peer that takes nothing fills queue_bytes; then the sender is told link busy, tells and asks alike, and is not
 * stopped. */
static void link_busy(void **state)
{
	struct qmt_result result;
	struct probe_totals totals;
	char text[10000];

	make_pair(*(enum mesh_kind *)*state);
	pair.a.config.limits.queue_bytes = 1 << 20;
	pair.a.config.limits.hold_ms = 20;
	run_pair();
	silence(true);
	for (uint64_t i = 0; i < 200; i++) { /* 20 MB; the kernel takes some of it, the queue 1 MB */
		assert_int_equal(MESH_ASK(&pair.a, pair.a.probe, &result, probe_tell_peer, .peer = qmt_str(pair.b.id),
							 .sender = 70, .from = i, .count = 10, .pad = 10000),
			0);
	}
	memset(text, 'x', sizeof(text));
	assert_int_equal(MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id),
						 .text = qmt_strn(text, sizeof(text)), .timeout_ms = 2000),
		QMT_FAIL_LINK_BUSY);
	totals = mesh_totals(&pair.a);
	assert_true(totals.undelivered > 100);
	assert_int_equal(totals.reason, QMT_FAIL_LINK_BUSY);
	silence(false);
	if (pair.kind == MESH_LOOP) { /* there the frames are lost, not late */
		stop_pair();
		return;
	}
	mesh_until(total_is, &(struct expected_total){&pair.b, 2000 - totals.undelivered, 0}, "the rest has arrived");
	assert_int_equal(MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id), .n = 1), 0);
	stop_pair();
}

/* A link that nobody uses sends pings and nothing else. */
static void idle_link(void **state)
{
	uint64_t before, bytes;

	make_pair(*(enum mesh_kind *)*state);
	pair.a.config.limits.suspect_ms = pair.b.config.limits.suspect_ms = 200;
	run_pair();
	mesh_until(measured, &pair.a, "a round trip was measured");
	(void)poll(NULL, 0, 100); /* polls: nothing is to happen here */
	before = tcp_proxy_bytes(pair.proxy);
	(void)poll(NULL, 0, 1000); /* polls: it is the silence that is measured */
	bytes = tcp_proxy_bytes(pair.proxy) - before;
	/* ten pings and pongs each way, each about 60 bytes with CURVE */
	assert_in_range(bytes, 500, 8000);
	stop_pair();
}

/* ---- coming and going -------------------------------------------------------------------------------------------- */

/* The peer restarts while asks wait for it: they fail with peer gone; then it works again, and the pinned PeerId
 * holds. */
static void peer_restarts(void **state)
{
	struct qmt_result result;

	start_pair(state);
	for (int round = 0; round < 3; round++) {
		struct qmt_ctx *ctx = pair.a.ctx;

		for (uint64_t i = 0; i < 50; i++)
			assert_int_equal(
				qmt_tell(ctx, pair.a.probe, &probe_ask_peer_type,
					&(struct probe_ask_peer){.peer = qmt_str(pair.b.id), .never = true, .timeout_ms = 60000}),
				0);
		mesh_node_stop(&pair.b);
		mesh_wait_peer(&pair.a, pair.b.id, false);
		assert_int_equal(
			MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id)), QMT_FAIL_NO_ROUTE);
		mesh_node_start(&pair.b);
		mesh_wait_peer(&pair.a, pair.b.id, true);
		mesh_wait_peer(&pair.b, pair.a.id, true);
		assert_int_equal(
			MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id), .n = 3), 0);
		assert_int_equal(((const struct probe_said *)result.body)->n, 3);
	}
	mesh_node_stop(&pair.b);
	mesh_until(no_links, &pair.a, "no link is left");
	stop_pair();
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
		CASE(ask_both_ways), CASE(tells_in_order), CASE(refs_travel), CASE(refuses_in_words), CASE(asks_have_deadlines),
		CASE(long_bodies_and_pings), CASE(too_large), CASE(dead_peer), CASE(link_busy), CASE(peer_restarts),
		{"tcp: idle_link", idle_link, NULL, NULL, &kinds[0]}, /* counts bytes at the proxy */
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
