/* actors/provider/script_line.c - see script_line.h.
 *
 * Texts are unescaped here and not by json_parse, which cannot tell a bad text from one that it has no memory for.
 */
#include "script_line.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/json.h"
#include "proto/utf8.h"

/* ---- complaints -------------------------------------------------------------------------------------------------- */

bool script_wrong(struct script_line *line, uint32_t number, const char *hint, const char *format, ...)
{
	char what[512];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	what[utf8_valid_prefix(qmt_str(what))] = '\0'; /* what was cut, here or in what is quoted, ends whole */
	if (line->complaints < SCRIPT_ERRORS)
		line->complain(line->arg, number, what, hint);
	else if (line->complaints == SCRIPT_ERRORS)
		line->complain(line->arg, number, "too many errors; the rest of the file is not looked at", NULL);
	line->complaints++;
	return false;
}

#define WRONG(line, hint, ...) script_wrong(line, (line)->number, hint, __VA_ARGS__)

bool script_no_memory(struct script_line *line)
{
	line->failed = true;
	return false;
}

struct script_shown script_show(struct qmt_str word)
{
	enum { MOST = 40 };
	struct script_shown shown;
	uint32_t len = word.len <= MOST ? word.len : utf8_valid_prefix(qmt_strn(word.p, MOST));

	snprintf(shown.text, sizeof shown.text, "\"%.*s%s\"", (int)len, word.p ? word.p : "", len < word.len ? "..." : "");
	return shown;
}

/* ---- words and texts of a line ----------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

bool script_more(struct script_line *line)
{
	while (line->at < line->stop && is_blank(*line->at))
		line->at++;
	if (line->at < line->stop && *line->at == '#')
		line->at = line->stop;
	return line->at < line->stop;
}

struct qmt_str script_word(struct script_line *line)
{
	const char *from;

	(void)script_more(line);
	from = line->at; /* also of an empty word: it is no NULL to count from */
	while (line->at < line->stop && !is_blank(*line->at))
		line->at++;
	return qmt_strn(from, (size_t)(line->at - from));
}

bool script_no_more(struct script_line *line)
{
	return !script_more(line) ||
		WRONG(line, "a comment begins with #", "%s is too much here", script_show(script_word(line)).text);
}

static bool hex4(const char *from, const char *stop, uint32_t *ret_code)
{
	uint32_t code = 0;

	if (stop - from < 4)
		return false;
	for (int i = 0; i < 4; i++) {
		char c = from[i];

		if (c >= '0' && c <= '9')
			code = code * 16 + (uint32_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			code = code * 16 + (uint32_t)((c | 0x20) - 'a' + 10);
		else
			return false;
	}
	*ret_code = code;
	return true;
}

static void put_code(struct qmt_buf *out, uint32_t code)
{
	char bytes[4];
	size_t len = 0;

	if (code < 0x80) {
		bytes[len++] = (char)code;
	} else if (code < 0x800) {
		bytes[len++] = (char)(0xc0 | code >> 6);
		bytes[len++] = (char)(0x80 | (code & 0x3f));
	} else if (code < 0x10000) {
		bytes[len++] = (char)(0xe0 | code >> 12);
		bytes[len++] = (char)(0x80 | (code >> 6 & 0x3f));
		bytes[len++] = (char)(0x80 | (code & 0x3f));
	} else {
		bytes[len++] = (char)(0xf0 | code >> 18);
		bytes[len++] = (char)(0x80 | (code >> 12 & 0x3f));
		bytes[len++] = (char)(0x80 | (code >> 6 & 0x3f));
		bytes[len++] = (char)(0x80 | (code & 0x3f));
	}
	qmt_buf_append(out, bytes, len);
}

/* What follows a backslash. Returns behind it; NULL: no escape of JSON. */
static const char *take_escape(const char *at, const char *stop, struct qmt_buf *out)
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	const char *name = at < stop ? memchr(names, *at, sizeof names - 1) : NULL;
	uint32_t code, low;

	if (name) {
		qmt_buf_append(out, &values[name - names], 1);
		return at + 1;
	}
	if (at >= stop || *at != 'u' || !hex4(at + 1, stop, &code))
		return NULL;
	at += 5;
	if (code >= 0xdc00 && code <= 0xdfff)
		return NULL;
	if (code >= 0xd800 && code <= 0xdbff) { /* the first half of a pair */
		if (stop - at < 6 || at[0] != '\\' || at[1] != 'u' || !hex4(at + 2, stop, &low) || low < 0xdc00 || low > 0xdfff)
			return NULL;
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
		at += 6;
	}
	put_code(out, code);
	return at;
}

/* A text in quotes: *ret_text is owned, never absent. of: whose text, for complaints. */
bool script_text(struct script_line *line, const char *of, struct qmt_str *ret_text)
{
	struct qmt_buf out QMT_CLEANUP(qmt_buf_free) = {0};
	const char *at;

	if (!script_more(line))
		return WRONG(line, "in double quotes: \"…\"", "%s: a text is missing", of);
	if (*line->at != '"')
		return WRONG(
			line, "in double quotes: \"…\"", "%s: expected a text, got %s", of, script_show(script_word(line)).text);
	for (at = line->at + 1; at < line->stop && *at != '"';) {
		if (*at != '\\') {
			qmt_buf_append(&out, at++, 1);
			continue;
		}
		at = take_escape(at + 1, line->stop, &out);
		if (!at)
			return WRONG(line, "as in JSON: \\n \\t \\\" \\\\ \\u00e9", "%s: a backslash that begins no escape", of);
	}
	if (at >= line->stop)
		return WRONG(line, "close it with a double quote", "%s: the text does not end", of);
	line->at = at + 1;
	if (line->at < line->stop && !is_blank(*line->at))
		return WRONG(line, "a double quote in a text is \\\"", "%s: a blank is missing behind the text", of);

	char *copy = out.failed ? NULL : qmt_str_dup(qmt_buf_view(&out));

	if (!copy)
		return script_no_memory(line);
	*ret_text = qmt_strn(copy, out.len);
	return true;
}

/* A JSON object, as it stands. */
bool script_object(struct script_line *line, const char *of, struct qmt_str *ret_text)
{
	const char *from = line->at, *at = line->at;
	struct json *json = NULL;
	uint32_t depth = 0;
	bool quoted = false;

	for (; at < line->stop; at++) {
		if (quoted && *at == '\\' && at + 1 < line->stop)
			at++;
		else if (*at == '"')
			quoted = !quoted;
		else if (!quoted && *at == '{')
			depth++;
		else if (!quoted && *at == '}' && --depth == 0)
			break;
	}
	if (at == line->stop)
		return WRONG(
			line, "write in quotes what shall be no JSON object: tool NAME \"{…\"", "%s: the object does not end", of);

	struct qmt_str text = qmt_strn(from, (size_t)(at + 1 - from));
	struct qmt_err err = {0};
	int ret = json_parse(text, &json, &err);

	json_free(json);
	if (ret == -ENOMEM)
		return script_no_memory(line);
	if (ret < 0)
		return WRONG(line, "write in quotes what shall be no JSON object: tool NAME \"{…\"", "%s: no JSON object: %s",
			of, err.text);
	line->at = at + 1;

	char *copy = qmt_str_dup(text);

	if (!copy)
		return script_no_memory(line);
	*ret_text = qmt_strn(copy, text.len);
	return true;
}

bool script_number(struct qmt_str word, uint64_t max, uint64_t *ret_number)
{
	uint64_t number = 0;

	for (uint32_t i = 0; i < word.len; i++)
		if (word.p[i] < '0' || word.p[i] > '9' || __builtin_mul_overflow(number, 10u, &number) ||
			__builtin_add_overflow(number, (unsigned)(word.p[i] - '0'), &number))
			return false;
	if (word.len == 0 || number > max)
		return false;
	*ret_number = number;
	return true;
}

bool script_count(struct script_line *line, const char *of, uint32_t max, uint32_t *ret_count)
{
	struct qmt_str word = script_word(line);
	uint64_t number;

	if (!script_number(word, max, &number) || number == 0)
		return WRONG(line, NULL, "%s: %s is no whole number from 1 to %u", of, script_show(word).text, max);
	*ret_count = (uint32_t)number;
	return true;
}

bool script_time(struct script_line *line, const char *of, struct qmt_str word, uint32_t *ret_ms)
{
	static const struct {
		const char *name;
		uint32_t ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
	uint32_t digits = 0;
	uint64_t number;

	while (digits < word.len && word.p[digits] >= '0' && word.p[digits] <= '9')
		digits++;
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		if (!qmt_str_is(qmt_strn(word.p + digits, word.len - digits), units[i].name))
			continue;
		if (!script_number(qmt_strn(word.p, digits), SCRIPT_TIME_MAX_MS / units[i].ms, &number))
			break;
		*ret_ms = (uint32_t)number * units[i].ms;
		return true;
	}
	return WRONG(
		line, "a whole number and ms, s, m or h, at most 24h: 50ms", "%s: %s is no time", of, script_show(word).text);
}
