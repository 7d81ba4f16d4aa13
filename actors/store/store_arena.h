/* actors/store/store_arena.h - memory for the answers of one batch: taken piece by piece, given back all at once.
 *
 * Threads: one owner.   Blocks: never.   Limit: memory.
 * Invariant: what was taken stays where it is until reset or fini; {0} is empty and valid.
 * After reset the first chunk is kept, so that a store under steady load does not go to the allocator.
 */
#ifndef STORE_ARENA_H
#define STORE_ARENA_H

#include "runtime/base/bytes.h"

struct store_arena_chunk;

struct store_arena {
	struct store_arena_chunk *chunks; /* the newest first */
};

/* Aligned to 16, zeroed. NULL: out of memory. */
void *store_arena_take(struct store_arena *arena, size_t size);
/* A copy of the bytes with a closing NUL. False: out of memory. */
QMT_MUST_CHECK bool store_arena_text(
	struct store_arena *arena, const void *bytes, size_t len, struct qmt_str *ret_text);
void store_arena_reset(struct store_arena *arena);
void store_arena_fini(struct store_arena *arena);

#endif
