/* cmd/qmt_request.c - the id that makes a command repeatable. */
#include "cmd/qmt_request.h"

#include "runtime/base/os.h"

const char *request_id(const struct cli *cli, char room[37])
{
	struct qmt_os *os;

	if (cli->option[CLI_OPTION_request])
		return cli->option[CLI_OPTION_request];
	os = qmt_os_new(false, 0, 0);
	if (!os) {
		cli_error("out of memory");
		return NULL;
	}
	qmt_os_uuid(os, room);
	qmt_os_free(os);
	return room;
}
