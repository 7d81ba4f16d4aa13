/* runtime/base/err.h - text for people, built up as an error travels outwards.
 *
 * Threads: a value of its owner.   Blocks: never.   Limit: QMT_ERR_TEXT bytes, longer text is cut with "...".
 * The innermost layer sets it, each outer one puts its context in front: "gpu.toml: [[providers]]: no such file".
 */
#ifndef QMT_BASE_ERR_H
#define QMT_BASE_ERR_H

#include <stdarg.h>

#include "bytes.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { QMT_ERR_TEXT = 1024 };

struct qmt_err {
	int code; /* negative errno, or the outcome of the header that set it */
	char text[QMT_ERR_TEXT];
};

/* Sets code and text; err may be NULL. Returns code, so that `return qmt_err_set(err, -EINVAL, …)` works. */
QMT_EXPORT int qmt_err_set(struct qmt_err *err, int code, const char *format, ...) QMT_PRINTF(3, 4);
/* As snprintf, for text that may leave the process: what does not fit is cut with "..." between two characters of
 * UTF-8, never within one. size: at least 4. */
QMT_EXPORT void qmt_text(char *ret_text, size_t size, const char *format, ...) QMT_PRINTF(3, 4);
QMT_EXPORT void qmt_text_va(char *ret_text, size_t size, const char *format, va_list args) QMT_PRINTF(3, 0);
/* Puts "context: " in front of the text; err may be NULL. Returns err->code (or -1). */
QMT_EXPORT int qmt_err_prefix(struct qmt_err *err, const char *format, ...) QMT_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif

#endif
