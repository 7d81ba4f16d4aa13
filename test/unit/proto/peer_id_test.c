/* PeerIds: the vectors' keys have the vectors' texts, both ways; anything that is no ed25519 PeerId is refused with its
 * reason. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "proto/peer_id.h"
#include "test/lib/vectors.h"

static const char vectors[] = "test/vectors/invite.json";

/* key -> text, text -> key, multihash -> key, key -> multihash: for one vector that knows both. */
static void check_vector(const struct json *vector)
{
	uint8_t multihash[PEER_ID_BYTES], bytes[PEER_ID_BYTES];
	char text[PEER_ID_TEXT + 1];
	struct peer_id from_text, from_bytes;
	struct qmt_err err = {0};
	struct qmt_str expected = vectors_text(vector, "peer_id");
	uint32_t len = vectors_bytes(vector, "peer_id_multihash_hex", multihash, sizeof multihash);

	assert_int_equal(len, PEER_ID_BYTES);
	assert_int_equal(peer_id_parse(expected, &from_text, &err), 0);
	assert_int_equal(peer_id_from_bytes((struct qmt_bytes){multihash, len}, &from_bytes, &err), 0);
	assert_int_equal(peer_id_compare(&from_text, &from_bytes), 0);
	peer_id_bytes(&from_text, bytes);
	assert_memory_equal(bytes, multihash, sizeof bytes);
	peer_id_text(&from_bytes, text);
	assert_int_equal(expected.len, PEER_ID_TEXT);
	assert_memory_equal(text, expected.p, PEER_ID_TEXT);
	if (json_get(vector, "public_hex")) {
		uint8_t key[PEER_ID_KEY];

		assert_int_equal(vectors_bytes(vector, "public_hex", key, sizeof key), sizeof key);
		assert_memory_equal(from_text.key, key, sizeof key);
	}
}

/* The identities of the vectors and libp2p's own examples have the PeerIds that libp2p gives them. */
static void test_vectors(void **state)
{
	struct json *file = vectors_load(vectors);
	const struct json *checks = json_get(file, "libp2p_checks"), *identity;
	struct qmt_str name;
	size_t count = 0;

	(void)state;
	for (; count < json_count(checks); count++)
		check_vector(json_at(checks, count));
	for (void *iter = NULL; json_next(json_get(file, "identities"), &iter, &name, &identity); count++)
		check_vector(identity);
	assert_true(count >= 6);
	json_free(file);
}

/* The smallest and the largest key have texts of the same length and beginning. */
static void test_extremes(void **state)
{
	(void)state;
	for (int fill = 0; fill <= 0xff; fill += 0xff) {
		struct peer_id id, back;
		char text[PEER_ID_TEXT + 1];

		memset(&id, fill, sizeof id);
		peer_id_text(&id, text);
		assert_int_equal(strlen(text), PEER_ID_TEXT);
		assert_memory_equal(text, "12D3KooW", 8);
		assert_int_equal(peer_id_parse(qmt_str(text), &back, NULL), 0);
		assert_int_equal(peer_id_compare(&id, &back), 0);
	}
}

/* What is no PeerId of an ed25519 key is refused, and the reason names the fault. */
static void test_refused(void **state)
{
	static const struct {
		const char *text, *reason;
	} bad[] = {
		{"", "empty PeerId"},
		{"12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeS", "a PeerId of 37 bytes, expected 38 (an ed25519 key)"},
		{"12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSBB", "a PeerId of 39 bytes, expected 38 (an ed25519 key)"},
		{"12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfe0B", "a PeerId has no character 0x30 (at 50)"},
		{" 12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB", "a PeerId has no character 0x20 (at 0)"},
		{"QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "a PeerId of 34 bytes, expected 38 (an ed25519 key)"},
		{"12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB",
			"a PeerId of 104 characters, expected 52"},
		{"22D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB", NULL},
	};
	struct peer_id id;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct qmt_err err = {0};

		assert_int_equal(peer_id_parse(qmt_str(bad[i].text), &id, &err), -EINVAL);
		assert_true(err.text[0] != '\0');
		if (bad[i].reason)
			assert_string_equal(err.text, bad[i].reason);
	}

	/* Every byte of the prefix matters: hash code, length, protobuf keys, key type, key length. */
	for (size_t i = 0; i < 6; i++) {
		uint8_t bytes[PEER_ID_BYTES];
		struct qmt_err err = {0};

		memset(&id, 7, sizeof id);
		peer_id_bytes(&id, bytes);
		bytes[i] ^= 2;
		assert_int_equal(peer_id_from_bytes((struct qmt_bytes){bytes, sizeof bytes}, &id, &err), -EINVAL);
		assert_memory_equal(err.text, "not the PeerId of an ed25519 key", 32);
	}
}

/* The order is that of the keys' bytes, unsigned. */
static void test_order(void **state)
{
	struct peer_id a = {{0}}, b = {{0}};

	(void)state;
	assert_int_equal(peer_id_compare(&a, &b), 0);
	b.key[31] = 1;
	assert_true(peer_id_compare(&a, &b) < 0);
	a.key[0] = 0x80;
	b.key[0] = 0x7f;
	assert_true(peer_id_compare(&a, &b) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors), cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_order)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
