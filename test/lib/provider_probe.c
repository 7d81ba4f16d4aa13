/* test/lib/provider_probe.c - see provider_probe.h. */
#include "provider_probe.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>
#include <cmocka.h>

enum { ASK_MS = 30000 };

struct probe {
	struct qmt_ctx *outside;
	struct qmt_ref provider, self;
	pthread_mutex_t lock; /* guards the rest; `changed` is signalled by every change */
	pthread_cond_t changed;
	struct probe_answer answers[PROBE_ANSWERS];
	uint32_t count;
};

struct state {
	struct probe *probe;
};

/* Locked. */
static struct probe_answer *answer_of(struct probe *probe, struct qmt_str request)
{
	for (uint32_t i = 0; i < probe->count; i++)
		if (qmt_str_is(request, probe->answers[i].request))
			return &probe->answers[i];
	if (probe->count == PROBE_ANSWERS)
		abort();

	struct probe_answer *answer = &probe->answers[probe->count++];

	snprintf(answer->request, sizeof answer->request, "%.*s", QMT_STR_ARG(request));
	qmt_buf_str(&answer->text, "");
	qmt_buf_str(&answer->reasoning, "");
	qmt_buf_str(&answer->deltas, "");
	qmt_buf_str(&answer->calls, "");
	qmt_buf_str(&answer->models, "");
	return answer;
}

static struct probe_answer *change(struct probe *probe, struct qmt_str request)
{
	pthread_mutex_lock(&probe->lock);
	return answer_of(probe, request);
}

static void changed(struct probe *probe)
{
	pthread_cond_broadcast(&probe->changed);
	pthread_mutex_unlock(&probe->lock);
}

/* ---- what the provider says -------------------------------------------------------------------------------------- */

static void take_text(char *to, size_t size, struct qmt_str text)
{
	snprintf(to, size, "%.*s", QMT_STR_ARG(text));
}

static void take_calls(struct qmt_buf *to, const struct chat_tool_call *calls, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		qmt_buf_printf(to, "%.*s:%.*s:%.*s;", QMT_STR_ARG(calls[i].id), QMT_STR_ARG(calls[i].name),
			QMT_STR_ARG(calls[i].arguments));
}

static void on_chunk(struct qmt_ctx *ctx, void *raw, const void *body)
{
	struct probe *probe = ((struct state *)raw)->probe;
	const struct provider_chunk *chunk = body;
	struct probe_answer *answer = change(probe, chunk->request);

	(void)ctx;
	answer->chunks++;
	answer->out_of_order |= chunk->seq != answer->chunks || answer->finishes > 0 || !answer->accepted;
	qmt_buf_append(&answer->text, chunk->text.p, chunk->text.len);
	qmt_buf_append(&answer->reasoning, chunk->reasoning.p, chunk->reasoning.len);
	for (uint32_t i = 0; i < chunk->tools.count; i++) {
		const struct provider_tool_delta *delta = &chunk->tools.items[i];

		qmt_buf_printf(&answer->deltas, "%u:%.*s:%.*s:%.*s;", delta->index, QMT_STR_ARG(delta->id),
			QMT_STR_ARG(delta->name), QMT_STR_ARG(delta->arguments));
	}
	changed(probe);
}

static void on_finish(struct qmt_ctx *ctx, void *raw, const void *body)
{
	struct probe *probe = ((struct state *)raw)->probe;
	const struct provider_finish *finish = body;
	struct probe_answer *answer = change(probe, finish->request);

	(void)ctx;
	answer->out_of_order |= finish->seq != answer->chunks + 1 || !answer->accepted;
	answer->finishes++;
	answer->ended = true;
	answer->fail = (int)finish->fail;
	answer->usage = finish->usage;
	answer->retry_after_ms = finish->retry_after_ms;
	take_text(answer->kind, sizeof answer->kind, finish->kind);
	take_text(answer->error, sizeof answer->error, finish->text);
	take_text(answer->reason, sizeof answer->reason, finish->reason);
	take_text(answer->model, sizeof answer->model, finish->model);
	take_calls(&answer->calls, finish->tool_calls.items, finish->tool_calls.count);
	changed(probe);
}

/* arg: the request's id, in its answer. */
static void on_answer(struct qmt_ctx *ctx, void *raw, const struct qmt_result *result, void *arg)
{
	struct probe *probe = ((struct state *)raw)->probe;
	struct probe_answer *answer = change(probe, qmt_str(arg));

	(void)ctx;
	if (result->fail) {
		answer->ended = true;
		answer->fail = result->fail;
		answer->retry_after_ms = result->retry_after_ms;
		take_text(answer->kind, sizeof answer->kind, result->kind);
		take_text(answer->error, sizeof answer->error, result->text);
	} else if (result->type == &provider_accepted_type) {
		answer->accepted = true;
	} else if (result->type == &provider_completion_type) {
		const struct provider_completion *completion = result->body;

		answer->ended = true;
		answer->usage = completion->usage;
		qmt_buf_append(&answer->text, completion->text.p, completion->text.len);
		qmt_buf_append(&answer->reasoning, completion->reasoning.p, completion->reasoning.len);
		take_text(answer->reason, sizeof answer->reason, completion->reason);
		take_text(answer->model, sizeof answer->model, completion->model);
		take_calls(&answer->calls, completion->tool_calls.items, completion->tool_calls.count);
	} else if (result->type == &provider_info_reply_type) {
		const struct provider_info_reply *info = result->body;

		answer->ended = true;
		answer->active = info->active;
		take_text(answer->error, sizeof answer->error, info->error);
		take_text(answer->kind, sizeof answer->kind, info->kind);
		answer->models.len = 0;
		for (uint32_t i = 0; i < info->models.count; i++)
			qmt_buf_printf(&answer->models, "%.*s;", QMT_STR_ARG(info->models.items[i]));
	}
	changed(probe);
}

/* ---- what the test says ------------------------------------------------------------------------------------------ */

static void ask(
	struct qmt_ctx *ctx, struct state *state, const struct qmt_type *type, const void *body, struct qmt_str request)
{
	struct probe *probe = state->probe;
	char *id = change(probe, request)->request;

	changed(probe);
	if (qmt_ask(ctx, probe->provider, type, body, ASK_MS, on_answer, id) != 0)
		abort();
}

static void on_chat(struct qmt_ctx *ctx, void *raw, const void *body)
{
	struct provider_chat chat = *(const struct provider_chat *)body;

	chat.sink = qmt_self(ctx);
	ask(ctx, raw, &provider_chat_type, &chat, chat.request);
}

static void on_complete(struct qmt_ctx *ctx, void *raw, const void *body)
{
	ask(ctx, raw, &provider_complete_type, body, ((const struct provider_complete *)body)->request);
}

static void on_info(struct qmt_ctx *ctx, void *raw, const void *body)
{
	ask(ctx, raw, &provider_info_type, body, qmt_str("info"));
}

static void on_cancel(struct qmt_ctx *ctx, void *raw, const void *body)
{
	(void)qmt_tell(ctx, ((struct state *)raw)->probe->provider, &provider_cancel_type, body);
}

static int start(struct qmt_ctx *ctx, void *raw, const void *config)
{
	(void)ctx;
	((struct state *)raw)->probe = (struct probe *)(uintptr_t)config;
	return 0;
}

static qmt_handler *const handlers[provider_message_count] = {
	[provider_chat_id] = on_chat,
	[provider_complete_id] = on_complete,
	[provider_cancel_id] = on_cancel,
	[provider_info_id] = on_info,
	[provider_chunk_id] = on_chunk,
	[provider_finish_id] = on_finish,
};

static const struct qmt_actor_desc probe_desc = {.abi = QMT_ABI,
	.name = "probe",
	.doc = "Test.",
	.state_size = sizeof(struct state),
	.accepts = {{&provider_protocol, handlers}},
	.start = start};

struct probe *probe_new(struct qmt_ctx *outside, struct qmt_ref provider)
{
	struct probe *probe = calloc(1, sizeof *probe);
	pthread_condattr_t attr;

	if (!probe)
		abort();
	pthread_mutex_init(&probe->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&probe->changed, &attr);
	pthread_condattr_destroy(&attr);
	probe->outside = outside;
	probe->provider = provider;
	if (qmt_spawn(outside, &probe_desc, &(struct qmt_spawn){.config = probe}, &probe->self, NULL) != 0)
		abort();
	return probe;
}

void probe_free(struct probe *probe)
{
	for (uint32_t i = 0; i < probe->count; i++) {
		qmt_buf_free(&probe->answers[i].text);
		qmt_buf_free(&probe->answers[i].reasoning);
		qmt_buf_free(&probe->answers[i].deltas);
		qmt_buf_free(&probe->answers[i].calls);
		qmt_buf_free(&probe->answers[i].models);
	}
	pthread_cond_destroy(&probe->changed);
	pthread_mutex_destroy(&probe->lock);
	free(probe);
}

struct qmt_ref probe_ref(const struct probe *probe)
{
	return probe->self;
}

void probe_send(struct probe *probe, const struct qmt_type *type, const void *body)
{
	if (type == &provider_info_type) { /* the only one that has no id: its last answer is forgotten */
		change(probe, qmt_str("info"))->ended = false;
		changed(probe);
	}
	assert_int_equal(qmt_tell(probe->outside, probe->self, type, body), 0);
}

void probe_chat(struct probe *probe, const char *id, const char *text)
{
	struct chat_message message = {.role = qmt_str("user"), .content = qmt_str(text)};

	probe_send(probe, &provider_chat_type, &(struct provider_chat){.request = qmt_str(id), .messages = {&message, 1}});
}

void probe_cancel(struct probe *probe, const char *id)
{
	probe_send(probe, &provider_cancel_type, &(struct provider_cancel){.request = qmt_str(id)});
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

enum what { ACCEPTED, ENDED, TEXT };

static const struct probe_answer *wait_for(
	struct probe *probe, const char *id, enum what what, size_t bytes, uint32_t timeout_ms)
{
	const struct probe_answer *answer;
	struct timespec until;
	bool there = false;
	int ret = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	answer = change(probe, qmt_str(id));
	while (ret != ETIMEDOUT) {
		there = what == ACCEPTED ? answer->accepted : what == ENDED ? answer->ended : answer->text.len >= bytes;
		if (there)
			break;
		ret = pthread_cond_timedwait(&probe->changed, &probe->lock, &until);
	}
	pthread_mutex_unlock(&probe->lock);
	return there ? answer : NULL;
}

const struct probe_answer *probe_accepted(struct probe *probe, const char *id, uint32_t timeout_ms)
{
	return wait_for(probe, id, ACCEPTED, 0, timeout_ms);
}

const struct probe_answer *probe_ended(struct probe *probe, const char *id, uint32_t timeout_ms)
{
	return wait_for(probe, id, ENDED, 0, timeout_ms);
}

bool probe_has_text(struct probe *probe, const char *id, size_t bytes, uint32_t timeout_ms)
{
	return wait_for(probe, id, TEXT, bytes, timeout_ms) != NULL;
}
