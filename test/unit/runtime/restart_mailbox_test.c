/* runtime/supervisor: the mailbox survives a restart, and nothing else of the incarnation that failed does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/lib/runtime_kit.h"

enum { NUMBERS = 600, ASKED = 10000, HOLD, LATER, WHO, FLOOD };

/* ---- an actor that fails over some numbers and writes down what it handled --------------------------------------- */

static uint64_t handled[2 * NUMBERS], handled_count;
static uint32_t fails_over; /* each number with this remainder by 7 */
static int bad_starts;
static struct kit_latch progress = KIT_LATCH;
static uint64_t incarnations, strays; /* calls that belong to a dead incarnation */
static struct qmt_ref silent;         /* never answers in time */

struct survivor {
	uint64_t incarnation;
};

static int survivor_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	(void)config;
	((struct survivor *)state)->incarnation = ++incarnations;
	return bad_starts > 0 && bad_starts-- ? -1 : 0;
}
static void answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)ctx;
	(void)result;
	strays += ((struct survivor *)state)->incarnation != (uint64_t)(uintptr_t)arg;
}
static void due(struct qmt_ctx *ctx, void *state, void *arg)
{
	answered(ctx, state, NULL, arg);
}
static void survivor_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	uint64_t value = ((const struct kit_poke *)body)->value, me = ((struct survivor *)state)->incarnation;

	switch (value) {
	case ASKED:
		kit_answer(ctx, me);
		break;
	case HOLD: /* all that an incarnation can leave behind */
		kit_check(qmt_timer_start(ctx, 50, due, (void *)(uintptr_t)me, NULL) == 0);
		kit_check(QMT_ASK(ctx, silent, 60, answered, (void *)(uintptr_t)me, kit_poke, .value = NUMBERS) == 0);
		kit_check(QMT_TELL(ctx, qmt_self(ctx), kit_poke, .value = WHO) == 0);
		kit_check(qmt_tell_after(ctx, 50, qmt_self(ctx), &kit_poke_type, &(struct kit_poke){.value = LATER}) == 0);
		qmt_again(ctx);
		qmt_hold(ctx, true);
		qmt_msg_free(ctx, qmt_keep(ctx));
		qmt_fail(ctx, "held and failed");
		break;
	case LATER:
		strays++;
		break;
	case WHO:
		kit_latch_add(&progress, 1);
		break;
	default:
		kit_check(handled_count < sizeof handled / sizeof *handled);
		handled[handled_count++] = value;
		kit_latch_add(&progress, 1);
		if (value % 7 == fails_over)
			qmt_fail(ctx, "over %llu", (unsigned long long)value);
	}
}
static void survivor_again(struct qmt_ctx *ctx, void *state)
{
	(void)ctx;
	strays += ((struct survivor *)state)->incarnation != 1;
}
static qmt_handler *const handlers[kit_message_count] = {[kit_poke_id] = survivor_poke};
#define SURVIVOR(...)                                                                              \
	KIT_DESC("survivor", handlers, .state_size = sizeof(struct survivor), .start = survivor_start, \
		.again = survivor_again, __VA_ARGS__)
static const struct qmt_actor_desc unbounded = SURVIVOR(.bound = 0);
static const struct qmt_actor_desc blocking = SURVIVOR(.bound = 8, .overflow = QMT_BLOCK);

/* Sends NUMBERS in order, one a turn or all in one. */
static void sender_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;

	(void)state;
	if (poke->value >= NUMBERS)
		return;
	kit_check(QMT_TELL(ctx, poke->ref, kit_poke, .value = poke->value) == 0);
	kit_check(QMT_TELL(ctx, qmt_self(ctx), kit_poke, .value = poke->value + 1, .ref = poke->ref) == 0);
}
static qmt_handler *const sender_handlers[kit_message_count] = {[kit_poke_id] = sender_poke};
static const struct qmt_actor_desc sender_desc = KIT_DESC("sender", sender_handlers);

/* A supervisor of one that tolerates all restarts. */
struct boss_config {
	const struct qmt_actor_desc *desc;
	bool own_thread;
};
static struct qmt_ref survivor;
static int boss_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	const struct boss_config *boss = config;

	(void)state;
	return qmt_spawn(ctx, boss->desc, &(struct qmt_spawn){.restart = QMT_PERMANENT, .own_thread = boss->own_thread},
		&survivor, NULL);
}
static const struct qmt_actor_desc boss_desc = {
	.abi = QMT_ABI, .name = "boss", .start = boss_start, .supervision = {.max_restarts = 10000}};
static const struct qmt_actor_desc slow_boss_desc = {.abi = QMT_ABI,
	.name = "boss",
	.start = boss_start,
	.supervision = {.max_restarts = 10000, .backoff_ms = 20, .backoff_max_ms = 40}};

static void begin(struct kit *kit, const struct qmt_actor_desc *boss, const struct boss_config *config)
{
	struct qmt_ref ref;

	handled_count = incarnations = strays = 0;
	bad_starts = 0;
	kit_latch_reset(&progress);
	ref = kit_spawn(kit, boss, &(struct qmt_spawn){.config = config});
	assert_int_equal(qmt_outside_await_start(kit->out, ref, KIT_PATIENCE_MS), 0);
}

static void all_in_order(void)
{
	assert_int_equal(handled_count, NUMBERS);
	for (uint64_t i = 0; i < NUMBERS; i++)
		assert_int_equal(handled[i], i);
}

/* Every tell is handled once and in order, the one that it failed over not again, whatever waits where: in a batch that
 * was taken already, in a backoff, behind starts that fail, at a bound with a sender that waits. */
static void every_tell_once(void **unused)
{
	(void)unused;
	for (uint64_t seed = 0; seed < 28; seed++) {
		const struct boss_config config = {seed % 2 ? &blocking : &unbounded, false};
		struct kit kit;

		fails_over = (uint32_t)(seed % 7);
		kit_start_seeded(&kit, seed);
		begin(&kit, seed % 3 ? &boss_desc : &slow_boss_desc, &config);
		if (seed % 2) {
			struct qmt_ref sender = kit_spawn(&kit, &sender_desc, NULL);

			assert_int_equal(QMT_TELL(kit.out, sender, kit_poke, .value = 0, .ref = survivor), 0);
		} else {
			for (uint64_t i = 0; i < NUMBERS; i++)
				assert_int_equal(QMT_TELL(kit.out, survivor, kit_poke, .value = i), 0);
		}
		for (int i = 0; i < 60; i++) {
			bad_starts = i % 4;
			qmt_system_run(kit.sys, 100);
		}
		all_in_order();
		assert_true(incarnations > NUMBERS / 7);
		kit_stop(&kit);
	}
}

/* The same on threads. */
static void every_tell_once_on_threads(void **unused)
{
	(void)unused;
	for (int i = 0; i < 8; i++) {
		const struct boss_config config = {i & 1 ? &blocking : &unbounded, i & 2};
		struct kit kit;

		fails_over = (uint32_t)i % 7;
		kit_start(&kit, i & 4 ? 1 : 3);
		begin(&kit, &boss_desc, &config);
		assert_int_equal(qmt_outside_await_start(kit.out, survivor, KIT_PATIENCE_MS), 0);
		struct qmt_ref sender = kit_spawn(&kit, &sender_desc, NULL);
		assert_int_equal(QMT_TELL(kit.out, sender, kit_poke, .value = 0, .ref = survivor), 0);
		kit_latch_wait(&progress, NUMBERS);
		kit_stop(&kit);
		all_in_order();
	}
}

/* A mailbox that drops its oldest still keeps no more than its bound over a restart, and the newest of them. */
static void drop_old_keeps_its_bound(void **unused)
{
	(void)unused;
	static const struct qmt_actor_desc dropping = SURVIVOR(.bound = 8, .overflow = QMT_DROP_OLD);
	const struct boss_config config = {&dropping, false};
	struct qmt_counters counters;
	struct kit kit;

	for (uint64_t seed = 0; seed < 10; seed++) {
		fails_over = 6;
		kit_start_seeded(&kit, seed);
		begin(&kit, &slow_boss_desc, &config);
		qmt_system_run(kit.sys, 0);
		assert_int_equal(QMT_TELL(kit.out, survivor, kit_poke, .value = 6), 0);
		qmt_system_run(kit.sys, 0);
		for (uint64_t i = 0; i < 100; i++) { /* during the backoff, some seen, some not */
			assert_int_equal(QMT_TELL(kit.out, survivor, kit_poke, .value = 7 + 7 * i), 0);
			if (i % 16 == seed)
				qmt_system_run(kit.sys, 0);
		}
		qmt_system_run(kit.sys, 1000);
		assert_int_equal(handled_count, 1 + 8);
		for (uint64_t i = 0; i < 8; i++)
			assert_int_equal(handled[1 + i], 7 + 7 * (92 + i));
		qmt_system_counters(kit.sys, &counters);
		assert_int_equal(counters.dropped, 92);
		assert_int_equal(counters.dead_letters, 0);
		kit_stop(&kit);
	}
}

/* Timers, asks, delayed tells, `again` and hold of the incarnation that failed do not reach the next; what it told
 * itself does, as any tell. */
static void nothing_else_survives(void **unused)
{
	(void)unused;
	const struct boss_config config = {&unbounded, false};
	struct kit kit;
	uint64_t got;

	for (uint64_t seed = 0; seed < 20; seed++) {
		fails_over = 8;
		kit_start_seeded(&kit, seed);
		begin(&kit, seed % 2 ? &boss_desc : &slow_boss_desc, &config);
		silent = kit_spawn(&kit, &sender_desc, NULL);
		qmt_system_run(kit.sys, 0);
		assert_int_equal(QMT_TELL(kit.out, survivor, kit_poke, .value = HOLD), 0);
		qmt_system_run(kit.sys, 500);
		assert_int_equal(incarnations, 2);
		assert_int_equal(strays, 0);
		assert_int_equal(kit_latch_count(&progress), 1);
		assert_int_equal(kit_ask(&kit, survivor, ASKED, 0, &got), 0); /* it does not hold */
		assert_int_equal(got, 2);
		kit_stop(&kit);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_tell_once),
		cmocka_unit_test(every_tell_once_on_threads),
		cmocka_unit_test(drop_old_keeps_its_bound),
		cmocka_unit_test(nothing_else_survives),
	};

	return cmocka_run_group_tests_name("runtime/restart_mailbox", tests, NULL, NULL);
}
