/* proto/unpack.c - reading msgpack heads, and passing over values without recursion. */
#include "unpack.h"

#include <endian.h>

const char unpack_short[] = "the bytes end too early";

/* The next `size` bytes (0, 1, 2, 4 or 8) as a big-endian number. The caller has seen that they are there. */
static uint64_t number(struct unpack *in, unsigned size)
{
	const uint8_t *at = in->at;
	uint16_t two;
	uint32_t four;
	uint64_t eight;

	in->at += size;
	switch (size) {
	case 0:
		return 0;
	case 1:
		return *at;
	case 2:
		memcpy(&two, at, sizeof two);
		return be16toh(two);
	case 4:
		memcpy(&four, at, sizeof four);
		return be32toh(four);
	default:
		memcpy(&eight, at, sizeof eight);
		return be64toh(eight);
	}
}

static const char *set(struct unpack_head *ret_head, enum unpack_type type, uint64_t value)
{
	ret_head->type = type;
	ret_head->value = value;
	return NULL;
}

static const char *set_int(struct unpack_head *ret_head, int64_t value)
{
	return set(ret_head, value < 0 ? UNPACK_NEG : UNPACK_UINT, (uint64_t)value);
}

static const char *set_real(struct unpack_head *ret_head, double real)
{
	ret_head->type = UNPACK_FLOAT;
	ret_head->real = real;
	return NULL;
}

/* A length or count, if so much can follow. */
static const char *set_sized(
	const struct unpack *in, struct unpack_head *ret_head, enum unpack_type type, uint64_t value)
{
	uint64_t least = type == UNPACK_MAP ? 2 * value : value;

	return least > unpack_left(in) ? unpack_short : set(ret_head, type, value);
}

/* Formats 0xc4 to 0xdf: how many bytes of number (length, count or value) stand behind the first byte. */
static const uint8_t number_size[] = {
	[0xc4 - 0xc0] = 1,
	[0xc5 - 0xc0] = 2,
	[0xc6 - 0xc0] = 4, /* bin */
	[0xc7 - 0xc0] = 1,
	[0xc8 - 0xc0] = 2,
	[0xc9 - 0xc0] = 4, /* ext */
	[0xca - 0xc0] = 4,
	[0xcb - 0xc0] = 8, /* float */
	[0xcc - 0xc0] = 1,
	[0xcd - 0xc0] = 2,
	[0xce - 0xc0] = 4,
	[0xcf - 0xc0] = 8, /* uint */
	[0xd0 - 0xc0] = 1,
	[0xd1 - 0xc0] = 2,
	[0xd2 - 0xc0] = 4,
	[0xd3 - 0xc0] = 8, /* int */
	[0xd9 - 0xc0] = 1,
	[0xda - 0xc0] = 2,
	[0xdb - 0xc0] = 4, /* str */
	[0xdc - 0xc0] = 2,
	[0xdd - 0xc0] = 4, /* array */
	[0xde - 0xc0] = 2,
	[0xdf - 0xc0] = 4, /* map */
};

static const char *ext(struct unpack *in, struct unpack_head *ret_head, uint64_t len)
{
	if (unpack_left(in) == 0)
		return unpack_short;
	in->at++; /* its type */
	return set_sized(in, ret_head, UNPACK_EXT, len);
}

const char *unpack_head_long(struct unpack *in, struct unpack_head *ret_head)
{
	if (in->at == in->end)
		return unpack_short;

	uint8_t first = *in->at++;

	if (first < 0x80)
		return set(ret_head, UNPACK_UINT, first);
	if (first < 0x90)
		return set_sized(in, ret_head, UNPACK_MAP, first & 0x0f);
	if (first < 0xa0)
		return set_sized(in, ret_head, UNPACK_ARRAY, first & 0x0f);
	if (first < 0xc0)
		return set_sized(in, ret_head, UNPACK_STR, first & 0x1f);
	if (first >= 0xe0)
		return set_int(ret_head, (int8_t)first);

	unsigned size = number_size[first - 0xc0];

	if (unpack_left(in) < size)
		return unpack_short;

	uint64_t value = number(in, size);
	uint32_t low = (uint32_t)value;
	float f32;
	double f64;

	switch (first) {
	case 0xc0:
		return set(ret_head, UNPACK_NIL, 0);
	case 0xc2:
	case 0xc3:
		return set(ret_head, UNPACK_BOOL, first & 1);
	case 0xc4:
	case 0xc5:
	case 0xc6:
		return set_sized(in, ret_head, UNPACK_BIN, value);
	case 0xc7:
	case 0xc8:
	case 0xc9:
		return ext(in, ret_head, value);
	case 0xca:
		memcpy(&f32, &low, sizeof f32);
		return set_real(ret_head, (double)f32);
	case 0xcb:
		memcpy(&f64, &value, sizeof f64);
		return set_real(ret_head, f64);
	case 0xcc:
	case 0xcd:
	case 0xce:
	case 0xcf:
		return set(ret_head, UNPACK_UINT, value);
	case 0xd0:
		return set_int(ret_head, (int8_t)value);
	case 0xd1:
		return set_int(ret_head, (int16_t)value);
	case 0xd2:
		return set_int(ret_head, (int32_t)value);
	case 0xd3:
		return set_int(ret_head, (int64_t)value);
	case 0xd4:
	case 0xd5:
	case 0xd6:
	case 0xd7:
	case 0xd8:
		return ext(in, ret_head, 1u << (first - 0xd4));
	case 0xd9:
	case 0xda:
	case 0xdb:
		return set_sized(in, ret_head, UNPACK_STR, value);
	case 0xdc:
	case 0xdd:
		return set_sized(in, ret_head, UNPACK_ARRAY, value);
	case 0xde:
	case 0xdf:
		return set_sized(in, ret_head, UNPACK_MAP, value);
	default:
		return "byte 0xc1 begins no value";
	}
}

/* Passes over values of the common kinds that hold no others, at most `most`, and as long as they are whole. Returns
 * how many. */
static uint64_t skip_plain(struct unpack *in, uint64_t most)
{
	uint64_t count = 0;

	for (; count < most; count++) {
		size_t left = unpack_left(in), size = 1;

		if (left < 2) /* the last byte of all is left to the long way, so that two can be looked at */
			break;
		uint8_t first = in->at[0];
		if (first >= 0x80 && first < 0xe0) {
			if ((first & 0xe0) == 0xa0)
				size += first & 0x1f;
			else if (first >= 0xcc && first <= 0xd3)
				size += (size_t)1 << (first & 3);
			else if (first == 0xc4 || first == 0xd9)
				size += 1 + (size_t)in->at[1];
			else if (first != 0xc0 && first != 0xc2 && first != 0xc3)
				break;
		}
		if (size > left)
			break;
		in->at += size;
	}
	return count;
}

const char *unpack_skip(struct unpack *in, unsigned depth)
{
	uint64_t todo[UNPACK_DEPTH + 1]; /* values that are still to come, in each open container */
	unsigned open = 0;

	todo[0] = 1;
	for (;;) {
		struct unpack_head head;

		todo[open] -= skip_plain(in, todo[open]);
		while (todo[open] == 0) {
			if (open == 0)
				return NULL;
			open--;
		}
		todo[open]--;

		const char *fault = unpack_head(in, &head);

		if (fault)
			return fault;
		switch (head.type) {
		case UNPACK_STR:
		case UNPACK_BIN:
		case UNPACK_EXT:
			in->at += head.value;
			break;
		case UNPACK_ARRAY:
		case UNPACK_MAP:
			if (open == depth || open == UNPACK_DEPTH)
				return "nested too deep";
			todo[++open] = head.type == UNPACK_MAP ? 2 * head.value : head.value;
			break;
		default:
			break;
		}
	}
}
