/* transports/zmq_listener.c - see zmq_listener.h.
 *
 * A ROUTER says nothing about connections that come and go, so its monitor does: ACCEPTED and DISCONNECTED with the
 * descriptor; each message tells the descriptor that it came through (ZMQ_SRCFD). libzmq sends the events from the
 * thread that also delivers the messages, so whenever a message comes from an unknown id, the monitor is read first:
 * then a descriptor number that has been used again is known to be a new connection.
 *
 * Frames to a peer whose pipe is full wait here, at most WIRE_WINDOW for each link (its credit), and are tried again
 * after every command of libzmq. Frames from peers stop being read while some link has WIRE_IN_FLIGHT that it has not
 * handled.
 */
#include "transports/zmq_listener.h"

#include <errno.h>
#include <zmq.h>

#include "runtime/port.h"
#include "transports/channel_key.h"
#include "transports/zmq_connections.h"

enum { FRAMES_A_TURN = 16, LOG_EVERY_MS = 10000, LOG_REJECTIONS = 10 };

enum complaint { BAD_ID, BAD_USER, BAD_PARTS, TOO_LONG, TOO_MANY, TOO_MANY_LINKS, SLOW, COMPLAINT_KINDS };

struct listener {
	struct zlistener_config *config;
	const struct transports_limits *limits;
	void *socket, *monitor;
	int fd, monitor_fd;
	struct qmt_ref self;
	struct connections all;
	struct connection *blocked; /* whose frames wait for the socket */
	uint32_t closing;           /* closed, and their links not told yet */
	uint32_t links;             /* proven */
	bool after_frame, paused;
	struct qmt_timer sweep;
	uint64_t logged_ms[COMPLAINT_KINDS];
	uint64_t
		rejections_since_ms; /* of connections that ended before HELLO did: LOG_REJECTIONS in LOG_EVERY_MS are logged */
	uint32_t rejections;
};

static void complain(struct qmt_ctx *ctx, struct listener *listener, enum complaint kind, const char *reason)
{
	uint64_t now = qmt_now_ms(ctx);

	if (listener->logged_ms[kind] && now - listener->logged_ms[kind] < LOG_EVERY_MS)
		return;
	listener->logged_ms[kind] = now ? now : 1;
	QMT_LOG(ctx, QMT_WARN, "listener.refused", "transport", listener->config->transport, "reason", reason);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void drop_waiting(struct qmt_ctx *ctx, struct connection *connection)
{
	for (; connection->waiting; connection->waiting--) {
		qmt_msg_free(ctx, connection->queue[connection->waiting_at]);
		connection->waiting_at = (connection->waiting_at + 1) % WIRE_WINDOW;
	}
}

static void forget_if_over(struct qmt_ctx *ctx, struct listener *listener, struct connection *connection)
{
	if (connection->link_running || !connection->closed || connection->fd >= 0 || connection->blocked)
		return;
	drop_waiting(ctx, connection);
	if (connection->proven)
		listener->links--;
	connections_remove(&listener->all, connection);
}

static void cut(struct qmt_ctx *ctx, struct listener *listener, struct connection *connection)
{
	connection->cut = true;
	drop_waiting(ctx, connection);
	if (!connection->closed)
		connection_shutdown(connection->fd, listener->config->endpoint);
}

/* Ends the link from this side: it is told, and what still comes is dropped. */
static void refuse(struct qmt_ctx *ctx, struct listener *listener, struct connection *connection, const char *why)
{
	cut(ctx, listener, connection);
	if (connection->link_running && !connection->gone)
		(void)QMT_TELL(ctx, connection->link, wire_gone, .why = qmt_str(why));
	connection->gone = true;
}

static void on_sweep(struct qmt_ctx *ctx, void *state, void *arg);

static void start_sweep(struct qmt_ctx *ctx, struct listener *listener)
{
	uint64_t every = listener->limits->hello_ms / 4;

	if (listener->sweep.id == 0 && listener->all.unproven)
		(void)qmt_timer_start(ctx, every ? every : 1, on_sweep, NULL, &listener->sweep);
}

/* Those that connected and say nothing have no link whose time could run out. */
static void on_sweep(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct listener *listener = state;
	uint64_t now = qmt_now_ms(ctx);

	(void)arg;
	listener->sweep = (struct qmt_timer){0};
	for (uint32_t fd = 0; fd < listener->all.descriptor_room; fd++) {
		struct descriptor *descriptor = &listener->all.descriptors[fd];

		if (!descriptor->open || descriptor->connection || now - descriptor->since_ms < listener->limits->hello_ms)
			continue;
		complain(ctx, listener, SLOW, "a connection that said nothing within hello_ms");
		connection_shutdown((int)fd, listener->config->endpoint);
	}
	start_sweep(ctx, listener);
}

static void accepted(struct qmt_ctx *ctx, struct listener *listener, int fd)
{
	struct descriptor *descriptor = connections_descriptor(&listener->all, fd);

	if (!descriptor)
		return;
	*descriptor = (struct descriptor){.open = true, .since_ms = qmt_now_ms(ctx)};
	listener->all.open++;
	listener->all.unproven++;
	if (listener->all.unproven > listener->limits->unproven_max) {
		complain(ctx, listener, TOO_MANY, "more than unproven_max connections that have not ended HELLO");
		connection_shutdown(fd, listener->config->endpoint);
	}
	start_sweep(ctx, listener);
}

static void disconnected(struct listener *listener, int fd)
{
	struct descriptor *descriptor = connections_descriptor(&listener->all, fd);

	if (!descriptor || !descriptor->open)
		return;
	struct connection *connection = descriptor->connection;
	listener->all.open--;
	if (!connection || !connection->proven)
		listener->all.unproven--;
	*descriptor = (struct descriptor){0};
	if (connection) {
		connection->closed = true;
		listener->closing++;
	}
}

static void take_events(struct qmt_ctx *ctx, struct listener *listener)
{
	struct zevent event;

	while (zevent_next(listener->monitor, &event)) {
		if (event.event == ZMQ_EVENT_ACCEPTED)
			accepted(ctx, listener, (int)event.value);
		else if (event.event == ZMQ_EVENT_DISCONNECTED)
			disconnected(listener, (int)event.value);
	}
}

/* All that closed connections had sent has been read: tell their links. */
static void settle_closed(struct qmt_ctx *ctx, struct listener *listener)
{
	for (uint32_t slot = 0; listener->closing && slot < listener->all.room; slot++) {
		struct connection *connection = listener->all.slots[slot];

		if (!connection || !connection->closed || connection->fd < 0)
			continue;
		connection->fd = -1;
		listener->closing--;
		if (connection->link_running && !connection->gone)
			(void)QMT_TELL(ctx, connection->link, wire_gone, .why = qmt_str("the connection was closed"));
		connection->gone = true;
		forget_if_over(ctx, listener, connection);
	}
}

/* ---- from the peers ---------------------------------------------------------------------------------------------- */

static int start_link(struct qmt_ctx *ctx, struct listener *listener, struct connection *connection)
{
	const struct zlistener_config *config = listener->config;
	uint8_t key[CHANNEL_KEY];
	int rc;

	if (!zcontext_user_key(connection->user_id, key))
		return -EINVAL;
	connection->wire_config = (struct wire_relay_config){
		.relay = listener->self,
		.connection = connection_number(connection),
		.transport = config->transport,
	};
	connection->link_config = (struct link_config){
		.node = config->node,
		.role = config->role,
		.of_mesh = config->of_mesh,
		.ops = &wire_relay_ops,
		.wire_config = &connection->wire_config,
		.transport = config->transport,
		.address = connection->address,
		.quiet = listener->rejections >= LOG_REJECTIONS,
	};
	rc = qmt_spawn(ctx, &link_desc, &(struct qmt_spawn){.config = &connection->link_config, .restart = QMT_TEMPORARY},
		&connection->link, NULL);
	if (rc)
		return rc;
	connection->link_running = true;
	return QMT_TELL(ctx, connection->link, wire_opened, .channel_key = {key, sizeof(key)});
}

/* A message from an id that was not seen before. NULL: refused. */
static struct connection *meet(
	struct qmt_ctx *ctx, struct listener *listener, uint32_t router_id, int fd, const char *user_id)
{
	struct descriptor *descriptor;
	struct connection *connection;

	take_events(ctx, listener);
	descriptor = connections_descriptor(&listener->all, fd);
	if (!descriptor || !descriptor->open || descriptor->connection)
		return NULL; /* closed again by now */
	connection = connections_add(&listener->all, router_id);
	if (!connection)
		return NULL;
	connection->fd = fd;
	descriptor->connection = connection;
	(void)snprintf(connection->user_id, sizeof(connection->user_id), "%s", user_id);
	connection_address(fd, listener->config->endpoint, connection->address, sizeof(connection->address));
	if (start_link(ctx, listener, connection))
		refuse(ctx, listener, connection, "no link could be started");
	return connection;
}

static void take_frame(
	struct qmt_ctx *ctx, struct listener *listener, const uint8_t *id, size_t id_len, zmq_msg_t *frame, bool more)
{
	const char *user_id = zmq_msg_gets(frame, "User-Id");
	int fd = zmq_msg_get(frame, ZMQ_SRCFD);
	struct connection *connection;
	uint32_t router_id;

	if (id_len != ROUTER_ID || id[0] != 0 || !user_id || strlen(user_id) != ZCONTEXT_USER_ID) {
		bool id_is_wrong = id_len != ROUTER_ID || id[0] != 0;

		complain(ctx, listener, id_is_wrong ? BAD_ID : BAD_USER,
			id_is_wrong ? "a connection that chose its own routing id" : "a message without User-Id");
		connection_shutdown(fd, listener->config->endpoint);
		return;
	}
	memcpy(&router_id, id + 1, sizeof(router_id));
	connection = connections_by_router_id(&listener->all, router_id);
	if (!connection)
		connection = meet(ctx, listener, router_id, fd, user_id);
	if (!connection || connection->cut || connection->gone)
		return;
	if (strcmp(connection->user_id, user_id) != 0 || (connection->fd != fd && !connection->closed)) {
		complain(ctx, listener, BAD_USER, "a message under the id of another connection");
		refuse(ctx, listener, connection, "another User-Id than before");
		connection_shutdown(fd, listener->config->endpoint);
		return;
	}
	if (more) {
		complain(ctx, listener, BAD_PARTS, "a message in several parts");
		refuse(ctx, listener, connection, "a message in several parts");
		return;
	}
	if (!connection->proven && zmq_msg_size(frame) > listener->limits->hello_frame_bytes) {
		complain(ctx, listener, TOO_LONG, "a frame longer than hello_frame_bytes before HELLO has ended");
		refuse(ctx, listener, connection, "a frame longer than hello_frame_bytes before HELLO has ended");
		return;
	}
	if (QMT_TELL(ctx, connection->link, wire_frame, .data = {zmq_msg_data(frame), (uint32_t)zmq_msg_size(frame)})) {
		refuse(ctx, listener, connection, "the link has ended");
		return;
	}
	if (++connection->in_flight >= WIRE_IN_FLIGHT)
		listener->paused = true;
}

/* Reads the rest of a message in parts, so that the next one begins at its beginning. */
static void skip_parts(void *socket)
{
	bool more = true;

	while (more) {
		zmq_msg_t part;

		zmq_msg_init(&part);
		more = zmq_msg_recv(&part, socket, ZMQ_DONTWAIT) >= 0 && zmq_msg_more(&part);
		zmq_msg_close(&part);
	}
}

/* Returns how many messages it took. */
static int receive(struct qmt_ctx *ctx, struct listener *listener, int most)
{
	int count = 0;

	while (count < most && !listener->paused) {
		zmq_msg_t id, frame;

		zmq_msg_init(&id);
		if (zmq_msg_recv(&id, listener->socket, ZMQ_DONTWAIT) < 0) {
			zmq_msg_close(&id);
			settle_closed(ctx, listener);
			break;
		}
		count++;
		if (zmq_msg_more(&id)) {
			bool more;

			zmq_msg_init(&frame);
			if (zmq_msg_recv(&frame, listener->socket, ZMQ_DONTWAIT) >= 0) {
				more = zmq_msg_more(&frame);
				take_frame(ctx, listener, zmq_msg_data(&id), zmq_msg_size(&id), &frame, more);
				if (more)
					skip_parts(listener->socket);
			}
			zmq_msg_close(&frame);
		}
		zmq_msg_close(&id);
	}
	return count;
}

/* ---- to the peers ------------------------------------------------------------------------------------------------ */

/* 0; WIRE_E_FULL; WIRE_E_GONE. */
static int send_frame(struct listener *listener, const struct connection *connection, struct qmt_bytes data)
{
	uint8_t id[ROUTER_ID] = {0};

	memcpy(id + 1, &connection->router_id, sizeof(connection->router_id));
	if (zmq_send(listener->socket, id, sizeof(id), ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
		return zmq_errno() == EAGAIN ? WIRE_E_FULL : WIRE_E_GONE;
	return zmq_send(listener->socket, data.p, data.len, ZMQ_DONTWAIT) < 0 ? WIRE_E_GONE : 0;
}

static void give_credit(struct qmt_ctx *ctx, struct connection *connection)
{
	if (++connection->owed < WIRE_WINDOW / 2)
		return;
	if (connection->link_running && !connection->gone)
		(void)QMT_TELL(ctx, connection->link, wire_credit, .frames = connection->owed);
	connection->owed = 0;
}

static void on_out(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct wire_out *msg = body;
	struct listener *listener = state;
	struct connection *connection = connections_by_number(&listener->all, msg->connection);

	if (!connection || connection->cut || connection->closed)
		return;
	qmt_want_flush(ctx);
	if (connection->waiting == 0) {
		int rc = send_frame(listener, connection, msg->data);

		if (rc == 0)
			give_credit(ctx, connection);
		if (rc != WIRE_E_FULL)
			return;
	}
	if (connection->waiting == WIRE_WINDOW)
		return; /* a link that ignores its credit: our own bug, and the link would time out */
	connection->queue[(connection->waiting_at + connection->waiting++) % WIRE_WINDOW] = qmt_keep(ctx);
	if (!connection->blocked) {
		connection->blocked = true;
		connection->next_blocked = listener->blocked;
		listener->blocked = connection;
	}
}

static void retry_blocked(struct qmt_ctx *ctx, struct listener *listener)
{
	struct connection *list = listener->blocked;

	listener->blocked = NULL;
	while (list) {
		struct connection *connection = list;

		list = connection->next_blocked;
		while (connection->waiting && !connection->closed) {
			struct qmt_msg *msg = connection->queue[connection->waiting_at];
			const struct wire_out *out = qmt_msg_body(msg);

			if (send_frame(listener, connection, out->data) == WIRE_E_FULL)
				break;
			qmt_msg_free(ctx, msg);
			connection->waiting_at = (connection->waiting_at + 1) % WIRE_WINDOW;
			connection->waiting--;
			give_credit(ctx, connection);
		}
		connection->blocked = connection->waiting && !connection->closed;
		if (connection->blocked) {
			connection->next_blocked = listener->blocked;
			listener->blocked = connection;
		} else {
			forget_if_over(ctx, listener, connection);
		}
	}
}

/* ---- from the links ---------------------------------------------------------------------------------------------- */

static void on_took(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct wire_took *msg = body;
	struct listener *listener = state;
	struct connection *connection = connections_by_number(&listener->all, msg->connection);

	if (connection)
		connection->in_flight -= msg->frames < connection->in_flight ? msg->frames : connection->in_flight;
	if (!listener->paused)
		return;
	listener->paused = false;
	for (uint32_t slot = 0; slot < listener->all.room; slot++)
		if (listener->all.slots[slot] && listener->all.slots[slot]->in_flight >= WIRE_IN_FLIGHT)
			listener->paused = true;
	if (!listener->paused)
		qmt_again(ctx);
}

static void on_link_proven(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct wire_proven *msg = body;
	struct listener *listener = state;
	struct connection *connection = connections_by_number(&listener->all, msg->connection);

	if (!connection || connection->proven)
		return;
	connection->proven = true;
	if (!connection->closed)
		listener->all.unproven--;
	if (++listener->links > listener->limits->links_max) {
		complain(ctx, listener, TOO_MANY_LINKS, "links_max links are in use");
		refuse(ctx, listener, connection, "links_max links are in use");
	}
}

static void on_cut(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct wire_cut *msg = body;
	struct listener *listener = state;
	struct connection *connection = connections_by_number(&listener->all, msg->connection);

	if (!connection)
		return;
	cut(ctx, listener, connection);
	connection->gone = true;
}

static void count_rejection(struct qmt_ctx *ctx, struct listener *listener)
{
	uint64_t now = qmt_now_ms(ctx);

	if (now - listener->rejections_since_ms >= LOG_EVERY_MS) {
		listener->rejections_since_ms = now;
		listener->rejections = 0;
	}
	if (++listener->rejections == LOG_REJECTIONS)
		QMT_LOG(ctx, QMT_WARN, "listener.rejecting", "transport", listener->config->transport, "note",
			"many connections fail HELLO; further ones are not logged for a while");
}

static void child_ended(struct qmt_ctx *ctx, void *state, struct qmt_ref child, int reason, bool restarted)
{
	struct listener *listener = state;

	(void)reason;
	(void)restarted;
	for (uint32_t slot = 0; slot < listener->all.room; slot++) {
		struct connection *connection = listener->all.slots[slot];

		if (!connection || !connection->link_running || !qmt_ref_eq(connection->link, child))
			continue;
		connection->link_running = false;
		connection->gone = true;
		if (!connection->proven)
			count_rejection(ctx, listener);
		if (connection->in_flight >= WIRE_IN_FLIGHT && listener->paused) {
			listener->paused = false;
			qmt_again(ctx);
		}
		connection->in_flight = 0;
		if (!connection->cut)
			cut(ctx, listener, connection);
		forget_if_over(ctx, listener, connection);
		return;
	}
}

/* ---- hooks ------------------------------------------------------------------------------------------------------- */

static void on_monitor(struct qmt_ctx *ctx, void *state, int fd, uint32_t events, void *arg)
{
	struct listener *listener = state;

	(void)fd;
	(void)events;
	(void)arg;
	take_events(ctx, listener);
	if (listener->closing) /* what they said before comes first */
		qmt_again(ctx);
	qmt_want_flush(ctx);
}

static void on_socket(struct qmt_ctx *ctx, void *state, int fd, uint32_t events, void *arg)
{
	struct listener *listener = state;

	(void)fd;
	(void)events;
	(void)arg;
	listener->after_frame = receive(ctx, listener, 1) > 0; /* as zmq_dialer.c: first its receiver, then the look */
	if (listener->after_frame)
		qmt_again(ctx);
	else
		qmt_want_flush(ctx);
}

static void again(struct qmt_ctx *ctx, void *state)
{
	struct listener *listener = state;

	if (listener->after_frame)
		listener->after_frame = false;
	else
		receive(ctx, listener, FRAMES_A_TURN);
	qmt_want_flush(ctx);
}

static void flush(struct qmt_ctx *ctx, void *state)
{
	struct listener *listener = state;
	uint32_t events = zsocket_events(listener->socket);

	if (listener->blocked) {
		retry_blocked(ctx, listener);
		events = zsocket_events(listener->socket);
	}
	if ((events & ZMQ_POLLIN && !listener->paused) || listener->closing)
		qmt_again(ctx);
}

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct listener *listener = state;
	struct qmt_err err = {0};
	int rc;

	/* the spawner's promise: from the spawn on it is ours to change */
	memcpy(&listener->config, &config, sizeof(config));
	listener->limits = &listener->config->node->limits;
	listener->self = qmt_self(ctx);
	listener->fd = listener->monitor_fd = -1;
	rc = listener->config->socket ? 0 : zlistener_bind(listener->config, &err);
	if (rc) {
		qmt_fail(ctx, "%s: %s", listener->config->endpoint, err.text);
		return -1;
	}
	listener->socket = listener->config->socket;
	listener->monitor = listener->config->monitor;
	listener->config->socket = listener->config->monitor = NULL;
	listener->fd = zsocket_fd(listener->socket);
	listener->monitor_fd = zsocket_fd(listener->monitor);
	rc = qmt_fd_watch(ctx, listener->fd, QMT_FD_READ | QMT_FD_EDGE, on_socket, NULL);
	if (!rc)
		rc = qmt_fd_watch(ctx, listener->monitor_fd, QMT_FD_READ | QMT_FD_EDGE, on_monitor, NULL);
	if (rc) {
		qmt_fail(ctx, "%s: watching the socket: %s", listener->config->endpoint, strerror(-rc));
		return -1;
	}
	take_events(ctx, listener); /* edges from before the watch were lost */
	qmt_want_flush(ctx);
	return 0;
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct listener *listener = state;

	if (listener->fd >= 0)
		qmt_fd_unwatch(ctx, listener->fd);
	if (listener->monitor_fd >= 0)
		qmt_fd_unwatch(ctx, listener->monitor_fd);
	for (uint32_t slot = 0; slot < listener->all.room; slot++)
		if (listener->all.slots[slot])
			drop_waiting(ctx, listener->all.slots[slot]);
	connections_fini(&listener->all);
	if (listener->config)
		zcontext_close_both(listener->config->context, listener->socket, listener->monitor);
}

static qmt_handler *const handlers[wire_message_count] = {
	[wire_out_id] = on_out,
	[wire_took_id] = on_took,
	[wire_proven_id] = on_link_proven,
	[wire_cut_id] = on_cut,
};

const struct qmt_actor_desc zlistener_desc = {
	.abi = QMT_ABI,
	.name = "listener",
	.doc = "Accepts connections and starts a link for each.",
	.state_size = sizeof(struct listener),
	.supervision = {.backoff_ms = 100},
	.accepts = {{&wire_protocol, handlers}},
	.start = start,
	.stop = stop,
	.child_ended = child_ended,
	.again = again,
	.flush = flush,
};
