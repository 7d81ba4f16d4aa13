/* A fork is one row, shows what its parent had at that point and nothing that came later; what is deleted is gone for
 * all who ask, but forks keep what they use; whatever happens to a session has a place in its history.
 */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "test/lib/store_fixture.h"

enum { PURGE_ROWS = 3 };

static int fork_at(
	struct store_fixture *f, struct qmt_str session, uint64_t pos, const char *name, struct store_session *ret_session)
{
	struct store_session_fork req = {.session = session, .pos = pos, .name = qmt_str(name)};
	char request[32], id[40];
	int r;

	snprintf(request, sizeof request, "fork-%u", f->ids);
	snprintf(id, sizeof id, "03900000-0000-7000-8000-%012u", f->ids++);
	req.request = qmt_str(request);
	store_fixture_begin(f);
	r = store_db_session_fork(f->db, &req, id, f->now_ms, &f->arena, ret_session, &f->err);
	store_fixture_commit(f);
	return r;
}

static int archive(struct store_fixture *f, struct qmt_str session, bool archived)
{
	struct store_session now;
	int r;

	store_fixture_begin(f);
	r = store_db_session_archive(f->db, &(struct store_session_archive){.session = session, .archived = archived},
		f->now_ms, &f->arena, &now, &f->err);
	store_fixture_commit(f);
	if (r == 0)
		assert_int_equal(now.archived_ms != 0, archived);
	return r;
}

static int rename_to(struct store_fixture *f, struct qmt_str session, const char *name)
{
	struct store_session now;
	int r;

	store_fixture_begin(f);
	r = store_db_session_rename(f->db, &(struct store_session_rename){.session = session, .name = qmt_str(name)},
		f->now_ms, &f->arena, &now, &f->err);
	store_fixture_commit(f);
	if (r == 0)
		assert_text(now.name, name);
	return r;
}

static int delete (struct store_fixture *f, struct qmt_str session)
{
	int r;

	store_fixture_begin(f);
	r = store_db_session_delete(f->db, &(struct store_session_delete){.session = session}, f->now_ms, &f->err);
	store_fixture_commit(f);
	return r;
}

/* How many steps it took. */
static int purge(struct store_fixture *f)
{
	bool more = true;
	int steps = 0;

	while (more) {
		store_fixture_begin(f);
		assert_int_equal(store_db_purge(f->db, PURGE_ROWS, &more, &f->err), 0);
		store_fixture_commit(f);
		assert_true(++steps < 1000);
	}
	return steps;
}

/* What the session's history is, one word a message: its content, of an event its kind in brackets. */
static const char *told(struct store_fixture *f, struct qmt_str session, bool events)
{
	static char text[4096];
	struct store_page page;
	size_t len = 0;

	if (store_db_history(
			f->db, &(struct store_history){.session = session, .events = events}, &f->arena, &page, &f->err) != 0)
		fail_msg("%s", f->err.text);
	text[0] = 0;
	for (uint32_t i = 0; i < page.messages.count; i++) {
		const struct chat_message *m = &page.messages.items[i];
		bool event = qmt_str_is(m->role, "event");

		len += (size_t)snprintf(text + len, sizeof text - len, event ? "%s(%.*s)" : "%s%.*s", i ? " " : "",
			QMT_STR_ARG(event ? m->tool_name : m->content));
	}
	assert_int_equal(page.next, 0);
	return text;
}

/* u1 a2 (turn_end) u4 a5-with-two-calls t6 t7 a8 (turn_end) */
static struct qmt_str a_session(struct store_fixture *f, const char *name)
{
	const struct chat_tool_call calls[] = {
		{.id = qmt_str("c1"), .name = qmt_str("ls"), .arguments = qmt_str("{}")},
		{.id = qmt_str("c2"), .name = qmt_str("ls"), .arguments = qmt_str("{}")},
	};
	struct chat_message answers[] = {
		{.role = qmt_str("assistant"), .content = qmt_str("a5"), .tool_calls = {calls, 2}},
		{.role = qmt_str("tool"), .content = qmt_str("t6"), .tool_call_id = qmt_str("c1")},
		{.role = qmt_str("tool"), .content = qmt_str("t7"), .tool_call_id = qmt_str("c2")},
		{.role = qmt_str("assistant"), .content = qmt_str("a8")},
	};
	struct qmt_str id = store_fixture_session(f, name);
	uint64_t pos, turn = store_fixture_turn(f, id, "u1");

	store_fixture_append(f, id, turn, "assistant", "a2");
	store_fixture_end(f, id, turn, "complete");
	turn = store_fixture_turn(f, id, "u4");
	assert_int_equal(store_fixture_try_append(f, id, turn, answers, 4, &pos), 0);
	assert_int_equal(pos, 8);
	store_fixture_end(f, id, turn, "complete");
	return id;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static void events_have_a_place_in_the_history(void **state)
{
	struct store_fixture *f = *state;
	struct store_session s;
	struct store_page page;
	struct qmt_str id;

	store_fixture_open(f);
	id = a_session(f, "one");
	assert_string_equal(told(f, id, true), "u1 a2 (turn_end) u4 a5 t6 t7 a8 (turn_end)");
	assert_string_equal(told(f, id, false), "u1 a2 u4 a5 t6 t7 a8");
	assert_int_equal(store_fixture_find(f, "one", &s), 0);
	assert_int_equal(s.messages, 7);
	assert_int_equal(s.last, 9);
	assert_int_equal(rename_to(f, id, "say \"two\""), 0);
	assert_int_equal(rename_to(f, id, "say \"two\""), 0); /* nothing happens */
	assert_int_equal(archive(f, id, true), 0);
	assert_int_equal(archive(f, id, true), 0);
	assert_int_equal(archive(f, id, false), 0);
	assert_int_equal(store_db_history(f->db, &(struct store_history){.session = id, .from = 9, .events = true},
						 &f->arena, &page, &f->err),
		0);
	assert_int_equal(page.total, 7);
	assert_int_equal(page.last, 12);
	assert_int_equal(page.messages.count, 4);
	assert_text(page.messages.items[0].content,
		"{\"turn\":2,\"outcome\":\"complete\",\"finish\":\"\",\"error\":\"\",\"steps\":0,\"input_tokens\":0,"
		"\"output_tokens\":0,\"cached_tokens\":0,\"reasoning_tokens\":0}");
	assert_text(page.messages.items[1].tool_name, "renamed");
	assert_text(page.messages.items[1].content, "{\"name\":\"say \\\"two\\\"\"}");
	assert_text(page.messages.items[2].tool_name, "archived");
	assert_text(page.messages.items[3].tool_name, "unarchived");
}

/* A page of messages only goes on behind events, and says where. */
static void pages_skip_events(void **state)
{
	struct store_fixture *f = *state;
	struct store_page page;
	struct qmt_str id;

	store_fixture_open(f);
	id = a_session(f, "");
	store_fixture_history(f, id, 1, 2, &page);
	assert_int_equal(page.messages.count, 2);
	assert_int_equal(page.next, 4);
	store_fixture_history(f, id, 3, 1, &page);
	assert_text(page.messages.items[0].content, "u4");
	assert_int_equal(page.next, 5);
	store_fixture_history(f, id, 8, 1, &page);
	assert_text(page.messages.items[0].content, "a8");
	assert_int_equal(page.next, 0);
	store_fixture_history(f, id, 9, 1, &page);
	assert_int_equal(page.messages.count, 0);
	assert_int_equal(page.next, 0);
}

/* ---- forks ------------------------------------------------------------------------------------------------------- */

static void a_fork_goes_its_own_way(void **state)
{
	struct store_fixture *f = *state;
	struct store_session fork, s;
	struct qmt_str id;

	store_fixture_open(f);
	id = a_session(f, "one");
	f->now_ms = 5000;
	assert_int_equal(fork_at(f, id, 2, "", &fork), 0);
	assert_text(fork.name, "Fork of one");
	assert_text(fork.agent, "coder");
	assert_text(fork.cwd, "/work");
	assert_true(qmt_str_eq(fork.parent, id));
	assert_int_equal(fork.fork_pos, 2);
	assert_int_equal(fork.messages, 2);
	assert_int_equal(fork.last, 3);
	assert_int_equal(fork.turns, 1);
	assert_int_equal(fork.created_ms, 5000);
	store_fixture_end(f, fork.id, store_fixture_turn(f, fork.id, "other"), "complete");
	assert_string_equal(told(f, fork.id, true), "u1 a2 (forked) other (turn_end)");
	assert_string_equal(told(f, id, true), "u1 a2 (turn_end) u4 a5 t6 t7 a8 (turn_end)");
	assert_int_equal(store_fixture_find(f, "Fork of one", &s), 0);
	assert_int_equal(s.turns, 2);
	assert_int_equal(s.messages, 3);
	/* What the parent does later is not the fork's. */
	store_fixture_end(f, id, store_fixture_turn(f, id, "later"), "complete");
	assert_string_equal(told(f, fork.id, false), "u1 a2 other");
}

static void a_retried_fork_is_one(void **state)
{
	struct store_fixture *f = *state;
	struct store_session first, again;
	struct store_session_fork req = {.request = qmt_str("same"), .pos = 1};

	store_fixture_open(f);
	req.session = a_session(f, "");
	store_fixture_begin(f);
	assert_int_equal(
		store_db_session_fork(f->db, &req, "03900000-0000-7000-8000-000000000001", 1, &f->arena, &first, &f->err), 0);
	assert_int_equal(
		store_db_session_fork(f->db, &req, "03900000-0000-7000-8000-000000000002", 1, &f->arena, &again, &f->err), 0);
	store_fixture_commit(f);
	assert_true(qmt_str_eq(first.id, again.id));
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM sessions"), 2);
}

static void forks_of_forks(void **state)
{
	struct store_fixture *f = *state;
	struct store_session fork, inner, outer;
	struct qmt_str id;
	uint64_t turn;

	store_fixture_open(f);
	id = a_session(f, "");
	assert_int_equal(fork_at(f, id, 4, "", &fork), 0);
	assert_int_equal(fork.name.len, 0);
	turn = store_fixture_turn(f, fork.id, "x6");
	store_fixture_append(f, fork.id, turn, "assistant", "x7");
	store_fixture_end(f, fork.id, turn, "complete");
	assert_int_equal(fork_at(f, fork.id, 6, "inner", &inner), 0);
	assert_string_equal(told(f, inner.id, true), "u1 a2 (turn_end) u4 (forked) x6 (forked)");
	assert_true(qmt_str_eq(inner.parent, fork.id));
	/* A message that the parent has from its own parent: that one is forked. */
	assert_int_equal(fork_at(f, fork.id, 2, "outer", &outer), 0);
	assert_true(qmt_str_eq(outer.parent, id));
	assert_string_equal(told(f, outer.id, false), "u1 a2");
	/* The newest point of a fork that has nothing of its own. */
	assert_int_equal(fork_at(f, outer.id, 0, "", &outer), 0);
	assert_true(qmt_str_eq(outer.parent, id));
	assert_string_equal(told(f, outer.id, false), "u1 a2");
}

static void bad_points_are_refused(void **state)
{
	struct store_fixture *f = *state;
	const struct {
		uint64_t pos;
		const char *says;
	} rows[] = {
		{10, "has no message 10: its last is 9"},
		{UINT64_MAX, "its last is 9"},
		{3, "position 3 is an event, not a message: the last message before it is at 2"},
		{5, "message 5 stands between a tool call and its result: fork at 4 or earlier"},
		{6, "message 6 stands between a tool call and its result: fork at 4 or earlier"},
	};
	struct store_session fork;
	struct qmt_str id, empty;

	store_fixture_open(f);
	id = a_session(f, "");
	empty = store_fixture_session(f, "");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(fork_at(f, id, rows[i].pos, "", &fork), STORE_E_BAD);
		assert_says(f->err, rows[i].says);
	}
	assert_int_equal(fork_at(f, id, 7, "", &fork), 0);
	assert_int_equal(fork_at(f, empty, 0, "", &fork), STORE_E_BAD);
	assert_says(f->err, "has no message");
	assert_int_equal(fork_at(f, qmt_str("none"), 1, "", &fork), STORE_E_NOT_FOUND);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM sessions"), 3);
}

/* While calls run, the newest point is before them. */
static void the_newest_point_has_no_open_call(void **state)
{
	struct store_fixture *f = *state;
	const struct chat_tool_call call = {.id = qmt_str("c"), .name = qmt_str("ls"), .arguments = qmt_str("{}")};
	struct chat_message m = {.role = qmt_str("assistant"), .content = qmt_str("a"), .tool_calls = {&call, 1}};
	struct store_session fork;
	struct qmt_str id;
	uint64_t turn, pos;

	store_fixture_open(f);
	id = store_fixture_session(f, "");
	turn = store_fixture_turn(f, id, "u");
	assert_int_equal(store_fixture_try_append(f, id, turn, &m, 1, &pos), 0);
	assert_int_equal(fork_at(f, id, 0, "", &fork), 0);
	assert_string_equal(told(f, fork.id, false), "u");
}

static void forks_have_a_depth(void **state)
{
	struct store_fixture *f = *state;
	struct store_session fork;
	struct qmt_str id;

	f->limits.fork_depth_max = 3;
	store_fixture_open(f);
	id = a_session(f, "");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(fork_at(f, id, 0, "", &fork), 0);
		id = fork.id;
		store_fixture_end(f, id, store_fixture_turn(f, id, "own"), "complete");
	}
	assert_int_equal(fork_at(f, id, 0, "", &fork), STORE_E_TOO_LARGE);
	assert_says(f->err, "fork_depth_max (3)");
	assert_int_equal(fork_at(f, id, 2, "", &fork), 0); /* of the root's message */
	assert_string_equal(told(f, id, false), "u1 a2 u4 a5 t6 t7 a8 own own own");
}

/* ---- archive, delete --------------------------------------------------------------------------------------------- */

static void archived_sessions_are_apart(void **state)
{
	struct store_fixture *f = *state;
	struct store_turn_begun begun;
	struct store_sessions list;
	struct qmt_str id;
	static const uint32_t want[] = {1, 1, 2};
	uint64_t turn;

	store_fixture_open(f);
	id = a_session(f, "away");
	store_fixture_session(f, "here");
	turn = store_fixture_turn(f, id, "u");
	assert_int_equal(archive(f, id, true), STORE_E_BUSY);
	assert_int_equal(delete (f, id), STORE_E_BUSY);
	store_fixture_end(f, id, turn, "complete");
	assert_int_equal(archive(f, id, true), 0);
	for (uint32_t archived = 0; archived < 3; archived++) {
		assert_int_equal(
			store_db_session_list(f->db, &(struct store_session_list){.archived = archived}, &f->arena, &list, &f->err),
			0);
		assert_int_equal(list.total, want[archived]);
		assert_int_equal(list.sessions.count, want[archived]);
		assert_text(list.sessions.items[0].name, archived == 1 ? "away" : "here"); /* the younger one first */
	}
	assert_int_equal(
		store_db_session_list(f->db, &(struct store_session_list){.archived = 3}, &f->arena, &list, &f->err),
		STORE_E_BAD);
	assert_int_equal(store_fixture_begin_turn(f, id, "t", "hi", &begun), STORE_E_BAD);
	assert_says(f->err, "is archived: `qmt session unarchive");
	store_fixture_close(f);
	store_fixture_open(f); /* nothing of it was only in memory */
	assert_int_equal(store_fixture_begin_turn(f, id, "t", "hi", &begun), STORE_E_BAD);
	assert_int_equal(archive(f, id, false), 0);
	assert_int_equal(store_fixture_begin_turn(f, id, "t", "hi", &begun), 0);
}

static void what_is_deleted_is_gone(void **state)
{
	struct store_fixture *f = *state;
	struct store_session s;
	struct store_turn_begun begun;
	struct store_page page;
	struct store_session_create again = {.request = qmt_str("create-0")};
	struct qmt_str id, other;

	store_fixture_open(f);
	id = a_session(f, "one");
	other = a_session(f, "two");
	assert_int_equal(delete (f, id), 0);
	assert_int_equal(store_fixture_find(f, "one", &s), STORE_E_NOT_FOUND);
	assert_int_equal(store_fixture_begin_turn(f, id, "t", "hi", &begun), STORE_E_NOT_FOUND);
	assert_int_equal(
		store_db_history(f->db, &(struct store_history){.session = id}, &f->arena, &page, &f->err), STORE_E_NOT_FOUND);
	assert_int_equal(delete (f, id), STORE_E_NOT_FOUND);
	assert_true(purge(f) > 3);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM sessions"), 1);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM messages"), 9);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM tool_calls"), 2);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM turns"), 2);
	assert_string_equal(told(f, other, false), "u1 a2 u4 a5 t6 t7 a8");
	assert_int_equal(store_fixture_create(f, &again, &s), 0);
}

/* Parent <- middle <- leaf, and a second fork of the parent: what each needs stays as long as it lives. */
static void forks_keep_what_they_use(void **state)
{
	struct store_fixture *f = *state;
	struct store_session middle, leaf, second, s;
	struct store_session_create same = {.request = qmt_str("r")};
	struct qmt_str id;

	store_fixture_open(f);
	id = a_session(f, "root");
	assert_int_equal(fork_at(f, id, 8, "middle", &middle), 0);
	store_fixture_end(f, middle.id, store_fixture_turn(f, middle.id, "m"), "complete");
	store_fixture_end(f, middle.id, store_fixture_turn(f, middle.id, "m2"), "complete");
	assert_int_equal(fork_at(f, middle.id, 10, "leaf", &leaf), 0);
	assert_int_equal(fork_at(f, id, 2, "second", &second), 0);
	assert_int_equal(delete (f, middle.id), 0);
	assert_int_equal(delete (f, id), 0);
	purge(f);
	assert_string_equal(told(f, leaf.id, false), "u1 a2 u4 a5 t6 t7 a8 m");
	assert_string_equal(told(f, second.id, false), "u1 a2");
	/* of the root up to 8, of the middle up to 10 */
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM messages WHERE session = 1"), 8);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM messages WHERE session = 2"), 2);
	same.session.id = id;
	assert_int_equal(store_fixture_create(f, &same, &s), STORE_E_BAD);
	assert_says(f->err, "deleted");
	assert_int_equal(delete (f, leaf.id), 0);
	purge(f);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM sessions"), 2);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM messages WHERE session = 1"), 2);
	assert_string_equal(told(f, second.id, false), "u1 a2");
	assert_int_equal(delete (f, second.id), 0);
	purge(f);
	assert_int_equal(store_fixture_number(f->path,
						 "SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM messages) + "
						 "(SELECT count(*) FROM tool_calls) + (SELECT count(*) FROM turns)"),
		0);
}

static void requests_are_looked_at_first(void **state)
{
	struct store_fixture *f = *state;
	struct store_session s;
	struct qmt_str id;

	store_fixture_open(f);
	id = store_fixture_session(f, "x");
	assert_int_equal(rename_to(f, id, "a\nb"), STORE_E_BAD);
	assert_int_equal(rename_to(f, qmt_str("none"), "a"), STORE_E_NOT_FOUND);
	assert_int_equal(archive(f, qmt_str("none"), true), STORE_E_NOT_FOUND);
	assert_int_equal(fork_at(f, id, 1, "a\tb", &s), STORE_E_BAD);
	assert_says(f->err, "name: has a control character");
	store_fixture_begin(f);
	assert_int_equal(store_db_session_fork(
						 f->db, &(struct store_session_fork){.session = id}, "03900000", 1, &f->arena, &s, &f->err),
		STORE_E_BAD);
	assert_says(f->err, "request: is missing");
	store_fixture_commit(f);
}

#define T(test) cmocka_unit_test_setup_teardown(test, store_fixture_setup, store_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(events_have_a_place_in_the_history),
		T(pages_skip_events),
		T(a_fork_goes_its_own_way),
		T(a_retried_fork_is_one),
		T(forks_of_forks),
		T(bad_points_are_refused),
		T(the_newest_point_has_no_open_call),
		T(forks_have_a_depth),
		T(archived_sessions_are_apart),
		T(what_is_deleted_is_gone),
		T(forks_keep_what_they_use),
		T(requests_are_looked_at_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
