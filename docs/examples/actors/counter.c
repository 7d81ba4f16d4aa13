/* counter.c - the smallest useful actor: it adds up what it is told and says the sum when asked. */
#include <qmt/system.h>

#include <stdio.h>

/* The messages: fields, who may send them from afar, what they are for, what an ask is answered with. */
#define COUNTER_ADD(F, T) F(T, I64, amount, 1, "How much to add.")
#define COUNTER_TOTAL(F, T) F(T, I64, total, 1, "The sum so far.")
#define COUNTER_MESSAGES(M)                                             \
	M(counter, add, COUNTER_ADD, "local", "Adds.", total)               \
	M(counter, get, QMT_NO_FIELDS, "local", "Asks for the sum.", total) \
	M(counter, total, COUNTER_TOTAL, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(counter, COUNTER_MESSAGES)
QMT_DEFINE_PROTOCOL(counter, COUNTER_MESSAGES, "Counts.")

struct counter {
	int64_t total;
};

static void answer(struct qmt_ctx *ctx, const struct counter *counter)
{
	QMT_REPLY(ctx, qmt_token(ctx), counter_total, .total = counter->total); /* nobody asked: nothing happens */
}

static void on_add(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct counter *counter = state;

	counter->total += ((const struct counter_add *)body)->amount;
	answer(ctx, counter);
}

static void on_get(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)body;
	answer(ctx, state);
}

static qmt_handler *const handlers[counter_message_count] = {[counter_add_id] = on_add, [counter_get_id] = on_get};
static const struct qmt_actor_desc counter_desc = {.abi = QMT_ABI,
	.name = "counter",
	.state_size = sizeof(struct counter),
	.accepts = {{&counter_protocol, handlers}}};

int main(void)
{
	struct qmt_err err = {0};
	struct qmt_result result;
	struct qmt_ref counter;
	struct qmt_system *system = qmt_system_start(NULL, &err);
	struct qmt_ctx *ctx = system ? qmt_outside_open(system) : NULL;
	int failed = 1;

	if (!ctx || qmt_spawn(ctx, &counter_desc, NULL, &counter, &err))
		goto end;
	for (int i = 1; i <= 100; i++)
		if (QMT_TELL(ctx, counter, counter_add, .amount = i))
			goto end;
	/* asked after the tells, so it is answered after them */
	failed = qmt_outside_ask(ctx, counter, &counter_get_type, &(struct counter_get){}, 0, &result);
	if (!failed)
		printf("%lld\n", (long long)((const struct counter_total *)result.body)->total);
end:
	if (failed)
		fprintf(stderr, "counter: %s\n", err.text);
	qmt_outside_close(ctx);
	qmt_system_free(system);
	return failed != 0;
}
