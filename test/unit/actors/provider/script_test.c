/* The script provider says what its file says, in pieces and with pauses, streamed and whole; it fails, breaks off and
 * hangs as its file wants, and a cancel ends it at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "actors/provider/provider.h"
#include "runtime/base/os.h"
#include "runtime/system.h"
#include "test/lib/provider_probe.h"

/* Seeded systems: time passes only in run(), so that what was said until when is exact. */
struct fixture {
	char path[40];
	struct qmt_system *system;
	struct qmt_ctx *outside;
	struct provider_config config;
	struct qmt_ref provider;
	struct probe *probe, *other;
};

static void file_make(struct fixture *f, const char *text)
{
	int fd;

	snprintf(f->path, sizeof f->path, "/tmp/qmt-script-XXXXXX");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void open_fixture(struct fixture *f, const char *text)
{
	struct qmt_err err = {0};

	*f = (struct fixture){0};
	file_make(f, text);
	f->system = qmt_system_start(&(struct qmt_system_options){.seeded = true, .seed = 3}, &err);
	assert_non_null(f->system);
	f->outside = qmt_outside_open(f->system);
	provider_config_init(&f->config, "s", "script");
	f->config.script = f->path;
	f->config.max_requests = 3;
	f->config.max_sessions = 2;
	assert_int_equal(qmt_spawn(f->outside, provider_desc("script"),
						 &(struct qmt_spawn){.name = "provider/s", .config = &f->config, .restart = QMT_PERMANENT},
						 &f->provider, &err),
		0);
	f->probe = probe_new(f->outside, f->provider);
	f->other = probe_new(f->outside, f->provider);
}

static void close_fixture(struct fixture *f)
{
	struct qmt_err err = {0};

	qmt_outside_close(f->outside);
	assert_int_equal(qmt_system_stop(f->system, 1000, &err), 0);
	qmt_system_free(f->system);
	probe_free(f->probe);
	probe_free(f->other);
	assert_int_equal(unlink(f->path), 0);
}

static void run(struct fixture *f, uint64_t ms)
{
	qmt_system_run(f->system, ms);
}

/* A prompt of a session, with the id that the answer has. */
static void chat(struct fixture *f, const char *id, const char *session, const char *text)
{
	struct chat_message messages[] = {
		{.role = qmt_str("user"), .content = qmt_str(text)}, {.role = qmt_str("tool"), .content = qmt_str("rain")}};

	probe_send(f->probe, &provider_chat_type,
		&(struct provider_chat){.request = qmt_str(id), .session = qmt_str(session), .messages = {messages, 2}});
}

/* The answer to one prompt at its end. */
static const struct probe_answer *answer(struct fixture *f, const char *id, const char *session, const char *text)
{
	const struct probe_answer *got;

	chat(f, id, session, text);
	run(f, 100000);
	got = probe_ended(f->probe, id, 0);
	assert_non_null(got);
	assert_false(got->out_of_order);
	return got;
}

static void expect(struct fixture *f, const char *id, const char *session, const char *text, const char *want)
{
	assert_string_equal(answer(f, id, session, text)->text.data, want);
}

static uint32_t active(struct fixture *f)
{
	const struct probe_answer *info;

	probe_send(f->probe, &provider_info_type, &(struct provider_info){});
	run(f, 0);
	info = probe_ended(f->probe, "info", 0);
	assert_non_null(info);
	return info->active;
}

/* Texts, reasoning and calls come as numbered pieces, then one finish with all that the turn says. */
static void streams(void **state)
{
	struct fixture f;
	const struct probe_answer *got;

	(void)state;
	open_fixture(&f,
		"turn\nreasoning \"hm\"\ntext \"Hello \"\ntext \"w\\u00f6rld\" split 2\nrepeat 3 text \"!\"\n"
		"tool read {\"path\": \"a\"} split 8\nrepeat 2 tool ls \"x\"\nusage input=10 output=5 cached=1 reasoning=2\n"
		"turn\ntext \"\"\nfinish content_filter\n");
	got = answer(&f, "a", "one", "hello");
	assert_string_equal(got->text.data, "Hello w\xc3\xb6rld!!!");
	assert_string_equal(got->reasoning.data, "hm");
	assert_string_equal(got->deltas.data,
		"0:script_2_1:read:;0:::{\"path\":;0::: \"a\"};1:script_2_2:ls:;1:::x;2:script_2_3:ls:;2:::x;");
	assert_string_equal(got->calls.data, "script_2_1:read:{\"path\": \"a\"};script_2_2:ls:x;script_2_3:ls:x;");
	assert_int_equal(got->chunks, 1 + 1 + 4 + 3 + 3 + 4);
	assert_int_equal(got->finishes, 1);
	assert_string_equal(got->reason, "tool_calls");
	assert_string_equal(got->model, "script");
	assert_int_equal(got->usage.input_tokens, 10);
	assert_int_equal(got->usage.output_tokens, 5);
	assert_int_equal(got->usage.cached_tokens, 1);
	assert_int_equal(got->usage.reasoning_tokens, 2);
	got = answer(&f, "b", "one", "hello");
	assert_int_equal(got->chunks, 1);
	assert_string_equal(got->reason, "content_filter");
	assert_int_equal(got->usage.input_tokens, 0);
	close_fixture(&f);
}

/* The same comes whole, after the same time. */
static void completes(void **state)
{
	struct fixture f;
	const struct probe_answer *got;
	struct chat_message message = {.role = qmt_str("user"), .content = qmt_str("x")};

	(void)state;
	open_fixture(&f,
		"turn\nreasoning \"hm\"\ntext \"abc\" split 1 every 50ms\nwait 1s\ntool ls {}\nusage input=3\n"
		"turn\ntext \"a\"\nerror overloaded \"later\" retry_after=2s\nturn\ntext \"a\"\ncut\nturn\nhang\n");
	for (int i = 0; i < 4; i++) {
		static const char *const ids[] = {"0", "1", "2", "3"};

		probe_send(f.probe, &provider_complete_type,
			&(struct provider_complete){.request = qmt_str(ids[i]), .messages = {&message, 1}});
		if (i == 0)
			run(&f, 1090);
		if (i == 0)
			assert_null(probe_ended(f.probe, "0", 0));
		run(&f, 20);
	}
	got = probe_ended(f.probe, "0", 0);
	assert_non_null(got);
	assert_string_equal(got->text.data, "abc");
	assert_string_equal(got->reasoning.data, "hm");
	assert_string_equal(got->calls.data, "script_1_1:ls:{};");
	assert_string_equal(got->reason, "tool_calls");
	assert_int_equal(got->usage.input_tokens, 3);
	assert_int_equal(got->chunks, 0);
	got = probe_ended(f.probe, "1", 0);
	assert_non_null(got);
	assert_int_equal(got->fail, QMT_FAIL_FAILED);
	assert_string_equal(got->kind, "overloaded");
	assert_int_equal(got->retry_after_ms, 2000);
	got = probe_ended(f.probe, "2", 0);
	assert_non_null(got);
	assert_string_equal(got->kind, "transport");
	assert_null(probe_ended(f.probe, "3", 0));
	probe_cancel(f.probe, "3");
	run(&f, 0);
	assert_string_equal(probe_ended(f.probe, "3", 0)->kind, "cancelled");
	close_fixture(&f);
}

/* Pauses are as long as the script says, between pieces and between steps. */
static void pauses(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, "turn\nwait 2s\ntext \"abc\" split 1 every 100ms\nwait 1s\nrepeat 2 text \"d\" every 1m\n");
	chat(&f, "a", "", "x");
	run(&f, 1999);
	assert_null(probe_accepted(f.probe, "a", 0));
	run(&f, 2);
	assert_non_null(probe_accepted(f.probe, "a", 0));
	assert_true(probe_has_text(f.probe, "a", 1, 0));
	assert_false(probe_has_text(f.probe, "a", 2, 0));
	run(&f, 100);
	assert_true(probe_has_text(f.probe, "a", 2, 0));
	assert_false(probe_has_text(f.probe, "a", 3, 0));
	run(&f, 100);
	assert_true(probe_has_text(f.probe, "a", 3, 0));
	run(&f, 990);
	assert_false(probe_has_text(f.probe, "a", 4, 0));
	run(&f, 20);
	assert_true(probe_has_text(f.probe, "a", 4, 0));
	run(&f, 59900);
	assert_null(probe_ended(f.probe, "a", 0));
	run(&f, 200);
	assert_non_null(probe_ended(f.probe, "a", 0)); /* no pause behind the last piece */
	close_fixture(&f);
}

/* An error before the stream refuses the request, one behind it ends the stream; a break is class transport. */
static void errors(void **state)
{
	struct fixture f;
	const struct probe_answer *got;

	(void)state;
	open_fixture(&f,
		"turn\nwait 1s\nerror rate_limited \"slow down\" retry_after=2s\nturn\ntext \"half\"\n"
		"error context_window_exceeded\n"
		"turn\ncut\nturn\ntext \"half\"\ncut\nturn\naccept\nerror timeout \"t\"\n");
	got = answer(&f, "a", "", "x");
	assert_false(got->accepted);
	assert_int_equal(got->fail, QMT_FAIL_FAILED);
	assert_string_equal(got->kind, "rate_limited");
	assert_string_equal(got->error, "provider s: slow down");
	assert_int_equal(got->retry_after_ms, 2000);
	got = answer(&f, "b", "", "x");
	assert_true(got->accepted);
	assert_string_equal(got->text.data, "half");
	assert_string_equal(got->reason, "error");
	assert_string_equal(got->kind, "context_window_exceeded");
	assert_string_equal(got->error, "provider s: line 6 of the script says so");
	got = answer(&f, "c", "", "x");
	assert_false(got->accepted);
	assert_string_equal(got->kind, "transport");
	got = answer(&f, "d", "", "x");
	assert_string_equal(got->text.data, "half");
	assert_int_equal(got->finishes, 1);
	assert_string_equal(got->kind, "transport");
	assert_string_equal(got->error, "provider s: the stream ended in the middle of the answer");
	got = answer(&f, "e", "", "x");
	assert_true(got->accepted);
	assert_string_equal(got->kind, "timeout");
	assert_int_equal(active(&f), 0);
	close_fixture(&f);
}

/* A cancel ends what hangs, what waits and what speaks, at once; somebody else's does not. */
static void cancel(void **state)
{
	static const char *const ids[] = {"a", "b", "c"};
	struct fixture f;

	(void)state;
	open_fixture(&f, "turn\ntext \"x\"\nhang\nturn\naccept\nwait 10s\nturn\nrepeat 10000000 text \"x\" every 1ms\n");
	for (int i = 0; i < 3; i++)
		chat(&f, ids[i], "", "x");
	run(&f, 100);
	assert_int_equal(active(&f), 3);
	for (int i = 0; i < 3; i++)
		probe_cancel(f.other, ids[i]);
	run(&f, 100);
	assert_int_equal(active(&f), 3);
	assert_true(probe_has_text(f.probe, "c", 150, 0));
	for (int i = 0; i < 3; i++)
		probe_cancel(f.probe, ids[i]);
	run(&f, 0);
	for (int i = 0; i < 3; i++) {
		const struct probe_answer *got = probe_ended(f.probe, ids[i], 0);

		assert_non_null(got);
		assert_string_equal(got->reason, "cancelled");
		assert_int_equal(got->finishes, 1);
		assert_false(got->out_of_order);
	}
	assert_int_equal(active(&f), 0);
	run(&f, 20000); /* no timer is left that would say more */
	assert_int_equal(probe_ended(f.probe, "b", 0)->finishes, 1);
	close_fixture(&f);
}

/* A sink that ends, and a stop of the provider, end what hangs; a request over the limit is refused and takes no turn.
 */
static void sinks_and_limits(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, "turn when \"hang\"\nhang\nturn\ntext \"1\"\nturn\ntext \"2\"\n");
	probe_chat(f.other, "a", "hang");
	probe_chat(f.other, "b", "hang");
	chat(&f, "c", "", "hang");
	run(&f, 10);
	assert_int_equal(active(&f), 3);
	assert_string_equal(answer(&f, "d", "", "x")->kind, "busy");
	assert_int_equal(qmt_stop(f.outside, probe_ref(f.other)), 0);
	run(&f, 10);
	assert_int_equal(active(&f), 1);
	expect(&f, "e", "", "x", "1");
	close_fixture(&f); /* "c" hangs */
}

/* Turns come in order for each session by itself, tool results included; of more sessions than are kept the one that
 * was silent longest begins anew. */
static void sessions(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(
		&f, "turn\ntext \"1\"\nturn when \"rain\"\ntext \"r1\"\nturn when \"rain\"\ntext \"r2\"\nturn\ntext \"2\"\n");
	expect(&f, "a", "one", "hello", "1"); /* the tool's result says rain: that is no prompt */
	expect(&f, "b", "two", "hello", "1");
	expect(&f, "c", "one", "will it rain", "r1");
	expect(&f, "d", "one", "hello", "2");
	expect(&f, "e", "two", "hello", "2");
	expect(&f, "f", "one", "rain", "r2");
	expect(&f, "g", "one", "rain", "r1");
	expect(&f, "h", "three", "hello", "1"); /* "two" goes */
	expect(&f, "i", "one", "rain", "r2");
	expect(&f, "j", "two", "rain", "r1"); /* "three" goes */
	expect(&f, "k", "three", "hello", "1");
	close_fixture(&f);
}

/* Bad requests are refused with the reason; models are those of the file, and the one of the configuration. */
static void refusals(void **state)
{
	struct fixture f;
	const struct probe_answer *got;
	struct chat_message message = {.role = qmt_str("user"), .content = qmt_str("a")};

	(void)state;
	open_fixture(&f, "model one\nmodel two\nturn when \"a\"\ntext \"1\"\nend error\n");
	probe_send(f.probe, &provider_chat_type,
		&(struct provider_chat){.request = qmt_str("m"), .messages = {&message, 1}, .model = qmt_str("gpt")});
	probe_send(f.probe, &provider_chat_type,
		&(struct provider_chat){.request = qmt_str("p"), .messages = {&message, 1}, .parameters = qmt_str("[]")});
	run(&f, 10);
	got = probe_ended(f.probe, "m", 0);
	assert_int_equal(got->fail, QMT_FAIL_NOT_FOUND);
	assert_string_equal(got->kind, "not_found");
	assert_string_equal(got->error, "provider s: model: no \"gpt\" here; the script's first is \"one\"");
	got = probe_ended(f.probe, "p", 0);
	assert_int_equal(got->fail, QMT_FAIL_BAD_REQUEST);
	assert_string_equal(got->kind, "invalid_request");
	got = answer(&f, "n", "", "b");
	assert_string_equal(got->kind, "invalid_request");
	assert_non_null(strstr(got->error, "no turn of the script is for this prompt"));
	probe_send(f.probe, &provider_chat_type,
		&(struct provider_chat){.request = qmt_str("t"), .messages = {&message, 1}, .model = qmt_str("two")});
	run(&f, 10);
	got = probe_ended(f.probe, "t", 0);
	assert_string_equal(got->text.data, "1");
	assert_string_equal(got->model, "two");
	got = answer(&f, "e", "", "a");
	assert_string_equal(got->kind, "invalid_request");
	assert_non_null(strstr(got->error, "end error"));
	probe_send(f.probe, &provider_chat_type, &(struct provider_chat){.request = qmt_str("0")}); /* no message at all */
	run(&f, 10);
	assert_string_equal(probe_ended(f.probe, "0", 0)->kind, "invalid_request");
	assert_int_equal(active(&f), 0);
	got = probe_ended(f.probe, "info", 0);
	assert_string_equal(got->models.data, "one;two;");
	assert_string_equal(got->kind, "script");
	close_fixture(&f);
}

/* A file that is wrong, or gone, when the actor starts is told with its place. */
static void bad_file(void **state)
{
	static const struct {
		const char *text, *want; /* text NULL: no file */
	} rows[] = {
		{"turn\ntext\n", ":2: text: a text is missing (in double quotes"}, {NULL, ": cannot be read: No such file"}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct fixture f = {0};
		struct qmt_err err = {0};
		struct qmt_log *log;
		char said[4000], want[200];
		int ends[2];
		ssize_t got;

		assert_int_equal(pipe(ends), 0);
		log = qmt_log_new(ends[1], "warn", qmt_os_real_wall_ms, NULL, &err);
		assert_non_null(log);
		file_make(&f, rows[i].text ? rows[i].text : "");
		if (!rows[i].text)
			assert_int_equal(unlink(f.path), 0);
		f.system = qmt_system_start(&(struct qmt_system_options){.seeded = true, .log = log}, &err);
		assert_non_null(f.system);
		f.outside = qmt_outside_open(f.system);
		provider_config_init(&f.config, "s", "script");
		f.config.script = f.path;
		assert_int_equal(
			qmt_spawn(f.outside, provider_desc("script"), &(struct qmt_spawn){.config = &f.config}, &f.provider, &err),
			0);
		run(&f, 10);
		qmt_outside_close(f.outside);
		assert_int_equal(qmt_system_stop(f.system, 1000, &err), 0);
		qmt_system_free(f.system);
		qmt_log_free(log);
		close(ends[1]);
		got = read(ends[0], said, sizeof said - 1);
		close(ends[0]);
		assert_true(got > 0);
		said[got] = '\0';
		snprintf(want, sizeof want, "provider s: %s%s", f.path, rows[i].want);
		assert_non_null(strstr(said, want));
		if (rows[i].text)
			assert_int_equal(unlink(f.path), 0);
	}
}

/* The same seed gives the same run. */
static uint64_t seeded_hash(void)
{
	struct fixture f;
	uint64_t hash;

	open_fixture(&f, "turn\ntext \"abcdef\" split 1 every 3ms\nturn\nrepeat 20 text \"x\"\nwait 5ms\ncut\n");
	chat(&f, "a", "", "x");
	chat(&f, "b", "", "x");
	run(&f, 1000);
	assert_non_null(probe_ended(f.probe, "a", 0));
	assert_non_null(probe_ended(f.probe, "b", 0));
	hash = qmt_system_trace_hash(f.system);
	close_fixture(&f);
	return hash;
}

static void seeded(void **state)
{
	(void)state;
	assert_int_equal(seeded_hash(), seeded_hash());
}

/* With real threads and time it is the same. */
static void threads(void **state)
{
	enum { WAIT_MS = 10000 };
	struct fixture f = {0};
	struct qmt_err err = {0};
	const struct probe_answer *got;

	(void)state;
	file_make(&f, "turn\nrepeat 10000 text \"x\"\nwait 1ms\nturn\ntext \"y\"\nhang\n");
	f.system = qmt_system_start(&(struct qmt_system_options){.workers = 2}, &err);
	f.outside = qmt_outside_open(f.system);
	provider_config_init(&f.config, "s", "script");
	f.config.script = f.path;
	assert_int_equal(
		qmt_spawn(f.outside, provider_desc("script"), &(struct qmt_spawn){.config = &f.config}, &f.provider, &err), 0);
	f.probe = probe_new(f.outside, f.provider);
	f.other = probe_new(f.outside, f.provider);
	probe_chat(f.probe, "a", "x");
	got = probe_ended(f.probe, "a", WAIT_MS);
	assert_non_null(got);
	assert_int_equal(got->chunks, 10000);
	assert_false(got->out_of_order);
	probe_chat(f.probe, "b", "x");
	assert_true(probe_has_text(f.probe, "b", 1, WAIT_MS));
	probe_cancel(f.probe, "b");
	assert_non_null(probe_ended(f.probe, "b", WAIT_MS));
	close_fixture(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams),
		cmocka_unit_test(completes),
		cmocka_unit_test(pauses),
		cmocka_unit_test(errors),
		cmocka_unit_test(cancel),
		cmocka_unit_test(sinks_and_limits),
		cmocka_unit_test(sessions),
		cmocka_unit_test(refusals),
		cmocka_unit_test(bad_file),
		cmocka_unit_test(seeded),
		cmocka_unit_test(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
