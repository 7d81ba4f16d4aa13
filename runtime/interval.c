/* runtime/interval.c - see interval.h.
 *
 * Each tick starts the timer of the next one before anything else: the place of the timer that has just fired is free
 * then, and fn may stop or start what it likes.
 */
#include "interval.h"

#include <errno.h>

#define NS_IN_MS UINT64_C(1000000)
#define PERIOD_MAX_MS (UINT64_C(100) * 366 * 24 * 3600 * 1000)

static void fire(struct qmt_ctx *ctx, void *state, void *arg);

static int arm(struct qmt_ctx *ctx, struct qmt_interval *iv, uint64_t now)
{
	uint64_t wait_ns = iv->due_ns > now ? iv->due_ns - now : 0;

	return qmt_timer_start(ctx, (wait_ns + NS_IN_MS - 1) / NS_IN_MS, fire, iv, &iv->timer);
}

/* Sets the time of the tick behind the one that is due now. */
static void plan(struct qmt_interval *iv, uint64_t now)
{
	uint64_t late = (now - iv->due_ns) / iv->period_ns; /* beats that lie behind, besides the one that is due */

	if (iv->policy == QMT_MISSED_BURST)
		late = 0;
	iv->missed += late;
	if (iv->policy == QMT_MISSED_DELAY && late)
		iv->due_ns = now + iv->period_ns;
	else
		iv->due_ns += (late + 1) * iv->period_ns;
}

static void fire(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct qmt_interval *iv = arg;
	uint64_t now = qmt_now_ns(ctx);
	int failed;

	iv->timer = (struct qmt_timer){0};
	if (now >= iv->due_ns)
		plan(iv, now);
	if (arm(ctx, iv, now)) {
		qmt_fail(
			ctx, "an interval of %llu ms cannot go on: out of memory", (unsigned long long)(iv->period_ns / NS_IN_MS));
		return;
	}
	if (iv->fn) {
		iv->fn(ctx, state, ++iv->ticks, iv->arg);
		return;
	}
	failed = qmt_tell(ctx, iv->target, iv->type, iv->body);
	if (failed == QMT_FAIL_NOT_RUNNING)
		qmt_interval_stop(ctx, iv);
	else if (failed)
		iv->missed++;
	else
		iv->ticks++;
}

static int start(struct qmt_ctx *ctx, struct qmt_interval *iv, uint64_t period_ms, enum qmt_missed policy,
	const struct qmt_interval *what)
{
	uint64_t now;
	int failed;

	if (!period_ms || period_ms > PERIOD_MAX_MS || (unsigned)policy > QMT_MISSED_DELAY)
		return QMT_FAIL_BAD_REQUEST;
	qmt_interval_stop(ctx, iv);
	now = qmt_now_ns(ctx);
	*iv = *what;
	iv->policy = policy;
	iv->period_ns = period_ms * NS_IN_MS;
	iv->due_ns = now + iv->period_ns;
	failed = arm(ctx, iv, now);
	if (failed)
		*iv = (struct qmt_interval){0};
	return failed;
}

int qmt_interval_start(struct qmt_ctx *ctx, struct qmt_interval *iv, uint64_t period_ms, enum qmt_missed policy,
	qmt_interval_fn *fn, void *arg)
{
	return start(ctx, iv, period_ms, policy, &(struct qmt_interval){.fn = fn, .arg = arg});
}

int qmt_interval_tell(struct qmt_ctx *ctx, struct qmt_interval *iv, uint64_t period_ms, enum qmt_missed policy,
	struct qmt_ref to, const struct qmt_type *type, const void *body)
{
	return start(ctx, iv, period_ms, policy, &(struct qmt_interval){.target = to, .type = type, .body = body});
}

void qmt_interval_stop(struct qmt_ctx *ctx, struct qmt_interval *iv)
{
	qmt_timer_cancel(ctx, &iv->timer);
}

bool qmt_interval_runs(const struct qmt_interval *iv)
{
	return iv->timer.id != 0;
}
