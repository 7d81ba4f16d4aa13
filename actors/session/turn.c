/* actors/session/turn.c - states of a turn, the prompt that begins it and how it ends. Diagram: turn.h.
 *
 * A turn in the store outlives this actor: an incarnation that failed leaves it "running" there, and the store takes
 * no other turn of the session until it has ended. So "busy" from the store while nothing runs here means such a
 * leftover: it is ended as interrupted (RECOVERING), then the prompt is tried once more.
 */
#include "turn.h"

#include <inttypes.h>
#include <stdarg.h>

#include "actors/session/tool_text.h"

enum { HISTORY_PAGE = 200 };

static const char *const names[] = {
#define S(name, moves) [TURN_##name] = #name,
	TURN_STATES(S)
#undef S
};

#define B(name) (1u << TURN_##name)
static const uint32_t allowed[] = {
#define S(name, moves) [TURN_##name] = moves,
	TURN_STATES(S)
#undef S
};

/* What must hold in a state; NULL, or what does not. */
static const char *turn_check(const struct turn *t)
{
	uint32_t state = 1u << t->state;
	if (!t->prompt != (t->state == TURN_IDLE))
		return "a prompt is kept while a turn is under way, only then";
	if (!(state & (B(IDLE) | B(STORING_PROMPT) | B(RECOVERING))) && !t->number)
		return "the turn is stored";
	if ((state & (B(IDLE) | B(STORING_PROMPT) | B(RECOVERING))) && t->history.count)
		return "no history before the prompt is stored";
	if ((t->call.request[0] != 0) != ((state & (B(ASKING) | B(STREAMING))) != 0))
		return "a model request is open while it is asked for or streams, only then";
	if ((state & (B(RUNNING_TOOLS) | B(CANCELLING))) && !t->batch.count)
		return "tools run";
	if ((t->batch.running > 0) && !(state & (B(RUNNING_TOOLS) | B(CANCELLING))))
		return "no tool runs any more";
	if (t->cancel && (state & (B(IDLE) | B(LOADING) | B(ROUTING) | B(ASKING) | B(STREAMING) | B(WAITING))))
		return "a cancelled turn goes on to its end";
	return NULL;
}

void turn_move(struct qmt_ctx *ctx, struct session *s, enum turn_state to)
{
	struct turn *t = &s->turn;
	enum turn_state from = t->state;
	turn_trace(ctx, s);
	t->state = to;
	t->epoch++;
	const char *broken = allowed[from] & (1u << to) ? turn_check(t) : "no such move";
	if (broken)
		qmt_fail(ctx, "turn %" PRIu64 ": %s -> %s: %s", t->number, names[from], names[to], broken);
	QMT_LOG(ctx, QMT_DEBUG, "session.state", "session", s->config->id, "turn", QMT_LOG_U64(t->number), "from",
		names[from], "to", names[to]);
}

static void ask_store(
	struct qmt_ctx *ctx, struct session *s, const struct qmt_type *type, const void *body, qmt_continuation *then)
{
	struct qmt_ref store = {0};
	if (qmt_lookup(ctx, "store", &store))
		store = (struct qmt_ref){0}; /* nobody: `then` gets "not running" */
	qmt_ask_or(ctx, store, type, body, s->config->limits.store_timeout_ms, then, turn_arg(s));
}

static struct qmt_str result_text(const struct qmt_result *result)
{
	return result->text.len ? result->text : qmt_str(qmt_fail_name(result->fail));
}

/* ---- letting go -------------------------------------------------------------------------------------------------- */

/* Everything of the turn; those who wait for its end are answered. */
static void turn_reset(struct qmt_ctx *ctx, struct session *s)
{
	struct turn *t = &s->turn;
	for (uint32_t i = 0; i < t->cancel_count; i++)
		QMT_REPLY(ctx, t->cancels[i], session_cancelled, .was_running = true);
	tools_free(ctx, s);
	model_close(ctx, s, false);
	qmt_timer_cancel(ctx, &t->wait);
	qmt_timer_cancel(ctx, &t->call.checkpoint);
	qmt_buf_free(&t->call.text);
	qmt_buf_free(&t->call.reasoning);
	history_free(&t->history);
	qmt_msg_free(ctx, t->prompt_msg);
	enum turn_state state = t->state;
	uint64_t epoch = t->epoch;
	*t = (struct turn){.state = state, .epoch = epoch};
}

void turn_drop(struct qmt_ctx *ctx, struct session *s)
{
	turn_reset(ctx, s);
}

static void on_idle(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct session *s = state;
	(void)arg;
	s->idle = (struct qmt_timer){0};
	QMT_LOG(ctx, QMT_DEBUG, "session.leaves_memory", "session", s->config->id);
	qmt_stop_self(ctx);
}

void turn_await(struct qmt_ctx *ctx, struct session *s)
{
	if (s->config->limits.idle_minutes) /* without memory for the timer it stays, and frees none */
		(void)qmt_timer_start(ctx, s->config->limits.idle_minutes * 60000, on_idle, NULL, &s->idle);
}

static void turn_idle(struct qmt_ctx *ctx, struct session *s)
{
	turn_reset(ctx, s);
	turn_move(ctx, s, TURN_IDLE);
	turn_await(ctx, s);
}

static void refuse_prompt(struct qmt_ctx *ctx, struct session *s, int fail, const char *kind, const char *text)
{
	struct turn *t = &s->turn;
	for (uint32_t i = 0; i < t->prompt_count; i++)
		qmt_reply_fail(ctx, t->prompts[i], fail, kind, 0, "%.*s", QMT_STR_ARG(tool_text_valid(text)));
	turn_idle(ctx, s);
}

static void answer_prompt(
	struct qmt_ctx *ctx, struct session *s, struct qmt_token token, bool duplicate, struct qmt_str state)
{
	QMT_REPLY(ctx, token, session_prompted, .session = qmt_str(s->config->id), .turn = s->turn.number,
		.duplicate = duplicate, .state = state);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void on_farewell_over(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct session *s = state;
	(void)arg;
	s->turn.wait = (struct qmt_timer){0};
	turn_idle(ctx, s);
}

/* The node stops when this session is through, and with it the links: what watchers were told must leave before. A
 * watcher that has the end goes away; one that stays is not waited for long. */
static void farewell(struct qmt_ctx *ctx, struct session *s)
{
	struct turn *t = &s->turn;
	bool waits = t->watcher_count > 0;
	for (uint32_t i = 0; i < t->watcher_count && waits; i++)
		waits = qmt_monitor(ctx, t->watchers[i]) == 0;
	if (!waits || qmt_timer_start(ctx, s->config->limits.farewell_ms, on_farewell_over, NULL, &t->wait))
		turn_idle(ctx, s);
}

void turn_on_down(struct qmt_ctx *ctx, struct session *s, struct qmt_ref who)
{
	struct turn *t = &s->turn;
	if (!t->interrupt)
		return;
	for (uint32_t i = 0; i < t->watcher_count;) {
		if (qmt_ref_eq(t->watchers[i], who))
			t->watchers[i] = t->watchers[--t->watcher_count];
		else
			i++;
	}
	if (!t->watcher_count && t->wait.id)
		turn_idle(ctx, s);
}

static void on_ended(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct session *s = state;
	struct turn *t = &s->turn;
	if (!turn_is_now(s, arg))
		return;
	if (result->fail) {
		QMT_LOG(ctx, QMT_ERROR, "session.store_failed", "session", s->config->id, "turn", QMT_LOG_U64(t->number),
			"fail", qmt_fail_name(result->fail));
		char earlier[sizeof(t->text)];
		snprintf(earlier, sizeof(earlier), "%s", t->text);
		t->outcome = "failed";
		t->fail = (uint32_t)result->fail;
		snprintf(t->kind, sizeof(t->kind), "store");
		snprintf(t->text, sizeof(t->text), "the end of the turn could not be stored: %.*s%s%.300s",
			QMT_STR_ARG(result_text(result)), earlier[0] ? "; before that: " : "", earlier);
		t->text[tool_text_valid(t->text).len] = 0;
	}
	/* counted first: who was told of the end finds it counted */
	(void)QMT_TELL(ctx, qmt_parent(ctx), session_turn_ended, .outcome = qmt_str(t->outcome));
	tell_end(ctx, s);
	if (t->interrupt)
		farewell(ctx, s);
	else
		turn_idle(ctx, s);
}

/* The answer that is not stored yet, as a message. Returns false when there is none. */
static bool open_answer(const struct turn *t, struct chat_message *ret_message)
{
	if (!t->call.text.len && !t->call.reasoning.len)
		return false;
	*ret_message = (struct chat_message){.role = qmt_str("assistant"),
		.content = qmt_buf_view(&t->call.text),
		.reasoning = qmt_buf_view(&t->call.reasoning)};
	return true;
}

void turn_end(struct qmt_ctx *ctx, struct session *s, const char *outcome, int fail, const char *kind,
	uint64_t retry_after_ms, const char *format, ...)
{
	struct turn *t = &s->turn;
	if (t->state == TURN_IDLE || t->state == TURN_ENDING)
		return;
	turn_trace(ctx, s);
	t->outcome = outcome;
	t->fail = (uint32_t)fail;
	t->retry_after_ms = retry_after_ms;
	snprintf(t->kind, sizeof(t->kind), "%s", kind);
	va_list args;
	va_start(args, format);
	vsnprintf(t->text, sizeof(t->text), format, args);
	va_end(args);
	/* Texts may have been cut in the middle of a character; a message must be valid. */
	t->text[tool_text_valid(t->text).len] = 0;
	t->kind[tool_text_valid(t->kind).len] = 0;
	t->finish[tool_text_valid(t->finish).len] = 0;

	model_close(ctx, s, true);
	qmt_timer_cancel(ctx, &t->wait);
	qmt_timer_cancel(ctx, &t->call.checkpoint);
	struct chat_message answer;
	const struct chat_message *messages = NULL;
	uint32_t count = 0, first = t->history.count;
	if (t->batch.count) {
		/* Calls are stored; whatever happened to them, each gets a result. */
		if (tools_results(s) == 0) {
			messages = t->history.items + first;
			count = t->history.count - first;
		}
		tools_free(ctx, s);
	} else if (open_answer(t, &answer)) {
		messages = &answer;
		count = 1;
	}
	turn_move(ctx, s, TURN_ENDING);
	struct store_turn_end end = {.session = qmt_str(s->config->id),
		.turn = t->number,
		.state = qmt_str(outcome),
		.finish = qmt_str(t->finish),
		.error = qmt_str(t->text),
		.usage = t->usage,
		.steps = t->steps};
	end.messages.items = messages;
	end.messages.count = count;
	ask_store(ctx, s, &store_turn_end_type, &end, on_ended);
}

void turn_end_cancelled(struct qmt_ctx *ctx, struct session *s)
{
	if (s->turn.interrupt)
		turn_end(
			ctx, s, "interrupted", QMT_FAIL_STOPPING, "stopping", 0, "the node that hosts the session was stopped");
	else
		turn_end(ctx, s, "cancelled", QMT_FAIL_CANCELLED, "cancelled", 0, "cancelled");
}

void turn_store_failed(struct qmt_ctx *ctx, struct session *s, const struct qmt_result *result, const char *what)
{
	turn_end(ctx, s, "failed", result->fail, "store", 0, "%s: %.*s", what, QMT_STR_ARG(result_text(result)));
}

/* ---- history ----------------------------------------------------------------------------------------------------- */

static void load_from(struct qmt_ctx *ctx, struct session *s, uint64_t from);

static void on_page(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct session *s = state;
	struct turn *t = &s->turn;
	if (!turn_is_now(s, arg))
		return;
	if (result->fail) {
		turn_store_failed(ctx, s, result, "the history could not be read");
		return;
	}
	const struct store_page *page = result->body;
	for (uint32_t i = 0; i < page->messages.count; i++) {
		if (history_add(&t->history, &page->messages.items[i])) {
			turn_end(ctx, s, "failed", QMT_FAIL_FAILED, "memory", 0, "out of memory while the history was read");
			return;
		}
	}
	t->loaded = t->history.count;
	if (page->next && t->history.bytes <= s->config->limits.max_history_bytes)
		load_from(ctx, s, page->next);
	else
		model_step(ctx, s);
}

static void load_from(struct qmt_ctx *ctx, struct session *s, uint64_t from)
{
	ask_store(ctx, s, &store_history_type,
		&(struct store_history){.session = qmt_str(s->config->id), .from = from, .limit = HISTORY_PAGE}, on_page);
}

/* ---- the prompt -------------------------------------------------------------------------------------------------- */

static void store_prompt(struct qmt_ctx *ctx, struct session *s);

static void on_recovered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct session *s = state;
	if (!turn_is_now(s, arg))
		return;
	if (result->fail) {
		char text[QMT_ERR_TEXT];
		snprintf(text, sizeof(text), "an earlier turn that was cut off could not be ended: %.*s",
			QMT_STR_ARG(result_text(result)));
		refuse_prompt(ctx, s, result->fail, "store", text);
		return;
	}
	(void)QMT_TELL(ctx, qmt_parent(ctx), session_turn_ended, .outcome = qmt_str("interrupted"));
	turn_move(ctx, s, TURN_STORING_PROMPT);
	store_prompt(ctx, s);
}

static void end_leftover(struct qmt_ctx *ctx, struct session *s, uint64_t turn)
{
	QMT_LOG(ctx, QMT_WARN, "session.interrupted", "session", s->config->id, "turn", QMT_LOG_U64(turn));
	ask_store(ctx, s, &store_turn_end_type,
		&(struct store_turn_end){.session = qmt_str(s->config->id),
			.turn = turn,
			.state = qmt_str("interrupted"),
			.error = qmt_str("the session was cut off in this turn")},
		on_recovered);
}

static void on_found(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct session *s = state;
	if (!turn_is_now(s, arg))
		return;
	if (result->fail)
		on_recovered(ctx, state, result, arg);
	else
		end_leftover(ctx, s, ((const struct store_session_found *)result->body)->session.turns);
}

/* turn: the one left over; 0: the store must be asked which. */
static void recover(struct qmt_ctx *ctx, struct session *s, uint64_t turn)
{
	s->turn.recovered = true;
	turn_move(ctx, s, TURN_RECOVERING);
	if (turn)
		end_leftover(ctx, s, turn);
	else
		ask_store(
			ctx, s, &store_session_find_type, &(struct store_session_find){.key = qmt_str(s->config->id)}, on_found);
}

static void begin(struct qmt_ctx *ctx, struct session *s, const struct store_turn_begun *begun)
{
	struct turn *t = &s->turn;
	t->number = begun->turn;
	if (!begun->duplicate)
		(void)QMT_TELL(ctx, qmt_parent(ctx), session_turn_began, );
	for (uint32_t i = 0; i < t->prompt_count; i++)
		answer_prompt(ctx, s, t->prompts[i], begun->duplicate || i > 0, begun->state);
	t->prompt_count = 0;
	if (begun->duplicate) { /* nothing to do, it has had its turn */
		turn_idle(ctx, s);
	} else if (t->cancel) {
		turn_end_cancelled(ctx, s);
	} else {
		if (t->number == 1 && s->config->refuses_tools && s->config->tools)
			tell_notice(ctx, s, "warning",
				"tools are off: this session belongs to another node, and the one that hosts it has not set [mesh] "
				"allow_remote_tools = true");
		turn_move(ctx, s, TURN_LOADING);
		load_from(ctx, s, 1);
	}
}

static void on_begun(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct session *s = state;
	if (!turn_is_now(s, arg))
		return;
	if (result->fail) {
		if (qmt_str_is(result->kind, "busy") && !s->turn.recovered) {
			recover(ctx, s, 0);
			return;
		}
		char kind[48], text[QMT_ERR_TEXT];
		snprintf(kind, sizeof(kind), "%.*s", QMT_STR_ARG(result->kind.len ? result->kind : qmt_str("store")));
		snprintf(text, sizeof(text), "the prompt could not be stored: %.*s", QMT_STR_ARG(result_text(result)));
		refuse_prompt(ctx, s, result->fail, kind, text);
		return;
	}
	const struct store_turn_begun *begun = result->body;
	if (begun->duplicate && qmt_str_is(begun->state, "running") && !s->turn.recovered)
		recover(ctx, s, begun->turn);
	else
		begin(ctx, s, begun);
}

static void store_prompt(struct qmt_ctx *ctx, struct session *s)
{
	const struct session_prompt *prompt = s->turn.prompt;
	ask_store(ctx, s, &store_turn_begin_type,
		&(struct store_turn_begin){.session = qmt_str(s->config->id),
			.request = prompt->request,
			.text = prompt->text,
			.author = prompt->author},
		on_begun);
}

/* A prompt while a turn is under way: the same one again joins it, another is refused. */
static void prompt_meanwhile(struct qmt_ctx *ctx, struct session *s, const struct session_prompt *prompt)
{
	struct turn *t = &s->turn;
	bool same = qmt_str_eq(prompt->request, t->prompt->request);
	if (same && t->number) {
		tell_watch(s, prompt->watcher);
		tell_again(ctx, s, prompt->watcher, prompt->shown);
		answer_prompt(ctx, s, qmt_token(ctx), true, qmt_str("running"));
	} else if (same && t->prompt_count < SESSION_WAITERS) {
		tell_watch(s, prompt->watcher);
		t->prompts[t->prompt_count++] = qmt_token(ctx);
	} else {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, "busy", 0,
			"a turn of session %s is under way: wait for its end, or cancel it", s->config->id);
	}
}

void turn_on_prompt(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct session *s = state;
	struct turn *t = &s->turn;
	const struct session_prompt *prompt = body;
	const struct session_limits *limits = &s->config->limits;
	const char *wrong = !prompt->request.len ? "request: a prompt needs an id, so that a retry does not prompt twice"
		: !prompt->text.len                  ? "text: a prompt is not empty"
											 : NULL;
	if (wrong) {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0, "%s", wrong);
	} else if (prompt->text.len > limits->max_prompt_bytes) {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_TOO_LARGE, NULL, 0,
			"a prompt of %" PRIu32 " bytes is over max_prompt_bytes (%" PRIu64 ")", prompt->text.len,
			limits->max_prompt_bytes);
	} else if (t->state != TURN_IDLE) {
		prompt_meanwhile(ctx, s, prompt);
	} else if (s->stopping) {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_STOPPING, NULL, 0, "the node is being stopped");
	} else {
		struct qmt_token token = qmt_token(ctx);
		t->trace = qmt_trace(ctx) ? qmt_trace(ctx) : qmt_trace_of(prompt->request);
		t->prompt_msg = qmt_keep(ctx);
		t->prompt = prompt;
		t->prompts[t->prompt_count++] = token;
		tell_watch(s, prompt->watcher);
		qmt_timer_cancel(ctx, &s->idle);
		turn_move(ctx, s, TURN_STORING_PROMPT);
		store_prompt(ctx, s);
	}
}

/* ---- cancel ------------------------------------------------------------------------------------------------------ */

/* Ends what runs; the message that is being handled is answered when that has ended. */
static void cancel_running(struct qmt_ctx *ctx, struct session *s)
{
	struct turn *t = &s->turn;
	struct qmt_token token = qmt_token(ctx);
	if (t->cancel_count < SESSION_WAITERS)
		t->cancels[t->cancel_count++] = token;
	else
		QMT_REPLY(ctx, token, session_cancelled, .was_running = true);
	switch (t->state) {
	case TURN_IDLE:
	case TURN_CANCELLING:
	case TURN_ENDING:
		return;
	case TURN_STORING_PROMPT:
	case TURN_RECOVERING:
	case TURN_STORING_ANSWER:
	case TURN_STORING_RESULTS:
		t->cancel = true;
		return;
	case TURN_RUNNING_TOOLS:
		tools_cancel(ctx, s);
		return;
	case TURN_LOADING:
	case TURN_ROUTING:
	case TURN_ASKING:
	case TURN_STREAMING:
	case TURN_WAITING:
		turn_end_cancelled(ctx, s);
		return;
	}
}

static bool is_meant(const struct turn *t, const struct session_cancel *cancel)
{
	return t->state != TURN_IDLE && (!cancel->turn || cancel->turn == t->number) &&
		(!cancel->request.len || qmt_str_eq(cancel->request, t->prompt->request));
}

void turn_on_cancel(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct session *s = state;
	bool meant = is_meant(&s->turn, body);
	QMT_LOG(ctx, QMT_DEBUG, "session.cancel", "session", s->config->id, "turn", QMT_LOG_U64(s->turn.number), "state",
		names[s->turn.state], "meant", meant ? "yes" : "no");
	if (meant)
		cancel_running(ctx, s);
	else
		QMT_REPLY(ctx, qmt_token(ctx), session_cancelled, .was_running = false);
}

void turn_on_interrupt(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct session *s = state;
	(void)body;
	s->stopping = true;
	if (s->turn.state == TURN_IDLE) {
		QMT_REPLY(ctx, qmt_token(ctx), session_cancelled, .was_running = false);
		return;
	}
	s->turn.interrupt = true;
	cancel_running(ctx, s);
}
