/* runtime/base/bytes.c - text copies and growing buffers.
 *
 * A buffer grows by doubling, so that n appends cost O(n) copies. Failure is sticky instead of a result of each append:
 * a function that builds text from twenty pieces has one check at its end, which it does not forget.
 */
#include "bytes.h"

#include <stdarg.h>

enum { BUF_FIRST = 64 };

/* Longest content: a struct qmt_str over the whole buffer counts with 32 bits. */
#define BUF_MAX ((size_t)UINT32_MAX)

char *qmt_str_dup(struct qmt_str s)
{
	char *copy = malloc((size_t)s.len + 1);

	if (!copy)
		return NULL;
	if (s.len > 0)
		memcpy(copy, s.p, s.len);
	copy[s.len] = '\0';
	return copy;
}

void *qmt_buf_reserve(struct qmt_buf *buf, size_t more)
{
	if (buf->failed)
		return NULL;
	if (more > BUF_MAX - buf->len) {
		buf->failed = true;
		return NULL;
	}

	size_t need = buf->len + more + 1; /* + the closing NUL */

	if (need > buf->cap) {
		size_t cap = buf->cap > 0 ? buf->cap : BUF_FIRST;

		while (cap < need)
			cap *= 2;

		char *data = realloc(buf->data, cap);

		if (!data) {
			buf->failed = true;
			return NULL;
		}
		buf->data = data;
		buf->cap = cap;
		buf->data[buf->len] = '\0';
	}
	return buf->data + buf->len;
}

void qmt_buf_append(struct qmt_buf *buf, const void *data, size_t len)
{
	char *to = qmt_buf_reserve(buf, len);

	if (!to)
		return;
	if (len > 0)
		memcpy(to, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

void qmt_buf_str(struct qmt_buf *buf, const char *text)
{
	qmt_buf_append(buf, text, text ? strlen(text) : 0);
}

void qmt_buf_printf(struct qmt_buf *buf, const char *format, ...)
{
	if (!qmt_buf_reserve(buf, 0))
		return;

	/* First into the room that is there; only text that does not fit is formatted a second time. */
	size_t room = buf->cap - buf->len;
	va_list args;

	va_start(args, format);

	int len = vsnprintf(buf->data + buf->len, room, format, args);

	va_end(args);
	if (len >= 0 && (size_t)len >= room) {
		if (!qmt_buf_reserve(buf, (size_t)len)) {
			buf->data[buf->len] = '\0'; /* drop the part that the first try has written */
			return;
		}
		va_start(args, format);
		len = vsnprintf(buf->data + buf->len, (size_t)len + 1, format, args);
		va_end(args);
	}
	if (len < 0) {
		buf->failed = true;
		buf->data[buf->len] = '\0';
		return;
	}
	buf->len += (size_t)len;
}

void qmt_buf_consume(struct qmt_buf *buf, size_t n)
{
	if (n == 0)
		return;
	if (n >= buf->len) {
		buf->len = 0;
	} else {
		memmove(buf->data, buf->data + n, buf->len - n);
		buf->len -= n;
	}
	if (buf->data)
		buf->data[buf->len] = '\0';
}

void qmt_buf_free(struct qmt_buf *buf)
{
	if (!buf)
		return;
	free(buf->data);
	*buf = (struct qmt_buf){0};
}
