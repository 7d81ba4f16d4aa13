/* proto/unpack.h - reading msgpack, one head at a time, straight from the bytes. For codec.c and envelope.c.
 *
 * Threads: none kept.   Blocks: never.   Allocates: never.   Source: msgpack spec (2013, with str and bin).
 * Limits:  a length or a count is given out only when the bytes for it are there (an element takes one byte at least).
 * Faults:  a constant text says what is wrong, NULL says nothing is; after a fault the place of `in` has no meaning.
 */
#ifndef PROTO_UNPACK_H
#define PROTO_UNPACK_H

#include "runtime/base/bytes.h"

enum { UNPACK_DEPTH = 16 };

enum unpack_type {
	UNPACK_NIL,
	UNPACK_BOOL,  /* value: 0 or 1 */
	UNPACK_UINT,  /* value; also of the signed formats, when it is not below zero */
	UNPACK_NEG,   /* below zero: value is an int64_t */
	UNPACK_FLOAT, /* real */
	UNPACK_STR,   /* value: bytes that follow */
	UNPACK_BIN,   /* the same */
	UNPACK_ARRAY, /* value: elements that follow */
	UNPACK_MAP,   /* value: pairs that follow */
	UNPACK_EXT,   /* value: bytes that follow, behind the type of the extension, which is passed over */
};

struct unpack {
	const uint8_t *at, *end;
};

struct unpack_head {
	enum unpack_type type;
	union {
		uint64_t value;
		double real;
	};
};

static inline struct unpack unpack_from(struct qmt_bytes data)
{
	return (struct unpack){data.p, data.len > 0 ? data.p + data.len : data.p};
}

static inline size_t unpack_left(const struct unpack *in)
{
	return (size_t)(in->end - in->at);
}

QMT_MUST_CHECK const char *unpack_head_long(struct unpack *in, struct unpack_head *ret_head);

/* Reads a head; what follows it (elements, bytes) is the caller's to read. Small numbers (the keys) and short texts are
 * read in line. */
QMT_MUST_CHECK static inline const char *unpack_head(struct unpack *in, struct unpack_head *ret_head)
{
	if (in->at < in->end) {
		uint8_t first = *in->at;
		size_t len = first & 0x1f;

		if (first < 0x80) {
			ret_head->type = UNPACK_UINT;
			ret_head->value = first;
			in->at++;
			return NULL;
		}
		if ((first & 0xe0) == 0xa0 && len < unpack_left(in)) {
			ret_head->type = UNPACK_STR;
			ret_head->value = len;
			in->at++;
			return NULL;
		}
	}
	return unpack_head_long(in, ret_head);
}

/* Passes over a value with all that is in it. depth: how many containers may be open at once, UNPACK_DEPTH at most. */
QMT_MUST_CHECK const char *unpack_skip(struct unpack *in, unsigned depth);

extern const char unpack_short[]; /* the fault "ends too early", for comparing */

#endif
