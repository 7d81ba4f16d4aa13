/* cmd/home.h - the home folder of a node: where lock, identity, databases and control socket are.
 *
 * Threads: one.
 * Layout:  lock · mesh_identity.key · sessions.db (and its .lock) · qmtd.sock. When that path is too long for a socket
 *          (sun_path holds 107 bytes): $XDG_RUNTIME_DIR/qmt-<hash>.sock, without it /tmp/qmt-<uid>/qmt-<hash>.sock.
 */
#ifndef CMD_HOME_H
#define CMD_HOME_H

#include "proto/identity.h"
#include "runtime/base/err.h"

/* --home, else $QMT_HOME, else ~/.qmt; absolute; heap. NULL and err. */
char *home_path(const char *option, struct qmt_err *err);
/* <home>/<name>; heap. NULL: out of memory. */
char *home_file(const char *home, const char *name);
/* Path of the control socket; heap. NULL and err. */
char *home_socket(const char *home, struct qmt_err *err);

/* Makes the folder (0700) and takes <home>/lock for as long as the process lives. Returns the descriptor, or <0 and
 * err:
 * which process holds it. */
int home_lock(const char *home, struct qmt_err *err);
/* The same for a database of sessions, which may lie anywhere: <path>.lock, links resolved. Two nodes on one file would
 * take each other's running turns for left over. */
int home_lock_database(const char *path, struct qmt_err *err);

/* Reads the identity file; `create`: makes one, and its folder, when it is missing. Refuses a file that others may
 * read, and what is no regular file. 0, -ENOENT, <0. */
QMT_MUST_CHECK int home_identity(
	const char *path, bool create, struct identity *ret_identity, bool *ret_created, struct qmt_err *err);
/* The key stays what it is for as long as the process lives, or the descriptor: home_identity_write does not replace
 * it. Several may hold one. <0: it could not be opened. */
int home_identity_hold(const char *path);
/* Writes one, 0600, as a whole or not at all, its folder too if need be. Without `replace` never over another:
 * -EEXIST; with it not over one that a node holds: -EBUSY. */
QMT_MUST_CHECK int home_identity_write(
	const char *path, const struct identity *identity, bool replace, struct qmt_err *err);

#endif
