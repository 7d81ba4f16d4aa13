/* runtime/outside.c - handles for threads that are no part of the system.
 *
 * A handle that asks has an actor of its own, which is in nobody's tree: the answer and the deadline come to its
 * mailbox as to any other, and the thread runs its turns while it waits.
 */
#include "scheduler.h"
#include "slab.h"

#include <errno.h>

const struct qmt_actor_desc qmt__outside_desc = {.abi = QMT_ABI, .name = "outside"};

struct qmt_ctx *qmt_outside_open(struct qmt_system *sys)
{
	return qmt__ctx_new(sys, CTX_OUTSIDE);
}

struct qmt_ctx *qmt_outside_close(struct qmt_ctx *ctx)
{
	if (!ctx)
		return NULL;
	if (ctx->hosted) {
		qmt__asks_release(ctx, ctx->hosted);
		qmt__bury(ctx, ctx->hosted, 0);
		slab_free(ctx, ctx->hosted->class, ctx->hosted);
		ctx->hosted = NULL;
	}
	qmt_msg_free(ctx, ctx->answer);
	ctx->answer = NULL;
	return qmt__ctx_free(ctx);
}

static bool need_actor(struct qmt_ctx *ctx)
{
	struct qmt_actor *a;

	if (ctx->hosted)
		return true;
	if (qmt__actor_new(ctx, &qmt__outside_desc, NULL, &a, NULL) != 0)
		return false;
	a->flags |= ACTOR_OUTSIDE;
	status_set(a, STATUS_RUN);
	SHOW(a->standing, 0);
	a->host = ctx;
	atomic_store_explicit(&a->parent, NULL, RELAXED);
	atomic_store_explicit(&a->top, 0, RELEASE); /* idle */
	ctx->hosted = a;
	return true;
}

static void answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)state;
	(void)arg;
	*ctx->result = *result;
	ctx->answer = qmt_keep(ctx); /* NULL when the deadline passed */
	ctx->answered = true;
}

/* Seeded: this thread is all there is. */
static void drive(struct qmt_ctx *ctx)
{
	while (!ctx->answered) {
		if (ctx->ready) {
			ctx->ready = false;
			qmt__turn(ctx, ctx->hosted);
		} else if (!qmt__sim_step(ctx->sys, ctx->wait_until_ns)) {
			uint64_t now = now_ns(ctx);

			if (ctx->wait_until_ns > now)
				qmt_os_advance(ctx->sys->os, ctx->wait_until_ns - now);
			ctx->wait_until_ns = 0;
			notify_pending(ctx, ctx->hosted, PENDING_TIMER);
		}
	}
}

/* Whether the handle can ask: its actor is there. Otherwise the result says why not. */
static bool begin(struct qmt_ctx *ctx, struct qmt_result *result)
{
	*result = (struct qmt_result){0};
	qmt_msg_free(ctx, ctx->answer);
	ctx->answer = NULL;
	if (!need_actor(ctx)) {
		result->fail = QMT_FAIL_FAILED;
		result->text = qmt_str("out of memory");
		return false;
	}
	ctx->result = result;
	ctx->answered = false;
	ctx->cur = ctx->hosted;
	return true;
}

/* After the question was sent, or not. */
static int finish(struct qmt_ctx *ctx, struct qmt_result *result, int failed)
{
	ctx->cur = NULL;
	if (failed) {
		result->fail = failed < 0 ? QMT_FAIL_FAILED : failed;
		result->text = qmt_str(failed < 0 ? "out of memory" : qmt_fail_name(failed));
		return result->fail;
	}
	if (ctx->sim)
		drive(ctx);
	else
		while (!ctx->answered && qmt__host_wait(ctx))
			qmt__turn(ctx, ctx->hosted);
	return result->fail;
}

int qmt_outside_ask(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body,
	uint64_t timeout_ms, struct qmt_result *result)
{
	if (!begin(ctx, result))
		return result->fail;
	return finish(ctx, result, qmt_ask(ctx, to, type, body, timeout_ms, answered, NULL));
}

int qmt_outside_await_start(struct qmt_ctx *ctx, struct qmt_ref who, uint64_t timeout_ms)
{
	struct qmt_result result;

	if (!begin(ctx, &result))
		return -ENOMEM;
	return finish(ctx, &result, qmt_await_start(ctx, who, timeout_ms, answered, NULL));
}

int qmt_outside_await_end(struct qmt_ctx *ctx, struct qmt_ref who, uint64_t timeout_ms, struct qmt_result *result)
{
	int failed;

	if (!begin(ctx, result))
		return -ENOMEM;
	failed = qmt_await_end(ctx, who, timeout_ms, answered, NULL);
	(void)finish(ctx, result, failed);
	if (failed < 0 || failed == QMT_FAIL_NO_ROUTE)
		return failed;
	return result->fail == QMT_FAIL_DEADLINE ? QMT_FAIL_DEADLINE : 0;
}
