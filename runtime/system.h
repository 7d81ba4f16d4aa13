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
	void *arg;
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

/* What is there, for status and tests: calls fn for each live actor (any order, a moment's picture). */
struct qmt_actor_info {
	const void *self, *parent;   /* to tell who is whose child, within one picture; nothing lies behind them */
	const char *kind, *name, *parent_kind; /* name, parent_kind: NULL without one */
	uint32_t depth, restarts;
	uint64_t handled;
};
QMT_EXPORT void qmt_system_actors(struct qmt_system *sys, void (*fn)(const struct qmt_actor_info *info, void *arg),
	void *arg);

/* What was counted since the start of the system; any thread, a moment's picture. */
struct qmt_counters {
	uint64_t dead_letters; /* tells that were accepted and then lost, as their receiver ended (or its link) */
	uint64_t dropped;      /* tells that were given up at a bound (QMT_DROP_NEW, QMT_DROP_OLD), asks by QMT_DROP_OLD */
	uint64_t failed;       /* incarnations that ended by a failure */
	uint64_t restarted;    /* actors that were to be started again, those that are so along with another too */
	uint64_t gave_up;      /* supervisors that failed because of their children */
};
QMT_EXPORT void qmt_system_counters(struct qmt_system *sys, struct qmt_counters *ret_counters);

#ifdef __cplusplus
}
#endif

#endif
