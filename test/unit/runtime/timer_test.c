/* runtime/timer: timers fire once, in order, never early, never after a cancel or the end of the incarnation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/lib/runtime_kit.h"

enum { TIMERS = 300 };

struct ticker {
	struct qmt_timer timers[TIMERS];
	uint64_t due_ms[TIMERS];
	bool cancelled[TIMERS], fired[TIMERS];
	uint64_t last_ms;
	uint32_t fired_count;
	struct qmt_token waiting;
};

static uint32_t number_of(const void *arg)
{
	return (uint32_t)(uintptr_t)arg;
}

static void fired(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct ticker *ticker = state;
	uint32_t i = number_of(arg);

	kit_check(!ticker->cancelled[i] && !ticker->fired[i]);
	kit_check(qmt_now_ms(ctx) >= ticker->due_ms[i]);
	kit_check(ticker->due_ms[i] >= ticker->last_ms);
	ticker->last_ms = ticker->due_ms[i];
	ticker->fired[i] = true;
	ticker->fired_count++;
	/* cancels a later one, itself, and one that is no timer: all are fine */
	uint32_t other = (i * 7 + 3) % TIMERS;
	if (!ticker->fired[other] && i % 3 == 0)
		ticker->cancelled[other] = true;
	if (i % 3 == 0)
		qmt_timer_cancel(ctx, &ticker->timers[other]);
	qmt_timer_cancel(ctx, &ticker->timers[i]);
	qmt_timer_cancel(ctx, &(struct qmt_timer){0});
	qmt_timer_cancel(ctx, &(struct qmt_timer){UINT64_MAX});
}

static void ticker_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct ticker *ticker = state;
	uint64_t value = ((const struct kit_poke *)body)->value;

	if (value == 0) {
		for (uint32_t i = 0; i < TIMERS; i++) {
			uint64_t delay = (i * 7919) % 997;

			ticker->due_ms[i] = qmt_now_ms(ctx) + delay;
			kit_check(qmt_timer_start(ctx, delay, fired, (void *)(uintptr_t)i, &ticker->timers[i]) == 0);
		}
		for (uint32_t i = 0; i < TIMERS; i += 5) {
			ticker->cancelled[i] = true;
			qmt_timer_cancel(ctx, &ticker->timers[i]);
			kit_check(ticker->timers[i].id == 0);
		}
	}
	kit_answer(ctx, ticker->fired_count);
}
static qmt_handler *const ticker_handlers[kit_message_count] = {[kit_poke_id] = ticker_poke};
static const struct qmt_actor_desc ticker_desc = KIT_DESC("ticker", ticker_handlers,
	.state_size = sizeof(struct ticker));

/* Many timers, some cancelled before, some by others: the rest fires in the order of time. */
static void many_timers_in_order(void **unused)
{
	(void)unused;
	struct kit kit;
	uint64_t before, value;

	for (uint64_t seed = 1; seed < 5; seed++) {
		kit_start_seeded(&kit, seed);
		struct qmt_ref ref = kit_spawn(&kit, &ticker_desc, NULL);
		before = qmt_now_ms(kit.out);
		assert_int_equal(kit_ask(&kit, ref, 0, 0, NULL), 0);
		qmt_system_run(kit.sys, 2000);
		assert_int_equal(qmt_now_ms(kit.out), before + 2000);
		assert_int_equal(kit_ask(&kit, ref, 1, 0, &value), 0);
		assert_true(value > TIMERS / 2 && value < TIMERS * 4 / 5);
		kit_stop(&kit);
	}
}

/* ---- real time --------------------------------------------------------------------------------------------------- */

static struct kit_latch latch = KIT_LATCH;

static void alarm_over(struct qmt_ctx *ctx, void *state, void *arg)
{
	kit_check(qmt_now_ns(ctx) >= *(uint64_t *)state);
	kit_latch_add(arg, 1);
	if (kit_latch_count(arg) < 20) {
		*(uint64_t *)state = qmt_now_ns(ctx) + 1000000;
		kit_check(qmt_timer_start(ctx, 1, alarm_over, arg, NULL) == 0);
	}
}
static int alarm_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)config;
	*(uint64_t *)state = qmt_now_ns(ctx) + 5000000;
	return qmt_timer_start(ctx, 5, alarm_over, &latch, NULL);
}
static const struct qmt_actor_desc alarm_plain = {.abi = QMT_ABI, .name = "alarm", .state_size = sizeof(uint64_t),
	.start = alarm_start};

/* With the real clock timers are never early, on workers and on a thread of the actor's own. */
static void never_early(void **unused)
{
	(void)unused;
	struct kit kit;

	for (int own = 0; own < 2; own++) {
		kit_start(&kit, 2);
		latch.count = 0;
		kit_spawn(&kit, &alarm_plain, &(struct qmt_spawn){.own_thread = own});
		kit_latch_wait(&latch, 20);
		kit_stop(&kit);
	}
}

/* ---- delayed tells ----------------------------------------------------------------------------------------------- */

struct delayer {
	uint64_t got, order;
	uint64_t undelivered;
};

static void delayer_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct delayer *delayer = state;

	switch (poke->value) {
	case 1: /* sends itself 20, 10, 30 */
		kit_check(qmt_tell_after(ctx, 20, qmt_self(ctx), &kit_poke_type, &(struct kit_poke){.value = 102}) == 0);
		kit_check(qmt_tell_after(ctx, 10, qmt_self(ctx), &kit_poke_type, &(struct kit_poke){.value = 101}) == 0);
		kit_check(qmt_tell_after(ctx, 30, qmt_self(ctx), &kit_poke_type, &(struct kit_poke){.value = 103}) == 0);
		break;
	case 2:
		kit_answer(ctx, delayer->order * 1000 + delayer->undelivered);
		break;
	case 3: /* later to somebody else, then ends or not */
		kit_check(qmt_tell_after(ctx, 10, poke->ref, &kit_poke_type, &(struct kit_poke){.value = 101}) == 0);
		break;
	case 4:
		qmt_stop_self(ctx);
		break;
	default:
		delayer->order = delayer->order * 10 + (poke->value - 100);
	}
}
static void delayer_undelivered(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body,
	int reason)
{
	(void)ctx;
	kit_check(type == &kit_poke_type && ((const struct kit_poke *)body)->value == 101 &&
		reason == QMT_FAIL_NOT_RUNNING);
	((struct delayer *)state)->undelivered++;
}
static qmt_handler *const delayer_handlers[kit_message_count] = {[kit_poke_id] = delayer_poke};
static const struct qmt_actor_desc delayer_desc =
	KIT_DESC("delayer", delayer_handlers, .state_size = sizeof(struct delayer), .undelivered = delayer_undelivered);

/* Delayed tells come in the order of their times; those of an actor that ended do not come; those to one that ended
 * come back. */
static void delayed_tells(void **unused)
{
	(void)unused;
	struct kit kit;
	uint64_t value;

	kit_start_seeded(&kit, 3);
	struct qmt_ref a = kit_spawn(&kit, &delayer_desc, NULL), b = kit_spawn(&kit, &delayer_desc, NULL);
	QMT_TELL(kit.out, a, kit_poke, .value = 1);
	qmt_system_run(kit.sys, 15);
	assert_int_equal(kit_ask(&kit, a, 2, 0, &value), 0);
	assert_int_equal(value, 1000);
	qmt_system_run(kit.sys, 30);
	assert_int_equal(kit_ask(&kit, a, 2, 0, &value), 0);
	assert_int_equal(value, 123000);
	QMT_TELL(kit.out, b, kit_poke, .value = 3, .ref = a);
	QMT_TELL(kit.out, b, kit_poke, .value = 4);
	qmt_system_run(kit.sys, 50);
	assert_int_equal(kit_ask(&kit, a, 2, 0, &value), 0);
	assert_int_equal(value, 123000);
	QMT_TELL(kit.out, a, kit_poke, .value = 3, .ref = b);
	qmt_system_run(kit.sys, 50);
	assert_int_equal(kit_ask(&kit, a, 2, 0, &value), 0);
	assert_int_equal(value, 123001);
	kit_stop(&kit);
}

/* From outside there are no timers: refused, not crashed. */
static void not_from_outside(void **unused)
{
	(void)unused;
	struct kit kit;
	struct qmt_timer timer = {5};

	kit_start(&kit, 1);
	assert_true(qmt_timer_start(kit.out, 1, fired, NULL, NULL) < 0);
	assert_true(qmt_tell_after(kit.out, 1, (struct qmt_ref){0}, &kit_poke_type, NULL) < 0);
	qmt_timer_cancel(kit.out, &timer);
	assert_int_equal(timer.id, 0);
	kit_stop(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_timers_in_order),
		cmocka_unit_test(never_early),
		cmocka_unit_test(delayed_tells),
		cmocka_unit_test(not_from_outside),
	};

	return cmocka_run_group_tests_name("runtime/timer", tests, NULL, NULL);
}
