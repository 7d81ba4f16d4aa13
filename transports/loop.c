/* transports/loop.c - see loop.h.
 *
 *      link <-wire messages-> port actor  ==hub==>  port actor <-wire messages-> link
 *
 * A port actor tells the one of another node by that node's outside handle, which the hub keeps; its mutex makes the
 * many threads that do so one after the other. A port that stops takes itself off the hub first, so nobody uses a
 * handle that is gone.
 */
#include "transports/loop.h"

#include <errno.h>
#include <pthread.h>

#include "runtime/system.h"

/* A connection has an even number at its dialer and the next odd one at its listener, which may be the same node. */
#define LOOP_DIAL(F, T)                                    \
	F(T, U64, connection, 1, "Number, unique on the hub.") \
	F(T, REF, link, 2, "Who dials.")                       \
	F(T, U32, port, 3, "Where to.")                        \
	F(T, BOOL, late, 4, "It has waited already.")
#define LOOP_CONNECT(F, T)                     \
	F(T, U64, connection, 1, "Number.")        \
	F(T, U64, from, 2, "Place of the dialer.") \
	F(T, BYTES, key, 3, "Channel key.")
#define LOOP_DATA(F, T)                 \
	F(T, U64, connection, 1, "Number.") \
	F(T, BYTES, data, 2, "One frame.")
#define LOOP_TOOK(F, T)                 \
	F(T, U64, connection, 1, "Number.") \
	F(T, U32, frames, 2, "Handled at the other end.")
#define LOOP_CLOSE(F, T) F(T, U64, connection, 1, "Number.")
#define LOOP_MESSAGES(M)                                          \
	M(loop, dial, LOOP_DIAL, "local", "From a link.")             \
	M(loop, connect, LOOP_CONNECT, "local", "From another port.") \
	M(loop, data, LOOP_DATA, "local", "From another port.")       \
	M(loop, took, LOOP_TOOK, "local", "From another port.")       \
	M(loop, close, LOOP_CLOSE, "local", "From another port.")
QMT_DECLARE_PROTOCOL(loop, LOOP_MESSAGES)
QMT_DEFINE_PROTOCOL(loop, LOOP_MESSAGES, "Between the ports of an in-memory hub.")

/* ---- the hub ----------------------------------------------------------------------------------------------------- */

/* A node on the hub. */
struct place {
	struct place *next;
	uint64_t number;
	struct qmt_ctx *ctx; /* outside handle of its system; used under the hub's lock only */
	struct qmt_ref actor;
	const struct loop_port_config *config;
};

struct loop_hub {
	pthread_mutex_t lock; /* guards the rest */
	struct place *places;
	uint64_t numbers;
	bool meddle, silence;
	uint64_t dial_ms;
};

struct loop_hub *loop_hub_new(void)
{
	struct loop_hub *hub = calloc(1, sizeof(*hub));

	if (hub)
		pthread_mutex_init(&hub->lock, NULL);
	return hub;
}

struct loop_hub *loop_hub_free(struct loop_hub *hub)
{
	if (!hub)
		return NULL;
	pthread_mutex_destroy(&hub->lock);
	free(hub);
	return NULL;
}

void loop_hub_meddle(struct loop_hub *hub, bool on)
{
	pthread_mutex_lock(&hub->lock);
	hub->meddle = on;
	pthread_mutex_unlock(&hub->lock);
}

void loop_hub_silence(struct loop_hub *hub, bool on)
{
	pthread_mutex_lock(&hub->lock);
	hub->silence = on;
	pthread_mutex_unlock(&hub->lock);
}

void loop_hub_slow_dials(struct loop_hub *hub, uint64_t most_ms)
{
	pthread_mutex_lock(&hub->lock);
	hub->dial_ms = most_ms;
	pthread_mutex_unlock(&hub->lock);
}

static uint64_t dial_delay(struct qmt_ctx *ctx, struct loop_hub *hub)
{
	uint64_t most_ms, chance;

	pthread_mutex_lock(&hub->lock);
	most_ms = hub->dial_ms;
	pthread_mutex_unlock(&hub->lock);
	if (!most_ms)
		return 0;
	qmt_random(ctx, &chance, sizeof(chance));
	return chance % (most_ms + 1);
}

static uint64_t next_number(struct loop_hub *hub)
{
	uint64_t number;

	pthread_mutex_lock(&hub->lock);
	number = 2 * ++hub->numbers;
	pthread_mutex_unlock(&hub->lock);
	return number;
}

static int hub_enter(
	struct loop_hub *hub, struct qmt_ctx *ctx, const struct loop_port_config *config, uint64_t *ret_number)
{
	struct place *place = calloc(1, sizeof(*place));

	if (place)
		place->ctx = qmt_outside_open(qmt_system_of(ctx));
	if (!place || !place->ctx) {
		free(place);
		return -ENOMEM;
	}
	place->actor = qmt_self(ctx);
	place->config = config;
	pthread_mutex_lock(&hub->lock);
	place->number = *ret_number = ++hub->numbers;
	place->next = hub->places;
	hub->places = place;
	pthread_mutex_unlock(&hub->lock);
	return 0;
}

static void hub_leave(struct loop_hub *hub, uint64_t number)
{
	struct place **at, *place;

	pthread_mutex_lock(&hub->lock);
	for (at = &hub->places; *at && (*at)->number != number; at = &(*at)->next)
		;
	place = *at;
	if (place)
		*at = place->next;
	pthread_mutex_unlock(&hub->lock);
	if (place)
		qmt_outside_close(place->ctx);
	free(place);
}

/* 0: nobody listens there. */
static uint64_t hub_find(struct loop_hub *hub, uint32_t port)
{
	uint64_t number = 0;

	pthread_mutex_lock(&hub->lock);
	for (struct place *place = hub->places; place; place = place->next)
		for (uint32_t i = 0; i < place->config->listening_count; i++)
			if (place->config->listening[i].port == port)
				number = place->number;
	pthread_mutex_unlock(&hub->lock);
	return number;
}

/* Tells the port actor of another node. 0, or it is not there. */
static int hub_tell(struct loop_hub *hub, uint64_t number, const struct qmt_type *type, const void *body)
{
	int rc = QMT_FAIL_NO_ROUTE;

	pthread_mutex_lock(&hub->lock);
	for (struct place *place = hub->places; place; place = place->next) {
		if (place->number != number)
			continue;
		rc = hub->silence && type == &loop_data_type ? 0 : qmt_tell(place->ctx, place->actor, type, body);
		break;
	}
	pthread_mutex_unlock(&hub->lock);
	return rc;
}

static bool hub_meddles(struct loop_hub *hub)
{
	bool meddle;

	pthread_mutex_lock(&hub->lock);
	meddle = hub->meddle;
	pthread_mutex_unlock(&hub->lock);
	return meddle;
}

/* ---- a port ------------------------------------------------------------------------------------------------------ */

struct loop_connection {
	struct loop_connection *next;
	uint64_t number, other; /* other: place at the other end */
	struct qmt_ref link;
	bool accepted, link_ended, closed, proven;
	struct link_config link_config; /* accepted */
	struct wire_relay_config wire_config;
};

struct port {
	const struct loop_port_config *config;
	struct loop_hub *hub;
	uint64_t place;
	struct loop_connection *connections;
	uint32_t unproven;
};

static struct loop_connection *find(struct port *port, uint64_t number)
{
	struct loop_connection *connection = port->connections;

	while (connection && connection->number != number)
		connection = connection->next;
	return connection;
}

/* An accepted one holds what its link borrows. */
static void drop_if_over(struct port *port, struct loop_connection *connection)
{
	struct loop_connection **at = &port->connections;

	if (!connection->closed || (connection->accepted && !connection->link_ended))
		return;
	while (*at != connection)
		at = &(*at)->next;
	*at = connection->next;
	free(connection);
}

static struct loop_connection *add(struct port *port, uint64_t number, uint64_t other)
{
	struct loop_connection *connection = calloc(1, sizeof(*connection));

	if (!connection)
		return NULL;
	connection->number = number;
	connection->other = other;
	connection->next = port->connections;
	port->connections = connection;
	return connection;
}

static void close_connection(
	struct qmt_ctx *ctx, struct port *port, struct loop_connection *connection, bool tell_other)
{
	if (connection->closed)
		return;
	connection->closed = true;
	if (connection->accepted && !connection->proven)
		port->unproven--;
	if (tell_other)
		(void)hub_tell(
			port->hub, connection->other, &loop_close_type, &(struct loop_close){.connection = connection->number ^ 1});
	(void)QMT_TELL(ctx, connection->link, wire_gone, .why = qmt_str("the connection was closed"));
	drop_if_over(port, connection);
}

static void on_dial(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct loop_dial *msg = body;
	struct port *port = state;
	uint64_t other = hub_find(port->hub, msg->port), delay_ms = msg->late ? 0 : dial_delay(ctx, port->hub);
	uint8_t keys[2][HELLO_KEY];
	struct loop_connection *connection;
	struct loop_dial later = *msg;

	later.late = true;
	if (delay_ms && qmt_tell_after(ctx, delay_ms, qmt_self(ctx), &loop_dial_type, &later) == 0)
		return;
	connection = other ? add(port, msg->connection, other) : NULL;
	if (!connection) {
		(void)QMT_TELL(ctx, msg->link, wire_gone, .why = qmt_str("connection refused"));
		return;
	}
	connection->link = msg->link;
	qmt_random(ctx, keys, sizeof(keys));
	if (hub_tell(port->hub, other, &loop_connect_type,
			&(struct loop_connect){.connection = msg->connection ^ 1,
				.from = port->place,
				.key = {keys[hub_meddles(port->hub)], HELLO_KEY}})) {
		close_connection(ctx, port, connection, false);
		return;
	}
	(void)QMT_TELL(ctx, msg->link, wire_opened, .channel_key = {keys[0], HELLO_KEY});
}

static void on_connect(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct loop_connect *msg = body;
	struct port *port = state;
	const struct link_node *node = port->config->node;
	struct loop_connection *connection =
		port->unproven < node->limits.unproven_max ? add(port, msg->connection, msg->from) : NULL;

	if (!connection) {
		(void)hub_tell(port->hub, msg->from, &loop_close_type, &(struct loop_close){.connection = msg->connection ^ 1});
		return;
	}
	connection->accepted = true;
	connection->wire_config =
		(struct wire_relay_config){.relay = qmt_self(ctx), .connection = msg->connection, .transport = "loop"};
	connection->link_config = (struct link_config){
		.node = node,
		.role = AUTHORITY_NONE,
		.of_mesh = true,
		.ops = &wire_relay_ops,
		.wire_config = &connection->wire_config,
		.transport = "loop",
		.address = "",
	};
	port->unproven++;
	if (qmt_spawn(ctx, &link_desc, &(struct qmt_spawn){.config = &connection->link_config, .restart = QMT_TEMPORARY},
			&connection->link, NULL)) {
		connection->link_ended = true;
		close_connection(ctx, port, connection, true);
		return;
	}
	(void)QMT_TELL(ctx, connection->link, wire_opened, .channel_key = msg->key);
}

static void on_data(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct loop_data *msg = body;
	struct loop_connection *connection = find(state, msg->connection);

	/* A connection does not lose a frame and go on. */
	if (connection && !connection->closed && QMT_TELL(ctx, connection->link, wire_frame, .data = msg->data))
		close_connection(ctx, state, connection, true);
}

static void on_took(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct loop_took *msg = body;
	struct loop_connection *connection = find(state, msg->connection);

	if (connection && !connection->closed && QMT_TELL(ctx, connection->link, wire_credit, .frames = msg->frames))
		close_connection(ctx, state, connection, true);
}

static void on_close(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct loop_close *msg = body;
	struct loop_connection *connection = find(state, msg->connection);

	if (connection)
		close_connection(ctx, state, connection, false);
}

static void on_link_out(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct wire_out *msg = body;
	struct port *port = state;
	struct loop_connection *connection = find(port, msg->connection);

	if (!connection || connection->closed)
		return;
	if (hub_tell(port->hub, connection->other, &loop_data_type,
			&(struct loop_data){.connection = msg->connection ^ 1, .data = msg->data}))
		close_connection(ctx, port, connection, false);
}

static void on_link_took(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct wire_took *msg = body;
	struct port *port = state;
	struct loop_connection *connection = find(port, msg->connection);

	(void)ctx;
	if (connection && !connection->closed)
		(void)hub_tell(port->hub, connection->other, &loop_took_type,
			&(struct loop_took){.connection = msg->connection ^ 1, .frames = msg->frames});
}

static void on_link_proven(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct wire_proven *msg = body;
	struct port *port = state;
	struct loop_connection *connection = find(port, msg->connection);

	(void)ctx;
	if (!connection || connection->closed || !connection->accepted || connection->proven)
		return;
	connection->proven = true;
	port->unproven--;
}

static void on_link_cut(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct wire_cut *msg = body;
	struct loop_connection *connection = find(state, msg->connection);

	if (connection)
		close_connection(ctx, state, connection, true);
}

static void child_ended(struct qmt_ctx *ctx, void *state, struct qmt_ref child, int reason, bool restarted)
{
	struct port *port = state;

	(void)reason;
	(void)restarted;
	for (struct loop_connection *connection = port->connections; connection; connection = connection->next) {
		if (!qmt_ref_eq(connection->link, child) || !connection->accepted)
			continue;
		connection->link_ended = true;
		if (connection->closed)
			drop_if_over(port, connection);
		else
			close_connection(ctx, port, connection, true);
		return;
	}
}

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct port *port = state;

	port->config = config;
	port->hub = port->config->hub;
	if (hub_enter(port->hub, ctx, config, &port->place)) {
		qmt_fail(ctx, "out of memory");
		return -1;
	}
	return 0;
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct port *port = state;

	(void)ctx;
	if (port->place)
		hub_leave(port->hub, port->place);
	while (port->connections) {
		struct loop_connection *connection = port->connections;

		port->connections = connection->next;
		if (!connection->closed)
			(void)hub_tell(port->hub, connection->other, &loop_close_type,
				&(struct loop_close){.connection = connection->number ^ 1});
		free(connection);
	}
}

static qmt_handler *const loop_handlers[loop_message_count] = {
	[loop_dial_id] = on_dial,
	[loop_connect_id] = on_connect,
	[loop_data_id] = on_data,
	[loop_took_id] = on_took,
	[loop_close_id] = on_close,
};
static qmt_handler *const wire_handlers[wire_message_count] = {
	[wire_out_id] = on_link_out,
	[wire_took_id] = on_link_took,
	[wire_proven_id] = on_link_proven,
	[wire_cut_id] = on_link_cut,
};

const struct qmt_actor_desc loop_port_desc = {
	.abi = QMT_ABI,
	.name = "loop",
	.doc = "A node's place on an in-memory hub.",
	.state_size = sizeof(struct port),
	.accepts = {{&loop_protocol, loop_handlers}, {&wire_protocol, wire_handlers}},
	.start = start,
	.stop = stop,
	.child_ended = child_ended,
};

/* ---- dialing ----------------------------------------------------------------------------------------------------- */

static int open_dial(
	struct qmt_ctx *ctx, struct link *link, const void *config_arg, struct wire **ret_wire, struct qmt_err *err)
{
	const struct loop_dial_config *config = config_arg;
	struct wire_relay_config relay = {.connection = next_number(config->hub), .transport = "loop"};
	int rc;

	if (qmt_lookup(ctx, "loop", &relay.relay))
		return qmt_err_set(err, -ENETDOWN, "no actor called loop");
	rc = wire_relay_ops.open(ctx, link, &relay, ret_wire, err);
	if (rc)
		return rc;
	if (QMT_TELL(
			ctx, relay.relay, loop_dial, .connection = relay.connection, .link = qmt_self(ctx), .port = config->port)) {
		wire_relay_ops.close(ctx, link, *ret_wire);
		*ret_wire = NULL;
		return qmt_err_set(err, -ENETDOWN, "the actor called loop takes nothing");
	}
	return 0;
}

const struct wire_ops loop_dial_ops = {
	.transport = "loop",
	.open = open_dial,
};
