/* transports/zmq_listener_internal.h - the state of a listener; for zmq_listener.c (connections, links, hooks) and
 * zmq_listener_in.c (messages from the ROUTER).
 *
 * Threads: all of it belongs to the actor's turn.
 */
#ifndef TRANSPORTS_ZMQ_LISTENER_INTERNAL_H
#define TRANSPORTS_ZMQ_LISTENER_INTERNAL_H

#include "transports/zmq_connections.h"
#include "transports/zmq_listener.h"

enum { FRAMES_A_TURN = 16, SWEEP_MS = 100, LOG_EVERY_MS = 10000, LOG_REJECTIONS = 10 };

enum complaint { BAD_ID, BAD_USER, BAD_PARTS, TOO_LONG, TOO_MANY, TOO_MANY_LINKS, SLOW, COMPLAINT_KINDS };

struct listener {
	struct zlistener_config *config;
	const struct transports_limits *limits;
	void *socket, *monitor;
	int fd, monitor_fd;
	struct qmt_ref self;
	struct connections all;
	struct connection *blocked; /* whose frames wait for the socket */
	uint32_t closing;           /* closed, and their links not told yet */
	uint64_t taken;             /* messages from the ROUTER, ever */
	uint32_t links;             /* proven */
	bool after_frame, paused;
	struct qmt_timer sweep;
	uint64_t logged_ms[COMPLAINT_KINDS];
	uint64_t
		rejections_since_ms; /* of connections that ended before HELLO did: LOG_REJECTIONS in LOG_EVERY_MS are logged */
	uint32_t rejections;
};

/* Logs, each kind at most once in LOG_EVERY_MS. */
void zlistener_complain(struct qmt_ctx *ctx, struct listener *listener, enum complaint kind, const char *reason);
/* Ends the link from this side: it is told, and what still comes is dropped. */
void zlistener_refuse(struct qmt_ctx *ctx, struct listener *listener, struct connection *connection, const char *why);
/* Reads the monitor. */
void zlistener_take_events(struct qmt_ctx *ctx, struct listener *listener);
/* Tells the links of closed connections when all that they had sent has been read: is_dry, nothing is left of
 * anybody's; otherwise as connection_has_said_all has it, so that others who never stop talking do not put it off. */
void zlistener_settle_closed(struct qmt_ctx *ctx, struct listener *listener, bool is_dry);
/* Takes up to `most` messages; returns how many. */
int zlistener_receive(struct qmt_ctx *ctx, struct listener *listener, int most);

#endif
