/* runtime/trace.h - the trace of what an actor handles: actor.h, "traces", from the inside. For the files of runtime/.
 *
 * Threads:   ctx->trace belongs to the turn.   Blocks: never.
 * Where:     a request carries it in its prefix (internal.h), so one without pays nothing; an ask keeps it at the
 *            asker, in place of its continuation (qmt__ask_trace), so answers need not carry it; ctx->trace while it
 *            is handled.
 * Invariant: on a worker ctx->trace is 0 whenever no handler, hook or continuation runs: what came with the message
 *            ends with it (trace_begin, trace_end), what a handler set by itself is ended by CTL_TRACED (trace_over).
 *            That of an outside handle stays.
 */
#ifndef QMT_RUNTIME_TRACE_H
#define QMT_RUNTIME_TRACE_H

#include "internal.h"

/* Of a message that its owner made or keeps; 0: none. */
static inline uint64_t msg_trace(const struct qmt_msg *m)
{
	return m->flags & MSG_PREFIXED ? ((const struct prefix *)(const void *)m->body)->trace : 0;
}

/* Around a call into a module. Returns what trace_end is to be given. */
static inline uint64_t trace_begin(struct qmt_ctx *ctx, uint64_t trace)
{
	uint64_t before = ctx->trace;

	ctx->trace = trace;
	return before;
}

static inline void trace_end(struct qmt_ctx *ctx, uint64_t before)
{
	ctx->trace = before;
	ctx->ctl &= ~(uint32_t)CTL_TRACED;
}

/* After a call that began without: ends what it set. */
static inline void trace_over(struct qmt_ctx *ctx)
{
	if (unlikely(ctx->ctl & CTL_TRACED))
		trace_end(ctx, 0);
}

/* Replaces *then and *arg by such as run them with `trace`. False: out of memory. */
QMT_MUST_CHECK bool qmt__ask_trace(struct qmt_ctx *ctx, uint64_t trace, qmt_continuation **then, void **arg);
/* The record is given up without calling `then`: frees what qmt__ask_trace made, if it did. */
void qmt__ask_untrace(struct qmt_ctx *ctx, struct ask *ask);

#endif
