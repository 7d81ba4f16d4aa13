/* runtime/interval.h - something that happens every so many milliseconds, and what becomes of ticks that were missed.
 *
 * A tick is due at start + period, + 2 periods, …: the beat does not drift. It is missed when the actor comes to it a
 * period late or more (it was busy, muted, or the machine slept).
 * Threads:  the actor that started it; on its turn. `struct qmt_interval` lies in its state and is not moved.
 * Blocks:   never.
 * Ends:     by qmt_interval_stop, with the incarnation, and (qmt_interval_tell) when the target has ended: an interval
 *           keeps nobody alive.
 * Memory:   its own timer needs none to go on. If the system's list of timers has to grow at that moment and cannot,
 *           the incarnation fails.
 */
#ifndef QMT_INTERVAL_H
#define QMT_INTERVAL_H

#include "actor.h"

#ifdef __cplusplus
extern "C" {
#endif

/*   SKIP   one tick, late; the next one at the next beat that lies ahead.
 *   BURST  every missed tick, one right after the other (others have their turn in between), until it is caught up.
 *   DELAY  one tick, late; the beat goes on from there: the next one a whole period later. */
enum qmt_missed { QMT_MISSED_SKIP, QMT_MISSED_BURST, QMT_MISSED_DELAY };

/* tick: 1, 2, … of those that came. */
typedef void qmt_interval_fn(struct qmt_ctx *ctx, void *state, uint64_t tick, void *arg);

struct qmt_interval { /* {0}: none. `ticks` and `missed` may be read, the rest is interval.c's. */
	uint64_t ticks;   /* that came */
	uint64_t missed;  /* SKIP and DELAY: that did not; also those that the target was too full for */
	uint64_t due_ns, period_ns;
	enum qmt_missed policy;
	struct qmt_timer timer;
	qmt_interval_fn *fn;
	void *arg;
	struct qmt_ref target;
	const struct qmt_type *type;
	const void *body;
};

/* Calls fn every period_ms (at least 1) on this actor's turn. One that runs is stopped first; counts begin at 0. fn may
 * stop it, or start it anew. Returns 0; QMT_FAIL_BAD_REQUEST (no period, or more than 100 years; no such policy); <0
 * out of memory, or called from outside. */
QMT_EXPORT QMT_MUST_CHECK int qmt_interval_start(struct qmt_ctx *ctx, struct qmt_interval *interval, uint64_t period_ms,
	enum qmt_missed policy, qmt_interval_fn *fn, void *arg);
/* Tells `to` a message instead; body is borrowed until the interval has ended. */
QMT_EXPORT QMT_MUST_CHECK int qmt_interval_tell(struct qmt_ctx *ctx, struct qmt_interval *interval, uint64_t period_ms,
	enum qmt_missed policy, struct qmt_ref to, const struct qmt_type *type, const void *body);
/* After this it does not tick. One that does not run: nothing happens. */
QMT_EXPORT void qmt_interval_stop(struct qmt_ctx *ctx, struct qmt_interval *interval);
QMT_EXPORT bool qmt_interval_runs(const struct qmt_interval *interval);

#ifdef __cplusplus
}
#endif

#endif
