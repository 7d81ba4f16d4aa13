/* transports/peers_scopes.c - meshes: which scopes this node offers, what the actor "admission" said of peers in them,
 * and members that are dialed because of them.
 *
 * Who may do what in a mesh is found out by "admission"; here its verdict is kept with the PeerId, so that a link that
 * takes over from another has it at once, and told to the links. A verdict goes with the last link of its peer.
 */
#include <errno.h>

#include "transports/peers_internal.h"

enum { FOUND_MAX = 4096, FOUND_ADDRESSES = 16 };
static const char lan_scope[] = "lan:default";

/* ---- scopes of this node ----------------------------------------------------------------------------------------- */

int peers_scopes_start(struct qmt_ctx *ctx, struct peers *peers)
{
	struct qmt_ref admission;

	if (!peers->config->no_lan) {
		peers->scopes[0] = strdup(lan_scope);
		if (!peers->scopes[0])
			return -ENOMEM;
		peers->scope_count = 1;
	}
	/* It subscribes, and says which meshes there are; after a restart, too. */
	if (qmt_lookup(ctx, "admission", &admission) == 0)
		(void)QMT_TELL(ctx, admission, admission_links_start, );
	return 0;
}

static void drop_scopes(struct peers *peers, uint32_t from)
{
	while (peers->scope_count > from)
		free(peers->scopes[--peers->scope_count]);
}

void peers_scopes_stop(struct peers *peers)
{
	drop_scopes(peers, 0);
	while (peers->found) {
		struct target *target = peers->found;

		peers->found = target->next;
		free(target->addrs);
		free(target->scope);
		free(target);
	}
}

bool peers_lan_is_open(const struct peers *peers, const struct peer_id *id, bool dialed)
{
	char why[256];

	return peer_may_link(peers, id, dialed, why);
}

bool peers_is_dialed(const struct peers *peers, struct qmt_ref link, const struct peer_id *id)
{
	if (peer_is_blocked(peers, id))
		return false;
	for (const struct dial *dial = peers->dials; dial; dial = dial->next)
		if (qmt_ref_eq(dial->link, link))
			return !dial->target->scope;
	return false;
}

static struct verdict verdict_of_mesh(const struct remote *remote, const char *scope)
{
	for (uint32_t i = 0; i < remote->verdict_count; i++)
		if (strcmp(remote->verdicts[i].scope, scope) == 0)
			return remote->verdicts[i];
	return (struct verdict){.role = AUTHORITY_NONE};
}

uint32_t peers_rights(
	const struct peers *peers, const struct peer_id *id, bool lan, struct link_right ret_rights[HELLO_SCOPES])
{
	const struct remote *remote = NULL;
	uint32_t count = 0;

	for (remote = peers->remotes; remote && peer_id_compare(&remote->id, id) != 0;)
		remote = remote->next;
	for (uint32_t i = 0; i < peers->scope_count; i++) {
		const char *scope = peers->scopes[i];
		struct verdict verdict = {.role = AUTHORITY_NONE};

		if (strcmp(scope, lan_scope) == 0 && !lan)
			continue;
		if (strcmp(scope, lan_scope) == 0)
			verdict.role = verdict.granted = AUTHORITY_LAN;
		else if (remote)
			verdict = verdict_of_mesh(remote, scope);
		ret_rights[count++] =
			(struct link_right){.scope = qmt_str(scope), .role = verdict.role, .granted = verdict.granted};
	}
	return count;
}

static void on_scopes_settled(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct peers *peers = state;

	(void)arg;
	peers->scopes_timer = (struct qmt_timer){0};
	for (const struct known_link *link = peers->links; link; link = link->next)
		peers_judge_link(ctx, peers, link);
}

void peers_on_scopes(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_scopes *msg = body;
	struct peers *peers = state;

	drop_scopes(peers, !peers->config->no_lan);
	for (uint32_t i = 0; i < msg->scopes.count && peers->scope_count < HELLO_SCOPES; i++) {
		char *scope = qmt_str_dup(msg->scopes.items[i]);

		if (!scope) {
			qmt_fail(ctx, "out of memory");
			return;
		}
		peers->scopes[peers->scope_count++] = scope;
	}
	/* What was left gives no right from now on. A link that has nothing else to be there for has a moment: the word
	 * that this node leaves is on it. */
	qmt_timer_cancel(ctx, &peers->scopes_timer);
	if (qmt_timer_start(ctx, peers->limits->hello_ms, on_scopes_settled, NULL, &peers->scopes_timer)) {
		qmt_fail(ctx, "out of memory");
		return;
	}
	for (const struct known_link *link = peers->links; link; link = link->next) {
		peers_tell_role(ctx, peers, link);
		/* A mesh that is joined again may be shared still. */
		if (link->remote->up && link->remote->in_use == link)
			peers_tell_shared(ctx, peers, link);
	}
}

/* ---- scopes of links --------------------------------------------------------------------------------------------- */

bool link_keep_scopes(struct known_link *link, const struct qmt_str *scopes, uint32_t count)
{
	for (uint32_t i = 0; i < count && link->shared_count < HELLO_SCOPES; i++) {
		char *scope = qmt_str_dup(scopes[i]);

		if (!scope)
			return false;
		link->shared[link->shared_count++] = scope;
	}
	return true;
}

void link_free_scopes(struct known_link *link)
{
	while (link->shared_count)
		free(link->shared[--link->shared_count]);
}

/* A number on a link stays, but this node may have left what it stands for. */
bool peers_link_may_stay(const struct peers *peers, const struct known_link *link, char ret_why[256])
{
	bool lan = peer_may_link(peers, &link->remote->id, link->dialed, ret_why);

	if (peer_is_blocked(peers, &link->remote->id))
		return false;
	for (uint32_t i = 0; i < link->shared_count; i++)
		for (uint32_t k = 0; k < peers->scope_count; k++)
			if (strcmp(link->shared[i], peers->scopes[k]) == 0 && (lan || strcmp(peers->scopes[k], lan_scope) != 0))
				return true;
	if (lan)
		(void)snprintf(ret_why, 256, "that node shares no scope with this one any more");
	return false;
}

void peers_tell_shared(struct qmt_ctx *ctx, struct peers *peers, const struct known_link *link)
{
	struct qmt_str scopes[HELLO_SCOPES];

	for (uint32_t i = 0; i < link->shared_count; i++)
		scopes[i] = qmt_str(link->shared[i]);
	for (struct watcher *watcher = peers->watchers; watcher; watcher = watcher->next)
		(void)QMT_TELL(ctx, watcher->ref, peers_shared, .peer_id = qmt_str(link->remote->text),
			.scopes = {scopes, link->shared_count});
}

void peers_on_link_shared(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link_shared *msg = body;
	struct peers *peers = state;

	for (struct known_link *link = peers->links; link; link = link->next) {
		if (!qmt_ref_eq(link->ref, msg->link))
			continue;
		if (!link_keep_scopes(link, &msg->scope, 1)) {
			qmt_fail(ctx, "out of memory");
			return;
		}
		peers_tell_role(ctx, peers, link);
		if (link->remote->up && link->remote->in_use == link)
			peers_tell_shared(ctx, peers, link);
		return;
	}
}

/* ---- verdicts ---------------------------------------------------------------------------------------------------- */

void remote_free_verdicts(struct remote *remote)
{
	while (remote->verdict_count)
		free(remote->verdicts[--remote->verdict_count].scope);
}

static struct verdict *find_verdict(struct remote *remote, const char *scope)
{
	for (uint32_t i = 0; i < remote->verdict_count; i++)
		if (strcmp(remote->verdicts[i].scope, scope) == 0)
			return &remote->verdicts[i];
	return NULL;
}

struct verdict peers_verdict(const struct peers *peers, const struct known_link *link, const char *scope)
{
	uint8_t role;

	if (strcmp(scope, lan_scope) != 0)
		return verdict_of_mesh(link->remote, scope);
	role = peers_lan_is_open(peers, &link->remote->id, link->dialed) ? AUTHORITY_LAN : AUTHORITY_NONE;
	return (struct verdict){.role = role, .granted = role};
}

const char *peers_scope_out(const struct peers *peers, const struct known_link *link, uint8_t *ret_role)
{
	uint32_t best = 0;
	uint8_t granted = 0, role = AUTHORITY_NONE;

	for (uint32_t i = 0; i < link->shared_count; i++) {
		struct verdict verdict = peers_verdict(peers, link, link->shared[i]);

		role = verdict.role > role ? verdict.role : role;
		if (verdict.granted <= granted)
			continue;
		granted = verdict.granted;
		best = i;
	}
	*ret_role = role;
	return link->shared_count ? link->shared[best] : "";
}

/* Whether it has something to be there for. */
static bool is_useful(const struct peers *peers, const struct known_link *link)
{
	for (uint32_t i = 0; i < link->shared_count; i++) {
		struct verdict verdict = peers_verdict(peers, link, link->shared[i]);

		if (verdict.role != AUTHORITY_NONE || verdict.granted != AUTHORITY_NONE)
			return true;
	}
	return false;
}

void peers_on_role(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_role *msg = body;
	struct peers *peers = state;
	struct verdict *verdict;
	struct remote *remote;
	struct peer_id id;
	char scope[512], why[256];

	if (peer_id_parse(msg->peer_id, &id, NULL) || msg->role >= AUTHORITY_OWNER || msg->granted >= AUTHORITY_OWNER ||
		msg->scope.len >= sizeof(scope) || qmt_str_is(msg->scope, lan_scope))
		return;
	remote = peers_remote(peers, &id);
	if (!remote)
		return; /* it has gone: a new link starts anew */
	qmt_text(scope, sizeof(scope), "%.*s", QMT_STR_ARG(msg->scope));
	verdict = find_verdict(remote, scope);
	if (!verdict && remote->verdict_count < HELLO_SCOPES) {
		verdict = &remote->verdicts[remote->verdict_count];
		verdict->scope = strdup(scope);
		if (!verdict->scope) {
			qmt_fail(ctx, "out of memory");
			return;
		}
		remote->verdict_count++;
	}
	if (!verdict)
		return;
	verdict->role = (uint8_t)msg->role;
	verdict->granted = (uint8_t)msg->granted;
	qmt_text(why, sizeof(why), "%.*s", QMT_STR_ARG(msg->cut));
	for (const struct known_link *link = peers->links; link; link = link->next) {
		if (link->remote != remote)
			continue;
		peers_tell_role(ctx, peers, link);
		if (why[0] && !is_useful(peers, link))
			peers_end_link(ctx, link, why);
	}
}

/* ---- members that are dialed ------------------------------------------------------------------------------------- */

static struct target *find_found(struct peers *peers, const struct peer_id *id, struct qmt_str scope)
{
	for (struct target *target = peers->found; target; target = target->next)
		if (peer_id_compare(&target->expected, id) == 0 && qmt_str_is(scope, target->scope))
			return target;
	return NULL;
}

/* One that nobody wants dialed, and that no dial and no job still points to. */
static struct target *unused_found(struct peers *peers)
{
	for (struct target *target = peers->found; target; target = target->next) {
		bool used = !target->gone || target->state == TARGET_RESOLVE;

		for (const struct dial *dial = peers->dials; dial && !used; dial = dial->next)
			used = dial->target == target;
		for (const struct known_link *link = peers->links; link && !used; link = link->next)
			used = link->target == target;
		if (!used)
			return target;
	}
	return NULL;
}

static void drop_found(struct qmt_ctx *ctx, struct peers *peers, struct target *target)
{
	struct target **at = &peers->found;

	while (*at != target)
		at = &(*at)->next;
	*at = target->next;
	peers->found_count--;
	qmt_timer_cancel(ctx, &target->timer);
	free(target->addrs);
	free(target->scope);
	free(target);
}

static struct target *new_found(
	struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id, struct qmt_str scope)
{
	struct target *target = unused_found(peers);

	if (target)
		drop_found(ctx, peers, target);
	target = peers->found_count < FOUND_MAX ? calloc(1, sizeof(*target)) : NULL;
	if (!target)
		return NULL;
	target->scope = qmt_str_dup(scope);
	target->addrs = calloc(FOUND_ADDRESSES, sizeof(*target->addrs));
	if (!target->scope || !target->addrs) {
		free(target->scope);
		free(target->addrs);
		free(target);
		return NULL;
	}
	target->expected = *id;
	target->has_expected = true;
	peer_id_text(id, target->name);
	target->own.name = target->name;
	target->config = &target->own;
	target->next = peers->found;
	peers->found = target;
	peers->found_count++;
	return target;
}

void peers_on_dial(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_dial *msg = body;
	struct peers *peers = state;
	struct multiaddr addrs[FOUND_ADDRESSES];
	struct target *target;
	struct peer_id id;
	uint32_t count = 0;

	if (peer_id_parse(msg->peer_id, &id, NULL) || peer_id_compare(&id, &peers->node->identity->id) == 0)
		return;
	for (uint32_t i = 0; i < msg->addresses.count && count < FOUND_ADDRESSES; i++) {
		struct multiaddr *addr = &addrs[count];

		if (multiaddr_parse(msg->addresses.items[i], addr, NULL) || addr->transport != MULTIADDR_TCP || !addr->port ||
			(addr->has_peer && peer_id_compare(&addr->peer, &id) != 0))
			continue;
		addr->has_peer = true;
		addr->peer = id;
		count++;
	}
	if (!count)
		return;
	target = find_found(peers, &id, msg->scope);
	if (!target)
		target = new_found(ctx, peers, &id, msg->scope);
	if (!target) {
		QMT_LOG(ctx, QMT_WARN, "peers.full", "peer", "", "reason", "too many members of meshes to dial");
		return;
	}
	memcpy(target->addrs, addrs, count * sizeof(*addrs));
	target->addr_count = count;
	if (target->gone || target->state == TARGET_IDLE || target->state == TARGET_WAITING) {
		target->gone = false;
		target->failures = 0;
		target_go(ctx, peers, target);
	}
}

void peers_on_undial(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_undial *msg = body;
	struct peers *peers = state;

	for (struct target *target = peers->found; target; target = target->next) {
		if (!qmt_str_is(msg->scope, target->scope) || (msg->peer_id.len && !qmt_str_is(msg->peer_id, target->name)))
			continue;
		target->gone = true;
		qmt_timer_cancel(ctx, &target->timer);
	}
}
