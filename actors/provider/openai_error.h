/* actors/provider/openai_error.h - what an upstream said went wrong -> an error class of PROVIDER_ERRORS. Pure.
 *
 * Sources: RFC 9110 sections 5.6.7 (dates) and 10.2.3 (Retry-After); OpenAI's error envelope {"error": {message, type,
 *          code}} and what llama-server, vLLM and Ollama make of it (code is a number there, or error is a bare text).
 * Threads: values.   Blocks: never.
 * Limits:  text is cut to OPENAI_ERROR_TEXT, hints to OPENAI_RETRY_MAX_MS.
 * Secrets: the key never gets into a text, even when the upstream repeats it in its message.
 */
#ifndef PROVIDER_OPENAI_ERROR_H
#define PROVIDER_OPENAI_ERROR_H

#include "proto/json.h"
#include "runtime/base/bytes.h"

enum { OPENAI_ERROR_TEXT = 512, OPENAI_RETRY_MAX_MS = 24 * 3600 * 1000 };

struct openai_error {
	const char *kind;        /* name of a class in PROVIDER_ERRORS */
	uint64_t retry_after_ms; /* 0: no hint */
	char text[OPENAI_ERROR_TEXT];
};

/* Response headers that say when to come back; absent ones are "". Texts as they came, trimmed. */
enum { OPENAI_HINT_TEXT = 64 };
struct openai_hints {
	char retry_after[OPENAI_HINT_TEXT]; /* seconds or an HTTP date */
	char retry_after_ms[OPENAI_HINT_TEXT];
	char reset_requests[OPENAI_HINT_TEXT]; /* x-ratelimit-reset-requests: "1s", "6m0s", "20ms" */
	char date[OPENAI_HINT_TEXT];           /* the upstream's clock: a date is measured against it, not against ours */
};

/* Takes a header line ("Name: value\r\n") if it is a hint. */
void openai_hints_header(struct openai_hints *hints, struct qmt_str line);
/* Time to wait in ms, 0: no hint. wall_ms: our clock, for a date when the upstream did not send its own. */
uint64_t openai_hints_ms(const struct openai_hints *hints, uint64_t wall_ms);

/* A response with a status other than 200. body: as much as was read, JSON or not. secret: the key, may be NULL. */
void openai_error_http(unsigned status, struct qmt_str body, const struct openai_hints *hints, uint64_t wall_ms,
	const char *secret, struct openai_error *ret_error);
/* An envelope inside a stream or a 200 answer; error: the value of the member "error". */
void openai_error_envelope(const struct json *error, const char *secret, struct openai_error *ret_error);
/* What the upstream sent made no sense; said: a description that may quote it. Text "prefix: said", cleaned like all
 * others. */
void openai_error_malformed(
	const char *prefix, struct qmt_str said, const char *secret, struct openai_error *ret_error);
/* Any other failure, text by printf. */
void openai_error_set(struct openai_error *ret_error, const char *kind, const char *format, ...) QMT_PRINTF(3, 4);

/* An HTTP date in any of its three forms. False: not one. */
bool openai_date_parse(const char *text, uint64_t *ret_wall_ms);

#endif
