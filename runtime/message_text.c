/* runtime/message_text.c - see message_text.h. */
#include "message_text.h"

#include "internal.h"

static void put_quoted(struct qmt_buf *buf, const uint8_t *p, uint32_t len)
{
	qmt_buf_str(buf, "\"");
	for (uint32_t i = 0; i < len; i++) {
		if (p[i] < ' ' || p[i] == '"' || p[i] == '\\' || p[i] == 127)
			qmt_buf_printf(buf, "\\x%02x", p[i]);
		else
			qmt_buf_append(buf, p + i, 1);
	}
	qmt_buf_str(buf, "\"");
}

static void put_bytes(struct qmt_buf *buf, const uint8_t *p, uint32_t len)
{
	qmt_buf_str(buf, "<");
	for (uint32_t i = 0; i < len; i++)
		qmt_buf_printf(buf, "%02x", p[i]);
	qmt_buf_str(buf, ">");
}

static void put_ref(struct qmt_buf *buf, struct qmt_ref ref)
{
	if (!ref.actor)
		qmt_buf_str(buf, "nobody");
	else if (actor_gen(ref.actor) != ref.gen)
		qmt_buf_printf(buf, "ended actor %p.%u", (void *)ref.actor, ref.gen);
	else
		qmt_buf_printf(buf, "%s#%u", actor_desc(ref.actor)->name, ref.actor->serial);
	if (ref.rid)
		qmt_buf_printf(buf, "/%u", ref.rid);
}

static void put_record(struct qmt_buf *buf, const struct qmt_record *record, const void *body);

static void put_list(struct qmt_buf *buf, const struct qmt_field *field, const struct qmt_list *list)
{
	size_t size = field->kind == QMT_KIND_STRS ? sizeof(struct qmt_str) : field->record->size;

	qmt_buf_str(buf, "[");
	for (uint32_t i = 0; i < list->count; i++) {
		const char *item = (const char *)list->items + i * size;

		qmt_buf_str(buf, i ? ", " : "");
		if (field->kind == QMT_KIND_STRS) {
			const struct qmt_str *text = (const struct qmt_str *)(const void *)item;

			put_quoted(buf, (const uint8_t *)text->p, text->len);
		} else {
			put_record(buf, field->record, item);
		}
	}
	qmt_buf_str(buf, "]");
}

/* A field that is "absent" (message.h): zero, false, empty. */
static bool is_absent(const struct qmt_field *field, const void *at)
{
	static const unsigned char zeroes[sizeof(struct qmt_ref)];

	switch (field->kind) {
	case QMT_KIND_BOOL:
		return !*(const bool *)at;
	case QMT_KIND_U32:
		return !*(const uint32_t *)at;
	case QMT_KIND_STR:
		return !((const struct qmt_str *)at)->len;
	case QMT_KIND_BYTES:
		return !((const struct qmt_bytes *)at)->len;
	case QMT_KIND_REF:
		return memcmp(at, zeroes, sizeof(struct qmt_ref)) == 0;
	case QMT_KIND_LIST:
	case QMT_KIND_STRS:
		return !((const struct qmt_list *)at)->count;
	case QMT_KIND_REC:
		return false;
	default: /* 64 bits */
		return memcmp(at, zeroes, 8) == 0;
	}
}

static void put_field(struct qmt_buf *buf, const struct qmt_field *field, const void *at)
{
	switch (field->kind) {
	case QMT_KIND_BOOL:
		qmt_buf_str(buf, "true");
		break;
	case QMT_KIND_U32:
		qmt_buf_printf(buf, "%u", *(const uint32_t *)at);
		break;
	case QMT_KIND_U64:
		qmt_buf_printf(buf, "%llu", (unsigned long long)*(const uint64_t *)at);
		break;
	case QMT_KIND_I64:
		qmt_buf_printf(buf, "%lld", (long long)*(const int64_t *)at);
		break;
	case QMT_KIND_F64:
		qmt_buf_printf(buf, "%.17g", *(const double *)at);
		break;
	case QMT_KIND_STR:
		put_quoted(buf, (const uint8_t *)((const struct qmt_str *)at)->p, ((const struct qmt_str *)at)->len);
		break;
	case QMT_KIND_BYTES:
		put_bytes(buf, ((const struct qmt_bytes *)at)->p, ((const struct qmt_bytes *)at)->len);
		break;
	case QMT_KIND_REF:
		put_ref(buf, *(const struct qmt_ref *)at);
		break;
	case QMT_KIND_REC:
		put_record(buf, field->record, at);
		break;
	default:
		put_list(buf, field, at);
	}
}

static void put_record(struct qmt_buf *buf, const struct qmt_record *record, const void *body)
{
	bool any = false;

	qmt_buf_str(buf, "{");
	for (const struct qmt_field *field = record->fields; field->kind != QMT_KIND_END; field++) {
		const void *at = (const char *)body + field->offset;

		if (is_absent(field, at))
			continue;
		qmt_buf_printf(buf, "%s%s: ", any ? ", " : "", field->name);
		put_field(buf, field, at);
		any = true;
	}
	qmt_buf_str(buf, "}");
}

void qmt__message_text(struct qmt_buf *buf, const struct qmt_type *type, const void *body)
{
	qmt_buf_str(buf, type->record.name);
	if (body) {
		qmt_buf_str(buf, " ");
		put_record(buf, &type->record, body);
	}
}
