/* runtime/base/os_file.c - whole small files: read with a limit, written so that a reader sees the old or the new.
 *
 * The write goes to a temporary file in the same directory, which is then renamed over the name. O_TMPFILE is not used:
 * a file without a name can be linked to a free name only, never over an existing one. A crash between the two steps
 * leaves `.name.XXXXXX` behind, never a half file under the name. A symbolic link under the name is replaced, not
 * followed.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 16 * 1024, DIR_MODE = 0700 };

static void fd_drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int fail(struct qmt_err *err, const char *path, const char *what, int code)
{
	return qmt_err_set(err, code, "%s: %s%s", path, what, strerror(-code));
}

/* One read of at most `most` bytes into the buffer's end. Returns bytes, 0 at the end, <0 errno. */
static ssize_t read_some(int fd, struct qmt_buf *data, size_t most)
{
	void *to = qmt_buf_reserve(data, most);

	if (!to)
		return -ENOMEM;
	for (;;) {
		ssize_t got = read(fd, to, most);

		if (got >= 0) {
			data->len += (size_t)got;
			data->data[data->len] = '\0';
			return got;
		}
		if (errno != EINTR)
			return -errno;
	}
}

int qmt_os_file_read(const char *path, size_t limit_bytes, struct qmt_buf *ret_data, struct qmt_err *err)
{
	QMT_CLEANUP(fd_drop) int fd = open(path, O_RDONLY | O_CLOEXEC);
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf data = {0};

	if (fd < 0)
		return fail(err, path, "", -errno);
	for (;;) {
		/* Up to one byte past the limit: that byte is how a longer file is told from one of just this size. */
		size_t left = limit_bytes - data.len, most = left < READ_BYTES ? left + 1 : READ_BYTES;
		ssize_t got = read_some(fd, &data, most);

		if (got < 0)
			return fail(err, path, "read: ", (int)got);
		if (got == 0)
			break;
		if (data.len > limit_bytes)
			return qmt_err_set(err, -EFBIG, "%s: longer than the limit of %zu bytes", path, limit_bytes);
	}
	*ret_data = data;
	data = (struct qmt_buf){0};
	return 0;
}

/* Unlinks a temporary file that has not become the real one. */
struct temporary {
	int fd;
	char *path; /* NULL: none, or renamed */
};

static void temporary_drop(struct temporary *temp)
{
	fd_drop(&temp->fd);
	if (temp->path)
		unlink(temp->path);
	free(temp->path);
}

static int temporary_fill(struct temporary *temp, const void *data, size_t len, unsigned mode, const char **ret_what)
{
	const char *from = data;

	*ret_what = "mode: ";
	if (fchmod(temp->fd, (mode_t)mode) < 0)
		return -errno;
	*ret_what = "write: ";
	while (len > 0) {
		ssize_t put = write(temp->fd, from, len);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		from += put;
		len -= (size_t)put;
	}
	*ret_what = "fsync: ";
	if (fsync(temp->fd) < 0)
		return -errno;
	/* Some file systems report a failed write only here. */
	int fd = temp->fd;

	temp->fd = -1;
	*ret_what = "close: ";
	return close(fd) < 0 ? -errno : 0;
}

/* "dir/" of "dir/name", "." of "name". */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? qmt_str_dup(qmt_strn(path, (size_t)(slash - path) + 1)) : qmt_str_dup(qmt_str("."));
}

static int directory_sync(const char *dir)
{
	QMT_CLEANUP(fd_drop) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	/* EINVAL: a file system that cannot (and need not) sync directories. */
	return fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
}

static void text_drop(char **text)
{
	free(*text);
}

int qmt_os_file_write(const char *path, const void *data, size_t len, unsigned mode, struct qmt_err *err)
{
	QMT_CLEANUP(text_drop) char *dir = directory_of(path);
	QMT_CLEANUP(temporary_drop) struct temporary temp = {.fd = -1};
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *what;
	struct qmt_buf pattern = {0};

	if (*name == '\0')
		return qmt_err_set(err, -EISDIR, "%s: not a file name", path);
	qmt_buf_printf(&pattern, "%.*s.%s.XXXXXX", (int)(name - path), path, name);
	if (!dir || pattern.failed) {
		qmt_buf_free(&pattern);
		return fail(err, path, "", -ENOMEM);
	}
	temp.fd = mkostemp(pattern.data, O_CLOEXEC);
	if (temp.fd < 0) {
		int code = -errno;

		qmt_buf_free(&pattern);
		return fail(err, path, "temporary file beside it: ", code);
	}
	temp.path = pattern.data;

	int failed = temporary_fill(&temp, data, len, mode, &what);

	if (failed)
		return fail(err, path, what, failed);
	if (rename(temp.path, path) < 0)
		return fail(err, path, "rename: ", -errno);
	free(temp.path);
	temp.path = NULL;
	failed = directory_sync(dir);
	return failed ? fail(err, path, "fsync of its directory: ", failed) : 0;
}

static int directory_make(const char *path, struct qmt_err *err)
{
	struct stat info;

	if (mkdir(path, DIR_MODE) == 0)
		return 0;

	int code = -errno;

	if (code != -EEXIST)
		return fail(err, path, "", code);
	/* stat, not lstat: a link to a directory is a directory. */
	if (stat(path, &info) < 0)
		return fail(err, path, "", -errno);
	return S_ISDIR(info.st_mode) ? 0 : qmt_err_set(err, -ENOTDIR, "%s: exists and is not a directory", path);
}

int qmt_os_make_dirs(const char *path, struct qmt_err *err)
{
	QMT_CLEANUP(text_drop) char *part = qmt_str_dup(qmt_str(path));

	if (!part)
		return fail(err, path, "", -ENOMEM);
	if (*part == '\0')
		return qmt_err_set(err, -EINVAL, "directory path is empty");
	/* Each prefix that ends in front of a slash; the first character may be the root. */
	for (char *at = part + 1; *at; at++)
		if (*at == '/') {
			*at = '\0';

			int failed = directory_make(part, err);

			if (failed)
				return failed;
			*at = '/';
		}
	return directory_make(part, err);
}
