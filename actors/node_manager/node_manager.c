/* actors/node_manager/node_manager.c - the actor: its table of handlers, ops, what the node says of itself.
 * Sessions are in node_sessions.c, looks at other nodes in node_gather.c. */
#include "actors/node_manager/node_internal.h"

#include <errno.h>
#include <time.h>

void *node_op_new(struct qmt_ctx *ctx, struct node_manager *self, const void *body, size_t size)
{
	struct node_op *op = calloc(1, size);

	if (!op) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "out of memory");
		return NULL;
	}
	op->token = qmt_token(ctx);
	op->request = qmt_keep(ctx);
	op->body = body;
	op->next = self->ops;
	op->pprev = &self->ops;
	if (self->ops)
		self->ops->pprev = &op->next;
	self->ops = op;
	return op;
}

void node_op_end(struct qmt_ctx *ctx, void *op_)
{
	struct node_op *op = op_;

	*op->pprev = op->next;
	if (op->next)
		op->next->pprev = op->pprev;
	if (op->drop)
		op->drop(op);
	qmt_msg_free(ctx, op->request);
	free(op);
}

void node_relay(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct node_op *op = op_;

	(void)state;
	(void)qmt_reply_result(ctx, op->token, result);
	node_op_end(ctx, op);
}

/* Counts a list of names; with `to`, also puts them there. */
static uint32_t put_names(const char *const *names, struct qmt_str *to)
{
	uint32_t n = 0;

	for (; names && names[n]; n++)
		if (to)
			to[n] = qmt_str(names[n]);
	return n;
}

/* Capabilities, providers and agents, in that order. */
static int names_init(struct node_manager *self)
{
	const struct node_manager_config *config = self->config;

	self->capability_count = put_names(config->capabilities, NULL);
	self->provider_count = put_names(config->providers, NULL);
	self->names = calloc(self->capability_count + self->provider_count + config->agent_count + 1, sizeof *self->names);
	if (!self->names)
		return -ENOMEM;
	put_names(config->capabilities, self->names);
	put_names(config->providers, self->names + self->capability_count);
	for (size_t i = 0; i < config->agent_count; i++)
		self->names[self->capability_count + self->provider_count + i] = qmt_str(config->agents[i].id);
	return 0;
}

struct node_node node_describe(const struct node_manager *self, const struct peers_list_reply *list)
{
	const struct node_manager_config *config = self->config;
	struct node_node node = {.peer_id = qmt_str(config->peer_id),
		.name = qmt_str(config->node_name),
		.version = qmt_str(config->version),
		.capabilities = {self->names, self->capability_count},
		.active_sessions = self->session_count,
		.providers = {self->names + self->capability_count, self->provider_count},
		.agents = {self->names + self->capability_count + self->provider_count, (uint32_t)config->agent_count},
		.allow_remote_sessions = config->grants.allow_remote_sessions};

	/* One or the other, never both: what is advertised may be there so that nobody takes the direct way. */
	if (config->advertised_count) {
		node.addresses.items = config->advertised;
		node.addresses.count = config->advertised_count;
	} else if (list) {
		node.addresses.items = list->listen_addresses.items;
		node.addresses.count = list->listen_addresses.count;
	}
	return node;
}

static void info_answer(
	struct qmt_ctx *ctx, const struct node_manager *self, struct qmt_token token, const struct peers_list_reply *list)
{
	(void)QMT_REPLY(ctx, token, node_info_reply, .node = node_describe(self, list));
}

static void info_addresses(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct node_op *op = op_;

	info_answer(ctx, state, op->token, result->fail ? NULL : result->body);
	node_op_end(ctx, op);
}

static void on_info(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct node_manager *self = state;
	struct qmt_ref peers;
	struct node_op *op;

	if (self->config->advertised_count || qmt_lookup(ctx, "peers", &peers) != 0) {
		info_answer(ctx, self, qmt_token(ctx), NULL);
		return;
	}
	op = node_op_new(ctx, self, body, sizeof *op);
	if (op)
		qmt_ask_or(ctx, peers, &peers_list_type, &(struct peers_list){}, NODE_LOCAL_MS, info_addresses, op);
}

/* ---- status ------------------------------------------------------------------------------------------------------ */

/* RFC 3339 in UTC, seconds. */
static struct qmt_str wall_text(uint64_t wall_ms, char room[32])
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm parts;

	if (!gmtime_r(&seconds, &parts) || strftime(room, 32, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
		room[0] = '\0';
	return qmt_str(room);
}

static void status_answer(
	struct qmt_ctx *ctx, struct node_manager *self, struct qmt_token token, const struct peers_list_reply *list)
{
	const struct node_manager_config *config = self->config;
	uint32_t rows = list ? list->peers.count : 0;
	struct node_peer *peers = calloc(rows + 1, sizeof *peers);
	char(*since)[32] = calloc(rows + 1, sizeof *since);
	struct node_status_reply reply = {.peer_id = qmt_str(config->peer_id),
		.node_name = qmt_str(config->node_name),
		.version = qmt_str(config->version),
		.active_sessions = self->session_count,
		.uptime_ms = qmt_now_ms(ctx) - self->started_ms,
		.home = qmt_str(config->home),
		.config = qmt_str(config->config_path),
		.mesh = config->mesh,
		.advertised_addresses = {config->advertised, config->advertised_count}};
	uint32_t count = 0;
	char twin_seen[32];

	if (!peers || !since) {
		(void)qmt_reply_fail(ctx, token, QMT_FAIL_FAILED, NULL, 0, "out of memory");
		rows = 0;
		token = (struct qmt_token){0};
	}
	for (uint32_t i = 0; i < rows; i++) {
		const struct peers_info *info = &list->peers.items[i];
		if (!qmt_str_is(info->state, "connected"))
			continue;
		peers[count++] = (struct node_peer){.peer_id = info->peer_id,
			.name = info->name,
			.transport = info->transport,
			.scope = info->scope,
			.rtt_ms = info->rtt_ms,
			.since = wall_text(info->since_ms, since[i])};
	}
	reply.connected_peers.items = peers;
	reply.connected_peers.count = count;
	if (list && list->twin_address.len) {
		reply.twin_address = list->twin_address;
		reply.twin_seen = wall_text(list->twin_ms, twin_seen);
	}
	if (list) {
		reply.listen_addresses.items = list->listen_addresses.items;
		reply.listen_addresses.count = list->listen_addresses.count;
	}
	(void)qmt_reply(ctx, token, &node_status_reply_type, &reply);
	free(since);
	free(peers);
}

static void status_peers(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct node_op *op = op_;

	if (result->fail)
		(void)qmt_reply_result(ctx, op->token, result);
	else
		status_answer(ctx, state, op->token, result->body);
	node_op_end(ctx, op);
}

static void on_status(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct node_manager *self = state;
	struct qmt_ref peers;
	struct node_op *op;

	if (qmt_lookup(ctx, "peers", &peers) != 0) {
		status_answer(ctx, self, qmt_token(ctx), NULL);
		return;
	}
	op = node_op_new(ctx, self, body, sizeof *op);
	if (op)
		qmt_ask_or(ctx, peers, &peers_list_type, &(struct peers_list){}, NODE_LOCAL_MS, status_peers, op);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct node_manager *self = state;

	self->config = config;
	self->started_ms = qmt_now_ms(ctx);
	return names_init(self);
}

static void session_free(struct node_manager *self, struct node_session **at)
{
	struct node_session *session = *at;

	*at = session->next;
	self->config->session_config_free(session->config);
	free(session);
	self->session_count--;
}

static void child_ended(struct qmt_ctx *ctx, void *state, struct qmt_ref child, int reason, bool restarted)
{
	struct node_manager *self = state;

	(void)reason;
	if (restarted)
		return;
	for (struct node_session **at = &self->sessions; *at; at = &(*at)->next)
		if (qmt_ref_eq((*at)->ref, child)) {
			session_free(self, at);
			node_session_left(ctx, self, child);
			return;
		}
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct node_manager *self = state;

	while (self->ops)
		node_op_end(ctx, self->ops);
	while (self->sessions)
		session_free(self, &self->sessions);
	node_watch_fini(self);
	free(self->names);
}

static void down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	(void)reason;
	node_watch_down(ctx, state, who);
}

static qmt_handler *const handlers[node_message_count] = {
	[node_info_id] = on_info,
	[node_status_id] = on_status,
	[node_nodes_id] = node_on_nodes,
	[node_providers_id] = node_on_providers,
	[node_actors_id] = node_on_actors,
	[node_metrics_id] = node_on_metrics,
	[node_session_create_id] = node_on_session_create,
	[node_session_list_id] = node_on_session_list,
	[node_session_show_id] = node_on_session_show,
	[node_session_resume_id] = node_on_session_resume,
	[node_session_fork_id] = node_on_session_fork,
	[node_session_rename_id] = node_on_session_rename,
	[node_session_archive_id] = node_on_session_archive,
	[node_session_delete_id] = node_on_session_delete,
	[node_session_close_id] = node_on_session_close,
	[node_prompt_id] = node_on_prompt,
	[node_cancel_id] = node_on_cancel,
	[node_drain_id] = node_on_drain,
};

const struct qmt_actor_desc node_manager_desc = {.abi = QMT_ABI,
	.name = "node_manager",
	.doc = "What a node does for its owner and its peers.",
	.state_size = sizeof(struct node_manager),
	.accepts = {{&node_protocol, handlers}, {&session_protocol, node_session_handlers}},
	.start = start,
	.stop = stop,
	.child_ended = child_ended,
	.down = down};
