/* runtime/own_thread.c - actors with a thread of their own, and the wait that they share with outside threads.
 *
 * Such an actor has the same mailbox; being scheduled means that its thread is woken. The thread keeps no other work,
 * looks after the actor's timers by itself, and lives as long as the actor does, over restarts. It ends when the
 * parent, which frees the actor, tells it to.
 */
#include "clock.h"
#include "scheduler.h"
#include "slab.h"

#include <errno.h>
#include <time.h>

/* ---- waiting for one's actor ------------------------------------------------------------------------------------- */

int qmt__host_init(struct qmt_ctx *ctx)
{
	pthread_condattr_t attr;
	int failed;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	failed = pthread_cond_init(&ctx->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (!failed)
		failed = pthread_mutex_init(&ctx->wake_lock, NULL);
	return -failed;
}

void qmt__host_fini(struct qmt_ctx *ctx)
{
	pthread_cond_destroy(&ctx->wake);
	pthread_mutex_destroy(&ctx->wake_lock);
}

/* Signals under the lock: the thread may end and free the handle as soon as it has the lock. */
void qmt__host_wake(struct qmt_ctx *host)
{
	pthread_mutex_lock(&host->wake_lock);
	host->ready = true;
	pthread_cond_signal(&host->wake);
	pthread_mutex_unlock(&host->wake_lock);
}

void qmt__own_thread_quit(struct qmt_ctx *host)
{
	pthread_mutex_lock(&host->wake_lock);
	host->quit = true;
	pthread_cond_signal(&host->wake);
	pthread_mutex_unlock(&host->wake_lock);
}

/* Until its actor is to run, the handle is to quit, or *ret_timer: the actor's timers are due. */
static bool wait_once(struct qmt_ctx *host, bool *ret_timer)
{
	bool quit;

	*ret_timer = false;
	pthread_mutex_lock(&host->wake_lock);
	while (!host->ready && !host->quit && !*ret_timer) {
		uint64_t until = host->wait_until_ns;
		const struct timespec at = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};

		if (!until)
			pthread_cond_wait(&host->wake, &host->wake_lock);
		else
			*ret_timer = pthread_cond_timedwait(&host->wake, &host->wake_lock, &at) == ETIMEDOUT;
	}
	quit = host->quit;
	if (!*ret_timer)
		host->ready = false;
	pthread_mutex_unlock(&host->wake_lock);
	return !quit;
}

bool qmt__host_wait(struct qmt_ctx *host)
{
	bool timer;

	while (wait_once(host, &timer)) {
		if (!timer)
			return true;
		host->wait_until_ns = 0;
		/* Idle: this schedules it, and we are ready. Restarting or gone: a look for nothing. */
		notify_pending(host, host->hosted, PENDING_TIMER);
	}
	return false;
}

/* ---- threads of the system --------------------------------------------------------------------------------------- */

static void record_free(struct thread_record *record)
{
	qmt_os_thread_join(record->thread);
	qmt__ctx_free(record->ctx);
	free(record);
}

/* Takes the records out that have ended. */
static struct thread_record *take_ended(struct qmt_system *sys)
{
	struct thread_record *ended = NULL;

	for (struct thread_record **at = &sys->threads; *at;) {
		struct thread_record *record = *at;

		if (atomic_load_explicit(&record->ended, ACQUIRE)) {
			*at = record->next;
			record->next = ended;
			ended = record;
		} else {
			at = &record->next;
		}
	}
	return ended;
}

static void free_all(struct thread_record *record)
{
	while (record) {
		struct thread_record *next = record->next;

		record_free(record);
		record = next;
	}
}

/* run gets the record and ends with qmt__thread_ended. The record owns ctx from now on, on success. */
int qmt__thread_add(struct qmt_system *sys, const char *name, void (*run)(void *record), struct qmt_ctx *ctx)
{
	struct thread_record *record = calloc(1, sizeof *record), *ended;
	int failed;

	if (!record)
		return -ENOMEM;
	record->ctx = ctx;
	pthread_mutex_lock(&sys->state_lock);
	ended = take_ended(sys);
	failed = qmt_os_thread_start(name, run, record, &record->thread);
	if (!failed) {
		record->next = sys->threads;
		sys->threads = record;
	}
	pthread_mutex_unlock(&sys->state_lock);
	free_all(ended);
	if (failed)
		free(record);
	return failed;
}

void qmt__thread_ended(struct qmt_system *sys, struct thread_record *record)
{
	pthread_mutex_lock(&sys->state_lock);
	atomic_store_explicit(&record->ended, true, RELEASE);
	pthread_cond_broadcast(&sys->state_changed);
	pthread_mutex_unlock(&sys->state_lock);
}

/* Tells all to end, waits and joins. */
bool qmt__threads_join(struct qmt_system *sys, uint64_t until_ns)
{
	const struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000), .tv_nsec = (long)(until_ns % 1000000000)};
	struct thread_record *ended = NULL;
	bool all;

	pthread_mutex_lock(&sys->state_lock);
	for (struct thread_record *record = sys->threads; record; record = record->next)
		if (record->ctx && record->ctx->kind == CTX_OWN_THREAD)
			qmt__own_thread_quit(record->ctx);
	for (;;) {
		struct thread_record *more = take_ended(sys), **last = &more;

		while (*last)
			last = &(*last)->next;
		*last = ended;
		ended = more;
		all = !sys->threads;
		if (all || pthread_cond_timedwait(&sys->state_changed, &sys->state_lock, &until) == ETIMEDOUT)
			break;
	}
	pthread_mutex_unlock(&sys->state_lock);
	free_all(ended);
	return all;
}

/* ---- actors with a thread ---------------------------------------------------------------------------------------- */

static void thread_main(void *arg)
{
	struct thread_record *record = arg;
	struct qmt_ctx *host = record->ctx;

	while (qmt__host_wait(host)) {
		const uint32_t gen = actor_gen(host->hosted);
		uint64_t begin = clock_ticks();

		qmt__turn(host, host->hosted);
		if (actor_gen(host->hosted) == gen) /* else that was its end */
			atomic_fetch_add_explicit(&host->hosted->ticks, clock_ticks() - begin, RELAXED);
	}
	qmt__thread_ended(host->sys, record);
}

int qmt__own_thread_start(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct qmt_ctx *host = qmt__ctx_new(ctx->sys, CTX_OWN_THREAD);
	char name[16];
	int failed;

	if (!host)
		return -ENOMEM;
	host->hosted = a;
	a->host = host;
	snprintf(name, sizeof name, "qmt-%s", actor_desc(a)->name);
	failed = qmt__thread_add(ctx->sys, name, thread_main, host);
	if (failed) {
		a->host = NULL;
		qmt__ctx_free(host);
	}
	return failed;
}
