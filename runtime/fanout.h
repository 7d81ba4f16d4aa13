/* runtime/fanout.h - the set of subscribers that pubsub.c and broker.c share. Not installed.
 *
 * Threads: a value of one actor; its turn.   Blocks: never.   Order: subscribers are served as they were added.
 * Limit:   options.max_subscribers, QMT_DELIVERY_TERMS_MAX terms each, QMT_DELIVERY_TEXT_MAX bytes of text.
 * Invariant: each subscriber is monitored once; a message is held only while somebody is offered it again.
 */
#ifndef QMT_FANOUT_H
#define QMT_FANOUT_H

#include "delivery.h"

struct fanout;

/* One reason why a subscriber may want a message: a filter with its argument, or a pattern. */
struct fanout_term {
	const void *filter;
	char *text;
};
struct fanout_what {
	struct qmt_str topic;
	const struct qmt_type *type;
	const void *body;
};
typedef bool fanout_wants(const struct fanout_term *term, const struct fanout_what *what);

struct fanout_counts {
	uint64_t subscribers, published, delivered, lost, dropped;
};

/* options may be NULL. NULL: out of memory. */
struct fanout *qmt__fanout_new(const struct qmt_delivery_options *options, fanout_wants *wants);
void qmt__fanout_free(struct qmt_ctx *ctx, struct fanout *fanout); /* NULL is fine */
/* The same term twice is one. Returns 0; QMT_FAIL_FULL (a limit), QMT_FAIL_BAD_REQUEST (nobody, or the actor itself);
 * <0 out of memory: as if it had not been called. */
QMT_MUST_CHECK int qmt__fanout_add(
	struct qmt_ctx *ctx, struct fanout *fanout, struct qmt_ref who, const void *filter, struct qmt_str text);
/* Takes terms out; with the last one goes the subscriber. filter NULL and an empty text: all. Returns whether any. */
bool qmt__fanout_remove(
	struct qmt_ctx *ctx, struct fanout *fanout, struct qmt_ref who, const void *filter, struct qmt_str text);
void qmt__fanout_down(struct qmt_ctx *ctx, struct fanout *fanout, struct qmt_ref who);
/* Returns 0, or QMT_FAIL_FULL: an earlier one is still being offered (only outside of a handler of a message). */
int qmt__fanout_publish(struct qmt_ctx *ctx, struct fanout *fanout, const struct fanout_what *what);
struct fanout_counts qmt__fanout_counts(const struct fanout *fanout);

#endif
