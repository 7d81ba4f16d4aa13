/* cmd/node.c - wiring: configuration -> the configs of the modules -> actors.
 *
 * Everything that an actor borrows hangs on struct node and lives until the system is gone. The order of start is
 * the order of need: store, providers, router, node_manager, admission, then links, which let others in. */
#include "cmd/node.h"

#include <errno.h>
#include <unistd.h>

#include "actors/admission/admission.h"
#include "actors/node_manager/node_manager.h"
#include "actors/provider/provider.h"
#include "actors/router/router.h"
#include "actors/session/session.h"
#include "actors/store/store.h"
#include "cmd/config_modules.h"
#include "cmd/home.h"
#include "runtime/base/os.h"
#include "runtime/broker.h"
#include "runtime/names.h"
#include "transports/transports.h"

/* How many limits the store has. */
#define COUNT_LIMIT(name, dflt, min, max, doc) +1
enum { STORE_LIMIT_COUNT = 0 STORE_LIMITS(COUNT_LIMIT) };
#undef COUNT_LIMIT

struct node {
	const struct config *config;
	struct qmt_system *system;
	struct qmt_ctx *ctx; /* of the thread that starts and stops */
	struct transports *transports;
	char peer_id[PEER_ID_TEXT + 1];
	char *home, *store_path, *control_path;
	int store_lock; /* -1: none */

	struct store_config store;
	struct store_params {
		char texts[STORE_LIMIT_COUNT][24];
		struct qmt_param_value values[STORE_LIMIT_COUNT + 1];
	} store_params;
	struct provider_config *providers;
	struct router_agent *agents;
	struct router_config router;
	struct node_agent *node_agents;
	const char **provider_names;
	struct node_manager_config manager;
	struct admission_config admission;
	struct session_limits session_limits;
	struct transports_config links;
	struct transports_peer *peers;
	struct multiaddr listen;
	char (*advertised)[MULTIADDR_TEXT];
	struct qmt_str *advertised_strs;
	uint32_t advertised_count;
	struct qmt_str *join_addrs;
	struct admission_peer *inviters; /* configured peers of known PeerId */
};

static int no_memory(struct qmt_err *err)
{
	return qmt_err_set(err, -ENOMEM, "out of memory");
}

/* ---- configuration of each module ------------------------------------------------------------------------------- */

static int providers_config(struct node *node, struct qmt_err *err)
{
	uint32_t count = node->config->root.providers.count;

	node->providers = calloc(count + 1, sizeof *node->providers);
	node->provider_names = calloc(count + 1, sizeof *node->provider_names);
	if (!node->providers || !node->provider_names)
		return no_memory(err);
	for (uint32_t i = 0; i < count; i++) {
		const struct config_provider *from = &node->config->root.providers.items[i];
		config_provider_fill(from, &node->providers[i]);
		if (provider_config_check(&node->providers[i], err) != 0)
			return qmt_err_prefix(err, "[[providers]] \"%s\"", from->name);
		node->provider_names[i] = from->name;
	}
	return 0;
}

static int agents_config(struct node *node, struct qmt_err *err)
{
	uint32_t count = node->config->agents.count;

	node->agents = calloc(count + 1, sizeof *node->agents);
	node->node_agents = calloc(count + 1, sizeof *node->node_agents);
	if (!node->agents || !node->node_agents)
		return no_memory(err);
	for (uint32_t i = 0; i < count; i++) {
		const struct config_agent *agent = &node->config->agents.items[i];
		node->agents[i] = (struct router_agent){agent->id, agent->provider, agent->model, agent->peer};
		node->node_agents[i] = (struct node_agent){agent->id, agent->cwd};
	}
	node->router = (struct router_config){node->agents, count, node->config->root.mesh.peer_wait_ms};
	config_session_fill(&node->config->root.session, &node->session_limits);
	return session_limits_check(&node->session_limits, err);
}

/* The store takes its limits as parameters of its module, as text. */
static void store_config_fill(struct node *node)
{
	struct store_params *params = &node->store_params;
	size_t i = 0;

	node->store.path = node->store_path;
#define PARAM(limit, dflt, min, max, doc)                                                                \
	params->values[i] =                                                                                  \
		(struct qmt_param_value){#limit, qmt_log_u64(params->texts[i], node->config->root.store.limit)}; \
	i++;
	STORE_LIMITS(PARAM)
#undef PARAM
}

static void session_config_drop(void *config)
{
	session_config_free(config);
}

/* What session/<id> runs as. A session whose agent is no longer configured cannot run, and says so. */
static void *session_config_make(void *node_, const struct store_session *session, struct qmt_err *err)
{
	const struct node *node = node_;

	for (uint32_t i = 0; i < node->config->agents.count; i++) {
		const struct config_agent *agent = &node->config->agents.items[i];
		if (!qmt_str_is(session->agent, agent->id))
			continue;
		return session_config_new(session,
			&(struct session_agent){.system = agent->system,
				.tools = agent->tools.items,
				.parameters = agent->parameters,
				.allow_remote_tools = node->config->root.mesh.allow_remote_tools,
				.limits = node->session_limits},
			err);
	}
	qmt_err_set(err, -ENOENT,
		"agent \"%.*s\" of this session is not in the configuration of node \"%s\" any more: add it, or make "
		"a new session",
		QMT_STR_ARG(session->agent), node->config->node_name);
	return NULL;
}

static struct node_manager_config manager_config(struct node *node, const struct node_options *opt)
{
	const struct config_mesh *mesh = &opt->config->root.mesh;

	return (struct node_manager_config){.peer_id = node->peer_id,
		.node_name = opt->config->node_name,
		.version = QMT_VERSION,
		.home = node->home,
		.config_path = opt->config->path,
		.capabilities = mesh->capabilities.items,
		.providers = node->provider_names,
		.agents = node->node_agents,
		.agent_count = opt->config->agents.count,
		.advertised = node->advertised_strs,
		.advertised_count = node->advertised_count,
		.mesh = mesh->enabled,
		.grants = {mesh->allow_remote_sessions, mesh->allow_remote_tools},
		.max_remote_sessions = mesh->max_remote_sessions,
		.request_timeout_ms = mesh->request_timeout_secs * 1000,
		.node_info_timeout_ms = mesh->node_info_timeout_ms,
		.session_desc = &session_desc,
		.session_config = session_config_make,
		.session_config_free = session_config_drop,
		.session_arg = node};
}

/* What peers are told in place of the listen addresses: each with this node's own PeerId, as those have it. */
static int advertise_config(struct node *node, const struct node_options *opt, struct qmt_err *err)
{
	const struct config_texts *texts = &opt->config->root.mesh.advertise;

	node->advertised = calloc(texts->count + 1, sizeof *node->advertised);
	node->advertised_strs = calloc(texts->count + 1, sizeof *node->advertised_strs);
	if (!node->advertised || !node->advertised_strs)
		return no_memory(err);
	for (uint32_t i = 0; i < texts->count; i++) {
		struct multiaddr addr;
		if (multiaddr_parse(qmt_str(texts->items[i]), &addr, err) != 0)
			return qmt_err_prefix(err, "advertise");
		if (addr.has_peer && peer_id_compare(&addr.peer, &opt->identity->id) != 0)
			return qmt_err_set(err, -EINVAL,
				"[mesh] advertise: %s names another PeerId than this node's, %s: leave /p2p/… out", texts->items[i],
				node->peer_id);
		addr.has_peer = true;
		addr.peer = opt->identity->id;
		multiaddr_text(&addr, node->advertised[i]);
		node->advertised_strs[i] = qmt_str(node->advertised[i]);
	}
	node->advertised_count = texts->count;
	return 0;
}

static int links_config(struct node *node, const struct node_options *opt, struct qmt_err *err)
{
	const struct config_mesh *mesh = &opt->config->root.mesh;
	struct transports_config *links = &node->links;
	int rc;

	*links = (struct transports_config){.identity = opt->identity,
		.node_name = opt->config->node_name,
		.capabilities = mesh->capabilities.items,
		.control_path = node->control_path,
		.grants = {mesh->allow_remote_sessions, mesh->allow_remote_tools},
		.requests_minute = mesh->max_remote_requests_minute};
#define LIMIT(name, dflt, min, max, doc) links->limits.name = mesh->link.name;
#include "transports/limits.def"
#undef LIMIT
	if (transports_limits_check(&links->limits, err) != 0)
		return qmt_err_prefix(err, "[mesh.link]");
	if (!mesh->enabled || !opt->config->lan)
		return 0;
	rc = advertise_config(node, opt, err);
	if (rc != 0)
		return rc;
	if (multiaddr_parse(qmt_str(mesh->lan.listen), &node->listen, err) != 0)
		return qmt_err_prefix(err, "listen");
	links->listen = &node->listen;
	links->listen_count = 1;
	node->peers = calloc(mesh->peers.count + 1, sizeof *node->peers);
	if (!node->peers)
		return no_memory(err);
	for (uint32_t i = 0; i < mesh->peers.count; i++) {
		node->peers[i].name = mesh->peers.items[i].name;
		if (multiaddr_parse(qmt_str(mesh->peers.items[i].addr), &node->peers[i].addr, err) != 0)
			return qmt_err_prefix(err, "peer \"%s\"", mesh->peers.items[i].name);
	}
	links->trust_known = strcmp(mesh->lan.trust, "known") == 0;
	links->peers = node->peers;
	links->peer_count = mesh->peers.count;
	return 0;
}

static int admission_config(struct node *node, const struct node_options *opt, struct qmt_err *err)
{
	const struct config_mesh *mesh = &opt->config->root.mesh;
	uint32_t count = 0;

	node->join_addrs = calloc(mesh->join_addrs.count + 1, sizeof *node->join_addrs);
	node->inviters = calloc(mesh->peers.count + 1, sizeof *node->inviters);
	if (!node->join_addrs || !node->inviters)
		return no_memory(err);
	for (uint32_t i = 0; i < mesh->join_addrs.count; i++)
		node->join_addrs[i] = qmt_str(mesh->join_addrs.items[i]);
	for (uint32_t i = 0; i < node->links.peer_count; i++)
		if (node->peers[i].addr.has_peer)
			node->inviters[count++] =
				(struct admission_peer){.id = node->peers[i].addr.peer, .address = mesh->peers.items[i].addr};
	node->admission = (struct admission_config){.identity = opt->identity,
		.advertised = node->advertised_strs,
		.advertised_count = node->advertised_count,
		.mesh = mesh->enabled,
		.join_addrs = node->join_addrs,
		.join_addr_count = mesh->join_addrs.count,
		.peers = node->inviters,
		.peer_count = count,
		.lifetime_s = mesh->membership_secs};
	return 0;
}

/* ---- start and stop --------------------------------------------------------------------------------------------- */

static int spawn_as(
	struct node *node, const struct qmt_actor_desc *desc, const struct qmt_spawn *how, struct qmt_err *err)
{
	struct qmt_ref ref;
	int rc = qmt_spawn(node->ctx, desc, how, &ref, err);

	if (rc > 0 && err->text[0] == '\0')
		qmt_err_set(err, rc, "%s: %s", how->name, qmt_fail_name(rc));
	else if (rc < 0)
		no_memory(err);
	return rc;
}

static int spawn(
	struct node *node, const struct qmt_actor_desc *desc, const char *name, const void *config, struct qmt_err *err)
{
	return spawn_as(node, desc, &(struct qmt_spawn){.name = name, .config = config, .restart = QMT_PERMANENT}, err);
}

/* Peers find it by the name that it has here. */
static int name_in_mesh(struct node *node, const char *name, struct qmt_err *err)
{
	struct qmt_result result = {0};
	struct qmt_ref names, who;
	int rc = qmt_lookup(node->ctx, "names", &names);

	if (rc == 0)
		rc = qmt_lookup(node->ctx, name, &who);
	if (rc == 0)
		rc = qmt_outside_ask(node->ctx, names, &qmt_names_register_type,
			&(struct qmt_names_register){.name = qmt_str(name), .who = who}, 0, &result);
	if (rc != 0)
		qmt_err_set(err, rc, "%s: no name in the mesh: %s", name, rc > 0 ? qmt_fail_name(rc) : "out of memory");
	return rc;
}

static int spawn_all(struct node *node, struct qmt_err *err)
{
	int rc = spawn_as(node, &store_desc,
		&(struct qmt_spawn){.name = "store",
			.config = &node->store,
			.params = node->store_params.values,
			.restart = QMT_PERMANENT,
			.own_thread = true},
		err);

	/* before the links, which tell it of peers */
	if (rc == 0)
		rc = spawn(node, &qmt_names_desc, "names", NULL, err);
	for (uint32_t i = 0; rc == 0 && i < node->config->root.providers.count; i++) {
		char name[160];
		snprintf(name, sizeof name, "provider/%s", node->providers[i].name);
		rc = spawn(node, provider_desc(node->providers[i].kind), name, &node->providers[i], err);
		/* names are levels of text; a provider with a star in its name goes without */
		if (rc == 0 && qmt_topic_is_valid(qmt_str(name)) && strlen(name) <= QMT_NAMES_TEXT_MAX)
			rc = name_in_mesh(node, name, err);
	}
	if (rc == 0)
		rc = spawn(node, &router_desc, "router", &node->router, err);
	if (rc == 0)
		rc = spawn(node, &node_manager_desc, "node_manager", &node->manager, err);
	if (rc == 0)
		rc = spawn(node, &admission_desc, "admission", &node->admission, err);
	if (rc == 0)
		rc = transports_start(node->ctx, &node->links, &node->transports, err);
	return rc;
}

static void node_free(struct node *node)
{
	if (node->store_lock >= 0)
		close(node->store_lock);
	free(node->home);
	free(node->store_path);
	free(node->control_path);
	free(node->providers);
	free(node->provider_names);
	free(node->agents);
	free(node->node_agents);
	free(node->peers);
	free(node->advertised);
	free(node->advertised_strs);
	free(node->join_addrs);
	free(node->inviters);
	free(node);
}

int node_start(const struct node_options *opt, struct node **ret_node, struct qmt_err *err)
{
	struct node *node = calloc(1, sizeof *node);
	const char *db = opt->config->agents.count ? opt->config->agents.items[0].db : NULL;
	int rc = 0;

	if (!node)
		return no_memory(err);
	node->config = opt->config;
	node->store_lock = -1;
	peer_id_text(&opt->identity->id, node->peer_id);
	node->home = strdup(opt->home);
	node->store_path = db ? strdup(db) : home_file(opt->home, "sessions.db");
	node->control_path = home_socket(opt->home, err);
	if (!node->home || !node->store_path || !node->control_path)
		rc = node->home && node->store_path ? -ENAMETOOLONG : no_memory(err);
	store_config_fill(node);
	if (rc == 0)
		rc = store_check(node->store_path, opt->config->root.store.busy_timeout_ms, err);
	if (rc == 0) {
		node->store_lock = home_lock_database(node->store_path, err);
		rc = node->store_lock < 0 ? node->store_lock : 0;
	}
	if (rc == 0)
		rc = providers_config(node, err);
	if (rc == 0)
		rc = agents_config(node, err);
	if (rc == 0)
		rc = links_config(node, opt, err);
	if (rc == 0)
		rc = admission_config(node, opt, err);
	if (rc != 0) {
		node_free(node);
		return rc;
	}
	node->manager = manager_config(node, opt);
	node->system = qmt_system_start(
		&(struct qmt_system_options){.log = opt->log,
			.root_failed = opt->gave_up,
			.arg = opt->arg,
			.slow_handler_ms = (uint32_t)opt->config->root.runtime.slow_handler_ms,
			.deadlock_ms = (uint32_t)opt->config->root.runtime.deadlock_ms}, err);
	if (!node->system) {
		node_free(node);
		return -1;
	}
	node->ctx = qmt_outside_open(node->system);
	rc = node->ctx ? spawn_all(node, err) : no_memory(err);
	if (rc != 0) {
		struct qmt_err ignored;
		(void)node_stop(node, 5000, &ignored);
		return rc;
	}
	*ret_node = node;
	return 0;
}

void node_join(struct node *node, struct qmt_str token)
{
	struct qmt_ref admission;

	if (qmt_lookup(node->ctx, "admission", &admission) == 0)
		(void)QMT_TELL(node->ctx, admission, admission_mesh_join, .token = token);
}

void node_listening(const struct node *node, struct qmt_buf *out)
{
	struct multiaddr addr;

	for (uint32_t i = 0; transports_listening(node->transports, i, &addr); i++) {
		char text[MULTIADDR_TEXT];
		multiaddr_text(&addr, text);
		qmt_buf_printf(out, "%s%s", i ? "," : "", text);
	}
}

int node_ask_own(struct node *node, const char *actor, const struct qmt_type *type, const void *body,
	struct qmt_result *ret_result, struct qmt_err *err)
{
	enum { TIMEOUT_MS = 60000 }; /* the store may wait for a disk */
	struct qmt_ref ref;
	int rc;

	if (qmt_lookup(node->ctx, actor, &ref) != 0)
		return qmt_err_set(err, -ENOENT, "%s is not running", actor);
	rc = qmt_outside_ask(node->ctx, ref, type, body, TIMEOUT_MS, ret_result);
	if (rc != 0)
		return qmt_err_set(err, rc < 0 ? rc : -EINVAL, "%s%s%.*s", qmt_fail_name(ret_result->fail),
			ret_result->text.len ? ": " : "", QMT_STR_ARG(ret_result->text));
	return 0;
}

const char *node_control_path(const struct node *node)
{
	return node->control_path;
}

/* Lets running turns end in order; whatever comes of it, the tree is stopped next. */
static void drain(struct node *node, uint64_t deadline_ms)
{
	struct qmt_result result;
	struct qmt_ref manager;

	if (node->ctx && deadline_ms && qmt_lookup(node->ctx, "node_manager", &manager) == 0)
		(void)qmt_outside_ask(node->ctx, manager, &node_drain_type, &(struct node_drain){}, deadline_ms, &result);
}

int node_stop(struct node *node, uint64_t deadline_ms, struct qmt_err *err)
{
	uint64_t until_ms = qmt_os_real_now_ms() + deadline_ms, now_ms;
	struct qmt_err late = {0};
	int rc;

	drain(node, deadline_ms - deadline_ms / 4); /* the rest is for the tree */
	now_ms = qmt_os_real_now_ms();
	deadline_ms = until_ms > now_ms ? until_ms - now_ms : 0;
	rc = qmt_system_stop(node->system, deadline_ms, err);

	qmt_outside_close(node->ctx);
	qmt_system_free(node->system);
	transports_free(node->transports, deadline_ms, &late);
	node_free(node);
	return rc;
}
