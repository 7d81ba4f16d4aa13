/* runtime/scheduler.c - see scheduler.h for what runs when and why. */
#include "scheduler.h"

#include "clock.h"

/* ---- overflow of a ring ------------------------------------------------------------------------------------------ */

/* Moves the older half of the full ring into a block; thieves may have made room meanwhile. */
void qmt__ring_push_full(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	uint32_t head = atomic_load_explicit(&ctx->head, ACQUIRE);
	struct run_block *block = malloc(sizeof *block);

	if (!block) {
		/* The inject list needs no memory. It is shared and slow, and it works. */
		qmt__schedule_elsewhere(ctx, a);
		return;
	}
	for (block->count = 0; block->count < RING_SLOTS / 2; block->count++)
		block->actors[block->count] = atomic_load_explicit(&ctx->ring[(head + block->count) % RING_SLOTS], RELAXED);
	if (atomic_load_explicit(&ctx->tail, RELAXED) - head < RING_SLOTS ||
		!atomic_compare_exchange_strong_explicit(&ctx->head, &head, head + RING_SLOTS / 2, ACQ_REL, RELAXED)) {
		free(block);
		ring_push(ctx, a);
		return;
	}
	block->born_ns = now_ns(ctx);
	block->newer = NULL;
	spin_lock(&ctx->block_lock);
	block->older = ctx->newest;
	if (ctx->newest)
		ctx->newest->newer = block;
	else
		ctx->oldest = block;
	ctx->newest = block;
	atomic_fetch_add_explicit(&ctx->blocks, 1, RELAXED);
	spin_unlock(&ctx->block_lock);
	atomic_store_explicit(&ctx->late, 1, RELAXED);
	qmt__wake_one(ctx->sys);
	ring_push(ctx, a);
}

/* Moves the newest or oldest block of `victim` into our ring, if it was born before, and returns its first actor. */
static struct qmt_actor *block_take(struct qmt_ctx *ctx, struct qmt_ctx *victim, bool newest, uint64_t born_before_ns)
{
	struct run_block *block;
	struct qmt_actor *first;

	if (atomic_load_explicit(&victim->blocks, RELAXED) == 0)
		return NULL;
	spin_lock(&victim->block_lock);
	block = newest ? victim->newest : victim->oldest;
	if (block && block->born_ns > born_before_ns)
		block = NULL;
	if (block) {
		if (block->newer)
			block->newer->older = block->older;
		else
			victim->newest = block->older;
		if (block->older)
			block->older->newer = block->newer;
		else
			victim->oldest = block->newer;
		atomic_fetch_sub_explicit(&victim->blocks, 1, RELAXED);
	}
	spin_unlock(&victim->block_lock);
	if (!block)
		return NULL;
	for (uint32_t i = 1; i < block->count; i++)
		ring_push(ctx, block->actors[i]);
	first = block->actors[0];
	free(block);
	return first;
}

/* ---- taking work ------------------------------------------------------------------------------------------------- */

static struct qmt_actor *ring_pop(struct qmt_ctx *ctx)
{
	for (;;) {
		uint32_t head = atomic_load_explicit(&ctx->head, ACQUIRE);
		uint32_t tail = atomic_load_explicit(&ctx->tail, RELAXED);
		struct qmt_actor *a;

		if (head == tail)
			return NULL;
		a = atomic_load_explicit(&ctx->ring[head % RING_SLOTS], RELAXED);
		if (atomic_compare_exchange_strong_explicit(&ctx->head, &head, head + 1, ACQ_REL, RELAXED))
			return a;
	}
}

/* From outside: our share of the inject list goes into the ring. */
static struct qmt_actor *inject_pop(struct qmt_ctx *ctx)
{
	struct qmt_system *sys = ctx->sys;
	struct qmt_actor *first, *a;
	uint32_t waiting, share, got = 0;

	/* seq_cst: pairs with schedule_elsewhere, see there */
	if (atomic_load(&sys->injected) == 0)
		return NULL;
	pthread_mutex_lock(&sys->inject_lock);
	waiting = atomic_load_explicit(&sys->injected, RELAXED);
	share = waiting / sys->worker_count + 1;
	if (share > RING_SLOTS / 2)
		share = RING_SLOTS / 2;
	first = a = sys->inject_first;
	if (first) {
		a = first->queue_next;
		got = 1;
	}
	while (a && got < share &&
		atomic_load_explicit(&ctx->tail, RELAXED) - atomic_load_explicit(&ctx->head, RELAXED) < RING_SLOTS - 1) {
		struct qmt_actor *next = a->queue_next;

		ring_push(ctx, a);
		a = next;
		got++;
	}
	sys->inject_first = a;
	if (!a)
		sys->inject_last = NULL;
	atomic_store(&sys->injected, waiting - got);
	pthread_mutex_unlock(&sys->inject_lock);
	return first;
}

/* Half of the ring of a worker that is late, or its oldest block. */
struct qmt_actor *qmt__steal(struct qmt_ctx *ctx)
{
	struct qmt_system *sys = ctx->sys;
	uint32_t count = sys->worker_count, start;

	ctx->random = ctx->random * 1664525 + 1013904223;
	start = (ctx->random >> 16) % count;
	for (uint32_t i = 0; i < count; i++) {
		struct qmt_ctx *victim = sys->workers[(start + i) % count];
		struct qmt_actor *a, *taken[RING_SLOTS];

		if (victim == ctx || !atomic_load_explicit(&victim->late, RELAXED))
			continue;
		a = block_take(ctx, victim, false, UINT64_MAX);
		if (a)
			return a;
		for (;;) {
			uint32_t head = atomic_load_explicit(&victim->head, ACQUIRE);
			uint32_t tail = atomic_load_explicit(&victim->tail, ACQUIRE); /* pairs with ring_push */
			uint32_t n = tail - head;

			if (n == 0 || n > RING_SLOTS)
				break;
			n -= n / 2;
			for (uint32_t k = 0; k < n; k++)
				taken[k] = atomic_load_explicit(&victim->ring[(head + k) % RING_SLOTS], RELAXED);
			if (!atomic_compare_exchange_strong_explicit(&victim->head, &head, head + n, ACQ_REL, RELAXED))
				continue;
			for (uint32_t k = 1; k < n; k++)
				ring_push(ctx, taken[k]);
			return taken[0];
		}
	}
	return NULL;
}

struct qmt_actor *qmt__work_find(struct qmt_ctx *ctx)
{
	struct qmt_actor *a = ring_pop(ctx);

	if (!a)
		a = block_take(ctx, ctx, true, UINT64_MAX);
	if (!a)
		a = inject_pop(ctx);
	if (!a)
		a = qmt__steal(ctx);
	return a;
}

/* ---- from other threads, and for actors with a thread of their own ----------------------------------------------- */

void qmt__schedule_elsewhere(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct qmt_system *sys = ctx->sys;

	if (a->host) {
		qmt__host_wake(a->host);
		return;
	}
	if (ctx->sim) {
		qmt__sim_schedule(ctx->sim, a);
		return;
	}
	a->queue_next = NULL;
	pthread_mutex_lock(&sys->inject_lock);
	if (sys->inject_last)
		sys->inject_last->queue_next = a;
	else
		sys->inject_first = a;
	sys->inject_last = a;
	/* seq_cst: either a worker that is about to sleep sees this, or wake_one sees it asleep */
	atomic_store(&sys->injected, atomic_load_explicit(&sys->injected, RELAXED) + 1);
	pthread_mutex_unlock(&sys->inject_lock);
	qmt__wake_one(sys);
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

/* Every TICK_TURNS turns. Clocks are read only for those who need them. */
static COLD void tick(struct qmt_ctx *ctx)
{
	struct qmt_system *sys = ctx->sys;
	uint32_t head = atomic_load_explicit(&ctx->head, RELAXED), tail = atomic_load_explicit(&ctx->tail, RELAXED);
	bool polls = atomic_load_explicit(&sys->watched_fds, RELAXED) != 0;
	bool waiting = head != tail || atomic_load_explicit(&ctx->blocks, RELAXED) != 0;
	uint64_t due = atomic_load_explicit(&sys->timers.next_ns, RELAXED), now = 0;

	if (waiting || polls)
		now = now_ns(ctx);
	if ((int32_t)(head - ctx->mark_tail) >= 0) {
		/* All that was in the ring when we last looked has been taken. */
		ctx->mark_tail = tail;
		ctx->mark_ns = now;
		if (atomic_load_explicit(&ctx->late, RELAXED))
			atomic_store_explicit(&ctx->late, 0, RELAXED);
	} else if (now - ctx->mark_ns > LATE_US * NS_PER_US) {
		if (!atomic_load_explicit(&ctx->late, RELAXED))
			atomic_store_explicit(&ctx->late, 1, RELAXED);
		qmt__wake_one(sys);
	}
	if (due != UINT64_MAX) {
		uint64_t coarse = now ? now : clock_coarse_ns(ctx);

		if (coarse >= due)
			qmt__timers_fire(ctx, coarse);
	}
	if (polls && now - ctx->last_poll_ns > POLL_US * NS_PER_US)
		qmt__poll_busy(ctx, now);
	if (atomic_load_explicit(&sys->injected, RELAXED)) {
		struct qmt_actor *a = inject_pop(ctx);

		if (a)
			ring_push(ctx, a);
	}
	if (waiting && tail - head < RING_SLOTS / 2) {
		struct qmt_actor *a = block_take(ctx, ctx, false, now - BLOCK_OLD_US * NS_PER_US);

		if (a)
			ring_push(ctx, a);
	}
}

static inline struct qmt_actor *next_actor(struct qmt_ctx *ctx)
{
	struct qmt_actor *a;

	if (likely(ctx->slot_runs++ < SLOT_RUNS)) {
		a = slot_swap(ctx, NULL);
		if (a)
			return a;
		ctx->slot_runs = 0;
		return ring_pop(ctx);
	}
	ctx->slot_runs = 0;
	a = ring_pop(ctx);
	return a ? a : slot_swap(ctx, NULL);
}

/* One turn in about TICK_TURNS is timed and stands for all since the last one. How many are between two is a matter of
 * chance: actors that take turns in a pattern are not always met at the same place of it. */
static COLD void turn_timed(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	const uint32_t gen = actor_gen(a), stands_for = TICK_TURNS - ctx->skipped;
	uint64_t begin, took;

	ctx->random = ctx->random * 1664525 + 1013904223;
	ctx->skipped = ctx->random >> 29;
	atomic_store_explicit(&ctx->turns, atomic_load_explicit(&ctx->turns, RELAXED) + ctx->skipped, RELAXED);
	begin = clock_ticks();
	qmt__turn(ctx, a);
	took = clock_ticks() - begin;
	/* It may have ended, or run elsewhere by now: blocks are type-stable, and this is an estimate. */
	if (actor_gen(a) == gen)
		atomic_fetch_add_explicit(&a->ticks, took * stands_for, RELAXED);
}

void qmt__worker_main(void *arg)
{
	struct qmt_ctx *ctx = arg;
	struct qmt_system *sys = ctx->sys;

	while (!atomic_load_explicit(&sys->quit, RELAXED)) {
		struct qmt_actor *a = next_actor(ctx);
		uint32_t turns;

		if (unlikely(!a)) {
			a = qmt__work_find(ctx);
			if (!a)
				a = qmt__park(ctx);
			if (!a)
				continue;
			qmt__watch_while_working(ctx);
			if (sys->slow)
				qmt__slow_begin(sys);
		}
		turns = atomic_load_explicit(&ctx->turns, RELAXED) + 1;
		atomic_store_explicit(&ctx->turns, turns, RELAXED);
		if (unlikely(turns % TICK_TURNS == 0)) {
			tick(ctx);
			turn_timed(ctx, a);
		} else {
			qmt__turn(ctx, a);
		}
	}
	pthread_mutex_lock(&sys->state_lock);
	atomic_fetch_sub_explicit(&sys->workers_running, 1, RELEASE);
	pthread_cond_broadcast(&sys->state_changed);
	pthread_mutex_unlock(&sys->state_lock);
}
