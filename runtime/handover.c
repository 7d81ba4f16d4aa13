/* runtime/handover.c - what only links need: giving a message back that the link cannot carry, and asking whether an
 * answer is still wanted. */
#include "send.h"

void qmt_outgoing_refuse(struct qmt_ctx *ctx, int fail)
{
	struct qmt_msg *m = ctx->cur_msg;

	QMT__INVARIANT(ctx, m && m->flags & MSG_INTERNAL && m->type == INTERNAL_OUTGOING && !(ctx->ctl & CTL_KEPT));
	ctx->ctl |= CTL_KEPT;
	qmt__undeliver(ctx, NULL, m, fail);
}

bool qmt_token_waits(struct qmt_token token)
{
	struct qmt_ref asker = token.ask ? qmt__ask_owner(token.ask, token.gen) : (struct qmt_ref){0};

	return asker.actor && qmt_is_running(asker);
}
