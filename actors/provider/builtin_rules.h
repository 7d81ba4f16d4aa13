/* actors/provider/builtin_rules.h - what the built-in assistant answers. Pure: the same request gives the same answer.
 *
 * It works on the last user message. Commands in it (builtin_commands.h) become tool calls, step by step; when the last
 * results are there it reports them in plain words. Without commands it talks a little: hello, help, count to N, say
 * TEXT, think TEXT, what did I say first, how many messages.
 * Tokens:  a token is a word: bytes between white space. Input: words of all messages, calls and tools of the request.
 *          Output: words of text and calls of the answer; reasoning apart.
 * Threads: values.   Blocks: never.
 * Limits:  max_tokens cuts the text (finish reason length, no calls then); report_limit_bytes cuts each result that is
 *          repeated.
 */
#ifndef PROVIDER_BUILTIN_RULES_H
#define PROVIDER_BUILTIN_RULES_H

#include "proto/contract/contract.h"
#include "runtime/base/bytes.h"

struct builtin_request {
	const struct chat_message *messages;
	const struct chat_tool *tools;
	uint32_t message_count, tool_count;
	uint32_t max_tokens; /* 0: no bound */
	uint32_t report_limit_bytes;
};

struct builtin_reply {
	struct qmt_buf text, reasoning;
	struct chat_tool_call *calls; /* texts are owned too */
	uint32_t call_count;
	struct chat_usage usage;
	const char *reason; /* as in provider.finish */
};

/* 0 or -ENOMEM. ret_reply is always to be fini'd. */
QMT_MUST_CHECK int builtin_reply_make(const struct builtin_request *request, struct builtin_reply *ret_reply);
void builtin_reply_fini(struct builtin_reply *reply);

/* Length of the next piece of a text: a word and the white space behind it. */
uint32_t builtin_word(struct qmt_str text);
/* Words in a text: what this provider counts as tokens. */
uint64_t builtin_words(struct qmt_str text);

#endif
