/* transports/link.c - the life of a link: its states, its frames, its time, its end.
 *
 *      DIALING --connected--> HELLO --proven--> PROVEN --take--> UP --retire--> DRAINING
 *         |                     |  \               |             |                 |
 *         |                     |   (a control client: UP)       |                 | nothing in flight,
 *         v                     v                  v             v                 v or silent for drain_ms
 *      CLOSED <--- connection lost, refused, silent for dead_ms, cut, stopped ---- CLOSED
 *
 * PROVEN waits for the actor "peers", which keeps one link between a pair (peers.c). The node with the smaller PeerId
 * decides and says so on the link (LINK_USE); the other one follows. So both ends use the same link, and usually there
 * never was another.
 */
#include "transports/link_internal.h"

#include <assert.h>
#include <errno.h>

enum { HANG_UP_MS = 200, LINK_BOUND = 4096 };

static void on_timer(struct qmt_ctx *ctx, void *state, void *arg);

/* ---- states ------------------------------------------------------------------------------------------------------ */

void link_set_state(struct link *link, enum link_state state)
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
	if (state == LINK_UP)
		link->inbox.whole_only = false;
}

const char *link_name(const struct link *link)
{
	return link->peer[0] ? link->peer : link->config->address;
}

void link_complain(
	struct qmt_ctx *ctx, struct link *link, enum link_complaint what, const char *why, const char *subject)
{
	if (link->complained & 1u << what)
		return;
	link->complained |= 1u << what;
	QMT_LOG(ctx, QMT_WARN,
		what == COMPLAIN_PEER_REFUSED       ? "link.peer_refused"
			: what == COMPLAIN_WRONG_ANSWER ? "link.hostile"
											: "link.refused",
		"peer", link_name(link), "transport", link->config->transport, "reason", why, "to", subject[0] ? subject : NULL,
		"note", "further ones of this kind are not logged");
}

static void tell_peers_ended(struct qmt_ctx *ctx, struct link *link, int code, const char *why)
{
	bool was_proven = link->peer[0] != '\0';
	uint8_t id[PEER_ID_BYTES];

	link_tell_limited(ctx, link, true);
	if (was_proven)
		peer_id_bytes(&link->peer_id, id);
	if (qmt_ref_is_set(link->peers))
		(void)QMT_TELL(ctx, link->peers, link_ended, .link = link->self, .tag = link->config->tag,
			.dialed = link->config->dialed, .why = qmt_str(why), .code = code, .was_proven = was_proven,
			.rejected = !was_proven && !link->config->dialed && code, .transport = qmt_str(link->config->transport),
			.from = qmt_str(link->config->address), .counts = link->counts, .peer = {id, was_proven ? sizeof(id) : 0},
			.node = was_proven ? link->hello.peer.node_name : (struct qmt_str){0});
}

void link_tell_successor(struct qmt_ctx *ctx, struct link *link)
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
	link_set_state(link, LINK_CLOSED);
	link->wire = NULL;
	if (wire)
		wire->ops->close(ctx, link, wire);
	link_fail_asks(ctx, link);
	link_hold_end(ctx, link);
	link_tell_successor(ctx, link);
	tell_peers_ended(ctx, link, code, why);
	if (was_proven && link->config->of_mesh)
		QMT_LOG(ctx, ended_well ? QMT_DEBUG : QMT_INFO, "link.down", "peer", link->peer, "transport",
			link->config->transport, "reason", why);
	qmt_stop_self(ctx);
}

void link_restart_timer(struct qmt_ctx *ctx, struct link *link, uint64_t delay_ms)
{
	qmt_timer_cancel(ctx, &link->timer);
	if (qmt_timer_start(ctx, delay_ms ? delay_ms : 1, on_timer, NULL, &link->timer))
		link_close(ctx, link, -ENOMEM, "out of memory");
}

void link_refuse(struct qmt_ctx *ctx, struct link *link, int code, const char *why)
{
	struct link_error error = {.fail = QMT_FAIL_NOT_ALLOWED, .text = qmt_str(why)};
	struct link_error_room room;

	if (link->ending || link->state == LINK_CLOSED)
		return;
	error = link_error_clean(&error, &room);
	link_send_control(ctx, link, LINK_CUT, &link_error_record, &error);
	if (link->state == LINK_CLOSED)
		return;
	link_pump(ctx, link);
	qmt_want_flush(ctx);
	link->ending = true;
	link_fail_asks(ctx, link);
	link_tell_successor(ctx, link);
	tell_peers_ended(ctx, link, code, why);
	link->peers = (struct qmt_ref){0}; /* it knows */
	if (link->config->of_mesh && link->peer[0])
		QMT_LOG(ctx, QMT_INFO, "link.cut", "peer", link->peer, "transport", link->config->transport, "reason", why);
	link_restart_timer(ctx, link, HANG_UP_MS);
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

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
		link_hello_frame(ctx, link, frame);
		return;
	}
	if (link->state == LINK_DIALING)
		return;
	link->counts.bytes_in += frame.len;
	rc = inbox_frame(&link->inbox, frame, on_envelope, &arg, &err);
	if (rc < 0 && link_wire_wanted(link)) {
		QMT_LOG(ctx, QMT_WARN, "link.hostile", "peer", link_name(link), "transport", link->config->transport, "reason",
			err.text);
		link_refuse(ctx, link, rc, err.text);
	}
	if (link->outbox.data.open_count || link->outbox.control.open_count)
		qmt_want_flush(ctx);
}

void link_wire_closed(struct qmt_ctx *ctx, struct link *link, const char *why)
{
	char copy[256]; /* it may be the wire's, which goes with it */

	qmt_text(copy, sizeof(copy), "%s", why);
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

/* ---- time -------------------------------------------------------------------------------------------------------- */

void link_start_ticks(struct qmt_ctx *ctx, struct link *link)
{
	link_restart_timer(ctx, link, link->limits->suspect_ms / 2);
}

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
		(void)QMT_TELL(
			ctx, link->peers, link_changed, .link = link->self, .suspect = true, .rtt_ms = (double)link->rtt_ns / 1e6);
	}
	link->bonds_fresh = 0;
	link_tell_limited(ctx, link, false);
	link_sweep_asks(ctx, link);
	link_tell_late_refs(ctx, link);
	link_send_control(ctx, link, LINK_PING, &link_stamp_record, &(struct link_stamp){.stamp = qmt_now_ns(ctx)});
	if (link->state != LINK_CLOSED)
		link_start_ticks(ctx, link);
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

/* ---- hooks ------------------------------------------------------------------------------------------------------- */

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct link *link = state;
	struct qmt_err err = {0};

	link->config = config;
	link->limits = &link->config->node->limits;
	link->self = qmt_self(ctx);
	if (!link->config->of_mesh && link_node_scopes(link)) {
		qmt_fail(ctx, "out of memory");
		return -1;
	}
	link_init_self(link);
	outbox_init(&link->outbox,
		&(struct outbox_limits){
			.batch_messages = (uint32_t)link->limits->batch_messages,
			.piece_bytes = (size_t)link->limits->piece_bytes,
			.queue_bytes = (size_t)link->limits->queue_bytes,
			.body_bytes = (size_t)link->limits->body_bytes,
		});
	inbox_init(&link->inbox, (size_t)link->limits->body_bytes, (size_t)link->limits->reassembly_bytes);
	link->inbox.whole_only = true;
	link->inbox.of_node = link->config->node->reassembly;
	link->inbox.of_node_bytes = link->limits->reassembly_node_bytes;
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
		link_set_state(link, LINK_CLOSED);
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
	link_budget_close(ctx, link);
	hello_fini(&link->hello);
	link_scopes_fini(link);
	outbox_fini(&link->outbox);
	inbox_fini(&link->inbox);
	type_out_fini(&link->types_out);
	type_in_fini(&link->types_in);
	export_fini(&link->exports);
	export_fini(&link->dead);
	free(link->bonds);
	free(link->asks_out);
	free(link->asks_in);
	free(link->asks_in_buckets);
}

static void down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	struct link *link = state;

	(void)reason;
	if (link->predecessor.actor && qmt_ref_eq(who, link->predecessor))
		link_open_gate(ctx, link);
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

const struct qmt_actor_desc link_desc = {
	.abi = QMT_ABI,
	.name = "link",
	.doc = "One connection to a peer.",
	.state_size = sizeof(struct link),
	.bound = LINK_BOUND,
	.overflow = QMT_BLOCK,
	.accepts = {{&wire_protocol, wire_relay_handlers}, {&link_protocol, link_handlers},
		{&metrics_protocol, link_metrics_handlers}},
	.start = start,
	.stop = stop,
	.down = down,
	.again = again,
	.flush = flush,
	.outgoing = link_outgoing,
	.bond = link_bond,
};
