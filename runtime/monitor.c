/* runtime/monitor.c - who wants to hear of whose end.
 *
 * The watched actor keeps the message by which the watcher asked and sends it back when it ends, so telling needs no
 * memory. The watcher keeps a list of whom it watches: what is not on it (any more) is not reported.
 */
#include "send.h"

#include <errno.h>

struct monitored {
	struct monitored *next;
	struct qmt_ref who;
};

/* Body of INTERNAL_MONITOR, _DEMONITOR and _DOWN. */
struct down {
	struct qmt_actor *who;
	uint32_t gen;
	uint32_t rid; /* of a DOWN: only the ref with this number is; 0: the actor itself */
	int reason;
};

static struct qmt_msg *new_message(struct qmt_ctx *ctx, uint16_t type, struct qmt_ref who)
{
	struct qmt_msg *m = msg_alloc(ctx, sizeof(struct down));

	if (m) {
		*(struct down *)(void *)m->body = (struct down){who.actor, who.gen, 0, QMT_FAIL_NOT_RUNNING};
		m->flags = MSG_INTERNAL;
		m->type = type;
		m->from = ctx->cur;
		m->src_gen = actor_gen(ctx->cur);
		m->to_gen = who.gen;
	}
	return m;
}

/* Back to the watcher. Takes m. */
static void send_down(struct qmt_ctx *ctx, struct qmt_msg *m, int reason)
{
	struct qmt_actor *watcher = m->from;

	((struct down *)(void *)m->body)->reason = reason;
	m->type = INTERNAL_DOWN;
	m->to_gen = m->src_gen;
	if (qmt__system_push(ctx, watcher, m))
		msg_free(ctx, m);
}

/* Whether ctx->cur watches this incarnation under any number. */
static bool is_watched(const struct actor_ext *ext, struct qmt_ref who)
{
	for (const struct monitored *on = ext->monitored; on; on = on->next)
		if (on->who.actor == who.actor && on->who.gen == who.gen)
			return true;
	return false;
}

int qmt_monitor(struct qmt_ctx *ctx, struct qmt_ref who)
{
	struct actor_ext *ext;
	struct monitored *on;

	if (!ctx->cur)
		return -ENOTSUP;
	if (!who.actor)
		return -EINVAL;
	ext = qmt__actor_need_ext(ctx->cur);
	if (!ext)
		return -ENOMEM;
	for (on = ext->monitored; on; on = on->next)
		if (qmt_ref_eq(on->who, who))
			return 0;
	on = malloc(sizeof *on);
	if (!on)
		return -ENOMEM;
	if (!is_watched(ext, who)) {
		struct qmt_msg *m = new_message(ctx, INTERNAL_MONITOR, who);

		if (!m) {
			free(on);
			return -ENOMEM;
		}
		if (actor_gen(who.actor) != who.gen || qmt__system_push(ctx, who.actor, m))
			send_down(ctx, m, QMT_FAIL_NOT_RUNNING);
	}
	*on = (struct monitored){.next = ext->monitored, .who = who};
	ext->monitored = on;
	return 0;
}

/* Without memory the watched actor keeps its note until it ends; nobody listens to it then. */
static void tell_demonitor(struct qmt_ctx *ctx, struct qmt_ref who)
{
	struct qmt_msg *m = new_message(ctx, INTERNAL_DEMONITOR, who);

	if (m && (actor_gen(who.actor) != who.gen || qmt__system_push(ctx, who.actor, m)))
		msg_free(ctx, m);
}

void qmt_demonitor(struct qmt_ctx *ctx, struct qmt_ref who)
{
	struct actor_ext *ext = ctx->cur ? actor_ext(ctx->cur) : NULL;

	if (!ext)
		return;
	for (struct monitored **at = &ext->monitored; *at; at = &(*at)->next) {
		struct monitored *on = *at;

		if (!qmt_ref_eq(on->who, who))
			continue;
		*at = on->next;
		free(on);
		if (!is_watched(ext, who))
			tell_demonitor(ctx, who);
		return;
	}
}

/* The incarnation is over. */
void qmt__monitors_release(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct actor_ext *ext = actor_ext(a);

	while (ext->monitored) {
		struct monitored *on = ext->monitored;

		ext->monitored = on->next;
		if (!is_watched(ext, on->who))
			tell_demonitor(ctx, on->who);
		free(on);
	}
}

static void forget_watcher(struct qmt_ctx *ctx, struct qmt_actor *a, const struct qmt_msg *m)
{
	struct actor_ext *ext = actor_ext(a);

	for (struct qmt_msg **at = ext ? &ext->watchers : NULL; at && *at; at = &(*at)->next) {
		struct qmt_msg *watcher = *at;

		if (watcher->from == m->from && watcher->src_gen == m->src_gen) {
			*at = watcher->next;
			msg_free(ctx, watcher);
			return;
		}
	}
}

static void report_down(struct qmt_ctx *ctx, struct qmt_actor *a, const struct down *down)
{
	struct actor_ext *ext = actor_ext(a);
	struct monitored **at = ext ? &ext->monitored : NULL;

	while (at && *at) {
		struct monitored *on = *at;
		struct qmt_ref who = on->who;

		if (who.actor != down->who || who.gen != down->gen || (down->rid && who.rid != down->rid)) {
			at = &on->next;
			continue;
		}
		*at = on->next;
		free(on);
		if (a->status == STATUS_RUN && !(ctx->ctl & (CTL_STOP | CTL_FAIL)) && actor_desc(a)->down) {
			actor_desc(a)->down(ctx, actor_state(a), who, who.rid && !down->rid ? QMT_FAIL_PEER_GONE : down->reason);
			at = &ext->monitored; /* the hook may have changed the list */
		}
	}
}

void qmt__monitor_message(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	struct actor_ext *ext;

	switch (m->type) {
	case INTERNAL_MONITOR:
		if (m->to_gen != actor_gen(a)) {
			send_down(ctx, m, QMT_FAIL_NOT_RUNNING);
			return;
		}
		ext = qmt__actor_need_ext(a);
		if (ext) {
			m->next = ext->watchers;
			ext->watchers = m;
			return;
		}
		qmt_log(ctx->sys->log, QMT_ERROR, "monitor.lost", "kind", actor_desc(a)->name, "reason", "out of memory", NULL);
		break;
	case INTERNAL_DEMONITOR:
		if (m->to_gen == actor_gen(a))
			forget_watcher(ctx, a, m);
		break;
	default:
		report_down(ctx, a, (const struct down *)(const void *)m->body);
	}
	msg_free(ctx, m);
}

/* Whoever watches anything of this link is told; only those who watch that number listen. */
void qmt_ref_ended(struct qmt_ctx *ctx, uint32_t rid)
{
	struct actor_ext *ext = ctx->cur ? actor_ext(ctx->cur) : NULL;

	for (struct qmt_msg *watcher = ext ? ext->watchers : NULL; watcher; watcher = watcher->next) {
		struct qmt_msg *m = msg_alloc(ctx, sizeof(struct down));

		if (!m) {
			qmt_log(ctx->sys->log, QMT_ERROR, "monitor.lost", "kind", actor_desc(ctx->cur)->name, "reason",
				"out of memory", NULL);
			return;
		}
		*(struct down *)(void *)m->body = (struct down){ctx->cur, actor_gen(ctx->cur), rid, QMT_FAIL_NOT_RUNNING};
		m->flags = MSG_INTERNAL;
		m->type = INTERNAL_DOWN;
		m->from = watcher->from;
		m->to_gen = m->src_gen = watcher->src_gen;
		if (qmt__system_push(ctx, watcher->from, m))
			msg_free(ctx, m);
	}
}

/* `ext` of an actor that has ended. */
void qmt__watchers_tell(struct qmt_ctx *ctx, struct actor_ext *ext, int reason)
{
	while (ext->watchers) {
		struct qmt_msg *m = ext->watchers;

		ext->watchers = m->next;
		send_down(ctx, m, reason);
	}
}
