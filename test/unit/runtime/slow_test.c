/* runtime/slow: a handler that runs too long is reported while it runs, once, and again when it has ended, with one
 * worker too; many short ones in a row, and a thread of its own, are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/internal.h"
#include "test/lib/runtime_kit.h"

enum { SLOW_MS = 200 };
/* What an actor does with a poke. */
enum { BLOCK = 1, BRIEF, SPAWN_SLOW_START };

static struct kit_latch unblock = KIT_LATCH, ended = KIT_LATCH;

/* Blocks as no handler should. */
static void block(void)
{
	kit_latch_wait(&unblock, 1);
	kit_latch_add(&ended, 1);
}

static int slow_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	(void)state;
	(void)config;
	block();
	return 0;
}
static void poked(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;

	(void)state;
	if (poke->value == BLOCK) {
		block();
	} else {
		uint64_t until = qmt_now_ns(ctx) + 1000000;

		while (qmt_now_ns(ctx) < until)
			;
		/* the block of this message is used again at once, as long as the turn lasts */
		if (poke->value > 100)
			kit_check(qmt_tell(ctx, qmt_self(ctx), &kit_poke_type, &(struct kit_poke){.value = poke->value - 1}) == 0);
		else
			kit_latch_add(&ended, 1);
	}
}
static qmt_handler *const handlers[kit_message_count] = {[kit_poke_id] = poked};
static const struct qmt_actor_desc desc = KIT_DESC("worker", handlers, );
static const struct qmt_actor_desc start_desc = KIT_DESC("starter", handlers, .start = slow_start);

static void start(struct kit *kit, uint32_t workers)
{
	struct qmt_err err;

	kit_latch_reset(&unblock);
	kit_latch_reset(&ended);
	kit_start(kit, workers);
	kit->out = qmt_outside_close(kit->out);
	assert_int_equal(qmt_system_stop(kit->sys, 1000, NULL), 0);
	kit->sys = qmt_system_free(kit->sys);
	kit->sys = qmt_system_start(
		&(struct qmt_system_options){.workers = workers, .log = kit->log, .slow_handler_ms = SLOW_MS}, &err);
	assert_non_null(kit->sys);
	kit->out = qmt_outside_open(kit->sys);
}
static uint64_t slow_ones(struct kit *kit)
{
	struct qmt_counters counters;

	qmt_system_counters(kit->sys, &counters);
	return counters.slow_handlers;
}
static void wait_slow(struct kit *kit, uint64_t count)
{
	uint64_t until = qmt_now_ms(kit->out) + KIT_PATIENCE_MS;

	while (slow_ones(kit) < count)
		kit_check(qmt_now_ms(kit->out) < until);
}
static void wait_logged(struct kit *kit, const char *text)
{
	uint64_t until = qmt_now_ms(kit->out) + KIT_PATIENCE_MS;

	while (!kit_logged(kit, text))
		kit_check(qmt_now_ms(kit->out) < until);
}
static void poke(struct kit *kit, struct qmt_ref to, uint64_t value)
{
	kit_check(qmt_tell(kit->out, to, &kit_poke_type, &(struct kit_poke){.value = value}) == 0);
}

struct seen {
	const void *self;
	uint64_t slow_ms;
};
static void look_at(const struct qmt_actor_info *info, void *arg)
{
	struct seen *seen = arg;

	if (info->self == seen->self)
		seen->slow_ms = info->slow_ms;
}
static uint64_t slow_ms(struct kit *kit, struct qmt_ref who)
{
	struct seen seen = {.self = who.actor};

	qmt_system_actors(kit->sys, look_at, &seen);
	return seen.slow_ms;
}

/* Until who is seen in a handler for `least` ms; 0: in none that is too slow. */
static void wait_slow_ms(struct kit *kit, struct qmt_ref who, uint64_t least)
{
	uint64_t until = qmt_now_ms(kit->out) + KIT_PATIENCE_MS;

	while (least ? slow_ms(kit, who) < least : slow_ms(kit, who) > 0)
		kit_check(qmt_now_ms(kit->out) < until);
}

static void test_is_reported_while_it_runs_and_when_it_has_ended(void **state)
{
	(void)state;
	/* one worker: nobody is parked; two: both are stuck, or only one is */
	for (uint32_t workers = 1; workers <= 3; workers++) {
		struct kit kit;
		struct qmt_ref slow[2];
		uint32_t stuck = workers == 2 ? 2 : 1;

		start(&kit, workers);
		for (uint32_t i = 0; i < stuck; i++) {
			slow[i] = kit_spawn(&kit, &desc, &(struct qmt_spawn){.name = i ? "second" : "first"});
			poke(&kit, slow[i], BLOCK);
		}
		wait_slow(&kit, stuck);
		wait_logged(&kit, "handler.slow kind=worker name=first message=kit.poke ms=");
		wait_slow_ms(&kit, slow[0], 2 * SLOW_MS); /* looked at again meanwhile */
		assert_int_equal(kit_latch_count(&ended), 0);
		assert_false(kit_logged(&kit, "handler.slow_ended"));
		kit_latch_add(&unblock, 1);
		wait_logged(&kit, "handler.slow_ended kind=worker name=first message=kit.poke ms=");
		wait_slow_ms(&kit, slow[0], 0);
		assert_int_equal(slow_ones(&kit), stuck); /* once each */
		kit_stop(&kit);
	}
}

static void test_a_hook_is_named_as_such(void **state)
{
	struct kit kit;

	(void)state;
	start(&kit, 1);
	(void)kit_spawn(&kit, &start_desc, NULL);
	wait_logged(&kit, "handler.slow kind=starter name=- message=\"(a hook or callback)\" ms=");
	kit_latch_add(&unblock, 1);
	kit_latch_wait(&ended, 1);
	kit_stop(&kit);
}

static void test_many_short_ones_and_a_thread_of_its_own_are_none(void **state)
{
	struct kit kit;
	struct qmt_ref brief, own, slow;

	(void)state;
	start(&kit, 2);
	own = kit_spawn(&kit, &desc, &(struct qmt_spawn){.own_thread = true});
	brief = kit_spawn(&kit, &desc, NULL);
	poke(&kit, own, BLOCK);
	/* one turn of many times the limit, each message in the block of the one before */
	poke(&kit, brief, 100 + 2 * SLOW_MS);
	kit_latch_wait(&ended, 1);
	assert_int_equal(slow_ones(&kit), 0);
	/* one that is too slow shows that somebody has looked all the time */
	slow = kit_spawn(&kit, &desc, NULL);
	poke(&kit, slow, BLOCK);
	wait_slow(&kit, 1);
	wait_slow_ms(&kit, slow, SLOW_MS);
	assert_int_equal(slow_ones(&kit), 1);
	assert_int_equal(slow_ms(&kit, own), 0);
	assert_int_equal(slow_ms(&kit, brief), 0);
	kit_latch_add(&unblock, 1);
	kit_latch_wait(&ended, 3);
	kit_stop(&kit);
}

/* What the thread sees of a worker is put together from several fields; a type that is another kind's has no name. */
static void test_a_type_of_another_kind_has_no_name(void **state)
{
	(void)state;
	assert_string_equal(qmt__message_name(&desc, kit_poke_id), "kit.poke");
	assert_string_equal(qmt__message_name(&desc, kit_message_count), "(unknown)");
	assert_string_equal(qmt__message_name(&desc, 1 << TYPE_SLOT_SHIFT), "(unknown)");
	assert_string_equal(qmt__message_name(&desc, UINT16_MAX), "(unknown)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_is_reported_while_it_runs_and_when_it_has_ended),
		cmocka_unit_test(test_a_hook_is_named_as_such),
		cmocka_unit_test(test_a_type_of_another_kind_has_no_name),
		cmocka_unit_test(test_many_short_ones_and_a_thread_of_its_own_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
