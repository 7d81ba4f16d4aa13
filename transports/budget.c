/* transports/budget.c - see budget.h. */
#include "transports/budget.h"

#include <stdlib.h>

#define MINUTE_NS 60000000000ull

void budgets_init(struct budgets *budgets)
{
	budgets->first = NULL;
	pthread_mutex_init(&budgets->lock, NULL);
}

void budgets_fini(struct budgets *budgets)
{
	while (budgets->first) {
		struct budget *budget = budgets->first;

		budgets->first = budget->next;
		free(budget);
	}
	pthread_mutex_destroy(&budgets->lock);
}

static uint64_t paid_until(const struct budget *budget)
{
	return atomic_load_explicit(&budget->paid_until_ns, memory_order_relaxed);
}

static void drop(struct budget **at)
{
	struct budget *budget = *at;

	*at = budget->next;
	free(budget);
}

/* Full ones that no link holds; of more than BUDGETS_KEPT others the fullest. */
static void sweep(struct budgets *budgets, uint64_t now_ns)
{
	struct budget **fullest = NULL;
	uint32_t kept = 0;

	for (struct budget **at = &budgets->first; *at;) {
		if ((*at)->links) {
			at = &(*at)->next;
		} else if (paid_until(*at) <= now_ns) {
			drop(at);
		} else {
			kept++;
			if (!fullest || paid_until(*at) < paid_until(*fullest))
				fullest = at;
			at = &(*at)->next;
		}
	}
	if (kept > BUDGETS_KEPT)
		drop(fullest);
}

struct budget *budget_open(struct budgets *budgets, const struct peer_id *id, uint64_t now_ns)
{
	struct budget *budget;

	pthread_mutex_lock(&budgets->lock);
	sweep(budgets, now_ns);
	for (budget = budgets->first; budget; budget = budget->next)
		if (peer_id_compare(&budget->id, id) == 0)
			break;
	if (!budget) {
		budget = calloc(1, sizeof(*budget));
		if (budget) {
			budget->id = *id;
			budget->next = budgets->first;
			budgets->first = budget;
		}
	}
	if (budget)
		budget->links++;
	pthread_mutex_unlock(&budgets->lock);
	return budget;
}

void budget_close(struct budgets *budgets, struct budget *budget, uint64_t now_ns)
{
	if (!budget)
		return;
	pthread_mutex_lock(&budgets->lock);
	budget->links--;
	sweep(budgets, now_ns);
	pthread_mutex_unlock(&budgets->lock);
}

bool budget_take(struct budget *budget, uint64_t per_minute, uint32_t beyond, uint64_t now_ns, uint64_t *ret_wait_ms)
{
	uint64_t step = MINUTE_NS / per_minute, room = MINUTE_NS * (1 + (uint64_t)beyond), before = paid_until(budget),
			 after;

	do {
		after = (before > now_ns ? before : now_ns) + step;
		if (after - now_ns > room) {
			*ret_wait_ms = (after - now_ns - room + 999999) / 1000000;
			return false;
		}
	} while (!atomic_compare_exchange_weak_explicit(
		&budget->paid_until_ns, &before, after, memory_order_relaxed, memory_order_relaxed));
	return true;
}
