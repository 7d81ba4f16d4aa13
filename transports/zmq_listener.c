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
#include <errno.h>
#include <zmq.h>

#include "runtime/port.h"
#include "transports/zmq_listener_internal.h"

void zlistener_complain(struct qmt_ctx *ctx, struct listener *listener, enum complaint kind, const char *reason)
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
void zlistener_refuse(struct qmt_ctx *ctx, struct listener *listener, struct connection *connection, const char *why)
{
	cut(ctx, listener, connection);
	if (connection->link_running && !connection->gone)
		(void)QMT_TELL(ctx, connection->link, wire_gone, .why = qmt_str(why));
	connection->gone = true;
}

static void on_sweep(struct qmt_ctx *ctx, void *state, void *arg);

static void start_sweep(struct qmt_ctx *ctx, struct listener *listener)
{
	uint64_t every = listener->limits->hello_ms / 4 < SWEEP_MS ? listener->limits->hello_ms / 4 : SWEEP_MS;

	if (listener->sweep.id == 0 && listener->all.unproven)
		(void)qmt_timer_start(ctx, every ? every : 1, on_sweep, NULL, &listener->sweep);
}

/* What HELLO needs, with the handshakes of ZMTP and CURVE around it. libzmq keeps the parts of a message until the last
 * one is there, without any bound and out of our sight: only the kernel knows how much of it came. */
static bool is_too_much(const struct listener *listener, const struct descriptor *descriptor, int fd)
{
	enum { HANDSHAKES = 16384, HELLO_FRAMES = 4 };

	if (descriptor->connection && descriptor->connection->proven)
		return false;
	return connection_received(fd, listener->config->endpoint) >
		HANDSHAKES + HELLO_FRAMES * listener->limits->hello_frame_bytes;
}

/* Those that connected and say nothing have no link whose time could run out; those that never end a message have none
 * either, or one that hears nothing. */
static void on_sweep(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct listener *listener = state;
	uint64_t now = qmt_now_ms(ctx);

	(void)arg;
	listener->sweep = (struct qmt_timer){0};
	for (uint32_t fd = 0; fd < listener->all.descriptor_room; fd++) {
		struct descriptor *descriptor = &listener->all.descriptors[fd];

		if (!descriptor->open || descriptor->cut)
			continue;
		bool is_silent = !descriptor->connection && now - descriptor->since_ms >= listener->limits->hello_ms;
		if (is_silent)
			zlistener_complain(ctx, listener, SLOW, "a connection that said nothing within hello_ms");
		else if (is_too_much(listener, descriptor, (int)fd))
			zlistener_complain(ctx, listener, TOO_LONG, "more bytes than HELLO needs before it has ended");
		else
			continue;
		descriptor->cut = true;
		connection_shutdown((int)fd, listener->config->endpoint);
	}
	start_sweep(ctx, listener);
}

/* Whoever only connects must not keep out those who come to say HELLO, and they are done soon: so the newest stay. */
static void cut_oldest(struct listener *listener, int newest)
{
	struct descriptor *oldest = NULL;

	for (uint32_t fd = 0; fd < listener->all.descriptor_room; fd++) {
		struct descriptor *descriptor = &listener->all.descriptors[fd];

		if (!descriptor->open || descriptor->cut || (int)fd == newest ||
			(descriptor->connection && descriptor->connection->proven))
			continue;
		if (!oldest || descriptor->order < oldest->order)
			oldest = descriptor;
	}
	if (!oldest)
		return;
	oldest->cut = true;
	connection_shutdown((int)(oldest - listener->all.descriptors), listener->config->endpoint);
}

static void accepted(struct qmt_ctx *ctx, struct listener *listener, int fd)
{
	struct descriptor *descriptor = connections_descriptor(&listener->all, fd);

	if (!descriptor)
		return;
	*descriptor = (struct descriptor){.open = true, .since_ms = qmt_now_ms(ctx), .order = ++listener->all.accepted};
	listener->all.open++;
	listener->all.unproven++;
	if (listener->all.unproven > listener->limits->unproven_max) {
		zlistener_complain(ctx, listener, TOO_MANY,
			"more than unproven_max connections that have not ended HELLO: the oldest are cut");
		cut_oldest(listener, fd);
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
		connection->heard_at = listener->taken;
		listener->closing++;
	}
}

void zlistener_take_events(struct qmt_ctx *ctx, struct listener *listener)
{
	struct zevent event;

	while (zevent_next(listener->monitor, &event)) {
		if (event.event == ZMQ_EVENT_ACCEPTED)
			accepted(ctx, listener, (int)event.value);
		else if (event.event == ZMQ_EVENT_DISCONNECTED)
			disconnected(listener, (int)event.value);
	}
}

void zlistener_settle_closed(struct qmt_ctx *ctx, struct listener *listener, bool is_dry)
{
	for (uint32_t slot = 0; listener->closing && slot < listener->all.room; slot++) {
		struct connection *connection = listener->all.slots[slot];

		if (!connection || !connection->closed || connection->fd < 0 ||
			(!is_dry && !connection_has_said_all(&listener->all, connection, listener->taken)))
			continue;
		connection->fd = -1;
		listener->closing--;
		if (connection->link_running && !connection->gone)
			(void)QMT_TELL(ctx, connection->link, wire_gone, .why = qmt_str("the connection was closed"));
		connection->gone = true;
		forget_if_over(ctx, listener, connection);
	}
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
		zlistener_complain(ctx, listener, TOO_MANY_LINKS, "links_max links are in use");
		zlistener_refuse(ctx, listener, connection, "links_max links are in use");
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
	zlistener_take_events(ctx, listener);
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
	listener->after_frame =
		zlistener_receive(ctx, listener, 1) > 0; /* as zmq_dialer.c: first its receiver, then the look */
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
		zlistener_receive(ctx, listener, FRAMES_A_TURN);
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
	if (!listener->paused && (events & ZMQ_POLLIN || listener->closing))
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
	zlistener_take_events(ctx, listener); /* edges from before the watch were lost */
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
