/* What a model is shown is well-formed whatever the store holds: each call has one result, nothing is shown that was
 * only thought. */
#include "fixture.h"

#include "actors/session/history.h"

static const struct chat_tool_call calls_ab[] = {{.id = {"a", 1}, .name = {"ls", 2}, .arguments = {"{}", 2}},
	{.id = {"b", 1}, .name = {"ls", 2}, .arguments = {"{}", 2}}};

static void add(struct history *h, const char *role, const char *content, uint32_t calls, const char *call_id)
{
	struct chat_message m = {.role = qmt_str(role),
		.content = qmt_str(content),
		.reasoning = qmt_str("secret thought"),
		.tool_call_id = qmt_str(call_id)};
	m.tool_calls.items = calls ? calls_ab : NULL;
	m.tool_calls.count = calls;
	assert_int_equal(history_add(h, &m), 0);
}

static void shown(struct history *h, const char *system, const char *want)
{
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf text = {0};
	struct chat_message *messages = NULL;
	uint32_t count = 0;
	assert_int_equal(history_request(h, system, &messages, &count), 0);
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(messages[i].reasoning.len, 0);
		qmt_buf_printf(&text, "%.*s:%.*s%.*s", QMT_STR_ARG(messages[i].role), QMT_STR_ARG(messages[i].tool_call_id),
			messages[i].is_error ? 5 : (int)messages[i].content.len,
			messages[i].content.p ? messages[i].content.p : "");
		for (uint32_t c = 0; c < messages[i].tool_calls.count; c++)
			qmt_buf_printf(&text, "+%.*s", QMT_STR_ARG(messages[i].tool_calls.items[c].id));
		qmt_buf_str(&text, " ");
	}
	free(messages);
	assert_string_equal(text.data ? text.data : "", want);
	history_free(h);
}

static void test_request(void **state)
{
	(void)state;
	struct history h = {0};
	shown(&h, NULL, "");
	shown(&h, "", "");
	shown(&h, "be", "system:be ");
	add(&h, "user", "hi", 0, NULL);
	add(&h, "assistant", "ok", 0, NULL);
	shown(&h, "be", "system:be user:hi assistant:ok ");
	/* results in the order of the calls */
	add(&h, "assistant", "", 2, NULL);
	add(&h, "tool", "2", 0, "b");
	add(&h, "tool", "1", 0, "a");
	shown(&h, NULL, "assistant:+a+b tool:a1 tool:b2 ");
	/* missing, double, orphaned ones */
	add(&h, "tool", "0", 0, "z");
	add(&h, "assistant", "x", 2, NULL);
	add(&h, "tool", "2", 0, "b");
	add(&h, "tool", "9", 0, "b");
	add(&h, "tool", "8", 0, "c");
	add(&h, "user", "u", 0, NULL);
	add(&h, "tool", "1", 0, "a");
	shown(&h, NULL, "assistant:x+a+b tool:aerror tool:b2 user:u ");
	/* cut off behind the calls; nothing but a thought */
	add(&h, "assistant", "", 1, NULL);
	add(&h, "assistant", "", 0, NULL);
	shown(&h, NULL, "assistant:+a tool:aerror ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_request)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
