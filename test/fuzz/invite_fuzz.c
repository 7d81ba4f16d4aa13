/* test/fuzz/invite_fuzz.c - any text as an invite: what decodes is written in the same text again, what verifies was
 * signed, a fragment is an address, and a URL is its token. Also any text as a span of time. */
#include "proto/invite.h"
#include "proto/ttl.h"

#define MUST(x)                                                     \
	do {                                                            \
		if (!(x)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                           \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_ttl(struct qmt_str text)
{
	uint64_t seconds, again;
	struct qmt_err err = {0};
	char shown[TTL_TEXT];

	if (ttl_parse(text, &seconds, &err) != 0) {
		MUST(err.text[0]);
		return;
	}
	MUST(seconds == TTL_NONE || seconds <= TTL_MAX);
	ttl_text(seconds, shown);
	MUST(ttl_parse(qmt_str(shown), &again, &err) == 0 && again == seconds);
}

static void as_token(struct qmt_str text)
{
	struct invite invite, second;
	struct qmt_err err = {0};
	struct qmt_str bare = text;
	char token[INVITE_TOKEN + 1], url[INVITE_URL + 1], id[INVITE_ID_TEXT + 1], inviter[INVITE_INVITER_TEXT];
	char mesh[MESH_ID];
	uint8_t id_again[INVITE_ID];
	int rc = invite_decode(text, &invite, &err);

	if (rc != 0) {
		MUST(rc == INVITE_E_TOKEN && err.code == rc && err.text[0]);
		return;
	}
	if (bare.len > strlen(INVITE_URL_PREFIX) && memcmp(bare.p, INVITE_URL_PREFIX, strlen(INVITE_URL_PREFIX)) == 0)
		bare = qmt_strn(bare.p + strlen(INVITE_URL_PREFIX), bare.len - strlen(INVITE_URL_PREFIX));
	invite_token(&invite, token);
	MUST(qmt_str_is(bare, token));
	snprintf(url, sizeof url, INVITE_URL_PREFIX "%s", token);
	MUST(invite_decode(qmt_str(url), &second, &err) == 0 && memcmp(&second, &invite, sizeof invite) == 0);
	invite_id_text(invite.id, id);
	MUST(invite_id_parse(qmt_str(id), id_again) == 0 && memcmp(id_again, invite.id, INVITE_ID) == 0);
	invite_inviter_text(&invite, inviter);
	MUST(invite_mesh_id(&invite, mesh) <= MESH_ID);
	rc = invite_verify(&invite, 1780000000, &err);
	MUST(rc == 0 || ((rc == INVITE_E_EXPIRED || rc == INVITE_E_SIGNATURE) && err.text[0]));
	if (rc == 0) { /* a fuzzer signs nothing: it has one of the corpus, and one more bit is not signed */
		invite.max_uses ^= 1;
		MUST(invite_verify(&invite, 1780000000, &err) == INVITE_E_SIGNATURE);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	struct qmt_str text = qmt_strn((const char *)data, size), part;
	struct multiaddr addr;
	struct qmt_err err = {0};
	bool has;

	if (!ready)
		MUST(identity_crypto_init() == 0);
	ready = true;
	as_ttl(text);
	as_token(text);
	if (invite_split(text, &part, &has, &addr, &err) == 0) {
		MUST(has ? part.len < text.len : part.len == text.len);
		MUST(!has || addr.port != 0);
		as_token(part);
	} else {
		MUST(err.code == INVITE_E_TOKEN && err.text[0]);
	}
	return 0;
}
