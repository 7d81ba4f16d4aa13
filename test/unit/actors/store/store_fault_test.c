/* Whatever write, sync or allocation fails, and wherever the process is killed: the database opens again and holds each
 * acknowledged message exactly once; a message that was refused is not in it.
 *
 * This program stands between SQLite and the system: it defines the few calls by which SQLite's unix files change a
 * disk, so the library finds these first. Nothing in the store knows of it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "runtime/base/os.h"
#include "test/lib/store_fixture.h"

/* ---- faults ------------------------------------------------------------------------------------------------------ */

enum fault_kind {
	FAULT_NONE,
	FAULT_EIO,    /* the call fails */
	FAULT_ENOSPC, /* the call fails after half its work */
	FAULT_KILL,   /* the process ends, before the call */
};

static struct {
	enum fault_kind kind;
	bool lasting;   /* all that follow fail, too */
	long countdown; /* the call that brings it to 0 */
	long fired;
} fault;

static void arm(enum fault_kind kind, bool lasting, long countdown)
{
	fault.kind = kind;
	fault.lasting = lasting;
	fault.countdown = countdown;
	fault.fired = 0;
}

static bool fails(void)
{
	if (fault.kind == FAULT_NONE || (--fault.countdown != 0 && !(fault.lasting && fault.countdown < 0)))
		return false;
	fault.fired++;
	if (fault.kind == FAULT_KILL)
		raise(SIGKILL);
	errno = fault.kind == FAULT_EIO ? EIO : ENOSPC;
	return true;
}

#define INTERPOSE __attribute__((visibility("default")))

INTERPOSE ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at);
INTERPOSE int fdatasync(int fd);
INTERPOSE int ftruncate64(int fd, off64_t len) __THROW;

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
	if (fails()) {
		if (fault.kind == FAULT_ENOSPC)
			(void)!syscall(SYS_pwrite64, fd, data, len / 2, at);
		errno = fault.kind == FAULT_EIO ? EIO : ENOSPC;
		return -1;
	}
	return syscall(SYS_pwrite64, fd, data, len, at);
}

int fdatasync(int fd)
{
	return fails() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int ftruncate64(int fd, off64_t len)
{
	return fails() ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

/* ---- the workload ------------------------------------------------------------------------------------------------ */

enum { BATCHES = 6, PER_BATCH = 3, MESSAGES = BATCHES * PER_BATCH };

struct work {
	struct store_fixture *f;
	int ack_fd; /* or -1: an acknowledged number is also written here */
	bool opened, session, turn;
	bool acked[MESSAGES], refused[MESSAGES];
};

static const char session_id[] = "01900000-0000-7000-8000-000000000001";

static int work_batch(struct work *work, int (*body)(struct work *, int arg), int arg)
{
	struct store_fixture *f = work->f;
	int r = store_db_begin(f->db, &f->err);

	if (r < 0)
		return r;
	r = body(work, arg);
	if (r == 0)
		return store_db_commit(f->db, &f->err);
	store_db_rollback(f->db);
	return r;
}

static int make_session(struct work *work, int unused)
{
	struct store_session_create req = {.request = qmt_str("s"), .session = {.id = qmt_str(session_id)}};
	struct store_session s;

	(void)unused;
	return store_db_session_create(work->f->db, &req, session_id, 1, &work->f->arena, &s, &work->f->err);
}

static int make_turn(struct work *work, int unused)
{
	struct store_turn_begun begun;

	(void)unused;
	return store_db_turn_begin(work->f->db,
		&(struct store_turn_begin){.session = qmt_str(session_id), .request = qmt_str("t"), .text = qmt_str("go")}, 1,
		&work->f->arena, &begun, &work->f->err);
}

static int append_some(struct work *work, int batch)
{
	char text[700];
	struct chat_message m = {.role = qmt_str("assistant")};
	struct store_append req = {.session = qmt_str(session_id), .turn = 1, .messages = {&m, 1}};
	uint64_t pos;
	int r = 0;

	memset(text, ' ', sizeof text);
	for (int i = 0; r == 0 && i < PER_BATCH; i++) {
		snprintf(text, sizeof text, "%d ", batch * PER_BATCH + i);
		text[strlen(text)] = 'x'; /* a text of 700 bytes that begins with its number */
		m.content = qmt_strn(text, sizeof text);
		r = store_db_append(work->f->db, &req, 1, &pos, &work->f->err);
	}
	return r;
}

static void mark(struct work *work, int batch, bool ok)
{
	for (int i = batch * PER_BATCH; i < (batch + 1) * PER_BATCH; i++) {
		(ok ? work->acked : work->refused)[i] = true;
		if (ok && work->ack_fd >= 0)
			assert_int_equal(write(work->ack_fd, &i, sizeof i), sizeof i);
	}
}

/* A run of the store, as the actor does it: opened, then batch after batch, whatever comes. */
static void run(struct work *work)
{
	struct store_fixture *f = work->f;
	uint64_t turns;

	if (store_db_open(f->path, &f->limits, STORE_DB_WRITE, &f->db, &f->err) != 0)
		return;
	work->opened = true;
	if (store_db_recover(f->db, 1, &turns, &f->err) != 0)
		return;
	for (int batch = 0; batch < BATCHES; batch++) {
		if (!work->session)
			work->session = work_batch(work, make_session, 0) == 0;
		if (work->session && !work->turn)
			work->turn = work_batch(work, make_turn, 0) == 0;
		if (work->turn)
			mark(work, batch, work_batch(work, append_some, batch) == 0);
		store_arena_reset(&f->arena);
	}
}

/* What a fresh start finds. A message that was under way at a kill may be there or not: it was neither acknowledged nor
 * refused. */
static void verify(struct work *work, const char *what, long n)
{
	struct store_fixture *f = work->f;
	struct store_page page = {0};
	int seen[MESSAGES] = {0};
	uint64_t turns;

	if (store_db_open(f->path, &f->limits, STORE_DB_WRITE, &f->db, &f->err) != 0 ||
		store_db_recover(f->db, 1, &turns, &f->err) != 0)
		fail_msg("%s %ld: does not open: %s", what, n, f->err.text);
	int r = store_db_history(
		f->db, &(struct store_history){.session = qmt_str(session_id), .limit = 1000}, &f->arena, &page, &f->err);

	if (r < 0 || (r > 0 && work->session))
		fail_msg("%s %ld: %s", what, n, f->err.text);
	for (uint32_t i = 1; r == 0 && i < page.messages.count; i++) {
		const struct chat_message *m = &page.messages.items[i];
		long number = strtol(m->content.p, NULL, 10);

		assert_int_equal(m->content.len, 700);
		assert_int_equal(m->pos, i + 1); /* no gap */
		assert_in_range(number, 0, MESSAGES - 1);
		seen[number]++;
	}
	for (int i = 0; i < MESSAGES; i++) {
		if (work->acked[i] && seen[i] != 1)
			fail_msg("%s %ld: message %d was acknowledged and is there %d times", what, n, i, seen[i]);
		if (seen[i] > 1 || (work->refused[i] && seen[i]))
			fail_msg("%s %ld: message %d was refused and is there %d times", what, n, i, seen[i]);
	}
	assert_int_equal(
		store_fixture_number(f->path, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
	store_fixture_close(f);
	store_arena_reset(&f->arena);
}

static void wipe(struct store_fixture *f)
{
	static const char *const suffixes[] = {"", "-wal", "-shm", ".new"};

	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
		char path[200];

		snprintf(path, sizeof path, "%s%s", f->path, suffixes[i]);
		unlink(path);
	}
}

static int setup(void **state)
{
	int r = store_fixture_setup(state);
	struct store_fixture *f = *state;

	f->limits.wal_checkpoint_pages = 8; /* so that the log is moved many times */
	f->limits.wal_keep_bytes = 4096;
	return r;
}

/* A process under a sanitizer takes a second to fork and die, and what is tested here is the disk, not the process. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { KILL_STEP = 9, ROUNDS = 5 };
#else
enum { KILL_STEP = 1, ROUNDS = 50 };
#endif

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static unsigned count_refused(const struct work *work)
{
	unsigned count = 0;

	for (int i = 0; i < MESSAGES; i++)
		count += work->refused[i];
	return count;
}

/* The Nth call fails, N = 1.. until none is left to fail. */
static void each_call_fails(struct store_fixture *f, enum fault_kind kind, bool lasting, const char *what)
{
	long n = 0, fired = 1;

	while (fired > 0) {
		struct work work = {.f = f, .ack_fd = -1};

		wipe(f);
		arm(kind, lasting, ++n);
		run(&work);
		fired = fault.fired;
		arm(FAULT_NONE, false, 0);
		if (fired > 0 && !work.opened && f->err.code != -EIO && f->err.code != -ENOSPC)
			fail_msg("%s %ld: %s", what, n, f->err.text);
		if (fired == 0)
			for (int i = 0; i < MESSAGES; i++)
				assert_true(work.acked[i]);
		else if (!lasting && count_refused(&work) > PER_BATCH)
			fail_msg("%s %ld: one failure has cost %u messages", what, n, count_refused(&work));
		store_fixture_close(f);
		verify(&work, what, n);
	}
	assert_true(n > 50);
}

static void one_failing_call(void **state)
{
	each_call_fails(*state, FAULT_EIO, false, "EIO once, call");
}

static void a_disk_that_fills_up_for_a_moment(void **state)
{
	each_call_fails(*state, FAULT_ENOSPC, false, "ENOSPC once, call");
}

static void a_disk_that_dies(void **state)
{
	each_call_fails(*state, FAULT_EIO, true, "EIO from call");
}

static void a_disk_that_is_full(void **state)
{
	each_call_fails(*state, FAULT_ENOSPC, true, "ENOSPC from call");
}

static void read_acks(struct work *work, int fd)
{
	int number;

	while (read(fd, &number, sizeof number) == sizeof number) {
		assert_in_range(number, 0, MESSAGES - 1);
		work->acked[number] = true;
		work->session = true;
	}
}

/* A child runs the workload; its acknowledgements come through a pipe. Returns whether it was killed. */
static bool run_child(struct store_fixture *f, struct work *work, long kill_at)
{
	int ends[2], status;
	pid_t child;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct work own = {.f = f, .ack_fd = ends[1]};

		arm(FAULT_KILL, false, kill_at);
		run(&own);
		_exit(0); /* a kill after the last call: nothing is closed */
	}
	close(ends[1]);
	read_acks(work, ends[0]);
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status);
}

static void killed_before_each_call(void **state)
{
	struct store_fixture *f = *state;
	bool killed = true;

	for (long n = 1; killed; n += KILL_STEP) {
		struct work work = {.f = f, .ack_fd = -1};

		wipe(f);
		killed = run_child(f, &work, n);
		verify(&work, "killed before call", n);
	}
}

enum { ROUND_NUMBERS = 1000000 };

/* Appends until it is killed, in batches of 1 to 7: numbers from the round's first on. After each commit writes them to
 * ack_fd. */
static void append_for_ever(struct store_fixture *f, uint32_t round, int ack_fd)
{
	struct work work = {.f = f};
	struct store_turn_begun begun;
	uint64_t turns, pos;
	char text[20];

	snprintf(text, sizeof text, "round %u", round);
	store_fixture_open(f);
	if (store_db_recover(f->db, 1, &turns, &f->err) != 0 || work_batch(&work, make_session, 0) != 0)
		_exit(1);
	store_fixture_begin(f);
	if (store_db_turn_begin(f->db,
			&(struct store_turn_begin){.session = qmt_str(session_id), .request = qmt_str(text), .text = qmt_str("go")},
			1, &f->arena, &begun, &f->err) != 0)
		_exit(2);
	store_fixture_commit(f);
	for (uint32_t next = round * ROUND_NUMBERS, done = next;;) {
		store_fixture_begin(f);
		for (uint32_t batch = next % 7 + 1; batch > 0; batch--) {
			struct chat_message m = {.role = qmt_str("assistant")};

			snprintf(text, sizeof text, "%u", next++);
			m.content = qmt_str(text);
			if (store_db_append(
					f->db, &(struct store_append){qmt_str(session_id), begun.turn, {&m, 1}}, 1, &pos, &f->err) != 0)
				_exit(3);
		}
		store_fixture_commit(f);
		for (; done < next; done++)
			if (write(ack_fd, &done, sizeof done) != sizeof done)
				_exit(4);
	}
}

/* Reads acknowledgements, `count` of them or to the end. Returns how many numbers of the round are acknowledged by now.
 */
static uint32_t read_numbers(int fd, uint32_t round, uint32_t have, uint32_t count)
{
	uint32_t number;

	while (count-- > 0 && read(fd, &number, sizeof number) == sizeof number)
		assert_int_equal(number, round * ROUND_NUMBERS + have++);
	return have;
}

/* The first `count` numbers of a round are there, once each. */
static void assert_numbers(struct store_fixture *f, uint32_t round, uint32_t count)
{
	char sql[200];

	snprintf(sql, sizeof sql,
		"SELECT count(*) FROM messages WHERE role = 'assistant' AND CAST(content AS INT) BETWEEN %u AND %u",
		round * ROUND_NUMBERS, round * ROUND_NUMBERS + count - 1);
	if (count > 0)
		assert_int_equal(store_fixture_number(f->path, sql), count);
}

/* Killed after some acknowledgements, at no chosen place; the same file goes through all rounds. */
static void killed_at_random(void **state)
{
	struct store_fixture *f = *state;
	struct qmt_os *os = qmt_os_new(true, 50, 0);
	uint32_t acked[ROUNDS] = {0};

	assert_non_null(os);
	f->limits.wal_checkpoint_pages = 50;
	for (uint32_t round = 0; round < ROUNDS; round++) {
		int ends[2], status;
		uint32_t patience;
		pid_t child;

		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		child = fork();
		assert_true(child >= 0);
		if (child == 0)
			append_for_ever(f, round, ends[1]);
		close(ends[1]);
		qmt_os_random(os, &patience, sizeof patience);
		acked[round] = read_numbers(ends[0], round, 0, patience % 300);
		assert_int_equal(kill(child, SIGKILL), 0);
		acked[round] = read_numbers(ends[0], round, acked[round], UINT32_MAX);
		close(ends[0]);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

		store_fixture_open(f);
		store_fixture_close(f);
		assert_numbers(f, round, acked[round]);
	}
	for (uint32_t round = 0; round < ROUNDS; round++) /* what came later has not touched them */
		assert_numbers(f, round, acked[round]);
	assert_int_equal(store_fixture_number(
						 f->path, "SELECT count(*) - count(DISTINCT content) FROM messages WHERE role = 'assistant'"),
		0);
	assert_int_equal(store_fixture_number(f->path, "SELECT count(*) - max(pos) FROM messages"), 0);
	qmt_os_free(os);
}

/* ---- allocations ------------------------------------------------------------------------------------------------- */

static sqlite3_mem_methods real_mem;
static long mem_countdown; /* 0: none fails */
static bool mem_fired;

static bool mem_fails(void)
{
	if (mem_countdown == 0 || --mem_countdown != 0)
		return false;
	mem_fired = true;
	return true;
}

static void *mem_malloc(int size)
{
	return mem_fails() ? NULL : real_mem.xMalloc(size);
}

static void *mem_realloc(void *old, int size)
{
	return mem_fails() ? NULL : real_mem.xRealloc(old, size);
}

static void one_failing_allocation(void **state)
{
	struct store_fixture *f = *state;

	/* Each of the first ones, then steps: there are thousands and they repeat. */
	for (long n = 1;; n += n < 100 ? 1 : 1 + n / 20) {
		struct work work = {.f = f, .ack_fd = -1};
		bool fired;

		wipe(f);
		mem_countdown = n;
		mem_fired = false;
		run(&work);
		mem_countdown = 0;
		fired = mem_fired;
		store_fixture_close(f);
		verify(&work, "no memory, allocation", n);
		if (!fired)
			break;
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, store_fixture_teardown)

int main(void)
{
	sqlite3_mem_methods mem;

	if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_mem) != SQLITE_OK)
		return 1;
	mem = real_mem;
	mem.xMalloc = mem_malloc;
	mem.xRealloc = mem_realloc;
	if (sqlite3_config(SQLITE_CONFIG_MALLOC, &mem) != SQLITE_OK)
		return 1;

	const struct CMUnitTest tests[] = {
		T(one_failing_call),
		T(a_disk_that_fills_up_for_a_moment),
		T(a_disk_that_dies),
		T(a_disk_that_is_full),
		T(killed_before_each_call),
		T(killed_at_random),
		T(one_failing_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
