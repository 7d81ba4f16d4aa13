/* transports/budget.h - how many requests a peer may make: one budget for each PeerId, over all of its links.
 *
 * A peer that dials anew must not begin anew, and two links of one peer may be at work at once; so a budget belongs to
 * the table of the node and links borrow it from HELLO to their end.
 * Threads: table: any, under its lock, once at each end of a link. A budget: any, without a lock.   Blocks: never.
 * Rule:    a token bucket as one number, the time until which what was taken is paid for: `per_minute` at once, then
 *          evenly. Time is the runtime's, so that a seeded run owns it.
 * Limit:   budgets that no link holds are dropped as soon as they are full again (after two minutes at most), and
 *          beyond BUDGETS_KEPT the fullest is: identities cost nothing, so whoever makes so many needs no old one.
 */
#ifndef TRANSPORTS_BUDGET_H
#define TRANSPORTS_BUDGET_H

#include <pthread.h>
#include <stdatomic.h>

#include "proto/peer_id.h"

enum { BUDGETS_KEPT = 1024 };

struct budget {
	struct budget *next; /* guarded by the table's lock, as links */
	uint32_t links;
	struct peer_id id;                  /* const */
	atomic_uint_fast64_t paid_until_ns; /* relaxed: nothing is published by it */
};

struct budgets {
	pthread_mutex_t lock;
	struct budget *first;
};

void budgets_init(struct budgets *budgets);
void budgets_fini(struct budgets *budgets);
/* The budget of that peer, for one link more. NULL: out of memory. */
struct budget *budget_open(struct budgets *budgets, const struct peer_id *id, uint64_t now_ns);
/* NULL is fine. */
void budget_close(struct budgets *budgets, struct budget *budget, uint64_t now_ns);
/* Takes one of per_minute (at least 1). beyond: so many more minutes' worth may be overdrawn. False: none is left,
 * *ret_wait_ms says for how long. */
bool budget_take(struct budget *budget, uint64_t per_minute, uint32_t beyond, uint64_t now_ns, uint64_t *ret_wait_ms);

#endif
