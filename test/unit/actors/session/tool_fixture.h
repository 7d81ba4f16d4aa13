/* Calls a tool as the session's job does, on this thread. */
#ifndef SESSION_TOOL_FIXTURE_H
#define SESSION_TOOL_FIXTURE_H

#include "fixture.h"

#include "actors/session/tools.h"

struct called {
	char text[70000];
	bool is_error;
};

static inline struct session_limits tool_limits(void)
{
	struct session_limits limits;
	session_limits_init(&limits);
	return limits;
}

static inline const struct called *call_limited(
	const struct fixture *f, const char *name, const char *arguments, const struct session_limits *limits)
{
	static struct called result;
	struct tool_call *call = NULL;
	struct qmt_err err = {0};
	const struct tool *tool = tool_find(qmt_str(name));
	assert_non_null(tool);
	if (tool_call_new(tool, qmt_str(arguments), f->root, limits, "tag", &call, &err)) {
		snprintf(result.text, sizeof(result.text), "%s", err.text);
		result.is_error = true;
		return &result;
	}
	tool->run(call);
	snprintf(result.text, sizeof(result.text), "%s", call->out.data ? call->out.data : "");
	result.is_error = call->is_error;
	tool_call_free(call);
	return &result;
}

static inline const struct called *call(const struct fixture *f, const char *name, const char *arguments)
{
	struct session_limits limits = tool_limits();
	return call_limited(f, name, arguments, &limits);
}

static inline void assert_text(const struct called *c, bool is_error, const char *want)
{
	if (c->is_error != is_error || strcmp(c->text, want) != 0)
		print_error("got (%s): %s\n", c->is_error ? "error" : "fine", c->text);
	assert_int_equal(c->is_error, is_error);
	assert_string_equal(c->text, want);
}

static inline void assert_has(const struct called *c, bool is_error, const char *part)
{
	if (c->is_error != is_error || !strstr(c->text, part))
		print_error("no \"%s\" in (%s): %s\n", part, c->is_error ? "error" : "fine", c->text);
	assert_int_equal(c->is_error, is_error);
	assert_non_null(strstr(c->text, part));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_up, fixture_down)

#endif
