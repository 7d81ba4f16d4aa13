/* runtime/names.h - a ready-made actor, "names": which actors of the mesh are found under which name, and which peers
 * are there.
 *
 *     qmt_spawn(ctx, &qmt_names_desc, &(struct qmt_spawn){.name = "names", .restart = QMT_PERMANENT}, &ref, &err);
 *     qmt_ask_name(ctx, "", "names", &qmt_names_register_type,
 *             &(struct qmt_names_register){.name = qmt_str("gpu/big")}, 0, registered, NULL);
 *
 * (The local registry of actor.h, qmt_register, is another thing: names that this node is addressed by, one holder
 * each.) Spawn it before the links, under the name "names": so peers find it, and links tell it (qmt_peer_up, port.h).
 *
 * Names:     levels with "/" between them, without "*", 1 to QMT_NAMES_TEXT_MAX bytes. Any number of actors, of one or
 *            of several nodes, may have one name. Each entry has a scope (QMT_NAMES_SCOPE when empty); entries of other
 *            scopes stay on their node.
 * Who writes: each node its own, alone: an actor registers itself, or another one of its node. An entry is kept over
 *            restarts of the actor and ends with it; what came from a peer ends with the link that it came over.
 * Lookup:    own node first, then by PeerId; of one node who registered first. The ref found is told, asked, monitored
 *            and linked like any other.
 * Watching:  first `added` for what is there, then each change once; of one node in the order in which it happened. An
 *            entry whose ref is another one (a new link to its node) is removed and added. A pattern is as in broker.h.
 *            A watcher is never waited for: one that is at its bound misses events; as soon as it has room it is told
 *            `lost`, and then all that is there as `added`, as at the start.
 * Peers:     `peer_up` and `peer_down` by watch_peers, the present ones first. This is the way to hear of nodes.
 * Sharing:   between nodes whose configurations name each other: the whole set when a link is there, then what has
 *            changed, numbered; whoever misses something says so and gets the whole set again. A peer nobody named is
 *            sent nothing, and what it says is refused.
 * Ends:      a restart of this actor forgets what was registered and who watches.
 * Threads, blocks: an actor.   Limits: its parameters (qmt_names_desc.params).
 */
#ifndef QMT_NAMES_H
#define QMT_NAMES_H

#include "actor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { QMT_NAMES_TEXT_MAX = 128 /* bytes of a name; of a scope and a PeerId too */ };
#define QMT_NAMES_SCOPE "lan:default"

#define QMT_NAMES_REGISTER(F, T)                   \
	F(T, STR, name, 1, "Under which name.")        \
	F(T, STR, scope, 2, "Empty: QMT_NAMES_SCOPE.") \
	F(T, REF, who, 3, "An actor of this node; unset: whoever asks.")
#define QMT_NAMES_LOOKUP(F, T)              \
	F(T, STR, name, 1, "Exactly this one.") \
	F(T, STR, scope, 2, "Empty: QMT_NAMES_SCOPE.")
#define QMT_NAMES_LOOKUP_ALL(F, T)           \
	F(T, STR, pattern, 1, "As in broker.h.") \
	F(T, STR, scope, 2, "Empty: QMT_NAMES_SCOPE.")
#define QMT_NAMES_WATCH(F, T)                      \
	F(T, STR, pattern, 1, "As in broker.h.")       \
	F(T, STR, scope, 2, "Empty: QMT_NAMES_SCOPE.") \
	F(T, REF, watcher, 3, "Unset: whoever asks.")
#define QMT_NAMES_UNWATCH(F, T)                   \
	F(T, REF, watcher, 1, "Unset: whoever asks.") \
	F(T, STR, pattern, 2, "Only this one; empty: all, and the peers.")
#define QMT_NAMES_WATCH_PEERS(F, T) F(T, REF, watcher, 1, "Unset: whoever asks.")
#define QMT_NAMES_ENTRY(F, T)                       \
	F(T, STR, name, 1, "Name.")                     \
	F(T, STR, scope, 2, "Scope.")                   \
	F(T, STR, peer, 3, "PeerId; empty: this node.") \
	F(T, REF, who, 4, "The actor.")
#define QMT_NAMES_ALL(F, T) F(T, LIST(qmt_names_item), entries, 1, "In the order of lookup, by name.")
#define QMT_NAMES_ROW(F, T)       \
	F(T, STR, name, 1, "Name.")   \
	F(T, STR, scope, 2, "Scope.") \
	F(T, STR, peer, 3, "PeerId; empty: this node.")
#define QMT_NAMES_LISTED(F, T) F(T, LIST(qmt_names_row), rows, 1, "One for each entry.")
#define QMT_NAMES_PEER(F, T) F(T, STR, peer, 1, "PeerId.")
/* between the actors of that name on two nodes */
#define QMT_NAMES_CHANGE(F, T)                                      \
	F(T, U64, at, 1, "Number of the change; of an entry: its key.") \
	F(T, U64, gone, 2, "Key of an entry that is no more; else 0.")  \
	F(T, STR, name, 3, "Of a new entry.")                           \
	F(T, STR, scope, 4, "Of a new entry.")                          \
	F(T, REF, who, 5, "Of a new entry: an actor of the sender's.")
#define QMT_NAMES_SYNC(F, T)                                             \
	F(T, U64, epoch, 1, "Made at the sender's start.")                   \
	F(T, U64, base, 2, "What was said last: changes after this number.") \
	F(T, U64, sequence, 3, "Number of the last change.")                 \
	F(T, BOOL, full, 4, "The whole set: forget the rest.")               \
	F(T, LIST(qmt_names_change), changes, 5, "By number.")               \
	F(T, STR, origin, 15, "Set by the link.")
#define QMT_NAMES_SYNCED(F, T) F(T, BOOL, want_full, 1, "Something is missing: send the whole set.")
#define QMT_NAMES_LINK(F, T)             \
	F(T, STR, peer, 1, "PeerId.")        \
	F(T, REF, link, 2, "In use for it.") \
	F(T, BOOL, shares, 3, "Names are exchanged with it.")

#define QMT_NAMES_MESSAGES(M)                                                                                          \
	M(qmt_names, register, QMT_NAMES_REGISTER, "local", "Twice is once. BAD_REQUEST, FULL (names_max).", done)         \
	M(qmt_names, unregister, QMT_NAMES_REGISTER, "local", "NOT_FOUND: it was not.", done)                              \
	M(qmt_names, lookup, QMT_NAMES_LOOKUP, "local", "UNKNOWN_ACTOR: nobody.", entry)                                   \
	M(qmt_names, lookup_all, QMT_NAMES_LOOKUP_ALL, "local", "All that match; none is no failure.", all)                \
	M(qmt_names, watch, QMT_NAMES_WATCH, "local", "Gets added and removed. BAD_REQUEST, FULL (watches_max).", done)    \
	M(qmt_names, unwatch, QMT_NAMES_UNWATCH, "local", "NOT_FOUND: it did not.", done)                                  \
	M(qmt_names, watch_peers, QMT_NAMES_WATCH_PEERS, "local", "Gets peer_up and peer_down. FULL (watches_max).", done) \
	M(qmt_names, list, QMT_NO_FIELDS, "control", "What is registered, without refs.", listed)                          \
	M(qmt_names, sync, QMT_NAMES_SYNC, "names", "From a peer: its names. BAD_REQUEST: they are not its own.", synced)  \
	M(qmt_names, link, QMT_NAMES_LINK, "local", "From a link: it is in use (qmt_peer_up).")                            \
	M(qmt_names, added, QMT_NAMES_ENTRY, "local", "To a watcher.")                                                     \
	M(qmt_names, removed, QMT_NAMES_ENTRY, "local", "To a watcher.")                                                   \
	M(qmt_names, lost, QMT_NO_FIELDS, "local", "To a watcher: forget what you know, all follows again.")               \
	M(qmt_names, peer_up, QMT_NAMES_PEER, "local", "To a watcher: a link to it is in use.")                            \
	M(qmt_names, peer_down, QMT_NAMES_PEER, "local", "To a watcher: there is none any more.")                          \
	M(qmt_names, done, QMT_NO_FIELDS, "reply", "It is so.")                                                            \
	M(qmt_names, entry, QMT_NAMES_ENTRY, "reply", "Answer to lookup.")                                                 \
	M(qmt_names, all, QMT_NAMES_ALL, "reply", "Answer to lookup_all.")                                                 \
	M(qmt_names, listed, QMT_NAMES_LISTED, "reply", "Answer to list.")                                                 \
	M(qmt_names, synced, QMT_NAMES_SYNCED, "reply", "Answer to sync.")

#pragma GCC visibility push(default)
QMT_DECLARE_RECORD(qmt_names_change, QMT_NAMES_CHANGE)
QMT_DECLARE_RECORD(qmt_names_row, QMT_NAMES_ROW)
QMT_DECLARE_RECORD(qmt_names_item, QMT_NAMES_ENTRY)
QMT_DECLARE_PROTOCOL(qmt_names, QMT_NAMES_MESSAGES)
extern const struct qmt_actor_desc qmt_names_desc;
#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
