/* cmd/config_tree.c - the arena and the tree on it.
 *
 * A config is read once and dropped as a whole: one arena instead of a free() for each of its many small parts, and one
 * place that wipes the keys and tokens among them.
 */
#include "config_tree.h"

#include <stdalign.h>
#include <stddef.h>

enum { BLOCK_BYTES = 8192 };

struct config_block {
	struct config_block *next;
	size_t used, size;
	alignas(max_align_t) char data[];
};

void *config_arena_get(struct config_arena *arena, size_t size)
{
	struct config_block *block = arena->blocks;

	size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	if (!block || block->size - block->used < size) {
		size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;

		block = calloc(1, sizeof *block + room);
		if (!block)
			return NULL;
		block->size = room;
		block->next = arena->blocks;
		arena->blocks = block;
	}

	void *got = block->data + block->used;

	block->used += size;
	return got;
}

char *config_arena_text(struct config_arena *arena, struct qmt_str text)
{
	char *copy = config_arena_get(arena, (size_t)text.len + 1);

	if (copy && text.len > 0)
		memcpy(copy, text.p, text.len);
	return copy;
}

void config_arena_free(struct config_arena *arena)
{
	while (arena->blocks) {
		struct config_block *block = arena->blocks;

		arena->blocks = block->next;
		explicit_bzero(block->data, block->used);
		free(block);
	}
}

struct config_node *config_node_add(
	struct config_arena *arena, struct config_node *parent, enum config_node_kind kind, struct qmt_str key)
{
	struct config_node *node = config_arena_get(arena, sizeof *node);

	if (!node || (key.p && !(node->key = config_arena_text(arena, key))))
		return NULL;
	node->kind = (uint8_t)kind;
	if (parent->last)
		parent->last->next = node;
	else
		parent->first = node;
	parent->last = node;
	return node;
}

struct config_node *config_node_find(const struct config_node *table, const char *key)
{
	for (struct config_node *node = table ? table->first : NULL; node; node = node->next)
		if (node->key && strcmp(node->key, key) == 0)
			return node;
	return NULL;
}

const char *config_node_kind_text(const struct config_node *node)
{
	static const char *const names[] = {
		[CONFIG_NODE_TABLE] = "a table",
		[CONFIG_NODE_ARRAY] = "an array",
		[CONFIG_NODE_STRING] = "a string",
		[CONFIG_NODE_INTEGER] = "an integer",
		[CONFIG_NODE_REAL] = "a real number",
		[CONFIG_NODE_BOOLEAN] = "a boolean",
		[CONFIG_NODE_DATE] = "a date or time",
		[CONFIG_NODE_TEXT] = "a text",
	};

	return names[node->kind];
}
