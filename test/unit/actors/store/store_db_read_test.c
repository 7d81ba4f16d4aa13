/* A session is found by id, prefix or name or the candidates are listed; lists and histories come in bounded pages that
 * follow the ancestors of a fork; a reader sees all that was committed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "test/lib/store_fixture.h"

static void find_by_id_prefix_and_name(void **state)
{
	struct store_fixture *f = *state;
	struct store_session_create req = {
		.request = qmt_str("r1"), .session = {.id = qmt_str("abcd0000-0000-7000-8000-000000000001")}};
	struct qmt_str first, second;
	struct store_session s;

	store_fixture_open(f);
	first = store_fixture_session(f, "one");
	second = store_fixture_session(f, "two");
	assert_int_equal(store_fixture_create(f, &req, &s), 0);

	assert_int_equal(
		store_db_session_find(f->db, &(struct store_session_find){.key = second}, &f->arena, &s, &f->err), 0);
	assert_true(qmt_str_eq(s.id, second));
	assert_int_equal(store_fixture_find(f, "one", &s), 0);
	assert_true(qmt_str_eq(s.id, first));
	assert_int_equal(store_fixture_find(f, "abcd", &s), 0);
	assert_text(s.id, "abcd0000-0000-7000-8000-000000000001");
	assert_int_equal(store_fixture_find(f, "ABCD00", &s), 0);
	assert_text(s.id, "abcd0000-0000-7000-8000-000000000001");

	assert_int_equal(store_fixture_find(f, "abc", &s), STORE_E_NOT_FOUND);
	assert_int_equal(store_fixture_find(f, "abce", &s), STORE_E_NOT_FOUND);
	assert_int_equal(store_fixture_find(f, "One", &s), STORE_E_NOT_FOUND);
	assert_says(f->err, "no session One");
	assert_int_equal(store_fixture_find(f, "", &s), STORE_E_BAD);
	assert_int_equal(store_fixture_find(f, "abc\xff", &s), STORE_E_NOT_FOUND);
	assert_int_equal(store_fixture_find(f, "abcd0000-0000-7000-8000-0000000000012", &s), STORE_E_NOT_FOUND);
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
	assert_int_equal(store_fixture_find(f, "same", &s), STORE_E_BAD);
	assert_says(f->err, "means several sessions");
	assert_says(f->err, "01900000-0000-7000-8000-000000000001 (same), 01900000-0000-7000-8000-000000000000 (same)");
	assert_int_equal(store_fixture_find(f, "0190", &s), STORE_E_BAD);
	assert_null(strstr(f->err.text, "and more"));
	(void)a, (void)b;

	for (int i = 0; i < STORE_CANDIDATES; i++)
		store_fixture_session(f, "a name that is longerääää");
	assert_int_equal(store_fixture_find(f, "0190", &s), STORE_E_BAD);
	assert_says(f->err, ", and more");
	assert_says(f->err, "(a name that is longerä)");

	/* A name goes before the beginning of an id. */
	a = store_fixture_session(f, "0190");
	assert_int_equal(store_fixture_find(f, "0190", &s), 0);
	assert_true(qmt_str_eq(s.id, a));
}

static void list_is_newest_first(void **state)
{
	struct store_fixture *f = *state;
	struct store_session_create mine = {
		.request = qmt_str("r1"), .session = {.name = qmt_str("peer's"), .owner = qmt_str("12D3Koo")}};
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

	assert_int_equal(store_db_session_list(
						 f->db, &(struct store_session_list){.limit = 5000, .offset = 100}, &f->arena, &page, &f->err),
		0);
	assert_int_equal(page.sessions.count, 30);
	assert_int_equal(
		store_db_session_list(f->db, &(struct store_session_list){.limit = 5000}, &f->arena, &page, &f->err), 0);
	assert_int_equal(page.sessions.count, STORE_LIST_MAX);
	assert_int_equal(
		store_db_session_list(f->db, &(struct store_session_list){.offset = UINT64_MAX}, &f->arena, &page, &f->err), 0);
	assert_int_equal(page.sessions.count, 0);

	assert_int_equal(store_fixture_create(f, &mine, &s), 0);
	assert_int_equal(store_db_session_list(
						 f->db, &(struct store_session_list){.owner = qmt_str("12D3Koo")}, &f->arena, &page, &f->err),
		0);
	assert_int_equal(page.sessions.count, 1);
	assert_int_equal(page.total, 1);
	assert_true(qmt_str_eq(page.sessions.items[0].id, s.id));
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

		assert_int_equal(
			store_db_append(
				f->db, &(struct store_append){.session = id, .turn = turn, .messages = {&m, 1}}, 1, &pos, &f->err),
			0);
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

	assert_int_equal(
		store_db_history(f->db, &(struct store_history){.session = qmt_str("x")}, &f->arena, &page, &f->err),
		STORE_E_NOT_FOUND);
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
	store_fixture_sql(f->path,
		"UPDATE sessions SET parent = 1, fork_pos = 3, fork_nth = 3, fork_turn = 1 WHERE key = 2;"
		"UPDATE sessions SET parent = 2, fork_pos = 5, fork_nth = 5, fork_turn = 2 WHERE key = 3");
	store_fixture_turn(f, ids[0], "root 1");
	store_fixture_append(f, ids[0], 1, "assistant", "root 2");
	store_fixture_append(f, ids[0], 1, "assistant", "root 3");
	store_fixture_append(f, ids[0], 1, "assistant", "root 4, after the fork");
	assert_int_equal(store_fixture_find(f, "mid", &s), 0);
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
	store_fixture_sql(f->path,
		"UPDATE sessions SET fork_pos = 2, fork_nth = 2 WHERE key = 3; DELETE FROM messages WHERE session = 3");
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
	assert_int_equal(
		store_db_history(f->db, &(struct store_history){.session = id}, &f->arena, &page, &f->err), -EUCLEAN);
	assert_says(f->err, f->path);
	assert_says(f->err, "fork_depth_max");
	store_fixture_sql(f->path, "UPDATE sessions SET parent = 77");
	assert_int_equal(
		store_db_history(f->db, &(struct store_history){.session = id}, &f->arena, &page, &f->err), -EUCLEAN);
	assert_says(f->err, "parent is missing");
	/* The connection is good for what follows. */
	store_fixture_sql(f->path, "UPDATE sessions SET parent = NULL, fork_pos = 0");
	store_fixture_turn(f, id, "go");
	store_fixture_history(f, id, 0, 0, &page);
	assert_int_equal(page.messages.count, 1);
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
		assert_int_equal(
			store_db_history(reader, &(struct store_history){.session = id}, &f->arena, &page, &f->err), 0);
		assert_int_equal(page.messages.count, i);
	}
	assert_int_equal(store_db_begin(reader, &f->err), -EROFS);
	store_db_close(reader);
}

#define T(name) cmocka_unit_test_setup_teardown(name, store_fixture_setup, store_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(find_by_id_prefix_and_name),
		T(several_matches_are_listed),
		T(list_is_newest_first),
		T(history_comes_in_pages),
		T(a_page_is_bounded_in_bytes),
		T(history_follows_ancestors),
		T(ancestors_that_have_no_end_are_damage),
		T(a_reader_sees_what_was_committed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
