/* transports/link_in.c - from the peer to this node: the gate, decoding, delivery.
 *
 * Each message passes: scope (one that HELLO agreed on) -> receiver (an export, or a name) -> type (one that the
 * receiver accepts) -> authority (proto/authority.h: role x operation) -> requests a minute (link_limit.c) -> body
 * (codec). Only then memory is taken for it: as much as the body measures, or as it has bytes when it cannot measure
 * more (codec_in_one). A refused ask is answered with an error; a refused tell too, under id 0. The first refusal of
 * each kind is logged.
 */
#include <errno.h>
#include <stdarg.h>

#include "proto/codec.h"
#include "proto/contract/contract.h"
#include "transports/link_internal.h"

#define NO_SLOT UINT32_MAX

struct refusal {
	enum link_complaint complaint;
	int fail;
	uint64_t retry_after_ms;
	struct qmt_err err;
};

struct qmt_msg *link_decode(struct qmt_ctx *ctx, struct link *link, const struct type_in_row *row,
	struct qmt_bytes body, bool is_answer, struct qmt_err *err)
{
	static const uint8_t empty_map = 0x80;
	struct link_refs_arg arg = {ctx, link};
	struct codec_refs refs = {link_ref_out, link_ref_in, &arg};
	struct qmt_bytes data = body.len ? body : (struct qmt_bytes){&empty_map, 1};
	const struct qmt_type *type = row->last_type;
	size_t extra = data.len, origin = is_answer || row->origin_offset == TYPE_NO_ORIGIN ? 0 : sizeof(link->peer);
	struct qmt_msg *msg;
	int rc;

	if (!row->in_one && codec_measure(&type->record, data, &extra, err))
		return NULL;
	msg = qmt_msg_new(ctx, type, extra + origin);
	if (!msg) {
		qmt_err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	char *room = qmt_msg_extra(msg, type);
	if (row->in_one)
		rc = codec_decode_one(&type->record, data, &refs, qmt_msg_body(msg), room, err);
	else
		rc = codec_decode(&type->record, data, &refs, qmt_msg_body(msg), room, extra, err);
	if (rc) {
		qmt_msg_free(ctx, msg);
		return NULL;
	}
	if (origin) { /* who asks is said by the link, whatever the sender wrote */
		struct qmt_str *who = (struct qmt_str *)(void *)((char *)qmt_msg_body(msg) + row->origin_offset);

		*who = (struct qmt_str){0};
		if (link->config->of_mesh) {
			memcpy(room + extra, link->peer, PEER_ID_TEXT);
			*who = qmt_strn(room + extra, PEER_ID_TEXT);
		}
	}
	return msg;
}

/* ---- asks of the peer -------------------------------------------------------------------------------------------- */

static uint32_t *bucket_of(const struct link *link, uint64_t id)
{
	return &link->asks_in_buckets[(id * link->asks_in_key) >> 40 & (link->asks_in_bucket_count - 1)];
}

static void bucket_put(struct link *link, uint32_t slot)
{
	uint32_t *bucket = bucket_of(link, link->asks_in[slot].id);

	link->asks_in[slot].next = *bucket;
	*bucket = slot;
}

/* The ask under way that the peer numbered so. NULL: none. */
static struct ask_in *ask_find(struct link *link, uint64_t id)
{
	uint32_t slot = link->asks_in_count ? *bucket_of(link, id) : NO_SLOT;

	while (slot != NO_SLOT && link->asks_in[slot].id != id)
		slot = link->asks_in[slot].next;
	return slot == NO_SLOT ? NULL : &link->asks_in[slot];
}

static bool asks_grow(struct qmt_ctx *ctx, struct link *link)
{
	uint32_t room = link->asks_in_room ? link->asks_in_room * 2 : 64, limit = (uint32_t)link->limits->asks_max;
	uint32_t *buckets, bucket_count = 64;
	struct ask_in *asks;

	room = room > limit ? limit : room;
	while (bucket_count < room)
		bucket_count *= 2;
	if (room <= link->asks_in_room)
		return false;
	asks = realloc(link->asks_in, room * sizeof(*asks));
	if (!asks)
		return false;
	link->asks_in = asks;
	buckets = malloc(bucket_count * sizeof(*buckets));
	if (!buckets)
		return false;
	if (!link->asks_in_key) {
		qmt_random(ctx, &link->asks_in_key, sizeof(link->asks_in_key));
		link->asks_in_key |= 1;
	}
	free(link->asks_in_buckets);
	link->asks_in_buckets = buckets;
	link->asks_in_bucket_count = bucket_count;
	for (uint32_t i = 0; i < bucket_count; i++)
		buckets[i] = NO_SLOT;
	for (uint32_t i = 0; i < link->asks_in_room; i++) /* all are used: that is why it grows */
		bucket_put(link, i);
	for (uint32_t i = link->asks_in_room; i < room; i++)
		asks[i] = (struct ask_in){.next = i + 1 < room ? i + 1 : NO_SLOT};
	link->asks_in_free = link->asks_in_room;
	link->asks_in_room = room;
	return true;
}

static uint32_t ask_slot(struct qmt_ctx *ctx, struct link *link, uint64_t id, struct qmt_ref target)
{
	if ((link->asks_in_room == 0 || link->asks_in_free == NO_SLOT) && !asks_grow(ctx, link))
		return NO_SLOT;
	uint32_t slot = link->asks_in_free;
	link->asks_in_free = link->asks_in[slot].next;
	link->asks_in[slot] = (struct ask_in){.id = id, .target = target, .used = true};
	link->asks_in_count++;
	bucket_put(link, slot);
	return slot;
}

static void ask_free(struct link *link, uint32_t slot)
{
	uint32_t *at = bucket_of(link, link->asks_in[slot].id);

	while (*at != slot)
		at = &link->asks_in[*at].next;
	*at = link->asks_in[slot].next;
	link->asks_in[slot].used = false;
	link->asks_in[slot].next = link->asks_in_free;
	link->asks_in_free = slot;
	link->asks_in_count--;
}

static void on_local_answer(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct link *link = state;
	uint32_t slot = (uint32_t)(uintptr_t)arg;
	struct ask_in ask = link->asks_in[slot];

	ask_free(link, slot);
	if (!ask.cancelled && link->wire && !link->ending)
		link_send_reply(ctx, link, ask.id, ask.target, result);
	if (link->state == LINK_DRAINING)
		link_drain_step(ctx, link);
}

static void cancel(struct link *link, uint64_t id)
{
	struct ask_in *ask = ask_find(link, id);

	if (ask)
		ask->cancelled = true;
}

/* ---- the gate ---------------------------------------------------------------------------------------------------- */

static int refuse(struct refusal *refusal, enum link_complaint complaint, int fail, const char *format, ...)
	QMT_PRINTF(4, 5);
static int refuse(struct refusal *refusal, enum link_complaint complaint, int fail, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	qmt_text_va(refusal->err.text, sizeof(refusal->err.text), format, args);
	va_end(args);
	refusal->complaint = complaint;
	refusal->fail = fail;
	return 1;
}

static int find_receiver(
	struct qmt_ctx *ctx, struct link *link, const struct envelope *env, struct qmt_ref *ret_to, struct refusal *refusal)
{
	if (env->to_name.len == 0) {
		if (!export_find(&link->exports, env->to, ret_to))
			return refuse(
				refusal, COMPLAIN_NO_TARGET, QMT_FAIL_NOT_RUNNING, "the actor behind ref %u has ended", env->to);
		return 0;
	}
	if (link->last_name[0] && qmt_str_is(env->to_name, link->last_name) && qmt_is_running(link->last_named)) {
		*ret_to = link->last_named;
		return 0;
	}
	(void)snprintf(link->last_name, sizeof(link->last_name), "%.*s", QMT_STR_ARG(env->to_name));
	if (strlen(link->last_name) != env->to_name.len || qmt_lookup(ctx, link->last_name, &link->last_named)) {
		link->last_name[0] = '\0';
		return refuse(
			refusal, COMPLAIN_NO_TARGET, QMT_FAIL_UNKNOWN_ACTOR, "nobody called %.*s here", QMT_STR_ARG(env->to_name));
	}
	*ret_to = link->last_named;
	return 0;
}

/* What an actor behind another link accepts is known there; here any message of a contract will do. */
static const struct qmt_type *contract_type(struct qmt_str name)
{
	for (const struct qmt_protocol *const *protocol = contract_protocols; *protocol; protocol++) {
		const struct qmt_type *type = qmt_protocol_find(*protocol, name);

		if (type)
			return type;
	}
	return NULL;
}

static const struct qmt_type *find_type(struct qmt_ctx *ctx, struct type_in_row *row, struct qmt_ref to)
{
	if (row->last_type && qmt_ref_eq(row->last_to, to))
		return row->last_type;
	type_in_found(row, to, to.rid ? contract_type(qmt_str(row->name)) : qmt_accepts(ctx, to, qmt_str(row->name)));
	return row->last_type;
}

static int pass_on(struct qmt_ctx *ctx, struct link *link, const struct envelope *env, struct qmt_ref to,
	const struct qmt_type *type, struct qmt_msg **msg, struct refusal *refusal)
{
	uint32_t slot;
	int rc;

	if (env->kind == ENVELOPE_TELL) {
		rc = qmt_send_msg(ctx, to, type, msg);
	} else {
		if (ask_find(link, env->id))
			return refuse(refusal, COMPLAIN_BAD_BODY, QMT_FAIL_BAD_REQUEST, "an ask under the id of another one");
		slot = ask_slot(ctx, link, env->id, to);
		if (slot == NO_SLOT)
			return refuse(refusal, COMPLAIN_FULL, QMT_FAIL_FULL, "asks_max asks of this peer are under way");
		rc = qmt_ask_msg(ctx, to, type, msg, env->deadline_ms, on_local_answer, (void *)(uintptr_t)slot);
		if (rc)
			ask_free(link, slot);
	}
	if (rc)
		return refuse(refusal, rc == QMT_FAIL_FULL ? COMPLAIN_FULL : COMPLAIN_NO_TARGET, rc > 0 ? rc : QMT_FAIL_FULL,
			"%s", rc > 0 ? qmt_fail_name(rc) : "out of memory");
	return 0;
}

/* 0: delivered; 1: refused; <0: the link is to be cut. */
static int deliver(struct qmt_ctx *ctx, struct link *link, const struct envelope *env, struct refusal *refusal)
{
	const char *why = "";
	struct qmt_ref to;
	struct type_in_row *row = type_in_row(&link->types_in, env->type, env->type_name, &why);

	if (!row)
		return qmt_err_set(&refusal->err, -EBADMSG, "%s", why);
	if (env->scope >= link->scope_count)
		return refuse(refusal, COMPLAIN_SCOPE, QMT_FAIL_NOT_ALLOWED, "scope %u is not shared on this link", env->scope);
	if (find_receiver(ctx, link, env, &to, refusal))
		return 1;
	const struct qmt_type *type = find_type(ctx, row, to);
	if (!type && !qmt_is_running(to))
		return refuse(refusal, COMPLAIN_NO_TARGET, QMT_FAIL_NOT_RUNNING, "the receiver has ended");
	if (!type)
		return refuse(
			refusal, COMPLAIN_UNKNOWN_MESSAGE, QMT_FAIL_UNKNOWN_MESSAGE, "the receiver does not know %s", row->name);
	const struct authority_sender sender = {link->scopes[env->scope].role, link->named, link->peer};
	if (!authority_allows(&sender, &link->config->node->grants, type, env->to_name.len == 0, &refusal->err)) {
		refusal->complaint = COMPLAIN_NOT_ALLOWED;
		refusal->fail = QMT_FAIL_NOT_ALLOWED;
		return 1;
	}
	if (row->pace && link->budget &&
		!link_within_limit(ctx, link, row->pace, &refusal->retry_after_ms, &refusal->err)) {
		refusal->complaint = COMPLAIN_LIMIT;
		refusal->fail = QMT_FAIL_FAILED;
		return 1;
	}
	struct qmt_msg *msg = link_decode(ctx, link, row, env->body, false, &refusal->err);
	if (!msg) {
		refusal->complaint = COMPLAIN_BAD_BODY;
		refusal->fail = refusal->err.code == -ENOMEM ? QMT_FAIL_FULL : QMT_FAIL_DECODE;
		return 1;
	}
	int rc = pass_on(ctx, link, env, to, type, &msg, refusal);
	qmt_msg_free(ctx, msg);
	return rc;
}

static void report(struct qmt_ctx *ctx, struct link *link, const struct envelope *env, const struct refusal *refusal)
{
	struct link_error error = {.fail = (uint32_t)refusal->fail,
		.kind = qmt_str(refusal->complaint == COMPLAIN_LIMIT ? "rate_limited" : NULL),
		.text = qmt_str(refusal->err.text),
		.retry_after_ms = refusal->retry_after_ms};
	bool first = !(link->complained & 1u << refusal->complaint);
	char subject[ENVELOPE_NAME + 1];

	link->counts.refused++;
	qmt_text(subject, sizeof(subject), "%.*s", QMT_STR_ARG(env->to_name));
	if (refusal->complaint == COMPLAIN_LIMIT) /* logged with the audit */
		link->complained |= 1u << COMPLAIN_LIMIT;
	else
		link_complain(ctx, link, refusal->complaint, refusal->err.text, subject);
	/* tells: said once, so that a mistake is seen at the sender too; a flood of them gets no flood of answers */
	if (env->kind == ENVELOPE_ASK || first)
		link_send_error(ctx, link, env->kind == ENVELOPE_ASK ? env->id : 0, (struct qmt_ref){0}, &error);
}

int link_envelope(struct qmt_ctx *ctx, struct link *link, const struct envelope *env, struct qmt_err *err)
{
	const uint64_t trace = qmt_trace(ctx);
	bool is_mine =
		link->state == LINK_UP || link->state == LINK_DRAINING || (link->state == LINK_PROVEN_STATE && link->use_seen);
	struct refusal refusal = {0};
	int rc;

	if (env->kind == ENVELOPE_CONTROL) {
		link_control(ctx, link, env);
		return 0;
	}
	if (!is_mine)
		return qmt_err_set(err, -EPROTO, "a message on a link that is not in use yet");
	link->data_ms = link->heard_ms;
	switch (env->kind) {
	case ENVELOPE_TELL:
	case ENVELOPE_ASK:
		link->counts.messages_in++;
		if (env->trace != trace)
			qmt_trace_set(ctx, env->trace); /* only a number: whatever the peer chose */
		rc = deliver(ctx, link, env, &refusal);
		if (rc > 0)
			report(ctx, link, env, &refusal);
		if (env->trace != trace)
			qmt_trace_set(ctx, trace);
		if (rc < 0)
			return qmt_err_set(err, rc, "%s", refusal.err.text);
		break;
	case ENVELOPE_REPLY:
	case ENVELOPE_ERROR:
		link->counts.messages_in++;
		return link_take_answer(ctx, link, env, err);
	case ENVELOPE_CANCEL:
		cancel(link, env->id);
		break;
	default: /* of a later version */
		break;
	}
	return 0;
}
