/* runtime/base/os: a seed owns clock and random, so that the same seed gives the same run; threads take no signals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <sys/prctl.h>

#include "runtime/base/os.h"

/* The seeded stream is xoshiro256** filled by SplitMix64: the numbers that other implementations give for seed 0. */
static void seeded_random_is_the_named_algorithm(void **unused)
{
	(void)unused;
	static const uint64_t expected[] = {UINT64_C(11091344671253066420), UINT64_C(13793997310169335082),
		UINT64_C(1900383378846508768), UINT64_C(7684712102626143532), UINT64_C(13521403990117723737)};
	struct qmt_os *os = qmt_os_new(true, 0, 0);

	for (unsigned i = 0; i < sizeof expected / sizeof expected[0]; i++) {
		uint8_t bytes[8];
		uint64_t word = 0;

		qmt_os_random(os, bytes, sizeof bytes);
		for (unsigned k = 0; k < 8; k++)
			word |= (uint64_t)bytes[k] << 8 * k;
		assert_true(word == expected[i]);
	}
	qmt_os_free(os);
}

/* Same seed, same bytes and ids; another seed, others. */
static void same_seed_same_run(void **unused)
{
	(void)unused;
	struct qmt_os *a = qmt_os_new(true, 42, 1000), *b = qmt_os_new(true, 42, 1000), *c = qmt_os_new(true, 43, 1000);
	uint8_t bytes_a[100], bytes_b[100], bytes_c[100];
	char id_a[37], id_b[37], id_c[37];

	qmt_os_random(a, bytes_a, sizeof bytes_a);
	qmt_os_random(b, bytes_b, sizeof bytes_b);
	qmt_os_random(c, bytes_c, sizeof bytes_c);
	assert_memory_equal(bytes_a, bytes_b, sizeof bytes_a);
	assert_memory_not_equal(bytes_a, bytes_c, sizeof bytes_a);
	qmt_os_random(a, bytes_a, 0);
	qmt_os_uuid(a, id_a);
	qmt_os_uuid(b, id_b);
	qmt_os_uuid(c, id_c);
	assert_string_equal(id_a, id_b);
	assert_string_not_equal(id_a, id_c);
	assert_true(qmt_os_seeded(a));
	qmt_os_free(a);
	qmt_os_free(b);
	qmt_os_free(c);
}

/* A seeded clock moves only by advance; wall clock and monotonic clock move together; it never says 0. */
static void seeded_clock_moves_by_advance_only(void **unused)
{
	(void)unused;
	struct qmt_os *os = qmt_os_new(true, 1, 5000);
	uint64_t start = qmt_os_now_ns(os);

	assert_true(start > 0);
	assert_true(qmt_os_wall_ms(os) == 5000);
	assert_true(qmt_os_now_ns(os) == start);
	qmt_os_advance(os, 999999);
	assert_true(qmt_os_now_ns(os) == start + 999999);
	assert_true(qmt_os_wall_ms(os) == 5000);
	qmt_os_advance(os, 1);
	assert_true(qmt_os_wall_ms(os) == 5001);
	qmt_os_free(os);
}

/* The real clocks are the kernel's, and advance does not touch them. */
static void real_clock_is_the_kernels(void **unused)
{
	(void)unused;
	struct qmt_os *os = qmt_os_new(false, 1, 5000);
	uint64_t before = qmt_os_now_ns(os), wall = (uint64_t)time(NULL) * 1000;

	assert_false(qmt_os_seeded(os));
	qmt_os_advance(os, UINT64_C(3600000000000));
	assert_true(qmt_os_now_ns(os) >= before);
	assert_true(qmt_os_now_ns(os) - before < UINT64_C(3600000000000));
	assert_in_range(qmt_os_wall_ms(os), wall, wall + 60000);
	assert_in_range(qmt_os_real_wall_ms(NULL), wall, wall + 60000);
	assert_in_range(qmt_os_real_now_ms(), before / 1000000, before / 1000000 + 60000);
	qmt_os_free(os);
}

/* Real random fills every byte and repeats nothing. */
static void real_random_fills_all(void **unused)
{
	(void)unused;
	struct qmt_os *os = qmt_os_new(false, 1, 0);
	uint8_t seen[300] = {0}, bytes[302];

	for (unsigned round = 0; round < 16; round++) {
		memset(bytes, 0, sizeof bytes);
		qmt_os_random(os, bytes, 300);
		for (unsigned i = 0; i < 300; i++)
			seen[i] |= bytes[i];
		assert_int_equal(bytes[300], 0);
	}
	for (unsigned i = 0; i < 300; i++)
		assert_true(seen[i] != 0); /* 256^-16 that this is chance, 300 times */
	qmt_os_free(os);
}

/* A uuid is version 7, variant 10, lower case, and starts with the wall clock's milliseconds. */
static void uuid_is_version_7(void **unused)
{
	(void)unused;
	struct qmt_os *os = qmt_os_new(true, 7, UINT64_C(0x0123456789ab));
	char id[37];

	for (unsigned round = 0; round < 100; round++) {
		qmt_os_uuid(os, id);
		assert_int_equal(strlen(id), 36);
		assert_memory_equal(id, "01234567-89ab-7", 15);
		assert_int_equal(strspn(id, "0123456789abcdef-"), 36);
		assert_true(id[18] == '-' && id[23] == '-');
		assert_non_null(strchr("89ab", id[19]));
	}
	qmt_os_advance(os, 1000000);
	qmt_os_uuid(os, id);
	assert_memory_equal(id, "01234567-89ac-7", 15);
	qmt_os_free(os);
	qmt_os_free(NULL);
}

struct seen {
	char name[16];
	sigset_t blocked;
	int runs;
};

static void look_around(void *arg)
{
	struct seen *seen = arg;

	prctl(PR_GET_NAME, seen->name);
	pthread_sigmask(SIG_SETMASK, NULL, &seen->blocked);
	seen->runs++;
}

/* A thread runs once, has its name (cut to 15 bytes) and all signals blocked; the starter's own mask stays. */
static void thread_has_name_and_no_signals(void **unused)
{
	(void)unused;
	static const char *const names[] = {"short", "a-name-of-over-fifteen-bytes", ""};
	sigset_t before, after;

	pthread_sigmask(SIG_SETMASK, NULL, &before);
	for (unsigned i = 0; i < 3; i++) {
		struct seen seen = {.runs = 0};
		struct qmt_os_thread *thread = NULL;

		assert_int_equal(qmt_os_thread_start(names[i], look_around, &seen, &thread), 0);
		assert_non_null(thread);
		assert_null(qmt_os_thread_join(thread));
		assert_int_equal(seen.runs, 1);
		assert_int_equal(strncmp(seen.name, names[i], 15), 0);
		for (int signal = 1; signal < 32; signal++)
			if (signal != SIGKILL && signal != SIGSTOP)
				assert_int_equal(sigismember(&seen.blocked, signal), 1);
	}
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int signal = 1; signal < 32; signal++)
		assert_int_equal(sigismember(&before, signal), sigismember(&after, signal));
	assert_null(qmt_os_thread_join(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seeded_random_is_the_named_algorithm),
		cmocka_unit_test(same_seed_same_run),
		cmocka_unit_test(seeded_clock_moves_by_advance_only),
		cmocka_unit_test(real_clock_is_the_kernels),
		cmocka_unit_test(real_random_fills_all),
		cmocka_unit_test(uuid_is_version_7),
		cmocka_unit_test(thread_has_name_and_no_signals),
	};

	return cmocka_run_group_tests_name("runtime/base/os", tests, NULL, NULL);
}
