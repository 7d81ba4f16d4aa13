/* The first matcher that finds anything decides; none of them guesses at words. */
#include "fixture.h"

#include "actors/session/edit_match.h"

static void check(const char *file, const char *old_text, const char *new_text, bool all, size_t found,
	const char *match, const char *want)
{
	struct edit_result result = {0};
	assert_int_equal(edit_replace(qmt_str(file), qmt_str(old_text), qmt_str(new_text), all, &result), 0);
	assert_int_equal(result.found, found);
	if (match)
		assert_string_equal(result.match, match);
	else
		assert_null(result.match);
	if (want)
		assert_string_equal(result.text.data ? result.text.data : "", want);
	qmt_buf_free(&result.text);
}

static void test_exact(void **state)
{
	(void)state;
	check("one two three", "two", "2", false, 1, "exact", "one 2 three");
	check("one two three", "one two three", "", false, 1, "exact", "");
	check("a a a", "a", "b", false, 3, "exact", NULL);
	check("a a a", "a", "b", true, 3, "exact", "b b b");
	check("aaa", "aa", "b", true, 1, "exact", "ba"); /* places do not overlap */
	check("abc", "x", "y", false, 0, NULL, NULL);
	check("", "x", "y", false, 0, NULL, NULL);
	check("f(x)\n", "f(x)\n", "g(x)\n", false, 1, "exact", "g(x)\n");
}

/* One prefix of white space on all lines is forgiven, and the new text gets it. */
static void test_indentation(void **state)
{
	(void)state;
	check("{\n\tif (a)\n\t\tb();\n}\n", "if (a)\n\tb();\n", "if (c)\n\td();\n", false, 1, "indentation",
		"{\n\tif (c)\n\t\td();\n}\n");
	check("if (a)\n\tb();\n", "    if (a)\n    \tb();", "    x();\n    y();", false, 1, "indentation", "x();\ny();\n");
	/* blank lines do not count, and stay blank */
	check("  a\n\n  b\n", "a\n\nb\n", "c\n\nd\n", false, 1, "indentation", "  c\n\n  d\n");
	/* two places */
	check("  a\n  b\n    a\n    b\n", "\ta\n\tb", "x", false, 2, "trimmed", NULL);
	check("  a;\n  b;\n    a;\n    b;\n", "a;\nb;", "x;\ny;", true, 2, "indentation", "  x;\n  y;\n    x;\n    y;\n");
}

static void test_trimmed(void **state)
{
	(void)state;
	check("a  \n   b\nc\n", "a\nb\n", "x\n", false, 1, "trimmed", "x\nc\n");
	check("\ta\n  b\n", "  a\n\tb", "x", false, 1, "trimmed", "x\n");
	/* words must be equal */
	check("a b\nc\n", "a  b\nc\n", "x", false, 0, NULL, NULL);
	/* white space alone is found exactly or not at all */
	check("a\n\n\nb\n", " \n \n", "x", false, 0, NULL, NULL);
	check("a\n", "a\nb\nc\n", "x", false, 0, NULL, NULL);
}

/* A file keeps its line ends, whatever the model writes. */
static void test_line_ends(void **state)
{
	(void)state;
	check("a\r\nb\r\nc\r\n", "a\nb\n", "x\ny\n", false, 1, "exact", "x\r\ny\r\nc\r\n");
	check("a\r\n\tb\r\n\tc\r\n", "b\nc\n", "x\ny\n", false, 1, "indentation", "a\r\n\tx\r\n\ty\r\n");
	check("a\nb\n", "a\nb\n", "x\ny\n", false, 1, "exact", "x\ny\n");
}

/* A large file full of near misses ends in time. */
static void test_large(void **state)
{
	(void)state;
	struct qmt_buf file = {0}, old_text = {0};
	for (int i = 0; i < 200000; i++)
		qmt_buf_str(&file, "  }\n");
	for (int i = 0; i < EDIT_LINES - 1; i++)
		qmt_buf_str(&old_text, "}\n");
	qmt_buf_str(&old_text, "end\n");
	struct edit_result result = {0};
	assert_int_equal(edit_replace(qmt_buf_view(&file), qmt_buf_view(&old_text), qmt_str("x"), false, &result), 0);
	assert_int_equal(result.found, 0);
	qmt_buf_free(&file);
	qmt_buf_free(&old_text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_exact), cmocka_unit_test(test_indentation),
		cmocka_unit_test(test_trimmed), cmocka_unit_test(test_line_ends), cmocka_unit_test(test_large)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
