/* cmd/lab/report.h - what came out of a scenario, for people, for scripts (JSON lines) and as TAP.
 *
 * Threads: one.   Blocks: writes to stdout.
 */
#ifndef CMD_LAB_REPORT_H
#define CMD_LAB_REPORT_H

#include "cmd/lab/player.h"

enum report_style { REPORT_PLAIN, REPORT_JSON, REPORT_TAP };
enum report_verdict { REPORT_PASSED, REPORT_FAILED, REPORT_SKIPPED, REPORT_BROKEN };

struct report {
	const char *file, *sentence;
	unsigned backend;
	uint64_t seed, ms;
	bool planted;
	enum report_verdict verdict;
	struct qmt_str text; /* of a failure: the whole; of a skip: the reason */
};

/* Step, expectation, what came, the time line of all nodes and the command that repeats it. rows: last lines of
 * each. */
void report_failure(const struct player *player, unsigned rows, struct qmt_buf *out);
/* One result. number counts from 1, total is how many there will be (TAP). */
void report_print(enum report_style style, const struct report *report, unsigned number);
void report_begin(enum report_style style, unsigned total);
void report_end(enum report_style style, const unsigned counts[4], uint64_t ms);

#endif
