/* ls shows one folder, sorted, with what was asked to be left out left out, and says when there is more. */
#include "tool_fixture.h"

static void test_ls(void **state)
{
	struct fixture *f = *state;
	mkdir(fixture_path(f->root, "src"), 0755);
	fixture_put(f->root, "b.o", "123");
	fixture_put(f->root, "a.c", "1");
	fixture_put(f->root, "src/x", "");
	assert_int_equal(symlink("../outside", fixture_path(f->root, "out")), 0);
	assert_text(call(f, "ls", "{}"), false, "a.c (1 bytes)\nb.o (3 bytes)\nout -> ../outside\nsrc/\n");
	assert_text(call(f, "ls", "{\"path\":\".\",\"ignore\":[\"*.o\",\"o*\"]}"), false, "a.c (1 bytes)\nsrc/\n");
	assert_text(call(f, "ls", "{\"path\":\"src\"}"), false, "x (0 bytes)\n");
	assert_text(call(f, "ls", "{\"limit\":1}"), false, "a.c (1 bytes)\n(3 more; raise limit, or ignore some)\n");
	assert_has(call(f, "ls", "{\"path\":\"out\"}"), true, "leads outside");
	assert_has(call(f, "ls", "{\"path\":\"..\"}"), true, "leads outside");
	assert_has(call(f, "ls", "{\"path\":\"a.c\"}"), true, "Not a directory");
	assert_has(call(f, "ls", "{\"path\":\"none\"}"), true, "no such file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_ls)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
