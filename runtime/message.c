/* runtime/message.c - bodies: copying along field tables, messages made by hand, looking types up. */
#include "send.h"

/* Where variable parts go. Without `room` the walk only measures. */
struct parts {
	char *room;
	size_t used;
};

static void *part(struct parts *parts, size_t bytes, size_t align)
{
	size_t at = (parts->used + align - 1) / align * align;

	parts->used = at + bytes;
	return parts->room ? parts->room + at : NULL;
}

static void copy_text(struct parts *parts, const struct qmt_str *from, struct qmt_str *to)
{
	char *copy = NULL;

	if (from->len) {
		copy = part(parts, from->len, 1);
		if (copy)
			memcpy(copy, from->p, from->len);
	}
	if (to)
		*to = (struct qmt_str){copy, from->len};
}

static void copy_fields(struct parts *parts, const struct qmt_record *record, const char *from, char *to);

static void copy_list(struct parts *parts, const struct qmt_record *record, const struct qmt_list *from,
	struct qmt_list *to)
{
	size_t size = record->size;
	char *items = from->count ? part(parts, from->count * size, 8) : NULL;

	if (items)
		memcpy(items, from->items, from->count * size);
	if (!record->flat)
		for (uint32_t i = 0; i < from->count; i++)
			copy_fields(parts, record, (const char *)from->items + i * size, items ? items + i * size : NULL);
	if (to)
		*to = (struct qmt_list){items, from->count};
}

static void copy_texts(struct parts *parts, const struct qmt_list *from, struct qmt_list *to)
{
	const struct qmt_str *texts = from->items;
	struct qmt_str *items = from->count ? part(parts, from->count * sizeof *items, 8) : NULL;

	for (uint32_t i = 0; i < from->count; i++)
		copy_text(parts, &texts[i], items ? &items[i] : NULL);
	if (to)
		*to = (struct qmt_list){items, from->count};
}

/* The struct itself has been copied to `to` (NULL: only measure); this brings what it points to. All lists have the
 * layout of struct qmt_list, and struct qmt_bytes has that of struct qmt_str. */
static void copy_fields(struct parts *parts, const struct qmt_record *record, const char *from, char *to)
{
	for (const struct qmt_field *field = record->fields; field->kind != QMT_KIND_END; field++) {
		const void *source = from + field->offset;
		void *target = to ? to + field->offset : NULL;

		switch (field->kind) {
		case QMT_KIND_STR:
		case QMT_KIND_BYTES:
			copy_text(parts, source, target);
			break;
		case QMT_KIND_REC:
			if (!field->record->flat)
				copy_fields(parts, field->record, source, target);
			break;
		case QMT_KIND_LIST:
			copy_list(parts, field->record, source, target);
			break;
		case QMT_KIND_STRS:
			copy_texts(parts, source, target);
			break;
		default:
			break;
		}
	}
}

size_t qmt_record_extra(const struct qmt_record *record, const void *body)
{
	struct parts parts = {0};

	if (!record->flat)
		copy_fields(&parts, record, body, NULL);
	return parts.used;
}

void qmt_record_copy(const struct qmt_record *record, const void *body, void *ret_struct, void *room)
{
	struct parts parts = {.room = room};

	memcpy(ret_struct, body, record->size);
	if (!record->flat)
		copy_fields(&parts, record, body, ret_struct);
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

/* Variable parts begin here. */
static size_t extra_at(const struct qmt_record *record)
{
	return (record->size + (size_t)15) / 16 * 16;
}

struct qmt_msg *qmt__msg_copy_deep(struct qmt_ctx *ctx, const struct qmt_record *record, const void *body)
{
	struct qmt_msg *m = msg_alloc(ctx, extra_at(record) + qmt_record_extra(record, body));

	if (m)
		qmt_record_copy(record, body, m->body, m->body + extra_at(record));
	return m;
}

struct qmt_msg *qmt_msg_new(struct qmt_ctx *ctx, const struct qmt_type *type, size_t extra)
{
	size_t prefix = ctx->trace ? sizeof(struct prefix) : 0;
	struct qmt_msg *m = extra > SIZE_MAX / 2 ? NULL : msg_alloc(ctx, prefix + extra_at(&type->record) + extra);

	if (!m)
		return NULL;
	m->flags = prefix ? MSG_PREFIXED : 0;
	if (prefix)
		*(struct prefix *)(void *)m->body = (struct prefix){.trace = ctx->trace};
	memset(m->body + prefix, 0, type->record.size);
	return m;
}

void *qmt_msg_body(struct qmt_msg *msg)
{
	return msg_body(msg);
}

void *qmt_msg_extra(struct qmt_msg *msg, const struct qmt_type *type)
{
	return (char *)msg_body(msg) + extra_at(&type->record);
}

/* ---- messages with a prefix -------------------------------------------------------------------------------------- */

_Static_assert(sizeof(struct prefix) == 32 && offsetof(struct shared, body) == 16, "what follows stays aligned");

struct qmt_msg *qmt__msg_copy_prefixed(struct qmt_ctx *ctx, const struct qmt_record *record, const void *body,
	uint64_t deadline_ns)
{
	struct qmt_msg *m = msg_alloc(ctx, sizeof(struct prefix) + extra_at(record) + qmt_record_extra(record, body));
	unsigned char *copy;

	if (!m)
		return NULL;
	m->flags = MSG_PREFIXED;
	*(struct prefix *)(void *)m->body = (struct prefix){.deadline_ns = deadline_ns, .trace = ctx->trace};
	copy = m->body + sizeof(struct prefix);
	qmt_record_copy(record, body, copy, copy + extra_at(record));
	return m;
}

struct qmt_msg *qmt__shared_new(struct qmt_ctx *ctx, const struct qmt_record *record, const void *body, uint32_t refs)
{
	struct qmt_msg *m = msg_alloc(ctx, sizeof(struct shared) + extra_at(record) + qmt_record_extra(record, body));
	struct shared *shared;

	if (!m)
		return NULL;
	m->flags = 0;
	shared = (struct shared *)(void *)m->body;
	atomic_init(&shared->refs, refs);
	qmt_record_copy(record, body, shared->body, shared->body + extra_at(record));
	return m;
}

struct qmt_msg *qmt__envelope_new(struct qmt_ctx *ctx, struct qmt_msg *shared)
{
	struct qmt_msg *m = msg_alloc(ctx, sizeof(struct prefix));

	if (!m)
		return NULL;
	m->flags = MSG_PREFIXED;
	m->class |= MSG_CLASS_CARE;
	*(struct prefix *)(void *)m->body = (struct prefix){.shared = shared, .trace = ctx->trace};
	return m;
}

void qmt__shared_unref(struct qmt_ctx *ctx, struct qmt_msg *shared, uint32_t count)
{
	if (atomic_fetch_sub_explicit(&((struct shared *)(void *)shared->body)->refs, count, ACQ_REL) == count)
		msg_free(ctx, shared);
}

/* ---- types ------------------------------------------------------------------------------------------------------- */

const struct qmt_type *qmt_protocol_find(const struct qmt_protocol *protocol, struct qmt_str name)
{
	for (uint32_t i = 0; i < protocol->count; i++)
		if (qmt_str_is(name, protocol->types[i]->record.name))
			return protocol->types[i];
	return NULL;
}

const struct qmt_type *qmt_accepts(struct qmt_ctx *ctx, struct qmt_ref to, struct qmt_str name)
{
	const struct qmt_actor_desc *desc;

	(void)ctx;
	if (!to.actor || to.rid)
		return NULL;
	desc = atomic_load_explicit(&to.actor->desc, ACQUIRE);
	if (actor_gen(to.actor) != to.gen)
		return NULL;
	for (unsigned i = 0; i < QMT_ACCEPTS_MAX && desc->accepts[i].protocol; i++) {
		const struct qmt_type *type = qmt_protocol_find(desc->accepts[i].protocol, name);

		if (type && desc->accepts[i].handlers[type->index])
			return type;
	}
	return NULL;
}

const char *qmt_fail_name(int code)
{
	switch (code) {
#define QMT_FAILURE(name, value, text, doc) \
	case value: \
		return text;
#include "failures.def"
#undef QMT_FAILURE
	default:
		return "unknown failure";
	}
}
