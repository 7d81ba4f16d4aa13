/* proto/codec_flat.c - see codec_flat.h. Measured: a message of a number and 100 bytes is written in a third and read
 * in a quarter of the instructions of the walk along the table (docs/performance.md). */
#include "proto/codec_flat.h"

#include "proto/raw.h"
#include "proto/utf8.h"

enum { FIXMAP = 16, FIXKEY = 0x80 };

/* ---- encoding ---------------------------------------------------------------------------------------------------- */

/* Which fields are not empty, and an upper bound of what they take. False: not flat, or beyond the small forms. */
static bool survey(const struct qmt_record *record, const char *body, uint32_t *ret_present, size_t *ret_bytes)
{
	uint32_t present = 0, i = 0, count = 0;
	size_t bytes = 1;

	for (const struct qmt_field *field = record->fields; field->kind != QMT_KIND_END; field++, i++) {
		const char *at = body + field->offset;
		bool is_set;

		if (i >= 32 || field->key >= FIXKEY)
			return false;
		switch ((enum qmt_kind)field->kind) {
		case QMT_KIND_BOOL:
			is_set = *(const bool *)at;
			break;
		case QMT_KIND_U32:
			is_set = *(const uint32_t *)at != 0;
			break;
		case QMT_KIND_U64:
		case QMT_KIND_I64:
			is_set = *(const uint64_t *)at != 0;
			break;
		case QMT_KIND_F64:
			is_set = *(const double *)at != 0;
			break;
		case QMT_KIND_STR:
		case QMT_KIND_BYTES: { /* the same layout */
			uint32_t len = ((const struct qmt_bytes *)at)->len;

			is_set = len != 0;
			bytes += len;
			break;
		}
		default:
			return false;
		}
		if (is_set) {
			present |= 1u << i;
			count++;
			bytes += 1 + RAW_NUMBER;
		}
	}
	*ret_present = present;
	*ret_bytes = bytes;
	return count < FIXMAP;
}

_Static_assert(sizeof(struct qmt_str) == sizeof(struct qmt_bytes) &&
		offsetof(struct qmt_str, len) == offsetof(struct qmt_bytes, len),
	"survey reads the length of both");

bool flat_encode(const struct qmt_record *record, const char *body, struct qmt_buf *out)
{
	uint32_t present;
	size_t bytes;
	uint8_t *begin, *at;

	if (!survey(record, body, &present, &bytes))
		return false;
	begin = raw_room(out, bytes);
	if (!begin)
		return false;
	at = begin;
	*at++ = (uint8_t)(0x80 | (uint32_t)__builtin_popcount(present));
	for (; present; present &= present - 1) {
		const struct qmt_field *field = record->fields + __builtin_ctz(present);
		const char *value = body + field->offset;

		*at++ = (uint8_t)field->key;
		switch ((enum qmt_kind)field->kind) {
		case QMT_KIND_BOOL:
			*at++ = 0xc3;
			break;
		case QMT_KIND_U32:
			at = raw_put_uint(at, *(const uint32_t *)value);
			break;
		case QMT_KIND_U64:
			at = raw_put_uint(at, *(const uint64_t *)value);
			break;
		case QMT_KIND_I64:
			at = raw_put_int(at, *(const int64_t *)value);
			break;
		case QMT_KIND_F64: {
			uint64_t bits;

			memcpy(&bits, value, sizeof(bits));
			at = raw_8(at, 0xcb, bits);
			break;
		}
		case QMT_KIND_STR: {
			const struct qmt_str *text = (const struct qmt_str *)value;

			if (!utf8_check(*text)) {
				*begin = '\0';
				return false;
			}
			at = raw_put_bytes(raw_put_str_head(at, text->len), text->p, text->len);
			break;
		}
		default: { /* BYTES: survey let nothing else pass */
			const struct qmt_bytes *part = (const struct qmt_bytes *)value;

			at = raw_put_bytes(raw_put_bin_head(at, part->len), part->p, part->len);
			break;
		}
		}
	}
	out->len += (size_t)(at - begin);
	*at = '\0';
	return true;
}

/* ---- decoding ---------------------------------------------------------------------------------------------------- */

static bool get_real(const uint8_t **at, const uint8_t *end, double *ret_real)
{
	uint64_t bits;

	if (*at == end || *(*at)++ != 0xcb || !raw_number(at, end, 8, &bits))
		return false;
	memcpy(ret_real, &bits, sizeof(bits));
	return true;
}

/* Copies what comes next. An empty part is absent. */
static const char *take(const uint8_t **at, uint64_t len, char **room)
{
	char *part = len ? memcpy(*room, *at, len) : NULL;

	*at += len;
	*room += len;
	return part;
}

static bool get_value(const struct qmt_field *field, const uint8_t **at, const uint8_t *end, char *value, char **room)
{
	uint64_t number = 0;

	switch ((enum qmt_kind)field->kind) {
	case QMT_KIND_BOOL:
		if (*at == end || (**at & 0xfe) != 0xc2)
			return false;
		*(bool *)value = *(*at)++ & 1;
		return true;
	case QMT_KIND_U32:
		if (!raw_get_uint(at, end, &number) || number > UINT32_MAX)
			return false;
		*(uint32_t *)value = (uint32_t)number;
		return true;
	case QMT_KIND_U64:
		return raw_get_uint(at, end, (uint64_t *)value);
	case QMT_KIND_I64:
		if (!raw_get_uint(at, end, &number) || number > INT64_MAX)
			return false;
		*(int64_t *)value = (int64_t)number;
		return true;
	case QMT_KIND_F64:
		return get_real(at, end, (double *)value);
	case QMT_KIND_STR: {
		if (!raw_get_str_head(at, end, &number) || !utf8_check(qmt_strn((const char *)*at, number)))
			return false;
		*(struct qmt_str *)value = qmt_strn(take(at, number, room), number);
		return true;
	}
	case QMT_KIND_BYTES:
		if (!raw_get_bin_head(at, end, &number))
			return false;
		*(struct qmt_bytes *)value = (struct qmt_bytes){(const uint8_t *)take(at, number, room), (uint32_t)number};
		return true;
	default:
		return false;
	}
}

/* Only what our own writer makes: a small map, small keys, in the order of the table. Hence no key comes twice. */
bool flat_decode(const struct qmt_record *record, struct qmt_bytes data, char *body, char *room)
{
	const uint8_t *at = data.p, *end = at + data.len;
	const struct qmt_field *field = record->fields;

	if (data.len == 0 || (*at & 0xf0) != 0x80)
		return false;
	for (unsigned left = *at++ & 0x0f; left; left--, field++) {
		if (at == end)
			return false;
		while (field->kind != QMT_KIND_END && field->key != *at)
			field++;
		if (field->kind == QMT_KIND_END || *at++ >= FIXKEY)
			return false;
		if (!get_value(field, &at, end, body + field->offset, &room))
			return false;
	}
	return at == end;
}
