/* actors/session/turn_tools.c - the tool calls of one answer: started, awaited, cancelled, their results.
 *
 * Order: as if they ran one after the other in the order of the answer. Calls that only read and follow each other run
 *        side by
 * side; one that changes something waits for all before it, and all behind it wait for it. So a model that writes a
 * file and reads it in the same answer reads what it wrote.
 * A call that was abandoned (cancel, and its job did not end within cancel_grace_ms) ends on its own and is then
 * thrown away: it owns all it uses. `batch` in it tells the two kinds apart.
 */
#include <inttypes.h>
#include <signal.h>

#include "actors/session/tool_text.h"
#include "actors/session/turn.h"
#include "proto/utf8.h"

static void advance(struct qmt_ctx *ctx, struct session *s);

/* ---- environment of commands ------------------------------------------------------------------------------------- */

/* What a command may know of this process's environment. The rest may hold the keys of providers. */
static const char *const env_names[] = {
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"};
enum { ENV_NAMES = sizeof(env_names) / sizeof(*env_names) };

/* "NAME=value" texts in *room; env is closed by NULL. */
static bool make_env(struct qmt_buf room[ENV_NAMES + 1], const char *env[ENV_NAMES + 2])
{
	size_t n = 0;
	for (size_t i = 0; i < ENV_NAMES; i++) {
		const char *value = getenv(env_names[i]);
		if (!value)
			continue;
		qmt_buf_printf(&room[n], "%s=%s", env_names[i], value);
		if (room[n].failed)
			return false;
		env[n] = room[n].data;
		n++;
	}
	env[n++] = "TERM=dumb";
	env[n] = NULL;
	return true;
}

/* ---- the end of one call ----------------------------------------------------------------------------------------- */

/* The run that a call belongs to; NULL: of a batch that is over. */
static struct tool_run *run_of(struct session *s, const struct tool_call *call)
{
	struct tool_batch *b = &s->turn.batch;
	return b->count && b->id == call->batch ? &b->runs[call->index] : NULL;
}

static void run_ended(
	struct qmt_ctx *ctx, struct session *s, struct tool_run *run, struct qmt_str output, bool is_error)
{
	qmt_buf_free(&run->result);
	tool_text_clean(&run->result, output);
	if (run->result.failed) {
		qmt_buf_free(&run->result);
		qmt_buf_str(&run->result, "error: out of memory");
		is_error = true;
	}
	run->is_error = is_error;
	run->ended = true;
	run->has_child = false;
	if (run->started) {
		s->turn.batch.running--;
		s->turn.batch.alone = false;
	}
	tell_tool(ctx, s, run->call, run);
}

/* Takes the call. Its output, if its batch is still of interest, is the run's. */
static void call_ended(struct qmt_ctx *ctx, struct session *s, struct tool_call *call)
{
	struct tool_run *run = run_of(s, call);
	if (run) {
		if (call->out.failed)
			tool_fail(call, "out of memory");
		run_ended(ctx, s, run, qmt_buf_view(&call->out), call->is_error);
	}
	tool_call_free(call);
	if (run)
		advance(ctx, s);
}

/* ---- jobs and children ------------------------------------------------------------------------------------------- */

static void forget_child(struct session *s, const struct tool_call *call)
{
	for (struct tool_call **at = &s->children; *at; at = &(*at)->next) {
		if (*at == call) {
			*at = call->next;
			return;
		}
	}
}

static void on_child_ended(struct qmt_ctx *ctx, void *state, const struct qmt_child_result *result, void *arg)
{
	struct session *s = state;
	struct tool_call *call = arg;
	forget_child(s, call);
	call->tool->ended(call, result);
	call_ended(ctx, s, call);
}

/* Starts the command that the job prepared. */
static void start_command(struct qmt_ctx *ctx, struct session *s, struct tool_call *call, struct tool_run *run)
{
	const struct session_limits *limits = &call->limits;
	struct qmt_buf room[ENV_NAMES + 1] = {0};
	const char *env[ENV_NAMES + 2];
	struct qmt_err err = {0};
	int code = make_env(room, env) ? 0 : qmt_err_set(&err, -1, "out of memory");
	if (!code)
		code = qmt_child_start(ctx,
			&(struct qmt_child_options){.argv = (const char *const *)call->command->argv,
				.env = env,
				.cwd_fd = call->command->cwd_fd,
				.output_limit_bytes = limits->shell_capture_bytes,
				.timeout_ms = call->command->timeout_ms,
				.cpu_seconds = limits->shell_cpu_seconds,
				.memory_bytes = limits->shell_memory_bytes,
				.open_files = limits->shell_open_files},
			on_child_ended, call, &run->child, &err);
	for (size_t i = 0; i < ENV_NAMES; i++)
		qmt_buf_free(&room[i]);
	if (code) {
		tool_fail(call, "%s: %s", call->tool->name, err.text);
		call_ended(ctx, s, call);
		return;
	}
	run->has_child = true;
	call->next = s->children;
	s->children = call;
}

static void job_run(void *arg)
{
	struct tool_call *call = arg;
	call->tool->run(call);
}

static void job_done(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct session *s = state;
	struct tool_call *call = arg;
	struct tool_run *run = run_of(s, call);
	if (call->command && run && s->turn.state == TURN_RUNNING_TOOLS) {
		start_command(ctx, s, call, run);
		return;
	}
	if (call->command) /* cancelled in between: it is not started */
		tool_fail(call, "cancelled before it was started");
	call_ended(ctx, s, call);
}

static void job_drop(void *arg)
{
	tool_call_free(arg);
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

static bool is_allowed(const struct session_config *config, const struct tool *tool)
{
	for (size_t i = 0; i < tool_count(); i++)
		if (tool_at(i) == tool)
			return config->tools >> i & 1;
	return false;
}

/* The call behind a run, or the reason why there is none, for the model. */
static int make_call(struct qmt_ctx *ctx, struct session *s, const struct tool_run *run, struct tool_call **ret_call,
	struct qmt_err *err)
{
	const struct session_config *config = s->config;
	const struct tool *tool = tool_find(run->call->name);
	if (config->refuses_tools)
		return qmt_err_set(err, -1,
			"tools do not run here for a session of a peer: the owner of this node has not set [mesh] "
			"allow_remote_tools");
	if (!tool || !is_allowed(config, tool)) {
		QMT_CLEANUP(qmt_buf_free) struct qmt_buf offered = {0};
		for (uint32_t i = 0; i < s->offer_count; i++)
			qmt_buf_printf(&offered, "%s%.*s", i ? ", " : "", QMT_STR_ARG(s->offers[i].name));
		return qmt_err_set(err, -1, "tool \"%.*s\" %s; offered: %s", QMT_STR_ARG(utf8_head(run->call->name, 100)),
			tool ? "is not allowed in this session" : "does not exist", offered.data ? offered.data : "none");
	}
	char tag[37];
	qmt_uuid(ctx, tag);
	return tool_call_new(tool, run->call->arguments, config->cwd, &config->limits, tag, ret_call, err);
}

static void start_run(struct qmt_ctx *ctx, struct session *s, struct tool_run *run)
{
	struct tool_batch *b = &s->turn.batch;
	static const struct qmt_job job = {.run = job_run, .done = job_done, .drop = job_drop};
	struct tool_call *call = NULL;
	struct qmt_err err = {0};
	tell_tool(ctx, s, run->call, NULL);
	if (make_call(ctx, s, run, &call, &err) == 0) {
		call->batch = b->id;
		call->index = (uint32_t)(run - b->runs);
		if (qmt_job_start(ctx, &job, call) == 0) {
			run->started = true;
			b->running++;
			b->alone = !run->reads_only;
			return;
		}
		tool_call_free(call);
		qmt_err_set(&err, -1, "%.*s: no thread to run it on", QMT_STR_ARG(run->call->name));
	}
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf text = {0};
	qmt_buf_printf(&text, "error: %s", err.text);
	run_ended(ctx, s, run, qmt_buf_view(&text), true);
}

static void on_results_stored(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct session *s = state;
	if (!turn_is_now(s, arg))
		return;
	if (result->fail)
		turn_store_failed(ctx, s, result, "results of tools could not be stored");
	else if (s->turn.cancel)
		turn_end_cancelled(ctx, s);
	else
		model_step(ctx, s);
}

static void store_results(struct qmt_ctx *ctx, struct session *s)
{
	struct turn *t = &s->turn;
	uint32_t first = t->history.count;
	if (tools_results(s)) {
		turn_end(ctx, s, "failed", QMT_FAIL_FAILED, "memory", 0, "out of memory");
		return;
	}
	tools_free(ctx, s);
	turn_move(ctx, s, TURN_STORING_RESULTS);
	struct store_append append = {.session = qmt_str(s->config->id), .turn = t->number};
	append.messages.items = t->history.items + first;
	append.messages.count = t->history.count - first;
	struct qmt_ref store = {0};
	if (qmt_lookup(ctx, "store", &store))
		store = (struct qmt_ref){0};
	qmt_ask_or(
		ctx, store, &store_append_type, &append, s->config->limits.store_timeout_ms, on_results_stored, turn_arg(s));
}

/* Starts what may start now; all ended: goes on. */
static void advance(struct qmt_ctx *ctx, struct session *s)
{
	struct turn *t = &s->turn;
	struct tool_batch *b = &t->batch;
	if (t->state == TURN_CANCELLING) {
		if (!b->running)
			turn_end_cancelled(ctx, s);
		return;
	}
	while (b->next < b->count && !b->alone && (b->runs[b->next].reads_only || !b->running))
		start_run(ctx, s, &b->runs[b->next++]);
	if (b->next == b->count && !b->running)
		store_results(ctx, s);
}

void tools_start(struct qmt_ctx *ctx, struct session *s)
{
	struct turn *t = &s->turn;
	struct tool_batch *b = &t->batch;
	const struct chat_message *answer = &t->history.items[t->history.count - 1];
	struct tool_run *runs = calloc(answer->tool_calls.count, sizeof(*runs));
	if (!runs) {
		turn_end(ctx, s, "failed", QMT_FAIL_FAILED, "memory", 0, "out of memory");
		return;
	}
	*b = (struct tool_batch){.id = ++s->batches, .runs = runs, .count = answer->tool_calls.count};
	for (uint32_t i = 0; i < b->count; i++) {
		runs[i].call = &answer->tool_calls.items[i];
		const struct tool *tool = tool_find(runs[i].call->name);
		runs[i].reads_only = !tool || tool->reads_only;
	}
	if (t->cancel) {
		turn_end_cancelled(ctx, s);
		return;
	}
	turn_move(ctx, s, TURN_RUNNING_TOOLS);
	advance(ctx, s);
}

/* ---- cancel and results ------------------------------------------------------------------------------------------ */

static void on_grace_over(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct session *s = state;
	(void)arg;
	s->turn.batch.grace = (struct qmt_timer){0};
	turn_end_cancelled(ctx, s);
}

void tools_cancel(struct qmt_ctx *ctx, struct session *s)
{
	struct tool_batch *b = &s->turn.batch;
	turn_move(ctx, s, TURN_CANCELLING);
	for (uint32_t i = 0; i < b->count; i++)
		if (b->runs[i].has_child)
			qmt_child_kill(ctx, b->runs[i].child, SIGKILL);
	if (!b->running || qmt_timer_start(ctx, s->config->limits.cancel_grace_ms, on_grace_over, NULL, &b->grace))
		turn_end_cancelled(ctx, s);
}

int tools_results(struct session *s)
{
	struct turn *t = &s->turn;
	for (uint32_t i = 0; i < t->batch.count; i++) {
		const struct tool_run *run = &t->batch.runs[i];
		struct chat_message result = {.role = qmt_str("tool"),
			.tool_call_id = run->call->id,
			.tool_name = run->call->name,
			.content = qmt_buf_view(&run->result),
			.is_error = run->is_error};
		if (!run->ended) {
			result.is_error = true;
			result.content =
				qmt_str(run->started ? "error: cancelled while it ran; it may have had its effect or a part of it"
									 : "error: cancelled before it ran");
		}
		int code = history_add(&t->history, &result);
		if (code)
			return code;
	}
	return 0;
}

void tools_free(struct qmt_ctx *ctx, struct session *s)
{
	struct tool_batch *b = &s->turn.batch;
	qmt_timer_cancel(ctx, &b->grace);
	for (uint32_t i = 0; i < b->count; i++) {
		if (b->runs[i].has_child) /* abandoned; its call stays in s->children until it has ended */
			qmt_child_kill(ctx, b->runs[i].child, SIGKILL);
		qmt_buf_free(&b->runs[i].result);
	}
	free(b->runs);
	*b = (struct tool_batch){0};
}
