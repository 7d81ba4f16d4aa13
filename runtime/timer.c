/* runtime/timer.c - timers.
 *
 * Two levels. Each actor keeps its own timers in a heap that only its turn touches, so starting and cancelling need no
 * lock and "after this fn is not called" holds by itself. The system keeps one entry an actor, for the first thing that
 * is due there (a timer, or the deadline of an ask): re-keyed when something earlier comes, not when things are
 * cancelled. When it is due the actor is told (PENDING_TIMER) and looks for itself. The kernel's timer stands for the
 * first entry of all. An actor with a thread of its own is looked after by that thread (own_thread.c).
 */
#include "scheduler.h"
#include "send.h"

#include <errno.h>

enum { FIRE_AT_ONCE = 64 };

/* ---- the system's heap of actors --------------------------------------------------------------------------------- */

int qmt__timers_init(struct qmt_system *sys)
{
	atomic_store(&sys->timers.next_ns, UINT64_MAX);
	return -pthread_mutex_init(&sys->timers.lock, NULL);
}

void qmt__timers_fini(struct qmt_system *sys)
{
	free(sys->timers.entries);
	pthread_mutex_destroy(&sys->timers.lock);
}

static bool entry_before(const struct timer_entry *a, const struct timer_entry *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->sequence < b->sequence;
}

static void heap_put(struct timer_heap *heap, uint32_t pos, struct timer_entry entry)
{
	heap->entries[pos] = entry;
	entry.actor->timer_pos = pos + 1;
}

/* Puts `entry` into the hole at pos, or where it belongs. */
static void heap_sift(struct timer_heap *heap, uint32_t pos, struct timer_entry entry)
{
	while (pos > 0 && entry_before(&entry, &heap->entries[(pos - 1) / 2])) {
		heap_put(heap, pos, heap->entries[(pos - 1) / 2]);
		pos = (pos - 1) / 2;
	}
	for (;;) {
		uint32_t child = 2 * pos + 1;

		if (child + 1 < heap->count && entry_before(&heap->entries[child + 1], &heap->entries[child]))
			child++;
		if (child >= heap->count || !entry_before(&heap->entries[child], &entry))
			break;
		heap_put(heap, pos, heap->entries[child]);
		pos = child;
	}
	heap_put(heap, pos, entry);
}

static void heap_remove(struct timer_heap *heap, uint32_t pos)
{
	struct timer_entry last = heap->entries[--heap->count];

	heap->entries[pos].actor->timer_pos = 0;
	if (pos < heap->count)
		heap_sift(heap, pos, last);
}

/* The first entry changed. */
static void heap_set_kernel(struct qmt_system *sys)
{
	struct timer_heap *heap = &sys->timers;
	uint64_t next = heap->count ? heap->entries[0].at_ns : UINT64_MAX;

	if (next == atomic_load_explicit(&heap->next_ns, RELAXED))
		return;
	atomic_store_explicit(&heap->next_ns, next, RELAXED);
	if (!sys->sim)
		qmt__timer_fd_set(sys, next == UINT64_MAX ? 0 : next);
}

void qmt__timer_arm(struct qmt_ctx *ctx, struct qmt_actor *a, uint64_t at_ns)
{
	struct qmt_system *sys = ctx->sys;
	struct timer_heap *heap = &sys->timers;

	a->timer_at = at_ns;
	a->flags |= ACTOR_TIMED;
	if (a->host) {
		a->host->wait_until_ns = at_ns;
		return;
	}
	pthread_mutex_lock(&heap->lock);
	if (!a->timer_pos && heap->count == heap->capacity) {
		uint32_t capacity = heap->capacity ? heap->capacity * 2 : 64;
		struct timer_entry *entries = realloc(heap->entries, capacity * sizeof *entries);

		if (!entries) {
			/* Looked at again with the next thing that is armed; better late than a crash. */
			a->timer_at = 0;
			pthread_mutex_unlock(&heap->lock);
			qmt_log(sys->log, QMT_ERROR, "timer.late", "kind", actor_desc(a)->name, "reason", "out of memory", NULL);
			return;
		}
		heap->entries = entries;
		heap->capacity = capacity;
	}
	uint32_t pos = a->timer_pos ? a->timer_pos - 1 : heap->count++;
	heap_sift(heap, pos, (struct timer_entry){at_ns, heap->sequence++, a});
	heap_set_kernel(sys);
	pthread_mutex_unlock(&heap->lock);
}

void qmt__timer_forget(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct timer_heap *heap = &ctx->sys->timers;

	a->timer_at = 0;
	if (a->host)
		return;
	pthread_mutex_lock(&heap->lock);
	if (a->timer_pos)
		heap_remove(heap, a->timer_pos - 1);
	heap_set_kernel(ctx->sys);
	pthread_mutex_unlock(&heap->lock);
}

/* Tells the actors that have something due. By any worker. */
void qmt__timers_fire(struct qmt_ctx *ctx, uint64_t now)
{
	struct timer_heap *heap = &ctx->sys->timers;
	struct qmt_actor *due[FIRE_AT_ONCE];
	uint32_t count;

	do {
		count = 0;
		pthread_mutex_lock(&heap->lock);
		while (count < FIRE_AT_ONCE && heap->count && heap->entries[0].at_ns <= now) {
			due[count++] = heap->entries[0].actor;
			heap_remove(heap, 0);
		}
		heap_set_kernel(ctx->sys);
		pthread_mutex_unlock(&heap->lock);
		/* An actor may have ended meanwhile, its block may be another's: that one looks for nothing. */
		for (uint32_t i = 0; i < count; i++)
			notify_pending(ctx, due[i], PENDING_TIMER);
	} while (count == FIRE_AT_ONCE);
}

/* ---- an actor's own timers --------------------------------------------------------------------------------------- */

struct delayed_tell {
	struct qmt_ref to;
	const struct qmt_type *type;
	struct qmt_msg *message;
};

struct timer_slot {
	uint64_t at_ns, sequence;
	qmt_timer_fn *fn;   /* NULL: a delayed tell */
	void *arg;
	uint32_t serial;    /* upper half of the id; of this use of the slot */
	uint32_t pos;       /* in the heap */
	uint32_t next_free; /* slot + 1 */
};

struct timer_set {
	struct timer_slot *slots;
	uint32_t *heap; /* slots */
	uint32_t count, used, capacity, free, serial;
	uint64_t sequence;
};

static bool slot_before(const struct timer_set *set, uint32_t a, uint32_t b)
{
	const struct timer_slot *x = &set->slots[a], *y = &set->slots[b];

	return x->at_ns != y->at_ns ? x->at_ns < y->at_ns : x->sequence < y->sequence;
}

static void set_put(struct timer_set *set, uint32_t pos, uint32_t slot)
{
	set->heap[pos] = slot;
	set->slots[slot].pos = pos;
}

static void set_sift(struct timer_set *set, uint32_t pos, uint32_t slot)
{
	while (pos > 0 && slot_before(set, slot, set->heap[(pos - 1) / 2])) {
		set_put(set, pos, set->heap[(pos - 1) / 2]);
		pos = (pos - 1) / 2;
	}
	for (;;) {
		uint32_t child = 2 * pos + 1;

		if (child + 1 < set->count && slot_before(set, set->heap[child + 1], set->heap[child]))
			child++;
		if (child >= set->count || !slot_before(set, set->heap[child], slot))
			break;
		set_put(set, pos, set->heap[child]);
		pos = child;
	}
	set_put(set, pos, slot);
}

static void set_remove(struct timer_set *set, uint32_t slot)
{
	uint32_t pos = set->slots[slot].pos, last = set->heap[--set->count];

	set->slots[slot].serial = 0;
	set->slots[slot].next_free = set->free;
	set->free = slot + 1;
	if (pos < set->count)
		set_sift(set, pos, last);
}

static bool set_grow(struct timer_set *set)
{
	uint32_t capacity = set->capacity ? set->capacity * 2 : 4;
	struct timer_slot *slots = realloc(set->slots, capacity * sizeof *slots);
	uint32_t *heap;

	if (!slots)
		return false;
	set->slots = slots;
	heap = realloc(set->heap, capacity * sizeof *heap);
	if (!heap)
		return false;
	set->heap = heap;
	set->capacity = capacity;
	return true;
}

static int timer_start(struct qmt_ctx *ctx, uint64_t delay_ms, qmt_timer_fn *fn, void *arg, struct qmt_timer *ret_timer)
{
	struct qmt_actor *a = ctx->cur;
	struct actor_ext *ext = qmt__actor_need_ext(a);
	struct timer_set *set;
	struct timer_slot *slot;
	uint64_t now = now_ns(ctx), at;
	uint32_t index;

	if (!ext)
		return -ENOMEM;
	if (!ext->timers)
		ext->timers = calloc(1, sizeof *ext->timers);
	set = ext->timers;
	if (!set || (!set->free && set->used == set->capacity && !set_grow(set)))
		return -ENOMEM;
	at = delay_ms > (UINT64_MAX - now) / NS_PER_MS ? UINT64_MAX - 1 : now + delay_ms * NS_PER_MS;
	if (set->free) {
		index = set->free - 1;
		set->free = set->slots[index].next_free;
	} else {
		index = set->used++;
	}
	if (++set->serial == 0)
		set->serial = 1;
	slot = &set->slots[index];
	*slot = (struct timer_slot){.at_ns = at, .sequence = set->sequence++, .fn = fn, .arg = arg, .serial = set->serial};
	set->count++;
	set_sift(set, set->count - 1, index);
	if (!a->timer_at || at < a->timer_at) {
		qmt__timer_arm(ctx, a, at);
		if (unlikely(!a->timer_at) && at) {
			/* Not armed for want of memory. An actor on hold that counts on it would wait for ever. */
			set_remove(set, index);
			return -ENOMEM;
		}
	}
	if (ret_timer)
		ret_timer->id = (uint64_t)set->serial << 32 | (index + 1);
	return 0;
}

int qmt_timer_start(struct qmt_ctx *ctx, uint64_t delay_ms, qmt_timer_fn *fn, void *arg, struct qmt_timer *ret_timer)
{
	if (!ctx->cur)
		return -ENOTSUP;
	return timer_start(ctx, delay_ms, fn, arg, ret_timer);
}

void qmt_timer_cancel(struct qmt_ctx *ctx, struct qmt_timer *timer)
{
	struct actor_ext *ext = ctx->cur ? actor_ext(ctx->cur) : NULL;
	struct timer_set *set = ext ? ext->timers : NULL;
	uint32_t index = (uint32_t)timer->id, serial = (uint32_t)(timer->id >> 32);

	timer->id = 0;
	if (!set || !index || index > set->used || set->slots[index - 1].serial != serial)
		return;
	set_remove(set, index - 1);
}

/* ---- delayed tells ----------------------------------------------------------------------------------------------- */

int qmt_tell_after(struct qmt_ctx *ctx, uint64_t delay_ms, struct qmt_ref to, const struct qmt_type *type,
	const void *body)
{
	struct delayed_tell *delayed;
	int failed;

	if (!ctx->cur)
		return -ENOTSUP;
	delayed = malloc(sizeof *delayed);
	if (!delayed)
		return -ENOMEM;
	*delayed = (struct delayed_tell){.to = to, .type = type, .message = msg_copy(ctx, &type->record, body)};
	if (delayed->message)
		delayed->message->flags = 0;
	failed = delayed->message ? timer_start(ctx, delay_ms, NULL, delayed, NULL) : -ENOMEM;
	if (failed) {
		qmt_msg_free(ctx, delayed->message);
		free(delayed);
	}
	return failed;
}

static void delayed_free(struct qmt_ctx *ctx, struct delayed_tell *delayed)
{
	qmt_msg_free(ctx, delayed->message);
	free(delayed);
}

static void delayed_send(struct qmt_ctx *ctx, struct qmt_actor *a, struct delayed_tell *delayed)
{
	int failed = qmt_send_msg(ctx, delayed->to, delayed->type, &delayed->message);

	if (failed > 0 && actor_desc(a)->undelivered)
		actor_desc(a)->undelivered(ctx, actor_state(a), delayed->type, delayed->message->body, failed);
	delayed_free(ctx, delayed);
}

/* ---- on the actor's turn ----------------------------------------------------------------------------------------- */

/* Runs what is due: asks that got no answer, then timers. a->timer_at is 0. */
void qmt__timers_due(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	uint64_t now = now_ns(ctx), next = 0;
	struct actor_ext *ext;

	if (a->asks)
		next = qmt__asks_due(ctx, a, now);
	ext = actor_ext(a);
	if (ext && ext->timers) {
		struct timer_set *set = ext->timers;
		uint64_t limit = set->sequence; /* what is started meanwhile waits for the next look */

		while (set->count && !(ctx->ctl & (CTL_STOP | CTL_FAIL))) {
			struct timer_slot slot = set->slots[set->heap[0]];

			if (slot.at_ns > now || slot.sequence >= limit)
				break;
			set_remove(set, set->heap[0]);
			if (slot.fn)
				slot.fn(ctx, actor_state(a), slot.arg);
			else
				delayed_send(ctx, a, slot.arg);
			trace_over(ctx);
		}
		if (set->count && (!next || set->slots[set->heap[0]].at_ns < next))
			next = set->slots[set->heap[0]].at_ns;
	}
	if (next && (!a->timer_at || next < a->timer_at))
		qmt__timer_arm(ctx, a, next);
}

void qmt__timers_release(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct actor_ext *ext = actor_ext(a);
	struct timer_set *set = ext->timers;

	if (!set)
		return;
	for (uint32_t i = 0; i < set->used; i++)
		if (set->slots[i].serial && !set->slots[i].fn)
			delayed_free(ctx, set->slots[i].arg);
	free(set->slots);
	free(set->heap);
	free(set);
	ext->timers = NULL;
}
