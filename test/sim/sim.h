/* test/sim/sim.h - whole nodes in seeded runs: a random workload, random faults, invariants after each step.
 *
 * A seed makes 2 to 4 nodes on one in-memory hub (sim_node.c: store, providers, router, node_manager, sessions, links),
 * on each a client of its node_manager (sim_client.c) and a mill of actors that do what the runtime promises
 * (sim_mill.c: telling, asking, timers, monitors; sim_gears.c, sim_shop.c, sim_sparks.c: the rest), and the faults
 * among them (sim_faults.c). What should be is kept outside of all systems, in plain
 * memory: everything runs on one thread.
 * Threads: one.   Blocks: on the disk (stores are files: a node comes back on its own).
 * Order:   sim_node_start .. sim_node_stop, as often as wished. Only the seed decides: no clock, no address.
 * Failure: sim_violation prints seed, invariant, the last SIM_SHOWN events and the command that repeats it, and ends
 *          the process.
 */
#ifndef TEST_SIM_H
#define TEST_SIM_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actors/node_manager/node_manager.h"
#include "actors/provider/provider.h"
#include "actors/router/router.h"
#include "actors/session/session.h"
#include "actors/store/store.h"
#include "proto/identity.h"
#include "runtime/system.h"
#include "transports/loop.h"
#include "transports/transports.h"

enum { SIM_NODES = 4, SIM_SHOWN = 50, SIM_EVENT_TEXT = 200, SIM_PATH = 256 };

struct sim_node {
	unsigned index;
	char name[8], id[PEER_ID_TEXT + 1], home[SIM_PATH], db[SIM_PATH + 16], work[SIM_PATH + 16];
	/* what actors borrow */
	struct identity identity;
	struct multiaddr listen;
	struct transports_peer peers[SIM_NODES];
	struct transports_config links;
	struct store_config store;
	struct provider_config provider;
	struct router_agent agents[2];
	struct router_config router;
	struct node_agent node_agents[2];
	struct node_manager_config manager;
	struct session_limits limits;
	/* running */
	struct qmt_system *system; /* NULL: stopped */
	struct qmt_ctx *ctx;
	struct transports *transports;
	struct qmt_ref client, mill, gearbox;
	uint32_t life;      /* how often it was started */
	uint64_t frozen_ms; /* stands still for so long: what is for it comes late */
	bool stops;         /* is being stopped */
	uint32_t mill_life, gearbox_life, nest_life; /* likewise, in this life of the node */
	bool gave_up;       /* for that: it is to be started anew */
};

struct sim {
	uint64_t seed, random, hash, now_ms;
	uint32_t node_count;
	struct sim_node nodes[SIM_NODES];
	struct loop_hub *hub;
	char folder[SIM_PATH];
	bool verbose, ending;   /* ending: no more faults */
	uint32_t commit_faults; /* so many of the next commits fail */
	bool was_short;         /* use sim_memory_was_short */
	char events[SIM_SHOWN][SIM_EVENT_TEXT];
	uint64_t event_count;
};
extern struct sim sim;

/* ---- chance and record (sim.c) ----------------------------------------------------------------------------------- */
uint64_t sim_random(void);
uint32_t sim_below(uint32_t n);
bool sim_chance(uint32_t percent);
/* Part of the trace. */
void sim_event(const char *format, ...) QMT_PRINTF(1, 2);
_Noreturn void sim_violation(const char *invariant, const char *format, ...) QMT_PRINTF(2, 3);
/* All nodes go on together. */
void sim_run(uint64_t ms);

/* ---- nodes (sim_node.c) ------------------------------------------------------------------------------------------ */
void sim_node_init(struct sim_node *node, unsigned index);
void sim_node_start(struct sim_node *node);
/* In order (drained), or with whatever is under way lost. Invariant: no actor is left. */
void sim_node_stop(struct sim_node *node, bool drained);
/* Ends the connection that `node` has with the other one, if any. */
bool sim_node_cut(struct sim_node *node, const struct sim_node *other);

/* ---- memory that fails (sim_memory.c) ---------------------------------------------------------------------------- */
bool sim_memory_init(void);
/* In this run, until now: what is lost for that is nobody's fault. */
bool sim_memory_was_short(void);
void sim_memory_fault(struct sim_node *node); /* an allocation to come, or some */
void sim_memory_heal(void);
/* Around all that the node does. */
void sim_memory_enter(const struct sim_node *node);
void sim_memory_leave(struct sim_node *node);

/* ---- asks: each is answered or failed exactly once (sim_asks.c) -------------------------------------------------- */
struct sim_ask;
/* owner: who asks, life: its incarnation. NULL: too many at once. */
struct sim_ask *sim_ask_open(
	struct sim_node *node, uint32_t owner, uint32_t life, uint64_t timeout_ms, uint32_t subject);
/* In the continuation; gives the subject back. */
uint32_t sim_ask_answered(struct sim_ask *ask, const char *what);
void sim_ask_not_sent(struct sim_ask *ask);
/* Its owner's incarnation has ended: nothing may come. owner UINT32_MAX: all of the node. */
void sim_asks_abandon(const struct sim_node *node, uint32_t owner);
void sim_asks_check(void);
void sim_asks_reset(void);

/* ---- sessions (sim_client.c) ------------------------------------------------------------------------------------- */
extern const struct qmt_actor_desc sim_client_desc; /* config: struct sim_node */
void sim_sessions_reset(void);
void sim_sessions_step(void);                        /* something by chance */
void sim_sessions_lost(const struct sim_node *node); /* it stops: its clients are gone */
void sim_sessions_settle(void);                      /* everything is healed: all that waits must come to its end */
void sim_sessions_check(void);                       /* the histories, at the end */

/* ---- the runtime's promises (sim_mill.c) ------------------------------------------------------------------------- */
extern const struct qmt_actor_desc sim_mill_desc; /* config: struct sim_node */
void sim_mill_reset(void);
void sim_mill_step(void);
void sim_mill_burst(const struct sim_node *a, const struct sim_node *b);
void sim_mill_lost(const struct sim_node *node);
void sim_mill_check(void);  /* after each step */
void sim_mill_settle(void); /* when all is quiet */

/* ---- ways to send, ready-made parts, links (sim_gears.c …) ----------------------------------------------------- */
extern const struct qmt_actor_desc sim_gearbox_desc; /* config: struct sim_node */
void sim_gears_reset(void);
void sim_gears_step(void);
void sim_gears_lost(const struct sim_node *node);
void sim_gears_check(void);  /* after each step */
void sim_gears_settle(void); /* when all is quiet */

#endif
