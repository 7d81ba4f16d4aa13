/* runtime/supervisor.c - how an incarnation begins and ends, and what its parent does about it.
 *
 *      NEW --start--> RUN --stop, failure--> STOPPING --children gone, `stop` called--+
 *       ^                                                                             |
 *       |                          final, temporary, or a wanted end of a transient   |  to be restarted
 *       |                                          DEAD (buried, given to the parent) +--> ENDED (given to the parent)
 *       |                                                                                     |         |
 *       +----- restart_at has come ----- RESTARTING <---- within the limits -----------------+          +--> buried
 *
 * An actor that is given to its parent is pushed on parent->zombies as the last act of its turn. Its mailbox word does
 * not say idle, so nobody runs it meanwhile: the parent owns it, decides, and either schedules it again (same block,
 * same generation, mailbox kept) or buries and frees it. A parent that stops itself buries.
 *
 * One for all, rest for one: a cycle over the children that a restart concerns. actor.cycle says where each one stands:
 *
 *      NONE --another is to be restarted--> MEMBER --its turn, newest first--> ASKED --ended--+
 *       ^                                        |                                            |
 *       |                                        +-----------ended by itself----------------> WAITS (RESTARTING, held)
 *       +--the next one's turn-- STARTED <--`start` returned-- STARTING <--oldest first, when no MEMBER is left-- +
 *
 * The cycle waits for one child at a time (actor_ext.cycle_at). A child that fails while others start is the next
 * trigger, and counts as one. A child that waits for its turn is down like any that is restarting: it answers asks, and
 * it can be stopped. When the parent ends, such families are ended newest first, too.
 */
#include "scheduler.h"
#include "slab.h"
#include "trace.h"

#include <errno.h>
#include <stdarg.h>

enum { DEFAULT_MAX_RESTARTS = 5, DEFAULT_WINDOW_MS = 5000, BACKOFF_MAX_FACTOR = 64 };

enum cycle { CYCLE_NONE, CYCLE_MEMBER, CYCLE_ASKED, CYCLE_WAITS, CYCLE_STARTING, CYCLE_STARTED };
enum cycle_phase { CYCLE_QUIET, CYCLE_ENDING, CYCLE_BEGINNING };

/* When the last restarts were: a true sliding window. */
struct restart_window {
	uint32_t count, next;
	uint64_t at_ns[];
};

/* ---- the incarnation --------------------------------------------------------------------------------------------- */

void qmt__fail_text(struct qmt_ctx *ctx, const char *format, ...)
{
	va_list args;

	if (ctx->ctl & CTL_FAIL)
		return; /* the first reason counts */
	va_start(args, format);
	vsnprintf(ctx->fail_text, sizeof ctx->fail_text, format, args);
	va_end(args);
	ctx->ctl |= CTL_FAIL;
	ctx->fail_token = qmt_token(ctx);
	ctx->fail_trace = ctx->trace;
}

void qmt__start_incarnation(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	const struct qmt_actor_desc *desc = actor_desc(a);
	int failed;

	status_set(a, STATUS_RUN);
	standing_clear(a, CTL_NEW);
	ctx->ctl &= ~(uint32_t)CTL_NEW;
	a->flags |= ACTOR_STARTED;
	if (desc->start) {
		failed = desc->start(ctx, actor_state(a), a->config);
		if (failed)
			qmt__fail_text(ctx, "start returned %d", failed);
	}
	if (unlikely(actor_ext(a) != NULL) && !(ctx->ctl & CTL_FAIL)) {
		qmt__await_started(ctx, a);
		qmt__links_started(ctx, a);
	}
}

/* Everything that belongs to the incarnation and could call it: from here on nothing does. */
static void quiesce(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	if (a->asks)
		qmt__asks_release(ctx, a);
	if (actor_ext(a)) {
		qmt__timers_release(ctx, a);
		qmt__children_release(ctx, a);
		qmt__fds_release(ctx, a);
		qmt__monitors_release(ctx, a);
		qmt__links_release(ctx, actor_ext(a), a->reason);
		qmt__wait_end(actor_ext(a), WAIT_ROOM);
	}
}

struct qmt_msg *qmt__bounce_asks(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m, uint32_t *handled)
{
	bool final = a->flags & ACTOR_FINAL;
	struct qmt_msg *kept = NULL, **last = &kept;

	while (m) {
		struct qmt_msg *next = m->next;

		if (m->flags & (MSG_ASK | MSG_REPLY)) {
			qmt__undeliver(ctx, actor_desc(a), m, final ? QMT_FAIL_STOPPING : QMT_FAIL_RESTARTING);
			++*handled;
		} else {
			*last = m;
			last = &m->next;
			a->local_last = m;
		}
		m = next;
	}
	*last = NULL;
	return kept;
}

/* Children that do not depend on each other end at once, others newest first: the rest follows in qmt__reap. */
static void end_children(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	bool at_once = actor_desc(a)->supervision.strategy == QMT_ONE_FOR_ONE;

	for (struct qmt_actor *child = a->children; child; child = at_once ? child->sibling_next : NULL)
		notify_pending(ctx, child, PENDING_END);
}

static void begin_stopping(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	const struct qmt_actor_desc *desc = actor_desc(a);
	uint32_t handled = 0;

	a->reason = a->flags & ACTOR_KILLED ? QMT_FAIL_CANCELLED : 0;
	if (ctx->ctl & CTL_FAIL) {
		struct actor_ext *ext = qmt__actor_need_ext(a);

		a->reason = QMT_FAIL_FAILED;
		count_one(&ctx->sys->counters.failed);
		/* The ask that it failed over. If it was answered, this answer is a second one and drops out. */
		qmt__ask_fail(ctx, ctx->fail_token, QMT_FAIL_NO_REPLY);
		if (ext) {
			free(ext->fail_text);
			ext->fail_text = strdup(ctx->fail_text);
		}
		uint64_t before = trace_begin(ctx, ctx->fail_trace);
		qmt_log(ctx->log, a == ctx->sys->root ? QMT_ERROR : QMT_WARN, "actor.failed", "kind", desc->name, "name",
			qmt__actor_name(ctx->sys, a, (char[ACTOR_NAME_SHOWN]){0}), "reason", ctx->fail_text, NULL);
		trace_end(ctx, before);
	}
	if (a->reason == QMT_FAIL_FAILED && a == ctx->sys->root && ctx->sys->root_failed)
		ctx->sys->root_failed(ctx->sys->callback_arg);
	if (a->restart == QMT_TEMPORARY || (a->restart == QMT_TRANSIENT && !a->reason && !(a->flags & ACTOR_CYCLE)))
		a->flags |= ACTOR_FINAL;
	status_set(a, STATUS_STOPPING);
	SHOW(a->standing, CTL_DOWN);
	ctx->ctl = CTL_DOWN;
	quiesce(ctx, a);
	if (a->local) {
		a->local = qmt__bounce_asks(ctx, a, a->local, &handled);
		atomic_fetch_add_explicit(&a->done, handled, RELAXED);
	}
	if (actor_ext(a)) {
		actor_ext(a)->cycle_phase = CYCLE_QUIET;
		actor_ext(a)->cycle_at = NULL;
	}
	end_children(ctx, a);
}

/* The last act of the actor's turn. */
static void give_to_parent(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct qmt_actor *parent = atomic_load_explicit(&a->parent, RELAXED);
	struct qmt_actor *first;

	if (!parent) {
		if (a->flags & ACTOR_OUTSIDE)
			return;
		qmt__root_ended(ctx->sys);
		return;
	}
	first = atomic_load_explicit(&parent->zombies, RELAXED);
	do {
		a->queue_next = first;
	} while (!atomic_compare_exchange_weak_explicit(&parent->zombies, &first, a, ACQ_REL, RELAXED));
	/* The first of a bunch tells the parent. It may be gone already, and its block may be somebody else's by now: then
	 * this is one look for nothing, as blocks are type-stable. */
	if (!first)
		notify(ctx, parent);
}

static void end_incarnation(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	if (a->flags & ACTOR_STARTED) {
		a->flags &= (uint8_t)~ACTOR_STARTED;
		if (actor_desc(a)->stop) {
			actor_desc(a)->stop(ctx, actor_state(a));
			trace_over(ctx);
			ctx->ctl = CTL_DOWN;
			quiesce(ctx, a); /* what the hook may have begun */
		}
	}
	if (a->flags & ACTOR_FINAL || !atomic_load_explicit(&a->parent, RELAXED))
		qmt__bury(ctx, a, a->reason);
	else
		status_set(a, STATUS_ENDED);
	give_to_parent(ctx, a);
}

static void cycle_tell_started(struct qmt_ctx *ctx, struct qmt_actor *a);

/* A fresh state for the block; the mailbox stays. */
static void renew(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct actor_ext *ext = actor_ext(a);
	uint32_t size = actor_desc(a)->state_size;

	if (ext && ext->initial)
		memcpy(actor_state(a), ext->initial, size);
	else
		memset(actor_state(a), 0, size);
	if (ext) {
		free(ext->window);
		ext->window = NULL;
	}
	SHOW(a->standing, 0);
	ctx->ctl = 0;
	qmt__start_incarnation(ctx, a);
	if (!(ctx->ctl & CTL_FAIL))
		cycle_tell_started(ctx, a);
}

/* Called while the actor is to stop, or is down. Goes one step on, as the diagram says. */
bool qmt__end_step(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	bool asked = ctx->ctl & (CTL_STOP | CTL_FAIL);

	switch (a->status) {
	case STATUS_NEW:
	case STATUS_RUN:
		begin_stopping(ctx, a);
		break;
	case STATUS_RESTARTING:
		if (!asked) {
			uint64_t at = actor_ext(a)->restart_at_ns;

			if (a->flags & ACTOR_HELD)
				return true;
			if (now_ns(ctx) < at) {
				if (!a->timer_at)
					qmt__timer_arm(ctx, a, at);
				return true;
			}
			qmt__set_aside(ctx, a); /* answers the asks that came while it was down; tells are kept */
			renew(ctx, a);
			return true;
		}
		if (!(a->flags & ACTOR_CYCLE))
			a->flags |= ACTOR_FINAL;
		if (a->flags & ACTOR_KILLED)
			a->reason = QMT_FAIL_CANCELLED;
		status_set(a, STATUS_STOPPING);
		break;
	default:
		break;
	}
	ctx->ctl &= CTL_DOWN;
	if (a->children)
		return true;
	end_incarnation(ctx, a);
	return false;
}

/* ---- the end for good -------------------------------------------------------------------------------------------- */

static void drop_system(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m, int reason)
{
	while (m) {
		struct qmt_msg *next = m->next;

		switch (m->type) {
		case INTERNAL_MONITOR:
		case INTERNAL_DEMONITOR:
		case INTERNAL_DOWN:
			qmt__monitor_message(ctx, a, m); /* its generation has passed: it answers that */
			break;
		case INTERNAL_LINK:
		case INTERNAL_UNLINK:
		case INTERNAL_LINK_DIED:
			qmt__link_message(ctx, a, m);
			break;
		case INTERNAL_AWAIT_START:
		case INTERNAL_AWAIT_END:
			qmt__await_gone(ctx, m, m->to_gen + 1 == actor_gen(a) ? reason : QMT_FAIL_NOT_RUNNING);
			break;
		case INTERNAL_FD:
			qmt__fd_event(ctx, a, m);
			break;
		case INTERNAL_JOB:
			qmt__job_drop(m);
			break;
		default:
			msg_free(ctx, m);
		}
		m = next;
	}
}

static void undeliver_all(struct qmt_ctx *ctx, const struct qmt_actor_desc *desc, struct qmt_msg *m, int reason)
{
	while (m) {
		struct qmt_msg *next = m->next;

		qmt__undeliver(ctx, desc, m, reason);
		m = next;
	}
}

/* Closes the actor. By its own turn, or by the parent that owns it. Afterwards sends fail. */
void qmt__bury(struct qmt_ctx *ctx, struct qmt_actor *a, int reason)
{
	const struct qmt_actor_desc *desc = actor_desc(a);
	struct actor_ext *ext = actor_ext(a);
	int undelivered = desc->outgoing ? QMT_FAIL_PEER_GONE : QMT_FAIL_NOT_RUNNING;
	uint64_t top;
	uint32_t count;

	status_set(a, STATUS_DEAD);
	if (ext)
		qmt__registry_drop(ctx->sys, a); /* ext is ours alone now: who looks at it does so under the registry's lock */
	top = atomic_exchange_explicit(&a->top, WORD_CLOSED, ACQ_REL);
	atomic_store_explicit(&a->gen, actor_gen(a) + 1, RELEASE);
	qmt__urgent_to_local(a);
	undeliver_all(ctx, desc, a->local, undelivered);
	a->local = NULL;
	count = mailbox_new(a, top);
	if (count)
		undeliver_all(ctx, desc, mailbox_take(a, top, count), undelivered);
	if (desc->bound)
		qmt__waiters_release(ctx, a, WAITERS_CLOSED);
	else
		atomic_store_explicit(&a->waiters, WAITERS_CLOSED, RELAXED); /* a late one for another tenant: see qmt__mute */
	drop_system(ctx, a, atomic_exchange_explicit(&a->system, SYSTEM_CLOSED, ACQ_REL), reason);
	if (a->flags & ACTOR_TIMED)
		qmt__timer_forget(ctx, a);
	if (ext) {
		drop_system(ctx, a, ext->deferred, reason);
		qmt__links_release(ctx, ext, reason); /* made while it was down */
		qmt__watchers_tell(ctx, ext, reason);
		qmt__await_ended(ctx, ext, reason);
		qmt__actor_ext_free(ext);
	}
}

void qmt__abandon(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	ctx->cur = a;
	quiesce(ctx, a);
	ctx->cur = NULL;
	qmt__bury(ctx, a, QMT_FAIL_STOPPING);
}

/* ---- what the parent does ---------------------------------------------------------------------------------------- */

static enum cycle cycle_of(struct qmt_actor *child)
{
	return (enum cycle)atomic_load_explicit(&child->cycle, ACQUIRE); /* pairs with cycle_tell_started */
}

static void cycle_set(struct qmt_actor *child, enum cycle cycle)
{
	atomic_store_explicit(&child->cycle, (uint8_t)cycle, RELAXED);
}

static struct qmt_actor *newest_member(struct qmt_actor *child)
{
	while (child && cycle_of(child) != CYCLE_MEMBER)
		child = child->sibling_next;
	return child;
}

/* Goes on: with the newest that is to be ended, from `next` on to older ones; then with the oldest that waits, from
 * `next` on to newer ones. */
static void cycle_step(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_actor *next)
{
	struct actor_ext *ext = actor_ext(a);

	if (ext->cycle_phase == CYCLE_ENDING) {
		next = newest_member(next);
		if (!next)
			next = newest_member(a->children); /* spawned meanwhile */
		if (next) {
			cycle_set(next, CYCLE_ASKED);
			ext->cycle_at = next;
			notify_pending(ctx, next, PENDING_CYCLE);
			return;
		}
		ext->cycle_phase = CYCLE_BEGINNING;
		for (next = a->children; next && next->sibling_next;)
			next = next->sibling_next;
	}
	for (; next; next = next->sibling_prev) {
		enum cycle cycle = cycle_of(next);

		if (cycle == CYCLE_WAITS || cycle == CYCLE_STARTING)
			break;
		if (cycle == CYCLE_STARTED)
			cycle_set(next, CYCLE_NONE);
	}
	ext->cycle_at = next;
	if (!next) {
		ext->cycle_phase = CYCLE_QUIET;
		return;
	}
	if (cycle_of(next) != CYCLE_WAITS)
		return; /* an older one has not started yet, since a younger one failed meanwhile */
	cycle_set(next, CYCLE_STARTING);
	notify_pending(ctx, next, PENDING_GO);
}

/* A child is to be restarted, and was not to be so before: others with it. */
static void cycle_begin(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_actor *trigger)
{
	struct actor_ext *ext = actor_ext(a);
	bool all = actor_desc(a)->supervision.strategy == QMT_ONE_FOR_ALL;

	for (struct qmt_actor *child = a->children; child && (all || child != trigger); child = child->sibling_next) {
		enum cycle cycle = cycle_of(child);

		if (child != trigger && (cycle == CYCLE_NONE || cycle >= CYCLE_STARTING))
			cycle_set(child, CYCLE_MEMBER);
	}
	if (ext->cycle_phase == CYCLE_ENDING)
		return;
	ext->cycle_phase = CYCLE_ENDING;
	cycle_step(ctx, a, a->children);
}

/* On the child's turn: the next one may start. The parent may have other plans by now. */
static void cycle_tell_started(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	uint8_t starting = CYCLE_STARTING;

	/* release: pairs with cycle_of */
	if (atomic_load_explicit(&a->cycle, RELAXED) == CYCLE_STARTING &&
		atomic_compare_exchange_strong_explicit(&a->cycle, &starting, CYCLE_STARTED, RELEASE, RELAXED))
		notify_pending(ctx, atomic_load_explicit(&a->parent, RELAXED), PENDING_STARTED);
}

/* What parent and child tell each other by a flag. */
void qmt__cycle_pending(struct qmt_ctx *ctx, struct qmt_actor *a, uint32_t pending)
{
	struct actor_ext *ext = actor_ext(a);

	if (pending & PENDING_GO)
		a->flags &= (uint8_t)~ACTOR_HELD;
	if ((pending & PENDING_CYCLE) && a->status != STATUS_STOPPING) {
		a->flags |= ACTOR_CYCLE;
		ctx->ctl |= CTL_STOP;
	}
	if ((pending & PENDING_STARTED) && ext && ext->cycle_phase == CYCLE_BEGINNING && ext->cycle_at &&
		cycle_of(ext->cycle_at) == CYCLE_STARTED) {
		struct qmt_actor *next = ext->cycle_at->sibling_prev;

		cycle_set(ext->cycle_at, CYCLE_NONE);
		cycle_step(ctx, a, next);
	}
}

static void unlink_child(struct qmt_actor *a, struct qmt_actor *child)
{
	if (child->sibling_prev)
		child->sibling_prev->sibling_next = child->sibling_next;
	else
		a->children = child->sibling_next;
	if (child->sibling_next)
		child->sibling_next->sibling_prev = child->sibling_prev;
}

static bool is_running(const struct qmt_ctx *ctx, const struct qmt_actor *a)
{
	return a->status == STATUS_RUN && !(ctx->ctl & (CTL_STOP | CTL_FAIL));
}

static void child_gone(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_actor *child)
{
	struct qmt_ref ref = {child, actor_gen(child) - 1, 0};
	struct actor_ext *ext = actor_ext(a);
	int reason = child->reason;
	bool awaited = ext && ext->cycle_at == child;
	struct qmt_actor *next = !awaited || ext->cycle_phase == CYCLE_ENDING ? child->sibling_next : child->sibling_prev;

	unlink_child(a, child);
	if (awaited) {
		ext->cycle_at = NULL;
		if (is_running(ctx, a))
			cycle_step(ctx, a, next);
	}
	if (child->host)
		qmt__own_thread_quit(child->host);
	slab_free(ctx, child->class, child);
	if (is_running(ctx, a) && actor_desc(a)->child_ended)
		actor_desc(a)->child_ended(ctx, actor_state(a), ref, reason, false);
	trace_over(ctx);
}

/* Counts one more restart in the window. Returns how many there are now; 0: one too many; <0: out of memory. */
static int64_t window_add(struct qmt_actor *a, const struct qmt_supervision *rules, uint64_t now)
{
	uint32_t most = rules->max_restarts ? rules->max_restarts : DEFAULT_MAX_RESTARTS, recent = 0;
	uint64_t length = (uint64_t)(rules->window_ms ? rules->window_ms : DEFAULT_WINDOW_MS) * NS_PER_MS;
	struct actor_ext *ext = qmt__actor_need_ext(a);
	struct restart_window *window = ext ? ext->window : NULL;

	if (ext && !window)
		window = ext->window = calloc(1, sizeof *window + most * sizeof window->at_ns[0]);
	if (!window)
		return -ENOMEM;
	for (uint32_t i = 0; i < window->count; i++)
		recent += now - window->at_ns[i] < length;
	if (recent >= most)
		return 0;
	/* The oldest goes: it is outside the window, or there is room. */
	window->at_ns[window->next] = now;
	window->next = (window->next + 1) % most;
	if (window->count < most)
		window->count++;
	return recent + 1;
}

/* The first restart waits backoff_ms, each further one in the window twice as long; the last half of it by chance, so
 * that actors that failed together do not come back together. */
static uint64_t backoff_ns(struct qmt_ctx *ctx, const struct qmt_supervision *rules, int64_t restarts)
{
	uint64_t wait = rules->backoff_ms, most = rules->backoff_max_ms, chance;

	if (!wait)
		return 0;
	if (!most)
		most = wait * BACKOFF_MAX_FACTOR;
	for (int64_t i = 1; i < restarts && wait < most; i++)
		wait *= 2;
	if (wait > most)
		wait = most;
	wait *= NS_PER_MS;
	qmt_os_random(ctx->sys->os, &chance, sizeof chance);
	return wait - chance % (wait / 2 + 1);
}

/* Down until it is to start again. The child is ours, and is not any more afterwards. */
static void restart(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_actor *child, uint64_t at_ns, bool along)
{
	const struct qmt_ref ref = actor_ref(child);
	const int reason = child->reason;
	struct actor_ext *ext = actor_ext(child);
	uint64_t now = now_ns(ctx);

	ext->restart_at_ns = at_ns;
	qmt_log(ctx->sys->log, QMT_INFO, "actor.restarted", "kind", actor_desc(child)->name, "name",
		qmt__actor_name(ctx->sys, child, (char[ACTOR_NAME_SHOWN]){0}), "reason", ext->fail_text ? ext->fail_text :
		along ? "along with another" : "ended",
		"wait_ms", QMT_LOG_U64(at_ns > now ? (at_ns - now) / NS_PER_MS : 0), NULL);
	free(ext->fail_text);
	ext->fail_text = NULL;
	count_one(&ctx->sys->counters.restarted);
	atomic_fetch_add_explicit(&ext->restarts, 1, RELAXED);
	status_set(child, STATUS_RESTARTING);
	schedule_last(ctx, child);
	if (actor_desc(a)->child_ended)
		actor_desc(a)->child_ended(ctx, actor_state(a), ref, reason, true);
	trace_over(ctx);
}

/* The child that cannot be restarted goes, and the supervisor fails over it. */
static void give_up(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_actor *child, bool too_often)
{
	char name[ACTOR_NAME_SHOWN];
	const char *kind = actor_desc(child)->name;

	qmt__actor_name(ctx->sys, child, name);
	count_one(&ctx->sys->counters.gave_up);
	if (actor_ext(a))
		actor_ext(a)->cycle_at = NULL; /* nobody starts any more */
	qmt__bury(ctx, child, child->reason);
	child_gone(ctx, a, child);
	if (too_often)
		qmt__fail_text(ctx, "restarted its children too often; the last was %s %s", kind, name);
	else
		qmt__fail_text(ctx, "out of memory for the restart of %s %s", kind, name);
}

/* A child has ended and is to be restarted. It is ours. */
static void child_ended(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_actor *child)
{
	const struct qmt_supervision *rules = &actor_desc(a)->supervision;
	enum cycle cycle = cycle_of(child);
	struct actor_ext *ext = actor_ext(a);
	int64_t restarts;

	if (!is_running(ctx, a)) {
		qmt__bury(ctx, child, child->reason);
		child_gone(ctx, a, child);
		return;
	}
	/* What the last incarnation did not see is not for the next. */
	atomic_fetch_and_explicit(&child->pending, ~(uint32_t)(PENDING_CYCLE | PENDING_GO), RELAXED);
	child->flags &= (uint8_t)~(ACTOR_CYCLE | ACTOR_HELD);
	if (!qmt__actor_need_ext(child)) {
		give_up(ctx, a, child, false);
		return;
	}
	if (cycle == CYCLE_MEMBER || cycle == CYCLE_ASKED) {
		bool awaited = ext->cycle_at == child;

		cycle_set(child, CYCLE_WAITS);
		child->flags |= ACTOR_HELD;
		restart(ctx, a, child, ext->cycle_restart_at_ns, true);
		if (awaited && is_running(ctx, a)) /* the hook may have failed it */
			cycle_step(ctx, a, child->sibling_next);
		return;
	}
	restarts = window_add(a, rules, now_ns(ctx));
	if (restarts <= 0) {
		give_up(ctx, a, child, restarts == 0);
		return;
	}
	ext = actor_ext(a);
	ext->cycle_restart_at_ns = now_ns(ctx) + backoff_ns(ctx, rules, restarts);
	if (rules->strategy == QMT_ONE_FOR_ONE) {
		restart(ctx, a, child, ext->cycle_restart_at_ns, false);
		return;
	}
	cycle_set(child, CYCLE_WAITS);
	child->flags |= ACTOR_HELD;
	restart(ctx, a, child, ext->cycle_restart_at_ns, false);
	if (is_running(ctx, a))
		cycle_begin(ctx, a, child);
}

/* Children that ended, oldest first. */
void qmt__reap(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	/* pairs with the release in give_to_parent */
	struct qmt_actor *newest = atomic_exchange_explicit(&a->zombies, NULL, ACQUIRE), *child = NULL;

	while (newest) {
		struct qmt_actor *older = newest->queue_next;

		newest->queue_next = child;
		child = newest;
		newest = older;
	}
	while (child) {
		struct qmt_actor *next = child->queue_next;

		if (child->status == STATUS_DEAD)
			child_gone(ctx, a, child);
		else
			child_ended(ctx, a, child);
		child = next;
	}
	if (a->status == STATUS_STOPPING && actor_desc(a)->supervision.strategy != QMT_ONE_FOR_ONE)
		end_children(ctx, a);
}
