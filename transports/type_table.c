/* transports/type_table.c - interning of type names on a link. Few types are in use on a link, so both tables stay
 * small; they are on the path of every message, so neither compares text there. */
#include "transports/type_table.h"

#include <stdlib.h>

#include "proto/authority.h"
#include "proto/codec.h"

static uint32_t slot_of(const struct type_out *table, const struct qmt_type *type)
{
	uint64_t hash = (uint64_t)(uintptr_t)type * 0x9e3779b97f4a7c15u;
	uint32_t slot = (uint32_t)(hash >> 40) & (table->capacity - 1);

	while (table->rows[slot].type && table->rows[slot].type != type)
		slot = (slot + 1) & (table->capacity - 1);
	return slot;
}

static int grow(struct type_out *table)
{
	struct type_out old = *table;
	struct type_out bigger = {.capacity = old.capacity ? old.capacity * 2 : 32, .count = old.count};

	bigger.rows = calloc(bigger.capacity, sizeof(*bigger.rows));
	if (!bigger.rows)
		return -1;
	for (uint32_t i = 0; i < old.capacity; i++)
		if (old.rows[i].type)
			bigger.rows[slot_of(&bigger, old.rows[i].type)] = old.rows[i];
	free(old.rows);
	*table = bigger;
	return 0;
}

struct type_out_row *type_out_row(struct type_out *table, const struct qmt_type *type)
{
	if (table->count * 2 >= table->capacity && grow(table))
		return NULL;
	struct type_out_row *row = &table->rows[slot_of(table, type)];
	if (!row->type)
		*row = (struct type_out_row){.type = type, .number = ++table->count};
	return row;
}

void type_out_fini(struct type_out *table)
{
	free(table->rows);
	*table = (struct type_out){0};
}

void type_in_init(struct type_in *table, uint32_t limit)
{
	*table = (struct type_in){.limit = limit};
}

static int make_room(struct type_in *table, uint32_t number)
{
	uint32_t count = table->count ? table->count : 16;

	while (count <= number)
		count *= 2;
	struct type_in_row *rows = realloc(table->rows, count * sizeof(*rows));
	if (!rows)
		return -1;
	memset(rows + table->count, 0, (count - table->count) * sizeof(*rows));
	table->rows = rows;
	table->count = count;
	return 0;
}

struct type_in_row *type_in_row(struct type_in *table, uint32_t number, struct qmt_str name, const char **ret_why)
{
	if (name.len == 0) {
		if (number < table->count && table->rows[number].name)
			return &table->rows[number];
		*ret_why = "a type number that was never named";
		return NULL;
	}
	if (number >= table->limit) {
		*ret_why = "more message types than types_max";
		return NULL;
	}
	if (number >= table->count && make_room(table, number)) {
		*ret_why = "out of memory";
		return NULL;
	}
	struct type_in_row *row = &table->rows[number];
	if (!row->name) {
		row->name = qmt_str_dup(name);
		row->origin_offset = TYPE_NO_ORIGIN;
		if (!row->name)
			*ret_why = "out of memory";
		return row->name ? row : NULL;
	}
	if (!qmt_str_is(name, row->name)) {
		*ret_why = "a type number with another name than before";
		return NULL;
	}
	return row;
}

void type_in_found(struct type_in_row *row, struct qmt_ref to, const struct qmt_type *type)
{
	row->last_to = to;
	row->last_type = type;
	row->origin_offset = type ? type_origin_offset(type) : TYPE_NO_ORIGIN;
	row->in_one = type && codec_in_one(&type->record);
	row->pace = (uint8_t)(type ? authority_pace_of(type->access) : AUTHORITY_PACE_FREE);
}

uint32_t type_origin_offset(const struct qmt_type *type)
{
	for (const struct qmt_field *field = type->record.fields; field->kind != QMT_KIND_END; field++)
		if (field->kind == QMT_KIND_STR && strcmp(field->name, "origin") == 0)
			return field->offset;
	return TYPE_NO_ORIGIN;
}

void type_in_fini(struct type_in *table)
{
	for (uint32_t i = 0; i < table->count; i++)
		free(table->rows[i].name);
	free(table->rows);
	*table = (struct type_in){0};
}
