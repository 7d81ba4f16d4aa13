/* transports/link.c - the life of a link: its states, HELLO, time, taking over and retiring.
 *
 *      DIALING --connected--> HELLO --proven--> PROVEN --take--> UP --retire--> DRAINING
 *         |                     |  \               |             |                 |
 *         |                     |   (a control client: UP)       |                 | nothing in flight,
 *         v                     v                  v             v                 v or silent for drain_ms
 *      CLOSED <--- connection lost, refused, silent for dead_ms, cut, stopped ---- CLOSED
 *
 * PROVEN waits for the actor "peers", which keeps one link between a pair (peers.c). The node with the smaller PeerId decides and
 * says so on the link (LINK_USE); the other one follows. So both ends use the same link, and usually there never was another.
 *
 * When a link takes over from another, order per sender and target has to hold although the two are different connections:
 *      new:  registers as "peer/<PeerId>"; what it is given waits in its outbox (gated).
 *      old:  sends what it was given before, then LINK_BYE; the peer answers LINK_BYE_ACK when all of that has been handed on;
 *            then the new one is told (link.retired) and opens its gate.
 * The old one goes on delivering answers, and messages to refs that crossed it, until nothing is in flight; LINK_FIN from both
 * sides ends it. If it dies before the BYE_ACK, the new one notices (it watches the old one) and goes on.
 */
#include "transports/link_internal.h"

#include <assert.h>
#include <errno.h>

#include "proto/codec.h"

QMT_DEFINE_PROTOCOL(link, LINK_MESSAGES, "Which link is in use: between links and the actor peers.")

enum { HANG_UP_MS = 200, LINK_BOUND = 4096 };

static void on_timer(struct qmt_ctx *ctx, void *state, void *arg);

/* ---- states ------------------------------------------------------------------------------------------------------------ */

static void set_state(struct link *link, enum link_state state)
{
#define MAY(to) (1u << (to))
	static const uint8_t allowed[LINK_STATES] = {
		[LINK_DIALING] = MAY(LINK_HELLO) | MAY(LINK_CLOSED),
		[LINK_HELLO] = MAY(LINK_PROVEN_STATE) | MAY(LINK_UP) | MAY(LINK_CLOSED),
		[LINK_PROVEN_STATE] = MAY(LINK_UP) | MAY(LINK_CLOSED),
		[LINK_UP] = MAY(LINK_DRAINING) | MAY(LINK_CLOSED),
		[LINK_DRAINING] = MAY(LINK_CLOSED),
		[LINK_CLOSED] = 0,
	};
#undef MAY

	assert(allowed[link->state] & 1u << state);
	assert(state != LINK_UP || link->peer[0]); /* nobody is served before it is proven who that is */
	assert(state == LINK_CLOSED || link->wire);
	link->state = (uint8_t)state;
}

static const char *name_of(const struct link *link)
{
	return link->peer[0] ? link->peer : link->config->address;
}

void link_complain(struct qmt_ctx *ctx, struct link *link, enum link_complaint what, const char *why, const char *subject)
{
	if (link->complained & 1u << what)
		return;
	link->complained |= 1u << what;
	QMT_LOG(ctx, QMT_WARN, what == COMPLAIN_PEER_REFUSED ? "link.peer_refused" : "link.refused", "peer", name_of(link), "transport",
		link->config->transport, "reason", why, "to", subject[0] ? subject : NULL, "note", "further ones of this kind are not logged");
}

static void tell_peers_ended(struct qmt_ctx *ctx, struct link *link, int code, const char *why)
{
	bool was_proven = link->peer[0] != '\0';

	if (qmt_ref_is_set(link->peers))
		(void)QMT_TELL(ctx, link->peers, link_ended, .link = link->self, .tag = link->config->tag, .dialed = link->config->dialed,
			.why = qmt_str(why), .code = code, .was_proven = was_proven, .rejected = !was_proven && !link->config->dialed && code,
			.transport = qmt_str(link->config->transport), .from = qmt_str(link->config->address));
}

static void tell_successor(struct qmt_ctx *ctx, struct link *link)
{
	if (qmt_ref_is_set(link->successor))
		(void)QMT_TELL(ctx, link->successor, link_retired, );
	link->successor = (struct qmt_ref){0};
}

void link_close(struct qmt_ctx *ctx, struct link *link, int code, const char *why)
{
	struct wire *wire = link->wire;
	bool was_proven = link->peer[0] != '\0', ended_well = link->state == LINK_DRAINING;

	if (link->state == LINK_CLOSED)
		return;
	set_state(link, LINK_CLOSED);
	link->wire = NULL;
	if (wire)
		wire->ops->close(ctx, link, wire);
	link_fail_asks(ctx, link);
	link_hold_end(ctx, link);
	tell_successor(ctx, link);
	tell_peers_ended(ctx, link, code, why);
	if (was_proven && link->config->of_mesh)
		QMT_LOG(ctx, ended_well ? QMT_DEBUG : QMT_INFO, "link.down", "peer", link->peer, "transport", link->config->transport, "reason", why);
	qmt_stop_self(ctx);
}

static void restart_timer(struct qmt_ctx *ctx, struct link *link, uint64_t delay_ms)
{
	qmt_timer_cancel(ctx, &link->timer);
	if (qmt_timer_start(ctx, delay_ms ? delay_ms : 1, on_timer, NULL, &link->timer))
		link_close(ctx, link, -ENOMEM, "out of memory");
}

void link_refuse(struct qmt_ctx *ctx, struct link *link, int code, const char *why)
{
	struct link_error error = {.fail = QMT_FAIL_NOT_ALLOWED, .text = qmt_str(why)};

	if (link->ending || link->state == LINK_CLOSED)
		return;
	link_send_control(ctx, link, LINK_CUT, &link_error_record, &error);
	if (link->state == LINK_CLOSED)
		return;
	link_pump(ctx, link);
	qmt_want_flush(ctx);
	link->ending = true;
	link_fail_asks(ctx, link);
	tell_successor(ctx, link);
	tell_peers_ended(ctx, link, code, why);
	link->peers = (struct qmt_ref){0}; /* it knows */
	if (link->config->of_mesh && link->peer[0])
		QMT_LOG(ctx, QMT_INFO, "link.cut", "peer", link->peer, "transport", link->config->transport, "reason", why);
	restart_timer(ctx, link, HANG_UP_MS);
}

/* ---- HELLO ------------------------------------------------------------------------------------------------------------- */

static void init_self(struct link *link)
{
	const struct link_node *node = link->config->node;

	link->hello_self = (struct hello_self){
		.identity = node->identity,
		.node_name = node->node_name,
		.boot_id = node->boot_id,
		.attempt = link->config->attempt,
		.capabilities = node->capabilities,
		.capability_count = node->capability_count,
		.scopes = node->scopes,
		.scope_count = node->scope_count,
		.body_bytes = node->limits.body_bytes,
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
	set_state(link, LINK_HELLO);
	restart_timer(ctx, link, link->limits->hello_ms);
	if (!config->dialed) {
		hello_listen(&link->hello, &link->hello_self, channel_key, nonce);
		return;
	}
	if (hello_dial(&link->hello, &link->hello_self, channel_key, nonce, config->any_peer ? NULL : &config->expected, &out)) {
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

	peer_id_bytes(&link->peer_id, id);
	if (QMT_TELL(ctx, link->peers, link_proven, .link = link->self, .tag = link->config->tag, .dialed = dialed, .peer = {id, sizeof(id)},
			.node = peer->node_name, .peer_boot = peer->boot_id, .boot = dialed ? qmt_str(node->boot_id) : peer->boot_id,
			.attempt = dialed ? link->config->attempt : peer->attempt, .capabilities = {peer->capabilities, peer->capability_count},
			.address = qmt_str(link->config->address), .transport = qmt_str(link->config->transport),
			.scope = qmt_str(node->scopes[peer->scopes[0]])))
		link_refuse(ctx, link, -EAGAIN, "this node takes no links now");
}

static void start_ticks(struct qmt_ctx *ctx, struct link *link)
{
	restart_timer(ctx, link, link->limits->suspect_ms / 2);
}

static void on_proven(struct qmt_ctx *ctx, struct link *link)
{
	const struct hello_peer *peer = &link->hello.peer;

	link->peer_id = peer->id;
	peer_id_text(&peer->id, link->peer);
	if (peer->body_bytes && peer->body_bytes < link->outbox.limits.body_bytes)
		link->outbox.limits.body_bytes = (size_t)peer->body_bytes;
	if (link->wire->ops->proven)
		link->wire->ops->proven(ctx, link->wire);
	link->heard_ms = link->since_ms = qmt_now_ms(ctx);
	if (!link->config->of_mesh) {
		qmt_timer_cancel(ctx, &link->timer);
		set_state(link, LINK_UP); /* a client on this host: the socket itself tells when it goes away */
		return;
	}
	set_state(link, LINK_PROVEN_STATE);
	/* peers may wait for another dial before it decides, so twice the time of a HELLO */
	restart_timer(ctx, link, 2 * link->limits->hello_ms);
	tell_peers_proven(ctx, link);
}

static void hello_frame(struct qmt_ctx *ctx, struct link *link, struct qmt_bytes frame)
{
	struct qmt_buf out QMT_CLEANUP(qmt_buf_free) = {0};
	struct qmt_err err = {0};
	int rc;

	if (frame.len > link->limits->hello_frame_bytes) {
		link_close(ctx, link, -EMSGSIZE, "a frame longer than hello_frame_bytes before HELLO has ended");
		return;
	}
	rc = hello_input(&link->hello, frame, &out, &err);
	send_hello(ctx, link, &out);
	if (link->state != LINK_HELLO)
		return;
	if (rc < 0 && out.len)
		link_refuse(ctx, link, rc, err.text);
	else if (rc < 0)
		link_close(ctx, link, rc, err.text);
	else if (rc == HELLO_DONE)
		on_proven(ctx, link);
}

/* ---- frames -------------------------------------------------------------------------------------------------------------- */

struct frame_arg {
	struct qmt_ctx *ctx;
	struct link *link;
	struct qmt_err *err;
};

static int on_envelope(void *arg, const struct envelope *env)
{
	struct frame_arg *frame = arg;
	int rc = link_envelope(frame->ctx, frame->link, env, frame->err);

	return rc ? rc : link_wire_wanted(frame->link) ? 0 : 1;
}

void link_wire_frame(struct qmt_ctx *ctx, struct link *link, struct qmt_bytes frame)
{
	struct qmt_err err = {0};
	struct frame_arg arg = {ctx, link, &err};
	int rc;

	if (!link_wire_wanted(link))
		return;
	link->heard_ms = qmt_now_ms(ctx);
	if (link->suspect) {
		link->suspect = false;
		(void)QMT_TELL(ctx, link->peers, link_changed, .link = link->self, .rtt_ms = (double)link->rtt_ns / 1e6);
	}
	if (link->state == LINK_HELLO) {
		hello_frame(ctx, link, frame);
		return;
	}
	if (link->state == LINK_DIALING)
		return;
	rc = inbox_frame(&link->inbox, frame, on_envelope, &arg, &err);
	if (rc < 0 && link_wire_wanted(link)) {
		QMT_LOG(ctx, QMT_WARN, "link.hostile", "peer", name_of(link), "transport", link->config->transport, "reason", err.text);
		link_refuse(ctx, link, rc, err.text);
	}
	if (link->outbox.data.open_count || link->outbox.control.open_count)
		qmt_want_flush(ctx);
}

void link_wire_closed(struct qmt_ctx *ctx, struct link *link, const char *why)
{
	char copy[256]; /* it may be the wire's, which goes with it */

	(void)snprintf(copy, sizeof(copy), "%s", why);
	link_close(ctx, link, link->state == LINK_DRAINING ? 0 : -ECONNRESET, copy);
}

bool link_wire_wanted(const struct link *link)
{
	return link->state != LINK_CLOSED && !link->ending;
}

struct wire *link_wire(struct link *link)
{
	return link->wire;
}

/* ---- time ---------------------------------------------------------------------------------------------------------------- */

static void tick(struct qmt_ctx *ctx, struct link *link)
{
	uint64_t now = qmt_now_ms(ctx), silent = now - link->heard_ms;
	char why[64];

	if (silent >= link->limits->dead_ms) {
		(void)snprintf(why, sizeof(why), "silent for %llu ms", (unsigned long long)silent);
		link_close(ctx, link, -ETIMEDOUT, why);
		return;
	}
	if (link->state == LINK_DRAINING && now - link->data_ms >= link->limits->drain_ms) {
		link_close(ctx, link, 0, "another link took over");
		return;
	}
	if (silent >= link->limits->suspect_ms && !link->suspect) {
		link->suspect = true;
		(void)QMT_TELL(ctx, link->peers, link_changed, .link = link->self, .suspect = true, .rtt_ms = (double)link->rtt_ns / 1e6);
	}
	link_sweep_asks(ctx, link);
	link_tell_late_refs(ctx, link);
	link_send_control(ctx, link, LINK_PING, &link_stamp_record, &(struct link_stamp){.stamp = qmt_now_ns(ctx)});
	if (link->state != LINK_CLOSED)
		start_ticks(ctx, link);
}

static void on_timer(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct link *link = state;

	(void)arg;
	link->timer = (struct qmt_timer){0};
	if (link->ending)
		link_close(ctx, link, 0, "refused");
	else if (link->state == LINK_DIALING)
		link_close(ctx, link, -ETIMEDOUT, "no connection within hello_ms");
	else if (link->state == LINK_HELLO)
		link_close(ctx, link, -ETIMEDOUT, "HELLO did not end within hello_ms");
	else if (link->state == LINK_PROVEN_STATE)
		link_close(ctx, link, -ETIMEDOUT, "the peer did not choose this link");
	else
		tick(ctx, link);
}

/* ---- taking over and retiring -------------------------------------------------------------------------------------------- */

static void open_gate(struct qmt_ctx *ctx, struct link *link)
{
	if (!link->outbox.gated)
		return;
	link->outbox.gated = false;
	link->predecessor = (struct qmt_ref){0};
	link_pump(ctx, link);
	qmt_want_flush(ctx);
}

static void go_up(struct qmt_ctx *ctx, struct link *link)
{
	set_state(link, LINK_UP);
	link->data_ms = qmt_now_ms(ctx);
	start_ticks(ctx, link);
}

/* What was chosen before has been overtaken on its way here by a later choice. */
static void take_late(struct qmt_ctx *ctx, struct link *link)
{
	go_up(ctx, link);
	if (link->state != LINK_UP)
		return;
	set_state(link, LINK_DRAINING);
	link_drain_step(ctx, link);
}

static void on_take(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link_take *msg = body;
	struct link *link = state;
	char name[sizeof("peer/") + PEER_ID_TEXT];

	if (link->state != LINK_PROVEN_STATE || link->ending)
		return;
	if (msg->late) {
		take_late(ctx, link);
		return;
	}
	(void)snprintf(name, sizeof(name), "peer/%s", link->peer);
	if (qmt_register_over(ctx, name, msg->from)) {
		link_refuse(ctx, link, -EEXIST, "another link to this peer is in use");
		return;
	}
	go_up(ctx, link);
	if (link->state != LINK_UP)
		return;
	if (qmt_ref_is_set(msg->from)) {
		link->predecessor = msg->from;
		link->outbox.gated = true;
		if (qmt_monitor(ctx, msg->from) || QMT_TELL(ctx, msg->from, link_retire, .to = link->self))
			open_gate(ctx, link);
	}
	if (peer_id_compare(&link->config->node->identity->id, &link->peer_id) < 0)
		link_send_control(ctx, link, LINK_USE, &link_number_record, &(struct link_number){.number = msg->sequence});
	/* the first ping tells how far away it is */
	link_send_control(ctx, link, LINK_PING, &link_stamp_record, &(struct link_stamp){.stamp = qmt_now_ns(ctx)});
	link_pump(ctx, link);
	(void)QMT_TELL(ctx, link->peers, link_taken, .link = link->self);
	QMT_LOG(ctx, QMT_INFO, "link.up", "peer", link->peer, "transport", link->config->transport, "address", link->config->address, "dialed",
		link->config->dialed ? "true" : "false");
}

static void on_retire(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link_retire *msg = body;
	struct link *link = state;

	if (link->state != LINK_UP || link->ending) {
		(void)QMT_TELL(ctx, msg->to, link_retired, );
		return;
	}
	link->successor = msg->to;
	link->data_ms = qmt_now_ms(ctx);
	set_state(link, LINK_DRAINING);
	link_drain_step(ctx, link);
}

static void on_retired(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)body;
	open_gate(ctx, state);
}

static void on_end(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link_end *msg = body;
	char why[256];

	(void)snprintf(why, sizeof(why), "%.*s", QMT_STR_ARG(msg->why));
	link_refuse(ctx, state, 0, why);
}

/* What a retiring link does next, whenever something was finished. */
void link_drain_step(struct qmt_ctx *ctx, struct link *link)
{
	if (link->state != LINK_DRAINING || link->ending)
		return;
	if (!link->bye_sent && outbox_is_empty(&link->outbox) && !link->wire_full) {
		link->bye_sent = true;
		link_send_control(ctx, link, LINK_BYE, NULL, NULL);
	}
	if (link->bye_acked && !link->fin_sent && link->asks_out_count == 0 && link->asks_in_count == 0 && link->exports.count == 0 &&
		outbox_is_empty(&link->outbox)) {
		link->fin_sent = true;
		link_send_control(ctx, link, LINK_FIN, NULL, NULL);
	}
	/* Both have said their last word, and ours has left: the peer closes when it reads it, or we do. */
	if (link->fin_sent && link->fin_seen && link->outbox.control.open_count == 0 && !link->outbox.control.first)
		link_close(ctx, link, 0, "another link took over");
}

static void take_cut(struct qmt_ctx *ctx, struct link *link, const struct envelope *env)
{
	struct link_error *error = codec_decode_new(&link_error_record, env->body, NULL, NULL);
	char why[300];

	(void)snprintf(why, sizeof(why), "the other side ended it: %.*s", error ? (int)error->text.len : 0, error && error->text.p ? error->text.p : "");
	free(error);
	link_close(ctx, link, -ECONNREFUSED, why);
}

static void take_pong(struct qmt_ctx *ctx, struct link *link, uint64_t stamp)
{
	uint64_t now = qmt_now_ns(ctx);

	if (stamp == 0 || stamp > now)
		return;
	link->rtt_ns = now - stamp;
	(void)QMT_TELL(ctx, link->peers, link_changed, .link = link->self, .suspect = link->suspect, .rtt_ms = (double)link->rtt_ns / 1e6);
}

/* Reads the one number that a stamp or a drop carries. */
static uint64_t number_in(const struct envelope *env, const struct qmt_record *record)
{
	struct link_stamp stamp; /* link_number has the same layout */
	size_t extra;

	_Static_assert(sizeof(struct link_stamp) == sizeof(struct link_number), "one number each");
	if (env->body.len == 0 || codec_measure(record, env->body, &extra, NULL) ||
		codec_decode(record, env->body, NULL, &stamp, NULL, 0, NULL))
		return 0;
	return stamp.stamp;
}

void link_control(struct qmt_ctx *ctx, struct link *link, const struct envelope *env)
{
	uint64_t number;

	switch (env->type) {
	case LINK_PING:
		number = number_in(env, &link_stamp_record);
		link_send_control(ctx, link, LINK_PONG, &link_stamp_record, &(struct link_stamp){.stamp = number});
		break;
	case LINK_PONG:
		take_pong(ctx, link, number_in(env, &link_stamp_record));
		break;
	case LINK_USE:
		if (link->state != LINK_PROVEN_STATE || link->use_seen || peer_id_compare(&link->peer_id, &link->config->node->identity->id) > 0)
			break; /* only the smaller PeerId decides */
		link->use_seen = true;
		if (QMT_TELL(ctx, link->peers, link_chosen, .link = link->self, .sequence = number_in(env, &link_number_record)))
			link_refuse(ctx, link, -EAGAIN, "this node takes no links now");
		break;
	case LINK_BYE:
		link_send_control(ctx, link, LINK_BYE_ACK, NULL, NULL);
		break;
	case LINK_BYE_ACK:
		if (!link->bye_sent)
			break;
		link->bye_acked = true;
		tell_successor(ctx, link);
		link_drain_step(ctx, link);
		break;
	case LINK_FIN:
		link->fin_seen = true;
		link_drain_step(ctx, link);
		break;
	case LINK_DROP:
		number = number_in(env, &link_number_record);
		if (number && number <= UINT32_MAX) {
			uint32_t unused;
			bool is_new;

			qmt_ref_ended(ctx, (uint32_t)number);
			if (export_number(&link->dead, (struct qmt_ref){.rid = (uint32_t)number}, &unused, &is_new))
				break; /* full: then it is the peer who says that nobody is there */
		}
		break;
	case LINK_CUT:
		take_cut(ctx, link, env);
		break;
	default: /* of a later version */
		break;
	}
}

/* ---- hooks -------------------------------------------------------------------------------------------------------------- */

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct link *link = state;
	struct qmt_err err = {0};

	link->config = config;
	link->limits = &link->config->node->limits;
	link->self = qmt_self(ctx);
	init_self(link);
	outbox_init(&link->outbox, &(struct outbox_limits){
		.batch_messages = (uint32_t)link->limits->batch_messages,
		.piece_bytes = (size_t)link->limits->piece_bytes,
		.queue_bytes = (size_t)link->limits->queue_bytes,
		.body_bytes = (size_t)link->limits->body_bytes,
	});
	inbox_init(&link->inbox, (size_t)link->limits->body_bytes, (size_t)link->limits->reassembly_bytes);
	type_in_init(&link->types_in, (uint32_t)link->limits->types_max);
	export_init(&link->exports, (uint32_t)link->limits->exports_max);
	export_init(&link->dead, (uint32_t)link->limits->exports_max);
	if (link->config->of_mesh && qmt_lookup(ctx, "peers", &link->peers)) {
		qmt_fail(ctx, "no actor called peers");
		return -1;
	}
	if (qmt_timer_start(ctx, link->limits->hello_ms, on_timer, NULL, &link->timer)) {
		qmt_fail(ctx, "out of memory");
		return -1;
	}
	if (link->config->ops->open(ctx, link, link->config->wire_config, &link->wire, &err)) {
		tell_peers_ended(ctx, link, err.code, err.text);
		set_state(link, LINK_CLOSED);
		qmt_stop_self(ctx);
	}
	return 0;
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct link *link = state;

	if (link->wire)
		link->wire->ops->close(ctx, link, link->wire);
	link->wire = NULL;
	link_fail_asks(ctx, link);
	hello_fini(&link->hello);
	outbox_fini(&link->outbox);
	inbox_fini(&link->inbox);
	type_out_fini(&link->types_out);
	type_in_fini(&link->types_in);
	export_fini(&link->exports);
	export_fini(&link->dead);
	free(link->asks_out);
	free(link->asks_in);
}

static void down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	struct link *link = state;

	(void)reason;
	if (link->predecessor.actor && qmt_ref_eq(who, link->predecessor))
		open_gate(ctx, link);
	link_export_down(ctx, link, who);
	if (link->state == LINK_DRAINING)
		link_drain_step(ctx, link);
}

static void again(struct qmt_ctx *ctx, void *state)
{
	struct link *link = state;

	if (link->wire && link->wire->ops->again)
		link->wire->ops->again(ctx, link, link->wire);
}

static void flush(struct qmt_ctx *ctx, void *state)
{
	struct link *link = state;

	link_pump(ctx, link);
	if (link->wire && link->wire->ops->turn_ends)
		link->wire->ops->turn_ends(ctx, link, link->wire);
}

static qmt_handler *const handlers[link_message_count] = {
	[link_take_id] = on_take,
	[link_retire_id] = on_retire,
	[link_retired_id] = on_retired,
	[link_end_id] = on_end,
};

const struct qmt_actor_desc link_desc = {
	.abi = QMT_ABI,
	.name = "link",
	.doc = "One connection to a peer.",
	.state_size = sizeof(struct link),
	.bound = LINK_BOUND,
	.overflow = QMT_BLOCK,
	.accepts = {{&wire_protocol, wire_relay_handlers}, {&link_protocol, handlers}},
	.start = start,
	.stop = stop,
	.down = down,
	.again = again,
	.flush = flush,
	.outgoing = link_outgoing,
};
