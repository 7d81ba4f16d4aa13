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
#include "test/lib/members.h"

/* Who was invited gets in, with the role of the invite, on both sides; and again after a restart of either side,
 * without the invite being looked at for a use. */
static void invited_gets_in(void **state)
{
	struct mesh_node *host = members_start(*state), *node = members_start(*state), *other = members_start(*state);
	struct qmt_result result;
	char url[1024];

	members_invite(host, "work", 1, false, url);
	assert_int_equal(members_join(node, url, &result), 0);
	const struct admission_mesh_joined *joined = result.body;
	assert_false(joined->already_joined);
	assert_true(qmt_str_is(joined->mesh_name, "work"));
	assert_true(qmt_str_is(joined->inviter_peer_id, host->id));
	assert_true(qmt_str_is(joined->role, "member"));
	members_wait_role(host, node, "member");
	members_wait_role(node, host, "member");
	members_wait_usable(node, host);
	members_wait_usable(host, node);

	assert_int_equal(members_join(node, url, &result), 0); /* again: told so, no use is spent */
	assert_true(((const struct admission_mesh_joined *)result.body)->already_joined);

	mesh_node_stop(node);
	members_wait_role(host, node, "");
	mesh_node_start(node);
	members_wait_usable(node, host);
	mesh_node_stop(host);
	mesh_node_start(host);
	members_wait_usable(node, host);
	members_wait_usable(host, node);

	assert_int_equal(members_join(other, url, &result), QMT_FAIL_NOT_ALLOWED); /* its one use is spent */
	assert_non_null(memmem(result.text.p, result.text.len, "used up", strlen("used up")));
	members_wait_mesh(other, "refused");
	members_wait_role(host, other, "");
}

/* An invite for clients makes clients. */
static void a_client_is_a_client(void **state)
{
	struct mesh_node *host = members_start(*state), *node = members_start(*state);
	char url[1024];

	members_invite(host, "", 0, true, url);
	members_must_join(node, url);
	members_wait_role(host, node, "client");
	members_wait_role(node, host, "member");
}

/* Members of a mesh find each other through its inviter, judge each other, and stay together without it. */
static void members_find_each_other(void **state)
{
	struct mesh_node *host = members_start(*state), *a = members_start(*state), *b = members_start(*state);
	char url[1024];

	members_invite(host, "work", 0, false, url);
	members_must_join(a, url);
	members_must_join(b, url);
	members_wait_role(a, b, "member");
	members_wait_role(b, a, "member");
	members_wait_usable(a, b);
	members_wait_usable(b, a);
	mesh_node_stop(host);
	mesh_node_stop(a);
	mesh_node_start(a); /* it remembers where b is */
	members_wait_usable(a, b);
	members_wait_usable(b, a);
}

/* Naming a mesh gives a link and nothing on it, and what is shown counts only if the inviter signed it, for this mesh,
 * for the PeerId of this link, and it has not expired: then it does. */
static void strangers_stay_out(void **state)
{
	struct mesh_node *host = members_start(*state), *member = members_start(*state), *node, *other;
	uint64_t later = qmt_os_real_wall_ms(NULL) / 1000 + 3600;
	struct membership membership;
	struct qmt_result result;
	char url[1024], mesh[400], wrong[400];

	members_invite(host, "work", 0, false, url);
	members_must_join(member, url);
	members_mesh_id(host, "work", mesh);
	node = members_stranger(*state, host, mesh);
	assert_int_equal(members_use(node, host), QMT_FAIL_NOT_ALLOWED);
	assert_int_equal(members_show(node, host, mesh, NULL), AUTHORITY_NONE);

	membership = members_membership(host, member, "work", later); /* another one's */
	assert_int_equal(members_show(node, host, mesh, &membership), AUTHORITY_NONE);
	membership = members_membership(host, node, "work", 2); /* expired */
	assert_int_equal(members_show(node, host, mesh, &membership), AUTHORITY_NONE);
	membership = members_membership(host, node, "play", later); /* for another mesh */
	assert_int_equal(members_show(node, host, mesh, &membership), AUTHORITY_NONE);
	membership = members_membership(node, node, "work", later); /* of a mesh of its own */
	assert_int_equal(members_show(node, host, mesh, &membership), AUTHORITY_NONE);
	membership = members_membership(host, node, "work", later); /* signed by itself */
	identity_sign(&node->identity, "x", 1, membership.signature);
	assert_int_equal(members_show(node, host, mesh, &membership), AUTHORITY_NONE);
	assert_int_equal(members_use(node, host), QMT_FAIL_NOT_ALLOWED);

	members_mesh_id(host, "other", wrong); /* of a mesh that is not there, no more is said than of one that is */
	assert_int_equal(members_show(node, host, wrong, NULL), AUTHORITY_NONE);

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

	membership = members_membership(host, node, "work", later);                      /* the real thing */
	assert_int_equal(members_show(node, host, mesh, &membership), AUTHORITY_MEMBER); /* behind the forged one */
	members_wait_usable(node, host);
	assert_int_equal(members_use(member, host), 0);

	other = members_start(*state); /* a token that its inviter did not sign, at a host that is somebody else */
	members_invite(member, "own", 0, false, url);
	struct admission_join ask = {.token = qmt_strn(url, (uint32_t)(strchr(url, '#') - url))};
	assert_int_equal(members_ask(node, host, &admission_join_type, &ask, &result), 0);
	assert_true(qmt_str_is(((const struct admission_joined *)result.body)->outcome, "invalid"));
	assert_int_equal(members_join(other, "qmt://mesh/join/AAAA", &result), QMT_FAIL_BAD_REQUEST);
}

/* A link that named a mesh and showed nothing is cut. */
static void silence_is_cut(void **state)
{
	struct mesh_node *host = members_node(*state), *node;
	char url[1024], mesh[400];

	host->admission.show_ms = 50;
	mesh_node_start(host);
	members_invite(host, "work", 0, false, url);
	members_mesh_id(host, "work", mesh);
	node = members_stranger(*state, host, mesh);
	members_wait_role(host, node, "");
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
	struct mesh_node *host = members_start(*state), *a = members_start(*state), *b = members_start(*state);
	struct qmt_result result;
	struct membership membership;
	char url[1024], mesh[400];

	members_invite(host, "work", 0, false, url);
	members_must_join(a, url);
	members_must_join(b, url);
	members_wait_usable(a, b);
	members_wait_usable(b, a);
	send_away(host, b);
	members_wait_mesh(b, "revoked");
	members_wait_role(host, b, "");
	members_wait_role(a, b, "");
	assert_int_equal(members_use(a, host), 0);

	mesh_node_stop(host);
	mesh_node_start(host);
	members_wait_usable(a, host);
	mesh_node_stop(a);
	mesh_node_start(a);
	members_wait_usable(a, host);
	mesh_node_stop(b);
	mesh_node_start(b);
	members_wait_mesh(b, "revoked");
	mesh_node_stop(b);
	(void)snprintf(b->store_path, sizeof(b->store_path), "%s/empty.db", ((struct members *)*state)->dir);
	mesh_node_start(b);
	assert_int_equal(members_join(b, url, &result), QMT_FAIL_NOT_ALLOWED);
	assert_non_null(memmem(result.text.p, result.text.len, "revoked", strlen("revoked")));

	mesh_node_stop(b); /* the same key, software that does not care, and what it was given while it was a member */
	b->with_admission = false;
	members_mesh_id(host, "work", mesh);
	membership = members_membership(host, b, "work", qmt_os_real_wall_ms(NULL) / 1000 + 3600);
	mesh_node_dials(b, "a", a->port, &a->identity.id);
	mesh_node_start(b);
	struct qmt_str scope = qmt_str(mesh);
	struct qmt_ref peers;
	assert_int_equal(qmt_lookup(b->ctx, "peers", &peers), 0);
	assert_int_equal(QMT_TELL(b->ctx, peers, peers_scopes, .scopes = {&scope, 1}), 0);
	mesh_wait_peer(b, a->id, true);
	assert_int_equal(members_show(b, a, mesh, &membership), AUTHORITY_NONE);
	assert_int_equal(members_use(b, a), QMT_FAIL_NOT_ALLOWED);
}

/* A member that was away when another was revoked hears of it when it is back. */
static void who_was_away_hears_of_it(void **state)
{
	struct mesh_node *host = members_start(*state), *a = members_start(*state), *b = members_start(*state);
	char url[1024];

	members_invite(host, "work", 0, false, url);
	members_must_join(a, url);
	members_must_join(b, url);
	members_wait_usable(a, b);
	mesh_node_stop(a);
	mesh_node_stop(b);
	members_wait_role(host, b, "");
	send_away(host, b);
	mesh_node_start(a);
	members_wait_usable(a, host);
	mesh_node_stop(host);
	mesh_node_start(b); /* it knows nothing of it, and dials a */
	members_wait_mesh(b, "revoked");
	members_wait_role(a, b, "");
}

/* With its invite all who came by it go; a new invite lets them in again. */
static void an_invite_takes_its_members(void **state)
{
	struct mesh_node *host = members_start(*state), *a = members_start(*state), *b = members_start(*state);
	struct qmt_result result;
	char url[1024], second[1024];

	members_invite(host, "work", 0, false, url);
	members_invite(host, "work", 0, false, second);
	members_must_join(a, url);
	members_must_join(b, second);
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
	members_wait_mesh(out, "revoked");
	members_wait_role(host, out, "");
	members_wait_usable(in, host);
	members_invite(host, "work", 0, false, url);
	members_must_join(out, url);
	members_wait_usable(out, host);
}

/* Who leaves has no link that was there for the mesh alone, and does not come back by itself. */
static void who_leaves_is_gone(void **state)
{
	struct mesh_node *host = members_start(*state), *node = members_start(*state);
	char url[1024];

	members_invite(host, "work", 1, false, url);
	members_must_join(node, url);
	members_wait_usable(node, host);
	assert_int_equal(members_leave(node, "work"), 0);
	members_wait_role(host, node, "");
	members_wait_role(node, host, "");
	members_wait_mesh(node, "");
	assert_int_equal(members_leave(node, "work"), QMT_FAIL_NOT_FOUND);
	mesh_node_stop(node);
	mesh_node_start(node);
	members_wait_mesh(node, "");
	members_must_join(node, url); /* its use is still its own */
	members_wait_usable(node, host);
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
	struct mesh_node *host = members_node(*state), *a = members_start(*state), *b = members_start(*state);
	char url[1024];

	host->admission.lifetime_s = 2;
	mesh_node_start(host);
	members_invite(host, "work", 2, false, url);
	members_must_join(a, url);
	members_must_join(b, url);
	members_wait_usable(a, b);
	uint64_t first = expires_at(a);
	mesh_until(is_renewed, &(struct expires){a, first + 1}, "renewed, and again");
	assert_int_equal(members_use(a, host), 0);
	mesh_node_stop(host);
	members_wait_mesh(a, "expired");
	members_wait_mesh(b, "expired");
	members_wait_role(a, b, "");
	mesh_node_start(host);
	members_wait_mesh(a, "active");
	members_wait_usable(a, host);
	members_wait_usable(b, host);
}

/* ---- several scopes ---------------------------------------------------------------------------------------------- */

/* Two meshes and one link: it lives as long as one of them, and a mesh that came later is shared on it. */
static void two_meshes_share_a_link(void **state)
{
	struct mesh_node *host = members_start(*state), *node = members_start(*state);
	char url[1024];

	members_invite(host, "a", 0, false, url);
	members_must_join(node, url);
	members_wait_usable(node, host);
	members_invite(host, "b", 0, true, url);
	members_must_join(node, url);
	assert_int_equal(mesh_links(node), 1);
	members_wait_role(host, node, "member"); /* what it may do at most */
	assert_int_equal(members_leave(node, "a"), 0);
	members_wait_role(host, node, "client");
	members_wait_usable(node, host);
	assert_int_equal(mesh_links(node), 1);
	assert_int_equal(members_leave(node, "b"), 0);
	members_wait_role(host, node, "");
}

/* Members of different meshes of one host do not hear of each other. */
static void meshes_do_not_mix(void **state)
{
	struct mesh_node *host = members_start(*state), *a = members_start(*state), *b = members_start(*state),
					 *c = members_start(*state);
	char url[1024], other[1024];

	members_invite(host, "a", 0, false, url);
	members_invite(host, "b", 0, false, other);
	members_must_join(a, url);
	members_must_join(b, other);
	members_must_join(c, url);
	members_wait_usable(a, c); /* by now a has been told all that it is ever told */
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
	while (members_ask(&racer->node, racer->host, &admission_join_type, &msg, &result) != 0)
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
	struct mesh_node *host = members_start(*state);
	struct racer *racers = calloc(RACERS, sizeof(*racers));
	pthread_t threads[RACERS];
	char url[1024], mesh[400], token[1024];
	struct qmt_str scope = qmt_str(mesh);
	uint32_t in = 0, used_up = 0;

	assert_non_null(racers);
	members_invite(host, "work", 1, false, url);
	members_mesh_id(host, "work", mesh);
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
		cmocka_unit_test_setup_teardown(invited_gets_in, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(a_client_is_a_client, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(members_find_each_other, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(strangers_stay_out, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(silence_is_cut, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(the_revoked_is_out, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(who_was_away_hears_of_it, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(an_invite_takes_its_members, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(who_leaves_is_gone, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(a_membership_is_renewed_or_ends, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(two_meshes_share_a_link, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(meshes_do_not_mix, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(one_of_a_hundred, members_setup, members_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
