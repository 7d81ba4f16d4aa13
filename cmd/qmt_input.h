/* cmd/qmt_input.h - arguments that may hold a secret, and so may come from standard input or a file instead.
 *
 * Threads: one.   Blocks: on standard input and files.
 */
#ifndef CMD_QMT_INPUT_H
#define CMD_QMT_INPUT_H

#include "runtime/base/bytes.h"
#include "runtime/base/err.h"

/* All of standard input, up to `limit` bytes. 0; <0 and err: longer, or unreadable. Wipe and free what comes back. */
QMT_MUST_CHECK int input_read(size_t limit, struct qmt_buf *ret_data, struct qmt_err *err);
/* What an argument TEXT|-|@FILE stands for: standard input, the file, or the text itself. From a file or standard input
 * exactly one newline at the end is not part of it. 0; <0 and err. */
QMT_MUST_CHECK int input_argument(const char *argument, size_t limit, struct qmt_buf *ret_text, struct qmt_err *err);
/* A secret that was given as an argument is overwritten, so that `ps` shows it no longer; - and @FILE stay. Before
 * that it could be seen: only standard input and files keep it from others on this machine. */
void input_hide(const char *argument);
void input_wipe(struct qmt_buf *data);

#endif
