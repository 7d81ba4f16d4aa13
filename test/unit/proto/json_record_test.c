/* Records as JSON: every kind of field, with and without what is empty; every message of the contracts gives text that
 * reads back. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "proto/contract/contract.h"
#include "proto/json.h"
#include "test/lib/samples.h"

static void assert_json(const struct qmt_record *record, const void *body, bool all, const char *expected)
{
	struct json *value = json_from_record(record, body, all);
	struct qmt_buf out = {0};

	assert_non_null(value);
	assert_int_equal(json_write(value, &out), 0);
	assert_string_equal(out.data, expected);
	qmt_buf_free(&out);
	json_free(value);
}

/* Each kind has its form; members come in the order of the table, under their names. */
static void test_every_kind(void **state)
{
	const struct sample_part parts[] = {{.number = 1}, {.text = qmt_str("b")}, {0}};
	const struct qmt_str words[] = {qmt_str("x"), qmt_str("")};
	struct sample full = {.flag = true,
		.small = UINT32_MAX,
		.large = INT64_MAX,
		.whole = INT64_MIN,
		.real = 0.7,
		.text = qmt_str("hi \"\xff\""),
		.bytes = {(const uint8_t *)"\0\xff\xfe?", 4},
		.ref = sample_ref(5),
		.part = {.number = 9},
		.parts = {parts, 3},
		.words = {words, 2}};

	(void)state;
	assert_json(&sample_record, &full, false,
		"{\"flag\":true,\"small\":4294967295,\"large\":9223372036854775807,\"whole\":-9223372036854775808,\"real\":0.7,"
		"\"text\":\"hi \\\"\xef\xbf\xbd\\\"\",\"bytes\":\"AP/+Pw==\",\"ref\":null,\"part\":{\"number\":9},"
		"\"parts\":[{\"number\":1},{\"text\":\"b\"},{}],\"words\":[\"x\",\"\"]}");
	assert_json(&sample_record, &full, true,
		"{\"flag\":true,\"small\":4294967295,\"large\":9223372036854775807,\"whole\":-9223372036854775808,\"real\":0.7,"
		"\"text\":\"hi \\\"\xef\xbf\xbd\\\"\",\"bytes\":\"AP/+Pw==\",\"ref\":null,"
		"\"part\":{\"number\":9,\"text\":\"\"},"
		"\"parts\":[{\"number\":1,\"text\":\"\"},{\"number\":0,\"text\":\"b\"},{\"number\":0,\"text\":\"\"}],"
		"\"words\":[\"x\",\"\"]}");
}

/* What is empty is left out, or, for scripts, there with its zero. */
static void test_empty(void **state)
{
	struct sample empty = {0};

	(void)state;
	assert_json(&sample_record, &empty, false, "{}");
	assert_json(&sample_record, &empty, true,
		"{\"flag\":false,\"small\":0,\"large\":0,\"whole\":0,\"real\":0.0,\"text\":\"\",\"bytes\":\"\",\"ref\":null,"
		"\"part\":{\"number\":0,\"text\":\"\"},\"parts\":[],\"words\":[]}");
	assert_json(&node_info_type.record, "", true, "{}");
}

/* Numbers that JSON has no form for: beyond int64 a real, no number null. */
static void test_odd_numbers(void **state)
{
	struct sample odd = {.large = UINT64_MAX, .real = __builtin_nan("")};

	(void)state;
	assert_json(&sample_record, &odd, false, "{\"large\":1.8446744073709552e+19,\"real\":null}");
}

/* Every message of the contracts, whatever it holds, gives an object with as many members as its table has rows. */
static void test_contracts(void **state)
{
	(void)state;
	for (const struct qmt_protocol *const *protocol = contract_protocols; *protocol; protocol++) {
		for (uint32_t i = 0; i < (*protocol)->count; i++) {
			const struct qmt_record *record = &(*protocol)->types[i]->record;
			struct sample_room room = {0};
			uint64_t seed = i;
			const void *body = sample_random(record, &seed, &room);
			struct json *value = json_from_record(record, body, true), *back = NULL;
			struct qmt_buf out = {0};
			size_t rows = 0;

			while (record->fields[rows].kind != QMT_KIND_END)
				rows++;
			assert_int_equal(json_count(value), rows);
			assert_int_equal(json_write(value, &out), 0);
			assert_int_equal(json_parse(qmt_buf_view(&out), &back, NULL), 0);
			assert_int_equal(json_count(back), rows);
			json_free(value);
			json_free(back);
			qmt_buf_free(&out);
			sample_free(&room);
		}
	}
}

/* Of jansson; its header's names are those of ours. */
void json_set_alloc_funcs(void *(*malloc_fn)(size_t), void (*free_fn)(void *));

static size_t allocations_left;

static void *failing_malloc(size_t size)
{
	if (allocations_left == 0)
		return NULL;
	allocations_left--;
	return malloc(size);
}

/* Without memory, after any number of allocations, there is no value, and nothing leaks. */
static void test_no_memory(void **state)
{
	struct sample_room room = {0};
	uint64_t seed = 3;
	const void *body = sample_random(&sample_record, &seed, &room);
	struct json *value = NULL;
	size_t tries = 0;

	(void)state;
	json_set_alloc_funcs(failing_malloc, free);
	for (; !value; tries++) {
		assert_true(tries < 10000);
		allocations_left = tries;
		value = json_from_record(&sample_record, body, true);
	}
	json_free(value);
	json_set_alloc_funcs(malloc, free);
	assert_true(tries > 10);
	sample_free(&room);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_kind), cmocka_unit_test(test_empty),
		cmocka_unit_test(test_odd_numbers), cmocka_unit_test(test_contracts), cmocka_unit_test(test_no_memory)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
