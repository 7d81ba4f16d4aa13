/* runtime/link.c - incarnations that end together.
 *
 * A link has a number and two notes, made at once: each side keeps the one that it sends when it ends, so telling needs
 * no memory; the other side's brings the room to keep it along (qmt__ext_bring). Who is told looks the number up among
 * its own links: what is not there (any more) belongs to an earlier incarnation, or was undone, and is nobody's
 * concern. The same notes undo a link.
 *
 *      A: qmt_link --LINK, kept by B--> B            A ends: its note goes to B as LINK_DIED, or as UNLINK
 *         keeps the other note                       B ends: its note goes to A
 *
 * Across nodes the link actor stands in for the peer's actor, on both sides: it keeps notes as that one would, with the
 * number (rid) that it has there, and its hook `bond` tells the peer what becomes of them. So a connection that ends
 * releases its notes as any actor does, and whoever is linked through it is told QMT_FAIL_PEER_GONE.
 */
#include "send.h"

#include <errno.h>

/* Body of INTERNAL_LINK, _UNLINK and _LINK_DIED. While it is kept, from and src_gen of the message say to whom it will
 * go. */
struct link_note {
	struct qmt_actor *owner; /* who keeps it */
	uint32_t owner_gen;
	uint32_t owner_rid;      /* not 0: owner is a link and stands for the peer's actor of this number */
	uint32_t peer_rid;       /* the same of whom it goes to */
	int reason;
	uint64_t id;
	struct actor_ext *spare; /* of a LINK on its way: qmt__ext_bring */
};

static struct link_note *note_of(struct qmt_msg *m)
{
	return (struct link_note *)(void *)m->body;
}

static struct qmt_msg *new_note(struct qmt_ctx *ctx, struct qmt_ref owner, struct qmt_ref peer, uint64_t id)
{
	struct qmt_msg *m = msg_alloc(ctx, sizeof(struct link_note));

	if (m) {
		*note_of(m) = (struct link_note){
			.owner = owner.actor, .owner_gen = owner.gen, .owner_rid = owner.rid, .peer_rid = peer.rid, .id = id};
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

	qmt__actor_ext_free(note_of(m)->spare);
	note_of(m)->spare = NULL;
	note_of(m)->reason = reason;
	m->type = type;
	m->to_gen = m->src_gen;
	if (actor_gen(peer) != m->src_gen || qmt__system_push(ctx, peer, m))
		msg_free(ctx, m);
}

/* Both notes of a link between `owner`, which is ctx->cur or stands behind it, and `who`. Returns 0; <0. The owner's is
 * kept; *ret_theirs is to be sent. */
static int make(struct qmt_ctx *ctx, struct qmt_ref owner, struct qmt_ref who, struct qmt_msg **ret_theirs)
{
	uint64_t id = atomic_fetch_add_explicit(&ctx->sys->link_ids, 1, RELAXED) + 1;
	struct actor_ext *ext = qmt__actor_need_ext(ctx->cur);
	struct qmt_msg *mine = ext ? new_note(ctx, owner, who, id) : NULL;
	struct qmt_msg *theirs = mine ? new_note(ctx, who, owner, id) : NULL;

	if (!theirs || qmt__ext_bring(who, &note_of(theirs)->spare)) {
		qmt_msg_free(ctx, theirs);
		qmt_msg_free(ctx, mine);
		return -ENOMEM;
	}
	mine->next = ext->links;
	ext->links = mine;
	*ret_theirs = theirs;
	return 0;
}

/* Of the actor that keeps it with `who`; what a link keeps for the peer's actors is theirs. */
static bool is_own(const struct qmt_msg *m, struct qmt_ref who)
{
	const struct link_note *note = note_of((struct qmt_msg *)m);

	return !note->owner_rid && m->from == who.actor && m->src_gen == who.gen && note->peer_rid == who.rid;
}

int qmt_link(struct qmt_ctx *ctx, struct qmt_ref who)
{
	const struct qmt_actor_desc *desc;
	struct qmt_msg *theirs;
	struct actor_ext *ext;
	int rc;

	if (!ctx->cur || (ctx->cur->flags & ACTOR_OUTSIDE))
		return -ENOTSUP;
	if (!who.actor || who.actor == ctx->cur)
		return -EINVAL;
	desc = atomic_load_explicit(&who.actor->desc, ACQUIRE);
	if (who.rid && actor_gen(who.actor) == who.gen && !desc->bond)
		return QMT_FAIL_NO_ROUTE;
	ext = actor_ext(ctx->cur);
	for (const struct qmt_msg *m = ext ? ext->links : NULL; m; m = m->next)
		if (is_own(m, who))
			return 0;
	rc = make(ctx, actor_ref(ctx->cur), who, &theirs);
	if (rc)
		return rc;
	if (actor_gen(who.actor) != who.gen || qmt__system_push(ctx, who.actor, theirs))
		send_note(ctx, theirs, INTERNAL_LINK_DIED, who.rid ? QMT_FAIL_PEER_GONE : QMT_FAIL_NOT_RUNNING);
	return 0;
}

void qmt_unlink(struct qmt_ctx *ctx, struct qmt_ref who)
{
	struct actor_ext *ext = ctx->cur ? actor_ext(ctx->cur) : NULL;
	struct qmt_msg **at = ext ? &ext->links : NULL;

	while (at && *at) {
		struct qmt_msg *m = *at;

		if (is_own(m, who)) {
			*at = m->next;
			send_note(ctx, m, INTERNAL_UNLINK, 0);
		} else {
			at = &m->next;
		}
	}
}

/* The link of this number among a's, taken out. NULL: it has none. */
static struct qmt_msg *take_out(struct qmt_actor *a, uint64_t id)
{
	struct actor_ext *ext = actor_ext(a);

	for (struct qmt_msg **at = ext ? &ext->links : NULL; at && *at; at = &(*at)->next) {
		struct qmt_msg *m = *at;

		if (note_of(m)->id == id) {
			*at = m->next;
			return m;
		}
	}
	return NULL;
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

/* One that waits for its restart is linked for its next incarnation; a link actor has none. */
static bool can_be_linked(const struct qmt_actor *a, const struct qmt_msg *m)
{
	if (m->to_gen != atomic_load_explicit(&a->gen, RELAXED))
		return false;
	return note_of((struct qmt_msg *)m)->owner_rid
		? a->status == STATUS_RUN
		: a->status != STATUS_STOPPING && a->status != STATUS_ENDED && a->status != STATUS_DEAD;
}

/* Somebody here is linked with an actor behind this link, or was; m is the link's own note. Returns the hook's. */
static int tell_bond(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m, enum qmt_bond_event event, int reason)
{
	const struct qmt_actor_desc *desc = actor_desc(a);
	struct qmt_bond bond = {.event = (uint8_t)event,
		.id = note_of(m)->id,
		.actor = {m->from, m->src_gen, note_of(m)->peer_rid},
		.rid = note_of(m)->owner_rid,
		.reason = reason};

	if (a->status != STATUS_RUN || ctx->ctl & (CTL_STOP | CTL_FAIL))
		return QMT_FAIL_PEER_GONE;
	return desc->bond ? desc->bond(ctx, actor_state(a), &bond) : QMT_FAIL_NO_ROUTE;
}

/* Takes m: the note that a is to keep. */
static void linked(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	bool is_remote = note_of(m)->owner_rid != 0;
	struct actor_ext *ext;
	int failed = 0;

	if (!can_be_linked(a, m))
		failed = is_remote ? QMT_FAIL_PEER_GONE : QMT_FAIL_NOT_RUNNING;
	else if (is_remote)
		failed = tell_bond(ctx, a, m, QMT_BOND_MADE, 0);
	if (failed) {
		send_note(ctx, m, INTERNAL_LINK_DIED, failed < 0 ? QMT_FAIL_FAILED : failed);
		return;
	}
	ext = qmt__ext_take(ctx, a, &note_of(m)->spare);
	m->next = ext->links;
	ext->links = m;
}

/* The next incarnation of one that waits for its restart is linked, and is to hear that the other one has ended before
 * it began: the note stays, as LINK_DIED, until then. */
static void keep_until_started(struct actor_ext *ext, struct qmt_msg *mine, int reason)
{
	note_of(mine)->reason = reason;
	mine->type = INTERNAL_LINK_DIED;
	mine->next = ext->links;
	ext->links = mine;
}

void qmt__links_started(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct qmt_msg **at = &actor_ext(a)->links;

	while (*at && !(ctx->ctl & (CTL_STOP | CTL_FAIL))) {
		struct qmt_msg *m = *at;

		if (m->type != INTERNAL_LINK_DIED) {
			at = &m->next;
			continue;
		}
		*at = m->next;
		died(ctx, a, (struct qmt_ref){m->from, m->src_gen, note_of(m)->peer_rid}, note_of(m)->reason);
		msg_free(ctx, m);
		at = &actor_ext(a)->links; /* the hook may have changed the list */
	}
}

void qmt__link_message(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	const struct link_note *note = note_of(m);
	bool has_died = m->type == INTERNAL_LINK_DIED;
	struct qmt_msg *mine;

	if (m->type == INTERNAL_LINK) {
		linked(ctx, a, m);
		return;
	}
	mine = m->to_gen == actor_gen(a) ? take_out(a, note->id) : NULL;
	if (mine && note_of(mine)->owner_rid)
		(void)tell_bond(ctx, a, mine, has_died ? QMT_BOND_ENDED : QMT_BOND_UNDONE, note->reason);
	else if (mine && has_died && a->status == STATUS_RESTARTING) {
		keep_until_started(actor_ext(a), mine, note->reason);
		mine = NULL;
	} else if (mine && has_died)
		died(ctx, a, (struct qmt_ref){note->owner, note->owner_gen, note->owner_rid}, note->reason);
	qmt_msg_free(ctx, mine);
	msg_free(ctx, m);
}

/* The incarnation is over. */
void qmt__links_release(struct qmt_ctx *ctx, struct actor_ext *ext, int reason)
{
	while (ext->links) {
		struct qmt_msg *m = ext->links;

		ext->links = m->next;
		send_note(ctx, m, INTERNAL_LINK_DIED, note_of(m)->owner_rid ? QMT_FAIL_PEER_GONE : reason);
	}
}

/* ---- for link actors (port.h) ------------------------------------------------------------------------------------ */

int qmt_bond_make(struct qmt_ctx *ctx, struct qmt_ref who, uint32_t rid, uint64_t *ret_id)
{
	const struct qmt_actor_desc *desc;
	struct qmt_msg *theirs;
	struct qmt_ref owner;
	uint64_t id;
	int rc;

	if (!ctx->cur || (ctx->cur->flags & ACTOR_OUTSIDE))
		return -ENOTSUP;
	if (!who.actor || who.actor == ctx->cur || !rid)
		return -EINVAL;
	desc = atomic_load_explicit(&who.actor->desc, ACQUIRE);
	if (actor_gen(who.actor) != who.gen)
		return who.rid ? QMT_FAIL_PEER_GONE : QMT_FAIL_NOT_RUNNING;
	/* behind another link: its own node says whether it may be */
	if (who.rid ? !desc->bond : !desc->remote_links)
		return who.rid ? QMT_FAIL_NO_ROUTE : QMT_FAIL_NOT_ALLOWED;
	owner = actor_ref(ctx->cur);
	owner.rid = rid;
	rc = make(ctx, owner, who, &theirs);
	if (rc)
		return rc;
	id = note_of(theirs)->id;
	if (qmt__system_push(ctx, who.actor, theirs)) {
		qmt__actor_ext_free(note_of(theirs)->spare);
		msg_free(ctx, theirs);
		msg_free(ctx, take_out(ctx->cur, id));
		return who.rid ? QMT_FAIL_PEER_GONE : QMT_FAIL_NOT_RUNNING;
	}
	*ret_id = id;
	return 0;
}

static void bond_over(struct qmt_ctx *ctx, uint64_t id, uint16_t type, int reason)
{
	struct qmt_msg *m = ctx->cur ? take_out(ctx->cur, id) : NULL;

	if (m)
		send_note(ctx, m, type, reason);
}

void qmt_bond_end(struct qmt_ctx *ctx, uint64_t id, int reason)
{
	bond_over(ctx, id, INTERNAL_LINK_DIED, reason);
}

void qmt_bond_undo(struct qmt_ctx *ctx, uint64_t id)
{
	bond_over(ctx, id, INTERNAL_UNLINK, 0);
}
