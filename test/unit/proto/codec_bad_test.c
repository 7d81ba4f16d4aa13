/* Codec, bad bytes: everything that is not a record in this format is refused, with a text that names the place;
 * nothing makes the reader allocate more than the rule says, go deeper than the limit, or touch a byte outside. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "proto/contract/contract.h"
#include "test/lib/samples.h"

#define BYTES(literal) ((struct qmt_bytes){(const uint8_t *)(literal), sizeof(literal) - 1})

/* Measures a heap copy of exactly these bytes, so that a sanitizer sees a read behind them. Returns the text of the
 * error. */
static const char *refusal(const struct qmt_record *record, struct qmt_bytes data, struct qmt_err *err)
{
	uint8_t *copy = malloc(data.len > 0 ? data.len : 1);
	size_t extra = 12345;

	assert_non_null(copy);
	if (data.len > 0)
		memcpy(copy, data.p, data.len);
	*err = (struct qmt_err){0};

	int r = codec_measure(record, (struct qmt_bytes){copy, data.len}, &extra, err);

	free(copy);
	if (r == 0)
		return NULL;
	assert_int_equal(r, -EBADMSG);
	assert_int_equal(err->code, -EBADMSG);
	assert_int_equal(extra, 12345);
	return err->text;
}

static void assert_refused(const struct qmt_record *record, struct qmt_bytes data, const char *reason)
{
	struct qmt_err err;
	const char *text = refusal(record, data, &err);

	if (!text)
		fail_msg("accepted, expected: %s", reason);
	assert_string_equal(text, reason);
}

/* A value of another kind than its field's is refused, and the message names the field. */
static void test_wrong_types(void **state)
{
	static const struct {
		struct qmt_bytes data;
		const char *reason;
	} bad[] = {
		{BYTES("\x81\x01\x01"), "sample.flag: not true or false"},
		{BYTES("\x81\x01\xc0"), "sample.flag: not true or false"},
		{BYTES("\x81\x02\xc3"), "sample.small: not a number from 0 to 2^32 - 1"},
		{BYTES("\x81\x02\xff"), "sample.small: not a number from 0 to 2^32 - 1"},
		{BYTES("\x81\x02\xcf\0\0\0\1\0\0\0\0"), "sample.small: not a number from 0 to 2^32 - 1"},
		{BYTES("\x81\x03\xd3\xff\xff\xff\xff\xff\xff\xff\xff"), "sample.large: not a number from 0 to 2^64 - 1"},
		{BYTES("\x81\x03\xca\0\0\0\0"), "sample.large: not a number from 0 to 2^64 - 1"},
		{BYTES("\x81\x04\xcf\x80\0\0\0\0\0\0\0"), "sample.whole: not a number from -2^63 to 2^63 - 1"},
		{BYTES("\x81\x04\xa1"
			   "1"),
			"sample.whole: not a number from -2^63 to 2^63 - 1"},
		{BYTES("\x81\x05\xc2"), "sample.real: not a number"},
		{BYTES("\x81\x06\xc4\1a"), "sample.text: not a text"},
		{BYTES("\x81\x06\x01"), "sample.text: not a text"},
		{BYTES("\x81\x06\xc0"), "sample.text: not a text"},
		{BYTES("\x81\x07\xa1"
			   "a"),
			"sample.bytes: not bytes"},
		{BYTES("\x81\x07\xd4\x01"
			   "a"),
			"sample.bytes: not bytes"},
		{BYTES("\x81\x08\xa1"
			   "a"),
			"sample.ref: not a ref"},
		{BYTES("\x81\x08\xff"), "sample.ref: not a ref"},
		{BYTES("\x81\x09\x90"), "sample_part: not a map"},
		{BYTES("\x81\x09\x81\x01\xc3"), "sample_part.number: not a number from 0 to 2^32 - 1"},
		{BYTES("\x81\x0a\x80"), "sample.parts: not a list"},
		{BYTES("\x81\x0a\xa0"), "sample.parts: not a list"},
		{BYTES("\x81\x0a\x91\x01"), "sample_part: not a map"},
		{BYTES("\x81\xcd\x01\x2c\x91\x01"), "sample.words: not a text"},
		{BYTES("\x81\xcd\x01\x2c\x80"), "sample.words: not a list"},
		{BYTES("\x90"), "sample: not a map"},
		{BYTES("\xc0"), "sample: not a map"},
		{BYTES("\x81\xa1"
			   "a\x01"),
			"sample: a key is not a number"},
		{BYTES("\x81\xff\x01"), "sample: a key is not a number"},
		{BYTES("\x81\xc0\x01"), "sample: a key is not a number"},
		{BYTES("\x81\x01\xc1"), "sample.flag: byte 0xc1 begins no value"},
		{BYTES("\x81\x0b\xc1"), "sample: byte 0xc1 begins no value"},
		{BYTES("\xc1"), "sample: byte 0xc1 begins no value"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_refused(&sample_record, bad[i].data, bad[i].reason);
}

/* No beginning of a valid message is a valid message, and every one is refused without a read behind its end. */
static void test_truncated(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct sample_room room = {0};
		uint64_t s = seed;
		const void *body = sample_random(&sample_record, &s, &room);
		struct qmt_buf out = {0};
		struct qmt_err err;

		assert_int_equal(codec_encode(&sample_record, body, &sample_refs, &out), 0);
		for (size_t len = 0; len < out.len; len = len < 3000 || len + 4000 > out.len ? len + 1 : len + 997)
			assert_non_null(
				refusal(&sample_record, (struct qmt_bytes){(const uint8_t *)out.data, (uint32_t)len}, &err));
		assert_null(refusal(&sample_record, (struct qmt_bytes){(const uint8_t *)out.data, (uint32_t)out.len}, &err));
		qmt_buf_free(&out);
		sample_free(&room);
	}
	assert_refused(&sample_record, BYTES(""), "sample: the bytes end too early");
	assert_refused(&sample_record, BYTES("\x81\x06\xa2h"), "sample.text: the bytes end too early");
	assert_refused(
		&sample_record, BYTES("\x81\x06"), "sample: the bytes end too early"); /* a pair has two bytes at least */
}

/* Every message of the contracts, too, is refused when cut anywhere. */
static void test_truncated_contracts(void **state)
{
	(void)state;
	for (const struct qmt_protocol *const *protocol = contract_protocols; *protocol; protocol++) {
		for (uint32_t i = 0; i < (*protocol)->count; i++) {
			const struct qmt_record *record = &(*protocol)->types[i]->record;
			struct sample_room room = {0};
			uint64_t seed = i;
			struct qmt_buf out = {0};
			struct qmt_err err;

			assert_int_equal(codec_encode(record, sample_random(record, &seed, &room), &sample_refs, &out), 0);
			for (size_t len = 0; len < out.len; len += len < 300 ? 1 : 97)
				assert_non_null(refusal(record, (struct qmt_bytes){(const uint8_t *)out.data, (uint32_t)len}, &err));
			qmt_buf_free(&out);
			sample_free(&room);
		}
	}
}

/* Bytes behind the record are refused: nothing can hide there. */
static void test_trailing(void **state)
{
	(void)state;
	assert_refused(&sample_record, BYTES("\x80\x80"), "sample: more bytes follow");
	assert_refused(&sample_record, BYTES("\x81\x02\x01\xc0"), "sample: more bytes follow");
}

/* A known key may come once only, at every level: two readers could otherwise take different values. */
static void test_duplicate_keys(void **state)
{
	(void)state;
	assert_refused(&sample_record, BYTES("\x82\x02\x01\x02\x02"), "sample.small: its key comes twice");
	assert_refused(&sample_record, BYTES("\x83\x02\x01\x01\xc3\xcd\0\x02\x01"), "sample.small: its key comes twice");
	assert_refused(&sample_record, BYTES("\x82\xcd\x01\x2c\x90\xcd\x01\x2c\x90"), "sample.words: its key comes twice");
	assert_refused(&sample_record, BYTES("\x81\x09\x82\x01\x01\x01\x01"), "sample_part.number: its key comes twice");
	assert_refused(
		&sample_record, BYTES("\x81\x0a\x92\x80\x82\x02\xa0\x02\xa0"), "sample_part.text: its key comes twice");
}

/* Text is UTF-8 or refused, in texts, lists of texts and records. */
static void test_utf8(void **state)
{
	static const struct qmt_bytes broken[] = {BYTES("\x80"), BYTES("\xff"), BYTES("\xc3"), BYTES("\xc0\x80"),
		BYTES("\xc1\xbf"), BYTES("\xe0\x80\x80"), BYTES("\xe2\x82"), BYTES("\xed\xa0\x80"), BYTES("\xf0\x80\x80\x80"),
		BYTES("\xf4\x90\x80\x80"), BYTES("\xf5\x80\x80\x80"), BYTES("abcdefgh\xc3"), BYTES("\xc3\x28"),
		BYTES("caf\xe9")};

	(void)state;
	for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
		static const struct {
			const char *head, *reason;
		} places[] = {{"\x81\x06", "sample.text: text is not UTF-8"},
			{"\x81\xcd\x01\x2c\x91", "sample.words: text is not UTF-8"},
			{"\x81\x09\x81\x02", "sample_part.text: text is not UTF-8"}};

		for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
			struct qmt_buf data = {0};

			qmt_buf_str(&data, places[p].head);
			qmt_buf_append(&data, (uint8_t[]){(uint8_t)(0xa0 | broken[i].len)}, 1);
			qmt_buf_append(&data, broken[i].p, broken[i].len);
			assert_refused(
				&sample_record, (struct qmt_bytes){(const uint8_t *)data.data, (uint32_t)data.len}, places[p].reason);
			qmt_buf_free(&data);
		}
	}
}

static struct qmt_bytes repeated(struct qmt_buf *room, const char *head, const char *unit, size_t times)
{
	size_t len = strlen(unit);

	qmt_buf_str(room, head);
	for (size_t i = 0; i < times; i++)
		qmt_buf_append(room, unit, len);
	return (struct qmt_bytes){(const uint8_t *)room->data, (uint32_t)room->len};
}

/* 1,000 levels, and one more than the limit, are refused both where the table nests and where a value is only
 * skipped. */
static void test_depth(void **state)
{
	static const struct {
		const struct qmt_record *record;
		const char *head, *unit;
		size_t levels; /* per unit */
	} bombs[] = {
		{&sample_record, "\x81\x0b", "\x91", 1},
		{&sample_record, "\x81\x0b", "\x81\x01", 1},
		{&sample_record, "\x81\x0b", "\x81\x91", 2},
		{&sample_tree_record, "", "\x81\x01\x91", 2},
		{&sample_tree_record, "", "\x81\x02\x91", 2},
	};

	(void)state;
	for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
		static const size_t depths[] = {CODEC_DEPTH + 2, 1000, 100000};

		for (size_t d = 0; d < sizeof depths / sizeof *depths; d++) {
			struct qmt_buf room = {0};
			struct qmt_err err;
			struct qmt_bytes data = repeated(&room, bombs[i].head, bombs[i].unit, depths[d] / bombs[i].levels);

			qmt_buf_append(&room, "\xc0", 1);
			data = (struct qmt_bytes){(const uint8_t *)room.data, (uint32_t)room.len};

			const char *text = refusal(bombs[i].record, data, &err);

			assert_non_null(text);
			assert_non_null(strstr(text, "nested too deep"));
			qmt_buf_free(&room);
		}
	}
	/* Exactly at the limit: the record is level 1, so 15 more fit. */
	struct qmt_buf room = {0};
	struct qmt_err err;

	repeated(&room, "\x81\x0b", "\x91", CODEC_DEPTH - 1);
	qmt_buf_append(&room, "\xc0", 1);
	assert_null(refusal(&sample_record, (struct qmt_bytes){(const uint8_t *)room.data, (uint32_t)room.len}, &err));
	qmt_buf_free(&room);
	repeated(&room, "\x81\x0b", "\x91", CODEC_DEPTH);
	qmt_buf_append(&room, "\xc0", 1);
	assert_refused(
		&sample_record, (struct qmt_bytes){(const uint8_t *)room.data, (uint32_t)room.len}, "sample: nested too deep");
	qmt_buf_free(&room);
}

/* Lengths and counts that promise more than there is are refused at once, whatever their width. */
static void test_oversize(void **state)
{
	static const struct qmt_bytes bad[] = {
		BYTES("\xdf\xff\xff\xff\xff"),
		BYTES("\xdf\x80\0\0\0\x01\xc3"),
		BYTES("\xde\xff\xff"),
		BYTES("\x8f\x01\xc3"), /* pairs */
		BYTES("\x81\x0a\xdd\xff\xff\xff\xff"),
		BYTES("\x81\x0a\xdc\xff\xff\x80"),
		BYTES("\x81\x0a\x9f\x80"), /* items */
		BYTES("\x81\xcd\x01\x2c\xdd\xff\xff\xff\xff"),
		BYTES("\x81\xcd\x01\x2c\xdd\0\0\0\2\xa0"), /* texts */
		BYTES("\x81\x06\xdb\xff\xff\xff\xff"),
		BYTES("\x81\x06\xda\xff\xff"),
		BYTES("\x81\x06\xd9\xff"),
		BYTES("\x81\x06\xbf"),
		BYTES("\x81\x07\xc6\xff\xff\xff\xff"),
		BYTES("\x81\x07\xc5\xff\xff"),
		BYTES("\x81\x07\xc4\1"),
		BYTES("\x81\x0b\xc9\xff\xff\xff\xff\x01"),
		BYTES("\x81\x0b\xc8\0\2\x01"
			  "a"),
		BYTES("\x81\x0b\xc7\1\1"),
		BYTES("\x81\x0b\xc7\1"),
		BYTES("\x81\x0b\xd8\x01"
			  "abcdefghijklmno"),
		BYTES("\x81\x0b\xd4"),
		BYTES("\x81\x0b\xd4\1"), /* ext, skipped */
		BYTES("\x81\x0b\xdd\xff\xff\xff\xff\xc0"),
		BYTES("\x81\x0b\xdf\xff\xff\xff\xff\xc0\xc0"),
		BYTES("\x81\x0b\x81\xc0"),
	};
	struct qmt_err err;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		const char *text = refusal(&sample_record, bad[i], &err);

		assert_non_null(text);
		assert_non_null(strstr(text, "the bytes end too early"));
	}
}

/* Appends `key: [count empty maps]`. */
static void append_empty_items(struct qmt_buf *room, uint8_t key, uint32_t count)
{
	const uint8_t head[] = {
		key, 0xdd, (uint8_t)(count >> 24), (uint8_t)(count >> 16), (uint8_t)(count >> 8), (uint8_t)count};

	qmt_buf_append(room, head, sizeof head);
	for (uint32_t i = 0; i < count; i++)
		qmt_buf_append(room, "\x80", 1);
}

/* What codec_measure says to provider.chat with so many empty messages and tools, and that decoding gives what it
 * measured. */
static int measure_chat(uint32_t messages, uint32_t tools, struct qmt_err *err)
{
	const struct qmt_record *record = &provider_chat_type.record;
	struct qmt_buf room = {0};
	size_t extra = 0;

	qmt_buf_append(&room, "\x82", 1);
	append_empty_items(&room, 3, messages);
	append_empty_items(&room, 4, tools);

	struct qmt_bytes data = {(const uint8_t *)room.data, (uint32_t)room.len};
	int r = codec_measure(record, data, &extra, err);

	if (r == 0) {
		struct provider_chat *body = codec_decode_new(record, data, NULL, err);

		assert_int_equal(extra, messages * sizeof(struct chat_message) + tools * sizeof(struct chat_tool));
		assert_non_null(body);
		assert_int_equal(body->messages.count, messages);
		assert_int_equal(body->tools.count, tools);
		free(body);
	}
	qmt_buf_free(&room);
	return r;
}

/* An empty item costs one byte on the wire and a struct in memory: the sum over all lists is bounded, at the byte; what
 * is within the bound is decoded. */
static void test_amplification(void **state)
{
	size_t message = sizeof(struct chat_message), tool = sizeof(struct chat_tool), base = CODEC_EXTRA_BASE,
		   head = 1 + 6 + 6;
	struct qmt_err err = {0};

	(void)state;
	assert_true(message > CODEC_EXTRA_FACTOR && tool > CODEC_EXTRA_FACTOR);

	/* n items need n * size, and may need base + factor * (head + n). */
	uint32_t messages = (uint32_t)((base + CODEC_EXTRA_FACTOR * head) / (message - CODEC_EXTRA_FACTOR));
	uint32_t tools = (uint32_t)((base + CODEC_EXTRA_FACTOR * head) / (tool - CODEC_EXTRA_FACTOR));

	assert_int_equal(measure_chat(messages, 0, &err), 0);
	assert_int_equal(measure_chat(messages + 1, 0, &err), -EBADMSG);
	assert_string_equal(err.text, "provider.chat.messages: decoded, it would be too large for its bytes");
	assert_int_equal(measure_chat(0, tools, &err), 0);
	assert_int_equal(measure_chat(0, tools + 1, &err), -EBADMSG);
	assert_int_equal(measure_chat(messages / 2, tools / 2, &err), 0);
	assert_int_equal(measure_chat(messages / 2, tools * 2 / 3, &err), -EBADMSG); /* each is within the bound alone */
	assert_string_equal(err.text, "provider.chat.tools: decoded, it would be too large for its bytes");
	assert_int_equal(measure_chat(1 << 20, 0, &err), -EBADMSG);
}

/* However long a message is, its structs take CODEC_EXTRA_MAX beyond its own bytes at most. */
static void test_structs_in_all(void **state)
{
	enum { HEAD = 7 };
	size_t size = sizeof(struct sample_part), most = (CODEC_EXTRA_MAX + HEAD) / (size - 1), extra;

	(void)state;
	assert_true(size < CODEC_EXTRA_FACTOR); /* the other bound does not hold it */
	for (size_t count = most; count <= most + 1; count++) {
		uint8_t *data = malloc(HEAD + count);
		struct qmt_err err = {0};

		assert_non_null(data);
		memset(data, 0x80, HEAD + count);
		memcpy(data,
			(const uint8_t[]){
				0x81, 10, 0xdd, (uint8_t)(count >> 24), (uint8_t)(count >> 16), (uint8_t)(count >> 8), (uint8_t)count},
			HEAD);
		assert_int_equal(
			codec_measure(&sample_record, (struct qmt_bytes){data, (uint32_t)(HEAD + count)}, &extra, &err),
			count > most ? -EBADMSG : 0);
		if (count > most)
			assert_string_equal(err.text, "sample.parts: decoded, it would be too large for its bytes");
		free(data);
	}
}

/* Any single changed byte of a valid message gives a record that is whole, or a refusal; never a step outside. */
static void test_flipped(void **state)
{
	(void)state;
	for (uint64_t seed = 100; seed < 110; seed++) {
		struct sample_room room = {0};
		uint64_t s = seed;
		struct qmt_buf out = {0};

		assert_int_equal(codec_encode(&sample_record, sample_random(&sample_record, &s, &room), &sample_refs, &out), 0);
		for (size_t at = 0; at < out.len && at < 400; at++) {
			for (int flip = 1; flip < 256; flip = flip * 2 + 1) {
				uint8_t *copy = malloc(out.len);

				assert_non_null(copy);
				memcpy(copy, out.data, out.len);
				copy[at] ^= (uint8_t)flip;
				free(codec_decode_new(&sample_record, (struct qmt_bytes){copy, (uint32_t)out.len}, &sample_refs, NULL));
				free(copy);
			}
		}
		qmt_buf_free(&out);
		sample_free(&room);
	}
}

/* codec_decode with less room than was measured, or with other bytes than were measured, fails and leaves zeros. */
static void test_small_room(void **state)
{
	struct sample_room room = {0};
	uint64_t seed = 7;
	struct qmt_buf out = {0};
	size_t need = 0;
	struct qmt_err err = {0};

	(void)state;
	assert_int_equal(codec_encode(&sample_record, sample_random(&sample_record, &seed, &room), &sample_refs, &out), 0);

	struct qmt_bytes data = {(const uint8_t *)out.data, (uint32_t)out.len};

	assert_int_equal(codec_measure(&sample_record, data, &need, &err), 0);
	assert_true(need > 100);
	for (size_t size = 0; size < need; size += size < need - 10 ? 7 : 1) {
		struct sample body, zero = {0};
		void *exact = malloc(size > 0 ? size : 1);

		assert_non_null(exact);
		memset(&body, 0xee, sizeof body);
		assert_int_equal(
			codec_decode(&sample_record, data, &sample_refs, &body, size > 0 ? exact : NULL, size, &err), -EBADMSG);
		assert_non_null(strstr(err.text, "the room is too small"));
		assert_memory_equal(&body, &zero, sizeof body);
		free(exact);
	}
	qmt_buf_free(&out);
	sample_free(&room);
}

static int in_fails(void *arg, uint64_t number, struct qmt_ref *ret_ref)
{
	(void)number;
	(void)ret_ref;
	return *(int *)arg;
}

/* A ref where none may come, or one that the link does not know, fails the message; number 0 is nobody. */
static void test_refs(void **state)
{
	struct qmt_bytes data = BYTES("\x81\x08\x05"), nobody = BYTES("\x81\x08\x00");
	struct codec_refs none = {0}, fails = {.in = in_fails, .arg = &(int){-ENOENT}};
	struct sample body;
	struct qmt_err err = {0};

	(void)state;
	assert_int_equal(codec_decode(&sample_record, data, NULL, &body, NULL, 0, &err), -EBADMSG);
	assert_string_equal(err.text, "sample.ref: a ref cannot come this way");
	assert_int_equal(codec_decode(&sample_record, data, &none, &body, NULL, 0, &err), -EBADMSG);
	assert_int_equal(codec_decode(&sample_record, data, &fails, &body, NULL, 0, &err), -ENOENT);
	assert_string_equal(err.text, "sample.ref: no such ref: 5");
	assert_int_equal(codec_decode(&sample_record, data, &sample_refs, &body, NULL, 0, &err), 0);
	assert_int_equal(body.ref.rid, 5);
	assert_int_equal(codec_decode(&sample_record, nobody, &fails, &body, NULL, 0, &err), 0);
	assert_int_equal(body.ref.gen, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_wrong_types), cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_truncated_contracts), cmocka_unit_test(test_trailing),
		cmocka_unit_test(test_duplicate_keys), cmocka_unit_test(test_utf8), cmocka_unit_test(test_depth),
		cmocka_unit_test(test_oversize), cmocka_unit_test(test_amplification), cmocka_unit_test(test_structs_in_all),
		cmocka_unit_test(test_flipped), cmocka_unit_test(test_small_room), cmocka_unit_test(test_refs)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
