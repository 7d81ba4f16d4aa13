/* worker_pool.c - a pool that spreads work over its workers; a worker that fails is restarted and the others go on. */
#include <qmt/system.h>

#include <stdio.h>

#define WORK_ITEM(F, T) F(T, U64, number, 1, "To be squared; 13 makes the worker fail.")
#define WORK_RESULT(F, T) F(T, U64, square, 1, "What came of it.")
#define WORK_STATS(F, T)                         \
	F(T, U32, workers, 1, "How many there are.") \
	F(T, U32, restarts, 2, "How many failed and were restarted.")
#define WORK_MESSAGES(M)                                                                      \
	M(work, item, WORK_ITEM, "local", "Error: no reply (the worker failed over it).", result) \
	M(work, result, WORK_RESULT, "reply", "Answer.")                                          \
	M(work, look, QMT_NO_FIELDS, "local", "Asks for the stats.", stats)                       \
	M(work, stats, WORK_STATS, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(work, WORK_MESSAGES)
QMT_DEFINE_PROTOCOL(work, WORK_MESSAGES, "Squares numbers.")

/* ---- a worker ---------------------------------------------------------------------------------------------------- */

static void do_item(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct work_item *item = body;

	(void)state;
	if (item->number == 13)
		qmt_fail(ctx, "%llu brings bad luck", (unsigned long long)item->number);
	else
		QMT_REPLY(ctx, qmt_token(ctx), work_result, .square = item->number * item->number);
}

static qmt_handler *const worker_handlers[work_message_count] = {[work_item_id] = do_item};
static const struct qmt_actor_desc worker_desc = {
	.abi = QMT_ABI, .name = "worker", .accepts = {{&work_protocol, worker_handlers}}};

/* ---- the pool: parent and dispatcher ----------------------------------------------------------------------------- */

enum { WORKERS_MAX = 16 };

struct pool {
	uint32_t workers; /* parameter */
	uint32_t next, restarts;
	struct qmt_ref worker[WORKERS_MAX];
};

static const struct qmt_param pool_params[] = {
	{"workers", QMT_PARAM_U32, offsetof(struct pool, workers), "4", 1, WORKERS_MAX, "How many."}, {0}};

static int pool_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct pool *pool = state;
	int failed = 0;

	(void)config;
	for (uint32_t i = 0; i < pool->workers && !failed; i++)
		failed = qmt_spawn(ctx, &worker_desc, &(struct qmt_spawn){.restart = QMT_PERMANENT}, &pool->worker[i], NULL);
	return failed;
}

/* The work itself is passed on: the worker's answer goes straight to whoever asked. A ref stays good over restarts. */
static void dispatch(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct pool *pool = state;
	int failed = qmt_forward(ctx, pool->worker[pool->next++ % pool->workers]);

	(void)body;
	if (failed)
		qmt_reply_fail(ctx, qmt_token(ctx), failed < 0 ? QMT_FAIL_FAILED : failed, NULL, 0, "no worker takes it");
}

static void look(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct pool *pool = state;

	(void)body;
	QMT_REPLY(ctx, qmt_token(ctx), work_stats, .workers = pool->workers, .restarts = pool->restarts);
}

static void child_ended(struct qmt_ctx *ctx, void *state, struct qmt_ref child, int reason, bool restarted)
{
	struct pool *pool = state;

	(void)ctx;
	(void)child;
	(void)reason;
	pool->restarts += restarted;
}

static qmt_handler *const pool_handlers[work_message_count] = {[work_item_id] = dispatch, [work_look_id] = look};
static const struct qmt_actor_desc pool_desc = {.abi = QMT_ABI,
	.name = "pool",
	.state_size = sizeof(struct pool),
	.params = pool_params,
	.supervision = {.max_restarts = 20, .window_ms = 1000}, /* beyond this the pool itself fails */
	.accepts = {{&work_protocol, pool_handlers}},
	.start = pool_start,
	.child_ended = child_ended};

int main(void)
{
	struct qmt_err err = {0};
	struct qmt_result result;
	struct qmt_ref pool;
	struct qmt_system *system = qmt_system_start(NULL, &err);
	struct qmt_ctx *ctx = system ? qmt_outside_open(system) : NULL;
	uint64_t sum = 0;
	int lost = 0, failed = 1;

	if (!ctx || qmt_spawn(ctx, &pool_desc, NULL, &pool, &err))
		goto end;
	for (uint64_t i = 1; i <= 20; i++) {
		const struct work_item item = {.number = i};

		if (qmt_outside_ask(ctx, pool, &work_item_type, &item, 0, &result) == 0)
			sum += ((const struct work_result *)result.body)->square;
		else
			lost++;
	}
	failed = qmt_outside_ask(ctx, pool, &work_look_type, &(struct work_look){}, 0, &result);
	if (!failed) {
		const struct work_stats *stats = result.body;

		printf("sum %llu, %d lost, %u restarted, %u workers\n", (unsigned long long)sum, lost, stats->restarts,
			stats->workers);
	}
end:
	if (failed)
		fprintf(stderr, "worker_pool: %s\n", err.text);
	qmt_outside_close(ctx);
	qmt_system_free(system);
	return failed != 0;
}
