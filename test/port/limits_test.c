/* A peer that makes more requests than a minute has is told so, and when to try again; a new connection does not give
 * it more, and what is no request of its goes on. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "test/lib/mesh_pair.h"

static struct mesh_pair pair;

static int say(uint64_t n, struct qmt_result *result)
{
	return MESH_ASK(&pair.a, pair.a.probe, result, probe_ask_peer, .peer = qmt_str(pair.b.id), .n = n);
}

static uint64_t limited_at_b(void)
{
	struct qmt_ref peers;
	struct qmt_result result;
	uint64_t sum = 0;

	assert_int_equal(qmt_lookup(pair.b.ctx, "peers", &peers), 0);
	assert_int_equal(MESH_ASK(&pair.b, peers, &result, metrics_get, ), 0);
	const struct metrics_values *values = result.body;
	for (uint32_t i = 0; i < values->metrics.count; i++)
		if (qmt_str_is(values->metrics.items[i].name, "link_limited"))
			sum += values->metrics.items[i].value;
	return sum;
}

static void must_be_refused(void)
{
	struct qmt_result result;

	assert_int_equal(say(9, &result), QMT_FAIL_FAILED);
	assert_true(qmt_str_is(result.kind, "rate_limited"));
	assert_in_range(result.retry_after_ms, 1, 60000);
	if (!memmem(result.text.p, result.text.len, "max_remote_requests_minute", 26) ||
		!memmem(result.text.p, result.text.len, "\"b\" takes 2 requests a minute", 29))
		fail_msg("%.*s", QMT_STR_ARG(result.text));
}

static void requests_a_minute(void **state)
{
	struct qmt_result result;

	mesh_pair_init(&pair, *(enum mesh_kind *)*state);
	pair.b.config.requests_minute = 2; /* one more after 30 s: this test is over by then */
	mesh_pair_start(&pair);
	assert_int_equal(say(1, &result), 0);
	assert_int_equal(say(2, &result), 0);
	must_be_refused();
	must_be_refused();
	/* what belongs to nobody's request goes on: the names of both, answers to b */
	assert_int_equal(MESH_ASK(&pair.b, pair.b.probe, &result, probe_ask_peer, .peer = qmt_str(pair.a.id), .n = 3), 0);
	mesh_node_stop(&pair.a);
	mesh_wait_peer(&pair.b, pair.a.id, false);
	assert_int_equal(limited_at_b(), 2);
	mesh_pair_start(&pair); /* the same identity */
	must_be_refused();
	mesh_pair_stop(&pair);
}

/* Without the parameter nothing is counted. */
static void no_bound(void **state)
{
	struct qmt_result result;

	mesh_pair_init(&pair, *(enum mesh_kind *)*state);
	mesh_pair_start(&pair);
	for (uint64_t n = 0; n < 100; n++)
		assert_int_equal(say(n, &result), 0);
	mesh_pair_stop(&pair);
}

int main(void)
{
	static enum mesh_kind kinds[] = {MESH_TCP, MESH_LOOP};
	const struct CMUnitTest tests[] = {
		{.name = "requests_a_minute (tcp)", .test_func = requests_a_minute, .initial_state = &kinds[0]},
		{.name = "requests_a_minute (loop)", .test_func = requests_a_minute, .initial_state = &kinds[1]},
		{.name = "no_bound (loop)", .test_func = no_bound, .initial_state = &kinds[1]},
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
