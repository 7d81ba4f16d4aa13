/* runtime: the faults that the measured prototype had once, those of them that no other test shows (docs/invariants.md
 * says which test shows which, and under which sanitizer). Numbers are those of that table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <unistd.h>

#include "runtime/send.h"
#include "test/lib/runtime_kit.h"

/* ---- 2: a child's last act --------------------------------------------------------------------------------------- */

enum { END, FAIL, CHILDREN = 24 };

static void child_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	if (((const struct kit_poke *)body)->value == FAIL)
		qmt_fail(ctx, "told to");
	else
		qmt_stop_self(ctx);
}
static qmt_handler *const child_handlers[kit_message_count] = {[kit_poke_id] = child_poke};
static const struct qmt_actor_desc child_desc = KIT_DESC("child", child_handlers, .state_size = 16);

static struct qmt_ref children[CHILDREN];
static struct kit_latch begun = KIT_LATCH;

static int parent_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state, (void)config;
	for (int i = 0; i < CHILDREN; i++)
		kit_check(
			qmt_spawn(ctx, &child_desc, &(struct qmt_spawn){.restart = (uint8_t)(i % 3)}, &children[i], NULL) == 0);
	kit_latch_add(&begun, 1);
	return 0;
}
static const struct qmt_actor_desc parent_desc = KIT_DESC("parent", child_handlers, .state_size = 16,
	.start = parent_start, .supervision = {.max_restarts = QMT_RESTARTS_MAX});

/* A child tells its parent last of all: nothing of it is touched afterwards, as its block, and its parent's, are
 * somebody else's by then. Children and parent end at once, on all workers. Seen by the thread sanitizer. */
static void telling_the_parent_is_the_last_act(void **unused)
{
	(void)unused;
	enum { ROUNDS = 150 };
	struct kit kit;

	kit_start(&kit, 4);
	kit_latch_reset(&begun);
	for (uint64_t round = 0; round < ROUNDS; round++) {
		struct qmt_ref parent = kit_spawn(&kit, &parent_desc, NULL);

		kit_latch_wait(&begun, round + 1);
		for (uint64_t i = 0; i < CHILDREN; i++)
			(void)QMT_TELL(kit.out, children[i], kit_poke, .value = i % 2);
		(void)QMT_TELL(kit.out, parent, kit_poke, .value = END);
		kit_wait_gone(&kit, parent);
	}
	kit_stop(&kit);
}

/* What comes after that, the flag for the parent, may meet another tenant of the block, or none: nothing happens. */
static void a_flag_for_nothing_does_nothing(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref ref = kit_spawn(&kit, &child_desc, NULL);
	qmt_system_run(kit.sys, 0);
	notify(kit.out, ref.actor);
	qmt_system_run(kit.sys, 0);
	assert_true(word_is_idle(atomic_load(&ref.actor->top)) && qmt_is_running(ref));
	assert_int_equal(QMT_TELL(kit.out, ref, kit_poke, .value = END), 0);
	qmt_system_run(kit.sys, 0);
	notify(kit.out, ref.actor);
	qmt_system_run(kit.sys, 0);
	assert_true(word_is_closed(atomic_load(&ref.actor->top)));
	kit_stop(&kit);
}

/* ---- 3: what late senders read ----------------------------------------------------------------------------------- */

/* Free blocks are linked through fields that no late sender looks at. */
_Static_assert(offsetof(struct free_block, next) == offsetof(struct qmt_actor, queue_next), "not the mailbox word");
_Static_assert(offsetof(struct free_block, magazine_next) == offsetof(struct qmt_actor, zombies), "children are gone");
_Static_assert(sizeof(struct free_block) <= offsetof(struct qmt_actor, waiters), "nothing behind it is touched");
_Static_assert(sizeof(struct free_block) <= offsetof(struct ask, owner), "owner, generations and protocol stay");

static uint64_t late_answers;
static struct qmt_token tokens[3 * MAGAZINE];

static void answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)ctx, (void)state, (void)arg;
	kit_check(result->fail == QMT_FAIL_DEADLINE);
	late_answers++;
}
static void keeper_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	tokens[((const struct kit_poke *)body)->value] = qmt_token(ctx);
}
static void asker_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	for (uint64_t i = 0; i < 3 * MAGAZINE; i++)
		kit_check(qmt_ask(ctx, ((const struct kit_poke *)body)->ref, &kit_poke_type, &(struct kit_poke){.value = i}, 5,
					  answered, NULL) == 0);
}
static qmt_handler *const keeper_handlers[kit_message_count] = {[kit_poke_id] = keeper_poke};
static qmt_handler *const asker_handlers[kit_message_count] = {[kit_poke_id] = asker_poke};
static const struct qmt_actor_desc keeper_desc = KIT_DESC("keeper", keeper_handlers);
static const struct qmt_actor_desc asker_desc = KIT_DESC("asker", asker_handlers);

/* A free block says closed, whichever way it is linked: in a magazine, as the first of one, in the depot. */
static void free_blocks_stay_closed(void **unused)
{
	(void)unused;
	struct qmt_ref refs[3 * MAGAZINE];
	struct kit kit;

	kit_start_seeded(&kit, 1);
	for (int i = 0; i < 3 * MAGAZINE; i++)
		refs[i] = kit_spawn(&kit, &child_desc, NULL);
	qmt_system_run(kit.sys, 0);
	for (int i = 0; i < 3 * MAGAZINE; i++)
		assert_int_equal(QMT_TELL(kit.out, refs[i], kit_poke, .value = END), 0);
	qmt_system_run(kit.sys, 0);
	for (int i = 0; i < 3 * MAGAZINE; i++) {
		struct qmt_actor *a = refs[i].actor;
		struct qmt_msg *m = qmt_msg_new(kit.out, &kit_poke_type, 0);

		assert_int_equal(atomic_load(&a->gen), refs[i].gen + 1);
		assert_int_equal(mailbox_push(a, m), PUSH_CLOSED);
		assert_int_equal(qmt__system_push(kit.out, a, m), QMT_FAIL_NOT_RUNNING);
		assert_ptr_equal(atomic_load(&a->waiters), WAITERS_CLOSED);
		qmt_msg_free(kit.out, m);
	}
	kit_stop(&kit);
}

/* The same of records of asks: a late answer finds another generation, and nobody hears of it. */
static void free_asks_take_no_answer(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	late_answers = 0;
	struct qmt_ref keeper = kit_spawn(&kit, &keeper_desc, NULL), asker = kit_spawn(&kit, &asker_desc, NULL);
	assert_int_equal(QMT_TELL(kit.out, asker, kit_poke, .ref = keeper), 0);
	qmt_system_run(kit.sys, 20);
	assert_int_equal(late_answers, 3 * MAGAZINE);
	for (int i = 0; i < 3 * MAGAZINE; i++) {
		assert_false(qmt_token_waits(tokens[i]));
		assert_ptr_equal(atomic_load(&((struct ask *)tokens[i].ask)->owner), asker.actor);
		(void)QMT_REPLY(kit.out, tokens[i], kit_answer, .value = 1);
	}
	qmt_system_run(kit.sys, 20);
	assert_int_equal(late_answers, 3 * MAGAZINE);
	kit_stop(&kit);
}

/* ---- 4 and 5: who makes an actor runnable, and who runs it next ----------------------------------------------- */

enum { PUSHERS = 3, PUSHES = 4000, PUSHED = 3 };

static struct kit_latch counted = KIT_LATCH;

static void counter_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	uint64_t *count = state;

	(void)ctx, (void)body;
	++*count;
	kit_latch_add(&counted, 1);
}
static qmt_handler *const counter_handlers[kit_message_count] = {[kit_poke_id] = counter_poke};
static const struct qmt_actor_desc counter_desc = KIT_DESC("counter", counter_handlers, .state_size = 8);

struct pusher {
	struct kit *kit;
	struct qmt_ref *refs;
	pthread_t thread;
};
static void *pusher_main(void *arg)
{
	struct pusher *self = arg;
	struct qmt_ctx *ctx = qmt_outside_open(self->kit->sys);

	for (int i = 0; i < PUSHES; i++)
		kit_check(QMT_TELL(ctx, self->refs[i % PUSHED], kit_poke, .value = 0) == 0);
	qmt_outside_close(ctx);
	return NULL;
}

/* Actors that are idle again and again, run by whichever worker, and made runnable by whichever thread: what one writes
 * of them (the link of the queue, the list that was taken) the next one has seen. Seen by the thread sanitizer. */
static void pushed_from_everywhere(void **unused)
{
	(void)unused;
	struct pusher pushers[PUSHERS];
	struct qmt_ref refs[PUSHED];
	struct kit kit;

	kit_start(&kit, 3);
	kit_latch_reset(&counted);
	for (int i = 0; i < PUSHED; i++)
		refs[i] = kit_spawn(&kit, &counter_desc, NULL);
	for (int i = 0; i < PUSHERS; i++) {
		pushers[i] = (struct pusher){.kit = &kit, .refs = refs};
		assert_int_equal(pthread_create(&pushers[i].thread, NULL, pusher_main, &pushers[i]), 0);
	}
	for (int i = 0; i < PUSHERS; i++)
		pthread_join(pushers[i].thread, NULL);
	kit_latch_wait(&counted, PUSHERS * PUSHES);
	kit_stop(&kit);
}

/* ---- 6: more is runnable than the ring holds ------------------------------------------------------------------ */

/* Blocks of what overflows the ring are arrays; their owner takes the newest first (few are alive then, and hot), and
 * each actor once. */
static void overflow_is_taken_newest_first(void **unused)
{
	(void)unused;
	enum { HALF = RING_SLOTS / 2, MANY = 8 * HALF };
	struct qmt_actor *actors = aligned_alloc(64, MANY * sizeof *actors);
	struct kit kit;

	kit_start(&kit, 1);
	/* the root has had its turn: what is on the list of all workers now is nobody */
	kit_latch_reset(&counted);
	assert_int_equal(QMT_TELL(kit.out, kit_spawn(&kit, &counter_desc, NULL), kit_poke, .value = 0), 0);
	kit_latch_wait(&counted, 1);
	assert_non_null(actors);
	memset(actors, 0, MANY * sizeof *actors);
	for (int i = 0; i < MANY; i++)
		ring_push(kit.out, &actors[i]); /* this handle is no worker: nobody else takes from its ring */
	assert_int_equal(atomic_load(&kit.out->blocks), (MANY - RING_SLOTS) / HALF);
	for (int i = MANY - RING_SLOTS; i < MANY; i++)
		assert_ptr_equal(qmt__work_find(kit.out), &actors[i]);
	for (int block = (MANY - RING_SLOTS) / HALF; block-- > 0;)
		for (int i = 0; i < HALF; i++)
			assert_ptr_equal(qmt__work_find(kit.out), &actors[block * HALF + i]);
	assert_int_equal(atomic_load(&kit.out->blocks), 0);
	assert_int_equal(atomic_load(&kit.out->head), atomic_load(&kit.out->tail));
	kit_stop(&kit);
	free(actors);
}

/* ---- 8: two wakes, one edge ----------------------------------------------------------------------------------- */

/* Until all workers sleep, and no wake is under way. False: that does not come. */
static bool all_asleep(struct kit *kit)
{
	for (uint64_t until = qmt_now_ms(kit->out) + KIT_PATIENCE_MS / 6; qmt_now_ms(kit->out) < until;)
		if (atomic_load(&kit->sys->sleep) == kit->sys->worker_count)
			return true;
	return false;
}

/* Two wakes that one worker sees as one: it passes the other one on, and nothing is left over that would silence
 * later ones. */
static void a_wake_that_is_left_is_passed_on(void **unused)
{
	(void)unused;
	const uint64_t one = 1;
	struct kit kit;

	kit_start(&kit, 3);
	for (int round = 0; round < 20; round++) {
		assert_true(all_asleep(&kit));
		atomic_fetch_add(&kit.sys->sleep, UINT64_C(2) << 32);
		assert_int_equal(write(kit.sys->wake_fd, &one, sizeof one), sizeof one);
	}
	assert_true(all_asleep(&kit));
	kit_stop(&kit);
}

/* ---- 11: a flood of blocks --------------------------------------------------------------------------------------- */

static uint32_t regions_of(struct qmt_system *sys, uint32_t class)
{
	uint32_t count = 0;

	for (const struct region *region = sys->depots[class].regions; region; region = region->next)
		count++;
	return count;
}

/* However many blocks were freed, all of them are found again: a depot has no size. */
static void a_depot_holds_any_number(void **unused)
{
	(void)unused;
	enum { MANY = 200000 };
	void **blocks = calloc(MANY, sizeof *blocks);
	struct kit kit;

	assert_non_null(blocks);
	kit_start_seeded(&kit, 1);
	for (int round = 0; round < 3; round++) {
		uint32_t before = regions_of(kit.sys, CLASS_ASK);

		for (int i = 0; i < MANY; i++) {
			blocks[i] = slab_alloc(kit.out, CLASS_ASK);
			assert_non_null(blocks[i]);
		}
		if (round)
			assert_int_equal(regions_of(kit.sys, CLASS_ASK), before);
		for (int i = 0; i < MANY; i++)
			slab_free(kit.out, CLASS_ASK, blocks[i]);
	}
	kit_stop(&kit);
	free(blocks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(telling_the_parent_is_the_last_act),
		cmocka_unit_test(a_flag_for_nothing_does_nothing),
		cmocka_unit_test(free_blocks_stay_closed),
		cmocka_unit_test(free_asks_take_no_answer),
		cmocka_unit_test(pushed_from_everywhere),
		cmocka_unit_test(overflow_is_taken_newest_first),
		cmocka_unit_test(a_wake_that_is_left_is_passed_on),
		cmocka_unit_test(a_depot_holds_any_number),
	};

	return cmocka_run_group_tests_name("runtime/traps", tests, NULL, NULL);
}
