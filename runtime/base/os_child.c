/* runtime/base/os_child.c - child processes: own group, own limits, nothing inherited, dead when we are dead.
 *
 * Why not posix_spawn, which the house rule names: it can set neither resource limits nor PR_SET_PDEATHSIG, and each
 * way around that is worse than doing what posix_spawn itself does:
 *   - prlimit(2) from outside after the spawn: the program already runs by then, and PDEATHSIG has no such call;
 *   - a helper program that sets both and executes the real one (systemd-executor is one): one more file to install
 *     beside each program that links this library, one more exec a child, and errors come back over one more pipe;
 *   - a shell: cannot set PDEATHSIG.
 * glibc's posix_spawn is clone(CLONE_VM | CLONE_VFORK) on a stack of its own with all signals blocked; Go's os/exec and
 * CPython's subprocess do the same. So does this file. The rule's reason is kept: nothing is copied, no atfork handler
 * runs (libzmq's context sees nothing), and the calling thread sleeps until the child has executed or failed.
 *
 * What makes that safe, and must stay so:
 *   1. The child runs child_main only: raw system calls on values prepared before. It shares our memory and this
 *      thread's local storage, so no libc call with state, no allocation, no lock, no interceptor of a sanitizer.
 *   2. Its descriptor table and signal dispositions are copies (no CLONE_FILES, no CLONE_SIGHAND): it may change them.
 *   3. All signals are blocked from before clone until the dispositions in the child are default again: none of our
 *      handlers can run in it.
 *   4. It reports by writing `failed` and `step` into our memory: no pipe is needed, and no error is lost.
 *
 * The pidfd comes from clone itself (CLONE_PIDFD), so it can name no other process.
 * PDEATHSIG fires when the *thread* that spawned ends; it reaches the child, not what the child has started.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif

/* child_main's stack: it calls nothing but syscall(). The guard page below turns a mistake into a crash. */
enum { STACK_BYTES = 64 * 1024, GUARD_BYTES = 64 * 1024 };

enum { LIMITS = 3, KERNEL_SIGNALS = 64, KERNEL_SIGSET_BYTES = 8 };

enum step { STEP_PARENT, STEP_GROUP, STEP_CWD, STEP_DESCRIPTORS, STEP_LIMIT, STEP_SIGNALS, STEP_EXEC };

/* What the child needs, prepared by the parent. */
struct plan {
	const char *path;
	const char *const *argv, *const *env;
	const char *cwd; /* NULL: cwd_fd, or stay */
	int cwd_fd;
	int in, out, err; /* all >= 3 */
	pid_t parent;
	struct {
		int resource;
		struct rlimit limit; /* same layout as the kernel's: 64 bits each on every 64-bit Linux */
	} limits[LIMITS];
	unsigned limit_count;
	/* owner: the child, until clone returns */
	int failed;            /* errno */
	unsigned failed_limit; /* with STEP_LIMIT: index into limits */
	enum step step;
};

_Static_assert(sizeof(rlim_t) == 8, "prlimit64 is called with a struct rlimit");

#if defined(__clang__) && __has_attribute(disable_sanitizer_instrumentation)
#define BARE __attribute__((noinline, disable_sanitizer_instrumentation))
#else
#define BARE __attribute__((noinline, no_sanitize("address", "thread", "undefined")))
#endif

/* ThreadSanitizer takes each call of clone() for a fork and refuses new threads after it. glibc exports the
 * same function under a second name, which it does not intercept. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
int __clone(int (*run)(void *), void *stack, int flags, void *arg, ...);
#define clone __clone
#endif

/* ---- in the child (see rule 1) ----------------------------------------------------------------------------------- */

static BARE int child_fail(struct plan *plan, enum step step)
{
	plan->failed = errno;
	plan->step = step;
	syscall(SYS_exit_group, 127);
	__builtin_unreachable();
}

static BARE int child_main(void *arg)
{
	struct plan *plan = arg;
	unsigned long zero[8] = {0}; /* a kernel sigaction of SIG_DFL and an empty mask, whatever their exact size */

	if (syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return child_fail(plan, STEP_PARENT);
	/* Our parent may have died before the line above: then no signal will come. */
	if (syscall(SYS_getppid) != plan->parent) {
		errno = ESRCH;
		return child_fail(plan, STEP_PARENT);
	}
	if (syscall(SYS_setpgid, 0, 0) < 0)
		return child_fail(plan, STEP_GROUP);
	if (plan->cwd && syscall(SYS_chdir, plan->cwd) < 0)
		return child_fail(plan, STEP_CWD);
	if (!plan->cwd && plan->cwd_fd > 0 && syscall(SYS_fchdir, plan->cwd_fd) < 0)
		return child_fail(plan, STEP_CWD);
	if (syscall(SYS_dup3, plan->in, 0, 0) < 0 || syscall(SYS_dup3, plan->out, 1, 0) < 0 ||
		syscall(SYS_dup3, plan->err, 2, 0) < 0 || syscall(SYS_close_range, 3u, ~0u, 0u) < 0)
		return child_fail(plan, STEP_DESCRIPTORS);
	for (unsigned i = 0; i < plan->limit_count; i++)
		if (syscall(SYS_prlimit64, 0, plan->limits[i].resource, &plan->limits[i].limit, NULL) < 0) {
			plan->failed_limit = i;
			return child_fail(plan, STEP_LIMIT);
		}
	for (int signal = 1; signal <= KERNEL_SIGNALS; signal++)
		if (signal != SIGKILL && signal != SIGSTOP &&
			syscall(SYS_rt_sigaction, signal, zero, NULL, KERNEL_SIGSET_BYTES) < 0)
			return child_fail(plan, STEP_SIGNALS);
	if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, zero, NULL, KERNEL_SIGSET_BYTES) < 0)
		return child_fail(plan, STEP_SIGNALS);
	syscall(SYS_execve, plan->path, plan->argv, plan->env);
	return child_fail(plan, STEP_EXEC);
}

/* ---- preparation ------------------------------------------------------------------------------------------------- */

static void fd_drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void text_drop(char **text)
{
	free(*text);
}

/* Moves a descriptor above the standard ones (a daemon may run with them closed), so that dup3 in the child cannot
 * overwrite one that it still needs. */
static int fd_above_standard(int *fd)
{
	if (*fd > STDERR_FILENO)
		return 0;

	int moved = fcntl(*fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

	if (moved < 0)
		return -errno;
	close(*fd);
	*fd = moved;
	return 0;
}

static int pipe_open(int *ret_read, int *ret_write)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	*ret_read = ends[0];
	*ret_write = ends[1];
	/* Only our end: O_NONBLOCK belongs to the open file, and the child's programs expect writes that wait. */
	if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	return fd_above_standard(ret_write);
}

static bool is_program(const char *path)
{
	struct stat info;

	return stat(path, &info) == 0 && S_ISREG(info.st_mode) && access(path, X_OK) == 0;
}

/* The program's path: argv[0] when it has a slash (relative to the child's directory), else the first match in our
 * PATH. Relative entries of PATH are passed over: what they name depends on a directory that somebody else may have
 * chosen. */
static int program_find(const char *name, char **ret_path, struct qmt_err *err)
{
	const char *search = getenv("PATH");
	struct qmt_buf path = {0};

	if (strchr(name, '/')) {
		*ret_path = qmt_str_dup(qmt_str(name));
		return *ret_path ? 0 : qmt_err_set(err, -ENOMEM, "out of memory");
	}
	if (!search || *search == '\0')
		search = "/usr/local/bin:/usr/bin:/bin";
	for (const char *entry = search;; entry++) {
		size_t len = strcspn(entry, ":");

		path.len = 0;
		qmt_buf_append(&path, entry, len);
		qmt_buf_str(&path, "/");
		qmt_buf_str(&path, name);
		if (path.failed) {
			qmt_buf_free(&path);
			return qmt_err_set(err, -ENOMEM, "out of memory");
		}
		if (len > 0 && *entry == '/' && is_program(path.data)) {
			*ret_path = path.data;
			return 0;
		}
		entry += len;
		if (*entry == '\0')
			break;
	}
	qmt_buf_free(&path);
	return qmt_err_set(err, -ENOENT, "not found in PATH (%s)", search);
}

/* Sets soft and hard limit, the hard one never above what we may give. */
static void limit_add(struct plan *plan, int resource, rlim_t soft, rlim_t hard)
{
	struct rlimit ours = {RLIM_INFINITY, RLIM_INFINITY};

	getrlimit((__rlimit_resource_t)resource, &ours);
	hard = hard < ours.rlim_max ? hard : ours.rlim_max;
	plan->limits[plan->limit_count].resource = resource;
	plan->limits[plan->limit_count++].limit = (struct rlimit){soft < hard ? soft : hard, hard};
}

static void limits_plan(const struct qmt_os_child_options *opt, struct plan *plan)
{
	/* One second between SIGXCPU, which a program may catch, and SIGKILL. */
	if (opt->cpu_seconds > 0)
		limit_add(plan, RLIMIT_CPU, opt->cpu_seconds, opt->cpu_seconds + (opt->cpu_seconds < UINT64_MAX));
	if (opt->memory_bytes > 0)
		limit_add(plan, RLIMIT_AS, opt->memory_bytes, opt->memory_bytes);
	if (opt->open_files > 0)
		limit_add(plan, RLIMIT_NOFILE, opt->open_files, opt->open_files);
}

static const char *limit_name(int resource)
{
	return resource == RLIMIT_CPU ? "cpu_seconds" : resource == RLIMIT_AS ? "memory_bytes" : "open_files";
}

/* Turns what the child has left in *plan into words. */
static int child_error(const struct plan *plan, const struct qmt_os_child_options *opt, struct qmt_err *err)
{
	const char *why = strerror(plan->failed);
	int code = -plan->failed;

	switch (plan->step) {
	case STEP_PARENT:
		return qmt_err_set(err, code, "parent death signal: %s", why);
	case STEP_GROUP:
		return qmt_err_set(err, code, "process group: %s", why);
	case STEP_CWD:
		if (opt->cwd_fd > 0)
			return qmt_err_set(err, code, "working directory (descriptor %d): %s", opt->cwd_fd, why);
		return qmt_err_set(err, code, "working directory %s: %s", opt->cwd, why);
	case STEP_DESCRIPTORS:
		return qmt_err_set(err, code, "standard streams: %s", why);
	case STEP_LIMIT:
		return qmt_err_set(err, code, "limit %s: %s", limit_name(plan->limits[plan->failed_limit].resource), why);
	case STEP_SIGNALS:
		return qmt_err_set(err, code, "signals: %s", why);
	case STEP_EXEC:
		break;
	}
	if (plan->failed == ENOEXEC)
		return qmt_err_set(err, code, "%s: not a program for this machine, and no \"#!\" line", plan->path);
	if (plan->failed == ENOENT && access(plan->path, F_OK) == 0)
		return qmt_err_set(err, code, "%s: its interpreter does not exist", plan->path);
	return qmt_err_set(err, code, "%s: %s", plan->path, why);
}

/* clone with everything blocked. Returns 0 or -errno; outcomes of the child itself are in plan->failed. */
static int clone_and_exec(struct plan *plan, pid_t *ret_pid, int *ret_pidfd)
{
	char *room =
		mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (room == MAP_FAILED)
		return -errno;

	int result = mprotect(room, GUARD_BYTES, PROT_NONE) < 0 ? -errno : 0;

	if (result == 0) {
		sigset_t all, old;
		int pidfd = -1;

		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);

		pid_t pid = clone(
			child_main, room + GUARD_BYTES + STACK_BYTES, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, plan, &pidfd);

		result = pid < 0 ? -errno : 0;
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		if (result == 0) {
			*ret_pid = pid;
			*ret_pidfd = pidfd;
		}
	}
	munmap(room, GUARD_BYTES + STACK_BYTES); /* the child has left it: it has executed or ended */
	return result;
}

static int child_spawn(const struct qmt_os_child_options *opt, struct qmt_os_child *ret_child, struct qmt_err *err)
{
	QMT_CLEANUP(fd_drop) int in = -1, out_read = -1, out_write = -1, err_read = -1, err_write = -1, pidfd = -1;
	QMT_CLEANUP(text_drop) char *path = NULL;
	pid_t pid = -1;
	int failed = program_find(opt->argv[0], &path, err);

	if (failed)
		return failed;
	in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	failed = in < 0 ? -errno : fd_above_standard(&in);
	if (failed)
		return qmt_err_set(err, failed, "/dev/null: %s", strerror(-failed));
	failed = pipe_open(&out_read, &out_write);
	if (!failed)
		failed = pipe_open(&err_read, &err_write);
	if (failed)
		return qmt_err_set(err, failed, "pipe: %s", strerror(-failed));

	struct plan plan = {
		.path = path,
		.argv = opt->argv,
		.env = opt->env ? opt->env : (const char *const *)environ,
		.cwd = opt->cwd_fd > 0 ? NULL : opt->cwd,
		.cwd_fd = opt->cwd_fd,
		.in = in,
		.out = out_write,
		.err = err_write,
		.parent = getpid(),
	};

	limits_plan(opt, &plan);
	failed = clone_and_exec(&plan, &pid, &pidfd);
	if (failed)
		return qmt_err_set(err, failed, "clone: %s", strerror(-failed));
	if (plan.failed) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			continue;
		return child_error(&plan, opt, err);
	}
	*ret_child = (struct qmt_os_child){.pid = pid, .pidfd = pidfd, .out_fd = out_read, .err_fd = err_read};
	pidfd = out_read = err_read = -1;
	return 0;
}

int qmt_os_child_spawn(const struct qmt_os_child_options *opt, struct qmt_os_child *ret_child, struct qmt_err *err)
{
	if (!opt->argv || !opt->argv[0] || *opt->argv[0] == '\0')
		return qmt_err_set(err, -EINVAL, "child: no program given (argv is empty)");

	int failed = child_spawn(opt, ret_child, err);

	if (failed)
		qmt_err_prefix(err, "child %s", opt->argv[0]);
	return failed;
}

void qmt_os_child_kill(const struct qmt_os_child *child, int signal)
{
	/* kill(-1) and kill(0) would reach far more than one group; a pid of 0 is a child that was never spawned. */
	if (child->pid > 1)
		kill(-child->pid, signal);
}

int qmt_os_child_reap(const struct qmt_os_child *child, int *ret_status)
{
	int status;
	pid_t pid = waitpid(child->pid, &status, WNOHANG);

	if (pid < 0)
		return -errno;
	if (pid == 0)
		return 0;
	*ret_status = status;
	return 1;
}
