/* transports/hello.c - the HELLO gate (see hello.h for the messages).
 *
 *      dialer:    IDLE --dial--> WAIT_PROOF --proof--> [WAIT_VERDICT] --> WAIT_WELCOME --welcome--> OVER
 *      listener:  IDLE --listen--> WAIT_OFFER --offer--> WAIT_CLAIM --claim--> [WAIT_VERDICT] --> OVER
 *      any state --bad frame, wrong key, refusal--> REFUSED
 *
 * The dialer checks the listener before it says who it is, so a stranger on the address learns nothing but a nonce.
 */
#include "transports/hello.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <sodium.h>

#include "proto/codec.h"
#include "proto/utf8.h"

QMT_DEFINE_RECORD(hello_offer, HELLO_OFFER, "First frame, from the dialer.")
QMT_DEFINE_RECORD(hello_proof, HELLO_PROOF, "Second frame: the listener proves who it is and which key it sees.")
QMT_DEFINE_RECORD(hello_claim, HELLO_CLAIM, "Third frame: the dialer proves who it is.")
QMT_DEFINE_RECORD(hello_welcome, HELLO_WELCOME, "Fourth frame: the link is proven.")
QMT_DEFINE_RECORD(hello_refusal, HELLO_REFUSAL, "Last frame before a cut.")

enum { SCOPE_MAC = HELLO_SCOPE_MAC };
_Static_assert(SCOPE_MAC == crypto_auth_hmacsha256_BYTES, "one mac");

static int refuse(struct hello *hello, struct qmt_buf *out, struct qmt_err *err, int code, const char *format, ...)
	QMT_PRINTF(5, 6);

static void set_state(struct hello *hello, enum hello_state state)
{
	hello->state = (uint8_t)state;
}

static int put_frame(struct qmt_buf *out, enum hello_step step, const struct qmt_record *record, const void *body)
{
	uint8_t byte = (uint8_t)step;

	qmt_buf_append(out, &byte, 1);
	return codec_encode(record, body, NULL, out);
}

/* The refusal goes to the other side as well: "why does my node not connect" is asked there. */
static int refuse(struct hello *hello, struct qmt_buf *out, struct qmt_err *err, int code, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	set_state(hello, HELLO_REFUSED);
	if (code != -ENOMEM)
		(void)put_frame(out, HELLO_STEP_REFUSAL, &hello_refusal_record,
			&(struct hello_refusal){.code = (uint32_t)-code, .text = qmt_str(text)});
	return qmt_err_set(err, code, "%s", text);
}

static struct qmt_bytes bytes_of(const void *p, size_t len)
{
	return (struct qmt_bytes){p, (uint32_t)len};
}

/* What a signature covers; with_peer is the listener's id in sig_D. Returns its length. */
enum { SIGNED_MAX = 5 + 5 * 4 + PEER_ID_KEY + HELLO_KEY + 2 * HELLO_NONCE };
static size_t signed_text(
	const struct hello *hello, const char label[5], const struct peer_id *with_peer, uint8_t ret[SIGNED_MAX])
{
	uint8_t *p = ret;

	memcpy(p, label, 5);
	p += 5;
	for (int i = 0; i < 5; i++) {
		uint32_t big = htonl(hello->versions[i]);

		memcpy(p, &big, 4);
		p += 4;
	}
	if (with_peer) {
		memcpy(p, with_peer->key, PEER_ID_KEY);
		p += PEER_ID_KEY;
	}
	memcpy(p, hello->channel_key, HELLO_KEY);
	p += HELLO_KEY;
	memcpy(p, hello->nonce_d, HELLO_NONCE);
	p += HELLO_NONCE;
	memcpy(p, hello->nonce_l, HELLO_NONCE);
	p += HELLO_NONCE;
	return (size_t)(p - ret);
}

void hello_scope_mac(const struct hello *hello, const char *scope, char side, uint8_t ret_mac[HELLO_SCOPE_MAC])
{
	crypto_auth_hmacsha256_state state;
	uint8_t label[11] = "qmt-scope-";

	label[10] = (uint8_t)side;
	crypto_auth_hmacsha256_init(&state, (const uint8_t *)scope, strlen(scope));
	crypto_auth_hmacsha256_update(&state, label, sizeof(label));
	crypto_auth_hmacsha256_update(&state, hello->nonce_d, HELLO_NONCE);
	crypto_auth_hmacsha256_update(&state, hello->nonce_l, HELLO_NONCE);
	crypto_auth_hmacsha256_final(&state, ret_mac);
}

static bool has_mac(struct qmt_bytes macs, const uint8_t mac[SCOPE_MAC])
{
	bool found = false;

	for (size_t at = 0; at + SCOPE_MAC <= macs.len; at += SCOPE_MAC)
		found |= sodium_memcmp(macs.p + at, mac, SCOPE_MAC) == 0;
	return found;
}

/* A name from the wire ends up in logs, tables and terminals. */
static bool is_printable(struct qmt_str text, uint32_t max)
{
	if (text.len > max)
		return false;
	for (uint32_t i = 0; i < text.len; i++)
		if (utf8_control(qmt_strn(text.p + i, text.len - i)))
			return false;
	return true;
}

static bool take_names(struct hello_peer *peer, struct qmt_str node, struct qmt_str boot,
	const struct qmt_str *capabilities, uint32_t count)
{
	if (!is_printable(node, HELLO_NAME) || !is_printable(boot, HELLO_BOOT) || boot.len != HELLO_BOOT ||
		count > HELLO_CAPABILITIES)
		return false;
	for (uint32_t i = 0; i < count; i++)
		if (!is_printable(capabilities[i], HELLO_NAME))
			return false;
	peer->node_name = node;
	peer->boot_id = boot;
	peer->capabilities = capabilities;
	peer->capability_count = count;
	return true;
}

/* Decodes the map of a frame into a heap block that the hello keeps. NULL: refused. */
static void *take_frame(
	struct hello *hello, const struct qmt_record *record, struct qmt_bytes frame, struct qmt_err *err)
{
	struct qmt_bytes map = {frame.p + 1, frame.len - 1};

	free(hello->memory);
	hello->memory = codec_decode_new(record, map, NULL, err);
	return hello->memory;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	return sodium_is_zero(p, len) == 1;
}

int hello_dial(struct hello *hello, const struct hello_self *self, const uint8_t channel_key[HELLO_KEY],
	const uint8_t nonce[HELLO_NONCE], const struct peer_id *expected, struct qmt_buf *out)
{
	struct hello_offer offer = {
		.min = HELLO_VERSION_MIN,
		.max = HELLO_VERSION_MAX,
	};

	*hello = (struct hello){.self = self, .dials = true, .any_peer = !expected};
	if (expected)
		hello->expected = *expected;
	memcpy(hello->channel_key, channel_key, HELLO_KEY);
	memcpy(hello->nonce_d, nonce, HELLO_NONCE);
	hello->versions[0] = offer.min;
	hello->versions[1] = offer.max;
	offer.nonce = bytes_of(hello->nonce_d, HELLO_NONCE);
	set_state(hello, HELLO_WAIT_PROOF);
	return put_frame(out, HELLO_STEP_OFFER, &hello_offer_record, &offer);
}

void hello_listen(struct hello *hello, const struct hello_self *self, const uint8_t channel_key[HELLO_KEY],
	const uint8_t nonce[HELLO_NONCE])
{
	*hello = (struct hello){.self = self, .any_peer = true};
	memcpy(hello->channel_key, channel_key, HELLO_KEY);
	memcpy(hello->nonce_l, nonce, HELLO_NONCE);
	hello->versions[2] = HELLO_VERSION_MIN;
	hello->versions[3] = HELLO_VERSION_MAX;
	set_state(hello, HELLO_WAIT_OFFER);
}

void hello_fini(struct hello *hello)
{
	free(hello->memory);
	*hello = (struct hello){0};
}

static int on_offer(struct hello *hello, struct qmt_bytes frame, struct qmt_buf *out, struct qmt_err *err)
{
	const struct hello_offer *offer = take_frame(hello, &hello_offer_record, frame, err);
	uint8_t text[SIGNED_MAX], signature[IDENTITY_SIGNATURE], id[PEER_ID_BYTES];
	uint32_t *v = hello->versions;

	if (!offer)
		return refuse(hello, out, err, -EBADMSG, "malformed HELLO offer");
	if (offer->nonce.len != HELLO_NONCE || is_zero(offer->nonce.p, HELLO_NONCE))
		return refuse(hello, out, err, -EBADMSG, "HELLO offer without a nonce of %d bytes", HELLO_NONCE);
	memcpy(hello->nonce_d, offer->nonce.p, HELLO_NONCE);
	v[0] = offer->min;
	v[1] = offer->max;
	v[4] = v[1] < v[3] ? v[1] : v[3];
	if (v[0] > v[1] || v[4] < v[0] || v[4] < v[2])
		return refuse(hello, out, err, -EPROTONOSUPPORT,
			"no common version: this node speaks %u to %u, the dialer %u to %u", v[2], v[3], v[0], v[1]);
	identity_sign(hello->self->identity, text, signed_text(hello, "qmt-L", NULL, text), signature);
	peer_id_bytes(&hello->self->identity->id, id);
	struct hello_proof proof = {
		.min = v[2],
		.max = v[3],
		.version = v[4],
		.nonce = bytes_of(hello->nonce_l, HELLO_NONCE),
		.peer = bytes_of(id, sizeof(id)),
		.signature = bytes_of(signature, sizeof(signature)),
	};
	set_state(hello, HELLO_WAIT_CLAIM);
	return put_frame(out, HELLO_STEP_PROOF, &hello_proof_record, &proof) ? -ENOMEM : HELLO_MORE;
}

static int ask_or_go_on(struct hello *hello, struct qmt_buf *out, struct qmt_err *err);

static int send_claim(struct hello *hello, struct qmt_buf *out)
{
	const struct hello_self *self = hello->self;
	uint8_t text[SIGNED_MAX], signature[IDENTITY_SIGNATURE], id[PEER_ID_BYTES], macs[HELLO_SCOPES * SCOPE_MAC];

	for (uint32_t i = 0; i < self->scope_count; i++)
		hello_scope_mac(hello, self->scopes[i], 'D', macs + i * SCOPE_MAC);
	identity_sign(self->identity, text, signed_text(hello, "qmt-D", &hello->peer.id, text), signature);
	peer_id_bytes(&self->identity->id, id);
	struct hello_claim claim = {
		.peer = bytes_of(id, sizeof(id)),
		.signature = bytes_of(signature, sizeof(signature)),
		.node = qmt_str(self->node_name),
		.boot = qmt_str(self->boot_id),
		.attempt = self->attempt,
		.capabilities = {self->capabilities, self->capability_count},
		.scopes = bytes_of(macs, self->scope_count * SCOPE_MAC),
		.body_bytes = self->body_bytes,
		.features = self->features,
	};
	set_state(hello, HELLO_WAIT_WELCOME);
	return put_frame(out, HELLO_STEP_CLAIM, &hello_claim_record, &claim) ? -ENOMEM : HELLO_MORE;
}

static int on_proof(struct hello *hello, struct qmt_bytes frame, struct qmt_buf *out, struct qmt_err *err)
{
	const struct hello_proof *proof = take_frame(hello, &hello_proof_record, frame, err);
	struct peer_id *id = &hello->peer.id;
	uint8_t text[SIGNED_MAX];
	uint32_t *v = hello->versions;

	if (!proof)
		return refuse(hello, out, err, -EBADMSG, "malformed HELLO proof");
	if (proof->nonce.len != HELLO_NONCE || proof->signature.len != IDENTITY_SIGNATURE ||
		peer_id_from_bytes(proof->peer, id, NULL))
		return refuse(hello, out, err, -EBADMSG, "HELLO proof without nonce, signature or PeerId");
	memcpy(hello->nonce_l, proof->nonce.p, HELLO_NONCE);
	v[2] = proof->min;
	v[3] = proof->max;
	v[4] = v[1] < v[3] ? v[1] : v[3];
	if (proof->version != v[4] || v[4] < v[0] || v[4] < v[2])
		return refuse(hello, out, err, -EPROTONOSUPPORT, "the listener chose version %u of HELLO out of %u to %u",
			proof->version, v[2], v[3]);
	if (!identity_verify(id, text, signed_text(hello, "qmt-L", NULL, text), proof->signature.p))
		return refuse(hello, out, err, -EKEYREJECTED,
			"the listener's signature does not name this connection's key: somebody may stand in the middle");
	if (peer_id_compare(id, &hello->self->identity->id) == 0) {
		hello->is_own = true;
		return send_claim(hello, out); /* nothing that it does not know */
	}
	if (!hello->any_peer && peer_id_compare(id, &hello->expected) != 0) {
		char got[PEER_ID_TEXT + 1], wanted[PEER_ID_TEXT + 1];

		peer_id_text(id, got);
		peer_id_text(&hello->expected, wanted);
		return refuse(hello, out, err, -EACCES, "the node there is %s, expected %s", got, wanted);
	}
	hello->peer.version = v[4];
	return ask_or_go_on(hello, out, err);
}

/* Which of the offered scopes this side has too, in the order of the offer. */
static void share_scopes(struct hello *hello, struct qmt_bytes offered)
{
	struct hello_peer *peer = &hello->peer;

	peer->scope_count = 0;
	for (size_t at = 0; at + SCOPE_MAC <= offered.len && peer->scope_count < HELLO_SCOPES; at += SCOPE_MAC) {
		for (uint32_t i = 0; i < hello->self->scope_count; i++) {
			uint8_t mac[SCOPE_MAC];

			hello_scope_mac(hello, hello->self->scopes[i], 'D', mac);
			if (sodium_memcmp(offered.p + at, mac, SCOPE_MAC) != 0)
				continue;
			peer->scopes[peer->scope_count++] = (uint8_t)i;
			break;
		}
	}
}

static int on_claim(struct hello *hello, struct qmt_bytes frame, struct qmt_buf *out, struct qmt_err *err)
{
	const struct hello_claim *claim = take_frame(hello, &hello_claim_record, frame, err);
	const struct hello_self *self = hello->self;
	struct hello_peer *peer = &hello->peer;
	uint8_t text[SIGNED_MAX];

	if (!claim)
		return refuse(hello, out, err, -EBADMSG, "malformed HELLO claim");
	if (claim->signature.len != IDENTITY_SIGNATURE || peer_id_from_bytes(claim->peer, &peer->id, NULL) ||
		claim->scopes.len % SCOPE_MAC || claim->scopes.len > HELLO_SCOPES * SCOPE_MAC)
		return refuse(hello, out, err, -EBADMSG, "HELLO claim without signature or PeerId, or with malformed scopes");
	if (!identity_verify(&peer->id, text, signed_text(hello, "qmt-D", &self->identity->id, text), claim->signature.p))
		return refuse(hello, out, err, -EKEYREJECTED,
			"the dialer's signature does not fit its PeerId and the key of this connection");
	if (peer_id_compare(&peer->id, &self->identity->id) == 0 && qmt_str_is(claim->boot, self->boot_id))
		return refuse(hello, out, err, -EALREADY, "this node dialed itself");
	if (peer_id_compare(&peer->id, &self->identity->id) == 0)
		return refuse(hello, out, err, -ELOOP, "both nodes have the same identity (PeerId): one of them needs its own");
	if (!take_names(peer, claim->node, claim->boot, claim->capabilities.items, claim->capabilities.count))
		return refuse(hello, out, err, -EBADMSG, "HELLO claim with an overlong or unprintable name");
	hello->offered = claim->scopes;
	peer->version = hello->versions[4];
	peer->attempt = claim->attempt;
	peer->body_bytes = claim->body_bytes;
	peer->features = claim->features;
	return ask_or_go_on(hello, out, err);
}

static int send_welcome(struct hello *hello, struct qmt_buf *out, struct qmt_err *err)
{
	const struct hello_self *self = hello->self;
	const struct hello_peer *peer = &hello->peer;
	uint8_t macs[HELLO_SCOPES * SCOPE_MAC];

	share_scopes(hello, hello->offered);
	if (peer->scope_count == 0)
		return refuse(hello, out, err, -ENOLINK, "no scope in common");
	for (uint32_t i = 0; i < peer->scope_count; i++)
		hello_scope_mac(hello, self->scopes[peer->scopes[i]], 'L', macs + i * SCOPE_MAC);
	struct hello_welcome welcome = {
		.node = qmt_str(self->node_name),
		.boot = qmt_str(self->boot_id),
		.capabilities = {self->capabilities, self->capability_count},
		.scopes = bytes_of(macs, peer->scope_count * SCOPE_MAC),
		.body_bytes = self->body_bytes,
		.features = self->features,
	};
	set_state(hello, HELLO_OVER);
	return put_frame(out, HELLO_STEP_WELCOME, &hello_welcome_record, &welcome) ? -ENOMEM : HELLO_DONE;
}

int hello_accept(struct hello *hello, struct qmt_buf *out, struct qmt_err *err)
{
	return hello->dials ? send_claim(hello, out) : send_welcome(hello, out, err);
}

/* Who is there is proven. */
static int ask_or_go_on(struct hello *hello, struct qmt_buf *out, struct qmt_err *err)
{
	if (!hello->self->asks)
		return hello_accept(hello, out, err);
	set_state(hello, HELLO_WAIT_VERDICT);
	return HELLO_ASK;
}

void hello_deny(struct hello *hello, struct qmt_buf *out, const char *why)
{
	(void)refuse(hello, out, NULL, -EPERM, "%s", why);
}

static int on_welcome(struct hello *hello, struct qmt_bytes frame, struct qmt_buf *out, struct qmt_err *err)
{
	const struct hello_welcome *welcome = take_frame(hello, &hello_welcome_record, frame, err);
	struct hello_peer *peer = &hello->peer;

	if (!welcome)
		return refuse(hello, out, err, -EBADMSG, "malformed HELLO welcome");
	if (hello->is_own)
		return refuse(hello, out, err, -ELOOP, "another node there has this node's own PeerId");
	if (!take_names(peer, welcome->node, welcome->boot, welcome->capabilities.items, welcome->capabilities.count))
		return refuse(hello, out, err, -EBADMSG, "HELLO welcome with an overlong or unprintable name");
	if (welcome->scopes.len % SCOPE_MAC || welcome->scopes.len > HELLO_SCOPES * SCOPE_MAC)
		return refuse(hello, out, err, -EBADMSG, "HELLO welcome with malformed scopes");
	peer->scope_count = 0;
	for (uint32_t i = 0; i < hello->self->scope_count; i++) {
		uint8_t mac[SCOPE_MAC];

		hello_scope_mac(hello, hello->self->scopes[i], 'L', mac);
		if (has_mac(welcome->scopes, mac))
			peer->scopes[peer->scope_count++] = (uint8_t)i;
	}
	if (peer->scope_count == 0 || peer->scope_count != welcome->scopes.len / SCOPE_MAC)
		return refuse(hello, out, err, -ENOLINK, "no scope in common");
	peer->body_bytes = welcome->body_bytes;
	peer->features = welcome->features;
	set_state(hello, HELLO_OVER);
	return HELLO_DONE;
}

static int on_refusal(struct hello *hello, struct qmt_bytes frame, struct qmt_err *err)
{
	const struct hello_refusal *refusal = take_frame(hello, &hello_refusal_record, frame, NULL);

	set_state(hello, HELLO_REFUSED);
	if (hello->is_own) /* who says so has proved this node's own key */
		return refusal && refusal->code == EALREADY
			? qmt_err_set(err, -EALREADY, "this node's own PeerId: the address is this node itself")
			: qmt_err_set(err, -ELOOP, "another node there has this node's own PeerId");
	if (!refusal || !is_printable(refusal->text, 256))
		return qmt_err_set(err, -ECONNREFUSED, "the other side refused the connection");
	return qmt_err_set(err, -ECONNREFUSED, "the other side refused: %.*s", QMT_STR_ARG(refusal->text));
}

int hello_input(struct hello *hello, struct qmt_bytes frame, struct qmt_buf *out, struct qmt_err *err)
{
	static const struct {
		uint8_t step;
		int (*take)(struct hello *hello, struct qmt_bytes frame, struct qmt_buf *out, struct qmt_err *err);
	} expects[] = {
		[HELLO_WAIT_OFFER] = {HELLO_STEP_OFFER, on_offer},
		[HELLO_WAIT_PROOF] = {HELLO_STEP_PROOF, on_proof},
		[HELLO_WAIT_CLAIM] = {HELLO_STEP_CLAIM, on_claim},
		[HELLO_WAIT_WELCOME] = {HELLO_STEP_WELCOME, on_welcome},
	};

	/* Nothing is said to what comes after the end: two sides that refuse each other would never stop. */
	if (hello->state >= sizeof(expects) / sizeof(expects[0]) || !expects[hello->state].take)
		return qmt_err_set(err, -EBADMSG, "HELLO is over");
	if (frame.len < 2)
		return refuse(hello, out, err, -EBADMSG, "HELLO frame of %u bytes", frame.len);
	if (frame.p[0] == HELLO_STEP_REFUSAL)
		return on_refusal(hello, frame, err);
	if (frame.p[0] != expects[hello->state].step)
		return refuse(
			hello, out, err, -EBADMSG, "HELLO step %u where %u is due", frame.p[0], expects[hello->state].step);
	return expects[hello->state].take(hello, frame, out, err);
}
