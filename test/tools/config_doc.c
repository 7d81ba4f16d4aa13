/* test/tools/config_doc.c - docs/configuration.md from the table of parameters (`make docs` writes, lint compares). */
#include <stdio.h>

#include "cmd/config.h"

static const char head[] =
	"<!-- Made by `make docs` from cmd/config_params.def and the tables of the modules: do not edit. -->\n"
	"# Configuration\n"
	"\n"
	"`qmtd FILE` runs a node, `qmtd check FILE` only looks at its file, `qmtd check FILE --dump` prints what\n"
	"holds, defaults included. All errors are told at once, as `file:line:col: key: reason (hint)`, and end\n"
	"in exit code 78. Files to begin with are in [examples/](examples/README.md).\n"
	"\n"
	"- **Syntax**: TOML 1.0; INI when the name ends in `.ini` or `.conf`.\n"
	"- **Unknown keys** are errors, with the nearest name. In TOML a key belongs to the last header above it:\n"
	"  keys of `[mesh]` stand before `[[mesh.peers]]`.\n"
	"- **Variables**: `${NAME}` and `${NAME:-default}` in every text value, and in prompt files; NAME is\n"
	"  `[A-Z_][A-Z0-9_]*`. The default counts only when the variable is unset: one that is set and empty\n"
	"  stays empty. `${lower}` and everything else stays as it is; there is no nesting. A number, a switch or\n"
	"  a list (comma-separated) may come out of a variable: `request_timeout_secs = \"${TIMEOUT}\"`.\n"
	"- **Paths**: relative ones start at the folder of the file, `~/` is `$HOME`.\n"
	"- **Secrets** are printed by nothing. Write them as `${NAME}`, so that they are in no file.\n"
	"- **Not in this version**: every key of the mesh document is declared. One whose mechanism does not\n"
	"  exist yet is the error `not in this version: transport = \"iroh\"` as soon as a value asks for it; it\n"
	"  is never ignored. The column \"this version\" names the values that work; they stand in for a default\n"
	"  that does not. `discovery` that is not given would be `mdns`: in this version it is `none`, and the\n"
	"  node says so once at its start.\n"
	"- **Limits**: a file has at most %d bytes, a list %d items, a dotted key %d parts, a system prompt %d\n"
	"  bytes; of more than %d errors the rest is counted.\n"
	"\n"
	"## INI\n"
	"\n"
	"```ini\n"
	"[mesh]\n"
	"enabled = true\n"
	"capabilities = cpu, gpu\n"
	"\n"
	"[mesh.peers.gpu-server]\n"
	"addr = /ip4/192.168.1.100/tcp/9000\n"
	"```\n"
	"\n"
	"The last part of a list's section is the item's name (`name`, `id` or `type`, see below); tables below\n"
	"it may follow: `[delegates.coder.execution]`. Lists are comma-separated. One pair of double quotes round\n"
	"a value is dropped. Text behind ` ;` is a comment, as is a line that begins with `;` or `#`. A line has\n"
	"at most %d bytes: put a longer value into a variable, `system = ${PROMPT}`, or use TOML. Whole keys that\n"
	"TOML can write as a list of texts and files (`system`) are one text in INI.\n";

static const char *type_text(const struct config_field *field)
{
	static const char *const names[] = {[CONFIG_BOOL] = "true, false",
		[CONFIG_U32] = "whole number",
		[CONFIG_U64] = "whole number",
		[CONFIG_F64] = "number",
		[CONFIG_TEXT] = "text",
		[CONFIG_NAME] = "name",
		[CONFIG_LABEL] = "text",
		[CONFIG_WORD] = "one of",
		[CONFIG_PATH] = "path",
		[CONFIG_LISTEN] = "address",
		[CONFIG_DIAL] = "address",
		[CONFIG_URL] = "URL",
		[CONFIG_SECRET] = "secret",
		[CONFIG_PROMPT] = "text, or list of texts and `{ file = \"…\" }`",
		[CONFIG_MAP] = "free table",
		[CONFIG_TEXTS] = "list of texts",
		[CONFIG_NAMES] = "list of names",
		[CONFIG_WORDS] = "list of",
		[CONFIG_DIALS] = "list of addresses",
		[CONFIG_ANY] = "any"};

	return names[field->kind];
}

static void type_print(const struct config_field *field)
{
	printf("%s", type_text(field));
	for (const char *word = field->words ? field->words : ""; *word;) {
		size_t len = strcspn(word, " ");

		printf("%s`%.*s`", word == field->words ? " " : ", ", (int)len, word);
		word += len + strspn(word + len, " ");
	}
	if (field->max > 0)
		printf(", %llu to %llu", (unsigned long long)field->min, (unsigned long long)field->max);
	else if (field->min > 0)
		printf(", at least %llu", (unsigned long long)field->min);
}

static void default_print(const struct config_field *field)
{
	if (field->required)
		printf("required");
	else if (field->inherits)
		printf("`%s`", field->inherits);
	else if (field->shown)
		printf(*field->shown == '<' ? "`%s`" : "%s", field->shown);
	else if (field->dflt && *field->dflt)
		printf("`%s`", field->dflt);
	else if (!field->dflt && (field->kind == CONFIG_U32 || field->kind == CONFIG_U64))
		printf("`%llu`", (unsigned long long)field->number);
	else
		printf("-");
}

static void today_print(const struct config_field *field)
{
	if (field->later || (field->today && !*field->today))
		printf("not yet");
	else if (field->today)
		printf("only `%s`", field->today);
	else
		printf("all");
}

static bool is_table(const struct config_field *field)
{
	return field->kind == CONFIG_SEC || field->kind == CONFIG_LIST;
}

/* Text into a cell: a bar would end it. */
static void cell_print(const char *text)
{
	for (; *text; text++)
		printf(*text == '|' ? "\\|" : *text == '<' ? "&lt;" : "%c", *text);
}

static void section_print(const struct config_section *section, const char *path, bool later)
{
	bool any = false;

	for (const struct config_field *field = section->fields; field->name; field++) {
		if (is_table(field))
			continue;
		if (!any)
			printf("| key | type | default | this version | |\n|---|---|---|---|---|\n");
		any = true;
		printf("| `%s` | ", config_field_key(field));
		type_print(field);
		printf(" | ");
		default_print(field);
		printf(" | ");
		if (later)
			printf("not yet");
		else
			today_print(field);
		printf(" | ");
		if (field->only)
			printf("(%s) ", field->only);
		cell_print(field->doc);
		printf(" |\n");
	}
	for (const struct config_field *field = section->fields; field->name; field++) {
		char inner[256];
		bool list = field->kind == CONFIG_LIST;

		if (!is_table(field))
			continue;
		snprintf(inner, sizeof inner, "%s%s%s", path, *path ? "." : "", config_field_key(field));
		printf("\n## %s%s%s\n\n%s", list ? "[[" : "[", inner, list ? "]]" : "]", field->doc);
		if (list)
			printf(" In INI: `[%s.NAME]`, NAME is `%s`.", inner, field->naming);
		if (field->open)
			printf(" Further keys are taken as they are.");
		if (field->later || later)
			printf(field->later ? " **Not in this version**: %s." : " **Not in this version.**", field->later);
		printf("\n\n");
		section_print(field->section, inner, later || field->later);
	}
}

int main(void)
{
	printf(head, CONFIG_FILE_BYTES, CONFIG_ITEMS, CONFIG_KEY_PARTS, CONFIG_PROMPT_BYTES, CONFIG_ERRORS,
		CONFIG_INI_LINE_BYTES);
	section_print(&config_root_section, "", false);
	return ferror(stdout) || fflush(stdout) ? 1 : 0;
}
