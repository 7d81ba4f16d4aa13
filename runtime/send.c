/* runtime/send.c - tell, forward, keep; what happens at a bound; what becomes of messages that cannot be delivered.
 *
 * Backpressure (QMT_BLOCK). A send over the bound is taken, and the *sending actor* is muted at the end of its handler:
 * it handles nothing but what may end it until the target is half empty. A muted actor's mailbox word says idle as
 * anybody's, so its system lane is seen. Two rules keep a cycle of full mailboxes from standing still for ever:
 *   1. an actor that is itself over its bound is not muted;
 *   2. an actor for which others wait is not muted. Checked again after it has queued itself as a waiter: in a
 *      cycle that closes, the last one to queue itself sees the one before it.
 * Replies and the system lane pass every bound. Links and outside threads are not muted but refused: they answer for
 * others. The bound of a link is for what goes out through it: what it says to other links and what its socket's owner
 * tells it is how it gets empty again, and is bounded otherwise.
 */
#include "send.h"

#include <errno.h>

/* Bytes of a body up to which qmt_tell_all copies it for each: then a message is one line either way. Above, one body
 * with envelopes is faster: docs/performance.md. */
enum { SHARE_ABOVE = 32 };

/* The protocol is not the first one that the actor accepts. */
COLD int qmt__accept_type_more(const struct qmt_actor_desc *desc, const struct qmt_type *type)
{
	for (unsigned slot = 1; slot < QMT_ACCEPTS_MAX; slot++)
		if (desc->accepts[slot].protocol == type->protocol)
			return desc->accepts[slot].handlers[type->index] ? (int)(slot << TYPE_SLOT_SHIFT | type->index) : -1;
	return -1;
}

/* ---- tell -------------------------------------------------------------------------------------------------------- */

static int tell_copy(
	struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body, uint32_t how);

/* Not simply to an actor that runs here: to nobody, behind a link, or with a trace. */
static COLD int tell_otherwise(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body)
{
	if (!to.actor)
		return QMT_FAIL_NOT_RUNNING;
	if (to.rid)
		return qmt__outgoing_tell(ctx, to, type, body, NULL, 0);
	return ctx->trace ? tell_copy(ctx, to, type, body, 0) : QMT_FAIL_NOT_RUNNING;
}

int qmt_tell(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body)
{
	const struct qmt_actor_desc *desc;
	struct qmt_msg *m;
	int accepted, failed;

	if (unlikely(!to.actor || ctx->trace))
		return tell_otherwise(ctx, to, type, body);
	failed = check_target(to, type, &desc, &accepted);
	if (unlikely(failed))
		return to.rid ? tell_otherwise(ctx, to, type, body) : failed;
	m = msg_copy(ctx, &type->record, body);
	if (unlikely(!m))
		return -ENOMEM;
	m->type = (uint16_t)accepted;
	m->to_gen = to.gen;
	msg_stamp(ctx, m);
	failed = deliver(ctx, to.actor, desc, m);
	if (unlikely(failed))
		msg_free(ctx, m);
	return failed;
}

/* ---- tells with more to say -------------------------------------------------------------------------------------- */

/* Those who came to be muted by this send are not. */
static void undo_full(struct qmt_ctx *ctx, uint32_t ctl_before, struct qmt_actor *full, uint32_t full_gen)
{
	if (ctl_before & CTL_FULL) {
		ctx->full = full;
		ctx->full_gen = full_gen;
	} else {
		ctx->ctl &= ~(uint32_t)CTL_FULL;
	}
}

/* Whether a send now would make the sender wait. */
static bool would_wait(struct qmt_actor *a, const struct qmt_actor_desc *desc, bool to_peer)
{
	return desc->bound && desc->overflow == QMT_BLOCK && (to_peer || !desc->outgoing) &&
		mailbox_depth(a) >= desc->bound;
}

/* Takes m on success only. m->flags: MSG_PREFIXED or 0. */
static int send_with(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, struct qmt_msg *m,
	uint32_t how)
{
	struct qmt_actor *const full = ctx->full;
	const uint32_t full_gen = ctx->full_gen, ctl = ctx->ctl;
	const uint8_t prefixed = m->flags & MSG_PREFIXED;
	const struct qmt_actor_desc *desc;
	int accepted, failed;

	if (!to.actor)
		return QMT_FAIL_NOT_RUNNING;
	if (to.rid) {
		/* The link is looked at here and again when it is queued to: if it has ended, that says so. */
		if (how & QMT_SEND_TRY && would_wait(to.actor, atomic_load_explicit(&to.actor->desc, ACQUIRE), true))
			return actor_gen(to.actor) == to.gen ? QMT_FAIL_FULL : QMT_FAIL_PEER_GONE;
		failed = qmt__outgoing_tell(ctx, to, type, msg_body(m), m,
			prefixed ? ((struct prefix *)(void *)m->body)->deadline_ns : 0);
		if (how & QMT_SEND_TRY)
			undo_full(ctx, ctl, full, full_gen);
		return failed;
	}
	failed = check_target(to, type, &desc, &accepted);
	if (failed)
		return failed;
	if (how & QMT_SEND_TRY && would_wait(to.actor, desc, false))
		return QMT_FAIL_FULL;
	m->type = (uint16_t)accepted;
	m->to_gen = to.gen;
	msg_stamp(ctx, m);
	m->flags |= prefixed;
	if (how & QMT_SEND_URGENT)
		m->flags |= MSG_URGENT;
	if (desc->bound && mailbox_depth(to.actor) >= desc->bound) {
		enum admission admission = qmt__over_bound(ctx, to.actor, desc, m);

		if (how & QMT_SEND_TRY)
			undo_full(ctx, ctl, full, full_gen);
		if (admission == DROPPED)
			return 0;
		failed = admission == ADMITTED ? 0 : QMT_FAIL_FULL;
	}
	if (!failed) {
		switch (mailbox_push_with(to.actor, m, how & QMT_SEND_URGENT ? WORD_SYS : 0)) {
		case PUSH_WAKES:
			schedule(ctx, to.actor);
			return 0;
		case PUSH_QUEUED:
			return 0;
		case PUSH_CLOSED:
			failed = QMT_FAIL_NOT_RUNNING;
			break;
		default:
			failed = QMT_FAIL_FULL;
		}
	}
	m->flags = prefixed;
	return failed;
}

int qmt_send_msg_with(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, struct qmt_msg **msg,
	uint32_t how)
{
	int failed;

	if (how & ~(uint32_t)(QMT_SEND_URGENT | QMT_SEND_TRY))
		return QMT_FAIL_BAD_REQUEST;
	if ((*msg)->flags & MSG_PREFIXED)
		((struct prefix *)(void *)(*msg)->body)->deadline_ns = 0; /* that of an earlier way */
	failed = send_with(ctx, to, type, *msg, how);
	if (!failed)
		msg_given(ctx, msg);
	return failed;
}

int qmt_send_msg(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, struct qmt_msg **msg)
{
	const struct qmt_actor_desc *desc;
	struct qmt_msg *m = *msg;
	int accepted, failed;

	if (unlikely(!to.actor || to.rid || m->flags & MSG_PREFIXED))
		return qmt_send_msg_with(ctx, to, type, msg, 0);
	failed = check_target(to, type, &desc, &accepted);
	if (failed)
		return failed;
	m->type = (uint16_t)accepted;
	m->to_gen = to.gen;
	msg_stamp(ctx, m);
	failed = deliver(ctx, to.actor, desc, m);
	if (!failed)
		msg_given(ctx, msg);
	return failed;
}

static int tell_copy(
	struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body, uint32_t how)
{
	struct qmt_msg *m;
	int failed;

	if (!to.actor)
		return QMT_FAIL_NOT_RUNNING;
	m = ctx->trace ? qmt__msg_copy_prefixed(ctx, &type->record, body, 0) : msg_copy(ctx, &type->record, body);
	if (!m)
		return -ENOMEM;
	if (!ctx->trace)
		m->flags = 0;
	failed = send_with(ctx, to, type, m, how);
	if (failed)
		msg_free(ctx, m);
	return failed;
}

int qmt_tell_urgent(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body)
{
	return tell_copy(ctx, to, type, body, QMT_SEND_URGENT);
}

int qmt_try_tell(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body)
{
	return tell_copy(ctx, to, type, body, QMT_SEND_TRY);
}

int qmt_tell_within(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body,
	uint64_t within_ms)
{
	struct qmt_msg *m;
	int failed;

	if (!to.actor)
		return QMT_FAIL_NOT_RUNNING;
	if (!within_ms)
		return QMT_FAIL_DEADLINE;
	if (within_ms > UINT32_MAX)
		within_ms = UINT32_MAX;
	m = qmt__msg_copy_prefixed(ctx, &type->record, body, now_ns(ctx) + within_ms * NS_PER_MS);
	if (!m)
		return -ENOMEM;
	failed = send_with(ctx, to, type, m, 0);
	if (failed)
		msg_free(ctx, m);
	return failed;
}

static int tell_envelope(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, struct qmt_msg *envelope)
{
	int failed = send_with(ctx, to, type, envelope, 0);

	if (failed)
		msg_free(ctx, envelope); /* gives its reference back */
	return failed;
}

uint32_t qmt_tell_all(struct qmt_ctx *ctx, const struct qmt_ref *to, uint32_t count, const struct qmt_type *type,
	const void *body, int *ret_outcomes)
{
	size_t bytes = type->record.size + qmt_record_extra(&type->record, body);
	struct qmt_msg *shared = NULL;
	uint32_t failures = 0, left = count;

	/* One reference is ours until the end; without memory for all at once each may still have a copy. */
	if (count > 1 && count < UINT32_MAX && bytes > SHARE_ABOVE)
		shared = qmt__shared_new(ctx, &type->record, body, count + 1);
	for (uint32_t i = 0; i < count; i++) {
		struct qmt_msg *envelope = shared && to[i].actor && !to[i].rid ? qmt__envelope_new(ctx, shared) : NULL;
		int failed;

		if (envelope) {
			left--;
			failed = tell_envelope(ctx, to[i], type, envelope);
		} else {
			failed = qmt_tell(ctx, to[i], type, body);
		}
		if (failed)
			failures++;
		if (ret_outcomes)
			ret_outcomes[i] = failed;
	}
	if (shared)
		qmt__shared_unref(ctx, shared, left + 1);
	return failures;
}

/* ---- the message being handled ----------------------------------------------------------------------------------- */

static const struct qmt_type *type_of(const struct qmt_actor_desc *desc, const struct qmt_msg *m)
{
	return desc->accepts[m->type >> TYPE_SLOT_SHIFT].protocol->types[m->type & TYPE_INDEX_MASK];
}

int qmt_forward(struct qmt_ctx *ctx, struct qmt_ref to)
{
	const struct qmt_actor_desc *desc;
	const struct qmt_type *type;
	struct qmt_msg *m = ctx->cur_msg;
	int accepted, failed;

	if (!m || (ctx->ctl & CTL_KEPT) || (m->flags & MSG_SPECIAL))
		return QMT_FAIL_BAD_REQUEST;
	if (!to.actor)
		return QMT_FAIL_NOT_RUNNING;
	type = type_of(actor_desc(ctx->cur), m);
	if (to.rid) {
		failed = qmt__outgoing_forward(ctx, to, type, m);
	} else {
		struct qmt_msg before = *m;

		failed = check_target(to, type, &desc, &accepted);
		if (failed)
			return failed;
		m->type = (uint16_t)accepted;
		m->to_gen = to.gen;
		m->flags &= (uint8_t)~MSG_URGENT; /* it goes on in the normal lane */
		failed = deliver(ctx, to.actor, desc, m);
		if (failed) {
			m->type = before.type;
			m->to_gen = before.to_gen;
			m->flags = before.flags;
		}
	}
	if (!failed) {
		SHOW_HOT(ctx->cur_msg, NULL);
		ctx->ctl |= CTL_KEPT;
	}
	return failed;
}

struct qmt_msg *qmt_keep(struct qmt_ctx *ctx)
{
	if (!ctx->cur_msg || (ctx->ctl & CTL_KEPT))
		return NULL;
	ctx->ctl |= CTL_KEPT;
	return ctx->cur_msg;
}

void qmt_msg_free(struct qmt_ctx *ctx, struct qmt_msg *msg)
{
	if (!msg)
		return;
	if (msg == ctx->cur_msg)
		SHOW_HOT(ctx->cur_msg, NULL); /* it was kept: qmt_fail of the same handler must not look at it any more */
	msg_free(ctx, msg);
}

struct qmt_ref qmt_sender(struct qmt_ctx *ctx)
{
	const struct qmt_msg *m = ctx->cur_msg;

	if (!m)
		return (struct qmt_ref){0};
	if (m->flags & MSG_FROM)
		return (struct qmt_ref){m->from, m->src_gen, 0};
	if ((m->flags & (MSG_ASK | MSG_OUTSIDE)) == MSG_ASK)
		return qmt__ask_owner(m->ask, m->src_gen);
	return (struct qmt_ref){0};
}

/* ---- bounds ------------------------------------------------------------------------------------------------------ */

COLD enum admission qmt__over_bound(struct qmt_ctx *ctx, struct qmt_actor *a, const struct qmt_actor_desc *desc,
	struct qmt_msg *m)
{
	struct qmt_actor *self = ctx->cur;

	switch (desc->overflow) {
	case QMT_BLOCK:
		if (desc->outgoing && !(m->flags & MSG_INTERNAL))
			return ADMITTED;
		if (!self || (self->flags & ACTOR_OUTSIDE) || actor_desc(self)->outgoing)
			return REFUSED;
		if (self != a) {
			ctx->full = a;
			ctx->full_gen = m->to_gen;
			ctx->ctl |= CTL_FULL;
		}
		return ADMITTED;
	case QMT_DROP_OLD:
		return ADMITTED; /* its own turn drops */
	case QMT_DROP_NEW:
		if (m->flags & MSG_ASK)
			return REFUSED; /* somebody waits for an answer */
		msg_free(ctx, m);
		count_one(&ctx->sys->counters.dropped);
		return DROPPED;
	default:
		return REFUSED;
	}
}

/* Lets all who wait for room in `a` go on. closed: NULL, or WAITERS_CLOSED. */
void qmt__waiters_release(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *closed)
{
	struct qmt_msg *waiter = atomic_load_explicit(&a->waiters, ACQUIRE);

	do {
		if (waiter == closed || waiter == WAITERS_CLOSED)
			return;
	} while (!atomic_compare_exchange_weak(&a->waiters, &waiter, closed));
	while (waiter) {
		struct qmt_msg *next = waiter->next;

		if (actor_gen(waiter->from) == waiter->src_gen)
			notify_pending(ctx, waiter->from, PENDING_UNMUTE);
		msg_free(ctx, waiter);
		waiter = next;
	}
}

/* On the turn of `a`. */
void qmt__unmute(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct actor_ext *ext = actor_ext(a);

	standing_clear(a, CTL_MUTED);
	ctx->ctl &= ~(uint32_t)CTL_MUTED;
	if (ext)
		qmt__wait_end(ext, WAIT_ROOM);
}

/* The turn of `a` has overfilled ctx->full. */
void qmt__mute(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct qmt_actor *full = ctx->full;
	uint32_t bound = actor_desc(a)->bound;
	struct qmt_msg *waiter, *first;
	struct actor_ext *ext;

	ctx->ctl &= ~(uint32_t)CTL_FULL;
	if (a->standing & CTL_MUTED || atomic_load(&a->waiters) || (bound && mailbox_depth(a) >= bound))
		return;
	waiter = msg_alloc(ctx, 0);
	if (!waiter)
		return;
	waiter->flags = 0;
	waiter->from = a;
	waiter->src_gen = actor_gen(a);
	ext = qmt__actor_need_ext(a);
	if (ext) /* else it waits unseen */
		qmt__wait_begin(ctx, ext, WAIT_ROOM, (struct qmt_ref){full, ctx->full_gen, 0});
	standing_set(a, CTL_MUTED);
	ctx->ctl |= CTL_MUTED;
	first = atomic_load_explicit(&full->waiters, RELAXED);
	do {
		if (first == WAITERS_CLOSED) {
			msg_free(ctx, waiter);
			qmt__unmute(ctx, a);
			return;
		}
		waiter->next = first;
		/* seq_cst: pairs with look_for_waiters, and with the load of our own waiters by rule 2 */
	} while (!atomic_compare_exchange_weak(&full->waiters, &first, waiter));
	if (atomic_load(&a->waiters) || actor_gen(full) != ctx->full_gen)
		qmt__unmute(ctx, a); /* rule 2, or the target has ended; the note left behind is a look for nothing later on */
	else if (mailbox_depth(full) <= actor_desc(full)->bound / 2)
		qmt__waiters_release(ctx, full, NULL);
	else
		qmt__wait_look(ctx, a, full);
}

/* ---- the system lane --------------------------------------------------------------------------------------------- */

int qmt__system_push(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	struct qmt_msg *newest = atomic_load_explicit(&a->system, ACQUIRE); /* closed: pairs with qmt__bury */

	do {
		if (newest == SYSTEM_CLOSED)
			return QMT_FAIL_NOT_RUNNING;
		m->next = newest;
	} while (!atomic_compare_exchange_weak_explicit(&a->system, &newest, m, ACQ_REL, ACQUIRE));
	notify(ctx, a);
	return 0;
}

/* ---- messages that cannot be delivered --------------------------------------------------------------------------- */

/* Sends a tell back to who sent it, if its kind wants to know. Takes m. */
static void bounce(struct qmt_ctx *ctx, const struct qmt_type *type, struct qmt_msg *m, int reason)
{
	struct qmt_actor *from = m->from;
	struct qmt_msg *back = NULL;
	struct bounce *body;

	if (atomic_load_explicit(&from->desc, ACQUIRE)->undelivered && actor_gen(from) == m->src_gen)
		back = msg_alloc(ctx, sizeof *body);
	if (!back) {
		msg_free(ctx, m);
		return;
	}
	body = (struct bounce *)(void *)back->body;
	*body = (struct bounce){.type = type, .message = m, .reason = reason};
	back->flags = MSG_INTERNAL;
	back->type = INTERNAL_BOUNCE;
	back->class |= MSG_CLASS_CARE;
	back->to_gen = m->src_gen;
	switch (mailbox_push(from, back)) {
	case PUSH_WAKES:
		schedule(ctx, from);
		break;
	case PUSH_QUEUED:
		break;
	default:
		msg_free(ctx, back);
	}
}

/* m was accepted and cannot be handled. desc: of the receiver it was meant for; NULL: unknown. Takes m. */
void qmt__undeliver(struct qmt_ctx *ctx, const struct qmt_actor_desc *desc, struct qmt_msg *m, int reason)
{
	if (reason == QMT_FAIL_FULL)
		count_one(&ctx->sys->counters.dropped);
	else if (!(m->flags & (MSG_ASK | MSG_REPLY)) && !(m->flags & MSG_INTERNAL && m->type != INTERNAL_OUTGOING))
		count_one(&ctx->sys->counters.dead_letters);
	if (m->flags & MSG_ASK)
		qmt__ask_fail(ctx, (struct qmt_token){m->ask, m->src_gen}, reason);
	else if (m->flags & MSG_INTERNAL && m->type == INTERNAL_OUTGOING) {
		const struct qmt_outgoing *out = &((struct outgoing_box *)(void *)m->body)->out;

		if (out->from.actor) {
			m->from = out->from.actor;
			m->src_gen = out->from.gen;
			bounce(ctx, out->type, m, reason);
			return;
		}
	} else if (m->flags & MSG_FROM && !(m->flags & MSG_SPECIAL) && desc) {
		bounce(ctx, type_of(desc, m), m, reason);
		return;
	}
	msg_free(ctx, m);
}

/* On the sender's turn. */
void qmt__bounced(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	const struct bounce *bounced = (const struct bounce *)(const void *)m->body;
	const void *body = msg_body(bounced->message);
	uint64_t before = trace_begin(ctx, msg_trace(bounced->message));

	if (bounced->message->flags & MSG_INTERNAL)
		body = ((const struct outgoing_box *)body)->out.body;
	if (actor_desc(a)->undelivered)
		actor_desc(a)->undelivered(ctx, actor_state(a), bounced->type, body, bounced->reason);
	trace_end(ctx, before);
}
