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
/* The same for what a person brings from elsewhere: the 64 bytes as they are, as hexadecimal (128 digits), or as base64
 * (RFC 4648, padded, 88 characters); behind a text one newline. IDENTITY_INPUT bytes and more are none of these. */
enum { IDENTITY_INPUT = 130, IDENTITY_HEX = 128 };
QMT_MUST_CHECK int identity_from_input(struct qmt_bytes input, struct identity *ret_identity, struct qmt_err *err);
/* The file as hexadecimal: a secret; wipe it. */
void identity_hex(const struct identity *identity, char ret_text[IDENTITY_HEX + 1]);
enum { IDENTITY_BASE64 = 88 };
void identity_base64(const struct identity *identity, char ret_text[IDENTITY_BASE64 + 1]);
/* A PeerId's key as hexadecimal. */
void identity_public_hex(const struct peer_id *id, char ret_text[2 * PEER_ID_KEY + 1]);
void identity_fini(struct identity *identity);
void identity_sign(
	const struct identity *identity, const void *data, size_t len, uint8_t ret_signature[IDENTITY_SIGNATURE]);
bool identity_verify(
	const struct peer_id *who, const void *data, size_t len, const uint8_t signature[IDENTITY_SIGNATURE]);

#endif
