/* runtime/send: what a full mailbox does to a sender, and what becomes of messages that nobody can take any more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/mailbox.h"
#include "test/lib/runtime_kit.h"

/* ---- a sink that is held until told to go on --------------------------------------------------------------------- */

struct sink {
	uint64_t count, last, sum;
};

enum { GO = 1000000, COUNT, LAST, HOLD };

static void sink_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	uint64_t value = ((const struct kit_poke *)body)->value;
	struct sink *sink = state;

	switch (value) {
	case HOLD:
		qmt_hold(ctx, true);
		if (qmt_token(ctx).ask)
			kit_answer(ctx, 0);
		break;
	case COUNT:
		kit_answer(ctx, sink->count);
		break;
	case LAST:
		kit_answer(ctx, sink->last);
		break;
	default:
		if (qmt_token(ctx).ask)
			kit_answer(ctx, value);
		sink->count++;
		sink->sum += value;
		sink->last = value;
	}
}
/* Monitors of others wake it: the system lane passes a held mailbox. */
static void sink_down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	(void)state;
	(void)who;
	(void)reason;
	qmt_hold(ctx, false);
}
static int sink_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state;
	/* config: whose end lets it go on */
	if (config) {
		qmt_hold(ctx, true);
		return qmt_monitor(ctx, *(const struct qmt_ref *)config);
	}
	return 0;
}
static qmt_handler *const sink_handlers[kit_message_count] = {[kit_poke_id] = sink_poke};
#define SINK(name_, bound_, overflow_) \
	KIT_DESC(name_, sink_handlers, .state_size = sizeof(struct sink), .bound = bound_, .overflow = overflow_, \
		.start = sink_start, .down = sink_down)
static const struct qmt_actor_desc refuse_desc = SINK("refuse", 10, QMT_REFUSE);
static const struct qmt_actor_desc drop_new_desc = SINK("drop_new", 10, QMT_DROP_NEW);
static const struct qmt_actor_desc drop_old_desc = SINK("drop_old", 10, QMT_DROP_OLD);
static const struct qmt_actor_desc block_desc = SINK("block", 10, QMT_BLOCK);

static void nothing(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	(void)body;
	qmt_stop_self(ctx);
}
static qmt_handler *const brake_handlers[kit_message_count] = {[kit_stop_id] = nothing};
static const struct qmt_actor_desc brake_desc = KIT_DESC("brake", brake_handlers, );

/* A sink that holds until *ret_brake ends. */
static struct qmt_ref held(struct kit *kit, const struct qmt_actor_desc *desc, struct qmt_ref *ret_brake)
{
	*ret_brake = kit_spawn(kit, &brake_desc, NULL);
	struct qmt_ref sink = kit_spawn(kit, desc, &(struct qmt_spawn){.config = ret_brake});
	qmt_system_run(kit->sys, 1);
	return sink;
}

static void release(struct kit *kit, struct qmt_ref brake)
{
	QMT_TELL(kit->out, brake, kit_stop);
	qmt_system_run(kit->sys, 1);
}

/* REFUSE: the eleventh is refused, with the reason; ten arrive. Asks as well. */
static void refuse(void **unused)
{
	(void)unused;
	struct kit kit;
	struct qmt_ref brake;
	uint64_t value;

	kit_start_seeded(&kit, 1);
	struct qmt_ref sink = held(&kit, &refuse_desc, &brake);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(QMT_TELL(kit.out, sink, kit_poke, .value = i), 0);
	for (uint64_t i = 0; i < 10; i++) {
		assert_int_equal(QMT_TELL(kit.out, sink, kit_poke, .value = i), QMT_FAIL_FULL);
		assert_int_equal(kit_ask(&kit, sink, i, 0, NULL), QMT_FAIL_FULL);
		qmt_system_run(kit.sys, 1); /* turns of a held actor change nothing */
	}
	release(&kit, brake);
	assert_int_equal(kit_ask(&kit, sink, COUNT, 0, &value), 0);
	assert_int_equal(value, 10);
	assert_int_equal(kit_ask(&kit, sink, LAST, 0, &value), 0);
	assert_int_equal(value, 9);
	kit_stop(&kit);
}

/* DROP_NEW: what is over the bound vanishes; an ask over it is refused, because somebody waits. */
static void drop_new(void **unused)
{
	(void)unused;
	struct kit kit;
	struct qmt_ref brake;
	uint64_t value;

	kit_start_seeded(&kit, 1);
	struct qmt_ref sink = held(&kit, &drop_new_desc, &brake);
	for (uint64_t i = 0; i < 30; i++)
		assert_int_equal(QMT_TELL(kit.out, sink, kit_poke, .value = i), 0);
	assert_int_equal(kit_ask(&kit, sink, 1, 0, NULL), QMT_FAIL_FULL);
	release(&kit, brake);
	assert_int_equal(kit_ask(&kit, sink, COUNT, 0, &value), 0);
	assert_int_equal(value, 10);
	assert_int_equal(kit_ask(&kit, sink, LAST, 0, &value), 0);
	assert_int_equal(value, 9);
	kit_stop(&kit);
}

/* DROP_OLD: the newest ones arrive, at most as many as the bound allows; an ask that is dropped is answered. */
static void drop_old(void **unused)
{
	(void)unused;
	struct kit kit;
	struct qmt_ref brake;
	uint64_t value;

	kit_start_seeded(&kit, 1);
	struct qmt_ref sink = held(&kit, &drop_old_desc, &brake);
	for (uint64_t i = 0; i < 30; i++) {
		assert_int_equal(QMT_TELL(kit.out, sink, kit_poke, .value = i), 0);
		if (i % 4 == 0)
			qmt_system_run(kit.sys, 1);
	}
	release(&kit, brake);
	assert_int_equal(kit_ask(&kit, sink, COUNT, 0, &value), 0);
	assert_int_equal(value, 10);
	assert_int_equal(kit_ask(&kit, sink, LAST, 0, &value), 0);
	assert_int_equal(value, 29);
	kit_stop(&kit);
}

/* ---- senders that flood ------------------------------------------------------------------------------------------ */

struct flooder {
	struct qmt_ref to;
	uint64_t left, sent, got, per_turn;
	bool done;
};

static struct kit_latch flooded = KIT_LATCH;

static void flood(struct qmt_ctx *ctx, void *state)
{
	struct flooder *flooder = state;

	for (uint64_t i = 0; i < flooder->per_turn && flooder->left; i++, flooder->left--) {
		int failed = QMT_TELL(ctx, flooder->to, kit_poke, .value = flooder->sent);

		kit_check(failed == 0 || failed == QMT_FAIL_NOT_RUNNING);
		flooder->sent++;
	}
	if (flooder->left)
		qmt_again(ctx);
}

static void flooder_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct flooder *flooder = state;

	if (qmt_ref_is_set(poke->ref)) { /* whom, and how many */
		flooder->to = poke->ref;
		flooder->left = poke->value;
		flooder->per_turn = flooder->per_turn ? flooder->per_turn : 5;
		flood(ctx, state);
	} else if (qmt_token(ctx).ask) {
		kit_answer(ctx, flooder->sent);
	} else {
		flooder->got++;
		kit_latch_add(&flooded, 1);
	}
}
static qmt_handler *const flooder_handlers[kit_message_count] = {[kit_poke_id] = flooder_poke, [kit_stop_id] = nothing};
static const struct qmt_actor_desc free_flooder =
	KIT_DESC("free_flooder", flooder_handlers, .state_size = sizeof(struct flooder), .again = flood);
static const struct qmt_actor_desc bound_flooder =
	KIT_DESC("bound_flooder", flooder_handlers, .state_size = sizeof(struct flooder), .again = flood, .bound = 3);

/* BLOCK: the sender waits when the target is over its bound, goes on when it is half empty, and nothing is lost.
 * Outside threads are refused instead. */
static void block(void **unused)
{
	(void)unused;
	struct kit kit;
	struct qmt_ref brake;
	uint64_t value;

	kit_start_seeded(&kit, 1);
	struct qmt_ref sink = held(&kit, &block_desc, &brake), sender = kit_spawn(&kit, &free_flooder, NULL);
	QMT_TELL(kit.out, sender, kit_poke, .ref = sink, .value = 1000);
	qmt_system_run(kit.sys, 10);
	uint32_t depth = mailbox_depth(sink.actor);
	assert_true(depth >= 10 && depth <= 16);
	assert_int_equal(QMT_TELL(kit.out, sink, kit_poke, .value = 1), QMT_FAIL_FULL);
	/* muted: it does not even answer */
	assert_int_equal(kit_ask(&kit, sender, 0, 10, NULL), QMT_FAIL_DEADLINE);
	release(&kit, brake);
	qmt_system_run(kit.sys, 10);
	assert_int_equal(kit_ask(&kit, sink, COUNT, 0, &value), 0);
	assert_int_equal(value, 1000);
	assert_int_equal(kit_ask(&kit, sender, 0, 10, &value), 0);
	assert_int_equal(value, 1000);
	kit_stop(&kit);
}

/* Trap 13: a muted actor still sees its system lane: it can be stopped while it waits. A target that ends lets its
 * waiters go. */
static void muted_can_be_stopped(void **unused)
{
	(void)unused;
	struct kit kit;
	struct qmt_ref brake;

	kit_start_seeded(&kit, 1);
	struct qmt_ref sink = held(&kit, &block_desc, &brake);
	struct qmt_ref first = kit_spawn(&kit, &free_flooder, NULL), second = kit_spawn(&kit, &free_flooder, NULL);
	QMT_TELL(kit.out, first, kit_poke, .ref = sink, .value = 12); /* all of it fits into the turns before it is muted */
	QMT_TELL(kit.out, second, kit_poke, .ref = sink, .value = 12);
	qmt_system_run(kit.sys, 10);
	assert_int_equal(kit_ask(&kit, first, 0, 10, NULL), QMT_FAIL_DEADLINE);
	assert_int_equal(qmt_stop(kit.out, first), 0);
	qmt_system_run(kit.sys, 10);
	assert_false(qmt_is_running(first));
	assert_true(qmt_is_running(second));
	/* the target ends: the other goes on, and its sends fail as to anybody who has ended */
	assert_int_equal(qmt_stop(kit.out, sink), 0);
	qmt_system_run(kit.sys, 10);
	assert_false(qmt_is_running(sink));
	QMT_TELL(kit.out, second, kit_stop);
	qmt_system_run(kit.sys, 10);
	assert_false(qmt_is_running(second));
	kit_stop(&kit);
}

/* Trap 13: a circle of bounded actors that flood each other never stands still. */
static void circles_go_on(void **unused)
{
	(void)unused;
	enum { MOST = 5, EACH = 3000 };
	struct kit kit;

	for (uint32_t workers = 1; workers <= 4; workers *= 2) {
		for (uint32_t size = 2; size <= MOST; size++) {
			struct qmt_ref circle[MOST];

			kit_start(&kit, workers);
			flooded.count = 0;
			for (uint32_t i = 0; i < size; i++)
				circle[i] = kit_spawn(&kit, &bound_flooder, NULL);
			for (uint32_t i = 0; i < size; i++)
				while (QMT_TELL(kit.out, circle[i], kit_poke, .ref = circle[(i + 1) % size],
					.value = EACH) == QMT_FAIL_FULL) ;
			kit_latch_wait(&flooded, size * EACH);
			kit_stop(&kit);
		}
	}
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct qmt_ref circle[3];

		kit_start_seeded(&kit, seed);
		flooded.count = 0;
		for (uint32_t i = 0; i < 3; i++)
			circle[i] = kit_spawn(&kit, &bound_flooder, NULL);
		for (uint32_t i = 0; i < 3; i++)
			QMT_TELL(kit.out, circle[i], kit_poke, .ref = circle[(i + 1) % 3], .value = EACH);
		qmt_system_run(kit.sys, 10);
		assert_int_equal(kit_latch_count(&flooded), 3 * EACH);
		kit_stop(&kit);
	}
}

/* Many senders into one bounded sink on several workers: all arrives, and the sink never holds much more than its
 * bound. */
static void many_senders_one_sink(void **unused)
{
	(void)unused;
	enum { SENDERS = 8, EACH = 5000 };
	struct kit kit;
	uint64_t value = 0;

	for (uint32_t workers = 2; workers <= 4; workers *= 2) {
		kit_start(&kit, workers);
		struct qmt_ref sink = kit_spawn(&kit, &block_desc, NULL);
		for (uint32_t i = 0; i < SENDERS; i++)
			QMT_TELL(kit.out, kit_spawn(&kit, &free_flooder, NULL), kit_poke, .ref = sink, .value = EACH);
		while (value < SENDERS * EACH) {
			/* five each turn, and a turn more for who looked while the sink was emptying it */
			assert_true(mailbox_depth(sink.actor) <= 10 + 4 * SENDERS * 5);
			int failed = kit_ask(&kit, sink, COUNT, 0, &value);
			assert_true(failed == 0 || failed == QMT_FAIL_FULL);
		}
		assert_int_equal(value, SENDERS * EACH);
		kit_stop(&kit);
		value = 0;
	}
}

/* ---- undelivered ------------------------------------------------------------------------------------------------- */

struct writer {
	uint64_t back;
	int reason;
};

static void writer_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct writer *writer = state;

	if (!qmt_ref_is_set(poke->ref)) {
		kit_answer(ctx, writer->back * 100 + (uint64_t)writer->reason);
		return;
	}
	for (uint64_t i = 0; i < poke->value; i++) {
		kit_check(qmt_tell(ctx, poke->ref, &kit_note_type, &(struct kit_note){.text = qmt_str("back"),
			.number = 2}) == 0);
		kit_check(QMT_TELL(ctx, poke->ref, kit_poke, .value = i) == 0);
	}
}
static void writer_undelivered(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body,
	int reason)
{
	struct writer *writer = state;

	(void)ctx;
	if (type == &kit_note_type)
		kit_check(qmt_str_is(((const struct kit_note *)body)->text, "back"));
	else
		kit_check(type == &kit_poke_type && ((const struct kit_poke *)body)->value == writer->back / 2);
	writer->back++;
	writer->reason = reason;
}
static qmt_handler *const writer_handlers[kit_message_count] = {[kit_poke_id] = writer_poke};
static const struct qmt_actor_desc writer_desc =
	KIT_DESC("writer", writer_handlers, .state_size = sizeof(struct writer), .undelivered = writer_undelivered);

static void note(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	(void)state;
	(void)body;
}
static qmt_handler *const slow_handlers[kit_message_count] = {[kit_poke_id] = sink_poke, [kit_note_id] = note};
static const struct qmt_actor_desc slow_desc =
	KIT_DESC("slow", slow_handlers, .state_size = sizeof(struct sink), .start = sink_start, .down = sink_down);

/* Tells that were accepted and not handled when the receiver ended come back to who sent them, each once, with type
 * and body. */
static void undelivered_tells_come_back(void **unused)
{
	(void)unused;
	struct kit kit;
	struct qmt_ref brake;
	uint64_t value;

	kit_start_seeded(&kit, 1);
	struct qmt_ref slow = held(&kit, &slow_desc, &brake), writer = kit_spawn(&kit, &writer_desc, NULL);
	QMT_TELL(kit.out, writer, kit_poke, .ref = slow, .value = 5);
	QMT_TELL(kit.out, slow, kit_poke, .value = 5); /* from outside: nobody to tell */
	qmt_system_run(kit.sys, 1);
	assert_int_equal(kit_ask(&kit, writer, 0, 0, &value), 0);
	assert_int_equal(value, 0);
	qmt_stop(kit.out, slow);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(kit_ask(&kit, writer, 0, 0, &value), 0);
	assert_int_equal(value, 10 * 100 + QMT_FAIL_NOT_RUNNING);
	kit_stop(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuse),
		cmocka_unit_test(drop_new),
		cmocka_unit_test(drop_old),
		cmocka_unit_test(block),
		cmocka_unit_test(muted_can_be_stopped),
		cmocka_unit_test(circles_go_on),
		cmocka_unit_test(many_senders_one_sink),
		cmocka_unit_test(undelivered_tells_come_back),
	};

	return cmocka_run_group_tests_name("runtime/send", tests, NULL, NULL);
}
