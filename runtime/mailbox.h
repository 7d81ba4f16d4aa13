/* runtime/mailbox.h - the queue of messages into one actor, and the right to run it: one word.
 *
 *     top = [ address of the newest message >> 6 : 41 | count : 22 | SYS : 1 ]
 *
 *     address 0, SYS 0   idle: nobody runs the actor; who changes that must schedule it
 *     address 1          running (or queued to run), nothing new
 *     address all ones   closed: the actor has ended; sends fail
 *     count              pushes ever, modulo 2^22
 *     SYS                something other than a normal message waits: pending, zombies, system lane, an urgent message
 *
 * Urgent lane: urgent messages stand in the same list, and so under the same bound, count and closing; their push sets
 *            SYS as well. Who clears SYS takes all that the word holds and sorts them out (turn.c); a word with SYS is
 *            not taken from otherwise.
 *
 * Threads:   push and flag from any thread; take and idle only by who runs the actor.
 * Order:     FIFO per sender. A push is one locked instruction and decides order, depth and scheduling at once.
 * Limits:    a bound is the sender's affair (send.c); MAILBOX_HARD_LIMIT holds for all, checked each 2^18 messages, as
 *            the count must not wrap between two takes.
 * Invariant: messages are linked newest to oldest; the link below the oldest one not yet taken is stale and never
 *            followed: the taker walks count - seen links. So the last message need not be retained and nothing is
 *            exchanged.
 * Orders:    push is acq_rel: release hands the message over (pairs with the acquire in take); acquire because whoever
 *            makes an actor runnable writes queue_next, which an earlier runner read. Flagging is always a
 *            read-modify-write, so a turn that clears SYS and then looks sees what was published before the flag.
 */
#ifndef QMT_RUNTIME_MAILBOX_H
#define QMT_RUNTIME_MAILBOX_H

#include "internal.h"

#define WORD_SYS UINT64_C(1)
#define WORD_ONE UINT64_C(2)
#define WORD_COUNT (((UINT64_C(1) << 22) - 1) << 1)
#define WORD_ADDRESS (~(WORD_COUNT | WORD_SYS))
#define WORD_RUNNING (UINT64_C(1) << 23)
/* The count has reached another 2^18: time to look how many wait. The word of a closed mailbox has these bits too, so
 * that a push needs one test. */
#define WORD_CHECK (((UINT64_C(1) << 18) - 1) << 1)
#define WORD_CLOSED (WORD_ADDRESS | WORD_CHECK)

/* The system lane of an actor that has ended. */
#define SYSTEM_CLOSED ((struct qmt_msg *)1)
/* waiters of an actor that has ended. */
#define WAITERS_CLOSED ((struct qmt_msg *)1)

enum push_result { PUSH_QUEUED, PUSH_WAKES /* the caller must schedule */, PUSH_CLOSED, PUSH_FULL };

static inline uint64_t word_of(const struct qmt_msg *m)
{
	return (uint64_t)(uintptr_t)m << 17; /* 64-byte aligned: the low 6 bits go */
}

static inline struct qmt_msg *word_message(uint64_t word)
{
	return (struct qmt_msg *)(uintptr_t)(word >> 23 << 6);
}

static inline bool word_is_idle(uint64_t word)
{
	return (word & (WORD_ADDRESS | WORD_SYS)) == 0;
}

static inline bool word_is_closed(uint64_t word)
{
	return (word & WORD_ADDRESS) == WORD_ADDRESS;
}

static inline uint32_t word_count(uint64_t word)
{
	return (uint32_t)((word & WORD_COUNT) >> 1);
}

/* Messages that wait, or are being handled; a moment's picture, never too high: the word is read first, so what was
 * dealt with meanwhile may be ahead of it (then nothing of that waits). seq_cst: for qmt__mute, which has just
 * published that it waits; if the word says idle, it also brings the last count of what was dealt with. */
static inline uint32_t mailbox_depth(struct qmt_actor *a)
{
	uint32_t count = word_count(atomic_load(&a->top));
	uint32_t depth = (count - (uint32_t)atomic_load_explicit(&a->done, RELAXED)) & (uint32_t)(WORD_COUNT >> 1);

	return depth > MAILBOX_HARD_LIMIT + MAILBOX_HARD_LIMIT / 4 ? 0 : depth;
}

/* sys: WORD_SYS to flag the actor in the same step, so that no take sees the message without the flag; or 0. */
static HOT enum push_result mailbox_push_with(struct qmt_actor *a, struct qmt_msg *m, uint64_t sys)
{
	uint64_t old = atomic_load_explicit(&a->top, RELAXED), new;

	do {
		if (unlikely((old & WORD_CHECK) == WORD_CHECK)) {
			if (word_is_closed(old))
				return PUSH_CLOSED;
			if (mailbox_depth(a) >= MAILBOX_HARD_LIMIT)
				return PUSH_FULL;
		}
		m->next = word_message(old);
		new = word_of(m) | ((old + WORD_ONE) & WORD_COUNT) | (old & WORD_SYS) | sys;
	} while (!atomic_compare_exchange_weak_explicit(&a->top, &old, new, ACQ_REL, RELAXED));
	return word_is_idle(old) ? PUSH_WAKES : PUSH_QUEUED;
}

static HOT enum push_result mailbox_push(struct qmt_actor *a, struct qmt_msg *m)
{
	return mailbox_push_with(a, m, 0);
}

/* Messages pushed since the last take, by a word loaded with acquire. */
static inline uint32_t mailbox_new(const struct qmt_actor *a, uint64_t word)
{
	return (word_count(word) - a->seen) & (uint32_t)(WORD_COUNT >> 1);
}

/* Takes `count` > 0 new messages of the word: a list, oldest first; its last one is word_message(word). */
static HOT struct qmt_msg *mailbox_take(struct qmt_actor *a, uint64_t word, uint32_t count)
{
	struct qmt_msg *m = word_message(word), *list = NULL;

	a->seen = word_count(word);
	a->local_last = m;
	if (likely(count == 1)) {
		m->next = NULL;
		return m;
	}
	do {
		struct qmt_msg *older = m->next;

		m->next = list;
		list = m;
		m = older;
	} while (--count);
	return list;
}

/* Gives up the right to run. Fails when something came since `word` was loaded. All new messages must have been
 * taken. */
static inline bool mailbox_idle(struct qmt_actor *a, uint64_t word)
{
	/* seq_cst for look_for_waiters in turn.c */
	return atomic_compare_exchange_strong_explicit(&a->top, &word, word & WORD_COUNT, memory_order_seq_cst, RELAXED);
}

#endif
