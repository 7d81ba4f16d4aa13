/* runtime/link and runtime/port.h: actors are linked through a link actor as if it were the peer's; the peer alone ends
 * nobody here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/internal.h"
#include "test/lib/runtime_kit.h"

/* ---- a link that notes what it is told, and says what the test wants --------------------------------------------- */

static struct {
	struct qmt_bond seen[32];
	uint32_t count;
	int refuses;      /* what the hook answers to MADE */
	int made;         /* what qmt_bond_make returned last */
	uint64_t last_id; /* of a bond that it made */
} port;

enum { MAKE = 1, MAKE_NOBODY, END, END_FAILED, UNDO, LINK_ITSELF, UNLINK_ITSELF, STOP };

static void link_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;

	(void)state;
	switch (poke->value) {
	case MAKE:
		port.made = qmt_bond_make(ctx, poke->ref, 9, &port.last_id);
		break;
	case MAKE_NOBODY:
		kit_check(qmt_bond_make(ctx, (struct qmt_ref){0}, 9, &port.last_id) < 0);
		kit_check(qmt_bond_make(ctx, qmt_self(ctx), 9, &port.last_id) < 0);
		kit_check(qmt_bond_make(ctx, poke->ref, 0, &port.last_id) < 0);
		break;
	case END:
	case END_FAILED:
		qmt_bond_end(ctx, port.last_id, poke->value == END ? 0 : QMT_FAIL_FAILED);
		qmt_bond_end(ctx, port.last_id, QMT_FAIL_FAILED); /* over is over */
		break;
	case LINK_ITSELF:
		kit_check(qmt_link(ctx, poke->ref) == 0);
		break;
	case UNLINK_ITSELF:
		qmt_unlink(ctx, poke->ref);
		break;
	case UNDO:
		qmt_bond_undo(ctx, port.last_id);
		break;
	default:
		qmt_stop_self(ctx);
	}
}
static int link_bond(struct qmt_ctx *ctx, void *state, const struct qmt_bond *bond)
{
	(void)ctx;
	(void)state;
	kit_check(port.count < 32);
	port.seen[port.count++] = *bond;
	if (bond->event == QMT_BOND_MADE && !port.refuses)
		port.last_id = bond->id;
	return bond->event == QMT_BOND_MADE ? port.refuses : 0;
}
static void nothing_out(struct qmt_ctx *ctx, void *state, const struct qmt_outgoing *out)
{
	(void)ctx;
	(void)state;
	(void)out;
}
static qmt_handler *const link_handlers[kit_message_count] = {[kit_poke_id] = link_poke};
static const struct qmt_actor_desc link_desc =
	KIT_DESC("link", link_handlers, .outgoing = nothing_out, .bond = link_bond);
static const struct qmt_actor_desc old_desc = KIT_DESC("old link", link_handlers, .outgoing = nothing_out);

/* ---- who is linked ----------------------------------------------------------------------------------------------- */

enum { LINK = 1, UNLINK, FAIL, QUIT, COUNT, TRY };

struct node {
	uint64_t told;
	int reason;
	struct qmt_ref who;
};
static void node_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct node *node = state;

	switch (poke->value) {
	case LINK:
		kit_check(qmt_link(ctx, poke->ref) == 0);
		kit_check(qmt_link(ctx, poke->ref) == 0); /* twice is once */
		break;
	case UNLINK:
		qmt_unlink(ctx, poke->ref);
		break;
	case TRY:
		kit_answer(ctx, (uint64_t)qmt_link(ctx, poke->ref));
		break;
	case FAIL:
		qmt_fail(ctx, "told to fail");
		break;
	case QUIT:
		qmt_stop_self(ctx);
		break;
	default:
		kit_answer(ctx, node->told * 100 + (uint64_t)node->reason);
	}
}
static bool node_link_died(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	struct node *node = state;

	(void)ctx;
	node->told++;
	node->reason = reason;
	node->who = who;
	return true;
}
static qmt_handler *const handlers[kit_message_count] = {[kit_poke_id] = node_poke};
static const struct qmt_actor_desc closed_desc = KIT_DESC("closed", handlers, .state_size = sizeof(struct node));
static const struct qmt_actor_desc open_desc =
	KIT_DESC("open", handlers, .state_size = sizeof(struct node), .remote_links = true);
static const struct qmt_actor_desc tough_desc =
	KIT_DESC("tough", handlers, .state_size = sizeof(struct node), .remote_links = true, .link_died = node_link_died);

struct world {
	struct kit kit;
	struct qmt_ref link, behind, tough, open, closed;
};

static void start(struct world *w)
{
	memset(&port, 0, sizeof port);
	kit_start_seeded(&w->kit, 1);
	w->link = kit_spawn(&w->kit, &link_desc, NULL);
	w->behind = w->link;
	w->behind.rid = 7;
	w->tough = kit_spawn(&w->kit, &tough_desc, NULL);
	w->open = kit_spawn(&w->kit, &open_desc, NULL);
	w->closed = kit_spawn(&w->kit, &closed_desc, NULL);
	qmt_system_run(w->kit.sys, 0);
}

static void tell(struct world *w, struct qmt_ref to, uint64_t value, struct qmt_ref ref)
{
	assert_int_equal(QMT_TELL(w->kit.out, to, kit_poke, .value = value, .ref = ref), 0);
	qmt_system_run(w->kit.sys, 0);
}
static uint64_t told(struct world *w, struct qmt_ref node)
{
	uint64_t value;

	assert_int_equal(kit_ask(&w->kit, node, COUNT, 0, &value), 0);
	return value;
}
static void last_seen_is(uint32_t count, enum qmt_bond_event event, struct qmt_ref actor, uint32_t rid, int reason)
{
	const struct qmt_bond *last = &port.seen[port.count - 1];

	assert_int_equal(port.count, count);
	assert_int_equal(last->event, event);
	assert_true(qmt_ref_eq(last->actor, actor));
	assert_int_equal(last->rid, rid);
	assert_int_equal(last->reason, reason);
}
static bool has_links(struct qmt_ref who)
{
	return actor_ext(who.actor) && actor_ext(who.actor)->links;
}

static const struct qmt_ref none;

/* Who links outwards is known to the link once, for each actor behind it; its end, its undoing and the peer's word
 * reach the other side, each once. */
static void outwards(void **unused)
{
	(void)unused;
	struct world w;
	struct qmt_ref other;

	start(&w);
	other = w.behind;
	other.rid = 8;
	tell(&w, w.tough, LINK, w.behind);
	last_seen_is(1, QMT_BOND_MADE, w.tough, 7, 0);
	tell(&w, w.tough, LINK, other);
	last_seen_is(2, QMT_BOND_MADE, w.tough, 8, 0);
	assert_int_not_equal(port.seen[0].id, port.seen[1].id);
	tell(&w, w.tough, UNLINK, w.behind);
	last_seen_is(3, QMT_BOND_UNDONE, w.tough, 7, 0);
	assert_int_equal(port.seen[2].id, port.seen[0].id);
	tell(&w, w.link, END_FAILED, none); /* the one with 8 */
	assert_int_equal(told(&w, w.tough), 100 + QMT_FAIL_FAILED);
	assert_int_equal(port.count, 3); /* its own word is not told back to it */
	assert_false(has_links(w.tough) || has_links(w.link));

	tell(&w, w.closed, LINK, w.behind); /* outwards needs no permission but the other side's */
	tell(&w, w.closed, FAIL, none);
	last_seen_is(5, QMT_BOND_ENDED, w.closed, 7, QMT_FAIL_FAILED);
	tell(&w, w.open, LINK, w.behind);
	tell(&w, w.open, QUIT, none);
	last_seen_is(7, QMT_BOND_ENDED, w.open, 7, 0);
	assert_false(has_links(w.link));
	kit_stop(&w.kit);
}

/* The peer's wanted end stops who has no hook; a failure fails it. */
static void ends_inwards(void **unused)
{
	(void)unused;
	struct world w;

	for (uint64_t how = END; how <= END_FAILED; how++) {
		start(&w);
		tell(&w, w.open, LINK, w.behind);
		tell(&w, w.link, how, none);
		assert_false(qmt_is_running(w.open));
		assert_int_equal(kit_logged(&w.kit, "a linked actor ended: failed"), how == END_FAILED);
		kit_stop(&w.kit);
	}
}

/* A link that refuses, one that knows no links, and one that has ended: the linker is told why, and nothing is kept. */
static void refused(void **unused)
{
	(void)unused;
	struct world w;
	struct qmt_ref old;
	struct qmt_result result;

	start(&w);
	port.refuses = QMT_FAIL_UNKNOWN_MESSAGE;
	tell(&w, w.tough, LINK, w.behind);
	assert_int_equal(told(&w, w.tough), 100 + QMT_FAIL_UNKNOWN_MESSAGE);
	assert_false(has_links(w.tough) || has_links(w.link));
	old = kit_spawn(&w.kit, &old_desc, NULL);
	old.rid = 3;
	assert_int_equal(
		qmt_outside_ask(w.kit.out, w.tough, &kit_poke_type, &(struct kit_poke){.value = TRY, .ref = old}, 0, &result),
		0);
	assert_int_equal(((const struct kit_answer *)result.body)->value, QMT_FAIL_NO_ROUTE);
	tell(&w, w.link, STOP, none);
	tell(&w, w.tough, LINK, w.behind);
	assert_int_equal(told(&w, w.tough), 200 + QMT_FAIL_PEER_GONE);
	assert_false(has_links(w.tough));
	kit_stop(&w.kit);
}

/* The peer links with who allows it, and with nobody else; the end here is told to the link, its own end to nobody. */
static void inwards(void **unused)
{
	(void)unused;
	struct world w;

	start(&w);
	tell(&w, w.link, MAKE_NOBODY, w.open);
	tell(&w, w.link, MAKE, w.closed);
	assert_int_equal(port.made, QMT_FAIL_NOT_ALLOWED);
	assert_false(has_links(w.closed) || has_links(w.link));
	tell(&w, w.link, MAKE, w.tough);
	assert_int_equal(port.made, 0);
	tell(&w, w.link, END_FAILED, none);
	assert_int_equal(told(&w, w.tough), 100 + QMT_FAIL_FAILED);
	assert_int_equal(port.count, 0);
	tell(&w, w.link, MAKE, w.tough);
	tell(&w, w.link, UNDO, none);
	tell(&w, w.link, MAKE, w.tough);
	struct qmt_ref peers = w.link;
	peers.rid = 9; /* it undoes what the peer made, too */
	tell(&w, w.tough, UNLINK, peers);
	last_seen_is(1, QMT_BOND_UNDONE, w.tough, 9, 0);
	tell(&w, w.link, MAKE, w.open);
	tell(&w, w.open, FAIL, none);
	last_seen_is(2, QMT_BOND_ENDED, w.open, 9, QMT_FAIL_FAILED);
	tell(&w, w.link, MAKE, w.open);
	assert_int_equal(port.made, QMT_FAIL_NOT_RUNNING);
	assert_int_equal(told(&w, w.tough), 100 + QMT_FAIL_FAILED);
	assert_false(has_links(w.tough) || has_links(w.link));
	kit_stop(&w.kit);
}

/* What the link actor links for itself is another thing than what it keeps for the peer's actors: both hold, and
 * undoing the one leaves the other. */
static void a_link_of_its_own(void **unused)
{
	(void)unused;
	struct world w;

	start(&w);
	tell(&w, w.link, MAKE, w.tough);
	tell(&w, w.link, LINK_ITSELF, w.tough);
	assert_non_null(actor_ext(w.link.actor)->links->next);
	tell(&w, w.link, UNLINK_ITSELF, w.tough);
	assert_non_null(actor_ext(w.link.actor)->links);
	tell(&w, w.link, END_FAILED, none);
	assert_int_equal(told(&w, w.tough), 100 + QMT_FAIL_FAILED);
	assert_int_equal(port.count, 0);
	assert_false(has_links(w.tough) || has_links(w.link));
	kit_stop(&w.kit);
}

/* When the link ends, all that are linked through it, in either direction, are told that the peer is gone: whoever has
 * no hook fails. */
static void the_link_ends(void **unused)
{
	(void)unused;
	struct world w;

	start(&w);
	tell(&w, w.tough, LINK, w.behind);
	tell(&w, w.link, MAKE, w.tough);
	tell(&w, w.closed, LINK, w.behind);
	tell(&w, w.link, MAKE, w.open);
	tell(&w, w.link, STOP, none);
	assert_int_equal(told(&w, w.tough), 200 + QMT_FAIL_PEER_GONE);
	assert_false(qmt_is_running(w.closed) || qmt_is_running(w.open));
	assert_true(kit_logged(&w.kit, "a linked actor ended: peer gone"));
	assert_false(has_links(w.tough));
	kit_stop(&w.kit);
}

/* Between two links, for a node in the middle: each hears of the other's side. */
static void in_the_middle(void **unused)
{
	(void)unused;
	struct world w;
	struct qmt_ref second, far, near;

	start(&w);
	second = kit_spawn(&w.kit, &link_desc, NULL);
	far = second;
	far.rid = 5;
	near = w.link;
	near.rid = 9;
	tell(&w, w.link, MAKE, far);
	assert_int_equal(port.made, 0);
	last_seen_is(1, QMT_BOND_MADE, near, 5, 0); /* the second one's */
	tell(&w, w.link, END_FAILED, none);
	last_seen_is(2, QMT_BOND_ENDED, near, 5, QMT_FAIL_FAILED);
	tell(&w, w.link, MAKE, far);
	tell(&w, second, STOP, none);
	last_seen_is(4, QMT_BOND_ENDED, far, 9, QMT_FAIL_PEER_GONE); /* the first one's */
	assert_false(has_links(w.link));
	kit_stop(&w.kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(outwards),
		cmocka_unit_test(ends_inwards),
		cmocka_unit_test(refused),
		cmocka_unit_test(inwards),
		cmocka_unit_test(a_link_of_its_own),
		cmocka_unit_test(the_link_ends),
		cmocka_unit_test(in_the_middle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
