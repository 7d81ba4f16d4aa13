/* test/port/bonds_test.c - actors that are linked across nodes end together as here, also when the connection ends; and
 * no peer can end an actor that did not say that it may be linked. Over every transport. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "proto/codec.h"
#include "runtime/port.h"
#include "test/lib/hostile.h"
#include "test/lib/mesh_pair.h"
#include "transports/link_records.h"

/* ---- knots: actors that link, end, and say what they were told --------------------------------------------------- */

#define KNOT_FIND(F, T)           \
	F(T, STR, peer, 1, "PeerId.") \
	F(T, STR, name, 2, "Of the actor there.")
#define KNOT_ACT(F, T)                    \
	F(T, U32, what, 1, "enum knot_what.") \
	F(T, REF, who, 2, "With whom.")
#define KNOT_IS(F, T) F(T, REF, who, 1, "The knot.")
#define KNOT_TOLD(F, T)                        \
	F(T, U64, count, 1, "Calls of link_died.") \
	F(T, U64, reason, 2, "Of the last one.")   \
	F(T, REF, who, 3, "Of the last one.")      \
	F(T, U64, made, 4, "What qmt_link returned last.")
#define KNOT_MESSAGES(M)                                                        \
	M(knot, who, QMT_NO_FIELDS, "node_info", "Says who it is.", is)             \
	M(knot, find, KNOT_FIND, "local", "Asks an actor of a peer who it is.", is) \
	M(knot, act, KNOT_ACT, "local", "Does it.", told)                           \
	M(knot, is, KNOT_IS, "reply", "Answer.")                                    \
	M(knot, told, KNOT_TOLD, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(knot, KNOT_MESSAGES)
QMT_DEFINE_PROTOCOL(knot, KNOT_MESSAGES, "For this test.")

enum knot_what { KNOT_LINK, KNOT_UNLINK, KNOT_FAIL, KNOT_QUIT, KNOT_COUNT };

struct knot {
	struct qmt_token finding;
	struct knot_told told;
};

static void on_who(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	(void)body;
	QMT_REPLY(ctx, qmt_token(ctx), knot_is, .who = qmt_self(ctx));
}
static void found(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)arg;
	(void)qmt_reply_result(ctx, ((struct knot *)state)->finding, result);
}
static void on_find(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct knot_find *msg = body;
	char peer[PEER_ID_TEXT + 1], name[32];

	(void)snprintf(peer, sizeof(peer), "%.*s", QMT_STR_ARG(msg->peer));
	(void)snprintf(name, sizeof(name), "%.*s", QMT_STR_ARG(msg->name));
	((struct knot *)state)->finding = qmt_token(ctx);
	if (qmt_ask_name(ctx, peer, name, &knot_who_type, &(struct knot_who){}, 0, found, NULL))
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NO_ROUTE, NULL, 0, "cannot ask");
}
static void on_act(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct knot_act *msg = body;
	struct knot *knot = state;

	switch (msg->what) {
	case KNOT_LINK:
		knot->told.made = (uint64_t)qmt_link(ctx, msg->who);
		break;
	case KNOT_UNLINK:
		qmt_unlink(ctx, msg->who);
		break;
	case KNOT_FAIL:
		qmt_fail(ctx, "told to fail");
		break;
	case KNOT_QUIT:
		qmt_stop_self(ctx);
		break;
	default:
		break;
	}
	(void)qmt_reply(ctx, qmt_token(ctx), &knot_told_type, &knot->told);
}
static bool link_died(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	struct knot *knot = state;

	(void)ctx;
	knot->told.count++;
	knot->told.reason = (uint64_t)reason;
	knot->told.who = who;
	return true;
}
static qmt_handler *const handlers[knot_message_count] = {
	[knot_who_id] = on_who, [knot_find_id] = on_find, [knot_act_id] = on_act};
#define KNOT_DESC(name_, ...)                                                                                      \
	{                                                                                                              \
		.abi = QMT_ABI, .name = name_, .state_size = sizeof(struct knot), .accepts = {{&knot_protocol, handlers}}, \
		__VA_ARGS__                                                                                                \
	}
static const struct qmt_actor_desc tough_desc = KNOT_DESC("tough", .remote_links = true, .link_died = link_died);
static const struct qmt_actor_desc open_desc = KNOT_DESC("open", .remote_links = true);
static const struct qmt_actor_desc closed_desc = KNOT_DESC("closed", .link_died = NULL);

/* ---- two nodes, three knots each --------------------------------------------------------------------------------- */

struct knots {
	struct qmt_ref tough, open, closed;
};
static struct mesh_pair pair;
static struct knots at_a, at_b, from_a; /* from_a: b's, as a knows them */

static struct qmt_ref spawn(struct mesh_node *node, const struct qmt_actor_desc *desc)
{
	struct qmt_err err = {0};
	struct qmt_ref ref;

	if (qmt_spawn(node->ctx, desc, &(struct qmt_spawn){.name = desc->name, .restart = QMT_TEMPORARY}, &ref, &err))
		fail_msg("%s", err.text);
	return ref;
}

static void spawn_knots(struct mesh_node *node, struct knots *ret_knots)
{
	*ret_knots = (struct knots){spawn(node, &tough_desc), spawn(node, &open_desc), spawn(node, &closed_desc)};
}

struct finding {
	const char *name;
	struct qmt_ref ref;
};
static bool find_once(void *arg)
{
	struct finding *finding = arg;
	struct qmt_result result;

	if (MESH_ASK(&pair.a, at_a.tough, &result, knot_find, .peer = qmt_str(pair.b.id), .name = qmt_str(finding->name)))
		return false;
	finding->ref = ((const struct knot_is *)result.body)->who;
	return true;
}
/* b's knot, as a knows it. */
static struct qmt_ref find(const char *name)
{
	struct finding finding = {.name = name};

	mesh_until(find_once, &finding, name);
	assert_int_not_equal(finding.ref.rid, 0);
	return finding.ref;
}

static void find_knots(void)
{
	from_a = (struct knots){find("tough"), find("open"), find("closed")};
}

/* What was linked and undone at a until now is so at b: it overtakes the ask. */
static void settle(void)
{
	(void)find("closed");
}

static void make(void **state)
{
	mesh_pair_init(&pair, *(enum mesh_kind *)*state);
}

static void run(void)
{
	mesh_pair_start(&pair);
	spawn_knots(&pair.a, &at_a);
	spawn_knots(&pair.b, &at_b);
	find_knots();
}

static void start(void **state)
{
	make(state);
	run();
}

static struct knot_told act(struct mesh_node *node, struct qmt_ref knot, enum knot_what what, struct qmt_ref who)
{
	struct qmt_result result;
	int fail = MESH_ASK(node, knot, &result, knot_act, .what = what, .who = who);

	if (fail)
		return (struct knot_told){.count = UINT64_MAX};
	return *(const struct knot_told *)result.body;
}

static const struct qmt_ref nobody;

struct expected {
	struct mesh_node *node;
	struct qmt_ref knot;
	uint64_t count;
};
static bool is_told(void *arg)
{
	const struct expected *expected = arg;

	return act(expected->node, expected->knot, KNOT_COUNT, nobody).count >= expected->count;
}
/* Waits until it has been told so often; checks the reason of the last time. */
static struct knot_told wait_told(struct mesh_node *node, struct qmt_ref knot, uint64_t count, int reason)
{
	struct expected expected = {node, knot, count};

	mesh_until(is_told, &expected, "link_died");
	struct knot_told told = act(node, knot, KNOT_COUNT, nobody);
	assert_int_equal(told.count, count);
	assert_int_equal(told.reason, reason);
	return told;
}
static bool has_ended(void *arg)
{
	return !qmt_is_running(*(struct qmt_ref *)arg);
}
static void wait_ended(struct qmt_ref knot)
{
	mesh_until(has_ended, &knot, "it ends too");
}

/* ---- cases ------------------------------------------------------------------------------------------------------- */

/* The end of either side is told to the other with its reason: a failure, a kill, a wanted end; who has no hook ends
 * along. */
static void either_side_ends(void **state)
{
	start(state);
	assert_int_equal(act(&pair.a, at_a.tough, KNOT_LINK, from_a.tough).made, 0);
	assert_int_equal(act(&pair.a, at_a.tough, KNOT_LINK, from_a.open).made, 0);
	settle();
	(void)act(&pair.b, at_b.tough, KNOT_FAIL, nobody);
	assert_true(qmt_ref_eq(wait_told(&pair.a, at_a.tough, 1, QMT_FAIL_FAILED).who, from_a.tough));
	assert_int_equal(qmt_kill(pair.b.ctx, at_b.open), 0);
	assert_true(qmt_ref_eq(wait_told(&pair.a, at_a.tough, 2, QMT_FAIL_CANCELLED).who, from_a.open));
	/* who has ended is no one to be linked with: by the peer's word, or known already */
	(void)act(&pair.a, at_a.tough, KNOT_LINK, from_a.open);
	(void)wait_told(&pair.a, at_a.tough, 3, QMT_FAIL_NOT_RUNNING);

	/* the linker's end reaches who was linked with it */
	at_b.tough = spawn(&pair.b, &tough_desc);
	at_b.open = spawn(&pair.b, &open_desc);
	find_knots();
	(void)act(&pair.a, at_a.open, KNOT_LINK, from_a.tough);
	(void)act(&pair.a, at_a.open, KNOT_LINK, from_a.open);
	(void)act(&pair.a, at_a.tough, KNOT_LINK, from_a.open);
	settle();
	(void)act(&pair.a, at_a.open, KNOT_QUIT, nobody);
	assert_int_not_equal(wait_told(&pair.b, at_b.tough, 1, 0).who.rid, 0);
	wait_ended(at_b.open);
	(void)wait_told(&pair.a, at_a.tough, 4, 0); /* and so on: it ended for a wanted end */
	mesh_pair_stop(&pair);
}

/* When the connection ends, both sides are told that the peer is gone. */
static void the_connection_ends(void **state)
{
	start(state);
	(void)act(&pair.a, at_a.tough, KNOT_LINK, from_a.tough);
	(void)act(&pair.a, at_a.closed, KNOT_LINK, from_a.open);
	settle();
	mesh_pair_cut(&pair);
	(void)wait_told(&pair.a, at_a.tough, 1, QMT_FAIL_PEER_GONE);
	(void)wait_told(&pair.b, at_b.tough, 1, QMT_FAIL_PEER_GONE);
	wait_ended(at_a.closed);
	wait_ended(at_b.open);
	/* a ref of that connection leads nowhere; one of the next one does */
	(void)act(&pair.a, at_a.tough, KNOT_LINK, from_a.tough);
	(void)wait_told(&pair.a, at_a.tough, 2, QMT_FAIL_PEER_GONE);
	(void)act(&pair.a, at_a.tough, KNOT_LINK, find("tough"));
	settle();
	(void)act(&pair.b, at_b.tough, KNOT_FAIL, nobody);
	(void)wait_told(&pair.a, at_a.tough, 3, QMT_FAIL_FAILED);
	mesh_pair_stop(&pair);
}

/* An actor that does not allow it is linked with nobody from afar: the linker is told, the actor lives on whatever
 * becomes of the linker. What was undone is not told. */
static void only_who_allows_it(void **state)
{
	start(state);
	(void)act(&pair.a, at_a.tough, KNOT_LINK, from_a.closed);
	(void)wait_told(&pair.a, at_a.tough, 1, QMT_FAIL_NOT_ALLOWED);
	(void)act(&pair.a, at_a.open, KNOT_LINK, from_a.open);
	(void)act(&pair.a, at_a.open, KNOT_UNLINK, from_a.open);
	(void)act(&pair.a, at_a.open, KNOT_LINK, from_a.tough);
	settle();
	(void)act(&pair.a, at_a.open, KNOT_FAIL, nobody);
	(void)wait_told(&pair.b, at_b.tough, 1, QMT_FAIL_FAILED);
	(void)act(&pair.a, at_a.tough, KNOT_QUIT, nobody);
	assert_true(qmt_is_running(at_b.closed));
	assert_true(qmt_is_running(at_b.open));
	mesh_pair_stop(&pair);
}

/* bonds_max holds, here and there; who is over it is told, and room comes back with each end. */
static void bounded(void **state)
{
	for (int here = 0; here < 2; here++) {
		make(state);
		(here ? &pair.a : &pair.b)->config.limits.bonds_max = 2;
		run();
		(void)act(&pair.a, at_a.tough, KNOT_LINK, from_a.tough);
		(void)act(&pair.a, at_a.tough, KNOT_LINK, from_a.open);
		(void)act(&pair.a, at_a.open, KNOT_LINK, from_a.open); /* one too many: it ends */
		wait_ended(at_a.open);
		settle();
		(void)act(&pair.b, at_b.open, KNOT_FAIL, nobody);
		(void)wait_told(&pair.a, at_a.tough, 1, QMT_FAIL_FAILED);
		(void)act(&pair.a, at_a.closed, KNOT_LINK, from_a.tough);
		settle();
		(void)act(&pair.b, at_b.tough, KNOT_QUIT, nobody);
		(void)wait_told(&pair.a, at_a.tough, 2, 0);
		wait_ended(at_a.closed);
		mesh_pair_stop(&pair);
	}
}

/* ---- a peer that is hostile, or old ------------------------------------------------------------------------------ */

static int take_number(void *arg, uint64_t number, struct qmt_ref *ret_ref)
{
	*(uint64_t *)arg = number;
	*ret_ref = (struct qmt_ref){0};
	return 0;
}

/* The number under which the node exports the knot of that name to the peer. */
static uint64_t export_of(struct hostile *peer, const char *name)
{
	struct envelope ask = {.kind = ENVELOPE_ASK,
		.id = 1,
		.to_name = qmt_str(name),
		.type = 1,
		.type_name = qmt_str("knot.who"),
		.deadline_ms = 1000};
	struct envelope answer;
	uint64_t number = 0;
	struct codec_refs refs = {.in = take_number, .arg = &number};

	hostile_say(peer, &ask, &knot_who_type.record, &(struct knot_who){});
	answer = hostile_wait(peer, ENVELOPE_REPLY);
	free(codec_decode_new(&knot_is_type.record, answer.body, &refs, NULL));
	assert_true(number && !(number & 1));
	return number >> 1;
}

static void say_bond(struct hostile *peer, const struct link_bond *bond)
{
	hostile_say(peer, &(struct envelope){.kind = ENVELOPE_CONTROL, .type = LINK_BOND}, &link_bond_record, bond);
}
static void say_over(struct hostile *peer, const struct link_bond_over *over)
{
	hostile_say(
		peer, &(struct envelope){.kind = ENVELOPE_CONTROL, .type = LINK_BOND_OVER}, &link_bond_over_record, over);
}
static struct envelope wait_control(struct hostile *peer, enum link_control what)
{
	struct envelope env;

	do
		env = hostile_wait(peer, ENVELOPE_CONTROL);
	while (env.type != what);
	return env;
}
static void expect_over(struct hostile *peer, uint64_t id, int reason)
{
	struct envelope env = wait_control(peer, LINK_BOND_OVER);
	struct link_bond_over *over = codec_decode_new(&link_bond_over_record, env.body, NULL, NULL);

	assert_non_null(over);
	assert_int_equal(over->id, id);
	assert_int_equal(over->reason, reason);
	assert_true(over->yours);
	free(over);
}

static void open_hostile(struct hostile *peer, char ret_id[PEER_ID_TEXT + 1])
{
	struct qmt_err err = {0};

	if (hostile_open(peer, pair.b.port, 0, &err))
		fail_msg("%s", err.text);
	peer_id_text(&peer->identity.id, ret_id);
	hostile_says_use(peer, 1);
	mesh_wait_peer(&pair.b, ret_id, true);
}

/* Links with numbers that never were, with who does not allow it, for an actor that is not the peer's, under the same
 * id, ends of what is not there, words that cannot be read: each is refused with its reason, or dropped, and nobody
 * dies of it. A reason that does not exist is a failure. */
static void hostile_words(void **unused)
{
	struct hostile peer = {0};
	char id[PEER_ID_TEXT + 1];
	uint64_t tough, closed;

	(void)unused;
	mesh_pair_init(&pair, MESH_TCP);
	mesh_node_start(&pair.b);
	spawn_knots(&pair.b, &at_b);
	open_hostile(&peer, id);
	tough = export_of(&peer, "tough");
	closed = export_of(&peer, "closed");
	say_bond(&peer, &(struct link_bond){.id = 1, .to = 999, .from = 2});
	expect_over(&peer, 1, QMT_FAIL_NOT_RUNNING);
	say_bond(&peer, &(struct link_bond){.id = 2, .to = UINT64_MAX, .from = 2});
	expect_over(&peer, 2, QMT_FAIL_NOT_RUNNING);
	say_bond(&peer, &(struct link_bond){.id = 3, .to = closed, .from = 2});
	expect_over(&peer, 3, QMT_FAIL_NOT_ALLOWED);
	say_bond(&peer, &(struct link_bond){.id = 4, .to = tough, .from = tough << 1 | 1});
	expect_over(&peer, 4, QMT_FAIL_BAD_REQUEST);
	say_bond(&peer, &(struct link_bond){.id = 5, .to = tough, .from = 0});
	expect_over(&peer, 5, QMT_FAIL_BAD_REQUEST);
	say_bond(&peer, &(struct link_bond){.id = 6, .to = tough, .from = UINT64_MAX - 1});
	expect_over(&peer, 6, QMT_FAIL_BAD_REQUEST);
	say_over(&peer, &(struct link_bond_over){.id = 6});
	say_over(&peer, &(struct link_bond_over){.id = 77, .yours = true, .undone = true});
	hostile_say(&peer, &(struct envelope){.kind = ENVELOPE_CONTROL, .type = LINK_BOND_OVER}, NULL, NULL);
	hostile_say(&peer, &(struct envelope){.kind = ENVELOPE_CONTROL, .type = LINK_BOND}, NULL, NULL);
	say_bond(&peer, &(struct link_bond){.id = 7, .to = tough, .from = 2});
	say_bond(&peer, &(struct link_bond){.id = 7, .to = tough, .from = 4}); /* dropped: 7 stands */
	say_over(&peer, &(struct link_bond_over){.id = 7, .reason = 4000000000});
	(void)wait_told(&pair.b, at_b.tough, 1, QMT_FAIL_FAILED);
	say_over(&peer, &(struct link_bond_over){.id = 7, .reason = QMT_FAIL_CANCELLED});
	say_bond(&peer, &(struct link_bond){.id = 8, .to = tough, .from = 2});
	say_over(&peer, &(struct link_bond_over){.id = 8, .undone = true});
	say_bond(&peer, &(struct link_bond){.id = 9, .to = closed, .from = 2});
	expect_over(&peer, 9, QMT_FAIL_NOT_ALLOWED);
	(void)wait_told(&pair.b, at_b.tough, 1, QMT_FAIL_FAILED);
	assert_true(qmt_is_running(at_b.closed));
	hostile_close(&peer);
	mesh_pair_stop(&pair);
}

/* A flood of links is refused beyond bonds_max; the end of the connection is told for those that stood, and the node
 * serves on. */
static void hostile_flood(void **unused)
{
	enum { FLOOD = 3000, MOST = 50 };
	struct hostile peer = {0};
	char id[PEER_ID_TEXT + 1];
	struct qmt_result result;
	uint64_t tough;

	(void)unused;
	mesh_pair_init(&pair, MESH_TCP);
	pair.b.config.limits.bonds_max = MOST;
	mesh_node_start(&pair.b);
	spawn_knots(&pair.b, &at_b);
	open_hostile(&peer, id);
	tough = export_of(&peer, "tough");
	for (uint64_t i = 1; i <= FLOOD; i++)
		say_bond(&peer, &(struct link_bond){.id = i, .to = tough, .from = i << 1});
	expect_over(&peer, MOST + 1, QMT_FAIL_FULL);
	hostile_close(&peer);
	(void)wait_told(&pair.b, at_b.tough, MOST, QMT_FAIL_PEER_GONE);
	assert_int_equal(MESH_ASK(&pair.b, pair.b.probe, &result, probe_say, .n = 9), 0);
	mesh_pair_stop(&pair);
}

/* Links that are made and undone all the time are a flood too: refused beyond bonds_max between two ticks. */
static void hostile_churn(void **unused)
{
	enum { CHURN = 500, MOST = 20 };
	struct hostile peer = {0};
	char id[PEER_ID_TEXT + 1];
	uint64_t tough;
	bool refused = false;

	(void)unused;
	mesh_pair_init(&pair, MESH_TCP);
	pair.b.config.limits.bonds_max = MOST;
	mesh_node_start(&pair.b);
	spawn_knots(&pair.b, &at_b);
	open_hostile(&peer, id);
	tough = export_of(&peer, "tough");
	for (uint64_t i = 1; i <= CHURN; i++) {
		say_bond(&peer, &(struct link_bond){.id = i, .to = tough, .from = 2});
		say_over(&peer, &(struct link_bond_over){.id = i, .undone = true});
	}
	while (!refused) {
		struct envelope env = wait_control(&peer, LINK_BOND_OVER);
		struct link_bond_over *over = codec_decode_new(&link_bond_over_record, env.body, NULL, NULL);

		refused = over && over->reason == QMT_FAIL_FULL;
		free(over);
	}
	(void)wait_told(&pair.b, at_b.tough, 0, 0);
	hostile_close(&peer);
	mesh_pair_stop(&pair);
}

/* A peer of a version that knows no links: whoever wants to be linked with an actor of it is told so. */
static void an_old_peer(void **unused)
{
	struct hostile peer = {0};
	char id[PEER_ID_TEXT + 1];

	(void)unused;
	mesh_pair_init(&pair, MESH_TCP);
	mesh_node_start(&pair.b);
	spawn_knots(&pair.b, &at_b);
	open_hostile(&peer, id); /* it says nothing of what it understands */
	char name[sizeof("peer/") + PEER_ID_TEXT];
	struct qmt_ref behind;

	(void)snprintf(name, sizeof(name), "peer/%s", id);
	assert_int_equal(qmt_lookup(pair.b.ctx, name, &behind), 0);
	behind.rid = 1;
	(void)act(&pair.b, at_b.tough, KNOT_LINK, behind);
	(void)wait_told(&pair.b, at_b.tough, 1, QMT_FAIL_UNKNOWN_MESSAGE);
	hostile_close(&peer);
	mesh_pair_stop(&pair);
}

int main(void)
{
	static enum mesh_kind kinds[] = {MESH_TCP, MESH_LOOP};
#define CASE(fn, kind)                                                                                          \
	{                                                                                                           \
		.name = kind == MESH_TCP ? #fn " (tcp)" : #fn " (loop)", .test_func = fn, .initial_state = &kinds[kind] \
	}
#define CASES(kind) \
	CASE(either_side_ends, kind), CASE(the_connection_ends, kind), CASE(only_who_allows_it, kind), CASE(bounded, kind)
	const struct CMUnitTest tests[] = {CASES(MESH_TCP), CASES(MESH_LOOP), cmocka_unit_test(hostile_words),
		cmocka_unit_test(hostile_flood), cmocka_unit_test(hostile_churn), cmocka_unit_test(an_old_peer)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
