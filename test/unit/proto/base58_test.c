/* Base58: known texts both ways; what is no base58, or too long, is refused; every round trip gives the same bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "proto/base58.h"

static const struct {
	const char *hex_like; /* the bytes, as a C string */
	uint32_t len;
	const char *text;
} known[] = {
	{"", 0, ""},
	{"\0", 1, "1"},
	{"\0\0\0", 3, "111"},
	{"\x39", 1, "z"},
	{"\x3a", 1, "21"},
	{"\xff", 1, "5Q"},
	{"Hello World!", 12, "2NEpo7TZRRrLZSi2U"}, /* draft-msporny-base58, test vectors */
	{"The quick brown fox jumps over the lazy dog.", 44,
		"USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z"},
	{"\0\0\x28\x7f\xb4\xcd", 6, "11233QC4"},
};

/* Known bytes become known text, and the text becomes the bytes again. */
static void test_known(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		char text[BASE58_TEXT + 1];
		uint8_t bytes[BASE58_BYTES];
		uint32_t len = 99;

		assert_int_equal(base58_encode((struct qmt_bytes){(const uint8_t *)known[i].hex_like, known[i].len}, text), 0);
		assert_string_equal(text, known[i].text);
		assert_int_equal(base58_decode(qmt_str(known[i].text), bytes, &len), 0);
		assert_int_equal(len, known[i].len);
		assert_memory_equal(bytes, known[i].hex_like, len);
	}
}

/* Any bytes up to the limit come back the same, also with zeros in front and all bits set. */
static void test_round_trip(void **state)
{
	uint32_t seed = 1;

	(void)state;
	for (uint32_t size = 0; size <= BASE58_BYTES; size++) {
		for (uint32_t round = 0; round < 20; round++) {
			uint8_t bytes[BASE58_BYTES], back[BASE58_BYTES];
			char text[BASE58_TEXT + 1];
			uint32_t len = 0;

			for (uint32_t i = 0; i < size; i++) {
				seed = seed * 1664525 + 1013904223;
				bytes[i] = round == 0 ? 0xff : i < round / 4 ? 0 : (uint8_t)(seed >> 24);
			}
			assert_int_equal(base58_encode((struct qmt_bytes){bytes, size}, text), 0);
			assert_int_equal(base58_decode(qmt_str(text), back, &len), 0);
			assert_int_equal(len, size);
			assert_memory_equal(back, bytes, size);
		}
	}
}

/* A character outside the alphabet is refused and its place told; too much is refused in both directions. */
static void test_refused(void **state)
{
	static const char outside[] = {'0', 'O', 'I', 'l', ' ', '\0', '+', '/', '\x80', '\xff'};
	uint8_t bytes[BASE58_BYTES + 1] = {0};
	char text[BASE58_TEXT + 2], out[BASE58_TEXT + 1];
	uint32_t len;

	(void)state;
	for (size_t i = 0; i < sizeof outside; i++) {
		char mixed[] = {'2', 'N', outside[i], 'E'};

		len = 99;
		assert_int_equal(base58_decode(qmt_strn(mixed, sizeof mixed), bytes, &len), BASE58_E_CHAR);
		assert_int_equal(len, 2);
	}
	memset(text, 'z', sizeof text);
	assert_int_equal(base58_decode(qmt_strn(text, BASE58_TEXT + 1), bytes, &len), BASE58_E_LONG);
	assert_int_equal(base58_decode(qmt_strn(text, BASE58_TEXT), bytes, &len), BASE58_E_LONG); /* 65 bytes */
	memset(text, '1', sizeof text);
	assert_int_equal(base58_decode(qmt_strn(text, BASE58_BYTES + 1), bytes, &len), BASE58_E_LONG);
	assert_int_equal(base58_encode((struct qmt_bytes){bytes, BASE58_BYTES + 1}, out), BASE58_E_LONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_refused)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
