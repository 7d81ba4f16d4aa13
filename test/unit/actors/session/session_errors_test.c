/* Whatever fails ends the turn with the right class and a text, is retried only while nothing was shown, and the next
 * prompt works. */
#include "world_fixture.h"

/* The session is usable: the next prompt gets its answer. */
static void usable(struct world *w, const char *request)
{
	world_log(w);
	world_prompt(w, request, "again");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "delta 0 ok\nend complete stop 1");
}

/* Every class, before and in the middle of the answer: what the client sees, and how often the model was asked. */
static void test_classes(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	static const struct {
		const char *kind;
		bool retried;
	} classes[] = {
#define E(name, retry, doc) {#name, retry},
		PROVIDER_ERRORS(E)
#undef E
			{"unheard_of", false},
	};
	world_start(w);
	for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++) {
		for (int phase = 0; phase < 3; phase++) { /* refused; before any text; behind text */
			char script[200], want[400], request[40];
			static const char *const before_kind[] = {"refuse:13:", "error:", "text:Hel|error:"};
			bool again = classes[i].retried && phase < 2;
			snprintf(script, sizeof(script), "%s%s:0:told why", before_kind[phase], classes[i].kind);
			w->script_count = w->script_next = 0;
			for (int n = 0; n < (again ? 3 : 1); n++)
				world_script(w, script);
			uint32_t before = w->chats;
			snprintf(request, sizeof(request), "r%zu-%d", i, phase);
			world_log(w);
			w->turn_count = 0;
			world_prompt(w, request, "hi");
			world_wait(w, "end ", 1);
			snprintf(want, sizeof(want), "end failed %s 1 13 %s: told why\n", phase ? "error" : "", classes[i].kind);
			const char *log = world_log(w);
			assert_seen(log, want);
			assert_int_equal(w->chats - before, again ? 3 : 1);
			if (again) {
				snprintf(want, sizeof(want), "notice %s: told why; trying again in ", classes[i].kind);
				assert_seen(log, want);
				assert_seen(log, "s (2 of 2)\n");
			}
		}
		usable(w, classes[i].kind);
	}
}

/* Failures of the runtime get a class too. */
static void test_failures(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->agent.limits.max_retries = 0;
	world_start(w);
	static const struct {
		int fail;
		const char *kind;
	} table[] = {{QMT_FAIL_NOT_ALLOWED, "authentication"}, {QMT_FAIL_NOT_FOUND, "not_found"},
		{QMT_FAIL_TOO_LARGE, "invalid_request"}, {QMT_FAIL_FULL, "busy"}, {QMT_FAIL_LINK_BUSY, "busy"},
		{QMT_FAIL_PEER_GONE, "transport"}, {QMT_FAIL_DEADLINE, "timeout"}, {QMT_FAIL_CANCELLED, "cancelled"},
		{QMT_FAIL_UNKNOWN_MESSAGE, "invalid_request"}};
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		char script[100], want[100], request[20];
		snprintf(script, sizeof(script), "refuse:%d::0:", table[i].fail);
		snprintf(want, sizeof(want), "end failed  1 %d %s: %s\n", table[i].fail, table[i].kind,
			qmt_fail_name(table[i].fail));
		snprintf(request, sizeof(request), "f%zu", i);
		w->script_count = w->script_next = 0;
		world_script(w, script);
		world_prompt(w, request, "hi");
		world_wait(w, "end ", 1);
		assert_seen(world_log(w), want);
	}
	usable(w, "u");
}

/* A failure that is tried again and then works leaves no trace in the history; reasoning of the first try is gone. */
static void test_retry(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	world_script(w, "think:wrong|error:server_error:0:oops");
	world_script(w, "refuse:13:rate_limited:2500:slow down");
	world_script(w, "think:right|text:good|finish:stop");
	world_prompt(w, "r1", "hi");
	world_run(w, 3000); /* the first wait is about 1 s, the second 2.5 s as asked */
	assert_seen(w->log.data, "notice rate_limited: slow down; trying again in 2.5 s (2 of 2)\n");
	assert_null(strstr(w->log.data, "good"));
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "delta 0 good\nend complete stop 1 (10+2)\n");
	assert_stored(w, "user: hi\nassistant: good\nturn 1 complete\n");
	assert_int_equal(w->history.items[1].reasoning.len, 5);
	/* Longer than retry_wait_max_ms: the client is told instead. */
	world_script(w, "refuse:13:rate_limited:61000:tomorrow");
	world_prompt(w, "r2", "hi");
	world_wait(w, "end ", 1);
	assert_log(w, "prompted 2 running\nend failed  1 13 rate_limited: tomorrow\n");
	usable(w, "u");
}

/* A piece that is missing is an error; what was shown is kept; upstream is told to stop. */
static void test_gap(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	world_script(w, "text:one|gap|text:three|text:four");
	world_prompt(w, "r1", "hi");
	world_wait(w, "end ", 1);
	assert_log(w,
		"prompted 1 running\ndelta 0 one\n"
		"end failed  1 13 malformed: piece 3 of the answer came where 2 was due: something was lost\n");
	assert_stored(w, "user: hi\nassistant: one\nturn 1 failed\n");
	assert_int_equal(w->cancels, 1);
	world_script(w, "text:one|gap|finish:stop"); /* the last one lost */
	world_prompt(w, "r2", "hi");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "malformed: piece 3 of the answer came where 2 was due");
	usable(w, "u");
}

/* Silence: the watchdog of the phase ends the try, upstream is told. */
static void test_silence(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->agent.limits.max_retries = 1;
	w->agent.limits.first_chunk_timeout_ms = 5000;
	w->agent.limits.idle_timeout_ms = 3000;
	world_start(w);
	world_script(w, "wait:99999999");
	world_script(w, "text:a|wait:2900|text:b|wait:2900|text:c|wait:99999999");
	world_prompt(w, "r1", "hi");
	world_run(w, 4900);
	assert_log(w, "prompted 1 running\n");
	world_run(w, 200);
	assert_int_equal(w->cancels, 1);
	assert_seen(w->log.data, "notice timeout: no answer for 5.0 s (first_chunk_timeout_ms); trying again");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w),
		"delta 0 a\ndelta 1 b\ndelta 2 c\n"
		"end failed  1 4 timeout: no further piece of the answer for 3.0 s (idle_timeout_ms)\n");
	assert_int_equal(w->cancels, 2);
	assert_stored(w, "user: hi\nassistant: abc\nturn 1 failed\n");
	usable(w, "u");
}

/* The provider dies in the middle: at once class transport, not a wait for the watchdog. */
static void test_provider_dies(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	world_script(w, "text:a|wait:1000|die");
	world_prompt(w, "r1", "hi");
	world_run(w, 1500);
	assert_log(w,
		"prompted 1 running\ndelta 0 a\nend failed  1 1 transport: the provider ended in the middle of the answer "
		"(stopped)\n");
	/* Nobody is there. */
	world_prompt(w, "r2", "hi");
	world_wait(w, "end ", 1);
	assert_log(w, "prompted 2 running\nend failed  1 18 transport: provider/llm: unknown actor\n");
	world_start_provider(w);
	usable(w, "u");
}

/* So does a link; a peer that is not connected is an error, never a local run. */
static void test_peer_gone(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->route_peer = true;
	w->agent.limits.max_retries = 0;
	world_start(w);
	world_script(w, "text:a|wait:99999");
	world_prompt(w, "r1", "hi");
	world_wait(w, "delta", 1);
	world_stop_actor(w, w->link);
	world_run(w, 1000);
	assert_seen(world_log(w), "end failed  1 6 transport: the link to the peer ended in the middle of the answer (");
	world_prompt(w, "r2", "hi");
	world_wait(w, "end ", 1);
	assert_log(w, "prompted 2 running\nend failed  1 5 transport: provider/llm on peer 12D3peer: no route\n");
	w->route_fail = QMT_FAIL_NO_ROUTE;
	world_prompt(w, "r3", "hi");
	world_wait(w, "end ", 1);
	assert_log(w, "prompted 3 running\nend failed  1 5 transport: peer gpu is not connected\n");
	w->route_fail = QMT_FAIL_NOT_FOUND;
	world_prompt(w, "r4", "hi");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "end failed  1 17 not_found: ");
	assert_int_equal(w->chats, 1);
	w->route_fail = 0;
	w->route_peer = false;
	usable(w, "u");
}

/* The store fails at each place: a clear error, nothing acknowledged that is not stored, and the session works
 * afterwards. */
static void test_store_fails(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	w->fail_message = "store.turn_begin";
	w->fail_count = 1;
	world_prompt(w, "r1", "hi");
	world_wait(w, "refused", 1);
	assert_log(w, "refused 13 full: the prompt could not be stored: no space left on device\n");
	assert_stored(w, "");

	w->fail_message = "store.history";
	w->fail_count = 1;
	world_prompt(w, "r2", "hi");
	world_wait(w, "end ", 1);
	assert_log(
		w, "prompted 1 running\nend failed  0 13 store: the history could not be read: no space left on device\n");
	usable(w, "u1");

	w->fail_message = "store.append";
	w->fail_count = 1;
	world_script(w, "call:a:write_file:{\"path\":\"never\",\"content\":\"\"}|finish:tool_calls");
	world_prompt(w, "r3", "hi");
	world_wait(w, "end ", 1);
	assert_log(w,
		"prompted 3 running\nend failed tool_calls 1 13 store: the answer could not be stored: no space left on device "
		"(10+2)\n");
	assert_true(access(fixture_path(((struct place *)*state)->f->root, "never"), F_OK) !=
		0); /* a call that is not stored does not run */
	usable(w, "u2");

	w->fail_message = "store.turn_end";
	w->fail_count = 1;
	world_prompt(w, "r4", "hi");
	world_wait(w, "end ", 1);
	assert_log(w,
		"prompted 5 running\ndelta 0 ok\n"
		"end failed stop 1 13 store: the end of the turn could not be stored: no space left on device (10+2)\n");
	usable(w, "u3"); /* the turn that is still running in the store is ended first */
	assert_seen(world_stored(w), "turn 5 interrupted\nturn 6 complete\n");

	/* No answer at all. */
	w->delay_message = "store.turn_begin";
	w->delay_ms = 31000;
	world_prompt(w, "r5", "hi");
	world_wait(w, "refused", 1);
	assert_log(w, "refused 4 store: the prompt could not be stored: deadline passed\n");
	w->delay_message = NULL;
	world_run(w, 5000); /* it was stored all the same, late */
	usable(w, "u4");
	/* A checkpoint that fails ends nothing. */
	w->fail_message = "store.checkpoint";
	w->fail_count = 1;
	world_script(w, "text:a|wait:5000|text:b|finish:stop");
	world_prompt(w, "r6", "hi");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "end complete stop 1");
}

/* The last results cannot be stored. */
static void test_store_fails_results(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	w->delay_message = "store.append";
	w->delay_ms = 100;
	world_script(w, "call:a:ls:{}|finish:tool_calls");
	world_prompt(w, "r1", "hi");
	world_run(w, 50);
	w->fail_message = "store.append";
	w->fail_count = 1;
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "end failed tool_calls 1 13 store: results of tools could not be stored: no space left");
	w->delay_message = NULL;
	/* The history has a call without a result: the model gets one made up. */
	world_prompt(w, "r2", "hi");
	world_wait(w, "end ", 1);
	assert_string_equal(w->last_request.data,
		"system: be brief\nuser: hi\nassistant:  a=ls()\n"
		"tool: error: no result is known: the turn was cut off before or while the tool ran for a\nuser: hi\n");
}

/* The limit for further pieces holds from the first one on, not only when that for the first has passed. */
static void test_silence_after_the_first_piece(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->agent.limits.first_chunk_timeout_ms = 300000;
	w->agent.limits.idle_timeout_ms = 2000;
	world_start(w);
	world_script(w, "wait:60000|text:a|wait:1500|text:b|wait:900000|finish:stop");
	world_prompt(w, "r1", "hi");
	world_run(w, 62500);
	assert_log(w, "prompted 1 running\ndelta 0 a\ndelta 1 b\n");
	world_run(w, 2000);
	assert_log(w, "end failed  1 4 timeout: no further piece of the answer for 2.0 s (idle_timeout_ms)\n");
}

/* Reasons of a finish that are no success. */
static void test_finishes(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	world_script(w, "text:half|call:a:ls:{|finish:length");
	world_prompt(w, "r1", "hi");
	world_wait(w, "end ", 1);
	assert_log(w,
		"prompted 1 running\ndelta 0 half\n"
		"end limit length 1 13 length: the model stopped at its limit of tokens: say \"go on\", or raise max_tokens "
		"(10+2)\n");
	assert_stored(w, "user: hi\nassistant: half\nturn 1 limit\n");
	world_script(w, "text:x|finish:content_filter");
	world_prompt(w, "r2", "hi");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "end failed content_filter 1 13 content_filter: ");
	world_script(w, "finish:tool_calls");
	world_script(w, "finish:tool_calls");
	world_script(w, "finish:tool_calls");
	world_prompt(w, "r3", "hi");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "end failed tool_calls 1 13 malformed: the answer ended for tool calls, but has none");
	world_script(w, "text:x|finish:cancelled");
	world_prompt(w, "r4", "hi");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "end failed cancelled 1 16 cancelled: the provider ended the request");
	world_script(w, "text:x|finish:some_new_reason");
	world_prompt(w, "r5", "hi");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "end complete some_new_reason 1");
	/* Some servers say stop where they mean tool_calls: what is called runs all the same. */
	world_script(w, "call:a:ls:{}|finish:stop");
	world_script(w, "text:seen|finish:stop");
	world_prompt(w, "r6", "hi");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "delta 0 seen\nend complete stop 2");
	world_script(w, "finish:stop");
	world_prompt(w, "r7", "hi");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "end complete stop 1"); /* an empty answer is one, too */
	usable(w, "u");
}

int main(void)
{
	const struct CMUnitTest tests[] = {SEEDED(test_classes), SEEDED(test_failures), SEEDED(test_retry),
		SEEDED(test_gap), SEEDED(test_silence), SEEDED(test_provider_dies), SEEDED(test_peer_gone),
		SEEDED(test_store_fails), SEEDED(test_store_fails_results), SEEDED(test_finishes),
		SEEDED(test_silence_after_the_first_piece)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
