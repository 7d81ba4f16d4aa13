/* actors/provider/sse.c - see sse.h.
 *
 * A line is worked on in place when it lies whole in what was fed, and is joined in `line` only when a feed cut it.
 * Lines end in \r, \n or \r\n; after a \r the line is over at once, so that no event waits for a byte that may never
 * come, and a following \n is skipped.
 */
#include "sse.h"

#include <errno.h>

static const char byte_order_mark[3] = {'\xef', '\xbb', '\xbf'};

void sse_init(struct sse *sse, size_t line_limit, size_t event_limit, sse_event_fn *event, void *arg)
{
	*sse = (struct sse){.line_limit = line_limit, .event_limit = event_limit, .event = event, .arg = arg};
}

void sse_fini(struct sse *sse)
{
	qmt_buf_free(&sse->line);
	qmt_buf_free(&sse->data);
}

static int fail(struct sse *sse, int outcome)
{
	sse->error = outcome;
	return outcome;
}

static int dispatch(struct sse *sse)
{
	if (sse->data.len == 0)
		return 0;

	struct qmt_str data = qmt_strn(sse->data.data, sse->data.len - 1); /* without the last \n */
	int stop = sse->event(sse->arg, data);

	sse->data.len = 0;
	return stop ? fail(sse, SSE_E_STOPPED) : 0;
}

static int take_line(struct sse *sse, const char *line, size_t len)
{
	static const char field[] = "data";
	enum { FIELD_LEN = sizeof field - 1 };

	if (len > sse->line_limit)
		return fail(sse, SSE_E_LINE_TOO_LONG);
	if (len == 0)
		return dispatch(sse);
	/* Everything else is a comment (":…"), a field of no use here, or unknown: read over, as the source asks. */
	if (len < FIELD_LEN || memcmp(line, field, FIELD_LEN) != 0 || (len > FIELD_LEN && line[FIELD_LEN] != ':'))
		return 0;

	size_t skip = len > FIELD_LEN ? FIELD_LEN + 1 : FIELD_LEN;

	if (skip < len && line[skip] == ' ')
		skip++;
	if (sse->data.len + (len - skip) > sse->event_limit)
		return fail(sse, SSE_E_EVENT_TOO_LONG);
	qmt_buf_append(&sse->data, line + skip, len - skip);
	qmt_buf_append(&sse->data, "\n", 1);
	return sse->data.failed ? fail(sse, -ENOMEM) : 0;
}

/* A mark at the very start is dropped, also when it comes byte by byte; what only looked like one is given back to the
 * line. */
static size_t skip_bom(struct sse *sse, const char *bytes, size_t len)
{
	size_t at = 0;

	while (sse->bom_seen < sizeof byte_order_mark && at < len) {
		if (bytes[at] != byte_order_mark[sse->bom_seen]) {
			if (sse->bom_seen > 0)
				qmt_buf_append(&sse->line, byte_order_mark, sse->bom_seen);
			sse->bom_seen = sizeof byte_order_mark;
			break;
		}
		sse->bom_seen++;
		at++;
	}
	return at;
}

/* Where the line ends that starts at `at`; len: not in these bytes. */
static size_t line_end(const char *bytes, size_t at, size_t len)
{
	while (at < len && bytes[at] != '\n' && bytes[at] != '\r')
		at++;
	return at;
}

int sse_feed(struct sse *sse, const char *bytes, size_t len)
{
	if (sse->error)
		return sse->error;

	size_t at = skip_bom(sse, bytes, len);

	while (at < len) {
		if (sse->after_cr && bytes[at] == '\n')
			at++;
		sse->after_cr = false;

		size_t end = line_end(bytes, at, len);

		if (end == len || sse->line.len > 0) {
			if (sse->line.len + (end - at) > sse->line_limit)
				return fail(sse, SSE_E_LINE_TOO_LONG);
			qmt_buf_append(&sse->line, bytes + at, end - at);
			if (sse->line.failed)
				return fail(sse, -ENOMEM);
		}
		if (end == len)
			return 0;
		sse->after_cr = bytes[end] == '\r';

		int outcome =
			sse->line.len > 0 ? take_line(sse, sse->line.data, sse->line.len) : take_line(sse, bytes + at, end - at);

		sse->line.len = 0;
		if (outcome != 0)
			return outcome;
		at = end + 1;
	}
	return 0;
}

int sse_end(struct sse *sse)
{
	if (sse->error)
		return sse->error;
	return dispatch(sse);
}
