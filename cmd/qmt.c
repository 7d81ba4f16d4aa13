/* cmd/qmt.c - `qmt`: finds the command and runs it. */
#include <signal.h>

#include "cmd/qmt_node.h"

const struct cli_command cli_commands[] = {
#define QMT_COMMAND_ROW(group, words, function, arguments, options, doc) \
	{#group, words, qmt_##function, arguments, options, doc},
	QMT_COMMANDS(QMT_COMMAND_ROW)
#undef QMT_COMMAND_ROW
		{NULL, NULL, NULL, NULL, 0, NULL}};

int main(int argc, char **argv)
{
	struct cli cli = {0};
	const struct cli_command *command = NULL;
	int status;

	signal(SIGPIPE, SIG_IGN);
	status = cli_parse(argc, argv, &cli, &command);
	if (status == CLI_OK && command)
		status = command->run(&cli);
	cli_fini(&cli);
	if (fflush(stdout) != 0 && status == CLI_OK)
		status = CLI_FAILED;
	return status;
}
