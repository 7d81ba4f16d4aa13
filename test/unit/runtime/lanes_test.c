/* runtime/send, turn: the urgent lane, sends that do not wait, sends with a deadline, one send to many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/mailbox.h"
#include "test/lib/runtime_kit.h"

/* ---- an actor that writes down what it was told, in order -------------------------------------------------------- */

enum { SEEN_MAX = 8192 };
enum { HOLD = 1000000, GO, FAIL, FORWARD, KEEP, RESEND, FLOOD_SELF, BURST, FILL, GIVE };

struct record {
	uint64_t seen[SEEN_MAX];
	uint32_t count, starts;
	const void *body; /* of the last note */
	struct qmt_str text;
	struct qmt_ref next;
	struct qmt_msg *kept;
	uint64_t flooded; /* urgent messages to itself, each from the one before, until a normal one was seen */
	bool flooding;
};

struct recorder {
	struct record *record;
};

static void saw(struct record *record, uint64_t value)
{
	kit_check(record->count < SEEN_MAX);
	record->seen[record->count++] = value;
}

static void given(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)ctx, (void)arg;
	kit_check(result->fail == 0);
	saw(((struct recorder *)state)->record, 77);
}

static void recorder_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct record *record = ((struct recorder *)state)->record;
	uint64_t value = ((const struct kit_poke *)body)->value;

	switch (value) {
	case HOLD:
		qmt_hold(ctx, true);
		break;
	case GO:
		qmt_hold(ctx, false);
		break;
	case FAIL:
		qmt_fail(ctx, "as told");
		break;
	case FORWARD:
		kit_check(qmt_forward(ctx, record->next) == 0);
		break;
	case KEEP:
		record->kept = qmt_keep(ctx);
		kit_check(qmt_msg_body(record->kept) == body);
		break;
	case BURST:
		for (uint64_t i = 1; i <= 3; i++) {
			const struct kit_poke poke = {.value = i};

			kit_check((i == 3 ? qmt_tell_urgent : qmt_tell)(ctx, qmt_self(ctx), &kit_poke_type, &poke) == 0);
		}
		break;
	case GIVE: { /* the message that is being handled, three ways */
		static uint32_t way;
		struct qmt_token token = qmt_token(ctx);
		struct qmt_msg *m = qmt_keep(ctx);

		((struct kit_poke *)qmt_msg_body(m))->value = 1;
		switch (way++ % 3) {
		case 0:
			kit_check(qmt_send_msg(ctx, record->next, &kit_poke_type, &m) == 0);
			break;
		case 1:
			kit_check(qmt_ask_msg(ctx, record->next, &kit_poke_type, &m, 0, given, NULL) == 0);
			break;
		default:
			qmt_reply_msg(ctx, token, &kit_poke_type, &m);
			return;
		}
		kit_check(!m && !qmt_token(ctx).ask && !qmt_ref_is_set(qmt_sender(ctx)) && !qmt_keep(ctx));
		if (token.ask)
			kit_check(QMT_REPLY(ctx, token, kit_answer, .value = 5) == 0);
		return;
	}
	case FILL:
		kit_check(QMT_TELL(ctx, qmt_self(ctx), kit_poke, .value = 1) == 0);
		for (uint32_t i = 0; i < 2 * URGENT_MESSAGES; i++)
			kit_check(qmt_tell_urgent(ctx, qmt_self(ctx), &kit_poke_type, &(struct kit_poke){.value = 2}) == 0);
		break;
	case RESEND:
		kit_check(QMT_TELL(ctx, record->next, kit_poke, .value = 1) == 0);
		break;
	case FLOOD_SELF:
		if (!record->flooding)
			break;
		kit_check(++record->flooded < 100000);
		for (uint64_t i = 0; i < 2 && qmt_ref_is_set(record->next); i++) /* over its bound: breaks the turn off */
			kit_check(QMT_TELL(ctx, record->next, kit_poke, .value = i) == 0);
		kit_check(qmt_tell_urgent(ctx, qmt_self(ctx), &kit_poke_type, body) == 0);
		break;
	default:
		record->flooding = false;
		saw(record, value);
	}
	if (qmt_token(ctx).ask)
		kit_answer(ctx, value);
}
static void recorder_note(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_note *note = body;
	struct record *record = ((struct recorder *)state)->record;

	if (note->flag && qmt_ref_is_set(record->next))
		kit_check(qmt_forward(ctx, record->next) == 0);
	kit_check(note->text.len > 0 && note->entries.count == 1 && qmt_str_is(note->entries.items[0].name, "inner"));
	record->body = body;
	saw(record, note->text.len);
}
static int recorder_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	memcpy(state, config, sizeof(struct recorder));
	((struct recorder *)state)->record->starts++;
	return 0;
}
static qmt_handler *const recorder_handlers[kit_message_count] = {
	[kit_poke_id] = recorder_poke, [kit_note_id] = recorder_note};
#define RECORDER(name_, ...) \
	KIT_DESC(name_, recorder_handlers, .state_size = sizeof(struct recorder), .start = recorder_start, __VA_ARGS__)
static const struct qmt_actor_desc free_desc = RECORDER("free", );
static const struct qmt_actor_desc refuse_desc = RECORDER("refuse", .bound = 10, .overflow = QMT_REFUSE);
static const struct qmt_actor_desc drop_new_desc = RECORDER("drop_new", .bound = 10, .overflow = QMT_DROP_NEW);
static const struct qmt_actor_desc drop_old_desc = RECORDER("drop_old", .bound = 10, .overflow = QMT_DROP_OLD);
static const struct qmt_actor_desc block_desc = RECORDER("block", .bound = 10, .overflow = QMT_BLOCK);

static const struct qmt_actor_desc tight_desc = RECORDER("tight", .bound = 1, .overflow = QMT_BLOCK);

static struct record record, other;

static struct qmt_ref recorder(struct kit *kit, const struct qmt_actor_desc *desc, struct record *into)
{
	static struct recorder configs[64];
	static uint32_t next;
	struct recorder *config = &configs[next++ % 64];
	struct qmt_ref ref;

	memset(into, 0, sizeof *into);
	config->record = into;
	ref = kit_spawn(kit, desc, &(struct qmt_spawn){.config = config, .restart = QMT_TRANSIENT});
	qmt_system_run(kit->sys, 1);
	return ref;
}

static int normal(struct kit *kit, struct qmt_ref to, uint64_t value)
{
	return QMT_TELL(kit->out, to, kit_poke, .value = value);
}

static int urgent(struct kit *kit, struct qmt_ref to, uint64_t value)
{
	return qmt_tell_urgent(kit->out, to, &kit_poke_type, &(struct kit_poke){.value = value});
}

#define assert_seen(record_, ...)                                           \
	do {                                                                    \
		const uint64_t wanted[] = {__VA_ARGS__};                            \
		assert_int_equal((record_)->count, sizeof wanted / sizeof *wanted); \
		assert_memory_equal((record_)->seen, wanted, sizeof wanted);        \
	} while (0)

/* ---- the urgent lane --------------------------------------------------------------------------------------------- */

/* System before urgent before normal; FIFO within a lane. */
static void lanes_in_order(void **unused)
{
	(void)unused;
	for (uint64_t seed = 1; seed < 20; seed++) {
		struct kit kit;

		kit_start_seeded(&kit, seed);
		struct qmt_ref to = recorder(&kit, &free_desc, &record);
		for (uint64_t i = 1; i <= 3; i++)
			assert_int_equal(normal(&kit, to, i), 0);
		assert_int_equal(urgent(&kit, to, 101), 0);
		assert_int_equal(normal(&kit, to, 4), 0);
		assert_int_equal(urgent(&kit, to, 102), 0);
		qmt_system_run(kit.sys, 1);
		assert_seen(&record, 101, 102, 1, 2, 3, 4);
		/* also what comes in the middle of a turn */
		record.count = 0;
		assert_int_equal(normal(&kit, to, BURST), 0);
		qmt_system_run(kit.sys, 1);
		assert_seen(&record, 3, 1, 2);
		record.count = 0;
		assert_int_equal(urgent(&kit, to, 103), 0);
		assert_int_equal(qmt_stop(kit.out, to), 0);
		qmt_system_run(kit.sys, 1);
		assert_int_equal(record.count, 0);
		assert_int_equal(urgent(&kit, to, 104), QMT_FAIL_NOT_RUNNING);
		kit_stop(&kit);
	}
}

/* A hold is for the normal lane: an urgent message passes it, and may end it. */
static void urgent_passes_hold(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref to = recorder(&kit, &free_desc, &record);
	normal(&kit, to, HOLD);
	qmt_system_run(kit.sys, 1);
	for (uint64_t i = 0; i < 600; i++)
		normal(&kit, to, 1000 + i);
	for (uint64_t i = 0; i < 600; i++) /* more than fit into one turn */
		urgent(&kit, to, i);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(record.count, 600);
	urgent(&kit, to, 600);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(record.count, 601);
	urgent(&kit, to, GO);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(record.count, 1201);
	for (uint32_t i = 0; i < 1201; i++)
		assert_int_equal(record.seen[i], i <= 600 ? i : i + 399);
	kit_stop(&kit);
}

/* The bound holds for both lanes together, and each policy does what it says; a refused message is given back. */
static void bound_is_shared(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref to = recorder(&kit, &refuse_desc, &record);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(i % 2 ? urgent(&kit, to, i) : normal(&kit, to, i), 0);
	assert_int_equal(urgent(&kit, to, 10), QMT_FAIL_FULL);
	assert_int_equal(normal(&kit, to, 10), QMT_FAIL_FULL);
	struct qmt_msg *mine = qmt_msg_new(kit.out, &kit_poke_type, 0);
	struct kit_poke *body = qmt_msg_body(mine);
	body->value = 77;
	assert_int_equal(qmt_send_msg_with(kit.out, to, &kit_poke_type, &mine, QMT_SEND_URGENT), QMT_FAIL_FULL);
	assert_int_equal(qmt_send_msg_with(kit.out, to, &kit_poke_type, &mine, 4), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(
		qmt_send_msg_with(kit.out, to, &kit2_hello_type, &mine, QMT_SEND_URGENT), QMT_FAIL_UNKNOWN_MESSAGE);
	assert_ptr_equal(qmt_msg_body(mine), body);
	qmt_system_run(kit.sys, 1);
	assert_seen(&record, 1, 3, 5, 7, 9, 0, 2, 4, 6, 8);
	assert_int_equal(normal(&kit, to, 11), 0);
	assert_int_equal(qmt_send_msg_with(kit.out, to, &kit_poke_type, &mine, QMT_SEND_URGENT), 0);
	assert_null(mine);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(record.seen[10], 77);
	assert_int_equal(record.seen[11], 11);

	to = recorder(&kit, &drop_new_desc, &record);
	for (uint64_t i = 0; i < 30; i++)
		assert_int_equal(i % 2 ? urgent(&kit, to, i) : normal(&kit, to, i), 0);
	qmt_system_run(kit.sys, 1);
	assert_seen(&record, 1, 3, 5, 7, 9, 0, 2, 4, 6, 8);

	/* normal ones go first, the oldest first; then urgent ones */
	to = recorder(&kit, &drop_old_desc, &record);
	for (uint64_t i = 0; i < 5; i++)
		assert_int_equal(urgent(&kit, to, 100 + i), 0);
	for (uint64_t i = 0; i < 20; i++)
		assert_int_equal(normal(&kit, to, i), 0);
	qmt_system_run(kit.sys, 1);
	assert_seen(&record, 100, 101, 102, 103, 104, 15, 16, 17, 18, 19);
	record.count = 0;
	normal(&kit, to, 1);
	for (uint64_t i = 0; i < 13; i++)
		assert_int_equal(urgent(&kit, to, 100 + i), 0);
	qmt_system_run(kit.sys, 1);
	assert_seen(&record, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112);
	record.count = 0;
	for (uint64_t i = 0; i < 12; i++)
		assert_int_equal(normal(&kit, to, i), 0);
	qmt_system_run(kit.sys, 1);
	assert_seen(&record, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
	kit_stop(&kit);
}

/* At most 256 urgent messages in a row while a normal one waits. */
static void urgent_does_not_starve_normal(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref to = recorder(&kit, &free_desc, &record);
	for (uint64_t i = 0; i < 3000; i++)
		assert_int_equal(urgent(&kit, to, i), 0);
	for (uint64_t i = 0; i < 600; i++)
		assert_int_equal(normal(&kit, to, 10000 + i), 0);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(record.count, 3600);
	for (uint32_t i = 0, run = 0, waiting = 600; i < 3600; i++) {
		if (record.seen[i] >= 10000) {
			run = 0;
			waiting--;
		} else if (waiting) {
			assert_true(++run <= URGENT_MESSAGES);
		}
	}
	/* a normal one that comes with more urgent ones, while the last of 256 is handled */
	record.count = 0;
	for (uint32_t i = 1; i < URGENT_MESSAGES; i++)
		urgent(&kit, to, 2);
	urgent(&kit, to, FILL);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(record.count, 3 * URGENT_MESSAGES);
	assert_int_equal(record.seen[URGENT_MESSAGES - 1], 1);
	/* and a flood that feeds itself */
	record.count = 0;
	record.flooding = true;
	urgent(&kit, to, FLOOD_SELF);
	normal(&kit, to, 1);
	qmt_system_run(kit.sys, 1);
	assert_true(record.flooded <= URGENT_MESSAGES);
	assert_seen(&record, 1);
	/* the same when each of them makes it wait for another */
	record.next = recorder(&kit, &tight_desc, &other);
	record.count = 0;
	record.flooded = 0;
	record.flooding = true;
	urgent(&kit, to, FLOOD_SELF);
	normal(&kit, to, 1);
	qmt_system_run(kit.sys, 1);
	assert_true(record.flooded > 1 && record.flooded <= URGENT_MESSAGES);
	assert_int_equal(other.count, 2 * record.flooded);
	assert_seen(&record, 1);
	kit_stop(&kit);
}

/* Nor other actors: a flood that feeds itself gives way. */
static void urgent_gives_way(void **unused)
{
	(void)unused;
	for (uint64_t seed = 1; seed < 10; seed++) {
		struct kit kit;

		kit_start_seeded(&kit, seed);
		struct qmt_ref to = recorder(&kit, &free_desc, &record), who_ends_it = recorder(&kit, &free_desc, &other);
		other.next = to;
		record.flooding = true;
		urgent(&kit, to, FLOOD_SELF);
		normal(&kit, who_ends_it, RESEND);
		qmt_system_run(kit.sys, 1);
		assert_seen(&record, 1);
		kit_stop(&kit);
	}
}

/* A parent that waits before it restarts its child. */
static struct qmt_ref slow_child;
static int nanny_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state;
	return qmt_spawn(ctx, &free_desc, &(struct qmt_spawn){.config = config, .restart = QMT_PERMANENT}, &slow_child,
		NULL);
}
static const struct qmt_actor_desc nanny_desc = KIT_DESC("nanny", recorder_handlers, .start = nanny_start,
	.supervision = {.backoff_ms = 100, .backoff_max_ms = 100});

static void urgent_while_down(void **unused)
{
	(void)unused;
	static struct recorder config = {&record};
	struct kit kit;

	kit_start_seeded(&kit, 1);
	memset(&record, 0, sizeof record);
	kit_spawn(&kit, &nanny_desc, &(struct qmt_spawn){.config = &config});
	qmt_system_run(kit.sys, 1);
	urgent(&kit, slow_child, FAIL);
	urgent(&kit, slow_child, 101);
	normal(&kit, slow_child, 1);
	qmt_system_run(kit.sys, 5);
	urgent(&kit, slow_child, 102);
	qmt_system_run(kit.sys, 5);
	normal(&kit, slow_child, 2);
	urgent(&kit, slow_child, 103);
	assert_int_equal(record.starts, 1);
	assert_int_equal(record.count, 0);
	qmt_system_run(kit.sys, 1000);
	assert_int_equal(record.starts, 2);
	assert_seen(&record, 101, 102, 103, 1, 2);
	kit_stop(&kit);
}

/* The mailbox survives a restart: urgent ones too, in front and in order, with those that came meanwhile. */
static void urgent_survives_restart(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref to = recorder(&kit, &free_desc, &record);
	normal(&kit, to, 1);
	urgent(&kit, to, FAIL);
	urgent(&kit, to, 101);
	normal(&kit, to, 2);
	urgent(&kit, to, 102);
	qmt_system_run(kit.sys, 1000);
	assert_int_equal(record.starts, 2);
	assert_seen(&record, 101, 102, 1, 2);
	kit_stop(&kit);
}

struct writer {
	uint64_t back[64];
	uint32_t count;
	int reason;
};

/* value: URGENT_3: three urgent tells; WITHIN: one with a deadline; TRY: as many as are accepted; NOTES: deep ones */
enum { URGENT_3 = 1, WITHIN, TRY, WITHIN_NOTE, FLOOD };

static void writer_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct writer *writer = state;
	struct kit_entry entry = {.name = qmt_str("inner")};
	struct kit_note note = {.text = qmt_str("late"), .entries = {&entry, 1}};
	uint64_t sent = 0;

	switch (poke->value) {
	case URGENT_3:
		for (uint64_t i = 0; i < 3; i++)
			kit_check(qmt_tell_urgent(ctx, poke->ref, &kit_poke_type, &(struct kit_poke){.value = 50 + i}) == 0);
		break;
	case WITHIN:
		kit_check(qmt_tell_within(ctx, poke->ref, &kit_poke_type, &(struct kit_poke){.value = 60}, 100) == 0);
		break;
	case WITHIN_NOTE:
		kit_check(qmt_tell_within(ctx, poke->ref, &kit_note_type, &note, 100) == 0);
		break;
	case TRY:
		for (int failed = 0; !failed; sent += !failed)
			failed = qmt_try_tell(ctx, poke->ref, &kit_poke_type, &(struct kit_poke){.value = sent});
		kit_check(qmt_try_tell(ctx, poke->ref, &kit_poke_type, body) == QMT_FAIL_FULL);
		kit_answer(ctx, sent);
		break;
	case FLOOD:
		for (uint64_t i = 0; i < 12; i++)
			kit_check(qmt_tell_urgent(ctx, poke->ref, &kit_poke_type, &(struct kit_poke){.value = i}) == 0);
		break;
	default:
		kit_answer(ctx, writer->count * 100 + (uint64_t)writer->reason);
	}
}
static void writer_undelivered(
	struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body, int reason)
{
	struct writer *writer = state;

	(void)ctx;
	if (type == &kit_note_type) {
		const struct kit_note *note = body;

		kit_check(qmt_str_is(note->text, "late") && qmt_str_is(note->entries.items[0].name, "inner"));
		writer->back[writer->count++] = note->text.len;
	} else {
		writer->back[writer->count++] = ((const struct kit_poke *)body)->value;
	}
	writer->reason = reason;
}
static qmt_handler *const writer_handlers[kit_message_count] = {[kit_poke_id] = writer_poke};
static const struct qmt_actor_desc writer_desc =
	KIT_DESC("writer", writer_handlers, .state_size = sizeof(struct writer), .undelivered = writer_undelivered);

static uint64_t came_back(struct kit *kit, struct qmt_ref writer)
{
	uint64_t value = 0;

	assert_int_equal(kit_ask(kit, writer, 0, 0, &value), 0);
	return value;
}

/* Urgent tells that were not handled when the receiver ended come back. Over a QMT_BLOCK bound their sender waits. */
static void urgent_comes_back_and_waits(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref to = recorder(&kit, &free_desc, &record), writer = kit_spawn(&kit, &writer_desc, NULL);
	urgent(&kit, to, FAIL);
	QMT_TELL(kit.out, writer, kit_poke, .value = URGENT_3, .ref = to);
	qmt_system_run(kit.sys, 0);
	qmt_stop(kit.out, to);
	qmt_system_run(kit.sys, 1000);
	assert_true(came_back(&kit, writer) / 100 + record.count == 3);

	to = recorder(&kit, &block_desc, &record);
	normal(&kit, to, HOLD);
	qmt_system_run(kit.sys, 1);
	for (uint64_t i = 0; i < 9; i++)
		assert_int_equal(normal(&kit, to, i), 0);
	uint64_t before = record.count;
	QMT_TELL(kit.out, writer, kit_poke, .value = FLOOD, .ref = to);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(record.count, before + 12);                             /* they passed the hold… */
	assert_int_equal(kit_ask(&kit, writer, 0, 10, NULL), QMT_FAIL_DEADLINE); /* …and nine still wait: over half */
	urgent(&kit, to, GO);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(record.count, 21);
	came_back(&kit, writer);
	kit_stop(&kit);
}

/* With threads: nothing is lost, nothing comes twice, and each lane of each sender keeps its order. */
enum { SENDERS = 4, EACH = 20000 };
static struct kit_latch arrived = KIT_LATCH;

struct counter {
	uint64_t next[SENDERS * 2];
	uint64_t count;
};
static void counter_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	uint64_t value = ((const struct kit_poke *)body)->value;
	struct counter *counter = state;

	(void)ctx;
	kit_check(counter->next[value / 1000000]++ == value % 1000000);
	if (++counter->count == SENDERS * 2 * EACH)
		kit_latch_add(&arrived, 1);
}
static qmt_handler *const counter_handlers[kit_message_count] = {[kit_poke_id] = counter_poke};
static const struct qmt_actor_desc counter_desc =
	KIT_DESC("counter", counter_handlers, .state_size = sizeof(struct counter));
static const struct qmt_actor_desc bound_counter_desc =
	KIT_DESC("bound_counter", counter_handlers, .state_size = sizeof(struct counter), .bound = 50);

struct mixer {
	struct qmt_ref to;
	uint64_t number, sent;
};
static void mix(struct qmt_ctx *ctx, void *state)
{
	struct mixer *mixer = state;

	for (uint32_t i = 0; i < 37 && mixer->sent < EACH; i++, mixer->sent++) {
		struct kit_poke poke = {.value = mixer->number * 2000000 + mixer->sent};

		kit_check(qmt_tell(ctx, mixer->to, &kit_poke_type, &poke) == 0);
		poke.value += 1000000;
		kit_check(qmt_tell_urgent(ctx, mixer->to, &kit_poke_type, &poke) == 0);
	}
	if (mixer->sent < EACH)
		qmt_again(ctx);
}
static void mixer_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;

	*(struct mixer *)state = (struct mixer){.to = poke->ref, .number = poke->value};
	mix(ctx, state);
}
static qmt_handler *const mixer_handlers[kit_message_count] = {[kit_poke_id] = mixer_poke};
static const struct qmt_actor_desc mixer_desc =
	KIT_DESC("mixer", mixer_handlers, .state_size = sizeof(struct mixer), .again = mix);

static void urgent_with_threads(void **unused)
{
	(void)unused;
	for (uint32_t workers = 1; workers <= 4; workers *= 2) {
		struct kit kit;

		kit_start(&kit, workers);
		kit_latch_reset(&arrived);
		struct qmt_ref to[2] = {kit_spawn(&kit, &counter_desc, NULL), kit_spawn(&kit, &bound_counter_desc, NULL)};
		for (uint64_t i = 0; i < 2 * SENDERS; i++)
			QMT_TELL(kit.out, kit_spawn(&kit, &mixer_desc, NULL), kit_poke, .value = i / 2, .ref = to[i % 2]);
		kit_latch_wait(&arrived, 2);
		kit_stop(&kit);
	}
}

/* ---- deadlines and tries ----------------------------------------------------------------------------------------- */

/* In time it is handled; later it is not, and comes back with the reason, whatever its body. 0 is over at once. */
static void within(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref to = recorder(&kit, &free_desc, &record), writer = kit_spawn(&kit, &writer_desc, NULL);
	QMT_TELL(kit.out, writer, kit_poke, .value = WITHIN, .ref = to);
	QMT_TELL(kit.out, writer, kit_poke, .value = WITHIN_NOTE, .ref = to);
	qmt_system_run(kit.sys, 1);
	assert_seen(&record, 60, 4);
	assert_int_equal(came_back(&kit, writer), 0);
	normal(&kit, to, HOLD);
	qmt_system_run(kit.sys, 1);
	for (uint64_t round = 0; round < 2; round++) {
		QMT_TELL(kit.out, writer, kit_poke, .value = WITHIN, .ref = to);
		QMT_TELL(kit.out, writer, kit_poke, .value = WITHIN_NOTE, .ref = to);
		assert_int_equal(qmt_tell_within(kit.out, to, &kit_poke_type, &(struct kit_poke){.value = 9}, 150), 0);
		qmt_system_run(kit.sys, round ? 50 : 120);
		urgent(&kit, to, GO);
		qmt_system_run(kit.sys, 1);
		assert_int_equal(came_back(&kit, writer), 2 * 100 + QMT_FAIL_DEADLINE);
		if (round)
			assert_seen(&record, 60, 4, 9, 9, 60, 4);
		else
			assert_seen(&record, 60, 4, 9);
		normal(&kit, to, HOLD);
		qmt_system_run(kit.sys, 1);
	}
	assert_int_equal(
		qmt_tell_within(kit.out, to, &kit_poke_type, &(struct kit_poke){.value = 9}, 0), QMT_FAIL_DEADLINE);
	assert_int_equal(
		qmt_tell_within(kit.out, to, &kit2_hello_type, &(struct kit2_hello){.value = 9}, 5), QMT_FAIL_UNKNOWN_MESSAGE);
	assert_int_equal(
		qmt_tell_within(kit.out, (struct qmt_ref){0}, &kit_poke_type, &(struct kit_poke){0}, 5), QMT_FAIL_NOT_RUNNING);
	/* it ends with some of them in its mailbox: those come back too */
	QMT_TELL(kit.out, writer, kit_poke, .value = WITHIN_NOTE, .ref = to);
	qmt_system_run(kit.sys, 1);
	qmt_stop(kit.out, to);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(came_back(&kit, writer), 3 * 100 + QMT_FAIL_NOT_RUNNING);
	kit_stop(&kit);
}

/* A message with a deadline can be forwarded, kept and sent on like any. */
static void within_moves(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref to = recorder(&kit, &free_desc, &record), last = recorder(&kit, &free_desc, &other);
	record.next = last;
	struct kit_entry entry = {.name = qmt_str("inner")};
	assert_int_equal(qmt_tell_within(kit.out, to, &kit_note_type,
						 &(struct kit_note){.text = qmt_str("to be moved"), .entries = {&entry, 1}, .flag = true}, 100),
		0);
	qmt_system_run(kit.sys, 1);
	assert_seen(&other, 11);
	assert_int_equal(qmt_tell_within(kit.out, to, &kit_poke_type, &(struct kit_poke){.value = KEEP}, 10), 0);
	qmt_system_run(kit.sys, 100); /* the deadline was for the first way only */
	assert_int_equal(((struct kit_poke *)qmt_msg_body(record.kept))->value, KEEP);
	((struct kit_poke *)qmt_msg_body(record.kept))->value = 5;
	assert_int_equal(qmt_send_msg(kit.out, last, &kit_poke_type, &record.kept), 0);
	qmt_system_run(kit.sys, 1);
	assert_seen(&other, 11, 5);
	kit_stop(&kit);
}

/* An urgent message that is forwarded goes on in the normal lane, in its place there. */
static void urgent_is_forwarded(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref to = recorder(&kit, &free_desc, &record), last = recorder(&kit, &free_desc, &other);
	struct kit_entry entry = {.name = qmt_str("inner")};
	record.next = last;
	normal(&kit, last, HOLD);
	normal(&kit, last, 1);
	qmt_system_run(kit.sys, 1);
	assert_int_equal(qmt_tell_urgent(kit.out, to, &kit_note_type,
						 &(struct kit_note){.text = qmt_str("to be moved"), .entries = {&entry, 1}, .flag = true}),
		0);
	qmt_system_run(kit.sys, 1);
	urgent(&kit, last, 50);
	qmt_system_run(kit.sys, 1);
	urgent(&kit, last, GO);
	qmt_system_run(kit.sys, 1);
	assert_seen(&other, 50, 1, 11);
	kit_stop(&kit);
}

/* Who keeps the message that is being handled and gives it away has none for the rest of the handler. */
static void given_away(void **unused)
{
	(void)unused;
	struct qmt_result result;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref to = recorder(&kit, &free_desc, &record), last = recorder(&kit, &free_desc, &other);
	record.next = last;
	for (int i = 0; i < 6; i++) {
		assert_int_equal(
			qmt_outside_ask(kit.out, to, &kit_poke_type, &(struct kit_poke){.value = GIVE}, 0, &result), 0);
		qmt_system_run(kit.sys, 1);
	}
	assert_seen(&record, 77, 77);
	assert_seen(&other, 1, 1, 1, 1);
	kit_stop(&kit);
}

/* A try never makes its sender wait, and never overfills. */
static void try_does_not_wait(void **unused)
{
	(void)unused;
	struct kit kit;
	uint64_t sent;

	kit_start_seeded(&kit, 1);
	struct qmt_ref to = recorder(&kit, &block_desc, &record), writer = kit_spawn(&kit, &writer_desc, NULL);
	normal(&kit, to, HOLD);
	qmt_system_run(kit.sys, 1);
	struct qmt_result result;
	assert_int_equal(
		qmt_outside_ask(kit.out, writer, &kit_poke_type, &(struct kit_poke){.value = TRY, .ref = to}, 100, &result), 0);
	assert_int_equal(((const struct kit_answer *)result.body)->value, 10);
	assert_int_equal(mailbox_depth(to.actor), 10);
	assert_int_equal(kit_ask(&kit, writer, 0, 100, &sent), 0); /* it goes on */
	assert_int_equal(urgent(&kit, to, GO), QMT_FAIL_FULL);     /* the bound is for urgent ones too */
	kit_stop(&kit);
}

/* ---- one to many ------------------------------------------------------------------------------------------------- */

/* Each gets the body, small or large, copied or shared; each failure has its reason; nothing leaks when some have
 * ended, are full, drop, keep, or come to the end with it. */
static void tell_all(void **unused)
{
	(void)unused;
	enum { MANY = 20 };
	static struct record records[MANY];
	static char large[3000];
	struct kit kit;
	struct qmt_ref to[MANY + 2] = {0};
	int outcomes[MANY + 2];
	struct kit_entry entry = {.name = qmt_str("inner")};
	struct kit_note note = {.entries = {&entry, 1}};

	memset(large, 'x', sizeof large);
	for (size_t size = 5; size <= sizeof large; size += sizeof large - 5) {
		kit_start_seeded(&kit, 1);
		for (uint32_t i = 0; i < MANY; i++)
			to[i] = recorder(&kit, i == 4 ? &refuse_desc : i == 5 ? &drop_new_desc : &free_desc, &records[i]);
		to[MANY] = kit_spawn(&kit, &writer_desc, NULL); /* takes no notes */
		normal(&kit, to[4], HOLD);
		normal(&kit, to[5], HOLD);
		normal(&kit, to[6], HOLD);
		qmt_stop(kit.out, to[3]);
		qmt_system_run(kit.sys, 1);
		for (uint64_t i = 0; i < 10; i++) {
			normal(&kit, to[4], i);
			normal(&kit, to[5], i);
		}
		note.text = qmt_strn(large, size);
		assert_int_equal(qmt_tell_all(kit.out, to, MANY + 2, &kit_note_type, &note, outcomes), 4);
		for (int i = 0; i < MANY + 2; i++)
			assert_int_equal(outcomes[i],
				i == 3 || i == MANY + 1 ? QMT_FAIL_NOT_RUNNING
					: i == 4            ? QMT_FAIL_FULL
					: i == MANY         ? QMT_FAIL_UNKNOWN_MESSAGE
										: 0);
		qmt_system_run(kit.sys, 1);
		for (uint32_t i = 0; i < MANY; i++)
			if (i < 3 || i > 6)
				assert_seen(&records[i], size);
		assert_ptr_equal(records[0].body, records[1].body); /* there once */
		/* what fits into an envelope is copied */
		assert_int_equal(qmt_tell_all(kit.out, to, 3, &kit_poke_type, &(struct kit_poke){.value = 7}, NULL), 0);
		qmt_system_run(kit.sys, 1);
		assert_seen(&records[2], size, 7);
		assert_int_equal(qmt_tell_all(kit.out, to, 0, &kit_note_type, &note, NULL), 0);
		assert_int_equal(qmt_tell_all(kit.out, to, 1, &kit_note_type, &note, NULL), 0);
		kit_stop(&kit); /* to[6] still holds one */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lanes_in_order),
		cmocka_unit_test(urgent_passes_hold),
		cmocka_unit_test(bound_is_shared),
		cmocka_unit_test(urgent_does_not_starve_normal),
		cmocka_unit_test(urgent_gives_way),
		cmocka_unit_test(urgent_while_down),
		cmocka_unit_test(urgent_survives_restart),
		cmocka_unit_test(urgent_comes_back_and_waits),
		cmocka_unit_test(urgent_with_threads),
		cmocka_unit_test(within),
		cmocka_unit_test(within_moves),
		cmocka_unit_test(urgent_is_forwarded),
		cmocka_unit_test(given_away),
		cmocka_unit_test(try_does_not_wait),
		cmocka_unit_test(tell_all),
	};

	return cmocka_run_group_tests_name("runtime/lanes", tests, NULL, NULL);
}
