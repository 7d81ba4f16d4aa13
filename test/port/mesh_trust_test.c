/* test/port/mesh_trust_test.c - what comes from the wire of a mesh is believed only as far as it was proven, and
 * takes no more than its share; a restart or a lost answer lets nobody in. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <unistd.h>

#include "proto/authority.h"
#include "proto/revocation.h"
#include "runtime/base/os.h"
#include "test/lib/members.h"

/* Who leaves a mesh and joins it again over a link that stays (it is there for another mesh) is in again, on both
 * sides. */
static void leave_and_join_on_one_link(void **state)
{
	struct mesh_node *host = members_start(*state), *node = members_start(*state);
	char url[1024], other[1024];

	members_invite(host, "stays", 0, true, other);
	members_invite(host, "work", 0, false, url);
	members_must_join(node, other);
	members_must_join(node, url);
	members_wait_role(host, node, "member");
	assert_int_equal(members_leave(node, "work"), 0);
	members_wait_role(host, node, "client");
	members_must_join(node, url);
	members_wait_role(host, node, "member");
	assert_int_equal(mesh_links(node), 1);
}

/* An actor "admission" that is started anew forgets who showed what; it finds out by itself, over the links that are
 * there. */
static void admission_starts_anew(void **state)
{
	struct mesh_node *host = members_start(*state), *a = members_start(*state), *b = members_start(*state);
	char url[1024];

	members_invite(host, "work", 0, false, url);
	members_must_join(a, url);
	members_must_join(b, url);
	members_wait_usable(a, b);
	members_wait_usable(b, a);
	members_admission_again(a);
	members_wait_members(a, 2);
	members_admission_again(host);
	members_wait_members(host, 2);
	assert_int_equal(members_use(a, host), 0);
	assert_int_equal(members_use(b, a), 0);
}

/* A revocation is heard from members only: a stranger's, be it genuine, costs nothing and changes nothing; and a
 * stranger is not told who is out. */
static void strangers_tell_nothing(void **state)
{
	struct mesh_node *host = members_start(*state), *member = members_start(*state), *node;
	uint64_t later = qmt_os_real_wall_ms(NULL) / 1000 + 3600;
	uint8_t bytes[REVOCATION_BYTES];
	struct revocation revocation = {.at = 1};
	struct admission_proof proof;
	struct qmt_result result;
	char url[1024], mesh[400];

	members_invite(host, "work", 0, false, url);
	members_must_join(member, url);
	members_mesh_id(host, "work", mesh);
	memcpy(revocation.mesh_id, mesh, strlen(mesh));
	revocation.mesh_id_len = (uint16_t)strlen(mesh);
	memcpy(revocation.subject, member->id, sizeof(revocation.subject));
	revocation_sign(&host->identity, &revocation);
	node = members_stranger(*state, host, mesh);
	proof.proof = (struct qmt_bytes){bytes, revocation_encode(&revocation, bytes)};
	assert_int_equal(qmt_tell_name(node->ctx, host->id, "admission", &admission_revoked_type,
						 &(struct admission_revoked){.mesh = qmt_str(mesh), .revocations = {&proof, 1}}),
		0);
	assert_int_equal(members_show(node, host, mesh, NULL), AUTHORITY_NONE); /* behind it */
	assert_int_equal(members_use(member, host), 0);

	assert_int_equal(
		MESH_ASK(host, host->admission_ref, &result, admission_mesh_revoke, .peer_id = qmt_str(member->id)), 0);
	members_wait_mesh(member, "revoked");
	struct admission_show show = {.mesh = qmt_str(mesh)};
	assert_int_equal(members_ask(node, host, &admission_show_type, &show, &result), 0);
	const struct admission_shown *shown = result.body;
	assert_true(shown->role == AUTHORITY_NONE && !shown->count && !shown->revocations.count && !shown->members.count);

	struct membership membership = members_membership(host, node, "work", later); /* a member is told */
	uint8_t own[MEMBERSHIP_BYTES];
	show.membership = (struct qmt_bytes){own, membership_encode(&membership, own)};
	assert_int_equal(members_ask(node, host, &admission_show_type, &show, &result), 0);
	shown = result.body;
	assert_true(shown->role == AUTHORITY_MEMBER && shown->count == 1 && shown->revocations.count == 1);
}

/* Addresses that a member shows are kept only as far as they can be dialed: nothing else of its text is. */
static void addresses_are_addresses(void **state)
{
	struct mesh_node *host = members_start(*state), *node = members_start(*state), *liar;
	uint64_t later = qmt_os_real_wall_ms(NULL) / 1000 + 3600;
	static char junk[100000];
	uint8_t bytes[MEMBERSHIP_BYTES];
	struct qmt_result result;
	char url[1024], mesh[400], good[] = "/ip4/127.0.0.1/tcp/9";
	struct qmt_ref store;

	memset(junk, 'x', sizeof(junk));
	struct qmt_str addresses[] = {qmt_strn(junk, sizeof(junk)), qmt_str("/ip4/0.0.0.0/tcp/9"), qmt_str(good)};
	members_invite(host, "work", 0, false, url);
	members_must_join(node, url);
	members_mesh_id(host, "work", mesh);
	liar = members_stranger(*state, node, mesh);
	struct membership membership = members_membership(host, liar, "work", later);
	struct admission_show show = {.mesh = qmt_str(mesh),
		.membership = {bytes, membership_encode(&membership, bytes)},
		.addresses = {addresses, 3}};
	assert_int_equal(members_ask(liar, node, &admission_show_type, &show, &result), 0);
	assert_int_equal(((const struct admission_shown *)result.body)->role, AUTHORITY_MEMBER);
	assert_int_equal(qmt_lookup(node->ctx, "store", &store), 0);
	/* what the node told the store before is committed when this is answered, and only then is it read */
	assert_int_equal(
		MESH_ASK(node, store, &result, store_pin_put, .name = qmt_str("n"), .peer_id = qmt_str(liar->id)), 0);
	assert_int_equal(MESH_ASK(node, store, &result, store_mesh_list, ), 0);
	const struct store_mesh_list_reply *all = result.body;
	uint32_t of_liar = 0;
	for (uint32_t i = 0; i < all->addresses.count; i++)
		if (qmt_str_is(all->addresses.items[i].peer_id, liar->id)) {
			assert_true(qmt_str_is(all->addresses.items[i].address, good));
			of_liar++;
		}
	assert_int_equal(of_liar, 1);
}

static void not_known(struct mesh_node *node, struct mesh_node *other)
{
	const struct peers_list_reply *list = mesh_peers(node);

	for (uint32_t i = 0; i < list->peers.count; i++)
		assert_false(qmt_str_is(list->peers.items[i].peer_id, other->id));
	assert_int_not_equal(members_use(node, other), 0);
}

/* A node between two meshes joins nobody: those of one neither hear of nor reach those of the other; the mesh of the
 * others is not one that a link of theirs shares, and naming it says nothing. */
static void between_two_meshes(void **state)
{
	struct mesh_node *a = members_start(*state), *b = members_start(*state), *c = members_start(*state);
	char x[1024], y[1024], other[400];

	members_invite(a, "x", 0, false, x);
	members_invite(c, "y", 0, false, y);
	members_must_join(b, x);
	members_must_join(b, y);
	members_wait_usable(a, b);
	members_wait_usable(c, b);
	members_wait_usable(b, a);
	members_wait_usable(b, c);
	not_known(a, c);
	not_known(c, a);
	members_mesh_id(c, "y", other);
	struct membership own = members_membership(a, a, "x", 0);
	assert_int_equal(members_show(a, b, other, &own), AUTHORITY_NONE);
	assert_int_equal(members_use(a, b), 0);
}

/* Who is sent out of one mesh keeps, over the same link, what it may do in another, and no more. */
static void out_of_one_of_two(void **state)
{
	struct mesh_node *host = members_start(*state), *node = members_start(*state);
	struct qmt_result result;
	char x[1024], y[1024];

	members_invite(host, "x", 0, true, x);
	members_invite(host, "y", 0, false, y);
	members_must_join(node, x);
	members_must_join(node, y);
	members_wait_role(host, node, "member");
	assert_int_equal(MESH_ASK(host, host->admission_ref, &result, admission_mesh_revoke, .peer_id = qmt_str(node->id),
						 .mesh = qmt_str("y")),
		0);
	assert_int_equal(((const struct admission_mesh_revoked *)result.body)->meshes, 1);
	members_wait_role(host, node, "client");
	members_wait_usable(node, host);
	assert_int_equal(mesh_links(node), 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(leave_and_join_on_one_link, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(admission_starts_anew, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(strangers_tell_nothing, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(addresses_are_addresses, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(between_two_meshes, members_setup, members_teardown),
		cmocka_unit_test_setup_teardown(out_of_one_of_two, members_setup, members_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
