/* runtime/broker.h - a ready-made actor that hands messages to subscribers by topic, with patterns.
 *
 * A topic is levels with "/" between them: "lab/bench 2/temperature". A level is not empty and has no "*"; a topic has
 * 1 to QMT_DELIVERY_TEXT_MAX bytes. A pattern is the same, and a level of it may be
 *     *     exactly one level, whatever it says
 *     **    any number of levels, none too
 * ("a/ **" without the space takes "a", "a/b", "a/b/c"; "**" takes every topic.) Anything else with a "*" is refused.
 *
 * The message itself is the module's own; it has a text field that says the topic:
 *
 *     QMT_BROKER_PUBLISH(lab_value, topic)                 // lab_value_publish, a handler; topic: the field
 *     static qmt_handler *const values[lab_message_count] = {[lab_value_id] = lab_value_publish};
 *     static const struct qmt_actor_desc broker = QMT_BROKER_DESC("values", &lab_protocol, values, .bound = 1000);
 *
 * Subscribing, delivery, publishing, ends: as in pubsub.h, with a pattern instead of a filter. config of the spawn is a
 * struct qmt_delivery_options, or NULL. A message comes once, however many patterns of a subscriber fit. A tell with a
 * topic that is none is dropped, counted (`refused`) and logged at debug level.
 * Threads, blocks: an actor.   Limits: struct qmt_delivery_options.
 */
#ifndef QMT_BROKER_H
#define QMT_BROKER_H

#include "delivery.h"

#ifdef __cplusplus
extern "C" {
#endif

#define QMT_BROKER_SUBSCRIBE(F, T)                                    \
	F(T, REF, who, 1, "Who is to get messages; unset: whoever asks.") \
	F(T, STR, pattern, 2, "Which topics.")
#define QMT_BROKER_UNSUBSCRIBE(F, T)               \
	F(T, REF, who, 1, "Who; unset: whoever asks.") \
	F(T, STR, pattern, 2, "As it subscribed; empty: all of its patterns.")
#define QMT_BROKER_COUNTS(F, T) \
	QMT_DELIVERY_COUNTS(F, T)   \
	F(T, U64, refused, 6, "Messages whose topic was none.")
#define QMT_BROKER_MESSAGES(M)                                                                                    \
	M(qmt_broker, subscribe, QMT_BROKER_SUBSCRIBE, "stream", "Subscribes. Fails with FULL or BAD_REQUEST.", done) \
	M(qmt_broker, unsubscribe, QMT_BROKER_UNSUBSCRIBE, "stream", "Ends that; NOT_FOUND: there was none.", done)   \
	M(qmt_broker, info, QMT_NO_FIELDS, "stream", "Asks for the counts.", counts)                                  \
	M(qmt_broker, done, QMT_NO_FIELDS, "reply", "It is so.")                                                      \
	M(qmt_broker, counts, QMT_BROKER_COUNTS, "reply", "Answer to info.")

#pragma GCC visibility push(default)
QMT_DECLARE_PROTOCOL(qmt_broker, QMT_BROKER_MESSAGES)
#pragma GCC visibility pop

/* The matcher, for whoever wants it alone. Time: at most levels of the topic x levels of the pattern. */
QMT_EXPORT bool qmt_topic_is_valid(struct qmt_str topic);
QMT_EXPORT bool qmt_pattern_is_valid(struct qmt_str pattern);
/* Both must be valid. */
QMT_EXPORT bool qmt_topic_matches(struct qmt_str pattern, struct qmt_str topic);

struct qmt_broker { /* the state; fields are broker.c's */
	struct fanout *fanout;
	uint64_t refused;
};

/* For handlers that publish something else than what they got. Returns 0; QMT_FAIL_BAD_REQUEST: not a topic (counted);
 * QMT_FAIL_FULL as qmt_pubsub_publish. */
QMT_EXPORT int qmt_broker_publish(
	struct qmt_ctx *ctx, void *state, struct qmt_str topic, const struct qmt_type *type, const void *body);
/* The body of QMT_BROKER_PUBLISH. */
QMT_EXPORT void qmt_broker_pass(
	struct qmt_ctx *ctx, void *state, struct qmt_str topic, const struct qmt_type *type, const void *body);

#define QMT_BROKER_PUBLISH(msg, field)                                                     \
	static void msg##_publish(struct qmt_ctx *ctx, void *state, const void *body)          \
	{                                                                                      \
		qmt_broker_pass(ctx, state, ((const struct msg *)body)->field, &msg##_type, body); \
	}

/* More: other fields of the descriptor. */
#define QMT_BROKER_DESC(name_, protocol_, handlers_, ...)                                                             \
	{                                                                                                                 \
		.abi = QMT_ABI, .name = name_, .doc = "Hands messages to subscribers by topic.",                              \
		.state_size = sizeof(struct qmt_broker), .start = qmt_broker_on_start, .stop = qmt_broker_on_stop,            \
		.down = qmt_broker_on_down, .accepts = {{&qmt_broker_protocol, qmt_broker_handlers}, {protocol_, handlers_}}, \
		__VA_ARGS__                                                                                                   \
	}

/* What the descriptor is made of. */
#pragma GCC visibility push(default)
extern qmt_handler *const qmt_broker_handlers[];
int qmt_broker_on_start(struct qmt_ctx *ctx, void *state, const void *config);
void qmt_broker_on_stop(struct qmt_ctx *ctx, void *state);
void qmt_broker_on_down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason);
#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
