/* test/sim/sim_gears.c - on each node gears, actors that use what a send can do besides telling, and the ready-made
 * parts: urgent, try, with a deadline, to many, exclusive asks; waiting for ends; intervals. The pool, broker and
 * streams that they use are in sim_shop.c, the sparks that they wait for, link and kill in sim_sparks.c.
 *
 *      gear/0 unbounded · gear/1 blocks its senders · gear/2 refuses, and sends nothing: its depth is what it was
 *      sent · gear/3 drops what is new
 *
 * Each note is a parcel with a number. What was sent and what must come of it is kept here, outside of all nodes. A
 * gear's number: 4 * node + place.
 */
#include "test/sim/sim_gears.h"

#include "runtime/broker.h"
#include "runtime/interval.h"

enum { PARCELS = 16384 };
enum { BLOCK_BOUND = 8, REFUSE_BOUND = 4, DROP_BOUND = 6, BEAT_MS = 150, LONG_TEXT = 80 };

QMT_DEFINE_PROTOCOL(gear, GEAR_MESSAGES, "Between the gears of a node.")

enum work {
	WORK_NOTES,     /* tells to one, each in its own way */
	WORK_ALL,       /* one to all gears */
	WORK_EXCLUSIVE, /* an ask during which the normal lane is held */
	WORK_POOL,
	WORK_NEWS,
	WORK_STREAM,
	WORK_AWAIT,
	WORK_FAIL,
	WORK_COUNT
};
enum lane { LANE_NORMAL, LANE_URGENT, LANES };

/* ---- facts ------------------------------------------------------------------------------------------------------- */

struct gear_fact sim_gears[GEARS];
static struct parcel {
	uint8_t from, to, lane;
	enum { PARCEL_NONE, PARCEL_SENT, PARCEL_GOT, PARCEL_BACK, PARCEL_LOST } state;
	bool may_vanish;
	uint64_t due_ms; /* by the node's clock; 0: any time */
} parcels[PARCELS];
static uint32_t last_got[GEARS][GEARS][LANES]; /* parcel + 1; from, to */
static uint32_t parcel_count, question_count;

void sim_gears_reset(void)
{
	memset(sim_gears, 0, sizeof sim_gears);
	memset(parcels, 0, sizeof parcels);
	memset(last_got, 0, sizeof last_got);
	parcel_count = question_count = 0;
	for (uint32_t i = 0; i < GEARS; i++)
		sim_gears[i] = (struct gear_fact){.node = &sim.nodes[i / PLACES], .number = i};
	sim_shop_reset();
	sim_sparks_reset();
}

static void gear_name(uint32_t place, char ret_name[16])
{
	(void)snprintf(ret_name, 16, "gear/%u", place);
}

/* ---- depths ------------------------------------------------------------------------------------------------------ */

struct depth_look {
	const char *name;
	uint32_t depth;
};

static void look_at_depth(const struct qmt_actor_info *info, void *look_)
{
	struct depth_look *look = look_;

	if (info->name && strcmp(info->name, look->name) == 0)
		look->depth = info->depth;
}

static uint32_t depth_of(const struct gear_fact *gear)
{
	char name[16];
	struct depth_look look = {.name = name};

	gear_name(sim_place_of(gear->number), name);
	qmt_system_actors(gear->node->system, look_at_depth, &look);
	return look.depth;
}

static void check_bound(const struct gear_fact *gear)
{
	uint32_t depth = sim_place_of(gear->number) == 2 ? depth_of(gear) : 0;

	if (depth > REFUSE_BOUND)
		sim_violation("a bound is never exceeded", "%u messages at gear/2 of %s, whose bound is %d", depth,
			gear->node->name, REFUSE_BOUND);
}

/* ---- parcels ----------------------------------------------------------------------------------------------------- */

static const char padding[LONG_TEXT + 1] =
	"a text that is too long to be copied for each of many, so that they share one..";

static struct parcel *new_parcel(const struct gear_fact *self, const struct gear_fact *target, enum lane lane)
{
	struct parcel *parcel = parcel_count < PARCELS ? &parcels[parcel_count] : NULL;

	if (parcel) {
		parcel_count++;
		*parcel = (struct parcel){.from = (uint8_t)self->number,
			.to = (uint8_t)target->number,
			.lane = (uint8_t)lane,
			.may_vanish = sim_place_of(target->number) == 3};
	}
	return parcel;
}

/* What became of the send. A parcel that was not taken never was. */
static void parcel_sent(struct parcel *parcel, int outcome)
{
	struct gear_fact *target = &sim_gears[parcel->to];

	if (outcome != 0)
		return;
	parcel->state = PARCEL_SENT;
	if (parcel->lane == LANE_URGENT && parcel->from != parcel->to && !parcel->may_vanish)
		target->urgent_waiting++;
	check_bound(target);
}

static void tell_note(struct qmt_ctx *ctx, const struct gear_fact *self, struct gear_fact *target, struct qmt_ref to)
{
	uint32_t how = sim_below(100);
	struct parcel *parcel = new_parcel(self, target, how < 35 ? LANE_URGENT : LANE_NORMAL);
	struct gear_note note;

	if (!parcel)
		return;
	note = (struct gear_note){.parcel = (uint32_t)(parcel - parcels), .text = qmt_str(padding), .fail = sim_chance(2)};
	if (how < 35) {
		parcel_sent(parcel, qmt_tell_urgent(ctx, to, &gear_note_type, &note));
	} else if (how < 55) {
		uint32_t depth = sim_place_of(target->number) == 1 ? depth_of(target) : 0;
		int outcome = qmt_try_tell(ctx, to, &gear_note_type, &note);

		if (outcome == 0 && depth >= BLOCK_BOUND)
			sim_violation("who only tries never passes a bound", "gear %u: %u messages, bound %d", target->number,
				depth, BLOCK_BOUND);
		parcel_sent(parcel, outcome);
	} else if (how < 75) {
		uint32_t within_ms = 1 + sim_below(40);

		parcel->due_ms = qmt_now_ms(ctx) + within_ms;
		parcel_sent(parcel, qmt_tell_within(ctx, to, &gear_note_type, &note, within_ms));
	} else {
		parcel_sent(parcel, qmt_tell(ctx, to, &gear_note_type, &note));
	}
}

static void tell_notes(struct qmt_ctx *ctx, const struct gear_fact *self, uint32_t place, uint32_t count)
{
	struct gear_fact *target = &sim_gears[self->number / PLACES * PLACES + place];
	struct qmt_ref to;
	char name[16];

	gear_name(place, name);
	if (qmt_lookup(ctx, name, &to) != 0)
		return;
	for (uint32_t i = 0; i < count; i++)
		tell_note(ctx, self, target, to);
}

static void tell_all(struct qmt_ctx *ctx, const struct gear_fact *self)
{
	struct gear_note note = {.text = qmt_str(padding)};
	struct qmt_ref to[PLACES];
	struct parcel *each[PLACES];
	int outcomes[PLACES];

	if (parcel_count + PLACES > PARCELS)
		return;
	/* One body for all, so one number: that of the first; the place says which. */
	note.parcel = parcel_count;
	note.for_all = true;
	for (uint32_t place = 0; place < PLACES; place++) {
		char name[16];

		gear_name(place, name);
		if (qmt_lookup(ctx, name, &to[place]) != 0)
			return;
	}
	for (uint32_t place = 0; place < PLACES; place++)
		each[place] = new_parcel(self, &sim_gears[self->number / PLACES * PLACES + place], LANE_NORMAL);
	(void)qmt_tell_all(ctx, to, PLACES, &gear_note_type, &note, outcomes);
	for (uint32_t place = 0; place < PLACES; place++)
		parcel_sent(each[place], outcomes[place]);
}

static struct parcel *parcel_of(const struct gear_note *note, uint32_t place)
{
	return &parcels[note->parcel + (note->for_all ? place : 0)];
}

static void on_note(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct gear_fact *self = *(struct gear_fact **)state;
	const struct gear_note *note = body;
	struct parcel *parcel = parcel_of(note, sim_place_of(self->number));
	uint32_t number = (uint32_t)(parcel - parcels), *last = &last_got[parcel->from][self->number][parcel->lane];

	if (parcel->to != self->number || !qmt_str_is(note->text, padding))
		sim_violation("a message is what was sent", "parcel %u at gear %u", number, self->number);
	if (parcel->state != PARCEL_SENT)
		sim_violation("a tell is handled once, or comes back", "parcel %u of gear %u at gear %u, state %d", number,
			parcel->from, self->number, (int)parcel->state);
	if (number + 1 <= *last)
		sim_violation("order per sender, target and lane", "gear %u got parcel %u of gear %u after %u", self->number,
			number, parcel->from, *last - 1);
	if (parcel->due_ms && qmt_now_ms(ctx) > parcel->due_ms)
		sim_violation("what counts for a while is not handled later", "parcel %u at gear %u: %u ms late", number,
			self->number, (unsigned)(qmt_now_ms(ctx) - parcel->due_ms));
	if (parcel->lane == LANE_NORMAL) {
		if (self->exclusive)
			sim_violation("an exclusive ask holds the normal lane", "parcel %u at gear %u", number, self->number);
		if (self->urgent_waiting && !sim_memory_was_short())
			sim_violation("urgent before normal", "gear %u handles parcel %u while %u urgent ones wait", self->number,
				number, self->urgent_waiting);
	} else if (parcel->from != parcel->to && !parcel->may_vanish) {
		self->urgent_waiting--;
	}
	parcel->state = PARCEL_GOT;
	*last = number + 1;
	if (note->fail) {
		sim_event("gear %u fails over parcel %u", self->number, number);
		qmt_fail(ctx, "asked to");
	}
}

static void undelivered(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body, int reason)
{
	struct gear_fact *self = *(struct gear_fact **)state;
	const struct gear_note *note = body;
	struct parcel *parcel;

	if (type != &gear_note_type)
		return;
	parcel = &parcels[note->parcel];
	if (note->for_all) /* which one of them cannot be told: each that waits may be it */
		return;
	if (parcel->from != self->number || parcel->state != PARCEL_SENT)
		sim_violation("a tell is handled once, or comes back", "parcel %u comes back to gear %u, state %d",
			note->parcel, self->number, (int)parcel->state);
	if (reason == QMT_FAIL_DEADLINE && qmt_now_ms(ctx) < parcel->due_ms)
		sim_violation(
			"what counts for a while is not given up before", "parcel %u of gear %u", note->parcel, self->number);
	parcel->state = PARCEL_BACK;
	if (parcel->lane == LANE_URGENT && parcel->from != parcel->to && !parcel->may_vanish)
		sim_gears[parcel->to].urgent_waiting--;
}

/* ---- exclusive asks ---------------------------------------------------------------------------------------------- */

static void on_said(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct gear_fact *self = *(struct gear_fact **)state;
	uint32_t n = sim_ask_answered(arg, "exclusive question");

	(void)ctx;
	if (!self->exclusive)
		sim_violation("an exclusive ask ends once", "gear %u", self->number);
	self->exclusive = false;
	if (!result->fail && ((const struct gear_said *)result->body)->n != n)
		sim_violation("an answer belongs to its ask", "gear %u asked %u and got %u", self->number, n,
			(unsigned)((const struct gear_said *)result->body)->n);
}

static void ask_exclusive(struct qmt_ctx *ctx, struct gear_fact *self, uint32_t place)
{
	uint64_t timeout_ms = 20 + sim_below(400);
	struct gear_question question = {.late_ms = sim_below(3) ? sim_below(100) : 1000, .n = ++question_count};
	struct sim_ask *ask =
		sim_ask_open(self->node, SIM_OWNER_GEAR + self->number, self->life, timeout_ms, question_count);
	struct qmt_ref to;
	char name[16];
	int failed = QMT_FAIL_NO_ROUTE;

	if (!ask)
		return;
	gear_name(place, name);
	if (qmt_lookup(ctx, name, &to) == 0)
		failed = qmt_ask_exclusive(ctx, to, &gear_question_type, &question, timeout_ms, on_said, ask);
	if (failed) {
		sim_ask_not_sent(ask);
		return;
	}
	if (self->exclusive)
		sim_violation("one exclusive ask at a time", "gear %u", self->number);
	self->exclusive = true;
}

struct later {
	struct qmt_token token;
	uint64_t n;
};
static struct later laters[1024];

static void answer_late(struct qmt_ctx *ctx, void *state, void *arg)
{
	const struct later *later = arg;

	(void)state;
	(void)QMT_REPLY(ctx, later->token, gear_said, .n = later->n);
}

static void on_question(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct gear_fact *self = *(struct gear_fact **)state;
	const struct gear_question *question = body;
	struct later *later = &laters[question->n % (sizeof laters / sizeof *laters)];

	if (self->exclusive)
		sim_violation(
			"an exclusive ask holds the normal lane", "question %u at gear %u", (unsigned)question->n, self->number);
	if (question->late_ms > 50) {
		*later = (struct later){qmt_token(ctx), question->n};
		(void)qmt_timer_start(ctx, question->late_ms, answer_late, later, NULL);
		return;
	}
	(void)QMT_REPLY(ctx, qmt_token(ctx), gear_said, .n = question->n);
}

/* ---- gears ------------------------------------------------------------------------------------------------------- */

struct gear {
	struct gear_fact *fact;
	struct qmt_interval beat;
	uint64_t ticks;
	uint32_t life;
};

static void on_beat(struct qmt_ctx *ctx, void *state, uint64_t tick, void *arg)
{
	struct gear *gear = state;

	(void)arg;
	if (gear->life != gear->fact->life || tick != gear->ticks + 1)
		sim_violation("an interval ticks one by one, for its incarnation", "gear %u: tick %u after %u",
			gear->fact->number, (unsigned)tick, (unsigned)gear->ticks);
	gear->ticks = tick;
	gear->fact->last_beat_ms = qmt_now_ms(ctx);
}

static void on_work(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct gear_fact *self = *(struct gear_fact **)state;
	const struct gear_work *work = body;

	if (self->exclusive)
		sim_violation("an exclusive ask holds the normal lane", "work at gear %u", self->number);
	if (work->what == WORK_FAIL) {
		sim_event("gear %u fails", self->number);
		qmt_fail(ctx, "asked to");
		return;
	}
	if (sim_place_of(self->number) == 2) /* only receives: what comes back would pass its bound */
		return;
	switch (work->what) {
	case WORK_ALL:
		tell_all(ctx, self);
		break;
	case WORK_EXCLUSIVE:
		ask_exclusive(ctx, self, work->target);
		break;
	case WORK_POOL:
		sim_give_jobs(ctx, self, work->count);
		break;
	case WORK_NEWS:
		sim_publish(ctx, self, work->count);
		break;
	case WORK_STREAM:
		sim_start_flow(ctx, self);
		break;
	case WORK_AWAIT:
		sim_spark_await(ctx, self->node, SIM_OWNER_GEAR + self->number, self->life);
		break;
	default:
		tell_notes(ctx, self, work->target, work->count);
	}
}

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct gear *gear = state;
	struct gear_fact *self = (struct gear_fact *)(uintptr_t)config;
	struct qmt_ref broker;

	gear->fact = self;
	gear->life = ++self->life;
	self->runs = true;
	self->last_beat_ms = qmt_now_ms(ctx);
	if (sim_place_of(self->number) == 0) {
		if (qmt_interval_start(ctx, &gear->beat, BEAT_MS, (enum qmt_missed)(self->life % 3), on_beat, NULL) != 0)
			return -1;
		if (qmt_lookup(ctx, "broker", &broker) == 0)
			qmt_ask_or(ctx, broker, &qmt_broker_subscribe_type,
				&(struct qmt_broker_subscribe){.pattern = qmt_str("a/**")}, 5000, sim_subscribed, NULL);
	}
	return 0;
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct gear_fact *self = *(struct gear_fact **)state;

	(void)ctx;
	if (!self)
		return;
	self->runs = self->exclusive = false;
	sim_asks_abandon(self->node, SIM_OWNER_GEAR + self->number);
}

static qmt_handler *const gear_handlers[gear_message_count] = {
	[gear_work_id] = on_work,
	[gear_note_id] = on_note,
	[gear_question_id] = on_question,
	[gear_news_id] = sim_on_news,
};
static qmt_handler *const flow_handlers[qmt_stream_message_count] = {
	[qmt_stream_chunk_id] = sim_on_chunk,
	[qmt_stream_end_id] = sim_on_flow_end,
};
#define GEAR(bound_, overflow_)                                                                                       \
	{                                                                                                                 \
		.abi = QMT_ABI, .name = "sim_gear", .doc = "Sends in every way there is.", .state_size = sizeof(struct gear), \
		.bound = (bound_), .overflow = (overflow_),                                                                   \
		.accepts = {{&gear_protocol, gear_handlers}, {&qmt_stream_protocol, flow_handlers}}, .start = start,          \
		.stop = stop, .undelivered = undelivered,                                                                     \
	}
static const struct qmt_actor_desc gear_descs[PLACES] = {
	GEAR(0, QMT_BLOCK),
	GEAR(BLOCK_BOUND, QMT_BLOCK),
	GEAR(REFUSE_BOUND, QMT_REFUSE),
	GEAR(DROP_BOUND, QMT_DROP_NEW),
};

static int gearbox_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct sim_node *node = (struct sim_node *)(uintptr_t)config;
	struct qmt_ref ref;

	(void)state;
	if (node->gearbox_life++) /* it failed for want of memory: all of it is new */
		sim_gears_lost(node);
	if (qmt_spawn(ctx, &sim_broker_desc, &(struct qmt_spawn){.name = "broker"}, &ref, NULL) != 0 ||
		qmt_spawn(ctx, &sim_pool_desc, &(struct qmt_spawn){.name = "pool", .config = &sim_pool_config}, &ref, NULL) !=
			0 ||
		qmt_spawn(ctx, &sim_nest_desc, &(struct qmt_spawn){.name = "nest", .config = node}, &ref, NULL) != 0)
		return -1;
	for (uint32_t place = 0; place < PLACES; place++) {
		char name[16];

		gear_name(place, name);
		if (qmt_spawn(ctx, &gear_descs[place],
				&(struct qmt_spawn){
					.name = name, .config = &sim_gears[node->index * PLACES + place], .restart = QMT_PERMANENT},
				&ref, NULL) != 0)
			return -1;
	}
	return 0;
}

static qmt_handler *const gearbox_handlers[gear_message_count] = {[gear_flow_id] = sim_on_flow};
const struct qmt_actor_desc sim_gearbox_desc = {
	.abi = QMT_ABI,
	.name = "sim_gearbox",
	.doc = "Parent of gears, pool, broker, streams and nest.",
	.state_size = 8,
	.supervision = {.max_restarts = QMT_RESTARTS_MAX, .window_ms = 1000},
	.accepts = {{&gear_protocol, gearbox_handlers}},
	.start = gearbox_start,
};

/* ---- by chance --------------------------------------------------------------------------------------------------- */

void sim_gears_step(void)
{
	static const uint32_t odds[WORK_COUNT] = {[WORK_NOTES] = 48,
		[WORK_ALL] = 6,
		[WORK_EXCLUSIVE] = 12,
		[WORK_POOL] = 8,
		[WORK_NEWS] = 8,
		[WORK_STREAM] = 6,
		[WORK_AWAIT] = 8,
		[WORK_FAIL] = 4};
	uint32_t times = 1 + sim_below(6);

	for (uint32_t i = 0; i < times; i++) {
		uint32_t gear = sim_below(sim.node_count * PLACES), what = 0, draw = sim_below(100);
		struct sim_node *node = sim_gears[gear].node;
		struct gear_work work = {.target = sim_below(PLACES), .count = 1 + sim_below(sim_chance(30) ? 12 : 4)};
		struct qmt_ref ref;
		char name[16];

		while (draw >= odds[what])
			draw -= odds[what++];
		work.what = what;
		gear_name(sim_place_of(gear), name);
		if (node->system && qmt_lookup(node->ctx, name, &ref) == 0)
			(void)qmt_tell(node->ctx, ref, &gear_work_type, &work);
	}
	sim_sparks_step();
}

/* All that was under way on the node is gone. */
void sim_gears_lost(const struct sim_node *node)
{
	for (uint32_t i = 0; i < parcel_count; i++)
		if (sim_gears[parcels[i].to].node == node && parcels[i].state == PARCEL_SENT)
			parcels[i].state = PARCEL_LOST;
	for (uint32_t i = 0; i < GEARS; i++)
		if (sim_gears[i].node == node)
			sim_gears[i].urgent_waiting = 0;
	sim_shop_lost(node);
	sim_sparks_lost(node);
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */

void sim_gears_check(void)
{
	for (uint32_t i = 0; i < sim.node_count * PLACES; i++)
		if (sim_gears[i].node->system)
			check_bound(&sim_gears[i]);
}

void sim_gears_settle(void)
{
	sim_sparks_settle();
	sim_run(3000);
	for (uint32_t i = 0; i < parcel_count; i++)
		if (parcels[i].state == PARCEL_SENT && !parcels[i].may_vanish && !sim_memory_was_short())
			sim_violation("a tell is handled once, or comes back", "parcel %u of gear %u to gear %u: neither", i,
				parcels[i].from, parcels[i].to);
	sim_shop_settled();
	for (uint32_t i = 0; i < sim.node_count * PLACES; i++) {
		if (!sim_gears[i].runs && !sim_memory_was_short())
			sim_violation("a permanent actor runs again", "gear %u", i);
		if (sim_gears[i].exclusive)
			sim_violation("an exclusive ask ends", "gear %u", i);
		if (sim_place_of(i) == 0 && sim_gears[i].runs &&
			qmt_now_ms(sim_gears[i].node->ctx) > sim_gears[i].last_beat_ms + 2 * BEAT_MS)
			sim_violation("an interval goes on", "gear %u", i);
	}
	sim_sparks_check();
}
