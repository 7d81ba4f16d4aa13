/* runtime/test_kit: what it says of an actor is so, and what does not hold is said with place, expected and came. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/test_kit.h"
#include "test/lib/runtime_kit.h"

QMT_KIT_HEAP

/* ---- an actor to test -------------------------------------------------------------------------------------------- */

enum { ECHO, LATE, PASS_ON, FAIL, STOP, CHILD, NAMED, FOR_EVER };

static qmt_handler on_poke;
static qmt_handler *const handlers[kit_message_count] = {[kit_poke_id] = on_poke};
static int bad_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	(void)state;
	return config ? -1 : 0;
}
static const struct qmt_actor_desc desc = KIT_DESC("tested", handlers, .state_size = 8, .start = bad_start);
static const struct qmt_actor_desc small_desc =
	KIT_DESC("small", handlers, .state_size = 8, .bound = 2, .overflow = QMT_REFUSE);
static const struct qmt_actor_desc block_desc =
	KIT_DESC("block", handlers, .state_size = 8, .bound = 2, .overflow = QMT_BLOCK);

static void late(struct qmt_ctx *ctx, void *state, void *arg)
{
	const struct kit_poke *poke = qmt_msg_body(arg);

	(void)state;
	QMT_TELL(ctx, poke->ref, kit_poke, .value = qmt_now_ms(ctx));
	qmt_msg_free(ctx, arg);
}
static void passed_on(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct qmt_token *token = arg;

	(void)state;
	(void)qmt_reply_result(ctx, *token, result);
	free(token);
}
static void pass_on(struct qmt_ctx *ctx, struct qmt_ref to)
{
	struct qmt_token *token = malloc(sizeof *token);

	if (token) {
		*token = qmt_token(ctx);
		if (QMT_ASK(ctx, to, 100, passed_on, token, kit_poke, .value = 77) == 0)
			return;
	}
	free(token);
	qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "cannot ask");
}
static void on_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct qmt_ref ref = poke->ref;

	(void)state;
	switch (poke->value) {
	case LATE:
		if (qmt_timer_start(ctx, 100, late, qmt_keep(ctx), NULL))
			qmt_fail(ctx, "no memory");
		break;
	case PASS_ON:
		pass_on(ctx, poke->ref);
		break;
	case FAIL:
		qmt_fail(ctx, "told to");
		break;
	case STOP:
		qmt_stop_self(ctx);
		break;
	case CHILD:
		if (qmt_spawn(ctx, &desc, NULL, &ref, NULL) == 0)
			QMT_TELL(ctx, poke->ref, kit_poke, .ref = ref);
		break;
	case NAMED:
		if (qmt_lookup(ctx, "other", &ref) == 0)
			QMT_TELL(ctx, ref, kit_note, .text = qmt_str("to you"), .flag = true);
		break;
	case FOR_EVER:
		QMT_TELL(ctx, qmt_self(ctx), kit_poke, .value = FOR_EVER);
		break;
	default:
		if (QMT_REPLY(ctx, qmt_token(ctx), kit_answer, .value = poke->value))
			qmt_fail(ctx, "no memory");
	}
}

/* ---- what holds -------------------------------------------------------------------------------------------------- */

/* Messages, answers, time, names, ends: all as told. */
static void it_works(void **unused)
{
	(void)unused;
	struct qmt_kit *kit = QMT_KIT_OPEN(.seed = 1);
	struct qmt_ref probe = QMT_KIT_PROBE(kit, "other", &kit_protocol, &kit2_protocol);
	struct qmt_ref one = QMT_KIT_SPAWN(kit, &desc, &(struct qmt_spawn){.restart = QMT_PERMANENT});
	const struct kit_note *note;
	struct qmt_ref small, block, child;

	QMT_KIT_ASK(kit, one, kit_poke, .value = 100);
	QMT_KIT_ASK(kit, one, kit_poke, .value = 101);
	QMT_KIT_EXPECT_REPLY(kit, kit_answer, .value = 100);
	assert_int_equal(QMT_KIT_EXPECT_REPLY_ANY(kit, kit_answer)->value, 101);
	QMT_KIT_TELL(kit, one, kit_poke, .value = NAMED);
	note = QMT_KIT_EXPECT(kit, probe, kit_note, .text = qmt_str("to you"), .flag = true);
	assert_true(qmt_str_is(note->text, "to you"));
	QMT_KIT_EXPECT_NONE(kit, probe);

	QMT_KIT_TELL(kit, one, kit_poke, .value = LATE, .ref = probe);
	QMT_KIT_ADVANCE(kit, 99);
	QMT_KIT_EXPECT_NONE(kit, probe);
	QMT_KIT_ADVANCE(kit, 1);
	QMT_KIT_EXPECT_ANY(kit, probe, kit_poke);

	QMT_KIT_ASK(kit, one, kit_poke, .value = PASS_ON, .ref = probe);
	QMT_KIT_EXPECT(kit, probe, kit_poke, .value = 77);
	QMT_KIT_EXPECT_NO_REPLY(kit);
	QMT_KIT_REPLY(kit, kit_answer, .value = 5);
	QMT_KIT_EXPECT_REPLY(kit, kit_answer, .value = 5);
	QMT_KIT_ASK(kit, one, kit_poke, .value = PASS_ON, .ref = probe);
	QMT_KIT_EXPECT_ANY(kit, probe, kit_poke);
	QMT_KIT_REPLY_FAIL(kit, QMT_FAIL_NOT_ALLOWED);
	QMT_KIT_EXPECT_FAILURE(kit, QMT_FAIL_NOT_ALLOWED);
	QMT_KIT_ASK(kit, one, kit_poke, .value = PASS_ON, .ref = probe);
	QMT_KIT_EXPECT_ANY(kit, probe, kit_poke);
	QMT_KIT_ADVANCE(kit, 100);
	QMT_KIT_EXPECT_FAILURE(kit, QMT_FAIL_DEADLINE);

	QMT_KIT_TELL(kit, one, kit_poke, .value = FAIL);
	QMT_KIT_EXPECT_RESTART(kit, one, QMT_FAIL_FAILED);
	QMT_KIT_EXPECT_ALIVE(kit, one);
	small = QMT_KIT_SPAWN(kit, &small_desc, NULL);
	QMT_KIT_TELL(kit, small, kit_poke, .value = STOP);
	QMT_KIT_EXPECT_END(kit, small, 0);
	small = QMT_KIT_SPAWN(kit, &desc, &(struct qmt_spawn){.config = "bad"});
	QMT_KIT_EXPECT_END(kit, small, QMT_FAIL_FAILED);
	QMT_KIT_TELL_FAILS(kit, QMT_FAIL_NOT_RUNNING, small, kit_poke, .value = 1);

	small = QMT_KIT_SPAWN(kit, &small_desc, NULL);
	block = QMT_KIT_SPAWN(kit, &block_desc, NULL);
	for (int i = 0; i < 2; i++)
		QMT_KIT_ASK(kit, small, kit_poke, .value = 100);
	QMT_KIT_ASK_FAILS(kit, QMT_FAIL_FULL, small, kit_poke, .value = 100);
	for (int i = 0; i < 5; i++)
		QMT_KIT_ASK(kit, block, kit_poke, .value = 200);
	for (int i = 0; i < 7; i++)
		QMT_KIT_EXPECT_REPLY(kit, kit_answer, .value = i < 2 ? 100 : 200);
	assert_null(QMT_KIT_RESULT(kit));

	QMT_KIT_TELL(kit, one, kit_poke, .value = CHILD, .ref = probe);
	child = QMT_KIT_EXPECT_ANY(kit, probe, kit_poke)->ref;
	QMT_KIT_WATCH(kit, child);
	QMT_KIT_TELL(kit, child, kit_poke, .value = FAIL);
	QMT_KIT_EXPECT_END(kit, child, QMT_FAIL_FAILED);
	QMT_KIT_CHECK(kit, qmt_kit_failures(kit) == 0);
	assert_null(QMT_KIT_CLOSE(kit));
}

/* ---- what does not hold ------------------------------------------------------------------------------------------ */

static char said[4096];
static int said_line;

static void note_failure(void *arg, const char *file, int line, const char *text)
{
	assert_ptr_equal(arg, said);
	assert_non_null(strstr(file, "test_kit_test.c"));
	said_line = line;
	(void)snprintf(said, sizeof said, "%s", text);
}

#define SAYS(what, text)                                        \
	do {                                                        \
		said[0] = '\0';                                         \
		(void)(what);                                           \
		assert_string_equal(said, text);                        \
		assert_in_range(said_line, __LINE__ - 3, __LINE__ + 3); \
	} while (0)

/* Every failed expectation says what was expected and what came, at the line where it stands, and the test goes on
 * when `failed` returns. */
static void it_complains(void **unused)
{
	(void)unused;
	struct qmt_kit *kit = QMT_KIT_OPEN(.seed = 1, .failed = note_failure, .arg = said, .max_turns = 1000);
	struct qmt_ref probe = QMT_KIT_PROBE(kit, NULL, &kit_protocol);
	struct qmt_ref one = QMT_KIT_SPAWN(kit, &desc, NULL);
	const struct kit_point points[] = {{.x = 1}, {.y = -2}};
	const struct qmt_str words[] = {{"a", 1}, {"b\"", 2}};

	SAYS(
		assert_int_equal(QMT_KIT_EXPECT_ANY(kit, probe, kit_poke)->value, 0), "probe: expected kit.poke, nothing came");
	QMT_KIT_TELL(kit, probe, kit_poke, .value = 3, .ref = probe);
	SAYS(QMT_KIT_EXPECT(kit, probe, kit_poke, .value = 4),
		"probe: expected kit.poke {value: 4}, came kit.poke {value: 3, ref: probe#2}");
	QMT_KIT_TELL(kit, probe, kit_stop, );
	SAYS(QMT_KIT_EXPECT_ANY(kit, probe, kit_poke), "probe: expected kit.poke, came kit.stop {}");
	QMT_KIT_TELL(kit, probe, kit_note, .points = {points, 2}, .words = {words, 2}, .number = 0.5,
		.bytes = {(const uint8_t *)"\1\xff", 2});
	SAYS(QMT_KIT_EXPECT_NONE(kit, probe),
		"probe: expected nothing, came kit.note {bytes: <01ff>, words: [\"a\", \"b\\x22\"], inner: {}, "
		"points: [{x: 1}, {y: -2}], number: 0.5}");
	QMT_KIT_EXPECT(kit, probe, kit_note, .points = {points, 2}, .words = {words, 2}, .number = 0.5,
		.bytes = {(const uint8_t *)"\1\xff", 2});

	SAYS(QMT_KIT_EXPECT_REPLY_ANY(kit, kit_answer), "ask: expected the reply kit.answer, (none was asked)");
	QMT_KIT_ASK(kit, one, kit_poke, .value = 100);
	SAYS(QMT_KIT_EXPECT_NO_REPLY(kit), "kit.poke: expected no reply yet, came kit.answer");
	SAYS(QMT_KIT_EXPECT_REPLY(kit, kit_answer, .value = 1),
		"kit.poke: expected kit.answer {value: 1}, came kit.answer {value: 100}");
	QMT_KIT_ASK(kit, one, kit_poke, .value = 100);
	SAYS(
		QMT_KIT_EXPECT_FAILURE(kit, QMT_FAIL_FULL), "kit.poke: expected the failure \"mailbox full\", came kit.answer");
	QMT_KIT_ASK(kit, one, kit_poke, .value = NAMED);
	SAYS(
		QMT_KIT_EXPECT_FAILURE(kit, QMT_FAIL_FULL), "kit.poke: expected the failure \"mailbox full\", is not answered");
	QMT_KIT_ADVANCE(kit, 5000);
	SAYS(QMT_KIT_EXPECT_REPLY_ANY(kit, kit_answer),
		"kit.poke: expected the reply kit.answer, came the failure \"deadline passed\" (deadline passed)");
	SAYS(QMT_KIT_REPLY(kit, kit_answer, .value = 1),
		"expected an ask to answer with kit.answer: none was expected from a probe");
	SAYS(QMT_KIT_TELL_FAILS(kit, QMT_FAIL_FULL, one, kit_poke, .value = 100),
		"sending kit.poke {value: 100}: expected mailbox full, came 0 (taken)");
	SAYS(QMT_KIT_TELL(kit, one, kit2_hello, .value = 1),
		"sending kit2.hello {value: 1}: expected 0 (taken), came unknown message");
	SAYS(QMT_KIT_EXPECT_NONE(kit, one), "expected a ref that QMT_KIT_PROBE returned, came another");

	SAYS(QMT_KIT_EXPECT_END(kit, one, 0), "expected an end with the reason 0 (as wanted), the actor runs");
	QMT_KIT_TELL(kit, one, kit_poke, .value = FAIL);
	SAYS(QMT_KIT_EXPECT_ALIVE(kit, one), "expected that the actor runs, it has ended");
	SAYS(QMT_KIT_EXPECT_RESTART(kit, one, QMT_FAIL_FAILED),
		"expected a restart with the reason failed, came an end with the reason failed");
	one = QMT_KIT_SPAWN(kit, &desc, &(struct qmt_spawn){.name = "x"});
	SAYS(QMT_KIT_SPAWN(kit, &desc, &(struct qmt_spawn){.name = "x"}),
		"expected that tested is spawned: tested: the name x is taken");
	SAYS(QMT_KIT_CHECK(kit, 1 + 1 == 3), "expected 1 + 1 == 3, which does not hold");
	QMT_KIT_TELL(kit, one, kit_poke, .value = FOR_EVER);
	SAYS(QMT_KIT_ADVANCE(kit, 1), "expected that the actors come to rest, they did not within 1000 turns");
	assert_int_equal(qmt_kit_failures(kit), 20);
	said[0] = '\0';
	assert_null(QMT_KIT_CLOSE(kit));
	assert_string_equal(said, "");
}

static jmp_buf back;
static void jump(void *arg, const char *file, int line, const char *text)
{
	(void)arg;
	(void)file;
	(void)line;
	(void)text;
	longjmp(back, 1);
}

static void check_and_leave(struct qmt_kit *kit)
{
	QMT_KIT_CHECK(kit, false);
	fail_msg("came back");
}
static void close_it(struct qmt_kit *kit)
{
	QMT_KIT_CLOSE(kit);
}

/* `failed` may leave by longjmp; the kit can be closed afterwards. */
static void it_may_be_left(void **unused)
{
	(void)unused;
	static struct qmt_kit *kit;

	kit = QMT_KIT_OPEN(.seed = 1, .failed = jump);
	if (setjmp(back) == 0) /* what else this function made would be lost by the jump */
		check_and_leave(kit);
	close_it(kit);
}

/* The same seed gives the same run. */
static void same_seed(void **unused)
{
	(void)unused;
	uint64_t hash[3];

	for (uint64_t i = 0; i < 3; i++) {
		struct qmt_kit *kit = QMT_KIT_OPEN(.seed = 1 + i / 2);
		struct qmt_ref actors[8];

		for (int k = 0; k < 8; k++)
			actors[k] = QMT_KIT_SPAWN(kit, &desc, NULL);
		for (uint64_t k = 0; k < 64; k++)
			QMT_KIT_TELL(kit, actors[k % 8], kit_poke, .value = 100);
		QMT_KIT_ADVANCE(kit, 1);
		hash[i] = qmt_kit_trace_hash(kit);
		QMT_KIT_CLOSE(kit);
	}
	assert_int_equal(hash[0], hash[1]);
	assert_int_not_equal(hash[0], hash[2]);
}

/* The nth allocation of the turns fails, for each n, and no other; what the kit does for itself is not among them. */
static void allocations_fail(void **unused)
{
	(void)unused;
	uint64_t n = 0;
	int failures = 0;
	bool more = true;

	while (more) {
		struct qmt_kit *kit = QMT_KIT_OPEN(.seed = 1, .heap = n % 2 ? &qmt_kit_heap : NULL);
		struct qmt_ref probe = QMT_KIT_PROBE(kit, NULL, &kit_protocol);
		struct qmt_ref one = QMT_KIT_SPAWN(kit, &desc, &(struct qmt_spawn){.restart = QMT_PERMANENT});
		const struct qmt_result *result;

		qmt_kit_fail_alloc(kit, n / 2 + 1);
		QMT_KIT_ASK(kit, one, kit_poke, .value = PASS_ON, .ref = probe);
		QMT_KIT_ADVANCE(kit, 0);
		if (!qmt_kit_alloc_failed(kit)) {
			QMT_KIT_EXPECT(kit, probe, kit_poke, .value = 77);
			QMT_KIT_REPLY(kit, kit_answer, .value = 5);
			QMT_KIT_ADVANCE(kit, 100000);
		}
		more = qmt_kit_alloc_failed(kit) || n % 2 == 0;
		failures += qmt_kit_alloc_failed(kit);
		qmt_kit_fail_alloc(kit, 0);
		QMT_KIT_ADVANCE(kit, 5000);
		result = QMT_KIT_RESULT(kit);
		assert_non_null(result);
		assert_true(result->fail != 0 || ((const struct kit_answer *)result->body)->value == 5);
		QMT_KIT_ASK(kit, one, kit_poke, .value = 100);
		QMT_KIT_EXPECT_REPLY(kit, kit_answer, .value = 100);
		QMT_KIT_CLOSE(kit);
		n++;
	}
	/* the ask and its message; each with and without the heap, which has the token besides */
	assert_true(failures >= 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_works),
		cmocka_unit_test(it_complains),
		cmocka_unit_test(it_may_be_left),
		cmocka_unit_test(same_seed),
		cmocka_unit_test(allocations_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
