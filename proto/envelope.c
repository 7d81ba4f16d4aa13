/* proto/envelope.c - the array around a message, written and read element by element; the body stays bytes. */
#include "envelope.h"

#include <errno.h>

#include "pack.h"
#include "raw.h"
#include "unpack.h"
#include "utf8.h"

enum { NIL = 0xc0, ELEMENTS = 8 }; /* kind, id, to, type, deadline_ms, scope, trace, body */

void envelope_put(struct qmt_buf *out, const struct envelope *env)
{
	if (env->to_name.len > ENVELOPE_NAME || env->type_name.len > ENVELOPE_TYPE) {
		out->failed = true;
		return;
	}
	uint8_t *begin = raw_room(out, ENVELOPE_NAME + ENVELOPE_TYPE + ELEMENTS * RAW_NUMBER), *at = begin;
	if (!begin)
		return;
	*at++ = 0x90 | ELEMENTS;
	*at++ = env->kind;
	at = raw_put_uint(at, env->id);
	if (env->to_name.len > 0)
		at = raw_put_bytes(raw_put_str_head(at, env->to_name.len), env->to_name.p, env->to_name.len);
	else if (env->to != 0)
		at = raw_put_uint(at, env->to);
	else
		*at++ = NIL;
	if (env->type_name.len > 0) {
		*at++ = 0x92;
		at = raw_put_uint(at, env->type);
		at = raw_put_bytes(raw_put_str_head(at, env->type_name.len), env->type_name.p, env->type_name.len);
	} else {
		at = raw_put_uint(at, env->type);
	}
	at = raw_put_uint(at, env->deadline_ms);
	at = raw_put_uint(at, env->scope);
	at = raw_put_uint(at, env->trace);
	out->len += (size_t)(at - begin);
	*at = '\0';
}

void envelope_put_nil(struct qmt_buf *out)
{
	pack_nil(out);
	pack_end(out);
}

static const char *get_uint(struct unpack *in, uint64_t most, uint64_t *ret_value)
{
	struct unpack_head head;
	const char *fault = unpack_head(in, &head);

	if (fault)
		return fault;
	if (head.type != UNPACK_UINT || head.value > most)
		return "not a number, or too large";
	*ret_value = head.value;
	return NULL;
}

static const char *get_u32(struct unpack *in, uint32_t *ret_value)
{
	uint64_t value = 0;
	const char *fault = get_uint(in, UINT32_MAX, &value);

	*ret_value = (uint32_t)value;
	return fault;
}

/* The text behind a head of type UNPACK_STR. */
static const char *get_text(struct unpack *in, uint64_t len, uint32_t most, struct qmt_str *ret_text)
{
	struct qmt_str text = qmt_strn((const char *)in->at, len);

	if (len == 0)
		return "an empty text";
	if (len > most)
		return "the text is too long";
	if (!utf8_check(text))
		return "text is not UTF-8";
	in->at += len;
	*ret_text = text;
	return NULL;
}

static const char *get_to(struct unpack *in, struct envelope *env)
{
	struct unpack_head head;
	const char *fault = unpack_head(in, &head);

	if (fault || head.type == UNPACK_NIL)
		return fault;
	if (head.type == UNPACK_STR)
		return get_text(in, head.value, ENVELOPE_NAME, &env->to_name);
	if (head.type != UNPACK_UINT || head.value > UINT32_MAX)
		return "not a name, a number or nil";
	env->to = (uint32_t)head.value;
	return NULL;
}

static const char *get_type(struct unpack *in, struct envelope *env)
{
	struct unpack_head head;
	const char *fault = unpack_head(in, &head);

	if (fault)
		return fault;
	if (head.type == UNPACK_UINT && head.value <= UINT32_MAX) {
		env->type = (uint32_t)head.value;
		return NULL;
	}
	if (head.type != UNPACK_ARRAY || head.value != 2)
		return "not a number or [number, text]";
	fault = get_u32(in, &env->type);
	if (!fault)
		fault = unpack_head(in, &head);
	if (!fault && head.type != UNPACK_STR)
		fault = "not a number or [number, text]";
	return fault ? fault : get_text(in, head.value, ENVELOPE_TYPE, &env->type_name);
}

static const char *get_body(struct unpack *in, struct envelope *env)
{
	struct unpack_head head;
	const uint8_t *from = in->at;
	struct unpack peek = *in;
	const char *fault = unpack_head(&peek, &head);

	if (!fault && head.type != UNPACK_MAP && head.type != UNPACK_NIL)
		fault = "not a map or nil";
	if (!fault)
		fault = unpack_skip(in, UNPACK_DEPTH);
	if (!fault && head.type == UNPACK_MAP)
		env->body = (struct qmt_bytes){from, (uint32_t)(in->at - from)};
	return fault;
}

static const char *get_kind(struct unpack *in, struct envelope *env)
{
	uint64_t kind = 0;
	const char *fault = get_uint(in, ENVELOPE_KINDS - 1, &kind);

	env->kind = (uint8_t)kind;
	return fault;
}

static const char *get_id(struct unpack *in, struct envelope *env)
{
	return get_uint(in, UINT64_MAX, &env->id);
}

static const char *get_deadline(struct unpack *in, struct envelope *env)
{
	return get_uint(in, UINT64_MAX, &env->deadline_ms);
}

static const char *get_scope(struct unpack *in, struct envelope *env)
{
	return get_u32(in, &env->scope);
}

static const char *get_trace(struct unpack *in, struct envelope *env)
{
	return get_uint(in, UINT64_MAX, &env->trace);
}

static const struct {
	const char *name;
	const char *(*get)(struct unpack *in, struct envelope *env);
} elements[ELEMENTS] = {{"kind", get_kind}, {"id", get_id}, {"to", get_to}, {"type", get_type},
	{"deadline_ms", get_deadline}, {"scope", get_scope}, {"trace", get_trace}, {"body", get_body}};

/* The short way, for what our own writer makes when both sides know the names: all numbers, and a body that begins like
 * one. False: declined, and the long way has the last word. */
static bool get_numbers(struct unpack *in, struct envelope *env)
{
	const uint8_t *at = in->at, *end = in->end;
	uint64_t kind = 0, to = 0, type, scope; /* set by raw_get_uint; gcc does not see that with TSan */

	if (at == end || *at++ != (0x90 | ELEMENTS) || !raw_get_uint(&at, end, &kind) || kind >= ENVELOPE_KINDS ||
		!raw_get_uint(&at, end, &env->id) || at == end)
		return false;
	if (*at == NIL)
		at++;
	else if (!raw_get_uint(&at, end, &to))
		return false;
	if (!raw_get_uint(&at, end, &type) || !raw_get_uint(&at, end, &env->deadline_ms) ||
		!raw_get_uint(&at, end, &scope) || !raw_get_uint(&at, end, &env->trace))
		return false;
	if (to > UINT32_MAX || type > UINT32_MAX || scope > UINT32_MAX)
		return false;
	env->kind = (uint8_t)kind;
	env->to = (uint32_t)to;
	env->type = (uint32_t)type;
	env->scope = (uint32_t)scope;
	in->at = at;
	return true;
}

int envelope_get(struct qmt_bytes *data, struct envelope *ret_env, struct qmt_err *err)
{
	struct envelope env = {0};
	struct unpack in = unpack_from(*data);
	struct unpack_head head;

	if (data->len == 0)
		return 1;

	const char *fault;

	if (get_numbers(&in, &env)) {
		fault = get_body(&in, &env);
		if (fault)
			return qmt_err_set(err, -EBADMSG, "envelope.body: %s", fault);
		*data = (struct qmt_bytes){in.at, (uint32_t)unpack_left(&in)};
		*ret_env = env;
		return 0;
	}
	env = (struct envelope){0};
	fault = unpack_head(&in, &head);
	if (!fault && (head.type != UNPACK_ARRAY || head.value < ELEMENTS))
		fault = "not an array of at least 8 elements";
	if (fault)
		return qmt_err_set(err, -EBADMSG, "envelope: %s", fault);
	for (size_t i = 0; i < ELEMENTS; i++) {
		fault = elements[i].get(&in, &env);
		if (fault)
			return qmt_err_set(err, -EBADMSG, "envelope.%s: %s", elements[i].name, fault);
	}
	for (uint64_t i = ELEMENTS; i < head.value; i++) {
		fault = unpack_skip(&in, UNPACK_DEPTH);
		if (fault)
			return qmt_err_set(err, -EBADMSG, "envelope: element %llu: %s", (unsigned long long)i, fault);
	}
	*data = (struct qmt_bytes){in.at, (uint32_t)unpack_left(&in)};
	*ret_env = env;
	return 0;
}
