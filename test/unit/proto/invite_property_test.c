/* No token that differs from one that was signed is accepted: 20,000 mutants of decoded tokens, encoded again so that
 * most get as far as the signature check. QMT_MUTANTS sets their number (`make fuzz`: 1,000,000), QMT_SEED the seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <sodium.h>

#include "proto/invite.h"
#include "runtime/base/os.h"

enum { MUTANTS = 20000, ROOM = 1024, TOKENS = 8 };

static struct qmt_os *os;

static uint32_t draw(uint32_t bound)
{
	uint64_t number;

	qmt_os_random(os, &number, sizeof number);
	return (uint32_t)(number % bound);
}

struct wire {
	uint8_t bytes[ROOM];
	size_t len;
};

static void decode(const char *token, struct wire *ret_wire)
{
	assert_int_equal(sodium_base642bin(ret_wire->bytes, ROOM, token, strlen(token), NULL, &ret_wire->len, NULL,
						 sodium_base64_VARIANT_URLSAFE_NO_PADDING),
		0);
}

/* Where the fields are (invite.h). */
enum { AT_ID = 1, AT_KEY = 23, AT_EXPIRES = 55, AT_USES = 63, AT_FLAGS = 67, AT_NAME_LEN = 68, AT_NAME = 69 };

static void flip(struct wire *wire, size_t from, size_t to)
{
	wire->bytes[from + draw((uint32_t)(to - from))] ^= (uint8_t)(1u << draw(8));
}

/* One change. Most keep the form, so that only the signature is left to object. */
static void mutate(struct wire *wire, const struct wire *other)
{
	size_t name = wire->bytes[AT_NAME_LEN], signature = wire->len - IDENTITY_SIGNATURE, at;

	if (AT_NAME + name + IDENTITY_SIGNATURE > wire->len) /* an earlier change made the length a lie */
		name = 0;

	switch (draw(14)) {
	case 0:
		flip(wire, AT_ID, AT_KEY - 6);
		break;
	case 1:
		flip(wire, AT_KEY, AT_EXPIRES);
		break;
	case 2: /* later, or never */
		wire->bytes[AT_EXPIRES + draw(4)] ^= (uint8_t)(1u << draw(8));
		break;
	case 3:
		flip(wire, AT_USES, AT_FLAGS);
		break;
	case 4:
		wire->bytes[AT_FLAGS] ^= (uint8_t)(1u << draw(8));
		break;
	case 5: /* a letter stays one */
		if (name)
			wire->bytes[AT_NAME + draw((uint32_t)name)] ^= (uint8_t)(1u << draw(5));
		else
			flip(wire, signature, wire->len);
		break;
	case 6:
	case 7:
		flip(wire, signature, wire->len);
		break;
	case 8: /* the name longer or shorter, with its length */
		at = AT_NAME + name;
		if (draw(2) && wire->bytes[AT_NAME_LEN] < 255) {
			memmove(wire->bytes + at + 1, wire->bytes + at, wire->len - at);
			wire->bytes[at] = (uint8_t)('a' + draw(26));
			wire->bytes[AT_NAME_LEN]++;
			wire->len++;
		} else if (name) {
			memmove(wire->bytes + at - 1, wire->bytes + at, wire->len - at);
			wire->bytes[AT_NAME_LEN]--;
			wire->len--;
		}
		break;
	case 9: /* another token's signature */
		memcpy(wire->bytes + signature, other->bytes + other->len - IDENTITY_SIGNATURE, IDENTITY_SIGNATURE);
		break;
	case 10: /* another inviter */
		memcpy(wire->bytes + AT_KEY, other->bytes + AT_KEY, PEER_ID_KEY);
		break;
	case 11: /* anything anywhere */
		wire->bytes[draw((uint32_t)wire->len)] = (uint8_t)draw(256);
		break;
	case 12: /* cut */
		wire->len = draw((uint32_t)wire->len);
		break;
	case 13: /* longer */
		for (uint32_t n = 1 + draw(9); n; n--)
			wire->bytes[wire->len++] = (uint8_t)draw(256);
		break;
	}
}

static unsigned long number_of(const char *variable, unsigned long dflt)
{
	const char *text = getenv(variable);

	return text && *text ? strtoul(text, NULL, 10) : dflt;
}

static void make_tokens(struct wire wires[TOKENS], uint64_t now)
{
	for (int i = 0; i < TOKENS; i++) {
		struct identity identity;
		struct invite invite = {.max_uses = draw(3), .expires_at = i % 2 ? now + 1000 : 0, .client = i % 3 == 0};
		char token[INVITE_TOKEN + 1];
		identity_generate(&identity);
		qmt_os_random(os, invite.id, INVITE_ID);
		invite.can_invite = i == 5;
		invite.name_len = (uint8_t)(i == 7 ? 255 : i == 0 ? 0 : draw(30));
		memset(invite.name, 'm', invite.name_len);
		invite_sign(&identity, &invite);
		assert_int_equal(invite_verify(&invite, now, NULL), 0);
		invite_token(&invite, token);
		decode(token, &wires[i]);
	}
}

static void test_no_mutant_is_accepted(void **state)
{
	const uint64_t now = 1780000000;
	unsigned long mutants = number_of("QMT_MUTANTS", MUTANTS), seed = number_of("QMT_SEED", 5), reached = 0, done = 0;
	struct wire wires[TOKENS];

	(void)state;
	os = qmt_os_new(true, seed, 0);
	assert_non_null(os);
	make_tokens(wires, now);
	while (done < mutants) {
		const struct wire *from = &wires[draw(TOKENS)], *other = &wires[draw(TOKENS)];
		struct wire mutant = *from;
		char token[ROOM * 4 / 3 + 8];
		struct invite invite;
		struct peer_id who;
		bool was_signed = false;
		for (uint32_t n = 1 + draw(2); n && mutant.len > AT_NAME + IDENTITY_SIGNATURE; n--)
			mutate(&mutant, other);
		for (int i = 0; i < TOKENS; i++) /* two changes may undo each other, or make another token */
			was_signed |= mutant.len == wires[i].len && memcmp(mutant.bytes, wires[i].bytes, mutant.len) == 0;
		if (was_signed)
			continue;
		done++;
		sodium_bin2base64(token, sizeof token, mutant.bytes, mutant.len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
		if (invite_decode(qmt_str(token), &invite, NULL) != 0)
			continue;
		int rc = invite_verify(&invite, now, NULL);
		if (rc == 0)
			fail_msg("accepted (QMT_SEED=%lu): %s", seed, token);
		reached += rc == INVITE_E_SIGNATURE && invite_inviter(&invite, &who, NULL) == 0 && !invite.undefined_flags;
	}
	print_message("%lu mutants, %lu reached the signature check, none accepted\n", done, reached);
	assert_true(reached * 2 >= done);
	os = qmt_os_free(os);
}

static int setup(void **state)
{
	(void)state;
	return identity_crypto_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_mutant_is_accepted)};

	return cmocka_run_group_tests(tests, setup, NULL);
}
