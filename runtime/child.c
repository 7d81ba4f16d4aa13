/* runtime/child.c - child processes of an actor: built on its descriptors and timers, so all of it runs on the actor's
 * turn.
 *
 *      running --pidfd--> exited --both pipes at their end, or GRANDCHILD_MS--> reported, freed
 *         |  paused by `output`: neither pipe is watched, and GRANDCHILD_MS does not count
 *         |  timeout: group killed
 *         +--incarnation ends--> group killed, reaped (by a job, if it is not gone at once)
 */
#include "scheduler.h"
#include "trace.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	OUTPUT_LIMIT = 1 << 20, /* default of output_limit_bytes */
	GRANDCHILD_MS = 200,    /* for pipes that outlive the child */
	READ_AT_ONCE = 16,      /* reads of READ_BYTES each time a pipe is ready */
	READ_BYTES = 16384,
};

struct output {
	struct qmt_buf data;
	uint64_t total_bytes;
	int fd; /* -1: at its end */
	bool truncated;
};

struct child_process {
	struct child_process *next;
	uint64_t id;
	struct qmt_os_child os;
	struct output out, err;
	uint64_t limit_bytes;
	struct qmt_timer deadline, linger;
	qmt_child_fn *done;
	qmt_child_output_fn *output;
	uint32_t read_bytes;
	void *arg;
	uint64_t trace; /* of who started it */
	int status;
	bool exited, timed_out, paused;
};

static void output_close(struct qmt_ctx *ctx, struct output *output)
{
	if (output->fd < 0)
		return;
	qmt_fd_unwatch(ctx, output->fd);
	close(output->fd);
	output->fd = -1;
}

static void child_free(struct qmt_ctx *ctx, struct child_process *child)
{
	output_close(ctx, &child->out);
	output_close(ctx, &child->err);
	if (child->os.pidfd >= 0) {
		qmt_fd_unwatch(ctx, child->os.pidfd);
		close(child->os.pidfd);
	}
	qmt_timer_cancel(ctx, &child->deadline);
	qmt_timer_cancel(ctx, &child->linger);
	qmt_buf_free(&child->out.data);
	qmt_buf_free(&child->err.data);
	free(child);
}

static void unlink_process(struct qmt_actor *a, struct child_process *child)
{
	struct child_process **at = &actor_ext(a)->processes;

	while (*at != child)
		at = &(*at)->next;
	*at = child->next;
}

static void report(struct qmt_ctx *ctx, void *state, struct child_process *child)
{
	struct qmt_child_result result = {
		.exit_code = WIFEXITED(child->status) ? WEXITSTATUS(child->status) : -1,
		.signal = WIFSIGNALED(child->status) ? WTERMSIG(child->status) : 0,
		.timed_out = child->timed_out,
		.out_truncated = child->out.truncated,
		.err_truncated = child->err.truncated,
		.out = qmt_buf_view(&child->out.data),
		.err = qmt_buf_view(&child->err.data),
		.out_total_bytes = child->out.total_bytes,
		.err_total_bytes = child->err.total_bytes,
	};
	uint64_t before;

	/* Taken apart first: what `done` sees is over, and it may start the next one. */
	unlink_process(ctx->cur, child);
	output_close(ctx, &child->out);
	output_close(ctx, &child->err);
	before = trace_begin(ctx, child->trace);
	child->done(ctx, state, &result, child->arg);
	trace_end(ctx, before);
	child_free(ctx, child);
}

static void linger_over(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct child_process *child = arg;

	child->linger.id = 0;
	report(ctx, state, child);
}

static void maybe_report(struct qmt_ctx *ctx, void *state, struct child_process *child)
{
	if (!child->exited || child->paused)
		return;
	if (child->out.fd < 0 && child->err.fd < 0) {
		report(ctx, state, child);
		return;
	}
	if (!child->linger.id && qmt_timer_start(ctx, GRANDCHILD_MS, linger_over, child, &child->linger) < 0)
		report(ctx, state, child);
}

static void output_add(struct child_process *child, struct output *output, const char *data, size_t len)
{
	uint64_t room = child->limit_bytes > output->data.len ? child->limit_bytes - output->data.len : 0;

	output->total_bytes += len;
	if (len > room) {
		output->truncated = true;
		len = (size_t)room;
	}
	qmt_buf_append(&output->data, data, len);
	if (output->data.failed)
		output->truncated = true;
}

static void pause_reading(struct qmt_ctx *ctx, struct child_process *child)
{
	child->paused = true;
	if (child->out.fd >= 0)
		qmt_fd_unwatch(ctx, child->out.fd);
	if (child->err.fd >= 0)
		qmt_fd_unwatch(ctx, child->err.fd);
	qmt_timer_cancel(ctx, &child->linger);
}

static void output_ready(struct qmt_ctx *ctx, void *state, int fd, uint32_t events, void *arg)
{
	struct child_process *child = arg;
	struct output *output = fd == child->out.fd ? &child->out : &child->err;

	(void)events;
	for (int i = 0; i < READ_AT_ONCE; i++) {
		char data[READ_BYTES];
		ssize_t got = read(fd, data, child->read_bytes);
		uint64_t before;
		bool goes_on;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0) {
			output_close(ctx, output);
			maybe_report(ctx, state, child);
			return;
		}
		if (!child->output) {
			output_add(child, output, data, (size_t)got);
			continue;
		}
		output->total_bytes += (uint64_t)got;
		before = trace_begin(ctx, child->trace);
		goes_on = child->output(ctx, state, output == &child->out ? 1 : 2,
			(struct qmt_bytes){(const uint8_t *)data, (uint32_t)got}, child->arg);
		trace_end(ctx, before);
		if (!goes_on) {
			pause_reading(ctx, child);
			return;
		}
	}
}

static void process_ended(struct qmt_ctx *ctx, void *state, int fd, uint32_t events, void *arg)
{
	struct child_process *child = arg;

	(void)events;
	if (qmt_os_child_reap(&child->os, &child->status) == 0)
		return;
	child->exited = true;
	qmt_timer_cancel(ctx, &child->deadline);
	qmt_fd_unwatch(ctx, fd);
	close(fd);
	child->os.pidfd = -1;
	maybe_report(ctx, state, child);
}

static void deadline_over(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct child_process *child = arg;

	(void)ctx;
	(void)state;
	child->deadline.id = 0;
	child->timed_out = true;
	qmt_os_child_kill(&child->os, SIGKILL);
}

/* ---- on the actor's turn, at its end ----------------------------------------------------------------------------- */

struct reaping {
	struct qmt_os_child os;
};

static void reap_blocking(void *arg)
{
	struct reaping *reaping = arg;
	struct pollfd ended = {.fd = reaping->os.pidfd, .events = POLLIN};
	int status;

	while (poll(&ended, 1, -1) < 0 && errno == EINTR)
		;
	(void)qmt_os_child_reap(&reaping->os, &status);
	close(reaping->os.pidfd);
	free(reaping);
}

/* Killed, and somebody has to wait for it. */
static void give_to_reaper(struct qmt_ctx *ctx, struct child_process *child)
{
	struct reaping *reaping;
	int status;

	qmt_fd_unwatch(ctx, child->os.pidfd);
	if (qmt_os_child_reap(&child->os, &status) != 0)
		return;
	reaping = malloc(sizeof *reaping);
	if (reaping) {
		reaping->os = child->os;
		if (qmt__job_detached(ctx, reap_blocking, reaping) == 0) {
			child->os.pidfd = -1;
			return;
		}
		free(reaping);
	}
	/* It was killed; init or the end of this process takes care of the rest. */
}

void qmt__children_release(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct actor_ext *ext = actor_ext(a);

	while (ext->processes) {
		struct child_process *child = ext->processes;

		ext->processes = child->next;
		if (!child->exited) {
			qmt_os_child_kill(&child->os, SIGKILL);
			give_to_reaper(ctx, child);
		}
		child_free(ctx, child);
	}
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

static int watch_pipes(struct qmt_ctx *ctx, struct child_process *child)
{
	int failed = 0;

	if (child->out.fd >= 0)
		failed = qmt_fd_watch(ctx, child->out.fd, QMT_FD_READ, output_ready, child);
	if (!failed && child->err.fd >= 0)
		failed = qmt_fd_watch(ctx, child->err.fd, QMT_FD_READ, output_ready, child);
	return failed;
}

static int watch_all(struct qmt_ctx *ctx, struct child_process *child, const struct qmt_child_options *opt)
{
	int failed = qmt_fd_watch(ctx, child->os.pidfd, QMT_FD_READ, process_ended, child);

	if (!failed)
		failed = watch_pipes(ctx, child);
	if (!failed && opt->timeout_ms)
		failed = qmt_timer_start(ctx, opt->timeout_ms, deadline_over, child, &child->deadline);
	return failed;
}

int qmt_child_start(struct qmt_ctx *ctx, const struct qmt_child_options *opt, qmt_child_fn *done, void *arg,
	struct qmt_child *ret_child, struct qmt_err *err)
{
	const struct qmt_os_child_options os_options = {
		.argv = opt->argv,
		.env = opt->env,
		.cwd = opt->cwd,
		.cwd_fd = opt->cwd_fd,
		.cpu_seconds = opt->cpu_seconds,
		.memory_bytes = opt->memory_bytes,
		.open_files = opt->open_files,
	};
	struct child_process *child;
	struct actor_ext *ext;
	int failed;

	if (!ctx->cur)
		return qmt_err_set(err, -ENOTSUP, "a child is started by an actor, not from outside");
	if (ctx->sim)
		return qmt_err_set(err, -ENOSYS, "a seeded system starts no children");
	ext = qmt__actor_need_ext(ctx->cur);
	child = ext ? calloc(1, sizeof *child) : NULL;
	if (!child)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	failed = qmt_os_child_spawn(&os_options, &child->os, err);
	if (failed) {
		free(child);
		return failed;
	}
	child->out.fd = child->os.out_fd;
	child->err.fd = child->os.err_fd;
	child->limit_bytes = opt->output_limit_bytes ? opt->output_limit_bytes : OUTPUT_LIMIT;
	child->read_bytes = opt->output_bytes && opt->output_bytes < READ_BYTES ? opt->output_bytes : READ_BYTES;
	child->output = opt->output;
	child->done = done;
	child->arg = arg;
	child->trace = ctx->trace;
	failed = watch_all(ctx, child, opt);
	if (failed) {
		qmt_os_child_kill(&child->os, SIGKILL);
		give_to_reaper(ctx, child);
		child_free(ctx, child);
		return qmt_err_set(err, failed, "%s: cannot watch it: %s", opt->argv[0], strerror(-failed));
	}
	child->id = (uint64_t)child->os.pid << 32 | atomic_fetch_add_explicit(&ctx->sys->child_ids, 1, RELAXED);
	child->next = ext->processes;
	ext->processes = child;
	if (ret_child)
		ret_child->id = child->id;
	return 0;
}

static struct child_process *find_process(struct qmt_ctx *ctx, struct qmt_child child)
{
	struct actor_ext *ext = ctx->cur ? actor_ext(ctx->cur) : NULL;
	struct child_process *on = ext ? ext->processes : NULL;

	while (on && on->id != child.id)
		on = on->next;
	return on;
}

int qmt_child_resume(struct qmt_ctx *ctx, struct qmt_child child)
{
	struct child_process *on = find_process(ctx, child);
	int failed;

	if (!on || !on->paused)
		return 0;
	failed = watch_pipes(ctx, on);
	if (failed) {
		pause_reading(ctx, on);
		return failed;
	}
	on->paused = false;
	/* Never reports from here, as a pipe is open: only the end of the pipe was not read when it was paused. */
	if (on->exited && qmt_timer_start(ctx, GRANDCHILD_MS, linger_over, on, &on->linger) < 0) {
		pause_reading(ctx, on);
		return -ENOMEM;
	}
	return 0;
}

void qmt_child_kill(struct qmt_ctx *ctx, struct qmt_child child, int signal)
{
	struct child_process *on = find_process(ctx, child);

	if (on && !on->exited)
		qmt_os_child_kill(&on->os, signal);
}
