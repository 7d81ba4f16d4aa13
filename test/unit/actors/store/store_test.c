/* The store as an actor: every message of its contract is answered after its commit; many waiting requests share one
 * commit; a read sees what was acknowledged before; a batch that fails is answered as a whole, and a killed node has
 * lost nothing that it acknowledged.
 *
 * fdatasync is defined here, so that SQLite's unix files come through it: that counts the syncs. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "actors/store/store.h"
#include "proto/contract/contract.h"
#include "runtime/base/os.h"
#include "runtime/system.h"
#include "test/lib/store_fixture.h"

enum { DEADLINE_MS = 20000 };

static atomic_long syncs;

__attribute__((visibility("default"))) int fdatasync(int fd);
int fdatasync(int fd)
{
	atomic_fetch_add_explicit(&syncs, 1, memory_order_relaxed);
	return (int)syscall(SYS_fdatasync, fd);
}

/* ---- a node ------------------------------------------------------------------------------------------------------ */

struct node {
	struct store_fixture *f;
	struct store_config config;
	int log_ends[2];
	struct qmt_log *log;
	struct qmt_system *sys;
	struct qmt_ctx *ctx;
	struct qmt_ref store;
	struct qmt_result result;
};

static void node_start(struct node *node, struct store_fixture *f, const struct qmt_param_value *params)
{
	struct qmt_spawn spawn = {
		.name = "store", .config = &node->config, .params = params, .restart = QMT_TEMPORARY, .own_thread = true};
	struct qmt_err err;

	*node = (struct node){.f = f, .config = {.path = f->path}};
	assert_int_equal(pipe2(node->log_ends, O_CLOEXEC | O_NONBLOCK), 0);
	node->log = qmt_log_new(node->log_ends[1], "debug", qmt_os_real_wall_ms, NULL, &err);
	assert_non_null(node->log);
	node->sys = qmt_system_start(&(struct qmt_system_options){.workers = 2, .log = node->log}, &err);
	assert_non_null(node->sys);
	node->ctx = qmt_outside_open(node->sys);
	assert_non_null(node->ctx);
	if (qmt_spawn(node->ctx, &store_desc, &spawn, &node->store, &err) != 0)
		fail_msg("%s", err.text);
}

static void node_stop(struct node *node)
{
	struct qmt_err err = {0};

	node->ctx = qmt_outside_close(node->ctx);
	if (qmt_system_stop(node->sys, DEADLINE_MS, &err) != 0)
		fail_msg("%s", err.text);
	node->sys = qmt_system_free(node->sys);
	node->log = qmt_log_free(node->log);
	close(node->log_ends[0]);
	close(node->log_ends[1]);
}

/* What was logged so far. */
static void node_log(struct node *node, char *ret_text, size_t size)
{
	ssize_t n = read(node->log_ends[0], ret_text, size - 1);

	ret_text[n > 0 ? n : 0] = '\0';
}

static const void *ask_ok(struct node *node, const struct qmt_type *type, const void *body, const struct qmt_type *want)
{
	if (qmt_outside_ask(node->ctx, node->store, type, body, DEADLINE_MS, &node->result) != 0)
		fail_msg("%s: %s: %.*s", type->record.name, qmt_fail_name(node->result.fail), QMT_STR_ARG(node->result.text));
	assert_ptr_equal(node->result.type, want);
	return node->result.body;
}
#define ASK(node, want, message, ...) \
	((const struct want *)ask_ok(node, &message##_type, &(struct message){__VA_ARGS__}, &want##_type))

static void ask_fails(
	struct node *node, const struct qmt_type *type, const void *body, int fail, const char *kind, const char *says)
{
	assert_int_equal(qmt_outside_ask(node->ctx, node->store, type, body, DEADLINE_MS, &node->result), fail);
	assert_true(qmt_str_is(node->result.kind, kind ? kind : ""));
	if (!memmem(node->result.text.p, node->result.text.len, says, strlen(says)))
		fail_msg("\"%s\" is not in: %.*s", says, QMT_STR_ARG(node->result.text));
}
#define ASK_FAILS(node, fail, kind, says, message, ...) \
	ask_fails(node, &message##_type, &(struct message){__VA_ARGS__}, fail, kind, says)

static struct qmt_str new_session(struct node *node, const char *request)
{
	struct qmt_str id = ASK(node, store_session_created, store_session_create, .request = qmt_str(request))->session.id,
				   copy;

	assert_true(store_arena_text(&node->f->arena, id.p, id.len, &copy));
	return copy;
}

static uint64_t metric_of(struct node *node, struct qmt_ref who, const char *name)
{
	const struct metrics_values *values;

	assert_int_equal(
		qmt_outside_ask(node->ctx, who, &metrics_get_type, &(struct metrics_get){}, DEADLINE_MS, &node->result), 0);
	values = node->result.body;
	for (uint32_t i = 0; i < values->metrics.count; i++)
		if (qmt_str_is(values->metrics.items[i].name, name))
			return values->metrics.items[i].value;
	fail_msg("no metric %s", name);
	return 0;
}

static uint64_t metric(struct node *node, const char *name)
{
	return metric_of(node, node->store, name);
}

static const struct chat_message one = {.role = {"assistant", 9}, .content = {"hello", 5}};

/* ---- tests of the contract --------------------------------------------------------------------------------------- */

static void use_every_message(struct node *node)
{
	const struct store_session *s;
	struct qmt_str id;

	s = &ASK(node, store_session_created, store_session_create, .request = qmt_str("r"),
		.session = {.name = qmt_str("n"), .agent = qmt_str("a")})
			 ->session;
	assert_text(s->name, "n");
	assert_int_equal(s->id.len, 36);
	assert_int_equal(s->id.p[14], '7'); /* uuid version */
	assert_true(store_arena_text(&node->f->arena, s->id.p, s->id.len, &id));
	assert_true(
		qmt_str_eq(ASK(node, store_session_created, store_session_create, .request = qmt_str("r"))->session.id, id));

	const struct store_turn_begun *begun =
		ASK(node, store_turn_begun, store_turn_begin, .session = id, .request = qmt_str("t"), .text = qmt_str("go"));

	assert_int_equal(begun->turn, 1);
	assert_false(begun->duplicate);
	begun =
		ASK(node, store_turn_begun, store_turn_begin, .session = id, .request = qmt_str("t"), .text = qmt_str("go"));
	assert_true(begun->duplicate);
	assert_text(begun->state, "running");
	assert_int_equal(ASK(node, store_appended, store_append, id, 1, {&one, 1})->pos, 2);
	(void)ASK(node, store_done, store_checkpoint, id, 1, qmt_str("half"));
	(void)ASK(node, store_done, store_turn_end, .session = id, .turn = 1, .state = qmt_str("complete"),
		.messages = {&one, 1});

	const struct store_page *page = ASK(node, store_page, store_history, .session = id);

	assert_int_equal(page->messages.count, 3);
	assert_int_equal(page->total, 3);
	assert_text(page->messages.items[2].content, "hello");
	assert_text(ASK(node, store_session_found, store_session_find, .key = qmt_str("n"))->session.state, "complete");
	assert_int_equal(ASK(node, store_sessions, store_session_list, .limit = 5)->total, 1);

	assert_int_equal(ASK(node, store_pin, store_pin_get, .name = qmt_str("gpu"))->peer_id.len, 0);
	(void)ASK(node, store_done, store_pin_put, qmt_str("gpu"), qmt_str("12D3"));
	assert_text(ASK(node, store_pin, store_pin_get, .name = qmt_str("gpu"))->peer_id, "12D3");
	(void)ASK(node, store_done, store_pin_forget, .name = qmt_str("gpu"));
	ASK_FAILS(node, QMT_FAIL_NOT_FOUND, NULL, "no peer gpu", store_pin_forget, .name = qmt_str("gpu"));

	ASK_FAILS(node, QMT_FAIL_NOT_FOUND, NULL, "no session x", store_session_find, .key = qmt_str("x"));
	ASK_FAILS(node, QMT_FAIL_NOT_FOUND, NULL, "no session x", store_history, .session = qmt_str("x"));
	ASK_FAILS(node, QMT_FAIL_BAD_REQUEST, NULL, "request: is missing", store_session_create,
		.session = {.name = qmt_str("n")});
	ASK_FAILS(node, QMT_FAIL_FAILED, "ended", "has ended", store_append, id, 1, {&one, 1});
	(void)ASK(node, store_turn_begun, store_turn_begin, .session = id, .request = qmt_str("t2"), .text = qmt_str("go"));
	ASK_FAILS(node, QMT_FAIL_FAILED, "busy", "under way", store_turn_begin, .session = id, .request = qmt_str("t3"),
		.text = qmt_str("go"));
	(void)ASK(
		node, store_session_created, store_session_create, .request = qmt_str("r2"), .session = {.name = qmt_str("n")});
	ASK_FAILS(node, QMT_FAIL_BAD_REQUEST, NULL, "several sessions", store_session_find, .key = qmt_str("n"));
}

static void every_message_is_answered(void **state)
{
	struct node node;

	node_start(&node, *state, NULL);
	use_every_message(&node);
	node_stop(&node);
}

static void a_store_in_memory_does_the_same(void **state)
{
	struct store_fixture *f = *state;
	struct node node;

	snprintf(f->path, sizeof f->path, ":memory:");
	node_start(&node, f, NULL);
	use_every_message(&node);
	node_stop(&node);
}

static void limits_are_parameters(void **state)
{
	const struct qmt_param_value params[] = {{"message_max_bytes", "4"}, {"name_max_bytes", "8"}, {NULL, NULL}};
	struct node node;
	struct qmt_str id;

	node_start(&node, *state, params);
	id = new_session(&node, "r");
	ASK_FAILS(&node, QMT_FAIL_TOO_LARGE, NULL, "text: 5 bytes, the bound is 4 (message_max_bytes)", store_turn_begin,
		.session = id, .request = qmt_str("t"), .text = qmt_str("12345"));
	ASK_FAILS(&node, QMT_FAIL_TOO_LARGE, NULL, "name_max_bytes", store_turn_begin, .session = id,
		.request = qmt_str("123456789"), .text = qmt_str("1"));
	node_stop(&node);
}

static void a_restart_interrupts_what_ran(void **state)
{
	struct node node;
	struct qmt_str id;

	node_start(&node, *state, NULL);
	id = new_session(&node, "r");
	(void)ASK(&node, store_turn_begun, store_turn_begin, .session = id, .request = qmt_str("t"), .text = qmt_str("go"));
	(void)ASK(&node, store_done, store_checkpoint, id, 1, qmt_str("half an ans"));
	node_stop(&node);

	node_start(&node, *state, NULL);
	const struct store_page *page = ASK(&node, store_page, store_history, .session = id);

	assert_int_equal(page->messages.count, 2);
	assert_text(page->messages.items[1].content, "half an ans");
	const struct store_turn_begun *begun =
		ASK(&node, store_turn_begun, store_turn_begin, .session = id, .request = qmt_str("t"), .text = qmt_str("go"));

	assert_true(begun->duplicate);
	assert_text(begun->state, "interrupted");
	node_stop(&node);
}

static void a_start_that_fails_says_why(void **state)
{
	struct store_fixture *f = *state;
	struct node node;
	char log[8192];

	store_fixture_sql(f->path, "CREATE TABLE cookies(a)");
	node_start(&node, f, NULL);
	assert_int_equal(qmt_outside_ask(node.ctx, node.store, &store_session_list_type, &(struct store_session_list){0},
						 DEADLINE_MS, &node.result) != 0,
		1);
	node_log(&node, log, sizeof log);
	if (!strstr(log, "actor.failed") || !strstr(log, f->path) || !strstr(log, "another program"))
		fail_msg("log: %s", log);
	node_stop(&node);
}

static void a_full_store_fails_the_batch_and_goes_on(void **state)
{
	const struct qmt_param_value params[] = {{"max_bytes", "262144"}, {NULL, NULL}};
	struct node node;
	struct qmt_str id;
	char text[4000];
	struct chat_message large = {.role = qmt_str("assistant"), .content = {text, sizeof text}};
	uint64_t last = 1;
	char log[8192];

	memset(text, 'x', sizeof text);
	node_start(&node, *state, params);
	id = new_session(&node, "r");
	(void)ASK(&node, store_turn_begun, store_turn_begin, .session = id, .request = qmt_str("t"), .text = qmt_str("go"));
	while (qmt_outside_ask(node.ctx, node.store, &store_append_type, &(struct store_append){id, 1, {&large, 1}},
			   DEADLINE_MS, &node.result) == 0 &&
		last < 1000)
		last = ((const struct store_appended *)node.result.body)->pos;
	assert_int_equal(node.result.fail, QMT_FAIL_FAILED);
	assert_text(node.result.kind, "full");
	assert_true(last > 5);
	node_log(&node, log, sizeof log);
	assert_non_null(strstr(log, "store.batch_failed"));
	assert_int_equal(ASK(&node, store_page, store_history, .session = id)->total, last);
	assert_int_equal(
		ASK(&node, store_appended, store_append, id, 1, {&one, 1})->pos, last + 1); /* a small one still fits */
	node_stop(&node);
}

/* ---- many clients ------------------------------------------------------------------------------------------------ */

/* A client keeps `depth` appends under way until it has sent `count`, and reads its history after each tenth answer.
 * When all is answered it writes a byte to done_fd. */
struct client_config {
	struct qmt_ref store;
	char session[40];
	uint32_t count, depth;
	bool reads;
	int done_fd, ack_fd; /* ack_fd: numbers that were acknowledged; or -1 */
	/* owner: the client, until it is done */
	uint32_t failed;
	char kind[32];
};

struct client {
	struct client_config *config;
	uint32_t sent, answered;
	uint64_t last_pos;
};

static void client_answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg);

static void client_page(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct client *client = state;
	uint64_t acknowledged = (uint64_t)(uintptr_t)arg;

	(void)ctx;
	if (result->fail || ((const struct store_page *)result->body)->total < acknowledged)
		client->config->failed++;
}

static void client_send(struct qmt_ctx *ctx, struct client *client)
{
	struct client_config *config = client->config;
	char text[64];
	struct chat_message m = {.role = qmt_str("assistant")};
	uintptr_t number = client->sent++;

	snprintf(text, sizeof text, "%u", (unsigned)number);
	m.content = qmt_str(text);
	qmt_ask_or(ctx, config->store, &store_append_type, &(struct store_append){qmt_str(config->session), 1, {&m, 1}},
		DEADLINE_MS, client_answered, (void *)number);
}

static void client_answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct client *client = state;
	struct client_config *config = client->config;
	uint32_t number = (uint32_t)(uintptr_t)arg;

	client->answered++;
	if (result->fail) {
		config->failed++;
		snprintf(config->kind, sizeof config->kind, "%.*s", QMT_STR_ARG(result->kind));
	} else {
		client->last_pos = ((const struct store_appended *)result->body)->pos;
		if (config->ack_fd >= 0 && write(config->ack_fd, &number, sizeof number) != sizeof number)
			_exit(9);
		if (config->reads && client->answered % 10 == 0)
			qmt_ask_or(ctx, config->store, &store_history_type,
				&(struct store_history){.session = qmt_str(config->session), .limit = 1}, DEADLINE_MS, client_page,
				(void *)(uintptr_t)client->last_pos);
	}
	if (client->sent < config->count)
		client_send(ctx, client);
	else if (client->answered == config->count)
		assert_int_equal(write(config->done_fd, "", 1), 1);
}

static int client_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct client *client = state;

	/* The config is the client's until it is done; the runtime hands it on as const. */
	memcpy(&client->config, &config, sizeof config);
	while (client->sent < client->config->depth && client->sent < client->config->count)
		client_send(ctx, client);
	return 0;
}

static const struct qmt_actor_desc client_desc = {
	.abi = QMT_ABI,
	.name = "client",
	.doc = "Appends as fast as it is answered.",
	.state_size = sizeof(struct client),
	.start = client_start,
};

static void wait_done(int fd, uint32_t count)
{
	for (char byte; count > 0; count--) {
		assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, DEADLINE_MS), 1);
		assert_int_equal(read(fd, &byte, 1), 1);
	}
}

static void run_clients(
	struct node *node, struct client_config *configs, uint32_t clients, const struct client_config *base)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	for (uint32_t i = 0; i < clients; i++) {
		char request[20];
		struct qmt_str id;

		snprintf(request, sizeof request, "c%u", i);
		id = new_session(node, request);
		(void)ASK(
			node, store_turn_begun, store_turn_begin, .session = id, .request = qmt_str("t"), .text = qmt_str("go"));
		configs[i] = *base;
		configs[i].store = node->store;
		configs[i].done_fd = ends[1];
		snprintf(configs[i].session, sizeof configs[i].session, "%.*s", QMT_STR_ARG(id));
	}
	atomic_store(&syncs, 0);
	for (uint32_t i = 0; i < clients; i++) {
		struct qmt_ref ref;
		struct qmt_err err;

		if (qmt_spawn(node->ctx, &client_desc, &(struct qmt_spawn){.config = &configs[i]}, &ref, &err) != 0)
			fail_msg("%s", err.text);
	}
	wait_done(ends[0], clients);
	close(ends[0]);
	close(ends[1]);
}

static void one_sync_serves_many_appends(void **state)
{
	enum { CLIENTS = 64, EACH = 100 };
	struct client_config configs[CLIENTS];
	struct node node;

	node_start(&node, *state, NULL);
	run_clients(&node, configs, CLIENTS, &(struct client_config){.count = EACH, .depth = 4, .ack_fd = -1});

	long used = atomic_load(&syncs);

	for (int i = 0; i < CLIENTS; i++) {
		assert_int_equal(configs[i].failed, 0);
		const struct store_page *page =
			ASK(&node, store_page, store_history, .session = qmt_str(configs[i].session), .limit = 1000);

		assert_int_equal(page->messages.count, EACH + 1);
		for (uint32_t k = 1; k < page->messages.count; k++) { /* once each, in the order sent */
			char want[20];

			snprintf(want, sizeof want, "%u", k - 1);
			assert_text(page->messages.items[k].content, want);
		}
	}
	if (used * 32 > CLIENTS * EACH)
		fail_msg("%ld syncs for %d appends", used, CLIENTS * EACH);
	assert_true(used > 0);
	node_stop(&node);
}

static void a_read_sees_what_was_acknowledged(void **state)
{
	enum { CLIENTS = 8 };
	struct client_config configs[CLIENTS];
	struct node node;

	node_start(&node, *state, NULL);
	run_clients(
		&node, configs, CLIENTS, &(struct client_config){.count = 300, .depth = 3, .reads = true, .ack_fd = -1});
	/* The last pages may still be under way: the reader serves in order, so this answer comes after them. */
	(void)ASK(&node, store_page, store_history, .session = qmt_str(configs[0].session), .limit = 1);
	node_stop(&node);
	for (int i = 0; i < CLIENTS; i++)
		assert_int_equal(configs[i].failed, 0);
}

static void batches_end_at_their_bounds(void **state)
{
	const struct qmt_param_value small[] = {{"batch_max", "1"}, {NULL, NULL}},
								 narrow[] = {{"batch_bytes", "1"}, {NULL, NULL}};
	const struct qmt_param_value *const params[] = {small, narrow};

	for (int i = 0; i < 2; i++) {
		struct client_config configs[4];
		struct node node;

		node_start(&node, *state, params[i]);
		run_clients(&node, configs, 4, &(struct client_config){.count = 50, .depth = 50, .ack_fd = -1});
		assert_true(atomic_load(&syncs) >= 200); /* each append has its own commit */
		node_stop(&node);
		assert_int_equal(unlink(((struct store_fixture *)*state)->path), 0);
	}
}

static void a_failed_batch_is_answered_as_a_whole(void **state)
{
	const struct qmt_param_value params[] = {{"max_bytes", "131072"}, {NULL, NULL}};
	struct client_config configs[16];
	struct node node;
	uint32_t failed = 0;
	uint64_t stored = 0;

	node_start(&node, *state, params);
	run_clients(&node, configs, 16, &(struct client_config){.count = 300, .depth = 20, .ack_fd = -1});
	for (int i = 0; i < 16; i++) {
		failed += configs[i].failed;
		if (configs[i].failed)
			assert_string_equal(configs[i].kind, "full");
		stored += ASK(&node, store_page, store_history, .session = qmt_str(configs[i].session), .limit = 1)->total - 1;
	}
	assert_true(failed > 0);
	assert_int_equal(stored + failed, 16 * 300); /* those that were refused, and no others, are missing */
	assert_true(metric(&node, "store_failed_batches") > 0);
	node_stop(&node);
}

/* What was committed is counted, reads are requests too, and a request that finds nothing to do changes no row. */
static void what_was_done_is_counted(void **state)
{
	struct node node;
	struct qmt_str id;
	struct qmt_ref reader;
	uint64_t rows, more;

	node_start(&node, *state, NULL);
	assert_int_equal(metric(&node, "store_requests"), 0);
	id = new_session(&node, "r");
	(void)ASK(&node, store_turn_begun, store_turn_begin, .session = id, .request = qmt_str("1"), .text = qmt_str("hi"));
	assert_int_equal(metric(&node, "store_requests"), 2);
	assert_int_equal(metric(&node, "store_commits"), 2); /* one after the other */
	rows = metric(&node, "store_rows");
	assert_true(rows >= 3); /* session, turn, message */
	(void)ASK(&node, store_page, store_history, .session = id);
	ASK_FAILS(&node, QMT_FAIL_NOT_FOUND, NULL, "no session", store_turn_begin, .session = qmt_str("none"),
		.request = qmt_str("2"), .text = qmt_str("hi"));
	assert_int_equal(metric(&node, "store_requests"), 3);
	assert_int_equal(qmt_lookup(node.ctx, "store/reader", &reader), 0);
	assert_int_equal(metric_of(&node, reader, "store_requests"), 1);
	assert_int_equal(metric(&node, "store_rows"), rows);
	(void)ASK(&node, store_appended, store_append, id, 1, {&one, 1});
	more = metric(&node, "store_rows");
	assert_true(more > rows && more < rows + 10);
	assert_int_equal(metric(&node, "store_failed_batches"), 0);
	node_stop(&node);
}

/* ---- kill -------------------------------------------------------------------------------------------------------- */

static void run_until_killed(struct store_fixture *f, int ack_fd)
{
	struct client_config configs[1];
	struct node node;

	node_start(&node, f, NULL);
	run_clients(&node, configs, 1, &(struct client_config){.count = UINT32_MAX, .depth = 64, .ack_fd = ack_fd});
	_exit(1);
}

/* A process under a sanitizer takes a second to fork and die, and what is tested here is the disk, not the process. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { ROUNDS = 5 };
#else
enum { ROUNDS = 50 };
#endif

/* A node in a process of its own appends to one session and writes the number of each answer to a pipe; it is killed
 * after some, 50 times, each time with an empty folder. */
static void a_killed_node_has_lost_nothing(void **state)
{
	struct store_fixture *f = *state;
	struct qmt_os *os = qmt_os_new(true, 9, 0);

	assert_non_null(os);
	for (int round = 0; round < ROUNDS; round++) {
		int ends[2], status;
		uint32_t patience, number, acked = 0;
		char path[120], sql[100];
		pid_t child;

		snprintf(path, sizeof path, "%s/%d.db", f->dir, round);
		memcpy(f->path, path, sizeof f->path);
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		qmt_os_random(os, &patience, sizeof patience);
		child = fork(); /* this process has one thread */
		assert_true(child >= 0);
		if (child == 0)
			run_until_killed(f, ends[1]);
		close(ends[1]);
		/* Answers to one actor come in the order of its requests. */
		for (uint32_t wait_for = patience % 1000; acked <= wait_for; acked++) {
			assert_int_equal(read(ends[0], &number, sizeof number), sizeof number);
			assert_int_equal(number, acked);
		}
		assert_int_equal(kill(child, SIGKILL), 0);
		for (; read(ends[0], &number, sizeof number) == sizeof number; acked++)
			assert_int_equal(number, acked);
		close(ends[0]);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

		store_fixture_open(f);
		store_fixture_close(f);
		snprintf(sql, sizeof sql,
			"SELECT count(*) FROM messages WHERE role = 'assistant' AND CAST(content AS INT) < %u", acked);
		assert_int_equal(store_fixture_number(f->path, sql), acked);
		assert_int_equal(store_fixture_number(f->path, "SELECT count(*) - count(DISTINCT content) FROM messages"), 0);
	}
	qmt_os_free(os);
}

#define T(name) cmocka_unit_test_setup_teardown(name, store_fixture_setup, store_fixture_teardown)

/* Who asks for the policies gets all that it said before, also what is not committed yet when the question comes. */
static void policies_behind_words(void **state)
{
	struct node node;

	node_start(&node, *state, NULL);
	for (uint32_t round = 1; round <= 20; round++) {
		for (uint32_t i = 0; i < 10; i++) {
			char id[24];

			(void)snprintf(id, sizeof id, "%u-%u", round, i);
			assert_int_equal(
				QMT_TELL(node.ctx, node.store, store_policy_put, .peer_id = qmt_str(id), .policy = qmt_str("block")),
				0);
		}
		assert_int_equal(qmt_outside_ask(node.ctx, node.store, &store_policy_list_type, &(struct store_policy_list){},
							 DEADLINE_MS, &node.result),
			0);
		assert_int_equal(((const struct store_policies *)node.result.body)->policies.count, 10 * round);
	}
	node_stop(&node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_killed_node_has_lost_nothing), /* first: it forks */
		T(every_message_is_answered),
		T(a_store_in_memory_does_the_same),
		T(limits_are_parameters),
		T(a_restart_interrupts_what_ran),
		T(a_start_that_fails_says_why),
		T(a_full_store_fails_the_batch_and_goes_on),
		T(one_sync_serves_many_appends),
		T(a_read_sees_what_was_acknowledged),
		T(batches_end_at_their_bounds),
		T(a_failed_batch_is_answered_as_a_whole),
		T(what_was_done_is_counted),
		T(policies_behind_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
