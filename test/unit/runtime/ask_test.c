/* runtime/ask: an ask is answered exactly once, by an answer, a failure or its deadline. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/lib/runtime_kit.h"

/* ---- an answerer: what it does is in the value ------------------------------------------------------------------- */

enum { ANSWER, TWICE, LATE, NEVER, FAIL, CRASH, STORE, FORWARD, KEEP, OTHER_PROTOCOL, STOP };

struct server {
	struct qmt_token stored[64];
	uint32_t count;
	struct qmt_ref next;
	struct qmt_msg *kept;
};

static void answer_stored(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct server *server = state;

	(void)arg;
	for (uint32_t i = 0; i < server->count; i++)
		kit_check(QMT_REPLY(ctx, server->stored[i], kit_answer, .value = 100 + i) == 0);
	server->count = 0;
}

static void server_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct server *server = state;
	struct qmt_token token = qmt_token(ctx);

	switch (poke->value) {
	case TWICE:
		kit_answer(ctx, 1);
		kit_answer(ctx, 2);
		break;
	case LATE:
		server->stored[server->count++] = token;
		kit_check(qmt_timer_start(ctx, 60, answer_stored, NULL, NULL) == 0);
		break;
	case NEVER:
		break;
	case FAIL:
		kit_check(qmt_reply_fail(ctx, token, QMT_FAIL_FAILED, "rate_limited", 1500, "try %s", "later") == 0);
		break;
	case CRASH:
		qmt_fail(ctx, "over this ask");
		break;
	case STORE:
		server->stored[server->count++] = token;
		if (server->count == 2)
			answer_stored(ctx, state, NULL);
		break;
	case FORWARD: {
		/* the next one has to see another value: it gets the very message */
		int failed = qmt_forward(ctx, server->next);

		if (failed)
			kit_check(qmt_reply_fail(ctx, token, failed, NULL, 0, "not forwarded") == 0);
		kit_check(failed || qmt_keep(ctx) == NULL);
		kit_check(failed || qmt_forward(ctx, server->next) == QMT_FAIL_BAD_REQUEST);
		break;
	}
	case KEEP: {
		struct qmt_msg *old = server->kept;

		server->kept = qmt_keep(ctx);
		kit_check(server->kept && !qmt_keep(ctx));
		kit_check(qmt_msg_body(server->kept) == body);
		kit_answer(ctx, old ? ((const struct kit_poke *)qmt_msg_body(old))->value : 0);
		qmt_msg_free(ctx, old);
		break;
	}
	case OTHER_PROTOCOL:
		kit_check(QMT_REPLY(ctx, token, kit2_hello, .value = 1) == 0);
		break;
	case STOP:
		qmt_stop_self(ctx);
		break;
	default:
		kit_answer(ctx, poke->value);
	}
}

static void server_stop(struct qmt_ctx *ctx, void *state)
{
	qmt_msg_free(ctx, ((struct server *)state)->kept);
}

static void server_note(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	(void)state;
	(void)body;
}

static qmt_handler *const server_handlers[kit_message_count] = {[kit_poke_id] = server_poke,
	[kit_note_id] = server_note};
static int server_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	if (config)
		((struct server *)state)->next = *(const struct qmt_ref *)config;
	return 0;
}
static const struct qmt_actor_desc server_desc =
	KIT_DESC("server", server_handlers, .state_size = sizeof(struct server), .start = server_start,
	.stop = server_stop);

/* From outside: answers arrive; failures carry kind, text and the time to wait; nobody who answers means the
 * deadline. */
static void outside(void **unused)
{
	(void)unused;
	struct kit kit;
	struct qmt_result result;
	uint64_t value;

	for (uint32_t workers = 1; workers <= 4; workers *= 2) {
		kit_start(&kit, workers);
		struct qmt_ref ref = kit_spawn(&kit, &server_desc, NULL);
		assert_int_equal(kit_ask(&kit, ref, 77, 0, &value), 0);
		assert_int_equal(value, 77);
		assert_int_equal(kit_ask(&kit, ref, NEVER, 30, &value), QMT_FAIL_DEADLINE);
		/* a second answer to one ask is no answer to the next */
		assert_int_equal(kit_ask(&kit, ref, TWICE, 0, &value), 0);
		assert_int_equal(value, 1);
		assert_int_equal(kit_ask(&kit, ref, 55, 0, &value), 0);
		assert_int_equal(value, 55);
		/* a late answer too */
		assert_int_equal(kit_ask(&kit, ref, LATE, 20, &value), QMT_FAIL_DEADLINE);
		assert_int_equal(kit_ask(&kit, ref, 56, 0, &value), 0);
		assert_int_equal(value, 56);
		struct kit_poke poke = {.value = FAIL};
		assert_int_equal(qmt_outside_ask(kit.out, ref, &kit_poke_type, &poke, 0, &result), QMT_FAIL_FAILED);
		assert_true(qmt_str_is(result.kind, "rate_limited"));
		assert_true(qmt_str_is(result.text, "try later"));
		assert_int_equal(result.retry_after_ms, 1500);
		assert_int_equal(kit_ask(&kit, ref, OTHER_PROTOCOL, 0, NULL), QMT_FAIL_UNKNOWN_MESSAGE);
		assert_int_equal(qmt_outside_ask(kit.out, ref, &kit_stop_type, NULL, 0, &result), QMT_FAIL_UNKNOWN_MESSAGE);
		assert_int_equal(qmt_outside_ask(kit.out, (struct qmt_ref){0}, &kit_stop_type, NULL, 0, &result),
			QMT_FAIL_NOT_RUNNING);
		kit_stop(&kit);
	}
}

/* Short deadlines (exact clock) never come early; long ones (coarse clock) at most by what the kernel's tick was late,
 * which on a busy virtual machine is some milliseconds. */
static void deadlines_are_not_early(void **unused)
{
	(void)unused;
	static const uint64_t timeouts[] = {1, 7, 30, 300, 1000};
	struct kit kit;

	kit_start(&kit, 2);
	struct qmt_ref ref = kit_spawn(&kit, &server_desc, NULL);
	for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
		uint64_t start = qmt_now_ns(kit.out);

		assert_int_equal(kit_ask(&kit, ref, NEVER, timeouts[i], NULL), QMT_FAIL_DEADLINE);
		uint64_t tick_late_ms = timeouts[i] >= 200 ? timeouts[i] / 20 : 0;
		assert_true(qmt_now_ns(kit.out) - start >= (timeouts[i] - tick_late_ms) * 1000000);
	}
	kit_stop(&kit);
}

/* An ask over which the answerer fails, or that waits in its mailbox when it ends, is answered at once. */
static void no_silence_when_it_ends(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start(&kit, 2);
	struct qmt_ref ref = kit_spawn(&kit, &server_desc, &(struct qmt_spawn){.restart = QMT_TEMPORARY});
	assert_int_equal(kit_ask(&kit, ref, CRASH, 0, NULL), QMT_FAIL_NO_REPLY);
	kit_wait_gone(&kit, ref);
	assert_int_equal(kit_ask(&kit, ref, ANSWER, 0, NULL), QMT_FAIL_NOT_RUNNING);
	kit_stop(&kit);
}

/* ---- asking from an actor ---------------------------------------------------------------------------------------- */

struct client {
	struct qmt_token waiting;
	uint64_t sum, left;
	struct qmt_ref server;
};

static void relay(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct client *client = state;

	(void)arg;
	kit_check(!qmt_ref_is_set(qmt_sender(ctx)) && !qmt_token(ctx).ask);
	kit_check(qmt_reply_result(ctx, client->waiting, result) == 0);
}

static void one_of_many(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct client *client = state;

	kit_check(arg == client && result->fail == 0);
	client->sum += ((const struct kit_answer *)result->body)->value;
	if (--client->left == 0)
		kit_check(QMT_REPLY(ctx, client->waiting, kit_answer, .value = client->sum) == 0);
}

static void failed_at_once(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct client *client = state;

	(void)arg;
	kit_check(client->left == 1); /* later, not from within qmt_ask_or */
	kit_check(qmt_str_is(result->text, qmt_fail_name(result->fail)));
	kit_check(QMT_REPLY(ctx, client->waiting, kit_answer, .value = (uint64_t)result->fail) == 0);
}

enum { RELAY = 1000, MANY = 2000, ASK_OR = 9000 };

static void client_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct client *client = state;

	client->waiting = qmt_token(ctx);
	client->sum = client->left = 0;
	if (poke->value >= ASK_OR) {
		qmt_ask_or(ctx, (struct qmt_ref){0}, &kit_poke_type, poke, 0, failed_at_once, NULL);
		client->left = 1;
	} else if (poke->value >= MANY) {
		client->left = poke->value - MANY;
		for (uint64_t i = 0; i < poke->value - MANY; i++)
			kit_check(QMT_ASK(ctx, poke->ref, 0, one_of_many, client, kit_poke, .value = 100 + i) == 0);
	} else {
		kit_check(QMT_ASK(ctx, poke->ref, 40, relay, NULL, kit_poke, .value = poke->value - RELAY) == 0);
	}
}
static qmt_handler *const client_handlers[kit_message_count] = {[kit_poke_id] = client_poke};
static const struct qmt_actor_desc client_desc = KIT_DESC("client", client_handlers,
	.state_size = sizeof(struct client));

static int through(struct kit *kit, struct qmt_ref client, struct qmt_ref server, uint64_t value,
	struct qmt_result *result)
{
	struct kit_poke poke = {.value = value, .ref = server};

	return qmt_outside_ask(kit->out, client, &kit_poke_type, &poke, KIT_PATIENCE_MS, result);
}

/* A relay's continuation passes answers, failures and deadlines on as they are; many asks may be under way at once; a
 * failure to send reaches the continuation of qmt_ask_or, later. */
static void from_an_actor(void **unused)
{
	(void)unused;
	struct kit kit;
	struct qmt_result result;

	for (uint32_t workers = 1; workers <= 4; workers *= 2) {
		kit_start(&kit, workers);
		struct qmt_ref server = kit_spawn(&kit, &server_desc, NULL), client = kit_spawn(&kit, &client_desc, NULL);
		assert_int_equal(through(&kit, client, server, RELAY + 88, &result), 0);
		assert_int_equal(((const struct kit_answer *)result.body)->value, 88);
		assert_int_equal(through(&kit, client, server, RELAY + FAIL, &result), QMT_FAIL_FAILED);
		assert_true(qmt_str_is(result.kind, "rate_limited"));
		assert_int_equal(result.retry_after_ms, 1500);
		assert_int_equal(through(&kit, client, server, RELAY + NEVER, &result), QMT_FAIL_DEADLINE);
		assert_int_equal(through(&kit, client, server, MANY + 1000, &result), 0);
		assert_int_equal(((const struct kit_answer *)result.body)->value, 1000 * 100 + 999 * 500);
		assert_int_equal(through(&kit, client, server, ASK_OR, &result), 0);
		assert_int_equal(((const struct kit_answer *)result.body)->value, QMT_FAIL_NOT_RUNNING);
		kit_stop(&kit);
	}
}

/* A token can be stored and answered later, also out of order; a forwarded ask is answered to the first asker; a
 * kept message stays. */
static void tokens_move(void **unused)
{
	(void)unused;
	struct kit kit, *k = &kit;
	struct qmt_result result;
	uint64_t value;

	kit_start(k, 2);
	struct qmt_ref last = kit_spawn(k, &server_desc, NULL);
	struct qmt_ref first = kit_spawn(k, &server_desc, &(struct qmt_spawn){.config = &last});
	struct qmt_ref client = kit_spawn(k, &client_desc, NULL);
	/* both are answered when the second has come */
	assert_int_equal(QMT_TELL(k->out, client, kit_poke, .value = RELAY + STORE, .ref = last), 0);
	assert_int_equal(through(k, client, last, RELAY + STORE, &result), 0);
	assert_int_equal(((const struct kit_answer *)result.body)->value / 2, 50); /* 100 or 101 */
	/* the last one cannot forward and says so: to us, not to the one that forwarded it */
	assert_int_equal(kit_ask(k, first, FORWARD, 0, NULL), QMT_FAIL_NOT_RUNNING);
	assert_int_equal(kit_ask(k, last, KEEP, 0, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(kit_ask(k, last, KEEP, 0, &value), 0);
	assert_int_equal(value, KEEP);
	kit_stop(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(outside),
		cmocka_unit_test(deadlines_are_not_early),
		cmocka_unit_test(no_silence_when_it_ends),
		cmocka_unit_test(from_an_actor),
		cmocka_unit_test(tokens_move),
	};

	return cmocka_run_group_tests_name("runtime/ask", tests, NULL, NULL);
}
