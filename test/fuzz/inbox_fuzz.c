/* test/fuzz/inbox_fuzz.c - any bytes as frames of a link, in a row: two bytes of length, then the frame.
 *
 * Envelopes lie within the bytes that came, what is held stays within the bound, and it is given back at the end. */
#include <errno.h>

#include "transports/inbox.h"
#include "transports/link_records.h"

#define MUST(x)                                                     \
	do {                                                            \
		if (!(x)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                           \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BODY = 2000, HELD = 3000 };

static int take(void *arg, const struct envelope *env)
{
	size_t *seen = arg;
	uint8_t sum = 0;

	MUST(env->body.len <= BODY + 65536);
	for (uint32_t i = 0; i < env->body.len; i++)
		sum = (uint8_t)(sum + env->body.p[i]);
	*seen += 1 + (sum & 1u);
	MUST(!(env->kind == ENVELOPE_CONTROL && env->type == LINK_PIECE));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct inbox box;
	size_t seen = 0;

	inbox_init(&box, BODY, HELD);
	while (size >= 2) {
		size_t len = (size_t)(data[0] | data[1] << 8);
		struct qmt_err err = {0};
		int rc;

		data += 2;
		size -= 2;
		len = len < size ? len : size;
		rc = inbox_frame(&box, (struct qmt_bytes){data, (uint32_t)len}, take, &seen, &err);
		MUST(rc == 0 || ((rc == -EBADMSG || rc == -EMSGSIZE) && err.text[0]));
		MUST(box.held <= HELD && box.count <= INBOX_TRANSFERS);
		if (rc)
			break; /* the link would be cut */
		data += len;
		size -= len;
	}
	inbox_fini(&box);
	MUST(box.held == 0 && box.count == 0);
	return 0;
}
