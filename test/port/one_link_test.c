/* test/port/one_link_test.c - both nodes dial at once, again and again: one link is left, and what was told arrives
 * once, in order.
 *
 * Arguments: [rounds [test]]. Default 1000 in all, over both transports (60 under a sanitizer, which is slower by that
 * much).
 */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <poll.h>

#include "runtime/base/os.h"
#include "test/lib/mesh_node.h"
#include "test/lib/tcp_proxy.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static int rounds = 60;
#else
static int rounds = 1000;
#endif

static bool one_link(void *arg)
{
	struct mesh_node *nodes = arg;

	return mesh_links(&nodes[0]) == 1 && mesh_links(&nodes[1]) == 1;
}

struct goal {
	struct mesh_node *node;
	uint64_t notes;
};

static bool all_there(void *arg)
{
	struct goal *goal = arg;

	return mesh_totals(goal->node).notes >= goal->notes;
}

/* Sends notes as soon as any link is in use, and goes on while the one-link rule is at work. Returns how many were
 * taken. */
static uint64_t send_some(struct mesh_node *from, struct mesh_node *to, uint64_t first, uint64_t count)
{
	struct qmt_result result;

	assert_int_equal(MESH_ASK(from, from->probe, &result, probe_tell_peer, .peer = qmt_str(to->id), .sender = 1,
						 .from = first, .count = count, .pad = 20),
		0);
	return ((const struct probe_told *)result.body)->taken;
}

/* All that was taken arrives. If not, says how much, and whether the sender was told. */
static void wait_for_notes(int round, struct mesh_node *from, struct mesh_node *to, uint64_t sent)
{
	struct goal goal = {to, sent};
	uint64_t deadline = qmt_os_real_now_ms() + MESH_WAIT_MS;

	while (!all_there(&goal)) {
		struct probe_totals got, back;

		if (qmt_os_real_now_ms() <= deadline) {
			(void)poll(NULL, 0, 2); /* polls: any condition; deadline above */
			continue;
		}
		got = mesh_totals(to);
		back = mesh_totals(from);
		fail_msg("round %d: %s sent %llu notes, %llu arrived, %llu out of order; %llu came back (reason %llu); links: "
				 "%u and %u",
			round, from->name, (unsigned long long)sent, (unsigned long long)got.notes,
			(unsigned long long)got.disorder, (unsigned long long)back.undelivered, (unsigned long long)back.reason,
			mesh_links(from), mesh_links(to));
	}
}

/* Both ends dial at once: exactly one link is left, no message lost or doubled, order kept. first: known: both expect
 * the other's PeerId, so the deciding side waits for its own dial; otherwise links really are replaced while messages
 * flow. */
static void both_dial(enum mesh_kind kind, bool known, int times)
{
	uint64_t replaced = 0;

	for (int round = 0; round < times; round++) {
		struct loop_hub *hub = kind == MESH_LOOP ? loop_hub_new() : NULL;
		struct mesh_node nodes[2];
		uint64_t sent[2] = {0};
		uint64_t deadline = qmt_os_real_now_ms() + MESH_WAIT_MS;
		uint16_t ports[2] = {1, 2};

		for (int i = 0; i < 2; i++) {
			if (!hub)
				ports[i] = mesh_free_port();
			mesh_node_init(&nodes[i], i ? "b" : "a", hub, ports[i]);
			nodes[i].workers = 1 + (uint32_t)round % 2;
			nodes[i].config.limits.drain_ms = 3600000; /* a link that lost has to end by its own words */
		}
		for (int i = 0; i < 2; i++)
			mesh_node_dials(&nodes[i], "other", ports[!i], known ? &nodes[!i].identity.id : NULL);
		for (int i = 0; i < 2; i++)
			mesh_node_start(&nodes[i]);
		while (sent[0] < 40 || sent[1] < 40) {
			for (int i = 0; i < 2; i++)
				sent[i] += send_some(&nodes[i], &nodes[!i], sent[i] + 1, 5);
			if (qmt_os_real_now_ms() > deadline)
				fail_msg("no link in round %d", round);
		}
		replaced += mesh_links(&nodes[0]) > 1;
		mesh_until(one_link, nodes, "one link is left");
		for (int i = 0; i < 2; i++) {
			struct probe_totals totals;

			wait_for_notes(round, &nodes[i], &nodes[!i], sent[i]);
			totals = mesh_totals(&nodes[!i]);
			assert_int_equal(totals.notes, sent[i]);
			assert_int_equal(totals.disorder, 0);
			assert_int_equal(mesh_totals(&nodes[i]).undelivered, 0);
		}
		for (int i = 0; i < 2; i++)
			mesh_node_stop(&nodes[i]);
		loop_hub_free(hub);
	}
	print_message("%d rounds, two links were seen in %d\n", times, (int)replaced);
}

static bool uses_own_dial(void *arg)
{
	const struct peers_list_reply *list = mesh_peers(arg);

	for (uint32_t i = 0; list && i < list->peers.count; i++)
		if (qmt_str_is(list->peers.items[i].state, "connected") && list->peers.items[i].dialed)
			return true;
	return false;
}

/* A link takes over while what went out on the old one has not arrived: nothing overtakes it. When the old one
 * breaks instead,
 * what was said afterwards arrives all the same. */
static void takes_over_in_order(void **state)
{
	(void)state;
	for (int breaks = 0; breaks < 2; breaks++) {
		struct mesh_node nodes[2], *a = &nodes[0], *b = &nodes[1];
		struct tcp_proxy *slow, *quick;
		struct probe_totals totals;
		uint16_t slow_port = 0, quick_port = mesh_free_port();

		mesh_node_init(a, "a", NULL, 0);
		mesh_node_init(b, "b", NULL, 0);
		while (peer_id_compare(&a->identity.id, &b->identity.id) > 0)
			mesh_node_init(a, "a", NULL, 0);       /* the one that dials later decides */
		mesh_node_dials(a, "b", quick_port, NULL); /* in vain until that proxy runs */
		mesh_node_start(a);
		slow = tcp_proxy_start(a->port, &slow_port);
		mesh_node_dials(b, "a", slow_port, NULL);
		mesh_node_start(b);
		mesh_wait_peer(a, b->id, true);
		tcp_proxy_pause(slow, 1);
		assert_int_equal(send_some(a, b, 1, 100), 100);
		quick = tcp_proxy_start(b->port, &quick_port);
		mesh_until(uses_own_dial, a, "a uses the link that it dialed");
		assert_int_equal(send_some(a, b, 101, 100), 100);
		assert_int_equal(mesh_totals(b).notes, 0);
		if (breaks)
			tcp_proxy_cut(slow);
		tcp_proxy_pause(slow, 0);
		mesh_until(all_there, &(struct goal){b, breaks ? 100 : 200}, "the notes");
		mesh_until(one_link, nodes, "one link is left");
		totals = mesh_totals(b);
		assert_int_equal(totals.notes, breaks ? 100 : 200);
		assert_int_equal(totals.disorder, breaks ? 1 : 0); /* the gap where the old link broke */
		mesh_node_stop(a);
		mesh_node_stop(b);
		tcp_proxy_stop(slow);
		tcp_proxy_stop(quick);
	}
}

/* The same while the old link is held and its mailbox is over its bound: it hears all the same that it is to retire. */
static void takes_over_from_a_full_one(void **state)
{
	enum { NOTES = 10000, PAD = 2000 }; /* more than sockets and their buffers take, by more than a link's bound */
	struct mesh_node nodes[2], *a = &nodes[0], *b = &nodes[1];
	struct tcp_proxy *slow, *quick;
	uint16_t slow_port = 0, quick_port = mesh_free_port();
	struct qmt_result result;

	(void)state;
	mesh_node_init(a, "a", NULL, 0);
	mesh_node_init(b, "b", NULL, 0);
	while (peer_id_compare(&a->identity.id, &b->identity.id) > 0)
		mesh_node_init(a, "a", NULL, 0);
	a->config.limits.hold_ms = 2000;
	a->config.limits.queue_bytes = 64 << 20;
	a->config.limits.socket_frames = b->config.limits.socket_frames = 4;
	mesh_node_dials(a, "b", quick_port, NULL);
	mesh_node_start(a);
	slow = tcp_proxy_start(a->port, &slow_port);
	mesh_node_dials(b, "a", slow_port, NULL);
	mesh_node_start(b);
	mesh_wait_peer(a, b->id, true);
	tcp_proxy_pause(slow, 1);
	assert_int_equal(MESH_ASK(a, a->probe, &result, probe_tell_peer, .peer = qmt_str(b->id), .sender = 1, .from = 1,
						 .count = NOTES, .pad = PAD),
		0);
	assert_int_equal(((const struct probe_told *)result.body)->taken, NOTES);
	quick = tcp_proxy_start(b->port, &quick_port);
	mesh_until(uses_own_dial, a, "a uses the link that it dialed");
	tcp_proxy_pause(slow, 0);
	assert_int_equal(send_some(a, b, NOTES + 1, 100), 100);
	wait_for_notes(0, a, b, NOTES + 100);
	assert_int_equal(mesh_totals(b).disorder, 0);
	mesh_until(one_link, nodes, "one link is left");
	mesh_node_stop(a);
	mesh_node_stop(b);
	tcp_proxy_stop(slow);
	tcp_proxy_stop(quick);
}

static void tcp_unknown(void **state)
{
	(void)state;
	both_dial(MESH_TCP, false, rounds / 4);
}

static void tcp_known(void **state)
{
	(void)state;
	both_dial(MESH_TCP, true, rounds / 4);
}

static void loop_unknown(void **state)
{
	(void)state;
	both_dial(MESH_LOOP, false, rounds / 4);
}

static void loop_known(void **state)
{
	(void)state;
	both_dial(MESH_LOOP, true, rounds / 4);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_over_in_order),
		cmocka_unit_test(takes_over_from_a_full_one),
		cmocka_unit_test(tcp_unknown),
		cmocka_unit_test(tcp_known),
		cmocka_unit_test(loop_unknown),
		cmocka_unit_test(loop_known),
	};

	if (argc > 1)
		rounds = (int)strtol(argv[1], NULL, 10);
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
