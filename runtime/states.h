/* runtime/states.h - state machines as tables: which states there are, which moves are allowed, what always holds.
 *
 *     //   OFF --press--> ON --press--> OFF,   ON --heat--> BROKEN       (the diagram stands where the list stands)
 *     #define LAMP_STATES(S, B)  S(LAMP, OFF, B(LAMP, ON))                         \
 *                                S(LAMP, ON, B(LAMP, OFF) | B(LAMP, BROKEN))       \
 *                                S(LAMP, BROKEN, 0)
 *     QMT_DECLARE_STATES(LAMP, lamp, LAMP_STATES)      // enum lamp_state {LAMP_OFF, …}, LAMP_STATE_COUNT, lamp_states
 *     static const char *lamp_check(const void *lamp, uint32_t state);       // NULL, or what does not hold
 *     QMT_DEFINE_STATES(LAMP, lamp, LAMP_STATES, lamp_check)
 *     qmt_state_move(ctx, &lamp_states, &lamp->state, LAMP_ON, lamp);
 *
 * A move that is not in the table, and an invariant that does not hold after one, are bugs of the program: the
 * incarnation fails, and the reason names the machine, both states and what is wrong, as in
 * "lamp: OFF -> BROKEN: no such move; from OFF: ON". Outside of an actor (ctx NULL) the program ends with that text.
 * Threads, blocks: a value of its owner; never.   Limit: 64 states.
 */
#ifndef QMT_STATES_H
#define QMT_STATES_H

#include "actor.h"

#ifdef __cplusplus
extern "C" {
#endif

struct qmt_state_row {
	const char *name;
	uint64_t next; /* bit i: state i may follow */
};

/* What must hold of the object in this state: NULL, or the sentence that does not hold. No effects. */
typedef const char *qmt_state_check(const void *object, uint32_t state);

struct qmt_states {
	const char *name;
	const struct qmt_state_row *rows;
	uint32_t count;
	qmt_state_check *check; /* may be NULL */
};

#define QMT_STATE_BIT(PREFIX, state) (UINT64_C(1) << PREFIX##_##state)
#define QMT__STATE_NAME(PREFIX, state, next) PREFIX##_##state,
#define QMT__STATE_ROW(PREFIX, state, next) [PREFIX##_##state] = {#state, next},

#define QMT_DECLARE_STATES(PREFIX, tag, LIST)                                                                          \
	enum tag##_state{LIST(QMT__STATE_NAME, QMT_STATE_BIT) PREFIX##_STATE_COUNT};                                       \
	extern const struct qmt_states tag##_states;
#define QMT_DEFINE_STATES(PREFIX, tag, LIST, check)                                                                    \
	_Static_assert(PREFIX##_STATE_COUNT <= 64, "a state is a bit of 64");                                              \
	static const struct qmt_state_row tag##_state_rows[] = {LIST(QMT__STATE_ROW, QMT_STATE_BIT)};                      \
	const struct qmt_states tag##_states = {#tag, tag##_state_rows, PREFIX##_STATE_COUNT, check};

/* Moves *state to `to` and checks the invariant of it. False: it was wrong; qmt_fail was called, and *state is as
 * before when there is no such move. */
QMT_EXPORT bool qmt_state_move(
	struct qmt_ctx *ctx, const struct qmt_states *states, uint32_t *state, uint32_t to, const void *object);
QMT_EXPORT const char *qmt_state_name(const struct qmt_states *states, uint32_t state); /* "?": none of these */

#ifdef __cplusplus
}
#endif

#endif
