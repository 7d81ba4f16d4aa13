/* actors/session/workspace.h - files beneath one folder that no path can leave.
 *
 * Threads:   a workspace belongs to one thread (each tool call opens its own).
 * Blocks:    yes, on the file system: only for job threads.
 * Limits:    a path has at most PATH_MAX - 1 bytes and no NUL; WORKSPACE_LINKS links at the end of a written path.
 * Invariant: the kernel resolves every path, in one go, beneath the descriptor of the root (openat2(2):
 *            RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS). Nothing is checked first and opened later, so a race can only
 *            make a call fail.
 * Paths:     relative to the root, or absolute when they begin with the root's own path. Links that stay inside are
 *            followed.
 * Errors:    negative errno in err->code; -EXDEV: the path leads outside; -ENOSYS: this kernel has no openat2.
 */
#ifndef ACTORS_SESSION_WORKSPACE_H
#define ACTORS_SESSION_WORKSPACE_H

#include <sys/stat.h>

#include "runtime/base/bytes.h"
#include "runtime/base/err.h"

enum { WORKSPACE_LINKS = 40 };

struct workspace {
	int root;         /* O_PATH; -1: closed */
	const char *path; /* as given, absolute; borrowed */
	char *real;       /* the same without links */
	const char *tag;  /* unique text for names of temporary files; borrowed */
};

/* Opens the folder `path`. tag: letters and digits that no other call uses. Close it also after a failure. */
QMT_MUST_CHECK int workspace_open(struct workspace *ws, const char *path, const char *tag, struct qmt_err *err);
void workspace_close(struct workspace *ws);

/* A regular file or a folder, for reading; never waits for a pipe's other end. */
QMT_MUST_CHECK int workspace_open_read(
	const struct workspace *ws, struct qmt_str path, int *ret_fd, struct stat *ret_stat, struct qmt_err *err);
/* A folder; an empty path is the root. */
QMT_MUST_CHECK int workspace_open_dir(
	const struct workspace *ws, struct qmt_str path, int *ret_fd, struct qmt_err *err);
/* A whole regular file; -EFBIG beyond limit_bytes. */
QMT_MUST_CHECK int workspace_read(const struct workspace *ws, struct qmt_str path, size_t limit_bytes,
	struct qmt_buf *ret_data, struct stat *ret_stat, struct qmt_err *err);

/* Replaces or makes a regular file: whoever looks sees the old content or the new one, whole. Keeps permissions (not
 * set-id bits, extended attributes or hard links: the file is a new one); a link at the end of the path stays and its
 * target is written. create_dirs: makes missing parents. expect: the file must still be the one that was read
 * (-ESTALE). */
QMT_MUST_CHECK int workspace_write(const struct workspace *ws, struct qmt_str path, struct qmt_str data,
	bool create_dirs, const struct stat *expect, struct qmt_err *err);

#endif
