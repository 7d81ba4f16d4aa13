/* runtime/names_sync.c - what two nodes tell each other of their names.
 *
 *      here                                             there
 *      a link is there, or something has changed
 *         -- sync: all, or the changes since `told` -->  it applies them when they follow on what it has
 *         <-- synced --------------------------------    told = what was sent; more has changed: again
 *         <-- synced want_full ----------------------    later: all
 *         <-- refused, too late, ... ----------------    later: all, rarer and rarer
 *
 * One sync a peer is under way, so a burst of changes is one message and a slow peer costs nothing but its own delay.
 * What a peer says is checked as a whole before any of it is believed: keys of its own numbering, in order, names that
 * are names, scopes that this link carries, refs that lie behind this link and nowhere else. Entries hang on their
 * peer and on the link, so nothing that a peer says touches another one's.
 */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"
#include "names_internal.h"

static void push(struct qmt_ctx *ctx, struct names *names, struct names_peer *peer);

/* ---- peers ------------------------------------------------------------------------------------------------------- */

static struct names_peer *find_peer(const struct names *names, struct qmt_str id)
{
	for (struct names_peer *peer = names->peers; peer; peer = peer->next)
		if (qmt_str_is(id, peer->id))
			return peer;
	return NULL;
}

/* NULL: out of memory, or no PeerId. */
static struct names_peer *need_peer(struct names *names, struct qmt_str id)
{
	struct names_peer *peer = find_peer(names, id), **at = &names->peers;

	if (peer || !id.len || id.len > QMT_NAMES_TEXT_MAX)
		return peer;
	peer = calloc(1, sizeof(*peer));
	if (!peer)
		return NULL;
	peer->serial = ++names->serials;
	memcpy(peer->id, id.p, id.len);
	while (*at && strcmp((*at)->id, peer->id) < 0)
		at = &(*at)->next;
	peer->next = *at;
	*at = peer;
	return peer;
}

static void drop_entries(struct qmt_ctx *ctx, struct names *names, struct names_peer *peer)
{
	while (peer->entries.first)
		names_take(ctx, names, &peer->entries, NULL);
	peer->from = (struct qmt_ref){0};
	peer->epoch = peer->sequence = 0;
}

static void forget_if_gone(struct qmt_ctx *ctx, struct names *names, struct names_peer *peer)
{
	struct names_peer **at = &names->peers;

	if (peer->up || qmt_ref_is_set(peer->from))
		return;
	while (*at != peer)
		at = &(*at)->next;
	*at = peer->next;
	qmt_timer_cancel(ctx, &peer->retry);
	free(peer);
}

/* A link is in use for the peer: what it was told went over another one, whose refs die with it. */
static int up(struct qmt_ctx *ctx, struct names *names, struct qmt_str id, struct qmt_ref link, bool shares)
{
	struct names_peer *peer = need_peer(names, id);
	bool is_new;

	if (!peer || qmt_monitor(ctx, link))
		return -ENOMEM;
	if (peer->up && qmt_ref_eq(peer->link, link)) {
		peer->shares = shares;
		push(ctx, names, peer);
		return 0;
	}
	is_new = !peer->up;
	peer->link = link;
	peer->up = true;
	peer->shares = shares;
	peer->knows = peer->refused = peer->asking = peer->complained = false;
	peer->round++;
	peer->failures = 0;
	qmt_timer_cancel(ctx, &peer->retry);
	if (is_new)
		names_tell_peer(ctx, names, peer);
	push(ctx, names, peer);
	return 0;
}

void names_on_link(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_names_link *msg = body;

	if (!qmt_ref_is_set(msg->link) || !msg->peer.len || msg->peer.len > QMT_NAMES_TEXT_MAX) {
		QMT_LOG(ctx, QMT_WARN, "names.bad_link", "reason", "no link, or no PeerId");
		return; /* no reason to forget what is registered here */
	}
	if (up(ctx, state, msg->peer, msg->link, msg->shares))
		qmt_fail(ctx, "out of memory");
}

void names_link_down(struct qmt_ctx *ctx, struct names *names, struct qmt_ref link)
{
	for (struct names_peer *peer = names->peers, *next; peer; peer = next) {
		next = peer->next;
		if (qmt_ref_eq(peer->from, link))
			drop_entries(ctx, names, peer);
		if (peer->up && qmt_ref_eq(peer->link, link)) {
			/* one that took over has said so before this one ended: the name passes first */
			peer->up = false;
			peer->round++;
			peer->asking = false;
			peer->link = (struct qmt_ref){0};
			qmt_timer_cancel(ctx, &peer->retry);
			names_tell_peer(ctx, names, peer);
		}
		forget_if_gone(ctx, names, peer);
	}
}

struct found_links {
	struct qmt_ctx *ctx;
	struct names *names;
	int rc;
};

static void on_found(void *arg, const char *name, struct qmt_ref link, bool shares)
{
	struct found_links *found = arg;
	struct names_peer *peer = need_peer(found->names, qmt_str(name));

	if (!peer) {
		found->rc = -ENOMEM;
		return;
	}
	peer->link = link;
	peer->shares = shares;
}

int names_find_links(struct qmt_ctx *ctx, struct names *names)
{
	struct found_links found = {ctx, names, 0};

	qmt__registry_each(ctx->sys, "peer/", on_found, &found);
	for (struct names_peer *peer = names->peers; peer && !found.rc; peer = peer->next)
		found.rc = up(ctx, names, qmt_str(peer->id), peer->link, peer->shares);
	return found.rc;
}

void names_free_peers(struct qmt_ctx *ctx, struct names *names)
{
	for (struct names_peer *peer = names->peers, *next; peer; peer = next) {
		next = peer->next;
		for (struct names_entry *entry = peer->entries.first, *after; entry; entry = after) {
			after = entry->next;
			names_entry_free(entry);
		}
		qmt_timer_cancel(ctx, &peer->retry);
		free(peer);
	}
}

void qmt_peer_up(struct qmt_ctx *ctx, const char *peer, bool shares)
{
	struct qmt_ref names;

	qmt__registry_note(ctx->sys, "peer/", peer, shares);
	if (ctx->cur && qmt_lookup(ctx, "names", &names) == 0 &&
		QMT_TELL(ctx, names, qmt_names_link, .peer = qmt_str(peer), .link = qmt_self(ctx), .shares = shares) < 0)
		qmt_fail(ctx, "out of memory: names cannot be told of this link"); /* a new one is told of */
}

/* ---- telling ----------------------------------------------------------------------------------------------------- */

static void on_retry(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct names_peer *peer = arg;

	peer->retry = (struct qmt_timer){0};
	push(ctx, state, peer);
}

static void push_later(struct qmt_ctx *ctx, struct names *names, struct names_peer *peer)
{
	uint32_t doubled = peer->failures < 6 ? peer->failures : 6;

	peer->knows = false;
	peer->failures++;
	if (peer->retry.id == 0 &&
		qmt_timer_start(ctx, (uint64_t)names->resync_ms << doubled, on_retry, peer, &peer->retry))
		qmt_fail(ctx, "out of memory"); /* else the peer would never know */
}

static void on_synced(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct names *names = state;
	uint64_t which = (uintptr_t)arg;
	struct names_peer *peer = names->peers;

	while (peer && peer->serial != (uint32_t)(which >> 32))
		peer = peer->next;
	if (!peer || peer->round != (uint32_t)which)
		return;
	peer->asking = false;
	if (result->fail == 0 && !((const struct qmt_names_synced *)result->body)->want_full) {
		peer->knows = true;
		peer->told = peer->telling;
		peer->failures = 0;
		push(ctx, names, peer);
		return;
	}
	switch (result->fail) {
	case QMT_FAIL_NOT_ALLOWED:   /* it does not name this node, or not yet */
	case QMT_FAIL_UNKNOWN_ACTOR: /* nobody is called names there; an older version says no route */
	case QMT_FAIL_NO_ROUTE:
	case QMT_FAIL_UNKNOWN_MESSAGE: /* another one is */
		peer->refused = true;
		peer->knows = false;
		break;
	case QMT_FAIL_PEER_GONE: /* the next link says that it is there */
		peer->knows = false;
		break;
	default:
		if (result->fail && !peer->failures)
			QMT_LOG(ctx, QMT_WARN, "names.refused", "peer", peer->id, "failure", qmt_fail_name(result->fail), "note",
				"the peer does not take this node's names; tried again");
		push_later(ctx, names, peer);
	}
}

/* Changes behind `base`, in order. NULL: out of memory. */
static struct qmt_names_change *changes_since(
	const struct names *names, const struct names_peer *peer, uint64_t base, uint32_t *ret_count)
{
	struct qmt_names_change *changes =
		calloc(names->own.count + names->gone_count + (size_t)1, sizeof(struct qmt_names_change));
	const struct names_entry *entry = names->own.first;
	uint32_t gone = 0, count = 0;

	while (changes && (entry || gone < names->gone_count)) {
		if (entry && (gone == names->gone_count || entry->key < names->gone[gone].at)) {
			if (entry->key > base && names_scope_is_shared(peer, qmt_str(entry->scope)))
				changes[count++] = (struct qmt_names_change){
					.at = entry->key, .name = qmt_str(entry->name), .scope = qmt_str(entry->scope), .who = entry->who};
			entry = entry->next;
		} else {
			/* what came and went behind `base` is told as gone all the same: that is no harm */
			if (base && names->gone[gone].at > base)
				changes[count++] = (struct qmt_names_change){.at = names->gone[gone].at, .gone = names->gone[gone].key};
			gone++;
		}
	}
	*ret_count = count;
	return changes;
}

static void push(struct qmt_ctx *ctx, struct names *names, struct names_peer *peer)
{
	bool full = !peer->knows || peer->told < names->gone_since;
	struct qmt_names_sync sync = {.epoch = names->epoch, .sequence = names->sequence, .full = full};
	struct qmt_names_change *changes;
	int failed;

	if (!peer->up || !peer->shares || peer->refused || peer->asking || peer->retry.id ||
		(!full && peer->told == names->sequence))
		return;
	sync.base = full ? 0 : peer->told;
	changes = changes_since(names, peer, sync.base, &sync.changes.count);
	sync.changes.items = changes;
	peer->telling = names->sequence;
	failed = changes ? qmt_ask_name(ctx, peer->id, "names", &qmt_names_sync_type, &sync, names->sync_ms, on_synced,
						   (void *)((uintptr_t)peer->serial << 32 | peer->round))
					 : -ENOMEM;
	free(changes);
	if (failed == 0)
		peer->asking = true;
	else if (failed != QMT_FAIL_NO_ROUTE && failed != QMT_FAIL_PEER_GONE) /* its end is on its way */
		push_later(ctx, names, peer);
}

void names_changed(struct qmt_ctx *ctx, struct names *names)
{
	for (struct names_peer *peer = names->peers; peer; peer = peer->next)
		push(ctx, names, peer);
}

/* ---- being told -------------------------------------------------------------------------------------------------- */

static void refuse_sync(struct qmt_ctx *ctx, struct names_peer *peer, int fail, const char *format, ...)
	QMT_PRINTF(4, 5);
static void refuse_sync(struct qmt_ctx *ctx, struct names_peer *peer, int fail, const char *format, ...)
{
	char text[300];
	va_list args;

	va_start(args, format);
	qmt_text_va(text, sizeof(text), format, args);
	va_end(args);
	if (fail == QMT_FAIL_BAD_REQUEST && !peer->complained)
		QMT_LOG(ctx, QMT_WARN, "names.hostile", "peer", peer->id, "reason", text, "note",
			"further ones of this link are not logged");
	peer->complained |= fail == QMT_FAIL_BAD_REQUEST;
	(void)qmt_reply_fail(ctx, qmt_token(ctx), fail, NULL, 0, "%s", text);
}

static struct names_entry *find_key(const struct names_peer *peer, uint64_t key, struct names_entry **ret_before)
{
	struct names_entry *before = NULL, *entry = peer->entries.first;

	for (; entry && entry->key < key; entry = entry->next)
		before = entry;
	*ret_before = before;
	return entry && entry->key == key ? entry : NULL;
}

/* One that ends makes room, once. */
static bool makes_room(const struct names_peer *peer, uint64_t key)
{
	struct names_entry *unused, *entry = find_key(peer, key, &unused);

	if (!entry || entry->goes)
		return false;
	entry->goes = true;
	return true;
}

/* False: it was refused. Marks those that end. */
static bool check_all(struct qmt_ctx *ctx, const struct names *names, struct names_peer *peer, struct qmt_ref link,
	const struct qmt_names_sync *sync)
{
	uint64_t last = sync->base, room = names->peer_names_max - (sync->full ? 0 : (uint64_t)peer->entries.count);

	if (sync->epoch == 0 || sync->base > sync->sequence || (sync->full && sync->base)) {
		refuse_sync(ctx, peer, QMT_FAIL_BAD_REQUEST, "names: numbers that cannot be");
		return false;
	}
	for (uint32_t i = 0; i < sync->changes.count; i++) {
		const struct qmt_names_change *change = &sync->changes.items[i];
		const char *why = NULL;

		if (change->at <= last || change->at > sync->sequence || change->gone >= change->at)
			why = "numbers that are not in order";
		else if (change->gone)
			why = sync->full ? "an end in the whole set" : NULL;
		else if (!names_is_valid(change->name))
			why = "a name that is none";
		else if (change->scope.len > QMT_NAMES_TEXT_MAX || !names_scope_is_shared(peer, change->scope))
			why = "a scope that this link does not carry";
		else if (!change->who.rid || change->who.actor != link.actor || change->who.gen != link.gen)
			why = "an actor that is not the peer's own";
		if (why) {
			refuse_sync(ctx, peer, QMT_FAIL_BAD_REQUEST, "names: change %u of %u: %s", i + 1, sync->changes.count, why);
			return false;
		}
		last = change->at;
		if (change->gone)
			room += makes_room(peer, change->gone);
		else if (room-- == 0) {
			refuse_sync(ctx, peer, QMT_FAIL_BAD_REQUEST, "names: a peer may have %u (names.peer_names_max)",
				names->peer_names_max);
			return false;
		}
	}
	return true;
}

static bool check(struct qmt_ctx *ctx, const struct names *names, struct names_peer *peer, struct qmt_ref link,
	const struct qmt_names_sync *sync)
{
	bool fits = check_all(ctx, names, peer, link, sync);

	for (struct names_entry *entry = peer->entries.first; entry; entry = entry->next)
		entry->goes = false;
	return fits;
}

static bool is_same(const struct names_entry *entry, const struct qmt_names_change *change)
{
	return entry->key == change->at && qmt_ref_eq(entry->who, change->who) && qmt_str_is(change->name, entry->name);
}

/* What is not in the whole set any more goes, before what is new comes. Both are sorted by key. */
static void drop_missing(
	struct qmt_ctx *ctx, struct names *names, struct names_peer *peer, const struct qmt_names_sync *sync)
{
	struct names_entry *before = NULL, *entry = peer->entries.first;
	uint32_t i = 0;

	while (entry) {
		while (i < sync->changes.count && sync->changes.items[i].at < entry->key)
			i++;
		if (peer->epoch == sync->epoch && i < sync->changes.count && is_same(entry, &sync->changes.items[i]))
			before = entry;
		else
			names_take(ctx, names, &peer->entries, before);
		entry = before ? before->next : peer->entries.first;
	}
}

/* Entries for the changes that need one; NULL: out of memory, nothing was made. */
static struct names_entry **make_entries(const struct qmt_names_sync *sync)
{
	struct names_entry **made = calloc(sync->changes.count + (size_t)1, sizeof(struct names_entry *));

	for (uint32_t i = 0; made && i < sync->changes.count; i++) {
		const struct qmt_names_change *change = &sync->changes.items[i];

		if (change->gone)
			continue;
		made[i] = names_entry_new(change->name, change->scope, change->who, change->at);
		if (made[i])
			continue;
		while (i-- > 0)
			names_entry_free(made[i]);
		free(made);
		made = NULL;
	}
	return made;
}

static void apply(struct qmt_ctx *ctx, struct names *names, struct names_peer *peer, const struct qmt_names_sync *sync,
	struct names_entry **made)
{
	struct names_entry *before, *last = NULL; /* of a whole set: the one that the last change was about */

	if (sync->full)
		drop_missing(ctx, names, peer, sync);
	for (uint32_t i = 0; i < sync->changes.count; i++) {
		const struct qmt_names_change *change = &sync->changes.items[i];

		if (change->gone) {
			if (find_key(peer, change->gone, &before))
				names_take(ctx, names, &peer->entries, before);
		} else if (!sync->full) {
			names_put(ctx, names, &peer->entries, peer, peer->entries.last, made[i]);
		} else {
			struct names_entry *kept = last ? last->next : peer->entries.first;

			if (kept && kept->key == change->at) {
				names_entry_free(made[i]);
				last = kept;
			} else {
				names_put(ctx, names, &peer->entries, peer, last, made[i]);
				last = made[i];
			}
		}
	}
	peer->epoch = sync->epoch;
	peer->sequence = sync->sequence;
}

void names_on_sync(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_names_sync *sync = body;
	struct names *names = state;
	struct qmt_ref link = qmt_sender(ctx);
	struct names_peer *peer = need_peer(names, sync->origin);
	struct names_entry **made;
	bool is_new_start;

	if (!peer || !qmt_ref_is_set(link) || qmt_monitor(ctx, link)) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0,
			sync->origin.len && qmt_ref_is_set(link) ? "out of memory" : "it says not who it is, or came over no link");
		if (peer)
			forget_if_gone(ctx, names, peer);
		return;
	}
	if (!sync->full && (!qmt_ref_eq(peer->from, link) || peer->epoch != sync->epoch || peer->sequence != sync->base)) {
		QMT_REPLY(ctx, qmt_token(ctx), qmt_names_synced, .want_full = true);
		forget_if_gone(ctx, names, peer);
		return;
	}
	/* late, over a link that another one has replaced: its refs die with it */
	if (peer->up && !qmt_ref_eq(link, peer->link) && qmt_ref_eq(peer->from, peer->link)) {
		QMT_REPLY(ctx, qmt_token(ctx), qmt_names_synced, );
		return;
	}
	if (!check(ctx, names, peer, link, sync)) {
		forget_if_gone(ctx, names, peer);
		return;
	}
	made = make_entries(sync);
	if (!made) {
		refuse_sync(ctx, peer, QMT_FAIL_FAILED, "out of memory");
		forget_if_gone(ctx, names, peer);
		return;
	}
	is_new_start = peer->epoch && peer->epoch != sync->epoch && qmt_ref_eq(peer->from, link);
	peer->from = link;
	apply(ctx, names, peer, sync, made);
	free(made);
	QMT_REPLY(ctx, qmt_token(ctx), qmt_names_synced, );
	/* It did not take ours before, or its actor has started anew and knows nothing. */
	if (peer->refused || is_new_start) {
		peer->refused = peer->knows = false;
		push(ctx, names, peer);
	}
}
