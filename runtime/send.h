/* runtime/send.h - the path of a message from a send to a mailbox, for tell, ask and the link's in-bound half.
 *
 * Threads: any.   Blocks: never.   Order: FIFO per sender and receiver.
 */
#ifndef QMT_RUNTIME_SEND_H
#define QMT_RUNTIME_SEND_H

#include "scheduler.h"
#include "slab.h"
#include "trace.h"

struct qmt_msg *qmt__msg_copy_deep(struct qmt_ctx *ctx, const struct qmt_record *record, const void *body);

/* A message with MSG_PREFIXED, that counts until deadline_ns (0: always) and carries ctx->trace. NULL: out of
 * memory. */
struct qmt_msg *qmt__msg_copy_prefixed(struct qmt_ctx *ctx, const struct qmt_record *record, const void *body,
	uint64_t deadline_ns);
/* A body for many envelopes, with `refs` references; an envelope takes over one of them and carries ctx->trace. NULL:
 * out of memory. */
struct qmt_msg *qmt__shared_new(struct qmt_ctx *ctx, const struct qmt_record *record, const void *body, uint32_t refs);
struct qmt_msg *qmt__envelope_new(struct qmt_ctx *ctx, struct qmt_msg *shared);

/* Where the struct of a request is. */
static inline void *msg_body(struct qmt_msg *m)
{
	struct prefix *prefix = (struct prefix *)(void *)m->body;

	if (likely(!(m->flags & MSG_PREFIXED)))
		return m->body;
	return prefix->shared ? ((struct shared *)(void *)prefix->shared->body)->body : m->body + sizeof *prefix;
}

int qmt__accept_type_more(const struct qmt_actor_desc *desc, const struct qmt_type *type);

enum admission { ADMITTED, REFUSED, DROPPED /* and freed */ };
enum admission qmt__over_bound(struct qmt_ctx *ctx, struct qmt_actor *a, const struct qmt_actor_desc *desc,
	struct qmt_msg *m);

/* Accept slot and index of a message for an actor of this kind; -1: it is not understood. */
static HOT int accept_type(const struct qmt_actor_desc *desc, const struct qmt_type *type)
{
	/* the first protocol almost always is it */
	if (unlikely(desc->accepts[0].protocol != type->protocol))
		return qmt__accept_type_more(desc, type);
	return likely(desc->accepts[0].handlers[type->index] != NULL) ? type->index : -1;
}

/* Whether the set ref means that incarnation, and no actor behind a link: one comparison for both halves. */
static HOT bool ref_is_here(struct qmt_ref to)
{
	const struct {
		uint32_t gen, rid;
	} here = {actor_gen(to.actor), 0};
	uint64_t wanted, found;

	_Static_assert(offsetof(struct qmt_ref, rid) == offsetof(struct qmt_ref, gen) + sizeof here.gen, "side by side");
	memcpy(&wanted, &to.gen, sizeof wanted);
	memcpy(&found, &here, sizeof found);
	return wanted == found;
}

/* Whether `to` (of this process) runs and understands `type`. Sets *ret_desc and *ret_type; 0 or why not: NOT_RUNNING
 * also for one behind a link.
 * The description is read before the generation: a description of another tenant shows as another generation. */
static HOT int check_target(struct qmt_ref to, const struct qmt_type *type, const struct qmt_actor_desc **ret_desc,
	int *ret_type)
{
	const struct qmt_actor_desc *desc = atomic_load_explicit(&to.actor->desc, ACQUIRE);
	int accepted;

	if (unlikely(!ref_is_here(to)))
		return QMT_FAIL_NOT_RUNNING;
	accepted = accept_type(desc, type);
	if (unlikely(accepted < 0))
		return QMT_FAIL_UNKNOWN_MESSAGE;
	*ret_desc = desc;
	*ret_type = accepted;
	return 0;
}

/* A message with a copy of *body. NULL: out of memory. */
static HOT struct qmt_msg *msg_copy(struct qmt_ctx *ctx, const struct qmt_record *record, const void *body)
{
	size_t size = record->size;
	struct qmt_msg *m;

	if (unlikely(!record->flat))
		return qmt__msg_copy_deep(ctx, record, body);
	m = msg_alloc(ctx, size);
	if (unlikely(!m))
		return NULL;
	if (likely(size == 8))
		memcpy(m->body, body, 8);
	else if (size)
		memcpy(m->body, body, size);
	return m;
}

/* Marks who sends. Nobody, from outside. */
static HOT void msg_stamp(const struct qmt_ctx *ctx, struct qmt_msg *m)
{
	struct qmt_actor *self = ctx->cur;

	m->flags = self ? MSG_FROM : 0;
	if (likely(self != NULL)) {
		m->from = self;
		m->src_gen = actor_gen(self);
	}
}

/* Queues m. Takes it on success only. Returns 0, QMT_FAIL_NOT_RUNNING or QMT_FAIL_FULL. *ret_wakes, else untouched: the
 * caller must schedule the actor. */
static HOT int enqueue(struct qmt_ctx *ctx, struct qmt_actor *a, const struct qmt_actor_desc *desc, struct qmt_msg *m,
	bool *ret_wakes)
{
	if (unlikely(desc->bound) && unlikely(mailbox_depth(a) >= desc->bound)) {
		enum admission admission = qmt__over_bound(ctx, a, desc, m);

		if (admission != ADMITTED)
			return admission == DROPPED ? 0 : QMT_FAIL_FULL;
	}
	switch (mailbox_push(a, m)) {
	case PUSH_WAKES:
		*ret_wakes = true;
		return 0;
	case PUSH_QUEUED:
		return 0;
	case PUSH_CLOSED:
		return QMT_FAIL_NOT_RUNNING;
	default:
		return QMT_FAIL_FULL;
	}
}

/* The same, and schedules. */
static HOT int deliver(struct qmt_ctx *ctx, struct qmt_actor *a, const struct qmt_actor_desc *desc, struct qmt_msg *m)
{
	bool wakes = false;
	int failed = enqueue(ctx, a, desc, m, &wakes);

	if (wakes)
		schedule(ctx, a);
	return failed;
}

/* *msg was given away. If it is the one that is being handled (and was kept), the rest of the handler has none: its
 * block is somebody else's by now. */
static HOT void msg_given(struct qmt_ctx *ctx, struct qmt_msg **msg)
{
	if (unlikely(*msg == ctx->cur_msg))
		SHOW_HOT(ctx->cur_msg, NULL);
	*msg = NULL;
}

#endif
