/* test/lib/openai_fixture.h - an openai provider on a runtime of its own, in front of a scripted server, with two
 * probes that ask it.
 *
 * Threads: the test's.   Blocks: while it waits, at most WAIT_MS; every fault ends the test.
 * Order:   openai_fixture_open, then the config may be changed, openai_fixture_start, openai_fixture_close.
 */
#ifndef TEST_OPENAI_FIXTURE_H
#define TEST_OPENAI_FIXTURE_H

#include "actors/provider/provider.h"
#include "test/lib/http_stub.h"
#include "test/lib/provider_probe.h"

enum { WAIT_MS = 10000, GONE_MS = 1000 };

#define HEAD_SSE "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define HEAD_JSON \
	"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
#define EVENT(json) "data: " json "\n\n"
#define TEXT(text) EVENT("{\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"" text "\"}}]}")
#define FINISH(reason) EVENT("{\"choices\":[{\"delta\":{},\"finish_reason\":\"" reason "\"}]}")
#define USAGE EVENT("{\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}")
#define DONE EVENT("[DONE]")
/* Steps of a script. */
/* clang-format off */
#define SEND(text) {HTTP_SEND, text, 0}
#define CHUNK(text) {HTTP_CHUNK, text, 0}
#define LAST_CHUNK {HTTP_CHUNK, NULL, 0}
#define DO(what) {HTTP_##what, NULL, 0}
/* clang-format on */

struct openai_fixture {
	struct http_stub *stub;
	struct qmt_system *system;
	struct qmt_ctx *outside;
	struct provider_config config;
	char base_url[100];
	struct qmt_ref provider;
	struct probe *probe, *other;
};

void openai_fixture_open(struct openai_fixture *f);
void openai_fixture_start(struct openai_fixture *f);
void openai_fixture_close(struct openai_fixture *f);
/* The end of the request that f->probe made; its stream is checked for order and for exactly one finish. */
const struct probe_answer *openai_fixture_ended(struct openai_fixture *f, const char *id);
/* It ended as QMT_FAIL_FAILED of that class, with a text that holds `error`; accepted: in the stream, not as the ask's
 * error. */
void openai_fixture_failed(
	struct openai_fixture *f, const char *id, bool accepted, const char *kind, const char *error);
/* Starts, and has one chat "r" against one script. */
const struct probe_answer *openai_fixture_chat(struct openai_fixture *f, const struct http_step *script);

#endif
