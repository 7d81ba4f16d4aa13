/* cmd/config_cross.c - what only several values together can get wrong; and what follows from the whole.
 *
 * A rule here looks at values that passed on their own; one that did not has its complaint already and is NULL or zero.
 */
#include <stdarg.h>
#include <sys/stat.h>

#include "actors/provider/script_file.h"
#include "config_modules.h"
#include "config_value.h"
#include "transports/transports.h"

/* At the key, or at the table when the key is not written. */
static QMT_PRINTF(5, 6) void complain(struct config_check *check, const struct config_where *where, const char *path,
	const char *hint, const char *format, ...)
{
	const char *dot = strrchr(path, '.');
	const struct config_node *node = config_node_find(where->node, dot ? dot + 1 : path);
	char reason[QMT_ERR_TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof reason, format, args);
	va_end(args);
	config_complain(
		check->errors, node ? node->line : where->line, node ? node->col : where->col, path, hint, "%s", reason);
}

/* A value as complaints show it: what a variable made of it is nobody's business. */
static struct config_shown written(const struct config_where *where, const char *key, const char *value)
{
	const struct config_node *node = config_node_find(where->node, key);

	return config_show(node && config_has_reference(node->text) ? node->text : qmt_str(value));
}

static void notice(struct config_check *check, const char *text)
{
	struct config_texts *notices = &check->config->notices;
	const char **items = config_arena_get(check->arena, (notices->count + 2) * sizeof *items);

	if (!items) {
		check->failed = true;
		return;
	}
	if (notices->count > 0)
		memcpy(items, notices->items, notices->count * sizeof *items);
	items[notices->count] = text;
	*notices = (struct config_texts){items, notices->count + 1};
}

/* What to say when a name is not found: the nearest, or which there are. names_hint frees. */
struct names {
	struct config_nearest nearest;
	struct qmt_buf known;
};

static void names_add(struct names *names, const struct config_where *where, const char *name)
{
	const struct config_node *node = config_node_find(where->node, "name");

	if (!name || !*name || (node && config_has_reference(node->text)))
		return;
	config_nearest_try(&names->nearest, qmt_str(name));
	if (names->known.len < 200)
		qmt_buf_printf(&names->known, "%s%s", names->known.len > 0 ? ", " : "there is: ", name);
}

static void names_hint(struct names *names, const char *none, char *ret_hint, size_t size)
{
	if (config_nearest_found(&names->nearest))
		snprintf(ret_hint, size, "did you mean \"%.*s\"?", QMT_STR_ARG(names->nearest.found));
	else
		snprintf(ret_hint, size, "%s", names->known.len > 0 ? names->known.data : none);
	qmt_buf_free(&names->known);
}

static const struct config_peer *peer_find(const struct config_mesh *mesh, const char *name)
{
	for (uint32_t i = 0; i < mesh->peers.count; i++)
		if (mesh->peers.items[i].name && strcmp(mesh->peers.items[i].name, name) == 0)
			return &mesh->peers.items[i];
	return NULL;
}

/* ---- mesh -------------------------------------------------------------------------------------------------------- */

static void peers_check(struct config_check *check)
{
	const struct config_mesh *mesh = &check->config->root.mesh;

	for (uint32_t i = 0; i < mesh->peers.count; i++) {
		const struct config_peer *peer = &mesh->peers.items[i];
		const struct config_peer *first = peer->name ? peer_find(mesh, peer->name) : NULL;

		if (first && first != peer)
			complain(check, &peer->where, "mesh.peers.name", "names are unique", "%s is the peer of line %u",
				written(&peer->where, "name", peer->name).text, first->where.line);
		else if (peer->name && mesh->node_name && strcmp(peer->name, mesh->node_name) == 0)
			complain(check, &peer->where, "mesh.peers.name", "call one of them otherwise",
				"%s is this node's own node_name", written(&peer->where, "name", peer->name).text);
	}
	if (mesh->peers.count > 0 && !mesh->enabled)
		notice(check, "mesh.peers: not used, because mesh.enabled is false");
	if (mesh->advertise.count > 0 && !mesh->enabled)
		notice(check, "mesh.advertise: not used, because mesh.enabled is false");
}

static void lan_check(struct config_check *check)
{
	struct config *config = check->config;
	const struct config_mesh *mesh = &config->root.mesh;
	bool several = mesh->lan.where.node || mesh->iroh.count > 0, iroh = false;
	bool discovery =
		config_node_find(mesh->where.node, "discovery") || config_node_find(mesh->lan.where.node, "discovery");

	for (uint32_t i = 0; i < mesh->iroh.count; i++)
		iroh = iroh || mesh->iroh.items[i].enabled;
	config->lan = mesh->enabled && (several ? mesh->lan.enabled : true);
	if (mesh->enabled && !config->lan && !iroh)
		complain(check, mesh->lan.where.node ? &mesh->lan.where : &mesh->where, "mesh.lan.enabled",
			"mesh.lan.enabled = true, or leave [mesh.lan] out", "the mesh is enabled, and none of its transports");
	if (config->lan && !discovery)
		notice(check,
			"mesh.discovery is not set, and mdns is not in this version: it is \"none\", peers are those of "
			"[[mesh.peers]]");
}

/* What hangs together among a module's own limits, that module knows. */
static void link_check(struct config_check *check)
{
	const struct config_link *link = &check->config->root.mesh.link;
	struct transports_limits limits;
	struct qmt_err err = {0};

#define LIMIT(name, dflt, min, max, doc) limits.name = link->name;
#include "transports/limits.def"
#undef LIMIT
	if (link->where.node && check->errors->count == 0 && transports_limits_check(&limits, &err))
		complain(check, &link->where, "mesh.link", NULL, "%s", err.text);
}

/* ---- sessions and their store ------------------------------------------------------------------------------------ */

/* A database has so many pages from its beginning that a lower bound could not hold, or would be none. */
enum { STORE_BYTES_MIN = 262144 };

/* Both messages of this size and the bound stand in the file, or have a default; blame what is written. */
static void message_check(struct config_check *check, const char *key, uint64_t bytes, const char *what)
{
	const struct config_root *root = &check->config->root;
	uint64_t bound = root->store.message_max_bytes;
	bool ours = config_node_find(root->session.where.node, key);
	char path[CONFIG_PATH_TEXT];

	if (bytes <= bound)
		return;
	snprintf(path, sizeof path, "%s%s", ours ? "session." : "store.", ours ? key : "message_max_bytes");
	complain(check, ours ? &root->session.where : &root->store.where, path, "lower it, or raise the other one",
		"%s (%llu bytes by session.%s) would not fit into a message of the store (store.message_max_bytes = %llu)",
		what, (unsigned long long)bytes, key, (unsigned long long)bound);
}

static void session_check(struct config_check *check)
{
	const struct config_session *session = &check->config->root.session;
	const struct config_store *store = &check->config->root.store;
	struct session_limits limits;
	struct qmt_err err = {0};

	config_session_fill(session, &limits);
	if (session_limits_check(&limits, &err) != 0) {
		const char *value = strstr(err.text, " = "); /* "name = value: must …" */
		char path[CONFIG_PATH_TEXT];

		snprintf(path, sizeof path, "session.%.*s", (int)strcspn(err.text, " "), err.text);
		complain(check, &session->where, path, NULL, "%s", value ? value + 3 : err.text);
	}
	message_check(check, "max_prompt_bytes", session->max_prompt_bytes, "a prompt");
	message_check(check, "max_answer_bytes", 2 * session->max_answer_bytes, "an answer with its tool calls");
	if (store->max_bytes > 0 && store->max_bytes < STORE_BYTES_MIN)
		complain(check, &store->where, "store.max_bytes", "0: no bound", "must be 0 or at least %d", STORE_BYTES_MIN);
}

/* ---- providers and agents ---------------------------------------------------------------------------------------- */

/* What the module itself says of it ("base_url: …"), so that nothing is taken here that it refuses at its start. */
static void provider_check(struct config_check *check, const struct config_provider *provider)
{
	struct provider_config config;
	struct qmt_err err = {0};
	char path[CONFIG_PATH_TEXT];
	const char *colon;

	config_provider_fill(provider, &config);
	if (provider_config_check(&config, &err) == 0)
		return;
	colon = strstr(err.text, ": ");
	snprintf(path, sizeof path, "providers%s%.*s", colon ? "." : "", colon ? (int)(colon - err.text) : 0, err.text);
	complain(check, &provider->where, path, NULL, "%s", colon ? colon + 2 : err.text);
}

/* A key that this kind must have, and that has no value. errors: complaints before this provider was looked at. */
static void provider_needs(struct config_check *check, const struct config_provider *provider, const char *path,
	const char *example, uint32_t errors)
{
	if (!config_node_find(provider->where.node, strrchr(path, '.') + 1))
		complain(check, &provider->where, path, example, "missing: kind \"%s\" needs it", provider->kind);
	else if (errors == 0) /* else it is perhaps what that error is about */
		complain(check, &provider->where, path, example, "must not be empty");
}

struct script_at {
	struct config_check *check;
	const struct config_provider *provider;
};

static void script_complaint(void *arg, uint32_t line, const char *what, const char *hint)
{
	struct script_at *at = arg;
	const char *file = at->provider->script;

	if (line > 0)
		complain(at->check, &at->provider->where, "providers.script", hint, "%s:%u: %s", file, line, what);
	else
		complain(at->check, &at->provider->where, "providers.script", hint, "%s: %s", file, what);
}

/* The provider reads the file itself; here it is only looked at, so that all that is wrong shows before the start. */
static void script_check(struct config_check *check, const struct config_provider *provider, uint32_t errors)
{
	struct script_limits limits = {provider->script_limit_bytes, provider->max_turns, provider->response_limit_bytes};
	struct script *script = NULL;

	if (!*provider->script)
		provider_needs(check, provider, "providers.script", "for example turns.script", errors);
	else if (script_load(provider->script, &limits, script_complaint, &(struct script_at){check, provider}, &script) <
		0)
		check->failed = true;
	script_free(script);
}

static void providers_check(struct config_check *check)
{
	const struct config_root *root = &check->config->root;

	for (uint32_t i = 0; i < root->providers.count; i++) {
		const struct config_provider *provider = &root->providers.items[i];
		const char *name = provider->name, *kind = provider->kind;
		uint32_t errors = check->errors->count;

		for (uint32_t j = 0; j < i; j++)
			if (*name && strcmp(name, root->providers.items[j].name) == 0) {
				complain(check, &provider->where, "providers.name", "names are unique", "%s is the provider of line %u",
					written(&provider->where, "name", name).text, root->providers.items[j].where.line);
				break;
			}
		if (strcmp(kind, "openai") == 0 && *provider->base_url)
			provider_check(check, provider);
		else if (strcmp(kind, "openai") == 0)
			provider_needs(check, provider, "providers.base_url", "for example http://127.0.0.1:8080/v1", errors);
		else if (strcmp(kind, "script") == 0)
			script_check(check, provider, errors);
	}
}

static void agent_provider_check(struct config_check *check, const struct config_agent *agent)
{
	const struct config_root *root = &check->config->root;
	struct names names = {.nearest = {.word = qmt_str(agent->provider), .best = ~0u}};
	char hint[512];

	if (!agent->provider || agent->peer)
		return;
	for (uint32_t i = 0; i < root->providers.count; i++)
		if (strcmp(root->providers.items[i].name, agent->provider) == 0)
			return;
	for (uint32_t i = 0; i < root->providers.count; i++)
		names_add(&names, &root->providers.items[i].where, root->providers.items[i].name);
	names_hint(&names, "declare it in [[providers]], or say with peer = \"…\" which peer has it", hint, sizeof hint);
	complain(check, &agent->where, "agent.provider", hint, "no provider %s here",
		written(&agent->where, "provider", agent->provider).text);
}

static void agent_peer_check(struct config_check *check, const struct config_agent *agent)
{
	const struct config_mesh *mesh = &check->config->root.mesh;
	struct names names = {.nearest = {.word = qmt_str(agent->peer), .best = ~0u}};
	char hint[512];

	if (!agent->peer)
		return;
	if (!peer_find(mesh, agent->peer)) {
		for (uint32_t i = 0; i < mesh->peers.count; i++)
			names_add(&names, &mesh->peers.items[i].where, mesh->peers.items[i].name);
		names_hint(&names, "declare it in [[mesh.peers]]", hint, sizeof hint);
		complain(check, &agent->where, "agent.peer", hint, "no peer %s in [[mesh.peers]]",
			written(&agent->where, "peer", agent->peer).text);
	} else if (!mesh->enabled) {
		complain(
			check, &agent->where, "agent.peer", "mesh.enabled = true", "a peer is of no use while the mesh is off");
	}
}

static void agent_check(struct config_check *check)
{
	const struct config_agent *agent = &check->config->root.agent;
	struct stat st;

	if (!agent->where.node)
		return;
	check->config->agents.items = agent;
	check->config->agents.count = 1;
	agent_provider_check(check, agent);
	agent_peer_check(check, agent);
	if (agent->cwd && (stat(agent->cwd, &st) < 0 || !S_ISDIR(st.st_mode)))
		complain(check, &agent->where, "agent.cwd", "make it, or name another", "no such folder: %s",
			written(&agent->where, "cwd", agent->cwd).text);
}

void config_cross_check(struct config_check *check)
{
	lan_check(check);
	peers_check(check);
	providers_check(check);
	agent_check(check);
	link_check(check);
	session_check(check);
}
