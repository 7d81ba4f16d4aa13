/* runtime/broker.c - see broker.h.
 *
 * Matching goes level by level. A ** takes nothing at first; when a later level does not fit, the *last* ** takes one
 * more and matching goes on behind it. Earlier ones need no second look: what they could take, the last one can too.
 */
#include "broker.h"
#include "fanout.h"

#include <errno.h>

QMT_DEFINE_PROTOCOL(qmt_broker, QMT_BROKER_MESSAGES, "Subscribing to topics of a ready-made actor.")

/* ---- topics ------------------------------------------------------------------------------------------------------ */

/* Takes the first level off *rest and says whether there was one. An end is NULL, so that "a" and "a/" differ. */
static bool next_level(struct qmt_str *rest, struct qmt_str *ret_level)
{
	const char *slash;

	if (!rest->p)
		return false;
	slash = rest->len ? memchr(rest->p, '/', rest->len) : NULL;
	if (!slash) {
		*ret_level = *rest;
		*rest = (struct qmt_str){0};
		return true;
	}
	*ret_level = qmt_strn(rest->p, (size_t)(slash - rest->p));
	*rest = qmt_strn(slash + 1, rest->len - ret_level->len - 1);
	return true;
}

static bool is_valid(struct qmt_str text, bool is_pattern)
{
	struct qmt_str level;

	if (!text.len || text.len > QMT_DELIVERY_TEXT_MAX || memchr(text.p, '\0', text.len))
		return false;
	while (next_level(&text, &level)) {
		bool star = level.len && memchr(level.p, '*', level.len) != NULL;

		if (!level.len || (star && !(is_pattern && (qmt_str_is(level, "*") || qmt_str_is(level, "**")))))
			return false;
	}
	return true;
}

bool qmt_topic_is_valid(struct qmt_str topic)
{
	return is_valid(topic, false);
}

bool qmt_pattern_is_valid(struct qmt_str pattern)
{
	return is_valid(pattern, true);
}

bool qmt_topic_matches(struct qmt_str pattern, struct qmt_str topic)
{
	struct qmt_str behind = {0}, taken = {0}; /* the last **: the pattern behind it, the topic from where it stands */
	struct qmt_str want = {0}, have = {0};
	bool any = false, more;

	for (;;) {
		struct qmt_str pattern_now = pattern, topic_now = topic;

		more = next_level(&pattern_now, &want);
		if (more && qmt_str_is(want, "**")) {
			any = true;
			behind = pattern = pattern_now;
			taken = topic;
			continue;
		}
		if (!next_level(&topic_now, &have) && !more)
			return true;
		if (more && topic.p && (qmt_str_is(want, "*") || qmt_str_eq(want, have))) {
			pattern = pattern_now;
			topic = topic_now;
			continue;
		}
		if (!any || !next_level(&taken, &have))
			return false;
		pattern = behind;
		topic = taken;
	}
}

/* ---- the actor --------------------------------------------------------------------------------------------------- */

static bool wants(const struct fanout_term *term, const struct fanout_what *what)
{
	return qmt_topic_matches(qmt_str(term->text), what->topic);
}

int qmt_broker_on_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct qmt_broker *self = state;

	(void)ctx;
	self->fanout = qmt__fanout_new(config, wants);
	return self->fanout ? 0 : -ENOMEM;
}

void qmt_broker_on_stop(struct qmt_ctx *ctx, void *state)
{
	qmt__fanout_free(ctx, ((struct qmt_broker *)state)->fanout);
}

void qmt_broker_on_down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	(void)reason;
	qmt__fanout_down(ctx, ((struct qmt_broker *)state)->fanout, who);
}

static bool refuse_pattern(struct qmt_ctx *ctx, struct qmt_str pattern)
{
	if (qmt_pattern_is_valid(pattern))
		return false;
	qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0,
		"pattern \"%.*s\": wants levels with / between them, 1 to %d bytes, each a text without *, or *, or **",
		QMT_STR_ARG(pattern), QMT_DELIVERY_TEXT_MAX);
	return true;
}

static void on_subscribe(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_broker_subscribe *msg = body;
	struct qmt_ref who = qmt_ref_is_set(msg->who) ? msg->who : qmt_sender(ctx);
	int failed;

	if (refuse_pattern(ctx, msg->pattern))
		return;
	failed = qmt__fanout_add(ctx, ((struct qmt_broker *)state)->fanout, who, NULL, msg->pattern);
	if (failed)
		qmt_reply_fail(ctx, qmt_token(ctx), failed < 0 ? QMT_FAIL_FAILED : failed, NULL, 0, "not subscribed: %s",
			failed < 0 ? "out of memory" : qmt_fail_name(failed));
	else
		QMT_REPLY(ctx, qmt_token(ctx), qmt_broker_done, );
}

static void on_unsubscribe(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_broker_unsubscribe *msg = body;
	struct qmt_ref who = qmt_ref_is_set(msg->who) ? msg->who : qmt_sender(ctx);

	if (msg->pattern.len && refuse_pattern(ctx, msg->pattern))
		return;
	if (qmt__fanout_remove(ctx, ((struct qmt_broker *)state)->fanout, who, NULL, msg->pattern))
		QMT_REPLY(ctx, qmt_token(ctx), qmt_broker_done, );
	else
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NOT_FOUND, NULL, 0, "it was not subscribed so");
}

static void on_info(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_broker *self = state;
	const struct fanout_counts c = qmt__fanout_counts(self->fanout);

	(void)body;
	QMT_REPLY(ctx, qmt_token(ctx), qmt_broker_counts, c.subscribers, c.published, c.delivered, c.lost, c.dropped,
		self->refused);
}

qmt_handler *const qmt_broker_handlers[qmt_broker_message_count] = {
	[qmt_broker_subscribe_id] = on_subscribe,
	[qmt_broker_unsubscribe_id] = on_unsubscribe,
	[qmt_broker_info_id] = on_info,
};

int qmt_broker_publish(
	struct qmt_ctx *ctx, void *state, struct qmt_str topic, const struct qmt_type *type, const void *body)
{
	struct qmt_broker *self = state;

	if (!qmt_topic_is_valid(topic)) {
		self->refused++;
		QMT_LOG(ctx, QMT_DEBUG, "broker.refused", "message", type->record.name, "reason", "not a topic");
		return QMT_FAIL_BAD_REQUEST;
	}
	return qmt__fanout_publish(ctx, self->fanout, &(struct fanout_what){topic, type, body});
}

void qmt_broker_pass(
	struct qmt_ctx *ctx, void *state, struct qmt_str topic, const struct qmt_type *type, const void *body)
{
	if (qmt_token(ctx).ask)
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0, "%s is published by a tell: many get it",
			type->record.name);
	else
		(void)qmt_broker_publish(ctx, state, topic, type, body);
}
