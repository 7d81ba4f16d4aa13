/* transports/peers_policy.c - what the owner said of peers: who is named, who is blocked, and so who gets a link.
 *
 *      blocked                      no link, on any listener, nor is it dialed; wins over the configuration
 *      named: configured, allowed   a link, and what the authority table grants to named peers
 *      anybody else                 a link with [mesh.lan] trust = "subnet", none with "known"
 *
 * Until the store has said what was told to it before (peers_words.c), nobody is let in and nobody is dialed: a claim
 * waits, at most as long as its HELLO may take.
 */
#include <errno.h>

#include "transports/peers_internal.h"

enum { POLICY_RETRY_MS = 1000 };

/* ---- who is what ------------------------------------------------------------------------------------------------- */

static struct policy *find_policy(const struct peers *peers, const struct peer_id *id)
{
	for (struct policy *policy = peers->policies; policy; policy = policy->next)
		if (peer_id_compare(&policy->id, id) == 0)
			return policy;
	return NULL;
}

const struct policy *policy_of(const struct peers *peers, const struct peer_id *id)
{
	return find_policy(peers, id);
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

/* What is said goes to the other end: it names nothing but the PeerId that is known there. */
bool peer_may_link(const struct peers *peers, const struct peer_id *id, bool dialed, char ret_why[256])
{
	char text[PEER_ID_TEXT + 1];

	peer_id_text(id, text);
	if (peer_is_blocked(peers, id)) {
		(void)snprintf(ret_why, 256, "that node blocks this one (to change that, there: qmt peers allow %s)", text);
		return false;
	}
	if ((peers->config->trust_known || peers->block_damaged) && !dialed && !peer_is_named(peers, id)) {
		(void)snprintf(ret_why, 256,
			"that node lets in whom it knows and does not know this one (to change that, there: qmt peers allow %s)",
			text);
		return false;
	}
	return true;
}

/* What restricts must not get lost: without memory for it this incarnation ends, and its links with it. */
static void tell_or_fail(struct qmt_ctx *ctx, struct qmt_ref link, const struct qmt_type *type, const void *body)
{
	if (qmt_tell(ctx, link, type, body) < 0)
		qmt_fail(ctx, "out of memory");
}

void peers_tell_role(struct qmt_ctx *ctx, const struct peers *peers, const struct known_link *link)
{
	bool named = peer_is_named(peers, &link->remote->id) || peers_is_dialed(peers, link->ref, &link->remote->id);
	struct link_right rights[HELLO_SCOPES];
	uint32_t count =
		peers_rights(peers, &link->remote->id, peers_lan_is_open(peers, &link->remote->id, link->dialed), rights);

	tell_or_fail(ctx, link->ref, &link_scopes_type, &(struct link_scopes){.rights = {rights, count}, .named = named});
}

bool peers_judge_link(struct qmt_ctx *ctx, struct peers *peers, const struct known_link *link)
{
	char why[256];

	if (peers_link_may_stay(peers, link, why)) {
		peers_tell_role(ctx, peers, link);
		return false;
	}
	peers_end_link(ctx, link, why);
	return true;
}

uint32_t peers_judge_again(struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id)
{
	uint32_t ended = 0;

	for (struct known_link *link = peers->links; link; link = link->next)
		if (peer_id_compare(&link->remote->id, id) == 0)
			ended += peers_judge_link(ctx, peers, link);
	return ended;
}

/* What was read may differ from what held. */
static void judge_all(struct qmt_ctx *ctx, struct peers *peers)
{
	char why[256];

	for (struct known_link *link = peers->links; link; link = link->next)
		(void)peers_judge_link(ctx, peers, link);
	for (struct target *target = target_first(peers); target; target = target_next(peers, target)) {
		if (!target->has_expected)
			continue;
		if (!peer_may_link(peers, &target->expected, true, why))
			dials_end(ctx, peers, &target->expected, why);
		else if (target->state == TARGET_BLOCKED)
			target_may_go(ctx, peers, &target->expected);
	}
}

/* ---- claims ------------------------------------------------------------------------------------------------------ */

static void answer_claim(struct qmt_ctx *ctx, struct peers *peers, const struct claim *claim)
{
	char why[256];
	struct link_right rights[HELLO_SCOPES];
	bool lan = peer_may_link(peers, &claim->id, claim->dialed, why);
	uint32_t count = peers_rights(peers, &claim->id, lan, rights);

	/* Who may not use the LAN may be a member of a mesh, which only its scopes tell. */
	if (lan || (count && !peer_is_blocked(peers, &claim->id))) {
		(void)QMT_TELL(ctx, claim->link, link_admit, .rights = {rights, count},
			.named = peer_is_named(peers, &claim->id) || peers_is_dialed(peers, claim->link, &claim->id));
		return;
	}
	(void)QMT_TELL(ctx, claim->link, link_deny, .why = qmt_str(why));
	if (!claim->dialed)
		peers_audit_refused(ctx, peers, &claim->id, claim->node,
			peer_is_blocked(peers, &claim->id) ? "blocked" : "neither configured nor allowed", claim->from);
}

/* As many as there may be connections whose HELLO has not ended. */
static uint64_t claims_max(const struct peers *peers)
{
	uint64_t listeners = peers->config->listener_count ? peers->config->listener_count : 1;

	return listeners * peers->limits->unproven_max + peers->config->peer_count;
}

void peers_on_claim(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link_claims *msg = body;
	struct peers *peers = state;
	struct claim claim = {.link = msg->link, .dialed = msg->dialed}, *kept = NULL;

	if (peer_id_from_bytes(msg->peer, &claim.id, NULL))
		return;
	qmt_text(claim.node, sizeof(claim.node), "%.*s", QMT_STR_ARG(msg->node));
	qmt_text(claim.from, sizeof(claim.from), "%.*s", QMT_STR_ARG(msg->address));
	if (peers->policies_known) {
		answer_claim(ctx, peers, &claim);
		return;
	}
	if (peers->claim_count >= claims_max(peers) || !(kept = malloc(sizeof(*kept))) || qmt_monitor(ctx, msg->link)) {
		free(kept);
		(void)QMT_TELL(ctx, msg->link, link_deny,
			.why = qmt_str("too many wait until it is known here who may come in: try again"));
		return;
	}
	*kept = claim;
	kept->next = peers->claims;
	peers->claims = kept;
	peers->claim_count++;
}

void peers_claim_ended(struct qmt_ctx *ctx, struct peers *peers, struct qmt_ref link)
{
	struct claim **at = &peers->claims, *claim;

	while (*at && !qmt_ref_eq((*at)->link, link))
		at = &(*at)->next;
	claim = *at;
	if (!claim)
		return;
	*at = claim->next;
	peers->claim_count--;
	qmt_demonitor(ctx, link);
	free(claim);
}

/* ---- from the store ---------------------------------------------------------------------------------------------- */

static struct policy *policy_new(struct peers *peers, const struct peer_id *id)
{
	struct policy *policy = calloc(1, sizeof(*policy));

	if (!policy)
		return NULL;
	policy->id = *id;
	peer_id_text(id, policy->text);
	policy->next = peers->policies;
	peers->policies = policy;
	return policy;
}

struct policy *policy_need(struct peers *peers, const struct peer_id *id)
{
	struct policy *policy = find_policy(peers, id);

	return policy ? policy : policy_new(peers, id);
}

static void drop_all(struct peers *peers)
{
	while (peers->policies) {
		struct policy *policy = peers->policies;

		peers->policies = policy->next;
		free(policy);
	}
}

/* A row whose PeerId is none any more: whom it let in or blocked cannot be known. */
static void damaged_row(struct qmt_ctx *ctx, struct peers *peers, const struct store_policy *row)
{
	char id[100], word[20], name[80];

	qmt_text(id, sizeof(id), "%.*s", QMT_STR_ARG(row->peer_id));
	qmt_text(word, sizeof(word), "%.*s", QMT_STR_ARG(row->policy));
	qmt_text(name, sizeof(name), "%.*s", QMT_STR_ARG(row->name));
	peers->block_damaged |= !qmt_str_is(row->policy, "allow");
	QMT_LOG(ctx, QMT_ERROR, "peers.policy_damaged", "peer", id, "name", name, "policy", word, "reason", "no PeerId",
		"note",
		peers->block_damaged
			? "whom it blocks is not known, so only named peers are let in; to drop it: qmt peers forget <peer>"
			: "it lets nobody in; to drop it: qmt peers forget <peer>");
}

/* Each PeerId is in it once (it is the store's key). False: out of memory. */
static bool take_all(struct qmt_ctx *ctx, struct peers *peers, const struct store_policies *all)
{
	drop_all(peers);
	peers->block_damaged = false;
	for (uint32_t i = 0; i < all->policies.count; i++) {
		const struct store_policy *row = &all->policies.items[i];
		struct policy *policy;
		struct peer_id id;

		if (peer_id_parse(row->peer_id, &id, NULL)) {
			damaged_row(ctx, peers, row);
			continue;
		}
		policy = policy_new(peers, &id);
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
		peers->claim_count--;
		qmt_demonitor(ctx, claim->link);
		answer_claim(ctx, peers, claim);
		free(claim);
	}
	targets_go(ctx, peers);
}

/* Again after a while. */
static void not_read(struct qmt_ctx *ctx, struct peers *peers, const char *reason)
{
	char why[300];

	qmt_text(why, sizeof(why), "what was said by qmt peers allow and block could not be read: %s", reason);
	if (!peers->policies_known)
		targets_say(peers, why);
	QMT_LOG(ctx, QMT_WARN, "peers.waiting", "reason", why, "note",
		peers->policies_known ? "until then what is known holds" : "nobody is let in or dialed before");
	if (qmt_timer_start(ctx, POLICY_RETRY_MS, on_retry, NULL, &peers->policies_timer))
		qmt_fail(ctx, "out of memory");
}

static void on_policies(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct peers *peers = state;

	(void)arg;
	peers->policies_asked = false;
	if (result->fail) {
		not_read(ctx, peers, qmt_fail_name(result->fail));
	} else if (peers->policies_stale) {
		policies_load(ctx, peers);
	} else if (!take_all(ctx, peers, result->body)) {
		qmt_fail(ctx, "out of memory"); /* half of what was said must not hold */
	} else if (peers->policies_known) {
		judge_all(ctx, peers);
	} else {
		policies_are_known(ctx, peers);
	}
}

void policies_load(struct qmt_ctx *ctx, struct peers *peers)
{
	if (peers->config->without_store) {
		policies_are_known(ctx, peers);
		return;
	}
	peers->policies_stale = peers->policies_asked;
	if (peers->policies_asked)
		return;
	peers->policies_asked = true;
	qmt_timer_cancel(ctx, &peers->policies_timer);
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
