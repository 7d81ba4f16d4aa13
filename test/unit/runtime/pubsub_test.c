/* runtime/pubsub: subscribers get what their filters take; the strategies differ in what a full subscriber meets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/pubsub.h"
#include "test/lib/runtime_kit.h"

/* ---- subscribers: note what comes, and can be on hold ------------------------------------------------------------ */

enum { PAUSE = 1, GET_COUNT, GET_SUM, GET_DISORDER, END, SUBSCRIBE, PAUSE_MS = 100 };

struct reader {
	uint64_t count, sum, last, disorder;
};

static void go_on(struct qmt_ctx *ctx, void *state, void *arg)
{
	(void)state;
	(void)arg;
	qmt_hold(ctx, false);
}
static void reader_answer(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct reader *reader = state;
	uint64_t value = ((const struct kit_answer *)body)->value;

	(void)ctx;
	reader->count++;
	reader->sum += value;
	reader->disorder += value <= reader->last;
	reader->last = value;
}
static void subscribed(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)ctx;
	(void)state;
	(void)arg;
	kit_check(!result->fail && result->type == &qmt_pubsub_done_type);
}
static void reader_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct reader *reader = state;
	const struct kit_poke *poke = body;

	switch (poke->value) {
	case PAUSE:
		qmt_hold(ctx, true);
		kit_check(qmt_timer_start(ctx, PAUSE_MS, go_on, NULL, NULL) == 0);
		break;
	case GET_COUNT:
		kit_answer(ctx, reader->count);
		break;
	case GET_SUM:
		kit_answer(ctx, reader->sum);
		break;
	case GET_DISORDER:
		kit_answer(ctx, reader->disorder);
		break;
	case SUBSCRIBE: /* itself */
		kit_check(QMT_ASK(ctx, poke->ref, 0, subscribed, NULL, qmt_pubsub_subscribe, ) == 0);
		break;
	default:
		qmt_stop_self(ctx);
	}
}
static qmt_handler *const reader_handlers[kit_message_count] = {
	[kit_answer_id] = reader_answer, [kit_poke_id] = reader_poke};
enum { BOUND = 4 };
static const struct qmt_actor_desc reader_desc =
	KIT_DESC("reader", reader_handlers, .state_size = sizeof(struct reader));
static const struct qmt_actor_desc narrow_desc =
	KIT_DESC("narrow", reader_handlers, .state_size = sizeof(struct reader), .bound = BOUND, .overflow = QMT_REFUSE);
static const struct qmt_actor_desc waits_desc =
	KIT_DESC("waits", reader_handlers, .state_size = sizeof(struct reader), .bound = BOUND, .overflow = QMT_BLOCK);
static const struct qmt_actor_desc deaf_desc = {.abi = QMT_ABI, .name = "deaf"};

/* ---- what is published: numbers ---------------------------------------------------------------------------------- */

static bool is_above(const struct qmt_type *type, const void *body, const char *arg)
{
	kit_check(type == &kit_answer_type);
	return ((const struct kit_answer *)body)->value > strtoull(arg, NULL, 10);
}
static bool is_odd(const struct qmt_type *type, const void *body, const char *arg)
{
	kit_check(type == &kit_answer_type && !*arg);
	return ((const struct kit_answer *)body)->value % 2;
}
static const struct qmt_pubsub_filter filters[] = {{"above", is_above}, {"odd", is_odd}, {NULL, NULL}};
static const struct qmt_pubsub_config configs[] = {
	[QMT_DELIVERY_GUARANTEED] = {.filters = filters, .delivery = {.max_subscribers = 5}},
	[QMT_DELIVERY_BEST_EFFORT] = {.delivery = {.delivery = QMT_DELIVERY_BEST_EFFORT}},
	[QMT_DELIVERY_DROP_SLOW] = {.delivery = {.delivery = QMT_DELIVERY_DROP_SLOW}},
	[QMT_DELIVERY_TIMED] = {.delivery = {.delivery = QMT_DELIVERY_TIMED, .patience_ms = 30}},
};

QMT_PUBSUB_PUBLISH(kit_answer)
static qmt_handler *const numbers[kit_message_count] = {[kit_answer_id] = kit_answer_publish};
static const struct qmt_actor_desc room_desc =
	QMT_PUBSUB_DESC("room", &kit_protocol, numbers, .bound = 50, .overflow = QMT_REFUSE);

static struct qmt_ref spawn_room(struct kit *kit, enum qmt_delivery delivery)
{
	return kit_spawn(kit, &room_desc, &(struct qmt_spawn){.config = &configs[delivery]});
}
static int subscribe(struct kit *kit, struct qmt_ref room, struct qmt_ref who, const char *filter, const char *arg)
{
	struct qmt_result result;

	return qmt_outside_ask(kit->out, room, &qmt_pubsub_subscribe_type,
		&(struct qmt_pubsub_subscribe){.who = who, .filter = qmt_str(filter), .arg = qmt_str(arg)}, 0, &result);
}
static int unsubscribe(struct kit *kit, struct qmt_ref room, struct qmt_ref who, const char *filter, const char *arg)
{
	struct qmt_result result;

	return qmt_outside_ask(kit->out, room, &qmt_pubsub_unsubscribe_type,
		&(struct qmt_pubsub_unsubscribe){.who = who, .filter = qmt_str(filter), .arg = qmt_str(arg)}, 0, &result);
}
static struct qmt_pubsub_counts counts(struct kit *kit, struct qmt_ref room)
{
	struct qmt_result result;

	assert_int_equal(
		qmt_outside_ask(kit->out, room, &qmt_pubsub_info_type, &(struct qmt_pubsub_info){}, 0, &result), 0);
	return *(const struct qmt_pubsub_counts *)result.body;
}
static int tell(struct kit *kit, struct qmt_ref to, uint64_t value)
{
	int failed = QMT_TELL(kit->out, to, kit_poke, .value = value);

	qmt_system_run(kit->sys, 0);
	return failed;
}
/* first, first + 1, …; each has come as far as it gets before the next. Returns how many the room took. */
static uint64_t publish(struct kit *kit, struct qmt_ref room, uint64_t first, uint64_t count)
{
	uint64_t taken = 0;

	for (uint64_t i = 0; i < count; i++) {
		taken += QMT_TELL(kit->out, room, kit_answer, .value = first + i) == 0;
		qmt_system_run(kit->sys, 0);
	}
	return taken;
}
static uint64_t get(struct kit *kit, struct qmt_ref reader, uint64_t what)
{
	uint64_t value = 0;

	assert_int_equal(kit_ask(kit, reader, what, 0, &value), 0);
	return value;
}

/* Each subscriber gets what one of its filters takes, once, in order; without a filter everything. */
static void filters_decide(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref room = spawn_room(&kit, QMT_DELIVERY_GUARANTEED), all = kit_spawn(&kit, &reader_desc, NULL);
	struct qmt_ref some = kit_spawn(&kit, &reader_desc, NULL), self = kit_spawn(&kit, &reader_desc, NULL);
	assert_int_equal(subscribe(&kit, room, all, "", ""), 0);
	assert_int_equal(subscribe(&kit, room, some, "above", "8"), 0);
	assert_int_equal(subscribe(&kit, room, some, "odd", ""), 0);
	assert_int_equal(QMT_TELL(kit.out, self, kit_poke, .value = SUBSCRIBE, .ref = room), 0);
	qmt_system_run(kit.sys, 0);
	assert_int_equal(publish(&kit, room, 1, 10), 10);
	assert_int_equal(get(&kit, all, GET_SUM), 55);
	assert_int_equal(get(&kit, self, GET_SUM), 55);
	assert_int_equal(get(&kit, some, GET_SUM), 1 + 3 + 5 + 7 + 9 + 10);
	assert_int_equal(unsubscribe(&kit, room, some, "above", "8"), 0);
	assert_int_equal(publish(&kit, room, 11, 2), 2);
	assert_int_equal(get(&kit, some, GET_SUM), 1 + 3 + 5 + 7 + 9 + 10 + 11);
	assert_int_equal(unsubscribe(&kit, room, all, "", ""), 0);
	assert_int_equal(unsubscribe(&kit, room, all, "", ""), QMT_FAIL_NOT_FOUND);
	assert_int_equal(publish(&kit, room, 13, 1), 1);
	assert_int_equal(get(&kit, all, GET_SUM), 78);
	assert_int_equal(get(&kit, all, GET_DISORDER) + get(&kit, some, GET_DISORDER), 0);
	assert_int_equal(counts(&kit, room).published, 13);
	kit_stop(&kit);
}

/* Names of filters that are none, too many subscribers, an ask to publish, nobody: refused, and nothing has changed. */
static void bad_input(void **unused)
{
	(void)unused;
	char text[QMT_DELIVERY_TEXT_MAX + 2];
	struct qmt_result result;
	struct kit kit;

	kit_start_seeded(&kit, 2);
	struct qmt_ref room = spawn_room(&kit, QMT_DELIVERY_GUARANTEED), reader = kit_spawn(&kit, &reader_desc, NULL);
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	assert_int_equal(subscribe(&kit, room, reader, "below", "3"), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(subscribe(&kit, room, reader, "", "3"), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(subscribe(&kit, room, reader, "above", text), QMT_FAIL_TOO_LARGE);
	assert_int_equal(subscribe(&kit, room, room, "", ""), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(subscribe(&kit, room, (struct qmt_ref){0}, "", ""), QMT_FAIL_BAD_REQUEST);
	for (int i = 0; i < 5; i++)
		assert_int_equal(subscribe(&kit, room, kit_spawn(&kit, &reader_desc, NULL), "", ""), 0);
	assert_int_equal(subscribe(&kit, room, reader, "", ""), QMT_FAIL_FULL);
	assert_int_equal(counts(&kit, room).subscribers, 5);
	assert_int_equal(
		qmt_outside_ask(kit.out, room, &kit_answer_type, &(struct kit_answer){1}, 0, &result), QMT_FAIL_BAD_REQUEST);
	struct qmt_ref plain = kit_spawn(&kit, &room_desc, NULL), deaf = kit_spawn(&kit, &deaf_desc, NULL);
	assert_int_equal(subscribe(&kit, plain, reader, "above", "1"), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(subscribe(&kit, plain, deaf, "", ""), 0);
	assert_int_equal(publish(&kit, plain, 1, 3), 3);
	assert_int_equal(counts(&kit, plain).lost, 3); /* does not know the message */
	kit_stop(&kit);
}

/* Guaranteed: what a full subscriber does not take is offered again until it does; the room takes nothing else
 * meanwhile, and its bound is what publishers meet. */
static void guaranteed(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 3);
	struct qmt_ref room = spawn_room(&kit, QMT_DELIVERY_GUARANTEED), slow = kit_spawn(&kit, &narrow_desc, NULL);
	struct qmt_ref quick = kit_spawn(&kit, &reader_desc, NULL);
	assert_int_equal(subscribe(&kit, room, slow, "", ""), 0);
	assert_int_equal(subscribe(&kit, room, quick, "", ""), 0);
	assert_int_equal(tell(&kit, slow, PAUSE), 0);
	uint64_t taken = publish(&kit, room, 1, 100);
	assert_true(taken >= 50 && taken < 60);
	assert_true(get(&kit, quick, GET_COUNT) <= BOUND + 1); /* as far as the one that waits has come */
	for (int i = 0; i < 100; i++)
		qmt_system_run(kit.sys, 20);
	assert_int_equal(get(&kit, slow, GET_COUNT), taken);
	assert_int_equal(get(&kit, quick, GET_COUNT), taken);
	assert_int_equal(get(&kit, slow, GET_SUM), taken * (taken + 1) / 2);
	assert_int_equal(get(&kit, slow, GET_DISORDER), 0);
	assert_int_equal(counts(&kit, room).delivered, 2 * taken);
	assert_int_equal(counts(&kit, room).lost, 0);
	/* The one that all wait for ends: it goes on. */
	assert_int_equal(tell(&kit, slow, PAUSE), 0);
	assert_int_equal(publish(&kit, room, 1000, 20), 20);
	assert_true(get(&kit, quick, GET_COUNT) < taken + 20);
	assert_int_equal(qmt_stop(kit.out, slow), 0);
	qmt_system_run(kit.sys, 0);
	assert_int_equal(get(&kit, quick, GET_COUNT), taken + 20);
	assert_int_equal(counts(&kit, room).subscribers, 1);
	/* The room ends while it waits: nothing is left behind. */
	struct qmt_ref other = kit_spawn(&kit, &narrow_desc, NULL);
	assert_int_equal(subscribe(&kit, room, other, "", ""), 0);
	assert_int_equal(tell(&kit, other, PAUSE), 0);
	assert_int_equal(publish(&kit, room, 2000, 20), 20);
	kit_stop(&kit);
}

/* A subscriber that makes senders wait makes the room wait. */
static void waits(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 4);
	struct qmt_ref room = spawn_room(&kit, QMT_DELIVERY_GUARANTEED), slow = kit_spawn(&kit, &waits_desc, NULL);
	assert_int_equal(subscribe(&kit, room, slow, "", ""), 0);
	assert_int_equal(tell(&kit, slow, PAUSE), 0);
	assert_int_equal(publish(&kit, room, 1, 40), 40);
	qmt_system_run(kit.sys, 2 * PAUSE_MS);
	assert_int_equal(get(&kit, slow, GET_COUNT), 40);
	assert_int_equal(get(&kit, slow, GET_DISORDER), 0);
	kit_stop(&kit);
}

/* Best effort: the full one loses and keeps its place; drop slow: it loses its place. The others notice nothing. */
static void best_effort(void **unused)
{
	(void)unused;
	for (enum qmt_delivery delivery = QMT_DELIVERY_BEST_EFFORT; delivery <= QMT_DELIVERY_DROP_SLOW; delivery++) {
		bool drops = delivery == QMT_DELIVERY_DROP_SLOW;
		struct kit kit;

		kit_start_seeded(&kit, 5);
		struct qmt_ref room = spawn_room(&kit, delivery), slow = kit_spawn(&kit, &narrow_desc, NULL);
		struct qmt_ref quick = kit_spawn(&kit, &reader_desc, NULL);
		assert_int_equal(subscribe(&kit, room, slow, "", ""), 0);
		assert_int_equal(subscribe(&kit, room, quick, "", ""), 0);
		assert_int_equal(tell(&kit, slow, PAUSE), 0);
		assert_int_equal(publish(&kit, room, 1, 100), 100);
		assert_int_equal(get(&kit, quick, GET_COUNT), 100);
		struct qmt_pubsub_counts now = counts(&kit, room);
		assert_int_equal(now.lost, drops ? 1 : 100 - BOUND);
		assert_int_equal(now.dropped, drops);
		assert_int_equal(now.subscribers, drops ? 1 : 2);
		assert_int_equal(now.delivered, 100 + BOUND);
		qmt_system_run(kit.sys, PAUSE_MS);
		assert_int_equal(get(&kit, slow, GET_COUNT), BOUND);
		assert_int_equal(publish(&kit, room, 200, 1), 1);
		assert_int_equal(get(&kit, slow, GET_COUNT), BOUND + !drops);
		kit_stop(&kit);
	}
}

/* Timed: the others wait for a full one as long as patience says, message by message; it loses what it did not take by
 * then and keeps its place. */
static void timed(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 6);
	struct qmt_ref room = spawn_room(&kit, QMT_DELIVERY_TIMED), slow = kit_spawn(&kit, &narrow_desc, NULL);
	struct qmt_ref quick = kit_spawn(&kit, &reader_desc, NULL);
	assert_int_equal(subscribe(&kit, room, slow, "", ""), 0);
	assert_int_equal(subscribe(&kit, room, quick, "", ""), 0);
	assert_int_equal(tell(&kit, slow, PAUSE), 0);
	assert_int_equal(publish(&kit, room, 1, BOUND + 2), BOUND + 2); /* one is held, one waits for it */
	assert_int_equal(get(&kit, quick, GET_COUNT), BOUND + 1);
	qmt_system_run(kit.sys, 20);
	assert_int_equal(get(&kit, quick, GET_COUNT), BOUND + 1);
	qmt_system_run(kit.sys, 10);
	assert_int_equal(get(&kit, quick, GET_COUNT), BOUND + 2);
	qmt_system_run(kit.sys, PAUSE_MS);
	assert_int_equal(get(&kit, slow, GET_COUNT), BOUND);
	assert_int_equal(counts(&kit, room).lost, 2);
	assert_int_equal(counts(&kit, room).subscribers, 2);
	assert_int_equal(publish(&kit, room, 200, 1), 1);
	assert_int_equal(get(&kit, slow, GET_DISORDER), 0);
	kit_stop(&kit);
}

static uint64_t one_run(uint64_t seed)
{
	struct kit kit;

	kit_start_seeded(&kit, seed);
	struct qmt_ref room = spawn_room(&kit, QMT_DELIVERY_GUARANTEED);
	for (int i = 0; i < 4; i++) {
		struct qmt_ref reader = kit_spawn(&kit, i % 2 ? &narrow_desc : &reader_desc, NULL);

		assert_int_equal(subscribe(&kit, room, reader, "", ""), 0);
		if (i == 1)
			assert_int_equal(QMT_TELL(kit.out, reader, kit_poke, .value = PAUSE), 0);
		if (i == 2)
			assert_int_equal(QMT_TELL(kit.out, reader, kit_poke, .value = END), 0);
	}
	(void)publish(&kit, room, 1, 50);
	qmt_system_run(kit.sys, 1000);
	uint64_t hash = qmt_system_trace_hash(kit.sys);
	kit_stop(&kit);
	return hash;
}

/* The same seed gives the same run. */
static void seeded(void **unused)
{
	(void)unused;
	assert_int_equal(one_run(7), one_run(7));
	assert_int_not_equal(one_run(7), one_run(8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filters_decide),
		cmocka_unit_test(bad_input),
		cmocka_unit_test(guaranteed),
		cmocka_unit_test(waits),
		cmocka_unit_test(best_effort),
		cmocka_unit_test(timed),
		cmocka_unit_test(seeded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
