/* UTF-8: every code point's own encoding is valid, everything else is not, and the valid prefix ends exactly where the
 * fault is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proto/utf8.h"

/* RFC 3629, section 3, by arithmetic. 0: no character. */
static uint32_t encode(uint32_t code, char out[4])
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (char)(0xc0 | code >> 6);
		out[1] = (char)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code >= 0xd800 && code < 0xe000)
		return 0;
	if (code < 0x10000) {
		out[0] = (char)(0xe0 | code >> 12);
		out[1] = (char)(0x80 | (code >> 6 & 0x3f));
		out[2] = (char)(0x80 | (code & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | code >> 18);
	out[1] = (char)(0x80 | (code >> 12 & 0x3f));
	out[2] = (char)(0x80 | (code >> 6 & 0x3f));
	out[3] = (char)(0x80 | (code & 0x3f));
	return 4;
}

/* Every code point from 0 to U+10FFFF is valid in its own form, and not when its last byte is missing. */
static void test_all_code_points(void **state)
{
	(void)state;
	for (uint32_t code = 0; code <= 0x10ffff; code++) {
		char text[4];
		uint32_t len = encode(code, text);

		if (len == 0)
			continue;
		if (!utf8_check(qmt_strn(text, len)))
			fail_msg("U+%04X is valid", code);
		if (len > 1 && utf8_valid_prefix(qmt_strn(text, len - 1)) != 0)
			fail_msg("U+%04X without its last byte is not valid", code);
	}
}

/* Of all texts of three bytes, those are valid that are made of whole characters: counted by an independent rule. */
static void test_all_three_bytes(void **state)
{
	uint32_t valid = 0;

	(void)state;
	for (uint32_t bits = 0; bits < 1u << 24; bits++) {
		char text[] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};

		valid += utf8_check(qmt_strn(text, 3));
	}
	/* ASCII 128, two bytes 1920, three bytes 63488 - 2048 surrogates: aaa, a+2, 2+a, 3. */
	assert_int_equal(valid, 128 * 128 * 128 + 2 * 128 * 1920 + 61440);
}

/* The prefix ends at the fault wherever it stands, also inside the eight bytes that are looked at together. */
static void test_prefix(void **state)
{
	char text[40];

	(void)state;
	for (uint32_t at = 0; at < sizeof text; at++) {
		memset(text, 'a', sizeof text);
		text[at] = '\xff';
		assert_int_equal(utf8_valid_prefix(qmt_strn(text, sizeof text)), at);
		memset(text, 'a', sizeof text);
		text[at] = '\xc3'; /* cut, or followed by a letter */
		assert_int_equal(utf8_valid_prefix(qmt_strn(text, sizeof text)), at);
	}
	assert_true(utf8_check((struct qmt_str){NULL, 0}));
	assert_true(utf8_check(qmt_strn("a\0b", 3)));
}

/* One replacement stands for as much of a broken sequence as could have become a character (Unicode 3.9, table 3-8). */
static void test_broken_length(void **state)
{
	static const struct {
		const char *text;
		uint32_t len;
	} broken[] = {{"\xff", 1}, {"\x80", 1}, {"\xc0\x80", 1}, {"\xc3", 1}, {"\xc3z", 1}, {"\xe2\x82", 2},
		{"\xe2\x82z", 2}, {"\xe0\x80\x80", 1}, {"\xed\xa0\x80", 1}, {"\xf0\x9f\x98", 3}, {"\xf0\x9f\x98z", 3},
		{"\xf0\x80\x80", 1}, {"\xf4\x90\x80\x80", 1}, {"\xf1\x80z", 2}};

	(void)state;
	for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
		assert_int_equal(utf8_valid_prefix(qmt_str(broken[i].text)), 0);
		assert_int_equal(utf8_broken_length(qmt_str(broken[i].text)), broken[i].len);
	}
	assert_int_equal(utf8_broken_length(qmt_str("")), 0);
}

/* A text is cut between characters. */
static void test_head(void **state)
{
	static const char text[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z"; /* 1, 2, 3, 4 bytes, z */
	static const uint32_t heads[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};

	(void)state;
	for (uint32_t max = 0; max < sizeof heads / sizeof *heads; max++)
		assert_int_equal(utf8_head(qmt_str(text), max).len, heads[max]);
}

/* Cleaned text is valid, whole where it was whole, and never longer than the room: whatever the bytes, whatever the
 * room. */
static void test_clean(void **state)
{
	static const char *const texts[][2] = {{"", ""}, {"abc", "abc"}, {"\xc3", UTF8_REPLACEMENT},
		{"a\xc3\xa9", "a\xc3\xa9"}, {"\xffz\xe2\x82", UTF8_REPLACEMENT "z" UTF8_REPLACEMENT},
		{"\x80\x80", UTF8_REPLACEMENT UTF8_REPLACEMENT}, {"0123456789\xc3", "0123456789" UTF8_REPLACEMENT}};
	char room[64];

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct qmt_str clean = utf8_clean(qmt_str(texts[i][0]), room, sizeof room);

		assert_true(qmt_str_is(clean, texts[i][1]));
		for (size_t size = 0; size < 16; size++) {
			char *tight = malloc(size + 1); /* exactly: the sanitizer sees what is beyond */

			clean = utf8_clean(qmt_str(texts[i][0]), tight, size);
			assert_true(clean.len <= size && utf8_check(clean));
			assert_true(
				clean.len <= strlen(texts[i][1]) && (clean.len == 0 || memcmp(clean.p, texts[i][1], clean.len) == 0));
			free(tight);
		}
	}
}

/* Characters that a terminal acts on are known by their length, and no others are. */
static void test_control(void **state)
{
	static const struct {
		const char *text;
		uint32_t length;
	} rows[] = {{"\x1b[0m", 1}, {"\n", 1}, {"\x7f", 1}, {"\xc2\x9bm", 2}, {"\xc2\xa0", 0}, {"\xe2\x80\xaex", 3},
		{"\xe2\x80\x8f", 3}, {"\xe2\x81\xa6", 3}, {"\xe2\x81\xaa", 0}, {"\xe2\x80\xa6", 0}, {"a\x1b", 0}, {"", 0},
		{"\xe2", 0}, {"\xc2", 0}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		assert_int_equal(utf8_control(qmt_str(rows[i].text)), rows[i].length);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_code_points), cmocka_unit_test(test_all_three_bytes),
		cmocka_unit_test(test_prefix), cmocka_unit_test(test_broken_length), cmocka_unit_test(test_head),
		cmocka_unit_test(test_clean), cmocka_unit_test(test_control)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
