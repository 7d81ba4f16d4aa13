/* Every write does what its contract says: what is refused writes nothing, and a retry finds what the first try made.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "test/lib/store_fixture.h"

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

static void session_is_answered_as_stored(void **state)
{
	struct store_fixture *f = *state;
	struct store_session_create req = {.request = qmt_str("r1"),
		.session = {.name = qmt_str("Größe"),
			.agent = qmt_str("coder"),
			.cwd = qmt_str("/srv/x"),
			.owner = qmt_str("12D3Koo"),
			.remote_tools = true}};
	struct store_session s, again;

	store_fixture_open(f);
	assert_int_equal(store_fixture_create(f, &req, &s), 0);
	assert_int_equal(s.id.len, 36);
	assert_text(s.name, "Größe");
	assert_text(s.agent, "coder");
	assert_text(s.cwd, "/srv/x");
	assert_text(s.owner, "12D3Koo");
	assert_true(s.remote_tools);
	assert_int_equal(s.created_ms, 1000);
	assert_int_equal(s.updated_ms, 1000);
	assert_int_equal(s.messages, 0);
	assert_int_equal(s.turns, 0);
	assert_int_equal(s.state.len, 0);

	f->now_ms = 2000;
	req.session.name = qmt_str("other");
	assert_int_equal(store_fixture_create(f, &req, &again), 0);
	assert_true(qmt_str_eq(again.id, s.id));
	assert_text(again.name, "Größe");
	assert_int_equal(again.created_ms, 1000);

	/* Another owner's request ids mean nothing. */
	req.session.owner = qmt_str("12D3Other");
	assert_int_equal(store_fixture_create(f, &req, &again), 0);
	assert_false(qmt_str_eq(again.id, s.id));
}

static void session_keeps_a_given_id(void **state)
{
	struct store_fixture *f = *state;
	const char *id = "0190aaaa-0000-7000-8000-00000000000a";
	struct store_session_create req = {.request = qmt_str("r1"),
		.session = {.id = qmt_str(id), .peer = qmt_str("12D3Peer"), .peer_name = qmt_str("gpu")}};
	struct store_session s;
	struct store_turn_begun begun;

	store_fixture_open(f);
	assert_int_equal(store_fixture_create(f, &req, &s), 0);
	assert_text(s.id, id);
	assert_text(s.peer_name, "gpu");

	/* The same bookmark once more, by another request. */
	req.request = qmt_str("r2");
	assert_int_equal(store_fixture_create(f, &req, &s), 0);
	assert_text(s.id, id);
	/* Another peer with that id. */
	req.request = qmt_str("r3");
	req.session.peer = qmt_str("12D3Else");
	assert_int_equal(store_fixture_create(f, &req, &s), STORE_E_BAD);
	assert_says(f->err, "exists");

	assert_int_equal(store_fixture_begin_turn(f, qmt_str(id), "t1", "hi", &begun), STORE_E_BAD);
	assert_says(f->err, "another node");
}

static void bad_sessions_are_refused(void **state)
{
	struct store_fixture *f = *state;
	const struct {
		struct store_session_create req;
		int want;
		const char *says;
	} rows[] = {
		{{.session = {.name = qmt_str("x")}}, STORE_E_BAD, "request: is missing"},
		{{.request = qmt_str("r"), .session = {.name = qmt_str("a\nb")}}, STORE_E_BAD,
			"name: has a control character at byte 2"},
		{{.request = qmt_str("r"), .session = {.id = qmt_str("17")}}, STORE_E_BAD, "id \"17\""},
		{{.request = qmt_str("r"), .session = {.id = qmt_str("0190AAAA-0000-7000-8000-00000000000a")}}, STORE_E_BAD,
			"lower case"},
		{{.request = qmt_str("r"), .session = {.agent = qmt_str("123456789")}}, STORE_E_TOO_LARGE,
			"agent: 9 bytes, the bound is 8"},
		{{.request = qmt_str("r"), .session = {.cwd = qmt_str("/1234567890123456")}}, STORE_E_TOO_LARGE,
			"cwd: 17 bytes, the bound is 16"},
	};
	struct store_session s;

	f->limits.name_max_bytes = 8;
	f->limits.message_max_bytes = 16;
	store_fixture_open(f);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(store_fixture_create(f, &rows[i].req, &s), rows[i].want);
		assert_says(f->err, rows[i].says);
	}
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM sessions"), 0);
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

static void a_retried_prompt_is_one_turn(void **state)
{
	struct store_fixture *f = *state;
	struct store_turn_begun begun;
	struct store_page page;
	struct qmt_str id, other;

	store_fixture_open(f);
	id = store_fixture_session(f, "");
	other = store_fixture_session(f, "");
	assert_int_equal(store_fixture_begin_turn(f, id, "t1", "first", &begun), 0);
	assert_int_equal(begun.turn, 1);
	assert_false(begun.duplicate);
	assert_text(begun.state, "running");

	assert_int_equal(store_fixture_begin_turn(f, id, "t1", "first", &begun), 0);
	assert_int_equal(begun.turn, 1);
	assert_true(begun.duplicate);
	assert_text(begun.state, "running");

	store_fixture_close(f); /* also after a restart, without what the writer remembers */
	store_fixture_open(f);
	assert_int_equal(store_fixture_begin_turn(f, id, "t1", "first", &begun), 0);
	assert_true(begun.duplicate);

	assert_int_equal(store_fixture_begin_turn(f, id, "t2", "second", &begun), STORE_E_BUSY);
	assert_says(f->err, "turn 1");
	assert_says(f->err, "under way");
	assert_string_equal(store_db_kind(STORE_E_BUSY), "busy");

	/* The same id in another session is another request. */
	assert_int_equal(store_fixture_begin_turn(f, other, "t1", "elsewhere", &begun), 0);
	assert_false(begun.duplicate);

	store_fixture_end(f, id, 1, "cancelled");
	assert_int_equal(store_fixture_begin_turn(f, id, "t1", "first", &begun), 0);
	assert_true(begun.duplicate);
	assert_text(begun.state, "cancelled");
	assert_int_equal(store_fixture_begin_turn(f, id, "t2", "second", &begun), 0);
	assert_int_equal(begun.turn, 2);

	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 2);
	assert_text(page.messages.items[0].content, "first");
	assert_text(page.messages.items[1].content, "second");
	assert_int_equal(page.messages.items[1].turn, 2);
	assert_int_equal(page.messages.items[1].pos, 3); /* behind the event of the first one's end */
}

static void both_tries_may_be_in_one_batch(void **state)
{
	struct store_fixture *f = *state;
	struct store_turn_begin req = {.request = qmt_str("t1"), .text = qmt_str("hi")};
	struct store_turn_begun first, second;

	store_fixture_open(f);
	req.session = store_fixture_session(f, "");
	store_fixture_begin(f);
	assert_int_equal(store_db_turn_begin(f->db, &req, 1, &f->arena, &first, &f->err), 0);
	assert_int_equal(store_db_turn_begin(f->db, &req, 1, &f->arena, &second, &f->err), 0);
	store_fixture_commit(f);
	assert_false(first.duplicate);
	assert_true(second.duplicate);
	assert_int_equal(second.turn, 1);
}

static void bad_prompts_are_refused(void **state)
{
	struct store_fixture *f = *state;
	struct store_turn_begun begun;
	struct qmt_str id;

	f->limits.message_max_bytes = 100;
	store_fixture_open(f);
	id = store_fixture_session(f, "");
	assert_int_equal(store_fixture_begin_turn(f, id, "", "x", &begun), STORE_E_BAD);
	assert_says(f->err, "request: is missing");
	assert_int_equal(store_fixture_begin_turn(f, id, "t", "", &begun), STORE_E_BAD);
	assert_says(f->err, "not empty");
	assert_int_equal(store_fixture_begin_turn(f, qmt_str("nonsense"), "t", "x", &begun), STORE_E_NOT_FOUND);
	assert_int_equal(store_fixture_begin_turn(f, qmt_str("01900000-0000-7000-8000-999999999999"), "t", "x", &begun),
		STORE_E_NOT_FOUND);
	assert_says(f->err, "qmt session list");
	store_fixture_begin(f);
	assert_int_equal(
		store_db_turn_begin(f->db,
			&(struct store_turn_begin){.session = id, .request = qmt_str("t"), .text = qmt_strn(f->err.text, 101)}, 1,
			&f->arena, &begun, &f->err),
		STORE_E_TOO_LARGE);
	store_fixture_commit(f);
	assert_int_equal(store_fixture_begin_turn(f, id, "t", "fine", &begun), 0);
	assert_int_equal(begun.turn, 1);
}

static void title_is_the_first_prompt_cut(void **state)
{
	struct store_fixture *f = *state;
	struct qmt_str id;
	struct store_session s;
	char text[400] = "line\n\ttwo ", want[400] = "line  two ";

	for (int i = 0; i < 90; i++)
		memcpy(text + 10 + 2 * i, "ä", 3);
	for (int i = 0; i < 70; i++)
		memcpy(want + 10 + 2 * i, "ä", 3);
	store_fixture_open(f);
	id = store_fixture_session(f, "n");
	store_fixture_turn(f, id, text);
	store_fixture_end(f, id, 1, "complete");
	store_fixture_turn(f, id, "another");
	assert_int_equal(store_fixture_find(f, "n", &s), 0);
	assert_text(s.title, want);
}

static void messages_come_back_whole(void **state)
{
	struct store_fixture *f = *state;
	const struct chat_tool_call calls[] = {
		{qmt_str("c1"), qmt_str("read"), qmt_str("{\"path\":\"a\"}")},
		{qmt_str("c2"), qmt_str("ls"), {0}},
	};
	const struct chat_message messages[] = {
		{.role = qmt_str("assistant"),
			.reasoning = qmt_str("hm"),
			.tool_calls = {calls, 2},
			.created_ms = 77,
			.pos = 99,
			.turn = 99},
		{.role = qmt_str("tool"),
			.content = qmt_strn("a\0b", 3),
			.tool_call_id = qmt_str("c1"),
			.tool_name = qmt_str("read")},
		{.role = qmt_str("tool"),
			.content = qmt_str("no"),
			.tool_call_id = qmt_str("c2"),
			.tool_name = qmt_str("ls"),
			.is_error = true},
	};
	struct store_page page;
	struct qmt_str id;
	uint64_t pos = 0, turn;

	store_fixture_open(f);
	id = store_fixture_session(f, "");
	turn = store_fixture_turn(f, id, "go");
	f->now_ms = 5000;
	assert_int_equal(store_fixture_try_append(f, id, turn, messages, 3, &pos), 0);
	assert_int_equal(pos, 4);
	store_fixture_history(f, id, 2, 0, &page);
	assert_int_equal(page.messages.count, 3);
	assert_int_equal(page.total, 4);
	assert_int_equal(page.next, 0);

	const struct chat_message *m = page.messages.items;

	assert_text(m[0].role, "assistant");
	assert_int_equal(m[0].content.len, 0);
	assert_text(m[0].reasoning, "hm");
	assert_int_equal(m[0].pos, 2);
	assert_int_equal(m[0].turn, turn);
	assert_int_equal(m[0].created_ms, 77);
	assert_int_equal(m[0].tool_calls.count, 2);
	assert_text(m[0].tool_calls.items[0].id, "c1");
	assert_text(m[0].tool_calls.items[0].name, "read");
	assert_text(m[0].tool_calls.items[0].arguments, "{\"path\":\"a\"}");
	assert_text(m[0].tool_calls.items[1].id, "c2");
	assert_int_equal(m[0].tool_calls.items[1].arguments.len, 0);
	assert_int_equal(m[1].content.len, 3);
	assert_memory_equal(m[1].content.p, "a\0b", 3);
	assert_int_equal(m[1].created_ms, 5000);
	assert_text(m[1].tool_call_id, "c1");
	assert_text(m[1].tool_name, "read");
	assert_false(m[1].is_error);
	assert_true(m[2].is_error);
}

static void bad_appends_write_nothing(void **state)
{
	struct store_fixture *f = *state;
	const struct chat_tool_call call = {qmt_str("c1"), qmt_str("read"), qmt_str("{}")};
	const struct {
		struct chat_message second;
		int want;
		const char *says;
	} rows[] = {
		{{.role = qmt_str("robot")}, STORE_E_BAD, "messages[1]: role \"robot\""},
		{{.role = qmt_str("user"), .tool_calls = {&call, 1}}, STORE_E_BAD, "messages[1]: tool_calls"},
		{{.role = qmt_str("tool"), .content = qmt_str("x")}, STORE_E_BAD, "messages[1]: tool_call_id"},
		{{.role = qmt_str("user"), .content = qmt_str("123456789012345678901")}, STORE_E_TOO_LARGE,
			"message_max_bytes"},
		{{.role = qmt_str("assistant"), .content = qmt_str("12345678901234567"), .tool_calls = {&call, 1}},
			STORE_E_TOO_LARGE, "25 bytes, the bound is 20"},
	};
	struct qmt_str id;
	uint64_t pos, turn;
	struct chat_message fine = {.role = qmt_str("assistant"), .content = qmt_str("fine")};

	f->limits.message_max_bytes = 20;
	store_fixture_open(f);
	id = store_fixture_session(f, "");
	turn = store_fixture_turn(f, id, "go");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct chat_message two[] = {fine, rows[i].second};

		assert_int_equal(store_fixture_try_append(f, id, turn, two, 2, &pos), rows[i].want);
		assert_says(f->err, rows[i].says);
	}
	assert_int_equal(store_fixture_try_append(f, id, 0, &fine, 1, &pos), STORE_E_NOT_FOUND);
	assert_int_equal(store_fixture_try_append(f, id, 2, &fine, 1, &pos), STORE_E_NOT_FOUND);
	assert_says(f->err, "no turn 2 (its last is 1)");
	assert_int_equal(store_fixture_try_append(f, id, turn, NULL, 0, &pos), 0);
	assert_int_equal(pos, 1);
	store_fixture_end(f, id, turn, "complete");
	assert_int_equal(store_fixture_try_append(f, id, turn, &fine, 1, &pos), STORE_E_ENDED);
	assert_says(f->err, "has ended");
	assert_string_equal(store_db_kind(STORE_E_ENDED), "ended");
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM messages WHERE role <> 'event'"), 1);
}

static void end_sums_usage_and_keeps_the_first_state(void **state)
{
	struct store_fixture *f = *state;
	struct chat_message last = {.role = qmt_str("assistant"), .content = qmt_str("done")};
	struct store_turn_end end = {.turn = 1,
		.state = qmt_str("complete"),
		.finish = qmt_str("stop"),
		.usage = {10, 20, 30, 40},
		.steps = 3,
		.messages = {&last, 1}};
	struct store_session s;

	store_fixture_open(f);
	end.session = store_fixture_session(f, "n");
	store_fixture_turn(f, end.session, "go");
	store_fixture_checkpoint(f, end.session, 1, "don");
	store_fixture_begin(f);
	assert_int_equal(store_db_turn_end(f->db, &end, 9000, &f->err), 0);
	store_fixture_commit(f);
	/* The answer was lost, and the sender changed its mind. */
	end.state = qmt_str("failed");
	store_fixture_begin(f);
	assert_int_equal(store_db_turn_end(f->db, &end, 9001, &f->err), 0);
	store_fixture_commit(f);
	assert_int_equal(store_fixture_find(f, "n", &s), 0);
	assert_text(s.state, "complete");
	assert_int_equal(s.messages, 2);
	assert_int_equal(s.updated_ms, 9000);
	assert_int_equal(s.usage.input_tokens, 10);
	assert_int_equal(s.usage.reasoning_tokens, 40);
	assert_int_equal(
		store_fixture_number(f->path, "SELECT steps FROM turns WHERE checkpoint IS NULL AND finish = 'stop'"), 3);

	/* Nonsense of a provider does not end the store. */
	for (unsigned i = 0; i < 3; i++) {
		end.turn = store_fixture_turn(f, end.session, "more");
		end.state = qmt_str("complete");
		end.usage = (struct chat_usage){UINT64_MAX, 20, 30, 40};
		store_fixture_begin(f);
		assert_int_equal(store_db_turn_end(f->db, &end, 9000, &f->err), 0);
		store_fixture_commit(f);
	}
	assert_int_equal(store_fixture_find(f, "n", &s), 0);
	assert_int_equal(s.usage.output_tokens, 80);
	assert_int_equal(s.usage.input_tokens, 10 + 3 * (UINT64_C(1) << 53));

	end.turn = store_fixture_turn(f, end.session, "more");
	end.state = qmt_str("running");
	store_fixture_begin(f);
	assert_int_equal(store_db_turn_end(f->db, &end, 9000, &f->err), STORE_E_BAD);
	assert_says(f->err, "state \"running\"");
	end.state = qmt_str("complete");
	last.role = qmt_str("x");
	assert_int_equal(store_db_turn_end(f->db, &end, 9000, &f->err), STORE_E_BAD);
	end.turn = 77;
	assert_int_equal(store_db_turn_end(f->db, &end, 9000, &f->err), STORE_E_NOT_FOUND);
	store_fixture_commit(f);
}

static void updated_is_exact_outside_of_turns(void **state)
{
	struct store_fixture *f = *state;
	struct store_session s;
	struct qmt_str id;

	store_fixture_open(f);
	id = store_fixture_session(f, "n");
	f->now_ms = 1100;
	store_fixture_turn(f, id, "go");
	assert_int_equal(store_fixture_find(f, "n", &s), 0);
	assert_int_equal(s.updated_ms, 1100);
	f->now_ms = 2099; /* less than a second later */
	store_fixture_append(f, id, 1, "assistant", "x");
	assert_int_equal(store_fixture_find(f, "n", &s), 0);
	assert_int_equal(s.updated_ms, 1100);
	f->now_ms = 2100;
	store_fixture_append(f, id, 1, "assistant", "x");
	assert_int_equal(store_fixture_find(f, "n", &s), 0);
	assert_int_equal(s.updated_ms, 2100);
	f->now_ms = 2101;
	store_fixture_end(f, id, 1, "complete");
	assert_int_equal(store_fixture_find(f, "n", &s), 0);
	assert_int_equal(s.updated_ms, 2101);
	f->now_ms = 500; /* the clock was set back */
	store_fixture_turn(f, id, "go");
	assert_int_equal(store_fixture_find(f, "n", &s), 0);
	assert_int_equal(s.updated_ms, 500);
}

/* ---- batches ----------------------------------------------------------------------------------------------------- */

static void a_rolled_back_batch_leaves_nothing(void **state)
{
	struct store_fixture *f = *state;
	struct chat_message m = {.role = qmt_str("assistant"), .content = qmt_str("x")};
	struct store_append req = {.turn = 1, .messages = {&m, 1}};
	struct store_page page;
	uint64_t pos;

	store_fixture_open(f);
	req.session = store_fixture_session(f, "");
	store_fixture_turn(f, req.session, "go");
	store_fixture_begin(f);
	for (int i = 0; i < 5; i++)
		assert_int_equal(store_db_append(f->db, &req, 1, &pos, &f->err), 0);
	assert_int_equal(pos, 6);
	store_db_rollback(f->db);
	assert_int_equal(store_fixture_append(f, req.session, 1, "assistant", "y"), 2);
	store_fixture_history(f, req.session, 0, 0, &page);
	assert_int_equal(page.messages.count, 2);
	assert_text(page.messages.items[1].content, "y");
}

static void one_batch_may_hold_more_sessions_than_the_writer_remembers(void **state)
{
	enum { SESSIONS = 1500 };
	struct store_fixture *f = *state;
	struct qmt_str ids[SESSIONS];

	store_fixture_open(f);
	for (int i = 0; i < SESSIONS; i++)
		ids[i] = store_fixture_session(f, "");
	store_fixture_begin(f);
	for (int i = 0; i < SESSIONS; i++) {
		struct store_turn_begun begun;

		assert_int_equal(
			store_db_turn_begin(f->db,
				&(struct store_turn_begin){.session = ids[i], .request = qmt_str("t"), .text = qmt_str("go")}, 5000,
				&f->arena, &begun, &f->err),
			0);
	}
	store_fixture_commit(f);
	assert_int_equal(
		store_fixture_number(f->path, "SELECT count(*) FROM sessions WHERE updated_ms = 5000 AND title = 'go'"),
		SESSIONS);
}

static void what_another_process_wrote_is_seen(void **state)
{
	struct store_fixture *f = *state;
	struct qmt_str id;

	store_fixture_open(f);
	id = store_fixture_session(f, "");
	store_fixture_turn(f, id, "go");
	store_fixture_sql(f->path, "INSERT INTO messages(session, pos, turn, role, created_ms) VALUES(1, 2, 1, 'user', 1)");
	assert_int_equal(store_fixture_append(f, id, 1, "assistant", "y"), 3);
}

static void pins_stay_until_forgotten(void **state)
{
	struct store_fixture *f = *state;
	struct store_pin_get get = {.name = qmt_str("gpu")};
	struct store_pin pin;

	store_fixture_open(f);
	assert_int_equal(store_db_pin_get(f->db, &get, &f->arena, &pin, &f->err), 0);
	assert_text(pin.name, "gpu");
	assert_int_equal(pin.peer_id.len, 0);
	store_fixture_begin(f);
	assert_int_equal(store_db_pin_put(f->db, &(struct store_pin_put){qmt_str("gpu"), qmt_str("12D3A")}, 1, &f->err), 0);
	assert_int_equal(store_db_pin_put(f->db, &(struct store_pin_put){qmt_str("gpu"), qmt_str("12D3A")}, 1, &f->err), 0);
	assert_int_equal(
		store_db_pin_put(f->db, &(struct store_pin_put){qmt_str("gpu"), qmt_str("12D3B")}, 1, &f->err), STORE_E_BAD);
	assert_says(f->err, "peer gpu is pinned to 12D3A");
	assert_says(f->err, "qmt peers forget gpu");
	assert_int_equal(store_db_pin_put(f->db, &(struct store_pin_put){qmt_str("gpu"), {0}}, 1, &f->err), STORE_E_BAD);
	assert_int_equal(store_db_pin_put(f->db, &(struct store_pin_put){{0}, qmt_str("x")}, 1, &f->err), STORE_E_BAD);
	store_fixture_commit(f);
	assert_int_equal(store_db_pin_get(f->db, &get, &f->arena, &pin, &f->err), 0);
	assert_text(pin.peer_id, "12D3A");
	store_fixture_begin(f);
	assert_int_equal(store_db_pin_forget(f->db, &(struct store_pin_forget){.name = qmt_str("gpu")}, &f->err), 0);
	assert_int_equal(
		store_db_pin_forget(f->db, &(struct store_pin_forget){.name = qmt_str("gpu")}, &f->err), STORE_E_NOT_FOUND);
	assert_int_equal(store_db_pin_put(f->db, &(struct store_pin_put){qmt_str("gpu"), qmt_str("12D3B")}, 1, &f->err), 0);
	store_fixture_commit(f);
}

#define T(name) cmocka_unit_test_setup_teardown(name, store_fixture_setup, store_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(session_is_answered_as_stored),
		T(session_keeps_a_given_id),
		T(bad_sessions_are_refused),
		T(a_retried_prompt_is_one_turn),
		T(both_tries_may_be_in_one_batch),
		T(bad_prompts_are_refused),
		T(title_is_the_first_prompt_cut),
		T(messages_come_back_whole),
		T(bad_appends_write_nothing),
		T(end_sums_usage_and_keeps_the_first_state),
		T(updated_is_exact_outside_of_turns),
		T(a_rolled_back_batch_leaves_nothing),
		T(one_batch_may_hold_more_sessions_than_the_writer_remembers),
		T(what_another_process_wrote_is_seen),
		T(pins_stay_until_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
