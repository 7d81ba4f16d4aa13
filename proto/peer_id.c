/* proto/peer_id.c - PeerIds: fixed bytes around the key, so nothing of protobuf or multihash is parsed. */
#include "peer_id.h"

#include <errno.h>

#include "base58.h"

/* identity multihash (code 0) of 36 bytes; protobuf: field 1 (KeyType) = 1 Ed25519, field 2 (Data), 32 bytes. */
static const uint8_t prefix[] = {0x00, 0x24, 0x08, 0x01, 0x12, 0x20};

_Static_assert(sizeof prefix + PEER_ID_KEY == PEER_ID_BYTES, "a PeerId is its prefix and the key");

void peer_id_bytes(const struct peer_id *id, uint8_t ret_bytes[PEER_ID_BYTES])
{
	memcpy(ret_bytes, prefix, sizeof prefix);
	memcpy(ret_bytes + sizeof prefix, id->key, PEER_ID_KEY);
}

void peer_id_text(const struct peer_id *id, char ret_text[PEER_ID_TEXT + 1])
{
	uint8_t bytes[PEER_ID_BYTES];
	char text[BASE58_TEXT + 1];

	peer_id_bytes(id, bytes);
	if (base58_encode((struct qmt_bytes){bytes, sizeof bytes}, text) != 0)
		text[0] = '\0'; /* cannot happen: 38 bytes are within the limit */
	/* 52 characters whatever the key: the prefix fixes the size of the number. */
	memcpy(ret_text, text, PEER_ID_TEXT);
	ret_text[PEER_ID_TEXT] = '\0';
}

int peer_id_from_bytes(struct qmt_bytes bytes, struct peer_id *ret_id, struct qmt_err *err)
{
	if (bytes.len != PEER_ID_BYTES)
		return qmt_err_set(
			err, -EINVAL, "a PeerId of %u bytes, expected %d (an ed25519 key)", bytes.len, PEER_ID_BYTES);
	if (memcmp(bytes.p, prefix, sizeof prefix) != 0)
		return qmt_err_set(err, -EINVAL, "not the PeerId of an ed25519 key (begins %02x %02x %02x %02x %02x %02x)",
			bytes.p[0], bytes.p[1], bytes.p[2], bytes.p[3], bytes.p[4], bytes.p[5]);
	memcpy(ret_id->key, bytes.p + sizeof prefix, PEER_ID_KEY);
	return 0;
}

int peer_id_parse(struct qmt_str text, struct peer_id *ret_id, struct qmt_err *err)
{
	uint8_t bytes[BASE58_BYTES];
	uint32_t len = 0;

	if (text.len == 0)
		return qmt_err_set(err, -EINVAL, "empty PeerId");
	switch (base58_decode(text, bytes, &len)) {
	case 0:
		return peer_id_from_bytes((struct qmt_bytes){bytes, len}, ret_id, err);
	case BASE58_E_CHAR:
		return qmt_err_set(err, -EINVAL, "a PeerId has no character 0x%02x (at %u)", (unsigned char)text.p[len], len);
	default:
		return qmt_err_set(err, -EINVAL, "a PeerId of %u characters, expected %d", text.len, PEER_ID_TEXT);
	}
}

int peer_id_compare(const struct peer_id *a, const struct peer_id *b)
{
	return memcmp(a->key, b->key, PEER_ID_KEY);
}
