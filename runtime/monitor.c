/* runtime/monitor.c - who wants to hear of whose end.
 *
 * The watched actor keeps the message by which the watcher asked and sends it back when it ends, so telling needs no
 * memory; the room to keep it is brought along (qmt__ext_bring). There is one message for each ref that is watched,
 * also behind a link: there the link keeps it until what the ref means has ended, or the link has. The watcher keeps a
 * list of whom it watches: what is not on it (any more) is not reported.
 */
#include "send.h"

#include <errno.h>

struct monitored {
	struct monitored *next;
	struct qmt_ref who;
};

/* Body of INTERNAL_MONITOR, _DEMONITOR and _DOWN. */
struct down {
	struct qmt_ref who;
	int reason;
	struct actor_ext *spare; /* of a MONITOR on its way: qmt__ext_bring */
};

static struct down *down_of(struct qmt_msg *m)
{
	return (struct down *)(void *)m->body;
}

static struct qmt_msg *new_message(struct qmt_ctx *ctx, uint16_t type, struct qmt_ref who)
{
	struct qmt_msg *m = msg_alloc(ctx, sizeof(struct down));

	if (m) {
		*down_of(m) = (struct down){.who = who};
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

	qmt__actor_ext_free(down_of(m)->spare);
	down_of(m)->spare = NULL;
	down_of(m)->reason = reason;
	m->type = INTERNAL_DOWN;
	m->to_gen = m->src_gen;
	if (qmt__system_push(ctx, watcher, m))
		msg_free(ctx, m);
}

/* The same, as who.actor, which for a ref behind a link is the link, has ended for this reason. */
static void send_end(struct qmt_ctx *ctx, struct qmt_msg *m, int reason)
{
	send_down(ctx, m, down_of(m)->who.rid ? QMT_FAIL_PEER_GONE : reason);
}

int qmt_monitor(struct qmt_ctx *ctx, struct qmt_ref who)
{
	struct actor_ext *ext, *spare;
	struct monitored *on;
	struct qmt_msg *m;

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
	if (qmt__ext_bring(who, &spare))
		return -ENOMEM;
	on = malloc(sizeof *on);
	m = on ? new_message(ctx, INTERNAL_MONITOR, who) : NULL;
	if (!m) {
		qmt__actor_ext_free(spare);
		free(on);
		return -ENOMEM;
	}
	down_of(m)->spare = spare;
	if (actor_gen(who.actor) != who.gen || qmt__system_push(ctx, who.actor, m))
		send_end(ctx, m, QMT_FAIL_NOT_RUNNING);
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

	for (struct monitored **at = ext ? &ext->monitored : NULL; at && *at; at = &(*at)->next) {
		struct monitored *on = *at;

		if (!qmt_ref_eq(on->who, who))
			continue;
		*at = on->next;
		free(on);
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
		tell_demonitor(ctx, on->who);
		free(on);
	}
}

static void forget_watcher(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	struct actor_ext *ext = actor_ext(a);

	for (struct qmt_msg **at = ext ? &ext->watchers : NULL; at && *at; at = &(*at)->next) {
		struct qmt_msg *watcher = *at;

		if (watcher->from == m->from && watcher->src_gen == m->src_gen &&
			down_of(watcher)->who.rid == down_of(m)->who.rid) {
			*at = watcher->next;
			msg_free(ctx, watcher);
			return;
		}
	}
}

static void report_down(struct qmt_ctx *ctx, struct qmt_actor *a, const struct down *down)
{
	struct actor_ext *ext = actor_ext(a);

	for (struct monitored **at = ext ? &ext->monitored : NULL; at && *at; at = &(*at)->next) {
		struct monitored *on = *at;

		if (!qmt_ref_eq(on->who, down->who))
			continue;
		*at = on->next;
		free(on);
		if (a->status == STATUS_RUN && !(ctx->ctl & (CTL_STOP | CTL_FAIL)) && actor_desc(a)->down)
			actor_desc(a)->down(ctx, actor_state(a), down->who, down->reason);
		return;
	}
}

void qmt__monitor_message(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	struct actor_ext *ext;

	switch (m->type) {
	case INTERNAL_MONITOR:
		if (m->to_gen != actor_gen(a)) {
			send_end(ctx, m, QMT_FAIL_NOT_RUNNING);
			return;
		}
		ext = qmt__ext_take(ctx, a, &down_of(m)->spare);
		m->next = ext->watchers;
		ext->watchers = m;
		return;
	case INTERNAL_DEMONITOR:
		if (m->to_gen == actor_gen(a))
			forget_watcher(ctx, a, m);
		break;
	default:
		report_down(ctx, a, down_of(m));
	}
	msg_free(ctx, m);
}

void qmt_ref_ended(struct qmt_ctx *ctx, uint32_t rid)
{
	struct actor_ext *ext = ctx->cur ? actor_ext(ctx->cur) : NULL;
	struct qmt_msg **at = ext && rid ? &ext->watchers : NULL;

	while (at && *at) {
		struct qmt_msg *m = *at;

		if (down_of(m)->who.rid == rid) {
			*at = m->next;
			send_down(ctx, m, QMT_FAIL_NOT_RUNNING);
		} else {
			at = &m->next;
		}
	}
}

/* `ext` of an actor that has ended. */
void qmt__watchers_tell(struct qmt_ctx *ctx, struct actor_ext *ext, int reason)
{
	while (ext->watchers) {
		struct qmt_msg *m = ext->watchers;

		ext->watchers = m->next;
		send_end(ctx, m, reason);
	}
}
