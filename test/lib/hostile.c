/* test/lib/hostile.c - see hostile.h. Uses libzmq as any stranger could. */
#include "hostile.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <zmq.h>

#include "runtime/base/os.h"
#include "transports/channel_key.h"

static const char *const scopes[] = {"lan:default"};

static void random_bytes(void *room, size_t len)
{
	struct qmt_os *os = qmt_os_new(false, 0, 0);

	qmt_os_random(os, room, len);
	qmt_os_free(os);
}

static void open_socket(struct hostile *peer, uint16_t port, unsigned flags)
{
	uint8_t seed[32], secret[32], server[32], unused[32];
	int zero = 0, never = -1;
	char endpoint[64];

	random_bytes(seed, sizeof(seed));
	channel_key_make(seed, peer->key, secret);
	channel_key_published(server, unused);
	peer->context = zmq_ctx_new();
	peer->socket = zmq_socket(peer->context, ZMQ_DEALER);
	assert_int_equal(zmq_setsockopt(peer->socket, ZMQ_LINGER, &zero, sizeof(zero)), 0);
	assert_int_equal(zmq_setsockopt(peer->socket, ZMQ_RECONNECT_IVL, &never, sizeof(never)), 0);
	if (flags & HOSTILE_NAMED)
		assert_int_equal(zmq_setsockopt(peer->socket, ZMQ_ROUTING_ID, "chosen", 6), 0);
	if (!(flags & HOSTILE_PLAIN)) {
		assert_int_equal(zmq_setsockopt(peer->socket, ZMQ_CURVE_SERVERKEY, server, 32), 0);
		assert_int_equal(zmq_setsockopt(peer->socket, ZMQ_CURVE_PUBLICKEY, peer->key, 32), 0);
		assert_int_equal(zmq_setsockopt(peer->socket, ZMQ_CURVE_SECRETKEY, secret, 32), 0);
	}
	assert_int_equal(zmq_socket_monitor(peer->socket, "inproc://monitor", ZMQ_EVENT_DISCONNECTED), 0);
	peer->monitor = zmq_socket(peer->context, ZMQ_PAIR);
	assert_int_equal(zmq_connect(peer->monitor, "inproc://monitor"), 0);
	(void)snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%u", port);
	assert_int_equal(zmq_connect(peer->socket, endpoint), 0);
}

int hostile_open(struct hostile *peer, uint16_t port, unsigned flags, struct qmt_err *err)
{
	uint8_t nonce[HELLO_NONCE], key[32], frame[4096];
	struct qmt_buf out = {0};
	int rc;

	*peer = (struct hostile){.identity = peer->identity};
	if (!(flags & HOSTILE_KNOWN))
		identity_generate(&peer->identity);
	open_socket(peer, port, flags);
	if (flags & (HOSTILE_NO_HELLO | HOSTILE_PLAIN))
		return 0;
	peer->self = (struct hello_self){
		.identity = &peer->identity,
		.node_name = "mallory",
		.boot_id = "01890a5d-ac96-774b-bcce-b302099a8057",
		.attempt = 1,
		.scopes = scopes,
		.scope_count = 1,
	};
	random_bytes(nonce, sizeof(nonce));
	random_bytes(key, sizeof(key));
	rc = hello_dial(&peer->hello, &peer->self, flags & HOSTILE_WRONG_KEY ? key : peer->key, nonce, NULL, &out);
	assert_int_equal(rc, 0);
	hostile_send(peer, out.data, out.len);
	rc = HELLO_MORE;
	while (rc == HELLO_MORE) {
		int len = hostile_receive(peer, frame, sizeof(frame), MESH_WAIT_MS);

		assert_true(len >= 0);
		out.len = 0;
		rc = hello_input(&peer->hello, (struct qmt_bytes){frame, (uint32_t)len}, &out, err);
		if (out.len)
			hostile_send(peer, out.data, out.len);
	}
	qmt_buf_free(&out);
	return rc;
}

void hostile_close(struct hostile *peer)
{
	zmq_socket_monitor(peer->socket, NULL, 0);
	zmq_close(peer->monitor);
	zmq_close(peer->socket);
	zmq_ctx_term(peer->context);
	hello_fini(&peer->hello);
	*peer = (struct hostile){0};
}

void hostile_send(struct hostile *peer, const void *frame, size_t len)
{
	assert_int_equal(zmq_send(peer->socket, frame, len, 0), len);
}

int hostile_receive(struct hostile *peer, void *room, size_t size, int timeout_ms)
{
	zmq_pollitem_t item = {.socket = peer->socket, .events = ZMQ_POLLIN};

	if (zmq_poll(&item, 1, timeout_ms) != 1)
		return -1;
	return zmq_recv(peer->socket, room, size, 0);
}

void hostile_wait_cut(struct hostile *peer)
{
	zmq_pollitem_t item = {.socket = peer->monitor, .events = ZMQ_POLLIN};

	if (zmq_poll(&item, 1, MESH_WAIT_MS) != 1)
		fail_msg("the connection was not cut");
}
