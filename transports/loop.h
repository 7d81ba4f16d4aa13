/* transports/loop.h - links in memory, for tests and simulations: frames really are encoded, sockets are not there.
 *
 * A hub stands for the network: nodes (each with a system of its own, or of the same process) listen on ports of it and dial them.
 * The channel key that CURVE would authenticate is made up by the hub, one for each dial, so that HELLO is the same; a man
 * in the middle is played by a node that relays (loop_hub_tap).
 *
 * Threads: a hub is shared by its nodes; guarded by one mutex inside.   Blocks: never.
 * Order:   frames of one connection in order.   Limits: WIRE_WINDOW frames under way on a connection, each way.
 */
#ifndef TRANSPORTS_LOOP_H
#define TRANSPORTS_LOOP_H

#include "transports/link.h"

struct loop_hub;

struct loop_hub *loop_hub_new(void);
struct loop_hub *loop_hub_free(struct loop_hub *hub); /* after all nodes on it; returns NULL */

struct loop_dial_config {
	struct loop_hub *hub;
	uint16_t port;
};
extern const struct wire_ops loop_dial_ops; /* config: struct loop_dial_config */

#endif
