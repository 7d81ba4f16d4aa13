/* runtime/names.c - see names.h: the table, and what is registered here.
 *
 * All entries are in one hash table by name, and in a list for each node, by key. A key is the number of the change
 * that made it, so it is used once, and both lists and changes are sorted by it.
 */
#include "names_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "broker.h"

QMT_DEFINE_RECORD(qmt_names_change, QMT_NAMES_CHANGE, "An entry that is new, or one that is no more.")
QMT_DEFINE_RECORD(qmt_names_row, QMT_NAMES_ROW, "A name, without the actor.")
QMT_DEFINE_RECORD(qmt_names_item, QMT_NAMES_ENTRY, "An actor that is found under a name.")
QMT_DEFINE_PROTOCOL(qmt_names, QMT_NAMES_MESSAGES, "Names of the mesh.")

/* ---- entries ----------------------------------------------------------------------------------------------------- */

/* FNV-1a, 64 bit (Fowler, Noll, Vo). */
static uint64_t hash_of(struct qmt_str name)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < name.len; i++)
		hash = (hash ^ (unsigned char)name.p[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static struct qmt_str scope_of(struct qmt_str scope)
{
	return scope.len ? scope : qmt_str(QMT_NAMES_SCOPE);
}

struct names_entry *names_entry_new(struct qmt_str name, struct qmt_str scope, struct qmt_ref who, uint64_t key)
{
	struct names_entry *entry;

	scope = scope_of(scope);
	entry = calloc(1, sizeof(*entry) + name.len + scope.len + (size_t)2);
	if (!entry)
		return NULL;
	entry->who = who;
	entry->key = key;
	entry->hash = hash_of(name);
	memcpy(entry->name, name.p, name.len);
	entry->scope = memcpy(entry->name + name.len + 1, scope.p, scope.len);
	return entry;
}

void names_entry_free(struct names_entry *entry)
{
	free(entry);
}

bool names_is_valid(struct qmt_str name)
{
	return name.len <= QMT_NAMES_TEXT_MAX && qmt_topic_is_valid(name);
}

bool names_scope_is_shared(const struct names_peer *peer, struct qmt_str scope)
{
	(void)peer; /* links carry one scope so far */
	return qmt_str_is(scope_of(scope), QMT_NAMES_SCOPE);
}

/* Without memory for it the chains get longer, that is all. */
static void grow(struct names *names)
{
	uint32_t count = names->bucket_count * 2;
	struct names_entry **buckets = calloc(count, sizeof(*buckets));

	if (!buckets)
		return;
	for (uint32_t i = 0; i < names->bucket_count; i++) {
		struct names_entry *entry = names->buckets[i], *next;

		for (; entry; entry = next) {
			next = entry->chain;
			entry->chain = buckets[entry->hash % count];
			buckets[entry->hash % count] = entry;
		}
	}
	free(names->buckets);
	names->buckets = buckets;
	names->bucket_count = count;
}

void names_put(struct qmt_ctx *ctx, struct names *names, struct names_list *list, struct names_peer *peer,
	struct names_entry *before, struct names_entry *entry)
{
	struct names_entry **bucket;

	if (names->total++ >= names->bucket_count)
		grow(names);
	bucket = &names->buckets[entry->hash % names->bucket_count];
	entry->peer = peer;
	entry->next = before ? before->next : list->first;
	entry->chain = *bucket;
	*bucket = entry;
	if (before)
		before->next = entry;
	else
		list->first = entry;
	if (list->last == before)
		list->last = entry;
	list->count++;
	names_tell_entry(ctx, names, entry, true);
}

void names_take(struct qmt_ctx *ctx, struct names *names, struct names_list *list, struct names_entry *before)
{
	struct names_entry *entry = before ? before->next : list->first;
	struct names_entry **chain = &names->buckets[entry->hash % names->bucket_count];

	while (*chain != entry)
		chain = &(*chain)->chain;
	*chain = entry->chain;
	if (before)
		before->next = entry->next;
	else
		list->first = entry->next;
	if (list->last == entry)
		list->last = before;
	list->count--;
	names->total--;
	names_tell_entry(ctx, names, entry, false);
	names_entry_free(entry);
}

/* ---- what is registered here ------------------------------------------------------------------------------------- */

/* A key is no more. What does not fit, or has no memory, makes peers that lag behind take the whole set. */
static void note_gone(struct names *names, uint64_t key)
{
	uint64_t at = ++names->sequence;

	if (names->gone_count == names->gone_room && names->gone_room < NAMES_GONE_MAX) {
		uint32_t room = names->gone_room ? names->gone_room * 2 : 16;
		struct names_gone *gone = realloc(names->gone, room * sizeof(*gone));

		if (gone) {
			names->gone = gone;
			names->gone_room = room;
		}
	}
	if (names->gone_count == names->gone_room) {
		names->gone_count = 0;
		names->gone_since = at;
		return;
	}
	names->gone[names->gone_count++] = (struct names_gone){at, key};
}

static void drop_own(struct qmt_ctx *ctx, struct names *names, struct names_entry *before)
{
	struct names_entry *entry = before ? before->next : names->own.first;

	note_gone(names, entry->key);
	names_take(ctx, names, &names->own, before);
}

/* False: none. *ret_before: the one in front of it. */
static bool find_own(const struct names *names, struct qmt_str name, struct qmt_str scope, struct qmt_ref who,
	struct names_entry **ret_before)
{
	struct names_entry *before = NULL;

	for (struct names_entry *entry = names->own.first; entry; before = entry, entry = entry->next) {
		if (!qmt_ref_eq(entry->who, who) || !qmt_str_is(name, entry->name) || !qmt_str_is(scope, entry->scope))
			continue;
		*ret_before = before;
		return true;
	}
	return false;
}

static void refuse(struct qmt_ctx *ctx, int fail, const char *text)
{
	(void)qmt_reply_fail(ctx, qmt_token(ctx), fail, NULL, 0, "%s", text);
}

/* False: it was refused. */
static bool check_texts(struct qmt_ctx *ctx, struct qmt_str name, struct qmt_str scope, bool is_pattern)
{
	if (is_pattern ? qmt_pattern_is_valid(name) : names_is_valid(name)) {
		if (scope.len <= QMT_NAMES_TEXT_MAX && !(scope.len && memchr(scope.p, '\0', scope.len)))
			return true;
		refuse(ctx, QMT_FAIL_BAD_REQUEST, "the scope is longer than 128 bytes, or has a NUL");
		return false;
	}
	(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0,
		"\"%.*s\" is no %s: wants levels with / between them, 1 to %d bytes%s", QMT_STR_ARG(name),
		is_pattern ? "pattern" : "name", QMT_NAMES_TEXT_MAX,
		is_pattern ? ", each a text without *, or *, or **" : ", each a text without *");
	return false;
}

static void on_register(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_names_register *msg = body;
	struct names *names = state;
	struct qmt_ref who = qmt_ref_is_set(msg->who) ? msg->who : qmt_sender(ctx);
	struct names_entry *entry, *before;

	if (!check_texts(ctx, msg->name, msg->scope, false))
		return;
	if (!qmt_ref_is_set(who) || who.rid) {
		refuse(ctx, QMT_FAIL_BAD_REQUEST, "only an actor of this node gets a name here");
		return;
	}
	if (find_own(names, msg->name, scope_of(msg->scope), who, &before)) {
		QMT_REPLY(ctx, qmt_token(ctx), qmt_names_done, );
		return;
	}
	if (names->own.count >= names->names_max) {
		refuse(ctx, QMT_FAIL_FULL, "names_max names are registered on this node");
		return;
	}
	entry = names_entry_new(msg->name, msg->scope, who, names->sequence + 1);
	if (!entry || qmt_monitor(ctx, who)) {
		names_entry_free(entry);
		refuse(ctx, QMT_FAIL_FAILED, "out of memory");
		return;
	}
	names->sequence++;
	names_put(ctx, names, &names->own, NULL, names->own.last, entry);
	QMT_REPLY(ctx, qmt_token(ctx), qmt_names_done, );
	names_changed(ctx, names);
}

static void on_unregister(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_names_unregister *msg = body;
	struct names *names = state;
	struct qmt_ref who = qmt_ref_is_set(msg->who) ? msg->who : qmt_sender(ctx);
	struct names_entry *before;

	if (!find_own(names, msg->name, scope_of(msg->scope), who, &before)) {
		refuse(ctx, QMT_FAIL_NOT_FOUND, "that actor is not registered under that name");
		return;
	}
	drop_own(ctx, names, before);
	QMT_REPLY(ctx, qmt_token(ctx), qmt_names_done, );
	names_changed(ctx, names);
}

static void down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	struct names *names = state;
	struct names_entry *before = NULL, *entry = names->own.first;
	bool changed = false;

	(void)reason;
	while (entry) {
		if (qmt_ref_eq(entry->who, who)) {
			drop_own(ctx, names, before);
			changed = true;
		} else {
			before = entry;
		}
		entry = before ? before->next : names->own.first;
	}
	names_drop_watcher(names, who);
	names_link_down(ctx, names, who);
	if (changed)
		names_changed(ctx, names);
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

/* In which order entries are found. */
static int compare(const struct names_entry *a, const struct names_entry *b)
{
	if (a->peer != b->peer)
		return !a->peer ? -1 : !b->peer ? 1 : strcmp(a->peer->id, b->peer->id);
	return a->key < b->key ? -1 : a->key > b->key;
}

static int compare_rows(const void *a, const void *b)
{
	const struct names_entry *left = *(struct names_entry *const *)a, *right = *(struct names_entry *const *)b;
	int names = strcmp(left->name, right->name);

	return names ? names : compare(left, right);
}

static struct qmt_str peer_of(const struct names_entry *entry)
{
	return entry->peer ? qmt_str(entry->peer->id) : (struct qmt_str){0};
}

static void on_lookup(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_names_lookup *msg = body;
	const struct names *names = state;
	struct qmt_str scope = scope_of(msg->scope);
	const struct names_entry *best = NULL;

	if (!check_texts(ctx, msg->name, msg->scope, false))
		return;
	for (const struct names_entry *entry = names->buckets[hash_of(msg->name) % names->bucket_count]; entry;
		 entry = entry->chain)
		if (qmt_str_is(msg->name, entry->name) && qmt_str_is(scope, entry->scope) &&
			(!best || compare(entry, best) < 0))
			best = entry;
	if (best)
		QMT_REPLY(ctx, qmt_token(ctx), qmt_names_entry, .name = qmt_str(best->name), .scope = qmt_str(best->scope),
			.peer = peer_of(best), .who = best->who);
	else
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_UNKNOWN_ACTOR, NULL, 0, "nobody in the mesh is called %.*s",
			QMT_STR_ARG(msg->name));
}

/* Entries that match (pattern empty: all), in order. NULL with *ret_count 0: out of memory. */
static struct names_entry **collect(
	const struct names *names, struct qmt_str pattern, struct qmt_str scope, uint32_t *ret_count)
{
	struct names_entry **found = malloc((names->total + 1) * sizeof(struct names_entry *));

	*ret_count = 0;
	for (uint32_t i = 0; found && i < names->bucket_count; i++)
		for (struct names_entry *entry = names->buckets[i]; entry; entry = entry->chain)
			if (!pattern.len || (qmt_str_is(scope, entry->scope) && qmt_topic_matches(pattern, qmt_str(entry->name))))
				found[(*ret_count)++] = entry;
	if (found)
		qsort(found, *ret_count, sizeof(*found), compare_rows);
	return found;
}

static void on_lookup_all(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_names_lookup_all *msg = body;
	struct names_entry **found;
	struct qmt_names_item *items;
	uint32_t count;

	if (!check_texts(ctx, msg->pattern, msg->scope, true))
		return;
	found = collect(state, msg->pattern, scope_of(msg->scope), &count);
	items = found ? calloc(count + (size_t)1, sizeof(*items)) : NULL;
	for (uint32_t i = 0; items && i < count; i++)
		items[i] = (struct qmt_names_item){
			qmt_str(found[i]->name), qmt_str(found[i]->scope), peer_of(found[i]), found[i]->who};
	if (items)
		QMT_REPLY(ctx, qmt_token(ctx), qmt_names_all, .entries = {items, count});
	else
		refuse(ctx, QMT_FAIL_FAILED, "out of memory");
	free(items);
	free(found);
}

static void on_list(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct names_entry **found;
	struct qmt_names_row *rows;
	uint32_t count;

	(void)body;
	found = collect(state, (struct qmt_str){0}, (struct qmt_str){0}, &count);
	rows = found ? calloc(count + (size_t)1, sizeof(*rows)) : NULL;
	for (uint32_t i = 0; rows && i < count; i++)
		rows[i] = (struct qmt_names_row){qmt_str(found[i]->name), qmt_str(found[i]->scope), peer_of(found[i])};
	if (rows)
		QMT_REPLY(ctx, qmt_token(ctx), qmt_names_listed, .rows = {rows, count});
	else
		refuse(ctx, QMT_FAIL_FAILED, "out of memory");
	free(rows);
	free(found);
}

/* ---- the actor --------------------------------------------------------------------------------------------------- */

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct names *names = state;

	(void)config;
	names->bucket_count = 64;
	names->buckets = calloc(names->bucket_count, sizeof(struct names_entry *));
	if (!names->buckets)
		return -ENOMEM;
	qmt_random(ctx, &names->epoch, sizeof(names->epoch));
	names->epoch |= 1;
	return names_find_links(ctx, names);
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct names *names = state;

	names_free_watches(names);
	names_free_peers(ctx, names);
	for (struct names_entry *entry = names->own.first, *next; entry; entry = next) {
		next = entry->next;
		names_entry_free(entry);
	}
	free(names->gone);
	free(names->buckets);
}

static qmt_handler *const handlers[qmt_names_message_count] = {
	[qmt_names_register_id] = on_register,
	[qmt_names_unregister_id] = on_unregister,
	[qmt_names_lookup_id] = on_lookup,
	[qmt_names_lookup_all_id] = on_lookup_all,
	[qmt_names_watch_id] = names_on_watch,
	[qmt_names_unwatch_id] = names_on_unwatch,
	[qmt_names_watch_peers_id] = names_on_watch_peers,
	[qmt_names_list_id] = on_list,
	[qmt_names_sync_id] = names_on_sync,
	[qmt_names_link_id] = names_on_link,
};

#define PARAM(name, dflt, min, max, doc)                                                  \
	{                                                                                     \
#name, QMT_PARAM_U32, (uint32_t)offsetof(struct names, name), dflt, min, max, doc \
	}
static const struct qmt_param params[] = {
	PARAM(names_max, "4096", 1, 65536, "Names that actors of this node have at once; more are refused: mailbox full."),
	PARAM(peer_names_max, "4096", 1, 65536, "Names that one peer may have; one with more is refused."),
	PARAM(watches_max, "1024", 1, 65536, "Patterns that are watched at once; more are refused: mailbox full."),
	PARAM(resync_ms, "1000", 1, 3600000,
		"Wait before a peer that did not take names, or a watcher that was at its bound, is told again; doubled each "
		"time up to 64 times for peers."),
	PARAM(sync_ms, "5000", 1, 3600000, "For a peer to answer."),
	{NULL, 0, 0, NULL, 0, 0, NULL},
};

const struct qmt_actor_desc qmt_names_desc = {
	.abi = QMT_ABI,
	.name = "names",
	.doc = "Which actors of the mesh are found under which name.",
	.state_size = sizeof(struct names),
	.params = params,
	.accepts = {{&qmt_names_protocol, handlers}},
	.start = start,
	.stop = stop,
	.down = down,
};
