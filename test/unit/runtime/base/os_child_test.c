/* runtime/base/os_child: a child starts with nothing but what it was given, and ends when we say or when we end. */
#include "os_child_fixture.h"

/* Both streams arrive, apart, with the exit code. */
static void output_and_exit_code_arrive(void **unused)
{
	(void)unused;
	struct outcome o = run(&(struct qmt_os_child_options){.argv = SHELL("echo to-out; echo to-err >&2; exit 7")});

	assert_string_equal(o.out.data, "to-out\n");
	assert_string_equal(o.err.data, "to-err\n");
	assert_true(WIFEXITED(o.status));
	assert_int_equal(WEXITSTATUS(o.status), 7);
	outcome_free(&o);
}

/* Standard input is there, and empty. */
static void stdin_is_empty(void **unused)
{
	(void)unused;
	struct outcome o = run(&(struct qmt_os_child_options){.argv = ARGV("cat")});

	assert_string_equal(o.out.data, "");
	assert_int_equal(o.status, 0);
	outcome_free(&o);
	o = run(&(struct qmt_os_child_options){.argv = ARGV("readlink", "/proc/self/fd/0")});
	assert_string_equal(o.out.data, "/dev/null\n");
	outcome_free(&o);
}

/* Arguments arrive as they are; no shell sees them. */
static void arguments_are_not_interpreted(void **unused)
{
	(void)unused;
	struct outcome o = run(&(struct qmt_os_child_options){.argv = ARGV("printf", "<%s>", "a b", "$HOME;*", "")});

	assert_string_equal(o.out.data, "<a b><$HOME;*><>");
	outcome_free(&o);
}

/* env replaces the environment as a whole; without it ours is inherited. */
static void environment_is_given_or_inherited(void **unused)
{
	(void)unused;
	static const char *const env[] = {"ONE=1", "TWO=2", NULL}, *const none[] = {NULL};
	struct outcome o = run(&(struct qmt_os_child_options){.argv = ARGV("env"), .env = env});

	assert_string_equal(o.out.data, "ONE=1\nTWO=2\n");
	outcome_free(&o);
	o = run(&(struct qmt_os_child_options){.argv = ARGV("env"), .env = none});
	assert_string_equal(o.out.data, "");
	outcome_free(&o);
	setenv("QMT_TEST_INHERITED", "yes", 1);
	o = run(&(struct qmt_os_child_options){.argv = SHELL("echo $QMT_TEST_INHERITED")});
	unsetenv("QMT_TEST_INHERITED");
	assert_string_equal(o.out.data, "yes\n");
	outcome_free(&o);
}

/* The working directory is given by path or by descriptor (which wins); without either it is ours. */
static void working_directory_is_given(void **unused)
{
	(void)unused;
	char here[4096];
	int fd = open("/usr", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct outcome o = run(&(struct qmt_os_child_options){.argv = ARGV("/bin/pwd"), .cwd = "/dev"});

	assert_string_equal(o.out.data, "/dev\n");
	outcome_free(&o);
	o = run(&(struct qmt_os_child_options){.argv = ARGV("/bin/pwd"), .cwd = "/dev", .cwd_fd = fd});
	assert_string_equal(o.out.data, "/usr\n");
	outcome_free(&o);
	o = run(&(struct qmt_os_child_options){.argv = ARGV("bin/pwd"), .cwd = "/"}); /* a path relative to it */
	assert_string_equal(o.out.data, "/\n");
	outcome_free(&o);
	o = run(&(struct qmt_os_child_options){.argv = ARGV("/bin/pwd", "-P")});
	assert_non_null(getcwd(here, sizeof here));
	assert_memory_equal(o.out.data, here, strlen(here));
	outcome_free(&o);
	close(fd);
}

/* No descriptor of ours reaches the child, not even one without CLOEXEC; none of the child's stays here. */
static void no_descriptor_leaks(void **unused)
{
	(void)unused;
	int open_one = open("/dev/null", O_RDWR), /* no CLOEXEC, on purpose */
		open_high = fcntl(open_one, F_DUPFD, 500);
	unsigned before = count_descriptors();
	struct outcome o = run(&(struct qmt_os_child_options){.argv = ARGV("ls", "/proc/self/fd")});

	assert_string_equal(o.out.data, "0\n1\n2\n3\n"); /* 3 is the directory that ls reads */
	outcome_free(&o);
	assert_int_equal(count_descriptors(), before);
	close(open_one);
	close(open_high);
}

/* What we hold of a child is CLOEXEC, and our ends do not block. */
static void our_ends_are_closed_on_exec_and_do_not_block(void **unused)
{
	(void)unused;
	struct qmt_os_child child = start(&(struct qmt_os_child_options){.argv = ARGV("sleep", "100")});
	char room[1];
	int status;

	assert_true(fcntl(child.pidfd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(child.out_fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(child.err_fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(read(child.out_fd, room, 1), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(read(child.err_fd, room, 1), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(qmt_os_child_reap(&child, &status), 0); /* still runs */
	qmt_os_child_kill(&child, SIGKILL);
	await(child.pidfd, "end of the child");
	assert_int_equal(qmt_os_child_reap(&child, &status), 1);
	assert_int_equal(qmt_os_child_reap(&child, &status), -ECHILD);
	child_close(&child);
}

/* A child's own end is a usual pipe: a program that writes much waits for the reader and gets no EAGAIN. */
static void childs_end_blocks(void **unused)
{
	(void)unused;
	struct outcome o = run(&(struct qmt_os_child_options){.argv = SHELL("head -c 1000000 /dev/zero")});

	assert_int_equal(o.out.len, 1000000);
	assert_int_equal(o.status, 0);
	outcome_free(&o);
}

/* Death by a signal is told as such. */
static void death_by_signal_is_told(void **unused)
{
	(void)unused;
	struct outcome o = run(&(struct qmt_os_child_options){.argv = SHELL("kill -TERM $$")});

	assert_true(WIFSIGNALED(o.status));
	assert_int_equal(WTERMSIG(o.status), SIGTERM);
	outcome_free(&o);
}

/* A child starts with no signal blocked and none ignored, whatever we do about ours, and our own mask stays. */
static void signals_are_default(void **unused)
{
	(void)unused;
	sigset_t some, old, now;
	void (*handler)(int) = signal(SIGPIPE, SIG_IGN), (*handler2)(int) = signal(SIGRTMAX, SIG_IGN);

	sigemptyset(&some);
	sigaddset(&some, SIGTERM);
	sigaddset(&some, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &some, &old);

	struct outcome o =
		run(&(struct qmt_os_child_options){.argv = ARGV("grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status")});

	pthread_sigmask(SIG_SETMASK, &old, &now);
	signal(SIGPIPE, handler);
	signal(SIGRTMAX, handler2);
	assert_non_null(strstr(o.out.data, "SigBlk:\t0000000000000000\n"));
	assert_non_null(strstr(o.out.data, "SigIgn:\t0000000000000000\n"));
	assert_int_equal(sigismember(&now, SIGTERM), 1);
	assert_int_equal(sigismember(&now, SIGUSR1), 0);
	outcome_free(&o);
}

/* A child leads a group of its own. */
static void group_is_its_own(void **unused)
{
	(void)unused;
	/* "pid (comm) state ppid pgrp …" */
	struct outcome o =
		run(&(struct qmt_os_child_options){.argv = ARGV("cut", "-d", " ", "-f", "1,5", "/proc/self/stat")});
	char *end;
	long pid = strtol(o.out.data, &end, 10);

	assert_int_equal(strtol(end, NULL, 10), pid);
	assert_int_not_equal(pid, getpgrp());
	outcome_free(&o);
}

/* Reads a pid that a child prints as its first line, and opens it while it surely lives. */
static int open_printed_pid(int fd)
{
	char text[32] = {0};
	size_t len = 0;

	while (!strchr(text, '\n')) {
		await(fd, "printed pid");

		ssize_t got = read(fd, text + len, sizeof text - 1 - len);

		assert_true(got > 0);
		len += (size_t)got;
	}

	int pidfd = pidfd_open((pid_t)strtol(text, NULL, 10), 0);

	assert_true(pidfd >= 0);
	return pidfd;
}

/* A kill reaches what the child has started, also after the child itself has ended. */
static void kill_reaches_grandchildren(void **unused)
{
	(void)unused;
	static const char *const scripts[] = {"sleep 100 & echo $!; wait", "sleep 100 & echo $!"};

	for (unsigned i = 0; i < 2; i++) {
		struct qmt_os_child child = start(&(struct qmt_os_child_options){.argv = SHELL(scripts[i])});
		int grandchild = open_printed_pid(child.out_fd), status;

		if (i == 1)
			await(child.pidfd, "end of the child");
		qmt_os_child_kill(&child, SIGKILL);
		await(grandchild, "end of the grandchild");
		await(child.pidfd, "end of the child");
		assert_int_equal(qmt_os_child_reap(&child, &status), 1);
		close(grandchild);
		child_close(&child);
	}
}

/* A kill of nothing reaches nobody (kill(-1) would reach everybody). */
static void kill_of_no_child_reaches_nobody(void **unused)
{
	(void)unused;
	qmt_os_child_kill(&(struct qmt_os_child){.pid = 0}, SIGKILL);
	qmt_os_child_kill(&(struct qmt_os_child){.pid = 1}, SIGKILL);
	qmt_os_child_kill(&(struct qmt_os_child){.pid = -1}, SIGKILL);
}

/* Limits are in force from the first instruction on; what is not given is inherited. */
static void limits_are_set(void **unused)
{
	(void)unused;
	struct outcome o = run(&(struct qmt_os_child_options){.argv = SHELL("ulimit -St; ulimit -Ht; ulimit -v; ulimit -n"),
		.cpu_seconds = 3,
		.memory_bytes = 1 << 30,
		.open_files = 17});
	struct outcome plain = run(&(struct qmt_os_child_options){.argv = SHELL("ulimit -n")});
	struct rlimit ours;
	char expected[32];

	assert_string_equal(o.out.data, "3\n4\n1048576\n17\n");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &ours), 0);
	snprintf(expected, sizeof expected, "%llu\n", (unsigned long long)ours.rlim_cur);
	assert_string_equal(plain.out.data, expected);
	outcome_free(&o);
	outcome_free(&plain);
}

/* A limit bites: a busy child dies of SIGXCPU, one that wants too much memory does not get it. */
static void limits_bite(void **unused)
{
	(void)unused;
	struct outcome o = run(&(struct qmt_os_child_options){.argv = SHELL("while :; do :; done"), .cpu_seconds = 1});

	assert_true(WIFSIGNALED(o.status));
	assert_int_equal(WTERMSIG(o.status), SIGXCPU);
	outcome_free(&o);
	o = run(&(struct qmt_os_child_options){
		.argv = SHELL("head -c 200000000 /dev/zero | tail -c 100000000 | wc -c"), .memory_bytes = 64 << 20});
	assert_string_not_equal(o.out.data, "100000000\n");
	outcome_free(&o);
}

/* ---- this program as a process of its own ------------------------------------------------------------------------ */

/* Spawns a sleeper, prints its pid and waits to be killed. */
static int act_as_parent(void)
{
	struct qmt_os_child child;

	if (qmt_os_child_spawn(&(struct qmt_os_child_options){.argv = ARGV("sleep", "100")}, &child, NULL))
		return 1;
	dprintf(1, "%d\n", (int)child.pid);
	for (;;)
		pause();
}

/* Runs with its standard descriptors closed, as a daemon may. */
static int act_without_standard_descriptors(void)
{
	struct qmt_os_child child;
	char out[16] = {0}, err[16] = {0};
	int status;

	for (int fd = 0; fd < 3; fd++)
		close(fd);
	if (qmt_os_child_spawn(
			&(struct qmt_os_child_options){.argv = SHELL("cat; echo to-out; echo to-err >&2")}, &child, NULL))
		return 1;

	struct pollfd end = {.fd = child.pidfd, .events = POLLIN};

	if (poll(&end, 1, DEADLINE_MS) != 1 || qmt_os_child_reap(&child, &status) != 1 || status != 0)
		return 2;
	if (read(child.out_fd, out, sizeof out - 1) != 7 || read(child.err_fd, err, sizeof err - 1) != 7)
		return 3;
	return strcmp(out, "to-out\n") == 0 && strcmp(err, "to-err\n") == 0 ? 0 : 4;
}

/* When we die, however suddenly, the child dies. */
static void parents_death_kills_the_child(void **unused)
{
	(void)unused;
	struct qmt_os_child parent = start(&(struct qmt_os_child_options){.argv = ARGV("/proc/self/exe", "parent")});
	int grandchild = open_printed_pid(parent.out_fd), status;

	/* Only the parent itself: its child has a group of its own. */
	assert_int_equal(kill(parent.pid, SIGKILL), 0);
	await(grandchild, "end of the parent's child");
	await(parent.pidfd, "end of the parent");
	assert_int_equal(qmt_os_child_reap(&parent, &status), 1);
	close(grandchild);
	child_close(&parent);
}

/* Closed standard descriptors here do not disturb those of the child. */
static void closed_standard_descriptors_do_no_harm(void **unused)
{
	(void)unused;
	struct outcome o =
		run(&(struct qmt_os_child_options){.argv = ARGV("/proc/self/exe", "without-standard-descriptors")});

	assert_true(WIFEXITED(o.status));
	assert_int_equal(WEXITSTATUS(o.status), 0);
	outcome_free(&o);
}

static void *spawn_sleeper(void *child)
{
	*(struct qmt_os_child *)child = start(&(struct qmt_os_child_options){.argv = ARGV("sleep", "100")});
	return NULL;
}

/* The end that counts is that of the spawning thread: a child of a thread that is gone is killed. */
static void threads_end_kills_the_child(void **unused)
{
	(void)unused;
	struct qmt_os_child child = {0};
	pthread_t thread;
	int status;

	assert_int_equal(pthread_create(&thread, NULL, spawn_sleeper, &child), 0);
	pthread_join(thread, NULL);
	await(child.pidfd, "end of the child");
	assert_int_equal(qmt_os_child_reap(&child, &status), 1);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
	child_close(&child);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "parent") == 0)
		return act_as_parent();
	if (argc > 1 && strcmp(argv[1], "without-standard-descriptors") == 0)
		return act_without_standard_descriptors();

	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_and_exit_code_arrive),
		cmocka_unit_test(stdin_is_empty),
		cmocka_unit_test(arguments_are_not_interpreted),
		cmocka_unit_test(environment_is_given_or_inherited),
		cmocka_unit_test(working_directory_is_given),
		cmocka_unit_test(no_descriptor_leaks),
		cmocka_unit_test(our_ends_are_closed_on_exec_and_do_not_block),
		cmocka_unit_test(childs_end_blocks),
		cmocka_unit_test(death_by_signal_is_told),
		cmocka_unit_test(signals_are_default),
		cmocka_unit_test(group_is_its_own),
		cmocka_unit_test(kill_reaches_grandchildren),
		cmocka_unit_test(kill_of_no_child_reaches_nobody),
		cmocka_unit_test(limits_are_set),
		cmocka_unit_test(limits_bite),
		cmocka_unit_test(parents_death_kills_the_child),
		cmocka_unit_test(closed_standard_descriptors_do_no_harm),
		cmocka_unit_test(threads_end_kills_the_child),
	};

	return cmocka_run_group_tests_name("runtime/base/os_child", tests, NULL, NULL);
}
