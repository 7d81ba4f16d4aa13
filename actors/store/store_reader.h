/* actors/store/store_reader.h - the child of the store that reads: a thread and a connection of its own, so that no
 * page of history waits for a commit.
 *
 * Threads: spawned by the store's start hook with own_thread.   Blocks: on the disk.
 * It speaks the reading part of the store protocol; the store forwards to it, and it answers the first asker.
 */
#ifndef STORE_READER_H
#define STORE_READER_H

#include "actors/store/store_db.h"

/* config of the spawn: lives in the store's state, which outlives its child. */
struct store_reader_config {
	const char *path;
	struct store_limits limits;
};

extern const struct qmt_actor_desc store_reader_desc;

/* Answers the request that is being handled; the reading messages of the protocol, by index. NULL: not a read. For the
 * reader, and for a store in memory, which has no reader. */
typedef void store_read(struct qmt_ctx *ctx, struct store_db *db, struct store_arena *arena, const void *body);
store_read *store_read_of(uint32_t message);

/* Answers with an outcome or a failure of the database layer. */
void store_reply_fail(struct qmt_ctx *ctx, struct qmt_token token, int result, const char *text);

#endif
