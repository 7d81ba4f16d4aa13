/* runtime/trace.c - see trace.h. */
#include "trace.h"
#include "slab.h"

uint64_t qmt_trace(struct qmt_ctx *ctx)
{
	return ctx->trace;
}

void qmt_trace_set(struct qmt_ctx *ctx, uint64_t trace)
{
	ctx->trace = trace;
	if (ctx->cur)
		ctx->ctl |= CTL_TRACED;
}

/* FNV-1a, 64 bit (Fowler, Noll, Vo). */
uint64_t qmt_trace_of(struct qmt_str text)
{
	uint64_t trace = UINT64_C(0xcbf29ce484222325);

	for (uint32_t i = 0; i < text.len; i++)
		trace = (trace ^ (unsigned char)text.p[i]) * UINT64_C(0x100000001b3);
	return trace ? trace : 1;
}

/* ---- asks -------------------------------------------------------------------------------------------------------- */

/* Body of the message that stands for the `arg` of a traced ask. */
struct traced {
	uint64_t trace;
	qmt_continuation *then;
	void *arg;
};

static void traced_then(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	const struct traced traced = *(struct traced *)(void *)((struct qmt_msg *)arg)->body;
	uint64_t before = trace_begin(ctx, traced.trace);

	msg_free(ctx, arg);
	traced.then(ctx, state, result, traced.arg);
	trace_end(ctx, before);
}

bool qmt__ask_trace(struct qmt_ctx *ctx, uint64_t trace, qmt_continuation **then, void **arg)
{
	struct qmt_msg *m = msg_alloc(ctx, sizeof(struct traced));

	if (!m)
		return false;
	m->flags = 0;
	*(struct traced *)(void *)m->body = (struct traced){trace, *then, *arg};
	*then = traced_then;
	*arg = m;
	return true;
}

void qmt__ask_untrace(struct qmt_ctx *ctx, struct ask *ask)
{
	if (ask->then == traced_then)
		msg_free(ctx, ask->arg);
}
