/* proto/raw.h - msgpack values of the common kinds, read and written without any call: for the short ways of
 * codec_flat.c and envelope.c. Smallest form always, as msgpack-c writes it.
 *
 * Threads: none kept.   Blocks: never.   Source: msgpack spec (2013, with str and bin).
 * Bounds:  the writers want RAW_NUMBER (numbers) or RAW_HEAD (heads) bytes of room; the readers look before they read,
 *          and decline (false) what is not common or not whole.
 */
#ifndef PROTO_RAW_H
#define PROTO_RAW_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "runtime/base/bytes.h"

enum { RAW_NUMBER = 9, RAW_HEAD = 5 };

/* Where the next `bytes` go; NULL: no memory (out->failed). */
static inline uint8_t *raw_room(struct qmt_buf *out, size_t bytes)
{
	if (!out->failed && out->cap - out->len > bytes)
		return (uint8_t *)out->data + out->len;
	return qmt_buf_reserve(out, bytes);
}

static inline uint8_t *raw_2(uint8_t *at, uint8_t first, uint32_t value)
{
	uint16_t big = htobe16((uint16_t)value);

	*at = first;
	memcpy(at + 1, &big, sizeof(big));
	return at + 3;
}

static inline uint8_t *raw_4(uint8_t *at, uint8_t first, uint32_t value)
{
	uint32_t big = htobe32(value);

	*at = first;
	memcpy(at + 1, &big, sizeof(big));
	return at + 5;
}

static inline uint8_t *raw_8(uint8_t *at, uint8_t first, uint64_t value)
{
	uint64_t big = htobe64(value);

	*at = first;
	memcpy(at + 1, &big, sizeof(big));
	return at + 9;
}

static inline uint8_t *raw_put_uint(uint8_t *at, uint64_t value)
{
	if (value < 0x80) {
		*at = (uint8_t)value;
		return at + 1;
	}
	if (value < 0x100) {
		at[0] = 0xcc;
		at[1] = (uint8_t)value;
		return at + 2;
	}
	if (value < 0x10000)
		return raw_2(at, 0xcd, (uint32_t)value);
	return value <= UINT32_MAX ? raw_4(at, 0xce, (uint32_t)value) : raw_8(at, 0xcf, value);
}

static inline uint8_t *raw_put_int(uint8_t *at, int64_t value)
{
	if (value >= 0)
		return raw_put_uint(at, (uint64_t)value);
	if (value >= -32) {
		*at = (uint8_t)value;
		return at + 1;
	}
	if (value >= INT8_MIN) {
		at[0] = 0xd0;
		at[1] = (uint8_t)value;
		return at + 2;
	}
	if (value >= INT16_MIN)
		return raw_2(at, 0xd1, (uint16_t)value);
	return value >= INT32_MIN ? raw_4(at, 0xd2, (uint32_t)value) : raw_8(at, 0xd3, (uint64_t)value);
}

static inline uint8_t *raw_put_str_head(uint8_t *at, uint32_t len)
{
	if (len < 32) {
		*at = (uint8_t)(0xa0 | len);
		return at + 1;
	}
	if (len < 0x100) {
		at[0] = 0xd9;
		at[1] = (uint8_t)len;
		return at + 2;
	}
	return len < 0x10000 ? raw_2(at, 0xda, len) : raw_4(at, 0xdb, len);
}

static inline uint8_t *raw_put_bin_head(uint8_t *at, uint32_t len)
{
	if (len < 0x100) {
		at[0] = 0xc4;
		at[1] = (uint8_t)len;
		return at + 2;
	}
	return len < 0x10000 ? raw_2(at, 0xc5, len) : raw_4(at, 0xc6, len);
}

static inline uint8_t *raw_put_bytes(uint8_t *at, const void *from, uint32_t len)
{
	if (len > 0)
		memcpy(at, from, len);
	return at + len;
}

/* Big-endian number of 1, 2, 4 or 8 bytes behind *at. */
static inline bool raw_number(const uint8_t **at, const uint8_t *end, unsigned size, uint64_t *ret_value)
{
	uint16_t two;
	uint32_t four;
	uint64_t eight;

	if ((size_t)(end - *at) < size)
		return false;
	switch (size) {
	case 1:
		*ret_value = **at;
		break;
	case 2:
		memcpy(&two, *at, sizeof(two));
		*ret_value = be16toh(two);
		break;
	case 4:
		memcpy(&four, *at, sizeof(four));
		*ret_value = be32toh(four);
		break;
	default:
		memcpy(&eight, *at, sizeof(eight));
		*ret_value = be64toh(eight);
		break;
	}
	*at += size;
	return true;
}

static inline bool raw_get_uint(const uint8_t **at, const uint8_t *end, uint64_t *ret_value)
{
	if (*at == end)
		return false;
	uint8_t first = *(*at)++;
	if (first < 0x80) {
		*ret_value = first;
		return true;
	}
	return first >= 0xcc && first <= 0xcf && raw_number(at, end, 1u << (first - 0xcc), ret_value);
}

/* The length of a text whose bytes are all there; they follow. */
static inline bool raw_get_str_head(const uint8_t **at, const uint8_t *end, uint64_t *ret_len)
{
	if (*at == end)
		return false;
	uint8_t first = *(*at)++;
	if ((first & 0xe0) == 0xa0)
		*ret_len = first & 0x1f;
	else if (first < 0xd9 || first > 0xdb || !raw_number(at, end, 1u << (first - 0xd9), ret_len))
		return false;
	return *ret_len <= (size_t)(end - *at);
}

static inline bool raw_get_bin_head(const uint8_t **at, const uint8_t *end, uint64_t *ret_len)
{
	if (*at == end)
		return false;
	uint8_t first = *(*at)++;
	if (first < 0xc4 || first > 0xc6 || !raw_number(at, end, 1u << (first - 0xc4), ret_len))
		return false;
	return *ret_len <= (size_t)(end - *at);
}

#endif
