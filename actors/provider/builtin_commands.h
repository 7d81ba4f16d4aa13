/* actors/provider/builtin_commands.h - what a prompt asks the built-in assistant to do. Pure.
 *
 *     read FILE   list [DIR]   run COMMAND   write FILE: TEXT   edit FILE: OLD => NEW
 *
 * One command a line: those of different lines belong to one step, they may run at once. " then " (" and then ", ",
 * then ") inside a line, in front of another command, begins the next step, which waits for the results; so does a line
 * that begins with it. Lines after a `write` that are no command belong to its text; elsewhere they are read over.
 * Case, "please", list marks and quotes around names do not matter.
 * Threads: values.   Blocks: never.   Limit: BUILTIN_COMMANDS_MAX, what is beyond is counted and not done.
 */
#ifndef PROVIDER_BUILTIN_COMMANDS_H
#define PROVIDER_BUILTIN_COMMANDS_H

#include "runtime/base/bytes.h"

enum { BUILTIN_COMMANDS_MAX = 32 };

/* V(verb, tool that does it, form for people) */
#define BUILTIN_VERBS(V)                       \
	V(read, "read_tool", "read FILE")          \
	V(list, "ls", "list DIR")                  \
	V(run, "shell", "run COMMAND")             \
	V(write, "write_file", "write FILE: TEXT") \
	V(edit, "edit", "edit FILE: OLD => NEW")

enum builtin_verb {
#define BUILTIN_VERB(verb, tool, form) BUILTIN_##verb,
	BUILTIN_VERBS(BUILTIN_VERB)
#undef BUILTIN_VERB
	BUILTIN_VERB_COUNT
};

struct builtin_command {
	enum builtin_verb verb;
	uint32_t step;            /* from 0 */
	struct qmt_str what;      /* file, folder or command */
	struct qmt_str text, old; /* write: text; edit: old and the new text */
	const char *problem;      /* what is missing, for people; NULL: nothing */
};

struct builtin_commands {
	struct builtin_command items[BUILTIN_COMMANDS_MAX];
	uint32_t count, steps;
	uint32_t beyond; /* commands over the maximum */
};

/* Texts point into `text`. */
void builtin_commands_parse(struct qmt_str text, struct builtin_commands *ret_commands);

const char *builtin_verb_name(enum builtin_verb verb);
const char *builtin_verb_tool(enum builtin_verb verb);
const char *builtin_verb_form(enum builtin_verb verb);

#endif
