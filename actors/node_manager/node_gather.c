/* actors/node_manager/node_gather.c - asks several actors or nodes the same thing and answers when all have spoken.
 *
 * A gather counts what it still misses; each answer is copied (it dies with its message) into the list. A node that
 * does not answer in time becomes a row with `error`, so the list never hides that it is there. */
#include "actors/node_manager/node_internal.h"

#include "runtime/port.h"
#include "runtime/system.h"

struct row { /* one answer, deep-copied */
	struct row *next;
	_Alignas(16) unsigned char body[];
};

struct gather {
	struct node_op op;
	const struct qmt_record *record; /* of the rows */
	struct row *rows, **tail;
	struct asked *asked; /* all of them, freed with the gather */
	uint32_t count, missing;
	void (*answer)(struct qmt_ctx *ctx, struct gather *gather, const void *items);
	bool with_peers;
};

struct asked { /* argument of one ask: who it went to */
	struct asked *next;
	struct gather *gather;
	const char *what; /* metrics: kind of source, for errors */
	char name[128], peer_id[64];
};

static void drop(struct node_op *op)
{
	struct gather *gather = (struct gather *)op;

	while (gather->rows) {
		struct row *next = gather->rows->next;
		free(gather->rows);
		gather->rows = next;
	}
	while (gather->asked) {
		struct asked *next = gather->asked->next;
		free(gather->asked);
		gather->asked = next;
	}
}

static void row_add(struct gather *gather, const void *body)
{
	size_t size = (gather->record->size + 15u) & ~(size_t)15;
	struct row *row = calloc(1, sizeof *row + size + qmt_record_extra(gather->record, body));

	if (!row)
		return; /* the list is shorter; the answer still comes */
	qmt_record_copy(gather->record, body, row->body, row->body + size);
	*gather->tail = row;
	gather->tail = &row->next;
	gather->count++;
}

static void gather_done(struct qmt_ctx *ctx, struct gather *gather)
{
	unsigned char *items;

	if (--gather->missing)
		return;
	items = calloc(gather->count + 1, gather->record->size);
	if (items) {
		size_t i = 0;
		for (const struct row *row = gather->rows; row; row = row->next)
			memcpy(items + i++ * gather->record->size, row->body, gather->record->size);
		gather->answer(ctx, gather, items);
		free(items);
	} else {
		(void)qmt_reply_fail(ctx, gather->op.token, QMT_FAIL_FAILED, NULL, 0, "out of memory");
	}
	node_op_end(ctx, gather);
}

static struct gather *gather_new(struct qmt_ctx *ctx, struct node_manager *self, const void *body,
	const struct qmt_record *record, void (*answer)(struct qmt_ctx *, struct gather *, const void *))
{
	struct gather *gather = node_op_new(ctx, self, body, sizeof *gather);

	if (!gather)
		return NULL;
	gather->op.drop = drop;
	gather->record = record;
	gather->tail = &gather->rows;
	gather->missing = 1; /* ours, taken back by gather_done at the end of the handler */
	gather->answer = answer;
	return gather;
}

static struct asked *asked_new(struct gather *gather, struct qmt_str name, struct qmt_str peer_id)
{
	struct asked *asked = calloc(1, sizeof *asked);

	if (!asked)
		return NULL;
	asked->gather = gather;
	asked->next = gather->asked;
	gather->asked = asked;
	qmt_text(asked->name, sizeof asked->name, "%.*s", QMT_STR_ARG(name));
	snprintf(asked->peer_id, sizeof asked->peer_id, "%.*s", QMT_STR_ARG(peer_id));
	gather->missing++;
	return asked;
}

/* Asks node_manager of a connected peer. */
static void ask_peer(struct qmt_ctx *ctx, struct node_manager *self, struct gather *gather,
	const struct peers_info *peer, const struct qmt_type *type, const void *body, qmt_continuation *then)
{
	struct asked *asked = asked_new(gather, peer->name, peer->peer_id);

	if (!asked)
		return;
	int fail =
		qmt_ask_name(ctx, asked->peer_id, "node_manager", type, body, self->config->node_info_timeout_ms, then, asked);
	if (fail)
		then(ctx, self, &(struct qmt_result){.fail = fail, .text = qmt_str(qmt_fail_name(fail))}, asked);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

static void nodes_answer(struct qmt_ctx *ctx, struct gather *gather, const void *items)
{
	(void)QMT_REPLY(ctx, gather->op.token, node_nodes_reply, .nodes = {items, gather->count});
}

static void nodes_row(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *asked_)
{
	struct asked *asked = asked_;
	struct gather *gather = asked->gather;
	struct node_node node = {.peer_id = qmt_str(asked->peer_id), .name = qmt_str(asked->name), .error = result->text};

	(void)state;
	if (!result->fail)
		node = ((const struct node_info_reply *)result->body)->node;
	node.self = false;
	row_add(gather, &node);
	gather_done(ctx, gather);
}

/* list: NULL, or what "peers" says. */
static void nodes_self(struct gather *gather, const struct node_manager *self, const struct peers_list_reply *list)
{
	struct node_node node = node_describe(self, list);

	node.self = true;
	row_add(gather, &node);
}

static void nodes_peers(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *gather_)
{
	struct gather *gather = gather_;
	const struct peers_list_reply *list = result->body;

	nodes_self(gather, state, result->fail ? NULL : list);
	for (uint32_t i = 0; !result->fail && i < list->peers.count; i++)
		if (qmt_str_is(list->peers.items[i].state, "connected"))
			ask_peer(ctx, state, gather, &list->peers.items[i], &node_info_type, &(struct node_info){}, nodes_row);
	gather_done(ctx, gather);
}

/* The peers are asked for what then() makes of them. false: there is no mesh. */
static bool with_peers(struct qmt_ctx *ctx, struct gather *gather, uint64_t timeout_ms, qmt_continuation *then)
{
	struct qmt_ref peers;

	if (qmt_lookup(ctx, "peers", &peers) != 0)
		return false;
	gather->missing++;
	qmt_ask_or(ctx, peers, &peers_list_type, &(struct peers_list){}, timeout_ms, then, gather);
	return true;
}

void node_on_nodes(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct node_manager *self = state;
	struct gather *gather = gather_new(ctx, self, body, &node_node_record, nodes_answer);

	if (!gather)
		return;
	if (!with_peers(ctx, gather, NODE_LOCAL_MS, nodes_peers))
		nodes_self(gather, self, NULL);
	gather_done(ctx, gather);
}

/* ---- providers --------------------------------------------------------------------------------------------------- */

static void providers_answer(struct qmt_ctx *ctx, struct gather *gather, const void *items)
{
	(void)QMT_REPLY(ctx, gather->op.token, node_providers_reply, .providers = {items, gather->count});
}

static void providers_local(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *asked_)
{
	const struct node_manager *self = state;
	struct asked *asked = asked_;
	struct gather *gather = asked->gather;
	const struct provider_info_reply *info = result->body;
	struct node_provider row = {.node = qmt_str(self->config->node_name),
		.peer_id = qmt_str(self->config->peer_id),
		.name = qmt_str(asked->name),
		.error = result->text};

	if (!result->fail) {
		row.kind = info->kind;
		row.models.items = info->models.items;
		row.models.count = info->models.count;
		row.active = info->active;
		row.error = info->error;
	}
	row_add(gather, &row);
	gather_done(ctx, gather);
}

static void providers_row(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *asked_)
{
	struct asked *asked = asked_;
	struct gather *gather = asked->gather;
	const struct node_providers_reply *reply = result->body;

	(void)state;
	if (result->fail)
		row_add(gather,
			&(struct node_provider){
				.node = qmt_str(asked->name), .peer_id = qmt_str(asked->peer_id), .error = result->text});
	for (uint32_t i = 0; !result->fail && i < reply->providers.count; i++) {
		struct node_provider row = reply->providers.items[i];
		row.peer_id = qmt_str(asked->peer_id); /* what the link proved, not what the peer says */
		row_add(gather, &row);
	}
	gather_done(ctx, gather);
}

static void providers_peers(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *gather_)
{
	struct gather *gather = gather_;
	const struct peers_list_reply *list = result->body;

	for (uint32_t i = 0; !result->fail && i < list->peers.count; i++)
		if (qmt_str_is(list->peers.items[i].state, "connected"))
			ask_peer(ctx, state, gather, &list->peers.items[i], &node_providers_type,
				&(struct node_providers){.local_only = true}, providers_row);
	gather_done(ctx, gather);
}

void node_on_providers(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct node_manager *self = state;
	const struct node_providers *request = body;
	struct gather *gather = gather_new(ctx, self, body, &node_provider_record, providers_answer);

	if (!gather)
		return;
	for (size_t i = 0; self->config->providers && self->config->providers[i]; i++) {
		char name[160];
		struct qmt_ref provider;
		struct asked *asked = asked_new(gather, qmt_str(self->config->providers[i]), qmt_str(""));

		if (!asked)
			break;
		snprintf(name, sizeof name, "provider/%s", self->config->providers[i]);
		if (qmt_lookup(ctx, name, &provider) != 0)
			provider = (struct qmt_ref){0};
		qmt_ask_or(ctx, provider, &provider_info_type, &(struct provider_info){}, self->config->node_info_timeout_ms,
			providers_local, asked);
	}
	if (!request->local_only)
		(void)with_peers(ctx, gather, NODE_LOCAL_MS, providers_peers);
	gather_done(ctx, gather);
}

/* ---- metrics ----------------------------------------------------------------------------------------------------- */

static void metrics_answer(struct qmt_ctx *ctx, struct gather *gather, const void *items)
{
	node_metrics_reply(ctx, gather->op.token, items, gather->count);
}

static void metrics_error(struct gather *gather, const char *what, const char *name, const struct qmt_result *result)
{
	struct qmt_buf text = {0};

	qmt_buf_printf(&text, "%s%s: %.*s", what, name,
		QMT_STR_ARG(result->text.len ? result->text : qmt_str(qmt_fail_name(result->fail))));
	if (!text.failed)
		row_add(gather, &(struct metric){.label = qmt_buf_view(&text)});
	qmt_buf_free(&text);
}

/* What came without a label is of the one that was asked. */
static void metrics_rows(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *asked_)
{
	struct asked *asked = asked_;
	struct gather *gather = asked->gather;
	const struct metrics_values *values = result->body;

	(void)state;
	if (result->fail)
		metrics_error(gather, asked->what, asked->name, result);
	for (uint32_t i = 0; !result->fail && i < values->metrics.count; i++) {
		struct metric row = values->metrics.items[i];
		if (row.label.len == 0)
			row.label = qmt_str(asked->name);
		row_add(gather, &row);
	}
	gather_done(ctx, gather);
}

/* label: of what this source counts, if it is one of several. */
static void ask_metrics(struct qmt_ctx *ctx, const struct node_manager *self, struct gather *gather, const char *actor,
	const char *what, struct qmt_str label)
{
	struct qmt_ref ref;
	struct asked *asked = asked_new(gather, label, qmt_str(""));

	if (!asked)
		return;
	asked->what = what;
	if (qmt_lookup(ctx, actor, &ref) != 0)
		ref = (struct qmt_ref){0};
	qmt_ask_or(
		ctx, ref, &metrics_get_type, &(struct metrics_get){}, self->config->node_info_timeout_ms, metrics_rows, asked);
}

static void metrics_links(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *gather_)
{
	struct gather *gather = gather_;
	const struct peers_list_reply *list = result->body;

	if (result->fail)
		metrics_error(gather, "links", "", result);
	for (uint32_t i = 0; !result->fail && i < list->peers.count; i++) {
		const struct peers_info *peer = &list->peers.items[i];
		char link[80];

		if (!qmt_str_is(peer->state, "connected"))
			continue;
		snprintf(link, sizeof link, "peer/%.*s", QMT_STR_ARG(peer->peer_id));
		ask_metrics(ctx, state, gather, link, "link to ", peer->name);
	}
	gather_done(ctx, gather);
}

static void metrics_self(struct qmt_ctx *ctx, const struct node_manager *self, struct gather *gather)
{
	struct qmt_counters counters;

	qmt_system_counters(qmt_system_of(ctx), &counters);

	const struct metric rows[] = {
		METRIC_VALUE(node_uptime_ms, qmt_now_ms(ctx) - self->started_ms),
		METRIC_VALUE(deadlocks, counters.deadlocks),
		METRIC_VALUE(slow_handlers, counters.slow_handlers),
		METRIC_VALUE(sessions_in_memory, self->session_count),
		METRIC_VALUE(sessions_limited, self->sessions_limited),
		METRIC_VALUE(turns_begun, self->turns_begun),
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		row_add(gather, &rows[i]);
	for (size_t i = 0; i < NODE_OUTCOMES; i++) {
		struct metric row = METRIC_VALUE(turns_ended, self->turns_ended[i]);
		row.label = qmt_str(node_outcomes[i]);
		row_add(gather, &row);
	}
}

void node_on_metrics(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct node_manager *self = state;
	struct gather *gather = gather_new(ctx, self, body, &metric_record, metrics_answer);
	struct qmt_ref reader;

	if (!gather)
		return;
	metrics_self(ctx, self, gather);
	ask_metrics(ctx, self, gather, "store", "store", qmt_str(""));
	if (qmt_lookup(ctx, "store/reader", &reader) == 0) /* a store in memory has none */
		ask_metrics(ctx, self, gather, "store/reader", "store/reader", qmt_str(""));
	for (size_t i = 0; self->config->providers && self->config->providers[i]; i++) {
		char name[160];
		snprintf(name, sizeof name, "provider/%s", self->config->providers[i]);
		ask_metrics(ctx, self, gather, name, "provider/", qmt_str(self->config->providers[i]));
	}
	if (with_peers(ctx, gather, self->config->node_info_timeout_ms, metrics_links))
		ask_metrics(ctx, self, gather, "peers", "peers", qmt_str(""));
	gather_done(ctx, gather);
}
