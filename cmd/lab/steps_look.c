/* cmd/lab/steps_look.c - steps that look at what came out, now (stdout, stderr, file, log) or as soon as it holds
 * (wait).
 *
 * A wait is asked again after each event of the scenario. Where it has to ask the node (state, metric) it asks anew
 * after
 * each line that a node or a spawn has written since; a metric moves without a line, so it is also sampled, every
 * SAMPLE_MS.
 */
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cmd/lab/net.h"
#include "proto/json.h"

enum { SAMPLE_MS = 100 };

static void cleanup_buf(struct qmt_buf *buf)
{
	qmt_buf_free(buf);
}

/* ---- now --------------------------------------------------------------------------------------------------------- */

static enum lab_outcome look(struct lab_run *run, const char *what, char **words, unsigned count, struct qmt_str text)
{
	QMT_CLEANUP(cleanup_buf) struct qmt_buf why = {0};
	int rc = lab_test(run, words, count, text, &why);

	if (rc == 1)
		return LAB_DONE;
	if (rc == 0) {
		lab_fail(run, "%s %s %s %s %s", what, words[0], count > 1 ? words[1] : "", count > 2 ? words[2] : "",
			count > 3 ? words[3] : "");
		lab_got(run, "%s", why.data ? why.data : "");
	}
	return LAB_FAILED;
}

static struct lab_process *process_of(struct lab_run *run)
{
	const char *of = lab_option(run->step, "of");
	struct lab_process *process = of ? lab_process_find(run->player, of) : run->last;

	if (!process)
		lab_fail(run, of ? "%s to have been started" : "a run in front of this step", of ? of : "");
	return process;
}

enum lab_outcome lab_step_stdout(struct lab_run *run)
{
	struct lab_process *process = process_of(run);

	return process ? look(run, "stdout", run->words, run->word_count, lab_stream_text(&process->out)) : LAB_FAILED;
}

enum lab_outcome lab_step_stderr(struct lab_run *run)
{
	struct lab_process *process = process_of(run);

	return process ? look(run, "stderr", run->words, run->word_count, lab_stream_text(&process->err)) : LAB_FAILED;
}

enum lab_outcome lab_step_file(struct lab_run *run)
{
	QMT_CLEANUP(cleanup_buf) struct qmt_buf path = {0};
	QMT_CLEANUP(cleanup_buf) struct qmt_buf data = {0};
	struct qmt_err err = {0};
	const char *test = run->words[1];

	qmt_buf_printf(&path, "%s/%s", run->player->options.folder, run->words[0]);
	if (path.failed)
		return lab_fail(run, "memory");
	int rc = qmt_os_file_read(path.data, LAB_FILE_BYTES, &data, &err);
	bool there = rc != -ENOENT && rc != -ENOTDIR;
	if (strcmp(test, "exists") == 0 || strcmp(test, "missing") == 0) {
		if (there == (test[0] == 'e'))
			return LAB_DONE;
		lab_fail(run, "the file %s %s", run->words[0], there ? "not to be there" : "to be there");
		return LAB_FAILED;
	}
	if (rc != 0) {
		lab_fail(run, "the file %s to be readable", run->words[0]);
		lab_got(run, "%s", err.text);
		return LAB_FAILED;
	}
	return look(run, run->words[0], run->words + 1, run->word_count - 1, qmt_buf_view(&data));
}

static struct lab_process *node_process(struct lab_run *run, const char *name)
{
	struct lab_host *host = lab_host_find(run->player, name);

	if (!host || !host->process)
		lab_fail(run, "%s to have been started", name);
	return host ? host->process : NULL;
}

enum lab_outcome lab_step_log(struct lab_run *run)
{
	struct lab_process *process = node_process(run, run->words[0]);

	return process ? look(run, "log", run->words + 1, run->word_count - 1, lab_stream_text(&process->err)) : LAB_FAILED;
}

enum lab_outcome lab_step_mark(struct lab_run *run)
{
	for (unsigned i = 0; i < run->word_count; i++) {
		struct lab_process *process = lab_process_find(run->player, run->words[i]);
		if (!process)
			return lab_fail(run, "%s to have been started", run->words[i]);
		process->err.mark = process->err.text.len;
		process->out.mark = process->out.text.len;
	}
	return LAB_DONE;
}

/* ---- wait: one question, asked again ----------------------------------------------------------------------------- */

/* Says in time that it does not hold yet; at the deadline what was there instead. */
static enum lab_outcome not_yet(struct lab_run *run, const char *got)
{
	if (!lab_late(run))
		return LAB_PENDING;
	lab_fail(run, "this to hold within its time");
	lab_got(run, "%s", got ? got : "");
	return LAB_FAILED;
}

static enum lab_outcome wait_text(struct lab_run *run, char **words, unsigned count, struct qmt_str text)
{
	QMT_CLEANUP(cleanup_buf) struct qmt_buf why = {0};
	int rc = lab_test(run, words, count, text, &why);

	return rc == 1 ? LAB_DONE : rc < 0 ? LAB_FAILED : not_yet(run, why.data);
}

/* A row of the log: `time level event key=value …`. */
static bool row_is(struct qmt_str row, char **words, unsigned count)
{
	char room[4096];
	char name[128];

	snprintf(name, sizeof name, " %s ", words[0]);
	if (row.len + 2 > sizeof room)
		row.len = sizeof room - 2;
	memcpy(room, row.p, row.len);
	memcpy(room + row.len, " ", 2);
	if (!strstr(room, name))
		return false;
	for (unsigned i = 1; i < count; i++) {
		const char *equals = strchr(words[i], '=');
		if (!equals)
			return false;
		snprintf(name, sizeof name, " %s ", words[i]);
		if (strstr(room, name))
			continue;
		snprintf(name, sizeof name, " %.*s=\"%s\" ", (int)(equals - words[i]), words[i], equals + 1);
		if (!strstr(room, name))
			return false;
	}
	return true;
}

static enum lab_outcome wait_event(struct lab_run *run, const struct lab_process *process)
{
	const struct lab_stream *log = &process->err;

	for (size_t i = 0; i < log->row_count; i++)
		if (log->rows[i].begin >= log->mark &&
			row_is(
				qmt_strn(log->text.data + log->rows[i].begin, log->rows[i].len), run->words + 2, run->word_count - 2))
			return LAB_DONE;
	return not_yet(run, "no such line in its log");
}

static enum lab_outcome wait_exit(struct lab_run *run, struct lab_process *process)
{
	int64_t code;

	if (!process->exited)
		return not_yet(run, "it still runs");
	run->last = process;
	if (run->word_count < 3 || (lab_number(run->words[2], &code) && code == lab_process_code(process)))
		return LAB_DONE;
	lab_fail(run, "%s to end with %s", run->words[0], run->words[2]);
	struct qmt_str err = lab_stream_text(&process->err);
	if (err.len > 2000)
		err = qmt_strn(err.p + err.len - 2000, 2000);
	lab_got(run, "it ended with %d\n--- stderr\n%.*s", lab_process_code(process), QMT_STR_ARG(err));
	return LAB_FAILED;
}

static uint64_t rows_written(const struct lab_run *run)
{
	uint64_t rows = 0;

	for (const struct lab_process *process = run->player->processes; process; process = process->next) {
		if (strcmp(process->name, "ask") == 0)
			continue;
		for (size_t i = 0; i < process->err.row_count; i++) {
			struct qmt_str row =
				qmt_strn(process->err.text.data + process->err.rows[i].begin, process->err.rows[i].len);
			/* what our own question makes the node write is no news */
			rows += !memmem(row.p, row.len, "transport=ipc", 13);
		}
		rows += process->out.row_count + process->exited;
	}
	return rows;
}

/* Asks the node by `qmt ARGS --json`, again after each news. 1: there is an answer, in run->process; 0: not yet. */
static int ask(struct lab_run *run, struct lab_host *host, char **args, unsigned count)
{
	char *argv[24] = {NULL};
	char program[] = "qmt", json[] = "--json";
	unsigned n = 0;

	if (run->process && run->process->exited) {
		if (run->counted == (int64_t)run->process->child.pid)
			goto news; /* looked at already */
		run->counted = (int64_t)run->process->child.pid;
		return 1;
	}
	if (run->process)
		return 0;
news:
	if (run->process && rows_written(run) == run->seen)
		return 0;
	run->seen = rows_written(run);
	argv[n++] = program;
	for (unsigned i = 0; i < count && n < 22; i++)
		argv[n++] = args[i];
	argv[n++] = json;
	run->process = lab_process_start(run, host, "ask", NULL, argv, n);
	return run->process ? 0 : -1;
}

static enum lab_outcome wait_state(struct lab_run *run, struct lab_host *host)
{
	unsigned colon = 2;

	while (strcmp(run->words[colon], ":") != 0)
		colon++;
	int rc = ask(run, host, run->words + 2, colon - 2);
	if (rc < 0)
		return LAB_FAILED;
	if (!run->process->exited)
		return not_yet(run, "the node does not answer");
	if (lab_process_code(run->process) != 0)
		return not_yet(run, lab_stream_text(&run->process->err).p);
	return wait_text(run, run->words + colon + 1, run->word_count - colon - 1, lab_stream_text(&run->process->out));
}

static enum lab_outcome wait_metric(struct lab_run *run, struct lab_host *host)
{
	char command[] = "metrics", json[] = "json", path[256];
	char *args[] = {command};

	uint64_t now = player_now_ms(run->player);
	if (now >= run->wake_ms) { /* it moves without news */
		run->seen = UINT64_MAX;
		run->wake_ms = now + SAMPLE_MS;
	}
	int rc = ask(run, host, args, 1);
	if (rc < 0)
		return LAB_FAILED;
	if (!run->process->exited)
		return not_yet(run, "the node does not answer");
	if (lab_process_code(run->process) != 0)
		return not_yet(run, lab_stream_text(&run->process->err).p);
	const char *label = strstr(run->words[2], "[label=");
	if (label)
		snprintf(path, sizeof path, ".metrics[name=%.*s&%s.value", (int)(label - run->words[2]), run->words[2],
			label + 1);
	else
		snprintf(path, sizeof path, ".metrics[name=%s].value", run->words[2]);
	char *test[] = {json, path, run->words[3], run->words[4]};
	return wait_text(run, test, 4, lab_stream_text(&run->process->out));
}

static enum lab_outcome wait_link(struct lab_run *run)
{
	struct player *player = run->player;
	struct lab_host *a = lab_host_find(player, run->words[1]), *b = lab_host_find(player, run->words[2]);
	char bytes[32];

	if (!a || !b)
		return lab_fail(run, "two hosts");
	snprintf(bytes, sizeof bytes, "%" PRIu64, player->net_ops->bytes(player->net, a, b));
	int rc = lab_compare(run, qmt_str(bytes), run->words[4], run->words[5]);
	return rc == 1 ? LAB_DONE : rc < 0 ? LAB_FAILED : not_yet(run, bytes);
}

enum lab_outcome lab_step_wait(struct lab_run *run)
{
	const char *what = run->words[1];

	if (strcmp(run->words[0], "link") == 0)
		return wait_link(run);
	struct lab_host *host = lab_host_find(run->player, run->words[0]);
	struct lab_process *process = lab_process_find(run->player, run->words[0]);
	if (!process)
		return lab_fail(run, "%s to have been started", run->words[0]);
	if (strcmp(what, "exits") == 0)
		return wait_exit(run, process);
	if (strcmp(what, "stdout") == 0)
		return wait_text(run, run->words + 2, run->word_count - 2, lab_stream_text(&process->out));
	if (strcmp(what, "stderr") == 0 || strcmp(what, "log") == 0)
		return wait_text(run, run->words + 2, run->word_count - 2, lab_stream_text(&process->err));
	if (strcmp(what, "event") == 0)
		return wait_event(run, process);
	if (!host)
		return lab_fail(run, "%s to be a node", run->words[0]);
	return strcmp(what, "state") == 0 ? wait_state(run, host) : wait_metric(run, host);
}
