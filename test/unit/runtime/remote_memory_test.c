/* runtime/outgoing, monitor, link, port.h: the Nth allocation fails, for every N, while things are sent to, asked of,
 * monitored and linked with what lies behind a link: what a call returns is what happens, and nothing leaks. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "runtime/names.h"
#include "runtime/port.h"
#include "runtime/slab.h"
#include "runtime/test_kit.h"
#include "test/lib/failing_memory.h"
#include "test/lib/runtime_kit.h"

enum { DOWN_RID = 7, BOND_RID = 8 };

static struct {
	uint64_t tells, asks, bonds, not_kept; /* that came to the link */
	uint64_t taken, asked, refused, answers, undelivered;
	bool monitors, links, bonded;
	uint64_t downs, ends;
	uint64_t bond;
} it;

static void link_out(struct qmt_ctx *ctx, void *state, const struct qmt_outgoing *out)
{
	(void)state;
	if (!out->is_ask) {
		it.tells++;
		return;
	}
	it.asks++;
	if (it.asks % 2)
		qmt_outgoing_refuse(ctx, QMT_FAIL_LINK_BUSY);
	else
		(void)QMT_REPLY(ctx, out->token, kit_answer, .value = 1); /* without memory: the deadline */
}
static int link_bond(struct qmt_ctx *ctx, void *state, const struct qmt_bond *bond)
{
	(void)ctx;
	(void)state;
	it.bonds += bond->event == QMT_BOND_MADE;
	it.not_kept += bond->event == QMT_BOND_ENDED;
	return 0;
}
enum { MAKE = 1, DROP, QUIT };

static void link_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	int rc;

	(void)state;
	switch (poke->value) {
	case MAKE:
		rc = qmt_bond_make(ctx, poke->ref, 9, &it.bond);
		kit_check(rc == 0 || rc == -ENOMEM);
		it.bonded = rc == 0;
		break;
	case DROP:
		qmt_ref_ended(ctx, DOWN_RID);
		break;
	default:
		qmt_stop_self(ctx);
	}
}
static int link_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state;
	(void)config;
	return qmt_register(ctx, "peer/them");
}
static qmt_handler *const link_handlers[kit_message_count] = {[kit_poke_id] = link_poke};
static const struct qmt_actor_desc link_desc =
	KIT_DESC("link", link_handlers, .start = link_start, .outgoing = link_out, .bond = link_bond);

static void answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)ctx, (void)state, (void)arg;
	kit_check(result->fail == 0 || result->fail == QMT_FAIL_DEADLINE || result->fail == QMT_FAIL_LINK_BUSY);
	it.answers++;
}
static void count(int outcome)
{
	kit_check(outcome == 0 || outcome == -ENOMEM);
	it.taken += outcome == 0;
	it.refused += outcome != 0;
}
static void count_ask(int outcome)
{
	kit_check(outcome == 0 || outcome == -ENOMEM);
	it.asked += outcome == 0;
	it.refused += outcome != 0;
}
static void user_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	static char text[3000];
	struct kit_note note = {.text = {text, sizeof(text)}};
	const struct kit_poke *poke = body;
	struct qmt_ref down = poke->ref, bond = poke->ref, all[2];
	int outcomes[2];

	(void)state;
	down.rid = DOWN_RID;
	bond.rid = BOND_RID;
	all[0] = all[1] = bond;
	count(qmt_tell(ctx, bond, &kit_note_type, &note));
	count(qmt_try_tell(ctx, bond, &kit_note_type, &note));
	count(qmt_tell_within(ctx, bond, &kit_note_type, &note, 1000));
	count(qmt_tell_urgent(ctx, bond, &kit_note_type, &note));
	count(qmt_tell_name(ctx, "them", "x", &kit_note_type, &note));
	(void)qmt_tell_all(ctx, all, 2, &kit_note_type, &note, outcomes);
	count(outcomes[0]);
	count(outcomes[1]);
	count_ask(qmt_ask(ctx, bond, &kit_poke_type, poke, 100, answered, NULL));
	count_ask(qmt_ask(ctx, bond, &kit_poke_type, poke, 100, answered, NULL));
	count_ask(qmt_ask_name(ctx, "them", "x", &kit_poke_type, poke, 100, answered, NULL));
	count_ask(qmt_ask_name(ctx, "them", "x", &kit_poke_type, poke, 100, answered, NULL));
	int rc = qmt_monitor(ctx, down);
	kit_check(rc == 0 || rc == -ENOMEM);
	it.monitors = rc == 0;
	rc = qmt_link(ctx, bond);
	kit_check(rc == 0 || rc == -ENOMEM);
	it.links = rc == 0;
}
static void user_down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	(void)ctx, (void)state;
	kit_check(who.rid == DOWN_RID && (reason == QMT_FAIL_NOT_RUNNING || reason == QMT_FAIL_PEER_GONE));
	it.downs++;
}
static bool user_link_died(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	(void)ctx, (void)state;
	kit_check((who.rid == BOND_RID || who.rid == 9) && reason == QMT_FAIL_PEER_GONE);
	it.ends++;
	return true;
}
static void user_undelivered(
	struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body, int reason)
{
	(void)ctx, (void)state, (void)type, (void)body, (void)reason;
	it.undelivered++;
}
static void nothing(struct qmt_ctx *ctx, void *state, void *arg)
{
	(void)ctx, (void)state, (void)arg;
}
/* The heap of timers has room from now on: without, the deadline of an ask is late, and the log says so (timer.c). */
static int user_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state, (void)config;
	return qmt_timer_start(ctx, 1, nothing, NULL, NULL);
}
static qmt_handler *const user_handlers[kit_message_count] = {[kit_poke_id] = user_poke};
static const struct qmt_actor_desc user_desc = KIT_DESC("user", user_handlers, .start = user_start, .down = user_down,
	.link_died = user_link_died, .undelivered = user_undelivered, .remote_links = true);

static struct qmt_kit_faults blocks; /* which block of the slabs fails */

/* One run in which the nth allocation fails, or that of `blocks`. True: none did. */
static bool remote(long n)
{
	struct kit started, *kit = &started;

	kit_start_seeded(kit, 1);

	struct qmt_ref link = kit_spawn(kit, &link_desc, NULL), user = kit_spawn(kit, &user_desc, NULL);
	int told[4];

	memset(&it, 0, sizeof(it));
	qmt_system_run(kit->sys, 5);
	failed = false;
	left = n;
	if (blocks.left) {
		kit->sys->faults = &blocks;
		qmt__slab_count(qmt__sim_ctx(kit->sys->sim));
	}
	told[0] = QMT_TELL(kit->out, user, kit_poke, .ref = link);
	qmt_system_run(kit->sys, 300);
	told[1] = QMT_TELL(kit->out, link, kit_poke, .value = MAKE, .ref = user);
	qmt_system_run(kit->sys, 1);
	told[2] = QMT_TELL(kit->out, link, kit_poke, .value = DROP);
	qmt_system_run(kit->sys, 1);
	if (!told[2])
		assert_int_equal(it.downs, it.monitors); /* before the link ends */
	told[3] = QMT_TELL(kit->out, link, kit_poke, .value = QUIT);
	qmt_system_run(kit->sys, 1);
	left = -1;
	if (kit->sys->faults) {
		kit->sys->faults = NULL;
		qmt__slab_count(qmt__sim_ctx(kit->sys->sim));
	}
	if (told[3])
		assert_int_equal(qmt_stop(kit->out, link), 0);
	qmt_system_run(kit->sys, 5000);
	if (!told[0]) {
		assert_int_equal(it.taken + it.asked + it.refused, 11);
		assert_int_equal(it.tells, it.taken);
		assert_int_equal(it.answers, it.asked);
	}
	assert_int_equal(it.downs, it.monitors); /* told once */
	/* the connection's end is told */
	assert_int_equal(it.ends + it.not_kept, it.links + it.bonded);
	kit_stop(kit);
	return !failed;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static struct {
	uint64_t added, removed, syncs;
	bool said;
	int said_fail;
} mesh;

static void names_out(struct qmt_ctx *ctx, void *state, const struct qmt_outgoing *out)
{
	(void)state;
	mesh.syncs += out->is_ask;
	(void)QMT_REPLY(ctx, out->token, qmt_names_synced, );
}
static void said(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)ctx, (void)state, (void)arg;
	mesh.said = true;
	mesh.said_fail = result->fail;
}
static void say(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct qmt_names_change change = {.at = 1, .name = qmt_str("theirs"), .who = qmt_self(ctx)};
	struct qmt_names_sync sync = {
		.epoch = 5, .sequence = 1, .full = true, .changes = {&change, 1}, .origin = qmt_str("them")};

	(void)state;
	change.who.rid = 3;
	if (qmt_ask(ctx, ((const struct kit_poke *)body)->ref, &qmt_names_sync_type, &sync, 100, said, NULL))
		mesh.said = false;
}
static int names_link_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state, (void)config;
	if (qmt_register(ctx, "peer/them"))
		return -1;
	qmt_peer_up(ctx, "them", true);
	return 0;
}
static qmt_handler *const say_handlers[kit_message_count] = {[kit_poke_id] = say};
static const struct qmt_actor_desc names_link_desc =
	KIT_DESC("link", say_handlers, .start = names_link_start, .outgoing = names_out);

static void on_added(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx, (void)state, (void)body;
	mesh.added++;
}
static void on_removed(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx, (void)state, (void)body;
	mesh.removed++;
}
static qmt_handler *const told_handlers[qmt_names_message_count] = {
	[qmt_names_added_id] = on_added, [qmt_names_removed_id] = on_removed};
static const struct qmt_actor_desc seer_desc = {
	.abi = QMT_ABI, .name = "seer", .accepts = {{&qmt_names_protocol, told_handlers}}};

static bool names(long n)
{
	struct kit started, *kit = &started;
	struct qmt_result result;

	kit_start_seeded(kit, 1);

	struct qmt_ref registry =
		kit_spawn(kit, &qmt_names_desc, &(struct qmt_spawn){.name = "names", .restart = QMT_PERMANENT});
	struct qmt_ref seer = kit_spawn(kit, &seer_desc, NULL), link = kit_spawn(kit, &names_link_desc, NULL);

	memset(&mesh, 0, sizeof(mesh));
	qmt_system_run(kit->sys, 1);
	failed = false;
	left = n;
	int watched = qmt_outside_ask(kit->out, registry, &qmt_names_watch_type,
		&(struct qmt_names_watch){.pattern = qmt_str("**"), .watcher = seer}, 200, &result);
	int named = qmt_outside_ask(kit->out, registry, &qmt_names_register_type,
		&(struct qmt_names_register){.name = qmt_str("ours"), .who = seer}, 200, &result);
	int told = QMT_TELL(kit->out, link, kit_poke, .ref = registry);
	qmt_system_run(kit->sys, 20000);
	left = -1;
	/* whatever was lost meanwhile: what says that it went well is so, and the actor serves on */
	int found = qmt_outside_ask(
		kit->out, registry, &qmt_names_lookup_type, &(struct qmt_names_lookup){.name = qmt_str("ours")}, 200, &result);
	bool restarted = kit_logged(kit, "out of memory");
	if (!named && !restarted)
		assert_int_equal(found, 0);
	found = qmt_outside_ask(kit->out, registry, &qmt_names_lookup_type,
		&(struct qmt_names_lookup){.name = qmt_str("theirs")}, 200, &result);
	if (!told && mesh.said && !mesh.said_fail && !restarted)
		assert_int_equal(found, 0);
	if (!watched && !named && !restarted)
		assert_true(mesh.added >= 1);
	if (!failed) {
		assert_true(!watched && !named && !told && mesh.said && !mesh.said_fail);
		assert_int_equal(mesh.added, 2);
		assert_true(mesh.syncs >= 2);
	}
	/* without memory even for its restart, the runtime has given up: then nothing runs any more, and that is said */
	assert_true(qmt_stop(kit->out, link) == 0 || kit_logged(kit, "out of memory for the restart of names"));
	qmt_system_run(kit->sys, 1);
	assert_int_not_equal(qmt_outside_ask(kit->out, registry, &qmt_names_lookup_type,
							 &(struct qmt_names_lookup){.name = qmt_str("theirs")}, 200, &result),
		0);
	kit_stop(kit);
	return !failed;
}

/* A link of which the actor names cannot be told, for want of memory, ends: a new one is told of. */
static void told_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct qmt_kit_faults none = {.left = 1, .counting = true};

	(void)state, (void)body;
	kit_check(qmt_register(ctx, "peer/them") == 0);
	ctx->sys->faults = &none;
	qmt__slab_count(ctx);
	qmt_peer_up(ctx, "them", true);
	kit_check(none.failed);
	ctx->sys->faults = NULL;
	qmt__slab_count(ctx);
}
static qmt_handler *const told_link_handlers[kit_message_count] = {[kit_poke_id] = told_poke};
static const struct qmt_actor_desc told_link_desc = KIT_DESC("link", told_link_handlers, .outgoing = names_out);

static void peer_up_without_memory(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	memset(&mesh, 0, sizeof(mesh));
	kit_spawn(&kit, &qmt_names_desc, &(struct qmt_spawn){.name = "names", .restart = QMT_PERMANENT});
	struct qmt_ref link = kit_spawn(&kit, &told_link_desc, NULL);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(QMT_TELL(kit.out, link, kit_poke, .value = 0), 0);
	qmt_system_run(kit.sys, 1);
	assert_false(qmt_is_running(link));
	assert_true(kit_logged(&kit, "names cannot be told of this link"));
	assert_int_equal(mesh.syncs, 0);
	kit_spawn(&kit, &names_link_desc, NULL);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(mesh.syncs, 1);
	kit_stop(&kit);
}

/* ---- ------------------------------------------------------------------------------------------------------------- */

static void without_memory(bool (*run)(long n))
{
	long before, change, n = 0;

	assert_true(run(-1)); /* once without, for what libraries keep */
	before = live;
	assert_true(run(-1));
	change = live - before; /* not 0: aligned blocks are counted when they are freed only */
#ifndef SANITIZED
	for (bool all = false; !all; n++) {
		before = live;
		all = run(n);
		if (live - before != change)
			fail_msg("without allocation %ld: %ld blocks are left", n, live - before - change);
	}
	assert_true(n >= 5);
	only_one = true;
	n = 0;
	for (bool all = false; !all; n++) {
		before = live;
		all = run(n);
		if (live - before != change)
			fail_msg("without allocation %ld alone: %ld blocks are left", n, live - before - change);
	}
	only_one = false;
#endif
	(void)change;
	(void)n;
}

static void sends_asks_monitors_links(void **unused)
{
	(void)unused;
	without_memory(remote);
}
/* The same without a message or a record of an ask: also under a sanitizer. */
static void blocks_of_the_slabs(void **unused)
{
	(void)unused;
	uint64_t n = 0;

	for (uint64_t also = 0; also <= 5; also += 5) {
		n = 0;
		do {
			blocks = (struct qmt_kit_faults){.left = ++n, .also = also, .counting = true};
			(void)remote(-1);
		} while (blocks.failed);
		assert_true(n > 20);
	}
	blocks = (struct qmt_kit_faults){0};
}
static void names_of_the_mesh(void **unused)
{
	(void)unused;
	without_memory(names);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sends_asks_monitors_links),
		cmocka_unit_test(blocks_of_the_slabs),
		cmocka_unit_test(names_of_the_mesh),
		cmocka_unit_test(peer_up_without_memory),
	};

	return cmocka_run_group_tests_name("runtime/remote_memory", tests, NULL, NULL);
}
