/* test/unit/actors/node_manager/node_manager_test.c - the node manager with the real store and a fake session
 * module. */
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "actors/node_manager/node_manager.h"
#include "actors/store/store.h"
#include "runtime/internal.h"

/* A session that takes every prompt as turn 7, and counts it as begun and cancelled. */
static void session_on_prompt(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct session_prompt *request = body;

	(void)state;
	if (qmt_str_is(request->request, "leave")) { /* it is leaving memory: what comes now meets its end */
		(void)QMT_REPLY(ctx, qmt_token(ctx), session_prompted, .turn = 6, .state = qmt_str("complete"));
		qmt_stop_self(ctx);
		return;
	}
	(void)QMT_TELL(ctx, qmt_parent(ctx), session_turn_began, );
	(void)QMT_TELL(ctx, qmt_parent(ctx), session_turn_ended, .outcome = qmt_str("cancelled"));
	(void)QMT_REPLY(
		ctx, qmt_token(ctx), session_prompted, .session = request->text, .turn = 7, .state = qmt_str("running"));
}

static void session_on_cancel(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	(void)body;
	(void)QMT_REPLY(ctx, qmt_token(ctx), session_cancelled, .was_running = true);
}

static qmt_handler *const session_handlers[session_message_count] = {
	[session_prompt_id] = session_on_prompt, [session_cancel_id] = session_on_cancel};
static const struct qmt_actor_desc fake_session_desc = {
	.abi = QMT_ABI, .name = "fake_session", .state_size = 8, .accepts = {{&session_protocol, session_handlers}}};

static void *session_config(void *arg, const struct store_session *session, struct qmt_err *err)
{
	(void)arg;
	if (qmt_str_is(session->name, "broken")) {
		qmt_err_set(err, -1, "this one cannot be made");
		return NULL;
	}
	return malloc(1);
}

enum { CAPABILITIES = 100 };

struct fixture {
	const char *capabilities[CAPABILITIES + 1];
	char folder[64], path[96];
	struct store_config store;
	struct node_manager_config config;
	struct node_agent agents[2];
	struct qmt_system *system;
	struct qmt_ctx *ctx;
	struct qmt_ref manager;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct qmt_err err = {0};
	struct qmt_ref ref;

	assert_non_null(f);
	snprintf(f->folder, sizeof f->folder, "/tmp/qmt-node-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->path, sizeof f->path, "%s/sessions.db", f->folder);
	f->store.path = f->path;
	for (int i = 0; i < CAPABILITIES; i++)
		f->capabilities[i] = "gpu";
	f->agents[0] = (struct node_agent){"coder", "/srv"};
	f->agents[1] = (struct node_agent){"writer", "/tmp"};
	f->config = (struct node_manager_config){.peer_id = "12D3self",
		.node_name = "me",
		.version = "1",
		.home = f->folder,
		.capabilities = f->capabilities,
		.agents = f->agents,
		.agent_count = 2,
		.request_timeout_ms = 5000,
		.node_info_timeout_ms = 1000,
		.session_desc = &fake_session_desc,
		.session_config = session_config,
		.session_config_free = free,
		.max_remote_sessions = 3,
		.grants = {.allow_remote_sessions = true}};
	f->system = qmt_system_start(&(struct qmt_system_options){.workers = 2}, &err);
	assert_non_null(f->system);
	f->ctx = qmt_outside_open(f->system);
	assert_int_equal(qmt_spawn(f->ctx, &store_desc,
						 &(struct qmt_spawn){.name = "store", .config = &f->store, .own_thread = true}, &ref, &err),
		0);
	assert_int_equal(qmt_spawn(f->ctx, &node_manager_desc,
						 &(struct qmt_spawn){.name = "node_manager", .config = &f->config}, &f->manager, &err),
		0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct qmt_err err = {0};
	char path[128];

	assert_int_equal(qmt_system_stop(f->system, 5000, &err), 0);
	qmt_outside_close(f->ctx);
	qmt_system_free(f->system);
	for (const char *const *end = (const char *const[]){"", "-wal", "-shm", NULL}; *end; end++) {
		snprintf(path, sizeof path, "%s%s", f->path, *end);
		unlink(path);
	}
	rmdir(f->folder);
	free(f);
	return 0;
}

#define ASK(f, result, msg, ...) \
	qmt_outside_ask((f)->ctx, (f)->manager, &msg##_type, &(struct msg){__VA_ARGS__}, 5000, result)

static void create(struct fixture *f, const char *request, const char *name, const char *origin, char ret_id[64])
{
	struct qmt_result result;

	assert_int_equal(ASK(f, &result, node_session_create, .request = qmt_str(request), .agent = qmt_str("coder"),
						 .name = qmt_str(name), .origin = qmt_str(origin)),
		0);
	const struct node_session_reply *reply = result.body;
	snprintf(ret_id, 64, "%.*s", QMT_STR_ARG(reply->session.id));
}

/* A session is made once for a request id, with the agent's folder, and is found by id, prefix and name. */
static void test_create_and_find(void **state)
{
	struct fixture *f = *state;
	struct qmt_result result;
	char id[64], again[64];

	create(f, "r-1", "one", NULL, id);
	create(f, "r-1", "one", NULL, again);
	assert_string_equal(id, again);
	const char *keys[] = {id, "one", NULL};
	for (size_t i = 0; keys[i]; i++) {
		assert_int_equal(ASK(f, &result, node_session_resume, .session = qmt_str(keys[i])), 0);
		const struct node_session_reply *reply = result.body;
		assert_true(qmt_str_is(reply->session.id, id));
		assert_true(qmt_str_is(reply->session.cwd, "/srv"));
	}
	assert_int_equal(ASK(f, &result, node_session_list), 0);
	assert_int_equal(((const struct node_session_list_reply *)result.body)->total, 1);
}

/* What cannot be made says why: no request id, an unknown agent, several agents and none named, a relative folder, a
 * session
 * module that refuses, another node without a mesh. */
static void test_refusals(void **state)
{
	struct fixture *f = *state;
	struct qmt_result result;

	assert_int_equal(ASK(f, &result, node_session_create, .agent = qmt_str("coder")), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(
		ASK(f, &result, node_session_create, .request = qmt_str("r"), .agent = qmt_str("nobody")), QMT_FAIL_NOT_FOUND);
	assert_int_equal(ASK(f, &result, node_session_create, .request = qmt_str("r")), QMT_FAIL_NOT_FOUND);
	assert_non_null(memmem(result.text.p, result.text.len, "--agent", 7));
	assert_int_equal(
		ASK(f, &result, node_session_create, .request = qmt_str("r"), .agent = qmt_str("coder"), .cwd = qmt_str("a/b")),
		QMT_FAIL_BAD_REQUEST);
	assert_int_equal(ASK(f, &result, node_session_create, .request = qmt_str("r"), .agent = qmt_str("coder"),
						 .name = qmt_str("broken")),
		QMT_FAIL_FAILED);
	assert_non_null(memmem(result.text.p, result.text.len, "cannot be made", 14));
	assert_int_equal(
		ASK(f, &result, node_session_create, .request = qmt_str("r2"), .agent = qmt_str("coder"), .on = qmt_str("gpu")),
		QMT_FAIL_NO_ROUTE);
	assert_int_equal(
		ASK(f, &result, node_prompt, .session = qmt_str("x"), .request = qmt_str("r")), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(ASK(f, &result, node_session_show, .session = qmt_str("")), QMT_FAIL_BAD_REQUEST);
}

/* A prompt and a cancel reach the session's actor; a cancel of a session that is not in memory finds nothing
 * running. */
static void test_prompt_and_cancel(void **state)
{
	struct fixture *f = *state;
	struct qmt_result result;
	char id[64];

	create(f, "r-1", "one", NULL, id);
	assert_int_equal(
		ASK(f, &result, node_prompt, .session = qmt_str("one"), .request = qmt_str("p"), .text = qmt_str("hello")), 0);
	assert_int_equal(((const struct node_prompted *)result.body)->turn, 7);
	assert_int_equal(ASK(f, &result, node_cancel, .session = qmt_str("one")), 0);
	assert_true(((const struct node_cancelled *)result.body)->was_running);
}

/* A peer sees and touches only sessions that it made, cannot choose a folder, and cannot go on to a third node. */
static void test_origin_bounds_a_peer(void **state)
{
	struct fixture *f = *state;
	struct qmt_result result;
	char mine[64], theirs[64];

	create(f, "r-1", "mine", NULL, mine);
	create(f, "r-2", "theirs", "12D3peer", theirs);
	struct qmt_str peer = qmt_str("12D3peer"), other = qmt_str("12D3other");
	assert_int_equal(ASK(f, &result, node_session_show, .session = qmt_str(theirs), .origin = peer), 0);
	assert_int_equal(ASK(f, &result, node_session_show, .session = qmt_str(mine), .origin = peer), QMT_FAIL_NOT_FOUND);
	assert_int_equal(ASK(f, &result, node_prompt, .session = qmt_str(mine), .request = qmt_str("p"),
						 .text = qmt_str("x"), .origin = peer),
		QMT_FAIL_NOT_FOUND);
	assert_int_equal(ASK(f, &result, node_cancel, .session = qmt_str(theirs), .origin = other), QMT_FAIL_NOT_FOUND);
	assert_int_equal(
		ASK(f, &result, node_session_resume, .session = qmt_str(mine), .origin = peer), QMT_FAIL_NOT_FOUND);
	assert_int_equal(ASK(f, &result, node_session_list, .origin = peer), 0);
	assert_int_equal(((const struct node_session_list_reply *)result.body)->total, 1);
	assert_int_equal(ASK(f, &result, node_session_list), 0);
	assert_int_equal(((const struct node_session_list_reply *)result.body)->total, 2);
	assert_int_equal(ASK(f, &result, node_session_create, .request = qmt_str("r-3"), .agent = qmt_str("coder"),
						 .cwd = qmt_str("/etc"), .origin = peer),
		QMT_FAIL_NOT_ALLOWED);
	assert_int_equal(ASK(f, &result, node_session_create, .request = qmt_str("r-4"), .agent = qmt_str("coder"),
						 .on = qmt_str("third"), .origin = peer),
		QMT_FAIL_NOT_ALLOWED);
}

static void resumes(struct fixture *f, const char *key, const char *origin, int fail, const char *id, const char *text)
{
	struct qmt_result result;
	const struct node_session_reply *reply;

	assert_int_equal(ASK(f, &result, node_session_resume, .session = qmt_str(key), .origin = qmt_str(origin)), fail);
	reply = result.body;
	if (fail == 0)
		assert_true(qmt_str_is(reply->session.id, id));
	else
		assert_true(qmt_str_is(result.text, text));
}

/* Names and ids of others do not exist for a peer: no ambiguity with them, nothing of them in a text, and the same text
 * for what is another's and what is nobody's. The owner's names mean the owner's sessions, whatever peers call theirs.
 */
static void test_sessions_of_others(void **state)
{
	struct fixture *f = *state;
	struct qmt_result result;
	char mine[64], theirs[64], others[64], twice[64];

	create(f, "r-1", "same", NULL, mine);
	create(f, "r-2", "same", "12D3peer", theirs);
	create(f, "r-3", "same", "12D3other", others);
	resumes(f, "same", NULL, 0, mine, NULL);
	resumes(f, "same", "12D3peer", 0, theirs, NULL);
	resumes(f, "same", "12D3other", 0, others, NULL);
	resumes(f, theirs, NULL, 0, theirs, NULL);
	resumes(f, "same", "12D3third", QMT_FAIL_NOT_FOUND, NULL, "no session same (see: qmt session list)");
	char text[128];
	snprintf(text, sizeof text, "no session %s (see: qmt session list)", mine);
	resumes(f, mine, "12D3peer", QMT_FAIL_NOT_FOUND, NULL, text);
	snprintf(text, sizeof text, "no session %.30s (see: qmt session list)", mine);
	mine[30] = '\0';
	resumes(f, mine, "12D3third", QMT_FAIL_NOT_FOUND, NULL, text);
	/* one's own may still be ambiguous; only they are listed */
	create(f, "r-4", "same", "12D3peer", twice);
	assert_int_equal(ASK(f, &result, node_session_resume, .session = qmt_str("same"), .origin = qmt_str("12D3peer")),
		QMT_FAIL_BAD_REQUEST);
	assert_non_null(memmem(result.text.p, result.text.len, theirs, strlen(theirs)));
	assert_non_null(memmem(result.text.p, result.text.len, twice, strlen(twice)));
	assert_null(memmem(result.text.p, result.text.len, mine, strlen(mine)));
	assert_null(memmem(result.text.p, result.text.len, others, strlen(others)));
	/* a name that only a peer uses is found by the owner too */
	create(f, "r-5", "far", "12D3peer", theirs);
	resumes(f, "far", NULL, 0, theirs, NULL);
}

/* A peer may have max_remote_sessions here: one more is refused with the name of the key; a retry of one that was made
 * is not one more; neither others nor the owner are held up. */
static void test_too_many_sessions(void **state)
{
	struct fixture *f = *state;
	struct qmt_result result;
	char id[64], again[64], request[16];

	for (int i = 0; i < 5; i++) {
		snprintf(request, sizeof request, "o-%d", i);
		create(f, request, "", NULL, id);
	}
	create(f, "r-1", "", "12D3peer", id);
	create(f, "r-2", "", "12D3peer", id);
	create(f, "r-3", "", "12D3peer", id);
	assert_int_equal(ASK(f, &result, node_session_create, .request = qmt_str("r-4"), .agent = qmt_str("coder"),
						 .origin = qmt_str("12D3peer")),
		QMT_FAIL_TOO_LARGE);
	assert_non_null(memmem(result.text.p, result.text.len, "max_remote_sessions", 19));
	create(f, "r-3", "", "12D3peer", again);
	assert_string_equal(id, again);
	create(f, "r-4", "", "12D3other", id);
}

struct both {
	struct fixture *f;
	struct qmt_str session;
	uint32_t answers, good;
};

static void both_answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct both *both = *(struct both **)state;

	(void)ctx;
	(void)arg;
	both->good += result->fail == 0;
	__atomic_fetch_add(&both->answers, 1, __ATOMIC_RELEASE); /* pairs with the acquire in the test's thread */
}

static int both_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct both *both = (struct both *)(uintptr_t)config;

	*(struct both **)state = both;
	for (int i = 0; i < 4; i++) {
		char request[16];
		snprintf(request, sizeof request, "p%d", i);
		qmt_ask_or(ctx, both->f->manager, &node_prompt_type,
			&(struct node_prompt){
				.session = both->session, .request = qmt_str(i == 1 ? "leave" : request), .text = qmt_str("x")},
			5000, both_answered, NULL);
	}
	return 0;
}

static const struct qmt_actor_desc both_desc = {
	.abi = QMT_ABI, .name = "both", .state_size = sizeof(struct both *), .start = both_start};

/* A prompt that meets a session while it leaves memory is not lost: the session is brought back for it. */
static void test_prompt_meets_the_end(void **state)
{
	struct fixture *f = *state;
	struct both both = {.f = f};
	struct qmt_result result;
	struct qmt_ref ref;
	struct qmt_err err;
	char id[64];

	create(f, "r-1", "s", NULL, id);
	both.session = qmt_str(id);
	for (int round = 0; round < 50; round++) {
		both.answers = both.good = 0;
		assert_int_equal(qmt_spawn(f->ctx, &both_desc, &(struct qmt_spawn){.config = &both}, &ref, &err), 0);
		while (
			__atomic_load_n(&both.answers, __ATOMIC_ACQUIRE) < 4) /* each is answered, at the latest by its deadline */
			assert_int_equal(ASK(f, &result, node_info), 0);
		assert_int_equal(both.good, 4);
		(void)qmt_stop(f->ctx, ref);
	}
}

/* Status, info, nodes and providers tell of this node also without any mesh. */
static void test_looks_without_mesh(void **state)
{
	struct fixture *f = *state;
	struct qmt_result result;

	assert_int_equal(ASK(f, &result, node_status), 0);
	assert_true(qmt_str_is(((const struct node_status_reply *)result.body)->node_name, "me"));
	assert_int_equal(ASK(f, &result, node_info), 0);
	assert_int_equal(((const struct node_info_reply *)result.body)->node.agents.count, 2);
	assert_int_equal(((const struct node_info_reply *)result.body)->node.capabilities.count, CAPABILITIES);
	assert_int_equal(ASK(f, &result, node_nodes), 0);
	assert_int_equal(((const struct node_nodes_reply *)result.body)->nodes.count, 1);
	assert_true(((const struct node_nodes_reply *)result.body)->nodes.items[0].self);
	assert_int_equal(ASK(f, &result, node_providers), 0);
	assert_int_equal(((const struct node_providers_reply *)result.body)->providers.count, 0);
}

/* ---- metrics and addresses, among fake neighbours ---------------------------------------------------------------- */

static const char *const listening[] = {"/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1"};

static void peers_on_list(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_info peers[] = {
		{.peer_id = qmt_str("12D3gpu"), .name = qmt_str("gpu"), .state = qmt_str("connected")},
		{.peer_id = qmt_str("12D3gone"), .name = qmt_str("gone"), .state = qmt_str("connected")},
		{.name = qmt_str("later"), .state = qmt_str("waiting")},
	};
	const struct qmt_str texts[] = {qmt_str(listening[0]), qmt_str(listening[1])};

	(void)state;
	(void)body;
	(void)QMT_REPLY(ctx, qmt_token(ctx), peers_list_reply, .peers = {peers, 3}, .listen_addresses = {texts, 2});
}

/* Earlier links to gpu, and to one that is away. */
static void peers_on_metrics(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct metric rows[] = {METRIC_VALUE(links_made, 3), METRIC_VALUE(link_messages_in, 100),
		METRIC_VALUE(link_messages_in, 5), {.name = qmt_str("of_a_later_version"), .value = 1}};

	(void)state;
	(void)body;
	rows[1].label = qmt_str("gpu");
	rows[2].label = qmt_str("away");
	(void)QMT_REPLY(ctx, qmt_token(ctx), metrics_values, .metrics = {rows, 4});
}

static void link_on_metrics(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct metric rows[] = {METRIC_VALUE(link_asks_in, 2), METRIC_VALUE(link_messages_in, 7)};

	(void)state;
	(void)body;
	(void)QMT_REPLY(ctx, qmt_token(ctx), metrics_values, .metrics = {rows, 2});
}

static void never_answers(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	(void)state;
	(void)body;
}

static qmt_handler *const peers_handlers[peers_message_count] = {[peers_list_id] = peers_on_list};
static qmt_handler *const peers_metrics[metrics_message_count] = {[metrics_get_id] = peers_on_metrics};
static qmt_handler *const link_metrics[metrics_message_count] = {[metrics_get_id] = link_on_metrics};
static qmt_handler *const silent_metrics[metrics_message_count] = {[metrics_get_id] = never_answers};
static const struct qmt_actor_desc fake_peers_desc = {.abi = QMT_ABI,
	.name = "fake_peers",
	.state_size = 8,
	.accepts = {{&peers_protocol, peers_handlers}, {&metrics_protocol, peers_metrics}}};
static const struct qmt_actor_desc fake_link_desc = {
	.abi = QMT_ABI, .name = "fake_link", .state_size = 8, .accepts = {{&metrics_protocol, link_metrics}}};
static const struct qmt_actor_desc silent_desc = {
	.abi = QMT_ABI, .name = "silent", .state_size = 8, .accepts = {{&metrics_protocol, silent_metrics}}};

static void neighbour(struct fixture *f, const struct qmt_actor_desc *desc, const char *name)
{
	struct qmt_ref ref;

	assert_int_equal(qmt_spawn(f->ctx, desc, &(struct qmt_spawn){.name = name}, &ref, NULL), 0);
}

static int64_t metric_value(const struct node_metrics_reply *reply, const char *name, const char *label)
{
	int64_t found = -1;

	for (uint32_t i = 0; i < reply->metrics.count; i++)
		if (qmt_str_is(reply->metrics.items[i].name, name) && qmt_str_is(reply->metrics.items[i].label, label)) {
			assert_int_equal(found, -1);
			found = (int64_t)reply->metrics.items[i].value;
		}
	return found;
}

static bool has_error(const struct node_metrics_reply *reply, const char *text)
{
	for (uint32_t i = 0; i < reply->errors.count; i++)
		if (qmt_str_is(reply->errors.items[i], text))
			return true;
	return false;
}

/* Sessions, the store, providers, peers and links are asked; what ended links counted is added to the link in use; who
 * does not answer in time is named and left out. Rows are sorted along the table, then by label. */
static void test_metrics(void **state)
{
	struct fixture *f = *state;
	struct qmt_result result;
	const char *const providers[] = {"llm", "slow", NULL};
	char id[64];

	f->config.providers = providers;
	f->config.node_info_timeout_ms = 200;
	neighbour(f, &fake_peers_desc, "peers");
	neighbour(f, &fake_link_desc, "peer/12D3gpu");
	neighbour(f, &fake_link_desc, "provider/llm");
	neighbour(f, &silent_desc, "provider/slow");
	create(f, "r-1", "one", NULL, id);
	assert_int_equal(
		ASK(f, &result, node_prompt, .session = qmt_str("one"), .request = qmt_str("p"), .text = qmt_str("hello")), 0);
	atomic_store(&f->system->counters.deadlocks, 2);
	atomic_store(&f->system->counters.slow_handlers, 3);
	assert_int_equal(ASK(f, &result, node_metrics), 0);
	const struct node_metrics_reply *reply = result.body;
	assert_true(metric_value(reply, "node_uptime_ms", "") >= 0);
	assert_int_equal(metric_value(reply, "deadlocks", ""), 2);
	assert_int_equal(metric_value(reply, "slow_handlers", ""), 3);
	assert_int_equal(metric_value(reply, "sessions_in_memory", ""), 1);
	assert_int_equal(metric_value(reply, "turns_begun", ""), 1);
	assert_int_equal(metric_value(reply, "turns_ended", "cancelled"), 1);
	assert_int_equal(metric_value(reply, "turns_ended", "complete"), 0);
	assert_int_equal(metric_value(reply, "store_requests", ""), 2); /* create, find */
	assert_int_equal(metric_value(reply, "links_made", ""), 3);
	assert_int_equal(metric_value(reply, "link_messages_in", "gpu"), 107);
	assert_int_equal(metric_value(reply, "link_messages_in", "away"), 5);
	assert_int_equal(metric_value(reply, "link_messages_in", "llm"), 7);
	assert_int_equal(metric_value(reply, "link_asks_in", "gpu"), 2);
	assert_int_equal(metric_value(reply, "link_messages_in", "gone"), -1);
	assert_int_equal(metric_value(reply, "of_a_later_version", ""), -1);
	assert_int_equal(reply->errors.count, 2);
	assert_true(has_error(reply, "provider/slow: deadline passed"));
	assert_true(has_error(reply, "link to gone: not running"));
	for (uint32_t i = 1, last = 0, at = 0; i < reply->metrics.count; i++, last = at) {
		const struct metric *before = &reply->metrics.items[i - 1], *now = &reply->metrics.items[i];
		for (at = 0; !qmt_str_is(now->name, metric_rows[at].name);)
			at++;
		assert_true(at >= last);
		if (qmt_str_eq(before->name, now->name))
			assert_true(strncmp(before->label.p, now->label.p, now->label.len) < 0);
	}
}

static void assert_addresses(const struct node_node *node, const char *const *want, uint32_t count)
{
	assert_int_equal(node->addresses.count, count);
	for (uint32_t i = 0; i < count; i++)
		assert_true(qmt_str_is(node->addresses.items[i], want[i]));
}

/* Peers are told where this node listens, or, when it advertises, exactly what it advertises. */
static void test_addresses(void **state)
{
	struct fixture *f = *state;
	struct qmt_result result;
	const char *const told[] = {"/ip4/10.9.9.9/tcp/9"};
	const struct qmt_str advertised[] = {qmt_str(told[0])};

	f->config.node_info_timeout_ms = 200;
	neighbour(f, &fake_peers_desc, "peers");
	assert_int_equal(ASK(f, &result, node_info), 0);
	assert_addresses(&((const struct node_info_reply *)result.body)->node, listening, 2);
	assert_int_equal(ASK(f, &result, node_nodes), 0);
	assert_true(((const struct node_nodes_reply *)result.body)->nodes.items[0].self);
	assert_addresses(&((const struct node_nodes_reply *)result.body)->nodes.items[0], listening, 2);
	f->config.advertised = advertised;
	f->config.advertised_count = 1;
	assert_int_equal(ASK(f, &result, node_info), 0);
	assert_addresses(&((const struct node_info_reply *)result.body)->node, told, 1);
	assert_int_equal(ASK(f, &result, node_nodes), 0);
	assert_addresses(&((const struct node_nodes_reply *)result.body)->nodes.items[0], told, 1);
	assert_int_equal(ASK(f, &result, node_status), 0);
	const struct node_status_reply *status = result.body;
	assert_int_equal(status->listen_addresses.count, 2);
	assert_int_equal(status->advertised_addresses.count, 1);
	assert_true(qmt_str_is(status->advertised_addresses.items[0], told[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_create_and_find, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_prompt_and_cancel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_origin_bounds_a_peer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sessions_of_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_many_sessions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_prompt_meets_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_looks_without_mesh, setup, teardown),
		cmocka_unit_test_setup_teardown(test_metrics, setup, teardown),
		cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
