/* cmd/lab/player.h - one running scenario: its hosts, processes and variables, and what steps need to work.
 *
 * Threads: one, which runs the loop (libuv).   Blocks: player_run, until the scenario has ended.
 * Order:   Steps are functions that are called when they begin (round 0) and again whenever anything has happened,
 *          until
 *          they say that they are done or have failed. None of them blocks.
 * Clean:   What a scenario makes lives in its folder, in processes below this one, and in namespaces that end with
 *          them: keeper.c takes it away, whatever becomes of this process.
 */
#ifndef CMD_LAB_PLAYER_H
#define CMD_LAB_PLAYER_H

#include <uv.h>

#include "cmd/lab/scenario.h"
#include "runtime/base/err.h"
#include "runtime/base/os.h"

enum { LAB_NODE_PORT = 9000 };

struct player;
struct lab_host;
struct net; /* cable.h: what joins the hosts */

/* ---- processes --------------------------------------------------------------------------------------------------- */

struct lab_row {
	uint64_t at_ms; /* since the scenario began */
	uint32_t begin, len;
};

/* What a process writes, and its lines with the time when they came. */
struct lab_stream {
	struct qmt_buf text;
	struct lab_row *rows; /* whole lines only, until the end of the stream */
	size_t row_count, row_room;
	size_t mark; /* text in front does not count any more */
	bool ended;
};

struct lab_process {
	struct player *player;
	struct lab_host *host;
	char *name;    /* of a node or a spawn; "run" */
	char *command; /* for reports */
	struct qmt_os_child child;
	uv_poll_t exit_poll, out_poll, err_poll;
	unsigned open_polls;
	struct lab_stream out, err;
	bool started, exited; /* exited: reaped, and both streams are at their end */
	bool reaped;
	int status; /* as in waitpid, when reaped */
	struct lab_process *next;
};

/* ---- hosts ------------------------------------------------------------------------------------------------------- */

struct lab_var {
	char *name, *value;
};

struct lab_host {
	struct player *player;
	const char *name;
	char upper[40]; /* as a prefix of variables */
	const char *network;
	unsigned index; /* from 1 */
	char *dir;      /* <folder>/<name>: home, and what the disk step covers */
	const char *config;
	bool is_node;
	struct lab_process *process; /* the running or last qmtd */
	unsigned starts;
	void *net; /* owner: the backend */
};

/* ---- steps under way --------------------------------------------------------------------------------------------- */

enum lab_outcome { LAB_PENDING, LAB_DONE, LAB_FAILED };

/* One step that is being carried out. */
struct lab_run {
	struct player *player;
	const struct lab_step *step;
	struct lab_run *parent, *children, *sibling;
	unsigned round;       /* how often it was called */
	uint64_t deadline_ms; /* on the player's clock */
	uint64_t wake_ms;     /* to be asked again then even if nothing happens; 0: no such time */
	const struct lab_host *host; /* where it runs; NULL: nowhere */
	struct lab_process *process;
	struct lab_process *last; /* of a branch: what the last run in it was */
	const struct lab_step *at;
	int64_t count, counted;
	unsigned word;
	uint64_t seen;
	char **words; /* expanded; made at the first call */
	unsigned word_count;
	uint64_t random; /* of a seeds block: its generator, 0: the parent's */
};

struct lab_failure {
	const struct lab_step *step;
	struct qmt_buf expected, got;
	bool set;
};

struct lab_note {
	uint64_t at_ms;
	char *text;
};

struct player_options {
	const struct scenario *scenario;
	unsigned backend;       /* LAB_LOOPBACK or LAB_NETNS */
	const char *folder;     /* made by the keeper */
	const char *programs;   /* folder with qmtd, qmt and qmt-lab */
	const char *clock_shim; /* libqmt-lab-clock.so, or NULL: there is none */
	uint64_t seed;
	bool planted;
};

struct player {
	struct player_options options;
	const struct scenario *scenario;
	uv_loop_t loop;
	uv_timer_t timer;
	uint64_t began_ms;
	struct lab_host *hosts;
	unsigned host_count;
	struct lab_process *processes;
	struct lab_var *vars;
	size_t var_count;
	struct lab_note *notes;
	size_t note_count;
	struct lab_failure failure;
	struct net *net;
	const struct net_ops *net_ops;
	uint64_t random;
	const char *skip; /* reason, when the machine cannot do it */
	struct qmt_err skip_room;
	uint64_t changes; /* counts what has happened */
};

/* The files of the scenario whose name begins with `prefix`, written below the folder. 0 or -errno. */
QMT_MUST_CHECK int player_files_write(struct player *player, const char *prefix, struct qmt_err *err);
/* Runs it to its end. 0: it holds; 1: it failed (failure says how); 2: skipped; <0 errno: the harness itself failed. */
int player_run(const struct player_options *options, struct player *player);
void player_fini(struct player *player);

/* ---- for steps --------------------------------------------------------------------------------------------------- */

uint64_t player_now_ms(const struct player *player); /* since the scenario began */
/* Something has happened: every pending step is asked again before the loop sleeps. */
void player_changed(struct player *player);
void player_note(struct player *player, const char *format, ...) QMT_PRINTF(2, 3);

/* The first failure counts. Both take printf formats; returns LAB_FAILED. */
enum lab_outcome lab_fail(struct lab_run *run, const char *expected, ...) QMT_PRINTF(2, 3);
void lab_got(struct lab_run *run, const char *format, ...) QMT_PRINTF(2, 3);
/* The deadline of the step has passed. */
bool lab_late(const struct lab_run *run);

/* ${VAR} expanded; heap. NULL after lab_fail: no such variable. */
char *lab_expand(struct lab_run *run, const char *word);
void lab_set(struct player *player, const char *name, const char *value);
const char *lab_get(const struct player *player, const char *name);

struct lab_host *lab_host_find(struct player *player, const char *name);
/* A node's current qmtd, or a spawn of that name. NULL: none was started. */
struct lab_process *lab_process_find(struct player *player, const char *name);
/* Starts a program on a host; argv[0] "qmt", "qmtd" and "qmt-lab" are those of this build. `in`: file for stdin or
 * NULL.
 * NULL after lab_fail. */
struct lab_process *lab_process_start(
	struct lab_run *run, struct lab_host *host, const char *name, const char *in, char *const *argv, unsigned argc);
void lab_process_signal(struct lab_process *process, int signal);
/* 0 … 255, or 128 + signal. */
int lab_process_code(const struct lab_process *process);
struct qmt_str lab_stream_text(const struct lab_stream *stream); /* behind the mark */
void lab_process_free(struct lab_process *process);

uint64_t lab_random(struct lab_run *run);
int64_t lab_random_between(struct lab_run *run, int64_t low, int64_t high);

/* How far the wall clock of a host is off: its file, which is made when it is missing. */
QMT_MUST_CHECK int lab_clock_write(const char *path, int64_t offset_ms, struct qmt_err *err);

/* ---- tests (look.c) ---------------------------------------------------------------------------------------------- */

/* Does the text pass? 1: yes; 0: not now, and `why` (may be NULL) says what was there; -1 after lab_fail: it never can.
 * words: the test with its arguments, expanded. */
int lab_test(struct lab_run *run, char **words, unsigned count, struct qmt_str text, struct qmt_buf *why);
/* Compares by OP of the steps table; numbers when both are numbers. -1 after lab_fail: no such OP. */
int lab_compare(struct lab_run *run, struct qmt_str have, const char *op, const char *want);

/* ---- the step functions: steps_*.c ------------------------------------------------------------------------------- */

#define LAB_STEP_FUNCTION(group, name, usage, least, most, options, needs, traits, doc) \
	enum lab_outcome lab_step_##name(struct lab_run *run);
LAB_STEPS(LAB_STEP_FUNCTION)
#undef LAB_STEP_FUNCTION

/* Calls the steps below `run` that begin at `run->at`, one after the other. */
enum lab_outcome lab_sequence(struct lab_run *run);
struct lab_run *lab_run_new(struct lab_run *parent, const struct lab_step *step);
void lab_run_free(struct lab_run *run);
enum lab_outcome lab_run_poll(struct lab_run *run);

#endif
