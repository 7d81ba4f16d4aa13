/* read_tool shows text with its line numbers, in parts that say how to go on, and never garbage. */
#include "tool_fixture.h"

static void put_lines(const struct fixture *f, const char *name, int from, int to)
{
	FILE *file = fopen(fixture_path(f->root, name), "w");
	for (int i = from; i <= to; i++)
		fprintf(file, "line %d\n", i);
	fclose(file);
}

static void test_whole(void **state)
{
	struct fixture *f = *state;
	fixture_put(f->root, "a.txt", "one\ntwo\r\nthree");
	assert_text(call(f, "read_tool", "{\"path\":\"a.txt\"}"), false,
		"<path>a.txt</path>\n<type>file</type>\n<content>\n00001| one\n00002| two\n00003| three\n</content>\n");
	fixture_put(f->root, "empty", "");
	assert_text(call(f, "read_tool", "{\"path\":\"empty\"}"), false,
		"<path>empty</path>\n<type>file</type>\n<content>\n</content>\n(the file is empty)\n");
}

static void test_parts(void **state)
{
	struct fixture *f = *state;
	put_lines(f, "many", 1, 3000);
	assert_text(call(f, "read_tool", "{\"path\":\"many\",\"offset\":10,\"limit\":2}"), false,
		"<path>many</path>\n<type>file</type>\n<content>\n00011| line 11\n00012| line 12\n</content>\n"
		"(lines 11 to 12 of 3000; go on with offset=12)\n");
	assert_has(
		call(f, "read_tool", "{\"path\":\"many\"}"), false, "(lines 1 to 2000 of 3000; go on with offset=2000)\n");
	assert_has(call(f, "read_tool", "{\"path\":\"many\",\"limit\":3000}"), false,
		"(lines 1 to 2000 of 3000;"); /* max_tool_output_lines */
	assert_has(call(f, "read_tool", "{\"path\":\"many\",\"offset\":2999}"), false, "03000| line 3000\n</content>\n");
	assert_has(call(f, "read_tool", "{\"path\":\"many\",\"offset\":3000}"), true,
		"offset 3000 is beyond the end: it has 3000 lines");
	struct session_limits limits = tool_limits();
	limits.max_tool_output_bytes = 400;
	const struct called *c = call_limited(f, "read_tool", "{\"path\":\"many\"}", &limits);
	assert_has(c, false, "go on with offset=");
	assert_true(strlen(c->text) < 520);
	limits.max_file_bytes = 65536; /* one piece */
	FILE *file = fopen(fixture_path(f->root, "huge"), "w");
	for (int i = 0; i < 20000; i++)
		fprintf(file, "line %d\n", i);
	fclose(file);
	assert_has(call_limited(f, "read_tool", "{\"path\":\"huge\",\"limit\":1}", &limits), false, "of more than ");
	assert_has(
		call_limited(f, "read_tool", "{\"path\":\"huge\",\"offset\":19000}", &limits), true, "max_file_bytes allows");
}

/* Long lines are cut between characters, broken bytes become U+FFFD, binaries and pipes are refused. */
static void test_odd(void **state)
{
	struct fixture *f = *state;
	FILE *file = fopen(fixture_path(f->root, "long"), "w");
	fputs("x", file);
	for (int i = 0; i < 3000; i++)
		fputs("\xc3\xa4", file);
	fclose(file);
	const struct called *c = call(f, "read_tool", "{\"path\":\"long\"}");
	assert_has(c, false, "\xc3\xa4 [... line of 6001 bytes cut here]\n");
	assert_null(strstr(c->text, "\xef\xbf\xbd"));
	fixture_put(f->root, "latin1", "caf\xe9 au lait\n");
	assert_has(call(f, "read_tool", "{\"path\":\"latin1\"}"), false, "00001| caf\xef\xbf\xbd au lait\n");
	file = fopen(fixture_path(f->root, "binary"), "w");
	fwrite("\x7f"
		   "ELF\0\1",
		1, 6, file);
	fclose(file);
	assert_text(call(f, "read_tool", "{\"path\":\"binary\"}"), true,
		"error: binary: a binary file (NUL at byte 4); only text can be read");
	assert_int_equal(mkfifo(fixture_path(f->root, "pipe"), 0600), 0);
	assert_has(call(f, "read_tool", "{\"path\":\"pipe\"}"), true, "neither a regular file nor a folder");
	assert_has(call(f, "read_tool", "{\"path\":\"nothing\"}"), true, "error: nothing: no such file");
	assert_has(call(f, "read_tool", "{\"path\":\"../outside\"}"), true, "leads outside the workspace");
}

static void test_folder(void **state)
{
	struct fixture *f = *state;
	mkdir(fixture_path(f->root, "d"), 0755);
	assert_text(call(f, "read_tool", "{\"path\":\"d\"}"), false,
		"<path>d</path>\n<type>folder</type>\n<content>\n</content>\n(the folder is empty)\n");
	mkdir(fixture_path(f->root, "d/sub"), 0755);
	fixture_put(f->root, "d/b", "12");
	fixture_put(f->root, "d/.hidden", "");
	assert_int_equal(symlink("b", fixture_path(f->root, "d/a")), 0);
	assert_text(call(f, "read_tool", "{\"path\":\"d\"}"), false,
		"<path>d</path>\n<type>folder</type>\n<content>\n.hidden (0 bytes)\na -> b\nb (2 bytes)\nsub/\n</content>\n");
	assert_text(call(f, "read_tool", "{\"path\":\"d\",\"offset\":1,\"limit\":2}"), false,
		"<path>d</path>\n<type>folder</type>\n<content>\na -> b\nb (2 bytes)\n</content>\n(entries 2 to 3 of 4)\n");
	assert_has(call(f, "read_tool", "{\"path\":\"d\",\"offset\":4}"), true, "it has 4 entries");
}

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_whole), TEST(test_parts), TEST(test_odd), TEST(test_folder)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
