/* actors/provider/script_line.h - words, texts and numbers of one line of a script, and what is wrong with it.
 *
 * Threads: a value of its parser.   Blocks: never.
 * Errors:  what returns bool says false after it has complained, or after failed was set (out of memory). The `of` of a
 *          function is whose word it is, for the complaint.
 */
#ifndef PROVIDER_SCRIPT_LINE_H
#define PROVIDER_SCRIPT_LINE_H

#include "script_file.h"

struct script_line {
	/* of the whole file */
	script_complain *complain;
	void *arg;
	uint32_t complaints;
	bool failed;
	/* the line, as much of it as is left */
	uint32_t number;
	const char *at, *stop;
};

bool script_wrong(struct script_line *line, uint32_t number, const char *hint, const char *format, ...)
	QMT_PRINTF(4, 5);
bool script_no_memory(struct script_line *line);

/* A word of the file for a complaint, in quotes: at most 40 bytes of it. */
struct script_shown {
	char text[64];
};
struct script_shown script_show(struct qmt_str word);

/* True when something is left: neither blanks nor a comment. It begins at line->at. */
bool script_more(struct script_line *line);
/* Complains when something is left. */
bool script_no_more(struct script_line *line);
/* The next run of bytes without blanks; empty: nothing is left. */
struct qmt_str script_word(struct script_line *line);
/* A JSON string. *ret_text is owned, ends in NUL and is never absent. */
bool script_text(struct script_line *line, const char *of, struct qmt_str *ret_text);
/* A JSON object as it stands, from line->at. *ret_text as above. */
bool script_object(struct script_line *line, const char *of, struct qmt_str *ret_text);
/* 1 to max. */
bool script_count(struct script_line *line, const char *of, uint32_t max, uint32_t *ret_count);
/* A word as a time: "50ms". */
bool script_time(struct script_line *line, const char *of, struct qmt_str word, uint32_t *ret_ms);
/* Whether a word is a whole number up to max; does not complain. */
bool script_number(struct qmt_str word, uint64_t max, uint64_t *ret_number);

#endif
