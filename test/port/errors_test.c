/* test/port/errors_test.c - what can go wrong with a request is told apart, each by a code and a text of its own: here,
 * and across a link, over every transport. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <pthread.h>

#include "proto/codec.h"
#include "runtime/port.h"
#include "test/lib/hostile.h"
#include "test/lib/mesh_pair.h"
#include "transports/link.h"
#include "transports/link_records.h"

/* ---- odd: does what is asked for, or not; asker: asks by name and says what came --------------------------------- */

enum odd_what { ODD_ANSWER, ODD_FAIL, ODD_CRASH, ODD_NEVER, ODD_BAD, ODD_CUT };

#define ODD_WORK(F, T) F(T, U32, what, 1, "enum odd_what.")
#define ODD_TRY(F, T)                               \
	F(T, STR, peer, 1, "PeerId; empty: this node.") \
	F(T, STR, name, 2, "Of the actor.")             \
	F(T, U32, type, 3, "Which message: an index.")  \
	F(T, U32, what, 4, "enum odd_what.")            \
	F(T, U64, timeout_ms, 5, "Of the ask.")
#define ODD_MESSAGES(M)                                                 \
	M(odd, work, ODD_WORK, "node_info", "Does it.", done)               \
	M(odd, secret, ODD_WORK, "local", "Never from afar.", done)         \
	M(odd, try, ODD_TRY, "local", "To an asker: ask.", done)            \
	M(odd, hold, QMT_NO_FIELDS, "local", "Handle nothing from now on.") \
	M(odd, done, ODD_WORK, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(odd, ODD_MESSAGES)
QMT_DEFINE_PROTOCOL(odd, ODD_MESSAGES, "For this test.")

/* Has a text where odd.work has a number. */
#define WRONG(F, T) F(T, STR, what, 1, "Text.")
QMT_DECLARE_RECORD(wrong, WRONG)
QMT_DEFINE_RECORD(wrong, WRONG, "For this test.")

static void on_work(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	switch (((const struct odd_work *)body)->what) {
	case ODD_FAIL:
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, "odd", 0, "it did not work out");
		break;
	case ODD_BAD:
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0, "it makes no sense");
		break;
	case ODD_CRASH:
		qmt_fail(ctx, "told to fail");
		break;
	case ODD_NEVER:
		break;
	case ODD_CUT: /* whose message came over a link has that as its sender */
		(void)QMT_TELL(ctx, qmt_sender(ctx), link_end, .why = qmt_str("the test cuts it"));
		break;
	default:
		QMT_REPLY(ctx, qmt_token(ctx), odd_done, );
	}
}
static void on_hold(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state, (void)body;
	qmt_hold(ctx, true);
}
static qmt_handler *const odd_handlers[odd_message_count] = {
	[odd_work_id] = on_work, [odd_secret_id] = on_work, [odd_hold_id] = on_hold};
static const struct qmt_actor_desc odd_desc = {
	.abi = QMT_ABI, .name = "odd", .accepts = {{&odd_protocol, odd_handlers}}};
static const struct qmt_actor_desc narrow_desc = {
	.abi = QMT_ABI, .name = "narrow", .bound = 1, .overflow = QMT_REFUSE, .accepts = {{&odd_protocol, odd_handlers}}};

static void passed_on(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)arg;
	(void)qmt_reply_result(ctx, *(struct qmt_token *)state, result);
}
static void on_try(struct qmt_ctx *ctx, void *state, const void *body)
{
	static const struct qmt_type *const types[] = {&odd_work_type, &odd_secret_type, &stranger_hello_type};
	const struct odd_try *try = body;
	char peer[PEER_ID_TEXT + 1], name[32];
	struct odd_work work = {.what = try->what};

	(void)snprintf(peer, sizeof(peer), "%.*s", QMT_STR_ARG(try->peer));
	(void)snprintf(name, sizeof(name), "%.*s", QMT_STR_ARG(try->name));
	*(struct qmt_token *)state = qmt_token(ctx);
	int fail = qmt_ask_name(ctx, peer, name, types[try->type], &work, try->timeout_ms, passed_on, NULL);
	if (fail)
		(void)qmt_reply_fail(ctx, qmt_token(ctx), fail, NULL, 0, "at once: %s", qmt_fail_name(fail));
}
static qmt_handler *const asker_handlers[odd_message_count] = {[odd_try_id] = on_try};
static const struct qmt_actor_desc asker_desc = {.abi = QMT_ABI,
	.name = "asker",
	.state_size = sizeof(struct qmt_token),
	.accepts = {{&odd_protocol, asker_handlers}}};

/* ---- two nodes --------------------------------------------------------------------------------------------------- */

static struct mesh_pair pair;
static struct qmt_ref asker;

static struct qmt_ref spawn(struct mesh_node *node, const struct qmt_actor_desc *desc)
{
	struct qmt_err err = {0};
	struct qmt_ref ref;

	if (qmt_spawn(node->ctx, desc, &(struct qmt_spawn){.name = desc->name, .restart = QMT_PERMANENT}, &ref, &err))
		fail_msg("%s", err.text);
	return ref;
}

struct taking {
	struct qmt_ctx *ctx;
	struct qmt_ref who;
};
static bool takes_one(void *arg)
{
	struct taking *taking = arg;

	return QMT_TELL(taking->ctx, taking->who, odd_work, ) == 0;
}

/* Two that are there, and one whose mailbox is full for ever. */
static void spawn_all(struct mesh_node *node)
{
	struct qmt_ref narrow;

	(void)spawn(node, &odd_desc);
	narrow = spawn(node, &narrow_desc);
	assert_int_equal(qmt_outside_await_start(node->ctx, narrow, MESH_WAIT_MS), 0);
	assert_int_equal(QMT_TELL(node->ctx, narrow, odd_hold, ), 0);
	/* it has room for one again when it has handled that */
	mesh_until(takes_one, &(struct taking){node->ctx, narrow}, "it holds");
	assert_int_equal(QMT_TELL(node->ctx, narrow, odd_work, ), QMT_FAIL_FULL);
}

static void start(void **state)
{
	mesh_pair_init(&pair, *(enum mesh_kind *)*state);
	mesh_pair_start(&pair);
	spawn_all(&pair.a);
	spawn_all(&pair.b);
	asker = spawn(&pair.a, &asker_desc);
}

enum { WORK, SECRET, STRANGER };

/* Asks; the code, and *ret_text of at most 200 bytes. */
static int try(
	const char *peer, const char *name, uint32_t type, enum odd_what what, uint64_t timeout_ms, char ret_text[200])
{
	struct qmt_result result;
	int fail = MESH_ASK(&pair.a, asker, &result, odd_try, .peer = qmt_str(peer), .name = qmt_str(name), .type = type,
		.what = what, .timeout_ms = timeout_ms);

	(void)snprintf(ret_text, 200, "%.*s", fail ? (int)result.text.len : 0, fail && result.text.p ? result.text.p : "");
	return fail;
}

static const char stranger_id[] = "12D3KooWGbpLLY9QDURaJSEzxiphfgpP8gxMwBpmnbewjY1o7ndp";

/* The rows are the set; `here` says that it can happen without a link. */
static const struct {
	const char *what, *name;
	uint32_t type;
	enum odd_what does;
	int fail;
	const char *says;
	bool here;
} rows[] = {
	{"it works", "odd", WORK, ODD_ANSWER, 0, "", true},
	{"unknown actor", "nobody", WORK, ODD_ANSWER, QMT_FAIL_UNKNOWN_ACTOR, "unknown actor", true},
	{"unknown message", "odd", STRANGER, ODD_ANSWER, QMT_FAIL_UNKNOWN_MESSAGE, "unknown message", true},
	{"not allowed", "odd", SECRET, ODD_ANSWER, QMT_FAIL_NOT_ALLOWED, "not allowed", false},
	{"mailbox full", "narrow", WORK, ODD_ANSWER, QMT_FAIL_FULL, "mailbox full", true},
	{"deadline", "odd", WORK, ODD_NEVER, QMT_FAIL_DEADLINE, "deadline passed", true},
	{"a request that makes no sense", "odd", WORK, ODD_BAD, QMT_FAIL_BAD_REQUEST, "bad request", true},
	{"handler error", "odd", WORK, ODD_FAIL, QMT_FAIL_FAILED, "failed", true},
	{"handler crash", "odd", WORK, ODD_CRASH, QMT_FAIL_NO_REPLY, "no reply", true},
};

/* Each row, here and across the link, has its code, and a text for people; a failure is never another one's. */
static void each_its_own(void **state)
{
	start(state);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		for (int across = 0; across < 2; across++) {
			char text[200];
			int fail = 0, expected = across || rows[i].here ? rows[i].fail : 0;
			bool is_late = rows[i].does == ODD_NEVER;

			fail = try(
				across ? pair.b.id : "", rows[i].name, rows[i].type, rows[i].does, is_late ? 50 : MESH_WAIT_MS, text);
			if (fail != expected)
				fail_msg("%s, %s: %d (%s)", rows[i].what, across ? "across" : "here", fail, text);
			assert_string_equal(fail ? qmt_fail_name(fail) : "", expected ? rows[i].says : "");
			assert_true(!fail || text[0] || !across); /* who is far away says why */
			if (fail == QMT_FAIL_FAILED)
				assert_string_equal(text, "it did not work out");
			for (size_t k = 0; k < i; k++)
				assert_true(!rows[i].fail || rows[k].fail != rows[i].fail);
		}
	mesh_pair_stop(&pair);
}

/* No link to the peer, and a link that ends while the answer is waited for, are two things. */
static void no_route_and_peer_gone(void **state)
{
	char text[200];

	start(state);
	assert_int_equal(try(stranger_id, "odd", WORK, ODD_ANSWER, 0, text), QMT_FAIL_NO_ROUTE);
	assert_string_equal(text, "at once: no route");
	assert_int_equal(try(pair.b.id, "odd", WORK, ODD_CUT, MESH_WAIT_MS, text), QMT_FAIL_PEER_GONE);
	assert_string_equal(text, "the link ended before an answer came");
	mesh_pair_stop(&pair);
}

/* ---- bytes that cannot be read ----------------------------------------------------------------------------------- */

static void open_hostile(struct hostile *peer, char ret_id[PEER_ID_TEXT + 1])
{
	struct qmt_err err = {0};

	if (hostile_open(peer, pair.a.port, 0, &err))
		fail_msg("%s", err.text);
	peer_id_text(&peer->identity.id, ret_id);
	hostile_says_use(peer, 1);
	mesh_wait_peer(&pair.a, ret_id, true);
}

struct asking {
	const char *peer;
	int fail;
	char text[200];
};
static void *ask_run(void *arg)
{
	struct asking *asking = arg;
	struct qmt_ctx *ctx = qmt_outside_open(pair.a.system);
	struct qmt_result result = {0};

	asking->fail = qmt_outside_ask(ctx, asker, &odd_try_type,
		&(struct odd_try){.peer = qmt_str(asking->peer), .name = qmt_str("odd"), .timeout_ms = MESH_WAIT_MS},
		MESH_WAIT_MS, &result);
	(void)snprintf(asking->text, sizeof(asking->text), "%.*s", QMT_STR_ARG(result.text));
	qmt_outside_close(ctx);
	return NULL;
}

/* A request that is not what its type says, and an answer that is not: a decode error for who sent the one, and for who
 * waits for the other. It names the place. */
static void decode_error(void **unused)
{
	struct hostile peer = {0};
	char id[PEER_ID_TEXT + 1];
	struct envelope ask = {.kind = ENVELOPE_ASK,
		.id = 7,
		.to_name = qmt_str("odd"),
		.type = 1,
		.type_name = qmt_str("odd.work"),
		.deadline_ms = 1000};
	struct asking asking = {.peer = id};
	pthread_t thread;

	(void)unused;
	mesh_pair_init(&pair, MESH_TCP);
	mesh_node_start(&pair.a);
	spawn_all(&pair.a);
	asker = spawn(&pair.a, &asker_desc);
	open_hostile(&peer, id);
	/* a text where a number belongs */
	hostile_say(&peer, &ask, &wrong_record, &(struct wrong){.what = qmt_str("z")});
	struct envelope answer = hostile_wait(&peer, ENVELOPE_ERROR);
	struct link_error *error = codec_decode_new(&link_error_record, answer.body, NULL, NULL);
	assert_int_equal(answer.id, 7);
	assert_int_equal(error->fail, QMT_FAIL_DECODE);
	assert_true(error->text.len > 0 && memmem(error->text.p, error->text.len, "odd.work", 8));
	free(error);
	assert_int_equal(pthread_create(&thread, NULL, ask_run, &asking), 0);
	struct envelope asked = hostile_wait(&peer, ENVELOPE_ASK);
	hostile_say(&peer,
		&(struct envelope){.kind = ENVELOPE_REPLY, .id = asked.id, .type = 2, .type_name = qmt_str("odd.done")},
		&wrong_record, &(struct wrong){.what = qmt_str("z")});
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(asking.fail, QMT_FAIL_DECODE);
	assert_true(strstr(asking.text, "odd.done") != NULL);
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
#define CASES(kind) CASE(each_its_own, kind), CASE(no_route_and_peer_gone, kind)
	const struct CMUnitTest tests[] = {CASES(MESH_TCP), CASES(MESH_LOOP), cmocka_unit_test(decode_error)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
