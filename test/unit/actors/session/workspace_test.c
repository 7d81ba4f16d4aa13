/* Whatever a path is made of, and whoever swaps things meanwhile: what is read and written lies beneath the root. */
#include "fixture.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "actors/session/workspace.h"

static int read_path(const char *root, const char *path, struct qmt_buf *data, struct qmt_err *err)
{
	struct workspace ws;
	struct stat st;
	*err = (struct qmt_err){0};
	int code = workspace_open(&ws, root, "t", err);
	if (!code)
		code = workspace_read(&ws, qmt_str(path), 1 << 20, data, &st, err);
	workspace_close(&ws);
	return code;
}

static int write_path(const char *root, const char *path, const char *text, bool create, struct qmt_err *err)
{
	struct workspace ws;
	*err = (struct qmt_err){0};
	int code = workspace_open(&ws, root, "t", err);
	if (!code)
		code = workspace_write(&ws, qmt_str(path), qmt_str(text), create, NULL, err);
	workspace_close(&ws);
	return code;
}

static void refused(const char *root, const char *path, int code)
{
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf data = {0};
	struct qmt_err err;
	int got = read_path(root, path, &data, &err);
	if (got != code)
		print_error("read %s: got %d (%s), want %d\n", path, got, err.text, code);
	assert_int_equal(got, code);
	assert_true(err.text[0]);
	got = write_path(root, path, "overwritten", true, &err);
	if (got != code)
		print_error("write %s: got %d (%s), want %d\n", path, got, err.text, code);
	assert_int_equal(got, code);
}

static void reads(const char *root, const char *path, const char *want)
{
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf data = {0};
	struct qmt_err err;
	int code = read_path(root, path, &data, &err);
	if (code)
		print_error("%s\n", err.text);
	assert_int_equal(code, 0);
	assert_string_equal(data.data, want);
}

/* Dots, absolute paths and links cannot leave. */
static void test_leave(void **state)
{
	struct fixture *f = *state;
	fixture_put(f->outside, "secret", "secret");
	assert_int_equal(mkdir(fixture_path(f->root, "sub"), 0755), 0);
	assert_int_equal(symlink("../outside/secret", fixture_path(f->root, "rel")), 0);
	assert_int_equal(symlink(fixture_path(f->outside, "secret"), fixture_path(f->root, "abs")), 0);
	assert_int_equal(symlink("../outside", fixture_path(f->root, "dir")), 0);
	assert_int_equal(symlink("..", fixture_path(f->root, "up")), 0);
	assert_int_equal(symlink("rel", fixture_path(f->root, "chain")), 0);
	assert_int_equal(symlink("../../outside/new", fixture_path(f->root, "sub/dangling")), 0);

	refused(f->root, "../outside/secret", -EXDEV);
	refused(f->root, "sub/../../outside/secret", -EXDEV);
	refused(f->root, "./sub/./../../outside/secret", -EXDEV);
	refused(f->root, fixture_path(f->outside, "secret"), -EXDEV);
	refused(f->root, "/etc/passwd", -EXDEV);
	refused(f->root, "rel", -EXDEV);
	refused(f->root, "abs", -EXDEV);
	refused(f->root, "chain", -EXDEV);
	refused(f->root, "dir/secret", -EXDEV);
	refused(f->root, "up/outside/secret", -EXDEV);
	refused(f->root, "sub/dangling", -EXDEV);
	/* An absolute path into the root, and out again. */
	refused(f->root, fixture_path(f->root, "../outside/secret"), -EXDEV);
	/* A folder whose name only begins like the root. */
	char beside[128];
	snprintf(beside, sizeof(beside), "%s-2", f->root);
	assert_int_equal(mkdir(beside, 0755), 0);
	fixture_put(beside, "x", "secret");
	refused(f->root, fixture_path(beside, "x"), -EXDEV);

	struct qmt_err err;
	assert_int_equal(write_path(f->root, "dir/made/new", "x", true, &err), -EXDEV);
	assert_int_equal(write_path(f->root, "../made/new", "x", true, &err), -EXDEV);
	assert_string_equal(fixture_get(f->outside, "secret"), "secret");
	assert_null(fixture_get(f->outside, "new"));
	assert_true(access(fixture_path(f->outside, "made"), F_OK) != 0);
	assert_true(access(fixture_path(f->dir, "made"), F_OK) != 0);
	assert_int_equal(fixture_count(f->root, ".qmt"), 0);
}

/* Links of /proc lead nowhere. */
static void test_magic_links(void **state)
{
	struct fixture *f = *state;
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf data = {0};
	struct qmt_err err;
	assert_true(read_path("/proc/self", "root/etc/passwd", &data, &err) < 0);
	assert_true(read_path("/proc/self", "cwd/Makefile", &data, &err) < 0);
	int fd = open(fixture_path(f->root, "open"), O_RDWR | O_CREAT, 0600);
	char name[32];
	snprintf(name, sizeof(name), "fd/%d", fd);
	assert_true(read_path("/proc/self", name, &data, &err) < 0);
	close(fd);
	assert_int_equal(symlink("/proc/self/root", fixture_path(f->root, "proc")), 0);
	assert_true(read_path(f->root, "proc/etc/passwd", &data, &err) < 0);
}

/* What stays inside works: links, dots, absolute paths of the root. */
static void test_inside(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(mkdir(fixture_path(f->root, "a"), 0755), 0);
	assert_int_equal(mkdir(fixture_path(f->root, "a/b"), 0755), 0);
	fixture_put(f->root, "a/b/file", "text");
	assert_int_equal(symlink("a/b/file", fixture_path(f->root, "link")), 0);
	assert_int_equal(symlink("../a", fixture_path(f->root, "a/again")), 0);
	assert_int_equal(symlink("b", fixture_path(f->root, "a/bb")), 0);
	reads(f->root, "a/b/file", "text");
	reads(f->root, "./a/../a/b/file", "text");
	reads(f->root, "link", "text");
	reads(f->root, "a/bb/file", "text");
	reads(f->root, fixture_path(f->root, "a/b/file"), "text");
	reads(f->root, fixture_path(f->root, "/a/b/file"), "text");

	/* A root that is reached through a link accepts both of its names. */
	assert_int_equal(symlink("root", fixture_path(f->dir, "alias")), 0);
	reads(fixture_path(f->dir, "alias"), fixture_path(f->root, "a/b/file"), "text");
	reads(fixture_path(f->dir, "alias"), fixture_path(f->dir, "alias/a/b/file"), "text");

	/* A write through a link keeps the link and changes what it names. */
	struct qmt_err err;
	struct stat st;
	assert_int_equal(write_path(f->root, "link", "new", true, &err), 0);
	assert_string_equal(fixture_get(f->root, "a/b/file"), "new");
	assert_int_equal(lstat(fixture_path(f->root, "link"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	/* A link to nothing, inside: its target is made. */
	assert_int_equal(symlink("a/../a/b/later", fixture_path(f->root, "dangling")), 0);
	assert_int_equal(write_path(f->root, "dangling", "made", false, &err), 0);
	assert_string_equal(fixture_get(f->root, "a/b/later"), "made");
	/* A circle of links ends. */
	assert_int_equal(symlink("c2", fixture_path(f->root, "c1")), 0);
	assert_int_equal(symlink("c1", fixture_path(f->root, "c2")), 0);
	assert_int_equal(write_path(f->root, "c1", "x", false, &err), -ELOOP);
}

/* A write is whole, keeps the mode, makes folders when asked, breaks hard links instead of writing through them. */
static void test_write(void **state)
{
	struct fixture *f = *state;
	struct qmt_err err;
	struct stat st;
	fixture_put(f->root, "tool.sh", "old");
	assert_int_equal(chmod(fixture_path(f->root, "tool.sh"), 04751), 0);
	assert_int_equal(write_path(f->root, "tool.sh", "new", false, &err), 0);
	assert_int_equal(stat(fixture_path(f->root, "tool.sh"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0751);
	assert_string_equal(fixture_get(f->root, "tool.sh"), "new");

	assert_int_equal(write_path(f->root, "d1/d2/x", "deep", false, &err), -ENOENT);
	assert_non_null(strstr(err.text, "create_dirs"));
	assert_int_equal(write_path(f->root, "d1/d2/x", "deep", true, &err), 0);
	assert_string_equal(fixture_get(f->root, "d1/d2/x"), "deep");
	assert_int_equal(write_path(f->root, "d1//d3/../d4/x", "deep", true, &err), 0);
	assert_string_equal(fixture_get(f->root, "d1/d4/x"), "deep");

	fixture_put(f->outside, "shared", "theirs");
	assert_int_equal(link(fixture_path(f->outside, "shared"), fixture_path(f->root, "hard")), 0);
	assert_int_equal(write_path(f->root, "hard", "mine", false, &err), 0);
	assert_string_equal(fixture_get(f->outside, "shared"), "theirs");

	assert_int_equal(write_path(f->root, "d1", "x", false, &err), -EISDIR);
	assert_int_equal(write_path(f->root, "d1/", "x", false, &err), -EISDIR);
	assert_int_equal(write_path(f->root, "", "x", false, &err), -EISDIR);
	assert_int_equal(write_path(f->root, "d1/..", "x", false, &err), -EISDIR);
	assert_int_equal(write_path(f->root, "tool.sh/x", "x", true, &err), -ENOTDIR);
	assert_int_equal(fixture_count(f->root, ".qmt"), 0);
}

/* Pipes, missing files, over-long and odd names: an error each, at once. */
static void test_odd(void **state)
{
	struct fixture *f = *state;
	struct qmt_err err;
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf data = {0};
	assert_int_equal(mkfifo(fixture_path(f->root, "pipe"), 0600), 0);
	refused(f->root, "pipe", -EINVAL);
	assert_int_equal(read_path(f->root, "missing", &data, &err), -ENOENT);
	assert_int_equal(read_path(f->root, ".", &data, &err), -EISDIR);
	char *longest = malloc(PATH_MAX + 1);
	memset(longest, 'a', PATH_MAX);
	longest[PATH_MAX] = 0;
	refused(f->root, longest, -ENAMETOOLONG);
	longest[300] = 0;
	refused(f->root, longest, -ENAMETOOLONG);
	free(longest);
	struct workspace ws;
	struct stat st;
	assert_int_equal(workspace_open(&ws, f->root, "t", &err), 0);
	assert_int_equal(workspace_read(&ws, qmt_strn("a\0b", 3), 10, &data, &st, &err), -EINVAL);
	fixture_put(f->root, "eleven", "12345678901");
	assert_int_equal(workspace_read(&ws, qmt_str("eleven"), 10, &data, &st, &err), -EFBIG);
	workspace_close(&ws);
	assert_int_equal(workspace_open(&ws, "relative", "t", &err), -EINVAL);
	workspace_close(&ws);
	assert_int_equal(workspace_open(&ws, fixture_path(f->dir, "nothing"), "t", &err), -ENOENT);
	workspace_close(&ws);
	assert_int_equal(workspace_open(&ws, fixture_path(f->root, "eleven"), "t", &err), -ENOTDIR);
	workspace_close(&ws);
}

/* A file that changed since it was read is not overwritten. */
static void test_expect(void **state)
{
	struct fixture *f = *state;
	struct qmt_err err;
	struct workspace ws;
	struct stat st;
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf data = {0};
	fixture_put(f->root, "file", "one");
	assert_int_equal(workspace_open(&ws, f->root, "t", &err), 0);
	assert_int_equal(workspace_read(&ws, qmt_str("file"), 100, &data, &st, &err), 0);
	assert_int_equal(workspace_write(&ws, qmt_str("file"), qmt_str("two"), false, &st, &err), 0);
	assert_int_equal(workspace_write(&ws, qmt_str("file"), qmt_str("three"), false, &st, &err), -ESTALE);
	assert_string_equal(fixture_get(f->root, "file"), "two");
	workspace_close(&ws);
}

struct race {
	struct fixture *f;
	atomic_bool stop;
};

/* Swaps root/x between a folder and a link to the outside, and root/y between a file and a link, as fast as it can. */
static void *swap(void *arg)
{
	struct race *race = arg;
	const char *root = race->f->root;
	while (!atomic_load(&race->stop)) {
		renameat2(AT_FDCWD, fixture_path(root, "x"), AT_FDCWD, fixture_path(root, "x-link"), RENAME_EXCHANGE);
		renameat2(AT_FDCWD, fixture_path(root, "y"), AT_FDCWD, fixture_path(root, "y-link"), RENAME_EXCHANGE);
	}
	return NULL;
}

/* Swapped in mid-walk by another thread, thousands of times: never a byte from outside, never a byte to there. */
static void test_race(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(mkdir(fixture_path(f->root, "x"), 0755), 0);
	fixture_put(f->root, "x/file", "inside");
	fixture_put(f->outside, "file", "outside");
	assert_int_equal(symlink("../outside", fixture_path(f->root, "x-link")), 0);
	fixture_put(f->root, "y", "inside");
	assert_int_equal(symlink("../outside/file", fixture_path(f->root, "y-link")), 0);

	struct race race = {.f = f};
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, swap, &race), 0);
	struct workspace ws;
	struct qmt_err err;
	assert_int_equal(workspace_open(&ws, f->root, "t", &err), 0);
	static const char *const names[] = {"x/file", "y", "x/../x/file", "x/new"};
	unsigned fine = 0, kept_out = 0;
	for (int i = 0; i < 6000 || ((!fine || !kept_out) && i < 500000); i++) {
		struct qmt_buf data = {0};
		struct stat st;
		const char *name = names[i % 4];
		int code = workspace_read(&ws, qmt_str(name), 100, &data, &st, &err);
		if (code == 0)
			assert_string_equal(data.data, "inside");
		qmt_buf_free(&data);
		if (i % 8 >= 4) {
			code = workspace_write(&ws, qmt_str(name), qmt_str("inside"), true, NULL, &err);
			fine += code == 0;
			kept_out += code == -EXDEV;
			assert_true(code == 0 || code == -EXDEV || code == -ENOENT || code == -EAGAIN || code == -EEXIST ||
				code == -EINVAL || code == -ENOTDIR);
		}
	}
	atomic_store(&race.stop, true);
	pthread_join(thread, NULL);
	workspace_close(&ws);
	assert_true(fine && kept_out); /* both happened, or the test shows nothing */
	assert_string_equal(fixture_get(f->outside, "file"), "outside");
	assert_null(fixture_get(f->outside, "new"));
}

/* On a kernel without openat2 every path is refused, with the reason. */
static void test_no_openat2(void **state)
{
	struct fixture *f = *state;
	fixture_put(f->root, "file", "x");
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct sock_filter code[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog program = {sizeof(code) / sizeof(*code), code};
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
			_exit(77);
		struct qmt_buf data = {0};
		struct qmt_err err;
		int got = read_path(f->root, "file", &data, &err);
		_exit(got == -ENOSYS && strstr(err.text, "openat2") && write_path(f->root, "file", "y", true, &err) == -ENOSYS
				? 0
				: 1);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_string_equal(fixture_get(f->root, "file"), "x");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_up, fixture_down)

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_leave), TEST(test_magic_links), TEST(test_inside), TEST(test_write),
		TEST(test_odd), TEST(test_expect), TEST(test_race), TEST(test_no_openat2)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
