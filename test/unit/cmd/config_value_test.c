/* One value at a time: variables, secrets, paths, free parameters, URLs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "test/lib/config_text.h"

#define RULES "[[providers]]\nname = \"rules\"\nkind = \"builtin\"\n"

static void bad(const char *text, const char *lines)
{
	config_text_bad("t.toml", text, lines);
}

static const char *agent_field(
	const char *line, const char *(*get)(const struct config_agent *), struct config **ret_config)
{
	char text[512];

	snprintf(text, sizeof text, "[agent]\nprovider = \"rules\"\ncwd = \"/\"\n%s\n" RULES, line);
	*ret_config = config_text_good("t.toml", text);
	return get((*ret_config)->agents.items);
}

static const char *get_model(const struct config_agent *agent)
{
	return agent->model;
}

/* ${VAR} and ${VAR:-default} in every text: the default counts only when the variable is unset; lower case, other forms
 * and nesting stay as they are. */
static void test_interpolation(void **state)
{
	static const char *const env[] = {"SET", "value", "EMPTY", "", "_A1", "x", "NESTED", "${SET}", NULL};
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"${SET}", "value"},
		{"<${SET}-${SET}>", "<value-value>"},
		{"a${EMPTY}b", "ab"},
		{"a${EMPTY:-d}b", "ab"},
		{"${UNSET:-d}", "d"},
		{"a${UNSET:-}", "a"},
		{"${UNSET:-a b:-c}", "a b:-c"},
		{"${_A1}", "x"},
		{"${set}", "${set}"},
		{"${Set}", "${Set}"},
		{"${}", "${}"},
		{"${1A}", "${1A}"},
		{"$SET", "$SET"},
		{"${SET", "${SET"},
		{"${SET-x}", "${SET-x}"},
		{"${SET:x}", "${SET:x}"},
		{"${NESTED}", "${SET}"},
		{"${UNSET:-${SET}}", "${SET}"},
		{"$${SET}", "$value"},
		{"${UNSET:-", "${UNSET:-"},
	};

	(void)state;
	config_text_env = env;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct config *config;
		char line[64];

		snprintf(line, sizeof line, "model = '%s'", cases[i].text);
		assert_string_equal(agent_field(line, get_model, &config), cases[i].want);
		config_free(config);
	}
	/* A number or a switch may come out of a variable. */
	static const char *const numbers[] = {"PORT", "9", "ON", "true", "LIST", "cpu, gpu", "BAD", "x1", NULL};

	config_text_env = numbers;

	struct config *config = config_text_good("t.toml",
		"[mesh]\nenabled = \"${ON}\"\ndiscovery = \"none\"\nlisten = "
		"\"/ip4/127.0.0.1/tcp/900${PORT}\"\nrequest_timeout_secs = \"${PORT}\"\n"
		"capabilities = \"${LIST}\"\n");

	assert_string_equal(config->root.mesh.listen, "/ip4/127.0.0.1/tcp/9009");
	assert_int_equal(config->root.mesh.request_timeout_secs, 9);
	assert_int_equal(config->root.mesh.capabilities.count, 2);
	assert_string_equal(config->root.mesh.capabilities.items[1], "gpu");
	config_free(config);
	bad("[mesh]\nrequest_timeout_secs = \"${BAD}\"\nlisten = \"${A}/tcp/${B}\"\nnode_name = \"${A}\"\n",
		"2:24: mesh.request_timeout_secs: \"${BAD}\" is no whole number\n"
		"3:10: mesh.listen: the variable A is not set (set it, or write a default: ${A:-…})\n"
		"3:10: mesh.listen: the variable B is not set (set it, or write a default: ${B:-…})\n"
		"4:13: mesh.node_name: the variable A is not set (set it, or write a default: ${A:-…})\n");
	config_text_env = NULL;
}

/* Nothing of a secret is in a complaint or a dump, whether it stands in the file or in a variable. */
static void test_secrets(void **state)
{
	static const char *const env[] = {"KEY", "sk-hush", "LINES", "sk-hush\n", "HALF", "sk-${oops}", NULL};
	struct qmt_buf out = {0};

	(void)state;
	config_text_env = env;

	struct config *config = config_text_good(
		"t.toml", "[[providers]]\nname = \"a\"\nkind = \"openai\"\nbase_url = \"http://h\"\napi_key = \"${KEY}\"\n");

	assert_string_equal(config->root.providers.items[0].api_key, "sk-hush");
	assert_int_equal(config_dump(config, &out), 0);
	assert_null(strstr(out.data, "hush"));
	assert_non_null(strstr(out.data, "api_key = \"(set)\"\n"));
	assert_non_null(strstr(out.data, "proxy = \"(unset)\" # default\n"));
	config_free(config);
	qmt_buf_free(&out);
	bad("[[providers]]\nname = \"a\"\nkind = \"openai\"\nbase_url = \"http://h\"\napi_key = \"${LINES}\"\n",
		"5:11: providers.api_key: has a blank or control character in it (does the variable or file end in a line "
		"end?)\n");
	bad("[[providers]]\nname = \"a\"\nkind = \"openai\"\nbase_url = \"http://h\"\napi_key = \"sk-hush${oops}\"\n",
		"5:11: providers.api_key: has a ${ that names no variable (${NAME} or ${NAME:-default}, upper case)\n");
	bad("[[providers]]\nname = \"${KEY}/\"\nkind = \"${KEY}\"\nbase_url = \"http://h\"\nmax_requests = \"${KEY}\"\n",
		"2:8: providers.name: \"${KEY}/\" is no name (letters, digits, _ . and -)\n"
		"3:8: providers.kind: \"${KEY}\" is none of the choices (one of: openai builtin script)\n"
		"5:16: providers.max_requests: \"${KEY}\" is no whole number\n");
	bad("[mesh]\nenabled = true\nnode_name = \"${KEY}\"\nlisten = \"${KEY}\"\ncapabilities = [\"${KEY}\", \"${KEY}\"]\n"
		"[[mesh.peers]]\nname = \"${KEY}\"\naddr = \"/ip4/${KEY}/tcp/1\"\n"
		"[[providers]]\nname = \"a\"\nkind = \"openai\"\nbase_url = \"${KEY}\"\n"
		"[agent]\nprovider = \"${KEY}\"\ncwd = \"/${KEY}\"\nsystem = { file = \"${KEY}\" }\n",
		"4:10: mesh.listen: \"${KEY}\" is no address once its variables are filled in (example: "
		"/ip4/192.168.1.100/tcp/9000)\n"
		"5:27: mesh.capabilities: \"${KEY}\" is listed twice\n"
		"7:8: mesh.peers.name: \"${KEY}\" is this node's own node_name (call one of them otherwise)\n"
		"8:8: mesh.peers.addr: \"/ip4/${KEY}/tcp/1\" is no address once its variables are filled in (example: "
		"/ip4/192.168.1.100/tcp/9000)\n"
		"12:12: providers.base_url: \"${KEY}\" is no http:// or https:// URL (for example http://127.0.0.1:8080/v1)\n"
		"14:12: agent.provider: no provider \"${KEY}\" here (there is: a)\n"
		"15:7: agent.cwd: no such folder: \"/${KEY}\" (make it, or name another)\n"
		"16:19: agent.system: cannot read the prompt: \"${KEY}\"\n");
	config_text_env = NULL;
}

static const char *get_db(const struct config_agent *agent)
{
	return agent->db;
}

/* Relative paths start at the file's folder, ~/ is $HOME. */
static void test_paths(void **state)
{
	static const char *const env[] = {"HOME", "/home/me", NULL};
	static const struct {
		const char *path, *want;
	} cases[] = {
		{"s.db", "/base/s.db"},
		{"./s.db", "/base/s.db"},
		{"././/s.db", "/base/s.db"},
		{"/s.db", "/s.db"},
		{"../s.db", "/base/../s.db"},
		{".", "/base"},
		{"./", "/base"},
		{"~", "/home/me"},
		{"~/s.db", "/home/me/s.db"},
		{"a~", "/base/a~"},
		{".hidden", "/base/.hidden"},
	};

	(void)state;
	config_text_env = env;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct config *config;
		char line[64];

		snprintf(line, sizeof line, "db = \"%s\"", cases[i].path);
		assert_string_equal(agent_field(line, get_db, &config), cases[i].want);
		config_free(config);
	}
	config_text_env = NULL;
	bad("[mesh]\nidentity_file = \"~/k\"\n[agent]\nprovider = \"rules\"\ncwd = \"\"\ndb = \"~you/s.db\"\n" RULES,
		"2:17: mesh.identity_file: ~ needs the variable HOME to be set to an absolute path\n"
		"5:7: agent.cwd: must not be empty (leave it out for the default)\n"
		"6:6: agent.db: \"~you/s.db\": the home of another user is not looked up (~/ is $HOME)\n");
}

static const char *get_parameters(const struct config_agent *agent)
{
	return agent->parameters;
}

/* Free parameters become JSON, in the order of the file. */
static void test_parameters(void **state)
{
	struct config *config;

	(void)state;
	assert_string_equal(agent_field("parameters = { temperature = 0.1, seed = 7, big = 1e300, one = 1.0, stop = "
									"[\"a\\n\", \"ü\"], a = { b = true } }",
							get_parameters, &config),
		"{\"temperature\":0.1,\"seed\":7,\"big\":1e+300,\"one\":1.0,\"stop\":[\"a\\n\",\"ü\"],\"a\":{\"b\":true}}");
	config_free(config);
	assert_null(agent_field("", get_parameters, &config));
	config_free(config);
	bad("[agent]\nprovider = \"rules\"\ncwd = \"/\"\nparameters = { a = nan, b = 2020-01-01, c = [ inf ] }\n" RULES,
		"4:20: agent.parameters: must be finite\n"
		"4:29: agent.parameters: dates and times cannot go here (write it as a string)\n"
		"4:47: agent.parameters: must be finite\n");
	bad("[agent]\nprovider = \"rules\"\ncwd = \"/\"\nparameters = \"x\"\n" RULES,
		"4:14: agent.parameters: expected a table, got a string\n");
}

/* A base URL is http or https, with a host, and without anything that changes its meaning or gives a password away. */
static void test_urls(void **state)
{
	static const struct {
		const char *url, *error; /* error NULL: fine */
	} cases[] = {
		{"http://127.0.0.1:8080/v1", NULL},
		{"HTTPS://api.example.com/v1/", NULL},
		{"http://[::1]:8080/v1", NULL},
		{"http://host", NULL},
		{"http://host/a@b", NULL},
		{"ftp://host", "\"ftp://host\" is no http:// or https:// URL (for example http://127.0.0.1:8080/v1)"},
		{"host:80", "\"host:80\" is no http:// or https:// URL (for example http://127.0.0.1:8080/v1)"},
		{"http://", "\"http://\" has no host"},
		{"http:///v1", "\"http:///v1\" has no host"},
		{"http://host:0/v1", "\"http://host:0/v1\": the port is no number from 1 to 65535"},
		{"http://host:99999", "\"http://host:99999\": the port is no number from 1 to 65535"},
		{"http://host:", "\"http://host:\": the port is no number from 1 to 65535"},
		{"http://host:8o", "\"http://host:8o\": the port is no number from 1 to 65535"},
		{"http://[::1/v1", "\"http://[::1/v1\": [ without ]"},
		{"http://me:secret@host", "a base URL has no user name or password in it (use api_key)"},
		{"http://host/?a=b", "\"http://host/?a=b\": a base URL has no ? and no #"},
		{"http://ho st", "\"http://ho st\" has a blank in it"},
		{"", "must not be empty (for example http://127.0.0.1:8080/v1)"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[256], lines[256];

		snprintf(
			text, sizeof text, "[[providers]]\nname = \"a\"\nkind = \"openai\"\nbase_url = \"%s\"\n", cases[i].url);
		if (cases[i].error) {
			snprintf(lines, sizeof lines, "4:12: providers.base_url: %s\n", cases[i].error);
			bad(text, lines);
		} else {
			config_free(config_text_good("t.toml", text));
		}
	}
}

/* A URL that only libcurl finds wrong is refused here too, at its place: a provider that cannot start would end the
 * node. */
static void test_url_that_the_provider_refuses(void **state)
{
	static const char text[] = "[[providers]]\nname = \"a\"\nkind = \"openai\"\nbase_url = \"http://$HOST/v1\"\n";
	struct config_errors errors = {0};
	struct qmt_buf out = {0};
	struct config *config = NULL;

	(void)state;
	assert_int_equal(config_parse(qmt_str(text), CONFIG_TOML, "t.toml", "/", NULL, &config, &errors), CONFIG_E_BAD);
	config_errors_print(&errors, &out);
	assert_int_equal(errors.count, 1);
	assert_ptr_equal(strstr(out.data, "t.toml:4:12: providers.base_url: "), out.data);
	config_errors_free(&errors);
	qmt_buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_interpolation), cmocka_unit_test(test_secrets),
		cmocka_unit_test(test_paths), cmocka_unit_test(test_parameters), cmocka_unit_test(test_urls),
		cmocka_unit_test(test_url_that_the_provider_refuses)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
