/* runtime/names_internal.h - the state of the actor "names"; for names*.c only.
 *
 * Threads: all of it belongs to the actor's turn.
 */
#ifndef QMT_NAMES_INTERNAL_H
#define QMT_NAMES_INTERNAL_H

#include "names.h"

struct names_entry {
	struct names_entry *next;  /* of the same node, by key */
	struct names_entry *chain; /* in the bucket of the name */
	struct names_peer *peer;   /* NULL: this node */
	struct qmt_ref who;
	uint64_t key, hash;
	bool goes; /* while a sync is looked at: it says that this one ends */
	const char *scope; /* behind the name */
	char name[];
};

struct names_list {
	struct names_entry *first, *last;
	uint32_t count;
};

struct names_gone { /* a key that is no more, for those who know it */
	uint64_t at, key;
};

struct names_peer {
	struct names_peer *next; /* by id */
	uint32_t serial;         /* for continuations: the peer may be forgotten meanwhile */
	struct qmt_ref link;     /* in use; unset: none */
	bool up, shares;
	/* what it told */
	struct qmt_ref from; /* over which link */
	uint64_t epoch, sequence;
	struct names_list entries;
	bool complained;
	/* what it was told */
	bool knows;   /* `told` holds; else it gets the whole set */
	bool refused; /* it takes nothing, until it says something itself or a new link is there */
	bool asking;
	uint32_t round; /* of asks; answers to earlier ones are void */
	uint64_t told, telling;
	uint32_t failures;
	struct qmt_timer retry;
	char id[QMT_NAMES_TEXT_MAX + 1];
};

struct names_watch {
	struct names_watch *next;
	struct qmt_ref who;
	bool of_peers, lost;
	const char *scope; /* behind the pattern */
	char pattern[];
};

enum { NAMES_GONE_MAX = 1024 /* kept for peers that lag behind; with more they get the whole set */ };

struct names {
	/* parameters */
	uint32_t names_max, peer_names_max, watches_max, resync_ms, sync_ms;

	struct names_entry **buckets;
	uint32_t bucket_count, total;
	struct names_list own;
	uint64_t epoch, sequence; /* of own */
	struct names_gone *gone;  /* by `at` */
	uint32_t gone_count, gone_room;
	uint64_t gone_since; /* who was told less than this gets the whole set */
	struct names_peer *peers;
	uint32_t serials;
	struct names_watch *watches;
	uint32_t watch_count;
	struct qmt_timer lost_timer;
};

/* names.c */
/* NULL: out of memory. Not in any list yet. */
struct names_entry *names_entry_new(struct qmt_str name, struct qmt_str scope, struct qmt_ref who, uint64_t key);
void names_entry_free(struct names_entry *entry);
/* Into the list, behind `before` (NULL: first), and the table; watchers are told. */
void names_put(struct qmt_ctx *ctx, struct names *names, struct names_list *list, struct names_peer *peer,
	struct names_entry *before, struct names_entry *entry);
/* Takes out the entry behind `before` (NULL: the first), tells watchers, frees it. */
void names_take(struct qmt_ctx *ctx, struct names *names, struct names_list *list, struct names_entry *before);
bool names_is_valid(struct qmt_str name);
/* The one place that says which entries cross which link, either way. */
bool names_scope_is_shared(const struct names_peer *peer, struct qmt_str scope);

/* names_watch.c */
void names_tell_entry(struct qmt_ctx *ctx, struct names *names, const struct names_entry *entry, bool added);
void names_tell_peer(struct qmt_ctx *ctx, struct names *names, const struct names_peer *peer);
void names_on_watch(struct qmt_ctx *ctx, void *state, const void *body);
void names_on_watch_peers(struct qmt_ctx *ctx, void *state, const void *body);
void names_on_unwatch(struct qmt_ctx *ctx, void *state, const void *body);
void names_drop_watcher(struct names *names, struct qmt_ref who);
void names_free_watches(struct names *names);

/* names_sync.c */
void names_on_link(struct qmt_ctx *ctx, void *state, const void *body);
void names_on_sync(struct qmt_ctx *ctx, void *state, const void *body);
void names_link_down(struct qmt_ctx *ctx, struct names *names, struct qmt_ref link);
void names_changed(struct qmt_ctx *ctx, struct names *names);   /* own ones: peers are told */
int names_find_links(struct qmt_ctx *ctx, struct names *names); /* at a start; <0: out of memory */
void names_free_peers(struct qmt_ctx *ctx, struct names *names);

#endif
