/* runtime/fanout.c - see fanout.h.
 *
 * Who wants a message is decided once, when it is published, and noted at each subscriber; after that only the copy is
 * needed. What is held for GUARANTEED and TIMED is one message, however many wait for it: the actor is on hold
 * meanwhile.
 */
#include "fanout.h"
#include "port.h"

#include <errno.h>
#include <stdlib.h>

enum { DEFAULT_MAX = 1024, DEFAULT_RETRY_MS = 10, DEFAULT_PATIENCE_MS = 1000 };

struct subscriber {
	struct qmt_ref who;
	bool pending; /* is to get the message that is being delivered */
	uint32_t count;
	struct fanout_term *terms;
};

struct fanout {
	struct qmt_delivery_options options;
	fanout_wants *wants;
	struct subscriber *items;
	uint32_t count, capacity;
	uint64_t published, delivered, lost, dropped;
	/* GUARANTEED, TIMED: while somebody did not take it yet */
	struct qmt_msg *held;
	uint64_t held_until_ms; /* TIMED */
	const struct qmt_type *held_type;
	uint64_t held_trace;
	struct qmt_timer retry;
};

struct fanout *qmt__fanout_new(const struct qmt_delivery_options *options, fanout_wants *wants)
{
	struct fanout *f = calloc(1, sizeof *f);

	if (!f)
		return NULL;
	if (options)
		f->options = *options;
	if (!f->options.max_subscribers)
		f->options.max_subscribers = DEFAULT_MAX;
	if (!f->options.retry_ms)
		f->options.retry_ms = DEFAULT_RETRY_MS;
	if (!f->options.patience_ms)
		f->options.patience_ms = DEFAULT_PATIENCE_MS;
	f->wants = wants;
	return f;
}

static void subscriber_fini(struct subscriber *s)
{
	for (uint32_t i = 0; i < s->count; i++)
		free(s->terms[i].text);
	free(s->terms);
}

void qmt__fanout_free(struct qmt_ctx *ctx, struct fanout *f)
{
	if (!f)
		return;
	for (uint32_t i = 0; i < f->count; i++)
		subscriber_fini(&f->items[i]);
	free(f->items);
	qmt_msg_free(ctx, f->held);
	free(f);
}

static struct subscriber *find(struct fanout *f, struct qmt_ref who)
{
	for (uint32_t i = 0; i < f->count; i++)
		if (qmt_ref_eq(f->items[i].who, who))
			return &f->items[i];
	return NULL;
}

static struct fanout_term *find_term(struct subscriber *s, const void *filter, struct qmt_str text)
{
	for (uint32_t i = 0; i < s->count; i++)
		if (s->terms[i].filter == filter && qmt_str_is(text, s->terms[i].text))
			return &s->terms[i];
	return NULL;
}

static int add_term(struct subscriber *s, const void *filter, struct qmt_str text)
{
	struct fanout_term *terms;
	char *copy;

	if (s->count == QMT_DELIVERY_TERMS_MAX)
		return QMT_FAIL_FULL;
	terms = realloc(s->terms, (s->count + 1) * sizeof *terms);
	if (!terms)
		return -ENOMEM;
	s->terms = terms;
	copy = qmt_str_dup(text);
	if (!copy)
		return -ENOMEM;
	terms[s->count++] = (struct fanout_term){filter, copy};
	return 0;
}

int qmt__fanout_add(struct qmt_ctx *ctx, struct fanout *f, struct qmt_ref who, const void *filter, struct qmt_str text)
{
	struct subscriber *s = find(f, who), fresh = {.who = who};
	int failed;

	if (s)
		return find_term(s, filter, text) ? 0 : add_term(s, filter, text);
	/* Of itself it would wait for room that only its own turn can make. */
	if (!qmt_ref_is_set(who) || qmt_ref_eq(who, qmt_self(ctx)))
		return QMT_FAIL_BAD_REQUEST;
	if (f->count >= f->options.max_subscribers)
		return QMT_FAIL_FULL;
	if (f->count == f->capacity) {
		uint32_t capacity = f->capacity ? f->capacity * 2 : 8;
		struct subscriber *items = realloc(f->items, capacity * sizeof *items);

		if (!items)
			return -ENOMEM;
		f->items = items;
		f->capacity = capacity;
	}
	failed = add_term(&fresh, filter, text);
	if (!failed)
		failed = qmt_monitor(ctx, who);
	if (failed) {
		subscriber_fini(&fresh);
		return failed;
	}
	f->items[f->count++] = fresh;
	return 0;
}

static void forget(struct qmt_ctx *ctx, struct fanout *f, struct subscriber *s)
{
	qmt_demonitor(ctx, s->who);
	subscriber_fini(s);
	f->count--;
	memmove(s, s + 1, (size_t)(f->items + f->count - s) * sizeof *s); /* the order is a promise */
}

bool qmt__fanout_remove(
	struct qmt_ctx *ctx, struct fanout *f, struct qmt_ref who, const void *filter, struct qmt_str text)
{
	struct subscriber *s = find(f, who);
	struct fanout_term *term;

	if (!s)
		return false;
	if (!filter && !text.len) {
		forget(ctx, f, s);
		return true;
	}
	term = find_term(s, filter, text);
	if (!term)
		return false;
	if (s->count == 1) {
		forget(ctx, f, s);
		return true;
	}
	free(term->text);
	s->count--;
	memmove(term, term + 1, (size_t)(s->terms + s->count - term) * sizeof *term);
	return true;
}

/* ---- delivery ---------------------------------------------------------------------------------------------------- */

static bool offers_again(const struct fanout *f)
{
	return f->options.delivery == QMT_DELIVERY_GUARANTEED || f->options.delivery == QMT_DELIVERY_TIMED;
}

static uint32_t pending(const struct fanout *f)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < f->count; i++)
		count += f->items[i].pending;
	return count;
}

/* Offers it to all who are pending. Who stays so has not taken it and is to be asked again. */
static void offer(struct qmt_ctx *ctx, struct fanout *f, const struct qmt_type *type, const void *body)
{
	for (uint32_t i = 0; i < f->count;) {
		struct subscriber *s = &f->items[i];
		int failed = s->pending ? qmt_tell(ctx, s->who, type, body) : 0;
		bool full = failed < 0 || failed == QMT_FAIL_FULL || failed == QMT_FAIL_LINK_BUSY;

		if (!failed) {
			f->delivered += s->pending;
			s->pending = false;
		} else if (failed == QMT_FAIL_NOT_RUNNING) {
			forget(ctx, f, s);
			continue;
		} else if (!full || !offers_again(f)) {
			f->lost++;
			s->pending = false;
			if (full && f->options.delivery == QMT_DELIVERY_DROP_SLOW) {
				f->dropped++;
				forget(ctx, f, s);
				continue;
			}
		}
		i++;
	}
}

static void lose(struct fanout *f)
{
	f->lost += pending(f);
	for (uint32_t i = 0; i < f->count; i++)
		f->items[i].pending = false;
}

static void out_of_memory(struct qmt_ctx *ctx, struct fanout *f, const struct qmt_type *type)
{
	qmt_log(qmt_log_of(ctx), QMT_ERROR, "delivery.lost", "message", type->record.name, "copies",
		QMT_LOG_U64(pending(f)), "reason", "out of memory", NULL);
	lose(f);
}

static void release(struct qmt_ctx *ctx, struct fanout *f)
{
	qmt_timer_cancel(ctx, &f->retry);
	qmt_msg_free(ctx, f->held);
	f->held = NULL;
	qmt_hold(ctx, false);
}

static void again(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct fanout *f = arg;

	(void)state;
	f->retry = (struct qmt_timer){0};
	qmt_trace_set(ctx, f->held_trace);
	offer(ctx, f, f->held_type, qmt_msg_body(f->held));
	if (pending(f) && f->options.delivery == QMT_DELIVERY_TIMED && qmt_now_ms(ctx) >= f->held_until_ms)
		lose(f);
	else if (pending(f) && qmt_timer_start(ctx, f->options.retry_ms, again, f, &f->retry))
		out_of_memory(ctx, f, f->held_type);
	if (!pending(f))
		release(ctx, f);
}

void qmt__fanout_down(struct qmt_ctx *ctx, struct fanout *f, struct qmt_ref who)
{
	struct subscriber *s = find(f, who);

	if (s)
		forget(ctx, f, s);
	if (f->held && !pending(f))
		release(ctx, f);
}

/* Keeps a copy for those who did not take it, and the actor from taking more. */
static void hold(struct qmt_ctx *ctx, struct fanout *f, const struct qmt_type *type, const void *body)
{
	f->held = qmt_msg_new(ctx, type, qmt_record_extra(&type->record, body));
	if (!f->held || qmt_timer_start(ctx, f->options.retry_ms, again, f, &f->retry)) {
		qmt_msg_free(ctx, f->held);
		f->held = NULL;
		out_of_memory(ctx, f, type);
		return;
	}
	qmt_record_copy(&type->record, body, qmt_msg_body(f->held), qmt_msg_extra(f->held, type));
	f->held_type = type;
	f->held_trace = qmt_trace(ctx);
	f->held_until_ms = qmt_now_ms(ctx) + f->options.patience_ms;
	qmt_hold(ctx, true);
}

int qmt__fanout_publish(struct qmt_ctx *ctx, struct fanout *f, const struct fanout_what *what)
{
	if (f->held)
		return QMT_FAIL_FULL;
	f->published++;
	for (uint32_t i = 0; i < f->count; i++) {
		struct subscriber *s = &f->items[i];

		s->pending = false;
		for (uint32_t t = 0; t < s->count && !s->pending; t++)
			s->pending = f->wants(&s->terms[t], what);
	}
	offer(ctx, f, what->type, what->body);
	if (pending(f))
		hold(ctx, f, what->type, what->body);
	return 0;
}

struct fanout_counts qmt__fanout_counts(const struct fanout *f)
{
	return (struct fanout_counts){f->count, f->published, f->delivered, f->lost, f->dropped};
}
