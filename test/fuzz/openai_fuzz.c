/* test/fuzz/openai_fuzz.c - any lines as the events of an upstream, and as one whole body: what comes out keeps to the
 * contract (text is UTF-8, pieces of calls add up to the calls of the finish, ids differ, classes are known), or is an
 * error. */
#include "actors/provider/openai_error.c"
#include "actors/provider/openai_stream.c"
#include "actors/provider/provider.c"

#define MUST(x)                                                     \
	do {                                                            \
		if (!(x)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                           \
	} while (0)

enum { CALLS_MAX = 6 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* provider.c names them; nothing here starts an actor. */
const struct qmt_actor_desc provider_openai_desc, provider_builtin_desc;

static void check_error(const struct openai_error *error)
{
	bool known = false;

#define KNOWN(name, retry, doc) known |= strcmp(error->kind, #name) == 0;
	PROVIDER_ERRORS(KNOWN)
	MUST(known && error->text[0] && !strstr(error->text, "sk-secret"));
	MUST(utf8_check(qmt_str(error->text)) && error->retry_after_ms <= OPENAI_RETRY_MAX_MS);
}

static void check_chunk(const struct provider_chunk *chunk, struct qmt_buf arguments[CALLS_MAX])
{
	MUST(utf8_check(chunk->text) && utf8_check(chunk->reasoning));
	MUST(chunk->text.len > 0 || chunk->reasoning.len > 0 || chunk->tools.count > 0);
	for (uint32_t i = 0; i < chunk->tools.count; i++) {
		const struct provider_tool_delta *delta = &chunk->tools.items[i];

		MUST(delta->index < CALLS_MAX);
		MUST(utf8_check(delta->id) && utf8_check(delta->name));
		qmt_buf_append(&arguments[delta->index], delta->arguments.p, delta->arguments.len);
	}
}

static void check_finish(struct openai_stream *stream, const struct qmt_buf arguments[CALLS_MAX])
{
	struct provider_finish finish = {0};
	int ret = openai_stream_finish(stream, &finish);

	if (ret == OPENAI_FAILED) {
		check_error(&stream->error);
		return;
	}
	MUST(ret == OPENAI_DONE && finish.tool_calls.count <= CALLS_MAX);
	MUST(finish.tool_calls.count > 0 || !qmt_str_is(finish.reason, "tool_calls"));
	for (uint32_t i = 0; i < finish.tool_calls.count; i++) {
		const struct chat_tool_call *call = &finish.tool_calls.items[i];

		MUST(call->id.len > 0 && call->name.len > 0);
		MUST(qmt_str_eq(call->arguments, qmt_buf_view(&arguments[i])) || qmt_str_is(call->arguments, "{}"));
	}
}

static void end(struct openai_stream *stream, struct qmt_buf arguments[CALLS_MAX])
{
	openai_stream_fini(stream);
	for (int i = 0; i < CALLS_MAX; i++)
		qmt_buf_free(&arguments[i]);
}

static void as_stream(struct qmt_str bytes)
{
	struct qmt_buf arguments[CALLS_MAX] = {{0}, {0}, {0}, {0}, {0}, {0}};
	struct openai_stream stream;
	struct provider_chunk chunk;
	int event = OPENAI_NOTHING;

	openai_stream_init(&stream, qmt_str("request"), "sk-secret", CALLS_MAX);
	while (bytes.len > 0 && (event == OPENAI_NOTHING || event == OPENAI_CHUNK)) {
		const char *newline = memchr(bytes.p, '\n', bytes.len);
		uint32_t len = newline ? (uint32_t)(newline - bytes.p) : bytes.len;

		event = openai_stream_event(&stream, qmt_strn(bytes.p, len), &chunk);
		if (event == OPENAI_CHUNK)
			check_chunk(&chunk, arguments);
		bytes = qmt_strn(bytes.p + len + (newline != NULL), bytes.len - len - (newline != NULL));
	}
	if (event == OPENAI_FAILED)
		check_error(&stream.error);
	else
		check_finish(&stream, arguments);
	end(&stream, arguments);
}

static void as_whole(struct qmt_str bytes)
{
	struct qmt_buf arguments[CALLS_MAX] = {{0}, {0}, {0}, {0}, {0}, {0}};
	struct openai_stream stream;
	struct provider_chunk chunk;
	int event;

	openai_stream_init(&stream, qmt_str("request"), "sk-secret", CALLS_MAX);
	event = openai_stream_whole(&stream, bytes, &chunk);
	if (event == OPENAI_CHUNK)
		check_chunk(&chunk, arguments);
	if (event == OPENAI_FAILED)
		check_error(&stream.error);
	else
		check_finish(&stream, arguments);
	end(&stream, arguments);
}

static void as_others(struct qmt_str bytes)
{
	struct openai_hints hints = {.date = ""};
	struct openai_error error;
	struct json *json = NULL;
	struct qmt_str *items = NULL;
	uint32_t count;
	int ret;

	openai_hints_header(&hints, bytes);
	MUST(openai_hints_ms(&hints, 0) <= OPENAI_RETRY_MAX_MS);
	openai_error_http(400 + bytes.len % 200, bytes, &hints, 0, "sk-secret", &error);
	check_error(&error);
	ret = openai_models(bytes, 5, "sk-secret", &json, &items, &count, &error);
	if (ret == OPENAI_FAILED)
		check_error(&error);
	else
		MUST(ret == 0 && count <= 5);
	free(items);
	json_free(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmt_str bytes = qmt_strn((const char *)data, size);

	as_stream(bytes);
	as_whole(bytes);
	as_others(bytes);
	return 0;
}
