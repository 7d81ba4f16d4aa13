/* runtime/names: who is registered is found, here and at peers; watchers hear each change once; a peer writes its own
 * names and no other. The peer here is a link that the test plays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/names.h"
#include "runtime/port.h"
#include "test/lib/runtime_kit.h"

/* ---- a link, and the peer behind it ------------------------------------------------------------------------------ */

enum { MAX_CHANGES = 64 };

struct change {
	uint64_t at, gone;
	char name[140];
	struct qmt_ref who;
};

/* What this node told that peer last, and how the peer answers. */
struct side {
	struct qmt_ref link;
	char peer[32];
	bool shares;
	uint64_t syncs;
	struct qmt_names_sync last;
	struct change changes[MAX_CHANGES];
	int answers; /* 0: took it; -1: want_full; -2: never; else a failure */
	/* what it said, and what came of it */
	int said;
	bool said_want_full;
	char said_text[200];
};
static struct side sides[2];

struct saying {
	struct qmt_names_sync sync;
	struct qmt_names_change changes[MAX_CHANGES];
};
static struct saying saying;

static void side_out(struct qmt_ctx *ctx, void *state, const struct qmt_outgoing *out)
{
	struct side *side = *(struct side **)state;
	const struct qmt_names_sync *sync = out->body;

	kit_check(out->type == &qmt_names_sync_type && out->is_ask && qmt_str_is(out->to_name, "names"));
	side->syncs++;
	side->last = *sync;
	kit_check(sync->changes.count <= MAX_CHANGES);
	for (uint32_t i = 0; i < sync->changes.count; i++) {
		const struct qmt_names_change *from = &sync->changes.items[i];

		side->changes[i] = (struct change){.at = from->at, .gone = from->gone, .who = from->who};
		(void)snprintf(side->changes[i].name, sizeof(side->changes[i].name), "%.*s", QMT_STR_ARG(from->name));
	}
	if (side->answers > 0)
		(void)qmt_reply_fail(ctx, out->token, side->answers, NULL, 0, "as the test says");
	else if (side->answers > -2)
		(void)QMT_REPLY(ctx, out->token, qmt_names_synced, .want_full = side->answers == -1);
}
static void side_answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct side *side = *(struct side **)state;

	(void)ctx;
	(void)arg;
	side->said = result->fail;
	side->said_want_full = !result->fail && ((const struct qmt_names_synced *)result->body)->want_full;
	(void)snprintf(side->said_text, sizeof(side->said_text), "%.*s", QMT_STR_ARG(result->text));
}
enum { SAY = 1, QUIT };

static void side_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct side *side = *(struct side **)state;
	struct qmt_ref names;

	if (((const struct kit_poke *)body)->value == QUIT) {
		qmt_stop_self(ctx);
		return;
	}
	kit_check(qmt_lookup(ctx, "names", &names) == 0);
	side->said = -100;
	saying.sync.changes.items = saying.changes;
	saying.sync.origin = qmt_str(side->peer);
	kit_check(qmt_ask(ctx, names, &qmt_names_sync_type, &saying.sync, 0, side_answered, NULL) == 0);
}
static int side_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct side *side = *(struct side *const *)config;
	char name[40];

	*(struct side **)state = side;
	(void)snprintf(name, sizeof(name), "peer/%s", side->peer);
	side->link = qmt_self(ctx);
	if (qmt_register_over(ctx, name, (struct qmt_ref){0}))
		return -1;
	qmt_peer_up(ctx, side->peer, side->shares);
	return 0;
}
static qmt_handler *const side_handlers[kit_message_count] = {[kit_poke_id] = side_poke};
static const struct qmt_actor_desc side_desc =
	KIT_DESC("side", side_handlers, .state_size = sizeof(void *), .start = side_start, .outgoing = side_out);

/* ---- actors that are named, and watch ---------------------------------------------------------------------------- */

static struct {
	char log[4000]; /* "+name@peer", "-name@peer", "up:peer", "down:peer", "lost" */
} watcher;

static void note(const char *sign, struct qmt_str name, struct qmt_str peer)
{
	size_t len = strlen(watcher.log);

	(void)snprintf(watcher.log + len, sizeof(watcher.log) - len, "%s%.*s%s%.*s ", sign, QMT_STR_ARG(name),
		name.len ? "@" : "", QMT_STR_ARG(peer));
}
static void on_added(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_names_added *msg = body;

	(void)ctx, (void)state;
	kit_check(qmt_str_is(msg->scope, QMT_NAMES_SCOPE) && msg->who.actor);
	note("+", msg->name, msg->peer);
}
static void on_removed(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_names_removed *msg = body;

	(void)ctx, (void)state;
	note("-", msg->name, msg->peer);
}
static void on_lost(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx, (void)state, (void)body;
	note("lost", (struct qmt_str){0}, (struct qmt_str){0});
}
static void on_up(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_names_peer_up *msg = body;

	(void)ctx, (void)state;
	note("up:", (struct qmt_str){0}, msg->peer);
}
static void on_down(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_names_peer_down *msg = body;

	(void)ctx, (void)state;
	note("down:", (struct qmt_str){0}, msg->peer);
}
enum { FAIL = 1, END, HOLD, HELD_MS = 5000 };

static void let_go(struct qmt_ctx *ctx, void *state, void *arg)
{
	(void)state, (void)arg;
	qmt_hold(ctx, false);
}
static void any_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	switch (((const struct kit_poke *)body)->value) {
	case FAIL:
		qmt_fail(ctx, "told to fail");
		break;
	case END:
		qmt_stop_self(ctx);
		break;
	case HOLD:
		qmt_hold(ctx, true);
		kit_check(qmt_timer_start(ctx, HELD_MS, let_go, NULL, NULL) == 0);
		break;
	default:
		break;
	}
}
static qmt_handler *const any_handlers[kit_message_count] = {[kit_poke_id] = any_poke};
static qmt_handler *const watch_handlers[qmt_names_message_count] = {
	[qmt_names_added_id] = on_added,
	[qmt_names_removed_id] = on_removed,
	[qmt_names_lost_id] = on_lost,
	[qmt_names_peer_up_id] = on_up,
	[qmt_names_peer_down_id] = on_down,
};
static const struct qmt_actor_desc any_desc = {
	.abi = QMT_ABI, .name = "any", .accepts = {{&kit_protocol, any_handlers}, {&qmt_names_protocol, watch_handlers}}};
static const struct qmt_actor_desc narrow_desc = {.abi = QMT_ABI,
	.name = "narrow",
	.bound = 4,
	.overflow = QMT_REFUSE,
	.accepts = {{&kit_protocol, any_handlers}, {&qmt_names_protocol, watch_handlers}}};

/* ---- a node ------------------------------------------------------------------------------------------------------ */

struct world {
	struct kit kit;
	struct qmt_ref names, a, b, seer;
};

static void start_with(struct world *w, const struct qmt_param_value *params)
{
	memset(sides, 0, sizeof(sides));
	memset(&watcher, 0, sizeof(watcher));
	memset(&saying, 0, sizeof(saying));
	kit_start_seeded(&w->kit, 1);
	w->names = kit_spawn(
		&w->kit, &qmt_names_desc, &(struct qmt_spawn){.name = "names", .params = params, .restart = QMT_PERMANENT});
	w->a = kit_spawn(&w->kit, &any_desc, &(struct qmt_spawn){.restart = QMT_PERMANENT});
	w->b = kit_spawn(&w->kit, &any_desc, NULL);
	w->seer = kit_spawn(&w->kit, &any_desc, NULL);
	qmt_system_run(w->kit.sys, 0);
}
static void start(struct world *w)
{
	start_with(w, NULL);
}

static struct side *side_up(struct world *w, int i, const char *peer, bool shares)
{
	struct side *side = &sides[i];

	(void)snprintf(side->peer, sizeof(side->peer), "%s", peer);
	side->shares = shares;
	struct side **config = &(struct side *){side};
	(void)kit_spawn(&w->kit, &side_desc, &(struct qmt_spawn){.config = config, .restart = QMT_TEMPORARY});
	qmt_system_run(w->kit.sys, 0);
	return side;
}
static void poke(struct world *w, struct qmt_ref who, uint64_t value)
{
	assert_int_equal(QMT_TELL(w->kit.out, who, kit_poke, .value = value), 0);
	qmt_system_run(w->kit.sys, 0);
}
#define ASK(w, result, msg, ...) \
	qmt_outside_ask((w)->kit.out, (w)->names, &msg##_type, &(struct msg){__VA_ARGS__}, 0, result)
static int name_it(struct world *w, const char *name, struct qmt_ref who)
{
	struct qmt_result result;
	int fail = ASK(w, &result, qmt_names_register, .name = qmt_str(name), .who = who);

	qmt_system_run(w->kit.sys, 0);
	return fail;
}
static int unname_it(struct world *w, const char *name, struct qmt_ref who)
{
	struct qmt_result result;
	int fail = ASK(w, &result, qmt_names_unregister, .name = qmt_str(name), .who = who);

	qmt_system_run(w->kit.sys, 0);
	return fail;
}
static void watch(struct world *w, const char *pattern, struct qmt_ref who)
{
	struct qmt_result result;

	assert_int_equal(ASK(w, &result, qmt_names_watch, .pattern = qmt_str(pattern), .watcher = who), 0);
	qmt_system_run(w->kit.sys, 0);
}
/* What was seen since the last call. */
static void saw(const char *expected)
{
	assert_string_equal(watcher.log, expected);
	watcher.log[0] = '\0';
}
static bool found(struct world *w, const char *name, struct qmt_ref who)
{
	struct qmt_result result;
	int fail = ASK(w, &result, qmt_names_lookup, .name = qmt_str(name));

	if (fail)
		assert_int_equal(fail, QMT_FAIL_UNKNOWN_ACTOR);
	return !fail && qmt_ref_eq(((const struct qmt_names_entry *)result.body)->who, who);
}
static uint32_t found_all(struct world *w, const char *pattern, char *ret_text, size_t room)
{
	struct qmt_result result;
	const struct qmt_names_all *all;
	size_t len = 0;

	assert_int_equal(ASK(w, &result, qmt_names_lookup_all, .pattern = qmt_str(pattern)), 0);
	all = result.body;
	ret_text[0] = '\0';
	for (uint32_t i = 0; i < all->entries.count; i++)
		len += (size_t)snprintf(ret_text + len, room - len, "%.*s@%.*s ", QMT_STR_ARG(all->entries.items[i].name),
			QMT_STR_ARG(all->entries.items[i].peer));
	return all->entries.count;
}
/* The peer's set, or changes; each "name" becomes an entry of its own, "-N" the end of key N. */
static void say(struct world *w, struct side *side, bool full, uint64_t epoch, uint64_t base, const char *const *names)
{
	uint32_t count = 0;

	saying.sync = (struct qmt_names_sync){.epoch = epoch, .base = base, .full = full};
	for (; names[count]; count++) {
		struct qmt_names_change *change = &saying.changes[count];

		*change = (struct qmt_names_change){.at = base + count + 1};
		if (names[count][0] == '-') {
			change->gone = strtoull(names[count] + 1, NULL, 10);
			continue;
		}
		change->name = qmt_str(names[count]);
		change->who = side->link;
		change->who.rid = (uint32_t)(change->at + 10);
	}
	saying.sync.sequence = base + count;
	saying.sync.changes.count = count;
	poke(w, side->link, SAY);
}
static void say_again(struct world *w, struct side *side)
{
	poke(w, side->link, SAY);
}
#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- cases ------------------------------------------------------------------------------------------------------- */

/* Here: found exactly, by order of registering, by pattern; twice is once; kept over a restart, gone with the actor. */
static void at_home(void **unused)
{
	(void)unused;
	struct world w;
	char text[200];

	start(&w);
	assert_false(found(&w, "db", w.a));
	assert_int_equal(name_it(&w, "db", w.b), 0);
	assert_int_equal(name_it(&w, "db", w.a), 0);
	assert_int_equal(name_it(&w, "db", w.a), 0);
	assert_int_equal(name_it(&w, "lab/gpu/1", w.a), 0);
	assert_true(found(&w, "db", w.b));
	assert_false(found(&w, "d", w.b));
	assert_int_equal(found_all(&w, "**", text, sizeof(text)), 3);
	assert_string_equal(text, "db@ db@ lab/gpu/1@ ");
	assert_int_equal(found_all(&w, "lab/*/1", text, sizeof(text)), 1);
	assert_int_equal(found_all(&w, "nothing", text, sizeof(text)), 0);
	poke(&w, w.a, FAIL);
	assert_int_equal(found_all(&w, "**", text, sizeof(text)), 3);
	poke(&w, w.b, END);
	assert_true(found(&w, "db", w.a));
	assert_int_equal(unname_it(&w, "db", w.a), 0);
	assert_int_equal(unname_it(&w, "db", w.a), QMT_FAIL_NOT_FOUND);
	assert_false(found(&w, "db", w.a));
	assert_true(found(&w, "lab/gpu/1", w.a));
	kit_stop(&w.kit);
}

/* What is no name, nobody, or an actor of another node is refused; so is one over the limit. */
static void refused_here(void **unused)
{
	(void)unused;
	static const struct qmt_param_value params[] = {{"names_max", "2"}, {"watches_max", "1"}, {NULL, NULL}};
	char long_name[QMT_NAMES_TEXT_MAX + 2];
	struct qmt_result result;
	struct world w;
	struct qmt_ref far;

	start_with(&w, params);
	memset(long_name, 'x', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(name_it(&w, "", w.a), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(name_it(&w, "a//b", w.a), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(name_it(&w, "a/*", w.a), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(name_it(&w, long_name, w.a), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(name_it(&w, long_name + 1, w.a), 0);
	far = w.b;
	far.rid = 4;
	assert_int_equal(name_it(&w, "far", far), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(name_it(&w, "nobody", (struct qmt_ref){0}), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(
		ASK(&w, &result, qmt_names_register, .name = qmt_str("x"), .scope = qmt_str(long_name), .who = w.a),
		QMT_FAIL_BAD_REQUEST);
	assert_int_equal(name_it(&w, "two", w.a), 0);
	assert_int_equal(name_it(&w, "three", w.a), QMT_FAIL_FULL);
	assert_int_equal(ASK(&w, &result, qmt_names_lookup_all, .pattern = qmt_str("a**")), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(
		ASK(&w, &result, qmt_names_watch, .pattern = qmt_str("/"), .watcher = w.seer), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(ASK(&w, &result, qmt_names_watch, .pattern = qmt_str("**")), QMT_FAIL_BAD_REQUEST);
	watch(&w, "**", w.seer);
	watch(&w, "**", w.seer);
	assert_int_equal(ASK(&w, &result, qmt_names_watch, .pattern = qmt_str("x"), .watcher = w.seer), QMT_FAIL_FULL);
	assert_int_equal(ASK(&w, &result, qmt_names_watch_peers, .watcher = w.seer), QMT_FAIL_FULL);
	assert_int_equal(
		ASK(&w, &result, qmt_names_unwatch, .watcher = w.seer, .pattern = qmt_str("x")), QMT_FAIL_NOT_FOUND);
	assert_int_equal(ASK(&w, &result, qmt_names_unwatch, .watcher = w.seer), 0);
	kit_stop(&w.kit);
}

/* A watcher gets what is there, then each change once, of its pattern only; none when it has ended its watch. */
static void watched(void **unused)
{
	(void)unused;
	struct qmt_result result;
	struct world w;

	start(&w);
	assert_int_equal(name_it(&w, "lab/1", w.a), 0);
	assert_int_equal(name_it(&w, "yard/1", w.a), 0);
	watch(&w, "lab/*", w.seer);
	saw("+lab/1@ ");
	assert_int_equal(name_it(&w, "lab/2", w.b), 0);
	assert_int_equal(name_it(&w, "lab/2", w.b), 0);
	assert_int_equal(name_it(&w, "lab", w.b), 0);
	saw("+lab/2@ ");
	poke(&w, w.a, FAIL);
	saw("");
	poke(&w, w.b, END);
	saw("-lab/2@ ");
	struct side *side = side_up(&w, 0, "P", true);
	say(&w, side, true, 7, 0, NAMES("lab/3", "yard/3"));
	saw("+lab/3@P ");
	assert_int_equal(ASK(&w, &result, qmt_names_unwatch, .watcher = w.seer, .pattern = qmt_str("lab/*")), 0);
	assert_int_equal(unname_it(&w, "lab/1", w.a), 0);
	saw("");
	kit_stop(&w.kit);
}

/* A watcher at its bound is not waited for: it is told that it lost something, then all that is there. */
static void slow_watcher(void **unused)
{
	(void)unused;
	struct world w;
	struct qmt_ref narrow;
	char name[20];

	start(&w);
	narrow = kit_spawn(&w.kit, &narrow_desc, NULL);
	watch(&w, "**", narrow);
	poke(&w, narrow, HOLD);
	for (int i = 0; i < 6; i++) {
		(void)snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(name_it(&w, name, w.a), 0);
	}
	saw("");
	for (int i = 0; i < 5; i++) {
		(void)snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(unname_it(&w, name, w.a), 0);
	}
	qmt_system_run(w.kit.sys, HELD_MS - 1); /* it still has no room */
	saw("");
	qmt_system_run(w.kit.sys, HELD_MS);
	saw("+n0@ +n1@ +n2@ +n3@ lost +n5@ ");
	assert_int_equal(name_it(&w, "n6", w.b), 0);
	saw("+n6@ ");
	kit_stop(&w.kit);
}

/* A peer gets the whole set when its link is there, then what changed, once each; several changes while it takes one
 * are one message; whoever wants all gets all. */
static void told_to_a_peer(void **unused)
{
	(void)unused;
	struct qmt_result result;
	struct world w;

	start(&w);
	assert_int_equal(name_it(&w, "one", w.a), 0);
	assert_int_equal(
		ASK(&w, &result, qmt_names_register, .name = qmt_str("mine"), .scope = qmt_str("x:private"), .who = w.a), 0);
	struct side *side = side_up(&w, 0, "P", true);
	assert_int_equal(side->syncs, 1);
	assert_true(side->last.full && side->last.epoch && side->last.changes.count == 1);
	assert_string_equal(side->changes[0].name, "one");
	assert_true(qmt_ref_eq(side->changes[0].who, w.a));
	assert_int_equal(name_it(&w, "two", w.b), 0);
	assert_int_equal(side->syncs, 2);
	assert_false(side->last.full);
	assert_int_equal(side->last.base, 2);
	assert_int_equal(side->last.sequence, 3);
	assert_string_equal(side->changes[0].name, "two");
	side->answers = -2; /* it is slow */
	poke(&w, w.b, END);
	assert_int_equal(side->syncs, 3);
	assert_int_equal(side->changes[0].gone, 3);
	assert_int_equal(name_it(&w, "three", w.a), 0);
	assert_int_equal(name_it(&w, "four", w.a), 0);
	assert_int_equal(side->syncs, 3);
	side->answers = 0;
	qmt_system_run(w.kit.sys, 20000); /* the ask's deadline, and the wait */
	assert_int_equal(side->syncs, 4);
	assert_true(side->last.full);
	assert_int_equal(side->last.changes.count, 3);
	side->answers = -1; /* it lost something */
	assert_int_equal(name_it(&w, "five", w.a), 0);
	assert_int_equal(side->syncs, 5);
	side->answers = 0;
	qmt_system_run(w.kit.sys, 20000);
	assert_int_equal(side->syncs, 6);
	assert_true(side->last.full);
	assert_int_equal(side->last.changes.count, 4);
	qmt_system_run(w.kit.sys, 3600000); /* and nothing more: an idle mesh is silent */
	assert_int_equal(side->syncs, 6);
	kit_stop(&w.kit);
}

/* A peer that does not take names is left alone until it says something; one that fails is tried rarer and rarer; one
 * that this node does not name is told nothing. */
static void not_taken(void **unused)
{
	(void)unused;
	struct world w;

	start(&w);
	sides[0].answers = QMT_FAIL_NOT_ALLOWED;
	struct side *side = side_up(&w, 0, "P", true);
	assert_int_equal(side->syncs, 1);
	assert_int_equal(name_it(&w, "one", w.a), 0);
	qmt_system_run(w.kit.sys, 3600000);
	assert_int_equal(side->syncs, 1);
	side->answers = QMT_FAIL_BAD_REQUEST;
	say(&w, side, true, 7, 0, NAMES("theirs"));
	assert_int_equal(side->said, 0);
	assert_int_equal(side->syncs, 2);
	qmt_system_run(w.kit.sys, 10000);
	assert_true(side->syncs >= 5 && side->syncs <= 6); /* after 1, 2, 4 seconds */
	side->answers = 0;
	qmt_system_run(w.kit.sys, 64000);
	uint64_t syncs = side->syncs;
	qmt_system_run(w.kit.sys, 3600000);
	assert_int_equal(side->syncs, syncs);
	struct side *stranger = side_up(&w, 1, "S", false);
	assert_int_equal(name_it(&w, "two", w.a), 0);
	assert_int_equal(stranger->syncs, 0);
	kit_stop(&w.kit);
}

/* Several nodes have a name: own node first, then by PeerId. What a peer says is gone with its link, and only that. */
static void from_peers(void **unused)
{
	(void)unused;
	struct world w;
	char text[300];

	start(&w);
	watch(&w, "**", w.seer);
	struct side *q = side_up(&w, 0, "Q", true), *p = side_up(&w, 1, "P", true);
	say(&w, q, true, 7, 0, NAMES("db", "web"));
	say(&w, p, true, 9, 0, NAMES("x", "db"));
	saw("+db@Q +web@Q +x@P +db@P ");
	struct qmt_ref at_p = p->link, at_q = q->link;
	at_p.rid = 12;
	at_q.rid = 11;
	assert_true(found(&w, "db", at_p));
	assert_int_equal(name_it(&w, "db", w.a), 0);
	assert_true(found(&w, "db", w.a));
	assert_int_equal(found_all(&w, "db", text, sizeof(text)), 3);
	assert_string_equal(text, "db@ db@P db@Q ");
	say(&w, p, false, 9, 2, NAMES("-2", "new"));
	saw("+db@ -db@P +new@P ");
	assert_int_equal(unname_it(&w, "db", w.a), 0);
	assert_true(found(&w, "db", at_q));
	saw("-db@ ");
	poke(&w, q->link, QUIT);
	saw("-db@Q -web@Q ");
	assert_int_equal(found_all(&w, "**", text, sizeof(text)), 2);
	kit_stop(&w.kit);
}

/* A gap, another start of the peer's actor, or another link: it is asked for the whole set. What is in the next whole
 * set as before is not told again. */
static void gaps(void **unused)
{
	(void)unused;
	struct world w;

	start(&w);
	watch(&w, "**", w.seer);
	struct side *p = side_up(&w, 0, "P", true);
	say(&w, p, false, 9, 3, NAMES("early")); /* nothing is known of it */
	assert_true(p->said_want_full);
	say(&w, p, true, 9, 0, NAMES("a", "b", "c"));
	assert_true(p->said == 0 && !p->said_want_full);
	saw("+a@P +b@P +c@P ");
	say(&w, p, false, 9, 4, NAMES("gap"));
	assert_true(p->said_want_full);
	say(&w, p, false, 9, 2, NAMES("back"));
	assert_true(p->said_want_full);
	say(&w, p, false, 8, 3, NAMES("other"));
	assert_true(p->said_want_full);
	say(&w, p, true, 9, 0, NAMES("a", "b", "c", "d"));
	saw("+d@P ");
	uint64_t syncs = p->syncs;
	say(&w, p, true, 10, 0, NAMES("a")); /* started anew: what this node told it is lost */
	saw("-a@P -b@P -c@P -d@P +a@P ");
	assert_int_equal(p->syncs, syncs + 1);
	assert_true(p->last.full);
	kit_stop(&w.kit);
}

/* A lie is refused as a whole, said once, and changes nothing: neither of the liar nor of anybody else. */
static void lies(void **unused)
{
	(void)unused;
	static const struct qmt_param_value params[] = {{"peer_names_max", "5"}, {NULL, NULL}};
	char long_name[QMT_NAMES_TEXT_MAX + 2];
	struct world w;

	start_with(&w, params);
	struct side *p = side_up(&w, 0, "P", true), *q = side_up(&w, 1, "Q", true);
	say(&w, q, true, 1, 0, NAMES("theirs"));
	say(&w, p, true, 9, 0, NAMES("a", "b"));
	watch(&w, "**", w.seer);
	saw("+a@P +b@P +theirs@Q ");
	struct qmt_names_change *second = &saying.changes[1];
	for (int lie = 0; lie < 11; lie++) {
		uint64_t base = 2;
		const char *words = "";

		/* a good one, of which one thing is changed */
		saying.sync = (struct qmt_names_sync){.epoch = 9, .base = base, .sequence = 4, .changes.count = 2};
		for (uint32_t i = 0; i < 2; i++) {
			saying.changes[i] = (struct qmt_names_change){.at = 3 + i, .name = qmt_str(i ? "d" : "c"), .who = p->link};
			saying.changes[i].who.rid = 50 + i;
		}
		switch (lie) {
		case 0:
			second->who = q->link, second->who.rid = 11, words = "not the peer's own"; /* of another node */
			break;
		case 1:
			second->who = w.a, words = "not the peer's own"; /* of this node */
			break;
		case 2:
			second->who = (struct qmt_ref){0}, words = "not the peer's own";
			break;
		case 3:
			second->at = 3, words = "not in order"; /* twice */
			break;
		case 4:
			second->at = 5, words = "not in order"; /* beyond the last */
			break;
		case 5:
			second->name = qmt_str("a/*"), words = "a name that is none";
			break;
		case 6:
			memset(long_name, 'x', sizeof(long_name));
			second->name = qmt_strn(long_name, sizeof(long_name)), words = "a name that is none";
			break;
		case 7:
			second->scope = qmt_str("other:mesh"), words = "scope";
			break;
		case 8:
			saying.sync.epoch = 0, saying.sync.full = true, saying.sync.base = 0, words = "cannot be";
			break;
		case 9:
			second->gone = 99, words = "not in order"; /* of what is to come */
			break;
		default: /* too many */
			saying.sync.full = true;
			saying.sync.base = 0;
			saying.sync.sequence = saying.sync.changes.count = 6;
			for (uint32_t i = 0; i < 6; i++) {
				saying.changes[i] = (struct qmt_names_change){.at = 1 + i, .name = qmt_str("n"), .who = p->link};
				saying.changes[i].who.rid = 50 + i;
			}
			words = "may have 5";
		}
		say_again(&w, p);
		assert_int_equal(p->said, QMT_FAIL_BAD_REQUEST);
		if (!strstr(p->said_text, words))
			fail_msg("lie %d: %s", lie, p->said_text);
		saw("");
	}
	assert_true(kit_logged(&w.kit, "names.hostile"));
	say(&w, p, false, 9, 2, NAMES("c", "d")); /* the truth is taken as ever */
	assert_int_equal(p->said, 0);
	saw("+c@P +d@P ");
	kit_stop(&w.kit);
}

/* A peer at its limit may put a new name in the place of one that ends, in one message; an end counts once. */
static void at_the_limit(void **unused)
{
	(void)unused;
	static const struct qmt_param_value params[] = {{"peer_names_max", "5"}, {NULL, NULL}};
	struct world w;

	start_with(&w, params);
	struct side *p = side_up(&w, 0, "P", true);
	watch(&w, "**", w.seer);
	say(&w, p, true, 9, 0, NAMES("a", "b", "c", "d", "e"));
	saw("+a@P +b@P +c@P +d@P +e@P ");
	say(&w, p, false, 9, 5, NAMES("-1", "f"));
	assert_int_equal(p->said, 0);
	saw("-a@P +f@P ");
	say(&w, p, false, 9, 7, NAMES("-2", "-2", "g", "h"));
	assert_int_equal(p->said, QMT_FAIL_BAD_REQUEST);
	saw("");
	say(&w, p, false, 9, 7, NAMES("-2", "g")); /* what was refused has left no mark */
	assert_int_equal(p->said, 0);
	saw("-b@P +g@P ");
	kit_stop(&w.kit);
}

/* A whole set may bring a name between those that stay: each is found by its number afterwards. */
static void in_between(void **unused)
{
	(void)unused;
	struct world w;

	start(&w);
	struct side *p = side_up(&w, 0, "P", true);
	watch(&w, "**", w.seer);
	say(&w, p, true, 9, 0, NAMES("a", "b", "c"));
	say(&w, p, false, 9, 3, NAMES("-1"));
	saw("+a@P +b@P +c@P -a@P ");
	say(&w, p, true, 9, 0, NAMES("z", "b", "c", "d"));
	saw("+z@P +d@P ");
	say(&w, p, false, 9, 4, NAMES("-1", "-4", "-3"));
	saw("-z@P -d@P -c@P ");
	say(&w, p, false, 9, 7, NAMES("last"));
	saw("+last@P ");
	kit_stop(&w.kit);
}

/* Nonsense about a link is no reason to forget what is registered. */
static void a_link_that_is_none(void **unused)
{
	(void)unused;
	char long_id[QMT_NAMES_TEXT_MAX + 2];
	struct world w;

	start(&w);
	assert_int_equal(name_it(&w, "db", w.a), 0);
	memset(long_id, 'x', sizeof(long_id));
	assert_int_equal(QMT_TELL(w.kit.out, w.names, qmt_names_link, .peer = qmt_str("P")), 0);
	assert_int_equal(QMT_TELL(w.kit.out, w.names, qmt_names_link, .link = w.a), 0);
	assert_int_equal(
		QMT_TELL(w.kit.out, w.names, qmt_names_link, .link = w.a, .peer = qmt_strn(long_id, sizeof(long_id))), 0);
	qmt_system_run(w.kit.sys, 0);
	assert_true(found(&w, "db", w.a));
	assert_true(kit_logged(&w.kit, "names.bad_link"));
	kit_stop(&w.kit);
}

/* Peers come and go: the present ones first, then each change once; those too that share no names. A restart of the
 * actor finds the links that are there. */
static void peers_come_and_go(void **unused)
{
	(void)unused;
	struct qmt_result result;
	struct world w;

	start(&w);
	struct side *q = side_up(&w, 0, "Q", true);
	assert_int_equal(ASK(&w, &result, qmt_names_watch_peers, .watcher = w.seer), 0);
	qmt_system_run(w.kit.sys, 0);
	saw("up:Q ");
	struct side *p = side_up(&w, 1, "P", false);
	saw("up:P ");
	poke(&w, q->link, QUIT);
	saw("down:Q ");
	q = side_up(&w, 0, "Q", true);
	saw("up:Q ");
	assert_int_equal(q->syncs, 2);
	(void)p;
	kit_stop(&w.kit);

	/* one that is spawned late, as one that starts again */
	memset(sides, 0, sizeof(sides));
	kit_start_seeded(&w.kit, 1);
	q = side_up(&w, 0, "Q", true);
	p = side_up(&w, 1, "P", false);
	assert_int_equal(q->syncs, 0);
	w.names = kit_spawn(&w.kit, &qmt_names_desc, &(struct qmt_spawn){.name = "names"});
	w.seer = kit_spawn(&w.kit, &any_desc, NULL);
	assert_int_equal(ASK(&w, &result, qmt_names_watch_peers, .watcher = w.seer), 0);
	qmt_system_run(w.kit.sys, 0);
	saw("up:P up:Q ");
	assert_int_equal(q->syncs, 1);
	assert_int_equal(p->syncs, 0);
	kit_stop(&w.kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_home),
		cmocka_unit_test(refused_here),
		cmocka_unit_test(watched),
		cmocka_unit_test(slow_watcher),
		cmocka_unit_test(told_to_a_peer),
		cmocka_unit_test(not_taken),
		cmocka_unit_test(from_peers),
		cmocka_unit_test(gaps),
		cmocka_unit_test(lies),
		cmocka_unit_test(at_the_limit),
		cmocka_unit_test(in_between),
		cmocka_unit_test(a_link_that_is_none),
		cmocka_unit_test(peers_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
