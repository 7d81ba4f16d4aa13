/* runtime/await and qmt_kill: waiting for a start or an end, and what an end does to what was queued. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/internal.h"
#include "test/lib/runtime_kit.h"

enum { FAIL = 1, STOP, COUNT, AWAIT_START, AWAIT_END, FLOOD, SPAWN };

struct thing {
	uint64_t worked, answers, lost;
	int fail;
};

static int bad_starts; /* how many of the next fail */
static struct kit_latch stops = KIT_LATCH, worked = KIT_LATCH;

static int thing_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	(void)state;
	(void)config;
	return bad_starts > 0 && bad_starts-- ? -7 : 0;
}
static void thing_stop(struct qmt_ctx *ctx, void *state)
{
	(void)ctx;
	(void)state;
	kit_latch_add(&stops, 1);
}
static void waited(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct thing *thing = state;

	(void)ctx;
	(void)arg;
	kit_check(!result->body);
	thing->answers++;
	thing->fail = result->fail;
}
static const struct qmt_actor_desc *thing_desc(void);
static void thing_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct thing *thing = state;

	switch (poke->value) {
	case FAIL:
		qmt_fail(ctx, "told to fail");
		break;
	case STOP:
		qmt_stop_self(ctx);
		break;
	case COUNT:
		kit_answer(ctx, thing->answers * 100 + (uint64_t)thing->fail);
		break;
	case AWAIT_START:
		kit_check(qmt_await_start(ctx, poke->ref, 1000, waited, NULL) == 0);
		break;
	case AWAIT_END:
		kit_check(qmt_await_end(ctx, poke->ref, 1000, waited, NULL) == 0);
		break;
	case SPAWN: {
		struct qmt_ref child;

		kit_check(qmt_spawn(ctx, thing_desc(), NULL, &child, NULL) == 0);
		kit_check(qmt_await_start(ctx, child, 1000, waited, NULL) == 0);
		break;
	}
	case FLOOD:
		for (int i = 0; i < 1000; i++)
			kit_check(QMT_TELL(ctx, poke->ref, kit_poke, .value = 1000 + (uint64_t)i) == 0);
		kit_check(qmt_kill(ctx, poke->ref) == 0);
		break;
	default:
		thing->worked++;
		kit_latch_add(&worked, 1);
	}
}
static void thing_undelivered(
	struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body, int reason)
{
	struct thing *thing = state;

	(void)ctx;
	kit_check(type == &kit_poke_type && reason == QMT_FAIL_NOT_RUNNING);
	kit_check(((const struct kit_poke *)body)->value == 1000 + thing->lost); /* in order, as they were */
	thing->lost++;
	thing->answers = thing->lost;
}
static qmt_handler *const handlers[kit_message_count] = {[kit_poke_id] = thing_poke};
static const struct qmt_actor_desc *thing_desc(void)
{
	static const struct qmt_actor_desc desc = KIT_DESC("thing", handlers, .state_size = sizeof(struct thing),
		.start = thing_start, .stop = thing_stop, .undelivered = thing_undelivered, .supervision.backoff_ms = 0);

	return &desc;
}

static void tell(struct kit *kit, struct qmt_ref to, uint64_t value, struct qmt_ref ref)
{
	assert_int_equal(QMT_TELL(kit->out, to, kit_poke, .value = value, .ref = ref), 0);
}

static const struct qmt_ref none;

/* From outside: a start that worked, one that failed for good, one that works at the third time; ends with their reason
 * and text; and deadlines, after which nothing is left behind. */
static void from_outside(void **unused)
{
	(void)unused;
	struct qmt_result result;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref a = kit_spawn(&kit, thing_desc(), NULL);
	assert_int_equal(qmt_outside_await_start(kit.out, a, 100), 0);
	assert_int_equal(qmt_outside_await_start(kit.out, a, 100), 0); /* long since */
	uint64_t before = qmt_now_ms(kit.out);
	for (int i = 0; i < 100; i++)
		assert_int_equal(qmt_outside_await_end(kit.out, a, 100, &result), QMT_FAIL_DEADLINE);
	assert_int_equal(qmt_now_ms(kit.out), before + 100 * 100);
	assert_true(actor_ext(a.actor)->awaiting && !actor_ext(a.actor)->awaiting->next); /* the last one's at most */
	tell(&kit, a, STOP, none);
	assert_int_equal(qmt_outside_await_end(kit.out, a, 100, &result), 0);
	assert_int_equal(result.fail, 0);
	assert_int_equal(qmt_outside_await_end(kit.out, a, 100, &result), 0);
	assert_int_equal(result.fail, QMT_FAIL_NOT_RUNNING);
	assert_int_equal(qmt_outside_await_start(kit.out, a, 100), QMT_FAIL_NOT_RUNNING);

	bad_starts = 1;
	a = kit_spawn(&kit, thing_desc(), NULL);
	assert_int_equal(qmt_outside_await_start(kit.out, a, 100), QMT_FAIL_FAILED);
	bad_starts = 2;
	a = kit_spawn(&kit, thing_desc(), &(struct qmt_spawn){.restart = QMT_PERMANENT});
	assert_int_equal(qmt_outside_await_start(kit.out, a, 100), 0);
	assert_int_equal(bad_starts, 0);
	a = kit_spawn(&kit, thing_desc(), NULL);
	tell(&kit, a, FAIL, none);
	assert_int_equal(qmt_outside_await_end(kit.out, a, 100, &result), 0);
	assert_int_equal(result.fail, QMT_FAIL_FAILED);
	assert_int_equal(result.text.len, strlen("told to fail"));
	assert_memory_equal(result.text.p, "told to fail", result.text.len);
	assert_int_equal(qmt_outside_await_end(kit.out, none, 100, &result), 0);
	assert_int_equal(result.fail, QMT_FAIL_NOT_RUNNING);
	a.rid = 3; /* behind a link */
	a.gen = a.actor->gen;
	assert_int_equal(qmt_outside_await_end(kit.out, a, 100, &result), QMT_FAIL_NO_ROUTE);
	assert_int_equal(qmt_outside_await_start(kit.out, a, 100), QMT_FAIL_NO_ROUTE);
	kit_stop(&kit);
}

/* From an actor, by continuation: start of a child it spawned, end of another, and a deadline. */
static void from_an_actor(void **unused)
{
	(void)unused;
	struct kit kit;
	uint64_t got;

	for (uint64_t seed = 0; seed < 20; seed++) {
		kit_start_seeded(&kit, seed);
		struct qmt_ref waiter = kit_spawn(&kit, thing_desc(), NULL), other = kit_spawn(&kit, thing_desc(), NULL);
		qmt_system_run(kit.sys, 0);
		tell(&kit, waiter, SPAWN, none);
		qmt_system_run(kit.sys, 0);
		assert_int_equal(kit_ask(&kit, waiter, COUNT, 0, &got), 0);
		assert_int_equal(got, 100);
		bad_starts = 1;
		tell(&kit, waiter, SPAWN, none);
		qmt_system_run(kit.sys, 0);
		assert_int_equal(kit_ask(&kit, waiter, COUNT, 0, &got), 0);
		assert_int_equal(got, 200 + QMT_FAIL_FAILED);
		tell(&kit, waiter, AWAIT_END, other);
		qmt_system_run(kit.sys, 999);
		assert_int_equal(kit_ask(&kit, waiter, COUNT, 0, &got), 0);
		assert_int_equal(got, 200 + QMT_FAIL_FAILED);
		qmt_system_run(kit.sys, 1);
		assert_int_equal(kit_ask(&kit, waiter, COUNT, 0, &got), 0);
		assert_int_equal(got, 300 + QMT_FAIL_DEADLINE);
		tell(&kit, waiter, AWAIT_END, other);
		qmt_system_run(kit.sys, 0);
		assert_int_equal(qmt_kill(kit.out, other), 0);
		qmt_system_run(kit.sys, 0);
		assert_int_equal(kit_ask(&kit, waiter, COUNT, 0, &got), 0);
		assert_int_equal(got, 400 + QMT_FAIL_CANCELLED);
		kit_stop(&kit);
	}
}

/* On threads: many are waited for while they start and end. */
static void on_threads(void **unused)
{
	(void)unused;
	struct qmt_result result;
	struct kit kit;

	bad_starts = 0;
	for (int own = 0; own < 2; own++) {
		kit_start(&kit, 3);
		for (int i = 0; i < 200; i++) {
			struct qmt_ref a = kit_spawn(&kit, thing_desc(), &(struct qmt_spawn){.own_thread = own});

			assert_int_equal(qmt_outside_await_start(kit.out, a, KIT_PATIENCE_MS), 0);
			tell(&kit, a, i % 2 ? STOP : FAIL, none);
			assert_int_equal(qmt_outside_await_end(kit.out, a, KIT_PATIENCE_MS, &result), 0);
			assert_true(result.fail == (i % 2 ? 0 : QMT_FAIL_FAILED) || result.fail == QMT_FAIL_NOT_RUNNING);
		}
		kit_stop(&kit);
	}
}

/* Killed: nothing that waits is handled, the stop hook runs, no restart policy holds, children end too; who sent what
 * is lost hears of it in order, and it is counted. */
static void killed(void **unused)
{
	(void)unused;
	struct qmt_counters counters;
	struct kit kit;
	uint64_t got;

	for (uint64_t seed = 0; seed < 10; seed++) {
		kit_start_seeded(&kit, seed);
		struct qmt_ref sender = kit_spawn(&kit, thing_desc(), NULL);
		struct qmt_ref victim = kit_spawn(&kit, thing_desc(), &(struct qmt_spawn){.restart = QMT_PERMANENT});
		tell(&kit, victim, SPAWN, none);
		qmt_system_run(kit.sys, 0);
		kit_latch_reset(&worked);
		kit_latch_reset(&stops);
		/* from outside before it has had a turn: all of that is lost */
		for (int i = 0; i < 100; i++)
			tell(&kit, victim, 5000, none);
		assert_int_equal(qmt_kill(kit.out, victim), 0);
		qmt_system_run(kit.sys, 0);
		assert_int_equal(kit_latch_count(&worked), 0);
		assert_int_equal(kit_latch_count(&stops), 2);
		assert_false(qmt_is_running(victim));
		assert_int_equal(qmt_kill(kit.out, victim), QMT_FAIL_NOT_RUNNING);
		assert_int_equal(qmt_kill(kit.out, none), QMT_FAIL_NOT_RUNNING);
		qmt_system_counters(kit.sys, &counters);
		assert_int_equal(counters.dead_letters, 100);
		assert_int_equal(counters.restarted, 0);
		assert_int_equal(counters.failed, 0);

		victim = kit_spawn(&kit, thing_desc(), NULL);
		qmt_system_run(kit.sys, 0);
		tell(&kit, sender, FLOOD, victim); /* a thousand, and kills it */
		qmt_system_run(kit.sys, 0);
		assert_int_equal(kit_latch_count(&worked), 0);
		qmt_system_counters(kit.sys, &counters);
		assert_int_equal(counters.dead_letters, 1100);
		assert_int_equal(kit_ask(&kit, sender, COUNT, 0, &got), 0);
		assert_int_equal(got / 100, 1000);
		kit_stop(&kit);
	}
}

/* A million messages wait at a stop: it ends in time, all are counted as lost, and none is handled any more. */
static void a_million_at_stop(void **unused)
{
	(void)unused;
	enum { MANY = 1000000 };
	struct qmt_counters counters;
	struct qmt_err err;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref a = kit_spawn(&kit, thing_desc(), NULL);
	qmt_system_run(kit.sys, 0);
	kit_latch_reset(&worked);
	for (int i = 0; i < MANY; i++)
		tell(&kit, a, 5000, none);
	assert_int_equal(qmt_system_stop(kit.sys, 1000, &err), 0);
	qmt_system_counters(kit.sys, &counters);
	assert_int_equal(counters.dead_letters + kit_latch_count(&worked), MANY);
	assert_in_range(kit_latch_count(&worked), 0, 256);
	kit_stop(&kit);

	kit_start(&kit, 2);
	a = kit_spawn(&kit, thing_desc(), NULL);
	kit_latch_reset(&worked);
	for (int i = 0; i < MANY; i++)
		tell(&kit, a, 5000, none);
	assert_int_equal(qmt_system_stop(kit.sys, KIT_PATIENCE_MS, &err), 0);
	qmt_system_counters(kit.sys, &counters);
	assert_int_equal(counters.dead_letters + kit_latch_count(&worked), MANY);
	kit_stop(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(from_outside),
		cmocka_unit_test(from_an_actor),
		cmocka_unit_test(on_threads),
		cmocka_unit_test(killed),
		cmocka_unit_test(a_million_at_stop),
	};

	return cmocka_run_group_tests_name("runtime/await", tests, NULL, NULL);
}
