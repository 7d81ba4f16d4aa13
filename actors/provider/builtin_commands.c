/* actors/provider/builtin_commands.c - see builtin_commands.h. */
#include "builtin_commands.h"

static const struct {
	const char *name, *tool, *form;
} verbs[] = {
#define VERB(verb, tool, form) {#verb, tool, form},
	BUILTIN_VERBS(VERB)};

const char *builtin_verb_name(enum builtin_verb verb)
{
	return verbs[verb].name;
}

const char *builtin_verb_tool(enum builtin_verb verb)
{
	return verbs[verb].tool;
}

const char *builtin_verb_form(enum builtin_verb verb)
{
	return verbs[verb].form;
}

/* ---- pieces of text ---------------------------------------------------------------------------------------------- */

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct qmt_str skip(struct qmt_str text, uint32_t n)
{
	return qmt_strn(text.p + n, text.len - n);
}

static struct qmt_str trim_front(struct qmt_str text)
{
	while (text.len > 0 && is_space(text.p[0]))
		text = skip(text, 1);
	return text;
}

static struct qmt_str trim(struct qmt_str text)
{
	text = trim_front(text);
	while (text.len > 0 && is_space(text.p[text.len - 1]))
		text.len--;
	return text;
}

/* `text` begins with the phrase as whole words: what follows it, without white space in front. */
static bool take_phrase(struct qmt_str *text, const char *phrase)
{
	uint32_t len = (uint32_t)strlen(phrase);

	if (text->len < len || strncasecmp(text->p, phrase, len) != 0)
		return false;
	if (text->len > len && !is_space(text->p[len]))
		return false;
	*text = trim_front(skip(*text, len));
	return true;
}

static bool take_any(struct qmt_str *text, const char *const *phrases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (take_phrase(text, phrases[i]))
			return true;
	return false;
}

/* Without "…", '…' or `…` around the whole. */
static struct qmt_str unquote(struct qmt_str text, const char *quotes)
{
	if (text.len >= 2 && text.p[0] == text.p[text.len - 1] && text.p[0] && strchr(quotes, text.p[0]) &&
		!memchr(text.p + 1, text.p[0], text.len - 2))
		return qmt_strn(text.p + 1, text.len - 2);
	return text;
}

/* A file name as people write it at the end of a sentence: "a.c?", "a.c.", but also "." and "..". */
static struct qmt_str clean_name(struct qmt_str text)
{
	text = trim(text);
	while (text.len > 1 && (text.p[text.len - 1] == '?' || text.p[text.len - 1] == ',' || text.p[text.len - 1] == '!'))
		text.len--;
	if (text.len > 1 && text.p[text.len - 1] == '.' && text.p[text.len - 2] != '.' && text.p[text.len - 2] != '/')
		text.len--;
	return unquote(text, "\"'`");
}

/* ---- one command ------------------------------------------------------------------------------------------------- */

/* The verb that `text` begins with, after marks and polite words; ret_rest: what follows it. */
static bool find_verb(struct qmt_str text, enum builtin_verb *ret_verb, struct qmt_str *ret_rest)
{
	static const char *const before[] = {"-", "*", "please", "now", "first", "and", "also", "then", "can you",
		"could you", "1.", "2.", "3.", "4.", "5."};

	text = trim_front(text);
	while (take_any(&text, before, sizeof before / sizeof *before))
		;
	for (int verb = 0; verb < BUILTIN_VERB_COUNT; verb++) {
		if (take_phrase(&text, verbs[verb].name)) {
			*ret_verb = (enum builtin_verb)verb;
			*ret_rest = text;
			return true;
		}
	}
	return false;
}

static void read_list(struct builtin_command *command, struct qmt_str rest)
{
	static const char *const noise[] = {"the", "all", "files", "directory", "folder", "dir", "contents", "in", "of"};

	while (take_any(&rest, noise, sizeof noise / sizeof *noise))
		;
	command->what = clean_name(rest);
	if (command->what.len == 0)
		command->what = qmt_str(".");
}

static void read_write(struct builtin_command *command, struct qmt_str rest)
{
	static const char *const noise[] = {"the file", "file", "to"};
	const char *colon;

	take_any(&rest, noise, sizeof noise / sizeof *noise);
	colon = rest.len > 0 ? memchr(rest.p, ':', rest.len) : NULL;
	if (!colon) {
		command->problem = "a colon behind the name is missing";
		return;
	}
	command->what = clean_name(qmt_strn(rest.p, (size_t)(colon - rest.p)));
	command->text = skip(rest, (uint32_t)(colon - rest.p) + 1);
	if (command->text.len > 0 && (command->text.p[0] == ' ' || command->text.p[0] == '\n'))
		command->text = skip(command->text, 1);
}

static void read_edit(struct builtin_command *command, struct qmt_str rest)
{
	read_write(command, rest);
	if (command->problem)
		return;
	for (uint32_t i = 0; i + 1 < command->text.len; i++) {
		if (command->text.p[i] != '=' || command->text.p[i + 1] != '>')
			continue;
		command->old = unquote(trim(qmt_strn(command->text.p, i)), "\"`");
		command->text = unquote(trim(skip(command->text, i + 2)), "\"`");
		if (command->old.len == 0)
			command->problem = "the old text is missing";
		return;
	}
	command->problem = "\"=>\" between the old and the new text is missing";
}

static void read_command(enum builtin_verb verb, struct qmt_str rest, struct builtin_command *ret_command)
{
	static const char *const file[] = {"the file", "file"}, *const command[] = {"the command", "command"};

	*ret_command = (struct builtin_command){.verb = verb};
	switch (verb) {
	case BUILTIN_read:
		take_any(&rest, file, sizeof file / sizeof *file);
		ret_command->what = clean_name(rest);
		break;
	case BUILTIN_list:
		read_list(ret_command, rest);
		break;
	case BUILTIN_run:
		take_any(&rest, command, sizeof command / sizeof *command);
		ret_command->what = unquote(trim(rest), "`");
		break;
	case BUILTIN_write:
		read_write(ret_command, rest);
		break;
	case BUILTIN_edit:
		read_edit(ret_command, rest);
		break;
	case BUILTIN_VERB_COUNT:
		break;
	}
	if (!ret_command->problem && ret_command->what.len == 0)
		ret_command->problem = verb == BUILTIN_run ? "the command is missing" : "the name is missing";
}

/* ---- a prompt ---------------------------------------------------------------------------------------------------- */

/* Where " then " is followed by another command: the length in front of it (without "and", "," and the like), and the
 * rest. */
static bool split_then(struct qmt_str text, struct qmt_str *ret_first, struct qmt_str *ret_rest)
{
	static const char word[] = " then ";
	enum { WORD = sizeof word - 1 };
	enum builtin_verb verb;
	struct qmt_str rest;

	for (uint32_t i = 0; i + WORD < text.len; i++) {
		if (strncasecmp(text.p + i, word, WORD) != 0 || !find_verb(skip(text, i + WORD), &verb, &rest))
			continue;

		struct qmt_str first = trim(qmt_strn(text.p, i));

		if (first.len > 4 && strncasecmp(first.p + first.len - 4, " and", 4) == 0)
			first = trim(qmt_strn(first.p, first.len - 4));
		while (first.len > 0 && (first.p[first.len - 1] == ',' || first.p[first.len - 1] == ';'))
			first.len--;
		*ret_first = first;
		*ret_rest = skip(text, i + WORD);
		return true;
	}
	return false;
}

static void add_chain(struct qmt_str text, uint32_t step, struct builtin_commands *commands)
{
	struct qmt_str first, rest = {0}, arguments;
	enum builtin_verb verb;

	for (; text.len > 0; step++, text = rest) {
		if (!split_then(text, &first, &rest)) {
			first = text;
			rest = (struct qmt_str){0};
		}
		if (!find_verb(first, &verb, &arguments)) /* only the first of a chain can be none */
			return;
		if (commands->count == BUILTIN_COMMANDS_MAX) {
			commands->beyond++;
			continue;
		}

		struct builtin_command *command = &commands->items[commands->count++];

		read_command(verb, arguments, command);
		command->step = step;
		if (step + 1 > commands->steps)
			commands->steps = step + 1;
	}
}

static bool begins_with_then(struct qmt_str line)
{
	line = trim_front(line);
	take_phrase(&line, "and");
	return take_phrase(&line, "then");
}

/* The end of the line that starts at `at`, without its newline. */
static uint32_t line_end(struct qmt_str text, uint32_t at)
{
	const char *newline = memchr(text.p + at, '\n', text.len - at);

	return newline ? (uint32_t)(newline - text.p) : text.len;
}

void builtin_commands_parse(struct qmt_str text, struct builtin_commands *ret_commands)
{
	enum builtin_verb verb;
	struct qmt_str rest;

	*ret_commands = (struct builtin_commands){0};
	for (uint32_t at = 0; at < text.len;) {
		uint32_t end = line_end(text, at), from = at;

		at = end + 1;
		if (!find_verb(qmt_strn(text.p + from, end - from), &verb, &rest))
			continue;
		if (verb == BUILTIN_write) { /* takes the lines after it that are no command */
			while (at < text.len && !find_verb(qmt_strn(text.p + at, line_end(text, at) - at), &verb, &rest)) {
				end = line_end(text, at);
				at = end + 1;
			}
		}

		struct qmt_str line = qmt_strn(text.p + from, end - from);

		add_chain(line, begins_with_then(line) ? ret_commands->steps : 0, ret_commands);
	}
}
