/* test/lib/session_world_provider.c - a provider that follows scripts (session_world.h), here or behind a link. */
#include "session_world_impl.h"

#include "runtime/port.h"

struct stream {
	char request[40];
	struct qmt_ref sink;
	struct qmt_token token;
	bool accepted;
	uint64_t seq;
	char *script, *at;
	struct chat_tool_call calls[128];
	uint32_t call_count;
	struct qmt_timer timer;
};

static void stream_free(struct qmt_ctx *ctx, struct fake *f)
{
	if (f->stream) {
		qmt_timer_cancel(ctx, &f->stream->timer);
		free(f->stream->script);
		free(f->stream);
	}
	f->stream = NULL;
}

/* Cuts the next part at ':' off *rest. */
static char *field(char **rest)
{
	char *start = *rest, *end = strchr(start, ':');
	if (end) {
		*end = 0;
		*rest = end + 1;
	} else {
		*rest = start + strlen(start);
	}
	return start;
}

static void piece(struct qmt_ctx *ctx, struct stream *st, const char *text, const char *think, struct qmt_str arguments)
{
	struct provider_tool_delta delta = {.arguments = arguments};
	struct provider_chunk chunk = {
		.request = qmt_str(st->request), .seq = ++st->seq, .text = qmt_str(text), .reasoning = qmt_str(think)};
	chunk.tools.items = arguments.len ? &delta : NULL;
	chunk.tools.count = arguments.len ? 1 : 0;
	qmt_tell(ctx, st->sink, &provider_chunk_type, &chunk);
}

static void stream_go_on(struct qmt_ctx *ctx, struct fake *f);

static void stream_timer(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct fake *f = state;
	(void)arg;
	LOCKED(f->w);
	f->stream->timer = (struct qmt_timer){0};
	stream_go_on(ctx, f);
}

/* One command; false: the stream waits or has ended. */
static bool stream_command(struct qmt_ctx *ctx, struct fake *f, char *command)
{
	struct stream *st = f->stream;
	char *rest = command;
	const char *name = field(&rest);
	if (strcmp(name, "refuse") == 0) {
		int fail = (int)strtol(field(&rest), NULL, 10);
		const char *kind = field(&rest);
		uint64_t retry = strtoull(field(&rest), NULL, 10);
		qmt_reply_fail(ctx, st->token, fail, *kind ? kind : NULL, retry, "%s", rest);
		stream_free(ctx, f);
		return false;
	}
	if (strcmp(name, "early") == 0)
		return true;
	if (!st->accepted && !strstr(st->script, "early")) {
		st->accepted = true;
		QMT_REPLY(ctx, st->token, provider_accepted, .request = qmt_str(st->request));
	}
	if (strcmp(name, "text") == 0) {
		piece(ctx, st, rest, "", (struct qmt_str){0});
	} else if (strcmp(name, "think") == 0) {
		piece(ctx, st, "", rest, (struct qmt_str){0});
	} else if (strcmp(name, "piece") == 0) {
		size_t n = strtoul(rest, NULL, 10);
		char *bytes = malloc(n);
		memset(bytes, 'x', n);
		piece(ctx, st, "", "", qmt_strn(bytes, n));
		free(bytes);
	} else if (strcmp(name, "gap") == 0) {
		st->seq++;
	} else if (strcmp(name, "call") == 0) {
		struct chat_tool_call *call = &st->calls[st->call_count++];
		call->id = qmt_str(field(&rest));
		call->name = qmt_str(field(&rest));
		call->arguments = qmt_str(rest);
	} else if (strcmp(name, "wait") == 0) {
		qmt_timer_start(ctx, strtoull(rest, NULL, 10), stream_timer, NULL, &st->timer);
		return false;
	} else if (strcmp(name, "die") == 0) {
		qmt_stop_self(ctx);
		return false;
	} else if (strcmp(name, "finish") == 0 || strcmp(name, "error") == 0) {
		struct provider_finish finish = {.request = qmt_str(st->request),
			.seq = ++st->seq,
			.reason = qmt_str(rest),
			.usage = {.input_tokens = 10, .output_tokens = 2}};
		if (strcmp(name, "error") == 0) {
			finish.reason = qmt_str("error");
			finish.usage = (struct chat_usage){0};
			finish.fail = QMT_FAIL_FAILED;
			finish.kind = qmt_str(field(&rest));
			finish.retry_after_ms = strtoull(field(&rest), NULL, 10);
			finish.text = qmt_str(rest);
		}
		finish.tool_calls.items = st->calls;
		finish.tool_calls.count = st->call_count;
		qmt_tell(ctx, st->sink, &provider_finish_type, &finish);
		stream_free(ctx, f);
		return false;
	} else {
		fail_msg("unknown command in a script: %s", name);
	}
	return true;
}

static void stream_go_on(struct qmt_ctx *ctx, struct fake *f)
{
	bool more = true;
	while (more && f->stream && *f->stream->at) {
		char *command = f->stream->at, *end = strchr(command, '|');
		f->stream->at = end ? end + 1 : command + strlen(command);
		if (end)
			*end = 0;
		more = stream_command(ctx, f, command);
	}
}

static void record_request(struct world *w, const struct provider_chat *chat)
{
	w->last_request.len = w->last_tools.len = 0;
	for (uint32_t i = 0; i < chat->messages.count; i++) {
		const struct chat_message *m = &chat->messages.items[i];
		assert_int_equal(m->reasoning.len, 0);
		qmt_buf_printf(&w->last_request, "%.*s: %.*s", QMT_STR_ARG(m->role), QMT_STR_ARG(m->content));
		for (uint32_t c = 0; c < m->tool_calls.count; c++)
			qmt_buf_printf(&w->last_request, " %.*s=%.*s()", QMT_STR_ARG(m->tool_calls.items[c].id),
				QMT_STR_ARG(m->tool_calls.items[c].name));
		if (m->tool_call_id.len)
			qmt_buf_printf(&w->last_request, " for %.*s", QMT_STR_ARG(m->tool_call_id));
		qmt_buf_str(&w->last_request, "\n");
	}
	for (uint32_t i = 0; i < chat->tools.count; i++)
		qmt_buf_printf(&w->last_tools, "%.*s ", QMT_STR_ARG(chat->tools.items[i].name));
	qmt_buf_str(&w->last_tools, ".");
}

static void take_chat(struct qmt_ctx *ctx, struct fake *f, const struct provider_chat *chat, struct qmt_token token)
{
	struct world *w = f->w;
	const char *script = w->script_next < w->script_count ? w->scripts[w->script_next++] : "text:ok|finish:stop";
	stream_free(ctx, f);
	struct stream *st = calloc(1, sizeof(*st));
	snprintf(st->request, sizeof(st->request), "%.*s", QMT_STR_ARG(chat->request));
	st->sink = chat->sink;
	st->token = token;
	st->script = strdup(script);
	st->at = st->script;
	f->stream = st;
	w->chats++;
	record_request(w, chat);
	stream_go_on(ctx, f);
}

static void take_cancel(struct qmt_ctx *ctx, struct fake *f, const struct provider_cancel *cancel)
{
	if (f->w->deaf) {
		f->w->deaf--;
	} else if (f->stream && qmt_str_is(cancel->request, f->stream->request)) {
		f->w->cancels++;
		stream_free(ctx, f);
	}
}

static void provider_on_chat(struct qmt_ctx *ctx, void *state, const void *body)
{
	LOCKED(((struct fake *)state)->w);
	take_chat(ctx, state, body, qmt_token(ctx));
}

static void provider_on_cancel(struct qmt_ctx *ctx, void *state, const void *body)
{
	LOCKED(((struct fake *)state)->w);
	take_cancel(ctx, state, body);
}

static void provider_stop(struct qmt_ctx *ctx, void *state)
{
	stream_free(ctx, state);
}

static qmt_handler *const provider_handlers[provider_message_count] = {
	[provider_chat_id] = provider_on_chat, [provider_cancel_id] = provider_on_cancel};
const struct qmt_actor_desc world_provider_desc = {.abi = QMT_ABI,
	.name = "fake_provider",
	.doc = "Test provider.",
	.state_size = sizeof(struct fake),
	.accepts = {{&provider_protocol, provider_handlers}},
	.start = fake_start,
	.stop = provider_stop};

static void link_outgoing(struct qmt_ctx *ctx, void *state, const struct qmt_outgoing *out)
{
	struct fake *f = state;
	LOCKED(f->w);
	snprintf(f->w->last_peer_name, sizeof(f->w->last_peer_name), "%.*s", QMT_STR_ARG(out->to_name));
	if (out->type == &provider_chat_type)
		take_chat(ctx, f, out->body, out->token);
	else if (out->type == &provider_cancel_type && f->w->busy) {
		f->w->busy--;
		qmt_outgoing_refuse(ctx, QMT_FAIL_LINK_BUSY);
	} else if (out->type == &provider_cancel_type)
		take_cancel(ctx, f, out->body);
}

const struct qmt_actor_desc world_link_desc = {.abi = QMT_ABI,
	.name = "fake_link",
	.doc = "Test link.",
	.state_size = sizeof(struct fake),
	.start = fake_start,
	.stop = provider_stop,
	.outgoing = link_outgoing};
