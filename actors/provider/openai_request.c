/* actors/provider/openai_request.c - see openai_request.h.
 *
 * The body is written as text, front to back: a conversation can be megabytes, and building it as a tree first would
 * copy each message twice. Only what comes as JSON text (schemas, parameters) is parsed, to be sure that it is JSON and
 * one value.
 */
#include "openai_request.h"

#include <errno.h>

#include "proto/json.h"

/* Members that `parameters` may not set: R(name, why). */
#define OPENAI_RESERVED(R)                                          \
	R(model, "the request names the model")                         \
	R(messages, "the request holds the conversation")               \
	R(tools, "the request holds the tools")                         \
	R(stream, "the provider decides it")                            \
	R(stream_options, "the provider decides it (stream_usage)")     \
	R(n, "only one answer can be shown")                            \
	R(base_url, "the address stands in the provider's config only") \
	R(api_key, "the key stands in the provider's config only")      \
	R(api_base, "the address stands in the provider's config only") \
	R(extra_headers, "headers stand in the provider's config only") \
	R(headers, "headers stand in the provider's config only")       \
	R(proxy, "the proxy stands in the provider's config only")

static void buf_cleanup(struct qmt_buf *buf)
{
	qmt_buf_free(buf);
}

static void write_call(const struct chat_tool_call *call, struct qmt_buf *out)
{
	qmt_buf_str(out, "{\"id\":");
	json_quote(out, call->id);
	qmt_buf_str(out, ",\"type\":\"function\",\"function\":{\"name\":");
	json_quote(out, call->name);
	qmt_buf_str(out, ",\"arguments\":");
	/* A JSON text inside a string. An empty one breaks the prompt templates of some servers. */
	json_quote(out, call->arguments.len > 0 ? call->arguments : qmt_str("{}"));
	qmt_buf_str(out, "}}");
}

static int write_message(const struct chat_message *message, uint32_t index, struct qmt_buf *out, struct qmt_err *err)
{
	bool is_assistant = qmt_str_is(message->role, "assistant"), is_tool = qmt_str_is(message->role, "tool");

	if (!is_assistant && !is_tool && !qmt_str_is(message->role, "system") && !qmt_str_is(message->role, "user"))
		return qmt_err_set(err, OPENAI_REQUEST_E_BAD,
			"messages[%u].role: \"%.*s\" is not system, user, assistant or tool", index,
			(int)(message->role.len < 40 ? message->role.len : 40), message->role.p ? message->role.p : "");
	if (is_tool && message->tool_call_id.len == 0)
		return qmt_err_set(
			err, OPENAI_REQUEST_E_BAD, "messages[%u].tool_call_id: missing; a tool message must name its call", index);
	if (message->tool_calls.count > 0 && !is_assistant)
		return qmt_err_set(
			err, OPENAI_REQUEST_E_BAD, "messages[%u].tool_calls: only an assistant message makes calls", index);

	qmt_buf_str(out, "{\"role\":");
	json_quote(out, message->role);
	if (is_tool) {
		qmt_buf_str(out, ",\"tool_call_id\":");
		json_quote(out, message->tool_call_id);
	}
	qmt_buf_str(out, ",\"content\":");
	if (message->content.len == 0 && message->tool_calls.count > 0)
		qmt_buf_str(out, "null");
	else
		json_quote(out, message->content);
	for (uint32_t i = 0; i < message->tool_calls.count; i++) {
		qmt_buf_str(out, i == 0 ? ",\"tool_calls\":[" : ",");
		write_call(&message->tool_calls.items[i], out);
	}
	qmt_buf_str(out, message->tool_calls.count > 0 ? "]}" : "}");
	return 0;
}

static int write_tool(const struct chat_tool *tool, uint32_t index, struct qmt_buf *out, struct qmt_err *err)
{
	QMT_CLEANUP(json_cleanup) struct json *schema = NULL;

	if (tool->name.len == 0)
		return qmt_err_set(err, OPENAI_REQUEST_E_BAD, "tools[%u].name: missing", index);
	qmt_buf_str(out, "{\"type\":\"function\",\"function\":{\"name\":");
	json_quote(out, tool->name);
	if (tool->description.len > 0) {
		qmt_buf_str(out, ",\"description\":");
		json_quote(out, tool->description);
	}
	qmt_buf_str(out, ",\"parameters\":");
	if (tool->parameters.len == 0) {
		qmt_buf_str(out, "{\"type\":\"object\",\"properties\":{}}}}");
		return 0;
	}

	struct qmt_err why = {0};
	int ret = json_parse(tool->parameters, &schema, &why);

	if (ret == -ENOMEM)
		return ret;
	if (ret < 0 || !json_is_object(schema))
		return qmt_err_set(err, OPENAI_REQUEST_E_BAD, "tools[%u] (%.*s): parameters: %s", index,
			(int)(tool->name.len < 60 ? tool->name.len : 60), tool->name.p,
			ret < 0 ? why.text : "must be a JSON object");
	ret = json_write(schema, out);
	qmt_buf_str(out, "}}");
	return ret;
}

const char *openai_reserved_why(struct qmt_str name)
{
#define RESERVED_CHECK(member, why) \
	if (qmt_str_is(name, #member))  \
		return why;
	OPENAI_RESERVED(RESERVED_CHECK)
#undef RESERVED_CHECK
	return NULL;
}

/* Copies the members of `parameters`. ret_max: the name by which they bound the answer, NULL: they do not. */
static int write_parameters(
	const struct openai_request *request, struct qmt_buf *out, const char **ret_max, struct qmt_err *err)
{
	QMT_CLEANUP(json_cleanup) struct json *parameters = NULL;
	struct qmt_err why = {0};
	struct qmt_str name;
	const struct json *value;
	void *iter = NULL;
	int ret;

	*ret_max = NULL;
	if (request->parameters.len == 0)
		return 0;
	ret = json_parse(request->parameters, &parameters, &why);
	if (ret == -ENOMEM)
		return ret;
	if (ret < 0 || !json_is_object(parameters))
		return qmt_err_set(err, OPENAI_REQUEST_E_BAD, "parameters: %s", ret < 0 ? why.text : "must be a JSON object");
	while (json_next(parameters, &iter, &name, &value)) {
		const char *reserved = openai_reserved_why(name);

		if (reserved)
			return qmt_err_set(
				err, OPENAI_REQUEST_E_BAD, "parameters.%.*s: cannot be set here: %s", QMT_STR_ARG(name), reserved);
		if (qmt_str_is(name, "max_tokens") || qmt_str_is(name, "max_completion_tokens")) {
			*ret_max = qmt_str_is(name, "max_tokens") ? "max_tokens" : "max_completion_tokens";
			if (request->max_tokens > 0)
				continue; /* the request's own field is the nearer word; it goes out under this name */
		}
		qmt_buf_str(out, ",");
		json_quote(out, name);
		qmt_buf_str(out, ":");
		ret = json_write(value, out);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int openai_request_body(const struct openai_request *request, struct qmt_buf *ret_body, struct qmt_err *err)
{
	QMT_CLEANUP(buf_cleanup) struct qmt_buf out = {0};
	const char *max_name;
	int ret;

	if (request->message_count == 0)
		return qmt_err_set(err, OPENAI_REQUEST_E_BAD, "messages: none");
	qmt_buf_str(&out, "{\"model\":");
	json_quote(&out, request->model);
	qmt_buf_str(&out, request->stream ? ",\"stream\":true" : ",\"stream\":false");
	if (request->stream && request->stream_usage)
		qmt_buf_str(&out, ",\"stream_options\":{\"include_usage\":true}");
	ret = write_parameters(request, &out, &max_name, err);
	if (ret != 0)
		return ret;
	if (request->max_tokens > 0 || (!max_name && request->default_max_tokens > 0))
		qmt_buf_printf(&out, ",\"%s\":%u", max_name ? max_name : "max_tokens",
			request->max_tokens > 0 ? request->max_tokens : request->default_max_tokens);
	for (uint32_t i = 0; i < request->message_count; i++) {
		qmt_buf_str(&out, i == 0 ? ",\"messages\":[" : ",");
		ret = write_message(&request->messages[i], i, &out, err);
		if (ret != 0)
			return ret;
		if (out.len > request->limit_bytes)
			break;
	}
	qmt_buf_str(&out, "]");
	for (uint32_t i = 0; i < request->tool_count; i++) {
		qmt_buf_str(&out, i == 0 ? ",\"tools\":[" : ",");
		ret = write_tool(&request->tools[i], i, &out, err);
		if (ret != 0)
			return ret;
	}
	qmt_buf_str(&out, request->tool_count > 0 ? "]}" : "}");
	if (out.failed)
		return -ENOMEM;
	if (out.len > request->limit_bytes)
		return qmt_err_set(err, OPENAI_REQUEST_E_TOO_LARGE, "the request is over %zu bytes (request_limit_bytes)",
			request->limit_bytes);
	*ret_body = out;
	out = (struct qmt_buf){0};
	return 0;
}
