/* runtime/link.c - incarnations that end together.
 *
 * A link has a number and two notes, made at once: each side keeps the one that it sends when it ends, so telling needs
 * no memory. Who is told looks the number up among its own links: what is not there (any more) belongs to an earlier
 * incarnation, or was undone, and is nobody's concern. The same notes undo a link.
 *
 *      A: qmt_link --LINK, kept by B--> B            A ends: its note goes to B as LINK_DIED, or as UNLINK
 *         keeps the other note                       B ends: its note goes to A
 */
#include "send.h"

#include <errno.h>

/* Body of INTERNAL_LINK, _UNLINK and _LINK_DIED. While it is kept, from and src_gen of the message say to whom it will
 * go. */
struct link_note {
	struct qmt_actor *owner; /* who keeps it */
	uint32_t owner_gen;
	int reason;
	uint64_t id;
};

static struct link_note *note_of(struct qmt_msg *m)
{
	return (struct link_note *)(void *)m->body;
}

static struct qmt_msg *new_note(struct qmt_ctx *ctx, struct qmt_ref owner, struct qmt_ref peer, uint64_t id)
{
	struct qmt_msg *m = msg_alloc(ctx, sizeof(struct link_note));

	if (m) {
		*note_of(m) = (struct link_note){.owner = owner.actor, .owner_gen = owner.gen, .id = id};
		m->flags = MSG_INTERNAL;
		m->type = INTERNAL_LINK;
		m->from = peer.actor;
		m->src_gen = peer.gen;
		m->to_gen = owner.gen;
	}
	return m;
}

/* To the one that the note names. Takes m. */
static void send_note(struct qmt_ctx *ctx, struct qmt_msg *m, uint16_t type, int reason)
{
	struct qmt_actor *peer = m->from;

	note_of(m)->reason = reason;
	m->type = type;
	m->to_gen = m->src_gen;
	if (actor_gen(peer) != m->src_gen || qmt__system_push(ctx, peer, m))
		msg_free(ctx, m);
}

int qmt_link(struct qmt_ctx *ctx, struct qmt_ref who)
{
	struct qmt_msg *mine, *theirs;
	struct actor_ext *ext;
	uint64_t id;

	if (!ctx->cur || (ctx->cur->flags & ACTOR_OUTSIDE))
		return -ENOTSUP;
	if (!who.actor || who.actor == ctx->cur)
		return -EINVAL;
	if (who.rid)
		return QMT_FAIL_NO_ROUTE;
	ext = qmt__actor_need_ext(ctx->cur);
	if (!ext)
		return -ENOMEM;
	for (const struct qmt_msg *m = ext->links; m; m = m->next)
		if (m->from == who.actor && m->src_gen == who.gen)
			return 0;
	id = atomic_fetch_add_explicit(&ctx->sys->link_ids, 1, RELAXED) + 1;
	mine = new_note(ctx, actor_ref(ctx->cur), who, id);
	theirs = mine ? new_note(ctx, who, actor_ref(ctx->cur), id) : NULL;
	if (!theirs) {
		qmt_msg_free(ctx, mine);
		return -ENOMEM;
	}
	mine->next = ext->links;
	ext->links = mine;
	if (actor_gen(who.actor) != who.gen || qmt__system_push(ctx, who.actor, theirs))
		send_note(ctx, theirs, INTERNAL_LINK_DIED, QMT_FAIL_NOT_RUNNING);
	return 0;
}

void qmt_unlink(struct qmt_ctx *ctx, struct qmt_ref who)
{
	struct actor_ext *ext = ctx->cur ? actor_ext(ctx->cur) : NULL;
	struct qmt_msg **at = ext ? &ext->links : NULL;

	while (at && *at) {
		struct qmt_msg *m = *at;

		if (m->from == who.actor && m->src_gen == who.gen && !who.rid) {
			*at = m->next;
			send_note(ctx, m, INTERNAL_UNLINK, 0);
		} else {
			at = &m->next;
		}
	}
}

/* Takes the link out of a's. False: it has none of this number. */
static bool forget(struct qmt_ctx *ctx, struct qmt_actor *a, uint64_t id)
{
	struct actor_ext *ext = actor_ext(a);

	for (struct qmt_msg **at = ext ? &ext->links : NULL; at && *at; at = &(*at)->next) {
		struct qmt_msg *m = *at;

		if (note_of(m)->id == id) {
			*at = m->next;
			msg_free(ctx, m);
			return true;
		}
	}
	return false;
}

/* A linked actor has ended: so does this one, unless its hook says otherwise. */
static void died(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_ref who, int reason)
{
	const struct qmt_actor_desc *desc = actor_desc(a);

	if (a->status != STATUS_RUN || ctx->ctl & (CTL_STOP | CTL_FAIL))
		return;
	if (desc->link_died && desc->link_died(ctx, actor_state(a), who, reason))
		return;
	if (reason)
		qmt__fail_text(ctx, "a linked actor ended: %s", qmt_fail_name(reason));
	else
		ctx->ctl |= CTL_STOP;
}

/* One that waits for its restart is linked for its next incarnation. */
static bool can_be_linked(const struct qmt_actor *a, const struct qmt_msg *m)
{
	return m->to_gen == atomic_load_explicit(&a->gen, RELAXED) && a->status != STATUS_STOPPING &&
		a->status != STATUS_ENDED && a->status != STATUS_DEAD;
}

void qmt__link_message(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	const struct link_note *note = note_of(m);

	switch (m->type) {
	case INTERNAL_LINK: {
		struct actor_ext *ext = can_be_linked(a, m) ? qmt__actor_need_ext(a) : NULL;

		if (ext) {
			m->next = ext->links;
			ext->links = m;
		} else {
			/* Without memory too: a link that cannot be kept is one that has died. */
			send_note(ctx, m, INTERNAL_LINK_DIED, QMT_FAIL_NOT_RUNNING);
		}
		return;
	}
	case INTERNAL_LINK_DIED:
		if (m->to_gen == actor_gen(a) && forget(ctx, a, note->id))
			died(ctx, a, (struct qmt_ref){note->owner, note->owner_gen, 0}, note->reason);
		break;
	default:
		if (m->to_gen == actor_gen(a))
			(void)forget(ctx, a, note->id);
	}
	msg_free(ctx, m);
}

/* The incarnation is over. */
void qmt__links_release(struct qmt_ctx *ctx, struct actor_ext *ext, int reason)
{
	while (ext->links) {
		struct qmt_msg *m = ext->links;

		ext->links = m->next;
		send_note(ctx, m, INTERNAL_LINK_DIED, reason);
	}
}
