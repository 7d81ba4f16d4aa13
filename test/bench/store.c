/* test/bench/store.c - durable appends through the store actor, against bare SQLite in the same run.
 *
 *     store [--dir DIR] [--rounds 7] [--rows 20000] [--bytes 200]
 *
 * bare:  the same rows into the same tables by one prepared INSERT, 64 a commit, WAL, synchronous=FULL, no actor.
 * actor: 64 clients append to a session each; `waiting` of their requests are under way at any time.
 * Rounds alternate; the ratio is the median of the rounds' ratios. Syncs are counted by a fdatasync of our own, which
 * SQLite's unix files find first. DIR must be on the disk that is meant: /tmp may be memory. Then: a fork of a session
 * of 100,000 messages (one row by hand, as the operation is not in the contract yet), and its first page.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <sqlite3.h>

#include "actors/store/store_db.h"
#include "actors/store/store_schema.h"
#include "runtime/base/os.h"
#include "runtime/system.h"

enum { CLIENTS = 64, BARE_BATCH = 64, ROUNDS_MAX = 99, LONG_SESSION = 100000, DEADLINE_MS = 120000 };

static atomic_long syncs;

__attribute__((visibility("default"))) int fdatasync(int fd);
int fdatasync(int fd)
{
	atomic_fetch_add_explicit(&syncs, 1, memory_order_relaxed);
	return (int)syscall(SYS_fdatasync, fd);
}

struct bench {
	const char *dir;
	char path[512];
	uint32_t rounds, rows, bytes;
	char *text;
};

struct sample {
	double rows_per_s, syncs_per_row;
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "store: %s: %s\n", what, why);
	exit(1);
}

static uint64_t now_ns(void)
{
	static struct qmt_os *os; /* a main of its own */

	if (!os)
		os = qmt_os_new(false, 0, 0);
	return qmt_os_now_ns(os);
}

static void wipe(const struct bench *bench)
{
	static const char *const suffixes[] = {"", "-wal", "-shm"};

	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
		char path[600];

		snprintf(path, sizeof path, "%s%s", bench->path, suffixes[i]);
		unlink(path);
	}
}

static struct sample sample_of(const struct bench *bench, uint64_t ns, long used)
{
	return (struct sample){.rows_per_s = bench->rows / ((double)ns / 1e9), .syncs_per_row = (double)used / bench->rows};
}

/* ---- bare SQLite ------------------------------------------------------------------------------------------------- */

static void sql_run(sqlite3 *sql, const char *text)
{
	if (sqlite3_exec(sql, text, NULL, NULL, NULL) != SQLITE_OK)
		die(text, sqlite3_errmsg(sql));
}

static struct sample run_bare(const struct bench *bench)
{
	const struct store_limits limits = STORE_LIMITS_DEFAULTS;
	char checkpoint[60];
	sqlite3 *sql;
	sqlite3_stmt *insert;

	wipe(bench);
	if (sqlite3_open_v2(bench->path, &sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) !=
		SQLITE_OK)
		die(bench->path, "cannot be made");
	snprintf(checkpoint, sizeof checkpoint, "PRAGMA wal_autocheckpoint = %llu",
		(unsigned long long)limits.wal_checkpoint_pages);
	sql_run(sql, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = OFF");
	sql_run(sql, checkpoint);
	for (const struct store_migration *m = store_migrations; m->sql; m++)
		sql_run(sql, m->sql);
	if (sqlite3_prepare_v2(sql,
			"INSERT INTO messages(session, pos, turn, role, content, reasoning, calls, tool_call_id,"
			" tool_name, is_error, partial, created_ms)"
			" VALUES(?, ?, 1, 'assistant', ?, NULL, 0, NULL, NULL, 0, 0, 1764000000000)",
			-1, &insert, NULL) != SQLITE_OK)
		die("prepare", sqlite3_errmsg(sql));

	atomic_store(&syncs, 0);
	uint64_t start = now_ns();

	for (uint32_t row = 0; row < bench->rows;) {
		sql_run(sql, "BEGIN IMMEDIATE");
		for (int i = 0; i < BARE_BATCH && row < bench->rows; i++, row++) {
			sqlite3_bind_int64(insert, 1, row % CLIENTS + 1);
			sqlite3_bind_int64(insert, 2, row / CLIENTS + 1);
			sqlite3_bind_text(insert, 3, bench->text, (int)bench->bytes, SQLITE_STATIC);
			if (sqlite3_step(insert) != SQLITE_DONE)
				die("insert", sqlite3_errmsg(sql));
			sqlite3_reset(insert);
		}
		sql_run(sql, "COMMIT");
	}

	struct sample sample = sample_of(bench, now_ns() - start, atomic_load(&syncs));

	sqlite3_finalize(insert);
	sqlite3_close(sql);
	return sample;
}

/* ---- the actor --------------------------------------------------------------------------------------------------- */

struct client_config {
	struct qmt_ref store;
	char session[40];
	struct qmt_str text;
	uint32_t count, depth;
	int done_fd;
};

struct client {
	const struct client_config *config;
	uint32_t sent, answered;
};

static void client_send(struct qmt_ctx *ctx, struct client *client);

static void client_answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct client *client = state;

	(void)arg;
	if (result->fail)
		die("append", result->text.len ? result->text.p : qmt_fail_name(result->fail));
	client->answered++;
	if (client->sent < client->config->count)
		client_send(ctx, client);
	else if (client->answered == client->config->count && write(client->config->done_fd, "", 1) != 1)
		die("pipe", "closed");
}

static void client_send(struct qmt_ctx *ctx, struct client *client)
{
	const struct client_config *config = client->config;
	const struct chat_message m = {.role = qmt_str("assistant"), .content = config->text};

	client->sent++;
	qmt_ask_or(ctx, config->store, &store_append_type, &(struct store_append){qmt_str(config->session), 1, {&m, 1}},
		DEADLINE_MS, client_answered, NULL);
}

static int client_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct client *client = state;

	client->config = config;
	while (client->sent < client->config->depth && client->sent < client->config->count)
		client_send(ctx, client);
	return 0;
}

static const struct qmt_actor_desc client_desc = {.abi = QMT_ABI,
	.name = "client",
	.doc = "Appends as fast as it is answered.",
	.state_size = sizeof(struct client),
	.start = client_start};

static const void *ask(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body)
{
	static struct qmt_result result; /* what it points to lives until the next ask, and so may it */

	if (qmt_outside_ask(ctx, to, type, body, DEADLINE_MS, &result) != 0)
		die(type->record.name, qmt_fail_name(result.fail));
	return result.body;
}

/* A session with a running turn for each client. */
static void make_sessions(struct qmt_ctx *ctx, struct qmt_ref store, struct client_config *configs)
{
	for (int i = 0; i < CLIENTS; i++) {
		char request[20];

		snprintf(request, sizeof request, "%d", i);
		const struct store_session_created *created =
			ask(ctx, store, &store_session_create_type, &(struct store_session_create){.request = qmt_str(request)});

		snprintf(configs[i].session, sizeof configs[i].session, "%.*s", QMT_STR_ARG(created->session.id));
		(void)ask(ctx, store, &store_turn_begin_type,
			&(struct store_turn_begin){
				.session = qmt_str(configs[i].session), .request = qmt_str("t"), .text = qmt_str("go")});
	}
}

static struct sample run_actor(const struct bench *bench, uint32_t waiting)
{
	const struct store_config config = {.path = bench->path};
	struct client_config configs[CLIENTS];
	struct qmt_err err;
	struct qmt_system *sys = qmt_system_start(&(struct qmt_system_options){0}, &err);
	struct qmt_ctx *ctx = sys ? qmt_outside_open(sys) : NULL;
	struct qmt_ref store, client;
	int ends[2];

	wipe(bench);
	if (!ctx || pipe(ends) != 0)
		die("runtime", err.text);
	if (qmt_spawn(ctx, &store_desc, &(struct qmt_spawn){.name = "store", .config = &config, .own_thread = true}, &store,
			&err) != 0)
		die("spawn", err.text);
	make_sessions(ctx, store, configs);

	atomic_store(&syncs, 0);
	uint64_t start = now_ns();

	for (uint32_t i = 0; i < CLIENTS; i++) {
		configs[i].store = store;
		configs[i].text = qmt_strn(bench->text, bench->bytes);
		configs[i].count = bench->rows / CLIENTS + (i < bench->rows % CLIENTS);
		configs[i].depth = waiting / CLIENTS;
		configs[i].done_fd = ends[1];
		if (qmt_spawn(ctx, &client_desc, &(struct qmt_spawn){.config = &configs[i]}, &client, &err) != 0)
			die("spawn", err.text);
	}
	for (int i = 0; i < CLIENTS; i++)
		if (poll(&(struct pollfd){.fd = ends[0], .events = POLLIN}, 1, DEADLINE_MS) != 1 ||
			read(ends[0], &(char){0}, 1) != 1)
			die("clients", "not done in time");

	struct sample sample = sample_of(bench, now_ns() - start, atomic_load(&syncs));

	qmt_outside_close(ctx);
	if (qmt_system_stop(sys, DEADLINE_MS, &err) != 0)
		die("stop", err.text);
	qmt_system_free(sys);
	close(ends[0]);
	close(ends[1]);
	return sample;
}

/* ---- figures ----------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *values, uint32_t count)
{
	qsort(values, count, sizeof *values, by_value);
	return values[count / 2];
}

static void compare(const struct bench *bench, uint32_t waiting)
{
	double bare[ROUNDS_MAX], actor[ROUNDS_MAX], ratio[ROUNDS_MAX], bare_syncs[ROUNDS_MAX], actor_syncs[ROUNDS_MAX];

	for (uint32_t i = 0; i < bench->rounds; i++) {
		struct sample b = run_bare(bench), a = run_actor(bench, waiting);

		bare[i] = b.rows_per_s;
		bare_syncs[i] = b.syncs_per_row;
		actor[i] = a.rows_per_s;
		actor_syncs[i] = a.syncs_per_row;
		ratio[i] = a.rows_per_s / b.rows_per_s;
	}
	printf("%-8u %12.0f %12.0f %8.2f %16.1f %16.1f\n", waiting, median(bare, bench->rounds),
		median(actor, bench->rounds), median(ratio, bench->rounds), 1 / median(bare_syncs, bench->rounds),
		1 / median(actor_syncs, bench->rounds));
	fflush(stdout);
}

static struct store_db *open_store(const struct bench *bench)
{
	const struct store_limits limits = STORE_LIMITS_DEFAULTS;
	struct store_db *db;
	struct qmt_err err;

	if (store_db_open(bench->path, &limits, STORE_DB_WRITE, &db, &err) != 0)
		die("open", err.text);
	return db;
}

static void fork_of_a_long_session(const struct bench *bench)
{
	static const char parent[] = "01900000-0000-7000-8000-000000000001",
					  child[] = "01900000-0000-7000-8000-000000000002";
	struct store_arena arena = {0};
	struct store_page page;
	struct qmt_err err;
	sqlite3 *sql;
	char fill[700];

	wipe(bench);
	store_db_close(open_store(bench));
	if (sqlite3_open(bench->path, &sql) != SQLITE_OK)
		die(bench->path, "cannot be opened");
	snprintf(fill, sizeof fill,
		"PRAGMA synchronous = FULL; BEGIN;"
		"INSERT INTO sessions(key, id, owner, request, name, agent, cwd, peer, peer_name, title, remote_tools,"
		" created_ms, updated_ms)"
		" VALUES(1, '%s', '', 'p', '', '', '', '', '', '', 0, 1, 1);"
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
		" INSERT INTO messages(session, pos, turn, role, content, created_ms) "
		" SELECT 1, i, 1, 'user', hex(zeroblob(%u)), 1 FROM n; COMMIT",
		parent, LONG_SESSION, bench->bytes / 2);
	sql_run(sql, fill);
	snprintf(fill, sizeof fill,
		"INSERT INTO sessions(id, owner, request, name, agent, cwd, peer, peer_name, title, remote_tools,"
		" parent, fork_pos, fork_turn, created_ms, updated_ms)"
		" VALUES('%s', '', 'c', '', '', '', '', '', '', 0, 1, %d, 1, 1, 1)",
		child, LONG_SESSION);

	uint64_t start = now_ns();

	sql_run(sql, fill);
	uint64_t forked = now_ns();

	sqlite3_close(sql);
	struct store_db *db = open_store(bench);
	uint64_t before = now_ns();

	if (store_db_history(db,
			&(struct store_history){.session = qmt_str(child), .from = LONG_SESSION - 99, .limit = 100}, &arena, &page,
			&err) != 0)
		die("history", err.text);
	uint64_t paged = now_ns();

	if (page.messages.count != 100 || page.total != LONG_SESSION)
		die("history", "is not what was written");
	printf("fork of %d messages: %.2f ms with its commit; a page of 100 of it, first read: %.2f ms\n", LONG_SESSION,
		(double)(forked - start) / 1e6, (double)(paged - before) / 1e6);
	store_arena_fini(&arena);
	store_db_close(db);
}

static uint32_t number(const char *option, const char *text, uint32_t max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || value < 1 || value > max)
		die(option, "not a number in its range");
	return (uint32_t)value;
}

int main(int argc, char **argv)
{
	struct bench bench = {.dir = ".", .rounds = 7, .rows = 20000, .bytes = 200};

	for (int i = 1; i < argc; i += 2) {
		if (i + 1 == argc)
			die(argv[i], "usage: store [--dir DIR] [--rounds N] [--rows N] [--bytes N]");
		if (strcmp(argv[i], "--dir") == 0)
			bench.dir = argv[i + 1];
		else if (strcmp(argv[i], "--rounds") == 0)
			bench.rounds = number(argv[i], argv[i + 1], ROUNDS_MAX);
		else if (strcmp(argv[i], "--rows") == 0)
			bench.rows = number(argv[i], argv[i + 1], 100000000);
		else if (strcmp(argv[i], "--bytes") == 0)
			bench.bytes = number(argv[i], argv[i + 1], 1000000);
		else
			die(argv[i], "usage: store [--dir DIR] [--rounds N] [--rows N] [--bytes N]");
	}
	bench.text = malloc(bench.bytes);
	if (!bench.text)
		die("memory", "none");
	memset(bench.text, 'x', bench.bytes);
	snprintf(bench.path, sizeof bench.path, "%s/bench-store.%d.db", bench.dir, (int)getpid());

	printf("%u rows of %u bytes, %u rounds, medians\n", bench.rows, bench.bytes, bench.rounds);
	printf("%-8s %12s %12s %8s %16s %16s\n", "waiting", "bare rows/s", "actor rows/s", "ratio", "bare rows/sync",
		"actor rows/sync");
	compare(&bench, CLIENTS);
	compare(&bench, 4 * CLIENTS);
	compare(&bench, 16 * CLIENTS);
	fork_of_a_long_session(&bench);
	wipe(&bench);
	free(bench.text);
	return 0;
}
