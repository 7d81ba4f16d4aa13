/* runtime/waits: who waits for whom is seen from any thread; a circle of waiting actors is a deadlock and is reported
 * once, one that opens again is none; the time in handlers is found where it was spent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/mailbox.h"
#include "test/lib/runtime_kit.h"

enum { NODES_MAX = 70, BOUND = 4 };
/* What a node does with a poke. */
enum { EXCLUSIVE = 1, FLOOD, ANSWER_KEPT, BURN, KEEP, HOLD, BLOCK };

struct node {
	struct qmt_token kept;
};

static void answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)ctx;
	(void)state;
	(void)result;
	(void)arg;
}

static uint64_t burn_ns;
static struct kit_latch burnt = KIT_LATCH;

static struct kit_latch blocks = KIT_LATCH, unblock = KIT_LATCH, asked = KIT_LATCH;

static void node_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct node *node = state;

	switch (poke->value) {
	case EXCLUSIVE: /* what it is asked it keeps */
		if (qmt_token(ctx).ask)
			node->kept = qmt_token(ctx);
		kit_check(qmt_ask_exclusive(
					  ctx, poke->ref, &kit_poke_type, &(struct kit_poke){.value = KEEP}, 60000, answered, NULL) == 0);
		break;
	case FLOOD:
		for (unsigned i = 0; i < BOUND + 1; i++)
			kit_check(qmt_tell(ctx, poke->ref, &kit_poke_type, &(struct kit_poke){.value = KEEP}) == 0);
		break;
	case ANSWER_KEPT:
		kit_check(node->kept.ask != NULL);
		kit_check(QMT_REPLY(ctx, node->kept, kit_answer, .value = 1) == 0);
		break;
	case BURN: {
		uint64_t until = qmt_now_ns(ctx) + burn_ns;

		while (qmt_now_ns(ctx) < until)
			;
		kit_latch_add(&burnt, 1);
		break;
	}
	case BLOCK: /* on a thread of its own */
		kit_latch_add(&blocks, 1);
		kit_latch_wait(&unblock, 1);
		break;
	case HOLD:
		qmt_hold(ctx, true);
		break;
	default:
		if (qmt_token(ctx).ask) {
			node->kept = qmt_token(ctx);
			kit_latch_add(&asked, 1);
		}
	}
}
static qmt_handler *const handlers[kit_message_count] = {[kit_poke_id] = node_poke};
static const struct qmt_actor_desc node_desc = KIT_DESC("node", handlers, .state_size = sizeof(struct node));
static const struct qmt_actor_desc narrow_desc =
	KIT_DESC("narrow", handlers, .state_size = sizeof(struct node), .bound = BOUND);

static void poke(struct kit *kit, struct qmt_ref to, uint64_t value, struct qmt_ref ref)
{
	kit_check(qmt_tell(kit->out, to, &kit_poke_type, &(struct kit_poke){.value = value, .ref = ref}) == 0);
}
static struct qmt_ref spawn(struct kit *kit, const struct qmt_actor_desc *desc, const char *name)
{
	return kit_spawn(kit, desc, &(struct qmt_spawn){.name = name});
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

struct seen {
	const void *self;
	bool found;
	struct qmt_actor_info info;
	char waits_for[64];
};
static void look_at(const struct qmt_actor_info *info, void *arg)
{
	struct seen *seen = arg;

	if (info->self != seen->self)
		return;
	seen->found = true;
	seen->info = *info;
	snprintf(seen->waits_for, sizeof seen->waits_for, "%s %s", info->waits_for_kind ? info->waits_for_kind : "-",
		info->waits_for_name ? info->waits_for_name : "-");
}
static struct seen look(struct kit *kit, struct qmt_ref who)
{
	struct seen seen = {.self = who.actor};

	qmt_system_actors(kit->sys, look_at, &seen);
	return seen;
}
static uint64_t deadlocks(struct kit *kit)
{
	struct qmt_counters counters;

	qmt_system_counters(kit->sys, &counters);
	return counters.deadlocks;
}

static void test_who_waits_is_seen_with_whom_and_how_long(void **state)
{
	struct kit kit;
	struct qmt_ref a, b, c, d;
	struct seen seen;

	(void)state;
	kit_start_seeded(&kit, 1);
	a = spawn(&kit, &node_desc, "a");
	b = spawn(&kit, &node_desc, "b");
	assert_int_equal(look(&kit, a).info.status, QMT_ACTOR_STARTING);
	qmt_system_run(kit.sys, 10);
	assert_int_equal(look(&kit, a).info.status, QMT_ACTOR_RUNNING);
	poke(&kit, a, EXCLUSIVE, b);
	qmt_system_run(kit.sys, 100);
	seen = look(&kit, a);
	assert_int_equal(seen.info.status, QMT_ACTOR_WAITING);
	assert_ptr_equal(seen.info.waits_for, b.actor);
	assert_string_equal(seen.waits_for, "node b");
	assert_in_range(seen.info.waits_ms, 90, 110);
	assert_false(seen.info.deadlocked);
	assert_null(look(&kit, b).info.waits_for);
	poke(&kit, b, ANSWER_KEPT, (struct qmt_ref){0});
	qmt_system_run(kit.sys, 10);
	seen = look(&kit, a);
	assert_int_equal(seen.info.status, QMT_ACTOR_RUNNING);
	assert_null(seen.info.waits_for);
	assert_int_equal(seen.info.waits_ms, 0);

	/* muted by a mailbox that nobody empties, as its owner waits itself */
	c = spawn(&kit, &narrow_desc, "c");
	d = spawn(&kit, &node_desc, "d");
	poke(&kit, c, EXCLUSIVE, b);
	qmt_system_run(kit.sys, 10);
	poke(&kit, d, FLOOD, c);
	qmt_system_run(kit.sys, 50);
	seen = look(&kit, d);
	assert_int_equal(seen.info.status, QMT_ACTOR_MUTED);
	assert_string_equal(seen.waits_for, "narrow c");
	assert_int_equal(look(&kit, c).info.depth, BOUND + 1);
	poke(&kit, b, ANSWER_KEPT, (struct qmt_ref){0});
	qmt_system_run(kit.sys, 50);
	assert_int_equal(look(&kit, d).info.status, QMT_ACTOR_RUNNING);
	assert_null(look(&kit, d).info.waits_for);
	assert_int_equal(deadlocks(&kit), 0);
	poke(&kit, d, HOLD, d);
	qmt_system_run(kit.sys, 10);
	assert_int_equal(look(&kit, d).info.status, QMT_ACTOR_HOLDING);
	kit_stop(&kit);
}

/* ---- circles ----------------------------------------------------------------------------------------------------- */

static struct {
	uint32_t calls, count;
	char names[NODES_MAX][16];
} told;
static void deadlock(const struct qmt_actor_info *members, uint32_t count, void *arg)
{
	kit_check(arg == &told);
	told.calls++;
	told.count = count;
	for (uint32_t i = 0; i < count; i++) {
		snprintf(told.names[i], sizeof told.names[i], "%s", members[i].name ? members[i].name : "-");
		kit_check(members[i].waits_for == members[(i + 1) % count].self && members[i].deadlocked);
	}
}
static void restart_with_callback(struct kit *kit, uint32_t workers, uint32_t deadlock_ms)
{
	struct qmt_err err;

	memset(&told, 0, sizeof told);
	kit->out = qmt_outside_close(kit->out);
	assert_int_equal(qmt_system_stop(kit->sys, 1000, NULL), 0);
	kit->sys = qmt_system_free(kit->sys);
	kit->sys = qmt_system_start(&(struct qmt_system_options){.workers = workers,
									.seeded = !workers,
									.seed = 5,
									.log = kit->log,
									.deadlock = deadlock,
									.deadlock_ms = deadlock_ms,
									.arg = &told},
		&err);
	assert_non_null(kit->sys);
	kit->out = qmt_outside_open(kit->sys);
}

static void test_a_circle_is_reported_once_with_its_names_in_order(void **state)
{
	struct kit kit;
	struct qmt_ref ring[3];
	static const char *const names[] = {"x", "y", "z"};

	(void)state;
	kit_start_seeded(&kit, 1);
	restart_with_callback(&kit, 0, 0);
	for (unsigned i = 0; i < 3; i++)
		ring[i] = spawn(&kit, &node_desc, names[i]);
	qmt_system_run(kit.sys, 1);
	for (unsigned i = 0; i < 3; i++) {
		poke(&kit, ring[i], EXCLUSIVE, ring[(i + 1) % 3]);
		qmt_system_run(kit.sys, 1); /* one after the other: the last one closes it */
	}
	qmt_system_run(kit.sys, QMT_DEADLOCK_DEFAULT_MS / 2);
	assert_int_equal(told.calls, 0);
	assert_false(look(&kit, ring[0]).info.deadlocked);
	qmt_system_run(kit.sys, 3 * QMT_DEADLOCK_DEFAULT_MS);
	assert_int_equal(told.calls, 1);
	assert_int_equal(told.count, 3);
	assert_string_equal(told.names[0], "z");
	assert_string_equal(told.names[1], "x");
	assert_string_equal(told.names[2], "y");
	assert_int_equal(deadlocks(&kit), 1);
	assert_true(kit_logged(&kit, "actor.deadlock circle=\"node z -> node x -> node y -> node z\" waits_ms="));
	assert_true(look(&kit, ring[1]).info.deadlocked);
	/* the deadline opens it; the next one is another */
	qmt_system_run(kit.sys, 61000);
	assert_false(look(&kit, ring[1]).info.deadlocked);
	for (unsigned i = 0; i < 2; i++)
		poke(&kit, ring[i], EXCLUSIVE, ring[!i]);
	qmt_system_run(kit.sys, 2 * QMT_DEADLOCK_DEFAULT_MS);
	assert_int_equal(told.calls, 2);
	assert_int_equal(told.count, 2);
	kit_stop(&kit);
}

static void test_a_circle_of_a_muted_one_and_one_that_asks_it(void **state)
{
	struct kit kit;
	struct qmt_ref narrow, sender;

	(void)state;
	kit_start_seeded(&kit, 1);
	restart_with_callback(&kit, 0, 100);
	narrow = spawn(&kit, &narrow_desc, "narrow");
	sender = spawn(&kit, &node_desc, "sender");
	poke(&kit, narrow, EXCLUSIVE, sender); /* which keeps the right to answer */
	qmt_system_run(kit.sys, 5);
	assert_int_equal(told.calls, 0);
	poke(&kit, sender, FLOOD, narrow);
	qmt_system_run(kit.sys, 50);
	assert_int_equal(told.calls, 0);
	qmt_system_run(kit.sys, 200);
	assert_int_equal(told.calls, 1);
	assert_string_equal(told.names[0], "sender");
	assert_true(kit_logged(&kit, "circle=\"node sender -> narrow narrow -> node sender\""));
	kit_stop(&kit);
}

static void test_what_opens_in_time_or_is_a_chain_is_no_deadlock(void **state)
{
	struct kit kit;
	struct qmt_ref a, b, c;

	(void)state;
	kit_start_seeded(&kit, 1);
	restart_with_callback(&kit, 0, 100);
	a = spawn(&kit, &node_desc, "a");
	b = spawn(&kit, &node_desc, "b");
	c = spawn(&kit, &node_desc, "c");
	poke(&kit, a, EXCLUSIVE, b);
	qmt_system_run(kit.sys, 1);
	poke(&kit, b, EXCLUSIVE, a); /* a closed circle; b has the right to answer a */
	qmt_system_run(kit.sys, 50);
	assert_ptr_equal(look(&kit, b).info.waits_for, a.actor);
	assert_ptr_equal(look(&kit, a).info.waits_for, b.actor);
	kit_check(qmt_tell_urgent(kit.out, b, &kit_poke_type, &(struct kit_poke){.value = ANSWER_KEPT}) == 0);
	qmt_system_run(kit.sys, 10);
	assert_null(look(&kit, a).info.waits_for);
	/* and another one, before the first would have been looked at again: it has its own time */
	poke(&kit, a, ANSWER_KEPT, a);
	qmt_system_run(kit.sys, 1);
	poke(&kit, a, EXCLUSIVE, b);
	qmt_system_run(kit.sys, 1);
	poke(&kit, b, EXCLUSIVE, a);
	qmt_system_run(kit.sys, 70);
	assert_ptr_equal(look(&kit, a).info.waits_for, b.actor);
	assert_ptr_equal(look(&kit, b).info.waits_for, a.actor);
	assert_int_equal(told.calls, 0);
	kit_check(qmt_tell_urgent(kit.out, b, &kit_poke_type, &(struct kit_poke){.value = ANSWER_KEPT}) == 0);
	qmt_system_run(kit.sys, 1000);
	assert_int_equal(told.calls, 0);
	/* a chain, and one that hangs on a circle: only the circle */
	poke(&kit, a, ANSWER_KEPT, a);
	qmt_system_run(kit.sys, 1);
	poke(&kit, a, EXCLUSIVE, b);
	poke(&kit, c, EXCLUSIVE, a);
	qmt_system_run(kit.sys, 1000);
	assert_int_equal(told.calls, 0);
	poke(&kit, b, EXCLUSIVE, a);
	qmt_system_run(kit.sys, 1000);
	assert_int_equal(told.calls, 1);
	assert_int_equal(told.count, 2);
	assert_false(look(&kit, c).info.deadlocked);
	kit_stop(&kit);
}

static void test_a_circle_of_the_limit_is_reported_and_a_longer_one_is_not(void **state)
{
	struct kit kit;
	struct qmt_ref ring[QMT_DEADLOCK_MEMBERS + 1];

	(void)state;
	for (uint32_t count = QMT_DEADLOCK_MEMBERS; count <= QMT_DEADLOCK_MEMBERS + 1; count++) {
		kit_start_seeded(&kit, 1);
		restart_with_callback(&kit, 0, 100);
		for (uint32_t i = 0; i < count; i++)
			ring[i] = spawn(&kit, &node_desc, NULL);
		qmt_system_run(kit.sys, 1);
		for (uint32_t i = 0; i < count; i++)
			poke(&kit, ring[i], EXCLUSIVE, ring[(i + 1) % count]);
		qmt_system_run(kit.sys, 1000);
		assert_int_equal(told.calls, count == QMT_DEADLOCK_MEMBERS);
		assert_int_equal(told.count, count == QMT_DEADLOCK_MEMBERS ? count : 0);
		kit_stop(&kit);
	}
}

/* Whichever way the two meet, the circle is seen. */
static struct kit_latch reported = KIT_LATCH;
static void deadlock_counted(const struct qmt_actor_info *members, uint32_t count, void *arg)
{
	(void)arg;
	kit_check(count == 2 && members[0].waits_for == members[1].self);
	kit_latch_add(&reported, 1);
}
static void test_circles_that_close_on_two_threads_at_once_are_seen(void **state)
{
	enum { PAIRS = 50 };
	struct kit kit;
	struct qmt_ref a[PAIRS], b[PAIRS];
	struct qmt_err err;

	(void)state;
	kit_latch_reset(&reported);
	kit_start(&kit, 2);
	kit.out = qmt_outside_close(kit.out);
	assert_int_equal(qmt_system_stop(kit.sys, 1000, NULL), 0);
	kit.sys = qmt_system_free(kit.sys);
	kit.sys = qmt_system_start(
		&(struct qmt_system_options){.workers = 2, .log = kit.log, .deadlock = deadlock_counted, .deadlock_ms = 20},
		&err);
	kit.out = qmt_outside_open(kit.sys);
	for (unsigned i = 0; i < PAIRS; i++) {
		/* one on a thread of its own: they really meet */
		a[i] = kit_spawn(&kit, &node_desc, &(struct qmt_spawn){.own_thread = true});
		b[i] = spawn(&kit, &node_desc, NULL);
		poke(&kit, a[i], EXCLUSIVE, b[i]);
		poke(&kit, b[i], EXCLUSIVE, a[i]);
		look(&kit, a[i]); /* meanwhile: for the sanitizers */
	}
	kit_latch_wait(&reported, PAIRS);
	assert_int_equal(deadlocks(&kit), PAIRS);
	kit_stop(&kit);
}

static void test_a_circle_in_which_somebody_is_at_work_is_not_reported_yet(void **state)
{
	struct kit kit;
	struct qmt_ref pairs[2][2];
	struct qmt_err err;

	(void)state;
	kit_latch_reset(&reported);
	kit_latch_reset(&blocks);
	kit_latch_reset(&unblock);
	kit_latch_reset(&asked);
	kit_start(&kit, 1);
	kit.out = qmt_outside_close(kit.out);
	assert_int_equal(qmt_system_stop(kit.sys, 1000, NULL), 0);
	kit.sys = qmt_system_free(kit.sys);
	kit.sys = qmt_system_start(&(struct qmt_system_options){.workers = 1,
		.log = kit.log,
		.deadlock = deadlock_counted,
		.deadlock_ms = 20}, &err);
	kit.out = qmt_outside_open(kit.sys);
	for (unsigned i = 0; i < 2; i++) {
		pairs[i][0] = kit_spawn(&kit, &node_desc, &(struct qmt_spawn){.own_thread = true});
		pairs[i][1] = spawn(&kit, &node_desc, NULL);
	}
	poke(&kit, pairs[0][0], EXCLUSIVE, pairs[0][1]);
	kit_latch_wait(&asked, 1);
	kit_check(qmt_tell_urgent(kit.out, pairs[0][0], &kit_poke_type, &(struct kit_poke){.value = BLOCK}) == 0);
	kit_latch_wait(&blocks, 1);
	poke(&kit, pairs[0][1], EXCLUSIVE, pairs[0][0]);
	poke(&kit, pairs[1][0], EXCLUSIVE, pairs[1][1]);
	poke(&kit, pairs[1][1], EXCLUSIVE, pairs[1][0]);
	kit_latch_wait(&reported, 1);
	assert_true(look(&kit, pairs[1][0]).info.deadlocked);
	assert_false(look(&kit, pairs[0][0]).info.deadlocked);
	kit_latch_add(&unblock, 1);
	kit_latch_wait(&reported, 2);
	assert_int_equal(deadlocks(&kit), 2);
	kit_stop(&kit);
}

/* ---- time in handlers -------------------------------------------------------------------------------------------- */

/* Two that take turns are both met by the samples. Only lower bounds: the machine may take its time. */
static void test_time_in_handlers_is_found_with_who_spent_it(void **state)
{
	enum { ROUNDS = 4000, BURN_US = 20 };
	struct kit kit;
	struct qmt_ref pair[2], own;

	(void)state;
	kit_start(&kit, 1);
	kit_latch_reset(&burnt);
	burn_ns = BURN_US * 1000;
	for (unsigned i = 0; i < 2; i++)
		pair[i] = spawn(&kit, &node_desc, NULL);
	for (unsigned i = 0; i < ROUNDS; i++) {
		poke(&kit, pair[i % 2], BURN, pair[0]);
		kit_latch_wait(&burnt, i + 1);
	}
	for (unsigned i = 0; i < 2; i++)
		assert_true(look(&kit, pair[i]).info.busy_us >= 1000); /* one sample stands for 57 or more */
	own = kit_spawn(&kit, &node_desc, &(struct qmt_spawn){.own_thread = true});
	burn_ns = 5000000;
	poke(&kit, own, BURN, own);
	/* the turn that burns has ended, some time */
	for (unsigned i = 0; look(&kit, own).info.busy_us < 5000; i++) {
		kit_check(i < KIT_PATIENCE_MS);
		kit_check(kit_ask(&kit, own, KEEP, 1, &(uint64_t){0}) == QMT_FAIL_DEADLINE);
	}
	kit_stop(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_waits_is_seen_with_whom_and_how_long),
		cmocka_unit_test(test_a_circle_is_reported_once_with_its_names_in_order),
		cmocka_unit_test(test_a_circle_of_a_muted_one_and_one_that_asks_it),
		cmocka_unit_test(test_what_opens_in_time_or_is_a_chain_is_no_deadlock),
		cmocka_unit_test(test_a_circle_of_the_limit_is_reported_and_a_longer_one_is_not),
		cmocka_unit_test(test_circles_that_close_on_two_threads_at_once_are_seen),
		cmocka_unit_test(test_a_circle_in_which_somebody_is_at_work_is_not_reported_yet),
		cmocka_unit_test(test_time_in_handlers_is_found_with_who_spent_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
