/* actors/provider/openai_stream.h - what an upstream answers -> chunks and a finish of the contract. Pure.
 *
 * Fed with the data of SSE events (openai_stream_event) or with one whole body (openai_stream_whole), it gives text
 * pieces on at once and keeps what the finish needs: tool calls, usage, finish reason, model.
 * Source:  OpenAI chat completions; the deviations of real servers that it copes with are named in the .c file.
 * Threads: belongs to one owner.   Blocks: never.
 * Limits:  number of tool calls; everything else is bounded by the bytes of the answer, which the caller counts.
 */
#ifndef PROVIDER_OPENAI_STREAM_H
#define PROVIDER_OPENAI_STREAM_H

#include "actors/provider/openai_error.h"
#include "proto/contract/contract.h"
#include "proto/json.h"

struct openai_call {
	char *id;
	char *name;
	struct qmt_buf arguments;
	int64_t upstream_index; /* -1: it gave none */
};

struct openai_stream {
	/* const after init */
	struct qmt_str request; /* borrowed: ids for calls that come without one are made from it */
	const char *secret;     /* borrowed: never appears in an error text */
	uint32_t max_calls;
	/* owner: whoever feeds */
	struct openai_call *calls;
	uint32_t call_count, call_room;
	struct chat_tool_call *whole_calls; /* of the finish */
	struct provider_tool_delta *deltas; /* of the last chunk */
	uint32_t delta_room;
	struct json *json;              /* the last event: the last chunk points into it */
	struct json *texts;             /* arguments of the last event that came as objects, as texts */
	struct qmt_buf text, reasoning; /* of the last chunk when it had several parts; of a whole answer all of it */
	struct chat_usage usage;
	char *model;
	const char *reason; /* finish reason so far, as in the contract; NULL: none yet */
	bool has_text;
	struct openai_error error; /* after OPENAI_FAILED */
};

enum openai_event {
	OPENAI_NOTHING, /* the event said nothing that is passed on */
	OPENAI_CHUNK,   /* *ret_chunk is filled, except request and seq */
	OPENAI_DONE,    /* [DONE] */
	OPENAI_FAILED,  /* stream->error says how: an error envelope, or bytes that make no sense */
};

void openai_stream_init(struct openai_stream *stream, struct qmt_str request, const char *secret, uint32_t max_calls);
void openai_stream_fini(struct openai_stream *stream);
/* One event. Returns enum openai_event, or -ENOMEM. ret_chunk is valid until the next call. */
QMT_MUST_CHECK int openai_stream_event(
	struct openai_stream *stream, struct qmt_str data, struct provider_chunk *ret_chunk);
/* A whole answer (a body that is not a stream). OPENAI_CHUNK (all of it in one), OPENAI_NOTHING (an empty answer),
 * OPENAI_FAILED, -ENOMEM. */
QMT_MUST_CHECK int openai_stream_whole(
	struct openai_stream *stream, struct qmt_str body, struct provider_chunk *ret_chunk);
/* True when the answer may end here: a finish reason has come. */
bool openai_stream_may_end(const struct openai_stream *stream);
/* The end after OPENAI_DONE, or after openai_stream_may_end. Fills everything but request and seq. OPENAI_DONE,
 * OPENAI_FAILED (the answer contradicts itself), -ENOMEM. ret_finish is valid until openai_stream_fini. */
QMT_MUST_CHECK int openai_stream_finish(struct openai_stream *stream, struct provider_finish *ret_finish);

/* Names in {"data": [{"id": …}]} of GET /models; at most `max`. The texts point into *ret_json (json_free it),
 * *ret_items is to be freed. 0; OPENAI_FAILED with error; -ENOMEM. */
QMT_MUST_CHECK int openai_models(struct qmt_str body, uint32_t max, const char *secret, struct json **ret_json,
	struct qmt_str **ret_items, uint32_t *ret_count, struct openai_error *error);

#endif
