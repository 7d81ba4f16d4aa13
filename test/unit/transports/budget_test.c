/* A peer takes as many requests as it has in a minute, at once or evenly, over all of its links; what is gone stays
 * gone when it dials anew, and is there again after a minute. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "transports/budget.h"

#define SECOND 1000000000ull

static struct peer_id peer(uint32_t n)
{
	struct peer_id id = {0};

	memcpy(id.key, &n, sizeof(n));
	return id;
}

static uint32_t take_all(struct budget *budget, uint64_t per_minute, uint32_t beyond, uint64_t now_ns)
{
	uint32_t taken = 0;
	uint64_t wait_ms;

	while (budget_take(budget, per_minute, beyond, now_ns, &wait_ms))
		taken++;
	return taken;
}

static void at_once_and_evenly(void **state)
{
	struct peer_id id = peer(1);
	struct budgets budgets;
	uint64_t now = 5 * SECOND, wait_ms = 0;

	(void)state;
	budgets_init(&budgets);
	struct budget *budget = budget_open(&budgets, &id, now);
	assert_int_equal(take_all(budget, 60, 0, now), 60);
	assert_false(budget_take(budget, 60, 0, now, &wait_ms));
	assert_int_equal(wait_ms, 1000);
	assert_false(budget_take(budget, 60, 0, now + SECOND / 2, &wait_ms));
	assert_int_equal(wait_ms, 500);
	assert_int_equal(take_all(budget, 60, 0, now + SECOND), 1);
	assert_int_equal(take_all(budget, 60, 0, now + 11 * SECOND), 10);
	assert_int_equal(take_all(budget, 60, 1, now + 11 * SECOND), 60);   /* what ends something goes on */
	assert_int_equal(take_all(budget, 60, 0, now + 12 * SECOND), 0);    /* and is paid for */
	assert_int_equal(take_all(budget, 60, 0, now + 1000 * SECOND), 60); /* not more for having waited longer */
	budget_close(&budgets, budget, now);
	budgets_fini(&budgets);
}

static void a_new_link_has_what_is_left(void **state)
{
	struct peer_id id = peer(1), other = peer(2);
	struct budgets budgets;
	uint64_t now = SECOND;

	(void)state;
	budgets_init(&budgets);
	struct budget *first = budget_open(&budgets, &id, now), *second = budget_open(&budgets, &id, now);
	assert_ptr_equal(first, second);
	assert_int_equal(take_all(first, 10, 0, now), 10);
	budget_close(&budgets, first, now);
	budget_close(&budgets, second, now);
	first = budget_open(&budgets, &id, now + SECOND);
	assert_int_equal(take_all(first, 10, 0, now + SECOND), 0);
	second = budget_open(&budgets, &other, now);
	assert_int_equal(take_all(second, 10, 0, now), 10);
	budget_close(&budgets, first, now + SECOND);
	budget_close(&budgets, second, now + SECOND);
	first = budget_open(&budgets, &id, now + 61 * SECOND);
	assert_int_equal(take_all(first, 10, 0, now + 61 * SECOND), 10);
	assert_null(first->next); /* the other one was full again, and held by nobody */
	budget_close(&budgets, first, now + 61 * SECOND);
	budgets_fini(&budgets);
}

static void strangers_do_not_fill_the_memory(void **state)
{
	struct budgets budgets;
	uint64_t now = SECOND, wait_ms;
	uint32_t kept = 0;

	(void)state;
	budgets_init(&budgets);
	for (uint32_t i = 0; i < 3 * BUDGETS_KEPT; i++) {
		struct peer_id id = peer(i);
		struct budget *budget = budget_open(&budgets, &id, now + i);

		assert_true(budget_take(budget, 1000, 0, now + i, &wait_ms));
		budget_close(&budgets, budget, now + i);
	}
	for (struct budget *budget = budgets.first; budget; budget = budget->next)
		kept++;
	assert_int_equal(kept, BUDGETS_KEPT);
	budgets_fini(&budgets);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(at_once_and_evenly),
		cmocka_unit_test(a_new_link_has_what_is_left), cmocka_unit_test(strangers_do_not_fill_the_memory)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
