/* test/lib/hostile.c - see hostile.h. */
#include "hostile.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "runtime/base/os.h"

static uint64_t deadline(int timeout_ms)
{
	return qmt_os_real_now_ms() + (uint64_t)timeout_ms;
}

int hostile_open(struct hostile *peer, uint16_t port, unsigned flags, struct qmt_err *err)
{
	char endpoint[64];
	int rc;

	peer->alter = NULL;
	peer->alter_arg = NULL;
	(void)snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", port);
	assert_int_equal(hostile_connect(peer, endpoint, flags, err), 0);
	if (flags & (HOSTILE_NO_HELLO | HOSTILE_PLAIN))
		return 0;
	rc = hostile_prove(peer, flags, deadline(MESH_WAIT_MS), err);
	assert_true(rc <= 0); /* else it was cut without a word, or nothing came */
	return rc;
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

void hostile_wait_cut(struct hostile *peer)
{
	if (hostile_await_cut(peer, deadline(MESH_WAIT_MS)))
		fail_msg("the connection was not cut");
}
