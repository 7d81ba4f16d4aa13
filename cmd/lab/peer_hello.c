/* cmd/lab/peer_hello.c - liars at the HELLO gate. */
#include <arpa/inet.h>
#include <errno.h>

#include "cmd/lab/peer.h"
#include "proto/codec.h"
#include "runtime/base/os.h"

enum { LONG_FRAME = 100000, WORDS = 5, SIGNED = 5 + WORDS * 4 + PEER_ID_KEY + HELLO_KEY + 2 * HELLO_NONCE };

/* The dial must end with a cut, and did it end well: that is what must not be. */
static int must_be_refused(struct peer *peer, struct hostile *link, int rc, const struct qmt_err *err)
{
	if (rc == 0) {
		peer_say("let in: HELLO ended well");
		return PEER_LET;
	}
	if (rc == HOSTILE_E_LATE) {
		peer_say("let: no answer within %llu ms, and no cut", (unsigned long long)peer->within_ms);
		return PEER_LET;
	}
	if (rc < 0)
		peer_say("refused: %s", err->text);
	peer_next_step(peer);
	if (hostile_await_cut(link, peer->deadline_ms)) {
		peer_say("let: not cut within %llu ms", (unsigned long long)peer->within_ms);
		return PEER_LET;
	}
	peer_say("cut");
	return PEER_HELD;
}

static int cannot_dial(const struct qmt_err *err)
{
	peer_say("failed: %s", err->text);
	return PEER_LET;
}

/* Connects with CURVE, sends one frame (len 0: none), and must be cut. */
static int first_frame(struct peer *peer, unsigned flags, const void *frame, size_t len)
{
	struct hostile link = {0};
	struct qmt_err err = {0};
	int verdict = PEER_HELD;

	peer_next_step(peer);
	if (hostile_connect(&link, peer->endpoint, flags | HOSTILE_NO_HELLO, &err))
		verdict = cannot_dial(&err);
	else if (len && hostile_put(&link, frame, len, peer->deadline_ms) == HOSTILE_E_LATE)
		verdict = cannot_dial(&(struct qmt_err){.text = "the frame does not leave"});
	else
		verdict = peer_must_be_cut(peer, &link);
	hostile_hang_up(&link);
	return verdict;
}

int peer_mode_no_hello(struct peer *peer)
{
	return first_frame(peer, 0, NULL, 0);
}

int peer_mode_named(struct peer *peer)
{
	return first_frame(peer, HOSTILE_NAMED, "\1\x80", 2);
}

int peer_mode_bad_hello(struct peer *peer)
{
	static const uint8_t frames[][4] = {
		{HELLO_STEP_OFFER, 0xc1, 0, 0},       /* not msgpack */
		{HELLO_STEP_CLAIM, 0x80, 0, 0},       /* out of turn */
		{HELLO_STEP_OFFER, 0x81, 0x01, 0x91}, /* cut short, and an array where a number is due */
		{0xff, 0xff, 0xff, 0xff},             /* no such step */
		{HELLO_STEP_REFUSAL, 0x80, 0, 0},     /* a refusal of nothing */
	};
	void *frame = calloc(1, LONG_FRAME);
	int verdict = frame ? first_frame(peer, 0, frame, LONG_FRAME) : PEER_LET;

	for (size_t i = 0; i < sizeof frames / sizeof frames[0] && verdict == PEER_HELD; i++)
		verdict = first_frame(peer, 0, frames[i], sizeof frames[i]);
	free(frame);
	return verdict;
}

/* ---- signatures that do not fit ---------------------------------------------------------------------------------- */

int peer_mode_lie_id(struct peer *peer)
{
	struct hostile link = {0};
	struct identity other;
	struct qmt_err err = {0};
	int rc = hostile_connect(&link, peer->endpoint, 0, &err), verdict;

	identity_generate(&other);
	link.identity.id = peer->as ? *peer->as : other.id; /* the secret half stays */
	identity_fini(&other);
	if (rc) {
		verdict = cannot_dial(&err);
	} else {
		char text[PEER_ID_TEXT + 1];

		peer_id_text(&link.identity.id, text);
		peer_say("claims to be %s", text);
		verdict = must_be_refused(peer, &link, hostile_prove(&link, 0, peer->deadline_ms, &err), &err);
	}
	hostile_hang_up(&link);
	return verdict;
}

/* Signs anew, in the format of transports/hello.h, but with another channel key. */
static int sign_other_key(struct hostile *link, struct qmt_buf *frame, void *arg)
{
	const struct hello *hello = &link->hello;
	uint8_t text[SIGNED], signature[IDENTITY_SIGNATURE], *at = text;
	struct hello_claim *claim;
	int rc;

	(void)arg;
	if (frame->len < 2 || frame->data[0] != HELLO_STEP_CLAIM)
		return 0;
	claim = codec_decode_new(
		&hello_claim_record, (struct qmt_bytes){(uint8_t *)frame->data + 1, (uint32_t)frame->len - 1}, NULL, NULL);
	if (!claim)
		return -ENOMEM;
	at = mempcpy(at, "qmt-D", 5);
	for (size_t i = 0; i < WORDS; i++)
		at = mempcpy(at, &(uint32_t){htonl(hello->versions[i])}, 4);
	at = mempcpy(at, hello->peer.id.key, PEER_ID_KEY);
	for (size_t i = 0; i < HELLO_KEY; i++)
		*at++ = (uint8_t)~hello->channel_key[i];
	at = mempcpy(at, hello->nonce_d, HELLO_NONCE);
	(void)mempcpy(at, hello->nonce_l, HELLO_NONCE);
	identity_sign(&link->identity, text, sizeof text, signature);
	claim->signature = (struct qmt_bytes){signature, sizeof signature};
	frame->len = 1;
	rc = codec_encode(&hello_claim_record, claim, NULL, frame);
	free(claim);
	return rc;
}

int peer_mode_wrong_key(struct peer *peer)
{
	struct hostile link = {.alter = sign_other_key};
	struct qmt_err err = {0};
	int verdict = hostile_connect(&link, peer->endpoint, 0, &err) ? cannot_dial(&err) : PEER_HELD;

	if (verdict == PEER_HELD)
		verdict = must_be_refused(peer, &link, hostile_prove(&link, 0, peer->deadline_ms, &err), &err);
	hostile_hang_up(&link);
	return verdict;
}

/* ---- replay ------------------------------------------------------------------------------------------------------ */

struct record {
	struct qmt_buf frames[HELLO_STEP_CLAIM + 1]; /* by step */
	uint8_t nonce[HELLO_NONCE];
};

static int record_frame(struct hostile *link, struct qmt_buf *frame, void *arg)
{
	struct record *record = arg;
	uint8_t step = frame->len ? (uint8_t)frame->data[0] : 0;

	if (step == HELLO_STEP_OFFER || step == HELLO_STEP_CLAIM)
		qmt_buf_append(&record->frames[step], frame->data, frame->len);
	memcpy(record->nonce, link->hello.nonce_d, sizeof record->nonce);
	return 0;
}

static int replay_frame(struct hostile *link, struct qmt_buf *frame, void *arg)
{
	struct record *record = arg;
	uint8_t step = frame->len ? (uint8_t)frame->data[0] : 0;

	if (step != HELLO_STEP_OFFER && step != HELLO_STEP_CLAIM)
		return 0;
	frame->len = 0;
	qmt_buf_append(frame, record->frames[step].data, record->frames[step].len);
	/* what the node signs fits the recorded nonce, and this side goes on to the claim */
	memcpy(link->hello.nonce_d, record->nonce, sizeof record->nonce);
	return 0;
}

static int replay(struct peer *peer, struct record *record, struct hostile *link, unsigned flags)
{
	struct qmt_err err = {0};
	int verdict;

	link->alter = replay_frame;
	link->alter_arg = record;
	peer_next_step(peer);
	verdict = hostile_connect(link, peer->endpoint, flags, &err) ? cannot_dial(&err) : PEER_HELD;
	if (verdict == PEER_HELD)
		verdict = must_be_refused(peer, link, hostile_prove(link, flags, peer->deadline_ms, &err), &err);
	hostile_hang_up(link);
	return verdict;
}

int peer_mode_replay(struct peer *peer)
{
	struct record record = {0};
	struct hostile link = {.alter = record_frame, .alter_arg = &record}, again = {0};
	struct qmt_err err = {0};
	int rc = hostile_connect(&link, peer->endpoint, 0, &err), verdict;

	if (!rc)
		rc = hostile_prove(&link, 0, peer->deadline_ms, &err);
	memcpy(again.key, link.key, sizeof again.key);
	memcpy(again.secret, link.secret, sizeof again.secret);
	hostile_hang_up(&link);
	if (rc) {
		peer_say("failed: an honest HELLO to record came to nothing: %s", err.text);
		verdict = PEER_LET;
	} else {
		struct hostile fresh = {0};

		peer_say("recorded a HELLO");
		verdict = replay(peer, &record, &fresh, 0);
		if (verdict == PEER_HELD) {
			peer_say("once more with the same CURVE key");
			verdict = replay(peer, &record, &again, HOSTILE_KEYED);
		}
	}
	for (size_t i = 0; i < sizeof record.frames / sizeof record.frames[0]; i++)
		qmt_buf_free(&record.frames[i]);
	return verdict;
}
