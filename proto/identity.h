/* proto/identity.h - this node's key pair: 64 bytes seed || public key (reference 1.1); signing and checking.
 *
 * Threads: an identity is const after it was made.   Blocks: never (no I/O here: cmd/ reads and writes the file).
 * Secrets: wiped by identity_fini; never logged.
 */
#ifndef PROTO_IDENTITY_H
#define PROTO_IDENTITY_H

#include "proto/peer_id.h"

enum { IDENTITY_FILE_BYTES = 64, IDENTITY_SIGNATURE = 64 };

struct identity {
	struct peer_id id;
	uint8_t secret[64]; /* as libsodium wants it: seed || public key, which is also the file */
};

/* Call once before anything else of proto/ that uses libsodium; repeatable, any thread. 0 or -EIO. */
QMT_MUST_CHECK int identity_crypto_init(void);
void identity_generate(struct identity *ret_identity);
/* From the bytes of a file. Errors: "has N bytes, expected 64"; "public half does not belong to the seed". */
QMT_MUST_CHECK int identity_parse(struct qmt_bytes file, struct identity *ret_identity, struct qmt_err *err);
void identity_fini(struct identity *identity);
void identity_sign(
	const struct identity *identity, const void *data, size_t len, uint8_t ret_signature[IDENTITY_SIGNATURE]);
bool identity_verify(
	const struct peer_id *who, const void *data, size_t len, const uint8_t signature[IDENTITY_SIGNATURE]);

#endif
