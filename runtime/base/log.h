/* runtime/base/log.h - one line an event: `time level event key=value …`.
 *
 * Threads: any; a line is written by one write(2).   Blocks: only on the log's descriptor.
 * Events:  "component.event" ("link.refused"); the component selects the level: QMT_LOG=link=debug,store=info,warn
 *          (a bare level is the default for all). Values with spaces are quoted; control characters are escaped.
 * Secrets: never an argument here.
 */
#ifndef QMT_BASE_LOG_H
#define QMT_BASE_LOG_H

#include "bytes.h"
#include "err.h"

#ifdef __cplusplus
extern "C" {
#endif

enum qmt_level { QMT_DEBUG, QMT_INFO, QMT_WARN, QMT_ERROR, QMT_OFF };

struct qmt_log; /* where lines go and what is let through; const after qmt_log_new */

/* fd: where to write (borrowed). filter: text of QMT_LOG, NULL for "info". now_ms: wall clock in ms since the epoch, so
 * that a seeded run has its own time. Bad filter text: NULL and err. Free with qmt_log_free. */
QMT_EXPORT struct qmt_log *qmt_log_new(int fd, const char *filter, uint64_t (*now_ms)(void *), void *arg,
	struct qmt_err *err);
QMT_EXPORT struct qmt_log *qmt_log_free(struct qmt_log *log);
/* Another face of `log`: its lines end in trace=<16 hex digits> while *trace is not 0, however long they are. Both are
 * borrowed; *trace is read by who writes a line. NULL: out of memory. Free with qmt_log_free. */
QMT_EXPORT struct qmt_log *qmt_log_traced(const struct qmt_log *log, const uint64_t *trace);
QMT_EXPORT bool qmt_log_on(const struct qmt_log *log, enum qmt_level level, const char *event);
/* Key-value list, closed by NULL: qmt_log(log, QMT_WARN, "link.refused", "peer", name, "reason", why, NULL). A NULL log
 * drops the line. All values are C strings; numbers by QMT_LOG_U64(x) (a compound literal); a NULL value prints "-". A
 * line beyond 4096 bytes is cut and ends in truncated=true. */
QMT_EXPORT void qmt_log(const struct qmt_log *log, enum qmt_level level, const char *event, ...)
	__attribute__((sentinel));
QMT_EXPORT const char *qmt_log_u64(char room[24], uint64_t value);
#define QMT_LOG_U64(x) qmt_log_u64((char[24]){0}, (uint64_t)(x))

#ifdef __cplusplus
}
#endif

#endif
