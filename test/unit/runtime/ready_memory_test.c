/* pool, pubsub, broker, stream, interval: the Nth allocation fails, alone or with all behind it, for every N: nothing
 * crashes, hangs, leaks or is said to have arrived when it did not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/broker.h"
#include "runtime/interval.h"
#include "runtime/pool.h"
#include "runtime/pubsub.h"
#include "runtime/stream.h"
#include "test/lib/failing_memory.h"
#include "test/lib/runtime_kit.h"

/* ---- the actors -------------------------------------------------------------------------------------------------- */

static uint64_t notes, chunks, ends, made, closed, ticks;

static void on_note(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	(void)state;
	(void)body;
	notes++;
}
static void go_on(struct qmt_ctx *ctx, void *state, void *arg)
{
	(void)state;
	(void)arg;
	qmt_hold(ctx, false);
}
/* Slow, so that others find it full. */
static void on_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	(void)body;
	qmt_hold(ctx, true);
	if (qmt_timer_start(ctx, 30, go_on, NULL, NULL))
		qmt_hold(ctx, false);
}
static void on_chunk(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_stream_chunk *chunk = body;

	(void)state;
	chunks += chunk->data.len;
	(void)QMT_TELL(ctx, chunk->stream, qmt_stream_more, .chunks = 1);
}
static void on_end(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	(void)state;
	(void)body;
	ends++;
}
static qmt_handler *const handlers[kit_message_count] = {[kit_note_id] = on_note, [kit_poke_id] = on_poke};
static qmt_handler *const eats[qmt_stream_message_count] = {
	[qmt_stream_chunk_id] = on_chunk, [qmt_stream_end_id] = on_end};
static const struct qmt_actor_desc all_desc = {.abi = QMT_ABI,
	.name = "all",
	.bound = 3,
	.overflow = QMT_REFUSE,
	.accepts = {
		{&kit_protocol, handlers}, {&qmt_stream_protocol, eats}, {&qmt_pool_protocol, qmt_pool_worker_handlers}}};

QMT_POOL_TO_ALL(kit_note)
static qmt_handler *const spread[kit_message_count] = {
	[kit_poke_id] = qmt_pool_to_one, [kit_note_id] = kit_note_to_all};
static const struct qmt_actor_desc pool_desc = QMT_POOL_DESC("pool", &kit_protocol, spread, .bound = 0);
static const struct qmt_pool_config pool_config = {.worker = &all_desc, .size = 3};

QMT_PUBSUB_PUBLISH(kit_note)
static qmt_handler *const published[kit_message_count] = {[kit_note_id] = kit_note_publish};
static const struct qmt_actor_desc room_desc = QMT_PUBSUB_DESC("room", &kit_protocol, published, .bound = 0);

static void board_note(struct qmt_ctx *ctx, void *state, const void *body)
{
	qmt_broker_pass(ctx, state, ((const struct kit_note *)body)->text, &kit_note_type, body);
}
static qmt_handler *const posted[kit_message_count] = {[kit_note_id] = board_note};
static const struct qmt_actor_desc board_desc = QMT_BROKER_DESC("board", &kit_protocol, posted, .bound = 0);

static int64_t make(void *arg, void *ret_room, uint32_t size)
{
	(void)arg;
	memset(ret_room, 'x', size < 100 ? size : 100);
	made += 100;
	return made > 1000 ? 0 : 100;
}
static void close_made(void *arg)
{
	(void)arg;
	closed++;
}

static void tick(struct qmt_ctx *ctx, void *state, uint64_t number, void *arg)
{
	(void)arg;
	ticks++;
	if (number == 5)
		qmt_interval_stop(ctx, state);
}
static int beat_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)config;
	return qmt_interval_start(ctx, state, 10, QMT_MISSED_SKIP, tick, NULL);
}
static const struct qmt_actor_desc beat_desc = {
	.abi = QMT_ABI, .name = "beat", .state_size = sizeof(struct qmt_interval), .start = beat_start};

/* ---- one pass ---------------------------------------------------------------------------------------------------- */

static bool spawned(struct kit *kit, const struct qmt_actor_desc *desc, const void *config, struct qmt_ref *ret_ref)
{
	struct qmt_err err;

	return qmt_spawn(kit->out, desc, &(struct qmt_spawn){.config = config}, ret_ref, &err) == 0;
}

/* Returns whether all that was published and could be delivered was: copies that came are those that were counted. */
static void one_pass(long allocations)
{
	static char long_text[3000];
	struct qmt_ref pool = {0}, room = {0}, board = {0}, stream, beat, reader, warm[40];
	struct qmt_stream_config source = {.read = make, .close = close_made, .chunk_bytes = 100, .credit = 2};
	struct qmt_result result;
	struct kit kit;
	bool streams, in_room, at_board;

	memset(long_text, 'x', sizeof long_text - 1);
	notes = chunks = ends = made = closed = ticks = 0;
	kit_start_seeded(&kit, 1);
	for (int i = 0; i < 40; i++) /* the list of who is runnable must not grow later: that is the seeded mode's own */
		warm[i] = kit_spawn(&kit, &all_desc, NULL);
	qmt_system_run(kit.sys, 0);
	for (int i = 0; i < 40; i++)
		(void)qmt_stop(kit.out, warm[i]);
	reader = kit_spawn(&kit, &all_desc, NULL);
	qmt_system_run(kit.sys, 100);

	failed = false;
	left = allocations;
	(void)spawned(&kit, &pool_desc, &pool_config, &pool);
	(void)spawned(&kit, &room_desc, NULL, &room);
	(void)spawned(&kit, &board_desc, NULL, &board);
	(void)spawned(&kit, &beat_desc, NULL, &beat);
	source.to = reader;
	streams = spawned(&kit, &qmt_stream_desc, &source, &stream);
	in_room = qmt_outside_ask(kit.out, room, &qmt_pubsub_subscribe_type, &(struct qmt_pubsub_subscribe){.who = reader},
				  50, &result) == 0;
	at_board = qmt_outside_ask(kit.out, board, &qmt_broker_subscribe_type,
				   &(struct qmt_broker_subscribe){.who = reader, .pattern = qmt_str("a/**")}, 50, &result) == 0;
	(void)QMT_TELL(kit.out, reader, kit_poke, .value = 1);
	for (int i = 0; i < 6; i++) {
		(void)QMT_TELL(kit.out, pool, kit_poke, .value = 1);
		(void)QMT_TELL(kit.out, pool, kit_note, .text = qmt_str(long_text));
		(void)QMT_TELL(kit.out, room, kit_note, .text = qmt_str(long_text));
		(void)QMT_TELL(kit.out, board, kit_note, .text = qmt_str("a/b"));
	}
	qmt_system_run(kit.sys, 500);
	left = -1;

	/* With memory again, what lives works: what was taken has come. */
	qmt_system_run(kit.sys, 2000);
	uint64_t delivered = 0;
	if (in_room && qmt_is_running(room)) {
		assert_int_equal(
			qmt_outside_ask(kit.out, room, &qmt_pubsub_info_type, &(struct qmt_pubsub_info){}, 0, &result), 0);
		const struct qmt_pubsub_counts *counts = result.body;
		assert_int_equal(counts->delivered + counts->lost, counts->published);
		delivered += counts->delivered;
	}
	if (at_board && qmt_is_running(board)) {
		assert_int_equal(
			qmt_outside_ask(kit.out, board, &qmt_broker_info_type, &(struct qmt_broker_info){}, 0, &result), 0);
		const struct qmt_broker_counts *counts = result.body;
		assert_int_equal(counts->delivered + counts->lost, counts->published);
		delivered += counts->delivered;
	}
	if (qmt_is_running(pool)) {
		assert_int_equal(qmt_outside_ask(kit.out, pool, &qmt_pool_info_type, &(struct qmt_pool_info){}, 0, &result), 0);
		const struct qmt_pool_loads *loads = result.body;
		for (uint32_t i = 0; i < loads->workers.count; i++) {
			assert_int_equal(((const struct qmt_pool_load *)loads->workers.items)[i].busy, 0);
			delivered += ((const struct qmt_pool_load *)loads->workers.items)[i].passed;
		}
	}
	assert_true(notes <= delivered);
	if (!failed) {
		assert_true(in_room && at_board && streams);
		assert_int_equal(chunks, 1000);
		assert_int_equal(ends, 1);
		assert_int_equal(ticks, 5);
		assert_true(notes > 12);
	}
	kit_stop(&kit);
	assert_int_equal(closed, streams); /* started or not, whoever took the source gave it back, once */
}

static void every_allocation(void **unused)
{
	(void)unused;
#ifdef SANITIZED
	skip();
#endif
	one_pass(-1);
	one_pass(-1);
	long before = live, n = 0;
	for (int one = 0; one < 2; one++) {
		only_one = one;
		n = 0;
		do {
			one_pass(n++);
			assert_int_equal(live, before);
		} while (failed);
		assert_true(n > 20);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
