/* A prompt becomes one turn: stored before it is acknowledged, streamed, its tools run, its end stored before it is
 * told. */
#include "world_fixture.h"

static void test_plain(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	world_script(w, "think:hm|text:Hello|text:, world|finish:stop");
	world_prompt(w, "r1", "hi");
	world_wait(w, "end ", 1);
	assert_log(w, "prompted 1 running\nthinks hm\ndelta 0 Hello\ndelta 5 , world\nend complete stop 1 (10+2)\n");
	assert_stored(w, "user: hi\nassistant: Hello, world\nturn 1 complete\n");
	assert_string_equal(w->last_request.data, "system: be brief\nuser: hi\n");
	assert_string_equal(w->last_tools.data, "read_tool write_file edit ls shell .");

	/* The next one carries the history, without reasoning. */
	world_prompt(w, "r2", "more");
	world_wait(w, "end ", 1);
	assert_string_equal(w->last_request.data, "system: be brief\nuser: hi\nassistant: Hello, world\nuser: more\n");
	assert_log(w, "prompted 2 running\ndelta 0 ok\nend complete stop 1 (10+2)\n");
}

/* Tool calls run in the workspace; results are stored in their order in one append; ids that are missing or double are
 * made. */
static void test_tools(void **state)
{
	struct place *p = *state;
	struct world *w = p->w;
	world_start(w);
	world_script(w,
		"text:Let me see.|call:a:write_file:{\"path\":\"x\",\"content\":\"12\"}|call::read_tool:{\"path\":\"x\"}|"
		"call:a:ls:{}|finish:tool_calls");
	world_script(w, "text: Done.|finish:stop");
	world_prompt(w, "r1", "go");
	world_wait(w, "end ", 1);
	/* The two that read start only when the write has ended, and then side by side: which ends first is chance. */
	const char *log = world_log(w);
	const char *begins = "prompted 1 running\ndelta 0 Let me see.\n"
						 "tool write_file started\ntool write_file finished {\"path\":\"x\",\"bytes\":2}\n"
						 "tool read_tool started\ntool ls started\n";
	assert_memory_equal(log, begins, strlen(begins));
	assert_seen(log, "tool read_tool finished <path>x</path>\n<type>file</type>\n<content>\n00001| 12\n</content>\n\n");
	assert_seen(log, "tool ls finished x (2 bytes)\n\n");
	assert_seen(log, "delta 11  Done.\nend complete stop 2 (20+4)\n");
	assert_stored(w,
		"user: go\n"
		"assistant: Let me see. a=write_file({\"path\":\"x\",\"content\":\"12\"}) "
		"qmt-1-1-1=read_tool({\"path\":\"x\"}) qmt-1-1-2=ls({})\n"
		"tool: {\"path\":\"x\",\"bytes\":2} for a\n"
		"tool: <path>x</path>\n<type>file</type>\n<content>\n00001| 12\n</content>\n for qmt-1-1-1\n"
		"tool: x (2 bytes)\n for qmt-1-1-2\n"
		"assistant:  Done.\nturn 1 complete\n");
	assert_int_equal(w->appends, 2);
	assert_string_equal(w->last_request.data,
		"system: be brief\nuser: go\n"
		"assistant: Let me see. a=write_file() qmt-1-1-1=read_tool() qmt-1-1-2=ls()\n"
		"tool: {\"path\":\"x\",\"bytes\":2} for a\n"
		"tool: <path>x</path>\n<type>file</type>\n<content>\n00001| 12\n</content>\n for qmt-1-1-1\n"
		"tool: x (2 bytes)\n for qmt-1-1-2\n");
	assert_string_equal(fixture_get(p->f->root, "x"), "12");
}

/* Whatever a model calls wrongly is an error result for it, and the turn goes on. A finish reason "stop" does not hide
 * calls. */
static void test_bad_calls(void **state)
{
	struct place *p = *state;
	struct world *w = p->w;
	char want[2048];
	static const char *const tools[] = {"ls", "read_tool", NULL};
	w->agent.tools = tools;
	world_start(w);
	world_script(w,
		"call:a:rm:{}|call:b:shell:{\"command\":\"id\"}|call:c:ls:{\"path\":|call:d:read_tool:{\"path\":\"../x\"}|"
		"finish:stop");
	world_prompt(w, "r1", "go");
	world_wait(w, "end ", 1);
	snprintf(want, sizeof(want),
		"user: go\n"
		"assistant:  a=rm({}) b=shell({\"command\":\"id\"}) c=ls({\"path\":) d=read_tool({\"path\":\"../x\"})\n"
		"tool: error: tool \"rm\" does not exist; offered: read_tool, ls for a error\n"
		"tool: error: tool \"shell\" is not allowed in this session; offered: read_tool, ls for b error\n"
		"tool: error: ls: the arguments are not valid JSON: line 1 column 8: unexpected token near end of file for c "
		"error\n"
		"tool: error: ../x: leads outside the workspace %s (absolute links count as outside) for d error\n"
		"assistant: ok\nturn 1 complete\n",
		p->f->root);
	assert_stored(w, want);
}

/* A peer's session without allow_remote_tools offers none, and a call all the same is answered with the key to set. */
static void test_remote_owner(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->record.owner = qmt_str("12D3other");
	w->agent.allow_remote_tools = true; /* but this session was made without */
	world_start(w);
	world_script(w, "call:a:ls:{}|finish:tool_calls");
	world_prompt(w, "r1", "go");
	world_wait(w, "end ", 1);
	assert_string_equal(w->last_tools.data, ".");
	assert_seen(world_stored(w), "[mesh] allow_remote_tools for a error");
}

static void test_remote_owner_allowed(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->record.owner = qmt_str("12D3other");
	w->record.remote_tools = true;
	w->agent.allow_remote_tools = true;
	world_start(w);
	world_script(w, "call:a:ls:{}|finish:tool_calls");
	world_prompt(w, "r1", "go");
	world_wait(w, "end ", 1);
	assert_seen(world_stored(w), "tool: (nothing here)\n for a\n");
}

/* The same request again: the same turn, whenever it comes; another one meanwhile is refused. */
static void test_duplicates(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	w->delay_message = "store.turn_begin";
	w->delay_ms = 50;
	world_script(w, "text:a|wait:1000|text:b|finish:stop");
	world_prompt(w, "r1", "hi");
	world_prompt(w, "r1", "hi"); /* while it is being stored */
	world_run(w, 20);
	world_prompt(w, "r2", "other");
	world_run(w, 500);
	assert_log(w,
		"refused 13 busy: a turn of session 0192 is under way: wait for its end, or cancel it\n"
		"prompted 1 running\nprompted 1 running dup\ndelta 0 a\n");
	world_prompt_again(w, "r1", "hi", 1); /* while it streams */
	world_prompt(w, "r2", "other");
	world_wait(w, "end ", 1);
	assert_log(w,
		"prompted 1 running dup\nrefused 13 busy: a turn of session 0192 is under way: wait for its end, or cancel it\n"
		"delta 1 b\nend complete stop 1 (10+2)\n");
	world_prompt(w, "r1", "hi"); /* afterwards */
	world_wait(w, "prompted", 1);
	assert_log(w, "prompted 1 complete dup\n");
	assert_stored(w, "user: hi\nassistant: ab\nturn 1 complete\n");
	assert_int_equal(w->chats, 1);
}

/* A turn that an earlier incarnation left behind is ended first; its own request again learns that. */
static void test_leftover(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	w->turn_count = 1;
	snprintf(w->turns[0].request, sizeof(w->turns[0].request), "old");
	snprintf(w->turns[0].state, sizeof(w->turns[0].state), "running");
	world_prompt(w, "new", "hi");
	world_wait(w, "end ", 1);
	assert_log(w, "prompted 2 running\ndelta 0 ok\nend complete stop 1 (10+2)\n");
	assert_stored(w, "user: hi\nassistant: ok\nturn 1 interrupted\nturn 2 complete\n");
	snprintf(w->turns[1].state, sizeof(w->turns[1].state), "running");
	snprintf(w->turns[1].request, sizeof(w->turns[1].request), "cut");
	world_prompt(w, "cut", "hi");
	world_wait(w, "prompted", 1);
	assert_log(w, "prompted 2 interrupted dup\n");
}

/* The text of an answer that is under way is stored every two seconds, not more often, and cleared with the answer. */
static void test_checkpoints(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	world_script(w, "text:a|wait:500|text:b|wait:2000|text:c|wait:100|text:d|wait:2500|finish:stop");
	world_prompt(w, "r1", "hi");
	world_run(w, 1900);
	assert_int_equal(w->checkpoints, 0);
	world_run(w, 300);
	assert_int_equal(w->checkpoints, 1);
	assert_string_equal(w->checkpoint.data, "ab");
	world_run(w, 1900); /* 4100: c and d came at 2500 and 2600, due at 4000 */
	assert_int_equal(w->checkpoints, 2);
	assert_string_equal(w->checkpoint.data, "abcd");
	world_wait(w, "end ", 1);
	assert_int_equal(w->checkpoints, 2);
	assert_int_equal(w->checkpoint.len, 0);
	/* A turn that is over in less writes none. */
	world_prompt(w, "r2", "hi");
	world_wait(w, "end ", 2);
	assert_int_equal(w->checkpoints, 2);
}

/* The watcher goes away: the turn goes on and is stored. */
static void test_watcher_gone(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	world_script(w, "text:a|wait:1000|text:b|call:x:ls:{}|finish:tool_calls");
	world_prompt(w, "r1", "hi");
	world_wait(w, "delta", 1);
	world_stop_actor(w, w->client);
	world_run(w, 5000);
	assert_int_equal(w->ends, 1);
	assert_seen(world_stored(w), "assistant: ok\nturn 1 complete\n");
	/* A new one sees the next turn. */
	world_start_client(w);
	world_log(w);
	world_prompt(w, "r2", "hi");
	world_wait(w, "end ", 1);
	assert_log(w, "prompted 2 running\ndelta 0 ok\nend complete stop 1 (10+2)\n");
}

/* Through a peer: the request goes to the provider's name there, the stream comes back to the session. */
static void test_peer(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->route_peer = true;
	world_start(w);
	world_script(w, "text:far|finish:stop");
	world_prompt(w, "r1", "hi");
	world_wait(w, "end ", 1);
	assert_log(w, "prompted 1 running\ndelta 0 far\nend complete stop 1 (10+2)\n");
	assert_string_equal(w->last_peer_name, "provider/llm");
}

/* Pieces may overtake the acceptance; a history of many pages is read whole; a session without system prompt has no
 * such message. */
static void test_odd(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	w->agent.system = NULL;
	world_start(w);
	w->page = 1;
	world_script(w, "early|text:quick|finish:stop");
	world_prompt(w, "r1", "hi");
	world_wait(w, "end ", 1);
	world_prompt(w, "r2", "again");
	world_wait(w, "end ", 2);
	assert_log(w,
		"prompted 1 running\ndelta 0 quick\nend complete stop 1 (10+2)\nprompted 2 running\ndelta 0 ok\nend complete "
		"stop 1 (10+2)\n");
	assert_string_equal(w->last_request.data, "user: hi\nassistant: quick\nuser: again\n");
	world_script(w, "early|call:a:ls:{}|finish:tool_calls");
	world_prompt(w, "r3", "tools");
	world_wait(w, "end complete stop 2", 1);
}

/* Pieces of a request that was given up, or of nobody's, do not get into the answer. */
static void test_foreign_pieces(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	world_script(w, "text:a|wait:1000|text:b|finish:stop");
	world_prompt(w, "r1", "hi");
	world_wait(w, "delta", 1);
	assert_int_equal(
		QMT_TELL(w->out, w->session, provider_chunk, .request = qmt_str("other"), .seq = 2, .text = qmt_str("evil")),
		0);
	assert_int_equal(
		QMT_TELL(w->out, w->session, provider_finish, .request = qmt_str("other"), .seq = 2, .reason = qmt_str("stop")),
		0);
	assert_int_equal(QMT_TELL(w->out, w->session, provider_finish, .seq = 2, .reason = qmt_str("stop")), 0);
	world_wait(w, "end ", 1);
	assert_log(w, "prompted 1 running\ndelta 0 a\ndelta 1 b\nend complete stop 1 (10+2)\n");
	assert_int_equal(QMT_TELL(w->out, w->session, provider_chunk, .seq = 1, .text = qmt_str("late")), 0);
	world_run(w, 100);
	assert_stored(w, "user: hi\nassistant: ab\nturn 1 complete\n");
}

/* Who prompts again with the same id while the turn runs is told again what it has not seen of the text: of stored
 * answers and of the one that streams. */
static void test_told_again(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	world_start(w);
	world_script(w, "text:one |call:a:ls:{}|finish:tool_calls");
	world_script(w, "text:two |text:three|wait:5000|text: four|finish:stop");
	world_prompt(w, "r1", "hi");
	world_wait(w, "three", 1);
	(void)world_log(w);
	world_prompt_again(w, "r1", "hi", 0);
	world_run(w, 10);
	assert_log(w, "delta 0 one \ndelta 4 two three\nprompted 1 running dup\n");
	world_prompt_again(w, "r1", "hi", 6);
	world_run(w, 10);
	assert_log(w, "delta 6 o three\nprompted 1 running dup\n");
	world_prompt_again(w, "r1", "hi", 13);
	world_wait(w, "end ", 1);
	assert_log(w, "prompted 1 running dup\ndelta 13  four\nend complete stop 2 (20+4)\n");
}

/* Without a turn for idle_minutes a session ends by itself; a turn puts that off. */
static void test_idle(void **state)
{
	struct world *w = ((struct place *)*state)->w;
	struct qmt_ref ref;
	w->agent.limits.idle_minutes = 10;
	world_start(w);
	world_run(w, 9 * 60000);
	world_script(w, "text:a|wait:100000|text:b|finish:stop");
	world_prompt(w, "r1", "hi");
	world_run(w, 11 * 60000);
	assert_log(w, "prompted 1 running\ndelta 0 a\ndelta 1 b\nend complete stop 1 (10+2)\n");
	assert_int_equal(qmt_lookup(w->out, "session/0192", &ref), 0);
	world_run(w, 60001);
	assert_int_equal(qmt_lookup(w->out, "session/0192", &ref), QMT_FAIL_UNKNOWN_ACTOR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {SEEDED(test_plain), SEEDED(test_tools), SEEDED(test_bad_calls),
		SEEDED(test_remote_owner), SEEDED(test_remote_owner_allowed), SEEDED(test_duplicates), SEEDED(test_leftover),
		SEEDED(test_checkpoints), SEEDED(test_watcher_gone), SEEDED(test_peer), SEEDED(test_odd),
		SEEDED(test_foreign_pieces), SEEDED(test_told_again), SEEDED(test_idle)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
