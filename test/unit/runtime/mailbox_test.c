/* runtime/mailbox.h: one word holds order, depth and the right to run; nothing is lost, doubled or overtaken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/mailbox.h"
#include "test/lib/runtime_kit.h"

static struct qmt_msg *message(uint32_t number)
{
	struct qmt_msg *m = aligned_alloc(64, 64);

	kit_check(m);
	memset(m, 0, 64);
	m->to_gen = number;
	return m;
}

static struct qmt_actor *actor(void)
{
	struct qmt_actor *a = aligned_alloc(64, 256);

	kit_check(a);
	memset(a, 0, 256);
	return a;
}

/* The first push into an idle mailbox wakes; further ones do not; they are taken in order; then it can say idle. */
static void push_take_idle(void **unused)
{
	(void)unused;
	struct qmt_actor *a = actor();

	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 5; i++)
			assert_int_equal(mailbox_push(a, message(i)), i ? PUSH_QUEUED : PUSH_WAKES);
		uint64_t top = atomic_load(&a->top);
		assert_int_equal(mailbox_depth(a), 5);
		struct qmt_msg *m = mailbox_take(a, top, mailbox_new(a, top));
		for (uint32_t i = 0; i < 5; i++) {
			struct qmt_msg *next = m->next;

			assert_int_equal(m->to_gen, i);
			assert_true((m == a->local_last) == !next);
			free(m);
			m = next;
		}
		assert_null(m);
		atomic_fetch_add(&a->done, 5);
		assert_int_equal(mailbox_depth(a), 0);
		assert_true(mailbox_idle(a, top));
		assert_true(word_is_idle(atomic_load(&a->top)));
	}
	free(a);
}

/* Trap 1: `seen` holds the count alone. With the SYS bit in the word nothing is counted that is not there, nothing
 * missed. */
static void the_sys_bit_does_not_count(void **unused)
{
	(void)unused;
	struct qmt_actor *a = actor();

	assert_int_equal(mailbox_push(a, message(1)), PUSH_WAKES);
	atomic_fetch_or(&a->top, WORD_SYS);
	uint64_t top = atomic_load(&a->top);
	assert_int_equal(mailbox_new(a, top), 1);
	free(mailbox_take(a, top, 1));
	assert_int_equal(mailbox_new(a, top), 0);
	/* a push keeps the bit */
	assert_int_equal(mailbox_push(a, message(2)), PUSH_QUEUED);
	top = atomic_load(&a->top);
	assert_true(top & WORD_SYS);
	assert_int_equal(mailbox_new(a, top), 1);
	struct qmt_msg *m = mailbox_take(a, top, 1);
	assert_int_equal(m->to_gen, 2);
	assert_null(m->next);
	free(m);
	free(a);
}

/* Something that came since the word was loaded keeps it from saying idle: a message, or the SYS bit. */
static void no_idle_over_news(void **unused)
{
	(void)unused;
	struct qmt_actor *a = actor();

	mailbox_push(a, message(1));
	uint64_t top = atomic_load(&a->top);
	free(mailbox_take(a, top, 1));
	atomic_fetch_or(&a->top, WORD_SYS);
	assert_false(mailbox_idle(a, top));
	atomic_fetch_and(&a->top, ~WORD_SYS);
	mailbox_push(a, message(2));
	assert_false(mailbox_idle(a, top));
	top = atomic_load(&a->top);
	free(mailbox_take(a, top, mailbox_new(a, top)));
	assert_true(mailbox_idle(a, top));
	free(a);
}

/* The depth is never too high: what was dealt with after the word was read makes it 0, not 4 million. */
static void depth_is_never_too_high(void **unused)
{
	(void)unused;
	struct qmt_actor *a = actor();
	struct qmt_msg *m = message(0);

	mailbox_push(a, m);
	atomic_store(&a->done, 3);
	assert_int_equal(mailbox_depth(a), 0);
	atomic_store(&a->done, UINT64_C(1) << 40);
	assert_int_equal(mailbox_depth(a), 1);
	free(m);
	free(a);
}

/* Trap 3: a closed word refuses, whatever its count is, and stays closed when somebody flags it. */
static void closed_refuses(void **unused)
{
	(void)unused;
	struct qmt_actor *a = actor();
	struct qmt_msg *m = message(1);

	atomic_store(&a->top, WORD_CLOSED);
	assert_int_equal(mailbox_push(a, m), PUSH_CLOSED);
	atomic_fetch_or(&a->top, WORD_SYS);
	assert_true(word_is_closed(atomic_load(&a->top)));
	assert_int_equal(mailbox_push(a, m), PUSH_CLOSED);
	free(m);
	free(a);
}

/* Trap 12: the count has 22 bits. Over 2^21 waiting messages a push is refused (looked at each 2^18), and the count
 * goes on rightly over its wrap. */
static void the_count_wraps_and_never_overflows(void **unused)
{
	(void)unused;
	struct qmt_actor *a = actor();
	struct qmt_msg *m = message(0);
	uint64_t pushed = 0;

	/* one message again and again: only the count matters here */
	while (mailbox_push(a, m) != PUSH_FULL) {
		pushed++;
		assert_true(pushed < UINT64_C(1) << 22);
	}
	assert_true(pushed >= MAILBOX_HARD_LIMIT);
	assert_int_equal(mailbox_depth(a), pushed);
	/* it stays full until some are dealt with */
	assert_int_equal(mailbox_push(a, m), PUSH_FULL);
	a->seen = word_count(atomic_load(&a->top));
	atomic_store(&a->done, pushed);
	assert_int_equal(mailbox_depth(a), 0);
	for (uint32_t i = 0; i < UINT32_C(3) << 21; i++) {
		assert_int_not_equal(mailbox_push(a, m), PUSH_FULL);
		uint64_t top = atomic_load(&a->top);
		assert_int_equal(mailbox_new(a, top), 1);
		a->seen = word_count(top);
		atomic_fetch_add(&a->done, 1);
	}
	assert_int_equal(mailbox_depth(a), 0);
	free(m);
	free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(push_take_idle),
		cmocka_unit_test(the_sys_bit_does_not_count),
		cmocka_unit_test(no_idle_over_news),
		cmocka_unit_test(depth_is_never_too_high),
		cmocka_unit_test(closed_refuses),
		cmocka_unit_test(the_count_wraps_and_never_overflows),
	};

	return cmocka_run_group_tests_name("runtime/mailbox", tests, NULL, NULL);
}
