/* runtime/interval: the beat does not drift; what becomes of missed ticks is the policy's; an interval ends with its
 * target. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/base/os.h"
#include "runtime/interval.h"
#include "runtime/internal.h"
#include "test/lib/runtime_kit.h"

enum { START = 100, TELL = 200, STOP = 1, TICKS, MISSED, FAIL, RUNS, PERIOD = 10 };
enum { LOG = 64 };

struct beat {
	struct qmt_interval interval;
	uint64_t began_ms;
	uint64_t stops_at; /* tick in which it stops itself */
};
static uint64_t at_ms[LOG], at_count; /* of ticks, since the start */
static uint64_t late_at, late_ms;     /* the tick in which the clock goes on by so much: a handler that ran so long */

static void tick(struct qmt_ctx *ctx, void *state, uint64_t number, void *arg)
{
	struct beat *beat = state;

	kit_check(arg == &late_at && number == beat->interval.ticks);
	if (at_count < LOG)
		at_ms[at_count++] = qmt_now_ms(ctx) - beat->began_ms;
	if (number == late_at)
		qmt_os_advance(qmt_system_of(ctx)->os, late_ms * 1000000);
	if (number == beat->stops_at)
		qmt_interval_stop(ctx, &beat->interval);
}

static void beat_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	static const struct kit_answer told = {1};
	struct beat *beat = state;
	const struct kit_poke *poke = body;

	if (poke->value >= TELL) {
		kit_check(qmt_interval_tell(ctx, &beat->interval, PERIOD, (enum qmt_missed)(poke->value - TELL), poke->ref,
					  &kit_answer_type, &told) == 0);
		return;
	}
	if (poke->value >= START) {
		beat->began_ms = qmt_now_ms(ctx);
		beat->stops_at = 8;
		kit_check(qmt_interval_start(
					  ctx, &beat->interval, PERIOD, (enum qmt_missed)(poke->value - START), tick, &late_at) == 0);
		return;
	}
	switch (poke->value) {
	case STOP:
		qmt_interval_stop(ctx, &beat->interval);
		qmt_interval_stop(ctx, &beat->interval);
		break;
	case TICKS:
		kit_answer(ctx, beat->interval.ticks);
		break;
	case MISSED:
		kit_answer(ctx, beat->interval.missed);
		break;
	case RUNS:
		kit_answer(ctx, qmt_interval_runs(&beat->interval));
		break;
	case FAIL:
		qmt_fail(ctx, "told to");
		break;
	default:
		kit_check(qmt_interval_start(ctx, &beat->interval, 0, QMT_MISSED_SKIP, tick, NULL) == QMT_FAIL_BAD_REQUEST);
		kit_check(
			qmt_interval_start(ctx, &beat->interval, UINT64_MAX, QMT_MISSED_SKIP, tick, NULL) == QMT_FAIL_BAD_REQUEST);
		kit_check(qmt_interval_start(ctx, &beat->interval, 1, (enum qmt_missed)3, tick, NULL) == QMT_FAIL_BAD_REQUEST);
	}
}
static qmt_handler *const handlers[kit_message_count] = {[kit_poke_id] = beat_poke};
static const struct qmt_actor_desc beat_desc = KIT_DESC("beat", handlers, .state_size = sizeof(struct beat));

static uint64_t get(struct kit *kit, struct qmt_ref beat, uint64_t what)
{
	uint64_t value = 0;

	assert_int_equal(kit_ask(kit, beat, what, 0, &value), 0);
	return value;
}

/* Eight ticks, in the third of which the actor was busy for 34 ms. */
static uint64_t run(enum qmt_missed policy, uint64_t seed, const uint64_t expected[8], uint64_t missed)
{
	struct kit kit;

	at_count = 0;
	late_at = 3;
	late_ms = 34;
	kit_start_seeded(&kit, seed);
	struct qmt_ref beat = kit_spawn(&kit, &beat_desc, NULL);
	assert_int_equal(QMT_TELL(kit.out, beat, kit_poke, .value = START + (uint64_t)policy), 0);
	qmt_system_run(kit.sys, 1000);
	assert_int_equal(at_count, 8); /* it stopped itself */
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(at_ms[i], expected[i]);
	assert_int_equal(get(&kit, beat, MISSED), missed);
	assert_int_equal(get(&kit, beat, RUNS), 0);
	uint64_t hash = qmt_system_trace_hash(kit.sys);
	kit_stop(&kit);
	return hash;
}

static void policies(void **unused)
{
	(void)unused;
	static const uint64_t skip[] = {10, 20, 30, 64, 70, 80, 90, 100}, burst[] = {10, 20, 30, 64, 64, 64, 70, 80},
						  delay[] = {10, 20, 30, 64, 74, 84, 94, 104};

	(void)run(QMT_MISSED_SKIP, 1, skip, 2); /* 50 and 60; that of 40 came at 64 */
	(void)run(QMT_MISSED_BURST, 1, burst, 0);
	(void)run(QMT_MISSED_DELAY, 1, delay, 2);
	assert_int_equal(run(QMT_MISSED_BURST, 5, burst, 0), run(QMT_MISSED_BURST, 5, burst, 0)); /* the same run twice */
}

/* It ends when stopped, when started anew, and with the incarnation; bad periods start nothing and end nothing. */
static void ends(void **unused)
{
	(void)unused;
	struct kit kit;

	late_at = 0;
	kit_start_seeded(&kit, 2);
	struct qmt_ref beat = kit_spawn(&kit, &beat_desc, &(struct qmt_spawn){.restart = QMT_PERMANENT});
	assert_int_equal(QMT_TELL(kit.out, beat, kit_poke, .value = START), 0);
	qmt_system_run(kit.sys, 35);
	assert_int_equal(get(&kit, beat, TICKS), 3);
	assert_int_equal(QMT_TELL(kit.out, beat, kit_poke, .value = 50), 0); /* refused starts */
	qmt_system_run(kit.sys, 10);
	assert_int_equal(get(&kit, beat, TICKS), 4);
	assert_int_equal(QMT_TELL(kit.out, beat, kit_poke, .value = START), 0); /* anew: one beat, from 0 */
	qmt_system_run(kit.sys, 25);
	assert_int_equal(get(&kit, beat, TICKS), 2);
	assert_int_equal(QMT_TELL(kit.out, beat, kit_poke, .value = STOP), 0);
	qmt_system_run(kit.sys, 100);
	assert_int_equal(get(&kit, beat, TICKS), 2);
	assert_int_equal(QMT_TELL(kit.out, beat, kit_poke, .value = START), 0);
	assert_int_equal(QMT_TELL(kit.out, beat, kit_poke, .value = FAIL), 0);
	at_count = 0;
	qmt_system_run(kit.sys, 100);
	assert_int_equal(at_count, 0);
	assert_int_equal(get(&kit, beat, TICKS), 0);
	kit_stop(&kit);
}

/* ---- a target ---------------------------------------------------------------------------------------------------- */

static uint64_t taken;

static void target_answer(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	(void)state;
	taken += ((const struct kit_answer *)body)->value;
}
static void target_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	qmt_hold(ctx, true);
	(void)body;
}
static qmt_handler *const target_handlers[kit_message_count] = {
	[kit_answer_id] = target_answer, [kit_poke_id] = target_poke};
static const struct qmt_actor_desc target_desc =
	KIT_DESC("target", target_handlers, .bound = 3, .overflow = QMT_REFUSE);

/* The target gets its ticks; one that is full misses them; when it has ended, so has the interval. */
static void weak_on_the_target(void **unused)
{
	(void)unused;
	struct kit kit;

	taken = 0;
	kit_start_seeded(&kit, 3);
	struct qmt_ref beat = kit_spawn(&kit, &beat_desc, NULL), target = kit_spawn(&kit, &target_desc, NULL);
	assert_int_equal(QMT_TELL(kit.out, beat, kit_poke, .value = TELL, .ref = target), 0);
	qmt_system_run(kit.sys, 55);
	assert_int_equal(taken, 5);
	assert_int_equal(QMT_TELL(kit.out, target, kit_poke, ), 0); /* takes nothing any more */
	qmt_system_run(kit.sys, 50);
	assert_int_equal(get(&kit, beat, TICKS), 8);
	assert_int_equal(get(&kit, beat, MISSED), 2);
	assert_int_equal(qmt_stop(kit.out, target), 0);
	qmt_system_run(kit.sys, 0);
	assert_int_equal(get(&kit, beat, RUNS), 1);
	qmt_system_run(kit.sys, 20);
	assert_false(qmt_is_running(target));
	assert_int_equal(get(&kit, beat, RUNS), 0);
	assert_int_equal(get(&kit, beat, TICKS), 8);
	kit_stop(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(policies), cmocka_unit_test(ends), cmocka_unit_test(weak_on_the_target)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
