/* test/fuzz/envelope_fuzz.c - any bytes as a frame.
 *
 * Each envelope that is got moves the place forward, stays within the bytes, and is the same again after it was put. */
#include <errno.h>

#include "proto/envelope.h"

#define MUST(x)                                                     \
	do {                                                            \
		if (!(x)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                           \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same_bytes(const void *a, uint32_t a_len, const void *b, uint32_t b_len)
{
	return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

static void check(const struct envelope *env)
{
	struct qmt_buf out = {0};
	struct envelope back = {0};

	envelope_put(&out, env);
	if (env->body.len > 0)
		qmt_buf_append(&out, env->body.p, env->body.len);
	else
		envelope_put_nil(&out);
	MUST(!out.failed);

	struct qmt_bytes bytes = {(const uint8_t *)out.data, (uint32_t)out.len};

	MUST(envelope_get(&bytes, &back, NULL) == 0);
	MUST(bytes.len == 0);
	MUST(back.kind == env->kind && back.id == env->id && back.to == env->to && back.type == env->type);
	MUST(back.deadline_ms == env->deadline_ms && back.scope == env->scope && back.trace == env->trace);
	MUST(qmt_str_eq(back.to_name, env->to_name) && qmt_str_eq(back.type_name, env->type_name));
	MUST(same_bytes(back.body.p, back.body.len, env->body.p, env->body.len));
	qmt_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmt_bytes rest = {data, (uint32_t)size};

	for (;;) {
		struct qmt_bytes before = rest;
		struct envelope env;
		struct qmt_err err = {0};
		int r = envelope_get(&rest, &env, &err);

		if (r != 0) {
			MUST(rest.p == before.p && rest.len == before.len);
			MUST(r == 1 ? rest.len == 0 : r == -EBADMSG && err.text[0]);
			return 0;
		}
		MUST(rest.len < before.len && rest.p + rest.len == data + size);
		check(&env);
	}
}
