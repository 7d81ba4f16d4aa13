/* transports/link_records.h - what links say to each other below the level of messages: bodies of control and error
 * envelopes.
 *
 * Threads: constants.
 * Format:  an envelope of kind CONTROL has enum link_control as its type number; its body is the record named below, or
 *          nil. A link that does not know a number skips it. An envelope of kind ERROR has a link_error.
 */
#ifndef TRANSPORTS_LINK_RECORDS_H
#define TRANSPORTS_LINK_RECORDS_H

#include "runtime/message.h"

enum link_control {
	LINK_PING = 1,    /* link_stamp; answered at once with the same in a pong */
	LINK_PONG = 2,    /* link_stamp */
	LINK_USE = 3,     /* link_number; from the smaller PeerId: this one it is (peers.c); the highest number holds */
	LINK_BYE = 4,     /* this side sends no new named messages here; all that went before is in front of it */
	LINK_BYE_ACK = 5, /* all that was in front of your BYE has been handed on */
	LINK_FIN = 6,     /* this side has nothing in flight any more; the last envelope */
	LINK_DROP = 7,    /* link_number: that export is gone, its actor has ended */
	LINK_PIECE = 8,   /* link_piece; id numbers the transfer: the next piece of one long envelope */
	LINK_CUT = 9,     /* link_error: this side ends the connection, and why */
	LINK_BOND = 10,   /* link_bond: an actor of this side is linked with an exported one of the reader's */
	LINK_BOND_OVER = 11, /* link_bond_over: ended, undone or refused */
	LINK_KNOWN = 12,  /* the reader is named here (config, or qmt peers allow): its names are taken (names.h) */
	LINK_SCOPES = 13, /* link_scope_offer: scopes of this side that are not shared yet */
	LINK_SHARE = 14,  /* link_scope_share: from the dialer: this one has that number from now on */
};

#define LINK_STAMP(F, T) F(T, U64, stamp, 1, "Clock of the side that asked, ns.")
#define LINK_NUMBER(F, T) F(T, U64, number, 1, "Number of an export.")
#define LINK_PIECE_FIELDS(F, T) \
	F(T, U64, total, 1, "With the first piece: bytes of the whole envelope.") \
	F(T, BYTES, data, 2, "The next bytes of it.")
#define LINK_SCOPE_OFFER(F, T) F(T, BYTES, macs, 1, "32 bytes each, see hello_scope_mac.")
#define LINK_SCOPE_SHARE(F, T) \
	F(T, U32, number, 1, "The next one.") \
	F(T, BYTES, mac, 2, "Which scope.")
#define LINK_ERROR(F, T) \
	F(T, U32, fail, 1, "enum qmt_fail.") \
	F(T, STR, kind, 2, "Class of an application error.") \
	F(T, STR, text, 3, "For people.") \
	F(T, U64, retry_after_ms, 4, "0: unknown.")

#define LINK_BOND_FIELDS(F, T) \
	F(T, U64, id, 1, "Made by the writer, for LINK_BOND_OVER.") \
	F(T, U64, to, 2, "Number of the reader's export.") \
	F(T, U64, from, 3, "The writer's actor, as a ref in a body.")
#define LINK_BOND_OVER_FIELDS(F, T) \
	F(T, U64, id, 1, "Which.") \
	F(T, BOOL, yours, 2, "The reader made the id; else the writer.") \
	F(T, BOOL, undone, 3, "Nobody has ended.") \
	F(T, U32, reason, 4, "enum qmt_fail; 0: a wanted end.")

QMT_DECLARE_RECORD(link_bond, LINK_BOND_FIELDS)
QMT_DECLARE_RECORD(link_bond_over, LINK_BOND_OVER_FIELDS)
QMT_DECLARE_RECORD(link_stamp, LINK_STAMP)
QMT_DECLARE_RECORD(link_number, LINK_NUMBER)
QMT_DECLARE_RECORD(link_piece, LINK_PIECE_FIELDS)
QMT_DECLARE_RECORD(link_error, LINK_ERROR)
QMT_DECLARE_RECORD(link_scope_offer, LINK_SCOPE_OFFER)
QMT_DECLARE_RECORD(link_scope_share, LINK_SCOPE_SHARE)

/* What actors write into their failures is not ours to trust: it goes out as UTF-8, of at most this many bytes. */
struct link_error_room {
	char kind[64], text[4096];
};
struct link_error link_error_clean(const struct link_error *error, struct link_error_room *ret_room);

#endif
