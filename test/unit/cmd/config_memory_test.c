/* The Nth allocation fails, for every N: reading a config says -ENOMEM, and nothing leaks, crashes or is half there. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "cmd/config.h"

/* A sanitizer brings an allocator of its own, and these would go round it. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static volatile long left = -1; /* allocations that still succeed; <0: all */
static volatile long live;      /* blocks that were given out and not taken back */

#ifndef SANITIZED
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void __libc_free(void *block);

/* Exported, so that the libraries use them too. */
static int fails(void)
{
	if (left == 0) {
		errno = ENOMEM;
		return 1;
	}
	if (left > 0)
		left--;
	return 0;
}

QMT_EXPORT void *malloc(size_t size)
{
	void *block = fails() ? NULL : __libc_malloc(size);

	live += block != NULL;
	return block;
}

QMT_EXPORT void *calloc(size_t count, size_t size)
{
	void *block = fails() ? NULL : __libc_calloc(count, size);

	live += block != NULL;
	return block;
}

QMT_EXPORT void *realloc(void *old, size_t size)
{
	void *block = fails() ? NULL : __libc_realloc(old, size);

	live += block != NULL && old == NULL;
	return block;
}

QMT_EXPORT void free(void *block)
{
	live -= block != NULL;
	__libc_free(block);
}
#endif

static const char *env(void *unused, const char *name)
{
	(void)unused;
	return strcmp(name, "HOME") == 0 ? "/home/me" : NULL;
}

static const struct config_options options = {.env = env, .host_name = "test-host"};

static int load(const char *path)
{
	struct config_errors errors = {0};
	struct config *config = NULL;
	struct qmt_buf out = {0};
	int result = config_load(path, &options, &config, &errors);

	if (result == 0)
		result = config_dump(config, &out);
	if (result == CONFIG_E_BAD) {
		config_errors_print(&errors, &out);
		result = out.failed ? -ENOMEM : CONFIG_E_BAD;
	}
	config_free(config);
	config_errors_free(&errors);
	qmt_buf_free(&out);
	return result;
}

static void check(const char *path, int want)
{
	long before = live, n = 0;
	int result;

	assert_int_equal(load(path), want); /* once without, for what libraries keep */
#ifdef SANITIZED
	return; /* the sanitizer looks for leaks of the good case; the rest is for the plain build */
#endif
	before = live;
	do {
		left = n++;
		result = load(path);
		left = -1;
		if (result != want && result != -ENOMEM)
			fail_msg("%s: allocation %ld failed: %d", path, n, result);
		if (live != before)
			fail_msg("%s: allocation %ld failed: %ld blocks are left", path, n, live - before);
	} while (result != want && n < 100000);
	assert_int_equal(result, want);
	assert_true(n > 10);
}

static void test_memory(void **state)
{
	(void)state;
	check("docs/examples/planner.ini", 0);
	check("docs/examples/planner.toml", 0);
	check("docs/examples/basic.toml", CONFIG_E_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
