/* A cancel ends the turn within a second in every phase, upstream and in the tools too; what was there is kept, in
 * order. */
#include "world_fixture.h"

#include <signal.h>
#include <time.h>

/* Cancels; the turn must be over, and the cancel answered, within a second of virtual time. Then the session is
 * usable. */
static void cancelled_in_time(struct world *w, const char *end)
{
	world_cancel(w, 0);
	world_run(w, 1000);
	const char *log = world_log(w);
	assert_seen(log, end);
	assert_seen(log, "cancelled true\n");
	w->delay_message = NULL;
	w->script_next = w->script_count;
	char request[20];
	snprintf(request, sizeof(request), "u%u", w->turn_count);
	world_prompt(w, request, "again");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "delta 0 ok\nend complete");
}

static void test_idle(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	world_cancel(w, 0);
	world_wait(w, "cancelled", 1);
	assert_log(w, "cancelled false\n");
	/* Of another turn than the one that runs. */
	world_script(w, "text:a|wait:500|finish:stop");
	world_prompt(w, "r1", "hi");
	world_wait(w, "delta", 1);
	world_cancel(w, 7);
	world_wait(w, "end ", 1);
	assert_log(w, "prompted 1 running\ndelta 0 a\ncancelled false\nend complete stop 1 (10+2)\n");
}

/* Each phase in which the session waits for a neighbour, held there for half a second. */
static void test_waiting_for_neighbours(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	static const char *const phases[] = {
		"store.turn_begin", "store.history", "router.resolve", "store.append", "store.turn_end"};
	world_start(w);
	for (size_t i = 0; i < sizeof(phases) / sizeof(*phases); i++) {
		char request[20];
		snprintf(request, sizeof(request), "r%zu", i);
		w->delay_message = phases[i];
		w->delay_ms = 500;
		world_script(w, "call:a:ls:{}|finish:tool_calls");
		world_prompt(w, request, "hi");
		world_run(w, 100);
		if (i == 4) /* it is ending by itself: the cancel only waits */
			w->script_next = w->script_count;
		cancelled_in_time(w, i == 4 ? "end complete" : "end cancelled");
	}
	/* A prompt that is being stored is acknowledged, then cancelled; a call that was stored gets its result. */
	assert_seen(
		world_stored(w), "assistant:  a=ls({})\ntool: error: cancelled before it ran for a error\nuser: again\n");
}

/* Results that are being stored are neither lost nor doubled. */
static void test_storing_results(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	w->delay_message = "store.append";
	w->delay_ms = 500;
	world_script(w, "text:x|call:a:ls:{}|finish:tool_calls");
	world_prompt(w, "r1", "hi");
	world_run(w, 700);
	cancelled_in_time(w, "end cancelled tool_calls 1 (10+2)\n");
	assert_stored(w,
		"user: hi\nassistant: x a=ls({})\ntool: (nothing here)\n for a\nuser: again\nassistant: ok\nturn 1 cancelled\n"
		"turn 2 complete\n");
}

/* While the model is asked, streams, or is waited for: upstream is told, the text so far is kept, late pieces are
 * dropped. */
static void test_streaming(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	world_script(w, "early|wait:5000|text:late|finish:stop"); /* not accepted yet */
	world_prompt(w, "r1", "hi");
	world_run(w, 100);
	cancelled_in_time(w, "end cancelled  1\n");
	assert_int_equal(w->cancels, 1);

	world_script(w, "think:hm|text:par|text:tial|wait:5000|text:late|finish:stop");
	world_prompt(w, "r2", "hi");
	world_run(w, 100);
	cancelled_in_time(w, "end cancelled  1\n");
	assert_int_equal(w->cancels, 2);
	assert_seen(world_stored(w), "user: hi\nassistant: partial\nuser: again\n");
	assert_null(strstr(world_stored(w), "late"));

	world_script(w, "refuse:13:overloaded:30000:later");
	world_prompt(w, "r3", "hi");
	world_run(w, 100);
	cancelled_in_time(w, "end cancelled  1\n");
	assert_int_equal(w->cancels, 2);
}

/* At a peer. */
static void test_peer(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->route_peer = true;
	world_start(w);
	world_script(w, "text:a|wait:5000|text:late|finish:stop");
	world_prompt(w, "r1", "hi");
	world_run(w, 100);
	cancelled_in_time(w, "end cancelled  1\n");
	assert_int_equal(w->cancels, 1);
}

/* Two who cancel are both answered, and a cancel names the turn. */
static void test_twice(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	world_script(w, "text:a|wait:5000|finish:stop");
	world_prompt(w, "r1", "hi");
	world_wait(w, "delta", 1);
	w->delay_message = "store.turn_end";
	w->delay_ms = 100;
	world_cancel(w, 1);
	world_cancel(w, 0);
	world_wait(w, "cancelled true", 2);
	assert_log(w, "prompted 1 running\ndelta 0 a\nend cancelled  1\ncancelled true\ncancelled true\n");
}

/* A cancel that a full link refused is sent again until the link takes it. */
static void test_busy_link(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->route_peer = true;
	w->busy = 3;
	world_start(w);
	world_script(w, "text:a|wait:900000|text:late|finish:stop");
	world_prompt(w, "r1", "hi");
	world_run(w, 100);
	world_cancel(w, 0);
	world_wait(w, "end cancelled", 1);
	assert_int_equal(w->cancels, 0);
	world_run(w, 4 * w->agent.limits.cancel_retry_ms);
	assert_int_equal(w->busy, 0);
	assert_int_equal(w->cancels, 1);
}

/* A link that is gone has taken the request with it: nothing is tried any more. */
static void test_busy_link_ends(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->route_peer = true;
	w->busy = 1000000;
	world_start(w);
	world_script(w, "text:a|wait:900000|finish:stop");
	world_prompt(w, "r1", "hi");
	world_run(w, 100);
	world_cancel(w, 0);
	world_run(w, 10000);
	uint32_t tried = 1000000 - w->busy;
	assert_in_range(tried, 2, 10000 / w->agent.limits.cancel_retry_ms + 1);
	world_stop_actor(w, w->link);
	world_run(w, 10000);
	assert_in_range(1000000 - w->busy, tried, tried + 1);
}

/* A stream that goes on after its cancel is cancelled again, by the next piece of it; once in a while, not by each. */
static void test_deaf_provider(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->deaf = 2;
	world_start(w);
	world_script(w, "text:a|wait:100|text:b|wait:100|text:c|wait:500|text:d|text:e|wait:1000|text:f|wait:1000|text:g");
	world_prompt(w, "r1", "hi");
	world_run(w, 50);
	world_cancel(w, 0);
	world_wait(w, "end cancelled", 1);
	world_run(w, 400);
	assert_int_equal(w->deaf, 1);
	world_run(w, 600);
	assert_int_equal(w->deaf, 0);
	assert_int_equal(w->cancels, 0);
	world_run(w, 1000);
	assert_int_equal(w->cancels, 1);
	assert_null(strstr(world_stored(w), "b"));
}

/* A request is cancelled by its id, also while its prompt is being stored; another one is not touched. */
static void test_by_request(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	w->delay_message = "store.turn_begin";
	w->delay_ms = 500;
	world_prompt(w, "r1", "hi");
	world_run(w, 100);
	world_cancel_request(w, "r2");
	world_run(w, 10);
	assert_log(w, "cancelled false\n");
	world_cancel_request(w, "r1");
	world_run(w, 1000);
	assert_log(w, "prompted 1 running\nend cancelled  0\ncancelled true\n");
	assert_stored(w, "user: hi\nturn 1 cancelled\n");
}

/* The node stops: the turn ends as interrupted, with the text that was told; no other one begins. */
static void test_interrupt(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	world_script(w, "text:par|text:tial|wait:900000|finish:stop");
	world_prompt(w, "r1", "hi");
	world_run(w, 100);
	assert_log(w, "prompted 1 running\ndelta 0 par\ndelta 3 tial\n");
	world_interrupt(w);
	world_run(w, 1000);
	assert_log(w, "end interrupted  1 12 stopping: the node that hosts the session was stopped\ncancelled true\n");
	assert_int_equal(w->ends, 1);
	assert_stored(w, "user: hi\nassistant: partial\nturn 1 interrupted\n");
	assert_int_equal(w->cancels, 1);
	world_prompt(w, "r2", "again");
	world_interrupt(w);
	world_run(w, 1000);
	assert_log(w, "refused 12 : the node is being stopped\ncancelled false\n");
}

/* ---- with real children ------------------------------------------------------------------------------------------ */

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* A command that runs is killed with all it started; what it had printed and what did not run are results all the
 * same. */
static void test_shell(void **state)
{
	struct place *p = *state;
	struct world *w = p->w;
	world_start(w);
	world_script(w,
		"call:a:shell:{\"command\":\"echo begun; echo $$ > pid; (sleep 61 & echo $! > child; wait)\"}|"
		"call:b:write_file:"
		"{\"path\":\"never\",\"content\":\"\"}|finish:tool_calls");
	world_prompt(w, "r1", "hi");
	world_wait(w, "tool shell started", 1);
	uint64_t until = now_ms() + 20000;
	while ((!fixture_get(p->f->root, "child") || !*fixture_get(p->f->root, "child")) && now_ms() < until)
		usleep(1000); /* polls: only the file system tells */
	pid_t child = (pid_t)strtol(fixture_get(p->f->root, "child"), NULL, 10);
	assert_true(child > 1);
	assert_int_equal(kill(child, 0), 0);
	uint64_t begin = now_ms();
	world_cancel(w, 0);
	world_wait(w, "cancelled true", 1);
	uint64_t took = now_ms() - begin;
	if (took >= 1000)
		print_error("cancel took %u ms\n", (unsigned)took);
	assert_true(took < 1000);
	until = now_ms() + 5000;
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)child);
	while (kill(child, 0) == 0 && now_ms() < until) { /* gone, or a zombie that init has not reaped yet */
		const char *stat = fixture_get("/proc", path + 6);
		if (!stat || strstr(stat, ") Z"))
			break;
		usleep(1000); /* polls: only the file system tells */
	}
	assert_true(now_ms() < until);
	const char *stored = world_stored(w);
	assert_seen(stored,
		"tool: {\"exit_code\":-1,\"signal\":9,\"stdout\":\"begun\\n"
		"\",\"stderr\":\"\",\"truncated\":false,\"timed_out\":false} for a\n");
	assert_seen(stored, "tool: error: cancelled before it ran for b error\nturn 1 cancelled\n");
	assert_true(access(fixture_path(p->f->root, "never"), F_OK) != 0);
	world_prompt(w, "r2", "again");
	world_wait(w, "delta 0 ok", 1);
}

/* Who watched is given the time to take the end: until it leaves, at most farewell_ms. */
static void test_farewell(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->agent.limits.farewell_ms = 5000;
	world_start(w);
	world_script(w, "text:a|wait:900000|finish:stop");
	world_prompt(w, "r1", "hi");
	world_run(w, 100);
	(void)world_log(w);
	world_interrupt(w);
	world_run(w, 4000);
	assert_log(w, "end interrupted  1 12 stopping: the node that hosts the session was stopped\n");
	world_run(w, 2000);
	assert_log(w, "cancelled true\n");
}

/* The node stops while a command runs: it is killed, its result stored. */
static void test_interrupted_shell(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	world_script(w, "text:x|call:a:shell:{\"command\":\"sleep 61\"}|finish:tool_calls");
	world_prompt(w, "r1", "hi");
	world_wait(w, "tool shell started", 1);
	world_interrupt(w);
	world_wait(w, "cancelled true", 1);
	assert_seen(world_log(w), "end interrupted tool_calls 1 12 stopping: ");
	assert_seen(world_stored(w), " for a");
	assert_seen(world_stored(w), "turn 1 interrupted\n");
}

/* A job that does not end in time is left behind; what it finds later is not taken for a result of the next turn. */
static void test_abandoned_job(void **state)
{
	struct place *p = *state;
	struct world *w = p->w;
	w->agent.limits.max_file_bytes = 1 << 28;
	w->agent.limits.cancel_grace_ms = 1;
	world_start(w);
	char text[8193];
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	fixture_put(p->f->root, "large", text);
	assert_int_equal(
		truncate(fixture_path(p->f->root, "large"), 1 << 28), 0); /* a hole: slow to read, no room on disk */
	world_script(w, "call:a:read_tool:{\"path\":\"large\"}|finish:tool_calls");
	world_prompt(w, "r1", "hi");
	world_wait(w, "tool read_tool started", 1);
	world_cancel(w, 0);
	world_wait(w, "cancelled true", 1);
	world_log(w);
	world_script(w, "call:a:shell:{\"command\":\"sleep 2; echo mine\"}|finish:tool_calls");
	world_prompt(w, "r2", "again");
	world_wait(w, "end complete", 1);
	const char *log = world_log(w);
	assert_seen(log, "tool shell finished {\"exit_code\":0,\"stdout\":\"mine\\n\"");
	assert_null(strstr(log, "xxxx"));
}

/* The session is stopped while a command runs: it is killed, nothing leaks (a sanitizer tells). */
static void test_stop_in_shell(void **state)
{
	struct place *p = *state;
	struct world *w = p->w;
	world_start(w);
	world_script(w, "call:a:shell:{\"command\":\"echo $$ > pid; sleep 61\"}|finish:tool_calls");
	world_prompt(w, "r1", "hi");
	uint64_t until = now_ms() + 20000;
	while ((!fixture_get(p->f->root, "pid") || !*fixture_get(p->f->root, "pid")) && now_ms() < until)
		usleep(1000); /* polls: only the file system tells */
	assert_true(strtol(fixture_get(p->f->root, "pid"), NULL, 10) > 1);
	world_stop_actor(w, w->session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {SEEDED(test_idle), SEEDED(test_waiting_for_neighbours),
		SEEDED(test_storing_results), SEEDED(test_streaming), SEEDED(test_peer), SEEDED(test_twice),
		SEEDED(test_busy_link), SEEDED(test_busy_link_ends), SEEDED(test_deaf_provider), SEEDED(test_by_request),
		SEEDED(test_interrupt), SEEDED(test_farewell), REAL(test_interrupted_shell), REAL(test_shell),
		REAL(test_abandoned_job), REAL(test_stop_in_shell)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
