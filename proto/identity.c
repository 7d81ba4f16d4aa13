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

int identity_from_input(struct qmt_bytes input, struct identity *ret_identity, struct qmt_err *err)
{
	const char *text = (const char *)input.p;
	size_t len = input.len, got = 0;
	uint8_t file[IDENTITY_FILE_BYTES];
	int rc = -1;

	if (len == IDENTITY_FILE_BYTES)
		return identity_parse(input, ret_identity, err);
	if (len > 0 && text[len - 1] == '\n')
		len--;
	if (len == IDENTITY_HEX)
		rc = sodium_hex2bin(file, sizeof file, text, len, NULL, &got, NULL);
	else if (len == IDENTITY_BASE64)
		rc = sodium_base642bin(file, sizeof file, text, len, NULL, &got, NULL, sodium_base64_VARIANT_ORIGINAL);
	if (rc != 0 || got != sizeof file)
		rc = qmt_err_set(err, -EINVAL,
			"no key: expected are 64 bytes (seed, public key) as they are, as %d hexadecimal digits, or as base64",
			IDENTITY_HEX);
	else
		rc = identity_parse((struct qmt_bytes){file, sizeof file}, ret_identity, err);
	sodium_memzero(file, sizeof file);
	return rc;
}

void identity_hex(const struct identity *identity, char ret_text[IDENTITY_HEX + 1])
{
	sodium_bin2hex(ret_text, IDENTITY_HEX + 1, identity->secret, IDENTITY_FILE_BYTES);
}

void identity_base64(const struct identity *identity, char ret_text[IDENTITY_BASE64 + 1])
{
	sodium_bin2base64(
		ret_text, IDENTITY_BASE64 + 1, identity->secret, IDENTITY_FILE_BYTES, sodium_base64_VARIANT_ORIGINAL);
}

void identity_public_hex(const struct peer_id *id, char ret_text[2 * PEER_ID_KEY + 1])
{
	sodium_bin2hex(ret_text, 2 * PEER_ID_KEY + 1, id->key, PEER_ID_KEY);
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
