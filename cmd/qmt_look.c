/* cmd/qmt_look.c - commands that show what a node is, sees and offers. */
#include <errno.h>
#include <time.h>

#include "cmd/home.h"
#include "cmd/qmt_node.h"

struct control_client *node_connect(const struct cli *cli, int wake_fd)
{
	struct qmt_err err = {0};
	struct control_client *client = NULL;
	char *path = home_socket(cli->home, &err);
	int rc = path ? control_client_open(path, 0, wake_fd, &client, &err) : -1;

	free(path);
	if (rc != 0) {
		if (rc == -ENOENT || rc == -ECONNREFUSED)
			cli_error("no node runs on %s: start one with `qmtd --home %s CONFIG`, or say which by --home DIR",
				cli->home, cli->home);
		else
			cli_error("%s", err.text);
		return NULL;
	}
	return client;
}

int node_ask(struct control_client *client, const char *actor, const struct qmt_type *type, const void *body,
	uint64_t timeout_ms, struct control_reply *ret_reply)
{
	struct qmt_err err = {0};
	int rc = control_client_ask(client, actor, type, body, timeout_ms, ret_reply, &err);

	if (rc == 0)
		return CLI_OK;
	cli_error("%s", err.text);
	return CLI_FAILED;
}

int node_ask_and_show(const struct cli *cli, const char *actor, const struct qmt_type *type, const void *body,
	void (*show)(const void *body))
{
	struct control_client *client = node_connect(cli, -1);
	struct control_reply reply = {0};
	int status;

	if (!client)
		return CLI_FAILED;
	status = node_ask(client, actor, type, body, cli->timeout_ms, &reply);
	if (status == CLI_OK) {
		if (cli->json)
			status = cli_json(&reply.type->record, reply.body);
		else
			show(reply.body);
	}
	control_reply_free(&reply);
	control_client_close(client);
	return status;
}

static void show_status(const void *body)
{
	const struct node_status_reply *status = body;

	cli_field("node", status->node_name);
	cli_field("peer id", status->peer_id);
	cli_field("version", status->version);
	cli_field("home", status->home);
	cli_field("config", status->config);
	printf("up       %llu s\nsessions %u in memory\nmesh     %s\n", (unsigned long long)(status->uptime_ms / 1000),
		status->active_sessions, status->mesh ? "on" : "off");
	for (uint32_t i = 0; i < status->listen_addresses.count; i++)
		cli_field("listens", status->listen_addresses.items[i]);
	for (uint32_t i = 0; i < status->advertised_addresses.count; i++)
		cli_field("tells", status->advertised_addresses.items[i]);
	if (status->twin_address.len) {
		cli_field("twin", status->twin_address);
		cli_field("seen", status->twin_seen);
		show_twin(status->twin_address);
	}
	if (status->connected_peers.count) {
		struct cli_rows rows = {.columns = 6};
		putchar('\n');
		for (uint32_t i = 0; i < status->connected_peers.count; i++) {
			const struct node_peer *peer = &status->connected_peers.items[i];
			char rtt[24];
			snprintf(rtt, sizeof rtt, peer->rtt_ms > 0 ? "%.2f ms" : "-", peer->rtt_ms);
			cli_cell(&rows, peer->name);
			cli_cell(&rows, peer->transport);
			cli_cell(&rows, peer->scope);
			cli_cell(&rows, qmt_str(rtt));
			cli_cell(&rows, peer->since);
			cli_cell(&rows, peer->peer_id);
		}
		cli_rows_print(&rows, (const char *const[]){"PEER", "TRANSPORT", "SCOPE", "RTT", "SINCE", "PEER ID"});
	} else if (status->mesh) {
		printf("peers    none connected (see qmt peers)\n");
	}
}

int qmt_status(const struct cli *cli)
{
	return node_ask_and_show(cli, "node_manager", &node_status_type, &(struct node_status){}, show_status);
}

static void show_nodes(const void *body)
{
	const struct node_nodes_reply *reply = body;
	struct cli_rows rows = {.columns = 7};

	for (uint32_t i = 0; i < reply->nodes.count; i++) {
		const struct node_node *node = &reply->nodes.items[i];
		cli_cell(&rows, node->name);
		cli_cell(&rows, node->error.len ? node->error : qmt_str(node->self ? "this node" : "connected"));
		cli_cell_list(&rows, node->capabilities.items, node->capabilities.count);
		cli_cell_list(&rows, node->providers.items, node->providers.count);
		cli_cell_list(&rows, node->agents.items, node->agents.count);
		cli_cell_number(&rows, node->active_sessions);
		cli_cell(&rows, node->peer_id);
	}
	cli_rows_print(
		&rows, (const char *const[]){"NODE", "STATE", "CAPABILITIES", "PROVIDERS", "AGENTS", "SESSIONS", "PEER ID"});
}

int qmt_nodes(const struct cli *cli)
{
	return node_ask_and_show(cli, "node_manager", &node_nodes_type, &(struct node_nodes){}, show_nodes);
}

static void show_providers(const void *body)
{
	const struct node_providers_reply *reply = body;
	struct cli_rows rows = {.columns = 5};

	for (uint32_t i = 0; i < reply->providers.count; i++) {
		const struct node_provider *provider = &reply->providers.items[i];
		cli_cell(&rows, provider->node);
		cli_cell(&rows, provider->name);
		cli_cell(&rows, provider->kind);
		cli_cell_number(&rows, provider->active);
		if (provider->error.len)
			cli_cell(&rows, provider->error);
		else
			cli_cell_list(&rows, provider->models.items, provider->models.count);
	}
	cli_rows_print(&rows, (const char *const[]){"NODE", "PROVIDER", "KIND", "ACTIVE", "MODELS"});
}

int qmt_providers(const struct cli *cli)
{
	return node_ask_and_show(cli, "node_manager", &node_providers_type, &(struct node_providers){}, show_providers);
}

static void show_models(const void *body)
{
	const struct node_providers_reply *reply = body;
	struct cli_rows rows = {.columns = 3};

	for (uint32_t i = 0; i < reply->providers.count; i++) {
		const struct node_provider *provider = &reply->providers.items[i];
		for (uint32_t m = 0; m < provider->models.count; m++) {
			cli_cell(&rows, provider->models.items[m]);
			cli_cell(&rows, provider->name);
			cli_cell(&rows, provider->node);
		}
		if (provider->error.len)
			cli_error("provider %.*s on %.*s: %.*s", QMT_STR_ARG(provider->name), QMT_STR_ARG(provider->node),
				QMT_STR_ARG(provider->error));
	}
	cli_rows_print(&rows, (const char *const[]){"MODEL", "PROVIDER", "NODE"});
}

int qmt_models(const struct cli *cli)
{
	return node_ask_and_show(cli, "node_manager", &node_providers_type, &(struct node_providers){}, show_models);
}

static void show_routes(const void *body)
{
	const struct router_routes_reply *reply = body;
	struct cli_rows rows = {.columns = 5};

	for (uint32_t i = 0; i < reply->routes.count; i++) {
		const struct router_route *route = &reply->routes.items[i];
		cli_cell(&rows, route->agent);
		cli_cell(&rows, route->peer.len ? route->peer : route->target);
		cli_cell(&rows, route->provider);
		cli_cell(&rows, route->model);
		cli_cell(&rows, qmt_str(!route->peer.len ? "here" : route->peer_id.len ? "connected" : "not connected"));
	}
	cli_rows_print(&rows, (const char *const[]){"AGENT", "TARGET", "PROVIDER", "MODEL", "STATE"});
}

int qmt_routes(const struct cli *cli)
{
	return node_ask_and_show(cli, "router", &router_routes_type, &(struct router_routes){}, show_routes);
}

static const struct metric_row *metric_row_of(struct qmt_str name)
{
	static const struct metric_row unknown = {"", "", "", "", ""}; /* of a later version */

	for (uint32_t i = 0; i < METRIC_COUNT; i++)
		if (qmt_str_is(name, metric_rows[i].name))
			return &metric_rows[i];
	return &unknown;
}

static void show_metrics(const void *body)
{
	const struct node_metrics_reply *reply = body;
	struct cli_rows rows = {.columns = 4};

	for (uint32_t i = 0; i < reply->metrics.count; i++) {
		const struct metric *metric = &reply->metrics.items[i];
		const struct metric_row *row = metric_row_of(metric->name);
		char value[64];
		snprintf(
			value, sizeof value, "%llu%s%s", (unsigned long long)metric->value, row->unit[0] ? " " : "", row->unit);
		cli_cell(&rows, metric->name);
		cli_cell(&rows, metric->label.len ? metric->label : qmt_str("-"));
		cli_cell(&rows, qmt_str(value));
		cli_cell(&rows, qmt_str(row->doc));
	}
	cli_rows_print(&rows, (const char *const[]){"METRIC", "OF", "VALUE", "MEANING"});
	fflush(stdout);
	for (uint32_t i = 0; i < reply->errors.count; i++) {
		fputs("qmt: left out: ", stderr);
		cli_text(2, reply->errors.items[i]);
		fputc('\n', stderr);
	}
}

int qmt_metrics(const struct cli *cli)
{
	return node_ask_and_show(cli, "node_manager", &node_metrics_type, &(struct node_metrics){}, show_metrics);
}

/* ---- actors ------------------------------------------------------------------------------------------------------ */

/* "muted 12 ms for queue work", "waiting 1500 ms for store store, deadlock" */
static void status_text(const struct node_actors_reply *reply, const struct node_actor *actor, struct qmt_buf *text)
{
	qmt_buf_consume(text, text->len);
	qmt_buf_printf(text, "%.*s", QMT_STR_ARG(actor->status));
	if (actor->waits_for && actor->waits_for <= reply->actors.count) {
		const struct node_actor *on = &reply->actors.items[actor->waits_for - 1];

		qmt_buf_printf(text, " %llu ms for %.*s%s%.*s", (unsigned long long)actor->waits_ms, QMT_STR_ARG(on->kind),
			on->name.len ? " " : "", QMT_STR_ARG(on->name));
	}
	if (actor->deadlocked)
		qmt_buf_str(text, ", deadlock");
	if (actor->slow_ms)
		qmt_buf_printf(text, ", %llu ms in one handler", (unsigned long long)actor->slow_ms);
}

static void show_rows(const struct node_actors_reply *reply, bool tree)
{
	struct cli_rows rows = {.columns = 7};
	struct qmt_buf text QMT_CLEANUP(qmt_buf_free) = {0};
	char busy[32];
	uint32_t *depth = calloc(reply->actors.count + 1u, sizeof *depth); /* by number */

	for (uint32_t i = 0; depth && i < reply->actors.count; i++) {
		const struct node_actor *actor = &reply->actors.items[i];
		char head[256];
		/* a parent stands in front of its children; a node of a later version may break that: then no indent */
		bool known = actor->id <= reply->actors.count && actor->parent && actor->parent < actor->id;
		uint32_t indent = tree && known ? depth[actor->parent] + 2 : 0;
		if (actor->id <= reply->actors.count)
			depth[actor->id] = indent < 60 ? indent : 60;
		snprintf(head, sizeof head, "%*s%.*s", (int)(indent < 60 ? indent : 60), "", QMT_STR_ARG(actor->kind));
		cli_cell(&rows, qmt_str(head));
		cli_cell(&rows, actor->name.len ? actor->name : qmt_str("-"));
		cli_cell_number(&rows, actor->waiting);
		cli_cell_number(&rows, actor->handled);
		snprintf(busy, sizeof busy, "%llu ms", (unsigned long long)(actor->busy_us / 1000));
		cli_cell(&rows, qmt_str(busy));
		cli_cell_number(&rows, actor->restarts);
		status_text(reply, actor, &text);
		cli_cell(&rows, qmt_buf_view(&text));
	}
	cli_rows_print(&rows, (const char *const[]){"ACTOR", "NAME", "WAITING", "HANDLED", "BUSY", "RESTARTS", "STATUS"});
	free(depth);
}

static void show_actors(const void *body)
{
	show_rows(body, false);
}

static void show_actor_tree(const void *body)
{
	show_rows(body, true);
}

int qmt_actors(const struct cli *cli)
{
	return node_ask_and_show(cli, "node_manager", &node_actors_type, &(struct node_actors){},
		cli->option[CLI_OPTION_tree] ? show_actor_tree : show_actors);
}
