/* test/sim/sim_gears.h - what sim_gears.c and sim_sparks.c share.
 *
 * Threads: one.   Facts are kept outside of all nodes; see sim.h.
 */
#ifndef TEST_SIM_GEARS_H
#define TEST_SIM_GEARS_H

#include "test/sim/sim.h"

/* owners of asks, see sim_asks.c: wheels are 1 to 16 */
enum { SIM_OWNER_GEAR = 100 };

#define GEAR_WORK(F, T)                   \
	F(T, U32, what, 1, "enum work.")      \
	F(T, U32, target, 2, "Place, spark.") \
	F(T, U32, count, 3, "How often.")
#define GEAR_NOTE(F, T)                         \
	F(T, U32, parcel, 1, "Its number.")         \
	F(T, STR, text, 2, "The same in all.")      \
	F(T, BOOL, fail, 3, "Fail in the handler.") \
	F(T, BOOL, for_all, 4, "The number is that of the place 0.")
#define GEAR_QUESTION(F, T)                  \
	F(T, U32, late_ms, 1, "When to answer.") \
	F(T, U64, n, 2, "To be returned.")
#define GEAR_JOB(F, T)             \
	F(T, U32, n, 1, "Its number.") \
	F(T, BOOL, fail, 2, "Fail in the handler.")
#define GEAR_NEWS(F, T)                 \
	F(T, STR, topic, 1, "Of a broker.") \
	F(T, U32, n, 2, "Its number.")
#define GEAR_NUMBER(F, T) F(T, U32, n, 1, "Its number.")
#define GEAR_SAID(F, T) F(T, U64, n, 1, "As asked.")
#define GEAR_MESSAGES(M)                                                  \
	M(gear, work, GEAR_WORK, "local", "From the simulation.")             \
	M(gear, note, GEAR_NOTE, "local", "A parcel.")                        \
	M(gear, question, GEAR_QUESTION, "local", "Answered.", said)          \
	M(gear, job, GEAR_JOB, "local", "Of a pool.", said)                   \
	M(gear, news, GEAR_NEWS, "local", "Of a broker.")                     \
	M(gear, flow, GEAR_NUMBER, "local", "To the gearbox: a stream.")      \
	M(gear, tie, GEAR_NUMBER, "local", "To a spark: it has been linked.") \
	M(gear, said, GEAR_SAID, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(gear, GEAR_MESSAGES)

/* ---- sim_sparks.c ------------------------------------------------------------------------------------------------ */
extern const struct qmt_actor_desc sim_nest_desc; /* config: struct sim_node */
void sim_sparks_reset(void);
void sim_sparks_step(void);
/* The current actor waits for the start or the end of one of its node's sparks. */
void sim_spark_await(struct qmt_ctx *ctx, struct sim_node *node, uint32_t owner, uint32_t life);
void sim_sparks_lost(const struct sim_node *node);
void sim_sparks_settle(void); /* all are killed */
void sim_sparks_check(void);

#endif
