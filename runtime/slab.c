/* runtime/slab.c - see slab.h.
 *
 * Each thread keeps two magazines a class: one it takes from and gives to, and a full one in reserve, so that a thread
 * which only allocates and one which only frees meet at the depot once in 64 blocks. Magazines are linked through their
 * first block, so a depot cannot overflow. Nobody owns a block: freeing needs no look-up and no atomic.
 *
 * Fresh memory comes in regions that double from 64 KiB (an idle node stays small) to 256 KiB; the large ones are
 * populated at once, which halves the price of first touching them.
 */
#include "slab.h"
#include "test_kit.h"

#include <sys/mman.h>

enum { REGION_FIRST = 64 << 10, REGION_MOST = 256 << 10 };

/* Lies in the fresh memory it describes, where a free block has its links. */
struct leftover {
	struct leftover *next;
	void *untouched[2];
	char *end;
};

size_t qmt__slab_size(uint32_t class)
{
	if (class < CLASS_ACTOR)
		return 64 * ((size_t)class + 1);
	if (class < CLASS_ASK)
		return 64 * ((size_t)class - CLASS_ACTOR + 3);
	return 64;
}

/* Returns the class's first fresh memory of an earlier handle, or new memory. */
static bool cache_grow(struct qmt_ctx *ctx, uint32_t class)
{
	struct cache *cache = &ctx->cache[class];
	struct depot *depot = &ctx->sys->depots[class];
	struct leftover *left;
	struct region *region;

	spin_lock(&depot->lock);
	left = depot->leftovers;
	if (left)
		depot->leftovers = left->next;
	spin_unlock(&depot->lock);
	if (left) {
		cache->bump_end = left->end;
		cache->bump = (char *)left;
		return true;
	}

	size_t bytes = cache->region_bytes ? cache->region_bytes * 2 : REGION_FIRST;
	if (bytes > REGION_MOST)
		bytes = REGION_MOST;
	region = malloc(sizeof *region);
	if (!region)
		return false;
	region->start = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (bytes == REGION_MOST ? MAP_POPULATE : 0), -1, 0);
	if (region->start == MAP_FAILED) {
		free(region);
		return false;
	}
	region->bytes = bytes;
	/* The mailbox word has 47 bits for an address. */
	QMT__INVARIANT(ctx, (uintptr_t)region->start + bytes < (uintptr_t)1 << 47);
	spin_lock(&depot->lock);
	region->next = depot->regions;
	depot->regions = region;
	spin_unlock(&depot->lock);
	cache->region_bytes = bytes;
	cache->bump = region->start;
	cache->bump_end = region->start + bytes;
	return true;
}

static void *cache_bump(struct qmt_ctx *ctx, uint32_t class)
{
	struct cache *cache = &ctx->cache[class];
	size_t size = qmt__slab_size(class);
	void *block;

	if (unlikely((size_t)(cache->bump_end - cache->bump) < size) && !cache_grow(ctx, class))
		return NULL;
	block = cache->bump;
	cache->bump += size;
	return block;
}

void *qmt__slab_refill(struct qmt_ctx *ctx, uint32_t class)
{
	struct cache *cache = &ctx->cache[class];
	struct depot *depot = &ctx->sys->depots[class];
	struct free_block *block = cache->full;

	if (unlikely(ctx->sys->faults != NULL))
		return qmt_kit_out_of_memory(ctx->sys->faults) ? NULL : cache_bump(ctx, class);
	if (block) {
		cache->full = NULL;
		cache->count = MAGAZINE;
	} else if (atomic_load_explicit(&depot->magazines, RELAXED)) {
		bool counted = true;

		spin_lock(&depot->lock);
		uint32_t magazines = atomic_load_explicit(&depot->magazines, RELAXED);
		if (depot->partial) {
			block = depot->partial;
			depot->partial = block->magazine_next;
			counted = false;
		} else if (depot->top) {
			block = depot->top;
			depot->top = block->magazine_next;
		}
		if (block)
			atomic_store_explicit(&depot->magazines, magazines - 1, RELAXED);
		spin_unlock(&depot->lock);
		cache->count = MAGAZINE;
		if (!counted) {
			cache->count = 0;
			for (const struct free_block *b = block; b; b = b->next)
				cache->count++;
		}
	}
	if (!block)
		return cache_bump(ctx, class);
	cache->current = block->next;
	cache->count--;
	return block;
}

static void depot_put(struct depot *depot, struct free_block *magazine, bool full)
{
	struct free_block **list = full ? &depot->top : &depot->partial;

	spin_lock(&depot->lock);
	magazine->magazine_next = *list;
	*list = magazine;
	atomic_store_explicit(&depot->magazines, atomic_load_explicit(&depot->magazines, RELAXED) + 1, RELAXED);
	spin_unlock(&depot->lock);
}

/* `current` has reached MAGAZINE blocks. */
void qmt__slab_spill(struct qmt_ctx *ctx, uint32_t class)
{
	struct cache *cache = &ctx->cache[class];

	if (unlikely(ctx->sys->faults != NULL)) {
		depot_put(&ctx->sys->depots[class], cache->current, false);
		cache->current = NULL;
		cache->count = MAGAZINE - 1;
		return;
	}
	if (cache->full)
		depot_put(&ctx->sys->depots[class], cache->full, true);
	cache->full = cache->current;
	cache->current = NULL;
	cache->count = 0;
}

void qmt__slab_drain(struct qmt_ctx *ctx)
{
	for (uint32_t class = 0; class < CLASSES; class++) {
		struct cache *cache = &ctx->cache[class];
		struct depot *depot = &ctx->sys->depots[class];

		if (cache->full)
			depot_put(depot, cache->full, true);
		if (cache->current)
			depot_put(depot, cache->current, false);
		if ((size_t)(cache->bump_end - cache->bump) >= qmt__slab_size(class)) {
			struct leftover *left = (struct leftover *)(void *)cache->bump;

			left->end = cache->bump_end;
			spin_lock(&depot->lock);
			left->next = depot->leftovers;
			depot->leftovers = left;
			spin_unlock(&depot->lock);
		}
		*cache = (struct cache){0};
	}
}

/* While allocations are counted a cache never has a block: one that is freed spills at once. So the common path need
 * not know of it. */
void qmt__slab_count(struct qmt_ctx *ctx)
{
	qmt__slab_drain(ctx);
	for (uint32_t class = 0; class < CLASSES && ctx->sys->faults; class++)
		ctx->cache[class].count = MAGAZINE - 1;
}

void qmt__slab_fini(struct qmt_system *sys)
{
	for (uint32_t class = 0; class < CLASSES; class++) {
		struct region *region = sys->depots[class].regions, *next;

		for (; region; region = next) {
			next = region->next;
			munmap(region->start, region->bytes);
			free(region);
		}
		sys->depots[class].regions = NULL;
	}
}

void qmt__slab_each_actor(struct qmt_system *sys, void (*fn)(struct qmt_actor *a, void *arg), void *arg)
{
	for (uint32_t class = CLASS_ACTOR; class < CLASS_ASK; class++) {
		struct depot *depot = &sys->depots[class];
		struct region *region;

		spin_lock(&depot->lock);
		region = depot->regions; /* regions are only added, in front, and never change */
		spin_unlock(&depot->lock);
		for (; region; region = region->next)
			for (size_t at = 0; at + qmt__slab_size(class) <= region->bytes; at += qmt__slab_size(class))
				fn((struct qmt_actor *)(void *)(region->start + at), arg);
	}
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

struct qmt_msg *qmt__msg_new_slow(struct qmt_ctx *ctx, size_t bytes)
{
	struct qmt_msg *m;

	if (bytes > SIZE_MAX / 2)
		return NULL;
	if (unlikely(ctx->sys->faults != NULL) && qmt_kit_out_of_memory(ctx->sys->faults))
		return NULL;
	m = aligned_alloc(64, (sizeof *m + bytes + 63) / 64 * 64);
	if (!m)
		return NULL;
	m->class = MSG_CLASS_HEAP;
	return m;
}

/* Messages outside the slabs, and those that own more than their block. */
void qmt__msg_free_slow(struct qmt_ctx *ctx, struct qmt_msg *m)
{
	uint8_t class = m->class & (uint8_t)~MSG_CLASS_CARE;

	if (m->class & MSG_CLASS_CARE) {
		if (m->flags & MSG_PREFIXED)
			qmt__shared_unref(ctx, ((struct prefix *)(void *)m->body)->shared, 1);
		else if (m->type == INTERNAL_OUTGOING)
			qmt_msg_free(ctx, ((struct outgoing_box *)(void *)m->body)->inner);
		else if (m->type == INTERNAL_BOUNCE)
			qmt_msg_free(ctx, ((struct bounce *)(void *)m->body)->message);
		else if (m->type == INTERNAL_JOB) {
			qmt__job_drop(m);
			return;
		}
	}
	if (class == MSG_CLASS_HEAP)
		free(m);
	else
		slab_free(ctx, class, m);
}
