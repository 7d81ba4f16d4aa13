/* actors/provider/builtin.c - the actor of kind "builtin": streams what builtin_rules.c answers.
 *
 * An answer is known at once, but is told word by word, one a turn (again) or one a chunk_delay_ms, so that streaming
 * and cancelling can be seen with it as with a real model. Requests under way take turns.
 */
#include "asker.h"
#include "builtin_rules.h"
#include "provider.h"

#include <errno.h>

static const char model_name[] = "builtin";

struct state {
	struct asker_list askers; /* first: asker_metrics_handlers */
	const struct provider_config *config;
};
_Static_assert(offsetof(struct state, askers) == 0, "asker_metrics_handlers takes the state for the list");

/* One request: what is left to be told. */
struct job {
	struct asker asker; /* first: the list's items are jobs */
	struct builtin_reply reply;
	uint32_t reasoning_at, text_at, calls_at; /* calls_at counts halves: head, then arguments */
	struct qmt_timer timer;
};

static void job_end(struct qmt_ctx *ctx, struct state *state, struct job *job)
{
	qmt_timer_cancel(ctx, &job->timer);
	asker_close(ctx, &state->askers, &job->asker);
	builtin_reply_fini(&job->reply);
	free(job);
}

/* ---- telling ----------------------------------------------------------------------------------------------------- */

/* Takes the next word of `from`. */
static struct qmt_str next_word(const struct qmt_buf *from, uint32_t *at)
{
	struct qmt_str word = qmt_strn(from->data + *at, from->len - *at);

	word.len = builtin_word(word);
	*at += word.len;
	return word;
}

/* Tells one piece. Returns true while the job lives. */
static bool tell_piece(struct qmt_ctx *ctx, struct state *state, struct job *job)
{
	const struct builtin_reply *reply = &job->reply;
	struct provider_chunk chunk = {0};
	struct provider_tool_delta delta = {0};

	if (job->reasoning_at < reply->reasoning.len) {
		chunk.reasoning = next_word(&reply->reasoning, &job->reasoning_at);
	} else if (job->text_at < reply->text.len) {
		chunk.text = next_word(&reply->text, &job->text_at);
	} else if (job->calls_at < 2 * reply->call_count) {
		const struct chat_tool_call *call = &reply->calls[job->calls_at / 2];

		delta.index = job->calls_at / 2;
		if (job->calls_at % 2 == 0) {
			delta.id = call->id;
			delta.name = call->name;
		} else {
			delta.arguments = call->arguments;
		}
		chunk.tools.items = &delta;
		chunk.tools.count = 1;
		job->calls_at++;
	} else {
		asker_finish(ctx, &job->asker,
			&(struct provider_finish){.reason = qmt_str(reply->reason),
				.tool_calls = {reply->calls, reply->call_count},
				.usage = reply->usage,
				.model = qmt_str(model_name)});
		job_end(ctx, state, job);
		return false;
	}

	int ret = asker_chunk(ctx, &job->asker, &chunk);

	if (ret != 0) {
		asker_fail(ctx, &job->asker, ret < 0 ? QMT_FAIL_FAILED : ret, provider_error_overloaded, 0,
			"the reader of the stream cannot take more");
		job_end(ctx, state, job);
		return false;
	}
	return true;
}

static void on_timer(struct qmt_ctx *ctx, void *raw, void *arg)
{
	struct state *state = raw;
	struct job *job = arg;

	job->timer = (struct qmt_timer){0};
	if (tell_piece(ctx, state, job) &&
		qmt_timer_start(ctx, state->config->chunk_delay_ms, on_timer, job, &job->timer) < 0)
		qmt_fail(ctx, "out of memory");
}

static void builtin_again(struct qmt_ctx *ctx, void *raw)
{
	struct state *state = raw;
	struct asker *next;

	for (struct asker *asker = state->askers.first; asker; asker = next) {
		next = asker->next;
		tell_piece(ctx, state, (struct job *)asker);
	}
	if (state->askers.first)
		qmt_again(ctx);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static bool is_our_model(const struct provider_config *config, struct qmt_str model)
{
	return model.len == 0 || qmt_str_is(model, model_name) || qmt_str_is(model, config->model);
}

/* Opens a job with its answer made; NULL: the ask was refused and answered. */
static struct job *begin(
	struct qmt_ctx *ctx, struct state *state, const struct asker_request *request, const struct builtin_request *ask)
{
	struct job *job = calloc(1, sizeof *job);
	struct qmt_str model = request->model;
	int ret = job ? asker_open(ctx, &state->askers, state->config, &job->asker, request) : -ENOMEM;

	if (ret != 0) {
		free(job);
		if (ret < 0)
			(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, provider_error_server_error, 0, "out of memory");
		return NULL;
	}
	if (!is_our_model(state->config, model)) {
		char text[200];

		snprintf(text, sizeof text, "model: no \"%.*s\" here; this provider serves \"%s\"",
			(int)(model.len < 100 ? model.len : 100), model.p, model_name);
		asker_fail(ctx, &job->asker, QMT_FAIL_NOT_FOUND, provider_error_not_found, 0, text);
	} else if (!provider_parameters_fit(request->parameters)) {
		asker_fail(ctx, &job->asker, QMT_FAIL_BAD_REQUEST, provider_error_invalid_request, 0,
			"parameters: must be a JSON object");
	} else if (builtin_reply_make(ask, &job->reply) < 0) {
		asker_fail(ctx, &job->asker, QMT_FAIL_FAILED, provider_error_server_error, 0, "out of memory");
	} else {
		return job;
	}
	job_end(ctx, state, job);
	return NULL;
}

static uint32_t max_tokens(const struct state *state, uint32_t asked)
{
	return asked > 0 ? asked : state->config->max_tokens;
}

static void on_chat(struct qmt_ctx *ctx, void *raw, const void *body)
{
	struct state *state = raw;
	const struct provider_chat *chat = body;
	struct builtin_request ask = {.messages = chat->messages.items,
		.message_count = chat->messages.count,
		.tools = chat->tools.items,
		.tool_count = chat->tools.count,
		.max_tokens = max_tokens(state, chat->max_tokens),
		.report_limit_bytes = state->config->report_limit_bytes};
	struct job *job = begin(ctx, state,
		&(struct asker_request){chat->request, chat->model, chat->parameters, chat->origin, chat->sink, false}, &ask);

	if (!job)
		return;
	asker_accept(ctx, &job->asker);
	if (state->config->chunk_delay_ms == 0)
		qmt_again(ctx);
	else if (qmt_timer_start(ctx, state->config->chunk_delay_ms, on_timer, job, &job->timer) < 0)
		qmt_fail(ctx, "out of memory");
}

static void on_complete(struct qmt_ctx *ctx, void *raw, const void *body)
{
	struct state *state = raw;
	const struct provider_complete *complete = body;
	struct builtin_request ask = {.messages = complete->messages.items,
		.message_count = complete->messages.count,
		.tools = complete->tools.items,
		.tool_count = complete->tools.count,
		.max_tokens = max_tokens(state, complete->max_tokens),
		.report_limit_bytes = state->config->report_limit_bytes};
	struct job *job = begin(ctx, state,
		&(struct asker_request){.id = complete->request,
			.model = complete->model,
			.parameters = complete->parameters,
			.origin = complete->origin,
			.whole = true},
		&ask);

	if (!job)
		return;
	asker_complete(ctx, &job->asker,
		&(struct provider_completion){.text = qmt_buf_view(&job->reply.text),
			.reasoning = qmt_buf_view(&job->reply.reasoning),
			.tool_calls = {job->reply.calls, job->reply.call_count},
			.usage = job->reply.usage,
			.reason = qmt_str(job->reply.reason),
			.model = qmt_str(model_name)});
	job_end(ctx, state, job);
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
	struct qmt_str model = qmt_str(model_name);

	(void)body;
	(void)QMT_REPLY(ctx, qmt_token(ctx), provider_info_reply, .name = qmt_str(state->config->name),
		.kind = qmt_str(state->config->kind), .models = {&model, 1}, .active = state->askers.count);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void builtin_down(struct qmt_ctx *ctx, void *raw, struct qmt_ref who, int reason)
{
	struct state *state = raw;
	struct asker *asker;

	(void)reason;
	while ((asker = asker_of_sink(&state->askers, who)))
		job_end(ctx, state, (struct job *)asker);
}

static void builtin_undelivered(
	struct qmt_ctx *ctx, void *raw, const struct qmt_type *type, const void *body, int reason)
{
	struct state *state = raw;
	struct job *job = (struct job *)asker_undelivered(&state->askers, type, body);

	if (!job)
		return;
	asker_fail(ctx, &job->asker, reason, provider_error_transport, 0, "a piece of the answer was lost on its way");
	job_end(ctx, state, job);
}

static int builtin_start(struct qmt_ctx *ctx, void *raw, const void *config)
{
	struct state *state = raw;
	struct qmt_err err = {0};

	state->config = config;
	if (provider_config_check(config, &err) < 0) {
		qmt_fail(ctx, "%s", err.text);
		return -EINVAL;
	}
	return 0;
}

static void builtin_stop(struct qmt_ctx *ctx, void *raw)
{
	struct state *state = raw;

	while (state->askers.first) {
		struct job *job = (struct job *)state->askers.first;

		asker_fail(ctx, &job->asker, QMT_FAIL_STOPPING, provider_error_transport, 0, "the provider stops");
		job_end(ctx, state, job);
	}
}

static qmt_handler *const handlers[provider_message_count] = {
	[provider_chat_id] = on_chat,
	[provider_complete_id] = on_complete,
	[provider_cancel_id] = on_cancel,
	[provider_info_id] = on_info,
};

const struct qmt_actor_desc provider_builtin_desc = {
	.abi = QMT_ABI,
	.name = "provider-builtin",
	.doc = "Answers by rules, without network; makes real tool calls.",
	.state_size = sizeof(struct state),
	.accepts = {{&provider_protocol, handlers}, {&metrics_protocol, asker_metrics_handlers}},
	.start = builtin_start,
	.stop = builtin_stop,
	.down = builtin_down,
	.undelivered = builtin_undelivered,
	.again = builtin_again,
};
