/* transports/zmq_listener_in.c - messages from the ROUTER of a listener: whose they are, and to whom they go. */
#include <errno.h>
#include <zmq.h>

#include "transports/channel_key.h"
#include "transports/zmq_listener_internal.h"

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

	zlistener_take_events(ctx, listener);
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
		zlistener_refuse(ctx, listener, connection, "no link could be started");
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

		zlistener_complain(ctx, listener, id_is_wrong ? BAD_ID : BAD_USER,
			id_is_wrong ? "a connection that chose its own routing id" : "a message without User-Id");
		connection_shutdown(fd, listener->config->endpoint);
		return;
	}
	memcpy(&router_id, id + 1, sizeof(router_id));
	connection = connections_by_router_id(&listener->all, router_id);
	if (connection)
		connection->heard_at = listener->taken;
	if (!connection)
		connection = meet(ctx, listener, router_id, fd, user_id);
	if (!connection || connection->cut || connection->gone)
		return;
	if (strcmp(connection->user_id, user_id) != 0 || (connection->fd != fd && !connection->closed)) {
		zlistener_complain(ctx, listener, BAD_USER, "a message under the id of another connection");
		zlistener_refuse(ctx, listener, connection, "another User-Id than before");
		connection_shutdown(fd, listener->config->endpoint);
		return;
	}
	if (more) {
		zlistener_complain(ctx, listener, BAD_PARTS, "a message in several parts");
		zlistener_refuse(ctx, listener, connection, "a message in several parts");
		return;
	}
	if (!connection->proven && zmq_msg_size(frame) > listener->limits->hello_frame_bytes) {
		zlistener_complain(ctx, listener, TOO_LONG, "a frame longer than hello_frame_bytes before HELLO has ended");
		zlistener_refuse(ctx, listener, connection, "a frame longer than hello_frame_bytes before HELLO has ended");
		return;
	}
	if (QMT_TELL(ctx, connection->link, wire_frame, .data = {zmq_msg_data(frame), (uint32_t)zmq_msg_size(frame)})) {
		zlistener_refuse(ctx, listener, connection, "the link has ended");
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
int zlistener_receive(struct qmt_ctx *ctx, struct listener *listener, int most)
{
	int count = 0;

	while (count < most && !listener->paused) {
		zmq_msg_t id, frame;

		zmq_msg_init(&id);
		if (zmq_msg_recv(&id, listener->socket, ZMQ_DONTWAIT) < 0) {
			zmq_msg_close(&id);
			zlistener_settle_closed(ctx, listener, true);
			return count;
		}
		count++;
		listener->taken++;
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
	zlistener_settle_closed(ctx, listener, false);
	return count;
}
