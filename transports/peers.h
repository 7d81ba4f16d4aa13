/* transports/peers.h - the actor "peers": who is dialed, who is linked, which link is in use
 * (proto/contract/peers.def).
 *
 * Threads: an actor.   Blocks: never (names are resolved by a job).
 * Invariant: at most one link to a PeerId is in use. Configured peers are dialed for ever, unless linked.
 * Limits:  redial_min_ms, redial_max_ms; PEERS_WATCHERS subscribers.
 */
#ifndef TRANSPORTS_PEERS_H
#define TRANSPORTS_PEERS_H

#include "transports/link.h"
#include "transports/zmq_listener.h"

enum { PEERS_WATCHERS = 1024 };

struct peers_config {
	const struct link_node *node;
	struct zcontext *context;           /* NULL with a loop */
	struct loop_hub *loop;              /* NULL: tcp */
	struct zlistener_config *listeners; /* bound, of tcp */
	uint32_t listener_count;
	const struct multiaddr *listening; /* with real ports and own PeerId */
	uint32_t listening_count;
	const struct transports_peer *peers;
	uint32_t peer_count;
	bool without_store;
	bool no_lan;      /* lan:default is not offered */
	bool trust_known; /* only peers that are named may have a link */
};

extern const struct qmt_actor_desc peers_desc; /* config: struct peers_config; spawn it under the name "peers" */

#endif
