/* transports/transports.c - wiring of a node's connections: context, listeners, the control socket, the actor "peers".
 *
 * Sockets are bound here, on the caller's thread, so that an address that is taken is an error of the start; then
 * actors own them. The control socket's listener is a child of the root, not of "peers": a node whose mesh is in
 * trouble can still be asked what is wrong.
 */
#include "transports/transports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include "transports/loop.h"
#include "transports/peers.h"
#include "transports/zmq_listener.h"

/* ---- limits ------------------------------------------------------------------------------------------------------ */

const struct transports_limit_row transports_limit_rows[] = {
#define LIMIT(name, dflt, min, max, doc) {#name, doc, dflt, min, max, offsetof(struct transports_limits, name)},
#include "transports/limits.def"
#undef LIMIT
	{NULL, NULL, 0, 0, 0, 0},
};

static uint64_t *limit_at(struct transports_limits *limits, const struct transports_limit_row *row)
{
	return (uint64_t *)(void *)((char *)limits + row->offset);
}

void transports_limits_default(struct transports_limits *ret_limits)
{
	for (const struct transports_limit_row *row = transports_limit_rows; row->name; row++)
		*limit_at(ret_limits, row) = row->dflt;
}

int transports_limits_check(const struct transports_limits *limits, struct qmt_err *err)
{
	struct transports_limits copy = *limits;

	for (const struct transports_limit_row *row = transports_limit_rows; row->name; row++) {
		uint64_t value = *limit_at(&copy, row);

		if (value < row->min || value > row->max)
			return qmt_err_set(err, -EINVAL, "%s = %llu: not between %llu and %llu", row->name,
				(unsigned long long)value, (unsigned long long)row->min, (unsigned long long)row->max);
	}
	if (limits->dead_ms <= limits->suspect_ms)
		return qmt_err_set(err, -EINVAL, "dead_ms = %llu: must be more than suspect_ms = %llu",
			(unsigned long long)limits->dead_ms, (unsigned long long)limits->suspect_ms);
	if (limits->piece_bytes > limits->frame_bytes / 2)
		return qmt_err_set(err, -EINVAL, "piece_bytes = %llu: at most half of frame_bytes = %llu",
			(unsigned long long)limits->piece_bytes, (unsigned long long)limits->frame_bytes);
	if (limits->hello_frame_bytes > limits->frame_bytes)
		return qmt_err_set(err, -EINVAL, "hello_frame_bytes = %llu: more than frame_bytes = %llu",
			(unsigned long long)limits->hello_frame_bytes, (unsigned long long)limits->frame_bytes);
	if (limits->body_bytes > limits->reassembly_bytes)
		return qmt_err_set(err, -EINVAL, "body_bytes = %llu: more than reassembly_bytes = %llu",
			(unsigned long long)limits->body_bytes, (unsigned long long)limits->reassembly_bytes);
	if (limits->reassembly_bytes > limits->reassembly_node_bytes)
		return qmt_err_set(err, -EINVAL, "reassembly_bytes = %llu: more than reassembly_node_bytes = %llu",
			(unsigned long long)limits->reassembly_bytes, (unsigned long long)limits->reassembly_node_bytes);
	if (limits->redial_max_ms < limits->redial_min_ms)
		return qmt_err_set(err, -EINVAL, "redial_max_ms = %llu: less than redial_min_ms = %llu",
			(unsigned long long)limits->redial_max_ms, (unsigned long long)limits->redial_min_ms);
	return 0;
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

static const char *const scopes[] = {"lan:default"};

struct transports {
	const struct transports_config *config;
	struct link_node node;
	struct qmt_str *capabilities;
	struct zcontext *context;
	struct zlistener_config *listeners;
	struct zlistener_config control;
	struct multiaddr *listening;
	struct peers_config peers;
	atomic_uint_fast64_t reassembly; /* node.reassembly */
	struct budgets budgets;          /* node.budgets */
};

static int check(const struct transports_config *config, struct qmt_err *err)
{
	char text[MULTIADDR_TEXT];
	int rc = transports_limits_check(&config->limits, err);

	if (rc)
		return rc;
	if (strlen(config->node_name) > HELLO_NAME)
		return qmt_err_set(err, -EINVAL, "node name: longer than %d bytes", HELLO_NAME);
	for (uint32_t i = 0; i < config->listen_count; i++) {
		const struct multiaddr *addr = &config->listen[i];

		multiaddr_text(addr, text);
		if (addr->transport != MULTIADDR_TCP)
			return qmt_err_set(err, -EINVAL, "%s: only tcp can be listened on in this version", text);
		if (addr->host_kind != MULTIADDR_IP4 && addr->host_kind != MULTIADDR_IP6)
			return qmt_err_set(err, -EINVAL, "%s: listening needs an address, not a name", text);
	}
	for (uint32_t i = 0; i < config->peer_count; i++) {
		const struct multiaddr *addr = &config->peers[i].addr;

		multiaddr_text(addr, text);
		if (!config->peers[i].name || !config->peers[i].name[0])
			return qmt_err_set(err, -EINVAL, "peer at %s: it needs a name", text);
		if (addr->transport != MULTIADDR_TCP)
			return qmt_err_set(
				err, -EINVAL, "peer '%s': %s: only tcp can be dialed in this version", config->peers[i].name, text);
		if (addr->port == 0)
			return qmt_err_set(err, -EINVAL, "peer '%s': %s: port 0 cannot be dialed", config->peers[i].name, text);
	}
	if (config->control_path && strlen(config->control_path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return qmt_err_set(err, -ENAMETOOLONG, "control socket %s: a path of a socket holds at most %zu bytes",
			config->control_path, sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	return 0;
}

static int fill_node(struct qmt_ctx *ctx, struct transports *t)
{
	const struct transports_config *config = t->config;
	uint32_t count = 0;

	while (config->capabilities && config->capabilities[count])
		count++;
	if (count > HELLO_CAPABILITIES)
		count = HELLO_CAPABILITIES;
	t->capabilities = calloc(count ? count : 1, sizeof(*t->capabilities));
	t->listeners = calloc(config->listen_count ? config->listen_count : 1, sizeof(*t->listeners));
	t->listening = calloc(config->listen_count ? config->listen_count : 1, sizeof(*t->listening));
	if (!t->capabilities || !t->listeners || !t->listening)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		t->capabilities[i] = qmt_str(config->capabilities[i]);
	t->node = (struct link_node){
		.identity = config->identity,
		.node_name = config->node_name,
		.capabilities = t->capabilities,
		.capability_count = count,
		.scopes = scopes,
		.scope_count = sizeof(scopes) / sizeof(scopes[0]),
		.grants = config->grants,
		.limits = config->limits,
		.reassembly = &t->reassembly,
		.requests_minute = config->requests_minute,
		.budgets = &t->budgets,
	};
	peer_id_text(&config->identity->id, t->node.self);
	qmt_uuid(ctx, t->node.boot_id);
	return 0;
}

static int bind_one(struct transports *t, uint32_t i, struct qmt_err *err)
{
	const struct multiaddr *addr = &t->config->listen[i];
	struct zlistener_config *listener = &t->listeners[i];
	char port[8] = "*", text[MULTIADDR_TEXT];
	bool ip6 = addr->host_kind == MULTIADDR_IP6;
	int rc;

	if (addr->port)
		(void)snprintf(port, sizeof(port), "%u", addr->port);
	*listener = (struct zlistener_config){
		.context = t->context,
		.node = &t->node,
		.role = AUTHORITY_NONE,
		.of_mesh = true,
		.transport = "tcp",
		.domain = "lan",
	};
	(void)snprintf(listener->endpoint, sizeof(listener->endpoint), "tcp://%s%s%s:%s", ip6 ? "[" : "", addr->host,
		ip6 ? "]" : "", port);
	multiaddr_text(addr, text);
	rc = zlistener_bind(listener, err);
	if (rc) {
		qmt_err_prefix(err, "%s", text);
		return rc;
	}
	t->listening[i] = *addr;
	t->listening[i].port = (uint16_t)strtoul(strrchr(listener->endpoint, ':') + 1, NULL, 10);
	t->listening[i].has_peer = true;
	t->listening[i].peer = t->config->identity->id;
	return 0;
}

static int bind_control(struct transports *t, struct qmt_err *err)
{
	int rc;

	t->control = (struct zlistener_config){
		.context = t->context,
		.node = &t->node,
		.role = AUTHORITY_OWNER,
		.transport = "ipc",
		.domain = "control",
	};
	(void)snprintf(t->control.endpoint, sizeof(t->control.endpoint), "ipc://%s", t->config->control_path);
	rc = zlistener_bind(&t->control, err);
	if (rc)
		qmt_err_prefix(err, "control socket %s", t->config->control_path);
	return rc;
}

static int bind_all(struct transports *t, struct qmt_err *err)
{
	const struct transports_config *config = t->config;
	int rc = 0;

	if (config->loop) {
		for (uint32_t i = 0; i < config->listen_count; i++) {
			t->listening[i] = config->listen[i];
			t->listening[i].has_peer = true;
			t->listening[i].peer = config->identity->id;
		}
	}
	if (config->loop && !config->control_path)
		return 0;
	rc = zcontext_open(&t->context, err);
	for (uint32_t i = 0; !rc && !config->loop && i < config->listen_count; i++)
		rc = bind_one(t, i, err);
	if (!rc && config->control_path)
		rc = bind_control(t, err);
	return rc;
}

/* *ret_running: an actor has been started, and borrows from t until it has ended. */
static int spawn_all(struct qmt_ctx *ctx, struct transports *t, bool *ret_running, struct qmt_err *err)
{
	const struct transports_config *config = t->config;
	struct qmt_spawn peers = {.name = "peers", .config = &t->peers, .restart = QMT_PERMANENT};
	struct qmt_spawn control = {.name = "control", .config = &t->control, .restart = QMT_PERMANENT};
	struct qmt_ref ref, unused;
	int rc;

	t->peers = (struct peers_config){
		.node = &t->node,
		.context = t->context,
		.loop = config->loop,
		.listeners = t->listeners,
		.listener_count = config->loop ? 0 : config->listen_count,
		.listening = t->listening,
		.listening_count = config->listen_count,
		.peers = config->peers,
		.peer_count = config->peer_count,
		.without_store = config->without_store,
		.no_lan = config->no_lan,
		.trust_known = config->trust_known,
	};
	rc = qmt_spawn(ctx, &peers_desc, &peers, &ref, err);
	*ret_running = !rc;
	if (!rc && config->control_path)
		rc = qmt_spawn(ctx, &zlistener_desc, &control, &unused, err);
	if (rc && *ret_running)
		(void)qmt_stop(ctx, ref);
	return rc > 0 ? -EEXIST : rc;
}

int transports_start(struct qmt_ctx *ctx, const struct transports_config *config, struct transports **ret_transports,
	struct qmt_err *err)
{
	struct transports *t;
	bool running = false;
	int rc = check(config, err);

	*ret_transports = NULL;
	if (!rc && identity_crypto_init())
		rc = qmt_err_set(err, -EIO, "libsodium does not start");
	if (rc)
		return rc;
	t = calloc(1, sizeof(*t));
	if (!t)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	t->config = config;
	budgets_init(&t->budgets);
	rc = fill_node(ctx, t);
	if (rc)
		qmt_err_set(err, rc, "out of memory");
	else
		rc = bind_all(t, err);
	if (!rc)
		rc = spawn_all(ctx, t, &running, err);
	*ret_transports = rc && !running ? transports_free(t, 1000, NULL) : t;
	return rc;
}

bool transports_listening(const struct transports *transports, uint32_t i, struct multiaddr *ret_addr)
{
	if (i >= transports->config->listen_count)
		return false;
	*ret_addr = transports->listening[i];
	return true;
}

struct transports *transports_free(struct transports *transports, uint64_t deadline_ms, struct qmt_err *err)
{
	if (!transports)
		return NULL;
	(void)zcontext_free(transports->context, deadline_ms, err);
	if (transports->config->control_path && transports->control.context)
		(void)unlink(transports->config->control_path);
	free(transports->capabilities);
	free(transports->listeners);
	free(transports->listening);
	budgets_fini(&transports->budgets);
	free(transports);
	return NULL;
}
