/* proto/codec.h - msgpack bytes <-> structs, along field tables (runtime/message.h).
 *
 * Threads: none kept; any.   Blocks: never.
 * Format:  a record is a msgpack map {key: value}; zero, false, empty and unset fields are left out; unknown keys and
 *          values are skipped. STR -> str, BYTES -> bin, REF -> uint (export number), REC -> map, LIST -> array of
 *          maps, STRS -> array of str, F64 -> float 64. Source: msgpack spec; read straight from bytes into structs,
 *          which checks, decodes and copies in the time that msgpack-c's unpacker takes to build its objects, without
 *          their allocations; msgpack-c's packer does the encoding.
 * Limits:  nesting CODEC_DEPTH (also of what is skipped); no length is trusted before the bytes are there; an item
 *          count never allocates more than the bytes that are left could hold. STR must be valid UTF-8. A list of empty
 *          maps costs one byte an item and a whole struct in memory, so the variable parts of n bytes may need no more
 *          than CODEC_EXTRA_BASE + CODEC_EXTRA_FACTOR * n, and no more than n + CODEC_EXTRA_MAX. A record has
 *          CODEC_FIELDS fields at most (asserted).
 * Strict:  a known key comes once; keys are unsigned; a value has its field's kind (any width of integer; for F64 also
 *          float 32 and integers); nothing follows the map. REF numbers begin at 1.
 */
#ifndef PROTO_CODEC_H
#define PROTO_CODEC_H

#include "runtime/base/bytes.h"
#include "runtime/base/err.h"
#include "runtime/message.h"

enum {
	CODEC_DEPTH = 16,
	CODEC_FIELDS = 64,
	CODEC_EXTRA_BASE = 1 << 20,
	CODEC_EXTRA_FACTOR = 32,
	CODEC_EXTRA_MAX = 64 << 20
};

/* Refs cross a link as numbers that only the link understands. A NULL pointer or function: refs are not allowed. */
struct codec_refs {
	int (*out)(void *arg, struct qmt_ref ref, uint64_t *ret_number); /* 0, or <0 */
	int (*in)(void *arg, uint64_t number, struct qmt_ref *ret_ref);
	void *arg;
};

/* Appends the map. 0; -ENOMEM (buf->failed), -EINVAL: a ref that cannot go, a text that is not UTF-8, or nested beyond
 * CODEC_DEPTH; or what refs->out gave. After an error out->data is as long as before. */
QMT_MUST_CHECK int codec_encode(
	const struct qmt_record *record, const void *body, const struct codec_refs *refs, struct qmt_buf *out);

/* Bytes that the variable parts of the record in `data` need (an upper bound that is safe), after a complete check of
 * the bytes: form, depth, lengths, UTF-8, key types. 0, or -EBADMSG with err ("chat_message.content: text is not
 * UTF-8"). */
QMT_MUST_CHECK int codec_measure(
	const struct qmt_record *record, struct qmt_bytes data, size_t *ret_extra, struct qmt_err *err);
/* Fills *ret_body (zeroed by this call); variable parts go to `room` of at least the measured size, aligned to 16. Only
 * for bytes that codec_measure accepted (it alone looks at UTF-8); fails (-EBADMSG) all the same, never reads or writes
 * outside, if they differ. A ref that refs->in refuses (<0) fails with its code. After an error *ret_body is all
 * zero. */
QMT_MUST_CHECK int codec_decode(const struct qmt_record *record, struct qmt_bytes data, const struct codec_refs *refs,
	void *ret_body, void *room, size_t room_size, struct qmt_err *err);

/* Both in one, for records without lists: then the parts need no more room than data.len, and there is nothing to
 * measure. The result is that of codec_measure and codec_decode. */
bool codec_in_one(const struct qmt_record *record); /* no lists, also in the records inside */
QMT_MUST_CHECK int codec_decode_one(const struct qmt_record *record, struct qmt_bytes data,
	const struct codec_refs *refs, void *ret_body, void *room, struct qmt_err *err);

/* A heap block that holds struct and parts; free() it. For clients and tests. NULL and err. */
void *codec_decode_new(
	const struct qmt_record *record, struct qmt_bytes data, const struct codec_refs *refs, struct qmt_err *err);

#endif
