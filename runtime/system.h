/* runtime/system.h - start a runtime, use it from a thread outside, stop it.
 *
 * Threads:   several systems may live in one process; nothing is shared between them. A `struct qmt_ctx` of
 *            qmt_outside_open belongs to one thread.
 * Blocks:    qmt_system_stop and qmt_outside_ask wait; the rest does not.
 * Order:     start, then outside handles, close those, stop, free.
 * Seeded:    with options.seeded, nothing runs by itself: qmt_system_run drives one thread with a virtual clock, and
 *            random, scheduling and timers come from the seed. The same seed gives the same qmt_system_trace_hash.
 */
#ifndef QMT_SYSTEM_H
#define QMT_SYSTEM_H

#include "actor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what actors are and wait for -------------------------------------------------------------------------------- */

/* S(name, text, doc) */
#define QMT_ACTOR_STATUS_LIST(S) \
	S(STARTING, "starting", "Its first turn has not come yet.") \
	S(RUNNING, "running", "Handles what comes; it may be at it.") \
	S(HOLDING, "holding", "Runs, and takes no normal messages: qmt_hold.") \
	S(WAITING, "waiting", "For the answer to qmt_ask_exclusive; takes no normal messages until then.") \
	S(MUTED, "muted", "For room in the mailbox of another (QMT_BLOCK); takes nothing until then.") \
	S(RESTARTING, "restarting", "Down, until its supervisor's backoff is over or its turn has come.") \
	S(STOPPING, "stopping", "Its incarnation is ending: its children first.")
enum qmt_actor_status {
#define QMT_ACTOR_STATUS(name, text, doc) QMT_ACTOR_##name,
	QMT_ACTOR_STATUS_LIST(QMT_ACTOR_STATUS)
#undef QMT_ACTOR_STATUS
};
QMT_EXPORT const char *qmt_actor_status_name(uint32_t status); /* "running"; "unknown" for others */

struct qmt_actor_info {
	const void *self, *parent;   /* to tell who is whose child, within one picture; nothing lies behind them */
	const char *kind, *name, *parent_kind; /* name, parent_kind: NULL without one */
	uint32_t depth, restarts;    /* depth: messages of both lanes that wait or are being handled */
	uint64_t handled;
	uint32_t status;             /* enum qmt_actor_status */
	/* WAITING, MUTED: for whom (as self; behind a link to a peer: the link) and how long. Else NULL and 0. */
	const void *waits_for;
	const char *waits_for_kind, *waits_for_name;
	uint64_t waits_ms;
	bool deadlocked;             /* waits in a circle that was reported, and still does */
	/* Time in its handlers, as the clock on the wall counts. An estimate: one turn in about 64 is measured and stands
	 * for all; good for many short turns, rough for few long ones. own_thread: exact. Seeded: 0. */
	uint64_t busy_us;
	uint64_t slow_ms;            /* one of its handlers has run so long, longer than slow_handler_ms; 0: none */
};

/* The members of a circle, each waits for the next one, the last for the first. Valid until it returns. */
typedef void qmt_deadlock_fn(const struct qmt_actor_info *members, uint32_t count, void *arg);

enum { QMT_DEADLOCK_DEFAULT_MS = 500, QMT_DEADLOCK_MEMBERS = 64 };

struct qmt_system_options {
	uint32_t workers;      /* 0: one a core */
	uint32_t job_threads;  /* most blocking jobs at once; 0: 4; started on demand, end after 10 s idle */
	const struct qmt_log *log; /* borrowed; NULL: silent */
	bool seeded;
	uint64_t seed;
	uint64_t start_wall_ms; /* seeded only: the clock begins here */
	/* Called once, on a worker's thread, when actors spawned from outside failed too often (5 restarts in 5 s) and the
	 * root has given up: everything is being stopped. Must not block. NULL: only logged. */
	void (*root_failed)(void *arg);
	void *arg; /* of root_failed and deadlock */
	/* Actors that wait for each other in a circle (each by qmt_ask_exclusive, or muted) and in which nothing has moved
	 * for this long are a deadlock: one warning `actor.deadlock` with the names in their order, one call (on a worker's
	 * thread; must not block; NULL: none), one in the counters. It ends with the first deadline of an ask, or when one
	 * of them is stopped. A circle that is freed from outside in time is none (a timer, a job, or somebody to whom the
	 * right to answer was passed on). Not seen: circles of more than QMT_DEADLOCK_MEMBERS, circles through another
	 * node, more than 256 that close at once. 0: QMT_DEADLOCK_DEFAULT_MS. */
	uint32_t deadlock_ms;
	qmt_deadlock_fn *deadlock;
	/* A handler (hook, callback) of a worker that has run this long is reported while it runs: a warning `handler.slow`
	 * with the actor, the message and the time so far, once a call, and `handler.slow_ended` with all of it; both
	 * times at least, and within a quarter of the limit. Costs a thread, qmt-watch, that sleeps while all workers
	 * do, and handlers nothing. Actors with own_thread may block: they are not looked at. Seeded: nothing is reported,
	 * handlers take no time. 0: off. */
	uint32_t slow_handler_ms;
};

/* NULL and err when memory or descriptors are out. */
QMT_EXPORT struct qmt_system *qmt_system_start(const struct qmt_system_options *opt, struct qmt_err *err);
/* Stops the tree, leaves first, within deadline_ms. 0: all ended. 1: err names the actors that are left (by kind and
 * name, as many as fit); the workers are ended all the same and qmt_system_free may follow. Repeatable. */
QMT_EXPORT int qmt_system_stop(struct qmt_system *sys, uint64_t deadline_ms, struct qmt_err *err);
QMT_EXPORT struct qmt_system *qmt_system_free(struct qmt_system *sys);

/* A handle for this thread. spawn, tell, lookup, now, log, uuid work with it; timers, fds, ask and replies do not. */
QMT_EXPORT struct qmt_ctx *qmt_outside_open(struct qmt_system *sys);
QMT_EXPORT struct qmt_ctx *qmt_outside_close(struct qmt_ctx *ctx);
/* Blocks this thread until the answer, or timeout_ms (0: default). In result (never NULL) pointers are valid until the
 * next call with this handle. Returns result->fail. In a seeded system it drives qmt_system_run meanwhile. */
QMT_EXPORT int qmt_outside_ask(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body,
	uint64_t timeout_ms, struct qmt_result *result);

/* Blocks this thread until the `start` of who has returned 0. Returns 0; the reason when it ended before that;
 * QMT_FAIL_DEADLINE after timeout_ms (0: default); <0. Seeded: as qmt_outside_ask. */
QMT_EXPORT int qmt_outside_await_start(struct qmt_ctx *ctx, struct qmt_ref who, uint64_t timeout_ms);
/* Blocks this thread until who has ended for good. Returns 0: result->fail is the reason, 0 for a wanted end,
 * QMT_FAIL_NOT_RUNNING when it had ended before; result->text of a failure says more. QMT_FAIL_DEADLINE: it has not
 * ended; <0. */
QMT_EXPORT int qmt_outside_await_end(struct qmt_ctx *ctx, struct qmt_ref who, uint64_t timeout_ms,
	struct qmt_result *result);

/* Seeded only: runs until nothing is runnable and no timer is due before virtual time now + for_ms. Returns turns
 * run. */
QMT_EXPORT uint64_t qmt_system_run(struct qmt_system *sys, uint64_t for_ms);
QMT_EXPORT uint64_t qmt_system_trace_hash(const struct qmt_system *sys);

/* What is there, for status and tests: calls fn for each live actor (any order, a moment's picture; any thread, actors
 * go on meanwhile). */
QMT_EXPORT void qmt_system_actors(struct qmt_system *sys, void (*fn)(const struct qmt_actor_info *info, void *arg),
	void *arg);

/* What was counted since the start of the system; any thread, a moment's picture. */
struct qmt_counters {
	uint64_t dead_letters; /* tells that were accepted and then lost, as their receiver ended (or its link) */
	uint64_t dropped;      /* tells that were given up at a bound (QMT_DROP_NEW, QMT_DROP_OLD), asks by QMT_DROP_OLD */
	uint64_t failed;       /* incarnations that ended by a failure */
	uint64_t restarted;    /* actors that were to be started again, those that are so along with another too */
	uint64_t gave_up;      /* supervisors that failed because of their children */
	uint64_t slow_handlers; /* calls of handlers that took longer than slow_handler_ms */
	uint64_t deadlocks;    /* circles of waiting actors that were reported */
};
QMT_EXPORT void qmt_system_counters(struct qmt_system *sys, struct qmt_counters *ret_counters);

#ifdef __cplusplus
}
#endif

#endif
