/* cmd/lab/peer_forbidden.c - a proven peer that asks for what it may not have. All messages of all contracts are tried
 * that need an operation which no peer has; the list is proto/contract, so a new message is tried as soon as it is
 * there. */
#include <errno.h>

#include "cmd/lab/peer.h"
#include "proto/codec.h"
#include "proto/contract/contract.h"
#include "runtime/base/os.h"

enum { ROOM = 1 << 20, REFS = 64 };

struct attack {
	struct peer *peer;
	struct hostile link;
	uint64_t id;
	uint8_t *room;
	unsigned refused, tried;
	char provider[80]; /* "provider/NAME", of the first one that the node names */
};

/* ---- the owner's messages, and local ones ------------------------------------------------------------------------ */

/* Who serves a protocol: its actor's registered name. */
static const char *actor_of(const struct attack *attack, const struct qmt_protocol *protocol)
{
	if (strcmp(protocol->name, "node") == 0)
		return "node_manager";
	return strcmp(protocol->name, "provider") == 0 && attack->provider[0] ? attack->provider : protocol->name;
}

static bool is_forbidden(const struct qmt_type *type)
{
	static const char *const operations[] = {"control", "local", "reply", "stream"};

	for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++)
		if (strcmp(type->access, operations[i]) == 0)
			return true;
	return false;
}

/* The ask must be answered with an error. */
static int must_be_refused(
	struct attack *attack, const char *name, uint32_t number, const struct qmt_type *type, const void *body)
{
	struct envelope env;
	struct qmt_err err = {0};
	int rc = peer_ask(
		attack->peer, &attack->link, ++attack->id, name, number, type->record.name, body ? &type->record : NULL, body);

	attack->tried++;
	if (!rc)
		rc = peer_answer(attack->peer, &attack->link, attack->id, attack->room, ROOM, &env, &err);
	if (rc) {
		peer_say("failed: no answer to %s: %s", type->record.name, err.text);
		return PEER_LET;
	}
	if (env.kind == ENVELOPE_REPLY) {
		peer_say("let: %s to %s was answered", type->record.name, name ? name : "a ref that was never given");
		return PEER_LET;
	}
	peer_error_text(&env, &err);
	attack->refused++;
	if (name)
		peer_say("refused %s: %s", type->record.name, err.text);
	return PEER_HELD;
}

static int try_contracts(struct attack *attack)
{
	for (const struct qmt_protocol *const *protocol = contract_protocols; *protocol; protocol++)
		for (uint32_t i = 0; i < (*protocol)->count; i++) {
			const struct qmt_type *type = (*protocol)->types[i];

			if (is_forbidden(type) && must_be_refused(attack, actor_of(attack, *protocol), 0, type, NULL))
				return PEER_LET;
		}
	return PEER_HELD;
}

/* ---- refs that were never given ---------------------------------------------------------------------------------- */

static int try_refs(struct attack *attack)
{
	struct provider_chunk chunk = {.request = qmt_str("r"), .seq = 1, .text = qmt_str("not yours")};

	for (uint32_t number = 1; number <= REFS; number++)
		if (must_be_refused(attack, NULL, number, &provider_chunk_type, &chunk))
			return PEER_LET;
	peer_say("refused %d streams to refs that were never given", REFS);
	return PEER_HELD;
}

/* Answers to asks that nobody made, and cancels of none: read over. */
static int try_strays(struct attack *attack)
{
	struct qmt_buf frame QMT_CLEANUP(qmt_buf_free) = {0};
	static const uint8_t kinds[] = {ENVELOPE_REPLY, ENVELOPE_ERROR, ENVELOPE_CANCEL};

	for (uint64_t id = 1; id <= REFS; id++)
		for (size_t i = 0; i < sizeof kinds; i++) {
			struct envelope env = {
				.kind = kinds[i], .id = id, .type = (uint32_t)attack->id + 1, .type_name = qmt_str("node.info_reply")};

			hostile_put_envelope(&frame, &env, "\x80", 1);
		}
	if (frame.failed || hostile_put(&attack->link, frame.data, frame.len, attack->peer->deadline_ms)) {
		peer_say("failed: stray answers do not leave");
		return PEER_LET;
	}
	peer_say("sent stray answers");
	attack->id++;
	return PEER_HELD;
}

/* ---- somebody else's name ---------------------------------------------------------------------------------------- */

/* Asks and waits. 0: a reply; 1: refused; <0: failed. */
static int ask_as(struct attack *attack, const struct qmt_type *type, const void *body, struct envelope *ret_env)
{
	struct qmt_err err = {0};
	int rc =
		peer_ask(attack->peer, &attack->link, ++attack->id, "node_manager", 0, type->record.name, &type->record, body);

	if (!rc)
		rc = peer_answer(attack->peer, &attack->link, attack->id, attack->room, ROOM, ret_env, &err);
	if (rc) {
		peer_say("failed: no answer to %s: %s", type->record.name, err.text);
		return -1;
	}
	if (ret_env->kind == ENVELOPE_REPLY)
		return 0;
	peer_error_text(ret_env, &err);
	peer_say("refused %s: %s", type->record.name, err.text);
	return 1;
}

/* A peer that was never here sees no session, whoever it says that it is. */
static int list_as(struct attack *attack, const char *origin)
{
	struct node_session_list list = {.limit = 100, .origin = qmt_str(origin)};
	struct envelope env;
	int rc = ask_as(attack, &node_session_list_type, &list, &env);

	if (rc)
		return rc < 0 ? PEER_LET : PEER_HELD;

	struct node_session_list_reply *reply =
		codec_decode_new(&node_session_list_reply_type.record, env.body, NULL, NULL);
	uint32_t count = reply ? reply->sessions.count : 0;

	peer_say(count ? "let: sees %u sessions of others" : "answer node.session_list: %u sessions", count);
	free(reply);
	return count ? PEER_LET : PEER_HELD;
}

/* What it makes is its own. */
static int create_as(struct attack *attack, const char *origin)
{
	struct node_session_create create = {
		.request = qmt_str("01890a5d-ac96-774b-bcce-b302099a8058"), .origin = qmt_str(origin)};
	char self[PEER_ID_TEXT + 1];
	struct envelope env;
	int rc = ask_as(attack, &node_session_create_type, &create, &env);

	if (rc)
		return rc < 0 ? PEER_LET : PEER_HELD;

	struct node_session_reply *reply = codec_decode_new(&node_session_reply_type.record, env.body, NULL, NULL);
	bool is_own;

	peer_id_text(&attack->link.identity.id, self);
	is_own = reply && qmt_str_is(reply->session.owner, self);
	peer_say("%s node.session_create: the owner is %.*s",
		is_own ? "answer" : "let:", reply ? (int)reply->session.owner.len : 0,
		reply && reply->session.owner.p ? reply->session.owner.p : "");
	free(reply);
	return is_own ? PEER_HELD : PEER_LET;
}

static int try_origins(struct attack *attack)
{
	char other[PEER_ID_TEXT + 1], node[PEER_ID_TEXT + 1];
	struct identity somebody;

	identity_generate(&somebody);
	peer_id_text(&somebody.id, other);
	identity_fini(&somebody);
	peer_id_text(&attack->link.hello.peer.id, node);
	return list_as(attack, "") || list_as(attack, other) || list_as(attack, node) || create_as(attack, node)
		? PEER_LET
		: PEER_HELD;
}

/* What anybody may know: the names of the providers. */
static int ask_providers(struct attack *attack)
{
	struct node_info nothing = {};
	struct envelope env;

	if (ask_as(attack, &node_info_type, &nothing, &env))
		return PEER_LET;

	struct node_info_reply *info = codec_decode_new(&node_info_reply_type.record, env.body, NULL, NULL);

	if (info && info->node.providers.count)
		(void)snprintf(
			attack->provider, sizeof attack->provider, "provider/%.*s", QMT_STR_ARG(info->node.providers.items[0]));
	free(info);
	return PEER_HELD;
}

int peer_mode_forbidden(struct peer *peer)
{
	struct attack attack = {.peer = peer, .room = malloc(ROOM)};
	struct qmt_err err = {0};
	int verdict = PEER_LET;

	if (!attack.room || peer_link_open(peer, &attack.link, 0, &err))
		peer_say("failed: no link: %s", err.text);
	else
		verdict = ask_providers(&attack) || try_contracts(&attack) || try_refs(&attack) || try_strays(&attack) ||
				try_origins(&attack)
			? PEER_LET
			: PEER_HELD;
	if (verdict == PEER_HELD)
		peer_say("refused %u of %u", attack.refused, attack.tried);
	hostile_hang_up(&attack.link);
	free(attack.room);
	return verdict;
}
