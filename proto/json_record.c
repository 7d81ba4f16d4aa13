/* proto/json_record.c - records as JSON, along their field tables: what --json prints.
 *
 * The recursion is as deep as records are nested in their tables (REC and LIST), which are constants.
 */
#include "json.h"

#include <errno.h>
#include <sodium.h>

static struct json *from_bytes(struct qmt_bytes bytes)
{
	if (bytes.len == 0)
		return json_new_str(qmt_str(""));

	size_t size = sodium_base64_encoded_len(bytes.len, sodium_base64_VARIANT_ORIGINAL);
	struct qmt_buf text QMT_CLEANUP(qmt_buf_free) = {0};
	char *room = qmt_buf_reserve(&text, size);

	if (!room)
		return NULL;
	sodium_bin2base64(room, size, bytes.p, bytes.len, sodium_base64_VARIANT_ORIGINAL);
	return json_new_str(qmt_strn(room, size - 1));
}

static struct json *from_list(const struct qmt_record *record, const struct qmt_list *list, bool all)
{
	struct json *array = json_array();
	int r = array ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < list->count && r == 0; i++)
		r = json_add(array, json_from_record(record, (const char *)list->items + (size_t)i * record->size, all));
	return r == 0 ? array : json_free(array);
}

static struct json *from_strs(const struct qmt_list *list)
{
	struct json *array = json_array();
	int r = array ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < list->count && r == 0; i++)
		r = json_add(array, json_new_str(((const struct qmt_str *)list->items)[i]));
	return r == 0 ? array : json_free(array);
}

static struct json *from_u64(uint64_t value)
{
	return value > INT64_MAX ? json_new_real((double)value) : json_new_int((int64_t)value);
}

static bool ref_is_set(const struct qmt_ref *ref)
{
	return ref->actor || ref->gen || ref->rid;
}

/* *ret_empty: the field holds nothing (for a record: none of its fields does). NULL: out of memory. */
static struct json *from_field(const struct qmt_field *field, const void *at, bool all, bool *ret_empty)
{
	struct json *value;

	switch ((enum qmt_kind)field->kind) {
	case QMT_KIND_BOOL:
		*ret_empty = !*(const bool *)at;
		return json_new_bool(*(const bool *)at);
	case QMT_KIND_U32:
		*ret_empty = *(const uint32_t *)at == 0;
		return json_new_int(*(const uint32_t *)at);
	case QMT_KIND_U64:
		*ret_empty = *(const uint64_t *)at == 0;
		return from_u64(*(const uint64_t *)at);
	case QMT_KIND_I64:
		*ret_empty = *(const int64_t *)at == 0;
		return json_new_int(*(const int64_t *)at);
	case QMT_KIND_F64:
		*ret_empty = *(const double *)at == 0;
		return json_new_real(*(const double *)at);
	case QMT_KIND_STR:
		*ret_empty = ((const struct qmt_str *)at)->len == 0;
		return json_new_str(*(const struct qmt_str *)at);
	case QMT_KIND_BYTES:
		*ret_empty = ((const struct qmt_bytes *)at)->len == 0;
		return from_bytes(*(const struct qmt_bytes *)at);
	case QMT_KIND_REF:
		*ret_empty = !ref_is_set(at);
		return json_new_null();
	case QMT_KIND_REC:
		value = json_from_record(field->record, at, all);
		*ret_empty = json_count(value) == 0;
		return value;
	case QMT_KIND_LIST:
		*ret_empty = ((const struct qmt_list *)at)->count == 0;
		return from_list(field->record, at, all);
	case QMT_KIND_STRS:
		*ret_empty = ((const struct qmt_list *)at)->count == 0;
		return from_strs(at);
	case QMT_KIND_END:
		break;
	}
	return NULL;
}

struct json *json_from_record(const struct qmt_record *record, const void *body, bool all)
{
	struct json *object = json_object();
	int r = object ? 0 : -ENOMEM;

	for (const struct qmt_field *field = record->fields; field->kind != QMT_KIND_END && r == 0; field++) {
		bool empty = false;
		struct json *value = from_field(field, (const char *)body + field->offset, all, &empty);

		if (value && empty && !all)
			json_free(value);
		else
			r = json_set(object, field->name, value);
	}
	return r == 0 ? object : json_free(object);
}
