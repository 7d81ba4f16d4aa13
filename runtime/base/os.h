/* runtime/base/os.h - the one door to clock, random, uuid, threads, descriptors and children (make lint enforces it).
 *
 * Threads: any, except that a seeded `struct qmt_os` belongs to the one thread that runs its system.
 * Blocks:  only what says so.
 * Seeded:  a seed owns clock (it moves only by qmt_os_advance) and random; children are refused (-ENOSYS).
 */
#ifndef QMT_BASE_OS_H
#define QMT_BASE_OS_H

#include <sys/types.h>

#include "bytes.h"
#include "err.h"

struct qmt_os;

/* The real one, or a seeded one. NULL: out of memory. */
QMT_EXPORT struct qmt_os *qmt_os_new(bool seeded, uint64_t seed, uint64_t start_wall_ms);
QMT_EXPORT struct qmt_os *qmt_os_free(struct qmt_os *os);
QMT_EXPORT bool qmt_os_seeded(const struct qmt_os *os); /* for callers that must refuse what a seed cannot own */

QMT_EXPORT uint64_t qmt_os_now_ns(const struct qmt_os *os);  /* monotonic */
QMT_EXPORT uint64_t qmt_os_wall_ms(const struct qmt_os *os); /* since the epoch */
QMT_EXPORT void qmt_os_advance(struct qmt_os *os, uint64_t ns); /* seeded only */
QMT_EXPORT void qmt_os_random(struct qmt_os *os, void *ret_bytes, size_t len); /* never fails: aborts without entropy */
/* Version 7 of RFC 9562; monotonic within a ms is not promised. */
QMT_EXPORT void qmt_os_uuid(struct qmt_os *os, char ret_text[37]);

/* For code outside any system (cmd/, tools, tests): the real clock. */
QMT_EXPORT uint64_t qmt_os_real_now_ms(void);
QMT_EXPORT uint64_t qmt_os_real_wall_ms(void *unused);

/* For main functions, before the first thread: freed memory at the top of a heap is kept, up to 1 MiB each, instead of
 * being given back and faulted in again with every burst of messages (a quarter of the processor time of a busy link
 * was that). */
QMT_EXPORT void qmt_os_heap_keep(void);

/* A thread with all signals blocked and a name (15 bytes). Returns 0 or -errno. */
struct qmt_os_thread;
QMT_EXPORT QMT_MUST_CHECK int qmt_os_thread_start(const char *name, void (*run)(void *arg), void *arg,
	struct qmt_os_thread **ret_thread);
QMT_EXPORT struct qmt_os_thread *qmt_os_thread_join(struct qmt_os_thread *thread); /* blocks; returns NULL */

/* A child process: own group, stdin /dev/null, all other descriptors closed, default signals, killed (SIGKILL) when the
 * *thread* that spawned it ends: spawn from one that lives longer. How, and why not by posix_spawn: see os_child.c.
 * argv[0] with a slash is a path (relative to cwd), else it is looked up in this process's PATH (absolute entries
 * only). Limits of 0 are inherited; cpu_seconds sends SIGXCPU, a second later SIGKILL. */
struct qmt_os_child_options {
	const char *const *argv, *const *env;
	const char *cwd;
	int cwd_fd; /* > 0 instead of cwd */
	uint64_t cpu_seconds, memory_bytes, open_files;
};
struct qmt_os_child {
	pid_t pid;
	int pidfd, out_fd, err_fd; /* non-blocking, CLOEXEC; the caller closes them */
};
QMT_EXPORT QMT_MUST_CHECK int qmt_os_child_spawn(const struct qmt_os_child_options *opt, struct qmt_os_child *ret_child,
	struct qmt_err *err);
/* The whole group. Only before the reap: until then the number cannot have gone to somebody else. */
QMT_EXPORT void qmt_os_child_kill(const struct qmt_os_child *child, int signal);
/* Non-blocking wait after pidfd is readable. 1: ended, *ret_status as in waitpid; 0: still runs; <0 errno. */
QMT_EXPORT int qmt_os_child_reap(const struct qmt_os_child *child, int *ret_status);

/* Whole small files. Atomic write: temporary file beside it, fsync, rename, fsync of the directory; `mode` is set
 * whatever the umask says. ret_data is overwritten (give it {0}). Longer than limit_bytes: -EFBIG. */
QMT_EXPORT QMT_MUST_CHECK int qmt_os_file_read(const char *path, size_t limit_bytes, struct qmt_buf *ret_data,
	struct qmt_err *err);
QMT_EXPORT QMT_MUST_CHECK int qmt_os_file_write(const char *path, const void *data, size_t len, unsigned mode,
	struct qmt_err *err);
/* mkdir -p with mode 0700. */
QMT_EXPORT QMT_MUST_CHECK int qmt_os_make_dirs(const char *path, struct qmt_err *err);

#endif
