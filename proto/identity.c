/* proto/identity.c - ed25519 by libsodium; its secret key (seed || public key) is the identity file, byte for byte. */
#include "identity.h"

#include <errno.h>
#include <sodium.h>

_Static_assert(crypto_sign_SECRETKEYBYTES == IDENTITY_FILE_BYTES, "libsodium's secret key is the file");
_Static_assert(crypto_sign_BYTES == IDENTITY_SIGNATURE, "size of a signature");
_Static_assert(crypto_sign_PUBLICKEYBYTES == PEER_ID_KEY, "size of a public key");

int identity_crypto_init(void)
{
	return sodium_init() < 0 ? -EIO : 0; /* 1: it was done before */
}

void identity_generate(struct identity *ret_identity)
{
	/* libsodium's own random: a key must not come from the generator that a seed replaces. */
	crypto_sign_keypair(ret_identity->id.key, ret_identity->secret);
}

int identity_parse(struct qmt_bytes file, struct identity *ret_identity, struct qmt_err *err)
{
	struct identity made;

	if (file.len != IDENTITY_FILE_BYTES)
		return qmt_err_set(err, -EINVAL, "has %u bytes, expected %d", file.len, IDENTITY_FILE_BYTES);
	crypto_sign_seed_keypair(made.id.key, made.secret, file.p);

	bool whole = memcmp(made.secret, file.p, IDENTITY_FILE_BYTES) == 0;

	if (whole)
		*ret_identity = made;
	identity_fini(&made);
	return whole ? 0 : qmt_err_set(err, -EINVAL, "public half does not belong to the seed");
}

void identity_fini(struct identity *identity)
{
	if (identity)
		sodium_memzero(identity, sizeof *identity);
}

void identity_sign(
	const struct identity *identity, const void *data, size_t len, uint8_t ret_signature[IDENTITY_SIGNATURE])
{
	crypto_sign_detached(ret_signature, NULL, data, len, identity->secret);
}

bool identity_verify(
	const struct peer_id *who, const void *data, size_t len, const uint8_t signature[IDENTITY_SIGNATURE])
{
	return crypto_sign_verify_detached(signature, data, len, who->key) == 0;
}
