/* actors/session/tool_dir.h - the names in a folder, sorted, for read_tool and ls.
 *
 * Threads: a list belongs to one owner.   Blocks: on the file system.   Limit: TOOL_DIR_MAX names.
 */
#ifndef ACTORS_SESSION_TOOL_DIR_H
#define ACTORS_SESSION_TOOL_DIR_H

#include <sys/stat.h>

#include "runtime/base/bytes.h"

enum { TOOL_DIR_MAX = 100000 };

struct tool_dir {
	char **names;
	size_t count;
	bool more; /* beyond TOOL_DIR_MAX */
};

/* Reads the folder behind fd (not kept); names that `hide` (may be NULL) wants hidden are left out. 0, or -errno. */
QMT_MUST_CHECK int tool_dir_read(
	int fd, bool (*hide)(const char *name, const void *arg), const void *arg, struct tool_dir *ret_dir);
void tool_dir_free(struct tool_dir *dir);
/* Appends one line: "name/", "name -> target" or "name (123 bytes)". */
void tool_dir_line(struct qmt_buf *out, int fd, const char *name);

#endif
