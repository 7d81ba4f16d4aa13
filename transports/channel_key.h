/* transports/channel_key.h - the CURVE keys of channels.
 *
 * Threads: any.   Blocks: never.
 * Every listener has the same, published key pair: CURVE gives encryption, forward secrecy and proof of the dialer's
 * key; who the listener is, HELLO proves (hello.h). Anybody may compute the secret half: it protects nothing.
 */
#ifndef TRANSPORTS_CHANNEL_KEY_H
#define TRANSPORTS_CHANNEL_KEY_H

#include <stdint.h>

enum { CHANNEL_KEY = 32 };

void channel_key_published(uint8_t ret_public[CHANNEL_KEY], uint8_t ret_secret[CHANNEL_KEY]);
/* A dialer's own pair from 32 random bytes, fresh for each connection. */
void channel_key_make(
	const uint8_t seed[CHANNEL_KEY], uint8_t ret_public[CHANNEL_KEY], uint8_t ret_secret[CHANNEL_KEY]);

#endif
