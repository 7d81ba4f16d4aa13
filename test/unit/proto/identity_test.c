/* Identities: the vectors' files are read and give the vectors' PeerIds; a bad file is refused; signatures bind key and
 * data. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <sodium.h>

#include "proto/identity.h"
#include "test/lib/vectors.h"

static const char vectors[] = "test/vectors/invite.json";

static void check_file(const struct json *vector)
{
	uint8_t file[IDENTITY_FILE_BYTES], seed[32];
	char text[PEER_ID_TEXT + 1];
	struct identity identity;
	struct qmt_err err = {0};
	struct qmt_str expected = vectors_text(vector, "peer_id");

	assert_int_equal(vectors_bytes(vector, "identity_file_hex", file, sizeof file), sizeof file);
	assert_int_equal(identity_parse((struct qmt_bytes){file, sizeof file}, &identity, &err), 0);
	peer_id_text(&identity.id, text);
	assert_true(qmt_str_eq(qmt_str(text), expected));
	assert_memory_equal(identity.secret, file, sizeof file);
	assert_int_equal(vectors_bytes(vector, "seed_hex", seed, sizeof seed), sizeof seed);
	assert_memory_equal(identity.secret, seed, sizeof seed);
	identity_fini(&identity);
}

/* The identity files of the vectors are valid and belong to the PeerIds that libp2p gives them. */
static void test_vectors(void **state)
{
	struct json *file = vectors_load(vectors);
	const struct json *checks = json_get(file, "libp2p_checks"), *identity;
	struct qmt_str name;
	size_t count = 0;

	(void)state;
	for (size_t i = 0; i < json_count(checks); i++) {
		if (!json_get(json_at(checks, i), "identity_file_hex"))
			continue;
		check_file(json_at(checks, i));
		count++;
	}
	for (void *iter = NULL; json_next(json_get(file, "identities"), &iter, &name, &identity); count++)
		check_file(identity);
	assert_true(count >= 5);
	json_free(file);
}

/* The invalid files of the vectors are refused in the vectors' words, and nothing is written. */
static void test_invalid_files(void **state)
{
	struct json *file = vectors_load(vectors);
	const struct json *bad = json_get(file, "identity_file_invalid");

	(void)state;
	assert_true(json_count(bad) > 0);
	for (size_t i = 0; i < json_count(bad); i++) {
		uint8_t bytes[256];
		uint32_t len = vectors_bytes(json_at(bad, i), "hex", bytes, sizeof bytes);
		struct identity identity, untouched;
		struct qmt_err err = {0};
		char verdict[QMT_ERR_TEXT + 16];

		memset(&identity, 0x5a, sizeof identity);
		memset(&untouched, 0x5a, sizeof untouched);
		assert_int_equal(identity_parse((struct qmt_bytes){bytes, len}, &identity, &err), -EINVAL);
		snprintf(verdict, sizeof verdict, "error: %s", err.text);
		assert_true(qmt_str_is(vectors_text(json_at(bad, i), "verdict"), verdict));
		assert_memory_equal(&identity, &untouched, sizeof identity);
	}
	json_free(file);
}

/* A public half that is not the seed's is refused: such a file would sign with one key under the name of another. */
static void test_wrong_half(void **state)
{
	struct identity a, b;
	struct qmt_err err = {0};
	uint8_t file[IDENTITY_FILE_BYTES];

	(void)state;
	identity_generate(&a);
	identity_generate(&b);
	memcpy(file, a.secret, 32);
	memcpy(file + 32, b.secret + 32, 32);
	assert_int_equal(identity_parse((struct qmt_bytes){file, sizeof file}, &a, &err), -EINVAL);
	assert_string_equal(err.text, "public half does not belong to the seed");
	memcpy(file, b.secret, sizeof file);
	file[63] ^= 1;
	assert_int_equal(identity_parse((struct qmt_bytes){file, sizeof file}, &a, &err), -EINVAL);
}

/* The signatures of the vectors' invites verify under their signers, and ours are the same bytes (ed25519 is
 * deterministic). */
static void test_vector_signatures(void **state)
{
	struct json *file = vectors_load(vectors);
	const struct json *valid = json_get(file, "valid");
	size_t own = 0;

	(void)state;
	for (size_t i = 0; i < json_count(valid); i++) {
		const struct json *vector = json_at(valid, i);
		uint8_t wire[1024], signature[IDENTITY_SIGNATURE], made[IDENTITY_SIGNATURE], key_file[IDENTITY_FILE_BYTES];
		struct peer_id signer;
		uint32_t len = vectors_bytes(vector, "wire_hex", wire, sizeof wire);
		char *who = qmt_str_dup(vectors_text(vector, "signer"));
		const struct json *key = json_get(json_get(file, "identities"), who);

		assert_int_equal(vectors_bytes(vector, "signature_hex", signature, sizeof signature), sizeof signature);
		assert_int_equal(peer_id_parse(vectors_text(vector, "inviter_peer_id"), &signer, NULL), 0);
		assert_true(identity_verify(&signer, wire, len, signature));
		if (key) {
			struct identity identity;

			vectors_bytes(key, "identity_file_hex", key_file, sizeof key_file);
			assert_int_equal(identity_parse((struct qmt_bytes){key_file, sizeof key_file}, &identity, NULL), 0);
			identity_sign(&identity, wire, len, made);
			assert_memory_equal(made, signature, sizeof made);
			identity_fini(&identity);
			own++;
		}
		free(who);
	}
	assert_true(own > 0);
	json_free(file);
}

/* A signature holds for one key, one text and one signature: any changed bit is refused. */
static void test_sign_verify(void **state)
{
	struct identity a, b;
	uint8_t data[] = "what was said", signature[IDENTITY_SIGNATURE];

	(void)state;
	identity_generate(&a);
	identity_generate(&b);
	assert_true(peer_id_compare(&a.id, &b.id) != 0);
	identity_sign(&a, data, sizeof data, signature);
	assert_true(identity_verify(&a.id, data, sizeof data, signature));
	assert_false(identity_verify(&b.id, data, sizeof data, signature));
	assert_false(identity_verify(&a.id, data, sizeof data - 1, signature));
	data[3] ^= 1;
	assert_false(identity_verify(&a.id, data, sizeof data, signature));
	data[3] ^= 1;
	for (size_t bit = 0; bit < IDENTITY_SIGNATURE * 8; bit++) {
		signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(identity_verify(&a.id, data, sizeof data, signature));
		signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	identity_sign(&a, NULL, 0, signature);
	assert_true(identity_verify(&a.id, NULL, 0, signature));
}

/* A key of small order, for which anybody could make signatures, verifies nothing. */
static void test_weak_key(void **state)
{
	struct peer_id weak = {{1}}; /* the neutral element of the curve */
	uint8_t signature[IDENTITY_SIGNATURE] = {1};

	(void)state;
	assert_false(identity_verify(&weak, "x", 1, signature));
}

/* fini leaves nothing of the secret behind, and takes NULL. */
static void test_fini(void **state)
{
	struct identity identity;

	(void)state;
	identity_generate(&identity);
	identity_fini(&identity);
	assert_true(sodium_is_zero((const unsigned char *)&identity, sizeof identity));
	identity_fini(NULL);
}

static int setup(void **state)
{
	(void)state;
	return identity_crypto_init() < 0 || identity_crypto_init() < 0; /* repeatable */
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors), cmocka_unit_test(test_invalid_files),
		cmocka_unit_test(test_wrong_half), cmocka_unit_test(test_vector_signatures), cmocka_unit_test(test_sign_verify),
		cmocka_unit_test(test_weak_key), cmocka_unit_test(test_fini)};

	return cmocka_run_group_tests(tests, setup, NULL);
}
