/* transports/type_table.h - message type names on one link: a text at first use, then a number; one numbering per
 * direction.
 *
 * Threads: values of one link.   Blocks: never.   Limit: of what the peer may name, at init of type_in.
 * Invariant: a number, once announced, keeps its name as long as the link lives. Announcing it again is fine.
 */
#ifndef TRANSPORTS_TYPE_TABLE_H
#define TRANSPORTS_TYPE_TABLE_H

#include "runtime/message.h"

/* ---- what this side sends ---------------------------------------------------------------------------------------- */
struct type_out_row {
	const struct qmt_type *type;
	uint32_t number;
	bool announced; /* the peer has seen the name, in order */
};
struct type_out {
	struct type_out_row *rows; /* open addressing, capacity a power of two */
	uint32_t capacity, count;
};
/* The row of a type, made at first use. NULL: out of memory. Valid until the next call. */
struct type_out_row *type_out_row(struct type_out *table, const struct qmt_type *type);
void type_out_fini(struct type_out *table);

/* ---- what the peer sends ----------------------------------------------------------------------------------------- */
enum { TYPE_NO_ORIGIN = UINT32_MAX };

struct type_in_row {
	char *name; /* NULL: number not announced */
	/* what the last lookup by this name gave, for the same receiver; last_to unset: a reply of that type */
	struct qmt_ref last_to;
	const struct qmt_type *last_type;
	uint32_t origin_offset; /* of last_type's field `origin`, TYPE_NO_ORIGIN: none */
	bool in_one;            /* codec_in_one of last_type */
	uint8_t pace;           /* enum authority_pace of last_type */
};
struct type_in {
	struct type_in_row *rows; /* index: number */
	uint32_t count, limit;
};
void type_in_init(struct type_in *table, uint32_t limit);
/* name: absent when the envelope had only the number. NULL: an unknown number, another name than before, beyond the
 * limit, or out of memory; *ret_why says which. Valid until the next call. */
struct type_in_row *type_in_row(struct type_in *table, uint32_t number, struct qmt_str name, const char **ret_why);
/* Keeps what a lookup gave. type: NULL, the receiver does not know it. */
void type_in_found(struct type_in_row *row, struct qmt_ref to, const struct qmt_type *type);
/* Where a type's text field called "origin" lies (the link fills it in), or TYPE_NO_ORIGIN. */
uint32_t type_origin_offset(const struct qmt_type *type);
void type_in_fini(struct type_in *table);

#endif
