/* cmd/qmt_invite.h - what the commands about invites share.
 *
 * Threads: one.
 */
#ifndef CMD_QMT_INVITE_H
#define CMD_QMT_INVITE_H

#include "cmd/cli.h"

/* A URL as QR code: to a file as PNG or SVG (0600, it lets others in; "-": standard output), else to the terminal. An
 * exit code. */
QMT_MUST_CHECK int invite_draw(const char *png, const char *svg, struct qmt_str url);

#endif
