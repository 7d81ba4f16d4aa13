#include "config_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

const char *const *config_text_env;

static const char *env(void *unused, const char *name)
{
	(void)unused;
	for (const char *const *p = config_text_env; p && *p; p += 2)
		if (strcmp(p[0], name) == 0)
			return p[1];
	return NULL;
}

static const struct config_options options = {.env = env, .host_name = "test-host"};

struct config *config_text_good(const char *name, const char *text)
{
	struct config_errors errors = {0};
	struct qmt_buf out = {0};
	struct config *config = NULL;
	int result = config_parse(qmt_str(text), config_syntax_of(name), name, "/base", &options, &config, &errors);

	config_errors_print(&errors, &out);
	if (result)
		fail_msg("%d: %s", result, out.data ? out.data : "no text");
	assert_int_equal(errors.count, 0);
	config_errors_free(&errors);
	qmt_buf_free(&out);
	return config;
}

void config_text_bad(const char *name, const char *text, const char *lines)
{
	struct config_errors errors = {0};
	struct qmt_buf out = {0}, want = {0};
	struct config *config = NULL;

	assert_int_equal(
		config_parse(qmt_str(text), config_syntax_of(name), name, "/base", &options, &config, &errors), CONFIG_E_BAD);
	assert_null(config);
	config_errors_print(&errors, &out);
	while (*lines) {
		size_t len = strcspn(lines, "\n") + 1;

		qmt_buf_printf(&want, "%s:", name);
		qmt_buf_append(&want, lines, len);
		lines += len;
	}
	assert_string_equal(out.data, want.data);
	config_errors_free(&errors);
	qmt_buf_free(&out);
	qmt_buf_free(&want);
}
