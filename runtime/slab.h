/* runtime/slab.h - blocks of fixed size for messages, actors, asks and watches.
 *
 * Threads:   a cache belongs to one thread; depots are shared, one spin lock a class, taken once per MAGAZINE blocks.
 * Blocks:    never (mmap when memory grows).
 * Limits:    classes as in internal.h. Memory goes back to the kernel when the system is freed, not before.
 * Invariant: a block is never used for another class: actors, asks and watches are type-stable. A free block keeps all
 *            of its bytes but those of struct free_block's two links, which no late sender reads.
 */
#ifndef QMT_RUNTIME_SLAB_H
#define QMT_RUNTIME_SLAB_H

#include "internal.h"

enum { MAGAZINE = 64 };

/* With a sanitizer each message is malloc'ed, so that a use after free in a module is found. */
#if defined(__SANITIZE_ADDRESS__)
#define MESSAGES_FROM_HEAP 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MESSAGES_FROM_HEAP 1
#endif
#endif
#ifndef MESSAGES_FROM_HEAP
#define MESSAGES_FROM_HEAP 0
#endif

size_t qmt__slab_size(uint32_t class);
void *qmt__slab_refill(struct qmt_ctx *ctx, uint32_t class); /* NULL: out of memory */
void qmt__slab_spill(struct qmt_ctx *ctx, uint32_t class);
/* Gives all that the handle holds back to the depots. */
void qmt__slab_drain(struct qmt_ctx *ctx);
void qmt__slab_fini(struct qmt_system *sys);
/* After sys->faults was set or taken away: from now on (no longer) each block of this handle comes from
 * qmt__slab_refill, which counts it. */
void qmt__slab_count(struct qmt_ctx *ctx);
/* Calls fn for each actor block that was ever handed out (some are free, some are being made). */
void qmt__slab_each_actor(struct qmt_system *sys, void (*fn)(struct qmt_actor *a, void *arg), void *arg);

/* Not zeroed. NULL: out of memory. */
static inline void *slab_alloc(struct qmt_ctx *ctx, uint32_t class)
{
	struct cache *cache = &ctx->cache[class];
	struct free_block *block = cache->current;

	if (unlikely(!block))
		return qmt__slab_refill(ctx, class);
	cache->current = block->next;
	cache->count--;
	return block;
}

static inline void slab_free(struct qmt_ctx *ctx, uint32_t class, void *memory)
{
	struct cache *cache = &ctx->cache[class];
	struct free_block *block = memory;

	block->next = cache->current;
	cache->current = block;
	if (unlikely(++cache->count >= MAGAZINE))
		qmt__slab_spill(ctx, class);
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

struct qmt_msg *qmt__msg_new_slow(struct qmt_ctx *ctx, size_t bytes);
void qmt__msg_free_slow(struct qmt_ctx *ctx, struct qmt_msg *m);
/* message.c: gives up `count` references to a struct shared. */
void qmt__shared_unref(struct qmt_ctx *ctx, struct qmt_msg *shared, uint32_t count);

/* A message with `bytes` of body; type, flags, generations and sender are not set. NULL: out of memory. */
static HOT struct qmt_msg *msg_alloc(struct qmt_ctx *ctx, size_t bytes)
{
	size_t class = (bytes + sizeof(struct qmt_msg) - 1) / 64;
	struct qmt_msg *m;

	if (MESSAGES_FROM_HEAP || unlikely(class >= CLASS_ACTOR))
		return qmt__msg_new_slow(ctx, bytes);
	m = slab_alloc(ctx, (uint32_t)class);
	if (unlikely(!m))
		return NULL;
	m->class = (uint8_t)class;
	return m;
}

static inline void msg_free(struct qmt_ctx *ctx, struct qmt_msg *m)
{
	if (likely(m->class < CLASS_ACTOR))
		slab_free(ctx, m->class, m);
	else
		qmt__msg_free_slow(ctx, m);
}

#endif
