/* actors/store/store_arena.c - chunks in a list; the one at the head is filled. */
#include "actors/store/store_arena.h"

enum { CHUNK_BYTES = 16 * 1024, ALIGN = 16 };

struct store_arena_chunk {
	struct store_arena_chunk *older;
	size_t used, size;
	_Alignas(ALIGN) char data[];
};

void *store_arena_take(struct store_arena *arena, size_t size)
{
	struct store_arena_chunk *chunk = arena->chunks;

	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	if (!chunk || chunk->size - chunk->used < size) {
		size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;

		chunk = malloc(sizeof *chunk + room);
		if (!chunk)
			return NULL;
		*chunk = (struct store_arena_chunk){.older = arena->chunks, .size = room};
		arena->chunks = chunk;
	}

	void *place = chunk->data + chunk->used;

	chunk->used += size;
	return memset(place, 0, size);
}

bool store_arena_text(struct store_arena *arena, const void *bytes, size_t len, struct qmt_str *ret_text)
{
	char *copy = store_arena_take(arena, len + 1);

	if (!copy)
		return false;
	if (len > 0)
		memcpy(copy, bytes, len);
	*ret_text = qmt_strn(copy, len);
	return true;
}

static void free_chunks(struct store_arena_chunk *chunk)
{
	while (chunk) {
		struct store_arena_chunk *older = chunk->older;

		free(chunk);
		chunk = older;
	}
}

void store_arena_reset(struct store_arena *arena)
{
	struct store_arena_chunk *chunk = arena->chunks;

	if (!chunk)
		return;
	if (chunk->size > CHUNK_BYTES) { /* made for one large text: not worth keeping */
		store_arena_fini(arena);
		return;
	}
	free_chunks(chunk->older);
	chunk->older = NULL;
	chunk->used = 0;
}

void store_arena_fini(struct store_arena *arena)
{
	free_chunks(arena->chunks);
	arena->chunks = NULL;
}
