/* test/sim/sim_shop.c - the ready-made parts that the gears of a node use: a pool, a broker, streams. What was given to
 * them and what must come of it is kept here, outside of all nodes.
 */
#include "runtime/broker.h"
#include "runtime/pool.h"
#include "runtime/stream.h"
#include "test/sim/sim_gears.h"

enum { JOBS = 2048, NEWS = 1024, FLOWS = 64, WORKERS = 3, FLOW_CHUNK = 64 };

/* ---- facts ------------------------------------------------------------------------------------------------------- */

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
static uint32_t job_count, news_count, flow_count;

void sim_shop_reset(void)
{
	memset(jobs, 0, sizeof jobs);
	memset(news, 0, sizeof news);
	memset(flows, 0, sizeof flows);
	job_count = news_count = flow_count = 0;
}

void sim_shop_lost(const struct sim_node *node)
{
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
}

void sim_shop_settled(void)
{
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
const struct qmt_actor_desc sim_pool_desc = QMT_POOL_DESC(
	"sim_pool", &gear_protocol, pool_handlers, .supervision = {.max_restarts = QMT_RESTARTS_MAX, .window_ms = 1000});
const struct qmt_pool_config sim_pool_config = {.worker = &worker_desc, .size = WORKERS};

static void job_said(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct gear_fact *self = *(struct gear_fact **)state;
	uint32_t n = sim_ask_answered(arg, "job");

	(void)ctx;
	if (!result->fail && (((const struct gear_said *)result->body)->n != n || jobs[n].done != 1))
		sim_violation("an answer belongs to its ask", "gear %u: job %u", self->number, n);
}

void sim_give_jobs(struct qmt_ctx *ctx, const struct gear_fact *self, uint32_t count)
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
const struct qmt_actor_desc sim_broker_desc = QMT_BROKER_DESC("sim_broker", &gear_protocol, broker_handlers, );

void sim_subscribed(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct gear_fact *self = *(struct gear_fact **)state;

	(void)ctx;
	(void)arg;
	if (!result->fail)
		self->subscribed = self->node->life;
}

void sim_publish(struct qmt_ctx *ctx, const struct gear_fact *self, uint32_t count)
{
	const struct gear_fact *subscriber = &sim_gears[self->number / PLACES * PLACES];
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

void sim_on_news(struct qmt_ctx *ctx, void *state, const void *body)
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
void sim_on_flow(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct flow *flow = &flows[((const struct gear_flow *)body)->n];
	struct qmt_ref ref;

	(void)state;
	if (qmt_spawn(ctx, &qmt_stream_desc, &(struct qmt_spawn){.config = &flow->config}, &ref, NULL) != 0)
		flow->lost = flow->closed = true;
}

void sim_start_flow(struct qmt_ctx *ctx, const struct gear_fact *self)
{
	struct flow *flow = &flows[flow_count];
	struct qmt_ref gearbox;

	if (flow_count == FLOWS || sim_place_of(self->number) > 1 || qmt_lookup(ctx, "gearbox", &gearbox) != 0)
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

void sim_on_chunk(struct qmt_ctx *ctx, void *state, const void *body)
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

void sim_on_flow_end(struct qmt_ctx *ctx, void *state, const void *body)
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
