/* test/unit/actors/router/router_test.c - the router against a fake "peers". */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "actors/router/router.h"
#include "proto/contract/contract.h"
#include "runtime/system.h"

/* Knows one peer, "near"; any other one is connected as soon as it is awaited. */
static void peers_on_resolve(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_resolve *request = body;

	(void)state;
	if (qmt_str_is(request->name, "near"))
		(void)QMT_REPLY(
			ctx, qmt_token(ctx), peers_resolved, .peer = {.peer_id = qmt_str("12D3near"), .name = request->name});
	else
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NO_ROUTE, NULL, 0, "not connected");
}

static void peers_on_await(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_await *request = body;

	(void)state;
	(void)QMT_REPLY(
		ctx, qmt_token(ctx), peers_resolved, .peer = {.peer_id = qmt_str("12D3late"), .name = request->name});
}

static qmt_handler *const peers_handlers[peers_message_count] = {
	[peers_resolve_id] = peers_on_resolve, [peers_await_id] = peers_on_await};
static const struct qmt_actor_desc fake_peers_desc = {
	.abi = QMT_ABI, .name = "fake_peers", .state_size = 8, .accepts = {{&peers_protocol, peers_handlers}}};

static const struct router_agent agents[] = {
	{"here", "llm", "m", NULL},
	{"there", "llm", "", "near"},
	{"lost", "llm", NULL, "far"},
};
static const struct router_config config = {agents, sizeof agents / sizeof agents[0], 0};
static const struct router_config patient = {agents, sizeof agents / sizeof agents[0], 5000};

struct fixture {
	struct qmt_system *system;
	struct qmt_ctx *ctx;
	struct qmt_ref router;
};

static void up_with(struct fixture *f, bool with_peers, const struct router_config *with)
{
	struct qmt_err err = {0};
	struct qmt_ref ref;

	f->system = qmt_system_start(&(struct qmt_system_options){.workers = 2}, &err);
	assert_non_null(f->system);
	f->ctx = qmt_outside_open(f->system);
	assert_non_null(f->ctx);
	if (with_peers)
		assert_int_equal(qmt_spawn(f->ctx, &fake_peers_desc, &(struct qmt_spawn){.name = "peers"}, &ref, &err), 0);
	assert_int_equal(
		qmt_spawn(f->ctx, &router_desc, &(struct qmt_spawn){.name = "router", .config = with}, &f->router, &err), 0);
}

static void up(struct fixture *f, bool with_peers)
{
	up_with(f, with_peers, &config);
}

static void down(struct fixture *f)
{
	struct qmt_err err = {0};

	assert_int_equal(qmt_system_stop(f->system, 5000, &err), 0);
	qmt_outside_close(f->ctx);
	qmt_system_free(f->system);
}

static int resolve(struct fixture *f, const char *agent, struct qmt_result *ret_result)
{
	return qmt_outside_ask(
		f->ctx, f->router, &router_resolve_type, &(struct router_resolve){.agent = qmt_str(agent)}, 5000, ret_result);
}

/* An agent without a peer runs here; with one it runs at the PeerId that is connected under that name. */
static void test_local_and_peer(void **state)
{
	struct fixture f;
	struct qmt_result result;

	(void)state;
	up(&f, true);
	assert_int_equal(resolve(&f, "here", &result), 0);
	const struct router_resolved *found = result.body;
	assert_true(qmt_str_is(found->route.target, "local"));
	assert_true(qmt_str_is(found->route.provider, "llm"));
	assert_true(qmt_str_is(found->route.model, "m"));
	assert_int_equal(resolve(&f, "there", &result), 0);
	found = result.body;
	assert_true(qmt_str_is(found->route.target, "peer"));
	assert_true(qmt_str_is(found->route.peer_id, "12D3near"));
	down(&f);
}

/* An unresolved peer is an error that names agent and peer, never a local run; an unknown agent is not found. */
static void test_unresolved_is_an_error(void **state)
{
	struct fixture f;
	struct qmt_result result;

	(void)state;
	up(&f, true);
	assert_int_equal(resolve(&f, "lost", &result), QMT_FAIL_NO_ROUTE);
	assert_non_null(memmem(result.text.p, result.text.len, "\"far\"", 5));
	assert_non_null(memmem(result.text.p, result.text.len, "not connected", 13));
	assert_int_equal(resolve(&f, "nobody", &result), QMT_FAIL_NOT_FOUND);
	assert_non_null(memmem(result.text.p, result.text.len, "nobody", 6));
	down(&f);
}

/* A peer that comes within peer_wait_ms is no error. */
static void test_waits_for_a_peer(void **state)
{
	struct fixture f;
	struct qmt_result result;

	(void)state;
	up_with(&f, true, &patient);
	assert_int_equal(resolve(&f, "lost", &result), 0);
	assert_true(qmt_str_is(((const struct router_resolved *)result.body)->route.peer_id, "12D3late"));
	down(&f);
}

/* Without a mesh an agent on a peer is the same error. */
static void test_no_mesh(void **state)
{
	struct fixture f;
	struct qmt_result result;

	(void)state;
	up(&f, false);
	assert_int_equal(resolve(&f, "there", &result), QMT_FAIL_NO_ROUTE);
	assert_int_equal(resolve(&f, "here", &result), 0);
	down(&f);
}

/* The table shows every agent, and which peers are connected. */
static void test_routes(void **state)
{
	struct fixture f;
	struct qmt_result result;

	(void)state;
	up(&f, true);
	assert_int_equal(
		qmt_outside_ask(f.ctx, f.router, &router_routes_type, &(struct router_routes){}, 5000, &result), 0);
	const struct router_routes_reply *reply = result.body;
	assert_int_equal(reply->routes.count, 3);
	assert_int_equal(reply->routes.items[0].peer_id.len, 0);
	assert_true(qmt_str_is(reply->routes.items[1].peer_id, "12D3near"));
	assert_int_equal(reply->routes.items[2].peer_id.len, 0);
	assert_true(qmt_str_is(reply->routes.items[2].peer, "far"));
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_local_and_peer),
		cmocka_unit_test(test_unresolved_is_an_error),
		cmocka_unit_test(test_waits_for_a_peer),
		cmocka_unit_test(test_no_mesh),
		cmocka_unit_test(test_routes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
