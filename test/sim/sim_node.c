/* test/sim/sim_node.c - a whole node as cmd/node.c wires one, but seeded, on a hub in memory, provider builtin. */
#include "test/sim/sim.h"

#include <sodium.h>

#include "runtime/base/os.h"
#include "transports/wire.h"

static void fixed_identity(uint8_t fill, struct identity *ret_identity)
{
	uint8_t seed[32], file[IDENTITY_FILE_BYTES], public_key[32];

	memset(seed, fill, sizeof seed);
	if (crypto_sign_seed_keypair(public_key, file, seed) != 0 ||
		identity_parse((struct qmt_bytes){file, sizeof file}, ret_identity, NULL) != 0)
		abort();
}

static const char *const tools[] = {"read_tool", "ls", "write_file", NULL};

static void *make_session(void *node_, const struct store_session *session, struct qmt_err *err)
{
	const struct sim_node *node = node_;

	return session_config_new(
		session, &(struct session_agent){.tools = tools, .allow_remote_tools = true, .limits = node->limits}, err);
}

static void drop_session(void *config)
{
	session_config_free(config);
}

void sim_node_init(struct sim_node *node, unsigned index)
{
	static const char *const names[SIM_NODES] = {"n0", "n1", "n2", "n3"};
	static const char *const providers[] = {"llm", NULL};
	struct qmt_err err = {0};

	*node = (struct sim_node){.index = index};
	(void)snprintf(node->name, sizeof node->name, "%s", names[index]);
	(void)snprintf(node->home, sizeof node->home, "%.200s/%s", sim.folder, node->name);
	(void)snprintf(node->db, sizeof node->db, "%s/db", node->home);
	(void)snprintf(node->work, sizeof node->work, "%s/work", node->home);
	if (qmt_os_make_dirs(node->work, &err) != 0)
		sim_violation("set-up", "%s", err.text);
	fixed_identity((uint8_t)(index + 1), &node->identity);
	peer_id_text(&node->identity.id, node->id);
	node->listen = (struct multiaddr){.transport = MULTIADDR_TCP, .port = (uint16_t)(index + 1), .host = "127.0.0.1"};
	transports_limits_default(&node->links.limits);
	node->links.limits.redial_max_ms = 2000;
	node->links.limits.suspect_ms = 500;
	node->links.limits.dead_ms = 1500;
	node->links.limits.patience_ms = sim_chance(50) ? 100 : 0;
	node->links.identity = &node->identity;
	node->links.node_name = node->name;
	node->links.listen = &node->listen;
	node->links.listen_count = 1;
	node->links.loop = sim.hub;
	node->links.peers = node->peers;
	node->links.grants = (struct authority_grants){true, true};
	for (unsigned other = 0; other < sim.node_count; other++) {
		struct transports_peer *peer = &node->peers[node->links.peer_count];
		struct identity identity;

		/* The one with the smaller number dials; some pairs both do. */
		if (other == index || (other < index && !sim_chance(40)))
			continue;
		fixed_identity((uint8_t)(other + 1), &identity);
		*peer = (struct transports_peer){.name = names[other],
			.addr = {.transport = MULTIADDR_TCP, .port = (uint16_t)(other + 1), .has_peer = true, .peer = identity.id}};
		node->links.peer_count++;
	}
	node->store.path = node->db;
	provider_config_init(&node->provider, "llm", "builtin");
	node->provider.chunk_delay_ms = sim_chance(70) ? sim_below(60) : 0;
	node->agents[0] = (struct router_agent){"near", "llm", NULL, NULL};
	node->agents[1] = (struct router_agent){"far", "llm", NULL, names[(index + 1) % sim.node_count]};
	node->router = (struct router_config){node->agents, 2, 2000};
	node->node_agents[0] = (struct node_agent){"near", node->work};
	node->node_agents[1] = (struct node_agent){"far", node->work};
	session_limits_init(&node->limits);
	node->limits.first_chunk_timeout_ms = 20000;
	node->limits.idle_timeout_ms = 10000;
	node->limits.checkpoint_ms = 200;
	node->limits.store_timeout_ms = 5000;
	node->limits.idle_minutes = sim_chance(50) ? 1 : 0;
	node->manager = (struct node_manager_config){.peer_id = node->id,
		.node_name = node->name,
		.version = "sim",
		.home = node->home,
		.providers = providers,
		.agents = node->node_agents,
		.agent_count = 2,
		.mesh = true,
		.grants = {true, true},
		.request_timeout_ms = 5000,
		.node_info_timeout_ms = 2000,
		.session_desc = &session_desc,
		.session_config = make_session,
		.session_config_free = drop_session,
		.session_arg = node};
}

static struct qmt_ref spawn(
	struct sim_node *node, const struct qmt_actor_desc *desc, const char *name, const void *config, bool own_thread)
{
	struct qmt_err err = {0};
	struct qmt_ref ref;
	int rc = qmt_spawn(node->ctx, desc,
		&(struct qmt_spawn){.name = name, .config = config, .restart = QMT_PERMANENT, .own_thread = own_thread}, &ref,
		&err);

	if (rc)
		sim_violation("a node starts", "%s: %s: %s", node->name, name, err.text[0] ? err.text : qmt_fail_name(rc));
	return ref;
}

static void gave_up(void *node_)
{
	struct sim_node *node = node_;

	node->gave_up = sim_memory_was_short();
	if (node->gave_up)
		sim_event("%s gives up for want of memory", node->name);
	else
		sim_violation("no supervisor gives up", "the root of %s", node->name);
}

/* Each node names all others, as `qmt peers allow` does: they have sessions on each other. */
static void name_all(struct sim_node *node, struct qmt_ref store)
{
	for (unsigned other = 0; other < sim.node_count; other++) {
		struct identity identity;
		char id[PEER_ID_TEXT + 1];

		fixed_identity((uint8_t)(other + 1), &identity);
		peer_id_text(&identity.id, id);
		if (other != node->index)
			(void)qmt_tell(node->ctx, store, &store_policy_put_type,
				&(struct store_policy_put){.peer_id = qmt_str(id), .policy = qmt_str("allow")});
	}
}

void sim_node_start(struct sim_node *node)
{
	struct qmt_system_options options = {.seeded = true,
		.seed = sim.seed * 1000003 + node->index * 1009 + node->life,
		.start_wall_ms = UINT64_C(1700000000000) + sim.now_ms,
		.root_failed = gave_up,
		.arg = node};
	struct qmt_err err = {0};

	node->life++;
	node->mill_life = node->gearbox_life = node->nest_life = 0;
	node->frozen_ms = 0;
	node->stops = node->gave_up = false;
	sim.commit_faults = 0;
	sim_event("%s starts, life %u", node->name, node->life);
	node->system = qmt_system_start(&options, &err);
	if (!node->system)
		sim_violation("a node starts", "%s: %s", node->name, err.text);
	node->ctx = qmt_outside_open(node->system);
	name_all(node, spawn(node, &store_desc, "store", &node->store, true));
	(void)spawn(node, provider_desc("builtin"), "provider/llm", &node->provider, false);
	(void)spawn(node, &router_desc, "router", &node->router, false);
	(void)spawn(node, &node_manager_desc, "node_manager", &node->manager, false);
	if (transports_start(node->ctx, &node->links, &node->transports, &err) != 0)
		sim_violation("a node starts", "%s: %s", node->name, err.text);
	node->client = spawn(node, &sim_client_desc, "client", node, false);
	node->mill = spawn(node, &sim_mill_desc, "mill", node, false);
	node->gearbox = spawn(node, &sim_gearbox_desc, "gearbox", node, false);
}

void sim_node_stop(struct sim_node *node, bool drained)
{
	struct qmt_err err = {0};
	struct qmt_result result;
	struct qmt_ref manager;

	sim_event("%s stops%s", node->name, drained ? ", drained" : "");
	node->stops = true;
	sim_memory_heal();
	if (drained && qmt_lookup(node->ctx, "node_manager", &manager) == 0)
		(void)qmt_outside_ask(node->ctx, manager, &node_drain_type, &(struct node_drain){}, 3000, &result);
	if (qmt_system_stop(node->system, 10000, &err) != 0)
		sim_violation("no actor is left over after a stop", "%s: %s", node->name, err.text);
	sim_asks_abandon(node, UINT32_MAX);
	sim_sessions_lost(node);
	sim_mill_lost(node);
	node->ctx = qmt_outside_close(node->ctx);
	sim.hash = sim.hash * 31 + qmt_system_trace_hash(node->system);
	node->system = qmt_system_free(node->system);
	sim_gears_lost(node);
	err = (struct qmt_err){0};
	node->transports = transports_free(node->transports, 1000, &err);
	if (err.text[0])
		sim_violation("no socket is left over after a stop", "%s: %s", node->name, err.text);
}

bool sim_node_cut(struct sim_node *node, const struct sim_node *other)
{
	char name[80];
	struct qmt_ref link;

	(void)snprintf(name, sizeof name, "peer/%s", other->id);
	if (!node->system || qmt_lookup(node->ctx, name, &link) != 0)
		return false;
	sim_event("the link %s-%s is cut", node->name, other->name);
	return QMT_TELL(node->ctx, link, wire_gone, .why = qmt_str("cut by the simulation")) == 0;
}
