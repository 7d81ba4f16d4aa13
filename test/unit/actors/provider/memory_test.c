/* The Nth allocation fails, for every N: each pure part then says -ENOMEM, leaks nothing, and never takes it for
 * something else. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "actors/provider/builtin_rules.h"
#include "actors/provider/openai_request.h"
#include "actors/provider/openai_stream.h"
#include "actors/provider/openai_url.h"
#include "actors/provider/script_file.h"
#include "actors/provider/sse.h"
#include "test/lib/failing_memory.h"

/* ---- what is done without memory --------------------------------------------------------------------------------- */

static int ignore(void *arg, struct qmt_str data)
{
	(void)arg;
	(void)data;
	return 0;
}

static int events(void)
{
	static const char *const pieces[] = {"da", "ta: one\ndata: two", "\n\ndata: thr", "ee\n\n", "\xef", "data"};
	struct sse sse;
	int ret = 0;

	sse_init(&sse, 1000, 1000, ignore, NULL);
	for (size_t i = 0; i < sizeof pieces / sizeof *pieces && ret == 0; i++)
		ret = sse_feed(&sse, pieces[i], strlen(pieces[i]));
	if (ret == 0)
		ret = sse_end(&sse);
	sse_fini(&sse);
	return ret;
}

static int answer(void)
{
	static const char calls[] =
		"{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1}}},"
		"{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}}]}";
	static const char *const lines[] = {
		"{\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":[{\"text\":\"a\"},{\"thinking\":\"b\"}]}}]}",
		calls,
		"{\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":3}}",
	};
	struct openai_stream stream;
	struct provider_chunk chunk;
	struct provider_finish finish;
	int ret = 0;

	openai_stream_init(&stream, qmt_str("r"), NULL, 10);
	for (size_t i = 0; i < sizeof lines / sizeof *lines && ret >= 0 && ret != OPENAI_FAILED; i++)
		ret = openai_stream_event(&stream, qmt_str(lines[i]), &chunk);
	if (ret >= 0 && ret != OPENAI_FAILED)
		ret = openai_stream_finish(&stream, &finish);
	openai_stream_fini(&stream);
	return ret == OPENAI_DONE ? 0 : ret;
}

static int models(void)
{
	struct json *json = NULL;
	struct qmt_str *items = NULL;
	struct openai_error error;
	uint32_t count;
	int ret =
		openai_models(qmt_str("{\"data\":[{\"id\":\"a\"},{\"id\":\"b\"}]}"), 5, NULL, &json, &items, &count, &error);

	free(items);
	json_free(json);
	return ret;
}

static int request(void)
{
	struct chat_tool_call call = {.id = qmt_str("c"), .name = qmt_str("f"), .arguments = qmt_str("{}")};
	struct chat_message messages[] = {{.role = qmt_str("user"), .content = qmt_str("hello")},
		{.role = qmt_str("assistant"), .tool_calls = {&call, 1}}};
	struct chat_tool tool = {.name = qmt_str("f"), .parameters = qmt_str("{\"type\":\"object\"}")};
	struct openai_request ask = {.model = qmt_str("m"),
		.messages = messages,
		.message_count = 2,
		.tools = &tool,
		.tool_count = 1,
		.parameters = qmt_str("{\"stop\":[\"a\"]}"),
		.limit_bytes = 10000};
	struct qmt_buf body = {0};
	struct qmt_err err;
	int ret = openai_request_body(&ask, &body, &err);

	qmt_buf_free(&body);
	return ret;
}

static int rules(void)
{
	static const char shell[] = "{\"exit_code\":0,\"stdout\":\"x\",\"stderr\":\"y\"}";
	struct chat_tool tools[] = {{.name = qmt_str("read_tool")}, {.name = qmt_str("shell")}};
	struct chat_tool_call calls[] = {
		{.id = qmt_str("1"), .name = qmt_str("read_tool"), .arguments = qmt_str("{\"path\":\"a\"}")},
		{.id = qmt_str("2"), .name = qmt_str("shell"), .arguments = qmt_str("{\"command\":\"b\"}")}};
	struct chat_message messages[] = {{.role = qmt_str("user"), .content = qmt_str("read a\nrun b")},
		{.role = qmt_str("assistant"), .tool_calls = {calls, 2}},
		{.role = qmt_str("tool"), .tool_call_id = qmt_str("1"), .content = qmt_str("text")},
		{.role = qmt_str("tool"), .tool_call_id = qmt_str("2"), .content = qmt_str(shell)}};
	struct builtin_request ask = {.messages = messages, .tools = tools, .tool_count = 2, .report_limit_bytes = 100};
	int ret = 0;

	for (uint32_t count = 1; count <= 4 && ret == 0; count += 3) { /* the calls, then the report */
		struct builtin_reply reply;

		ask.message_count = count;
		ret = builtin_reply_make(&ask, &reply);
		if (ret == 0 && count == 1)
			assert_int_equal(reply.call_count, 2);
		builtin_reply_fini(&reply);
	}
	return ret;
}

static int url(void)
{
	struct qmt_err err;
	char *text = NULL;
	int ret = openai_url("http://h:8080/v1/?a=b", "models", &text, &err);

	free(text);
	return ret;
}

static void no_complaint(void *arg, uint32_t line, const char *what, const char *hint)
{
	(void)arg;
	fail_msg("%u: %s (%s)", line, what, hint ? hint : "");
}

static int script(void)
{
	static const char text[] = "model a\nmodel b\nturn when \"x\"\ntext \"one\"\nreasoning \"two\"\ntool f \"{}\"\n"
							   "turn\nerror busy \"three\"\n";
	static const struct script_limits limits = {1000, 10, 1000};
	struct script *read = NULL;
	int ret = script_parse(qmt_str(text), &limits, no_complaint, NULL, &read);

	script_free(read);
	return ret;
}

static void without_memory(void **state)
{
	static const struct {
		const char *name;
		int (*run)(void);
		int refused; /* as bad JSON */
	} parts[] = {
		{"events", events, 0},
		{"answer", answer, OPENAI_FAILED},
		{"models", models, OPENAI_FAILED},
		{"request", request, OPENAI_REQUEST_E_BAD},
		{"rules", rules, 0},
		{"url", url, 0},
		{"script", script, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		int ret = parts[i].run(); /* once, for what libraries keep */
		long before = live, n = 0;

		assert_int_equal(ret, 0);
#ifdef SANITIZED
		continue; /* with all memory only: its own counting is the better one */
#endif
		do {
			failed = false;
			left = n++;
			ret = parts[i].run();
			left = -1;
			if (ret != 0 && ret != -ENOMEM && ret != parts[i].refused)
				fail_msg("%s: without allocation %ld: %d", parts[i].name, n, ret);
			if (live != before)
				fail_msg("%s: without allocation %ld: %ld blocks left", parts[i].name, n, live - before);
		} while (failed && n < 10000);
		assert_int_equal(ret, 0);
		assert_true(n > 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(without_memory)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
