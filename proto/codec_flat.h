/* proto/codec_flat.h - the short way for flat records: numbers, texts and bytes, no refs, no records inside, no lists.
 * Nearly all messages that come in numbers are such (tells, chunks, deltas). For codec.c.
 *
 * Threads: none kept.   Blocks: never.   Allocates: only by the buffer.
 * Invariant: what is written is, byte for byte, what codec.c's walk along the table writes; what is accepted is read to
 *          the same values as by that walk. Both may decline anything, at any place: then that walk has the last word,
 *          and gives the reason. So a check may be missing from neither, and errors are made in one place.
 */
#ifndef PROTO_CODEC_FLAT_H
#define PROTO_CODEC_FLAT_H

#include "runtime/message.h"

/* Appends the map. False: nothing was appended (not flat, a text that is not UTF-8, out of memory). */
bool flat_encode(const struct qmt_record *record, const char *body, struct qmt_buf *out);
/* Fills body, which is all zero, and room, of data.len bytes. False: declined; body and room may be half filled. */
bool flat_decode(const struct qmt_record *record, struct qmt_bytes data, char *body, char *room);

#endif
