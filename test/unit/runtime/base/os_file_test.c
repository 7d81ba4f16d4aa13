/* runtime/base/os_file: a reader sees the old or the new content and never a mixture; each error names path and
 * reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/os.h"

struct fixture {
	char dir[64];
	struct qmt_buf path; /* of the last at() */
};

static const char *at(struct fixture *f, const char *name)
{
	f->path.len = 0;
	qmt_buf_printf(&f->path, "%s/%s", f->dir, name);
	return f->path.data;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	snprintf(f->dir, sizeof f->dir, "/tmp/qmt-os-file-XXXXXX");
	*state = f;
	return mkdtemp(f->dir) ? 0 : -1;
}

static void remove_tree(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	struct qmt_buf name = {0};

	if (!dir) {
		unlink(path);
		return;
	}
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		name.len = 0;
		qmt_buf_printf(&name, "%s/%s", path, entry->d_name);
		if (entry->d_type == DT_DIR)
			remove_tree(name.data);
		else
			unlink(name.data);
	}
	closedir(dir);
	rmdir(path);
	qmt_buf_free(&name);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	remove_tree(f->dir);
	qmt_buf_free(&f->path);
	free(f);
	return 0;
}

static unsigned count_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;
}

static void write_ok(const char *path, const char *text, size_t len)
{
	struct qmt_err err = {0};

	if (qmt_os_file_write(path, text, len, 0600, &err))
		fail_msg("%s", err.text);
}

/* What was written is read back: nothing, zeros, more than one read. */
static void content_comes_back(void **state)
{
	struct fixture *f = *state;
	static char big[100000];

	for (size_t i = 0; i < sizeof big; i++)
		big[i] = (char)(i * 7);
	static const size_t sizes[] = {0, 1, 16383, 16384, 16385, sizeof big};

	for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		struct qmt_buf data = {0};
		struct qmt_err err = {0};

		write_ok(at(f, "file"), big, sizes[i]);
		if (qmt_os_file_read(at(f, "file"), sizeof big, &data, &err))
			fail_msg("%s", err.text);
		assert_int_equal(data.len, sizes[i]);
		if (sizes[i])
			assert_memory_equal(data.data, big, sizes[i]);
		assert_int_equal(data.data[data.len], '\0');
		qmt_buf_free(&data);
	}
	assert_int_equal(count_entries(f->dir), 1);
}

/* A file of exactly the limit is read, one byte more is an error that says the limit; ret_data stays as it was. */
static void limit_is_exact(void **state)
{
	struct fixture *f = *state;
	static char text[40000];
	static const size_t limits[] = {0, 1, 100, 16383, 16384, 16385, 32768};

	for (unsigned i = 0; i < sizeof limits / sizeof limits[0]; i++) {
		struct qmt_buf data = {0};
		struct qmt_err err = {0};

		write_ok(at(f, "file"), text, limits[i]);
		assert_int_equal(qmt_os_file_read(at(f, "file"), limits[i], &data, NULL), 0);
		qmt_buf_free(&data);
		write_ok(at(f, "file"), text, limits[i] + 1);
		assert_int_equal(qmt_os_file_read(at(f, "file"), limits[i], &data, &err), -EFBIG);
		assert_null(data.data);
		assert_non_null(strstr(err.text, f->path.data));
		assert_non_null(strstr(err.text, "limit of"));
	}
	struct qmt_buf endless = {0};

	assert_int_equal(qmt_os_file_read("/dev/zero", 1000, &endless, NULL), -EFBIG);
	write_ok(at(f, "file"), text, 10);
	assert_int_equal(qmt_os_file_read(at(f, "file"), SIZE_MAX, &endless, NULL), 0); /* no limit: no overflow */
	qmt_buf_free(&endless);
}

/* Errors of reading name the path and the kernel's reason. */
static void read_errors_name_path_and_reason(void **state)
{
	struct fixture *f = *state;
	struct qmt_buf data = {0};
	struct qmt_err err = {0};

	assert_int_equal(qmt_os_file_read(at(f, "missing"), 10, &data, &err), -ENOENT);
	assert_non_null(strstr(err.text, f->path.data));
	assert_non_null(strstr(err.text, "No such file"));
	assert_int_equal(qmt_os_file_read(f->dir, 10, &data, &err), -EISDIR);
	assert_non_null(strstr(err.text, f->dir));
	assert_null(data.data);
}

/* Mode is what was asked for, whatever the umask says; a write over an old file replaces content and mode. */
static void mode_is_exact(void **state)
{
	struct fixture *f = *state;
	struct stat info;
	mode_t old = umask(077);

	assert_int_equal(qmt_os_file_write(at(f, "file"), "a", 1, 0644, NULL), 0);
	umask(0);
	assert_int_equal(stat(f->path.data, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0644);
	assert_int_equal(qmt_os_file_write(f->path.data, "b", 1, 0600, NULL), 0);
	umask(old);
	assert_int_equal(stat(f->path.data, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);
}

/* A reader that has the old file open goes on seeing it: the name moves, the content does not change. */
static void replacing_is_atomic_for_readers(void **state)
{
	struct fixture *f = *state;
	char text[8] = {0};
	int fd;

	write_ok(at(f, "file"), "old", 3);
	fd = open(f->path.data, O_RDONLY | O_CLOEXEC);
	write_ok(f->path.data, "newer", 5);
	assert_int_equal(read(fd, text, sizeof text), 3);
	assert_string_equal(text, "old");
	close(fd);
}

/* A relative name without a directory works. */
static void plain_names_work(void **state)
{
	struct fixture *f = *state;
	char home[4096];
	struct qmt_buf data = {0};

	assert_non_null(getcwd(home, sizeof home));
	assert_int_equal(chdir(f->dir), 0);

	int wrote = qmt_os_file_write("plain", "x", 1, 0600, NULL), got = qmt_os_file_read("plain", 1, &data, NULL);

	assert_int_equal(chdir(home), 0);
	assert_int_equal(wrote, 0);
	assert_int_equal(got, 0);
	assert_string_equal(data.data, "x");
	qmt_buf_free(&data);
}

/* A failed write leaves the old content and no temporary file. The file size limit stands for a full disk. */
static void failed_write_changes_nothing(void **state)
{
	struct fixture *f = *state;
	static char big[100000];
	struct rlimit old, small;
	struct qmt_buf data = {0};
	struct qmt_err err = {0};

	write_ok(at(f, "file"), "old", 3);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = (struct rlimit){50000, old.rlim_max};

	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);

	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);

	int result = qmt_os_file_write(f->path.data, big, sizeof big, 0600, &err);

	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, handler);
	assert_int_equal(result, -EFBIG);
	assert_non_null(strstr(err.text, f->path.data));
	assert_non_null(strstr(err.text, "write: "));
	assert_int_equal(qmt_os_file_read(f->path.data, 10, &data, NULL), 0);
	assert_string_equal(data.data, "old");
	qmt_buf_free(&data);
	assert_int_equal(count_entries(f->dir), 1);
}

/* Errors of writing name the path, and leave nothing behind. */
static void write_errors_name_path_and_reason(void **state)
{
	struct fixture *f = *state;
	struct qmt_err err = {0};

	assert_int_equal(qmt_os_file_write(at(f, "no/such/dir"), "x", 1, 0600, &err), -ENOENT);
	assert_non_null(strstr(err.text, f->path.data));
	assert_int_equal(qmt_os_file_write(at(f, ""), "x", 1, 0600, &err), -EISDIR);
	assert_int_equal(mkdir(at(f, "sub"), 0700), 0);
	assert_true(qmt_os_file_write(f->path.data, "x", 1, 0600, &err) < 0); /* a directory has the name */
	assert_non_null(strstr(err.text, "rename: "));
	assert_int_equal(count_entries(f->dir), 1);
	assert_int_equal(count_entries(f->path.data), 0);
}

/* No descriptor is left open, by success or failure. */
static void no_descriptor_is_leaked(void **state)
{
	struct fixture *f = *state;
	unsigned before = count_entries("/proc/self/fd");

	content_comes_back(state);
	limit_is_exact(state);
	failed_write_changes_nothing(state);
	assert_int_equal(mkdir(at(f, "x"), 0700), 0);
	assert_int_equal(count_entries("/proc/self/fd"), before);
}

/* make_dirs makes each missing part with mode 0700 and is content with what exists. */
static void dirs_are_made_with_parents(void **state)
{
	struct fixture *f = *state;
	struct stat info;
	struct qmt_err err = {0};
	mode_t old = umask(0);

	for (int round = 0; round < 2; round++)
		if (qmt_os_make_dirs(at(f, "a//b/c/"), &err))
			fail_msg("%s", err.text);
	umask(old);
	assert_int_equal(stat(at(f, "a/b"), &info), 0);
	assert_int_equal(info.st_mode & 07777, 0700);
	assert_int_equal(stat(at(f, "a/b/c"), &info), 0);
	assert_int_equal(symlink("a", at(f, "link")), 0);
	assert_int_equal(qmt_os_make_dirs(at(f, "link/d"), NULL), 0);
	assert_int_equal(stat(at(f, "a/d"), &info), 0);
	assert_int_equal(qmt_os_make_dirs("/", NULL), 0);
	assert_int_equal(qmt_os_make_dirs(".", NULL), 0);
}

/* A file in the way, a dangling link and an empty path are errors that name the part in question. */
static void dirs_errors_name_the_part(void **state)
{
	struct fixture *f = *state;
	struct qmt_err err = {0};

	write_ok(at(f, "file"), "x", 1);
	assert_int_equal(qmt_os_make_dirs(at(f, "file/sub"), &err), -ENOTDIR);
	assert_non_null(strstr(err.text, "/file: exists and is not a directory"));
	assert_int_equal(qmt_os_make_dirs(at(f, "file"), &err), -ENOTDIR);
	assert_int_equal(symlink("nowhere", at(f, "link")), 0);
	assert_int_equal(qmt_os_make_dirs(at(f, "link/sub"), &err), -ENOENT);
	assert_non_null(strstr(err.text, "/link: "));
	assert_int_equal(qmt_os_make_dirs("", &err), -EINVAL);
	assert_true(qmt_os_make_dirs("/proc/no-such/dir", &err) < 0);
	assert_non_null(strstr(err.text, "/proc/no-such"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(content_comes_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(limit_is_exact, set_up, tear_down),
		cmocka_unit_test_setup_teardown(read_errors_name_path_and_reason, set_up, tear_down),
		cmocka_unit_test_setup_teardown(mode_is_exact, set_up, tear_down),
		cmocka_unit_test_setup_teardown(replacing_is_atomic_for_readers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(plain_names_work, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failed_write_changes_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(write_errors_name_path_and_reason, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_descriptor_is_leaked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(dirs_are_made_with_parents, set_up, tear_down),
		cmocka_unit_test_setup_teardown(dirs_errors_name_the_part, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("runtime/base/os_file", tests, NULL, NULL);
}
