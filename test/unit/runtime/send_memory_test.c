/* runtime/send, ask, turn: the Nth allocation fails, for every N: what a send returns is what happens, and nothing
 * leaks. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "runtime/slab.h"
#include "runtime/test_kit.h"
#include "test/lib/failing_memory.h"
#include "test/lib/runtime_kit.h"

enum { TARGETS = 3 };

/* Counts notes. An urgent one that could not be sorted out comes as a normal one, and comes. */
struct sink {
	uint64_t notes, urgent;
};
static struct sink sinks[TARGETS];

struct sender {
	uint64_t accepted, refused, answers;
};
static struct sender told;
static struct qmt_ref targets[TARGETS];

static void sink_note(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct sink *sink = *(struct sink **)state;

	(void)ctx;
	kit_check(((const struct kit_note *)body)->text.len == 5000);
	sink->notes++;
}
static void sink_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)body;
	if (qmt_token(ctx).ask)
		kit_answer(ctx, 1); /* no answer for want of memory: the deadline */
	else
		(*(struct sink **)state)->urgent++;
}
static int sink_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	*(const void **)state = config;
	return 0;
}
static qmt_handler *const sink_handlers[kit_message_count] = {[kit_note_id] = sink_note, [kit_poke_id] = sink_poke};
static const struct qmt_actor_desc sink_desc =
	KIT_DESC("sink", sink_handlers, .state_size = sizeof(struct sink *), .start = sink_start);

static void answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)ctx;
	(void)state;
	(void)arg;
	kit_check(result->fail == 0 || result->fail == QMT_FAIL_DEADLINE);
	told.answers++;
}

static void count(int outcome)
{
	kit_check(outcome == 0 || outcome == -ENOMEM);
	if (outcome)
		told.refused++;
	else
		told.accepted++;
}

static void sender_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	static char text[5000];
	struct kit_note note = {.text = {text, sizeof text}};
	int outcomes[TARGETS], asked;

	(void)state;
	count(qmt_tell_urgent(ctx, targets[0], &kit_note_type, &note));
	count(qmt_try_tell(ctx, targets[0], &kit_note_type, &note));
	count(qmt_tell_within(ctx, targets[0], &kit_note_type, &note, 1000));
	(void)qmt_tell_all(ctx, targets, TARGETS, &kit_note_type, &note, outcomes);
	for (uint32_t i = 0; i < TARGETS; i++)
		count(outcomes[i]);
	kit_check(qmt_tell_urgent(ctx, targets[1], &kit_poke_type, body) == 0);
	asked = qmt_ask_exclusive(ctx, targets[2], &kit_poke_type, body, 100, answered, NULL);
	kit_check(asked == 0 || asked == -ENOMEM);
	if (asked)
		told.answers++;
}
static qmt_handler *const sender_handlers[kit_message_count] = {[kit_poke_id] = sender_poke};
static const struct qmt_actor_desc sender_desc = KIT_DESC("sender", sender_handlers, );

/* One run in which the nth allocation fails. True: none did. */
static bool run(long n)
{
	struct kit started, *kit = &started;

	kit_start_seeded(kit, 1);

	struct qmt_ref sender = kit_spawn(kit, &sender_desc, NULL);
	uint64_t notes = 0;

	told = (struct sender){0};
	memset(sinks, 0, sizeof sinks);
	for (uint32_t i = 0; i < TARGETS; i++)
		targets[i] = kit_spawn(kit, &sink_desc, &(struct qmt_spawn){.config = &sinks[i]});
	qmt_system_run(kit->sys, 1);
	failed = false;
	left = n;
	int sent = QMT_TELL(kit->out, sender, kit_poke, .value = 1);
	qmt_system_run(kit->sys, 200);
	left = -1;
	assert_int_equal(sent, 0);
	for (uint32_t i = 0; i < TARGETS; i++)
		notes += sinks[i].notes;
	assert_int_equal(notes, told.accepted);
	assert_int_equal(told.accepted + told.refused, 3 + TARGETS);
	assert_int_equal(sinks[1].urgent, 1);
	assert_int_equal(told.answers, 1);
	kit_stop(kit);
	return !failed;
}

static void sends_without_memory(void **unused)
{
	(void)unused;
	long before, change, n = 0;

	assert_true(run(-1)); /* once without, for what libraries keep */
	before = live;
	assert_true(run(-1));
	change = live - before; /* not 0: aligned blocks are counted when they are freed only */
#ifndef SANITIZED
	for (bool all = false; !all; n++) {
		before = live;
		all = run(n);
		assert_int_equal(live - before, change);
	}
	assert_true(n >= 5);
#endif
	(void)change;
	(void)n;
}

/* qmt_ask_or of which `then` cannot be called for want of memory: the incarnation fails, so that nobody waits for
 * it. */
static void asker_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	qmt_ask_or(ctx, targets[0], &kit_poke_type, body, 100, answered, NULL);
}
static qmt_handler *const asker_handlers[kit_message_count] = {[kit_poke_id] = asker_poke};
static const struct qmt_actor_desc asker_desc = KIT_DESC("asker", asker_handlers, );

static void ask_or_without_memory(void **unused)
{
	(void)unused;
	struct kit started, *kit = &started;
	struct qmt_kit_faults faults = {.left = 1, .also = 100, .counting = true};

	kit_start_seeded(kit, 1);
	told = (struct sender){0};
	targets[0] = kit_spawn(kit, &sink_desc, &(struct qmt_spawn){.config = &sinks[0]});

	struct qmt_ref asker = kit_spawn(kit, &asker_desc, NULL);

	qmt_system_run(kit->sys, 1);
	assert_int_equal(QMT_TELL(kit->out, asker, kit_poke, .value = 1), 0);
	kit->sys->faults = &faults;
	qmt__slab_count(qmt__sim_ctx(kit->sys->sim));
	qmt_system_run(kit->sys, 10);
	kit->sys->faults = NULL;
	qmt__slab_count(qmt__sim_ctx(kit->sys->sim));
	assert_true(faults.failed);
	qmt_system_run(kit->sys, 10000);
	assert_int_equal(told.answers, 0);
	assert_false(qmt_is_running(asker));
	kit_stop(kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sends_without_memory),
		cmocka_unit_test(ask_or_without_memory),
	};

	return cmocka_run_group_tests_name("runtime/send_memory", tests, NULL, NULL);
}
