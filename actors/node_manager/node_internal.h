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
};

struct find_op; /* node_sessions.c */

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
/* A session has left memory. */
void node_session_left(struct qmt_ctx *ctx, struct node_manager *self, const char *id);

/* Handlers. */
void node_on_nodes(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_actors(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_metrics(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_providers(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_session_create(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_session_list(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_session_show(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_session_resume(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_prompt(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_cancel(struct qmt_ctx *ctx, void *state, const void *body);
void node_on_drain(struct qmt_ctx *ctx, void *state, const void *body);

#endif
