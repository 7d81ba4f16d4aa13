/* runtime/trace: a trace follows one piece of work through whatever is sent for it, and nothing else carries it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "runtime/port.h"
#include "runtime/pool.h"
#include "runtime/pubsub.h"
#include "runtime/slab.h"
#include "runtime/test_kit.h"
#include "test/lib/runtime_kit.h"

enum { TRACE = 0xabc, OTHER = 0xdef };

/* ---- actors that write down with which trace they were called ---------------------------------------------------- */

static char seen[2048];
static struct qmt_ref helper, silent, relay;

static void note(struct qmt_ctx *ctx, const char *where)
{
	size_t used = strlen(seen);

	snprintf(seen + used, sizeof seen - used, "%s=%llx ", where, (unsigned long long)qmt_trace(ctx));
}

enum what {
	SEE,
	TELL,
	URGENT,
	TRY,
	WITHIN,
	ALL,
	BY_NAME,
	LATER,
	TIMER,
	ASK,
	ASK_LATE,
	ASK_STALE,
	ASK_EXCLUSIVE,
	AWAIT,
	FORWARD,
	ASK_FORWARDED,
	KEEP,
	JOB,
	CHILD,
	SET,
	DROP,
	FAIL,
	MADE,
	AGAIN,
	FD,
	BOUNCE,
};

struct hand {
	struct qmt_msg *kept;
	int fds[2];
};
static struct kit_latch called_back = KIT_LATCH;

static void hand_told(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	(void)body;
	note(ctx, "note");
}
static void on_answer(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)state;
	(void)arg;
	note(ctx, result->fail ? qmt_fail_name(result->fail) : "answer");
}
static void on_timer(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct hand *hand = state;

	(void)arg;
	note(ctx, "timer");
	if (hand->kept)
		kit_check(qmt_send_msg(ctx, helper, &kit_poke_type, &hand->kept) == 0);
}
static void on_timer_that_sets(struct qmt_ctx *ctx, void *state, void *arg)
{
	(void)arg;
	(void)state;
	qmt_trace_set(ctx, OTHER);
	kit_check(QMT_TELL(ctx, helper, kit_poke, .value = SEE) == 0);
}
static void on_fd(struct qmt_ctx *ctx, void *state, int fd, uint32_t events, void *arg)
{
	struct hand *hand = state;

	(void)events;
	(void)arg;
	note(ctx, "fd");
	qmt_fd_unwatch(ctx, fd);
	close(hand->fds[0]);
	close(hand->fds[1]);
	kit_latch_add(&called_back, 1);
}
static bool child_said(struct qmt_ctx *ctx, void *state, int which, struct qmt_bytes data, void *arg)
{
	(void)state;
	(void)which;
	(void)data;
	(void)arg;
	note(ctx, "output");
	return true;
}
static void child_done(struct qmt_ctx *ctx, void *state, const struct qmt_child_result *result, void *arg)
{
	(void)state;
	(void)arg;
	note(ctx, result->exit_code == 0 ? "child" : "child failed");
	kit_latch_add(&called_back, 1);
}
static void run_job(void *arg)
{
	(void)arg;
}
static void job_done(struct qmt_ctx *ctx, void *state, void *arg)
{
	(void)state;
	(void)arg;
	note(ctx, "job");
}
static const struct qmt_job job = {.run = run_job, .done = job_done};

static void hand_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body, see = {.value = SEE};
	struct kit_note long_note = {.text = qmt_str("a text")};
	const struct qmt_child_options child = {.argv = (const char *const[]){"echo", "x", NULL}, .output = child_said};
	struct hand *hand = state;
	struct qmt_msg *m;
	struct qmt_child started;

	switch ((enum what)poke->value) {
	case SEE:
		note(ctx, "poke");
		if (qmt_token(ctx).ask)
			(void)QMT_REPLY(ctx, qmt_token(ctx), kit_answer, .value = 1); /* no memory: the deadline */
		break;
	case TELL:
		kit_check(qmt_tell(ctx, helper, &kit_poke_type, &see) == 0);
		break;
	case URGENT:
		kit_check(qmt_tell_urgent(ctx, helper, &kit_poke_type, &see) == 0);
		break;
	case TRY:
		kit_check(qmt_try_tell(ctx, helper, &kit_poke_type, &see) == 0);
		break;
	case WITHIN:
		kit_check(qmt_tell_within(ctx, helper, &kit_poke_type, &see, 1000) == 0);
		break;
	case ALL:
		kit_check(qmt_tell_all(ctx, (struct qmt_ref[]){helper, helper}, 2, &kit_note_type, &long_note, NULL) == 0);
		kit_check(qmt_tell_all(ctx, (struct qmt_ref[]){helper, helper}, 2, &kit_poke_type, &see, NULL) == 0);
		break;
	case BY_NAME:
		kit_check(qmt_tell_name(ctx, NULL, "helper", &kit_poke_type, &see) == 0);
		kit_check(qmt_ask_name(ctx, NULL, "helper", &kit_poke_type, &see, 0, on_answer, NULL) == 0);
		break;
	case LATER:
		kit_check(qmt_tell_after(ctx, 10, helper, &kit_poke_type, &see) == 0);
		break;
	case TIMER:
		kit_check(qmt_timer_start(ctx, 10, on_timer, NULL, NULL) == 0);
		break;
	case ASK:
		kit_check(qmt_ask(ctx, helper, &kit_poke_type, &see, 0, on_answer, NULL) == 0);
		break;
	case ASK_LATE:
		kit_check(qmt_ask(ctx, silent, &kit_poke_type, &see, 10, on_answer, NULL) == 0);
		break;
	case ASK_STALE:
		qmt_ask_or(ctx, (struct qmt_ref){0}, &kit_poke_type, &see, 0, on_answer, NULL);
		break;
	case ASK_EXCLUSIVE:
		kit_check(qmt_ask_exclusive(ctx, helper, &kit_poke_type, &see, 0, on_answer, NULL) == 0);
		break;
	case AWAIT:
		kit_check(qmt_await_start(ctx, helper, 0, on_answer, NULL) == 0);
		break;
	case FORWARD:
		qmt_trace_set(ctx, OTHER); /* of what this actor sends, not of the message */
		((struct kit_poke *)(uintptr_t)poke)->value = SEE;
		kit_check(qmt_forward(ctx, poke->ref) == 0);
		break;
	case ASK_FORWARDED:
		kit_check(QMT_ASK(ctx, poke->ref, 0, on_answer, NULL, kit_poke, .value = FORWARD, .ref = helper) == 0);
		break;
	case KEEP:
		hand->kept = qmt_keep(ctx);
		((struct kit_poke *)qmt_msg_body(hand->kept))->value = SEE;
		kit_check(qmt_timer_start(ctx, 10, on_timer, NULL, NULL) == 0);
		break;
	case JOB:
		kit_check(qmt_job_start(ctx, &job, NULL) == 0);
		break;
	case CHILD:
		kit_check(qmt_child_start(ctx, &child, child_done, NULL, &started, NULL) == 0);
		break;
	case SET:
		qmt_trace_set(ctx, OTHER);
		kit_check(qmt_tell(ctx, helper, &kit_poke_type, &see) == 0);
		break;
	case DROP:
		qmt_trace_set(ctx, 0);
		kit_check(qmt_tell(ctx, helper, &kit_poke_type, &see) == 0);
		break;
	case FAIL:
		qmt_fail(ctx, "told to");
		break;
	case MADE:
		m = qmt_msg_new(ctx, &kit_poke_type, 0);
		kit_check(m);
		*(struct kit_poke *)qmt_msg_body(m) = see;
		qmt_trace_set(ctx, OTHER);
		kit_check(qmt_ask_msg(ctx, helper, &kit_poke_type, &m, 0, on_answer, NULL) == 0);
		break;
	case AGAIN:
		qmt_trace_set(ctx, OTHER);
		qmt_again(ctx);
		qmt_want_flush(ctx);
		kit_check(qmt_timer_start(ctx, 10, on_timer_that_sets, NULL, NULL) == 0);
		kit_check(qmt_timer_start(ctx, 10, on_timer, NULL, NULL) == 0);
		break;
	case FD:
		kit_check(pipe(hand->fds) == 0 && write(hand->fds[1], "x", 1) == 1);
		kit_check(qmt_fd_watch(ctx, hand->fds[0], QMT_FD_READ, on_fd, NULL) == 0);
		break;
	case BOUNCE:
		kit_check(qmt_tell(ctx, silent, &kit_poke_type, &(struct kit_poke){.value = FAIL}) == 0);
		kit_check(qmt_kill(ctx, silent) == 0);
		break;
	default:
		kit_check(!"known");
	}
}
static void hand_again(struct qmt_ctx *ctx, void *state)
{
	(void)state;
	note(ctx, "again");
}
static void hand_flush(struct qmt_ctx *ctx, void *state)
{
	(void)state;
	note(ctx, "flush");
}
static void hand_undelivered(
	struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body, int reason)
{
	(void)state;
	(void)type;
	(void)body;
	(void)reason;
	note(ctx, "undelivered");
}
static qmt_handler *const hand_handlers[kit_message_count] = {[kit_poke_id] = hand_poke, [kit_note_id] = hand_told};
static const struct qmt_actor_desc hand_desc = KIT_DESC("hand", hand_handlers, .state_size = sizeof(struct hand),
	.again = hand_again, .flush = hand_flush, .undelivered = hand_undelivered);

static void silent_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	(void)state;
	(void)body;
}
static qmt_handler *const silent_handlers[kit_message_count] = {[kit_poke_id] = silent_poke};
static const struct qmt_actor_desc silent_desc = KIT_DESC("silent", silent_handlers, );

/* ---- the fixture: a seeded system, so that what was seen has one order ------------------------------------------- */

static struct qmt_ref open_hand(struct kit *kit)
{
	kit_start_seeded(kit, 1);
	silent = kit_spawn(kit, &silent_desc, NULL);
	relay = kit_spawn(kit, &hand_desc, NULL);
	helper = kit_spawn(kit, &hand_desc, &(struct qmt_spawn){.name = "helper"});
	return kit_spawn(kit, &hand_desc, NULL);
}

/* What was seen after the hand was told `what` with a trace, and afterwards SEE without one. */
static const char *after(enum what what)
{
	struct kit kit;
	struct qmt_ref hand = open_hand(&kit);

	qmt_system_run(kit.sys, 1);
	seen[0] = '\0';
	qmt_trace_set(kit.out, TRACE);
	assert_int_equal(
		QMT_TELL(kit.out, hand, kit_poke, .value = what, .ref = what == ASK_FORWARDED ? relay : helper), 0);
	qmt_trace_set(kit.out, 0);
	qmt_system_run(kit.sys, 100);
	assert_int_equal(QMT_TELL(kit.out, hand, kit_poke, .value = SEE), 0);
	qmt_system_run(kit.sys, 100);
	kit_stop(&kit);
	return seen;
}

/* What a handler sends carries the trace of the message it handles, however it is sent; the next message has none. */
static void test_tells(void **state)
{
	(void)state;
	assert_string_equal(after(SEE), "poke=abc poke=0 ");
	assert_string_equal(after(TELL), "poke=abc poke=0 ");
	assert_string_equal(after(URGENT), "poke=abc poke=0 ");
	assert_string_equal(after(TRY), "poke=abc poke=0 ");
	assert_string_equal(after(WITHIN), "poke=abc poke=0 ");
	assert_string_equal(after(ALL), "note=abc note=abc poke=abc poke=abc poke=0 ");
	assert_string_equal(after(BY_NAME), "poke=abc poke=abc answer=abc poke=0 ");
}

/* An ask carries it, and its continuation runs with it: by an answer, a deadline, a failure to send. */
static void test_asks(void **state)
{
	(void)state;
	assert_string_equal(after(ASK), "poke=abc answer=abc poke=0 ");
	assert_string_equal(after(ASK_LATE), "deadline passed=abc poke=0 ");
	assert_string_equal(after(ASK_STALE), "not running=abc poke=0 ");
	assert_string_equal(after(ASK_EXCLUSIVE), "poke=abc answer=abc poke=0 ");
	assert_string_equal(after(AWAIT), "answer=abc poke=0 ");
}

/* Timers and descriptors are nobody's work. Jobs are that of who started them. */
static void test_callbacks(void **state)
{
	(void)state;
	assert_string_equal(after(LATER), "poke=0 poke=0 ");
	assert_string_equal(after(TIMER), "timer=0 poke=0 ");
	assert_string_equal(after(JOB), "job=abc poke=0 ");
	assert_string_equal(after(BOUNCE), "undelivered=abc poke=0 ");
}

/* A message keeps its trace when it is forwarded, kept and sent later, or was made by hand before. */
static void test_messages(void **state)
{
	(void)state;
	assert_string_equal(after(KEEP), "timer=0 poke=abc poke=0 ");
	assert_string_equal(after(MADE), "poke=abc answer=abc poke=0 ");
	assert_string_equal(after(FORWARD), "poke=abc poke=0 ");
	assert_string_equal(after(ASK_FORWARDED), "poke=abc answer=abc poke=0 ");
}

/* What a handler sets holds until it returns: hooks, timers and messages that follow on the same turn have none. */
static void test_set(void **state)
{
	(void)state;
	assert_string_equal(after(SET), "poke=def poke=0 ");
	assert_string_equal(after(DROP), "poke=0 poke=0 ");
	assert_string_equal(after(AGAIN), "flush=0 again=0 timer=0 poke=def poke=0 ");
}

/* The same of messages without a trace, that take the short way. */
static void test_set_without(void **state)
{
	struct kit kit;
	struct qmt_ref hand = open_hand(&kit);

	(void)state;
	seen[0] = '\0';
	assert_int_equal(QMT_TELL(kit.out, hand, kit_poke, .value = SET), 0);
	assert_int_equal(QMT_TELL(kit.out, hand, kit_poke, .value = AGAIN), 0);
	assert_int_equal(QMT_TELL(kit.out, hand, kit_poke, .value = SEE), 0);
	qmt_system_run(kit.sys, 5);
	assert_non_null(strstr(seen, "flush=0 "));
	assert_non_null(strstr(seen, "again=0 "));
	assert_non_null(strstr(seen, "poke=0 "));
	assert_non_null(strstr(seen, "poke=def "));
	assert_null(strstr(seen, "flush=def"));
	assert_null(strstr(seen, "again=def"));
	kit_stop(&kit);
}

/* ---- what is not seeded ------------------------------------------------------------------------------------------ */

/* A descriptor is nobody's work; a child is that of who started it. */
static void test_descriptors_and_children(void **state)
{
	struct kit kit;
	struct qmt_ref hand;

	(void)state;
	kit_start(&kit, 2);
	hand = kit_spawn(&kit, &hand_desc, NULL);
	seen[0] = '\0';
	qmt_trace_set(kit.out, TRACE);
	assert_int_equal(QMT_TELL(kit.out, hand, kit_poke, .value = FD), 0);
	kit_latch_wait(&called_back, 1);
	assert_string_equal(seen, "fd=0 ");
	seen[0] = '\0';
	assert_int_equal(QMT_TELL(kit.out, hand, kit_poke, .value = CHILD), 0);
	kit_latch_wait(&called_back, 2);
	assert_string_equal(seen, "output=abc child=abc ");
	kit_stop(&kit);
}

/* An outside handle keeps what it was given, over its asks too. */
static void test_outside(void **state)
{
	struct kit kit;

	(void)state;
	kit_start(&kit, 2);
	helper = kit_spawn(&kit, &hand_desc, NULL);
	seen[0] = '\0';
	qmt_trace_set(kit.out, TRACE);
	assert_int_equal(kit_ask(&kit, helper, SEE, 0, NULL), 0);
	assert_true(qmt_trace(kit.out) == TRACE);
	assert_int_equal(kit_ask(&kit, helper, SEE, 0, NULL), 0);
	assert_string_equal(seen, "poke=abc poke=abc ");
	qmt_trace_set(kit.out, 0);
	assert_int_equal(kit_ask(&kit, helper, SEE, 0, NULL), 0);
	assert_string_equal(seen, "poke=abc poke=abc poke=0 ");
	kit_stop(&kit);
}

/* ---- ready-made actors ------------------------------------------------------------------------------------------- */

static qmt_handler *const spread[kit_message_count] = {[kit_poke_id] = qmt_pool_to_one};
static const struct qmt_actor_desc pool_desc = QMT_POOL_DESC("pool", &kit_protocol, spread, .bound = 100);
static const struct qmt_actor_desc worker_desc = {.abi = QMT_ABI,
	.name = "worker",
	.state_size = sizeof(struct hand),
	.accepts = {{&kit_protocol, hand_handlers}, {&qmt_pool_protocol, qmt_pool_worker_handlers}}};

/* A pool hands it on to the worker, with the right to answer. */
static void test_pool(void **state)
{
	const struct qmt_pool_config config = {.worker = &worker_desc, .size = 2};
	struct kit kit;
	struct qmt_ref hand = open_hand(&kit);

	(void)state;
	helper = kit_spawn(&kit, &pool_desc, &(struct qmt_spawn){.config = &config});
	qmt_system_run(kit.sys, 1);
	seen[0] = '\0';
	qmt_trace_set(kit.out, TRACE);
	assert_int_equal(QMT_TELL(kit.out, hand, kit_poke, .value = ASK), 0);
	qmt_system_run(kit.sys, 1);
	assert_string_equal(seen, "poke=abc answer=abc ");
	kit_stop(&kit);
}

QMT_PUBSUB_PUBLISH(kit_note)
QMT_PUBSUB_PUBLISH(kit_stop)
static qmt_handler *const topics[kit_message_count] = {
	[kit_note_id] = kit_note_publish, [kit_stop_id] = kit_stop_publish};
static const struct qmt_actor_desc pubsub_desc = QMT_PUBSUB_DESC("pubsub", &kit_protocol, topics, .bound = 100);

static bool reader_open;
static void reader_open_up(struct qmt_ctx *ctx, void *state, void *arg)
{
	(void)state;
	(void)arg;
	qmt_hold(ctx, false);
	reader_open = true;
}
static int reader_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state;
	(void)config;
	reader_open = false;
	qmt_hold(ctx, true);
	return qmt_timer_start(ctx, 50, reader_open_up, NULL, NULL);
}
static const struct qmt_actor_desc reader_desc = KIT_DESC("reader", hand_handlers, .state_size = sizeof(struct hand),
	.start = reader_start, .bound = 1, .overflow = QMT_REFUSE);

/* What a subscriber did not take at once carries its trace when it is offered again. */
static void test_pubsub(void **state)
{
	struct kit kit;
	struct qmt_ref pubsub, reader;
	struct qmt_result result;
	struct kit_note text = {.text = qmt_str("a text")};

	(void)state;
	kit_start_seeded(&kit, 1);
	pubsub = kit_spawn(&kit, &pubsub_desc, NULL);
	reader = kit_spawn(&kit, &reader_desc, NULL);
	assert_int_equal(qmt_outside_ask(kit.out, pubsub, &qmt_pubsub_subscribe_type,
						 &(struct qmt_pubsub_subscribe){.who = reader}, 0, &result),
		0);
	seen[0] = '\0';
	qmt_trace_set(kit.out, TRACE);
	assert_int_equal(qmt_tell(kit.out, pubsub, &kit_note_type, &text), 0);
	qmt_trace_set(kit.out, OTHER);
	assert_int_equal(qmt_tell(kit.out, pubsub, &kit_note_type, &text), 0);
	qmt_system_run(kit.sys, 20);
	assert_false(reader_open);
	assert_string_equal(seen, "");
	qmt_system_run(kit.sys, 100);
	assert_string_equal(seen, "note=abc note=def ");
	kit_stop(&kit);
}

/* ---- a restart, and the log -------------------------------------------------------------------------------------- */

static struct qmt_ref restarting;
static int boss_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state;
	(void)config;
	return qmt_spawn(ctx, &hand_desc, &(struct qmt_spawn){.restart = QMT_PERMANENT}, &restarting, NULL);
}
static const struct qmt_actor_desc boss_desc = {.abi = QMT_ABI, .name = "boss", .start = boss_start};

/* What waits in a mailbox over a restart keeps its trace. The failure is logged with the trace of what it failed over,
 * and what is logged without one has none. */
static void test_restart(void **state)
{
	struct kit kit;

	(void)state;
	kit_start_seeded(&kit, 1);
	kit_spawn(&kit, &boss_desc, NULL);
	qmt_system_run(kit.sys, 1);
	seen[0] = '\0';
	qmt_trace_set(kit.out, TRACE);
	assert_int_equal(QMT_TELL(kit.out, restarting, kit_poke, .value = FAIL), 0);
	qmt_trace_set(kit.out, OTHER);
	assert_int_equal(QMT_TELL(kit.out, restarting, kit_poke, .value = SEE), 0);
	qmt_system_run(kit.sys, 100);
	assert_string_equal(seen, "poke=def ");
	assert_true(kit_logged(&kit, "reason=\"told to\" trace=0000000000000abc\n"));
	assert_true(kit_logged(&kit, "wait_ms=0\n"));
	kit_stop(&kit);
}

/* ---- a link ------------------------------------------------------------------------------------------------------ */

static void link_outgoing(struct qmt_ctx *ctx, void *state, const struct qmt_outgoing *out)
{
	(void)state;
	kit_check(out->trace == qmt_trace(ctx));
	note(ctx, out->is_ask ? "out ask" : "out tell");
	if (out->is_ask)
		kit_check(QMT_REPLY(ctx, out->token, kit_answer, .value = 1) == 0);
}
static int link_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state;
	(void)config;
	return qmt_register(ctx, "peer/them");
}
static const struct qmt_actor_desc link_desc =
	KIT_DESC("link", silent_handlers, .start = link_start, .outgoing = link_outgoing);

static void user_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;

	(void)state;
	kit_check(qmt_tell_name(ctx, "them", "x", &kit_poke_type, poke) == 0);
	kit_check(qmt_ask_name(ctx, "them", "x", &kit_poke_type, poke, 0, on_answer, NULL) == 0);
	kit_check(qmt_tell(ctx, poke->ref, &kit_poke_type, poke) == 0);
	kit_check(qmt_ask(ctx, poke->ref, &kit_poke_type, poke, 0, on_answer, NULL) == 0);
	kit_check(qmt_forward(ctx, poke->ref) == 0);
}
static qmt_handler *const user_handlers[kit_message_count] = {[kit_poke_id] = user_poke};
static const struct qmt_actor_desc user_desc = KIT_DESC("user", user_handlers, );

/* What goes to a peer says its trace to the link, by name or ref, told, asked or forwarded. */
static void test_link(void **state)
{
	struct kit kit;
	struct qmt_ref user, link;

	(void)state;
	kit_start_seeded(&kit, 1);
	user = kit_spawn(&kit, &user_desc, NULL);
	link = kit_spawn(&kit, &link_desc, NULL);
	link.rid = 7;
	qmt_system_run(kit.sys, 1);
	seen[0] = '\0';
	qmt_trace_set(kit.out, TRACE);
	assert_int_equal(QMT_TELL(kit.out, user, kit_poke, .ref = link), 0);
	qmt_system_run(kit.sys, 1);
	assert_string_equal(seen, "out tell=abc out ask=abc out tell=abc out ask=abc out tell=abc answer=abc answer=abc ");
	seen[0] = '\0';
	qmt_trace_set(kit.out, 0);
	assert_int_equal(QMT_TELL(kit.out, user, kit_poke, .ref = link), 0);
	qmt_system_run(kit.sys, 1);
	assert_string_equal(seen, "out tell=0 out ask=0 out tell=0 out ask=0 out tell=0 answer=0 answer=0 ");
	kit_stop(&kit);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static uint64_t refused, told, answers;

static void on_counted(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)state;
	(void)arg;
	kit_check(qmt_trace(ctx) == TRACE);
	kit_check(result->fail == 0 || result->fail == QMT_FAIL_DEADLINE);
	answers++;
}
static void count(int failed)
{
	kit_check(failed == 0 || failed == -ENOMEM);
	if (failed)
		refused++;
	else
		told++;
}
static void counter_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke see = {.value = SEE};

	(void)state;
	(void)body;
	kit_check(qmt_trace(ctx) == TRACE);
	count(qmt_tell(ctx, helper, &kit_poke_type, &see));
	count(qmt_ask(ctx, helper, &kit_poke_type, &see, 100, on_counted, NULL));
	count(qmt_ask(ctx, silent, &kit_poke_type, &see, 100, on_counted, NULL));
	count(qmt_ask(ctx, silent, &kit_poke_type, &see, 1000000, on_counted, NULL)); /* given up at the end */
}
static qmt_handler *const counter_handlers[kit_message_count] = {[kit_poke_id] = counter_poke};
static const struct qmt_actor_desc counter_desc = KIT_DESC("counter", counter_handlers, );

/* The Nth allocation of a traced turn fails, for every N: who is refused is told so, and everybody else is called with
 * the trace. What is left of asks at the end is freed: the leak sanitizer looks. */
static void test_without_memory(void **state)
{
	uint64_t n = 0;
	bool failed;

	(void)state;
	do {
		struct qmt_kit_faults faults = {.left = ++n, .counting = true};
		struct kit kit;
		struct qmt_ref counter;

		(void)open_hand(&kit);
		counter = kit_spawn(&kit, &counter_desc, NULL);
		qmt_system_run(kit.sys, 1);
		seen[0] = '\0';
		refused = told = answers = 0;
		qmt_trace_set(kit.out, TRACE);
		assert_int_equal(QMT_TELL(kit.out, counter, kit_poke, .value = 1), 0);
		kit.sys->faults = &faults;
		qmt__slab_count(qmt__sim_ctx(kit.sys->sim));
		qmt_system_run(kit.sys, 500);
		kit.sys->faults = NULL;
		qmt__slab_count(qmt__sim_ctx(kit.sys->sim));
		failed = faults.failed;
		assert_int_equal(refused + told, 4);
		assert_true(refused <= 1);
		if (!refused) {
			assert_string_equal(seen, "poke=abc poke=abc ");
			assert_int_equal(answers, 2);
		}
		kit_stop(&kit);
	} while (failed);
	assert_true(n > 7); /* four messages and three asks */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tells),
		cmocka_unit_test(test_asks),
		cmocka_unit_test(test_callbacks),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_set_without),
		cmocka_unit_test(test_descriptors_and_children),
		cmocka_unit_test(test_outside),
		cmocka_unit_test(test_pool),
		cmocka_unit_test(test_pubsub),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
