/* cmd/home.c - paths, lock and identity of a node. */
#include "cmd/home.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/base/os.h"

static char *join(const char *folder, const char *name)
{
	struct qmt_buf buf = {0};

	qmt_buf_printf(&buf, "%s/%s", folder, name);
	if (buf.failed) {
		qmt_buf_free(&buf);
		return NULL;
	}
	return buf.data;
}

char *home_file(const char *home, const char *name)
{
	return join(home, name);
}

char *home_path(const char *option, struct qmt_err *err)
{
	const char *given = option ? option : getenv("QMT_HOME");
	char *folder = NULL;

	if (given && given[0]) {
		if (given[0] == '/') {
			folder = strdup(given);
		} else {
			char here[4096];
			if (!getcwd(here, sizeof here)) {
				qmt_err_set(err, -errno, "%s: the current folder cannot be read: %s", given, strerror(errno));
				return NULL;
			}
			folder = join(here, given);
		}
	} else {
		const char *user = getenv("HOME");
		const struct passwd *entry = user && user[0] ? NULL : getpwuid(getuid());
		if (entry)
			user = entry->pw_dir;
		if (!user || !user[0]) {
			qmt_err_set(err, -ENOENT, "no home folder: set HOME or QMT_HOME, or give --home DIR");
			return NULL;
		}
		folder = join(user, ".qmt");
	}
	if (!folder) {
		qmt_err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	for (size_t len = strlen(folder); len > 1 && folder[len - 1] == '/'; len--)
		folder[len - 1] = '\0';
	return folder;
}

/* FNV-1a, 64 bit: a short name for a long path. Two homes of one name would share a socket; nobody has 2^32 homes, and
 * who wants such a pair owns both. */
static uint64_t hash(const char *text)
{
	uint64_t h = 14695981039346656037u;

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 1099511628211u;
	return h;
}

/* /tmp/qmt-<uid>, of the user whom the home belongs to and for nobody else: in /tmp itself anybody could be there
 * first. Made if need be. Heap. */
static char *own_folder(const char *home, struct qmt_err *err)
{
	struct qmt_buf path = {0};
	struct stat st;
	uid_t owner = stat(home, &st) == 0 ? st.st_uid : geteuid();

	qmt_buf_printf(&path, "/tmp/qmt-%lu", (unsigned long)owner);
	if (path.failed) {
		qmt_err_set(err, -ENOMEM, "out of memory");
	} else if (owner == geteuid() && mkdir(path.data, 0700) != 0 && errno != EEXIST) {
		qmt_err_set(err, -errno, "%s: %s", path.data, strerror(errno));
	} else if (lstat(path.data, &st) != 0) {
		qmt_err_set(err, -errno, "%s: %s%s", path.data, strerror(errno), errno == ENOENT ? " (is qmtd running?)" : "");
	} else if (!S_ISDIR(st.st_mode) || st.st_uid != owner || (st.st_mode & 077)) {
		qmt_err_set(err, -EPERM,
			"%s: not a folder of this user alone, so it cannot hold the control socket: remove it, set "
			"XDG_RUNTIME_DIR, or use a shorter home",
			path.data);
	} else {
		return path.data;
	}
	qmt_buf_free(&path);
	return NULL;
}

char *home_socket(const char *home, struct qmt_err *err)
{
	const size_t room = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
	char *path = join(home, "qmtd.sock");

	if (path && strlen(path) > room) {
		const char *runtime = getenv("XDG_RUNTIME_DIR");
		char *own = runtime && runtime[0] == '/' ? strdup(runtime) : own_folder(home, err);
		char name[40];
		free(path);
		if (!own)
			return NULL;
		snprintf(name, sizeof name, "qmt-%016llx.sock", (unsigned long long)hash(home));
		path = join(own, name);
		free(own);
		if (path && strlen(path) > room) {
			qmt_err_set(
				err, -ENAMETOOLONG, "%s: too long for a socket (%zu bytes at most): use a shorter home", path, room);
			free(path);
			return NULL;
		}
	}
	if (!path)
		qmt_err_set(err, -ENOMEM, "out of memory");
	return path;
}

/* taken: "… another qmtd (process N) " and this, when somebody else has it. */
static int lock_file(const char *path, const char *taken, struct qmt_err *err)
{
	char text[32] = "";
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return qmt_err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int code = -errno;
		ssize_t n = read(fd, text, sizeof text - 1);
		text[n > 0 ? (size_t)n : 0] = '\0';
		text[strcspn(text, "\n")] = '\0';
		if (code == -EWOULDBLOCK)
			qmt_err_set(err, code, "%s: another qmtd (process %s) %s", path, text[0] ? text : "unknown", taken);
		else
			qmt_err_set(err, code, "%s: %s", path, strerror(-code));
		close(fd);
		return code;
	}
	snprintf(text, sizeof text, "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) != 0 ||
		pwrite(fd, text, strlen(text), 0) < 0) { /* only for people: the lock holds without it */
	}
	return fd;
}

int home_lock(const char *home, struct qmt_err *err)
{
	char *path;
	int fd;

	if (qmt_os_make_dirs(home, err) != 0)
		return err && err->code < 0 ? err->code : -1;
	path = join(home, "lock");
	if (!path)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	fd = lock_file(path, "runs on this home: stop it, or give this one another home by --home DIR", err);
	free(path);
	return fd;
}

/* Where the file really is, by whatever name it was given. It may not be there yet, its folder is. */
static char *real_path(const char *path)
{
	char *whole = realpath(path, NULL), *folder, *real;
	const char *slash = strrchr(path, '/');

	if (whole || !slash)
		return whole ? whole : strdup(path);
	folder = qmt_str_dup(slash == path ? qmt_str("/") : qmt_strn(path, (size_t)(slash - path)));
	whole = folder ? realpath(folder, NULL) : NULL;
	real = whole ? join(whole, slash + 1) : strdup(path);
	free(whole);
	free(folder);
	return real;
}

int home_lock_database(const char *path, struct qmt_err *err)
{
	char *real = real_path(path);
	struct qmt_buf name = {0};
	int fd;

	if (real)
		qmt_buf_printf(&name, "%s.lock", real);
	if (!real || name.failed)
		fd = qmt_err_set(err, -ENOMEM, "out of memory");
	else
		fd = lock_file(name.data, "uses this database: stop it, or give this one another by [agent] db", err);
	free(real);
	qmt_buf_free(&name);
	return fd;
}

/* The folder that `path` is in. */
static int make_folder_of(const char *path, struct qmt_err *err)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash && slash != path ? qmt_str_dup(qmt_strn(path, (size_t)(slash - path))) : NULL;
	int rc = folder ? qmt_os_make_dirs(folder, err) : 0;

	free(folder);
	return rc;
}

/* The name is durable when its folder is. */
static int sync_folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = qmt_str_dup(!slash ? qmt_str(".")
			: slash == path           ? qmt_str("/")
									  : qmt_strn(path, (size_t)(slash - path)));
	int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int rc = fd < 0 || (fsync(fd) != 0 && errno != EINVAL && errno != EROFS) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	free(folder);
	return rc;
}

/* Fails with EEXIST when somebody else was there first. Not every file system has the flag, nor every one hard links:
 * one of them does. */
static int move_new(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	return link(from, to) == 0 ? 0 : -errno;
}

/* Of the key that is there, so that it stays while somebody uses it: shared by nodes, alone who replaces it. */
static int lock_identity(const char *path, int how)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && flock(fd, how | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
		close(fd);
		return -EBUSY;
	}
	return fd;
}

int home_identity_hold(const char *path)
{
	return lock_identity(path, LOCK_SH);
}

static int replace_identity(const char *path, const struct identity *identity, struct qmt_err *err)
{
	int lock = lock_identity(path, LOCK_EX), rc;

	if (lock == -EBUSY)
		return qmt_err_set(err, -EBUSY, "%s: a running qmtd has this key: stop it first", path);
	rc = qmt_os_file_write(path, identity->secret, IDENTITY_FILE_BYTES, 0600, err);
	if (lock >= 0)
		close(lock);
	return rc;
}

int home_identity_write(const char *path, const struct identity *identity, bool replace, struct qmt_err *err)
{
	struct qmt_buf beside = {0};
	int rc = make_folder_of(path, err);

	if (rc == 0 && replace)
		return replace_identity(path, identity, err);
	qmt_buf_printf(&beside, "%s.new-%ld", path, (long)getpid());
	if (rc == 0 && beside.failed)
		rc = qmt_err_set(err, -ENOMEM, "out of memory");
	if (rc == 0)
		rc = qmt_os_file_write(beside.data, identity->secret, IDENTITY_FILE_BYTES, 0600, err);
	if (rc == 0) {
		rc = move_new(beside.data, path);
		if (rc == 0)
			rc = sync_folder_of(path);
		if (rc != 0)
			qmt_err_set(err, rc, "%s: %s", path, strerror(-rc));
	}
	if (beside.data)
		unlink(beside.data);
	qmt_buf_free(&beside);
	return rc;
}

static int read_identity(const char *path, struct identity *ret_identity, struct qmt_err *err)
{
	struct qmt_buf data = {0};
	struct stat info;
	int rc;

	if (stat(path, &info) != 0)
		return qmt_err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(info.st_mode))
		return qmt_err_set(err, -EINVAL, "%s: not a regular file", path);
	if (info.st_mode & 077)
		return qmt_err_set(err, -EPERM, "%s: others may read or write this secret key: chmod 600 it", path);
	rc = qmt_os_file_read(path, 4096, &data, err);
	if (rc == 0) {
		rc = identity_parse((struct qmt_bytes){(const uint8_t *)data.data, (uint32_t)data.len}, ret_identity, err);
		if (rc != 0)
			qmt_err_prefix(err, "%s", path);
	}
	if (data.data)
		explicit_bzero(data.data, data.len);
	qmt_buf_free(&data);
	return rc;
}

int home_identity(const char *path, bool create, struct identity *ret_identity, bool *ret_created, struct qmt_err *err)
{
	struct identity identity;
	int rc = read_identity(path, ret_identity, err);

	*ret_created = false;
	if (rc != -ENOENT || !create)
		return rc;
	identity_generate(&identity);
	rc = home_identity_write(path, &identity, false, err);
	if (rc == 0) {
		*ret_identity = identity;
		*ret_created = true;
	}
	identity_fini(&identity);
	return rc == -EEXIST ? read_identity(path, ret_identity, err) : rc;
}
