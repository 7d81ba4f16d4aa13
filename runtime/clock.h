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

/* What is cheaper still and exact: a counter of the processor, for differences. Its rate is found out when somebody
 * asks (waits.c). */
static inline uint64_t clock_ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t ticks;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
	return ticks;
#else
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
#endif
}

static inline uint64_t clock_coarse_ns(const struct qmt_ctx *ctx)
{
	struct timespec now;

	if (unlikely(ctx->sim != NULL))
		return qmt_os_now_ns(ctx->sys->os);
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

#endif
