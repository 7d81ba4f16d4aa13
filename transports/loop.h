/* transports/loop.h - links in memory, for tests and simulations: frames really are encoded, sockets are not there.
 *
 * A hub stands for the network: nodes (each with a runtime of its own, all in one process) listen on ports of it and
 * dial them. The channel key that CURVE would authenticate is made up for each dial, so HELLO has the same to prove.
 *
 * Threads: a hub is shared by its nodes; one mutex guards it. The faults may be switched from any thread.
 * Blocks:  never.   Order: frames of one connection in order.
 * Limits:  WIRE_WINDOW frames under way on a connection, each way, until the link at the other end has handled them.
 */
#ifndef TRANSPORTS_LOOP_H
#define TRANSPORTS_LOOP_H

#include "transports/link.h"

struct loop_hub;

struct loop_hub *loop_hub_new(void); /* NULL: out of memory */
struct loop_hub *loop_hub_free(struct loop_hub *hub); /* after all nodes on it; returns NULL */

/* Faults. meddle: as if somebody stood in the middle of every new connection, the listener sees another key than the
 * dialer's. silence: frames vanish, connections stay. */
void loop_hub_meddle(struct loop_hub *hub, bool on);
void loop_hub_silence(struct loop_hub *hub, bool on);
/* From now on a dial takes from 0 to most_ms of the dialer's time; 0: none, as at first. */
void loop_hub_slow_dials(struct loop_hub *hub, uint64_t most_ms);

/* A node's place on the hub: an actor under the name "loop" that relays for all its links. */
struct loop_port_config {
	struct loop_hub *hub;
	const struct link_node *node;
	const struct multiaddr *listening; /* only the ports count */
	uint32_t listening_count;
};
extern const struct qmt_actor_desc loop_port_desc; /* config: struct loop_port_config */

struct loop_dial_config {
	struct loop_hub *hub;
	uint16_t port;
};
extern const struct wire_ops loop_dial_ops; /* config: struct loop_dial_config */

#endif
