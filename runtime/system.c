/* runtime/system.c - a whole runtime: its start, its stop, and what it shows of itself. */
#include "clock.h"
#include "scheduler.h"
#include "slab.h"

#include <errno.h>
#include <unistd.h>

enum {
	FREE_STOP_MS = 1000,  /* what qmt_system_free gives a system that was not stopped */
	GRACE_MS = 1000,      /* for threads in a handler or job, after the deadline of a stop */
};

static const struct qmt_actor_desc root_desc = {.abi = QMT_ABI, .name = "root",
	.doc = "Parent of what is spawned from outside."};

/* ---- handles ----------------------------------------------------------------------------------------------------- */

struct qmt_ctx *qmt__ctx_new(struct qmt_system *sys, enum ctx_kind kind)
{
	struct qmt_ctx *ctx = aligned_alloc(64, (sizeof *ctx + 63) / 64 * 64);

	if (!ctx)
		return NULL;
	memset(ctx, 0, sizeof *ctx);
	ctx->sys = sys;
	ctx->sim = sys->sim;
	ctx->kind = kind;
	ctx->spin = SPIN_MAX;
	if (sys->log) {
		ctx->log = qmt_log_traced(sys->log, &ctx->trace);
		if (!ctx->log) {
			free(ctx);
			return NULL;
		}
	}
	if (qmt__host_init(ctx)) {
		qmt_log_free(ctx->log);
		free(ctx);
		return NULL;
	}
	return ctx;
}

struct qmt_ctx *qmt__ctx_free(struct qmt_ctx *ctx)
{
	if (!ctx)
		return NULL;
	qmt__slab_drain(ctx);
	while (ctx->newest) {
		struct run_block *older = ctx->newest->older;

		free(ctx->newest);
		ctx->newest = older;
	}
	qmt__host_fini(ctx);
	qmt_log_free(ctx->log);
	free(ctx);
	return NULL;
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

static uint32_t cores(void)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	return online < 1 ? 1 : (uint32_t)online;
}

static int init_state(struct qmt_system *sys)
{
	pthread_condattr_t attr;
	int failed;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	failed = pthread_cond_init(&sys->state_changed, &attr);
	pthread_condattr_destroy(&attr);
	if (!failed)
		failed = pthread_mutex_init(&sys->state_lock, NULL);
	if (!failed)
		failed = pthread_mutex_init(&sys->inject_lock, NULL);
	return -failed;
}

static int start_root(struct qmt_system *sys)
{
	int failed = qmt__actor_new(sys->control, &root_desc, NULL, &sys->root, NULL);

	if (failed)
		return failed;
	atomic_store_explicit(&sys->root->parent, NULL, RELAXED);
	schedule(sys->control, sys->root);
	return 0;
}

static int start_workers(struct qmt_system *sys)
{
	for (uint32_t i = 0; i < sys->worker_count; i++) {
		sys->workers[i] = qmt__ctx_new(sys, CTX_WORKER);
		if (!sys->workers[i])
			return -ENOMEM;
		sys->workers[i]->random = i * 7919 + 1;
	}
	for (uint32_t i = 0; i < sys->worker_count; i++) {
		char name[16];
		int failed;

		snprintf(name, sizeof name, "qmt-%u", i);
		atomic_fetch_add_explicit(&sys->workers_running, 1, RELAXED);
		failed = qmt_os_thread_start(name, qmt__worker_main, sys->workers[i], &sys->worker_threads[i]);
		if (failed) {
			atomic_fetch_sub_explicit(&sys->workers_running, 1, RELAXED);
			return failed;
		}
	}
	return 0;
}

static int start(struct qmt_system *sys, const struct qmt_system_options *opt)
{
	int failed;

	sys->os = qmt_os_new(opt->seeded, opt->seed, opt->start_wall_ms);
	if (!sys->os)
		return -ENOMEM;
	sys->start_ns = qmt_os_now_ns(sys->os);
	sys->start_ticks = clock_ticks();
	failed = opt->seeded ? qmt__sim_init(sys) : qmt__park_init(sys);
	if (failed)
		return failed;
	sys->control = qmt__ctx_new(sys, CTX_OUTSIDE);
	if (!sys->control)
		return -ENOMEM;
	failed = start_root(sys);
	if (!failed && !opt->seeded && opt->slow_handler_ms)
		failed = qmt__slow_start(sys);
	if (!failed && !opt->seeded)
		failed = start_workers(sys);
	return failed;
}

struct qmt_system *qmt_system_start(const struct qmt_system_options *opt, struct qmt_err *err)
{
	static const struct qmt_system_options defaults;
	struct qmt_system *sys = aligned_alloc(64, (sizeof *sys + 63) / 64 * 64);
	int failed;

	if (!opt)
		opt = &defaults;
	if (!sys) {
		qmt_err_set(err, -ENOMEM, "runtime: out of memory");
		return NULL;
	}
	memset(sys, 0, sizeof *sys);
	sys->log = opt->log;
	sys->root_failed = opt->root_failed;
	sys->deadlock = opt->deadlock;
	sys->deadlock_ms = opt->deadlock_ms ? opt->deadlock_ms : QMT_DEADLOCK_DEFAULT_MS;
	sys->callback_arg = opt->arg;
	sys->slow_ns = (uint64_t)opt->slow_handler_ms * NS_PER_MS;
	sys->worker_count = opt->seeded ? 1 : opt->workers ? opt->workers : cores();
	if (sys->worker_count > WORKERS_MAX)
		sys->worker_count = WORKERS_MAX;
	sys->epoll_fd = sys->wake_fd = sys->timer_fd = sys->watch_fd = -1;
	/* Locks and tables, which cannot fail but for memory. */
	failed = init_state(sys);
	if (!failed)
		failed = qmt__timers_init(sys);
	if (!failed)
		failed = qmt__registry_init(sys);
	if (!failed)
		failed = qmt__jobs_init(sys, opt->job_threads);
	if (failed) {
		qmt__registry_fini(sys);
		free(sys);
		qmt_err_set(err, failed, "runtime: %s", strerror(-failed));
		return NULL;
	}
	failed = start(sys, opt);
	if (failed) {
		qmt_system_free(sys);
		qmt_err_set(err, failed, "runtime: cannot start: %s", strerror(-failed));
		return NULL;
	}
	return sys;
}

/* ---- stop -------------------------------------------------------------------------------------------------------- */

/* The root's last act. */
void qmt__root_ended(struct qmt_system *sys)
{
	pthread_mutex_lock(&sys->state_lock);
	sys->root_ended = true;
	pthread_cond_broadcast(&sys->state_changed);
	pthread_mutex_unlock(&sys->state_lock);
}

/* Waits for the state lock's condition, or until then. Called with the lock held. */
static bool wait_changed(struct qmt_system *sys, uint64_t until_ns)
{
	const struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000), .tv_nsec = (long)(until_ns % 1000000000)};

	return pthread_cond_timedwait(&sys->state_changed, &sys->state_lock, &until) != ETIMEDOUT;
}

static bool wait_root(struct qmt_system *sys, uint64_t until_ns)
{
	bool ended;

	if (sys->sim) {
		while (!sys->root_ended && qmt__sim_step(sys, until_ns))
			;
		return sys->root_ended;
	}
	pthread_mutex_lock(&sys->state_lock);
	while (!sys->root_ended && wait_changed(sys, until_ns))
		;
	ended = sys->root_ended;
	pthread_mutex_unlock(&sys->state_lock);
	return ended;
}

static bool wait_workers(struct qmt_system *sys, uint64_t until_ns)
{
	bool ended;

	pthread_mutex_lock(&sys->state_lock);
	while (atomic_load_explicit(&sys->workers_running, ACQUIRE) && wait_changed(sys, until_ns))
		;
	ended = !atomic_load_explicit(&sys->workers_running, ACQUIRE);
	pthread_mutex_unlock(&sys->state_lock);
	return ended;
}

static void name_left(const struct qmt_actor_info *info, void *arg)
{
	struct qmt_buf *names = arg;

	if (strcmp(info->kind, root_desc.name) == 0)
		return;
	qmt_buf_printf(names, "%s%s", names->len ? ", " : "", info->kind);
	if (info->name)
		qmt_buf_printf(names, " %s", info->name);
}

/* Threads get until the deadline of the stop, or GRACE_MS, whichever is later. */
static void end_threads(struct qmt_system *sys, uint64_t deadline_ns)
{
	uint64_t until_ns = qmt_os_real_now_ms() * NS_PER_MS + GRACE_MS * (uint64_t)NS_PER_MS;

	if (!sys->sim && deadline_ns > until_ns)
		until_ns = deadline_ns;
	atomic_store(&sys->quit, true);
	if (sys->wake_fd >= 0)
		qmt__wake_all(sys);
	qmt__jobs_quit(sys);
	sys->left_behind = !wait_workers(sys, until_ns) || !qmt__threads_join(sys, until_ns);
	qmt__slow_stop(sys);
	if (sys->left_behind)
		return;
	for (uint32_t i = 0; i < sys->worker_count; i++)
		sys->worker_threads[i] = qmt_os_thread_join(sys->worker_threads[i]);
}

int qmt_system_stop(struct qmt_system *sys, uint64_t deadline_ms, struct qmt_err *err)
{
	struct qmt_buf names QMT_CLEANUP(qmt_buf_free) = {0};
	uint64_t until = now_ns(sys->control) + deadline_ms * NS_PER_MS;
	bool ended;

	atomic_store(&sys->stopping, true);
	if (!sys->root)
		ended = true;
	else {
		notify_pending(sys->control, sys->root, PENDING_END);
		ended = wait_root(sys, until);
	}
	if (!ended)
		qmt_system_actors(sys, name_left, &names);
	end_threads(sys, until);
	if (ended && !sys->left_behind)
		return 0;
	if (sys->left_behind)
		qmt_buf_printf(&names, "%sa handler or job that did not return", names.len ? ", " : "");
	return qmt_err_set(err, 1, "still there after %llu ms: %s", (unsigned long long)deadline_ms,
		names.data ? names.data : "the root");
}

/* ---- free -------------------------------------------------------------------------------------------------------- */

static void abandon(struct qmt_actor *a, void *arg)
{
	struct qmt_ctx *ctx = arg;

	if (actor_desc(a) && !word_is_closed(atomic_load_explicit(&a->top, RELAXED)))
		qmt__abandon(ctx, a);
}

struct qmt_system *qmt_system_free(struct qmt_system *sys)
{
	if (!sys)
		return NULL;
	if (sys->control && !atomic_load(&sys->quit))
		(void)qmt_system_stop(sys, FREE_STOP_MS, NULL);
	if (sys->left_behind) {
		/* A thread still runs our code; what it uses cannot go. */
		qmt_log(sys->log, QMT_ERROR, "system.leaked", "reason", "a handler or job did not return", NULL);
		return NULL;
	}
	if (sys->control)
		qmt__slab_each_actor(sys, abandon, sys->control);
	qmt__jobs_fini(sys);
	qmt__sim_fini(sys);
	for (uint32_t i = 0; i < sys->worker_count; i++)
		qmt__ctx_free(sys->workers[i]);
	qmt__ctx_free(sys->control);
	qmt__slab_fini(sys);
	qmt__registry_fini(sys);
	qmt__timers_fini(sys);
	qmt__park_fini(sys);
	qmt_os_free(sys->os);
	pthread_cond_destroy(&sys->state_changed);
	pthread_mutex_destroy(&sys->state_lock);
	pthread_mutex_destroy(&sys->inject_lock);
	free(sys->suspects);
	qmt__slow_free(sys);
	free(sys);
	return NULL;
}

/* ---- what is there ----------------------------------------------------------------------------------------------- */

void qmt_system_counters(struct qmt_system *sys, struct qmt_counters *ret_counters)
{
	*ret_counters = (struct qmt_counters){
		.dead_letters = atomic_load_explicit(&sys->counters.dead_letters, RELAXED),
		.dropped = atomic_load_explicit(&sys->counters.dropped, RELAXED),
		.failed = atomic_load_explicit(&sys->counters.failed, RELAXED),
		.restarted = atomic_load_explicit(&sys->counters.restarted, RELAXED),
		.gave_up = atomic_load_explicit(&sys->counters.gave_up, RELAXED),
		.slow_handlers = atomic_load_explicit(&sys->counters.slow_handlers, RELAXED),
		.deadlocks = atomic_load_explicit(&sys->counters.deadlocks, RELAXED),
	};
}
