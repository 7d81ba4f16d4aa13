/* cmd/lab/program_options.c - see program_options.h. */
#include "cmd/lab/program_options.h"

void program_options(const struct program_option *rows, size_t count, struct option *ret_options)
{
	for (size_t i = 0; i < count; i++)
		ret_options[i] = (struct option){rows[i].name, rows[i].value ? required_argument : no_argument, NULL, (int)i};
	ret_options[count] = (struct option){0};
}

void program_options_help(const struct program_option *rows, size_t count)
{
	printf("\nOptions\n");
	for (size_t i = 0; i < count; i++) {
		char head[64];

		(void)snprintf(
			head, sizeof head, "--%s%s%s", rows[i].name, rows[i].value ? " " : "", rows[i].value ? rows[i].value : "");
		printf("  %-18s %s\n", head, rows[i].doc);
	}
}
