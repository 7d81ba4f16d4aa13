/* edit changes what is found once, or everywhere when asked; its errors name the way out, and then nothing changes. */
#include "tool_fixture.h"

static void test_edit(void **state)
{
	struct fixture *f = *state;
	fixture_put(f->root, "a.c", "int a;\nint b;\n");
	assert_text(call(f, "edit", "{\"filePath\":\"a.c\",\"oldString\":\"int b;\",\"newString\":\"int c;\"}"), false,
		"{\"path\":\"a.c\",\"replacements\":1,\"match\":\"exact\"}");
	assert_string_equal(fixture_get(f->root, "a.c"), "int a;\nint c;\n");
	assert_text(call(f, "edit", "{\"filePath\":\"a.c\",\"oldString\":\"int\",\"newString\":\"long\"}"), true,
		"error: oldString found 2 times in a.c: add lines around it until it is unique, or set replaceAll");
	assert_text(call(f, "edit", "{\"filePath\":\"a.c\",\"oldString\":\"float\",\"newString\":\"long\"}"), true,
		"error: oldString not found in a.c: read the file again and copy the text exactly, with its indentation");
	assert_string_equal(fixture_get(f->root, "a.c"), "int a;\nint c;\n");
	assert_has(
		call(f, "edit", "{\"filePath\":\"a.c\",\"oldString\":\"int\",\"newString\":\"long\",\"replaceAll\":true}"),
		false, "\"replacements\":2");
	assert_string_equal(fixture_get(f->root, "a.c"), "long a;\nlong c;\n");
	assert_has(
		call(f, "edit", "{\"filePath\":\"a.c\",\"oldString\":\"\",\"newString\":\"x\"}"), true, "oldString is empty");
	assert_has(call(f, "edit", "{\"filePath\":\"a.c\",\"oldString\":\"a\",\"newString\":\"a\"}"), true, "are equal");
	assert_has(
		call(f, "edit", "{\"filePath\":\"none\",\"oldString\":\"a\",\"newString\":\"b\"}"), true, "none: no such file");
	assert_has(call(f, "edit", "{\"filePath\":\"../outside/x\",\"oldString\":\"a\",\"newString\":\"b\"}"), true,
		"leads outside");
	assert_has(call(f, "edit", "{\"filePath\":\".\",\"oldString\":\"a\",\"newString\":\"b\"}"), true, "is a folder");
	struct session_limits limits = tool_limits();
	limits.max_file_bytes = 20;
	assert_has(
		call_limited(f, "edit", "{\"filePath\":\"a.c\",\"oldString\":\"a;\",\"newString\":\"abcdefghijkl;\"}", &limits),
		true, "max_file_bytes");
	assert_string_equal(fixture_get(f->root, "a.c"), "long a;\nlong c;\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_edit)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
