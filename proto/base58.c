/* proto/base58.c - long division, one digit at a time: the inputs are 38 bytes. */
#include "base58.h"

static const char alphabet[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/* digits[0..*count) is a number, the lowest digit first, in base `base`. Makes it number * factor + add. */
static void multiply_add(uint8_t *digits, uint32_t *count, uint32_t base, uint32_t factor, uint32_t add)
{
	for (uint32_t i = 0; i < *count; i++) {
		add += digits[i] * factor;
		digits[i] = (uint8_t)(add % base);
		add /= base;
	}
	for (; add > 0; add /= base)
		digits[(*count)++] = (uint8_t)(add % base);
}

int base58_encode(struct qmt_bytes bytes, char ret_text[BASE58_TEXT + 1])
{
	uint8_t digits[BASE58_TEXT];
	uint32_t count = 0, zeros = 0, len = 0;

	if (bytes.len > BASE58_BYTES)
		return BASE58_E_LONG;
	while (zeros < bytes.len && bytes.p[zeros] == 0)
		zeros++;
	for (uint32_t i = zeros; i < bytes.len; i++)
		multiply_add(digits, &count, 58, 256, bytes.p[i]);
	for (; zeros > 0; zeros--)
		ret_text[len++] = alphabet[0];
	while (count > 0)
		ret_text[len++] = alphabet[digits[--count]];
	ret_text[len] = '\0';
	return 0;
}

int base58_decode(struct qmt_str text, uint8_t ret_bytes[BASE58_BYTES], uint32_t *ret_len)
{
	uint8_t digits[BASE58_TEXT + 1]; /* BASE58_TEXT digits need 65 bytes at most */
	uint32_t count = 0, zeros = 0;

	if (text.len > BASE58_TEXT)
		return BASE58_E_LONG;
	while (zeros < text.len && text.p[zeros] == alphabet[0])
		zeros++;
	for (uint32_t i = zeros; i < text.len; i++) {
		const char *at = memchr(alphabet, text.p[i], sizeof alphabet - 1);

		if (!at) {
			*ret_len = i;
			return BASE58_E_CHAR;
		}
		multiply_add(digits, &count, 256, 58, (uint32_t)(at - alphabet));
	}
	if (zeros + count > BASE58_BYTES)
		return BASE58_E_LONG;
	memset(ret_bytes, 0, zeros);
	for (uint32_t i = 0; i < count; i++)
		ret_bytes[zeros + i] = digits[count - 1 - i];
	*ret_len = zeros + count;
	return 0;
}
