/* proto/membership.c - see membership.h. Reading is taking apart, writing again and comparing: one form only. */
#include "membership.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>

#include "json.h"
#include "utf8.h"

enum { FLAG_CAN_INVITE = 1, FLAG_CLIENT = 2 };

/* ---- bytes --------------------------------------------------------------------------------------------------- */

static uint8_t *put_number(uint8_t *at, uint64_t value, int len)
{
	for (int i = len - 1; i >= 0; i--)
		*at++ = (uint8_t)(value >> (8 * i));
	return at;
}

static uint8_t *put_text(uint8_t *at, const char *text, size_t len)
{
	at = put_number(at, len, 2);
	memcpy(at, text, len);
	return at + len;
}

uint32_t membership_signed(const struct membership *m, uint8_t ret_bytes[MEMBERSHIP_SIGNED])
{
	char peer[PEER_ID_TEXT + 1], host[PEER_ID_TEXT + 1], invite[INVITE_ID_TEXT + 1];
	uint8_t *at = ret_bytes;

	peer_id_text(&m->peer, peer);
	peer_id_text(&m->admitted_by, host);
	invite_id_text(m->invite_id, invite);
	*at++ = MEMBERSHIP_VERSION;
	at = put_text(at, m->mesh_id, m->mesh_id_len);
	at = put_text(at, peer, PEER_ID_TEXT);
	at = put_text(at, host, PEER_ID_TEXT);
	at = put_text(at, invite, INVITE_ID_TEXT);
	at = put_number(at, m->issued_at, 8);
	at = put_number(at, m->expires_at, 8);
	*at++ = (uint8_t)((m->can_invite ? FLAG_CAN_INVITE : 0) | (m->client ? FLAG_CLIENT : 0));
	return (uint32_t)(at - ret_bytes);
}

void membership_sign(const struct identity *host, struct membership *membership)
{
	uint8_t bytes[MEMBERSHIP_SIGNED];
	struct peer_id inviter;

	assert(mesh_id_inviter(qmt_strn(membership->mesh_id, membership->mesh_id_len), &inviter, NULL) == 0);
	assert(peer_id_compare(&inviter, &host->id) == 0);
	membership->admitted_by = host->id;
	identity_sign(host, bytes, membership_signed(membership, bytes), membership->signature);
}

uint32_t membership_encode(const struct membership *membership, uint8_t ret_bytes[MEMBERSHIP_BYTES])
{
	uint32_t len = membership_signed(membership, ret_bytes);

	memcpy(ret_bytes + len, membership->signature, IDENTITY_SIGNATURE);
	return len + IDENTITY_SIGNATURE;
}

static int form(struct qmt_err *err, const char *what)
{
	return qmt_err_set(err, MEMBERSHIP_E_FORM, "not a membership: %s", what);
}

static int form_because(struct qmt_err *err, const char *what, const struct qmt_err *why)
{
	return qmt_err_set(err, MEMBERSHIP_E_FORM, "not a membership: %s: %s", what, why->text);
}

/* The parts that are texts in both forms. */
static int set_texts(struct membership *m, struct qmt_str mesh_id, struct qmt_str peer, struct qmt_str host,
	struct qmt_str invite, struct qmt_err *err)
{
	struct peer_id inviter;
	struct qmt_err why = {0};

	if (mesh_id_inviter(mesh_id, &inviter, &why) != 0)
		return form_because(err, "mesh_id", &why);
	if (peer_id_parse(peer, &m->peer, &why) != 0)
		return form_because(err, "peer_id", &why);
	if (peer_id_parse(host, &m->admitted_by, &why) != 0)
		return form_because(err, "admitted_by", &why);
	if (invite_id_parse(invite, m->invite_id) != 0)
		return form(err, "invite_id: no uuid in lower case");
	memcpy(m->mesh_id, mesh_id.p, mesh_id.len); /* mesh_id_inviter has bounded it */
	m->mesh_id_len = (uint16_t)mesh_id.len;
	return 0;
}

struct reader {
	const uint8_t *at, *end;
	bool failed;
};

static uint64_t read_number(struct reader *in, int len)
{
	uint64_t value = 0;

	if (in->failed || in->end - in->at < len) {
		in->failed = true;
		return 0;
	}
	for (int i = 0; i < len; i++)
		value = value << 8 | *in->at++;
	return value;
}

static struct qmt_str read_text(struct reader *in)
{
	uint32_t len = (uint32_t)read_number(in, 2);
	struct qmt_str text = {0};

	if (in->failed || in->end - in->at < (ptrdiff_t)len) {
		in->failed = true;
		return text;
	}
	text = qmt_strn((const char *)in->at, len);
	in->at += len;
	return text;
}

int membership_decode(struct qmt_bytes bytes, struct membership *ret_membership, struct qmt_err *err)
{
	struct reader in = {bytes.p, bytes.p + bytes.len, false};
	struct membership m = {0};
	uint8_t again[MEMBERSHIP_BYTES];
	struct qmt_str mesh_id, peer, host, invite;
	uint64_t version, flags;
	int rc;

	if (bytes.len > MEMBERSHIP_BYTES)
		return qmt_err_set(
			err, MEMBERSHIP_E_FORM, "not a membership: %u bytes, at most %d", bytes.len, MEMBERSHIP_BYTES);
	version = read_number(&in, 1);
	if (!in.failed && version != MEMBERSHIP_VERSION)
		return qmt_err_set(err, MEMBERSHIP_E_FORM, "not a membership: version %u (expected %d)", (unsigned)version,
			MEMBERSHIP_VERSION);
	mesh_id = read_text(&in);
	peer = read_text(&in);
	host = read_text(&in);
	invite = read_text(&in);
	m.issued_at = read_number(&in, 8);
	m.expires_at = read_number(&in, 8);
	flags = read_number(&in, 1);
	if (in.failed || in.end - in.at != IDENTITY_SIGNATURE)
		return form(err, in.failed || in.end - in.at < IDENTITY_SIGNATURE ? "too short" : "bytes behind it");
	if (m.issued_at > INT64_MAX || m.expires_at > INT64_MAX)
		return form(err, "a time beyond what its JSON can hold");
	if (flags & ~(uint64_t)(FLAG_CAN_INVITE | FLAG_CLIENT))
		return form(err, "undefined flags");
	m.can_invite = flags & FLAG_CAN_INVITE;
	m.client = flags & FLAG_CLIENT;
	memcpy(m.signature, in.at, IDENTITY_SIGNATURE);
	rc = set_texts(&m, mesh_id, peer, host, invite, err);
	if (rc != 0)
		return rc;
	if (membership_encode(&m, again) != bytes.len || memcmp(again, bytes.p, bytes.len) != 0)
		return form(err, "not in its one form"); /* base58 of some other length, say */
	*ret_membership = m;
	return 0;
}

/* ---- JSON ---------------------------------------------------------------------------------------------------- */

int membership_to_json(const struct membership *m, struct qmt_buf *out)
{
	char peer[PEER_ID_TEXT + 1], host[PEER_ID_TEXT + 1], invite[INVITE_ID_TEXT + 1], signature[129];
	struct json *whole QMT_CLEANUP(json_cleanup) = json_object();
	struct json *permissions = json_object();
	int rc = 0;

	peer_id_text(&m->peer, peer);
	peer_id_text(&m->admitted_by, host);
	invite_id_text(m->invite_id, invite);
	sodium_bin2hex(signature, sizeof signature, m->signature, IDENTITY_SIGNATURE);
	rc |= json_set(permissions, "can_invite", json_new_bool(m->can_invite));
	rc |= json_set(permissions, "role", json_new_str(qmt_str(m->client ? "client" : "member")));
	rc |= json_set(whole, "version", json_new_int(MEMBERSHIP_VERSION));
	rc |= json_set(whole, "mesh_id", json_new_str(qmt_strn(m->mesh_id, m->mesh_id_len)));
	rc |= json_set(whole, "peer_id", json_new_str(qmt_str(peer)));
	rc |= json_set(whole, "admitted_by", json_new_str(qmt_str(host)));
	rc |= json_set(whole, "invite_id", json_new_str(qmt_str(invite)));
	rc |= json_set(whole, "permissions", permissions);
	rc |= json_set(whole, "issued_at", json_new_int((int64_t)m->issued_at));
	rc |= json_set(whole, "expires_at", json_new_int((int64_t)m->expires_at));
	rc |= json_set(whole, "signature", json_new_str(qmt_str(signature)));
	return rc ? -ENOMEM : json_write(whole, out);
}

static const char *const keys[] = {
	"version", "mesh_id", "peer_id", "admitted_by", "invite_id", "permissions", "issued_at", "expires_at", "signature"};
static const char *const permission_keys[] = {"can_invite", "role"};

/* Only these keys. That none is missing shows when they are read. */
static bool only(const struct json *object, const char *const names[], size_t count)
{
	struct qmt_str key;
	const struct json *value;

	if (!json_is_object(object))
		return false;
	for (void *iter = NULL; json_next(object, &iter, &key, &value);) {
		size_t i = 0;
		while (i < count && !qmt_str_is(key, names[i]))
			i++;
		if (i == count)
			return false;
	}
	return true;
}

static bool read_time(const struct json *object, const char *key, uint64_t *ret_time)
{
	const struct json *value = json_get(object, key);
	int64_t number = json_int(value, -1);

	if (!json_is_integer(value) || number < 0)
		return false;
	*ret_time = (uint64_t)number;
	return true;
}

static bool read_signature(struct qmt_str hex, uint8_t ret_signature[IDENTITY_SIGNATURE])
{
	size_t len = 0;

	for (uint32_t i = 0; i < hex.len; i++)
		if (hex.p[i] >= 'A' && hex.p[i] <= 'F')
			return false;
	return hex.len == 2 * IDENTITY_SIGNATURE &&
		sodium_hex2bin(ret_signature, IDENTITY_SIGNATURE, hex.p, hex.len, NULL, &len, NULL) == 0 &&
		len == IDENTITY_SIGNATURE;
}

static int from_value(const struct json *whole, struct membership *ret_membership, struct qmt_err *err)
{
	const struct json *permissions = json_get(whole, "permissions");
	struct qmt_str role = json_str(json_get(permissions, "role"));
	struct membership m = {0};
	int rc;

	if (!only(whole, keys, sizeof keys / sizeof *keys) ||
		!only(permissions, permission_keys, sizeof permission_keys / sizeof *permission_keys))
		return form(err, "other members than it has");
	if (!json_is_integer(json_get(whole, "version")) || json_int(json_get(whole, "version"), 0) != MEMBERSHIP_VERSION)
		return form(err, "version (expected 1)");
	m.can_invite = json_bool(json_get(permissions, "can_invite"), false);
	if (json_bool(json_get(permissions, "can_invite"), true) != m.can_invite)
		return form(err, "permissions.can_invite: no boolean");
	m.client = qmt_str_is(role, "client");
	if (!m.client && !qmt_str_is(role, "member"))
		return form(err, "permissions.role: \"member\" and \"client\" are known");
	if (!read_time(whole, "issued_at", &m.issued_at) || !read_time(whole, "expires_at", &m.expires_at))
		return form(err, "issued_at, expires_at: no whole numbers of seconds");
	if (!read_signature(json_str(json_get(whole, "signature")), m.signature))
		return form(err, "signature: no 64 bytes as lower-case hexadecimal");
	rc = set_texts(&m, json_str(json_get(whole, "mesh_id")), json_str(json_get(whole, "peer_id")),
		json_str(json_get(whole, "admitted_by")), json_str(json_get(whole, "invite_id")), err);
	if (rc == 0)
		*ret_membership = m;
	return rc;
}

int membership_from_json(struct qmt_str text, struct membership *ret_membership, struct qmt_err *err)
{
	struct json *whole QMT_CLEANUP(json_cleanup) = NULL;
	struct qmt_err why = {0};
	int rc;

	if (text.len > MEMBERSHIP_JSON_MAX)
		return qmt_err_set(
			err, MEMBERSHIP_E_FORM, "not a membership: %u bytes of JSON, at most %d", text.len, MEMBERSHIP_JSON_MAX);
	rc = json_parse(text, &whole, &why);
	if (rc == -ENOMEM)
		return qmt_err_set(err, rc, "out of memory");
	return rc != 0 ? form_because(err, "JSON", &why) : from_value(whole, ret_membership, err);
}

/* ---- what it means ------------------------------------------------------------------------------------------- */

int membership_verify(
	const struct membership *m, struct qmt_str mesh_id, const struct peer_id *holder, uint64_t now, struct qmt_err *err)
{
	uint8_t bytes[MEMBERSHIP_SIGNED];
	struct qmt_str own = qmt_strn(m->mesh_id, m->mesh_id_len);
	struct peer_id inviter;

	if (m->expires_at && now > m->expires_at)
		return qmt_err_set(err, MEMBERSHIP_E_EXPIRED, "the membership has expired");
	if (!identity_verify(&m->admitted_by, bytes, membership_signed(m, bytes), m->signature))
		return qmt_err_set(err, MEMBERSHIP_E_SIGNATURE, "the membership's signature does not hold");
	if (mesh_id_inviter(own, &inviter, NULL) != 0 || peer_id_compare(&inviter, &m->admitted_by) != 0)
		return qmt_err_set(
			err, MEMBERSHIP_E_HOST, "the membership was signed by somebody else than the mesh's inviter");
	if (!qmt_str_eq(own, mesh_id))
		return qmt_err_set(err, MEMBERSHIP_E_MESH, "the membership is for another mesh");
	if (peer_id_compare(&m->peer, holder) != 0)
		return qmt_err_set(err, MEMBERSHIP_E_HOLDER, "the membership is another node's");
	return 0;
}
