/* Whatever bytes come in, valid text goes out; what is cut is cut between characters and says how much. */
#include "fixture.h"

#include "actors/session/tool_text.h"

static void clean(const char *raw, size_t len, const char *want)
{
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf out = {0};
	tool_text_clean(&out, qmt_strn(raw, len));
	assert_string_equal(out.data ? out.data : "", want);
}

static void test_clean(void **state)
{
	(void)state;
	clean("", 0, "");
	clean("plain", 5, "plain");
	clean("a\0b", 3,
		"a\xef\xbf\xbd"
		"b");
	clean("\xff\xc3\xa4\xc3", 4, "\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd");
}

static bool cut(const char *text, size_t lines, size_t bytes, uint64_t lost, const char *want)
{
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf out = {0};
	bool truncated = tool_text_cut(&out, qmt_str(text), lines, bytes, lost);
	assert_string_equal(out.data ? out.data : "", want);
	return truncated;
}

static void test_cut(void **state)
{
	(void)state;
	assert_false(cut("1\n2\n3\n", 3, 6, 0, "1\n2\n3\n"));
	assert_true(cut("1\n2\n3\n4\n5\n", 4, 100, 0, "1\n2\n[... 2 bytes cut here ...]\n4\n5\n"));
	assert_true(cut("abcdefghij", 10, 4, 0, "ab\n[... 6 bytes cut here ...]\nij"));
	assert_true(cut("a\xc3\xa4\xc3\xa4\xc3\xa4z", 10, 4, 0, "a\n[... 6 bytes cut here ...]\nz"));
	assert_true(cut("abc", 10, 10, 7, "abc\n[... 7 bytes cut here ...]\n"));
	assert_true(cut("abcdef\n", 10, 4, 7, "abcd\n[... 10 bytes cut here ...]\n"));
	assert_true(cut("1\n2\n3\n", 1, 100, 0, "1\n[... 4 bytes cut here ...]\n"));
	assert_false(cut("", 1, 1, 0, ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_clean), cmocka_unit_test(test_cut)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
