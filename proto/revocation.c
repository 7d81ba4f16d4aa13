/* proto/revocation.c - see revocation.h. */
#include "revocation.h"

#include <assert.h>
#include <errno.h>

static const char label[] = "qmt-revoke"; /* no other thing that an identity signs begins so */
enum { LABEL = sizeof(label) - 1, KIND_PEER = 1, KIND_INVITE = 2 };

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

static uint32_t signed_bytes(const struct revocation *revocation, uint8_t ret_bytes[REVOCATION_BYTES])
{
	uint8_t *at = ret_bytes;

	memcpy(at, label, LABEL);
	at += LABEL;
	*at++ = revocation->of_invite ? KIND_INVITE : KIND_PEER;
	at = put_text(at, revocation->mesh_id, revocation->mesh_id_len);
	at = put_text(at, revocation->subject, strlen(revocation->subject));
	at = put_number(at, revocation->at, 8);
	return (uint32_t)(at - ret_bytes);
}

static int inviter_of(const struct revocation *revocation, struct peer_id *ret_id)
{
	return mesh_id_inviter(qmt_strn(revocation->mesh_id, revocation->mesh_id_len), ret_id, NULL);
}

void revocation_sign(const struct identity *host, struct revocation *revocation)
{
	uint8_t bytes[REVOCATION_BYTES];
	struct peer_id inviter;

	assert(inviter_of(revocation, &inviter) == 0 && peer_id_compare(&inviter, &host->id) == 0);
	identity_sign(host, bytes, signed_bytes(revocation, bytes), revocation->signature);
}

uint32_t revocation_encode(const struct revocation *revocation, uint8_t ret_bytes[REVOCATION_BYTES])
{
	uint32_t len = signed_bytes(revocation, ret_bytes);

	memcpy(ret_bytes + len, revocation->signature, IDENTITY_SIGNATURE);
	return len + IDENTITY_SIGNATURE;
}

/* Reads a text of at most `max` bytes at *at. False: it is not there whole. */
static bool take_text(struct qmt_bytes bytes, size_t *at, size_t max, char *ret_text, uint16_t *ret_len)
{
	size_t len;

	if (bytes.len - *at < 2)
		return false;
	len = (size_t)bytes.p[*at] << 8 | bytes.p[*at + 1];
	if (len > max || bytes.len - *at - 2 < len)
		return false;
	memcpy(ret_text, bytes.p + *at + 2, len);
	ret_text[len] = '\0';
	*ret_len = (uint16_t)len;
	*at += 2 + len;
	return true;
}

int revocation_decode(struct qmt_bytes bytes, struct revocation *ret_revocation, struct qmt_err *err)
{
	struct revocation revocation = {0};
	struct peer_id id;
	uint8_t again[REVOCATION_BYTES], uuid[INVITE_ID];
	uint16_t subject_len = 0;
	size_t at = LABEL + 1;
	bool fine = bytes.len > at && bytes.len <= REVOCATION_BYTES && memcmp(bytes.p, label, LABEL) == 0 &&
		(bytes.p[LABEL] == KIND_PEER || bytes.p[LABEL] == KIND_INVITE);

	revocation.of_invite = fine && bytes.p[LABEL] == KIND_INVITE;
	fine = fine && take_text(bytes, &at, MEMBERSHIP_MESH_ID, revocation.mesh_id, &revocation.mesh_id_len) &&
		take_text(bytes, &at, REVOCATION_SUBJECT, revocation.subject, &subject_len) &&
		bytes.len - at == 8 + IDENTITY_SIGNATURE && inviter_of(&revocation, &id) == 0;
	if (fine && revocation.of_invite)
		fine = invite_id_parse(qmt_strn(revocation.subject, subject_len), uuid) == 0;
	else if (fine)
		fine = peer_id_parse(qmt_strn(revocation.subject, subject_len), &id, NULL) == 0;
	for (int i = 0; fine && i < 8; i++)
		revocation.at = revocation.at << 8 | bytes.p[at + (size_t)i];
	if (fine) {
		memcpy(revocation.signature, bytes.p + at + 8, IDENTITY_SIGNATURE);
		fine = revocation_encode(&revocation, again) == bytes.len && memcmp(again, bytes.p, bytes.len) == 0;
	}
	if (!fine)
		return qmt_err_set(err, -EBADMSG, "not a revocation");
	*ret_revocation = revocation;
	return 0;
}

bool revocation_verify(const struct revocation *revocation)
{
	uint8_t bytes[REVOCATION_BYTES];
	struct peer_id inviter;

	return inviter_of(revocation, &inviter) == 0 &&
		identity_verify(&inviter, bytes, signed_bytes(revocation, bytes), revocation->signature);
}

bool revocation_covers(const struct revocation *revocation, const struct membership *membership)
{
	char id[PEER_ID_TEXT + 1];

	if (revocation->mesh_id_len != membership->mesh_id_len ||
		memcmp(revocation->mesh_id, membership->mesh_id, revocation->mesh_id_len) != 0)
		return false;
	if (revocation->of_invite)
		invite_id_text(membership->invite_id, id);
	else
		peer_id_text(&membership->peer, id);
	return strcmp(id, revocation->subject) == 0;
}
