/* runtime/supervisor: who is restarted, how often, when, and what happens beyond that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/lib/runtime_kit.h"

/* ---- a child that does as it is told, and a parent that counts --------------------------------------------------- */

enum { WORK, FAIL, STOP, COUNT };

struct child {
	uint64_t worked;
};
static struct kit_latch starts = KIT_LATCH, stops = KIT_LATCH;
static _Atomic uint64_t start_at_ms[64];

static int child_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state;
	start_at_ms[kit_latch_count(&starts) % 64] = qmt_now_ms(ctx);
	kit_latch_add(&starts, 1);
	return config ? -1 : 0;
}
static void child_stop(struct qmt_ctx *ctx, void *state)
{
	(void)ctx;
	(void)state;
	kit_latch_add(&stops, 1);
}
static void child_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct child *child = state;

	switch (((const struct kit_poke *)body)->value) {
	case FAIL:
		qmt_fail(ctx, "told to fail");
		qmt_fail(ctx, "the first reason counts");
		break;
	case STOP:
		qmt_stop_self(ctx);
		break;
	case COUNT:
		kit_answer(ctx, child->worked);
		break;
	default:
		child->worked++;
	}
}
static qmt_handler *const child_handlers[kit_message_count] = {[kit_poke_id] = child_poke};
static const struct qmt_actor_desc child_desc =
	KIT_DESC("child", child_handlers, .state_size = sizeof(struct child), .start = child_start, .stop = child_stop);

struct parent {
	struct qmt_ref child[3];
	uint64_t restarted, ended, reason;
};

enum { GET_CHILD, GET_RESTARTED, GET_ENDED, GET_REASON, STOP_CHILD = 100, FAIL_PARENT };

static struct qmt_ref children[3]; /* of the newest parent; read after an answer */

struct family {
	uint8_t restart;
	uint32_t count;
	bool bad_start;
	bool own_thread;
};

static int parent_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	const struct family *family = config;
	struct parent *parent = state;

	for (uint32_t i = 0; i < family->count; i++) {
		const struct qmt_spawn opt = {.restart = family->restart, .config = family->bad_start ? "bad" : NULL,
			.own_thread = family->own_thread};

		kit_check(qmt_spawn(ctx, &child_desc, &opt, &parent->child[i], NULL) == 0);
		children[i] = parent->child[i];
	}
	return 0;
}
static void parent_child_ended(struct qmt_ctx *ctx, void *state, struct qmt_ref child, int reason, bool restarted)
{
	struct parent *parent = state;

	(void)ctx;
	kit_check(qmt_ref_eq(child, parent->child[0]) || qmt_ref_eq(child, parent->child[1]) ||
		qmt_ref_eq(child, parent->child[2]));
	parent->restarted += restarted;
	parent->ended += !restarted;
	parent->reason = (uint64_t)reason;
}
static void parent_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct parent *parent = state;

	switch (((const struct kit_poke *)body)->value) {
	case GET_RESTARTED:
		kit_answer(ctx, parent->restarted);
		break;
	case GET_ENDED:
		kit_answer(ctx, parent->ended);
		break;
	case GET_REASON:
		kit_answer(ctx, parent->reason);
		break;
	case STOP_CHILD:
		kit_check(qmt_stop(ctx, parent->child[0]) == 0);
		break;
	case FAIL_PARENT:
		qmt_fail(ctx, "parent told to fail");
		break;
	default:
		kit_answer(ctx, 0);
	}
}
static qmt_handler *const parent_handlers[kit_message_count] = {[kit_poke_id] = parent_poke};
#define PARENT(...) \
	KIT_DESC("parent", parent_handlers, .state_size = sizeof(struct parent), .start = parent_start, \
		.child_ended = parent_child_ended, .supervision = {__VA_ARGS__})
static const struct qmt_actor_desc parent_desc = PARENT(.max_restarts = 3, .window_ms = 1000);
static const struct qmt_actor_desc patient_desc = PARENT(.max_restarts = 20, .window_ms = 60000, .backoff_ms = 100,
	.backoff_max_ms = 1000);

static struct qmt_ref family(struct kit *kit, const struct qmt_actor_desc *desc, const struct family *family)
{
	starts.count = stops.count = 0;
	struct qmt_ref parent = kit_spawn(kit, desc, &(struct qmt_spawn){.config = family});
	qmt_system_run(kit->sys, 0);
	return parent;
}

static void tell(struct kit *kit, struct qmt_ref to, uint64_t value)
{
	assert_int_equal(QMT_TELL(kit->out, to, kit_poke, .value = value), 0);
	qmt_system_run(kit->sys, 0);
}

static uint64_t get(struct kit *kit, struct qmt_ref from, uint64_t what)
{
	uint64_t value;

	assert_int_equal(kit_ask(kit, from, what, 0, &value), 0);
	return value;
}

/* Temporary: never. Transient: after a failure. Permanent: always; but not when the parent itself stops it. */
static void who_is_restarted(void **unused)
{
	(void)unused;
	static const struct {
		uint8_t restart;
		uint64_t how;
		bool again;
		int reason;
	} cases[] = {
		{QMT_TEMPORARY, FAIL, false, QMT_FAIL_FAILED},
		{QMT_TEMPORARY, STOP, false, 0},
		{QMT_TRANSIENT, FAIL, true, QMT_FAIL_FAILED},
		{QMT_TRANSIENT, STOP, false, 0},
		{QMT_PERMANENT, FAIL, true, QMT_FAIL_FAILED},
		{QMT_PERMANENT, STOP, true, 0},
		{QMT_PERMANENT, STOP_CHILD, false, 0},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct family how = {cases[i].restart, 1, false, false};
		struct kit kit;

		kit_start_seeded(&kit, i);
		struct qmt_ref parent = family(&kit, &parent_desc, &how);
		tell(&kit, cases[i].how == STOP_CHILD ? parent : children[0], cases[i].how);
		assert_int_equal(get(&kit, parent, GET_RESTARTED), cases[i].again);
		assert_int_equal(get(&kit, parent, GET_ENDED), !cases[i].again);
		assert_int_equal(get(&kit, parent, GET_REASON), cases[i].reason);
		assert_int_equal(qmt_is_running(children[0]), cases[i].again);
		assert_int_equal(kit_latch_count(&starts), cases[i].again ? 2 : 1);
		assert_int_equal(kit_latch_count(&stops), 1);
		if (cases[i].how == FAIL)
			assert_true(kit_logged(&kit, "told to fail") && !kit_logged(&kit, "the first reason counts"));
		kit_stop(&kit);
	}
}

/* A restart makes a fresh state, keeps ref, name and waiting tells, and answers waiting asks. */
static void what_survives(void **unused)
{
	(void)unused;
	struct family how = {QMT_PERMANENT, 1, false, false};
	struct kit kit;

	for (uint64_t seed = 0; seed < 10; seed++) {
		kit_start_seeded(&kit, seed);
		family(&kit, &patient_desc, &how);
		tell(&kit, children[0], WORK);
		assert_int_equal(get(&kit, children[0], COUNT), 1);
		assert_int_equal(QMT_TELL(kit.out, children[0], kit_poke, .value = FAIL), 0);
		for (int i = 0; i < 3; i++)
			assert_int_equal(QMT_TELL(kit.out, children[0], kit_poke, .value = WORK), 0);
		assert_int_equal(kit_ask(&kit, children[0], COUNT, 0, NULL), QMT_FAIL_RESTARTING);
		/* during the backoff as well, at once */
		uint64_t before = qmt_now_ms(kit.out);
		assert_int_equal(kit_ask(&kit, children[0], COUNT, 0, NULL), QMT_FAIL_RESTARTING);
		assert_int_equal(qmt_now_ms(kit.out), before);
		assert_int_equal(QMT_TELL(kit.out, children[0], kit_poke, .value = WORK), 0);
		qmt_system_run(kit.sys, 200);
		assert_int_equal(get(&kit, children[0], COUNT), 4);
		kit_stop(&kit);
	}
}

/* The window slides truly: three in any 1000 ms are fine for ever, the fourth within 1000 ms fails the parent. */
static void the_window_slides(void **unused)
{
	(void)unused;
	struct family how = {QMT_PERMANENT, 1, false, false};
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref parent = family(&kit, &parent_desc, &how);
	for (int i = 0; i < 20; i++) { /* each 350 ms: three fall into any window */
		tell(&kit, children[0], FAIL);
		assert_true(qmt_is_running(children[0]));
		qmt_system_run(kit.sys, 350);
	}
	assert_int_equal(get(&kit, parent, GET_RESTARTED), 20);
	/* bursts that straddle a fixed window's border would pass one; not this one */
	qmt_system_run(kit.sys, 2000);
	tell(&kit, children[0], FAIL);
	qmt_system_run(kit.sys, 900);
	tell(&kit, children[0], FAIL);
	tell(&kit, children[0], FAIL);
	assert_true(qmt_is_running(parent));
	qmt_system_run(kit.sys, 200); /* the first is out */
	tell(&kit, children[0], FAIL);
	assert_true(qmt_is_running(parent));
	tell(&kit, children[0], FAIL); /* four within 1000 ms */
	assert_false(qmt_is_running(children[0]));
	assert_false(qmt_is_running(parent)); /* temporary itself */
	assert_true(kit_logged(&kit, "restarted its children too often"));
	kit_stop(&kit);
}

/* Restarts of different children share the window; escalation stops the other children, too. */
static void escalation(void **unused)
{
	(void)unused;
	struct family how = {QMT_PERMANENT, 3, false, false};
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref parent = family(&kit, &parent_desc, &how);
	for (int i = 0; i < 3; i++)
		tell(&kit, children[i], FAIL);
	assert_true(qmt_is_running(parent));
	tell(&kit, children[0], FAIL);
	assert_false(qmt_is_running(parent));
	for (int i = 0; i < 3; i++)
		assert_false(qmt_is_running(children[i]));
	assert_int_equal(kit_latch_count(&starts), kit_latch_count(&stops));
	kit_stop(&kit);

	/* a permanent parent is restarted by its own, with new children */
	kit_start_seeded(&kit, 2);
	starts.count = stops.count = 0;
	parent = kit_spawn(&kit, &parent_desc, &(struct qmt_spawn){.config = &how, .restart = QMT_PERMANENT});
	qmt_system_run(kit.sys, 0);
	struct qmt_ref old = children[0];
	tell(&kit, parent, FAIL_PARENT);
	assert_true(qmt_is_running(parent));
	assert_false(qmt_is_running(old));
	assert_true(qmt_is_running(children[0]));
	assert_int_equal(get(&kit, parent, GET_RESTARTED), 0);
	kit_stop(&kit);
}

/* Backoff doubles from 100 ms up to 1000 ms, the last half of each wait is left to chance, and chance is really
 * used. */
static void backoff(void **unused)
{
	(void)unused;
	struct family how = {QMT_PERMANENT, 1, false, false};
	static const uint64_t most[] = {100, 200, 400, 800, 1000, 1000, 1000};
	uint64_t sum[2] = {0};

	for (uint64_t seed = 0; seed < 2; seed++) {
		struct kit kit;

		kit_start_seeded(&kit, seed);
		family(&kit, &patient_desc, &how);
		for (uint64_t i = 0; i < 7; i++) {
			uint64_t before = qmt_now_ms(kit.out);

			tell(&kit, children[0], FAIL);
			qmt_system_run(kit.sys, 1000);
			assert_int_equal(kit_latch_count(&starts), i + 2);
			uint64_t waited = start_at_ms[i + 1] - before;
			assert_in_range(waited, most[i] / 2, most[i]);
			sum[seed] += waited;
		}
		kit_stop(&kit);
	}
	assert_true(sum[0] != sum[1]);
}

/* A child whose start always fails uses up the restarts; what is stopped while it waits for its restart ends without
 * another start. */
static void bad_start_and_stop_in_between(void **unused)
{
	(void)unused;
	struct family bad = {QMT_PERMANENT, 1, true, false}, how = {QMT_PERMANENT, 1, false, false};
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref parent = family(&kit, &parent_desc, &bad);
	assert_false(qmt_is_running(parent));
	assert_int_equal(kit_latch_count(&starts), 4);
	assert_int_equal(kit_latch_count(&stops), 4);
	kit_stop(&kit);

	kit_start_seeded(&kit, 1);
	parent = family(&kit, &patient_desc, &how);
	tell(&kit, children[0], FAIL);
	assert_int_equal(kit_latch_count(&stops), 1);
	tell(&kit, parent, STOP_CHILD); /* waits 50 to 100 ms: stopped now */
	assert_false(qmt_is_running(children[0]));
	assert_int_equal(get(&kit, parent, GET_ENDED), 1);
	qmt_system_run(kit.sys, 1000);
	assert_int_equal(kit_latch_count(&starts), 1);
	kit_stop(&kit);

	/* and a whole system that stops does not wait for it */
	kit_start_seeded(&kit, 1);
	family(&kit, &patient_desc, &how);
	tell(&kit, children[0], FAIL);
	uint64_t before = qmt_now_ms(kit.out);
	struct qmt_err err;
	assert_int_equal(qmt_system_stop(kit.sys, 1000, &err), 0);
	assert_int_equal(qmt_now_ms(kit.out), before);
	kit_stop(&kit);
}

/* The same on threads: restarts under load, on workers and with threads of their own, lose no tell. */
static void under_load(void **unused)
{
	(void)unused;
	struct kit kit;
	uint64_t worked = 0;

	for (int own = 0; own < 2; own++) {
		struct family how = {QMT_PERMANENT, 3, false, own};
		static const struct qmt_actor_desc tolerant = PARENT(.max_restarts = 1000, .window_ms = 100000);

		for (uint32_t workers = 1; workers <= 4; workers *= 2) {
			kit_start(&kit, workers);
			starts.count = stops.count = 0;
			get(&kit, kit_spawn(&kit, &tolerant, &(struct qmt_spawn){.config = &how}), GET_RESTARTED);
			kit_latch_wait(&starts, 3);
			for (int i = 0; i < 200; i++)
				for (int k = 0; k < 3; k++)
					assert_int_equal(QMT_TELL(kit.out, children[k], kit_poke, .value = i % 20 == 7 ? FAIL : WORK), 0);
			for (int k = 0; k < 3; k++) {
				while (kit_ask(&kit, children[k], COUNT, 0, &worked) == QMT_FAIL_RESTARTING)
					;
				assert_int_equal(worked, 12); /* since the last failure */
			}
			assert_int_equal(kit_latch_count(&starts), 3 + 30);
			kit_stop(&kit);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_restarted),
		cmocka_unit_test(what_survives),
		cmocka_unit_test(the_window_slides),
		cmocka_unit_test(escalation),
		cmocka_unit_test(backoff),
		cmocka_unit_test(bad_start_and_stop_in_between),
		cmocka_unit_test(under_load),
	};

	return cmocka_run_group_tests_name("runtime/supervisor", tests, NULL, NULL);
}
