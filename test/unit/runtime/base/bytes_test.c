/* runtime/base/bytes: borrowed text compares by content, a copy ends in NUL, a buffer keeps what it has when it
 * fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/base/bytes.h"

/* Absent, empty and NULL text are the same text. */
static void absent_text_equals_empty_text(void **unused)
{
	(void)unused;
	assert_true(qmt_str_eq(qmt_str(NULL), qmt_str("")));
	assert_true(qmt_str_is(qmt_strn("abc", 0), NULL));
	assert_int_equal(qmt_str(NULL).len, 0);
}

/* Text is compared by length and content, and need not end in NUL. */
static void text_compares_by_content(void **unused)
{
	(void)unused;
	const char raw[] = {'a', 'b', 'c'};

	assert_true(qmt_str_is(qmt_strn(raw, 3), "abc"));
	assert_false(qmt_str_is(qmt_strn(raw, 2), "abc"));
	assert_false(qmt_str_eq(qmt_str("abd"), qmt_str("abc")));
	assert_true(qmt_str_eq(qmt_strn("a\0b", 3), qmt_strn("a\0b", 3)));
	assert_false(qmt_str_eq(qmt_strn("a\0b", 3), qmt_strn("a\0c", 3)));
}

/* A copy is a C string of its own; an absent text gives "". */
static void dup_ends_in_nul(void **unused)
{
	(void)unused;
	const char raw[] = {'a', 'b', 'c', 'd'};
	char *copy = qmt_str_dup(qmt_strn(raw, 3)), *one = qmt_str_dup(qmt_strn(raw, 1)),
		 *empty = qmt_str_dup(qmt_str(NULL));

	assert_string_equal(copy, "abc");
	assert_string_equal(one, "a");
	assert_string_equal(empty, "");
	free(copy);
	free(one);
	free(empty);
}

/* Appends of every size end up in order, with a NUL behind them. */
static void appends_keep_order_and_nul(void **unused)
{
	(void)unused;
	struct qmt_buf buf = {0};
	size_t expected = 0;

	qmt_buf_str(&buf, NULL);
	assert_string_equal(buf.data, "");
	for (unsigned i = 0; i < 300; i++) {
		char piece[300];

		memset(piece, 'a' + (int)(i % 26), i);
		qmt_buf_append(&buf, piece, i);
		expected += i;
		assert_int_equal(buf.len, expected);
		assert_int_equal(buf.data[buf.len], '\0');
		assert_true(buf.len < buf.cap);
	}
	assert_int_equal(buf.data[buf.len - 1], 'a' + 299 % 26);
	assert_int_equal(buf.data[0], 'b'); /* i == 1 */
	assert_true(qmt_str_eq(qmt_buf_view(&buf), qmt_strn(buf.data, expected)));
	assert_false(buf.failed);
	qmt_buf_free(&buf);
}

/* printf text is whole, whether it fits into the room that is there or not. */
static void printf_grows_as_needed(void **unused)
{
	(void)unused;
	struct qmt_buf buf = {0};

	qmt_buf_printf(&buf, "%s", "");
	assert_string_equal(buf.data, "");
	qmt_buf_printf(&buf, "%d-%s;", 42, "x");
	qmt_buf_printf(&buf, "%*d", 5000, 7);
	assert_int_equal(buf.len, 5 + 5000);
	assert_memory_equal(buf.data, "42-x;  ", 7);
	assert_int_equal(buf.data[buf.len - 1], '7');
	for (int over = -2; over <= 2; over++) { /* around the end of the room */
		size_t before = buf.len, more = buf.cap - buf.len + (size_t)over;

		qmt_buf_printf(&buf, "%*d", (int)more, 1);
		assert_int_equal(buf.len, before + more);
		assert_int_equal(strlen(buf.data), buf.len);
		assert_int_equal(buf.data[buf.len - 1], '1');
		qmt_buf_str(&buf, "some distance to the next end");
	}
	qmt_buf_free(&buf);
}

/* reserve gives room without moving the end. */
static void reserve_moves_nothing(void **unused)
{
	(void)unused;
	struct qmt_buf buf = {0};

	qmt_buf_str(&buf, "head");

	char *room = qmt_buf_reserve(&buf, 1000);

	assert_ptr_equal(room, buf.data + 4);
	assert_int_equal(buf.len, 4);
	memset(room, 'x', 1000);
	buf.len += 1000;
	qmt_buf_str(&buf, "!");
	assert_memory_equal(buf.data, "headxxx", 7);
	assert_string_equal(buf.data + 1003, "x!");
	qmt_buf_free(&buf);
}

/* consume drops from the front; more than there is empties the buffer. */
static void consume_drops_the_front(void **unused)
{
	(void)unused;
	struct qmt_buf buf = {0};

	qmt_buf_consume(&buf, 3);
	assert_null(buf.data);
	qmt_buf_str(&buf, "abcdef");
	qmt_buf_consume(&buf, 0);
	qmt_buf_consume(&buf, 2);
	assert_string_equal(buf.data, "cdef");
	qmt_buf_consume(&buf, 100);
	assert_int_equal(buf.len, 0);
	assert_string_equal(buf.data, "");
	qmt_buf_free(&buf);
}

/* After a failure the content stays, and every further append does nothing. */
static void failure_is_sticky_and_keeps_content(void **unused)
{
	(void)unused;
	struct qmt_buf buf = {0};

	qmt_buf_str(&buf, "kept");
	assert_null(qmt_buf_reserve(&buf, SIZE_MAX));
	assert_true(buf.failed);
	qmt_buf_str(&buf, "lost");
	qmt_buf_printf(&buf, "%d", 1);
	assert_null(qmt_buf_reserve(&buf, 1));
	assert_string_equal(buf.data, "kept");
	assert_int_equal(buf.len, 4);
	qmt_buf_free(&buf);
	assert_false(buf.failed);
	qmt_buf_str(&buf, "again");
	assert_string_equal(buf.data, "again");
	qmt_buf_free(&buf);
	qmt_buf_free(NULL);
}

/* More than a struct qmt_str can count is refused, not wrapped. */
static void four_gigabytes_are_refused(void **unused)
{
	(void)unused;
	struct qmt_buf buf = {0};

	qmt_buf_str(&buf, "x");
	assert_null(qmt_buf_reserve(&buf, UINT32_MAX));
	assert_true(buf.failed);
	qmt_buf_free(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(absent_text_equals_empty_text),
		cmocka_unit_test(text_compares_by_content),
		cmocka_unit_test(dup_ends_in_nul),
		cmocka_unit_test(appends_keep_order_and_nul),
		cmocka_unit_test(printf_grows_as_needed),
		cmocka_unit_test(reserve_moves_nothing),
		cmocka_unit_test(consume_drops_the_front),
		cmocka_unit_test(failure_is_sticky_and_keeps_content),
		cmocka_unit_test(four_gigabytes_are_refused),
	};

	return cmocka_run_group_tests_name("runtime/base/bytes", tests, NULL, NULL);
}
