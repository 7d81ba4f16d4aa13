/* cmd/qmt-lab.c - `qmt-lab`: runs scenarios, checks them, explains their language; upstream and peer are programs
 * for them. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/lab/keeper.h"
#include "cmd/lab/lab_help.h"
#include "cmd/lab/programs.h"

enum { OK = 0, FAILED = 1, USAGE = 2, INTERRUPTED = 130 };

struct options {
	const char *value[LAB_OPTION_COUNT]; /* NULL: not given */
	char **files;
	int file_count;
	uint64_t jobs, seed, limit_s, rows;
	unsigned backends;
	char programs[4096], clock_shim[4200];
	const char *base;
};

__attribute__((format(printf, 1, 2))) static int complain(const char *format, ...)
{
	va_list args;

	fputs("qmt-lab: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return USAGE;
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

static int number(
	const struct options *options, enum lab_option_id id, uint64_t least, uint64_t most, uint64_t *ret_value)
{
	const char *text = options->value[id];
	char *end;

	if (!text)
		return OK;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno || !*text || *end || text[0] == '-' || value < least || value > most)
		return complain(
			"--%s: \"%s\" is no number from %" PRIu64 " to %" PRIu64, lab_option_rows[id].name, text, least, most);
	*ret_value = value;
	return OK;
}

static int parse(int argc, char **argv, unsigned allowed, struct options *options)
{
	options->files = calloc((size_t)argc + 1, sizeof *options->files);
	if (!options->files)
		return FAILED;
	for (int i = 0; i < argc; i++) {
		const char *arg = argv[i];
		if (arg[0] != '-' || arg[1] == '\0') {
			options->files[options->file_count++] = argv[i];
			continue;
		}
		const char *equals = strchr(arg, '=');
		size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
		int id = 0;
		while (id < LAB_OPTION_COUNT &&
			(len < 3 || strlen(lab_option_rows[id].name) != len - 2 ||
				memcmp(lab_option_rows[id].name, arg + 2, len - 2) != 0))
			id++;
		if (id == LAB_OPTION_COUNT || !(allowed & 1u << id))
			return complain("no such option here: %.*s (see qmt-lab help)", (int)len, arg);
		if (!lab_option_rows[id].value && equals)
			return complain("%.*s takes no value", (int)len, arg);
		if (lab_option_rows[id].value && !equals && i + 1 == argc)
			return complain("%s wants a value: %s", arg, lab_option_rows[id].value);
		options->value[id] = equals ? equals + 1 : lab_option_rows[id].value ? argv[++i] : "";
	}
	options->jobs = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN) * 2;
	options->limit_s = 120;
	options->rows = 30;
	options->backends = LAB_LOOPBACK | LAB_NETNS;
	const char *backend = options->value[LAB_OPTION_backend];
	if (backend && strcmp(backend, "loopback") == 0)
		options->backends = LAB_LOOPBACK;
	else if (backend && strcmp(backend, "netns") == 0)
		options->backends = LAB_NETNS;
	else if (backend && strcmp(backend, "all") != 0)
		return complain("--backend: \"%s\" is not loopback, netns or all", backend);
	struct qmt_os *os = qmt_os_new(false, 0, 0);
	if (!os)
		return FAILED;
	qmt_os_random(os, &options->seed, sizeof options->seed);
	options->seed %= 1000000000; /* short enough to be typed */
	qmt_os_free(os);
	if (number(options, LAB_OPTION_jobs, 1, 256, &options->jobs) != OK ||
		number(options, LAB_OPTION_seed, 0, UINT64_MAX, &options->seed) != OK ||
		number(options, LAB_OPTION_limit, 1, 86400, &options->limit_s) != OK ||
		number(options, LAB_OPTION_rows, 1, 100000, &options->rows) != OK)
		return USAGE;
	return OK;
}

/* The folder that this program lies in: qmtd and qmt are beside it, installed or not. */
static int find_programs(struct options *options)
{
	ssize_t n = readlink("/proc/self/exe", options->programs, sizeof options->programs - 16);

	if (n <= 0)
		return complain("/proc/self/exe: %s", strerror(errno));
	options->programs[n] = '\0';
	*strrchr(options->programs, '/') = '\0';
	snprintf(options->clock_shim, sizeof options->clock_shim, "%s/libqmt-lab-clock.so", options->programs);
	if (access(options->clock_shim, R_OK) != 0)
		snprintf(
			options->clock_shim, sizeof options->clock_shim, "%s/../lib/qmt/libqmt-lab-clock.so", options->programs);
	if (access(options->clock_shim, R_OK) != 0)
		options->clock_shim[0] = '\0';
	options->base = getenv("TMPDIR");
	if (!options->base || options->base[0] != '/')
		options->base = "/tmp";
	return OK;
}

/* ---- run --------------------------------------------------------------------------------------------------------- */

struct job {
	const struct scenario *scenario;
	struct keeper keeper;
	struct report report;
	uint64_t began_ms;
	enum { WAITING, RUNNING, ENDED } state;
};

static int load(const struct options *options, struct scenario **scenarios)
{
	struct qmt_buf complaints = {0};
	int status = OK;

	if (!options->file_count)
		return complain("which scenario? (files that end in .lab)");
	for (int i = 0; i < options->file_count; i++)
		if (scenario_load(options->files[i], &scenarios[i], &complaints) != 0)
			status = USAGE;
	if (complaints.len)
		fwrite(complaints.data, 1, complaints.len, stderr);
	qmt_buf_free(&complaints);
	return status;
}

/* With --planted, to fail is what is wanted; one that has no planted fault proves nothing. */
static void turn_round(struct job *job, const struct options *options)
{
	if (!options->value[LAB_OPTION_planted])
		return;
	if (job->report.verdict == REPORT_FAILED) {
		job->report.verdict = REPORT_PASSED;
	} else if (job->report.verdict == REPORT_PASSED) {
		job->report.verdict = REPORT_FAILED;
		job->report.text =
			qmt_str(job->scenario->has_planted ? "  the planted fault was not found: the scenario holds all the same\n"
											   : "  no fault is planted: write a `planted STEP` or a planted file\n");
	}
}

static int job_start(struct job *job, const struct options *options)
{
	job->began_ms = qmt_os_real_now_ms();
	job->report.seed = options->seed;
	job->state = RUNNING;
	return keeper_start(&(struct keeper_options){.scenario = job->scenario,
							.backend = job->report.backend,
							.programs = options->programs,
							.clock_shim = options->clock_shim[0] ? options->clock_shim : NULL,
							.base = options->base,
							.seed = options->seed,
							.limit_ms = options->limit_s * 1000,
							.rows = (unsigned)options->rows,
							.planted = options->value[LAB_OPTION_planted],
							.keep = options->value[LAB_OPTION_keep]},
		&job->keeper);
}

/* Runs all jobs; returns the exit status. */
static int run_jobs(struct job *jobs, unsigned count, const struct options *options, int signals_fd)
{
	enum report_style style = options->value[LAB_OPTION_json] ? REPORT_JSON
		: options->value[LAB_OPTION_tap]                      ? REPORT_TAP
															  : REPORT_PLAIN;
	struct pollfd *fds = calloc(count + 1u, sizeof *fds);
	unsigned counts[4] = {0}, next = 0, running = 0, ended = 0;
	uint64_t began_ms = qmt_os_real_now_ms();
	bool interrupted = false;

	if (!fds)
		return FAILED;
	report_begin(style, count);
	while (running || (next < count && !interrupted)) {
		while (!interrupted && running < options->jobs && next < count) {
			int rc = job_start(&jobs[next], options);
			if (rc != 0) {
				complain("no process for %s: %s", jobs[next].scenario->path, strerror(-rc));
				free(fds);
				return FAILED;
			}
			next++;
			running++;
		}
		for (unsigned i = 0; i < count; i++)
			fds[i] = (struct pollfd){jobs[i].state == RUNNING ? jobs[i].keeper.fd : -1, POLLIN, 0};
		fds[count] = (struct pollfd){signals_fd, POLLIN, 0};
		if (poll(fds, count + 1, -1) < 0 && errno != EINTR)
			break;
		if (fds[count].revents) {
			struct signalfd_siginfo info;
			(void)!read(signals_fd, &info, sizeof info);
			interrupted = true;
			for (unsigned i = 0; i < count; i++)
				if (jobs[i].state == RUNNING)
					keeper_stop(&jobs[i].keeper);
		}
		for (unsigned i = 0; i < count; i++) {
			struct job *job = &jobs[i];
			if (!fds[i].revents || keeper_read(&job->keeper, &job->report) == 0)
				continue;
			job->state = ENDED;
			running--;
			job->report.ms = qmt_os_real_now_ms() - job->began_ms;
			turn_round(job, options);
			counts[job->report.verdict]++;
			report_print(style, &job->report, ++ended);
			keeper_free(&job->keeper);
		}
	}
	report_end(style, counts, qmt_os_real_now_ms() - began_ms);
	free(fds);
	return interrupted ? INTERRUPTED : counts[REPORT_FAILED] + counts[REPORT_BROKEN] ? FAILED : OK;
}

static int run_scenarios(struct scenario **scenarios, const struct options *options)
{
	struct job *jobs = calloc((size_t)options->file_count * 2 + 1, sizeof *jobs);
	unsigned count = 0;
	sigset_t signals;
	int status = FAILED;

	for (int i = 0; jobs && i < options->file_count; i++)
		for (unsigned backend = LAB_LOOPBACK; backend <= LAB_NETNS; backend *= 2)
			if (scenarios[i]->backends & options->backends & backend)
				jobs[count++] = (struct job){.scenario = scenarios[i],
					.report = {.file = scenarios[i]->path,
						.sentence = scenarios[i]->sentence,
						.backend = backend,
						.planted = options->value[LAB_OPTION_planted]}};
	if (!count) {
		free(jobs);
		return complain("no scenario is for --backend %s", options->value[LAB_OPTION_backend]);
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	int signals_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	keeper_sweep(options->base);
	if (jobs && signals_fd >= 0)
		status = run_jobs(jobs, count, options, signals_fd);
	if (signals_fd >= 0)
		close(signals_fd);
	free(jobs);
	return status;
}

static int run_command(int argc, char **argv)
{
	unsigned allowed = (1u << LAB_OPTION_COUNT) - 1;
	struct options options = {0};
	struct scenario **scenarios = NULL;
	int status = parse(argc - 1, argv + 1, allowed, &options);

	if (status == OK && options.value[LAB_OPTION_help]) {
		lab_help();
	} else if (status == OK) {
		scenarios = calloc((size_t)options.file_count + 1, sizeof *scenarios);
		status = !scenarios ? FAILED : load(&options, scenarios);
		if (status == OK)
			status = find_programs(&options);
		if (status == OK)
			status = run_scenarios(scenarios, &options);
	}
	for (int i = 0; scenarios && i < options.file_count; i++)
		scenario_free(scenarios[i]);
	free(scenarios);
	free(options.files);
	return status;
}

static int check_command(int argc, char **argv)
{
	struct options options = {0};
	struct scenario **scenarios = NULL;
	int status = parse(argc - 1, argv + 1, 1u << LAB_OPTION_help, &options);

	if (status == OK) {
		scenarios = calloc((size_t)options.file_count + 1, sizeof *scenarios);
		status = !scenarios ? FAILED : load(&options, scenarios);
	}
	for (int i = 0; scenarios && i < options.file_count; i++) {
		if (status == OK)
			printf("%s: ok\n", options.files[i]);
		scenario_free(scenarios[i]);
	}
	free(scenarios);
	free(options.files);
	return status;
}

static int help_command(int argc, char **argv)
{
	if (argc > 1 && !lab_help_topic(argv[1]))
		return complain("no such topic: %s (steps, tests, man)", argv[1]);
	if (argc <= 1)
		lab_help();
	return OK;
}

const struct lab_command lab_commands[] = {
	{"run", run_command, "FILE... [OPTION]...",
		"Run scenarios; the status is 0 when all that could run hold, 1 when one failed."},
	{"check", check_command, "FILE...", "Read them and say all that is wrong, without running anything."},
	{"help", help_command, "[steps|tests|man]", "This help; every step; every test; the man page as roff."},
	{"upstream", lab_upstream_main, "--listen IP:PORT SCRIPT",
		"A stand-in for an HTTP model server that misbehaves by script."},
	{"peer", lab_peer_main, "MODE ADDRESS", "A hostile peer of a node."},
	{NULL, NULL, NULL, NULL},
};

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "--help";

	if (strcmp(name, "--version") == 0) {
		printf("qmt-lab %s\n", QMT_VERSION);
		return OK;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		return help_command(1, argv);
	for (const struct lab_command *command = lab_commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command->run(argc - 1, argv + 1);
	return complain("no such command: %s (see qmt-lab help)", name);
}
