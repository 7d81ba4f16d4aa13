/* An invite lets in as many nodes as it says, each once, until it expires or is revoked: whoever asks, however many at
 * once, and wherever the process was killed. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "actors/store/store_schema.h"
#include "runtime/base/os.h"
#include "runtime/system.h"
#include "test/lib/store_fixture.h"

#define HOST "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"
#define MESH HOST ":home"
enum { DAY = 86400, DEADLINE_MS = 20000 };

/* PeerIds and ids of the right length; the store does not look into them. */
static struct qmt_str peer(unsigned n, char room[64])
{
	snprintf(room, 64, "12D3KooW%044u", n);
	return qmt_str(room);
}

static struct qmt_str id(unsigned n, char room[64])
{
	snprintf(room, 64, "%08x-a402-7102-8012-3456789adf00", n);
	return qmt_str(room);
}

static int add(struct store_fixture *f, unsigned n, uint32_t max_uses, uint64_t expires_at)
{
	char room[64];
	struct store_invite_add req = {.invite = {.id = id(n, room),
									   .mesh = qmt_str(MESH),
									   .name = qmt_str("home"),
									   .max_uses = max_uses,
									   .expires_at = expires_at}};
	int r;

	store_fixture_begin(f);
	r = store_db_invite_add(f->db, &req, f->now_ms, &f->arena, &f->err);
	store_fixture_commit(f);
	return r;
}

static struct store_admitted admit(struct store_fixture *f, unsigned invite, unsigned who)
{
	char rooms[2][64];
	struct store_admit req = {
		.invite = id(invite, rooms[0]), .mesh = qmt_str(MESH), .peer_id = peer(who, rooms[1]), .lifetime_s = 7 * DAY};
	struct store_admitted admitted;

	store_fixture_begin(f);
	if (store_db_admit(f->db, &req, f->now_ms, &f->arena, &admitted, &f->err) != 0)
		fail_msg("%s", f->err.text);
	store_fixture_commit(f);
	assert_int_equal(admitted.admitted, qmt_str_is(admitted.outcome, "ok") || qmt_str_is(admitted.outcome, "already"));
	return admitted;
}

#define assert_outcome(f, invite, who, text)                                                      \
	do {                                                                                          \
		struct store_admitted was = admit(f, invite, who);                                        \
		if (!qmt_str_is(was.outcome, text))                                                       \
			fail_msg("%u by %u: %.*s, expected %s", who, invite, QMT_STR_ARG(was.outcome), text); \
	} while (0)

static struct store_invite_revoked revoke_invite(struct store_fixture *f, const char *key, int want)
{
	struct store_invite_revoke req = {.invite = qmt_str(key)};
	struct store_invite_revoked revoked = {0};

	store_fixture_begin(f);
	assert_int_equal(store_db_invite_revoke(f->db, &req, f->now_ms, &f->arena, &revoked, &f->err), want);
	store_fixture_commit(f);
	return revoked;
}

/* Uses are counted per node: who comes again spends none, whoever is one too many is told so; without a bound all
 * come. */
static void uses_are_counted(void **state)
{
	struct store_fixture *f = *state;
	struct store_admitted first;

	store_fixture_open(f);
	f->now_ms = 1780000000123;
	assert_int_equal(add(f, 1, 2, 0), 0);
	first = admit(f, 1, 10);
	assert_text(first.outcome, "ok");
	assert_int_equal(first.invite.uses, 1);
	assert_int_equal(first.issued_at, 1780000000);
	assert_int_equal(first.expires_at, 1780000000 + 7 * DAY);
	assert_text(first.invite.name, "home");
	assert_outcome(f, 1, 10, "already");
	assert_outcome(f, 1, 11, "ok");
	assert_outcome(f, 1, 12, "used_up");
	assert_outcome(f, 1, 10, "already"); /* also when it is used up */
	assert_outcome(f, 1, 12, "used_up");
	assert_outcome(f, 2, 10, "unknown");
	assert_int_equal(add(f, 3, 0, 0), 0);
	for (unsigned n = 0; n < 50; n++)
		assert_outcome(f, 3, n, "ok");
	assert_int_equal(store_fixture_number(f->path, "SELECT uses FROM invites WHERE id LIKE '00000001%'"), 2);
	assert_int_equal(
		store_fixture_number(f->path, "SELECT count(*) FROM memberships WHERE expires_at > issued_at"), 50);
	assert_int_equal(add(f, 3, 1, 0), STORE_E_BAD);
	assert_says(f->err, "there is one of this id");
}

/* It holds up to and in the second of expires_at; then nobody new comes in, and those who were admitted renew. A
 * renewed membership counts from now. */
static void it_expires(void **state)
{
	struct store_fixture *f = *state;

	store_fixture_open(f);
	f->now_ms = 5000000;
	assert_int_equal(add(f, 1, 0, 5100), 0);
	assert_outcome(f, 1, 1, "ok");
	f->now_ms = 5100999;
	assert_outcome(f, 1, 2, "ok");
	assert_int_equal(admit(f, 1, 1).expires_at, 5100 + 7 * DAY);
	f->now_ms = 5101000;
	assert_outcome(f, 1, 3, "expired");
	assert_outcome(f, 1, 1, "already");
	assert_int_equal(store_fixture_number(f->path, "SELECT uses FROM invites"), 2);
}

/* Revoked by id or by a unique prefix; who came by it is named; a second time changes nothing. Another mesh's grant of
 * the same id, and a blocked or revoked peer, are refused. */
static void it_is_revoked(void **state)
{
	struct store_fixture *f = *state;
	struct store_invite_revoked revoked;
	struct store_admitted other;
	char rooms[2][64];

	store_fixture_open(f);
	assert_int_equal(add(f, 0x11, 0, 0), 0);
	assert_int_equal(add(f, 0x12, 0, 0), 0);
	assert_outcome(f, 0x11, 7, "ok");
	assert_outcome(f, 0x11, 8, "ok");
	revoke_invite(f, "0000001", STORE_E_BAD);
	assert_says(f->err, "several invites begin with 0000001");
	revoke_invite(f, "0000002", STORE_E_NOT_FOUND);
	revoke_invite(f, "000", STORE_E_BAD);
	f->now_ms = 77000;
	revoked = revoke_invite(f, "00000011", 0);
	assert_false(revoked.already);
	assert_int_equal(revoked.invite.revoked_ms, 77000);
	assert_int_equal(revoked.peers.count, 2);
	assert_true(qmt_str_eq(revoked.peers.items[0], peer(7, rooms[0])));
	assert_true(qmt_str_eq(revoked.peers.items[1], peer(8, rooms[0])));
	assert_outcome(f, 0x11, 7, "revoked");
	assert_outcome(f, 0x11, 9, "revoked");
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM memberships WHERE revoked_ms = 77000"), 2);
	f->now_ms = 88000;
	revoked = revoke_invite(f, "00000011-a402-7102-8012-3456789adf00", 0);
	assert_true(revoked.already);
	assert_int_equal(revoked.invite.revoked_ms, 77000);
	assert_outcome(f, 0x12, 7, "ok"); /* another invite lets it in again */
	store_fixture_sql(f->path,
		"INSERT INTO revocations VALUES('" MESH "', 'peer', '12D3KooW"
		"00000000000000000000000000000000000000000008', 1, NULL);"
		"INSERT INTO peer_policy VALUES('12D3KooW"
		"00000000000000000000000000000000000000000009', 'block', '', 1)");
	assert_outcome(f, 0x12, 8, "revoked");
	assert_outcome(f, 0x12, 9, "blocked");
	store_fixture_begin(f);
	assert_int_equal(store_db_admit(f->db,
						 &(struct store_admit){.invite = id(0x12, rooms[0]),
							 .mesh = qmt_str(HOST ":work"),
							 .peer_id = peer(1, rooms[1]),
							 .lifetime_s = DAY},
						 f->now_ms, &f->arena, &other, &f->err),
		0);
	store_fixture_commit(f);
	assert_text(other.outcome, "unknown");
}

/* What is no request is refused, and nothing is written. */
static void bad_requests(void **state)
{
	struct store_fixture *f = *state;
	char rooms[2][64];
	const struct store_admit good = {
		.invite = id(1, rooms[0]), .mesh = qmt_str(MESH), .peer_id = peer(1, rooms[1]), .lifetime_s = DAY};
	struct store_admit bad[5] = {good, good, good, good, good};
	struct store_admitted admitted;

	store_fixture_open(f);
	bad[0].invite.len--;
	bad[1].peer_id.len--;
	bad[2].mesh = qmt_str("lan:default");
	bad[3].lifetime_s = 0;
	bad[4].lifetime_s = UINT64_MAX;
	for (int i = 0; i < 5; i++) {
		store_fixture_begin(f);
		assert_int_equal(store_db_admit(f->db, &bad[i], 1, &f->arena, &admitted, &f->err), STORE_E_BAD);
		store_fixture_commit(f);
	}
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM audit"), 0);
}

/* Each decision is a row of the audit log, with invite and PeerId; it is read from the newest on, and its oldest rows
 * go. */
static void decisions_are_audited(void **state)
{
	struct store_fixture *f = *state;
	struct store_audits audits;
	char rooms[2][64];

	f->limits.audit_max = 5;
	store_fixture_open(f);
	f->now_ms = 9000;
	assert_int_equal(add(f, 1, 1, 0), 0);
	assert_outcome(f, 1, 1, "ok");
	assert_outcome(f, 1, 2, "used_up");
	assert_outcome(f, 3, 2, "unknown");
	revoke_invite(f, "00000001", 0);
	assert_int_equal(store_db_audit_list(f->db, &(struct store_audit_list){0}, &f->arena, &audits, &f->err), 0);
	static const char *const events[] = {"invite_revoked", "refused", "refused", "admitted", "invite_created"};
	static const char *const texts[] = {"", "unknown", "used_up", "ok", ""};
	assert_int_equal(audits.rows.count, 5);
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(audits.rows.items[i].seq, 5 - i);
		assert_int_equal(audits.rows.items[i].at_ms, 9000);
		assert_text(audits.rows.items[i].event, events[i]);
		assert_text(audits.rows.items[i].text, texts[i]);
		assert_text(audits.rows.items[i].mesh, MESH);
		assert_true(qmt_str_eq(audits.rows.items[i].invite, id(i == 1 ? 3 : 1, rooms[0])));
	}
	assert_true(qmt_str_eq(audits.rows.items[3].peer_id, peer(1, rooms[1])));
	store_fixture_begin(f);
	assert_int_equal(
		store_db_audit_add(f->db, &(struct store_audit){.event = qmt_str("peer_blocked"), .text = qmt_str("by name")},
			f->now_ms, &f->err),
		0);
	assert_int_equal(store_db_audit_add(f->db, &(struct store_audit){0}, f->now_ms, &f->err), STORE_E_BAD);
	store_fixture_commit(f);
	assert_int_equal(
		store_db_audit_list(f->db, &(struct store_audit_list){.before = 6, .limit = 2}, &f->arena, &audits, &f->err),
		0);
	assert_int_equal(audits.rows.count, 2);
	assert_int_equal(audits.rows.items[0].seq, 5);
	assert_int_equal(store_fixture_number(f->path, "SELECT min(seq) * 10 + count(*) FROM audit"), 25);
}

/* A bound for names of sessions does not bound what is noted: a use never goes without its audit row. */
static void short_names(void **state)
{
	struct store_fixture *f = *state;

	f->limits.name_max_bytes = 1;
	store_fixture_open(f);
	assert_int_equal(add(f, 1, 1, 0), 0);
	assert_outcome(f, 1, 1, "ok");
	(void)revoke_invite(f, "00000001", 0);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM audit"), 3);
}

/* Invites are listed newest first, page by page. */
static void they_are_listed(void **state)
{
	struct store_fixture *f = *state;
	struct store_invites invites;
	char room[64];

	store_fixture_open(f);
	for (unsigned n = 1; n <= 30; n++, f->now_ms++)
		assert_int_equal(add(f, n, n, n % 2 ? n : 0), 0);
	assert_int_equal(store_db_invite_list(f->db, &(struct store_invite_list){0}, &f->arena, &invites, &f->err), 0);
	assert_int_equal(invites.total, 30);
	assert_int_equal(invites.invites.count, STORE_LIST_DEFAULT);
	assert_true(qmt_str_eq(invites.invites.items[0].id, id(30, room)));
	assert_int_equal(store_db_invite_list(
						 f->db, &(struct store_invite_list){.offset = 28, .limit = 10}, &f->arena, &invites, &f->err),
		0);
	assert_int_equal(invites.invites.count, 2);
	assert_true(qmt_str_eq(invites.invites.items[1].id, id(1, room)));
	assert_int_equal(invites.invites.items[1].max_uses, 1);
	assert_int_equal(invites.invites.items[1].expires_at, 1);
	assert_text(invites.invites.items[1].mesh, MESH);
}

/* A database of the first version gets the tables, and keeps its sessions and pins. */
static void the_first_version_is_brought_up(void **state)
{
	struct store_fixture *f = *state;
	struct qmt_buf sql = {0};

	qmt_buf_str(&sql, store_migrations[0].sql);
	qmt_buf_printf(&sql, ";INSERT INTO pins VALUES('gpu', 'x', 1);PRAGMA application_id = %d;PRAGMA user_version = 1",
		STORE_APPLICATION_ID);
	store_fixture_sql(f->path, sql.data);
	qmt_buf_free(&sql);
	store_fixture_open(f);
	assert_int_equal(store_fixture_number(f->path, "PRAGMA user_version"), store_schema_newest());
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM pins"), 1);
	assert_int_equal(add(f, 1, 1, 0), 0);
	assert_outcome(f, 1, 1, "ok");
}

/* ---- many at once ------------------------------------------------------------------------------------------------ */

enum { THREADS = 8, EACH = 25 };

struct asker {
	struct qmt_system *system;
	struct qmt_ref store;
	unsigned first;
	uint32_t ok, used_up;
};

static void ask(void *asker_)
{
	struct asker *asker = asker_;
	struct qmt_ctx *ctx = qmt_outside_open(asker->system);

	for (unsigned i = 0; ctx && i < EACH; i++) {
		char rooms[2][64];
		struct store_admit req = {.invite = id(1, rooms[0]),
			.mesh = qmt_str(MESH),
			.peer_id = peer(asker->first + i, rooms[1]),
			.lifetime_s = DAY};
		struct qmt_result result;
		if (qmt_outside_ask(ctx, asker->store, &store_admit_type, &req, DEADLINE_MS, &result) != 0)
			continue;
		const struct store_admitted *admitted = result.body;
		asker->ok += qmt_str_is(admitted->outcome, "ok");
		asker->used_up += qmt_str_is(admitted->outcome, "used_up");
	}
	qmt_outside_close(ctx);
}

/* 200 nodes race for one use: one is admitted, the others are told that it is used up. */
static void one_of_many(void **state)
{
	struct store_fixture *f = *state;
	struct store_config config = {.path = f->path};
	struct qmt_spawn spawn = {.name = "store", .config = &config, .restart = QMT_TEMPORARY, .own_thread = true};
	struct asker askers[THREADS] = {0};
	struct qmt_os_thread *threads[THREADS];
	struct qmt_system *system;
	struct qmt_ctx *ctx;
	struct qmt_ref store;
	uint32_t ok = 0, used_up = 0;

	store_fixture_open(f);
	assert_int_equal(add(f, 1, 1, 0), 0);
	store_fixture_close(f);
	system = qmt_system_start(&(struct qmt_system_options){.workers = 2}, &f->err);
	assert_non_null(system);
	ctx = qmt_outside_open(system);
	assert_int_equal(qmt_spawn(ctx, &store_desc, &spawn, &store, &f->err), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		askers[i] = (struct asker){.system = system, .store = store, .first = i * EACH};
		assert_int_equal(qmt_os_thread_start("asker", ask, &askers[i], &threads[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		qmt_os_thread_join(threads[i]);
		ok += askers[i].ok;
		used_up += askers[i].used_up;
	}
	assert_int_equal(ok, 1);
	assert_int_equal(used_up, THREADS * EACH - 1);
	qmt_outside_close(ctx);
	assert_int_equal(qmt_system_stop(system, DEADLINE_MS, &f->err), 0);
	qmt_system_free(system);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM admissions"), 1);
}

/* ---- kill -------------------------------------------------------------------------------------------------------- */

enum { KILLS = 20, USES = 10, PEERS = 30 };

/* Admits one peer after the other to an invite for USES, and says which after each commit; until it is killed. */
static void admit_until_killed(struct store_fixture *f, int fd)
{
	store_fixture_open(f);
	for (uint32_t n = 0; n < PEERS; n++) {
		struct store_admitted admitted = admit(f, 1, n);
		uint32_t said = n << 1 | admitted.admitted;
		if (write(fd, &said, sizeof said) != sizeof said)
			_exit(1);
	}
	_exit(0);
}

/* A process that admits is killed somewhere between two acknowledgements, and another one goes on: nobody whom it let
 * in is forgotten, and of all that asked exactly as many came in as the invite says. */
static void killed_in_between(void **state)
{
	struct store_fixture *f = *state;

	for (uint32_t round = 0; round < KILLS; round++) {
		bool in[PEERS] = {false};
		uint32_t said, acked = 0, ok = 0;
		int ends[2], status;
		char path[120];
		pid_t child;

		snprintf(path, sizeof path, "%s/%u.db", f->dir, round);
		memcpy(f->path, path, sizeof f->path);
		store_fixture_open(f);
		assert_int_equal(add(f, 1, USES, 0), 0);
		store_fixture_close(f);
		assert_int_equal(pipe(ends), 0);
		child = fork(); /* this process has one thread */
		assert_true(child >= 0);
		if (child == 0)
			admit_until_killed(f, ends[1]);
		close(ends[1]);
		while (acked <= round && read(ends[0], &said, sizeof said) == sizeof said)
			in[acked++] = said & 1;
		kill(child, SIGKILL);
		while (read(ends[0], &said, sizeof said) == sizeof said)
			in[acked++] = said & 1;
		close(ends[0]);
		assert_int_equal(waitpid(child, &status, 0), child);

		store_fixture_open(f);
		for (uint32_t n = 0; n < PEERS; n++) {
			struct store_admitted admitted = admit(f, 1, n);
			if (n < acked && in[n])
				assert_text(admitted.outcome, "already");
			ok += admitted.admitted;
		}
		store_fixture_close(f);
		assert_int_equal(ok, USES);
		assert_int_equal(store_fixture_number(f->path, "SELECT uses FROM invites"), USES);
		assert_int_equal(store_fixture_number(f->path, "SELECT count(*) FROM admissions"), USES);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(killed_in_between, store_fixture_setup, store_fixture_teardown), /* it forks */
		cmocka_unit_test_setup_teardown(uses_are_counted, store_fixture_setup, store_fixture_teardown),
		cmocka_unit_test_setup_teardown(it_expires, store_fixture_setup, store_fixture_teardown),
		cmocka_unit_test_setup_teardown(it_is_revoked, store_fixture_setup, store_fixture_teardown),
		cmocka_unit_test_setup_teardown(bad_requests, store_fixture_setup, store_fixture_teardown),
		cmocka_unit_test_setup_teardown(decisions_are_audited, store_fixture_setup, store_fixture_teardown),
		cmocka_unit_test_setup_teardown(short_names, store_fixture_setup, store_fixture_teardown),
		cmocka_unit_test_setup_teardown(they_are_listed, store_fixture_setup, store_fixture_teardown),
		cmocka_unit_test_setup_teardown(the_first_version_is_brought_up, store_fixture_setup, store_fixture_teardown),
		cmocka_unit_test_setup_teardown(one_of_many, store_fixture_setup, store_fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
