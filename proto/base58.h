/* proto/base58.h - bytes as text in Bitcoin's alphabet (no 0, O, I, l), as libp2p writes PeerIds: no prefix, no
 * checksum.
 *
 * Threads: none kept.   Blocks: never.
 * Format:  the bytes as one big-endian number in base 58; each leading zero byte is a leading '1'.
 * Limits:  BASE58_BYTES in, BASE58_TEXT characters out: the work grows with the square, and nothing here is longer.
 */
#ifndef PROTO_BASE58_H
#define PROTO_BASE58_H

#include "runtime/base/bytes.h"

enum { BASE58_BYTES = 64, BASE58_TEXT = 88 }; /* 64 * log(256) / log(58) = 87.4 */
enum { BASE58_E_CHAR = 1, BASE58_E_LONG };

/* Writes text with a closing NUL. 0; BASE58_E_LONG: more than BASE58_BYTES. */
QMT_MUST_CHECK int base58_encode(struct qmt_bytes bytes, char ret_text[BASE58_TEXT + 1]);
/* 0; BASE58_E_CHAR: *ret_len is the index of the character that is not in the alphabet; BASE58_E_LONG. */
QMT_MUST_CHECK int base58_decode(struct qmt_str text, uint8_t ret_bytes[BASE58_BYTES], uint32_t *ret_len);

#endif
