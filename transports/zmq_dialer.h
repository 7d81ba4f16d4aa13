/* transports/zmq_dialer.h - the dialing end of a connection: a DEALER that belongs to the link actor itself (wire.h).
 *
 * Threads: the link's turn.   Blocks: never (names are resolved by who dials; libzmq gets numbers).
 * Invariant: one socket, one TCP connection, one HELLO: it never reconnects.
 */
#ifndef TRANSPORTS_ZMQ_DIALER_H
#define TRANSPORTS_ZMQ_DIALER_H

#include "transports/wire.h"
#include "transports/zmq_context.h"

enum { ZMQ_ENDPOINT = 320 };

struct zmq_dialer_config {
	struct zcontext *context;
	const struct transports_limits *limits;
	char endpoint[ZMQ_ENDPOINT]; /* "tcp://127.0.0.1:9001", "ipc:///run/qmtd.sock" */
};

extern const struct wire_ops zmq_dialer_ops; /* config: struct zmq_dialer_config */

#endif
