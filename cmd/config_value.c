/* cmd/config_value.c - from a node of the tree to a parameter's value: ${VAR}, types, ranges, paths, lists.
 *
 * What is shown in complaints is the text as it stands in the file, not what a variable made of it: the value of a
 * variable may be a key that landed in the wrong place.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>

#include "config_value.h"

bool config_wrong(struct config_check *check, const struct config_at *at, const char *hint, const char *format, ...)
{
	char reason[QMT_ERR_TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof reason, format, args);
	va_end(args);
	config_complain(check->errors, at->node->line, at->node->col, at->path, hint && *hint ? hint : NULL, "%s", reason);
	return false;
}

bool config_no_memory(struct config_check *check)
{
	check->failed = true;
	return false;
}

/* ---- ${VAR} ------------------------------------------------------------------------------------------------------ */

static bool is_name_byte(char c, bool first)
{
	return (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

/* A reference at p: its whole length, 0 if there is none. default_.p is NULL when it has no default. */
static uint32_t reference_at(const char *p, uint32_t left, struct qmt_str *ret_name, struct qmt_str *ret_default)
{
	uint32_t at = 2;

	if (left < 4 || p[0] != '$' || p[1] != '{' || !is_name_byte(p[2], true))
		return 0;
	while (at < left && is_name_byte(p[at], false))
		at++;
	*ret_name = qmt_strn(p + 2, at - 2);
	*ret_default = qmt_str(NULL);
	if (at < left && p[at] == '}')
		return at + 1;
	if (at + 1 >= left || p[at] != ':' || p[at + 1] != '-')
		return 0;

	const char *close = memchr(p + at + 2, '}', left - at - 2);

	if (!close)
		return 0;
	*ret_default = qmt_strn(p + at + 2, (size_t)(close - p) - at - 2);
	return (uint32_t)(close - p) + 1;
}

bool config_has_reference(struct qmt_str text)
{
	struct qmt_str name, dflt;

	for (uint32_t i = 0; i < text.len; i++)
		if (reference_at(text.p + i, text.len - i, &name, &dflt))
			return true;
	return false;
}

struct qmt_str config_written(const struct config_at *at, struct qmt_str text)
{
	return config_has_reference(at->node->text) ? at->node->text : text;
}

bool config_expand(struct config_check *check, const struct config_at *at, struct qmt_str text,
	struct qmt_str *ret_text, bool *ret_reference)
{
	struct qmt_buf out QMT_CLEANUP(qmt_buf_free) = {0};
	bool good = true, any = false;

	for (uint32_t i = 0; i < text.len;) {
		struct qmt_str name, dflt;
		uint32_t len = reference_at(text.p + i, text.len - i, &name, &dflt);

		if (len == 0) {
			qmt_buf_append(&out, text.p + i++, 1);
			continue;
		}
		any = true;
		i += len;

		char *key = config_arena_text(check->arena, name);
		const char *value = key ? check->env(check->env_arg, key) : NULL;

		if (!key)
			return config_no_memory(check);
		if (value) {
			qmt_buf_str(&out, value);
		} else if (dflt.p) {
			qmt_buf_append(&out, dflt.p, dflt.len);
		} else if (check->later) {
			good = false;
		} else {
			char hint[200];

			snprintf(hint, sizeof hint, "set it, or write a default: ${%.60s:-…}", key);
			good = config_wrong(check, at, hint, "the variable %.60s is not set", key);
		}
	}
	*ret_reference = any;
	if (!any) {
		*ret_text = text;
		return true;
	}

	char *copy = config_arena_text(check->arena, qmt_buf_view(&out));

	if (!copy || out.failed)
		return config_no_memory(check);
	*ret_text = qmt_strn(copy, out.len);
	if (out.data)
		explicit_bzero(out.data, out.len);
	if (good && config_text_bad_byte(*ret_text) < ret_text->len)
		good = config_wrong(check, at, NULL, "a variable holds a control character or a byte that is no UTF-8");
	return good;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static bool range_check(struct config_check *check, const struct config_at *at, double value)
{
	const struct config_field *field = at->field;

	if (value >= (double)field->min && (field->max == 0 || value <= (double)field->max))
		return true;
	if (field->max > 0)
		return config_wrong(check, at, NULL, "out of range, must be %llu to %llu", (unsigned long long)field->min,
			(unsigned long long)field->max);
	return config_wrong(check, at, NULL, "out of range, must be at least %llu", (unsigned long long)field->min);
}

static bool whole_set(
	struct config_check *check, const struct config_at *at, bool is_text, struct qmt_str text, void *slot)
{
	uint64_t value = 0;

	if (is_text) {
		for (uint32_t i = 0; i < text.len; i++)
			if (text.p[i] < '0' || text.p[i] > '9' || __builtin_mul_overflow(value, 10u, &value) ||
				__builtin_add_overflow(value, (unsigned)(text.p[i] - '0'), &value))
				return config_wrong(check, at, NULL, "%s is no whole number", config_show(at->node->text).text);
		if (text.len == 0)
			return config_wrong(check, at, NULL, "expected a whole number, got nothing");
	} else if (at->node->kind == CONFIG_NODE_INTEGER) {
		if (at->node->integer < 0)
			return range_check(check, at, (double)at->node->integer);
		value = (uint64_t)at->node->integer;
	} else {
		return config_wrong(check, at, at->node->kind == CONFIG_NODE_STRING ? "without quotes" : NULL,
			"expected a whole number, got %s", config_node_kind_text(at->node));
	}
	/* Not as double: 2^53 + 1 is a number too. */
	if (value < at->field->min || (at->field->max > 0 && value > at->field->max))
		return range_check(check, at, value < at->field->min ? -1 : 1e300);
	if (at->field->kind == CONFIG_U32 && value > UINT32_MAX)
		return config_wrong(check, at, NULL, "out of range, must be at most %u", UINT32_MAX);
	if (at->field->kind == CONFIG_U32)
		*(uint32_t *)slot = (uint32_t)value;
	else
		*(uint64_t *)slot = value;
	return true;
}

static bool f64_set(
	struct config_check *check, const struct config_at *at, bool is_text, struct qmt_str text, double *slot)
{
	double value;

	if (is_text) {
		char *copy = config_arena_text(check->arena, text), *end = copy;

		if (!copy)
			return config_no_memory(check);
		value = strtod(copy, &end);
		if (end == copy || *end != '\0' || strspn(copy, "+-.0123456789eE") != text.len)
			return config_wrong(check, at, NULL, "%s is no number", config_show(at->node->text).text);
	} else if (at->node->kind == CONFIG_NODE_INTEGER) {
		value = (double)at->node->integer;
	} else if (at->node->kind == CONFIG_NODE_REAL) {
		value = at->node->real;
	} else {
		return config_wrong(check, at, at->node->kind == CONFIG_NODE_STRING ? "without quotes" : NULL,
			"expected a number, got %s", config_node_kind_text(at->node));
	}
	if (!isfinite(value))
		return config_wrong(check, at, NULL, "must be finite");
	if (!range_check(check, at, value))
		return false;
	*slot = value;
	return true;
}

static bool bool_set(
	struct config_check *check, const struct config_at *at, bool is_text, struct qmt_str text, bool *slot)
{
	if (is_text && (qmt_str_is(text, "true") || qmt_str_is(text, "false")))
		*slot = text.p[0] == 't';
	else if (is_text)
		return config_wrong(check, at, NULL, "expected true or false, got %s", config_show(at->node->text).text);
	else if (at->node->kind == CONFIG_NODE_BOOLEAN)
		*slot = at->node->boolean;
	else
		return config_wrong(check, at, at->node->kind == CONFIG_NODE_STRING ? "without quotes" : NULL,
			"expected true or false, got %s", config_node_kind_text(at->node));
	return true;
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

bool config_path_set(struct config_check *check, const struct config_at *at, struct qmt_str text, const char **slot)
{
	struct qmt_buf out QMT_CLEANUP(qmt_buf_free) = {0};

	if (text.len == 0 && at->field->dflt && *at->field->dflt)
		return config_wrong(check, at, "leave it out for the default", "must not be empty");
	if (text.len == 0) {
		*slot = NULL;
		return true;
	}
	if (text.p[0] == '~' && text.len > 1 && text.p[1] != '/')
		return config_wrong(check, at, "~/ is $HOME", "%s: the home of another user is not looked up",
			config_show(at->node->text).text);
	if (text.p[0] == '~') {
		const char *home = check->env(check->env_arg, "HOME");

		if (!home || home[0] != '/')
			return config_wrong(check, at, NULL, "~ needs the variable HOME to be set to an absolute path");
		qmt_buf_str(&out, home);
		qmt_buf_append(&out, text.p + 1, text.len - 1);
	} else {
		while (text.len >= 2 && text.p[0] == '.' && text.p[1] == '/') {
			text.p += 2;
			text.len -= 2;
			while (text.len > 0 && text.p[0] == '/') { /* ".//x" is "./x", not "/x" */
				text.p++;
				text.len--;
			}
		}
		if (text.len == 0 || text.p[0] != '/')
			qmt_buf_str(&out, check->folder);
		if (text.len > 0 && !qmt_str_is(text, ".")) {
			if (text.p[0] != '/' && !(out.len > 0 && out.data[out.len - 1] == '/'))
				qmt_buf_str(&out, "/");
			qmt_buf_append(&out, text.p, text.len);
		}
	}
	*slot = config_arena_text(check->arena, qmt_buf_view(&out));
	return (*slot && !out.failed) || config_no_memory(check);
}

static bool word_check(struct config_check *check, const struct config_at *at, struct qmt_str word)
{
	const char *rest = at->field->words;
	struct config_nearest nearest = {.word = word, .best = ~0u};
	struct qmt_str candidate;
	char hint[256];

	if (config_word_in(word, rest))
		return true;
	while (config_word_next(&rest, &candidate))
		config_nearest_try(&nearest, candidate);
	if (config_nearest_found(&nearest))
		snprintf(hint, sizeof hint, "did you mean \"%.*s\"?", QMT_STR_ARG(nearest.found));
	else
		snprintf(hint, sizeof hint, "one of: %s", at->field->today ? at->field->today : at->field->words);
	return config_wrong(check, at, hint, "%s is none of the choices", config_show(at->node->text).text);
}

/* A text of this kind, or of the items of such a list. */
static bool text_set(struct config_check *check, const struct config_at *at, struct qmt_str text, const char **slot)
{
	struct qmt_str shown = config_written(at, text);
	struct config_reason reason = {0};
	bool good = true;

	/* What may be left out may be empty: base_url = "${URL:-}". */
	if (text.len == 0 &&
		(at->field->kind == CONFIG_URL || at->field->kind == CONFIG_SECRET || at->field->kind == CONFIG_TEXT)) {
		*slot = NULL;
		return true;
	}
	switch (at->field->kind) {
	case CONFIG_NAME:
	case CONFIG_NAMES:
		good = config_text_is_name(text, shown, &reason);
		break;
	case CONFIG_LABEL:
		good = config_text_is_label(text, shown, &reason);
		break;
	case CONFIG_SECRET:
		good = config_text_is_secret(text, &reason);
		break;
	case CONFIG_URL:
		good = config_text_is_url(text, shown, &reason);
		break;
	case CONFIG_LISTEN:
		good = config_text_is_listen(text, shown, &reason);
		break;
	case CONFIG_DIAL:
	case CONFIG_DIALS:
		good = config_text_is_dial(text, shown, &reason);
		break;
	case CONFIG_WORD:
	case CONFIG_WORDS:
		if (!word_check(check, at, text))
			return false;
		break;
	case CONFIG_PATH:
		return config_path_set(check, at, text, slot);
	default:
		break;
	}
	if (!good)
		return config_wrong(check, at, reason.hint, "%s", reason.text);
	*slot = config_arena_text(check->arena, text);
	return *slot || config_no_memory(check);
}

/* ---- lists ------------------------------------------------------------------------------------------------------- */

static struct qmt_str item_trim(struct qmt_str text)
{
	while (text.len > 0 && strchr(" \t\n\r", text.p[0])) {
		text.p++;
		text.len--;
	}
	while (text.len > 0 && strchr(" \t\n\r", text.p[text.len - 1]))
		text.len--;
	if (text.len >= 2 && text.p[0] == '"' && text.p[text.len - 1] == '"') {
		text.p++;
		text.len -= 2;
	}
	return text;
}

static bool item_set(
	struct config_check *check, const struct config_at *at, struct qmt_str text, const char **items, uint32_t *count)
{
	if (text.len == 0)
		return config_wrong(check, at, NULL, "an empty item");
	if (!text_set(check, at, text, &items[*count]))
		return false;
	for (uint32_t i = 0; i < *count && at->field->kind != CONFIG_TEXTS; i++)
		if (strcmp(items[i], items[*count]) == 0)
			return config_wrong(check, at, NULL, "%s is listed twice", config_show(config_written(at, text)).text);
	++*count;
	return true;
}

/* "a, b, c" */
static bool list_from_text(
	struct config_check *check, const struct config_at *at, struct qmt_str text, struct config_texts *slot)
{
	uint32_t room = 2, count = 0;

	for (uint32_t i = 0; i < text.len; i++)
		room += text.p[i] == ',';
	if (room > CONFIG_ITEMS + 1)
		return config_wrong(check, at, NULL, "more than %d items", CONFIG_ITEMS);

	const char **items = config_arena_get(check->arena, room * sizeof *items);

	if (!items)
		return config_no_memory(check);
	while (item_trim(text).len > 0 || count > 0) {
		const char *comma = text.len > 0 ? memchr(text.p, ',', text.len) : NULL;
		uint32_t len = comma ? (uint32_t)(comma - text.p) : text.len;

		if (!item_set(check, at, item_trim(qmt_strn(text.p, len)), items, &count))
			return false;
		if (!comma)
			break;
		text = qmt_strn(text.p + len + 1, text.len - len - 1);
	}
	*slot = (struct config_texts){items, count};
	return true;
}

static bool list_from_array(struct config_check *check, const struct config_at *at, struct config_texts *slot)
{
	uint32_t room = 1, count = 0;
	bool good = true;

	for (const struct config_node *item = at->node->first; item; item = item->next)
		room++;
	if (room > CONFIG_ITEMS + 1)
		return config_wrong(check, at, NULL, "more than %d items", CONFIG_ITEMS);

	const char **items = config_arena_get(check->arena, room * sizeof *items);

	if (!items)
		return config_no_memory(check);
	for (const struct config_node *item = at->node->first; item; item = item->next) {
		struct config_at one = {at->field, at->path, item};
		struct qmt_str text;
		bool reference;

		if (item->kind != CONFIG_NODE_STRING)
			good = config_wrong(check, &one, NULL, "expected a string, got %s", config_node_kind_text(item));
		else if (!config_expand(check, &one, item->text, &text, &reference) ||
			!item_set(check, &one, text, items, &count))
			good = false;
	}
	if (good)
		*slot = (struct config_texts){items, count};
	return good;
}

/* ------------------------------------------------------------------------------------------------------------------ */

static bool is_list(const struct config_field *field)
{
	return field->kind == CONFIG_TEXTS || field->kind == CONFIG_NAMES || field->kind == CONFIG_WORDS ||
		field->kind == CONFIG_DIALS;
}

bool config_value_set(struct config_check *check, const struct config_at *at, void *slot)
{
	const struct config_node *node = at->node;
	bool is_text = node->kind == CONFIG_NODE_TEXT, is_string = is_text || node->kind == CONFIG_NODE_STRING;
	struct qmt_str text = node->text;

	if (at->field->kind == CONFIG_PROMPT)
		return config_prompt_set(check, at, slot);
	if (at->field->kind == CONFIG_MAP)
		return config_map_set(check, at, slot);
	if (is_string) {
		bool reference;

		if (!config_expand(check, at, text, &text, &reference))
			return false;
		is_text = is_text || reference; /* a number may come out of a variable */
	}
	switch (at->field->kind) {
	case CONFIG_BOOL:
		return bool_set(check, at, is_text, text, slot);
	case CONFIG_U32:
	case CONFIG_U64:
		return whole_set(check, at, is_text, text, slot);
	case CONFIG_F64:
		return f64_set(check, at, is_text, text, slot);
	default:
		break;
	}
	if (is_list(at->field)) {
		if (is_text)
			return list_from_text(check, at, text, slot);
		if (node->kind == CONFIG_NODE_ARRAY)
			return list_from_array(check, at, slot);
		return config_wrong(check, at, node->kind == CONFIG_NODE_STRING ? "in brackets: [\"…\"]" : NULL,
			"expected an array of strings, got %s", config_node_kind_text(node));
	}
	if (!is_string)
		return config_wrong(check, at, NULL, "expected a string, got %s", config_node_kind_text(node));
	return text_set(check, at, text, slot);
}

void config_value_text(const struct config_field *field, const void *slot, struct qmt_buf *out)
{
	const struct config_texts *list = slot;

	switch (field->kind) {
	case CONFIG_BOOL:
		qmt_buf_str(out, *(const bool *)slot ? "true" : "false");
		break;
	case CONFIG_U32:
		qmt_buf_printf(out, "%u", *(const uint32_t *)slot);
		break;
	case CONFIG_U64:
		qmt_buf_printf(out, "%llu", (unsigned long long)*(const uint64_t *)slot);
		break;
	case CONFIG_F64:
		qmt_buf_printf(out, "%g", *(const double *)slot);
		break;
	case CONFIG_TEXTS:
	case CONFIG_NAMES:
	case CONFIG_WORDS:
	case CONFIG_DIALS:
		for (uint32_t i = 0; i < list->count; i++)
			qmt_buf_printf(out, "%s%s", i > 0 ? ", " : "", list->items[i]);
		break;
	default:
		if (*(const char *const *)slot)
			qmt_buf_str(out, *(const char *const *)slot);
		break;
	}
}
