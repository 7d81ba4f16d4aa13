/* runtime/base/err: the text says the outermost context first and the reason last, and never exceeds its room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/base/err.h"

/* set returns its code, so that it can stand in a return statement; without a struct too. */
static void set_returns_the_code(void **unused)
{
	(void)unused;
	struct qmt_err err = {0};

	assert_int_equal(qmt_err_set(&err, -22, "%s: %d", "x", 7), -22);
	assert_int_equal(err.code, -22);
	assert_string_equal(err.text, "x: 7");
	assert_int_equal(qmt_err_set(NULL, 3, "lost"), 3);
}

/* Each outer layer stands in front. */
static void contexts_stand_in_front(void **unused)
{
	(void)unused;
	struct qmt_err err = {0};

	qmt_err_set(&err, -2, "no such file");
	assert_int_equal(qmt_err_prefix(&err, "[[%s]]", "providers"), -2);
	assert_int_equal(qmt_err_prefix(&err, "gpu.toml"), -2);
	assert_string_equal(err.text, "gpu.toml: [[providers]]: no such file");
	assert_int_equal(qmt_err_prefix(NULL, "lost"), -1);
}

/* A struct that nobody has set does not turn a failure into success. */
static void prefix_of_nothing_is_a_failure(void **unused)
{
	(void)unused;
	struct qmt_err err = {0};

	assert_int_equal(qmt_err_prefix(&err, "context"), -1);
	assert_string_equal(err.text, "context: ");
}

/* The old text may be an argument of the new one. */
static void old_text_may_be_an_argument(void **unused)
{
	(void)unused;
	struct qmt_err err = {0};

	qmt_err_set(&err, -1, "inner");
	qmt_err_set(&err, -5, "outer (%s)", err.text);
	assert_string_equal(err.text, "outer (inner)");
	qmt_err_prefix(&err, "twice %s", err.text);
	assert_string_equal(err.text, "twice outer (inner): outer (inner)");
}

/* Long text is cut with "...", exactly at the room and not one byte earlier. */
static void long_text_is_cut_visibly(void **unused)
{
	(void)unused;
	struct qmt_err err = {0};

	qmt_err_set(&err, -1, "%*d", QMT_ERR_TEXT - 1, 1);
	assert_int_equal(strlen(err.text), QMT_ERR_TEXT - 1);
	assert_int_equal(err.text[QMT_ERR_TEXT - 2], '1');
	qmt_err_set(&err, -1, "%*d", QMT_ERR_TEXT, 1);
	assert_int_equal(strlen(err.text), QMT_ERR_TEXT - 1);
	assert_string_equal(err.text + QMT_ERR_TEXT - 4, "...");
	qmt_err_prefix(&err, "front");
	assert_memory_equal(err.text, "front: ", 7);
	assert_int_equal(strlen(err.text), QMT_ERR_TEXT - 1);
	assert_string_equal(err.text + QMT_ERR_TEXT - 4, "...");
}

/* However long the contexts are, the reason they stand in front of is still to be seen. */
static void long_context_leaves_room_for_the_reason(void **unused)
{
	(void)unused;
	struct qmt_err err = {0};

	qmt_err_set(&err, -2, "no such file");
	qmt_err_prefix(&err, "%*d", 5000, 1);
	assert_non_null(strstr(err.text, "...: no such file"));
}

/* A character of several bytes is cut as a whole. */
static void utf8_is_cut_between_characters(void **unused)
{
	(void)unused;
	for (int pad = QMT_ERR_TEXT - 12; pad < QMT_ERR_TEXT; pad++) {
		struct qmt_err err = {0};
		size_t len;

		qmt_err_set(&err, -1, "%*d€€€€€€€€", pad, 1);
		len = strlen(err.text);
		assert_string_equal(err.text + len - 3, "...");
		assert_true(((len - 3) - (size_t)pad) % 3 == 0 || len - 3 < (size_t)pad);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_returns_the_code),
		cmocka_unit_test(contexts_stand_in_front),
		cmocka_unit_test(prefix_of_nothing_is_a_failure),
		cmocka_unit_test(old_text_may_be_an_argument),
		cmocka_unit_test(long_text_is_cut_visibly),
		cmocka_unit_test(long_context_leaves_room_for_the_reason),
		cmocka_unit_test(utf8_is_cut_between_characters),
	};

	return cmocka_run_group_tests_name("runtime/base/err", tests, NULL, NULL);
}
