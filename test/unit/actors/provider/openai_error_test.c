/* What an upstream says went wrong becomes one class of PROVIDER_ERRORS, a hint when to come back, and a text without
 * the key. */
#include "actors/provider/openai_error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "test/lib/capture.h"

enum { WALL_MS_2026 = 1795499148 }; /* s; the captures' day */

static const uint64_t wall_ms = (uint64_t)WALL_MS_2026 * 1000;

static uint64_t hint(const char *headers, uint64_t now_ms)
{
	struct openai_hints hints = {0};

	for (const char *at = headers, *end; (end = strchr(at, '\n')); at = end + 1)
		openai_hints_header(&hints, qmt_strn(at, (size_t)(end - at) + 1));
	return openai_hints_ms(&hints, now_ms);
}

/* All forms in which a server says when to come back are read; nonsense and the past are no hint; a hint is bounded. */
static void hints(void **state)
{
	(void)state;
	assert_int_equal(hint("Retry-After: 1\r\n", 0), 1000);
	assert_int_equal(hint("retry-after:2.5 \r\n", 0), 2500);
	assert_int_equal(hint("Retry-After: 0\r\n", 0), 0);
	assert_int_equal(hint("Retry-After: 7\r\nretry-after-ms: 250\r\n", 0), 250);
	assert_int_equal(hint("retry-after-ms: 0.2\r\n", 0), 1);
	assert_int_equal(
		hint("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\nDate: Sun, 06 Nov 1994 08:49:07 GMT\r\n", wall_ms), 30000);
	assert_int_equal(hint("Retry-After: Sunday, 06-Nov-94 08:49:37 GMT\r\n", 784111777000 - 5000), 5000);
	assert_int_equal(hint("Retry-After: Sun Nov  6 08:49:37 1994\r\n", 784111777000 - 5000), 5000);
	assert_int_equal(hint("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n", wall_ms), 0); /* over */
	assert_int_equal(hint("Retry-After: -5\r\n", 0), 0);
	assert_int_equal(hint("Retry-After: soon\r\n", 0), 0);
	assert_int_equal(hint("Retry-After: 1e9\r\n", 0), 0);
	assert_int_equal(hint("Retry-After: inf\r\n", 0), 0);
	assert_int_equal(hint("Retry-After: \r\n", 0), 0);
	assert_int_equal(hint("Retry-After: 99999999999999999999999999\r\n", 0), OPENAI_RETRY_MAX_MS);
	assert_int_equal(
		hint("Retry-After: 11111111111111111111111111111111111111111111111111111111111111111111\r\n", 0), 0);
	assert_int_equal(hint("x-ratelimit-reset-requests: 1m0.5s\r\n", 0), 60500);
	assert_int_equal(hint("x-ratelimit-reset-requests: 20ms\r\n", 0), 20);
	assert_int_equal(hint("x-ratelimit-reset-requests: 20\r\n", 0), 0);
	assert_int_equal(hint("x-ratelimit-reset-requests: 5parsecs\r\n", 0), 0);
	assert_int_equal(hint("X-Retry-After: 5\r\nContent-Length: 5\r\n", 0), 0);
}

/* Impossible dates are not dates. */
static void dates(void **state)
{
	uint64_t ms;

	(void)state;
	assert_true(openai_date_parse("Tue, 24 Nov 2026 05:45:49 GMT", &ms));
	assert_int_equal(ms, UINT64_C(1795499149000));
	assert_false(openai_date_parse("Tue, 24 Nov 2026 05:45:49", &ms));
	assert_false(openai_date_parse("Tue, 24 Nov 2026 05:45:49 CET", &ms));
	assert_false(openai_date_parse("Tue, 24 Nov 2026 05:45:49 GMT+1", &ms));
	assert_false(openai_date_parse("Tue, 24 Nav 2026 05:45:49 GMT", &ms));
	assert_false(openai_date_parse("Tue, 99 Nov 2026 05:45:49 GMT", &ms));
	assert_false(openai_date_parse("Tue, 24 Nov 2026 -5:45:49 GMT", &ms));
	assert_false(openai_date_parse("Tue, 24 Nov 1926 05:45:49 GMT", &ms));
	assert_false(openai_date_parse("", &ms));
}

static struct openai_error http(unsigned status, const char *body)
{
	struct openai_error error;
	struct openai_hints none = {0};

	openai_error_http(status, qmt_str(body), &none, wall_ms, "sk-secret", &error);
	return error;
}

/* The status decides the class; a body that speaks of the context refines it. */
static void classes_by_status(void **state)
{
	static const struct {
		unsigned status;
		const char *body, *kind;
	} rows[] = {
		{401, "{\"error\":{\"message\":\"no\"}}", "authentication"},
		{403, "", "authentication"},
		{404, "{\"error\":{\"code\":404,\"message\":\"File Not Found\",\"type\":\"not_found_error\"}}", "not_found"},
		{408, "", "timeout"},
		{400, "{\"error\":{\"message\":\"bad\",\"type\":\"invalid_request_error\"}}", "invalid_request"},
		{400, "{\"error\":{\"message\":\"x\",\"code\":\"context_length_exceeded\"}}", "context_window_exceeded"},
		{400, "{\"error\":{\"message\":\"This model's Maximum context length is 4 tokens\"}}",
			"context_window_exceeded"},
		{500, "{\"error\":\"the context size is exceeded\"}", "context_window_exceeded"},
		{401, "{\"error\":\"maximum context length\"}", "authentication"},
		{422, "", "invalid_request"},
		{429, "", "rate_limited"},
		{500, "", "server_error"},
		{501, "{\"error\":{\"code\":501,\"message\":\"no\",\"type\":\"not_supported_error\"}}", "server_error"},
		{502, "<html>bad gateway</html>", "server_error"},
		{503, "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}", "overloaded"},
		{529, "", "overloaded"},
		{302, "", "invalid_request"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct openai_error error = http(rows[i].status, rows[i].body);

		if (strcmp(error.kind, rows[i].kind) != 0)
			fail_msg("%u %s: got %s, want %s", rows[i].status, rows[i].body, error.kind, rows[i].kind);
	}
}

/* Captured errors of real servers. */
static void captured(void **state)
{
	struct capture capture;
	struct openai_hints hints = {0};
	struct openai_error error;

	(void)state;
	capture_load(&capture, "sid-agent-err-context-stream.http");
	openai_error_http(400, capture.body, &hints, wall_ms, NULL, &error);
	assert_string_equal(error.kind, "context_window_exceeded");
	assert_string_equal(error.text,
		"the upstream answered 400: request (45004 tokens) exceeds the available context size (4096 tokens), "
		"try increasing it");
	capture_free(&capture);

	capture_load(&capture, "aimock-limit.http");
	for (uint32_t at = 0, end; at < capture.head.len; at = end + 1) {
		for (end = at; capture.head.p[end] != '\n'; end++)
			;
		openai_hints_header(&hints, qmt_strn(capture.head.p + at, end + 1 - at));
	}
	openai_error_http(429, capture.body, &hints, wall_ms, NULL, &error);
	assert_string_equal(error.kind, "rate_limited");
	assert_string_equal(error.text, "the upstream answered 429: Rate limit reached");
	assert_int_equal(error.retry_after_ms, 1000);
	capture_free(&capture);
}

static struct openai_error envelope(const char *text)
{
	struct openai_error error;
	struct json *json = NULL;

	assert_int_equal(json_parse(qmt_str(text), &json, NULL), 0);
	openai_error_envelope(json, "sk-secret", &error);
	json_free(json);
	return error;
}

/* Inside a stream, where no status is, a numeric code or the type's name decides. */
static void classes_in_a_stream(void **state)
{
	static const struct {
		const char *error, *kind;
	} rows[] = {
		{"{\"code\":503,\"message\":\"m\"}", "overloaded"},
		{"{\"code\":400,\"type\":\"exceed_context_size_error\",\"message\":\"m\"}", "context_window_exceeded"},
		{"{\"type\":\"rate_limit_error\"}", "rate_limited"},
		{"{\"type\":\"requests\",\"code\":\"rate_limit_exceeded\"}", "rate_limited"},
		{"{\"type\":\"overloaded_error\"}", "overloaded"},
		{"{\"type\":\"invalid_request_error\",\"code\":\"invalid_api_key\"}", "invalid_request"},
		{"{\"type\":\"authentication_error\"}", "authentication"},
		{"{}", "server_error"},
		{"\"boom\"", "server_error"},
		{"7", "server_error"},
		{"[]", "server_error"},
		{"{\"code\":9999999999999,\"message\":5,\"type\":{}}", "server_error"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct openai_error error = envelope(rows[i].error);

		if (strcmp(error.kind, rows[i].kind) != 0)
			fail_msg("%s: got %s, want %s", rows[i].error, error.kind, rows[i].kind);
	}
	assert_int_equal(envelope("{\"message\":\"Please try again in 1.5s.\"}").retry_after_ms, 1500);
	assert_int_equal(envelope("{\"message\":\"try again in 6m0s\"}").retry_after_ms, 360000);
	assert_int_equal(envelope("{\"message\":\"try again in a while\"}").retry_after_ms, 0);
	assert_int_equal(envelope("{\"message\":\"m\",\"retry_after\":2}").retry_after_ms, 2000);
	assert_int_equal(envelope("{\"message\":\"m\",\"retry_after\":-2}").retry_after_ms, 0);
}

/* A text is one short line of whole characters, and the key is never in it. */
static void texts(void **state)
{
	struct qmt_buf body = {0};
	struct openai_error error;

	(void)state;
	error = http(401, "{\"error\":{\"message\":\"Incorrect API key: sk-secret.\\nSee\\tsk-secretsk-secret\\u0007\"}}");
	assert_string_equal(error.text, "the upstream answered 401: Incorrect API key: ***. See ******");
	error = http(500, "plain words");
	assert_string_equal(error.text, "the upstream answered 500: plain words");
	error = http(500, "a\xff\xc3 z\xed\xa0\x80\xc3");
	assert_string_equal(error.text, "the upstream answered 500: a?? z????");
	error = http(500, "<html>page</html>");
	assert_string_equal(error.text, "the upstream answered 500");
	/* at every length: no character is cut, no part of the key shows at the cut */
	for (unsigned pad = 400; pad < 460; pad++) {
		body.len = 0;
		for (unsigned i = 0; i < pad; i++)
			qmt_buf_str(&body, "x");
		qmt_buf_str(&body,
			"sk-secret\xc3\xa4\xf0\x9f\x98\x80\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac tail");
		for (unsigned i = 0; i < 100; i++)
			qmt_buf_str(&body, "\xe2\x82\xac");
		error = http(500, body.data);
		assert_null(strstr(error.text, "sk"));

		size_t len = strlen(error.text), back = 1;

		assert_true(len < OPENAI_ERROR_TEXT && len > 400);
		while (((unsigned char)error.text[len - back] & 0xc0) == 0x80)
			back++;

		unsigned char lead = (unsigned char)error.text[len - back];

		assert_int_equal(back, lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4);
	}
	qmt_buf_free(&body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hints),
		cmocka_unit_test(dates),
		cmocka_unit_test(classes_by_status),
		cmocka_unit_test(captured),
		cmocka_unit_test(classes_in_a_stream),
		cmocka_unit_test(texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
