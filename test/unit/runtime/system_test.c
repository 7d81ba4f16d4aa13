/* runtime/system: a runtime starts, shows itself, stops in time and says what is left; several live in one process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/internal.h"
#include "test/lib/runtime_kit.h"

static struct kit_latch entered = KIT_LATCH, gate = KIT_LATCH;

static void echo(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	if (qmt_token(ctx).ask)
		kit_answer(ctx, ((const struct kit_poke *)body)->value);
}
static void block(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	(void)state;
	(void)body;
	kit_latch_add(&entered, 1);
	kit_latch_wait(&gate, 1);
}
static qmt_handler *const echo_handlers[kit_message_count] = {[kit_poke_id] = echo, [kit_stop_id] = block};
static const struct qmt_actor_desc echo_desc = KIT_DESC("echo", echo_handlers, .state_size = 8);
static void take(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	(void)state;
	kit_check(((const struct kit_note *)body)->text.len == 100000);
}
static qmt_handler *const taker_handlers[kit_message_count] = {[kit_note_id] = take};
static const struct qmt_actor_desc taker_desc = KIT_DESC("taker", taker_handlers, );
static int parent_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state;
	(void)config;
	return qmt_spawn(ctx, &echo_desc, &(struct qmt_spawn){.name = "inner"}, NULL, NULL);
}
static const struct qmt_actor_desc parent_desc =
	KIT_DESC("parent", echo_handlers, .state_size = 8, .start = parent_start);

/* Several systems in one process share nothing: the same names, each its own actors. */
static void several_systems(void **unused)
{
	(void)unused;
	struct kit kits[3];
	uint64_t value;

	kit_start(&kits[0], 1);
	kit_start(&kits[1], 2);
	kit_start_seeded(&kits[2], 1);
	for (int i = 0; i < 3; i++) {
		kit_spawn(&kits[i], &parent_desc, &(struct qmt_spawn){.name = "same"});
		for (uint64_t k = 0; k < 50; k++) {
			struct qmt_ref ref;

			assert_int_equal(qmt_lookup(kits[i].out, "same", &ref), 0);
			assert_int_equal(kit_ask(&kits[i], ref, k, 0, &value), 0);
			assert_int_equal(value, k);
		}
	}
	for (int i = 0; i < 3; i++)
		kit_stop(&kits[i]);
}

struct picture {
	int echoes, parents, roots, outsiders;
	uint64_t handled, depth;
};
static void look(const struct qmt_actor_info *info, void *arg)
{
	struct picture *picture = arg;

	if (strcmp(info->kind, "echo") == 0) {
		picture->echoes++;
		assert_true(!info->name || strcmp(info->name, "inner") == 0);
		if (info->name)
			assert_string_equal(info->parent_kind, "parent");
		picture->handled += info->handled;
		picture->depth += info->depth;
	}
	picture->parents += strcmp(info->kind, "parent") == 0;
	picture->outsiders += strcmp(info->kind, "outside") == 0;
	if (strcmp(info->kind, "root") == 0) {
		picture->roots++;
		assert_null(info->parent_kind);
	}
}

/* The picture of a system has each live actor once, with kind, name, parent and counts; no ended one, no outside
 * thread. */
static void the_picture(void **unused)
{
	(void)unused;
	struct picture picture = {0};
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref ended = kit_spawn(&kit, &echo_desc, NULL), kept = kit_spawn(&kit, &echo_desc, NULL);
	kit_spawn(&kit, &parent_desc, NULL);
	qmt_stop(kit.out, ended);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(kit_ask(&kit, kept, i, 0, NULL), 0);
	qmt_system_run(kit.sys, 1);
	for (uint64_t i = 0; i < 3; i++)
		QMT_TELL(kit.out, kept, kit_poke, .value = i);
	qmt_system_actors(kit.sys, look, &picture);
	assert_int_equal(picture.echoes, 2);
	assert_int_equal(picture.parents, 1);
	assert_int_equal(picture.roots, 1);
	assert_int_equal(picture.outsiders, 0);
	assert_int_equal(picture.handled, 10);
	assert_int_equal(picture.depth, 3);
	kit_stop(&kit);
}

static void count(const struct qmt_actor_info *info, void *arg)
{
	*(uint64_t *)arg += strlen(info->kind) + (info->name ? strlen(info->name) : 0);
}

/* The picture may be taken while actors with names come and go. */
static void the_picture_under_load(void **unused)
{
	(void)unused;
	struct kit kit;
	uint64_t sum = 0;

	kit_start(&kit, 4);
	for (int i = 0; i < 200; i++) {
		struct qmt_ref ref = kit_spawn(&kit, &parent_desc, NULL);

		qmt_system_actors(kit.sys, count, &sum);
		qmt_stop(kit.out, ref);
		while (qmt_lookup(kit.out, "inner", &ref) == 0)
			qmt_system_actors(kit.sys, count, &sum);
	}
	assert_true(sum > 0);
	kit_stop(&kit);
}

/* A stop that meets a handler which does not return names the actor, and does not wait for ever; once the handler has
 * returned a second stop ends well, and nothing is lost. */
static void stop_names_what_is_left(void **unused)
{
	(void)unused;
	struct qmt_err err;
	struct kit kit;

	kit_start(&kit, 2);
	entered.count = gate.count = 0;
	struct qmt_ref ref = kit_spawn(&kit, &echo_desc, &(struct qmt_spawn){.name = "stubborn"});
	kit_spawn(&kit, &parent_desc, NULL);
	QMT_TELL(kit.out, ref, kit_stop);
	kit_latch_wait(&entered, 1);
	assert_int_equal(qmt_system_stop(kit.sys, 50, &err), 1);
	assert_non_null(strstr(err.text, "echo stubborn"));
	assert_non_null(strstr(err.text, "did not return"));
	assert_null(strstr(err.text, "parent"));
	kit_latch_add(&gate, 1);
	qmt_outside_close(kit.out);
	/* Its workers were told to end: the actor itself stays unfinished, its memory is given back. */
	assert_int_equal(qmt_system_stop(kit.sys, 10, &err), 1);
	assert_null(strstr(err.text, "did not return"));
	qmt_system_free(kit.sys);
	qmt_log_free(kit.log);
	fclose(kit.log_file);
}

/* A system that is stopping takes no more actors; one that has stopped refuses everything and may be stopped again. */
static void after_the_stop(void **unused)
{
	(void)unused;
	struct qmt_err err;
	struct qmt_ref ref, late;
	struct kit kit;

	kit_start(&kit, 2);
	ref = kit_spawn(&kit, &echo_desc, &(struct qmt_spawn){.name = "e"});
	assert_int_equal(kit_ask(&kit, ref, 1, 0, NULL), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(qmt_system_stop(kit.sys, 10000, &err), 0);
		assert_int_equal(qmt_spawn(kit.out, &echo_desc, NULL, &late, &err), QMT_FAIL_STOPPING);
		assert_int_equal(kit_ask(&kit, ref, 1, 0, NULL), QMT_FAIL_NOT_RUNNING);
		assert_int_equal(QMT_TELL(kit.out, ref, kit_poke, .value = 1), QMT_FAIL_NOT_RUNNING);
		assert_int_equal(qmt_lookup(kit.out, "e", &late), QMT_FAIL_UNKNOWN_ACTOR);
	}
	qmt_outside_close(kit.out);
	qmt_system_free(kit.sys);
	qmt_log_free(kit.log);
	fclose(kit.log_file);
}

/* Freed without a stop, with actors, waiting messages, timers and asks: everything comes back. */
static void freed_without_a_stop(void **unused)
{
	(void)unused;
	struct kit kit;

	for (uint32_t workers = 1; workers <= 4; workers *= 2) {
		kit_start(&kit, workers);
		for (int i = 0; i < 100; i++) {
			struct qmt_ref ref = kit_spawn(&kit, &parent_desc, NULL);

			for (int k = 0; k < 20; k++)
				QMT_TELL(kit.out, ref, kit_poke, .value = 1);
		}
		qmt_outside_close(kit.out);
		qmt_system_free(kit.sys);
		qmt_log_free(kit.log);
		fclose(kit.log_file);
	}
	qmt_system_free(NULL);
	qmt_outside_close(NULL);
}

/* ---- the root's failure ------------------------------------------------------------------------------------------ */

static void fails(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	(void)body;
	qmt_fail(ctx, "again and again");
}
static qmt_handler *const fail_handlers[kit_message_count] = {[kit_poke_id] = fails};
static const struct qmt_actor_desc fail_desc = KIT_DESC("failing", fail_handlers, );

static void root_failed(void *arg)
{
	kit_latch_add(arg, 1);
}

/* When what was spawned from outside fails too often, the root gives up: all is stopped, logged as an error, and the
 * owner is told. */
static void the_root_gives_up(void **unused)
{
	(void)unused;
	struct kit_latch told = KIT_LATCH;
	struct qmt_err err;
	struct qmt_system *sys =
		qmt_system_start(&(struct qmt_system_options){.workers = 2, .root_failed = root_failed, .arg = &told}, &err);
	struct qmt_ctx *out = qmt_outside_open(sys);
	struct qmt_ref ref, other;

	assert_int_equal(qmt_spawn(out, &fail_desc, &(struct qmt_spawn){.restart = QMT_PERMANENT}, &ref, &err), 0);
	assert_int_equal(qmt_spawn(out, &echo_desc, NULL, &other, &err), 0);
	for (int i = 0; i < 6; i++)
		QMT_TELL(out, ref, kit_poke, .value = 1);
	kit_latch_wait(&told, 1);
	assert_int_equal(qmt_system_stop(sys, KIT_PATIENCE_MS, &err), 0);
	assert_false(qmt_is_running(other));
	qmt_outside_close(out);
	qmt_system_free(sys);
}

/* An actor spawned from outside while the root is already stopping ends with the rest, and never starts. */
static int never_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	(void)state;
	(void)config;
	kit_check(!"started");
	return 0;
}
static const struct qmt_actor_desc never_desc = {.abi = QMT_ABI, .name = "never", .start = never_start};

static void spawned_too_late(void **unused)
{
	(void)unused;
	struct kit kit;

	for (uint64_t seed = 0; seed < 20; seed++) {
		kit_start_seeded(&kit, seed);
		struct qmt_ref failing = kit_spawn(&kit, &fail_desc, &(struct qmt_spawn){.restart = QMT_PERMANENT});
		kit_spawn(&kit, &parent_desc, NULL);
		qmt_system_run(kit.sys, 0);
		for (int i = 0; i < 6; i++)
			QMT_TELL(kit.out, failing, kit_poke, .value = 1);
		while (kit.sys->root->status != STATUS_STOPPING)
			assert_true(qmt__sim_step(kit.sys, UINT64_MAX));
		struct qmt_ref late = kit_spawn(&kit, &never_desc, NULL);
		assert_true(qmt_is_running(late));
		qmt_system_run(kit.sys, 0);
		assert_false(qmt_is_running(late));
		assert_true(kit.sys->root_ended);
		kit_stop(&kit);
	}
}

/* ---- out of memory ----------------------------------------------------------------------------------------------*/

static void limit_memory(rlim_t more)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	kit_check(file && fscanf(file, "%lu", &pages) == 1);
	fclose(file);
	const struct rlimit limit = {more ? pages * (rlim_t)sysconf(_SC_PAGESIZE) + more : RLIM_INFINITY, RLIM_INFINITY};
	kit_check(setrlimit(RLIMIT_AS, &limit) == 0);
}

static void use_up_memory(void)
{
	enum { TEXT = 100000 };
	static char text[TEXT];
	struct kit_note note = {.text = {text, TEXT}};
	struct qmt_ref ref, taker;
	struct kit kit;
	int failed = 0, spawned = 0, told = 0;

	kit_start_seeded(&kit, 1);
	taker = kit_spawn(&kit, &taker_desc, NULL);
	qmt_system_run(kit.sys, 0);
	limit_memory(8 << 20);
	while (!failed && spawned < 1000000) {
		failed = qmt_spawn(kit.out, &echo_desc, NULL, &ref, NULL);
		spawned += !failed;
	}
	kit_check(failed == -ENOMEM && spawned > 1000);
	do
		failed = qmt_tell(kit.out, taker, &kit_note_type, &note);
	while (!failed && ++told < 1000000);
	kit_check(failed == -ENOMEM);
	kit_check(qmt_msg_new(kit.out, &kit_note_type, 64 << 20) == NULL);
	limit_memory(0);
	/* nothing is broken: those that were made run and end */
	qmt_system_run(kit.sys, 0);
	kit_check(kit_ask(&kit, ref, 7, 0, NULL) == 0);
	kit_stop(&kit);
	_exit(0);
}

/* Without memory spawns and sends fail with -ENOMEM; what was there before goes on and ends as always. */
static void out_of_memory_is_an_error(void **unused)
{
	(void)unused;
	int status;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return; /* they need the address space for themselves */
#endif
	pid_t pid = fork();
	if (pid == 0)
		use_up_memory();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- our own invariants ------------------------------------------------------------------------------------------ */

/* A broken invariant ends the process and says which actor was at work. */
static void break_one(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	(void)body;
	qmt__invariant_broken(ctx, "two and two is five", "arithmetic.c", 4);
}
static qmt_handler *const break_handlers[kit_message_count] = {[kit_poke_id] = break_one};
static const struct qmt_actor_desc break_desc = KIT_DESC("breaker", break_handlers, );

static void broken_invariants_say_where(void **unused)
{
	(void)unused;
	char text[512];
	int fds[2], status;

	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct kit kit;

		signal(SIGABRT, SIG_DFL);
		dup2(fds[1], 2);
		kit_start_seeded(&kit, 1);
		QMT_TELL(kit.out, kit_spawn(&kit, &break_desc, &(struct qmt_spawn){.name = "it"}), kit_poke, .value = 1);
		qmt_system_run(kit.sys, 1);
		_exit(0);
	}
	close(fds[1]);
	ssize_t len = read(fds[0], text, sizeof text - 1);
	assert_true(len > 0);
	text[len] = '\0';
	assert_non_null(strstr(text, "two and two is five"));
	assert_non_null(strstr(text, "breaker"));
	assert_non_null(strstr(text, "\"it\""));
	assert_non_null(strstr(text, "kit.poke"));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	close(fds[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(several_systems),
		cmocka_unit_test(the_picture),
		cmocka_unit_test(the_picture_under_load),
		cmocka_unit_test(stop_names_what_is_left),
		cmocka_unit_test(after_the_stop),
		cmocka_unit_test(freed_without_a_stop),
		cmocka_unit_test(the_root_gives_up),
		cmocka_unit_test(spawned_too_late),
		cmocka_unit_test(out_of_memory_is_an_error),
		cmocka_unit_test(broken_invariants_say_where),
	};

	return cmocka_run_group_tests_name("runtime/system", tests, NULL, NULL);
}
