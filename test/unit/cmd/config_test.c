/* Every mistake in a TOML config is told at once, as `file:line:col: key: reason (hint)`; what is right ends up in the
 * structs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "test/lib/config_text.h"

#define MESH "[mesh]\nenabled = true\ndiscovery = \"none\"\n"
#define RULES "[[providers]]\nname = \"rules\"\nkind = \"builtin\"\n"

static void bad(const char *text, const char *lines)
{
	config_text_bad("t.toml", text, lines);
}

/* Values of each type land where they belong; what is not written has its default. */
static void test_values(void **state)
{
	struct config *config = config_text_good("t.toml",
		MESH "node_name = \"Büro 1\"\nlisten = \"/ip4/127.0.0.1/tcp/9000\"\ncapabilities = [\"cpu\", "
			 "\"x-1\"]\nallow_remote_tools = true\n"
			 "request_timeout_secs = 7\n[mesh.link]\nsuspect_ms = 50\ndead_ms = 150\n[[mesh.peers]]\nname = "
			 "\"gpu\"\naddr = \"/dns4/gpu.local/tcp/1\"\n"
			 "[agent]\nprovider = \"rules\"\ncwd = \"/\"\nsystem = [\"one\", \"two\"]\ntools = [\"ls\"]\ndb = "
			 "\"s.db\"\n" RULES "chunk_delay_ms = 3\n[session]\nmax_steps = 9\n");
	const struct config_root *root = &config->root;

	(void)state;
	assert_true(root->mesh.enabled);
	assert_true(config->lan);
	assert_string_equal(config->node_name, "Büro 1");
	assert_string_equal(root->mesh.lan.listen, "/ip4/127.0.0.1/tcp/9000");
	assert_string_equal(root->mesh.transport, "lan");
	assert_int_equal(root->mesh.capabilities.count, 2);
	assert_string_equal(root->mesh.capabilities.items[1], "x-1");
	assert_null(root->mesh.capabilities.items[2]);
	assert_true(root->mesh.allow_remote_tools);
	assert_false(root->mesh.allow_remote_sessions);
	assert_int_equal(root->mesh.request_timeout_secs, 7);
	assert_int_equal(root->mesh.node_info_timeout_ms, 3000);
	assert_null(root->mesh.identity_file);
	assert_int_equal(root->mesh.link.suspect_ms, 50);
	assert_int_equal(root->mesh.link.hello_frame_bytes, 4096);
	assert_int_equal(root->mesh.peers.count, 1);
	assert_string_equal(root->mesh.peers.items[0].addr, "/dns4/gpu.local/tcp/1");
	assert_int_equal(root->mesh.peers.items[0].where.line, 12);
	assert_int_equal(config->agents.count, 1);
	assert_string_equal(config->agents.items[0].id, "default");
	assert_string_equal(config->agents.items[0].system, "one\n\ntwo");
	assert_string_equal(config->agents.items[0].db, "/base/s.db");
	assert_null(config->agents.items[0].model);
	assert_string_equal(root->providers.items[0].kind, "builtin");
	assert_string_equal(root->providers.items[0].base_url, "");
	assert_int_equal(root->providers.items[0].chunk_delay_ms, 3);
	assert_int_equal(root->providers.items[0].max_requests, 32);
	assert_int_equal(root->session.max_steps, 9);
	assert_int_equal(root->session.checkpoint_ms, 2000);
	assert_int_equal(root->store.batch_max, 256);
	assert_int_equal(config->notices.count, 0);
	config_free(config);
}

/* A file without [agent] has no agent; the host's name stands in for node_name. */
static void test_defaults(void **state)
{
	struct config *config = config_text_good("t.toml", RULES);

	(void)state;
	assert_int_equal(config->agents.count, 0);
	assert_false(config->root.mesh.enabled);
	assert_false(config->lan);
	assert_string_equal(config->node_name, "test-host");
	assert_string_equal(config->root.mesh.listen, "/ip4/0.0.0.0/tcp/0");
	assert_null(config->path);
	config_free(config);
}

/* A wrong key is told with the nearest one, or where it belongs. */
static void test_unknown_keys(void **state)
{
	(void)state;
	bad(MESH "enabeld = true\nnodename = \"x\"\nzzz = 1\n[mesh.pers]\n[[mesh.peers]]\nname = \"a\"\naddr = "
			 "\"/ip4/1.2.3.4/tcp/5\"\n"
			 "request_timeout_secs = 300\n[agnet]\nid = \"x\"\n",
		"4:1: mesh.enabeld: unknown key (did you mean enabled?)\n"
		"5:1: mesh.nodename: unknown key (did you mean node_name?)\n"
		"6:1: mesh.zzz: unknown key (docs/configuration.md lists the keys of [mesh])\n"
		"7:7: mesh.pers: unknown key (did you mean peers?)\n"
		"11:1: mesh.peers.request_timeout_secs: unknown key (it is a key of [mesh]: write it above [[mesh.peers]])\n"
		"12:2: agnet: unknown key (did you mean agent?)\n");
	bad("[mesh.lan]\nport = 3\n[mesh]\n\"a b\" = 1\n\"\" = 2\n",
		"2:1: mesh.lan.port: unknown key (known here: enabled, listen, discovery, trust)\n"
		"4:1: mesh.\"a b\": unknown key (docs/configuration.md lists the keys of [mesh])\n"
		"5:1: mesh.\"\": unknown key (docs/configuration.md lists the keys of [mesh])\n");
}

/* A value of the wrong type is told with the type that is wanted. */
static void test_types(void **state)
{
	(void)state;
	bad("[mesh]\nenabled = \"yes\"\nlisten = 9000\nrequest_timeout_secs = \"300\"\ncapabilities = \"cpu\"\n"
		"node_name = "
		"[\"a\"]\n"
		"allow_remote_tools = 1\nnode_info_timeout_ms = 1.5\nidentity_file = 2020-01-01\nlan = 3\npeers = \"x\"\n",
		"2:11: mesh.enabled: expected true or false, got a string (without quotes)\n"
		"3:10: mesh.listen: expected a string, got an integer\n"
		"4:24: mesh.request_timeout_secs: expected a whole number, got a string (without quotes)\n"
		"5:16: mesh.capabilities: expected an array of strings, got a string (in brackets: [\"…\"])\n"
		"6:13: mesh.node_name: expected a string, got an array\n"
		"7:22: mesh.allow_remote_tools: expected true or false, got an integer\n"
		"8:24: mesh.node_info_timeout_ms: expected a whole number, got a real number\n"
		"9:17: mesh.identity_file: expected a string, got a date or time\n"
		"10:7: mesh.lan: expected a table, got an integer (write [mesh.lan])\n"
		"11:1: mesh.peers: expected an array of tables, got a string (write [[mesh.peers]])\n");
	bad("[mesh.peers]\nname = \"a\"\n[[agent]]\nid = \"x\"\n",
		"1:7: mesh.peers: expected an array of tables, got a table (write [[mesh.peers]])\n"
		"3:1: agent: expected a table, got an array (write [agent])\n");
	bad("providers = [1, {name = \"a\", kind = \"builtin\"}]\n[mesh]\ncapabilities = [\"a\", 2, \"a\", \"\", \"b "
		"c\"]\n",
		"1:14: providers: expected a table, got an integer (write [[providers]])\n"
		"3:22: mesh.capabilities: expected a string, got an integer\n"
		"3:25: mesh.capabilities: \"a\" is listed twice\n"
		"3:30: mesh.capabilities: an empty item\n"
		"3:34: mesh.capabilities: \"b c\" is no name (letters, digits, _ . and -)\n");
}

/* Numbers are held to their range, also at the ends of their type. */
static void test_ranges(void **state)
{
	(void)state;
	bad("[mesh]\nrequest_timeout_secs = 0\nnode_info_timeout_ms = -1\n[mesh.link]\ndead_ms = "
		"9223372036854775807\n[[providers]]\nname = \"a\"\n"
		"kind = \"builtin\"\nmax_tokens = 4294967296\n",
		"2:24: mesh.request_timeout_secs: out of range, must be 1 to 86400\n"
		"3:24: mesh.node_info_timeout_ms: out of range, must be 1 to 600000\n"
		"5:11: mesh.link.dead_ms: out of range, must be 20 to 3600000\n"
		"9:14: providers.max_tokens: out of range, must be at most 4294967295\n");
	config_free(config_text_good(
		"t.toml", "[[providers]]\nname = \"a\"\nkind = \"builtin\"\nmax_tokens = 4294967295\nmax_requests = 1024\n"));
}

/* Addresses: one to listen on is an IP address and tcp; one to dial has a port and a host. */
static void test_addresses(void **state)
{
	(void)state;
	bad(MESH "listen = \"/dns4/a.b/tcp/1\"\n[[mesh.peers]]\nname = \"a\"\naddr = "
			 "\"/ip4/0.0.0.0/tcp/1\"\n[[mesh.peers]]\nname = \"b\"\n"
			 "addr = \"/ip4/1.2.3.4/tcp/0\"\n[[mesh.peers]]\nname = \"c\"\naddr = "
			 "\"/ip4/1.2.3.4/udp/9/quic\"\n[[mesh.peers]]\nname = \"d\"\n"
			 "addr = \"127.0.0.1:9000\"\n[[mesh.peers]]\nname = \"e\"\n",
		"4:10: mesh.listen: cannot listen on a DNS name: \"/dns4/a.b/tcp/1\" (an IP address of this host, or "
		"/ip4/0.0.0.0)\n"
		"7:8: mesh.peers.addr: cannot dial a wildcard address: \"/ip4/0.0.0.0/tcp/1\" (an address of the peer)\n"
		"10:8: mesh.peers.addr: cannot dial port 0: \"/ip4/1.2.3.4/tcp/0\" (the port that the peer listens on)\n"
		"13:8: mesh.peers.addr: not in this version: \"/ip4/1.2.3.4/udp/9/quic\" (use /tcp)\n"
		"16:8: mesh.peers.addr: 127.0.0.1:9000: an address begins with \"/\" (example: /ip4/192.168.1.100/tcp/9000)\n"
		"17:1: mesh.peers.addr: missing\n");
	bad("[mesh]\nlisten = \"/ip4/127.0.0.1/tcp/9/p2p/12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB\"\n",
		"2:10: mesh.listen: an address to listen on has no /p2p: "
		"\"/ip4/127.0.0.1/tcp/9/p2p/12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iP...\""
		" (the PeerId is that of identity_file)\n");
}

/* Peers and providers have unique names; an agent names a provider that is here or a peer that is declared. */
static void test_cross(void **state)
{
	(void)state;
	bad(MESH "node_name = \"me\"\n[[mesh.peers]]\nname = \"a\"\naddr = \"/ip4/1.2.3.4/tcp/5\"\n[[mesh.peers]]\naddr = "
			 "\"/ip4/1.2.3.4/tcp/5\"\n"
			 "name = \"a\"\n[[mesh.peers]]\nname = \"me\"\naddr = \"/ip4/1.2.3.4/tcp/5\"\n",
		"10:8: mesh.peers.name: \"a\" is the peer of line 5 (names are unique)\n"
		"12:8: mesh.peers.name: \"me\" is this node's own node_name (call one of them otherwise)\n");
	bad("[agent]\nprovider = \"rule\"\ncwd = \"/\"\n" RULES RULES,
		"2:12: agent.provider: no provider \"rule\" here (did you mean \"rules\"?)\n"
		"8:8: providers.name: \"rules\" is the provider of line 4 (names are unique)\n");
	config_free(config_text_good("t.toml",
		"[[providers]]\nname = \"a\"\nkind = \"builtin\"\n[agent]\nprovider = \"rules\"\ncwd = \"/\"\n" RULES));
	bad("[agent]\nprovider = \"llama\"\ncwd = \"/\"\n" RULES,
		"2:12: agent.provider: no provider \"llama\" here (there is: rules)\n");
	bad("[agent]\nprovider = \"llama\"\ncwd = \"/\"\n",
		"2:12: agent.provider: no provider \"llama\" here (declare it "
		"in [[providers]], or say with peer = \"…\" which "
		"peer has it)\n");
	bad("[agent]\ncwd = \"/no/such\"\n",
		"1:1: agent.provider: missing\n"
		"2:7: agent.cwd: no such folder: \"/no/such\" (make it, or name another)\n");
	bad(MESH "[agent]\nprovider = \"x\"\npeer = \"gpu\"\ncwd = \"/\"\n",
		"6:8: agent.peer: no peer \"gpu\" in [[mesh.peers]] (declare it in [[mesh.peers]])\n");
	bad("[[mesh.peers]]\nname = \"gpu\"\naddr = \"/ip4/1.2.3.4/tcp/5\"\n[agent]\nprovider = \"x\"\npeer = \"gpu\"\n"
		"cwd "
		"= \"/\"\n",
		"6:8: agent.peer: a peer is of no use while the mesh is off (mesh.enabled = true)\n");
	bad(MESH "[mesh.lan]\nenabled = false\n",
		"5:11: mesh.lan.enabled: the mesh is enabled, and none of its transports (mesh.lan.enabled = true, or leave "
		"[mesh.lan] out)\n");
	bad(MESH "[mesh.link]\nsuspect_ms = 500\ndead_ms = 50\n",
		"4:1: mesh.link: dead_ms = 50: must be more than suspect_ms = 500\n");
}

/* A provider has the keys of its kind. */
static void test_providers(void **state)
{
	(void)state;
	bad("[[providers]]\nname = \"a\"\nkind = \"openai\"\n[[providers]]\nname = \"b\"\nkind = \"builtin\"\nbase_url = "
		"\"http://x\"\n[[providers]]\n"
		"name = \"c\"\nkind = \"opnai\"\n[[providers]]\nname = \"d\"\nkind = \"script\"\n[[providers]]\nname = "
		"\"e/f\"\nkind = \"builtin\"\n[[providers]]\n",
		"1:1: providers.base_url: missing: kind \"openai\" needs it (for example http://127.0.0.1:8080/v1)\n"
		"7:1: providers.base_url: only for kind = \"openai\", this one is \"builtin\" (leave it out)\n"
		"10:8: providers.kind: \"opnai\" is none of the choices (did you mean \"openai\"?)\n"
		"11:1: providers.script: missing: kind \"script\" needs it (for example turns.script)\n"
		"15:8: providers.name: \"e/f\" is no name (letters, digits, _ . and -)\n"
		"17:1: providers.kind: missing\n"
		"17:1: providers.name: missing\n");
}

/* What a later version will do is an error as soon as a value asks for it, and only then. */
static void test_later(void **state)
{
	(void)state;
	bad("[mesh]\nenabled = true\ntransport = \"iroh\"\ndiscovery = \"kademlia\"\nauto_fallback = "
		"true\nstream_reconnect_grace_secs = 120\n"
		"invite = \"qmt://mesh/join/secret\"\njoin_addrs = [\"/ip4/1.2.3.4/tcp/5\"]\nadvertise = "
		"[\"/ip4/1.2.3.4/tcp/5\", \"/ip4/0.0.0.0/tcp/5\", \"/ip4/1.2.3.4/tcp/0\"]\n[[mesh.iroh]]\nenabled = true\n"
		"name = \"${NOT_SET}\"\n[agent]\nprovider = \"rules\"\ncwd = \"/\"\napi_key = \"sk-1\"\ntools = [\"ls\", "
		"\"delegate\"]\nassume_mutating = false\n"
		"mutating_tools = [\"ls\"]\nhooks = 1\nskills = "
		"{}\n[agent.execution.compaction]\n[agent.execution.snapshot]\nbackend = \"git\"\n" RULES
		"[planner]\nprovider = \"x\"\n[quorum]\n[[mcp]]\nname = \"m\"\ntransport = \"stdio\"\n[[middleware]]\ntype = "
		"\"limits\"\nmax_steps = 200\n",
		"3:13: mesh.transport: not in this version: transport = \"iroh\" (there is: lan)\n"
		"4:13: mesh.discovery: not in this version: discovery = \"kademlia\" (there is: none)\n"
		"5:17: mesh.auto_fallback: not in this version: auto_fallback = true (only: false)\n"
		"6:31: mesh.stream_reconnect_grace_secs: not in this version: stream_reconnect_grace_secs = 120 (only: 0)\n"
		"9:36: mesh.advertise: cannot dial a wildcard address: \"/ip4/0.0.0.0/tcp/5\" (an address of the peer)\n"
		"9:58: mesh.advertise: cannot dial port 0: \"/ip4/1.2.3.4/tcp/0\" (the port that the peer listens on)\n"
		"10:1: mesh.iroh: not in this version: [[mesh.iroh]] (nodes are linked by [[mesh.peers]])\n"
		"16:11: agent.api_key: not in this version: api_key (write it in [[providers]])\n"
		"17:16: agent.tools: not in this version: tools = \"delegate\" "
		"(there is: read_tool write_file edit shell ls)\n"
		"18:19: agent.assume_mutating: not in this version: assume_mutating = false (only: true)\n"
		"19:18: agent.mutating_tools: not in this version: mutating_tools (leave it out)\n"
		"20:1: agent.hooks: not in this version: hooks (leave it out)\n"
		"21:1: agent.skills: not in this version: skills (write what the agent must know in `system`)\n"
		"22:18: agent.execution.compaction: not in this version: [agent.execution.compaction] "
		"(nothing is summarised)\n"
		"23:18: agent.execution.snapshot: not in this version: [agent.execution.snapshot] (what tools changed is not "
		"kept)\n"
		"28:2: planner: not in this version: [planner] (write one [agent])\n"
		"30:2: quorum: not in this version: [quorum] (write one [agent])\n"
		"31:1: mcp: not in this version: [[mcp]] (leave it out)\n"
		"34:1: middleware: not in this version: [[middleware]] (leave it out)\n");
	config_free(config_text_good("t.toml",
		MESH "transport = \"lan\"\nauto_fallback = false\nstream_reconnect_grace_secs = 0\ninvite = \"\"\n"
			 "join_addrs = "
			 "[]\n[mesh.lan]\nenabled = true\n"
			 "trust = \"subnet\"\n[[mesh.iroh]]\nenabled = false\nname = \"x\"\n[agent]\nprovider = \"rules\"\ncwd = "
			 "\"/\"\nassume_mutating = true\n"
			 "[agent.execution.compaction]\nauto = false\n[agent.execution.pruning]\nenabled = "
			 "false\n[agent.execution.snapshot]\nbackend = \"none\"\n" RULES));
}

/* A table of a later version is looked through all the same. */
static void test_later_inside(void **state)
{
	(void)state;
	bad("[[delegates]]\nid = \"x\"\nproviderr = \"a\"\ntools = [\"shelll\"]\n[[remote_agents]]\nid = \"a b\"\npeer = "
		"3\n",
		"1:1: delegates.provider: missing\n"
		"1:1: delegates: not in this version: [[delegates]] ([agent] with `peer` has its model calls made on a peer)\n"
		"3:1: delegates.providerr: unknown key (did you mean provider?)\n"
		"4:10: delegates.tools: \"shelll\" is none of the choices (did you mean \"shell\"?)\n"
		"5:1: remote_agents: not in this version: [[remote_agents]] (qmt makes a session of an agent that the peer "
		"configured)\n"
		"6:6: remote_agents.id: \"a b\" is no name (letters, digits, _ . and -)\n"
		"7:8: remote_agents.peer: expected a string, got an integer\n");
}

/* Discovery that nobody asked for is "none", and said so once; peers of a mesh that is off are said to be unused. */
static void test_notices(void **state)
{
	struct config *config = config_text_good("t.toml", "[mesh]\nenabled = true\n");

	(void)state;
	assert_string_equal(config->root.mesh.discovery, "none");
	assert_string_equal(config->root.mesh.lan.discovery, "none");
	assert_int_equal(config->notices.count, 1);
	assert_non_null(strstr(config->notices.items[0], "mesh.discovery is not set"));
	config_free(config);
	config = config_text_good("t.toml", "[mesh]\n[[mesh.peers]]\nname = \"a\"\naddr = \"/ip4/1.2.3.4/tcp/5\"\n");
	assert_int_equal(config->notices.count, 1);
	assert_non_null(strstr(config->notices.items[0], "mesh.peers: not used"));
	config_free(config);
}

/* [mesh.lan] takes over what [mesh] says unless it says otherwise; with it, the LAN is on only if it says so. */
static void test_inheritance(void **state)
{
	struct config *config =
		config_text_good("t.toml", MESH "listen = \"/ip4/127.0.0.1/tcp/1\"\n[mesh.lan]\nenabled = true\n");

	(void)state;
	assert_string_equal(config->root.mesh.lan.listen, "/ip4/127.0.0.1/tcp/1");
	assert_true(config->lan);
	config_free(config);
	config = config_text_good(
		"t.toml", MESH "listen = \"/ip4/127.0.0.1/tcp/1\"\n[mesh.lan]\nenabled = true\nlisten = \"/ip6/::1/tcp/2\"\n");
	assert_string_equal(config->root.mesh.lan.listen, "/ip6/::1/tcp/2");
	config_free(config);
}

/* What is no TOML is told with its place, once. */
static void test_syntax(void **state)
{
	char deep[400] = "";

	(void)state;
	bad("[mesh]\nenabled = \n",
		"2:11: not valid TOML: Error while parsing key-value pair: expected value, saw '\\n'\n");
	bad("[mesh]\nenabled = true\nenabled = false\n",
		"3:11: not valid TOML: Error while parsing key-value pair: cannot redefine existing boolean 'enabled'\n");
	bad("", " empty: nothing is configured (docs/examples has some to begin with)\n");
	bad("# nothing\n\n", " empty: nothing is configured (docs/examples has some to begin with)\n");
	bad("[mesh]\nnode_name = \"a\x01\"\n", "2:15: control character 0x01 (a config file is UTF-8 text)\n");
	bad("[mesh]\nä = \"\xff\"\n", "2:6: byte 0xff is no UTF-8 (a config file is UTF-8 text)\n");
	bad("[mesh]\nnode_name = \"a\\u0000b\"\n", "2:13: mesh.node_name: \"a\\x00b\" has a control character\n");
	/* What the parser would stop the program at. */
	bad("[[+mesh.peers]]\n", "1:3: not valid TOML: expected the name of a table behind [\n");
	bad("[[[mesh]]]\n", "1:3: not valid TOML: expected the name of a table behind [\n");
	bad("[mesh]\ncapabilities = [}\n", "2:17: not valid TOML: } closes no {\n");
	bad("[mesh]\ncapabilities = [\"a\", [\"]\"]]]\n", "2:28: not valid TOML: ] closes no [\n");
	bad("[mesh]\n  [ \n", "2:5: not valid TOML: expected the name of a table behind [\n");
	bad("[mesh]\ncapabilities = [\n\t[+1], \"[\", \'\'\'\n[+\'\'\', # [+\n]\n",
		"3:2: mesh.capabilities: expected a string, got an array\n"
		"3:8: mesh.capabilities: \"[\" is no name (letters, digits, _ . and -)\n"
		"3:13: mesh.capabilities: \"[+\" is no name (letters, digits, _ . and -)\n");
	for (int i = 0; i < 40; i++)
		strncat(deep, "a.", 3);
	strncat(deep, "a = 1\n", 7);
	bad(deep, "1:64: not valid TOML: a key of too many parts\n");
	config_text_bad("t.toml", "x = [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]\n",
		"1:21: not valid TOML: Error while parsing value: exceeded maximum nested value depth of 16 "
		"(TOML_MAX_NESTED_VALUES)\n");
	/* Dots in strings and comments are no parts of keys. */
	config_free(config_text_good("t.toml",
		RULES "model = \"................................................\" # "
			  "................................................\n"
			  "# '\n"));
	config_free(config_text_good("t.toml",
		"[agent]\nprovider = \"rules\"\ncwd = \"/\"\nsystem = \"\"\"a \"quoted\"\" "
		".........................................\"\"\"\"\n" RULES));
}

/* More errors than are kept are counted. */
static void test_many_errors(void **state)
{
	struct qmt_buf text = {0}, out = {0};
	struct config_errors errors = {0};
	struct config *config = NULL;

	(void)state;
	qmt_buf_str(&text, "[mesh]\n");
	for (int i = 0; i < 150; i++)
		qmt_buf_printf(&text, "unknown_%d = 1\n", i);
	assert_int_equal(
		config_parse(qmt_buf_view(&text), CONFIG_TOML, "t.toml", "/", NULL, &config, &errors), CONFIG_E_BAD);
	assert_int_equal(errors.count, CONFIG_ERRORS);
	config_errors_print(&errors, &out);
	assert_non_null(strstr(out.data, "\nt.toml: 50 more errors\n"));
	config_errors_free(&errors);
	qmt_buf_free(&text);
	qmt_buf_free(&out);
}

static void file_bad(const char *path, const char *line)
{
	struct config_errors errors = {0};
	struct qmt_buf out = {0}, want = {0};
	struct config *config = NULL;

	assert_int_equal(config_load(path, NULL, &config, &errors), CONFIG_E_BAD);
	config_errors_print(&errors, &out);
	qmt_buf_printf(&want, "%s: %s\n", path, line);
	assert_string_equal(out.data, want.data);
	config_errors_free(&errors);
	qmt_buf_free(&out);
	qmt_buf_free(&want);
}

static void file_write(const char *path, const char *text, size_t len)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

/* What cannot be a config file is told by its name; a pipe without a writer does not hang. */
static void test_files(void **state)
{
	char folder[] = "/tmp/qmt-config-XXXXXX", path[64], prompt[64];
	struct config_errors errors = {0};
	struct config *config = NULL;
	char *big = calloc(1, CONFIG_FILE_BYTES + 1);

	(void)state;
	assert_non_null(big);
	assert_non_null(mkdtemp(folder));
	file_bad(folder, "is a folder (name the file in it)");
	snprintf(path, sizeof path, "%s/none.toml", folder);
	file_bad(path, "No such file or directory");
	assert_int_equal(mkfifo(path, 0600), 0);
	file_bad(path, "is no regular file");
	assert_int_equal(unlink(path), 0);
	memset(big, '#', CONFIG_FILE_BYTES + 1);
	file_write(path, big, CONFIG_FILE_BYTES + 1);
	file_bad(path, "longer than 1048576 bytes, no config file");
	file_write(path, "", 0);
	file_bad(path, "empty: nothing is configured (docs/examples has some to begin with)");

	/* The folder of the file is where its paths start, and prompts come from files there. */
	static const char text[] = "[agent]\nprovider = \"rules\"\nsystem = [\"one\", { file = \"prompt.txt\" }]\n" RULES;

	snprintf(prompt, sizeof prompt, "%s/prompt.txt", folder);
	file_write(path, text, sizeof text - 1);
	assert_int_equal(config_load(path, NULL, &config, &errors), CONFIG_E_BAD);
	assert_int_equal(errors.count, 1);
	assert_int_equal(errors.items[0].line, 3);
	assert_int_equal(errors.items[0].col, 27);
	assert_non_null(strstr(errors.items[0].text, "cannot read the prompt: "));
	config_errors_free(&errors);
	assert_int_equal(mkfifo(prompt, 0600), 0);
	assert_int_equal(config_load(path, NULL, &config, &errors), CONFIG_E_BAD);
	assert_non_null(strstr(errors.items[0].text, "agent.system: no regular file: "));
	config_errors_free(&errors);
	assert_int_equal(unlink(prompt), 0);
	file_write(prompt, "two ${NOT_SET_2:-three}\n\n", 25);
	assert_int_equal(config_load(path, NULL, &config, &errors), 0);
	assert_string_equal(config->path, path);
	assert_string_equal(config->agents.items[0].cwd, folder);
	assert_string_equal(config->agents.items[0].system, "one\n\ntwo three");
	config_free(config);
	config_errors_free(&errors);
	assert_int_equal(unlink(prompt), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
	free(big);
}

/* What is wrong in a provider's script is told with the config's place and its own, all at once and in its order; keys
 * of other kinds are not for it. */
static void test_script(void **state)
{
	static const char text[] = "[[providers]]\nname = \"s\"\nkind = \"script\"\nscript = \"t.script\"\n",
					  script[] = "turn\n\n\n\n\n\n\n\ntxt\nwait 5\n";
	char folder[] = "/tmp/qmt-config-XXXXXX", path[64], other[64], want[1000];
	struct config_errors errors = {0};
	struct config *config = NULL;
	struct qmt_buf got = {0};

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/c.toml", folder);
	snprintf(other, sizeof other, "%s/t.script", folder);
	file_write(path, text, sizeof text - 1);
	file_write(other, script, sizeof script - 1);
	assert_int_equal(config_load(path, NULL, &config, &errors), CONFIG_E_BAD);
	config_errors_print(&errors, &got);
	snprintf(want, sizeof want,
		"%s:4:10: providers.script: %s:9: \"txt\" is no line of a script "
		"(a step is one of: accept text reasoning tool "
		"repeat wait usage finish error cut hang)\n"
		"%s:4:10: providers.script: %s:10: wait: \"5\" is no time (a whole number and ms, s, m or h, at most 24h: "
		"50ms)\n",
		path, other, path, other);
	assert_string_equal(got.data, want);
	config_errors_free(&errors);
	qmt_buf_free(&got);

	assert_int_equal(unlink(other), 0);
	assert_int_equal(config_load(path, NULL, &config, &errors), CONFIG_E_BAD);
	config_errors_print(&errors, &got);
	snprintf(
		want, sizeof want, "%s:4:10: providers.script: %s: cannot be read: No such file or directory\n", path, other);
	assert_string_equal(got.data, want);
	config_errors_free(&errors);
	qmt_buf_free(&got);

	file_write(other, "turn\ncut\n", 9);
	assert_int_equal(config_load(path, NULL, &config, &errors), 0);
	assert_string_equal(config->root.providers.items[0].script, other);
	config_free(config);
	config_errors_free(&errors);
	assert_int_equal(unlink(other), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);

	bad("[[providers]]\nname = \"s\"\nkind = \"script\"\nscript = \"\"\n",
		"4:10: providers.script: must not be empty (for example turns.script)\n");
	bad("[[providers]]\nname = \"s\"\nkind = \"script\"\nmax_tokens = 3\n",
		"1:1: providers.script: missing: kind \"script\" needs it (for example turns.script)\n"
		"4:1: providers.max_tokens: only for kind = \"openai\" or \"builtin\", "
		"this one is \"script\" (leave it out)\n");
}

/* The table itself: every default is a value of its parameter, every text is there, every inherited key exists. */
static void table_check(const struct config_section *section, const char *path)
{
	for (const struct config_field *field = section->fields; field->name; field++) {
		char inner[256];

		snprintf(inner, sizeof inner, "%s.%s", path, config_field_key(field));
		if (!field->doc || !*field->doc)
			fail_msg("%s: no doc", inner);
		if ((field->kind == CONFIG_WORD || field->kind == CONFIG_WORDS) != (field->words != NULL))
			fail_msg("%s: words", inner);
		if (field->kind == CONFIG_LIST && !field->naming)
			fail_msg("%s: .naming", inner);
		if (field->max && (field->min > field->max || field->number > field->max))
			fail_msg("%s: range", inner);
		if (field->number && field->number < field->min)
			fail_msg("%s: default under its range", inner);
		if (field->section)
			table_check(field->section, inner);
	}
}

static void test_table(void **state)
{
	struct qmt_buf out = {0};
	/* Every table is in it, so every default is read; a bad one would be an error here. */
	struct config *config = config_text_good("t.toml",
		MESH "[mesh.lan]\nenabled = true\n[mesh.link]\n[[mesh.iroh]]\n[agent]\nprovider = \"rules\"\ncwd = "
			 "\"/\"\n[agent.execution]\n" RULES "[[providers]]\nname = \"o\"\nkind = \"openai\"\nbase_url = "
			 "\"http://h\"\n[session]\n[store]\n");

	(void)state;
	table_check(&config_root_section, "");
	assert_int_equal(config_dump(config, &out), 0);
	assert_non_null(strstr(out.data, "[mesh.lan]\nenabled = true\nlisten = \"/ip4/0.0.0.0/tcp/0\" # default\n"));
	assert_non_null(strstr(out.data, "# identity_file is <home>/mesh_identity.key\n"));
	assert_non_null(strstr(out.data, "connect_timeout_ms = 10000 # default\n"));
	config_free(config);
	qmt_buf_free(&out);
}

/* Limits that could not hold together are refused where they are written. */
static void test_limits_that_contradict(void **state)
{
	(void)state;
	bad("[session]\nshell_timeout_max_ms = 1000\n",
		"2:24: session.shell_timeout_max_ms: 1000: must be at least shell_timeout_ms (120000)\n");
	bad("[session]\nmax_prompt_bytes = 20000000\nmax_answer_bytes = 10000000\n",
		"2:20: session.max_prompt_bytes: a prompt (20000000 bytes by session.max_prompt_bytes) would not fit into a "
		"message of the store (store.message_max_bytes = 16777216) (lower it, or raise the other one)\n"
		"3:20: session.max_answer_bytes: an answer with its tool calls (20000000 bytes by session.max_answer_bytes) "
		"would not fit into a message of the store (store.message_max_bytes = 16777216) (lower it, or raise the other "
		"one)\n");
	bad("[store]\nmessage_max_bytes = 10000000\nmax_bytes = 4095\n",
		"2:21: store.message_max_bytes: a prompt (16777216 bytes by session.max_prompt_bytes) would not fit into a "
		"message of the store (store.message_max_bytes = 10000000) (lower it, or raise the other one)\n"
		"3:13: store.max_bytes: must be 0 or at least 262144 (0: no bound)\n");
	config_free(
		config_text_good("t.toml", "[session]\nmax_prompt_bytes = 20000000\n[store]\nmessage_max_bytes = 20000000\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_unknown_keys), cmocka_unit_test(test_types), cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_cross), cmocka_unit_test(test_providers),
		cmocka_unit_test(test_script), cmocka_unit_test(test_later), cmocka_unit_test(test_later_inside),
		cmocka_unit_test(test_notices), cmocka_unit_test(test_inheritance), cmocka_unit_test(test_syntax),
		cmocka_unit_test(test_many_errors), cmocka_unit_test(test_files), cmocka_unit_test(test_table),
		cmocka_unit_test(test_limits_that_contradict)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
