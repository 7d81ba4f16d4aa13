/* cmd/lab/peer_hostile.h - a peer that can say anything: real CURVE and HELLO, or not, then bytes of the caller's
 * choice. Of `qmt-lab peer`, and of tests (test/lib/hostile.h).
 *
 * Threads: a value of one thread.   Blocks: up to the deadline that is handed in (qmt_os_real_now_ms).
 * Order:   frames as they were sent. HOSTILE_E_CUT is told once what came before has been received.
 */
#ifndef CMD_LAB_PEER_HOSTILE_H
#define CMD_LAB_PEER_HOSTILE_H

#include "proto/envelope.h"
#include "transports/hello.h"

struct hostile;

/* A frame of HELLO that is about to leave: may change it. 0, or <0 and the dial ends with that. */
typedef int hostile_alter_fn(struct hostile *peer, struct qmt_buf *frame, void *arg);

struct hostile {
	void *context, *socket, *monitor;
	struct identity identity;
	uint8_t key[32], secret[32]; /* CURVE */
	struct hello hello;
	struct hello_self self;
	bool cut; /* the other side has closed the connection */
	/* may be set in front of hostile_prove */
	hostile_alter_fn *alter;
	void *alter_arg;
};

enum hostile_flags {
	HOSTILE_PLAIN = 1,     /* no CURVE */
	HOSTILE_WRONG_KEY = 2, /* HELLO names another CURVE key than the connection's */
	HOSTILE_NO_HELLO = 4,  /* only connects */
	HOSTILE_NAMED = 8,     /* chooses its own routing id */
	HOSTILE_KNOWN = 16,    /* peer->identity is set already */
	HOSTILE_KEYED = 32,    /* peer->key and peer->secret are set already */
	HOSTILE_DEAF = 64,     /* takes in next to nothing until it is asked to (hostile_get) */
};

enum { HOSTILE_E_CUT = 1, HOSTILE_E_LATE };

/* Begins to connect to "tcp://IP:PORT". 0, or <0 and err. The peer is to be closed in any case. */
QMT_MUST_CHECK int hostile_connect(struct hostile *peer, const char *endpoint, unsigned flags, struct qmt_err *err);
/* Passes HELLO. 0; HOSTILE_E_CUT; HOSTILE_E_LATE; <0: refused, err says what this side was told. */
QMT_MUST_CHECK int hostile_prove(struct hostile *peer, unsigned flags, uint64_t deadline_ms, struct qmt_err *err);
void hostile_hang_up(struct hostile *peer); /* also one that never connected */

/* 0; HOSTILE_E_CUT, HOSTILE_E_LATE: it did not go. deadline 0: does not wait. */
QMT_MUST_CHECK int hostile_put(struct hostile *peer, const void *frame, size_t len, uint64_t deadline_ms);
/* The next frame, cut to size. 0; HOSTILE_E_CUT; HOSTILE_E_LATE. */
QMT_MUST_CHECK int hostile_get(struct hostile *peer, void *room, size_t size, uint64_t deadline_ms, size_t *ret_len);
/* Reads over what still comes until the other side has closed the connection. 0 or HOSTILE_E_LATE. */
QMT_MUST_CHECK int hostile_await_cut(struct hostile *peer, uint64_t deadline_ms);
/* Says which link is in use, if it is this side's to say (the smaller PeerId); always: says it anyhow. */
QMT_MUST_CHECK int hostile_use(struct hostile *peer, uint64_t sequence, bool always, uint64_t deadline_ms);

/* Begins a frame, or goes on with it: version, envelope; the body is the caller's to append. */
void hostile_put_envelope(struct qmt_buf *frame, const struct envelope *env, const void *body, size_t len);

#endif
