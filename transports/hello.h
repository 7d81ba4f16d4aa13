/* transports/hello.h - the HELLO gate: who is at the other end, proven before anything else is said.
 *
 * Threads: values of one owner; no I/O, no clock, no random: nonces and channel keys are handed in.   Blocks: never.
 * Format:  a frame is one byte (the step) and a msgpack map (codec.h, tables below).
 *              dialer                                              listener
 *              1 OFFER   versions, nonce_d                 ->
 *                                                          <-      2 PROOF   PeerId_L, versions, nonce_l, sig_L
 *              3 CLAIM   PeerId_D, names, scopes, sig_D    ->
 *                                                          <-      4 WELCOME names, scopes
 *              9 REFUSAL code and text, from either side, is the last frame.
 *          sig_L = sign("qmt-L" versions channel_key nonce_d nonce_l), sig_D = sign("qmt-D" versions PeerId_L
 *          channel_key nonce_d nonce_l); versions: offered and chosen ones, 5 u32 big endian. channel_key is the
 *          dialer's CURVE key: its own at the dialer, the one that ZAP reported at the listener. A man in the middle
 *          has to dial on with a key of his own, so sig_L names that one. Source: architecture section 3.
 *          scope offered = HMAC-SHA256(key: scope id, "qmt-scope-D" nonce_d nonce_l), answered with "qmt-scope-L":
 *          neither side learns a scope that it does not have.
 * Limits:  texts below; the size of a frame is the caller's check (hello_frame_bytes); time is too (hello_ms).
 * Invariant: after HELLO_DONE `peer` is complete and its signature was checked; before, nothing in it is to be trusted.
 */
#ifndef TRANSPORTS_HELLO_H
#define TRANSPORTS_HELLO_H

#include "proto/identity.h"
#include "runtime/message.h"

enum {
	HELLO_VERSION_MIN = 1,
	HELLO_VERSION_MAX = 1,
	HELLO_NONCE = 32,
	HELLO_KEY = 32, /* of the channel: a CURVE public key */
	HELLO_NAME = 64,
	HELLO_BOOT = 36,
	HELLO_CAPABILITIES = 32,
	HELLO_SCOPES = 16,
};

/* What a version understands beyond HELLO_VERSION: bits of `features`. Append only. */
enum { HELLO_FEATURE_BONDS = 1 /* LINK_BOND, LINK_BOND_OVER */ };

#define HELLO_OFFER(F, T) \
	F(T, U32, min, 1, "Lowest version that the dialer speaks.") \
	F(T, U32, max, 2, "Highest one.") \
	F(T, BYTES, nonce, 3, "32 random bytes.")
#define HELLO_PROOF(F, T) \
	F(T, U32, min, 1, "Lowest version that the listener speaks.") \
	F(T, U32, max, 2, "Highest one.") \
	F(T, BYTES, nonce, 3, "32 random bytes.") \
	F(T, U32, version, 4, "Chosen: the highest that both speak.") \
	F(T, BYTES, peer, 5, "PeerId, 38 bytes.") \
	F(T, BYTES, signature, 6, "sig_L.")
#define HELLO_CLAIM(F, T) \
	F(T, BYTES, peer, 5, "PeerId, 38 bytes.") \
	F(T, BYTES, signature, 6, "sig_D.") \
	F(T, STR, node, 7, "Node name.") \
	F(T, STR, boot, 8, "uuid version 7, made at each start: later starts sort behind.") \
	F(T, U64, attempt, 9, "Counts dials since the start.") \
	F(T, STRS, capabilities, 10, "As configured.") \
	F(T, BYTES, scopes, 11, "32 bytes for each scope offered.") \
	F(T, U64, body_bytes, 12, "Largest message that this side takes.") \
	F(T, U64, features, 13, "What this side understands: bit 0 links between actors.")
#define HELLO_WELCOME(F, T) \
	F(T, STR, node, 7, "Node name.") \
	F(T, STR, boot, 8, "As in claim.") \
	F(T, STRS, capabilities, 10, "As configured.") \
	F(T, BYTES, scopes, 11, "32 bytes for each shared scope, in the order of the offer: its number on the link.") \
	F(T, U64, body_bytes, 12, "Largest message that this side takes.") \
	F(T, U64, features, 13, "As in claim.")
#define HELLO_REFUSAL(F, T) \
	F(T, U32, code, 1, "errno.") \
	F(T, STR, text, 2, "For people.")

QMT_DECLARE_RECORD(hello_offer, HELLO_OFFER)
QMT_DECLARE_RECORD(hello_proof, HELLO_PROOF)
QMT_DECLARE_RECORD(hello_claim, HELLO_CLAIM)
QMT_DECLARE_RECORD(hello_welcome, HELLO_WELCOME)
QMT_DECLARE_RECORD(hello_refusal, HELLO_REFUSAL)

enum hello_step {
	HELLO_STEP_OFFER = 1,
	HELLO_STEP_PROOF,
	HELLO_STEP_CLAIM,
	HELLO_STEP_WELCOME,
	HELLO_STEP_REFUSAL = 9
};

/* What this node says of itself. Borrowed as long as the hello lives. */
struct hello_self {
	const struct identity *identity;
	const char *node_name;
	const char *boot_id;
	uint64_t attempt;                /* dialer only */
	const struct qmt_str *capabilities;
	uint32_t capability_count;
	const char *const *scopes;       /* ids; at most HELLO_SCOPES. With asks: set before hello_accept */
	uint32_t scope_count;
	uint64_t body_bytes;
	uint64_t features;               /* HELLO_FEATURE_* */
	bool asks;                       /* hello_input answers a good proof or claim with HELLO_ASK */
};

/* What the other side proved (id) and says of itself (the rest). Lives as long as the hello. */
struct hello_peer {
	struct peer_id id;
	uint32_t version;
	struct qmt_str node_name, boot_id;
	uint64_t attempt;
	const struct qmt_str *capabilities;
	uint32_t capability_count;
	uint8_t scopes[HELLO_SCOPES];    /* number on the link -> index in self->scopes */
	uint32_t scope_count;            /* at least 1 */
	uint64_t body_bytes;
	uint64_t features;
};

enum hello_state {
	HELLO_IDLE,
	HELLO_WAIT_OFFER,
	HELLO_WAIT_PROOF,
	HELLO_WAIT_CLAIM,
	HELLO_WAIT_VERDICT,
	HELLO_WAIT_WELCOME,
	HELLO_OVER,
	HELLO_REFUSED
};

struct hello {
	uint8_t state; /* enum hello_state */
	const struct hello_self *self;
	bool dials;
	bool any_peer;
	bool is_own; /* dialer: the listener has this node's own key; whether it is this node itself, the claim will tell */
	struct peer_id expected;
	uint8_t channel_key[HELLO_KEY];
	uint8_t nonce_d[HELLO_NONCE], nonce_l[HELLO_NONCE];
	uint32_t versions[5]; /* d_min, d_max, l_min, l_max, chosen */
	struct qmt_bytes offered; /* scopes of the claim; in memory */
	struct hello_peer peer;
	void *memory; /* what peer points into */
};

/* Outcomes of hello_input. */
enum { HELLO_DONE = 0, HELLO_MORE = 1, HELLO_ASK = 2 };

/* nonce: 32 fresh random bytes. expected: the PeerId that must answer; NULL: any. Appends the first frame to *out. 0
 * or -ENOMEM. */
QMT_MUST_CHECK int hello_dial(struct hello *hello, const struct hello_self *self, const uint8_t channel_key[HELLO_KEY],
	const uint8_t nonce[HELLO_NONCE], const struct peer_id *expected, struct qmt_buf *out);
/* channel_key: the dialer's, as the channel itself authenticated it. */
void hello_listen(struct hello *hello, const struct hello_self *self, const uint8_t channel_key[HELLO_KEY],
	const uint8_t nonce[HELLO_NONCE]);
/* One frame from the other side. HELLO_DONE or HELLO_MORE: if out->len grew, send it. HELLO_ASK: `peer` is proven, and
 * waits for hello_accept or hello_deny; until then any frame of it is out of turn. <0: refused, err says why; out
 * may hold a refusal to send before the connection is cut. -EBADMSG malformed or out of turn, -EPROTONOSUPPORT no
 * common version, -EKEYREJECTED a signature or key does not fit, -EACCES another PeerId than expected, -ELOOP another
 * node that has this node's identity, -EALREADY this node itself (both at both ends: boot ids tell them apart),
 * -ENOLINK no common scope, -ECONNREFUSED the other side refused, -ENOMEM. Nothing may follow HELLO_DONE or <0. */
QMT_MUST_CHECK int hello_input(struct hello *hello, struct qmt_bytes frame, struct qmt_buf *out, struct qmt_err *err);
/* After HELLO_ASK: appends what is due, CLAIM or WELCOME. Only now self->scopes is looked at. HELLO_MORE; HELLO_DONE;
 * -ENOLINK (a refusal is in *out) or -ENOMEM and err. */
QMT_MUST_CHECK int hello_accept(struct hello *hello, struct qmt_buf *out, struct qmt_err *err);
/* After HELLO_ASK: appends a refusal with this text, of at most 255 bytes, for the people there. */
void hello_deny(struct hello *hello, struct qmt_buf *out, const char *why);
/* What stands for a scope on this link: HMAC-SHA256(key: scope id, "qmt-scope-" side nonce_d nonce_l). Sides D and L
 * are HELLO's, d and l are for what is offered afterwards (link_scopes.c). */
enum { HELLO_SCOPE_MAC = 32 };
void hello_scope_mac(const struct hello *hello, const char *scope, char side, uint8_t ret_mac[HELLO_SCOPE_MAC]);
void hello_fini(struct hello *hello);

#endif
