/* test/port/policy_test.c - what the owner says of peers, over a store that does not do as it is told. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <unistd.h>

#include "test/lib/mesh_pair.h"
#include "transports/link.h"

/* ---- a store with moods ------------------------------------------------------------------------------------------ */

enum mood {
	MOOD_FINE,
	MOOD_NOTES_AND_FAILS, /* it is written, and the answer is lost */
	MOOD_SILENT,          /* to policy_list */
	MOOD_UNREAD,          /* policy_list fails */
};
enum { ROWS = 8 };

struct row {
	char id[PEER_ID_TEXT + 1], policy[8], name[32];
};
struct moody_config {
	_Atomic int mood;
	struct row policies[ROWS]; /* at the start */
	char pin[32], pinned[PEER_ID_TEXT + 1];
};
struct moody {
	struct moody_config *config;
	struct row policies[ROWS];
	char pin[32], pinned[PEER_ID_TEXT + 1];
};

static int moody_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct moody *moody = state;

	(void)ctx;
	moody->config = (struct moody_config *)(uintptr_t)config;
	memcpy(moody->policies, moody->config->policies, sizeof(moody->policies));
	memcpy(moody->pin, moody->config->pin, sizeof(moody->pin));
	memcpy(moody->pinned, moody->config->pinned, sizeof(moody->pinned));
	return 0;
}
static void done(struct qmt_ctx *ctx, const struct moody *moody)
{
	if (moody->config->mood == MOOD_NOTES_AND_FAILS)
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_DEADLINE, NULL, 0, "no answer");
	else
		(void)QMT_REPLY(ctx, qmt_token(ctx), store_done, );
}
static struct row *row_of(struct moody *moody, struct qmt_str id)
{
	for (int i = 0; i < ROWS; i++)
		if (qmt_str_is(id, moody->policies[i].id))
			return &moody->policies[i];
	return NULL;
}
static void on_pin_get(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct store_pin_get *msg = body;
	const struct moody *moody = state;

	(void)QMT_REPLY(ctx, qmt_token(ctx), store_pin, .name = msg->name,
		.peer_id = qmt_str(qmt_str_is(msg->name, moody->pin) ? moody->pinned : NULL));
}
static void on_pin_forget(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct store_pin_forget *msg = body;
	struct moody *moody = state;

	if (!qmt_str_is(msg->name, moody->pin)) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NOT_FOUND, NULL, 0, "nothing is pinned under that name");
		return;
	}
	moody->pin[0] = '\0';
	done(ctx, moody);
}
static void on_policy_put(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct store_policy_put *msg = body;
	struct row *row = row_of(state, msg->peer_id);

	row = row ? row : row_of(state, qmt_str(""));
	assert_non_null(row);
	qmt_text(row->id, sizeof(row->id), "%.*s", QMT_STR_ARG(msg->peer_id));
	qmt_text(row->policy, sizeof(row->policy), "%.*s", QMT_STR_ARG(msg->policy));
	if (msg->name.len)
		qmt_text(row->name, sizeof(row->name), "%.*s", QMT_STR_ARG(msg->name));
	done(ctx, state);
}
static void on_policy_forget(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct store_policy_forget *msg = body;
	struct row *row = row_of(state, msg->peer_id);

	if (!row || !row->id[0]) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NOT_FOUND, NULL, 0, "neither allowed nor blocked");
		return;
	}
	*row = (struct row){0};
	done(ctx, state);
}
static void on_policy_list(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct moody *moody = state;
	struct store_policy rows[ROWS];
	uint32_t count = 0;

	(void)body;
	if (moody->config->mood == MOOD_SILENT)
		return;
	if (moody->config->mood == MOOD_UNREAD) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "not now");
		return;
	}
	for (int i = 0; i < ROWS; i++)
		if (moody->policies[i].id[0])
			rows[count++] = (struct store_policy){.peer_id = qmt_str(moody->policies[i].id),
				.policy = qmt_str(moody->policies[i].policy),
				.name = qmt_str(moody->policies[i].name)};
	(void)QMT_REPLY(ctx, qmt_token(ctx), store_policies, .policies = {rows, count});
}
static void on_audit_add(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx, (void)state, (void)body;
}
static qmt_handler *const moody_handlers[store_message_count] = {
	[store_pin_get_id] = on_pin_get,
	[store_pin_forget_id] = on_pin_forget,
	[store_policy_put_id] = on_policy_put,
	[store_policy_forget_id] = on_policy_forget,
	[store_policy_list_id] = on_policy_list,
	[store_audit_add_id] = on_audit_add,
};
static const struct qmt_actor_desc moody_desc = {.abi = QMT_ABI,
	.name = "moody",
	.state_size = sizeof(struct moody),
	.start = moody_start,
	.accepts = {{&store_protocol, moody_handlers}}};

/* ---- nodes with such a store ------------------------------------------------------------------------------------- */

static struct moody_config moods;
static struct mesh_pair pair;

/* b has it; a dials b. */
static void init(struct mesh_pair *ret_pair)
{
	memset(&moods, 0, sizeof(moods));
	mesh_pair_init(ret_pair, MESH_LOOP);
	ret_pair->b.store_desc = &moody_desc;
	ret_pair->b.store_config = &moods;
}

static struct qmt_ref peers_of(struct mesh_node *node)
{
	struct qmt_ref peers;

	assert_int_equal(qmt_lookup(node->ctx, "peers", &peers), 0);
	return peers;
}

/* What `qmt peers` shows as said of that peer. */
static const char *policy_of_peer(struct mesh_node *node, const char *id, char room[8])
{
	const struct peers_list_reply *list = mesh_peers(node);

	(void)snprintf(room, 8, "none");
	for (uint32_t i = 0; list && i < list->peers.count; i++)
		if (qmt_str_is(list->peers.items[i].peer_id, id))
			(void)snprintf(room, 8, "%.*s", QMT_STR_ARG(list->peers.items[i].policy));
	return room;
}

static bool knows_policies(void *node)
{
	struct qmt_result result;

	return MESH_ASK((struct mesh_node *)node, peers_of(node), &result, peers_forget, .name = qmt_str("nobody")) ==
		QMT_FAIL_NOT_FOUND;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

/* A configured name means the configured peer, for each word alike: one of the same name that was blocked before stays
 * blocked when the name is forgotten; it is forgotten by its PeerId. */
static void a_name_means_one_peer(void **state)
{
	struct qmt_result result;
	struct identity blocked;
	char id[PEER_ID_TEXT + 1], room[8];

	(void)state;
	init(&pair);
	identity_generate(&blocked);
	peer_id_text(&blocked.id, id);
	memcpy(moods.policies[0].id, id, sizeof(id));
	(void)snprintf(moods.policies[0].policy, sizeof(moods.policies[0].policy), "block");
	(void)snprintf(moods.policies[0].name, sizeof(moods.policies[0].name), "gpu");
	(void)snprintf(moods.pin, sizeof(moods.pin), "gpu");
	memcpy(moods.pinned, pair.a.id, sizeof(moods.pinned));
	mesh_node_dials(&pair.b, "gpu", 9, NULL); /* nobody is there */
	mesh_node_start(&pair.b);
	mesh_until(knows_policies, &pair.b, "the policies are known");
	assert_int_equal(MESH_ASK(&pair.b, peers_of(&pair.b), &result, peers_forget, .name = qmt_str("gpu")), 0);
	assert_string_equal(policy_of_peer(&pair.b, id, room), "block");
	assert_int_equal(MESH_ASK(&pair.b, pair.b.store, &result, store_pin_get, .name = qmt_str("gpu")), 0);
	assert_int_equal(((const struct store_pin *)result.body)->peer_id.len, 0);
	assert_int_equal(MESH_ASK(&pair.b, peers_of(&pair.b), &result, peers_forget, .name = qmt_str(id)), 0);
	assert_string_equal(policy_of_peer(&pair.b, id, room), "none");
	mesh_pair_stop(&pair);
}

/* Until it is known what was said before, nothing is forgotten: else a block would stay that was taken back. */
static void nothing_is_forgotten_too_early(void **state)
{
	struct qmt_result result;

	(void)state;
	init(&pair);
	moods.mood = MOOD_SILENT;
	mesh_node_start(&pair.b);
	assert_int_equal(
		MESH_ASK(&pair.b, peers_of(&pair.b), &result, peers_forget, .name = qmt_str(pair.a.id)), QMT_FAIL_FAILED);
	assert_non_null(memmem(result.text.p, result.text.len, "try again", 9));
	mesh_pair_stop(&pair);
}

/* ---- answers that were lost -------------------------------------------------------------------------------------- */

/* A block that the store has noted holds, also when its answer was lost: the links are cut, and the owner is told that
 * it is not known yet, and where to look. So does a word that takes it back. */
static void what_is_noted_holds(void **state)
{
	struct qmt_result result;
	char room[8];

	(void)state;
	init(&pair);
	mesh_node_dials(&pair.b, "a", pair.a.port, &pair.a.identity.id);
	mesh_pair_start(&pair);
	moods.mood = MOOD_NOTES_AND_FAILS;
	assert_int_equal(
		MESH_ASK(&pair.b, peers_of(&pair.b), &result, peers_block, .peer = qmt_str(pair.a.id)), QMT_FAIL_DEADLINE);
	assert_non_null(memmem(result.text.p, result.text.len, "see qmt peers", 13));
	mesh_wait_peer(&pair.b, pair.a.id, false);
	mesh_wait_peer(&pair.a, pair.b.id, false);
	assert_string_equal(policy_of_peer(&pair.b, pair.a.id, room), "block");
	assert_int_equal(
		MESH_ASK(&pair.b, peers_of(&pair.b), &result, peers_forget, .name = qmt_str(pair.a.id)), QMT_FAIL_DEADLINE);
	mesh_wait_peer(&pair.b, pair.a.id, true);
	assert_string_equal(policy_of_peer(&pair.b, pair.a.id, room), "");
	mesh_pair_stop(&pair);
}

/* ---- claims ------------------------------------------------------------------------------------------------------ */

/* A link as peers sees it: counts what it is told. */
#define FAKE_TOLD(F, T)                         \
	F(T, U32, admitted, 1, "link.admit.")       \
	F(T, U32, denied, 2, "link.deny.")          \
	F(T, U32, named, 3, "As named.") \
	F(T, STR, why, 4, "Of the last deny.")
#define FAKE_MESSAGES(M)                                          \
	M(fake, what, QMT_NO_FIELDS, "local", "What was told.", told) \
	M(fake, told, FAKE_TOLD, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(fake, FAKE_MESSAGES)
QMT_DEFINE_PROTOCOL(fake, FAKE_MESSAGES, "Of this test.")

struct fake {
	uint32_t admitted, denied, named;
	char why[256];
};
static void on_admit(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct fake *fake = state;

	(void)ctx;
	fake->admitted++;
	fake->named += ((const struct link_admit *)body)->named;
}
static void on_deny(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct fake *fake = state;

	(void)ctx;
	fake->denied++;
	qmt_text(fake->why, sizeof(fake->why), "%.*s", QMT_STR_ARG(((const struct link_deny *)body)->why));
}
static void on_what(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct fake *fake = state;

	(void)body;
	(void)QMT_REPLY(ctx, qmt_token(ctx), fake_told, .admitted = fake->admitted, .denied = fake->denied,
		.named = fake->named, .why = qmt_str(fake->why));
}
static qmt_handler *const fake_link_handlers[link_message_count] = {
	[link_admit_id] = on_admit, [link_deny_id] = on_deny};
static qmt_handler *const fake_handlers[fake_message_count] = {[fake_what_id] = on_what};
static const struct qmt_actor_desc fake_desc = {.abi = QMT_ABI,
	.name = "fake",
	.state_size = sizeof(struct fake),
	.accepts = {{&link_protocol, fake_link_handlers}, {&fake_protocol, fake_handlers}}};

static struct fake_told told(struct qmt_ref link)
{
	struct qmt_result result;

	assert_int_equal(MESH_ASK(&pair.b, link, &result, fake_what, ), 0);
	return *(const struct fake_told *)result.body;
}

/* A connection of that peer whose HELLO asks who may come in; returns when peers has heard of it. */
static struct qmt_ref claim_of(const struct peer_id *id)
{
	struct qmt_err err = {0};
	struct qmt_ref link;
	uint8_t bytes[PEER_ID_BYTES];

	peer_id_bytes(id, bytes);
	if (qmt_spawn(pair.b.ctx, &fake_desc, NULL, &link, &err))
		fail_msg("%s", err.text);
	assert_int_equal(QMT_TELL(pair.b.ctx, peers_of(&pair.b), link_claims, .link = link, .peer = {bytes, sizeof(bytes)},
						 .node = qmt_str("stranger"), .address = qmt_str("/ip4/10.0.0.7/tcp/4")),
		0);
	assert_non_null(mesh_peers(&pair.b));
	return link;
}

static bool one_more_waits(void *ret_link)
{
	struct qmt_ref link = claim_of(&pair.a.identity.id);

	*(struct qmt_ref *)ret_link = link;
	return told(link).denied == 0;
}
static bool is_admitted(void *link)
{
	return told(*(struct qmt_ref *)link).admitted == 1;
}

/* Until the policies are known a claim waits, as many as there may be connections without HELLO; one more is told why
 * it may not; a connection that ends makes room. Who waited then comes in. */
static void claims_are_bounded(void **state)
{
	struct qmt_ref link[3];

	(void)state;
	init(&pair);
	moods.mood = MOOD_UNREAD;
	pair.b.config.limits.unproven_max = 2;
	mesh_node_start(&pair.b);
	for (int i = 0; i < 3; i++)
		link[i] = claim_of(&pair.a.identity.id);
	assert_int_equal(told(link[0]).denied + told(link[1]).denied, 0);
	const struct fake_told last = told(link[2]);
	assert_int_equal(last.denied, 1);
	assert_non_null(memmem(last.why.p, last.why.len, "try again", 9));
	assert_int_equal(qmt_stop(pair.b.ctx, link[0]), 0);
	mesh_until(one_more_waits, &link[2], "room for one more");
	moods.mood = MOOD_FINE;
	mesh_until(is_admitted, &link[1], "it is admitted");
	mesh_until(is_admitted, &link[2], "and the other one");
	mesh_pair_stop(&pair);
}

/* ---- rows and words ---------------------------------------------------------------------------------------------- */

static void put_row(int at, const char *id, const char *policy)
{
	(void)snprintf(moods.policies[at].id, sizeof(moods.policies[at].id), "%s", id);
	(void)snprintf(moods.policies[at].policy, sizeof(moods.policies[at].policy), "%s", policy);
}

/* Who is refused, or dialed and refused, is not told the name of this node. */
static void a_refusal_names_nobody(void **state)
{
	struct identity stranger;

	(void)state;
	for (int blocked = 0; blocked < 2; blocked++) {
		init(&pair);
		identity_generate(&stranger);
		(void)snprintf(pair.b.name, sizeof(pair.b.name), "secretive");
		pair.b.config.trust_known = true;
		if (blocked)
			put_row(0, pair.a.id, "block");
		mesh_node_start(&pair.b);
		mesh_until(knows_policies, &pair.b, "the policies are known");
		const struct fake_told was = told(claim_of(blocked ? &pair.a.identity.id : &stranger.id));
		assert_int_equal(was.denied, 1);
		assert_non_null(memmem(was.why.p, was.why.len, "qmt peers allow", 15));
		assert_null(memmem(was.why.p, was.why.len, "secretive", 9));
		mesh_pair_stop(&pair);
	}
}

/* A block of which the PeerId is damaged may be anybody's: only named peers are let in, until the row is forgotten. */
static void a_damaged_block(void **state)
{
	struct identity stranger;
	struct qmt_result result;

	(void)state;
	init(&pair);
	identity_generate(&stranger);
	put_row(0, "12D3damaged", "block");
	put_row(1, pair.a.id, "allow");
	put_row(2, "12D3another", "allow");
	mesh_node_start(&pair.b);
	mesh_until(knows_policies, &pair.b, "the policies are known");
	assert_int_equal(told(claim_of(&stranger.id)).denied, 1);
	assert_int_equal(told(claim_of(&pair.a.identity.id)).admitted, 1);
	assert_int_equal(MESH_ASK(&pair.b, peers_of(&pair.b), &result, peers_forget, .name = qmt_str("12D3damaged")), 0);
	assert_non_null(mesh_peers(&pair.b));
	mesh_until(knows_policies, &pair.b, "they were read again");
	struct qmt_ref link = claim_of(&stranger.id);
	mesh_until(is_admitted, &link, "a stranger is let in again");
	mesh_pair_stop(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_means_one_peer),
		cmocka_unit_test(nothing_is_forgotten_too_early),
		cmocka_unit_test(what_is_noted_holds),
		cmocka_unit_test(claims_are_bounded),
		cmocka_unit_test(a_refusal_names_nobody),
		cmocka_unit_test(a_damaged_block),
	};

	if (identity_crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
