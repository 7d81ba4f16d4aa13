/* actors/session/edit_match.h - where a text that a model remembers stands in a file, and what replaces it there.
 *
 * Threads: none kept.   Blocks: never.   Limit: tolerant matchers look for at most EDIT_LINES lines
 *          and compare at most EDIT_WORK; beyond, nothing is found.
 * Matchers, in this order; the first that finds anything decides:
 *   exact        byte for byte
 *   indentation  whole lines that differ only by one prefix of white space, the same on every line; the new text gets
 *                the same prefix added or removed
 *   trimmed      whole lines that are equal without white space at both ends; the new text is taken as it is
 * No matcher guesses at words: an edit in the wrong place costs more than a second try.
 */
#ifndef ACTORS_SESSION_EDIT_MATCH_H
#define ACTORS_SESSION_EDIT_MATCH_H

#include "runtime/base/bytes.h"

enum { EDIT_LINES = 5000, EDIT_WORK = 10000000 };

struct edit_result {
	size_t found;        /* places */
	const char *match;   /* name of the matcher; NULL: nothing found */
	struct qmt_buf text; /* the new file; empty when several places were found and all is false */
};

/* old_text is not empty. 0, or -ENOMEM. */
QMT_MUST_CHECK int edit_replace(
	struct qmt_str file, struct qmt_str old_text, struct qmt_str new_text, bool all, struct edit_result *ret_result);

#endif
