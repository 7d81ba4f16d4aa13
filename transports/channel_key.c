/* transports/channel_key.c - see channel_key.h. The published pair comes from a sentence, so that nobody has to wonder
 * where its bytes are from. */
#include "transports/channel_key.h"

#include <sodium.h>
#include <string.h>

_Static_assert(CHANNEL_KEY == crypto_box_PUBLICKEYBYTES && CHANNEL_KEY == crypto_box_SECRETKEYBYTES, "CURVE is X25519");
_Static_assert(CHANNEL_KEY == crypto_box_SEEDBYTES && CHANNEL_KEY == crypto_hash_sha256_BYTES, "a digest is a seed");

void channel_key_make(const uint8_t seed[CHANNEL_KEY], uint8_t ret_public[CHANNEL_KEY], uint8_t ret_secret[CHANNEL_KEY])
{
	(void)crypto_box_seed_keypair(ret_public, ret_secret, seed);
}

void channel_key_published(uint8_t ret_public[CHANNEL_KEY], uint8_t ret_secret[CHANNEL_KEY])
{
	static const char sentence[] = "qmt: the published CURVE key of every listener, version 1";
	uint8_t seed[CHANNEL_KEY];

	(void)crypto_hash_sha256(seed, (const uint8_t *)sentence, strlen(sentence));
	channel_key_make(seed, ret_public, ret_secret);
}
