/* actors/router/router.c - the table agent -> target, and the look at who is connected.
 *
 * The table is const after start. Whether a peer is there is asked of "peers" at each resolve, so that no copy of that
 * knowledge can be stale: the answer is about this moment.
 */
#include "actors/router/router.h"

#include <errno.h>

#include "proto/contract/contract.h"

enum { ROUTER_PEERS_MS = 5000 };

struct router {
	const struct router_config *config;
	struct router_wait *waits; /* resolves that wait for "peers" */
};

struct router_wait {
	struct router_wait *next, **pprev;
	const struct router_agent *agent;
	struct qmt_token token;
	struct router_list *list; /* part of a routes request */
	size_t index;
	char *why; /* the answer while it is awaited */
};

/* A routes request: answered when the last peer was looked up. */
struct router_list {
	struct qmt_token token;
	size_t missing;
	char (*peer_ids)[64]; /* one an agent; empty: not connected */
};

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct router *self = state;

	(void)ctx;
	self->config = config;
	return 0;
}

static struct router_list *list_free(struct router_list *list)
{
	if (list)
		free(list->peer_ids);
	free(list);
	return NULL;
}

static void wait_end(struct router_wait *wait)
{
	*wait->pprev = wait->next;
	if (wait->next)
		wait->next->pprev = wait->pprev;
	free(wait->why);
	free(wait);
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct router *self = state;

	(void)ctx;
	while (self->waits) {
		struct router_list *list = self->waits->list;
		if (list && --list->missing == 0)
			list_free(list);
		wait_end(self->waits);
	}
}

static struct router_route route_of(const struct router_agent *agent, const char *peer_id)
{
	return (struct router_route){.agent = qmt_str(agent->id),
		.target = qmt_str(agent->peer ? "peer" : "local"),
		.peer = qmt_str(agent->peer),
		.peer_id = qmt_str(peer_id),
		.provider = qmt_str(agent->provider),
		.model = qmt_str(agent->model)};
}

static void list_answer(struct qmt_ctx *ctx, struct router *self, struct router_list *list)
{
	struct router_route *routes = calloc(self->config->count + 1, sizeof *routes);

	if (!routes) {
		(void)qmt_reply_fail(ctx, list->token, QMT_FAIL_FAILED, NULL, 0, "out of memory");
		return;
	}
	for (size_t i = 0; i < self->config->count; i++)
		routes[i] = route_of(&self->config->agents[i], list->peer_ids[i]);
	(void)QMT_REPLY(ctx, list->token, router_routes_reply, .routes = {routes, (uint32_t)self->config->count});
	free(routes);
}

static void on_peer(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg);

static void ask_peers(
	struct qmt_ctx *ctx, const struct qmt_type *type, const void *body, uint64_t timeout_ms, struct router_wait *wait)
{
	struct qmt_ref peers;

	if (qmt_lookup(ctx, "peers", &peers) != 0)
		peers = (struct qmt_ref){0}; /* no mesh: the ask fails with "not running" */
	qmt_ask_or(ctx, peers, type, body, timeout_ms, on_peer, wait);
}

static void on_peer(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct router *self = state;
	struct router_wait *wait = arg;
	const struct peers_resolved *found = result->body;

	if (wait->list) {
		struct router_list *list = wait->list;
		if (!result->fail)
			snprintf(list->peer_ids[wait->index], sizeof list->peer_ids[0], "%.*s", QMT_STR_ARG(found->peer.peer_id));
		if (--list->missing == 0) {
			list_answer(ctx, self, list);
			list_free(list);
		}
	} else if (result->fail == QMT_FAIL_NO_ROUTE && !wait->why && self->config->peer_wait_ms &&
		(wait->why = qmt_str_dup(result->text))) {
		ask_peers(ctx, &peers_await_type, &(struct peers_await){.name = qmt_str(wait->agent->peer)},
			self->config->peer_wait_ms, wait);
		return;
	} else if (result->fail) {
		(void)qmt_reply_fail(ctx, wait->token, QMT_FAIL_NO_ROUTE, "no_route", 0,
			"agent \"%s\" runs on peer \"%s\": %.*s", wait->agent->id, wait->agent->peer,
			QMT_STR_ARG(wait->why ? qmt_str(wait->why) : result->text));
	} else {
		struct router_route route = route_of(wait->agent, NULL);
		route.peer_id = found->peer.peer_id;
		(void)QMT_REPLY(ctx, wait->token, router_resolved, .route = route);
	}
	wait_end(wait);
}

/* Asks "peers" about the agent's peer; the answer ends in on_peer. False: out of memory. */
static bool look_up(
	struct qmt_ctx *ctx, struct router *self, const struct router_agent *agent, struct router_list *list, size_t index)
{
	struct router_wait *wait = calloc(1, sizeof *wait);

	if (!wait)
		return false;
	*wait =
		(struct router_wait){.next = self->waits, .pprev = &self->waits, .agent = agent, .list = list, .index = index};
	if (!list)
		wait->token = qmt_token(ctx);
	if (self->waits)
		self->waits->pprev = &wait->next;
	self->waits = wait;
	ask_peers(ctx, &peers_resolve_type, &(struct peers_resolve){.name = qmt_str(agent->peer)}, ROUTER_PEERS_MS, wait);
	return true;
}

static void on_resolve(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct router *self = state;
	const struct router_resolve *request = body;

	for (size_t i = 0; i < self->config->count; i++) {
		const struct router_agent *agent = &self->config->agents[i];
		if (!qmt_str_is(request->agent, agent->id))
			continue;
		if (!agent->peer)
			(void)QMT_REPLY(ctx, qmt_token(ctx), router_resolved, .route = route_of(agent, NULL));
		else if (!look_up(ctx, self, agent, NULL, i))
			(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "out of memory");
		return;
	}
	(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NOT_FOUND, "no_agent", 0,
		"no agent \"%.*s\" is configured on this node", QMT_STR_ARG(request->agent));
}

static void on_routes(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct router *self = state;
	struct router_list *list = calloc(1, sizeof *list);

	(void)body;
	if (list)
		list->peer_ids = calloc(self->config->count + 1, sizeof *list->peer_ids);
	if (!list || !list->peer_ids) {
		list_free(list);
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "out of memory");
		return;
	}
	list->token = qmt_token(ctx);
	list->missing = 1; /* ours, so that it cannot end while we still add */
	for (size_t i = 0; i < self->config->count; i++) {
		if (!self->config->agents[i].peer)
			continue;
		list->missing++;
		if (!look_up(ctx, self, &self->config->agents[i], list, i))
			list->missing--;
	}
	if (--list->missing == 0) {
		list_answer(ctx, self, list);
		list_free(list);
	}
}

static qmt_handler *const handlers[router_message_count] = {
	[router_resolve_id] = on_resolve, [router_routes_id] = on_routes};

const struct qmt_actor_desc router_desc = {.abi = QMT_ABI,
	.name = "router",
	.doc = "Which provider an agent's model calls go to.",
	.state_size = sizeof(struct router),
	.accepts = {{&router_protocol, handlers}},
	.start = start,
	.stop = stop};
