/* A script is read into turns and steps; all that is wrong in one is told at once, with line and way out; each session
 * goes through its rows of turns by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "actors/provider/provider.h"
#include "actors/provider/script_file.h"
#include "proto/utf8.h"
#include "runtime/base/os.h"

static const struct script_limits limits = {.file_bytes = 100000, .turns = 5, .answer_bytes = 1000};

/* "line: what (hint)\n" for each complaint. */
static void complain(void *arg, uint32_t line, const char *what, const char *hint)
{
	qmt_buf_printf(arg, "%u: %s", line, what);
	qmt_buf_printf(arg, hint ? " (%s)\n" : "%s\n", hint ? hint : "");
}

static struct script *good(const char *text)
{
	struct qmt_buf said = {0};
	struct script *script = NULL;
	int ret = script_parse(qmt_str(text), &limits, complain, &said, &script);

	if (ret != 0)
		fail_msg("%d: %s", ret, said.data ? said.data : "");
	return script;
}

static void bad(const char *text, const char *want)
{
	struct qmt_buf said = {0};
	struct script *script = NULL;

	assert_int_equal(script_parse(qmt_str(text), &limits, complain, &said, &script), SCRIPT_E_BAD);
	assert_null(script);
	assert_string_equal(said.data, want);
	qmt_buf_free(&said);
}

static const struct script_step *step(const struct script *script, uint32_t turn, uint32_t at)
{
	assert_true(turn < script->turn_count && at < script->turns[turn].step_count);
	return &script->turns[turn].steps[at];
}

/* Every line is understood, with blanks, comments and CRLF where people put them. */
static void reads_every_line(void **state)
{
	struct script *script = good("\xef\xbb\xbf# a model\r\n"
								 "model one   # its name\r\n"
								 "model two\n"
								 "\n"
								 "turn when \"a \\\"b\\\" # no comment\"   # this is one\n"
								 "\taccept\n"
								 "  text \"Hello \\u00e9\\ud83d\\ude00\\n\" split 3 every 50ms # here\n"
								 "  reasoning \"\"\n"
								 "  wait 2s\n"
								 "  tool read {\"path\": \"a}\\\"\"} split 4\n"
								 "  tool ls \"not json\"\n"
								 "  usage input=10 output=5 cached=1 reasoning=2\n"
								 "  finish length\n"
								 "turn\n"
								 "  repeat 7 text \"x\" every 1m\n"
								 "  error rate_limited \"slow down\" retry_after=2s\n"
								 "turn\n"
								 "  error timeout\n"
								 "turn\n"
								 "  cut\n"
								 "turn\n"
								 "  hang\n"
								 "end stay");
	const struct script_step *s;

	(void)state;
	assert_int_equal(script->model_count, 2);
	assert_string_equal(script->models[1], "two");
	assert_int_equal(script->end, SCRIPT_STAY);
	assert_int_equal(script->turn_count, 5);
	assert_int_equal(script->row_count, 2);
	assert_true(qmt_str_is(script->rows[0].when, "a \"b\" # no comment"));
	assert_int_equal(script->rows[1].when.len, 0);
	assert_int_equal(script->turns[0].step_count, 7);
	assert_int_equal(script->turns[0].usage.input_tokens, 10);
	assert_int_equal(script->turns[0].usage.output_tokens, 5);
	assert_int_equal(script->turns[0].usage.cached_tokens, 1);
	assert_int_equal(script->turns[0].usage.reasoning_tokens, 2);

	assert_int_equal(step(script, 0, 0)->kind, SCRIPT_ACCEPT);
	s = step(script, 0, 1);
	assert_int_equal(s->kind, SCRIPT_TEXT);
	assert_int_equal(s->line, 7);
	assert_true(qmt_str_is(s->text, "Hello \xc3\xa9\xf0\x9f\x98\x80\n"));
	assert_int_equal(s->split, 3);
	assert_int_equal(s->every_ms, 50);
	assert_int_equal(s->repeat, 1);
	assert_int_equal(step(script, 0, 2)->kind, SCRIPT_REASONING);
	assert_int_equal(step(script, 0, 2)->text.len, 0);
	assert_int_equal(step(script, 0, 3)->kind, SCRIPT_WAIT);
	assert_int_equal(step(script, 0, 3)->time_ms, 2000);
	s = step(script, 0, 4);
	assert_int_equal(s->kind, SCRIPT_TOOL);
	assert_string_equal(s->tool, "read");
	assert_true(qmt_str_is(s->text, "{\"path\": \"a}\\\"\"}"));
	assert_int_equal(s->split, 4);
	assert_true(qmt_str_is(step(script, 0, 5)->text, "not json"));
	assert_string_equal(step(script, 0, 6)->word, "length");

	s = step(script, 1, 0);
	assert_int_equal(s->repeat, 7);
	assert_int_equal(s->every_ms, 60000);
	assert_int_equal(script->turns[1].bytes, 7);
	s = step(script, 1, 1);
	assert_int_equal(s->kind, SCRIPT_ERROR);
	assert_ptr_equal(s->word, provider_error_rate_limited);
	assert_true(qmt_str_is(s->text, "slow down"));
	assert_int_equal(s->time_ms, 2000);
	assert_int_equal(step(script, 2, 0)->text.len, 0);
	assert_int_equal(step(script, 3, 0)->kind, SCRIPT_CUT);
	assert_int_equal(step(script, 4, 0)->kind, SCRIPT_HANG);
	script_free(script);

	script = good("turn\nfinish stop");
	assert_string_equal(script->models[0], "script");
	assert_int_equal(script->end, SCRIPT_AGAIN);
	script_free(script);
}

#define STEPS "(a step is one of: accept text reasoning tool repeat wait usage finish error cut hang)\n"

/* One look at the file shows all that is wrong in it, and what to write instead. */
static void complaints(void **state)
{
	(void)state;
	bad("txt \"x\"\nturn\n  txt \"x\"\n  text x\n  text \"x\n  text \"a\\q\"\n  text \"a\"b\n  text\n"
		"  text \"a\" split 0\n"
		"  text \"a\" every 5ms\n  text \"a\" splt 3\n",
		"1: \"txt\" is no line of a script (there is: turn model end)\n"
		"3: \"txt\" is no line of a script " STEPS "4: text: expected a text, got \"x\" (in double quotes: \"…\")\n"
		"5: text: the text does not end (close it with a double quote)\n"
		"6: text: a backslash that begins no escape (as in JSON: \\n \\t \\\" \\\\ \\u00e9)\n"
		"7: text: a blank is missing behind the text (a double quote in a text is \\\")\n"
		"8: text: a text is missing (in double quotes: \"…\")\n"
		"9: split: \"0\" is no whole number from 1 to 4294967295\n"
		"10: every: there is only one piece (split N makes several, repeat N too)\n"
		"11: \"splt\" is too much here ([split N] [every TIME])\n");
	bad("text \"x\"\nturn\n  wait 50\n  wait 25h\n  wait -1s\n  tool\n  tool read\n  tool read {\"a\": 1\n"
		"  tool read {a}\n"
		"  tool read {} x\n  repeat 3 wait 1s\n  repeat x text \"a\"\n",
		"1: text outside of a turn (begin one with a line: turn)\n"
		"3: wait: \"50\" is no time (a whole number and ms, s, m or h, at most 24h: 50ms)\n"
		"4: wait: \"25h\" is no time (a whole number and ms, s, m or h, at most 24h: 50ms)\n"
		"5: wait: \"-1s\" is no time (a whole number and ms, s, m or h, at most 24h: 50ms)\n"
		"6: tool: wants a name of 1 to 128 bytes, got \"\" (tool NAME {JSON})\n"
		"7: tool: arguments are missing ({} for none)\n"
		"8: tool: the object does not end (write in quotes what shall be no JSON object: tool NAME \"{…\")\n"
		"9: tool: no JSON object: line 1 column 2: string or '}' expected "
		"near 'a' (write in quotes what shall be no JSON "
		"object: tool NAME \"{…\")\n"
		"10: \"x\" is too much here ([split N] [every TIME])\n"
		"11: repeat: \"wait\" cannot be repeated (text, reasoning and tool can)\n"
		"12: repeat: \"x\" is no whole number from 1 to 10000000\n");
	bad("turn\n  usage input=x\n  usage input=1\n  usage\n  finish now\n  error slow\n  error timeout \"a\\u0000\"\n"
		"  error timeout x\n"
		"  error timeout retry_after=x\n  cut\n  text \"a\"\n  accept now\n",
		"2: usage: \"input=x\" is no count of tokens (usage input=10 output=5 cached=0 reasoning=0)\n"
		"4: usage is there already in this turn (one line for all of them)\n"
		"5: finish: \"now\" is no reason (stop, tool_calls, length or content_filter)\n"
		"6: error: \"slow\" is no class (a class is one of: authentication "
		"not_found rate_limited context_window_exceeded "
		"invalid_request server_error overloaded transport malformed timeout busy cancelled)\n"
		"7: error: the text of an error has no NUL\n"
		"8: \"x\" is too much here (error CLASS \"…\" retry_after=2s)\n"
		"9: retry_after: \"x\" is no time (a whole number and ms, s, m or h, at most 24h: 50ms)\n"
		"11: text behind the end of the turn (begin the next turn)\n"
		"12: accept behind the end of the turn (begin the next turn)\n");
	bad("turn\nusage\nturn if \"x\"\n  cut\nturn when x\nturn when \"\"\nturn when \"a\" b\nmodel\nmodel a\n"
		"model a\nend\nend again\n"
		"end stay\ncut\n",
		"1: a turn without a step (finish stop, for an answer that says nothing)\n"
		"3: \"if\" is too much here (turn when \"…\")\n"
		"5: when: expected a text, got \"x\" (in double quotes: \"…\")\n"
		"6: when: an empty text is in every prompt (leave when out)\n"
		"7: \"b\" is too much here (a comment begins with #)\n"
		"8: model: wants a name of 1 to 128 bytes (model NAME)\n"
		"10: model: \"a\" is there already\n"
		"11: end: \"\" is none of the choices (end again, end stay or end error)\n"
		"13: end is there already\n"
		"14: cut outside of a turn (begin one with a line: turn)\n");
	bad("turn\n cut # \xff\n cut \x01\n",
		"2: byte 0xff is no UTF-8 (a script is UTF-8 text)\n"
		"3: control character 0x01 (as \\u0000 in a text)\n");
	bad("# nothing\n", "0: no turn in the script (docs/guide/script.md shows one)\n");
	bad("turn\n text \"\\ud83d\\u0041\"\n text \"\\ude00\"\n text \"\\u12g4\"\n",
		"2: text: a backslash that begins no escape (as in JSON: \\n \\t \\\" \\\\ \\u00e9)\n"
		"3: text: a backslash that begins no escape (as in JSON: \\n \\t \\\" \\\\ \\u00e9)\n"
		"4: text: a backslash that begins no escape (as in JSON: \\n \\t \\\" \\\\ \\u00e9)\n");
}

/* Sizes are bounded, and say which parameter bounds them; of very many errors the rest is left. */
static void bounds(void **state)
{
	struct qmt_buf text = {0}, said = {0};
	struct script *script = NULL;
	uint32_t lines = 0;

	(void)state;
	bad("turn\ncut\nturn\ncut\nturn\ncut\nturn\ncut\nturn\ncut\nturn\ncut\n",
		"11: more than 5 turns (max_turns is the limit)\n");
	script_free(good("turn\nrepeat 500 text \"ab\""));
	bad("turn\nrepeat 500 text \"ab\"\ntext \"\"",
		"3: the answer is longer than 1000 bytes (response_limit_bytes is its limit)\n");
	for (uint32_t i = 0; i <= limits.file_bytes; i++)
		qmt_buf_str(&text, "\n");
	bad(text.data, "0: longer than 100000 bytes (script_limit_bytes is its limit)\n");
	text.len = 0;
	for (uint32_t i = 0; i < 2 * SCRIPT_ERRORS; i++)
		qmt_buf_str(&text, "x\n");
	assert_int_equal(script_parse(qmt_buf_view(&text), &limits, complain, &said, &script), SCRIPT_E_BAD);
	for (size_t i = 0; i < said.len; i++)
		lines += said.data[i] == '\n';
	assert_int_equal(lines, SCRIPT_ERRORS + 1);
	assert_non_null(strstr(said.data, "51: too many errors; the rest of the file is not looked at\n"));
	qmt_buf_free(&text);
	qmt_buf_free(&said);
}

/* Line of the turn that answers, or minus the outcome. */
static int next(const struct script *script, uint32_t *places, const char *prompt)
{
	const struct script_turn *turn = NULL;
	int ret = script_next(script, places, qmt_str(prompt), &turn);

	return ret == 0 ? (int)turn->line : -ret;
}

/* The last user message says which row of turns; each session goes through each row by itself, and begins anew. */
static void choice(void **state)
{
	struct script *script =
		good("turn\ncut\nturn when \"rain\"\ncut\nturn\ncut\nturn when \"rain\"\ncut\nturn when \"r\"\ncut");
	uint32_t a[3], b[3];

	(void)state;
	assert_int_equal(script->row_count, 3);
	script_places_init(script, a);
	script_places_init(script, b);
	assert_int_equal(next(script, a, "hello"), 1);
	assert_int_equal(next(script, a, "will it rain?"), 3);
	assert_int_equal(next(script, a, "hello"), 5);
	assert_int_equal(next(script, b, "hello"), 1);
	assert_int_equal(next(script, a, "will it rain?"), 7);
	assert_int_equal(next(script, a, "bar"), 9);
	assert_int_equal(next(script, a, "rain"), 3);
	assert_int_equal(next(script, b, "rain"), 3);
	assert_int_equal(next(script, a, NULL), 1);
	script_free(script);
}

/* After the last turn: anew, that one again, or an error; a prompt without a turn is told from that. */
static void ends(void **state)
{
	struct script *script = good("turn when \"a\"\ncut\nturn when \"a\"\ncut\nend stay");
	uint32_t places[1];

	(void)state;
	script_places_init(script, places);
	assert_int_equal(next(script, places, "a"), 1);
	assert_int_equal(next(script, places, "a"), 3);
	assert_int_equal(next(script, places, "a"), 3);
	assert_int_equal(next(script, places, "b"), -SCRIPT_E_NO_ROW);
	script_free(script);
	script = good("turn\ncut\nturn\ncut\nend error");
	script_places_init(script, places);
	assert_int_equal(next(script, places, "a"), 1);
	assert_int_equal(next(script, places, "a"), 3);
	assert_int_equal(next(script, places, "a"), -SCRIPT_E_AT_END);
	assert_int_equal(next(script, places, "a"), -SCRIPT_E_AT_END);
	script_free(script);
}

/* Pieces are as long as asked, but never end inside of a character. */
static void pieces(void **state)
{
	static const char text[] = "a\xc3\xa9\xf0\x9f\x98\x80"
							   "bcd";
	static const struct {
		uint32_t split;
		const char *want;
	} rows[] = {{0, "10 "}, {1, "1 2 4 1 1 1 "}, {2, "1 2 4 2 1 "}, {3, "3 4 3 "}, {5, "3 5 2 "}, {100, "10 "}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct script_step s = {.text = qmt_str(text), .split = rows[i].split};
		char got[100] = "";

		for (uint32_t at = 0; at < s.text.len;) {
			struct qmt_str piece = script_piece(&s, at);

			assert_true(utf8_check(piece) && piece.p == text + at);
			snprintf(got + strlen(got), sizeof got - strlen(got), "%u ", piece.len);
			at += piece.len;
		}
		assert_string_equal(got, rows[i].want);
	}
}

static void load_bad(const char *path, const char *want)
{
	struct qmt_buf said = {0};
	struct script *script = NULL;

	assert_int_equal(script_load(path, &limits, complain, &said, &script), SCRIPT_E_BAD);
	assert_string_equal(said.data, want);
	qmt_buf_free(&said);
}

/* What is no readable file is one complaint; a pipe is not waited for. */
static void files(void **state)
{
	char folder[] = "/tmp/qmt-script-XXXXXX", path[100];
	static const char text[] = "turn\ncut\n";
	struct qmt_buf big = {0};
	struct script *script = NULL;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/s", folder);
	load_bad(path, "0: cannot be read: No such file or directory\n");
	load_bad(folder, "0: no regular file\n");
	assert_int_equal(mkfifo(path, 0600), 0);
	load_bad(path, "0: no regular file\n");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(qmt_os_file_write(path, text, sizeof text - 1, 0600, NULL), 0);
	assert_int_equal(script_load(path, &limits, complain, NULL, &script), 0);
	script_free(script);
	assert_non_null(qmt_buf_reserve(&big, limits.file_bytes + 1));
	memset(big.data, '\n', limits.file_bytes + 1);
	assert_int_equal(qmt_os_file_write(path, big.data, limits.file_bytes + 1, 0600, NULL), 0);
	load_bad(path, "0: longer than 100000 bytes (script_limit_bytes is its limit)\n");
	qmt_buf_free(&big);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
}

/* docs/guide/script.md explains every line that there is, and its example is a script. */
static void guide(void **state)
{
#define FORM(word, form, doc) form,
	static const char *const forms[] = {SCRIPT_HEADS(FORM) SCRIPT_STEPS(FORM)};
	static const struct script_limits large = {100000, 100, 100000};
	struct qmt_buf page = {0}, said = {0};
	struct script *script = NULL;

	(void)state;
	assert_int_equal(qmt_os_file_read("docs/guide/script.md", 100000, &page, NULL), 0);
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		char row[200];

		snprintf(row, sizeof row, "- `%s`: ", forms[i]);
		if (!strstr(page.data, row))
			fail_msg("docs/guide/script.md has no line %s", row);
	}

	char *from = strstr(page.data, "```\n# "), *to = from ? strstr(from + 4, "```") : NULL;

	assert_non_null(to);
	if (script_parse(qmt_strn(from + 4, (size_t)(to - from - 4)), &large, complain, &said, &script) != 0)
		fail_msg("the example: %s", said.data);
	script_free(script);
	qmt_buf_free(&page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_every_line),
		cmocka_unit_test(complaints),
		cmocka_unit_test(bounds),
		cmocka_unit_test(choice),
		cmocka_unit_test(ends),
		cmocka_unit_test(pieces),
		cmocka_unit_test(files),
		cmocka_unit_test(guide),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
