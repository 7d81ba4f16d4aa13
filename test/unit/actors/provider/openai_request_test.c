/* A request of the contract becomes the body that the wire format asks for, or is refused with the place that is wrong;
 * what the provider decides cannot be set from outside. */
#include "actors/provider/openai_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "proto/json.h"

#define STR(text)             \
	{                         \
		text, sizeof text - 1 \
	}

static const struct chat_tool_call two_calls[] = {
	{.id = STR("c1"), .name = STR("read_tool"), .arguments = STR("{\"path\":\"a\\\"b\"}")},
	{.id = STR("c2"), .name = STR("ls"), .arguments = {0}},
};
static const struct chat_message talk[] = {
	{.role = STR("system"), .content = STR("Be brief.")},
	{.role = STR("user"), .content = STR("Read \"a\".\n\x01")},
	{.role = STR("assistant"), .reasoning = STR("secret thought"), .tool_calls = {two_calls, 2}},
	{.role = STR("tool"), .content = STR("text"), .tool_call_id = STR("c1"), .tool_name = STR("read_tool")},
	{.role = STR("tool"), .content = STR(""), .tool_call_id = STR("c2"), .is_error = true},
	{.role = STR("assistant"), .content = STR("")},
};
static const struct chat_tool tools[] = {
	{.name = STR("read_tool"),
		.description = STR("Reads."),
		.parameters = STR("{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\"}}}")},
	{.name = STR("now")},
};

static struct openai_request base(void)
{
	return (struct openai_request){.model = STR("m"), .messages = talk, .message_count = 2, .limit_bytes = 100000};
}

static void expect_body(const struct openai_request *request, const char *want)
{
	struct qmt_buf body = {0};
	struct qmt_err err = {0};
	struct json *json = NULL;
	int ret = openai_request_body(request, &body, &err);

	if (ret != 0)
		fail_msg("refused: %s", err.text);
	assert_string_equal(body.data, want);
	assert_int_equal(json_parse(qmt_buf_view(&body), &json, NULL), 0);
	json_free(json);
	qmt_buf_free(&body);
}

static void expect_refusal(const struct openai_request *request, int outcome, const char *want)
{
	struct qmt_buf body = {0};
	struct qmt_err err = {0};

	assert_int_equal(openai_request_body(request, &body, &err), outcome);
	assert_null(body.data);
	assert_string_equal(err.text, want);
}

/* Every kind of message and tool has its form; reasoning is not sent; nothing is sent that nobody asked for. */
static void forms(void **state)
{
	struct openai_request request = base();

	(void)state;
	expect_body(&request,
		"{\"model\":\"m\",\"stream\":false,\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},"
		"{\"role\":\"user\",\"content\":\"Read \\\"a\\\".\\n\\u0001\"}]}");
	request.stream = request.stream_usage = true;
	request.messages = talk + 2;
	request.message_count = 4;
	request.tools = tools;
	request.tool_count = 2;
	expect_body(&request,
		"{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"messages\":["
		"{\"role\":\"assistant\",\"content\":null,\"tool_calls\":["
		"{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"read_tool\","
		"\"arguments\":\"{\\\"path\\\":\\\"a\\\\\\\"b\\\"}\"}},"
		"{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"ls\",\"arguments\":\"{}\"}}]},"
		"{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"text\"},"
		"{\"role\":\"tool\",\"tool_call_id\":\"c2\",\"content\":\"\"},"
		"{\"role\":\"assistant\",\"content\":\"\"}],\"tools\":["
		"{\"type\":\"function\",\"function\":{\"name\":\"read_tool\",\"description\":\"Reads.\",\"parameters\":"
		"{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\"}}}}},"
		"{\"type\":\"function\",\"function\":{\"name\":\"now\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}"
		"}]}");
	request.tool_count = 0;
	request.message_count = 1;
	request.messages = talk;
	request.stream_usage = false;
	expect_body(
		&request, "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"}]}");
}

/* Further parameters are copied; the request's bound goes before theirs, theirs before the provider's. */
static void parameters(void **state)
{
	struct openai_request request = base();
	static const char tail[] = ",\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"}]}";
	static const struct {
		const char *parameters;
		uint32_t max, dflt;
		const char *want;
	} rows[] = {
		{"{}", 0, 0, ""},
		{"{\"temperature\":0.7,\"stop\":[\"a\",\"b\"],\"x\":{\"y\":null}}", 0, 0,
			",\"temperature\":0.7,\"stop\":[\"a\",\"b\"],\"x\":{\"y\":null}"},
		{"", 5, 9, ",\"max_tokens\":5"},
		{"", 0, 9, ",\"max_tokens\":9"},
		{"{\"max_tokens\":7}", 0, 9, ",\"max_tokens\":7"},
		{"{\"max_tokens\":7}", 5, 9, ",\"max_tokens\":5"},
		{"{\"max_completion_tokens\":7}", 0, 9, ",\"max_completion_tokens\":7"},
		{"{\"max_completion_tokens\":7}", 5, 9, ",\"max_completion_tokens\":5"},
	};

	(void)state;
	request.message_count = 1;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char want[300];

		request.parameters = qmt_str(rows[i].parameters);
		request.max_tokens = rows[i].max;
		request.default_max_tokens = rows[i].dflt;
		snprintf(want, sizeof want, "{\"model\":\"m\",\"stream\":false%s%s", rows[i].want, tail);
		expect_body(&request, want);
	}
}

/* What the provider or the request decides cannot be set through parameters. */
static void reserved_parameters(void **state)
{
	static const char *const names[] = {"model", "messages", "tools", "stream", "stream_options", "n", "base_url",
		"api_key", "api_base", "extra_headers"};
	struct openai_request request = base();

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char text[100], start[100];
		struct qmt_buf body = {0};
		struct qmt_err err = {0};

		snprintf(text, sizeof text, "{\"temperature\":1,\"%s\":\"x\"}", names[i]);
		snprintf(start, sizeof start, "parameters.%s: cannot be set here: ", names[i]);
		request.parameters = qmt_str(text);
		assert_int_equal(openai_request_body(&request, &body, &err), OPENAI_REQUEST_E_BAD);
		assert_int_equal(strncmp(err.text, start, strlen(start)), 0);
	}
}

/* A bad request is refused with the place. */
static void refusals(void **state)
{
	struct openai_request request = base();
	struct chat_message messages[] = {talk[0], talk[1]};
	struct chat_tool bad_tool[] = {tools[0]};

	(void)state;
	request.message_count = 0;
	expect_refusal(&request, OPENAI_REQUEST_E_BAD, "messages: none");
	request = base();
	request.messages = messages;
	messages[1].role = qmt_str("wizard");
	expect_refusal(
		&request, OPENAI_REQUEST_E_BAD, "messages[1].role: \"wizard\" is not system, user, assistant or tool");
	messages[1].role = (struct qmt_str){0};
	expect_refusal(&request, OPENAI_REQUEST_E_BAD, "messages[1].role: \"\" is not system, user, assistant or tool");
	messages[1].role = qmt_str("tool");
	expect_refusal(
		&request, OPENAI_REQUEST_E_BAD, "messages[1].tool_call_id: missing; a tool message must name its call");
	messages[1] = talk[2];
	messages[1].role = qmt_str("user");
	expect_refusal(&request, OPENAI_REQUEST_E_BAD, "messages[1].tool_calls: only an assistant message makes calls");

	request = base();
	request.tools = bad_tool;
	request.tool_count = 1;
	bad_tool[0].parameters = qmt_str("[]");
	expect_refusal(&request, OPENAI_REQUEST_E_BAD, "tools[0] (read_tool): parameters: must be a JSON object");
	bad_tool[0].name = (struct qmt_str){0};
	expect_refusal(&request, OPENAI_REQUEST_E_BAD, "tools[0].name: missing");

	request = base();
	request.parameters = qmt_str("7");
	expect_refusal(&request, OPENAI_REQUEST_E_BAD, "parameters: must be a JSON object");
	request.parameters = qmt_str("{\"temperature\":}");
	struct qmt_buf body = {0};
	struct qmt_err err = {0};

	assert_int_equal(openai_request_body(&request, &body, &err), OPENAI_REQUEST_E_BAD);
	assert_non_null(strstr(err.text, "parameters: line 1"));

	request = base();
	request.limit_bytes = 60;
	expect_refusal(&request, OPENAI_REQUEST_E_TOO_LARGE, "the request is over 60 bytes (request_limit_bytes)");
}

int main(void)
{
	const struct CMUnitTest tests_all[] = {
		cmocka_unit_test(forms),
		cmocka_unit_test(parameters),
		cmocka_unit_test(reserved_parameters),
		cmocka_unit_test(refusals),
	};

	return cmocka_run_group_tests(tests_all, NULL, NULL);
}
