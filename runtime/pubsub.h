/* runtime/pubsub.h - a ready-made actor that hands what it is told to all who have subscribed, each with its filters.
 *
 *     QMT_PUBSUB_PUBLISH(chat_line)                        // a handler: chat_line_publish
 *     static qmt_handler *const lines[chat_message_count] = {[chat_line_id] = chat_line_publish};
 *     static const struct qmt_actor_desc room = QMT_PUBSUB_DESC("room", &chat_protocol, lines, .bound = 1000);
 *     qmt_spawn(ctx, &room, &(struct qmt_spawn){.name = "room", .config = &config}, &ref, &err);
 *
 * Subscribing:  an ask with qmt_pubsub_subscribe. From another node too, to whom the ref of the actor was given
 *               (operation "stream"); `who` may live anywhere. Several filters of one subscriber: any of them; a
 *               message comes once. No filter: everything.
 * Delivery:     see delivery.h. The copies come from this actor (qmt_sender), in the order in which it took them.
 * Publishing:   a tell. An ask is refused: QMT_FAIL_BAD_REQUEST.
 * Ends:         a subscriber that ends, or whose link does, is forgotten. A restart of this actor forgets all.
 * Threads, blocks: an actor.   Limits: struct qmt_delivery_options.
 */
#ifndef QMT_PUBSUB_H
#define QMT_PUBSUB_H

#include "delivery.h"

#ifdef __cplusplus
extern "C" {
#endif

#define QMT_PUBSUB_SUBSCRIBE(F, T)                                    \
	F(T, REF, who, 1, "Who is to get messages; unset: whoever asks.") \
	F(T, STR, filter, 2, "Name of a filter; empty: every message.")   \
	F(T, STR, arg, 3, "What the filter is called with.")
#define QMT_PUBSUB_UNSUBSCRIBE(F, T)                                     \
	F(T, REF, who, 1, "Who; unset: whoever asks.")                       \
	F(T, STR, filter, 2, "As it subscribed; empty: all of its filters.") \
	F(T, STR, arg, 3, "As it subscribed.")
#define QMT_PUBSUB_MESSAGES(M)                                                                                    \
	M(qmt_pubsub, subscribe, QMT_PUBSUB_SUBSCRIBE, "stream", "Subscribes. Fails with FULL or BAD_REQUEST.", done) \
	M(qmt_pubsub, unsubscribe, QMT_PUBSUB_UNSUBSCRIBE, "stream", "Ends that; NOT_FOUND: there was none.", done)   \
	M(qmt_pubsub, info, QMT_NO_FIELDS, "stream", "Asks for the counts.", counts)                                  \
	M(qmt_pubsub, done, QMT_NO_FIELDS, "reply", "It is so.")                                                      \
	M(qmt_pubsub, counts, QMT_DELIVERY_COUNTS, "reply", "Answer to info.")

#pragma GCC visibility push(default)
QMT_DECLARE_PROTOCOL(qmt_pubsub, QMT_PUBSUB_MESSAGES)
#pragma GCC visibility pop

/* Whether a subscriber wants this message. arg: its text, "" when there is none. On the actor's turn; no effects. */
typedef bool qmt_pubsub_filter_fn(const struct qmt_type *type, const void *body, const char *arg);
struct qmt_pubsub_filter {
	const char *name;
	qmt_pubsub_filter_fn *wants;
};

/* qmt_spawn.config; may be NULL: no filters, all defaults. */
struct qmt_pubsub_config {
	const struct qmt_pubsub_filter *filters; /* closed by name == NULL; may be NULL */
	struct qmt_delivery_options delivery;
};

struct qmt_pubsub { /* the state; fields are pubsub.c's */
	const struct qmt_pubsub_config *config;
	struct fanout *fanout;
};

/* For handlers that publish something else than what they got. Returns 0, or QMT_FAIL_FULL: an earlier message is still
 * being offered (GUARANTEED, and not called from a handler of a message). */
QMT_EXPORT int qmt_pubsub_publish(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body);
/* The body of QMT_PUBSUB_PUBLISH. */
QMT_EXPORT void qmt_pubsub_pass(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body);

#define QMT_PUBSUB_PUBLISH(msg)                                                   \
	static void msg##_publish(struct qmt_ctx *ctx, void *state, const void *body) \
	{                                                                             \
		qmt_pubsub_pass(ctx, state, &msg##_type, body);                           \
	}

/* More: other fields of the descriptor. */
#define QMT_PUBSUB_DESC(name_, protocol_, handlers_, ...)                                                             \
	{                                                                                                                 \
		.abi = QMT_ABI, .name = name_, .doc = "Hands messages to subscribers.",                                       \
		.state_size = sizeof(struct qmt_pubsub), .start = qmt_pubsub_on_start, .stop = qmt_pubsub_on_stop,            \
		.down = qmt_pubsub_on_down, .accepts = {{&qmt_pubsub_protocol, qmt_pubsub_handlers}, {protocol_, handlers_}}, \
		__VA_ARGS__                                                                                                   \
	}

/* What the descriptor is made of. */
#pragma GCC visibility push(default)
extern qmt_handler *const qmt_pubsub_handlers[];
int qmt_pubsub_on_start(struct qmt_ctx *ctx, void *state, const void *config);
void qmt_pubsub_on_stop(struct qmt_ctx *ctx, void *state);
void qmt_pubsub_on_down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason);
#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
