/* transports/link_control.c - which link is in use, and the words of the link itself (control envelopes).
 *
 * When a link takes over from another, order per sender and target has to hold although the two are different
 * connections:
 *      new:  registers as "peer/<PeerId>"; what it is given waits in its outbox (gated). Then it tells the old one to
 *            retire: behind that, nothing comes there by name any more (qmt_register_over).
 *      old:  sends what it was given before, then LINK_BYE; the peer answers LINK_BYE_ACK when all of that has been
 *      handed on;
 *            then the new one is told (link.retired) and opens its gate.
 * The old one goes on delivering answers, and messages to refs that crossed it, until nothing is in flight; LINK_FIN
 * from both sides ends it. If it dies before the BYE_ACK, the new one notices (it watches the old one) and goes on.
 */
#include <errno.h>

#include "proto/codec.h"
#include "transports/link_internal.h"

QMT_DEFINE_RECORD(link_right, LINK_RIGHT, "A scope, and what is allowed in it.")
QMT_DEFINE_PROTOCOL(link, LINK_MESSAGES, "Which link is in use: between links and the actor peers.")

void link_open_gate(struct qmt_ctx *ctx, struct link *link)
{
	if (!link->outbox.gated)
		return;
	link->outbox.gated = false;
	link->predecessor = (struct qmt_ref){0};
	link_pump(ctx, link);
	qmt_want_flush(ctx);
}

/* Names are exchanged between nodes that name each other; whoever is not named there need not try. */
void link_name_changed(struct qmt_ctx *ctx, struct link *link)
{
	if (link->state != LINK_UP || !link->config->of_mesh)
		return;
	if (link->named && !link->known_said) {
		link->known_said = true;
		link_send_control(ctx, link, LINK_KNOWN, NULL, NULL);
	}
	qmt_peer_up(ctx, link->peer, link->named && link->named_there);
}

static void go_up(struct qmt_ctx *ctx, struct link *link)
{
	link_set_state(link, LINK_UP);
	link->data_ms = qmt_now_ms(ctx);
	link_start_ticks(ctx, link);
}

/* What was chosen before has been overtaken on its way here by a later choice. */
static void take_late(struct qmt_ctx *ctx, struct link *link)
{
	go_up(ctx, link);
	if (link->state != LINK_UP)
		return;
	link_set_state(link, LINK_DRAINING);
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
	if (link->named) { /* before anything else: what follows may be for those that are named */
		link->known_said = true;
		link_send_control(ctx, link, LINK_KNOWN, NULL, NULL);
	}
	if (qmt_ref_is_set(msg->from)) {
		link->predecessor = msg->from;
		link->outbox.gated = true;
		if (qmt_monitor(ctx, msg->from) || QMT_TELL(ctx, msg->from, link_retire, .to = link->self))
			link_open_gate(ctx, link);
	}
	if (peer_id_compare(&link->config->node->identity->id, &link->peer_id) < 0)
		link_send_control(ctx, link, LINK_USE, &link_number_record, &(struct link_number){.number = msg->sequence});
	/* the first ping tells how far away it is */
	link_send_control(ctx, link, LINK_PING, &link_stamp_record, &(struct link_stamp){.stamp = qmt_now_ns(ctx)});
	link_pump(ctx, link);
	(void)QMT_TELL(ctx, link->peers, link_taken, .link = link->self);
	link_name_changed(ctx, link);
	QMT_LOG(ctx, QMT_INFO, "link.up", "peer", link->peer, "transport", link->config->transport, "address",
		link->config->address, "dialed", link->config->dialed ? "true" : "false");
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
	link_set_state(link, LINK_DRAINING);
	link_drain_step(ctx, link);
}

static void on_retired(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)body;
	link_open_gate(ctx, state);
}

static void on_end(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link_end *msg = body;
	char why[256];

	qmt_text(why, sizeof(why), "%.*s", QMT_STR_ARG(msg->why));
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
	if (link->bye_acked && !link->fin_sent && link->asks_out_count == 0 && link->asks_in_count == 0 &&
		link->exports.count == 0 && outbox_is_empty(&link->outbox)) {
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

	qmt_text(why, sizeof(why), "the other side ended it: %.*s", error ? (int)error->text.len : 0,
		error && error->text.p ? error->text.p : "");
	free(error);
	link_close(ctx, link, -ECONNREFUSED, why);
}

static void take_pong(struct qmt_ctx *ctx, struct link *link, uint64_t stamp)
{
	uint64_t now = qmt_now_ns(ctx);

	if (stamp == 0 || stamp > now)
		return;
	link->rtt_ns = now - stamp;
	(void)QMT_TELL(ctx, link->peers, link_changed, .link = link->self, .suspect = link->suspect,
		.rtt_ms = (double)link->rtt_ns / 1e6);
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
		if (link->state != LINK_PROVEN_STATE || link->use_seen ||
			peer_id_compare(&link->peer_id, &link->config->node->identity->id) > 0)
			break; /* only the smaller PeerId decides */
		link->use_seen = true;
		link->inbox.whole_only = false;
		if (QMT_TELL(
				ctx, link->peers, link_chosen, .link = link->self, .sequence = number_in(env, &link_number_record)))
			link_refuse(ctx, link, -EAGAIN, "this node takes no links now");
		break;
	case LINK_BYE:
		link_send_control(ctx, link, LINK_BYE_ACK, NULL, NULL);
		break;
	case LINK_BYE_ACK:
		if (!link->bye_sent)
			break;
		link->bye_acked = true;
		link_tell_successor(ctx, link);
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
			link_note_late(link, (uint32_t)number);
			/* full: then it is the peer who says that nobody is there */
			if (export_number(&link->dead, (struct qmt_ref){.rid = (uint32_t)number}, &unused, &is_new) < 0)
				link_close(ctx, link, -ENOMEM, "out of memory"); /* who monitors it later would wait for ever */
		}
		break;
	case LINK_KNOWN:
		if (link->named_there)
			break; /* said once is enough: each is a message */
		link->named_there = true;
		link_name_changed(ctx, link);
		break;
	case LINK_BOND:
		link_take_bond(ctx, link, env);
		break;
	case LINK_BOND_OVER:
		link_take_bond_over(ctx, link, env);
		break;
	case LINK_SCOPES:
		link_take_scopes(ctx, link, env);
		break;
	case LINK_SHARE:
		link_take_share(ctx, link, env);
		break;
	case LINK_CUT:
		take_cut(ctx, link, env);
		break;
	default: /* of a later version */
		break;
	}
}

qmt_handler *const link_handlers[link_message_count] = {
	[link_admit_id] = link_on_admit,
	[link_deny_id] = link_on_deny,
	[link_scopes_id] = link_on_scopes,
	[link_take_id] = on_take,
	[link_retire_id] = on_retire,
	[link_retired_id] = on_retired,
	[link_end_id] = on_end,
};
