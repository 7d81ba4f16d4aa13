/* proto/utf8.c - UTF-8 checked with the table of well-formed sequences (Unicode 3.9, table 3-7).
 *
 * Nearly all text of this project is ASCII, so eight bytes at a time are passed over while none of them has its top bit
 * set.
 */
#include "utf8.h"

/* Bytes of a character by its first byte (0: no character begins so) and the bounds of its second byte. */
struct lead {
	uint32_t size;
	uint8_t low, high;
};

static struct lead lead_of(uint8_t first)
{
	if (first < 0x80)
		return (struct lead){1, 0, 0};
	if (first < 0xc2)
		return (struct lead){0, 0, 0}; /* a continuation, or an overlong form of ASCII */
	if (first < 0xe0)
		return (struct lead){2, 0x80, 0xbf};
	if (first < 0xf0)
		return (struct lead){3, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf};
	if (first < 0xf5)
		return (struct lead){4, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf};
	return (struct lead){0, 0, 0};
}

/* How many bytes at p[0..left) belong to one character, as far as they are well-formed; *ret_whole: the character is
 * complete. */
static uint32_t sequence(const uint8_t *p, uint32_t left, bool *ret_whole)
{
	struct lead lead = lead_of(p[0]);
	uint32_t have = 1;

	if (lead.size > 1 && left > 1 && p[1] >= lead.low && p[1] <= lead.high) {
		have = 2;
		while (have < lead.size && have < left && (p[have] & 0xc0) == 0x80)
			have++;
	}
	*ret_whole = have == lead.size;
	return have;
}

static bool eight_ascii(const uint8_t *p)
{
	uint64_t eight;

	memcpy(&eight, p, sizeof eight);
	return (eight & 0x8080808080808080u) == 0;
}

uint32_t utf8_valid_prefix(struct qmt_str text)
{
	const uint8_t *p = (const uint8_t *)text.p;
	uint32_t at = 0;

	while (at < text.len) {
		if (text.len - at >= 8 && eight_ascii(p + at)) {
			at += 8;
			continue;
		}
		/* The last, fewer than eight, are looked at together with some that went before. */
		if (text.len - at < 8 && text.len >= 8 && eight_ascii(p + text.len - 8))
			return text.len;
		if (p[at] < 0x80) {
			at++;
			continue;
		}

		bool whole;
		uint32_t size = sequence(p + at, text.len - at, &whole);

		if (!whole)
			break;
		at += size;
	}
	return at;
}

uint32_t utf8_broken_length(struct qmt_str text)
{
	bool whole;

	return text.len > 0 ? sequence((const uint8_t *)text.p, text.len, &whole) : 0;
}

struct qmt_str utf8_head(struct qmt_str text, size_t max_bytes)
{
	if (text.len <= max_bytes)
		return text;
	while (max_bytes > 0 && ((unsigned char)text.p[max_bytes] & 0xc0) == 0x80)
		max_bytes--;
	return qmt_strn(text.p, max_bytes);
}

struct qmt_str utf8_clean(struct qmt_str text, char *ret_room, size_t size)
{
	enum { MARK = sizeof UTF8_REPLACEMENT - 1 };
	size_t at = 0;

	if (text.len <= size && utf8_check(text))
		return text;
	while (text.len > 0) {
		uint32_t good = utf8_valid_prefix(text), take = good;

		if (take > size - at) {
			take = utf8_valid_prefix(qmt_strn(text.p, size - at));
			memcpy(ret_room + at, text.p, take);
			return qmt_strn(ret_room, at + take);
		}
		memcpy(ret_room + at, text.p, take);
		at += take;
		text = qmt_strn(text.p + good, text.len - good);
		if (text.len == 0 || size - at < MARK)
			break;
		memcpy(ret_room + at, UTF8_REPLACEMENT, MARK);
		at += MARK;
		good = utf8_broken_length(text);
		text = qmt_strn(text.p + good, text.len - good);
	}
	return qmt_strn(ret_room, at);
}

uint32_t utf8_control(struct qmt_str text)
{
	const uint8_t *p = (const uint8_t *)text.p;

	if (text.len == 0)
		return 0;
	if (p[0] < 0x20 || p[0] == 0x7f)
		return 1;
	if (text.len >= 2 && p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
		return 2;
	if (text.len >= 3 && p[0] == 0xe2 &&
		((p[1] == 0x80 && (p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xaa && p[2] <= 0xae))) ||
			(p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9)))
		return 3;
	return 0;
}
