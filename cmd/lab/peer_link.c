/* cmd/lab/peer_link.c - what the modes of a proven peer share: a link in use, asks and their answers, the end. */
#include <errno.h>

#include "cmd/lab/peer.h"
#include "proto/codec.h"
#include "proto/contract/contract.h"
#include "runtime/base/os.h"
#include "transports/link_records.h"

enum { ROOM = 1 << 20, ASK_MS = 5000, ANY_ID = 0 };

static int say_outcome(int rc, struct qmt_err *err)
{
	if (rc == HOSTILE_E_CUT)
		(void)qmt_err_set(err, rc, "the connection was cut");
	else if (rc == HOSTILE_E_LATE)
		(void)qmt_err_set(err, rc, "nothing came within the time (--within)");
	return rc;
}

/* ---- a link in use ----------------------------------------------------------------------------------------------- */

/* Waits until the other side, which decides, uses this link. */
static int await_use(struct peer *peer, struct hostile *link)
{
	uint8_t room[4096];
	size_t len;
	int rc;

	while (!(rc = hostile_get(link, room, sizeof room, peer->deadline_ms, &len))) {
		struct qmt_bytes data = {room + 1, len ? (uint32_t)len - 1 : 0};
		struct envelope env;

		while (envelope_get(&data, &env, NULL) == 0)
			if (env.kind == ENVELOPE_CONTROL && env.type == LINK_USE)
				return 0;
	}
	return rc;
}

int peer_link_open(struct peer *peer, struct hostile *link, unsigned flags, struct qmt_err *err)
{
	int rc = hostile_connect(link, peer->endpoint, flags, err);

	if (!rc)
		rc = hostile_prove(link, 0, peer->deadline_ms, err);
	if (rc)
		return say_outcome(rc, err);
	if (peer_id_compare(&link->identity.id, &link->hello.peer.id) < 0)
		rc = hostile_use(link, 1, false, peer->deadline_ms);
	else
		rc = await_use(peer, link);
	return say_outcome(rc, err);
}

int peer_ask(struct peer *peer, struct hostile *link, uint64_t id, const char *name, uint32_t number, const char *type,
	const struct qmt_record *record, const void *body)
{
	struct qmt_buf frame QMT_CLEANUP(qmt_buf_free) = {0};
	struct envelope env = {
		.kind = ENVELOPE_ASK,
		.id = id,
		.to_name = qmt_str(name),
		.to = number,
		.type = (uint32_t)id, /* a number of its own for each ask: so each may name its type */
		.type_name = qmt_str(type),
		.deadline_ms = ASK_MS,
	};

	hostile_put_envelope(&frame, &env, NULL, 0);
	if (!body)
		envelope_put_nil(&frame);
	else if (codec_encode(record, body, NULL, &frame))
		return -ENOMEM;
	return frame.failed ? -ENOMEM : hostile_put(link, frame.data, frame.len, peer->deadline_ms);
}

void peer_error_text(const struct envelope *env, struct qmt_err *ret_err)
{
	struct link_error *error = codec_decode_new(&link_error_record, env->body, NULL, NULL);

	(void)qmt_err_set(
		ret_err, -ECONNREFUSED, "%.*s", error ? (int)error->text.len : 0, error && error->text.p ? error->text.p : "");
	free(error);
}

/* The next envelope that is an answer to id (ANY_ID: to none), or the cut. */
static int next_answer(struct qmt_bytes *data, uint64_t id, struct envelope *ret_env)
{
	while (envelope_get(data, ret_env, NULL) == 0) {
		if (ret_env->kind == ENVELOPE_CONTROL && ret_env->type == LINK_CUT)
			return 0;
		if ((ret_env->kind == ENVELOPE_REPLY || ret_env->kind == ENVELOPE_ERROR) && ret_env->id == id)
			return 0;
	}
	return 1;
}

int peer_answer(struct peer *peer, struct hostile *link, uint64_t id, void *room, size_t size, struct envelope *ret_env,
	struct qmt_err *err)
{
	for (;;) {
		size_t len;
		int rc = hostile_get(link, room, size, peer->deadline_ms, &len);

		if (rc)
			return say_outcome(rc, err);

		struct qmt_bytes data = {(const uint8_t *)room + 1, len ? (uint32_t)len - 1 : 0};

		if (next_answer(&data, id, ret_env))
			continue;
		if (ret_env->kind != ENVELOPE_CONTROL)
			return 0;
		peer_error_text(ret_env, err);
		return qmt_err_prefix(err, "the node ended the link");
	}
}

/* Says why, when the frame does: words of a link, or of HELLO. */
static void say_reason(const uint8_t *frame, size_t len)
{
	struct qmt_bytes data = {frame + 1, len ? (uint32_t)len - 1 : 0};
	struct envelope env;
	struct qmt_err err = {0};

	if (len && frame[0] == HELLO_STEP_REFUSAL) {
		struct hello_refusal *refusal = codec_decode_new(&hello_refusal_record, data, NULL, NULL);

		if (refusal)
			peer_say("refused: %.*s", QMT_STR_ARG(refusal->text));
		free(refusal);
		return;
	}
	while (envelope_get(&data, &env, NULL) == 0)
		if (env.kind == ENVELOPE_CONTROL && env.type == LINK_CUT) {
			peer_error_text(&env, &err);
			peer_say("refused: %s", err.text);
		}
}

int peer_must_be_cut(struct peer *peer, struct hostile *link)
{
	uint8_t room[65536];
	size_t len;
	int rc;

	peer_next_step(peer);
	while (!(rc = hostile_get(link, room, sizeof room, peer->deadline_ms, &len)))
		say_reason(room, len);
	if (rc == HOSTILE_E_CUT) {
		peer_say("cut");
		return PEER_HELD;
	}
	peer_say("let: the link is still there after %llu ms", (unsigned long long)peer->within_ms);
	return PEER_LET;
}

/* ---- the node lives ---------------------------------------------------------------------------------------------- */

static int ask_info(struct peer *peer, struct hostile *link, struct qmt_err *err)
{
	uint8_t *room = malloc(ROOM);
	struct envelope env;
	int rc = room ? peer_link_open(peer, link, 0, err) : qmt_err_set(err, -ENOMEM, "out of memory");

	if (!rc)
		rc = peer_ask(peer, link, 1, "node_manager", 0, "node.info", NULL, NULL);
	if (!rc)
		rc = peer_answer(peer, link, 1, room, ROOM, &env, err);
	if (!rc && env.kind == ENVELOPE_ERROR) {
		peer_error_text(&env, err);
		rc = err->code;
	}
	if (!rc) {
		struct node_info_reply *info = codec_decode_new(&node_info_reply_type.record, env.body, NULL, err);

		rc = info ? 0 : -EBADMSG;
		if (info)
			peer_say("alive: %.*s %.*s", QMT_STR_ARG(info->node.name), QMT_STR_ARG(info->node.peer_id));
		free(info);
	}
	free(room);
	return rc;
}

int peer_check_alive(struct peer *peer)
{
	struct hostile link = {0};
	struct qmt_err err = {0};
	int rc;

	rc = ask_info(peer, &link, &err);
	if (rc)
		peer_say("dead: a peer with good manners got no node.info: %s", err.text);
	hostile_hang_up(&link);
	return rc ? PEER_LET : PEER_HELD;
}
