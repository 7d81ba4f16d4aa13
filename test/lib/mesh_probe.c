/* test/lib/mesh_probe.c - see mesh_probe.h. */
#include "mesh_probe.h"

#include "proto/contract/contract.h"

QMT_DEFINE_PROTOCOL(probe, PROBE_MESSAGES, "An actor for tests of links.")
QMT_DEFINE_PROTOCOL(stranger, STRANGER_MESSAGES, "Unknown to the probe.")

/* An ask to a peer that is under way. */
struct pending {
	struct pending *next;
	struct qmt_token token;
};

struct probe {
	struct pending *pending;
	uint64_t notes, disorder, events, last_event, bytes, undelivered, reason, downs;
	uint64_t last[PROBE_SENDERS];
};

struct later {
	struct qmt_token token;
	struct probe_said said;
};

static void answer_later(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct later *later = arg;

	(void)state;
	(void)qmt_reply(ctx, later->token, &probe_said_type, &later->said);
	free(later);
}

static void on_say(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct probe_say *msg = body;
	struct probe_said said = {.n = msg->n, .text = msg->text, .back = msg->back, .origin = msg->origin};
	char *pad = NULL;

	for (uint64_t i = 1; i <= msg->notice; i++) {
		char text[24];

		(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)i);
		(void)QMT_TELL(ctx, msg->back, session_notice, .text = qmt_str(text));
	}
	if (qmt_ref_is_set(msg->back)) {
		if (!msg->notice)
			(void)QMT_TELL(ctx, msg->back, probe_event, .n = msg->n);
		if (qmt_monitor(ctx, msg->back))
			qmt_fail(ctx, "no memory to monitor");
	}
	if (msg->never)
		return;
	if (msg->garble) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, "k\xff", 0, "a\xc3(b\xc3");
		return;
	}
	if (msg->lie) {
		QMT_REPLY(ctx, qmt_token(ctx), probe_totals, .notes = 0x1000);
		return;
	}
	if (msg->delay_ms) {
		struct later *later = calloc(1, sizeof(*later));

		if (later) {
			later->token = qmt_token(ctx);
			later->said = (struct probe_said){.n = msg->n};
			(void)qmt_timer_start(ctx, msg->delay_ms, answer_later, later, NULL);
		}
		return;
	}
	if (msg->pad) {
		pad = malloc(msg->pad);
		if (pad)
			memset(pad, 'a', msg->pad);
		said.text = qmt_strn(pad, pad ? msg->pad : 0);
	}
	(void)qmt_reply(ctx, qmt_token(ctx), &probe_said_type, &said);
	free(pad);
	(void)state;
}

static void on_note(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct probe_note *msg = body;
	struct probe *probe = state;

	(void)ctx;
	probe->notes++;
	probe->bytes += msg->text.len;
	if (msg->sender < PROBE_SENDERS) {
		probe->disorder += msg->n != probe->last[msg->sender] + 1;
		probe->last[msg->sender] = msg->n;
	}
}

static void on_total(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct probe *probe = state;

	(void)body;
	QMT_REPLY(ctx, qmt_token(ctx), probe_totals, .notes = probe->notes, .disorder = probe->disorder,
		.events = probe->events, .last_event = probe->last_event, .bytes = probe->bytes,
		.undelivered = probe->undelivered, .reason = probe->reason, .downs = probe->downs);
}

static void on_event(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct probe_event *msg = body;
	struct probe *probe = state;

	(void)ctx;
	probe->events++;
	probe->last_event = msg->n;
	probe->bytes += msg->text.len;
}

static void nothing(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	(void)body;
	QMT_REPLY(ctx, qmt_token(ctx), probe_said, .n = 1);
}

static void drop_pending(struct probe *probe, struct pending *pending)
{
	struct pending **at = &probe->pending;

	while (*at != pending)
		at = &(*at)->next;
	*at = pending->next;
	free(pending);
}

static void on_answer(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct pending *pending = arg;

	(void)qmt_reply_result(ctx, pending->token, result);
	drop_pending(state, pending);
}

static void on_ask_peer(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct probe_ask_peer *msg = body;
	struct probe_say say = {.n = msg->n,
		.text = msg->text,
		.back = msg->with_self ? qmt_self(ctx) : msg->back,
		.delay_ms = msg->delay_ms,
		.never = msg->never,
		.pad = msg->pad,
		.notice = msg->notice};
	static const struct qmt_type *const types[] = {&probe_say_type, &probe_secret_type, &probe_owner_type,
		&stranger_hello_type, &peers_list_type, &peers_resolve_type};
	static const uint64_t zeroes[32];
	struct pending *pending = calloc(1, sizeof(*pending));
	struct probe *probe = state;
	char peer[64], name[64];
	int rc;

	pending->token = qmt_token(ctx);
	pending->next = probe->pending;
	probe->pending = pending;
	(void)snprintf(peer, sizeof(peer), "%.*s", QMT_STR_ARG(msg->peer));
	(void)snprintf(name, sizeof(name), "%.*s", QMT_STR_ARG(msg->name));
	if (peer[0])
		rc = qmt_ask_name(ctx, peer, name[0] ? name : "probe", types[msg->what],
			msg->what ? zeroes : (const void *)&say, msg->timeout_ms, on_answer, pending);
	else
		rc = qmt_ask(ctx, msg->ref, &probe_say_type, &say, msg->timeout_ms, on_answer, pending);
	if (rc) {
		(void)qmt_reply_fail(ctx, pending->token, rc > 0 ? rc : QMT_FAIL_FAILED, NULL, 0, "not sent");
		drop_pending(probe, pending);
	}
}

static void on_tell_peer(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct probe_tell_peer *msg = body;
	struct probe_note note = {.sender = msg->sender};
	char peer[64], *pad = calloc(1, msg->pad + 1);
	uint64_t taken = 0;
	int rc = 0;

	(void)state;
	(void)snprintf(peer, sizeof(peer), "%.*s", QMT_STR_ARG(msg->peer));
	if (pad)
		memset(pad, 'b', msg->pad);
	note.text = qmt_strn(pad, msg->pad);
	for (; taken < msg->count && !rc; taken += !rc) {
		note.n = msg->from + taken;
		if (peer[0])
			rc = qmt_tell_name(ctx, peer, "probe", &probe_note_type, &note);
		else
			rc = QMT_TELL(ctx, msg->ref, probe_event, .n = note.n, .text = note.text);
	}
	free(pad);
	QMT_REPLY(ctx, qmt_token(ctx), probe_told, .taken = taken, .fail = rc > 0 ? (uint64_t)rc : rc < 0 ? 99 : 0);
}

static void undelivered(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body, int reason)
{
	struct probe *probe = state;

	(void)ctx;
	(void)type;
	(void)body;
	probe->undelivered++;
	probe->reason = (uint64_t)reason;
}

static void down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	struct probe *probe = state;

	(void)ctx;
	(void)who;
	(void)reason;
	probe->downs++;
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct probe *probe = state;

	(void)ctx;
	while (probe->pending)
		drop_pending(probe, probe->pending);
}

static qmt_handler *const handlers[probe_message_count] = {
	[probe_say_id] = on_say,
	[probe_note_id] = on_note,
	[probe_total_id] = on_total,
	[probe_event_id] = on_event,
	[probe_secret_id] = nothing,
	[probe_owner_id] = nothing,
	[probe_ask_peer_id] = on_ask_peer,
	[probe_tell_peer_id] = on_tell_peer,
};

const struct qmt_actor_desc probe_desc = {
	.abi = QMT_ABI,
	.name = "probe",
	.doc = "For tests of links.",
	.state_size = sizeof(struct probe),
	.accepts = {{&probe_protocol, handlers}},
	.stop = stop,
	.undelivered = undelivered,
	.down = down,
};
