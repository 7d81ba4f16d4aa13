/* runtime/pool.h - a ready-made actor that spreads messages over workers of one kind.
 *
 *     QMT_POOL_TO_ALL(work_reload)                         // a handler: work_reload_to_all
 *     static qmt_handler *const spread[work_message_count] = {
 *         [work_square_id] = qmt_pool_to_one, [work_reload_id] = work_reload_to_all};
 *     static const struct qmt_actor_desc pool = QMT_POOL_DESC("squares", &work_protocol, spread, .bound = 1000);
 *     static const struct qmt_pool_config config = {.worker = &worker_desc, .size = 4};
 *     qmt_spawn(ctx, &pool, &(struct qmt_spawn){.config = &config}, &ref, &err);
 *
 * The kind of the workers has one entry more in `accepts`: {&qmt_pool_protocol, qmt_pool_worker_handlers}.
 *
 * To one:   goes to the worker that has least to do; of several the next one in turn. It is forwarded: the answer of an
 *           ask goes from the worker to the asker, the sender of a tell is its sender. Refused by that worker (its
 *           bound), it is offered to the others once each; refused by all, an ask fails with the last reason and a tell
 *           is counted as dropped. Workers with QMT_BLOCK take all, and the pool waits as any sender.
 * To all:   each worker gets a copy, by a tell of the pool. An ask is refused: QMT_FAIL_BAD_REQUEST.
 * Busy:     messages that a worker took and has not dealt with: its handler has not returned. (The pool asks a mark
 *           behind what it passes, one at a time a worker, so under load `busy` falls in steps. An answer that a worker
 *           gives later by its token is not waited for.)
 * The dead: workers are permanent. One that fails or stops is restarted in its place: what was in its mailbox it still
 *           gets, asks there are answered QMT_FAIL_RESTARTING; all of it counts as busy until the first mark after the
 *           restart. One that is gone for good is replaced with nothing to do. Restarts beyond `supervision` of the
 *           descriptor fail the pool.
 * Order:    none between workers.   Threads, blocks: an actor.   Limits: 1 to QMT_POOL_MAX workers.
 * Memory:   a message that cannot be counted for want of it is passed all the same.
 */
#ifndef QMT_POOL_H
#define QMT_POOL_H

#include "actor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { QMT_POOL_MAX = 4096 };

#define QMT_POOL_LOAD(F, T)                                                \
	F(T, REF, worker, 1, "The worker.")                                    \
	F(T, U64, busy, 2, "Messages that it has not dealt with.")             \
	F(T, U64, passed, 3, "Messages that it was given, over all restarts.") \
	F(T, U64, restarts, 4, "How often it was restarted or replaced.")
#define QMT_POOL_LOADS(F, T)                                             \
	F(T, LIST(qmt_pool_load), workers, 1, "In their order in the pool.") \
	F(T, U64, dropped, 2, "Tells that no worker took.")
#define QMT_POOL_MESSAGES(M)                                                                   \
	M(qmt_pool, info, QMT_NO_FIELDS, "local", "To the pool: who has how much to do.", loads)   \
	M(qmt_pool, mark, QMT_NO_FIELDS, "local", "To a worker: say when you come to this.", done) \
	M(qmt_pool, loads, QMT_POOL_LOADS, "reply", "Answer to info.")                             \
	M(qmt_pool, done, QMT_NO_FIELDS, "reply", "Answer to mark.")

#pragma GCC visibility push(default)
QMT_DECLARE_RECORD(qmt_pool_load, QMT_POOL_LOAD)
QMT_DECLARE_PROTOCOL(qmt_pool, QMT_POOL_MESSAGES)
#pragma GCC visibility pop

/* qmt_spawn.config; lives until the pool has ended. */
struct qmt_pool_config {
	const struct qmt_actor_desc *worker;
	const void *worker_config;                   /* of each */
	const struct qmt_param_value *worker_params; /* of each; may be NULL */
	uint32_t size;
};

struct qmt_pool { /* the state; fields are pool.c's */
	const struct qmt_pool_config *config;
	struct qmt_pool_worker *workers;
	uint32_t count, next;
	uint64_t dropped;
	struct qmt_timer retry;
};

/* Handlers for the table of the pool. */
QMT_EXPORT void qmt_pool_to_one(struct qmt_ctx *ctx, void *state, const void *body);
#define QMT_POOL_TO_ALL(msg)                                                     \
	static void msg##_to_all(struct qmt_ctx *ctx, void *state, const void *body) \
	{                                                                            \
		qmt_pool_to_all(ctx, state, &msg##_type, body);                          \
	}
QMT_EXPORT void qmt_pool_to_all(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body);

/* More: other fields of the descriptor. */
#define QMT_POOL_DESC(name_, protocol_, handlers_, ...)                                                                \
	{                                                                                                                  \
		.abi = QMT_ABI, .name = name_, .doc = "Spreads messages over workers.", .state_size = sizeof(struct qmt_pool), \
		.start = qmt_pool_on_start, .stop = qmt_pool_on_stop, .child_ended = qmt_pool_on_child_ended,                  \
		.accepts = {{protocol_, handlers_}, {&qmt_pool_protocol, qmt_pool_handlers}}, __VA_ARGS__                      \
	}

/* What the descriptors are made of. */
#pragma GCC visibility push(default)
extern qmt_handler *const qmt_pool_handlers[], *const qmt_pool_worker_handlers[];
int qmt_pool_on_start(struct qmt_ctx *ctx, void *state, const void *config);
void qmt_pool_on_stop(struct qmt_ctx *ctx, void *state);
void qmt_pool_on_child_ended(struct qmt_ctx *ctx, void *state, struct qmt_ref child, int reason, bool restarted);
#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
