/* The built-in provider streams word by word with numbered chunks and one finish, is cancelled by its asker only, and
 * ends with its sink. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "actors/provider/provider.h"
#include "runtime/port.h"
#include "test/lib/provider_probe.h"

enum { WAIT_MS = 10000 };

struct fixture {
	struct qmt_system *system;
	struct qmt_ctx *outside;
	struct provider_config config;
	struct qmt_ref provider;
	struct probe *probe, *other;
};

static void open_bounded(struct fixture *f, uint32_t chunk_delay_ms, uint32_t max_requests, uint32_t per_peer)
{
	struct qmt_err err = {0};

	*f = (struct fixture){0};
	f->system = qmt_system_start(&(struct qmt_system_options){.workers = 2}, &err);
	assert_non_null(f->system);
	f->outside = qmt_outside_open(f->system);
	provider_config_init(&f->config, "b", "builtin");
	f->config.chunk_delay_ms = chunk_delay_ms;
	f->config.max_requests = max_requests;
	f->config.max_requests_per_peer = per_peer;
	assert_int_equal(qmt_spawn(f->outside, provider_desc("builtin"),
						 &(struct qmt_spawn){.name = "provider/b", .config = &f->config, .restart = QMT_PERMANENT},
						 &f->provider, &err),
		0);
	f->probe = probe_new(f->outside, f->provider);
	f->other = probe_new(f->outside, f->provider);
}

static void open_fixture(struct fixture *f, uint32_t chunk_delay_ms)
{
	open_bounded(f, chunk_delay_ms, 3, 16);
}

static void close_fixture(struct fixture *f)
{
	struct qmt_err err = {0};

	qmt_outside_close(f->outside);
	assert_int_equal(qmt_system_stop(f->system, WAIT_MS, &err), 0);
	qmt_system_free(f->system);
	probe_free(f->probe);
	probe_free(f->other);
}

/* The number of requests under way becomes this within the time. */
static void expect_active(struct fixture *f, uint32_t want)
{
	const struct probe_answer *answer = NULL;

	for (int try = 0; try < 5000; try++) {
		probe_send(f->probe, &provider_info_type, &(struct provider_info){});
		answer = probe_ended(f->probe, "info", WAIT_MS);
		assert_non_null(answer);
		if (answer->active == want)
			return;
	}
	fail_msg("%u requests are under way, not %u", answer->active, want);
}

/* An answer comes as several numbered chunks, then one finish with usage. */
static void streams_words(void **state)
{
	struct fixture f;
	const struct probe_answer *answer;

	(void)state;
	open_fixture(&f, 0);
	probe_chat(f.probe, "r1", "say one two three");
	answer = probe_ended(f.probe, "r1", WAIT_MS);
	assert_non_null(answer);
	assert_string_equal(answer->text.data, "one two three");
	assert_int_equal(answer->chunks, 3);
	assert_int_equal(answer->finishes, 1);
	assert_false(answer->out_of_order);
	assert_string_equal(answer->reason, "stop");
	assert_string_equal(answer->model, "builtin");
	assert_int_equal(answer->usage.input_tokens, 4);
	assert_int_equal(answer->usage.output_tokens, 3);

	probe_chat(f.probe, "r2", "think rain");
	answer = probe_ended(f.probe, "r2", WAIT_MS);
	assert_non_null(answer);
	assert_string_equal(answer->reasoning.data, "I am asked to think about rain. My rules say nothing about that.");
	close_fixture(&f);
}

/* Calls are streamed in pieces and whole in the finish. */
static void streams_calls(void **state)
{
	struct fixture f;
	const struct probe_answer *answer;
	struct chat_message message = {.role = qmt_str("user"), .content = qmt_str("read a.c\nlist src")};
	struct chat_tool tools[] = {{.name = qmt_str("read_tool")}, {.name = qmt_str("ls")}};

	(void)state;
	open_fixture(&f, 0);
	probe_send(f.probe, &provider_chat_type,
		&(struct provider_chat){.request = qmt_str("r"),
			.messages = {&message, 1},
			.tools = {tools, 2},
			.model = qmt_str("builtin"),
			.parameters = qmt_str("{\"temperature\":0}")});
	answer = probe_ended(f.probe, "r", WAIT_MS);
	assert_non_null(answer);
	assert_string_equal(answer->reason, "tool_calls");
	assert_string_equal(
		answer->calls.data, "builtin_1_1:read_tool:{\"path\":\"a.c\"};builtin_1_2:ls:{\"path\":\"src\"};");
	assert_string_equal(answer->deltas.data,
		"0:builtin_1_1:read_tool:;0:::{\"path\":\"a.c\"};1:builtin_1_2:ls:;1:::{\"path\":\"src\"};");
	close_fixture(&f);
}

/* The asker's cancel ends the stream at once, somebody else's does not; both are seen in the middle of an answer. */
static void cancel(void **state)
{
	struct fixture f;
	const struct probe_answer *answer;

	(void)state;
	open_fixture(&f, 1);
	probe_chat(f.probe, "r", "count to 100000");
	assert_true(probe_has_text(f.probe, "r", 20, WAIT_MS));
	probe_cancel(f.other, "r");
	probe_cancel(f.probe, "unknown");
	assert_true(probe_has_text(f.probe, "r", 40, WAIT_MS));
	probe_cancel(f.probe, "r");
	answer = probe_ended(f.probe, "r", WAIT_MS);
	assert_non_null(answer);
	assert_string_equal(answer->reason, "cancelled");
	assert_int_equal(answer->finishes, 1);
	assert_false(answer->out_of_order);
	assert_true(answer->text.len < 500000);
	close_fixture(&f);
}

static void chat_from(struct fixture *f, const char *id, const char *peer, const char *parameters)
{
	struct chat_message message = {.role = qmt_str("user"), .content = qmt_str("count to 100000")};

	probe_send(f->probe, &provider_chat_type,
		&(struct provider_chat){.request = qmt_str(id),
			.messages = {&message, 1},
			.parameters = qmt_str(parameters),
			.origin = qmt_str(peer)});
}

/* Of one peer so many run at once and one more is busy; others and this node are not held up, and an end makes room.
 * What a peer may not set is refused; this node may. */
static void of_one_peer(void **state)
{
	static const char one[] = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN", two[] = "12D3other";
	const struct probe_answer *answer;
	struct fixture f;

	(void)state;
	open_bounded(&f, 1, 10, 2);
	chat_from(&f, "a", one, "{\"seed\":1}");
	chat_from(&f, "b", one, "");
	chat_from(&f, "c", one, "");
	answer = probe_ended(f.probe, "c", WAIT_MS);
	assert_non_null(answer);
	assert_string_equal(answer->kind, "busy");
	assert_non_null(strstr(answer->error, "max_requests_per_peer"));
	chat_from(&f, "d", two, "");
	chat_from(&f, "e", "", "{\"cache_prompt\":true}");
	assert_true(probe_has_text(f.probe, "d", 10, WAIT_MS) && probe_has_text(f.probe, "e", 10, WAIT_MS));
	chat_from(&f, "f", two, "{\"cache_prompt\":true}");
	answer = probe_ended(f.probe, "f", WAIT_MS);
	assert_non_null(answer);
	assert_int_equal(answer->fail, QMT_FAIL_NOT_ALLOWED);
	assert_non_null(strstr(answer->error, "provider b: parameters.cache_prompt"));
	probe_cancel(f.probe, "a");
	assert_non_null(probe_ended(f.probe, "a", WAIT_MS));
	chat_from(&f, "g", one, "");
	assert_true(probe_has_text(f.probe, "g", 10, WAIT_MS));
	close_fixture(&f);
}

/* A request whose sink ended does not count any more; at the limit one more is busy, and two may use the same id. */
static void limits_and_sinks(void **state)
{
	struct fixture f;
	const struct probe_answer *answer;

	(void)state;
	open_fixture(&f, 1);
	probe_chat(f.other, "a", "count to 100000");
	probe_chat(f.other, "b", "count to 100000");
	probe_chat(f.probe, "a", "count to 100000");
	assert_true(probe_has_text(f.other, "a", 10, WAIT_MS) && probe_has_text(f.other, "b", 10, WAIT_MS));
	assert_true(probe_has_text(f.probe, "a", 10, WAIT_MS));
	probe_chat(f.probe, "c", "count to 2");
	answer = probe_ended(f.probe, "c", WAIT_MS);
	assert_non_null(answer);
	assert_int_equal(answer->fail, QMT_FAIL_FAILED);
	assert_string_equal(answer->kind, "busy");

	assert_int_equal(qmt_stop(f.outside, probe_ref(f.other)), 0);
	for (int try = 0; try < 1000; try++) { /* until the provider has seen it */
		probe_send(f.probe, &provider_info_type, &(struct provider_info){});
		answer = probe_ended(f.probe, "info", WAIT_MS);
		assert_non_null(answer);
		if (answer->active == 1)
			break;
	}
	assert_int_equal(answer->active, 1);
	assert_string_equal(answer->models.data, "builtin;");
	probe_chat(f.probe, "d", "count to 2");
	assert_non_null(probe_ended(f.probe, "d", WAIT_MS));
	probe_cancel(f.probe, "a");
	assert_non_null(probe_ended(f.probe, "a", WAIT_MS));
	close_fixture(&f);
}

/* A sink that ends while nothing is told to it ends its request all the same. */
static void sink_dies_in_a_pause(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, 60000);
	probe_chat(f.other, "a", "count to 5");
	assert_non_null(probe_accepted(f.other, "a", WAIT_MS));
	assert_int_equal(qmt_stop(f.outside, probe_ref(f.other)), 0);
	expect_active(&f, 0);
	close_fixture(&f);
}

/* ---- behind a link ----------------------------------------------------------------------------------------------- */

/* A link to a peer: carries `room` messages, ends the number that a cancel names. */
struct link {
	uint32_t room;
};

static void link_outgoing(struct qmt_ctx *ctx, void *raw, const struct qmt_outgoing *out)
{
	struct link *link = raw;

	(void)out;
	if (link->room == 0)
		qmt_outgoing_refuse(ctx, QMT_FAIL_LINK_BUSY);
	else
		link->room--;
}

static void link_cancel(struct qmt_ctx *ctx, void *raw, const void *body)
{
	(void)raw;
	qmt_ref_ended(ctx, (uint32_t)strtoul(((const struct provider_cancel *)body)->request.p, NULL, 10));
}

static int link_start(struct qmt_ctx *ctx, void *raw, const void *config)
{
	(void)ctx;
	((struct link *)raw)->room = *(const uint32_t *)config;
	return 0;
}

static qmt_handler *const link_handlers[provider_message_count] = {[provider_cancel_id] = link_cancel};
static const struct qmt_actor_desc link_desc = {.abi = QMT_ABI,
	.name = "link",
	.doc = "Test.",
	.state_size = sizeof(struct link),
	.accepts = {{&provider_protocol, link_handlers}},
	.start = link_start,
	.outgoing = link_outgoing};

static void chat_for(struct fixture *f, const char *id, struct qmt_ref sink)
{
	struct chat_message message = {.role = qmt_str("user"), .content = qmt_str("count to 100000")};
	struct provider_chat chat = {.request = qmt_str(id), .messages = {&message, 1}, .sink = sink};
	struct qmt_result result;

	assert_int_equal(qmt_outside_ask(f->outside, f->provider, &provider_chat_type, &chat, WAIT_MS, &result), 0);
}

/* Of several sinks on one peer each ends only its own requests; the link's end ends them all. */
static void sinks_behind_a_link(void **state)
{
	static const uint32_t room = UINT32_MAX;
	struct fixture f;
	struct qmt_ref link;

	(void)state;
	open_fixture(&f, 60000);
	assert_int_equal(qmt_spawn(f.outside, &link_desc, &(struct qmt_spawn){.config = &room}, &link, NULL), 0);
	chat_for(&f, "a", (struct qmt_ref){link.actor, link.gen, 1});
	chat_for(&f, "b", (struct qmt_ref){link.actor, link.gen, 2});
	chat_for(&f, "c", (struct qmt_ref){link.actor, link.gen, 2});
	expect_active(&f, 3);
	assert_int_equal(
		qmt_tell(f.outside, link, &provider_cancel_type, &(struct provider_cancel){.request = qmt_str("1")}), 0);
	expect_active(&f, 2);
	/* "b" and "c" have one sink: the end of the one request leaves the other one's watch alone */
	assert_int_equal(
		qmt_tell(f.outside, f.provider, &provider_cancel_type, &(struct provider_cancel){.request = qmt_str("b")}), 0);
	expect_active(&f, 1);
	assert_int_equal(
		qmt_tell(f.outside, link, &provider_cancel_type, &(struct provider_cancel){.request = qmt_str("2")}), 0);
	expect_active(&f, 0);

	chat_for(&f, "a", (struct qmt_ref){link.actor, link.gen, 1});
	chat_for(&f, "b", (struct qmt_ref){link.actor, link.gen, 2});
	expect_active(&f, 2);
	assert_int_equal(qmt_stop(f.outside, link), 0);
	expect_active(&f, 0);
	close_fixture(&f);
}

/* A stream that loses a piece on a full link is ended. */
static void link_is_full(void **state)
{
	static const uint32_t room = 3;
	struct fixture f;
	struct qmt_ref link;

	(void)state;
	open_fixture(&f, 1);
	assert_int_equal(qmt_spawn(f.outside, &link_desc, &(struct qmt_spawn){.config = &room}, &link, NULL), 0);
	chat_for(&f, "a", (struct qmt_ref){link.actor, link.gen, 1});
	expect_active(&f, 0);
	close_fixture(&f);
}

/* Bad requests are refused with the reason. */
static void refusals(void **state)
{
	struct fixture f;
	const struct probe_answer *answer;
	struct chat_message message = {.role = qmt_str("user"), .content = qmt_str("hello")};

	(void)state;
	open_fixture(&f, 0);
	probe_send(f.probe, &provider_chat_type,
		&(struct provider_chat){.request = qmt_str("m"), .messages = {&message, 1}, .model = qmt_str("gpt")});
	answer = probe_ended(f.probe, "m", WAIT_MS);
	assert_non_null(answer);
	assert_int_equal(answer->fail, QMT_FAIL_NOT_FOUND);
	assert_string_equal(answer->kind, "not_found");
	assert_string_equal(answer->error, "model: no \"gpt\" here; this provider serves \"builtin\"");
	probe_send(f.probe, &provider_chat_type,
		&(struct provider_chat){.request = qmt_str("p"), .messages = {&message, 1}, .parameters = qmt_str("[")});
	answer = probe_ended(f.probe, "p", WAIT_MS);
	assert_non_null(answer);
	assert_int_equal(answer->fail, QMT_FAIL_BAD_REQUEST);
	probe_send(f.probe, &provider_chat_type, &(struct provider_chat){.messages = {&message, 1}});
	answer = probe_ended(f.probe, "", WAIT_MS);
	assert_non_null(answer);
	assert_int_equal(answer->fail, QMT_FAIL_BAD_REQUEST);

	struct qmt_result result;

	assert_int_equal(qmt_outside_ask(f.outside, f.provider, &provider_chat_type,
						 &(struct provider_chat){.request = qmt_str("x")}, WAIT_MS, &result),
		QMT_FAIL_BAD_REQUEST); /* no sink */
	close_fixture(&f);
}

/* A whole answer comes as one. */
static void completes(void **state)
{
	struct fixture f;
	const struct probe_answer *answer;
	struct chat_message message = {.role = qmt_str("user"), .content = qmt_str("count to 3")};
	struct qmt_result result;

	(void)state;
	open_fixture(&f, 0);
	probe_send(f.probe, &provider_complete_type,
		&(struct provider_complete){.request = qmt_str("c"), .messages = {&message, 1}, .max_tokens = 2});
	answer = probe_ended(f.probe, "c", WAIT_MS);
	assert_non_null(answer);
	assert_string_equal(answer->text.data, "1 2 ");
	assert_string_equal(answer->reason, "length");
	assert_int_equal(
		qmt_outside_ask(f.outside, f.provider, &provider_complete_type,
			&(struct provider_complete){.request = qmt_str("o"), .messages = {&message, 1}}, WAIT_MS, &result),
		0);
	assert_true(qmt_str_is(((const struct provider_completion *)result.body)->text, "1 2 3."));
	close_fixture(&f);
}

/* A stop in the middle of an answer leaves nothing behind. */
static void stop_in_the_middle(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, 1);
	probe_chat(f.probe, "r", "count to 100000");
	assert_true(probe_has_text(f.probe, "r", 10, WAIT_MS));
	close_fixture(&f);
}

static uint64_t metric(struct fixture *f, const char *name)
{
	struct qmt_result result;
	const struct metrics_values *values;

	assert_int_equal(
		qmt_outside_ask(f->outside, f->provider, &metrics_get_type, &(struct metrics_get){}, WAIT_MS, &result), 0);
	values = result.body;
	for (uint32_t i = 0; i < values->metrics.count; i++)
		if (qmt_str_is(values->metrics.items[i].name, name))
			return values->metrics.items[i].value;
	fail_msg("no metric %s", name);
	return 0;
}

/* Each request is counted once, under what became of it. */
static void counts(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, 1);
	probe_chat(f.probe, "well", "say one two three");
	assert_non_null(probe_ended(f.probe, "well", WAIT_MS));
	probe_chat(f.probe, "", "no id"); /* refused */
	assert_non_null(probe_ended(f.probe, "", WAIT_MS));
	probe_send(f.probe, &provider_complete_type,
		&(struct provider_complete){.request = qmt_str("model"), .model = qmt_str("other")});
	assert_non_null(probe_ended(f.probe, "model", WAIT_MS));
	assert_int_equal(metric(&f, "provider_requests"), 3);
	assert_int_equal(metric(&f, "provider_chunks"), 3);
	assert_int_equal(metric(&f, "provider_errors"), 2);
	probe_chat(f.probe, "cancelled", "count to 100000");
	assert_true(probe_has_text(f.probe, "cancelled", 10, WAIT_MS));
	assert_int_equal(metric(&f, "provider_active"), 1);
	probe_cancel(f.probe, "cancelled");
	assert_non_null(probe_ended(f.probe, "cancelled", WAIT_MS));
	assert_int_equal(metric(&f, "provider_cancelled"), 1);
	probe_chat(f.other, "gone", "count to 100000");
	assert_true(probe_has_text(f.other, "gone", 10, WAIT_MS));
	assert_int_equal(qmt_stop(f.outside, probe_ref(f.other)), 0);
	expect_active(&f, 0);
	assert_int_equal(metric(&f, "provider_cancelled"), 2);
	assert_int_equal(metric(&f, "provider_requests"), 5);
	assert_int_equal(metric(&f, "provider_errors"), 2);
	assert_int_equal(metric(&f, "provider_active"), 0);
	close_fixture(&f);
}

/* The same seed gives the same run. */
static uint64_t seeded_hash(void)
{
	struct qmt_system *system = qmt_system_start(&(struct qmt_system_options){.seeded = true, .seed = 7}, NULL);
	struct qmt_ctx *outside;
	struct provider_config config;
	struct qmt_ref provider;
	struct probe *probe;
	uint64_t hash;

	assert_non_null(system);
	outside = qmt_outside_open(system);
	provider_config_init(&config, "b", "builtin");
	config.chunk_delay_ms = 3;
	assert_int_equal(
		qmt_spawn(outside, &provider_builtin_desc, &(struct qmt_spawn){.config = &config}, &provider, NULL), 0);
	probe = probe_new(outside, provider);
	probe_chat(probe, "a", "count to 30");
	probe_chat(probe, "b", "help");
	qmt_system_run(system, 1000);
	assert_non_null(probe_ended(probe, "a", 0));
	assert_non_null(probe_ended(probe, "b", 0));
	hash = qmt_system_trace_hash(system);
	qmt_outside_close(outside);
	assert_int_equal(qmt_system_stop(system, 1000, NULL), 0);
	qmt_system_free(system);
	probe_free(probe);
	return hash;
}

static void seeded(void **state)
{
	(void)state;
	assert_int_equal(seeded_hash(), seeded_hash());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_words),
		cmocka_unit_test(streams_calls),
		cmocka_unit_test(cancel),
		cmocka_unit_test(limits_and_sinks),
		cmocka_unit_test(of_one_peer),
		cmocka_unit_test(sink_dies_in_a_pause),
		cmocka_unit_test(sinks_behind_a_link),
		cmocka_unit_test(link_is_full),
		cmocka_unit_test(refusals),
		cmocka_unit_test(completes),
		cmocka_unit_test(stop_in_the_middle),
		cmocka_unit_test(counts),
		cmocka_unit_test(seeded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
