/* runtime/job.c - blocking work on a pool of threads.
 *
 * A job is a message that is allocated when the job is started, so its end needs no memory. Threads are started on
 * demand and end after JOB_IDLE_MS without work. A seeded system runs jobs on its one thread, at a later turn that the
 * seed chooses.
 */
#include "scheduler.h"
#include "slab.h"
#include "trace.h"

#include <errno.h>
#include <time.h>

struct job {
	struct job *next;
	struct qmt_msg *message;  /* this is its body */
	struct qmt_job calls;
	void *arg;
	uint64_t trace;           /* of who started it */
	struct qmt_actor *owner;
	uint32_t incarnation;
	bool detached;            /* nobody waits for it, but it has to run, also at the end of the system */
};

int qmt__jobs_init(struct qmt_system *sys, uint32_t limit)
{
	pthread_condattr_t attr;
	int failed;

	sys->jobs.end = &sys->jobs.first;
	sys->jobs.limit = limit ? limit : JOB_THREADS;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	failed = pthread_cond_init(&sys->jobs.wake, &attr);
	pthread_condattr_destroy(&attr);
	if (!failed)
		failed = pthread_mutex_init(&sys->jobs.lock, NULL);
	return -failed;
}

void qmt__jobs_quit(struct qmt_system *sys)
{
	pthread_mutex_lock(&sys->jobs.lock);
	sys->jobs.quit = true;
	pthread_cond_broadcast(&sys->jobs.wake);
	pthread_mutex_unlock(&sys->jobs.lock);
}

/* Threads have ended; what never ran is dropped, unless it has to run. */
void qmt__jobs_fini(struct qmt_system *sys)
{
	struct job *job = sys->jobs.first, *next;

	for (; job; job = next) {
		next = job->next;
		if (job->detached)
			job->calls.run(job->arg);
		qmt__job_drop(job->message);
	}
	pthread_cond_destroy(&sys->jobs.wake);
	pthread_mutex_destroy(&sys->jobs.lock);
}

/* The owner's incarnation ended. Takes m. */
void qmt__job_drop(struct qmt_msg *m)
{
	struct job *job = (struct job *)(void *)m->body;

	if (job->calls.drop)
		job->calls.drop(job->arg);
	free(m);
}

struct qmt_msg *qmt__job_message(struct job *job)
{
	return job->message;
}

void qmt__job_run(struct qmt_ctx *ctx, struct job *job)
{
	struct qmt_msg *m = job->message;

	job->calls.run(job->arg);
	if (job->detached || qmt__system_push(ctx, job->owner, m))
		qmt__job_drop(m);
}

/* On the owner's turn, or a later tenant's. Takes m. */
void qmt__job_done(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	struct job *job = (struct job *)(void *)m->body;

	if (m->to_gen != actor_gen(a) || job->incarnation != actor_restarts(a) ||
		a->status != STATUS_RUN || ctx->ctl & (CTL_STOP | CTL_FAIL)) {
		qmt__job_drop(m);
		return;
	}
	if (job->calls.done) {
		uint64_t before = trace_begin(ctx, job->trace);

		job->calls.done(ctx, actor_state(a), job->arg);
		trace_end(ctx, before);
	}
	free(m);
}

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

/* The next job; NULL: the thread is not needed any more. Called with the lock held. */
static struct job *next_job(struct job_pool *pool)
{
	struct job **at, *job;

	while (!pool->first && !pool->quit) {
		struct timespec until;
		int timed_out;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += JOB_IDLE_MS / 1000;
		pool->idle++;
		timed_out = pthread_cond_timedwait(&pool->wake, &pool->lock, &until);
		pool->idle--;
		if (timed_out && !pool->first)
			return NULL;
	}
	at = &pool->first;
	while (pool->quit && *at && !(*at)->detached)
		at = &(*at)->next;
	job = *at;
	if (!job)
		return NULL;
	*at = job->next;
	if (!job->next)
		pool->end = at;
	pool->queued--;
	return job;
}

static void thread_main(void *arg)
{
	struct thread_record *record = arg;
	struct qmt_ctx *ctx = record->ctx;
	struct qmt_system *sys = ctx->sys;
	struct job_pool *pool = &sys->jobs;
	struct job *job;

	pthread_mutex_lock(&pool->lock);
	while ((job = next_job(pool)) != NULL) {
		pthread_mutex_unlock(&pool->lock);
		qmt__job_run(ctx, job);
		pthread_mutex_lock(&pool->lock);
	}
	pool->threads--;
	pthread_mutex_unlock(&pool->lock);
	qmt__thread_ended(sys, record);
}

/* Starts a thread if all are busy. Fails only when there is none at all. */
static int need_thread(struct qmt_system *sys)
{
	struct job_pool *pool = &sys->jobs;
	struct qmt_ctx *ctx;
	bool start, any;
	int failed;

	pthread_mutex_lock(&pool->lock);
	start = pool->queued >= pool->idle && pool->threads < pool->limit && !pool->quit;
	any = pool->threads > 0;
	if (start)
		pool->threads++;
	pthread_mutex_unlock(&pool->lock);
	if (!start)
		return 0;
	ctx = qmt__ctx_new(sys, CTX_OUTSIDE);
	failed = ctx ? qmt__thread_add(sys, "qmt-job", thread_main, ctx) : -ENOMEM;
	if (!failed)
		return 0;
	qmt__ctx_free(ctx);
	pthread_mutex_lock(&pool->lock);
	pool->threads--;
	pthread_mutex_unlock(&pool->lock);
	return any ? 0 : failed;
}

static int job_add(struct qmt_ctx *ctx, const struct qmt_job *calls, void *arg, bool detached)
{
	struct qmt_system *sys = ctx->sys;
	struct job_pool *pool = &sys->jobs;
	struct job *job;
	struct qmt_msg *m;
	int failed;

	m = qmt__msg_new_slow(ctx, sizeof *job);
	if (!m)
		return -ENOMEM;
	m->flags = MSG_INTERNAL;
	m->type = INTERNAL_JOB;
	m->class |= MSG_CLASS_CARE;
	job = (struct job *)(void *)m->body;
	*job = (struct job){.message = m,
		.calls = *calls,
		.arg = arg,
		.trace = ctx->trace,
		.owner = ctx->cur,
		.detached = detached};
	if (ctx->cur) {
		m->to_gen = actor_gen(ctx->cur);
		job->incarnation = actor_restarts(ctx->cur);
	}
	if (ctx->sim) {
		failed = qmt__sim_job(ctx->sim, job);
		if (failed)
			free(m);
		return failed;
	}
	failed = need_thread(sys);
	if (failed) {
		free(m);
		return failed;
	}
	pthread_mutex_lock(&pool->lock);
	*pool->end = job;
	pool->end = &job->next;
	pool->queued++;
	pthread_cond_signal(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	return 0;
}

int qmt_job_start(struct qmt_ctx *ctx, const struct qmt_job *job, void *arg)
{
	if (!ctx->cur)
		return -ENOTSUP;
	if (!qmt__actor_need_ext(ctx->cur))
		return -ENOMEM; /* where the end of the job waits while the actor is muted */
	return job_add(ctx, job, arg, false);
}

int qmt__job_detached(struct qmt_ctx *ctx, void (*run)(void *arg), void *arg)
{
	const struct qmt_job job = {.run = run};

	return job_add(ctx, &job, arg, true);
}
