/* actors/router/router.h - which provider an agent's model calls go to: local, or on a named peer.
 *
 * Threads:   an actor, registered as "router".   Blocks: never.
 * Contract:  proto/contract/router.def.
 * Invariant: an agent whose peer is not connected is an error, never a silent local run.
 */
#ifndef ACTORS_ROUTER_H
#define ACTORS_ROUTER_H

#include "runtime/actor.h"

struct router_agent {
	const char *id, *provider, *model; /* model: NULL or "" for the provider's default */
	const char *peer;                  /* configured name of the peer; NULL: local */
};

/* config of router_desc: borrowed until the actor has ended. */
struct router_config {
	const struct router_agent *agents;
	size_t count;
	/* A peer that is not connected may be on its way: resolve waits so long before it is an error; 0: it does not. */
	uint64_t peer_wait_ms;
};

extern const struct qmt_actor_desc router_desc;

#endif
