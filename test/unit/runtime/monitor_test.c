/* runtime/monitor and runtime/registry: whoever watches hears of an end once; a name leads to the one actor that has
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/internal.h"
#include "test/lib/runtime_kit.h"

/* ---- watchers ---------------------------------------------------------------------------------------------------- */

enum { WATCH, UNWATCH, DOWNS, FAIL, STOP };

struct watcher {
	uint64_t downs;
	int reason;
	struct qmt_ref last;
};

static void watcher_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct watcher *watcher = state;

	switch (poke->value) {
	case WATCH:
		kit_check(qmt_monitor(ctx, poke->ref) == 0);
		kit_check(qmt_monitor(ctx, poke->ref) == 0); /* twice is once */
		break;
	case UNWATCH:
		qmt_demonitor(ctx, poke->ref);
		qmt_demonitor(ctx, poke->ref);
		break;
	case DOWNS:
		kit_answer(ctx, watcher->downs * 100 + (uint64_t)watcher->reason);
		break;
	case FAIL:
		qmt_fail(ctx, "told to");
		break;
	default:
		qmt_stop_self(ctx);
	}
}
static void watcher_down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	struct watcher *watcher = state;

	kit_check(!qmt_ref_eq(who, qmt_self(ctx)));
	watcher->downs++;
	watcher->reason = reason;
	watcher->last = who;
}
static qmt_handler *const watcher_handlers[kit_message_count] = {[kit_poke_id] = watcher_poke};
static const struct qmt_actor_desc watcher_desc =
	KIT_DESC("watcher", watcher_handlers, .state_size = sizeof(struct watcher), .down = watcher_down);

static void tell(struct kit *kit, struct qmt_ref to, uint64_t value, struct qmt_ref ref)
{
	assert_int_equal(QMT_TELL(kit->out, to, kit_poke, .value = value, .ref = ref), 0);
	qmt_system_run(kit->sys, 0);
}

static uint64_t downs(struct kit *kit, struct qmt_ref watcher)
{
	uint64_t value;

	assert_int_equal(kit_ask(kit, watcher, DOWNS, 0, &value), 0);
	return value;
}

/* Down comes once, with the reason of the end; for one that has ended already, soon; not after a demonitor; not for
 * a restart. */
static void down_comes_once(void **unused)
{
	(void)unused;
	const struct qmt_ref none = {0};
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref watcher = kit_spawn(&kit, &watcher_desc, NULL), a = kit_spawn(&kit, &watcher_desc, NULL);
	struct qmt_ref b = kit_spawn(&kit, &watcher_desc, NULL), c = kit_spawn(&kit, &watcher_desc, NULL);
	struct qmt_ref d = kit_spawn(&kit, &watcher_desc, &(struct qmt_spawn){.restart = QMT_PERMANENT});
	tell(&kit, watcher, WATCH, a);
	tell(&kit, watcher, WATCH, b);
	tell(&kit, watcher, WATCH, c);
	tell(&kit, watcher, WATCH, d);
	assert_int_equal(downs(&kit, watcher), 0);
	tell(&kit, a, FAIL, none);
	assert_int_equal(downs(&kit, watcher), 100 + QMT_FAIL_FAILED);
	tell(&kit, b, STOP, none);
	assert_int_equal(downs(&kit, watcher), 200);
	tell(&kit, watcher, WATCH, a); /* already gone */
	assert_int_equal(downs(&kit, watcher), 300 + QMT_FAIL_NOT_RUNNING);
	tell(&kit, watcher, UNWATCH, c);
	tell(&kit, c, STOP, none);
	assert_int_equal(downs(&kit, watcher), 300 + QMT_FAIL_NOT_RUNNING);
	tell(&kit, d, FAIL, none); /* restarted: not down */
	assert_true(qmt_is_running(d));
	assert_int_equal(downs(&kit, watcher), 300 + QMT_FAIL_NOT_RUNNING);
	kit_stop(&kit);
}

/* A watcher that ended or was restarted hears nothing any more, and leaves nothing behind at whom it watched. */
static void watchers_end(void **unused)
{
	(void)unused;
	const struct qmt_ref none = {0};
	struct kit kit;

	kit_start_seeded(&kit, 2);
	struct qmt_ref a = kit_spawn(&kit, &watcher_desc, NULL);
	struct qmt_ref again = kit_spawn(&kit, &watcher_desc, &(struct qmt_spawn){.restart = QMT_PERMANENT});
	for (int i = 0; i < 100; i++) {
		struct qmt_ref watcher = kit_spawn(&kit, &watcher_desc, NULL);

		tell(&kit, watcher, WATCH, a);
		tell(&kit, watcher, STOP, none);
		assert_false(qmt_is_running(watcher));
	}
	assert_null(actor_ext(a.actor)->watchers);
	tell(&kit, again, WATCH, a);
	assert_non_null(actor_ext(a.actor)->watchers);
	tell(&kit, again, FAIL, none);
	tell(&kit, a, STOP, none);
	assert_int_equal(downs(&kit, again), 0);
	kit_stop(&kit);
}

/* Watchers and watched that come and go on several threads: each watcher hears of each end exactly once. */
static struct kit_latch heard = KIT_LATCH;

static void listener_down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	(void)ctx;
	(void)state;
	(void)who;
	(void)reason;
	kit_latch_add(&heard, 1);
}
static const struct qmt_actor_desc listener_desc =
	KIT_DESC("listener", watcher_handlers, .state_size = sizeof(struct watcher), .down = listener_down);

static void many_on_threads(void **unused)
{
	(void)unused;
	enum { WATCHERS = 4, ROUNDS = 300 };
	const struct qmt_ref none = {0};
	struct kit kit;

	for (uint32_t workers = 2; workers <= 4; workers *= 2) {
		struct qmt_ref watchers[WATCHERS];

		kit_start(&kit, workers);
		heard.count = 0;
		for (int i = 0; i < WATCHERS; i++)
			watchers[i] = kit_spawn(&kit, &listener_desc, NULL);
		for (int round = 0; round < ROUNDS; round++) {
			struct qmt_ref target = kit_spawn(&kit, &watcher_desc, NULL);

			for (int i = 0; i < WATCHERS; i++)
				QMT_TELL(kit.out, watchers[i], kit_poke, .value = WATCH, .ref = target);
			QMT_TELL(kit.out, target, kit_poke, .value = STOP, .ref = none);
		}
		kit_latch_wait(&heard, WATCHERS * ROUNDS);
		for (int i = 0; i < WATCHERS; i++)
			assert_int_equal(kit_ask(&kit, watchers[i], DOWNS, 0, NULL), 0);
		assert_int_equal(kit_latch_count(&heard), WATCHERS * ROUNDS);
		kit_stop(&kit);
	}
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static void namer_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	uint64_t value = ((const struct kit_poke *)body)->value;
	char name[32];

	(void)state;
	switch (value) {
	case FAIL:
		qmt_fail(ctx, "told to");
		break;
	case STOP:
		qmt_stop_self(ctx);
		break;
	case UNWATCH:
		qmt_unregister(ctx, "extra 100");
		qmt_unregister(ctx, "not mine");
		kit_answer(ctx, 0);
		break;
	default:
		snprintf(name, sizeof name, "extra %llu", (unsigned long long)value);
		kit_answer(ctx, (uint64_t)qmt_register(ctx, name));
	}
}
static int namer_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state;
	(void)config;
	int failed = qmt_register(ctx, "from start"); /* one of them has it, also after its restart */

	return failed == QMT_FAIL_NAME_TAKEN ? 0 : failed;
}
static qmt_handler *const namer_handlers[kit_message_count] = {[kit_poke_id] = namer_poke};
static const struct qmt_actor_desc namer_desc = KIT_DESC("namer", namer_handlers, .start = namer_start);

static uint64_t poke(struct kit *kit, struct qmt_ref to, uint64_t value)
{
	uint64_t answer = 99;

	assert_int_equal(kit_ask(kit, to, value, 0, &answer), 0);
	return answer;
}

/* A name is taken by one actor, kept over its restarts, gone with its end, and then free for another. */
static void names(void **unused)
{
	(void)unused;
	const struct qmt_ref none = {0};
	struct kit kit;
	struct qmt_ref found, other;
	struct qmt_err err;

	kit_start_seeded(&kit, 1);
	struct qmt_ref a = kit_spawn(&kit, &namer_desc, &(struct qmt_spawn){.name = "a", .restart = QMT_PERMANENT});
	struct qmt_ref b = kit_spawn(&kit, &namer_desc, &(struct qmt_spawn){.name = "b"});
	assert_int_equal(qmt_spawn(kit.out, &namer_desc, &(struct qmt_spawn){.name = "a"}, &other, &err),
		QMT_FAIL_NAME_TAKEN);
	assert_non_null(strstr(err.text, "the name a is taken"));
	assert_int_equal(qmt_lookup(kit.out, "a", &found), 0);
	assert_true(qmt_ref_eq(found, a));
	assert_int_equal(qmt_lookup(kit.out, "nobody", &found), QMT_FAIL_UNKNOWN_ACTOR);
	/* as many as one likes; the same one again is fine; another's is not */
	for (uint64_t i = 100; i < 500; i++)
		assert_int_equal(poke(&kit, a, i), 0);
	assert_int_equal(poke(&kit, a, 100), 0);
	assert_int_equal(poke(&kit, b, 100), QMT_FAIL_NAME_TAKEN);
	tell(&kit, a, FAIL, none);
	for (int i = 100; i < 500; i += 50) {
		char name[32];

		snprintf(name, sizeof name, "extra %d", i);
		assert_int_equal(qmt_lookup(kit.out, name, &found), 0);
		assert_true(qmt_ref_eq(found, a));
	}
	assert_int_equal(poke(&kit, a, UNWATCH), 0);
	assert_int_equal(qmt_lookup(kit.out, "extra 100", &found), QMT_FAIL_UNKNOWN_ACTOR);
	assert_int_equal(poke(&kit, b, 100), 0);
	assert_int_equal(qmt_tell_name(kit.out, NULL, "b", &kit_poke_type, &(struct kit_poke){.value = STOP}), 0);
	qmt_system_run(kit.sys, 0);
	assert_int_equal(qmt_lookup(kit.out, "b", &found), QMT_FAIL_UNKNOWN_ACTOR);
	assert_int_equal(qmt_lookup(kit.out, "extra 100", &found), QMT_FAIL_UNKNOWN_ACTOR);
	assert_int_equal(qmt_tell_name(kit.out, "", "b", &kit_poke_type, &(struct kit_poke){.value = STOP}),
		QMT_FAIL_UNKNOWN_ACTOR);
	b = kit_spawn(&kit, &namer_desc, &(struct qmt_spawn){.name = "b"});
	kit_stop(&kit);
}

/* Names come and go on several threads while others look them up. */
static void names_on_threads(void **unused)
{
	(void)unused;
	struct kit kit;
	struct qmt_ref found;

	kit_start(&kit, 4);
	for (int i = 0; i < 500; i++) {
		struct qmt_ref ref = kit_spawn(&kit, &namer_desc, &(struct qmt_spawn){.name = "changing"});

		assert_int_equal(qmt_lookup(kit.out, "changing", &found), 0);
		assert_true(qmt_ref_eq(found, ref));
		assert_int_equal(qmt_stop(kit.out, ref), 0);
		while (qmt_lookup(kit.out, "changing", &found) == 0)
			;
	}
	kit_stop(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(down_comes_once),
		cmocka_unit_test(watchers_end),
		cmocka_unit_test(many_on_threads),
		cmocka_unit_test(names),
		cmocka_unit_test(names_on_threads),
	};

	return cmocka_run_group_tests_name("runtime/monitor", tests, NULL, NULL);
}
