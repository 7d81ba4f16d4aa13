/* actors/session/tool_ls.c - ls: what is in a folder, one level. */
#include <fnmatch.h>
#include <unistd.h>

#include "actors/session/tool_dir.h"
#include "actors/session/tools.h"

static const struct tool_param params[] = {
	{"path", TOOL_TEXT, false, 0, 0, 0, "Folder, relative to the workspace; default: the workspace itself."},
	{"limit", TOOL_NUMBER, false, 100, 1, 10000, "At most so many entries."},
	{"ignore", TOOL_TEXTS, false, 0, 0, 0, "Patterns of names to leave out, for example [\"*.o\", \"node_modules\"]."},
	{0}};

static bool ignored(const char *name, const void *arg)
{
	const struct json *patterns = arg;
	for (size_t i = 0; i < json_count(patterns); i++)
		if (fnmatch(json_str(json_at(patterns, i)).p, name, 0) == 0)
			return true;
	return false;
}

static void run(struct tool_call *call)
{
	struct qmt_err err;
	struct workspace ws;
	struct tool_dir dir = {0};
	int fd = -1;
	int code = workspace_open(&ws, call->root, call->tag, &err);
	if (!code)
		code = workspace_open_dir(&ws, tool_text(call, "path"), &fd, &err);
	if (!code && (code = tool_dir_read(fd, ignored, tool_texts(call, "ignore"), &dir)) != 0)
		qmt_err_set(&err, code, "cannot be read: %s", strerror(-code));
	if (code) {
		tool_fail(call, "%s", err.text);
	} else {
		size_t limit = (size_t)tool_number(call, "limit"), shown = 0;
		while (shown < dir.count && shown < limit && shown < call->limits.max_tool_output_lines &&
			call->out.len < call->limits.max_tool_output_bytes)
			tool_dir_line(&call->out, fd, dir.names[shown++]);
		if (dir.count == 0)
			qmt_buf_str(&call->out, "(nothing here)\n");
		if (shown < dir.count)
			qmt_buf_printf(&call->out, "(%zu more%s; raise limit, or ignore some)\n", dir.count - shown,
				dir.more ? ", at least" : "");
	}
	tool_dir_free(&dir);
	if (fd >= 0)
		close(fd);
	workspace_close(&ws);
}

const struct tool tool_ls = {.name = "ls",
	.description =
		"Lists a folder of the workspace: folders end in a slash, files show their size, links show where they lead.",
	.params = params,
	.reads_only = true,
	.run = run};
