/* actors/provider/asker.h - who waits for an answer of a provider, and what it was told so far.
 *
 * Threads: belongs to one provider actor.   Blocks: never.
 * Order:   WAITING -(accept)-> STREAMING -(finish, fail)-> ENDED for provider.chat; WAITING -(complete, fail)-> ENDED
 *          for provider.complete. Each call asserts that it is allowed, so a stream has exactly one finish and an ask
 *          one answer.
 * Cancel:  may come from the actor that asked or from the sink. Behind a link all actors of that peer are one: refs are
 *          compared by their local actor. Requests are told apart by (id, that actor), so one peer cannot touch
 *          another's.
 * Sink:    is monitored while its request is open; for provider.complete the asker itself is.
 */
#ifndef PROVIDER_ASKER_H
#define PROVIDER_ASKER_H

#include "proto/contract/contract.h"
#include "proto/peer_id.h"
#include "runtime/actor.h"

struct provider_config;

/* What chat and complete have in common, for asker_open. Borrowed. */
struct asker_request {
	struct qmt_str id, model, parameters;
	struct qmt_str origin; /* the peer that asks; empty: this node */
	struct qmt_ref sink;   /* unset for provider.complete */
	bool whole;            /* provider.complete */
};

enum asker_state { ASKER_WAITING, ASKER_STREAMING, ASKER_ENDED };

struct asker {
	struct asker *next, *prev;
	/* const after open */
	char *request;
	char origin[PEER_ID_TEXT + 1]; /* "" of this node */
	struct qmt_ref owner;          /* who sent the request; unset: a thread outside */
	struct qmt_ref sink;           /* who is monitored */
	struct qmt_token token;
	uint64_t trace; /* of the ask: the answer carries it, whatever brought the news */
	bool whole;     /* provider.complete */
	struct asker_list *list;
	/* owner: the provider actor */
	enum asker_state state;
	uint64_t seq; /* of the last chunk */
};

struct asker_list {
	struct asker *first;
	uint32_t count;
	/* for metrics; requests = count + those that ended well + errors + cancelled */
	uint64_t requests, chunks, errors, cancelled;
	uint64_t limited; /* among errors: by max_requests_per_peer */
};

/* Takes the ask that is being handled. Answers the ask itself when it refuses it: no id, no sink, the id is in use,
 * more than a peer may say (peer_request.h), over max_requests or max_requests_per_peer. Returns 0; 1 refused and
 * answered; -ENOMEM (not answered). */
QMT_MUST_CHECK int asker_open(struct qmt_ctx *ctx, struct asker_list *list, const struct provider_config *config,
	struct asker *asker, const struct asker_request *request);
/* Out of the list, monitor included. */
void asker_close(struct qmt_ctx *ctx, struct asker_list *list, struct asker *asker);
/* The request of that id which `sender` may cancel; NULL: none. */
struct asker *asker_find(const struct asker_list *list, struct qmt_ref sender, struct qmt_str request);
/* The first request whose monitored actor is `who`; NULL: none. */
struct asker *asker_of_sink(const struct asker_list *list, struct qmt_ref who);
/* The stream that lost a piece: a link took it and could not carry it (the hook `undelivered`). NULL: none. */
struct asker *asker_undelivered(const struct asker_list *list, const struct qmt_type *type, const void *body);

void asker_accept(struct qmt_ctx *ctx, struct asker *asker);
/* Fills in request and seq. Returns as qmt_tell: not 0: the sink did not get it, so the stream must end. */
QMT_MUST_CHECK int asker_chunk(struct qmt_ctx *ctx, struct asker *asker, struct provider_chunk *chunk);
/* Fills in request and seq. */
void asker_finish(struct qmt_ctx *ctx, struct asker *asker, struct provider_finish *finish);
/* Answers provider.complete; fills in request. */
void asker_complete(struct qmt_ctx *ctx, struct asker *asker, struct provider_completion *completion);
/* The ask's error while waiting, a finish with reason error (or cancelled) when streaming, nothing when ended. */
void asker_fail(
	struct qmt_ctx *ctx, struct asker *asker, int fail, const char *kind, uint64_t retry_after_ms, const char *text);
/* As asker_fail, for what was asked to end. */
void asker_cancelled(struct qmt_ctx *ctx, struct asker *asker);

/* Answers metrics.get, for every kind of provider: its list is the first member of its state. */
extern qmt_handler *const asker_metrics_handlers[];

#endif
