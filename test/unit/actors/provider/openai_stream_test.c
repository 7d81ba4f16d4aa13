/* What an upstream answers becomes numbered pieces and one finish: captured answers of real servers, and each oddity
 * that is known. */
#include "actors/provider/openai_stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "actors/provider/provider.h"
#include "actors/provider/sse.h"
#include "test/lib/capture.h"

struct answer {
	struct openai_stream stream;
	struct qmt_buf text, reasoning, deltas; /* deltas: "index:id:name:arguments;" */
	uint32_t chunks;
	int end; /* OPENAI_DONE, OPENAI_FAILED, or 0: none yet */
};

static void take(struct answer *answer, int event, const struct provider_chunk *chunk)
{
	if (event == OPENAI_DONE || event == OPENAI_FAILED)
		answer->end = event;
	if (event != OPENAI_CHUNK)
		return;
	answer->chunks++;
	qmt_buf_append(&answer->text, chunk->text.p, chunk->text.len);
	qmt_buf_append(&answer->reasoning, chunk->reasoning.p, chunk->reasoning.len);
	for (uint32_t i = 0; i < chunk->tools.count; i++) {
		const struct provider_tool_delta *delta = &chunk->tools.items[i];

		qmt_buf_printf(&answer->deltas, "%u:%.*s:%.*s:%.*s;", delta->index, QMT_STR_ARG(delta->id),
			QMT_STR_ARG(delta->name), QMT_STR_ARG(delta->arguments));
	}
}

static int on_event(void *arg, struct qmt_str data)
{
	struct answer *answer = arg;
	struct provider_chunk chunk;

	take(answer, openai_stream_event(&answer->stream, data, &chunk), &chunk);
	return answer->end != 0;
}

static void answer_init(struct answer *answer)
{
	*answer = (struct answer){0};
	openai_stream_init(&answer->stream, qmt_str("request-1"), "sk-secret", 8);
	qmt_buf_str(&answer->text, "");
	qmt_buf_str(&answer->reasoning, "");
	qmt_buf_str(&answer->deltas, "");
}

static void answer_free(struct answer *answer)
{
	openai_stream_fini(&answer->stream);
	qmt_buf_free(&answer->text);
	qmt_buf_free(&answer->reasoning);
	qmt_buf_free(&answer->deltas);
}

/* Feeds events, one a line, each without "data: ". */
static void feed_lines(struct answer *answer, const char *lines)
{
	for (const char *end; answer->end == 0 && (end = strchr(lines, '\n')); lines = end + 1)
		on_event(answer, qmt_strn(lines, (size_t)(end - lines)));
}

static void feed_capture(struct answer *answer, const char *name)
{
	struct capture capture;
	struct sse sse;

	capture_load(&capture, name);
	sse_init(&sse, 65536, 65536, on_event, answer);
	assert_true(sse_feed(&sse, capture.body.p, capture.body.len) == SSE_E_STOPPED); /* by [DONE] */
	sse_fini(&sse);
	capture_free(&capture);
}

static void expect_usage(
	const struct chat_usage *usage, uint64_t input, uint64_t output, uint64_t cached, uint64_t reasoning)
{
	assert_int_equal(usage->input_tokens, input);
	assert_int_equal(usage->output_tokens, output);
	assert_int_equal(usage->cached_tokens, cached);
	assert_int_equal(usage->reasoning_tokens, reasoning);
}

/* A real llama-server's text: one piece an event, usage from the event without choices, cached tokens counted once. */
static void llama_text(void **state)
{
	struct answer answer;
	struct provider_finish finish;

	(void)state;
	answer_init(&answer);
	feed_capture(&answer, "sid-chat-stream.http");
	assert_int_equal(answer.end, OPENAI_DONE);
	assert_string_equal(answer.text.data, "Anna, can I play with your");
	assert_int_equal(answer.chunks, 12);
	assert_int_equal(openai_stream_finish(&answer.stream, &finish), OPENAI_DONE);
	assert_true(qmt_str_is(finish.reason, "length"));
	assert_true(qmt_str_is(finish.model, "stories260k"));
	expect_usage(&finish.usage, 1, 12, 28, 0);
	answer_free(&answer);
}

/* A real llama-server's parallel calls: the pieces of each add up to its whole arguments. */
static void llama_parallel_calls(void **state)
{
	struct answer answer;
	struct provider_finish finish;

	(void)state;
	answer_init(&answer);
	feed_capture(&answer, "sid-agent-tools-parallel-stream.http");
	assert_int_equal(openai_stream_finish(&answer.stream, &finish), OPENAI_DONE);
	assert_true(qmt_str_is(finish.reason, "tool_calls"));
	assert_int_equal(finish.tool_calls.count, 3);
	assert_true(qmt_str_is(finish.tool_calls.items[0].id, "ekP97WuhzfP1HHFq6mFXd80pDdeDkzLP"));
	assert_true(qmt_str_is(finish.tool_calls.items[0].name, "list_dir"));
	assert_true(qmt_str_is(finish.tool_calls.items[0].arguments, "{\"dir\":\"src\"}"));
	assert_true(qmt_str_is(finish.tool_calls.items[1].arguments, "{\"dir\":\"src\"}"));
	assert_true(qmt_str_is(finish.tool_calls.items[2].arguments, "{\"dir\":\"test\"}"));
	assert_int_equal(strncmp(answer.deltas.data, "0:ekP97WuhzfP1HHFq6mFXd80pDdeDkzLP:list_dir:{;0:::\";0:::d;", 56), 0);
	expect_usage(&finish.usage, 0, 0, 0, 0); /* this capture has none */
	answer_free(&answer);
}

/* Reasoning is apart from text; empty deltas are no pieces. */
static void reasoning(void **state)
{
	struct answer answer;
	struct provider_finish finish;

	(void)state;
	answer_init(&answer);
	feed_capture(&answer, "aimock-think.http");
	assert_string_equal(answer.reasoning.data, "I should think first.");
	assert_string_equal(answer.text.data, "42");
	assert_int_equal(answer.chunks, 3);
	assert_int_equal(openai_stream_finish(&answer.stream, &finish), OPENAI_DONE);
	assert_true(qmt_str_is(finish.reason, "stop"));
	expect_usage(&finish.usage, 2, 1, 0, 0);
	answer_free(&answer);

	answer_init(&answer);
	feed_lines(&answer,
		"{\"choices\":[{\"delta\":{\"reasoning\":\"same\",\"reasoning_content\":\"same\"}}]}\n"
		"{\"choices\":[{\"delta\":{\"reasoning\":\" more\"}}]}\n"
		"{\"choices\":[{\"delta\":{\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":\" "
		"parts\"}]},"
		"{\"type\":\"text\",\"text\":\"Hello\"},{\"type\":\"image\"},{\"type\":\"text\",\"text\":\" you\"}]}}]}\n");
	assert_string_equal(answer.reasoning.data, "same more parts");
	assert_string_equal(answer.text.data, "Hello you");
	answer_free(&answer);
}

/* Text and calls in one answer. */
static void text_and_calls(void **state)
{
	struct answer answer;
	struct provider_finish finish;

	(void)state;
	answer_init(&answer);
	feed_capture(&answer, "aimock-tool.http");
	assert_string_equal(answer.text.data, "Let me look.");
	assert_string_equal(
		answer.deltas.data, "0:call_a:read_file:;0:::{\"path\":\"a.c\"};1:call_b:list_dir:;1:::{\"dir\":\"src\"};");
	assert_int_equal(openai_stream_finish(&answer.stream, &finish), OPENAI_DONE);
	assert_int_equal(finish.tool_calls.count, 2);
	answer_free(&answer);
}

#define CALLS(pieces) "{\"choices\":[{\"delta\":{\"tool_calls\":[" pieces "]}}]}\n"
#define END(reason) "{\"choices\":[{\"delta\":{},\"finish_reason\":\"" reason "\"}]}\n"

/* Each odd way of sending tool calls still gives whole calls with distinct ids. */
static void odd_calls(void **state)
{
	static const struct {
		const char *lines, *deltas;
	} rows[] = {
		/* no index at all */
		{CALLS("{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}")
				CALLS("{\"function\":{\"arguments\":\"}\"}}")
					CALLS("{\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}"),
			"0:a:f:{;0:::};1:b:g:{};"},
		/* index 0 for each of several calls, also in one event */
		{CALLS("{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},"
			   "{\"index\":0,\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}"),
			"0:a:f:{};1:b:g:{};"},
		/* the id again with every piece */
		{CALLS("{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}")
				CALLS("{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"}\"}}"),
			"0:a:f:{;0:::};"},
		/* other ids in later pieces, without a name */
		{CALLS("{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}")
				CALLS("{\"index\":0,\"id\":\"zzz\",\"function\":{\"arguments\":\"}\"}}"),
			"0:a:f:{;0:::};"},
		/* holes and disorder in the indexes */
		{CALLS("{\"index\":7,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}},"
			   "{\"index\":2,\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":\"{\"}},"
			   "{\"index\":7,\"function\":{\"arguments\":\"}\"}},{\"index\":2,\"function\":{\"arguments\":\"}\"}}"),
			"0:a:f:{;1:b:g:{;0:::};1:::};"},
		/* arguments as an object */
		{CALLS("{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1}}},"
			   "{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"f\",\"arguments\":{\"y\":[2]}}}"),
			"0:a:f:{\"x\":1};1:b:f:{\"y\":[2]};"},
		{CALLS("{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}"), "0:a:f:;"},
		{CALLS("{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\"}}"), "0:a:f:;"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct answer answer;
		struct provider_finish finish;

		answer_init(&answer);
		feed_lines(&answer, rows[i].lines);
		assert_int_equal(answer.end, 0);
		assert_string_equal(answer.deltas.data, rows[i].deltas);
		feed_lines(&answer, END("stop")); /* "stop" although there are calls */
		assert_true(openai_stream_may_end(&answer.stream));
		assert_int_equal(openai_stream_finish(&answer.stream, &finish), OPENAI_DONE);
		assert_true(qmt_str_is(finish.reason, "tool_calls"));
		for (uint32_t j = 0; j < finish.tool_calls.count; j++) {
			struct json *arguments = NULL;

			assert_int_equal(json_parse(finish.tool_calls.items[j].arguments, &arguments, NULL), 0);
			json_free(arguments);
		}
		answer_free(&answer);
	}
}

/* A call without an id gets one that fits into 40 characters, differs from the others, and is the same in delta and
 * finish. */
static void made_ids(void **state)
{
	struct answer answer;
	struct provider_finish finish;
	char want[200];

	(void)state;
	answer_init(&answer);
	feed_lines(&answer,
		CALLS("{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},"
			  "{\"index\":1,\"function\":{\"name\":\"g\"}}") END("tool_calls"));
	assert_int_equal(openai_stream_finish(&answer.stream, &finish), OPENAI_DONE);

	struct qmt_str a = finish.tool_calls.items[0].id, b = finish.tool_calls.items[1].id;

	assert_in_range(a.len, 6, 40);
	assert_false(qmt_str_eq(a, b));
	snprintf(want, sizeof want, "0:%.*s:f:{};1:%.*s:g:;", QMT_STR_ARG(a), QMT_STR_ARG(b));
	assert_string_equal(answer.deltas.data, want);
	answer_free(&answer);
}

/* Finish reasons of all servers end in those of the contract; an end that contradicts itself is an error to retry. */
static void reasons(void **state)
{
	static const struct {
		const char *lines, *reason;
	} rows[] = {
		{"{\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n", "stop"},
		{END("length"), "length"},
		{END("max_tokens"), "length"},
		{END("content_filter"), "content_filter"},
		{END("eos"), "stop"},
		{"{\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"tool_calls\"}]}\n", "stop"},
		{"[DONE]\n", "stop"},
		{END("tool_calls"), NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct answer answer;
		struct provider_finish finish;

		answer_init(&answer);
		feed_lines(&answer, rows[i].lines);
		assert_int_equal(openai_stream_finish(&answer.stream, &finish), rows[i].reason ? OPENAI_DONE : OPENAI_FAILED);
		if (rows[i].reason)
			assert_true(qmt_str_is(finish.reason, rows[i].reason));
		else
			assert_string_equal(answer.stream.error.kind, "malformed");
		answer_free(&answer);
	}
	struct answer answer;

	answer_init(&answer);
	feed_lines(&answer, "{\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}\n");
	assert_false(openai_stream_may_end(&answer.stream));
	answer_free(&answer);
}

/* Usage: maximum over several reports, details taken out, nonsense is no number. */
static void usage(void **state)
{
	struct answer answer;
	struct provider_finish finish;

	(void)state;
	answer_init(&answer);
	feed_lines(&answer,
		"{\"choices\":[],\"usage\":null}\n"
		"{\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":1}}\n"
		"{\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":9,"
		"\"completion_tokens_details\":{\"reasoning_tokens\":4},\"prompt_cache_hit_tokens\":3}}\n"
		"{\"choices\":[],\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":\"many\",\"prompt_tokens_details\":7}}\n"
		"{\"choices\":[],\"usage\":[]}\n[DONE]\n");
	assert_int_equal(answer.end, OPENAI_DONE);
	assert_int_equal(openai_stream_finish(&answer.stream, &finish), OPENAI_DONE);
	expect_usage(&finish.usage, 10, 5, 3, 4);
	answer_free(&answer);
}

/* Bytes that make no sense, envelopes of errors, and answers over the limits end in an error with its class. */
static void failures(void **state)
{
	static const struct {
		const char *lines, *kind;
	} rows[] = {
		{"{\"choices\":[{\"delta\":\n", "malformed"},
		{"{\"error\":{\"message\":sk-secret\xf0\xf0}}\n",
			"malformed"}, /* the parser quotes what it does not understand */
		{"[1]\n", "malformed"},
		{"null\n", "malformed"},
		{"\"text\"\n", "malformed"},
		{"{\"error\":{\"code\":503,\"message\":\"full\"}}\n", "overloaded"},
		{"{\"error\":\"boom sk-secret\"}\n", "server_error"},
		{CALLS("{\"index\":0,\"id\":\"a\"}"), "malformed"},
		{CALLS("7"), "malformed"},
		{CALLS("{\"index\":0,\"function\":{\"name\":\"f\"}},{\"index\":1,\"function\":{\"name\":\"f\"}},"
			   "{\"index\":2,\"function\":{\"name\":\"f\"}},"
			   "{\"index\":3,\"function\":{\"name\":\"f\"}},{\"index\":4,\"function\":{\"name\":\"f\"}}")
				CALLS("{\"index\":5,\"function\":{\"name\":\"f\"}},"
					  "{\"index\":6,\"function\":{\"name\":\"f\"}},{\"index\":7,\"function\":{\"name\":\"f\"}},"
					  "{\"index\":8,\"function\":{\"name\":\"f\"}}"),
			"malformed"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct answer answer;

		answer_init(&answer);
		feed_lines(&answer, rows[i].lines);
		assert_int_equal(answer.end, OPENAI_FAILED);
		assert_string_equal(answer.stream.error.kind, rows[i].kind);
		assert_null(strstr(answer.stream.error.text, "sk-secret"));
		answer_free(&answer);
	}
}

/* Events that say nothing known are read over. */
static void harmless(void **state)
{
	struct answer answer;

	(void)state;
	answer_init(&answer);
	feed_lines(&answer,
		"\n{}\n{\"choices\":null}\n{\"choices\":{}}\n{\"choices\":[7,null,{}]"
		"}\n{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}}]}\n"
		"{\"choices\":[{\"delta\":null}]"
		"}\n{\"choices\":[{\"delta\":{\"content\":5,\"tool_calls\":null,\"reasoning\":{}}}]}\n"
		"{\"error\":null,\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[]}}]"
		"}\n{\"ping\":1}\n");
	assert_int_equal(answer.end, 0);
	assert_int_equal(answer.chunks, 0);
	answer_free(&answer);
}

static int whole(struct answer *answer, const char *body)
{
	struct provider_chunk chunk;
	int event = openai_stream_whole(&answer->stream, qmt_str(body), &chunk);

	take(answer, event, &chunk);
	return event;
}

/* An answer that is not streamed goes the same way. */
static void whole_answers(void **state)
{
	struct answer answer;
	struct provider_finish finish;
	struct capture capture;
	struct provider_chunk chunk;

	(void)state;
	answer_init(&answer);
	capture_load(&capture, "sid-agent-tool-result.http");
	assert_int_equal(openai_stream_whole(&answer.stream, capture.body, &chunk), OPENAI_CHUNK);
	assert_true(qmt_str_is(chunk.text, "the agent can read the agent."));
	assert_int_equal(openai_stream_finish(&answer.stream, &finish), OPENAI_DONE);
	expect_usage(&finish.usage, 66, 8, 513, 0);
	capture_free(&capture);
	answer_free(&answer);

	answer_init(&answer);
	assert_int_equal(
		whole(&answer,
			"{\"model\":\"m\",\"choices\":[{\"message\":{\"content\":null,\"reasoning_content\":\"hm\",\"tool_calls\":["
			"{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},"
			"{\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}"
			",\"finish_reason\":\"tool_calls\"}]}"),
		OPENAI_CHUNK);
	assert_string_equal(answer.reasoning.data, "hm");
	assert_string_equal(answer.deltas.data, "0:a:f:{};1:b:g:{};");
	answer_free(&answer);

	answer_init(&answer);
	assert_int_equal(whole(&answer, "{\"choices\":[{\"message\":{\"content\":\"\"}}]}"), OPENAI_NOTHING);
	assert_int_equal(openai_stream_finish(&answer.stream, &finish), OPENAI_DONE);
	answer_free(&answer);

	static const char *const bad[] = {"", "{}", "{\"choices\":[]}", "<html>", "{\"error\":{\"message\":\"m\"}}"};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		answer_init(&answer);
		assert_int_equal(whole(&answer, bad[i]), OPENAI_FAILED);
		answer_free(&answer);
	}
}

/* Lists of models: both forms that servers use, bounded; what is no list is an error. */
static void models(void **state)
{
	struct json *json;
	struct qmt_str *items;
	uint32_t count;
	struct openai_error error;

	(void)state;
	assert_int_equal(openai_models(qmt_str("{\"data\":[{\"id\":\"a\"},{},7,{\"id\":\"b\"},{\"id\":\"c\"}]}"), 4, NULL,
						 &json, &items, &count, &error),
		0);
	assert_int_equal(count, 2);
	assert_true(qmt_str_is(items[0], "a") && qmt_str_is(items[1], "b"));
	free(items);
	json_free(json);
	assert_int_equal(openai_models(qmt_str("{\"data\":[]}"), 4, NULL, &json, &items, &count, &error), 0);
	assert_int_equal(count, 0);
	free(items);
	json_free(json);
	assert_int_equal(openai_models(qmt_str("{\"data\":{}}"), 4, NULL, &json, &items, &count, &error), OPENAI_FAILED);
	assert_string_equal(error.kind, "malformed");
	assert_int_equal(openai_models(qmt_str("nope"), 4, NULL, &json, &items, &count, &error), OPENAI_FAILED);
	assert_int_equal(openai_models(qmt_str("{\"error\":{\"type\":\"authentication_error\"}}"), 4, NULL, &json, &items,
						 &count, &error),
		OPENAI_FAILED);
	assert_string_equal(error.kind, "authentication");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(llama_text),
		cmocka_unit_test(llama_parallel_calls),
		cmocka_unit_test(reasoning),
		cmocka_unit_test(text_and_calls),
		cmocka_unit_test(odd_calls),
		cmocka_unit_test(made_ids),
		cmocka_unit_test(reasons),
		cmocka_unit_test(usage),
		cmocka_unit_test(failures),
		cmocka_unit_test(harmless),
		cmocka_unit_test(whole_answers),
		cmocka_unit_test(models),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
