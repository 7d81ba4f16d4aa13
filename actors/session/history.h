/* actors/session/history.h - a conversation in memory, and how it is shown to a model.
 *
 * Threads: belongs to one session.   Blocks: never.   Ownership: holds copies of its messages.
 */
#ifndef ACTORS_SESSION_HISTORY_H
#define ACTORS_SESSION_HISTORY_H

#include "proto/contract/contract.h"

struct history {
	struct chat_message *items;
	void **blocks; /* blocks[i] holds what items[i] points to */
	uint32_t count, cap;
	uint64_t bytes; /* text in all messages */
};

/* 0 or -ENOMEM. */
QMT_MUST_CHECK int history_add(struct history *history, const struct chat_message *message);
void history_free(struct history *history); /* empty and reusable afterwards */

/* The messages of a model request, in an array that the caller frees; texts are borrowed from history and system.
 * - system (may be NULL) first; reasoning is left out; messages without any content are left out;
 * - every tool call has exactly one result, right behind the calls and in their order: missing ones are made up as
 *   errors, results without a call and second results are left out. An upstream refuses a conversation that breaks
 *   this, and a turn that was cut off (a kill between two commits) does break it.
 * 0 or -ENOMEM. */
QMT_MUST_CHECK int history_request(
	const struct history *history, const char *system, struct chat_message **ret_messages, uint32_t *ret_count);

#endif
