/* actors/provider/openai.c - the actor of kind "openai": chat requests of the contract against an OpenAI-compatible
 * upstream.
 *
 *               200, a stream              [DONE], or the end after a finish reason
 *     WAITING ------------------> STREAMING ---------------------------------------> ENDED -(drain)-> gone
 *        |   another status, JSON: the body is collected and judged at its end         ^
 *        +-----------------------------------------------------------------------------+
 *     Any failure, a cancel, the end of the sink: ENDED.
 *
 * The ask is answered only when the upstream has answered 200: what it refuses comes back as the ask's error. Events
 * are passed on as they come, one chunk each. After ENDED the asker is told nothing more and the request does not
 * count; its connection is given a moment to end in order, so that it can be used again.
 */
#include <errno.h>

#include "asker.h"
#include "openai_error.h"
#include "openai_info.h"
#include "openai_request.h"
#include "openai_stream.h"
#include "openai_url.h"
#include "provider.h"
#include "sse.h"
#include "transfer.h"

enum { ERROR_BODY_BYTES = 65536 };

enum form { FORM_STREAM, FORM_WHOLE, FORM_ERROR };

struct state {
	struct asker_list askers; /* of calls that have not ended; first: asker_metrics_handlers */
	const struct provider_config *config;
	struct curl_loop *loop;
	char *chat_url;
	struct openai_info *info;
	struct call *calls; /* all */
};
_Static_assert(offsetof(struct state, askers) == 0, "asker_metrics_handlers takes the state for the list");

/* One request. */
struct call {
	struct asker asker; /* first: the list's items are calls; closed when `ended` */
	struct call *next, *prev;
	struct state *state;
	struct transfer *transfer;
	struct openai_stream stream;
	struct openai_hints hints;
	struct sse sse;
	struct qmt_buf body; /* FORM_WHOLE, FORM_ERROR */
	enum form form;
	bool ended;
	bool drains; /* ended well; its connection may end in order */
};

/* ---- the end of a call ------------------------------------------------------------------------------------------- */

/* The asker knows all it will know. */
static void call_ended(struct qmt_ctx *ctx, struct call *call)
{
	call->ended = true;
	asker_close(ctx, &call->state->askers, &call->asker);
}

/* Not inside a callback of libcurl. */
static void call_free(struct qmt_ctx *ctx, struct call *call)
{
	if (!call->ended)
		call_ended(ctx, call);
	if (call->next)
		call->next->prev = call->prev;
	if (call->prev)
		call->prev->next = call->next;
	else
		call->state->calls = call->next;
	transfer_free(ctx, call->transfer);
	openai_stream_fini(&call->stream);
	sse_fini(&call->sse);
	qmt_buf_free(&call->body);
	free(call);
}

/* detail: for the log of this node only: the text may travel to peers, and they need not know our addresses. */
static void call_failed(struct qmt_ctx *ctx, struct call *call, const struct openai_error *error, const char *detail)
{
	const uint64_t before = qmt_trace(ctx);
	char text[OPENAI_ERROR_TEXT + 128];

	qmt_text(text, sizeof text, "provider %s: %s", call->state->config->name, error->text);
	qmt_trace_set(ctx, call->asker.trace);
	QMT_LOG(ctx, QMT_WARN, "provider.upstream", "provider", call->state->config->name, "request", call->asker.request,
		"kind", error->kind, "reason", error->text, "detail", detail);
	qmt_trace_set(ctx, before);
	asker_fail(ctx, &call->asker, QMT_FAIL_FAILED, error->kind, error->retry_after_ms, text);
	call_ended(ctx, call);
}

static void call_failed_as(
	struct qmt_ctx *ctx, struct call *call, const char *kind, const char *what, const char *detail)
{
	struct openai_error error;

	openai_error_set(&error, kind, "%s", what);
	call_failed(ctx, call, &error, detail);
}

static void call_out_of_memory(struct qmt_ctx *ctx, struct call *call)
{
	call_failed_as(ctx, call, provider_error_server_error, "out of memory on this node", NULL);
}

/* The answer is complete. */
static void call_finished(struct qmt_ctx *ctx, struct call *call)
{
	struct provider_finish finish = {0};
	int ret = openai_stream_finish(&call->stream, &finish);

	if (ret < 0) {
		call_out_of_memory(ctx, call);
	} else if (ret == OPENAI_FAILED) {
		call_failed(ctx, call, &call->stream.error, NULL);
	} else {
		asker_finish(ctx, &call->asker, &finish);
		call_ended(ctx, call);
		call->drains = true;
	}
}

/* ---- the answer comes -------------------------------------------------------------------------------------------- */

static void pass_on(struct qmt_ctx *ctx, struct call *call, struct provider_chunk *chunk)
{
	int ret = asker_chunk(ctx, &call->asker, chunk);

	if (ret == QMT_FAIL_NOT_RUNNING) /* its monitor will say so too, but the upstream need not work until then */
		call_ended(ctx, call);
	else if (ret != 0) /* a chunk that is left out would be a gap */
		call_failed_as(ctx, call, provider_error_overloaded, "the reader of the stream cannot take more",
			ret > 0 ? qmt_fail_name(ret) : NULL);
}

static int on_event(void *arg, struct qmt_str data)
{
	struct call *call = arg;
	struct qmt_ctx *ctx = curl_loop_ctx(call->state->loop);
	struct provider_chunk chunk;
	int event = openai_stream_event(&call->stream, data, &chunk);

	if (event < 0)
		call_out_of_memory(ctx, call);
	else if (event == OPENAI_FAILED)
		call_failed(ctx, call, &call->stream.error, NULL);
	else if (event == OPENAI_CHUNK)
		pass_on(ctx, call, &chunk);
	else if (event == OPENAI_DONE)
		call_finished(ctx, call);
	return call->ended;
}

static bool is_type(struct qmt_str type, const char *name)
{
	return type.len == strlen(name) && strncasecmp(type.p, name, type.len) == 0;
}

static void on_header(void *arg, struct qmt_str line)
{
	struct call *call = arg;

	openai_hints_header(&call->hints, line);
}

static int on_head(struct qmt_ctx *ctx, void *arg)
{
	struct call *call = arg;
	struct qmt_str type = transfer_content_type(call->transfer);

	if (transfer_status(call->transfer) != 200) {
		call->form = FORM_ERROR;
	} else if (is_type(type, "text/html")) {
		call_failed_as(ctx, call, provider_error_malformed,
			"the upstream answered with a web page; does base_url lead to an API (…/v1)?", NULL);
	} else if (call->asker.whole || is_type(type, "application/json")) {
		call->form = FORM_WHOLE; /* also a server that does not stream: its answer comes as one chunk */
	} else {
		call->form = FORM_STREAM;
		asker_accept(ctx, &call->asker);
	}
	return call->ended;
}

static int on_body(struct qmt_ctx *ctx, void *arg, struct qmt_str bytes)
{
	struct call *call = arg;
	int ret;

	if (call->ended) /* what follows [DONE] */
		return 0;
	if (call->form != FORM_STREAM) {
		qmt_buf_append(&call->body, bytes.p, bytes.len);
		return call->form == FORM_ERROR && call->body.len > ERROR_BODY_BYTES;
	}
	ret = sse_feed(&call->sse, bytes.p, bytes.len);
	if (ret == 0)
		return 0;
	if (!call->ended) {
		if (ret < 0)
			call_out_of_memory(ctx, call);
		else
			call_failed_as(ctx, call, provider_error_malformed,
				"an event of the stream is over its limit (event_limit_bytes)", NULL);
	}
	if (!call->drains)
		return 1;
	transfer_drain(ctx, call->transfer, call->state->config->drain_timeout_ms);
	return 0;
}

/* ---- the answer ends --------------------------------------------------------------------------------------------- */

static void whole_answer(struct qmt_ctx *ctx, struct call *call)
{
	struct provider_chunk chunk;
	struct provider_finish finish = {0};
	int event = call->body.failed ? -ENOMEM : openai_stream_whole(&call->stream, qmt_buf_view(&call->body), &chunk);

	if (event == OPENAI_FAILED) {
		call_failed(ctx, call, &call->stream.error, NULL);
	} else if (event < 0) {
		call_out_of_memory(ctx, call);
	} else if (!call->asker.whole) {
		asker_accept(ctx, &call->asker);
		if (event == OPENAI_CHUNK)
			pass_on(ctx, call, &chunk);
		if (!call->ended)
			call_finished(ctx, call);
	} else {
		event = openai_stream_finish(&call->stream, &finish);
		if (event == OPENAI_FAILED) {
			call_failed(ctx, call, &call->stream.error, NULL);
		} else if (event < 0) {
			call_out_of_memory(ctx, call);
		} else {
			asker_complete(ctx, &call->asker,
				&(struct provider_completion){.text = chunk.text,
					.reasoning = chunk.reasoning,
					.tool_calls = {finish.tool_calls.items, finish.tool_calls.count},
					.usage = finish.usage,
					.reason = finish.reason,
					.model = finish.model});
			call_ended(ctx, call);
		}
	}
}

static void error_answer(struct qmt_ctx *ctx, struct call *call)
{
	struct openai_error error;

	openai_error_http(transfer_status(call->transfer), qmt_buf_view(&call->body), &call->hints, qmt_wall_ms(ctx),
		call->state->config->api_key, &error);
	call_failed(ctx, call, &error, call->state->chat_url);
}

static void stream_end(struct qmt_ctx *ctx, struct call *call, const struct transfer_end *end)
{
	int ret = end->outcome == TRANSFER_COMPLETE ? sse_end(&call->sse) : 0;

	if (call->ended)
		return;
	if (ret < 0)
		call_out_of_memory(ctx, call);
	else if (openai_stream_may_end(&call->stream)) /* all was said; only [DONE] or the usage is missing */
		call_finished(ctx, call);
	else
		call_failed_as(
			ctx, call, provider_error_transport, "the stream ended in the middle of the answer", end->detail);
}

static void on_done(struct qmt_ctx *ctx, void *arg, const struct transfer_end *end)
{
	struct call *call = arg;
	bool in_stream = call->form == FORM_STREAM && call->asker.state == ASKER_STREAMING;

	if (call->ended)
		;
	else if (call->form == FORM_ERROR && (end->outcome == TRANSFER_COMPLETE || end->outcome == TRANSFER_STOPPED))
		error_answer(ctx, call);
	else if (end->outcome == TRANSFER_COMPLETE && call->form == FORM_WHOLE)
		whole_answer(ctx, call);
	else if (in_stream && (end->outcome == TRANSFER_COMPLETE || openai_stream_may_end(&call->stream)))
		stream_end(ctx, call, end);
	else if (end->outcome == TRANSFER_TIMEOUT)
		call_failed_as(ctx, call, provider_error_timeout, end->text, end->detail);
	else if (end->outcome == TRANSFER_TOO_LARGE)
		call_failed_as(ctx, call, provider_error_malformed, end->text, end->detail);
	else
		call_failed_as(ctx, call, provider_error_transport, end->text, end->detail);
	call_free(ctx, call);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static int send_request(struct qmt_ctx *ctx, struct call *call, struct qmt_buf *body)
{
	static const struct transfer_events events = {
		.head = on_head, .body = on_body, .header = on_header, .done = on_done};
	const struct provider_config *config = call->state->config;
	bool whole = call->asker.whole;
	struct transfer_options options = {
		.url = call->state->chat_url,
		.accept = whole ? "application/json" : "text/event-stream",
		.bearer = config->api_key,
		.proxy = config->proxy,
		.ca_file = config->ca_file,
		.post = true,
		.connect_ms = config->connect_timeout_ms,
		.first_byte_ms = whole ? 0 : config->first_byte_timeout_ms,
		.idle_ms = whole ? 0 : config->idle_timeout_ms,
		.total_ms = whole ? config->complete_timeout_ms : config->stream_timeout_ms,
		.total_name = whole ? "complete_timeout_ms" : "stream_timeout_ms",
		.header_bytes = config->header_limit_bytes,
		.body_bytes = config->response_limit_bytes,
	};

	call->transfer = transfer_new(ctx, call->state->loop, &options, body, &events, call);
	return call->transfer ? 0 : -ENOMEM;
}

/* What chat and complete have in common. `request` has everything but the model's default and the provider's part. */
static void begin(struct qmt_ctx *ctx, struct state *state, struct openai_request *request, struct qmt_str id,
	struct qmt_str origin, struct qmt_ref sink)
{
	struct asker_request asked = {.id = id,
		.model = request->model,
		.parameters = request->parameters,
		.origin = origin,
		.sink = sink,
		.whole = !request->stream};
	const struct provider_config *config = state->config;
	struct call *call = calloc(1, sizeof *call);
	struct qmt_buf body = {0};
	struct qmt_err err = {0};
	int ret = call ? asker_open(ctx, &state->askers, config, &call->asker, &asked) : -ENOMEM;

	if (ret != 0) {
		free(call);
		if (ret < 0)
			(void)qmt_reply_fail(
				ctx, qmt_token(ctx), QMT_FAIL_FAILED, provider_error_server_error, 0, "out of memory on this node");
		return;
	}
	call->state = state;
	call->next = state->calls;
	if (state->calls)
		state->calls->prev = call;
	state->calls = call;
	openai_stream_init(&call->stream, qmt_str(call->asker.request), config->api_key, config->max_tool_calls);
	sse_init(&call->sse, config->event_limit_bytes, config->event_limit_bytes, on_event, call);

	if (request->model.len == 0)
		request->model = qmt_str(config->model);
	request->default_max_tokens = config->max_tokens;
	request->stream_usage = config->stream_usage;
	request->limit_bytes = config->request_limit_bytes;
	if (request->model.len == 0)
		ret = qmt_err_set(
			&err, OPENAI_REQUEST_E_BAD, "model: missing; name one in the request, or set model for the provider");
	else
		ret = openai_request_body(request, &body, &err);
	if (ret == 0)
		ret = send_request(ctx, call, &body);
	qmt_buf_free(&body);
	if (ret == 0)
		return;
	if (ret < 0) {
		asker_fail(ctx, &call->asker, QMT_FAIL_FAILED, provider_error_server_error, 0, "out of memory on this node");
	} else {
		qmt_err_prefix(&err, "provider %s", config->name);
		asker_fail(ctx, &call->asker, ret == OPENAI_REQUEST_E_TOO_LARGE ? QMT_FAIL_TOO_LARGE : QMT_FAIL_BAD_REQUEST,
			provider_error_invalid_request, 0, err.text);
	}
	call_free(ctx, call);
}

static void on_chat(struct qmt_ctx *ctx, void *raw, const void *body)
{
	const struct provider_chat *chat = body;
	struct openai_request request = {.model = chat->model,
		.messages = chat->messages.items,
		.message_count = chat->messages.count,
		.tools = chat->tools.items,
		.tool_count = chat->tools.count,
		.max_tokens = chat->max_tokens,
		.parameters = chat->parameters,
		.stream = true};

	begin(ctx, raw, &request, chat->request, chat->origin, chat->sink);
}

static void on_complete(struct qmt_ctx *ctx, void *raw, const void *body)
{
	const struct provider_complete *complete = body;
	struct openai_request request = {.model = complete->model,
		.messages = complete->messages.items,
		.message_count = complete->messages.count,
		.tools = complete->tools.items,
		.tool_count = complete->tools.count,
		.max_tokens = complete->max_tokens,
		.parameters = complete->parameters};

	begin(ctx, raw, &request, complete->request, complete->origin, (struct qmt_ref){0});
}

static void on_cancel(struct qmt_ctx *ctx, void *raw, const void *body)
{
	struct state *state = raw;
	const struct provider_cancel *cancel = body;
	struct call *call = (struct call *)asker_find(&state->askers, qmt_sender(ctx), cancel->request);

	if (!call)
		return;
	asker_cancelled(ctx, &call->asker);
	call_free(ctx, call);
}

static void on_info(struct qmt_ctx *ctx, void *raw, const void *body)
{
	struct state *state = raw;

	(void)body;
	openai_info_ask(ctx, state->info, state->askers.count);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void openai_down(struct qmt_ctx *ctx, void *raw, struct qmt_ref who, int reason)
{
	struct state *state = raw;
	struct asker *asker;

	(void)reason;
	while ((asker = asker_of_sink(&state->askers, who)))
		call_free(ctx, (struct call *)asker);
}

/* A stream with a hole in it is of no use to its reader. */
static void openai_undelivered(
	struct qmt_ctx *ctx, void *raw, const struct qmt_type *type, const void *body, int reason)
{
	struct state *state = raw;
	struct call *call = (struct call *)asker_undelivered(&state->askers, type, body);

	if (!call)
		return;
	asker_fail(ctx, &call->asker, reason, provider_error_transport, 0, "a piece of the answer was lost on its way");
	call_free(ctx, call);
}

static int openai_start(struct qmt_ctx *ctx, void *raw, const void *config)
{
	struct state *state = raw;
	struct qmt_err err = {0};
	char *models_url = NULL;
	int ret = provider_config_check(config, &err);

	state->config = config;
	if (ret == 0)
		ret = openai_url(state->config->base_url, "chat/completions", &state->chat_url, &err);
	if (ret == 0)
		ret = openai_url(state->config->base_url, "models", &models_url, &err);
	if (ret == 0) {
		state->loop = curl_loop_new(ctx, state, state->config->max_requests, transfer_loop_done, &err);
		if (state->loop)
			state->info = openai_info_new(state->config, state->loop, models_url);
		if (!state->loop)
			ret = err.code;
		else if (!state->info)
			ret = qmt_err_set(&err, -ENOMEM, "out of memory");
	}
	free(models_url);
	if (ret < 0)
		qmt_fail(ctx, "provider %s: %s", state->config->name ? state->config->name : "", err.text);
	return ret;
}

static void openai_stop(struct qmt_ctx *ctx, void *raw)
{
	struct state *state = raw;

	while (state->calls) {
		struct call *call = state->calls;

		if (!call->ended)
			asker_fail(ctx, &call->asker, QMT_FAIL_STOPPING, provider_error_transport, 0, "the provider stops");
		call_free(ctx, call);
	}
	state->info = openai_info_free(ctx, state->info);
	curl_loop_free(ctx, state->loop);
	free(state->chat_url);
}

static qmt_handler *const handlers[provider_message_count] = {
	[provider_chat_id] = on_chat,
	[provider_complete_id] = on_complete,
	[provider_cancel_id] = on_cancel,
	[provider_info_id] = on_info,
};

const struct qmt_actor_desc provider_openai_desc = {
	.abi = QMT_ABI,
	.name = "provider-openai",
	.doc = "Answers through an OpenAI-compatible HTTP API.",
	.state_size = sizeof(struct state),
	.accepts = {{&provider_protocol, handlers}, {&metrics_protocol, asker_metrics_handlers}},
	.start = openai_start,
	.stop = openai_stop,
	.down = openai_down,
	.undelivered = openai_undelivered,
};
