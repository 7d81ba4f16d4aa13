/* cmd/config_read.h - the two syntaxes: text in, tree out (config_tree.h). Inside cmd/config_*.
 *
 * Threads: values of the caller.   Blocks: never.
 * Text:    valid UTF-8 without NUL, at most CONFIG_FILE_BYTES: the caller has looked.
 */
#ifndef CMD_CONFIG_READ_H
#define CMD_CONFIG_READ_H

#include "cmd/config_tree.h"

#ifdef __cplusplus
extern "C" {
#endif

struct config_errors;

/* Fill the table *root. 0: read, perhaps with complaints in errors (INI goes on after a bad line, TOML does not);
 * -ENOMEM. */
QMT_MUST_CHECK int config_toml_read(
	struct qmt_str text, struct config_arena *arena, struct config_node *root, struct config_errors *errors);
QMT_MUST_CHECK int config_ini_read(
	struct qmt_str text, struct config_arena *arena, struct config_node *root, struct config_errors *errors);

/* Adds "key: reason (hint)" at a place; key and hint may be NULL. Running out of memory sets errors->failed. */
void config_complain(struct config_errors *errors, uint32_t line, uint32_t col, const char *key, const char *hint,
	const char *format, ...) QMT_PRINTF(6, 7);

/* Quoted, cut at 60 bytes, control characters as \xNN: for showing what a user wrote. */
struct config_shown {
	char text[100];
};
struct config_shown config_show(struct qmt_str text);
struct config_shown config_show_key(const char *key); /* without the quotes, unless it holds a blank or worse */

#ifdef __cplusplus
}
#endif

#endif
