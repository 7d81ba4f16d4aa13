/* runtime/base/err.c - text for people, built up as an error travels outwards.
 *
 * Everything is formatted beside the struct and copied in at the end: the old text may be an argument of the new.
 */
#include "err.h"

static const char cut_mark[] = "...";

/* A context may take this much at most: the reason behind it is worth more than a long path in front. */
enum { PREFIX_TEXT = QMT_ERR_TEXT / 2 };

/* Ends text (of `size` bytes, already filled up to its closing NUL) with the mark, on a character boundary of UTF-8. */
static void mark_cut(char *text, size_t size)
{
	size_t at = size - sizeof cut_mark;

	while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
		at--;
	memcpy(text + at, cut_mark, sizeof cut_mark);
}

void qmt_text_va(char *text, size_t size, const char *format, va_list args)
{
	int len = vsnprintf(text, size, format, args);

	if (len < 0)
		snprintf(text, size, "%s", "(error text could not be formatted)");
	else if ((size_t)len >= size)
		mark_cut(text, size);
}

void qmt_text(char *text, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	qmt_text_va(text, size, format, args);
	va_end(args);
}

int qmt_err_set(struct qmt_err *err, int code, const char *format, ...)
{
	if (!err)
		return code;

	char text[QMT_ERR_TEXT];
	va_list args;

	va_start(args, format);
	qmt_text_va(text, sizeof text, format, args);
	va_end(args);
	memcpy(err->text, text, strlen(text) + 1);
	err->code = code;
	return code;
}

int qmt_err_prefix(struct qmt_err *err, const char *format, ...)
{
	if (!err)
		return -1;

	char prefix[PREFIX_TEXT], text[QMT_ERR_TEXT];
	va_list args;

	va_start(args, format);
	qmt_text_va(prefix, sizeof prefix, format, args);
	va_end(args);

	size_t front = strlen(prefix), back = strnlen(err->text, sizeof err->text - 1), room = sizeof text - front - 3;

	memcpy(text, prefix, front);
	memcpy(text + front, ": ", 2);
	memcpy(text + front + 2, err->text, back < room ? back : room);
	text[front + 2 + (back < room ? back : room)] = '\0';
	if (back > room)
		mark_cut(text, sizeof text);
	memcpy(err->text, text, strlen(text) + 1);
	return err->code ? err->code : -1;
}
