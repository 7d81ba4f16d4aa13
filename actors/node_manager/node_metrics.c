/* actors/node_manager/node_metrics.c - what the sessions of a node did, counted; and the answer to node.metrics put in
 * order. Who else counts is asked in node_gather.c. */
#include "actors/node_manager/node_internal.h"

/* ---- sessions come and go, so their parent counts ---------------------------------------------------------------- */

const char *const node_outcomes[NODE_OUTCOMES] = {"complete", "cancelled", "failed", "limit", "interrupted"};

static void on_turn_began(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct node_manager *self = state;

	(void)ctx;
	(void)body;
	self->turns_begun++;
}

static void on_turn_ended(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct node_manager *self = state;
	const struct session_turn_ended *msg = body;

	(void)ctx;
	for (size_t i = 0; i < NODE_OUTCOMES; i++)
		self->turns_ended[i] += qmt_str_is(msg->outcome, node_outcomes[i]);
}

qmt_handler *const node_session_handlers[session_message_count] = {
	[session_turn_began_id] = on_turn_began,
	[session_turn_ended_id] = on_turn_ended,
};

/* ---- the answer -------------------------------------------------------------------------------------------------- */

struct sorted {
	uint32_t id;
	const struct metric *row;
};

static int compare(const void *a_, const void *b_)
{
	const struct sorted *a = a_, *b = b_;
	uint32_t shorter = a->row->label.len < b->row->label.len ? a->row->label.len : b->row->label.len;
	int labels;

	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	labels = shorter ? memcmp(a->row->label.p, b->row->label.p, shorter) : 0;
	return labels ? labels : (a->row->label.len > b->row->label.len) - (a->row->label.len < b->row->label.len);
}

static uint32_t id_of(struct qmt_str name)
{
	uint32_t id = 0;

	while (id < METRIC_COUNT && !qmt_str_is(name, metric_rows[id].name))
		id++;
	return id;
}

void node_metrics_reply(struct qmt_ctx *ctx, struct qmt_token token, const struct metric *rows, uint32_t count)
{
	struct sorted *sorted = calloc((size_t)count + 1, sizeof *sorted);
	struct metric *metrics = calloc((size_t)count + 1, sizeof *metrics);
	struct qmt_str *errors = calloc((size_t)count + 1, sizeof *errors);
	uint32_t known = 0, metric_count = 0, error_count = 0;

	if (!sorted || !metrics || !errors) {
		(void)qmt_reply_fail(ctx, token, QMT_FAIL_FAILED, NULL, 0, "out of memory");
		count = 0;
		token = (struct qmt_token){0};
	}
	for (uint32_t i = 0; i < count; i++) {
		if (rows[i].name.len == 0)
			errors[error_count++] = rows[i].label;
		else if ((sorted[known].id = id_of(rows[i].name)) < METRIC_COUNT)
			sorted[known++].row = &rows[i];
	}
	if (known)
		qsort(sorted, known, sizeof *sorted, compare);
	for (uint32_t i = 0; i < known; i++) {
		if (i > 0 && compare(&sorted[i - 1], &sorted[i]) == 0)
			metrics[metric_count - 1].value += sorted[i].row->value;
		else
			metrics[metric_count++] = *sorted[i].row;
	}
	(void)QMT_REPLY(
		ctx, token, node_metrics_reply, .metrics = {metrics, metric_count}, .errors = {errors, error_count});
	free(sorted);
	free(metrics);
	free(errors);
}
