/* cmd/lab/space.c - unshare(2), and the maps of a user namespace (user_namespaces(7)). */
#include "cmd/lab/space.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
	int rc = n < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return rc;
}

/* Root inside, whoever we are outside. */
static int become_root(struct qmt_err *err)
{
	char map[64];
	unsigned uid = geteuid(), gid = getegid();
	int rc;

	if (unshare(CLONE_NEWUSER) != 0)
		return qmt_err_set(err, -ENOTSUP,
			"this machine allows no user namespace (%s): run as root, or set kernel.unprivileged_userns_clone",
			strerror(errno));
	snprintf(map, sizeof map, "0 %u 1", uid);
	rc = write_text("/proc/self/uid_map", map);
	if (rc == 0)
		rc = write_text("/proc/self/setgroups", "deny");
	snprintf(map, sizeof map, "0 %u 1", gid);
	if (rc == 0)
		rc = write_text("/proc/self/gid_map", map);
	return rc == 0 ? 0 : qmt_err_set(err, -ENOTSUP, "user namespace: %s (run as root)", strerror(-rc));
}

int space_enter(unsigned what, struct qmt_err *err)
{
	int rc = what && geteuid() != 0 ? become_root(err) : 0;

	if (rc != 0 || !(what & SPACE_MOUNT))
		return rc;
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return qmt_err_set(
			err, -ENOTSUP, "a disk of its own needs a mount namespace: %s (run as root)", strerror(errno));
	return 0;
}

int space_disk(const char *folder, uint64_t bytes, struct qmt_err *err)
{
	char data[64];

	snprintf(data, sizeof data, "size=%" PRIu64 ",mode=0700", bytes);
	if (mount("qmt-lab", folder, "tmpfs", MS_NOSUID | MS_NODEV, data) != 0)
		return qmt_err_set(err, -errno, "%s: no file system of its own: %s", folder, strerror(errno));
	return 0;
}
