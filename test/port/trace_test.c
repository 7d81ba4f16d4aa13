/* test/port/trace_test.c - one trace on both sides of a link: what is told and asked of a peer carries it, and what
 * comes of that too. Over every transport. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <unistd.h>

#include "test/lib/hostile.h"
#include "test/lib/mesh_pair.h"

/* ---- an actor that says with which trace it was called ----------------------------------------------------------- */

#define TRACER_ASK(F, T)                                                \
	F(T, STR, peer, 1, "Ask the tracer there; empty: answer yourself.") \
	F(T, BOOL, fails, 2, "It is to answer with a failure.")             \
	F(T, REF, back, 3, "Told an event with the trace; unset: nobody.")
#define TRACER_SEEN(F, T)                                    \
	F(T, U64, trace, 1, "While the ask was handled.")        \
	F(T, U64, asker, 2, "While its asker heard the answer.") \
	F(T, BOOL, failed, 3, "The answer was a failure.")
#define TRACER_EVENT(F, T) F(T, U64, trace, 1, "While the ask was handled.")
#define TRACER_MESSAGES(M)                                        \
	M(tracer, ask, TRACER_ASK, "node_info", "Which trace?", seen) \
	M(tracer, seen, TRACER_SEEN, "reply", "Answer.")              \
	M(tracer, event, TRACER_EVENT, "stream", "Noted.")            \
	M(tracer, noted, QMT_NO_FIELDS, "local", "The last event: which trace?", seen)
QMT_DECLARE_PROTOCOL(tracer, TRACER_MESSAGES)
QMT_DEFINE_PROTOCOL(tracer, TRACER_MESSAGES, "For this test.")

struct tracer {
	struct qmt_token waiting;
	uint64_t told; /* the trace of the last event */
};

static void on_there(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	const struct tracer_seen *seen = result->body;

	(void)arg;
	QMT_REPLY(ctx, ((struct tracer *)state)->waiting, tracer_seen, .trace = result->fail ? 0 : seen->trace,
		.asker = qmt_trace(ctx), .failed = result->fail != 0);
}
static void on_ask(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct tracer_ask *ask = body;
	struct tracer *tracer = state;

	if (qmt_ref_is_set(ask->back))
		(void)QMT_TELL(ctx, ask->back, tracer_event, .trace = qmt_trace(ctx));
	if (ask->fails && !ask->peer.len) {
		QMT_LOG(ctx, QMT_INFO, "tracer.fails");
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "told to");
	} else if (!ask->peer.len) {
		QMT_REPLY(ctx, qmt_token(ctx), tracer_seen, .trace = qmt_trace(ctx));
	} else {
		char peer[80];

		(void)snprintf(peer, sizeof peer, "%.*s", QMT_STR_ARG(ask->peer));
		tracer->waiting = qmt_token(ctx);
		struct tracer_ask there = {.fails = ask->fails, .back = qmt_self(ctx)};
		int failed = qmt_ask_name(ctx, peer, "tracer", &tracer_ask_type, &there, MESH_WAIT_MS, on_there, NULL);

		if (failed)
			qmt_fail(ctx, "could not ask the peer: %s", qmt_fail_name(failed));
	}
}
static void on_event(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct tracer *tracer = state;

	tracer->told = ((const struct tracer_event *)body)->trace == qmt_trace(ctx) ? qmt_trace(ctx) : UINT64_MAX;
}
static void on_noted(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)body;
	QMT_REPLY(ctx, qmt_token(ctx), tracer_seen, .trace = ((struct tracer *)state)->told);
}
static qmt_handler *const handlers[tracer_message_count] = {
	[tracer_ask_id] = on_ask, [tracer_event_id] = on_event, [tracer_noted_id] = on_noted};
static const struct qmt_actor_desc tracer_desc = {
	.abi = QMT_ABI, .name = "tracer", .state_size = sizeof(struct tracer), .accepts = {{&tracer_protocol, handlers}}};

static struct qmt_ref spawn_tracer(struct mesh_node *node)
{
	struct qmt_err err = {0};
	struct qmt_ref tracer;

	if (qmt_spawn(node->ctx, &tracer_desc, &(struct qmt_spawn){.name = "tracer"}, &tracer, &err))
		fail_msg("%s", err.text);
	return tracer;
}

/* ---- two nodes --------------------------------------------------------------------------------------------------- */

static struct mesh_pair pair;
static struct qmt_ref tracer;

static void start(void **state)
{
	mesh_pair_init(&pair, *(enum mesh_kind *)*state);
	mesh_pair_start(&pair);
	tracer = spawn_tracer(&pair.a);
	(void)spawn_tracer(&pair.b);
}

static struct tracer_seen ask_there(uint64_t trace, bool fails)
{
	struct qmt_result result;

	qmt_trace_set(pair.a.ctx, trace);
	assert_int_equal(MESH_ASK(&pair.a, tracer, &result, tracer_ask, .peer = qmt_str(pair.b.id), .fails = fails), 0);
	qmt_trace_set(pair.a.ctx, 0);
	return *(const struct tracer_seen *)result.body;
}
static uint64_t noted(void)
{
	struct qmt_result result;

	assert_int_equal(MESH_ASK(&pair.a, tracer, &result, tracer_noted, ), 0);
	return ((const struct tracer_seen *)result.body)->trace;
}

/* The peer handles an ask with the trace of who asked, the asker hears the answer with it, and what the peer tells a
 * ref meanwhile comes with it. What is asked without a trace has none, also between two that have. */
static void both_sides(void **state)
{
	static const uint64_t traces[] = {1, 0, UINT64_MAX - 1, 0x123456789abcdef0, 0, 0, 7};

	start(state);
	for (size_t i = 0; i < sizeof traces / sizeof *traces; i++) {
		struct tracer_seen seen = ask_there(traces[i], false);

		assert_true(seen.trace == traces[i]);
		assert_true(seen.asker == traces[i]);
		assert_false(seen.failed);
		assert_true(noted() == traces[i]); /* told before it answered */
	}
	mesh_pair_stop(&pair);
}

/* A failure too. */
static void failures(void **state)
{
	struct tracer_seen seen;

	start(state);
	seen = ask_there(0xabc, true);
	assert_true(seen.failed);
	assert_true(seen.asker == 0xabc);
	seen = ask_there(0, true);
	assert_true(seen.failed);
	assert_true(seen.asker == 0);
	mesh_pair_stop(&pair);
}

/* ---- a peer that says anything ----------------------------------------------------------------------------------- */

static bool has_line(int fd, const char *text)
{
	static char log[1 << 20];
	ssize_t len = pread(fd, log, sizeof log - 1, 0);

	log[len > 0 ? len : 0] = '\0';
	return strstr(log, text) != NULL;
}

/* What a peer calls the trace is a number to everybody: the greatest there is, one for each message. It is shown in the
 * lines of what was asked, comes back with the answer, and is gone with the next message. */
static void only_a_number(void **state)
{
	char log_name[] = "/tmp/qmt-trace-XXXXXX";
	struct mesh_node node;
	struct hostile peer;
	struct envelope back;
	struct qmt_err err = {0};

	(void)state;
	mesh_node_init(&node, "victim", NULL, 0);
	node.log_fd = mkstemp(log_name);
	assert_true(node.log_fd >= 0);
	mesh_node_start(&node);
	(void)spawn_tracer(&node);
	assert_int_equal(hostile_open(&peer, node.port, 0, &err), 0);
	hostile_says_use(&peer, 1);

	const struct tracer_ask fails = {.fails = true}, answers = {0};
	hostile_say(&peer,
		&(struct envelope){.kind = ENVELOPE_ASK,
			.id = 1,
			.to_name = qmt_str("tracer"),
			.type = 1,
			.type_name = qmt_str("tracer.ask"),
			.deadline_ms = MESH_WAIT_MS,
			.trace = UINT64_MAX},
		&tracer_ask_type.record, &fails);
	back = hostile_wait(&peer, ENVELOPE_ERROR);
	assert_true(back.id == 1 && back.trace == UINT64_MAX);
	assert_true(has_line(node.log_fd, "tracer.fails trace=ffffffffffffffff\n"));
	for (uint64_t i = 2; i < 100; i++) {
		uint64_t trace = i % 2 ? i : 0;

		hostile_say(&peer,
			&(struct envelope){.kind = ENVELOPE_ASK,
				.id = i,
				.to_name = qmt_str("tracer"),
				.type = 1,
				.deadline_ms = MESH_WAIT_MS,
				.trace = trace},
			&tracer_ask_type.record, &answers);
		back = hostile_wait(&peer, ENVELOPE_REPLY);
		assert_true(back.id == i && back.trace == trace);
	}
	/* nobody of that name: what is said of it is of this message */
	hostile_say(&peer,
		&(struct envelope){.kind = ENVELOPE_ASK,
			.id = 100,
			.to_name = qmt_str("nobody"),
			.type = 1,
			.deadline_ms = 1000,
			.trace = 0xb},
		&tracer_ask_type.record, &answers);
	back = hostile_wait(&peer, ENVELOPE_ERROR);
	assert_true(back.id == 100 && back.trace == 0xb);
	hostile_close(&peer);
	mesh_node_stop(&node);
	close(node.log_fd);
	unlink(log_name);
}

int main(void)
{
	static enum mesh_kind kinds[] = {MESH_TCP, MESH_LOOP};
#define CASE(fn, kind)                                                                                          \
	{                                                                                                           \
		.name = kind == MESH_TCP ? #fn " (tcp)" : #fn " (loop)", .test_func = fn, .initial_state = &kinds[kind] \
	}
#define CASES(kind) CASE(both_sides, kind), CASE(failures, kind)
	const struct CMUnitTest tests[] = {CASES(MESH_TCP), CASES(MESH_LOOP), cmocka_unit_test(only_a_number)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
