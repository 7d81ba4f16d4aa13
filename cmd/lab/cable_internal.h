/* cmd/lab/cable_internal.h - the loopback backend from within: cable.c (addresses, who meets whom) and cable_lane.c
 * (what
 * passes through a connection, when).
 *
 * Threads: the player's.   Blocks: never.
 * Invariant: a connection is in net->connections until its last handle is closed; a lane holds at most QUEUE_BYTES and
 *          one read more.
 */
#ifndef CMD_LAB_CABLE_INTERNAL_H
#define CMD_LAB_CABLE_INTERNAL_H

#include "cmd/lab/net.h"

enum { HOSTS_MAX = 40, MOVES_MAX = 5, ANYBODY = 255, CABLE_PORTS = 2 };

struct piece {
	uint64_t due_ms;
	size_t len;
	struct piece *next;
	char data[];
};

struct connection;
struct lane { /* one direction of a connection */
	struct connection *connection;
	uv_tcp_t *from, *to;
	struct piece *first, **last;
	size_t queued, writing;
	uint64_t busy_until_ms;
	uv_timer_t timer;
	bool reading, end_read, end_passed;
};

struct connection {
	struct net *net;
	struct pair *pair;  /* NULL: of somebody outside the scenario */
	uv_tcp_t near, far; /* near: accepted; far: to the target */
	uv_connect_t connecting;
	struct lane lanes[2];
	unsigned open; /* handles that are not closed yet */
	bool connected, closing;
	struct connection *next;
};

struct listener {
	uv_tcp_t tcp;
	struct net *net;
	unsigned from, to; /* indexes of hosts; from may be ANYBODY */
	uint16_t port;
};

struct pair {
	struct net_fault fault;
	uint64_t bytes;
};

struct net {
	struct player *player;
	uv_loop_t *loop;
	int claim_fd;
	unsigned range; /* R */
	struct lab_host *hosts[HOSTS_MAX + 1];
	char own[HOSTS_MAX + 1][20], text[20];
	unsigned moves[HOSTS_MAX + 1];
	struct pair pairs[HOSTS_MAX + 1][HOSTS_MAX + 1];                       /* [smaller][larger] */
	struct listener *listeners[HOSTS_MAX + 1][HOSTS_MAX + 1][CABLE_PORTS]; /* [0]: anybody */
	struct connection *connections;
};

/* A new connection of the net, with its handles; NULL: out of memory. pair NULL: of somebody outside the scenario. */
struct connection *cable_connection_new(struct net *net);
/* For uv_tcp_connect of the far end. */
void cable_connected(uv_connect_t *request, int status);
/* reset: by RST. May be repeated. */
void cable_connection_close(struct connection *connection, bool reset);
void cable_connections_close(struct net *net, const struct pair *pair, bool reset);
/* Passes on what is due: after a change of the fault. */
void cable_lane_pump(struct lane *lane);

#endif
