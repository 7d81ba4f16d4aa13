/* cmd/qmt_chat_show.h - what a turn says, on the terminal or as one JSON object a line.
 *
 * Threads: one.
 * Text:    each byte of the turn's visible text is shown once, in order: pieces carry their offset, what was shown
 *          already is left out, a piece behind a gap is not shown (whoever sees the gap fetches what is missing).
 */
#ifndef CMD_QMT_CHAT_SHOW_H
#define CMD_QMT_CHAT_SHOW_H

#include "cmd/cli.h"
#include "proto/contract/contract.h"

struct chat_show {
	bool json;
	bool newline_due;
	uint64_t shown; /* bytes of the turn's visible text */
};

/* A message as {"event": …}; nothing unless json. */
void chat_show_json(const struct chat_show *show, const struct qmt_type *type, const void *body);
/* A piece of the answer. False: it lies behind a gap. */
bool chat_show_delta(struct chat_show *show, const struct session_delta *delta);
void chat_show_tool(struct chat_show *show, const struct session_tool *tool);
/* A line on stderr (nothing with json): "note: …". */
void chat_show_note(struct chat_show *show, const char *mark, struct qmt_str text);
/* Ends the line of the answer before something else is said on the terminal. */
void chat_show_end_line(struct chat_show *show);
/* The end of the turn; an exit code. */
int chat_show_end(struct chat_show *show, const struct session_turn_end *end);

#endif
