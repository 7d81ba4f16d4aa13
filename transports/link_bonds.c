/* transports/link_bonds.c - actors that are linked (qmt_link) across this link.
 *
 *      linker's side                                             other side
 *      hook MADE, a row              -- LINK_BOND id, to, from -->  may it be? then qmt_bond_make, a row
 *                                    <-- BOND_OVER, refused ------  else
 *      hook UNDONE or ENDED, no row  -- BOND_OVER id -->            qmt_bond_undo, qmt_bond_end
 *      qmt_bond_undo, qmt_bond_end   <-- BOND_OVER id ------------  hook UNDONE or ENDED, no row
 *
 * The linker numbers a bond; whoever speaks of it says whose number that is. Both may end it at once: then each finds
 * no row for what the other says, and that is all.
 *
 * What a peer may not do: link with an actor that did not ask for it (qmt_actor_desc.remote_links), that this node did
 * not give it a ref to, in the name of an actor that is not its own, or more than bonds_max times; nor make more than
 * that between two ticks, for each is a note in the system lane of the actor, which passes its bound.
 */
#include <errno.h>

#include "proto/codec.h"
#include "transports/link_internal.h"

struct link_bond_row {
	uint64_t local, wire; /* number here, and on the link; of ours both are the same */
	bool theirs;
};

static bool is_served(const struct link *link)
{
	return link_wire_wanted(link) && (link->state == LINK_UP || link->state == LINK_DRAINING || link->use_seen);
}

static bool has_room(struct link *link)
{
	uint32_t room = link->bond_room ? link->bond_room * 2 : 8;
	struct link_bond_row *rows;

	if (link->bond_count < link->bond_room)
		return true;
	rows = realloc(link->bonds, room * sizeof(*rows));
	if (!rows)
		return false;
	link->bonds = rows;
	link->bond_room = room;
	return true;
}

static struct link_bond_row *find_wire(struct link *link, uint64_t wire, bool theirs)
{
	for (uint32_t i = 0; i < link->bond_count; i++)
		if (link->bonds[i].wire == wire && link->bonds[i].theirs == theirs)
			return &link->bonds[i];
	return NULL;
}

static struct link_bond_row *find_local(struct link *link, uint64_t local)
{
	for (uint32_t i = 0; i < link->bond_count; i++)
		if (link->bonds[i].local == local)
			return &link->bonds[i];
	return NULL;
}

static void drop(struct link *link, struct link_bond_row *row)
{
	*row = link->bonds[--link->bond_count];
}

static void say_over(struct qmt_ctx *ctx, struct link *link, const struct link_bond_over *over)
{
	link_send_control(ctx, link, LINK_BOND_OVER, &link_bond_over_record, over);
}

/* ---- what happens here ------------------------------------------------------------------------------------------- */

static int made(struct qmt_ctx *ctx, struct link *link, const struct qmt_bond *bond)
{
	struct link_refs_arg refs = {ctx, link};
	struct link_bond record = {.id = bond->id, .to = bond->rid};

	if (link->state != LINK_UP && link->state != LINK_DRAINING)
		return QMT_FAIL_PEER_GONE;
	if (!(link->hello.peer.features & HELLO_FEATURE_BONDS))
		return QMT_FAIL_UNKNOWN_MESSAGE;
	if (link_import_is_dead(link, bond->rid))
		return QMT_FAIL_NOT_RUNNING;
	/* Words of the link that find no room cut it: an actor that links and unlinks all day must not do that. */
	if (link->bond_count >= link->limits->bonds_max || outbox_control_is_deep(&link->outbox) || !has_room(link) ||
		link_ref_out(&refs, bond->actor, &record.from))
		return QMT_FAIL_FULL;
	link->bonds[link->bond_count++] = (struct link_bond_row){.local = bond->id, .wire = bond->id};
	link->data_ms = qmt_now_ms(ctx);
	link_send_control(ctx, link, LINK_BOND, &link_bond_record, &record);
	return 0;
}

int link_bond(struct qmt_ctx *ctx, void *state, const struct qmt_bond *bond)
{
	struct link *link = state;
	struct link_bond_row *row;

	if (!link_wire_wanted(link))
		return QMT_FAIL_PEER_GONE;
	if (bond->event == QMT_BOND_MADE)
		return made(ctx, link, bond);
	row = find_local(link, bond->id);
	if (!row)
		return 0;
	struct link_bond_over over = {.id = row->wire, .yours = row->theirs, .undone = bond->event == QMT_BOND_UNDONE};

	if (!over.undone)
		over.reason = (uint32_t)bond->reason;
	drop(link, row);
	say_over(ctx, link, &over);
	return 0;
}

/* ---- what the peer says ------------------------------------------------------------------------------------------ */

/* 0: made; an enum qmt_fail, and *ret_why for the log. */
static int try_bond(struct qmt_ctx *ctx, struct link *link, const struct link_bond *record, const char **ret_why)
{
	struct link_refs_arg refs = {ctx, link};
	struct qmt_ref target, from;
	uint64_t local;
	int rc;

	*ret_why = "this link is not in use yet";
	if (!is_served(link))
		return QMT_FAIL_NOT_ALLOWED;
	*ret_why = "the peer has, or has just made, bonds_max links to actors here";
	if (link->bond_count >= link->limits->bonds_max ||
		link->bonds_fresh >= link->limits->bonds_max || !has_room(link))
		return QMT_FAIL_FULL;
	*ret_why = "it wants to be linked with an actor that has ended, or was not given to it";
	if (record->to == 0 || record->to > UINT32_MAX || !export_find(&link->exports, (uint32_t)record->to, &target))
		return QMT_FAIL_NOT_RUNNING;
	*ret_why = "it wants to link an actor that is not its own";
	if (record->from & 1 || link_ref_in(&refs, record->from, &from))
		return QMT_FAIL_BAD_REQUEST;
	rc = qmt_bond_make(ctx, target, from.rid, &local);
	*ret_why = rc == QMT_FAIL_NOT_ALLOWED ? "it wants to be linked with an actor whose module does not allow it: its "
											"descriptor does not say remote_links"
										  : qmt_fail_name(rc);
	if (rc)
		return rc > 0 ? rc : QMT_FAIL_FULL;
	link->bonds_fresh++;
	link->bonds[link->bond_count++] = (struct link_bond_row){.local = local, .wire = record->id, .theirs = true};
	return 0;
}

void link_take_bond(struct qmt_ctx *ctx, struct link *link, const struct envelope *env)
{
	struct link_bond *record = codec_decode_new(&link_bond_record, env->body, NULL, NULL);
	const char *why = "a link between actors that cannot be read";
	int failed = 0;

	link->data_ms = link->heard_ms;
	if (!record || find_wire(link, record->id, true)) {
		link->counts.refused++;
		link_complain(
			ctx, link, COMPLAIN_BAD_BODY, record ? "a link between actors under the number of another" : why, "");
	} else {
		failed = try_bond(ctx, link, record, &why);
	}
	if (failed) {
		link->counts.refused++;
		if (failed != QMT_FAIL_NOT_RUNNING) /* it may just have ended */
			link_complain(ctx, link, COMPLAIN_BOND, why, "");
		say_over(ctx, link, &(struct link_bond_over){.id = record->id, .yours = true, .reason = (uint32_t)failed});
	}
	free(record);
}

/* A reason as the peer gives it; what is none of this version's is a failure all the same. */
static int clean_reason(uint32_t reason)
{
	switch (reason) {
	case 0:
#define QMT_FAILURE(name, value, text, doc) case value:
#include "runtime/failures.def"
#undef QMT_FAILURE
		return (int)reason;
	default:
		return QMT_FAIL_FAILED;
	}
}

void link_take_bond_over(struct qmt_ctx *ctx, struct link *link, const struct envelope *env)
{
	struct link_bond_over *over = codec_decode_new(&link_bond_over_record, env->body, NULL, NULL);
	struct link_bond_row *row = over ? find_wire(link, over->id, !over->yours) : NULL;

	link->data_ms = link->heard_ms;
	if (!over)
		link_complain(ctx, link, COMPLAIN_BAD_BODY, "the end of a link between actors that cannot be read", "");
	if (row) {
		uint64_t local = row->local;

		drop(link, row);
		if (over->undone)
			qmt_bond_undo(ctx, local);
		else
			qmt_bond_end(ctx, local, clean_reason(over->reason));
	}
	free(over);
}
