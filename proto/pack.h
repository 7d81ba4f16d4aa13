/* proto/pack.h - writing msgpack: msgpack-c's packer on a struct qmt_buf. For codec.c and envelope.c.
 *
 * Threads: none kept.   Blocks: never.   Source: msgpack spec (2013, with str and bin).
 * The packer and its callback are built inside each call, so that the compiler sees the callback and inlines it: one
 * comparison and a copy of known size for each value.
 * Order:   pack_end() last; only it puts back the NUL that a buffer has behind its data.
 */
#ifndef PROTO_PACK_H
#define PROTO_PACK_H

#include <msgpack/pack.h>

#include "runtime/base/bytes.h"

static inline int pack_write(void *data, const char *bytes, size_t len)
{
	struct qmt_buf *out = data;

	if (!out->failed && out->cap - out->len > len) {
		memcpy(out->data + out->len, bytes, len);
		out->len += len;
	} else {
		qmt_buf_append(out, bytes, len);
	}
	return 0; /* the buffer remembers its failure */
}

#define PACK_WITH(out, call, ...)                      \
	do {                                               \
		msgpack_packer packer;                         \
		msgpack_packer_init(&packer, out, pack_write); \
		call(&packer, ##__VA_ARGS__);                  \
	} while (0)

static inline void pack_uint(struct qmt_buf *out, uint64_t value)
{
	PACK_WITH(out, msgpack_pack_uint64, value);
}

static inline void pack_int(struct qmt_buf *out, int64_t value)
{
	PACK_WITH(out, msgpack_pack_int64, value);
}

static inline void pack_f64(struct qmt_buf *out, double value)
{
	PACK_WITH(out, msgpack_pack_double, value);
}

static inline void pack_bool(struct qmt_buf *out, bool value)
{
	if (value)
		PACK_WITH(out, msgpack_pack_true);
	else
		PACK_WITH(out, msgpack_pack_false);
}

static inline void pack_nil(struct qmt_buf *out)
{
	PACK_WITH(out, msgpack_pack_nil);
}

static inline void pack_map(struct qmt_buf *out, uint32_t count)
{
	PACK_WITH(out, msgpack_pack_map, count);
}

static inline void pack_array(struct qmt_buf *out, uint32_t count)
{
	PACK_WITH(out, msgpack_pack_array, count);
}

static inline void pack_str(struct qmt_buf *out, struct qmt_str text)
{
	PACK_WITH(out, msgpack_pack_str, text.len);
	if (text.len > 0)
		pack_write(out, text.p, text.len);
}

static inline void pack_bin(struct qmt_buf *out, struct qmt_bytes bytes)
{
	PACK_WITH(out, msgpack_pack_bin, bytes.len);
	if (bytes.len > 0)
		pack_write(out, (const char *)bytes.p, bytes.len);
}

static inline void pack_end(struct qmt_buf *out)
{
	if (out->data)
		out->data[out->len] = '\0';
}

#endif
