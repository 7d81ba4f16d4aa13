/* rate_limiter.c - a token bucket: `take` is answered as soon as the rate allows; too many waiting are refused.
 *
 * The program is its own test: it runs the limiter in a test kit, where the clock moves only when it is told to. */
#include <qmt/test_kit.h>

#include <stdio.h>

#define LIMITER_MESSAGES(M)                                                                                        \
	M(limiter, take, QMT_NO_FIELDS, "local", "Answered when it may go on. Error: link busy (retry_after_ms).", go) \
	M(limiter, go, QMT_NO_FIELDS, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(limiter, LIMITER_MESSAGES)
QMT_DEFINE_PROTOCOL(limiter, LIMITER_MESSAGES, "Lets so many through a second.")

enum { WAITING_MAX = 4 };

struct limiter {
	uint32_t per_second, burst; /* parameters */
	uint32_t left;              /* in the bucket */
	uint32_t first, waiting;    /* ring of those that wait */
	bool running;               /* the timer */
	struct qmt_token tokens[WAITING_MAX];
};

static const struct qmt_param params[] = {
	{"per_second", QMT_PARAM_U32, offsetof(struct limiter, per_second), "10", 1, 1000, "How many a second."},
	{"burst", QMT_PARAM_U32, offsetof(struct limiter, burst), "1", 1, 1000, "How many at once after a pause."}, {0}};

static void refill(struct qmt_ctx *ctx, void *state, void *arg);

/* The clock runs only while somebody waits or the bucket is not full: an idle limiter costs nothing. */
static void run_clock(struct qmt_ctx *ctx, struct limiter *limiter)
{
	if (limiter->running || (!limiter->waiting && limiter->left == limiter->burst))
		return;
	limiter->running = qmt_timer_start(ctx, 1000 / limiter->per_second, refill, NULL, NULL) == 0;
	if (!limiter->running)
		qmt_fail(ctx, "no memory for a timer"); /* the parent decides what comes of it */
}

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct limiter *limiter = state;

	(void)ctx;
	(void)config;
	limiter->left = limiter->burst; /* the parameters are there already */
	return 0;
}

/* One more may go: whoever waits longest, else it is saved up. */
static void refill(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct limiter *limiter = state;

	(void)arg;
	limiter->running = false;
	if (limiter->waiting) {
		/* A token is plain data: it was kept, and answers the ask now. */
		QMT_REPLY(ctx, limiter->tokens[limiter->first], limiter_go, );
		limiter->first = (limiter->first + 1) % WAITING_MAX;
		limiter->waiting--;
	} else {
		limiter->left++;
	}
	run_clock(ctx, limiter);
}

static void on_take(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct limiter *limiter = state;

	(void)body;
	if (limiter->left) {
		limiter->left--;
		QMT_REPLY(ctx, qmt_token(ctx), limiter_go, );
	} else if (limiter->waiting < WAITING_MAX) {
		limiter->tokens[(limiter->first + limiter->waiting++) % WAITING_MAX] = qmt_token(ctx);
	} else {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_LINK_BUSY, "rate_limited",
			1000 * WAITING_MAX / limiter->per_second, "%d wait already", WAITING_MAX);
	}
	run_clock(ctx, limiter);
}

static qmt_handler *const handlers[limiter_message_count] = {[limiter_take_id] = on_take};
static const struct qmt_actor_desc limiter_desc = {.abi = QMT_ABI,
	.name = "limiter",
	.state_size = sizeof(struct limiter),
	.params = params,
	.accepts = {{&limiter_protocol, handlers}},
	.start = start};

int main(void)
{
	const struct qmt_param_value values[] = {{"per_second", "20"}, {"burst", "2"}, {0}};
	struct qmt_kit *kit = QMT_KIT_OPEN(.seed = 1);
	struct qmt_ref limiter = QMT_KIT_SPAWN(kit, &limiter_desc, &(struct qmt_spawn){.params = values});

	for (int i = 0; i < 7; i++)
		QMT_KIT_ASK(kit, limiter, limiter_take, );
	QMT_KIT_EXPECT_REPLY(kit, limiter_go, );
	QMT_KIT_EXPECT_REPLY(kit, limiter_go, );
	QMT_KIT_EXPECT_NO_REPLY(kit); /* the burst is over: one each 50 ms */
	for (int i = 0; i < 4; i++) {
		QMT_KIT_ADVANCE(kit, 49);
		QMT_KIT_EXPECT_NO_REPLY(kit);
		QMT_KIT_ADVANCE(kit, 1);
		QMT_KIT_EXPECT_REPLY(kit, limiter_go, );
	}
	QMT_KIT_CHECK(kit, QMT_KIT_EXPECT_FAILURE(kit, QMT_FAIL_LINK_BUSY)->retry_after_ms == 200);
	QMT_KIT_CLOSE(kit);
	puts("2 at once, 4 after 50 ms each, 1 refused");
	return 0;
}
