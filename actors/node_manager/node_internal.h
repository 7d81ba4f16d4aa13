/* actors/node_manager/node_internal.h - what the files of the node manager share.
 *
 * Threads: all on the actor's own turn.
 * An *op* is a request under way: its message is kept, its token open, and it is in the actor's list until it is
 * answered.
 */
#ifndef ACTORS_NODE_INTERNAL_H
#define ACTORS_NODE_INTERNAL_H

#include "actors/node_manager/node_manager.h"

enum { NODE_LOCAL_MS = 60000 }; /* answers of this node's own actors; a store under load may take its time */

enum { NODE_OUTCOMES = 5 };
extern const char *const node_outcomes[NODE_OUTCOMES];

struct node_session { /* a session in memory */
	struct node_session *next;
	struct qmt_ref ref;
	void *config;
	char id[64];
};

/* A prompt that was passed on: its events come straight over the link to its host, and end with it. */
struct node_watch {
	struct node_watch *next;
	struct qmt_ref watcher, link;
	uint64_t turn;
	char session[64], peer_name[128];
};

struct node_op {
	struct node_op *next, **pprev;
	void (*drop)(struct node_op *op); /* frees what hangs on it; may be NULL */
	struct qmt_token token;
	struct qmt_msg *request; /* kept; body below */
	const void *body;
	struct qmt_str origin; /* of it; set for those about sessions */
};

struct node_manager;
struct find_op;

/* Does the rest for a session that was found; ends the op. */
typedef void find_step(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *find, const struct store_session *session);

struct find_op {
	struct node_op op;
	struct find_op *next_waiting;
	struct qmt_str key;   /* of the request */
	struct qmt_ref asked; /* the session's actor */
	bool again;           /* it is the second try */
	find_step *here;      /* for one that lives here */
	find_step *pass_on;   /* sends the request, with the session's whole id and no origin, to its host */
};

struct node_manager {
	const struct node_manager_config *config;
	struct node_op *ops;
	struct node_session *sessions;
	struct node_watch *watches;
	struct find_op *waiting; /* for the end of a session that was met while it left memory */
	uint32_t session_count;
	bool draining;
	struct qmt_str *names; /* what node_describe shows: capabilities, providers, agents */
	uint32_t capability_count, provider_count;
	uint64_t started_ms;
	uint64_t sessions_limited;
	uint64_t turns_begun, turns_ended[NODE_OUTCOMES]; /* of its sessions, by node_outcomes */
};

/* A zeroed op of `size` bytes (its first member is a struct node_op) for the message that is being handled; answers
 * with a failure and returns NULL when memory is out. */
void *node_op_new(struct qmt_ctx *ctx, struct node_manager *self, const void *body, size_t size);
void node_op_end(struct qmt_ctx *ctx, void *op);

/* Continuation for an op whose whole work is to pass the answer on. */
void node_relay(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op);

/* A find_op that remembers the session it found. */
struct session_op {
	struct find_op find;
	struct store_session session; /* its texts: in `texts` */
	void *texts;
};
/* False: no memory, the op was answered and ended. */
QMT_MUST_CHECK bool node_keep_session(struct qmt_ctx *ctx, struct session_op *op, const struct store_session *session);
void node_session_op_drop(struct node_op *op);

/* Answers with a failure and ends the op. */
void node_refuse(struct qmt_ctx *ctx, struct node_op *op, int fail, const char *kind, const char *text);
/* Asks the store; the outcome of a failure to send comes to `then` as well. */
void node_ask_store(
	struct qmt_ctx *ctx, const struct qmt_type *type, const void *body, qmt_continuation *then, void *arg);
/* Asks the node_manager of another node; a failure to send answers and ends the op. */
void node_ask_host(struct qmt_ctx *ctx, struct node_manager *self, struct qmt_str peer_id, const struct qmt_type *type,
	const void *body, qmt_continuation *then, struct node_op *op, struct qmt_str peer_name);
/* Looks for the session `key` in the store, as `origin` may see it, and goes on with one of the two steps. size: of the
 * op, which begins with a struct find_op. */
void node_find(struct qmt_ctx *ctx, struct node_manager *self, const void *body, size_t size, struct qmt_str key,
	struct qmt_str origin, find_step *here, find_step *pass_on);
/* The session's actor; spawned when it is not in memory. 0, or the op was answered and ended. */
QMT_MUST_CHECK int node_in_memory(struct qmt_ctx *ctx, struct node_manager *self, const struct store_session *session,
	struct node_op *op, struct qmt_ref *ret_ref);
/* Continuation for store.session_created: brings it into memory, unless it lives on a peer, and answers. */
void node_created(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op);

/* list: what "peers" says, NULL: it is not there, or did not answer; the addresses are borrowed from it. */
struct node_node node_describe(const struct node_manager *self, const struct peers_list_reply *list);
/* Sorts rows along the table, adds up those of one name and label, and answers. A row without a name is an error, told
 * by its label. */
void node_metrics_reply(struct qmt_ctx *ctx, struct qmt_token token, const struct metric *rows, uint32_t count);

/* Remembers who watches `turn` through which link; a later turn of the same session and watcher takes its place.
 * Without memory it is not told (its own look at the turn remains). */
void node_watch_add(struct qmt_ctx *ctx, struct node_manager *self, const struct node_watch *watch);
/* A watcher or a link ended: watchers of an ended link are told session.lost. */
void node_watch_down(struct qmt_ctx *ctx, struct node_manager *self, struct qmt_ref who);
void node_watch_fini(struct node_manager *self);

extern qmt_handler *const node_session_handlers[session_message_count]; /* what sessions tell their parent */
/* A session's actor has ended. */
void node_session_left(struct qmt_ctx *ctx, struct node_manager *self, struct qmt_ref actor);

/* Handlers. */
void node_on_nodes(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_actors(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_metrics(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_providers(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_session_create(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_session_list(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_session_show(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_session_resume(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_session_fork(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_session_rename(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_session_archive(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_session_delete(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_session_close(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_prompt(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_cancel(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_drain(struct qmt_ctx *ctx, void *state, const void *body);

#endif
