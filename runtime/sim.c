/* runtime/sim.c - the seeded mode: one thread, a virtual clock, every choice from the seed.
 *
 * Whoever is runnable stands in a list in the order in which it became so; a step takes one of them by chance, or a
 * job. When nothing is runnable the clock jumps to the next timer. Nothing is ordered by address, so the same seed
 * gives the same run; the trace hash over what ran and what it was sent says so.
 */
#include "mailbox.h"
#include "scheduler.h"
#include "test_kit.h"

#include <errno.h>

struct list {
	void **items;
	uint32_t count, capacity;
};

struct sim {
	struct qmt_system *sys;
	struct qmt_ctx *ctx; /* runs all turns */
	struct list runnable; /* struct qmt_actor */
	struct list jobs;     /* struct job */
	uint64_t random, hash, turns;
};

int qmt__sim_init(struct qmt_system *sys)
{
	struct sim *sim = calloc(1, sizeof *sim);

	if (!sim)
		return -ENOMEM;
	sys->sim = sim;
	sim->sys = sys;
	sim->hash = UINT64_C(0xcbf29ce484222325);
	qmt_os_random(sys->os, &sim->random, sizeof sim->random);
	sim->ctx = qmt__ctx_new(sys, CTX_SEEDED);
	return sim->ctx ? 0 : -ENOMEM;
}

struct qmt_ctx *qmt__sim_ctx(struct sim *sim)
{
	return sim->ctx;
}

void qmt__sim_fini(struct qmt_system *sys)
{
	struct sim *sim = sys->sim;

	if (!sim)
		return;
	for (uint32_t i = 0; i < sim->jobs.count; i++)
		qmt__job_drop(qmt__job_message(sim->jobs.items[i]));
	qmt__ctx_free(sim->ctx);
	free(sim->runnable.items);
	free(sim->jobs.items);
	free(sim);
	sys->sim = NULL;
}

static int list_add(struct list *list, void *item)
{
	if (list->count == list->capacity) {
		uint32_t capacity = list->capacity ? list->capacity * 2 : 64;
		void **items = realloc(list->items, capacity * sizeof *items);

		if (!items)
			return -ENOMEM;
		list->items = items;
		list->capacity = capacity;
	}
	list->items[list->count++] = item;
	return 0;
}

/* Takes entry i out and keeps the order of the rest, which is the order of events. */
static void *list_take(struct list *list, uint32_t i)
{
	void *item = list->items[i];

	list->count--;
	memmove(list->items + i, list->items + i + 1, (list->count - i) * sizeof *list->items);
	return item;
}

void qmt__sim_schedule(struct sim *sim, struct qmt_actor *a)
{
	struct qmt_kit_faults *faults = sim->sys->faults;
	bool counting = faults && faults->counting;
	int failed;

	/* The simulator's own memory is not what a test makes fail. */
	if (counting)
		faults->counting = false;
	failed = list_add(&sim->runnable, a);
	if (counting)
		faults->counting = true;
	/* An actor that is runnable and in no list would never run again: nothing sensible could follow. */
	QMT__INVARIANT(sim->ctx, !failed);
}

int qmt__sim_job(struct sim *sim, struct job *job)
{
	return list_add(&sim->jobs, job);
}

/* ---- the trace: FNV-1a, 64 bit (Fowler, Noll, Vo) ---------------------------------------------------------------- */

static void trace_number(struct sim *sim, uint64_t number)
{
	for (unsigned i = 0; i < 8; i++)
		sim->hash = (sim->hash ^ (number >> 8 * i & 255)) * UINT64_C(0x100000001b3);
}

static void trace_text(struct sim *sim, const char *text)
{
	for (; *text; text++)
		sim->hash = (sim->hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
}

static void trace_turn(struct sim *sim, struct qmt_actor *a)
{
	trace_text(sim, actor_desc(a)->name);
	trace_number(sim, (uint64_t)a->serial << 8 | (uint64_t)a->status << 1 |
		(atomic_load_explicit(&a->top, RELAXED) & WORD_SYS));
}

void qmt__sim_taken(struct sim *sim, const struct qmt_msg *m)
{
	for (; m; m = m->next)
		trace_number(sim, (uint64_t)m->flags << 16 | m->type);
}

uint64_t qmt_system_trace_hash(const struct qmt_system *sys)
{
	return sys->sim ? sys->sim->hash : 0;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). */
static uint64_t chance(struct sim *sim)
{
	uint64_t z = sim->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

bool qmt__sim_step(struct qmt_system *sys, uint64_t until_ns)
{
	struct sim *sim = sys->sim;
	uint64_t now = qmt_os_now_ns(sys->os), due = atomic_load_explicit(&sys->timers.next_ns, RELAXED);
	uint32_t choice;

	if (due <= now) {
		qmt__timers_fire(sim->ctx, now);
		return true;
	}
	if (!sim->runnable.count && !sim->jobs.count) {
		if (due == UINT64_MAX || due > until_ns)
			return false;
		qmt_os_advance(sys->os, due - now);
		return true;
	}
	choice = (uint32_t)(chance(sim) % (sim->runnable.count + sim->jobs.count));
	sim->turns++;
	if (choice < sim->runnable.count) {
		struct qmt_actor *a = list_take(&sim->runnable, choice);

		trace_turn(sim, a);
		qmt__turn(sim->ctx, a);
	} else {
		trace_text(sim, "job");
		qmt__job_run(sim->ctx, list_take(&sim->jobs, choice - sim->runnable.count));
	}
	return true;
}

uint64_t qmt_system_run(struct qmt_system *sys, uint64_t for_ms)
{
	struct sim *sim = sys->sim;
	uint64_t before, until, now;

	if (!sim)
		return 0;
	before = sim->turns;
	until = qmt_os_now_ns(sys->os) + for_ms * NS_PER_MS;
	while (qmt__sim_step(sys, until))
		;
	now = qmt_os_now_ns(sys->os);
	if (now < until)
		qmt_os_advance(sys->os, until - now);
	return sim->turns - before;
}
