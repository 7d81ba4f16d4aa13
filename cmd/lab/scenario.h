/* cmd/lab/scenario.h - a .lab file, read and checked: steps and the files that it carries.
 *
 * Threads: one.   Blocks: reads the file.   Ownership: everything lives until scenario_free.
 * Format:  A line a step: `name [key=value]... word...`; a block ends its line with `{` and closes with `}` on a line
 *          of its own. Words are separated by blanks; '…' is literal, "…" and bare words expand ${VAR}; `\` in front of
 *          `"`, `\`, `$` inside "…" takes their meaning away. `#` in front of a word begins a comment. The comment in
 *          front of the first step is the sentence that holds. `planted STEP` is carried out only when the planted
 *          fault is asked for, `sound STEP` only when it is not. After the first line `-- NAME --` only files follow;
 *          `-- NAME planted --` stands in for the file of that name when the fault is planted.
 * Limits:  LAB_FILE_BYTES, LAB_NESTING blocks.
 */
#ifndef CMD_LAB_SCENARIO_H
#define CMD_LAB_SCENARIO_H

#include "cmd/lab/heap.h"
#include "cmd/lab/steps.def"
#include "runtime/base/bytes.h"

enum { LAB_FILE_BYTES = 16 << 20, LAB_NESTING = 16 };

enum { LAB_LOOPBACK = 1, LAB_NETNS = 2 };
enum {
	LAB_NEED_DISK = 1,    /* a file system of its own for a host */
	LAB_NEED_CLOCK = 2,   /* a wall clock of its own for a host */
	LAB_NEED_NAT = 4,     /* netns with packet filter */
	LAB_NEED_PACKETS = 8, /* not named by `needs`: backend netns alone gives it */
};
enum {
	LAB_DECLARES = 1,
	LAB_BLOCK = 2,
	LAB_HOSTS_1 = 4,
	LAB_HOSTS_2 = 8,
	LAB_HOSTS_ALL = 16,
};

enum lab_step_id {
#define LAB_STEP_ID(group, name, usage, least, most, options, needs, traits, doc) LAB_STEP_##name,
	LAB_STEPS(LAB_STEP_ID)
#undef LAB_STEP_ID
		LAB_STEP_COUNT
};

struct lab_step_kind {
	const char *group, *name, *usage;
	unsigned least, most;
	const char *options;
	unsigned needs, traits;
	const char *doc;
};
extern const struct lab_step_kind lab_step_kinds[LAB_STEP_COUNT];

struct lab_test_kind {
	const char *name, *usage;
	unsigned least, most;
	const char *doc;
};
extern const struct lab_test_kind lab_test_kinds[]; /* closed by NULL */

/* A word as written, quotes taken away: what must not be expanded any more has LAB_LITERAL instead of `$`. */
enum { LAB_LITERAL = 1 };

struct lab_step {
	const struct lab_step_kind *kind;
	enum lab_step_id id;
	unsigned line;
	bool only_planted, only_sound;
	const char *text; /* the line as written, without blanks around it */
	char **options;   /* "key=value" */
	char **words;
	unsigned option_count, word_count;
	struct lab_step *body, *next;
};

struct lab_file {
	const char *name;
	struct qmt_str data;
	bool planted;
	unsigned line;
};

struct lab_name {
	const char *name;
	enum lab_name_kind { LAB_NAME_NETWORK, LAB_NAME_HOST, LAB_NAME_NODE, LAB_NAME_PROCESS } what;
	unsigned line;
};

struct scenario {
	const char *path, *sentence;
	struct lab_step *steps;
	struct lab_file *files;
	unsigned file_count;
	struct lab_name *names;
	unsigned name_count;
	unsigned backends, needs;
	uint64_t deadline_ms;
	bool has_planted;
	/* owner: scenario.c */
	struct lab_heap heap;
};

/* Reads and checks. 0; -EINVAL with all complaints, a line each, `FILE:LINE: what (way out)`; -errno with one.
 * ret_scenario is set on 0 only. */
QMT_MUST_CHECK int scenario_load(const char *path, struct scenario **ret_scenario, struct qmt_buf *complaints);
struct scenario *scenario_free(struct scenario *scenario); /* NULL is fine; returns NULL */

/* The value of an option of the step, NULL when it is not there. */
const char *lab_option(const struct lab_step *step, const char *key);
/* A file of the scenario; the planted one in front of the other when the fault is asked for. NULL: there is none. */
const struct lab_file *lab_file_find(const struct scenario *scenario, const char *name, bool planted);

/* Quantities: "10s" "250ms" "2m" to ms; "64kbit" "1mbit" to bits a second; "20" "64kB" "5MB" to bytes; "2%" to parts of
 * 10,000. False: not such a text. */
bool lab_time(const char *text, uint64_t *ret_ms);
bool lab_rate(const char *text, uint64_t *ret_bits);
bool lab_bytes(const char *text, uint64_t *ret_bytes);
bool lab_percent(const char *text, unsigned *ret_parts);
bool lab_number(const char *text, int64_t *ret_number);

#endif
