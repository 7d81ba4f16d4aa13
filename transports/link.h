/* transports/link.h - the link actor: one proven connection to a peer (runtime/port.h), or to a control client.
 *
 * Threads: an actor; what is here is for who spawns it (peers.c, listeners) and for the wires (wire.h).   Blocks:
 *          never.
 * Order:   per sender and target, also when another link takes this one's place (see link.c).
 * Limits:  struct transports_limits.
 */
#ifndef TRANSPORTS_LINK_H
#define TRANSPORTS_LINK_H

#include <stdatomic.h>

#include "transports/budget.h"
#include "transports/transports.h"
#include "transports/wire.h"

/* What all links of a node share. const while any of them lives. */
struct link_node {
	const struct identity *identity;
	char self[PEER_ID_TEXT + 1];
	char boot_id[HELLO_BOOT + 1];
	const char *node_name;
	const struct qmt_str *capabilities;
	uint32_t capability_count;
	const char *const *scopes; /* of control clients; of a mesh "peers" says which (link.admit, link.scopes) */
	uint32_t scope_count;
	struct authority_grants grants;
	struct transports_limits limits;
	uint64_t requests_minute;         /* of one peer; 0: no bound */
	struct budgets *budgets;          /* NULL: no bound */
	atomic_uint_fast64_t *reassembly; /* bytes of unfinished messages on all links; NULL: not counted */
};

/* Of one link; lives until its actor has ended. */
struct link_config {
	const struct link_node *node;
	enum authority_role role;  /* that the socket gives: OWNER of the control socket, NONE of a mesh (link.role) */
	bool dialed;
	bool of_mesh;              /* between nodes: the one-link rule holds (peers.c); false: a control client */
	uint64_t attempt;          /* dialed: counts dials since the start */
	bool any_peer;             /* dialed: no particular PeerId is expected */
	struct peer_id expected;
	const struct wire_ops *ops;
	const void *wire_config;
	const char *transport;     /* "tcp", "ipc", "loop" */
	const char *address;       /* multiaddr, "" when not known */
	bool quiet;                /* accepted: many before were refused, say no more of it */
	uint64_t tag;              /* the spawner's own; returned in link.proven and link.ended */
};

extern const struct qmt_actor_desc link_desc;

/* What a link counts (proto/contract/metrics.def). */
#define LINK_COUNTS(F, T) \
	F(T, U64, messages_in, 1, "Tells, asks, answers.") \
	F(T, U64, messages_out, 2, "Taken for the peer.") \
	F(T, U64, bytes_in, 3, "Of frames, after HELLO.") \
	F(T, U64, bytes_out, 4, "Of frames that the wire took.") \
	F(T, U64, refused, 5, "Messages that were not let in.") \
	F(T, U64, limited, 6, "Requests among them that were too many.")
QMT_DECLARE_RECORD(link_counts, LINK_COUNTS)

/* ---- between links and peers: who is linked, which link is in use ------------------------------------------------ */

/* To "peers". */
#define LINK_CLAIMS(F, T) \
	F(T, REF, link, 1, "Who.") \
	F(T, BYTES, peer, 2, "PeerId, 38 bytes, proven.") \
	F(T, STR, node, 3, "Name that the peer gave.") \
	F(T, STR, address, 4, "Multiaddr.") \
	F(T, STR, transport, 5, "tcp, ipc, loop.") \
	F(T, BOOL, dialed, 6, "This node dialed.")
#define LINK_PROVEN(F, T) \
	F(T, REF, link, 1, "Who.") \
	F(T, U64, tag, 2, "link_config.tag, of a dialed one.") \
	F(T, BOOL, dialed, 3, "This node dialed.") \
	F(T, BYTES, peer, 4, "PeerId, 38 bytes.") \
	F(T, STR, node, 5, "Name that the peer gave.") \
	F(T, STR, boot, 6, "Boot id of the dialer.") \
	F(T, STR, peer_boot, 12, "Boot id of the peer.") \
	F(T, U64, attempt, 7, "Attempt of the dialer.") \
	F(T, STRS, capabilities, 8, "As the peer says.") \
	F(T, STR, address, 9, "Multiaddr.") \
	F(T, STR, transport, 10, "tcp, ipc, loop.") \
	F(T, STRS, scopes, 11, "Shared ones, by number; at least one.")
#define LINK_SHARED(F, T) \
	F(T, REF, link, 1, "Who.") \
	F(T, STR, scope, 2, "Shared from now on.")
#define LINK_CHOSEN(F, T) \
	F(T, REF, link, 1, "The peer says that this one is to be used.") \
	F(T, U64, sequence, 2, "Counts what the peer chose since its start.")
#define LINK_TAKEN(F, T) F(T, REF, link, 1, "Who is in use now.")
#define LINK_STATE(F, T) \
	F(T, REF, link, 1, "Who.") \
	F(T, BOOL, suspect, 2, "Silent for suspect_ms.") \
	F(T, F64, rtt_ms, 3, "Last ping.")
#define LINK_ENDED(F, T) \
	F(T, REF, link, 1, "Who.") \
	F(T, U64, tag, 2, "link_config.tag, of a dialed one.") \
	F(T, BOOL, dialed, 3, "This node dialed.") \
	F(T, STR, why, 4, "For people.") \
	F(T, I64, code, 5, "-errno; -EACCES: another PeerId than expected.") \
	F(T, BOOL, was_proven, 6, "HELLO had ended.") \
	F(T, BOOL, rejected, 7, "An accepted one that did not end HELLO, through somebody's fault.") \
	F(T, STR, transport, 8, "Of a rejected one.") \
	F(T, STR, from, 9, "Of a rejected one: its address.") \
	F(T, REC(link_counts), counts, 10, "All that it counted.") \
	F(T, BYTES, peer, 11, "PeerId of a proven one: that it is down may be noticed before this is read.") \
	F(T, STR, node, 12, "Name that the peer gave.")
/* To a link. */
#define LINK_DENY(F, T) F(T, STR, why, 1, "For people, at both ends.")
#define LINK_RIGHT(F, T) \
	F(T, STR, scope, 1, "One that this node offers to this peer.") \
	F(T, U32, role, 2, "enum authority_role: what the peer may do here in it.") \
	F(T, U32, granted, 3, "What the peer is known to let this node do.")
QMT_DECLARE_RECORD(link_right, LINK_RIGHT)
#define LINK_SCOPES_FIELDS(F, T) \
	F(T, LIST(link_right), rights, 1, "All that this node has, for this peer.") \
	F(T, BOOL, named, 2, "This node's owner has named the peer.")
#define LINK_TAKE(F, T) \
	F(T, REF, from, 1, "The link that was in use until now; unset: none.") \
	F(T, U64, sequence, 2, "Of this node's choices, when it decides.") \
	F(T, BOOL, late, 3, "Chosen, but a later choice came first: only deliver what is in flight and end.")
#define LINK_RETIRE(F, T) F(T, REF, to, 1, "The link that takes over; told when all that went out here has arrived.")
#define LINK_END(F, T) F(T, STR, why, 1, "For people, at both ends.")

#define LINK_MESSAGES(M) \
	M(link, claims, LINK_CLAIMS, "local", \
		"Who is there is proven, and nothing else was said yet; answered by role and admit, or deny.") \
	M(link, proven, LINK_PROVEN, "local", "HELLO has ended; answered by take or end, when it is time.") \
	M(link, chosen, LINK_CHOSEN, "local", "The deciding side uses this link; answered by take or end.") \
	M(link, taken, LINK_TAKEN, "local", "Answer to take.") \
	M(link, changed, LINK_STATE, "local", "Suspect or not, round trip.") \
	M(link, ended, LINK_ENDED, "local", "The link is over.") \
	M(link, shared, LINK_SHARED, "local", "A scope that came after HELLO is shared.") \
	M(link, admit, LINK_SCOPES_FIELDS, "local", "HELLO may end well.") \
	M(link, scopes, LINK_SCOPES_FIELDS, "local", "Scopes of this node, or what the peer may do there, changed.") \
	M(link, deny, LINK_DENY, "local", "HELLO ends with a refusal.") \
	M(link, take, LINK_TAKE, "local", "Be the link in use.") \
	M(link, retire, LINK_RETIRE, "local", "Another link is in use: deliver what is in flight and end.") \
	M(link, retired, QMT_NO_FIELDS, "local", "To the one that took over: go on.") \
	M(link, end, LINK_END, "local", "Cut.")
QMT_DECLARE_PROTOCOL(link, LINK_MESSAGES)

#endif
