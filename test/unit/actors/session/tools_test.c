/* One declaration makes both the schema that a model sees and the check of what it sends; wrong arguments say what is
 * right. */
#include "tool_fixture.h"

/* Every tool has a name, a text and a schema that is JSON and names each parameter. */
static void test_schema(void **state)
{
	(void)state;
	assert_int_equal(tool_count(), 5);
	for (size_t i = 0; i < tool_count(); i++) {
		const struct tool *tool = tool_at(i);
		QMT_CLEANUP(qmt_buf_free) struct qmt_buf text = {0};
		struct json *schema = NULL;
		struct qmt_err err;
		tool_schema(tool, &text);
		assert_int_equal(json_parse(qmt_buf_view(&text), &schema, &err), 0);
		assert_true(qmt_str_is(json_str(json_get(schema, "type")), "object"));
		size_t required = 0;
		for (const struct tool_param *p = tool->params; p->name; p++) {
			const struct json *member = json_get(json_get(schema, "properties"), p->name);
			assert_true(json_is_object(member));
			assert_true(json_str(json_get(member, "description")).len > 10);
			required += p->required;
		}
		assert_int_equal(json_count(json_get(schema, "required")), required);
		json_free(schema);
		assert_ptr_equal(tool_find(qmt_str(tool->name)), tool);
		assert_true(strlen(tool->description) > 20);
	}
	assert_null(tool_find(qmt_str("rm")));
	assert_null(tool_find(qmt_str("")));
}

static void test_read_schema_text(void **state)
{
	(void)state;
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf text = {0};
	tool_schema(tool_find(qmt_str("write_file")), &text);
	assert_string_equal(text.data,
		"{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\",\"description\":\"File, relative to the "
		"workspace.\"},"
		"\"content\":{\"type\":\"string\",\"description\":\"The whole new content.\"},"
		"\"create_dirs\":{\"type\":\"boolean\",\"default\":true,\"description\":\"Make missing folders on the way.\"}},"
		"\"required\":[\"path\",\"content\"],\"additionalProperties\":false}");
}

/* Wrong arguments are refused in words that name the parameter; nothing runs. */
static void test_arguments(void **state)
{
	struct fixture *f = *state;
	assert_has(call(f, "read_tool", "{"), true, "read_tool: the arguments are not valid JSON");
	assert_has(call(f, "read_tool", "[1]"), true, "must be a JSON object");
	assert_has(call(f, "read_tool", "\"x\""), true, "");
	assert_has(call(f, "read_tool", ""), true, "\"path\" is required");
	assert_has(call(f, "read_tool", "{\"path\":null}"), true, "\"path\" is required");
	assert_has(call(f, "read_tool", "{\"path\":7}"), true, "\"path\" must be a string");
	assert_has(call(f, "read_tool", "{\"path\":\"x\",\"offset\":\"1\"}"), true, "\"offset\" must be an integer");
	assert_has(call(f, "read_tool", "{\"path\":\"x\",\"offset\":1.5}"), true, "\"offset\" must be an integer");
	assert_has(call(f, "read_tool", "{\"path\":\"x\",\"offset\":1e300}"), true, "\"offset\" must be an integer");
	assert_has(call(f, "read_tool", "{\"path\":\"x\",\"offset\":-1}"), true, "must be from 0 to");
	assert_has(call(f, "read_tool", "{\"path\":\"a\\u0000b\"}"), true, "\"path\" must not hold a NUL character");
	assert_has(call(f, "shell", "{\"command\":\"echo a\\u0000b\"}"), true, "\"command\" must not hold a NUL");
	assert_has(call(f, "shell", "{\"command\":\"echo\",\"args\":[\"a\",\"b\\u0000c\"]}"), true,
		"\"args\" must not hold a NUL");
	assert_has(call(f, "ls", "{\"ignore\":[\"\\u0000\"]}"), true, "\"ignore\" must not hold a NUL character");
	assert_has(call(f, "read_tool", "{\"path\":\"x\",\"limit\":0}"), true, "must be from 1 to");
	assert_has(call(f, "read_tool", "{\"path\":\"x\",\"lines\":1}"), true,
		"no parameter \"lines\"; there are: path (required), offset, limit");
	assert_has(call(f, "write_file", "{\"path\":\"x\",\"content\":\"\",\"create_dirs\":1}"), true, "must be a boolean");
	assert_has(call(f, "ls", "{\"ignore\":\"x\"}"), true, "must be an array of strings");
	assert_has(call(f, "ls", "{\"ignore\":[1]}"), true, "must be an array of strings");
	assert_has(call(f, "ls", "{\"ignore\":null,\"limit\":2.0}"), false, "nothing here");
	assert_has(call(f, "ls", ""), false, "nothing here");
	assert_int_equal(fixture_count(f->root, ""), 0);
	assert_has(call(f, "write_file", "{\"path\":\"nul\",\"content\":\"a\\u0000b\"}"), false, "\"bytes\":3");
}

/* Limits have one table: defaults lie in their ranges, and a value outside is named. */
static void test_limits(void **state)
{
	(void)state;
	struct session_limits limits = tool_limits();
	struct qmt_err err;
	assert_int_equal(session_limits_check(&limits, &err), 0);
	assert_int_equal(limits.max_steps, 50);
	assert_int_equal(limits.max_prompt_bytes, 16777216);
	limits.max_steps = 0;
	assert_int_equal(session_limits_check(&limits, &err), -ERANGE);
	assert_string_equal(err.text, "max_steps = 0: must be from 1 to 100000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_schema), TEST(test_read_schema_text), TEST(test_arguments), TEST(test_limits)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
