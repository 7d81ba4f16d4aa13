/* The events of a stream depend on its bytes alone, however they are cut; hostile streams end in an outcome, within the
 * limits. */
#include "actors/provider/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "test/lib/capture.h"

struct seen {
	struct qmt_buf text; /* "<data>" for each event */
	uint32_t events, stop_at;
};

static int on_event(void *arg, struct qmt_str data)
{
	struct seen *seen = arg;

	seen->events++;
	qmt_buf_str(&seen->text, "<");
	qmt_buf_append(&seen->text, data.p, data.len);
	qmt_buf_str(&seen->text, ">");
	return seen->events == seen->stop_at;
}

/* Feeds pieces of `step` bytes, the first one `first` long. Returns the outcome of the end. */
static int run(
	struct qmt_str bytes, size_t first, size_t step, size_t line_limit, size_t event_limit, struct seen *seen)
{
	struct sse sse;
	size_t at = 0;
	int outcome = 0;

	sse_init(&sse, line_limit, event_limit, on_event, seen);
	while (at < bytes.len && outcome == 0) {
		size_t len = at == 0 && first > 0 ? first : step;

		if (len > bytes.len - at)
			len = bytes.len - at;

		char *copy = malloc(len); /* exactly so long that the sanitizer sees a read beyond it */

		assert_non_null(copy);
		memcpy(copy, bytes.p + at, len);
		outcome = sse_feed(&sse, copy, len);
		free(copy);
		at += len;
	}
	if (outcome == 0)
		outcome = sse_end(&sse);
	if (outcome != 0)
		assert_int_equal(sse_feed(&sse, "data: late\n\n", 12), outcome);
	sse_fini(&sse);
	return outcome;
}

static void expect(struct qmt_str bytes, const char *events)
{
	for (size_t first = 0; first <= bytes.len; first++) {
		struct seen seen = {0};

		assert_int_equal(run(bytes, first, first == 0 ? 1 : bytes.len, 1000, 1000, &seen), 0);
		if (!seen.text.data || strcmp(seen.text.data, events) != 0)
			fail_msg("cut at %zu: got %s, want %s", first, seen.text.data, events);
		qmt_buf_free(&seen.text);
	}
}

#define EXPECT(bytes, events) expect(qmt_strn(bytes, sizeof bytes - 1), events)

/* Every form of the format is read as its source says. */
static void forms_of_the_format(void **state)
{
	(void)state;
	EXPECT("data: a\n\ndata: b\n\n", "<a><b>");
	EXPECT("data: a\r\n\r\ndata: b\r\n\r\n", "<a><b>");
	EXPECT("data: a\r\ndata: b\r\n\r\n", "<a\nb>");
	EXPECT("data: a\r\rdata: b\r\r", "<a><b>");
	EXPECT("data: a\r\n\ndata: b\n\r\n", "<a><b>");
	EXPECT("data:a\n\ndata:  b\n\n", "<a>< b>");
	EXPECT("data: a\ndata: b\ndata\ndata:\n\n", "<a\nb\n\n>");
	EXPECT("\xef\xbb\xbf"
		   "data: a\n\n",
		"<a>");
	EXPECT("\xef\xbb"
		   "data: a\n\ndata: b\n\n",
		"<b>");
	EXPECT(": comment\n:\n\n: more\ndata: a\n: in between\n\n", "<a>");
	EXPECT("event: x\nid: 7\nretry: 10\ndata: a\n\nevent: y\n\n", "<a>");
	EXPECT("datax: no\nDATA: no\ndat\n data: no\ndata: a\n\n", "<a>");
	EXPECT("\n\n\r\n\rdata: a\n\n\n\n", "<a>");
	EXPECT("data: a\n", "<a>");           /* no empty line at the end */
	EXPECT("data: a\n\ndata: cu", "<a>"); /* cut in a line */
}

/* The events of real captures are the same at every cut, and are what a plain reading gives. */
static void captures_at_every_cut(void **state)
{
	static const char *const names[] = {
		"aimock-think.http", "aimock-tool.http", "sid-chat-stream.http", "sid-agent-tools-required-stream.http"};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct capture capture;
		struct seen whole = {0};

		capture_load(&capture, names[i]);
		assert_int_equal(run(capture.body, 0, capture.body.len, 1 << 16, 1 << 16, &whole), 0);
		assert_true(whole.events > 4);
		assert_non_null(strstr(whole.text.data, "<[DONE]>"));
		for (size_t first = 1; first < capture.body.len; first++) {
			struct seen seen = {0};

			assert_int_equal(run(capture.body, first, capture.body.len, 1 << 16, 1 << 16, &seen), 0);
			assert_string_equal(seen.text.data, whole.text.data);
			qmt_buf_free(&seen.text);
		}
		for (size_t step = 1; step < 40; step++) {
			struct seen seen = {0};

			assert_int_equal(run(capture.body, 0, step, 1 << 16, 1 << 16, &seen), 0);
			assert_string_equal(seen.text.data, whole.text.data);
			qmt_buf_free(&seen.text);
		}
		qmt_buf_free(&whole.text);
		capture_free(&capture);
	}
}

static int outcome_of(const char *text, size_t step, size_t line_limit, size_t event_limit)
{
	struct seen seen = {0};
	int outcome = run(qmt_str(text), 0, step, line_limit, event_limit, &seen);

	qmt_buf_free(&seen.text);
	return outcome;
}

/* A line or an event over its limit ends the stream, at the limit and not one byte before, cut or not. */
static void limits(void **state)
{
	(void)state;
	for (size_t step = 1; step < 20; step++) {
		assert_int_equal(outcome_of("data: 4567\n\n", step, 10, 100), 0);
		assert_int_equal(outcome_of("data: 45678\n\n", step, 10, 100), SSE_E_LINE_TOO_LONG);
		assert_int_equal(outcome_of(":234567890\n\n", step, 10, 100), 0);
		assert_int_equal(outcome_of(":2345678901\n\n", step, 10, 100), SSE_E_LINE_TOO_LONG);
		assert_int_equal(outcome_of("endless line without end", step, 10, 100), SSE_E_LINE_TOO_LONG);
		assert_int_equal(outcome_of("data: ab\ndata: cd\n\n", step, 100, 5), 0);
		assert_int_equal(outcome_of("data: ab\ndata: cde\n\n", step, 100, 5), SSE_E_EVENT_TOO_LONG);
		assert_int_equal(outcome_of("data\ndata\ndata\ndata\ndata\ndata\ndata\n", step, 100, 5), SSE_E_EVENT_TOO_LONG);
	}
}

/* After the event function said stop nothing more is reported. */
static void stop_is_final(void **state)
{
	struct seen seen = {.stop_at = 2};

	(void)state;
	assert_int_equal(run(qmt_str("data: a\n\ndata: b\n\ndata: c\n\n"), 0, 100, 100, 100, &seen), SSE_E_STOPPED);
	assert_string_equal(seen.text.data, "<a><b>");
	qmt_buf_free(&seen.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forms_of_the_format),
		cmocka_unit_test(captures_at_every_cut),
		cmocka_unit_test(limits),
		cmocka_unit_test(stop_is_final),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
