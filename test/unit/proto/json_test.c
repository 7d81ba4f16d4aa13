/* JSON: what is valid is read and written back the same; what is not is refused with line and column; values are built
 * and taken apart without a crash on NULL, wrong types or missing memory. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "proto/json.h"

static struct json *parse(const char *text)
{
	struct json *value = NULL;
	struct qmt_err err = {0};

	if (json_parse(qmt_str(text), &value, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return value;
}

static void assert_text(const struct json *value, const char *expected)
{
	struct qmt_buf out = {0};

	assert_int_equal(json_write(value, &out), 0);
	assert_string_equal(out.data, expected);
	qmt_buf_free(&out);
}

/* ---- parsing and writing ----------------------------------------------------------------------------------------- */

/* A text comes back compact: members in their order, numbers as short as they can be, nothing else changed. */
static void test_round_trip(void **state)
{
	static const struct {
		const char *text, *written;
	} rows[] = {
		{"{}", "{}"},
		{"[]", "[]"},
		{" [ 1 , 2 ] ", "[1,2]"},
		{"null", "null"},
		{"true", "true"},
		{"false", "false"},
		{"\"\"", "\"\""},
		{"{\"z\":1,\"a\":{\"y\":[],\"b\":null}}", "{\"z\":1,\"a\":{\"y\":[],\"b\":null}}"},
		{"0", "0"},
		{"-0", "0"},
		{"-1", "-1"},
		{"9223372036854775807", "9223372036854775807"},
		{"-9223372036854775808", "-9223372036854775808"},
		{"0.7", "0.7"},
		{"0.1", "0.1"},
		{"1e2", "100.0"},
		{"1.0", "1.0"},
		{"1e300", "1e+300"},
		{"2.5e-8", "2.5e-08"},
		{"0.30000000000000004", "0.30000000000000004"},
		{"1.7976931348623157e308", "1.7976931348623157e+308"},
		{"-0.0", "-0.0"},
		{"5e-324", "4.94065645841247e-324"},
		{"\"\\u0041\\n\\t\\\\\\\"\\/\\u001f\"", "\"A\\n\\t\\\\\\\"/\\u001f\""},
		{"\"\xc3\xa9\xf0\x9f\x98\x80\"", "\"\xc3\xa9\xf0\x9f\x98\x80\""},
		{"\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\""},
		{"\"a\\u0000b\"", "\"a\\u0000b\""},
		{"{\"\":1}", "{\"\":1}"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct json *value = parse(rows[i].text);

		assert_text(value, rows[i].written);
		json_free(value);
	}
}

/* What is no JSON is refused, and the error says where. */
static void test_refused(void **state)
{
	static const struct {
		const char *text, *reason;
	} rows[] = {
		{"", "line 1 column 0: unexpected token near end of file"},
		{"{\n  \"a\": 1,\n  \"b\" 2}", "line 3 column 7: ':' expected near '2'"},
		{"[1,", "line 1 column 3: ']' expected near end of file"},
		{"[1] x", "line 1 column 5: end of file expected near 'x'"},
		{"[1,]", "line 1 column 4: unexpected token near ']'"},
		{"{\"a\":1,\"a\":2}", "line 1 column 10: duplicate object key near '\"a\"'"},
		{"[{\"x\":{\"b\":1,\n\"b\":1}}]", NULL},
		{"99999999999999999999", "line 1 column 20: too big integer near '99999999999999999999'"},
		{"-9223372036854775809", "line 1 column 20: too big negative integer near '-9223372036854775809'"},
		{"1e400", "line 1 column 5: real number overflow near '1e400'"},
		{"\"\\ud800\"", "line 1 column 8: invalid Unicode '\\uD800' near '\"\\ud800\"'"},
		{"{\"a\\u0000b\":1}", "line 1 column 11: NUL byte in object key not supported near '\"a\\u0000b\"'"},
		{"\"a\tb\"", NULL},
		{"nope", NULL},
		{"'a'", NULL},
		{"01", NULL},
		{"+1", NULL},
		{".5", NULL},
		{"1.", NULL},
		{"NaN", NULL},
		{"Infinity", NULL},
		{"{a:1}", NULL},
		{"{\"a\"}", NULL},
		{"// c\n1", NULL},
		{"\"\xff\"", NULL},
		{"\"\xed\xa0\x80\"", NULL},
		{"\"\xc0\x80\"", NULL},
		{"\xef\xbb\xbf{}", NULL},
		{"\"abc", NULL},
		{"\"\\x\"", NULL},
		{"]", NULL},
		{"}{", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct json *value = (struct json *)(uintptr_t)1;
		struct qmt_err err = {0};

		if (json_parse(qmt_str(rows[i].text), &value, &err) != -EBADMSG)
			fail_msg("%s was accepted", rows[i].text);
		assert_ptr_equal(value, (struct json *)(uintptr_t)1);
		assert_memory_equal(err.text, "line ", 5);
		if (rows[i].reason)
			assert_string_equal(err.text, rows[i].reason);
	}
}

/* A NUL is no end: between values it is refused, inside a text its escape is kept. */
static void test_nul(void **state)
{
	static const char raw[] = "[1]\0[2]", inside[] = "\"a\0b\"";
	struct json *value = NULL;
	struct qmt_err err = {0};

	(void)state;
	assert_int_equal(json_parse(qmt_strn(raw, sizeof raw - 1), &value, &err), -EBADMSG);
	assert_int_equal(json_parse(qmt_strn(inside, sizeof inside - 1), &value, &err), -EBADMSG);
	value = parse("[\"a\\u0000b\"]");

	struct qmt_str text = json_str(json_at(value, 0));

	assert_int_equal(text.len, 3);
	assert_memory_equal(text.p, "a\0b", 3);
	json_free(value);
}

static void fill_depth(struct qmt_buf *text, const char *open, const char *close, int depth)
{
	for (int i = 0; i < depth; i++)
		qmt_buf_str(text, open);
	qmt_buf_str(text, "1");
	for (int i = 0; i < depth; i++)
		qmt_buf_str(text, close);
}

/* JSON_DEPTH levels are read and written; one more, and a million more, are refused without recursion. Brackets inside
 * of a text are text. */
static void test_depth(void **state)
{
	static const struct {
		const char *open, *close;
	} shapes[] = {{"[", "]"}, {"{\"a\":", "}"}, {"[{\"]\":", "}]"}};

	(void)state;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		int levels = i == 2 ? 2 : 1;
		const int depths[] = {JSON_DEPTH / levels, JSON_DEPTH / levels + 1, 1000000};

		for (size_t d = 0; d < 3; d++) {
			struct qmt_buf text = {0};
			struct json *value = NULL;
			struct qmt_err err = {0};

			fill_depth(&text, shapes[i].open, shapes[i].close, depths[d]);
			assert_int_equal(json_parse(qmt_buf_view(&text), &value, &err), d == 0 ? 0 : -EBADMSG);
			if (d == 0) {
				assert_text(value, text.data);
				json_free(value);
			} else {
				assert_non_null(strstr(err.text, "nested more than 128 deep"));
			}
			qmt_buf_free(&text);
		}
	}

	struct qmt_buf text = {0};
	struct json *value = NULL;

	qmt_buf_str(&text, "[\"\\\"");
	for (int i = 0; i < 1000; i++)
		qmt_buf_str(&text, "[{");
	qmt_buf_str(&text, "\"]");
	assert_int_equal(json_parse(qmt_buf_view(&text), &value, NULL), 0);
	json_free(value);
	qmt_buf_free(&text);
}

/* The place of a level too many is that of its bracket. */
static void test_depth_position(void **state)
{
	struct qmt_buf text = {0};
	struct json *value = NULL;
	struct qmt_err err = {0};

	(void)state;
	qmt_buf_str(&text, "[\n[");
	for (int i = 2; i < JSON_DEPTH; i++)
		qmt_buf_str(&text, "[");
	qmt_buf_str(&text, "\n  [");
	assert_int_equal(json_parse(qmt_buf_view(&text), &value, &err), -EBADMSG);
	assert_string_equal(err.text, "line 3 column 3: nested more than 128 deep");
	qmt_buf_free(&text);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Every reader takes NULL and every wrong type, and then gives nothing, or the default. */
static void test_wrong_types(void **state)
{
	static const char *const texts[] = {"null", "true", "1", "1.5", "\"s\"", "[1]", "{\"a\":1}"};

	(void)state;
	for (size_t i = 0; i <= sizeof texts / sizeof *texts; i++) {
		struct json *value = i > 0 ? parse(texts[i - 1]) : NULL;
		const char *kind = i > 0 ? texts[i - 1] : "";
		struct qmt_str key;
		const struct json *member;
		void *iter = NULL;

		assert_int_equal(json_is_null(value), strcmp(kind, "null") == 0);
		assert_int_equal(json_is_number(value), *kind == '1');
		assert_int_equal(json_is_integer(value), strcmp(kind, "1") == 0);
		assert_int_equal(json_is_string(value), *kind == '"');
		assert_int_equal(json_is_array(value), *kind == '[');
		assert_int_equal(json_is_object(value), *kind == '{');
		assert_int_equal(json_get(value, "a") != NULL, *kind == '{');
		assert_null(json_get(value, "b"));
		assert_int_equal(json_at(value, 0) != NULL, *kind == '[');
		assert_null(json_at(value, 1));
		assert_null(json_at(value, SIZE_MAX));
		assert_int_equal(json_count(value), *kind == '[' || *kind == '{');
		assert_int_equal(json_next(value, &iter, &key, &member), *kind == '{');
		assert_int_equal(json_str(value).len, *kind == '"');
		assert_int_equal(json_int(value, -7), *kind == '1' ? 1 : -7);
		assert_true(json_real(value, -7) == (strcmp(kind, "1.5") == 0 ? 1.5 : *kind == '1' ? 1 : -7));
		assert_true(json_bool(value, true));
		assert_int_equal(json_bool(value, false), strcmp(kind, "true") == 0);
		json_free(value);
	}
	struct json *no = parse("false");

	assert_false(json_bool(no, true));
	json_free(no);
	assert_null(json_free(NULL));
}

/* An object is walked in the order of its text, each member once. */
static void test_walk(void **state)
{
	struct json *value = parse("{\"z\":0,\"a\":1,\"m\":2}");
	struct qmt_str key;
	const struct json *member;
	int64_t count = 0;

	(void)state;
	for (void *iter = NULL; json_next(value, &iter, &key, &member); count++) {
		assert_int_equal(key.p[0], "zam"[count]);
		assert_int_equal(json_int(member, -1), count);
	}
	assert_int_equal(count, 3);
	json_free(value);
}

/* A real is cut to an integer, at the ends of int64 too; an integer is a real. */
static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		int64_t whole;
	} rows[] = {{"1.9", 1}, {"-1.9", -1}, {"1e18", 1000000000000000000}, {"1e19", INT64_MAX}, {"-1e19", INT64_MIN},
		{"9.3e18", INT64_MAX}, {"9223372036854775808.0", INT64_MAX}, {"-9223372036854775808.0", INT64_MIN},
		{"1e-300", 0}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct json *value = parse(rows[i].text);

		assert_int_equal(json_int(value, 5), rows[i].whole);
		json_free(value);
	}
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

/* What is built is written; a key that is set again keeps its place. */
static void test_build(void **state)
{
	struct json *object = json_object(), *array = json_array(), *copy;
	int r = 0;

	(void)state;
	r |= json_add(array, json_new_int(INT64_MIN));
	r |= json_add(array, json_new_real(0.1));
	r |= json_add(array, json_new_real(3));
	r |= json_add(array, json_new_real(NAN));
	r |= json_add(array, json_new_real(-INFINITY));
	r |= json_add(array, json_new_bool(true));
	r |= json_add(array, json_new_bool(false));
	r |= json_add(array, json_new_null());
	r |= json_set(object, "text", json_new_str(qmt_str("a\"b")));
	r |= json_set(object, "none", json_new_str((struct qmt_str){NULL, 0}));
	r |= json_set(object, "list", array);
	r |= json_set(object, "text", json_new_int(1));
	assert_int_equal(r, 0);
	assert_text(object, "{\"text\":1,\"none\":\"\",\"list\":[-9223372036854775808,0.1,3.0,null,null,true,false,null]}");
	copy = json_copy(object);
	json_free(object);
	assert_text(copy, "{\"text\":1,\"none\":\"\",\"list\":[-9223372036854775808,0.1,3.0,null,null,true,false,null]}");
	json_free(copy);
	assert_null(json_copy(NULL));
}

/* A step with NULL fails as out of memory, one that makes no sense as invalid; the value is taken all the same. */
static void test_build_refused(void **state)
{
	struct json *object = json_object(), *array = json_array();

	(void)state;
	assert_int_equal(json_set(object, "a", NULL), -ENOMEM);
	assert_int_equal(json_set(NULL, "a", json_new_int(1)), -ENOMEM);
	assert_int_equal(json_add(array, NULL), -ENOMEM);
	assert_int_equal(json_add(NULL, json_new_int(1)), -ENOMEM);
	assert_int_equal(json_set(array, "a", json_new_int(1)), -EINVAL);
	assert_int_equal(json_set(object, "\xff", json_new_int(1)), -EINVAL);
	assert_int_equal(json_add(object, json_new_int(1)), -EINVAL);
	assert_text(object, "{}");
	assert_text(array, "[]");
	json_free(object);
	json_free(array);
}

/* Text that is not UTF-8 becomes text that is: one U+FFFD for each broken sequence. */
static void test_replaced(void **state)
{
	static const struct {
		const char *text, *written;
	} rows[] = {
		{"caf\xe9", "\"caf\xef\xbf\xbd\""},
		{"\xff\xfe", "\"\xef\xbf\xbd\xef\xbf\xbd\""},
		{"\xe2\x82", "\"\xef\xbf\xbd\""},
		{"a\xf0\x9f\x98z", "\"a\xef\xbf\xbdz\""},
		{"ok \xc3\xa9", "\"ok \xc3\xa9\""},
		{"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct json *value = json_new_str(qmt_str(rows[i].text));
		struct qmt_buf out = {0};

		assert_text(value, rows[i].written);
		json_quote(&out, qmt_str(rows[i].text));
		assert_string_equal(out.data, rows[i].written);
		qmt_buf_free(&out);
		json_free(value);
	}
}

/* Every byte of one character is quoted so that the parser reads the same text. */
static void test_quote(void **state)
{
	(void)state;
	for (int c = 0; c < 0x80; c++) {
		struct qmt_buf out = {0};
		struct json *value = NULL;
		char letter = (char)c;

		json_quote(&out, qmt_strn(&letter, 1));
		for (size_t i = 0; i < out.len; i++)
			assert_true((unsigned char)out.data[i] >= 0x20); /* one line, whatever is in it */
		assert_int_equal(json_parse(qmt_buf_view(&out), &value, NULL), 0);
		assert_int_equal(json_str(value).len, 1);
		assert_int_equal(json_str(value).p[0], letter);
		json_free(value);
		qmt_buf_free(&out);
	}
}

/* Every double that is written reads back as the same double. */
static void test_reals(void **state)
{
	uint64_t bits = 1;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		double real;
		struct json *value, *back = NULL;
		struct qmt_buf out = {0};

		bits = bits * 6364136223846793005u + 1442695040888963407u;
		memcpy(&real, &bits, sizeof real);
		if (!isfinite(real) || fpclassify(real) == FP_SUBNORMAL)
			continue;
		value = json_new_real(real);
		assert_int_equal(json_write(value, &out), 0);
		assert_int_equal(json_parse(qmt_buf_view(&out), &back, NULL), 0);
		assert_false(json_is_integer(back));
		assert_true(json_real(back, 0) == real);
		json_free(value);
		json_free(back);
		qmt_buf_free(&out);
	}
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* Of jansson; its header's names are those of ours. */
void json_set_alloc_funcs(void *(*malloc_fn)(size_t), void (*free_fn)(void *));

static size_t allocations_left;

static void *failing_malloc(size_t size)
{
	if (allocations_left == 0)
		return NULL;
	allocations_left--;
	return malloc(size);
}

static bool build_one(void)
{
	struct json *object = json_object(), *array = json_array(), *value = NULL;
	int r = 0;

	r |= json_add(array, json_new_str(qmt_str("text")));
	r |= json_add(array, json_new_real(1.5));
	r |= json_set(object, "list", array);
	r |= json_set(object, "n", json_new_int(1));
	json_free(object);

	int p = json_parse(qmt_str("{\"a\":[1,2.5,\"x\",{\"b\":null}],\"c\":\"\\u00e9\"}"), &value, NULL);

	assert_true(p == 0 || p == -ENOMEM || p == -EBADMSG); /* jansson takes the text that it cannot copy for a bad one */
	json_free(value);
	return r == 0 && p == 0;
}

/* Without memory, after any number of allocations, every step says so and nothing leaks. */
static void test_no_memory(void **state)
{
	size_t tries = 0;

	(void)state;
	json_set_alloc_funcs(failing_malloc, free);
	for (bool done = false; !done; tries++) {
		assert_true(tries < 1000);
		allocations_left = tries;
		done = build_one();
	}
	json_set_alloc_funcs(malloc, free);
	assert_true(tries > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_nul), cmocka_unit_test(test_depth), cmocka_unit_test(test_depth_position),
		cmocka_unit_test(test_wrong_types), cmocka_unit_test(test_walk), cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_build), cmocka_unit_test(test_build_refused), cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_quote), cmocka_unit_test(test_reals), cmocka_unit_test(test_no_memory)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
