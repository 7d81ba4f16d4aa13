/* cmd/lab/program_options.h - options of the programs below qmt-lab, from their tables.
 *
 * Threads: one.   Blocks: writes to stdout.
 */
#ifndef CMD_LAB_PROGRAM_OPTIONS_H
#define CMD_LAB_PROGRAM_OPTIONS_H

#include <getopt.h>
#include <stddef.h>

struct program_option {
	const char *name, *value, *doc; /* value NULL: takes none */
};

/* For getopt_long, which then returns the row. ret_options: count + 1. */
void program_options(const struct program_option *rows, size_t count, struct option *ret_options);
void program_options_help(const struct program_option *rows, size_t count);

#endif
