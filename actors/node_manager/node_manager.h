/* actors/node_manager/node_manager.h - what a node does for its owner and its peers.
 *
 * Threads:   an actor, registered as "node_manager".   Blocks: never.
 * Contract:  proto/contract/node.def. Sessions that live here are its children, registered as "session/<id>".
 * Order:     requests run side by side; those about one session reach it in the order they came.
 * Watchers:  those of a session on a peer get its events straight over the link; when that ends, session.lost.
 * Drain:     node.drain, before the node stops: turns end as interrupted, prompts are refused.
 * Invariant: a peer (field origin) sees and touches only sessions that it made.
 */
#ifndef ACTORS_NODE_MANAGER_H
#define ACTORS_NODE_MANAGER_H

#include "proto/authority.h"
#include "proto/contract/contract.h"
#include "runtime/actor.h"

struct node_agent {
	const char *id;
	const char *cwd; /* absolute */
};

/* config of node_manager_desc: borrowed until the actor has ended. Lists of names are closed by NULL. */
struct node_manager_config {
	const char *peer_id, *node_name, *version, *home, *config_path;
	const char *const *capabilities;
	const char *const *providers;
	const struct node_agent *agents;
	size_t agent_count;
	const struct qmt_str *advertised; /* told to peers instead of the listen addresses; none: those are told */
	uint32_t advertised_count;
	bool mesh;
	struct authority_grants grants;
	uint64_t max_remote_sessions;  /* that one peer may have here; 0: no bound */
	uint64_t request_timeout_ms;   /* for what other nodes do for us */
	uint64_t node_info_timeout_ms; /* for a look at the nodes */

	/* How a session is made; cmd/ knows its module, this one does not. session_config returns what session_desc
	 * wants as config (NULL and err: it cannot be made); it is freed when the session has ended. */
	const struct qmt_actor_desc *session_desc;
	void *(*session_config)(void *arg, const struct store_session *session, struct qmt_err *err);
	void (*session_config_free)(void *config);
	void *session_arg;
};

extern const struct qmt_actor_desc node_manager_desc;

#endif
