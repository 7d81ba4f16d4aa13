/* cmd/config.h - a config file, read, checked and filled with defaults.
 *
 * Threads: a config is const after config_load; any thread may read it.   Blocks: only on reading files.
 * Table:   config_params.def declares every key; the structs below are made from it (struct config_mesh, …).
 * Syntax:  TOML, or INI when the name ends in .ini or .conf. INI: [mesh.peers.gpu-server] is an item of mesh.peers and
 *          its last part the item's name (or id, or type); lists are comma-separated; one pair of double quotes round a
 *          value is dropped; text behind " ;" is a comment.
 * ${VAR}:  in every text value: ${NAME} and ${NAME:-default}, NAME = [A-Z_][A-Z0-9_]*; anything else stays as it is.
 *          The default counts only if the variable is unset. No nesting, no recursion.
 * Paths:   relative ones start at the config file's folder; ~/ is $HOME.
 * Errors:  all that were found, in the order of the file: `file:line:col: key: reason (hint)`. Columns count
 *          characters.
 * Limits:  CONFIG_FILE_BYTES, CONFIG_ERRORS, CONFIG_INI_LINE_BYTES, CONFIG_KEY_PARTS, CONFIG_ITEMS,
 *          CONFIG_PROMPT_BYTES.
 * Secrets: never in an error, never in a dump, wiped by config_free.
 */
#ifndef CMD_CONFIG_H
#define CMD_CONFIG_H

#include "actors/provider/provider_params.def"
#include "actors/store/store.h"
#include "cmd/config_params.def"
#include "cmd/config_tree.h"
#include "runtime/base/bytes.h"
#include "runtime/base/err.h"

enum {
	CONFIG_FILE_BYTES = 1 << 20,    /* a config file */
	CONFIG_PROMPT_BYTES = 1 << 20,  /* a prompt file, and a system prompt in all */
	CONFIG_ERRORS = 100,            /* errors kept; of the rest only the number */
	CONFIG_INI_LINE_BYTES = 198,    /* inih cuts longer lines without a word */
	CONFIG_ITEMS = 10000,           /* items of one list */
};

/* ---- structs, made from the table -------------------------------------------------------------------------------- */

/* Closed by a NULL behind the last item. */
struct config_texts {
	const char *const *items;
	uint32_t count;
};

/* Where a table is in the file; node NULL: it is not there and all of it are defaults. */
struct config_where {
	const struct config_node *node;
	uint32_t line, col;
};

#define CONFIG_C_BOOL bool
#define CONFIG_C_U32 uint32_t
#define CONFIG_C_U64 uint64_t
#define CONFIG_C_F64 double
#define CONFIG_C_TEXT const char *   /* NULL: none, here and below */
#define CONFIG_C_NAME const char *
#define CONFIG_C_LABEL const char *
#define CONFIG_C_WORD const char *
#define CONFIG_C_PATH const char *   /* absolute */
#define CONFIG_C_LISTEN const char *
#define CONFIG_C_DIAL const char *
#define CONFIG_C_URL const char *
#define CONFIG_C_SECRET const char *
#define CONFIG_C_PROMPT const char *
#define CONFIG_C_MAP const char *    /* a JSON object */
#define CONFIG_C_TEXTS struct config_texts
#define CONFIG_C_NAMES struct config_texts
#define CONFIG_C_WORDS struct config_texts
#define CONFIG_C_DIALS struct config_texts
#define CONFIG_C_ANY bool            /* it is there */
#define CONFIG_C_SEC(name) struct config_##name
#define CONFIG_C_LIST(name) struct { struct config_##name *items; uint32_t count; }

/* What other modules declare, under the same names as in their own structs. */
struct config_link {
	struct config_where where;
#define LIMIT(name, dflt, min, max, doc) uint64_t name;
#include "transports/limits.def"
#undef LIMIT
};

struct config_session {
	struct config_where where;
#define SESSION_PARAM(name, dflt, min, max, doc) uint64_t name;
#include "actors/session/session_params.def"
#undef SESSION_PARAM
};

struct config_store {
	struct config_where where;
#define CONFIG_STORE_MEMBER(name, dflt, min, max, doc) uint64_t name;
	STORE_LIMITS(CONFIG_STORE_MEMBER)
};

#define CONFIG_PROVIDER_STR const char *
#define CONFIG_PROVIDER_BOOL bool
#define CONFIG_PROVIDER_U32 uint32_t
#define CONFIG_PROVIDER_MEMBER(type, name, dflt, min, max, kinds, doc) CONFIG_PROVIDER_##type name;
struct config_provider { /* texts that are not set are "", as that module has it */
	struct config_where where;
	const char *name, *kind;
	PROVIDER_PARAMS(CONFIG_PROVIDER_MEMBER)
};

#define CONFIG_MEMBER(T, kind, name, dflt, doc, ...) CONFIG_C_##kind name;
#define CONFIG_STRUCT(name, FIELDS) \
	struct config_##name { \
		struct config_where where; \
		FIELDS(CONFIG_MEMBER, ) \
	};
CONFIG_SECTIONS(CONFIG_STRUCT)

struct config {
	/* What the file says, and the defaults. */
	struct config_root root;

	/* What follows from it. */
	const char *path;      /* absolute path of the file; NULL: parsed from memory without one */
	const char *node_name; /* mesh.node_name, else the host's name */
	bool lan;              /* listen and dial on the LAN: read root.mesh.lan.listen (it inherits) */
	struct {
		const struct config_agent *items;
		uint32_t count;
	} agents; /* [agent] if it is there */
	struct config_texts notices; /* to be logged once, at start */
};

/* ---- errors ------------------------------------------------------------------------------------------------------ */

struct config_error {
	uint32_t line, col; /* 0: the file as a whole */
	char *text;         /* "key: reason (hint)" */
};

/* {0} is empty and valid. */
struct config_errors {
	char *file; /* as it was given */
	struct config_error *items;
	uint32_t count;
	uint32_t dropped; /* beyond CONFIG_ERRORS */
	bool failed;      /* memory was out on the way */
};

/* One line each, and a last one that counts what was dropped. */
void config_errors_print(const struct config_errors *errors, struct qmt_buf *out);
void config_errors_free(struct config_errors *errors);

/* ---- loading ----------------------------------------------------------------------------------------------------- */

enum { CONFIG_E_BAD = 1 };

struct config_options {
	const char *(*env)(void *arg, const char *name); /* NULL: getenv */
	void *arg;
	const char *host_name; /* NULL: gethostname */
};

enum config_syntax { CONFIG_TOML, CONFIG_INI };

/* By the name's end: .ini and .conf are INI. */
enum config_syntax config_syntax_of(const char *path);

/* Reads and checks a file. opt may be NULL. Returns 0; CONFIG_E_BAD: `errors` says why, at least once; -ENOMEM.
 * errors must be {0}; free it in every case. Free the config with config_free. */
QMT_MUST_CHECK int config_load(const char *path, const struct config_options *opt, struct config **ret_config,
	struct config_errors *errors);
/* The same for text in memory. name: for errors. folder: absolute, where relative paths start. */
QMT_MUST_CHECK int config_parse(struct qmt_str text, enum config_syntax syntax, const char *name, const char *folder,
	const struct config_options *opt, struct config **ret_config, struct config_errors *errors);
struct config *config_free(struct config *config);

/* Appends what holds, defaults included, as TOML. Secrets show as "(set)" or "(unset)", so it is for reading, not for
 * loading. Tables that this version has no use for are left out. 0 or -ENOMEM. */
QMT_MUST_CHECK int config_dump(const struct config *config, struct qmt_buf *out);

/* ---- the table as data ------------------------------------------------------------------------------------------- */

enum config_kind {
	CONFIG_BOOL, CONFIG_U32, CONFIG_U64, CONFIG_F64, CONFIG_TEXT, CONFIG_NAME, CONFIG_LABEL, CONFIG_WORD, CONFIG_PATH,
	CONFIG_LISTEN, CONFIG_DIAL, CONFIG_URL, CONFIG_SECRET, CONFIG_PROMPT, CONFIG_MAP, CONFIG_TEXTS, CONFIG_NAMES,
	CONFIG_WORDS, CONFIG_DIALS, CONFIG_ANY, CONFIG_SEC, CONFIG_LIST,
};

struct config_section;

struct config_field {
	const char *name, *key; /* the key is `key` if that is set (it is no C name), else `name` */
	const char *dflt, *doc, *shown, *words, *today, *inherits, *naming, *later, *hint;
	const char *only; /* kinds of the table that have this key, with blanks between; NULL: all */
	const struct config_section *section; /* SEC, LIST */
	uint64_t min, max;                    /* max 0: no bound */
	uint64_t number;                      /* default of a number, when dflt is NULL */
	uint32_t offset;
	uint8_t kind; /* enum config_kind */
	bool required;
	bool open;     /* keys that are not declared are taken */
	bool blank;    /* a text that is not set is "" instead of NULL */
	bool optional; /* of SEC: being there means something by itself; not dumped when it is not */
};

struct config_section {
	const char *name;
	uint32_t size;
	const struct config_field *fields; /* closed by name == NULL */
};

extern const struct config_section config_root_section;

static inline const char *config_field_key(const struct config_field *field)
{
	return field->key ? field->key : field->name;
}

#endif
