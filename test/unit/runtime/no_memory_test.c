/* runtime: the Nth allocation fails, N = 1.. until all goes well: spawning, supervising, linking, waiting for ends.
 * Each time what fails says so, nothing is half done, and all memory comes back.
 *
 * malloc and its kin are interposed (this program's own symbols come first), so not with a sanitizer, which does the
 * same; one allocation at a time, and never realloc, so not by test/lib/failing_memory.h. Blocks of the slabs come from
 * the kernel in pieces and are counted where a test says so (count_blocks). The list of runnable actors of a seeded
 * system is grown by realloc and cannot do without. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/slab.h"
#include "runtime/test_kit.h"
#include "test/lib/runtime_kit.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INTERPOSED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INTERPOSED 0
#endif
#endif
#ifndef INTERPOSED
#define INTERPOSED 1
#endif

static struct qmt_kit_faults faults; /* nothing fails while `left` is 0 */
static long outstanding; /* blocks that were not freed yet */

#if INTERPOSED
static bool fails(void)
{
	return qmt_kit_out_of_memory(&faults);
}

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t align, size_t size);
extern void __libc_free(void *block);

static void *counted(void *block)
{
	outstanding += block != NULL;
	return block;
}
#define OURS __attribute__((visibility("default")))
OURS void *malloc(size_t size)
{
	return fails() ? NULL : counted(__libc_malloc(size));
}
OURS void *calloc(size_t count, size_t size)
{
	return fails() ? NULL : counted(__libc_calloc(count, size));
}
OURS void *realloc(void *block, size_t size)
{
	return block ? __libc_realloc(block, size) : counted(__libc_realloc(NULL, size));
}
OURS void *aligned_alloc(size_t align, size_t size)
{
	return counted(__libc_memalign(align, size));
}
OURS void free(void *block)
{
	outstanding -= block != NULL;
	__libc_free(block);
}
#endif

static void fail_at(long n)
{
	faults = (struct qmt_kit_faults){.left = (uint64_t)n, .counting = true};
}

/* Gives memory back; whether some was missing. */
static bool has_failed(void)
{
	faults.counting = false;
	return faults.failed;
}

/* From now on messages, asks and actors are allocations, too. */
static void count_blocks(struct qmt_system *sys, struct qmt_kit_faults *what)
{
	sys->faults = what;
	qmt__slab_count(qmt__sim_ctx(sys->sim));
}

static long outstanding_before;

static void start(struct kit *kit, uint64_t seed)
{
	outstanding_before = outstanding;
	kit_start_seeded(kit, seed);
}

static bool warm; /* the C library has what it makes when it is first needed, and keeps */

static void stop(struct kit *kit)
{
	kit_stop(kit);
	if (warm)
		assert_int_equal(outstanding, outstanding_before);
}

/* ---- a family that does all of it -------------------------------------------------------------------------------- */

enum { FAIL = 1, LINK, AWAIT, COUNT, MONITOR };

static struct qmt_ref kids[3];
static int result_of_call;
static bool answered_once;

static void after(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)ctx;
	(void)state;
	(void)result;
	(void)arg;
	answered_once = true;
}

static void kid_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;

	(void)state;
	switch (poke->value) {
	case FAIL:
		qmt_fail(ctx, "told to fail");
		break;
	case LINK:
		result_of_call = qmt_link(ctx, poke->ref);
		break;
	case MONITOR:
		result_of_call = qmt_monitor(ctx, poke->ref);
		break;
	case AWAIT:
		result_of_call = qmt_await_end(ctx, poke->ref, 0, after, NULL);
		break;
	default:
		kit_answer(ctx, 1);
	}
}
static qmt_handler *const handlers[kit_message_count] = {[kit_poke_id] = kid_poke};
struct kid {
	uint64_t number;
	char large[4000];
};
static const struct qmt_param params[] = {{.name = "number", .kind = QMT_PARAM_U64, .dflt = "3"}, {0}};
static const struct qmt_actor_desc kid_desc =
	KIT_DESC("kid", handlers, .state_size = sizeof(struct kid), .params = params);
static uint32_t downs;
static void kid_down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	(void)ctx, (void)state, (void)who;
	kit_check(reason == QMT_FAIL_CANCELLED);
	downs++;
}
static const struct qmt_actor_desc small_desc = KIT_DESC("small", handlers, .down = kid_down);

static const struct qmt_actor_desc *kid_kind;
static int parent_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state;
	(void)config;
	for (int i = 0; i < 3; i++) {
		int failed = qmt_spawn(ctx, kid_kind, &(struct qmt_spawn){.restart = QMT_PERMANENT}, &kids[i], NULL);

		if (failed)
			return failed;
	}
	return 0;
}
static const struct qmt_actor_desc one_desc = KIT_DESC("one", handlers, .start = parent_start);
static const struct qmt_actor_desc all_desc =
	KIT_DESC("all", handlers, .start = parent_start, .supervision = {.strategy = QMT_ONE_FOR_ALL});

static void tell(struct kit *kit, struct qmt_ref to, uint64_t value, struct qmt_ref ref)
{
	assert_int_equal(QMT_TELL(kit->out, to, kit_poke, .value = value, .ref = ref), 0);
}

/* An actor fails, and says so in the log. */
static int warm_up(void **unused)
{
	(void)unused;
	struct kit kit;

	start(&kit, 1);
	tell(&kit, kit_spawn(&kit, &small_desc, NULL), FAIL, (struct qmt_ref){0});
	qmt_system_run(kit.sys, 0);
	stop(&kit);
	warm = true;
	return 0;
}

/* A spawn with all that it may have (name, parameters, large state) succeeds or is refused with the reason, and then
 * its name is free. */
static void spawn(void **unused)
{
	(void)unused;
	const struct qmt_spawn opt = {.name = "kid", .params = (struct qmt_param_value[]){{"number", "7"}, {0}}};
	long n;

	if (!INTERPOSED)
		skip();
	for (n = 1;; n++) {
		struct qmt_err err;
		struct qmt_ref ref = {0}, found;
		struct kit kit;

		start(&kit, 1);
		fail_at(n);
		int failed = qmt_spawn(kit.out, &kid_desc, &opt, &ref, &err);
		bool missing = has_failed();
		if (failed) {
			assert_true(missing && failed < 0);
			assert_non_null(strstr(err.text, "out of memory"));
			assert_false(qmt_ref_is_set(ref));
			assert_int_equal(qmt_lookup(kit.out, "kid", &found), QMT_FAIL_UNKNOWN_ACTOR);
			ref = kit_spawn(&kit, &kid_desc, &opt);
		}
		assert_int_equal(kit_ask(&kit, ref, COUNT, 0, NULL), 0);
		stop(&kit);
		if (!missing)
			break;
	}
	assert_true(n > 4); /* ext, state, image, name */
}

/* A restart succeeds, or its supervisor fails over it and takes all its children along; nobody stays half alive. */
static void supervise(void **unused)
{
	(void)unused;
	static const struct qmt_actor_desc *const parents[] = {&one_desc, &all_desc},
											  *const kinds[] = {&small_desc, &kid_desc};

	if (!INTERPOSED)
		skip();
	for (int i = 0; i < 4; i++) {
		bool gave_up = false, went_on = false;
		long n;

		kid_kind = kinds[i / 2];
		for (n = 1;; n++) {
			struct kit kit;

			start(&kit, (uint64_t)n);
			struct qmt_ref parent = kit_spawn(&kit, parents[i % 2], NULL);
			qmt_system_run(kit.sys, 0);
			tell(&kit, kids[1], FAIL, (struct qmt_ref){0});
			fail_at(n);
			qmt_system_run(kit.sys, 0);
			bool missing = has_failed();
			bool alive = qmt_is_running(parent);
			for (int k = 0; k < 3; k++) {
				assert_int_equal(qmt_is_running(kids[k]), alive);
				if (alive)
					assert_int_equal(kit_ask(&kit, kids[k], COUNT, 0, NULL), 0);
			}
			if (!alive)
				assert_true(kit_logged(&kit, "out of memory for the restart of"));
			gave_up |= !alive;
			went_on |= alive && missing;
			stop(&kit);
			if (!missing)
				break;
		}
		assert_true(gave_up && went_on); /* the window must be there, the text of a failure need not */
	}
}

/* Links, monitors and waits are made, or refused to who asked; nobody ends over it, and in the end the answer or the
 * end still comes. */
static void watch(void **unused)
{
	(void)unused;
	static const uint64_t calls[] = {LINK, MONITOR, AWAIT};

	for (size_t i = 0; i < 3; i++) {
		long n;

		for (n = 1;; n++) {
			struct kit kit;

			start(&kit, (uint64_t)n);
			struct qmt_ref a = kit_spawn(&kit, &small_desc, NULL), b = kit_spawn(&kit, &small_desc, NULL);
			qmt_system_run(kit.sys, 0);
			result_of_call = 99;
			answered_once = false;
			downs = 0;
			tell(&kit, a, calls[i], b);
			fail_at(n);
			count_blocks(kit.sys, &faults);
			qmt_system_run(kit.sys, 0);
			bool missing = has_failed();
			count_blocks(kit.sys, NULL);
			assert_true(result_of_call == 0 || (missing && result_of_call == -ENOMEM));
			assert_true(qmt_is_running(a) && qmt_is_running(b));
			assert_int_equal(downs, 0);
			bool linked = calls[i] == LINK && result_of_call == 0;
			assert_int_equal(qmt_kill(kit.out, b), 0);
			qmt_system_run(kit.sys, 0);
			assert_int_equal(qmt_is_running(a), !linked);
			assert_int_equal(downs, calls[i] == MONITOR && result_of_call == 0);
			if (calls[i] == AWAIT)
				assert_int_equal(answered_once, result_of_call == 0);
			stop(&kit);
			if (!missing)
				break;
		}
		assert_true(n >= 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spawn),
		cmocka_unit_test(supervise),
		cmocka_unit_test(watch),
	};

	return cmocka_run_group_tests_name("runtime/no_memory", tests, warm_up, NULL);
}
