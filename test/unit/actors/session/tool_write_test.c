/* write_file makes and replaces files of the workspace and answers with JSON. */
#include "tool_fixture.h"

static void test_write(void **state)
{
	struct fixture *f = *state;
	assert_text(call(f, "write_file", "{\"path\":\"a \\\"b\\\".txt\",\"content\":\"h\\u00e4\\n\"}"), false,
		"{\"path\":\"a \\\"b\\\".txt\",\"bytes\":4}");
	assert_string_equal(fixture_get(f->root, "a \"b\".txt"), "h\xc3\xa4\n");
	assert_text(
		call(f, "write_file", "{\"path\":\"x/y/z\",\"content\":\"\"}"), false, "{\"path\":\"x/y/z\",\"bytes\":0}");
	assert_string_equal(fixture_get(f->root, "x/y/z"), "");
	assert_has(call(f, "write_file", "{\"path\":\"n/z\",\"content\":\"\",\"create_dirs\":false}"), true, "create_dirs");
	assert_has(call(f, "write_file", "{\"path\":\"../z\",\"content\":\"\"}"), true, "leads outside");
	assert_null(fixture_get(f->dir, "z"));
	assert_has(call(f, "write_file", "{\"path\":\"x\",\"content\":\"\"}"), true, "is a folder");
	struct session_limits limits = tool_limits();
	limits.max_file_bytes = 3;
	assert_has(
		call_limited(f, "write_file", "{\"path\":\"big\",\"content\":\"1234\"}", &limits), true, "max_file_bytes (3)");
	assert_null(fixture_get(f->root, "big"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_write)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
