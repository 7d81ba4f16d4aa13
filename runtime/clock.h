/* runtime/clock.h - the cheap clock of the hot path.
 *
 * Threads: any.   Blocks: never.
 * Why:     reading the exact clock costs 25 to 50 ns here, as much as a whole message. The coarse one costs 5 ns and is
 *          the time of the kernel's last tick: 1 to 10 ms old, on a virtual machine that has to wait for its processor
 *          more. That is exact enough for deadlines of seconds, if they get a little more time than was asked for.
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

#endif
