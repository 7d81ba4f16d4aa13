/* test/port/sends_test.c - try, deadline, urgent and batch sends to refs behind a link: what was taken arrives once and
 * whole, and the outcome of each says so. Over every transport. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "runtime/names.h"
#include "test/lib/mesh_pair.h"

/* ---- an actor that sends as the test says ------------------------------------------------------------------------ */

enum how { TRY, WITHIN, WITHIN_0, URGENT, ALL };
enum { BATCH = 5, PAD = 500 };

#define BATCH_GO(F, T)                    \
	F(T, U32, how, 1, "enum how.")        \
	F(T, REF, far, 2, "Behind the link.") \
	F(T, REF, near, 3, "Here.")           \
	F(T, U64, count, 4, "How often.")
#define BATCH_WENT(F, T)                               \
	F(T, U64, taken, 1, "Tells that were taken.")      \
	F(T, U64, full, 2, "Refused: mailbox full.")       \
	F(T, U64, late, 3, "Refused: deadline passed.")    \
	F(T, U64, other, 4, "Refused for another reason.") \
	F(T, U64, back, 5, "That came back as undelivered.")
#define BATCH_MESSAGES(M)                                            \
	M(batch, go, BATCH_GO, "local", "Sends.", went)                  \
	M(batch, count, QMT_NO_FIELDS, "local", "What came back?", went) \
	M(batch, went, BATCH_WENT, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(batch, BATCH_MESSAGES)
QMT_DEFINE_PROTOCOL(batch, BATCH_MESSAGES, "For this test.")

struct sender {
	uint64_t back;
};

static void count(struct batch_went *went, int outcome)
{
	went->taken += outcome == 0;
	went->full += outcome == QMT_FAIL_FULL;
	went->late += outcome == QMT_FAIL_DEADLINE;
	went->other += outcome && outcome != QMT_FAIL_FULL && outcome != QMT_FAIL_DEADLINE;
}
static void on_go(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct batch_go *go = body;
	struct batch_went went = {.back = ((struct sender *)state)->back};
	char pad[PAD];
	struct probe_event event = {.text = {pad, sizeof(pad)}};
	const struct qmt_ref all[BATCH] = {go->far, go->near, go->far, {0}, go->far};
	int outcomes[BATCH];

	memset(pad, 'b', sizeof(pad));
	for (event.n = 1; event.n <= go->count; event.n++)
		switch (go->how) {
		case TRY:
			count(&went, qmt_try_tell(ctx, go->far, &probe_event_type, &event));
			break;
		case WITHIN:
			count(&went, qmt_tell_within(ctx, go->far, &probe_event_type, &event, MESH_WAIT_MS));
			break;
		case WITHIN_0:
			count(&went, qmt_tell_within(ctx, go->far, &probe_event_type, &event, 0));
			break;
		case URGENT:
			count(&went, qmt_tell_urgent(ctx, go->far, &probe_event_type, &event));
			break;
		default:
			went.other += qmt_tell_all(ctx, all, BATCH, &probe_event_type, &event, outcomes);
			for (int i = 0; i < BATCH; i++)
				went.taken += outcomes[i] == 0;
			if (outcomes[3] != QMT_FAIL_NOT_RUNNING)
				qmt_fail(ctx, "nobody took it");
		}
	(void)qmt_reply(ctx, qmt_token(ctx), &batch_went_type, &went);
}
static void on_count(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)body;
	QMT_REPLY(ctx, qmt_token(ctx), batch_went, .back = ((struct sender *)state)->back);
}
static void undelivered(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body, int reason)
{
	(void)ctx, (void)body, (void)reason;
	((struct sender *)state)->back += type == &probe_event_type;
}
static qmt_handler *const handlers[batch_message_count] = {[batch_go_id] = on_go, [batch_count_id] = on_count};
static const struct qmt_actor_desc sender_desc = {.abi = QMT_ABI,
	.name = "sender",
	.state_size = sizeof(struct sender),
	.undelivered = undelivered,
	.accepts = {{&batch_protocol, handlers}}};

/* ---- two nodes; b's probe has a name ----------------------------------------------------------------------------- */

static struct mesh_pair pair;
static struct qmt_ref sender, far;

static struct qmt_ref names_of(struct mesh_node *node)
{
	struct qmt_ref names;

	assert_int_equal(qmt_lookup(node->ctx, "names", &names), 0);
	return names;
}
static bool find_far(void *unused)
{
	struct qmt_result result;

	(void)unused;
	if (MESH_ASK(&pair.a, names_of(&pair.a), &result, qmt_names_lookup, .name = qmt_str("probe")))
		return false;
	far = ((const struct qmt_names_entry *)result.body)->who;
	return true;
}
static void start(void **state)
{
	struct qmt_result result;
	struct qmt_err err = {0};

	mesh_pair_init(&pair, *(enum mesh_kind *)*state);
	mesh_pair_mutual(&pair);
	pair.a.names = pair.b.names = true;
	mesh_pair_start(&pair);
	assert_int_equal(MESH_ASK(&pair.b, names_of(&pair.b), &result, qmt_names_register, .name = qmt_str("probe"),
						 .who = pair.b.probe),
		0);
	mesh_until(find_far, NULL, "b's probe");
	if (qmt_spawn(pair.a.ctx, &sender_desc, NULL, &sender, &err))
		fail_msg("%s", err.text);
}
static struct batch_went go(enum how how, uint64_t times)
{
	struct qmt_result result;

	assert_int_equal(
		MESH_ASK(&pair.a, sender, &result, batch_go, .how = how, .far = far, .near = pair.a.probe, .count = times), 0);
	return *(const struct batch_went *)result.body;
}
struct expected {
	struct mesh_node *node;
	uint64_t events, back;
};
static bool have_come(void *arg)
{
	struct expected *expected = arg;
	struct qmt_result result;

	assert_int_equal(MESH_ASK(&pair.a, sender, &result, batch_count, ), 0);
	expected->back = expected->node == &pair.b ? ((const struct batch_went *)result.body)->back : 0;
	return mesh_totals(expected->node).events + expected->back == expected->events;
}
/* All that was taken has come, or came back to the sender. Nothing comes in pieces. */
static void wait_events(struct mesh_node *node, uint64_t events)
{
	struct expected expected = {node, events, 0};

	mesh_until(have_come, &expected, "all that was taken");
	assert_int_equal(mesh_totals(node).bytes, (events - expected.back) * PAD);
}

/* ---- cases ------------------------------------------------------------------------------------------------------- */

/* Far more than a link's mailbox holds, in one turn: the sender is not made to wait, and is told of each that did not
 * fit. */
static void try_tell(void **state)
{
	enum { TIMES = 20000 };

	start(state);
	struct batch_went went = go(TRY, TIMES);
	assert_int_equal(went.taken + went.full, TIMES);
	assert_true(went.taken > 0);
	wait_events(&pair.b, went.taken);
	mesh_pair_stop(&pair);
}

/* With time left it arrives as any; without, it does not leave. */
static void tell_within(void **state)
{
	start(state);
	assert_int_equal(go(WITHIN, 200).taken, 200);
	assert_int_equal(go(WITHIN_0, 5).late, 5);
	wait_events(&pair.b, 200);
	mesh_pair_stop(&pair);
}

/* Urgent is a lane of this node: behind a link it comes as any other. */
static void tell_urgent(void **state)
{
	start(state);
	assert_int_equal(go(URGENT, 200).taken, 200);
	wait_events(&pair.b, 200);
	mesh_pair_stop(&pair);
}

/* One body to several, here and there: each gets it whole, nobody else is harmed by one that is nobody. */
static void tell_all(void **state)
{
	enum { TIMES = 100 };

	start(state);
	struct batch_went went = go(ALL, TIMES);
	assert_int_equal(went.taken, TIMES * (BATCH - 1));
	assert_int_equal(went.other, TIMES);
	wait_events(&pair.b, TIMES * (BATCH - 2));
	wait_events(&pair.a, TIMES);
	mesh_pair_stop(&pair);
}

/* Each of them, to an actor whose connection has ended: refused, or back to the sender; never taken as sent. */
static void after_the_link(void **state)
{
	start(state);
	assert_int_equal(go(WITHIN, 1).taken, 1);
	wait_events(&pair.b, 1);
	mesh_node_stop(&pair.b);
	mesh_wait_peer(&pair.a, pair.b.id, false);
	for (int how = TRY; how < ALL; how++) {
		struct batch_went went = go((enum how)how, 3);

		assert_int_equal(went.taken, 0);
		assert_int_equal(how == WITHIN_0 ? went.late + went.other : went.other, 3);
	}
	mesh_pair_stop(&pair);
}

int main(void)
{
	static enum mesh_kind kinds[] = {MESH_TCP, MESH_LOOP};
#define CASE(fn, kind)                                                                                          \
	{                                                                                                           \
		.name = kind == MESH_TCP ? #fn " (tcp)" : #fn " (loop)", .test_func = fn, .initial_state = &kinds[kind] \
	}
#define CASES(kind)                                                                               \
	CASE(try_tell, kind), CASE(tell_within, kind), CASE(tell_urgent, kind), CASE(tell_all, kind), \
		CASE(after_the_link, kind)
	const struct CMUnitTest tests[] = {CASES(MESH_TCP), CASES(MESH_LOOP)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
