/* runtime/pool.c - see pool.h.
 *
 * How busy a worker is cannot be asked: it is counted. Behind what it was passed the pool asks it a mark; mailboxes are
 * FIFO per sender, so when the mark is answered, what was passed before it has been dealt with. One mark a worker is
 * under way at a time, so under load it costs next to nothing. A mark that fails with a restart says that asks before
 * it are over and tells are not: the next mark finds out.
 */
#include "pool.h"

#include <errno.h>
#include <stdlib.h>

QMT_DEFINE_RECORD(qmt_pool_load, QMT_POOL_LOAD, "How much a worker has to do.")
QMT_DEFINE_PROTOCOL(qmt_pool, QMT_POOL_MESSAGES, "Between a pool, its workers and who looks.")

enum { MARK_TIMEOUT_MS = INT32_MAX /* as long as a handler may run: weeks */, RETRY_MS = 5 };

struct qmt_pool_worker {
	struct qmt_ref ref;
	uint64_t busy;
	uint64_t covered; /* of them: passed before the mark */
	bool marked;      /* a mark is under way */
	uint32_t tenant;  /* grows when it is replaced: marks of the one before are stale */
	uint64_t passed, restarts;
};

/* ---- marks ------------------------------------------------------------------------------------------------------- */

static void mark(struct qmt_ctx *ctx, struct qmt_pool *pool, struct qmt_pool_worker *w);

/* Marks that could not be sent (the worker's mailbox was full), or failed. */
static void mark_again(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct qmt_pool *pool = state;

	(void)arg;
	pool->retry = (struct qmt_timer){0};
	for (uint32_t i = 0; i < pool->count; i++)
		if (pool->workers[i].busy && !pool->workers[i].marked)
			mark(ctx, pool, &pool->workers[i]);
}

static void look_later(struct qmt_ctx *ctx, struct qmt_pool *pool, struct qmt_pool_worker *w)
{
	if (!pool->retry.id && qmt_timer_start(ctx, RETRY_MS, mark_again, NULL, &pool->retry))
		w->busy = 0; /* no memory, not even for looking again */
}

static void marked(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct qmt_pool *pool = state;
	uint64_t which = (uintptr_t)arg;
	struct qmt_pool_worker *w = &pool->workers[which & UINT16_MAX];

	if (w->tenant != (uint32_t)(which >> 16))
		return;
	w->marked = false;
	if (result->fail) {
		look_later(ctx, pool, w); /* it is being restarted, and would refuse the next one too */
		return;
	}
	w->busy -= w->covered;
	if (w->busy)
		mark(ctx, pool, w);
}

static void mark(struct qmt_ctx *ctx, struct qmt_pool *pool, struct qmt_pool_worker *w)
{
	uintptr_t which = (uintptr_t)w->tenant << 16 | (uintptr_t)(w - pool->workers);
	uint64_t trace = qmt_trace(ctx);
	int failed;

	if (trace)
		qmt_trace_set(ctx, 0); /* what it covers is not this piece of work alone */
	failed =
		qmt_ask(ctx, w->ref, &qmt_pool_mark_type, &(struct qmt_pool_mark){}, MARK_TIMEOUT_MS, marked, (void *)which);
	if (trace)
		qmt_trace_set(ctx, trace);

	if (!failed) {
		w->marked = true;
		w->covered = w->busy;
	} else if (failed == QMT_FAIL_NOT_RUNNING) {
		w->busy = 0; /* child_ended follows */
	} else {
		look_later(ctx, pool, w);
	}
}

static void passed(struct qmt_ctx *ctx, struct qmt_pool *pool, struct qmt_pool_worker *w)
{
	w->passed++;
	w->busy++;
	if (!w->marked)
		mark(ctx, pool, w);
}

static void on_mark(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	(void)body;
	if (QMT_REPLY(ctx, qmt_token(ctx), qmt_pool_done, ))
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NO_REPLY, NULL, 0, "out of memory");
}

qmt_handler *const qmt_pool_worker_handlers[qmt_pool_message_count] = {[qmt_pool_mark_id] = on_mark};

/* ---- spreading --------------------------------------------------------------------------------------------------- */

static struct qmt_pool_worker *least(struct qmt_pool *pool)
{
	struct qmt_pool_worker *best = NULL;

	for (uint32_t i = 0; i < pool->count; i++) {
		struct qmt_pool_worker *w = &pool->workers[(pool->next + i) % pool->count];

		if (!best || w->busy < best->busy)
			best = w;
	}
	pool->next = (uint32_t)(best - pool->workers + 1) % pool->count;
	return best;
}

void qmt_pool_to_one(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct qmt_pool *pool = state;
	struct qmt_token token = qmt_token(ctx);
	struct qmt_pool_worker *w = least(pool);
	uint32_t first = (uint32_t)(w - pool->workers);
	int failed = 0;

	(void)body;
	for (uint32_t i = 0; i < pool->count; i++) {
		w = &pool->workers[(first + i) % pool->count];
		failed = qmt_forward(ctx, w->ref);
		if (!failed) {
			passed(ctx, pool, w);
			return;
		}
	}
	if (token.ask)
		qmt_reply_fail(ctx, token, failed < 0 ? QMT_FAIL_FAILED : failed, NULL, 0, "no worker of %u took it: %s",
			pool->count, failed < 0 ? "out of memory" : qmt_fail_name(failed));
	else
		pool->dropped++;
}

void qmt_pool_to_all(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body)
{
	struct qmt_pool *pool = state;

	if (qmt_token(ctx).ask) {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0, "%s is told, not asked: %u workers get it",
			type->record.name, pool->count);
		return;
	}
	for (uint32_t i = 0; i < pool->count; i++) {
		if (qmt_tell(ctx, pool->workers[i].ref, type, body))
			pool->dropped++;
		else
			passed(ctx, pool, &pool->workers[i]);
	}
}

static void on_info(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct qmt_pool *pool = state;
	struct qmt_pool_load *loads = calloc(pool->count, sizeof *loads);
	struct qmt_pool_loads reply = {.dropped = pool->dropped};

	(void)body;
	if (!loads) {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "out of memory");
		return;
	}
	for (uint32_t i = 0; i < pool->count; i++) {
		const struct qmt_pool_worker *w = &pool->workers[i];

		loads[i] = (struct qmt_pool_load){w->ref, w->busy, w->passed, w->restarts};
	}
	reply.workers.items = loads;
	reply.workers.count = pool->count;
	(void)qmt_reply(ctx, qmt_token(ctx), &qmt_pool_loads_type, &reply);
	free(loads);
}

qmt_handler *const qmt_pool_handlers[qmt_pool_message_count] = {[qmt_pool_info_id] = on_info};

/* ---- workers ----------------------------------------------------------------------------------------------------- */

static int spawn(struct qmt_ctx *ctx, struct qmt_pool *pool, struct qmt_pool_worker *w)
{
	const struct qmt_pool_config *config = pool->config;
	const struct qmt_spawn opt = {
		.config = config->worker_config, .params = config->worker_params, .restart = QMT_PERMANENT};
	struct qmt_err err = {0};
	int failed = qmt_spawn(ctx, config->worker, &opt, &w->ref, &err);

	if (failed)
		qmt_fail(ctx, "a worker cannot be started: %s", err.text[0] ? err.text : "out of memory");
	return failed;
}

void qmt_pool_on_child_ended(struct qmt_ctx *ctx, void *state, struct qmt_ref child, int reason, bool restarted)
{
	struct qmt_pool *pool = state;

	(void)reason;
	for (uint32_t i = 0; i < pool->count; i++) {
		struct qmt_pool_worker *w = &pool->workers[i];

		if (!qmt_ref_eq(w->ref, child))
			continue;
		w->restarts++;
		if (restarted)
			return; /* its mark, if one was under way, says how much is left */
		w->busy = 0;
		w->marked = false;
		w->tenant++;
		(void)spawn(ctx, pool, w);
		return;
	}
}

static bool speaks_pool(const struct qmt_actor_desc *worker)
{
	for (uint32_t i = 0; i < QMT_ACCEPTS_MAX; i++)
		if (worker->accepts[i].protocol == &qmt_pool_protocol)
			return true;
	return false;
}

int qmt_pool_on_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct qmt_pool *pool = state;

	pool->config = config;
	if (!pool->config || !pool->config->worker || !pool->config->size || pool->config->size > QMT_POOL_MAX) {
		qmt_fail(ctx, "config of a pool: wants a kind of workers, and 1 to %d of them", QMT_POOL_MAX);
		return QMT_FAIL_BAD_REQUEST;
	}
	if (!speaks_pool(pool->config->worker)) {
		qmt_fail(ctx, "%s cannot work in a pool: its accepts lack {&qmt_pool_protocol, qmt_pool_worker_handlers}",
			pool->config->worker->name);
		return QMT_FAIL_BAD_REQUEST;
	}
	pool->workers = calloc(pool->config->size, sizeof *pool->workers);
	if (!pool->workers)
		return -ENOMEM;
	while (pool->count < pool->config->size) {
		int failed = spawn(ctx, pool, &pool->workers[pool->count]);

		if (failed)
			return failed;
		pool->count++;
	}
	return 0;
}

void qmt_pool_on_stop(struct qmt_ctx *ctx, void *state)
{
	(void)ctx;
	free(((struct qmt_pool *)state)->workers);
}
