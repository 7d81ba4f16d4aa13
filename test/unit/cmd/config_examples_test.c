/* Every file of docs/examples is read; those that use what a later version does give exactly the errors that they list
 * in lines beginning with "#!", the others none. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "cmd/config.h"
#include "runtime/base/os.h"

#define FOLDER "docs/examples"

static const char *env(void *unused, const char *name)
{
	(void)unused;
	return strcmp(name, "HOME") == 0 ? "/home/me" : NULL; /* no invite is set: that must not matter */
}

static const struct config_options options = {.env = env, .host_name = "test-host"};

/* The lines behind "#! ", each with the file's name. */
static void expected(const char *path, struct qmt_buf *out)
{
	struct qmt_buf text = {0};
	struct qmt_err err;

	assert_int_equal(qmt_os_file_read(path, CONFIG_FILE_BYTES, &text, &err), 0);
	for (const char *line = text.data; *line; line += strcspn(line, "\n"), line += *line == '\n')
		if (strncmp(line, "#! ", 3) == 0)
			qmt_buf_printf(out, "%s:%.*s\n", path, (int)strcspn(line + 3, "\n"), line + 3);
	qmt_buf_free(&text);
}

static void check(const char *path)
{
	struct qmt_buf want = {0}, got = {0};
	struct config_errors errors = {0};
	struct config *config = NULL;
	int result = config_load(path, &options, &config, &errors);

	expected(path, &want);
	config_errors_print(&errors, &got);
	qmt_buf_str(&want, "");
	qmt_buf_str(&got, "");
	assert_string_equal(got.data, want.data);
	assert_int_equal(result, want.len > 0 ? CONFIG_E_BAD : 0);
	config_free(config);
	config_errors_free(&errors);
	qmt_buf_free(&want);
	qmt_buf_free(&got);
}

static void test_examples(void **state)
{
	DIR *dir = opendir(FOLDER);
	unsigned count = 0;

	(void)state;
	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));) {
		const char *dot = strrchr(entry->d_name, '.');
		char path[300];

		if (!dot || (strcmp(dot, ".toml") != 0 && strcmp(dot, ".ini") != 0))
			continue;
		snprintf(path, sizeof path, FOLDER "/%s", entry->d_name);
		check(path);
		count++;
	}
	closedir(dir);
	assert_true(count >= 35); /* all that reference 1.16 lists */
}

static char *dump(const char *path)
{
	struct config_errors errors = {0};
	struct config *config = NULL;
	struct qmt_buf out = {0};

	assert_int_equal(config_load(path, &options, &config, &errors), 0);
	assert_int_equal(config_dump(config, &out), 0);
	config_free(config);
	config_errors_free(&errors);
	return out.data;
}

/* planner, gpu and script say the same in both syntaxes. */
static void test_twins(void **state)
{
	static const char *const twins[][2] = {
		{FOLDER "/planner.toml", FOLDER "/planner.ini"}, {FOLDER "/gpu.toml", FOLDER "/gpu.ini"},
		{FOLDER "/script.toml", FOLDER "/script.ini"}};

	(void)state;
	for (size_t i = 0; i < sizeof twins / sizeof *twins; i++) {
		char *toml = dump(twins[i][0]), *ini = dump(twins[i][1]);

		assert_string_equal(ini, toml);
		free(toml);
		free(ini);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_examples), cmocka_unit_test(test_twins)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
