/* actors/provider/sse.h - server-sent events out of a byte stream, however the bytes are cut.
 *
 * Source:  WHATWG HTML, section 9.2.6 "Interpreting an event stream". Fields event, id and retry are read over.
 * Threads: belongs to one owner.   Blocks: never.   Order: events as in the stream.
 * Limits:  length of a line and of an event's joined data, given at init.
 * Invariant: the events depend on the bytes alone, not on where sse_feed was called.
 */
#ifndef PROVIDER_SSE_H
#define PROVIDER_SSE_H

#include "runtime/base/bytes.h"

enum {
	SSE_E_LINE_TOO_LONG = 1,
	SSE_E_EVENT_TOO_LONG,
	SSE_E_STOPPED, /* the event function said so */
};

/* Data of one event, without the closing newline, valid during the call. Events without data are not reported.
 * Non-zero stops the stream: nothing more is read or reported. */
typedef int sse_event_fn(void *arg, struct qmt_str data);

struct sse {
	/* const after init */
	size_t line_limit, event_limit; /* bytes */
	sse_event_fn *event;
	void *arg;
	/* owner: whoever feeds */
	struct qmt_buf line; /* of a line that was cut by the end of the last feed */
	struct qmt_buf data; /* data lines of the event so far, each closed by \n */
	uint8_t bom_seen;    /* how many bytes of a byte order mark were read; 3: no longer at the start */
	bool after_cr;       /* a \n that comes next belongs to the \r before it */
	int error;           /* sticky outcome */
};

void sse_init(struct sse *sse, size_t line_limit, size_t event_limit, sse_event_fn *event, void *arg);
void sse_fini(struct sse *sse);
/* Reads bytes. Returns 0; SSE_E_…; -ENOMEM. After anything but 0 every further call only returns the same. */
QMT_MUST_CHECK int sse_feed(struct sse *sse, const char *bytes, size_t len);
/* The stream ended. An event whose lines are whole is reported although its empty line is missing (servers that end
 * with "data: [DONE]\n" exist); a line that was cut is dropped. Returns as sse_feed. */
QMT_MUST_CHECK int sse_end(struct sse *sse);

#endif
