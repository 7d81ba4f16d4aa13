/* cmd/lab/steps_life.c - steps that start and end nodes and commands. */
#include <errno.h>
#include <signal.h>

#include "cmd/lab/player.h"

/* "0", "78", "any"; NULL: `dflt`. -1: any. */
static int wanted_code(const struct lab_step *step, int dflt)
{
	const char *text = lab_option(step, "exit");

	return !text ? dflt : strcmp(text, "any") == 0 ? -1 : (int)strtol(text, NULL, 10);
}

static struct lab_host *host_of(struct lab_run *run, const char *name)
{
	struct lab_host *host = lab_host_find(run->player, name);

	if (!host)
		lab_fail(run, "%s to be a host that was declared above", name);
	return host;
}

/* Both streams of a process that ended otherwise than wanted. */
static void show_process(struct lab_run *run, const struct lab_process *process)
{
	struct qmt_str out = lab_stream_text(&process->out), err = lab_stream_text(&process->err);

	if (process->exited)
		lab_got(run, "it ended with %d", lab_process_code(process));
	else
		lab_got(run, "it still runs");
	if (out.len > 2000)
		out = qmt_strn(out.p + out.len - 2000, 2000);
	if (err.len > 2000)
		err = qmt_strn(err.p + err.len - 2000, 2000);
	lab_got(run, "\n--- stdout\n%.*s--- stderr\n%.*s", QMT_STR_ARG(out), QMT_STR_ARG(err));
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

static bool start_one(struct lab_run *run, const char *name)
{
	struct lab_host *host = host_of(run, name);
	struct qmt_buf home = {0}, config = {0};
	bool good = false;

	if (!host)
		return false;
	if (host->process && !host->process->exited) {
		lab_fail(run, "%s not to run yet", name);
		return false;
	}
	qmt_buf_printf(&home, "%s/home", host->dir);
	qmt_buf_printf(&config, "%s/%s", run->player->options.folder, host->config);
	if (!home.failed && !config.failed) {
		char program[] = "qmtd", flag[] = "--home";
		char *argv[] = {program, flag, home.data, config.data};
		struct lab_process *process = lab_process_start(run, host, name, NULL, argv, 4);
		if (process) {
			host->process = process;
			host->starts++;
			good = true;
		}
	}
	qmt_buf_free(&home);
	qmt_buf_free(&config);
	return good;
}

/* The line that says so, and what it tells of the node. */
static bool is_ready(struct lab_host *host)
{
	struct qmt_str out = qmt_buf_view(&host->process->out.text);
	const char *peer = out.len ? strstr(out.p, "peer_id=") : NULL;
	char name[64], id[128];

	if (!out.len || strncmp(out.p, "ready ", 6) != 0 || !strchr(out.p, '\n') || !peer)
		return false;
	snprintf(name, sizeof name, "%s_PEER", host->upper);
	snprintf(id, sizeof id, "%.*s", (int)strcspn(peer + 8, " \n"), peer + 8);
	lab_set(host->player, name, id);
	return true;
}

enum lab_outcome lab_step_start(struct lab_run *run)
{
	int code = wanted_code(run->step, -2); /* -2: it must be ready */

	for (unsigned i = 0; run->round == 0 && i < run->word_count; i++)
		if (!start_one(run, run->words[i]))
			return LAB_FAILED;
	bool all = true;
	for (unsigned i = 0; i < run->word_count; i++) {
		struct lab_host *host = lab_host_find(run->player, run->words[i]);
		struct lab_process *process = host->process;
		bool done = code == -2 ? is_ready(host) : process->exited;
		if (code == -2 && process->exited && !done) {
			lab_fail(run, "%s to become ready", host->name);
			show_process(run, process);
			return LAB_FAILED;
		}
		if (code >= -1 && ((done && code >= 0 && lab_process_code(process) != code) || (!done && is_ready(host)))) {
			lab_fail(run, "%s to refuse to start, with %s", host->name, lab_option(run->step, "exit"));
			show_process(run, process);
			return LAB_FAILED;
		}
		if (!done && lab_late(run)) {
			lab_fail(run, code == -2 ? "%s to become ready in time" : "%s to end in time", host->name);
			show_process(run, process);
			return LAB_FAILED;
		}
		all &= done;
		run->last = process;
	}
	return all ? LAB_DONE : LAB_PENDING;
}

/* Signals all that is named and waits for the ends; code -1: any. */
static enum lab_outcome end_all(struct lab_run *run, int signal, int code)
{
	bool all = true;

	for (unsigned i = 0; i < run->word_count; i++) {
		struct lab_process *process = lab_process_find(run->player, run->words[i]);
		if (!process || (run->round == 0 && process->exited))
			return lab_fail(run, "%s to run", run->words[i]);
		if (run->round == 0)
			lab_process_signal(process, signal);
		if (!process->reaped && lab_late(run)) {
			lab_fail(run, "%s to end in time", run->words[i]);
			return LAB_FAILED;
		}
		if (process->exited && code >= 0 && lab_process_code(process) != code) {
			lab_fail(run, "%s to end with %d", run->words[i], code);
			show_process(run, process);
			return LAB_FAILED;
		}
		all &= process->exited;
	}
	return all ? LAB_DONE : LAB_PENDING;
}

enum lab_outcome lab_step_stop(struct lab_run *run)
{
	return end_all(run, SIGTERM, 0);
}

enum lab_outcome lab_step_kill(struct lab_run *run)
{
	return end_all(run, SIGKILL, -1);
}

static enum lab_outcome signal_all(struct lab_run *run, int signal)
{
	for (unsigned i = 0; i < run->word_count; i++) {
		struct lab_process *process = lab_process_find(run->player, run->words[i]);
		if (!process || process->reaped)
			return lab_fail(run, "%s to run", run->words[i]);
		lab_process_signal(process, signal);
	}
	return LAB_DONE;
}

enum lab_outcome lab_step_pause(struct lab_run *run)
{
	return signal_all(run, SIGSTOP);
}

enum lab_outcome lab_step_resume(struct lab_run *run)
{
	return signal_all(run, SIGCONT);
}

/* ---- commands ---------------------------------------------------------------------------------------------------- */

static struct lab_process *command_start(
	struct lab_run *run, const char *name, const char *host_name, char **argv, unsigned argc)
{
	struct lab_host *host = host_of(run, host_name);
	const char *in = lab_option(run->step, "in");
	char *file = in ? lab_expand(run, in) : NULL;
	struct lab_process *process = NULL;

	if (host && (!in || file))
		process = lab_process_start(run, host, name, file, argv, argc);
	free(file);
	return process;
}

enum lab_outcome lab_step_run(struct lab_run *run)
{
	int code = wanted_code(run->step, 0);

	if (run->round == 0)
		run->process = command_start(run, "run", run->words[0], run->words + 1, run->word_count - 1);
	if (!run->process)
		return LAB_FAILED;
	if (run->process->exited && (code < 0 || lab_process_code(run->process) == code)) {
		run->last = run->process;
		return LAB_DONE;
	}
	if (!run->process->exited && !lab_late(run))
		return LAB_PENDING;
	if (run->process->exited)
		lab_fail(run, "it to end with %d", code);
	else
		lab_fail(run, "it to end in time");
	show_process(run, run->process);
	return LAB_FAILED;
}

enum lab_outcome lab_step_spawn(struct lab_run *run)
{
	struct lab_process *before = lab_process_find(run->player, run->words[0]);

	if (before && !before->exited)
		return lab_fail(run, "the spawn %s before this one to have ended", run->words[0]);
	run->last = command_start(run, run->words[0], run->words[1], run->words + 2, run->word_count - 2);
	return run->last ? LAB_DONE : LAB_FAILED;
}

enum lab_outcome lab_step_signal(struct lab_run *run)
{
	static const struct {
		const char *name;
		int number;
	} signals[] = {{"INT", SIGINT}, {"TERM", SIGTERM}, {"HUP", SIGHUP}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2},
		{"QUIT", SIGQUIT}, {"STOP", SIGSTOP}, {"CONT", SIGCONT}};
	struct lab_process *process = lab_process_find(run->player, run->words[0]);

	if (!process || process->reaped)
		return lab_fail(run, "%s to run", run->words[0]);
	for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
		if (strcmp(signals[i].name, run->words[1]) == 0) {
			lab_process_signal(process, signals[i].number);
			return LAB_DONE;
		}
	return lab_fail(run, "%s", run->step->kind->usage);
}
