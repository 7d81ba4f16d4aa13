/* transports/export_table.c - two hash tables over the same rows. Deletion moves later rows of the cluster up, so that
 * no marks for deleted rows pile up on a link that lives for months. */
#include "transports/export_table.h"

#include <errno.h>
#include <stdlib.h>

static uint32_t mix(uint64_t key, uint32_t capacity)
{
	return (uint32_t)((key * 0x9e3779b97f4a7c15u) >> 32) & (capacity - 1);
}

static uint32_t home_by_ref(const struct export_row *row, uint32_t capacity)
{
	return mix(
		(uint64_t)(uintptr_t)row->ref.actor ^ ((uint64_t)row->ref.gen << 40) ^ ((uint64_t)row->ref.rid << 8), capacity);
}

static uint32_t home_by_number(const struct export_row *row, uint32_t capacity)
{
	return mix(row->number, capacity);
}

typedef uint32_t home_fn(const struct export_row *row, uint32_t capacity);

static bool same_ref(struct qmt_ref a, struct qmt_ref b)
{
	return a.actor == b.actor && a.gen == b.gen && a.rid == b.rid;
}

static void insert(struct export_row *rows, uint32_t capacity, home_fn *home, struct export_row row)
{
	uint32_t slot = home(&row, capacity);

	while (rows[slot].number)
		slot = (slot + 1) & (capacity - 1);
	rows[slot] = row;
}

/* Empties a slot and closes the gap. */
static void erase(struct export_row *rows, uint32_t capacity, home_fn *home, uint32_t slot)
{
	uint32_t mask = capacity - 1, gap = slot;

	for (uint32_t at = (slot + 1) & mask; rows[at].number; at = (at + 1) & mask) {
		/* a row may move into the gap unless its home lies behind the gap */
		if (((at - home(&rows[at], capacity)) & mask) < ((at - gap) & mask))
			continue;
		rows[gap] = rows[at];
		gap = at;
	}
	rows[gap] = (struct export_row){0};
}

static struct export_row *row_of_ref(const struct export_table *table, struct qmt_ref ref)
{
	struct export_row key = {.ref = ref};

	if (table->capacity == 0)
		return NULL;
	for (uint32_t slot = home_by_ref(&key, table->capacity); table->by_ref[slot].number;
		 slot = (slot + 1) & (table->capacity - 1))
		if (same_ref(table->by_ref[slot].ref, ref))
			return &table->by_ref[slot];
	return NULL;
}

static struct export_row *row_of_number(const struct export_table *table, uint32_t number)
{
	struct export_row key = {.number = number};

	if (table->capacity == 0 || number == 0)
		return NULL;
	for (uint32_t slot = home_by_number(&key, table->capacity); table->by_number[slot].number;
		 slot = (slot + 1) & (table->capacity - 1))
		if (table->by_number[slot].number == number)
			return &table->by_number[slot];
	return NULL;
}

static int grow(struct export_table *table)
{
	uint32_t capacity = table->capacity ? table->capacity * 2 : 16;
	struct export_row *by_ref = calloc(capacity, sizeof(*by_ref));
	struct export_row *by_number = calloc(capacity, sizeof(*by_number));

	if (!by_ref || !by_number) {
		free(by_ref);
		free(by_number);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < table->capacity; i++) {
		if (!table->by_ref[i].number)
			continue;
		insert(by_ref, capacity, home_by_ref, table->by_ref[i]);
		insert(by_number, capacity, home_by_number, table->by_ref[i]);
	}
	free(table->by_ref);
	free(table->by_number);
	table->by_ref = by_ref;
	table->by_number = by_number;
	table->capacity = capacity;
	return 0;
}

void export_init(struct export_table *table, uint32_t limit)
{
	*table = (struct export_table){.limit = limit};
}

void export_fini(struct export_table *table)
{
	free(table->by_ref);
	free(table->by_number);
	*table = (struct export_table){0};
}

int export_number(struct export_table *table, struct qmt_ref ref, uint32_t *ret_number, bool *ret_is_new)
{
	struct export_row *known = row_of_ref(table, ref);

	if (known) {
		*ret_number = known->number;
		*ret_is_new = false;
		return 0;
	}
	if (table->count >= table->limit || table->last_number == UINT32_MAX)
		return EXPORT_E_FULL;
	if ((table->count + 1) * 2 > table->capacity && grow(table))
		return -ENOMEM;
	struct export_row row = {.ref = ref, .number = ++table->last_number};
	insert(table->by_ref, table->capacity, home_by_ref, row);
	insert(table->by_number, table->capacity, home_by_number, row);
	table->count++;
	*ret_number = row.number;
	*ret_is_new = true;
	return 0;
}

bool export_find(const struct export_table *table, uint32_t number, struct qmt_ref *ret_ref)
{
	const struct export_row *row = row_of_number(table, number);

	if (row)
		*ret_ref = row->ref;
	return row != NULL;
}

bool export_has(const struct export_table *table, struct qmt_ref ref)
{
	return row_of_ref(table, ref) != NULL;
}

uint32_t export_drop(struct export_table *table, struct qmt_ref ref)
{
	struct export_row *row = row_of_ref(table, ref);

	if (!row)
		return 0;
	uint32_t number = row->number;
	struct export_row *other = row_of_number(table, number);
	erase(table->by_number, table->capacity, home_by_number, (uint32_t)(other - table->by_number));
	erase(table->by_ref, table->capacity, home_by_ref, (uint32_t)(row - table->by_ref));
	table->count--;
	return number;
}
