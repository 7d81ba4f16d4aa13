/* test/lib/vectors.c - test/vectors/NAME.json for tests. */
#include "vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <sodium.h>

#include "runtime/base/os.h"

enum { VECTORS_BYTES = 16 << 20 };

struct json *vectors_load(const char *path)
{
	struct qmt_buf text = {0};
	struct qmt_err err = {0};
	struct json *value = NULL;

	if (qmt_os_file_read(path, VECTORS_BYTES, &text, &err) < 0 || json_parse(qmt_buf_view(&text), &value, &err) < 0)
		fail_msg("%s: %s (run from the top of the tree)", path, err.text);
	qmt_buf_free(&text);
	return value;
}

struct qmt_str vectors_text(const struct json *object, const char *key)
{
	const struct json *member = json_get(object, key);

	if (!json_is_string(member))
		fail_msg("the vector has no text \"%s\"", key);
	return json_str(member);
}

uint32_t vectors_bytes(const struct json *object, const char *key, uint8_t *ret_bytes, size_t room)
{
	struct qmt_str text = vectors_text(object, key);
	size_t len = 0;

	if (sodium_hex2bin(ret_bytes, room, text.p, text.len, NULL, &len, NULL) != 0 || len * 2 != text.len)
		fail_msg("\"%s\" is not hexadecimal, or longer than %zu bytes", key, room);
	return (uint32_t)len;
}
