/* Envelopes: what is put is got, one after the other in a frame; additions are skipped; anything malformed is refused
 * by its element and moves nothing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <msgpack.h>

#include "proto/envelope.h"

#define BYTES(literal) ((struct qmt_bytes){(const uint8_t *)(literal), sizeof(literal) - 1})

static struct qmt_bytes view(const struct qmt_buf *buf)
{
	return (struct qmt_bytes){(const uint8_t *)buf->data, (uint32_t)buf->len};
}

static void put_with_body(struct qmt_buf *out, const struct envelope *env)
{
	envelope_put(out, env);
	if (env->body.len > 0)
		qmt_buf_append(out, env->body.p, env->body.len);
	else
		envelope_put_nil(out);
	assert_false(out->failed);
}

static void assert_same(const struct envelope *a, const struct envelope *b)
{
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->id, b->id);
	assert_int_equal(a->to, b->to);
	assert_true(qmt_str_eq(a->to_name, b->to_name));
	assert_int_equal(a->type, b->type);
	assert_true(qmt_str_eq(a->type_name, b->type_name));
	assert_int_equal(a->deadline_ms, b->deadline_ms);
	assert_int_equal(a->scope, b->scope);
	assert_int_equal(a->trace, b->trace);
	assert_int_equal(a->body.len, b->body.len);
	if (a->body.len > 0)
		assert_memory_equal(a->body.p, b->body.p, a->body.len);
}

static char long_name[ENVELOPE_NAME + 1], long_type[ENVELOPE_TYPE + 1];

static struct envelope samples[] = {
	{.kind = ENVELOPE_TELL},
	{.kind = ENVELOPE_ASK,
		.id = 1,
		.to_name = {"node_manager", 12},
		.type = 3,
		.type_name = {"node.info", 9},
		.deadline_ms = 5000,
		.trace = 9,
		.body = {(const uint8_t *)"\x80", 1}},
	{.kind = ENVELOPE_TELL, .to = 1, .type = 3, .body = {(const uint8_t *)"\x81\x01\xa1x", 4}},
	{.kind = ENVELOPE_REPLY,
		.id = UINT64_MAX,
		.type = UINT32_MAX,
		.scope = UINT32_MAX,
		.trace = UINT64_MAX,
		.deadline_ms = UINT64_MAX},
	{.kind = ENVELOPE_ERROR, .id = 1ull << 40, .body = {(const uint8_t *)"\x82\x01\x05\x03\xa2no", 7}},
	{.kind = ENVELOPE_CANCEL, .id = 200},
	{.kind = ENVELOPE_CONTROL, .type = 1, .to = UINT32_MAX},
	{.kind = ENVELOPE_TELL, .to_name = {long_name, ENVELOPE_NAME}, .type_name = {long_type, ENVELOPE_TYPE}},
};
enum { SAMPLES = sizeof samples / sizeof *samples };

/* One frame holds envelopes of every kind, back to back, and gives them back one by one; then it says that there are no
 * more. */
static void test_round_trip(void **state)
{
	struct qmt_buf out = {0};
	struct qmt_bytes data;
	struct envelope env;
	struct qmt_err err = {0};

	(void)state;
	for (size_t i = 0; i < SAMPLES; i++)
		put_with_body(&out, &samples[i]);
	data = view(&out);
	for (size_t i = 0; i < SAMPLES; i++) {
		memset(&env, 0xee, sizeof env);
		if (envelope_get(&data, &env, &err) != 0)
			fail_msg("%zu: %s", i, err.text);
		assert_same(&env, &samples[i]);
	}
	assert_int_equal(data.len, 0);
	assert_int_equal(envelope_get(&data, &env, &err), 1);
	qmt_buf_free(&out);
}

/* The bytes are these: they are the wire format. */
static void test_known_bytes(void **state)
{
	static const struct qmt_bytes expected[] = {BYTES("\x98\x00\x00\xc0\x00\x00\x00\x00\xc0"),
		BYTES("\x98\x01\x01\xacnode_manager\x92\x03\xa9node.info\xcd\x13\x88\x00\x09\x80"),
		BYTES("\x98\x00\x00\x01\x03\x00\x00\x00\x81\x01\xa1x")};

	(void)state;
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
		struct qmt_buf out = {0};

		put_with_body(&out, &samples[i]);
		assert_int_equal(out.len, expected[i].len);
		assert_memory_equal(out.data, expected[i].p, out.len);
		qmt_buf_free(&out);
	}
}

/* msgpack-c's own reader sees an array of eight. */
static void test_independent(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		struct qmt_buf out = {0};
		msgpack_unpacked whole;
		size_t used = 0;

		put_with_body(&out, &samples[i]);
		msgpack_unpacked_init(&whole);
		assert_int_equal(msgpack_unpack_next(&whole, out.data, out.len, &used), MSGPACK_UNPACK_SUCCESS);
		assert_int_equal(used, out.len);
		assert_int_equal(whole.data.type, MSGPACK_OBJECT_ARRAY);
		assert_int_equal(whole.data.via.array.size, 8);
		assert_int_equal(whole.data.via.array.ptr[0].via.u64, samples[i].kind);
		assert_int_equal(whole.data.via.array.ptr[1].via.u64, samples[i].id);
		assert_int_equal(
			whole.data.via.array.ptr[7].type, samples[i].body.len > 0 ? MSGPACK_OBJECT_MAP : MSGPACK_OBJECT_NIL);
		msgpack_unpacked_destroy(&whole);
		qmt_buf_free(&out);
	}
}

/* Every beginning of an envelope is refused, the place stays, and nothing is written. */
static void test_truncated(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		struct qmt_buf out = {0};

		put_with_body(&out, &samples[i]);
		for (uint32_t len = 1; len < out.len; len++) {
			uint8_t *copy = malloc(len);
			struct qmt_bytes data = {copy, len};
			struct envelope env, untouched;
			struct qmt_err err = {0};

			assert_non_null(copy);
			memcpy(copy, out.data, len);
			memset(&env, 0x5a, sizeof env);
			memset(&untouched, 0x5a, sizeof untouched);
			assert_int_equal(envelope_get(&data, &env, &err), -EBADMSG);
			assert_memory_equal(err.text, "envelope", 8);
			assert_memory_equal(&env, &untouched, sizeof env);
			assert_ptr_equal(data.p, copy);
			assert_int_equal(data.len, len);
			free(copy);
		}
		qmt_buf_free(&out);
	}
}

/* More elements than a reader knows are skipped, so an envelope can grow. */
static void test_additions(void **state)
{
	struct qmt_bytes data = BYTES("\x9b\x00\x00\xc0\x05\x00\x00\x00\x80\xa3new\x82\x01\x02\x03\x91\xc0\xd4\x01x"
								  "\x98\x02\x07\xc0\x00\x00\x00\x00\xc0");
	struct envelope env;

	(void)state;
	assert_int_equal(envelope_get(&data, &env, NULL), 0);
	assert_int_equal(env.type, 5);
	assert_int_equal(env.body.len, 1);
	assert_int_equal(envelope_get(&data, &env, NULL), 0);
	assert_int_equal(env.id, 7);
	assert_int_equal(envelope_get(&data, &env, NULL), 1);
}

/* Each malformed element is named. */
static void test_malformed(void **state)
{
	static const struct {
		struct qmt_bytes data;
		const char *reason;
	} bad[] = {
		{BYTES("\x80"), "envelope: not an array of at least 8 elements"},
		{BYTES("\xc0"), "envelope: not an array of at least 8 elements"},
		{BYTES("\x97\x00\x00\xc0\x00\x00\x00\xc0"), "envelope: not an array of at least 8 elements"},
		{BYTES("\xdd\xff\xff\xff\xff"), "envelope: the bytes end too early"},
		{BYTES("\x98\x06\x00\xc0\x00\x00\x00\x00\xc0"), "envelope.kind: not a number, or too large"},
		{BYTES("\x98\xff\x00\xc0\x00\x00\x00\x00\xc0"), "envelope.kind: not a number, or too large"},
		{BYTES("\x98\xc0\x00\xc0\x00\x00\x00\x00\xc0"), "envelope.kind: not a number, or too large"},
		{BYTES("\x98\xcd\x01\x00\x00\xc0\x00\x00\x00\x00\xc0"), "envelope.kind: not a number, or too large"},
		{BYTES("\x98\x00\xff\xc0\x00\x00\x00\x00\xc0"), "envelope.id: not a number, or too large"},
		{BYTES("\x98\x00\x00\xff\x00\x00\x00\x00\xc0"), "envelope.to: not a name, a number or nil"},
		{BYTES("\x98\x00\x00\xcf\0\0\0\1\0\0\0\0\x00\x00\x00\x00\xc0"), "envelope.to: not a name, a number or nil"},
		{BYTES("\x98\x00\x00\xc4\1a\x00\x00\x00\x00\xc0"), "envelope.to: not a name, a number or nil"},
		{BYTES("\x98\x00\x00\xa0\x00\x00\x00\x00\xc0"), "envelope.to: an empty text"},
		{BYTES("\x98\x00\x00\xa1\xff\x00\x00\x00\x00\xc0"), "envelope.to: text is not UTF-8"},
		{BYTES("\x98\x00\x00\xc0\xa1x\x00\x00\x00\xc0"), "envelope.type: not a number or [number, text]"},
		{BYTES("\x98\x00\x00\xc0\x91\x01\x00\x00\x00\xc0"), "envelope.type: not a number or [number, text]"},
		{BYTES("\x98\x00\x00\xc0\x92\x01\x01\x00\x00\x00\xc0"), "envelope.type: not a number or [number, text]"},
		{BYTES("\x98\x00\x00\xc0\x92\xa1x\x01\x00\x00\x00\xc0"), "envelope.type: not a number, or too large"},
		{BYTES("\x98\x00\x00\xc0\x92\x01\xa0\x00\x00\x00\xc0"), "envelope.type: an empty text"},
		{BYTES("\x98\x00\x00\xc0\xcf\0\0\0\1\0\0\0\0\x00\x00\x00\xc0"),
			"envelope.type: not a number or [number, text]"},
		{BYTES("\x98\x00\x00\xc0\x00\xff\x00\x00\xc0"), "envelope.deadline_ms: not a number, or too large"},
		{BYTES("\x98\x00\x00\xc0\x00\x00\xcf\0\0\0\1\0\0\0\0\x00\xc0"), "envelope.scope: not a number, or too large"},
		{BYTES("\x98\x00\x00\xc0\x00\x00\x00\xc0\xc0"), "envelope.trace: not a number, or too large"},
		{BYTES("\x98\x00\x00\xc0\x00\x00\x00\x00\x90"), "envelope.body: not a map or nil"},
		{BYTES("\x98\x00\x00\xc0\x00\x00\x00\x00\x01"), "envelope.body: not a map or nil"},
		{BYTES("\x98\x00\x00\xc0\x00\x00\x00\x00\x81\x01\xc1"), "envelope.body: byte 0xc1 begins no value"},
		{BYTES("\x99\x00\x00\xc0\x00\x00\x00\x00\xc0\xc1"), "envelope: element 8: byte 0xc1 begins no value"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct qmt_bytes data = bad[i].data;
		struct envelope env;
		struct qmt_err err = {0};

		assert_int_equal(envelope_get(&data, &env, &err), -EBADMSG);
		assert_string_equal(err.text, bad[i].reason);
	}
}

/* Names over the limits are not written, and refused when they come. */
static void test_limits(void **state)
{
	struct envelope name = {.to_name = {long_name, ENVELOPE_NAME + 1}},
					type = {.type_name = {long_type, ENVELOPE_TYPE + 1}};
	struct qmt_buf out = {0}, raw = {0};
	struct qmt_bytes data;
	struct envelope env;
	struct qmt_err err = {0};

	(void)state;
	envelope_put(&out, &name);
	assert_true(out.failed);
	assert_int_equal(out.len, 0);
	out.failed = false;
	envelope_put(&out, &type);
	assert_true(out.failed);
	assert_int_equal(out.len, 0);

	qmt_buf_append(&raw, "\x98\x00\x00\xd9\x81", 5);
	qmt_buf_append(&raw, long_name, ENVELOPE_NAME + 1);
	qmt_buf_append(&raw, "\x00\x00\x00\x00\xc0", 5);
	data = view(&raw);
	assert_int_equal(envelope_get(&data, &env, &err), -EBADMSG);
	assert_string_equal(err.text, "envelope.to: the text is too long");
	qmt_buf_free(&raw);
	qmt_buf_append(&raw, "\x98\x00\x00\xc0\x92\x01\xd9\x41", 8);
	qmt_buf_append(&raw, long_type, ENVELOPE_TYPE + 1);
	qmt_buf_append(&raw, "\x00\x00\x00\xc0", 4);
	data = view(&raw);
	assert_int_equal(envelope_get(&data, &env, &err), -EBADMSG);
	assert_string_equal(err.text, "envelope.type: the text is too long");
	qmt_buf_free(&raw);
}

/* A body, or an addition, that nests beyond the limit is refused without recursion. */
static void test_depth(void **state)
{
	static const size_t depths[] = {16, 17, 1000, 1000000};

	(void)state;
	for (size_t d = 0; d < sizeof depths / sizeof *depths; d++) {
		struct qmt_buf body = {0}, addition = {0};
		struct qmt_bytes data;
		struct envelope env;
		struct qmt_err err = {0};
		int expected = depths[d] <= 16 ? 0 : -EBADMSG;

		qmt_buf_append(&body, "\x98\x00\x00\xc0\x00\x00\x00\x00\x81\x01", 10);
		qmt_buf_append(&addition, "\x99\x00\x00\xc0\x00\x00\x00\x00\xc0\x91", 10);
		for (size_t i = 1; i < depths[d]; i++) {
			qmt_buf_append(&body, "\x91", 1);
			qmt_buf_append(&addition, "\x91", 1);
		}
		qmt_buf_append(&body, "\xc0", 1);
		qmt_buf_append(&addition, "\xc0", 1);
		data = view(&body);
		assert_int_equal(envelope_get(&data, &env, &err), expected);
		if (expected < 0)
			assert_string_equal(err.text, "envelope.body: nested too deep");
		data = view(&addition);
		assert_int_equal(envelope_get(&data, &env, &err), expected);
		qmt_buf_free(&body);
		qmt_buf_free(&addition);
	}
}

static int setup(void **state)
{
	(void)state;
	memset(long_name, 'n', sizeof long_name);
	memset(long_type, 't', sizeof long_type);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_known_bytes),
		cmocka_unit_test(test_independent), cmocka_unit_test(test_truncated), cmocka_unit_test(test_additions),
		cmocka_unit_test(test_malformed), cmocka_unit_test(test_limits), cmocka_unit_test(test_depth)};

	return cmocka_run_group_tests(tests, setup, NULL);
}
