/* test/bench/store.c - what sessions cost: durable appends against bare SQLite in the same run, forks, pages, and a
 * thousand sessions that stream at once.
 *
 *     store [--dir DIR] [--rounds 5] [--rows 20000] [--bytes 200] [--sessions 1000]
 *
 * Prints lines "<metric> <value>", others begin with #. Without arguments it takes less than 45 s.
 * bare:   the same rows into the same tables by one prepared INSERT, 64 a commit, WAL, synchronous=FULL, no actor.
 * actor:  64 clients append to a session each; `waiting` of their requests are under way at any time. Rounds alternate;
 *         a ratio is the median of the rounds' ratios.
 * Syncs:  counted by an fsync and fdatasync of our own, which SQLite's unix files find first. DIR must be on the disk
 *         that is meant: /tmp may be memory.
 * Forks:  asked of the actor, so with message, commit and sync; first page: by a connection that was just opened.
 * Stream: sessions, router, provider `builtin` and store as in a node; processor time of the whole process, from the
 *         first prompt to the last end, over the chunks that watchers were told; memory while they stream, over before.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include "actors/provider/provider.h"
#include "actors/router/router.h"
#include "actors/session/session.h"
#include "actors/store/store_db.h"
#include "actors/store/store_schema.h"
#include "runtime/base/os.h"
#include "runtime/system.h"

enum { CLIENTS = 64, BARE_BATCH = 64, ROUNDS_MAX = 99, FORKS = 21, PAGE = 100, DEADLINE_MS = 120000 };
enum { SHORT_SESSION = 1000, LONG_SESSION = 100000, WORD_MS = 30 };
#define COMPARE_NS (UINT64_C(8) * 1000 * 1000 * 1000) /* then no further round begins */

static atomic_long syncs;

__attribute__((visibility("default"))) int fdatasync(int fd);
int fdatasync(int fd)
{
	atomic_fetch_add_explicit(&syncs, 1, memory_order_relaxed);
	return (int)syscall(SYS_fdatasync, fd);
}

__attribute__((visibility("default"))) int fsync(int fd);
int fsync(int fd)
{
	atomic_fetch_add_explicit(&syncs, 1, memory_order_relaxed);
	return (int)syscall(SYS_fsync, fd);
}

struct bench {
	const char *dir;
	char path[512];
	uint32_t rounds, rows, bytes, sessions;
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
			" tool_name, is_error, partial, created_ms, nth, author)"
			" VALUES(?, ?, 1, 'assistant', ?, NULL, 0, NULL, NULL, 0, 0, 1764000000000, ?2, NULL)",
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

struct node {
	struct qmt_system *sys;
	struct qmt_ctx *ctx;
	struct store_config config;
	struct qmt_ref store;
	int ends[2]; /* a byte for each that is done */
};

static struct qmt_ref spawn(
	struct node *node, const struct qmt_actor_desc *desc, const char *name, const void *config, bool own_thread)
{
	struct qmt_err err;
	struct qmt_ref ref;

	if (qmt_spawn(node->ctx, desc, &(struct qmt_spawn){.name = name, .config = config, .own_thread = own_thread}, &ref,
			&err) != 0)
		die(desc->name, err.text);
	return ref;
}

static void node_start(const struct bench *bench, struct node *node)
{
	struct qmt_err err;

	*node = (struct node){.config = {.path = bench->path}};
	node->sys = qmt_system_start(&(struct qmt_system_options){0}, &err);
	node->ctx = node->sys ? qmt_outside_open(node->sys) : NULL;
	if (!node->ctx || pipe(node->ends) != 0)
		die("runtime", err.text);
	node->store = spawn(node, &store_desc, "store", &node->config, true);
}

static void node_wait(const struct node *node, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (poll(&(struct pollfd){.fd = node->ends[0], .events = POLLIN}, 1, DEADLINE_MS) != 1 ||
			read(node->ends[0], &(char){0}, 1) != 1)
			die("clients", "not done in time");
}

static void node_stop(struct node *node)
{
	struct qmt_err err;

	qmt_outside_close(node->ctx);
	if (qmt_system_stop(node->sys, DEADLINE_MS, &err) != 0)
		die("stop", err.text);
	qmt_system_free(node->sys);
	close(node->ends[0]);
	close(node->ends[1]);
}

static struct sample run_actor(const struct bench *bench, uint32_t waiting)
{
	struct client_config configs[CLIENTS];
	struct node node;

	wipe(bench);
	node_start(bench, &node);
	make_sessions(node.ctx, node.store, configs);

	atomic_store(&syncs, 0);
	uint64_t start = now_ns();

	for (uint32_t i = 0; i < CLIENTS; i++) {
		configs[i].store = node.store;
		configs[i].text = qmt_strn(bench->text, bench->bytes);
		configs[i].count = bench->rows / CLIENTS + (i < bench->rows % CLIENTS);
		configs[i].depth = waiting / CLIENTS;
		configs[i].done_fd = node.ends[1];
		(void)spawn(&node, &client_desc, NULL, &configs[i], false);
	}
	node_wait(&node, CLIENTS);

	struct sample sample = sample_of(bench, now_ns() - start, atomic_load(&syncs));

	node_stop(&node);
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

static void say(const char *metric, double value)
{
	printf("%s %.4g\n", metric, value);
	fflush(stdout);
}

static void compare(const struct bench *bench, uint32_t waiting)
{
	double bare[ROUNDS_MAX], actor[ROUNDS_MAX], ratio[ROUNDS_MAX], bare_syncs[ROUNDS_MAX], actor_syncs[ROUNDS_MAX];

	uint64_t start = now_ns();
	uint32_t rounds = 0;

	for (uint32_t i = 0; i < bench->rounds && (i == 0 || now_ns() - start < COMPARE_NS); i++, rounds++) {
		struct sample b = run_bare(bench), a = run_actor(bench, waiting);

		bare[i] = b.rows_per_s;
		bare_syncs[i] = b.syncs_per_row;
		actor[i] = a.rows_per_s;
		actor_syncs[i] = a.syncs_per_row;
		ratio[i] = a.rows_per_s / b.rows_per_s;
	}
	printf("# %-6u %12.0f %12.0f %8.2f %16.1f %16.1f\n", waiting, median(bare, rounds), median(actor, rounds),
		median(ratio, rounds), 1 / median(bare_syncs, rounds), 1 / median(actor_syncs, rounds));
	if (waiting == CLIENTS) {
		say("append_vs_bare", median(ratio, rounds));
		say("fsyncs_per_append", median(actor_syncs, rounds));
	}
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

/* ---- forks and pages --------------------------------------------------------------------------------------------- */

static const char short_id[] = "01900000-0000-7000-8000-000000000001",
				  long_id[] = "01900000-0000-7000-8000-000000000002";

/* Two sessions of so many messages, every tenth of the long one's rows an event. */
static void fill(const struct bench *bench)
{
	sqlite3 *sql;
	char text[1500];

	wipe(bench);
	store_db_close(open_store(bench));
	if (sqlite3_open(bench->path, &sql) != SQLITE_OK)
		die(bench->path, "cannot be opened");
	for (int i = 1; i <= 2; i++) {
		snprintf(text, sizeof text,
			"BEGIN; INSERT INTO sessions(key, id, owner, request, name, agent, cwd, peer, peer_name, title,"
			" remote_tools, created_ms, updated_ms)"
			" VALUES(%d, '%s', '', '%d', '', '', '', '', '', '', 0, 1, 1);"
			"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
			" INSERT INTO messages(session, pos, turn, role, tool_name, content, created_ms, nth) "
			" SELECT %d, i, 1, iif(i %% 10, 'user', 'event'), iif(i %% 10, NULL, 'renamed'), hex(zeroblob(%u)), 1,"
			" i - i / 10 FROM n; COMMIT",
			i, i == 1 ? short_id : long_id, i, i == 1 ? SHORT_SESSION : LONG_SESSION, i, bench->bytes / 2);
		sql_run(sql, text);
	}
	sqlite3_close(sql);
}

/* Milliseconds of a fork, the median of some; the id of the last. */
static double time_forks(struct node *node, const char *session, uint64_t pos, char ret_id[40])
{
	double ms[FORKS];

	for (int i = 0; i < FORKS; i++) {
		char request[64];
		uint64_t start = now_ns();

		snprintf(request, sizeof request, "%s-%d", session, i);
		const struct store_session_created *created = ask(node->ctx, node->store, &store_session_fork_type,
			&(struct store_session_fork){.request = qmt_str(request), .session = qmt_str(session), .pos = pos});

		ms[i] = (double)(now_ns() - start) / 1e6;
		snprintf(ret_id, 40, "%.*s", QMT_STR_ARG(created->session.id));
	}
	return median(ms, FORKS);
}

static double time_page(const struct bench *bench, const char *id, uint64_t from, bool events, uint32_t want)
{
	struct store_db *db = open_store(bench);
	struct store_arena arena = {0};
	struct store_page page;
	struct qmt_err err;
	uint64_t start = now_ns();

	if (store_db_history(db,
			&(struct store_history){.session = qmt_str(id), .from = from, .limit = PAGE, .events = events}, &arena,
			&page, &err) != 0)
		die("history", err.text);

	double ms = (double)(now_ns() - start) / 1e6;

	if (page.messages.count != want)
		die("history", "is not what was written");
	store_arena_fini(&arena);
	store_db_close(db);
	return ms;
}

static long memory_kb(void)
{
	long pages = 0, resident = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!file || fscanf(file, "%ld %ld", &pages, &resident) != 2)
		die("/proc/self/statm", "unreadable");
	fclose(file);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void forks_and_pages(const struct bench *bench)
{
	double first[FORKS], attach[FORKS];
	struct node node;
	char id[40];

	fill(bench);
	node_start(bench, &node);
	say("fork_1k_ms", time_forks(&node, short_id, SHORT_SESSION - 1, id));
	say("fork_100k_ms", time_forks(&node, long_id, LONG_SESSION - 1, id));
	node_stop(&node);

	long before = memory_kb();

	for (int i = 0; i < FORKS; i++)
		first[i] = time_page(bench, id, LONG_SESSION - PAGE + 1, true, PAGE); /* the last is the fork's own event */
	say("fork_first_page_ms", median(first, FORKS));
	for (int i = 0; i < FORKS; i++)
		attach[i] = time_page(bench, long_id, (uint64_t)i * (LONG_SESSION / FORKS) + 1, true, PAGE);
	say("attach_page_ms", median(attach, FORKS));
	say("attach_memory_kb", (double)(memory_kb() - before));
}

/* ---- a thousand streams ------------------------------------------------------------------------------------------ */

struct audience {
	const struct bench *bench;
	struct qmt_ref watcher;
	uint32_t deltas, ended;
	long memory_kb; /* while all of them stream */
	int done_fd;
};

static void on_delta(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct audience *audience = *(struct audience **)state;

	(void)ctx;
	(void)body;
	if (++audience->deltas == audience->bench->sessions * 5) /* all of them stream */
		audience->memory_kb = memory_kb();
}

static void on_turn_end(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct audience *audience = *(struct audience **)state;
	const struct session_turn_end *end = body;

	(void)ctx;
	if (!qmt_str_is(end->outcome, "complete"))
		die("turn", end->text.len ? end->text.p : "not complete");
	if (++audience->ended == audience->bench->sessions && write(audience->done_fd, "", 1) != 1)
		die("pipe", "closed");
}

static int audience_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	*(const void **)state = config;
	return 0;
}

static qmt_handler *const audience_handlers[session_message_count] = {
	[session_delta_id] = on_delta,
	[session_turn_end_id] = on_turn_end,
};

static const struct qmt_actor_desc audience_desc = {.abi = QMT_ABI,
	.name = "audience",
	.doc = "Watches all sessions.",
	.state_size = sizeof(struct audience *),
	.accepts = {{&session_protocol, audience_handlers}},
	.start = audience_start};

static double cpu_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void streams(const struct bench *bench)
{
	static const struct router_agent agents[] = {{"coder", "llm", NULL, NULL}};
	static const struct router_config router = {.agents = agents, .count = 1};
	struct audience audience = {.bench = bench};
	struct session_config **configs = calloc(bench->sessions, sizeof *configs);
	struct qmt_ref *sessions = calloc(bench->sessions, sizeof *sessions);
	struct session_agent agent = {.system = NULL};
	struct provider_config provider;
	struct qmt_err err;
	struct node node;

	if (!configs || !sessions)
		die("memory", "none");
	wipe(bench);
	node_start(bench, &node);
	provider_config_init(&provider, "llm", "builtin");
	provider.chunk_delay_ms = WORD_MS;
	provider.max_requests = bench->sessions;
	(void)spawn(&node, provider_desc("builtin"), "provider/llm", &provider, false);
	(void)spawn(&node, &router_desc, "router", &router, false);
	audience.done_fd = node.ends[1];
	audience.watcher = spawn(&node, &audience_desc, NULL, &audience, false);
	session_limits_init(&agent.limits);

	long memory = memory_kb();

	for (uint32_t i = 0; i < bench->sessions; i++) {
		char request[20];

		snprintf(request, sizeof request, "%u", i);
		const struct store_session_created *created = ask(node.ctx, node.store, &store_session_create_type,
			&(struct store_session_create){
				.request = qmt_str(request), .session = {.agent = qmt_str("coder"), .cwd = qmt_str("/")}});

		configs[i] = session_config_new(&created->session, &agent, &err);
		if (!configs[i])
			die("session", err.text);
		sessions[i] = spawn(&node, &session_desc, NULL, configs[i], false);
	}

	double cpu = cpu_us();

	for (uint32_t i = 0; i < bench->sessions; i++)
		if (qmt_tell(node.ctx, sessions[i], &session_prompt_type,
				&(struct session_prompt){
					.request = qmt_str("p"), .text = qmt_str("help"), .watcher = audience.watcher}) != 0)
			die("prompt", "not taken");
	node_wait(&node, 1);
	cpu = cpu_us() - cpu;
	printf("# %u sessions streamed %u chunks\n", bench->sessions, audience.deltas);
	say("stream1000_cpu_us_per_chunk", cpu / audience.deltas);
	say("stream1000_rss_kb_per_session", (double)(audience.memory_kb - memory) / bench->sessions);
	node_stop(&node);
	for (uint32_t i = 0; i < bench->sessions; i++)
		session_config_free(configs[i]);
	free(configs);
	free(sessions);
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
	static const char usage[] = "usage: store [--dir DIR] [--rounds N] [--rows N] [--bytes N] [--sessions N]";
	struct bench bench = {.dir = ".", .rounds = 5, .rows = 20000, .bytes = 200, .sessions = 1000};
	const struct {
		const char *name;
		uint32_t *value, max;
	} numbers[] = {{"--rounds", &bench.rounds, ROUNDS_MAX}, {"--rows", &bench.rows, 100000000},
		{"--bytes", &bench.bytes, 1000000}, {"--sessions", &bench.sessions, 1024}};

	for (int i = 1; i < argc; i += 2) {
		size_t k = 0;

		if (i + 1 == argc)
			die(argv[i], usage);
		while (k < sizeof numbers / sizeof *numbers && strcmp(argv[i], numbers[k].name) != 0)
			k++;
		if (k < sizeof numbers / sizeof *numbers)
			*numbers[k].value = number(argv[i], argv[i + 1], numbers[k].max);
		else if (strcmp(argv[i], "--dir") == 0)
			bench.dir = argv[i + 1];
		else
			die(argv[i], usage);
	}
	bench.text = malloc(bench.bytes);
	if (!bench.text)
		die("memory", "none");
	memset(bench.text, 'x', bench.bytes);
	snprintf(bench.path, sizeof bench.path, "%s/bench-store.%d.db", bench.dir, (int)getpid());

	printf("# %u rows of %u bytes, %u rounds, medians\n", bench.rows, bench.bytes, bench.rounds);
	printf("# %-6s %12s %12s %8s %16s %16s\n", "waits", "bare rows/s", "actor rows/s", "ratio", "bare rows/sync",
		"actor rows/sync");
	compare(&bench, CLIENTS);
	compare(&bench, 4 * CLIENTS);
	compare(&bench, 16 * CLIENTS);
	forks_and_pages(&bench);
	streams(&bench);
	wipe(&bench);
	free(bench.text);
	return 0;
}
