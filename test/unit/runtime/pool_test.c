/* runtime/pool: the least loaded worker gets a message, the dead are replaced, answers go straight to the asker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/pool.h"
#include "test/lib/runtime_kit.h"

/* ---- workers ----------------------------------------------------------------------------------------------------- */

enum { SQUARE_BELOW = 1000, ADD, PAUSE, FAIL, STOP, WHO, END_FIRST, PAUSE_MS = 100 };

static atomic_uint_fast64_t added, told;
static struct kit_latch handled = KIT_LATCH;
static struct qmt_ref last_sender;

static void go_on(struct qmt_ctx *ctx, void *state, void *arg)
{
	(void)state;
	(void)arg;
	qmt_hold(ctx, false);
}

static void worker_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	uint64_t value = ((const struct kit_poke *)body)->value;

	(void)state;
	switch (value) {
	case ADD:
		added++;
		kit_latch_add(&handled, 1);
		break;
	case PAUSE: /* as if it were working */
		qmt_hold(ctx, true);
		kit_check(qmt_timer_start(ctx, PAUSE_MS, go_on, NULL, NULL) == 0);
		break;
	case FAIL:
		qmt_fail(ctx, "told to");
		break;
	case STOP:
		qmt_stop_self(ctx);
		break;
	case WHO:
		last_sender = qmt_sender(ctx);
		kit_answer(ctx, 1);
		break;
	default:
		kit_answer(ctx, value * value);
	}
}
static void worker_note(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	(void)state;
	kit_check(qmt_str_is(((const struct kit_note *)body)->text, "all"));
	told++;
}
static qmt_handler *const worker_handlers[kit_message_count] = {
	[kit_poke_id] = worker_poke, [kit_note_id] = worker_note};
static const struct qmt_actor_desc worker_desc = {
	.abi = QMT_ABI,
	.name = "worker",
	.accepts = {{&kit_protocol, worker_handlers}, {&qmt_pool_protocol, qmt_pool_worker_handlers}},
};
static const struct qmt_actor_desc narrow_desc = {
	.abi = QMT_ABI,
	.name = "narrow",
	.bound = 2,
	.overflow = QMT_REFUSE,
	.accepts = {{&kit_protocol, worker_handlers}, {&qmt_pool_protocol, qmt_pool_worker_handlers}},
};
static const struct qmt_actor_desc stranger_desc = KIT_DESC("no worker", worker_handlers);

/* ---- pools ------------------------------------------------------------------------------------------------------- */

QMT_POOL_TO_ALL(kit_note)

/* A handler of the module's own beside those of the pool: ends a worker for good. */
static void pool_stop(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)body;
	kit_check(qmt_stop(ctx, *(const struct qmt_ref *)(const void *)((struct qmt_pool *)state)->workers) == 0);
}
static qmt_handler *const spread[kit_message_count] = {
	[kit_poke_id] = qmt_pool_to_one, [kit_note_id] = kit_note_to_all, [kit_stop_id] = pool_stop};
static const struct qmt_actor_desc pool_desc = QMT_POOL_DESC("pool", &kit_protocol, spread, .bound = 1000);

static struct qmt_ref spawn_pool(struct kit *kit, const struct qmt_pool_config *config)
{
	added = told = 0;
	return kit_spawn(kit, &pool_desc, &(struct qmt_spawn){.config = config});
}

static void tell(struct kit *kit, struct qmt_ref pool, uint64_t value)
{
	assert_int_equal(QMT_TELL(kit->out, pool, kit_poke, .value = value), 0);
	qmt_system_run(kit->sys, 0);
}

/* Valid until the next ask. */
static const struct qmt_pool_loads *loads(struct kit *kit, struct qmt_ref pool)
{
	struct qmt_result result;

	assert_int_equal(
		qmt_outside_ask(kit->out, pool, &qmt_pool_info_type, &(struct qmt_pool_info){}, KIT_PATIENCE_MS, &result), 0);
	return result.body;
}
static struct qmt_pool_load load(struct kit *kit, struct qmt_ref pool, uint32_t i)
{
	return ((const struct qmt_pool_load *)loads(kit, pool)->workers.items)[i];
}

/* A worker that has something to do is passed by; the others take turns. */
static void least_loaded(void **unused)
{
	(void)unused;
	static const struct qmt_pool_config config = {.worker = &worker_desc, .size = 3};
	static const uint64_t passed[] = {1, 3, 3};
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref pool = spawn_pool(&kit, &config);
	tell(&kit, pool, PAUSE);
	for (int i = 0; i < 6; i++)
		tell(&kit, pool, ADD);
	assert_int_equal(added, 6);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(load(&kit, pool, i).passed, passed[i]);
		assert_int_equal(load(&kit, pool, i).busy, i == 0);
	}
	qmt_system_run(kit.sys, PAUSE_MS + 10);
	assert_int_equal(load(&kit, pool, 0).busy, 0);
	kit_stop(&kit);
}

static void asked(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)ctx;
	(void)state;
	(void)arg;
	kit_check(!result->fail);
}
static void asker_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	kit_check(QMT_ASK(ctx, ((const struct kit_poke *)body)->ref, 0, asked, NULL, kit_poke, .value = WHO) == 0);
}
static qmt_handler *const asker_handlers[kit_message_count] = {[kit_poke_id] = asker_poke};
static const struct qmt_actor_desc asker_desc = KIT_DESC("asker", asker_handlers);

/* The worker answers, to the one who asked: for the worker the sender is the asker, not the pool. */
static void answers_go_straight(void **unused)
{
	(void)unused;
	static const struct qmt_pool_config config = {.worker = &worker_desc, .size = 2};
	struct kit kit;
	uint64_t value;

	kit_start_seeded(&kit, 2);
	struct qmt_ref pool = spawn_pool(&kit, &config), asker = kit_spawn(&kit, &asker_desc, NULL);
	for (uint64_t i = 1; i < 20; i++) {
		assert_int_equal(kit_ask(&kit, pool, i, 0, &value), 0);
		assert_int_equal(value, i * i);
	}
	assert_int_equal(QMT_TELL(kit.out, asker, kit_poke, .ref = pool), 0);
	qmt_system_run(kit.sys, 0);
	assert_true(qmt_ref_eq(last_sender, asker));
	kit_stop(&kit);
}

/* A worker that fails, stops or is ended is there again, what waited is not lost, and the counts are right. */
static void dead_are_replaced(void **unused)
{
	(void)unused;
	static const struct qmt_pool_config config = {.worker = &worker_desc, .size = 1};
	struct kit kit;

	kit_start_seeded(&kit, 3);
	struct qmt_ref pool = spawn_pool(&kit, &config);
	static const uint64_t script[] = {PAUSE, ADD, ADD, ADD, FAIL, ADD, ADD};
	for (size_t i = 0; i < sizeof script / sizeof *script; i++)
		tell(&kit, pool, script[i]);
	assert_int_equal(load(&kit, pool, 0).busy, 7);
	struct qmt_ref first = load(&kit, pool, 0).worker;
	assert_int_equal(kit_ask(&kit, pool, 5, PAUSE_MS * 2, NULL), QMT_FAIL_RESTARTING);
	qmt_system_run(kit.sys, 50);
	assert_int_equal(added, 5);
	struct qmt_pool_load now = load(&kit, pool, 0);
	assert_int_equal(now.busy, 0);
	assert_int_equal(now.passed, 8);
	assert_int_equal(now.restarts, 1);
	tell(&kit, pool, STOP);
	tell(&kit, pool, ADD);
	qmt_system_run(kit.sys, 50);
	assert_int_equal(added, 6);
	assert_int_equal(load(&kit, pool, 0).busy, 0);
	assert_int_equal(load(&kit, pool, 0).restarts, 2);
	/* what is left after a restart counts: a pause and what is behind it */
	static const uint64_t second[] = {PAUSE, FAIL, PAUSE, ADD};
	for (size_t i = 0; i < sizeof second / sizeof *second; i++)
		tell(&kit, pool, second[i]);
	qmt_system_run(kit.sys, PAUSE_MS + 20);
	assert_int_equal(load(&kit, pool, 0).restarts, 3);
	assert_true(load(&kit, pool, 0).busy >= 2);
	qmt_system_run(kit.sys, PAUSE_MS);
	assert_int_equal(load(&kit, pool, 0).busy, 0);
	assert_int_equal(added, 7);
	/* gone for good, with something to do */
	tell(&kit, pool, PAUSE);
	tell(&kit, pool, ADD);
	assert_int_equal(load(&kit, pool, 0).busy, 2);
	assert_int_equal(QMT_TELL(kit.out, pool, kit_stop, ), 0);
	qmt_system_run(kit.sys, 0);
	now = load(&kit, pool, 0);
	assert_int_equal(now.busy, 0);
	assert_int_equal(now.restarts, 4);
	assert_false(qmt_ref_eq(now.worker, first));
	tell(&kit, pool, ADD);
	assert_int_equal(added, 8);
	assert_int_equal(load(&kit, pool, 0).busy, 0);
	kit_stop(&kit);
}

/* Each worker gets what is for all; that cannot be asked. */
static void broadcast(void **unused)
{
	(void)unused;
	static const struct qmt_pool_config config = {.worker = &worker_desc, .size = 5};
	const struct kit_note note = {.text = qmt_str("all")};
	struct qmt_result result;
	struct kit kit;

	kit_start_seeded(&kit, 4);
	struct qmt_ref pool = spawn_pool(&kit, &config);
	assert_int_equal(qmt_tell(kit.out, pool, &kit_note_type, &note), 0);
	qmt_system_run(kit.sys, 0);
	assert_int_equal(told, 5);
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(load(&kit, pool, i).passed, 1);
		assert_int_equal(load(&kit, pool, i).busy, 0);
	}
	assert_int_equal(qmt_outside_ask(kit.out, pool, &kit_note_type, &note, 100, &result), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(told, 5);
	kit_stop(&kit);
}

/* Workers that take no more: the others are tried; then an ask is told, a tell is counted. */
static void full_workers(void **unused)
{
	(void)unused;
	static const struct qmt_pool_config config = {.worker = &narrow_desc, .size = 2};
	struct kit kit;

	kit_start_seeded(&kit, 5);
	struct qmt_ref pool = spawn_pool(&kit, &config);
	tell(&kit, pool, PAUSE);
	tell(&kit, pool, PAUSE);
	for (int i = 0; i < 8; i++)
		tell(&kit, pool, ADD);
	uint64_t dropped = loads(&kit, pool)->dropped;
	assert_true(dropped > 0);
	assert_int_equal(kit_ask(&kit, pool, 5, PAUSE_MS / 2, NULL), QMT_FAIL_FULL);
	qmt_system_run(kit.sys, PAUSE_MS * 2);
	assert_int_equal(added + dropped, 8);
	assert_int_equal(load(&kit, pool, 0).busy, 0);
	assert_int_equal(load(&kit, pool, 1).busy, 0);
	assert_int_equal(kit_ask(&kit, pool, 5, 0, NULL), 0);
	/* One that others have filled: it has least to do for the pool, and the next one answers. */
	static const uint64_t fill[] = {PAUSE, ADD, ADD};
	struct qmt_ref worker = load(&kit, pool, 0).worker;
	for (size_t i = 0; i < sizeof fill / sizeof *fill; i++)
		tell(&kit, worker, fill[i]);
	for (int i = 0; i < 4; i++)
		assert_int_equal(kit_ask(&kit, pool, 5, PAUSE_MS / 4, NULL), 0);
	kit_stop(&kit);
}

/* A config that cannot work fails the start, and says why. */
static void bad_configs(void **unused)
{
	(void)unused;
	static const struct qmt_pool_config bad[] = {{.worker = &stranger_desc, .size = 1}, {.worker = &worker_desc},
		{.worker = &worker_desc, .size = QMT_POOL_MAX + 1}, {.size = 1}};
	struct kit kit;

	kit_start_seeded(&kit, 6);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct qmt_ref pool = spawn_pool(&kit, &bad[i]);

		qmt_system_run(kit.sys, 0);
		assert_false(qmt_is_running(pool));
	}
	struct qmt_ref none = spawn_pool(&kit, NULL);
	qmt_system_run(kit.sys, 0);
	assert_false(qmt_is_running(none));
	assert_true(kit_logged(&kit, "no worker cannot work in a pool"));
	assert_true(kit_logged(&kit, "1 to 4096 of them"));
	kit_stop(&kit);
}

static uint64_t one_run(uint64_t seed)
{
	static const struct qmt_pool_config config = {.worker = &worker_desc, .size = 4};
	struct kit kit;

	kit_start_seeded(&kit, seed);
	struct qmt_ref pool = spawn_pool(&kit, &config);
	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(QMT_TELL(kit.out, pool, kit_poke, .value = i % 50 == 7 ? FAIL : i % 20 == 3 ? PAUSE : ADD), 0);
	qmt_system_run(kit.sys, 10000);
	uint64_t hash = qmt_system_trace_hash(kit.sys);
	kit_stop(&kit);
	return hash;
}

/* The same seed gives the same run. */
static void seeded(void **unused)
{
	(void)unused;
	assert_int_equal(one_run(7), one_run(7));
	assert_int_not_equal(one_run(7), one_run(8));
}

static bool all_idle(struct kit *kit, struct qmt_ref pool)
{
	const struct qmt_pool_loads *l = loads(kit, pool);
	uint64_t busy = 0;

	for (uint32_t i = 0; i < l->workers.count; i++)
		busy += ((const struct qmt_pool_load *)l->workers.items)[i].busy;
	return !busy;
}

/* On threads: nothing is lost, and the counts come down to nothing. */
static void on_threads(void **unused)
{
	(void)unused;
	enum { COUNT = 20000 };
	static const struct qmt_pool_config config = {.worker = &worker_desc, .size = 4};
	struct kit kit;

	kit_start(&kit, 3);
	kit_latch_reset(&handled);
	struct qmt_ref pool = spawn_pool(&kit, &config);
	for (int i = 0; i < COUNT;) {
		int failed = QMT_TELL(kit.out, pool, kit_poke, .value = ADD);

		assert_true(!failed || failed == QMT_FAIL_FULL);
		i += !failed;
	}
	kit_latch_wait(&handled, COUNT);
	uint64_t until = qmt_now_ms(kit.out) + KIT_PATIENCE_MS;
	while (!all_idle(&kit, pool))
		assert_true(qmt_now_ms(kit.out) < until);
	kit_stop(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(least_loaded),
		cmocka_unit_test(answers_go_straight),
		cmocka_unit_test(dead_are_replaced),
		cmocka_unit_test(broadcast),
		cmocka_unit_test(full_workers),
		cmocka_unit_test(bad_configs),
		cmocka_unit_test(seeded),
		cmocka_unit_test(on_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
