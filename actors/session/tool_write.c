/* actors/session/tool_write.c - write_file: makes or replaces a file, whole. */
#include <inttypes.h>

#include "actors/session/tools.h"

static const struct tool_param params[] = {{"path", TOOL_TEXT, true, 0, 0, 0, "File, relative to the workspace."},
	{"content", TOOL_CONTENT, true, 0, 0, 0, "The whole new content."},
	{"create_dirs", TOOL_FLAG, false, 1, 0, 0, "Make missing folders on the way."}, {0}};

static void run(struct tool_call *call)
{
	struct qmt_err err;
	struct workspace ws;
	struct qmt_str path = tool_text(call, "path"), content = tool_text(call, "content");
	int code = workspace_open(&ws, call->root, call->tag, &err);
	if (!code && content.len > call->limits.max_file_bytes)
		code = qmt_err_set(&err, -1, "content of %" PRIu32 " bytes is over max_file_bytes (%" PRIu64 ")", content.len,
			call->limits.max_file_bytes);
	if (!code)
		code = workspace_write(&ws, path, content, tool_flag(call, "create_dirs"), NULL, &err);
	workspace_close(&ws);
	if (code) {
		tool_fail(call, "%s", err.text);
		return;
	}
	qmt_buf_str(&call->out, "{\"path\":");
	json_quote(&call->out, path);
	qmt_buf_printf(&call->out, ",\"bytes\":%" PRIu32 "}", content.len);
}

const struct tool tool_write = {.name = "write_file",
	.description =
		"Writes a file of the workspace: makes it, or replaces its whole content. Answers with path and bytes as JSON.",
	.params = params,
	.run = run};
