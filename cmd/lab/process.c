/* cmd/lab/process.c - the programs of a scenario: started on a host, their output gathered line by line with the
 * time. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/lab/net.h"

enum {
	LAB_OUTPUT_BYTES = 64 << 20, /* a process that writes more is killed: the harness must live */
	LAB_READ_BYTES = 65536,
};

/* Of our own environment a scenario sees only this: a run must not depend on who runs it. */
static const char *const inherited[] = {"LANG", "LC_ALL", "TERM", "LD_LIBRARY_PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS",
	"TSAN_OPTIONS", "LSAN_OPTIONS", "GCOV_PREFIX", "USER"};

/* ---- environment ------------------------------------------------------------------------------------------------- */

struct env {
	char **items;
	size_t count;
	bool failed;
};

__attribute__((format(printf, 2, 3))) static void env_add(struct env *env, const char *format, ...)
{
	struct qmt_buf text = {0};
	char line[4096];
	va_list args;
	char **items = realloc(env->items, (env->count + 2) * sizeof *items);

	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	qmt_buf_str(&text, line);
	if (!items || text.failed) {
		env->failed = true;
		free(text.data);
		return;
	}
	env->items = items;
	items[env->count++] = text.data;
	items[env->count] = NULL;
}

static void env_free(struct env *env)
{
	for (size_t i = 0; i < env->count; i++)
		free(env->items[i]);
	free(env->items);
}

/* A variable of the scenario may be longer than a line of env_add (the captured output of a command). */
static void env_add_var(struct env *env, const struct lab_var *var)
{
	struct qmt_buf text = {0};

	qmt_buf_printf(&text, "%s=", var->name);
	qmt_buf_str(&text, var->value);
	env_add(env, "%s", "");
	if (env->failed || text.failed) {
		env->failed = true;
		free(text.data);
		return;
	}
	free(env->items[env->count - 1]);
	env->items[env->count - 1] = text.data;
}

static void env_clock(struct env *env, const struct lab_host *host)
{
	if (!(host->player->scenario->needs & LAB_NEED_CLOCK))
		return;
	env_add(env, "LD_PRELOAD=%s", host->player->options.clock_shim);
	env_add(env, "QMT_LAB_CLOCK=%s/clock", host->dir);
}

static void env_make(struct env *env, const struct lab_host *host)
{
	struct player *player = host->player;
	const struct net_ops *ops = player->net_ops;

	for (size_t i = 0; i < sizeof inherited / sizeof inherited[0]; i++)
		if (getenv(inherited[i]))
			env_add(env, "%s=%s", inherited[i], getenv(inherited[i]));
	env_add(env, "PATH=%s:%s", player->options.programs, getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
	env_add(env, "HOME=%s", host->dir);
	env_add(env, "QMT_HOME=%s/home", host->dir);
	env_add(env, "LAB_FOLDER=%s", player->options.folder);
	if (!lab_get(player, "QMT_LOG"))
		env_add(env, "QMT_LOG=debug");
	for (unsigned i = 0; i < player->host_count; i++) {
		const struct lab_host *other = &player->hosts[i];
		const char *address =
			other == host ? ops->own_address(player->net, host) : ops->address(player->net, host, other);
		if (!address)
			continue;
		env_add(env, "%s_IP=%s", other->upper, address);
		env_add(env, "%s_ADDR=/ip4/%s/tcp/%d", other->upper, address, LAB_NODE_PORT);
		if (other == host) {
			const char *seen = ops->address(player->net, NULL, host);
			env_add(env, "LISTEN=/ip4/%s/tcp/%d", address, LAB_NODE_PORT);
			env_add(env, "ADVERTISE=/ip4/%s/tcp/%d", seen ? seen : address, LAB_NODE_PORT);
		}
	}
	for (size_t i = 0; i < player->var_count; i++)
		env_add_var(env, &player->vars[i]);
	env_clock(env, host);
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

struct qmt_str lab_stream_text(const struct lab_stream *stream)
{
	return qmt_strn(stream->text.data + stream->mark, stream->text.len - stream->mark);
}

static void rows_add(struct lab_process *process, struct lab_stream *stream)
{
	size_t begin =
		stream->row_count ? stream->rows[stream->row_count - 1].begin + stream->rows[stream->row_count - 1].len + 1 : 0;

	while (begin < stream->text.len) {
		const char *from = stream->text.data + begin;
		const char *end = memchr(from, '\n', stream->text.len - begin);
		if (!end && !stream->ended)
			return;
		if (!end)
			end = stream->text.data + stream->text.len;
		if (stream->row_count == stream->row_room) {
			size_t room = stream->row_room ? stream->row_room * 2 : 64;
			struct lab_row *rows = realloc(stream->rows, room * sizeof *rows);
			if (!rows)
				return;
			stream->rows = rows;
			stream->row_room = room;
		}
		stream->rows[stream->row_count++] =
			(struct lab_row){player_now_ms(process->player), (uint32_t)begin, (uint32_t)(end - from)};
		begin += (size_t)(end - from) + 1;
	}
}

static void on_closed(uv_handle_t *handle)
{
	struct lab_process *process = handle->data;

	process->open_polls--;
}

static void poll_close(uv_poll_t *poll)
{
	uv_close((uv_handle_t *)poll, on_closed);
}

static void look_for_end(struct lab_process *process)
{
	if (process->reaped && process->out.ended && process->err.ended)
		process->exited = true;
	player_changed(process->player);
}

static void read_some(struct lab_process *process, uv_poll_t *poll, int *fd, struct lab_stream *stream)
{
	for (int rounds = 0; rounds < 16; rounds++) {
		char *room = qmt_buf_reserve(&stream->text, LAB_READ_BYTES);
		ssize_t n = room ? read(*fd, room, LAB_READ_BYTES) : 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n > 0) {
			stream->text.len += (size_t)n;
			stream->text.data[stream->text.len] = '\0';
			if (stream->text.len <= LAB_OUTPUT_BYTES)
				continue;
			player_note(process->player, "%s wrote more than %d bytes: killed", process->name, LAB_OUTPUT_BYTES);
			lab_process_signal(process, SIGKILL);
		}
		stream->ended = true;
		uv_poll_stop(poll);
		poll_close(poll);
		close(*fd);
		*fd = -1;
		break;
	}
	rows_add(process, stream);
	look_for_end(process);
}

static void on_out(uv_poll_t *poll, int status, int events)
{
	struct lab_process *process = poll->data;

	(void)status, (void)events;
	read_some(process, poll, &process->child.out_fd, &process->out);
}

static void on_err(uv_poll_t *poll, int status, int events)
{
	struct lab_process *process = poll->data;

	(void)status, (void)events;
	read_some(process, poll, &process->child.err_fd, &process->err);
}

static void on_ended(uv_poll_t *poll, int status, int events)
{
	struct lab_process *process = poll->data;

	(void)status, (void)events;
	if (qmt_os_child_reap(&process->child, &process->status) == 0)
		return;
	process->reaped = true;
	uv_poll_stop(poll);
	poll_close(poll);
	player_note(process->player, "%s ended: %s %d", process->name, WIFSIGNALED(process->status) ? "signal" : "status",
		WIFSIGNALED(process->status) ? WTERMSIG(process->status) : WEXITSTATUS(process->status));
	look_for_end(process);
}

int lab_process_code(const struct lab_process *process)
{
	return WIFSIGNALED(process->status) ? 128 + WTERMSIG(process->status) : WEXITSTATUS(process->status);
}

void lab_process_signal(struct lab_process *process, int signal)
{
	if (process->started && !process->reaped)
		qmt_os_child_kill(&process->child, signal);
}

/* ---- start and end ----------------------------------------------------------------------------------------------- */

static void poll_open(struct lab_process *process, uv_poll_t *poll, int fd, uv_poll_cb callback)
{
	uv_poll_init(&process->player->loop, poll, fd);
	poll->data = process;
	process->open_polls++;
	uv_poll_start(poll, UV_READABLE, callback);
}

/* "qmt", "qmtd" and "qmt-lab" are those beside this program, whatever else lies in PATH. */
static char *program_path(const struct player *player, const char *name)
{
	static const char *const own[] = {"qmt", "qmtd", "qmt-lab"};
	struct qmt_buf path = {0};

	for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
		if (strcmp(own[i], name) == 0)
			qmt_buf_printf(&path, "%s/", player->options.programs);
	qmt_buf_str(&path, name);
	return path.data;
}

struct lab_process *lab_process_start(
	struct lab_run *run, struct lab_host *host, const char *name, const char *in, char *const *argv, unsigned argc)
{
	struct player *player = run->player;
	struct lab_process *process = calloc(1, sizeof *process);
	const char **args = calloc(argc + 6u, sizeof *args);
	char *program = program_path(player, argv[0]);
	struct qmt_buf command = {0};
	struct env env = {0};
	struct qmt_err err = {0};
	unsigned n = 0;
	int rc = -ENOMEM;

	env_make(&env, host);
	if (in) { /* children have no stdin of their own: a shell gives it */
		args[n++] = "/bin/sh";
		args[n++] = "-c";
		args[n++] = "exec \"$@\" <\"$0\"";
		args[n++] = in;
	}
	for (unsigned i = 0; args && i < argc; i++) {
		args[n++] = i ? argv[i] : program;
		qmt_buf_printf(&command, "%s%s", i ? " " : "", argv[i]);
	}
	if (process && args && program && !env.failed && !command.failed) {
		*process = (struct lab_process){.player = player, .host = host, .name = strdup(name), .command = command.data};
		rc = player->net_ops->enter(player->net, host);
		if (rc == 0) {
			rc = qmt_os_child_spawn(
				&(struct qmt_os_child_options){
					.argv = args, .env = (const char *const *)env.items, .cwd = player->options.folder},
				&process->child, &err);
			player->net_ops->leave(player->net);
		}
	}
	env_free(&env);
	free(args);
	free(program);
	if (rc != 0) {
		lab_fail(run, "%s to start on %s", argv[0], host->name);
		lab_got(run, "%s", err.text[0] ? err.text : strerror(-rc));
		if (process) {
			free(process->name);
			free(process);
		}
		qmt_buf_free(&command);
		return NULL;
	}
	process->started = true;
	process->next = player->processes;
	player->processes = process;
	poll_open(process, &process->exit_poll, process->child.pidfd, on_ended);
	poll_open(process, &process->out_poll, process->child.out_fd, on_out);
	poll_open(process, &process->err_poll, process->child.err_fd, on_err);
	return process;
}

struct lab_process *lab_process_find(struct player *player, const char *name)
{
	struct lab_host *host = lab_host_find(player, name);

	if (host)
		return host->process;
	for (struct lab_process *process = player->processes; process; process = process->next)
		if (strcmp(process->name, name) == 0)
			return process;
	return NULL;
}

static void poll_drop(uv_poll_t *poll)
{
	if (poll->data && !uv_is_closing((uv_handle_t *)poll))
		poll_close(poll);
}

void lab_process_free(struct lab_process *process)
{
	if (process->started && !process->reaped) {
		qmt_os_child_kill(&process->child, SIGKILL);
		/* It is dead already, or about to be: this does not wait for anything that it could decide. */
		waitpid(process->child.pid, &process->status, 0);
	}
	poll_drop(&process->exit_poll);
	poll_drop(&process->out_poll);
	poll_drop(&process->err_poll);
	while (process->open_polls)
		uv_run(&process->player->loop, UV_RUN_NOWAIT);
	if (process->child.out_fd >= 0)
		close(process->child.out_fd);
	if (process->child.err_fd >= 0)
		close(process->child.err_fd);
	close(process->child.pidfd);
	qmt_buf_free(&process->out.text);
	qmt_buf_free(&process->err.text);
	free(process->out.rows);
	free(process->err.rows);
	free(process->name);
	free(process->command);
	free(process);
}
