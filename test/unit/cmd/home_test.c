/* Where the control socket lies: beside the home's files, or in a folder that is this user's alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "cmd/home.h"

enum { UID = 54321 }; /* nobody has it */

static void test_short(void **state)
{
	struct qmt_err err = {0};
	char *path = home_socket("/home/me/.qmt", &err);

	(void)state;
	assert_string_equal(path, "/home/me/.qmt/qmtd.sock");
	free(path);
}

/* A home whose path is too long for a socket, of user UID. */
static void long_home(char ret_home[256])
{
	snprintf(ret_home, 256, "/tmp/qmt-home-XXXXXX");
	assert_non_null(mkdtemp(ret_home));
	assert_int_equal(chmod(ret_home, 0755), 0);
	memset(ret_home + strlen(ret_home), 'x', 120);
	ret_home[strlen("/tmp/qmt-home-XXXXXX")] = '/';
	ret_home[strlen("/tmp/qmt-home-XXXXXX") + 120] = '\0';
	assert_int_equal(mkdir(ret_home, 0755), 0);
	assert_int_equal(chown(ret_home, UID, UID), 0);
}

static void refused(const char *home)
{
	struct qmt_err err = {0};

	assert_null(home_socket(home, &err));
	assert_non_null(strstr(err.text, "/tmp/qmt-54321: not a folder of this user alone"));
}

/* Nobody else can be there first: a folder of another user, one that others may write, a link are refused. */
static void test_long(void **state)
{
	struct qmt_err err = {0};
	char home[256] = "", *path;

	(void)state;
	if (geteuid() != 0)
		skip(); /* files of another user are needed */
	unsetenv("XDG_RUNTIME_DIR");
	long_home(home);
	rmdir("/tmp/qmt-54321");
	assert_null(home_socket(home, &err));
	assert_non_null(strstr(err.text, "is qmtd running?"));
	assert_int_equal(mkdir("/tmp/qmt-54321", 0700), 0); /* root's */
	refused(home);
	assert_int_equal(chown("/tmp/qmt-54321", UID, UID), 0);
	path = home_socket(home, &err);
	assert_ptr_equal(strstr(path, "/tmp/qmt-54321/qmt-"), path);
	free(path);
	assert_int_equal(chmod("/tmp/qmt-54321", 0777), 0);
	refused(home);
	rmdir("/tmp/qmt-54321");
	assert_int_equal(symlink("/tmp", "/tmp/qmt-54321"), 0);
	assert_int_equal(lchown("/tmp/qmt-54321", UID, UID), 0);
	refused(home);
	unlink("/tmp/qmt-54321");
	setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
	path = home_socket(home, &err);
	assert_ptr_equal(strstr(path, "/run/user/1/qmt-"), path);
	free(path);
	rmdir(home);
	home[strlen("/tmp/qmt-home-XXXXXX")] = '\0';
	rmdir(home);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_short), cmocka_unit_test(test_long)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
