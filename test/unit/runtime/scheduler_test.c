/* runtime/scheduler and park: whatever is runnable runs soon, on whichever worker; nobody wakes for nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>

#include "runtime/internal.h"
#include "test/lib/runtime_kit.h"

static struct kit_latch done = KIT_LATCH, entered = KIT_LATCH, gate = KIT_LATCH;

static struct qmt_ctx *_Atomic first_worker;
static _Atomic uint64_t by_first, by_others;

enum { COUNT, BLOCK, FAN_OUT, PASS, BURN };

static void count_up(struct qmt_ctx *ctx, void *state, const void *body);
static qmt_handler *const handlers[kit_message_count] = {[kit_poke_id] = count_up};
static const struct qmt_actor_desc counter_desc = KIT_DESC("counter", handlers, .state_size = 16);

static void count_up(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	uint64_t *left = state;

	switch (poke->value % 10) {
	case BLOCK: /* first makes another runnable, which lands in this worker's own slot or ring */
		QMT_TELL(ctx, poke->ref, kit_poke, .value = COUNT);
		kit_latch_add(&entered, 1);
		kit_latch_wait(&gate, 1);
		break;
	case FAN_OUT:
		for (uint64_t i = 0; i < poke->value / 10; i++) {
			struct qmt_ref child;

			kit_check(qmt_spawn(ctx, &counter_desc, NULL, &child, NULL) == 0);
			kit_check(QMT_TELL(ctx, child, kit_poke, .value = COUNT) == 0);
		}
		break;
	case PASS:
		if (poke->value < 10)
			kit_latch_add(&done, 1);
		else
			QMT_TELL(ctx, poke->ref, kit_poke, .value = poke->value - 10, .ref = qmt_self(ctx));
		break;
	case BURN: {
		uint64_t until = qmt_now_ns(ctx) + 20000;
		struct qmt_ctx *nobody = NULL;

		/* a handle is a worker */
		if (atomic_compare_exchange_strong(&first_worker, &nobody, ctx) || nobody == ctx)
			atomic_fetch_add(&by_first, 1);
		else
			atomic_fetch_add(&by_others, 1);

		while (qmt_now_ns(ctx) < until)
			;
		*left = *left ? *left : poke->value / 10;
		if (--*left)
			QMT_TELL(ctx, qmt_self(ctx), kit_poke, .value = BURN);
		else
			kit_latch_add(&done, 1);
		break;
	}
	default:
		kit_latch_add(&done, 1);
		if (qmt_token(ctx).ask)
			kit_answer(ctx, 0);
	}
}

static void reset(void)
{
	kit_latch_reset(&done);
	kit_latch_reset(&entered);
	kit_latch_reset(&gate);
}

/* Trap 9: what a handler that does not return has made runnable does not wait for it: a sleeper is woken and takes it.
 * Right after the start, after a sleep, and again and again. */
static void nothing_is_stranded(void **unused)
{
	(void)unused;
	struct kit kit;

	for (uint32_t workers = 2; workers <= 4; workers++) {
		kit_start(&kit, workers);
		struct qmt_ref other = kit_spawn(&kit, &counter_desc, NULL);
		for (int round = 0; round < 5; round++) {
			struct qmt_ref hog = kit_spawn(&kit, &counter_desc, NULL);

			reset();
			QMT_TELL(kit.out, hog, kit_poke, .value = BLOCK, .ref = other);
			kit_latch_wait(&entered, 1);
			kit_latch_wait(&done, 1); /* while the hog is still at it */
			assert_int_equal(kit_ask(&kit, other, COUNT, 0, NULL), 0);
			kit_latch_add(&gate, 1);
			assert_int_equal(kit_ask(&kit, hog, COUNT, 0, NULL), 0); /* it is back */
		}
		kit_stop(&kit);
	}
}

/* With all workers but one in such handlers everything else still runs. */
static void one_worker_is_enough(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start(&kit, 4);
	reset();
	struct qmt_ref other = kit_spawn(&kit, &counter_desc, NULL);
	for (int i = 0; i < 3; i++)
		QMT_TELL(kit.out, kit_spawn(&kit, &counter_desc, NULL), kit_poke, .value = BLOCK, .ref = other);
	kit_latch_wait(&entered, 3);
	kit_latch_wait(&done, 3);
	QMT_TELL(kit.out, kit_spawn(&kit, &counter_desc, NULL), kit_poke, .value = FAN_OUT + 10 * 2000);
	kit_latch_wait(&done, 2003);
	kit_latch_add(&gate, 1);
	kit_stop(&kit);
}

/* Trap 8: workers that fall asleep all the time are woken every time: no wake is lost over thousands of rounds from
 * outside. */
static void no_wake_is_lost(void **unused)
{
	(void)unused;
	struct kit kit;

	for (uint32_t workers = 1; workers <= 4; workers++) {
		struct qmt_ref refs[8];

		kit_start(&kit, workers);
		reset();
		for (int i = 0; i < 8; i++)
			refs[i] = kit_spawn(&kit, &counter_desc, NULL);
		for (uint64_t round = 1; round <= 3000; round++) {
			uint64_t many = round % 8 + 1;

			for (uint64_t i = 0; i < many; i++)
				QMT_TELL(kit.out, refs[i], kit_poke, .value = COUNT);
			if (round % 3 == 0)
				assert_int_equal(kit_ask(&kit, refs[round % 8], COUNT, 0, NULL), 0);
		}
		assert_int_equal(kit_ask(&kit, refs[0], COUNT, 0, NULL), 0);
		kit_latch_wait(&done, 3000 / 8 * 36 + 1000 + 1);
		/* and all of them are really asleep, or can be woken again */
		for (int i = 0; i < 8; i++)
			assert_int_equal(kit_ask(&kit, refs[i], COUNT, 0, NULL), 0);
		kit_stop(&kit);
	}
}

/* Several threads outside, each with a handle of its own, at once. */
struct outsider {
	struct kit *kit;
	struct qmt_ref ref;
	pthread_t thread;
};
static void *outsider_main(void *arg)
{
	struct outsider *self = arg;
	struct qmt_ctx *ctx = qmt_outside_open(self->kit->sys);
	struct qmt_result result;

	for (int i = 0; i < 2000; i++) {
		kit_check(QMT_TELL(ctx, self->ref, kit_poke, .value = COUNT) == 0);
		if (i % 50 == 0)
			kit_check(qmt_outside_ask(ctx, self->ref, &kit_poke_type, &(struct kit_poke){.value = COUNT}, 0,
				&result) == 0);
	}
	qmt_outside_close(ctx);
	return NULL;
}
static void outside_threads(void **unused)
{
	(void)unused;
	enum { THREADS = 4 };
	struct outsider outsiders[THREADS];
	struct kit kit;

	kit_start(&kit, 2);
	reset();
	struct qmt_ref ref = kit_spawn(&kit, &counter_desc, NULL);
	for (int i = 0; i < THREADS; i++) {
		outsiders[i] = (struct outsider){.kit = &kit, .ref = ref};
		assert_int_equal(pthread_create(&outsiders[i].thread, NULL, outsider_main, &outsiders[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(outsiders[i].thread, NULL);
	kit_latch_wait(&done, THREADS * 2040);
	kit_stop(&kit);
}

/* Trap 6 and 11: thousands of runnable actors at once overflow the ring into blocks, and floods of messages move whole
 * magazines from the thread that allocates to the one that frees; all run, nothing is lost. */
static void crowds(void **unused)
{
	(void)unused;
	struct kit kit;

	for (uint32_t workers = 1; workers <= 4; workers++) {
		kit_start(&kit, workers);
		reset();
		struct qmt_ref ref = kit_spawn(&kit, &counter_desc, NULL);
		QMT_TELL(kit.out, ref, kit_poke, .value = FAN_OUT + 10 * 5000);
		kit_latch_wait(&done, 5000);
		for (int i = 0; i < 30000; i++)
			QMT_TELL(kit.out, ref, kit_poke, .value = COUNT);
		kit_latch_wait(&done, 35000);
		kit_stop(&kit);
	}
}

/* Work that takes its time is shared: with two workers both do some of it. */
static void work_is_shared(void **unused)
{
	(void)unused;
	enum { ACTORS = 32, MESSAGES = 100 };
	struct kit kit;

	kit_start(&kit, 2);
	reset();
	for (int i = 0; i < ACTORS; i++)
		QMT_TELL(kit.out, kit_spawn(&kit, &counter_desc, NULL), kit_poke, .value = BURN + 10 * MESSAGES);
	kit_latch_wait(&done, ACTORS);
	assert_int_equal(by_first + by_others, ACTORS * MESSAGES);
	assert_true(by_first > ACTORS * MESSAGES / 10 && by_others > ACTORS * MESSAGES / 10);
	kit_stop(&kit);
}

/* Two that pass a ball on one worker keep no third one from running (the LIFO slot gives way). */
static void a_pair_does_not_keep_others_away(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start(&kit, 1);
	reset();
	struct qmt_ref a = kit_spawn(&kit, &counter_desc, NULL), b = kit_spawn(&kit, &counter_desc, NULL);
	struct qmt_ref third = kit_spawn(&kit, &counter_desc, NULL);
	QMT_TELL(kit.out, a, kit_poke, .value = PASS + 10 * 2000000, .ref = b);
	for (int i = 0; i < 50; i++)
		assert_int_equal(kit_ask(&kit, third, COUNT, 0, NULL), 0);
	kit_stop(&kit); /* the ball may still be on its way: a stop is not kept away, either */
}

/* ---- idle -------------------------------------------------------------------------------------------------------- */

/* Voluntary switches of all threads of this process but the calling one, or only of those in `only`. */
static uint64_t switches(char only[][16], int *count)
{
	DIR *tasks = opendir("/proc/self/task");
	uint64_t sum = 0;

	kit_check(tasks);
	for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
		char path[300], line[200];
		bool wanted = !only;
		FILE *status;

		if (task->d_name[0] == '.')
			continue;
		for (int i = 0; only && i < *count; i++)
			wanted |= strcmp(only[i], task->d_name) == 0;
		snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
		status = wanted ? fopen(path, "r") : NULL;
		while (status && fgets(line, sizeof line, status))
			if (strstr(line, "ctxt_switches:"))
				sum += strtoull(strchr(line, ':') + 1, NULL, 10);
		if (status)
			fclose(status);
	}
	closedir(tasks);
	return sum;
}

static int workers_of(char names[][16], int most)
{
	DIR *tasks = opendir("/proc/self/task");
	int count = 0;

	kit_check(tasks);
	for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
		char path[300], name[32] = "";
		FILE *comm;

		snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
		comm = task->d_name[0] == '.' ? NULL : fopen(path, "r");
		if (comm && fgets(name, sizeof name, comm) && strncmp(name, "qmt-", 4) == 0 && count < most)
			snprintf(names[count++], 16, "%.15s", task->d_name);
		if (comm)
			fclose(comm);
	}
	closedir(tasks);
	return count;
}

/* An idle system, with actors, names, watched descriptors and one far timer, does not wake a single time. */
static void idle_is_idle(void **unused)
{
	(void)unused;
	struct kit kit, clock;
	char workers[8][16];
	uint64_t before = 0, after = 1;

	kit_start(&kit, 4);
	reset();
	for (int i = 0; i < 100; i++)
		kit_spawn(&kit, &counter_desc, NULL);
	struct qmt_ref ref = kit_spawn(&kit, &counter_desc, NULL);
	QMT_TELL(kit.out, ref, kit_poke, .value = FAN_OUT + 10 * 1000);
	kit_latch_wait(&done, 1000);
	int count = 0;
	for (uint64_t until = qmt_now_ms(kit.out) + KIT_PATIENCE_MS; count != 4 && qmt_now_ms(kit.out) < until;)
		count = workers_of(workers, 8); /* a thread names itself, some time after its start */
	assert_int_equal(count, 4);
	/* Time passes on another system's clock: nobody answers there. It may take a while until the last one sleeps. */
	kit_start(&clock, 1);
	struct qmt_ref hog = kit_spawn(&clock, &counter_desc, NULL);
	QMT_TELL(clock.out, hog, kit_poke, .value = BLOCK, .ref = hog);
	for (int try = 0; try < 20 && before != after; try++) {
		assert_int_equal(kit_ask(&clock, hog, COUNT, 300, NULL), QMT_FAIL_DEADLINE);
		before = switches(workers, &count);
		assert_int_equal(kit_ask(&clock, hog, COUNT, 300, NULL), QMT_FAIL_DEADLINE);
		after = switches(workers, &count);
	}
	assert_int_equal(before, after);
	kit_latch_add(&gate, 1);
	kit_stop(&clock);
	kit_stop(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_stranded),
		cmocka_unit_test(one_worker_is_enough),
		cmocka_unit_test(no_wake_is_lost),
		cmocka_unit_test(outside_threads),
		cmocka_unit_test(crowds),
		cmocka_unit_test(work_is_shared),
		cmocka_unit_test(a_pair_does_not_keep_others_away),
		cmocka_unit_test(idle_is_idle),
	};

	return cmocka_run_group_tests_name("runtime/scheduler", tests, NULL, NULL);
}
