/* transports/control_client.c - see control_client.h.
 *
 * The same HELLO, frames and envelopes as a link actor's, with a loop of its own instead of an actor: whoever waits for
 * something runs `step` until it is there, the deadline has passed, the wake descriptor is readable or the node is
 * gone. What comes in meanwhile is kept: told messages in a queue, the answer in `reply`.
 */
#include <czmq.h>
#include <errno.h>
#include <sys/stat.h>

#include "proto/codec.h"
#include "runtime/base/os.h"
#include "transports/control_internal.h"
#include "transports/transports.h"

static const char *const scopes[] = {"lan:default"};

static void take_hello(struct control_client *client, struct qmt_bytes frame)
{
	struct qmt_buf out = {0};
	struct qmt_err err = {0};
	int rc = hello_input(&client->hello, frame, &out, &err);

	if (out.len && zmq_send(zsock_resolve(client->sock), out.data, out.len, ZMQ_DONTWAIT) < 0)
		control_set_gone(client, -EPIPE, zmq_strerror(zmq_errno()));
	qmt_buf_free(&out);
	if (rc < 0) {
		control_set_gone(client, -EPROTO, err.text);
	} else if (rc == HELLO_DONE) {
		const struct hello_peer *peer = &client->hello.peer;

		client->proven = true;
		peer_id_text(&peer->id, client->node_id);
		(void)snprintf(client->node_name, sizeof(client->node_name), "%.*s", QMT_STR_ARG(peer->node_name));
		if (peer->body_bytes && peer->body_bytes < client->outbox.limits.body_bytes)
			client->outbox.limits.body_bytes = (size_t)peer->body_bytes;
	}
}

static void take_frames(struct control_client *client)
{
	void *socket = zsock_resolve(client->sock);

	while (!client->gone) {
		zmq_msg_t msg;
		struct qmt_err err = {0};

		zmq_msg_init(&msg);
		if (zmq_msg_recv(&msg, socket, ZMQ_DONTWAIT) < 0) {
			zmq_msg_close(&msg);
			return;
		}
		struct qmt_bytes frame = {zmq_msg_data(&msg), (uint32_t)zmq_msg_size(&msg)};
		if (!client->proven)
			take_hello(client, frame);
		else if (inbox_frame(&client->inbox, frame, control_on_envelope, client, &err) < 0)
			control_set_gone(client, -EPROTO, err.text);
		zmq_msg_close(&msg);
	}
}

static void take_events(struct control_client *client)
{
	void *monitor = zsock_resolve(client->monitor);
	uint8_t head[6], address[256];

	while (zmq_recv(monitor, head, sizeof(head), ZMQ_DONTWAIT) == (int)sizeof(head)) {
		uint16_t event;

		(void)zmq_recv(monitor, address, sizeof(address), ZMQ_DONTWAIT);
		memcpy(&event, head, sizeof(event));
		if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
			client->connected = true;
		else if (event == ZMQ_EVENT_CLOSED)
			control_set_gone(client, client->connected ? -EPIPE : -ECONNREFUSED,
				client->connected ? "the node went away" : "nobody listens there (is qmtd running?)");
		else if (event == ZMQ_EVENT_DISCONNECTED ||
			event &
				(ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
					ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)) {
			take_frames(client); /* its last words */
			control_set_gone(client, client->connected ? -EPIPE : -ECONNREFUSED,
				client->connected ? "the node went away" : "it is not a qmt node that listens there");
		}
	}
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static void pump(struct control_client *client)
{
	struct qmt_bytes frame;

	while (client->proven && outbox_front(&client->outbox, &frame)) {
		if (zmq_send(zsock_resolve(client->sock), frame.p, frame.len, ZMQ_DONTWAIT) < 0)
			return;
		outbox_pop(&client->outbox);
	}
}

static bool has_output(const struct control_client *client)
{
	return !outbox_is_empty(&client->outbox) || client->outbox.control.open_count || client->outbox.control.first;
}

enum { STEP_ON, STEP_TIMEOUT, STEP_WAKE };

/* Moves what can be moved and waits once for more, not beyond until_ms. */
static int step(struct control_client *client, uint64_t until_ms)
{
	uint64_t now = qmt_os_real_now_ms(), left = until_ms > now ? until_ms - now : 0;
	zmq_pollitem_t items[3] = {
		{.socket = zsock_resolve(client->sock), .events = ZMQ_POLLIN},
		{.socket = zsock_resolve(client->monitor), .events = ZMQ_POLLIN},
		{.fd = client->wake_fd, .events = ZMQ_POLLIN},
	};

	pump(client);
	if (client->proven && has_output(client))
		items[0].events |= ZMQ_POLLOUT;
	if (zmq_poll(items, client->wake_fd >= 0 ? 3 : 2, left > INT32_MAX ? INT32_MAX : (long)left) < 0)
		return zmq_errno() == EINTR ? STEP_ON
									: (control_set_gone(client, -zmq_errno(), zmq_strerror(zmq_errno())), STEP_ON);
	take_frames(client);
	take_events(client);
	pump(client);
	if (client->wake_fd >= 0 && items[2].revents)
		return STEP_WAKE;
	return left == 0 ? STEP_TIMEOUT : STEP_ON;
}

static int fail_gone(const struct control_client *client, struct qmt_err *err)
{
	return qmt_err_set(err, client->gone, "%s: %s", client->path, client->why);
}

static uint64_t deadline_in(uint64_t timeout_ms)
{
	uint64_t now = qmt_os_real_now_ms();

	return timeout_ms > UINT64_MAX - now ? UINT64_MAX : now + timeout_ms;
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static int check_path(const char *path, struct qmt_err *err)
{
	struct stat st;

	if (strlen(path) >= sizeof(((struct control_client *)0)->path))
		return qmt_err_set(err, -ENAMETOOLONG, "%s: a path of a socket holds at most %zu bytes", path,
			sizeof(((struct control_client *)0)->path) - 1);
	if (stat(path, &st))
		return qmt_err_set(
			err, -errno, "%s: %s%s", path, strerror(errno), errno == ENOENT ? " (is qmtd running?)" : "");
	if (!S_ISSOCK(st.st_mode))
		return qmt_err_set(err, -ENOTSOCK, "%s: not a socket", path);
	if (st.st_uid != geteuid() && geteuid() != 0) /* whoever it is could read what is said, and answer anything */
		return qmt_err_set(err, -EACCES, "%s: belongs to another user (uid %lu)", path, (unsigned long)st.st_uid);
	if (access(path, R_OK | W_OK))
		return qmt_err_set(err, -errno, "%s: %s (it belongs to the user who runs qmtd)", path, strerror(errno));
	return 0;
}

static int fill(struct control_client *client)
{
	struct transports_limits limits;
	struct qmt_os *os = qmt_os_new(false, 0, 0);

	if (!os)
		return -ENOMEM;
	transports_limits_default(&limits);
	identity_generate(&client->identity);
	qmt_os_uuid(os, client->boot_id);
	qmt_os_random(os, client->nonce, sizeof(client->nonce));
	qmt_os_random(os, client->key, sizeof(client->key)); /* the seed, until connect makes the key of it */
	qmt_os_free(os);
	client->self = (struct hello_self){
		.identity = &client->identity,
		.node_name = "qmt",
		.boot_id = client->boot_id,
		.scopes = scopes,
		.scope_count = 1,
		.body_bytes = limits.body_bytes,
	};
	outbox_init(&client->outbox,
		&(struct outbox_limits){
			.batch_messages = (uint32_t)limits.batch_messages,
			.piece_bytes = (size_t)limits.piece_bytes,
			.queue_bytes = (size_t)limits.queue_bytes,
			.body_bytes = (size_t)limits.body_bytes,
		});
	inbox_init(&client->inbox, (size_t)limits.body_bytes, (size_t)limits.reassembly_bytes);
	type_in_init(&client->types_in, (uint32_t)limits.types_max);
	return 0;
}

static int connect_socket(struct control_client *client, struct qmt_err *err)
{
	uint8_t seed[CHANNEL_KEY], secret[CHANNEL_KEY], server[CHANNEL_KEY], unused[CHANNEL_KEY];
	char name[64], endpoint[sizeof(client->path) + 8];
	int never = -1, one = 1;
	void *socket;

	client->sock = zsock_new(ZMQ_DEALER);
	socket = client->sock ? zsock_resolve(client->sock) : NULL;
	memcpy(seed, client->key, sizeof(seed));
	channel_key_make(seed, client->key, secret);
	channel_key_published(server, unused);
	(void)snprintf(
		name, sizeof(name), "inproc://qmt.%s", client->boot_id); /* unique: libzmq forgets a name only after a while */
	(void)snprintf(endpoint, sizeof(endpoint), "ipc://%s", client->path);
	int rc = !socket || zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server, sizeof(server)) ||
		zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, client->key, sizeof(client->key)) ||
		zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, sizeof(secret)) ||
		zmq_setsockopt(socket, ZMQ_RECONNECT_IVL, &never, sizeof(never)) ||
		zmq_setsockopt(socket, ZMQ_IMMEDIATE, &one, sizeof(one)) || zmq_socket_monitor(socket, name, ZMQ_EVENT_ALL);
	explicit_bzero(seed, sizeof(seed));
	explicit_bzero(secret, sizeof(secret));
	if (!rc) {
		client->monitor = zsock_new(ZMQ_PAIR);
		rc = !client->monitor || zsock_connect(client->monitor, "%s", name) || zmq_connect(socket, endpoint);
	}
	return rc
		? qmt_err_set(err, zmq_errno() ? -zmq_errno() : -ENOMEM, "%s: %s", client->path, zmq_strerror(zmq_errno()))
		: 0;
}

static int run_hello(struct control_client *client, uint64_t until_ms, struct qmt_err *err)
{
	struct qmt_buf out = {0};
	bool sent = false;
	int rc = hello_dial(&client->hello, &client->self, client->key, client->nonce, NULL, &out);

	while (!rc && !client->proven) {
		if (client->gone)
			rc = fail_gone(client, err);
		else if (client->connected && !sent)
			sent = zmq_send(zsock_resolve(client->sock), out.data, out.len, ZMQ_DONTWAIT) >= 0;
		if (rc)
			break;
		switch (step(client, until_ms)) {
		case STEP_TIMEOUT:
			rc = qmt_err_set(err, -ETIMEDOUT, "%s: the node does not answer", client->path);
			break;
		case STEP_WAKE:
			rc = qmt_err_set(err, -EINTR, "%s: interrupted", client->path);
			break;
		default:
			break;
		}
	}
	if (rc && client->gone)
		rc = fail_gone(client, err);
	qmt_buf_free(&out);
	return rc;
}

int control_client_open(
	const char *path, uint64_t timeout_ms, int wake_fd, struct control_client **ret_client, struct qmt_err *err)
{
	struct control_client *client;
	int rc = check_path(path, err);

	if (rc)
		return rc;
	zsys_handler_set(NULL); /* before anything else of czmq: signals are the caller's */
	if (identity_crypto_init() || !zsys_init())
		return qmt_err_set(err, -EIO, "libsodium or ZeroMQ does not start");
	client = calloc(1, sizeof(*client));
	if (!client)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	(void)snprintf(client->path, sizeof(client->path), "%s", path);
	client->wake_fd = wake_fd;
	rc = fill(client);
	if (rc)
		qmt_err_set(err, rc, "out of memory");
	else
		rc = connect_socket(client, err);
	if (!rc)
		rc = run_hello(client, deadline_in(timeout_ms ? timeout_ms : CONTROL_TIMEOUT_MS), err);
	if (rc) {
		control_client_close(client);
		return rc;
	}
	*ret_client = client;
	return 0;
}

struct control_client *control_client_close(struct control_client *client)
{
	if (!client)
		return NULL;
	if (client->sock && client->monitor) /* as zcontext_close_both: events must not go to nobody */
		zmq_socket_monitor(zsock_resolve(client->sock), NULL, 0);
	zsock_destroy(&client->monitor);
	zsock_destroy(&client->sock);
	while (client->first_told) {
		struct told *told = client->first_told;

		client->first_told = told->next;
		control_event_free(&told->event);
		free(told);
	}
	hello_fini(&client->hello);
	identity_fini(&client->identity);
	outbox_fini(&client->outbox);
	inbox_fini(&client->inbox);
	type_out_fini(&client->types_out);
	type_in_fini(&client->types_in);
	free(client);
	return NULL;
}

void control_client_set_wake(struct control_client *client, int fd)
{
	client->wake_fd = fd;
}

void control_client_trace(struct control_client *client, uint64_t trace)
{
	client->trace = trace;
}

const char *control_client_node_id(const struct control_client *client)
{
	return client->node_id;
}

const char *control_client_node_name(const struct control_client *client)
{
	return client->node_name;
}

/* ---- tell, ask, next --------------------------------------------------------------------------------------------- */

static int put(struct control_client *client, struct envelope *env, const struct qmt_type *type, const void *body,
	struct qmt_err *err)
{
	struct codec_refs refs = {control_ref_out, control_ref_in, client};
	struct outbox_key key = {.who = client};
	struct type_out_row *row = type_out_row(&client->types_out, type);
	bool in_lane = outbox_in_lane(&client->outbox, key);
	int rc;

	if (!row)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	env->type = row->number;
	if (in_lane || !row->announced)
		env->type_name = qmt_str(type->record.name);
	struct qmt_buf *buf = outbox_begin(&client->outbox);
	envelope_put(buf, env);
	rc = codec_encode(&type->record, body, &refs, buf);
	if (rc && !buf->failed) {
		outbox_cancel(&client->outbox);
		return qmt_err_set(err, rc, "%s: a ref that is not this client's", type->record.name);
	}
	rc = outbox_end(&client->outbox, key, false, &in_lane);
	if (rc == OUTBOX_E_TOO_LARGE)
		return qmt_err_set(err, -EMSGSIZE, "%s: longer than %zu bytes, the most that the node takes", type->record.name,
			client->outbox.limits.body_bytes);
	if (rc)
		return qmt_err_set(err, rc < 0 ? rc : -ENOBUFS, "%s: %s", type->record.name,
			rc < 0 ? "out of memory" : "too much waits to be sent");
	row->announced |= !in_lane;
	return 0;
}

int control_client_tell(
	struct control_client *client, const char *name, const struct qmt_type *type, const void *body, struct qmt_err *err)
{
	struct envelope env = {.kind = ENVELOPE_TELL, .to_name = qmt_str(name), .trace = client->trace};
	uint64_t until = deadline_in(CONTROL_TIMEOUT_MS);
	int rc = client->gone ? fail_gone(client, err) : put(client, &env, type, body, err);

	while (!rc && has_output(client)) {
		pump(client);
		if (client->gone)
			rc = fail_gone(client, err);
		else if (has_output(client) && step(client, until) == STEP_TIMEOUT)
			rc = qmt_err_set(err, -ETIMEDOUT, "%s: the node takes nothing", client->path);
	}
	return rc;
}

int control_client_ask(struct control_client *client, const char *name, const struct qmt_type *type, const void *body,
	uint64_t timeout_ms, struct control_reply *ret_reply, struct qmt_err *err)
{
	uint64_t timeout = timeout_ms ? timeout_ms : CONTROL_TIMEOUT_MS, until = deadline_in(timeout);
	struct envelope env = {.kind = ENVELOPE_ASK,
		.id = client->ask_id + 1,
		.to_name = qmt_str(name),
		.deadline_ms = timeout,
		.trace = client->trace};
	int rc;

	*ret_reply = (struct control_reply){0};
	if (!type->answer)
		return qmt_err_set(err, -EINVAL, "%s: its list names no answer, so it cannot be asked", type->record.name);
	rc = client->gone ? fail_gone(client, err) : put(client, &env, type, body, err);
	if (rc)
		return rc;
	client->ask_id++;
	client->asked = type;
	client->reply = ret_reply;
	client->answered = false;
	while (!client->answered && !rc) {
		if (client->gone) {
			rc = fail_gone(client, err);
			break;
		}
		switch (step(client, until)) {
		case STEP_TIMEOUT:
			if (!client->answered)
				rc = qmt_err_set(err, -ETIMEDOUT, "%s: no answer from %s within %llu ms", client->path, name,
					(unsigned long long)timeout);
			break;
		case STEP_WAKE:
			if (!client->answered)
				rc = qmt_err_set(err, -EINTR, "interrupted");
			break;
		default:
			break;
		}
	}
	client->reply = NULL;
	client->asked = NULL;
	client->answered = true; /* what comes now is late */
	if (rc)
		return rc;
	if (ret_reply->fail)
		return qmt_err_set(err, ret_reply->fail, "%s%s%.*s", qmt_fail_name(ret_reply->fail),
			ret_reply->text.len ? ": " : "", QMT_STR_ARG(ret_reply->text));
	return 0;
}

int control_client_next(
	struct control_client *client, uint64_t timeout_ms, struct control_event *ret_event, struct qmt_err *err)
{
	uint64_t until = deadline_in(timeout_ms);
	int outcome = STEP_ON;

	for (;;) {
		struct told *told = client->first_told;

		if (told) {
			client->first_told = told->next;
			if (!client->first_told)
				client->last_told = NULL;
			client->told_bytes -= told->bytes;
			*ret_event = told->event;
			free(told);
			return 0;
		}
		if (client->gone)
			return fail_gone(client, err);
		if (outcome == STEP_WAKE)
			return CONTROL_E_WAKE;
		if (outcome == STEP_TIMEOUT)
			return CONTROL_E_TIMEOUT;
		outcome = step(client, until);
	}
}

void control_reply_free(struct control_reply *reply)
{
	free(reply->memory);
	*reply = (struct control_reply){0};
}

void control_event_free(struct control_event *event)
{
	free(event->memory);
	*event = (struct control_event){0};
}
