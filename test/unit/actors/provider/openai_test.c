/* The openai provider against a server that does what a script says: whatever the server does, the asker gets numbered
 * chunks and one end with the right class, and a server that misbehaves is left at once. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "test/lib/capture.h"
#include "test/lib/openai_fixture.h"

/* ---- streams ----------------------------------------------------------------------------------------------------- */

/* A real server's bytes, one at a time: the text, its usage, and a request as the wire format asks for it. */
static void streams_text(void **state)
{
	struct openai_fixture f;
	struct capture capture;
	const struct probe_answer *answer;
	const char *request;

	(void)state;
	capture_load(&capture, "raw-chunked-agent.http");

	const struct http_step script[] = {{HTTP_CRUMBS, capture.all.data, capture.all.len}, DO(END)};

	openai_fixture_open(&f);
	answer = openai_fixture_chat(&f, script);
	assert_true(answer->accepted);
	assert_string_equal(answer->text.data, " the agent.");
	assert_int_equal(answer->chunks, 3);
	assert_string_equal(answer->reason, "length");
	assert_string_equal(answer->model, "agent");
	assert_int_equal(answer->usage.input_tokens, 6);
	assert_int_equal(answer->usage.output_tokens, 3);
	assert_int_equal(answer->usage.cached_tokens, 2);

	request = http_stub_request(f.stub, 0, WAIT_MS);
	assert_non_null(request);
	assert_int_equal(strncmp(request, "POST /v1/chat/completions HTTP/1.1\r\n", 36), 0);
	assert_non_null(strstr(request, "\r\nAuthorization: Bearer sk-test-key\r\n"));
	assert_non_null(strstr(request, "\r\nContent-Type: application/json\r\n"));
	assert_non_null(strstr(request, "\r\nAccept: text/event-stream\r\n"));
	assert_string_equal(strstr(request, "\r\n\r\n") + 4,
		"{\"model\":\"default-model\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
		"\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}");
	openai_fixture_close(&f);
	capture_free(&capture);
}

/* Parallel tool calls of a real server. */
static void streams_parallel_calls(void **state)
{
	struct openai_fixture f;
	struct capture capture;
	const struct probe_answer *answer;

	(void)state;
	capture_load(&capture, "sid-agent-tools-parallel-stream.http");

	const struct http_step script[] = {
		SEND("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"),
		{HTTP_SEND, capture.body.p, capture.body.len}, DO(CLOSE)};

	openai_fixture_open(&f);
	answer = openai_fixture_chat(&f, script);
	assert_string_equal(answer->reason, "tool_calls");
	assert_string_equal(answer->calls.data,
		"ekP97WuhzfP1HHFq6mFXd80pDdeDkzLP:list_dir:{\"dir\":\"src\"};KYJVaEx3rvlNDHhRLl3sc7XOxh0cxfBo:list_dir:"
		"{\"dir\":\"src\"};"
		"mB2MjySR61FuIGXEu5RXPNdbVTPdslwN:list_dir:{\"dir\":\"test\"};");
	openai_fixture_close(&f);
	capture_free(&capture);
}

/* A conversation of megabytes goes out whole, without waiting for a go-ahead that many servers never give. */
static void long_conversation(void **state)
{
	enum { BYTES = 3 << 20 };
	static const struct http_step script[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") DONE), LAST_CHUNK, DO(END)};
	struct openai_fixture f;
	char *text = malloc(BYTES + 1);
	const char *request;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', BYTES);
	text[BYTES] = '\0';
	openai_fixture_open(&f);
	openai_fixture_start(&f);
	http_stub_script(f.stub, script);
	probe_chat(f.probe, "r", text);
	assert_string_equal(openai_fixture_ended(&f, "r")->text.data, "a");
	request = http_stub_request(f.stub, 0, WAIT_MS);
	assert_non_null(request);
	assert_null(strstr(request, "\r\nExpect:"));
	assert_non_null(strstr(request, text));
	openai_fixture_close(&f);
	free(text);
}

/* Each event is passed on at once, not when the next bytes come. */
static void passes_on_at_once(void **state)
{
	static const struct http_step script[] = {SEND(HEAD_SSE), CHUNK(TEXT("one")), DO(WAIT), CHUNK(TEXT(" two")),
		DO(WAIT), CHUNK(FINISH("stop") USAGE DONE), LAST_CHUNK, DO(END)};
	struct openai_fixture f;

	(void)state;
	openai_fixture_open(&f);
	openai_fixture_start(&f);
	http_stub_script(f.stub, script);
	probe_chat(f.probe, "r", "hello");
	assert_non_null(probe_accepted(f.probe, "r", WAIT_MS));
	assert_true(probe_has_text(f.probe, "r", 3, WAIT_MS));
	http_stub_release(f.stub, 0);
	assert_true(probe_has_text(f.probe, "r", 7, WAIT_MS));
	http_stub_release(f.stub, 0);
	assert_string_equal(openai_fixture_ended(&f, "r")->reason, "stop");
	assert_int_equal(openai_fixture_ended(&f, "r")->usage.input_tokens, 5);
	openai_fixture_close(&f);
}

/* The ask is answered before the first piece of text, when the upstream has answered. */
static void accepts_on_the_head(void **state)
{
	static const struct http_step script[] = {
		SEND(HEAD_SSE), DO(WAIT), CHUNK(FINISH("stop") DONE), LAST_CHUNK, DO(END)};
	struct openai_fixture f;

	(void)state;
	openai_fixture_open(&f);
	openai_fixture_start(&f);
	http_stub_script(f.stub, script);
	probe_chat(f.probe, "r", "hello");
	assert_non_null(probe_accepted(f.probe, "r", WAIT_MS));
	http_stub_release(f.stub, 0);
	assert_int_equal(openai_fixture_ended(&f, "r")->chunks, 0);
	openai_fixture_close(&f);
}

/* Ends of streams that are fine although something is missing. */
static void lenient_ends(void **state)
{
	static const struct http_step no_done[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") FINISH("stop")), LAST_CHUNK, DO(END)};
	static const struct http_step cut_after_reason[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") FINISH("stop")), DO(CLOSE)};
	static const struct http_step done_only[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") DONE), LAST_CHUNK, DO(END)};
	static const struct http_step no_newline[] = {
		SEND(HEAD_SSE), CHUNK(TEXT("a") "data: [DONE]\n"), LAST_CHUNK, DO(END)};
	static const struct http_step crlf[] = {SEND(HEAD_SSE),
		CHUNK(": hi\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\r\ndata: \"a\"}}]}\r\n\r\n"
			  "data: [DONE]\r\n\r\n"),
		LAST_CHUNK, DO(END)};
	static const struct http_step stays_open[] = {
		SEND(HEAD_SSE), CHUNK(TEXT("a") FINISH("stop") DONE), DO(STALL), DO(CLOSE)};
	static const struct http_step json[] = {SEND(HEAD_JSON),
		CHUNK("{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}"), LAST_CHUNK, DO(END)};
	static const struct http_step *const scripts[] = {
		no_done, cut_after_reason, done_only, no_newline, crlf, stays_open, json};

	(void)state;
	for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
		struct openai_fixture f;
		const struct probe_answer *answer;

		openai_fixture_open(&f);
		f.config.drain_timeout_ms = 20;
		answer = openai_fixture_chat(&f, scripts[i]);
		assert_true(answer->accepted);
		assert_string_equal(answer->text.data, "a");
		assert_string_equal(answer->reason, "stop");
		if (scripts[i] == stays_open)
			assert_true(http_stub_gone(f.stub, 0, GONE_MS));
		openai_fixture_close(&f);
	}
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

/* What the upstream refuses comes back as the error of the ask, with its class and the hint when to come back. */
static void refused_by_the_upstream(void **state)
{
#define ERROR(status, headers, body) \
	SEND("HTTP/1.1 " status " x\r\n" headers "Connection: close\r\n\r\n" body), DO(CLOSE)
	static const struct {
		struct http_step script[2];
		const char *kind, *text;
		uint64_t retry_after_ms;
	} rows[] = {
		{{ERROR("401", "", "{\"error\":{\"message\":\"Bad key sk-test-key!\"}}")}, "authentication",
			"provider llama: the upstream answered 401: Bad key ***!", 0},
		{{ERROR("404", "", "{\"error\":{\"message\":\"no model\"}}")}, "not_found", "404: no model", 0},
		{{ERROR("429", "Retry-After: 7\r\n", "{\"error\":{\"message\":\"slow\"}}")}, "rate_limited", "429: slow", 7000},
		{{ERROR("429", "Retry-After: Tue, 24 Nov 2026 05:45:49 GMT\r\nDate: Tue, 24 Nov 2026 05:45:44 GMT\r\n", "")},
			"rate_limited", "429", 5000},
		{{ERROR("429", "retry-after-ms: 30\r\n", "")}, "rate_limited", "429", 30},
		{{ERROR("500", "", "<html>oops</html>")}, "server_error", "500", 0},
		{{ERROR("503", "Retry-After: 1\r\n", "{\"error\":{\"code\":503,\"message\":\"Loading model\"}}")}, "overloaded",
			"Loading model", 1000},
		{{ERROR(
			 "400", "", "{\"error\":{\"code\":400,\"type\":\"exceed_context_size_error\",\"message\":\"too long\"}}")},
			"context_window_exceeded", "too long", 0},
		{{ERROR("200", "Content-Type: text/html\r\n", "<html>a router</html>")}, "malformed", "web page", 0},
		{{ERROR("200", "Content-Type: application/json\r\n", "{\"choices\":")}, "malformed", "line 1", 0},
		{{ERROR("200", "Content-Type: application/json\r\n", "{\"error\":{\"code\":503,\"message\":\"later\"}}")},
			"overloaded", "later", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct openai_fixture f;

		openai_fixture_open(&f);
		openai_fixture_chat(&f, rows[i].script);
		openai_fixture_failed(&f, "r", false, rows[i].kind, rows[i].text);
		assert_int_equal(openai_fixture_ended(&f, "r")->retry_after_ms, rows[i].retry_after_ms);
		assert_null(strstr(openai_fixture_ended(&f, "r")->error, "sk-test-key"));
		openai_fixture_close(&f);
	}
}

/* A stream that breaks, makes no sense or reports an error ends in one finish with its class, and the server is left at
 * once. */
static void broken_streams(void **state)
{
	static const struct http_step cut[] = {SEND(HEAD_SSE), CHUNK(TEXT("a")), DO(CLOSE)};
	static const struct http_step cut_in_event[] = {
		SEND(HEAD_SSE), CHUNK(TEXT("a") "data: {\"choi"), LAST_CHUNK, DO(END)};
	static const struct http_step reset[] = {SEND(HEAD_SSE), CHUNK(TEXT("a")), DO(WAIT), DO(RESET)};
	static const struct http_step no_end[] = {SEND(HEAD_SSE), CHUNK(TEXT("a")), LAST_CHUNK, DO(END)};
	static const struct http_step bad_json[] = {
		SEND(HEAD_SSE), CHUNK(TEXT("a") "data: {\"choices\":\n\n"), DO(STALL), DO(CLOSE)};
	static const struct http_step bad_utf8[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") TEXT("\xff")), DO(STALL), DO(CLOSE)};
	static const struct http_step envelope[] = {SEND(HEAD_SSE),
		CHUNK(TEXT("a") EVENT("{\"error\":{\"code\":429,\"message\":\"full\"}}")), DO(STALL), DO(CLOSE)};
	static const struct http_step bad_chunk[] = {
		SEND(HEAD_SSE), CHUNK(TEXT("a")), SEND("zz\r\n"), DO(STALL), DO(CLOSE)};
	static const struct http_step long_line[] = {
		SEND(HEAD_SSE), CHUNK(TEXT("a") ": "), {HTTP_FLOOD, "5\r\naaaaa\r\n", 0}, DO(CLOSE)};
	static const struct http_step endless[] = {
		SEND(HEAD_SSE), CHUNK(TEXT("a")), {HTTP_FLOOD, "5\r\n: ab\n\r\n", 0}, DO(CLOSE)};
	static const struct http_step no_calls[] = {SEND(HEAD_SSE), CHUNK(FINISH("tool_calls") DONE), DO(STALL), DO(CLOSE)};
	static const struct {
		const struct http_step *script;
		const char *kind, *text;
		bool leaves;
	} rows[] = {
		{cut, "transport", "in the middle of the answer", false},
		{cut_in_event, "transport", "in the middle of the answer", false},
		{reset, "transport", "in the middle of the answer", false},
		{no_end, "transport", "in the middle of the answer", false},
		{bad_json, "malformed", "makes no sense", true},
		{bad_utf8, "malformed", "makes no sense", true},
		{envelope, "rate_limited", "full", true},
		{bad_chunk, "transport", "in the middle of the answer", true},
		{long_line, "malformed", "event_limit_bytes", true},
		{endless, "malformed", "response_limit_bytes", true},
		{no_calls, "malformed", "tool_calls", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct openai_fixture f;

		openai_fixture_open(&f);
		f.config.event_limit_bytes = 10000;
		f.config.response_limit_bytes = 100000;
		openai_fixture_start(&f);
		http_stub_script(f.stub, rows[i].script);
		probe_chat(f.probe, "r", "hello");
		if (rows[i].script == reset) {
			assert_true(probe_has_text(f.probe, "r", 1, WAIT_MS));
			http_stub_release(f.stub, 0);
		}
		openai_fixture_failed(&f, "r", true, rows[i].kind, rows[i].text);
		assert_string_equal(openai_fixture_ended(&f, "r")->text.data, rows[i].script == no_calls ? "" : "a");
		if (rows[i].leaves)
			assert_true(http_stub_gone(f.stub, 0, GONE_MS));
		openai_fixture_close(&f);
	}
}

/* Headers without end are left at the limit. */
static void endless_headers(void **state)
{
	static const struct http_step script[] = {SEND("HTTP/1.1 200 OK\r\n"),
		{HTTP_FLOOD, "X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 0}, DO(CLOSE)};
	struct openai_fixture f;

	(void)state;
	openai_fixture_open(&f);
	openai_fixture_chat(&f, script);
	openai_fixture_failed(&f, "r", false, "malformed", "headers are over 65536 bytes (header_limit_bytes)");
	assert_true(http_stub_gone(f.stub, 0, GONE_MS));
	openai_fixture_close(&f);
}

/* Silence ends at its limit, which is named: before the head, before the first byte, in the middle; so does a stream
 * that never ends. */
static void silence(void **state)
{
	static const struct http_step nothing[] = {DO(STALL), DO(CLOSE)};
	static const struct http_step head[] = {SEND(HEAD_SSE), DO(STALL), DO(CLOSE)};
	static const struct http_step text[] = {SEND(HEAD_SSE), CHUNK(TEXT("a")), DO(STALL), DO(CLOSE)};
	static const struct http_step reason[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") FINISH("stop")), DO(STALL), DO(CLOSE)};
	static const struct {
		const struct http_step *script;
		bool accepted;
		uint32_t first_byte_ms, idle_ms, stream_ms;
		const char *text;
	} rows[] = {
		{nothing, false, 60, 60000, 60000, "no answer within 60 ms (first_byte_timeout_ms)"},
		{head, true, 60, 60000, 60000, "no answer within 60 ms (first_byte_timeout_ms)"},
		{text, true, 60000, 60, 60000, "within 60 ms (idle_timeout_ms)"},
		{text, true, 60000, 60000, 60, "no complete answer within 60 ms (stream_timeout_ms)"},
		{reason, true, 60000, 60, 60000, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct openai_fixture f;

		openai_fixture_open(&f);
		f.config.first_byte_timeout_ms = rows[i].first_byte_ms;
		f.config.idle_timeout_ms = rows[i].idle_ms;
		f.config.stream_timeout_ms = rows[i].stream_ms;
		openai_fixture_chat(&f, rows[i].script);
		if (rows[i].text)
			openai_fixture_failed(&f, "r", rows[i].accepted, "timeout", rows[i].text);
		else
			assert_string_equal(openai_fixture_ended(&f, "r")->reason, "stop"); /* all was said but the usage */
		assert_true(http_stub_gone(f.stub, 0, GONE_MS));
		openai_fixture_close(&f);
	}
}

/* A redirect is not followed: the key and the conversation do not reach another host. */
static void redirect(void **state)
{
	struct openai_fixture f;
	struct http_stub *elsewhere = http_stub_start();
	char answer[200];
	const struct http_step script[] = {SEND(answer), DO(CLOSE)};

	(void)state;
	assert_non_null(elsewhere);
	snprintf(answer, sizeof answer,
		"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:%u/v1/chat/completions\r\nContent-Length: 0\r\n\r\n",
		http_stub_port(elsewhere));
	openai_fixture_open(&f);
	openai_fixture_chat(&f, script);
	openai_fixture_failed(&f, "r", false, "invalid_request", "redirect");
	assert_int_equal(http_stub_connections(elsewhere), 0);
	openai_fixture_close(&f);
	http_stub_stop(elsewhere);
}

/* Nobody listens: said at once, without the address. */
static void no_server(void **state)
{
	struct openai_fixture f;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 &&
		getsockname(fd, (struct sockaddr *)&address, &len) == 0);
	openai_fixture_open(&f);
	snprintf(f.base_url, sizeof f.base_url, "http://127.0.0.1:%u/v1",
		ntohs(address.sin_port)); /* bound, but does not listen */
	openai_fixture_start(&f);
	probe_chat(f.probe, "r", "hello");
	openai_fixture_failed(&f, "r", false, "transport", "no connection (Connection refused)");
	assert_null(strstr(openai_fixture_ended(&f, "r")->error, "127.0.0.1"));
	probe_send(f.probe, &provider_info_type, &(struct provider_info){});
	assert_non_null(strstr(probe_ended(f.probe, "info", WAIT_MS)->error, "no connection (Connection refused)"));
	openai_fixture_close(&f);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_text),
		cmocka_unit_test(streams_parallel_calls),
		cmocka_unit_test(long_conversation),
		cmocka_unit_test(passes_on_at_once),
		cmocka_unit_test(accepts_on_the_head),
		cmocka_unit_test(lenient_ends),
		cmocka_unit_test(refused_by_the_upstream),
		cmocka_unit_test(broken_streams),
		cmocka_unit_test(endless_headers),
		cmocka_unit_test(silence),
		cmocka_unit_test(redirect),
		cmocka_unit_test(no_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
