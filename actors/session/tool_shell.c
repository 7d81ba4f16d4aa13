/* actors/session/tool_shell.c - shell: runs a command in the workspace, as the user that qmtd runs as.
 *
 * A command starts in the workspace; nothing keeps it there (that is what the allow-list of tools is for). What it
 * gets of this process's environment is a short list, because the rest may hold keys of providers.
 * The job part (run) opens the folder and prepares the arguments; the child is started and watched by the actor; its
 * end comes back to `ended`.
 */
#include <errno.h>
#include <inttypes.h>

#include "actors/session/tool_text.h"
#include "actors/session/tools.h"

static const struct tool_param params[] = {
	{"command", TOOL_TEXT, true, 0, 0, 0, "Without args: a line for sh -c. With args: the program."},
	{"args", TOOL_TEXTS, false, 0, 0, 0, "Arguments of the program; it is then started without a shell."},
	{"workdir", TOOL_TEXT, false, 0, 0, 0,
		"Folder to start in, relative to the workspace; default: the workspace itself."},
	{"timeout_ms", TOOL_NUMBER, false, 0, 1, 86400000, "The command is killed after so many milliseconds."}, {0}};

static char **make_argv(struct qmt_str command, const struct json *args)
{
	size_t count = json_count(args);
	char **argv = calloc(count + 4, sizeof(*argv));
	if (!argv)
		return NULL;
	size_t n = 0;
	bool whole = true;
	if (count == 0) {
		whole = (argv[n++] = strdup("sh")) && (argv[n++] = strdup("-c")) && (argv[n++] = qmt_str_dup(command));
	} else {
		whole = (argv[n++] = qmt_str_dup(command)) != NULL;
		for (size_t i = 0; whole && i < count; i++)
			whole = (argv[n++] = qmt_str_dup(json_str(json_at(args, i)))) != NULL;
	}
	if (whole)
		return argv;
	for (size_t i = 0; i < n; i++)
		free(argv[i]);
	free(argv);
	return NULL;
}

static void run(struct tool_call *call)
{
	struct qmt_str command = tool_text(call, "command");
	uint64_t timeout_ms = (uint64_t)tool_number(call, "timeout_ms");
	if (timeout_ms == 0)
		timeout_ms = call->limits.shell_timeout_ms;
	if (command.len == 0) {
		tool_fail(call, "shell: \"command\" is empty");
		return;
	}
	if (timeout_ms > call->limits.shell_timeout_max_ms) {
		tool_fail(call, "shell: \"timeout_ms\" %" PRIu64 " is over shell_timeout_max_ms (%" PRIu64 ")", timeout_ms,
			call->limits.shell_timeout_max_ms);
		return;
	}
	struct qmt_err err;
	struct workspace ws;
	struct tool_command *prepared = calloc(1, sizeof(*prepared));
	if (!prepared) {
		tool_fail(call, "shell: out of memory");
		return;
	}
	prepared->cwd_fd = -1;
	prepared->timeout_ms = timeout_ms;
	prepared->argv = make_argv(command, tool_texts(call, "args"));
	int code = prepared->argv ? 0 : qmt_err_set(&err, -ENOMEM, "out of memory");
	if (!code) {
		code = workspace_open(&ws, call->root, call->tag, &err);
		if (!code)
			code = workspace_open_dir(&ws, tool_text(call, "workdir"), &prepared->cwd_fd, &err);
		workspace_close(&ws);
	}
	if (code) {
		tool_fail(call, "shell: %s", err.text);
		tool_command_free(prepared);
		return;
	}
	call->command = prepared;
}

/* Appends "name":"text" with what the stream's share allows. */
static bool add_stream(
	struct qmt_buf *out, const char *name, struct qmt_str raw, uint64_t total, size_t lines, size_t bytes)
{
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf clean = {0}, cut = {0};
	tool_text_clean(&clean, raw);
	bool truncated = tool_text_cut(&cut, qmt_buf_view(&clean), lines, bytes, total > raw.len ? total - raw.len : 0);
	qmt_buf_printf(out, ",\"%s\":", name);
	json_quote(out, qmt_buf_view(&cut));
	return truncated;
}

static void ended(struct tool_call *call, const struct qmt_child_result *result)
{
	/* stderr gets at most half, stdout what is left of the whole. */
	size_t bytes = call->limits.max_tool_output_bytes, lines = call->limits.max_tool_output_lines;
	size_t err_bytes = result->err.len < bytes / 2 ? result->err.len : bytes / 2;
	qmt_buf_printf(&call->out, "{\"exit_code\":%d", result->exit_code);
	if (result->signal)
		qmt_buf_printf(&call->out, ",\"signal\":%d", result->signal);
	bool cut = add_stream(&call->out, "stdout", result->out, result->out_total_bytes, lines, bytes - err_bytes);
	cut |= add_stream(&call->out, "stderr", result->err, result->err_total_bytes, lines, bytes / 2);
	qmt_buf_printf(&call->out, ",\"truncated\":%s,\"timed_out\":%s}", cut ? "true" : "false",
		result->timed_out ? "true" : "false");
}

const struct tool tool_shell = {.name = "shell",
	.description =
		"Runs a command in the workspace and answers, when it has ended, with JSON: exit_code, stdout, stderr, "
		"truncated, timed_out. "
		"It has no input and no terminal.",
	.params = params,
	.run = run,
	.ended = ended};
