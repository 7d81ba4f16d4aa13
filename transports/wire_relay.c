/* transports/wire_relay.c - a link whose frames pass through another actor, by messages. A window of frames keeps a
 * peer that does not read from filling the relay: WIRE_WINDOW frames go out on credit, the relay gives credit back as
 * they leave. */
#include "transports/wire.h"

#include <errno.h>

QMT_DEFINE_PROTOCOL(wire, WIRE_MESSAGES, "Frames between a link and the actor that owns its socket.")

struct relay {
	struct wire wire;
	struct wire_relay_config config;
	uint32_t credit;
	uint32_t taken;
};

static struct relay *relay_of(struct wire *wire)
{
	return (struct relay *)(void *)wire;
}

static int relay_open(
	struct qmt_ctx *ctx, struct link *link, const void *config, struct wire **ret_wire, struct qmt_err *err)
{
	struct relay *relay = calloc(1, sizeof(*relay));

	(void)ctx;
	(void)link;
	if (!relay)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	relay->wire.ops = &wire_relay_ops;
	relay->config = *(const struct wire_relay_config *)config;
	relay->credit = WIRE_WINDOW;
	*ret_wire = &relay->wire;
	return 0;
}

static int relay_send(struct qmt_ctx *ctx, struct wire *wire, struct qmt_bytes frame)
{
	struct relay *relay = relay_of(wire);

	if (relay->credit == 0)
		return WIRE_E_FULL;
	if (QMT_TELL(ctx, relay->config.relay, wire_out, .connection = relay->config.connection, .data = frame))
		return WIRE_E_GONE; /* the relay is our parent, or its end comes as wire.gone or by the supervisor */
	relay->credit--;
	return 0;
}

static void relay_proven(struct qmt_ctx *ctx, struct wire *wire)
{
	struct relay *relay = relay_of(wire);

	(void)QMT_TELL(ctx, relay->config.relay, wire_proven, .connection = relay->config.connection);
}

static void relay_close(struct qmt_ctx *ctx, struct link *link, struct wire *wire)
{
	struct relay *relay = relay_of(wire);

	(void)link;
	(void)QMT_TELL(ctx, relay->config.relay, wire_cut, .connection = relay->config.connection);
	free(relay);
}

const struct wire_ops wire_relay_ops = {
	.transport = "relay",
	.open = relay_open,
	.send = relay_send,
	.proven = relay_proven,
	.close = relay_close,
};

/* ---- messages from the relay ------------------------------------------------------------------------------------- */

static void on_opened(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct wire_opened *msg = body;

	if (link_wire(state) && msg->channel_key.len == HELLO_KEY)
		link_wire_open(ctx, state, msg->channel_key.p);
}

static void on_frame(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct wire_frame *msg = body;
	struct wire *wire = link_wire(state);

	if (!wire)
		return;
	struct relay *relay = relay_of(wire);
	if (++relay->taken == WIRE_TOOK) {
		(void)QMT_TELL(
			ctx, relay->config.relay, wire_took, .connection = relay->config.connection, .frames = relay->taken);
		relay->taken = 0;
	}
	link_wire_frame(ctx, state, msg->data); /* may close the wire */
}

static void on_credit(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct wire_credit *msg = body;
	struct wire *wire = link_wire(state);

	if (!wire)
		return;
	relay_of(wire)->credit += msg->frames;
	link_wire_writable(ctx, state);
}

static void on_gone(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct wire_gone *msg = body;
	char why[256];

	if (!link_wire(state))
		return;
	qmt_text(why, sizeof(why), "%.*s", QMT_STR_ARG(msg->why));
	link_wire_closed(ctx, state, why);
}

qmt_handler *const wire_relay_handlers[wire_message_count] = {
	[wire_opened_id] = on_opened,
	[wire_frame_id] = on_frame,
	[wire_credit_id] = on_credit,
	[wire_gone_id] = on_gone,
};
