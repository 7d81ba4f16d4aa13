/* test/fuzz/config_fuzz.c - any text as a config: it is taken and can be dumped, or there are complaints that can be
 * shown. The first byte chooses the syntax: odd INI, even TOML. */
#include <errno.h>

#include "cmd/config.h"
#include "transports/transports.h" /* its limits are checked too */

#define MUST(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort(); \
		} \
	} while (0)

static const char *env(void *unused, const char *name)
{
	(void)unused;
	return strcmp(name, "A") == 0 ? "value" : strcmp(name, "N") == 0 ? "7" : strcmp(name, "E") == 0 ? "" : NULL;
}

static const struct config_options options = {.env = env, .host_name = "host"};

static void complaints_check(const struct config_errors *errors)
{
	MUST(errors->count > 0 && errors->count <= CONFIG_ERRORS && !errors->failed);
	for (uint32_t i = 0; i < errors->count; i++) {
		MUST((errors->items[i].line == 0) == (errors->items[i].col == 0));
		MUST(errors->items[i].text[0]);
		for (const char *p = errors->items[i].text; *p; p++)
			MUST((unsigned char)*p >= 0x20 && *p != 0x7f); /* one line, and nothing for the terminal */
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_errors errors = {0};
	struct qmt_buf out = {0};
	struct config *config = NULL;

	if (size == 0)
		return 0;

	struct qmt_str text = qmt_strn((const char *)data + 1, size - 1);
	int result =
		config_parse(text, data[0] & 1 ? CONFIG_INI : CONFIG_TOML, "f", "/nowhere", &options, &config, &errors);

	if (result == 0) {
		MUST(config && errors.count == 0 && config->node_name);
		MUST(config_dump(config, &out) == 0);
	} else {
		MUST(result == CONFIG_E_BAD && !config);
		complaints_check(&errors);
		config_errors_print(&errors, &out);
		MUST(!out.failed);
	}
	qmt_buf_free(&out);
	config_errors_free(&errors);
	config_free(config);
	return 0;
}
