/* actors/session/tool_read.c - read_tool: lines of a text file with their numbers, or the entries of a folder.
 *
 * A file is read in one pass in pieces, so a huge one costs time up to max_file_bytes and no memory.
 */
#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "actors/session/tool_dir.h"
#include "actors/session/tool_text.h"
#include "actors/session/tools.h"
#include "proto/utf8.h"

enum { LINE_MAX_BYTES = 2000, PIECE = 65536, BINARY_LOOK = 8192 };

static const struct tool_param params[] = {
	{"path", TOOL_TEXT, true, 0, 0, 0, "File or folder, relative to the workspace."},
	{"offset", TOOL_NUMBER, false, 0, 0, INT64_MAX, "Lines (entries of a folder) to skip."},
	{"limit", TOOL_NUMBER, false, 2000, 1, 1000000, "At most so many lines (entries)."}, {0}};

struct reader {
	struct tool_call *call;
	uint64_t offset, limit;
	uint64_t lines; /* ended so far */
	uint64_t shown;
	bool full;           /* no more is shown, lines are only counted */
	struct qmt_buf line; /* start of the line under way */
	uint64_t line_bytes; /* all of it */
};

static void end_line(struct reader *r)
{
	uint64_t number = ++r->lines;
	if (number <= r->offset || r->full) {
		r->line.len = 0;
		r->line_bytes = 0;
		return;
	}
	struct qmt_buf *out = &r->call->out;
	struct qmt_str text = qmt_buf_view(&r->line);
	if (text.len && r->line_bytes == text.len && text.p[text.len - 1] == '\r')
		text.len--;
	qmt_buf_printf(out, "%05" PRIu64 "| ", number);
	/* Cleaned before it is cut, so that the cut can keep to characters. */
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf clean = {0};
	tool_text_clean(&clean, text);
	struct qmt_str fits = utf8_head(qmt_buf_view(&clean), LINE_MAX_BYTES);
	qmt_buf_append(out, fits.p, fits.len);
	if (r->line_bytes > LINE_MAX_BYTES)
		qmt_buf_printf(out, " [... line of %" PRIu64 " bytes cut here]", r->line_bytes);
	qmt_buf_str(out, "\n");
	r->line.len = 0;
	r->line_bytes = 0;
	r->shown++;
	r->full = r->shown >= r->limit || r->shown >= r->call->limits.max_tool_output_lines ||
		out->len >= r->call->limits.max_tool_output_bytes;
}

static void take(struct reader *r, const char *data, size_t len)
{
	while (len) {
		const char *newline = memchr(data, '\n', len);
		size_t part = newline ? (size_t)(newline - data) : len;
		size_t room = r->line.len < LINE_MAX_BYTES + 8 ? LINE_MAX_BYTES + 8 - r->line.len : 0;
		qmt_buf_append(&r->line, data, part < room ? part : room);
		r->line_bytes += part;
		if (newline)
			end_line(r);
		data += part + (newline ? 1 : 0);
		len -= part + (newline ? 1 : 0);
	}
}

static void read_file(struct tool_call *call, int fd, struct qmt_str path)
{
	struct reader r = {
		.call = call, .offset = (uint64_t)tool_number(call, "offset"), .limit = (uint64_t)tool_number(call, "limit")};
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf piece = {0};
	uint64_t total = 0;
	int code = 0;
	bool whole = false;
	qmt_buf_str(&call->out, "<path>");
	qmt_buf_append(&call->out, path.p, path.len);
	qmt_buf_str(&call->out, "</path>\n<type>file</type>\n<content>\n");
	char *room = qmt_buf_reserve(&piece, PIECE);
	while (room && !code && !whole && total < call->limits.max_file_bytes) {
		ssize_t n = read(fd, room, PIECE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			code = -errno;
		} else if (n == 0) {
			whole = true;
		} else {
			if (total == 0) {
				const char *nul = memchr(room, 0, n < BINARY_LOOK ? (size_t)n : BINARY_LOOK);
				if (nul) {
					tool_fail(call, "%.*s: a binary file (NUL at byte %td); only text can be read", QMT_STR_ARG(path),
						nul - room);
					qmt_buf_free(&r.line);
					return;
				}
			}
			total += (uint64_t)n;
			take(&r, room, (size_t)n);
		}
	}
	if (r.line_bytes) /* no newline at the end */
		end_line(&r);
	qmt_buf_free(&r.line);
	if (!room || code) {
		tool_fail(call, "%.*s: %s", QMT_STR_ARG(path), code ? strerror(-code) : "out of memory");
	} else if (r.offset && r.offset >= r.lines) {
		tool_fail(call, "%.*s: offset %" PRIu64 " is beyond the end: %s%" PRIu64 " lines", QMT_STR_ARG(path), r.offset,
			whole ? "it has " : "max_file_bytes allows to look at the first ", r.lines);
	} else {
		qmt_buf_str(&call->out, "</content>\n");
		if (total == 0)
			qmt_buf_str(&call->out, "(the file is empty)\n");
		else if (r.offset + r.shown < r.lines || !whole)
			qmt_buf_printf(&call->out,
				"(lines %" PRIu64 " to %" PRIu64 " of %s%" PRIu64 "; go on with offset=%" PRIu64 ")\n", r.offset + 1,
				r.offset + r.shown, whole ? "" : "more than ", r.lines, r.offset + r.shown);
	}
}

static void read_folder(struct tool_call *call, int fd, struct qmt_str path)
{
	struct tool_dir dir = {0};
	int code = tool_dir_read(fd, NULL, NULL, &dir);
	uint64_t offset = (uint64_t)tool_number(call, "offset"), limit = (uint64_t)tool_number(call, "limit");
	if (code) {
		tool_fail(call, "%.*s: %s", QMT_STR_ARG(path), strerror(-code));
	} else if (offset && offset >= dir.count) {
		tool_fail(call, "%.*s: offset %" PRIu64 " is beyond the end: it has %zu entries", QMT_STR_ARG(path), offset,
			dir.count);
	} else {
		qmt_buf_str(&call->out, "<path>");
		qmt_buf_append(&call->out, path.p, path.len);
		qmt_buf_str(&call->out, "</path>\n<type>folder</type>\n<content>\n");
		uint64_t at = offset;
		while (at < dir.count && at - offset < limit && at - offset < call->limits.max_tool_output_lines &&
			call->out.len < call->limits.max_tool_output_bytes)
			tool_dir_line(&call->out, fd, dir.names[at++]);
		qmt_buf_str(&call->out, "</content>\n");
		if (offset || at < dir.count || dir.more)
			qmt_buf_printf(&call->out, "(entries %" PRIu64 " to %" PRIu64 " of %s%zu)\n", offset + 1, at,
				dir.more ? "more than " : "", dir.count);
		else if (dir.count == 0)
			qmt_buf_str(&call->out, "(the folder is empty)\n");
	}
	tool_dir_free(&dir);
}

static void run(struct tool_call *call)
{
	struct qmt_err err;
	struct workspace ws;
	struct stat st;
	int fd = -1;
	struct qmt_str path = tool_text(call, "path");
	int code = workspace_open(&ws, call->root, call->tag, &err);
	if (!code)
		code = workspace_open_read(&ws, path, &fd, &st, &err);
	if (code)
		tool_fail(call, "%s", err.text);
	else if (S_ISDIR(st.st_mode))
		read_folder(call, fd, path);
	else
		read_file(call, fd, path);
	if (fd >= 0)
		close(fd);
	workspace_close(&ws);
}

const struct tool tool_read = {.name = "read_tool",
	.description =
		"Reads a text file of the workspace, each line behind its number, or lists a folder. Long files come in parts: "
		"use offset and limit.",
	.params = params,
	.reads_only = true,
	.run = run};
