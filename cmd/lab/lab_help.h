/* cmd/lab/lab_help.h - commands and options of qmt-lab, declared once, and the help made from them.
 *
 * Threads: one.   Blocks: writes to stdout.
 */
#ifndef CMD_LAB_LAB_HELP_H
#define CMD_LAB_LAB_HELP_H

#include <stdbool.h>

/* OPTION(id, value or NULL, doc) */
#define LAB_OPTIONS(OPTION)                                                                                    \
	OPTION(jobs, "N", "Scenarios at the same time (default: two a core; they mostly wait).")                   \
	OPTION(seed, "N", "Seed of everything random (default: another one each time; a failure prints it).")      \
	OPTION(backend, "NAME", "loopback, netns or all (default): which of those that a scenario names.")         \
	OPTION(keep, NULL, "Leave the folders of the scenarios and print where they are.")                         \
	OPTION(planted, NULL, "Carry out the planted faults: each scenario has to fail, and passes when it does.") \
	OPTION(json, NULL, "One JSON object a scenario.")                                                          \
	OPTION(tap, NULL, "TAP version 13.")                                                                       \
	OPTION(rows, "N", "Last lines of each log in the report of a failure (default 30).")                       \
	OPTION(limit, "SECONDS", "A scenario that runs longer is ended (default 120).")                            \
	OPTION(help, NULL, "This help.")

enum lab_option_id {
#define LAB_OPTION_ID(id, value, doc) LAB_OPTION_##id,
	LAB_OPTIONS(LAB_OPTION_ID)
#undef LAB_OPTION_ID
		LAB_OPTION_COUNT
};

struct lab_option_row {
	const char *name, *value, *doc;
};
extern const struct lab_option_row lab_option_rows[LAB_OPTION_COUNT];

struct lab_command {
	const char *name;
	int (*run)(int argc, char **argv); /* argv[0] is the command's name */
	const char *arguments, *doc;
};
extern const struct lab_command lab_commands[]; /* closed by name == NULL; in qmt-lab.c */

void lab_help(void);
/* "steps", "tests", "man"; false: there is no such topic. */
bool lab_help_topic(const char *topic);

#endif
