/* cmd/config_dump.c - what holds, as TOML to read: `qmtd check FILE --dump`. */
#include <errno.h>

#include "config_value.h"
#include "proto/json.h"

static const void *slot_of(const struct config_field *field, const void *base)
{
	return (const char *)base + field->offset;
}

static bool is_set(const struct config_field *field, const void *slot)
{
	struct qmt_buf text QMT_CLEANUP(qmt_buf_free) = {0};

	config_value_text(field, slot, &text);
	return text.len > 0;
}

static void value_dump(const struct config_field *field, const void *slot, struct qmt_buf *out)
{
	const struct config_texts *list = slot;

	switch (field->kind) {
	case CONFIG_BOOL:
	case CONFIG_U32:
	case CONFIG_U64:
	case CONFIG_F64:
	case CONFIG_MAP:
		config_value_text(field, slot, out);
		break;
	case CONFIG_SECRET:
		qmt_buf_str(out, is_set(field, slot) ? "\"(set)\"" : "\"(unset)\"");
		break;
	case CONFIG_TEXTS:
	case CONFIG_NAMES:
	case CONFIG_WORDS:
	case CONFIG_DIALS:
		qmt_buf_str(out, "[");
		for (uint32_t i = 0; i < list->count; i++) {
			qmt_buf_str(out, i > 0 ? ", " : "");
			json_quote(out, qmt_str(list->items[i]));
		}
		qmt_buf_str(out, "]");
		break;
	default:
		json_quote(out, qmt_str(*(const char *const *)slot));
	}
}

/* Whether all of it is for later versions. */
static bool is_nothing(const struct config_section *section)
{
	for (const struct config_field *field = section->fields; field->name; field++)
		if (!field->later)
			return false;
	return true;
}

static void section_dump(const struct config_section *section, const void *base, const char *path, struct qmt_buf *out)
{
	const struct config_where *where = base;
	const char *kind = "";

	for (const struct config_field *field = section->fields; field->name; field++)
		if (strcmp(field->name, "kind") == 0)
			kind = *(const char *const *)slot_of(field, base);
	for (const struct config_field *field = section->fields; field->name; field++) {
		const void *slot = slot_of(field, base);
		const char *key = config_field_key(field);
		bool written = config_node_find(where->node, key);

		if (field->kind == CONFIG_SEC || field->kind == CONFIG_LIST || field->kind == CONFIG_ANY ||
			(field->only && !config_word_in(qmt_str(kind), field->only)))
			continue;
		if (!is_set(field, slot) && field->kind != CONFIG_SECRET) {
			qmt_buf_printf(
				out, "# %s%s%s\n", key, field->shown ? " is " : " is not set", field->shown ? field->shown : "");
			continue;
		}
		qmt_buf_printf(out, "%s = ", key);
		value_dump(field, slot, out);
		qmt_buf_str(out, written ? "\n" : " # default\n");
	}
	for (const struct config_field *field = section->fields; field->name; field++) {
		const void *slot = slot_of(field, base);
		const struct list {
			const char *items;
			uint32_t count;
		} *list = slot;
		char inner[CONFIG_PATH_TEXT];

		snprintf(inner, sizeof inner, "%s%s%s", path, *path ? "." : "", config_field_key(field));
		if (field->later || (field->optional && !((const struct config_where *)slot)->node))
			continue;
		if (field->kind == CONFIG_SEC && !is_nothing(field->section)) {
			qmt_buf_printf(out, "%s[%s]\n", out->len > 0 ? "\n" : "", inner);
			section_dump(field->section, slot, inner, out);
		}
		for (uint32_t i = 0; field->kind == CONFIG_LIST && i < list->count; i++) {
			qmt_buf_printf(out, "%s[[%s]]\n", out->len > 0 ? "\n" : "", inner);
			section_dump(field->section, list->items + (size_t)i * field->section->size, inner, out);
		}
	}
}

int config_dump(const struct config *config, struct qmt_buf *out)
{
	section_dump(&config_root_section, &config->root, "", out);
	return out->failed ? -ENOMEM : 0;
}
