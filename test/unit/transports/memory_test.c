/* test/unit/transports/memory_test.c - the Nth allocation fails, for every N: the parts of a link without I/O say
 * so, leak
 * nothing, and lose nothing that they had taken. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "proto/codec.h"
#include "proto/contract/contract.h"
#include "transports/export_table.h"
#include "transports/hello.h"
#include "transports/inbox.h"
#include "transports/link_records.h"
#include "transports/outbox.h"
#include "transports/type_table.h"
#include "transports/zmq_connections.h"
#include "test/lib/failing_memory.h"

/* ---- what is done without memory --------------------------------------------------------------------------------*/

static struct identity identities[2];
static char payload[5000];

/* 0: HELLO ended well at both sides. */
static int do_hello(void)
{
	static const char *const scopes[] = {"lan:default"};
	struct hello_self selves[2];
	struct hello sides[2];
	uint8_t key[HELLO_KEY] = {1}, nonces[2][HELLO_NONCE] = {{2}, {3}};
	struct qmt_buf frame = {0}, out = {0};
	int rc[2] = {HELLO_MORE, HELLO_MORE}, failure = 0;

	for (int i = 0; i < 2; i++)
		selves[i] = (struct hello_self){.identity = &identities[i],
			.node_name = "n",
			.scopes = scopes,
			.scope_count = 1,
			.boot_id = "01890a5d-ac96-774b-bcce-b302099a8057"};
	hello_listen(&sides[1], &selves[1], key, nonces[1]);
	failure = hello_dial(&sides[0], &selves[0], key, nonces[0], NULL, &frame);
	for (int i = 1; !failure && frame.len && !frame.failed; i = !i) {
		out.len = 0;
		rc[i] = hello_input(&sides[i], (struct qmt_bytes){(uint8_t *)frame.data, (uint32_t)frame.len}, &out, NULL);
		if (rc[i] < 0)
			failure = rc[i];
		frame.len = 0;
		qmt_buf_append(&frame, out.data, out.len);
	}
	if (!failure && (rc[0] != HELLO_DONE || rc[1] != HELLO_DONE))
		failure = -ENOMEM; /* an answer was lost: the link would time out */
	qmt_buf_free(&frame);
	qmt_buf_free(&out);
	hello_fini(&sides[0]);
	hello_fini(&sides[1]);
	return failure;
}

static int put(struct outbox *box, const void *who, uint64_t id, uint32_t len)
{
	struct envelope env = {.kind = ENVELOPE_TELL, .id = id, .to = 1, .type = 1};
	struct link_piece body = {.data = {(uint8_t *)payload, len}};
	struct qmt_buf *buf = outbox_begin(box);
	bool in_lane;

	envelope_put(buf, &env);
	if (codec_encode(&link_piece_record, &body, NULL, buf))
		buf->failed = true;
	return outbox_end(box, (struct outbox_key){.who = who}, false, &in_lane);
}

static int take(void *arg, const struct envelope *env)
{
	uint64_t *sum = arg;

	*sum += env->id;
	return 0;
}

/* What was taken (0) arrives, unless the receiver had no memory for it. */
static int do_boxes(void)
{
	struct outbox out;
	struct inbox in;
	struct qmt_bytes frame;
	uint64_t taken = 0, arrived = 0;
	int failure = 0;

	outbox_init(&out,
		&(struct outbox_limits){.batch_messages = 2, .piece_bytes = 500, .queue_bytes = 100000, .body_bytes = 10000});
	inbox_init(&in, 10000, 20000);
	for (uint64_t id = 1; id < 20; id++) {
		int rc = put(&out, id % 2 ? "a" : "b", id, id % 5 ? 10 : 3000);

		failure = rc ? rc : failure;
		taken += rc ? 0 : id;
	}
	for (int tries = 0; tries < 1000 && !outbox_is_empty(&out); tries++) {
		struct qmt_err err = {0};

		if (!outbox_front(&out, &frame))
			continue; /* no memory for a piece just now */
		if (inbox_frame(&in, frame, take, &arrived, &err)) {
			failure = -ENOMEM; /* the link is cut */
			break;
		}
		outbox_pop(&out);
	}
	if (!outbox_is_empty(&out))
		failure = -ENOMEM; /* it still waits there */
	if (!failure && arrived != taken)
		failure = -EPROTO; /* a message was lost */
	outbox_fini(&out);
	inbox_fini(&in);
	return failure == -ENOMEM || failure == 0 ? failure : -EPROTO;
}

static int do_tables(void)
{
	struct type_out out = {0};
	struct type_in in;
	struct export_table exports;
	struct connections connections = {0};
	int failure = 0;

	type_in_init(&in, 1000);
	export_init(&exports, 1000);
	for (uint32_t i = 0; i < node_protocol.count; i++) {
		const struct qmt_type *type = node_protocol.types[i];
		struct type_out_row *row = type_out_row(&out, type);
		const char *why = "";
		uint32_t number;
		bool is_new;

		if (!row || !type_in_row(&in, row->number, qmt_str(type->record.name), &why))
			failure = -ENOMEM;
		if (export_number(&exports, (struct qmt_ref){.gen = i + 1}, &number, &is_new))
			failure = -ENOMEM;
		if (!connections_add(&connections, i) || !connections_descriptor(&connections, (int)i * 50))
			failure = -ENOMEM;
	}
	type_out_fini(&out);
	type_in_fini(&in);
	export_fini(&exports);
	connections_fini(&connections);
	return failure;
}

#ifndef SANITIZED
static void fails_cleanly(int (*what)(void))
{
	long before, n;

	assert_int_equal(what(), 0); /* whatever is allocated once and for all */
	before = live;
	for (n = 0;; n++) {
		int rc;

		failed = false;
		left = n;
		rc = what();
		left = -1;
		if (live != before || (failed && rc == -EPROTO))
			fail_msg("without allocation %ld: %ld blocks are left, outcome %d", n, live - before, rc);
		if (!failed) {
			assert_int_equal(rc, 0);
			break;
		}
	}
	assert_true(n > 3);
}
#else
static void fails_cleanly(int (*what)(void))
{
	assert_int_equal(what(), 0);
}
#endif

static void hello(void **state)
{
	(void)state;
	fails_cleanly(do_hello);
}

static void boxes(void **state)
{
	(void)state;
	fails_cleanly(do_boxes);
}

static void tables(void **state)
{
	(void)state;
	fails_cleanly(do_tables);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(hello), cmocka_unit_test(boxes), cmocka_unit_test(tables)};

	if (identity_crypto_init())
		return 1;
	identity_generate(&identities[0]);
	identity_generate(&identities[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
