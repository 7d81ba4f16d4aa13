/* test/fuzz/json_fuzz.c - any text as JSON: what is accepted is written as text that reads back and is written the
 * same; any text at all can be quoted, and is then a string. */
#include <errno.h>

#include "proto/json.h"
#include "proto/utf8.h"

#define MUST(x)                                                     \
	do {                                                            \
		if (!(x)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                           \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_value(const struct json *value)
{
	struct qmt_buf first = {0}, second = {0};
	struct json *back = NULL;

	MUST(json_write(value, &first) == 0);
	MUST(json_parse(qmt_buf_view(&first), &back, NULL) == 0);
	MUST(json_write(back, &second) == 0);
	MUST(qmt_str_eq(qmt_buf_view(&first), qmt_buf_view(&second)));
	MUST(!memchr(first.data, '\n', first.len));
	json_free(back);
	qmt_buf_free(&first);
	qmt_buf_free(&second);
}

static void check_quote(struct qmt_str text)
{
	struct qmt_buf out = {0};
	struct json *value = NULL;

	json_quote(&out, text);
	MUST(json_parse(qmt_buf_view(&out), &value, NULL) == 0);
	MUST(json_is_string(value));
	MUST(utf8_check(text) ? qmt_str_eq(json_str(value), text) : utf8_check(json_str(value)));
	json_free(value);
	qmt_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmt_str text = {(const char *)data, (uint32_t)size};
	struct json *value = NULL;
	struct qmt_err err = {0};

	check_quote(text);
	if (json_parse(text, &value, &err) == 0) {
		check_value(value);
		json_free(value);
	} else {
		MUST(err.code == -EBADMSG && err.text[0]);
	}
	return 0;
}
