/* runtime/base/os_child: a start either gives a child or says clearly why not, and then leaves nothing behind. */
#include "os_child_fixture.h"

/* A failed start gives the program, the reason and its code, and leaves neither a descriptor nor a child. */
static void failures_are_clear(void **unused)
{
	(void)unused;
	char script[] = "/tmp/qmt-os-child-XXXXXX";
	int fd = mkostemp(script, O_CLOEXEC);
	const struct {
		struct qmt_os_child_options opt;
		int code;
		const char *part, *part2;
	} cases[] = {
		{{.argv = ARGV("no-such-program-qmt")}, -ENOENT, "child no-such-program-qmt: not found in PATH (", NULL},
		{{.argv = ARGV("/no/such/program")}, -ENOENT, "child /no/such/program: /no/such/program: No such file", NULL},
		{{.argv = ARGV("/tmp")}, -EACCES, "/tmp: Permission denied", NULL},
		{{.argv = ARGV("true"), .cwd = "/no/such/dir"}, -ENOENT,
			"child true: working directory /no/such/dir: No such file", NULL},
		{{.argv = ARGV("true"), .cwd_fd = 9999}, -EBADF, "working directory (descriptor 9999)", NULL},
		{{.argv = ARGV(script)}, -ENOENT, script, "its interpreter does not exist"},
		{{.argv = ARGV("")}, -EINVAL, "no program given", NULL},
		{{.argv = (const char *const[]){NULL}}, -EINVAL, "no program given", NULL},
		{{.argv = NULL}, -EINVAL, "no program given", NULL},
	};
	static const char text[] = "#!/no/such/interpreter\n";

	assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
	assert_int_equal(fchmod(fd, 0700), 0);
	close(fd);

	unsigned before = count_descriptors();

	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct qmt_os_child child = {.pid = 77};
		struct qmt_err err = {0};

		assert_int_equal(qmt_os_child_spawn(&cases[i].opt, &child, &err), cases[i].code);
		assert_int_equal(err.code, cases[i].code);
		if (!strstr(err.text, cases[i].part) || (cases[i].part2 && !strstr(err.text, cases[i].part2)))
			fail_msg("case %u gave: %s", i, err.text);
		assert_int_equal(child.pid, 77);
		assert_int_equal(qmt_os_child_spawn(&cases[i].opt, &child, NULL), cases[i].code);
		assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
		assert_int_equal(errno, ECHILD);
	}
	assert_int_equal(count_descriptors(), before);

	/* Neither a binary nor a script. */
	struct qmt_err err = {0};
	struct qmt_os_child child;

	assert_int_equal(truncate(script, 0), 0);
	assert_int_equal(qmt_os_child_spawn(&(struct qmt_os_child_options){.argv = ARGV(script)}, &child, &err), -ENOEXEC);
	assert_non_null(strstr(err.text, "no \"#!\" line"));
	unlink(script);
}

/* Without free descriptors the start fails clearly, at each of the places where it needs one. */
static void no_free_descriptor_is_clear(void **unused)
{
	(void)unused;
	struct rlimit old;
	int next = dup(2);
	bool started = false;

	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (rlim_t free_ones = 0; free_ones < 16 && !started; free_ones++) {
		struct rlimit few = {(rlim_t)next + free_ones, old.rlim_max};
		struct qmt_os_child child;
		struct qmt_err err = {0};

		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);

		int failed = qmt_os_child_spawn(&(struct qmt_os_child_options){.argv = ARGV("true")}, &child, &err);

		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		if (failed) {
			assert_int_equal(failed, -EMFILE);
			assert_non_null(strstr(err.text, "child true: "));
			assert_non_null(strstr(err.text, "Too many open files"));
			int now = dup(2);

			assert_int_equal(now, next);
			close(now);
		} else {
			struct outcome o;

			child_finish(&child, &o);
			outcome_free(&o);
			started = true;
			assert_true(free_ones >= 6);
		}
	}
	assert_true(started);
}

/* PATH is searched in order, for absolute entries and executable files only. */
static void path_is_searched_safely(void **unused)
{
	(void)unused;
	char dir[] = "/tmp/qmt-os-child-XXXXXX", here[4096], *old = strdup(getenv("PATH"));
	struct qmt_buf text = {0};
	struct qmt_os_child child;
	struct qmt_err err = {0};

	assert_non_null(mkdtemp(dir));
	qmt_buf_printf(&text, "%s/mine-qmt", dir);
	assert_int_equal(symlink("/bin/echo", text.data), 0);
	text.len = 0;
	qmt_buf_printf(&text, "%s/first/mine-qmt", dir); /* a directory of the name: passed over */
	assert_int_equal(qmt_os_make_dirs(text.data, NULL), 0);
	assert_non_null(getcwd(here, sizeof here));
	assert_int_equal(chdir(dir), 0);
	setenv("PATH", "::.:", 1); /* all of it means the working directory */

	int failed = qmt_os_child_spawn(&(struct qmt_os_child_options){.argv = ARGV("mine-qmt")}, &child, &err);

	assert_int_equal(chdir(here), 0);
	assert_int_equal(failed, -ENOENT);
	text.len = 0;
	qmt_buf_printf(&text, "%s/first:/no/such:%s", dir, dir);
	setenv("PATH", text.data, 1);

	struct outcome o = run(&(struct qmt_os_child_options){.argv = ARGV("mine-qmt", "found")});

	assert_string_equal(o.out.data, "found\n");
	outcome_free(&o);
	unsetenv("PATH");
	o = run(&(struct qmt_os_child_options){.argv = ARGV("true")});
	assert_int_equal(o.status, 0);
	outcome_free(&o);
	setenv("PATH", old, 1);
	free(old);
	text.len = 0;
	qmt_buf_printf(&text, "%s/mine-qmt", dir);
	unlink(text.data);
	text.len = 0;
	qmt_buf_printf(&text, "%s/first/mine-qmt", dir);
	rmdir(text.data);
	text.len -= strlen("/mine-qmt");
	text.data[text.len] = '\0';
	rmdir(text.data);
	assert_int_equal(rmdir(dir), 0);
	qmt_buf_free(&text);
}

enum { THREADS = 4, CHILDREN_EACH = 25 };

static void *spawn_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < CHILDREN_EACH; i++) {
		char number[16];
		struct outcome o;

		snprintf(number, sizeof number, "%d", i);
		o = run(&(struct qmt_os_child_options){.argv = ARGV("echo", number)});
		o.out.data[o.out.len - 1] = '\0';
		assert_string_equal(o.out.data, number);
		outcome_free(&o);

		/* and one that fails */
		struct qmt_err err = {0};
		struct qmt_os_child child;

		assert_int_equal(
			qmt_os_child_spawn(&(struct qmt_os_child_options){.argv = ARGV("/no/such")}, &child, &err), -ENOENT);
	}
	return NULL;
}

/* Threads spawn at the same time without getting each other's pipes, errors or ends. */
static void threads_spawn_at_once(void **unused)
{
	(void)unused;
	pthread_t threads[THREADS];
	unsigned before = count_descriptors();

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, spawn_many, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(count_descriptors(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failures_are_clear),
		cmocka_unit_test(no_free_descriptor_is_clear),
		cmocka_unit_test(path_is_searched_safely),
		cmocka_unit_test(threads_spawn_at_once),
	};

	return cmocka_run_group_tests_name("runtime/base/os_child_start", tests, NULL, NULL);
}
