/* actors/session/tool_text.c - see the header. Why both ends are kept: a build prints its command first and its error
 * last. */
#include "tool_text.h"

#include <inttypes.h>

#include "proto/utf8.h"

void tool_text_clean(struct qmt_buf *out, struct qmt_str raw)
{
	while (raw.len) {
		uint32_t good = utf8_valid_prefix(raw);
		const char *nul = good ? memchr(raw.p, 0, good) : NULL;
		uint32_t skip = 0;
		if (nul) {
			good = (uint32_t)(nul - raw.p);
			skip = 1;
		} else if (good < raw.len) {
			skip = utf8_broken_length(qmt_strn(raw.p + good, raw.len - good));
		}
		qmt_buf_append(out, raw.p, good);
		if (skip)
			qmt_buf_str(out, UTF8_REPLACEMENT);
		raw = qmt_strn(raw.p + good + skip, raw.len - good - skip);
	}
}

static bool inside_character(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

struct qmt_str tool_text_valid(const char *text)
{
	return qmt_strn(text, utf8_valid_prefix(qmt_str(text)));
}

static struct qmt_str tail(struct qmt_str text, size_t max_bytes)
{
	if (text.len <= max_bytes)
		return text;
	size_t at = text.len - max_bytes;
	while (at < text.len && inside_character(text.p[at]))
		at++;
	return qmt_strn(text.p + at, text.len - at);
}

static size_t count_lines(struct qmt_str text)
{
	size_t lines = 0;
	for (const char *at = text.p, *end = text.p + text.len; at < end; lines++) {
		const char *next = memchr(at, '\n', (size_t)(end - at));
		at = next ? next + 1 : end;
	}
	return lines;
}

/* The first (last) max lines of text. */
static struct qmt_str head_lines(struct qmt_str text, size_t max)
{
	const char *at = text.p, *end = text.p + text.len;
	for (; max > 0 && at < end; max--) {
		const char *next = memchr(at, '\n', (size_t)(end - at));
		at = next ? next + 1 : end;
	}
	return qmt_strn(text.p, (size_t)(at - text.p));
}

static struct qmt_str tail_lines(struct qmt_str text, size_t max)
{
	size_t at = text.len;
	while (max > 0 && at > 0) {
		at--; /* the newline that ends this line, or its last character */
		while (at > 0 && text.p[at - 1] != '\n')
			at--;
		max--;
	}
	return qmt_strn(text.p + at, text.len - at);
}

bool tool_text_cut(struct qmt_buf *out, struct qmt_str text, size_t max_lines, size_t max_bytes, uint64_t lost)
{
	if (!lost && text.len <= max_bytes && count_lines(text) <= max_lines) {
		qmt_buf_append(out, text.p, text.len);
		return false;
	}
	/* What is lost already came behind `text`: its own end is then no end worth keeping. */
	size_t tail_share = lost ? 0 : max_bytes / 2, tail_line_share = lost ? 0 : max_lines / 2;
	struct qmt_str first = head_lines(utf8_head(text, max_bytes - tail_share), max_lines - tail_line_share);
	struct qmt_str rest = qmt_strn(text.p + first.len, text.len - first.len);
	struct qmt_str last = tail_lines(tail(rest, tail_share), tail_line_share);
	uint64_t cut = rest.len - last.len + lost;
	qmt_buf_append(out, first.p, first.len);
	if (first.len && first.p[first.len - 1] != '\n')
		qmt_buf_str(out, "\n");
	qmt_buf_printf(out, "[... %" PRIu64 " bytes cut here ...]\n", cut);
	qmt_buf_append(out, last.p, last.len);
	return true;
}
