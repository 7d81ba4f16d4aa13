/* cmd/config_compose.c - values made of several parts: system prompts and free tables (kept as JSON). */
#include <math.h>
#include <sys/stat.h>

#include "config_value.h"
#include "proto/json.h"
#include "runtime/base/os.h"

/* ---- prompts ----------------------------------------------------------------------------------------------------- */

static bool prompt_file(struct config_check *check, const struct config_at *at, struct qmt_buf *out)
{
	struct config_at file = {
		&(const struct config_field){.kind = CONFIG_PATH}, at->path, config_node_find(at->node, "file")};
	struct qmt_buf data QMT_CLEANUP(qmt_buf_free) = {0};
	struct qmt_err err = {0};
	struct qmt_str text;
	struct stat st;
	const char *path;
	bool reference;

	if (!file.node || file.node->kind != CONFIG_NODE_STRING || at->node->first->next)
		return config_wrong(
			check, at, "{ file = \"prompt.txt\" }", "a table here has just one key, file, with a string");
	if (!config_expand(check, &file, file.node->text, &text, &reference) || !config_path_set(check, &file, text, &path))
		return false;
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) /* a pipe would hang, a device go on */
		return config_wrong(
			check, &file, NULL, "no regular file: %s", config_show(config_written(&file, qmt_str(path))).text);
	if (qmt_os_file_read(path, CONFIG_PROMPT_BYTES, &data, &err))
		return config_wrong(check, &file, NULL, "cannot read the prompt: %s",
			config_has_reference(file.node->text) ? config_show(file.node->text).text : err.text);
	if (config_text_bad_byte(qmt_buf_view(&data)) < data.len)
		return config_wrong(check, &file, NULL, "the prompt is no UTF-8 text: %s",
			config_show(config_written(&file, qmt_str(path))).text);
	while (data.len > 0 && (data.data[data.len - 1] == '\n' || data.data[data.len - 1] == '\r'))
		data.len--;
	if (!config_expand(check, &file, qmt_buf_view(&data), &text, &reference))
		return false;
	qmt_buf_append(out, text.p, text.len);
	return true;
}

static bool prompt_part(struct config_check *check, const struct config_at *at, struct qmt_buf *out)
{
	struct qmt_str text;
	bool reference;

	if (out->len > 0)
		qmt_buf_str(out, "\n\n");
	if (at->node->kind == CONFIG_NODE_TABLE)
		return prompt_file(check, at, out);
	if (at->node->kind != CONFIG_NODE_STRING && at->node->kind != CONFIG_NODE_TEXT)
		return config_wrong(
			check, at, NULL, "expected a string or { file = \"…\" }, got %s", config_node_kind_text(at->node));
	if (!config_expand(check, at, at->node->text, &text, &reference))
		return false;
	qmt_buf_append(out, text.p, text.len);
	return true;
}

bool config_prompt_set(struct config_check *check, const struct config_at *at, const char **slot)
{
	struct qmt_buf out QMT_CLEANUP(qmt_buf_free) = {0};
	bool good = true;

	if (at->node->kind == CONFIG_NODE_ARRAY)
		for (const struct config_node *item = at->node->first; item; item = item->next)
			good = prompt_part(check, &(struct config_at){at->field, at->path, item}, &out) && good;
	else
		good = prompt_part(check, at, &out);
	if (!good)
		return false;
	if (out.len > CONFIG_PROMPT_BYTES)
		return config_wrong(check, at, NULL, "longer than %d bytes in all", CONFIG_PROMPT_BYTES);
	*slot = out.len > 0 ? config_arena_text(check->arena, qmt_buf_view(&out)) : NULL;
	return !(out.failed || (out.len > 0 && !*slot)) || config_no_memory(check);
}

/* ---- free tables as JSON ----------------------------------------------------------------------------------------- */

/* An INI value (or a variable's) has no type: what reads as JSON's number or word is one. */
static bool is_json_scalar(struct qmt_str text)
{
	struct json *value = NULL;
	bool scalar = json_parse(text, &value, NULL) == 0 && !json_is_object(value) && !json_is_array(value) &&
		!json_is_string(value);

	json_free(value);
	return scalar;
}

/* The shortest text that reads back as the same number, always with a point or exponent. */
static void real_append(struct qmt_buf *out, double value)
{
	char text[40];

	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	qmt_buf_printf(out, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

static bool json_append(struct config_check *check, const struct config_at *at, struct qmt_buf *out)
{
	const struct config_node *node = at->node;
	struct qmt_str text;
	bool reference = false, good = true;

	switch (node->kind) {
	case CONFIG_NODE_TABLE:
	case CONFIG_NODE_ARRAY:
		qmt_buf_str(out, node->kind == CONFIG_NODE_TABLE ? "{" : "[");
		for (const struct config_node *child = node->first; child; child = child->next) {
			struct config_at inner = {at->field, at->path, child};

			if (child != node->first)
				qmt_buf_str(out, ",");
			if (node->kind == CONFIG_NODE_TABLE) {
				json_quote(out, qmt_str(child->key));
				qmt_buf_str(out, ":");
			}
			good = json_append(check, &inner, out) && good;
		}
		qmt_buf_str(out, node->kind == CONFIG_NODE_TABLE ? "}" : "]");
		return good;
	case CONFIG_NODE_STRING:
	case CONFIG_NODE_TEXT:
		if (!config_expand(check, at, node->text, &text, &reference))
			return false;
		if ((node->kind == CONFIG_NODE_TEXT || reference) && is_json_scalar(text))
			qmt_buf_append(out, text.p, text.len);
		else
			json_quote(out, text);
		return true;
	case CONFIG_NODE_INTEGER:
		qmt_buf_printf(out, "%lld", (long long)node->integer);
		return true;
	case CONFIG_NODE_REAL:
		if (!isfinite(node->real))
			return config_wrong(check, at, NULL, "must be finite");
		real_append(out, node->real);
		return true;
	case CONFIG_NODE_BOOLEAN:
		qmt_buf_str(out, node->boolean ? "true" : "false");
		return true;
	default:
		return config_wrong(check, at, "write it as a string", "dates and times cannot go here");
	}
}

bool config_map_set(struct config_check *check, const struct config_at *at, const char **slot)
{
	struct qmt_buf out QMT_CLEANUP(qmt_buf_free) = {0};

	if (at->node->kind != CONFIG_NODE_TABLE)
		return config_wrong(check, at, NULL, "expected a table, got %s", config_node_kind_text(at->node));
	if (!json_append(check, at, &out))
		return false;
	*slot = config_arena_text(check->arena, qmt_buf_view(&out));
	return (*slot && !out.failed) || config_no_memory(check);
}
