/* runtime/park.c - workers without work: sleeping, waking, and the descriptors that all of them wait on.
 *
 * All parked workers wait in one epoll, so whoever is parked is the poller, and a descriptor, a timer or a wake-up from
 * outside costs no hop between threads.
 *
 * One word says who sleeps: sleepers in the low half, wakes under way ("tokens") in the high half. A waker adds a token
 * only when some sleeper has none; whoever leaves the sleep, for whatever reason, takes one token along. A wake that
 * meets nobody is harmless. Two writes to the eventfd before one epoll_wait may be one edge, so whoever leaves passes a
 * token that is left on: otherwise it would silence wake_one for ever.
 *
 * The watch: a turn that does not end strands what is in its worker's slot and ring while the others may all be asleep.
 * While somebody works and somebody sleeps a timer wakes one sleeper (2 ms, doubling to 32 while all is well), who
 * takes the work of a worker that has not moved, or whose ring still holds what it held when the timer was armed.
 * Nobody works: the timer is not armed again.
 */
#include "scheduler.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* In epoll_event.data; watches have addresses (fd.c). */
enum { ON_WAKE = 1, ON_TIMER = 2, ON_WATCH = 3, ON_OWN_LAST = ON_WATCH };

enum { POLL_EVENTS = 32 };

static uint32_t sleepers(uint64_t word)
{
	return (uint32_t)word;
}

static uint32_t tokens(uint64_t word)
{
	return (uint32_t)(word >> 32);
}

static void wake_write(struct qmt_system *sys)
{
	uint64_t one = 1;
	/* edge-triggered: wakes one epoll_wait. Full: an edge is due */
	ssize_t wrote = write(sys->wake_fd, &one, sizeof one);

	(void)wrote;
}

void qmt__wake_one(struct qmt_system *sys)
{
	/* seq_cst: pairs with the parker's increment, see schedule_elsewhere */
	uint64_t word = atomic_load(&sys->sleep);

	do {
		if (sleepers(word) <= tokens(word))
			return;
	} while (!atomic_compare_exchange_weak(&sys->sleep, &word, word + (UINT64_C(1) << 32)));
	wake_write(sys);
}

void qmt__wake_all(struct qmt_system *sys)
{
	for (uint32_t i = 0; i < sys->worker_count; i++)
		wake_write(sys);
}

static void leave_sleep(struct qmt_system *sys)
{
	uint64_t word = atomic_load_explicit(&sys->sleep, RELAXED), left;

	do {
		left = tokens(word) ? word - (UINT64_C(1) << 32) - 1 : word - 1;
	} while (!atomic_compare_exchange_weak(&sys->sleep, &word, left));
	if (sleepers(left) && (tokens(left) || atomic_load(&sys->quit)))
		wake_write(sys);
}

/* ---- timers of the kernel ---------------------------------------------------------------------------------------- */

/* 0: not at all. */
static void timer_fd_set(int fd, uint64_t at_ns, int flags)
{
	struct itimerspec spec = {.it_value = {.tv_sec = (time_t)(at_ns / 1000000000),
		.tv_nsec = (long)(at_ns % 1000000000)}};

	timerfd_settime(fd, flags, &spec, NULL);
}

void qmt__timer_fd_set(struct qmt_system *sys, uint64_t at_ns)
{
	timer_fd_set(sys->timer_fd, at_ns, TFD_TIMER_ABSTIME);
}

static void watch_arm(struct qmt_system *sys, uint32_t ms)
{
	for (uint32_t i = 0; i < sys->worker_count; i++) {
		struct qmt_ctx *worker = sys->workers[i];

		atomic_store_explicit(&sys->watch_turns[i], atomic_load_explicit(&worker->turns, RELAXED), RELAXED);
		atomic_store_explicit(&sys->watch_tail[i], atomic_load_explicit(&worker->tail, RELAXED), RELAXED);
	}
	atomic_store_explicit(&sys->watch_ms, ms, RELAXED);
	timer_fd_set(sys->watch_fd, (uint64_t)ms * NS_PER_MS, 0);
}

static void watch_start(struct qmt_system *sys)
{
	/* seq_cst: pairs with watch_rescue, which gives the watch up and then looks for who works */
	if (!atomic_load(&sys->watching) && !atomic_exchange(&sys->watching, 1))
		watch_arm(sys, WATCH_MIN_MS);
}

/* A worker begins to work after it had none. */
void qmt__watch_while_working(struct qmt_ctx *ctx)
{
	if (sleepers(atomic_load_explicit(&ctx->sys->sleep, RELAXED)))
		watch_start(ctx->sys);
}

static bool others_work(struct qmt_ctx *ctx)
{
	struct qmt_system *sys = ctx->sys;

	for (uint32_t i = 0; i < sys->worker_count; i++)
		if (sys->workers[i] != ctx && !atomic_load(&sys->workers[i]->parked))
			return true;
	return false;
}

/* The turn did not end, or the ring has not come to what waited when the watch was armed. */
static bool is_stuck(struct qmt_ctx *worker, uint32_t turns, uint32_t tail)
{
	return atomic_load_explicit(&worker->turns, RELAXED) == turns ||
		(int32_t)(atomic_load_explicit(&worker->head, RELAXED) - tail) < 0;
}

/* The watch was due and we were asleep. Returns work of a worker that is stuck. */
static struct qmt_actor *watch_rescue(struct qmt_ctx *ctx)
{
	struct qmt_system *sys = ctx->sys;
	uint32_t ms = atomic_load_explicit(&sys->watch_ms, RELAXED);

	for (uint32_t i = 0; i < sys->worker_count; i++) {
		struct qmt_ctx *victim = sys->workers[i];
		struct qmt_actor *a;

		if (victim == ctx || atomic_load_explicit(&victim->parked, RELAXED))
			continue;
		if (!is_stuck(victim, atomic_load_explicit(&sys->watch_turns[i], RELAXED),
				atomic_load_explicit(&sys->watch_tail[i], RELAXED)))
			continue;
		atomic_store_explicit(&victim->late, 1, RELAXED);
		a = atomic_exchange_explicit(&victim->slot, NULL, ACQUIRE);
		if (!a)
			a = qmt__steal(ctx);
		if (a) {
			watch_arm(sys, WATCH_MIN_MS);
			return a;
		}
	}
	if (others_work(ctx)) {
		watch_arm(sys, ms < WATCH_MAX_MS ? ms * 2 : ms);
		return NULL;
	}
	atomic_store(&sys->watching, 0);
	if (others_work(ctx))
		watch_start(sys);
	return NULL;
}

/* ---- the shared epoll -------------------------------------------------------------------------------------------- */

/* ret_watch: the watch was due; NULL: the caller is busy and will not sleep. */
static void poll_fds(struct qmt_ctx *ctx, int timeout_ms, bool *ret_watch)
{
	struct epoll_event events[POLL_EVENTS];
	int count = epoll_wait(ctx->sys->epoll_fd, events, POLL_EVENTS, timeout_ms);

	for (int i = 0; i < count; i++) {
		switch (events[i].data.u64) {
		case ON_WAKE:
			break; /* edge-triggered, never read */
		case ON_TIMER:
			qmt__timers_fire(ctx, now_ns(ctx));
			break;
		case ON_WATCH:
			if (ret_watch)
				*ret_watch = true;
			else
				watch_arm(ctx->sys, WATCH_MIN_MS);
			break;
		default:
			qmt__fd_ready(ctx, events[i].data.u64, events[i].events);
		}
	}
}

void qmt__poll_busy(struct qmt_ctx *ctx, uint64_t now)
{
	uint32_t nobody = 0;

	ctx->last_poll_ns = now;
	if (atomic_compare_exchange_strong_explicit(&ctx->sys->polling, &nobody, 1, ACQUIRE, RELAXED)) {
		poll_fds(ctx, 0, NULL);
		atomic_store_explicit(&ctx->sys->polling, 0, RELEASE);
	}
}

/* Looks for a while, as long as looking pays: the budget halves on a miss, doubles on a hit, and is probed now and
 * then. */
static struct qmt_actor *spin_for_work(struct qmt_ctx *ctx)
{
	uint32_t budget = ctx->spin;

	if (ctx->parks % 64 == 63 && budget < SPIN_MAX / 4)
		budget = SPIN_MAX / 4;
	for (uint32_t i = 0; i < budget; i++) {
		struct qmt_actor *a;

		cpu_relax();
		if (i % 8 == 0 && (a = qmt__work_find(ctx)) != NULL) {
			ctx->spin = ctx->spin * 2 + 16 > SPIN_MAX ? SPIN_MAX : ctx->spin * 2 + 16;
			return a;
		}
		if (atomic_load_explicit(&ctx->sys->quit, RELAXED))
			break;
	}
	ctx->spin /= 2;
	return NULL;
}

/* Sleeps until there may be work. Returns some, or NULL: look again. */
struct qmt_actor *qmt__park(struct qmt_ctx *ctx)
{
	struct qmt_system *sys = ctx->sys;
	struct qmt_actor *a = spin_for_work(ctx);
	bool watch = false;
	uint64_t before;

	if (a)
		return a;
	ctx->parks++;
	atomic_store_explicit(&ctx->parked, 1, RELAXED);
	before = atomic_fetch_add(&sys->sleep, 1); /* seq_cst: a sender from outside sees this, or we see its actor */
	a = qmt__work_find(ctx);
	if (!a && !atomic_load(&sys->quit)) {
		if (sleepers(before) + 1 < sys->worker_count)
			watch_start(sys); /* over those who still work */
		poll_fds(ctx, -1, &watch);
	}
	leave_sleep(sys);
	atomic_store(&ctx->parked, 0); /* seq_cst: as in watch_start */
	if (watch) {
		struct qmt_actor *rescued = watch_rescue(ctx);

		if (rescued)
			ring_push(ctx, rescued);
	}
	/* what polling made runnable is in our slot and ring */
	return a ? a : slot_swap(ctx, NULL);
}

/* ---- set-up ------------------------------------------------------------------------------------------------------ */

static int epoll_add(int epoll_fd, int fd, uint64_t data)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = data};

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int qmt__park_init(struct qmt_system *sys)
{
	int failed;

	sys->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	sys->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	sys->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	sys->watch_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (sys->epoll_fd < 0 || sys->wake_fd < 0 || sys->timer_fd < 0 || sys->watch_fd < 0)
		return -errno;
	failed = epoll_add(sys->epoll_fd, sys->wake_fd, ON_WAKE);
	if (!failed)
		failed = epoll_add(sys->epoll_fd, sys->timer_fd, ON_TIMER);
	if (!failed)
		failed = epoll_add(sys->epoll_fd, sys->watch_fd, ON_WATCH);
	return failed;
}

void qmt__park_fini(struct qmt_system *sys)
{
	const int fds[] = {sys->epoll_fd, sys->wake_fd, sys->timer_fd, sys->watch_fd};

	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}
