/* The Nth allocation fails, for every N: reading a config says -ENOMEM, and nothing leaks, crashes or is half there. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "cmd/config.h"
#include "test/lib/failing_memory.h"

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
