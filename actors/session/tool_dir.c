/* actors/session/tool_dir.c - see the header. Links are shown, never followed. */
#include "tool_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <unistd.h>

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add(struct tool_dir *dir, size_t *cap, const char *name)
{
	if (dir->count == *cap) {
		size_t bigger = *cap ? *cap * 2 : 64;
		char **grown = realloc(dir->names, bigger * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		dir->names = grown;
		*cap = bigger;
	}
	dir->names[dir->count] = strdup(name);
	return dir->names[dir->count] ? (int)(dir->count++, 0) : -ENOMEM;
}

int tool_dir_read(int fd, bool (*hide)(const char *name, const void *arg), const void *arg, struct tool_dir *ret_dir)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = own >= 0 ? fdopendir(own) : NULL;
	if (!stream) {
		int code = -errno;
		if (own >= 0)
			close(own);
		return code;
	}
	struct tool_dir dir = {0};
	size_t cap = 0;
	int code = 0;
	while (!code) {
		errno = 0;
		const struct dirent *entry = readdir(stream);
		if (!entry) {
			code = -errno;
			break;
		}
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || (hide && hide(entry->d_name, arg)))
			continue;
		if (dir.count == TOOL_DIR_MAX) {
			dir.more = true;
			break;
		}
		code = add(&dir, &cap, entry->d_name);
	}
	closedir(stream);
	if (code) {
		tool_dir_free(&dir);
		return code;
	}
	if (dir.count)
		qsort(dir.names, dir.count, sizeof(*dir.names), by_name);
	*ret_dir = dir;
	return 0;
}

void tool_dir_free(struct tool_dir *dir)
{
	for (size_t i = 0; i < dir->count; i++)
		free(dir->names[i]);
	free(dir->names);
	*dir = (struct tool_dir){0};
}

void tool_dir_line(struct qmt_buf *out, int fd, const char *name)
{
	struct stat st;
	char target[PATH_MAX];
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW)) {
		qmt_buf_printf(out, "%s (%s)\n", name, strerror(errno));
	} else if (S_ISDIR(st.st_mode)) {
		qmt_buf_printf(out, "%s/\n", name);
	} else if (S_ISLNK(st.st_mode)) {
		ssize_t n = readlinkat(fd, name, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = 0;
		qmt_buf_printf(out, "%s -> %s\n", name, target);
	} else if (S_ISREG(st.st_mode)) {
		qmt_buf_printf(out, "%s (%" PRIu64 " bytes)\n", name, (uint64_t)st.st_size);
	} else {
		qmt_buf_printf(out, "%s (special file)\n", name);
	}
}
