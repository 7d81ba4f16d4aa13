/* cmd/config_load.c - from a path to a checked config: read, look at the bytes, parse, check, or say all that is wrong.
 * */
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_value.h"
#include "runtime/base/os.h"

struct loaded { /* the public struct comes first: config_free gets back to this one */
	struct config config;
	struct config_arena arena;
	struct config_node tree;
};

struct config *config_free(struct config *config)
{
	struct loaded *loaded = (struct loaded *)config;

	if (loaded)
		config_arena_free(&loaded->arena);
	free(loaded);
	return NULL;
}

static void config_drop(struct config **config)
{
	config_free(*config);
}

static const char *env_real(void *unused, const char *name)
{
	(void)unused;
	return getenv(name);
}

enum config_syntax config_syntax_of(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot && (strcasecmp(dot, ".ini") == 0 || strcasecmp(dot, ".conf") == 0) ? CONFIG_INI : CONFIG_TOML;
}

/* ---- the bytes --------------------------------------------------------------------------------------------------- */

/* False after a complaint: this is no text, or too much of it. */
static bool bytes_check(struct qmt_str text, struct config_errors *errors)
{
	uint32_t bad = config_text_bad_byte(text), line = 1, col = 1;

	if (text.len > CONFIG_FILE_BYTES) {
		config_complain(errors, 0, 0, NULL, NULL, "longer than %d bytes, no config file", CONFIG_FILE_BYTES);
		return false;
	}
	if (text.len >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0) /* a byte order mark takes no column */
		col = 0;
	for (uint32_t i = 0; i < bad; i++) {
		if (text.p[i] == '\n') {
			line++;
			col = 1;
		} else if (((unsigned char)text.p[i] & 0xc0) != 0x80) {
			col++;
		}
	}
	if (bad == text.len)
		return true;

	unsigned char c = (unsigned char)text.p[bad];

	config_complain(errors, line, col, NULL, "a config file is UTF-8 text",
		c >= 0x80 ? "byte 0x%02x is no UTF-8" : "control character 0x%02x", c);
	return false;
}

static void node_name_set(struct config *config, struct config_arena *arena, const char *host_name)
{
	struct config_reason reason;
	char host[HOST_NAME_MAX + 1] = "";

	config->node_name = config->root.mesh.node_name;
	if (config->node_name)
		return;
	if (!host_name && gethostname(host, sizeof host - 1) == 0)
		host_name = host;
	if (!host_name || !config_text_is_label(qmt_str(host_name), qmt_str(host_name), &reason) ||
		config_text_bad_byte(qmt_str(host_name)) < strlen(host_name))
		host_name = "unknown";
	config->node_name = config_arena_text(arena, qmt_str(host_name));
}

/* ---- parse ------------------------------------------------------------------------------------------------------- */

static int parse(struct loaded *loaded, struct qmt_str text, enum config_syntax syntax, const char *folder,
	const struct config_options *opt, struct config_errors *errors)
{
	struct config_check check = {
		.config = &loaded->config, .arena = &loaded->arena, .errors = errors, .folder = folder, .env = env_real};
	uint32_t before;

	if (opt && opt->env) {
		check.env = opt->env;
		check.env_arg = opt->arg;
	}
	if (!bytes_check(text, errors))
		return CONFIG_E_BAD;
	if (syntax == CONFIG_INI ? config_ini_read(text, &loaded->arena, &loaded->tree, errors)
							 : config_toml_read(text, &loaded->arena, &loaded->tree, errors))
		return -ENOMEM;
	before = errors->count;
	if (!loaded->tree.first && before == 0) {
		config_complain(errors, 0, 0, NULL, "docs/examples has some to begin with", "empty: nothing is configured");
		return CONFIG_E_BAD;
	}
	if (!loaded->tree.first) /* broken TOML: there is nothing to check */
		return CONFIG_E_BAD;
	loaded->tree.line = loaded->tree.col = 1;
	config_check_tree(&check, &loaded->tree);
	config_cross_check(&check);
	node_name_set(&loaded->config, &loaded->arena, opt ? opt->host_name : NULL);
	if (check.failed || !loaded->config.node_name)
		return -ENOMEM;
	return errors->count > 0 ? CONFIG_E_BAD : 0;
}

int config_parse(struct qmt_str text, enum config_syntax syntax, const char *name, const char *folder,
	const struct config_options *opt, struct config **ret_config, struct config_errors *errors)
{
	struct loaded *loaded = calloc(1, sizeof *loaded);
	struct config *config QMT_CLEANUP(config_drop) = (struct config *)loaded;

	if (!errors->file)
		errors->file = qmt_str_dup(qmt_str(name));
	if (!loaded || !errors->file)
		return -ENOMEM;

	int result = parse(loaded, text, syntax, folder, opt, errors);

	if (errors->failed)
		return -ENOMEM;
	if (result == 0) {
		*ret_config = config;
		config = NULL;
	}
	return result;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static void text_drop(struct qmt_buf *buf)
{
	if (buf->data)
		explicit_bzero(buf->data, buf->len); /* keys may stand in the file itself */
	qmt_buf_free(buf);
}

static void string_drop(char **text)
{
	free(*text);
}

/* False after a complaint. Looks before it opens: a pipe without a writer would hang. */
static bool file_read(const char *path, struct qmt_buf *ret_text, struct config_errors *errors)
{
	struct qmt_err err = {0};
	struct stat st;

	if (stat(path, &st) < 0)
		config_complain(errors, 0, 0, NULL, NULL, "%s", strerror(errno));
	else if (S_ISDIR(st.st_mode))
		config_complain(errors, 0, 0, NULL, "name the file in it", "is a folder");
	else if (!S_ISREG(st.st_mode))
		config_complain(errors, 0, 0, NULL, NULL, "is no regular file");
	else if (st.st_size > CONFIG_FILE_BYTES)
		config_complain(errors, 0, 0, NULL, NULL, "longer than %d bytes, no config file", CONFIG_FILE_BYTES);
	else if (qmt_os_file_read(path, CONFIG_FILE_BYTES, ret_text, &err))
		config_complain(errors, 0, 0, NULL, NULL, "cannot be read: %s", strerror(-err.code));
	else
		return true;
	return false;
}

int config_load(
	const char *path, const struct config_options *opt, struct config **ret_config, struct config_errors *errors)
{
	struct qmt_buf text QMT_CLEANUP(text_drop) = {0};
	struct config *config = NULL;

	errors->file = qmt_str_dup(qmt_str(path));
	if (!errors->file)
		return -ENOMEM;
	if (!file_read(path, &text, errors))
		return errors->failed ? -ENOMEM : CONFIG_E_BAD;

	char *whole QMT_CLEANUP(string_drop) = realpath(path, NULL);
	char *folder QMT_CLEANUP(string_drop) =
		whole ? qmt_str_dup(qmt_strn(whole, (size_t)(strrchr(whole, '/') - whole))) : NULL;

	if (!folder)
		return -ENOMEM; /* it was there a moment ago */

	int result =
		config_parse(qmt_buf_view(&text), config_syntax_of(path), path, *folder ? folder : "/", opt, &config, errors);

	if (result)
		return result;
	config->path = config_arena_text(&((struct loaded *)config)->arena, qmt_str(whole));
	if (!config->path) {
		config_free(config);
		return -ENOMEM;
	}
	*ret_config = config;
	return 0;
}
