/* test/sim/sim_faults.c - see sim_faults.h. A link is cut; a node stops, in order or not, and comes back on its own
 * store; a node stands still, so that what is for it comes late; the hub swallows all that links say, longer than links
 * live; a commit fails; a node gets no memory. */
#include "test/sim/sim_faults.h"

#include "test/sim/sim.h"

static struct sim_node *any_node(void)
{
	return &sim.nodes[sim_below(sim.node_count)];
}

static void sim_restart(struct sim_node *node)
{
	if (!node->system) {
		sim_node_start(node);
		return;
	}
	sim_node_stop(node, sim_chance(30));
	if (sim_chance(60)) {
		if (sim_chance(50))
			sim_run(sim_below(3000));
		sim_node_start(node);
	}
}

static bool cut(struct sim_node *node, const struct sim_node *other)
{
	if (!sim_node_cut(node, other))
		return false;
	if (sim_chance(40))
		sim_mill_burst(node, other); /* until a new one is there, or two: then one of them retires */
	return true;
}

void sim_fault(void)
{
	struct sim_node *node = any_node();
	uint32_t what = sim_below(100);

	if (what < 45) {
		for (uint32_t i = 0; i < sim.node_count; i++)
			if (cut(node, &sim.nodes[(node->index + 1 + i) % sim.node_count]))
				return;
	} else if (what < 65) {
		sim_restart(node);
	} else if (what < 80) {
		node->frozen_ms = 1 + sim_below(sim_chance(50) ? 200 : 4000);
		sim_event("%s stands still for %u ms", node->name, (unsigned)node->frozen_ms);
	} else if (what < 84) {
		sim_event("the hub swallows all");
		loop_hub_silence(sim.hub, true);
		sim_run(5000); /* more than dead_ms: no link is left that could miss a frame */
		loop_hub_silence(sim.hub, false);
		sim_event("the hub carries again");
	} else if (what < 92) {
		sim_memory_fault(node);
	} else if (sim.now_ms > 500) {
		sim.commit_faults = 1 + sim_below(3);
	}
}

void sim_heal(void)
{
	sim_event("all is healed");
	sim.commit_faults = 0;
	sim_memory_heal();
	for (uint32_t i = 0; i < sim.node_count; i++) {
		sim.nodes[i].frozen_ms = 0;
		if (!sim.nodes[i].system)
			sim_node_start(&sim.nodes[i]);
	}
}
