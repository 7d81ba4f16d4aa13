/* test/lib/members.c - see members.h. */
#include "test/lib/members.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <unistd.h>

#include "proto/authority.h"

int members_setup(void **state)
{
	static struct members world;

	world = (struct members){0};
	(void)snprintf(world.dir, sizeof(world.dir), "/tmp/qmt-membership-XXXXXX");
	assert_non_null(mkdtemp(world.dir));
	*state = &world;
	return 0;
}

int members_teardown(void **state)
{
	struct members *world = *state;
	char command[128];

	for (uint32_t i = 0; i < world->count; i++)
		mesh_node_stop(&world->nodes[i]);
	(void)snprintf(command, sizeof(command), "rm -rf %s", world->dir);
	return system(command);
}

/* A node without the LAN's scope: whoever has a link to it has it because of a mesh. */
struct mesh_node *members_node(struct members *world)
{
	struct mesh_node *node = &world->nodes[world->count];
	char name[16];

	(void)snprintf(name, sizeof(name), "n%u", world->count++);
	mesh_node_init(node, name, NULL, 0);
	node->with_admission = true;
	node->config.no_lan = true;
	(void)snprintf(node->store_path, sizeof(node->store_path), "%s/%s.db", world->dir, name);
	return node;
}

struct mesh_node *members_start(struct members *world)
{
	struct mesh_node *node = members_node(world);

	mesh_node_start(node);
	return node;
}

/* The URL of a new invite, with where to dial. */
void members_invite(struct mesh_node *host, const char *name, uint32_t uses, bool client, char ret_url[1024])
{
	struct qmt_result result;

	assert_int_equal(MESH_ASK(host, host->admission_ref, &result, admission_invite_create, .name = qmt_str(name),
						 .ttl_s = 3600, .max_uses = uses, .client = client),
		0);
	const struct admission_invite_created *created = result.body;
	(void)snprintf(ret_url, 1024, "%.*s#/ip4/127.0.0.1/tcp/%u", QMT_STR_ARG(created->url), host->port);
}

int members_join(struct mesh_node *node, const char *url, struct qmt_result *result)
{
	return MESH_ASK(node, node->admission_ref, result, admission_mesh_join, .token = qmt_str(url));
}

int members_leave(struct mesh_node *node, const char *mesh)
{
	struct qmt_result result;

	return MESH_ASK(node, node->admission_ref, &result, admission_mesh_leave, .mesh = qmt_str(mesh));
}

void members_must_join(struct mesh_node *node, const char *url)
{
	struct qmt_result result;

	if (members_join(node, url, &result))
		fail_msg("%s does not join: %.*s", node->name, QMT_STR_ARG(result.text));
}

/* What a node's peer may do there, as `peers` tells; "" without a link. */
struct role_of {
	struct mesh_node *node;
	const char *peer;
	const char *role;
};

static bool has_role(void *arg)
{
	struct role_of *want = arg;
	const struct peers_list_reply *list = mesh_peers(want->node);

	for (uint32_t i = 0; list && i < list->peers.count; i++)
		if (qmt_str_is(list->peers.items[i].peer_id, want->peer) && qmt_str_is(list->peers.items[i].state, "connected"))
			return qmt_str_is(list->peers.items[i].role, want->role);
	return list && !want->role[0];
}

void members_wait_role(struct mesh_node *node, struct mesh_node *peer, const char *role)
{
	mesh_until(has_role, &(struct role_of){node, peer->id, role}, role[0] ? role : "no link");
}

/* May `node` use `peer`'s things? What a member may and a stranger may not: an ask of a name there. */
int members_use(struct mesh_node *node, struct mesh_node *peer)
{
	struct qmt_result result;

	return MESH_ASK(
		node, node->probe, &result, probe_ask_peer, .peer = qmt_str(peer->id), .n = 1, .timeout_ms = MESH_WAIT_MS);
}

struct usable {
	struct mesh_node *node, *peer;
};

static bool is_usable(void *arg)
{
	struct usable *want = arg;

	return members_use(want->node, want->peer) == 0;
}

void members_wait_usable(struct mesh_node *node, struct mesh_node *peer)
{
	mesh_until(is_usable, &(struct usable){node, peer}, "it may be used");
}

struct mesh_is {
	struct mesh_node *node;
	const char *state;
};

static bool mesh_has_state(void *arg)
{
	struct mesh_is *want = arg;
	struct qmt_result result;

	assert_int_equal(MESH_ASK(want->node, want->node->admission_ref, &result, admission_mesh_list, ), 0);
	const struct admission_meshes *meshes = result.body;
	return want->state[0] ? meshes->meshes.count == 1 && qmt_str_is(meshes->meshes.items[0].state, want->state)
						  : meshes->meshes.count == 0;
}

void members_wait_mesh(struct mesh_node *node, const char *state)
{
	mesh_until(mesh_has_state, &(struct mesh_is){node, state}, state);
}

/* ---- strangers --------------------------------------------------------------------------------------------------- */

/* A node that names a mesh by its id, which anybody may guess, and has no actor "admission" of ours. */
struct has_members {
	struct mesh_node *node;
	uint32_t count;
};

static bool has_members(void *arg)
{
	struct has_members *want = arg;
	struct qmt_result result;

	if (MESH_ASK(want->node, want->node->admission_ref, &result, admission_mesh_list, ))
		return false; /* it is just starting */
	const struct admission_meshes *meshes = result.body;
	return meshes->meshes.count == 1 && meshes->meshes.items[0].members == want->count;
}

void members_wait_members(struct mesh_node *node, uint32_t count)
{
	mesh_until(has_members, &(struct has_members){node, count}, "that many members");
}

void members_admission_again(struct mesh_node *node)
{
	assert_int_equal(qmt_stop(node->ctx, node->admission_ref), 0); /* it is permanent */
}

struct mesh_node *members_stranger(struct members *world, struct mesh_node *host, const char *mesh)
{
	struct mesh_node *node = members_node(world);
	struct qmt_str scope = qmt_str(mesh);
	struct qmt_ref peers;

	node->with_admission = false;
	node->config.no_lan = true;
	mesh_node_dials(node, "host", host->port, &host->identity.id);
	mesh_node_start(node);
	assert_int_equal(qmt_lookup(node->ctx, "peers", &peers), 0);
	assert_int_equal(QMT_TELL(node->ctx, peers, peers_scopes, .scopes = {&scope, 1}), 0);
	mesh_wait_peer(node, host->id, true);
	return node;
}

/* Passes on to the actor "admission" of a peer whatever it is asked. */
struct voice {
	const char *peer;
	struct qmt_token token;
};

static int voice_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct voice *voice = state;

	(void)ctx;
	voice->peer = config;
	return 0;
}

static void heard(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct voice *voice = state;

	(void)arg;
	(void)qmt_reply_result(ctx, voice->token, result);
}

static void pass(struct qmt_ctx *ctx, struct voice *voice, const struct qmt_type *type, const void *body)
{
	voice->token = qmt_token(ctx);
	if (qmt_ask_name(ctx, voice->peer, "admission", type, body, MESH_WAIT_MS, heard, NULL))
		(void)qmt_reply_fail(ctx, voice->token, QMT_FAIL_NO_ROUTE, NULL, 0, "no link");
}

static void voice_show(struct qmt_ctx *ctx, void *state, const void *body)
{
	pass(ctx, state, &admission_show_type, body);
}

static void voice_join(struct qmt_ctx *ctx, void *state, const void *body)
{
	pass(ctx, state, &admission_join_type, body);
}

static qmt_handler *const voice_handlers[admission_message_count] = {
	[admission_show_id] = voice_show,
	[admission_join_id] = voice_join,
};
static const struct qmt_actor_desc voice_desc = {
	.abi = QMT_ABI,
	.name = "voice",
	.state_size = sizeof(struct voice),
	.accepts = {{&admission_protocol, voice_handlers}},
	.start = voice_start,
};

int members_ask(struct mesh_node *node, struct mesh_node *host, const struct qmt_type *type, const void *body,
	struct qmt_result *result)
{
	struct qmt_ref voice;
	struct qmt_err err = {0};
	int rc = qmt_spawn(node->ctx, &voice_desc, &(struct qmt_spawn){.config = host->id}, &voice, &err);

	assert_int_equal(rc, 0);
	rc = mesh_ask(node, voice, type, body, result);
	assert_int_equal(qmt_stop(node->ctx, voice), 0);
	return rc;
}

uint32_t members_show(
	struct mesh_node *node, struct mesh_node *host, const char *mesh, const struct membership *membership)
{
	struct qmt_result result;
	uint8_t bytes[MEMBERSHIP_BYTES];
	struct admission_show msg = {.mesh = qmt_str(mesh)};

	if (membership)
		msg.membership = (struct qmt_bytes){bytes, membership_encode(membership, bytes)};
	assert_int_equal(members_ask(node, host, &admission_show_type, &msg, &result), 0);
	return ((const struct admission_shown *)result.body)->role;
}

void members_mesh_id(const struct mesh_node *host, const char *name, char ret_id[400])
{
	(void)snprintf(ret_id, 400, "%s:%s", host->id, name);
}

struct membership members_membership(
	struct mesh_node *host, const struct mesh_node *holder, const char *name, uint64_t expires_at)
{
	char id[400];
	struct membership membership = {.peer = holder->identity.id, .issued_at = 1, .expires_at = expires_at};

	members_mesh_id(host, name, id);
	membership.mesh_id_len = (uint16_t)strlen(id);
	memcpy(membership.mesh_id, id, strlen(id));
	membership_sign(&host->identity, &membership);
	return membership;
}
