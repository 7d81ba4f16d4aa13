/* What the owner says of a peer stays until it is taken back, and no two peers have one name; the audit counts
 * a flood in one row. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "actors/store/store_schema.h"
#include "test/lib/store_fixture.h"

static int put(struct store_fixture *f, const char *id, const char *policy, const char *name)
{
	struct store_policy_put req = {.peer_id = qmt_str(id), .policy = qmt_str(policy), .name = qmt_str(name)};
	int r;

	store_fixture_begin(f);
	r = store_db_policy_put(f->db, &req, f->now_ms, &f->err);
	store_fixture_commit(f);
	return r;
}

static int forget(struct store_fixture *f, const char *id)
{
	int r;

	store_fixture_begin(f);
	r = store_db_policy_forget(f->db, &(struct store_policy_forget){.peer_id = qmt_str(id)}, f->now_ms, &f->err);
	store_fixture_commit(f);
	return r;
}

static struct store_policies list(struct store_fixture *f)
{
	struct store_policies policies = {0};

	assert_int_equal(store_db_policy_list(f->db, &(struct store_policy_list){}, &f->arena, &policies, &f->err), 0);
	return policies;
}

static int note(struct store_fixture *f, const char *event, const char *peer, const char *text, uint64_t merge_ms)
{
	struct store_audit row = {.event = qmt_str(event), .peer_id = qmt_str(peer), .text = qmt_str(text)};
	int r;

	store_fixture_begin(f);
	r = store_db_audit_note(f->db, &row, merge_ms, f->now_ms, &f->err);
	store_fixture_commit(f);
	return r;
}

static struct store_audits audit(struct store_fixture *f)
{
	struct store_audits audits = {0};

	assert_int_equal(store_db_audit_list(f->db, &(struct store_audit_list){0}, &f->arena, &audits, &f->err), 0);
	return audits;
}

/* A word stays over a restart, the newest one holds, and a name survives a word that gives none. */
static void policies_stay(void **state)
{
	struct store_fixture *f = *state;
	struct store_policies policies;

	store_fixture_open(f);
	assert_int_equal(list(f).policies.count, 0);
	assert_int_equal(put(f, "A", "allow", "gpu"), 0);
	f->now_ms++;
	assert_int_equal(put(f, "B", "allow", ""), 0);
	f->now_ms++;
	assert_int_equal(put(f, "A", "block", ""), 0);
	store_fixture_close(f);
	store_fixture_open(f);
	policies = list(f);
	assert_int_equal(policies.policies.count, 2);
	assert_text(policies.policies.items[0].peer_id, "B");
	assert_text(policies.policies.items[1].peer_id, "A");
	assert_text(policies.policies.items[1].policy, "block");
	assert_text(policies.policies.items[1].name, "gpu");
	assert_int_equal(policies.policies.items[1].since_ms, f->now_ms);
	assert_int_equal(forget(f, "A"), 0);
	assert_int_equal(forget(f, "A"), STORE_E_NOT_FOUND);
	assert_int_equal(list(f).policies.count, 1);
}

/* A name of another peer, a word that is none, no peer, and one more than policies_max are refused, and say why. */
static void policies_refused(void **state)
{
	struct store_fixture *f = *state;

	f->limits.policies_max = 2;
	store_fixture_open(f);
	assert_int_equal(put(f, "A", "allow", "gpu"), 0);
	assert_int_equal(put(f, "B", "allow", "gpu"), STORE_E_BAD);
	assert_says(f->err, "A is already called gpu");
	assert_int_equal(put(f, "B", "perhaps", ""), STORE_E_BAD);
	assert_int_equal(put(f, "", "allow", ""), STORE_E_BAD);
	assert_int_equal(put(f, "B", "block", ""), 0);
	assert_int_equal(put(f, "C", "block", ""), STORE_E_TOO_LARGE);
	assert_says(f->err, "policies_max");
	assert_int_equal(put(f, "B", "allow", ""), 0); /* no new one */
	assert_int_equal(forget(f, "A"), 0);
	assert_int_equal(put(f, "C", "allow", "gpu"), 0);
}

/* What comes again soon is counted in the row that is there, and said as the last time. */
static void audit_counts(void **state)
{
	struct store_fixture *f = *state;
	struct store_audits audits;
	uint64_t first_ms;

	store_fixture_open(f);
	first_ms = f->now_ms;
	for (int i = 0; i < 300; i++) {
		f->now_ms++;
		assert_int_equal(note(f, "refused", "A", i == 299 ? "last" : "x", 60000), 0);
	}
	assert_int_equal(note(f, "refused", "B", "y", 60000), 0);
	assert_int_equal(note(f, "allowed", "A", "z", 0), 0);
	assert_int_equal(note(f, "allowed", "A", "z", 0), 0);
	audits = audit(f);
	assert_int_equal(audits.rows.count, 4);
	assert_text(audits.rows.items[3].peer_id, "A");
	assert_int_equal(audits.rows.items[3].count, 300);
	assert_int_equal(audits.rows.items[3].at_ms, first_ms + 1);
	assert_int_equal(audits.rows.items[3].last_ms, f->now_ms);
	assert_text(audits.rows.items[3].text, "last");
	assert_int_equal(audits.rows.items[0].count, 1);
	assert_int_equal(audits.rows.items[0].last_ms, f->now_ms);
	f->now_ms += 60001;
	assert_int_equal(note(f, "refused", "A", "later", 60000), 0);
	assert_int_equal(audit(f).rows.count, 5);
}

/* A word and its audit row are one: one that is refused, or finds nothing to forget, leaves none. */
static void words_are_audited(void **state)
{
	struct store_fixture *f = *state;
	struct store_audits audits;
	struct store_policy_put req = {
		.peer_id = qmt_str("A"), .policy = qmt_str("block"), .note = qmt_str("gpu: by qmt peers")};

	store_fixture_open(f);
	store_fixture_begin(f);
	assert_int_equal(store_db_policy_put(f->db, &req, f->now_ms, &f->err), 0);
	store_db_rollback(f->db);
	assert_int_equal(audit(f).rows.count + list(f).policies.count, 0);
	store_fixture_begin(f);
	assert_int_equal(store_db_policy_put(f->db, &req, f->now_ms, &f->err), 0);
	store_fixture_commit(f);
	assert_int_equal(put(f, "A", "perhaps", ""), STORE_E_BAD);
	assert_int_equal(put(f, "A", "allow", ""), 0);
	assert_int_equal(forget(f, "A"), 0);
	assert_int_equal(forget(f, "A"), STORE_E_NOT_FOUND);
	audits = audit(f);
	assert_int_equal(audits.rows.count, 3);
	assert_text(audits.rows.items[2].event, "peer_blocked");
	assert_text(audits.rows.items[2].peer_id, "A");
	assert_text(audits.rows.items[2].text, "gpu: by qmt peers");
	assert_text(audits.rows.items[1].event, "peer_allowed");
	assert_text(audits.rows.items[0].event, "peer_forgotten");
}

/* What the owner allows names of sessions to be long bounds neither PeerIds nor the words of the audit. */
static void short_names(void **state)
{
	struct store_fixture *f = *state;

	f->limits.name_max_bytes = 1;
	store_fixture_open(f);
	assert_int_equal(put(f, "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB", "allow", "a-long-name"), 0);
	assert_int_equal(audit(f).rows.count, 1);
	assert_int_equal(note(f, "link_refused", "A", "x", 60000), 0);
	assert_int_equal(put(f, "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB1", "allow", ""), STORE_E_TOO_LARGE);
	assert_int_equal(audit(f).rows.count, 2);
}

/* Asked for each refusal, so it must not walk the audit. */
static void merging_uses_an_index(void **state)
{
	static const struct {
		const char *name, *sql;
	} statements[] = {
#define S(name, sql) {#name, sql},
#include "actors/store/store_sql.def"
#undef S
	};
	struct store_fixture *f = *state;
	bool found = false, walks = false;

	store_fixture_open(f);
	for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
		char sql[2000];
		sqlite3_stmt *stmt;
		sqlite3 *db;

		if (strcmp(statements[i].name, "AUDIT_MERGE") != 0)
			continue;
		(void)snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", statements[i].sql);
		assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
		assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
		while (sqlite3_step(stmt) == SQLITE_ROW) {
			const char *line = (const char *)sqlite3_column_text(stmt, 3);

			found |= strstr(line, "audit_group") != NULL;
			walks |= strstr(line, "SCAN") != NULL;
		}
		sqlite3_finalize(stmt);
		sqlite3_close(db);
	}
	assert_true(found && !walks);
}

/* A database of any earlier version is brought up to the newest and keeps its rows. */
static void every_version_is_brought_up(void **state)
{
	struct store_fixture *f = *state;
	struct store_session session;

	for (uint32_t from = 1; from < store_schema_newest(); from++) {
		struct qmt_buf sql = {0};
		char path[sizeof f->path];

		(void)snprintf(path, sizeof path, "%.60s/from%u.db", f->dir, from);
		memcpy(f->path, path, sizeof f->path);
		for (const struct store_migration *m = store_migrations; m->sql && m->version <= from; m++)
			qmt_buf_printf(&sql, "%s;", m->sql);
		qmt_buf_printf(&sql,
			"INSERT INTO sessions(id, owner, request, name, agent, cwd, peer, peer_name, title, remote_tools,"
			" created_ms, updated_ms)"
			" VALUES('0190aaaa-0000-7000-8000-00000000000a', '', 'r', 'old', '', '', '', '', '', 0, 1, 1);"
			"INSERT INTO turns(session, turn, pos, request, state, started_ms) VALUES(1, 1, 1, 't', 'complete', 1);"
			"INSERT INTO messages(session, pos, turn, role, content, created_ms) VALUES(1, 1, 1, 'user', 'hi', 1);"
			"INSERT INTO messages(session, pos, turn, role, content, created_ms) VALUES(1, 2, 1, 'assistant', 'ho', 1);"
			"INSERT INTO pins VALUES('gpu', 'x', 1);PRAGMA application_id = %d;PRAGMA user_version = %u",
			STORE_APPLICATION_ID, from);
		store_fixture_sql(f->path, sql.data);
		qmt_buf_free(&sql);
		store_fixture_open(f);
		assert_int_equal(store_fixture_number(f->path, "PRAGMA user_version"), store_schema_newest());
		assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM pins"), 1);
		assert_int_equal(
			store_fixture_number(f->path, "SELECT count(*) FROM sqlite_schema WHERE name = 'audit_group'"), 1);
		assert_int_equal(note(f, "refused", "A", "x", 60000), 0);
		assert_int_equal(note(f, "refused", "A", "x", 60000), 0);
		assert_int_equal(audit(f).rows.count, 1);
		assert_int_equal(store_fixture_find(f, "old", &session), 0);
		assert_int_equal(session.messages, 2);
		assert_int_equal(session.last, 2);
		store_fixture_end(f, session.id, store_fixture_turn(f, session.id, "more"), "complete");
		assert_int_equal(store_fixture_find(f, "old", &session), 0);
		assert_int_equal(session.messages, 3);
		assert_int_equal(session.last, 4);
		store_fixture_close(f);
	}
}

#define T(test) cmocka_unit_test_setup_teardown(test, store_fixture_setup, store_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(policies_stay), T(policies_refused), T(audit_counts), T(words_are_audited),
		T(short_names), T(merging_uses_an_index), T(every_version_is_brought_up)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
