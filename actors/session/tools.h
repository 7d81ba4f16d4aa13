/* actors/session/tools.h - the tools a model may call: declared once each, in its own tool_*.c, listed in tools.c.
 *
 * A declaration gives the name, the text for the model, the parameters and the code; the JSON schema that the model
 * sees and the check of its arguments both come from the parameters.
 * Threads:   `run` runs on a job thread and may block; it sees only the call. The rest: the session's turn.
 * Ownership: a call owns all that it holds, so that it can outlive the session that made it.
 * Errors:    whatever goes wrong is text for the model (tool_fail), never a failed session.
 * Order:     see turn_tools.c: calls of `reads_only` tools that follow each other run side by side, others alone.
 */
#ifndef ACTORS_SESSION_TOOLS_H
#define ACTORS_SESSION_TOOLS_H

#include "actors/session/session_limits.h"
#include "actors/session/workspace.h"
#include "proto/json.h"
#include "runtime/actor.h"

enum tool_param_kind { TOOL_TEXT, TOOL_NUMBER, TOOL_FLAG, TOOL_TEXTS, TOOL_CONTENT /* a text that may hold NUL */ };

struct tool_param { /* a list is closed by name == NULL */
	const char *name;
	uint8_t kind; /* enum tool_param_kind */
	bool required;
	int64_t dflt, min, max; /* of numbers; dflt also of flags (0, 1) */
	const char *doc;
};

struct tool_call;

struct tool {
	const char *name;
	const char *description;
	const struct tool_param *params;
	bool reads_only;                     /* changes nothing: may run beside others of its kind */
	void (*run)(struct tool_call *call); /* fills call->out, or call->command: then a child process follows */
	void (*ended)(struct tool_call *call, const struct qmt_child_result *result); /* the child's end -> call->out */
};

/* A command that a tool wants started by the actor, because only an actor can watch a child. */
struct tool_command {
	char **argv; /* closed by NULL */
	int cwd_fd;
	uint64_t timeout_ms;
};

struct tool_call {
	/* const while it runs */
	const struct tool *tool;
	struct json *args; /* checked */
	char *root;        /* the workspace */
	struct session_limits limits;
	char tag[40];
	/* owner: run, ended */
	struct qmt_buf out;
	bool is_error;
	struct tool_command *command;
	/* owner: the session */
	struct tool_call *next;
	uint64_t batch;
	uint32_t index; /* in the batch */
};

/* NULL: no such tool. */
const struct tool *tool_find(struct qmt_str name);
size_t tool_count(void);
const struct tool *tool_at(size_t index);
/* Appends the JSON schema of its arguments. */
void tool_schema(const struct tool *tool, struct qmt_buf *out);

/* A call of `tool`, arguments parsed and checked. Wrong ones: -EINVAL, and err says which, to the model. Empty text is
 * {}. */
QMT_MUST_CHECK int tool_call_new(const struct tool *tool, struct qmt_str arguments, const char *root,
	const struct session_limits *limits, const char *tag, struct tool_call **ret_call, struct qmt_err *err);
struct tool_call *tool_call_free(struct tool_call *call);
void tool_command_free(struct tool_command *command);

/* For run(): arguments, with their defaults. An absent text has p == NULL. */
struct qmt_str tool_text(const struct tool_call *call, const char *name);
int64_t tool_number(const struct tool_call *call, const char *name);
bool tool_flag(const struct tool_call *call, const char *name);
const struct json *tool_texts(const struct tool_call *call, const char *name); /* array of strings, or NULL */
/* Replaces the output with "error: …". */
void tool_fail(struct tool_call *call, const char *format, ...) QMT_PRINTF(2, 3);

#endif
