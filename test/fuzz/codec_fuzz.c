/* test/fuzz/codec_fuzz.c - any bytes against any table.
 *
 * The first byte selects a table: a record with every kind of field, then every message of the contracts. What is
 * accepted decodes into exactly the room that was measured, within the bound of codec.h, and encodes to bytes that
 * decode and encode to themselves, in one walk where that is possible; as JSON it is text that parses. What is refused
 * stays harmless when it is decoded all the same. */
#include <errno.h>

#include "proto/codec.h"
#include "proto/contract/contract.h"
#include "proto/json.h"

#define FUZZ_PART(F, T)      \
	F(T, U32, number, 1, "") \
	F(T, STRS, words, 2, "")
#define FUZZ_ALL(F, T)                   \
	F(T, BOOL, flag, 1, "")              \
	F(T, U32, small, 2, "")              \
	F(T, U64, large, 3, "")              \
	F(T, I64, whole, 4, "")              \
	F(T, F64, real, 5, "")               \
	F(T, STR, text, 6, "")               \
	F(T, BYTES, bytes, 7, "")            \
	F(T, REF, ref, 8, "")                \
	F(T, REC(fuzz_part), part, 9, "")    \
	F(T, LIST(fuzz_part), parts, 10, "") \
	F(T, STRS, words, 300, "")

QMT_DECLARE_RECORD(fuzz_part, FUZZ_PART)
QMT_DECLARE_RECORD(fuzz_all, FUZZ_ALL)
QMT_DEFINE_RECORD(fuzz_part, FUZZ_PART, "")
QMT_DEFINE_RECORD(fuzz_all, FUZZ_ALL, "")

#define MUST(x)                                                     \
	do {                                                            \
		if (!(x)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                           \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
		return -ENOENT;
	*ret_ref = (struct qmt_ref){.gen = 1, .rid = (uint32_t)number};
	return 0;
}

static const struct codec_refs refs = {.out = ref_out, .in = ref_in};

static const struct qmt_record *record_of(uint8_t number)
{
	if (number == 0)
		return &fuzz_all_record;
	number--;
	for (const struct qmt_protocol *const *protocol = contract_protocols; *protocol; protocol++) {
		if (number < (*protocol)->count)
			return &(*protocol)->types[number]->record;
		number = (uint8_t)(number - (*protocol)->count);
	}
	return NULL;
}

static void decode_refused(const struct qmt_record *record, struct qmt_bytes bytes)
{
	size_t size = bytes.len + 64;
	void *body = malloc(record->size + 1u), *room = malloc(size);

	MUST(body && room);
	(void)!codec_decode(record, bytes, &refs, body, room, size, NULL);
	free(body);
	free(room);
}

static void check_json(const struct qmt_record *record, const void *body)
{
	struct json *value = json_from_record(record, body, false), *back = NULL;
	struct qmt_buf text = {0};

	MUST(value);
	MUST(json_write(value, &text) == 0);
	MUST(json_parse(qmt_buf_view(&text), &back, NULL) == 0);
	json_free(value);
	json_free(back);
	qmt_buf_free(&text);
}

static void check_accepted(const struct qmt_record *record, struct qmt_bytes bytes, size_t extra)
{
	void *body = malloc(record->size + 1u), *room = malloc(extra > 0 ? extra : 1), *again;
	struct qmt_buf first = {0}, second = {0};
	struct qmt_err err = {0};
	size_t extra_again = 0;

	MUST(extra <= CODEC_EXTRA_BASE + (size_t)CODEC_EXTRA_FACTOR * bytes.len);
	MUST(body && room);
	if (codec_decode(record, bytes, &refs, body, room, extra, &err) == 0) {
		MUST(codec_encode(record, body, &refs, &first) == 0);

		struct qmt_bytes canonical = {(const uint8_t *)first.data, (uint32_t)first.len};

		MUST(codec_measure(record, canonical, &extra_again, &err) == 0);
		MUST(extra_again <= extra);
		again = codec_decode_new(record, canonical, &refs, &err);
		MUST(again);
		MUST(codec_encode(record, again, &refs, &second) == 0);
		MUST(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
		check_json(record, body);
		free(again);
	} else {
		MUST(err.code == -ENOENT); /* the one reason that measuring cannot see: a ref that nobody gave */
	}
	qmt_buf_free(&first);
	qmt_buf_free(&second);
	free(body);
	free(room);
}

/* One walk says what two say. */
static void check_in_one(const struct qmt_record *record, struct qmt_bytes bytes)
{
	void *body = malloc(record->size + 1u), *room = malloc(bytes.len + 1u), *by_two;
	struct qmt_err one = {0}, two = {0};
	struct qmt_buf first = {0}, second = {0};

	MUST(body && room);
	by_two = codec_decode_new(record, bytes, &refs, &two);
	if (codec_decode_one(record, bytes, &refs, body, room, &one) == 0) {
		MUST(by_two);
		MUST(codec_encode(record, body, &refs, &first) == 0);
		MUST(codec_encode(record, by_two, &refs, &second) == 0);
		MUST(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
	} else {
		MUST(!by_two);
		MUST(one.code == -ENOENT || strcmp(one.text, two.text) == 0);
	}
	qmt_buf_free(&first);
	qmt_buf_free(&second);
	free(by_two);
	free(body);
	free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct qmt_record *record = size > 0 ? record_of(data[0]) : NULL;
	struct qmt_err err = {0};
	size_t extra = 0;

	if (!record)
		return 0;

	struct qmt_bytes bytes = {data + 1, (uint32_t)(size - 1)};

	if (codec_in_one(record))
		check_in_one(record, bytes);
	if (codec_measure(record, bytes, &extra, &err) == 0) {
		check_accepted(record, bytes, extra);
	} else {
		MUST(err.code == -EBADMSG && err.text[0]);
		decode_refused(record, bytes);
	}
	return 0;
}
