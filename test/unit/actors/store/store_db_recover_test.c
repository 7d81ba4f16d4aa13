/* A turn that was cut off is left in a form that a model accepts, exactly once, however often the store is started. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "test/lib/store_fixture.h"

/* ---- recovery ---------------------------------------------------------------------------------------------------- */

static void a_cut_answer_becomes_the_last_message(void **state)
{
	struct store_fixture *f = *state;
	struct store_page page;
	struct store_session s;
	struct store_turn_begun begun;
	struct qmt_str id, idle;

	store_fixture_open(f);
	id = store_fixture_session(f, "n");
	idle = store_fixture_session(f, "idle");
	store_fixture_turn(f, idle, "x");
	store_fixture_end(f, idle, 1, "failed");
	assert_int_equal(store_fixture_begin_turn(f, id, "t1", "go", &begun), 0);
	store_fixture_checkpoint(f, id, 1, "half an");
	store_fixture_checkpoint(f, id, 1, "half an ans");
	f->now_ms = 7000;
	assert_int_equal(store_fixture_restart(f), 1);
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 2);
	assert_text(page.messages.items[1].role, "assistant");
	assert_text(page.messages.items[1].content, "half an ans");
	assert_int_equal(page.messages.items[1].turn, 1);
	assert_int_equal(store_fixture_number(f->path, "SELECT sum(partial) FROM messages"), 1);
	assert_int_equal(store_fixture_find(f, "n", &s), 0);
	assert_text(s.state, "interrupted");
	assert_int_equal(s.updated_ms, 7000);
	assert_int_equal(store_fixture_find(f, "idle", &s), 0);
	assert_text(s.state, "failed");

	assert_int_equal(store_fixture_restart(f), 0); /* once */
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 2);
	assert_int_equal(store_fixture_begin_turn(f, id, "t1", "go", &begun), 0);
	assert_true(begun.duplicate);
	assert_text(begun.state, "interrupted");
	assert_int_equal(store_fixture_begin_turn(f, id, "t2", "again", &begun), 0);
	assert_int_equal(begun.turn, 2);
}

static void calls_without_result_are_answered(void **state)
{
	struct store_fixture *f = *state;
	const struct chat_tool_call early = {qmt_str("c1"), qmt_str("read"), {0}};
	const struct chat_tool_call calls[] = {{qmt_str("c1"), qmt_str("read"), {0}},
		{qmt_str("c2"), qmt_str("shell"), {0}}, {qmt_str("c3"), qmt_str("ls"), {0}}};
	/* The first assistant message used the id c1, too (models repeat them): its answer does not count for the second.
	 */
	const struct chat_message messages[] = {
		{.role = qmt_str("assistant"), .tool_calls = {&early, 1}},
		{.role = qmt_str("tool"), .content = qmt_str("r"), .tool_call_id = qmt_str("c1"), .tool_name = qmt_str("read")},
		{.role = qmt_str("assistant"), .content = qmt_str("two"), .tool_calls = {calls, 3}},
		{.role = qmt_str("tool"),
			.content = qmt_str("out"),
			.tool_call_id = qmt_str("c2"),
			.tool_name = qmt_str("shell")},
	};
	struct store_page page;
	struct qmt_str id;
	uint64_t pos;

	store_fixture_open(f);
	id = store_fixture_session(f, "");
	store_fixture_turn(f, id, "go");
	assert_int_equal(store_fixture_try_append(f, id, 1, messages, 4, &pos), 0);
	store_fixture_checkpoint(f, id, 1, "and then");
	assert_int_equal(store_fixture_restart(f), 1);
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 8);

	const struct chat_message *m = page.messages.items;

	assert_text(m[5].role, "tool");
	assert_text(m[5].tool_call_id, "c1");
	assert_text(m[5].tool_name, "read");
	assert_text(m[5].content, "interrupted");
	assert_true(m[5].is_error);
	assert_text(m[6].tool_call_id, "c3");
	assert_text(m[6].tool_name, "ls");
	assert_text(m[7].role, "assistant");
	assert_text(m[7].content, "and then");
	assert_int_equal(store_fixture_restart(f), 0);
}

static void calls_of_an_earlier_turn_are_left(void **state)
{
	struct store_fixture *f = *state;
	const struct chat_tool_call call = {qmt_str("c1"), qmt_str("read"), {0}};
	const struct chat_message open = {.role = qmt_str("assistant"), .tool_calls = {&call, 1}};
	struct store_page page;
	struct qmt_str id;
	uint64_t pos;

	store_fixture_open(f);
	id = store_fixture_session(f, "");
	store_fixture_turn(f, id, "go");
	assert_int_equal(store_fixture_try_append(f, id, 1, &open, 1, &pos), 0);
	store_fixture_end(f, id, 1, "complete");
	store_fixture_turn(f, id, "go on");
	assert_int_equal(store_fixture_restart(f), 1);
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 3);
}

/* A session that has no memory for the results of its calls ends the turn as failed: they get some all the same. */
static void a_turn_that_fails_leaves_no_open_call(void **state)
{
	static const char *const ends[] = {"failed", "cancelled", "limit", "interrupted"};
	struct store_fixture *f = *state;
	const struct chat_tool_call call = {qmt_str("c1"), qmt_str("read"), {0}};
	const struct chat_message open = {.role = qmt_str("assistant"), .tool_calls = {&call, 1}};
	struct store_page page;
	struct qmt_str id;
	uint64_t pos;

	store_fixture_open(f);
	id = store_fixture_session(f, "");
	for (uint32_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		store_fixture_turn(f, id, "go");
		assert_int_equal(store_fixture_try_append(f, id, i + 1, &open, 1, &pos), 0);
		store_fixture_end(f, id, i + 1, ends[i]);
		store_fixture_history(f, id, 0, 0, &page);
		assert_int_equal(page.messages.count, 3 * (i + 1));
		assert_text(page.messages.items[3 * i + 2].role, "tool");
		assert_text(page.messages.items[3 * i + 2].tool_call_id, "c1");
	}
}

static void an_appended_answer_ends_its_checkpoint(void **state)
{
	struct store_fixture *f = *state;
	struct store_page page;
	struct qmt_str id;

	store_fixture_open(f);
	id = store_fixture_session(f, "");
	store_fixture_turn(f, id, "go");
	store_fixture_checkpoint(f, id, 1, "half");
	store_fixture_append(f, id, 1, "assistant", "half and half");
	assert_int_equal(store_fixture_restart(f), 1);
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 2);

	store_fixture_turn(f, id, "go on");
	store_fixture_checkpoint(f, id, 2, "half");
	store_fixture_checkpoint(f, id, 2, "");
	assert_int_equal(store_fixture_restart(f), 1);
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 3);
	store_fixture_begin(f);
	assert_int_equal(store_db_checkpoint(
						 f->db, &(struct store_checkpoint){.session = id, .turn = 2, .text = qmt_str("late")}, &f->err),
		STORE_E_ENDED);
	store_fixture_commit(f);
}

static void a_session_may_end_its_turn_as_interrupted(void **state)
{
	struct store_fixture *f = *state;
	struct store_page page;
	struct qmt_str id;

	store_fixture_open(f);
	id = store_fixture_session(f, "");
	store_fixture_turn(f, id, "go");
	store_fixture_checkpoint(f, id, 1, "half");
	store_fixture_end(f, id, 1, "interrupted");
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 2);
	assert_text(page.messages.items[1].content, "half");
	assert_int_equal(store_fixture_turn(f, id, "again"), 2);
}

static void many_running_turns_are_ended_in_one_batch(void **state)
{
	struct store_fixture *f = *state;

	store_fixture_open(f);
	for (int i = 0; i < 700; i++) { /* more than the writer remembers, and more than a pass takes */
		struct qmt_str id = store_fixture_session(f, "");

		store_fixture_turn(f, id, "go");
		if (i % 2)
			store_fixture_checkpoint(f, id, 1, "text");
	}
	assert_int_equal(store_fixture_restart(f), 700);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM turns WHERE state = 'interrupted'"), 700);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM messages WHERE partial AND pos = 2"), 350);
}

static void a_running_turn_that_is_not_the_last_is_damage(void **state)
{
	struct store_fixture *f = *state;
	struct qmt_str id;
	uint64_t turns;

	store_fixture_open(f);
	id = store_fixture_session(f, "");
	store_fixture_turn(f, id, "a");
	store_fixture_end(f, id, 1, "complete");
	store_fixture_turn(f, id, "b");
	store_fixture_sql(f->path, "UPDATE turns SET state = 'running'");
	assert_int_equal(store_db_recover(f->db, 1, &turns, &f->err), -EUCLEAN);
	assert_says(f->err, "running turn that is not its last");
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM turns WHERE state = 'running'"), 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, store_fixture_setup, store_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_cut_answer_becomes_the_last_message),
		T(calls_without_result_are_answered),
		T(calls_of_an_earlier_turn_are_left),
		T(a_turn_that_fails_leaves_no_open_call),
		T(an_appended_answer_ends_its_checkpoint),
		T(a_session_may_end_its_turn_as_interrupted),
		T(many_running_turns_are_ended_in_one_batch),
		T(a_running_turn_that_is_not_the_last_is_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
