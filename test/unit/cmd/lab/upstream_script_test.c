/* The script of `qmt-lab upstream`: what each step becomes, and every fault at once, with its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "cmd/lab/upstream_script.h"
#include "runtime/base/os.h"

static const char *env(const char *name)
{
	return strcmp(name, "SPLIT") == 0 ? "7" : strcmp(name, "QUOTED") == 0 ? "a \"b\" # \\n" : NULL;
}

static struct upstream_script *good(const char *text)
{
	struct upstream_script *script = NULL;
	struct qmt_buf complaints = {0};

	if (upstream_script_parse("s.txt", qmt_str(text), env, &script, &complaints))
		fail_msg("%s", complaints.len ? complaints.data : "no complaint");
	assert_int_equal(complaints.len, 0);
	return script;
}

static void bad(const char *text, const char *lines)
{
	struct upstream_script *script = NULL;
	struct qmt_buf complaints = {0};

	assert_int_equal(upstream_script_parse("s.txt", qmt_str(text), env, &script, &complaints), -EINVAL);
	assert_null(script);
	assert_string_equal(complaints.data, lines);
	qmt_buf_free(&complaints);
}

static void bytes_are(struct qmt_bytes have, const char *want, size_t len)
{
	assert_int_equal(have.len, len);
	assert_memory_equal(have.p, want, len);
}

#define BYTES_ARE(have, literal) bytes_are(have, literal, sizeof(literal) - 1)

/* Status, headers and framing become the head; nothing at all is an answer of 200 until the connection ends. */
static void test_heads(void **state)
{
	static const struct {
		const char *steps, *head;
	} cases[] = {
		{"", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"},
		{"chunked\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"status 429\nheader \"Retry-After: 2\"\nlength 0\n",
			"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"},
		{"status 299 \"Quite fine\"\nlength 9\n", "HTTP/1.1 299 Quite fine\r\nContent-Length: 9\r\n\r\n"},
		{"status 418\n", "HTTP/1.1 418 Unknown\r\nConnection: close\r\n\r\n"},
		{"length auto\ntext abc\nrepeat 3 raw \"\\r\\n\"\nsse x\nbytes \"not counted\"\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n"},
		{"headers endless\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n"},
		{"header \"X: 1\\r\\nY: 2\"\nchunked\n",
			"HTTP/1.1 200 OK\r\nX: 1\r\nY: 2\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"bare\n", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[300];

		(void)snprintf(text, sizeof text, "on GET /\n%s", cases[i].steps);
		struct upstream_script *script = good(text);

		assert_int_equal(script->answer_count, 1);
		bytes_are(script->answers[0].head, cases[i].head, strlen(cases[i].head));
		upstream_script_free(script);
	}
}

/* Events, text and bytes; line ends; escapes; text to the end of the line keeps quotes and `#`. */
static void test_bodies(void **state)
{
	struct upstream_script *script = good("on POST /v1/chat/completions   # a comment\n"
										  "\n"
										  "  # another\n"
										  "  sse {\"a\": \"x # y\"}  \t\r\n"
										  "  crlf on\n"
										  "  sse [DONE]\n"
										  "  crlf cr\n"
										  "  repeat 1000 sse z\n"
										  "  crlf off\n"
										  "  sse z\n"
										  "  raw \": c\\r\\n\\t\\\"\\\\\\x00\\xfF\\0\"  # behind a word\n"
										  "  raw plain\n"
										  "  raw \"\"\n"
										  "  text  \"quoted\" # not a comment\n"
										  "  bytes \"5\\r\\n\"\n");
	const struct upstream_op *ops = script->answers[0].ops;

	(void)state;
	assert_int_equal(script->answers[0].op_count, 9);
	BYTES_ARE(ops[0].data, "data: {\"a\": \"x # y\"}\n\n");
	assert_int_equal(ops[0].line, 4);
	BYTES_ARE(ops[1].data, "data: [DONE]\r\n\r\n");
	BYTES_ARE(ops[2].data, "data: z\r\r");
	assert_int_equal(ops[2].times, 1000);
	BYTES_ARE(ops[3].data, "data: z\n\n");
	assert_int_equal(ops[3].times, 1);
	BYTES_ARE(ops[4].data, ": c\r\n\t\"\\\0\xff\0");
	BYTES_ARE(ops[5].data, "plain");
	assert_int_equal(ops[6].data.len, 0);
	BYTES_ARE(ops[7].data, "\"quoted\" # not a comment");
	assert_int_equal(ops[8].kind, UPSTREAM_OP_BYTES);
	BYTES_ARE(ops[8].data, "5\r\n");
	upstream_script_free(script);
}

/* What an answer does besides its body. */
static void test_deeds(void **state)
{
	static const struct {
		const char *step;
		struct upstream_op op;
	} cases[] = {
		{"split 1", {.kind = UPSTREAM_OP_SPLIT, .number = 1}},
		{"split 3 2ms", {.kind = UPSTREAM_OP_SPLIT, .number = 3, .ms = 2}},
		{"split off", {.kind = UPSTREAM_OP_SPLIT}},
		{"split at 0", {.kind = UPSTREAM_OP_SPLIT_AT, .ms = UPSTREAM_SPLIT_PAUSE_MS}},
		{"split at ${SPLIT} 1s", {.kind = UPSTREAM_OP_SPLIT_AT, .number = 7, .ms = 1000}},
		{"wait 50ms", {.kind = UPSTREAM_OP_WAIT, .ms = 50}},
		{"headers endless", {.kind = UPSTREAM_OP_HEADERS}},
		{"body endless", {.kind = UPSTREAM_OP_ENDLESS}},
		{"body endless \"ab\\n\"", {.kind = UPSTREAM_OP_ENDLESS, .data = {(const uint8_t *)"ab\n", 3}}},
		{"close", {.kind = UPSTREAM_OP_CLOSE}},
		{"reset", {.kind = UPSTREAM_OP_RESET}},
		{"hang", {.kind = UPSTREAM_OP_HANG}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[100];

		(void)snprintf(text, sizeof text, "on * *\n%s\n", cases[i].step);
		struct upstream_script *script = good(text);
		const struct upstream_op *op = &script->answers[0].ops[0], *want = &cases[i].op;

		assert_int_equal(script->answers[0].op_count, 1);
		assert_int_equal(op->kind, want->kind);
		assert_int_equal(op->number, want->number);
		assert_int_equal(op->ms, want->ms);
		bytes_are(op->data, (const char *)want->data.p, want->data.len);
		upstream_script_free(script);
	}
}

/* ${VAR} in words, in quotes and in text; what it holds is not read again; $${ is a plain ${. */
static void test_variables(void **state)
{
	struct upstream_script *script = good("on POST /${SPLIT}\n"
										  "  raw ${QUOTED}\n"
										  "  raw \"<${QUOTED}>\"\n"
										  "  text ${QUOTED} ${UNSET:-none of ${} $${SPLIT} $5 ${}\n"
										  "  sse {\"n\": ${SPLIT}}\n");
	const struct upstream_op *ops = script->answers[0].ops;

	(void)state;
	assert_string_equal(script->answers[0].path, "/7");
	BYTES_ARE(ops[0].data, "a \"b\" # \\n");
	BYTES_ARE(ops[1].data, "<a \"b\" # \\n>");
	BYTES_ARE(ops[2].data, "a \"b\" # \\n none of ${ ${SPLIT} $5 ${}");
	BYTES_ARE(ops[3].data, "data: {\"n\": 7}\n\n");
	upstream_script_free(script);
}

static unsigned takes(struct upstream_script *script, const char *method, const char *target)
{
	const struct upstream_answer *answer = upstream_script_take(script, qmt_str(method), qmt_str(target));

	return answer ? answer->line : 0;
}

/* Requests take the blocks that fit in order, the last one again and again; the query does not count. */
static void test_requests(void **state)
{
	struct upstream_script *script = good("on POST /a\nclose\non GET /a\non POST /a\non * /b\non POST *\n");

	(void)state;
	assert_int_equal(takes(script, "GET", "/c"), 0);
	assert_int_equal(takes(script, "POST", "/a"), 1);
	assert_int_equal(takes(script, "GET", "/a?x=1"), 3);
	assert_int_equal(takes(script, "POST", "/a?x"), 4);
	assert_int_equal(takes(script, "POST", "/a"), 6);
	assert_int_equal(takes(script, "POST", "/a"), 6);
	assert_int_equal(takes(script, "GET", "/a"), 3);
	assert_int_equal(takes(script, "DELETE", "/b"), 5);
	assert_int_equal(takes(script, "POST", "/anything"), 6);
	assert_int_equal(takes(script, "get", "/a"), 0);
	upstream_script_free(script);
}

/* All faults of a script are told at once, each with its line and a way out. */
static void test_faults(void **state)
{
	(void)state;
	bad("", "s.txt:1: no answer in it (begin one with `on POST /v1/chat/completions`)\n");
	bad("status 200\n"
		"on POST\n"
		"on POST v1\n"
		"onn POST /\n"
		"on POST /\n"
		"status 99\n"
		"status 2x0\n"
		"chunked\n"
		"length 5\n"
		"sse\n"
		"sse @none.txt\n"
		"header \"X: 1\"\n"
		"raw \"\\q\" \"\n"
		"split 0\n"
		"split at\n"
		"wait soon\n"
		"crlf maybe\n"
		"repeat x sse y\n"
		"repeat 2 close\n"
		"raw a b\n"
		"text ${NONE}\n"
		"body forever\n"
		"sse late\n"
		"on GET /\n"
		"length auto\n"
		"body endless\n",
		"s.txt:1: status: in front of the first `on METHOD PATH`\n"
		"s.txt:2: on takes other words: on METHOD PATH\n"
		"s.txt:3: PATH \"v1\" begins with / or is *\n"
		"s.txt:4: no such step: onn (see qmt-lab upstream --help)\n"
		"s.txt:6: status 99: a status has three digits\n"
		"s.txt:7: \"2x0\" is not a number from 0 to 999\n"
		"s.txt:9: chunked and length stand once in an answer, one of them\n"
		"s.txt:10: sse wants a text: sse TEXT | sse @FILE\n"
		"s.txt:11: none.txt: No such file or directory (files of a script lie beside it)\n"
		"s.txt:12: header: stands in front of the first byte of the body\n"
		"s.txt:13: \\q: no such escape (there are \\r \\n \\t \\0 \\xNN \\\" \\\\)\n"
		"s.txt:13: a \" that nothing closes\n"
		"s.txt:13: raw takes other words: raw \"BYTES\"\n"
		"s.txt:14: split 0: a piece has at least one byte (split off ends it)\n"
		"s.txt:15: split: N [TIME], at N [TIME], or off\n"
		"s.txt:16: \"soon\" is not a time (50ms, 2s)\n"
		"s.txt:17: crlf maybe (on, off or cr)\n"
		"s.txt:18: \"x\" is not a number from 0 to 1000000000\n"
		"s.txt:19: repeat: only sse, text, raw and bytes can be repeated\n"
		"s.txt:20: raw takes other words: raw \"BYTES\"\n"
		"s.txt:21: NONE is not in the environment (`set NONE ...` in the scenario, or ${NONE:-default})\n"
		"s.txt:22: \"forever\" where endless is due\n"
		"s.txt:23: sse: the answer has ended in the line above (begin another with `on`)\n"
		"s.txt:26: length auto cannot count a body that is endless (length N)\n");
}

/* A file beside the script: each line that is not empty is an event. */
static void test_files(void **state)
{
	char folder[] = "/tmp/qmt-upstream-XXXXXX", script_path[64], answer_path[64];
	static const char script_text[] = "on * *\nsse @answer.txt\n", answer[] = "{\"a\":1}\r\n\n{\"b\":2}";
	struct upstream_script *script = NULL;
	struct qmt_buf complaints = {0};

	(void)state;
	assert_non_null(mkdtemp(folder));
	(void)snprintf(script_path, sizeof script_path, "%s/s.txt", folder);
	(void)snprintf(answer_path, sizeof answer_path, "%s/answer.txt", folder);
	assert_int_equal(qmt_os_file_write(script_path, script_text, sizeof script_text - 1, 0600, NULL), 0);
	assert_int_equal(qmt_os_file_write(answer_path, answer, sizeof answer - 1, 0600, NULL), 0);
	assert_int_equal(upstream_script_load(script_path, env, &script, &complaints), 0);
	assert_int_equal(script->answers[0].op_count, 2);
	BYTES_ARE(script->answers[0].ops[0].data, "data: {\"a\":1}\n\n");
	BYTES_ARE(script->answers[0].ops[1].data, "data: {\"b\":2}\n\n");
	upstream_script_free(script);
	unlink(script_path);
	assert_int_equal(upstream_script_load(script_path, env, &script, &complaints), -ENOENT);
	assert_non_null(strstr(complaints.data, "s.txt: No such file"));
	qmt_buf_free(&complaints);
	unlink(answer_path);
	rmdir(folder);
}

/* The step table and the parser know the same steps: a line with too many words names each one's usage. */
static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < UPSTREAM_STEP_COUNT; i++) {
		const struct upstream_step_kind *kind = &upstream_step_kinds[i];

		assert_int_equal(strncmp(kind->usage, kind->name, strlen(kind->name)), 0);
		assert_true(strlen(kind->doc) > 5);
		assert_true(kind->least <= kind->most);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_deeds),
		cmocka_unit_test(test_variables),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
