/* test/lib/provider_probe.h - an actor that asks a provider as a session does, and writes down all that it is told.
 *
 * Threads: the functions are for the test's thread; what they return does not change any more after the end of the
 *          request.
 * Blocks:  what takes a timeout.   Limit: PROBE_ANSWERS requests.
 * The probe stands between the test and the provider: tell it provider.chat (it makes itself the sink), complete, info
 * or cancel.
 */
#ifndef TEST_PROVIDER_PROBE_H
#define TEST_PROVIDER_PROBE_H

#include "proto/contract/contract.h"
#include "runtime/system.h"

enum { PROBE_ANSWERS = 64 };

struct probe;

struct probe_answer {
	char request[64]; /* "info" for provider.info */
	bool accepted;
	bool ended; /* finish, completion, info or an error */
	/* how it ended */
	int fail; /* of the ask, or of the finish */
	char kind[64], error[1024];
	uint64_t retry_after_ms;
	char reason[32], model[64];
	struct chat_usage usage;
	uint32_t active;
	/* what came */
	struct qmt_buf text, reasoning;
	struct qmt_buf deltas; /* "index:id:name:arguments;" */
	struct qmt_buf calls;  /* of finish or completion: "id:name:arguments;" */
	struct qmt_buf models; /* of info: "name;" */
	uint32_t chunks, finishes;
	bool out_of_order; /* a seq that was not the next */
};

struct probe *probe_new(struct qmt_ctx *outside, struct qmt_ref provider);
/* Call after the system has stopped. */
void probe_free(struct probe *probe);
struct qmt_ref probe_ref(const struct probe *probe);

/* A user's text as request `id`; parameters and model may be NULL. */
void probe_chat(struct probe *probe, const char *id, const char *text);
void probe_send(struct probe *probe, const struct qmt_type *type, const void *body);
void probe_cancel(struct probe *probe, const char *id);

/* NULL: not within the time. */
const struct probe_answer *probe_accepted(struct probe *probe, const char *id, uint32_t timeout_ms);
const struct probe_answer *probe_ended(struct probe *probe, const char *id, uint32_t timeout_ms);
/* True once the request has so many bytes of text. */
bool probe_has_text(struct probe *probe, const char *id, size_t bytes, uint32_t timeout_ms);

#endif
