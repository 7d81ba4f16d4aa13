/* runtime/supervisor: children that depend on each other (one for all, rest for one), and escalation through levels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/lib/runtime_kit.h"

/* ---- children that write down what happens to them --------------------------------------------------------------- */

enum { FAIL = 1, STOP, COUNT, STOP_CHILD, SPAWN_MORE, WORK };
enum { KIDS_MAX = 8 };

static char story[1 << 14]; /* "+a" started, "-a" ended */
static pthread_mutex_t story_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kit_latch events = KIT_LATCH;

static void note(char what, char who)
{
	size_t len;

	pthread_mutex_lock(&story_lock);
	len = strlen(story);
	kit_check(len + 3 < sizeof story);
	story[len] = what;
	story[len + 1] = who;
	story[len + 2] = '\0';
	pthread_mutex_unlock(&story_lock);
	kit_latch_add(&events, 1);
}

struct kid_config {
	char letter;
	int bad_starts; /* how many of the next starts fail */
};

struct kid {
	struct kid_config *config;
	uint64_t worked;
};

static int kid_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct kid *kid = state;

	(void)ctx;
	kid->config = (struct kid_config *)(uintptr_t)config;
	note('+', kid->config->letter);
	return kid->config->bad_starts > 0 && kid->config->bad_starts-- ? -1 : 0;
}
static void kid_stop(struct qmt_ctx *ctx, void *state)
{
	(void)ctx;
	note('-', ((struct kid *)state)->config->letter);
}
static void kid_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct kid *kid = state;

	switch (((const struct kit_poke *)body)->value) {
	case FAIL:
		qmt_fail(ctx, "told to fail");
		break;
	case STOP:
		qmt_stop_self(ctx);
		break;
	case COUNT:
		kit_answer(ctx, kid->worked);
		break;
	default:
		kid->worked++;
	}
}
static qmt_handler *const kid_handlers[kit_message_count] = {[kit_poke_id] = kid_poke};
static const struct qmt_actor_desc kid_desc =
	KIT_DESC("kid", kid_handlers, .state_size = sizeof(struct kid), .start = kid_start, .stop = kid_stop);

struct family {
	struct kid_config kids[KIDS_MAX];
	uint32_t count;
	uint8_t restart[KIDS_MAX];
	bool own_thread;
	struct qmt_ref refs[KIDS_MAX];
	uint64_t restarted, ended;
};

struct parent {
	struct family *family;
};

static void spawn_kid(struct qmt_ctx *ctx, struct family *family, uint32_t i)
{
	const struct qmt_spawn opt = {
		.restart = family->restart[i], .config = &family->kids[i], .own_thread = family->own_thread};

	family->kids[i].letter = (char)('a' + i);
	kit_check(qmt_spawn(ctx, &kid_desc, &opt, &family->refs[i], NULL) == 0);
}

static int parent_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct parent *parent = state;

	parent->family = (struct family *)(uintptr_t)config;
	for (uint32_t i = 0; i < parent->family->count; i++)
		spawn_kid(ctx, parent->family, i);
	return 0;
}
static void parent_child_ended(struct qmt_ctx *ctx, void *state, struct qmt_ref child, int reason, bool restarted)
{
	struct parent *parent = state;

	(void)ctx;
	(void)child;
	(void)reason;
	parent->family->restarted += restarted;
	parent->family->ended += !restarted;
}
static void parent_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct parent *parent = state;

	switch (poke->value) {
	case FAIL:
		qmt_fail(ctx, "parent told to fail");
		break;
	case STOP:
		qmt_stop_self(ctx);
		break;
	case STOP_CHILD:
		kit_check(qmt_stop(ctx, poke->ref) == 0);
		break;
	case SPAWN_MORE:
		spawn_kid(ctx, parent->family, parent->family->count++);
		break;
	default:
		kit_answer(ctx, parent->family->restarted * 100 + parent->family->ended);
	}
}
static qmt_handler *const parent_handlers[kit_message_count] = {[kit_poke_id] = parent_poke};
#define PARENT(...)                                                                                 \
	KIT_DESC("parent", parent_handlers, .state_size = sizeof(struct parent), .start = parent_start, \
		.child_ended = parent_child_ended, .supervision = {__VA_ARGS__})
static const struct qmt_actor_desc all_desc = PARENT(.strategy = QMT_ONE_FOR_ALL, .max_restarts = 3);
static const struct qmt_actor_desc rest_desc = PARENT(.strategy = QMT_REST_FOR_ONE, .max_restarts = 3);
static const struct qmt_actor_desc one_desc = PARENT(.strategy = QMT_ONE_FOR_ONE, .max_restarts = 3);
static const struct qmt_actor_desc slow_all_desc =
	PARENT(.strategy = QMT_ONE_FOR_ALL, .max_restarts = 3, .backoff_ms = 1000);

static struct family permanent(uint32_t count)
{
	struct family family = {.count = count};

	memset(family.restart, QMT_PERMANENT, sizeof family.restart);
	return family;
}

static struct qmt_ref found(struct kit *kit, const struct qmt_actor_desc *desc, struct family *family)
{
	struct qmt_ref parent = kit_spawn(kit, desc, &(struct qmt_spawn){.config = family});

	qmt_system_run(kit->sys, 0);
	story[0] = '\0';
	return parent;
}

static void tell(struct kit *kit, struct qmt_ref to, uint64_t value)
{
	assert_int_equal(QMT_TELL(kit->out, to, kit_poke, .value = value), 0);
}

static void tell_and_run(struct kit *kit, struct qmt_ref to, uint64_t value)
{
	tell(kit, to, value);
	qmt_system_run(kit->sys, 0);
}

/* One for all ends the others newest first and starts all in the order of spawning; rest for one only those spawned
 * later; one for one nobody else. Whatever the schedule. */
static void who_goes_along(void **unused)
{
	(void)unused;
	static const struct {
		const struct qmt_actor_desc *desc;
		const char *story;
		uint64_t restarted;
	} cases[] = {
		{&one_desc, "-b+b", 1},
		{&all_desc, "-b-d-c-a+a+b+c+d", 4},
		{&rest_desc, "-b-d-c+b+c+d", 3},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		for (uint64_t seed = 0; seed < 20; seed++) {
			struct family family = permanent(4);
			struct kit kit;
			uint64_t got;

			kit_start_seeded(&kit, seed);
			struct qmt_ref parent = found(&kit, cases[i].desc, &family);
			tell_and_run(&kit, family.refs[1], FAIL);
			assert_string_equal(story, cases[i].story);
			assert_int_equal(kit_ask(&kit, parent, COUNT, 0, &got), 0);
			assert_int_equal(got, cases[i].restarted * 100);
			/* and once more, so nothing of the first is left */
			story[0] = '\0';
			tell_and_run(&kit, family.refs[1], FAIL);
			assert_string_equal(story, cases[i].story);
			for (int k = 0; k < 4; k++)
				assert_true(qmt_is_running(family.refs[k]));
			kit_stop(&kit);
		}
	}
}

/* A wanted end of a transient child concerns nobody; a failing temporary one neither. Along with another, transient
 * ones are started again, temporary ones only ended. */
static void policies_along(void **unused)
{
	(void)unused;
	struct family family = permanent(4);
	struct kit kit;
	uint64_t got;

	family.restart[1] = QMT_TRANSIENT;
	family.restart[2] = QMT_TEMPORARY;
	kit_start_seeded(&kit, 3);
	struct qmt_ref parent = found(&kit, &all_desc, &family);
	tell_and_run(&kit, family.refs[3], FAIL);
	assert_string_equal(story, "-d-c-b-a+a+b+d");
	assert_false(qmt_is_running(family.refs[2]));
	assert_int_equal(kit_ask(&kit, parent, COUNT, 0, &got), 0);
	assert_int_equal(got, 301);
	story[0] = '\0';
	tell_and_run(&kit, family.refs[1], STOP);
	assert_string_equal(story, "-b");
	assert_false(qmt_is_running(family.refs[1]));
	tell_and_run(&kit, parent, SPAWN_MORE); /* "e" */
	story[0] = '\0';
	tell_and_run(&kit, family.refs[0], FAIL);
	assert_string_equal(story, "-a-e-d+a+d+e");
	kit_stop(&kit);
}

/* One restart counts, not those along with it; over the limit all end and the parent fails. */
static void limit_counts_triggers(void **unused)
{
	(void)unused;
	struct family family = permanent(3);
	struct qmt_counters counters;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref parent = found(&kit, &all_desc, &family);
	for (int i = 0; i < 3; i++)
		tell_and_run(&kit, family.refs[i], FAIL);
	assert_true(qmt_is_running(parent));
	tell_and_run(&kit, family.refs[0], FAIL);
	assert_false(qmt_is_running(parent));
	for (int i = 0; i < 3; i++)
		assert_false(qmt_is_running(family.refs[i]));
	qmt_system_counters(kit.sys, &counters);
	assert_int_equal(counters.gave_up, 1);
	assert_int_equal(counters.restarted, 9);
	assert_int_equal(counters.failed, 5); /* four children and the parent */
	assert_true(kit_logged(&kit, "restarted its children too often"));
	kit_stop(&kit);
}

/* A start that fails while the others wait for it begins anew with what has been started, and counts as a restart;
 * those that never come up use the limit up. */
static void a_start_fails_in_the_middle(void **unused)
{
	(void)unused;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct family family = permanent(4);
		struct kit kit;

		kit_start_seeded(&kit, seed);
		found(&kit, &all_desc, &family);
		family.kids[2].bad_starts = 1;
		tell_and_run(&kit, family.refs[0], FAIL);
		assert_string_equal(story, "-a-d-c-b+a+b+c-c-b-a+a+b+c+d");
		kit_stop(&kit);

		family = permanent(4);
		kit_start_seeded(&kit, seed);
		found(&kit, &rest_desc, &family);
		family.kids[2].bad_starts = 1;
		tell_and_run(&kit, family.refs[1], FAIL);
		assert_string_equal(story, "-b-d-c+b+c-c+c+d");
		kit_stop(&kit);

		family = permanent(4);
		kit_start_seeded(&kit, seed);
		struct qmt_ref parent = found(&kit, &all_desc, &family);
		family.kids[1].bad_starts = 1000;
		tell_and_run(&kit, family.refs[0], FAIL);
		assert_string_equal(story, "-a-d-c-b+a+b-b-a+a+b-b-a+a+b-b-a");
		assert_false(qmt_is_running(parent));
		kit_stop(&kit);
	}
}

/* Who waits for its turn is down as any that restarts: asks are answered at once, tells are kept, it can be stopped;
 * and a parent that ends in the middle ends all. */
static void while_they_wait(void **unused)
{
	(void)unused;
	struct family family = permanent(3);
	struct kit kit;
	uint64_t got;

	kit_start_seeded(&kit, 5);
	struct qmt_ref parent = found(&kit, &slow_all_desc, &family);
	tell_and_run(&kit, family.refs[0], FAIL);
	assert_string_equal(story, "-a-c-b");
	uint64_t before = qmt_now_ms(kit.out);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(kit_ask(&kit, family.refs[i], COUNT, 0, NULL), QMT_FAIL_RESTARTING);
		tell(&kit, family.refs[i], WORK);
	}
	assert_int_equal(qmt_now_ms(kit.out), before);
	assert_int_equal(QMT_TELL(kit.out, parent, kit_poke, .value = STOP_CHILD, .ref = family.refs[1]), 0);
	qmt_system_run(kit.sys, 0);
	assert_false(qmt_is_running(family.refs[1]));
	qmt_system_run(kit.sys, 1000);
	assert_string_equal(story, "-a-c-b+a+c");
	assert_int_equal(kit_ask(&kit, family.refs[0], COUNT, 0, &got), 0);
	assert_int_equal(got, 1);
	assert_int_equal(kit_ask(&kit, family.refs[2], COUNT, 0, &got), 0);
	assert_int_equal(got, 1);
	tell_and_run(&kit, family.refs[0], FAIL);
	tell_and_run(&kit, parent, STOP);
	assert_false(qmt_is_running(parent));
	for (int i = 0; i < 3; i++)
		assert_false(qmt_is_running(family.refs[i]));
	qmt_system_run(kit.sys, 5000);
	assert_string_equal(story, "-a-c-b+a+c-a-c");
	kit_stop(&kit);
}

/* The end of a family that depends on each other goes newest first; of one that does not, in any order. */
static void stopped_in_reverse(void **unused)
{
	(void)unused;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct family family = permanent(5);
		struct kit kit;

		kit_start_seeded(&kit, seed);
		struct qmt_ref parent = found(&kit, seed % 2 ? &all_desc : &rest_desc, &family);
		tell_and_run(&kit, parent, seed % 3 ? STOP : FAIL);
		assert_string_equal(story, "-e-d-c-b-a");
		kit_stop(&kit);
	}
}

/* Whoever fails, stops, is spawned or killed at any time: afterwards all that should run does, started after those that
 * were spawned before. Seeded, many orders. */
static void any_order(void **unused)
{
	(void)unused;
	static const struct qmt_actor_desc all = PARENT(.strategy = QMT_ONE_FOR_ALL, .max_restarts = 1000);
	static const struct qmt_actor_desc rest = PARENT(.strategy = QMT_REST_FOR_ONE, .max_restarts = 1000);

	for (uint64_t seed = 0; seed < 300; seed++) {
		struct family family = permanent(5);
		uint64_t dice = seed * 0x9e3779b97f4a7c15 + 1;
		bool stopped[KIDS_MAX] = {0};
		struct kit kit;
		uint64_t got;

		kit_start_seeded(&kit, seed);
		struct qmt_ref parent = found(&kit, seed % 2 ? &all : &rest, &family);
		for (int i = 0; i < 12; i++) {
			dice = dice * 6364136223846793005 + 1442695040888963407;
			uint32_t whom = (uint32_t)(dice >> 33) % family.count, what = (uint32_t)(dice >> 60);

			if (what < 9) {
				if (!stopped[whom])
					tell(&kit, family.refs[whom], what < 7 ? FAIL : STOP);
			} else if (what < 11 && family.count < KIDS_MAX - 1) {
				tell_and_run(&kit, parent, SPAWN_MORE);
			} else if (what < 13) {
				(void)qmt_kill(kit.out, family.refs[whom]);
				stopped[whom] = true;
			} else {
				family.kids[whom].bad_starts = 1;
			}
			if (what % 3 == 0)
				qmt_system_run(kit.sys, 0);
		}
		qmt_system_run(kit.sys, 10);
		assert_true(qmt_is_running(parent));
		for (uint32_t i = 0; i < family.count; i++) {
			assert_int_equal(qmt_is_running(family.refs[i]), !stopped[i]);
			if (!stopped[i])
				assert_int_equal(kit_ask(&kit, family.refs[i], COUNT, 0, &got), 0);
		}
		kit_stop(&kit);
	}
}

/* The same on threads: families of actors on workers and with threads of their own keep the order. */
static void on_threads(void **unused)
{
	(void)unused;
	static const struct qmt_actor_desc all =
		PARENT(.strategy = QMT_ONE_FOR_ALL, .max_restarts = 1000, .window_ms = 100000);

	for (int own = 0; own < 2; own++) {
		struct family family = permanent(4);
		struct kit kit;
		uint64_t got;

		family.own_thread = own;
		kit_latch_reset(&events);
		kit_start(&kit, 4);
		struct qmt_ref parent = kit_spawn(&kit, &all, &(struct qmt_spawn){.config = &family});
		assert_int_equal(kit_ask(&kit, parent, COUNT, 0, &got), 0);
		for (int k = 0; k < 4; k++)
			assert_int_equal(qmt_outside_await_start(kit.out, family.refs[k], KIT_PATIENCE_MS), 0);
		for (unsigned i = 0; i < 50; i++) {
			story[0] = '\0';
			kit_latch_reset(&events);
			tell(&kit, family.refs[2], FAIL);
			kit_latch_wait(&events, 8);
			pthread_mutex_lock(&story_lock);
			assert_string_equal(story, "-c-d-b-a+a+b+c+d");
			pthread_mutex_unlock(&story_lock);
		}
		kit_stop(&kit);
	}
}

/* ---- escalation -------------------------------------------------------------------------------------------------- */

enum { LEVELS = 4 };

static const int levels[LEVELS] = {0, 1, 2, 3};
static uint64_t level_starts[LEVELS];
static uint64_t storm_left; /* how many starts at the bottom fail */
static uint64_t root_gave_up;
static const struct qmt_actor_desc *level_desc(void);

static int level_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	const int *level = config;
	const struct qmt_spawn opt = {.restart = QMT_PERMANENT, .config = level + 1};

	(void)state;
	level_starts[*level]++;
	if (*level < LEVELS - 1)
		return qmt_spawn(ctx, level_desc(), &opt, NULL, NULL);
	if (!storm_left)
		return 0;
	storm_left--;
	return -1;
}

static const struct qmt_actor_desc *level_desc(void)
{
	static const struct qmt_actor_desc desc = {
		.abi = QMT_ABI, .name = "level", .start = level_start, .supervision = {.max_restarts = 2, .window_ms = 1000}};

	return &desc;
}

static void root_failed(void *arg)
{
	(void)arg;
	root_gave_up++;
}

/* A storm at the bottom climbs level by level, each one giving up after its limit, as high as it must: one that ends is
 * mended at the lowest level that can, one that does not reaches the root, which ends everything and says so. */
static void a_storm_climbs(void **unused)
{
	(void)unused;
	static const struct {
		uint64_t storm, starts[LEVELS], gave_up, root;
	} cases[] = {
		{2, {1, 1, 1, 3}, 0, 0},
		{3, {1, 1, 2, 4}, 1, 0},
		{10, {1, 2, 4, 11}, 4, 0},
		{1000000, {6, 18, 54, 162}, 79, 1},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct qmt_system_options opt = {.seeded = true, .seed = i, .root_failed = root_failed};
		struct qmt_spawn spawn = {.restart = QMT_PERMANENT, .config = levels};
		struct qmt_system *sys = qmt_system_start(&opt, NULL);
		struct qmt_ctx *out = qmt_outside_open(sys);
		struct qmt_counters counters;
		struct qmt_err err;
		struct qmt_ref top;

		memset(level_starts, 0, sizeof level_starts);
		storm_left = cases[i].storm;
		root_gave_up = 0;
		assert_int_equal(qmt_spawn(out, level_desc(), &spawn, &top, &err), 0);
		qmt_system_run(sys, 0);
		for (int k = 0; k < LEVELS; k++)
			assert_int_equal(level_starts[k], cases[i].starts[k]);
		qmt_system_counters(sys, &counters);
		assert_int_equal(counters.gave_up, cases[i].gave_up);
		assert_int_equal(root_gave_up, cases[i].root);
		assert_int_equal(qmt_is_running(top), !cases[i].root);
		qmt_outside_close(out);
		assert_int_equal(qmt_system_stop(sys, 1000, &err), 0);
		qmt_system_free(sys);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_goes_along),
		cmocka_unit_test(policies_along),
		cmocka_unit_test(limit_counts_triggers),
		cmocka_unit_test(a_start_fails_in_the_middle),
		cmocka_unit_test(while_they_wait),
		cmocka_unit_test(stopped_in_reverse),
		cmocka_unit_test(any_order),
		cmocka_unit_test(on_threads),
		cmocka_unit_test(a_storm_climbs),
	};

	return cmocka_run_group_tests_name("runtime/supervisor_family", tests, NULL, NULL);
}
