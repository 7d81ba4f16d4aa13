/* actors/session/turn_model.c - one step of a turn: where the agent's calls go, the request, its stream, its errors.
 *
 * Each try has a request id of its own, so that pieces of one that was given up are told apart and dropped.
 * Retried is what may go better (PROVIDER_ERRORS says which classes) while none of its text was shown: text that a
 * user has seen must not come twice. Reasoning and pieces of tool calls are no such text; the notice says that they
 * begin anew. The end of the provider, or of the link to its peer, is a monitor's message; silence is what the
 * watchdog sees.
 */
#include <inttypes.h>
#include <stdarg.h>

#include "actors/session/turn.h"

static void route(struct qmt_ctx *ctx, struct session *s);

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static bool worth_retry(struct qmt_str kind)
{
#define E(name, retry, doc)      \
	if (qmt_str_is(kind, #name)) \
		return retry;
	PROVIDER_ERRORS(E)
#undef E
	return false;
}

/* The class of a failure that the runtime made. */
static const char *kind_of(int fail)
{
	switch (fail) {
	case QMT_FAIL_DEADLINE:
		return "timeout";
	case QMT_FAIL_FULL:
	case QMT_FAIL_LINK_BUSY:
		return "busy";
	case QMT_FAIL_NOT_ALLOWED:
		return "authentication";
	case QMT_FAIL_NOT_FOUND:
		return "not_found";
	case QMT_FAIL_UNKNOWN_MESSAGE:
	case QMT_FAIL_BAD_REQUEST:
	case QMT_FAIL_TOO_LARGE:
		return "invalid_request";
	case QMT_FAIL_CANCELLED:
		return "cancelled";
	case QMT_FAIL_FAILED:
		return "server_error";
	default:
		return "transport";
	}
}

static void on_wait_over(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct session *s = state;
	(void)arg;
	s->turn.wait = (struct qmt_timer){0};
	turn_move(ctx, s, TURN_ROUTING);
	route(ctx, s);
}

/* How long to wait before try number `retries` (from 0): doubled each time, a fifth more or less by chance. */
static uint64_t backoff_ms(struct qmt_ctx *ctx, const struct session *s)
{
	const struct session_limits *limits = &s->config->limits;
	uint64_t wait = limits->retry_backoff_ms;
	for (uint32_t i = 0; i < s->turn.retries && wait < limits->retry_wait_max_ms; i++)
		wait *= 2;
	if (wait > limits->retry_wait_max_ms)
		wait = limits->retry_wait_max_ms;
	uint16_t chance;
	qmt_random(ctx, &chance, sizeof(chance));
	return wait * 4 / 5 + wait * 2 / 5 * chance / UINT16_MAX;
}

/* The try failed. Again, after a while, or the end of the turn. */
static void model_failed(struct qmt_ctx *ctx, struct session *s, int fail, struct qmt_str kind, uint64_t retry_after_ms,
	const char *format, ...) QMT_PRINTF(6, 7);
static void model_failed(struct qmt_ctx *ctx, struct session *s, int fail, struct qmt_str kind, uint64_t retry_after_ms,
	const char *format, ...)
{
	struct turn *t = &s->turn;
	const struct session_limits *limits = &s->config->limits;
	char text[QMT_ERR_TEXT], class[sizeof(t->kind)];
	va_list args;
	turn_trace(ctx, s);
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(class, sizeof(class), "%.*s", QMT_STR_ARG(kind.len ? kind : qmt_str(kind_of(fail))));

	/* No route is no trouble of the moment: a configured peer that is back will be asked by the next prompt. */
	bool again = worth_retry(qmt_str(class)) && fail != QMT_FAIL_NO_ROUTE &&
		fail != QMT_FAIL_UNKNOWN_ACTOR && !t->call.text.len &&
		t->retries < limits->max_retries && retry_after_ms <= limits->retry_wait_max_ms;
	if (!again) {
		turn_end(ctx, s, "failed", fail, class, retry_after_ms, "%s", text);
		return;
	}
	uint64_t wait = retry_after_ms ? retry_after_ms : backoff_ms(ctx, s);
	t->retries++;
	model_close(ctx, s, true);
	t->call.reasoning.len = 0;
	turn_move(ctx, s, TURN_WAITING);
	tell_notice(ctx, s, "warning", "%s: %s; trying again in %.1f s (%" PRIu32 " of %" PRIu64 ")", class, text,
		(double)wait / 1000, t->retries, limits->max_retries);
	if (qmt_timer_start(ctx, wait, on_wait_over, NULL, &t->wait))
		turn_end(ctx, s, "failed", QMT_FAIL_FAILED, "memory", 0, "out of memory");
}

static void result_failed(struct qmt_ctx *ctx, struct session *s, const struct qmt_result *result, const char *what)
{
	struct qmt_str text = result->text.len ? result->text : qmt_str(qmt_fail_name(result->fail));
	model_failed(ctx, s, result->fail, result->kind, result->retry_after_ms, "%s%.*s", what, QMT_STR_ARG(text));
}

static void out_of_memory(struct qmt_ctx *ctx, struct session *s)
{
	turn_end(ctx, s, "failed", QMT_FAIL_FAILED, "memory", 0, "out of memory");
}

/* ---- the request ------------------------------------------------------------------------------------------------- */

static void closed_free(struct closed_call *closed)
{
	free(closed->peer);
	free(closed->name);
	*closed = (struct closed_call){0};
}

void model_fini(struct session *s)
{
	for (uint32_t i = 0; i < CLOSED_CALLS; i++)
		closed_free(&s->closed[i]);
}

/* NULL: none of the last ones that were given up. */
static struct closed_call *closed_find(struct session *s, struct qmt_str request)
{
	for (uint32_t i = 0; i < CLOSED_CALLS; i++)
		if (s->closed[i].request[0] && qmt_str_is(request, s->closed[i].request))
			return &s->closed[i];
	return NULL;
}

static int send_cancel(struct qmt_ctx *ctx, struct closed_call *closed)
{
	closed->lost = false;
	closed->sent_ms = qmt_now_ms(ctx);
	return qmt_tell_name(ctx, closed->peer, closed->name, &provider_cancel_type,
		&(struct provider_cancel){.request = qmt_str(closed->request)});
}

static void on_recancel(struct qmt_ctx *ctx, void *state, void *arg);

/* A busy link is tried again; one that is gone has taken the request with it. */
static void cancel_lost(struct qmt_ctx *ctx, struct session *s, struct closed_call *closed, int reason)
{
	closed->lost = reason < 0 || reason == QMT_FAIL_LINK_BUSY || reason == QMT_FAIL_FULL;
	if (closed->lost && !s->recancel.id)
		(void)qmt_timer_start(ctx, s->config->limits.cancel_retry_ms, on_recancel, NULL, &s->recancel);
}

static void on_recancel(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct session *s = state;
	(void)arg;
	s->recancel = (struct qmt_timer){0};
	for (uint32_t i = 0; i < CLOSED_CALLS; i++)
		if (s->closed[i].lost)
			cancel_lost(ctx, s, &s->closed[i], send_cancel(ctx, &s->closed[i]));
}

void model_on_undelivered(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body, int reason)
{
	struct session *s = state;
	struct closed_call *closed =
		type == &provider_cancel_type ? closed_find(s, ((const struct provider_cancel *)body)->request) : NULL;
	if (closed)
		cancel_lost(ctx, s, closed, reason);
}

/* A piece of a request that is not open: nobody wants more of it. */
static void not_open(struct qmt_ctx *ctx, struct session *s, struct qmt_str request, bool over)
{
	struct closed_call *closed = closed_find(s, request);
	if (closed && over)
		closed->lost = false;
	else if (closed && qmt_now_ms(ctx) - closed->sent_ms >= s->config->limits.cancel_retry_ms)
		cancel_lost(ctx, s, closed, send_cancel(ctx, closed));
}

void model_close(struct qmt_ctx *ctx, struct session *s, bool cancel)
{
	struct model_call *call = &s->turn.call;
	if (cancel && call->request[0]) {
		struct closed_call *closed = &s->closed[s->closed_next++ % CLOSED_CALLS];
		closed_free(closed);
		memcpy(closed->request, call->request, sizeof(closed->request));
		closed->peer = call->peer;
		closed->name = call->name;
		call->peer = call->name = NULL;
		cancel_lost(ctx, s, closed, send_cancel(ctx, closed));
	}
	call->request[0] = 0;
	qmt_timer_cancel(ctx, &call->watchdog);
	if (qmt_ref_is_set(call->monitored))
		qmt_demonitor(ctx, call->monitored);
	call->monitored = (struct qmt_ref){0};
	free(call->peer);
	free(call->name);
	free(call->model);
	call->peer = call->name = call->model = NULL;
}

static void on_watchdog(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct session *s = state;
	struct model_call *call = &s->turn.call;
	const struct session_limits *limits = &s->config->limits;
	(void)arg;
	call->watchdog = (struct qmt_timer){0};
	uint64_t limit = call->seq ? limits->idle_timeout_ms : limits->first_chunk_timeout_ms,
			 silent = qmt_now_ms(ctx) - call->last_ms;
	if (silent < limit) {
		if (qmt_timer_start(ctx, limit - silent, on_watchdog, NULL, &call->watchdog))
			out_of_memory(ctx, s);
		return;
	}
	model_failed(ctx, s, QMT_FAIL_DEADLINE, qmt_str("timeout"), 0, "%s for %.1f s (%s)",
		call->seq ? "no further piece of the answer" : "no answer", (double)limit / 1000,
		call->seq ? "idle_timeout_ms" : "first_chunk_timeout_ms");
}

static void on_accepted(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct session *s = state;
	if (!turn_is_now(s, arg)) /* the stream has begun already, or it was given up */
		return;
	if (result->fail)
		result_failed(ctx, s, result, "");
	else
		turn_move(ctx, s, TURN_STREAMING);
}

/* Watches the provider, or the link to its peer. Without a monitor the watchdog is what is left. */
static void monitor(struct qmt_ctx *ctx, struct model_call *call)
{
	char link[160];
	snprintf(link, sizeof(link), "peer/%s", call->peer ? call->peer : "");
	struct qmt_ref who;
	if (qmt_lookup(ctx, call->peer ? link : call->name, &who) == 0 && qmt_monitor(ctx, who) == 0)
		call->monitored = who;
}

static void ask_model(struct qmt_ctx *ctx, struct session *s)
{
	struct turn *t = &s->turn;
	struct model_call *call = &t->call;
	struct chat_message *messages = NULL;
	struct provider_chat chat = {.model = qmt_str(call->model),
		.parameters = qmt_str(s->config->parameters),
		.sink = qmt_self(ctx),
		.session = qmt_str(s->config->id)};
	if (history_request(&t->history, s->config->system, &messages, &chat.messages.count)) {
		out_of_memory(ctx, s);
		return;
	}
	chat.messages.items = messages;
	chat.tools.items = s->offers;
	chat.tools.count = s->offer_count;
	qmt_uuid(ctx, call->request);
	chat.request = qmt_str(call->request);
	call->seq = 0;
	call->piece_bytes = 0;
	call->last_ms = call->checkpoint_ms = qmt_now_ms(ctx);
	monitor(ctx, call);
	turn_move(ctx, s, TURN_ASKING);
	/* The watchdog comes first; the ask's own deadline is for the case that nobody answers at all. */
	uint64_t first_ms = s->config->limits.first_chunk_timeout_ms;
	int fail = qmt_ask_name(
		ctx, call->peer, call->name, &provider_chat_type, &chat, first_ms + 5000, on_accepted, turn_arg(s));
	free(messages);
	if (fail < 0 || (!fail && qmt_timer_start(ctx, first_ms, on_watchdog, NULL, &call->watchdog)))
		out_of_memory(ctx, s);
	else if (fail > 0)
		model_failed(ctx, s, fail, (struct qmt_str){0}, 0, "%s%s%s: %s", call->name, call->peer ? " on peer " : "",
			call->peer ? call->peer : "", qmt_fail_name(fail));
}

static void on_resolved(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct session *s = state;
	struct model_call *call = &s->turn.call;
	if (!turn_is_now(s, arg))
		return;
	if (result->fail) {
		turn_end(ctx, s, "failed", result->fail, result->fail == QMT_FAIL_NOT_FOUND ? "not_found" : "transport",
			result->retry_after_ms, "%.*s",
			QMT_STR_ARG(result->text.len ? result->text : qmt_str(qmt_fail_name(result->fail))));
		return;
	}
	const struct router_route *r = &((const struct router_resolved *)result->body)->route;
	if (qmt_str_is(r->target, "peer") && !r->peer_id.len) { /* never a local run instead */
		turn_end(
			ctx, s, "failed", QMT_FAIL_NO_ROUTE, "transport", 0, "peer %.*s is not connected", QMT_STR_ARG(r->peer));
		return;
	}
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf name = {0};
	qmt_buf_printf(&name, "provider/%.*s", QMT_STR_ARG(r->provider));
	call->name = name.failed ? NULL : qmt_str_dup(qmt_buf_view(&name));
	call->model = qmt_str_dup(r->model);
	call->peer = qmt_str_is(r->target, "peer") ? qmt_str_dup(r->peer_id) : NULL;
	if (!call->name || !call->model || (qmt_str_is(r->target, "peer") && !call->peer))
		out_of_memory(ctx, s);
	else
		ask_model(ctx, s);
}

static void route(struct qmt_ctx *ctx, struct session *s)
{
	struct qmt_ref router = {0};
	if (qmt_lookup(ctx, "router", &router))
		router = (struct qmt_ref){0};
	qmt_ask_or(ctx, router, &router_resolve_type, &(struct router_resolve){.agent = qmt_str(s->config->agent)},
		s->config->limits.first_chunk_timeout_ms, on_resolved, turn_arg(s)); /* it may wait for a peer */
}

void model_step(struct qmt_ctx *ctx, struct session *s)
{
	struct turn *t = &s->turn;
	if (t->steps >= s->config->limits.max_steps) {
		turn_end(ctx, s, "limit", QMT_FAIL_FAILED, "max_steps", 0,
			"the turn has made %" PRIu32 " model calls (max_steps): say \"go on\", or raise the limit", t->steps);
		return;
	}
	if (t->history.bytes > s->config->limits.max_history_bytes) {
		turn_end(ctx, s, "failed", QMT_FAIL_TOO_LARGE, "context_window_exceeded", 0,
			"the conversation is over max_history_bytes (%" PRIu64 "): begin a new session, or raise the limit",
			s->config->limits.max_history_bytes);
		return;
	}
	t->steps++;
	t->retries = 0;
	t->call.text.len = t->call.reasoning.len = 0;
	turn_move(ctx, s, TURN_ROUTING);
	route(ctx, s);
}

/* ---- the stream -------------------------------------------------------------------------------------------------- */

static void checkpoint(struct qmt_ctx *ctx, struct session *s);

static void on_checkpoint_stored(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct session *s = state;
	(void)arg;
	s->turn.call.checkpoint_sent = false;
	if (result->fail) /* the answer itself will be tried, and tell */
		QMT_LOG(
			ctx, QMT_WARN, "session.checkpoint_failed", "session", s->config->id, "fail", qmt_fail_name(result->fail));
}

static void on_checkpoint_due(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct session *s = state;
	(void)arg;
	s->turn.call.checkpoint = (struct qmt_timer){0};
	turn_trace(ctx, s);
	if (s->turn.state == TURN_STREAMING)
		checkpoint(ctx, s);
}

/* Stores the text so far, at most every checkpoint_ms; a piece that comes sooner sets the timer for it. */
static void checkpoint(struct qmt_ctx *ctx, struct session *s)
{
	struct model_call *call = &s->turn.call;
	if (!call->text.len || call->checkpoint.id)
		return;
	uint64_t every = s->config->limits.checkpoint_ms, since = qmt_now_ms(ctx) - call->checkpoint_ms;
	struct qmt_ref store;
	if (since < every || call->checkpoint_sent) {
		(void)qmt_timer_start(ctx, since < every ? every - since : every, on_checkpoint_due, NULL, &call->checkpoint);
	} else if (qmt_lookup(ctx, "store", &store) == 0) {
		call->checkpoint_ms = qmt_now_ms(ctx);
		call->checkpoint_sent =
			QMT_ASK(ctx, store, s->config->limits.store_timeout_ms, on_checkpoint_stored, NULL, store_checkpoint,
				.session = qmt_str(s->config->id), .turn = s->turn.number, .text = qmt_buf_view(&call->text)) == 0;
	}
}

/* True when `request` is the one that streams now; the first sign of it moves ASKING to STREAMING. */
static bool is_open(struct qmt_ctx *ctx, struct session *s, struct qmt_str request)
{
	struct turn *t = &s->turn;
	if (!t->call.request[0] || !qmt_str_is(request, t->call.request))
		return false;
	turn_trace(ctx, s);
	if (t->state == TURN_ASKING)
		turn_move(ctx, s, TURN_STREAMING);
	return true;
}

/* A number that is missing is an error, not something to pass over: the text would be wrong without anybody seeing it.
 * */
static bool in_order(struct qmt_ctx *ctx, struct session *s, uint64_t seq)
{
	uint64_t want = s->turn.call.seq + 1;
	if (seq == want)
		return true;
	model_failed(ctx, s, QMT_FAIL_FAILED, qmt_str("malformed"), 0,
		"piece %" PRIu64 " of the answer came where %" PRIu64 " was due: something was lost", seq, want);
	return false;
}

void model_on_chunk(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct session *s = state;
	const struct provider_chunk *chunk = body;
	struct model_call *call = &s->turn.call;
	if (!is_open(ctx, s, chunk->request)) {
		not_open(ctx, s, chunk->request, false);
		return;
	}
	if (!in_order(ctx, s, chunk->seq))
		return;
	call->seq = chunk->seq;
	call->last_ms = qmt_now_ms(ctx);
	if (call->seq == 1) { /* from now on the shorter limit holds */
		qmt_timer_cancel(ctx, &call->watchdog);
		if (qmt_timer_start(ctx, s->config->limits.idle_timeout_ms, on_watchdog, NULL, &call->watchdog)) {
			out_of_memory(ctx, s);
			return;
		}
	}
	for (uint32_t i = 0; i < chunk->tools.count; i++)
		call->piece_bytes += chunk->tools.items[i].arguments.len;
	qmt_buf_append(&call->text, chunk->text.p, chunk->text.len);
	qmt_buf_append(&call->reasoning, chunk->reasoning.p, chunk->reasoning.len);
	if (call->text.failed || call->reasoning.failed) {
		out_of_memory(ctx, s);
		return;
	}
	if (chunk->text.len || chunk->reasoning.len)
		tell_delta(ctx, s, chunk->text, chunk->reasoning);
	if (call->text.len + call->reasoning.len > s->config->limits.max_answer_bytes ||
		call->piece_bytes > s->config->limits.max_answer_bytes)
		turn_end(ctx, s, "limit", QMT_FAIL_TOO_LARGE, "max_answer_bytes", 0,
			"the answer is over max_answer_bytes (%" PRIu64 ")", s->config->limits.max_answer_bytes);
	else if (chunk->text.len)
		checkpoint(ctx, s);
}

/* ---- the finish -------------------------------------------------------------------------------------------------- */

static void add_usage(struct chat_usage *sum, const struct chat_usage *more)
{
	sum->input_tokens += more->input_tokens;
	sum->output_tokens += more->output_tokens;
	sum->cached_tokens += more->cached_tokens;
	sum->reasoning_tokens += more->reasoning_tokens;
}

static void on_answer_stored(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct session *s = state;
	if (!turn_is_now(s, arg))
		return;
	if (result->fail)
		turn_store_failed(ctx, s, result, "the answer could not be stored");
	else
		tools_start(ctx, s);
}

/* An id that is empty or used twice in the answer is replaced: results are found by it. Our ids hold the place in the
 * turn. */
static void make_ids(struct turn *t, struct chat_tool_call *calls, uint32_t count, char room[][48])
{
	for (uint32_t i = 0; i < count; i++) {
		bool good = calls[i].id.len > 0;
		for (uint32_t j = 0; j < i && good; j++)
			good = !qmt_str_eq(calls[i].id, calls[j].id);
		if (good)
			continue;
		snprintf(room[i], sizeof(room[i]), "qmt-%" PRIu64 "-%" PRIu32 "-%" PRIu32, t->number, t->steps, i);
		calls[i].id = qmt_str(room[i]);
	}
}

static void store_answer(struct qmt_ctx *ctx, struct session *s, const struct provider_finish *finish)
{
	struct turn *t = &s->turn;
	uint32_t count = finish->tool_calls.count;
	struct chat_tool_call *calls = calloc(count, sizeof(*calls));
	char(*ids)[48] = calloc(count, sizeof(*ids));
	int code = calls && ids ? 0 : -1;
	if (!code) {
		memcpy(calls, finish->tool_calls.items, count * sizeof(*calls));
		make_ids(t, calls, count, ids);
		struct chat_message answer = {.role = qmt_str("assistant"),
			.content = qmt_buf_view(&t->call.text),
			.reasoning = qmt_buf_view(&t->call.reasoning)};
		answer.tool_calls.items = calls;
		answer.tool_calls.count = count;
		code = history_add(&t->history, &answer);
	}
	free(calls);
	free(ids);
	if (code) {
		out_of_memory(ctx, s);
		return;
	}
	t->call.text.len = t->call.reasoning.len = 0; /* it is in the history now */
	qmt_timer_cancel(ctx, &t->call.checkpoint);
	turn_move(ctx, s, TURN_STORING_ANSWER);
	struct store_append append = {.session = qmt_str(s->config->id), .turn = t->number};
	append.messages.items = &t->history.items[t->history.count - 1];
	append.messages.count = 1;
	struct qmt_ref store = {0};
	if (qmt_lookup(ctx, "store", &store))
		store = (struct qmt_ref){0};
	qmt_ask_or(
		ctx, store, &store_append_type, &append, s->config->limits.store_timeout_ms, on_answer_stored, turn_arg(s));
}

static uint64_t argument_bytes(const struct provider_finish *finish)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < finish->tool_calls.count; i++)
		bytes += (uint64_t)finish->tool_calls.items[i].arguments.len + finish->tool_calls.items[i].name.len +
			finish->tool_calls.items[i].id.len;
	return bytes;
}

void model_on_finish(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct session *s = state;
	struct turn *t = &s->turn;
	const struct session_limits *limits = &s->config->limits;
	const struct provider_finish *finish = body;
	if (!is_open(ctx, s, finish->request)) {
		not_open(ctx, s, finish->request, true);
		return;
	}
	add_usage(&t->usage, &finish->usage);
	snprintf(t->finish, sizeof(t->finish), "%.*s", QMT_STR_ARG(finish->reason));
	if (!in_order(ctx, s, finish->seq))
		return;
	model_close(ctx, s, false); /* nothing is left to cancel */
	if (qmt_str_is(finish->reason, "error")) {
		int fail = finish->fail ? (int)finish->fail : QMT_FAIL_FAILED;
		struct qmt_str text = finish->text.len ? finish->text : qmt_str(qmt_fail_name(fail));
		model_failed(ctx, s, fail, finish->kind, finish->retry_after_ms, "%.*s", QMT_STR_ARG(text));
	} else if (qmt_str_is(finish->reason, "cancelled")) {
		model_failed(ctx, s, QMT_FAIL_CANCELLED, qmt_str("cancelled"), 0, "the provider ended the request");
	} else if (qmt_str_is(finish->reason, "length")) {
		turn_end(ctx, s, "limit", QMT_FAIL_FAILED, "length", 0,
			"the model stopped at its limit of tokens: say \"go on\", or raise max_tokens");
	} else if (qmt_str_is(finish->reason, "content_filter")) {
		turn_end(
			ctx, s, "failed", QMT_FAIL_FAILED, "content_filter", 0, "the upstream's content filter ended the answer");
	} else if (finish->tool_calls.count > limits->max_tool_calls) {
		turn_end(ctx, s, "limit", QMT_FAIL_TOO_LARGE, "max_tool_calls", 0,
			"%" PRIu32 " tool calls in one answer are over max_tool_calls (%" PRIu64 ")", finish->tool_calls.count,
			limits->max_tool_calls);
	} else if (argument_bytes(finish) > limits->max_answer_bytes) {
		turn_end(ctx, s, "limit", QMT_FAIL_TOO_LARGE, "max_answer_bytes", 0,
			"the tool calls are over max_answer_bytes (%" PRIu64 ")", limits->max_answer_bytes);
	} else if (finish->tool_calls.count) {
		store_answer(ctx, s, finish); /* whatever the reason says: some servers say stop */
	} else if (qmt_str_is(finish->reason, "tool_calls")) {
		model_failed(ctx, s, QMT_FAIL_FAILED, qmt_str("malformed"), 0, "the answer ended for tool calls, but has none");
	} else {
		turn_end(ctx, s, "complete", 0, "", 0, "%s", "");
	}
}

void model_on_down(struct qmt_ctx *ctx, struct session *s, struct qmt_ref who, int reason)
{
	struct model_call *call = &s->turn.call;
	if (!call->request[0] || !qmt_ref_eq(who, call->monitored))
		return;
	bool remote = call->peer != NULL;
	call->monitored = (struct qmt_ref){0};
	model_close(ctx, s, false);
	model_failed(ctx, s, remote ? QMT_FAIL_PEER_GONE : QMT_FAIL_NOT_RUNNING, qmt_str("transport"), 0,
		"%s in the middle of the answer (%s)", remote ? "the link to the peer ended" : "the provider ended",
		reason ? qmt_fail_name(reason) : "stopped");
}
