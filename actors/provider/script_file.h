/* actors/provider/script_file.h - the file of a provider of kind "script": what a model says, turn by turn.
 *
 * Text:    UTF-8, a line a step; script_lines.def has all of them, docs/guide/script.md explains. Blanks at the begin
 *          of a line do not matter, # begins a comment. Texts are JSON strings.
 * Choice:  turns with the same `when` form a row, those without one another. A request goes to the first row (in the
 *          order of the file) whose text its last user message contains, else to the row without `when`, and takes the
 *          next turn of it. So a request with tool results, which has the same last user message, gets the turn behind
 *          the one that called the tools; and so does a request that is tried again after an error.
 * Places:  how far each row has come is kept by the caller, for each session its own.
 * Threads: a script is const after parsing.   Blocks: script_load reads a file; the rest never.
 * Limits:  given (struct script_limits, parameters of the provider), and the constants below.
 */
#ifndef PROVIDER_SCRIPT_FILE_H
#define PROVIDER_SCRIPT_FILE_H

#include "proto/contract/contract.h"
#include "runtime/base/bytes.h"
#include "script_lines.def"

enum {
	SCRIPT_REPEAT_MAX = 10000000,
	SCRIPT_TIME_MAX_MS = 24 * 3600 * 1000,
	SCRIPT_NAME_BYTES = 128, /* of a tool, of a model */
	SCRIPT_ERRORS = 50,      /* complaints about one file; one more says that there are more */
};

enum script_step_kind {
	SCRIPT_ACCEPT,
	SCRIPT_TEXT,
	SCRIPT_REASONING,
	SCRIPT_TOOL,
	SCRIPT_WAIT,
	SCRIPT_FINISH,
	SCRIPT_ERROR,
	SCRIPT_CUT,
	SCRIPT_HANG,
};

struct script_step {
	uint8_t kind; /* enum script_step_kind */
	uint32_t line;
	struct qmt_str text; /* owned; of TEXT and REASONING, arguments of TOOL, of ERROR: absent without one */
	char *tool;
	uint32_t repeat, split, every_ms; /* of TEXT, REASONING, TOOL; split 0: whole */
	uint32_t time_ms;                 /* of WAIT; retry_after of ERROR */
	const char *word;                 /* reason of FINISH, class of ERROR */
};

enum { SCRIPT_NO_TURN = UINT32_MAX };

struct script_turn {
	uint32_t line;
	uint32_t next; /* in its row; SCRIPT_NO_TURN: it is the last */
	struct script_step *steps;
	uint32_t step_count; /* at least one; FINISH, ERROR, CUT and HANG are last ones */
	uint64_t bytes;      /* of the whole answer */
	struct chat_usage usage;
};

struct script_row {
	struct qmt_str when; /* owned; absent: any prompt */
	uint32_t first, last;
};

enum script_end { SCRIPT_AGAIN, SCRIPT_STAY, SCRIPT_END_ERROR };

struct script {
	struct script_turn *turns;
	struct script_row *rows;
	char **models; /* without a line in the file: "script" */
	uint32_t turn_count, row_count, model_count;
	enum script_end end;
};

struct script_limits {
	uint32_t file_bytes, turns, answer_bytes; /* at least 1 */
};

/* line 0: the file as a whole. hint: the way out, NULL: none. Both are one line without control characters. */
typedef void script_complain(void *arg, uint32_t line, const char *what, const char *hint);

enum { SCRIPT_E_BAD = 1, SCRIPT_E_NO_ROW, SCRIPT_E_AT_END };

/* Returns 0; SCRIPT_E_BAD after at least one complaint; -ENOMEM. Free with script_free. */
QMT_MUST_CHECK int script_parse(struct qmt_str text, const struct script_limits *limits, script_complain *complain,
	void *arg, struct script **ret_script);
/* The same for a file. */
QMT_MUST_CHECK int script_load(const char *path, const struct script_limits *limits, script_complain *complain,
	void *arg, struct script **ret_script);
struct script *script_free(struct script *script);

/* places: script->row_count numbers, which belong to one session. */
void script_places_init(const struct script *script, uint32_t *places);
/* The turn that answers a request whose last user message is `prompt`; moves its place. Returns 0; SCRIPT_E_NO_ROW: no
 * turn is for this prompt; SCRIPT_E_AT_END: `end error`. */
QMT_MUST_CHECK int script_next(
	const struct script *script, uint32_t *places, struct qmt_str prompt, const struct script_turn **ret_turn);

/* The piece of step->text that begins at `at`: `split` bytes, or as many fewer as make whole characters (one at least).
 */
struct qmt_str script_piece(const struct script_step *step, uint32_t at);

#endif
