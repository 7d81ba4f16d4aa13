/* proto/json.h - JSON: a small face over jansson, and records to JSON along their field tables.
 *
 * Threads: a value belongs to one owner.   Blocks: never.
 * Limits:  input JSON_DEPTH deep and size as given by its length (a value in memory takes up to 40 times its text:
 *          bound the text); duplicate keys are refused; texts are UTF-8; whole numbers fit int64, others double.
 * NUL:     \u0000 inside a text is kept (texts have a length), in a key it is refused. Who makes a path or an argument
 *          of such a text must look for it.
 */
#ifndef PROTO_JSON_H
#define PROTO_JSON_H

#include "runtime/base/bytes.h"
#include "runtime/base/err.h"
#include "runtime/message.h"

enum { JSON_DEPTH = 128 };

/* jansson exports functions of these names: ours are other symbols, so that the linker cannot mix them up. */
#define json_object qmt_json_object
#define json_array qmt_json_array
#define json_copy qmt_json_copy
#define json_real qmt_json_real

struct json; /* a value of any type */

/* 0; -EBADMSG, or -ENOMEM (jansson cannot tell a text that it has no memory for from a bad one: -EBADMSG).
 * Errors: "line L column C: what". json_free (NULL is fine) what came back. */
QMT_MUST_CHECK int json_parse(struct qmt_str text, struct json **ret_value, struct qmt_err *err);
struct json *json_free(struct json *value);          /* returns NULL; only for values that you own, not for members */
static inline void json_cleanup(struct json **value) /* for QMT_CLEANUP */
{
	json_free(*value);
}
/* Appends compact text (one line). 0 or -ENOMEM. Members keep their order; numbers are written as short as they still
 * read back the same. */
QMT_MUST_CHECK int json_write(const struct json *value, struct qmt_buf *out);

/* Reading. All take NULL and wrong types and then give NULL, the default, or an absent text. Borrowed. */
const struct json *json_get(const struct json *object, const char *key);
size_t json_count(const struct json *array_or_object);
const struct json *json_at(const struct json *array, size_t index);
/* Walks an object: start with *iter NULL; false at the end. */
bool json_next(const struct json *object, void **iter, struct qmt_str *ret_key, const struct json **ret_value);
struct qmt_str json_str(const struct json *string);
bool json_is_object(const struct json *value);
bool json_is_array(const struct json *value);
bool json_is_string(const struct json *value);
bool json_is_number(const struct json *value);
bool json_is_integer(const struct json *value); /* written without fraction and exponent */
bool json_is_null(const struct json *value);    /* JSON null, not NULL */
bool json_bool(const struct json *value, bool dflt);
int64_t json_int(const struct json *value, int64_t dflt); /* a real is cut, also to the ends of int64 */
double json_real(const struct json *value, double dflt);

/* Building. NULL when memory is out; adding NULL, or to NULL, gives -ENOMEM, so a failed part makes the step that adds
 * it fail: OR the results of all steps together and look once, at the end. */
struct json *json_object(void);
struct json *json_array(void);
struct json *json_new_str(struct qmt_str text); /* invalid UTF-8 is replaced by U+FFFD */
struct json *json_new_int(int64_t value);
struct json *json_new_real(double value); /* JSON has no infinity and no NaN: these become null */
struct json *json_new_bool(bool value);
struct json *json_new_null(void);
struct json *json_copy(const struct json *value); /* deep */
/* Takes `value` always. A key that is there keeps its place and gets the new value. -EINVAL: not an object, not an
 * array, a key that is not UTF-8. */
int json_set(struct json *object, const char *key, struct json *value);
int json_add(struct json *array, struct json *value);

/* A record as a JSON object, along its table; REF as null; BYTES as base64; a U64 beyond int64 as a real. all: also
 * zero and empty fields (stable output for scripts). NULL: out of memory. */
struct json *json_from_record(const struct qmt_record *record, const void *body, bool all);

/* Appends a JSON string with quotes, for writers of their own. Invalid UTF-8 is replaced. */
void json_quote(struct qmt_buf *out, struct qmt_str text);

#endif
