/* test/lib/hostile.c - see hostile.h. */
#include "hostile.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "proto/codec.h"
#include "runtime/base/os.h"

static uint64_t deadline(int timeout_ms)
{
	return qmt_os_real_now_ms() + (uint64_t)timeout_ms;
}

static int open_as(struct hostile *peer, uint16_t port, unsigned flags, const char *name, struct qmt_err *err)
{
	char endpoint[64];
	int rc;

	peer->alter = NULL;
	peer->alter_arg = NULL;
	(void)snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", port);
	assert_int_equal(hostile_connect(peer, endpoint, flags, err), 0);
	if (flags & (HOSTILE_NO_HELLO | HOSTILE_PLAIN))
		return 0;
	if (name)
		peer->self.node_name = name;
	rc = hostile_prove(peer, flags, deadline(MESH_WAIT_MS), err);
	assert_true(rc <= 0); /* else it was cut without a word, or nothing came */
	return rc;
}

int hostile_open(struct hostile *peer, uint16_t port, unsigned flags, struct qmt_err *err)
{
	return open_as(peer, port, flags, NULL, err);
}

int hostile_open_as(struct hostile *peer, uint16_t port, const char *name, struct qmt_err *err)
{
	return open_as(peer, port, 0, name, err);
}

void hostile_close(struct hostile *peer)
{
	hostile_hang_up(peer);
}

void hostile_send(struct hostile *peer, const void *frame, size_t len)
{
	assert_int_equal(hostile_put(peer, frame, len, deadline(MESH_WAIT_MS)), 0);
}

int hostile_receive(struct hostile *peer, void *room, size_t size, int timeout_ms)
{
	size_t len;

	return hostile_get(peer, room, size, deadline(timeout_ms), &len) ? -1 : (int)len;
}

void hostile_say(struct hostile *peer, const struct envelope *env, const struct qmt_record *record, const void *body)
{
	struct qmt_buf frame = {0};

	hostile_put_envelope(&frame, env, NULL, 0);
	if (record)
		assert_int_equal(codec_encode(record, body, NULL, &frame), 0);
	else
		envelope_put_nil(&frame);
	hostile_send(peer, frame.data, frame.len);
	qmt_buf_free(&frame);
}

void hostile_says_use(struct hostile *peer, uint64_t sequence)
{
	assert_int_equal(hostile_use(peer, sequence, true, deadline(MESH_WAIT_MS)), 0);
}

struct envelope hostile_wait(struct hostile *peer, enum envelope_kind kind)
{
	static uint8_t room[1 << 18];

	for (;;) {
		int len = hostile_receive(peer, room, sizeof(room), MESH_WAIT_MS);
		struct qmt_bytes data = {room + 1, (uint32_t)len - 1};
		struct envelope env;

		assert_true(len > 0);
		while (envelope_get(&data, &env, NULL) == 0)
			if (env.kind == kind)
				return env;
	}
}

void hostile_wait_cut(struct hostile *peer)
{
	if (hostile_await_cut(peer, deadline(MESH_WAIT_MS)))
		fail_msg("the connection was not cut");
}
