/* transports/export_table.h - actors of this node that a peer holds refs to: number on the link <-> ref.
 *
 * Threads: value of one link.   Blocks: never.   Limit: at init.
 * Invariant: one number for one ref; numbers start at 1 and are never used again on the same link.
 */
#ifndef TRANSPORTS_EXPORT_TABLE_H
#define TRANSPORTS_EXPORT_TABLE_H

#include "runtime/message.h"

struct export_row {
	struct qmt_ref ref;
	uint32_t number; /* 0: free */
};

struct export_table {
	struct export_row *by_ref, *by_number; /* open addressing, same capacity, a power of two */
	uint32_t capacity, count, limit;
	uint32_t last_number;
};

enum { EXPORT_E_FULL = 1 };

void export_init(struct export_table *table, uint32_t limit);
void export_fini(struct export_table *table);
/* The number of a ref. *ret_is_new: made now (the caller watches the actor). 0; EXPORT_E_FULL; -ENOMEM. */
QMT_MUST_CHECK int export_number(
	struct export_table *table, struct qmt_ref ref, uint32_t *ret_number, bool *ret_is_new);
/* false: no such export. */
bool export_find(const struct export_table *table, uint32_t number, struct qmt_ref *ret_ref);
bool export_has(const struct export_table *table, struct qmt_ref ref);
/* Forgets a ref; returns its number, 0: it was not there. */
uint32_t export_drop(struct export_table *table, struct qmt_ref ref);

#endif
