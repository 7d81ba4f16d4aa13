/* transports/zmq_connections.h - the connections of one listener: by ROUTER-made id, by number, by descriptor.
 *
 * Threads: value of one listener.   Blocks: never.
 * Invariant: a descriptor is open from its ACCEPTED to its DISCONNECTED event and carries at most one connection;
 *            `unproven` counts open descriptors whose connection has not ended HELLO.
 */
#ifndef TRANSPORTS_ZMQ_CONNECTIONS_H
#define TRANSPORTS_ZMQ_CONNECTIONS_H

#include "transports/link.h"
#include "transports/zmq_context.h"

/* A zero byte and 32 bits: what a ROUTER makes. libzmq lets a peer choose such an id too and does not tell them apart
 * (its metadata is a C string); whoever does so is only a connection like another: the User-Id of each message
 * counts. */
enum { ROUTER_ID = 5 };

struct connection {
	uint32_t router_id; /* the 32 bits */
	uint32_t slot, generation;
	int fd;
	char user_id[ZCONTEXT_USER_ID + 1];
	struct qmt_ref link;
	struct link_config link_config;
	struct wire_relay_config wire_config;
	char address[96];
	bool link_running; /* until its child_ended */
	bool proven;
	bool closed;                        /* its descriptor is gone; frames that were read before are still delivered */
	uint64_t heard_at;                  /* struct listener.taken at its last message */
	bool gone;                          /* the link was told, or wants nothing more */
	bool cut;                           /* by us: nothing in, nothing out */
	uint32_t owed;                      /* credit that the link gets back */
	uint32_t in_flight;                 /* frames at the link that it has not taken */
	struct qmt_msg *queue[WIRE_WINDOW]; /* wire.out messages that the socket did not take yet, a ring */
	uint32_t waiting_at, waiting;
	struct connection *next_blocked;
	bool blocked; /* in the list of those whose frames wait */
};

struct descriptor {
	bool open, cut;
	uint64_t since_ms, order; /* order: of acceptance */
	struct connection *connection;
};

struct connections {
	struct connection **slots; /* by slot */
	uint32_t *generations;
	uint32_t room, count;
	struct connection **by_router_id; /* open addressing; power of two, at most half full */
	uint32_t hash_room;
	struct descriptor *descriptors; /* by number */
	uint32_t descriptor_room;
	uint32_t open, unproven;
	uint64_t accepted; /* so far */
};

void connections_fini(struct connections *all);
/* NULL: out of memory. */
struct connection *connections_add(struct connections *all, uint32_t router_id);
void connections_remove(struct connections *all, struct connection *connection); /* frees it */
struct connection *connections_by_router_id(const struct connections *all, uint32_t router_id);
struct connection *connections_by_number(const struct connections *all, uint64_t number);
/* A closed connection, after `taken` messages in all. A ROUTER takes from those that have something in turn, so one
 * that was not heard for a whole round has said all. */
bool connection_has_said_all(const struct connections *all, const struct connection *connection, uint64_t taken);
uint64_t connection_number(const struct connection *connection);
/* NULL: out of memory, or a number that no descriptor has. */
struct descriptor *connections_descriptor(struct connections *all, int fd);

/* shutdown(2) of a connection of this listener. The descriptor is libzmq's and may be another's by now: it is looked at
 * first, so that at worst another connection of the same listener goes. */
void connection_shutdown(int fd, const char *endpoint);
/* Bytes that its peer has sent so far, whatever libzmq made of them; 0: not known (a local socket). */
uint64_t connection_received(int fd, const char *endpoint);
/* Where it comes from, as a multiaddr, for people; "" when unknown. */
void connection_address(int fd, const char *endpoint, char *ret_text, size_t room);

#endif
