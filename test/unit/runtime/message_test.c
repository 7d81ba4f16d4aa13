/* runtime/message: copies follow the field tables, deep and complete, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/lib/runtime_kit.h"

/* A record is flat exactly when nothing in it, at any depth, is a pointer. */
static void flat_is_known(void **unused)
{
	(void)unused;
	assert_true(kit_point_record.flat);
	assert_false(kit_entry_record.flat);
	assert_true(kit_poke_type.record.flat); /* REF is plain data */
	assert_false(kit_note_type.record.flat);
	assert_true(kit_stop_type.record.flat);
}

/* A copy of a struct with every kind of field is equal and shares no memory with the original. */
static void deep_copy(void **unused)
{
	(void)unused;
	struct kit_entry entries[] = {{qmt_str("one"), 1}, {qmt_str("two"), 2}, {{0}, 3}};
	struct qmt_str words[] = {qmt_str("a"), {0}, qmt_str("ccc")};
	struct kit_point points[] = {{1, -1}, {2, -2}};
	const uint8_t bytes[] = {0, 1, 255};
	struct kit_note note = {
		.text = qmt_str("text"),
		.bytes = {bytes, 3},
		.entries = {entries, 3},
		.words = {words, 3},
		.inner = {qmt_str("inner"), 9},
		.points = {points, 2},
		.flag = true,
		.number = 1.5,
	};
	const struct qmt_record *record = &kit_note_type.record;
	size_t extra = qmt_record_extra(record, &note);
	char *room = aligned_alloc(16, (extra + 31) / 16 * 16);
	struct kit_note copy;

	memset(room, 0x77, extra + 16);
	qmt_record_copy(record, &note, &copy, room);
	assert_int_equal(room[extra], 0x77); /* not one byte more than was measured */
	memset(entries, 0xee, sizeof entries);
	memset(words, 0xee, sizeof words);
	memset(points, 0xee, sizeof points);
	assert_true(qmt_str_is(copy.text, "text"));
	assert_int_equal(copy.bytes.len, 3);
	assert_memory_equal(copy.bytes.p, bytes, 3);
	assert_ptr_not_equal(copy.bytes.p, bytes);
	assert_int_equal(copy.entries.count, 3);
	assert_true(qmt_str_is(copy.entries.items[0].name, "one"));
	assert_int_equal(copy.entries.items[1].value, 2);
	assert_int_equal(copy.entries.items[2].name.len, 0);
	assert_int_equal(copy.entries.items[2].value, 3);
	assert_int_equal(copy.words.count, 3);
	assert_true(qmt_str_is(copy.words.items[0], "a"));
	assert_int_equal(copy.words.items[1].len, 0);
	assert_true(qmt_str_is(copy.words.items[2], "ccc"));
	assert_true(qmt_str_is(copy.inner.name, "inner"));
	assert_int_equal(copy.inner.value, 9);
	assert_int_equal(copy.points.count, 2);
	assert_int_equal(copy.points.items[1].y, -2);
	assert_true(copy.flag && copy.number > 1.4);
	assert_int_equal((uintptr_t)copy.entries.items % 8, 0);
	assert_int_equal((uintptr_t)copy.points.items % 8, 0);
	free(room);
}

/* An empty struct needs no room, and its copy is empty. */
static void empty_copy(void **unused)
{
	(void)unused;
	struct kit_note note = {0}, copy;

	memset(&copy, 1, sizeof copy);
	assert_int_equal(qmt_record_extra(&kit_note_type.record, &note), 0);
	qmt_record_copy(&kit_note_type.record, &note, &copy, NULL);
	assert_null(copy.entries.items);
	assert_int_equal(copy.words.count, 0);
	assert_int_equal(copy.text.len, 0);
}

static void note(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_note *got = body;

	(void)state;
	kit_check(got->text.len == 5000 && got->text.p[0] == 'x' && got->text.p[4999] == 'x');
	kit_check(got->entries.count == 1 && qmt_str_is(got->entries.items[0].name, "deep"));
	kit_answer(ctx, got->text.len);
}
static qmt_handler *const handlers[kit_message_count] = {[kit_note_id] = note};
static const struct qmt_actor_desc taker = KIT_DESC("taker", handlers);

/* A message of more than a slab block arrives whole; types that are refused, or of no protocol of the actor, are
 * refused at send. */
static void large_and_refused(void **unused)
{
	(void)unused;
	struct kit kit;
	struct qmt_result result;
	char *text = malloc(5000);

	kit_start(&kit, 2);
	struct qmt_ref ref = kit_spawn(&kit, &taker, NULL);
	memset(text, 'x', 5000);
	struct kit_entry entry = {qmt_str("deep"), 0};
	struct kit_note large = {.text = qmt_strn(text, 5000), .entries = {&entry, 1}};
	for (int i = 0; i < 100; i++)
		assert_int_equal(qmt_outside_ask(kit.out, ref, &kit_note_type, &large, 0, &result), 0);
	free(text);
	assert_int_equal(QMT_TELL(kit.out, ref, kit_poke, .value = 1), QMT_FAIL_UNKNOWN_MESSAGE);
	assert_int_equal(QMT_TELL(kit.out, ref, kit2_hello, .value = 1), QMT_FAIL_UNKNOWN_MESSAGE);
	assert_ptr_equal(qmt_accepts(kit.out, ref, qmt_str("kit.note")), &kit_note_type);
	assert_null(qmt_accepts(kit.out, ref, qmt_str("kit.poke")));
	assert_null(qmt_accepts(kit.out, ref, qmt_str("kit.nothing")));
	assert_ptr_equal(qmt_protocol_find(&kit_protocol, qmt_str("kit.answer")), &kit_answer_type);
	kit_stop(&kit);
}

/* A message made by hand has a zeroed struct, aligned room behind it, and is sent without a copy; when the send
 * fails it is still ours. */
static void made_by_hand(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start(&kit, 1);
	struct qmt_ref ref = kit_spawn(&kit, &taker, NULL);
	struct qmt_msg *m = qmt_msg_new(kit.out, &kit_poke_type, 100);
	assert_non_null(m);
	struct kit_poke *poke = qmt_msg_body(m);
	assert_int_equal(poke->value, 0);
	assert_int_equal((uintptr_t)qmt_msg_extra(m, &kit_poke_type) % 16, 0);
	memset(qmt_msg_extra(m, &kit_poke_type), 1, 100);
	assert_int_equal(qmt_send_msg(kit.out, ref, &kit_poke_type, &m), QMT_FAIL_UNKNOWN_MESSAGE);
	assert_non_null(m);
	assert_int_equal(qmt_send_msg(kit.out, (struct qmt_ref){0}, &kit_poke_type, &m), QMT_FAIL_NOT_RUNNING);
	assert_non_null(m);
	qmt_msg_free(kit.out, m);
	qmt_msg_free(kit.out, NULL);
	assert_null(qmt_msg_new(kit.out, &kit_poke_type, SIZE_MAX - 8));
	kit_stop(&kit);
}

/* Every failure has a text of its own; others say so. */
static void failures_have_names(void **unused)
{
	(void)unused;
	assert_string_equal(qmt_fail_name(QMT_FAIL_FULL), "mailbox full");
	assert_string_equal(qmt_fail_name(0), "unknown failure");
	assert_string_equal(qmt_fail_name(-1), "unknown failure");
	assert_string_equal(qmt_fail_name(9999), "unknown failure");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flat_is_known),
		cmocka_unit_test(deep_copy),
		cmocka_unit_test(empty_copy),
		cmocka_unit_test(large_and_refused),
		cmocka_unit_test(made_by_hand),
		cmocka_unit_test(failures_have_names),
	};

	return cmocka_run_group_tests_name("runtime/message", tests, NULL, NULL);
}
