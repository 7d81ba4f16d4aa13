/* test/unit/runtime/base/os_child_fixture.h - starting children and waiting for them, for the tests of os_child.
 *
 * Waits end at DEADLINE_MS with a failed test.
 */
#ifndef QMT_TEST_OS_CHILD_FIXTURE_H
#define QMT_TEST_OS_CHILD_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/os.h"

enum { DEADLINE_MS = 20000 };

struct outcome {
	struct qmt_buf out, err;
	int status;
};

/* Waits for one descriptor; fails the test at the deadline. */
static inline void await(int fd, const char *what)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	if (poll(&pfd, 1, DEADLINE_MS) != 1)
		fail_msg("%s: nothing within %d ms", what, DEADLINE_MS);
}

static inline void read_to_end(int fd, struct qmt_buf *text)
{
	qmt_buf_str(text, "");
	for (;;) {
		char room[4096];
		ssize_t got;

		await(fd, "output");
		got = read(fd, room, sizeof room);
		assert_true(got >= 0);
		if (got == 0)
			return;
		qmt_buf_append(text, room, (size_t)got);
	}
}

static inline void child_close(struct qmt_os_child *child)
{
	close(child->pidfd);
	close(child->out_fd);
	close(child->err_fd);
}

static inline void child_finish(struct qmt_os_child *child, struct outcome *outcome)
{
	*outcome = (struct outcome){.status = -1};
	read_to_end(child->out_fd, &outcome->out);
	read_to_end(child->err_fd, &outcome->err);
	await(child->pidfd, "end of the child");
	assert_int_equal(qmt_os_child_reap(child, &outcome->status), 1);
	child_close(child);
}

static inline void outcome_free(struct outcome *outcome)
{
	qmt_buf_free(&outcome->out);
	qmt_buf_free(&outcome->err);
}

static inline struct qmt_os_child start(const struct qmt_os_child_options *opt)
{
	struct qmt_os_child child = {0};
	struct qmt_err err = {0};

	if (qmt_os_child_spawn(opt, &child, &err))
		fail_msg("%s", err.text);
	return child;
}

static inline struct outcome run(const struct qmt_os_child_options *opt)
{
	struct qmt_os_child child = start(opt);
	struct outcome outcome;

	child_finish(&child, &outcome);
	return outcome;
}

#define ARGV(...)         \
	(const char *const[]) \
	{                     \
		__VA_ARGS__, NULL \
	}
#define SHELL(script) ARGV("sh", "-c", script)

static inline unsigned count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

#endif
