/* test/fuzz/membership_fuzz.c - any bytes as a membership, and as its JSON: what is read is written in the same form
 * again, and holds for nobody but its member. */
#include <errno.h>

#include "proto/membership.h"

#define MUST(x)                                                     \
	do {                                                            \
		if (!(x)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                           \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct membership *m)
{
	struct membership again;
	struct qmt_buf json = {0};
	struct qmt_err err = {0};
	struct peer_id other = m->peer;
	uint8_t bytes[MEMBERSHIP_BYTES];
	uint32_t len = membership_encode(m, bytes);
	struct qmt_str mesh = qmt_strn(m->mesh_id, m->mesh_id_len);

	MUST(membership_decode((struct qmt_bytes){bytes, len}, &again, &err) == 0);
	MUST(memcmp(&again, m, sizeof again) == 0);
	MUST(membership_to_json(m, &json) == 0);
	MUST(membership_from_json(qmt_buf_view(&json), &again, &err) == 0);
	MUST(memcmp(&again, m, sizeof again) == 0);
	qmt_buf_free(&json);
	other.key[0] ^= 1;
	MUST(membership_verify(m, mesh, &other, 1780000000, &err) > 0 && err.text[0]);
	MUST(membership_verify(m, mesh, &m->peer, 1780000000, &err) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	struct membership m;
	struct qmt_err err = {0};
	uint8_t again[MEMBERSHIP_BYTES];
	int rc;

	if (!ready)
		MUST(identity_crypto_init() == 0);
	ready = true;
	rc = membership_decode((struct qmt_bytes){data, (uint32_t)size}, &m, &err);
	MUST(rc == 0 || (rc == MEMBERSHIP_E_FORM && err.text[0]));
	if (rc == 0) {
		MUST(membership_encode(&m, again) == size && memcmp(again, data, size) == 0);
		check(&m);
	}
	rc = membership_from_json(qmt_strn((const char *)data, size), &m, &err);
	MUST(rc == 0 || rc == -ENOMEM || (rc == MEMBERSHIP_E_FORM && err.text[0]));
	if (rc == 0)
		check(&m);
	return 0;
}
