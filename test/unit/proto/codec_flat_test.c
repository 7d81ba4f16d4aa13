/* The short ways of codec and envelope write the same bytes as the long ones, accept the same bytes, refuse the same
 * bytes with the same text, and read the same values. The long way is taken by a twin of the record that also has a
 * list (never set), and by envelopes with one element more. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "proto/codec.h"
#include "proto/codec_flat.h"
#include "proto/envelope.h"
#include "proto/unpack.h"
#include "test/lib/samples.h"

#define PLAIN(F, T)                 \
	F(T, U64, large, 1, "uint64_t") \
	F(T, BYTES, bytes, 2, "bytes")  \
	F(T, BOOL, flag, 3, "bool")     \
	F(T, U32, small, 4, "uint32_t") \
	F(T, I64, whole, 5, "int64_t")  \
	F(T, F64, real, 6, "double")    \
	F(T, STR, text, 7, "text")      \
	F(T, STR, other, 127, "a last text")
#define TWIN(F, T) \
	PLAIN(F, T)    \
	F(T, STRS, words, 200, "never set")
QMT_DECLARE_RECORD(plain, PLAIN)
QMT_DECLARE_RECORD(twin, TWIN)
QMT_DEFINE_RECORD(plain, PLAIN, "")
QMT_DEFINE_RECORD(twin, TWIN, "")

enum { ROUNDS = 3000, SIZE = 4096 };

static uint64_t next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return *seed >> 33;
}

static struct plain random_plain(uint64_t *seed, struct sample_room *room)
{
	return *(struct plain *)sample_random(&plain_record, seed, room);
}

/* plain is a prefix of twin. */
static struct twin twin_of(const struct plain *plain)
{
	struct twin twin = {0};

	memcpy(&twin, plain, sizeof(*plain));
	return twin;
}

static void test_writes_the_same(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct sample_room room = {0};
		struct plain body = random_plain(&seed, &room);
		struct twin twin = twin_of(&body);
		struct qmt_buf quick = {0}, slow = {0};

		assert_true(flat_encode(&plain_record, (const char *)&body, &quick));
		assert_false(flat_encode(&twin_record, (const char *)&twin, &slow));
		assert_int_equal(slow.len, 0);
		assert_int_equal(codec_encode(&twin_record, &twin, NULL, &slow), 0);
		assert_int_equal(quick.len, slow.len);
		assert_memory_equal(quick.data, slow.data, quick.len);
		assert_int_equal(quick.data[quick.len], '\0');
		qmt_buf_free(&quick);
		qmt_buf_free(&slow);
		sample_free(&room);
	}
}

/* A text that is not UTF-8 is refused, and the buffer is as before. */
static void test_declines_bad_text(void **state)
{
	struct plain body = {.large = 7, .text = qmt_strn("\xff", 1)};
	struct qmt_buf out = {0};

	(void)state;
	qmt_buf_str(&out, "before");
	assert_int_equal(codec_encode(&plain_record, &body, NULL, &out), -EINVAL);
	assert_string_equal(out.data, "before");
	assert_int_equal(out.len, 6);
	assert_false(out.failed);
	qmt_buf_free(&out);
}

/* Reads heap copies of exactly these bytes by both ways. */
static void compare(const uint8_t *bytes, uint32_t len, uint32_t *ret_accepted)
{
	uint8_t *copy = malloc(len ? len : 1);
	char *room = malloc(len ? len : 1);
	struct qmt_bytes data = {copy, len};
	struct qmt_err quick_err = {0}, slow_err = {0};
	struct plain body;
	struct twin *twin;
	int rc;

	assert_true(copy && room);
	memcpy(copy, bytes, len);
	memset(&body, 0xee, sizeof(body));
	rc = codec_decode_one(&plain_record, data, NULL, &body, room, &quick_err);
	twin = codec_decode_new(&twin_record, data, NULL, &slow_err);
	assert_int_equal(rc == 0, twin != NULL);
	if (twin) {
		struct twin same = twin_of(&body);

		assert_true(sample_equal(&twin_record, &same, twin));
		++*ret_accepted;
	} else { /* "plain.text: …" and "twin.text: …" */
		assert_int_equal(rc, -EBADMSG);
		assert_string_equal(quick_err.text + strlen("plain"), slow_err.text + strlen("twin"));
		for (size_t i = 0; i < sizeof(body); i++)
			assert_int_equal(((const char *)&body)[i], 0);
	}
	free(twin);
	free(room);
	free(copy);
}

static void test_reads_the_same(void **state)
{
	uint64_t seed = 2;
	uint32_t accepted = 0, total = 0;

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct sample_room room = {0};
		struct plain body = random_plain(&seed, &room);
		struct qmt_buf out = {0};
		uint8_t bytes[SIZE];
		uint32_t len;

		assert_int_equal(codec_encode(&plain_record, &body, NULL, &out), 0);
		len = out.len < SIZE ? (uint32_t)out.len : SIZE;
		memcpy(bytes, out.data, len);
		compare(bytes, len, &accepted);
		for (int j = 0; j < 20; j++, total++) { /* one byte is another, or the end is cut off */
			uint32_t at = (uint32_t)(next(&seed) % len), shorter = j % 4 ? len : at;
			uint8_t before = bytes[at];

			bytes[at] = (uint8_t)next(&seed);
			compare(bytes, shorter, &accepted);
			bytes[at] = before;
		}
		qmt_buf_free(&out);
		sample_free(&room);
	}
	assert_true(accepted > ROUNDS + 100);       /* some changes do no harm */
	assert_true(accepted < ROUNDS + total / 2); /* others do */
}

/* Unknown keys, keys in another order, twice, or long, and other widths of numbers. */
static void test_reads_the_unusual(void **state)
{
	static const struct {
		const char *bytes;
		uint32_t len;
		bool good;
	} rows[] = {
		{"\x80", 1, true},
		{"\x82\x03\xc3\x01\x05", 5, true},              /* not in the order of the table */
		{"\x82\x01\x05\x01\x05", 5, false},             /* twice */
		{"\x82\x01\x05\x40\x93\x01\x02\xa1z", 9, true}, /* unknown, with a list */
		{"\x81\xcc\x01\x05", 4, true},                  /* a key of two bytes */
		{"\xde\x00\x01\x01\x05", 5, true},              /* a long map head */
		{"\x81\x01\xd3\0\0\0\0\0\0\0\x05", 11, true},   /* a signed form */
		{"\x81\x01\xff", 3, false},                     /* below zero */
		{"\x81\x05\xd0\x80", 4, true},                  /* below zero where it may be */
		{"\x81\x06\x05", 3, true},                      /* a whole number for a real */
		{"\x81\x90\x05", 3, false},                     /* a list as key */
		{"\x81\x01\x05\x00", 4, false},                 /* more follows */
		{"\x81\x02\xc4\x05"
		 "ab",
			6, false}, /* fewer bytes than it says */
		{"\x81\x02\xc6\0\0\0\x01"
		 "a",
			8, true},
		{"\x81\x02\xc4\x00", 4, true},
		{"\x81\x07\xa0", 3, true},
		{"\x81\x07\xa1\xff", 4, false},
		{"\xc0", 1, false},
		{"", 0, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t accepted = 0;

		compare((const uint8_t *)rows[i].bytes, rows[i].len, &accepted);
		if (accepted != rows[i].good)
			fail_msg("row %zu: %s", i, accepted ? "accepted" : "refused");
	}
}

static void assert_same_envelope(const struct envelope *a, const struct envelope *b)
{
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->id, b->id);
	assert_int_equal(a->to, b->to);
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->deadline_ms, b->deadline_ms);
	assert_int_equal(a->scope, b->scope);
	assert_int_equal(a->trace, b->trace);
	assert_int_equal(a->body.len, b->body.len);
	assert_true(qmt_str_eq(a->to_name, b->to_name) && qmt_str_eq(a->type_name, b->type_name));
}

static void test_reads_envelopes_the_same(void **state)
{
	uint64_t seed = 3;
	int agreed = 0, refused = 0;

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct sample_room room = {0};
		uint64_t wide = next(&seed) << 31 ^ next(&seed);
		struct envelope env = {.kind = (uint8_t)(next(&seed) % ENVELOPE_KINDS),
			.id = wide >> next(&seed) % 62,
			.to = (uint32_t)(wide >> next(&seed) % 62),
			.type = (uint32_t)(next(&seed) % 300),
			.deadline_ms = next(&seed) >> next(&seed) % 31,
			.scope = (uint32_t)(next(&seed) % 3),
			.trace = i % 3 ? 0 : wide};
		struct qmt_buf out = {0};

		if (i % 7 == 0)
			env.to_name = qmt_str("node_manager");
		if (i % 11 == 0)
			env.type_name = qmt_str("session.delta");
		envelope_put(&out, &env);
		assert_int_equal(
			codec_encode(&sample_record, sample_random(&sample_record, &seed, &room), &sample_refs, &out), 0);
		uint32_t len = (uint32_t)out.len;
		uint8_t *bytes = malloc(len + 1);
		assert_non_null(bytes);
		memcpy(bytes, out.data, len);
		for (int j = 0; j < 10; j++) {
			struct envelope quick = {0}, slow = {0};
			uint32_t at = (uint32_t)(next(&seed) % (j < 5 ? len : len < 16 ? len : 16));
			uint8_t before = bytes[at];

			if (j > 0)
				bytes[at] = (uint8_t)next(&seed);
			bytes[len] = 0xc0; /* a ninth element, counted or not */
			bool is_envelope = bytes[0] == 0x98;
			struct qmt_bytes short_data = {bytes, len};
			int rc = envelope_get(&short_data, &quick, NULL);
			if (is_envelope)
				bytes[0] = 0x99;
			struct qmt_bytes long_data = {bytes, len + 1};
			int long_rc = is_envelope ? envelope_get(&long_data, &slow, NULL) : 0;
			if (is_envelope && rc == 0 && short_data.len == 0) {
				assert_int_equal(long_rc, 0);
				assert_int_equal(long_data.len, 0);
				assert_same_envelope(&quick, &slow);
				agreed++;
			} else if (is_envelope && rc) {
				assert_true(long_rc || long_data.len == 0); /* the nil may be what it lacked */
				refused++;
			}
			bytes[0] = is_envelope ? 0x98 : bytes[0];
			bytes[at] = before;
		}
		free(bytes);
		qmt_buf_free(&out);
		sample_free(&room);
	}
	assert_true(agreed > ROUNDS && refused > ROUNDS / 10);
}

/* Whatever value is passed over, exactly its bytes are. */
static void test_skips_every_format(void **state)
{
	static const struct {
		const char *bytes;
		uint32_t len;
	} rows[] = {
#define ROW(text) {text, sizeof(text) - 1}
		ROW("\x00"),
		ROW("\x7f"),
		ROW("\x80"),
		ROW("\x81\x01\x02"),
		ROW("\x90"),
		ROW("\x92\x01\xa1z"),
		ROW("\xa0"),
		ROW("\xa3"
			"abc"),
		ROW("\xc0"),
		ROW("\xc2"),
		ROW("\xc3"),
		ROW("\xc4\x00"),
		ROW("\xc4\x02"
			"ab"),
		ROW("\xc5\0\x01"
			"a"),
		ROW("\xc6\0\0\0\x01"
			"a"),
		ROW("\xc7\x01\x05"
			"a"),
		ROW("\xc8\0\x01\x05"
			"a"),
		ROW("\xc9\0\0\0\x01\x05"
			"a"),
		ROW("\xca"
			"abcd"),
		ROW("\xcb"
			"abcdefgh"),
		ROW("\xcc"
			"a"),
		ROW("\xcd"
			"ab"),
		ROW("\xce"
			"abcd"),
		ROW("\xcf"
			"abcdefgh"),
		ROW("\xd0"
			"a"),
		ROW("\xd1"
			"ab"),
		ROW("\xd2"
			"abcd"),
		ROW("\xd3"
			"abcdefgh"),
		ROW("\xd4\x05"
			"a"),
		ROW("\xd5\x05"
			"ab"),
		ROW("\xd6\x05"
			"abcd"),
		ROW("\xd7\x05"
			"abcdefgh"),
		ROW("\xd8\x05"
			"abcdefghabcdefgh"),
		ROW("\xd9\x01"
			"a"),
		ROW("\xda\0\x01"
			"a"),
		ROW("\xdb\0\0\0\x01"
			"a"),
		ROW("\xdc\0\x01\x01"),
		ROW("\xdd\0\0\0\x01\x01"),
		ROW("\xde\0\x01\x01\x02"),
		ROW("\xdf\0\0\0\x01\x01\x02"),
		ROW("\xe0"),
		ROW("\xff"),
#undef ROW
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (uint32_t behind = 0; behind < 3; behind++)
			for (uint32_t missing = 0; missing <= rows[i].len; missing++) {
				uint32_t len = rows[i].len - missing + (missing ? 0 : behind);
				uint8_t *copy = calloc(1, len ? len : 1);

				assert_non_null(copy);
				memcpy(copy, rows[i].bytes, rows[i].len - missing);
				struct unpack in = unpack_from((struct qmt_bytes){copy, len});
				const char *fault = unpack_skip(&in, UNPACK_DEPTH);
				if (missing ? fault != unpack_short : fault || in.at != copy + rows[i].len)
					fail_msg("row %zu, %u behind, %u missing: %s", i, behind, missing, fault ? fault : "accepted");
				free(copy);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writes_the_same),
		cmocka_unit_test(test_declines_bad_text),
		cmocka_unit_test(test_reads_the_same),
		cmocka_unit_test(test_reads_the_unusual),
		cmocka_unit_test(test_reads_envelopes_the_same),
		cmocka_unit_test(test_skips_every_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
