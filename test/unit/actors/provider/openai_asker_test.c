/* Who asked the openai provider can end it and nobody else can; the server sees at once when nobody wants its answer
 * any more; requests do not disturb each other; what is wrong in itself never leaves the node. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "test/lib/openai_fixture.h"

/* ---- the asker ends it ------------------------------------------------------------------------------------------- */

/* A cancel ends the request before and in the stream, and the server sees it at once; one by somebody else does
 * nothing. */
static void cancel(void **state)
{
	static const struct http_step before[] = {DO(STALL), DO(CLOSE)};
	static const struct http_step within[] = {
		SEND(HEAD_SSE), CHUNK(TEXT("a")), DO(WAIT), CHUNK(TEXT("b")), DO(STALL), DO(CLOSE)};
	struct openai_fixture f;
	const struct probe_answer *answer;

	(void)state;
	openai_fixture_open(&f);
	openai_fixture_start(&f);
	http_stub_script(f.stub, before);
	http_stub_script(f.stub, within);
	probe_chat(f.probe, "before", "hello");
	assert_non_null(http_stub_request(f.stub, 0, WAIT_MS));
	probe_cancel(f.probe, "before");
	answer = openai_fixture_ended(&f, "before");
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
	answer = openai_fixture_ended(&f, "within");
	assert_string_equal(answer->reason, "cancelled");
	assert_string_equal(answer->text.data, "ab");
	assert_true(http_stub_gone(f.stub, 1, GONE_MS));
	openai_fixture_close(&f);
}

/* When the sink ends, the server sees that at once, too: before the stream and in it; also when the asker of a whole
 * answer ends. */
static void sink_dies(void **state)
{
	static const struct http_step before[] = {DO(STALL), DO(CLOSE)};
	static const struct http_step within[] = {SEND(HEAD_SSE), CHUNK(TEXT("a")), DO(STALL), DO(CLOSE)};
	struct chat_message message = {.role = qmt_str("user"), .content = qmt_str("hello")};
	struct openai_fixture f;

	(void)state;
	openai_fixture_open(&f);
	openai_fixture_start(&f);
	http_stub_script(f.stub, within);
	http_stub_script(f.stub, before);
	http_stub_script(f.stub, before);
	probe_chat(f.other, "within", "hello");
	assert_true(probe_has_text(f.other, "within", 1, WAIT_MS));
	probe_chat(f.other, "before", "hello");
	assert_non_null(http_stub_request(f.stub, 1, WAIT_MS));
	probe_send(f.other, &provider_complete_type,
		&(struct provider_complete){.request = qmt_str("whole"), .messages = {&message, 1}});
	assert_non_null(http_stub_request(f.stub, 2, WAIT_MS));
	assert_int_equal(qmt_stop(f.outside, probe_ref(f.other)), 0);
	assert_true(http_stub_gone(f.stub, 0, GONE_MS));
	assert_true(http_stub_gone(f.stub, 1, GONE_MS));
	assert_true(http_stub_gone(f.stub, 2, GONE_MS));
	openai_fixture_close(&f);
}

/* A stop of the provider in the middle of everything leaves nothing behind and answers those that wait. */
static void stop_in_the_middle(void **state)
{
	static const struct http_step before[] = {DO(STALL), DO(CLOSE)};
	static const struct http_step within[] = {SEND(HEAD_SSE), CHUNK(TEXT("a")), DO(STALL), DO(CLOSE)};
	struct openai_fixture f;

	(void)state;
	openai_fixture_open(&f);
	openai_fixture_start(&f);
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
	assert_int_equal(openai_fixture_ended(&f, "within")->fail, QMT_FAIL_STOPPING);
	assert_true(openai_fixture_ended(&f, "before")->fail != 0);
	assert_non_null(probe_ended(f.probe, "info", WAIT_MS));
	assert_true(http_stub_gone(f.stub, 0, GONE_MS));
	assert_true(http_stub_gone(f.stub, 1, GONE_MS));
	openai_fixture_close(&f);
}

/* ---- several ----------------------------------------------------------------------------------------------------- */

/* Requests run beside each other up to the limit; one more is busy; an end makes room; other askers may use the same
 * ids. */
static void several_at_once(void **state)
{
	static const struct http_step script[] = {
		SEND(HEAD_SSE), CHUNK(TEXT("a")), DO(WAIT), CHUNK(TEXT("b") FINISH("stop") DONE), LAST_CHUNK, DO(END)};
	struct openai_fixture f;
	const struct probe_answer *answer;

	(void)state;
	openai_fixture_open(&f);
	f.config.max_requests = 2;
	openai_fixture_start(&f);
	for (int i = 0; i < 3; i++)
		http_stub_script(f.stub, script);
	probe_chat(f.probe, "a", "hello");
	assert_true(probe_has_text(f.probe, "a", 1, WAIT_MS));
	probe_chat(f.other, "a", "hello");
	assert_true(probe_has_text(f.other, "a", 1, WAIT_MS));
	probe_chat(f.probe, "c", "hello");
	openai_fixture_failed(&f, "c", false, "busy", "max_requests");
	http_stub_release(f.stub, 1);
	answer = probe_ended(f.other, "a", WAIT_MS);
	assert_non_null(answer);
	assert_string_equal(answer->text.data, "ab");
	probe_chat(f.probe, "d", "hello");
	assert_true(probe_has_text(f.probe, "d", 1, WAIT_MS));
	probe_chat(f.probe, "d", "hello"); /* the same id: the first one goes on; its ask is refused under the same name */
	http_stub_release(f.stub, 0);
	http_stub_release(f.stub, 2);
	assert_string_equal(openai_fixture_ended(&f, "a")->text.data, "ab");
	openai_fixture_close(&f);
}

/* A stream that ended in order leaves its connection for the next one. */
static void connection_is_used_again(void **state)
{
	static const struct http_step script[] = {
		SEND(HEAD_SSE), CHUNK(TEXT("a") FINISH("stop") DONE), LAST_CHUNK, DO(END)};
	struct openai_fixture f;

	(void)state;
	openai_fixture_open(&f);
	openai_fixture_start(&f);
	for (unsigned i = 0; i < 4; i++) {
		char id[16];

		snprintf(id, sizeof id, "r%u", i);
		http_stub_script(f.stub, script);
		probe_chat(f.probe, id, "hello");
		assert_string_equal(openai_fixture_ended(&f, id)->reason, "stop");
	}
	/* The finish is told at [DONE]; a request that follows at once may come before its connection is free. */
	assert_in_range(http_stub_connections(f.stub), 1, 3);
	openai_fixture_close(&f);
}

/* A request that is wrong in itself never leaves the node. */
static void bad_requests(void **state)
{
	struct chat_message message = {.role = qmt_str("user"), .content = qmt_str("hello")};
	struct openai_fixture f;
	const struct probe_answer *answer;

	(void)state;
	openai_fixture_open(&f);
	f.config.model = "";
	f.config.request_limit_bytes = 1024;
	openai_fixture_start(&f);
	probe_chat(f.probe, "no model", "hello");
	answer = openai_fixture_ended(&f, "no model");
	assert_int_equal(answer->fail, QMT_FAIL_BAD_REQUEST);
	assert_string_equal(
		answer->error, "provider llama: model: missing; name one in the request, or set model for the provider");
	probe_send(f.probe, &provider_chat_type,
		&(struct provider_chat){.request = qmt_str("reserved"),
			.model = qmt_str("m"),
			.messages = {&message, 1},
			.parameters = qmt_str("{\"base_url\":\"http://evil\"}")});
	answer = openai_fixture_ended(&f, "reserved");
	assert_int_equal(answer->fail, QMT_FAIL_BAD_REQUEST);
	assert_string_equal(answer->kind, "invalid_request");

	char big[2000];

	memset(big, 'a', sizeof big);
	message.content = qmt_strn(big, sizeof big);
	probe_send(f.probe, &provider_chat_type,
		&(struct provider_chat){.request = qmt_str("big"), .model = qmt_str("m"), .messages = {&message, 1}});
	assert_int_equal(openai_fixture_ended(&f, "big")->fail, QMT_FAIL_TOO_LARGE);
	assert_int_equal(http_stub_connections(f.stub), 0);
	openai_fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cancel),
		cmocka_unit_test(sink_dies),
		cmocka_unit_test(stop_in_the_middle),
		cmocka_unit_test(several_at_once),
		cmocka_unit_test(connection_is_used_again),
		cmocka_unit_test(bad_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
