/* cmd/lab/net.h - what joins the hosts of a scenario, and how it is broken. Two backends: cable.c (loopback: user-space
 * cables between 127.x addresses) and packets.c (netns: a network namespace a host, frames switched in this process).
 *
 * Threads: the player's.   Blocks: never (netns: while it sets up a namespace).
 * Pairs:   A fault holds between two hosts, each way. A host behind a NAT is reached through its router, and a fault
 *          with a host outside holds between the router and that host.
 */
#ifndef CMD_LAB_NET_H
#define CMD_LAB_NET_H

#include "cmd/lab/player.h"

enum net_block { NET_OPEN, NET_CUT, NET_STALLED };

/* What is wrong between two hosts; {0} is a sound link. */
struct net_fault {
	enum net_block block;
	uint64_t delay_ms, jitter_ms;
	uint64_t bits_per_second;          /* 0: no bound */
	unsigned lose, duplicate, reorder; /* of 10,000 packets */
	uint64_t after_bytes;              /* > 0: `then` happens when so many more bytes have passed */
	enum { NET_THEN_CUT, NET_THEN_STALL, NET_THEN_RESET } then;
};

struct net_ops {
	/* Before any host: 0; <0 and err. A machine that cannot do it: -ENOTSUP and the reason (the scenario is
	 * skipped). */
	int (*open)(struct player *player, struct net **ret_net, struct qmt_err *err);
	int (*network)(struct net *net, const char *name, const char *behind, struct qmt_err *err);
	int (*host)(struct net *net, struct lab_host *host, struct qmt_err *err);
	/* Address of `to` as `from` must dial it ("127.1.2.3"); `from` NULL: as anybody can. */
	const char *(*address)(struct net *net, const struct lab_host *from, const struct lab_host *to);
	/* Address that a program on the host binds. */
	const char *(*own_address)(struct net *net, const struct lab_host *host);
	/* In front of and behind the start of a process on the host: enters and leaves its namespace. */
	int (*enter)(struct net *net, const struct lab_host *host);
	void (*leave)(struct net *net);
	struct net_fault *(*fault)(struct net *net, struct lab_host *a, struct lab_host *b); /* NULL: they never meet */
	/* The fault of the pair was changed: carries it out. */
	void (*apply)(struct net *net, struct lab_host *a, struct lab_host *b);
	void (*reset)(struct net *net, struct lab_host *a, struct lab_host *b);
	uint64_t (*bytes)(struct net *net, const struct lab_host *a, const struct lab_host *b); /* passed, both ways */
	int (*move)(struct net *net, struct lab_host *host, const char *network, struct qmt_err *err);
	void (*heal_all)(struct net *net);
	void (*close)(struct net *net); /* the loop runs once more afterwards; NULL is fine */
};

extern const struct net_ops cable_ops, packets_ops;

#endif
