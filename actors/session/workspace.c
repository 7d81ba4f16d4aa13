/* actors/session/workspace.c - opening beneath the root.
 *
 * Why openat2 and nothing of our own: a check of the path (realpath and a comparison) leaves a window in which a
 * folder can be swapped for a link. RESOLVE_BENEATH makes the kernel refuse while it walks, and what it returns is a
 * descriptor: from then on names do not matter. Every operation below ends in a call that takes such a descriptor and
 * one plain name. EAGAIN is the kernel's answer when a rename ran beside a ".." and it cannot be sure; asking again is
 * right.
 *
 * A write must replace a name in the folder that really holds the file, so a link at the end of the path is read here
 * (readlinkat) and its text goes back through the kernel's walk: it can be swapped, but never to a place outside.
 */
#include "workspace.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { AGAIN_MAX = 256, NEW_FILE = 0666, NEW_DIR = 0777 };

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define FD QMT_CLEANUP(close_fd) int

static int open_beneath(int root, const char *path, int flags, mode_t mode)
{
	struct open_how how = {.flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
		.mode = mode,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	for (int i = 0; i < AGAIN_MAX; i++) {
		long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
		if (fd >= 0)
			return (int)fd;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return -EAGAIN;
}

static int explain(const struct workspace *ws, int code, const char *path, struct qmt_err *err)
{
	switch (code) {
	case -EXDEV:
		return qmt_err_set(
			err, code, "%s: leads outside the workspace %s (absolute links count as outside)", path, ws->path);
	case -ENOSYS:
		return qmt_err_set(err, code,
			"this kernel has no openat2 (Linux 5.6 or newer is needed): file tools cannot keep to the workspace");
	case -ELOOP:
		return qmt_err_set(err, code, "%s: too many links, or a link of /proc", path);
	case -ENOENT:
		return qmt_err_set(err, code, "%s: no such file or folder", path);
	case -ESTALE:
		return qmt_err_set(err, code, "%s: was changed by somebody else meanwhile; read it again", path);
	default:
		return qmt_err_set(err, code, "%s: %s", path, strerror(-code));
	}
}

int workspace_open(struct workspace *ws, const char *path, const char *tag, struct qmt_err *err)
{
	*ws = (struct workspace){.root = -1, .path = path, .tag = tag};
	if (path[0] != '/')
		return qmt_err_set(err, -EINVAL, "workspace \"%s\": must be an absolute path", path);
	ws->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (ws->root < 0) {
		int code = -errno;
		return qmt_err_set(err, code, "workspace %s: %s", path, strerror(-code));
	}
	ws->real = realpath(path, NULL);
	if (!ws->real) {
		int code = -errno;
		return qmt_err_set(err, code, "workspace %s: %s", path, strerror(-code));
	}
	return 0;
}

void workspace_close(struct workspace *ws)
{
	close_fd(&ws->root);
	free(ws->real);
	*ws = (struct workspace){.root = -1};
}

/* What is left of an absolute path behind `root`, NULL when it does not begin with it. */
static const char *behind(const char *root, const char *path)
{
	size_t len = strlen(root);
	while (len > 0 && root[len - 1] == '/')
		len--;
	if (strncmp(path, root, len) != 0 || (path[len] != '/' && path[len] != 0))
		return NULL;
	path += len;
	while (*path == '/')
		path++;
	return *path ? path : ".";
}

/* The path as the kernel gets it: relative. An absolute one outside is refused here, by name, because the kernel would
 * only say the same of every absolute path. */
static int relative(const struct workspace *ws, struct qmt_str path, char ret_path[PATH_MAX], struct qmt_err *err)
{
	if (path.len >= PATH_MAX)
		return qmt_err_set(err, -ENAMETOOLONG, "path of %u bytes: at most %d are possible", path.len, PATH_MAX - 1);
	if (path.len && memchr(path.p, 0, path.len))
		return qmt_err_set(err, -EINVAL, "path contains a NUL byte");
	char text[PATH_MAX];
	if (path.len)
		memcpy(text, path.p, path.len);
	text[path.len] = 0;
	const char *rest = path.len ? text : ".";
	if (text[0] == '/') {
		rest = behind(ws->path, text);
		if (!rest)
			rest = behind(ws->real, text);
		if (!rest)
			return explain(ws, -EXDEV, text, err);
	}
	memcpy(ret_path, rest, strlen(rest) + 1);
	return 0;
}

int workspace_open_read(
	const struct workspace *ws, struct qmt_str path, int *ret_fd, struct stat *ret_stat, struct qmt_err *err)
{
	char text[PATH_MAX];
	int code = relative(ws, path, text, err);
	if (code)
		return code;
	/* First without opening it: to open a device or a pipe can do something. */
	FD probe = open_beneath(ws->root, text, O_PATH, 0);
	if (probe < 0)
		return explain(ws, probe, text, err);
	struct stat st;
	if (fstat(probe, &st))
		return explain(ws, -errno, text, err);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return qmt_err_set(err, -EINVAL, "%s: neither a regular file nor a folder", text);
	FD fd = open_beneath(ws->root, text, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return explain(ws, fd, text, err);
	if (fstat(fd, &st))
		return explain(ws, -errno, text, err);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) /* swapped in between */
		return qmt_err_set(err, -EINVAL, "%s: neither a regular file nor a folder", text);
	*ret_stat = st;
	*ret_fd = fd;
	fd = -1;
	return 0;
}

int workspace_open_dir(const struct workspace *ws, struct qmt_str path, int *ret_fd, struct qmt_err *err)
{
	char text[PATH_MAX];
	int code = relative(ws, path, text, err);
	if (code)
		return code;
	int fd = open_beneath(ws->root, text, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return explain(ws, fd, text, err);
	*ret_fd = fd;
	return 0;
}

int workspace_read(const struct workspace *ws, struct qmt_str path, size_t limit_bytes, struct qmt_buf *ret_data,
	struct stat *ret_stat, struct qmt_err *err)
{
	FD fd = -1;
	struct stat st;
	int code = workspace_open_read(ws, path, &fd, &st, err);
	if (code)
		return code;
	if (S_ISDIR(st.st_mode))
		return qmt_err_set(err, -EISDIR, "%.*s: is a folder", QMT_STR_ARG(path));
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf data = {0};
	for (;;) {
		enum { PIECE = 65536 };
		char *room = qmt_buf_reserve(&data, PIECE);
		if (!room)
			return qmt_err_set(err, -ENOMEM, "%.*s: out of memory", QMT_STR_ARG(path));
		ssize_t n = read(fd, room, PIECE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			code = -errno;
			return qmt_err_set(err, code, "%.*s: %s", QMT_STR_ARG(path), strerror(-code));
		}
		if (n == 0) {
			*room = 0; /* buffers end in NUL */
			break;
		}
		data.len += (size_t)n;
		if (data.len > limit_bytes)
			return qmt_err_set(err, -EFBIG, "%.*s: larger than %zu bytes", QMT_STR_ARG(path), limit_bytes);
	}
	*ret_stat = st;
	*ret_data = data;
	data = (struct qmt_buf){0};
	return 0;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Opens the folder `text` (cut at its last slash by the caller), making what is missing. Each step is one kernel walk
 * from the root, so a swapped part is noticed like everywhere else. */
static int open_parent(const struct workspace *ws, char *text, bool create, int *ret_fd)
{
	int fd = open_beneath(ws->root, text, O_PATH | O_DIRECTORY, 0);
	if (fd != -ENOENT || !create) {
		*ret_fd = fd;
		return fd < 0 ? fd : 0;
	}
	FD at = open_beneath(ws->root, ".", O_PATH | O_DIRECTORY, 0);
	if (at < 0)
		return at;
	for (char *part = text; *part;) {
		char *end = part + strcspn(part, "/");
		char old = *end;
		*end = 0;
		int next = open_beneath(ws->root, text, O_PATH | O_DIRECTORY, 0);
		if (next == -ENOENT) {
			if (mkdirat(at, part, NEW_DIR) && errno != EEXIST)
				return -errno;
			next = open_beneath(ws->root, text, O_PATH | O_DIRECTORY, 0);
		}
		if (next < 0)
			return next;
		close(at);
		at = next;
		*end = old;
		part = end + strspn(end, "/");
	}
	*ret_fd = at;
	at = -1;
	return 0;
}

/* Follows links at the end of `text` until its last name is none; then *ret_fd is the folder and *ret_name the name in
 * it (inside text). */
static int open_place(const struct workspace *ws, char text[PATH_MAX], bool create, int *ret_fd, const char **ret_name,
	struct qmt_err *err)
{
	for (int i = 0; i < WORKSPACE_LINKS; i++) {
		char folder[PATH_MAX];
		char *slash = strrchr(text, '/');
		const char *name = slash ? slash + 1 : text;
		if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			return qmt_err_set(err, -EISDIR, "%s: is a folder", text);
		size_t len = slash ? (size_t)(slash - text) : 0;
		memcpy(folder, len ? text : ".", len ? len : 1);
		folder[len ? len : 1] = 0;
		FD fd = -1;
		int code = open_parent(ws, folder, create, &fd);
		if (code == -ENOENT)
			return qmt_err_set(err, code, "%s: its folder does not exist (create_dirs makes it)", text);
		if (code)
			return explain(ws, code, text, err);
		char target[PATH_MAX];
		ssize_t n = readlinkat(fd, name, target, sizeof(target) - 1);
		if (n < 0) {
			if (errno != EINVAL && errno != ENOENT)
				return explain(ws, -errno, text, err);
			*ret_fd = fd;
			fd = -1;
			*ret_name = name;
			return 0;
		}
		target[n] = 0;
		if (target[0] == '/') /* as for any absolute link beneath the root; the kernel would say so */
			return explain(ws, -EXDEV, text, err);
		if (len + 1 + (size_t)n >= PATH_MAX)
			return explain(ws, -ENAMETOOLONG, text, err);
		memcpy(len ? text + len + 1 : text, target, (size_t)n + 1);
	}
	return explain(ws, -ELOOP, text, err);
}

static int write_all(int fd, struct qmt_str data)
{
	for (uint32_t done = 0; done < data.len;) {
		ssize_t n = write(fd, data.p + done, data.len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (uint32_t)n;
	}
	return 0;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
		a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Fills the new file and puts it in place; the caller removes it when this fails. */
static int fill_and_rename(
	int folder, const char *temp, int fd, const char *name, struct qmt_str data, const struct stat *old)
{
	int code = write_all(fd, data);
	if (code)
		return code;
	if (old) {
		/* The owner first: to change it drops bits of the mode. Only root may; the mode is what matters. */
		struct stat mine;
		if (fstat(fd, &mine) == 0 && (mine.st_uid != old->st_uid || mine.st_gid != old->st_gid) &&
			fchown(fd, old->st_uid, old->st_gid) && errno != EPERM)
			return -errno;
		if (fchmod(fd, old->st_mode & 0777))
			return -errno;
	}
	if (fsync(fd))
		return -errno;
	return renameat(folder, temp, folder, name) ? -errno : 0;
}

int workspace_write(const struct workspace *ws, struct qmt_str path, struct qmt_str data, bool create_dirs,
	const struct stat *expect, struct qmt_err *err)
{
	char text[PATH_MAX];
	int code = relative(ws, path, text, err);
	if (code)
		return code;
	FD folder = -1;
	const char *name = NULL;
	code = open_place(ws, text, create_dirs, &folder, &name, err);
	if (code)
		return code;

	struct stat old;
	bool exists = fstatat(folder, name, &old, AT_SYMLINK_NOFOLLOW) == 0;
	if (!exists && errno != ENOENT)
		return explain(ws, -errno, text, err);
	if (exists && S_ISDIR(old.st_mode))
		return qmt_err_set(err, -EISDIR, "%s: is a folder", text);
	if (exists && !S_ISREG(old.st_mode))
		return qmt_err_set(err, -EINVAL, "%s: not a regular file", text);
	if (expect && (!exists || !same_file(expect, &old)))
		return explain(ws, -ESTALE, text, err);

	char temp[NAME_MAX + 1];
	if (snprintf(temp, sizeof(temp), ".qmt-%s.tmp", ws->tag) >= (int)sizeof(temp))
		return qmt_err_set(err, -EINVAL, "workspace: tag too long");
	FD fd = openat(folder, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, NEW_FILE);
	if (fd < 0)
		return explain(ws, -errno, text, err);
	code = fill_and_rename(folder, temp, fd, name, data, exists ? &old : NULL);
	if (code) {
		unlinkat(folder, temp, 0);
		return explain(ws, code, text, err);
	}
	return 0;
}
