/* cmd/qmt_chat_show.c - see the header. */
#include "cmd/qmt_chat_show.h"

#include "proto/json.h"

void chat_show_json(const struct chat_show *show, const struct qmt_type *type, const void *body)
{
	struct json *value = show->json ? json_from_record(&type->record, body, true) : NULL;
	struct json *line = show->json ? json_object() : NULL;
	struct qmt_buf buf = {0};
	void *iter = NULL;
	struct qmt_str key;
	const struct json *member;

	/* event first: "session.delta" -> "delta" */
	if (line && json_set(line, "event", json_new_str(qmt_str(strchr(type->record.name, '.') + 1))) == 0)
		while (json_next(value, &iter, &key, &member)) {
			char name[64];
			snprintf(name, sizeof name, "%.*s", QMT_STR_ARG(key));
			if (json_set(line, name, json_copy(member)) != 0)
				break;
		}
	if (line && json_write(line, &buf) == 0) {
		qmt_buf_str(&buf, "\n");
		cli_text(1, qmt_buf_view(&buf));
	}
	json_free(value);
	json_free(line);
	qmt_buf_free(&buf);
}

void chat_show_end_line(struct chat_show *show)
{
	if (show->newline_due)
		cli_text(1, qmt_str("\n"));
	show->newline_due = false;
}

bool chat_show_delta(struct chat_show *show, const struct session_delta *delta)
{
	struct session_delta rest = *delta;
	uint64_t seen;

	if (delta->offset > show->shown && delta->text.len)
		return false;
	seen = show->shown - delta->offset < delta->text.len ? show->shown - delta->offset : delta->text.len;
	if (delta->text.len) {
		rest.offset += seen;
		rest.text = qmt_strn(delta->text.p + seen, delta->text.len - (uint32_t)seen);
	}
	if (rest.text.len || rest.reasoning.len)
		chat_show_json(show, &session_delta_type, &rest);
	show->shown += rest.text.len;
	if (show->json || !rest.text.len)
		return true;
	cli_text(1, rest.text);
	show->newline_due = rest.text.p[rest.text.len - 1] != '\n';
	return true;
}

void chat_show_note(struct chat_show *show, const char *mark, struct qmt_str text)
{
	struct qmt_buf line = {0};

	if (show->json)
		return;
	chat_show_end_line(show); /* what the model says next is another message */
	qmt_buf_printf(&line, "%s%.*s\n", mark, QMT_STR_ARG(text));
	cli_text(2, qmt_buf_view(&line));
	qmt_buf_free(&line);
}

void chat_show_tool(struct chat_show *show, const struct session_tool *tool)
{
	struct qmt_buf buf = {0};

	chat_show_json(show, &session_tool_type, tool);
	if (qmt_str_is(tool->state, "started")) {
		qmt_buf_printf(&buf, "%.*s %.*s", QMT_STR_ARG(tool->name), QMT_STR_ARG(tool->arguments));
		chat_show_note(show, "-> ", qmt_buf_view(&buf));
	} else {
		struct qmt_str first = tool->result;
		for (uint32_t i = 0; i < first.len; i++)
			if (first.p[i] == '\n')
				first.len = i;
		qmt_buf_printf(&buf, "%.*s%s %.*s%s", QMT_STR_ARG(tool->name), tool->is_error ? " failed:" : ":",
			QMT_STR_ARG(first), first.len < tool->result.len ? " ..." : "");
		chat_show_note(show, "<- ", qmt_buf_view(&buf));
	}
	qmt_buf_free(&buf);
}

int chat_show_end(struct chat_show *show, const struct session_turn_end *end)
{
	bool complete = qmt_str_is(end->outcome, "complete");
	char wait[48] = "";

	chat_show_json(show, &session_turn_end_type, end);
	chat_show_end_line(show);
	if (complete || show->json)
		return complete ? CLI_OK : CLI_FAILED;
	if (qmt_str_is(end->outcome, "cancelled")) {
		cli_error("the turn was cancelled");
		return CLI_FAILED;
	}
	if (end->retry_after_ms)
		snprintf(wait, sizeof wait, " (try again in %llu s)", (unsigned long long)((end->retry_after_ms + 999) / 1000));
	cli_error("the turn ended: %.*s%s%.*s%s%.*s%s", QMT_STR_ARG(end->outcome), end->kind.len ? " " : "",
		QMT_STR_ARG(end->kind), end->text.len ? ": " : "", QMT_STR_ARG(end->text), wait);
	return CLI_FAILED;
}
