/* cmd/lab/space.h - namespaces for this process, so that what a scenario mounts and joins ends with it.
 *
 * Threads: call it while there is one.   Blocks: no.
 */
#ifndef CMD_LAB_SPACE_H
#define CMD_LAB_SPACE_H

#include "runtime/base/err.h"

enum { SPACE_NET = 1, SPACE_MOUNT = 2 };

/* Makes sure that this process may make network namespaces (SPACE_NET) and mounts that nobody else sees
 * (SPACE_MOUNT): as
 * root, else as the root of a user namespace of its own. 0; -ENOTSUP and why this machine does not allow it. */
QMT_MUST_CHECK int space_enter(unsigned what, struct qmt_err *err);
/* A file system of so many bytes on a folder that is there. 0 or -errno. */
QMT_MUST_CHECK int space_disk(const char *folder, uint64_t bytes, struct qmt_err *err);

#endif
