/* test/port/membership_test.c - a mesh lets in who was invited, and nobody else; whoever is out is out at once, on
 * every node that hears of it; a scope shows nothing of another. Real links, real stores, several nodes in one
 * process. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "proto/authority.h"
#include "proto/membership.h"
#include "proto/revocation.h"
#include "runtime/base/os.h"
#include "test/lib/mesh_node.h"

enum { NODES = 4 };

struct world {
	struct mesh_node nodes[NODES];
	uint32_t count;
	char dir[64];
};

static int setup(void **state)
{
	static struct world world;

	world = (struct world){0};
	(void)snprintf(world.dir, sizeof(world.dir), "/tmp/qmt-membership-XXXXXX");
	assert_non_null(mkdtemp(world.dir));
	*state = &world;
	return 0;
}

static int teardown(void **state)
{
	struct world *world = *state;
	char command[128];

	for (uint32_t i = 0; i < world->count; i++)
		mesh_node_stop(&world->nodes[i]);
	(void)snprintf(command, sizeof(command), "rm -rf %s", world->dir);
	return system(command);
}

/* A node without the LAN's scope: whoever has a link to it has it because of a mesh. */
static struct mesh_node *new_node(struct world *world)
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

static struct mesh_node *start_node(struct world *world)
{
	struct mesh_node *node = new_node(world);

	mesh_node_start(node);
	return node;
}

/* The URL of a new invite, with where to dial. */
static void invite(struct mesh_node *host, const char *name, uint32_t uses, bool client, char ret_url[1024])
{
	struct qmt_result result;

	assert_int_equal(MESH_ASK(host, host->admission_ref, &result, admission_invite_create, .name = qmt_str(name),
						 .ttl_s = 3600, .max_uses = uses, .client = client),
		0);
	const struct admission_invite_created *created = result.body;
	(void)snprintf(ret_url, 1024, "%.*s#/ip4/127.0.0.1/tcp/%u", QMT_STR_ARG(created->url), host->port);
}

static int join(struct mesh_node *node, const char *url, struct qmt_result *result)
{
	return MESH_ASK(node, node->admission_ref, result, admission_mesh_join, .token = qmt_str(url));
}

static void must_join(struct mesh_node *node, const char *url)
{
	struct qmt_result result;

	if (join(node, url, &result))
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

static void wait_role(struct mesh_node *node, struct mesh_node *peer, const char *role)
{
	mesh_until(has_role, &(struct role_of){node, peer->id, role}, role[0] ? role : "no link");
}

/* May `node` use `peer`'s things? What a member may and a stranger may not: an ask of a name there. */
static int use(struct mesh_node *node, struct mesh_node *peer)
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

	return use(want->node, want->peer) == 0;
}

static void wait_usable(struct mesh_node *node, struct mesh_node *peer)
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

static void wait_mesh(struct mesh_node *node, const char *state)
{
	mesh_until(mesh_has_state, &(struct mesh_is){node, state}, state);
}

/* Who was invited gets in, with the role of the invite, on both sides; and again after a restart of either side,
 * without the invite being looked at for a use. */
static void invited_gets_in(void **state)
{
	struct mesh_node *host = start_node(*state), *node = start_node(*state), *other = start_node(*state);
	struct qmt_result result;
	char url[1024];

	invite(host, "work", 1, false, url);
	assert_int_equal(join(node, url, &result), 0);
	const struct admission_mesh_joined *joined = result.body;
	assert_false(joined->already_joined);
	assert_true(qmt_str_is(joined->mesh_name, "work"));
	assert_true(qmt_str_is(joined->inviter_peer_id, host->id));
	assert_true(qmt_str_is(joined->role, "member"));
	wait_role(host, node, "member");
	wait_role(node, host, "member");
	wait_usable(node, host);
	wait_usable(host, node);

	assert_int_equal(join(node, url, &result), 0); /* again: told so, no use is spent */
	assert_true(((const struct admission_mesh_joined *)result.body)->already_joined);

	mesh_node_stop(node);
	wait_role(host, node, "");
	mesh_node_start(node);
	wait_usable(node, host);
	mesh_node_stop(host);
	mesh_node_start(host);
	wait_usable(node, host);
	wait_usable(host, node);

	assert_int_equal(join(other, url, &result), QMT_FAIL_NOT_ALLOWED); /* its one use is spent */
	assert_non_null(strstr(result.text.p, "used up"));
	wait_mesh(other, "refused");
	wait_role(host, other, "");
}

/* An invite for clients makes clients. */
static void a_client_is_a_client(void **state)
{
	struct mesh_node *host = start_node(*state), *node = start_node(*state);
	char url[1024];

	invite(host, "", 0, true, url);
	must_join(node, url);
	wait_role(host, node, "client");
	wait_role(node, host, "member");
}

/* Members of a mesh find each other through its inviter, judge each other, and stay together without it. */
static void members_find_each_other(void **state)
{
	struct mesh_node *host = start_node(*state), *a = start_node(*state), *b = start_node(*state);
	char url[1024];

	invite(host, "work", 0, false, url);
	must_join(a, url);
	must_join(b, url);
	wait_role(a, b, "member");
	wait_role(b, a, "member");
	wait_usable(a, b);
	wait_usable(b, a);
	mesh_node_stop(host);
	mesh_node_stop(a);
	mesh_node_start(a); /* it remembers where b is */
	wait_usable(a, b);
	wait_usable(b, a);
}

/* ---- strangers --------------------------------------------------------------------------------------------------- */

/* A node that names a mesh by its id, which anybody may guess, and has no actor "admission" of ours. */
static struct mesh_node *stranger(struct world *world, struct mesh_node *host, const char *mesh)
{
	struct mesh_node *node = new_node(world);
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

static int ask_admission(struct mesh_node *node, struct mesh_node *host, const struct qmt_type *type, const void *body,
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

static uint32_t show(
	struct mesh_node *node, struct mesh_node *host, const char *mesh, const struct membership *membership)
{
	struct qmt_result result;
	uint8_t bytes[MEMBERSHIP_BYTES];
	struct admission_show msg = {.mesh = qmt_str(mesh)};

	if (membership)
		msg.membership = (struct qmt_bytes){bytes, membership_encode(membership, bytes)};
	assert_int_equal(ask_admission(node, host, &admission_show_type, &msg, &result), 0);
	return ((const struct admission_shown *)result.body)->role;
}

static void mesh_of(const struct mesh_node *host, const char *name, char ret_id[400])
{
	(void)snprintf(ret_id, 400, "%s:%s", host->id, name);
}

static struct membership membership_of(
	struct mesh_node *host, const struct mesh_node *holder, const char *name, uint64_t expires_at)
{
	char id[400];
	struct membership membership = {.peer = holder->identity.id, .issued_at = 1, .expires_at = expires_at};

	mesh_of(host, name, id);
	membership.mesh_id_len = (uint16_t)strlen(id);
	memcpy(membership.mesh_id, id, strlen(id));
	membership_sign(&host->identity, &membership);
	return membership;
}

/* Naming a mesh gives a link and nothing on it, and what is shown counts only if the inviter signed it, for this mesh,
 * for the PeerId of this link, and it has not expired: then it does. */
static void strangers_stay_out(void **state)
{
	struct mesh_node *host = start_node(*state), *member = start_node(*state), *node, *other;
	uint64_t later = qmt_os_real_wall_ms(NULL) / 1000 + 3600;
	struct membership membership;
	struct qmt_result result;
	char url[1024], mesh[400], wrong[400];

	invite(host, "work", 0, false, url);
	must_join(member, url);
	mesh_of(host, "work", mesh);
	node = stranger(*state, host, mesh);
	assert_int_equal(use(node, host), QMT_FAIL_NOT_ALLOWED);
	assert_int_equal(show(node, host, mesh, NULL), AUTHORITY_NONE);

	membership = membership_of(host, member, "work", later); /* another one's */
	assert_int_equal(show(node, host, mesh, &membership), AUTHORITY_NONE);
	membership = membership_of(host, node, "work", 2); /* expired */
	assert_int_equal(show(node, host, mesh, &membership), AUTHORITY_NONE);
	membership = membership_of(host, node, "play", later); /* for another mesh */
	assert_int_equal(show(node, host, mesh, &membership), AUTHORITY_NONE);
	membership = membership_of(node, node, "work", later); /* of a mesh of its own */
	assert_int_equal(show(node, host, mesh, &membership), AUTHORITY_NONE);
	membership = membership_of(host, node, "work", later); /* signed by itself */
	identity_sign(&node->identity, "x", 1, membership.signature);
	assert_int_equal(show(node, host, mesh, &membership), AUTHORITY_NONE);
	assert_int_equal(use(node, host), QMT_FAIL_NOT_ALLOWED);

	mesh_of(host, "other", wrong); /* of a mesh that is not there, no more is said than of one that is */
	assert_int_equal(show(node, host, wrong, NULL), AUTHORITY_NONE);

	struct admission_revoked forged = {.mesh = qmt_str(mesh)};
	struct revocation revocation = {.mesh_id_len = (uint16_t)strlen(mesh), .at = 1};
	uint8_t bytes[REVOCATION_BYTES];
	struct admission_proof proof;
	memcpy(revocation.mesh_id, mesh, strlen(mesh));
	memcpy(revocation.subject, member->id, sizeof(revocation.subject));
	identity_sign(&node->identity, "x", 1, revocation.signature);
	proof.proof = (struct qmt_bytes){bytes, revocation_encode(&revocation, bytes)};
	forged.revocations.items = &proof;
	forged.revocations.count = 1;
	assert_int_equal(qmt_tell_name(node->ctx, host->id, "admission", &admission_revoked_type, &forged), 0);

	membership = membership_of(host, node, "work", later);                   /* the real thing */
	assert_int_equal(show(node, host, mesh, &membership), AUTHORITY_MEMBER); /* behind the forged one */
	wait_usable(node, host);
	assert_int_equal(use(member, host), 0);

	other = start_node(*state); /* a token that its inviter did not sign, at a host that is somebody else */
	invite(member, "own", 0, false, url);
	struct admission_join ask = {.token = qmt_strn(url, (uint32_t)(strchr(url, '#') - url))};
	assert_int_equal(ask_admission(node, host, &admission_join_type, &ask, &result), 0);
	assert_true(qmt_str_is(((const struct admission_joined *)result.body)->outcome, "invalid"));
	assert_int_equal(join(other, "qmt://mesh/join/AAAA", &result), QMT_FAIL_BAD_REQUEST);
}

/* A link that named a mesh and showed nothing is cut. */
static void silence_is_cut(void **state)
{
	struct mesh_node *host = new_node(*state), *node;
	char url[1024], mesh[400];

	host->admission.show_ms = 50;
	mesh_node_start(host);
	invite(host, "work", 0, false, url);
	mesh_of(host, "work", mesh);
	node = stranger(*state, host, mesh);
	wait_role(host, node, "");
}

/* ---- out --------------------------------------------------------------------------------------------------------- */

static void send_away(struct mesh_node *host, struct mesh_node *node)
{
	struct qmt_result result;

	assert_int_equal(
		MESH_ASK(host, host->admission_ref, &result, admission_mesh_revoke, .peer_id = qmt_str(node->id)), 0);
	assert_int_equal(((const struct admission_mesh_revoked *)result.body)->meshes, 1);
}

/* A member that is revoked is off its inviter and off the other members, at once; it is told; it does not come back:
 * not to a member that only heard of it, not after restarts, not with an empty store. */
static void the_revoked_is_out(void **state)
{
	struct mesh_node *host = start_node(*state), *a = start_node(*state), *b = start_node(*state);
	struct qmt_result result;
	struct membership membership;
	char url[1024], mesh[400];

	invite(host, "work", 0, false, url);
	must_join(a, url);
	must_join(b, url);
	wait_usable(a, b);
	wait_usable(b, a);
	send_away(host, b);
	wait_mesh(b, "revoked");
	wait_role(host, b, "");
	wait_role(a, b, "");
	assert_int_equal(use(a, host), 0);

	mesh_node_stop(host);
	mesh_node_start(host);
	wait_usable(a, host);
	mesh_node_stop(a);
	mesh_node_start(a);
	wait_usable(a, host);
	mesh_node_stop(b);
	mesh_node_start(b);
	wait_mesh(b, "revoked");
	mesh_node_stop(b);
	(void)snprintf(b->store_path, sizeof(b->store_path), "%s/empty.db", ((struct world *)*state)->dir);
	mesh_node_start(b);
	assert_int_equal(join(b, url, &result), QMT_FAIL_NOT_ALLOWED);
	assert_non_null(strstr(result.text.p, "revoked"));

	mesh_node_stop(b); /* the same key, software that does not care, and what it was given while it was a member */
	b->with_admission = false;
	mesh_of(host, "work", mesh);
	membership = membership_of(host, b, "work", qmt_os_real_wall_ms(NULL) / 1000 + 3600);
	mesh_node_dials(b, "a", a->port, &a->identity.id);
	mesh_node_start(b);
	struct qmt_str scope = qmt_str(mesh);
	struct qmt_ref peers;
	assert_int_equal(qmt_lookup(b->ctx, "peers", &peers), 0);
	assert_int_equal(QMT_TELL(b->ctx, peers, peers_scopes, .scopes = {&scope, 1}), 0);
	mesh_wait_peer(b, a->id, true);
	assert_int_equal(show(b, a, mesh, &membership), AUTHORITY_NONE);
	assert_int_equal(use(b, a), QMT_FAIL_NOT_ALLOWED);
}

/* A member that was away when another was revoked hears of it when it is back. */
static void who_was_away_hears_of_it(void **state)
{
	struct mesh_node *host = start_node(*state), *a = start_node(*state), *b = start_node(*state);
	char url[1024];

	invite(host, "work", 0, false, url);
	must_join(a, url);
	must_join(b, url);
	wait_usable(a, b);
	mesh_node_stop(a);
	mesh_node_stop(b);
	wait_role(host, b, "");
	send_away(host, b);
	mesh_node_start(a);
	wait_usable(a, host);
	mesh_node_stop(host);
	mesh_node_start(b); /* it knows nothing of it, and dials a */
	wait_mesh(b, "revoked");
	wait_role(a, b, "");
}

/* With its invite all who came by it go; a new invite lets them in again. */
static void an_invite_takes_its_members(void **state)
{
	struct mesh_node *host = start_node(*state), *a = start_node(*state), *b = start_node(*state);
	struct qmt_result result;
	char url[1024], second[1024];

	invite(host, "work", 0, false, url);
	invite(host, "work", 0, false, second);
	must_join(a, url);
	must_join(b, second);
	assert_int_equal(MESH_ASK(host, host->admission_ref, &result, admission_invite_list, ), 0);
	const struct admission_invites *invites = result.body;
	char id[40];
	for (uint32_t i = 0; i < invites->invites.count; i++)
		if (invites->invites.items[i].uses) {
			(void)snprintf(id, sizeof(id), "%.*s", QMT_STR_ARG(invites->invites.items[i].id));
			break; /* either: the one of a or of b */
		}
	assert_int_equal(MESH_ASK(host, host->admission_ref, &result, admission_invite_revoke, .invite = qmt_str(id)), 0);
	const struct admission_invite_revoked *revoked = result.body;
	assert_int_equal(revoked->peers.count, 1);
	struct mesh_node *out = qmt_str_is(revoked->peers.items[0], a->id) ? a : b, *in = out == a ? b : a;
	wait_mesh(out, "revoked");
	wait_role(host, out, "");
	wait_usable(in, host);
	invite(host, "work", 0, false, url);
	must_join(out, url);
	wait_usable(out, host);
}

/* Who leaves has no link that was there for the mesh alone, and does not come back by itself. */
static void who_leaves_is_gone(void **state)
{
	struct mesh_node *host = start_node(*state), *node = start_node(*state);
	struct qmt_result result;
	char url[1024];

	invite(host, "work", 1, false, url);
	must_join(node, url);
	wait_usable(node, host);
	assert_int_equal(MESH_ASK(node, node->admission_ref, &result, admission_mesh_leave, .mesh = qmt_str("work")), 0);
	wait_role(host, node, "");
	wait_role(node, host, "");
	wait_mesh(node, "");
	assert_int_equal(MESH_ASK(node, node->admission_ref, &result, admission_mesh_leave, .mesh = qmt_str("work")),
		QMT_FAIL_NOT_FOUND);
	mesh_node_stop(node);
	mesh_node_start(node);
	wait_mesh(node, "");
	must_join(node, url); /* its use is still its own */
	wait_usable(node, host);
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

struct expires {
	struct mesh_node *node;
	uint64_t after;
};

static uint64_t expires_at(struct mesh_node *node)
{
	struct qmt_result result;

	assert_int_equal(MESH_ASK(node, node->admission_ref, &result, admission_mesh_list, ), 0);
	const struct admission_meshes *meshes = result.body;
	assert_int_equal(meshes->meshes.count, 1);
	return meshes->meshes.items[0].expires_at;
}

static bool is_renewed(void *arg)
{
	struct expires *want = arg;

	return expires_at(want->node) > want->after;
}

/* A membership is renewed before it ends, without a use and although its invite is used up; when its inviter is away it
 * ends, on all links of the mesh; when the inviter is back it begins again. */
static void a_membership_is_renewed_or_ends(void **state)
{
	struct mesh_node *host = new_node(*state), *a = start_node(*state), *b = start_node(*state);
	char url[1024];

	host->admission.lifetime_s = 2;
	mesh_node_start(host);
	invite(host, "work", 2, false, url);
	must_join(a, url);
	must_join(b, url);
	wait_usable(a, b);
	uint64_t first = expires_at(a);
	mesh_until(is_renewed, &(struct expires){a, first + 1}, "renewed, and again");
	assert_int_equal(use(a, host), 0);
	mesh_node_stop(host);
	wait_mesh(a, "expired");
	wait_mesh(b, "expired");
	wait_role(a, b, "");
	mesh_node_start(host);
	wait_mesh(a, "active");
	wait_usable(a, host);
	wait_usable(b, host);
}

/* ---- several scopes ---------------------------------------------------------------------------------------------- */

/* Two meshes and one link: it lives as long as one of them, and a mesh that came later is shared on it. */
static void two_meshes_share_a_link(void **state)
{
	struct mesh_node *host = start_node(*state), *node = start_node(*state);
	struct qmt_result result;
	char url[1024];

	invite(host, "a", 0, false, url);
	must_join(node, url);
	wait_usable(node, host);
	invite(host, "b", 0, true, url);
	must_join(node, url);
	assert_int_equal(mesh_links(node), 1);
	wait_role(host, node, "member"); /* what it may do at most */
	assert_int_equal(MESH_ASK(node, node->admission_ref, &result, admission_mesh_leave, .mesh = qmt_str("a")), 0);
	wait_role(host, node, "client");
	wait_usable(node, host);
	assert_int_equal(mesh_links(node), 1);
	assert_int_equal(MESH_ASK(node, node->admission_ref, &result, admission_mesh_leave, .mesh = qmt_str("b")), 0);
	wait_role(host, node, "");
}

/* Members of different meshes of one host do not hear of each other. */
static void meshes_do_not_mix(void **state)
{
	struct mesh_node *host = start_node(*state), *a = start_node(*state), *b = start_node(*state),
					 *c = start_node(*state);
	char url[1024], other[1024];

	invite(host, "a", 0, false, url);
	invite(host, "b", 0, false, other);
	must_join(a, url);
	must_join(b, other);
	must_join(c, url);
	wait_usable(a, c); /* by now a has been told all that it is ever told */
	const struct peers_list_reply *list = mesh_peers(a);
	for (uint32_t i = 0; i < list->peers.count; i++)
		assert_false(qmt_str_is(list->peers.items[i].peer_id, b->id));
	list = mesh_peers(b);
	for (uint32_t i = 0; i < list->peers.count; i++) {
		assert_false(qmt_str_is(list->peers.items[i].peer_id, a->id));
		assert_false(qmt_str_is(list->peers.items[i].peer_id, c->id));
	}
}

/* ---- many -------------------------------------------------------------------------------------------------------- */

enum { RACERS = 100 };

struct racer {
	struct mesh_node node;
	struct mesh_node *host;
	const char *token;
	char outcome[16];
};

static void *race(void *arg)
{
	struct racer *racer = arg;
	struct admission_join msg = {.token = qmt_str(racer->token)};
	struct qmt_result result;
	uint64_t deadline = qmt_os_real_now_ms() + MESH_WAIT_MS;

	/* a link may be replaced or refused under the load of all the others: then it is asked on the next one */
	while (ask_admission(&racer->node, racer->host, &admission_join_type, &msg, &result) != 0)
		if (qmt_os_real_now_ms() > deadline)
			return NULL;
		else
			(void)poll(NULL, 0, 2); /* polls: a new link; deadline above */
	(void)snprintf(racer->outcome, sizeof(racer->outcome), "%.*s",
		QMT_STR_ARG(((const struct admission_joined *)result.body)->outcome));
	return NULL;
}

/* Of a hundred that ask at once for the one use of an invite, one gets it. */
static void one_of_a_hundred(void **state)
{
	struct mesh_node *host = start_node(*state);
	struct racer *racers = calloc(RACERS, sizeof(*racers));
	pthread_t threads[RACERS];
	char url[1024], mesh[400], token[1024];
	struct qmt_str scope = qmt_str(mesh);
	uint32_t in = 0, used_up = 0;

	assert_non_null(racers);
	invite(host, "work", 1, false, url);
	mesh_of(host, "work", mesh);
	scope = qmt_str(mesh);
	(void)snprintf(token, sizeof(token), "%.*s", (int)(strchr(url, '#') - url), url);
	for (int i = 0; i < RACERS; i++) {
		struct mesh_node *node = &racers[i].node;
		struct qmt_ref peers;

		mesh_node_init(node, "racer", NULL, 0);
		node->workers = 1;
		node->config.no_lan = true;
		mesh_node_dials(node, "host", host->port, &host->identity.id);
		mesh_node_start(node);
		assert_int_equal(qmt_lookup(node->ctx, "peers", &peers), 0);
		assert_int_equal(QMT_TELL(node->ctx, peers, peers_scopes, .scopes = {&scope, 1}), 0);
		racers[i].host = host;
		racers[i].token = token;
	}
	for (int i = 0; i < RACERS; i++)
		mesh_wait_peer(&racers[i].node, host->id, true);
	for (int i = 0; i < RACERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	for (int i = 0; i < RACERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (int i = 0; i < RACERS; i++) {
		in += strcmp(racers[i].outcome, "ok") == 0;
		used_up += strcmp(racers[i].outcome, "used_up") == 0;
		mesh_node_stop(&racers[i].node);
	}
	free(racers);
	assert_int_equal(in, 1);
	assert_int_equal(used_up, RACERS - 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(invited_gets_in, setup, teardown),
		cmocka_unit_test_setup_teardown(a_client_is_a_client, setup, teardown),
		cmocka_unit_test_setup_teardown(members_find_each_other, setup, teardown),
		cmocka_unit_test_setup_teardown(strangers_stay_out, setup, teardown),
		cmocka_unit_test_setup_teardown(silence_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(the_revoked_is_out, setup, teardown),
		cmocka_unit_test_setup_teardown(who_was_away_hears_of_it, setup, teardown),
		cmocka_unit_test_setup_teardown(an_invite_takes_its_members, setup, teardown),
		cmocka_unit_test_setup_teardown(who_leaves_is_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(a_membership_is_renewed_or_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(two_meshes_share_a_link, setup, teardown),
		cmocka_unit_test_setup_teardown(meshes_do_not_mix, setup, teardown),
		cmocka_unit_test_setup_teardown(one_of_a_hundred, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
