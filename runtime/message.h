/* runtime/message.h - how messages are declared: one list, from which the struct, the field table and the docs come.
 *
 * A module writes its messages once, in its own .def file, as lists that take a macro:
 *
 *     #define COUNTER_ADD(F, T)   F(T, I64, amount, 1, "How much to add.")
 *     #define COUNTER_TOTAL(F, T) F(T, I64, total,  1, "The sum so far.")
 *     #define COUNTER_MESSAGES(M) \
 *             M(counter, add,   COUNTER_ADD,   "anyone", "Adds to the counter.", total) \
 *             M(counter, total, COUNTER_TOTAL, "reply",  "Answer to add.")
 *
 * Its header says QMT_DECLARE_PROTOCOL(counter, COUNTER_MESSAGES): struct counter_add {int64_t amount;}, the enum
 * counter_add_id …, counter_message_count, and `extern const struct qmt_type counter_add_type`. One .c file says
 * QMT_DEFINE_PROTOCOL(counter, COUNTER_MESSAGES, "doc"): the tables. Shared parts are records:
 * QMT_DECLARE_RECORD(point, POINT) and QMT_DEFINE_RECORD(point, POINT, "doc").
 *
 * Keys:      small positive integers, unique in a struct, never used again for another meaning.
 * Presence:  a zero, false, empty or NULL field is not encoded; a missing one decodes to zero. No meaning may hang on
 *            it.
 * Unknown:   keys that a reader does not know are skipped, so fields may be added and never removed.
 * Access:    the third column names the operation of the authority table that a *remote* sender needs
 *            (proto/authority); "reply" cannot be sent on its own, "local" never comes from another process.
 * Answer:    the last column names the one message of the same protocol that an ask is answered with; it may be left
 *            out. What comes from another process is taken as an answer only when it is of exactly that type, so
 *            whoever asked may cast result->body to it; an ask without the column does not leave the process.
 */
#ifndef QMT_MESSAGE_H
#define QMT_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct qmt_actor;

/* A reference to an actor: plain data, not counted, may be copied, kept and sent in messages (field kind REF). `gen`
 * says which incarnation of the type-stable block was meant: a send to an actor that ended fails, it never reaches
 * another. rid != 0: the actor lives behind the link actor `actor`, under that number. All zero: nobody. */
struct qmt_ref {
	struct qmt_actor *actor;
	uint32_t gen;
	uint32_t rid;
};

/* Any LIST field has this layout. */
struct qmt_list {
	const void *items;
	uint32_t count;
};

enum qmt_kind {
	QMT_KIND_END,   /* closes a field table */
	QMT_KIND_BOOL,  /* bool */
	QMT_KIND_U32,   /* uint32_t */
	QMT_KIND_U64,   /* uint64_t */
	QMT_KIND_I64,   /* int64_t */
	QMT_KIND_F64,   /* double */
	QMT_KIND_STR,   /* struct qmt_str: UTF-8 text */
	QMT_KIND_BYTES, /* struct qmt_bytes */
	QMT_KIND_REF,   /* struct qmt_ref: an actor; works on the other side of a link */
	QMT_KIND_REC,   /* struct <record>, embedded */
	QMT_KIND_LIST,  /* {const struct <record> *items; uint32_t count;} */
	QMT_KIND_STRS,  /* {const struct qmt_str *items; uint32_t count;} */
};

struct qmt_record;

struct qmt_field {
	const char *name;
	const char *doc;
	uint16_t key;
	uint16_t kind; /* enum qmt_kind */
	uint32_t offset;
	const struct qmt_record *record; /* REC and LIST */
};

/* A struct with its field table. `flat`: no pointers inside, so a copy is a memcpy. */
struct qmt_record {
	const char *name; /* "chat_message" */
	const char *doc;
	uint32_t size;
	const struct qmt_field *fields; /* closed by QMT_KIND_END */
	bool flat;
};

struct qmt_protocol;

/* A message type: a record that can be sent. */
struct qmt_type {
	struct qmt_record record; /* name is "module.message": the name on the wire */
	const struct qmt_protocol *protocol;
	const char *access; /* operation a remote sender needs; "reply"; "local" */
	uint16_t index;     /* in protocol->types */
	const struct qmt_type *answer; /* what an ask of it is answered with; NULL: it cannot be asked from afar */
};

struct qmt_protocol {
	const char *name;
	const char *doc;
	const struct qmt_type *const *types;
	uint32_t count;
};

/* ---- what the lists expand to ------------------------------------------------------------------------------------ */
#define QMT_C_BOOL bool
#define QMT_C_U32 uint32_t
#define QMT_C_U64 uint64_t
#define QMT_C_I64 int64_t
#define QMT_C_F64 double
#define QMT_C_STR struct qmt_str
#define QMT_C_BYTES struct qmt_bytes
#define QMT_C_REF struct qmt_ref
#define QMT_C_REC(r) struct r
#define QMT_C_LIST(r) struct { const struct r *items; uint32_t count; }
#define QMT_C_STRS struct { const struct qmt_str *items; uint32_t count; }

#define QMT_ROW_BOOL QMT_KIND_BOOL, NULL
#define QMT_ROW_U32 QMT_KIND_U32, NULL
#define QMT_ROW_U64 QMT_KIND_U64, NULL
#define QMT_ROW_I64 QMT_KIND_I64, NULL
#define QMT_ROW_F64 QMT_KIND_F64, NULL
#define QMT_ROW_STR QMT_KIND_STR, NULL
#define QMT_ROW_BYTES QMT_KIND_BYTES, NULL
#define QMT_ROW_REF QMT_KIND_REF, NULL
#define QMT_ROW_REC(r) QMT_KIND_REC, &r##_record
#define QMT_ROW_LIST(r) QMT_KIND_LIST, &r##_record
#define QMT_ROW_STRS QMT_KIND_STRS, NULL

/* 1 when a field of the kind holds no pointer; known while compiling, so that sending need not walk the table. */
#define QMT_FLAT_BOOL 1
#define QMT_FLAT_U32 1
#define QMT_FLAT_U64 1
#define QMT_FLAT_I64 1
#define QMT_FLAT_F64 1
#define QMT_FLAT_STR 0
#define QMT_FLAT_BYTES 0
#define QMT_FLAT_REF 1
#define QMT_FLAT_REC(r) r##_flat
#define QMT_FLAT_LIST(r) 0
#define QMT_FLAT_STRS 0

#define QMT__FLAT(T, kind, name, key, doc) & QMT_FLAT_##kind
#define QMT__MEMBER(T, kind, name, key, doc) QMT_C_##kind name;
#define QMT__FIELD(T, kind, name, key, doc) QMT__FIELD2(T, name, key, doc, QMT_ROW_##kind)
#define QMT__FIELD2(T, name, key, doc, ...) QMT__FIELD3(T, name, key, doc, __VA_ARGS__)
#define QMT__FIELD3(T, name, key, doc, kind, rec) {#name, doc, key, kind, (uint32_t)offsetof(T, name), rec},

#define QMT_DECLARE_RECORD(tag, FIELDS) \
	struct tag { \
		FIELDS(QMT__MEMBER, ) \
	}; \
	enum { tag##_flat = 1 FIELDS(QMT__FLAT, ) }; \
	extern const struct qmt_record tag##_record;
#define QMT_DEFINE_RECORD(tag, FIELDS, doc) \
	static const struct qmt_field tag##_fields[] = { \
		FIELDS(QMT__FIELD, struct tag){NULL, NULL, 0, QMT_KIND_END, 0, NULL}}; \
	const struct qmt_record tag##_record = {#tag, doc, (uint32_t)sizeof(struct tag), tag##_fields, tag##_flat};

/* The columns behind `access`: doc, and maybe the answer. */
#define QMT__DOC(doc, ...) doc
#define QMT__ANSWER(mod, ...) QMT__THIRD(__VA_ARGS__, QMT__ANSWER_IS, QMT__ANSWER_NONE, )(mod, __VA_ARGS__)
#define QMT__THIRD(a, b, third, ...) third
#define QMT__ANSWER_IS(mod, doc, answer) &mod##_##answer##_type
#define QMT__ANSWER_NONE(mod, doc) NULL

#define QMT__MSG_STRUCT(mod, msg, FIELDS, access, ...) \
	__extension__ struct mod##_##msg { \
		FIELDS(QMT__MEMBER, ) \
	}; \
	enum { mod##_##msg##_flat = 1 FIELDS(QMT__FLAT, ) }; \
	extern const struct qmt_type mod##_##msg##_type;
#define QMT__MSG_ID(mod, msg, FIELDS, access, ...) mod##_##msg##_id,
#define QMT__MSG_TYPE(mod, msg, FIELDS, access, ...) \
	static const struct qmt_field mod##_##msg##_fields[] = { \
		FIELDS(QMT__FIELD, struct mod##_##msg){NULL, NULL, 0, QMT_KIND_END, 0, NULL}}; \
	const struct qmt_type mod##_##msg##_type = { \
		{#mod "." #msg, QMT__DOC(__VA_ARGS__, ), (uint32_t)sizeof(struct mod##_##msg), mod##_##msg##_fields, \
			mod##_##msg##_flat}, \
		&mod##_protocol, access, mod##_##msg##_id, QMT__ANSWER(mod, __VA_ARGS__)};
#define QMT__MSG_ADDR(mod, msg, FIELDS, access, ...) &mod##_##msg##_type,

#define QMT_DECLARE_PROTOCOL(mod, MESSAGES) \
	extern const struct qmt_protocol mod##_protocol; \
	MESSAGES(QMT__MSG_STRUCT) \
	enum { MESSAGES(QMT__MSG_ID) mod##_message_count };
#define QMT_DEFINE_PROTOCOL(mod, MESSAGES, doc) \
	MESSAGES(QMT__MSG_TYPE) \
	static const struct qmt_type *const mod##_types[] = {MESSAGES(QMT__MSG_ADDR)}; \
	const struct qmt_protocol mod##_protocol = {#mod, doc, mod##_types, mod##_message_count};

/* A message without fields. */
#define QMT_NO_FIELDS(F, T)

#endif
