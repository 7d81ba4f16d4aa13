/* test/sim/sim_gears.h - what sim_gears.c, sim_shop.c and sim_sparks.c share.
 *
 * Threads: one.   Facts are kept outside of all nodes; see sim.h.
 */
#ifndef TEST_SIM_GEARS_H
#define TEST_SIM_GEARS_H

#include "runtime/pool.h"
#include "runtime/stream.h"
#include "test/sim/sim.h"

enum { PLACES = 4, GEARS = SIM_NODES * PLACES };

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

/* ---- sim_gears.c ------------------------------------------------------------------------------------------------- */
struct gear_fact {
	struct sim_node *node;
	uint32_t number, life;
	bool runs;
	bool exclusive;          /* an exclusive ask is open */
	uint32_t urgent_waiting; /* urgent parcels of others that it was sent and has not handled */
	uint32_t subscribed;     /* life of the node in which its subscription was confirmed; 0: not */
	uint64_t last_beat_ms;   /* by the node's clock */
};
extern struct gear_fact sim_gears[GEARS]; /* 4 * node + place */
static inline uint32_t sim_place_of(uint32_t gear)
{
	return gear % PLACES;
}

/* ---- sim_shop.c: a pool, a broker, streams ----------------------------------------------------------------------- */
extern const struct qmt_actor_desc sim_pool_desc, sim_broker_desc;
extern const struct qmt_pool_config sim_pool_config;
void sim_shop_reset(void);
void sim_shop_lost(const struct sim_node *node);
void sim_shop_settled(void);
/* The current actor, a gear: jobs for its node's pool, news for its broker, a stream for itself. */
void sim_give_jobs(struct qmt_ctx *ctx, const struct gear_fact *self, uint32_t count);
void sim_publish(struct qmt_ctx *ctx, const struct gear_fact *self, uint32_t count);
void sim_start_flow(struct qmt_ctx *ctx, const struct gear_fact *self);
/* Handlers and a continuation of gears, whose state begins with a pointer to their fact; sim_on_flow: the gearbox's. */
void sim_subscribed(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg);
void sim_on_news(struct qmt_ctx *ctx, void *state, const void *body);
void sim_on_chunk(struct qmt_ctx *ctx, void *state, const void *body);
void sim_on_flow_end(struct qmt_ctx *ctx, void *state, const void *body);
void sim_on_flow(struct qmt_ctx *ctx, void *state, const void *body);

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
