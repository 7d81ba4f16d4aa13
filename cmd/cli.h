/* cmd/cli.h - the command line of `qmt`: table, parsing, help, and what its commands share.
 *
 * Threads: one.   Exit codes: 0 ok, 1 failed and may be retried, 2 wrong usage, 78 bad configuration.
 */
#ifndef CMD_CLI_H
#define CMD_CLI_H

#include "cmd/qmt_commands.def"
#include "runtime/base/bytes.h"
#include "runtime/base/err.h"
#include "runtime/message.h"

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_CONFIG = 78 };

enum cli_option {
#define CLI_OPTION_ID(id, name, value, doc) CLI_OPTION_##id,
	QMT_OPTIONS(CLI_OPTION_ID)
#undef CLI_OPTION_ID
		CLI_OPTIONS
};
#define CLI_OPT(id) (1u << CLI_OPTION_##id)

struct cli {
	const char *option[CLI_OPTIONS]; /* NULL: not given; "" for those without a value */
	int argc;                        /* arguments behind the command's words */
	char **argv;
	const char *home; /* resolved; made by cli_parse */
	bool json;
	uint64_t timeout_ms;
};

struct cli_command {
	const char *group, *words;
	int (*run)(const struct cli *cli);
	const char *arguments;
	uint32_t options;
	const char *doc;
};
extern const struct cli_command cli_commands[]; /* closed by words == NULL */

/* Finds the command and reads options (anywhere; `--` ends them). ret_command is NULL when help was asked for and
 * printed.
 * Returns CLI_OK, or CLI_USAGE after an error on stderr. argv is reordered. cli_fini frees. */
QMT_MUST_CHECK int cli_parse(int argc, char **argv, struct cli *ret_cli, const struct cli_command **ret_command);
void cli_fini(struct cli *cli);

/* Help of all commands, of one, and the man page (roff) of the whole, on stdout. */
void cli_help(void);
void cli_help_command(const struct cli_command *command);
void cli_man(void);

/* Number in an option. CLI_OK, or CLI_USAGE after an error on stderr. */
QMT_MUST_CHECK int cli_number(
	const struct cli *cli, enum cli_option option, uint64_t dflt, uint64_t max, uint64_t *ret_value);

/* "qmt: " and the text, on stderr, by cli_text: it may hold what a peer or a model said. */
void cli_error(const char *format, ...) QMT_PRINTF(1, 2);

/* A table for people, gathered cell by cell; {.columns = N} begins one. Columns are as wide as their content; texts
 * are made printable (control characters and escape sequences of a peer must not reach the terminal). Printing
 * frees. */
struct cli_rows {
	size_t columns, used, room;
	char **texts;
};
void cli_cell(struct cli_rows *rows, struct qmt_str text);
void cli_cell_number(struct cli_rows *rows, uint64_t number);
void cli_cell_list(struct cli_rows *rows, const struct qmt_str *items, uint32_t count);
void cli_rows_print(struct cli_rows *rows, const char *const heads[]);

/* One line "label  text" on stdout, made printable as in tables. */
void cli_field(const char *label, struct qmt_str text);
/* Text to stdout or stderr (fd 1, 2) with control characters other than newline and tab replaced, if that is a
 * terminal. */
void cli_text(int fd, struct qmt_str text);
/* A record as one JSON document on stdout. */
int cli_json(const struct qmt_record *record, const void *body);

#endif
