/* The actor of invites: what it tells was stored before, verifies, and is the node's own; what cannot be is an
 * error. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "actors/admission/admission.h"
#include "actors/store/store.h"
#include "proto/invite.h"
#include "runtime/base/os.h"
#include "runtime/system.h"

enum { DEADLINE_MS = 20000 };

/* "peers" that listens on two addresses. */
static void peers_on_list(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_str listen[] = {
		qmt_str("/ip4/10.0.0.1/tcp/9000/p2p/12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"),
		qmt_str("/ip6/fd00::1/tcp/9000")};

	(void)state;
	(void)body;
	(void)QMT_REPLY(ctx, qmt_token(ctx), peers_list_reply, .listen_addresses = {listen, 2});
}

static qmt_handler *const peers_handlers[peers_message_count] = {[peers_list_id] = peers_on_list};
static const struct qmt_actor_desc fake_peers_desc = {
	.abi = QMT_ABI, .name = "fake_peers", .state_size = 8, .accepts = {{&peers_protocol, peers_handlers}}};

/* A store that cannot. */
static void store_on_add(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	(void)body;
	(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, "full", 0, "no space left");
}

static qmt_handler *const full_handlers[store_message_count] = {[store_invite_add_id] = store_on_add};
static const struct qmt_actor_desc full_store_desc = {
	.abi = QMT_ABI, .name = "full_store", .state_size = 8, .accepts = {{&store_protocol, full_handlers}}};

enum with { WITH_STORE = 1, WITH_FULL_STORE = 2, WITH_PEERS = 4, WITHOUT_MESH = 8 };

struct fixture {
	struct identity identity;
	struct admission_config config;
	struct store_config store;
	struct qmt_system *system;
	struct qmt_ctx *ctx;
	struct qmt_ref admission;
	struct qmt_result result;
};

static void up(struct fixture *f, int with)
{
	struct qmt_err err = {0};
	struct qmt_ref ref;

	*f = (struct fixture){.store = {.path = ":memory:"}};
	assert_int_equal(identity_crypto_init(), 0);
	identity_generate(&f->identity);
	f->config = (struct admission_config){.identity = &f->identity, .mesh = !(with & WITHOUT_MESH)};
	f->system = qmt_system_start(&(struct qmt_system_options){.workers = 2}, &err);
	assert_non_null(f->system);
	f->ctx = qmt_outside_open(f->system);
	if (with & WITH_STORE)
		assert_int_equal(qmt_spawn(f->ctx, &store_desc,
							 &(struct qmt_spawn){.name = "store", .config = &f->store, .own_thread = true}, &ref, &err),
			0);
	if (with & WITH_FULL_STORE)
		assert_int_equal(qmt_spawn(f->ctx, &full_store_desc, &(struct qmt_spawn){.name = "store"}, &ref, &err), 0);
	if (with & WITH_PEERS)
		assert_int_equal(qmt_spawn(f->ctx, &fake_peers_desc, &(struct qmt_spawn){.name = "peers"}, &ref, &err), 0);
	assert_int_equal(qmt_spawn(f->ctx, &admission_desc, &(struct qmt_spawn){.name = "admission", .config = &f->config},
						 &f->admission, &err),
		0);
}

static void down(struct fixture *f)
{
	struct qmt_err err = {0};

	assert_int_equal(qmt_system_stop(f->system, DEADLINE_MS, &err), 0);
	qmt_outside_close(f->ctx);
	qmt_system_free(f->system);
}

static int ask(struct fixture *f, const struct qmt_type *type, const void *body)
{
	return qmt_outside_ask(f->ctx, f->admission, type, body, DEADLINE_MS, &f->result);
}
#define ASK(f, message, ...) ask(f, &message##_type, &(struct message){__VA_ARGS__})

static void says(const struct fixture *f, const char *part)
{
	if (!memmem(f->result.text.p, f->result.text.len, part, strlen(part)))
		fail_msg("\"%s\" is not in: %.*s", part, QMT_STR_ARG(f->result.text));
}

/* What is told verifies as this node's, says what was asked for, and is in the store; the addresses are without
 * PeerId. */
static void test_create(void **state)
{
	struct fixture f;
	struct invite invite;
	char id[INVITE_ID_TEXT + 1];
	uint64_t now = qmt_os_real_wall_ms(NULL) / 1000;
	struct peer_id inviter;

	(void)state;
	up(&f, WITH_STORE | WITH_PEERS);
	assert_int_equal(
		ASK(&f, admission_invite_create, .name = qmt_str("labor"), .ttl_s = 60, .max_uses = 3, .client = true), 0);
	const struct admission_invite_created *created = f.result.body;
	assert_int_equal(invite_decode(created->token, &invite, NULL), 0);
	assert_int_equal(invite_verify(&invite, now, NULL), 0);
	assert_int_equal(invite_inviter(&invite, &inviter, NULL), 0);
	assert_int_equal(peer_id_compare(&inviter, &f.identity.id), 0);
	assert_true(qmt_str_eq(qmt_strn(invite.name, invite.name_len), qmt_str("labor")));
	assert_true(invite.client && !invite.can_invite && invite.max_uses == 3);
	assert_true(invite.expires_at >= now + 60 && invite.expires_at <= now + 60 + DEADLINE_MS / 1000);
	assert_int_equal(invite_decode(created->url, &invite, NULL), 0);
	assert_int_equal(created->addresses.count, 2);
	assert_true(qmt_str_is(created->addresses.items[0], "/ip4/10.0.0.1/tcp/9000"));
	assert_true(qmt_str_is(created->addresses.items[1], "/ip6/fd00::1/tcp/9000"));
	invite_id_text(invite.id, id);
	assert_int_equal(id[14], '7'); /* uuid version */

	assert_int_equal(ASK(&f, admission_invite_create, 0), 0); /* for ever, any number */
	created = f.result.body;
	assert_int_equal(invite_decode(created->token, &invite, NULL), 0);
	assert_true(invite.expires_at == 0 && invite.max_uses == 0 && invite.name_len == 0 && !invite.client);

	assert_int_equal(ASK(&f, admission_invite_list, 0), 0);
	const struct admission_invites *list = f.result.body;
	assert_int_equal(list->total, 2);
	bool found = false;
	for (uint32_t i = 0; i < 2; i++)
		found |= qmt_str_is(list->invites.items[i].id, id) && qmt_str_is(list->invites.items[i].name, "labor") &&
			list->invites.items[i].client && list->invites.items[i].max_uses == 3;
	assert_true(found);
	assert_int_equal(ASK(&f, admission_invite_revoke, .invite = qmt_str(id)), 0);
	const struct admission_invite_revoked *revoked = f.result.body;
	assert_true(!revoked->already && revoked->invite.revoked_ms);
	assert_int_equal(ASK(&f, admission_audit, .limit = 1), 0);
	const struct admission_audit_reply *audit = f.result.body;
	assert_true(audit->rows.count == 1 && qmt_str_is(audit->rows.items[0].event, "invite_revoked"));
	assert_int_equal(ASK(&f, admission_invite_revoke, .invite = qmt_str("ffffffff")), QMT_FAIL_NOT_FOUND);
	down(&f);
}

/* Without links there are no addresses, and [mesh] advertise stands in for those that are listened on. */
static void test_addresses(void **state)
{
	static const struct qmt_str advertised[] = {{"/dns4/gpu.example.org/tcp/9", 27}};
	struct fixture f;

	(void)state;
	up(&f, WITH_STORE);
	assert_int_equal(ASK(&f, admission_invite_create, 0), 0);
	assert_int_equal(((const struct admission_invite_created *)f.result.body)->addresses.count, 0);
	f.config.advertised = advertised;
	f.config.advertised_count = 1;
	assert_int_equal(ASK(&f, admission_invite_create, 0), 0);
	const struct admission_invite_created *created = f.result.body;
	assert_int_equal(created->addresses.count, 1);
	assert_true(qmt_str_eq(created->addresses.items[0], advertised[0]));
	down(&f);
}

/* An invite that was not stored is not told; nor is one to no mesh, or with a name that cannot be. */
static void test_refused(void **state)
{
	struct fixture f;
	char name[300];

	(void)state;
	up(&f, WITH_FULL_STORE | WITH_PEERS);
	assert_int_equal(ASK(&f, admission_invite_create, 0), QMT_FAIL_FAILED);
	says(&f, "no space left");
	memset(name, 'n', sizeof name);
	assert_int_equal(ASK(&f, admission_invite_create, .name = {name, 256}), QMT_FAIL_BAD_REQUEST);
	says(&f, "256 bytes");
	assert_int_equal(ASK(&f, admission_invite_create, .name = {"a\0b", 3}), QMT_FAIL_BAD_REQUEST);
	says(&f, "control character at byte 2");
	assert_int_equal(ASK(&f, admission_invite_create, .name = qmt_str("\xff")), QMT_FAIL_BAD_REQUEST);
	says(&f, "UTF-8");
	assert_int_equal(ASK(&f, admission_invite_create, .ttl_s = UINT64_MAX), QMT_FAIL_BAD_REQUEST);
	down(&f);
	up(&f, 0);
	assert_int_equal(ASK(&f, admission_invite_create, 0), QMT_FAIL_NOT_RUNNING);
	assert_int_equal(ASK(&f, admission_invite_list, 0), QMT_FAIL_NOT_RUNNING);
	down(&f);
	up(&f, WITH_STORE | WITHOUT_MESH);
	assert_int_equal(ASK(&f, admission_invite_create, 0), QMT_FAIL_BAD_REQUEST);
	says(&f, "[mesh] enabled");
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create), cmocka_unit_test(test_addresses), cmocka_unit_test(test_refused)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
