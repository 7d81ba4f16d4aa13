/* proto/invite.h - invite tokens, version 3: what an inviter signs and whoever has it may show (reference 1.2).
 *
 * Threads: values.   Blocks: never.   Clock: none here; the caller says what time it is (Unix seconds).
 * Format:  version 3 u8 | invite id (uuid, 16) | inviter (identity multihash of its public key: 38 bytes) | expires_at
 *          u64 | max_uses u32 | flags u8 (1 can_invite, 2 role client) | name length u8 | name, UTF-8 | ed25519
 *          signature (64) over all before it; numbers big-endian. A token is base64url without padding of that; a URL
 *          is qmt://mesh/join/<token>, behind it may stand #<multiaddr>: where to dial, not signed.
 * Strict:  a token is read exactly as it would be written: canonical base64url, nothing before, behind or between, and
 *          writing it again gives the same text. Undefined bits of flags decode and never verify, whoever signed them:
 *          the original drops them, so there anybody may set them in somebody else's token. A name may hold NUL and
 *          control characters: show it made printable, compare it by length.
 * Limits:  INVITE_TEXT_MAX characters are looked at at most; a name has INVITE_NAME bytes.
 * Secret:  whoever has a token may use it: not in logs, not in argv where that can be helped.
 */
#ifndef PROTO_INVITE_H
#define PROTO_INVITE_H

#include "proto/identity.h"
#include "proto/multiaddr.h"

enum {
	INVITE_VERSION = 3,
	INVITE_ID = 16,
	INVITE_ID_TEXT = 36,
	INVITE_NAME = 255,
	INVITE_INVITER = 44, /* bytes of a multihash, at most (libp2p: a digest of 42); of ed25519 keys 38 */
	INVITE_BYTES = 17 + INVITE_INVITER + 14 + INVITE_NAME + IDENTITY_SIGNATURE,
	INVITE_TOKEN = 526, /* characters of those */
	INVITE_URL = 16 + INVITE_TOKEN,
	INVITE_TEXT_MAX = 4096 /* longer texts are refused unread */
};
#define INVITE_URL_PREFIX "qmt://mesh/join/"

enum invite_outcome {
	INVITE_E_TOKEN = 1, /* no token: InvalidToken */
	INVITE_E_SIGNATURE, /* InvalidSignature */
	INVITE_E_EXPIRED    /* Expired */
};

struct invite {
	uint8_t id[INVITE_ID];
	uint8_t inviter[INVITE_INVITER]; /* as in the token: decoding does not look whether there is a key in it */
	uint8_t inviter_len, name_len;   /* name_len 0: none */
	uint8_t undefined_flags;         /* as in the token: 0 in one that verifies */
	bool can_invite, client;         /* client: role client, else member */
	uint32_t max_uses;               /* 0: no bound */
	uint64_t expires_at;             /* Unix seconds, the last one in which it is valid; 0: never */
	char name[INVITE_NAME];
	uint8_t signature[IDENTITY_SIGNATURE];
};

/* Sets inviter and signature; the rest is the caller's. name_len beyond 0 must be UTF-8 (asserted). */
void invite_sign(const struct identity *inviter, struct invite *invite);
/* Text with a closing NUL; of an invite that was signed or decoded. */
void invite_token(const struct invite *invite, char ret_token[INVITE_TOKEN + 1]);

/* A token, or a URL without anything behind the token. 0; INVITE_E_TOKEN and err. Says nothing about the signature. */
QMT_MUST_CHECK int invite_decode(struct qmt_str token_or_url, struct invite *ret_invite, struct qmt_err *err);
/* In the original's order: expired, no key in `inviter`, signature. 0; INVITE_E_EXPIRED, INVITE_E_SIGNATURE and err. */
QMT_MUST_CHECK int invite_verify(const struct invite *invite, uint64_t now, struct qmt_err *err);
/* "InvalidToken", "InvalidSignature", "Expired"; NULL for 0. */
const char *invite_outcome_name(int outcome);

/* Takes <url>#<multiaddr> apart: what invite_decode wants, and where to dial. Without a fragment *ret_has_addr is false
 * and *ret_token the text as it is; only a URL has one. 0; INVITE_E_TOKEN and err: the fragment is no multiaddr that
 * can be dialed, or names another PeerId than the inviter's. */
QMT_MUST_CHECK int invite_split(struct qmt_str text, struct qmt_str *ret_token, bool *ret_has_addr,
	struct multiaddr *ret_addr, struct qmt_err *err);

/* The inviter's key. 0, or INVITE_E_SIGNATURE and err when it is none that this project knows. */
QMT_MUST_CHECK int invite_inviter(const struct invite *invite, struct peer_id *ret_id, struct qmt_err *err);
/* PeerId as text, of whatever kind; NUL-closed. */
enum { INVITE_INVITER_TEXT = 64 };
void invite_inviter_text(const struct invite *invite, char ret_text[INVITE_INVITER_TEXT]);
/* The uuid as text: lower case with hyphens, NUL-closed; and back (0, or -EINVAL: not exactly that). */
void invite_id_text(const uint8_t id[INVITE_ID], char ret_text[INVITE_ID_TEXT + 1]);
QMT_MUST_CHECK int invite_id_parse(struct qmt_str text, uint8_t ret_id[INVITE_ID]);

/* <inviter PeerId>:<name>, or :anon without a name, which is also the scope. A mesh named "anon" is the unnamed one.
 * Returns its length; no NUL, as the name may hold some. */
enum { MESH_ID = INVITE_INVITER_TEXT + 1 + INVITE_NAME };
uint32_t mesh_id_of(struct qmt_str inviter, struct qmt_str name, char ret_text[MESH_ID]);
uint32_t invite_mesh_id(const struct invite *invite, char ret_text[MESH_ID]);
/* Whose mesh: the PeerId in front of the colon. 0; -EINVAL: none such, or no name behind it. */
QMT_MUST_CHECK int mesh_id_inviter(struct qmt_str mesh_id, struct peer_id *ret_id, struct qmt_err *err);

#endif
