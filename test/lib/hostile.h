/* test/lib/hostile.h - a peer that can say anything: real CURVE and HELLO, then bytes of the test's choice.
 *
 * Threads: a value of the test's thread.   Blocks: up to MESH_WAIT_MS.
 */
#ifndef TEST_HOSTILE_H
#define TEST_HOSTILE_H

#include "test/lib/mesh_node.h"

struct hostile {
	void *context, *socket, *monitor;
	struct identity identity;
	uint8_t key[32]; /* CURVE, public */
	struct hello hello;
	struct hello_self self;
};

enum hostile_flags {
	HOSTILE_PLAIN = 1,     /* no CURVE */
	HOSTILE_WRONG_KEY = 2, /* HELLO names another CURVE key than the connection's */
	HOSTILE_NO_HELLO = 4,  /* only connects */
	HOSTILE_NAMED = 8,     /* chooses its own routing id */
	HOSTILE_KNOWN = 16, /* peer->identity is set already */
};

/* Connects, passes HELLO unless told otherwise. Returns 0; <0: refused during HELLO, *err says what this side was
 * told. */
int hostile_open(struct hostile *peer, uint16_t port, unsigned flags, struct qmt_err *err);
void hostile_close(struct hostile *peer);
void hostile_send(struct hostile *peer, const void *frame, size_t len);
/* The next frame within timeout_ms; its length, -1: none. */
int hostile_receive(struct hostile *peer, void *room, size_t size, int timeout_ms);
/* Waits until the other side has closed the connection. */
void hostile_wait_cut(struct hostile *peer);

#endif
