/* transports/peers.c - which link between two nodes is in use.
 *
 * Both nodes may dial; that is the normal case when both name each other. The node with the smaller PeerId decides, the
 * other one follows what is said on the link (LINK_USE), so both always mean the same link. The rule of the one that
 * decides:
 *      none in use               take it, unless our own dial to that PeerId is under way (then wait for how it ends)
 *      the peer has restarted    take it: the one in use is dead, whether noticed or not
 *      same dialer               the newest (boot id, attempt) wins: who dials anew has lost the old one
 *      different dialers         the one that we dialed (smaller PeerId) wins, unless it is suspect
 * How the loser retires without loss and in order is the links' business (link.c).
 */
#include <errno.h>

#include "transports/peers_internal.h"

static void decide(struct qmt_ctx *ctx, struct peers *peers, struct known_link *link);

/* ---- known links ------------------------------------------------------------------------------------------------- */

struct remote *peers_remote(struct peers *peers, const struct peer_id *id)
{
	for (struct remote *remote = peers->remotes; remote; remote = remote->next)
		if (peer_id_compare(&remote->id, id) == 0)
			return remote;
	return NULL;
}

static struct known_link *find_link(struct peers *peers, struct qmt_ref ref)
{
	for (struct known_link *link = peers->links; link; link = link->next)
		if (qmt_ref_eq(link->ref, ref))
			return link;
	return NULL;
}

static struct remote *need_remote(struct peers *peers, const struct peer_id *id)
{
	struct remote *remote = peers_remote(peers, id);

	if (remote)
		return remote;
	remote = calloc(1, sizeof(*remote));
	if (!remote)
		return NULL;
	remote->id = *id;
	peer_id_text(id, remote->text);
	remote->next = peers->remotes;
	peers->remotes = remote;
	return remote;
}

static void free_link(struct known_link *link)
{
	free(link->address);
	free(link->capabilities);
	link_free_scopes(link);
	free(link);
}

static void drop_remote_if_unused(struct qmt_ctx *ctx, struct peers *peers, struct remote *remote)
{
	struct remote **at = &peers->remotes;

	for (struct known_link *link = peers->links; link; link = link->next)
		if (link->remote == remote)
			return;
	while (*at != remote)
		at = &(*at)->next;
	*at = remote->next;
	qmt_timer_cancel(ctx, &remote->patience);
	remote_free_verdicts(remote);
	free(remote);
}

static void copy_text(char *ret_text, size_t room, struct qmt_str text)
{
	qmt_text(ret_text, room, "%.*s", QMT_STR_ARG(text));
}

/* All capability texts one behind the other. NULL: out of memory. */
static char *copy_texts(const struct qmt_str *texts, uint32_t count)
{
	size_t size = 1, at = 0;
	char *copy;

	for (uint32_t i = 0; i < count; i++)
		size += texts[i].len + (size_t)1;
	copy = malloc(size);
	for (uint32_t i = 0; copy && i < count; i++) {
		memcpy(copy + at, texts[i].p ? texts[i].p : "", texts[i].len);
		at += texts[i].len;
		copy[at++] = '\0';
	}
	return copy;
}

static struct known_link *new_link(struct qmt_ctx *ctx, struct peers *peers, const struct link_proven *msg)
{
	struct peer_id id;
	struct known_link *link;

	if (peer_id_from_bytes(msg->peer, &id, NULL))
		return NULL;
	link = calloc(1, sizeof(*link));
	if (!link)
		return NULL;
	link->ref = msg->link;
	link->dialed = msg->dialed;
	link->attempt = msg->attempt;
	link->since_ms = qmt_wall_ms(ctx);
	copy_text(link->boot, sizeof(link->boot), msg->boot);
	copy_text(link->peer_boot, sizeof(link->peer_boot), msg->peer_boot);
	copy_text(link->node, sizeof(link->node), msg->node);
	copy_text(link->transport, sizeof(link->transport), msg->transport);
	link->address = qmt_str_dup(msg->address);
	link->capabilities = copy_texts(msg->capabilities.items, msg->capabilities.count);
	link->capability_count = msg->capabilities.count;
	link->remote = need_remote(peers, &id);
	if (!link->remote || !link->address || !link->capabilities ||
		!link_keep_scopes(link, msg->scopes.items, msg->scopes.count)) {
		if (link->remote)
			drop_remote_if_unused(ctx, peers, link->remote);
		free_link(link);
		return NULL;
	}
	for (struct dial *dial = peers->dials; dial; dial = dial->next)
		if (msg->dialed && dial->tag == msg->tag) {
			dial->proven = true;
			link->target = dial->target;
		}
	link->next = peers->links;
	peers->links = link;
	return link;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static void tell_watcher(
	struct qmt_ctx *ctx, struct peers *peers, struct qmt_ref watcher, const struct known_link *link, bool up)
{
	struct qmt_str capabilities[HELLO_CAPABILITIES];
	struct peers_up msg = {0};

	peers_info_of_link(peers, link, capabilities, &msg.peer);
	/* up and down have the same fields */
	_Static_assert(sizeof(struct peers_up) == sizeof(struct peers_down), "one event");
	(void)qmt_tell(ctx, watcher, up ? &peers_up_type : &peers_down_type, &msg);
}

static void tell_watchers(struct qmt_ctx *ctx, struct peers *peers, const struct known_link *link, bool up)
{
	for (struct watcher *watcher = peers->watchers; watcher; watcher = watcher->next)
		tell_watcher(ctx, peers, watcher->ref, link, up);
}

/* ---- the one-link rule ------------------------------------------------------------------------------------------- */

void peers_end_link(struct qmt_ctx *ctx, const struct known_link *link, const char *why)
{
	if (QMT_TELL(ctx, link->ref, link_end, .why = qmt_str(why)) < 0)
		qmt_fail(ctx, "out of memory"); /* it would go on, whoever was blocked: so all end */
}

static void use(struct qmt_ctx *ctx, struct peers *peers, struct known_link *link, bool before_is_dead)
{
	struct remote *remote = link->remote;
	struct known_link *before = remote->in_use;

	if (QMT_TELL(ctx, link->ref, link_take, .from = before ? before->ref : (struct qmt_ref){0},
			.sequence = ++peers->choices))
		return; /* it has just ended: link.ended follows */
	link->state = KNOWN_IN_USE;
	remote->in_use = link;
	remote->before = before;
	remote->taking = true;
	remote->patience_over = false;
	qmt_timer_cancel(ctx, &remote->patience);
	targets_of(ctx, peers, &remote->id, true);
	if (!before)
		return; /* up when it has the name: on_taken */
	before->state = KNOWN_OLD;
	if (before_is_dead)
		peers_end_link(ctx, before, "a newer connection took its place");
}

static int compare_age(const struct known_link *a, const struct known_link *b)
{
	int boots = strcmp(a->boot, b->boot); /* uuid version 7: sorts by time */

	return boots ? boots : a->attempt < b->attempt ? -1 : a->attempt > b->attempt;
}

static void on_patience_over(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct remote *remote = arg;
	struct peer_id id = remote->id; /* deciding may free it */

	remote->patience = (struct qmt_timer){0};
	remote->patience_over = true;
	peers_reconsider(ctx, state, &id);
}

/* Until peers_reconsider says how the dial ended, or it takes too long (an address that swallows packets). */
static void wait_for_own_dial(struct qmt_ctx *ctx, const struct peers *peers, struct remote *remote)
{
	if (remote->patience.id == 0 &&
		qmt_timer_start(ctx, peers->limits->patience_ms, on_patience_over, remote, &remote->patience))
		qmt_fail(ctx, "out of memory"); /* else this peer would wait for ever */
}

/* The side with the smaller PeerId. */
static void decide_here(struct qmt_ctx *ctx, struct peers *peers, struct known_link *link)
{
	struct known_link *now = link->remote->in_use;

	if (!now && !link->dialed && !link->remote->patience_over && target_is_dialing(peers, &link->remote->id)) {
		wait_for_own_dial(ctx, peers, link->remote); /* it would win */
		return;
	}
	if (!now) {
		use(ctx, peers, link, false);
	} else if (strcmp(link->peer_boot, now->peer_boot) > 0) {
		use(ctx, peers, link, true);
	} else if (link->dialed == now->dialed) {
		if (compare_age(link, now) > 0)
			use(ctx, peers, link, true);
		else
			peers_end_link(ctx, link, "a newer link is in use");
	} else if (link->dialed || now->suspect) {
		use(ctx, peers, link, now->suspect);
	} else {
		peers_end_link(ctx, link, "another link is in use");
	}
}

/* The other side. What the peer chose later holds, in whatever order its words arrive here. */
static void follow(struct qmt_ctx *ctx, struct peers *peers, struct known_link *link)
{
	struct known_link *now = link->remote->in_use;
	int boots = now ? strcmp(link->peer_boot, now->peer_boot) : 1;

	if (now && (boots < 0 || (boots == 0 && link->chosen < now->chosen))) {
		link->state = KNOWN_OLD;
		(void)QMT_TELL(ctx, link->ref, link_take, .late = true);
		return;
	}
	use(ctx, peers, link, now && (now->dialed == link->dialed || boots > 0));
}

static void decide(struct qmt_ctx *ctx, struct peers *peers, struct known_link *link)
{
	if (link->state != KNOWN_CANDIDATE || link->pinning || link->remote->taking)
		return;
	if (peer_id_compare(&peers->node->identity->id, &link->remote->id) < 0)
		decide_here(ctx, peers, link);
	else if (link->chosen)
		follow(ctx, peers, link);
}

void peers_reconsider(struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id)
{
	struct remote *remote = peers_remote(peers, id);

	for (struct known_link *link = peers->links, *next; remote && link; link = next) {
		next = link->next;
		if (link->remote == remote)
			decide(ctx, peers, link);
	}
}

static void on_proven(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link_proven *msg = body;
	struct peers *peers = state;
	struct known_link *link = new_link(ctx, peers, msg);
	char why[256];

	if (!link || qmt_monitor(ctx, msg->link)) {
		(void)QMT_TELL(ctx, msg->link, link_end, .why = qmt_str("out of memory"));
		return; /* if it is known, link.ended takes it out again */
	}
	if (!peers_link_may_stay(peers, link, why)) {
		peers_end_link(ctx, link, why);
		return;
	}
	peers_tell_role(ctx, peers, link);
	if (link->target && !link->target->has_expected) {
		link->pinning = true;
		target_pin(ctx, peers, link);
		return;
	}
	decide(ctx, peers, link);
	if (link->dialed) /* it waited for this one */
		peers_reconsider(ctx, peers, &link->remote->id);
}

void peers_pinned(struct qmt_ctx *ctx, struct peers *peers, struct qmt_ref ref, const char *failure)
{
	struct known_link *link = find_link(peers, ref);

	if (!link || !link->pinning)
		return;
	link->pinning = false;
	if (failure)
		peers_end_link(ctx, link, failure);
	else
		peers_reconsider(ctx, peers, &link->remote->id);
}

/* The deciding side has spoken. */
static void on_chosen(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link_chosen *msg = body;
	struct peers *peers = state;
	struct known_link *link = find_link(peers, msg->link);

	if (!link || link->state != KNOWN_CANDIDATE)
		return;
	link->chosen = msg->sequence ? msg->sequence : 1;
	decide(ctx, peers, link);
}

/* A link is in use now; the next change may follow. */
static void on_taken(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link_taken *msg = body;
	struct peers *peers = state;
	struct known_link *link = find_link(peers, msg->link);

	if (!link || link->remote->in_use != link)
		return;
	link->remote->taking = false;
	link->remote->before = NULL;
	peers->counts.links_made++;
	peers->counts.links_replaced += link->remote->up;
	if (!link->remote->up) {
		link->remote->up = true;
		tell_watchers(ctx, peers, link, true);
		peers_awaited(ctx, peers);
	}
	peers_tell_shared(ctx, peers, link);
	peers_reconsider(ctx, peers, &link->remote->id);
}

static void on_changed(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link_changed *msg = body;
	struct peers *peers = state;
	struct known_link *link = find_link(peers, msg->link);
	char peer[PEER_ID_TEXT + 1];

	if (!link)
		return;
	if (link->suspect != msg->suspect) {
		peer_id_text(&link->remote->id, peer);
		QMT_LOG(ctx, QMT_INFO, msg->suspect ? "link.suspect" : "link.heard", "peer", peer);
	}
	link->suspect = msg->suspect;
	link->rtt_ms = msg->rtt_ms;
}

/* A link is over: told by itself, or noticed. */
static void forget_link(struct qmt_ctx *ctx, struct peers *peers, struct qmt_ref ref)
{
	struct known_link **at = &peers->links, *link;
	struct remote *remote;
	struct peer_id id;

	peers_claim_ended(ctx, peers, ref);
	while (*at && !qmt_ref_eq((*at)->ref, ref))
		at = &(*at)->next;
	link = *at;
	if (!link)
		return;
	*at = link->next;
	qmt_demonitor(ctx, ref);
	remote = link->remote;
	id = remote->id;
	if (remote->before == link)
		remote->before = NULL;
	if (remote->in_use == link) {
		remote->in_use = remote->before;
		if (remote->before)
			remote->before->state = KNOWN_IN_USE;
		remote->before = NULL;
		remote->taking = false;
		peers_reconsider(ctx, peers, &id); /* another one may be waiting */
		if (!remote->in_use) {
			peers->counts.links_lost += remote->up;
			if (remote->up)
				tell_watchers(ctx, peers, link, false);
			remote->up = false;
			targets_of(ctx, peers, &id, false);
		}
	}
	free_link(link);
	drop_remote_if_unused(ctx, peers, remote);
}

static void on_ended(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link_ended *msg = body;
	struct peers *peers = state;

	peers_tally(peers, msg);
	peers->counts.hellos_refused += msg->rejected;
	bool about_itself = peers_twin(ctx, peers, msg);

	if (msg->dialed)
		dial_ended(ctx, peers, msg);
	else if (msg->rejected && !about_itself)
		peers_rejected(ctx, peers, msg->transport, msg->from, msg->why, msg->code == -EPERM);
	forget_link(ctx, peers, msg->link);
}

/* ---- subscribers ------------------------------------------------------------------------------------------------- */

static void drop_watcher(struct peers *peers, struct qmt_ref ref)
{
	for (struct watcher **at = &peers->watchers; *at; at = &(*at)->next) {
		struct watcher *watcher = *at;

		if (!qmt_ref_eq(watcher->ref, ref))
			continue;
		*at = watcher->next;
		peers->watcher_count--;
		free(watcher);
		return;
	}
}

static void on_subscribe(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_subscribe *msg = body;
	struct peers *peers = state;
	struct watcher *watcher;

	if (!qmt_ref_is_set(msg->watcher)) {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0, "no watcher given");
		return;
	}
	drop_watcher(peers, msg->watcher);
	watcher = peers->watcher_count < PEERS_WATCHERS ? calloc(1, sizeof(*watcher)) : NULL;
	if (!watcher || qmt_monitor(ctx, msg->watcher)) {
		free(watcher);
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FULL, NULL, 0, "%d watchers are the most", PEERS_WATCHERS);
		return;
	}
	watcher->ref = msg->watcher;
	watcher->next = peers->watchers;
	peers->watchers = watcher;
	peers->watcher_count++;
	QMT_REPLY(ctx, qmt_token(ctx), peers_done, );
	/* so that nobody has to ask for the list as well and wonder about the order */
	for (struct remote *remote = peers->remotes; remote; remote = remote->next)
		if (remote->up) {
			tell_watcher(ctx, peers, msg->watcher, remote->in_use, true);
			peers_tell_shared(ctx, peers, remote->in_use);
		}
}

/* ---- hooks ------------------------------------------------------------------------------------------------------- */

static void down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	(void)reason;
	drop_watcher(state, who);
	forget_link(ctx, state, who);
}

static void child_ended(struct qmt_ctx *ctx, void *state, struct qmt_ref child, int reason, bool restarted)
{
	(void)reason;
	if (restarted)
		return; /* a listener */
	forget_link(ctx, state, child);
	(void)dial_child_ended(ctx, state, child);
}

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct peers *peers = state;
	struct qmt_err err = {0};

	peers->config = config;
	peers->node = peers->config->node;
	peers->limits = &peers->node->limits;
	peers->targets = calloc(peers->config->peer_count ? peers->config->peer_count : 1, sizeof(*peers->targets));
	if (!peers->targets) {
		qmt_fail(ctx, "out of memory");
		return -1;
	}
	if (peers->config->loop) {
		struct qmt_spawn opt = {.name = "loop", .config = &peers->loop_port, .restart = QMT_PERMANENT};
		struct qmt_ref unused;

		peers->loop_port = (struct loop_port_config){
			.hub = peers->config->loop,
			.node = peers->node,
			.listening = peers->config->listening,
			.listening_count = peers->config->listening_count,
		};
		if (qmt_spawn(ctx, &loop_port_desc, &opt, &unused, &err)) {
			qmt_fail(ctx, "loop: %s", err.text);
			return -1;
		}
	}
	for (uint32_t i = 0; i < peers->config->listener_count; i++) {
		struct qmt_spawn opt = {.config = &peers->config->listeners[i], .restart = QMT_PERMANENT};
		struct qmt_ref unused;

		if (qmt_spawn(ctx, &zlistener_desc, &opt, &unused, &err)) {
			qmt_fail(ctx, "listener: %s", err.text);
			return -1;
		}
	}
	for (uint32_t i = 0; i < peers->config->peer_count; i++) {
		struct target *target = &peers->targets[i];

		target->config = &peers->config->peers[i];
		target->has_expected = target->config->addr.has_peer;
		target->expected = target->config->addr.peer;
	}
	if (peers_scopes_start(ctx, peers)) {
		qmt_fail(ctx, "out of memory");
		return -1;
	}
	policies_load(ctx, peers);
	return 0;
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct peers *peers = state;

	peers_await_stop(ctx, peers);
	peers_metrics_stop(peers);
	policies_stop(peers);
	while (peers->links) {
		struct known_link *link = peers->links;

		peers->links = link->next;
		free_link(link);
	}
	while (peers->remotes) {
		struct remote *remote = peers->remotes;

		peers->remotes = remote->next;
		remote_free_verdicts(remote);
		free(remote);
	}
	while (peers->dials) {
		struct dial *dial = peers->dials;

		peers->dials = dial->next;
		free(dial);
	}
	while (peers->watchers) {
		struct watcher *watcher = peers->watchers;

		peers->watchers = watcher->next;
		free(watcher);
	}
	peers_scopes_stop(peers);
	free(peers->targets);
}

static qmt_handler *const link_handlers[link_message_count] = {
	[link_claims_id] = peers_on_claim,
	[link_proven_id] = on_proven,
	[link_chosen_id] = on_chosen,
	[link_taken_id] = on_taken,
	[link_changed_id] = on_changed,
	[link_ended_id] = on_ended,
	[link_shared_id] = peers_on_link_shared,
};
static qmt_handler *const handlers[peers_message_count] = {
	[peers_list_id] = peers_on_list,
	[peers_resolve_id] = peers_on_resolve,
	[peers_await_id] = peers_on_await,
	[peers_forget_id] = peers_on_forget,
	[peers_allow_id] = peers_on_allow,
	[peers_block_id] = peers_on_block,
	[peers_subscribe_id] = on_subscribe,
	[peers_limited_id] = peers_on_limited,
	[peers_scopes_id] = peers_on_scopes,
	[peers_role_id] = peers_on_role,
	[peers_dial_id] = peers_on_dial,
	[peers_undial_id] = peers_on_undial,
};

const struct qmt_actor_desc peers_desc = {
	.abi = QMT_ABI,
	.name = "peers",
	.doc = "Dials peers and knows which link to each is in use.",
	.state_size = sizeof(struct peers),
	.supervision = {.max_restarts = 10, .window_ms = 10000, .backoff_ms = 100},
	.accepts = {{&peers_protocol, handlers}, {&link_protocol, link_handlers},
		{&metrics_protocol, peers_metrics_handlers}},
	.start = start,
	.stop = stop,
	.child_ended = child_ended,
	.down = down,
};
