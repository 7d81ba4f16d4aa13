/* actors/session/tools.c - the list of tools; schema and check of arguments along their parameter tables.
 *
 * Arguments come from a model: unknown names and wrong types are refused with what would be right, because a model that
 * meant `replaceAll` and wrote `replace_all` must not get something else in silence. null counts as absent.
 */
#include "tools.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <unistd.h>

#include "actors/session/tool_text.h"
#include "proto/utf8.h"

extern const struct tool tool_read, tool_write, tool_edit, tool_ls, tool_shell;

/* A new tool: its file, and a place here. */
static const struct tool *const all[] = {&tool_read, &tool_write, &tool_edit, &tool_ls, &tool_shell};

size_t tool_count(void)
{
	return sizeof(all) / sizeof(*all);
}

const struct tool *tool_at(size_t index)
{
	return all[index];
}

const struct tool *tool_find(struct qmt_str name)
{
	for (size_t i = 0; i < tool_count(); i++)
		if (qmt_str_is(name, all[i]->name))
			return all[i];
	return NULL;
}

static const char *const type_name[] = {[TOOL_TEXT] = "string",
	[TOOL_NUMBER] = "integer",
	[TOOL_FLAG] = "boolean",
	[TOOL_TEXTS] = "array",
	[TOOL_CONTENT] = "string"};

void tool_schema(const struct tool *tool, struct qmt_buf *out)
{
	qmt_buf_str(out, "{\"type\":\"object\",\"properties\":{");
	for (const struct tool_param *p = tool->params; p->name; p++) {
		qmt_buf_printf(out, "%s\"%s\":{\"type\":\"%s\",", p == tool->params ? "" : ",", p->name, type_name[p->kind]);
		if (p->kind == TOOL_TEXTS)
			qmt_buf_str(out, "\"items\":{\"type\":\"string\"},");
		if (p->kind == TOOL_NUMBER)
			qmt_buf_printf(out, "\"minimum\":%" PRId64 ",", p->min);
		if (p->kind == TOOL_NUMBER && !p->required && p->dflt >= p->min)
			qmt_buf_printf(out, "\"default\":%" PRId64 ",", p->dflt);
		if (p->kind == TOOL_FLAG && !p->required)
			qmt_buf_printf(out, "\"default\":%s,", p->dflt ? "true" : "false");
		qmt_buf_str(out, "\"description\":");
		json_quote(out, qmt_str(p->doc));
		qmt_buf_str(out, "}");
	}
	qmt_buf_str(out, "},\"required\":[");
	bool first = true;
	for (const struct tool_param *p = tool->params; p->name; p++) {
		if (!p->required)
			continue;
		qmt_buf_printf(out, "%s\"%s\"", first ? "" : ",", p->name);
		first = false;
	}
	qmt_buf_str(out, "],\"additionalProperties\":false}");
}

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static const struct tool_param *find_param(const struct tool *tool, struct qmt_str name)
{
	for (const struct tool_param *p = tool->params; p->name; p++)
		if (qmt_str_is(name, p->name))
			return p;
	return NULL;
}

static const char *param_names(const struct tool *tool, struct qmt_buf *room)
{
	for (const struct tool_param *p = tool->params; p->name; p++)
		qmt_buf_printf(room, "%s%s%s", p == tool->params ? "" : ", ", p->name, p->required ? " (required)" : "");
	return room->data ? room->data : "none";
}

static bool is_bool(const struct json *value)
{
	return json_bool(value, false) == json_bool(value, true);
}

static bool is_whole(const struct json *value)
{
	if (!json_is_number(value))
		return false;
	double real = json_real(value, 0.5);
	return real >= -9.0e15 && real <= 9.0e15 && real == (double)json_int(value, 0);
}

/* A path or an argument of a program would end there, and be another one. */
static bool has_nul(const struct json *string)
{
	struct qmt_str text = json_str(string);
	return text.len && memchr(text.p, 0, text.len);
}

static int check_value(
	const struct tool *tool, const struct tool_param *p, const struct json *value, struct qmt_err *err)
{
	bool fits = false, nul = false;
	switch ((enum tool_param_kind)p->kind) {
	case TOOL_TEXT:
		fits = json_is_string(value);
		nul = has_nul(value);
		break;
	case TOOL_CONTENT:
		fits = json_is_string(value);
		break;
	case TOOL_FLAG:
		fits = is_bool(value);
		break;
	case TOOL_TEXTS:
		fits = json_is_array(value);
		for (size_t i = 0; fits && i < json_count(value); i++) {
			fits = json_is_string(json_at(value, i));
			nul = nul || has_nul(json_at(value, i));
		}
		break;
	case TOOL_NUMBER:
		fits = is_whole(value);
		if (fits && (json_int(value, 0) < p->min || json_int(value, 0) > p->max))
			return qmt_err_set(
				err, -EINVAL, "%s: \"%s\" must be from %" PRId64 " to %" PRId64, tool->name, p->name, p->min, p->max);
		break;
	}
	if (!fits)
		return qmt_err_set(err, -EINVAL, "%s: \"%s\" must be %s %s", tool->name, p->name,
			p->kind == TOOL_NUMBER || p->kind == TOOL_TEXTS ? "an" : "a",
			p->kind == TOOL_TEXTS ? "array of strings" : type_name[p->kind]);
	if (nul)
		return qmt_err_set(err, -EINVAL, "%s: \"%s\" must not hold a NUL character", tool->name, p->name);
	return 0;
}

static int check_args(const struct tool *tool, const struct json *args, struct qmt_err *err)
{
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf names = {0};
	void *iter = NULL;
	struct qmt_str key;
	const struct json *value;
	while (json_next(args, &iter, &key, &value)) {
		const struct tool_param *p = find_param(tool, key);
		if (!p)
			return qmt_err_set(err, -EINVAL, "%s: no parameter \"%.*s\"; there are: %s", tool->name,
				QMT_STR_ARG(utf8_head(key, 100)), param_names(tool, &names));
		int code = json_is_null(value) ? 0 : check_value(tool, p, value, err);
		if (code)
			return code;
	}
	for (const struct tool_param *p = tool->params; p->name; p++) {
		const struct json *given = json_get(args, p->name);
		if (p->required && (!given || json_is_null(given)))
			return qmt_err_set(
				err, -EINVAL, "%s: \"%s\" is required; parameters: %s", tool->name, p->name, param_names(tool, &names));
	}
	return 0;
}

int tool_call_new(const struct tool *tool, struct qmt_str arguments, const char *root,
	const struct session_limits *limits, const char *tag, struct tool_call **ret_call, struct qmt_err *err)
{
	struct tool_call *call = calloc(1, sizeof(*call));
	if (!call)
		return qmt_err_set(err, -ENOMEM, "%s: out of memory", tool->name);
	call->tool = tool;
	call->limits = *limits;
	snprintf(call->tag, sizeof(call->tag), "%s", tag);
	call->root = qmt_str_dup(qmt_str(root));
	int code = 0;
	if (!call->root)
		code = qmt_err_set(err, -ENOMEM, "%s: out of memory", tool->name);
	if (!code && json_parse(arguments.len ? arguments : qmt_str("{}"), &call->args, err)) {
		qmt_err_prefix(err, "%s: the arguments are not valid JSON", tool->name);
		code = -EINVAL;
	}
	if (!code && !json_is_object(call->args))
		code = qmt_err_set(err, -EINVAL, "%s: the arguments must be a JSON object", tool->name);
	if (!code)
		code = check_args(tool, call->args, err);
	if (code) {
		tool_call_free(call);
		return code;
	}
	*ret_call = call;
	return 0;
}

void tool_command_free(struct tool_command *command)
{
	if (!command)
		return;
	for (char **arg = command->argv; arg && *arg; arg++)
		free(*arg);
	free(command->argv);
	if (command->cwd_fd >= 0)
		close(command->cwd_fd);
	free(command);
}

struct tool_call *tool_call_free(struct tool_call *call)
{
	if (!call)
		return NULL;
	tool_command_free(call->command);
	json_free(call->args);
	qmt_buf_free(&call->out);
	free(call->root);
	free(call);
	return NULL;
}

static const struct json *given(const struct tool_call *call, const char *name)
{
	const struct json *value = json_get(call->args, name);
	return json_is_null(value) ? NULL : value;
}

struct qmt_str tool_text(const struct tool_call *call, const char *name)
{
	return json_str(given(call, name));
}

int64_t tool_number(const struct tool_call *call, const char *name)
{
	const struct tool_param *p = find_param(call->tool, qmt_str(name));
	return json_int(given(call, name), p ? p->dflt : 0);
}

bool tool_flag(const struct tool_call *call, const char *name)
{
	const struct tool_param *p = find_param(call->tool, qmt_str(name));
	return json_bool(given(call, name), p && p->dflt != 0);
}

const struct json *tool_texts(const struct tool_call *call, const char *name)
{
	return given(call, name);
}

void tool_fail(struct tool_call *call, const char *format, ...)
{
	char text[QMT_ERR_TEXT];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	qmt_buf_free(&call->out);
	qmt_buf_printf(&call->out, "error: %s", text);
	call->is_error = true;
}
