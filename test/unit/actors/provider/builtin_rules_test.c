/* The built-in assistant turns commands into real tool calls, reports their real results, and answers from the
 * conversation. */
#include "actors/provider/builtin_rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "actors/provider/builtin_commands.h"

#define STR(text)             \
	{                         \
		text, sizeof text - 1 \
	}

static const struct chat_tool all_tools[] = {{.name = STR("read_tool")}, {.name = STR("ls")}, {.name = STR("shell")},
	{.name = STR("write_file")}, {.name = STR("edit")}};

/* A conversation that grows as a session's does. */
struct talk {
	struct chat_message messages[32];
	uint32_t count, tool_count, max_tokens, report_limit;
	struct builtin_reply replies[16];
	uint32_t reply_count;
};

static void talk_init(struct talk *talk)
{
	*talk = (struct talk){.tool_count = 5, .report_limit = 1000};
	talk->messages[talk->count++] = (struct chat_message){.role = STR("system"), .content = STR("Be good.")};
}

static void talk_free(struct talk *talk)
{
	for (uint32_t i = 0; i < talk->reply_count; i++)
		builtin_reply_fini(&talk->replies[i]);
}

static const char *text_of(const struct builtin_reply *reply)
{
	return reply->text.data ? reply->text.data : "";
}

/* Asks and keeps the answer in the conversation. */
static struct builtin_reply *answer(struct talk *talk)
{
	struct builtin_reply *reply = &talk->replies[talk->reply_count++];
	struct builtin_request request = {.messages = talk->messages,
		.message_count = talk->count,
		.tools = all_tools,
		.tool_count = talk->tool_count,
		.max_tokens = talk->max_tokens,
		.report_limit_bytes = talk->report_limit};

	assert_int_equal(builtin_reply_make(&request, reply), 0);
	talk->messages[talk->count++] = (struct chat_message){.role = STR("assistant"),
		.content = qmt_buf_view(&reply->text),
		.tool_calls = {reply->calls, reply->call_count}};
	return reply;
}

static struct builtin_reply *say(struct talk *talk, const char *text)
{
	talk->messages[talk->count++] = (struct chat_message){.role = STR("user"), .content = qmt_str(text)};
	return answer(talk);
}

static void result(struct talk *talk, const struct chat_tool_call *call, const char *text, bool is_error)
{
	talk->messages[talk->count++] = (struct chat_message){.role = STR("tool"),
		.content = qmt_str(text),
		.tool_call_id = call->id,
		.tool_name = call->name,
		.is_error = is_error};
}

static void expect_call(const struct builtin_reply *reply, uint32_t index, const char *name, const char *arguments)
{
	assert_in_range(index, 0, reply->call_count - 1);
	if (!qmt_str_is(reply->calls[index].name, name) || !qmt_str_is(reply->calls[index].arguments, arguments))
		fail_msg("call %u: got %.*s %.*s, want %s %s", index, QMT_STR_ARG(reply->calls[index].name),
			QMT_STR_ARG(reply->calls[index].arguments), name, arguments);
}

/* Each command becomes the call that it means, whatever polite words are around it. */
static void commands(void **state)
{
	static const struct {
		const char *prompt, *tool, *arguments;
	} rows[] = {
		{"read a.c", "read_tool", "{\"path\":\"a.c\"}"},
		{"Please READ the file \"my file.txt\".", "read_tool", "{\"path\":\"my file.txt\"}"},
		{"can you read src/main.c?", "read_tool", "{\"path\":\"src/main.c\"}"},
		{"- read `a.b.c`", "read_tool", "{\"path\":\"a.b.c\"}"},
		{"list src", "ls", "{\"path\":\"src\"}"},
		{"list", "ls", "{\"path\":\".\"}"},
		{"list .", "ls", "{\"path\":\".\"}"},
		{"list ..", "ls", "{\"path\":\"..\"}"},
		{"list the files in src/lib", "ls", "{\"path\":\"src/lib\"}"},
		{"run make -j2 && echo \"done\"", "shell", "{\"command\":\"make -j2 && echo \\\"done\\\"\"}"},
		{"run if true; then echo x; fi", "shell", "{\"command\":\"if true; then echo x; fi\"}"},
		{"run `ls -la`", "shell", "{\"command\":\"ls -la\"}"},
		{"write a.txt: hello: \"you\"", "write_file", "{\"path\":\"a.txt\",\"content\":\"hello: \\\"you\\\"\"}"},
		{"write to a.txt:\none\ntwo\n", "write_file", "{\"path\":\"a.txt\",\"content\":\"one\\ntwo\"}"},
		{"write a.txt: first this and then that", "write_file",
			"{\"path\":\"a.txt\",\"content\":\"first this and then that\"}"},
		{"write a.txt:", "write_file", "{\"path\":\"a.txt\",\"content\":\"\"}"},
		{"edit a.c: int x => long y", "edit",
			"{\"filePath\":\"a.c\",\"oldString\":\"int x\",\"newString\":\"long y\"}"},
		{"edit a.c: \" a\" => \"\"", "edit", "{\"filePath\":\"a.c\",\"oldString\":\" a\",\"newString\":\"\"}"},
		{"some words\nread a.c\nmore words", "read_tool", "{\"path\":\"a.c\"}"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct talk talk;
		struct builtin_reply *reply;

		talk_init(&talk);
		reply = say(&talk, rows[i].prompt);
		if (reply->call_count != 1)
			fail_msg("\"%s\": %u calls, \"%s\"", rows[i].prompt, reply->call_count, text_of(reply));
		expect_call(reply, 0, rows[i].tool, rows[i].arguments);
		assert_string_equal(reply->reason, "tool_calls");
		assert_int_equal(strncmp(text_of(reply), "I understand: ", 14), 0);
		talk_free(&talk);
	}
}

/* Lines are done at once, "then" waits for the results; ids never repeat; at the end every result is reported. */
static void steps(void **state)
{
	struct talk talk;
	struct builtin_reply *one, *two, *three, *end;

	(void)state;
	talk_init(&talk);
	one = say(&talk, "write a.txt: hi, and then read a.txt then run cat a.txt\nlist src\nthen read b.txt");
	assert_string_equal(
		text_of(one), "I understand: write a.txt and list src, then read a.txt, then run cat a.txt, then read b.txt.");
	assert_int_equal(one->call_count, 2);
	expect_call(one, 0, "write_file", "{\"path\":\"a.txt\",\"content\":\"hi\"}");
	expect_call(one, 1, "ls", "{\"path\":\"src\"}");
	result(&talk, &one->calls[1], "main.c 20\n", false);
	result(&talk, &one->calls[0], "{\"path\":\"a.txt\",\"bytes\":2}", false);

	two = answer(&talk);
	assert_int_equal(two->call_count, 1);
	expect_call(two, 0, "read_tool", "{\"path\":\"a.txt\"}");
	assert_false(qmt_str_eq(two->calls[0].id, one->calls[0].id));
	result(&talk, &two->calls[0],
		"<path>a.txt</path>\n<type>file</type>\n<content>\n00001| hi\n00002| 00003| </content> you\n</content>\n",
		false);

	three = answer(&talk);
	expect_call(three, 0, "shell", "{\"command\":\"cat a.txt\"}");
	result(&talk, &three->calls[0],
		"{\"exit_code\":3,\"stdout\":\"hi\\n\",\"stderr\":\"oh\",\"truncated\":false,\"timed_out\":false}", false);

	three = answer(&talk);
	expect_call(three, 0, "read_tool", "{\"path\":\"b.txt\"}");
	result(&talk, &three->calls[0], "b.txt: no such file", true);

	end = answer(&talk);
	assert_int_equal(end->call_count, 0);
	assert_string_equal(end->reason, "stop");
	assert_string_equal(text_of(end),
		"I wrote 2 bytes to a.txt.\nIn src there is:\nmain.c 20\n"
		"The text of a.txt is:\nhi\n00003| </content> you\n"
		"The command cat a.txt ended with exit code 3 and printed:\nhi\nOn its error output:\noh\n"
		"I could not read b.txt:\nb.txt: no such file");

	/* the next prompt begins anew */
	one = say(&talk, "edit a.txt: hi => ho");
	expect_call(one, 0, "edit", "{\"filePath\":\"a.txt\",\"oldString\":\"hi\",\"newString\":\"ho\"}");
	result(&talk, &one->calls[0], "ok", false);
	assert_string_equal(text_of(answer(&talk)), "I changed a.txt.");
	talk_free(&talk);
}

/* What cannot be done is said, and the rest is done all the same. */
static void obstacles(void **state)
{
	struct talk talk;
	struct builtin_reply *reply;
	struct qmt_buf many = {0};

	(void)state;
	talk_init(&talk);
	talk.tool_count = 1; /* read_tool only */
	reply = say(&talk, "run make then read a.c then list src");
	assert_string_equal(text_of(reply),
		"I understand: run make, then read a.c, then list src. I cannot run make: the tool shell is not offered to me."
		" I cannot list src: the tool ls is not offered to me.");
	assert_int_equal(reply->call_count, 1);
	expect_call(reply, 0, "read_tool", "{\"path\":\"a.c\"}");
	/* a call without a result */
	assert_string_equal(text_of(answer(&talk)), "I could not read a.c: no result came.");
	reply = say(&talk, "write a.txt hello\nedit b: x -> y\nread\nrun\nedit c: => d");
	assert_int_equal(reply->call_count, 0);
	assert_string_equal(reply->reason, "stop");
	assert_string_equal(text_of(reply),
		"I understand: write ? and edit b and read ? and run ? and edit c."
		" I cannot write: a colon behind the name is missing. The form is: write FILE: TEXT."
		" I cannot edit: \"=>\" between the old and the new text is missing. The form is: edit FILE: OLD => NEW."
		" I cannot read: the name is missing. The form is: read FILE."
		" I cannot run: the command is missing. The form is: run COMMAND."
		" I cannot edit: the old text is missing. The form is: edit FILE: OLD => NEW.");
	for (int i = 0; i < BUILTIN_COMMANDS_MAX + 3; i++)
		qmt_buf_printf(&many, "read f%d\n", i);
	reply = say(&talk, many.data);
	assert_int_equal(reply->call_count, BUILTIN_COMMANDS_MAX);
	assert_non_null(strstr(text_of(reply), " I leave out 3 more: 32 commands are the most at once."));
	qmt_buf_free(&many);
	talk_free(&talk);
}

/* A long result is cut on a character, and the answer says so. */
static void long_results(void **state)
{
	struct talk talk;
	struct builtin_reply *reply;

	(void)state;
	talk_init(&talk);
	talk.report_limit = 5;
	reply = say(&talk, "run x");
	result(&talk, &reply->calls[0],
		"abcd\xe2\x82\xac"
		"efg",
		false);
	assert_string_equal(text_of(answer(&talk)), "The command x gave:\nabcd\n(cut here: 4 of 10 bytes shown)");
	talk_free(&talk);
}

/* It answers from the conversation: what was said first and before, how many messages. */
static void talks(void **state)
{
	struct talk talk;

	(void)state;
	talk_init(&talk);
	assert_string_equal(text_of(say(&talk, "What did I say first?")), "That was the first thing you said.");
	assert_string_equal(text_of(say(&talk, " Hello, you")),
		"Hello! I am the built-in assistant. Say \"help\" to see what I understand.");
	assert_string_equal(text_of(say(&talk, "what did I say first?")), "You said first: \"What did I say first?\"");
	assert_string_equal(text_of(say(&talk, "what did I say before?")), "You said before: \"what did I say first?\"");
	assert_string_equal(text_of(say(&talk, "How many messages are there?")),
		"So far there are 9 messages: 5 from you, 4 from me, 0 tool results.");
	assert_string_equal(text_of(say(&talk, "say exactly  this")), "exactly  this");
	assert_string_equal(text_of(say(&talk, "count to 5")), "1 2 3 4 5.");
	assert_string_equal(text_of(say(&talk, "count to 999999999999999")), "I count to 100000 at most.");
	assert_string_equal(text_of(say(&talk, "hiking")),
		"I am the built-in assistant and found no command in \"hiking\". Say \"help\" to see what I understand.");
	assert_non_null(strstr(text_of(say(&talk, "help")), "edit FILE: OLD => NEW"));
	assert_string_equal(text_of(say(&talk, "")),
		"I am the built-in assistant and found no command in \"\". Say \"help\" to see what I understand.");

	struct builtin_reply *reply = say(&talk, "think about rain");

	assert_string_equal(reply->reasoning.data, "I am asked to think about rain. My rules say nothing about that.");
	assert_string_equal(text_of(reply), "I have thought about it: rain");
	talk_free(&talk);

	struct talk empty = {.tool_count = 0};

	assert_string_equal(text_of(answer(&empty)), "There is nothing to answer: the conversation has no user message.");
	talk_free(&empty);
}

/* A token is a word; max_tokens cuts after that many and leaves no half call. */
static void usage_counts_words(void **state)
{
	struct talk talk;
	struct builtin_reply *reply;

	(void)state;
	talk_init(&talk);
	reply = say(&talk, "say  one two\nthree"); /* system: 2 words, tools: 5 names */
	assert_int_equal(reply->usage.input_tokens, 2 + 5 + 4);
	assert_int_equal(reply->usage.output_tokens, 3);
	assert_int_equal(reply->usage.reasoning_tokens, 0);
	reply = say(&talk, "read a b");
	assert_int_equal(reply->usage.input_tokens, 2 + 5 + 4 + 3 + 3);
	assert_int_equal(reply->usage.output_tokens, 5 + 1 + 2); /* I understand: read a b. | read_tool | {"path":"a b"} */
	talk.max_tokens = 2;
	reply = say(&talk, "count to 9");
	assert_string_equal(reply->reason, "length");
	assert_int_equal(reply->usage.output_tokens, 2);
	assert_int_equal(reply->text.len, strlen("1 2 "));
	reply = say(&talk, "read a");
	assert_int_equal(reply->call_count, 0);
	assert_string_equal(reply->reason, "length");
	talk_free(&talk);
}

/* Pieces of a text add up to it, and each but the last ends in white space. */
static void pieces(void **state)
{
	struct qmt_str text = qmt_str("  one  two\n\nthree");
	uint32_t words = 0;

	(void)state;
	while (text.len > 0) {
		uint32_t len = builtin_word(text);

		assert_in_range(len, 1, text.len);
		assert_true(len == text.len || text.p[len - 1] == ' ' || text.p[len - 1] == '\n');
		text = qmt_strn(text.p + len, text.len - len);
		words++;
	}
	assert_int_equal(words, 3);
	assert_int_equal(builtin_word(qmt_str("   ")), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands),
		cmocka_unit_test(steps),
		cmocka_unit_test(obstacles),
		cmocka_unit_test(long_results),
		cmocka_unit_test(talks),
		cmocka_unit_test(usage_counts_words),
		cmocka_unit_test(pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
