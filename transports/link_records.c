/* transports/link_records.c - the tables behind link_records.h. */
#include "transports/link_records.h"

#include "proto/utf8.h"

QMT_DEFINE_RECORD(link_stamp, LINK_STAMP, "A clock reading, returned as it is.")
QMT_DEFINE_RECORD(link_number, LINK_NUMBER, "Names an export.")
QMT_DEFINE_RECORD(link_piece, LINK_PIECE_FIELDS, "A piece of an envelope longer than piece_bytes.")
QMT_DEFINE_RECORD(link_bond, LINK_BOND_FIELDS, "Two actors are linked: when one ends, the other is told.")
QMT_DEFINE_RECORD(link_bond_over, LINK_BOND_OVER_FIELDS, "What became of a link_bond.")
QMT_DEFINE_RECORD(link_error, LINK_ERROR, "Why an ask has no answer.")
QMT_DEFINE_RECORD(link_scope_offer, LINK_SCOPE_OFFER, "Scopes of one side that a link does not share yet.")
QMT_DEFINE_RECORD(link_scope_share, LINK_SCOPE_SHARE, "A scope has a number on this link.")

struct link_error link_error_clean(const struct link_error *error, struct link_error_room *ret_room)
{
	struct link_error clean = *error;

	clean.kind = utf8_clean(error->kind, ret_room->kind, sizeof(ret_room->kind));
	clean.text = utf8_clean(error->text, ret_room->text, sizeof(ret_room->text));
	return clean;
}
