/* proto/utf8.h - is it UTF-8, and if not, up to where.
 *
 * Threads: none kept.   Blocks: never.
 * Format:  RFC 3629: no surrogates, no overlong forms, nothing beyond U+10FFFF. NUL is a character like any other.
 */
#ifndef PROTO_UTF8_H
#define PROTO_UTF8_H

#include "runtime/base/bytes.h"

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Length of the longest valid prefix: equal to text.len when all of it is valid. */
uint32_t utf8_valid_prefix(struct qmt_str text);

static inline bool utf8_check(struct qmt_str text)
{
	return utf8_valid_prefix(text) == text.len;
}

/* The longest start of valid `text` that has at most max_bytes and cuts no character. */
struct qmt_str utf8_head(struct qmt_str text, size_t max_bytes);

/* Bytes of the broken sequence at the start of `text` that one U+FFFD stands for: 1 to 3 (Unicode 3.9: the maximal part
 * of a sequence that could have become a character). For text that is not valid at its first byte. */
uint32_t utf8_broken_length(struct qmt_str text);

/* Bytes of the character at the start of the text if a terminal acts on it instead of showing it: C0, DEL, C1
 * (U+0080 to
 * U+009F), and what turns the direction of text (U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069: Unicode 9, UTS
 * 55).
 * 0: it is another one, or none. */
uint32_t utf8_control(struct qmt_str text);

/* The same text when it is valid UTF-8 and no longer than size; otherwise a copy in ret_room, with U+FFFD for each
 * broken sequence, cut between characters. For text that must go out and whose author is not us. */
struct qmt_str utf8_clean(struct qmt_str text, char *ret_room, size_t size);

#endif
