/* proto/invite.c - decoding walks the bytes once, in the original's order of checks, so that errors are the same. */
#include "invite.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "base58.h"
#include "utf8.h"

enum { FLAG_CAN_INVITE = 1, FLAG_CLIENT = 2 };
enum { DIGEST_MAX = 42 };

static const char prefix[] = INVITE_URL_PREFIX;
enum { PREFIX = sizeof prefix - 1 };

_Static_assert(PREFIX + INVITE_TOKEN == INVITE_URL, "a URL is the prefix and a token");
_Static_assert(INVITE_TOKEN == (INVITE_BYTES * 4 + 2) / 3, "base64 without padding");

/* ---- base64url ----------------------------------------------------------------------------------------------- */

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* Only the one text that encoding would give: no padding, no white space, no bits that are left over. ret_bytes has
 * room for 3 bytes in 4 characters. */
static int base64_decode(struct qmt_str text, uint8_t *ret_bytes, uint32_t *ret_len, struct qmt_err *err)
{
	uint32_t bits = 0, have = 0, len = 0;

	for (uint32_t i = 0; i < text.len; i++) {
		int value = base64_value(text.p[i]);
		if (value < 0)
			return qmt_err_set(err, INVITE_E_TOKEN,
				"base64 decode failed: 0x%02x at %u is no character of base64url without padding",
				(unsigned char)text.p[i], i);
		bits = bits << 6 | (uint32_t)value;
		have += 6;
		if (have >= 8) {
			have -= 8;
			ret_bytes[len++] = (uint8_t)(bits >> have);
			bits &= (1u << have) - 1;
		}
	}
	if (text.len % 4 == 1)
		return qmt_err_set(err, INVITE_E_TOKEN, "base64 decode failed: %u characters are no whole bytes", text.len);
	if (bits)
		return qmt_err_set(
			err, INVITE_E_TOKEN, "base64 decode failed: the last character, at %u, has bits left over", text.len - 1);
	*ret_len = len;
	return 0;
}

/* ---- bytes --------------------------------------------------------------------------------------------------- */

static uint64_t number(const uint8_t *bytes, int len)
{
	uint64_t value = 0;

	for (int i = 0; i < len; i++)
		value = value << 8 | bytes[i];
	return value;
}

static uint8_t *put_number(uint8_t *at, uint64_t value, int len)
{
	for (int i = len - 1; i >= 0; i--)
		*at++ = (uint8_t)(value >> (8 * i));
	return at;
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t len)
{
	memcpy(at, bytes, len);
	return at + len;
}

/* What the signature is over. */
static size_t grant_bytes(const struct invite *invite, uint8_t ret_bytes[INVITE_BYTES])
{
	uint8_t *at = ret_bytes;

	*at++ = INVITE_VERSION;
	at = put(at, invite->id, INVITE_ID);
	at = put(at, invite->inviter, invite->inviter_len);
	at = put_number(at, invite->expires_at, 8);
	at = put_number(at, invite->max_uses, 4);
	*at++ = (uint8_t)((invite->can_invite ? FLAG_CAN_INVITE : 0) | (invite->client ? FLAG_CLIENT : 0) |
		invite->undefined_flags);
	*at++ = invite->name_len;
	at = put(at, invite->name, invite->name_len);
	return (size_t)(at - ret_bytes);
}

void invite_sign(const struct identity *inviter, struct invite *invite)
{
	uint8_t bytes[INVITE_BYTES];

	assert(utf8_check(qmt_strn(invite->name, invite->name_len)));
	invite->undefined_flags = 0;
	peer_id_bytes(&inviter->id, invite->inviter);
	invite->inviter_len = PEER_ID_BYTES;
	identity_sign(inviter, bytes, grant_bytes(invite, bytes), invite->signature);
}

void invite_token(const struct invite *invite, char ret_token[INVITE_TOKEN + 1])
{
	uint8_t bytes[INVITE_BYTES];
	size_t len = grant_bytes(invite, bytes);

	memcpy(bytes + len, invite->signature, IDENTITY_SIGNATURE);
	sodium_bin2base64(
		ret_token, INVITE_TOKEN + 1, bytes, len + IDENTITY_SIGNATURE, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

static int bad(struct qmt_err *err, const char *what)
{
	return qmt_err_set(err, INVITE_E_TOKEN, "%s", what);
}

/* Reads the multihash at `at`; *ret_next is behind it. */
static int read_inviter(
	const uint8_t *at, const uint8_t *end, struct invite *invite, const uint8_t **ret_next, struct qmt_err *err)
{
	if (end - at < 2)
		return bad(err, "token too short for PeerId");
	if (at[0] != 0)
		return qmt_err_set(err, INVITE_E_TOKEN, "unsupported multihash code: 0x%02x (expected 0x00 identity)", at[0]);

	size_t len = 2u + at[1];

	if ((size_t)(end - at) < len)
		return bad(err, "token too short for PeerId payload");
	if (at[1] > DIGEST_MAX)
		return qmt_err_set(
			err, INVITE_E_TOKEN, "invalid PeerId in wire bytes: a digest of %u bytes, at most %d", at[1], DIGEST_MAX);
	memcpy(invite->inviter, at, len);
	invite->inviter_len = (uint8_t)len;
	*ret_next = at + len;
	return 0;
}

static int read_token(const uint8_t *at, const uint8_t *end, struct invite *invite, struct qmt_err *err)
{
	int rc;

	if (at == end)
		return bad(err, "empty token");
	if (at[0] != INVITE_VERSION)
		return qmt_err_set(err, INVITE_E_TOKEN, "unsupported token version: %u (expected %d)", at[0], INVITE_VERSION);
	at++;
	if (end - at < INVITE_ID)
		return bad(err, "token too short");
	memcpy(invite->id, at, INVITE_ID);
	rc = read_inviter(at + INVITE_ID, end, invite, &at, err);
	if (rc != 0)
		return rc;
	if (end - at < 14)
		return bad(err, "token too short for fixed fields");
	invite->expires_at = number(at, 8);
	invite->max_uses = (uint32_t)number(at + 8, 4);
	invite->can_invite = at[12] & FLAG_CAN_INVITE;
	invite->client = at[12] & FLAG_CLIENT;
	invite->undefined_flags = (uint8_t)(at[12] & ~(FLAG_CAN_INVITE | FLAG_CLIENT));
	invite->name_len = at[13];
	at += 14;
	if (end - at < invite->name_len)
		return bad(err, "token too short for mesh_name");
	memcpy(invite->name, at, invite->name_len);
	if (!utf8_check(qmt_strn(invite->name, invite->name_len)))
		return bad(err, "invalid mesh_name UTF-8");
	at += invite->name_len;
	if (end - at < IDENTITY_SIGNATURE)
		return qmt_err_set(err, INVITE_E_TOKEN, "token too short for signature: %d bytes remaining, need %d",
			(int)(end - at), IDENTITY_SIGNATURE);
	memcpy(invite->signature, at, IDENTITY_SIGNATURE);
	at += IDENTITY_SIGNATURE;
	return at == end ? 0 : qmt_err_set(err, INVITE_E_TOKEN, "unexpected trailing bytes: %d extra", (int)(end - at));
}

static bool has_prefix(struct qmt_str text)
{
	return text.len >= PREFIX && memcmp(text.p, prefix, PREFIX) == 0;
}

int invite_decode(struct qmt_str text, struct invite *ret_invite, struct qmt_err *err)
{
	uint8_t bytes[INVITE_TEXT_MAX];
	struct invite invite = {0};
	uint32_t len = 0;
	int rc;

	if (text.len > INVITE_TEXT_MAX)
		return qmt_err_set(err, INVITE_E_TOKEN, "a text of %u characters: a token has up to %d, looked at are %d",
			text.len, INVITE_TOKEN, INVITE_TEXT_MAX);
	if (has_prefix(text))
		text = qmt_strn(text.p + PREFIX, text.len - PREFIX);
	rc = base64_decode(text, bytes, &len, err);
	if (rc == 0)
		rc = read_token(bytes, bytes + len, &invite, err);
	if (rc == 0)
		*ret_invite = invite;
	return rc;
}

/* ---- what it means ------------------------------------------------------------------------------------------- */

int invite_inviter(const struct invite *invite, struct peer_id *ret_id, struct qmt_err *err)
{
	struct qmt_err why = {0};

	if (peer_id_from_bytes((struct qmt_bytes){invite->inviter, invite->inviter_len}, ret_id, &why) == 0)
		return 0;
	return qmt_err_set(err, INVITE_E_SIGNATURE, "cannot extract public key from inviter_peer_id: %s", why.text);
}

int invite_verify(const struct invite *invite, uint64_t now, struct qmt_err *err)
{
	uint8_t bytes[INVITE_BYTES];
	struct peer_id inviter;
	int rc;

	if (invite->expires_at && now > invite->expires_at)
		return qmt_err_set(err, INVITE_E_EXPIRED, "invite token has expired");
	rc = invite_inviter(invite, &inviter, err);
	if (rc == 0 && invite->undefined_flags)
		rc = qmt_err_set(err, INVITE_E_SIGNATURE, "ed25519 signature verification failed: undefined flags 0x%02x",
			invite->undefined_flags);
	if (rc == 0 && !identity_verify(&inviter, bytes, grant_bytes(invite, bytes), invite->signature))
		rc = qmt_err_set(err, INVITE_E_SIGNATURE, "ed25519 signature verification failed");
	return rc;
}

const char *invite_outcome_name(int outcome)
{
	static const char *const names[] = {NULL, "InvalidToken", "InvalidSignature", "Expired"};

	return outcome > 0 && outcome <= INVITE_E_EXPIRED ? names[outcome] : NULL;
}

int invite_split(
	struct qmt_str text, struct qmt_str *ret_token, bool *ret_has_addr, struct multiaddr *ret_addr, struct qmt_err *err)
{
	const char *hash = has_prefix(text) && text.len <= INVITE_TEXT_MAX ? memchr(text.p, '#', text.len) : NULL;
	struct multiaddr addr;
	struct invite invite;
	struct peer_id inviter;
	struct qmt_str token;

	if (!hash) {
		*ret_token = text;
		*ret_has_addr = false;
		return 0;
	}
	token = qmt_strn(text.p, (size_t)(hash - text.p));
	if (multiaddr_parse(qmt_strn(hash + 1, text.len - token.len - 1), &addr, err) != 0) {
		qmt_err_prefix(err, "behind the #");
		return err ? err->code = INVITE_E_TOKEN : INVITE_E_TOKEN;
	}
	if (addr.port == 0 || multiaddr_is_wildcard(&addr))
		return bad(err, "behind the #: an address that cannot be dialed");
	if (addr.has_peer && invite_decode(token, &invite, NULL) == 0 && invite_inviter(&invite, &inviter, NULL) == 0 &&
		peer_id_compare(&addr.peer, &inviter) != 0)
		return bad(err, "behind the #: the address of another PeerId than the inviter's");
	*ret_token = token;
	*ret_has_addr = true;
	*ret_addr = addr;
	return 0;
}

void invite_inviter_text(const struct invite *invite, char ret_text[INVITE_INVITER_TEXT])
{
	char text[BASE58_TEXT + 1];

	_Static_assert(INVITE_INVITER * 138 / 100 + 1 < INVITE_INVITER_TEXT, "log(256) / log(58) < 1.38");
	if (base58_encode((struct qmt_bytes){invite->inviter, invite->inviter_len}, text) != 0)
		text[0] = '\0'; /* cannot happen: within the limit */
	memcpy(ret_text, text, strlen(text) + 1);
}

void invite_id_text(const uint8_t id[INVITE_ID], char ret_text[INVITE_ID_TEXT + 1])
{
	static const char digits[] = "0123456789abcdef";
	char *at = ret_text;

	for (int i = 0; i < INVITE_ID; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		*at++ = digits[id[i] >> 4];
		*at++ = digits[id[i] & 15];
	}
	*at = '\0';
}

int invite_id_parse(struct qmt_str text, uint8_t ret_id[INVITE_ID])
{
	uint8_t id[INVITE_ID];
	char again[INVITE_ID_TEXT + 1];
	uint32_t digits = 0;

	if (text.len != INVITE_ID_TEXT)
		return -EINVAL;
	for (uint32_t i = 0; i < text.len; i++) {
		char c = text.p[i];
		int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
		if (value < 0 || digits == 2 * INVITE_ID)
			continue;
		id[digits / 2] = (uint8_t)(digits % 2 ? id[digits / 2] | value : value << 4);
		digits++;
	}
	if (digits != 2 * INVITE_ID)
		return -EINVAL;
	invite_id_text(id, again);
	if (memcmp(again, text.p, INVITE_ID_TEXT) != 0)
		return -EINVAL;
	memcpy(ret_id, id, INVITE_ID);
	return 0;
}

uint32_t mesh_id_of(struct qmt_str inviter, struct qmt_str name, char ret_text[MESH_ID])
{
	struct qmt_str shown = name.len ? name : qmt_str("anon");

	assert(inviter.len < INVITE_INVITER_TEXT && shown.len <= INVITE_NAME);
	memcpy(ret_text, inviter.p, inviter.len);
	ret_text[inviter.len] = ':';
	memcpy(ret_text + inviter.len + 1, shown.p, shown.len);
	return inviter.len + 1 + shown.len;
}

uint32_t invite_mesh_id(const struct invite *invite, char ret_text[MESH_ID])
{
	char inviter[INVITE_INVITER_TEXT];

	invite_inviter_text(invite, inviter);
	return mesh_id_of(qmt_str(inviter), qmt_strn(invite->name, invite->name_len), ret_text);
}

int mesh_id_inviter(struct qmt_str mesh_id, struct peer_id *ret_id, struct qmt_err *err)
{
	struct qmt_str name;

	if (mesh_id.len < PEER_ID_TEXT + 2 || mesh_id.p[PEER_ID_TEXT] != ':')
		return qmt_err_set(err, -EINVAL, "not a mesh id (<PeerId>:<name>)");
	name = qmt_strn(mesh_id.p + PEER_ID_TEXT + 1, mesh_id.len - PEER_ID_TEXT - 1);
	if (name.len > INVITE_NAME || !utf8_check(name))
		return qmt_err_set(err, -EINVAL, "mesh id: a name is UTF-8 of up to %d bytes", INVITE_NAME);
	if (peer_id_parse(qmt_strn(mesh_id.p, PEER_ID_TEXT), ret_id, err) != 0)
		return qmt_err_prefix(err, "mesh id");
	return 0;
}
