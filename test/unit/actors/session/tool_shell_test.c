/* shell: what is started and what the model is told. (Starting and killing is tested with the whole session.) */
#include "tool_fixture.h"

#include "runtime/actor.h"

static struct tool_call *prepare(const struct fixture *f, const char *arguments)
{
	struct session_limits limits = tool_limits();
	struct tool_call *c = NULL;
	struct qmt_err err = {0};
	int code = tool_call_new(tool_find(qmt_str("shell")), qmt_str(arguments), f->root, &limits, "tag", &c, &err);
	if (code)
		print_error("%s\n", err.text);
	assert_int_equal(code, 0);
	c->tool->run(c);
	return c;
}

static void test_prepare(void **state)
{
	struct fixture *f = *state;
	struct stat want, got;
	struct tool_call *c = prepare(f, "{\"command\":\"echo $HOME | cat\"}");
	assert_false(c->is_error);
	assert_string_equal(c->command->argv[0], "sh");
	assert_string_equal(c->command->argv[1], "-c");
	assert_string_equal(c->command->argv[2], "echo $HOME | cat");
	assert_null(c->command->argv[3]);
	assert_int_equal(c->command->timeout_ms, 120000);
	assert_int_equal(stat(f->root, &want), 0);
	assert_int_equal(fstat(c->command->cwd_fd, &got), 0);
	assert_true(want.st_ino == got.st_ino);
	tool_call_free(c);

	mkdir(fixture_path(f->root, "sub"), 0755);
	c = prepare(f, "{\"command\":\"printf\",\"args\":[\"%s\",\"$HOME; x\"],\"workdir\":\"sub\",\"timeout_ms\":5}");
	assert_string_equal(c->command->argv[0], "printf");
	assert_string_equal(c->command->argv[2], "$HOME; x");
	assert_null(c->command->argv[3]);
	assert_int_equal(c->command->timeout_ms, 5);
	tool_call_free(c);
	assert_has(call(f, "shell", "{\"command\":\"true\",\"workdir\":\"../outside\"}"), true, "leads outside");
	assert_has(call(f, "shell", "{\"command\":\"true\",\"workdir\":\"nowhere\"}"), true, "no such file");
	assert_has(call(f, "shell", "{\"command\":\"\"}"), true, "is empty");
	assert_has(
		call(f, "shell", "{\"command\":\"true\",\"timeout_ms\":7200000}"), true, "shell_timeout_max_ms (3600000)");
}

static void told(const struct fixture *f, const struct qmt_child_result *result, const char *want)
{
	struct tool_call *c = prepare(f, "{\"command\":\"x\"}");
	c->limits.max_tool_output_bytes = 20;
	c->tool->ended(c, result);
	assert_string_equal(c->out.data, want);
	tool_call_free(c);
}

static void test_told(void **state)
{
	struct fixture *f = *state;
	struct qmt_child_result r = {
		.exit_code = 3, .out = qmt_str("out\n"), .out_total_bytes = 4, .err = qmt_str("\xff"), .err_total_bytes = 1};
	told(f, &r,
		"{\"exit_code\":3,\"stdout\":\"out\\n\",\"stderr\":\"\xef\xbf\xbd\",\"truncated\":false,\"timed_out\":false}");
	r = (struct qmt_child_result){.exit_code = -1,
		.signal = 9,
		.timed_out = true,
		.out = qmt_str("0123456789012345678901234"),
		.out_total_bytes = 25};
	told(f, &r,
		"{\"exit_code\":-1,\"signal\":9,\"stdout\":\"0123456789\\n[... 5 bytes cut here ...]\\n"
		"5678901234\",\"stderr\":\"\","
		"\"truncated\":true,\"timed_out\":true}");
	r = (struct qmt_child_result){.out = qmt_str("0123"), .out_total_bytes = 1004, .out_truncated = true};
	told(f, &r,
		"{\"exit_code\":0,\"stdout\":\"0123\\n[... 1000 bytes cut here ...]\\n"
		"\",\"stderr\":\"\",\"truncated\":true,\"timed_out\":false}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_prepare), TEST(test_told)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
