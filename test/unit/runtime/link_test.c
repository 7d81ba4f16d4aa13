/* runtime/link: linked actors end together, unless one of them says otherwise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/internal.h"
#include "test/lib/runtime_kit.h"

enum { LINK = 1, UNLINK, FAIL, STOP, COUNT };

struct node {
	uint64_t told;
	int reason;
};

static struct qmt_ref partner[2]; /* link to each other in `start` */
static uint64_t starts;

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
		qmt_unlink(ctx, poke->ref);
		break;
	case FAIL:
		qmt_fail(ctx, "told to fail");
		break;
	case STOP:
		qmt_stop_self(ctx);
		break;
	default:
		kit_answer(ctx, node->told * 100 + (uint64_t)node->reason);
	}
}
static bool node_link_died(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	struct node *node = state;

	kit_check(who.actor && !qmt_ref_eq(who, qmt_self(ctx)));
	node->told++;
	node->reason = reason;
	return true;
}
static qmt_handler *const handlers[kit_message_count] = {[kit_poke_id] = node_poke};
static const struct qmt_actor_desc plain_desc = KIT_DESC("plain", handlers, .state_size = sizeof(struct node));
static const struct qmt_actor_desc tough_desc =
	KIT_DESC("tough", handlers, .state_size = sizeof(struct node), .link_died = node_link_died);

static void tell(struct kit *kit, struct qmt_ref to, uint64_t value, struct qmt_ref ref)
{
	assert_int_equal(QMT_TELL(kit->out, to, kit_poke, .value = value, .ref = ref), 0);
	qmt_system_run(kit->sys, 0);
}

static uint64_t told(struct kit *kit, struct qmt_ref node)
{
	uint64_t value;

	assert_int_equal(kit_ask(kit, node, COUNT, 0, &value), 0);
	return value;
}

static const struct qmt_ref none;

/* Both ways: after a failure the other fails, after a wanted end it stops; a whole chain goes; the rest stays. */
static void end_together(void **unused)
{
	(void)unused;
	for (uint64_t i = 0; i < 4; i++) {
		struct qmt_result result;
		struct qmt_ref chain[4];
		struct kit kit;

		kit_start_seeded(&kit, i);
		for (int k = 0; k < 4; k++)
			chain[k] = kit_spawn(&kit, &plain_desc, NULL);
		tell(&kit, chain[0], LINK, chain[1]);
		tell(&kit, chain[2], LINK, chain[1]);
		tell(&kit, chain[i % 2 ? 0 : 2], i < 2 ? FAIL : STOP, none);
		for (int k = 0; k < 3; k++)
			assert_false(qmt_is_running(chain[k]));
		assert_true(qmt_is_running(chain[3]));
		assert_int_equal(kit_logged(&kit, "a linked actor ended: failed"), i < 2);
		assert_int_equal(qmt_outside_await_end(kit.out, chain[0], 0, &result), 0);
		kit_stop(&kit);
	}
}

/* The hook goes on, once for each end, with the reason; what was undone, or had ended before, is told as it should. */
static void the_hook_decides(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref tough = kit_spawn(&kit, &tough_desc, NULL), a = kit_spawn(&kit, &plain_desc, NULL);
	struct qmt_ref b = kit_spawn(&kit, &plain_desc, NULL), c = kit_spawn(&kit, &plain_desc, NULL);
	struct qmt_ref d = kit_spawn(&kit, &plain_desc, NULL), e = kit_spawn(&kit, &plain_desc, NULL);
	tell(&kit, tough, LINK, a);
	tell(&kit, b, LINK, tough);
	tell(&kit, tough, LINK, b); /* that is one, too */
	tell(&kit, tough, LINK, c);
	tell(&kit, tough, LINK, d);
	tell(&kit, e, LINK, tough);
	tell(&kit, a, FAIL, none);
	assert_int_equal(told(&kit, tough), 100 + QMT_FAIL_FAILED);
	tell(&kit, b, STOP, none);
	assert_int_equal(told(&kit, tough), 200);
	assert_int_equal(qmt_kill(kit.out, c), 0);
	qmt_system_run(kit.sys, 0);
	assert_int_equal(told(&kit, tough), 300 + QMT_FAIL_CANCELLED);
	tell(&kit, tough, UNLINK, d);
	tell(&kit, tough, UNLINK, e); /* what the other one made */
	tell(&kit, d, FAIL, none);
	tell(&kit, e, FAIL, none);
	assert_int_equal(told(&kit, tough), 300 + QMT_FAIL_CANCELLED);
	tell(&kit, tough, LINK, a); /* already gone */
	assert_int_equal(told(&kit, tough), 400 + QMT_FAIL_NOT_RUNNING);
	assert_null(actor_ext(tough.actor)->links);
	kit_stop(&kit);

	/* and whom somebody with the hook was linked to goes on when that one is undone on its side */
	kit_start_seeded(&kit, 2);
	a = kit_spawn(&kit, &plain_desc, NULL);
	b = kit_spawn(&kit, &plain_desc, NULL);
	tell(&kit, a, LINK, b);
	tell(&kit, a, UNLINK, b);
	tell(&kit, a, FAIL, none);
	assert_true(qmt_is_running(b));
	assert_null(actor_ext(b.actor)->links);
	/* who links with one that is gone ends */
	tell(&kit, b, LINK, a);
	assert_false(qmt_is_running(b));
	kit_stop(&kit);
}

/* What is refused: oneself, nobody, from outside, and one behind a link to a peer. */
static void refusing_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct qmt_ref far = ((const struct kit_poke *)body)->ref;

	(void)state;
	far.rid = 7;
	kit_answer(
		ctx, qmt_link(ctx, qmt_self(ctx)) < 0 && qmt_link(ctx, none) < 0 && qmt_link(ctx, far) == QMT_FAIL_NO_ROUTE);
}

static void refused(void **unused)
{
	(void)unused;
	static qmt_handler *const refusing[kit_message_count] = {[kit_poke_id] = refusing_poke};
	static const struct qmt_actor_desc desc = KIT_DESC("refusing", refusing);
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref one = kit_spawn(&kit, &desc, NULL), other = kit_spawn(&kit, &desc, NULL);
	const struct kit_poke poke = {.ref = other};
	struct qmt_result result;
	assert_true(qmt_link(kit.out, one) < 0);
	qmt_unlink(kit.out, one);
	assert_int_equal(qmt_outside_ask(kit.out, one, &kit_poke_type, &poke, 0, &result), 0);
	assert_int_equal(((const struct kit_answer *)result.body)->value, 1);
	kit_stop(&kit);
}

/* ---- restarts ---------------------------------------------------------------------------------------------------- */

static int pair_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	const struct qmt_ref *other = config;

	(void)state;
	starts++;
	return other->actor ? qmt_link(ctx, *other) : 0;
}
static const struct qmt_actor_desc pair_desc =
	KIT_DESC("pair", handlers, .state_size = sizeof(struct node), .start = pair_start);

/* A link is of two incarnations: both are restarted, once each, and link again; an old link's end does not reach the
 * new incarnation. Many schedules. */
static void a_pair_is_restarted(void **unused)
{
	(void)unused;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct kit kit;

		kit_start_seeded(&kit, seed);
		memset(partner, 0, sizeof partner);
		starts = 0;
		struct qmt_ref a =
			kit_spawn(&kit, &pair_desc, &(struct qmt_spawn){.restart = QMT_PERMANENT, .config = &partner[1]});
		struct qmt_ref b =
			kit_spawn(&kit, &pair_desc, &(struct qmt_spawn){.restart = QMT_PERMANENT, .config = &partner[0]});
		qmt_system_run(kit.sys, 0);
		tell(&kit, a, LINK, b);
		for (uint64_t i = 0; i < 2; i++) {
			tell(&kit, i ? b : a, FAIL, none);
			assert_int_equal(starts, 4 + 2 * i);
			tell(&kit, b, LINK, a);
		}
		assert_true(qmt_is_running(a) && qmt_is_running(b));
		kit_stop(&kit);

		/* linking in `start`: one of the two that come back may come too early, but they settle */
		kit_start_seeded(&kit, seed);
		starts = 0;
		a = kit_spawn(&kit, &pair_desc, &(struct qmt_spawn){.restart = QMT_PERMANENT, .config = &partner[1]});
		partner[0] = a;
		b = kit_spawn(&kit, &pair_desc, &(struct qmt_spawn){.restart = QMT_PERMANENT, .config = &partner[0]});
		qmt_system_run(kit.sys, 0);
		tell(&kit, a, FAIL, none);
		assert_true(qmt_is_running(a) && qmt_is_running(b));
		assert_in_range(starts, 4, 6);
		assert_non_null(actor_ext(a.actor)->links);
		assert_non_null(actor_ext(b.actor)->links);
		kit_stop(&kit);
	}
}

static const struct qmt_actor_desc *nest_kind;
static struct qmt_ref nestling;

static void nest_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state, (void)body;
	kit_check(qmt_spawn(ctx, nest_kind, &(struct qmt_spawn){.restart = QMT_PERMANENT}, &nestling, NULL) == 0);
}
static qmt_handler *const nest_handlers[kit_message_count] = {[kit_poke_id] = nest_poke};
static const struct qmt_actor_desc nest_desc = KIT_DESC("nest", nest_handlers, .supervision = {.backoff_ms = 1000});

/* Who is linked while it waits for its restart is linked for its next incarnation: also when the other one ends before
 * that begins. One with the hook is told, one without ends as well; what was undone meanwhile is nobody's concern. */
static void the_other_ends_before_the_restart(void **unused)
{
	(void)unused;
	static const struct qmt_actor_desc *const kinds[] = {&plain_desc, &tough_desc};

	for (uint64_t how = 0; how < 6; how++) {
		struct kit kit;

		kit_start_seeded(&kit, how);
		struct qmt_ref parent = kit_spawn(&kit, &nest_desc, NULL);
		nest_kind = kinds[how % 2];
		tell(&kit, parent, LINK, none);
		struct qmt_ref down = nestling, other = kit_spawn(&kit, &tough_desc, NULL);
		tell(&kit, down, FAIL, none);
		assert_int_equal(down.actor->status, STATUS_RESTARTING);
		tell(&kit, other, LINK, down);
		assert_non_null(actor_ext(down.actor)->links);
		if (how >= 4)
			tell(&kit, other, UNLINK, down);
		tell(&kit, other, how < 2 ? FAIL : STOP, none);
		assert_int_equal(down.actor->status, STATUS_RESTARTING);
		qmt_system_run(kit.sys, 200000);
		/* restarted for its failure; one without the hook ends at once, and is restarted if it is for that, too */
		assert_true(qmt_is_running(down));
		assert_int_equal(actor_restarts(down.actor), how % 2 || how >= 4 ? 1 : 2);
		if (how % 2)
			assert_int_equal(told(&kit, down), how >= 4 ? 0 : 100 + (how < 2 ? QMT_FAIL_FAILED : 0));
		assert_null(actor_ext(down.actor)->links);
		kit_stop(&kit);
	}
}

/* On threads: rings of linked actors, one of which is killed; each ring goes as a whole, no other. */
static struct kit_latch stopped = KIT_LATCH;

static void ring_stop(struct qmt_ctx *ctx, void *state)
{
	(void)ctx;
	(void)state;
	kit_latch_add(&stopped, 1);
}
static const struct qmt_actor_desc ring_desc =
	KIT_DESC("ring", handlers, .state_size = sizeof(struct node), .stop = ring_stop);

static void on_threads(void **unused)
{
	(void)unused;
	enum { RINGS = 50, SIZE = 10 };
	struct qmt_ref ring[RINGS][SIZE];
	struct kit kit;

	kit_latch_reset(&stopped);
	kit_start(&kit, 4);
	for (int r = 0; r < RINGS; r++)
		for (int i = 0; i < SIZE; i++)
			ring[r][i] = kit_spawn(&kit, &ring_desc, NULL);
	for (int r = 0; r < RINGS; r++)
		for (int i = 0; i < SIZE; i++)
			assert_int_equal(QMT_TELL(kit.out, ring[r][i], kit_poke, .value = LINK, .ref = ring[r][(i + 1) % SIZE]), 0);
	for (int r = 0; r < RINGS; r++)
		for (int i = 0; i < SIZE; i++)
			told(&kit, ring[r][i]);
	for (int r = 0; r < RINGS; r += 2)
		assert_int_equal(qmt_kill(kit.out, ring[r][r % SIZE]), 0);
	kit_latch_wait(&stopped, RINGS / 2 * SIZE);
	for (int r = 0; r < RINGS; r++)
		for (int i = 0; i < SIZE; i++)
			if (r % 2)
				told(&kit, ring[r][i]);
			else
				kit_wait_gone(&kit, ring[r][i]);
	assert_int_equal(kit_latch_count(&stopped), RINGS / 2 * SIZE);
	kit_stop(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(end_together),
		cmocka_unit_test(the_hook_decides),
		cmocka_unit_test(refused),
		cmocka_unit_test(a_pair_is_restarted),
		cmocka_unit_test(the_other_ends_before_the_restart),
		cmocka_unit_test(on_threads),
	};

	return cmocka_run_group_tests_name("runtime/link", tests, NULL, NULL);
}
