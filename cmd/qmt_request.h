/* cmd/qmt_request.h - the id that makes a command repeatable.
 *
 * Threads: one.
 */
#ifndef CMD_QMT_REQUEST_H
#define CMD_QMT_REQUEST_H

#include "cmd/cli.h"

/* --request, or a new uuid in room. NULL when memory is out (said on stderr). */
const char *request_id(const struct cli *cli, char room[37]);

#endif
