/* actors/provider/builtin_report.c - see builtin_report.h. */
#include "builtin_report.h"

#include <errno.h>

#include "builtin_commands.h"
#include "proto/json.h"
#include "proto/utf8.h"

/* A value, NULL: no JSON. Out of memory is noted in `out`, like that of its text. */
static struct json *parse(struct qmt_str text, struct qmt_buf *out)
{
	struct json *json = NULL;

	out->failed |= json_parse(text, &json, NULL) == -ENOMEM;
	return json;
}

static void put(struct qmt_buf *out, struct qmt_str text)
{
	qmt_buf_append(out, text.p, text.len);
}

/* Puts the text on lines of its own, cut to the limit. */
static void put_block(struct qmt_buf *out, struct qmt_str text, uint32_t limit)
{
	uint32_t total = text.len;

	if (text.len > limit)
		text.len = utf8_valid_prefix(qmt_strn(text.p, limit));
	qmt_buf_str(out, "\n");
	put(out, text);
	if (text.len > 0 && text.p[text.len - 1] != '\n')
		qmt_buf_str(out, "\n");
	if (text.len < total)
		qmt_buf_printf(out, "(cut here: %u of %u bytes shown)\n", text.len, total);
}

/* The first, or the last, place of `part`. */
static bool find(struct qmt_str text, const char *part, bool last, uint32_t *ret_at)
{
	uint32_t len = (uint32_t)strlen(part);
	bool found = false;

	for (uint32_t i = 0; i + len <= text.len && !(found && !last); i++) {
		if (memcmp(text.p + i, part, len) == 0) {
			*ret_at = i;
			found = true;
		}
	}
	return found;
}

/* "00001| text": the length of the number and its bar; 0: no such line. */
static uint32_t line_number(struct qmt_str line)
{
	uint32_t at = 0;

	while (at < line.len && line.p[at] >= '0' && line.p[at] <= '9')
		at++;
	if (at < 5 || at + 2 > line.len || line.p[at] != '|' || line.p[at + 1] != ' ')
		return 0;
	return at + 2;
}

/* The text of a file out of read_tool's form: between <content> and </content>, without line numbers. Another form: as
 * it is. */
static void put_file_text(struct qmt_buf *out, struct qmt_str result)
{
	uint32_t from, to;

	/* The file itself may hold either word: the first one and the last one are the tool's. */
	if (!find(result, "<content>\n", false, &from) || !find(result, "</content>", true, &to) || to < from) {
		put(out, result);
		return;
	}
	for (uint32_t at = from + (uint32_t)strlen("<content>\n"); at < to;) {
		const char *newline = memchr(result.p + at, '\n', to - at);
		uint32_t end = newline ? (uint32_t)(newline - result.p) + 1 : to;
		struct qmt_str line = qmt_strn(result.p + at, end - at);
		uint32_t number = line_number(line);

		put(out, qmt_strn(line.p + number, line.len - number));
		at = end;
	}
}

static void report_read(struct qmt_buf *out, struct qmt_str name, struct qmt_str result, uint32_t limit)
{
	struct qmt_buf text = {0};

	put_file_text(&text, result);
	out->failed |= text.failed;
	qmt_buf_str(out, "The text of ");
	put(out, name);
	qmt_buf_str(out, text.len > 0 ? " is:" : " is empty.\n");
	if (text.len > 0)
		put_block(out, qmt_buf_view(&text), limit);
	qmt_buf_free(&text);
}

static void report_run(struct qmt_buf *out, struct qmt_str command, struct qmt_str result, uint32_t limit)
{
	QMT_CLEANUP(json_cleanup) struct json *json = parse(result, out);
	struct qmt_str printed, complained;

	qmt_buf_str(out, "The command ");
	put(out, command);
	if (!json_get(json, "exit_code")) {
		qmt_buf_str(out, " gave:");
		put_block(out, result, limit);
		return;
	}
	printed = json_str(json_get(json, "stdout"));
	complained = json_str(json_get(json, "stderr"));
	if (json_bool(json_get(json, "timed_out"), false))
		qmt_buf_str(out, " was stopped because it took too long");
	else
		qmt_buf_printf(out, " ended with exit code %lld", (long long)json_int(json_get(json, "exit_code"), -1));
	qmt_buf_str(out, printed.len > 0 ? " and printed:" : " and printed nothing.\n");
	if (printed.len > 0)
		put_block(out, printed, limit);
	if (complained.len > 0) {
		qmt_buf_str(out, "On its error output:");
		put_block(out, complained, limit);
	}
}

static void report_write(struct qmt_buf *out, struct qmt_str name, struct qmt_str result)
{
	QMT_CLEANUP(json_cleanup) struct json *json = parse(result, out);

	qmt_buf_str(out, "I wrote ");
	if (json_get(json, "bytes"))
		qmt_buf_printf(out, "%lld bytes to ", (long long)json_int(json_get(json, "bytes"), 0));
	put(out, name);
	qmt_buf_str(out, ".\n");
}

static void report_call(
	const struct chat_tool_call *call, const struct chat_message *result, uint32_t limit, struct qmt_buf *out)
{
	static const char *const names[] = {"path", "filePath", "command"};
	QMT_CLEANUP(json_cleanup) struct json *arguments = parse(call->arguments, out);
	struct qmt_str what = {0};
	int verb = 0;

	while (verb < BUILTIN_VERB_COUNT && !qmt_str_is(call->name, builtin_verb_tool((enum builtin_verb)verb)))
		verb++;
	for (size_t i = 0; what.len == 0 && i < sizeof names / sizeof *names; i++)
		what = json_str(json_get(arguments, names[i]));

	if (!result || result->is_error) {
		qmt_buf_str(out, "I could not ");
		qmt_buf_str(out, verb < BUILTIN_VERB_COUNT ? builtin_verb_name((enum builtin_verb)verb) : "use");
		qmt_buf_str(out, " ");
		put(out, what.len > 0 ? what : call->name);
		qmt_buf_str(out, result ? ":" : ": no result came.\n");
		if (result)
			put_block(out, result->content, limit);
	} else if (verb == BUILTIN_read) {
		report_read(out, what, result->content, limit);
	} else if (verb == BUILTIN_run) {
		report_run(out, what, result->content, limit);
	} else if (verb == BUILTIN_write) {
		report_write(out, what, result->content);
	} else if (verb == BUILTIN_edit) {
		qmt_buf_str(out, "I changed ");
		put(out, what);
		qmt_buf_str(out, ".\n");
	} else {
		qmt_buf_str(out, verb == BUILTIN_list ? "In " : "The tool ");
		put(out, verb == BUILTIN_list ? what : call->name);
		qmt_buf_str(out, verb == BUILTIN_list ? " there is:" : " gave:");
		put_block(out, result->content, limit);
	}
}

int builtin_report(const struct chat_message *messages, uint32_t count, uint32_t limit_bytes, struct qmt_buf *out)
{
	for (uint32_t i = 0; i < count; i++) {
		for (uint32_t j = 0; j < messages[i].tool_calls.count; j++) {
			const struct chat_tool_call *call = &messages[i].tool_calls.items[j];
			const struct chat_message *result = NULL;

			for (uint32_t k = i + 1; k < count && !result; k++)
				if (qmt_str_is(messages[k].role, "tool") && qmt_str_eq(messages[k].tool_call_id, call->id))
					result = &messages[k];
			report_call(call, result, limit_bytes, out);
		}
	}
	while (out->len > 0 && out->data[out->len - 1] == '\n') /* an answer ends without an empty line */
		out->data[--out->len] = '\0';
	return out->failed ? -ENOMEM : 0;
}
