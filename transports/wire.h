/* transports/wire.h - what carries the frames of one link, and what it tells the link.
 *
 * Two kinds: a DEALER that the link actor owns itself (zmq_dialer.c), and frames relayed by an actor that owns
 * something shared: the ROUTER of a listener (zmq_listener.c) or a port of the in-memory hub (loop.c), both through
 * wire_relay.c.
 *
 * Threads: everything here runs on the turn of the link actor.   Blocks: never.
 * Order:   frames arrive in the order in which they were sent, or the wire closes. Nothing arrives after
 *          link_wire_closed.
 */
#ifndef TRANSPORTS_WIRE_H
#define TRANSPORTS_WIRE_H

#include "runtime/actor.h"
#include "transports/hello.h"

struct link;
struct wire; /* begins with `const struct wire_ops *ops` */

enum { WIRE_E_FULL = 1, WIRE_E_GONE = 2 };

struct wire_ops {
	const char *transport; /* "tcp", "ipc", "loop" */
	/* Begins to carry. link_wire_open or link_wire_closed follows, never from inside. 0, or <0 and err. */
	int (*open)(struct qmt_ctx *ctx, struct link *link, const void *config, struct wire **ret_wire,
		struct qmt_err *err);
	/* 0: it will go; WIRE_E_FULL: try again at link_wire_writable; WIRE_E_GONE: link_wire_closed follows. The frame
	 * is copied. */
	int (*send)(struct qmt_ctx *ctx, struct wire *wire, struct qmt_bytes frame);
	/* The link's turn ends and it called qmt_want_flush: the last look at the socket. May be NULL. */
	void (*turn_ends)(struct qmt_ctx *ctx, struct link *link, struct wire *wire);
	/* The `again` hook of the link. May be NULL. */
	void (*again)(struct qmt_ctx *ctx, struct link *link, struct wire *wire);
	/* HELLO has ended well. May be NULL. */
	void (*proven)(struct qmt_ctx *ctx, struct wire *wire);
	/* Cuts and frees. What was sent and has not left may be lost. */
	void (*close)(struct qmt_ctx *ctx, struct link *link, struct wire *wire);
};

struct wire {
	const struct wire_ops *ops;
};

/* ---- what the wire tells the link (link.c) ----------------------------------------------------------------------- */

/* Connected. channel_key: the dialer's, as the channel authenticated it. */
void link_wire_open(struct qmt_ctx *ctx, struct link *link, const uint8_t channel_key[HELLO_KEY]);
void link_wire_frame(struct qmt_ctx *ctx, struct link *link, struct qmt_bytes frame);
void link_wire_writable(struct qmt_ctx *ctx, struct link *link);
/* The connection is over or never came to be. why: for people. */
void link_wire_closed(struct qmt_ctx *ctx, struct link *link, const char *why);
/* False: the link has ended (after a frame that cut it), stop delivering. */
bool link_wire_wanted(const struct link *link);
struct wire *link_wire(struct link *link);

/* ---- relayed wires (wire_relay.c) -------------------------------------------------------------------------------- */

/* To the link. */
#define WIRE_OPENED(F, T) F(T, BYTES, channel_key, 1, "The dialer's.")
#define WIRE_FRAME(F, T) F(T, BYTES, data, 1, "One frame.")
#define WIRE_CREDIT(F, T) F(T, U32, frames, 1, "So many more may be sent.")
#define WIRE_GONE(F, T) F(T, STR, why, 1, "For people.")
/* To the relaying actor. */
#define WIRE_OUT(F, T) \
	F(T, U64, connection, 1, "Which.") \
	F(T, BYTES, data, 2, "One frame.")
#define WIRE_TOOK(F, T) \
	F(T, U64, connection, 1, "Which.") \
	F(T, U32, frames, 2, "So many.")
#define WIRE_CONNECTION(F, T) F(T, U64, connection, 1, "Which.")

#define WIRE_MESSAGES(M) \
	M(wire, opened, WIRE_OPENED, "local", "Connected.") \
	M(wire, frame, WIRE_FRAME, "local", "From the peer.") \
	M(wire, credit, WIRE_CREDIT, "local", "The relay took frames.") \
	M(wire, gone, WIRE_GONE, "local", "The connection is over; nothing follows.") \
	M(wire, out, WIRE_OUT, "local", "To the peer.") \
	M(wire, took, WIRE_TOOK, "local", "The link has handled frames.") \
	M(wire, proven, WIRE_CONNECTION, "local", "HELLO has ended well.") \
	M(wire, cut, WIRE_CONNECTION, "local", "The link has ended.")
QMT_DECLARE_PROTOCOL(wire, WIRE_MESSAGES)

enum {
	WIRE_WINDOW = 32,    /* frames that a link may have at its relay */
	WIRE_IN_FLIGHT = 64, /* frames at a link before its relay stops reading */
	WIRE_TOOK = 16,      /* the link says so every so many */
};

struct wire_relay_config {
	struct qmt_ref relay;
	uint64_t connection;
	const char *transport;
};
extern const struct wire_ops wire_relay_ops; /* config: struct wire_relay_config */
extern qmt_handler *const wire_relay_handlers[wire_message_count]; /* of the link; state: struct link */

#endif
