/* runtime/stream: bytes of a descriptor or of a job arrive as messages, in order, all of them, no more than there is
 * credit for; and nothing of the source is left behind. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "runtime/stream.h"
#include "test/lib/runtime_kit.h"

/* ---- the consumer: checks that byte i is what byte_at says ------------------------------------------------------- */

enum { GET_BYTES = 1, GET_CHUNKS, GET_ENDS, GET_FAIL, MORE, MORE_BY_ITSELF, END, PAUSE };

static uint8_t byte_at(uint64_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

struct eater {
	uint64_t bytes, chunks, ends, fail, total;
	bool gives;
	struct qmt_ref stream;
};
static struct kit_latch ended = KIT_LATCH;

static void on_chunk(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct eater *eater = state;
	const struct qmt_stream_chunk *chunk = body;

	kit_check(chunk->data.len > 0 && chunk->id == 7 && !eater->ends);
	for (uint32_t i = 0; i < chunk->data.len; i++)
		kit_check(chunk->data.p[i] == byte_at(eater->bytes + i));
	eater->bytes += chunk->data.len;
	eater->chunks++;
	eater->stream = chunk->stream;
	if (eater->gives) {
		int failed = QMT_TELL(ctx, chunk->stream, qmt_stream_more, .chunks = 1);

		kit_check(!failed || failed == QMT_FAIL_NOT_RUNNING); /* it may have told the end meanwhile */
	}
}
static void on_end(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct eater *eater = state;
	const struct qmt_stream_end *end = body;

	(void)ctx;
	kit_check(end->id == 7 && end->total_bytes == eater->bytes && !end->fail == !end->text.len);
	eater->ends++;
	eater->fail = end->fail;
	kit_latch_add(&ended, 1);
}
static void go_on(struct qmt_ctx *ctx, void *state, void *arg)
{
	(void)state;
	(void)arg;
	qmt_hold(ctx, false);
}
static void eater_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct eater *eater = state;
	const struct kit_poke *poke = body;

	switch (poke->value) {
	case GET_BYTES:
		kit_answer(ctx, eater->bytes);
		break;
	case GET_CHUNKS:
		kit_answer(ctx, eater->chunks);
		break;
	case GET_ENDS:
		kit_answer(ctx, eater->ends);
		break;
	case GET_FAIL:
		kit_answer(ctx, eater->fail);
		break;
	case MORE:
		kit_check(QMT_TELL(ctx, eater->stream, qmt_stream_more, .chunks = 3) == 0);
		break;
	case MORE_BY_ITSELF:
		eater->gives = true;
		break;
	case PAUSE:
		qmt_hold(ctx, true);
		kit_check(qmt_timer_start(ctx, 100, go_on, NULL, NULL) == 0);
		break;
	default:
		qmt_stop_self(ctx);
	}
}
static qmt_handler *const eater_handlers[qmt_stream_message_count] = {
	[qmt_stream_chunk_id] = on_chunk, [qmt_stream_end_id] = on_end};
static qmt_handler *const eater_pokes[kit_message_count] = {[kit_poke_id] = eater_poke};
static const struct qmt_actor_desc eater_desc = {
	.abi = QMT_ABI,
	.name = "eater",
	.state_size = sizeof(struct eater),
	.accepts = {{&kit_protocol, eater_pokes}, {&qmt_stream_protocol, eater_handlers}},
};
static const struct qmt_actor_desc narrow_desc = {
	.abi = QMT_ABI,
	.name = "narrow",
	.bound = 2,
	.overflow = QMT_REFUSE,
	.state_size = sizeof(struct eater),
	.accepts = {{&kit_protocol, eater_pokes}, {&qmt_stream_protocol, eater_handlers}},
};

static uint64_t get(struct kit *kit, struct qmt_ref eater, uint64_t what)
{
	uint64_t value = 0;

	assert_int_equal(kit_ask(kit, eater, what, 0, &value), 0);
	return value;
}
static void tell(struct kit *kit, struct qmt_ref eater, uint64_t what)
{
	assert_int_equal(QMT_TELL(kit->out, eater, kit_poke, .value = what), 0);
}

/* ---- a job as the source ----------------------------------------------------------------------------------------- */

struct made {
	uint64_t made, size; /* bytes */
	int fail;            /* -errno behind them */
	atomic_int closed, running;
};

static int64_t make_bytes(void *arg, void *ret_room, uint32_t size)
{
	struct made *made = arg;
	uint8_t *room = ret_room;
	uint64_t count = made->size - made->made < size ? made->size - made->made : size;

	kit_check(atomic_fetch_add(&made->running, 1) == 0 && !made->closed);
	for (uint64_t i = 0; i < count; i++)
		room[i] = byte_at(made->made + i);
	made->made += count;
	made->running--;
	return count ? (int64_t)count : made->fail;
}
static int64_t lies(void *arg, void *ret_room, uint32_t size)
{
	(void)arg;
	(void)ret_room;
	return (int64_t)size + 1;
}
static void close_made(void *arg)
{
	((struct made *)arg)->closed++;
}

static struct qmt_ref spawn_stream(struct kit *kit, const struct qmt_stream_config *config)
{
	return kit_spawn(kit, &qmt_stream_desc, &(struct qmt_spawn){.config = config});
}

/* A job runs only while there is credit; all bytes come, then the end; the source is closed once. */
static void job_with_credit(void **unused)
{
	(void)unused;
	struct made made = {.size = 1000};
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref eater = kit_spawn(&kit, &eater_desc, NULL);
	struct qmt_stream_config config = {
		.to = eater, .id = 7, .read = make_bytes, .close = close_made, .arg = &made, .chunk_bytes = 100, .credit = 2};
	struct qmt_ref stream = spawn_stream(&kit, &config);
	qmt_system_run(kit.sys, 1000);
	assert_int_equal(get(&kit, eater, GET_CHUNKS), 2);
	assert_int_equal(made.made, 200);
	tell(&kit, eater, MORE);
	qmt_system_run(kit.sys, 1000);
	assert_int_equal(get(&kit, eater, GET_CHUNKS), 5);
	assert_int_equal(made.made, 500);
	tell(&kit, eater, MORE_BY_ITSELF);
	tell(&kit, eater, MORE);
	qmt_system_run(kit.sys, 1000);
	assert_int_equal(get(&kit, eater, GET_BYTES), 1000);
	assert_int_equal(get(&kit, eater, GET_ENDS), 1);
	assert_int_equal(get(&kit, eater, GET_FAIL), 0);
	assert_int_equal(made.closed, 1);
	assert_false(qmt_is_running(stream));
	kit_stop(&kit);
}

/* An error ends the stream behind the bytes before it; a reader that claims more than there is room for is an error. */
static void errors(void **unused)
{
	(void)unused;
	struct made made = {.size = 150, .fail = -EPIPE}, liar = {0};
	struct kit kit;

	kit_start_seeded(&kit, 2);
	struct qmt_ref eater = kit_spawn(&kit, &eater_desc, NULL), other = kit_spawn(&kit, &eater_desc, NULL);
	struct qmt_stream_config config = {
		.to = eater, .id = 7, .read = make_bytes, .close = close_made, .arg = &made, .chunk_bytes = 100};
	struct qmt_stream_config lying = {.to = other, .id = 7, .read = lies, .close = close_made, .arg = &liar};
	(void)spawn_stream(&kit, &config);
	(void)spawn_stream(&kit, &lying);
	qmt_system_run(kit.sys, 1000);
	assert_int_equal(get(&kit, eater, GET_BYTES), 150);
	assert_int_equal(get(&kit, eater, GET_FAIL), QMT_FAIL_FAILED);
	assert_int_equal(get(&kit, other, GET_BYTES), 0);
	assert_int_equal(get(&kit, other, GET_FAIL), QMT_FAIL_FAILED);
	assert_int_equal(made.closed + liar.closed, 2);
	/* configs that cannot work: the source is closed all the same */
	struct made unused_one = {0};
	struct qmt_stream_config nobody = {.read = make_bytes, .close = close_made, .arg = &unused_one};
	struct qmt_stream_config huge = nobody;
	huge.to = eater;
	huge.chunk_bytes = QMT_STREAM_CHUNK_MAX + 1;
	struct qmt_ref a = spawn_stream(&kit, &nobody), b = spawn_stream(&kit, &huge), c = spawn_stream(&kit, NULL);
	qmt_system_run(kit.sys, 0);
	assert_false(qmt_is_running(a) || qmt_is_running(b) || qmt_is_running(c));
	assert_int_equal(unused_one.closed, 2);
	kit_stop(&kit);
}

/* The stream ends with its consumer, and the other way round it may be stopped; the source is closed, once. */
static void ends(void **unused)
{
	(void)unused;
	struct made made[2] = {{.size = 1000}, {.size = 1000}};
	struct kit kit;

	kit_start_seeded(&kit, 3);
	for (int i = 0; i < 2; i++) {
		struct qmt_ref eater = kit_spawn(&kit, &eater_desc, NULL);
		struct qmt_stream_config config = {.to = eater,
			.id = 7,
			.read = make_bytes,
			.close = close_made,
			.arg = &made[i],
			.chunk_bytes = 10,
			.credit = 3};
		struct qmt_ref stream = spawn_stream(&kit, &config);

		qmt_system_run(kit.sys, 0);
		assert_true(qmt_is_running(stream));
		if (i)
			assert_int_equal(qmt_stop(kit.out, stream), 0);
		else
			tell(&kit, eater, END);
		qmt_system_run(kit.sys, 0);
		assert_false(qmt_is_running(stream));
		assert_int_equal(made[i].closed, 1);
		assert_int_equal(made[i].made, 30);
	}
	kit_stop(&kit);
}

/* A consumer that is full is offered the chunk again; nothing is lost or doubled. The same run twice is the same. */
static uint64_t full_run(uint64_t seed)
{
	struct made made = {.size = 1000};
	struct kit kit;

	kit_start_seeded(&kit, seed);
	struct qmt_ref eater = kit_spawn(&kit, &narrow_desc, NULL);
	tell(&kit, eater, PAUSE);
	struct qmt_stream_config config = {
		.to = eater, .id = 7, .read = make_bytes, .close = close_made, .arg = &made, .chunk_bytes = 10, .credit = 1000};
	(void)spawn_stream(&kit, &config);
	qmt_system_run(kit.sys, 50);
	assert_true(made.made <= 50);
	qmt_system_run(kit.sys, 10000);
	assert_int_equal(get(&kit, eater, GET_BYTES), 1000);
	assert_int_equal(get(&kit, eater, GET_ENDS), 1);
	uint64_t hash = qmt_system_trace_hash(kit.sys);
	kit_stop(&kit);
	return hash;
}
static void full_consumer(void **unused)
{
	(void)unused;
	assert_int_equal(full_run(4), full_run(4));
}

/* ---- a descriptor, and threads ----------------------------------------------------------------------------------- */

/* A pipe that is filled while it is read, on threads: all bytes come; the reader's end is closed afterwards. */
static void descriptor(void **unused)
{
	(void)unused;
	enum { SIZE = 300000 };
	int pipes[2];
	struct kit kit;

	assert_int_equal(pipe(pipes), 0);
	kit_start(&kit, 2);
	kit_latch_reset(&ended);
	struct qmt_ref eater = kit_spawn(&kit, &eater_desc, NULL);
	tell(&kit, eater, MORE_BY_ITSELF);
	struct qmt_stream_config config = {.to = eater, .id = 7, .fd = pipes[0], .chunk_bytes = 1000, .credit = 2};
	struct qmt_ref stream = spawn_stream(&kit, &config);
	for (uint64_t i = 0; i < SIZE;) {
		uint8_t some[777];
		ssize_t count = 0;

		for (; count < (ssize_t)sizeof some && i + (uint64_t)count < SIZE; count++)
			some[count] = byte_at(i + (uint64_t)count);
		assert_int_equal(write(pipes[1], some, (size_t)count), count);
		i += (uint64_t)count;
	}
	close(pipes[1]);
	kit_latch_wait(&ended, 1);
	assert_int_equal(get(&kit, eater, GET_BYTES), SIZE);
	assert_int_equal(get(&kit, eater, GET_FAIL), 0);
	kit_wait_gone(&kit, stream);
	kit_stop(&kit);
	assert_int_equal(fcntl(pipes[0], F_GETFD), -1);
}

/* A descriptor that is none ends the stream at once, and the consumer is told. */
static void bad_descriptor(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start(&kit, 2);
	struct qmt_ref eater = kit_spawn(&kit, &eater_desc, NULL);
	struct qmt_stream_config config = {.to = eater, .id = 7, .fd = -1};
	struct qmt_ref stream = spawn_stream(&kit, &config);
	kit_wait_gone(&kit, stream);
	assert_int_equal(get(&kit, eater, GET_ENDS), 1);
	assert_int_equal(get(&kit, eater, GET_FAIL), QMT_FAIL_FAILED);
	kit_stop(&kit);
}

/* The same with jobs on threads; a system that stops in the middle closes the source. */
static void job_on_threads(void **unused)
{
	(void)unused;
	struct made made = {.size = 500000}, endless = {.size = UINT64_MAX / 2};
	struct kit kit;

	kit_start(&kit, 2);
	kit_latch_reset(&ended);
	struct qmt_ref eater = kit_spawn(&kit, &eater_desc, NULL), other = kit_spawn(&kit, &eater_desc, NULL);
	tell(&kit, eater, MORE_BY_ITSELF);
	tell(&kit, other, MORE_BY_ITSELF);
	struct qmt_stream_config config = {
		.to = eater, .id = 7, .read = make_bytes, .close = close_made, .arg = &made, .chunk_bytes = 1000};
	struct qmt_stream_config second = config;
	second.to = other;
	second.arg = &endless;
	(void)spawn_stream(&kit, &config);
	(void)spawn_stream(&kit, &second);
	kit_latch_wait(&ended, 1);
	assert_int_equal(get(&kit, eater, GET_BYTES), 500000);
	kit_stop(&kit);
	assert_int_equal(made.closed, 1);
	assert_int_equal(endless.closed, 1);
}

/* ---- a child process --------------------------------------------------------------------------------------------- */

/* Takes whatever comes; the output is text of two pipes. */
struct listener {
	char text[2][64]; /* of stdout, of stderr */
	size_t len[2];
	uint64_t bytes, chunks;
};
enum { LATE_MS = 300 }; /* longer than pipes are read of a child that is over */
static struct kit_latch child_ended = KIT_LATCH;
static struct {
	struct qmt_stream_end end;
	char text[300], err_text[64], out_text[64];
	uint64_t bytes;
} seen; /* written before child_ended is */

static void heard_chunk(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct listener *l = state;
	const struct qmt_stream_chunk *chunk = body;
	uint32_t which = chunk->source - 1;

	kit_check(chunk->data.len > 0 && chunk->data.len <= 1000 && which < 2);
	for (uint32_t i = 0; which < 2 && i < chunk->data.len && l->len[which] + 1 < sizeof l->text[0]; i++)
		l->text[which][l->len[which]++] = (char)chunk->data.p[i];
	l->bytes += chunk->data.len;
	kit_check(qmt_tell_after(ctx, l->chunks++ ? 0 : LATE_MS, chunk->stream, &qmt_stream_more_type,
				  &(struct qmt_stream_more){.chunks = 1}) == 0);
}
static void heard_end(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct listener *l = state;
	const struct qmt_stream_end *end = body;

	(void)ctx;
	kit_check(end->total_bytes == l->bytes);
	seen.end = *end;
	(void)snprintf(seen.text, sizeof seen.text, "%.*s", (int)end->text.len, end->text.p);
	memcpy(seen.out_text, l->text[0], sizeof seen.out_text);
	memcpy(seen.err_text, l->text[1], sizeof seen.err_text);
	seen.bytes = l->bytes;
	kit_latch_add(&child_ended, 1);
}
static qmt_handler *const listener_handlers[qmt_stream_message_count] = {
	[qmt_stream_chunk_id] = heard_chunk, [qmt_stream_end_id] = heard_end};
static void listener_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	if (((const struct kit_poke *)body)->value == END)
		qmt_stop_self(ctx);
}
static qmt_handler *const listener_pokes[kit_message_count] = {[kit_poke_id] = listener_poke};
static const struct qmt_actor_desc listener_desc = {
	.abi = QMT_ABI,
	.name = "listener",
	.state_size = sizeof(struct listener),
	.accepts = {{&kit_protocol, listener_pokes}, {&qmt_stream_protocol, listener_handlers}},
};

static void listen_to(const char *script, uint32_t credit, uint64_t timeout_ms)
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	const struct qmt_child_options options = {.argv = argv, .timeout_ms = timeout_ms};
	struct qmt_stream_config config = {.id = 9, .child = &options, .chunk_bytes = 1000, .credit = credit};
	struct kit kit;

	memset(&seen, 0, sizeof seen);
	kit_start(&kit, 2);
	kit_latch_reset(&child_ended);
	config.to = kit_spawn(&kit, &listener_desc, NULL);
	struct qmt_ref stream = spawn_stream(&kit, &config);
	kit_latch_wait(&child_ended, 1);
	kit_wait_gone(&kit, stream);
	kit_stop(&kit);
}

/* What a child writes comes while it runs, stdout and stderr apart; the end says how it ended. */
static void child_output(void **unused)
{
	(void)unused;
	listen_to("echo out; echo err >&2; exit 3", 8, 0);
	assert_string_equal(seen.out_text, "out\n");
	assert_string_equal(seen.err_text, "err\n");
	assert_int_equal(seen.end.exit_code, 3);
	assert_int_equal(seen.end.fail, 0);
	assert_int_equal(seen.end.id, 9);
	listen_to("echo x; kill -TERM $$", 8, 0);
	assert_int_equal(seen.end.exit_code, -1);
	assert_int_equal(seen.end.signal, 15);
	/* the timeout kills the group; what it had said is there */
	listen_to("echo early; exec sleep 1000", 8, 100);
	assert_true(seen.end.timed_out);
	assert_string_equal(seen.out_text, "early\n");
}

/* Much more than pipes and credit hold comes whole, whatever the credit is; and what is left behind by a child that is
 * over is read too. */
static void child_credit(void **unused)
{
	(void)unused;
	listen_to("head -c 300000 /dev/zero; head -c 200000 /dev/zero >&2", 1, 0);
	assert_int_equal(seen.bytes, 500000);
	listen_to("head -c 60000 /dev/zero", 1, 0);
	assert_int_equal(seen.bytes, 60000);
}

/* A child that cannot be started: the end says why. */
static void child_not_there(void **unused)
{
	(void)unused;
	const char *const argv[] = {"/nowhere/at-all", NULL};
	const struct qmt_child_options options = {.argv = argv};
	struct qmt_stream_config config = {.id = 9, .child = &options};
	struct kit kit;

	memset(&seen, 0, sizeof seen);
	kit_start(&kit, 2);
	kit_latch_reset(&child_ended);
	config.to = kit_spawn(&kit, &listener_desc, NULL);
	struct qmt_ref stream = spawn_stream(&kit, &config);
	kit_latch_wait(&child_ended, 1);
	kit_wait_gone(&kit, stream);
	assert_int_equal(seen.end.fail, QMT_FAIL_FAILED);
	assert_non_null(strstr(seen.text, "/nowhere/at-all"));
	config.chunk_bytes = 16385;
	stream = spawn_stream(&kit, &config);
	kit_wait_gone(&kit, stream); /* refused: told by the log */
	kit_stop(&kit);
}

/* When the consumer ends, so does the child, with all its group. */
static void child_ends_with_consumer(void **unused)
{
	(void)unused;
	int pipes[2];
	char byte, script[100];
	const char *const argv[] = {"sh", "-c", script, NULL};
	const struct qmt_child_options options = {.argv = argv};
	struct qmt_stream_config config = {.id = 7, .child = &options, .chunk_bytes = 1000, .credit = 1};
	struct kit kit;

	assert_int_equal(pipe(pipes), 0); /* the child's end is closed with the last of its group */
	(void)snprintf(script, sizeof script, "exec 3>/proc/%ld/fd/%d; yes", (long)getpid(), pipes[1]);
	kit_start(&kit, 2);
	config.to = kit_spawn(&kit, &eater_desc, NULL);
	tell(&kit, config.to, END);
	struct qmt_ref stream = spawn_stream(&kit, &config);
	kit_wait_gone(&kit, stream);
	kit_stop(&kit);
	close(pipes[1]);
	assert_int_equal(read(pipes[0], &byte, 1), 0);
	close(pipes[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(job_with_credit),
		cmocka_unit_test(errors),
		cmocka_unit_test(ends),
		cmocka_unit_test(full_consumer),
		cmocka_unit_test(descriptor),
		cmocka_unit_test(bad_descriptor),
		cmocka_unit_test(job_on_threads),
		cmocka_unit_test(child_output),
		cmocka_unit_test(child_credit),
		cmocka_unit_test(child_not_there),
		cmocka_unit_test(child_ends_with_consumer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
