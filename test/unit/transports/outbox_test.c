/* test/unit/transports/outbox_test.c - what goes into an outbox comes out of an inbox: whole, once, in the order of
 * its sender. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>

#include "proto/codec.h"
#include "transports/inbox.h"
#include "transports/link_records.h"
#include "transports/outbox.h"

static const struct outbox_limits small = {
	.batch_messages = 4, .piece_bytes = 100, .queue_bytes = 5000, .body_bytes = 3000};

static int put(struct outbox *box, const void *who, uint64_t id, size_t body, bool forced)
{
	struct envelope env = {.kind = ENVELOPE_TELL, .id = id, .to = 1, .type = 1};
	struct qmt_buf *buf = outbox_begin(box);
	struct link_piece bytes = {.data = {calloc(1, body + 1), (uint32_t)body}};
	bool in_lane;
	int rc;

	envelope_put(buf, &env);
	assert_int_equal(codec_encode(&link_piece_record, &bytes, NULL, buf), 0);
	rc = outbox_end(box, (struct outbox_key){.who = who}, forced, &in_lane);
	free((void *)(uintptr_t)bytes.data.p);
	return rc;
}

static void put_control(struct outbox *box)
{
	struct envelope env = {.kind = ENVELOPE_CONTROL, .type = LINK_PING};
	struct qmt_buf *buf = outbox_control_begin(box);

	envelope_put(buf, &env);
	envelope_put_nil(buf);
	assert_int_equal(outbox_control_end(box), 0);
}

struct got {
	uint64_t ids[200];
	int count, controls;
};

static int take(void *arg, const struct envelope *env)
{
	struct got *got = arg;

	if (env->kind == ENVELOPE_CONTROL)
		got->controls++;
	else
		got->ids[got->count++] = env->id;
	return 0;
}

/* Moves everything over. Returns how many frames it took. */
static int drain(struct outbox *out, struct inbox *in, struct got *got)
{
	struct qmt_bytes frame;
	struct qmt_err err = {0};
	int frames = 0;

	while (outbox_front(out, &frame)) {
		assert_in_range(frame.len, 2, 2 * small.piece_bytes + 64);
		assert_int_equal(inbox_frame(in, frame, take, got, &err), 0);
		outbox_pop(out);
		frames++;
	}
	return frames;
}

/* Short messages share frames of batch_messages at most, in order. */
static void batches(void **state)
{
	struct outbox out;
	struct inbox in;
	struct got got = {0};

	(void)state;
	outbox_init(&out, &small);
	inbox_init(&in, 10000, 10000);
	assert_true(outbox_is_empty(&out));
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(put(&out, "a", i, 1, false), 0);
	assert_false(outbox_is_empty(&out));
	assert_int_equal(drain(&out, &in, &got), 3);
	assert_int_equal(got.count, 10);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(got.ids[i], i);
	assert_true(outbox_is_empty(&out));
	assert_int_equal(outbox_bytes(&out), 0);
	outbox_fini(&out);
	inbox_fini(&in);
}

/* Control overtakes all data, also while the gate is closed. */
static void control_first(void **state)
{
	struct outbox out;
	struct inbox in;
	struct got got = {0};
	struct qmt_bytes frame;

	(void)state;
	outbox_init(&out, &small);
	inbox_init(&in, 10000, 10000);
	for (uint64_t i = 0; i < 6; i++)
		assert_int_equal(put(&out, "a", i, 1, false), 0);
	out.gated = true;
	put_control(&out);
	assert_int_equal(drain(&out, &in, &got), 1);
	assert_int_equal(got.controls, 1);
	assert_int_equal(got.count, 0);
	assert_false(outbox_front(&out, &frame));
	out.gated = false;
	put_control(&out);
	assert_true(outbox_front(&out, &frame));
	assert_int_equal(inbox_frame(&in, frame, take, &got, NULL), 0);
	outbox_pop(&out);
	assert_int_equal(got.controls, 2);
	drain(&out, &in, &got);
	assert_int_equal(got.count, 6);
	outbox_fini(&out);
	inbox_fini(&in);
}

/* A long message goes in pieces; what its sender said before is in front of it, what it says afterwards behind it;
 * others pass. */
static void lanes_keep_order(void **state)
{
	struct outbox out;
	struct inbox in;
	struct got got = {0};
	int at[10] = {0};

	(void)state;
	outbox_init(&out, &small);
	inbox_init(&in, 10000, 10000);
	assert_int_equal(put(&out, "a", 1, 1, false), 0);
	assert_int_equal(put(&out, "a", 2, 2000, false), 0);
	assert_int_equal(put(&out, "a", 3, 1, false), 0);
	assert_int_equal(put(&out, "b", 4, 1, false), 0);
	assert_int_equal(put(&out, "a", 5, 500, false), 0);
	assert_int_equal(put(&out, "a", 6, 1, false), 0);
	assert_int_equal(put(&out, "b", 7, 1, false), 0);
	assert_true(outbox_in_lane(&out, (struct outbox_key){.who = "a"}));
	assert_false(outbox_in_lane(&out, (struct outbox_key){.who = "b"}));
	assert_true(drain(&out, &in, &got) > 25);
	assert_int_equal(got.count, 7);
	for (int i = 0; i < 7; i++)
		at[got.ids[i]] = i;
	assert_true(at[1] < at[2] && at[2] < at[3] && at[3] < at[5] && at[5] < at[6]);
	assert_true(at[4] < at[7]);
	assert_true(at[7] < at[2]); /* not behind 2,000 bytes of somebody else */
	assert_int_equal(outbox_bytes(&out), 0);
	assert_false(outbox_in_lane(&out, (struct outbox_key){.who = "a"}));
	outbox_fini(&out);
	inbox_fini(&in);
}

/* Frames that wait for a full socket hold back a long message that was said after what is in them. */
static void no_overtaking_when_full(void **state)
{
	struct outbox out;
	struct inbox in;
	struct got got = {0};
	struct qmt_bytes frame;

	(void)state;
	outbox_init(&out, &small);
	inbox_init(&in, 10000, 10000);
	for (uint64_t i = 1; i <= 41; i++) {
		assert_int_equal(put(&out, "a", i, 1, false), 0);
		(void)outbox_front(&out, &frame); /* the socket does not take it */
	}
	assert_int_equal(put(&out, "a", 42, 150, false), 0);
	assert_int_equal(put(&out, "a", 43, 1, false), 0);
	drain(&out, &in, &got);
	assert_int_equal(got.count, 43);
	for (uint64_t i = 0; i < 43; i++)
		assert_int_equal(got.ids[i], i + 1);
	outbox_fini(&out);
	inbox_fini(&in);
}

/* Over queue_bytes it is busy; an answer is forced in up to twice that; a single message may exceed it; over
 * body_bytes never. */
static void bounds(void **state)
{
	struct outbox out;
	struct inbox in;
	struct got got = {0};
	int taken = 0;

	(void)state;
	outbox_init(&out, &small);
	inbox_init(&in, 10000, 10000);
	assert_int_equal(put(&out, "a", 1, 4000, false), OUTBOX_E_TOO_LARGE);
	while (put(&out, "a", 1, 50, false) == 0)
		taken++;
	assert_in_range(taken, 40, 100);
	assert_int_equal(put(&out, "a", 2, 50, false), OUTBOX_E_BUSY);
	while (put(&out, "a", 3, 50, true) == 0)
		taken++;
	assert_in_range(taken, 120, 200);
	drain(&out, &in, &got);
	assert_int_equal(got.count, taken);
	assert_int_equal(put(&out, "a", 4, 2900, false), 0);
	outbox_fini(&out); /* with something in it */
	inbox_fini(&in);
	outbox_init(
		&out, &(struct outbox_limits){.batch_messages = 4, .piece_bytes = 100, .queue_bytes = 500, .body_bytes = 3000});
	assert_int_equal(put(&out, "a", 1, 2900, false), 0); /* nothing else waits */
	assert_int_equal(put(&out, "a", 1, 10, false), OUTBOX_E_BUSY);
	outbox_fini(&out);
}

static int frame_of(struct inbox *in, const void *bytes, size_t len)
{
	struct got got = {0};
	struct qmt_err err = {0};
	int rc = inbox_frame(in, (struct qmt_bytes){bytes, (uint32_t)len}, take, &got, &err);

	if (rc)
		assert_true(err.text[0] != '\0');
	return rc;
}

/* Every frame that was cut short, and a thousand with changed bytes, are taken or refused, never more. */
static void inbox_survives_damage(void **state)
{
	struct outbox out;
	struct qmt_bytes frame;
	uint32_t seed = 1;

	(void)state;
	outbox_init(&out, &small);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(put(&out, "a", i, 20, false), 0);
	assert_int_equal(put(&out, "b", 9, 500, false), 0);
	while (outbox_front(&out, &frame)) {
		uint8_t *copy = malloc(frame.len);

		for (uint32_t len = 0; len <= frame.len; len++) {
			struct inbox in;

			inbox_init(&in, 1000, 2000);
			memcpy(copy, frame.p, len);
			(void)frame_of(&in, copy, len);
			inbox_fini(&in);
		}
		for (int i = 0; i < 1000; i++) {
			struct inbox in;

			inbox_init(&in, 1000, 2000);
			memcpy(copy, frame.p, frame.len);
			seed = seed * 1664525 + 1013904223;
			copy[seed % frame.len] ^= (uint8_t)(seed >> 24);
			(void)frame_of(&in, copy, frame.len);
			inbox_fini(&in);
		}
		free(copy);
		outbox_pop(&out);
	}
	outbox_fini(&out);
}

static int put_piece(struct inbox *in, uint64_t id, uint64_t total, uint32_t len)
{
	struct envelope env = {.kind = ENVELOPE_CONTROL, .id = id, .type = LINK_PIECE};
	struct link_piece piece = {.total = total, .data = {calloc(1, len + 1), len}};
	struct qmt_buf frame = {0};
	int rc;

	qmt_buf_append(&frame, &(uint8_t){ENVELOPE_VERSION}, 1);
	envelope_put(&frame, &env);
	assert_int_equal(codec_encode(&link_piece_record, &piece, NULL, &frame), 0);
	rc = frame_of(in, frame.data, frame.len);
	free((void *)(uintptr_t)piece.data.p);
	qmt_buf_free(&frame);
	return rc;
}

/* Pieces that lie are refused; a total is not believed before the bytes are there. */
static void inbox_refuses(void **state)
{
	struct inbox in;

	(void)state;
	inbox_init(&in, 1000, 1500);
	assert_int_equal(frame_of(&in, "", 0), -EBADMSG);
	assert_int_equal(frame_of(&in, "\x02", 1), -EBADMSG);
	assert_int_equal(put_piece(&in, 1, 0, 10), -EBADMSG);
	assert_int_equal(put_piece(&in, 1, 1001, 10), -EMSGSIZE);
	assert_int_equal(put_piece(&in, 1, 1000, 900), 0);
	assert_int_equal(in.held, 900);
	assert_int_equal(put_piece(&in, 1, 1000, 10), -EBADMSG);
	assert_int_equal(put_piece(&in, 1, 0, 200), -EBADMSG);
	assert_int_equal(put_piece(&in, 1, 0, 0), -EBADMSG);
	assert_int_equal(put_piece(&in, 2, 1000, 700), -EMSGSIZE);
	assert_int_equal(put_piece(&in, 1, 0, 100), -EBADMSG); /* whole, and no envelope */
	assert_int_equal(in.held, 0);
	for (uint64_t i = 10; i < 10 + INBOX_TRANSFERS; i++)
		(void)put_piece(&in, i, 1000, 1);
	assert_int_equal(put_piece(&in, 5, 1000, 1), -EMSGSIZE);
	inbox_fini(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batches),
		cmocka_unit_test(control_first),
		cmocka_unit_test(lanes_keep_order),
		cmocka_unit_test(no_overtaking_when_full),
		cmocka_unit_test(bounds),
		cmocka_unit_test(inbox_survives_damage),
		cmocka_unit_test(inbox_refuses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
