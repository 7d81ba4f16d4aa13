/* transports/zmq_dialer.c - see zmq_dialer.h.
 *
 * ZMQ_FD is an edge about commands, and any call on the socket may swallow it. So: after an edge we receive; whatever
 * we did in a turn, its last act (turn_ends) is to look at ZMQ_EVENTS, and if there is input, another turn follows
 * (`again`). Each such look costs a poll(2). After one frame the receivers run first: their answers leave through us in
 * the same turn, and one look serves both.
 */
#include "transports/zmq_dialer.h"

#include <errno.h>
#include <zmq.h>

#include "transports/channel_key.h"

enum { FRAMES_A_TURN = 16 };

struct dialer {
	struct wire wire;
	struct zcontext *context;
	void *socket, *monitor;
	int fd, monitor_fd;
	uint8_t key[CHANNEL_KEY]; /* ours, public */
	bool watched, open, over;
	bool full; /* the last send said so */
	bool after_frame; /* `again` was asked for only to let others run */
	char why[128];
};

static struct dialer *dialer_of(struct wire *wire)
{
	return (struct dialer *)(void *)wire;
}

/* Delivers up to `most` frames. False: the wire has been closed meanwhile. */
static bool receive(struct qmt_ctx *ctx, struct link *link, struct dialer *dialer, int most, int *ret_count)
{
	int count = 0;

	for (; count < most; count++) {
		zmq_msg_t frame;
		bool more;

		zmq_msg_init(&frame);
		if (zmq_msg_recv(&frame, dialer->socket, ZMQ_DONTWAIT) < 0) {
			zmq_msg_close(&frame);
			break;
		}
		more = zmq_msg_more(&frame);
		if (!more) /* ours are never split; of what is, the last part counts, and is no frame of ours */
			link_wire_frame(ctx, link, (struct qmt_bytes){zmq_msg_data(&frame), (uint32_t)zmq_msg_size(&frame)});
		zmq_msg_close(&frame);
		if (link_wire(link) != &dialer->wire)
			return false;
	}
	*ret_count = count;
	return true;
}

static void take_events(struct qmt_ctx *ctx, struct link *link, struct dialer *dialer)
{
	struct zevent event;

	while (zevent_next(dialer->monitor, &event)) {
		switch (event.event) {
		case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
			dialer->open = true;
			link_wire_open(ctx, link, dialer->key);
			if (link_wire(link) != &dialer->wire)
				return;
			break;
		case ZMQ_EVENT_CLOSED:
		case ZMQ_EVENT_DISCONNECTED:
		case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
		case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
		case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
			if (!dialer->over)
				zevent_text(&event, dialer->why);
			dialer->over = true;
			break;
		default:
			break;
		}
	}
}

static void look_at_monitor(struct qmt_ctx *ctx, struct link *link, struct dialer *dialer)
{
	int count;

	take_events(ctx, link, dialer);
	if (link_wire(link) != &dialer->wire)
		return;
	if (!dialer->over) {
		qmt_want_flush(ctx);
		return;
	}
	/* what the peer said last was read before the connection broke */
	do {
		if (!receive(ctx, link, dialer, FRAMES_A_TURN, &count))
			return;
	} while (count == FRAMES_A_TURN);
	link_wire_closed(ctx, link, dialer->why);
}

static void on_monitor(struct qmt_ctx *ctx, void *state, int fd, uint32_t events, void *arg)
{
	(void)fd;
	(void)events;
	look_at_monitor(ctx, state, arg);
}

static void on_socket(struct qmt_ctx *ctx, void *state, int fd, uint32_t events, void *arg)
{
	struct link *link = state;
	struct dialer *dialer = arg;
	int count;

	(void)fd;
	(void)events;
	if (!receive(ctx, link, dialer, 1, &count))
		return;
	dialer->after_frame = count > 0;
	if (count)
		qmt_again(ctx);
	else
		qmt_want_flush(ctx);
}

static void dialer_again(struct qmt_ctx *ctx, struct link *link, struct wire *wire)
{
	struct dialer *dialer = dialer_of(wire);
	int count;

	if (dialer->after_frame)
		dialer->after_frame = false;
	else if (!receive(ctx, link, dialer, FRAMES_A_TURN, &count))
		return;
	qmt_want_flush(ctx);
}

static void dialer_turn_ends(struct qmt_ctx *ctx, struct link *link, struct wire *wire)
{
	struct dialer *dialer = dialer_of(wire);
	uint32_t events;

	if (!dialer->watched) { /* edges from before the watch were lost */
		dialer->watched = true;
		look_at_monitor(ctx, link, dialer);
		if (link_wire(link) != wire)
			return;
	}
	events = zsocket_events(dialer->socket);
	if (dialer->full && events & ZMQ_POLLOUT) {
		dialer->full = false;
		link_wire_writable(ctx, link);
		if (link_wire(link) != wire)
			return;
		events = zsocket_events(dialer->socket);
	}
	if (events & ZMQ_POLLIN)
		qmt_again(ctx);
}

static int dialer_send(struct qmt_ctx *ctx, struct wire *wire, struct qmt_bytes frame)
{
	struct dialer *dialer = dialer_of(wire);

	(void)ctx;
	if (zmq_send(dialer->socket, frame.p, frame.len, ZMQ_DONTWAIT) >= 0)
		return 0;
	if (zmq_errno() != EAGAIN)
		return WIRE_E_GONE;
	dialer->full = true;
	return WIRE_E_FULL;
}

static void dialer_close(struct qmt_ctx *ctx, struct link *link, struct wire *wire)
{
	struct dialer *dialer = dialer_of(wire);

	(void)link;
	if (dialer->fd >= 0)
		qmt_fd_unwatch(ctx, dialer->fd);
	if (dialer->monitor_fd >= 0)
		qmt_fd_unwatch(ctx, dialer->monitor_fd);
	zcontext_close_both(dialer->context, dialer->socket, dialer->monitor);
	free(dialer);
}

static int set_keys(struct qmt_ctx *ctx, struct dialer *dialer)
{
	uint8_t seed[CHANNEL_KEY], secret[CHANNEL_KEY], server[CHANNEL_KEY], unused[CHANNEL_KEY];
	int rc, never = -1, one = 1;

	qmt_random(ctx, seed, sizeof(seed));
	channel_key_make(seed, dialer->key, secret);
	channel_key_published(server, unused);
	rc = zmq_setsockopt(dialer->socket, ZMQ_CURVE_SERVERKEY, server, sizeof(server)) ||
		zmq_setsockopt(dialer->socket, ZMQ_CURVE_PUBLICKEY, dialer->key, CHANNEL_KEY) ||
		zmq_setsockopt(dialer->socket, ZMQ_CURVE_SECRETKEY, secret, sizeof(secret)) ||
		zmq_setsockopt(dialer->socket, ZMQ_RECONNECT_IVL, &never, sizeof(never)) ||
		zmq_setsockopt(dialer->socket, ZMQ_IMMEDIATE, &one, sizeof(one));
	explicit_bzero(seed, sizeof(seed));
	explicit_bzero(secret, sizeof(secret));
	return rc;
}

static int dialer_open(
	struct qmt_ctx *ctx, struct link *link, const void *config_arg, struct wire **ret_wire, struct qmt_err *err)
{
	const struct zmq_dialer_config *config = config_arg;
	struct dialer *dialer = calloc(1, sizeof(*dialer));
	int rc = 0;

	if (!dialer)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	dialer->wire.ops = &zmq_dialer_ops;
	dialer->context = config->context;
	dialer->fd = dialer->monitor_fd = -1;
	dialer->socket = zcontext_socket(config->context, ZMQ_DEALER, config->limits, err);
	dialer->monitor = dialer->socket ? zcontext_monitor(config->context, dialer->socket, err) : NULL;
	if (!dialer->monitor)
		rc = -EMFILE;
	else if (set_keys(ctx, dialer) || zmq_connect(dialer->socket, config->endpoint))
		rc = qmt_err_set(err, -zmq_errno(), "%s", zmq_strerror(zmq_errno()));
	if (!rc) {
		dialer->fd = zsocket_fd(dialer->socket);
		dialer->monitor_fd = zsocket_fd(dialer->monitor);
		rc = qmt_fd_watch(ctx, dialer->fd, QMT_FD_READ | QMT_FD_EDGE, on_socket, dialer);
		if (!rc)
			rc = qmt_fd_watch(ctx, dialer->monitor_fd, QMT_FD_READ | QMT_FD_EDGE, on_monitor, dialer);
		if (rc)
			qmt_err_set(err, rc, "watching the socket: %s", strerror(-rc));
	}
	if (rc) {
		dialer_close(ctx, link, &dialer->wire);
		return rc;
	}
	qmt_want_flush(ctx); /* an edge from before the watch would be lost */
	*ret_wire = &dialer->wire;
	return 0;
}

const struct wire_ops zmq_dialer_ops = {
	.transport = "zmq",
	.open = dialer_open,
	.send = dialer_send,
	.turn_ends = dialer_turn_ends,
	.again = dialer_again,
	.close = dialer_close,
};
