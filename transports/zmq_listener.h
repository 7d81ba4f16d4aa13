/* transports/zmq_listener.h - the listening end: an actor that owns a ROUTER and starts a link for each connection.
 *
 * Threads: zlistener_bind and zlistener_unbind from the thread that starts and stops the node; the actor by itself.
 * Blocks:  never.
 * Trust:   the socket decides: every connection gets the role of its listener. A connection is known by the id that the
 *          ROUTER made *and* the User-Id (CURVE key) of every message; anything else is hostile and cut.
 * Limits:  unproven_max, links_max, hello_ms, hello_frame_bytes (transports/limits.def).
 * Order:   bind before the actor is spawned, so that an address that is taken is an error of the start; a restarted
 *          actor binds again to the same address.
 */
#ifndef TRANSPORTS_ZMQ_LISTENER_H
#define TRANSPORTS_ZMQ_LISTENER_H

#include "transports/link.h"
#include "transports/zmq_dialer.h"

struct zlistener_config {
	/* const */
	struct zcontext *context;
	const struct link_node *node;
	enum authority_role role;
	bool of_mesh;
	const char *transport;       /* "tcp", "ipc" */
	const char *domain;          /* ZAP domain: "lan", "control" */
	char endpoint[ZMQ_ENDPOINT]; /* after zlistener_bind with the real port */
	/* owner: who bound it, then the actor */
	void *socket, *monitor; /* bound and not yet taken; NULL afterwards */
};

extern const struct qmt_actor_desc zlistener_desc; /* config: struct zlistener_config */

/* Binds config->endpoint ("tcp://127.0.0.1:*" picks a port, and endpoint then says which). 0, or -errno and err. */
QMT_MUST_CHECK int zlistener_bind(struct zlistener_config *config, struct qmt_err *err);
void zlistener_unbind(struct zlistener_config *config); /* when no actor took it */

#endif
