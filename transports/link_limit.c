/* transports/link_limit.c - requests a minute: the gate's last look in front of memory (link_in.c).
 *
 * Here and not where a request ends up, because it must not cost what it is to be kept from; and for all that a peer
 * asks together, because the peer chooses which.
 */
#include <errno.h>

#include "transports/link_internal.h"

enum { LIMITED_TOLD_MS = 60000 };

bool link_budget_open(struct qmt_ctx *ctx, struct link *link)
{
	const struct link_node *node = link->config->node;

	if (!node->budgets || !node->requests_minute)
		return true;
	link->budget = budget_open(node->budgets, &link->peer_id, qmt_now_ns(ctx));
	return link->budget != NULL;
}

void link_budget_close(struct qmt_ctx *ctx, struct link *link)
{
	budget_close(link->config->node->budgets, link->budget, qmt_now_ns(ctx));
	link->budget = NULL;
}

void link_tell_limited(struct qmt_ctx *ctx, struct link *link, bool is_last)
{
	uint64_t count = link->counts.limited - link->limited_told, now = qmt_now_ms(ctx);

	if (!count || !qmt_ref_is_set(link->peers) ||
		(!is_last && link->limited_told && now - link->limited_ms < LIMITED_TOLD_MS))
		return;
	link->limited_ms = now;
	if (QMT_TELL(ctx, link->peers, peers_limited, .peer = qmt_str(link->peer), .limit = qmt_str("requests a minute"),
			.count = count) == 0)
		link->limited_told = link->counts.limited;
}

bool link_within_limit(
	struct qmt_ctx *ctx, struct link *link, enum authority_pace pace, uint64_t *ret_wait_ms, struct qmt_err *err)
{
	const struct link_node *node = link->config->node;

	if (budget_take(
			link->budget, node->requests_minute, pace == AUTHORITY_PACE_ENDING ? 1 : 0, qmt_now_ns(ctx), ret_wait_ms))
		return true;
	link->counts.limited++;
	link_tell_limited(ctx, link, false);
	qmt_err_set(err, -EAGAIN,
		"node \"%s\" takes %llu requests a minute from one peer: try again in %llu s (to change that: set [mesh] "
		"max_remote_requests_minute on that node)",
		node->node_name, (unsigned long long)node->requests_minute, (unsigned long long)(*ret_wait_ms + 999) / 1000);
	return false;
}
