/* test/lib/mesh_probe.h - an actor for tests of links: answers, counts, remembers, passes refs on.
 *
 * Registered as "probe" on each test node (mesh_node.h). Threads: an actor; its messages are all there is to it.
 */
#ifndef TEST_MESH_PROBE_H
#define TEST_MESH_PROBE_H

#include "runtime/actor.h"

#define PROBE_SAY(F, T)                                                                                \
	F(T, U64, n, 1, "Returned.")                                                                       \
	F(T, STR, text, 2, "Returned.")                                                                    \
	F(T, REF, back, 3, "Told an event with n, or, when notice, session.notice with text n; returned.") \
	F(T, U64, delay_ms, 4, "Answer so much later.")                                                    \
	F(T, BOOL, never, 5, "Never answer.")                                                              \
	F(T, U64, pad, 6, "Answer with so many bytes of text instead.")                                    \
	F(T, U64, notice, 7, "Tell so many notices to back.")                                              \
	F(T, BOOL, garble, 9, "Fail, with a kind and a text that are not UTF-8.")                          \
	F(T, BOOL, lie, 8, "Answer with totals instead.")                                                  \
	F(T, STR, origin, 15, "Set by the link.")
#define PROBE_SAID(F, T)            \
	F(T, U64, n, 1, "As asked.")    \
	F(T, STR, text, 2, "As asked.") \
	F(T, REF, back, 3, "As asked.") \
	F(T, STR, origin, 4, "What the link said.")
#define PROBE_NOTE(F, T)                                 \
	F(T, U64, sender, 1, "Numbers below PROBE_SENDERS.") \
	F(T, U64, n, 2, "Counts up from 1 per sender.")      \
	F(T, STR, text, 3, "Any.")
#define PROBE_TOTAL(F, T)                                                                      \
	F(T, U64, notes, 1, "Notes taken.")                                                        \
	F(T, U64, disorder, 2, "Notes that were not one more than the one before of that sender.") \
	F(T, U64, events, 3, "Events taken.")                                                      \
	F(T, U64, last_event, 4, "n of the last one.")                                             \
	F(T, U64, bytes, 5, "Bytes of text in all.")                                               \
	F(T, U64, undelivered, 6, "Tells that came back.")                                         \
	F(T, U64, reason, 7, "enum qmt_fail of the last of those.")                                \
	F(T, U64, downs, 8, "Monitored actors that ended.")
#define PROBE_EVENT(F, T)      \
	F(T, U64, n, 1, "Number.") \
	F(T, STR, text, 2, "Any.")
/* Commands of the test to its own node's probe. */
#define PROBE_ASK_PEER(F, T)                               \
	F(T, STR, peer, 1, "PeerId; empty: use ref.")          \
	F(T, REF, ref, 2, "Whom.")                             \
	F(T, U64, n, 3, "Passed.")                             \
	F(T, STR, text, 4, "Passed.")                          \
	F(T, BOOL, with_self, 5, "back = this probe.")         \
	F(T, REF, back, 6, "Passed, unless with_self.")        \
	F(T, U64, delay_ms, 7, "Passed.")                      \
	F(T, BOOL, never, 8, "Passed.")                        \
	F(T, U64, timeout_ms, 9, "Of the ask.")                \
	F(T, U64, pad, 10, "Passed.")                          \
	F(T, STR, name, 11, "Whom, by name; empty: probe.")    \
	F(T, U32, what, 12, "Which message: enum probe_what.") \
	F(T, U64, notice, 13, "Passed.")
#define PROBE_TELL_PEER(F, T)                                   \
	F(T, STR, peer, 1, "PeerId; empty: use ref and events.")    \
	F(T, REF, ref, 2, "Whom.")                                  \
	F(T, U64, sender, 3, "Passed.")                             \
	F(T, U64, from, 4, "First n.")                              \
	F(T, U64, count, 5, "How many notes, one after the other.") \
	F(T, U64, pad, 6, "Bytes of text in each.")
#define PROBE_TOLD(F, T)                              \
	F(T, U64, taken, 1, "How many the runtime took.") \
	F(T, U64, fail, 2, "Why it stopped.")

#define PROBE_MESSAGES(M)                                                                       \
	M(probe, say, PROBE_SAY, "node_info", "Says it back.", said)                                \
	M(probe, note, PROBE_NOTE, "node_info", "Counted.")                                         \
	M(probe, total, QMT_NO_FIELDS, "node_info", "What was counted.", totals)                    \
	M(probe, event, PROBE_EVENT, "stream", "Counted.")                                          \
	M(probe, secret, QMT_NO_FIELDS, "local", "Never from afar.", said)                          \
	M(probe, owner, QMT_NO_FIELDS, "control", "The owner's.", said)                             \
	M(probe, ask_peer, PROBE_ASK_PEER, "control", "Answered with what the peer answers.", said) \
	M(probe, tell_peer, PROBE_TELL_PEER, "local", "Sends a peer notes.", told)                  \
	M(probe, said, PROBE_SAID, "reply", "Answer.")                                              \
	M(probe, totals, PROBE_TOTAL, "reply", "Answer.")                                           \
	M(probe, told, PROBE_TOLD, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(probe, PROBE_MESSAGES)

/* Another protocol, that the probe does not speak. */
#define STRANGER_MESSAGES(M) M(stranger, hello, QMT_NO_FIELDS, "node_info", "Nobody knows it.", hello)
QMT_DECLARE_PROTOCOL(stranger, STRANGER_MESSAGES)

enum { PROBE_SENDERS = 64 };
enum probe_what {
	PROBE_ASK_SAY,
	PROBE_ASK_SECRET,
	PROBE_ASK_OWNER,
	PROBE_ASK_STRANGER,
	PROBE_ASK_PEERS_LIST,
	PROBE_ASK_PEERS_RESOLVE
};
extern const struct qmt_actor_desc probe_desc;

#endif
