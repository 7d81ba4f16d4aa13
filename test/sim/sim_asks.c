/* test/sim/sim_asks.c - every ask is answered or failed exactly once, in its time, and only to who asked. */
#include "test/sim/sim.h"

enum { ASKS = 4096, LATE_MS = 3000 };

struct sim_ask {
	enum { ASK_FREE, ASK_OPEN, ASK_DONE, ASK_ABANDONED } state;
	struct sim_node *node;
	uint32_t node_life, owner, owner_life, subject;
	uint64_t due_ms; /* by the node's clock */
};

static struct sim_ask asks[ASKS];
static uint32_t used;

void sim_asks_reset(void)
{
	memset(asks, 0, sizeof asks);
	used = 0;
}

/* Records are not used again within a run, so that a second answer finds its own. */
struct sim_ask *sim_ask_open(
	struct sim_node *node, uint32_t owner, uint32_t life, uint64_t timeout_ms, uint32_t subject)
{
	struct sim_ask *ask = used < ASKS ? &asks[used++] : NULL;

	if (ask)
		*ask = (struct sim_ask){.state = ASK_OPEN,
			.node = node,
			.node_life = node->life,
			.owner = owner,
			.owner_life = life,
			.subject = subject,
			.due_ms = qmt_now_ms(node->ctx) + timeout_ms + LATE_MS};
	return ask;
}

uint32_t sim_ask_answered(struct sim_ask *ask, const char *what)
{
	if (ask->state == ASK_DONE)
		sim_violation("an ask is answered once", "ask %u (%s) of %u on %s came back a second time",
			(unsigned)(ask - asks), what, ask->owner, ask->node->name);
	if (ask->state != ASK_OPEN)
		sim_violation("an answer is for the incarnation that asked", "ask %u (%s) of %u on %s", (unsigned)(ask - asks),
			what, ask->owner, ask->node->name);
	ask->state = ASK_DONE;
	return ask->subject;
}

void sim_ask_not_sent(struct sim_ask *ask)
{
	ask->state = ASK_FREE;
}

void sim_asks_abandon(const struct sim_node *node, uint32_t owner)
{
	for (uint32_t i = 0; i < used; i++)
		if (asks[i].state == ASK_OPEN && asks[i].node == node && (owner == UINT32_MAX || owner == asks[i].owner))
			asks[i].state = ASK_ABANDONED;
}

void sim_asks_check(void)
{
	for (uint32_t i = 0; i < used; i++)
		if (asks[i].state == ASK_OPEN && asks[i].node->system && qmt_now_ms(asks[i].node->ctx) > asks[i].due_ms)
			sim_violation("an ask is answered or failed in its time", "ask %u (about %u) of %u on %s is still open", i,
				asks[i].subject, asks[i].owner, asks[i].node->name);
}
