/* Codec, good bytes: what goes in comes out, for every kind of field and every message of the contracts; msgpack-c's
 * own reader sees the same; what a reader does not know is skipped; what is empty is not sent. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <msgpack.h>

#include "proto/contract/contract.h"
#include "test/lib/samples.h"

enum { ROUNDS = 200 };

static struct qmt_bytes view(const struct qmt_buf *buf)
{
	return (struct qmt_bytes){(const uint8_t *)buf->data, (uint32_t)buf->len};
}

#define BYTES(literal) ((struct qmt_bytes){(const uint8_t *)(literal), sizeof(literal) - 1})

static void assert_encodes(const struct qmt_record *record, const void *body, struct qmt_bytes expected)
{
	struct qmt_buf out = {0};

	assert_int_equal(codec_encode(record, body, &sample_refs, &out), 0);
	assert_int_equal(out.len, expected.len);
	assert_memory_equal(out.data, expected.p, expected.len);
	assert_int_equal(out.data[out.len], '\0');
	qmt_buf_free(&out);
}

/* Decodes into a block of exactly the measured size, so that a sanitizer sees any step outside. */
static void *decode(const struct qmt_record *record, struct qmt_bytes data)
{
	struct qmt_err err = {0};
	void *body = codec_decode_new(record, data, &sample_refs, &err);

	if (!body)
		fail_msg("%s: %s", record->name, err.text);
	return body;
}

/* ---- an independent reader --------------------------------------------------------------------------------------- */

static void assert_object(const struct qmt_record *record, const char *body, const msgpack_object *map);

static void assert_str(struct qmt_str text, const msgpack_object *value)
{
	assert_int_equal(value->type, MSGPACK_OBJECT_STR);
	assert_int_equal(value->via.str.size, text.len);
	if (text.len > 0)
		assert_memory_equal(value->via.str.ptr, text.p, text.len);
}

/* The value that msgpack-c read is the field's. */
static void assert_value(const struct qmt_field *field, const void *at, const msgpack_object *value)
{
	struct qmt_list list;

	switch ((enum qmt_kind)field->kind) {
	case QMT_KIND_BOOL:
		assert_int_equal(value->type, MSGPACK_OBJECT_BOOLEAN);
		assert_int_equal(value->via.boolean, *(const bool *)at);
		break;
	case QMT_KIND_U32:
		assert_int_equal(value->type, MSGPACK_OBJECT_POSITIVE_INTEGER);
		assert_int_equal(value->via.u64, *(const uint32_t *)at);
		break;
	case QMT_KIND_U64:
		assert_int_equal(value->type, MSGPACK_OBJECT_POSITIVE_INTEGER);
		assert_int_equal(value->via.u64, *(const uint64_t *)at);
		break;
	case QMT_KIND_I64:
		assert_int_equal(
			value->type, *(const int64_t *)at < 0 ? MSGPACK_OBJECT_NEGATIVE_INTEGER : MSGPACK_OBJECT_POSITIVE_INTEGER);
		assert_int_equal(value->via.i64, *(const int64_t *)at);
		break;
	case QMT_KIND_F64:
		assert_int_equal(value->type, MSGPACK_OBJECT_FLOAT64);
		assert_memory_equal(&value->via.f64, at, sizeof(double));
		break;
	case QMT_KIND_STR:
		assert_str(*(const struct qmt_str *)at, value);
		break;
	case QMT_KIND_BYTES:
		assert_int_equal(value->type, MSGPACK_OBJECT_BIN);
		assert_int_equal(value->via.bin.size, ((const struct qmt_bytes *)at)->len);
		assert_memory_equal(value->via.bin.ptr, ((const struct qmt_bytes *)at)->p, value->via.bin.size);
		break;
	case QMT_KIND_REF:
		assert_int_equal(value->type, MSGPACK_OBJECT_POSITIVE_INTEGER);
		assert_int_equal(value->via.u64, ((const struct qmt_ref *)at)->rid);
		break;
	case QMT_KIND_REC:
		assert_object(field->record, at, value);
		break;
	case QMT_KIND_LIST:
	case QMT_KIND_STRS:
		memcpy(&list, at, sizeof list);
		assert_int_equal(value->type, MSGPACK_OBJECT_ARRAY);
		assert_int_equal(value->via.array.size, list.count);
		for (uint32_t i = 0; i < list.count; i++) {
			if (field->kind == QMT_KIND_STRS)
				assert_str(((const struct qmt_str *)list.items)[i], value->via.array.ptr + i);
			else
				assert_object(field->record, (const char *)list.items + i * (size_t)field->record->size,
					value->via.array.ptr + i);
		}
		break;
	case QMT_KIND_END:
		fail();
	}
}

/* The map holds known fields only, each once, in table order, and the fields that it does not hold are empty. */
static void assert_object(const struct qmt_record *record, const char *body, const msgpack_object *map)
{
	uint32_t pair = 0;
	char *zero = calloc(1, record->size + 1u);

	assert_int_equal(map->type, MSGPACK_OBJECT_MAP);
	assert_non_null(zero);
	for (const struct qmt_field *field = record->fields; field->kind != QMT_KIND_END; field++) {
		const msgpack_object_kv *kv = map->via.map.ptr + pair;

		if (pair < map->via.map.size && kv->key.type == MSGPACK_OBJECT_POSITIVE_INTEGER &&
			kv->key.via.u64 == field->key) {
			assert_value(field, body + field->offset, &kv->val);
			pair++;
		} else {
			struct qmt_field one[] = {*field, {.kind = QMT_KIND_END}};

			assert_true(sample_equal(&(struct qmt_record){.fields = one}, body, zero));
		}
	}
	assert_int_equal(pair, map->via.map.size);
	free(zero);
}

static void assert_round_trip(const struct qmt_record *record, uint64_t seed)
{
	struct sample_room room = {0};
	uint64_t start = seed;
	const void *body = sample_random(record, &seed, &room);
	struct qmt_buf out = {0}, again = {0};
	msgpack_unpacked whole;
	size_t used = 0;

	assert_int_equal(codec_encode(record, body, &sample_refs, &out), 0);
	msgpack_unpacked_init(&whole);
	assert_int_equal(msgpack_unpack_next(&whole, out.data, out.len, &used), MSGPACK_UNPACK_SUCCESS);
	assert_int_equal(used, out.len);
	assert_object(record, body, &whole.data);
	msgpack_unpacked_destroy(&whole);

	void *back = decode(record, view(&out));

	if (!sample_equal(record, body, back))
		fail_msg("%s, seed %llu: what came out is not what went in", record->name, (unsigned long long)start);
	assert_int_equal(codec_encode(record, back, &sample_refs, &again), 0);
	assert_int_equal(again.len, out.len);
	assert_memory_equal(again.data, out.data, out.len);
	free(back);
	qmt_buf_free(&out);
	qmt_buf_free(&again);
	sample_free(&room);
}

/* ---- the tests --------------------------------------------------------------------------------------------------- */

/* A record with every kind of field comes back as it was, whatever it holds. */
static void test_every_kind(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < ROUNDS; seed++)
		assert_round_trip(&sample_record, seed * 1000);
}

/* So does every message that this project declares. */
static void test_every_message(void **state)
{
	size_t count = 0;

	(void)state;
	for (const struct qmt_protocol *const *protocol = contract_protocols; *protocol; protocol++) {
		for (uint32_t i = 0; i < (*protocol)->count; i++, count++) {
			for (uint64_t seed = 0; seed < 10; seed++)
				assert_round_trip(&(*protocol)->types[i]->record, seed * 1000 + count);
		}
	}
	assert_true(count > 50);
}

/* The bytes are these: they are the wire format, and must not change. */
static void test_known_bytes(void **state)
{
	const struct sample_part parts[] = {{.number = 1}, {.text = qmt_str("b")}, {0}};
	const struct qmt_str words[] = {qmt_str("x"), qmt_str("")};
	struct sample full = {.flag = true,
		.small = 128,
		.large = 1ull << 32,
		.whole = -33,
		.real = 1.5,
		.text = qmt_str("hi"),
		.bytes = {(const uint8_t *)"\0\xff", 2},
		.ref = sample_ref(5),
		.part = {.number = 9},
		.parts = {parts, 3},
		.words = {words, 2}};
	struct sample nothing = {0};

	(void)state;
	assert_encodes(&sample_record, &nothing, BYTES("\x80"));
	assert_encodes(&sample_record, &full,
		BYTES(
			"\x8b\x01\xc3\x02\xcc\x80\x03\xcf\0\0\0\x01\0\0\0\0\x04\xd0\xdf\x05\xcb\x3f\xf8\0\0\0\0\0\0"
			"\x06\xa2hi\x07\xc4\x02\0\xff\x08\x05"
			"\x09\x81\x01\x09\x0a\x93\x81\x01\x01\x81\x02\xa1"
			"b\x80\xcd\x01\x2c\x92\xa1x\xa0"));
	assert_encodes(&node_info_type.record, "", BYTES("\x80"));
}

/* Zero, false, empty and unset fields are left out, also a record whose fields are all empty; they come back as
 * zero. */
static void test_empty(void **state)
{
	struct sample empty = {.text = {"", 0}, .bytes = {(const uint8_t *)"", 0}, .parts = {NULL, 0}, .real = -0.0};
	struct sample *back = decode(&sample_record, BYTES("\x80"));

	(void)state;
	assert_encodes(&sample_record, &empty, BYTES("\x80"));
	assert_true(sample_equal(&sample_record, back, &(struct sample){0}));
	free(back);

	/* Another writer may send them all the same. */
	back = decode(&sample_record,
		BYTES(
			"\x8b\x01\xc2\x02\x00\x03\x00\x04\x00\x05\xcb\0\0\0\0\0\0\0\0"
			"\x06\xa0\x07\xc4\x00\x08\x00\x09\x80\x0a\x90\xcd\x01\x2c\x90"));
	assert_true(sample_equal(&sample_record, back, &(struct sample){0}));
	free(back);
}

/* Keys and values that a reader does not know are skipped, whatever they hold, between those that it knows. */
static void test_unknown_skipped(void **state)
{
	static const struct {
		const char *what;
		struct qmt_bytes value;
	} unknown[] = {
		{"nil", BYTES("\xc0")},
		{"bool", BYTES("\xc3")},
		{"fixint", BYTES("\x7f")},
		{"negative fixint", BYTES("\xff")},
		{"uint8", BYTES("\xcc\xff")},
		{"uint16", BYTES("\xcd\1\2")},
		{"uint32", BYTES("\xce\1\2\3\4")},
		{"uint64", BYTES("\xcf\1\2\3\4\5\6\7\x8")},
		{"int8", BYTES("\xd0\x80")},
		{"int16", BYTES("\xd1\x80\1")},
		{"int32", BYTES("\xd2\x80\1\1\1")},
		{"int64", BYTES("\xd3\x80\1\1\1\1\1\1\1")},
		{"float32", BYTES("\xca\1\2\3\4")},
		{"float64", BYTES("\xcb\1\2\3\4\5\6\7\x8")},
		{"fixstr", BYTES("\xa2\xff\xfe")},
		{"str8", BYTES("\xd9\1a")},
		{"str16", BYTES("\xda\0\1a")},
		{"str32", BYTES("\xdb\0\0\0\1a")},
		{"bin8", BYTES("\xc4\1a")},
		{"bin16", BYTES("\xc5\0\1a")},
		{"bin32", BYTES("\xc6\0\0\0\1a")},
		{"fixext1",
			BYTES("\xd4\x05"
				  "a")},
		{"fixext2",
			BYTES("\xd5\x05"
				  "ab")},
		{"fixext4",
			BYTES("\xd6\x05"
				  "abcd")},
		{"fixext8",
			BYTES("\xd7\x05"
				  "abcdefgh")},
		{"fixext16",
			BYTES("\xd8\x05"
				  "abcdefghijklmnop")},
		{"ext8",
			BYTES("\xc7\3\x05"
				  "abc")},
		{"ext16",
			BYTES("\xc8\0\3\x05"
				  "abc")},
		{"ext32",
			BYTES("\xc9\0\0\0\3\x05"
				  "abc")},
		{"fixarray", BYTES("\x92\x01\x90")},
		{"array16", BYTES("\xdc\0\2\x01\x02")},
		{"array32", BYTES("\xdd\0\0\0\2\x01\x02")},
		{"fixmap", BYTES("\x81\xa1k\x81\x01\x02")},
		{"map16", BYTES("\xde\0\1\x01\x02")},
		{"map32", BYTES("\xdf\0\0\0\1\x01\x02")},
		{"14 more levels", BYTES("\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x90")},
	};
	static const struct qmt_bytes keys[] = {
		BYTES("\x0b"), BYTES("\x00"), BYTES("\xcd\xff\xff"), BYTES("\xcf\xff\xff\xff\xff\xff\xff\xff\xff")};

	(void)state;
	for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
		for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
			struct qmt_buf data = {0};

			qmt_buf_append(&data, "\x83\x02\x07", 3);
			qmt_buf_append(&data, keys[k].p, keys[k].len);
			qmt_buf_append(&data, unknown[i].value.p, unknown[i].value.len);
			qmt_buf_append(&data, "\x06\xa2hi", 4);

			struct sample *back = codec_decode_new(&sample_record, view(&data), &sample_refs, NULL);

			if (!back)
				fail_msg("%s was not skipped", unknown[i].what);
			assert_true(sample_equal(&sample_record, back, &(struct sample){.small = 7, .text = qmt_str("hi")}));
			free(back);
			qmt_buf_free(&data);
		}
	}
}

/* A number may come in any width, and keys in any order. */
static void test_liberal(void **state)
{
	struct sample *back = decode(&sample_record,
		BYTES(
			"\x86\x06\xdb\0\0\0\2hi\x05\x03\x04\xd3\0\0\0\0\0\0\0\x07\xcf\0\0\0\0\0\0\0\x03"
			"\xcf\0\0\0\0\0\0\0\x09\x02\xd3\0\0\0\0\0\0\0\x08\xcc\x01\xc3"));

	(void)state;
	assert_true(sample_equal(&sample_record, back,
		&(struct sample){.flag = true, .small = 8, .large = 9, .whole = 7, .real = 3, .text = qmt_str("hi")}));
	free(back);
	back = decode(&sample_record, BYTES("\x81\x05\xca\x3f\xc0\0\0"));
	assert_true(back->real == 1.5);
	free(back);
	back = decode(&sample_record, BYTES("\x81\x05\xe0"));
	assert_true(back->real == -32);
	free(back);
}

/* What was decoded owes nothing to the bytes that it came from, and its parts are aligned. */
static void test_owns(void **state)
{
	struct sample_room room = {0};
	uint64_t seed = 42;
	const struct sample *body = sample_random(&sample_record, &seed, &room);
	struct qmt_buf out = {0};

	(void)state;
	assert_int_equal(codec_encode(&sample_record, body, &sample_refs, &out), 0);

	struct sample *back = decode(&sample_record, view(&out));

	memset(out.data, 0xee, out.len);
	qmt_buf_free(&out);
	assert_true(sample_equal(&sample_record, body, back));
	assert_int_equal((uintptr_t)back->parts.items % _Alignof(struct sample_part), 0);
	assert_int_equal((uintptr_t)back->words.items % _Alignof(struct qmt_str), 0);
	free(back);
	sample_free(&room);
}

static int refuse_out(void *arg, struct qmt_ref ref, uint64_t *ret_number)
{
	(void)arg;
	(void)ref;
	*ret_number = 0;
	return -ENOBUFS;
}

/* A message that cannot be sent leaves the buffer as long as it was: a ref that cannot go, a text that is not UTF-8. */
static void test_encode_refused(void **state)
{
	struct sample with_ref = {.text = qmt_str("first"), .ref = sample_ref(1)}, with_zero = {.ref = {.gen = 1}};
	struct sample with_latin1 = {.text = qmt_str("caf\xe9")};
	const struct qmt_str broken[] = {qmt_str("good"), qmt_str("\x80")};
	struct sample with_words = {.words = {broken, 2}};
	struct codec_refs none = {0}, refuses = {.out = refuse_out};
	struct qmt_buf out = {0};

	(void)state;
	qmt_buf_str(&out, "before");
	assert_int_equal(codec_encode(&sample_record, &with_ref, NULL, &out), -EINVAL);
	assert_int_equal(codec_encode(&sample_record, &with_ref, &none, &out), -EINVAL);
	assert_int_equal(codec_encode(&sample_record, &with_ref, &refuses, &out), -ENOBUFS);
	assert_int_equal(codec_encode(&sample_record, &with_zero, &sample_refs, &out), -EINVAL);
	assert_int_equal(codec_encode(&sample_record, &with_latin1, NULL, &out), -EINVAL);
	assert_int_equal(codec_encode(&sample_record, &with_words, NULL, &out), -EINVAL);
	assert_string_equal(out.data, "before");
	assert_int_equal(out.len, 6);
	assert_int_equal(
		codec_encode(&sample_record, &(struct sample){0}, NULL, &out), 0); /* without refs none are needed */
	assert_int_equal(out.len, 7);
	out.failed = true;
	assert_int_equal(codec_encode(&sample_record, &(struct sample){0}, NULL, &out), -ENOMEM);
	assert_int_equal(out.len, 7);
	qmt_buf_free(&out);
}

/* A record as deep as the limit goes both ways; one level more is not written. */
static void test_depth(void **state)
{
	struct sample_tree levels[CODEC_DEPTH] = {0};
	struct qmt_buf out = {0};
	size_t fits = (CODEC_DEPTH + 1) / 2; /* each level is a map in a list */

	(void)state;
	for (size_t i = 1; i < CODEC_DEPTH; i++) {
		levels[i].children.items = &levels[i - 1];
		levels[i].children.count = 1;
	}
	assert_int_equal(codec_encode(&sample_tree_record, &levels[fits - 1], NULL, &out), 0);
	free(decode(&sample_tree_record, view(&out)));
	assert_int_equal(codec_encode(&sample_tree_record, &levels[fits], NULL, &out), -EINVAL);
	qmt_buf_free(&out);
}

/* Every table of the contracts keeps the rules of runtime/message.h: keys from 1, unique, no more fields than the codec
 * takes. */
static void check_table(const struct qmt_record *record)
{
	size_t count = 0;

	for (const struct qmt_field *field = record->fields; field->kind != QMT_KIND_END; field++, count++) {
		assert_true(field->key > 0);
		for (const struct qmt_field *other = record->fields; other != field; other++)
			assert_int_not_equal(other->key, field->key);
		if (field->record)
			check_table(field->record);
	}
	assert_true(count <= CODEC_FIELDS);
}

static void test_tables(void **state)
{
	(void)state;
	for (const struct qmt_protocol *const *protocol = contract_protocols; *protocol; protocol++) {
		for (uint32_t i = 0; i < (*protocol)->count; i++)
			check_table(&(*protocol)->types[i]->record);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_kind), cmocka_unit_test(test_every_message),
		cmocka_unit_test(test_known_bytes), cmocka_unit_test(test_empty), cmocka_unit_test(test_unknown_skipped),
		cmocka_unit_test(test_liberal), cmocka_unit_test(test_owns), cmocka_unit_test(test_encode_refused),
		cmocka_unit_test(test_depth), cmocka_unit_test(test_tables)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
