/* Spans of time: what people write is read, everything else is an error that names the place. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "proto/ttl.h"
#include "test/lib/vectors.h"

/* The forms of the header, and what they mean. */
static void test_forms(void **state)
{
	static const struct {
		const char *text;
		uint64_t seconds;
		const char *again;
	} rows[] = {{"45s", 45, "45s"}, {"30m", 1800, "30m"}, {"24h", 86400, "1d"}, {"7d", 604800, "7d"},
		{"3600", 3600, "1h"}, {"1h30m", 5400, "1h30m"}, {"none", TTL_NONE, "none"}, {"0", 0, "0s"},
		{"1d2h3m4s", 93784, "1d2h3m4s"}, {"90m", 5400, "1h30m"}, {"007s", 7, "7s"}, {"36500d", TTL_MAX, "36500d"},
		{"3153600000", TTL_MAX, "36500d"}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct qmt_err err = {0};
		uint64_t seconds = 1;
		char text[TTL_TEXT];
		assert_int_equal(ttl_parse(qmt_str(rows[i].text), &seconds, &err), 0);
		assert_int_equal(seconds, rows[i].seconds);
		ttl_text(seconds, text);
		assert_string_equal(text, rows[i].again);
	}
}

/* Everything else is an error; it names the place, and nothing is written. */
static void test_errors(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {{"", "empty"}, {"h", "'h' at 0"}, {"1.5h", "'.' at 1"}, {"-1h", "'-' at 0"}, {"1w", "'w' at 1"},
		{"+5m", "'+' at 0"}, {" 1h", "0x20 at 0"}, {"1h ", "0x20 at 2"}, {"NONE", "'N' at 0"}, {"none ", "'n' at 0"},
		{"30m1h", "'h' at 4: units come once"}, {"1h1h", "'h' at 3: units come once"}, {"1h30", "the end at 4"},
		{"1H", "'H' at 1"}, {"36501d", "'3' at 0: too long"}, {"36500d1s", "'1' at 6: too long"},
		{"3153600001", "too long"}, {"18446744073709551617", "too long"}, {"99999999999999999999999999h", "too long"},
		{"1h\n", "0x0a at 2"}, {"24h\x80", "0x80 at 3"}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct qmt_err err = {0};
		uint64_t seconds = 77;
		assert_int_equal(ttl_parse(qmt_str(rows[i].text), &seconds, &err), -EINVAL);
		assert_int_equal(seconds, 77);
		if (!strstr(err.text, rows[i].says) || !strstr(err.text, "none"))
			fail_msg("\"%s\": %s", rows[i].text, err.text);
	}
	assert_int_equal(ttl_parse(qmt_strn("1h\0", 3), &(uint64_t){0}, NULL), -EINVAL); /* a NUL is no end */
}

/* Where the original reads a number of seconds, so do we; where it reads "none" out of nonsense, that is an error. What
 * it takes besides (blanks, a sign, any case, which it is lenient about) is an error too; 1h30m is ours. */
static void test_vectors(void **state)
{
	static const char *const lenient[] = {" 1h ", "+5m", "NONE"};
	struct json *file = vectors_load("test/vectors/invite.json");
	const struct json *rows = json_get(file, "ttl");

	(void)state;
	assert_true(json_count(rows) > 0);
	for (size_t i = 0; i < json_count(rows); i++) {
		struct qmt_str input = vectors_text(json_at(rows, i), "input");
		const struct json *secs = json_get(json_at(rows, i), "secs");
		uint64_t seconds = 1;
		int rc = ttl_parse(input, &seconds, NULL);
		bool stricter = false;
		for (size_t k = 0; k < sizeof lenient / sizeof *lenient; k++)
			stricter |= qmt_str_is(input, lenient[k]);
		if (stricter)
			assert_int_equal(rc, -EINVAL);
		else if (qmt_str_is(input, "none"))
			assert_true(rc == 0 && seconds == TTL_NONE);
		else if (qmt_str_is(input, "1h30m"))
			assert_true(rc == 0 && seconds == 5400);
		else if (json_is_null(secs))
			assert_int_equal(rc, -EINVAL);
		else
			assert_true(rc == 0 && seconds == (uint64_t)json_int(secs, -1));
	}
	json_free(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms), cmocka_unit_test(test_errors), cmocka_unit_test(test_vectors)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
