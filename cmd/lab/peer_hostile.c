/* cmd/lab/peer_hostile.c - see peer_hostile.h. Uses libzmq as any stranger could. */
#include "cmd/lab/peer_hostile.h"

#include <errno.h>
#include <zmq.h>

#include "proto/codec.h"
#include "runtime/base/os.h"
#include "transports/channel_key.h"
#include "transports/link_records.h"

static const char *const scopes[] = {"lan:default"};

static int random_bytes(void *room, size_t len)
{
	struct qmt_os *os = qmt_os_new(false, 0, 0);

	if (!os)
		return -ENOMEM;
	qmt_os_random(os, room, len);
	qmt_os_free(os);
	return 0;
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

static int set_keys(struct hostile *peer, unsigned flags)
{
	uint8_t seed[32], server[32], unused[32];

	if (!(flags & HOSTILE_KEYED)) {
		if (random_bytes(seed, sizeof seed))
			return -ENOMEM;
		channel_key_make(seed, peer->key, peer->secret);
	}
	if (flags & HOSTILE_PLAIN)
		return 0;
	channel_key_published(server, unused);
	return zmq_setsockopt(peer->socket, ZMQ_CURVE_SERVERKEY, server, sizeof server) ||
		zmq_setsockopt(peer->socket, ZMQ_CURVE_PUBLICKEY, peer->key, sizeof peer->key) ||
		zmq_setsockopt(peer->socket, ZMQ_CURVE_SECRETKEY, peer->secret, sizeof peer->secret);
}

static int set_deaf(struct hostile *peer)
{
	int frames = 1, bytes = 4096;

	return zmq_setsockopt(peer->socket, ZMQ_RCVHWM, &frames, sizeof frames) ||
		zmq_setsockopt(peer->socket, ZMQ_RCVBUF, &bytes, sizeof bytes);
}

static int open_socket(struct hostile *peer, const char *endpoint, unsigned flags)
{
	/* CLOSED: no connection came to be; there is no second try */
	const int events = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
		ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
	int zero = 0, never = -1;

	peer->context = zmq_ctx_new();
	peer->socket = peer->context ? zmq_socket(peer->context, ZMQ_DEALER) : NULL;
	if (!peer->socket)
		return -1;
	if (zmq_setsockopt(peer->socket, ZMQ_LINGER, &zero, sizeof zero) ||
		zmq_setsockopt(peer->socket, ZMQ_RECONNECT_IVL, &never, sizeof never) ||
		((flags & HOSTILE_NAMED) && zmq_setsockopt(peer->socket, ZMQ_ROUTING_ID, "chosen", 6)) ||
		((flags & HOSTILE_DEAF) && set_deaf(peer)) || set_keys(peer, flags) ||
		zmq_socket_monitor(peer->socket, "inproc://monitor", events))
		return -1;
	peer->monitor = zmq_socket(peer->context, ZMQ_PAIR);
	return !peer->monitor || zmq_setsockopt(peer->monitor, ZMQ_LINGER, &zero, sizeof zero) ||
		zmq_connect(peer->monitor, "inproc://monitor") || zmq_connect(peer->socket, endpoint);
}

int hostile_connect(struct hostile *peer, const char *endpoint, unsigned flags, struct qmt_err *err)
{
	struct hostile fresh = {.alter = peer->alter, .alter_arg = peer->alter_arg};

	if (flags & HOSTILE_KNOWN)
		fresh.identity = peer->identity;
	else
		identity_generate(&fresh.identity);
	if (flags & HOSTILE_KEYED) {
		memcpy(fresh.key, peer->key, sizeof fresh.key);
		memcpy(fresh.secret, peer->secret, sizeof fresh.secret);
	}
	*peer = fresh;
	if (open_socket(peer, endpoint, flags))
		return qmt_err_set(err, -EIO, "%s: %s", endpoint, zmq_strerror(zmq_errno()));
	peer->self = (struct hello_self){
		.identity = &peer->identity,
		.node_name = "mallory",
		.boot_id = "01890a5d-ac96-774b-bcce-b302099a8057",
		.attempt = 1,
		.scopes = scopes,
		.scope_count = 1,
	};
	return 0;
}

void hostile_hang_up(struct hostile *peer)
{
	if (peer->monitor) {
		(void)zmq_socket_monitor(peer->socket, NULL, 0);
		(void)zmq_close(peer->monitor);
	}
	if (peer->socket)
		(void)zmq_close(peer->socket);
	if (peer->context)
		(void)zmq_ctx_term(peer->context);
	hello_fini(&peer->hello);
	identity_fini(&peer->identity);
	*peer = (struct hostile){0};
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

static long time_left(uint64_t deadline_ms)
{
	uint64_t now = qmt_os_real_now_ms();

	return deadline_ms > now ? (long)(deadline_ms - now) : 0;
}

static void drop_message(void *socket)
{
	zmq_msg_t message;
	int more = 1;

	while (more) {
		(void)zmq_msg_init(&message);
		more = zmq_msg_recv(&message, socket, ZMQ_DONTWAIT) >= 0 && zmq_msg_more(&message);
		(void)zmq_msg_close(&message);
	}
}

/* Waits until the socket can do `events`. 0; HOSTILE_E_CUT (and it cannot); HOSTILE_E_LATE. */
static int await(struct hostile *peer, short events, uint64_t deadline_ms)
{
	for (;;) {
		zmq_pollitem_t items[] = {
			{.socket = peer->socket, .events = events}, {.socket = peer->monitor, .events = ZMQ_POLLIN}};
		long left = peer->cut ? 0 : time_left(deadline_ms);
		int count = zmq_poll(items, 2, left);

		if (count > 0 && (items[1].revents & ZMQ_POLLIN)) {
			drop_message(peer->monitor);
			peer->cut = true;
		}
		if (count > 0 && (items[0].revents & events))
			return 0;
		if (peer->cut && (count <= 0 || items[1].revents == 0))
			return HOSTILE_E_CUT;
		if (!peer->cut && left == 0)
			return HOSTILE_E_LATE;
	}
}

int hostile_put(struct hostile *peer, const void *frame, size_t len, uint64_t deadline_ms)
{
	for (;;) {
		int rc;

		if (zmq_send(peer->socket, frame, len, ZMQ_DONTWAIT) >= 0)
			return 0;
		rc = await(peer, ZMQ_POLLOUT, deadline_ms);
		if (rc)
			return rc;
	}
}

int hostile_get(struct hostile *peer, void *room, size_t size, uint64_t deadline_ms, size_t *ret_len)
{
	for (;;) {
		/* frames without end do not move the deadline */
		int rc = !peer->cut && time_left(deadline_ms) == 0 ? HOSTILE_E_LATE : await(peer, ZMQ_POLLIN, deadline_ms), len;

		if (rc)
			return rc;
		len = zmq_recv(peer->socket, room, size, ZMQ_DONTWAIT);
		if (len >= 0) {
			*ret_len = (size_t)len < size ? (size_t)len : size;
			return 0;
		}
	}
}

int hostile_await_cut(struct hostile *peer, uint64_t deadline_ms)
{
	uint8_t byte;
	size_t len;
	int rc;

	do
		rc = hostile_get(peer, &byte, 1, deadline_ms, &len);
	while (rc == 0);
	return rc == HOSTILE_E_CUT ? 0 : rc;
}

/* ---- HELLO ------------------------------------------------------------------------------------------------------- */

static int send_hello(struct hostile *peer, struct qmt_buf *frame, uint64_t deadline_ms)
{
	int rc = peer->alter ? peer->alter(peer, frame, peer->alter_arg) : 0;

	if (!rc)
		rc = frame->failed ? -ENOMEM : hostile_put(peer, frame->data, frame->len, deadline_ms);
	frame->len = 0;
	return rc;
}

int hostile_prove(struct hostile *peer, unsigned flags, uint64_t deadline_ms, struct qmt_err *err)
{
	struct qmt_buf out QMT_CLEANUP(qmt_buf_free) = {0};
	uint8_t nonce[HELLO_NONCE], other[HELLO_KEY], frame[4096];
	size_t len;
	int rc;

	if (random_bytes(nonce, sizeof nonce) || random_bytes(other, sizeof other) ||
		hello_dial(&peer->hello, &peer->self, flags & HOSTILE_WRONG_KEY ? other : peer->key, nonce, NULL, &out))
		return qmt_err_set(err, -ENOMEM, "out of memory");
	rc = send_hello(peer, &out, deadline_ms);
	while (!rc) {
		int step;

		rc = hostile_get(peer, frame, sizeof frame, deadline_ms, &len);
		if (rc)
			break;
		step = hello_input(&peer->hello, (struct qmt_bytes){frame, (uint32_t)len}, &out, err);
		if (out.len)
			rc = send_hello(peer, &out, deadline_ms);
		if (step <= 0)
			return step;
	}
	return rc;
}

void hostile_put_envelope(struct qmt_buf *frame, const struct envelope *env, const void *body, size_t len)
{
	static const uint8_t version = ENVELOPE_VERSION;

	if (frame->len == 0)
		qmt_buf_append(frame, &version, 1);
	envelope_put(frame, env);
	qmt_buf_append(frame, body, len);
}

int hostile_use(struct hostile *peer, uint64_t sequence, bool always, uint64_t deadline_ms)
{
	struct qmt_buf frame QMT_CLEANUP(qmt_buf_free) = {0};
	struct envelope env = {.kind = ENVELOPE_CONTROL, .type = LINK_USE};

	if (!always && peer_id_compare(&peer->identity.id, &peer->hello.peer.id) > 0)
		return 0;
	hostile_put_envelope(&frame, &env, NULL, 0);
	if (codec_encode(&link_number_record, &(struct link_number){.number = sequence}, NULL, &frame))
		return -ENOMEM;
	return hostile_put(peer, frame.data, frame.len, deadline_ms);
}
