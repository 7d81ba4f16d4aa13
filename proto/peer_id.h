/* proto/peer_id.h - a node's name: its ed25519 public key in libp2p's text form (reference 1.1).
 *
 * Threads: values.   Blocks: never.
 * Format:  identity multihash 00 24 || protobuf 08 01 12 20 || key[32]; text is base58btc of those 38 bytes, 52
 *          characters, begins 12D3KooW.
 */
#ifndef PROTO_PEER_ID_H
#define PROTO_PEER_ID_H

#include "runtime/base/bytes.h"
#include "runtime/base/err.h"

enum { PEER_ID_KEY = 32, PEER_ID_BYTES = 38, PEER_ID_TEXT = 52 };

struct peer_id {
	uint8_t key[PEER_ID_KEY];
};

void peer_id_text(const struct peer_id *id, char ret_text[PEER_ID_TEXT + 1]);
void peer_id_bytes(const struct peer_id *id, uint8_t ret_bytes[PEER_ID_BYTES]);
/* 0, or -EINVAL and err (what is wrong with it). */
QMT_MUST_CHECK int peer_id_parse(struct qmt_str text, struct peer_id *ret_id, struct qmt_err *err);
QMT_MUST_CHECK int peer_id_from_bytes(struct qmt_bytes bytes, struct peer_id *ret_id, struct qmt_err *err);
/* <0, 0, >0; the order that the one-link rule uses: bytes of the keys. */
int peer_id_compare(const struct peer_id *a, const struct peer_id *b);

#endif
