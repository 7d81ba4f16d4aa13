/* Every limit of session_params.def that bounds a turn is kept, says its name, and leaves a usable session. */
#include "world_fixture.h"

#include <time.h>

static void usable(struct world *w)
{
	world_log(w);
	world_prompt(w, "usable", "again");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "delta 0 ok\nend complete");
}

static void test_prompt(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->agent.limits.max_prompt_bytes = 5;
	world_start(w);
	world_prompt(w, "r1", "123456");
	world_prompt(w, "r2", "");
	world_prompt(w, "", "123");
	world_wait(w, "refused", 3);
	assert_log(w,
		"refused 15 : a prompt of 6 bytes is over max_prompt_bytes (5)\nrefused 10 : text: a prompt is not empty\n"
		"refused 10 : request: a prompt needs an id, so that a retry does not prompt twice\n");
	usable(w);
}

static void test_steps(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->agent.limits.max_steps = 3;
	world_start(w);
	for (int i = 0; i < 4; i++)
		world_script(w, "call:a:ls:{}|finish:tool_calls");
	world_prompt(w, "r1", "hi");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w),
		"end limit tool_calls 3 13 max_steps: the turn has made 3 model calls (max_steps): say \"go on\", or raise the "
		"limit (30+6)\n");
	assert_int_equal(w->chats, 3);
	/* The last calls have their results. */
	assert_seen(world_stored(w), "tool: (nothing here)\n for a\nturn 1 limit\n");
	w->script_next = w->script_count;
	usable(w);
}

static void test_answer(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->agent.limits.max_answer_bytes = 10;
	world_start(w);
	world_script(w, "text:12345|think:12345|text:6|text:7|wait:9999");
	world_prompt(w, "r1", "hi");
	world_wait(w, "end ", 1);
	assert_log(w,
		"prompted 1 running\ndelta 0 12345\nthinks 12345\ndelta 5 6\nend limit  1 15 max_answer_bytes: the answer is "
		"over max_answer_bytes (10)\n");
	assert_int_equal(w->cancels, 1);
	assert_stored(w, "user: hi\nassistant: 123456\nturn 1 limit\n");
	world_script(w, "piece:11|wait:9999");
	world_prompt(w, "r2", "hi");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "max_answer_bytes");
	world_script(w, "call:a:ls:{\"path\":\"0123456789\"}|finish:tool_calls");
	world_prompt(w, "r3", "hi");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w), "the tool calls are over max_answer_bytes (10)");
	usable(w);
}

static void test_calls(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->agent.limits.max_tool_calls = 2;
	world_start(w);
	world_script(w, "text:x|call:a:ls:{}|call:b:ls:{}|call:c:ls:{}|finish:tool_calls");
	world_prompt(w, "r1", "hi");
	world_wait(w, "end ", 1);
	assert_seen(world_log(w),
		"end limit tool_calls 1 15 max_tool_calls: 3 tool calls in one answer are over max_tool_calls (2)");
	assert_stored(w, "user: hi\nassistant: x\nturn 1 limit\n");
	usable(w);
}

static void test_history(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->agent.limits.max_history_bytes = 1024;
	world_start(w);
	char text[1100];
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	world_prompt(w, "r1", text);
	world_wait(w, "end ", 1);
	assert_log(w,
		"prompted 1 running\nend failed  0 15 context_window_exceeded: the conversation is over max_history_bytes "
		"(1024): "
		"begin a new session, or raise the limit\n");
	assert_int_equal(w->chats, 0);
}

/* A configuration that cannot be is refused in words. */
static void test_config(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	struct qmt_err err;
	static const char *const tools[] = {"ls", "rm", NULL};
	struct session_agent agent = w->agent;
	agent.tools = tools;
	assert_null(session_config_new(&w->record, &agent, &err));
	assert_string_equal(err.text, "tools: \"rm\" does not exist (there are read_tool, write_file, edit, ls, shell)");
	agent = w->agent;
	agent.limits.max_steps = 0;
	assert_null(session_config_new(&w->record, &agent, &err));
	assert_string_equal(err.text, "[session]: max_steps = 0: must be from 1 to 100000");
	w->record.cwd = qmt_str("relative");
	assert_null(session_config_new(&w->record, &w->agent, &err));
	assert_string_equal(err.text, "cwd \"relative\": must be an absolute path");
	w->record.cwd = (struct qmt_str){0};
	world_start(w);
	/* Without a workspace the conversation goes on, and tools say why they do not. */
	world_script(w, "call:a:ls:{}|finish:tool_calls");
	world_prompt(w, "r1", "hi");
	world_wait(w, "end complete", 1);
	assert_seen(world_stored(w), "tool: error: workspace \"\": must be an absolute path for a error\n");
}

/* ---- with real children ------------------------------------------------------------------------------------------ */

/* The result of one shell call with these arguments. */
static const char *shell(struct world *w, const char *script)
{
	static uint32_t n;
	char request[20];
	world_log(w);
	world_script(w, script);
	snprintf(request, sizeof(request), "s%u", n++);
	world_prompt(w, request, "hi");
	world_wait(w, "end ", 1);
	return world_log(w);
}

/* Commands run in the workspace, within their time, their output and their limits, and do not see the keys of this
 * process. */
static void test_shell(void **state)
{
	struct place *p = *state;
	struct world *w = p->w;
	w->agent.limits.shell_open_files = 77;
	w->agent.limits.max_tool_output_bytes = 1000;
	w->agent.limits.shell_capture_bytes = 4000;
	setenv("QMT_TEST_API_KEY", "sk-secret", 1);
	world_start(w);
	mkdir(fixture_path(p->f->root, "sub"), 0755);
	fixture_put(p->f->root, "sub/here", "");
	assert_non_null(strstr(
		shell(w, "call:a:shell:{\"command\":\"ls\",\"args\":[\"-1\"],\"workdir\":\"sub\"}|finish:tool_calls"),
		"tool shell finished {\"exit_code\":0,\"stdout\":\"here\\n"
		"\",\"stderr\":\"\",\"truncated\":false,\"timed_out\":false}\n"));
	assert_non_null(strstr(
		shell(w, "call:a:shell:{\"command\":\"echo out; echo err >&2; ulimit -n; exit 3\"}|finish:tool_calls"),
		"{\"exit_code\":3,\"stdout\":\"out\\n77\\n\",\"stderr\":\"err\\n"
		"\",\"truncated\":false,\"timed_out\":false}\n"));
	const char *env =
		shell(w, "call:a:shell:{\"command\":\"echo key=$QMT_TEST_API_KEY. path=$PATH; cat\"}|finish:tool_calls");
	assert_seen(env, "key=. path=/");
	assert_non_null(strstr(shell(w, "call:a:shell:{\"command\":\"sleep 60\",\"timeout_ms\":100}|finish:tool_calls"),
		"{\"exit_code\":-1,\"signal\":9,\"stdout\":\"\",\"stderr\":\"\",\"truncated\":false,\"timed_out\":true}\n"));
	const char *flood = shell(w, "call:a:shell:{\"command\":\"seq 1 20000\"}|finish:tool_calls");
	assert_seen(flood, "\\n[... 107894 bytes cut here ...]\\n\",\"stderr\":\"\",\"truncated\":true");
	assert_non_null(strstr(shell(w, "call:a:shell:{\"command\":\"/nonexistent\",\"args\":[\"x\"]}|finish:tool_calls"),
		"tool shell finished error error: shell: "));
	unsetenv("QMT_TEST_API_KEY");
}

/* Commands of one answer run one after the other, each sees what the one before it left. */
static void test_shell_order(void **state)
{
	struct place *p = *state;
	struct world *w = p->w;
	world_start(w);
	shell(w,
		"call:a:shell:{\"command\":\"sleep 0.1; echo 1 >> f\"}|call:b:shell:{\"command\":\"echo 2 >> f\"}|"
		"call:c:edit:{\"filePath\":\"f\","
		"\"oldString\":\"2\",\"newString\":\"3\"}|call:d:read_tool:{\"path\":\"f\"}|finish:tool_calls");
	assert_seen(world_stored(w), "00001| 1\n00002| 3\n</content>\n for d\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {SEEDED(test_prompt), SEEDED(test_steps), SEEDED(test_answer), SEEDED(test_calls),
		SEEDED(test_history), SEEDED(test_config), REAL(test_shell), REAL(test_shell_order)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
