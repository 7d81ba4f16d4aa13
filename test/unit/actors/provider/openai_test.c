/* The openai provider against a server that does what a script says: whatever the server does, the asker gets numbered chunks and one
 * end with the right class, and the server sees at once when nobody wants its answer any more. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "actors/provider/openai_url.h"
#include "actors/provider/provider.h"
#include "test/lib/capture.h"
#include "test/lib/http_stub.h"
#include "test/lib/provider_probe.h"

enum { WAIT_MS = 10000, GONE_MS = 1000 };

#define HEAD_SSE "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define HEAD_JSON "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
#define EVENT(json) "data: " json "\n\n"
#define TEXT(text) EVENT("{\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"" text "\"}}]}")
#define FINISH(reason) EVENT("{\"choices\":[{\"delta\":{},\"finish_reason\":\"" reason "\"}]}")
#define USAGE EVENT("{\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}")
#define DONE EVENT("[DONE]")
#define SEND(text) {HTTP_SEND, text, 0}
#define CHUNK(text) {HTTP_CHUNK, text, 0}
#define LAST_CHUNK {HTTP_CHUNK, NULL, 0}
#define DO(what) {HTTP_##what, NULL, 0}

struct fixture {
	struct http_stub *stub;
	struct qmt_system *system;
	struct qmt_ctx *outside;
	struct provider_config config;
	char base_url[100];
	struct qmt_ref provider;
	struct probe *probe, *other;
};

/* Config and server; the test may change f->config before start_fixture. */
static void open_fixture(struct fixture *f)
{
	*f = (struct fixture){0};
	f->stub = http_stub_start();
	assert_non_null(f->stub);
	provider_config_init(&f->config, "llama", "openai");
	snprintf(f->base_url, sizeof f->base_url, "http://127.0.0.1:%u/v1/", http_stub_port(f->stub));
	f->config.base_url = f->base_url;
	f->config.api_key = "sk-test-key";
	f->config.model = "default-model";
	f->config.drain_timeout_ms = 5000;
}

static void start_fixture(struct fixture *f)
{
	struct qmt_err err = {0};

	f->system = qmt_system_start(&(struct qmt_system_options){.workers = 2}, &err);
	assert_non_null(f->system);
	f->outside = qmt_outside_open(f->system);
	assert_int_equal(qmt_spawn(f->outside, &provider_openai_desc, &(struct qmt_spawn){.name = "provider/llama", .config = &f->config,
		.restart = QMT_PERMANENT}, &f->provider, &err), 0);
	f->probe = probe_new(f->outside, f->provider);
	f->other = probe_new(f->outside, f->provider);
}

static void close_fixture(struct fixture *f)
{
	struct qmt_err err = {0};

	qmt_outside_close(f->outside);
	if (qmt_system_stop(f->system, WAIT_MS, &err) != 0)
		fail_msg("left: %s", err.text);
	qmt_system_free(f->system);
	http_stub_stop(f->stub);
	probe_free(f->probe);
	probe_free(f->other);
}

static const struct probe_answer *ended(struct fixture *f, const char *id)
{
	const struct probe_answer *answer = probe_ended(f->probe, id, WAIT_MS);

	if (!answer)
		fail_msg("request %s has no end", id);
	assert_false(answer->out_of_order);
	assert_int_equal(answer->finishes, answer->accepted ? 1 : 0);
	return answer;
}

static void expect_failure(struct fixture *f, const char *id, bool accepted, const char *kind, const char *error)
{
	const struct probe_answer *answer = ended(f, id);

	if (answer->accepted != accepted || strcmp(answer->kind, kind) != 0 || !strstr(answer->error, error))
		fail_msg("request %s: accepted %d, kind \"%s\", text \"%s\"; want %d, \"%s\", \"%s\"", id, answer->accepted, answer->kind, answer->error,
			accepted, kind, error);
	assert_int_equal(answer->fail, QMT_FAIL_FAILED);
	if (accepted)
		assert_string_equal(answer->reason, "error");
}

/* One chat against one script, with the config as it is. */
static const struct probe_answer *one_chat(struct fixture *f, const struct http_step *script)
{
	start_fixture(f);
	http_stub_script(f->stub, script);
	probe_chat(f->probe, "r", "hello");
	return ended(f, "r");
}

/* ---- streams ------------------------------------------------------------------------------------------------------ */

/* A real server's bytes, one at a time: the text, its usage, and a request as the wire format asks for it. */
static void streams_text(void **state)
{
	struct fixture f;
	struct capture capture;
	const struct probe_answer *answer;
	const char *request;

	(void)state;
	capture_load(&capture, "raw-chunked-agent.http");

	const struct http_step script[] = {{HTTP_CRUMBS, capture.all.data, capture.all.len}, DO(END)};

	open_fixture(&f);
	answer = one_chat(&f, script);
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
	assert_string_equal(strstr(request, "\r\n\r\n") + 4, "{\"model\":\"default-model\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
		"\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}");
	close_fixture(&f);
	capture_free(&capture);
}

/* Parallel tool calls of a real server. */
static void streams_parallel_calls(void **state)
{
	struct fixture f;
	struct capture capture;
	const struct probe_answer *answer;

	(void)state;
	capture_load(&capture, "sid-agent-tools-parallel-stream.http");

	const struct http_step script[] = {SEND("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"),
		{HTTP_SEND, capture.body.p, capture.body.len}, DO(CLOSE)};

	open_fixture(&f);
	answer = one_chat(&f, script);
	assert_string_equal(answer->reason, "tool_calls");
	assert_string_equal(answer->calls.data, "ekP97WuhzfP1HHFq6mFXd80pDdeDkzLP:list_dir:{\"dir\":\"src\"};KYJVaEx3rvlNDHhRLl3sc7XOxh0cxfBo:list_dir:"
		"{\"dir\":\"src\"};" "mB2MjySR61FuIGXEu5RXPNdbVTPdslwN:list_dir:{\"dir\":\"test\"};");
	close_fixture(&f);
	capture_free(&capture);
}

/* A conversation of megabytes goes out whole, without waiting for a go-ahead that many servers never give. */
static void long_conversation(void **state)
{
	enum { BYTES = 3 << 20 };
	static const struct http_step script[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") DONE), LAST_CHUNK, DO(END)};
	struct fixture f;
	char *text = malloc(BYTES + 1);
	const char *request;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', BYTES);
	text[BYTES] = '\0';
	open_fixture(&f);
	start_fixture(&f);
	http_stub_script(f.stub, script);
	probe_chat(f.probe, "r", text);
	assert_string_equal(ended(&f, "r")->text.data, "a");
	request = http_stub_request(f.stub, 0, WAIT_MS);
	assert_non_null(request);
	assert_null(strstr(request, "\r\nExpect:"));
	assert_non_null(strstr(request, text));
	close_fixture(&f);
	free(text);
}

/* Each event is passed on at once, not when the next bytes come. */
static void passes_on_at_once(void **state)
{
	static const struct http_step script[] = {SEND(HEAD_SSE), CHUNK(TEXT("one")), DO(WAIT), CHUNK(TEXT(" two")), DO(WAIT), CHUNK(FINISH("stop") USAGE DONE),
		LAST_CHUNK, DO(END)};
	struct fixture f;

	(void)state;
	open_fixture(&f);
	start_fixture(&f);
	http_stub_script(f.stub, script);
	probe_chat(f.probe, "r", "hello");
	assert_non_null(probe_accepted(f.probe, "r", WAIT_MS));
	assert_true(probe_has_text(f.probe, "r", 3, WAIT_MS));
	http_stub_release(f.stub, 0);
	assert_true(probe_has_text(f.probe, "r", 7, WAIT_MS));
	http_stub_release(f.stub, 0);
	assert_string_equal(ended(&f, "r")->reason, "stop");
	assert_int_equal(ended(&f, "r")->usage.input_tokens, 5);
	close_fixture(&f);
}

/* The ask is answered before the first piece of text, when the upstream has answered. */
static void accepts_on_the_head(void **state)
{
	static const struct http_step script[] = {SEND(HEAD_SSE), DO(WAIT), CHUNK(FINISH("stop") DONE), LAST_CHUNK, DO(END)};
	struct fixture f;

	(void)state;
	open_fixture(&f);
	start_fixture(&f);
	http_stub_script(f.stub, script);
	probe_chat(f.probe, "r", "hello");
	assert_non_null(probe_accepted(f.probe, "r", WAIT_MS));
	http_stub_release(f.stub, 0);
	assert_int_equal(ended(&f, "r")->chunks, 0);
	close_fixture(&f);
}

/* Ends of streams that are fine although something is missing. */
static void lenient_ends(void **state)
{
	static const struct http_step no_done[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") FINISH("stop")), LAST_CHUNK, DO(END)};
	static const struct http_step cut_after_reason[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") FINISH("stop")), DO(CLOSE)};
	static const struct http_step done_only[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") DONE), LAST_CHUNK, DO(END)};
	static const struct http_step no_newline[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") "data: [DONE]\n"), LAST_CHUNK, DO(END)};
	static const struct http_step crlf[] = {SEND(HEAD_SSE), CHUNK(": hi\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\r\ndata: \"a\"}}]}\r\n\r\n"
		"data: [DONE]\r\n\r\n"), LAST_CHUNK, DO(END)};
	static const struct http_step stays_open[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") FINISH("stop") DONE), DO(STALL), DO(CLOSE)};
	static const struct http_step json[] = {SEND(HEAD_JSON), CHUNK("{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}"), LAST_CHUNK,
		DO(END)};
	static const struct http_step *const scripts[] = {no_done, cut_after_reason, done_only, no_newline, crlf, stays_open, json};

	(void)state;
	for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
		struct fixture f;
		const struct probe_answer *answer;

		open_fixture(&f);
		f.config.drain_timeout_ms = 20;
		answer = one_chat(&f, scripts[i]);
		assert_true(answer->accepted);
		assert_string_equal(answer->text.data, "a");
		assert_string_equal(answer->reason, "stop");
		if (scripts[i] == stays_open)
			assert_true(http_stub_gone(f.stub, 0, GONE_MS));
		close_fixture(&f);
	}
}

/* ---- failures ----------------------------------------------------------------------------------------------------- */

/* What the upstream refuses comes back as the error of the ask, with its class and the hint when to come back. */
static void refused_by_the_upstream(void **state)
{
#define ERROR(status, headers, body) SEND("HTTP/1.1 " status " x\r\n" headers "Connection: close\r\n\r\n" body), DO(CLOSE)
	static const struct {
		struct http_step script[2];
		const char *kind, *text;
		uint64_t retry_after_ms;
	} rows[] = {
		{{ERROR("401", "", "{\"error\":{\"message\":\"Bad key sk-test-key!\"}}")}, "authentication", "provider llama: the upstream answered 401: Bad key ***!", 0},
		{{ERROR("404", "", "{\"error\":{\"message\":\"no model\"}}")}, "not_found", "404: no model", 0},
		{{ERROR("429", "Retry-After: 7\r\n", "{\"error\":{\"message\":\"slow\"}}")}, "rate_limited", "429: slow", 7000},
		{{ERROR("429", "Retry-After: Tue, 24 Nov 2026 05:45:49 GMT\r\nDate: Tue, 24 Nov 2026 05:45:44 GMT\r\n", "")}, "rate_limited", "429", 5000},
		{{ERROR("429", "retry-after-ms: 30\r\n", "")}, "rate_limited", "429", 30},
		{{ERROR("500", "", "<html>oops</html>")}, "server_error", "500", 0},
		{{ERROR("503", "Retry-After: 1\r\n", "{\"error\":{\"code\":503,\"message\":\"Loading model\"}}")}, "overloaded", "Loading model", 1000},
		{{ERROR("400", "", "{\"error\":{\"code\":400,\"type\":\"exceed_context_size_error\",\"message\":\"too long\"}}")}, "context_window_exceeded", "too long", 0},
		{{ERROR("200", "Content-Type: text/html\r\n", "<html>a router</html>")}, "malformed", "web page", 0},
		{{ERROR("200", "Content-Type: application/json\r\n", "{\"choices\":")}, "malformed", "line 1", 0},
		{{ERROR("200", "Content-Type: application/json\r\n", "{\"error\":{\"code\":503,\"message\":\"later\"}}")}, "overloaded", "later", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct fixture f;

		open_fixture(&f);
		one_chat(&f, rows[i].script);
		expect_failure(&f, "r", false, rows[i].kind, rows[i].text);
		assert_int_equal(ended(&f, "r")->retry_after_ms, rows[i].retry_after_ms);
		assert_null(strstr(ended(&f, "r")->error, "sk-test-key"));
		close_fixture(&f);
	}
}

/* A stream that breaks, makes no sense or reports an error ends in one finish with its class, and the server is left at once. */
static void broken_streams(void **state)
{
	static const struct http_step cut[] = {SEND(HEAD_SSE), CHUNK(TEXT("a")), DO(CLOSE)};
	static const struct http_step cut_in_event[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") "data: {\"choi"), LAST_CHUNK, DO(END)};
	static const struct http_step reset[] = {SEND(HEAD_SSE), CHUNK(TEXT("a")), DO(WAIT), DO(RESET)};
	static const struct http_step no_end[] = {SEND(HEAD_SSE), CHUNK(TEXT("a")), LAST_CHUNK, DO(END)};
	static const struct http_step bad_json[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") "data: {\"choices\":\n\n"), DO(STALL), DO(CLOSE)};
	static const struct http_step bad_utf8[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") TEXT("\xff")), DO(STALL), DO(CLOSE)};
	static const struct http_step envelope[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") EVENT("{\"error\":{\"code\":429,\"message\":\"full\"}}")), DO(STALL), DO(CLOSE)};
	static const struct http_step bad_chunk[] = {SEND(HEAD_SSE), CHUNK(TEXT("a")), SEND("zz\r\n"), DO(STALL), DO(CLOSE)};
	static const struct http_step long_line[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") ": "), {HTTP_FLOOD, "5\r\naaaaa\r\n", 0}, DO(CLOSE)};
	static const struct http_step endless[] = {SEND(HEAD_SSE), CHUNK(TEXT("a")), {HTTP_FLOOD, "5\r\n: ab\n\r\n", 0}, DO(CLOSE)};
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
		struct fixture f;

		open_fixture(&f);
		f.config.event_limit_bytes = 10000;
		f.config.response_limit_bytes = 100000;
		start_fixture(&f);
		http_stub_script(f.stub, rows[i].script);
		probe_chat(f.probe, "r", "hello");
		if (rows[i].script == reset) {
			assert_true(probe_has_text(f.probe, "r", 1, WAIT_MS));
			http_stub_release(f.stub, 0);
		}
		expect_failure(&f, "r", true, rows[i].kind, rows[i].text);
		assert_string_equal(ended(&f, "r")->text.data, rows[i].script == no_calls ? "" : "a");
		if (rows[i].leaves)
			assert_true(http_stub_gone(f.stub, 0, GONE_MS));
		close_fixture(&f);
	}
}

/* Headers without end are left at the limit. */
static void endless_headers(void **state)
{
	static const struct http_step script[] = {SEND("HTTP/1.1 200 OK\r\n"), {HTTP_FLOOD, "X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 0}, DO(CLOSE)};
	struct fixture f;

	(void)state;
	open_fixture(&f);
	one_chat(&f, script);
	expect_failure(&f, "r", false, "malformed", "headers are over 65536 bytes (header_limit_bytes)");
	assert_true(http_stub_gone(f.stub, 0, GONE_MS));
	close_fixture(&f);
}

/* Silence ends at its limit, which is named: before the head, before the first byte, in the middle; so does a stream that never ends. */
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
		struct fixture f;

		open_fixture(&f);
		f.config.first_byte_timeout_ms = rows[i].first_byte_ms;
		f.config.idle_timeout_ms = rows[i].idle_ms;
		f.config.stream_timeout_ms = rows[i].stream_ms;
		one_chat(&f, rows[i].script);
		if (rows[i].text)
			expect_failure(&f, "r", rows[i].accepted, "timeout", rows[i].text);
		else
			assert_string_equal(ended(&f, "r")->reason, "stop"); /* all was said but the usage */
		assert_true(http_stub_gone(f.stub, 0, GONE_MS));
		close_fixture(&f);
	}
}

/* A redirect is not followed: the key and the conversation do not reach another host. */
static void redirect(void **state)
{
	struct fixture f;
	struct http_stub *elsewhere = http_stub_start();
	char answer[200];
	const struct http_step script[] = {SEND(answer), DO(CLOSE)};

	(void)state;
	assert_non_null(elsewhere);
	snprintf(answer, sizeof answer, "HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:%u/v1/chat/completions\r\nContent-Length: 0\r\n\r\n",
		http_stub_port(elsewhere));
	open_fixture(&f);
	one_chat(&f, script);
	expect_failure(&f, "r", false, "invalid_request", "redirect");
	assert_int_equal(http_stub_connections(elsewhere), 0);
	close_fixture(&f);
	http_stub_stop(elsewhere);
}

/* Nobody listens: said at once, without the address. */
static void no_server(void **state)
{
	struct fixture f;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 && getsockname(fd, (struct sockaddr *)&address, &len) == 0);
	open_fixture(&f);
	snprintf(f.base_url, sizeof f.base_url, "http://127.0.0.1:%u/v1", ntohs(address.sin_port)); /* bound, but does not listen */
	start_fixture(&f);
	probe_chat(f.probe, "r", "hello");
	expect_failure(&f, "r", false, "transport", "no connection (Connection refused)");
	assert_null(strstr(ended(&f, "r")->error, "127.0.0.1"));
	probe_send(f.probe, &provider_info_type, &(struct provider_info){});
	assert_non_null(strstr(probe_ended(f.probe, "info", WAIT_MS)->error, "no connection (Connection refused)"));
	close_fixture(&f);
	close(fd);
}

/* ---- the asker ends it -------------------------------------------------------------------------------------------- */

/* A cancel ends the request before and in the stream, and the server sees it at once; one by somebody else does nothing. */
static void cancel(void **state)
{
	static const struct http_step before[] = {DO(STALL), DO(CLOSE)};
	static const struct http_step within[] = {SEND(HEAD_SSE), CHUNK(TEXT("a")), DO(WAIT), CHUNK(TEXT("b")), DO(STALL), DO(CLOSE)};
	struct fixture f;
	const struct probe_answer *answer;

	(void)state;
	open_fixture(&f);
	start_fixture(&f);
	http_stub_script(f.stub, before);
	http_stub_script(f.stub, within);
	probe_chat(f.probe, "before", "hello");
	assert_non_null(http_stub_request(f.stub, 0, WAIT_MS));
	probe_cancel(f.probe, "before");
	answer = ended(&f, "before");
	assert_false(answer->accepted);
	assert_int_equal(answer->fail, QMT_FAIL_CANCELLED);
	assert_string_equal(answer->kind, "cancelled");
	assert_true(http_stub_gone(f.stub, 0, GONE_MS));

	probe_chat(f.probe, "within", "hello");
	assert_true(probe_has_text(f.probe, "within", 1, WAIT_MS));
	probe_cancel(f.other, "within");
	probe_cancel(f.other, "no such request");
	/* the other's cancel was handled when its own later request is: then the stream still goes on */
	probe_chat(f.other, "", "hello");
	assert_non_null(probe_ended(f.other, "", WAIT_MS));
	http_stub_release(f.stub, 1);
	assert_true(probe_has_text(f.probe, "within", 2, WAIT_MS));
	probe_cancel(f.probe, "within");
	answer = ended(&f, "within");
	assert_string_equal(answer->reason, "cancelled");
	assert_string_equal(answer->text.data, "ab");
	assert_true(http_stub_gone(f.stub, 1, GONE_MS));
	close_fixture(&f);
}

/* When the sink ends, the server sees that at once, too: before the stream and in it; also when the asker of a whole answer ends. */
static void sink_dies(void **state)
{
	static const struct http_step before[] = {DO(STALL), DO(CLOSE)};
	static const struct http_step within[] = {SEND(HEAD_SSE), CHUNK(TEXT("a")), DO(STALL), DO(CLOSE)};
	struct chat_message message = {.role = qmt_str("user"), .content = qmt_str("hello")};
	struct fixture f;

	(void)state;
	open_fixture(&f);
	start_fixture(&f);
	http_stub_script(f.stub, within);
	http_stub_script(f.stub, before);
	http_stub_script(f.stub, before);
	probe_chat(f.other, "within", "hello");
	assert_true(probe_has_text(f.other, "within", 1, WAIT_MS));
	probe_chat(f.other, "before", "hello");
	assert_non_null(http_stub_request(f.stub, 1, WAIT_MS));
	probe_send(f.other, &provider_complete_type, &(struct provider_complete){.request = qmt_str("whole"), .messages = {&message, 1}});
	assert_non_null(http_stub_request(f.stub, 2, WAIT_MS));
	assert_int_equal(qmt_stop(f.outside, probe_ref(f.other)), 0);
	assert_true(http_stub_gone(f.stub, 0, GONE_MS));
	assert_true(http_stub_gone(f.stub, 1, GONE_MS));
	assert_true(http_stub_gone(f.stub, 2, GONE_MS));
	close_fixture(&f);
}

/* A stop of the provider in the middle of everything leaves nothing behind and answers those that wait. */
static void stop_in_the_middle(void **state)
{
	static const struct http_step before[] = {DO(STALL), DO(CLOSE)};
	static const struct http_step within[] = {SEND(HEAD_SSE), CHUNK(TEXT("a")), DO(STALL), DO(CLOSE)};
	struct fixture f;

	(void)state;
	open_fixture(&f);
	start_fixture(&f);
	http_stub_script(f.stub, within);
	http_stub_script(f.stub, before);
	http_stub_script(f.stub, before);
	probe_chat(f.probe, "within", "hello");
	assert_true(probe_has_text(f.probe, "within", 1, WAIT_MS));
	probe_chat(f.probe, "before", "hello");
	assert_non_null(http_stub_request(f.stub, 1, WAIT_MS));
	probe_send(f.probe, &provider_info_type, &(struct provider_info){});
	assert_non_null(http_stub_request(f.stub, 2, WAIT_MS));
	assert_int_equal(qmt_stop(f.outside, f.provider), 0);
	assert_int_equal(ended(&f, "within")->fail, QMT_FAIL_STOPPING);
	assert_true(ended(&f, "before")->fail != 0);
	assert_non_null(probe_ended(f.probe, "info", WAIT_MS));
	assert_true(http_stub_gone(f.stub, 0, GONE_MS));
	assert_true(http_stub_gone(f.stub, 1, GONE_MS));
	close_fixture(&f);
}

/* ---- several ------------------------------------------------------------------------------------------------------ */

/* Requests run beside each other up to the limit; one more is busy; an end makes room; other askers may use the same ids. */
static void several_at_once(void **state)
{
	static const struct http_step script[] = {SEND(HEAD_SSE), CHUNK(TEXT("a")), DO(WAIT), CHUNK(TEXT("b") FINISH("stop") DONE), LAST_CHUNK, DO(END)};
	struct fixture f;
	const struct probe_answer *answer;

	(void)state;
	open_fixture(&f);
	f.config.max_requests = 2;
	start_fixture(&f);
	for (int i = 0; i < 3; i++)
		http_stub_script(f.stub, script);
	probe_chat(f.probe, "a", "hello");
	assert_true(probe_has_text(f.probe, "a", 1, WAIT_MS));
	probe_chat(f.other, "a", "hello");
	assert_true(probe_has_text(f.other, "a", 1, WAIT_MS));
	probe_chat(f.probe, "c", "hello");
	expect_failure(&f, "c", false, "busy", "max_requests");
	http_stub_release(f.stub, 1);
	answer = probe_ended(f.other, "a", WAIT_MS);
	assert_non_null(answer);
	assert_string_equal(answer->text.data, "ab");
	probe_chat(f.probe, "d", "hello");
	assert_true(probe_has_text(f.probe, "d", 1, WAIT_MS));
	probe_chat(f.probe, "d", "hello"); /* the same id: the first one goes on; its ask is refused under the same name */
	http_stub_release(f.stub, 0);
	http_stub_release(f.stub, 2);
	assert_string_equal(ended(&f, "a")->text.data, "ab");
	close_fixture(&f);
}

/* A stream that ended in order leaves its connection for the next one. */
static void connection_is_used_again(void **state)
{
	static const struct http_step script[] = {SEND(HEAD_SSE), CHUNK(TEXT("a") FINISH("stop") DONE), LAST_CHUNK, DO(END)};
	struct fixture f;

	(void)state;
	open_fixture(&f);
	start_fixture(&f);
	for (unsigned i = 0; i < 4; i++) {
		char id[16];

		snprintf(id, sizeof id, "r%u", i);
		http_stub_script(f.stub, script);
		probe_chat(f.probe, id, "hello");
		assert_string_equal(ended(&f, id)->reason, "stop");
	}
	/* The finish is told at [DONE]; a request that follows at once may come before the end of the connection's answer. */
	assert_in_range(http_stub_connections(f.stub), 1, 3);
	close_fixture(&f);
}

/* ---- whole answers, info, bad requests ---------------------------------------------------------------------------- */

/* provider.complete: a whole answer, or an error of the same classes. */
static void whole_answers(void **state)
{
	static const struct http_step fine[] = {SEND(HEAD_JSON), {HTTP_CRUMBS, "dd\r\n{\"model\":\"m\",\"choices\":[{\"message\":{\"content\":\"hi\",\"tool_calls\":[{\"id\":\"a\","
		"\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":12345}}\r\n", 0}, LAST_CHUNK, DO(END)};
	static const struct http_step limited[] = {SEND("HTTP/1.1 429 x\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"), DO(END)};
	static const struct http_step garbage[] = {SEND("HTTP/1.1 200 x\r\nContent-Length: 4\r\n\r\nnope"), DO(END)};
	static const struct http_step cut[] = {SEND("HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\n{"), DO(CLOSE)};
	static const struct http_step stall[] = {SEND("HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\n{"), DO(STALL), DO(CLOSE)};
	static const struct http_step huge[] = {SEND("HTTP/1.1 200 x\r\nContent-Length: 1000000000\r\n\r\n{"), {HTTP_FLOOD, "aaaaaaaaaaaaaaaa", 0}, DO(CLOSE)};
	static const struct {
		const char *id;
		const struct http_step *script;
		const char *kind, *text;
	} rows[] = {
		{"fine", fine, NULL, NULL},
		{"limited", limited, "rate_limited", "429"},
		{"garbage", garbage, "malformed", "makes no sense"},
		{"cut", cut, "transport", "in the middle of the answer"},
		{"stall", stall, "timeout", "no complete answer within 300 ms (complete_timeout_ms)"},
		{"huge", huge, "malformed", "contents are over 100000 bytes (response_limit_bytes)"},
	};
	struct chat_message message = {.role = qmt_str("user"), .content = qmt_str("hello")};
	struct fixture f;

	(void)state;
	open_fixture(&f);
	f.config.complete_timeout_ms = 300;
	f.config.response_limit_bytes = 100000;
	start_fixture(&f);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		http_stub_script(f.stub, rows[i].script);
		probe_send(f.probe, &provider_complete_type, &(struct provider_complete){.request = qmt_str(rows[i].id), .messages = {&message, 1}});
		if (rows[i].kind)
			expect_failure(&f, rows[i].id, false, rows[i].kind, rows[i].text);
		else
			assert_int_equal(ended(&f, rows[i].id)->fail, 0);
	}

	const struct probe_answer *answer = ended(&f, "fine");

	assert_string_equal(answer->text.data, "hi");
	assert_string_equal(answer->calls.data, "a:f:{};");
	assert_string_equal(answer->reason, "tool_calls");
	assert_string_equal(answer->model, "m");
	assert_int_equal(answer->usage.output_tokens, 4);
	assert_int_equal(ended(&f, "limited")->retry_after_ms, 2000);
	assert_non_null(strstr(http_stub_request(f.stub, 0, 0), "\"stream\":false,\"messages\""));
	close_fixture(&f);
}

/* Models are asked for once for all who ask meanwhile and for a while after; a failure is told as such. */
static void info(void **state)
{
	static const struct http_step models[] = {DO(WAIT), SEND("HTTP/1.1 200 x\r\nContent-Length: 41\r\n\r\n{\"data\":[{\"id\":\"a\"},{\"id\":\"b\"},{\"id\":1}]}"),
		DO(END)};
	static const struct http_step refused[] = {SEND("HTTP/1.1 401 x\r\nContent-Length: 0\r\n\r\n"), DO(END)};
	static const struct http_step stall[] = {DO(STALL), DO(CLOSE)};
	struct fixture f;
	const struct probe_answer *answer;

	(void)state;
	open_fixture(&f);
	start_fixture(&f);
	http_stub_script(f.stub, models);
	probe_send(f.probe, &provider_info_type, &(struct provider_info){});
	assert_non_null(http_stub_request(f.stub, 0, WAIT_MS));
	probe_send(f.other, &provider_info_type, &(struct provider_info){});
	http_stub_release(f.stub, 0);
	answer = probe_ended(f.probe, "info", WAIT_MS);
	assert_non_null(answer);
	assert_string_equal(answer->models.data, "a;b;");
	assert_string_equal(answer->kind, "openai");
	assert_string_equal(answer->error, "");
	answer = probe_ended(f.other, "info", WAIT_MS);
	assert_non_null(answer);
	assert_string_equal(answer->models.data, "a;b;");
	probe_send(f.probe, &provider_info_type, &(struct provider_info){});
	assert_non_null(probe_ended(f.probe, "info", WAIT_MS));
	assert_int_equal(http_stub_requests(f.stub), 1);
	assert_int_equal(strncmp(http_stub_request(f.stub, 0, 0), "GET /v1/models HTTP/1.1\r\n", 25), 0);
	assert_non_null(strstr(http_stub_request(f.stub, 0, 0), "Bearer sk-test-key"));
	close_fixture(&f);

	open_fixture(&f);
	f.config.models_cache_ms = 0;
	f.config.info_timeout_ms = 50;
	start_fixture(&f);
	http_stub_script(f.stub, refused);
	http_stub_script(f.stub, stall);
	probe_send(f.probe, &provider_info_type, &(struct provider_info){});
	answer = probe_ended(f.probe, "info", WAIT_MS);
	assert_non_null(answer);
	assert_string_equal(answer->models.data, "");
	assert_string_equal(answer->error, "the upstream answered 401");
	probe_send(f.probe, &provider_info_type, &(struct provider_info){});
	answer = probe_ended(f.probe, "info", WAIT_MS);
	assert_non_null(answer);
	assert_string_equal(answer->error, "no complete answer within 50 ms (info_timeout_ms)");
	close_fixture(&f);
}

/* A request that is wrong in itself never leaves the node. */
static void bad_requests(void **state)
{
	struct chat_message message = {.role = qmt_str("user"), .content = qmt_str("hello")};
	struct fixture f;
	const struct probe_answer *answer;

	(void)state;
	open_fixture(&f);
	f.config.model = "";
	f.config.request_limit_bytes = 1024;
	start_fixture(&f);
	probe_chat(f.probe, "no model", "hello");
	answer = ended(&f, "no model");
	assert_int_equal(answer->fail, QMT_FAIL_BAD_REQUEST);
	assert_string_equal(answer->error, "provider llama: model: missing; name one in the request, or set model for the provider");
	probe_send(f.probe, &provider_chat_type, &(struct provider_chat){.request = qmt_str("reserved"), .model = qmt_str("m"), .messages = {&message, 1},
		.parameters = qmt_str("{\"base_url\":\"http://evil\"}")});
	answer = ended(&f, "reserved");
	assert_int_equal(answer->fail, QMT_FAIL_BAD_REQUEST);
	assert_string_equal(answer->kind, "invalid_request");

	char big[2000];

	memset(big, 'a', sizeof big);
	message.content = qmt_strn(big, sizeof big);
	probe_send(f.probe, &provider_chat_type, &(struct provider_chat){.request = qmt_str("big"), .model = qmt_str("m"), .messages = {&message, 1}});
	assert_int_equal(ended(&f, "big")->fail, QMT_FAIL_TOO_LARGE);
	assert_int_equal(http_stub_connections(f.stub), 0);
	close_fixture(&f);
}

/* ---- configuration ------------------------------------------------------------------------------------------------ */

/* The address of an endpoint, whatever slashes and queries base_url has; what cannot be one is refused. */
static void urls(void **state)
{
	static const char *const rows[][2] = {
		{"http://h/v1", "http://h/v1/models"},
		{"http://h/v1/", "http://h/v1/models"},
		{"http://h:81/v1//", "http://h:81/v1/models"},
		{"http://h", "http://h/models"},
		{"https://h/a%20b/v1?api-version=1", "https://h/a%20b/v1/models?api-version=1"},
		{"http://[::1]:8080/v1", "http://[::1]:8080/v1/models"},
		{"http://user:pass@h/v1", NULL},
		{"http://h/v1#x", NULL},
		{"http://h:99999/v1", NULL},
		{"http://", NULL},
		{"", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct qmt_err err = {0};
		char *url = NULL;
		int ret = openai_url(rows[i][0], "models", &url, &err);

		if (rows[i][1]) {
			assert_int_equal(ret, 0);
			assert_string_equal(url, rows[i][1]);
		} else {
			assert_true(ret < 0);
			assert_int_equal(strncmp(err.text, "base_url: ", 10), 0);
			assert_null(strstr(err.text, "pass"));
		}
		free(url);
	}
}

/* Every mistake in an entry is refused with the parameter's name; the defaults of every kind are right. */
static void config_checks(void **state)
{
	struct provider_config config;
	struct qmt_err err = {0};

	(void)state;
	provider_config_init(&config, "b", "builtin");
	assert_int_equal(provider_config_check(&config, &err), 0);
	provider_config_init(&config, "o", "openai");
	assert_true(provider_config_check(&config, &err) < 0);
	assert_non_null(strstr(err.text, "base_url: missing"));
	config.base_url = "ftp://h";
	assert_true(provider_config_check(&config, &err) < 0);
	config.base_url = "http://h";
	assert_int_equal(provider_config_check(&config, &err), 0);
	config.api_key = "a\r\nX-Other: b";
	assert_true(provider_config_check(&config, &err) < 0);
	assert_null(strstr(err.text, "X-Other"));
	config.api_key = "";
	config.max_requests = 0;
	assert_true(provider_config_check(&config, &err) < 0);
	assert_string_equal(err.text, "max_requests: 0 is not within 1 to 1024");
	provider_config_init(&config, "x", "mesh");
	assert_true(provider_config_check(&config, &err) < 0);
	provider_config_init(&config, "", "builtin");
	assert_true(provider_config_check(&config, &err) < 0);
	assert_null(provider_desc("mesh"));
	assert_null(provider_desc(NULL));
	assert_true(provider_param_applies("base_url", "openai"));
	assert_false(provider_param_applies("base_url", "builtin"));
	assert_true(provider_param_applies("model", "builtin"));
	assert_false(provider_param_applies("modell", "openai"));
	for (const struct qmt_param *param = provider_params; param->name; param++)
		assert_true(param->dflt && param->doc[0]);
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
		cmocka_unit_test(cancel),
		cmocka_unit_test(sink_dies),
		cmocka_unit_test(stop_in_the_middle),
		cmocka_unit_test(several_at_once),
		cmocka_unit_test(connection_is_used_again),
		cmocka_unit_test(whole_answers),
		cmocka_unit_test(info),
		cmocka_unit_test(bad_requests),
		cmocka_unit_test(urls),
		cmocka_unit_test(config_checks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
