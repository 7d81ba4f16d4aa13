/* test/lib/store_fixture.c - see the header. */
#include "test/lib/store_fixture.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

int store_fixture_setup(void **state)
{
	struct store_fixture *f = calloc(1, sizeof *f);

	assert_non_null(f);
	/* In memory where there is such a place: a commit waits for a real disk some 10 ms, and these tests make thousands.
	 */
	snprintf(f->dir, sizeof f->dir, "%s/qmt-store-XXXXXX", access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof f->path, "%s/store.db", f->dir);
	f->limits = (struct store_limits)STORE_LIMITS_DEFAULTS;
	f->limits.busy_timeout_ms = 50;
	f->now_ms = 1000;
	*state = f;
	return 0;
}

int store_fixture_teardown(void **state)
{
	struct store_fixture *f = *state;
	DIR *dir = opendir(f->dir);

	store_db_close(f->db);
	store_arena_fini(&f->arena);
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		char path[512];

		snprintf(path, sizeof path, "%s/%s", f->dir, entry->d_name);
		if (entry->d_name[0] != '.')
			unlink(path);
	}
	if (dir)
		closedir(dir);
	rmdir(f->dir);
	free(f);
	return 0;
}

void store_fixture_open(struct store_fixture *f)
{
	if (store_db_open(f->path, &f->limits, STORE_DB_WRITE, &f->db, &f->err) != 0)
		fail_msg("%s", f->err.text);
}

void store_fixture_close(struct store_fixture *f)
{
	f->db = store_db_close(f->db);
}

void store_fixture_begin(struct store_fixture *f)
{
	if (store_db_begin(f->db, &f->err) != 0)
		fail_msg("%s", f->err.text);
}

void store_fixture_commit(struct store_fixture *f)
{
	if (store_db_commit(f->db, &f->err) != 0)
		fail_msg("%s", f->err.text);
}

struct qmt_str store_fixture_session(struct store_fixture *f, const char *name)
{
	struct store_session_create req = {
		.session = {.name = qmt_str(name), .agent = qmt_str("coder"), .cwd = qmt_str("/work")}};
	struct store_session session = {0};
	char request[32], id[40];

	snprintf(request, sizeof request, "create-%u", f->ids);
	snprintf(id, sizeof id, "01900000-0000-7000-8000-%012u", f->ids++);
	req.request = qmt_str(request);
	store_fixture_begin(f);
	if (store_db_session_create(f->db, &req, id, f->now_ms, &f->arena, &session, &f->err) != 0)
		fail_msg("%s", f->err.text);
	store_fixture_commit(f);
	return session.id;
}

uint64_t store_fixture_turn(struct store_fixture *f, struct qmt_str session, const char *text)
{
	struct store_turn_begun begun = {0};
	char request[32];

	snprintf(request, sizeof request, "turn-%u", f->ids++);
	store_fixture_begin(f);
	if (store_db_turn_begin(f->db,
			&(struct store_turn_begin){.session = session, .request = qmt_str(request), .text = qmt_str(text)},
			f->now_ms, &f->arena, &begun, &f->err) != 0)
		fail_msg("%s", f->err.text);
	store_fixture_commit(f);
	assert_false(begun.duplicate);
	return begun.turn;
}

uint64_t store_fixture_append(
	struct store_fixture *f, struct qmt_str session, uint64_t turn, const char *role, const char *text)
{
	struct chat_message message = {.role = qmt_str(role), .content = qmt_str(text)};
	struct store_append req = {.session = session, .turn = turn, .messages = {&message, 1}};
	uint64_t pos = 0;

	store_fixture_begin(f);
	if (store_db_append(f->db, &req, f->now_ms, &pos, &f->err) != 0)
		fail_msg("%s", f->err.text);
	store_fixture_commit(f);
	return pos;
}

void store_fixture_end(struct store_fixture *f, struct qmt_str session, uint64_t turn, const char *state)
{
	store_fixture_begin(f);
	if (store_db_turn_end(f->db, &(struct store_turn_end){.session = session, .turn = turn, .state = qmt_str(state)},
			f->now_ms, &f->err) != 0)
		fail_msg("%s", f->err.text);
	store_fixture_commit(f);
}

void store_fixture_history(
	struct store_fixture *f, struct qmt_str session, uint64_t from, uint32_t limit, struct store_page *ret_page)
{
	if (store_db_history(f->db, &(struct store_history){.session = session, .from = from, .limit = limit}, &f->arena,
			ret_page, &f->err) != 0)
		fail_msg("%s", f->err.text);
}

void store_fixture_sql(const char *path, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

long long store_fixture_number(const char *path, const char *sql)
{
	sqlite3 *db;
	sqlite3_stmt *stmt;
	long long number;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	number = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	return number;
}

int store_fixture_create(
	struct store_fixture *f, const struct store_session_create *req, struct store_session *ret_session)
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

int store_fixture_find(struct store_fixture *f, const char *key, struct store_session *ret_session)
{
	return store_db_session_find(
		f->db, &(struct store_session_find){.key = qmt_str(key)}, &f->arena, ret_session, &f->err);
}

int store_fixture_begin_turn(struct store_fixture *f, struct qmt_str session, const char *request, const char *text,
	struct store_turn_begun *ret_begun)
{
	int r;

	store_fixture_begin(f);
	r = store_db_turn_begin(f->db,
		&(struct store_turn_begin){.session = session, .request = qmt_str(request), .text = qmt_str(text)}, f->now_ms,
		&f->arena, ret_begun, &f->err);
	store_fixture_commit(f);
	return r;
}

int store_fixture_try_append(struct store_fixture *f, struct qmt_str session, uint64_t turn,
	const struct chat_message *messages, uint32_t count, uint64_t *ret_pos)
{
	struct store_append req = {.session = session, .turn = turn, .messages = {messages, count}};
	int r;

	store_fixture_begin(f);
	r = store_db_append(f->db, &req, f->now_ms, ret_pos, &f->err);
	store_fixture_commit(f);
	return r;
}

void store_fixture_checkpoint(struct store_fixture *f, struct qmt_str session, uint64_t turn, const char *text)
{
	store_fixture_begin(f);
	if (store_db_checkpoint(
			f->db, &(struct store_checkpoint){.session = session, .turn = turn, .text = qmt_str(text)}, &f->err) != 0)
		fail_msg("%s", f->err.text);
	store_fixture_commit(f);
}

/* A run that was killed, and the next start. */
uint64_t store_fixture_restart(struct store_fixture *f)
{
	uint64_t turns = 999;

	store_fixture_close(f);
	store_fixture_open(f);
	if (store_db_recover(f->db, f->now_ms, &turns, &f->err) != 0)
		fail_msg("%s", f->err.text);
	return turns;
}
