/* runtime/waits.c - who waits for whom: edges, circles of them, and the picture of an actor for qmt_system_actors.
 *
 * An actor waits for another by qmt_ask_exclusive, or muted at a QMT_BLOCK bound; a plain ask holds nobody. It has at
 * most one edge of each kind and stands behind the one of being muted, as long as it is: so every actor has at most one
 * way out, and looking for a circle is a walk.
 *
 * An edge is written by the turn of its actor, without a lock, in an order that lets others see whether they have read
 * it while it changed: the number goes to 0 first and gets its new value last. Others read it under the registry's
 * lock, which keeps the ext where it is.
 *
 * A circle that has just closed proves nothing: an answer may be on its way. So two looks are taken. The first by who
 * has made an edge to an actor that itself waits: it walks, and if it comes back to itself it tells the root actor (its
 * turn is a place that has timers, in a seeded system too). The second by the root, deadlock_ms later: if all edges are
 * the same ones (their numbers), and nobody in the circle has something new in his mailbox, that is a deadlock. Whose
 * edge closes the circle sees it: waiting is shown, then the other is looked at, both seq_cst, so of several that close
 * it together the last one sees all. So each circle is looked at once, or a few times at once (equal stamps).
 */
#include "waits.h"

#include "clock.h"
#include "scheduler.h"
#include "slab.h"

enum { SUSPECTS_MAX = 256 };

/* Circles that closed lately. The root's turn. */
struct suspects {
	uint32_t count;
	struct suspect {
		struct qmt_ref who; /* closed it */
		uint64_t stamp, due_ns;
	} list[SUSPECTS_MAX];
};

/* Body of INTERNAL_SUSPECT. */
struct suspicion {
	uint64_t stamp;
};

/* ---- edges ------------------------------------------------------------------------------------------------------- */

void qmt__wait_begin(struct qmt_ctx *ctx, struct actor_ext *ext, enum wait_kind kind, struct qmt_ref on)
{
	struct wait_edge *edge = &ext->waits[kind];

	/* release: who sees one of these sees that the number has been 0 */
	atomic_store_explicit(&edge->on, on.actor, RELEASE);
	atomic_store_explicit(&edge->on_gen, on.gen, RELEASE);
	atomic_store_explicit(&edge->since_ns, clock_coarse_ns(ctx), RELEASE);
	atomic_store_explicit(&edge->number, ++ext->waits_begun, RELEASE); /* pairs with the acquire in edge_read */
}

void qmt__wait_end(struct actor_ext *ext, enum wait_kind kind)
{
	atomic_store_explicit(&ext->waits[kind].number, 0, RELAXED);
}

struct edge {
	uint64_t number, since_ns;
	struct qmt_ref on;
};

static bool edge_read(struct wait_edge *from, struct edge *ret_edge)
{
	uint64_t number = atomic_load_explicit(&from->number, ACQUIRE);

	if (!number)
		return false;
	ret_edge->number = number;
	ret_edge->on.actor = atomic_load_explicit(&from->on, ACQUIRE);
	ret_edge->on.gen = atomic_load_explicit(&from->on_gen, ACQUIRE);
	ret_edge->on.rid = 0;
	ret_edge->since_ns = atomic_load_explicit(&from->since_ns, ACQUIRE);
	return atomic_load_explicit(&from->number, RELAXED) == number;
}

/* What `a` waits for. The registry's lock is held. */
static bool edge_of(struct qmt_actor *a, struct edge *ret_edge)
{
	struct actor_ext *ext = atomic_load_explicit(&a->ext, ACQUIRE); /* pairs with qmt__actor_need_ext */

	return ext && (edge_read(&ext->waits[WAIT_ROOM], ret_edge) || edge_read(&ext->waits[WAIT_ANSWER], ret_edge)) &&
		actor_gen(ret_edge->on.actor) == ret_edge->on.gen;
}

/* ---- circles ----------------------------------------------------------------------------------------------------- */

struct circle {
	uint32_t count;
	bool idle;      /* nobody has something new, or is at work */
	uint64_t stamp; /* of the edges; the same wherever one begins */
	struct qmt_actor *members[QMT_DEADLOCK_MEMBERS];
};

/* Follows the edges from `a` until they come back to it. The registry's lock is held. */
static bool circle_of(struct qmt_actor *a, struct circle *ret_circle)
{
	struct qmt_actor *at = a;

	ret_circle->count = 0;
	ret_circle->idle = true;
	ret_circle->stamp = 0;
	do {
		struct edge edge;

		if (ret_circle->count == QMT_DEADLOCK_MEMBERS || !edge_of(at, &edge))
			return false;
		ret_circle->members[ret_circle->count++] = at;
		ret_circle->stamp +=
			((uint64_t)(uintptr_t)at ^ (uint64_t)actor_gen(at) << 32 ^ edge.number) * UINT64_C(0x9e3779b97f4a7c15);
		if (!word_is_idle(atomic_load_explicit(&at->top, RELAXED)))
			ret_circle->idle = false;
		at = edge.on.actor;
	} while (at != a);
	return true;
}

static COLD void suspect(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct qmt_system *sys = ctx->sys;
	struct circle circle;
	struct qmt_msg *m;
	bool closed;

	pthread_mutex_lock(&sys->registry.lock);
	closed = circle_of(a, &circle);
	pthread_mutex_unlock(&sys->registry.lock);
	if (!closed)
		return;
	m = msg_alloc(ctx, sizeof(struct suspicion));
	if (!m)
		return; /* without memory it is not reported; the deadlines end it all the same */
	m->flags = MSG_INTERNAL;
	m->type = INTERNAL_SUSPECT;
	m->from = a;
	m->src_gen = actor_gen(a);
	m->to_gen = actor_gen(sys->root);
	((struct suspicion *)(void *)m->body)->stamp = circle.stamp;
	if (qmt__system_push(ctx, sys->root, m))
		msg_free(ctx, m);
}

void qmt__wait_look(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_actor *on)
{
	/* seq_cst, both: see above */
	__atomic_store_n(&a->standing, a->standing, __ATOMIC_SEQ_CST);
	if (unlikely(__atomic_load_n(&on->standing, __ATOMIC_SEQ_CST) & (CTL_EXCLUSIVE | CTL_MUTED)))
		suspect(ctx, a);
}

/* ---- on the root's turn ------------------------------------------------------------------------------------------ */

static void report(struct qmt_ctx *ctx, const struct circle *circle, struct actor_shown *shown)
{
	struct qmt_system *sys = ctx->sys;
	struct qmt_actor_info members[QMT_DEADLOCK_MEMBERS];
	struct qmt_buf names QMT_CLEANUP(qmt_buf_free) = {0};
	uint64_t waits_ms = UINT64_MAX;

	for (uint32_t i = 0; i < circle->count; i++) {
		members[i] = shown[i].info;
		if (members[i].waits_ms < waits_ms)
			waits_ms = members[i].waits_ms;
	}
	for (uint32_t i = 0; i <= circle->count; i++) {
		const struct qmt_actor_info *info = &members[i % circle->count];

		qmt_buf_printf(
			&names, "%s%s%s%s", i ? " -> " : "", info->kind, info->name ? " " : "", info->name ? info->name : "");
	}
	count_one(&sys->counters.deadlocks);
	qmt_log(sys->log, QMT_WARN, "actor.deadlock", "circle", names.failed ? NULL : names.data, "waits_ms",
		QMT_LOG_U64(waits_ms), NULL);
	if (sys->deadlock)
		sys->deadlock(members, circle->count, sys->callback_arg);
}

/* True: the suspicion is settled. */
static bool look_again(struct qmt_ctx *ctx, const struct suspect *suspect)
{
	struct qmt_system *sys = ctx->sys;
	struct actor_shown *shown = NULL;
	struct circle circle;
	bool same, found = false;

	pthread_mutex_lock(&sys->registry.lock);
	same = actor_gen(suspect->who.actor) == suspect->who.gen && circle_of(suspect->who.actor, &circle) &&
		circle.stamp == suspect->stamp;
	if (same && circle.idle)
		shown = calloc(circle.count, sizeof *shown);
	if (shown) {
		found = true;
		for (uint32_t i = 0; i < circle.count && found; i++) {
			struct actor_ext *ext = atomic_load_explicit(&circle.members[i]->ext, RELAXED);
			struct edge edge;

			found = edge_of(circle.members[i], &edge);
			if (found)
				ext->deadlocked = edge.number;
			found = found && qmt__actor_show_locked(sys, circle.members[i], &shown[i]);
		}
	}
	pthread_mutex_unlock(&sys->registry.lock);
	if (found)
		report(ctx, &circle, shown);
	free(shown);
	return found || !same;
}

static void look_later(struct qmt_ctx *ctx, uint64_t at_ns);

static void look_due(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct suspects *suspects = ctx->sys->suspects;
	uint64_t now = now_ns(ctx), first = UINT64_MAX;
	uint32_t kept = 0;

	(void)state;
	(void)arg;
	for (uint32_t i = 0; i < suspects->count; i++) {
		struct suspect *suspect = &suspects->list[i];

		if (suspect->due_ns <= now) {
			if (look_again(ctx, suspect))
				continue;
			suspect->due_ns = now + ctx->sys->deadlock_ms * NS_PER_MS;
		}
		if (suspect->due_ns < first)
			first = suspect->due_ns;
		suspects->list[kept++] = *suspect;
	}
	suspects->count = kept;
	if (kept)
		look_later(ctx, first);
}

static void look_later(struct qmt_ctx *ctx, uint64_t at_ns)
{
	uint64_t now = now_ns(ctx), ms = at_ns > now ? (at_ns - now + NS_PER_MS - 1) / NS_PER_MS : 0;

	if (qmt_timer_start(ctx, ms, look_due, NULL, NULL))
		ctx->sys->suspects->count = 0; /* without memory nobody looks */
}

static bool is_known(const struct suspects *suspects, uint64_t stamp)
{
	for (uint32_t i = 0; i < suspects->count; i++)
		if (suspects->list[i].stamp == stamp)
			return true;
	return false;
}

void qmt__suspect_message(struct qmt_ctx *ctx, struct qmt_actor *root, struct qmt_msg *m)
{
	struct qmt_system *sys = ctx->sys;
	uint64_t stamp = ((struct suspicion *)(void *)m->body)->stamp;

	if (!sys->suspects)
		sys->suspects = calloc(1, sizeof *sys->suspects);
	if (sys->suspects && root->status == STATUS_RUN && sys->suspects->count < SUSPECTS_MAX &&
		!is_known(sys->suspects, stamp)) {
		uint64_t due_ns = now_ns(ctx) + sys->deadlock_ms * NS_PER_MS;

		sys->suspects->list[sys->suspects->count++] =
			(struct suspect){.who = {m->from, m->src_gen, 0}, .stamp = stamp, .due_ns = due_ns};
		if (sys->suspects->count == 1)
			look_later(ctx, due_ns);
	}
	msg_free(ctx, m);
}

/* ---- the picture of an actor ------------------------------------------------------------------------------------- */

const char *qmt_actor_status_name(uint32_t status)
{
	switch (status) {
#define QMT_ACTOR_STATUS(name, text, doc) \
	case QMT_ACTOR_##name:                \
		return text;
		QMT_ACTOR_STATUS_LIST(QMT_ACTOR_STATUS)
#undef QMT_ACTOR_STATUS
	default:
		return "unknown";
	}
}

static enum qmt_actor_status status_of(struct qmt_actor *a)
{
	uint32_t standing = LOOK(a->standing);

	switch (LOOK(a->status)) {
	case STATUS_NEW:
		return QMT_ACTOR_STARTING;
	case STATUS_RUN:
		return standing & CTL_MUTED    ? QMT_ACTOR_MUTED
			: standing & CTL_EXCLUSIVE ? QMT_ACTOR_WAITING
			: standing & CTL_HOLD      ? QMT_ACTOR_HOLDING
									   : QMT_ACTOR_RUNNING;
	case STATUS_RESTARTING:
		return QMT_ACTOR_RESTARTING;
	default:
		return QMT_ACTOR_STOPPING;
	}
}

static uint64_t ticks_to_us(struct qmt_system *sys, uint64_t ticks)
{
	double passed = (double)(clock_ticks() - sys->start_ticks);

	if (sys->sim || passed < 1)
		return 0;
	return (uint64_t)((double)ticks * ((double)(now_ns(sys->control) - sys->start_ns) / passed) / NS_PER_US);
}

bool qmt__actor_show_locked(struct qmt_system *sys, struct qmt_actor *a, struct actor_shown *shown)
{
	const struct qmt_actor_desc *desc = atomic_load_explicit(&a->desc, ACQUIRE);
	struct qmt_actor_info *info = &shown->info;
	struct actor_ext *ext;
	struct qmt_actor *parent;
	struct edge edge;

	if (!desc || desc == &qmt__outside_desc || word_is_closed(atomic_load_explicit(&a->top, RELAXED)))
		return false;
	ext = atomic_load_explicit(&a->ext, ACQUIRE);
	parent = atomic_load_explicit(&a->parent, RELAXED);
	*info = (struct qmt_actor_info){
		.self = a,
		.parent = parent && atomic_load_explicit(&parent->desc, RELAXED) != &qmt__outside_desc ? parent : NULL,
		.kind = desc->name,
		.name = qmt__actor_name_locked(a, shown->name),
		.parent_kind = parent ? atomic_load_explicit(&parent->desc, RELAXED)->name : NULL,
		.depth = mailbox_depth(a),
		.restarts = ext ? atomic_load_explicit(&ext->restarts, RELAXED) : 0,
		.handled = atomic_load_explicit(&a->done, RELAXED),
		.status = status_of(a),
	};
	info->slow_ms = qmt__slow_ms(sys, a);
	if (!sys->sim)
		info->busy_us = ticks_to_us(sys, atomic_load_explicit(&a->ticks, RELAXED));
	if ((info->status == QMT_ACTOR_WAITING || info->status == QMT_ACTOR_MUTED) && edge_of(a, &edge)) {
		uint64_t now = clock_coarse_ns(sys->control);

		info->waits_for = edge.on.actor;
		info->waits_for_kind = atomic_load_explicit(&edge.on.actor->desc, ACQUIRE)->name;
		info->waits_for_name = qmt__actor_name_locked(edge.on.actor, shown->waits_for_name);
		info->waits_ms = now > edge.since_ns ? (now - edge.since_ns) / NS_PER_MS : 0;
		info->deadlocked = ext->deadlocked == edge.number;
	}
	return true;
}

struct visit {
	struct qmt_system *sys;
	void (*fn)(const struct qmt_actor_info *info, void *arg);
	void *arg;
};

/* Reads only what is atomic, or guarded by the registry's lock. */
static void visit_one(struct qmt_actor *a, void *arg)
{
	struct visit *visit = arg;
	struct actor_shown shown;
	bool there;

	pthread_mutex_lock(&visit->sys->registry.lock);
	there = qmt__actor_show_locked(visit->sys, a, &shown);
	pthread_mutex_unlock(&visit->sys->registry.lock);
	if (there)
		visit->fn(&shown.info, visit->arg);
}

void qmt_system_actors(struct qmt_system *sys, void (*fn)(const struct qmt_actor_info *info, void *arg), void *arg)
{
	struct visit visit = {sys, fn, arg};

	qmt__slab_each_actor(sys, visit_one, &visit);
}
