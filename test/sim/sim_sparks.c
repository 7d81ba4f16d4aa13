/* test/sim/sim_sparks.c - children of each node's nest that link themselves to one another, fail, stop, are stopped and
 * killed; gears wait for their starts and ends.
 *
 * A tie is a link that one incarnation made with another. It holds from the moment at which the other one has taken the
 * note: the message that follows the note tells (`tie`). From then on: when one of the two incarnations ends, so does
 * the other, or its hook is called. And nobody ends, and no hook is called, for a tie that is not there.
 */
#include "test/sim/sim_gears.h"

enum { SPARKS = 96, TIES = 512 };
enum order { ORDER_LINK, ORDER_UNLINK, ORDER_FAIL, ORDER_STOP, ORDER_COUNT };

static struct spark {
	struct sim_node *node;
	struct qmt_ref ref;
	uint8_t restart;
	bool soft; /* goes on when one that it is linked to ends */
	uint32_t life, node_life;
	bool runs, killed, gone;
	bool caused; /* this incarnation was told to end */
	bool buried; /* somebody was told that it has ended for good; its parent may hear later */
} sparks[SPARKS];
static struct tie {
	uint32_t a, a_life, b, b_life; /* sparks; who made it first. b_life 0: not known to hold */
	bool a_over, b_over;           /* that incarnation has ended */
	bool a_told, b_told;           /* its hook was called */
	bool undone;
	uint32_t b_ends; /* how often b has ended since */
} ties[TIES];
static struct awaited {
	uint32_t spark;
	bool end;
} awaited[1024];
static uint32_t spark_count, tie_count, awaited_count;

void sim_sparks_reset(void)
{
	memset(sparks, 0, sizeof sparks);
	memset(ties, 0, sizeof ties);
	spark_count = tie_count = awaited_count = 0;
}

static struct spark *self_of(void *state)
{
	return *(struct spark **)state;
}

static uint32_t number_of(const struct spark *spark)
{
	return (uint32_t)(spark - sparks);
}

/* ---- ties -------------------------------------------------------------------------------------------------------- */

/* This incarnation's side of the tie; 'b' also when it is not known to hold yet. */
static char side_of(const struct tie *tie, const struct spark *spark)
{
	if (tie->a == number_of(spark) && tie->a_life == spark->life)
		return 'a';
	return tie->b == number_of(spark) && (tie->b_life == spark->life || !tie->b_life) ? 'b' : 0;
}

/* Whether this incarnation may hear that the other one has ended. */
static bool may_fire(const struct tie *tie, const struct spark *spark)
{
	switch (side_of(tie, spark)) {
	case 'a':
		return !tie->undone && !tie->a_told && (tie->b_ends || !sparks[tie->b].runs);
	case 'b':
		return !tie->undone && !tie->b_told && tie->a_over;
	default:
		return false;
	}
}

static void make_tie(struct qmt_ctx *ctx, struct spark *self, uint32_t other)
{
	struct tie *tie = &ties[tie_count];

	if (tie_count == TIES || qmt_link(ctx, sparks[other].ref) != 0)
		return;
	for (uint32_t i = 0; i < tie_count; i++) { /* the same link once more, or that of the other one, which holds here */
		const struct tie *at = &ties[i];
		char side = at->undone ? 0 : side_of(at, self);

		if ((side == 'a' && at->b == other && !at->a_told) ||
			(side == 'b' && at->a == other && !at->a_over && !at->b_told && (at->b_life || !at->b_ends)))
			return;
	}
	*tie = (struct tie){.a = number_of(self), .a_life = self->life, .b = other, .b_ends = sparks[other].gone};
	sim_event("tie %u: spark %u, life %u, with spark %u", tie_count, number_of(self), self->life, other);
	(void)QMT_TELL(ctx, sparks[other].ref, gear_tie, .n = tie_count++);
}

static void undo_ties(struct qmt_ctx *ctx, const struct spark *self, uint32_t other)
{
	sim_event("spark %u unlinks spark %u", number_of(self), other);
	qmt_unlink(ctx, sparks[other].ref);
	for (uint32_t i = 0; i < tie_count; i++) {
		char side = side_of(&ties[i], self);

		if ((side == 'a' && ties[i].b == other) ||
			(side == 'b' && (ties[i].b_life || !ties[i].b_ends) && ties[i].a == other))
			ties[i].undone = true;
	}
}

/* Behind the note of the link. */
static void on_tie(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct spark *self = self_of(state);
	struct tie *tie = &ties[((const struct gear_tie *)body)->n];

	(void)ctx;
	if (!tie->b_ends && !tie->a_over && !tie->undone)
		tie->b_life = self->life;
}

static bool link_died(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	struct spark *self = self_of(state);

	(void)ctx;
	(void)reason;
	for (uint32_t i = 0; i < tie_count; i++) {
		struct tie *tie = &ties[i];
		char side = side_of(tie, self);

		if (!side || !may_fire(tie, self) || !qmt_ref_eq(sparks[side == 'a' ? tie->b : tie->a].ref, who))
			continue;
		*(side == 'a' ? &tie->a_told : &tie->b_told) = true;
		sim_event("spark %u hears that a link has ended, tie %u", number_of(self), i);
		return true;
	}
	sim_violation("a link that is not there ends nobody", "spark %u, life %u", number_of(self), self->life);
}

/* ---- sparks ------------------------------------------------------------------------------------------------------ */

static void on_work(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct spark *self = self_of(state);
	const struct gear_work *work = body;

	switch (work->what) {
	case ORDER_LINK:
		make_tie(ctx, self, work->target);
		break;
	case ORDER_UNLINK:
		undo_ties(ctx, self, work->target);
		break;
	case ORDER_FAIL:
		self->caused = true;
		qmt_fail(ctx, "asked to");
		break;
	default:
		self->caused = true;
		qmt_stop_self(ctx);
	}
}

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct spark *self = (struct spark *)(uintptr_t)config;

	(void)ctx;
	if (self->buried)
		sim_violation("who has ended for good does not come back", "spark %u", number_of(self));
	*(struct spark **)state = self;
	self->life++;
	self->runs = true;
	self->caused = false;
	return 0;
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct spark *self = self_of(state);
	bool why = self && (self->caused || self->killed || self->node->stops || sim_memory_was_short());

	(void)ctx;
	if (!self)
		return;
	for (uint32_t i = 0; i < tie_count && !why && !self->soft; i++)
		why = may_fire(&ties[i], self);
	if (!why)
		sim_violation("a link that is not there ends nobody", "spark %u, life %u, ends", number_of(self), self->life);
	sim_event("spark %u, life %u, ends%s", number_of(self), self->life, self->caused ? " as told" : "");
	for (uint32_t i = 0; i < tie_count; i++) {
		struct tie *tie = &ties[i];

		tie->a_over |= tie->a == number_of(self) && tie->a_life == self->life;
		tie->b_over |= tie->b == number_of(self) && tie->b_life == self->life;
		tie->b_ends += tie->b == number_of(self);
	}
	self->runs = false;
}

static qmt_handler *const spark_handlers[gear_message_count] = {[gear_work_id] = on_work, [gear_tie_id] = on_tie};
#define SPARK(link_died_)                                                                                            \
	{                                                                                                                \
		.abi = QMT_ABI, .name = "sim_spark", .doc = "Links itself to others.", .state_size = sizeof(struct spark *), \
		.accepts = {{&gear_protocol, spark_handlers}}, .start = start, .stop = stop, .link_died = (link_died_),      \
	}
static const struct qmt_actor_desc spark_desc = SPARK(NULL), soft_spark_desc = SPARK(link_died);

static void on_spawn(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct spark *spark = &sparks[spark_count];

	(void)body;
	if (spark_count == SPARKS)
		return;
	*spark =
		(struct spark){.node = *(struct sim_node **)state, .restart = (uint8_t)sim_below(3), .soft = sim_chance(40)};
	spark->node_life = spark->node->life;
	if (qmt_spawn(ctx, spark->soft ? &soft_spark_desc : &spark_desc,
			&(struct qmt_spawn){.config = spark, .restart = spark->restart}, &spark->ref, NULL) == 0)
		spark_count++;
}

static void child_ended(struct qmt_ctx *ctx, void *state, struct qmt_ref child, int reason, bool restarted)
{
	(void)ctx;
	(void)state;
	for (uint32_t i = 0; i < spark_count && !restarted; i++) {
		if (!qmt_ref_eq(sparks[i].ref, child))
			continue;
		sim_event("spark %u has ended: %d", i, reason);
		sparks[i].gone = true;
		for (uint32_t k = 0; k < tie_count; k++)
			ties[k].b_ends += ties[k].b == i;
	}
}

static int nest_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct sim_node *node = (struct sim_node *)(uintptr_t)config;

	(void)ctx;
	*(struct sim_node **)state = node;
	if (node->nest_life++) /* it failed for want of memory: its children have ended */
		sim_sparks_lost(node);
	return 0;
}

static qmt_handler *const nest_handlers[gear_message_count] = {[gear_flow_id] = on_spawn};
const struct qmt_actor_desc sim_nest_desc = {
	.abi = QMT_ABI,
	.name = "sim_nest",
	.doc = "Parent of sparks.",
	.state_size = sizeof(struct sim_node *),
	.supervision = {.max_restarts = QMT_RESTARTS_MAX, .window_ms = 1000},
	.accepts = {{&gear_protocol, nest_handlers}},
	.start = nest_start,
	.child_ended = child_ended,
};

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static void awaited_result(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	const struct awaited *one = &awaited[sim_ask_answered(arg, "await")];
	struct spark *spark = &sparks[one->spark];

	(void)ctx;
	(void)state;
	if (result->fail == QMT_FAIL_DEADLINE || sim_memory_was_short())
		return;
	spark->buried |= one->end || result->fail;
	if (spark->buried ? spark->runs : !spark->life)
		sim_violation("who waits for a start or an end hears of one that was", "spark %u: %s", one->spark,
			one->end ? "end" : "start");
}

/* A random one of those that the node has in this life. */
static struct spark *any_spark(const struct sim_node *node)
{
	uint32_t first = spark_count ? sim_below(spark_count) : 0;

	for (uint32_t i = 0; i < spark_count; i++) {
		struct spark *spark = &sparks[(first + i) % spark_count];

		if (spark->node == node && spark->node_life == node->life)
			return spark;
	}
	return NULL;
}

void sim_spark_await(struct qmt_ctx *ctx, struct sim_node *node, uint32_t owner, uint32_t life)
{
	struct spark *spark = any_spark(node);
	uint64_t timeout_ms = 1 + sim_below(2000);
	struct awaited *one = &awaited[awaited_count];
	struct sim_ask *ask;

	if (!spark || awaited_count == sizeof awaited / sizeof *awaited)
		return;
	ask = sim_ask_open(node, owner, life, timeout_ms, awaited_count);
	if (!ask)
		return;
	*one = (struct awaited){number_of(spark), sim_chance(60)};
	awaited_count++;
	if ((one->end ? qmt_await_end : qmt_await_start)(ctx, spark->ref, timeout_ms, awaited_result, ask) != 0)
		sim_ask_not_sent(ask);
}

/* One of the ties of the node that hold. NULL: there is none. */
static const struct tie *any_tie(const struct sim_node *node)
{
	uint32_t first = tie_count ? sim_below(tie_count) : 0;

	for (uint32_t i = 0; i < tie_count; i++) {
		const struct tie *tie = &ties[(first + i) % tie_count];

		if (sparks[tie->a].node == node && tie->b_life && !tie->undone && !tie->a_over && !tie->b_over)
			return tie;
	}
	return NULL;
}

/* ---- by chance --------------------------------------------------------------------------------------------------- */

static void order(struct spark *spark, uint32_t what, uint32_t target)
{
	(void)QMT_TELL(spark->node->ctx, spark->ref, gear_work, .what = what, .target = target);
}

void sim_sparks_step(void)
{
	struct sim_node *node = &sim.nodes[sim_below(sim.node_count)];
	struct qmt_ref nest;
	struct spark *one, *other;
	uint32_t what = sim_below(100);

	if (!node->system)
		return;
	one = any_spark(node);
	other = any_spark(node);
	if (!one || what < 15) {
		if (qmt_lookup(node->ctx, "nest", &nest) == 0)
			for (uint32_t i = 0; i < 3; i++)
				(void)QMT_TELL(node->ctx, nest, gear_flow, .n = 0);
	} else if (what < 55) {
		order(one, ORDER_LINK, number_of(other));
		if (sim_chance(30))
			order(other, ORDER_LINK, number_of(one));
	} else if (what < 62) {
		order(one, ORDER_UNLINK, number_of(other));
	} else if (what < 92) {
		const struct tie *tie = sim_chance(50) ? any_tie(node) : NULL;

		order(tie ? &sparks[tie->a] : one, sim_chance(60) ? ORDER_FAIL : ORDER_STOP, 0);
		if (tie) /* both at once: what they tell each other comes too late */
			order(&sparks[tie->b], sim_chance(60) ? ORDER_FAIL : ORDER_STOP, 0);
	} else {
		one->killed |= qmt_kill(node->ctx, one->ref) == 0;
	}
}

void sim_sparks_lost(const struct sim_node *node)
{
	for (uint32_t i = 0; i < spark_count; i++)
		if (sparks[i].node == node)
			sparks[i].gone = true;
	for (uint32_t i = 0; i < tie_count; i++)
		if (sparks[ties[i].a].node == node)
			ties[i].undone = true;
}

static void check_ties(void)
{
	for (uint32_t i = 0; i < tie_count; i++) {
		const struct tie *tie = &ties[i];

		if (tie->undone || !tie->b_life)
			continue;
		if (tie->a_over && !tie->b_over && !tie->b_told)
			sim_violation("who is linked hears of the end", "tie %u: spark %u has ended, spark %u does not hear", i,
				tie->a, tie->b);
		if (tie->b_over && !tie->a_over && !tie->a_told)
			sim_violation("who is linked hears of the end", "tie %u: spark %u has ended, spark %u does not hear", i,
				tie->b, tie->a);
	}
}

void sim_sparks_settle(void)
{
	sim_run(1000);
	if (!sim_memory_was_short())
		check_ties();
	for (uint32_t i = 0; i < spark_count; i++)
		if (!sparks[i].gone)
			sparks[i].killed |= qmt_kill(sparks[i].node->ctx, sparks[i].ref) == 0;
}

void sim_sparks_check(void)
{
	for (uint32_t i = 0; i < spark_count; i++)
		if (!sparks[i].gone && !sim_memory_was_short())
			sim_violation("who is killed ends for good", "spark %u", i);
}
