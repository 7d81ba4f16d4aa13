/* runtime/names_watch.c - who is told of names and peers. Watchers are tried, never waited for: see names.h. */
#include <errno.h>
#include <stdlib.h>

#include "broker.h"
#include "names_internal.h"

static void on_lost_due(struct qmt_ctx *ctx, void *state, void *arg);

static void lose(struct qmt_ctx *ctx, struct names *names, struct names_watch *watch)
{
	watch->lost = true;
	if (names->lost_timer.id == 0 && qmt_timer_start(ctx, names->resync_ms, on_lost_due, NULL, &names->lost_timer))
		qmt_fail(ctx, "out of memory"); /* else it would never hear of it */
}

static void tell(
	struct qmt_ctx *ctx, struct names *names, struct names_watch *watch, const struct qmt_type *type, const void *body)
{
	int failed = watch->lost ? 0 : qmt_try_tell(ctx, watch->who, type, body);

	/* one that has ended is forgotten by its monitor, one that does not know the message chose to miss it */
	if (failed && failed != QMT_FAIL_NOT_RUNNING && failed != QMT_FAIL_UNKNOWN_MESSAGE)
		lose(ctx, names, watch);
}

static bool wants(const struct names_watch *watch, const struct names_entry *entry)
{
	return !watch->of_peers && strcmp(watch->scope, entry->scope) == 0 &&
		qmt_topic_matches(qmt_str(watch->pattern), qmt_str(entry->name));
}

static void tell_entry(
	struct qmt_ctx *ctx, struct names *names, struct names_watch *watch, const struct names_entry *entry, bool added)
{
	struct qmt_names_added msg = {.name = qmt_str(entry->name), .scope = qmt_str(entry->scope), .who = entry->who};

	_Static_assert(sizeof(struct qmt_names_added) == sizeof(struct qmt_names_removed), "the same fields");
	if (entry->peer)
		msg.peer = qmt_str(entry->peer->id);
	tell(ctx, names, watch, added ? &qmt_names_added_type : &qmt_names_removed_type, &msg);
}

void names_tell_entry(struct qmt_ctx *ctx, struct names *names, const struct names_entry *entry, bool added)
{
	for (struct names_watch *watch = names->watches; watch; watch = watch->next)
		if (wants(watch, entry))
			tell_entry(ctx, names, watch, entry, added);
}

static void tell_peer(
	struct qmt_ctx *ctx, struct names *names, struct names_watch *watch, const struct names_peer *peer)
{
	struct qmt_names_peer_up msg = {.peer = qmt_str(peer->id)};

	_Static_assert(sizeof(struct qmt_names_peer_up) == sizeof(struct qmt_names_peer_down), "the same fields");
	tell(ctx, names, watch, peer->up ? &qmt_names_peer_up_type : &qmt_names_peer_down_type, &msg);
}

void names_tell_peer(struct qmt_ctx *ctx, struct names *names, const struct names_peer *peer)
{
	for (struct names_watch *watch = names->watches; watch; watch = watch->next)
		if (watch->of_peers)
			tell_peer(ctx, names, watch, peer);
}

/* All that is there. */
static void tell_present(struct qmt_ctx *ctx, struct names *names, struct names_watch *watch)
{
	for (const struct names_entry *entry = names->own.first; entry; entry = entry->next)
		if (wants(watch, entry))
			tell_entry(ctx, names, watch, entry, true);
	for (const struct names_peer *peer = names->peers; peer; peer = peer->next) {
		if (watch->of_peers && peer->up)
			tell_peer(ctx, names, watch, peer);
		for (const struct names_entry *entry = peer->entries.first; entry; entry = entry->next)
			if (wants(watch, entry))
				tell_entry(ctx, names, watch, entry, true);
	}
}

static void on_lost_due(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct names *names = state;

	(void)arg;
	names->lost_timer = (struct qmt_timer){0};
	for (struct names_watch *watch = names->watches; watch; watch = watch->next) {
		if (!watch->lost)
			continue;
		watch->lost = false;
		tell(ctx, names, watch, &qmt_names_lost_type, &(struct qmt_names_lost){});
		if (!watch->lost)
			tell_present(ctx, names, watch);
	}
}

static void add(struct qmt_ctx *ctx, struct names *names, struct qmt_ref who, bool of_peers, struct qmt_str pattern,
	struct qmt_str scope)
{
	struct names_watch *watch, **at = &names->watches;

	if (!qmt_ref_is_set(who)) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0, "nobody is to be told");
		return;
	}
	for (; *at; at = &(*at)->next)
		if (qmt_ref_eq((*at)->who, who) && (*at)->of_peers == of_peers && qmt_str_is(pattern, (*at)->pattern) &&
			qmt_str_is(scope, (*at)->scope)) {
			QMT_REPLY(ctx, qmt_token(ctx), qmt_names_done, );
			return;
		}
	if (names->watch_count >= names->watches_max) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FULL, NULL, 0, "watches_max patterns are watched");
		return;
	}
	watch = calloc(1, sizeof(*watch) + pattern.len + scope.len + (size_t)2);
	if (!watch || qmt_monitor(ctx, who)) {
		free(watch);
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "out of memory");
		return;
	}
	watch->who = who;
	watch->of_peers = of_peers;
	if (pattern.len)
		memcpy(watch->pattern, pattern.p, pattern.len);
	watch->scope = watch->pattern + pattern.len + 1;
	if (scope.len)
		memcpy(watch->pattern + pattern.len + 1, scope.p, scope.len);
	*at = watch;
	names->watch_count++;
	QMT_REPLY(ctx, qmt_token(ctx), qmt_names_done, );
	tell_present(ctx, names, watch);
}

void names_on_watch(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_names_watch *msg = body;

	if (!qmt_pattern_is_valid(msg->pattern) || msg->scope.len > QMT_NAMES_TEXT_MAX ||
		(msg->scope.len && memchr(msg->scope.p, '\0', msg->scope.len))) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0,
			"\"%.*s\" is no pattern (levels with / between them, each a text without *, or *, or **), or the scope is "
			"none",
			QMT_STR_ARG(msg->pattern));
		return;
	}
	add(ctx, state, qmt_ref_is_set(msg->watcher) ? msg->watcher : qmt_sender(ctx), false, msg->pattern,
		msg->scope.len ? msg->scope : qmt_str(QMT_NAMES_SCOPE));
}

void names_on_watch_peers(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_names_watch_peers *msg = body;

	add(ctx, state, qmt_ref_is_set(msg->watcher) ? msg->watcher : qmt_sender(ctx), true, (struct qmt_str){0},
		(struct qmt_str){0});
}

/* pattern NULL: all of it. */
static bool drop(struct names *names, struct qmt_ref who, const struct qmt_str *pattern)
{
	struct names_watch **at = &names->watches;
	bool found = false;

	while (*at) {
		struct names_watch *watch = *at;

		if (!qmt_ref_eq(watch->who, who) || (pattern && (watch->of_peers || !qmt_str_is(*pattern, watch->pattern)))) {
			at = &watch->next;
			continue;
		}
		*at = watch->next;
		names->watch_count--;
		free(watch);
		found = true;
	}
	return found;
}

void names_on_unwatch(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_names_unwatch *msg = body;
	struct qmt_ref who = qmt_ref_is_set(msg->watcher) ? msg->watcher : qmt_sender(ctx);

	if (drop(state, who, msg->pattern.len ? &msg->pattern : NULL))
		QMT_REPLY(ctx, qmt_token(ctx), qmt_names_done, );
	else
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NOT_FOUND, NULL, 0, "it does not watch that");
}

void names_drop_watcher(struct names *names, struct qmt_ref who)
{
	(void)drop(names, who, NULL);
}

void names_free_watches(struct names *names)
{
	for (struct names_watch *watch = names->watches, *next; watch; watch = next) {
		next = watch->next;
		free(watch);
	}
}
