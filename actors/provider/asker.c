/* actors/provider/asker.c - see asker.h. */
#include "asker.h"

#include <assert.h>
#include <errno.h>

#include "peer_request.h"
#include "provider.h"

static bool same_actor(struct qmt_ref a, struct qmt_ref b)
{
	return a.actor == b.actor && a.gen == b.gen;
}

static int refuse(struct qmt_ctx *ctx, struct asker_list *list, int fail, const char *kind, const char *text)
{
	int ret = qmt_reply_fail(ctx, qmt_token(ctx), fail, kind, 0, "%s", text);

	list->errors++;
	return ret < 0 ? ret : 1;
}

/* Over max_requests_per_peer: refused, and told to "peers" for the audit. */
static int refuse_peer(
	struct qmt_ctx *ctx, struct asker_list *list, const struct provider_config *config, struct qmt_str origin)
{
	char text[300];
	struct qmt_ref peers;

	list->limited++;
	if (qmt_lookup(ctx, "peers", &peers) == 0)
		(void)QMT_TELL(ctx, peers, peers_limited, .peer = origin, .limit = qmt_str("streams"));
	qmt_text(text, sizeof(text),
		"provider %s answers %u requests of one peer at once, and so many of this one are under way: try again when "
		"one has ended (to change that: max_requests_per_peer in its [[providers]] there)",
		config->name, config->max_requests_per_peer);
	return refuse(ctx, list, QMT_FAIL_FAILED, provider_error_busy, text);
}

/* What holds for peers only. 0: it may; else as asker_open. */
static int check_peer(struct qmt_ctx *ctx, struct asker_list *list, const struct provider_config *config,
	const struct asker_request *request)
{
	struct qmt_err err = {0};
	uint32_t open = 0;
	int ret;

	if (request->origin.len == 0)
		return 0;
	ret = peer_request_check(request->model, request->parameters, config->peer_parameters, &err);
	if (ret < 0)
		return ret;
	if (ret > 0) {
		qmt_err_prefix(&err, "provider %s", config->name);
		return refuse(ctx, list, QMT_FAIL_NOT_ALLOWED, provider_error_invalid_request, err.text);
	}
	for (const struct asker *other = list->first; other; other = other->next)
		open += qmt_str_is(request->origin, other->origin);
	return open >= config->max_requests_per_peer ? refuse_peer(ctx, list, config, request->origin) : 0;
}

int asker_open(struct qmt_ctx *ctx, struct asker_list *list, const struct provider_config *config, struct asker *asker,
	const struct asker_request *request)
{
	struct qmt_ref owner = qmt_sender(ctx);
	int ret;

	list->requests++;
	if (request->id.len == 0)
		return refuse(
			ctx, list, QMT_FAIL_BAD_REQUEST, provider_error_invalid_request, "request: missing; the asker makes an id");
	if (!request->whole && !qmt_ref_is_set(request->sink))
		return refuse(ctx, list, QMT_FAIL_BAD_REQUEST, provider_error_invalid_request,
			"sink: missing; somebody must get the answer");
	for (const struct asker *other = list->first; other; other = other->next)
		if (same_actor(other->owner, owner) && qmt_str_is(request->id, other->request))
			return refuse(
				ctx, list, QMT_FAIL_BAD_REQUEST, provider_error_invalid_request, "request: this id is in use");
	ret = check_peer(ctx, list, config, request);
	if (ret != 0) {
		list->errors += ret < 0;
		return ret;
	}
	if (list->count >= config->max_requests)
		return refuse(
			ctx, list, QMT_FAIL_FAILED, provider_error_busy, "the provider is at its limit of requests (max_requests)");

	*asker = (struct asker){.owner = owner,
		.sink = request->whole ? owner : request->sink,
		.token = qmt_token(ctx),
		.trace = qmt_trace(ctx),
		.whole = request->whole,
		.list = list};
	qmt_text(asker->origin, sizeof(asker->origin), "%.*s", QMT_STR_ARG(request->origin));
	asker->request = qmt_str_dup(request->id);
	if (!asker->request) {
		list->errors++;
		return -ENOMEM;
	}
	ret = qmt_ref_is_set(asker->sink) ? qmt_monitor(ctx, asker->sink) : 0;
	if (ret != 0) {
		free(asker->request);
		list->errors += ret < 0;
		return ret < 0
			? ret
			: refuse(ctx, list, QMT_FAIL_BAD_REQUEST, provider_error_invalid_request, "sink: cannot be watched");
	}
	asker->next = list->first;
	if (list->first)
		list->first->prev = asker;
	list->first = asker;
	list->count++;
	QMT_LOG(ctx, QMT_DEBUG, "provider.asked", "request", asker->request);
	return 0;
}

void asker_close(struct qmt_ctx *ctx, struct asker_list *list, struct asker *asker)
{
	bool shared = false;

	if (asker->next)
		asker->next->prev = asker->prev;
	if (asker->prev)
		asker->prev->next = asker->next;
	else
		list->first = asker->next;
	list->count--;
	if (asker->state != ASKER_ENDED) /* nobody waits for its end any more */
		list->cancelled++;
	for (const struct asker *other = list->first; other; other = other->next)
		shared |= qmt_ref_eq(other->sink, asker->sink);
	if (!shared && qmt_ref_is_set(asker->sink))
		qmt_demonitor(ctx, asker->sink);
	free(asker->request);
	asker->request = NULL;
}

struct asker *asker_find(const struct asker_list *list, struct qmt_ref sender, struct qmt_str request)
{
	for (struct asker *asker = list->first; asker; asker = asker->next)
		if (qmt_str_is(request, asker->request) &&
			(same_actor(sender, asker->owner) || same_actor(sender, asker->sink)))
			return asker;
	return NULL;
}

struct asker *asker_of_sink(const struct asker_list *list, struct qmt_ref who)
{
	for (struct asker *asker = list->first; asker; asker = asker->next)
		if (qmt_ref_eq(asker->sink, who)) /* a link that ends is reported for each ref behind it */
			return asker;
	return NULL;
}

struct asker *asker_undelivered(const struct asker_list *list, const struct qmt_type *type, const void *body)
{
	struct qmt_str request = {0};

	if (type == &provider_chunk_type)
		request = ((const struct provider_chunk *)body)->request;
	for (struct asker *asker = list->first; asker && request.len > 0; asker = asker->next)
		if (asker->state == ASKER_STREAMING && asker->sink.rid != 0 && qmt_str_is(request, asker->request))
			return asker;
	return NULL;
}

void asker_accept(struct qmt_ctx *ctx, struct asker *asker)
{
	assert(asker->state == ASKER_WAITING && !asker->whole);
	asker->state = ASKER_STREAMING;
	/* Without memory for the reply the ask ends by its deadline, and the asker then cancels. */
	(void)QMT_REPLY(ctx, asker->token, provider_accepted, .request = qmt_str(asker->request));
}

/* To the sink, as work of the asker's: what brought the news may have been about many. */
static int tell(struct qmt_ctx *ctx, const struct asker *asker, const struct qmt_type *type, const void *body)
{
	const uint64_t before = qmt_trace(ctx);
	int ret;

	if (before != asker->trace)
		qmt_trace_set(ctx, asker->trace);
	ret = qmt_tell(ctx, asker->sink, type, body);
	if (before != asker->trace)
		qmt_trace_set(ctx, before);
	return ret;
}

int asker_chunk(struct qmt_ctx *ctx, struct asker *asker, struct provider_chunk *chunk)
{
	int ret;

	assert(asker->state == ASKER_STREAMING);
	chunk->request = qmt_str(asker->request);
	chunk->seq = asker->seq + 1;
	ret = tell(ctx, asker, &provider_chunk_type, chunk);
	if (ret == 0) {
		asker->seq++;
		asker->list->chunks++;
	}
	return ret;
}

void asker_finish(struct qmt_ctx *ctx, struct asker *asker, struct provider_finish *finish)
{
	assert(asker->state == ASKER_STREAMING);
	asker->state = ASKER_ENDED;
	finish->request = qmt_str(asker->request);
	finish->seq = asker->seq + 1;
	/* A sink that is gone or full misses its end: it sees the gap by its own watchdog. */
	(void)tell(ctx, asker, &provider_finish_type, finish);
}

void asker_complete(struct qmt_ctx *ctx, struct asker *asker, struct provider_completion *completion)
{
	assert(asker->state == ASKER_WAITING && asker->whole);
	asker->state = ASKER_ENDED;
	completion->request = qmt_str(asker->request);
	(void)qmt_reply(ctx, asker->token, &provider_completion_type, completion);
}

static void end(struct qmt_ctx *ctx, struct asker *asker, const char *reason, int fail, const char *kind,
	uint64_t retry_after_ms, const char *text)
{
	if (asker->state == ASKER_STREAMING) {
		struct provider_finish finish = {.reason = qmt_str(reason),
			.fail = (uint32_t)fail,
			.kind = qmt_str(kind),
			.text = qmt_str(text),
			.retry_after_ms = retry_after_ms};

		asker_finish(ctx, asker, &finish);
	} else if (asker->state == ASKER_WAITING) {
		asker->state = ASKER_ENDED;
		(void)qmt_reply_fail(ctx, asker->token, fail, kind, retry_after_ms, "%s", text);
	}
}

void asker_fail(
	struct qmt_ctx *ctx, struct asker *asker, int fail, const char *kind, uint64_t retry_after_ms, const char *text)
{
	if (asker->state != ASKER_ENDED)
		asker->list->errors++;
	end(ctx, asker, "error", fail, kind, retry_after_ms, text);
}

void asker_cancelled(struct qmt_ctx *ctx, struct asker *asker)
{
	if (asker->state != ASKER_ENDED)
		asker->list->cancelled++;
	end(ctx, asker, "cancelled", QMT_FAIL_CANCELLED, provider_error_cancelled, 0, "cancelled");
}

static void on_metrics(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct asker_list *list = state;
	const struct metric rows[] = {
		METRIC_VALUE(provider_requests, list->requests),
		METRIC_VALUE(provider_active, list->count),
		METRIC_VALUE(provider_chunks, list->chunks),
		METRIC_VALUE(provider_errors, list->errors),
		METRIC_VALUE(provider_cancelled, list->cancelled),
		METRIC_VALUE(provider_limited, list->limited),
	};

	(void)body;
	(void)QMT_REPLY(ctx, qmt_token(ctx), metrics_values, .metrics = {rows, sizeof rows / sizeof *rows});
}

qmt_handler *const asker_metrics_handlers[metrics_message_count] = {[metrics_get_id] = on_metrics};
