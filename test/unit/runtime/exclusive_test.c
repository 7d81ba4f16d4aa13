/* runtime/ask: exclusive and pipelined asks, answers that nobody waits for, a mailbox of a million messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/mailbox.h"
#include "test/lib/runtime_kit.h"

/* ---- an actor that asks, and one that answers when it is told to ------------------------------------------------- */

enum { SEEN_MAX = 64 };
/* To a client, with the server in `ref`. */
enum { ASK_EXCLUSIVE = 1000, ASK, ASK_SELF, ASK_THEN_FAIL, ASK_TWICE, ASK_AGAIN, TIMER, PIPELINE, FAIL, HOLD };
/* What a client has seen, besides numbers below 1000. */
enum { ANSWERED = 10000, FAILED = 20000, TIMED = 30000, PLAIN = 40000 };

struct record {
	uint64_t seen[SEEN_MAX];
	uint32_t count, starts;
};
struct client {
	struct record *record;
	struct qmt_ref again;
};

static void saw(void *state, uint64_t value)
{
	struct record *record = ((struct client *)state)->record;

	kit_check(record->count < SEEN_MAX);
	record->seen[record->count++] = value;
}

static uint64_t outcome(const struct qmt_result *result)
{
	return result->fail ? FAILED + (uint64_t)result->fail : ANSWERED + ((const struct kit_answer *)result->body)->value;
}
static void answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct client *client = state;

	(void)arg;
	saw(state, outcome(result));
	if (qmt_ref_is_set(client->again)) {
		struct qmt_ref to = client->again;

		client->again = (struct qmt_ref){0};
		kit_check(qmt_ask_exclusive(ctx, to, &kit_poke_type, &(struct kit_poke){.value = 2}, 0, answered, NULL) == 0);
	}
}
static struct kit_latch plain = KIT_LATCH;
static void answered_plain(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)ctx;
	(void)arg;
	saw(state, PLAIN + outcome(result));
	kit_latch_add(&plain, 1);
}
static void timed(struct qmt_ctx *ctx, void *state, void *arg)
{
	(void)ctx;
	(void)arg;
	saw(state, TIMED);
}

static void client_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct client *client = state;
	struct kit_poke ask = {.value = 1};

	switch (poke->value) {
	case ASK_AGAIN:
		client->again = poke->ref;
		/* fall through */
	case ASK_EXCLUSIVE:
		kit_check(qmt_ask_exclusive(ctx, poke->ref, &kit_poke_type, &ask, 1000, answered, NULL) == 0);
		break;
	case ASK_TWICE:
		kit_check(qmt_ask_exclusive(ctx, poke->ref, &kit_poke_type, &ask, 1000, answered, NULL) == 0);
		kit_check(
			qmt_ask_exclusive(ctx, poke->ref, &kit_poke_type, &ask, 1000, answered, NULL) == QMT_FAIL_BAD_REQUEST);
		break;
	case ASK_SELF:
		kit_check(
			qmt_ask_exclusive(ctx, qmt_self(ctx), &kit_poke_type, &ask, 1000, answered, NULL) == QMT_FAIL_BAD_REQUEST);
		kit_check(qmt_ask_exclusive(ctx, (struct qmt_ref){0}, &kit_poke_type, &ask, 1000, answered, NULL) ==
			QMT_FAIL_NOT_RUNNING);
		break;
	case ASK_THEN_FAIL:
		kit_check(qmt_ask_exclusive(ctx, poke->ref, &kit_poke_type, &ask, 1000, answered, NULL) == 0);
		qmt_fail(ctx, "while it waits");
		break;
	case ASK:
		kit_check(qmt_ask(ctx, poke->ref, &kit_poke_type, &ask, 1000, answered_plain, NULL) == 0);
		break;
	case TIMER:
		kit_check(qmt_timer_start(ctx, 20, timed, NULL, NULL) == 0);
		break;
	case HOLD:
		qmt_hold(ctx, true);
		break;
	case PIPELINE:
		for (uint64_t i = 0; i < 32; i++) {
			ask.value = i;
			kit_check(qmt_ask(ctx, poke->ref, &kit_poke_type, &ask, 1000, answered, NULL) == 0);
		}
		break;
	case FAIL:
		qmt_fail(ctx, "as told");
		break;
	default:
		saw(state, poke->value);
		if (qmt_token(ctx).ask)
			kit_answer(ctx, poke->value);
	}
}
static int client_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	((struct client *)state)->record = *(struct record *const *)config;
	((struct client *)state)->record->starts++;
	return 0;
}
static qmt_handler *const client_handlers[kit_message_count] = {[kit_poke_id] = client_poke};
static const struct qmt_actor_desc client_desc =
	KIT_DESC("client", client_handlers, .state_size = sizeof(struct client), .start = client_start);
static const struct qmt_actor_desc small_desc =
	KIT_DESC("small", client_handlers, .state_size = sizeof(struct client), .start = client_start, .bound = 2);

/* Keeps what it is asked. A tell says which one it answers: the newest, the oldest, all from the newest on. */
enum { NEWEST = 1000, OLDEST, ALL };
struct server {
	struct qmt_token tokens[64];
	uint64_t values[64];
	uint32_t count;
};
static void server_answer(struct qmt_ctx *ctx, struct server *server, uint32_t i)
{
	kit_check(i < server->count);
	kit_check(QMT_REPLY(ctx, server->tokens[i], kit_answer, .value = server->values[i]) == 0);
	kit_check(QMT_REPLY(ctx, server->tokens[i], kit_answer, .value = 77) == 0); /* a second one drops out */
	kit_check(qmt_reply_fail(ctx, server->tokens[i], QMT_FAIL_FAILED, NULL, 0, "third") == 0);
	for (server->count--; i < server->count; i++) {
		server->tokens[i] = server->tokens[i + 1];
		server->values[i] = server->values[i + 1];
	}
}
static void server_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct server *server = state;

	switch (poke->value) {
	case NEWEST:
		server_answer(ctx, server, server->count - 1);
		break;
	case OLDEST:
		server_answer(ctx, server, 0);
		break;
	case ALL:
		while (server->count)
			server_answer(ctx, server, server->count - 1);
		break;
	default:
		server->tokens[server->count] = qmt_token(ctx);
		server->values[server->count++] = poke->value;
	}
}
static qmt_handler *const server_handlers[kit_message_count] = {[kit_poke_id] = server_poke};
static const struct qmt_actor_desc server_desc =
	KIT_DESC("server", server_handlers, .state_size = sizeof(struct server));

static struct record first, second;

static struct qmt_ref client(struct kit *kit, struct record *into, const struct qmt_actor_desc *desc)
{
	static struct record *configs[64];
	static uint32_t next;
	struct record **config = &configs[next++ % 64];

	memset(into, 0, sizeof *into);
	*config = into;
	return kit_spawn(kit, desc, &(struct qmt_spawn){.config = config, .restart = QMT_TRANSIENT});
}

static void say(struct kit *kit, struct qmt_ref to, uint64_t value, struct qmt_ref ref)
{
	assert_int_equal(QMT_TELL(kit->out, to, kit_poke, .value = value, .ref = ref), 0);
	qmt_system_run(kit->sys, 1);
}

#define assert_seen(record_, ...)                                           \
	do {                                                                    \
		const uint64_t wanted[] = {__VA_ARGS__};                            \
		assert_int_equal((record_)->count, sizeof wanted / sizeof *wanted); \
		assert_memory_equal((record_)->seen, wanted, sizeof wanted);        \
	} while (0)

static const struct qmt_ref nobody;

/* ---- exclusive asks ---------------------------------------------------------------------------------------------- */

/* Until the answer, messages and other answers wait; urgent ones and timers go on. Then all follow in their order. */
static void normal_lane_waits(void **unused)
{
	(void)unused;
	for (uint64_t seed = 1; seed < 20; seed++) {
		struct kit kit;

		kit_start_seeded(&kit, seed);
		struct qmt_ref server = kit_spawn(&kit, &server_desc, NULL), asker = client(&kit, &first, &client_desc);
		say(&kit, asker, TIMER, nobody);
		say(&kit, asker, ASK, server);
		say(&kit, asker, ASK_EXCLUSIVE, server);
		assert_ptr_equal(atomic_load(&atomic_load(&asker.actor->ext)->waits[WAIT_ANSWER].on), server.actor);
		say(&kit, asker, 1, nobody);
		say(&kit, asker, 2, nobody);
		say(&kit, server, OLDEST, nobody); /* answers the plain one: waits */
		qmt_system_run(kit.sys, 100);
		assert_seen(&first, TIMED);
		assert_int_equal(qmt_tell_urgent(kit.out, asker, &kit_poke_type, &(struct kit_poke){.value = 3}), 0);
		say(&kit, asker, 4, nobody);
		say(&kit, server, OLDEST, nobody);
		assert_seen(&first, TIMED, 3, ANSWERED + 1, 1, 2, PLAIN + ANSWERED + 1, 4);
		assert_true(atomic_load(&atomic_load(&asker.actor->ext)->waits[WAIT_ANSWER].number) == 0);
		/* one after the other, each from the continuation of the one before */
		first.count = 0;
		say(&kit, asker, ASK_AGAIN, server);
		say(&kit, asker, 5, nobody);
		say(&kit, server, OLDEST, nobody);
		assert_seen(&first, ANSWERED + 1);
		say(&kit, server, OLDEST, nobody);
		assert_seen(&first, ANSWERED + 1, ANSWERED + 2, 5);
		/* the answer passes a hold */
		first.count = 0;
		say(&kit, asker, ASK_EXCLUSIVE, server);
		assert_int_equal(qmt_tell_urgent(kit.out, asker, &kit_poke_type, &(struct kit_poke){.value = HOLD}), 0);
		say(&kit, asker, 6, nobody);
		say(&kit, server, OLDEST, nobody);
		assert_seen(&first, ANSWERED + 1);
		kit_stop(&kit);
	}
}

/* Without an answer the deadline ends it; a late answer is none. One at a time, and not of oneself. */
static void deadline_ends_it(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref server = kit_spawn(&kit, &server_desc, NULL), asker = client(&kit, &first, &client_desc);
	say(&kit, asker, ASK_TWICE, server);
	say(&kit, asker, 1, nobody);
	qmt_system_run(kit.sys, 900);
	assert_int_equal(first.count, 0);
	qmt_system_run(kit.sys, 200);
	assert_seen(&first, FAILED + QMT_FAIL_DEADLINE, 1);
	say(&kit, server, ALL, nobody);
	say(&kit, asker, ASK_SELF, nobody);
	say(&kit, asker, 2, nobody);
	assert_seen(&first, FAILED + QMT_FAIL_DEADLINE, 1, 2);
	assert_true(atomic_load(&atomic_load(&asker.actor->ext)->waits[WAIT_ANSWER].number) == 0);
	/* who is asked ends: the answer is at once */
	say(&kit, asker, ASK_EXCLUSIVE, server);
	qmt_stop(kit.out, server);
	qmt_system_run(kit.sys, 1100);
	assert_int_equal(first.seen[3] / 10000 * 10000, FAILED);
	kit_stop(&kit);
}

/* A circle of exclusive asks ends by the deadline, bounded mailboxes or not. */
static void circle_ends(void **unused)
{
	(void)unused;
	for (uint64_t seed = 1; seed < 20; seed++) {
		struct kit kit;

		kit_start_seeded(&kit, seed);
		struct qmt_ref a = client(&kit, &first, seed % 2 ? &client_desc : &small_desc);
		struct qmt_ref b = client(&kit, &second, seed % 2 ? &client_desc : &small_desc);
		/* both before either has run */
		QMT_TELL(kit.out, a, kit_poke, .value = ASK_EXCLUSIVE, .ref = b);
		QMT_TELL(kit.out, b, kit_poke, .value = ASK_EXCLUSIVE, .ref = a);
		qmt_system_run(kit.sys, 900);
		QMT_TELL(kit.out, a, kit_poke, .value = 5);
		QMT_TELL(kit.out, b, kit_poke, .value = 6);
		qmt_system_run(kit.sys, 900);
		/* the wait-for edges are a circle or one has been answered; afterwards both go on */
		assert_int_equal(kit_ask(&kit, a, 7, 0, NULL), 0);
		assert_int_equal(kit_ask(&kit, b, 8, 0, NULL), 0);
		assert_int_equal(first.seen[first.count - 1], 7);
		assert_int_equal(second.seen[second.count - 1], 8);
		kit_stop(&kit);
	}
}

/* An incarnation that ends while it waits takes the ask along; the next one is free, its answer is late. */
static void ends_with_the_incarnation(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref server = kit_spawn(&kit, &server_desc, NULL), asker = client(&kit, &first, &client_desc);
	say(&kit, asker, ASK_THEN_FAIL, server);
	qmt_system_run(kit.sys, 100);
	assert_int_equal(first.starts, 2);
	say(&kit, asker, 1, nobody);
	say(&kit, server, ALL, nobody);
	assert_seen(&first, 1);
	say(&kit, asker, ASK_EXCLUSIVE, server);
	say(&kit, server, OLDEST, nobody);
	assert_seen(&first, 1, ANSWERED + 1);
	/* stopped while it waits, the answer in its mailbox or not */
	say(&kit, asker, ASK_EXCLUSIVE, server);
	QMT_TELL(kit.out, server, kit_poke, .value = OLDEST);
	qmt_stop(kit.out, asker);
	qmt_system_run(kit.sys, 10);
	assert_false(qmt_is_running(asker));
	kit_stop(&kit);
}

/* The answer and the failure of the incarnation come in one turn, in either order: the mailbox is empty afterwards, and
 * says so. */
static void an_answer_and_the_end_in_one_turn(void **unused)
{
	(void)unused;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct kit kit;

		kit_start_seeded(&kit, seed);
		struct qmt_ref server = kit_spawn(&kit, &server_desc, NULL), asker = client(&kit, &first, &client_desc);
		say(&kit, asker, ASK_EXCLUSIVE, server);
		assert_int_equal(QMT_TELL(kit.out, server, kit_poke, .value = OLDEST), 0);
		assert_int_equal(qmt_tell_urgent(kit.out, asker, &kit_poke_type, &(struct kit_poke){.value = FAIL}), 0);
		qmt_system_run(kit.sys, 100);
		assert_int_equal(first.starts, 2);
		assert_int_equal(mailbox_depth(asker.actor), 0);
		kit_stop(&kit);
	}
}

/* With threads: many clients ask exclusively, again and again; none is left waiting. */
static struct kit_latch done = KIT_LATCH;

struct busy {
	struct qmt_ref to;
	uint64_t left;
	bool waits;
};
static void busy_answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg);
static void busy_next(struct qmt_ctx *ctx, struct busy *busy)
{
	busy->waits = true;
	kit_check(qmt_ask_exclusive(ctx, busy->to, &kit_poke_type, &(struct kit_poke){.value = busy->left}, 60000,
				  busy_answered, NULL) == 0);
	/* what must wait for the answer */
	kit_check(QMT_TELL(ctx, qmt_self(ctx), kit_poke, .value = 1) == 0);
}
static void busy_answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct busy *busy = state;

	(void)arg;
	kit_check(result->fail == 0 && ((const struct kit_answer *)result->body)->value == busy->left);
	busy->waits = false;
	if (--busy->left)
		busy_next(ctx, busy);
	else
		kit_latch_add(&done, 1);
}
static void busy_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct busy *busy = state;

	kit_check(!busy->waits);
	if (qmt_ref_is_set(poke->ref)) {
		*busy = (struct busy){poke->ref, poke->value, false};
		busy_next(ctx, busy);
	}
}
static void echo_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	kit_answer(ctx, ((const struct kit_poke *)body)->value);
}
static qmt_handler *const busy_handlers[kit_message_count] = {[kit_poke_id] = busy_poke};
static const struct qmt_actor_desc busy_desc = KIT_DESC("busy", busy_handlers, .state_size = sizeof(struct busy));
static qmt_handler *const echo_handlers[kit_message_count] = {[kit_poke_id] = echo_poke};
static const struct qmt_actor_desc echo_desc = KIT_DESC("echo", echo_handlers, .bound = 4);

static void exclusive_with_threads(void **unused)
{
	(void)unused;
	enum { CLIENTS = 20, EACH = 2000 };

	for (uint32_t workers = 1; workers <= 4; workers *= 2) {
		struct kit kit;

		kit_start(&kit, workers);
		kit_latch_reset(&done);
		struct qmt_ref echo = kit_spawn(&kit, &echo_desc, NULL);
		for (uint32_t i = 0; i < CLIENTS; i++)
			QMT_TELL(kit.out, kit_spawn(&kit, &busy_desc, NULL), kit_poke, .value = EACH, .ref = echo);
		kit_latch_wait(&done, CLIENTS);
		kit_stop(&kit);
	}
}

/* ---- pipelined asks, answers that nobody waits for --------------------------------------------------------------- */

/* Many asks of one actor are under way at once; their answers may come in any order, each to its own. */
static void any_order(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref server = kit_spawn(&kit, &server_desc, NULL), asker = client(&kit, &first, &client_desc);
	say(&kit, asker, PIPELINE, server);
	say(&kit, asker, 5, nobody); /* and it serves others meanwhile */
	say(&kit, server, OLDEST, nobody);
	say(&kit, server, NEWEST, nobody);
	assert_seen(&first, 5, ANSWERED + 0, ANSWERED + 31);
	say(&kit, server, ALL, nobody);
	assert_int_equal(first.count, 33);
	for (uint32_t i = 3; i < 33; i++)
		assert_int_equal(first.seen[i], ANSWERED + 33 - i);
	kit_stop(&kit);
}

/* Answers to who has ended, or lives in a new incarnation, vanish; nothing leaks, nobody else gets them. */
static void dead_asker(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref server = kit_spawn(&kit, &server_desc, NULL), asker = client(&kit, &first, &client_desc);
	say(&kit, asker, PIPELINE, server);
	say(&kit, asker, FAIL, nobody);
	qmt_system_run(kit.sys, 100);
	say(&kit, server, OLDEST, nobody);
	assert_int_equal(first.count, 0);
	qmt_stop(kit.out, asker);
	qmt_system_run(kit.sys, 1);
	struct qmt_ref tenant = client(&kit, &second, &client_desc); /* the same block */
	say(&kit, tenant, PIPELINE, server);                         /* the same records */
	for (uint32_t i = 0; i < 31; i++)
		say(&kit, server, OLDEST, nobody);
	assert_int_equal(second.count, 0);
	say(&kit, server, ALL, nobody);
	assert_int_equal(second.count, 32);
	kit_stop(&kit);
}

/* ---- a million messages ------------------------------------------------------------------------------------------ */

/* They wait, are counted, and are gone when the actor is stopped; asks among them are answered. Beyond 2^21 sends are
 * refused; they end with the system as well. */
static void a_million_at_stop(void **unused)
{
	(void)unused;
	enum { MILLION = 1000000 };
	struct kit kit;
	uint32_t sent = 0;

	kit_start(&kit, 2);
	kit_latch_reset(&plain);
	struct qmt_ref held = client(&kit, &first, &client_desc), asker = client(&kit, &second, &client_desc);
	assert_int_equal(QMT_TELL(kit.out, held, kit_poke, .value = HOLD), 0);
	for (uint32_t i = 0; i < MILLION; i++)
		assert_int_equal(i % 1000 == 999 ? qmt_tell_urgent(kit.out, held, &kit_stop_type, NULL)
										 : QMT_TELL(kit.out, held, kit_poke, .value = 1),
			i % 1000 == 999 ? QMT_FAIL_UNKNOWN_MESSAGE : 0);
	assert_int_equal(QMT_TELL(kit.out, asker, kit_poke, .value = ASK, .ref = held), 0);
	assert_int_equal(kit_ask(&kit, asker, 1, 0, NULL), 0); /* it has asked */
	assert_true(mailbox_depth(held.actor) >= MILLION / 1000 * 999);
	assert_int_equal(qmt_stop(kit.out, held), 0);
	kit_wait_gone(&kit, held);
	kit_latch_wait(&plain, 1);
	assert_seen(&second, 1, PLAIN + FAILED + QMT_FAIL_STOPPING);

	held = client(&kit, &first, &client_desc);
	assert_int_equal(QMT_TELL(kit.out, held, kit_poke, .value = HOLD), 0);
	while (QMT_TELL(kit.out, held, kit_poke, .value = 1) == 0)
		sent++;
	assert_int_equal(qmt_tell_urgent(kit.out, held, &kit_poke_type, &(struct kit_poke){.value = 1}), QMT_FAIL_FULL);
	assert_true(sent >= MAILBOX_HARD_LIMIT && sent <= MAILBOX_HARD_LIMIT + MAILBOX_HARD_LIMIT / 4);
	kit_stop(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(normal_lane_waits),
		cmocka_unit_test(deadline_ends_it),
		cmocka_unit_test(circle_ends),
		cmocka_unit_test(ends_with_the_incarnation),
		cmocka_unit_test(an_answer_and_the_end_in_one_turn),
		cmocka_unit_test(exclusive_with_threads),
		cmocka_unit_test(any_order),
		cmocka_unit_test(dead_asker),
		cmocka_unit_test(a_million_at_stop),
	};

	return cmocka_run_group_tests_name("runtime/exclusive", tests, NULL, NULL);
}
