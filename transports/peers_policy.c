/* transports/peers_policy.c - what the owner said of peers: who is named, who is blocked, and so who gets a link.
 *
 *      blocked                      no link, on any listener, nor is it dialed; wins over the configuration
 *      named: configured, allowed   a link, and what the authority table grants to named peers
 *      anybody else                 a link with [mesh.lan] trust = "subnet", none with "known"
 *
 * The word is in the store before it holds here, and holds before the command is answered. Until the store has said
 * what was told to it before, nobody is let in and nobody is dialed: a claim waits, at most as long as its HELLO may
 * take. A name that a peer gives itself is never taken for it: else a stranger could be allowed in another's place.
 */
#include <errno.h>

#include "transports/peers_internal.h"

enum { POLICY_RETRY_MS = 1000 };

/* ---- who is what ------------------------------------------------------------------------------------------------- */

const struct policy *policy_of(const struct peers *peers, const struct peer_id *id)
{
	for (const struct policy *policy = peers->policies; policy; policy = policy->next)
		if (peer_id_compare(&policy->id, id) == 0)
			return policy;
	return NULL;
}

const struct policy *policy_called(const struct peers *peers, struct qmt_str name)
{
	for (const struct policy *policy = peers->policies; policy; policy = policy->next)
		if (policy->name[0] && qmt_str_is(name, policy->name))
			return policy;
	return NULL;
}

bool peer_is_blocked(const struct peers *peers, const struct peer_id *id)
{
	const struct policy *policy = policy_of(peers, id);

	return policy && policy->blocked;
}

bool peer_is_named(const struct peers *peers, const struct peer_id *id)
{
	const struct policy *policy = policy_of(peers, id);

	return policy ? !policy->blocked : peers_target_of(peers, id) != NULL;
}

bool peer_may_link(const struct peers *peers, const struct peer_id *id, bool dialed, char ret_why[256])
{
	char text[PEER_ID_TEXT + 1];

	peer_id_text(id, text);
	if (peer_is_blocked(peers, id)) {
		(void)snprintf(ret_why, 256, "node %.64s blocks this one (to change that, there: qmt peers allow %s)",
			peers->node->node_name, text);
		return false;
	}
	if (peers->config->trust_known && !dialed && !peer_is_named(peers, id)) {
		(void)snprintf(ret_why, 256,
			"node %.64s has trust = \"known\" and does not know this one (to change that, there: qmt peers allow %s)",
			peers->node->node_name, text);
		return false;
	}
	return true;
}

void peers_tell_role(
	struct qmt_ctx *ctx, const struct peers *peers, struct qmt_ref link, const struct peer_id *id, bool dialed)
{
	/* who is dialed is configured, also when its PeerId is not noted yet */
	bool named = peer_is_named(peers, id) || (dialed && !peer_is_blocked(peers, id));

	for (uint32_t i = 0; i < peers->node->scope_count; i++)
		(void)QMT_TELL(
			ctx, link, link_role, .scope = qmt_str(peers->node->scopes[i]), .role = AUTHORITY_LAN, .named = named);
}

uint32_t peers_judge_again(struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id)
{
	char why[256];
	uint32_t ended = 0;

	for (struct known_link *link = peers->links; link; link = link->next) {
		if (peer_id_compare(&link->remote->id, id) != 0)
			continue;
		if (peer_may_link(peers, id, link->dialed, why)) {
			peers_tell_role(ctx, peers, link->ref, id, link->dialed);
		} else {
			peers_end_link(ctx, link, why);
			ended++;
		}
	}
	return ended;
}

/* ---- claims ------------------------------------------------------------------------------------------------------ */

static void answer_claim(struct qmt_ctx *ctx, struct peers *peers, const struct claim *claim)
{
	char why[256];

	if (peer_may_link(peers, &claim->id, claim->dialed, why)) {
		peers_tell_role(ctx, peers, claim->link, &claim->id, claim->dialed);
		(void)QMT_TELL(ctx, claim->link, link_admit, );
		return;
	}
	(void)QMT_TELL(ctx, claim->link, link_deny, .why = qmt_str(why));
	if (!claim->dialed)
		peers_audit_refused(ctx, peers, &claim->id, claim->node, why, claim->from);
}

void peers_on_claims(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link_claims *msg = body;
	struct peers *peers = state;
	struct claim claim = {.link = msg->link, .dialed = msg->dialed}, *kept;

	if (peer_id_from_bytes(msg->peer, &claim.id, NULL))
		return;
	qmt_text(claim.node, sizeof(claim.node), "%.*s", QMT_STR_ARG(msg->node));
	qmt_text(claim.from, sizeof(claim.from), "%.*s", QMT_STR_ARG(msg->address));
	if (peers->policies_known) {
		answer_claim(ctx, peers, &claim);
		return;
	}
	kept = malloc(sizeof(*kept)); /* as many as there may be unproven connections */
	if (!kept) {
		(void)QMT_TELL(ctx, msg->link, link_deny, .why = qmt_str("out of memory"));
		return;
	}
	*kept = claim;
	kept->next = peers->claims;
	peers->claims = kept;
}

/* ---- from the store ---------------------------------------------------------------------------------------------- */

static struct policy *policy_need(struct peers *peers, const struct peer_id *id)
{
	struct policy *policy = NULL;

	for (struct policy *one = peers->policies; one && !policy; one = one->next)
		if (peer_id_compare(&one->id, id) == 0)
			policy = one;
	if (policy)
		return policy;
	policy = calloc(1, sizeof(*policy));
	if (!policy)
		return NULL;
	policy->id = *id;
	peer_id_text(id, policy->text);
	policy->next = peers->policies;
	peers->policies = policy;
	return policy;
}

static void drop_all(struct peers *peers)
{
	while (peers->policies) {
		struct policy *policy = peers->policies;

		peers->policies = policy->next;
		free(policy);
	}
}

static bool take_all(struct peers *peers, const struct store_policies *all)
{
	drop_all(peers);
	for (uint32_t i = 0; i < all->policies.count; i++) {
		const struct store_policy *row = &all->policies.items[i];
		struct policy *policy;
		struct peer_id id;

		if (peer_id_parse(row->peer_id, &id, NULL))
			continue; /* it was one when it was written: of a damaged row nothing is left to go by */
		policy = policy_need(peers, &id);
		if (!policy)
			return false;
		policy->blocked = !qmt_str_is(row->policy, "allow");
		policy->since_ms = row->since_ms;
		qmt_text(policy->name, sizeof(policy->name), "%.*s", QMT_STR_ARG(row->name));
	}
	return true;
}

static void on_retry(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct peers *peers = state;

	(void)arg;
	peers->policies_timer = (struct qmt_timer){0};
	policies_load(ctx, peers);
}

static void policies_are_known(struct qmt_ctx *ctx, struct peers *peers)
{
	peers->policies_known = true;
	while (peers->claims) {
		struct claim *claim = peers->claims;

		peers->claims = claim->next;
		answer_claim(ctx, peers, claim);
		free(claim);
	}
	for (uint32_t i = 0; i < peers->config->peer_count; i++) {
		peers->targets[i].last_error[0] = '\0';
		target_go(ctx, peers, &peers->targets[i]);
	}
}

static void on_policies(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct peers *peers = state;
	char why[300];

	(void)arg;
	if (result->fail || result->type != &store_policies_type || !take_all(peers, result->body)) {
		qmt_text(why, sizeof(why), "what was said by qmt peers allow and block could not be read: %s",
			result->fail ? qmt_fail_name(result->fail) : "out of memory");
		targets_say(peers, why);
		QMT_LOG(ctx, QMT_WARN, "peers.waiting", "reason", why, "note", "nobody is let in or dialed before");
		if (qmt_timer_start(ctx, POLICY_RETRY_MS, on_retry, NULL, &peers->policies_timer))
			qmt_fail(ctx, "out of memory");
		return;
	}
	policies_are_known(ctx, peers);
}

void policies_load(struct qmt_ctx *ctx, struct peers *peers)
{
	if (peers->config->without_store)
		policies_are_known(ctx, peers);
	else
		ask_store(ctx, &store_policy_list_type, &(struct store_policy_list){}, on_policies, NULL);
}

void policies_stop(struct peers *peers)
{
	drop_all(peers);
	while (peers->claims) {
		struct claim *claim = peers->claims;

		peers->claims = claim->next;
		free(claim);
	}
}

/* ---- the owner's words ------------------------------------------------------------------------------------------- */

struct saying {
	struct qmt_token token;
	struct peer_id id;
	bool block, forget;
	char text[PEER_ID_TEXT + 1], name[HELLO_NAME + 1];
};

static struct target *target_called(struct peers *peers, struct qmt_str name)
{
	for (uint32_t i = 0; i < peers->config->peer_count; i++)
		if (qmt_str_is(name, peers->targets[i].config->name))
			return &peers->targets[i];
	return NULL;
}

/* 0, or it was answered why not. */
static int whom(struct qmt_ctx *ctx, struct peers *peers, struct qmt_str who, struct peer_id *ret_id)
{
	const struct target *target = target_called(peers, who);
	const struct policy *policy = policy_called(peers, who);
	struct qmt_token token = qmt_token(ctx);
	struct qmt_err err = {0};

	if (!peers->policies_known)
		return qmt_reply_fail(ctx, token, QMT_FAIL_FAILED, NULL, 0, "the store has not answered yet: try again"), 1;
	if (target && !target->has_expected)
		return qmt_reply_fail(ctx, token, QMT_FAIL_NOT_FOUND, NULL, 0,
				   "peer '%s' was never reached, so its PeerId is not known: use that", target->config->name),
			   1;
	if (target || policy) {
		*ret_id = target ? target->expected : policy->id;
		return 0;
	}
	if (peer_id_parse(who, ret_id, &err) == 0) {
		if (peer_id_compare(ret_id, &peers->node->identity->id) != 0)
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
	const struct target *named = target_called(peers, name), *own = peers_target_of(peers, id);
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

/* It is in the store: now it holds. */
static void on_said(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct peers *peers = state;
	struct saying *saying = arg;
	struct policy *policy = NULL;
	uint32_t ended = 0;
	char why[256];

	if (result->fail == 0 && !(policy = policy_need(peers, &saying->id)))
		qmt_fail(ctx, "out of memory"); /* with the restart it is read from the store */
	if (result->fail || !policy) {
		(void)qmt_reply_result(ctx, saying->token, result);
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
		target_unblocked(ctx, peers, &saying->id);
	const char *name = name_of(peers, &saying->id);
	peers_audit(ctx, saying->block ? "peer_blocked" : "peer_allowed", policy->text, name, "by qmt peers");
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
	ask_store(ctx, &store_policy_put_type,
		&(struct store_policy_put){
			.peer_id = qmt_str(saying->text), .policy = qmt_str(block ? "block" : "allow"), .name = name},
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
	const struct target *target = peers_target_of(peers, &saying->id);

	if (result->fail && result->fail != QMT_FAIL_NOT_FOUND) {
		(void)qmt_reply_result(ctx, saying->token, result);
		free(saying);
		return;
	}
	peers_audit(ctx, "peer_forgotten", saying->text, name_of(peers, &saying->id), "by qmt peers");
	drop(peers, &saying->id);
	(void)peers_judge_again(ctx, peers, &saying->id);
	if (target)
		target_forget(ctx, peers, saying->token, qmt_str(target->config->name), true);
	else
		(void)QMT_REPLY(ctx, saying->token, peers_done, );
	target_unblocked(ctx, peers, &saying->id);
	free(saying);
}

/* A word and a pin are two things; who says forget means both. */
void peers_on_forget(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_forget *msg = body;
	struct peers *peers = state;
	struct target *target = target_called(peers, msg->name);
	const struct policy *policy = policy_called(peers, msg->name);
	struct peer_id id;
	struct saying *saying;

	if (msg->name.len == 0) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0, "no name given");
		return;
	}
	if (!target && !policy && peer_id_parse(msg->name, &id, NULL) == 0) {
		policy = policy_of(peers, &id);
		target = peers_target_of(peers, &id);
	}
	if (target && target->has_expected && !policy)
		policy = policy_of(peers, &target->expected);
	if (!policy) {
		target_forget(ctx, peers, qmt_token(ctx), target ? qmt_str(target->config->name) : msg->name, false);
		return;
	}
	saying = calloc(1, sizeof(*saying));
	if (!saying) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "out of memory");
		return;
	}
	saying->token = qmt_token(ctx);
	saying->id = policy->id;
	memcpy(saying->text, policy->text, sizeof(saying->text));
	ask_store(ctx, &store_policy_forget_type, &(struct store_policy_forget){.peer_id = qmt_str(saying->text)},
		on_dropped, saying);
}
