/* actors/provider/openai_stream.c - see openai_stream.h.
 *
 * What servers do differently, and what is made of it:
 *  - reasoning is called reasoning_content or reasoning; some send both with the same text: the first is taken.
 *  - content may be a list of parts: text parts are joined, "thinking" parts are reasoning. A refusal is text.
 *  - tool calls: the index may be missing, or be 0 for every call: a new id with a new name begins a new call then. The
 *    id may be missing: one is made. Arguments may be an object instead of text. Indexes may have holes: ours count in
 *    order of arrival.
 *  - finish_reason "stop" although there are calls: it is tool_calls. Unknown reasons end the answer as stop.
 *  - usage may come in any event, several times: the maximum of each number counts.
 */
#include "openai_stream.h"

#include <errno.h>
#include <inttypes.h>

#include "provider.h"

enum { NO_INDEX = -1 };

void openai_stream_init(struct openai_stream *stream, struct qmt_str request, const char *secret, uint32_t max_calls)
{
	*stream = (struct openai_stream){.request = request, .secret = secret, .max_calls = max_calls};
}

void openai_stream_fini(struct openai_stream *stream)
{
	for (uint32_t i = 0; i < stream->call_count; i++) {
		free(stream->calls[i].id);
		free(stream->calls[i].name);
		qmt_buf_free(&stream->calls[i].arguments);
	}
	free(stream->calls);
	free(stream->whole_calls);
	free(stream->deltas);
	free(stream->model);
	json_free(stream->json);
	json_free(stream->texts);
	qmt_buf_free(&stream->text);
	qmt_buf_free(&stream->reasoning);
	*stream = (struct openai_stream){0};
}

static void buf_cleanup(struct qmt_buf *buf)
{
	qmt_buf_free(buf);
}

static int malformed(struct openai_stream *stream, const char *what)
{
	openai_error_malformed("the upstream's answer makes no sense", qmt_str(what), stream->secret, &stream->error);
	return OPENAI_FAILED;
}

/* ---- usage, model, reason ---------------------------------------------------------------------------------------- */

static uint64_t count_of(const struct json *value)
{
	int64_t number = json_int(value, 0);

	return number > 0 ? (uint64_t)number : 0;
}

static void keep_max(uint64_t *to, uint64_t value)
{
	if (value > *to)
		*to = value;
}

static void take_usage(struct openai_stream *stream, const struct json *usage)
{
	if (!json_is_object(usage))
		return;

	uint64_t prompt = count_of(json_get(usage, "prompt_tokens")),
			 completion = count_of(json_get(usage, "completion_tokens"));
	uint64_t cached = count_of(json_get(json_get(usage, "prompt_tokens_details"), "cached_tokens"));
	uint64_t reasoning = count_of(json_get(json_get(usage, "completion_tokens_details"), "reasoning_tokens"));

	if (cached == 0)
		cached = count_of(json_get(usage, "prompt_cache_hit_tokens"));
	keep_max(&stream->usage.input_tokens, prompt > cached ? prompt - cached : 0);
	keep_max(&stream->usage.output_tokens, completion > reasoning ? completion - reasoning : 0);
	keep_max(&stream->usage.cached_tokens, cached);
	keep_max(&stream->usage.reasoning_tokens, reasoning);
}

static void take_reason(struct openai_stream *stream, struct qmt_str reason)
{
	static const struct {
		const char *theirs, *ours;
	} known[] = {
		{"tool_calls", "tool_calls"},
		{"function_call", "tool_calls"},
		{"length", "length"},
		{"max_tokens", "length"},
		{"content_filter", "content_filter"},
	};

	if (reason.len == 0)
		return;
	stream->reason = "stop";
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (qmt_str_is(reason, known[i].theirs))
			stream->reason = known[i].ours;
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

/* Text of a list of parts, appended to text and reasoning. */
static void join_parts(struct openai_stream *stream, const struct json *parts)
{
	for (size_t i = 0; i < json_count(parts); i++) {
		const struct json *part = json_at(parts, i), *thinking = json_get(part, "thinking");
		struct qmt_str text = json_str(json_get(part, "text"));

		qmt_buf_append(&stream->text, text.p, text.len);
		if (json_is_string(thinking))
			qmt_buf_append(&stream->reasoning, json_str(thinking).p, json_str(thinking).len);
		for (size_t j = 0; json_is_array(thinking) && j < json_count(thinking); j++) {
			text = json_str(json_get(json_at(thinking, j), "text"));
			qmt_buf_append(&stream->reasoning, text.p, text.len);
		}
	}
}

static int take_text(struct openai_stream *stream, const struct json *delta, struct provider_chunk *chunk)
{
	const struct json *content = json_get(delta, "content");

	chunk->text = json_str(content);
	chunk->reasoning = json_str(json_get(delta, "reasoning_content"));
	if (chunk->reasoning.len == 0)
		chunk->reasoning = json_str(json_get(delta, "reasoning"));
	if (json_is_array(content)) {
		stream->text.len = stream->reasoning.len = 0;
		qmt_buf_append(&stream->reasoning, chunk->reasoning.p, chunk->reasoning.len);
		join_parts(stream, content);
		if (stream->text.failed || stream->reasoning.failed)
			return -ENOMEM;
		chunk->text = qmt_buf_view(&stream->text);
		chunk->reasoning = qmt_buf_view(&stream->reasoning);
	}
	if (chunk->text.len == 0)
		chunk->text = json_str(json_get(delta, "refusal"));
	if (chunk->text.len > 0)
		stream->has_text = true;
	return 0;
}

/* ---- tool calls -------------------------------------------------------------------------------------------------- */

/* The call that a piece belongs to; NULL: it begins a new one. */
static struct openai_call *call_of(struct openai_stream *stream, int64_t index, struct qmt_str id, struct qmt_str name)
{
	struct openai_call *call = NULL;

	for (uint32_t i = stream->call_count; i-- > 0 && !call;)
		if (index == NO_INDEX || stream->calls[i].upstream_index == index)
			call = &stream->calls[i]; /* the latest of that index; without index the latest of all */
	if (call && id.len > 0 && name.len > 0 && !qmt_str_is(id, call->id))
		return NULL;
	return call;
}

/* An id that no other call of the conversation has: FNV-1a of the request's id, and the number. */
static char *make_id(const struct openai_stream *stream, uint32_t number)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	char id[40]; /* some upstreams allow no more than 40 characters */

	for (uint32_t i = 0; i < stream->request.len; i++)
		hash = (hash ^ (unsigned char)stream->request.p[i]) * UINT64_C(0x100000001b3);
	snprintf(id, sizeof id, "call_%016" PRIx64 "_%u", hash, number);
	return strdup(id);
}

static int call_begin(struct openai_stream *stream, int64_t index, struct qmt_str id, struct qmt_str name)
{
	if (stream->call_count == stream->max_calls)
		return malformed(stream, "it makes more tool calls than max_tool_calls");
	if (stream->call_count == stream->call_room) {
		uint32_t room = stream->call_room > 0 ? 2 * stream->call_room : 4;
		struct openai_call *calls = realloc(stream->calls, room * sizeof *calls);

		if (!calls)
			return -ENOMEM;
		stream->calls = calls;
		stream->call_room = room;
	}

	struct openai_call *call = &stream->calls[stream->call_count];

	*call = (struct openai_call){.upstream_index = index};
	call->id = id.len > 0 ? qmt_str_dup(id) : make_id(stream, stream->call_count);
	call->name = qmt_str_dup(name);
	if (!call->id || !call->name) {
		free(call->id);
		free(call->name);
		return -ENOMEM;
	}
	stream->call_count++;
	return 0;
}

/* Arguments as text, valid until the next event. The text of an object is kept beside the event. */
static int arguments_of(struct openai_stream *stream, const struct json *arguments, struct qmt_str *ret_text)
{
	QMT_CLEANUP(buf_cleanup) struct qmt_buf text = {0};

	*ret_text = json_str(arguments);
	if (!json_is_object(arguments))
		return 0;
	if (!stream->texts)
		stream->texts = json_array();
	if (json_write(arguments, &text) < 0 || json_add(stream->texts, json_new_str(qmt_buf_view(&text))) < 0)
		return -ENOMEM;
	*ret_text = json_str(json_at(stream->texts, json_count(stream->texts) - 1));
	return 0;
}

static int take_call(struct openai_stream *stream, const struct json *piece, struct provider_tool_delta *ret_delta)
{
	const struct json *function = json_get(piece, "function");
	int64_t index = json_int(json_get(piece, "index"), NO_INDEX);
	struct qmt_str id = json_str(json_get(piece, "id")), name = json_str(json_get(function, "name")), arguments;
	struct openai_call *call = call_of(stream, index, id, name);
	int ret = arguments_of(stream, json_get(function, "arguments"), &arguments);

	if (ret < 0)
		return ret;
	*ret_delta = (struct provider_tool_delta){0};
	if (!call) {
		if (name.len == 0)
			return malformed(stream, "a tool call without a name");
		ret = call_begin(stream, index, id, name);
		if (ret != 0)
			return ret;
		call = &stream->calls[stream->call_count - 1];
		ret_delta->id = qmt_str(call->id);
		ret_delta->name = qmt_str(call->name);
	}
	ret_delta->index = (uint32_t)(call - stream->calls);
	ret_delta->arguments = arguments;
	qmt_buf_append(&call->arguments, arguments.p, arguments.len);
	return call->arguments.failed ? -ENOMEM : 0;
}

static int take_calls(struct openai_stream *stream, const struct json *pieces, struct provider_chunk *chunk)
{
	size_t count = json_count(pieces);

	if (!json_is_array(pieces) || count == 0)
		return 0;
	if (count > stream->max_calls)
		return malformed(stream, "it makes more tool calls than max_tool_calls");
	if (count > stream->delta_room) {
		struct provider_tool_delta *deltas = realloc(stream->deltas, count * sizeof *deltas);

		if (!deltas)
			return -ENOMEM;
		stream->deltas = deltas;
		stream->delta_room = (uint32_t)count;
	}
	for (size_t i = 0; i < count; i++) {
		int ret = take_call(stream, json_at(pieces, i), &stream->deltas[i]);

		if (ret != 0)
			return ret;
	}
	chunk->tools.items = stream->deltas;
	chunk->tools.count = (uint32_t)count;
	return 0;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

/* What an event of a stream (`delta`) and a whole answer (`message`) have in common. */
static int take_answer(
	struct openai_stream *stream, const struct json *root, const char *member, struct provider_chunk *chunk)
{
	const struct json *choices = json_get(root, "choices"), *error = json_get(root, "error");

	if (!json_is_object(root))
		return malformed(stream, "not a JSON object");
	if (error && !json_is_null(error)) {
		openai_error_envelope(error, stream->secret, &stream->error);
		return OPENAI_FAILED;
	}
	take_usage(stream, json_get(root, "usage"));
	if (!stream->model && json_is_string(json_get(root, "model"))) {
		stream->model = qmt_str_dup(json_str(json_get(root, "model")));
		if (!stream->model)
			return -ENOMEM;
	}
	for (size_t i = 0; i < json_count(choices); i++) {
		const struct json *choice = json_at(choices, i), *delta = json_get(choice, member);
		int ret;

		if (json_int(json_get(choice, "index"), 0) != 0)
			continue;
		ret = take_text(stream, delta, chunk);
		if (ret == 0)
			ret = take_calls(stream, json_get(delta, "tool_calls"), chunk);
		if (ret != 0)
			return ret;
		take_reason(stream, json_str(json_get(choice, "finish_reason")));
		break; /* a second choice 0 in one event does not exist; it would overwrite the first */
	}
	return chunk->text.len > 0 || chunk->reasoning.len > 0 || chunk->tools.count > 0 ? OPENAI_CHUNK : OPENAI_NOTHING;
}

static int parse(struct openai_stream *stream, struct qmt_str text)
{
	struct qmt_err why = {0};
	int ret;

	stream->json = json_free(stream->json);
	stream->texts = json_free(stream->texts);
	ret = json_parse(text, &stream->json, &why);
	if (ret == -ENOMEM)
		return ret;
	if (ret < 0)
		return malformed(stream, why.text);
	return 0;
}

int openai_stream_event(struct openai_stream *stream, struct qmt_str data, struct provider_chunk *ret_chunk)
{
	int ret;

	*ret_chunk = (struct provider_chunk){0};
	if (qmt_str_is(data, "[DONE]"))
		return OPENAI_DONE;
	if (data.len == 0)
		return OPENAI_NOTHING; /* a heartbeat of some proxies */
	ret = parse(stream, data);
	return ret != 0 ? ret : take_answer(stream, stream->json, "delta", ret_chunk);
}

int openai_stream_whole(struct openai_stream *stream, struct qmt_str body, struct provider_chunk *ret_chunk)
{
	int ret = parse(stream, body);

	*ret_chunk = (struct provider_chunk){0};
	if (ret != 0)
		return ret;
	ret = take_answer(stream, stream->json, "message", ret_chunk);
	if (ret < 0 || ret == OPENAI_FAILED)
		return ret;
	if (json_count(json_get(stream->json, "choices")) == 0)
		return malformed(stream, "it has no choices");
	if (!stream->reason)
		stream->reason = "stop"; /* nothing more can come */
	return ret;
}

bool openai_stream_may_end(const struct openai_stream *stream)
{
	return stream->reason != NULL;
}

static bool is_blank(const struct qmt_buf *text)
{
	for (size_t i = 0; i < text->len; i++)
		if ((unsigned char)text->data[i] > ' ')
			return false;
	return true;
}

int openai_stream_finish(struct openai_stream *stream, struct provider_finish *ret_finish)
{
	const char *reason = stream->reason ? stream->reason : "stop";

	if (stream->call_count > 0 && strcmp(reason, "stop") == 0)
		reason = "tool_calls";
	if (stream->call_count == 0 && strcmp(reason, "tool_calls") == 0) {
		if (!stream->has_text)
			return malformed(stream, "it ends with tool_calls and makes none");
		reason = "stop";
	}
	if (stream->call_count > 0) {
		free(stream->whole_calls);
		stream->whole_calls = calloc(stream->call_count, sizeof *stream->whole_calls);
		if (!stream->whole_calls)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < stream->call_count; i++) {
		const struct openai_call *call = &stream->calls[i];

		stream->whole_calls[i] = (struct chat_tool_call){
			.id = qmt_str(call->id),
			.name = qmt_str(call->name),
			.arguments = is_blank(&call->arguments) ? qmt_str("{}") : qmt_buf_view(&call->arguments),
		};
	}
	*ret_finish = (struct provider_finish){
		.reason = qmt_str(reason),
		.tool_calls = {stream->whole_calls, stream->call_count},
		.usage = stream->usage,
		.model = qmt_str(stream->model),
	};
	return OPENAI_DONE;
}

int openai_models(struct qmt_str body, uint32_t max, const char *secret, struct json **ret_json,
	struct qmt_str **ret_items, uint32_t *ret_count, struct openai_error *error)
{
	struct qmt_err why = {0};
	struct json *json = NULL;
	int ret = json_parse(body, &json, &why);

	if (ret == -ENOMEM)
		return ret;
	if (ret < 0) {
		openai_error_malformed("the upstream's list of models makes no sense", qmt_str(why.text), secret, error);
		return OPENAI_FAILED;
	}
	if (json_get(json, "error")) {
		openai_error_envelope(json_get(json, "error"), secret, error);
		json_free(json);
		return OPENAI_FAILED;
	}

	const struct json *data = json_is_array(json) ? json : json_get(json, "data");
	size_t count = json_count(data) < max ? json_count(data) : max;
	struct qmt_str *items = calloc(count > 0 ? count : 1, sizeof *items);
	uint32_t found = 0;

	if (!items || !json_is_array(data)) {
		free(items);
		json_free(json);
		if (!items)
			return -ENOMEM;
		openai_error_malformed(
			"the upstream's list of models makes no sense", qmt_str("no list in \"data\""), secret, error);
		return OPENAI_FAILED;
	}
	for (size_t i = 0; i < count; i++) {
		struct qmt_str id = json_str(json_get(json_at(data, i), "id"));

		if (id.len > 0)
			items[found++] = id;
	}
	*ret_json = json;
	*ret_items = items;
	*ret_count = found;
	return 0;
}
