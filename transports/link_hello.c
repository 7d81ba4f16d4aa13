/* transports/link_hello.c - a link and the HELLO gate: frames go to hello.c, and what it proves is told to "peers". */
#include <errno.h>

#include "transports/link_internal.h"

void link_init_self(struct link *link)
{
	const struct link_node *node = link->config->node;

	link->hello_self = (struct hello_self){
		.identity = node->identity,
		.node_name = node->node_name,
		.boot_id = node->boot_id,
		.attempt = link->config->attempt,
		.capabilities = node->capabilities,
		.capability_count = node->capability_count,
		.scopes = link->own_ids,
		.scope_count = link->own_count,
		.body_bytes = node->limits.body_bytes,
		.features = HELLO_FEATURE_BONDS,
		.asks = link->config->of_mesh,
	};
}

static void send_hello(struct qmt_ctx *ctx, struct link *link, struct qmt_buf *out)
{
	int rc = 0;

	if (out->len) /* the first frames of a connection: no socket is full yet */
		rc = link->wire->ops->send(ctx, link->wire, (struct qmt_bytes){(const uint8_t *)out->data, (uint32_t)out->len});
	qmt_want_flush(ctx);
	if (rc == WIRE_E_FULL)
		link_close(ctx, link, -EAGAIN, "the connection takes no HELLO");
}

void link_wire_open(struct qmt_ctx *ctx, struct link *link, const uint8_t channel_key[HELLO_KEY])
{
	const struct link_config *config = link->config;
	uint8_t nonce[HELLO_NONCE];
	struct qmt_buf out QMT_CLEANUP(qmt_buf_free) = {0};

	if (link->state != LINK_DIALING)
		return;
	qmt_random(ctx, nonce, sizeof(nonce));
	link_set_state(link, LINK_HELLO);
	link_restart_timer(ctx, link, link->limits->hello_ms);
	if (!config->dialed) {
		hello_listen(&link->hello, &link->hello_self, channel_key, nonce);
		return;
	}
	if (hello_dial(
			&link->hello, &link->hello_self, channel_key, nonce, config->any_peer ? NULL : &config->expected, &out)) {
		link_close(ctx, link, -ENOMEM, "out of memory");
		return;
	}
	send_hello(ctx, link, &out);
}

static void tell_peers_proven(struct qmt_ctx *ctx, struct link *link)
{
	const struct hello_peer *peer = &link->hello.peer;
	const struct link_node *node = link->config->node;
	uint8_t id[PEER_ID_BYTES];
	bool dialed = link->config->dialed;
	struct qmt_str scopes[HELLO_SCOPES];

	for (uint32_t i = 0; i < link->scope_count; i++)
		scopes[i] = qmt_str(link->scopes[i].id);
	peer_id_bytes(&link->peer_id, id);
	if (QMT_TELL(ctx, link->peers, link_proven, .link = link->self, .tag = link->config->tag, .dialed = dialed,
			.peer = {id, sizeof(id)}, .node = peer->node_name, .peer_boot = peer->boot_id,
			.boot = dialed ? qmt_str(node->boot_id) : peer->boot_id,
			.attempt = dialed ? link->config->attempt : peer->attempt,
			.capabilities = {peer->capabilities, peer->capability_count}, .address = qmt_str(link->config->address),
			.transport = qmt_str(link->config->transport), .scopes = {scopes, link->scope_count}))
		link_refuse(ctx, link, -EAGAIN, "this node takes no links now");
}

static void on_proven(struct qmt_ctx *ctx, struct link *link)
{
	const struct hello_peer *peer = &link->hello.peer;

	link->peer_id = peer->id;
	peer_id_text(&peer->id, link->peer);
	if (peer->body_bytes && peer->body_bytes < link->outbox.limits.body_bytes)
		link->outbox.limits.body_bytes = (size_t)peer->body_bytes;
	link->heard_ms = link->since_ms = qmt_now_ms(ctx);
	if (link_share_agreed(link)) {
		link_close(ctx, link, -ENOMEM, "out of memory");
		return;
	}
	if (!link->config->of_mesh) {
		qmt_timer_cancel(ctx, &link->timer);
		link_set_state(link, LINK_UP); /* a client on this host: the socket itself tells when it goes away */
		return;
	}
	if (!link_budget_open(ctx, link)) {
		link_close(ctx, link, -ENOMEM, "out of memory");
		return;
	}
	link_set_state(link, LINK_PROVEN_STATE);
	/* peers may wait for another dial before it decides, so twice the time of a HELLO */
	link_restart_timer(ctx, link, 2 * link->limits->hello_ms);
	tell_peers_proven(ctx, link);
}

/* Whether this PeerId may come in is not known here. */
static void ask_peers(struct qmt_ctx *ctx, struct link *link)
{
	uint8_t id[PEER_ID_BYTES];

	link->asked = true;
	peer_id_bytes(&link->hello.peer.id, id);
	if (QMT_TELL(ctx, link->peers, link_claims, .link = link->self, .peer = {id, sizeof(id)},
			.node = link->hello.peer.node_name, .address = qmt_str(link->config->address),
			.transport = qmt_str(link->config->transport), .dialed = link->config->dialed))
		link_close(ctx, link, -EAGAIN, "this node takes no links now");
}

void link_hello_frame(struct qmt_ctx *ctx, struct link *link, struct qmt_bytes frame)
{
	struct qmt_buf out QMT_CLEANUP(qmt_buf_free) = {0};
	struct qmt_err err = {0};
	int rc;

	if (frame.len > link->limits->hello_frame_bytes) {
		link_close(ctx, link, -EMSGSIZE, "a frame longer than hello_frame_bytes before HELLO has ended");
		return;
	}
	rc = hello_input(&link->hello, frame, &out, &err);
	/* Before the WELCOME leaves: whoever reads it may send long frames at once. */
	if (rc == HELLO_DONE && link->wire->ops->proven)
		link->wire->ops->proven(ctx, link->wire);
	send_hello(ctx, link, &out);
	if (link->state != LINK_HELLO)
		return;
	if (rc < 0 && out.len)
		link_refuse(ctx, link, rc, err.text);
	else if (rc < 0)
		link_close(ctx, link, rc, err.text);
	else if (rc == HELLO_ASK)
		ask_peers(ctx, link);
	else if (rc == HELLO_DONE)
		on_proven(ctx, link);
}

static bool is_asked(struct link *link)
{
	bool asked = link->asked && link->state == LINK_HELLO && !link->ending;

	link->asked = false;
	return asked;
}

void link_on_admit(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link_admit *msg = body;
	struct qmt_buf out QMT_CLEANUP(qmt_buf_free) = {0};
	struct qmt_err err = {.text = "out of memory"};
	struct link *link = state;
	int rc;

	if (!is_asked(link))
		return;
	rc = link_own_rights(link, msg->rights.items, msg->rights.count);
	link->named = msg->named;
	link_init_self(link);
	rc = rc ? rc : hello_accept(&link->hello, &out, &err);
	if (rc == -ENOLINK) {
		send_hello(ctx, link, &out);
		if (link->state == LINK_HELLO)
			link_refuse(ctx, link, rc, err.text);
		return;
	}
	if (rc < 0) {
		link_close(ctx, link, rc, err.text);
		return;
	}
	if (rc == HELLO_DONE && link->wire->ops->proven)
		link->wire->ops->proven(ctx, link->wire);
	send_hello(ctx, link, &out);
	if (rc == HELLO_DONE && link->state == LINK_HELLO)
		on_proven(ctx, link);
}

void link_on_deny(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link_deny *msg = body;
	struct qmt_buf out QMT_CLEANUP(qmt_buf_free) = {0};
	struct link *link = state;
	char why[256];

	if (!is_asked(link))
		return;
	qmt_text(why, sizeof(why), "%.*s", QMT_STR_ARG(msg->why));
	hello_deny(&link->hello, &out, why);
	send_hello(ctx, link, &out);
	if (link->state == LINK_HELLO)
		link_refuse(ctx, link, -EPERM, why);
}
