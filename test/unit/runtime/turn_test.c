/* runtime/turn: order, hold, again and flush: each does what it says and none loses another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/lib/runtime_kit.h"

/* ---- order ------------------------------------------------------------------------------------------------------- */

enum { SENDERS = 6, EACH = 20000 };

struct receiver {
	uint64_t next[SENDERS], got;
};
static struct kit_latch received = KIT_LATCH;

static void receiver_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	uint64_t value = ((const struct kit_poke *)body)->value, sender = value / EACH;
	struct receiver *receiver = state;

	kit_check(qmt_ref_is_set(qmt_sender(ctx)));
	kit_check(receiver->next[sender] == value % EACH);
	receiver->next[sender]++;
	if (++receiver->got == SENDERS * EACH)
		kit_latch_add(&received, 1);
}
static qmt_handler *const receiver_handlers[kit_message_count] = {[kit_poke_id] = receiver_poke};
static const struct qmt_actor_desc receiver_desc = KIT_DESC("receiver", receiver_handlers,
	.state_size = sizeof(struct receiver));

struct sender {
	struct qmt_ref to;
	uint64_t next, end;
};
static void send_more(struct qmt_ctx *ctx, void *state)
{
	struct sender *sender = state;

	for (int i = 0; i < 100 && sender->next < sender->end; i++)
		kit_check(QMT_TELL(ctx, sender->to, kit_poke, .value = sender->next++) == 0);
	if (sender->next < sender->end)
		qmt_again(ctx);
}
static void sender_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;

	*(struct sender *)state = (struct sender){poke->ref, poke->value * EACH, (poke->value + 1) * EACH};
	send_more(ctx, state);
}
static qmt_handler *const sender_handlers[kit_message_count] = {[kit_poke_id] = sender_poke};
static const struct qmt_actor_desc sender_desc =
	KIT_DESC("sender", sender_handlers, .state_size = sizeof(struct sender), .again = send_more);

/* Messages of one sender to one receiver arrive in the order of sending, none is lost, on any number of workers. */
static void fifo_per_sender(void **unused)
{
	(void)unused;
	struct kit kit;

	for (uint32_t workers = 1; workers <= 4; workers *= 2) {
		kit_start(&kit, workers);
		received.count = 0;
		struct qmt_ref receiver = kit_spawn(&kit, &receiver_desc, NULL);
		for (uint64_t i = 0; i < SENDERS; i++)
			QMT_TELL(kit.out, kit_spawn(&kit, &sender_desc, NULL), kit_poke, .ref = receiver, .value = i);
		kit_latch_wait(&received, 1);
		kit_stop(&kit);
	}
}

/* ---- hold, again, flush ------------------------------------------------------------------------------------------ */

struct worker {
	uint64_t normal, again, flush;
	uint64_t again_left;
	bool tells;          /* itself, with each `again` */
	uint64_t flushed_at; /* normal messages handled when flush ran */
};

enum { NORMAL, ASK_NORMAL, ASK_AGAIN, ASK_FLUSH, HOLD_AGAIN, AGAIN, FLUSH, FLUSH_STOP, HOLD_FLUSH, HOLD_TELL };

static void worker_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct worker *worker = state;

	switch (poke->value) {
	case NORMAL:
		worker->normal++;
		break;
	case ASK_NORMAL:
		kit_answer(ctx, worker->normal);
		break;
	case ASK_AGAIN:
		kit_answer(ctx, worker->again);
		break;
	case ASK_FLUSH:
		kit_answer(ctx, worker->flush * 1000 + worker->flushed_at);
		break;
	case HOLD_TELL:
	case HOLD_AGAIN:
		worker->tells = poke->value == HOLD_TELL;
		worker->again_left = 5;
		qmt_hold(ctx, true);
		qmt_again(ctx);
		break;
	case AGAIN:
		worker->again_left = 3;
		qmt_again(ctx);
		break;
	case FLUSH_STOP:
		qmt_want_flush(ctx);
		qmt_stop_self(ctx);
		break;
	case HOLD_FLUSH:
		qmt_hold(ctx, true);
		qmt_again(ctx);
		worker->again_left = 1;
		qmt_want_flush(ctx);
		break;
	default:
		worker->normal++;
		qmt_want_flush(ctx);
	}
}
static struct kit_latch flushes = KIT_LATCH;
static void worker_again(struct qmt_ctx *ctx, void *state)
{
	struct worker *worker = state;

	worker->again++;
	if (worker->tells)
		kit_check(QMT_TELL(ctx, qmt_self(ctx), kit_poke, .value = NORMAL) == 0);
	if (--worker->again_left)
		qmt_again(ctx);
	else
		qmt_hold(ctx, false);
}
static void worker_flush(struct qmt_ctx *ctx, void *state)
{
	struct worker *worker = state;

	(void)ctx;
	worker->flush++;
	worker->flushed_at = worker->normal;
	kit_latch_add(&flushes, 1);
}
static qmt_handler *const worker_handlers[kit_message_count] = {[kit_poke_id] = worker_poke};
static const struct qmt_actor_desc worker_desc = KIT_DESC(
	"worker", worker_handlers, .state_size = sizeof(struct worker), .again = worker_again, .flush = worker_flush);

static uint64_t ask(struct kit *kit, struct qmt_ref ref, uint64_t what)
{
	uint64_t value;

	assert_int_equal(kit_ask(kit, ref, what, 0, &value), 0);
	return value;
}

/* Trap 10: hold with messages pending keeps them, again survives it, and when it is lifted everything arrives in
 * order. */
static void hold_keeps_messages_and_again(void **unused)
{
	(void)unused;
	struct kit kit;

	for (uint64_t seed = 0; seed < 30; seed++) {
		kit_start_seeded(&kit, seed);
		struct qmt_ref ref = kit_spawn(&kit, &worker_desc, NULL);
		/* some before, some after the hold, some while it lasts */
		QMT_TELL(kit.out, ref, kit_poke, .value = NORMAL);
		QMT_TELL(kit.out, ref, kit_poke, .value = HOLD_AGAIN);
		for (int i = 0; i < 5; i++)
			QMT_TELL(kit.out, ref, kit_poke, .value = NORMAL);
		for (int i = 0; i < 5; i++)
			QMT_TELL(kit.out, ref, kit_poke, .value = NORMAL);
		assert_int_equal(ask(&kit, ref, ASK_NORMAL), 11); /* the ask came last, so it is answered last */
		assert_int_equal(ask(&kit, ref, ASK_AGAIN), 5);
		kit_stop(&kit);
	}
}

/* And what comes while it holds, in turn after turn, is behind what it had taken before. */
static void hold_takes_what_comes(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref ref = kit_spawn(&kit, &worker_desc, NULL);
	QMT_TELL(kit.out, ref, kit_poke, .value = HOLD_TELL);
	for (int i = 0; i < 5; i++)
		QMT_TELL(kit.out, ref, kit_poke, .value = NORMAL);
	assert_int_equal(ask(&kit, ref, ASK_NORMAL), 5); /* came before the hold */
	assert_int_equal(ask(&kit, ref, ASK_NORMAL), 10);
	assert_int_equal(ask(&kit, ref, ASK_AGAIN), 5);
	kit_stop(&kit);
}

/* The same with real threads and a sender at work. */
static void hold_with_threads(void **unused)
{
	(void)unused;
	struct kit kit;

	for (uint32_t workers = 1; workers <= 4; workers *= 2) {
		kit_start(&kit, workers);
		struct qmt_ref ref = kit_spawn(&kit, &worker_desc, NULL);
		for (int i = 0; i < 2000; i++) {
			QMT_TELL(kit.out, ref, kit_poke, .value = NORMAL);
			if (i % 50 == 0)
				QMT_TELL(kit.out, ref, kit_poke, .value = HOLD_AGAIN);
		}
		assert_int_equal(ask(&kit, ref, ASK_NORMAL), 2000);
		assert_int_equal(ask(&kit, ref, ASK_AGAIN), 40 * 5);
		kit_stop(&kit);
	}
}

/* Flush runs once at the end of a turn that wanted it, after all its messages; before the end of an actor that stops;
 * and also when the actor holds. */
static void flush_ends_the_turn(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref ref = kit_spawn(&kit, &worker_desc, NULL);
	qmt_system_run(kit.sys, 1);
	for (int i = 0; i < 7; i++)
		QMT_TELL(kit.out, ref, kit_poke, .value = FLUSH);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(ask(&kit, ref, ASK_FLUSH), 1007);
	/* more messages than a turn has: each turn flushes */
	for (int i = 0; i < 600; i++)
		QMT_TELL(kit.out, ref, kit_poke, .value = FLUSH);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(ask(&kit, ref, ASK_FLUSH), 4607);
	QMT_TELL(kit.out, ref, kit_poke, .value = HOLD_FLUSH);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(ask(&kit, ref, ASK_FLUSH), 5607);
	flushes.count = 0;
	QMT_TELL(kit.out, ref, kit_poke, .value = FLUSH_STOP);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(kit_latch_count(&flushes), 1);
	assert_false(qmt_is_running(ref));
	kit_stop(&kit);
}

/* ---- again gives way --------------------------------------------------------------------------------------------- */

static uint64_t turns_of_the_greedy; /* one worker only */

static void greedy_again(struct qmt_ctx *ctx, void *state)
{
	(void)state;
	turns_of_the_greedy++;
	qmt_again(ctx);
}
static int greedy_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state;
	(void)config;
	qmt_again(ctx);
	return 0;
}
static const struct qmt_actor_desc greedy_desc = {.abi = QMT_ABI, .name = "greedy", .start = greedy_start,
	.again = greedy_again};

/* An actor that always wants to go on keeps nobody from running, not even on the same worker. */
static void again_gives_way(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start(&kit, 1);
	struct qmt_ref greedy = kit_spawn(&kit, &greedy_desc, NULL), ref = kit_spawn(&kit, &worker_desc, NULL);
	for (int i = 0; i < 100; i++)
		assert_int_equal(ask(&kit, ref, ASK_NORMAL), 0);
	assert_true(qmt_is_running(greedy));
	kit_stop(&kit);
	assert_true(turns_of_the_greedy > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fifo_per_sender),
		cmocka_unit_test(hold_keeps_messages_and_again),
		cmocka_unit_test(hold_takes_what_comes),
		cmocka_unit_test(hold_with_threads),
		cmocka_unit_test(flush_ends_the_turn),
		cmocka_unit_test(again_gives_way),
	};

	return cmocka_run_group_tests_name("runtime/turn", tests, NULL, NULL);
}
