/* test/lib/mesh_node.h - a whole node for tests of links: a runtime, transports, a store that only knows pins, a probe.
 *
 * Threads: a node belongs to the test's thread.   Blocks: start, stop and ask, with deadlines.
 */
#ifndef TEST_MESH_NODE_H
#define TEST_MESH_NODE_H

#include "actors/admission/admission.h"
#include "actors/store/store.h"
#include "mesh_probe.h"
#include "proto/contract/contract.h"
#include "transports/loop.h"
#include "transports/transports.h"

enum { MESH_PEERS = 4, MESH_WAIT_MS = 20000 };

extern const struct qmt_actor_desc mesh_store_desc; /* knows pins and policies, in memory */

enum mesh_kind { MESH_TCP, MESH_LOOP };

struct mesh_node {
	/* set by mesh_node_init, may be changed before mesh_node_start */
	struct identity identity;
	struct transports_config config;
	struct transports_peer peers[MESH_PEERS];
	struct multiaddr listen;
	char name[16], control[100];
	int log_fd; /* -1: no log */
	bool no_store;
	const struct qmt_actor_desc *store_desc; /* NULL: mesh_store_desc */
	const void *store_config;
	bool names; /* spawn the actor of runtime/names.h, with short times */
	bool with_admission; /* a real store at store_path, and the actor "admission" */
	char store_path[128]; /* "": in memory */
	struct admission_config admission;
	struct store_config real_store;
	uint32_t workers;
	/* running */
	struct qmt_log *log;
	struct qmt_system *system;
	struct qmt_ctx *ctx;
	struct transports *transports;
	struct qmt_ref probe, store, admission_ref;
	char id[PEER_ID_TEXT + 1];
	uint16_t port;
};

/* A node that will listen on loopback (port 0: any; with a hub the port must be given). Short times, so that tests
 * are short. */
void mesh_node_init(struct mesh_node *node, const char *name, struct loop_hub *hub, uint16_t port);
/* Adds a peer to dial; id NULL: none expected. */
void mesh_node_dials(struct mesh_node *node, const char *name, uint16_t port, const struct peer_id *id);
void mesh_node_start(struct mesh_node *node); /* asserts that it works */
void mesh_node_stop(
	struct mesh_node *node); /* asserts that nothing is left; may be started again, with the same identity and port */

/* Asks an actor of the node from outside. Returns result->fail. */
int mesh_ask(struct mesh_node *node, struct qmt_ref to, const struct qmt_type *type, const void *body,
	struct qmt_result *result);
#define MESH_ASK(node, to, result, msg, ...) mesh_ask(node, to, &msg##_type, &(struct msg){__VA_ARGS__}, result)

/* Waits until the node says `peer` is connected (or not). Asserts. */
void mesh_wait_peer(struct mesh_node *node, const char *peer_id, bool connected);
/* The list of peers; valid until the next ask. */
const struct peers_list_reply *mesh_peers(struct mesh_node *node);
/* How many link actors live on the node. */
uint32_t mesh_links(struct mesh_node *node);
struct probe_totals mesh_totals(struct mesh_node *node);
/* Calls fn until it says true; asserts after MESH_WAIT_MS. Between two tries it waits for up to 2 ms. */
void mesh_until(bool (*fn)(void *arg), void *arg, const char *what);
/* A port that is free now, not the one of the call before, for nodes that have to know each other before they start. */
uint16_t mesh_free_port(void);

#endif
