/* cmd/cli.c - parsing and help from the table in qmt_commands.def. */
#include "cmd/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

#include "cmd/home.h"
#include "cmd/roff.h"
#include "proto/contract/contract.h"

static const struct {
	const char *name, *value, *doc;
} options[] = {
#define CLI_OPTION_ROW(id, name, value, doc) {name, value, doc},
	QMT_OPTIONS(CLI_OPTION_ROW)
#undef CLI_OPTION_ROW
};

enum { CLI_EVERYWHERE = CLI_OPT(home) | CLI_OPT(json) | CLI_OPT(timeout) };

static const struct {
	const char *id, *title;
} groups[] = {{"run", "Run"}, {"talk", "Talk"}, {"share", "Share"}, {"look", "Look"}, {"build", "Build"}};

void cli_error(const char *format, ...)
{
	va_list args;
	char *text = NULL;
	struct qmt_buf line = {0};

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	qmt_buf_printf(&line, "qmt: %s\n", text ? text : "out of memory");
	cli_text(2, qmt_buf_view(&line));
	qmt_buf_free(&line);
	free(text);
}

/* ---- help -------------------------------------------------------------------------------------------------------- */

static void help_option(size_t i)
{
	char head[64];

	snprintf(head, sizeof head, "--%s%s%s", options[i].name, options[i].value ? " " : "",
		options[i].value ? options[i].value : "");
	printf("  %-22s %s\n", head, options[i].doc);
}

void cli_help(void)
{
	printf("usage: qmt COMMAND [ARGUMENT]... [OPTION]...\n");
	for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
		bool titled = false;
		for (const struct cli_command *c = cli_commands; c->words; c++) {
			char head[64];
			if (strcmp(c->group, groups[g].id) != 0)
				continue;
			if (!titled)
				printf("\n%s\n", groups[g].title);
			titled = true;
			snprintf(head, sizeof head, "%s%s%s", c->words, c->arguments[0] ? " " : "", c->arguments);
			printf("  %-22s %s\n", head, c->doc);
		}
	}
	printf("\nOptions of every command\n");
	for (size_t i = 0; i < CLI_OPTIONS; i++)
		if (CLI_EVERYWHERE & 1u << i)
			help_option(i);
	printf("\n`qmt COMMAND --help` tells more. Exit: 0 ok, 1 failed and may be retried, 2 wrong usage.\n");
}

void cli_help_command(const struct cli_command *command)
{
	printf("usage: qmt %s%s%s [OPTION]...\n\n%s\n\n", command->words, command->arguments[0] ? " " : "",
		command->arguments, command->doc);
	for (size_t i = 0; i < CLI_OPTIONS; i++)
		if ((command->options | CLI_EVERYWHERE) & 1u << i)
			help_option(i);
}

void cli_man(void)
{
	printf(".TH QMT 1 \"\" \"qmt %s\" \"User Commands\"\n.SH NAME\nqmt \\- talk to a qmtd node\n.SH SYNOPSIS\n.B "
		   "qmt\n.I COMMAND\n"
		   "[\\fIARGUMENT\\fR]... [\\fIOPTION\\fR]...\n.SH COMMANDS\n",
		QMT_VERSION);
	for (const struct cli_command *c = cli_commands; c->words; c++) {
		printf(".TP\n.B ");
		roff_text(c->words);
		printf(" \\fI");
		roff_text(c->arguments);
		printf("\\fR");
		for (size_t i = 0; i < CLI_OPTIONS; i++)
			if (c->options & 1u << i) {
				printf(" [\\-\\-%s%s%s]", options[i].name, options[i].value ? " " : "",
					options[i].value ? options[i].value : "");
			}
		printf("\n");
		roff_text(c->doc);
		printf("\n");
	}
	printf(".SH OPTIONS\n");
	for (size_t i = 0; i < CLI_OPTIONS; i++) {
		printf(".TP\n.B \\-\\-%s%s%s\n", options[i].name, options[i].value ? " " : "",
			options[i].value ? options[i].value : "");
		roff_text(options[i].doc);
		printf("\n");
	}
	printf(".SH METRICS\nWhat \\fBqmt metrics\\fR prints: name, what it is of, value. A counter grows from 0 at "
		   "the node's "
		   "start; a gauge is as it is now. What could not be asked in time is left out and named.\n");
	for (size_t i = 0; i < METRIC_COUNT; i++) {
		printf(".TP\n.B ");
		roff_text(metric_rows[i].name);
		printf(" \\fR%s%s%s%s%s\n", metric_rows[i].kind, metric_rows[i].unit[0] ? ", " : "", metric_rows[i].unit,
			metric_rows[i].label[0] ? ", by " : "", metric_rows[i].label);
		roff_text(metric_rows[i].doc);
		printf("\n");
	}
	printf(".SH EXIT STATUS\n0: done. 1: failed, and may be retried. 2: wrong usage.\n"
		   ".SH ENVIRONMENT\n.TP\n.B QMT_HOME\nHome folder of the node, unless \\-\\-home says otherwise.\n"
		   ".SH SEE ALSO\n.BR qmtd (1)\n");
}

/* ---- parsing ----------------------------------------------------------------------------------------------------- */

/* How many words of the command stand at the front of argv; 0: not this command. */
static int words_match(const char *words, int argc, char **argv)
{
	int n = 0;

	while (*words) {
		size_t len = strcspn(words, " ");
		if (n >= argc || strlen(argv[n]) != len || memcmp(argv[n], words, len) != 0)
			return 0;
		n++;
		words += len;
		words += *words == ' ';
	}
	return n;
}

static int find_command(int argc, char **argv, const struct cli_command **ret_command)
{
	int best = 0;

	for (const struct cli_command *c = cli_commands; c->words; c++) {
		int n = words_match(c->words, argc, argv);
		if (n > best) {
			best = n;
			*ret_command = c;
		}
	}
	return best;
}

static int find_option(const char *name, size_t len)
{
	for (int i = 0; i < CLI_OPTIONS; i++)
		if (strlen(options[i].name) == len && memcmp(options[i].name, name, len) == 0)
			return i;
	return -1;
}

static size_t count_words(const char *text)
{
	size_t n = 0;

	while (*text) {
		text += strspn(text, " ");
		n += *text != '\0';
		text += strcspn(text, " ");
	}
	return n;
}

/* Moves what is no option to the front of argv; ret_seen gets the options' bits. */
static int read_options(int *argc, char **argv, struct cli *cli, uint32_t *ret_seen, bool *ret_help)
{
	int kept = 0;
	bool ended = false;

	for (int i = 0; i < *argc; i++) {
		char *arg = argv[i];
		if (ended || arg[0] != '-' || arg[1] == '\0') {
			argv[kept++] = arg;
			continue;
		}
		if (strcmp(arg, "--") == 0) {
			ended = true;
			continue;
		}
		if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
			*ret_help = true;
			continue;
		}
		const char *equals = strchr(arg, '=');
		size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
		int option = arg[1] == '-' ? find_option(arg + 2, len - 2) : -1;
		if (option < 0) {
			cli_error("no such option: %s (see qmt --help)", arg);
			return CLI_USAGE;
		}
		if (!options[option].value && equals) {
			cli_error("--%s takes no value", options[option].name);
			return CLI_USAGE;
		}
		if (options[option].value && !equals && i + 1 >= *argc) {
			cli_error("--%s wants a value: %s", options[option].name, options[option].value);
			return CLI_USAGE;
		}
		cli->option[option] = !options[option].value ? "" : equals ? equals + 1 : argv[++i];
		*ret_seen |= 1u << option;
	}
	*argc = kept;
	return CLI_OK;
}

int cli_parse(int argc, char **argv, struct cli *ret_cli, const struct cli_command **ret_command)
{
	struct cli cli = {0};
	const struct cli_command *command = NULL;
	uint32_t seen = 0;
	bool help = false;
	struct qmt_err err;

	argc--;
	argv++;
	if (read_options(&argc, argv, &cli, &seen, &help) != CLI_OK)
		return CLI_USAGE;
	if (argc == 1 && strcmp(argv[0], "version") == 0) {
		printf("qmt %s\n", QMT_VERSION);
		*ret_command = NULL;
		return CLI_OK;
	}
	if (argc == 2 && strcmp(argv[0], "help") == 0 && strcmp(argv[1], "man") == 0) {
		cli_man();
		*ret_command = NULL;
		return CLI_OK;
	}
	if (argc > 0 && strcmp(argv[0], "help") == 0) {
		help = true;
		argc--;
		argv++;
	}
	if (argc == 0) {
		if (help) {
			cli_help();
			*ret_command = NULL;
			return CLI_OK;
		}
		cli_error("a command is missing (see qmt --help)");
		return CLI_USAGE;
	}
	int words = find_command(argc, argv, &command);
	if (!words) {
		cli_error("no such command: %s%s%s (see qmt --help)", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
		return CLI_USAGE;
	}
	if (help) {
		cli_help_command(command);
		*ret_command = NULL;
		return CLI_OK;
	}
	cli.argc = argc - words;
	cli.argv = argv + words;
	for (size_t i = 0; i < CLI_OPTIONS; i++)
		if (seen & ~(command->options | CLI_EVERYWHERE) & 1u << i) {
			cli_error("qmt %s has no option --%s", command->words, options[i].name);
			return CLI_USAGE;
		}
	if ((size_t)cli.argc != count_words(command->arguments)) {
		if (command->arguments[0])
			cli_error("qmt %s wants: %s", command->words, command->arguments);
		else
			cli_error("qmt %s takes no arguments", command->words);
		return CLI_USAGE;
	}
	uint64_t seconds;
	if (cli_number(&cli, CLI_OPTION_timeout, 60, 86400, &seconds) != CLI_OK)
		return CLI_USAGE;
	cli.timeout_ms = seconds * 1000;
	cli.json = cli.option[CLI_OPTION_json] != NULL;
	cli.home = home_path(cli.option[CLI_OPTION_home], &err);
	if (!cli.home) {
		cli_error("%s", err.text);
		return CLI_USAGE;
	}
	*ret_cli = cli;
	*ret_command = command;
	return CLI_OK;
}

void cli_fini(struct cli *cli)
{
	free((char *)(uintptr_t)cli->home);
	cli->home = NULL;
}

int cli_number(const struct cli *cli, enum cli_option option, uint64_t dflt, uint64_t max, uint64_t *ret_value)
{
	const char *text = cli->option[option];
	char *end;
	unsigned long long value;

	if (!text) {
		*ret_value = dflt;
		return CLI_OK;
	}
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-' || value > max) {
		cli_error("--%s: \"%s\" is not a number from 0 to %llu", options[option].name, text, (unsigned long long)max);
		return CLI_USAGE;
	}
	*ret_value = value;
	return CLI_OK;
}
