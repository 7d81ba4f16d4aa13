/* runtime/scheduler.h - who runs when: local queues, stealing, parking.
 *
 * Threads:   schedule from any thread that has the right to (mailbox.h); queues as internal.h says.
 * Blocks:    only a worker without work, in epoll_wait (park.c).
 * Order:     what a turn makes runnable goes to the LIFO slot, what was there to the ring's end; after SLOT_RUNS turns
 *            out of the slot the ring has its turn. Overflow of the ring: blocks, the owner takes the newest, a block
 *            older than BLOCK_OLD_US goes first, so nobody waits for ever.
 * Wakes:     a worker is woken (a) for work from outside, (b) when a ring overflows, (c) for work that waited LATE_US,
 *            looked at each TICK_TURNS turns. Thieves touch only workers marked late. That keeps two workers as fast as
 *            one on tiny messages: a wake across CPUs costs more than a thousand of them.
 */
#ifndef QMT_RUNTIME_SCHEDULER_H
#define QMT_RUNTIME_SCHEDULER_H

#include "internal.h"
#include "mailbox.h"

void qmt__ring_push_full(struct qmt_ctx *ctx, struct qmt_actor *a);
void qmt__schedule_elsewhere(struct qmt_ctx *ctx, struct qmt_actor *a);
void qmt__worker_main(void *ctx);
/* Work for the worker that asks, without parking; NULL: none. */
struct qmt_actor *qmt__work_find(struct qmt_ctx *ctx);
struct qmt_actor *qmt__steal(struct qmt_ctx *ctx);

/* park.c */
int qmt__park_init(struct qmt_system *sys);
void qmt__park_fini(struct qmt_system *sys);
void qmt__wake_one(struct qmt_system *sys);
void qmt__wake_all(struct qmt_system *sys);
struct qmt_actor *qmt__park(struct qmt_ctx *ctx);
void qmt__watch_while_working(struct qmt_ctx *ctx);
void qmt__poll_busy(struct qmt_ctx *ctx, uint64_t now);
void qmt__timer_fd_set(struct qmt_system *sys, uint64_t at_ns);

static inline void ring_push(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	uint32_t tail = atomic_load_explicit(&ctx->tail, RELAXED);
	uint32_t head = atomic_load_explicit(&ctx->head, ACQUIRE); /* pairs with the release of who took from the ring */

	if (unlikely(tail - head >= RING_SLOTS)) {
		qmt__ring_push_full(ctx, a);
		return;
	}
	atomic_store_explicit(&ctx->ring[tail % RING_SLOTS], a, RELAXED);
	atomic_store_explicit(&ctx->tail, tail + 1, RELEASE); /* pairs with the acquire in ring_pop and steal */
}

/* Puts `a` (or NULL) into the LIFO slot and returns what was there. Exchange, as a thief may be at it. */
static inline struct qmt_actor *slot_swap(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	if (!atomic_load_explicit(&ctx->slot, RELAXED)) {
		if (a)
			atomic_store_explicit(&ctx->slot, a, RELEASE);
		return NULL;
	}
	return atomic_exchange_explicit(&ctx->slot, a, ACQ_REL);
}

/* Makes an actor run; the caller holds the right to (mailbox.h) and gives it away. */
static inline void schedule(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct qmt_actor *displaced;

	if (unlikely(!ctx_is_worker(ctx) || a->host)) {
		qmt__schedule_elsewhere(ctx, a);
		return;
	}
	displaced = slot_swap(ctx, a);
	if (displaced)
		ring_push(ctx, displaced);
}

/* The same, behind all others. */
static inline void schedule_last(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	if (unlikely(!ctx_is_worker(ctx) || a->host))
		qmt__schedule_elsewhere(ctx, a);
	else
		ring_push(ctx, a);
}

/* Something other than a normal message waits for `a`. Publish it first. */
static inline void notify(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	uint64_t old = atomic_load_explicit(&a->top, RELAXED);

	do {
		if (word_is_closed(old))
			return;
	} while (!atomic_compare_exchange_weak_explicit(&a->top, &old, old | WORD_SYS, ACQ_REL, RELAXED));
	if (word_is_idle(old))
		schedule(ctx, a);
}

static inline void notify_pending(struct qmt_ctx *ctx, struct qmt_actor *a, uint32_t pending)
{
	atomic_fetch_or_explicit(&a->pending, pending, ACQ_REL);
	notify(ctx, a);
}

#endif
