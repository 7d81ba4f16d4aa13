/* runtime/sim: a seeded run is one thread, a clock of its own, and the same again for the same seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/lib/runtime_kit.h"

/* ---- a small world with asks, timers, restarts, jobs and chance -------------------------------------------------- */

struct player {
	struct qmt_ref next;
	uint64_t hops;
};
static uint64_t events, order; /* one thread; order: a hash of who did what when */

static void note(uint64_t what)
{
	events++;
	order = (order ^ what) * UINT64_C(0x100000001b3);
}

static void answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)state;
	(void)arg;
	note((uint64_t)result->fail << 32 | qmt_now_ms(ctx));
}
static void job_run(void *arg)
{
	note((uint64_t)(uintptr_t)arg);
}
static void job_done(struct qmt_ctx *ctx, void *state, void *arg)
{
	(void)arg;
	note(qmt_now_ms(ctx) + ((struct player *)state)->hops);
}
static void timer_over(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct player *player = state;
	uint64_t random;

	(void)arg;
	qmt_random(ctx, &random, sizeof random);
	note(random);
	if (random % 32 == 0)
		qmt_fail(ctx, "by chance");
	else if (qmt_ref_is_set(player->next))
		qmt_ask_or(ctx, player->next, &kit_poke_type, &(struct kit_poke){.value = random}, 1 + random % 50, answered,
			NULL);
}
static void player_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct player *player = state;

	player->hops++;
	note(poke->value + player->hops);
	if (qmt_ref_is_set(poke->ref))
		player->next = poke->ref;
	if (qmt_token(ctx).ask && poke->value % 3)
		kit_answer(ctx, poke->value);
	kit_check(qmt_timer_start(ctx, poke->value % 100, timer_over, NULL, NULL) == 0);
	if (poke->value % 5 == 0) {
		const struct qmt_job job = {job_run, job_done, NULL};

		kit_check(qmt_job_start(ctx, &job, (void *)(uintptr_t)player->hops) == 0);
	}
}
static qmt_handler *const player_handlers[kit_message_count] = {[kit_poke_id] = player_poke};
static const struct qmt_actor_desc player_desc =
	KIT_DESC("player", player_handlers, .state_size = sizeof(struct player));

/* Plays for two virtual seconds; returns the trace hash. */
static uint64_t play(uint64_t seed, uint64_t *ret_order)
{
	enum { PLAYERS = 12 };
	struct qmt_ref players[PLAYERS];
	struct kit kit;

	events = order = 0;
	kit_start_seeded(&kit, seed);
	for (int i = 0; i < PLAYERS; i++)
		players[i] = kit_spawn(&kit, &player_desc,
			&(struct qmt_spawn){.restart = i % 2 ? QMT_PERMANENT : QMT_TEMPORARY, .own_thread = i == 3});
	for (uint64_t i = 0; i < PLAYERS; i++)
		QMT_TELL(kit.out, players[i], kit_poke, .value = i * 11, .ref = players[(i + 1) % PLAYERS]);
	qmt_system_run(kit.sys, 2000);
	uint64_t hash = qmt_system_trace_hash(kit.sys);
	kit_stop(&kit);
	*ret_order = order;
	assert_true(events > 50);
	return hash;
}

/* The same seed gives the same events and the same trace hash; others differ. */
static void same_seed_same_run(void **unused)
{
	(void)unused;
	uint64_t hashes[20], orders[20];

	for (uint64_t seed = 0; seed < 20; seed++) {
		uint64_t again;

		hashes[seed] = play(seed, &orders[seed]);
		assert_true(hashes[seed] == play(seed, &again));
		assert_true(orders[seed] == again);
		for (uint64_t other = 0; other < seed; other++)
			assert_true(hashes[seed] != hashes[other] && orders[seed] != orders[other]);
	}
}

/* The seed alone decides who runs first among those that may: many seeds, many orders. */
static void the_seed_chooses(void **unused)
{
	(void)unused;
	uint64_t orders[30];
	int different = 0;

	for (uint64_t seed = 0; seed < 30; seed++) {
		struct kit kit;

		events = order = 0;
		kit_start_seeded(&kit, seed);
		for (uint64_t i = 1; i <= 6; i++)
			QMT_TELL(kit.out, kit_spawn(&kit, &player_desc, NULL), kit_poke, .value = i);
		while (events < 6)
			qmt_system_run(kit.sys, 0);
		orders[seed] = order;
		for (uint64_t other = 0; other < seed; other++)
			different += orders[other] != order;
		kit_stop(&kit);
	}
	assert_true(different > 30 * 29 / 2 * 9 / 10);
}

/* The clock stands still while anything runs, jumps to what is due, and a run ends at its time. Nothing runs by
 * itself. */
static void the_clock_is_virtual(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	uint64_t start = qmt_now_ms(kit.out), wall = qmt_wall_ms(kit.out);
	events = 0;
	struct qmt_ref player = kit_spawn(&kit, &player_desc, NULL);
	QMT_TELL(kit.out, player, kit_poke, .value = 70);
	assert_int_equal(events, 0);
	assert_true(qmt_system_run(kit.sys, 69) > 0);
	assert_int_equal(qmt_now_ms(kit.out), start + 69);
	uint64_t before = events;
	qmt_system_run(kit.sys, 1);
	assert_true(events > before);
	assert_int_equal(qmt_system_run(kit.sys, 100000000), 0);
	assert_int_equal(qmt_now_ms(kit.out), start + 70 + 100000000);
	assert_int_equal(qmt_wall_ms(kit.out), wall + 70 + 100000000);
	kit_stop(&kit);
}

/* An ask from outside drives the run until its answer or its virtual deadline, no further. */
static void asks_from_outside(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref player = kit_spawn(&kit, &player_desc, NULL);
	uint64_t start = qmt_now_ms(kit.out);
	assert_int_equal(kit_ask(&kit, player, 1, 60000, NULL), 0);
	assert_int_equal(qmt_now_ms(kit.out), start);
	assert_int_equal(kit_ask(&kit, player, 3, 60000, NULL), QMT_FAIL_DEADLINE);
	assert_int_equal(qmt_now_ms(kit.out), start + 60000);
	kit_stop(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_seed_same_run),
		cmocka_unit_test(the_seed_chooses),
		cmocka_unit_test(the_clock_is_virtual),
		cmocka_unit_test(asks_from_outside),
	};

	return cmocka_run_group_tests_name("runtime/sim", tests, NULL, NULL);
}
