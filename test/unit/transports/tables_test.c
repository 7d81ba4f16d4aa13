/* test/unit/transports/tables_test.c - exports, type names, connections, limits: the tables that a link lives by. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>

#include "proto/contract/contract.h"
#include "transports/channel_key.h"
#include "transports/export_table.h"
#include "transports/transports.h"
#include "transports/type_table.h"
#include "transports/zmq_connections.h"

static struct qmt_ref ref_of(uintptr_t n)
{
	return (struct qmt_ref){.actor = (struct qmt_actor *)(n * 192), .gen = (uint32_t)n % 7, .rid = (uint32_t)n % 3};
}

/* Numbers are one to one with refs, never used again, and stay right through any mix of adding and dropping. */
static void exports(void **state)
{
	enum { N = 3000 };
	struct export_table table;
	uint32_t numbers[N + 1] = {0}, number, highest = 0;
	struct qmt_ref ref;
	uint32_t seed = 7;
	bool is_new;

	(void)state;
	export_init(&table, N);
	assert_false(export_find(&table, 1, &ref));
	assert_int_equal(export_drop(&table, ref_of(1)), 0);
	for (int step = 0; step < 20000; step++) {
		seed = seed * 1664525 + 1013904223;
		uintptr_t n = 1 + (seed >> 8) % N;

		if (numbers[n] && seed >> 31) {
			assert_int_equal(export_drop(&table, ref_of(n)), numbers[n]);
			assert_false(export_find(&table, numbers[n], &ref));
			assert_false(export_has(&table, ref_of(n)));
			numbers[n] = 0;
			continue;
		}
		assert_int_equal(export_number(&table, ref_of(n), &number, &is_new), 0);
		assert_int_equal(is_new, numbers[n] == 0);
		if (is_new) {
			assert_true(number > highest);
			highest = number;
		} else {
			assert_int_equal(number, numbers[n]);
		}
		numbers[n] = number;
		assert_true(export_find(&table, number, &ref));
		assert_true(ref.actor == ref_of(n).actor && ref.gen == ref_of(n).gen && ref.rid == ref_of(n).rid);
	}
	for (uintptr_t n = 1; n <= N; n++)
		assert_int_equal(export_has(&table, ref_of(n)), numbers[n] != 0);
	export_fini(&table);
	export_init(&table, 2);
	assert_int_equal(export_number(&table, ref_of(1), &number, &is_new), 0);
	assert_int_equal(export_number(&table, ref_of(2), &number, &is_new), 0);
	assert_int_equal(export_number(&table, ref_of(3), &number, &is_new), EXPORT_E_FULL);
	assert_int_equal(export_number(&table, ref_of(2), &number, &is_new), 0);
	export_fini(&table);
}

/* A type has one number; the other side learns its name once and then knows it by number; what contradicts is
 * refused. */
static void type_names(void **state)
{
	struct type_out out = {0};
	struct type_in in;
	const char *why = NULL;

	(void)state;
	type_in_init(&in, 1000);
	for (int round = 0; round < 2; round++) {
		for (const struct qmt_protocol *const *protocol = contract_protocols; *protocol; protocol++) {
			for (uint32_t i = 0; i < (*protocol)->count; i++) {
				const struct qmt_type *type = (*protocol)->types[i];
				struct type_out_row *row = type_out_row(&out, type);

				assert_ptr_equal(row->type, type);
				assert_int_equal(row->announced, round == 1);
				row->announced = true;
				if (row->number >= 1000)
					continue;
				assert_string_equal(
					type_in_row(&in, row->number, round ? (struct qmt_str){0} : qmt_str(type->record.name), &why)->name,
					type->record.name);
			}
		}
	}
	assert_null(type_in_row(&in, 999, (struct qmt_str){0}, &why));
	assert_null(type_in_row(&in, 1000, qmt_str("a.b"), &why));
	assert_non_null(type_in_row(&in, 1, qmt_str(in.rows[1].name), &why));
	assert_null(type_in_row(&in, 1, qmt_str("a.b"), &why));
	assert_null(type_in_row(&in, UINT32_MAX, (struct qmt_str){0}, &why));
	assert_int_equal(type_origin_offset(&node_prompt_type), offsetof(struct node_prompt, origin));
	assert_int_equal(type_origin_offset(&node_info_type), TYPE_NO_ORIGIN);
	type_out_fini(&out);
	type_in_fini(&in);
}

/* Connections are found by the ROUTER's id and by number; a number of one that has gone finds nobody. */
static void connections(void **state)
{
	enum { N = 500 };
	struct connections all = {0};
	uint64_t numbers[N];

	(void)state;
	assert_null(connections_by_router_id(&all, 1));
	assert_null(connections_by_number(&all, 0));
	for (uint32_t i = 0; i < N; i++) {
		struct connection *connection = connections_add(&all, i * 7919);

		assert_non_null(connection);
		numbers[i] = connection_number(connection);
	}
	for (uint32_t i = 0; i < N; i += 2)
		connections_remove(&all, connections_by_router_id(&all, i * 7919));
	for (uint32_t i = 0; i < N; i++) {
		struct connection *connection = connections_by_router_id(&all, i * 7919);

		assert_int_equal(connection != NULL, i % 2);
		assert_ptr_equal(connections_by_number(&all, numbers[i]), connection);
	}
	for (uint32_t i = 0; i < N; i += 2) /* slots are used again, numbers are not */
		assert_non_null(connections_add(&all, i * 7919));
	for (uint32_t i = 0; i < N; i += 2)
		assert_null(connections_by_number(&all, numbers[i]));
	assert_null(connections_descriptor(&all, -1));
	assert_non_null(connections_descriptor(&all, 1000));
	connections_fini(&all);
}

/* The defaults are in range and fit together; each limit out of its range is named. */
static void limits(void **state)
{
	struct transports_limits limits;
	struct qmt_err err = {0};

	(void)state;
	transports_limits_default(&limits);
	assert_int_equal(transports_limits_check(&limits, &err), 0);
	for (const struct transports_limit_row *row = transports_limit_rows; row->name; row++) {
		struct transports_limits bad = limits;

		*(uint64_t *)(void *)((char *)&bad + row->offset) = row->max + 1;
		assert_int_equal(transports_limits_check(&bad, &err), -EINVAL);
		assert_non_null(strstr(err.text, row->name));
		assert_true(row->doc[0] != '\0');
	}
	limits.dead_ms = limits.suspect_ms;
	assert_int_equal(transports_limits_check(&limits, &err), -EINVAL);
	transports_limits_default(&limits);
	limits.piece_bytes = limits.frame_bytes;
	assert_int_equal(transports_limits_check(&limits, &err), -EINVAL);
	transports_limits_default(&limits);
	limits.redial_max_ms = 1;
	assert_int_equal(transports_limits_check(&limits, &err), -EINVAL);
}

/* The published key is the same everywhere and for ever: a change would cut a node off from all others. */
static void published_key(void **state)
{
	static const uint8_t expected[4] = {0xd9, 0x9b, 0xbe, 0x6b};
	uint8_t public_key[CHANNEL_KEY], secret[CHANNEL_KEY];

	(void)state;
	channel_key_published(public_key, secret);
	assert_memory_equal(public_key, expected, sizeof(expected));
}

/* A closed connection has said all when a whole round of the others went by without it, however long they go on; while
 * it is heard in each round it has not. */
static void closed_while_others_talk(void **state)
{
	struct connections all = {0};
	struct connection *closed = NULL;
	uint64_t taken = 0;

	(void)state;
	for (uint32_t i = 0; i < 10; i++)
		closed = connections_add(&all, i);
	all.open = 9;
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 9; i++) {
			taken++;
			assert_false(connection_has_said_all(&all, closed, taken));
		}
		closed->heard_at = ++taken;
	}
	for (uint64_t end = taken + 1000; !connection_has_said_all(&all, closed, taken); taken++)
		assert_true(taken < end);
	assert_true(taken - closed->heard_at > 10);
	connections_fini(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exports),
		cmocka_unit_test(type_names),
		cmocka_unit_test(connections),
		cmocka_unit_test(closed_while_others_talk),
		cmocka_unit_test(limits),
		cmocka_unit_test(published_key),
	};

	if (identity_crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
