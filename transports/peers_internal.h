/* transports/peers_internal.h - the state of the actor "peers"; for peers*.c only.
 *
 * Threads: all of it belongs to the actor's turn.
 */
#ifndef TRANSPORTS_PEERS_INTERNAL_H
#define TRANSPORTS_PEERS_INTERNAL_H

#include "proto/contract/contract.h"
#include "transports/loop.h"
#include "transports/peers.h"

struct remote;
struct target;

enum known_state { KNOWN_CANDIDATE, KNOWN_IN_USE, KNOWN_OLD };

/* A proven link. */
struct known_link {
	struct known_link *next;
	struct qmt_ref ref;
	struct remote *remote;
	struct target *target; /* that dialed it; NULL: accepted */
	enum known_state state;
	bool dialed;
	bool pinning;    /* waits for the store to note its PeerId */
	uint64_t chosen; /* by the deciding side, its sequence; 0: not yet */
	char boot[HELLO_BOOT + 1], peer_boot[HELLO_BOOT + 1];
	uint64_t attempt;
	/* what list shows */
	char node[HELLO_NAME + 1], transport[8];
	char *shared[HELLO_SCOPES]; /* scopes */
	uint32_t shared_count;
	char *address;
	char *capabilities; /* texts, each closed by NUL */
	uint32_t capability_count;
	double rtt_ms;
	bool suspect;
	uint64_t since_ms;
};

/* A PeerId that has a link. */
struct remote {
	struct remote *next;
	struct peer_id id;
	char text[PEER_ID_TEXT + 1];
	struct known_link *in_use;
	struct qmt_timer patience; /* a candidate waits for our own dial */
	bool patience_over;
	bool up;                   /* a link has registered the name: messages go through; watchers were told */
	bool taking;               /* in_use was told so and has not answered yet: one after the other */
	struct known_link *before; /* while taking: who was in use, and is again if the new one ends right away */
	struct verdict {
		char *scope;
		uint8_t role, granted; /* enum authority_role */
	} verdicts[HELLO_SCOPES]; /* of the actor "admission", about meshes */
	uint32_t verdict_count;
};

enum target_state {
	TARGET_IDLE,
	TARGET_PIN,
	TARGET_RESOLVE,
	TARGET_DIALING,
	TARGET_WAITING,
	TARGET_CONNECTED,
	TARGET_BLOCKED
};

/* A configured peer. */
struct target {
	const struct transports_peer *config;
	enum target_state state;
	bool has_expected; /* from /p2p/ or the pin */
	bool pin_read;     /* the store was asked */
	bool refused;      /* the last dial met another PeerId */
	bool forgotten;    /* while connected: whoever answers next is the one */
	struct peer_id expected;
	uint32_t failures;
	struct qmt_timer timer;
	struct qmt_ref pinning; /* the link whose PeerId the store is noting */
	char last_error[400], logged[300];
	/* of a member of a mesh (peers_scopes.c): not configured, so it names nobody */
	struct target *next;
	bool gone; /* nobody wants it dialed any more; stays until "peers" ends, as dials point to it */
	struct transports_peer own;
	struct multiaddr *addrs;
	uint32_t addr_count, addr_at;
	char name[PEER_ID_TEXT + 1], *scope;
};

/* A dialing link: what its actor borrows lives until it has ended. */
struct dial {
	struct dial *next;
	struct target *target;
	struct qmt_ref link;
	uint64_t tag;
	bool proven; /* from then on it is a known_link */
	bool told, gone; /* it has said how it ended; its actor is no more */
	struct link_config link_config;
	struct zmq_dialer_config zmq;
	struct loop_dial_config loop;
	char address[MULTIADDR_TEXT];
};

struct watcher {
	struct watcher *next;
	struct qmt_ref ref;
};

/* What the owner said of a peer (peers_policy.c). */
struct policy {
	struct policy *next;
	struct peer_id id;
	bool blocked; /* false: allowed */
	char text[PEER_ID_TEXT + 1], name[HELLO_NAME + 1];
	uint64_t since_ms;
};

/* An accepted connection whose HELLO waits until the policies are known. */
struct claim {
	struct claim *next;
	struct qmt_ref link;
	struct peer_id id;
	char node[HELLO_NAME + 1], from[MULTIADDR_TEXT];
	bool dialed;
};

/* A peer that was refused, in the audit (peers_audit.c). */
struct audit_refused {
	bool used;
	bool limited; /* something, by a limit; else a link */
	struct peer_id id;
	char why[400];
	uint64_t count; /* not told to the store yet */
	uint64_t noted_ms;
};
enum { AUDIT_REFUSED = 32 };

/* Another node with this identity (peers_twin.c). */
struct peers_twin {
	uint64_t count, seen_wall_ms, said_ms;
	char address[MULTIADDR_TEXT];
};

struct peers_waiter; /* peers_await.c */

/* A kind of rejected connection that was logged (peers_rejects.c). */
struct peers_reject {
	uint64_t kind, said_ms, held_back; /* said_ms 0: free */
};
enum { PEERS_REJECTS = 32 };

struct peers {
	const struct peers_config *config;
	const struct link_node *node;
	const struct transports_limits *limits;
	struct loop_port_config loop_port;
	struct known_link *links;
	struct remote *remotes;
	struct target *targets; /* config->peer_count of them */
	struct target *found;   /* members of meshes */
	uint32_t found_count;
	char *scopes[HELLO_SCOPES]; /* of this node */
	uint32_t scope_count;
	struct qmt_timer scopes_timer;
	struct dial *dials;
	struct watcher *watchers;
	uint32_t watcher_count;
	struct peers_waiter *waiters; /* oldest first */
	uint32_t waiter_count;
	struct peers_reject rejects[PEERS_REJECTS];
	struct peers_twin twin;
	uint64_t attempts, tags, choices;
	struct {
		uint64_t dials_failed, hellos_refused, links_made, links_replaced, links_lost;
	} counts;
	struct policy *policies;
	bool policies_known;
	bool block_damaged; /* a block whose PeerId cannot be read: only named peers are let in */
	bool policies_asked, policies_stale; /* the store was asked for them; something was said since: the answer is old */
	struct qmt_timer policies_timer;
	struct claim *claims; /* while the policies are not known; one ends with its link */
	uint32_t claim_count;
	struct audit_refused refused[AUDIT_REFUSED], refused_others, limited_others; /* others: all not noted by name */
	struct qmt_timer audit_timer;
	uint64_t audit_minute_ms;
	uint32_t audit_rows; /* in that minute */
	struct peers_tally *tallies; /* peers_metrics.c; the link that ended last is first */
};

/* peers.c */
struct remote *peers_remote(struct peers *peers, const struct peer_id *id);                /* NULL: no link to it */
void peers_reconsider(struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id); /* a dial to it is over */

void peers_end_link(struct qmt_ctx *ctx, const struct known_link *link, const char *why);

/* peers_scopes.c */
int peers_scopes_start(struct qmt_ctx *ctx, struct peers *peers); /* 0 or -ENOMEM */
void peers_scopes_stop(struct peers *peers);
/* What is offered to a peer, and what it may do there; without the LAN's scope for whom that is not open. Borrowed from
 * the state. Returns how many. */
uint32_t peers_rights(
	const struct peers *peers, const struct peer_id *id, bool lan, struct link_right ret_rights[HELLO_SCOPES]);
bool peers_lan_is_open(const struct peers *peers, const struct peer_id *id, bool dialed);
/* Is it a configured peer's link, dialed by this node? */
bool peers_is_dialed(const struct peers *peers, struct qmt_ref link, const struct peer_id *id);
/* Whether it shares a scope that this node has, and offers to this peer; else why not, for both ends. */
bool peers_link_may_stay(const struct peers *peers, const struct known_link *link, char ret_why[256]);
bool link_keep_scopes(struct known_link *link, const struct qmt_str *scopes, uint32_t count);
void link_free_scopes(struct known_link *link);
void remote_free_verdicts(struct remote *remote);
/* What the peer may do in a scope that a link of it shares, and this node there. */
struct verdict peers_verdict(const struct peers *peers, const struct known_link *link, const char *scope);
/* The scope that messages to it go in, and the most that it may do here, in whichever scope. */
const char *peers_scope_out(const struct peers *peers, const struct known_link *link, uint8_t *ret_role);
void peers_tell_shared(struct qmt_ctx *ctx, struct peers *peers, const struct known_link *link);
void peers_on_link_shared(struct qmt_ctx *ctx, void *state, const void *body);
void peers_on_scopes(struct qmt_ctx *ctx, void *state, const void *body);
void peers_on_role(struct qmt_ctx *ctx, void *state, const void *body);
void peers_on_dial(struct qmt_ctx *ctx, void *state, const void *body);
void peers_on_undial(struct qmt_ctx *ctx, void *state, const void *body);

/* peers_policy.c */
/* The first time dials begin then, and claims are answered; later every link is judged anew. */
void policies_load(struct qmt_ctx *ctx, struct peers *peers);
void policies_stop(struct peers *peers);
const struct policy *policy_of(const struct peers *peers, const struct peer_id *id);
const struct policy *policy_called(const struct peers *peers, struct qmt_str name);
bool peer_is_blocked(const struct peers *peers, const struct peer_id *id);
bool peer_is_named(const struct peers *peers, const struct peer_id *id); /* configured or allowed */
/* Whether a link to this peer may be: false and why, for both ends. */
bool peer_may_link(const struct peers *peers, const struct peer_id *id, bool dialed, char ret_why[256]);
/* What the link's peer may do, told to the link. */
void peers_tell_role(struct qmt_ctx *ctx, const struct peers *peers, const struct known_link *link);
/* Its role anew, or its end. True: it ends. */
bool peers_judge_link(struct qmt_ctx *ctx, struct peers *peers, const struct known_link *link);
/* Somebody became named, or is so no more: its links get their role anew, or end. Returns how many ended. */
uint32_t peers_judge_again(struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id);
struct policy *policy_need(struct peers *peers, const struct peer_id *id); /* NULL: out of memory */
void peers_on_claim(struct qmt_ctx *ctx, void *state, const void *body);
void peers_claim_ended(struct qmt_ctx *ctx, struct peers *peers, struct qmt_ref link);

/* peers_words.c */
void peers_on_allow(struct qmt_ctx *ctx, void *state, const void *body);
void peers_on_block(struct qmt_ctx *ctx, void *state, const void *body);
void peers_on_forget(struct qmt_ctx *ctx, void *state, const void *body);

/* peers_who.c */
struct peer_meant {
	bool is_known; /* false: configured, but never reached yet */
	struct peer_id id;
	struct target *target; /* of that identity; NULL: not configured */
};
/* Configured name, else name given by allow, else PeerId; never what a peer calls itself. False: none of these. */
bool peers_meant(const struct peers *peers, struct qmt_str who, struct peer_meant *ret_meant);
struct target *peers_target_of(const struct peers *peers, const struct peer_id *id);
struct target *peers_target_called(const struct peers *peers, struct qmt_str name);

/* peers_audit.c */
void peers_audit_refused(struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id, const char *name,
	const char *why, const char *from);
void peers_on_limited(struct qmt_ctx *ctx, void *state, const void *body);

/* peers_dial.c */
void ask_store(struct qmt_ctx *ctx, const struct qmt_type *type, const void *body, qmt_continuation *then, void *arg);
void target_go(struct qmt_ctx *ctx, struct peers *peers, struct target *target); /* next step towards a link, now */
void target_later(
	struct qmt_ctx *ctx, struct peers *peers, struct target *target, const char *why); /* again after a while */
void target_connected(struct qmt_ctx *ctx, struct target *target);
void targets_of(struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id, bool connected);
bool target_is_dialing(const struct peers *peers, const struct peer_id *id);
void dial_ended(struct qmt_ctx *ctx, struct peers *peers, const struct link_ended *msg);
bool dial_child_ended(struct qmt_ctx *ctx, struct peers *peers, struct qmt_ref child); /* true: it was a dial */
void target_pin(struct qmt_ctx *ctx, struct peers *peers, struct known_link *link);    /* then peers_pinned */
void peers_pinned(struct qmt_ctx *ctx, struct peers *peers, struct qmt_ref link, const char *failure);
/* Drops the pin of that name; was_policy: something else was forgotten already, so that there is none is no failure. */
void target_forget(
	struct qmt_ctx *ctx, struct peers *peers, struct qmt_token token, struct qmt_str name, bool was_policy);
void target_may_go(struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id); /* may be dialed again */
/* Ends dials that are under way to a peer that was just blocked. */
void dials_end(struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id, const char *why);
/* All: configured ones, then members of meshes. */
struct target *target_first(const struct peers *peers);
struct target *target_next(const struct peers *peers, const struct target *target);
void targets_go(struct qmt_ctx *ctx, struct peers *peers); /* now that it may be dialed */
void targets_say(struct peers *peers, const char *why); /* why none is dialed yet */

/* peers_list.c */
void peers_on_list(struct qmt_ctx *ctx, void *state, const void *body);
void peers_on_resolve(struct qmt_ctx *ctx, void *state, const void *body);
/* Answers with the connected peer of that name, if there is exactly one. */
bool peers_reply_connected(struct qmt_ctx *ctx, struct peers *peers, struct qmt_token token, struct qmt_str name);
/* Fills *ret_info with texts borrowed from the state; strs: room for the capabilities. */
void peers_info_of_link(
	const struct peers *peers, const struct known_link *link, struct qmt_str *strs, struct peers_info *ret_info);

/* peers_rejects.c */
void peers_rejected(struct qmt_ctx *ctx, struct peers *peers, struct qmt_str transport, struct qmt_str from,
	struct qmt_str why, bool by_policy);

/* peers_twin.c */
/* True: this end of a link was about this node's own identity, and all is said. */
bool peers_twin(struct qmt_ctx *ctx, struct peers *peers, const struct link_ended *msg);

/* peers_metrics.c */
void peers_tally(struct peers *peers, const struct link_ended *msg); /* keeps what it had counted */
void peers_metrics_stop(struct peers *peers);
extern qmt_handler *const peers_metrics_handlers[metrics_message_count];

/* peers_await.c */
void peers_on_await(struct qmt_ctx *ctx, void *state, const void *body);
void peers_awaited(struct qmt_ctx *ctx, struct peers *peers); /* a peer was connected: answers those who wait for it */
void peers_await_stop(struct qmt_ctx *ctx, struct peers *peers);

#endif
