/* test/fuzz/sse_fuzz.c - any bytes as an event stream, cut anywhere: the events and the outcome are those of the stream
 * in one piece, and no limit is passed. The first two bytes say where to cut. */
#include "actors/provider/sse.c"

#define MUST(x)                                                     \
	do {                                                            \
		if (!(x)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                           \
	} while (0)

enum { LINE_LIMIT = 64, EVENT_LIMIT = 96, EVENTS_MAX = 1000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	struct qmt_buf text;
	uint32_t events;
};

static int on_event(void *arg, struct qmt_str data)
{
	struct seen *seen = arg;

	MUST(data.len <= EVENT_LIMIT);
	qmt_buf_printf(&seen->text, "%u:", data.len);
	qmt_buf_append(&seen->text, data.p, data.len);
	return ++seen->events == EVENTS_MAX;
}

/* The first piece has `first` bytes, each further one `step`. */
static int run(struct qmt_str bytes, size_t first, size_t step, struct seen *seen)
{
	struct sse sse;
	int outcome = 0;

	sse_init(&sse, LINE_LIMIT, EVENT_LIMIT, on_event, seen);
	for (size_t at = 0, len = first; at < bytes.len && outcome == 0; at += len, len = step) {
		if (len == 0 || len > bytes.len - at)
			len = len == 0 ? 1 : bytes.len - at;
		outcome = sse_feed(&sse, bytes.p + at, len);
	}
	if (outcome == 0)
		outcome = sse_end(&sse);
	MUST(sse.line.len <= LINE_LIMIT + 2 && sse.data.len <= EVENT_LIMIT + LINE_LIMIT);
	sse_fini(&sse);
	return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen whole = {0}, cut = {0};

	if (size < 2)
		return 0;

	struct qmt_str bytes = qmt_strn((const char *)data + 2, size - 2);
	int outcome = run(bytes, bytes.len, bytes.len, &whole);

	MUST(run(bytes, data[0], (size_t)data[1] + 1, &cut) == outcome);
	MUST(whole.events == cut.events && qmt_str_eq(qmt_buf_view(&whole.text), qmt_buf_view(&cut.text)));
	qmt_buf_free(&whole.text);
	qmt_buf_free(&cut.text);
	return 0;
}
