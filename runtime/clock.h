/* runtime/clock.h - the cheap clock of the hot path.
 *
 * Threads: any.   Blocks: never.
 * Why:     reading the exact clock costs 25 to 50 ns here, as much as a whole message. The coarse one (5 ns, kernel's
 *          tick, 1 to 10 ms) is exact enough for deadlines of seconds. It lags by up to one tick, so deadlines made
 *          from it get one tick more: they come late by up to a tick, and early only where the kernel's tick itself
 *          was late (a busy virtual machine: some milliseconds).
 * Seeded:  the virtual clock, as everywhere.
 */
#ifndef QMT_RUNTIME_CLOCK_H
#define QMT_RUNTIME_CLOCK_H

#include <time.h>

#include "internal.h"

static inline uint64_t clock_coarse_ns(const struct qmt_ctx *ctx)
{
	struct timespec now;

	if (unlikely(ctx->sim != NULL))
		return qmt_os_now_ns(ctx->sys->os);
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_coarse_step_ns(void)
{
	struct timespec step;

	clock_getres(CLOCK_MONOTONIC_COARSE, &step);
	return (uint64_t)step.tv_sec * 1000000000 + (uint64_t)step.tv_nsec;
}

#endif
