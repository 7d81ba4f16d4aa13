/* cmd/lab/keeper.h - runs a scenario in a process of its own and takes away all that it made, whatever becomes of it.
 *
 * Processes: qmt-lab -> keeper -> player -> nodes and commands. The keeper is the reaper of everything below it:
 *            when the
 *          player ends, is killed or crashes, it kills what is left and removes the folder. It is told to do so
 * (SIGTERM)
 *          when qmt-lab dies. The player dies with the keeper, nodes die with the player. A folder that a killed keeper
 *          left is removed by the next run: its lock is free.
 * Threads: call keeper_start while there is one.   Blocks: only keeper_sweep (file system).
 */
#ifndef CMD_LAB_KEEPER_H
#define CMD_LAB_KEEPER_H

#include <sys/types.h>

#include "cmd/lab/report.h"

struct keeper_options {
	const struct scenario *scenario;
	unsigned backend;
	const char *programs, *base; /* base: folder for the scenario's own */
	const char *clock_shim;
	uint64_t seed, limit_ms;
	unsigned rows;
	bool planted, keep;
};

struct keeper {
	pid_t pid;
	int fd; /* what it says; at its end the scenario has ended and all is gone */
	struct qmt_buf said;
};

QMT_MUST_CHECK int keeper_start(const struct keeper_options *options, struct keeper *ret_keeper);
/* Reads some more. 1: at its end (reaped, closed): *report is filled in, its text lives until keeper_free; 0: not
 * yet. */
int keeper_read(struct keeper *keeper, struct report *report);
void keeper_stop(const struct keeper *keeper); /* ends the scenario; keeper_read then comes to its end */
void keeper_free(struct keeper *keeper);

/* Removes folders below `base` that a keeper which was killed has left. */
void keeper_sweep(const char *base);

#endif
