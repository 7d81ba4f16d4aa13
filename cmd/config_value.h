/* cmd/config_value.h - one value: from the text or number in a file to what a parameter holds. Inside cmd/config_*.
 *
 * Threads: values of the caller.   Blocks: only on prompt files.
 */
#ifndef CMD_CONFIG_VALUE_H
#define CMD_CONFIG_VALUE_H

#include "config.h"
#include "config_read.h"

/* A check under way. */
struct config_check {
	struct config *config;
	struct config_arena *arena;
	struct config_errors *errors;
	const char *folder; /* absolute: where relative paths start */
	const char *(*env)(void *arg, const char *name);
	void *env_arg;
	bool failed; /* out of memory */
	bool later;  /* in a table that this version does not have: variables need not be set */
};

enum { CONFIG_PATH_TEXT = 512 }; /* "mesh.peers.addr", with room for keys that nobody declared */

/* A value in the file that belongs to a field. */
struct config_at {
	const struct config_field *field;
	const char *path; /* "mesh.listen" */
	const struct config_node *node;
};

/* Fills the slot of a field that is neither SEC, LIST nor ANY. Complains and leaves the slot as it is when the value is
 * wrong. Returns whether it was taken. */
bool config_value_set(struct config_check *check, const struct config_at *at, void *slot);
/* Text form, as an INI file would have it. Appended; nothing for NULL and empty lists. Secrets too: not to be shown. */
void config_value_text(const struct config_field *field, const void *slot, struct qmt_buf *out);

/* The parts of config_value_set that stand apart. */
bool config_path_set(struct config_check *check, const struct config_at *at, struct qmt_str text, const char **slot);
bool config_prompt_set(
	struct config_check *check, const struct config_at *at, const char **slot);                 /* config_compose.c */
bool config_map_set(struct config_check *check, const struct config_at *at, const char **slot); /* config_compose.c */
/* Complain about the value; return false. */
bool config_wrong(struct config_check *check, const struct config_at *at, const char *hint, const char *format, ...)
	QMT_PRINTF(4, 5);
bool config_no_memory(struct config_check *check);

/* Whether word is one of the words between the blanks. */
bool config_word_in(struct qmt_str word, const char *words);
/* Walks words: false at the end. Start with *rest = words. */
bool config_word_next(const char **rest, struct qmt_str *ret_word);
/* The nearest of candidates seen so far: start with {.word = what was written, .best = ~0u}. */
struct config_nearest {
	struct qmt_str word, found;
	unsigned best;
};
void config_nearest_try(struct config_nearest *nearest, struct qmt_str candidate);
bool config_nearest_found(const struct config_nearest *nearest);

/* Expands ${VAR}s. *ret_text lives on the arena. False: a variable is not set (complained about). */
bool config_expand(struct config_check *check, const struct config_at *at, struct qmt_str text,
	struct qmt_str *ret_text, bool *ret_reference);

/* Whether ${VAR}s stand in it. */
bool config_has_reference(struct qmt_str text);
/* What complaints show of a value: itself, or, when variables made it, the text as it stands in the file. */
struct qmt_str config_written(const struct config_at *at, struct qmt_str text);

/* config_text.c: rules for one text. False: ret_reason says why, and perhaps the way out; what it shows is `shown` (see
 * config_written). */
struct config_reason {
	char text[QMT_ERR_TEXT], hint[256];
};
bool config_text_is_name(struct qmt_str text, struct qmt_str shown, struct config_reason *ret_reason);
bool config_text_is_label(struct qmt_str text, struct qmt_str shown, struct config_reason *ret_reason);
bool config_text_is_url(struct qmt_str text, struct qmt_str shown, struct config_reason *ret_reason);
bool config_text_is_secret(struct qmt_str text, struct config_reason *ret_reason);
bool config_text_is_listen(struct qmt_str text, struct qmt_str shown, struct config_reason *ret_reason);
bool config_text_is_dial(struct qmt_str text, struct qmt_str shown, struct config_reason *ret_reason);
/* Offset of the first byte that is no UTF-8, or a control character other than tab and line end; text.len: none. */
uint32_t config_text_bad_byte(struct qmt_str text);

/* config_check.c: fills check->config->root from the tree. */
void config_check_tree(struct config_check *check, const struct config_node *root);

/* config_cross.c: what only several values together can get wrong. */
void config_cross_check(struct config_check *check);

#endif
