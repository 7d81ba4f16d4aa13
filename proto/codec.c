/* proto/codec.c - records <-> msgpack, along field tables.
 *
 * Decoding is one walk, done twice. The first time (codec_measure) it has nowhere to write: it checks every byte and
 * counts what the variable parts will need. The second time (codec_decode) it fills struct and room. Both times the
 * same code reads, so nothing can be accepted by one and misread by the other, and the second walk checks its bounds
 * all the same. A record without lists needs no counting (its parts are no longer than its bytes), so there one walk
 * does both (codec_decode_one).
 *
 * Flat records take a shorter way (codec_flat.h), which leaves everything unusual to the walk.
 *
 * The room is filled from both ends: lists, which are aligned, from the front; texts and bytes from the back. So what
 * was counted is exactly what is used, whatever the order.
 */
#include "codec.h"

#include <assert.h>
#include <errno.h>

#include "codec_flat.h"
#include "pack.h"
#include "unpack.h"
#include "utf8.h"

_Static_assert((int)CODEC_DEPTH == (int)UNPACK_DEPTH, "what is skipped may be as deep as what is read");

enum { PART_ALIGN = 8 }; /* no kind of field asks for more */

static size_t aligned(size_t size)
{
	return (size + PART_ALIGN - 1) & ~(size_t)(PART_ALIGN - 1);
}

/* ---- encoding ---------------------------------------------------------------------------------------------------- */

/* All LIST and STRS fields have the layout of struct qmt_list; copied, because each has a type of its own. */
static struct qmt_list list_at(const char *at)
{
	struct qmt_list list;

	memcpy(&list, at, sizeof list);
	return list;
}

static bool is_unset(const struct qmt_ref *ref)
{
	return !ref->actor && ref->gen == 0 && ref->rid == 0;
}

static bool is_empty(const struct qmt_field *field, const char *at)
{
	switch ((enum qmt_kind)field->kind) {
	case QMT_KIND_BOOL:
		return !*(const bool *)at;
	case QMT_KIND_U32:
		return *(const uint32_t *)at == 0;
	case QMT_KIND_U64:
		return *(const uint64_t *)at == 0;
	case QMT_KIND_I64:
		return *(const int64_t *)at == 0;
	case QMT_KIND_F64:
		return *(const double *)at == 0;
	case QMT_KIND_STR:
		return ((const struct qmt_str *)at)->len == 0;
	case QMT_KIND_BYTES:
		return ((const struct qmt_bytes *)at)->len == 0;
	case QMT_KIND_REF:
		return is_unset((const struct qmt_ref *)at);
	case QMT_KIND_REC:
		for (const struct qmt_field *inner = field->record->fields; inner->kind != QMT_KIND_END; inner++) {
			if (!is_empty(inner, at + inner->offset))
				return false;
		}
		return true;
	case QMT_KIND_LIST:
	case QMT_KIND_STRS:
		return list_at(at).count == 0;
	case QMT_KIND_END:
		break;
	}
	return true;
}

static int put_text(struct qmt_buf *out, struct qmt_str text)
{
	if (!utf8_check(text))
		return -EINVAL;
	pack_str(out, text);
	return 0;
}

static int put_ref(struct qmt_buf *out, const struct codec_refs *refs, struct qmt_ref ref)
{
	uint64_t number = 0;

	if (!refs || !refs->out)
		return -EINVAL;

	int r = refs->out(refs->arg, ref, &number);

	if (r < 0)
		return r;
	if (number == 0)
		return -EINVAL;
	pack_uint(out, number);
	return 0;
}

static int put_record(struct qmt_buf *out, const struct qmt_record *record, const char *body,
	const struct codec_refs *refs, unsigned depth);

static int put_list(
	struct qmt_buf *out, const struct qmt_field *field, const char *at, const struct codec_refs *refs, unsigned depth)
{
	struct qmt_list list = list_at(at);
	int r = depth > CODEC_DEPTH ? -EINVAL : 0;

	pack_array(out, list.count);
	for (uint32_t i = 0; i < list.count && r == 0; i++) {
		if (field->kind == QMT_KIND_STRS)
			r = put_text(out, ((const struct qmt_str *)list.items)[i]);
		else
			r = put_record(
				out, field->record, (const char *)list.items + (size_t)i * field->record->size, refs, depth + 1);
	}
	return r;
}

static int put_value(
	struct qmt_buf *out, const struct qmt_field *field, const char *at, const struct codec_refs *refs, unsigned depth)
{
	switch ((enum qmt_kind)field->kind) {
	case QMT_KIND_BOOL:
		pack_bool(out, *(const bool *)at);
		return 0;
	case QMT_KIND_U32:
		pack_uint(out, *(const uint32_t *)at);
		return 0;
	case QMT_KIND_U64:
		pack_uint(out, *(const uint64_t *)at);
		return 0;
	case QMT_KIND_I64:
		pack_int(out, *(const int64_t *)at);
		return 0;
	case QMT_KIND_F64:
		pack_f64(out, *(const double *)at);
		return 0;
	case QMT_KIND_STR:
		return put_text(out, *(const struct qmt_str *)at);
	case QMT_KIND_BYTES:
		pack_bin(out, *(const struct qmt_bytes *)at);
		return 0;
	case QMT_KIND_REF:
		return put_ref(out, refs, *(const struct qmt_ref *)at);
	case QMT_KIND_REC:
		return put_record(out, field->record, at, refs, depth + 1);
	case QMT_KIND_LIST:
	case QMT_KIND_STRS:
		return put_list(out, field, at, refs, depth + 1);
	case QMT_KIND_END:
		break;
	}
	return -EINVAL;
}

static int put_record(struct qmt_buf *out, const struct qmt_record *record, const char *body,
	const struct codec_refs *refs, unsigned depth)
{
	uint64_t present = 0;
	unsigned count = 0, i = 0;
	int r = 0;

	if (depth > CODEC_DEPTH)
		return -EINVAL;
	for (const struct qmt_field *field = record->fields; field->kind != QMT_KIND_END; field++, i++) {
		assert(i < CODEC_FIELDS);
		if (!is_empty(field, body + field->offset)) {
			present |= (uint64_t)1 << i;
			count++;
		}
	}
	pack_map(out, count);
	for (; present && r == 0; present &= present - 1) {
		const struct qmt_field *field = record->fields + __builtin_ctzll(present);

		pack_uint(out, field->key);
		r = put_value(out, field, body + field->offset, refs, depth);
	}
	return r;
}

int codec_encode(const struct qmt_record *record, const void *body, const struct codec_refs *refs, struct qmt_buf *out)
{
	size_t before = out->len;
	int r;

	if (flat_encode(record, body, out))
		return 0;
	r = put_record(out, record, body, refs, 1);
	if (r == 0 && out->failed)
		r = -ENOMEM;
	if (r < 0)
		out->len = before;
	pack_end(out);
	return r;
}

/* ---- decoding ---------------------------------------------------------------------------------------------------- */

struct walk {
	struct unpack in;
	bool fill;          /* false: measuring, there is no body and no room */
	bool measured;      /* by a walk before this one */
	char *front, *back; /* what is left of the room */
	size_t need, most;  /* bytes of variable parts that were counted, and that may be */
	const struct codec_refs *refs;
	struct qmt_err *err;
};

static __attribute__((cold, noinline)) int refuse(
	const struct walk *walk, const struct qmt_record *record, const struct qmt_field *field, const char *fault)
{
	if (!field)
		return qmt_err_set(walk->err, -EBADMSG, "%s: %s", record->name, fault);
	return qmt_err_set(walk->err, -EBADMSG, "%s.%s: %s", record->name, field->name, fault);
}

/* Counts or takes room. NULL, or a fault. ret_part is NULL while measuring. */
static const char *take_list(struct walk *walk, uint64_t count, size_t size, char **ret_part)
{
	size_t bytes = aligned((size_t)count * size); /* count < 2^32, size is a uint32_t */

	*ret_part = NULL;
	if (!walk->fill) {
		walk->need += bytes;
		return walk->need > walk->most ? "decoded, it would be too large for its bytes" : NULL;
	}
	if ((size_t)(walk->back - walk->front) < bytes)
		return "the room is too small";
	*ret_part = walk->front;
	walk->front += bytes;
	if (bytes > 0)
		memset(*ret_part, 0, bytes);
	return NULL;
}

/* Reads the `len` bytes that come next, which are there, and copies them when there is room to fill. */
static const char *take_bytes(struct walk *walk, size_t len, const char **ret_part)
{
	const uint8_t *from = walk->in.at;

	walk->in.at += len;
	*ret_part = NULL;
	if (!walk->fill) {
		walk->need += len; /* no larger than the bytes themselves: needs no check against `most` */
		return NULL;
	}
	if ((size_t)(walk->back - walk->front) < len)
		return "the room is too small";
	if (len > 0) {
		walk->back -= len;
		memcpy(walk->back, from, len);
		*ret_part = walk->back;
	}
	return NULL;
}

/* UTF-8 is looked at only once, by the first walk. */
static const char *take_text(struct walk *walk, const struct unpack_head *head, struct qmt_str *ret_text)
{
	const char *part;

	if (head->type != UNPACK_STR)
		return "not a text";
	if (!walk->measured && !utf8_check(qmt_strn((const char *)walk->in.at, head->value)))
		return "text is not UTF-8";

	const char *fault = take_bytes(walk, head->value, &part);

	*ret_text = qmt_strn(part, head->value);
	return fault;
}

static double real_of(const struct unpack_head *head)
{
	if (head->type == UNPACK_FLOAT)
		return head->real;
	return head->type == UNPACK_NEG ? (double)(int64_t)head->value : (double)head->value;
}

static const char *read_number(const struct unpack_head *head, enum qmt_kind kind, char *at)
{
	switch (kind) {
	case QMT_KIND_BOOL:
		if (head->type != UNPACK_BOOL)
			return "not true or false";
		if (at)
			*(bool *)at = head->value != 0;
		return NULL;
	case QMT_KIND_U32:
		if (head->type != UNPACK_UINT || head->value > UINT32_MAX)
			return "not a number from 0 to 2^32 - 1";
		if (at)
			*(uint32_t *)at = (uint32_t)head->value;
		return NULL;
	case QMT_KIND_U64:
		if (head->type != UNPACK_UINT)
			return "not a number from 0 to 2^64 - 1";
		if (at)
			*(uint64_t *)at = head->value;
		return NULL;
	case QMT_KIND_I64:
		if (head->type != UNPACK_NEG && (head->type != UNPACK_UINT || head->value > INT64_MAX))
			return "not a number from -2^63 to 2^63 - 1";
		if (at)
			*(int64_t *)at = (int64_t)head->value;
		return NULL;
	default: /* F64. Some writers make whole numbers of reals. */
		if (head->type != UNPACK_FLOAT && head->type != UNPACK_UINT && head->type != UNPACK_NEG)
			return "not a number";
		if (at)
			*(double *)at = real_of(head);
		return NULL;
	}
}

static int walk_record(
	struct walk *walk, const struct qmt_record *record, char *body, unsigned depth, const struct unpack_head *head);

static int walk_list(struct walk *walk, const struct qmt_record *record, const struct qmt_field *field, char *at,
	unsigned depth, const struct unpack_head *head)
{
	size_t size = field->kind == QMT_KIND_STRS ? sizeof(struct qmt_str) : field->record->size;
	char *items;

	if (head->type != UNPACK_ARRAY)
		return refuse(walk, record, field, "not a list");
	if (depth > CODEC_DEPTH)
		return refuse(walk, record, field, "nested too deep");

	const char *fault = take_list(walk, head->value, size, &items);

	for (uint64_t i = 0; i < head->value && !fault; i++) {
		char *item = items ? items + i * size : NULL;
		struct unpack_head inner;

		fault = unpack_head(&walk->in, &inner);
		if (fault)
			break;
		if (field->kind == QMT_KIND_STRS) {
			struct qmt_str text;

			fault = take_text(walk, &inner, &text);
			if (item)
				memcpy(item, &text, sizeof text);
			continue;
		}

		int r = walk_record(walk, field->record, item, depth + 1, &inner);

		if (r < 0)
			return r;
	}
	if (fault)
		return refuse(walk, record, field, fault);
	if (at && head->value > 0)
		memcpy(at, &(struct qmt_list){items, (uint32_t)head->value}, sizeof(struct qmt_list));
	return 0;
}

static int walk_ref(struct walk *walk, const struct qmt_record *record, const struct qmt_field *field, char *at,
	const struct unpack_head *head)
{
	if (head->type != UNPACK_UINT)
		return refuse(walk, record, field, "not a ref");
	if (!at || head->value == 0)
		return 0;
	if (!walk->refs || !walk->refs->in)
		return refuse(walk, record, field, "a ref cannot come this way");

	struct qmt_ref ref;
	int r = walk->refs->in(walk->refs->arg, head->value, &ref);

	if (r < 0)
		return qmt_err_set(
			walk->err, r, "%s.%s: no such ref: %llu", record->name, field->name, (unsigned long long)head->value);
	*(struct qmt_ref *)at = ref;
	return 0;
}

static int walk_value(
	struct walk *walk, const struct qmt_record *record, const struct qmt_field *field, char *at, unsigned depth)
{
	struct unpack_head head;
	struct qmt_str text;
	const char *part, *fault = unpack_head(&walk->in, &head);

	if (fault)
		return refuse(walk, record, field, fault);
	switch ((enum qmt_kind)field->kind) {
	case QMT_KIND_STR:
		fault = take_text(walk, &head, &text);
		if (at && !fault)
			*(struct qmt_str *)at = text;
		break;
	case QMT_KIND_BYTES:
		fault = head.type == UNPACK_BIN ? take_bytes(walk, head.value, &part) : "not bytes";
		if (at && !fault)
			*(struct qmt_bytes *)at = (struct qmt_bytes){(const uint8_t *)part, (uint32_t)head.value};
		break;
	case QMT_KIND_REF:
		return walk_ref(walk, record, field, at, &head);
	case QMT_KIND_REC:
		return walk_record(walk, field->record, at, depth + 1, &head);
	case QMT_KIND_LIST:
	case QMT_KIND_STRS:
		return walk_list(walk, record, field, at, depth + 1, &head);
	default:
		fault = read_number(&head, (enum qmt_kind)field->kind, at);
		break;
	}
	return fault ? refuse(walk, record, field, fault) : 0;
}

/* The field of a key: writers go through the table in order, so the one behind the last is tried first. NULL: not
 * known. */
static const struct qmt_field *field_of(const struct qmt_record *record, const struct qmt_field *hint, uint64_t key)
{
	if (hint->kind != QMT_KIND_END && hint->key == key)
		return hint;
	for (const struct qmt_field *field = record->fields; field->kind != QMT_KIND_END; field++) {
		if (field->key == key)
			return field;
	}
	return NULL;
}

/* depth counts the containers that are open, this one included. */
static int walk_record(
	struct walk *walk, const struct qmt_record *record, char *body, unsigned depth, const struct unpack_head *head)
{
	const struct qmt_field *hint = record->fields;
	uint64_t seen = 0;

	if (head->type != UNPACK_MAP)
		return refuse(walk, record, NULL, "not a map");
	if (depth > CODEC_DEPTH)
		return refuse(walk, record, NULL, "nested too deep");
	for (uint64_t i = 0; i < head->value; i++) {
		struct unpack_head key;
		const char *fault = unpack_head(&walk->in, &key);

		if (!fault && key.type != UNPACK_UINT)
			fault = "a key is not a number";
		if (fault)
			return refuse(walk, record, NULL, fault);

		const struct qmt_field *field = field_of(record, hint, key.value);

		if (!field) {
			fault = unpack_skip(&walk->in, CODEC_DEPTH - depth);
			if (fault)
				return refuse(walk, record, NULL, fault);
			continue;
		}

		size_t index = (size_t)(field - record->fields);

		assert(index < CODEC_FIELDS);
		if (seen >> index & 1)
			return refuse(walk, record, field, "its key comes twice");
		seen |= (uint64_t)1 << index;
		hint = field + 1;

		int r = walk_value(walk, record, field, body ? body + field->offset : NULL, depth);

		if (r < 0)
			return r;
	}
	return 0;
}

static int walk_all(struct walk *walk, const struct qmt_record *record, char *body)
{
	struct unpack_head head;
	const char *fault = unpack_head(&walk->in, &head);

	if (fault)
		return refuse(walk, record, NULL, fault);

	int r = walk_record(walk, record, body, 1, &head);

	if (r == 0 && unpack_left(&walk->in) > 0)
		return refuse(walk, record, NULL, "more bytes follow");
	return r;
}

int codec_measure(const struct qmt_record *record, struct qmt_bytes data, size_t *ret_extra, struct qmt_err *err)
{
	size_t most = CODEC_EXTRA_BASE + (size_t)CODEC_EXTRA_FACTOR * data.len, ever = (size_t)data.len + CODEC_EXTRA_MAX;
	struct walk walk = {.in = unpack_from(data), .most = most < ever ? most : ever, .err = err};
	int r = walk_all(&walk, record, NULL);

	if (r == 0)
		*ret_extra = walk.need;
	return r;
}

int codec_decode(const struct qmt_record *record, struct qmt_bytes data, const struct codec_refs *refs, void *ret_body,
	void *room, size_t room_size, struct qmt_err *err)
{
	char no_room;
	struct walk walk = {.in = unpack_from(data), .fill = true, .measured = true, .refs = refs, .err = err};

	walk.front = room_size > 0 ? room : &no_room;
	walk.back = walk.front + room_size;
	memset(ret_body, 0, record->size);

	int r = walk_all(&walk, record, ret_body);

	if (r < 0)
		memset(ret_body, 0, record->size); /* no half of a message */
	return r;
}

bool codec_in_one(const struct qmt_record *record)
{
	for (const struct qmt_field *field = record->fields; field->kind != QMT_KIND_END; field++) {
		if (field->kind == QMT_KIND_LIST || field->kind == QMT_KIND_STRS)
			return false;
		if (field->kind == QMT_KIND_REC && !codec_in_one(field->record))
			return false;
	}
	return true;
}

int codec_decode_one(const struct qmt_record *record, struct qmt_bytes data, const struct codec_refs *refs,
	void *ret_body, void *room, struct qmt_err *err)
{
	struct walk walk = {.in = unpack_from(data), .fill = true, .refs = refs, .err = err};

	memset(ret_body, 0, record->size);
	if (flat_decode(record, data, ret_body, room))
		return 0;
	memset(ret_body, 0, record->size);
	walk.front = room;
	walk.back = walk.front + data.len;

	int r = walk_all(&walk, record, ret_body);

	if (r < 0)
		memset(ret_body, 0, record->size);
	return r;
}

void *codec_decode_new(
	const struct qmt_record *record, struct qmt_bytes data, const struct codec_refs *refs, struct qmt_err *err)
{
	size_t extra, size = (record->size + 15u) & ~(size_t)15;

	if (codec_measure(record, data, &extra, err) < 0)
		return NULL;

	char *block = malloc(size + extra + 1); /* + 1: a message without fields has no size */

	if (!block) {
		qmt_err_set(err, -ENOMEM, "%s: out of memory", record->name);
		return NULL;
	}
	if (codec_decode(record, data, refs, block, block + size, extra, err) < 0) {
		free(block);
		return NULL;
	}
	return block;
}
