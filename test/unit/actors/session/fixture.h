/* A temporary folder with a workspace `root` in it and a place `outside` beside it; helpers to fill and read them. */
#ifndef SESSION_FIXTURE_H
#define SESSION_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/bytes.h"

struct fixture {
	char dir[64];
	char root[80];
	char outside[80];
};

static int fixture_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int fixture_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "/tmp/qmt-session-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->root, sizeof(f->root), "%s/root", f->dir);
	snprintf(f->outside, sizeof(f->outside), "%s/outside", f->dir);
	assert_int_equal(mkdir(f->root, 0755), 0);
	assert_int_equal(mkdir(f->outside, 0755), 0);
	*state = f;
	return 0;
}

static inline int fixture_down(void **state)
{
	struct fixture *f = *state;
	nftw(f->dir, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

/* "dir/name" in one of eight rooms, so that several may stand in one call. */
static inline const char *fixture_path(const char *dir, const char *name)
{
	static _Thread_local char room[8][PATH_MAX];
	static _Thread_local unsigned next;
	char *p = room[next++ % 8];
	snprintf(p, PATH_MAX, "%s/%s", dir, name);
	return p;
}

static inline void fixture_put(const char *dir, const char *name, const char *text)
{
	FILE *file = fopen(fixture_path(dir, name), "w");
	assert_non_null(file);
	assert_true(fwrite(text, 1, strlen(text), file) == strlen(text));
	assert_int_equal(fclose(file), 0);
}

/* The content, "" for an empty file, NULL when it cannot be read. A new string in one of four rooms. */
static inline const char *fixture_get(const char *dir, const char *name)
{
	static char room[4][65536];
	static unsigned next;
	char *p = room[next++ % 4];
	FILE *file = fopen(fixture_path(dir, name), "r");
	if (!file)
		return NULL;
	size_t n = fread(p, 1, sizeof(room[0]) - 1, file);
	p[n] = 0;
	fclose(file);
	return p;
}

/* Entries whose names begin with `start`. */
static inline int fixture_count(const char *dir, const char *start)
{
	char command[PATH_MAX + 64];
	int n = -1;
	snprintf(command, sizeof(command), "ls -A1 '%s' | grep -c '^%s'", dir, start);
	FILE *pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_int_equal(fscanf(pipe, "%d", &n), 1);
	pclose(pipe);
	return n;
}

#endif
