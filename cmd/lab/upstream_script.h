/* cmd/lab/upstream_script.h - the script of `qmt-lab upstream`, read and checked: which answer a request gets, step by
 * step.
 *
 * Threads: one.   Blocks: upstream_script_load reads files.   Ownership: everything lives until upstream_script_free.
 * Format:  A line a step, words separated by blanks; "…" holds blanks and escapes (\r \n \t \0 \xNN \" \\). ${VAR} and
 *          ${VAR:-default} come from the environment, also in quotes; $${ stands for ${. `#` in front of a word begins
 *          a comment, but not behind sse and text, whose text goes to the end of the line. Steps: upstream_steps.def.
 * Limits:  UPSTREAM_SCRIPT_BYTES for the script and each file that it names.
 */
#ifndef CMD_LAB_UPSTREAM_SCRIPT_H
#define CMD_LAB_UPSTREAM_SCRIPT_H

#include "cmd/lab/heap.h"
#include "cmd/lab/upstream_steps.def"
#include "runtime/base/bytes.h"

enum { UPSTREAM_SCRIPT_BYTES = 16 << 20, UPSTREAM_SPLIT_PAUSE_MS = 5 };

enum upstream_place { UPSTREAM_TOP, UPSTREAM_HEAD, UPSTREAM_BODY, UPSTREAM_END };

enum upstream_step_id {
#define UPSTREAM_STEP_ID(name, usage, least, most, place, doc) UPSTREAM_##name,
	UPSTREAM_STEPS(UPSTREAM_STEP_ID)
#undef UPSTREAM_STEP_ID
		UPSTREAM_STEP_COUNT
};

struct upstream_step_kind {
	const char *name, *usage;
	int least, most; /* words; <0: the rest of the line is one */
	enum upstream_place place;
	const char *doc;
};
extern const struct upstream_step_kind upstream_step_kinds[UPSTREAM_STEP_COUNT];

/* One thing that an answer does. */
enum upstream_op_kind {
	UPSTREAM_OP_BODY,     /* data, as a part of the body, `times` times */
	UPSTREAM_OP_BYTES,    /* data, outside of all framing, `times` times */
	UPSTREAM_OP_SPLIT,    /* number: size of the pieces; 0: whole */
	UPSTREAM_OP_SPLIT_AT, /* number: bytes of the body in the first piece */
	UPSTREAM_OP_WAIT,     /* ms */
	UPSTREAM_OP_HEADERS,  /* without end */
	UPSTREAM_OP_ENDLESS,  /* data again and again */
	UPSTREAM_OP_CLOSE,
	UPSTREAM_OP_RESET,
	UPSTREAM_OP_HANG,
};

struct upstream_op {
	enum upstream_op_kind kind;
	unsigned line;
	struct qmt_bytes data;
	uint64_t times, number, ms;
};

enum upstream_framing { UPSTREAM_UNTIL_CLOSE, UPSTREAM_CHUNKED, UPSTREAM_LENGTH };

struct upstream_answer {
	const char *method, *path; /* "*": any */
	unsigned line;
	enum upstream_framing framing;
	bool bare;
	struct qmt_bytes head; /* status line, headers and the empty line; with endless headers no empty line */
	struct upstream_op *ops;
	unsigned op_count;
	bool used; /* owner: the server */
};

struct upstream_script {
	const char *path;
	struct upstream_answer *answers;
	unsigned answer_count;
	/* owner: upstream_script.c */
	struct lab_heap heap;
};

/* The value of a variable; NULL: it is not set. */
typedef const char *upstream_env_fn(const char *name);

/* 0; -EINVAL and all complaints, a line each: `FILE:LINE: what (hint)`; -ENOMEM; -errno of the script file with one
 * complaint. ret_script is set on 0 only. */
QMT_MUST_CHECK int upstream_script_load(
	const char *path, upstream_env_fn *env, struct upstream_script **ret_script, struct qmt_buf *complaints);
/* The same from memory; path is for complaints, and files that the script names lie beside it. */
QMT_MUST_CHECK int upstream_script_parse(const char *path, struct qmt_str text, upstream_env_fn *env,
	struct upstream_script **ret_script, struct qmt_buf *complaints);
struct upstream_script *upstream_script_free(struct upstream_script *script); /* NULL is fine; returns NULL */

/* The answer that this request takes, which is marked as used; target: path and query. NULL: none fits. */
struct upstream_answer *upstream_script_take(
	struct upstream_script *script, struct qmt_str method, struct qmt_str target);

#endif
