/* Where the control socket lies: beside the home's files, or in a folder that is this user's alone. A new key is never
 * written over another one, whatever the file system can. */
#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

static int rename_errno; /* what this file system says to the flag; 0: it has it */
static bool linked;

__attribute__((visibility("default"))) int renameat2(
	int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	errno = rename_errno;
	return rename_errno ? -1 : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}
__attribute__((visibility("default"))) int link(const char *from, const char *to);
int link(const char *from, const char *to)
{
	linked = true;
	return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* With RENAME_NOREPLACE no hard link is needed; without it one does the same. */
static void test_new_key(void **state)
{
	static const int says[] = {0, EINVAL, ENOSYS};
	char folder[] = "/tmp/qmt-home-XXXXXX", path[64];
	struct identity identity, other, read;
	struct qmt_err err = {0};
	bool created;

	(void)state;
	assert_int_equal(identity_crypto_init(), 0);
	identity_generate(&identity);
	identity_generate(&other);
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof path, "%s/key", folder);
	for (size_t i = 0; i < sizeof says / sizeof *says; i++) {
		rename_errno = says[i];
		linked = false;
		assert_int_equal(home_identity_write(path, &identity, false, &err), 0);
		assert_int_equal(linked, says[i] != 0);
		assert_int_equal(home_identity_write(path, &other, false, &err), -EEXIST);
		assert_int_equal(home_identity(path, false, &read, &created, &err), 0);
		assert_int_equal(peer_id_compare(&read.id, &identity.id), 0);
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(rmdir(folder), 0); /* nothing is left beside it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short), cmocka_unit_test(test_long), cmocka_unit_test(test_new_key)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
