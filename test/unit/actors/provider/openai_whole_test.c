/* The openai provider's answers that are not streams: whole answers, and the list of models. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "test/lib/openai_fixture.h"

/* provider.complete: a whole answer, or an error of the same classes. */
static void whole_answers(void **state)
{
	static const struct http_step fine[] = {SEND(HEAD_JSON),
		{HTTP_CRUMBS,
			"dd\r\n{\"model\":\"m\",\"choices\":[{\"message\":{\"content\":\"hi\",\"tool_calls\":[{\"id\":\"a\","
			"\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}]"
			",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":12345}}\r\n",
			0},
		LAST_CHUNK, DO(END)};
	static const struct http_step limited[] = {
		SEND("HTTP/1.1 429 x\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"), DO(END)};
	static const struct http_step garbage[] = {SEND("HTTP/1.1 200 x\r\nContent-Length: 4\r\n\r\nnope"), DO(END)};
	static const struct http_step cut[] = {SEND("HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\n{"), DO(CLOSE)};
	static const struct http_step stall[] = {
		SEND("HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\n{"), DO(STALL), DO(CLOSE)};
	static const struct http_step huge[] = {
		SEND("HTTP/1.1 200 x\r\nContent-Length: 1000000000\r\n\r\n{"), {HTTP_FLOOD, "aaaaaaaaaaaaaaaa", 0}, DO(CLOSE)};
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
	struct openai_fixture f;

	(void)state;
	openai_fixture_open(&f);
	f.config.complete_timeout_ms = 300;
	f.config.response_limit_bytes = 100000;
	openai_fixture_start(&f);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		http_stub_script(f.stub, rows[i].script);
		probe_send(f.probe, &provider_complete_type,
			&(struct provider_complete){.request = qmt_str(rows[i].id), .messages = {&message, 1}});
		if (rows[i].kind)
			openai_fixture_failed(&f, rows[i].id, false, rows[i].kind, rows[i].text);
		else
			assert_int_equal(openai_fixture_ended(&f, rows[i].id)->fail, 0);
	}

	const struct probe_answer *answer = openai_fixture_ended(&f, "fine");

	assert_string_equal(answer->text.data, "hi");
	assert_string_equal(answer->calls.data, "a:f:{};");
	assert_string_equal(answer->reason, "tool_calls");
	assert_string_equal(answer->model, "m");
	assert_int_equal(answer->usage.output_tokens, 4);
	assert_int_equal(openai_fixture_ended(&f, "limited")->retry_after_ms, 2000);
	assert_non_null(strstr(http_stub_request(f.stub, 0, 0), "\"stream\":false,\"messages\""));
	openai_fixture_close(&f);
}

/* Models are asked for once for all who ask meanwhile and for a while after; a failure is told as such. */
static void info(void **state)
{
	static const struct http_step models[] = {DO(WAIT),
		SEND("HTTP/1.1 200 x\r\nContent-Length: 41\r\n\r\n{\"data\":[{\"id\":\"a\"},{\"id\":\"b\"},{\"id\":1}]}"),
		DO(END)};
	static const struct http_step refused[] = {SEND("HTTP/1.1 401 x\r\nContent-Length: 0\r\n\r\n"), DO(END)};
	static const struct http_step stall[] = {DO(STALL), DO(CLOSE)};
	struct openai_fixture f;
	const struct probe_answer *answer;

	(void)state;
	openai_fixture_open(&f);
	openai_fixture_start(&f);
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
	openai_fixture_close(&f);

	openai_fixture_open(&f);
	f.config.models_cache_ms = 0;
	f.config.info_timeout_ms = 50;
	openai_fixture_start(&f);
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
	openai_fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_answers),
		cmocka_unit_test(info),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
