/* test/lib/samples.c - records for tests of whatever walks field tables. */
#include "samples.h"

#include <errno.h>

QMT_DEFINE_RECORD(sample_part, SAMPLE_PART, "A part of a sample.")
QMT_DEFINE_RECORD(sample, SAMPLE, "Every kind of field.")

static const struct qmt_field tree_fields[] = {
	{"children", "More of the same.", 1, QMT_KIND_LIST, (uint32_t)offsetof(struct sample_tree, children),
		&sample_tree_record},
	{.kind = QMT_KIND_END}};
const struct qmt_record sample_tree_record = {
	.name = "sample_tree", .doc = "Holds itself.", .size = (uint32_t)sizeof(struct sample_tree), .fields = tree_fields};

struct sample_block {
	struct sample_block *next;
	_Alignas(16) char data[];
};

void *sample_alloc(struct sample_room *room, size_t size)
{
	struct sample_block *block = calloc(1, sizeof *block + size + 1);

	if (!block)
		abort();
	block->next = room->blocks;
	room->blocks = block;
	return block->data;
}

void sample_free(struct sample_room *room)
{
	while (room->blocks) {
		struct sample_block *next = room->blocks->next;

		free(room->blocks);
		room->blocks = next;
	}
}

/* ---- random contents --------------------------------------------------------------------------------------------- */

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t next(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* 2^n - 1, 2^n or 2^n + 1, or anything. */
static uint64_t edge_number(uint64_t *seed)
{
	uint64_t power = (uint64_t)1 << next(seed) % 64;

	switch (next(seed) % 4) {
	case 0:
		return power - 1;
	case 1:
		return power;
	case 2:
		return power + 1;
	default:
		return next(seed);
	}
}

static uint32_t random_length(uint64_t *seed)
{
	static const uint32_t edges[] = {1, 3, 31, 32, 33, 255, 256, 257};

	return next(seed) % 64 == 0 ? 65535 + (uint32_t)(next(seed) % 3)
								: edges[next(seed) % (sizeof edges / sizeof *edges)];
}

static struct qmt_str random_text(uint64_t *seed, struct sample_room *room)
{
	static const char *const letters[] = {
		"a", "B", " ", "\n", "\"", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\x7f"};
	uint32_t most = random_length(seed), len = 0;
	char *text = sample_alloc(room, most);

	for (;;) {
		const char *letter = letters[next(seed) % (sizeof letters / sizeof *letters)];

		if (len + strlen(letter) > most)
			break;
		memcpy(text + len, letter, strlen(letter));
		len += (uint32_t)strlen(letter);
	}
	return (struct qmt_str){text, len};
}

static struct qmt_bytes random_bytes(uint64_t *seed, struct sample_room *room)
{
	uint32_t len = random_length(seed);
	uint8_t *bytes = sample_alloc(room, len);

	for (uint32_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)next(seed);
	return (struct qmt_bytes){bytes, len};
}

static void fill(const struct qmt_record *record, char *body, uint64_t *seed, struct sample_room *room);

static struct qmt_list random_list(const struct qmt_field *field, uint64_t *seed, struct sample_room *room)
{
	bool texts = field->kind == QMT_KIND_STRS;
	size_t size = texts ? sizeof(struct qmt_str) : field->record->size;
	uint32_t count = next(seed) % 16 == 0 ? 15 + (uint32_t)(next(seed) % 3) : 1 + (uint32_t)(next(seed) % 3);
	char *items = sample_alloc(room, count * size);

	for (uint32_t i = 0; i < count; i++) {
		if (texts)
			*(struct qmt_str *)(void *)(items + i * size) = random_text(seed, room);
		else
			fill(field->record, items + i * size, seed, room);
	}
	return (struct qmt_list){items, count};
}

static void fill_field(const struct qmt_field *field, void *at, uint64_t *seed, struct sample_room *room)
{
	struct qmt_list list;

	switch ((enum qmt_kind)field->kind) {
	case QMT_KIND_BOOL:
		*(bool *)at = true;
		break;
	case QMT_KIND_U32:
		*(uint32_t *)at = (uint32_t)edge_number(seed);
		break;
	case QMT_KIND_U64:
		*(uint64_t *)at = edge_number(seed);
		break;
	case QMT_KIND_I64:
		*(int64_t *)at = (int64_t)(next(seed) % 2 ? edge_number(seed) : 0 - edge_number(seed));
		break;
	case QMT_KIND_F64:
		*(double *)at = (double)(int64_t)next(seed) / 1000;
		break;
	case QMT_KIND_STR:
		*(struct qmt_str *)at = random_text(seed, room);
		break;
	case QMT_KIND_BYTES:
		*(struct qmt_bytes *)at = random_bytes(seed, room);
		break;
	case QMT_KIND_REF:
		*(struct qmt_ref *)at = sample_ref(1 + (uint32_t)(next(seed) % 1000));
		break;
	case QMT_KIND_REC:
		fill(field->record, at, seed, room);
		break;
	case QMT_KIND_LIST:
	case QMT_KIND_STRS:
		list = random_list(field, seed, room);
		memcpy(at, &list, sizeof list);
		break;
	case QMT_KIND_END:
		break;
	}
}

static void fill(const struct qmt_record *record, char *body, uint64_t *seed, struct sample_room *room)
{
	for (const struct qmt_field *field = record->fields; field->kind != QMT_KIND_END; field++) {
		if (next(seed) % 4 != 0)
			fill_field(field, body + field->offset, seed, room);
	}
}

void *sample_random(const struct qmt_record *record, uint64_t *seed, struct sample_room *room)
{
	char *body = sample_alloc(room, record->size);

	fill(record, body, seed, room);
	return body;
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

static bool equal_list(const struct qmt_field *field, const void *a, const void *b)
{
	struct qmt_list x, y;

	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	if (x.count != y.count)
		return false;
	for (uint32_t i = 0; i < x.count; i++) {
		if (field->kind == QMT_KIND_STRS) {
			if (!qmt_str_eq(((const struct qmt_str *)x.items)[i], ((const struct qmt_str *)y.items)[i]))
				return false;
		} else if (!sample_equal(field->record, (const char *)x.items + i * (size_t)field->record->size,
					   (const char *)y.items + i * (size_t)field->record->size)) {
			return false;
		}
	}
	return true;
}

static bool equal_field(const struct qmt_field *field, const void *a, const void *b)
{
	const struct qmt_bytes *x = a, *y = b;

	switch ((enum qmt_kind)field->kind) {
	case QMT_KIND_BOOL:
		return *(const bool *)a == *(const bool *)b;
	case QMT_KIND_U32:
		return *(const uint32_t *)a == *(const uint32_t *)b;
	case QMT_KIND_U64:
	case QMT_KIND_I64:
		return *(const uint64_t *)a == *(const uint64_t *)b;
	case QMT_KIND_F64:
		return memcmp(a, b, sizeof(double)) == 0;
	case QMT_KIND_STR:
		return qmt_str_eq(*(const struct qmt_str *)a, *(const struct qmt_str *)b);
	case QMT_KIND_BYTES:
		return x->len == y->len && (x->len == 0 || memcmp(x->p, y->p, x->len) == 0);
	case QMT_KIND_REF:
		return memcmp(a, b, sizeof(struct qmt_ref)) == 0;
	case QMT_KIND_REC:
		return sample_equal(field->record, a, b);
	case QMT_KIND_LIST:
	case QMT_KIND_STRS:
		return equal_list(field, a, b);
	case QMT_KIND_END:
		break;
	}
	return true;
}

bool sample_equal(const struct qmt_record *record, const void *a, const void *b)
{
	for (const struct qmt_field *field = record->fields; field->kind != QMT_KIND_END; field++) {
		if (!equal_field(field, (const char *)a + field->offset, (const char *)b + field->offset))
			return false;
	}
	return true;
}

/* ---- refs -------------------------------------------------------------------------------------------------------- */

enum { SAMPLE_GEN = 7 };

struct qmt_ref sample_ref(uint32_t rid)
{
	return (struct qmt_ref){.gen = SAMPLE_GEN, .rid = rid};
}

static int ref_out(void *arg, struct qmt_ref ref, uint64_t *ret_number)
{
	(void)arg;
	*ret_number = ref.rid;
	return 0;
}

static int ref_in(void *arg, uint64_t number, struct qmt_ref *ret_ref)
{
	(void)arg;
	if (number > UINT32_MAX)
		return -EBADMSG;
	*ret_ref = sample_ref((uint32_t)number);
	return 0;
}

const struct codec_refs sample_refs = {.out = ref_out, .in = ref_in};
