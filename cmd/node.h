/* cmd/node.h - a whole node in this process: the actors and links that a configuration asks for, wired together.
 *
 * Threads: start and stop from one thread.   Blocks: node_stop, until its deadline.
 * Order:   home_lock, then node_start, … node_stop. Actors meet by name only; this file is where their modules are
 *          known.
 */
#ifndef CMD_NODE_H
#define CMD_NODE_H

#include "cmd/config.h"
#include "proto/identity.h"
#include "proto/multiaddr.h"
#include "runtime/system.h"

struct node;

struct node_options {
	const struct config *config;     /* borrowed until node_stop */
	const char *home;                /* its lock is held */
	const struct identity *identity; /* borrowed until node_stop */
	const struct qmt_log *log;       /* borrowed until node_stop */
	/* Called once, on a thread of the runtime, when an actor failed again and again and everything is being stopped:
	 * node_stop is what is left to do. The reason is in the log. Must not block. NULL: only logged. */
	void (*gave_up)(void *arg);
	void *arg;
};

/* Starts everything; when it returns 0 the node listens and its control socket answers. Otherwise nothing is left
 * and err says what is wrong with which file or address. */
QMT_MUST_CHECK int node_start(const struct node_options *opt, struct node **ret_node, struct qmt_err *err);
/* The addresses with real ports and /p2p/<PeerId>, comma-separated, appended to out. */
/* Joins the mesh of an invite; what comes of it is in the log, and in `qmt meshes`. */
void node_join(struct node *node, struct qmt_str token);
void node_listening(const struct node *node, struct qmt_buf *out);
/* Asks one of its actors, as its owner: by the thread that started it. *ret_result lives until the next ask. 0; else
 * err has the reason. */
QMT_MUST_CHECK int node_ask_own(struct node *node, const char *actor, const struct qmt_type *type, const void *body,
	struct qmt_result *ret_result, struct qmt_err *err);
const char *node_control_path(const struct node *node);
/* Ends running turns as interrupted (what was said is stored, watchers are told), then stops the tree, leaves first;
 * 0, or 1 and err names what did not end in time. Frees all. */
int node_stop(struct node *node, uint64_t deadline_ms, struct qmt_err *err);

#endif
