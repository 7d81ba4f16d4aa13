/* cmd/lab/heap.h - blocks that live and go together: what a parsed file is made of.
 *
 * Threads: one.   Blocks: never.
 */
#ifndef CMD_LAB_HEAP_H
#define CMD_LAB_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct lab_heap {
	void **blocks;
	size_t count;
	bool failed; /* memory was out at least once */
};

/* Takes a block from malloc; NULL (out of memory, noted in `failed`) when it is NULL or cannot be noted down. */
void *lab_heap_keep(struct lab_heap *heap, void *block);
/* Room for one more in an array that grows in steps of 16; the old one stays until the end. */
void *lab_heap_grow(struct lab_heap *heap, void *array, unsigned count, size_t size);
void lab_heap_free(struct lab_heap *heap); /* all blocks */

#endif
