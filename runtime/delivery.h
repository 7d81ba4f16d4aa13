/* runtime/delivery.h - how pubsub.h and broker.h hand a message to many: one enum of strategies for both.
 *
 * A delivery is a tell from the publishing actor to each subscriber that wants the message, in the order in which they
 * subscribed; subscribers are refs and may live behind a link. No strategy starts an actor or a thread for it.
 * A subscriber is a weak ref: when it ends (for a ref behind a link: or the link does) it is forgotten.
 * A subscriber whose overflow policy is QMT_BLOCK takes every tell; over its bound the publishing actor waits, whatever
 * the strategy is. Where that is not wanted, give the subscriber another policy.
 */
#ifndef QMT_DELIVERY_H
#define QMT_DELIVERY_H

#include "actor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What becomes of a message that a subscriber does not take (its mailbox, or the link to it, is full; memory is out).
 *   GUARANTEED   It is offered again every retry_ms until it is taken, or the subscriber ends. Meanwhile the publishing
 *                actor takes no other message, so order is kept and publishers feel it at its bound. A slow subscriber
 *                slows all. Guaranteed is the mailbox or the link, not that it is handled.
 *   TIMED        As GUARANTEED, for patience_ms; then lost to that subscriber, and counted. So for a slow subscriber
 *                the others wait that long for each message, and no longer.
 *   BEST_EFFORT  Lost to that subscriber, and counted.
 *   DROP_SLOW    As BEST_EFFORT, and the subscriber is forgotten. */
enum qmt_delivery {
	QMT_DELIVERY_GUARANTEED,
	QMT_DELIVERY_BEST_EFFORT,
	QMT_DELIVERY_DROP_SLOW,
	QMT_DELIVERY_TIMED,
};

/* Zero fields mean the defaults in []. */
struct qmt_delivery_options {
	enum qmt_delivery delivery; /* [QMT_DELIVERY_GUARANTEED] */
	uint32_t max_subscribers;   /* [1024]; more are refused: QMT_FAIL_FULL */
	uint32_t retry_ms;          /* [10] GUARANTEED and TIMED only */
	uint32_t patience_ms;       /* [1000] TIMED only */
};

enum {
	QMT_DELIVERY_TERMS_MAX = 64, /* filters, or patterns, of one subscriber */
	QMT_DELIVERY_TEXT_MAX = 256, /* bytes of a topic, a pattern or the argument of a filter */
};

/* What both tell about themselves. */
#define QMT_DELIVERY_COUNTS(F, T)                                                   \
	F(T, U64, subscribers, 1, "Actors that are subscribed.")                        \
	F(T, U64, published, 2, "Messages that were published.")                        \
	F(T, U64, delivered, 3, "Copies that were taken.")                              \
	F(T, U64, lost, 4, "Copies that were not: full, not understood, or no memory.") \
	F(T, U64, dropped, 5, "Subscribers forgotten for being slow (DROP_SLOW).")

#ifdef __cplusplus
}
#endif

#endif
