/* actors/provider/builtin_rules.c - see builtin_rules.h.
 *
 * There is no state between two requests: how far a turn has come is read from the conversation itself (assistant
 * messages with calls after the last user message = steps done), so a restart, a fork or another node goes on at the
 * same place.
 */
#include "builtin_rules.h"

#include <errno.h>

#include "builtin_commands.h"
#include "builtin_report.h"
#include "proto/json.h"
#include "proto/utf8.h"

enum { QUOTE_BYTES = 200, COUNT_MAX = 100000 };

/* ---- words ------------------------------------------------------------------------------------------------------- */

static bool is_space(char c)
{
	return (unsigned char)c <= ' ';
}

uint32_t builtin_word(struct qmt_str text)
{
	uint32_t at = 0;

	while (at < text.len && is_space(text.p[at])) /* only at the start of a text */
		at++;
	while (at < text.len && !is_space(text.p[at]))
		at++;
	while (at < text.len && is_space(text.p[at]))
		at++;
	return at;
}

uint64_t builtin_words(struct qmt_str text)
{
	uint64_t words = 0;

	for (uint32_t i = 0; i < text.len; i++)
		words += !is_space(text.p[i]) && (i == 0 || is_space(text.p[i - 1]));
	return words;
}

static uint64_t call_words(const struct chat_tool_call *call)
{
	return builtin_words(call->name) + builtin_words(call->arguments);
}

static uint64_t input_words(const struct builtin_request *request)
{
	uint64_t words = 0;

	for (uint32_t i = 0; i < request->message_count; i++) {
		words += builtin_words(request->messages[i].content);
		for (uint32_t j = 0; j < request->messages[i].tool_calls.count; j++)
			words += call_words(&request->messages[i].tool_calls.items[j]);
	}
	for (uint32_t i = 0; i < request->tool_count; i++)
		words += builtin_words(request->tools[i].name) + builtin_words(request->tools[i].description) +
			builtin_words(request->tools[i].parameters);
	return words;
}

/* ---- small texts ------------------------------------------------------------------------------------------------- */

static void put(struct qmt_buf *out, struct qmt_str text)
{
	qmt_buf_append(out, text.p, text.len);
}

/* "text", on one line, cut on a character boundary. */
static void put_quoted(struct qmt_buf *out, struct qmt_str text)
{
	bool cut = text.len > QUOTE_BYTES;

	if (cut)
		text.len = utf8_valid_prefix(qmt_strn(text.p, QUOTE_BYTES));
	qmt_buf_str(out, "\"");
	for (uint32_t i = 0; i < text.len; i++)
		qmt_buf_append(out, is_space(text.p[i]) ? " " : text.p + i, 1);
	qmt_buf_str(out, cut ? "...\"" : "\"");
}

static bool contains(struct qmt_str text, const char *part)
{
	size_t len = strlen(part);

	for (uint32_t i = 0; i + len <= text.len; i++)
		if (strncasecmp(text.p + i, part, len) == 0)
			return true;
	return false;
}

/* What follows when `text` begins with the word; false: it does not. */
static bool begins(struct qmt_str text, const char *word, struct qmt_str *ret_rest)
{
	uint32_t len = (uint32_t)strlen(word), at = 0;

	while (at < text.len && is_space(text.p[at]))
		at++;
	if (text.len - at < len || strncasecmp(text.p + at, word, len) != 0)
		return false;
	at += len;
	if (at < text.len && (((text.p[at] | 32) >= 'a' && (text.p[at] | 32) <= 'z') || (unsigned char)text.p[at] >= 0x80))
		return false; /* "hiking" is no "hi" */
	while (at < text.len && is_space(text.p[at]))
		at++;
	*ret_rest = qmt_strn(text.p + at, text.len - at);
	return true;
}

static bool begins_any(struct qmt_str text, const char *const *words, struct qmt_str *ret_rest)
{
	for (; *words; words++)
		if (begins(text, *words, ret_rest))
			return true;
	return false;
}

/* ---- talk -------------------------------------------------------------------------------------------------------- */

static void say_help(struct qmt_buf *out)
{
	qmt_buf_str(out, "I am the built-in assistant and follow rules, not a language model. I understand: ");
	for (int verb = 0; verb < BUILTIN_VERB_COUNT; verb++)
		qmt_buf_printf(out, "%s%s", verb > 0 ? "; " : "", builtin_verb_form((enum builtin_verb)verb));
	qmt_buf_str(out,
		". One command a line, or several with \"then\" between them. I can also count to N, say TEXT, think TEXT, "
		"and tell what "
		"you said first, what you said before, and how many messages there are.");
}

static void say_first(const struct builtin_request *request, uint32_t user, struct qmt_buf *out)
{
	for (uint32_t i = 0; i < user; i++) {
		if (!qmt_str_is(request->messages[i].role, "user"))
			continue;
		qmt_buf_str(out, "You said first: ");
		put_quoted(out, request->messages[i].content);
		return;
	}
	qmt_buf_str(out, "That was the first thing you said.");
}

static void say_before(const struct builtin_request *request, uint32_t user, struct qmt_buf *out)
{
	for (uint32_t i = user; i-- > 0;) {
		if (!qmt_str_is(request->messages[i].role, "user"))
			continue;
		qmt_buf_str(out, "You said before: ");
		put_quoted(out, request->messages[i].content);
		return;
	}
	qmt_buf_str(out, "You said nothing before that.");
}

static void say_counts(const struct builtin_request *request, struct qmt_buf *out)
{
	uint32_t user = 0, assistant = 0, tool = 0;

	for (uint32_t i = 0; i < request->message_count; i++) {
		user += qmt_str_is(request->messages[i].role, "user");
		assistant += qmt_str_is(request->messages[i].role, "assistant");
		tool += qmt_str_is(request->messages[i].role, "tool");
	}
	qmt_buf_printf(out, "So far there are %u messages: %u from you, %u from me, %u tool results.",
		user + assistant + tool, user, assistant, tool);
}

static bool say_numbers(struct qmt_str rest, struct qmt_buf *out)
{
	uint32_t to = 0;

	if (rest.len == 0 || rest.p[0] < '0' || rest.p[0] > '9')
		return false;
	for (uint32_t i = 0; i < rest.len && rest.p[i] >= '0' && rest.p[i] <= '9' && to <= COUNT_MAX; i++)
		to = to * 10 + (uint32_t)(rest.p[i] - '0');
	if (to > COUNT_MAX) {
		qmt_buf_printf(out, "I count to %d at most.", COUNT_MAX);
		return true;
	}
	for (uint32_t i = 1; i <= to; i++)
		qmt_buf_printf(out, "%u%s", i, i < to ? " " : ".");
	if (to == 0)
		qmt_buf_str(out, "There is nothing to count.");
	return true;
}

static void talk(const struct builtin_request *request, uint32_t user, struct builtin_reply *reply)
{
	static const char *const greetings[] = {
		"hello", "hi", "hey", "good morning", "good afternoon", "good evening", NULL};
	static const char *const says[] = {"say", "echo", "repeat", NULL},
							 *const counts[] = {"count to", "count up to", NULL};
	static const char *const thanks[] = {"thanks", "thank you", NULL}, *const thinks[] = {"think about", "think", NULL},
							 *const helps[] = {"help", NULL};
	struct qmt_str text = request->messages[user].content, rest;
	struct qmt_buf *out = &reply->text;

	if (begins_any(text, counts, &rest) && say_numbers(rest, out))
		return;
	if (begins_any(text, says, &rest) && rest.len > 0) {
		put(out, rest);
	} else if (begins_any(text, thinks, &rest) && rest.len > 0) {
		qmt_buf_str(&reply->reasoning, "I am asked to think about ");
		put(&reply->reasoning, rest);
		qmt_buf_str(&reply->reasoning, ". My rules say nothing about that.");
		qmt_buf_str(out, "I have thought about it: ");
		put(out, rest);
	} else if (contains(text, "say first") || contains(text, "said first") || contains(text, "first message") ||
		contains(text, "first thing")) {
		say_first(request, user, out);
	} else if (contains(text, "say before") || contains(text, "said before") || contains(text, "say last") ||
		contains(text, "previous message")) {
		say_before(request, user, out);
	} else if (contains(text, "how many messages") || contains(text, "summar")) {
		say_counts(request, out);
	} else if (begins_any(text, greetings, &rest)) {
		qmt_buf_str(out, "Hello! I am the built-in assistant. Say \"help\" to see what I understand.");
	} else if (begins_any(text, thanks, &rest)) {
		qmt_buf_str(out, "You are welcome.");
	} else if (begins_any(text, helps, &rest) || contains(text, "what can you do") || contains(text, "who are you") ||
		contains(text, "what are you")) {
		say_help(out);
	} else {
		qmt_buf_str(out, "I am the built-in assistant and found no command in ");
		put_quoted(out, text);
		qmt_buf_str(out, ". Say \"help\" to see what I understand.");
	}
}

/* ---- commands ---------------------------------------------------------------------------------------------------- */

static bool is_offered(const struct builtin_request *request, const char *tool)
{
	for (uint32_t i = 0; i < request->tool_count; i++)
		if (qmt_str_is(request->tools[i].name, tool))
			return true;
	return false;
}

static bool can_do(const struct builtin_request *request, const struct builtin_command *command)
{
	return !command->problem && is_offered(request, builtin_verb_tool(command->verb));
}

static void put_command(struct qmt_buf *out, const struct builtin_command *command)
{
	qmt_buf_printf(out, "%s ", builtin_verb_name(command->verb));
	put(out, command->what.len > 0 ? command->what : qmt_str("?"));
}

/* "read a.c and list src, then run make" */
static void put_plan(const struct builtin_commands *commands, struct qmt_buf *out)
{
	for (uint32_t step = 0, done = 0; step < commands->steps; step++) {
		bool first_of_step = true;

		for (uint32_t i = 0; i < commands->count; i++) {
			if (commands->items[i].step != step)
				continue;
			if (done++ > 0)
				qmt_buf_str(out, first_of_step ? ", then " : " and ");
			put_command(out, &commands->items[i]);
			first_of_step = false;
		}
	}
}

/* What of the plan cannot be done, and why. */
static void put_obstacles(
	const struct builtin_request *request, const struct builtin_commands *commands, struct qmt_buf *out)
{
	for (uint32_t i = 0; i < commands->count; i++) {
		const struct builtin_command *command = &commands->items[i];

		if (command->problem) {
			qmt_buf_printf(out, " I cannot %s: %s. The form is: %s.", builtin_verb_name(command->verb),
				command->problem, builtin_verb_form(command->verb));
		} else if (!can_do(request, command)) {
			qmt_buf_str(out, " I cannot ");
			put_command(out, command);
			qmt_buf_printf(out, ": the tool %s is not offered to me.", builtin_verb_tool(command->verb));
		}
	}
	if (commands->beyond > 0)
		qmt_buf_printf(
			out, " I leave out %u more: %d commands are the most at once.", commands->beyond, BUILTIN_COMMANDS_MAX);
}

static void put_member(struct qmt_buf *out, const char *name, struct qmt_str value)
{
	qmt_buf_printf(out, "%s\"%s\":", out->len > 0 ? "," : "{", name);
	json_quote(out, value);
}

static void put_arguments(struct qmt_buf *out, const struct builtin_command *command)
{
	switch (command->verb) {
	case BUILTIN_run:
		put_member(out, "command", command->what);
		break;
	case BUILTIN_edit:
		put_member(out, "filePath", command->what);
		put_member(out, "oldString", command->old);
		put_member(out, "newString", command->text);
		break;
	case BUILTIN_read:
	case BUILTIN_list:
	case BUILTIN_write:
	case BUILTIN_VERB_COUNT:
		put_member(out, "path", command->what);
		if (command->verb == BUILTIN_write)
			put_member(out, "content", command->text);
		break;
	}
	qmt_buf_str(out, "}");
}

/* The number of messages makes the id differ from those of earlier steps. */
static int add_call(
	const struct builtin_request *request, const struct builtin_command *command, struct builtin_reply *reply)
{
	struct chat_tool_call *call = &reply->calls[reply->call_count];
	struct qmt_buf arguments = {0};
	char id[48];

	snprintf(id, sizeof id, "builtin_%u_%u", request->message_count, reply->call_count + 1);
	put_arguments(&arguments, command);
	call->arguments = qmt_buf_view(&arguments);
	call->id = qmt_str(strdup(id));
	call->name = qmt_str(strdup(builtin_verb_tool(command->verb)));
	reply->call_count++;
	return arguments.failed || !call->id.p || !call->name.p ? -ENOMEM : 0;
}

/* Calls of the step after `done` steps that had calls. False: all are done. */
static int add_step(const struct builtin_request *request, const struct builtin_commands *commands, uint32_t done,
	struct builtin_reply *reply)
{
	for (uint32_t step = 0, with_calls = 0; step < commands->steps; step++) {
		uint32_t before = with_calls;

		for (uint32_t i = 0; i < commands->count; i++) {
			const struct builtin_command *command = &commands->items[i];

			if (command->step != step || !can_do(request, command))
				continue;
			if (before == done && add_call(request, command, reply) < 0)
				return -ENOMEM;
			with_calls = before + 1;
		}
		if (reply->call_count > 0)
			break;
	}
	return 0;
}

static int work(const struct builtin_request *request, uint32_t user, const struct builtin_commands *commands,
	struct builtin_reply *reply)
{
	uint32_t done = 0;
	int ret;

	for (uint32_t i = user + 1; i < request->message_count; i++)
		done += request->messages[i].tool_calls.count > 0;
	reply->calls = calloc(commands->count, sizeof *reply->calls);
	if (!reply->calls)
		return -ENOMEM;
	ret = add_step(request, commands, done, reply);
	if (ret < 0)
		return ret;
	if (done == 0) {
		qmt_buf_str(&reply->text, "I understand: ");
		put_plan(commands, &reply->text);
		qmt_buf_str(&reply->text, ".");
		put_obstacles(request, commands, &reply->text);
	} else if (reply->call_count > 0) {
		qmt_buf_str(&reply->text, "Now the next step.");
	} else {
		return builtin_report(
			request->messages + user + 1, request->message_count - user - 1, request->report_limit_bytes, &reply->text);
	}
	return 0;
}

/* ---- the answer -------------------------------------------------------------------------------------------------- */

static void free_calls(struct builtin_reply *reply)
{
	for (uint32_t i = 0; i < reply->call_count; i++) {
		free((char *)(uintptr_t)reply->calls[i].id.p);
		free((char *)(uintptr_t)reply->calls[i].name.p);
		free((char *)(uintptr_t)reply->calls[i].arguments.p);
	}
	reply->call_count = 0;
}

void builtin_reply_fini(struct builtin_reply *reply)
{
	free_calls(reply);
	free(reply->calls);
	qmt_buf_free(&reply->text);
	qmt_buf_free(&reply->reasoning);
	*reply = (struct builtin_reply){0};
}

/* Keeps the first max_tokens words of the text. */
static void cut(struct builtin_reply *reply, uint32_t max_tokens)
{
	uint32_t at = 0;

	if (max_tokens == 0 || builtin_words(qmt_buf_view(&reply->text)) <= max_tokens)
		return;
	for (uint32_t i = 0; i < max_tokens; i++)
		at += builtin_word(qmt_strn(reply->text.data + at, reply->text.len - at));
	reply->text.len = at;
	free_calls(reply);
	reply->reason = "length";
}

int builtin_reply_make(const struct builtin_request *request, struct builtin_reply *ret_reply)
{
	uint32_t user = request->message_count;
	struct builtin_commands commands;
	int ret = 0;

	*ret_reply = (struct builtin_reply){0};
	while (user-- > 0 && !qmt_str_is(request->messages[user].role, "user"))
		;
	if (user == UINT32_MAX) {
		qmt_buf_str(&ret_reply->text, "There is nothing to answer: the conversation has no user message.");
	} else {
		builtin_commands_parse(request->messages[user].content, &commands);
		if (commands.count > 0)
			ret = work(request, user, &commands, ret_reply);
		else
			talk(request, user, ret_reply);
	}
	if (ret < 0)
		return ret;
	ret_reply->reason = ret_reply->call_count > 0 ? "tool_calls" : "stop";
	cut(ret_reply, request->max_tokens);
	if (ret_reply->text.failed || ret_reply->reasoning.failed)
		return -ENOMEM;
	ret_reply->usage.input_tokens = input_words(request);
	ret_reply->usage.output_tokens = builtin_words(qmt_buf_view(&ret_reply->text));
	ret_reply->usage.reasoning_tokens = builtin_words(qmt_buf_view(&ret_reply->reasoning));
	for (uint32_t i = 0; i < ret_reply->call_count; i++)
		ret_reply->usage.output_tokens += call_words(&ret_reply->calls[i]);
	return 0;
}
