/* transports/link_out.c - from this node to the peer: messages, asks that wait, answers, and the way through a full
 * socket.
 *
 * A message is encoded straight into the open frame (outbox.h). A frame goes out when it is full or the turn ends, so a
 * deep mailbox makes full frames and a lone ask waits for nobody.
 *
 * When the socket is full, frames wait in the outbox. Senders first wait too (qmt_hold, in short slices, hold_ms in
 * all), so that a burst runs at the speed of the network and nothing is refused; a peer that stays slow must not stop
 * its senders, so afterwards the outbox fills up to queue_bytes, and then they get QMT_FAIL_LINK_BUSY.
 */
#include <errno.h>

#include "proto/codec.h"
#include "transports/link_internal.h"

enum {
	HOLD_BYTES = 256 << 10, /* in the outbox, before senders are held */
	HOLD_SLICE_MS = 2,      /* what comes in through a relay waits as long as we hold, so it is short */
	ASK_SLOT_BITS = 16,
	NO_SLOT = UINT32_MAX,
};

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static void on_hold_over(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct link *link = state;

	(void)arg;
	link->hold_timer = (struct qmt_timer){0};
	link->hold_spent_ms += HOLD_SLICE_MS;
	link_hold_end(ctx, link);
}

void link_hold_end(struct qmt_ctx *ctx, struct link *link)
{
	if (!link->held)
		return;
	link->held = false;
	qmt_timer_cancel(ctx, &link->hold_timer);
	qmt_hold(ctx, false);
}

static void maybe_hold(struct qmt_ctx *ctx, struct link *link)
{
	if (link->held || !link->wire_full || link->hold_spent_ms >= link->limits->hold_ms ||
		outbox_bytes(&link->outbox) < HOLD_BYTES)
		return;
	if (qmt_timer_start(ctx, HOLD_SLICE_MS, on_hold_over, NULL, &link->hold_timer))
		return;
	link->held = true;
	qmt_hold(ctx, true);
}

/* Hands frames to the wire until it is full or nothing is left. */
void link_pump(struct qmt_ctx *ctx, struct link *link)
{
	const uint64_t trace = qmt_trace(ctx);
	struct qmt_bytes frame;

	if (trace)
		qmt_trace_set(ctx, 0); /* a frame holds messages of many */

	while (link->wire && !link->wire_full && outbox_front(&link->outbox, &frame)) {
		int rc = link->wire->ops->send(ctx, link->wire, frame);

		if (rc == 0) {
			link->counts.bytes_out += frame.len;
			outbox_pop(&link->outbox);
			continue;
		}
		link->wire_full = rc == WIRE_E_FULL;
		break;
	}
	maybe_hold(ctx, link);
	if (link->state == LINK_DRAINING)
		link_drain_step(ctx, link);
	if (trace)
		qmt_trace_set(ctx, trace);
}

void link_wire_writable(struct qmt_ctx *ctx, struct link *link)
{
	if (!link->wire_full)
		return;
	link->wire_full = false;
	link_pump(ctx, link);
	qmt_want_flush(ctx);
	if (link->wire_full)
		return;
	link->hold_spent_ms = 0;
	link_hold_end(ctx, link);
}

static void queued(struct qmt_ctx *ctx, struct link *link)
{
	link->counts.messages_out++;
	if (outbox_batch_full(&link->outbox) && !link->outbox.gated)
		link_pump(ctx, link);
	else
		maybe_hold(ctx, link);
	qmt_want_flush(ctx);
}

static struct outbox_key key_of(struct qmt_ref who)
{
	return (struct outbox_key){who.actor, who.gen};
}

/* Encodes and queues one data envelope. 0; QMT_FAIL_*. */
static int put(struct qmt_ctx *ctx, struct link *link, struct envelope *env, const struct qmt_type *type,
	const void *body, struct outbox_key key, bool forced)
{
	struct link_refs_arg arg = {ctx, link};
	struct codec_refs refs = {link_ref_out, link_ref_in, &arg};
	struct type_out_row *row = type_out_row(&link->types_out, type);
	bool in_lane = outbox_in_lane(&link->outbox, key);
	int rc;

	if (!row)
		return QMT_FAIL_LINK_BUSY;
	env->type = row->number;
	if (in_lane || !row->announced)
		env->type_name = qmt_str(type->record.name);
	struct qmt_buf *buf = outbox_begin(&link->outbox);
	envelope_put(buf, env);
	rc = codec_encode(&type->record, body, &refs, buf);
	if (rc && !buf->failed) {
		outbox_cancel(&link->outbox);
		return rc == -EINVAL ? QMT_FAIL_BAD_REQUEST : QMT_FAIL_LINK_BUSY;
	}
	rc = outbox_end(&link->outbox, key, forced, &in_lane);
	if (rc)
		return rc == OUTBOX_E_TOO_LARGE ? QMT_FAIL_TOO_LARGE : QMT_FAIL_LINK_BUSY;
	/* What waits in a lane may be overtaken, so a name in it is not known to the peer yet. */
	if (!in_lane)
		row->announced = true;
	if (link->state == LINK_DRAINING) /* a clock for each message would cost as much as its encoding */
		link->data_ms = qmt_now_ms(ctx);
	queued(ctx, link);
	return 0;
}

void link_send_control(
	struct qmt_ctx *ctx, struct link *link, enum link_control what, const struct qmt_record *record, const void *body)
{
	struct envelope env = {.kind = ENVELOPE_CONTROL, .type = what};
	struct qmt_buf *buf;

	if (link->state != LINK_PROVEN_STATE && link->state != LINK_UP && link->state != LINK_DRAINING)
		return;
	buf = outbox_control_begin(&link->outbox);
	envelope_put(buf, &env);
	if (record && codec_encode(record, body, NULL, buf) == -EINVAL) { /* our own bug: no reason to cut a peer off */
		QMT_LOG(ctx, QMT_ERROR, "link.bug", "peer", link_name(link), "record", record->name, "reason",
			"a control record that cannot be encoded");
		record = NULL;
	}
	if (!record)
		envelope_put_nil(buf);
	int rc = outbox_control_end(&link->outbox);
	if (rc) {
		link_close(ctx, link, rc < 0 ? rc : -ENOBUFS, rc < 0 ? "out of memory" : "the peer does not read");
		return;
	}
	qmt_want_flush(ctx);
}

/* ---- asks of ours ------------------------------------------------------------------------------------------------ */

static uint32_t ask_slot(struct link *link)
{
	if (link->asks_out_free == NO_SLOT || link->asks_out_room == 0) {
		uint32_t room = link->asks_out_room ? link->asks_out_room * 2 : 64, limit = (uint32_t)link->limits->asks_max;
		struct ask_out *asks;

		room = room > limit ? limit : room;
		asks = room > link->asks_out_room ? realloc(link->asks_out, room * sizeof(*asks)) : NULL;
		if (!asks)
			return NO_SLOT;
		for (uint32_t i = link->asks_out_room; i < room; i++)
			asks[i] = (struct ask_out){.next_free = i + 1 < room ? i + 1 : NO_SLOT};
		link->asks_out_free = link->asks_out_room;
		link->asks_out = asks;
		link->asks_out_room = room;
	}
	uint32_t slot = link->asks_out_free;
	link->asks_out_free = link->asks_out[slot].next_free;
	link->asks_out[slot].used = true;
	link->asks_out_count++;
	return slot;
}

static void ask_free(struct link *link, uint32_t slot)
{
	link->asks_out[slot].used = false;
	link->asks_out[slot].next_free = link->asks_out_free;
	link->asks_out_free = slot;
	link->asks_out_count--;
}

static uint64_t ask_id(const struct link *link, uint32_t slot)
{
	return link->asks_out[slot].sequence << ASK_SLOT_BITS | slot;
}

static void cancel_ask(struct qmt_ctx *ctx, struct link *link, uint32_t slot)
{
	struct envelope env = {.kind = ENVELOPE_CANCEL, .id = ask_id(link, slot)};
	struct qmt_buf *buf = outbox_control_begin(&link->outbox);

	envelope_put(buf, &env);
	envelope_put_nil(buf);
	if (outbox_control_end(&link->outbox) == 0) /* else the peer answers to nobody, that is all */
		qmt_want_flush(ctx);
}

/* One timer for all asks, at the earliest deadline that was known when it was set. */
static void on_asks_due(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct link *link = state;
	uint64_t now = qmt_now_ms(ctx), next = UINT64_MAX;

	(void)arg;
	link->ask_timer = (struct qmt_timer){0};
	for (uint32_t i = 0; i < link->asks_out_room; i++) {
		struct ask_out *ask = &link->asks_out[i];

		if (!ask->used)
			continue;
		if (ask->expires_ms > now) {
			next = ask->expires_ms < next ? ask->expires_ms : next;
			continue;
		}
		(void)qmt_reply_fail(ctx, ask->token, QMT_FAIL_DEADLINE, NULL, 0, "the peer did not answer in time");
		cancel_ask(ctx, link, i);
		ask_free(link, i);
	}
	if (next != UINT64_MAX)
		(void)qmt_timer_start(ctx, next - now, on_asks_due, NULL, &link->ask_timer);
	if (link->state == LINK_DRAINING)
		link_drain_step(ctx, link);
}

void link_sweep_asks(struct qmt_ctx *ctx, struct link *link)
{
	for (uint32_t i = 0; link->asks_out_count && i < link->asks_out_room; i++) {
		if (!link->asks_out[i].used || qmt_token_waits(link->asks_out[i].token))
			continue;
		cancel_ask(ctx, link, i);
		ask_free(link, i);
	}
}

void link_fail_asks(struct qmt_ctx *ctx, struct link *link)
{
	for (uint32_t i = 0; i < link->asks_out_room; i++) {
		if (!link->asks_out[i].used)
			continue;
		(void)qmt_reply_fail(
			ctx, link->asks_out[i].token, QMT_FAIL_PEER_GONE, NULL, 0, "the link ended before an answer came");
		ask_free(link, i);
	}
}

static void refuse_outgoing(struct qmt_ctx *ctx, struct link *link, const struct qmt_outgoing *out, int fail)
{
	if (fail == QMT_FAIL_LINK_BUSY)
		link_complain(ctx, link, COMPLAIN_LINK_BUSY, "link busy: queue_bytes wait for a peer that does not take them",
			out->type->record.name);
	qmt_outgoing_refuse(ctx, fail);
}

void link_outgoing(struct qmt_ctx *ctx, void *state, const struct qmt_outgoing *out)
{
	struct link *link = state;
	struct envelope env = {
		.kind = ENVELOPE_TELL,
		.to = out->rid,
		.to_name = out->rid ? (struct qmt_str){0} : out->to_name,
		.scope = link->scope_out,
		.trace = out->trace};
	uint32_t slot = NO_SLOT;
	int fail = 0;

	if (!link->wire || link->ending || (link->state != LINK_UP && link->state != LINK_DRAINING))
		fail = QMT_FAIL_PEER_GONE;
	else if (out->rid ? link_import_is_dead(link, out->rid) : out->to_name.len == 0 || out->to_name.len > ENVELOPE_NAME)
		fail = out->rid ? QMT_FAIL_NOT_RUNNING : QMT_FAIL_UNKNOWN_ACTOR;
	if (!fail && out->is_ask && !out->type->answer) { /* a mistake in its list: see runtime/message.h, Answer */
		link_complain(
			ctx, link, COMPLAIN_NO_ANSWER, "asked over a link, and its list names no answer", out->type->record.name);
		fail = QMT_FAIL_UNKNOWN_MESSAGE;
	}
	if (!fail && out->is_ask) {
		slot = ask_slot(link);
		if (slot == NO_SLOT)
			fail = QMT_FAIL_FULL;
	}
	if (fail) {
		refuse_outgoing(ctx, link, out, fail);
		return;
	}
	if (out->is_ask) {
		struct ask_out *ask = &link->asks_out[slot];

		ask->token = out->token;
		ask->asked = out->type;
		ask->sequence = ++link->ask_sequence;
		ask->expires_ms = qmt_now_ms(ctx) + out->deadline_ms;
		env.kind = ENVELOPE_ASK;
		env.id = ask_id(link, slot);
		env.deadline_ms = out->deadline_ms;
		if (link->ask_timer.id == 0)
			(void)qmt_timer_start(ctx, out->deadline_ms, on_asks_due, NULL, &link->ask_timer);
	}
	fail = put(ctx, link, &env, out->type, out->body, key_of(out->from), false);
	if (fail) {
		if (slot != NO_SLOT)
			ask_free(link, slot);
		refuse_outgoing(ctx, link, out, fail);
	}
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

void link_send_error(
	struct qmt_ctx *ctx, struct link *link, uint64_t id, struct qmt_ref target, const struct link_error *error)
{
	struct envelope env = {.kind = ENVELOPE_ERROR, .id = id, .trace = qmt_trace(ctx)};
	struct link_error_room room;
	struct link_error clean = link_error_clean(error, &room);
	bool in_lane;
	int rc;

	if (link->state != LINK_UP && link->state != LINK_DRAINING && link->state != LINK_PROVEN_STATE)
		return;
	struct qmt_buf *buf = outbox_begin(&link->outbox);
	envelope_put(buf, &env);
	if (codec_encode(&link_error_record, &clean, NULL, buf))
		buf->failed = true;
	rc = outbox_end(&link->outbox, key_of(target), true, &in_lane);
	if (rc) {
		link_close(ctx, link, rc < 0 ? rc : -ENOBUFS,
			rc < 0 ? "out of memory" : "the peer asks and does not read the answers");
		return;
	}
	queued(ctx, link);
}

void link_send_reply(
	struct qmt_ctx *ctx, struct link *link, uint64_t id, struct qmt_ref target, const struct qmt_result *result)
{
	struct envelope env = {.kind = ENVELOPE_REPLY, .id = id, .trace = qmt_trace(ctx)};
	struct link_error error = {.fail = (uint32_t)result->fail,
		.kind = result->kind,
		.text = result->text,
		.retry_after_ms = result->retry_after_ms};

	if (result->fail == 0) {
		int fail = put(ctx, link, &env, result->type, result->body, key_of(target), true);

		if (fail == 0)
			return;
		error = (struct link_error){.fail = (uint32_t)fail, .text = qmt_str("the answer could not be sent")};
	}
	link_send_error(ctx, link, id, target, &error);
}

/* The peer chooses what it sends, the asker casts it: only the one type that the message is answered with may pass. */
static int answer(
	struct qmt_ctx *ctx, struct link *link, struct ask_out *ask, const struct envelope *env, struct qmt_err *err)
{
	const struct qmt_type *expected = ask->asked->answer;
	const char *why = "";
	struct type_in_row *row = type_in_row(&link->types_in, env->type, env->type_name, &why);

	if (!row) {
		link_complain(ctx, link, COMPLAIN_BAD_BODY, why, "reply");
		return qmt_err_set(err, -EBADMSG, "%s", why);
	}
	if (row->last_type != expected) {
		if (strcmp(row->name, expected->record.name) != 0) {
			qmt_err_set(err, -EPROTO, "%s was answered with %s, not with %s", ask->asked->record.name, row->name,
				expected->record.name);
			link_complain(ctx, link, COMPLAIN_WRONG_ANSWER, err->text, ask->asked->record.name);
			return -EPROTO;
		}
		type_in_found(row, (struct qmt_ref){0}, expected);
	}
	struct qmt_msg *msg = link_decode(ctx, link, row, env->body, true, err);
	if (!msg) {
		qmt_err_prefix(err, "%s", row->name);
		link_complain(ctx, link, COMPLAIN_BAD_BODY, err->text, "reply");
		return -EBADMSG;
	}
	qmt_reply_msg(ctx, ask->token, expected, &msg);
	return 0;
}

static void answer_error(struct qmt_ctx *ctx, struct link *link, struct ask_out *ask, const struct envelope *env)
{
	struct link_error *error = codec_decode_new(&link_error_record, env->body, NULL, NULL);
	char kind[64];

	if (!ask) {
		char text[256];

		qmt_text(
			text, sizeof(text), "%.*s", error ? (int)error->text.len : 0, error && error->text.p ? error->text.p : "");
		link_complain(ctx, link, COMPLAIN_PEER_REFUSED, text, "");
	} else if (!error || error->fail == 0 || error->fail > UINT16_MAX) {
		(void)qmt_reply_fail(ctx, ask->token, QMT_FAIL_FAILED, NULL, 0, "the peer failed, and how could not be read");
	} else {
		qmt_text(kind, sizeof(kind), "%.*s", QMT_STR_ARG(error->kind));
		(void)qmt_reply_fail(ctx, ask->token, (int)error->fail, kind[0] ? kind : NULL, error->retry_after_ms, "%.*s",
			QMT_STR_ARG(error->text));
	}
	free(error);
}

/* The peer names a type once. A name that could not be noted would make all that follows of this type unreadable. */
static int note_name(struct link *link, const struct envelope *env, struct qmt_err *err)
{
	const char *why = "";

	if (env->kind != ENVELOPE_REPLY || !env->type_name.len)
		return 0;
	return type_in_row(&link->types_in, env->type, env->type_name, &why) ? 0 : qmt_err_set(err, -EBADMSG, "%s", why);
}

/* REPLY and ERROR. A late answer, to an ask that was given up, is dropped; so are numbers that never were. <0: the link
 * is to be cut. */
int link_take_answer(struct qmt_ctx *ctx, struct link *link, const struct envelope *env, struct qmt_err *err)
{
	uint32_t slot = (uint32_t)(env->id & ((1u << ASK_SLOT_BITS) - 1));
	int cut = note_name(link, env, err);

	if (env->kind == ENVELOPE_ERROR && env->id == 0) {
		answer_error(ctx, link, NULL, env);
		return 0;
	}
	if (slot >= link->asks_out_room || !link->asks_out[slot].used || ask_id(link, slot) != env->id)
		return cut;
	struct ask_out *ask = &link->asks_out[slot];
	if (env->kind == ENVELOPE_ERROR)
		answer_error(ctx, link, ask, env);
	else if (cut || answer(ctx, link, ask, env, err))
		(void)qmt_reply_fail(ctx, ask->token, err->code == -EBADMSG ? QMT_FAIL_DECODE : QMT_FAIL_FAILED, NULL, 0,
			"the peer's answer was refused: %s", err->text);
	ask_free(link, slot);
	if (link->state == LINK_DRAINING)
		link_drain_step(ctx, link);
	return cut;
}
