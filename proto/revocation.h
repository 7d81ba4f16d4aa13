/* proto/revocation.h - a member, or all who came by an invite, are out: signed by the mesh's inviter.
 *
 * Threads: values.   Blocks: never.   Clock: none.
 * Format:  "qmt-revoke" | kind u8 (1 peer, 2 invite) | mesh id: length u16, bytes | subject: length u16, text |
 *          at u64 | ed25519 signature (64) over all before it; numbers big-endian.
 * Strict:  read exactly as it would be written: a PeerId in its one form, a lower-case uuid, nothing behind it.
 * Meaning: it holds for ever and over all memberships of its subject, whenever they were issued; `at` is for people. So
 *          replaying one does no harm, and the order in which they arrive does not matter.
 * Trust:   revocation_verify checks the signature against the key that the mesh id itself names.
 */
#ifndef PROTO_REVOCATION_H
#define PROTO_REVOCATION_H

#include "proto/membership.h"

enum { REVOCATION_SUBJECT = PEER_ID_TEXT };
enum { REVOCATION_BYTES = 10 + 1 + 2 + MEMBERSHIP_MESH_ID + 2 + REVOCATION_SUBJECT + 8 + IDENTITY_SIGNATURE };

struct revocation {
	char mesh_id[MEMBERSHIP_MESH_ID + 1]; /* NUL behind it */
	uint16_t mesh_id_len;
	bool of_invite;                       /* else of a peer */
	char subject[REVOCATION_SUBJECT + 1]; /* PeerId or id of an invite, as text, NUL behind it */
	uint64_t at;                          /* Unix seconds */
	uint8_t signature[IDENTITY_SIGNATURE];
};

/* Sets the signature. The mesh id must be the host's (asserted). */
void revocation_sign(const struct identity *host, struct revocation *revocation);
uint32_t revocation_encode(const struct revocation *revocation, uint8_t ret_bytes[REVOCATION_BYTES]);
/* 0; -EBADMSG and err. Says nothing about the signature. */
QMT_MUST_CHECK int revocation_decode(struct qmt_bytes bytes, struct revocation *ret_revocation, struct qmt_err *err);
/* Was it signed by the inviter of the mesh that it names? */
bool revocation_verify(const struct revocation *revocation);
/* Does it end this membership? The mesh must be the same. */
bool revocation_covers(const struct revocation *revocation, const struct membership *membership);

#endif
