/* actors/provider/openai_request.h - a chat request of the contract -> JSON body of POST <base_url>/chat/completions.
 * Pure.
 *
 * Threads: values.   Blocks: never.   Limit: the body, as given; a bad request is refused with the place that is wrong.
 * Rules:   roles become messages of the same role; reasoning is never sent back; further parameters are copied into the
 *          body as they are, but may not name what the request or the provider decides (see OPENAI_RESERVED in the .c
 *          file).
 */
#ifndef PROVIDER_OPENAI_REQUEST_H
#define PROVIDER_OPENAI_REQUEST_H

#include "proto/contract/contract.h"
#include "runtime/base/bytes.h"
#include "runtime/base/err.h"

enum {
	OPENAI_REQUEST_E_BAD = 1, /* err names what */
	OPENAI_REQUEST_E_TOO_LARGE,
};

/* What provider.chat and provider.complete have in common, and what the provider adds. Borrowed. */
struct openai_request {
	struct qmt_str model; /* never empty */
	const struct chat_message *messages;
	const struct chat_tool *tools;
	uint32_t message_count, tool_count;
	uint32_t max_tokens;         /* of the request; 0: none */
	uint32_t default_max_tokens; /* of the provider; used unless request or parameters say one; 0: none */
	struct qmt_str parameters;
	bool stream, stream_usage;
	size_t limit_bytes;
};

/* Why `parameters` may not have that member, whoever asks; NULL: it may. */
const char *openai_reserved_why(struct qmt_str name);
/* Returns 0; OPENAI_REQUEST_E_…; -ENOMEM. ret_body is written on success only; free it. */
QMT_MUST_CHECK int openai_request_body(
	const struct openai_request *request, struct qmt_buf *ret_body, struct qmt_err *err);

#endif
