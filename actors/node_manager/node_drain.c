/* actors/node_manager/node_drain.c - node.drain: before the stop each running turn is ended, as interrupted. */
#include "actors/node_manager/node_internal.h"

struct drain_op {
	struct node_op op;
	uint32_t left;
};

static void drain_step(struct qmt_ctx *ctx, struct drain_op *op)
{
	if (--op->left > 0)
		return;
	(void)QMT_REPLY(ctx, op->op.token, node_drained, );
	node_op_end(ctx, op);
}

static void interrupted(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op)
{
	(void)state;
	(void)result; /* one that does not answer is interrupted all the same, at the next start */
	drain_step(ctx, op);
}

void node_on_drain(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct node_manager *self = state;
	struct drain_op *op = node_op_new(ctx, self, body, sizeof *op);

	self->draining = true;
	if (!op)
		return;
	op->left = 1;
	for (const struct node_session *session = self->sessions; session; session = session->next) {
		op->left++;
		qmt_ask_or(
			ctx, session->ref, &session_interrupt_type, &(struct session_interrupt){}, NODE_LOCAL_MS, interrupted, op);
	}
	drain_step(ctx, op);
}
