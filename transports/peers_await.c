/* transports/peers_await.c - asks that wait for a peer to be connected.
 *
 * A waiter is a token and a name. Whose asker has given up is not known here (its token is then of no use, and
 * harmless), so the list is bounded: the oldest makes room. */
#include "transports/peers_internal.h"

enum { PEERS_WAITERS = 256 };

struct peers_waiter {
	struct peers_waiter *next;
	struct qmt_token token;
	struct qmt_msg *request; /* kept; msg points into it */
	const struct peers_await *msg;
};

static void waiter_end(struct qmt_ctx *ctx, struct peers *peers, struct peers_waiter **at)
{
	struct peers_waiter *waiter = *at;

	*at = waiter->next;
	peers->waiter_count--;
	qmt_msg_free(ctx, waiter->request);
	free(waiter);
}

void peers_on_await(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct peers *peers = state;
	const struct peers_await *msg = body;
	struct peers_waiter *waiter, **last = &peers->waiters;

	if (peers_reply_connected(ctx, peers, qmt_token(ctx), msg->name))
		return;
	waiter = calloc(1, sizeof(*waiter));
	if (!waiter) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "out of memory");
		return;
	}
	if (peers->waiter_count == PEERS_WAITERS) {
		(void)qmt_reply_fail(
			ctx, peers->waiters->token, QMT_FAIL_FULL, NULL, 0, "%d others wait for peers", PEERS_WAITERS);
		waiter_end(ctx, peers, &peers->waiters);
	}
	while (*last)
		last = &(*last)->next;
	waiter->token = qmt_token(ctx);
	waiter->request = qmt_keep(ctx);
	waiter->msg = msg;
	*last = waiter;
	peers->waiter_count++;
}

void peers_awaited(struct qmt_ctx *ctx, struct peers *peers)
{
	for (struct peers_waiter **at = &peers->waiters; *at;) {
		if (peers_reply_connected(ctx, peers, (*at)->token, (*at)->msg->name))
			waiter_end(ctx, peers, at);
		else
			at = &(*at)->next;
	}
}

void peers_await_stop(struct qmt_ctx *ctx, struct peers *peers)
{
	while (peers->waiters)
		waiter_end(ctx, peers, &peers->waiters);
}
