/* cmd/config_errors.c - the list of complaints about a config file.
 *
 * Parsing and checking go on after an error, so that one look at the file can mend them all. The list is sorted when it
 * is printed, because the checks run table by table and the reader goes from top to bottom.
 */
#include <stdarg.h>

#include "config.h"
#include "config_read.h"

enum { ERRORS_FIRST = 8, SHOWN_BYTES = 60 };

struct config_shown config_show(struct qmt_str text)
{
	struct config_shown shown;
	size_t at = 0;
	uint32_t i = 0;

	shown.text[at++] = '"';
	for (; i < text.len && at < SHOWN_BYTES; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (c < 0x20 || c == 0x7f || c == '"' || c == '\\')
			at += (size_t)snprintf(shown.text + at, 5, "\\x%02x", c);
		else
			shown.text[at++] = (char)c;
	}
	if (i < text.len) {
		while (at > 1 && ((unsigned char)shown.text[at - 1] & 0xc0) == 0x80) /* end at a whole character */
			at--;
		if (at > 1 && (unsigned char)shown.text[at - 1] >= 0xc0)
			at--;
		memcpy(shown.text + at, "...", 3);
		at += 3;
	}
	shown.text[at++] = '"';
	shown.text[at] = '\0';
	return shown;
}

struct config_shown config_show_key(const char *key)
{
	struct config_shown shown = config_show(qmt_str(key));
	size_t len = strlen(key);

	for (const char *p = key; *p; p++)
		if ((unsigned char)*p <= 0x20 || *p == 0x7f || *p == '"' || *p == '\\' || *p == '.')
			return shown;
	if (len == 0 || len > SHOWN_BYTES - 2)
		return shown;
	memcpy(shown.text, key, len + 1);
	return shown;
}

static int compare(const void *a, const void *b)
{
	const struct config_error *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	if (x->col != y->col)
		return x->col < y->col ? -1 : 1;
	return strverscmp(x->text, y->text); /* one that holds a place in another file: line 9 before line 10 */
}

/* A complaint is one line; keys, and what toml++ says that it saw, may hold anything. */
static void append_printable(struct qmt_buf *out, const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			qmt_buf_printf(out, "\\x%02x", (unsigned char)*text);
		else
			qmt_buf_append(out, text, 1);
}

void config_complain(struct config_errors *errors, uint32_t line, uint32_t col, const char *key, const char *hint,
	const char *format, ...)
{
	if (errors->count == CONFIG_ERRORS) {
		errors->dropped++;
		return;
	}
	if (errors->count == 0 || (errors->count >= ERRORS_FIRST && (errors->count & (errors->count - 1)) == 0)) {
		size_t room = errors->count == 0 ? ERRORS_FIRST : (size_t)errors->count * 2;
		struct config_error *items = realloc(errors->items, room * sizeof *items);

		if (!items) {
			errors->failed = true;
			return;
		}
		errors->items = items;
	}

	struct qmt_buf text QMT_CLEANUP(qmt_buf_free) = {0};
	char reason[QMT_ERR_TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof reason, format, args);
	va_end(args);
	append_printable(&text, key ? key : "");
	qmt_buf_str(&text, key ? ": " : "");
	append_printable(&text, reason);
	if (hint) {
		qmt_buf_str(&text, " (");
		append_printable(&text, hint);
		qmt_buf_str(&text, ")");
	}
	if (text.failed) {
		errors->failed = true;
		return;
	}
	errors->items[errors->count++] = (struct config_error){line, col, text.data};
	text = (struct qmt_buf){0};
}

void config_errors_print(const struct config_errors *errors, struct qmt_buf *out)
{
	const char *file = errors->file ? errors->file : "config";

	if (errors->count > 1)
		qsort(errors->items, errors->count, sizeof *errors->items, compare);
	for (uint32_t i = 0; i < errors->count; i++) {
		const struct config_error *error = &errors->items[i];

		if (error->line > 0)
			qmt_buf_printf(out, "%s:%u:%u: %s\n", file, error->line, error->col, error->text);
		else
			qmt_buf_printf(out, "%s: %s\n", file, error->text);
	}
	if (errors->dropped > 0)
		qmt_buf_printf(out, "%s: %u more errors\n", file, errors->dropped);
}

void config_errors_free(struct config_errors *errors)
{
	for (uint32_t i = 0; i < errors->count; i++)
		free(errors->items[i].text);
	free(errors->items);
	free(errors->file);
	*errors = (struct config_errors){0};
}
