/* transports/link_metrics.c - what a link has counted, and what is under way on it. "peers" keeps what ended links had
 * counted (peers_metrics.c). */
#include "transports/link_internal.h"

QMT_DEFINE_RECORD(link_counts, LINK_COUNTS, "What a link has counted.")

static void on_get(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link *link = state;
	const struct metric rows[] = {
		METRIC_VALUE(link_messages_in, link->counts.messages_in),
		METRIC_VALUE(link_messages_out, link->counts.messages_out),
		METRIC_VALUE(link_bytes_in, link->counts.bytes_in),
		METRIC_VALUE(link_bytes_out, link->counts.bytes_out),
		METRIC_VALUE(link_refused, link->counts.refused),
		METRIC_VALUE(link_limited, link->counts.limited),
		METRIC_VALUE(link_asks_in, link->asks_in_count),
		METRIC_VALUE(link_asks_out, link->asks_out_count),
	};

	(void)body;
	(void)QMT_REPLY(ctx, qmt_token(ctx), metrics_values, .metrics = {rows, sizeof(rows) / sizeof(*rows)});
}

qmt_handler *const link_metrics_handlers[metrics_message_count] = {[metrics_get_id] = on_get};
