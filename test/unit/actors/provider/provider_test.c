/* An entry of [[providers]] is checked as a whole before anything starts, and each complaint names its parameter. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "actors/provider/openai_url.h"
#include "actors/provider/provider.h"

/* The address of an endpoint, whatever slashes and queries base_url has; what cannot be one is refused. */
static void urls(void **state)
{
	static const char *const rows[][2] = {
		{"http://h/v1", "http://h/v1/models"},
		{"http://h/v1/", "http://h/v1/models"},
		{"http://h:81/v1//", "http://h:81/v1/models"},
		{"http://h", "http://h/models"},
		{"https://h/a%20b/v1?api-version=1", "https://h/a%20b/v1/models?api-version=1"},
		{"http://[::1]:8080/v1", "http://[::1]:8080/v1/models"},
		{"http://user:pass@h/v1", NULL},
		{"http://h/v1#x", NULL},
		{"http://h:99999/v1", NULL},
		{"http://", NULL},
		{"", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct qmt_err err = {0};
		char *url = NULL;
		int ret = openai_url(rows[i][0], "models", &url, &err);

		if (rows[i][1]) {
			assert_int_equal(ret, 0);
			assert_string_equal(url, rows[i][1]);
		} else {
			assert_true(ret < 0);
			assert_int_equal(strncmp(err.text, "base_url: ", 10), 0);
			assert_null(strstr(err.text, "pass"));
		}
		free(url);
	}
}

/* Every mistake in an entry is refused with the parameter's name; the defaults of every kind are right. */
static void config_checks(void **state)
{
	struct provider_config config;
	struct qmt_err err = {0};

	(void)state;
	provider_config_init(&config, "b", "builtin");
	assert_int_equal(provider_config_check(&config, &err), 0);
	provider_config_init(&config, "o", "openai");
	assert_true(provider_config_check(&config, &err) < 0);
	assert_non_null(strstr(err.text, "base_url: missing"));
	config.base_url = "ftp://h";
	assert_true(provider_config_check(&config, &err) < 0);
	config.base_url = "http://h";
	assert_int_equal(provider_config_check(&config, &err), 0);
	config.api_key = "a\r\nX-Other: b";
	assert_true(provider_config_check(&config, &err) < 0);
	assert_null(strstr(err.text, "X-Other"));
	config.api_key = "";
	config.max_requests = 0;
	assert_true(provider_config_check(&config, &err) < 0);
	assert_string_equal(err.text, "max_requests: 0 is not within 1 to 1024");
	provider_config_init(&config, "x", "mesh");
	assert_true(provider_config_check(&config, &err) < 0);
	provider_config_init(&config, "", "builtin");
	assert_true(provider_config_check(&config, &err) < 0);
	provider_config_init(&config, "s", "script");
	assert_true(provider_config_check(&config, &err) < 0);
	assert_int_equal(strncmp(err.text, "script: missing", 15), 0);
	config.script = "f";
	assert_int_equal(provider_config_check(&config, &err), 0);
	assert_null(provider_desc("mesh"));
	assert_null(provider_desc(NULL));
	for (const struct qmt_param *param = provider_params; param->name; param++)
		assert_true(param->dflt && param->doc[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urls),
		cmocka_unit_test(config_checks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
