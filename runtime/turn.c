/* runtime/turn.c - one turn of an actor: lanes, messages, what the turn asked for, and how it ends.
 *
 *      +--> attend: lanes (if SYS), end, mute, urgent lane --- standing? --> set aside what came, go idle
 *      |       |
 *      |       v
 *      |    messages, up to TURN_MESSAGES; after each: did it ask for something? --+
 *      |       | none left: flush, again, go idle                                  |
 *      +-------+--------------------------------------------------------------------+
 *
 * The urgent lane. Urgent messages come with SYS (mailbox.h). attend, which clears it, takes what the word holds and
 * sorts the urgent ones out of it into ext->urgent; they are handled there. After URGENT_MESSAGES of them in a row a
 * normal message has its turn, if one waits and may go; the count stands in the actor, so turns that break off do
 * not start it again. An actor that is down keeps what comes in `local`, in order, and sorts when it runs again
 * (`mixed`); what was sorted out before waits in ext->urgent.
 *
 * A turn loads the mailbox word first of all: that acquire pairs with the release of the last runner. It owns the actor
 * until the word says idle, until it hands it to a queue, or until it has pushed it to its parent as a zombie;
 * afterwards it must not be touched.
 */
#include "send.h"

enum attention { GO_ON, GONE, LAST };

/* A bounded mailbox lets its senders go on when it is half empty. */
static COLD void release_waiters(struct qmt_ctx *ctx, struct qmt_actor *a, uint32_t bound)
{
	if (mailbox_depth(a) <= bound / 2)
		qmt__waiters_release(ctx, a, NULL);
}

/* Publishes how many messages are dealt with. Waiters are looked for without a barrier here: at the latest
 * look_for_waiters sees them. */
static HOT void publish_done(struct qmt_ctx *ctx, struct qmt_actor *a, uint32_t handled)
{
	uint32_t bound = actor_desc(a)->bound;

	atomic_store_explicit(&a->done, atomic_load_explicit(&a->done, RELAXED) + handled, RELAXED);
	if (unlikely(bound) && unlikely(atomic_load_explicit(&a->waiters, RELAXED) != NULL))
		release_waiters(ctx, a, bound);
}

/* After the turn has given the actor up by a seq_cst operation on its word. Load after store: pairs with qmt__mute,
 * which queues itself and then looks at word and depth; one of the two sees the other. The actor may run elsewhere by
 * now, or its block may be another's: a look for nothing, as blocks are type-stable. */
static HOT void look_for_waiters(struct qmt_ctx *ctx, struct qmt_actor *a, uint32_t bound)
{
	if (unlikely(bound) && unlikely(atomic_load(&a->waiters) != NULL))
		release_waiters(ctx, a, bound);
}

/* QMT_DROP_OLD: more wait than the bound allows; the oldest go. */
static COLD struct qmt_msg *drop_old(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m, uint32_t *handled)
{
	const struct qmt_actor_desc *desc = actor_desc(a);

	while (m && mailbox_depth(a) - *handled > desc->bound) {
		struct qmt_msg *next = m->next;

		if (m->flags & MSG_REPLY)
			break;
		qmt__undeliver(ctx, desc, m, QMT_FAIL_FULL);
		m = next;
		++*handled;
	}
	return m;
}

/* What may have a deadline: requests with a prefix, and what goes out through a link. */
static COLD void handle_timed(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	const struct qmt_actor_desc *desc = actor_desc(a);
	struct outgoing_box *box = m->flags & MSG_PREFIXED ? NULL : (struct outgoing_box *)(void *)m->body;
	uint64_t deadline_ns = box ? box->deadline_ns : ((struct prefix *)(void *)m->body)->deadline_ns, before;

	if (deadline_ns && now_ns(ctx) >= deadline_ns) {
		ctx->ctl |= CTL_KEPT;
		qmt__undeliver(ctx, desc, m, QMT_FAIL_DEADLINE);
		return;
	}
	SHOW_HOT(ctx->cur_type, box ? CUR_OUTGOING : m->type);
	before = trace_begin(ctx, box ? box->out.trace : msg_trace(m));
	if (box)
		desc->outgoing(ctx, actor_state(a), &box->out);
	else
		desc->accepts[m->type >> TYPE_SLOT_SHIFT].handlers[m->type & TYPE_INDEX_MASK](ctx, actor_state(a),
			msg_body(m));
	trace_end(ctx, before);
}

/* Messages other than plain ones for this incarnation. */
static COLD void handle_special(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	if (m->flags & MSG_REPLY) {
		SHOW_HOT(ctx->cur_type, CUR_REPLY);
		qmt__ask_answered(ctx, a, m);
		return;
	}
	if (m->to_gen != actor_gen(a)) {
		/* Meant for an earlier tenant of this block; what it was is not known any more. */
		ctx->ctl |= CTL_KEPT;
		qmt__undeliver(ctx, NULL, m, QMT_FAIL_NOT_RUNNING);
		return;
	}
	if (m->flags & MSG_PREFIXED || m->type == INTERNAL_OUTGOING)
		handle_timed(ctx, a, m);
	else {
		SHOW_HOT(ctx->cur_type, CUR_OTHER);
		qmt__bounced(ctx, a, m);
	}
}

/* ---- lanes ------------------------------------------------------------------------------------------------------- */

static void handle_system(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	switch (m->type) {
	case INTERNAL_STOP:
		if (m->to_gen == actor_gen(a)) {
			struct qmt_actor *parent = atomic_load_explicit(&a->parent, RELAXED);

			/* By the parent: for good. By another: as if by itself. */
			if (m->from == parent && parent && m->src_gen == actor_gen(parent))
				a->flags |= ACTOR_FINAL;
			a->flags &= (uint8_t)~ACTOR_CYCLE; /* its own end counts, not that it would have been restarted */
			ctx->ctl |= CTL_STOP;
		}
		msg_free(ctx, m);
		break;
	case INTERNAL_ADOPT: {
		struct qmt_actor *child = m->from;

		qmt__link_child(a, child);
		if (a->status != STATUS_RUN && a->status != STATUS_NEW)
			notify_pending(ctx, child, PENDING_END);
		schedule_last(ctx, child);
		msg_free(ctx, m);
		break;
	}
	case INTERNAL_MONITOR:
	case INTERNAL_DEMONITOR:
	case INTERNAL_DOWN:
		qmt__monitor_message(ctx, a, m);
		break;
	case INTERNAL_KILL:
		if (m->to_gen == actor_gen(a)) {
			a->flags |= ACTOR_FINAL | ACTOR_KILLED;
			ctx->ctl |= CTL_STOP;
		}
		msg_free(ctx, m);
		break;
	case INTERNAL_LINK:
	case INTERNAL_UNLINK:
	case INTERNAL_LINK_DIED:
		qmt__link_message(ctx, a, m);
		break;
	case INTERNAL_AWAIT_START:
	case INTERNAL_AWAIT_END:
		qmt__await_message(ctx, a, m);
		break;
	case INTERNAL_SUSPECT:
		qmt__suspect_message(ctx, a, m);
		break;
	case INTERNAL_FD:
		qmt__fd_event(ctx, a, m);
		break;
	case INTERNAL_JOB:
		qmt__job_done(ctx, a, m);
		break;
	default:
		qmt__invariant_broken(ctx, "known system message", __FILE__, __LINE__);
	}
	trace_over(ctx);
}

/* A muted actor only sees what may end it; the rest would make it send more. */
static bool waits_for_unmute(const struct qmt_msg *m)
{
	return m->type == INTERNAL_DOWN || m->type == INTERNAL_FD || m->type == INTERNAL_JOB;
}

static void defer(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	struct actor_ext *ext = actor_ext(a); /* has one: it monitors, watches or has jobs */
	struct qmt_msg **last;

	QMT__INVARIANT(ctx, ext != NULL);
	m->next = NULL;
	for (last = &ext->deferred; *last; last = &(*last)->next)
		;
	*last = m;
}

static void system_lane(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct qmt_msg *m = NULL, *newest = NULL;
	struct actor_ext *ext = actor_ext(a);

	if (ext && ext->deferred && !(ctx->ctl & CTL_MUTED)) {
		m = ext->deferred;
		ext->deferred = NULL;
		while (m) {
			struct qmt_msg *next = m->next;

			handle_system(ctx, a, m);
			m = next;
		}
	}
	if (!atomic_load_explicit(&a->system, RELAXED))
		return;
	newest = atomic_exchange_explicit(&a->system, NULL, ACQUIRE); /* pairs with the release in qmt__system_push */
	while (newest) {
		struct qmt_msg *older = newest->next;

		newest->next = m;
		m = newest;
		newest = older;
	}
	while (m) {
		struct qmt_msg *next = m->next;

		if (unlikely(ctx->ctl & CTL_MUTED) && waits_for_unmute(m))
			defer(ctx, a, m);
		else
			handle_system(ctx, a, m);
		m = next;
	}
}

static void lanes(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	uint32_t pending = 0;

	if (atomic_load_explicit(&a->pending, RELAXED))
		pending = atomic_exchange_explicit(&a->pending, 0, ACQUIRE); /* pairs with notify_pending */
	if (pending & PENDING_END) {
		a->flags |= ACTOR_FINAL;
		ctx->ctl |= CTL_STOP;
	}
	if (pending & (PENDING_CYCLE | PENDING_GO | PENDING_STARTED))
		qmt__cycle_pending(ctx, a, pending);
	if ((pending & PENDING_UNMUTE) && (a->standing & CTL_MUTED))
		qmt__unmute(ctx, a);
	if (atomic_load_explicit(&a->zombies, RELAXED))
		qmt__reap(ctx, a);
	if (ctx->ctl & CTL_NEW && !(ctx->ctl & (CTL_STOP | CTL_FAIL)))
		qmt__start_incarnation(ctx, a);
	trace_over(ctx);
	system_lane(ctx, a);
	if (pending & PENDING_TIMER)
		a->timer_at = 0;
	if (ctx->ctl & (CTL_STOP | CTL_FAIL | CTL_DOWN))
		return;
	if (ctx->ctl & CTL_MUTED) {
		atomic_fetch_or_explicit(&a->pending, pending & (PENDING_TIMER | PENDING_AGAIN), RELAXED);
		return;
	}
	if (pending & PENDING_TIMER)
		qmt__timers_due(ctx, a);
	if ((pending & PENDING_AGAIN) && actor_desc(a)->again && !(ctx->ctl & (CTL_STOP | CTL_FAIL)))
		actor_desc(a)->again(ctx, actor_state(a));
	trace_over(ctx);
}

/* ---- the urgent lane --------------------------------------------------------------------------------------------- */

/* Sorts urgent messages and the awaited answer out of a list, if the actor may handle such now. Returns the rest; sets
 * *ret_last to its end, if there is a rest. */
static struct qmt_msg *sort_out(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m, struct qmt_msg **ret_last)
{
	struct qmt_msg *rest = NULL, **end = &rest;

	while (m) {
		struct qmt_msg *next = m->next;
		struct actor_ext *ext;

		if (m->flags & MSG_URGENT && a->status != STATUS_RUN) {
			a->mixed = 1;
		} else if (m->flags & MSG_URGENT && (ext = qmt__actor_need_ext(a)) != NULL) {
			if (ext->urgent)
				ext->urgent_last->next = m;
			else
				ext->urgent = m;
			ext->urgent_last = m;
			m->next = NULL;
			m = next;
			continue;
		} else if (ctx->ctl & CTL_EXCLUSIVE && m->flags & MSG_REPLY && qmt__exclusive_is_answered(a, m) &&
			!actor_ext(a)->exclusive_reply) {
			actor_ext(a)->exclusive_reply = m;
			m = next;
			continue;
		}
		*end = m;
		end = &m->next;
		*ret_last = m;
		m = next;
	}
	*end = NULL;
	return rest;
}

void qmt__urgent_to_local(struct qmt_actor *a)
{
	struct actor_ext *ext = actor_ext(a);

	if (!ext || !ext->urgent)
		return;
	ext->urgent_last->next = a->local;
	if (!a->local)
		a->local_last = ext->urgent_last;
	a->local = ext->urgent;
	ext->urgent = NULL;
	a->mixed = 1;
}

static void handle_urgent(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	SHOW_HOT(ctx->cur_msg, m);
	SHOW_HOT(ctx->cur_type, m->type);
	if (m->to_gen == actor_gen(a) && !(m->flags & MSG_SLOW))
		actor_desc(a)->accepts[m->type >> TYPE_SLOT_SHIFT].handlers[m->type & TYPE_INDEX_MASK](ctx, actor_state(a),
			m->body);
	else
		handle_special(ctx, a, m);
	trace_over(ctx);
	SHOW_HOT(ctx->cur_msg, NULL);
	if (ctx->ctl & CTL_KEPT)
		ctx->ctl &= ~(uint32_t)CTL_KEPT;
	else
		msg_free(ctx, m);
}

/* What may not go on now. A hold is for the normal lane only. */
enum { URGENT_BREAK = CTL_BREAK & ~(CTL_HOLD | CTL_EXCLUSIVE) };

/* Handles the urgent lane as far as its turn goes. */
static COLD void urgent_lane(struct qmt_ctx *ctx, struct qmt_actor *a, struct actor_ext *ext)
{
	uint64_t normal = atomic_load_explicit(&a->done, RELAXED) - ext->urgent_done;
	uint32_t left = URGENT_MESSAGES, handled = 0;

	if (normal != ext->urgent_mark) {
		ext->urgent_mark = normal;
		ext->urgent_run = 0;
	}
	while (ext->urgent && left-- && !(ctx->ctl & URGENT_BREAK)) {
		struct qmt_msg *m = ext->urgent;

		if (ext->urgent_run >= URGENT_MESSAGES && a->local && !(ctx->ctl & (CTL_HOLD | CTL_EXCLUSIVE)))
			break;
		ext->urgent = m->next;
		handle_urgent(ctx, a, m);
		ext->urgent_run++;
		ext->urgent_done++;
		handled++;
	}
	if (handled)
		publish_done(ctx, a, handled);
}

/* ---- what stands ------------------------------------------------------------------------------------------------- */

/* Appends what is new to `local`, so that the word may say idle although messages wait: the walk of a later take cannot
 * cross an idle word. Asks to an actor that is down are answered at once. Returns the word. */
COLD uint64_t qmt__set_aside(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	uint64_t top = atomic_load_explicit(&a->top, ACQUIRE); /* pairs with the release of senders */
	uint32_t count = mailbox_new(a, top), handled = 0;
	struct qmt_msg *last = a->local_last, *m;

	if (count) {
		m = mailbox_take(a, top, count); /* sets local_last */
		if (ctx->sim)
			qmt__sim_taken(ctx->sim, m);
		if (a->status != STATUS_RUN)
			m = qmt__bounce_asks(ctx, a, m, &handled);
		m = sort_out(ctx, a, m, &a->local_last);
		if (!m)
			a->local_last = last;
		else if (a->local)
			last->next = m;
		else
			a->local = m;
	}
	if (actor_desc(a)->overflow == QMT_DROP_OLD && actor_desc(a)->bound) {
		struct actor_ext *ext = actor_ext(a);

		a->local = drop_old(ctx, a, a->local, &handled);
		if (ext && ext->urgent) { /* when no normal ones are left */
			uint32_t before = handled;

			if (!a->local)
				ext->urgent = drop_old(ctx, a, ext->urgent, &handled);
			ext->urgent_done += handled - before;
		}
	}
	if (handled)
		publish_done(ctx, a, handled);
	return top;
}

static COLD void call_flush(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	ctx->ctl &= ~(uint32_t)CTL_FLUSH;
	if (actor_desc(a)->flush)
		actor_desc(a)->flush(ctx, actor_state(a));
	trace_over(ctx);
}

/* Marks that the turn goes on later, for its `again` hook. We own the actor: nobody schedules it for this. */
static COLD void mark_again(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	ctx->ctl &= ~(uint32_t)CTL_AGAIN;
	atomic_fetch_or_explicit(&a->pending, PENDING_AGAIN, RELAXED);
	atomic_fetch_or_explicit(&a->top, WORD_SYS, ACQ_REL);
}

/* The turn is used up, or the actor gives way. False: it asked for something. */
static COLD bool give_way(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	SHOW_HOT(ctx->cur_msg, NULL);
	if (ctx->ctl & CTL_FLUSH) {
		call_flush(ctx, a);
		if (ctx->ctl & CTL_BREAK)
			return false;
	}
	if (ctx->ctl & CTL_AGAIN)
		mark_again(ctx, a);
	return true;
}

/* Everything but plain messages. GO_ON: a->local and the mailbox may be worked on; GONE: not ours any more; LAST: to be
 * queued again behind the others. */
static COLD enum attention attend(struct qmt_ctx *ctx, struct qmt_actor *a, uint64_t top)
{
	const uint32_t bound = actor_desc(a)->bound;
	struct actor_ext *ext;
	bool flagged = false;

	trace_over(ctx);
	for (;;) {
		if (top & WORD_SYS) {
			uint64_t cleared;

			flagged = true;

			do {
				cleared = (top & WORD_ADDRESS ? top : top | WORD_RUNNING) & ~WORD_SYS;
			} while (!atomic_compare_exchange_weak_explicit(&a->top, &top, cleared, ACQ_REL, RELAXED));
			lanes(ctx, a);
		} else if (ctx->ctl & CTL_NEW) {
			qmt__start_incarnation(ctx, a);
			trace_over(ctx);
		}
		while (ctx->ctl & (CTL_STOP | CTL_FAIL | CTL_DOWN)) {
			if ((ctx->ctl & (CTL_STOP | CTL_FAIL | CTL_DOWN | CTL_FLUSH)) == (CTL_STOP | CTL_FLUSH))
				call_flush(ctx, a);
			if (!qmt__end_step(ctx, a))
				return GONE;
			if (!(ctx->ctl & (CTL_STOP | CTL_FAIL)))
				break; /* down and staying so, or restarted */
		}
		if (ctx->ctl & CTL_FULL)
			qmt__mute(ctx, a);
		if (!(ctx->ctl & CTL_DOWN) && (flagged ||
				(!(ctx->ctl & CTL_STANDING) && a->local && actor_desc(a)->overflow == QMT_DROP_OLD))) {
			/* Urgent ones may have come with the flag. QMT_DROP_OLD: what was set aside and what is new share the
			 * bound. */
			flagged = false;
			(void)qmt__set_aside(ctx, a);
		}
		if (a->mixed && !(ctx->ctl & CTL_DOWN)) {
			a->mixed = 0;
			a->local = sort_out(ctx, a, a->local, &a->local_last);
		}
		ext = actor_ext(a);
		if (ext && ext->urgent && !(ctx->ctl & URGENT_BREAK)) {
			urgent_lane(ctx, a, ext);
			if (ctx->ctl & (CTL_STOP | CTL_FAIL | CTL_FULL))
				continue;
		}
		if (ext && ext->exclusive_reply && !(ctx->ctl & URGENT_BREAK)) {
			qmt__exclusive_answered(ctx, a);
			publish_done(ctx, a, 1);
			continue;
		}
		if (!(ctx->ctl & CTL_STANDING)) {
			if (likely(!ext || (!ext->urgent && (a->local || ext->urgent_run < URGENT_MESSAGES))))
				return GO_ON;
			if (ext->urgent)
				atomic_fetch_or_explicit(&a->top, WORD_SYS, ACQ_REL); /* ours: looked at again with the next turn */
			if (!a->local)
				(void)qmt__set_aside(ctx, a); /* a normal one may have come meanwhile */
			if (a->local)
				return GO_ON;
			ext->urgent_run = 0; /* no normal one waits; but other actors do */
			if (give_way(ctx, a))
				return LAST;
			continue;
		}
		if ((ctx->ctl & CTL_FLUSH) && !(ctx->ctl & CTL_DOWN)) {
			call_flush(ctx, a);
			if (ctx->ctl & (CTL_STOP | CTL_FAIL | CTL_FULL))
				continue;
		}
		top = qmt__set_aside(ctx, a);
		flagged = false;
		if (top & WORD_SYS)
			continue;
		ext = actor_ext(a);
		if (ext && !(ctx->ctl & URGENT_BREAK)) {
			if (ext->exclusive_reply)
				continue;
			if (ext->urgent) { /* more than one turn has room for */
				atomic_fetch_or_explicit(&a->top, WORD_SYS, ACQ_REL);
				if (give_way(ctx, a))
					return LAST;
				continue;
			}
		}
		if (ctx->ctl & CTL_AGAIN) {
			if (!(ctx->ctl & (CTL_DOWN | CTL_MUTED))) {
				mark_again(ctx, a);
				return LAST;
			}
			/* Muted: waits in `pending` until it is unmuted. Down: forgotten. */
			ctx->ctl &= ~(uint32_t)CTL_AGAIN;
			if (!(ctx->ctl & CTL_DOWN))
				atomic_fetch_or_explicit(&a->pending, PENDING_AGAIN, RELAXED);
		}
		if (mailbox_idle(a, top)) {
			look_for_waiters(ctx, a, bound);
			return GONE;
		}
		top = atomic_load_explicit(&a->top, ACQUIRE);
	}
}

/* ---- the turn ---------------------------------------------------------------------------------------------------- */

/* New messages, for those who want to look at them before they are handled. */
static COLD struct qmt_msg *taken(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	const struct qmt_actor_desc *desc = actor_desc(a);
	uint32_t dropped = 0;

	if (ctx->sim)
		qmt__sim_taken(ctx->sim, m);
	if (desc->overflow == QMT_DROP_OLD && desc->bound) {
		m = drop_old(ctx, a, m, &dropped);
		publish_done(ctx, a, dropped);
	}
	return m;
}

void qmt__turn(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	uint64_t top = atomic_load_explicit(&a->top, ACQUIRE); /* first of all, see above */
	const struct qmt_actor_desc *const desc = actor_desc(a);
	const uint32_t gen = actor_gen(a);
	void *const state = actor_state(a);
	struct qmt_msg *m = a->local;
	uint32_t left = TURN_MESSAGES, told = TURN_MESSAGES; /* told: `left` when `done` was published last */

	SHOW_HOT(ctx->cur, a);
	ctx->ctl = a->standing;
	if (unlikely((top & WORD_SYS) || ctx->ctl)) {
attend:
		SHOW_HOT(ctx->cur_msg, NULL);
		switch (attend(ctx, a, top)) {
		case GO_ON:
			break;
		case GONE:
			SHOW_HOT(ctx->cur, NULL);
			return;
		case LAST:
			goto last;
		}
		m = a->local;
	}
	for (;;) {
		struct qmt_msg *next;

		if (!m) {
			uint32_t count;

			top = atomic_load_explicit(&a->top, ACQUIRE); /* pairs with the release of senders */
			if (unlikely(top & WORD_SYS))
				goto attend; /* takes and sorts */
			count = mailbox_new(a, top);
			if (count == 0) {
				if (unlikely(ctx->ctl & (CTL_FLUSH | CTL_AGAIN))) {
					if (!(ctx->ctl & CTL_FLUSH))
						break; /* to give way */
					SHOW_HOT(ctx->cur_msg, NULL);
					call_flush(ctx, a);
					if (ctx->ctl & CTL_BREAK)
						goto attend;
					continue;
				}
				if (likely(mailbox_idle(a, top))) {
					SHOW_HOT(ctx->cur, NULL);
					SHOW_HOT(ctx->cur_msg, NULL);
					look_for_waiters(ctx, a, desc->bound);
					return;
				}
				continue;
			}
			m = mailbox_take(a, top, count);
			if (unlikely(ctx->sim != NULL) || unlikely(desc->overflow == QMT_DROP_OLD)) {
				m = taken(ctx, a, m);
				if (!m)
					continue; /* so much came meanwhile that all of it is beyond the bound */
			}
		}
		if (unlikely(left == 0))
			break;
		left--;
		next = m->next;
		__builtin_prefetch(next);
		SHOW_HOT(ctx->cur_msg, m);
		if (likely(m->to_gen == gen && !(m->flags & MSG_SLOW))) {
			const uint32_t type = m->type;

			SHOW_HOT(ctx->cur_type, (uint16_t)type);
			desc->accepts[type >> TYPE_SLOT_SHIFT].handlers[type & TYPE_INDEX_MASK](ctx, state, m->body);
		} else {
			handle_special(ctx, a, m);
		}
		if (likely(!(ctx->ctl & CTL_KEPT)))
			msg_free(ctx, m);
		else
			ctx->ctl &= ~(uint32_t)CTL_KEPT;
		m = next;
		if (unlikely(ctx->ctl & CTL_BREAK)) {
			publish_done(ctx, a, told - left);
			told = left;
			a->local = m;
			top = atomic_load_explicit(&a->top, RELAXED);
			goto attend;
		}
		if (!m) {
			/* Before the word can say idle: until then the actor is ours. */
			publish_done(ctx, a, told - left);
			told = left;
			a->local = NULL;
		}
	}
	publish_done(ctx, a, told - left);
	told = left = 0;
	a->local = m;
	if (!give_way(ctx, a)) {
		top = atomic_load_explicit(&a->top, RELAXED);
		goto attend;
	}
last:
	SHOW_HOT(ctx->cur, NULL);
	SHOW_HOT(ctx->cur_msg, NULL);
	if (unlikely(desc->bound)) {
		atomic_fetch_or(&a->top, 0); /* what idling does otherwise: the full barrier that look_for_waiters needs */
		look_for_waiters(ctx, a, desc->bound);
	}
	schedule_last(ctx, a);
}
