/* cmd/lab/clock_shim.c - a wall clock of its own for the programs of a host: preloaded (LD_PRELOAD), it adds to every
 * reading of the wall clock the milliseconds that the file $QMT_LAB_CLOCK holds, eight bytes in the machine's order.
 * The
 * file is mapped, so a change holds at once, also for programs that run. The monotonic clock stays what it is.
 *
 * Why not libfaketime: with it (0.9.10) a relative timerfd of CLOCK_MONOTONIC never fires, and the runtime sleeps on
 * one.
 *
 * Threads: any.   Blocks: never.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))

static const int64_t *offset; /* set before main, then const: NULL without the variable or the file */

__attribute__((constructor)) static void map_offset(void)
{
	const char *path = getenv("QMT_LAB_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *mapped = fd >= 0 ? mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (fd >= 0)
		close(fd);
	if (mapped != MAP_FAILED)
		offset = mapped;
}

static int64_t offset_ms(void)
{
	return offset ? __atomic_load_n(offset, __ATOMIC_RELAXED) : 0; /* one number: nothing is ordered by it */
}

SHOWN int clock_gettime(clockid_t clock, struct timespec *now)
{
	int rc = (int)syscall(SYS_clock_gettime, clock, now);

	if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI)) {
		int64_t ms = offset_ms(), nanos = now->tv_nsec + ms % 1000 * 1000000;
		now->tv_sec += ms / 1000 + (nanos < 0 ? -1 : nanos >= 1000000000);
		now->tv_nsec = nanos < 0 ? nanos + 1000000000 : nanos % 1000000000;
	}
	return rc;
}

SHOWN int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec fine;

	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &fine) != 0)
		return -1;
	*now = (struct timeval){fine.tv_sec, fine.tv_nsec / 1000};
	return 0;
}

SHOWN time_t time(time_t *ret_now)
{
	struct timespec now = {0};

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret_now)
		*ret_now = now.tv_sec;
	return now.tv_sec;
}
