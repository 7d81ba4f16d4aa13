/* cmd/config_tree.h - what a config file says, whatever its syntax: tables, arrays and values, each with its place.
 *
 * Threads: values of one owner.   Blocks: never.
 * Memory:  everything hangs on one arena and is freed with it.
 * Columns: count characters (UTF-8 code points) from 1, as editors do; line 0 means "nowhere in the file".
 * Written by config_toml.cpp (a C++ file) and config_ini.c, read by config_check.c.
 */
#ifndef CMD_CONFIG_TREE_H
#define CMD_CONFIG_TREE_H

#include "runtime/base/bytes.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CONFIG_KEY_PARTS = 32 }; /* parts of a dotted key */

struct config_block;

/* {0} is empty and valid. */
struct config_arena {
	struct config_block *blocks;
};

/* Zeroed memory, aligned for any type. NULL: out of memory. */
void *config_arena_get(struct config_arena *arena, size_t size);
/* A copy with a closing NUL. NULL: out of memory. */
char *config_arena_text(struct config_arena *arena, struct qmt_str text);
void config_arena_free(
	struct config_arena *arena); /* empty and reusable afterwards; the memory is wiped: it held secrets */

enum config_node_kind {
	CONFIG_NODE_TABLE,
	CONFIG_NODE_ARRAY,
	CONFIG_NODE_STRING,
	CONFIG_NODE_INTEGER,
	CONFIG_NODE_REAL,
	CONFIG_NODE_BOOLEAN,
	CONFIG_NODE_DATE, /* date, time or both: known only to be refused */
	CONFIG_NODE_TEXT, /* a value without a type of its own: INI, and what a variable held */
};

struct config_node {
	struct config_node *next;         /* sibling */
	struct config_node *first, *last; /* TABLE and ARRAY */
	const char *key;                  /* NULL: the root, or an item of an array */
	struct qmt_str text;              /* STRING, TEXT; of DATE nothing */
	int64_t integer;
	double real;
	uint32_t key_line, key_col; /* of the key; of an array's item: of the item */
	uint32_t line, col;         /* of the value; of a table: of its header */
	uint8_t kind;               /* enum config_node_kind */
	bool boolean;
};

/* Appends a child (key copied, NULL for an item) to a TABLE or ARRAY. NULL: out of memory. */
struct config_node *config_node_add(
	struct config_arena *arena, struct config_node *parent, enum config_node_kind kind, struct qmt_str key);
struct config_node *config_node_find(
	const struct config_node *table, const char *key);             /* NULL: not there, or table is NULL */
const char *config_node_kind_text(const struct config_node *node); /* "a string", "an array", … */

#ifdef __cplusplus
}
#endif

#endif
