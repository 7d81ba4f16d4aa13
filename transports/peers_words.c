/* transports/peers_words.c - the owner's words of peers: allow, block, forget.
 *
 * A word is in the store before it holds here, and holds before the command is answered. A name that a peer gives
 * itself is never taken for it: else a stranger could be allowed in another's place.
 *
 * The store may carry a word out after the answer was given up. So when it did not say no itself, it is asked for all
 * that was said; it answers that behind the word (store.c), and then each link is judged by what it has.
 */
#include <errno.h>

#include "transports/peers_internal.h"

enum { NOTE_BYTES = 400 };

struct saying {
	struct qmt_token token;
	struct peer_id id;
	const struct target *target; /* forget: whose pin goes, too; NULL: none */
	bool block, is_damaged;      /* is_damaged: of a row in the store whose PeerId may be none, or of a pin */
	char text[PEER_ID_TEXT + 1], name[HELLO_NAME + 1];
};

/* Answers and returns true while it is not known what was said before. */
static bool too_early(struct qmt_ctx *ctx, const struct peers *peers)
{
	if (!peers->policies_known)
		(void)qmt_reply_fail(
			ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "the store has not answered yet: try again");
	return !peers->policies_known;
}

/* 0, or it was answered why not. */
static int whom(struct qmt_ctx *ctx, struct peers *peers, struct qmt_str who, struct peer_id *ret_id)
{
	struct qmt_token token = qmt_token(ctx);
	struct peer_meant meant;

	if (too_early(ctx, peers))
		return 1;
	if (peers_meant(peers, who, &meant)) {
		*ret_id = meant.id;
		if (!meant.is_known)
			return qmt_reply_fail(ctx, token, QMT_FAIL_NOT_FOUND, NULL, 0,
					   "peer '%s' was never reached, so its PeerId is not known: use that", meant.target->config->name),
				   1;
		if (peer_id_compare(&meant.id, &peers->node->identity->id) != 0)
			return 0;
		return qmt_reply_fail(ctx, token, QMT_FAIL_BAD_REQUEST, NULL, 0, "that is this node itself"), 1;
	}
	for (const struct known_link *link = peers->links; link; link = link->next)
		if (qmt_str_is(who, link->node))
			return qmt_reply_fail(ctx, token, QMT_FAIL_BAD_REQUEST, NULL, 0,
					   "'%s' is only what a connected peer calls itself, as anybody may: use its PeerId, %s",
					   link->node, link->remote->text),
				   1;
	return qmt_reply_fail(ctx, token, QMT_FAIL_NOT_FOUND, NULL, 0,
			   "no peer called '%.*s' (qmt peers); a peer that was never here is named by its PeerId",
			   QMT_STR_ARG(who)),
		   1;
}

/* A name for somebody must not be another's, by whatever list. */
static int check_name(struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id, struct qmt_str name)
{
	const struct target *named = peers_target_called(peers, name), *own = peers_target_of(peers, id);
	const struct policy *policy = policy_called(peers, name);
	struct qmt_token token = qmt_token(ctx);
	struct peer_id unused;
	bool fits = name.len <= HELLO_NAME;

	for (uint32_t i = 0; fits && i < name.len; i++)
		fits = name.p[i] > ' ' && name.p[i] < 0x7f && name.p[i] != '/';
	if (!fits)
		return qmt_reply_fail(ctx, token, QMT_FAIL_BAD_REQUEST, NULL, 0,
				   "name: printable ASCII without spaces and slashes, %d bytes at most", HELLO_NAME),
			   1;
	if (own && named != own)
		return qmt_reply_fail(ctx, token, QMT_FAIL_BAD_REQUEST, NULL, 0,
				   "this peer is called '%s' in the configuration: leave --as out", own->config->name),
			   1;
	if ((named && named != own) || (policy && peer_id_compare(&policy->id, id) != 0) ||
		peer_id_parse(name, &unused, NULL) == 0)
		return qmt_reply_fail(
				   ctx, token, QMT_FAIL_BAD_REQUEST, NULL, 0, "'%.*s' is another peer's name", QMT_STR_ARG(name)),
			   1;
	return 0;
}

static const char *name_of(const struct peers *peers, const struct peer_id *id)
{
	const struct target *target = peers_target_of(peers, id);
	const struct policy *policy = policy_of(peers, id);

	return target ? target->config->name : policy ? policy->name : "";
}

/* For the audit. */
static void note_of(const char *name, char ret_note[NOTE_BYTES])
{
	(void)snprintf(ret_note, NOTE_BYTES, "%s%sby qmt peers", name, name[0] ? ": " : "");
}

/* True: not carried out, or not known whether; it was answered. */
static bool is_not_said(
	struct qmt_ctx *ctx, struct peers *peers, const struct saying *saying, const struct qmt_result *result)
{
	if (result->fail == 0) {
		peers->policies_stale = peers->policies_asked;
		return false;
	}
	if (result->fail == QMT_FAIL_NOT_FOUND || result->fail == QMT_FAIL_BAD_REQUEST ||
		result->fail == QMT_FAIL_TOO_LARGE) {
		(void)qmt_reply_result(ctx, saying->token, result);
		return true;
	}
	policies_load(ctx, peers);
	(void)qmt_reply_fail(ctx, saying->token, result->fail, NULL, 0,
		"the store did not say whether it has noted that (%s%s%.*s); it is asked again, and what it has holds: see "
		"qmt peers",
		qmt_fail_name(result->fail), result->text.len ? ": " : "", QMT_STR_ARG(result->text));
	return true;
}

/* It is in the store: now it holds. */
static void on_said(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct peers *peers = state;
	struct saying *saying = arg;
	struct policy *policy;
	uint32_t ended = 0;
	char why[256];

	if (is_not_said(ctx, peers, saying, result)) {
		free(saying);
		return;
	}
	policy = policy_need(peers, &saying->id);
	if (!policy) {
		qmt_fail(ctx, "out of memory"); /* with the restart it is read from the store */
		free(saying);
		return;
	}
	policy->blocked = saying->block;
	policy->since_ms = qmt_wall_ms(ctx);
	if (saying->name[0])
		memcpy(policy->name, saying->name, sizeof(policy->name));
	ended = peers_judge_again(ctx, peers, &saying->id);
	if (!peer_may_link(peers, &saying->id, true, why))
		dials_end(ctx, peers, &saying->id, why);
	else
		target_may_go(ctx, peers, &saying->id);
	const char *name = name_of(peers, &saying->id);
	QMT_LOG(ctx, QMT_INFO, saying->block ? "peer.blocked" : "peer.allowed", "peer", policy->text, "name", name);
	(void)QMT_REPLY(ctx, saying->token, peers_policy, .peer_id = qmt_str(policy->text), .name = qmt_str(name),
		.policy = qmt_str(saying->block ? "block" : "allow"), .configured = peers_target_of(peers, &saying->id) != NULL,
		.links_cut = ended);
	free(saying);
}

static void say(struct qmt_ctx *ctx, struct peers *peers, struct qmt_str who, struct qmt_str name, bool block)
{
	struct peer_id id;
	struct saying *saying;
	char note[NOTE_BYTES];

	if (whom(ctx, peers, who, &id) || (name.len && check_name(ctx, peers, &id, name)))
		return;
	saying = calloc(1, sizeof(*saying));
	if (!saying) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "out of memory");
		return;
	}
	saying->token = qmt_token(ctx);
	saying->id = id;
	saying->block = block;
	peer_id_text(&id, saying->text);
	qmt_text(saying->name, sizeof(saying->name), "%.*s", QMT_STR_ARG(name));
	note_of(name.len ? saying->name : name_of(peers, &id), note);
	ask_store(ctx, &store_policy_put_type,
		&(struct store_policy_put){.peer_id = qmt_str(saying->text),
			.policy = qmt_str(block ? "block" : "allow"),
			.name = name,
			.note = qmt_str(note)},
		on_said, saying);
}

void peers_on_allow(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_allow *msg = body;

	say(ctx, state, msg->peer, msg->name, false);
}

void peers_on_block(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_block *msg = body;

	say(ctx, state, msg->peer, (struct qmt_str){0}, true);
}

/* ---- forgetting -------------------------------------------------------------------------------------------------- */

static void drop(struct peers *peers, const struct peer_id *id)
{
	for (struct policy **at = &peers->policies; *at; at = &(*at)->next) {
		struct policy *policy = *at;

		if (peer_id_compare(&policy->id, id) != 0)
			continue;
		*at = policy->next;
		free(policy);
		return;
	}
}

static void on_dropped(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct peers *peers = state;
	struct saying *saying = arg;
	const struct target *target = saying->target;

	if (result->fail != QMT_FAIL_NOT_FOUND && is_not_said(ctx, peers, saying, result)) {
		free(saying);
		return;
	}
	if (saying->is_damaged) {
		if (result->fail) {
			target_forget(ctx, peers, saying->token, qmt_str(saying->text), false);
		} else {
			policies_load(ctx, peers);
			(void)QMT_REPLY(ctx, saying->token, peers_done, );
		}
		free(saying);
		return;
	}
	drop(peers, &saying->id);
	(void)peers_judge_again(ctx, peers, &saying->id);
	if (target)
		target_forget(ctx, peers, saying->token, qmt_str(target->config->name), true);
	else
		(void)QMT_REPLY(ctx, saying->token, peers_done, );
	target_may_go(ctx, peers, &saying->id);
	free(saying);
}

/* A word and a pin are two things; who says forget means both. */
void peers_on_forget(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_forget *msg = body;
	struct peers *peers = state;
	const struct policy *policy = NULL;
	struct peer_meant meant;
	struct saying *saying;
	char note[NOTE_BYTES];

	if (msg->name.len == 0) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0, "no name given");
		return;
	}
	if (too_early(ctx, peers))
		return;
	if (!peers_meant(peers, msg->name, &meant))
		meant = (struct peer_meant){0};
	if (meant.is_known)
		policy = policy_of(peers, &meant.id);
	if (!policy && (meant.is_known || meant.target || msg->name.len >= sizeof(saying->text))) {
		target_forget(
			ctx, peers, qmt_token(ctx), meant.target ? qmt_str(meant.target->config->name) : msg->name, false);
		return;
	}
	saying = calloc(1, sizeof(*saying));
	if (!saying) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "out of memory");
		return;
	}
	saying->token = qmt_token(ctx);
	saying->is_damaged = !policy;
	saying->target = meant.target;
	if (policy)
		saying->id = policy->id;
	qmt_text(saying->text, sizeof(saying->text), "%.*s", QMT_STR_ARG(policy ? qmt_str(policy->text) : msg->name));
	note_of(policy ? name_of(peers, &saying->id) : "", note);
	ask_store(ctx, &store_policy_forget_type,
		&(struct store_policy_forget){.peer_id = qmt_str(saying->text), .note = qmt_str(note)}, on_dropped, saying);
}
