/* proto/json.c - a small face over jansson: parsing, reading, building. Text is written by json_write.c.
 *
 * A struct json is a json_t; the name stays opaque so that no other file needs jansson's header.
 * jansson allows 2048 levels and its destructor recurses, so depth is counted here, in front of it, in one pass over
 * the text.
 */
#include <errno.h>
#include <jansson.h>

/* jansson's side of the names that json.h uses too. Kept here, in front of that header, which gives them to ours. */
static json_t *jansson_object(void)
{
	return json_object();
}

static json_t *jansson_array(void)
{
	return json_array();
}

static json_t *jansson_real(double value)
{
	return json_real(value);
}

#undef json_is_object
#undef json_is_array
#undef json_is_string
#undef json_is_number
#undef json_is_integer
#undef json_is_null

#include "json.h"
#include "utf8.h"

#include <math.h>

#define JSON_HUGE_INT 9223372036854775808.0 /* 2^63: the first double that is beyond int64_t */

static json_t *inner(const struct json *value)
{
	return (json_t *)(uintptr_t)value; /* jansson counts references in the value: it takes no const */
}

static struct json *outer(const json_t *value)
{
	return (struct json *)(uintptr_t)value;
}

static bool is(const struct json *value, json_type type)
{
	return value && json_typeof(inner(value)) == type;
}

/* ---- parsing ----------------------------------------------------------------------------------------------------- */

/* Text that is no JSON may be found too deep here although its error is an earlier one; it is refused either way. */
static int check_depth(struct qmt_str text, struct qmt_err *err)
{
	uint32_t depth = 0, line = 1, line_start = 0;
	bool quoted = false;

	for (uint32_t i = 0; i < text.len; i++) {
		char c = text.p[i];

		if (c == '\n') {
			line++;
			line_start = i + 1;
		}
		if (quoted) {
			if (c == '\\')
				i++;
			else if (c == '"')
				quoted = false;
		} else if (c == '"') {
			quoted = true;
		} else if (c == '[' || c == '{') {
			if (++depth > JSON_DEPTH)
				return qmt_err_set(
					err, -EBADMSG, "line %u column %u: nested more than %d deep", line, i - line_start + 1, JSON_DEPTH);
		} else if ((c == ']' || c == '}') && depth > 0) {
			depth--;
		}
	}
	return 0;
}

int json_parse(struct qmt_str text, struct json **ret_value, struct qmt_err *err)
{
	json_error_t where = {0};
	int r = check_depth(text, err);

	if (r < 0)
		return r;

	json_t *value = json_loadb(
		text.len > 0 ? text.p : "", text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &where);

	if (value) {
		*ret_value = outer(value);
		return 0;
	}
	if (where.text[0] == '\0' || json_error_code(&where) == json_error_out_of_memory)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	return qmt_err_set(err, -EBADMSG, "line %d column %d: %s", where.line, where.column, where.text);
}

struct json *json_free(struct json *value)
{
	json_decref(inner(value));
	return NULL;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

const struct json *json_get(const struct json *object, const char *key)
{
	return is(object, JSON_OBJECT) ? outer(json_object_get(inner(object), key)) : NULL;
}

size_t json_count(const struct json *array_or_object)
{
	if (is(array_or_object, JSON_ARRAY))
		return json_array_size(inner(array_or_object));
	return is(array_or_object, JSON_OBJECT) ? json_object_size(inner(array_or_object)) : 0;
}

const struct json *json_at(const struct json *array, size_t index)
{
	return is(array, JSON_ARRAY) ? outer(json_array_get(inner(array), index)) : NULL;
}

bool json_next(const struct json *object, void **iter, struct qmt_str *ret_key, const struct json **ret_value)
{
	if (!is(object, JSON_OBJECT))
		return false;

	void *at = *iter ? json_object_iter_next(inner(object), *iter) : json_object_iter(inner(object));

	if (!at)
		return false;
	*iter = at;
	*ret_key = qmt_strn(json_object_iter_key(at), json_object_iter_key_len(at));
	*ret_value = outer(json_object_iter_value(at));
	return true;
}

struct qmt_str json_str(const struct json *string)
{
	if (!is(string, JSON_STRING))
		return (struct qmt_str){NULL, 0};
	return qmt_strn(json_string_value(inner(string)), json_string_length(inner(string)));
}

bool json_is_object(const struct json *value)
{
	return is(value, JSON_OBJECT);
}

bool json_is_array(const struct json *value)
{
	return is(value, JSON_ARRAY);
}

bool json_is_string(const struct json *value)
{
	return is(value, JSON_STRING);
}

bool json_is_number(const struct json *value)
{
	return is(value, JSON_INTEGER) || is(value, JSON_REAL);
}

bool json_is_integer(const struct json *value)
{
	return is(value, JSON_INTEGER);
}

bool json_is_null(const struct json *value)
{
	return is(value, JSON_NULL);
}

bool json_bool(const struct json *value, bool dflt)
{
	return is(value, JSON_TRUE) || (dflt && !is(value, JSON_FALSE));
}

int64_t json_int(const struct json *value, int64_t dflt)
{
	if (is(value, JSON_INTEGER))
		return json_integer_value(inner(value));
	if (!is(value, JSON_REAL))
		return dflt;

	double real = json_real_value(inner(value));

	if (real >= JSON_HUGE_INT)
		return INT64_MAX;
	return real < -JSON_HUGE_INT ? INT64_MIN : (int64_t)real;
}

double json_real(const struct json *value, double dflt)
{
	return json_is_number(value) ? json_number_value(inner(value)) : dflt;
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

struct json *json_object(void)
{
	return outer(jansson_object());
}

struct json *json_array(void)
{
	return outer(jansson_array());
}

struct json *json_new_str(struct qmt_str text)
{
	struct qmt_buf mended QMT_CLEANUP(qmt_buf_free) = {0};

	if (text.len == 0)
		return outer(json_stringn_nocheck("", 0));
	if (utf8_check(text))
		return outer(json_stringn_nocheck(text.p, text.len));
	for (uint32_t at = 0; at < text.len;) {
		struct qmt_str rest = {text.p + at, text.len - at};
		uint32_t good = utf8_valid_prefix(rest);

		qmt_buf_append(&mended, rest.p, good);
		at += good;
		if (at < text.len) {
			qmt_buf_str(&mended, UTF8_REPLACEMENT);
			at += utf8_broken_length((struct qmt_str){text.p + at, text.len - at});
		}
	}
	return mended.failed ? NULL : outer(json_stringn_nocheck(mended.data, mended.len));
}

struct json *json_new_int(int64_t value)
{
	return outer(json_integer(value));
}

struct json *json_new_real(double value)
{
	return isfinite(value) ? outer(jansson_real(value)) : json_new_null();
}

struct json *json_new_bool(bool value)
{
	return outer(json_boolean(value));
}

struct json *json_new_null(void)
{
	return outer(json_null());
}

struct json *json_copy(const struct json *value)
{
	return value ? outer(json_deep_copy(inner(value))) : NULL;
}

int json_set(struct json *object, const char *key, struct json *value)
{
	bool memory = object && value;
	bool fits = json_is_object(object) && utf8_check(qmt_str(key));

	/* Takes the value also when it refuses. */
	if (json_object_set_new(inner(object), key, inner(value)) == 0)
		return 0;
	return memory && !fits ? -EINVAL : -ENOMEM;
}

int json_add(struct json *array, struct json *value)
{
	bool memory = array && value;
	bool fits = json_is_array(array);

	if (json_array_append_new(inner(array), inner(value)) == 0)
		return 0;
	return memory && !fits ? -EINVAL : -ENOMEM;
}
