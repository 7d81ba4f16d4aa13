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
	r = store_db_policy_forget(f->db, &(struct store_policy_forget){.peer_id = qmt_str(id)}, &f->err);
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
	r = store_db_audit_count(f->db, &row, merge_ms, f->now_ms, &f->err);
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

/* A database of version 2 gets what is new and keeps what it has. */
static void version_two(void **state)
{
	struct store_fixture *f = *state;

	store_fixture_open(f);
	store_fixture_session(f, "kept");
	store_fixture_close(f);
	store_fixture_sql(f->path,
		"DROP INDEX peer_policy_name; ALTER TABLE audit DROP COLUMN count; ALTER TABLE audit DROP COLUMN last_ms; "
		"PRAGMA user_version = 2");
	store_fixture_open(f);
	assert_int_equal(put(f, "A", "allow", "gpu"), 0);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM sessions WHERE name = 'kept'"), 1);
	assert_int_equal(store_fixture_number(f->path, "PRAGMA user_version"), store_schema_newest());
}

#define T(test) cmocka_unit_test_setup_teardown(test, store_fixture_setup, store_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(policies_stay), T(policies_refused), T(audit_counts), T(version_two)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
