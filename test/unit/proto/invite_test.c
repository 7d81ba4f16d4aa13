/* Invites: every vector gives its verdict, what we make is what the original makes, and one text is one token. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <sodium.h>

#include "proto/invite.h"
#include "test/lib/vectors.h"

static struct json *file;
static uint64_t now;

static int setup(void **state)
{
	(void)state;
	file = vectors_load("test/vectors/invite.json");
	now = (uint64_t)json_int(json_get(file, "now"), 0);
	return identity_crypto_init();
}

static int teardown(void **state)
{
	(void)state;
	file = json_free(file);
	return 0;
}

/* Verdict of a text: decode, then verify at the vectors' time. */
static int verdict(struct qmt_str text, struct invite *ret_invite, bool *ret_decoded, struct qmt_err *err)
{
	int rc = invite_decode(text, ret_invite, err);

	*ret_decoded = rc == 0;
	return rc == 0 ? invite_verify(ret_invite, now, err) : rc;
}

static void check_verdict(const struct json *vector)
{
	const struct json *expect = json_get(vector, "expect");
	struct qmt_str kind = json_str(json_get(expect, "kind")), detail = json_str(json_get(expect, "detail"));
	struct qmt_str id = vectors_text(vector, "id");
	struct invite invite = {0};
	struct qmt_err err = {0};
	bool decoded;
	int rc = verdict(vectors_text(vector, "token"), &invite, &decoded, &err);
	const char *name = invite_outcome_name(rc);
	char *part = qmt_str_dup(detail);

	if (decoded != qmt_str_is(vectors_text(expect, "decode"), "ok") || !qmt_str_is(kind, name ? name : "") ||
		!strstr(err.text, part))
		fail_msg("%.*s: %s %s", QMT_STR_ARG(id), name ? name : "ok", err.text);
	free(part);
}

static void test_valid(void **state)
{
	static const char *const lists[] = {"valid", "valid_edge"};
	size_t count = 0, signed_here = 0;

	(void)state;
	for (size_t l = 0; l < 2; l++)
		for (size_t i = 0; i < json_count(json_get(file, lists[l])); i++, count++) {
			const struct json *vector = json_at(json_get(file, lists[l]), i), *key;
			struct invite invite, made;
			struct qmt_err err = {0};
			char id[INVITE_ID_TEXT + 1], inviter[INVITE_INVITER_TEXT], token[INVITE_TOKEN + 1], mesh[MESH_ID];
			uint8_t again[INVITE_ID], key_file[IDENTITY_FILE_BYTES];
			struct qmt_str name = json_str(json_get(vector, "mesh_name"));
			check_verdict(vector);
			assert_int_equal(invite_decode(vectors_text(vector, "url"), &invite, &err), 0);
			invite_id_text(invite.id, id);
			assert_true(qmt_str_is(vectors_text(vector, "invite_id"), id));
			assert_int_equal(invite_id_parse(qmt_str(id), again), 0);
			assert_memory_equal(again, invite.id, INVITE_ID);
			invite_inviter_text(&invite, inviter);
			assert_true(qmt_str_is(vectors_text(vector, "inviter_peer_id"), inviter));
			assert_true(invite.expires_at == (uint64_t)json_int(json_get(vector, "expires_at"), -1));
			assert_true(invite.max_uses == (uint32_t)json_int(json_get(vector, "max_uses"), -1));
			assert_int_equal(invite.can_invite, json_bool(json_get(vector, "can_invite"), false));
			assert_int_equal(invite.client, qmt_str_is(vectors_text(vector, "role"), "client"));
			assert_true(qmt_str_eq(qmt_strn(invite.name, invite.name_len), name));
			assert_true(qmt_str_eq(qmt_strn(mesh, invite_mesh_id(&invite, mesh)), vectors_text(vector, "mesh_id")));
			invite_token(&invite, token);
			assert_true(qmt_str_is(vectors_text(vector, "token"), token));
			/* ed25519 is deterministic: with the signer's key we make the same token */
			char *who = qmt_str_dup(vectors_text(vector, "signer"));
			key = json_get(json_get(file, "identities"), who);
			free(who);
			if (!key)
				continue;
			struct identity signer;
			vectors_bytes(key, "identity_file_hex", key_file, sizeof key_file);
			assert_int_equal(identity_parse((struct qmt_bytes){key_file, sizeof key_file}, &signer, NULL), 0);
			made = invite;
			memset(made.signature, 0, sizeof made.signature);
			memset(made.inviter, 0, sizeof made.inviter);
			invite_sign(&signer, &made);
			assert_memory_equal(&made, &invite, sizeof made);
			signed_here++;
		}
	assert_true(count >= 6 && signed_here > 0);
}

static void test_invalid(void **state)
{
	const struct json *list = json_get(file, "invalid");

	(void)state;
	assert_true(json_count(list) >= 20);
	for (size_t i = 0; i < json_count(list); i++)
		check_verdict(json_at(list, i));
}

static struct identity inviter_a;

/* One of ours. */
static struct invite make(const char *name)
{
	struct invite invite = {.id = {1, 2, 3}, .max_uses = 1, .expires_at = now + 60};

	identity_generate(&inviter_a);
	invite.name_len = (uint8_t)strlen(name);
	memcpy(invite.name, name, strlen(name));
	invite_sign(&inviter_a, &invite);
	return invite;
}

/* Valid up to and in the second of expires_at; an expired one is called that even with a bad signature; 0 is never. */
static void test_expiry(void **state)
{
	struct invite invite = make("m");

	(void)state;
	assert_int_equal(invite_verify(&invite, now + 60, NULL), 0);
	assert_int_equal(invite_verify(&invite, now + 61, NULL), INVITE_E_EXPIRED);
	invite.signature[0] ^= 1;
	assert_int_equal(invite_verify(&invite, now + 61, NULL), INVITE_E_EXPIRED);
	assert_int_equal(invite_verify(&invite, now, NULL), INVITE_E_SIGNATURE);
	invite.expires_at = 0;
	invite_sign(&inviter_a, &invite);
	assert_int_equal(invite_verify(&invite, UINT64_MAX, NULL), 0);
}

/* Undefined flags are refused, also when they were set in a token of somebody else (the original drops them, and the
 * signature then holds), and when the inviter has signed them. */
static void test_undefined_flags(void **state)
{
	struct invite invite = make(""), again;
	char token[INVITE_TOKEN + 1];
	uint8_t bytes[INVITE_BYTES];
	size_t len;
	struct qmt_err err = {0};

	(void)state;
	for (unsigned bit = 4; bit < 256; bit <<= 1) {
		invite.undefined_flags = (uint8_t)bit;
		invite_token(&invite, token);
		assert_int_equal(invite_decode(qmt_str(token), &again, &err), 0);
		assert_int_equal(again.undefined_flags, bit);
		assert_int_equal(invite_verify(&again, now, &err), INVITE_E_SIGNATURE);
		assert_int_equal(sodium_base642bin(bytes, sizeof bytes, token, strlen(token), NULL, &len, NULL,
							 sodium_base64_VARIANT_URLSAFE_NO_PADDING),
			0);
		identity_sign(&inviter_a, bytes, len - IDENTITY_SIGNATURE, again.signature);
		assert_int_equal(invite_verify(&again, now, &err), INVITE_E_SIGNATURE);
	}
}

/* Every text that differs from a token in one character is another one or none: a token has one form. */
static void test_one_form(void **state)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. \n#?%";
	struct invite invite = make("home"), other;
	char token[INVITE_TOKEN + 2], again[INVITE_TOKEN + 1];

	(void)state;
	invite_token(&invite, token);
	size_t len = strlen(token);
	for (size_t at = 0; at < len; at++)
		for (size_t c = 0; c < sizeof letters; c++) { /* NUL too */
			char kept = token[at];
			token[at] = letters[c];
			if (letters[c] != kept && invite_decode(qmt_strn(token, len), &other, NULL) == 0) {
				invite_token(&other, again);
				assert_memory_equal(token, again, len);
			}
			token[at] = kept;
		}
	for (size_t c = 0; c < sizeof letters; c++) {
		token[len] = letters[c];
		assert_int_equal(invite_decode(qmt_strn(token, len + 1), &other, NULL), INVITE_E_TOKEN);
	}
}

/* A URL may say where to dial; the fragment is nothing of the token's, and must be an address of the inviter that can
 * be dialed. */
static void test_split(void **state)
{
	struct invite invite = make("");
	char token[INVITE_TOKEN + 1], text[1024], peer[PEER_ID_TEXT + 1];
	struct multiaddr addr;
	struct qmt_str part;
	struct identity other;
	bool has;
	struct qmt_err err = {0};

	(void)state;
	invite_token(&invite, token);
	assert_int_equal(invite_split(qmt_str(token), &part, &has, &addr, &err), 0);
	assert_true(!has && qmt_str_is(part, token));
	snprintf(text, sizeof text, INVITE_URL_PREFIX "%s#/ip4/10.0.0.1/tcp/9000", token);
	assert_int_equal(invite_split(qmt_str(text), &part, &has, &addr, &err), 0);
	assert_true(has && addr.port == 9000);
	assert_int_equal(invite_decode(part, &invite, &err), 0);
	assert_int_equal(invite_decode(qmt_str(text), &invite, &err), INVITE_E_TOKEN); /* the decoder takes none */
	peer_id_text(&inviter_a.id, peer);
	snprintf(text, sizeof text, INVITE_URL_PREFIX "%s#/ip4/10.0.0.1/tcp/9000/p2p/%s", token, peer);
	assert_int_equal(invite_split(qmt_str(text), &part, &has, &addr, &err), 0);
	assert_true(has && addr.has_peer);
	identity_generate(&other);
	peer_id_text(&other.id, peer);
	snprintf(text, sizeof text, INVITE_URL_PREFIX "%s#/ip4/10.0.0.1/tcp/9000/p2p/%s", token, peer);
	assert_int_equal(invite_split(qmt_str(text), &part, &has, &addr, &err), INVITE_E_TOKEN);
	assert_non_null(strstr(err.text, "another PeerId"));
	static const char *const bad[] = {
		"", "/ip4/0.0.0.0/tcp/9000", "/ip4/10.0.0.1/tcp/0", "x", "/ip4/1.2.3.4/tcp/9#", "/ip4/1.2.3.4/tcp/9\n"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		snprintf(text, sizeof text, INVITE_URL_PREFIX "%s#%s", token, bad[i]);
		assert_int_equal(invite_split(qmt_str(text), &part, &has, &addr, &err), INVITE_E_TOKEN);
		assert_non_null(strstr(err.text, "behind the #"));
		assert_int_equal(err.code, INVITE_E_TOKEN);
	}
	snprintf(text, sizeof text, "%s#/ip4/10.0.0.1/tcp/9000", token); /* no URL: the # is no character of a token */
	assert_int_equal(invite_split(qmt_str(text), &part, &has, &addr, &err), 0);
	assert_false(has);
	assert_int_equal(invite_decode(part, &invite, &err), INVITE_E_TOKEN);
}

/* Longer texts than the limit are refused unread; the longest token is within it. */
static void test_limits(void **state)
{
	char name[INVITE_NAME + 1], text[INVITE_TEXT_MAX + 2];
	struct invite invite, again;
	struct qmt_err err = {0};
	char token[INVITE_TOKEN + 1];

	(void)state;
	memset(name, 'n', INVITE_NAME);
	name[INVITE_NAME] = '\0';
	invite = make(name);
	invite_token(&invite, token);
	assert_int_equal(invite_decode(qmt_str(token), &again, &err), 0);
	assert_memory_equal(&again, &invite, sizeof again);
	memset(text, 'A', sizeof text);
	assert_int_equal(invite_decode(qmt_strn(text, INVITE_TEXT_MAX + 1), &again, &err), INVITE_E_TOKEN);
	assert_non_null(strstr(err.text, "4097 characters"));
	assert_int_equal(invite_decode(qmt_strn(text, INVITE_TEXT_MAX), &again, &err), INVITE_E_TOKEN);
	assert_non_null(strstr(err.text, "version: 0"));
}

/* A uuid has one text; a mesh id begins with a PeerId. */
static void test_ids(void **state)
{
	static const char *const bad[] = {"", "019c1c38-a402-7102-8012-3456789adf0", "019C1c38-a402-7102-8012-3456789adf00",
		"019c1c38-a402-7102-80123456-789adf00", "019c1c38aa402-7102-8012-3456789adf00",
		"019c1c38-a402-7102-8012-3456789adf0-", "019c1c38-a402-7102-8012-3456789adf000"};
	const struct json *ids = json_get(file, "mesh_id");
	uint8_t id[INVITE_ID];
	struct peer_id who;
	char text[MESH_ID];

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(invite_id_parse(qmt_str(bad[i]), id), -EINVAL);
	for (size_t i = 0; i < json_count(ids); i++) {
		struct qmt_str want = vectors_text(json_at(ids, i), "mesh_id");
		struct qmt_str inviter = vectors_text(json_at(ids, i), "inviter");
		uint32_t len = mesh_id_of(inviter, json_str(json_get(json_at(ids, i), "name")), text);
		assert_true(qmt_str_eq(qmt_strn(text, len), want));
		assert_int_equal(mesh_id_inviter(want, &who, NULL), 0);
		assert_int_equal(mesh_id_inviter(inviter, &who, NULL), -EINVAL);
		assert_int_equal(mesh_id_inviter(qmt_strn(want.p, PEER_ID_TEXT + 1), &who, NULL), -EINVAL);
	}
	assert_int_equal(mesh_id_inviter(qmt_str("lan:default"), &who, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_valid), cmocka_unit_test(test_invalid),
		cmocka_unit_test(test_expiry), cmocka_unit_test(test_undefined_flags), cmocka_unit_test(test_one_form),
		cmocka_unit_test(test_split), cmocka_unit_test(test_limits), cmocka_unit_test(test_ids)};

	return cmocka_run_group_tests(tests, setup, teardown);
}
