/* runtime/slow.c - handlers that run too long, reported while they run.
 *
 * Nothing in a turn reads a clock. What a worker is at can be seen from outside: the count of its turns, whose turn it
 * is, how many messages that actor has dealt with, and which message is being handled. No two calls of handlers have
 * all of these in common: within a piece of the mailbox that was taken at once all messages live at the same time, so
 * their addresses differ; between two pieces `done` moves. (Hooks, and callbacks of timers and descriptors, count as
 * one call if a turn runs several of them in a row.) So somebody who looks again and again knows since when, at least,
 * the same call has run.
 *
 * That somebody is a thread of its own: parked workers look after stranded work (park.c), but when all are stuck, or
 * there is only one, nobody is parked, and that is when it matters. The thread sleeps until a worker begins to work
 * after it had none, then looks each quarter of the limit until all are parked: an idle system makes no system call for
 * it, and a busy one four a limit.
 *
 * Giving up is like that of the watch in park.c: the thread says that it does not look any more, then looks whether
 * anybody works; a worker that begins is not parked any more, then looks whether somebody watches; all seq_cst.
 */
#include "scheduler.h"

#include <errno.h>
#include <time.h>

enum { LOOKS = 4 /* within the limit */ };

/* What a worker is at. */
struct call {
	struct qmt_actor *actor; /* NULL: nothing */
	struct qmt_msg *message; /* NULL: a hook or a callback. Only compared: it may be gone */
	uint64_t done;
	uint32_t turns, gen;
	uint16_t type;
};

struct qmt__slow_watch {
	struct qmt_os_thread *thread;
	pthread_mutex_t lock; /* guards quit, and the wait for `active` */
	pthread_cond_t wake;  /* by qmt__slow_begin, qmt__slow_stop */
	bool quit;
	_Atomic uint32_t active; /* the thread looks */
	struct seen {
		/* the thread's own */
		struct call call;
		uint64_t since_ns;
		bool reported;
		/* for pictures; NULL: none is too slow */
		struct qmt_actor *_Atomic shown;
		_Atomic uint64_t shown_since_ns;
	} seen[WORKERS_MAX];
};

static struct call look_at(struct qmt_ctx *worker)
{
	struct call call = {.actor = LOOK(worker->cur)};

	if (!call.actor)
		return call;
	call.message = LOOK(worker->cur_msg);
	call.type = LOOK(worker->cur_type);
	call.turns = atomic_load_explicit(&worker->turns, RELAXED);
	call.gen = actor_gen(call.actor);
	call.done = atomic_load_explicit(&call.actor->done, RELAXED);
	return call;
}

static bool is_same(const struct call *a, const struct call *b)
{
	return a->actor == b->actor && a->message == b->message && a->done == b->done && a->turns == b->turns &&
		a->gen == b->gen;
}

static const char *message_name(const struct qmt_actor_desc *desc, const struct call *call)
{
	if (!call->message)
		return "(a hook or callback)";
	switch (call->type) {
	case CUR_REPLY:
		return "(a reply)";
	case CUR_OUTGOING:
		return "(to a peer)";
	case CUR_OTHER:
		return "(the runtime's own)";
	default:
		return qmt__message_name(desc, call->type);
	}
}

static void say(struct qmt_system *sys, const char *event, const struct call *call, uint64_t ns)
{
	const struct qmt_actor_desc *desc = atomic_load_explicit(&call->actor->desc, ACQUIRE);
	char name[ACTOR_NAME_SHOWN];

	qmt__actor_name(sys, call->actor, name);
	if (actor_gen(call->actor) != call->gen)
		return; /* another one's by now */
	qmt_log(sys->log, QMT_WARN, event, "kind", desc->name, "name", *name ? name : NULL, "message",
		message_name(desc, call), "ms", QMT_LOG_U64(ns / NS_PER_MS), NULL);
}

static void look(struct qmt_system *sys, uint32_t i)
{
	struct seen *seen = &sys->slow->seen[i];
	struct call call = look_at(sys->workers[i]);
	uint64_t now = qmt_os_now_ns(sys->os);

	if (call.actor && is_same(&call, &seen->call)) {
		seen->call.type = call.type; /* stored behind the message: the first look may have seen the one before */
		if (seen->reported || now - seen->since_ns < sys->slow_ns)
			return;
		seen->reported = true;
		count_one(&sys->counters.slow_handlers);
		atomic_store_explicit(&seen->shown_since_ns, seen->since_ns, RELAXED);
		atomic_store_explicit(&seen->shown, call.actor, RELEASE); /* pairs with qmt__slow_ms */
		say(sys, "handler.slow", &call, now - seen->since_ns);
		return;
	}
	if (seen->reported) {
		atomic_store_explicit(&seen->shown, NULL, RELAXED);
		say(sys, "handler.slow_ended", &seen->call, now - seen->since_ns);
	}
	seen->call = call;
	seen->since_ns = now;
	seen->reported = false;
}

static bool somebody_works(struct qmt_system *sys)
{
	for (uint32_t i = 0; i < sys->worker_count; i++)
		if (!atomic_load(&sys->workers[i]->parked))
			return true;
	return false;
}

/* Until that time, or the end. Called with the lock held. */
static void sleep_until(struct qmt__slow_watch *slow, uint64_t until_ns)
{
	const struct timespec at = {.tv_sec = (time_t)(until_ns / 1000000000), .tv_nsec = (long)(until_ns % 1000000000)};

	while (!slow->quit && pthread_cond_timedwait(&slow->wake, &slow->lock, &at) != ETIMEDOUT)
		;
}

static void watch_main(void *arg)
{
	struct qmt_system *sys = arg;
	struct qmt__slow_watch *slow = sys->slow;

	pthread_mutex_lock(&slow->lock);
	while (!slow->quit) {
		if (!atomic_load_explicit(&slow->active, RELAXED)) {
			pthread_cond_wait(&slow->wake, &slow->lock);
			continue;
		}
		sleep_until(slow, qmt_os_now_ns(sys->os) + sys->slow_ns / LOOKS);
		if (slow->quit)
			break;
		pthread_mutex_unlock(&slow->lock);
		for (uint32_t i = 0; i < sys->worker_count; i++)
			look(sys, i);
		if (!somebody_works(sys)) {
			atomic_store(&slow->active, 0);
			if (somebody_works(sys))
				atomic_store(&slow->active, 1);
		}
		pthread_mutex_lock(&slow->lock);
	}
	pthread_mutex_unlock(&slow->lock);
}

/* A worker begins to work and nobody looks. */
void qmt__slow_begin(struct qmt_system *sys)
{
	struct qmt__slow_watch *slow = sys->slow;

	if (atomic_load(&slow->active) || atomic_exchange(&slow->active, 1))
		return;
	pthread_mutex_lock(&slow->lock);
	pthread_cond_signal(&slow->wake);
	pthread_mutex_unlock(&slow->lock);
}

int qmt__slow_start(struct qmt_system *sys)
{
	struct qmt__slow_watch *slow = calloc(1, sizeof *slow);
	pthread_condattr_t attr;
	int failed;

	if (!slow)
		return -ENOMEM;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	failed = pthread_cond_init(&slow->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (!failed)
		failed = pthread_mutex_init(&slow->lock, NULL);
	if (failed) {
		free(slow);
		return -failed;
	}
	sys->slow = slow;
	return qmt_os_thread_start("qmt-watch", watch_main, sys, &slow->thread);
}

/* After the workers have ended, or were given up. */
void qmt__slow_stop(struct qmt_system *sys)
{
	struct qmt__slow_watch *slow = sys->slow;

	if (!slow || !slow->thread)
		return;
	pthread_mutex_lock(&slow->lock);
	slow->quit = true;
	pthread_cond_signal(&slow->wake);
	pthread_mutex_unlock(&slow->lock);
	slow->thread = qmt_os_thread_join(slow->thread);
}

void qmt__slow_free(struct qmt_system *sys)
{
	if (!sys->slow)
		return;
	pthread_cond_destroy(&sys->slow->wake);
	pthread_mutex_destroy(&sys->slow->lock);
	free(sys->slow);
	sys->slow = NULL;
}

uint64_t qmt__slow_ms(struct qmt_system *sys, struct qmt_actor *a)
{
	for (uint32_t i = 0; sys->slow && i < sys->worker_count; i++) {
		struct seen *seen = &sys->slow->seen[i];

		if (atomic_load_explicit(&seen->shown, ACQUIRE) == a)
			return (qmt_os_now_ns(sys->os) - atomic_load_explicit(&seen->shown_since_ns, RELAXED)) / NS_PER_MS;
	}
	return 0;
}
