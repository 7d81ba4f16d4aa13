/* cmd/lab/scenario_check.h - the parser's state, shared by scenario.c (text) and scenario_check.c (what it may say).
 *
 * Threads: one.   Blocks: never.
 */
#ifndef CMD_LAB_SCENARIO_CHECK_H
#define CMD_LAB_SCENARIO_CHECK_H

#include "cmd/lab/scenario.h"

struct parser {
	struct scenario *scenario;
	struct qmt_buf *complaints;
	char *next; /* text that is not read yet */
	unsigned line;
	unsigned errors;
	struct lab_step **tails[LAB_NESTING + 1];
	unsigned opened[LAB_NESTING + 1];
	unsigned depth;
};

/* Complains, with the line, about what is wrong with the step, and takes note of what it declares. */
void scenario_check_step(struct parser *p, const struct lab_step *step);
/* What can be asked only when steps and files are both known. */
void scenario_check_files(struct parser *p, const struct lab_step *steps);

void scenario_complain(struct parser *p, unsigned line, const char *format, ...) QMT_PRINTF(3, 4);
/* Room for one more in an array that grows in steps of 16. NULL: out of memory (noted in the heap). */
void *scenario_grow(struct parser *p, void *array, unsigned count, size_t size);
/* Is the word one of a list that blanks separate? */
bool scenario_in_list(const char *list, const char *word, size_t len);

#endif
