/* transports/link_refs.c - refs that cross a link.
 *
 * An actor of this node gets an export number the first time a ref to it goes out, and is watched: when it ends, the
 * number is forgotten here and the peer is told (LINK_DROP), so that it need not send to nobody. An actor behind
 * another link is exported just the same: events of a session that lives elsewhere reach a control client through its
 * own node. An actor of the peer itself goes back under the peer's own number, so that it is one and the same there.
 *
 * LINK_DROP overtakes data, so a ref may arrive that is dead already; and one that arrived alive may die before whoever
 * gets it has had its turn. It may monitor it then, and only then can be told that it is down: with each of the next
 * two ticks, the second of which is surely later than its turn.
 */
#include <errno.h>

#include "transports/link_internal.h"

static bool is_behind(const struct link *link, struct qmt_ref ref)
{
	return ref.rid != 0 && ref.actor == link->self.actor && ref.gen == link->self.gen;
}

int link_ref_out(void *arg, struct qmt_ref ref, uint64_t *ret_number)
{
	struct link_refs_arg *refs = arg;
	struct link *link = refs->link;
	uint32_t number;
	bool is_new;
	int rc;

	if (is_behind(link, ref)) {
		*ret_number = (uint64_t)ref.rid << 1 | 1;
		return 0;
	}
	rc = export_number(&link->exports, ref, &number, &is_new);
	if (rc == EXPORT_E_FULL) {
		link_complain(refs->ctx, link, COMPLAIN_EXPORTS, "the peer holds refs to exports_max actors", "");
		return -EINVAL;
	}
	if (rc)
		return rc;
	if (is_new && qmt_monitor(refs->ctx, ref)) {
		(void)export_drop(&link->exports, ref);
		return -ENOMEM;
	}
	*ret_number = (uint64_t)number << 1;
	return 0;
}

/* One that is in the ring already takes no other's place; it is told twice more, from now on. */
void link_note_late(struct link *link, uint32_t number)
{
	uint32_t first = link->late_count > LATE_REFS ? link->late_count - LATE_REFS : 0;

	for (uint32_t i = first; i < link->late_count; i++)
		if (link->late[i % LATE_REFS] == number) {
			link->late_told = 0;
			return;
		}
	link->late[link->late_count++ % LATE_REFS] = number;
}

int link_ref_in(void *arg, uint64_t number, struct qmt_ref *ret_ref)
{
	struct link_refs_arg *refs = arg;
	struct link *link = refs->link;

	if (number >> 33 || number >> 1 == 0)
		return -EBADMSG;
	if (!(number & 1)) {
		*ret_ref = link->self;
		ret_ref->rid = (uint32_t)(number >> 1);
		if (link_import_is_dead(link, ret_ref->rid))
			link_note_late(link, ret_ref->rid);
		return 0;
	}
	/* One of ours that has ended meanwhile: the peer could not know. Nobody will do. */
	if (!export_find(&link->exports, (uint32_t)(number >> 1), ret_ref))
		*ret_ref = (struct qmt_ref){0};
	return 0;
}

bool link_import_is_dead(const struct link *link, uint32_t number)
{
	return link->dead.count && export_has(&link->dead, (struct qmt_ref){.rid = number});
}

void link_tell_late_refs(struct qmt_ctx *ctx, struct link *link)
{
	uint32_t first = link->late_count > LATE_REFS ? link->late_count - LATE_REFS : 0;

	for (uint32_t i = first; i < link->late_count; i++)
		qmt_ref_ended(ctx, link->late[i % LATE_REFS]);
	/* those that were told once before are done; the others once more */
	link->late_told = link->late_count == link->late_told ? 0 : link->late_count;
	if (link->late_told == 0)
		link->late_count = 0;
}

void link_export_down(struct qmt_ctx *ctx, struct link *link, struct qmt_ref who)
{
	uint32_t number = export_drop(&link->exports, who);

	if (number)
		link_send_control(ctx, link, LINK_DROP, &link_number_record, &(struct link_number){.number = number});
}
