/* runtime/job, fd, child, own_thread: whatever blocks or comes from the kernel arrives on the actor's own turn, and
 * ends with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/lib/runtime_kit.h"

static struct kit_latch done = KIT_LATCH, dropped = KIT_LATCH, ran = KIT_LATCH, started = KIT_LATCH;
static struct kit_latch gate = KIT_LATCH; /* jobs wait until it is open */

static void reset(void)
{
	done.count = dropped.count = ran.count = gate.count = started.count = 0;
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

enum { JOBS, GATED, FAIL, STOP, COUNT, WATCH, REARM, UNWATCH, CHILD, KILL };

struct user {
	uint64_t count;
	pthread_t thread;
	int fd;
	struct qmt_child child;
};

static void job_run(void *arg)
{
	if (arg)
		kit_latch_wait(&gate, 1);
	kit_latch_add(&ran, 1);
}
static void job_done(struct qmt_ctx *ctx, void *state, void *arg)
{
	(void)ctx;
	(void)arg;
	((struct user *)state)->count++;
	kit_latch_add(&done, 1);
}
static void job_drop(void *arg)
{
	(void)arg;
	kit_latch_add(&dropped, 1);
}
static const struct qmt_job job = {job_run, job_done, job_drop};

static void user_fd(struct qmt_ctx *ctx, void *state, int fd, uint32_t events, void *arg)
{
	struct user *user = state;
	char bytes[4];
	ssize_t got;

	kit_check(arg == user && fd == user->fd);
	if (events & QMT_FD_READ) {
		/* four bytes a call: level-triggered, so it is called again for the rest */
		got = read(fd, bytes, sizeof bytes);
		if (got > 0)
			user->count += (uint64_t)got;
		if (got == 0) {
			kit_check(events & QMT_FD_HANGUP || !(events & QMT_FD_WRITE));
			qmt_fd_unwatch(ctx, fd);
		}
		kit_latch_add(&done, got > 0 ? (uint64_t)got : 1000);
	} else if (events & QMT_FD_WRITE) {
		qmt_fd_unwatch(ctx, fd);
		kit_latch_add(&done, 1);
	}
}

static void child_over(struct qmt_ctx *ctx, void *state, const struct qmt_child_result *result, void *arg);
static void start_child(struct qmt_ctx *ctx, struct user *user, uint64_t which);

static void user_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct user *user = state;

	switch (poke->value % 100) {
	case JOBS:
		for (int i = 0; i < 20; i++)
			kit_check(qmt_job_start(ctx, &job, NULL) == 0);
		break;
	case GATED:
		for (int i = 0; i < 3; i++)
			kit_check(qmt_job_start(ctx, &job, user) == 0);
		break;
	case FAIL:
		qmt_fail(ctx, "told to");
		break;
	case STOP:
		qmt_stop_self(ctx);
		break;
	case COUNT:
		kit_answer(ctx, user->count);
		break;
	case WATCH:
		user->fd = (int)(poke->value / 100);
		kit_check(qmt_fd_watch(ctx, user->fd, QMT_FD_READ, user_fd, user) == 0);
		break;
	case REARM: /* changes an existing watch */
		kit_check(qmt_fd_watch(ctx, user->fd, QMT_FD_WRITE, user_fd, user) == 0);
		break;
	case UNWATCH:
		qmt_fd_unwatch(ctx, user->fd);
		qmt_fd_unwatch(ctx, user->fd);
		kit_answer(ctx, 0);
		break;
	case CHILD:
		start_child(ctx, user, poke->value / 100);
		break;
	case KILL:
		qmt_child_kill(ctx, user->child, SIGTERM);
		break;
	}
}
static int user_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	(void)config;
	((struct user *)state)->thread = pthread_self();
	kit_latch_add(&started, 1);
	return 0;
}
static qmt_handler *const user_handlers[kit_message_count] = {[kit_poke_id] = user_poke};
static const struct qmt_actor_desc user_desc = KIT_DESC("user", user_handlers, .state_size = sizeof(struct user),
	.start = user_start);

static void tell(struct kit *kit, struct qmt_ref to, uint64_t value)
{
	assert_int_equal(QMT_TELL(kit->out, to, kit_poke, .value = value), 0);
}

/* Each job runs, then done is called on the actor's turn. */
static void jobs_are_done(void **unused)
{
	(void)unused;
	struct kit kit;
	uint64_t count;

	for (uint32_t workers = 1; workers <= 4; workers *= 2) {
		kit_start(&kit, workers);
		reset();
		struct qmt_ref user = kit_spawn(&kit, &user_desc, NULL);
		tell(&kit, user, JOBS);
		kit_latch_wait(&done, 20);
		assert_int_equal(kit_ask(&kit, user, COUNT, 0, &count), 0);
		assert_int_equal(count, 20);
		assert_int_equal(kit_latch_count(&dropped), 0);
		kit_stop(&kit);
	}
}

/* A job that outlives the incarnation that started it is dropped, not done: after a restart, after an end, also when
 * many are queued. */
static void jobs_are_dropped(void **unused)
{
	(void)unused;
	static const uint64_t ends[] = {FAIL, STOP};
	struct kit kit;
	uint64_t count;

	for (int i = 0; i < 2; i++) {
		kit_start(&kit, 2);
		reset();
		struct qmt_ref user = kit_spawn(&kit, &user_desc, &(struct qmt_spawn){.restart = QMT_TRANSIENT});
		tell(&kit, user, GATED);
		tell(&kit, user, ends[i]);
		if (ends[i] == FAIL)
			kit_latch_wait(&started, 2);
		else
			kit_wait_gone(&kit, user);
		kit_latch_add(&gate, 1);
		kit_latch_wait(&dropped, 3);
		assert_int_equal(kit_latch_count(&done), 0);
		assert_int_equal(kit_latch_count(&ran), 3);
		if (ends[i] == FAIL) {
			assert_int_equal(kit_ask(&kit, user, COUNT, 0, &count), 0);
			assert_int_equal(count, 0);
		}
		kit_stop(&kit);
	}
}

/* A seeded system runs jobs on its own thread, at a later turn. */
static void seeded_jobs(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 5);
	reset();
	struct qmt_ref user = kit_spawn(&kit, &user_desc, NULL);
	tell(&kit, user, JOBS);
	qmt_system_run(kit.sys, 0);
	assert_int_equal(kit_latch_count(&done), 20);
	/* and drops what it did not come to */
	tell(&kit, user, GATED);
	tell(&kit, user, STOP);
	kit_latch_add(&gate, 1);
	kit_stop(&kit);
	assert_int_equal(kit_latch_count(&dropped) + kit_latch_count(&done), 23);
}

/* ---- descriptors ------------------------------------------------------------------------------------------------- */

static void pair(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

static void put(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* Level-triggered: called until all is read; changed by watching again; silent after an unwatch; hang-ups are
 * reported. */
static void descriptors(void **unused)
{
	(void)unused;
	struct kit kit;
	uint64_t count;
	int fds[2];

	for (int own = 0; own < 2; own++) {
		kit_start(&kit, 2);
		reset();
		pair(fds);
		struct qmt_ref user = kit_spawn(&kit, &user_desc, &(struct qmt_spawn){.own_thread = own});
		tell(&kit, user, (uint64_t)fds[0] * 100 + WATCH);
		put(fds[1], "0123456789abcdef");
		kit_latch_wait(&done, 16);
		tell(&kit, user, REARM);
		kit_latch_wait(&done, 17);
		put(fds[1], "xxxx"); /* unwatched by itself */
		assert_int_equal(kit_ask(&kit, user, COUNT, 0, &count), 0);
		assert_int_equal(count, 16);
		tell(&kit, user, (uint64_t)fds[0] * 100 + WATCH);
		kit_latch_wait(&done, 21);
		assert_int_equal(kit_ask(&kit, user, UNWATCH, 0, NULL), 0);
		put(fds[1], "yyyy");
		assert_int_equal(kit_ask(&kit, user, COUNT, 0, &count), 0);
		assert_int_equal(count, 20);
		tell(&kit, user, (uint64_t)fds[0] * 100 + WATCH);
		kit_latch_wait(&done, 25);
		close(fds[1]);
		kit_latch_wait(&done, 1025);
		kit_stop(&kit);
		close(fds[0]);
	}
}

/* Actors that watch and end again and again, while their descriptors are ready: no event reaches a wrong one. */
static void descriptors_come_and_go(void **unused)
{
	(void)unused;
	struct kit kit;
	int fds[2];

	for (uint32_t workers = 2; workers <= 4; workers *= 2) {
		kit_start(&kit, workers);
		reset();
		pair(fds);
		for (int i = 0; i < 300; i++) {
			struct qmt_ref user = kit_spawn(&kit, &user_desc, NULL);

			(void)!write(fds[1], "0", 1); /* not all are read: the pair may be full */
			tell(&kit, user, (uint64_t)fds[0] * 100 + WATCH);
			if (i % 3 == 0)
				assert_int_equal(kit_ask(&kit, user, UNWATCH, 0, NULL), 0);
			tell(&kit, user, STOP);
			kit_wait_gone(&kit, user);
		}
		kit_stop(&kit);
		close(fds[0]);
		close(fds[1]);
	}
}

static void edge_fd(struct qmt_ctx *ctx, void *state, int fd, uint32_t events, void *arg)
{
	char bytes[64];

	(void)ctx;
	(void)arg;
	(void)events;
	while (read(fd, bytes, sizeof bytes) > 0)
		;
	++*(uint64_t *)state;
	kit_latch_add(&done, 1);
}
static int edge_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state;
	return qmt_fd_watch(ctx, *(const int *)config, QMT_FD_READ | QMT_FD_EDGE, edge_fd, NULL);
}
static const struct qmt_actor_desc edge_desc = {.abi = QMT_ABI, .name = "edge", .state_size = 8, .start = edge_start};

/* Edge-triggered: each edge calls once; one that came before the watch counts. Bad descriptors are refused with
 * errno. */
static void edges(void **unused)
{
	(void)unused;
	struct kit kit;
	int fds[2], bad = 12345;

	kit_start(&kit, 2);
	reset();
	pair(fds);
	put(fds[1], "before");
	kit_spawn(&kit, &edge_desc, &(struct qmt_spawn){.config = &fds[0]});
	for (uint64_t i = 1; i <= 200; i++) {
		kit_latch_wait(&done, i);
		put(fds[1], "more");
	}
	kit_latch_wait(&done, 201);
	struct qmt_ref refused = kit_spawn(&kit, &edge_desc, &(struct qmt_spawn){.config = &bad});
	kit_wait_gone(&kit, refused);
	assert_true(kit_logged(&kit, "start returned -9"));
	assert_int_equal(qmt_fd_watch(kit.out, fds[0], QMT_FD_READ, edge_fd, NULL), -ENOTSUP);
	kit_stop(&kit);
	close(fds[0]);
	close(fds[1]);
}

/* ---- children ---------------------------------------------------------------------------------------------------- */

static struct qmt_child_result last; /* without its texts; read after the latch */
static char last_out[64];

static void child_over(struct qmt_ctx *ctx, void *state, const struct qmt_child_result *result, void *arg)
{
	struct user *user = state;

	(void)ctx;
	kit_check(arg == user);
	last = *result;
	snprintf(last_out, sizeof last_out, "%.*s", QMT_STR_ARG(result->out));
	kit_latch_add(&done, 1);
}

static void start_child(struct qmt_ctx *ctx, struct user *user, uint64_t which)
{
	static const char *const scripts[] = {
		"echo out; echo err >&2; exit 3",
		"sleep 1000",                                     /* is killed */
		"head -c 100000 /dev/zero | tr '\\0' x",          /* more than the limit of 10 */
		"sleep 1000 & echo left",                         /* a grandchild keeps the pipe */
		"echo $$; exec sleep 1000",
	};
	const char *argv[] = {"sh", "-c", scripts[which], NULL};
	const struct qmt_child_options opt = {
		.argv = argv, .timeout_ms = which == 1 ? 50 : 0, .output_limit_bytes = which == 2 ? 10 : 0};
	struct qmt_err err;

	if (qmt_child_start(ctx, &opt, child_over, user, &user->child, &err)) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
}

/* A child's exit and output are reported once; a timeout kills it; output beyond the limit is counted and dropped; a
 * pipe that a grandchild keeps open does not keep the report. */
static void children(void **unused)
{
	(void)unused;
	struct kit kit;

	for (int own = 0; own < 2; own++) {
		kit_start(&kit, 2);
		reset();
		struct qmt_ref user = kit_spawn(&kit, &user_desc, &(struct qmt_spawn){.own_thread = own});
		tell(&kit, user, 0 * 100 + CHILD);
		kit_latch_wait(&done, 1);
		assert_int_equal(last.exit_code, 3);
		assert_string_equal(last_out, "out\n");
		assert_int_equal(last.err_total_bytes, 4);
		tell(&kit, user, 1 * 100 + CHILD);
		kit_latch_wait(&done, 2);
		assert_true(last.timed_out);
		assert_int_equal(last.exit_code, -1);
		assert_int_equal(last.signal, SIGKILL);
		tell(&kit, user, 2 * 100 + CHILD);
		kit_latch_wait(&done, 3);
		assert_true(last.out_truncated);
		assert_string_equal(last_out, "xxxxxxxxxx");
		assert_int_equal(last.out_total_bytes, 100000);
		tell(&kit, user, 3 * 100 + CHILD);
		kit_latch_wait(&done, 4);
		assert_string_equal(last_out, "left\n");
		assert_int_equal(last.exit_code, 0);
		tell(&kit, user, 4 * 100 + CHILD);
		tell(&kit, user, KILL);
		kit_latch_wait(&done, 5);
		assert_int_equal(last.signal, SIGTERM);
		kit_stop(&kit);
	}
}

/* The children of an actor die with its incarnation, and leave no zombie. */
static void children_die_with_it(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start(&kit, 2);
	reset();
	struct qmt_ref user = kit_spawn(&kit, &user_desc, &(struct qmt_spawn){.restart = QMT_PERMANENT});
	for (int i = 0; i < 5; i++)
		tell(&kit, user, 4 * 100 + CHILD);
	tell(&kit, user, FAIL);
	kit_latch_wait(&started, 2);
	assert_int_equal(kit_latch_count(&done), 0);
	for (int i = 0; i < 5; i++)
		tell(&kit, user, 4 * 100 + CHILD);
	assert_int_equal(kit_ask(&kit, user, COUNT, 0, NULL), 0);
	kit_stop(&kit); /* waits for those that reap */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

/* A program that does not exist is refused with a text that names it; a seeded system starts none and watches
 * nothing. */
static void no_such_child(struct qmt_ctx *ctx, void *state, const void *body)
{
	const char *argv[] = {"no-such-program-here", NULL};
	struct qmt_err err = {0};

	(void)body;
	uint64_t failed = qmt_child_start(ctx, &(struct qmt_child_options){.argv = argv}, child_over, state, NULL,
		&err) < 0;
	kit_answer(ctx, failed && strstr(err.text, *(uint64_t *)state ? "seeded" : "no-such-program-here"));
}
static int no_such_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	*(uint64_t *)state = config != NULL;
	kit_check(!config || qmt_fd_watch(ctx, 0, QMT_FD_READ, user_fd, NULL) == -ENOSYS);
	return 0;
}
static qmt_handler *const no_such_handlers[kit_message_count] = {[kit_poke_id] = no_such_child};
static const struct qmt_actor_desc no_such_desc = KIT_DESC("no_such", no_such_handlers, .state_size = 8,
	.start = no_such_start);

static void refused_children(void **unused)
{
	(void)unused;
	struct kit kit;
	uint64_t right;

	kit_start(&kit, 1);
	assert_int_equal(kit_ask(&kit, kit_spawn(&kit, &no_such_desc, NULL), 0, 0, &right), 0);
	assert_true(right);
	kit_stop(&kit);
	kit_start_seeded(&kit, 1);
	assert_int_equal(kit_ask(&kit, kit_spawn(&kit, &no_such_desc, &(struct qmt_spawn){.config = "seeded"}), 0, 0,
		&right), 0);
	assert_true(right);
	kit_stop(&kit);
}

/* ---- threads of their own ---------------------------------------------------------------------------------------- */

static void same_thread(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct user *user = state;

	(void)body;
	kit_check(pthread_equal(user->thread, pthread_self()));
	kit_latch_wait(&gate, 1); /* it may block */
	kit_answer(ctx, ++user->count);
}
static qmt_handler *const blocking_handlers[kit_message_count] = {[kit_poke_id] = same_thread};
static const struct qmt_actor_desc blocking_desc =
	KIT_DESC("blocking", blocking_handlers, .state_size = sizeof(struct user), .start = user_start);

/* All turns of such an actor run on its thread; while it blocks, others run, even on a single worker. */
static void own_thread_blocks_nobody(void **unused)
{
	(void)unused;
	struct kit kit;
	uint64_t count;

	kit_start(&kit, 1);
	reset();
	struct qmt_ref blocking = kit_spawn(&kit, &blocking_desc, &(struct qmt_spawn){.own_thread = true});
	struct qmt_ref user = kit_spawn(&kit, &user_desc, NULL);
	for (int i = 0; i < 10; i++)
		tell(&kit, blocking, 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(kit_ask(&kit, user, COUNT, 0, &count), 0);
	kit_latch_add(&gate, 1);
	assert_int_equal(kit_ask(&kit, blocking, 0, 0, &count), 0);
	assert_int_equal(count, 11);
	kit_stop(&kit);
}

/* Threads come and go with their actors. */
static void many_own_threads(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start(&kit, 2);
	reset();
	kit_latch_add(&gate, 1);
	for (int round = 0; round < 30; round++) {
		struct qmt_ref refs[5];

		for (int i = 0; i < 5; i++)
			refs[i] = kit_spawn(&kit, &blocking_desc, &(struct qmt_spawn){.own_thread = true});
		for (int i = 0; i < 5; i++)
			assert_int_equal(kit_ask(&kit, refs[i], 0, 0, NULL), 0);
		for (int i = 0; i < 5; i++)
			assert_int_equal(qmt_stop(kit.out, refs[i]), 0);
		for (int i = 0; i < 5; i++)
			kit_wait_gone(&kit, refs[i]);
	}
	kit_stop(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jobs_are_done),
		cmocka_unit_test(jobs_are_dropped),
		cmocka_unit_test(seeded_jobs),
		cmocka_unit_test(descriptors),
		cmocka_unit_test(descriptors_come_and_go),
		cmocka_unit_test(edges),
		cmocka_unit_test(children),
		cmocka_unit_test(children_die_with_it),
		cmocka_unit_test(refused_children),
		cmocka_unit_test(own_thread_blocks_nobody),
		cmocka_unit_test(many_own_threads),
	};

	return cmocka_run_group_tests_name("runtime/job", tests, NULL, NULL);
}
