/* actors/session/tool_text.h - text from files and programs made fit for a message: valid, bounded, cut where one can
 * see it.
 *
 * Threads: none kept.   Blocks: never.
 */
#ifndef ACTORS_SESSION_TOOL_TEXT_H
#define ACTORS_SESSION_TOOL_TEXT_H

#include "runtime/base/bytes.h"

/* Appends `raw` as UTF-8: what is not valid, and NUL, becomes U+FFFD. */
void tool_text_clean(struct qmt_buf *out, struct qmt_str raw);
/* A C string without what is not valid UTF-8 at its end (snprintf cuts anywhere). */
struct qmt_str tool_text_valid(const char *text);
/* Appends valid `text`, or, when it is over a limit, its first and its last half of what is allowed with a line
 * between that says how much is missing. lost: bytes that are missing behind `text` already. Returns true when
 * anything is missing. */
bool tool_text_cut(struct qmt_buf *out, struct qmt_str text, size_t max_lines, size_t max_bytes, uint64_t lost);

#endif
