/* test/port/basic_test.c - what every transport has to do: tables of transports x cases. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "test/lib/mesh_node.h"

struct pair {
	struct loop_hub *hub;
	struct mesh_node a, b;
};

static struct pair pair;

static void start_pair(enum mesh_kind kind)
{
	pair.hub = kind == MESH_LOOP ? loop_hub_new() : NULL;
	mesh_node_init(&pair.a, "a", pair.hub, kind == MESH_LOOP ? 1 : 0);
	mesh_node_init(&pair.b, "b", pair.hub, kind == MESH_LOOP ? 2 : 0);
	mesh_node_start(&pair.b);
	mesh_node_dials(&pair.a, "b", pair.b.port, NULL);
	mesh_node_start(&pair.a);
	mesh_wait_peer(&pair.a, pair.b.id, true);
	mesh_wait_peer(&pair.b, pair.a.id, true);
}

static void stop_pair(void)
{
	mesh_node_stop(&pair.a);
	mesh_node_stop(&pair.b);
	pair.hub = loop_hub_free(pair.hub);
}

/* Two nodes ask each other and get the answer of the other one. */
static void ask_both_ways(void **state)
{
	struct qmt_result result;

	start_pair(*(enum mesh_kind *)*state);
	assert_int_equal(MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id), .n = 7, .text = qmt_str("from a")), 0);
	assert_int_equal(((const struct probe_said *)result.body)->n, 7);
	assert_true(qmt_str_is(((const struct probe_said *)result.body)->text, "from a"));
	assert_true(qmt_str_is(((const struct probe_said *)result.body)->origin, pair.a.id));
	assert_int_equal(MESH_ASK(&pair.b, pair.b.probe, &result, probe_ask_peer, .peer = qmt_str(pair.a.id), .n = 8), 0);
	assert_int_equal(((const struct probe_said *)result.body)->n, 8);
	stop_pair();
}

int main(void)
{
	static enum mesh_kind tcp = MESH_TCP, loop = MESH_LOOP;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(ask_both_ways, &tcp),
		cmocka_unit_test_prestate(ask_both_ways, &loop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
