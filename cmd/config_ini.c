/* cmd/config_ini.c - INI text to the same tree as TOML gives.
 *
 * inih splits a line into key and value and cuts comments. Its traps are kept away by the reader that feeds it: it cuts
 * lines at 198 bytes and section names at 49 without a word (long lines are refused, sections are ours), joins an
 * indented line to the one above (blanks in front are taken off), takes any text behind "]", and tells no line number
 * (we count).
 *
 * INI is flat, so section names are read against the parameter table: [mesh.peers.gpu-server] is an item of the list
 * mesh.peers, called gpu-server; [mesh.link] is a table. Values have no type here: CONFIG_NODE_TEXT.
 */
#include <errno.h>
#include <ini.h>

#include "config.h"
#include "config_read.h"

struct ini {
	const char *p, *end; /* what is not read yet */
	struct config_arena *arena;
	struct config_node *root, *section; /* section: where keys go */
	struct config_errors *errors;
	const char *section_name;
	struct qmt_str raw; /* the line that inih has now, without blanks in front and line end */
	uint32_t line;
	uint32_t indent; /* characters taken off in front of raw */
	bool failed;     /* out of memory */
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/* Column of a place in raw. */
static uint32_t col_of(const struct ini *ini, const char *place)
{
	uint32_t col = ini->indent + 1;

	for (const char *p = ini->raw.p; p < place; p++)
		col += ((unsigned char)*p & 0xc0) != 0x80;
	return col;
}

static struct qmt_str trim(struct qmt_str text)
{
	while (text.len > 0 && is_blank(text.p[0])) {
		text.p++;
		text.len--;
	}
	while (text.len > 0 && is_blank(text.p[text.len - 1]))
		text.len--;
	return text;
}

/* ---- sections ---------------------------------------------------------------------------------------------------- */

static const struct config_field *field_find(const struct config_section *section, struct qmt_str key)
{
	for (const struct config_field *field = section->fields; field->name; field++)
		if (qmt_str_is(key, config_field_key(field)))
			return field;
	return NULL;
}

static struct qmt_str part_take(struct qmt_str *rest)
{
	const char *dot = rest->len > 0 ? memchr(rest->p, '.', rest->len) : NULL;
	struct qmt_str part = qmt_strn(rest->p, dot ? (size_t)(dot - rest->p) : rest->len);
	uint32_t used = part.len + (dot ? 1 : 0);

	rest->p += used;
	rest->len -= used;
	return part;
}

/* Whether "execution.compaction" leads from section to a table. */
static bool leads_to_table(const struct config_section *section, struct qmt_str path)
{
	while (path.len > 0) {
		const struct config_field *field = field_find(section, part_take(&path));

		if (!field)
			return false;
		if (field->kind == CONFIG_MAP || field->kind == CONFIG_ANY)
			return path.len == 0;
		if (field->kind != CONFIG_SEC)
			return false;
		section = field->section;
	}
	return true;
}

/* Of "coder.execution.compaction" behind a list: the item's name, up to where a known table of the item begins. A name
 * may have dots itself. */
static struct qmt_str item_name_take(const struct config_section *section, struct qmt_str *rest)
{
	struct qmt_str whole = *rest;

	for (uint32_t i = 1; i + 1 < whole.len; i++) {
		struct qmt_str tail = qmt_strn(whole.p + i + 1, whole.len - i - 1);

		if (whole.p[i] == '.' && leads_to_table(section, tail)) {
			*rest = tail;
			return qmt_strn(whole.p, i);
		}
	}
	*rest = qmt_strn(whole.p + whole.len, 0);
	return whole;
}

/* A child that may be there already. */
static struct config_node *child_at(
	struct ini *ini, struct config_node *parent, enum config_node_kind kind, struct qmt_str key, const char *place)
{
	for (struct config_node *node = parent->first; node; node = node->next)
		if (node->key && qmt_str_is(key, node->key))
			return node;

	struct config_node *node = config_node_add(ini->arena, parent, kind, key);

	if (node) {
		node->key_line = node->line = ini->line;
		node->key_col = node->col = col_of(ini, place);
	}
	return node;
}

static struct config_node *item_at(struct ini *ini, struct config_node *list, const char *naming, struct qmt_str name)
{
	for (struct config_node *item = list->first; item; item = item->next) {
		const struct config_node *named = config_node_find(item, naming);

		if (named && qmt_str_eq(named->text, name))
			return item;
	}

	struct config_node *item = config_node_add(ini->arena, list, CONFIG_NODE_TABLE, qmt_str(NULL));
	struct config_node *named = item ? child_at(ini, item, CONFIG_NODE_TEXT, qmt_str(naming), name.p) : NULL;

	if (!named || !(named->text.p = config_arena_text(ini->arena, name)))
		return NULL;
	named->text.len = name.len;
	item->key_line = item->line = ini->line;
	item->key_col = item->col = col_of(ini, name.p);
	return item;
}

/* The table for a section's name, or one that nothing reads when the name is wrong. NULL: out of memory. */
static struct config_node *section_at(struct ini *ini, struct qmt_str name)
{
	const struct config_section *section = &config_root_section;
	struct config_node *at = ini->root;
	struct qmt_str rest = name;

	while (at && rest.len > 0) {
		struct qmt_str part = part_take(&rest);
		const struct config_field *field = field_find(section, part);

		if (!field ||
			!(field->kind == CONFIG_SEC || field->kind == CONFIG_LIST || field->kind == CONFIG_MAP ||
				field->kind == CONFIG_ANY))
			/* The checker calls it unknown, or a table where a value belongs; its keys do not matter then. */
			return child_at(ini, at, CONFIG_NODE_TABLE, part, part.p);
		if (field->kind == CONFIG_LIST) {
			at = child_at(ini, at, CONFIG_NODE_ARRAY, part, part.p);
			if (at && at->kind != CONFIG_NODE_ARRAY)
				return at;
			if (at && rest.len == 0) {
				char key[CONFIG_INI_LINE_BYTES + 1], hint[CONFIG_INI_LINE_BYTES + 16];

				snprintf(key, sizeof key, "%.*s", QMT_STR_ARG(name));
				snprintf(hint, sizeof hint, "write [%s.NAME]", key);
				config_complain(
					ini->errors, ini->line, col_of(ini, name.p), key, hint, "a list: the section needs a name");
				return config_arena_get(ini->arena, sizeof *at); /* a table that hangs nowhere */
			}
			if (at)
				at = item_at(ini, at, field->naming, item_name_take(field->section, &rest));
		} else {
			at = child_at(ini, at, CONFIG_NODE_TABLE, part, part.p);
			if (field->kind != CONFIG_SEC) { /* free keys, so free tables too */
				while (at && at->kind == CONFIG_NODE_TABLE && rest.len > 0) {
					part = part_take(&rest);
					at = child_at(ini, at, CONFIG_NODE_TABLE, part, part.p);
				}
				return at;
			}
		}
		if (at && at->kind != CONFIG_NODE_TABLE)
			return at; /* a key of this name was there first */
		section = field->section;
	}
	return at;
}

static void section_open(struct ini *ini)
{
	const char *close = memchr(ini->raw.p, ']', ini->raw.len);
	struct qmt_str name = trim(qmt_strn(ini->raw.p + 1, close ? (size_t)(close - ini->raw.p) - 1 : ini->raw.len - 1));
	struct qmt_str behind =
		close ? trim(qmt_strn(close + 1, (size_t)(ini->raw.p + ini->raw.len - close) - 1)) : qmt_str(NULL);

	ini->section = NULL;
	if (!close) {
		config_complain(ini->errors, ini->line, ini->indent + 1, NULL, NULL, "a section without its closing ]");
	} else if (behind.len > 0 && behind.p[0] != ';' && behind.p[0] != '#') {
		config_complain(ini->errors, ini->line, col_of(ini, behind.p), NULL, "a comment begins with ; or #",
			"text behind the ] of a section");
	} else if (name.len == 0 || name.p[0] == '.' || name.p[name.len - 1] == '.' || memmem(name.p, name.len, "..", 2)) {
		config_complain(ini->errors, ini->line, col_of(ini, name.p), NULL, NULL, "%s is no name of a section",
			config_show(name).text);
	} else {
		struct config_node *section = section_at(ini, name);

		ini->section_name = config_arena_text(ini->arena, name);
		if (!section || !ini->section_name)
			ini->failed = true;
		else if (section->kind != CONFIG_NODE_TABLE)
			config_complain(ini->errors, ini->line, col_of(ini, name.p), ini->section_name, NULL,
				"a section with the name of a key, which line %u has", section->key_line);
		else if (section->boolean) /* boolean of a table: it had its header */
			config_complain(ini->errors, ini->line, col_of(ini, name.p), ini->section_name, "one section, all its keys",
				"the section was opened before, in line %u", section->line);
		if (section && section->kind == CONFIG_NODE_TABLE) {
			if (!section->boolean) { /* it may have come about through a section below it */
				section->line = section->key_line = ini->line;
				section->col = section->key_col = col_of(ini, name.p);
			}
			section->boolean = true;
			ini->section = section;
		}
	}
	if (!ini->section && !ini->failed) {
		ini->section_name = "";
		ini->section = config_arena_get(ini->arena, sizeof *ini->section); /* its keys are read and forgotten */
		ini->failed = !ini->section;
	}
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

/* Bytes in front of the "=" or ":" that ends the key. */
static uint32_t key_bytes(struct qmt_str line)
{
	uint32_t len = 0;

	while (len < line.len && line.p[len] != '=' && line.p[len] != ':')
		len++;
	return len;
}

/* The key in front of a separator, for messages. */
static void key_of(const struct ini *ini, struct qmt_str line, char *ret_key, size_t size)
{
	struct qmt_str key = trim(qmt_strn(line.p, key_bytes(line)));

	if (key.len > 64)
		key.len = 64;
	snprintf(ret_key, size, "%s%s%.*s", ini->section_name, *ini->section_name ? "." : "", QMT_STR_ARG(key));
}

/* Looks at the line before inih does. False: inih shall see an empty one. */
static bool line_check(struct ini *ini, struct qmt_str whole)
{
	if (ini->raw.len == 0 || ini->raw.p[0] == ';' || ini->raw.p[0] == '#')
		return false;
	if (whole.len > CONFIG_INI_LINE_BYTES) {
		char key[CONFIG_INI_LINE_BYTES + 80], hint[CONFIG_INI_LINE_BYTES + 160];
		const char *name = strrchr((key_of(ini, ini->raw, key, sizeof key), key), '.');

		snprintf(hint, sizeof hint, "put the value into a variable: %s = ${VAR}; or use TOML", name ? name + 1 : key);
		config_complain(ini->errors, ini->line, 1, key, hint, "a line of %u bytes, INI has at most %d", whole.len,
			CONFIG_INI_LINE_BYTES);
		return false;
	}
	if (ini->raw.p[0] == '[') {
		section_open(ini);
		return false;
	}
	if (key_bytes(ini->raw) == ini->raw.len) {
		config_complain(ini->errors, ini->line, ini->indent + 1, NULL, NULL,
			"expected `key = value` or [section], got %s", config_show(ini->raw).text);
		return false;
	}
	return true;
}

/* inih's fgets. */
static char *line_read(char *to, int size, void *stream)
{
	struct ini *ini = stream;

	if (ini->p >= ini->end || ini->failed || size < CONFIG_INI_LINE_BYTES + 2)
		return NULL;

	const char *eol = memchr(ini->p, '\n', (size_t)(ini->end - ini->p));
	struct qmt_str whole = qmt_strn(ini->p, (size_t)((eol ? eol : ini->end) - ini->p));

	ini->p = eol ? eol + 1 : ini->end;
	ini->line++;
	while (whole.len > 0 && whole.p[whole.len - 1] == '\r')
		whole.len--;
	ini->raw = trim(whole);
	ini->indent = (uint32_t)(ini->raw.p - whole.p);

	uint32_t len = line_check(ini, whole) ? ini->raw.len : 0;

	memcpy(to, ini->raw.p, len);
	memcpy(to + len, "\n", 2);
	return to;
}

static int value_take(void *user, const char *inih_section, const char *name, const char *value)
{
	struct ini *ini = user;

	(void)inih_section; /* cut at 49 bytes */
	if (!name || !value || ini->failed)
		return 1;

	const char *at = ini->raw.p + key_bytes(ini->raw) + 1;

	while (at < ini->raw.p + ini->raw.len && is_blank(*at))
		at++;
	for (const struct config_node *old = ini->section->first; old; old = old->next)
		if (old->key && strcmp(old->key, name) == 0) {
			char key[2 * CONFIG_INI_LINE_BYTES];

			key_of(ini, ini->raw, key, sizeof key);
			config_complain(
				ini->errors, ini->line, ini->indent + 1, key, NULL, "given twice, first in line %u", old->key_line);
			return 1;
		}

	struct qmt_str text = qmt_str(value);

	if (text.len >= 2 && text.p[0] == '"' && text.p[text.len - 1] == '"' && !memchr(text.p + 1, '"', text.len - 2))
		text = qmt_strn(text.p + 1, text.len - 2);

	struct config_node *node = config_node_add(ini->arena, ini->section, CONFIG_NODE_TEXT, qmt_str(name));
	char *copy = node ? config_arena_text(ini->arena, text) : NULL;

	if (!copy) {
		ini->failed = true;
		return 1;
	}
	node->text = qmt_strn(copy, text.len);
	node->key_line = node->line = ini->line;
	node->key_col = ini->indent + 1;
	node->col = col_of(ini, at);
	return 1;
}

int config_ini_read(
	struct qmt_str text, struct config_arena *arena, struct config_node *root, struct config_errors *errors)
{
	struct ini ini = {.arena = arena, .root = root, .section = root, .errors = errors, .section_name = ""};

	if (text.len >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0) /* byte order mark */
		text = qmt_strn(text.p + 3, text.len - 3);
	ini.p = text.p;
	ini.end = text.p + text.len;

	int bad_line = ini_parse_stream(line_read, &ini, value_take, &ini);

	if (ini.failed || bad_line == -2)
		return -ENOMEM;
	if (bad_line > 0) /* our own look at the line should have found it */
		config_complain(errors, (uint32_t)bad_line, 1, NULL, NULL, "expected `key = value` or [section]");
	return 0;
}
