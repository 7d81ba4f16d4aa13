/* test/lib/hostile.h - the hostile peer of cmd/lab/peer_hostile.h for tests: on loopback, and every fault of its own
 * ends the test.
 *
 * Threads: a value of the test's thread.   Blocks: up to MESH_WAIT_MS.
 */
#ifndef TEST_HOSTILE_H
#define TEST_HOSTILE_H

#include "cmd/lab/peer_hostile.h"
#include "test/lib/mesh_node.h"

/* Connects, passes HELLO unless told otherwise (enum hostile_flags). Returns 0; <0: refused during HELLO, *err says
 * what this side was told. */
int hostile_open(struct hostile *peer, uint16_t port, unsigned flags, struct qmt_err *err);
/* Under a name of its own choice. */
int hostile_open_as(struct hostile *peer, uint16_t port, const char *name, struct qmt_err *err);
void hostile_close(struct hostile *peer);
void hostile_send(struct hostile *peer, const void *frame, size_t len);
/* The next frame within timeout_ms; its length, -1: none. */
int hostile_receive(struct hostile *peer, void *room, size_t size, int timeout_ms);
/* Sends one envelope; record NULL: without a body. */
void hostile_say(struct hostile *peer, const struct envelope *env, const struct qmt_record *record, const void *body);
void hostile_says_use(struct hostile *peer, uint64_t sequence); /* "this link it is", whoever decides */
/* Waits for an envelope of this kind; its texts are valid until the next call. */
struct envelope hostile_wait(struct hostile *peer, enum envelope_kind kind);
/* Waits until the other side has closed the connection. */
void hostile_wait_cut(struct hostile *peer);

#endif
