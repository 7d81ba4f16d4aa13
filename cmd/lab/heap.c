/* cmd/lab/heap.c - see heap.h. */
#include "cmd/lab/heap.h"

void *lab_heap_keep(struct lab_heap *heap, void *block)
{
	void **blocks = block ? realloc(heap->blocks, (heap->count + 1) * sizeof *blocks) : NULL;

	if (!blocks) {
		free(block);
		heap->failed = true;
		return NULL;
	}
	heap->blocks = blocks;
	blocks[heap->count++] = block;
	return block;
}

void *lab_heap_grow(struct lab_heap *heap, void *array, unsigned count, size_t size)
{
	if (count % 16 != 0)
		return array;
	void *more = lab_heap_keep(heap, calloc(count + 16, size));
	if (more && count)
		memcpy(more, array, count * size);
	return more;
}

void lab_heap_free(struct lab_heap *heap)
{
	for (size_t i = 0; i < heap->count; i++)
		free(heap->blocks[i]);
	free(heap->blocks);
	*heap = (struct lab_heap){0};
}
