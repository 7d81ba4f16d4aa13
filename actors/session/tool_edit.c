/* actors/session/tool_edit.c - edit: replaces one text of a file by another (edit_match.c finds it). */
#include <inttypes.h>

#include "actors/session/edit_match.h"
#include "actors/session/tools.h"

static const struct tool_param params[] = {{"filePath", TOOL_TEXT, true, 0, 0, 0, "File, relative to the workspace."},
	{"oldString", TOOL_CONTENT, true, 0, 0, 0,
		"Text to replace, exactly as it stands in the file; enough of it to be found only once."},
	{"newString", TOOL_CONTENT, true, 0, 0, 0, "Text to put there."},
	{"replaceAll", TOOL_FLAG, false, 0, 0, 0, "Replace it wherever it is found."}, {0}};

static void edit(struct tool_call *call, const struct workspace *ws, struct qmt_str path)
{
	struct qmt_err err;
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf file = {0};
	struct stat st;
	struct qmt_str old_text = tool_text(call, "oldString"), new_text = tool_text(call, "newString");
	bool all = tool_flag(call, "replaceAll");
	if (old_text.len == 0) {
		tool_fail(call, "oldString is empty: name the text to replace, or use write_file to make a file");
		return;
	}
	if (qmt_str_eq(old_text, new_text)) {
		tool_fail(call, "oldString and newString are equal: nothing would change");
		return;
	}
	if (workspace_read(ws, path, call->limits.max_file_bytes, &file, &st, &err)) {
		tool_fail(call, "%s", err.text);
		return;
	}
	struct edit_result result = {0};
	if (edit_replace(qmt_buf_view(&file), old_text, new_text, all, &result)) {
		tool_fail(call, "out of memory");
		return;
	}
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf text = result.text;
	if (result.found == 0)
		tool_fail(call,
			"oldString not found in %.*s: read the file again and copy the text exactly, with its indentation",
			QMT_STR_ARG(path));
	else if (result.found > 1 && !all)
		tool_fail(call, "oldString found %zu times in %.*s: add lines around it until it is unique, or set replaceAll",
			result.found, QMT_STR_ARG(path));
	else if (text.len > call->limits.max_file_bytes)
		tool_fail(call, "the new file would have %zu bytes, over max_file_bytes (%" PRIu64 ")", text.len,
			call->limits.max_file_bytes);
	else if (workspace_write(ws, path, qmt_buf_view(&text), false, &st, &err))
		tool_fail(call, "%s", err.text);
	if (call->is_error)
		return;
	qmt_buf_str(&call->out, "{\"path\":");
	json_quote(&call->out, path);
	qmt_buf_printf(&call->out, ",\"replacements\":%zu,\"match\":\"%s\"}", result.found, result.match);
}

static void run(struct tool_call *call)
{
	struct qmt_err err;
	struct workspace ws;
	if (workspace_open(&ws, call->root, call->tag, &err))
		tool_fail(call, "%s", err.text);
	else
		edit(call, &ws, tool_text(call, "filePath"));
	workspace_close(&ws);
}

const struct tool tool_edit = {.name = "edit",
	.description =
		"Replaces text in a file of the workspace. oldString must be found once, or replaceAll be set. White space at "
		"the ends of lines and a "
		"different indentation of the whole block are forgiven.",
	.params = params,
	.run = run};
