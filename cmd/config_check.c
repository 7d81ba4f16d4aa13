/* cmd/config_check.c - a tree against the table: unknown and missing keys, values, defaults, what this version cannot
 * do.
 *
 * Every table is walked even when it is not in the file, because its defaults are. A table that is in the file but not
 * in this version is looked through as well, so that its other errors show at once.
 */
#include "config_value.h"

#include <assert.h>

struct place {
	const char *path; /* "mesh.peers" */
	bool later;       /* inside of a table that this version does not have */
	bool open;        /* keys that are not declared are taken */
	bool list;        /* an item of an array of tables */
};

static void section_fill(struct config_check *check, const struct config_section *section,
	const struct config_node *node, void *base, const struct place *place);

static void path_join(const char *path, const char *key, char ret_path[CONFIG_PATH_TEXT])
{
	snprintf(ret_path, CONFIG_PATH_TEXT, "%.250s%s%.250s", path, *path ? "." : "", key);
}

/* ---- unknown keys ------------------------------------------------------------------------------------------------ */

static bool section_has(const struct config_section *section, const char *key)
{
	for (const struct config_field *field = section->fields; field->name; field++)
		if (strcmp(config_field_key(field), key) == 0)
			return true;
	return false;
}

/* The table above that knows the key: TOML goes on with the last header, so a key written too late lands below. */
static const char *parent_of(const char *path, const char *key, char room[CONFIG_PATH_TEXT])
{
	const struct config_section *section = &config_root_section;
	const char *found = NULL;
	size_t at = 0;

	for (;;) {
		size_t len = strcspn(path + at, ".");
		const struct config_section *next = NULL;

		if (path[at + len] != '.')
			return found;
		for (const struct config_field *field = section->fields; field->name && !next; field++)
			if (field->section && qmt_str_is(qmt_strn(path + at, len), config_field_key(field)))
				next = field->section;
		if (!next)
			return found;
		section = next;
		at += len + 1;
		if (section_has(section, key)) {
			snprintf(room, CONFIG_PATH_TEXT, "%.*s", (int)(at - 1), path);
			found = room;
		}
	}
}

static void unknown_complain(struct config_check *check, const struct config_section *section,
	const struct config_node *child, const struct place *place)
{
	struct config_nearest nearest = {.word = qmt_str(child->key), .best = ~0u};
	char path[CONFIG_PATH_TEXT], parent[CONFIG_PATH_TEXT], hint[3 * CONFIG_PATH_TEXT];
	struct qmt_buf known QMT_CLEANUP(qmt_buf_free) = {0};

	for (const struct config_field *field = section->fields; field->name; field++) {
		config_nearest_try(&nearest, qmt_str(config_field_key(field)));
		qmt_buf_printf(&known, "%s%s", known.len > 0 ? ", " : "known here: ", config_field_key(field));
	}
	if (known.failed) {
		check->failed = true;
		return;
	}
	path_join(place->path, config_show_key(child->key).text, path);
	if (parent_of(place->path, child->key, parent))
		snprintf(hint, sizeof hint, "it is a key of [%s]: write it above %s%s%s", parent, place->list ? "[[" : "[",
			place->path, place->list ? "]]" : "]");
	else if (config_nearest_found(&nearest))
		snprintf(hint, sizeof hint, "did you mean %.*s?", QMT_STR_ARG(nearest.found));
	else if (known.len < 200)
		snprintf(hint, sizeof hint, "%s", known.data);
	else
		snprintf(hint, sizeof hint, "docs/configuration.md lists the keys%s%s%s", *place->path ? " of [" : "",
			place->path, *place->path ? "]" : "");
	config_complain(check->errors, child->key_line, child->key_col, path, hint, "unknown key");
}

/* ---- one value --------------------------------------------------------------------------------------------------- */

/* "" for a value that is not there; the first word for a choice; else the value itself. */
static const char *default_of(const struct config_field *field)
{
	const char *rest = field->today;
	struct qmt_str first;

	if (field->kind == CONFIG_WORDS || !field->today)
		return field->dflt;
	if (field->kind == CONFIG_WORD && field->dflt && config_word_in(qmt_str(field->dflt), field->today))
		return field->dflt;
	if (field->kind == CONFIG_WORD)
		return !field->required && config_word_next(&rest, &first) ? first.p
																   : NULL; /* `today` of such a WORD is one word */
	return field->today;
}

static void default_set(struct config_check *check, const struct config_field *field, const char *path, void *slot)
{
	const char *text = default_of(field);
	struct config_node node = {.kind = CONFIG_NODE_TEXT, .text = qmt_str(text)};

	if (!text && field->kind == CONFIG_U64)
		*(uint64_t *)slot = field->number;
	if (text && *text)
		(void)config_value_set(
			check, &(struct config_at){field, path, &node}, slot); /* a bad default fails the table's test */
}

static void *inherited(struct config_check *check, const char *path)
{
	const struct config_section *section = &config_root_section;
	char *base = (char *)&check->config->root;

	for (;;) {
		size_t len = strcspn(path, ".");
		const struct config_field *field = section->fields;

		while (field->name && !qmt_str_is(qmt_strn(path, len), config_field_key(field)))
			field++;
		assert(field->name);
		base += field->offset;
		if (path[len] == '\0')
			return base;
		section = field->section;
		path += len + 1;
	}
}

static size_t slot_size(const struct config_field *field)
{
	switch (field->kind) {
	case CONFIG_BOOL:
	case CONFIG_ANY:
		return sizeof(bool);
	case CONFIG_U32:
		return sizeof(uint32_t);
	case CONFIG_U64:
		return sizeof(uint64_t);
	case CONFIG_F64:
		return sizeof(double);
	case CONFIG_TEXTS:
	case CONFIG_NAMES:
	case CONFIG_WORDS:
	case CONFIG_DIALS:
		return sizeof(struct config_texts);
	default:
		return sizeof(const char *);
	}
}

static void not_today(struct config_check *check, const struct config_at *at, const char *value)
{
	const char *key = config_field_key(at->field);
	bool word = at->field->kind == CONFIG_WORD || at->field->kind == CONFIG_WORDS;
	char hint[256];

	if (at->field->hint)
		snprintf(hint, sizeof hint, "%s", at->field->hint);
	else if (*at->field->today)
		snprintf(hint, sizeof hint, "%s: %s", word ? "there is" : "only", at->field->today);
	else
		snprintf(hint, sizeof hint, "leave it out");
	if (value)
		config_complain(
			check->errors, at->node->line, at->node->col, at->path, hint, "not in this version: %s = %s", key, value);
	else
		config_complain(check->errors, at->node->line, at->node->col, at->path, hint, "not in this version: %s", key);
}

/* Whether the value asks for something that only a later version does. */
static void today_check(struct config_check *check, const struct config_at *at, const void *slot)
{
	const struct config_field *field = at->field;
	const struct config_texts *list = slot;
	struct qmt_buf text QMT_CLEANUP(qmt_buf_free) = {0};
	bool number = field->kind == CONFIG_BOOL || field->kind == CONFIG_U64 || field->kind == CONFIG_U32;

	if (field->kind == CONFIG_WORDS) {
		const struct config_node *item = at->node->first;

		for (uint32_t i = 0; i < list->count; i++, item = item ? item->next : NULL)
			if (!config_word_in(qmt_str(list->items[i]), field->today))
				not_today(check, &(struct config_at){field, at->path, item ? item : at->node},
					config_show(qmt_str(list->items[i])).text);
		return;
	}
	config_value_text(field, slot, &text);
	if (text.failed)
		check->failed = true;
	else if (field->kind == CONFIG_WORD ? !config_word_in(qmt_buf_view(&text), field->today)
										: !qmt_str_is(qmt_buf_view(&text), field->today))
		not_today(check, at, number ? text.data : config_show(qmt_buf_view(&text)).text);
}

static bool is_empty(const struct config_node *node)
{
	return !node->first && node->text.len == 0;
}

static void value_fill(struct config_check *check, const struct config_field *field, const struct config_node *child,
	void *slot, const struct place *place)
{
	char path[CONFIG_PATH_TEXT];

	path_join(place->path, config_field_key(field), path);
	if (field->inherits)
		memcpy(slot, inherited(check, field->inherits), slot_size(field));
	else
		default_set(check, field, path, slot);
	if (child && field->today && !*field->today && !place->later && field->kind != CONFIG_WORDS && !is_empty(child)) {
		/* Before variables are looked up: whether they are set does not matter. */
		not_today(check, &(struct config_at){field, path, child}, NULL);
	} else if (child) {
		struct config_at at = {field, path, child};
		bool taken;

		check->later = place->later;
		taken = config_value_set(check, &at, slot);

		if (!taken && field->kind == CONFIG_PATH)
			*(const char **)slot = NULL; /* nobody shall look at the default instead */
		if (taken && field->today && !place->later)
			today_check(check, &at, slot);
		if (taken && field->required && slot_size(field) == sizeof(char *) && !*(const char **)slot)
			config_complain(check->errors, child->line, child->col, path, NULL, "must not be empty");
	}
	if (field->blank && slot_size(field) == sizeof(char *) && !*(const char **)slot)
		*(const char **)slot = "";
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

/* `enabled = false`, `auto = false`, `backend = "none"` ask for nothing. */
static bool is_off(const struct config_section *section, const void *base)
{
	for (const struct config_field *field = section->fields; field->name; field++) {
		const void *slot = (const char *)base + field->offset;
		const char *key = config_field_key(field);

		if (field->kind == CONFIG_BOOL && (strcmp(key, "enabled") == 0 || strcmp(key, "auto") == 0))
			return !*(const bool *)slot;
		if (field->kind == CONFIG_WORD && strcmp(key, "backend") == 0)
			return strcmp(*(const char *const *)slot, "none") == 0;
	}
	return false;
}

static void later_complain(
	struct config_check *check, const struct config_field *field, const struct config_node *node, const char *path)
{
	char shown[CONFIG_PATH_TEXT + 8];

	if (field->kind == CONFIG_LIST)
		snprintf(shown, sizeof shown, "[[%s]]", path);
	else if (field->kind == CONFIG_SEC)
		snprintf(shown, sizeof shown, "[%s]", path);
	else
		snprintf(shown, sizeof shown, "%s", config_field_key(field));
	config_complain(check->errors, node->key_line, node->key_col, path, field->later, "not in this version: %s", shown);
}

static void table_fill(struct config_check *check, const struct config_field *field, const struct config_node *child,
	void *slot, const struct place *place)
{
	char path[CONFIG_PATH_TEXT];

	path_join(place->path, config_field_key(field), path);

	struct place inner = {path, place->later || field->later, field->open, field->kind == CONFIG_LIST};

	if (child && child->kind != CONFIG_NODE_TABLE) {
		char hint[CONFIG_PATH_TEXT + 16];

		snprintf(hint, sizeof hint, "write [%s]", path);
		config_complain(check->errors, child->line, child->col, path, hint, "expected a table, got %s",
			config_node_kind_text(child));
		child = NULL;
	}
	section_fill(check, field->section, child, slot, &inner);
	if (child && field->later && !place->later && !is_off(field->section, slot))
		later_complain(check, field, child, path);
}

static void list_fill(struct config_check *check, const struct config_field *field, const struct config_node *child,
	void *slot, const struct place *place)
{
	struct list { /* every LIST slot has this layout */
		void *items;
		uint32_t count;
	} *list = slot;
	const struct config_section *section = field->section;
	char path[CONFIG_PATH_TEXT], hint[CONFIG_PATH_TEXT + 16];
	uint32_t count = 0;

	path_join(place->path, config_field_key(field), path);
	snprintf(hint, sizeof hint, "write [[%s]]", path);

	struct place inner = {path, place->later || field->later, field->open, field->kind == CONFIG_LIST};

	if (!child)
		return;
	if (child->kind != CONFIG_NODE_ARRAY) {
		config_complain(check->errors, child->key_line, child->key_col, path, hint,
			"expected an array of tables, got %s", config_node_kind_text(child));
		return;
	}
	for (const struct config_node *item = child->first; item; item = item->next)
		count++;
	if (count > CONFIG_ITEMS) {
		config_complain(check->errors, child->key_line, child->key_col, path, NULL, "more than %d items", CONFIG_ITEMS);
		return;
	}

	char *items = count > 0 ? config_arena_get(check->arena, (size_t)count * section->size) : NULL;

	if (count > 0 && !items) {
		check->failed = true;
		return;
	}
	count = 0;
	for (const struct config_node *item = child->first; item; item = item->next) {
		void *base = items + (size_t)count * section->size;

		if (item->kind != CONFIG_NODE_TABLE) {
			config_complain(check->errors, item->line, item->col, path, hint, "expected a table, got %s",
				config_node_kind_text(item));
			continue;
		}
		section_fill(check, section, item, base, &inner);
		if (field->later && !place->later && !is_off(section, base))
			later_complain(check, field, item, path);
		count++;
	}
	*list = (struct list){items, count};
}

/* A key of another kind of its table: providers.base_url of kind builtin. */
static void only_check(struct config_check *check, const struct config_section *section, const struct config_node *node,
	const void *base, const struct place *place)
{
	const char *kind = NULL;

	for (const struct config_field *field = section->fields; field->name; field++)
		if (strcmp(field->name, "kind") == 0)
			kind = *(const char *const *)((const char *)base + field->offset);
	for (const struct config_field *field = section->fields; field->name && kind && *kind; field++) {
		const struct config_node *child = config_node_find(node, config_field_key(field));
		struct qmt_buf kinds QMT_CLEANUP(qmt_buf_free) = {0};
		char path[CONFIG_PATH_TEXT];
		struct qmt_str word;

		if (!child || !field->only || config_word_in(qmt_str(kind), field->only))
			continue;
		path_join(place->path, config_field_key(field), path);
		for (const char *rest = field->only; config_word_next(&rest, &word);)
			qmt_buf_printf(&kinds, "%s\"%.*s\"", kinds.len > 0 ? " or " : "", QMT_STR_ARG(word));
		if (kinds.failed)
			check->failed = true;
		else
			config_complain(check->errors, child->key_line, child->key_col, path, "leave it out",
				"only for kind = %s, this one is \"%s\"", kinds.data, kind);
	}
}

static void section_fill(struct config_check *check, const struct config_section *section,
	const struct config_node *node, void *base, const struct place *place)
{
	*(struct config_where *)base = (struct config_where){node, node ? node->line : 0, node ? node->col : 0};
	for (const struct config_field *field = section->fields; field->name; field++) {
		const struct config_node *child = config_node_find(node, config_field_key(field));
		void *slot = (char *)base + field->offset;

		switch (field->kind) {
		case CONFIG_SEC:
			table_fill(check, field, child, slot, place);
			break;
		case CONFIG_LIST:
			list_fill(check, field, child, slot, place);
			break;
		case CONFIG_ANY: {
			char path[CONFIG_PATH_TEXT];

			path_join(place->path, config_field_key(field), path);
			*(bool *)slot = child != NULL;
			if (child && field->later && !place->later)
				later_complain(check, field, child, path);
			break;
		}
		default:
			value_fill(check, field, child, slot, place);
			if (!child && field->required && node) {
				char path[CONFIG_PATH_TEXT];

				path_join(place->path, config_field_key(field), path);
				config_complain(check->errors, node->line, node->col, path, NULL, "missing");
			}
		}
	}
	if (node)
		only_check(check, section, node, base, place);
	for (const struct config_node *child = node ? node->first : NULL; child; child = child->next)
		if (!section_has(section, child->key) && !place->open)
			unknown_complain(check, section, child, place);
}

void config_check_tree(struct config_check *check, const struct config_node *root)
{
	section_fill(check, &config_root_section, root, &check->config->root, &(struct place){"", false, false, false});
}
