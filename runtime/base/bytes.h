/* runtime/base/bytes.h - borrowed text and bytes, growing buffers, compiler attributes.
 *
 * Threads: values; a buffer belongs to one owner.   Blocks: never.
 * Invariant: struct qmt_str need not end in NUL; len counts bytes. {NULL, 0} is "absent", equal to empty.
 */
#ifndef QMT_BASE_BYTES_H
#define QMT_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QMT_MUST_CHECK __attribute__((warn_unused_result))
#define QMT_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define QMT_CLEANUP(fn) __attribute__((cleanup(fn)))
#define QMT_EXPORT __attribute__((visibility("default")))

struct qmt_str {
	const char *p;
	uint32_t len;
};

struct qmt_bytes {
	const uint8_t *p;
	uint32_t len;
};

/* Borrows a C string; NULL gives the absent text. */
static inline struct qmt_str qmt_str(const char *text)
{
	struct qmt_str s = {text, text ? (uint32_t)strlen(text) : 0};

	return s;
}

static inline struct qmt_str qmt_strn(const char *text, size_t len)
{
	struct qmt_str s = {text, (uint32_t)len};

	return s;
}

static inline bool qmt_str_eq(struct qmt_str a, struct qmt_str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static inline bool qmt_str_is(struct qmt_str a, const char *text)
{
	return qmt_str_eq(a, qmt_str(text));
}

/* printf arguments for "%.*s". */
#define QMT_STR_ARG(s) (int)(s).len, (s).p ? (s).p : ""

/* A heap copy with a closing NUL; free() it. NULL when memory is out. An absent text gives "". */
QMT_EXPORT char *qmt_str_dup(struct qmt_str s);

/* A growing buffer. {0} is empty and valid. After one failed append `failed` stays set, data is kept, and every further
 * append does nothing: check it once, at the end. Always has a NUL behind data[len] once anything was appended. */
struct qmt_buf {
	char *data;
	size_t len;
	size_t cap;
	bool failed;
};

QMT_EXPORT void qmt_buf_append(struct qmt_buf *buf, const void *data, size_t len);
QMT_EXPORT void qmt_buf_str(struct qmt_buf *buf, const char *text);
QMT_EXPORT void qmt_buf_printf(struct qmt_buf *buf, const char *format, ...) QMT_PRINTF(2, 3);
/* Makes room for `more` bytes and returns where they go (buf->len is not moved), NULL when memory is out. */
QMT_EXPORT void *qmt_buf_reserve(struct qmt_buf *buf, size_t more);
/* Drops the first n bytes. */
QMT_EXPORT void qmt_buf_consume(struct qmt_buf *buf, size_t n);
QMT_EXPORT void qmt_buf_free(struct qmt_buf *buf); /* empty and reusable afterwards */

static inline struct qmt_str qmt_buf_view(const struct qmt_buf *buf)
{
	return qmt_strn(buf->data, buf->len);
}

#ifdef __cplusplus
}
#endif

#endif
