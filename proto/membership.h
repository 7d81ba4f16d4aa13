/* proto/membership.h - who was admitted to a mesh, signed by its inviter (reference 1.2).
 *
 * Threads: values.   Blocks: never.   Clock: none here; the caller says what time it is (Unix seconds).
 * Format:  signed are 01 | for each of mesh id, PeerId of the member, PeerId of who admitted, invite id, as text:
 *          length u16, bytes | issued_at u64 | expires_at u64 | flags u8 (1 can_invite, 2 role client); numbers
 *          big-endian. On links it travels as these bytes and the 64 of the ed25519 signature; the original's form is
 *          JSON with the signature in hexadecimal.
 * Strict:  bytes and JSON are read exactly as they would be written (JSON in any order and spacing): PeerIds of ed25519
 *          keys in their one form, a lower-case uuid, a role that is "member" or "client", no undefined bits, no key
 *          twice, none that is not known, nothing behind it.
 * Bound:   membership_verify holds it against the mesh and against the key that the other side of the link has proven:
 *          what the original takes from whoever shows it is refused (signed by somebody else than the mesh's inviter,
 *          shown by somebody else than its member, made for another mesh). No chain of inviters exists, so can_invite
 *          lets nobody admit.
 * Limits:  MEMBERSHIP_BYTES; JSON of MEMBERSHIP_JSON_MAX bytes.
 */
#ifndef PROTO_MEMBERSHIP_H
#define PROTO_MEMBERSHIP_H

#include "proto/invite.h"

enum {
	MEMBERSHIP_VERSION = 1,
	MEMBERSHIP_MESH_ID = PEER_ID_TEXT + 1 + INVITE_NAME,
	MEMBERSHIP_SIGNED = 1 + 4 * 2 + MEMBERSHIP_MESH_ID + 2 * PEER_ID_TEXT + INVITE_ID_TEXT + 17,
	MEMBERSHIP_BYTES = MEMBERSHIP_SIGNED + IDENTITY_SIGNATURE,
	MEMBERSHIP_JSON_MAX = 8192
};

enum membership_outcome {
	MEMBERSHIP_E_FORM = 1, /* not a membership */
	MEMBERSHIP_E_EXPIRED,
	MEMBERSHIP_E_SIGNATURE,
	MEMBERSHIP_E_HOST,   /* admitted_by is not whose mesh it is */
	MEMBERSHIP_E_HOLDER, /* another node's */
	MEMBERSHIP_E_MESH    /* another mesh's */
};

struct membership {
	char mesh_id[MESH_ID]; /* no NUL behind it, and maybe some in it; MEMBERSHIP_MESH_ID bytes at most */
	uint16_t mesh_id_len;
	struct peer_id peer, admitted_by;
	uint8_t invite_id[INVITE_ID];
	bool can_invite, client;
	uint64_t issued_at, expires_at; /* Unix seconds; expires_at: the last valid one, 0: never */
	uint8_t signature[IDENTITY_SIGNATURE];
};

/* Sets admitted_by and signature. The mesh id must be the host's (asserted). */
void membership_sign(const struct identity *host, struct membership *membership);
/* What is signed; returns its length. */
uint32_t membership_signed(const struct membership *membership, uint8_t ret_bytes[MEMBERSHIP_SIGNED]);

/* For links and the store: what is signed, and the signature. Returns its length. */
uint32_t membership_encode(const struct membership *membership, uint8_t ret_bytes[MEMBERSHIP_BYTES]);
/* 0; MEMBERSHIP_E_FORM and err. Says nothing about the signature. */
QMT_MUST_CHECK int membership_decode(struct qmt_bytes bytes, struct membership *ret_membership, struct qmt_err *err);

/* The original's JSON, one line. 0 or -ENOMEM. A mesh name that holds NUL goes as \u0000. */
QMT_MUST_CHECK int membership_to_json(const struct membership *membership, struct qmt_buf *out);
/* 0; MEMBERSHIP_E_FORM and err; -ENOMEM. */
QMT_MUST_CHECK int membership_from_json(struct qmt_str json, struct membership *ret_membership, struct qmt_err *err);

/* Does it make `holder`, whose key was proven, a member of `mesh_id` now? 0; an outcome and err. In this order:
 * expired, signature, host, mesh, holder. */
QMT_MUST_CHECK int membership_verify(const struct membership *membership, struct qmt_str mesh_id,
	const struct peer_id *holder, uint64_t now, struct qmt_err *err);

#endif
