/* test/sim/sim_gears.c - on each node gears, actors that use what a send can do besides telling, and the ready-made
 * parts: urgent, try, with a deadline, to many, exclusive asks; waiting for ends; a pool, a broker, intervals, streams.
 * The sparks that they wait for, link and kill are in sim_sparks.c.
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
#include "runtime/pool.h"
#include "runtime/stream.h"

enum { PLACES = 4, GEARS = SIM_NODES * PLACES, PARCELS = 16384, JOBS = 2048, NEWS = 1024, FLOWS = 64, WORKERS = 3 };
enum { BLOCK_BOUND = 8, REFUSE_BOUND = 4, DROP_BOUND = 6, BEAT_MS = 150, FLOW_CHUNK = 64, LONG_TEXT = 80 };

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

static struct gear_fact {
	struct sim_node *node;
	uint32_t number, life;
	bool runs;
	bool exclusive;          /* an exclusive ask is open */
	uint32_t urgent_waiting; /* urgent parcels of others that it was sent and has not handled */
	uint32_t subscribed;     /* life of the node in which its subscription was confirmed; 0: not */
	uint64_t last_beat_ms;   /* by the node's clock */
} gears[GEARS];
static struct parcel {
	uint8_t from, to, lane;
	enum { PARCEL_NONE, PARCEL_SENT, PARCEL_GOT, PARCEL_BACK, PARCEL_LOST } state;
	bool may_vanish;
	uint64_t due_ms; /* by the node's clock; 0: any time */
} parcels[PARCELS];
static uint32_t last_got[GEARS][GEARS][LANES]; /* parcel + 1; from, to */
static struct job_fact {
	const struct sim_node *node;
	uint32_t done;
	bool must; /* was told, and taken */
} jobs[JOBS];
static struct news_fact {
	const struct sim_node *node;
	bool must, got;
} news[NEWS];
static struct flow {
	struct qmt_stream_config config;
	struct sim_node *node;
	uint64_t total, made, got;
	bool closed, ended, lost;
} flows[FLOWS];
static uint32_t parcel_count, job_count, news_count, flow_count, question_count;

void sim_gears_reset(void)
{
	memset(gears, 0, sizeof gears);
	memset(parcels, 0, sizeof parcels);
	memset(last_got, 0, sizeof last_got);
	memset(jobs, 0, sizeof jobs);
	memset(news, 0, sizeof news);
	memset(flows, 0, sizeof flows);
	parcel_count = job_count = news_count = flow_count = question_count = 0;
	for (uint32_t i = 0; i < GEARS; i++)
		gears[i] = (struct gear_fact){.node = &sim.nodes[i / PLACES], .number = i};
	sim_sparks_reset();
}

static uint32_t place_of(uint32_t gear)
{
	return gear % PLACES;
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

	gear_name(place_of(gear->number), name);
	qmt_system_actors(gear->node->system, look_at_depth, &look);
	return look.depth;
}

static void check_bound(const struct gear_fact *gear)
{
	uint32_t depth = place_of(gear->number) == 2 ? depth_of(gear) : 0;

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
			.may_vanish = place_of(target->number) == 3};
	}
	return parcel;
}

/* What became of the send. A parcel that was not taken never was. */
static void parcel_sent(struct parcel *parcel, int outcome)
{
	struct gear_fact *target = &gears[parcel->to];

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
		uint32_t depth = place_of(target->number) == 1 ? depth_of(target) : 0;
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
	struct gear_fact *target = &gears[self->number / PLACES * PLACES + place];
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
		each[place] = new_parcel(self, &gears[self->number / PLACES * PLACES + place], LANE_NORMAL);
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
	struct parcel *parcel = parcel_of(note, place_of(self->number));
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
		gears[parcel->to].urgent_waiting--;
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

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

static void worker_job(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct gear_job *job = body;

	(void)state;
	if (++jobs[job->n].done > 1)
		sim_violation("a pool has each job done once", "job %u", job->n);
	if (job->fail)
		qmt_fail(ctx, "asked to");
	else
		(void)QMT_REPLY(ctx, qmt_token(ctx), gear_said, .n = job->n);
}

static qmt_handler *const worker_handlers[gear_message_count] = {[gear_job_id] = worker_job};
static const struct qmt_actor_desc worker_desc = {
	.abi = QMT_ABI,
	.name = "sim_worker",
	.doc = "Does jobs of a pool.",
	.state_size = 8,
	.accepts = {{&gear_protocol, worker_handlers}, {&qmt_pool_protocol, qmt_pool_worker_handlers}},
};
static qmt_handler *const pool_handlers[gear_message_count] = {[gear_job_id] = qmt_pool_to_one};
static const struct qmt_actor_desc pool_desc = QMT_POOL_DESC(
	"sim_pool", &gear_protocol, pool_handlers, .supervision = {.max_restarts = QMT_RESTARTS_MAX, .window_ms = 1000});
static const struct qmt_pool_config pool_config = {.worker = &worker_desc, .size = WORKERS};

static void job_said(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct gear_fact *self = *(struct gear_fact **)state;
	uint32_t n = sim_ask_answered(arg, "job");

	(void)ctx;
	if (!result->fail && (((const struct gear_said *)result->body)->n != n || jobs[n].done != 1))
		sim_violation("an answer belongs to its ask", "gear %u: job %u", self->number, n);
}

static void give_jobs(struct qmt_ctx *ctx, const struct gear_fact *self, uint32_t count)
{
	struct qmt_ref pool;

	if (qmt_lookup(ctx, "pool", &pool) != 0)
		return;
	for (uint32_t i = 0; i < count && job_count < JOBS; i++) {
		struct gear_job job = {.n = job_count++, .fail = sim_chance(5)};

		jobs[job.n] = (struct job_fact){.node = self->node};
		if (sim_chance(50)) {
			jobs[job.n].must = qmt_tell(ctx, pool, &gear_job_type, &job) == 0;
		} else {
			struct sim_ask *ask = sim_ask_open(self->node, SIM_OWNER_GEAR + self->number, self->life, 2000, job.n);

			if (ask && qmt_ask(ctx, pool, &gear_job_type, &job, 2000, job_said, ask) != 0)
				sim_ask_not_sent(ask);
		}
	}
}

/* ---- the broker -------------------------------------------------------------------------------------------------- */

QMT_BROKER_PUBLISH(gear_news, topic)
static qmt_handler *const broker_handlers[gear_message_count] = {[gear_news_id] = gear_news_publish};
static const struct qmt_actor_desc broker_desc = QMT_BROKER_DESC("sim_broker", &gear_protocol, broker_handlers, );

static void subscribed(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct gear_fact *self = *(struct gear_fact **)state;

	(void)ctx;
	(void)arg;
	if (!result->fail)
		self->subscribed = self->node->life;
}

static void publish(struct qmt_ctx *ctx, const struct gear_fact *self, uint32_t count)
{
	const struct gear_fact *subscriber = &gears[self->number / PLACES * PLACES];
	struct qmt_ref broker;

	if (qmt_lookup(ctx, "broker", &broker) != 0)
		return;
	for (uint32_t i = 0; i < count && news_count < NEWS; i++) {
		bool fits = sim_chance(70);
		struct gear_news one = {.topic = qmt_str(fits ? "a/b" : "c"), .n = news_count++};

		news[one.n] = (struct news_fact){.node = self->node};
		if (qmt_tell(ctx, broker, &gear_news_type, &one) == 0)
			news[one.n].must = fits && subscriber->subscribed == self->node->life;
	}
}

static void on_news(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct gear_fact *self = *(struct gear_fact **)state;
	const struct gear_news *one = body;

	(void)ctx;
	if (news[one->n].got || !qmt_str_is(one->topic, "a/b"))
		sim_violation("a subscriber gets each message that fits once", "news %u at gear %u", one->n, self->number);
	if (self->exclusive)
		sim_violation("an exclusive ask holds the normal lane", "news %u at gear %u", one->n, self->number);
	news[one->n].got = true;
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static uint8_t byte_at(uint64_t offset)
{
	return (uint8_t)(offset * 31 + offset / 256);
}

static int64_t flow_read(void *arg, void *ret_room, uint32_t size)
{
	struct flow *flow = arg;
	uint64_t count = flow->total - flow->made;

	if (flow->closed)
		sim_violation("a source is not read after it was closed", "flow %u", (unsigned)(flow - flows));
	if (count > size)
		count = size;
	for (uint64_t i = 0; i < count; i++)
		((uint8_t *)ret_room)[i] = byte_at(flow->made++);
	return (int64_t)count;
}

static void flow_close(void *arg)
{
	struct flow *flow = arg;

	if (flow->closed)
		sim_violation("a source is closed once", "flow %u", (unsigned)(flow - flows));
	flow->closed = true;
}

/* Streams are children of the gearbox: a gear that fails does not end them. */
static void on_flow(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct flow *flow = &flows[((const struct gear_flow *)body)->n];
	struct qmt_ref ref;

	(void)state;
	if (qmt_spawn(ctx, &qmt_stream_desc, &(struct qmt_spawn){.config = &flow->config}, &ref, NULL) != 0)
		flow->lost = flow->closed = true;
}

static void start_flow(struct qmt_ctx *ctx, const struct gear_fact *self)
{
	struct flow *flow = &flows[flow_count];
	struct qmt_ref gearbox;

	if (flow_count == FLOWS || place_of(self->number) > 1 || qmt_lookup(ctx, "gearbox", &gearbox) != 0)
		return;
	*flow = (struct flow){.node = self->node, .total = sim_below(2000)};
	flow->config = (struct qmt_stream_config){.to = qmt_self(ctx),
		.id = flow_count,
		.read = flow_read,
		.close = flow_close,
		.arg = flow,
		.chunk_bytes = 1 + sim_below(FLOW_CHUNK),
		.credit = 1 + sim_below(4)};
	if (QMT_TELL(ctx, gearbox, gear_flow, .n = flow_count) == 0)
		flow_count++;
}

static void on_chunk(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct gear_fact *self = *(struct gear_fact **)state;
	const struct qmt_stream_chunk *chunk = body;
	struct flow *flow = &flows[chunk->id];

	for (uint32_t i = 0; i < chunk->data.len; i++)
		if (chunk->data.p[i] != byte_at(flow->got++))
			sim_violation(
				"a stream brings its bytes in order", "flow %u at gear %u", (unsigned)chunk->id, self->number);
	if (flow->ended)
		sim_violation("nothing follows the end of a stream", "flow %u", (unsigned)chunk->id);
	if (QMT_TELL(ctx, chunk->stream, qmt_stream_more, .chunks = 1) != 0)
		flow->lost = true;
}

static void on_flow_end(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_stream_end *end = body;
	struct flow *flow = &flows[end->id];

	(void)ctx;
	(void)state;
	if (flow->ended)
		sim_violation("a stream ends once", "flow %u", (unsigned)end->id);
	if (!end->fail && (flow->got != flow->total || end->total_bytes != flow->total))
		sim_violation("a stream is whole at its end", "flow %u: %u of %u bytes", (unsigned)end->id, (unsigned)flow->got,
			(unsigned)flow->total);
	flow->ended = true;
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
	if (place_of(self->number) == 2) /* only receives: what comes back would pass its bound */
		return;
	switch (work->what) {
	case WORK_ALL:
		tell_all(ctx, self);
		break;
	case WORK_EXCLUSIVE:
		ask_exclusive(ctx, self, work->target);
		break;
	case WORK_POOL:
		give_jobs(ctx, self, work->count);
		break;
	case WORK_NEWS:
		publish(ctx, self, work->count);
		break;
	case WORK_STREAM:
		start_flow(ctx, self);
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
	if (place_of(self->number) == 0) {
		if (qmt_interval_start(ctx, &gear->beat, BEAT_MS, (enum qmt_missed)(self->life % 3), on_beat, NULL) != 0)
			return -1;
		if (qmt_lookup(ctx, "broker", &broker) == 0)
			qmt_ask_or(ctx, broker, &qmt_broker_subscribe_type,
				&(struct qmt_broker_subscribe){.pattern = qmt_str("a/**")}, 5000, subscribed, NULL);
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
	[gear_news_id] = on_news,
};
static qmt_handler *const flow_handlers[qmt_stream_message_count] = {
	[qmt_stream_chunk_id] = on_chunk,
	[qmt_stream_end_id] = on_flow_end,
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
	if (qmt_spawn(ctx, &broker_desc, &(struct qmt_spawn){.name = "broker"}, &ref, NULL) != 0 ||
		qmt_spawn(ctx, &pool_desc, &(struct qmt_spawn){.name = "pool", .config = &pool_config}, &ref, NULL) != 0 ||
		qmt_spawn(ctx, &sim_nest_desc, &(struct qmt_spawn){.name = "nest", .config = node}, &ref, NULL) != 0)
		return -1;
	for (uint32_t place = 0; place < PLACES; place++) {
		char name[16];

		gear_name(place, name);
		if (qmt_spawn(ctx, &gear_descs[place],
				&(struct qmt_spawn){
					.name = name, .config = &gears[node->index * PLACES + place], .restart = QMT_PERMANENT},
				&ref, NULL) != 0)
			return -1;
	}
	return 0;
}

static qmt_handler *const gearbox_handlers[gear_message_count] = {[gear_flow_id] = on_flow};
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
		struct sim_node *node = gears[gear].node;
		struct gear_work work = {.target = sim_below(PLACES), .count = 1 + sim_below(sim_chance(30) ? 12 : 4)};
		struct qmt_ref ref;
		char name[16];

		while (draw >= odds[what])
			draw -= odds[what++];
		work.what = what;
		gear_name(place_of(gear), name);
		if (node->system && qmt_lookup(node->ctx, name, &ref) == 0)
			(void)qmt_tell(node->ctx, ref, &gear_work_type, &work);
	}
	sim_sparks_step();
}

/* All that was under way on the node is gone. */
void sim_gears_lost(const struct sim_node *node)
{
	for (uint32_t i = 0; i < parcel_count; i++)
		if (gears[parcels[i].to].node == node && parcels[i].state == PARCEL_SENT)
			parcels[i].state = PARCEL_LOST;
	for (uint32_t i = 0; i < GEARS; i++)
		if (gears[i].node == node)
			gears[i].urgent_waiting = 0;
	for (uint32_t i = 0; i < job_count; i++)
		jobs[i].must &= jobs[i].node != node;
	for (uint32_t i = 0; i < news_count; i++)
		news[i].must &= news[i].node != node;
	for (uint32_t i = 0; i < flow_count; i++) {
		if (flows[i].node != node || flows[i].lost)
			continue;
		if (!flows[i].closed && flows[i].made)
			sim_violation("a source is closed with its stream", "flow %u of %s", i, node->name);
		flows[i].lost = true;
	}
	sim_sparks_lost(node);
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */

void sim_gears_check(void)
{
	for (uint32_t i = 0; i < sim.node_count * PLACES; i++)
		if (gears[i].node->system)
			check_bound(&gears[i]);
}

void sim_gears_settle(void)
{
	sim_sparks_settle();
	sim_run(3000);
	for (uint32_t i = 0; i < parcel_count; i++)
		if (parcels[i].state == PARCEL_SENT && !parcels[i].may_vanish && !sim_memory_was_short())
			sim_violation("a tell is handled once, or comes back", "parcel %u of gear %u to gear %u: neither", i,
				parcels[i].from, parcels[i].to);
	for (uint32_t i = 0; i < job_count; i++)
		if (jobs[i].must && !jobs[i].done && !sim_memory_was_short())
			sim_violation("a pool has each job done once", "job %u of %s was not", i, jobs[i].node->name);
	for (uint32_t i = 0; i < news_count; i++)
		if (news[i].must && !news[i].got && !sim_memory_was_short())
			sim_violation("a subscriber gets each message that fits once", "news %u of %s", i, news[i].node->name);
	for (uint32_t i = 0; i < flow_count; i++)
		if (!flows[i].lost && !(flows[i].ended && flows[i].closed) && !sim_memory_was_short())
			sim_violation("a stream comes to its end", "flow %u of %s: %u of %u bytes", i, flows[i].node->name,
				(unsigned)flows[i].got, (unsigned)flows[i].total);
	for (uint32_t i = 0; i < sim.node_count * PLACES; i++) {
		if (!gears[i].runs && !sim_memory_was_short())
			sim_violation("a permanent actor runs again", "gear %u", i);
		if (gears[i].exclusive)
			sim_violation("an exclusive ask ends", "gear %u", i);
		if (place_of(i) == 0 && gears[i].runs && qmt_now_ms(gears[i].node->ctx) > gears[i].last_beat_ms + 2 * BEAT_MS)
			sim_violation("an interval goes on", "gear %u", i);
	}
	sim_sparks_check();
}
