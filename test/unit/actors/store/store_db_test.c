/* Every operation of the store does what its contract says: what is refused writes nothing, a retry finds what the first try made,
 * and an interrupted turn is left in a form that a model accepts. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "test/lib/store_fixture.h"

#define assert_text(s, text) assert_true(qmt_str_is((s), (text)))
#define assert_says(err, part) \
	do { \
		if (!strstr((err).text, part)) \
			fail_msg("\"%s\" is not in: %s", part, (err).text); \
	} while (0)

static int create(struct store_fixture *f, const struct store_session_create *req, struct store_session *ret_session)
{
	static unsigned fresh;
	char id[40];
	int r;

	snprintf(id, sizeof id, "02900000-0000-7000-8000-%012u", fresh++);
	store_fixture_begin(f);
	r = store_db_session_create(f->db, req, id, f->now_ms, &f->arena, ret_session, &f->err);
	store_fixture_commit(f);
	return r;
}

static int find(struct store_fixture *f, const char *key, struct store_session *ret_session)
{
	return store_db_session_find(f->db, &(struct store_session_find){.key = qmt_str(key)}, &f->arena, ret_session, &f->err);
}

static int begin_turn(struct store_fixture *f, struct qmt_str session, const char *request, const char *text, struct store_turn_begun *ret_begun)
{
	int r;

	store_fixture_begin(f);
	r = store_db_turn_begin(f->db, &(struct store_turn_begin){.session = session, .request = qmt_str(request), .text = qmt_str(text)}, f->now_ms,
		&f->arena, ret_begun, &f->err);
	store_fixture_commit(f);
	return r;
}

static int append(struct store_fixture *f, struct qmt_str session, uint64_t turn, const struct chat_message *messages, uint32_t count, uint64_t *ret_pos)
{
	struct store_append req = {.session = session, .turn = turn, .messages = {messages, count}};
	int r;

	store_fixture_begin(f);
	r = store_db_append(f->db, &req, f->now_ms, ret_pos, &f->err);
	store_fixture_commit(f);
	return r;
}

static void checkpoint(struct store_fixture *f, struct qmt_str session, uint64_t turn, const char *text)
{
	store_fixture_begin(f);
	if (store_db_checkpoint(f->db, &(struct store_checkpoint){.session = session, .turn = turn, .text = qmt_str(text)}, &f->err) != 0)
		fail_msg("%s", f->err.text);
	store_fixture_commit(f);
}

/* A run that was killed, and the next start. */
static uint64_t restart(struct store_fixture *f)
{
	uint64_t turns = 999;

	store_fixture_close(f);
	store_fixture_open(f);
	if (store_db_recover(f->db, f->now_ms, &turns, &f->err) != 0)
		fail_msg("%s", f->err.text);
	return turns;
}

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

static void session_is_answered_as_stored(void **state)
{
	struct store_fixture *f = *state;
	struct store_session_create req = {.request = qmt_str("r1"),
		.session = {.name = qmt_str("Größe"), .agent = qmt_str("coder"), .cwd = qmt_str("/srv/x"), .owner = qmt_str("12D3Koo"), .remote_tools = true}};
	struct store_session s, again;

	store_fixture_open(f);
	assert_int_equal(create(f, &req, &s), 0);
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
	assert_int_equal(create(f, &req, &again), 0);
	assert_true(qmt_str_eq(again.id, s.id));
	assert_text(again.name, "Größe");
	assert_int_equal(again.created_ms, 1000);

	/* Another owner's request ids mean nothing. */
	req.session.owner = qmt_str("12D3Other");
	assert_int_equal(create(f, &req, &again), 0);
	assert_false(qmt_str_eq(again.id, s.id));
}

static void session_keeps_a_given_id(void **state)
{
	struct store_fixture *f = *state;
	const char *id = "0190aaaa-0000-7000-8000-00000000000a";
	struct store_session_create req = {.request = qmt_str("r1"), .session = {.id = qmt_str(id), .peer = qmt_str("12D3Peer"), .peer_name = qmt_str("gpu")}};
	struct store_session s;
	struct store_turn_begun begun;

	store_fixture_open(f);
	assert_int_equal(create(f, &req, &s), 0);
	assert_text(s.id, id);
	assert_text(s.peer_name, "gpu");

	/* The same bookmark once more, by another request. */
	req.request = qmt_str("r2");
	assert_int_equal(create(f, &req, &s), 0);
	assert_text(s.id, id);
	/* Another peer with that id. */
	req.request = qmt_str("r3");
	req.session.peer = qmt_str("12D3Else");
	assert_int_equal(create(f, &req, &s), STORE_E_BAD);
	assert_says(f->err, "exists");

	assert_int_equal(begin_turn(f, qmt_str(id), "t1", "hi", &begun), STORE_E_BAD);
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
		{{.request = qmt_str("r"), .session = {.name = qmt_str("a\nb")}}, STORE_E_BAD, "name: has a control character at byte 2"},
		{{.request = qmt_str("r"), .session = {.id = qmt_str("17")}}, STORE_E_BAD, "id \"17\""},
		{{.request = qmt_str("r"), .session = {.id = qmt_str("0190AAAA-0000-7000-8000-00000000000a")}}, STORE_E_BAD, "lower case"},
		{{.request = qmt_str("r"), .session = {.agent = qmt_str("123456789")}}, STORE_E_TOO_LARGE, "agent: 9 bytes, the bound is 8"},
		{{.request = qmt_str("r"), .session = {.cwd = qmt_str("/1234567890123456")}}, STORE_E_TOO_LARGE, "cwd: 17 bytes, the bound is 16"},
	};
	struct store_session s;

	f->limits.name_max_bytes = 8;
	f->limits.message_max_bytes = 16;
	store_fixture_open(f);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(create(f, &rows[i].req, &s), rows[i].want);
		assert_says(f->err, rows[i].says);
	}
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM sessions"), 0);
}

static void find_by_id_prefix_and_name(void **state)
{
	struct store_fixture *f = *state;
	struct store_session_create req = {.request = qmt_str("r1"), .session = {.id = qmt_str("abcd0000-0000-7000-8000-000000000001")}};
	struct qmt_str first, second;
	struct store_session s;

	store_fixture_open(f);
	first = store_fixture_session(f, "one");
	second = store_fixture_session(f, "two");
	assert_int_equal(create(f, &req, &s), 0);

	assert_int_equal(store_db_session_find(f->db, &(struct store_session_find){.key = second}, &f->arena, &s, &f->err), 0);
	assert_true(qmt_str_eq(s.id, second));
	assert_int_equal(find(f, "one", &s), 0);
	assert_true(qmt_str_eq(s.id, first));
	assert_int_equal(find(f, "abcd", &s), 0);
	assert_text(s.id, "abcd0000-0000-7000-8000-000000000001");
	assert_int_equal(find(f, "ABCD00", &s), 0);
	assert_text(s.id, "abcd0000-0000-7000-8000-000000000001");

	assert_int_equal(find(f, "abc", &s), STORE_E_NOT_FOUND);
	assert_int_equal(find(f, "abce", &s), STORE_E_NOT_FOUND);
	assert_int_equal(find(f, "One", &s), STORE_E_NOT_FOUND);
	assert_says(f->err, "no session One");
	assert_int_equal(find(f, "", &s), STORE_E_BAD);
	assert_int_equal(find(f, "abc\xff", &s), STORE_E_NOT_FOUND);
	assert_int_equal(find(f, "abcd0000-0000-7000-8000-0000000000012", &s), STORE_E_NOT_FOUND);
}

static void several_matches_are_listed(void **state)
{
	struct store_fixture *f = *state;
	struct store_session s;
	struct qmt_str a, b;

	store_fixture_open(f);
	a = store_fixture_session(f, "same");
	f->now_ms++;
	b = store_fixture_session(f, "same");
	assert_int_equal(find(f, "same", &s), STORE_E_BAD);
	assert_says(f->err, "means several sessions");
	assert_says(f->err, "01900000-0000-7000-8000-000000000001 (same), 01900000-0000-7000-8000-000000000000 (same)");
	assert_int_equal(find(f, "0190", &s), STORE_E_BAD);
	assert_null(strstr(f->err.text, "and more"));
	(void)a, (void)b;

	for (int i = 0; i < STORE_CANDIDATES; i++)
		store_fixture_session(f, "a name that is longerääää");
	assert_int_equal(find(f, "0190", &s), STORE_E_BAD);
	assert_says(f->err, ", and more");
	assert_says(f->err, "(a name that is longerä)");

	/* A name goes before the beginning of an id. */
	a = store_fixture_session(f, "0190");
	assert_int_equal(find(f, "0190", &s), 0);
	assert_true(qmt_str_eq(s.id, a));
}

static void list_is_newest_first(void **state)
{
	struct store_fixture *f = *state;
	struct store_session_create mine = {.request = qmt_str("r1"), .session = {.name = qmt_str("peer's"), .owner = qmt_str("12D3Koo")}};
	struct store_sessions page;
	struct store_session s;
	struct qmt_str ids[130];

	store_fixture_open(f);
	for (unsigned i = 0; i < 130; i++) {
		f->now_ms++;
		ids[i] = store_fixture_session(f, "");
	}
	f->now_ms++;
	store_fixture_turn(f, ids[3], "news"); /* makes it the newest */

	assert_int_equal(store_db_session_list(f->db, &(struct store_session_list){0}, &f->arena, &page, &f->err), 0);
	assert_int_equal(page.sessions.count, 20);
	assert_int_equal(page.total, 130);
	assert_true(qmt_str_eq(page.sessions.items[0].id, ids[3]));
	assert_true(qmt_str_eq(page.sessions.items[1].id, ids[129]));
	assert_text(page.sessions.items[0].state, "running");
	assert_text(page.sessions.items[0].title, "news");
	assert_int_equal(page.sessions.items[0].messages, 1);
	assert_int_equal(page.sessions.items[0].turns, 1);

	assert_int_equal(store_db_session_list(f->db, &(struct store_session_list){.limit = 5000, .offset = 100}, &f->arena, &page, &f->err), 0);
	assert_int_equal(page.sessions.count, 30);
	assert_int_equal(store_db_session_list(f->db, &(struct store_session_list){.limit = 5000}, &f->arena, &page, &f->err), 0);
	assert_int_equal(page.sessions.count, STORE_LIST_MAX);
	assert_int_equal(store_db_session_list(f->db, &(struct store_session_list){.offset = UINT64_MAX}, &f->arena, &page, &f->err), 0);
	assert_int_equal(page.sessions.count, 0);

	assert_int_equal(create(f, &mine, &s), 0);
	assert_int_equal(store_db_session_list(f->db, &(struct store_session_list){.owner = qmt_str("12D3Koo")}, &f->arena, &page, &f->err), 0);
	assert_int_equal(page.sessions.count, 1);
	assert_int_equal(page.total, 1);
	assert_true(qmt_str_eq(page.sessions.items[0].id, s.id));
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
	assert_int_equal(begin_turn(f, id, "t1", "first", &begun), 0);
	assert_int_equal(begun.turn, 1);
	assert_false(begun.duplicate);
	assert_text(begun.state, "running");

	assert_int_equal(begin_turn(f, id, "t1", "first", &begun), 0);
	assert_int_equal(begun.turn, 1);
	assert_true(begun.duplicate);
	assert_text(begun.state, "running");

	store_fixture_close(f); /* also after a restart, without what the writer remembers */
	store_fixture_open(f);
	assert_int_equal(begin_turn(f, id, "t1", "first", &begun), 0);
	assert_true(begun.duplicate);

	assert_int_equal(begin_turn(f, id, "t2", "second", &begun), STORE_E_BUSY);
	assert_says(f->err, "turn 1");
	assert_says(f->err, "under way");
	assert_string_equal(store_db_kind(STORE_E_BUSY), "busy");

	/* The same id in another session is another request. */
	assert_int_equal(begin_turn(f, other, "t1", "elsewhere", &begun), 0);
	assert_false(begun.duplicate);

	store_fixture_end(f, id, 1, "cancelled");
	assert_int_equal(begin_turn(f, id, "t1", "first", &begun), 0);
	assert_true(begun.duplicate);
	assert_text(begun.state, "cancelled");
	assert_int_equal(begin_turn(f, id, "t2", "second", &begun), 0);
	assert_int_equal(begun.turn, 2);

	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 2);
	assert_text(page.messages.items[0].content, "first");
	assert_text(page.messages.items[1].content, "second");
	assert_int_equal(page.messages.items[1].turn, 2);
	assert_int_equal(page.messages.items[1].pos, 2);
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
	assert_int_equal(begin_turn(f, id, "", "x", &begun), STORE_E_BAD);
	assert_says(f->err, "request: is missing");
	assert_int_equal(begin_turn(f, id, "t", "", &begun), STORE_E_BAD);
	assert_says(f->err, "not empty");
	assert_int_equal(begin_turn(f, qmt_str("nonsense"), "t", "x", &begun), STORE_E_NOT_FOUND);
	assert_int_equal(begin_turn(f, qmt_str("01900000-0000-7000-8000-999999999999"), "t", "x", &begun), STORE_E_NOT_FOUND);
	assert_says(f->err, "qmt session list");
	store_fixture_begin(f);
	assert_int_equal(store_db_turn_begin(f->db, &(struct store_turn_begin){.session = id, .request = qmt_str("t"), .text = qmt_strn(f->err.text, 101)},
				 1, &f->arena, &begun, &f->err),
		STORE_E_TOO_LARGE);
	store_fixture_commit(f);
	assert_int_equal(begin_turn(f, id, "t", "fine", &begun), 0);
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
	assert_int_equal(find(f, "n", &s), 0);
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
		{.role = qmt_str("assistant"), .reasoning = qmt_str("hm"), .tool_calls = {calls, 2}, .created_ms = 77, .pos = 99, .turn = 99},
		{.role = qmt_str("tool"), .content = qmt_strn("a\0b", 3), .tool_call_id = qmt_str("c1"), .tool_name = qmt_str("read")},
		{.role = qmt_str("tool"), .content = qmt_str("no"), .tool_call_id = qmt_str("c2"), .tool_name = qmt_str("ls"), .is_error = true},
	};
	struct store_page page;
	struct qmt_str id;
	uint64_t pos = 0, turn;

	store_fixture_open(f);
	id = store_fixture_session(f, "");
	turn = store_fixture_turn(f, id, "go");
	f->now_ms = 5000;
	assert_int_equal(append(f, id, turn, messages, 3, &pos), 0);
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
		{{.role = qmt_str("user"), .content = qmt_str("123456789012345678901")}, STORE_E_TOO_LARGE, "message_max_bytes"},
		{{.role = qmt_str("assistant"), .content = qmt_str("12345678901234567"), .tool_calls = {&call, 1}}, STORE_E_TOO_LARGE, "25 bytes, the bound is 20"},
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

		assert_int_equal(append(f, id, turn, two, 2, &pos), rows[i].want);
		assert_says(f->err, rows[i].says);
	}
	assert_int_equal(append(f, id, 0, &fine, 1, &pos), STORE_E_NOT_FOUND);
	assert_int_equal(append(f, id, 2, &fine, 1, &pos), STORE_E_NOT_FOUND);
	assert_says(f->err, "no turn 2 (its last is 1)");
	assert_int_equal(append(f, id, turn, NULL, 0, &pos), 0);
	assert_int_equal(pos, 1);
	store_fixture_end(f, id, turn, "complete");
	assert_int_equal(append(f, id, turn, &fine, 1, &pos), STORE_E_ENDED);
	assert_says(f->err, "has ended");
	assert_string_equal(store_db_kind(STORE_E_ENDED), "ended");
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM messages"), 1);
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
	checkpoint(f, end.session, 1, "don");
	store_fixture_begin(f);
	assert_int_equal(store_db_turn_end(f->db, &end, 9000, &f->err), 0);
	store_fixture_commit(f);
	/* The answer was lost, and the sender changed its mind. */
	end.state = qmt_str("failed");
	store_fixture_begin(f);
	assert_int_equal(store_db_turn_end(f->db, &end, 9001, &f->err), 0);
	store_fixture_commit(f);
	assert_int_equal(find(f, "n", &s), 0);
	assert_text(s.state, "complete");
	assert_int_equal(s.messages, 2);
	assert_int_equal(s.updated_ms, 9000);
	assert_int_equal(s.usage.input_tokens, 10);
	assert_int_equal(s.usage.reasoning_tokens, 40);
	assert_int_equal(store_fixture_number(f->path, "SELECT steps FROM turns WHERE checkpoint IS NULL AND finish = 'stop'"), 3);

	/* Nonsense of a provider does not end the store. */
	for (unsigned i = 0; i < 3; i++) {
		end.turn = store_fixture_turn(f, end.session, "more");
		end.state = qmt_str("complete");
		end.usage = (struct chat_usage){UINT64_MAX, 20, 30, 40};
		store_fixture_begin(f);
		assert_int_equal(store_db_turn_end(f->db, &end, 9000, &f->err), 0);
		store_fixture_commit(f);
	}
	assert_int_equal(find(f, "n", &s), 0);
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
	assert_int_equal(find(f, "n", &s), 0);
	assert_int_equal(s.updated_ms, 1100);
	f->now_ms = 2099; /* less than a second later */
	store_fixture_append(f, id, 1, "assistant", "x");
	assert_int_equal(find(f, "n", &s), 0);
	assert_int_equal(s.updated_ms, 1100);
	f->now_ms = 2100;
	store_fixture_append(f, id, 1, "assistant", "x");
	assert_int_equal(find(f, "n", &s), 0);
	assert_int_equal(s.updated_ms, 2100);
	f->now_ms = 2101;
	store_fixture_end(f, id, 1, "complete");
	assert_int_equal(find(f, "n", &s), 0);
	assert_int_equal(s.updated_ms, 2101);
	f->now_ms = 500; /* the clock was set back */
	store_fixture_turn(f, id, "go");
	assert_int_equal(find(f, "n", &s), 0);
	assert_int_equal(s.updated_ms, 500);
}

/* ---- history ----------------------------------------------------------------------------------------------------- */

static void history_comes_in_pages(void **state)
{
	struct store_fixture *f = *state;
	struct store_page page;
	struct qmt_str id;
	uint64_t turn, next = 1, seen = 0;

	f->limits.page_bytes = 3000;
	store_fixture_open(f);
	id = store_fixture_session(f, "");
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 0);
	assert_int_equal(page.total, 0);
	assert_int_equal(page.next, 0);

	turn = store_fixture_turn(f, id, "go");
	store_fixture_begin(f);
	for (int i = 2; i <= 1234; i++) {
		struct chat_message m = {.role = qmt_str("assistant"), .content = qmt_str("x")};
		uint64_t pos;

		assert_int_equal(store_db_append(f->db, &(struct store_append){.session = id, .turn = turn, .messages = {&m, 1}}, 1, &pos, &f->err), 0);
	}
	store_fixture_commit(f);
	while (next != 0) {
		store_fixture_history(f, id, next, 100, &page);
		assert_int_equal(page.total, 1234);
		for (uint32_t i = 0; i < page.messages.count; i++)
			assert_int_equal(page.messages.items[i].pos, ++seen);
		assert_int_equal(page.next, seen < 1234 ? seen + 1 : 0);
		next = page.next;
	}
	assert_int_equal(seen, 1234);
	store_fixture_history(f, id, 0, UINT32_MAX, &page);
	assert_int_equal(page.messages.count, STORE_HISTORY_MAX);
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, STORE_HISTORY_DEFAULT);
	store_fixture_history(f, id, 1235, 0, &page);
	assert_int_equal(page.messages.count, 0);
	assert_int_equal(page.next, 0);
	store_fixture_history(f, id, UINT64_MAX, 0, &page);
	assert_int_equal(page.messages.count, 0);

	assert_int_equal(store_db_history(f->db, &(struct store_history){.session = qmt_str("x")}, &f->arena, &page, &f->err), STORE_E_NOT_FOUND);
}

static void a_page_is_bounded_in_bytes(void **state)
{
	struct store_fixture *f = *state;
	struct store_page page;
	struct qmt_str id;
	char text[2001];
	uint64_t turn;

	memset(text, 'x', 2000);
	text[2000] = '\0';
	f->limits.page_bytes = 3000;
	store_fixture_open(f);
	id = store_fixture_session(f, "");
	turn = store_fixture_turn(f, id, "go");
	for (int i = 0; i < 4; i++)
		store_fixture_append(f, id, turn, "assistant", text);
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 3); /* 2 + 2000 + 2000 */
	assert_int_equal(page.next, 4);
	store_fixture_history(f, id, 4, 0, &page);
	assert_int_equal(page.messages.count, 2);
	assert_int_equal(page.next, 0);
}

/* Sessions 0 <- 1 <- 2: 1 forks 0 at 3, 2 forks 1 at 5. */
static void history_follows_ancestors(void **state)
{
	struct store_fixture *f = *state;
	static const char *const want[] = {"root 1", "root 2", "root 3", "mid 4", "mid 5", "leaf 6", "leaf 7"};
	struct qmt_str ids[3];
	struct store_page page;
	struct store_session s;

	store_fixture_open(f);
	for (int i = 0; i < 3; i++)
		ids[i] = store_fixture_session(f, i == 0 ? "root" : i == 1 ? "mid" : "leaf");
	store_fixture_sql(f->path, "UPDATE sessions SET parent = 1, fork_pos = 3, fork_turn = 1 WHERE key = 2;"
				   "UPDATE sessions SET parent = 2, fork_pos = 5, fork_turn = 2 WHERE key = 3");
	store_fixture_turn(f, ids[0], "root 1");
	store_fixture_append(f, ids[0], 1, "assistant", "root 2");
	store_fixture_append(f, ids[0], 1, "assistant", "root 3");
	store_fixture_append(f, ids[0], 1, "assistant", "root 4, after the fork");
	assert_int_equal(find(f, "mid", &s), 0);
	assert_int_equal(s.messages, 3);
	assert_int_equal(s.turns, 1);
	assert_int_equal(store_fixture_turn(f, ids[1], "mid 4"), 2);
	store_fixture_append(f, ids[1], 2, "assistant", "mid 5");
	store_fixture_append(f, ids[1], 2, "assistant", "mid 6, after the fork");
	assert_int_equal(store_fixture_turn(f, ids[2], "leaf 6"), 3);
	assert_int_equal(store_fixture_append(f, ids[2], 3, "assistant", "leaf 7"), 7);

	for (uint32_t limit = 1; limit <= 8; limit++)
		for (uint64_t from = 1; from <= 7; from++) {
			uint32_t count = (uint32_t)(8 - from) < limit ? (uint32_t)(8 - from) : limit;

			store_fixture_history(f, ids[2], from, limit, &page);
			assert_int_equal(page.total, 7);
			assert_int_equal(page.messages.count, count);
			assert_int_equal(page.next, from + count <= 7 ? from + count : 0);
			for (uint32_t i = 0; i < count; i++) {
				assert_text(page.messages.items[i].content, want[from - 1 + i]);
				assert_int_equal(page.messages.items[i].pos, from + i);
			}
		}
	/* A fork before the point where its parent was forked. */
	store_fixture_sql(f->path, "UPDATE sessions SET fork_pos = 2 WHERE key = 3; DELETE FROM messages WHERE session = 3");
	store_fixture_history(f, ids[2], 0, 0, &page);
	assert_int_equal(page.messages.count, 2);
	assert_int_equal(page.total, 2);
	assert_int_equal(page.next, 0);
	assert_text(page.messages.items[1].content, "root 2");
}

static void ancestors_that_have_no_end_are_damage(void **state)
{
	struct store_fixture *f = *state;
	struct store_page page;
	struct qmt_str id;

	f->limits.fork_depth_max = 3;
	store_fixture_open(f);
	id = store_fixture_session(f, "");
	store_fixture_session(f, "");
	store_fixture_sql(f->path, "UPDATE sessions SET parent = 3 - key, fork_pos = 5");
	assert_int_equal(store_db_history(f->db, &(struct store_history){.session = id}, &f->arena, &page, &f->err), -EUCLEAN);
	assert_says(f->err, f->path);
	assert_says(f->err, "fork_depth_max");
	store_fixture_sql(f->path, "UPDATE sessions SET parent = 77");
	assert_int_equal(store_db_history(f->db, &(struct store_history){.session = id}, &f->arena, &page, &f->err), -EUCLEAN);
	assert_says(f->err, "parent is missing");
	/* The connection is good for what follows. */
	store_fixture_sql(f->path, "UPDATE sessions SET parent = NULL, fork_pos = 0");
	store_fixture_turn(f, id, "go");
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 1);
}

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
	assert_int_equal(begin_turn(f, id, "t1", "go", &begun), 0);
	checkpoint(f, id, 1, "half an");
	checkpoint(f, id, 1, "half an ans");
	f->now_ms = 7000;
	assert_int_equal(restart(f), 1);
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 2);
	assert_text(page.messages.items[1].role, "assistant");
	assert_text(page.messages.items[1].content, "half an ans");
	assert_int_equal(page.messages.items[1].turn, 1);
	assert_int_equal(store_fixture_number(f->path, "SELECT sum(partial) FROM messages"), 1);
	assert_int_equal(find(f, "n", &s), 0);
	assert_text(s.state, "interrupted");
	assert_int_equal(s.updated_ms, 7000);
	assert_int_equal(find(f, "idle", &s), 0);
	assert_text(s.state, "failed");

	assert_int_equal(restart(f), 0); /* once */
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 2);
	assert_int_equal(begin_turn(f, id, "t1", "go", &begun), 0);
	assert_true(begun.duplicate);
	assert_text(begun.state, "interrupted");
	assert_int_equal(begin_turn(f, id, "t2", "again", &begun), 0);
	assert_int_equal(begun.turn, 2);
}

static void calls_without_result_are_answered(void **state)
{
	struct store_fixture *f = *state;
	const struct chat_tool_call early = {qmt_str("c1"), qmt_str("read"), {0}};
	const struct chat_tool_call calls[] = {
		{qmt_str("c1"), qmt_str("read"), {0}}, {qmt_str("c2"), qmt_str("shell"), {0}}, {qmt_str("c3"), qmt_str("ls"), {0}}};
	/* The first assistant message used the id c1, too (models repeat them): its answer does not count for the second. */
	const struct chat_message messages[] = {
		{.role = qmt_str("assistant"), .tool_calls = {&early, 1}},
		{.role = qmt_str("tool"), .content = qmt_str("r"), .tool_call_id = qmt_str("c1"), .tool_name = qmt_str("read")},
		{.role = qmt_str("assistant"), .content = qmt_str("two"), .tool_calls = {calls, 3}},
		{.role = qmt_str("tool"), .content = qmt_str("out"), .tool_call_id = qmt_str("c2"), .tool_name = qmt_str("shell")},
	};
	struct store_page page;
	struct qmt_str id;
	uint64_t pos;

	store_fixture_open(f);
	id = store_fixture_session(f, "");
	store_fixture_turn(f, id, "go");
	assert_int_equal(append(f, id, 1, messages, 4, &pos), 0);
	checkpoint(f, id, 1, "and then");
	assert_int_equal(restart(f), 1);
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
	assert_int_equal(restart(f), 0);
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
	assert_int_equal(append(f, id, 1, &open, 1, &pos), 0);
	store_fixture_end(f, id, 1, "failed");
	store_fixture_turn(f, id, "go on");
	assert_int_equal(restart(f), 1);
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 3);
}

static void an_appended_answer_ends_its_checkpoint(void **state)
{
	struct store_fixture *f = *state;
	struct store_page page;
	struct qmt_str id;

	store_fixture_open(f);
	id = store_fixture_session(f, "");
	store_fixture_turn(f, id, "go");
	checkpoint(f, id, 1, "half");
	store_fixture_append(f, id, 1, "assistant", "half and half");
	assert_int_equal(restart(f), 1);
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 2);

	store_fixture_turn(f, id, "go on");
	checkpoint(f, id, 2, "half");
	checkpoint(f, id, 2, "");
	assert_int_equal(restart(f), 1);
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 3);
	store_fixture_begin(f);
	assert_int_equal(store_db_checkpoint(f->db, &(struct store_checkpoint){.session = id, .turn = 2, .text = qmt_str("late")}, &f->err), STORE_E_ENDED);
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
	checkpoint(f, id, 1, "half");
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
			checkpoint(f, id, 1, "text");
	}
	assert_int_equal(restart(f), 700);
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

		assert_int_equal(store_db_turn_begin(f->db, &(struct store_turn_begin){ids[i], qmt_str("t"), qmt_str("go")}, 5000, &f->arena, &begun, &f->err), 0);
	}
	store_fixture_commit(f);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM sessions WHERE updated_ms = 5000 AND title = 'go'"), SESSIONS);
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

static void a_reader_sees_what_was_committed(void **state)
{
	struct store_fixture *f = *state;
	struct store_db *reader = NULL;
	struct store_page page;
	struct qmt_str id;

	store_fixture_open(f);
	id = store_fixture_session(f, "");
	assert_int_equal(store_db_open(f->path, &f->limits, STORE_DB_READ, &reader, &f->err), 0);
	store_fixture_turn(f, id, "go");
	for (uint32_t i = 2; i < 50; i++) {
		store_fixture_append(f, id, 1, "assistant", "x");
		assert_int_equal(store_db_history(reader, &(struct store_history){.session = id}, &f->arena, &page, &f->err), 0);
		assert_int_equal(page.messages.count, i);
	}
	assert_int_equal(store_db_begin(reader, &f->err), -EROFS);
	store_db_close(reader);
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
	assert_int_equal(store_db_pin_put(f->db, &(struct store_pin_put){qmt_str("gpu"), qmt_str("12D3B")}, 1, &f->err), STORE_E_BAD);
	assert_says(f->err, "peer gpu is pinned to 12D3A");
	assert_says(f->err, "qmt peers forget gpu");
	assert_int_equal(store_db_pin_put(f->db, &(struct store_pin_put){qmt_str("gpu"), {0}}, 1, &f->err), STORE_E_BAD);
	assert_int_equal(store_db_pin_put(f->db, &(struct store_pin_put){{0}, qmt_str("x")}, 1, &f->err), STORE_E_BAD);
	store_fixture_commit(f);
	assert_int_equal(store_db_pin_get(f->db, &get, &f->arena, &pin, &f->err), 0);
	assert_text(pin.peer_id, "12D3A");
	store_fixture_begin(f);
	assert_int_equal(store_db_pin_forget(f->db, &(struct store_pin_forget){.name = qmt_str("gpu")}, &f->err), 0);
	assert_int_equal(store_db_pin_forget(f->db, &(struct store_pin_forget){.name = qmt_str("gpu")}, &f->err), STORE_E_NOT_FOUND);
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
		T(find_by_id_prefix_and_name),
		T(several_matches_are_listed),
		T(list_is_newest_first),
		T(a_retried_prompt_is_one_turn),
		T(both_tries_may_be_in_one_batch),
		T(bad_prompts_are_refused),
		T(title_is_the_first_prompt_cut),
		T(messages_come_back_whole),
		T(bad_appends_write_nothing),
		T(end_sums_usage_and_keeps_the_first_state),
		T(updated_is_exact_outside_of_turns),
		T(history_comes_in_pages),
		T(a_page_is_bounded_in_bytes),
		T(history_follows_ancestors),
		T(ancestors_that_have_no_end_are_damage),
		T(a_cut_answer_becomes_the_last_message),
		T(calls_without_result_are_answered),
		T(calls_of_an_earlier_turn_are_left),
		T(an_appended_answer_ends_its_checkpoint),
		T(a_session_may_end_its_turn_as_interrupted),
		T(many_running_turns_are_ended_in_one_batch),
		T(a_running_turn_that_is_not_the_last_is_damage),
		T(a_rolled_back_batch_leaves_nothing),
		T(one_batch_may_hold_more_sessions_than_the_writer_remembers),
		T(what_another_process_wrote_is_seen),
		T(a_reader_sees_what_was_committed),
		T(pins_stay_until_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
