/* What is not a store of this version is refused with a text that names the file and the way out, and not one byte of
 * it changes; damage is reported where it is met, and never ends the process. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "actors/store/store_schema.h"
#include "runtime/base/os.h"
#include "test/lib/store_fixture.h"

static void put_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
	close(fd);
}

static struct qmt_buf get_file(const char *path)
{
	struct qmt_buf data = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	assert_true(fd >= 0);
	while ((n = read(fd, qmt_buf_reserve(&data, 65536), 65536)) > 0)
		data.len += (size_t)n;
	close(fd);
	return data;
}

/* Names and contents of all files in the folder, as one number. */
static uint64_t fingerprint(const char *dir)
{
	struct dirent **names = NULL;
	int count = scandir(dir, &names, NULL, alphasort);
	uint64_t hash = 5381;

	for (int i = 0; i < count; i++) {
		char path[600];

		snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
		if (names[i]->d_name[0] != '.') {
			struct qmt_buf data = get_file(path);

			for (const char *c = names[i]->d_name; *c; c++)
				hash = hash * 33 + (unsigned char)*c;
			for (size_t k = 0; k < data.len; k++)
				hash = hash * 33 + (unsigned char)data.data[k];
			qmt_buf_free(&data);
		}
		free(names[i]);
	}
	free(names);
	return hash;
}

/* Both ways to open refuse, say `says` and the path, and leave the folder as it is. */
static void assert_refused(struct store_fixture *f, int want, const char *says)
{
	uint64_t before = fingerprint(f->dir);

	assert_int_equal(store_db_open(f->path, &f->limits, STORE_DB_WRITE, &f->db, &f->err), want);
	assert_says(f->err, says);
	assert_says(f->err, f->path);
	assert_int_equal(fingerprint(f->dir), before);
	assert_int_equal(store_check(f->path, f->limits.busy_timeout_ms, &f->err), want);
	assert_says(f->err, says);
	assert_int_equal(fingerprint(f->dir), before);
}

static void a_new_file_is_made(void **state)
{
	struct store_fixture *f = *state;
	struct stat st;

	assert_int_equal(store_check(f->path, f->limits.busy_timeout_ms, &f->err), 0);
	assert_int_equal(access(f->path, F_OK), -1);
	store_fixture_open(f);
	store_fixture_session(f, "a");
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(store_check(f->path, f->limits.busy_timeout_ms, &f->err), 0); /* beside a running store, too */
	store_fixture_close(f);
	assert_int_equal(store_check(f->path, f->limits.busy_timeout_ms, &f->err), 0);
	assert_int_equal(store_fixture_number(f->path, "PRAGMA application_id"), 0x514d5431);
	assert_int_equal(store_fixture_number(f->path, "PRAGMA user_version"), store_schema_newest());
	store_fixture_open(f);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM sessions"), 1);
}

static void what_a_killed_start_left_is_replaced(void **state)
{
	struct store_fixture *f = *state;
	char path[200];

	snprintf(path, sizeof path, "%s.new", f->path);
	put_file(path, "half", 4);
	store_fixture_open(f);
	assert_int_equal(access(path, F_OK), -1);
}

static void any_file_name_works(void **state)
{
	struct store_fixture *f = *state;

	snprintf(f->path, sizeof f->path, "%s/a?mode=ro#b%%41 ä.db", f->dir);
	store_fixture_open(f);
	store_fixture_session(f, "a");
	store_fixture_close(f);
	assert_int_equal(access(f->path, F_OK), 0);
	store_fixture_open(f);
}

static void memory_is_no_file(void **state)
{
	struct store_fixture *f = *state;
	struct store_page page;

	snprintf(f->path, sizeof f->path, ":memory:");
	assert_int_equal(store_check(f->path, f->limits.busy_timeout_ms, &f->err), 0);
	store_fixture_open(f);
	store_fixture_turn(f, store_fixture_session(f, "a"), "go");
	store_fixture_history(f, qmt_str("01900000-0000-7000-8000-000000000000"), 0, 0, &page);
	assert_int_equal(page.messages.count, 1);
	assert_int_equal(access(":memory:", F_OK), -1);
}

static void a_missing_folder_is_named(void **state)
{
	struct store_fixture *f = *state;
	char dir[64];

	memcpy(dir, f->dir, sizeof dir);
	snprintf(f->path, sizeof f->path, "%s/none/store.db", dir);
	assert_refused(f, -ENOENT, "its directory does not exist: create it");
	snprintf(f->path, sizeof f->path, "%s/file", dir);
	put_file(f->path, "x", 1);
	snprintf(f->path, sizeof f->path, "%s/file/store.db", dir);
	assert_refused(f, -ENOENT, "Not a directory");
}

static void what_is_no_store_is_not_touched(void **state)
{
	struct store_fixture *f = *state;
	char text[5000];

	put_file(f->path, "", 0);
	assert_refused(f, -EMEDIUMTYPE, "the file is empty");
	put_file(f->path, "hello", 5);
	assert_refused(f, -EMEDIUMTYPE, "no SQLite database");
	memset(text, 'x', sizeof text);
	put_file(f->path, text, sizeof text);
	assert_refused(f, -EMEDIUMTYPE, "no SQLite database");
	unlink(f->path);
	assert_int_equal(mkdir(f->path, 0700), 0);
	assert_int_equal(store_db_open(f->path, &f->limits, STORE_DB_WRITE, &f->db, &f->err), -EMEDIUMTYPE);
	assert_says(f->err, "no regular file");
	rmdir(f->path);
}

static void a_database_of_another_program_is_not_touched(void **state)
{
	struct store_fixture *f = *state;
	sqlite3 *other;

	store_fixture_sql(f->path, "CREATE TABLE cookies(a); PRAGMA application_id = 0x1234");
	assert_refused(f, -EMEDIUMTYPE, "another program, application id 0x00001234");
	store_fixture_sql(f->path, "PRAGMA application_id = 0");
	assert_refused(f, -EMEDIUMTYPE, "another program");

	/* With a log that the other program has not moved yet. */
	assert_int_equal(sqlite3_open(f->path, &other), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(other, "PRAGMA journal_mode = WAL; CREATE TABLE more(a)", NULL, NULL, NULL), SQLITE_OK);
	assert_refused(f, -EMEDIUMTYPE, "another program");
	sqlite3_close(other);
}

static void copy_file(const char *from, const char *to)
{
	struct qmt_buf data = get_file(from);

	put_file(to, data.data, data.len);
	qmt_buf_free(&data);
}

/* As after a kill of the newer program: file and log, and nobody who has them open. The log stays where it is. */
static void assert_log_is_left(struct store_fixture *f)
{
	char path[96], log[110], copied[110];
	struct qmt_buf before, after;

	memcpy(path, f->path, sizeof path);
	snprintf(log, sizeof log, "%s-wal", path);
	snprintf(f->path, sizeof f->path, "%s/copy.db", f->dir);
	snprintf(copied, sizeof copied, "%s-wal", f->path);
	copy_file(path, f->path);
	copy_file(log, copied);
	before = get_file(copied);
	assert_int_equal(store_db_open(f->path, &f->limits, STORE_DB_WRITE, &f->db, &f->err), -EPROTONOSUPPORT);
	assert_int_equal(store_check(f->path, f->limits.busy_timeout_ms, &f->err), -EPROTONOSUPPORT);
	after = get_file(copied);
	assert_true(qmt_str_eq(qmt_buf_view(&before), qmt_buf_view(&after)));
	qmt_buf_free(&before);
	qmt_buf_free(&after);
	memcpy(f->path, path, sizeof path);
}

static void a_newer_version_is_not_touched(void **state)
{
	struct store_fixture *f = *state;
	sqlite3 *other;

	store_fixture_open(f);
	store_fixture_close(f);
	/* Only the log knows of the newer version. */
	assert_int_equal(sqlite3_open(f->path, &other), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(other, "PRAGMA wal_autocheckpoint = 0; PRAGMA user_version = 7", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(store_db_open(f->path, &f->limits, STORE_DB_WRITE, &f->db, &f->err), -EPROTONOSUPPORT);
	assert_says(f->err, "its version is 7, this program knows up to 5");
	assert_int_equal(store_check(f->path, f->limits.busy_timeout_ms, &f->err), -EPROTONOSUPPORT);
	assert_int_equal(store_db_open(f->path, &f->limits, STORE_DB_READ, &f->db, &f->err), -EPROTONOSUPPORT);
	assert_log_is_left(f);
	sqlite3_close(other);
	assert_refused(f, -EPROTONOSUPPORT, "made by a newer version of qmt");
}

static void an_older_version_is_brought_up(void **state)
{
	struct store_fixture *f = *state;

	store_fixture_sql(f->path, "PRAGMA application_id = 0x514d5431");
	assert_int_equal(store_db_open(f->path, &f->limits, STORE_DB_READ, &f->db, &f->err), -EPROTONOSUPPORT);
	assert_says(f->err, "older");
	store_fixture_open(f);
	store_fixture_session(f, "a");
	assert_int_equal(store_fixture_number(f->path, "PRAGMA user_version"), store_schema_newest());
}

static void a_log_without_its_file_is_kept(void **state)
{
	struct store_fixture *f = *state;
	char path[200];

	snprintf(path, sizeof path, "%s-wal", f->path);
	put_file(path, "frames", 6);
	assert_refused(f, -EUCLEAN, "the file is missing, its journal");
}

static void a_lock_of_another_process_is_named(void **state)
{
	struct store_fixture *f = *state;
	struct store_session_create req = {.request = qmt_str("r")};
	struct store_session s;
	sqlite3 *other;
	uint64_t turns;

	store_fixture_open(f);
	assert_int_equal(sqlite3_open(f->path, &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(store_db_begin(f->db, &f->err), -EBUSY);
	assert_says(f->err, "another process has locked it");
	assert_string_equal(store_db_kind(-EBUSY), "locked");
	assert_int_equal(store_db_recover(f->db, 1, &turns, &f->err), -EBUSY);
	uint64_t began = qmt_os_real_now_ms();
	assert_int_equal(store_check(f->path, 0, &f->err), -EBUSY);
	assert_true(qmt_os_real_now_ms() - began < 1000); /* waits as long as it is told, not the default 2 s */
	sqlite3_close(other);
	store_fixture_begin(f);
	assert_int_equal(
		store_db_session_create(f->db, &req, "01900000-0000-7000-8000-000000000000", 1, &f->arena, &s, &f->err), 0);
	store_fixture_commit(f);
}

static void a_full_store_goes_on_reading(void **state)
{
	struct store_fixture *f = *state;
	char text[1001];
	struct chat_message m = {.role = qmt_str("assistant")};
	struct store_append req = {.turn = 1, .messages = {&m, 1}};
	struct store_page page;
	uint64_t pos, last = 1;
	int r = 0;

	memset(text, 'x', 1000);
	text[1000] = '\0';
	m.content = qmt_str(text);
	f->limits.max_bytes = 262144;
	store_fixture_open(f);
	req.session = store_fixture_session(f, "a");
	store_fixture_turn(f, req.session, "go");
	for (int i = 0; i < 1000 && r == 0; i++) {
		store_fixture_begin(f);
		r = store_db_append(f->db, &req, 1, &pos, &f->err);
		if (r == 0)
			r = store_db_commit(f->db, &f->err);
		else
			store_db_rollback(f->db);
		if (r == 0)
			last = pos;
	}
	assert_int_equal(r, -ENOSPC);
	assert_says(f->err, "no space left");
	assert_says(f->err, f->path);
	assert_string_equal(store_db_kind(r), "full");
	assert_true(last > 50);
	store_fixture_history(f, req.session, last, 0, &page);
	assert_int_equal(page.total, last);
	assert_int_equal(page.messages.count, 1);

	store_fixture_close(f);
	f->limits.max_bytes = 0;
	store_fixture_open(f);
	assert_int_equal(store_fixture_append(f, req.session, 1, "assistant", text), last + 1);
}

/* Something in each table, over several pages. */
static struct qmt_buf make_sample(struct store_fixture *f)
{
	const struct chat_tool_call call = {qmt_str("c1"), qmt_str("read"), qmt_str("{}")};
	const struct chat_message with_call = {.role = qmt_str("assistant"), .tool_calls = {&call, 1}};
	char text[1500];

	memset(text, 'y', sizeof text);
	text[sizeof text - 1] = '\0';
	store_fixture_open(f);
	for (int i = 0; i < 4; i++) {
		struct qmt_str id = store_fixture_session(f, "name");
		uint64_t pos;

		store_fixture_turn(f, id, "go");
		store_fixture_begin(f);
		assert_int_equal(
			store_db_append(
				f->db, &(struct store_append){.session = id, .turn = 1, .messages = {&with_call, 1}}, 1, &pos, &f->err),
			0);
		store_fixture_commit(f);
		for (int k = 0; k < 8; k++)
			store_fixture_append(f, id, 1, "assistant", text);
	}
	store_fixture_close(f);
	return get_file(f->path);
}

/* Everything that a node does with a store. What fails must say "damaged" (or not ours, when the head is hit) and name
 * the file. */
static void use_all(struct store_fixture *f)
{
	struct store_sessions list;
	struct store_page page;
	struct store_session s;
	struct chat_message m = {.role = qmt_str("assistant"), .content = qmt_str("z")};
	uint64_t turns, pos;
	int r = store_db_open(f->path, &f->limits, STORE_DB_WRITE, &f->db, &f->err);

	if (r == 0)
		r = store_db_recover(f->db, 1, &turns, &f->err);
	if (r == 0)
		r = store_db_session_list(f->db, &(struct store_session_list){0}, &f->arena, &list, &f->err);
	for (unsigned i = 0; f->db && i < 4; i++) {
		char id[40], request[40];
		struct store_turn_begun begun;
		struct store_append append = {.turn = 2, .messages = {&m, 1}};

		snprintf(id, sizeof id, "01900000-0000-7000-8000-%012u", i * 2);
		snprintf(request, sizeof request, "again-%u", i);
		append.session = qmt_str(id);
		r = store_db_session_find(f->db, &(struct store_session_find){.key = qmt_str(id)}, &f->arena, &s, &f->err);
		r = store_db_history(
			f->db, &(struct store_history){.session = qmt_str(id), .limit = 1000}, &f->arena, &page, &f->err);
		r = store_db_begin(f->db, &f->err);
		if (r == 0)
			r = store_db_turn_begin(f->db,
				&(struct store_turn_begin){.session = qmt_str(id), .request = qmt_str(request), .text = qmt_str("go")},
				1, &f->arena, &begun, &f->err);
		if (r == 0)
			r = store_db_append(f->db, &append, 1, &pos, &f->err);
		if (r >= 0)
			r = store_db_commit(f->db, &f->err);
		else
			store_db_rollback(f->db);
	}
	if (r < 0) {
		assert_says(f->err, f->path);
		if (r != -EUCLEAN && r != -EMEDIUMTYPE && r != -EPROTONOSUPPORT && r != -EROFS && r != -EIO && r != -ENOMEM)
			fail_msg("%d: %s", r, f->err.text);
	}
	store_fixture_close(f);
	store_arena_reset(&f->arena);
}

static void remove_beside(struct store_fixture *f)
{
	static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
	char path[200];

	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
		snprintf(path, sizeof path, "%s%s", f->path, suffixes[i]);
		unlink(path);
	}
}

static void flipped_bytes_end_nothing(void **state)
{
	struct store_fixture *f = *state;
	struct qmt_buf sample = make_sample(f);
	struct qmt_os *os = qmt_os_new(true, 20261124, 0);
	char *copy = malloc(sample.len);

	assert_non_null(copy);
	for (int round = 0; round < 300; round++) {
		uint32_t at[3];

		qmt_os_random(os, at, sizeof at);
		memcpy(copy, sample.data, sample.len);
		/* Heads of pages are where damage hurts. */
		at[0] = round % 2 ? at[0] % (uint32_t)sample.len : at[0] % (uint32_t)(sample.len / 4096) * 4096 + at[1] % 100;
		copy[at[0]] ^= (char)(1 + at[2] % 255);
		put_file(f->path, copy, sample.len);
		use_all(f);
		remove_beside(f);
	}
	free(copy);
	qmt_buf_free(&sample);
	qmt_os_free(os);
}

static void a_cut_file_ends_nothing(void **state)
{
	struct store_fixture *f = *state;
	struct qmt_buf sample = make_sample(f);

	for (size_t len = 1; len < sample.len; len += len < 4096 ? 511 : 2048) {
		put_file(f->path, sample.data, len);
		use_all(f);
		remove_beside(f);
	}
	put_file(f->path, sample.data, sample.len / 2 / 4096 * 4096);
	assert_true(store_db_open(f->path, &f->limits, STORE_DB_WRITE, &f->db, &f->err) == -EUCLEAN);
	assert_says(f->err, "damaged: stop the node");
	assert_says(f->err, ".recover");
	qmt_buf_free(&sample);
}

static void damage_met_later_is_reported(void **state)
{
	struct store_fixture *f = *state;
	struct qmt_buf sample = make_sample(f);
	long long page_no = store_fixture_number(f->path,
		"SELECT pageno FROM dbstat WHERE name = 'messages' AND pagetype = 'leaf' ORDER BY pageno DESC LIMIT 1");
	struct store_page page;

	memset(sample.data + (page_no - 1) * 4096, 0xee, 4096);
	put_file(f->path, sample.data, sample.len);
	store_fixture_open(f); /* the head and the tables are fine */
	assert_int_equal(
		store_db_history(f->db,
			&(struct store_history){.session = qmt_str("01900000-0000-7000-8000-000000000006"), .limit = 1000},
			&f->arena, &page, &f->err),
		-EUCLEAN);
	assert_says(f->err, "damaged");
	assert_says(f->err, f->path);
	/* What is whole can still be read. */
	assert_int_equal(
		store_db_history(f->db,
			&(struct store_history){.session = qmt_str("01900000-0000-7000-8000-000000000000"), .limit = 5}, &f->arena,
			&page, &f->err),
		0);
	assert_int_equal(page.messages.count, 5);
	qmt_buf_free(&sample);
}

static void a_missing_table_is_damage(void **state)
{
	struct store_fixture *f = *state;

	store_fixture_open(f);
	store_fixture_close(f);
	store_fixture_sql(f->path, "DROP TABLE turns");
	assert_int_equal(store_db_open(f->path, &f->limits, STORE_DB_WRITE, &f->db, &f->err), -EUCLEAN);
	assert_says(f->err, "no such table: turns");
}

#define T(name) cmocka_unit_test_setup_teardown(name, store_fixture_setup, store_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_new_file_is_made),
		T(what_a_killed_start_left_is_replaced),
		T(any_file_name_works),
		T(memory_is_no_file),
		T(a_missing_folder_is_named),
		T(what_is_no_store_is_not_touched),
		T(a_database_of_another_program_is_not_touched),
		T(a_newer_version_is_not_touched),
		T(an_older_version_is_brought_up),
		T(a_log_without_its_file_is_kept),
		T(a_lock_of_another_process_is_named),
		T(a_full_store_goes_on_reading),
		T(flipped_bytes_end_nothing),
		T(a_cut_file_ends_nothing),
		T(damage_met_later_is_reported),
		T(a_missing_table_is_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
