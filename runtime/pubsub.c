/* runtime/pubsub.c - see pubsub.h. Filters are named, because a function cannot come from another node. */
#include "pubsub.h"
#include "fanout.h"

#include <errno.h>

QMT_DEFINE_PROTOCOL(qmt_pubsub, QMT_PUBSUB_MESSAGES, "Subscribing to what a ready-made actor publishes.")

static bool wants(const struct fanout_term *term, const struct fanout_what *what)
{
	const struct qmt_pubsub_filter *filter = term->filter;

	return !filter || filter->wants(what->type, what->body, term->text);
}

int qmt_pubsub_on_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct qmt_pubsub *self = state;

	(void)ctx;
	self->config = config;
	self->fanout = qmt__fanout_new(self->config ? &self->config->delivery : NULL, wants);
	return self->fanout ? 0 : -ENOMEM;
}

void qmt_pubsub_on_stop(struct qmt_ctx *ctx, void *state)
{
	struct qmt_pubsub *self = state;

	qmt__fanout_free(ctx, self->fanout);
}

void qmt_pubsub_on_down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	struct qmt_pubsub *self = state;

	(void)reason;
	qmt__fanout_down(ctx, self->fanout, who);
}

/* True: there is such a filter (NULL for "no filter"). Else the ask is refused. */
static bool find_filter(struct qmt_ctx *ctx, const struct qmt_pubsub *self, struct qmt_str name, struct qmt_str arg,
	const struct qmt_pubsub_filter **ret_filter)
{
	const struct qmt_pubsub_filter *filter = self->config ? self->config->filters : NULL;

	if (arg.len > QMT_DELIVERY_TEXT_MAX) {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_TOO_LARGE, NULL, 0, "arg: %u bytes (%d at most)", arg.len,
			QMT_DELIVERY_TEXT_MAX);
		return false;
	}
	if (!name.len && arg.len) {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0, "arg without a filter");
		return false;
	}
	while (name.len && filter && filter->name && !qmt_str_is(name, filter->name))
		filter++;
	if (name.len && (!filter || !filter->name)) {
		qmt_reply_fail(
			ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0, "no filter is called %.*s", QMT_STR_ARG(name));
		return false;
	}
	*ret_filter = name.len ? filter : NULL;
	return true;
}

static void on_subscribe(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct qmt_pubsub *self = state;
	const struct qmt_pubsub_subscribe *msg = body;
	struct qmt_ref who = qmt_ref_is_set(msg->who) ? msg->who : qmt_sender(ctx);
	const struct qmt_pubsub_filter *filter;
	int failed;

	if (!find_filter(ctx, self, msg->filter, msg->arg, &filter))
		return;
	failed = qmt__fanout_add(ctx, self->fanout, who, filter, msg->arg);
	if (failed)
		qmt_reply_fail(ctx, qmt_token(ctx), failed < 0 ? QMT_FAIL_FAILED : failed, NULL, 0, "not subscribed: %s",
			failed < 0 ? "out of memory" : qmt_fail_name(failed));
	else
		QMT_REPLY(ctx, qmt_token(ctx), qmt_pubsub_done, );
}

static void on_unsubscribe(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct qmt_pubsub *self = state;
	const struct qmt_pubsub_unsubscribe *msg = body;
	struct qmt_ref who = qmt_ref_is_set(msg->who) ? msg->who : qmt_sender(ctx);
	const struct qmt_pubsub_filter *filter;

	if (!find_filter(ctx, self, msg->filter, msg->arg, &filter))
		return;
	if (qmt__fanout_remove(ctx, self->fanout, who, filter, msg->arg))
		QMT_REPLY(ctx, qmt_token(ctx), qmt_pubsub_done, );
	else
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NOT_FOUND, NULL, 0, "it was not subscribed so");
}

static void on_info(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct fanout_counts c = qmt__fanout_counts(((struct qmt_pubsub *)state)->fanout);

	(void)body;
	QMT_REPLY(ctx, qmt_token(ctx), qmt_pubsub_counts, c.subscribers, c.published, c.delivered, c.lost, c.dropped);
}

qmt_handler *const qmt_pubsub_handlers[qmt_pubsub_message_count] = {
	[qmt_pubsub_subscribe_id] = on_subscribe,
	[qmt_pubsub_unsubscribe_id] = on_unsubscribe,
	[qmt_pubsub_info_id] = on_info,
};

int qmt_pubsub_publish(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body)
{
	return qmt__fanout_publish(
		ctx, ((struct qmt_pubsub *)state)->fanout, &(struct fanout_what){.type = type, .body = body});
}

void qmt_pubsub_pass(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body)
{
	if (qmt_token(ctx).ask)
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0, "%s is published by a tell: many get it",
			type->record.name);
	else
		(void)qmt_pubsub_publish(ctx, state, type, body); /* never full here: on hold no message is taken */
}
