/* cmd/qmt_invite.h - what the commands about invites share.
 *
 * Threads: one.
 */
#ifndef CMD_QMT_INVITE_H
#define CMD_QMT_INVITE_H

#include "cmd/cli.h"

/* A URL as QR code: to --png or --svg (0600, it lets others in), else to the terminal. An exit code. */
QMT_MUST_CHECK int invite_draw(const struct cli *cli, struct qmt_str url);
/* "2026-11-24T15:00:00Z" or "never" (0). */
enum { INVITE_TIME = 48 };
void invite_time(uint64_t unix_seconds, char ret_text[INVITE_TIME]);

#endif
