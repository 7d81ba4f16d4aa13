/* test/lib/members.h - nodes with a real store and the actor "admission", for tests of meshes: real links, several
 * nodes in one process.
 *
 * Threads: the test's.   Blocks: up to MESH_WAIT_MS, then the test fails.   Limits: MEMBERS_NODES nodes at a time.
 */
#ifndef TEST_LIB_MEMBERS_H
#define TEST_LIB_MEMBERS_H

#include "proto/membership.h"
#include "test/lib/mesh_node.h"

enum { MEMBERS_NODES = 4 };

struct members {
	struct mesh_node nodes[MEMBERS_NODES];
	uint32_t count;
	char dir[64]; /* of their databases */
};

/* Of a cmocka test: *state is the struct members. */
int members_setup(void **state);
int members_teardown(void **state);
/* Without the LAN's scope: whoever has a link to it has it because of a mesh. */
struct mesh_node *members_node(struct members *world);
struct mesh_node *members_start(struct members *world);
/* The URL of a new invite, with where to dial; uses 0: any number. */
void members_invite(struct mesh_node *host, const char *name, uint32_t uses, bool client, char ret_url[1024]);
int members_join(struct mesh_node *node, const char *url, struct qmt_result *result);
void members_must_join(struct mesh_node *node, const char *url);
int members_leave(struct mesh_node *node, const char *mesh);
/* Until `peers` of the node tells that role of the peer; "": no link. */
void members_wait_role(struct mesh_node *node, struct mesh_node *peer, const char *role);
/* May `node` use `peer`'s things? What a member may and a stranger may not: an ask of a name there. Returns its
 * failure. */
int members_use(struct mesh_node *node, struct mesh_node *peer);
void members_wait_usable(struct mesh_node *node, struct mesh_node *peer);
/* Until the node's one mesh has that state; "": until it has no mesh. */
void members_wait_mesh(struct mesh_node *node, const char *state);
/* Until the node's one mesh has that many members, that are let in here and linked. */
void members_wait_members(struct mesh_node *node, uint32_t count);
/* The actor "admission" of a running node ends, and starts anew. */
void members_admission_again(struct mesh_node *node);
/* A node that names a mesh by its id, which anybody may guess, and has no actor "admission" of ours. */
struct mesh_node *members_stranger(struct members *world, struct mesh_node *host, const char *mesh);
/* Asks the actor "admission" of a linked node, whatever that comes to. */
int members_ask(struct mesh_node *node, struct mesh_node *host, const struct qmt_type *type, const void *body,
	struct qmt_result *result);
/* The role that the host gives to who shows this. */
uint32_t members_show(
	struct mesh_node *node, struct mesh_node *host, const char *mesh, const struct membership *membership);
void members_mesh_id(const struct mesh_node *host, const char *name, char ret_id[400]);
struct membership members_membership(
	struct mesh_node *host, const struct mesh_node *holder, const char *name, uint64_t expires_at);

#endif
