/* actors/provider/script.c - the actor of kind "script": says what its file says (script_file.h), piece by piece.
 *
 *   request -> READY --wait, every--> WAITS --timer--> READY ... --the turn's end, error, cut--> gone
 *              READY --hang--> HANGS                             --cancel, its sink's end--> gone, from any of them
 *
 * A READY request says one piece each time that the others had their turn (again), so that long answers share the
 * actor and a cancel comes between two pieces. A whole answer (provider.complete) takes the same way and the same time;
 * its pieces are collected.
 *
 * The file is read in start, also after a failure: it is local, regular and bounded, and a handler never reads it.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "asker.h"
#include "provider.h"
#include "script_file.h"

/* How far one session has come. */
struct session {
	struct session *next, *prev;
	char *id;
	uint32_t places[]; /* script_next */
};

struct state {
	struct asker_list askers; /* first: asker_metrics_handlers */
	const struct provider_config *config;
	struct script *script;
	struct session *first, *last; /* the one that asked last is first */
	uint32_t session_count;
};
_Static_assert(offsetof(struct state, askers) == 0, "asker_metrics_handlers takes the state for the list");

enum job_state { READY, WAITS, HANGS };

/* One request and where it is in its turn. */
struct job {
	struct asker asker; /* first: the list's items are jobs */
	const struct script_turn *turn;
	enum job_state state;
	uint32_t step, round, at; /* at: bytes of the step's text that were said in this round of it */
	bool headed;              /* of a tool: its name was said in this round */
	char *model;
	uint32_t message_count;       /* of the request: makes ids of calls unique in a conversation */
	struct chat_tool_call *calls; /* ids are owned; names and arguments are the script's */
	uint32_t call_count;
	struct qmt_buf text, reasoning; /* of a whole answer, so far */
	struct qmt_timer timer;
};

static void job_end(struct qmt_ctx *ctx, struct state *state, struct job *job)
{
	qmt_timer_cancel(ctx, &job->timer);
	asker_close(ctx, &state->askers, &job->asker);
	for (uint32_t i = 0; i < job->call_count; i++)
		free((char *)(uintptr_t)job->calls[i].id.p);
	free(job->calls);
	free(job->model);
	qmt_buf_free(&job->text);
	qmt_buf_free(&job->reasoning);
	free(job);
}

static void fail(struct qmt_ctx *ctx, struct state *state, struct job *job, int code, const char *kind,
	uint64_t retry_after_ms, const char *what)
{
	struct qmt_err err = {0};

	qmt_err_set(&err, -1, "provider %s: %s", state->config->name, what);
	asker_fail(ctx, &job->asker, code, kind, retry_after_ms, err.text);
	job_end(ctx, state, job);
}

static void out_of_memory(struct qmt_ctx *ctx, struct state *state, struct job *job)
{
	fail(ctx, state, job, QMT_FAIL_FAILED, provider_error_server_error, 0, "out of memory on this node");
}

/* ---- steps: each returns true while the job lives ---------------------------------------------------------------- */

static void on_timer(struct qmt_ctx *ctx, void *raw, void *arg);

static bool pause_for(struct qmt_ctx *ctx, struct state *state, struct job *job, uint32_t ms)
{
	job->state = WAITS;
	if (qmt_timer_start(ctx, ms, on_timer, job, &job->timer) == 0)
		return true;
	out_of_memory(ctx, state, job);
	return false;
}

static void begin_stream(struct qmt_ctx *ctx, struct job *job)
{
	if (!job->asker.whole && job->asker.state == ASKER_WAITING)
		asker_accept(ctx, &job->asker);
}

static bool say(struct qmt_ctx *ctx, struct state *state, struct job *job, struct provider_chunk *chunk)
{
	if (job->asker.whole) {
		qmt_buf_append(&job->text, chunk->text.p, chunk->text.len);
		qmt_buf_append(&job->reasoning, chunk->reasoning.p, chunk->reasoning.len);
		if (!job->text.failed && !job->reasoning.failed)
			return true;
		out_of_memory(ctx, state, job);
		return false;
	}
	begin_stream(ctx, job);

	int ret = asker_chunk(ctx, &job->asker, chunk);

	if (ret == 0)
		return true;
	fail(ctx, state, job, ret < 0 ? QMT_FAIL_FAILED : ret, provider_error_overloaded, 0,
		"the reader of the stream cannot take more");
	return false;
}

static struct chat_tool_call *call_add(struct job *job, const struct script_step *step)
{
	char id[40];

	if ((job->call_count & (job->call_count - 1)) == 0) { /* room is a power of two */
		size_t room = job->call_count > 0 ? (size_t)job->call_count * 2 : 1;
		struct chat_tool_call *calls = realloc(job->calls, room * sizeof *calls);

		if (!calls)
			return NULL;
		job->calls = calls;
	}
	snprintf(id, sizeof id, "script_%u_%u", job->message_count, job->call_count + 1);

	char *copy = qmt_str_dup(qmt_str(id));

	if (!copy)
		return NULL;
	job->calls[job->call_count] =
		(struct chat_tool_call){.id = qmt_str(copy), .name = qmt_str(step->tool), .arguments = step->text};
	return &job->calls[job->call_count++];
}

/* A call is said as its name first, then its arguments piece by piece. */
static bool say_tool_head(struct qmt_ctx *ctx, struct state *state, struct job *job, const struct script_step *step)
{
	const struct chat_tool_call *call = call_add(job, step);

	if (!call) {
		out_of_memory(ctx, state, job);
		return false;
	}

	struct provider_tool_delta delta = {.index = job->call_count - 1, .id = call->id, .name = call->name};

	job->headed = true;
	return say(ctx, state, job, &(struct provider_chunk){.tools = {&delta, 1}});
}

static bool say_piece(struct qmt_ctx *ctx, struct state *state, struct job *job, const struct script_step *step)
{
	struct qmt_str piece = script_piece(step, job->at);
	struct provider_tool_delta delta = {.index = job->call_count - 1, .arguments = piece};
	struct provider_chunk chunk = {0};

	if (step->kind == SCRIPT_TEXT)
		chunk.text = piece;
	else if (step->kind == SCRIPT_REASONING)
		chunk.reasoning = piece;
	else
		chunk = (struct provider_chunk){.tools = {&delta, 1}};
	if (!say(ctx, state, job, &chunk))
		return false;
	job->at += piece.len;
	if (job->at == step->text.len) {
		job->at = 0;
		job->headed = false;
		job->round++;
	}
	if (job->round == step->repeat) {
		job->round = 0;
		job->step++;
	} else if (step->every_ms > 0) {
		return pause_for(ctx, state, job, step->every_ms);
	}
	return true;
}

/* The end as `finish` has it, or the turn's last line. */
static bool finish(struct qmt_ctx *ctx, struct state *state, struct job *job, const char *reason)
{
	struct qmt_str why = qmt_str(reason ? reason : job->call_count > 0 ? "tool_calls" : "stop");
	struct qmt_str model = qmt_str(job->model);

	begin_stream(ctx, job);
	if (job->asker.whole)
		asker_complete(ctx, &job->asker,
			&(struct provider_completion){.text = qmt_buf_view(&job->text),
				.reasoning = qmt_buf_view(&job->reasoning),
				.tool_calls = {job->calls, job->call_count},
				.usage = job->turn->usage,
				.reason = why,
				.model = model});
	else
		asker_finish(ctx, &job->asker,
			&(struct provider_finish){
				.reason = why, .tool_calls = {job->calls, job->call_count}, .usage = job->turn->usage, .model = model});
	job_end(ctx, state, job);
	return false;
}

/* An error that the script wants: what an upstream would have done. */
static bool break_off(struct qmt_ctx *ctx, struct state *state, struct job *job, const struct script_step *step)
{
	const char *kind = step->kind == SCRIPT_CUT ? provider_error_transport : step->word;
	char said[64];
	const char *what = said;

	if (step->kind == SCRIPT_CUT && job->asker.state == ASKER_STREAMING)
		what = "the stream ended in the middle of the answer";
	else if (step->kind == SCRIPT_CUT)
		what = "the connection broke before the answer";
	else if (step->text.len > 0)
		what = step->text.p;
	else
		snprintf(said, sizeof said, "line %u of the script says so", step->line);
	qmt_trace_set(ctx, job->asker.trace);
	QMT_LOG(ctx, QMT_WARN, "provider.upstream", "provider", state->config->name, "request", job->asker.request, "kind",
		kind, "reason", what, "line", QMT_LOG_U64(step->line));
	fail(ctx, state, job, QMT_FAIL_FAILED, kind, step->kind == SCRIPT_CUT ? 0 : step->time_ms, what);
	return false;
}

/* Does the next step, or the next piece of it. */
static bool go_on(struct qmt_ctx *ctx, struct state *state, struct job *job)
{
	if (job->step == job->turn->step_count)
		return finish(ctx, state, job, NULL);

	const struct script_step *step = &job->turn->steps[job->step];

	switch ((enum script_step_kind)step->kind) {
	case SCRIPT_ACCEPT:
		begin_stream(ctx, job);
		job->step++;
		return true;
	case SCRIPT_TOOL:
		if (!job->headed)
			return say_tool_head(ctx, state, job, step);
		return say_piece(ctx, state, job, step);
	case SCRIPT_TEXT:
	case SCRIPT_REASONING:
		return say_piece(ctx, state, job, step);
	case SCRIPT_WAIT:
		job->step++;
		return pause_for(ctx, state, job, step->time_ms);
	case SCRIPT_FINISH:
		return finish(ctx, state, job, step->word);
	case SCRIPT_ERROR:
	case SCRIPT_CUT:
		return break_off(ctx, state, job, step);
	case SCRIPT_HANG:
		job->state = HANGS;
		return true;
	}
	assert(false); /* a step without a kind */
	return false;
}

static void on_timer(struct qmt_ctx *ctx, void *raw, void *arg)
{
	struct job *job = arg;

	job->timer = (struct qmt_timer){0};
	job->state = READY;
	if (go_on(ctx, raw, job) && job->state == READY)
		qmt_again(ctx);
}

static void script_again(struct qmt_ctx *ctx, void *raw)
{
	struct state *state = raw;
	struct asker *next;
	bool ready = false;

	for (struct asker *asker = state->askers.first; asker; asker = next) {
		struct job *job = (struct job *)asker;

		next = asker->next;
		if (job->state == READY && go_on(ctx, state, job))
			ready |= job->state == READY;
	}
	if (ready)
		qmt_again(ctx);
}

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

static void session_unlink(struct state *state, struct session *session)
{
	*(session->prev ? &session->prev->next : &state->first) = session->next;
	*(session->next ? &session->next->prev : &state->last) = session->prev;
	session->next = session->prev = NULL;
}

static void session_push(struct state *state, struct session *session)
{
	session->next = state->first;
	*(state->first ? &state->first->prev : &state->last) = session;
	state->first = session;
}

static void session_free(struct session *session)
{
	if (session)
		free(session->id);
	free(session);
}

static struct session *session_new(struct state *state, struct qmt_str id)
{
	struct session *session = calloc(1, sizeof *session + state->script->row_count * sizeof *session->places);

	if (session)
		session->id = qmt_str_dup(id);
	if (!session || !session->id) {
		session_free(session);
		return NULL;
	}
	script_places_init(state->script, session->places);
	return session;
}

/* The session of that id, from now on the first one; requests without one share the empty id. NULL: no memory. */
static struct session *session_of(struct qmt_ctx *ctx, struct state *state, struct qmt_str id)
{
	struct session *session = state->first;

	while (session && !qmt_str_is(id, session->id))
		session = session->next;
	if (session) {
		session_unlink(state, session);
		session_push(state, session);
		return session;
	}
	session = session_new(state, id);
	if (!session)
		return NULL;
	if (state->session_count == state->config->max_sessions) {
		struct session *oldest = state->last;

		QMT_LOG(ctx, QMT_WARN, "provider.script_forgot", "provider", state->config->name, "session", oldest->id,
			"reason", "max_sessions");
		session_unlink(state, oldest);
		session_free(oldest);
		state->session_count--;
	}
	session_push(state, session);
	state->session_count++;
	return session;
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static bool is_our_model(const struct state *state, struct qmt_str model)
{
	if (model.len == 0 || qmt_str_is(model, state->config->model))
		return true;
	for (uint32_t i = 0; i < state->script->model_count; i++)
		if (qmt_str_is(model, state->script->models[i]))
			return true;
	return false;
}

static struct qmt_str last_prompt(const struct chat_message *messages, uint32_t count)
{
	while (count-- > 0)
		if (qmt_str_is(messages[count].role, "user"))
			return messages[count].content;
	return (struct qmt_str){0};
}

/* What chat and complete have in common. */
struct request {
	struct asker_request asked;
	struct qmt_str session;
	const struct chat_message *messages;
	uint32_t message_count;
};

/* Takes the turn that answers. False: the job was ended. */
static bool take_turn(struct qmt_ctx *ctx, struct state *state, struct job *job, const struct request *request)
{
	struct session *session = session_of(ctx, state, request->session);
	int ret = session ? script_next(state->script, session->places,
							last_prompt(request->messages, request->message_count), &job->turn)
					  : -ENOMEM;

	if (ret == SCRIPT_E_NO_ROW)
		fail(ctx, state, job, QMT_FAIL_BAD_REQUEST, provider_error_invalid_request, 0,
			"no turn of the script is for this prompt; one without when is for any");
	else if (ret == SCRIPT_E_AT_END)
		fail(ctx, state, job, QMT_FAIL_BAD_REQUEST, provider_error_invalid_request, 0,
			"the script has no further turn for this prompt, and says: end error");
	else if (ret < 0)
		out_of_memory(ctx, state, job);
	else
		QMT_LOG(ctx, QMT_DEBUG, "provider.turn", "provider", state->config->name, "request", job->asker.request,
			"session", session->id, "line", QMT_LOG_U64(job->turn->line));
	return ret == 0;
}

static void begin(struct qmt_ctx *ctx, struct state *state, const struct request *request)
{
	const struct provider_config *config = state->config;
	struct qmt_str model = request->asked.model;
	struct job *job = calloc(1, sizeof *job);
	int ret = job ? asker_open(ctx, &state->askers, config, &job->asker, &request->asked) : -ENOMEM;

	if (ret != 0) {
		free(job);
		if (ret < 0)
			(void)qmt_reply_fail(
				ctx, qmt_token(ctx), QMT_FAIL_FAILED, provider_error_server_error, 0, "out of memory on this node");
		return;
	}
	if (model.len == 0)
		model = qmt_str(config->model[0] ? config->model : state->script->models[0]);
	job->model = qmt_str_dup(model);
	job->message_count = request->message_count;
	if (!job->model) {
		out_of_memory(ctx, state, job);
	} else if (!is_our_model(state, model)) {
		char text[200];

		snprintf(text, sizeof text, "model: no \"%.*s\" here; the script's first is \"%.50s\"",
			(int)(model.len < 100 ? model.len : 100), model.p, state->script->models[0]);
		fail(ctx, state, job, QMT_FAIL_NOT_FOUND, provider_error_not_found, 0, text);
	} else if (!provider_parameters_fit(request->asked.parameters)) {
		fail(ctx, state, job, QMT_FAIL_BAD_REQUEST, provider_error_invalid_request, 0,
			"parameters: must be a JSON object");
	} else if (take_turn(ctx, state, job, request)) {
		qmt_again(ctx);
	}
}

static void on_chat(struct qmt_ctx *ctx, void *raw, const void *body)
{
	const struct provider_chat *chat = body;

	begin(ctx, raw,
		&(struct request){.asked = {chat->request, chat->model, chat->parameters, chat->origin, chat->sink, false},
			.session = chat->session,
			.messages = chat->messages.items,
			.message_count = chat->messages.count});
}

static void on_complete(struct qmt_ctx *ctx, void *raw, const void *body)
{
	const struct provider_complete *complete = body;

	begin(ctx, raw,
		&(struct request){.asked = {.id = complete->request,
							  .model = complete->model,
							  .parameters = complete->parameters,
							  .origin = complete->origin,
							  .whole = true},
			.messages = complete->messages.items,
			.message_count = complete->messages.count});
}

static void on_cancel(struct qmt_ctx *ctx, void *raw, const void *body)
{
	struct state *state = raw;
	const struct provider_cancel *cancel = body;
	struct job *job = (struct job *)asker_find(&state->askers, qmt_sender(ctx), cancel->request);

	if (!job)
		return;
	asker_cancelled(ctx, &job->asker);
	job_end(ctx, state, job);
}

static void on_info(struct qmt_ctx *ctx, void *raw, const void *body)
{
	struct state *state = raw;
	const struct script *script = state->script;
	struct qmt_str *models = calloc(script->model_count, sizeof *models);

	(void)body;
	for (uint32_t i = 0; models && i < script->model_count; i++)
		models[i] = qmt_str(script->models[i]);
	(void)QMT_REPLY(ctx, qmt_token(ctx), provider_info_reply, .name = qmt_str(state->config->name),
		.kind = qmt_str(state->config->kind), .models = {models, models ? script->model_count : 0},
		.active = state->askers.count, .error = qmt_str(models ? NULL : "out of memory on this node"));
	free(models);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void script_down(struct qmt_ctx *ctx, void *raw, struct qmt_ref who, int reason)
{
	struct state *state = raw;
	struct asker *asker;

	(void)reason;
	while ((asker = asker_of_sink(&state->askers, who)))
		job_end(ctx, state, (struct job *)asker);
}

static void script_undelivered(
	struct qmt_ctx *ctx, void *raw, const struct qmt_type *type, const void *body, int reason)
{
	struct state *state = raw;
	struct job *job = (struct job *)asker_undelivered(&state->askers, type, body);

	if (job)
		fail(ctx, state, job, reason, provider_error_transport, 0, "a piece of the answer was lost on its way");
}

/* The first complaint about the file; the others are shown by the check of the configuration. */
struct first_complaint {
	const char *path;
	struct qmt_err err;
};

static void on_complaint(void *arg, uint32_t line, const char *what, const char *hint)
{
	struct first_complaint *first = arg;
	const char *left = hint ? " (" : "", *right = hint ? ")" : "";

	if (first->err.code)
		return;
	if (line > 0)
		qmt_err_set(&first->err, -EINVAL, "%s:%u: %s%s%s%s", first->path, line, what, left, hint ? hint : "", right);
	else
		qmt_err_set(&first->err, -EINVAL, "%s: %s%s%s%s", first->path, what, left, hint ? hint : "", right);
}

static int script_start(struct qmt_ctx *ctx, void *raw, const void *given)
{
	struct state *state = raw;
	const struct provider_config *config = given;
	struct script_limits limits = {config->script_limit_bytes, config->max_turns, config->response_limit_bytes};
	struct first_complaint first = {.path = config->script};
	int ret = provider_config_check(config, &first.err);

	state->config = config;
	if (ret == 0)
		ret = script_load(config->script, &limits, on_complaint, &first, &state->script);
	if (ret == -ENOMEM)
		qmt_fail(ctx, "provider %s: out of memory", config->name);
	else if (ret != 0)
		qmt_fail(ctx, "provider %s: %s", config->name ? config->name : "", first.err.text);
	return ret;
}

static void script_stop(struct qmt_ctx *ctx, void *raw)
{
	struct state *state = raw;

	while (state->askers.first)
		fail(ctx, state, (struct job *)state->askers.first, QMT_FAIL_STOPPING, provider_error_transport, 0,
			"the provider stops");
	while (state->first) {
		struct session *session = state->first;

		session_unlink(state, session);
		session_free(session);
	}
	state->script = script_free(state->script);
}

static qmt_handler *const handlers[provider_message_count] = {
	[provider_chat_id] = on_chat,
	[provider_complete_id] = on_complete,
	[provider_cancel_id] = on_cancel,
	[provider_info_id] = on_info,
};

const struct qmt_actor_desc provider_script_desc = {
	.abi = QMT_ABI,
	.name = "provider-script",
	.doc = "Replays turns from a file, with their delays and failures.",
	.state_size = sizeof(struct state),
	.accepts = {{&provider_protocol, handlers}, {&metrics_protocol, asker_metrics_handlers}},
	.start = script_start,
	.stop = script_stop,
	.down = script_down,
	.undelivered = script_undelivered,
	.again = script_again,
};
