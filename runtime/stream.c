/* runtime/stream.c - see stream.h.
 *
 *            credit                     bytes                 taken
 *   IDLE ------------> READING --------------------> OFFERING -------> IDLE
 *                         | end, error                  ^ | full: every 10 ms
 *                         v                taken        +-+
 *                       ENDING ------> gone
 *
 * READING with a descriptor: it is watched. READING with a child: it is not paused. READING with `read`: a job runs.
 * The job's room is not part of the state: an incarnation may end while the job writes there, so it belongs to the
 * source, which the last of the two frees.
 */
#include "states.h"
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

QMT_DEFINE_PROTOCOL(qmt_stream, QMT_STREAM_MESSAGES, "Bytes that arrive as messages.")

#define STREAM_STATES(S, B)                                     \
	S(STREAM, IDLE, B(STREAM, READING) | B(STREAM, ENDING))     \
	S(STREAM, READING, B(STREAM, OFFERING) | B(STREAM, ENDING)) \
	S(STREAM, OFFERING, B(STREAM, IDLE))                        \
	S(STREAM, ENDING, 0)
QMT_DECLARE_STATES(STREAM, qmt__stream, STREAM_STATES)

enum { DEFAULT_CHUNK = 16384, DEFAULT_CREDIT = 8, RETRY_MS = 10 };

/* What a job works with. Owned by the job while it runs, else by the stream. */
struct source {
	struct qmt_stream_config config; /* a copy: the caller's may be gone before the job is */
	int64_t got;
	uint8_t room[];
};

struct stream {
	uint32_t state; /* enum qmt__stream_state */
	const struct qmt_stream_config *config;
	struct source *source; /* NULL while a job has it */
	bool job_runs;
	uint32_t chunk_bytes, credit, which;
	uint64_t total;
	int fail;
	/* of a child */
	struct qmt_child child; /* .id 0: not started yet */
	char *text;             /* why it could not be started */
	int exit_code, signal;
	bool timed_out;
};

static const char *check(const void *object, uint32_t state)
{
	const struct stream *s = object;

	if (state == STREAM_READING && !s->credit)
		return "nothing is read without credit";
	if (state == STREAM_OFFERING && (!s->source || s->source->got <= 0))
		return "what is offered is there";
	return NULL;
}
QMT_DEFINE_STATES(STREAM, qmt__stream, STREAM_STATES, check)

static void go_on(struct qmt_ctx *ctx, struct stream *s);

static void source_free(struct source *source)
{
	if (source->config.close)
		source->config.close(source->config.arg);
	free(source);
}

/* ---- to the consumer --------------------------------------------------------------------------------------------- */

static void offer_again(struct qmt_ctx *ctx, void *state, void *arg);

/* 0: taken. */
static int tell(struct qmt_ctx *ctx, struct stream *s)
{
	if (s->state == STREAM_OFFERING)
		return QMT_TELL(ctx, s->config->to, qmt_stream_chunk, .stream = qmt_self(ctx), .id = s->config->id,
			.data = {s->source->room, (uint32_t)s->source->got}, .source = s->which);
	return QMT_TELL(ctx, s->config->to, qmt_stream_end, .id = s->config->id, .fail = s->fail ? QMT_FAIL_FAILED : 0,
		.text = qmt_str(s->text ? s->text
				: s->fail       ? strerror(s->fail)
								: NULL),
		.total_bytes = s->total, .exit_code = s->exit_code, .signal = (uint32_t)s->signal, .timed_out = s->timed_out);
}

static void offer(struct qmt_ctx *ctx, struct stream *s)
{
	int failed = tell(ctx, s);

	if (failed < 0 || failed == QMT_FAIL_FULL || failed == QMT_FAIL_LINK_BUSY) {
		if (qmt_timer_start(ctx, RETRY_MS, offer_again, NULL, NULL))
			qmt_fail(ctx, "a stream cannot go on: out of memory");
		return;
	}
	if (failed || s->state == STREAM_ENDING) {
		if (failed && failed != QMT_FAIL_NOT_RUNNING)
			qmt_fail(ctx, "a stream ends: the consumer does not take its messages: %s", qmt_fail_name(failed));
		qmt_stop_self(ctx);
		return;
	}
	s->total += (uint64_t)s->source->got;
	s->credit--;
	if (qmt_state_move(ctx, &qmt__stream_states, &s->state, STREAM_IDLE, s))
		go_on(ctx, s);
}

static void offer_again(struct qmt_ctx *ctx, void *state, void *arg)
{
	(void)arg;
	offer(ctx, state);
}

/* What a read gave. */
static void got(struct qmt_ctx *ctx, struct stream *s, int64_t count)
{
	s->source->got = count;
	s->fail = count >= 0 ? 0 : count < -4095 ? EIO : (int)-count;
	if (qmt_state_move(ctx, &qmt__stream_states, &s->state, count > 0 ? STREAM_OFFERING : STREAM_ENDING, s))
		offer(ctx, s);
}

/* ---- from the source --------------------------------------------------------------------------------------------- */

static void job_run(void *arg)
{
	struct source *source = arg;

	source->got = source->config.read(source->config.arg, source->room, source->config.chunk_bytes);
	if (source->got > source->config.chunk_bytes)
		source->got = -EOVERFLOW; /* it says that it wrote where it must not: nothing of it can be trusted */
}

static void job_done(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct stream *s = state;

	s->source = arg;
	s->job_runs = false;
	got(ctx, s, s->source->got);
}

static void job_drop(void *arg)
{
	source_free(arg);
}

static void fd_ready(struct qmt_ctx *ctx, void *state, int fd, uint32_t events, void *arg)
{
	struct stream *s = state;
	ssize_t count;

	(void)events;
	(void)arg;
	do
		count = read(fd, s->source->room, s->chunk_bytes);
	while (count < 0 && errno == EINTR);
	if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	qmt_fd_unwatch(ctx, fd);
	got(ctx, s, count < 0 ? -errno : count);
}

static bool child_output(struct qmt_ctx *ctx, void *state, int which, struct qmt_bytes data, void *arg)
{
	struct stream *s = state;

	(void)arg;
	s->which = (uint32_t)which;
	memcpy(s->source->room, data.p, data.len);
	got(ctx, s, data.len);
	return s->state == STREAM_READING;
}

static void child_done(struct qmt_ctx *ctx, void *state, const struct qmt_child_result *result, void *arg)
{
	struct stream *s = state;

	(void)arg;
	s->exit_code = result->exit_code;
	s->signal = result->signal;
	s->timed_out = result->timed_out;
	got(ctx, s, 0);
}

static int child_go_on(struct qmt_ctx *ctx, struct stream *s)
{
	struct qmt_child_options options = *s->config->child;
	struct qmt_err err = {0};
	int failed;

	if (s->child.id)
		return qmt_child_resume(ctx, s->child);
	options.output = child_output;
	options.output_bytes = s->chunk_bytes;
	failed = qmt_child_start(ctx, &options, child_done, NULL, &s->child, &err);
	if (failed)
		s->text = strdup(err.text); /* without memory for it the number has to do */
	return failed;
}

static void go_on(struct qmt_ctx *ctx, struct stream *s)
{
	static const struct qmt_job job = {job_run, job_done, job_drop};
	struct source *source = s->source;
	int failed;

	if (s->state != STREAM_IDLE || !s->credit ||
		!qmt_state_move(ctx, &qmt__stream_states, &s->state, STREAM_READING, s))
		return;
	if (s->config->child) {
		failed = child_go_on(ctx, s);
	} else if (!s->config->read) {
		failed = qmt_fd_watch(ctx, s->config->fd, QMT_FD_READ, fd_ready, NULL);
	} else {
		failed = qmt_job_start(ctx, &job, source);
		if (!failed) {
			s->source = NULL;
			s->job_runs = true;
		}
	}
	if (failed)
		got(ctx, s, failed);
}

static void on_more(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct stream *s = state;
	const struct qmt_stream_more *msg = body;

	s->credit = msg->chunks > UINT32_MAX - s->credit ? UINT32_MAX : s->credit + msg->chunks;
	go_on(ctx, s);
}

/* ---- the actor --------------------------------------------------------------------------------------------------- */

static int on_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct stream *s = state;
	const struct qmt_stream_config *given = config;
	int flags;

	s->config = given; /* from here on `stop` closes what it names */
	if (!given || given->chunk_bytes > (given->child ? DEFAULT_CHUNK : QMT_STREAM_CHUNK_MAX) ||
		!qmt_ref_is_set(given->to) || (given->child && given->read)) {
		qmt_fail(ctx,
			"config of a stream: wants a consumer, one source, and chunks of at most %d bytes (of a child %d)",
			QMT_STREAM_CHUNK_MAX, DEFAULT_CHUNK);
		return QMT_FAIL_BAD_REQUEST;
	}
	s->chunk_bytes = given->chunk_bytes ? given->chunk_bytes : DEFAULT_CHUNK;
	s->credit = given->credit ? given->credit : DEFAULT_CREDIT;
	s->source = malloc(sizeof *s->source + s->chunk_bytes);
	if (!s->source)
		return -ENOMEM;
	s->source->config = *given;
	s->source->config.chunk_bytes = s->chunk_bytes;
	if (qmt_monitor(ctx, given->to))
		return -ENOMEM;
	if (!given->read && !given->child) {
		flags = fcntl(given->fd, F_GETFL);
		if (flags < 0 || fcntl(given->fd, F_SETFL, flags | O_NONBLOCK) < 0) {
			got(ctx, s, -errno); /* the consumer is told */
			return 0;
		}
	}
	go_on(ctx, s);
	return 0;
}

static void on_down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	(void)state;
	(void)who;
	(void)reason;
	qmt_stop_self(ctx);
}

static void on_stop(struct qmt_ctx *ctx, void *state)
{
	struct stream *s = state;

	(void)ctx;
	if (!s->config)
		return;
	if (!s->config->read && !s->config->child)
		(void)close(s->config->fd);
	free(s->text);
	if (s->source)
		source_free(s->source);
	else if (!s->job_runs && s->config->close)
		s->config->close(s->config->arg);
}

static qmt_handler *const handlers[qmt_stream_message_count] = {[qmt_stream_more_id] = on_more};

const struct qmt_actor_desc qmt_stream_desc = {
	.abi = QMT_ABI,
	.name = "stream",
	.doc = "Reads bytes and tells them as chunks.",
	.state_size = sizeof(struct stream),
	.accepts = {{&qmt_stream_protocol, handlers}},
	.start = on_start,
	.stop = on_stop,
	.down = on_down,
};
