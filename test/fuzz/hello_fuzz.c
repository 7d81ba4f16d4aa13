/* test/fuzz/hello_fuzz.c - any bytes as a frame of HELLO, to either side, at any of its steps.
 *
 * The first byte says to whom and when (0: the listener first, 1: the dialer second, 2: the listener third, 3: the
 * dialer fourth), the rest is the frame. Whatever comes: an outcome of the header, no claim of somebody else is
 * believed, and nothing is said after the end. */
#include <errno.h>

#include "transports/hello.h"

#define MUST(x)                                                     \
	do {                                                            \
		if (!(x)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                           \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const scopes[] = {"lan:default", "other"};

static struct qmt_bytes bytes_of(const struct qmt_buf *buf)
{
	return (struct qmt_bytes){(const uint8_t *)buf->data, (uint32_t)buf->len};
}

/* Feeds one frame; the answer replaces what is in `frame`. */
static int feed(struct hello *to, struct qmt_buf *frame)
{
	struct qmt_buf out = {0};
	struct qmt_err err = {0};
	int rc = hello_input(to, bytes_of(frame), &out, &err);

	MUST(rc == HELLO_DONE || rc == HELLO_MORE || (rc < 0 && err.text[0]));
	qmt_buf_free(frame);
	*frame = out;
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct identity identities[2];
	static bool ready;
	struct hello_self self = {.node_name = "a", .boot_id = "01890a5d-ac96-774b-bcce-b302099a8057", .scopes = scopes};
	struct hello_self selves[2] = {self, self};
	struct hello sides[2]; /* dialer, listener */
	const uint8_t key[HELLO_KEY] = {1}, nonces[2][HELLO_NONCE] = {{2}, {3}};
	struct qmt_buf frame = {0};
	int step, rc = HELLO_MORE;

	if (size < 1)
		return 0;
	if (!ready) {
		MUST(identity_crypto_init() == 0);
		identity_generate(&identities[0]);
		identity_generate(&identities[1]);
		ready = true;
	}
	for (int i = 0; i < 2; i++) {
		selves[i].identity = &identities[i];
		selves[i].scope_count = 2;
	}
	step = data[0] % 4;
	hello_listen(&sides[1], &selves[1], key, nonces[1]);
	MUST(hello_dial(&sides[0], &selves[0], key, nonces[0], &identities[1].id, &frame) == 0);
	for (int i = 0; i < step; i++)
		MUST(feed(&sides[(i + 1) % 2], &frame) >= 0);
	qmt_buf_free(&frame);
	qmt_buf_append(&frame, data + 1, size - 1);
	rc = feed(&sides[(step + 1) % 2], &frame);
	/* a signature cannot be guessed: only the step without one may go on, and the welcome, which the channel
	 * protects */
	MUST(rc < 0 || step == 0 || step == 3);
	if (rc < 0) {
		qmt_buf_free(&frame);
		qmt_buf_append(&frame, "\1\x80", 2);
		MUST(feed(&sides[(step + 1) % 2], &frame) < 0 && frame.len == 0);
	}
	qmt_buf_free(&frame);
	hello_fini(&sides[0]);
	hello_fini(&sides[1]);
	return 0;
}
