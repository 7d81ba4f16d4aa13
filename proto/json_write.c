/* proto/json_write.c - JSON text: our own writer over the values of json.h.
 *
 * jansson's writer prints 0.7 as 0.69999999999999996; what goes to upstreams and into files should be what was meant,
 * so a number is printed with as few digits as still read back the same. The recursion is as deep as the value, which
 * the parser bounds; values that are built are as deep as the code that builds them.
 */
#include "json.h"
#include "utf8.h"

#include <errno.h>
#include <inttypes.h>

enum { REAL_TEXT = 40, REAL_DIGITS_MIN = 15, REAL_DIGITS_MAX = 17 };

static void quote_char(struct qmt_buf *out, unsigned char c)
{
	static const char letters[] = {
		['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"', ['\\'] = '\\'};

	if (c < sizeof letters && letters[c])
		qmt_buf_append(out, (char[]){'\\', letters[c]}, 2);
	else
		qmt_buf_printf(out, "\\u%04x", c);
}

void json_quote(struct qmt_buf *out, struct qmt_str text)
{
	uint32_t at = 0, plain = 0;

	qmt_buf_append(out, "\"", 1);
	while (at < text.len) {
		struct qmt_str rest = {text.p + at, text.len - at};
		uint32_t end = at + utf8_valid_prefix(rest);

		for (plain = at; at < end; at++) {
			unsigned char c = (unsigned char)text.p[at];

			if (c >= 0x20 && c != '"' && c != '\\')
				continue;
			qmt_buf_append(out, text.p + plain, at - plain);
			quote_char(out, c);
			plain = at + 1;
		}
		qmt_buf_append(out, text.p + plain, at - plain);
		if (at < text.len) {
			qmt_buf_str(out, UTF8_REPLACEMENT);
			at += utf8_broken_length((struct qmt_str){text.p + at, text.len - at});
		}
	}
	qmt_buf_append(out, "\"", 1);
}

static void write_real(struct qmt_buf *out, double value)
{
	char text[REAL_TEXT];
	int digits = REAL_DIGITS_MIN;

	do {
		snprintf(text, sizeof text, "%.*g", digits, value);
	} while (strtod(text, NULL) != value && ++digits <= REAL_DIGITS_MAX); /* both in the same locale */

	char *comma = strchr(text, ','); /* some locales write one */

	if (comma)
		*comma = '.';
	qmt_buf_str(out, text);
	if (!strpbrk(text, ".e"))
		qmt_buf_str(out, ".0"); /* a real stays one when it is read again */
}

static void write_value(struct qmt_buf *out, const struct json *value)
{
	if (json_is_object(value)) {
		const struct json *member;
		struct qmt_str key;
		const char *before = "";

		qmt_buf_str(out, "{");
		for (void *iter = NULL; json_next(value, &iter, &key, &member); before = ",") {
			qmt_buf_str(out, before);
			json_quote(out, key);
			qmt_buf_str(out, ":");
			write_value(out, member);
		}
		qmt_buf_str(out, "}");
	} else if (json_is_array(value)) {
		qmt_buf_str(out, "[");
		for (size_t i = 0, n = json_count(value); i < n; i++) {
			qmt_buf_str(out, i > 0 ? "," : "");
			write_value(out, json_at(value, i));
		}
		qmt_buf_str(out, "]");
	} else if (json_is_string(value)) {
		json_quote(out, json_str(value));
	} else if (json_is_integer(value)) {
		qmt_buf_printf(out, "%" PRId64, json_int(value, 0));
	} else if (json_is_number(value)) {
		write_real(out, json_real(value, 0));
	} else if (json_is_null(value) || !value) {
		qmt_buf_str(out, "null");
	} else {
		qmt_buf_str(out, json_bool(value, false) ? "true" : "false");
	}
}

int json_write(const struct json *value, struct qmt_buf *out)
{
	write_value(out, value);
	return out->failed ? -ENOMEM : 0;
}
