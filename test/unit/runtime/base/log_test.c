/* runtime/base/log: one event is one line that nobody can forge, cut or mix, and a bad filter is an error that names
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "runtime/base/log.h"

static uint64_t noon(void *arg)
{
	return arg ? *(uint64_t *)arg : UINT64_C(1795505400123); /* 2026-11-24T07:30:00.123Z */
}

#define STAMP "2026-11-24T07:30:00.123Z "

/* A log into a pipe; line() gives what one call has written. */
struct fixture {
	int ends[2];
	struct qmt_log *log;
	char text[8192];
};

static void fixture_open(struct fixture *f, const char *filter)
{
	struct qmt_err err = {0};

	assert_int_equal(pipe2(f->ends, O_CLOEXEC | O_NONBLOCK), 0);
	f->log = qmt_log_new(f->ends[1], filter, noon, NULL, &err);
	if (!f->log)
		fail_msg("%s", err.text);
}

static void fixture_close(struct fixture *f)
{
	f->log = qmt_log_free(f->log);
	close(f->ends[0]);
	close(f->ends[1]);
}

static const char *line(struct fixture *f)
{
	ssize_t got = read(f->ends[0], f->text, sizeof f->text - 1);

	f->text[got > 0 ? got : 0] = '\0';
	return f->text;
}

static const char *shown(struct fixture *f, const char *value)
{
	static const char front[] = STAMP "info a.b k=";
	const char *text;

	qmt_log(f->log, QMT_INFO, "a.b", "k", value, NULL);
	text = line(f);
	assert_memory_equal(text, front, sizeof front - 1);
	assert_int_equal(text[strlen(text) - 1], '\n');
	f->text[strlen(text) - 1] = '\0';
	return text + sizeof front - 1;
}

/* The documented form of a line. */
static void line_has_the_documented_form(void **unused)
{
	(void)unused;
	struct fixture f;

	fixture_open(&f, NULL);
	qmt_log(f.log, QMT_INFO, "link.up", "key", "value", "key2", "with space", NULL);
	assert_string_equal(line(&f), STAMP "info link.up key=value key2=\"with space\"\n");
	qmt_log(f.log, QMT_ERROR, "store.broken", NULL);
	assert_string_equal(line(&f), STAMP "error store.broken\n");
	qmt_log(f.log, QMT_WARN, "a.b", "n", QMT_LOG_U64(UINT64_MAX), "zero", QMT_LOG_U64(0), NULL);
	assert_string_equal(line(&f), STAMP "warn a.b n=18446744073709551615 zero=0\n");
	fixture_close(&f);
}

/* Time comes from the given clock, to the millisecond; the epoch, a leap day and nonsense too. */
static void time_is_the_given_clock(void **unused)
{
	(void)unused;
	static const struct {
		uint64_t ms;
		const char *text;
	} cases[] = {
		{0, "1970-01-01T00:00:00.000Z "}, {UINT64_C(951782399999), "2000-02-28T23:59:59.999Z "},
		{UINT64_C(951782400000), "2000-02-29T00:00:00.000Z "}, {UINT64_MAX, ""}, /* any text, no crash */
	};
	int ends[2];
	char text[128];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		uint64_t ms = cases[i].ms;
		struct qmt_log *log = qmt_log_new(ends[1], NULL, noon, &ms, NULL);

		qmt_log(log, QMT_INFO, "a.b", NULL);
		text[read(ends[0], text, sizeof text - 1)] = '\0';
		assert_memory_equal(text, cases[i].text, strlen(cases[i].text));
		qmt_log_free(log);
	}
	close(ends[0]);
	close(ends[1]);
}

/* A value can end neither its quotes nor the line, nor steer a terminal: such bytes are shown as escapes. */
static void values_are_escaped(void **unused)
{
	(void)unused;
	static const struct {
		const char *value, *shown;
	} cases[] = {
		/* clang-format off */
		{"plain-1.2/3:4,[x]", "plain-1.2/3:4,[x]"},
		{"", "\"\""},
		{NULL, "-"},
		{"a b", "\"a b\""},
		{"a=b", "\"a=b\""},
		{"say \"hi\"", "\"say \\\"hi\\\"\""},
		{"back\\slash", "\"back\\\\slash\""},
		{"two\nlines\r\t", "\"two\\nlines\\r\\t\""},
		{"\x1b[31mred\x7f", "\"\\x1b[31mred\\x7f\""},
		{"grün€𝄞", "grün€𝄞"},
		{"\xc2\x9b" "31m", "\"\\xc2\\x9b31m\""},                 /* C1: CSI in one character */
		{"\xe2\x80\xae" "txt", "\"\\xe2\\x80\\xaetxt\""},      /* right-to-left override */
		{"\xe2\x80\xa8", "\"\\xe2\\x80\\xa8\""},               /* line separator */
		{"\xff\xfe", "\"\\xff\\xfe\""},                          /* never in UTF-8 */
		{"\xc0\x8a", "\"\\xc0\\x8a\""},                          /* overlong newline */
		{"\xe0\x80\x8a", "\"\\xe0\\x80\\x8a\""},               /* longer still */
		{"\xf0\x80\x80\x8a", "\"\\xf0\\x80\\x80\\x8a\""},
		{"\xed\xa0\x80", "\"\\xed\\xa0\\x80\""},               /* surrogate */
		{"\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\""},    /* beyond Unicode */
		{"\x80" "x", "\"\\x80x\""},                                /* continuation without a start */
		{"cut\xe2\x82", "\"cut\\xe2\\x82\""},                    /* ends inside a character */
		{"\xf0\x9d\x84", "\"\\xf0\\x9d\\x84\""},
		/* clang-format on */
	};
	struct fixture f;

	fixture_open(&f, NULL);
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_string_equal(shown(&f, cases[i].value), cases[i].shown);
	fixture_close(&f);
}

/* Event and key are names; what is none becomes '_'. */
static void names_cannot_break_the_line(void **unused)
{
	(void)unused;
	struct fixture f;

	fixture_open(&f, NULL);
	qmt_log(f.log, QMT_INFO, "a.b c\n", "k y=", "v", NULL);
	assert_string_equal(line(&f), STAMP "info a.b_c_ k_y_=v\n");
	fixture_close(&f);
}

/* A line never exceeds 4096 bytes; a longer one is whole up to a value's middle, says so, and closes its quotes. Every
 * length around the limit, of plain and of quoted values. */
static void long_lines_are_cut_visibly(void **unused)
{
	(void)unused;
	static const char mark[] = " truncated=true\n";
	static char value[5000];
	struct fixture f;

	fixture_open(&f, NULL);
	for (unsigned quoted = 0; quoted < 2; quoted++)
		for (size_t len = 3900; len < 4200; len++) {
			memset(value, 'x', len);
			value[len] = '\0';
			if (quoted)
				value[0] = ' ';
			qmt_log(f.log, QMT_INFO, "a.b", "key", value, "another", "1", NULL);

			const char *text = line(&f);
			size_t got = strlen(text);
			bool whole = strstr(text, "another=1\n") != NULL;

			assert_true(got <= 4096);
			assert_int_equal(text[got - 1], '\n');
			assert_null(memchr(text, '\n', got - 1));
			if (!whole) {
				assert_true(got > 4000);
				assert_string_equal(text + got - (sizeof mark - 1), mark);
				assert_null(strstr(text, "another"));
			}
			assert_int_equal(strchr(text, '"') != NULL, strrchr(text, '"') != strchr(text, '"'));
			if (len == 3900)
				assert_true(whole);
			if (len == 4199)
				assert_false(whole);
		}
	for (unsigned i = 0; i < sizeof value - 1; i += 2) /* escapes are not cut in their middle */
		memcpy(value + i, "\x01\x02", 2);
	value[sizeof value - 1] = '\0';
	for (unsigned pad = 0; pad < 8; pad++) {
		char key[16] = {0};

		memset(key, 'k', pad + 1);
		qmt_log(f.log, QMT_INFO, "a.b", key, value, NULL);

		const char *text = line(&f), *quote = strrchr(text, '"');

		assert_non_null(quote);
		assert_true(memcmp(quote - 4, "\\x01", 4) == 0 || memcmp(quote - 4, "\\x02", 4) == 0);
	}
	fixture_close(&f);
}

/* Many values fill a line without running over it. */
static void many_short_values_stay_in_the_line(void **unused)
{
	(void)unused;
	static char event[5000];
	struct fixture f;

	fixture_open(&f, NULL);
	memset(event, 'e', sizeof event - 1);
	for (size_t len = 4000; len < 4100; len++) {
		event[len] = '\0';
		qmt_log(
			f.log, QMT_INFO, event, "a", "1 ", "b", "2 ", "c", "3 ", "d", "4 ", "e", "5 ", "f", "6 ", "g", "7 ", NULL);
		assert_true(strlen(line(&f)) <= 4096);
		event[len] = 'e';
	}
	fixture_close(&f);
}

/* The filter: a level for all, levels for components, nothing below them. */
static void filter_selects_by_component(void **unused)
{
	(void)unused;
	struct fixture f;

	fixture_open(&f, "link=debug,store=off,warn");
	assert_true(qmt_log_on(f.log, QMT_DEBUG, "link.up"));
	assert_true(qmt_log_on(f.log, QMT_DEBUG, "link"));
	assert_false(qmt_log_on(f.log, QMT_DEBUG, "linker.up"));
	assert_false(qmt_log_on(f.log, QMT_ERROR, "store.broken"));
	assert_false(qmt_log_on(f.log, QMT_INFO, "node.up"));
	assert_true(qmt_log_on(f.log, QMT_WARN, "node.up"));
	qmt_log(f.log, QMT_INFO, "node.up", NULL);
	assert_string_equal(line(&f), "");
	qmt_log(f.log, QMT_DEBUG, "link.up", NULL);
	assert_string_equal(line(&f), STAMP "debug link.up\n");
	qmt_log(NULL, QMT_ERROR, "node.up", NULL);
	assert_false(qmt_log_on(NULL, QMT_ERROR, "node.up"));
	assert_false(qmt_log_on(f.log, QMT_OFF, "link.up"));
	fixture_close(&f);
	qmt_log_free(NULL);
}

/* Without a filter, or with an empty one, lines from info on are written. */
static void no_filter_means_info(void **unused)
{
	(void)unused;
	static const char *const filters[] = {NULL, ""};

	for (unsigned i = 0; i < 2; i++) {
		struct qmt_log *log = qmt_log_new(2, filters[i], noon, NULL, NULL);

		assert_true(qmt_log_on(log, QMT_INFO, "a.b"));
		assert_false(qmt_log_on(log, QMT_DEBUG, "a.b"));
		qmt_log_free(log);
	}
}

/* A bad filter names the bad part and what would be right. */
static void bad_filter_names_the_part(void **unused)
{
	(void)unused;
	static const struct {
		const char *filter, *part, *why;
	} cases[] = {
		{"verbose", "\"verbose\"", "debug, info, warn, error, off"},
		{"link=debug,store=loud", "\"store=loud\"", "no such level \"loud\""},
		{"link=", "\"link=\"", "no such level \"\""},
		{"=debug", "\"=debug\"", "bad component name \"\""},
		{"li nk=debug", "\"li nk=debug\"", "bad component name"},
		{"link=debug,,warn", "link=debug,,warn", "empty part"},
		{"debug,", "debug,", "empty part"},
		{"info,warn", "\"warn\"", "second level"},
		{"a=info,a=warn", "\"a=warn\"", "given twice"},
		{"INFO", "\"INFO\"", "no such level"},
		{"link=debug=x", "\"link=debug=x\"", "no such level \"debug=x\""},
	};

	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct qmt_err err = {0};

		assert_null(qmt_log_new(2, cases[i].filter, noon, NULL, &err));
		if (!strstr(err.text, cases[i].part) || !strstr(err.text, cases[i].why))
			fail_msg("\"%s\" gave: %s", cases[i].filter, err.text);
		assert_true(err.code < 0);
	}
	assert_null(qmt_log_new(2, "nonsense", noon, NULL, NULL));
}

/* The number of components has a limit, which is told. */
static void too_many_components_are_an_error(void **unused)
{
	(void)unused;
	struct qmt_buf filter = {0};
	struct qmt_err err = {0};

	for (int i = 0; i < 64; i++)
		qmt_buf_printf(&filter, "%sc%d=warn", i ? "," : "", i);
	qmt_log_free(qmt_log_new(2, filter.data, noon, NULL, &err));
	assert_int_equal(err.code, 0);
	qmt_buf_str(&filter, ",onemore=warn");
	assert_null(qmt_log_new(2, filter.data, noon, NULL, &err));
	assert_non_null(strstr(err.text, "\"onemore=warn\""));
	assert_non_null(strstr(err.text, "more than 64"));
	qmt_buf_free(&filter);
}

/* A full disk, a closed descriptor and a full pipe lose the line, not the program. */
static void unwritable_logs_lose_the_line_only(void **unused)
{
	(void)unused;
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct qmt_log *log = qmt_log_new(full, NULL, noon, NULL, NULL);

	assert_true(full >= 0);
	qmt_log(log, QMT_INFO, "a.b", NULL);
	qmt_log_free(log);
	close(full);
	log = qmt_log_new(-1, NULL, noon, NULL, NULL);
	qmt_log(log, QMT_INFO, "a.b", NULL);
	qmt_log_free(log);

	struct fixture f;

	fixture_open(&f, NULL);
	for (int i = 0; i < 10000; i++)
		qmt_log(f.log, QMT_INFO, "a.b", "text", "something to fill the pipe with", NULL);
	fixture_close(&f);
}

enum { WRITERS = 4, LINES_EACH = 50 };

static void *write_lines(void *log)
{
	for (int i = 0; i < LINES_EACH; i++)
		qmt_log(log, QMT_INFO, "a.b", "text", "the same text in each of them", NULL);
	return NULL;
}

/* Lines of several threads are never mixed. */
static void lines_of_threads_are_not_mixed(void **unused)
{
	(void)unused;
	static const char expected[] = STAMP "info a.b text=\"the same text in each of them\"\n";
	pthread_t threads[WRITERS];
	struct fixture f;
	char text[sizeof expected];

	fixture_open(&f, NULL);
	for (int i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, f.log), 0);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < WRITERS * LINES_EACH; i++) {
		assert_int_equal(read(f.ends[0], text, sizeof expected - 1), sizeof expected - 1);
		assert_memory_equal(text, expected, sizeof expected - 1);
	}
	assert_string_equal(line(&f), "");
	fixture_close(&f);
}

/* Lines of a face end in its trace while there is one, whole however long the line is; those of the log itself do
 * not. */
static void faces_show_a_trace(void **unused)
{
	(void)unused;
	static const char end[] = " trace=00000000000000ff truncated=true\n";
	static char value[5000];
	uint64_t trace = 0;
	struct fixture f;
	struct qmt_log *face;

	fixture_open(&f, "warn");
	face = qmt_log_traced(f.log, &trace);
	assert_non_null(face);
	qmt_log(face, QMT_INFO, "a.b", "k", "v", NULL);
	qmt_log(face, QMT_WARN, "a.b", "k", "v", NULL);
	assert_string_equal(line(&f), STAMP "warn a.b k=v\n");
	trace = 255;
	qmt_log(face, QMT_WARN, "a.b", "k", "v w", NULL);
	assert_string_equal(line(&f), STAMP "warn a.b k=\"v w\" trace=00000000000000ff\n");
	trace = UINT64_MAX;
	qmt_log(face, QMT_WARN, "a.b", NULL);
	assert_string_equal(line(&f), STAMP "warn a.b trace=ffffffffffffffff\n");
	qmt_log(f.log, QMT_WARN, "a.b", NULL);
	assert_string_equal(line(&f), STAMP "warn a.b\n");
	trace = 255;
	for (size_t len = 3900; len < 4200; len++) {
		memset(value, len % 2 ? 'x' : ' ', len);
		value[len] = '\0';
		qmt_log(face, QMT_WARN, "a.b", "k", value, NULL);
		const char *text = line(&f);
		assert_true(strlen(text) <= 4096);
		if (strlen(text) == len + strlen(STAMP "warn a.b k= trace=00000000000000ff\n") + (len % 2 ? 0 : 2))
			continue; /* it fitted */
		assert_string_equal(text + strlen(text) - (sizeof end - 1), end);
	}
	qmt_log_free(face);
	qmt_log(f.log, QMT_WARN, "a.b", NULL);
	assert_string_equal(line(&f), STAMP "warn a.b\n");
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(line_has_the_documented_form),
		cmocka_unit_test(time_is_the_given_clock),
		cmocka_unit_test(values_are_escaped),
		cmocka_unit_test(names_cannot_break_the_line),
		cmocka_unit_test(long_lines_are_cut_visibly),
		cmocka_unit_test(many_short_values_stay_in_the_line),
		cmocka_unit_test(faces_show_a_trace),
		cmocka_unit_test(filter_selects_by_component),
		cmocka_unit_test(no_filter_means_info),
		cmocka_unit_test(bad_filter_names_the_part),
		cmocka_unit_test(too_many_components_are_an_error),
		cmocka_unit_test(unwritable_logs_lose_the_line_only),
		cmocka_unit_test(lines_of_threads_are_not_mixed),
	};

	return cmocka_run_group_tests_name("runtime/base/log", tests, NULL, NULL);
}
