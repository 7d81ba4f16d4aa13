/* Memberships: the original's bytes and JSON are read and written; what the original takes from whoever shows it is
 * refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "proto/membership.h"
#include "test/lib/vectors.h"

static struct json *file;
static uint64_t now;

static struct qmt_str text_of(const struct qmt_buf *buf)
{
	return qmt_buf_view(buf);
}

/* A vector's token as its JSON text; heap. */
static struct qmt_buf json_of(const struct json *value)
{
	struct qmt_buf text = {0};

	assert_int_equal(json_write(value, &text), 0);
	return text;
}

static struct identity identity_of(const char *name)
{
	struct identity identity;
	uint8_t bytes[IDENTITY_FILE_BYTES];

	vectors_bytes(json_get(json_get(file, "identities"), name), "identity_file_hex", bytes, sizeof bytes);
	assert_int_equal(identity_parse((struct qmt_bytes){bytes, sizeof bytes}, &identity, NULL), 0);
	return identity;
}

/* Bytes and JSON of the vectors, there and back; the verdict of those that hold, and of the expired one. Those that the
 * original accepts all the same ("mt-4", "mt-6" of the whole file) are not accepted. */
static void test_vectors(void **state)
{
	const struct json *list = json_get(file, "membership");

	(void)state;
	assert_true(json_count(list) >= 3);
	for (size_t i = 0; i < json_count(list); i++) {
		const struct json *vector = json_at(list, i), *token = json_get(vector, "token");
		struct qmt_str id = vectors_text(vector, "id"), expect = vectors_text(vector, "expect");
		bool unsafe = qmt_str_is(id, "mt-4") || qmt_str_is(id, "mt-6");
		struct membership m, again;
		struct qmt_err err = {0};
		struct qmt_buf text = json_of(token), second = {0};
		uint8_t want[MEMBERSHIP_BYTES], bytes[MEMBERSHIP_BYTES];
		uint32_t len = vectors_bytes(vector, "signable_hex", want, sizeof want);
		int rc = membership_from_json(text_of(&text), &m, &err);
		if (rc == 0)
			rc = membership_verify(&m, vectors_text(token, "mesh_id"), &m.peer, now, &err);
		if (unsafe) {
			assert_true(rc > 0);
			qmt_buf_free(&text);
			continue;
		}
		if (qmt_str_is(expect, "ok"))
			assert_int_equal(rc, 0);
		else if (qmt_str_is(expect, "Expired"))
			assert_int_equal(rc, MEMBERSHIP_E_EXPIRED);
		else
			assert_true(rc > 0);
		if (rc != MEMBERSHIP_E_FORM) {
			assert_int_equal(membership_signed(&m, bytes), len);
			assert_memory_equal(bytes, want, len);
			assert_int_equal(membership_to_json(&m, &second), 0);
			assert_int_equal(membership_from_json(text_of(&second), &again, &err), 0);
			assert_memory_equal(&again, &m, sizeof m);
			len = membership_encode(&m, bytes);
			assert_int_equal(membership_decode((struct qmt_bytes){bytes, len}, &again, &err), 0);
			assert_memory_equal(&again, &m, sizeof m);
		}
		qmt_buf_free(&text);
		qmt_buf_free(&second);
	}
}

/* B, admitted to A's mesh "home". */
static struct membership make(const struct identity *host, const struct identity *peer)
{
	struct membership m = {.peer = peer->id, .issued_at = now, .expires_at = now + 100};
	char who[PEER_ID_TEXT + 1];

	peer_id_text(&host->id, who);
	m.mesh_id_len = (uint16_t)mesh_id_of(qmt_str(who), qmt_str("home"), m.mesh_id);
	assert_int_equal(invite_id_parse(qmt_str("019c1c38-a402-7102-8012-3456789adf00"), m.invite_id), 0);
	membership_sign(host, &m);
	return m;
}

/* Ours is the vector's, to the byte: the host signs as the original does. */
static void test_same_bytes(void **state)
{
	const struct json *token = json_get(json_at(json_get(file, "membership"), 0), "token");
	struct identity a = identity_of("A"), b = identity_of("B");
	struct membership m = make(&a, &b);
	struct qmt_str mesh_id = vectors_text(token, "mesh_id");
	uint8_t signature[IDENTITY_SIGNATURE];

	(void)state;
	m.expires_at = (uint64_t)json_int(json_get(token, "expires_at"), 0);
	m.mesh_id_len = (uint16_t)mesh_id.len;
	memcpy(m.mesh_id, mesh_id.p, mesh_id.len);
	membership_sign(&a, &m);
	vectors_bytes(token, "signature", signature, sizeof signature);
	assert_memory_equal(m.signature, signature, sizeof signature);
}

/* It holds for one node, in one mesh, until it expires, under the key of whose mesh it is: everything else is refused
 * with its own outcome. */
static void test_bound(void **state)
{
	struct identity a = identity_of("A"), b = identity_of("B"), c = identity_of("C");
	struct membership m = make(&a, &b), forged;
	struct qmt_str mesh = qmt_strn(m.mesh_id, m.mesh_id_len);
	struct qmt_err err = {0};

	(void)state;
	assert_int_equal(membership_verify(&m, mesh, &b.id, now, &err), 0);
	assert_int_equal(membership_verify(&m, mesh, &b.id, now + 100, &err), 0);
	assert_int_equal(membership_verify(&m, mesh, &b.id, now + 101, &err), MEMBERSHIP_E_EXPIRED);
	/* shown by somebody else: the original believes the peer id in the message */
	assert_int_equal(membership_verify(&m, mesh, &c.id, now, &err), MEMBERSHIP_E_HOLDER);
	assert_int_equal(membership_verify(&m, qmt_str("lan:default"), &b.id, now, &err), MEMBERSHIP_E_MESH);
	/* self-made: consistent, signed by C, for A's mesh. The original does not compare admitted_by with anything. */
	forged = m;
	uint8_t bytes[MEMBERSHIP_SIGNED];
	forged.admitted_by = c.id;
	forged.peer = c.id;
	identity_sign(&c, bytes, membership_signed(&forged, bytes), forged.signature);
	assert_int_equal(membership_verify(&forged, mesh, &c.id, now, &err), MEMBERSHIP_E_HOST);
	/* as an inviter of its own mesh C may admit whom it likes, there */
	forged = make(&c, &b);
	assert_int_equal(membership_verify(&forged, mesh, &b.id, now, &err), MEMBERSHIP_E_MESH);
	assert_int_equal(membership_verify(&forged, qmt_strn(forged.mesh_id, forged.mesh_id_len), &b.id, now, &err), 0);
	/* and each field is signed */
	forged = m;
	forged.client = true;
	assert_int_equal(membership_verify(&forged, mesh, &b.id, now, &err), MEMBERSHIP_E_SIGNATURE);
	forged = m;
	forged.can_invite = true;
	assert_int_equal(membership_verify(&forged, mesh, &b.id, now, &err), MEMBERSHIP_E_SIGNATURE);
	forged = m;
	forged.expires_at++;
	assert_int_equal(membership_verify(&forged, mesh, &b.id, now, &err), MEMBERSHIP_E_SIGNATURE);
	forged = m;
	forged.issued_at--;
	assert_int_equal(membership_verify(&forged, mesh, &b.id, now, &err), MEMBERSHIP_E_SIGNATURE);
	forged = m;
	forged.invite_id[0] ^= 1;
	assert_int_equal(membership_verify(&forged, mesh, &b.id, now, &err), MEMBERSHIP_E_SIGNATURE);
	forged = m;
	forged.peer = c.id;
	assert_int_equal(membership_verify(&forged, mesh, &c.id, now, &err), MEMBERSHIP_E_SIGNATURE);
	for (size_t bit = 0; bit < IDENTITY_SIGNATURE * 8; bit++) {
		forged = m;
		forged.signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(membership_verify(&forged, mesh, &b.id, now, &err), MEMBERSHIP_E_SIGNATURE);
	}
}

/* Each bit of the bytes counts: what is changed is no membership, or none that holds. Nor is what is cut or longer. */
static void test_each_bit(void **state)
{
	struct identity a = identity_of("A"), b = identity_of("B");
	struct membership m = make(&a, &b), other;
	struct qmt_str mesh = qmt_strn(m.mesh_id, m.mesh_id_len);
	uint8_t bytes[MEMBERSHIP_BYTES + 1] = {0};
	uint32_t len = membership_encode(&m, bytes);

	(void)state;
	for (uint32_t bit = 0; bit < len * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (membership_decode((struct qmt_bytes){bytes, len}, &other, NULL) == 0)
			assert_true(membership_verify(&other, mesh, &b.id, now, NULL) > 0);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (uint32_t n = 0; n < len; n++)
		assert_int_equal(membership_decode((struct qmt_bytes){bytes, n}, &other, NULL), MEMBERSHIP_E_FORM);
	assert_int_equal(membership_decode((struct qmt_bytes){bytes, len + 1}, &other, NULL), MEMBERSHIP_E_FORM);
}

/* JSON is read strictly: a role that is none (the original signs "admin" as member), a key twice, unknown, missing or
 * of another type, text behind it, too much of it. */
static void test_strict_json(void **state)
{
	static const struct {
		const char *find, *put;
	} rows[] = {{"\"member\"", "\"admin\""}, {"\"member\"", "\"Member\""}, {"\"member\"", "null"},
		{"\"can_invite\":false", "\"can_invite\":0"}, {"\"can_invite\":false", "\"can_invite\":false,\"x\":1"},
		{"\"can_invite\":false,", ""}, {"\"version\":1", "\"version\":2"}, {"\"version\":1", "\"version\":1.0"},
		{"\"version\":1", "\"version\":1,\"version\":1"}, {"\"version\":1", "\"version\":1,\"extra\":1"},
		{"\"version\":1,", ""}, {"\"issued_at\":", "\"issued_at\":-"}, {"\"issued_at\":", "\"issued_at\":0.5e"},
		{"\"signature\":\"", "\"signature\":\"00"}, {"\"invite_id\":\"019c", "\"invite_id\":\"019C"}, {":home-lab", ""},
		{"\"peer_id\":\"1", "\"peer_id\":\"11"}, {"}}", "}} "}};
	struct qmt_buf text = json_of(json_get(json_at(json_get(file, "membership"), 0), "token"));
	struct membership m;
	struct qmt_err err = {0};
	size_t changed = 0;

	(void)state;
	assert_int_equal(membership_from_json(text_of(&text), &m, &err), 0);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct qmt_buf made = {0};
		const char *at = strstr(text.data, rows[i].find);
		if (!at)
			continue;
		changed++;
		qmt_buf_append(&made, text.data, (size_t)(at - text.data));
		qmt_buf_str(&made, rows[i].put);
		qmt_buf_str(&made, at + strlen(rows[i].find));
		if (membership_from_json(text_of(&made), &m, &err) != MEMBERSHIP_E_FORM)
			fail_msg("%s -> %s was taken", rows[i].find, rows[i].put);
		qmt_buf_free(&made);
	}
	assert_int_equal(changed, sizeof rows / sizeof *rows - 1); /* "}}" is not in it */
	qmt_buf_str(&text, "x");
	assert_int_equal(membership_from_json(text_of(&text), &m, &err), MEMBERSHIP_E_FORM);
	qmt_buf_free(&text);
	char *long_text = calloc(1, MEMBERSHIP_JSON_MAX + 1);
	memset(long_text, ' ', MEMBERSHIP_JSON_MAX + 1);
	assert_int_equal(membership_from_json(qmt_strn(long_text, MEMBERSHIP_JSON_MAX + 1), &m, &err), MEMBERSHIP_E_FORM);
	assert_non_null(strstr(err.text, "at most 8192"));
	free(long_text);
}

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

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors), cmocka_unit_test(test_same_bytes),
		cmocka_unit_test(test_bound), cmocka_unit_test(test_each_bit), cmocka_unit_test(test_strict_json)};

	return cmocka_run_group_tests(tests, setup, teardown);
}
