/* cmd/lab/report.c - results on stdout; the report of a failure is made where the scenario ran and travels as text. */
#include "cmd/lab/report.h"

#include <inttypes.h>

#include "proto/json.h"
#include "runtime/base/log.h"

static const char *const verdicts[] = {"ok", "FAILED", "skipped", "BROKEN"};

static const char *backend_name(unsigned backend)
{
	return backend == LAB_NETNS ? "netns" : "loopback";
}

/* ---- the report of a failure ------------------------------------------------------------------------------------- */

struct event {
	uint64_t at_ms;
	const char *who;
	struct qmt_str text;
	size_t order;
};

static int by_time(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	if (x->at_ms != y->at_ms)
		return x->at_ms < y->at_ms ? -1 : 1;
	return (x->order > y->order) - (x->order < y->order);
}

/* The last rows of every process and all notes since then, on one time line. */
static void time_line(const struct player *player, unsigned rows, struct qmt_buf *out)
{
	size_t count = player->note_count, used = 0;
	struct event *events;

	for (const struct lab_process *process = player->processes; process; process = process->next)
		count += rows;
	events = calloc(count + 1, sizeof *events);
	for (const struct lab_process *process = player->processes; events && process; process = process->next) {
		const struct lab_stream *log = &process->err;
		size_t first = log->row_count > rows ? log->row_count - rows : 0;
		if (strcmp(process->name, "ask") == 0)
			continue;
		for (size_t i = first; i < log->row_count; i++)
			events[used] = (struct event){log->rows[i].at_ms, process->name,
				qmt_strn(log->text.data + log->rows[i].begin, log->rows[i].len), used},
			used++;
	}
	size_t skip = player->note_count > 2u * rows ? player->note_count - 2u * rows : 0;
	for (size_t i = skip; events && i < player->note_count; i++)
		events[used] = (struct event){player->notes[i].at_ms, "lab", qmt_str(player->notes[i].text), used}, used++;
	if (used)
		qsort(events, used, sizeof *events, by_time);
	for (size_t i = 0; i < used; i++)
		qmt_buf_printf(
			out, "  %8.3f  %-12s %.*s\n", (double)events[i].at_ms / 1000, events[i].who, QMT_STR_ARG(events[i].text));
	free(events);
}

static void indented(struct qmt_buf *out, const char *head, const struct qmt_buf *text)
{
	qmt_buf_printf(out, "  %s ", head);
	for (size_t i = 0; i < text->len; i++) {
		qmt_buf_append(out, text->data + i, 1);
		if (text->data[i] == '\n' && i + 1 < text->len)
			qmt_buf_str(out, "           ");
	}
	qmt_buf_str(out, "\n");
}

void report_failure(const struct player *player, unsigned rows, struct qmt_buf *out)
{
	const struct lab_failure *failure = &player->failure;
	const struct scenario *scenario = player->scenario;

	if (failure->step)
		qmt_buf_printf(out, "  %s:%u: %s\n", scenario->path, failure->step->line, failure->step->text);
	indented(out, "expected:", &failure->expected);
	if (failure->got.len)
		indented(out, "got:     ", &failure->got);
	qmt_buf_printf(out, "  time line (s since the begin; `lab` is this program):\n");
	time_line(player, rows, out);
	qmt_buf_printf(out, "  again:    qmt-lab run --seed %" PRIu64 " --backend %s%s %s\n", player->options.seed,
		backend_name(player->options.backend), player->options.planted ? " --planted" : "", scenario->path);
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

void report_begin(enum report_style style, unsigned total)
{
	if (style == REPORT_TAP)
		printf("TAP version 13\n1..%u\n", total);
}

static void print_json(const struct report *report)
{
	static const char *const names[] = {"passed", "failed", "skipped", "broken"};
	struct json *object = json_object();
	struct qmt_buf line = {0};
	int rc = json_set(object, "file", json_new_str(qmt_str(report->file)));

	rc |= json_set(object, "sentence", json_new_str(qmt_str(report->sentence)));
	rc |= json_set(object, "backend", json_new_str(qmt_str(backend_name(report->backend))));
	rc |= json_set(object, "seed", json_new_str(qmt_str(qmt_log_u64((char[24]){0}, report->seed))));
	rc |= json_set(object, "planted", json_new_bool(report->planted));
	rc |= json_set(object, "verdict", json_new_str(qmt_str(names[report->verdict])));
	rc |= json_set(object, "ms", json_new_int((int64_t)report->ms));
	rc |= json_set(object, "text", json_new_str(report->text));
	if (rc == 0 && json_write(object, &line) == 0 && !line.failed)
		printf("%s\n", line.data);
	json_free(object);
	qmt_buf_free(&line);
}

static void print_tap(const struct report *report, unsigned number)
{
	bool good = report->verdict == REPORT_PASSED || report->verdict == REPORT_SKIPPED;

	printf("%s %u - %s (%s)", good ? "ok" : "not ok", number, report->file, backend_name(report->backend));
	if (report->verdict == REPORT_SKIPPED)
		printf(" # SKIP %.*s", QMT_STR_ARG(report->text));
	printf("\n");
	if (good)
		return;
	for (uint32_t begin = 0; begin < report->text.len;) {
		const char *from = report->text.p + begin, *end = memchr(from, '\n', report->text.len - begin);
		uint32_t len = end ? (uint32_t)(end - from) : report->text.len - begin;
		printf("# %.*s\n", (int)len, from);
		begin += len + 1;
	}
}

void report_print(enum report_style style, const struct report *report, unsigned number)
{
	if (style == REPORT_JSON) {
		print_json(report);
	} else if (style == REPORT_TAP) {
		print_tap(report, number);
	} else {
		printf("%-7s %6.2f s  %s (%s%s)\n", verdicts[report->verdict], (double)report->ms / 1000, report->file,
			backend_name(report->backend), report->planted ? ", planted" : "");
		if (report->verdict == REPORT_SKIPPED)
			printf("  %.*s\n", QMT_STR_ARG(report->text));
		else if (report->verdict != REPORT_PASSED)
			printf("  %s\n%.*s", report->sentence, QMT_STR_ARG(report->text));
	}
	fflush(stdout);
}

void report_end(enum report_style style, const unsigned counts[4], uint64_t ms)
{
	if (style == REPORT_PLAIN)
		printf("%u passed, %u failed, %u skipped in %.1f s\n", counts[REPORT_PASSED],
			counts[REPORT_FAILED] + counts[REPORT_BROKEN], counts[REPORT_SKIPPED], (double)ms / 1000);
	fflush(stdout);
}
