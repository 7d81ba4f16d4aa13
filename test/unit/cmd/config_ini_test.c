/* INI fills the same table as TOML, and none of the traps of its parser gets through: long lines, indentation, cut
 * names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "test/lib/config_text.h"

static void bad(const char *text, const char *lines)
{
	config_text_bad("t.ini", text, lines);
}

static char *dump(const char *name, const char *text)
{
	struct config *config = config_text_good(name, text);
	struct qmt_buf out = {0};

	assert_int_equal(config_dump(config, &out), 0);
	config_free(config);
	return out.data;
}

/* The same config in both syntaxes gives the same values. */
static void test_same_as_toml(void **state)
{
	char *toml = dump("t.toml",
		"[mesh]\nenabled = true\nnode_name = \"a b\"\ndiscovery = \"none\"\ncapabilities = [\"cpu\", "
		"\"gpu\"]\n[mesh.lan]\nenabled = true\n[mesh.link]\n"
		"dead_ms = 20000\n[[mesh.peers]]\nname = \"gpu.server\"\naddr = "
		"\"/ip4/127.0.0.1/tcp/9001\"\n[[mesh.peers]]\nname = \"b\"\n"
		"addr = \"/ip6/::1/tcp/1\"\n[agent]\nid = \"coder\"\nprovider = \"rules\"\ncwd = \"/\"\nsystem = \"Be careful; "
		"very, = careful.\"\n"
		"tools = [\"ls\", \"shell\"]\n[agent.parameters]\ntemperature = 0.2\nname = \"x y\"\nflag = "
		"true\n[agent.parameters.inner]\na = 1\n"
		"[[providers]]\nname = \"rules\"\nkind = \"builtin\"\n[session]\nmax_steps = 3\n");
	char *ini = dump("t.ini",
		"\xef\xbb\xbf; comment\n# comment\n[mesh]\r\nenabled = true\r\n\tnode_name = a b   \n   "
		"discovery=none\ncapabilities : cpu , \"gpu\"\n"
		"[mesh.lan] ; comment\nenabled = true ; comment\n[mesh.link]\ndead_ms = 20000\n[ mesh.peers.gpu.server ]\naddr "
		"= /ip4/127.0.0.1/tcp/9001\n"
		"[mesh.peers.b]\naddr = \"/ip6/::1/tcp/1\"\n[agent]\nid = coder\nprovider = rules\ncwd = /\nsystem = \"Be "
		"careful; very, = careful.\"\n"
		"tools = ls, shell\n[agent.parameters]\ntemperature = 0.2\nname = x y\nflag = "
		"true\n[agent.parameters.inner]\na = 1\n[providers.rules]\n"
		"kind = builtin\n[session]\nmax_steps = 3");

	(void)state;
	assert_string_equal(ini, toml);
	free(ini);
	free(toml);
}

/* The last part of a list's section is the item's name, type or id; tables below it may follow. */
static void test_items(void **state)
{
	(void)state;
	bad("[delegates.coder]\nprovider = a\n[delegates.coder.execution.pruning]\nprotect_tokens = "
		"many\n[delegates.other.dot.execution.rate_limit]\n"
		"jitter = 2\n[middleware.limits]\nmax_steps = 2\n[mesh.iroh.home]\nenabled = true\n",
		"1:2: delegates: not in this version: [[delegates]] ([agent] with `peer` has its model calls made on a peer)\n"
		"4:18: delegates.execution.pruning.protect_tokens: \"many\" is no whole number\n"
		"5:12: delegates.provider: missing\n"
		"5:12: delegates: not in this version: [[delegates]] ([agent] with `peer` has its model calls made on a peer)\n"
		"6:10: delegates.execution.rate_limit.jitter: out of range, must be 0 to 1\n"
		"7:2: middleware: not in this version: [[middleware]] (leave it out)\n"
		"9:2: mesh.iroh: not in this version: [[mesh.iroh]] (nodes are linked by [[mesh.peers]])\n");
}

/* A line over 198 bytes is refused with the way out; one of 198 is whole; comments may be of any length. */
static void test_long_lines(void **state)
{
	static const char *const env[] = {"PROMPT", "from the variable", NULL};
	char text[1024], system[400];
	struct config *config;

	(void)state;
	memset(system, 'x', sizeof system);
	snprintf(
		text, sizeof text, "[agent]\nprovider = r\ncwd = /\nsystem = %.189s\n[providers.r]\nkind = builtin\n", system);
	config = config_text_good("t.ini", text);
	assert_int_equal(strlen(config->agents.items[0].system), 189);
	config_free(config);
	snprintf(text, sizeof text,
		"[agent]\nprovider = r\ncwd = /\nsystem = %.190s\n[providers.r]\nkind = builtin\nnonsense\n# %.300s\n", system,
		system);
	bad(text,
		"4:1: agent.system: a line of 199 bytes, INI has at most 198 (put the value into a variable: system = ${VAR}; "
		"or use TOML)\n"
		"7:1: expected `key = value` or [section], got \"nonsense\"\n");
	config_text_env = env;
	config = config_text_good(
		"t.ini", "[agent]\nprovider = r\ncwd = /\nsystem = ${PROMPT}\n[providers.r]\nkind = builtin\n");
	assert_string_equal(config->agents.items[0].system, "from the variable");
	config_free(config);
	config_text_env = NULL;
}

/* Broken lines, sections and doubles are told one by one, and reading goes on. */
static void test_syntax(void **state)
{
	(void)state;
	bad("enabled = true\n[mesh\n[mesh] x\n[]\n[mesh..lan]\n[.mesh]\n[mesh.peers]\naddr = x\n[mesh.pers.x]\ny = "
		"1\n[mesh]\njust words\nenabled = maybe\n"
		"enabled = true\n[mesh]\ndiscovery = none\n = 3\n",
		"1:1: enabled: unknown key (known here: mesh, agent, providers, session, store, runtime, planner, quorum, "
		"delegates, remote_agents, mcp, middleware)\n"
		"2:1: a section without its closing ]\n"
		"3:8: text behind the ] of a section (a comment begins with ; or #)\n"
		"4:2: \"\" is no name of a section\n"
		"5:2: \"mesh..lan\" is no name of a section\n"
		"6:2: \".mesh\" is no name of a section\n"
		"7:2: mesh.peers: a list: the section needs a name (write [mesh.peers.NAME])\n"
		"9:2: mesh.pers: unknown key (did you mean peers?)\n"
		"12:1: expected `key = value` or [section], got \"just words\"\n"
		"13:11: mesh.enabled: expected true or false, got \"maybe\"\n"
		"14:1: mesh.enabled: given twice, first in line 13\n"
		"15:2: mesh: the section was opened before, in line 11 (one section, all its keys)\n"
		"17:2: mesh.\"\": unknown key (docs/configuration.md lists the keys of [mesh])\n");
	bad("[mesh.peers.a]\naddr = /ip4/1.2.3.4/tcp/5\nname = b\n[mesh.peers.a]\n[agent]\nprovider = x\ntools = ls,, "
		"shell\n[agent.tools]\nx = 1\n[mesh.listen]\nx = 1\n",
		"3:1: mesh.peers.a.name: given twice, first in line 1\n"
		"4:2: mesh.peers.a: the section was opened before, in line 1 (one section, all its keys)\n"
		"5:2: agent.cwd: no such folder: \"/base\" (make it, or name another)\n"
		"6:12: agent.provider: no provider \"x\" here (declare it in [[providers]], or say with peer = \"…\" which "
		"peer has it)\n"
		"7:9: agent.tools: an empty item\n"
		"8:2: agent.tools: a section with the name of a key, which line 7 has\n"
		"10:2: mesh.listen: expected a string, got a table\n");
}

/* Columns count characters; indentation is harmless. */
static void test_columns(void **state)
{
	(void)state;
	bad("[mesh]\n  ä = 1\n\tnode_info_timeout_ms =   ü\n[mesh.peers.ö]\naddr=x\n",
		"2:3: mesh.ä: unknown key (docs/configuration.md lists the keys of [mesh])\n"
		"3:27: mesh.node_info_timeout_ms: \"ü\" is no whole number\n"
		"4:13: mesh.peers.name: \"ö\" is no name (letters, digits, _ . and -)\n"
		"5:6: mesh.peers.addr: x: an address begins with \"/\" (example: /ip4/192.168.1.100/tcp/9000)\n");
}

/* Text behind " ;" is a comment, quotes round a whole value go, numbers must be numbers. */
static void test_values(void **state)
{
	struct config *config = config_text_good("t.ini",
		"[agent]\nprovider = r\ncwd = /\nmodel = a;b ; c\nsystem = \"quoted\"\nid = \"x\"\n[providers.r]\nkind = "
		"builtin\nmax_requests = 7\n");

	(void)state;
	assert_string_equal(config->agents.items[0].model, "a;b");
	assert_string_equal(config->agents.items[0].system, "quoted");
	assert_int_equal(config->root.providers.items[0].max_requests, 7);
	config_free(config);
	config = config_text_good("t.ini",
		"[agent]\nprovider = r\ncwd = /\nmodel = \"a\" and \"b\"\nsystem =\ntools =\n[providers.r]\nkind = builtin\n");
	assert_string_equal(config->agents.items[0].model, "\"a\" and \"b\"");
	assert_null(config->agents.items[0].system);
	assert_int_equal(config->agents.items[0].tools.count, 0);
	config_free(config);
	bad("[mesh]\nrequest_timeout_secs = 99999999999999999999999\nnode_info_timeout_ms = -3\nenabled = "
		"\nallow_remote_tools = TRUE\n",
		"2:24: mesh.request_timeout_secs: \"99999999999999999999999\" is no whole number\n"
		"3:24: mesh.node_info_timeout_ms: \"-3\" is no whole number\n"
		"4:10: mesh.enabled: expected true or false, got \"\"\n"
		"5:22: mesh.allow_remote_tools: expected true or false, got \"TRUE\"\n");
}

/* The name's end decides on the syntax. */
static void test_names(void **state)
{
	(void)state;
	assert_int_equal(config_syntax_of("/a/b.ini"), CONFIG_INI);
	assert_int_equal(config_syntax_of("b.CONF"), CONFIG_INI);
	assert_int_equal(config_syntax_of("b.toml"), CONFIG_TOML);
	assert_int_equal(config_syntax_of("b"), CONFIG_TOML);
	assert_int_equal(config_syntax_of("a.ini/b"), CONFIG_TOML);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_as_toml), cmocka_unit_test(test_items),
		cmocka_unit_test(test_long_lines), cmocka_unit_test(test_syntax), cmocka_unit_test(test_columns),
		cmocka_unit_test(test_values), cmocka_unit_test(test_names)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
