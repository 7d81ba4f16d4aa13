/* transports/zmq_context.c - see zmq_context.h.
 *
 * The ZAP handler is a thread: libzmq's I/O thread waits for its answer in the middle of a handshake, so it must not
 * depend on workers that may be busy. It blocks in recv, and ends when the context is shut down.
 */
#include "transports/zmq_context.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include "runtime/base/os.h"

enum { SOCKETS_MAX = 16384, ZAP_PARTS = 7, ZAP_PART = 256 };

struct zcontext {
	void *zmq;
	void *zap_socket;
	struct qmt_os_thread *zap_thread;
	uint64_t monitors;    /* lock */
	pthread_mutex_t lock; /* guards sockets, count, capacity, monitors */
	void **sockets;
	size_t count, capacity;
};

/* ---- ZAP (RFC 27) ------------------------------------------------------------------------------------------------ */

struct zap_request {
	char part[ZAP_PARTS][ZAP_PART];
	size_t len[ZAP_PARTS];
	int count;
	bool well_formed;
};

enum { ZAP_VERSION, ZAP_ID, ZAP_DOMAIN, ZAP_ADDRESS, ZAP_IDENTITY, ZAP_MECHANISM, ZAP_CREDENTIALS };

/* Waits for a request. False: the context ends. */
static bool zap_receive(void *socket, struct zap_request *request)
{
	int more = 1;
	size_t size = sizeof(more);

	request->count = 0;
	request->well_formed = true;
	while (more) {
		char rest[ZAP_PART];
		bool fits = request->count < ZAP_PARTS;
		int n = zmq_recv(socket, fits ? request->part[request->count] : rest, ZAP_PART, 0);

		if (n < 0 && zmq_errno() == EINTR)
			continue;
		if (n < 0)
			return false;
		if (!fits || n > ZAP_PART)
			request->well_formed = false;
		if (fits)
			request->len[request->count++] = (size_t)(n > ZAP_PART ? ZAP_PART : n);
		if (zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size))
			return false;
	}
	return true;
}

static bool zap_admits(const struct zap_request *request)
{
	return request->well_formed && request->count == ZAP_PARTS && request->len[ZAP_MECHANISM] == 5 &&
		memcmp(request->part[ZAP_MECHANISM], "CURVE", 5) == 0 && request->len[ZAP_CREDENTIALS] == 32;
}

static bool zap_answer(void *socket, const struct zap_request *request)
{
	bool admit = zap_admits(request);
	char user_id[ZCONTEXT_USER_ID + 1] = "";
	const char *texts[] = {"1.0", NULL, admit ? "200" : "400", admit ? "OK" : "CURVE only", user_id, ""};

	if (admit)
		zmq_z85_encode(user_id, (const uint8_t *)request->part[ZAP_CREDENTIALS], 32);
	for (int i = 0; i < 6; i++) {
		const void *data = texts[i] ? texts[i] : request->part[ZAP_ID];
		size_t len = texts[i] ? strlen(texts[i]) : request->count > ZAP_ID ? request->len[ZAP_ID] : 0;
		int rc;

		do
			rc = zmq_send(socket, data, len, i < 5 ? ZMQ_SNDMORE : 0);
		while (rc < 0 && zmq_errno() == EINTR);
		if (rc < 0)
			return false;
	}
	return true;
}

static void zap_run(void *arg)
{
	struct zcontext *context = arg;
	struct zap_request request;

	while (zap_receive(context->zap_socket, &request) && zap_answer(context->zap_socket, &request))
		;
	zmq_close(context->zap_socket);
}

/* ---- context ----------------------------------------------------------------------------------------------------- */

int zcontext_open(struct zcontext **ret_context, struct qmt_err *err)
{
	struct zcontext *context = calloc(1, sizeof(*context));
	int rc, zero = 0;

	if (!context)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	pthread_mutex_init(&context->lock, NULL);
	context->zmq = zmq_ctx_new();
	if (!context->zmq || zmq_ctx_set(context->zmq, ZMQ_MAX_SOCKETS, SOCKETS_MAX) ||
		zmq_ctx_set(context->zmq, ZMQ_BLOCKY, 0)) {
		rc = qmt_err_set(err, -zmq_errno(), "ZeroMQ context: %s", zmq_strerror(zmq_errno()));
		(void)zcontext_free(context, 0, NULL);
		return rc;
	}
	context->zap_socket = zmq_socket(context->zmq, ZMQ_REP);
	if (!context->zap_socket || zmq_setsockopt(context->zap_socket, ZMQ_LINGER, &zero, sizeof(zero)) ||
		zmq_bind(context->zap_socket, "inproc://zeromq.zap.01")) {
		rc = qmt_err_set(err, -zmq_errno(), "ZAP handler: %s", zmq_strerror(zmq_errno()));
		if (context->zap_socket)
			zmq_close(context->zap_socket);
		(void)zcontext_free(context, 0, NULL);
		return rc;
	}
	rc = qmt_os_thread_start("qmt-zap", zap_run, context, &context->zap_thread);
	if (rc) {
		qmt_err_set(err, rc, "ZAP handler: %s", strerror(-rc));
		zmq_close(context->zap_socket);
		(void)zcontext_free(context, 0, NULL);
		return rc;
	}
	*ret_context = context;
	return 0;
}

struct ending {
	void *zmq;
	int done_fd;
};

static void end_run(void *arg)
{
	struct ending *ending = arg;
	uint64_t one = 1;

	while (zmq_ctx_term(ending->zmq) && zmq_errno() == EINTR)
		;
	if (write(ending->done_fd, &one, sizeof(one)) < 0)
		return;
}

/* zmq_ctx_term waits for every socket, so it gets a thread that can be left behind. */
static int terminate(void *zmq, uint64_t deadline_ms, struct qmt_err *err)
{
	struct ending *ending = calloc(1, sizeof(*ending));
	struct qmt_os_thread *thread;
	struct pollfd item = {.events = POLLIN};

	if (!ending)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	ending->zmq = zmq;
	ending->done_fd = item.fd = eventfd(0, EFD_CLOEXEC);
	if (item.fd < 0 || qmt_os_thread_start("qmt-zmq-end", end_run, ending, &thread)) {
		if (item.fd >= 0)
			close(item.fd);
		free(ending);
		return qmt_err_set(err, -EAGAIN, "no thread to end the ZeroMQ context");
	}
	if (poll(&item, 1, deadline_ms > INT32_MAX ? INT32_MAX : (int)deadline_ms) != 1)
		return qmt_err_set(
			err, -ETIMEDOUT, "the ZeroMQ context did not end within %llu ms", (unsigned long long)deadline_ms);
	qmt_os_thread_join(thread);
	close(item.fd);
	free(ending);
	return 0;
}

int zcontext_free(struct zcontext *context, uint64_t deadline_ms, struct qmt_err *err)
{
	int rc = 0;

	if (!context)
		return 0;
	if (context->zmq) {
		zmq_ctx_shutdown(context->zmq); /* first: a socket whose monitor is gone would block the I/O thread */
		for (size_t i = 0; i < context->count; i++)
			zmq_close(context->sockets[i]);
		if (context->zap_thread)
			qmt_os_thread_join(context->zap_thread);
		rc = terminate(context->zmq, deadline_ms, err);
	}
	pthread_mutex_destroy(&context->lock);
	free(context->sockets);
	free(context);
	return rc;
}

/* ---- sockets ----------------------------------------------------------------------------------------------------- */

static int keep(struct zcontext *context, void *socket)
{
	int rc = 0;

	pthread_mutex_lock(&context->lock);
	if (context->count == context->capacity) {
		size_t capacity = context->capacity ? context->capacity * 2 : 16;
		void **sockets = realloc(context->sockets, capacity * sizeof(*sockets));

		if (sockets) {
			context->sockets = sockets;
			context->capacity = capacity;
		}
		rc = sockets ? 0 : -ENOMEM;
	}
	if (rc == 0)
		context->sockets[context->count++] = socket;
	pthread_mutex_unlock(&context->lock);
	return rc;
}

void zcontext_close(struct zcontext *context, void *socket)
{
	if (!socket)
		return;
	pthread_mutex_lock(&context->lock);
	for (size_t i = 0; i < context->count; i++) {
		if (context->sockets[i] != socket)
			continue;
		context->sockets[i] = context->sockets[--context->count];
		break;
	}
	pthread_mutex_unlock(&context->lock);
	zmq_close(socket);
}

static void *new_socket(struct zcontext *context, int type, struct qmt_err *err)
{
	void *socket = zmq_socket(context->zmq, type);
	int zero = 0;

	if (!socket || zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof(zero)) || keep(context, socket)) {
		qmt_err_set(
			err, socket ? -ENOMEM : -zmq_errno(), "socket: %s", socket ? "out of memory" : zmq_strerror(zmq_errno()));
		if (socket)
			zmq_close(socket);
		return NULL;
	}
	return socket;
}

void *zcontext_socket(struct zcontext *context, int type, const struct transports_limits *limits, struct qmt_err *err)
{
	void *socket = new_socket(context, type, err);
	int hwm = (int)limits->socket_frames, handshake = (int)limits->hello_ms, one = 1;
	int64_t most = (int64_t)limits->frame_bytes;

	if (!socket)
		return NULL;
	if (zmq_setsockopt(socket, ZMQ_SNDHWM, &hwm, sizeof(hwm)) ||
		zmq_setsockopt(socket, ZMQ_RCVHWM, &hwm, sizeof(hwm)) ||
		zmq_setsockopt(socket, ZMQ_HANDSHAKE_IVL, &handshake, sizeof(handshake)) ||
		zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &most, sizeof(most)) ||
		zmq_setsockopt(socket, ZMQ_IPV6, &one, sizeof(one))) {
		qmt_err_set(err, -zmq_errno(), "socket option: %s", zmq_strerror(zmq_errno()));
		zcontext_close(context, socket);
		return NULL;
	}
	return socket;
}

void *zcontext_monitor(struct zcontext *context, void *socket, struct qmt_err *err)
{
	char name[64];
	void *monitor;
	int unbounded = 0;

	pthread_mutex_lock(&context->lock);
	(void)snprintf(name, sizeof(name), "inproc://qmt.monitor.%llu", (unsigned long long)++context->monitors);
	pthread_mutex_unlock(&context->lock);
	if (zmq_socket_monitor(socket, name, ZMQ_EVENT_ALL)) {
		qmt_err_set(err, -zmq_errno(), "socket monitor: %s", zmq_strerror(zmq_errno()));
		return NULL;
	}
	/* Events are sent by libzmq's I/O thread, and it waits when nobody takes them: no bound here. */
	monitor = new_socket(context, ZMQ_PAIR, err);
	if (monitor && (zmq_setsockopt(monitor, ZMQ_RCVHWM, &unbounded, sizeof(unbounded)) || zmq_connect(monitor, name))) {
		qmt_err_set(err, -zmq_errno(), "socket monitor: %s", zmq_strerror(zmq_errno()));
		zcontext_close(context, monitor);
		monitor = NULL;
	}
	if (!monitor)
		zmq_socket_monitor(socket, NULL, 0);
	return monitor;
}

void zcontext_close_both(struct zcontext *context, void *socket, void *monitor)
{
	if (monitor)
		zmq_socket_monitor(socket, NULL, 0);
	zcontext_close(context, monitor);
	zcontext_close(context, socket);
}

bool zevent_next(void *monitor, struct zevent *ret_event)
{
	uint8_t head[6], address[256];
	int more = 0;
	size_t size = sizeof(more);

	if (zmq_recv(monitor, head, sizeof(head), ZMQ_DONTWAIT) != (int)sizeof(head))
		return false;
	memcpy(&ret_event->event, head, 2);
	memcpy(&ret_event->value, head + 2, 4);
	if (zmq_getsockopt(monitor, ZMQ_RCVMORE, &more, &size) == 0 && more)
		(void)zmq_recv(monitor, address, sizeof(address), ZMQ_DONTWAIT);
	return true;
}

void zevent_text(const struct zevent *event, char ret_text[128])
{
	const char *text;

	switch (event->event) {
	case ZMQ_EVENT_CLOSED:
		text = "connection refused or not reachable";
		break;
	case ZMQ_EVENT_DISCONNECTED:
		text = "the connection was closed";
		break;
	case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
		text = "the connection was closed during the handshake (is it a qmt node?)";
		break;
	case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
		text = "what answers there does not speak this protocol";
		break;
	case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
		text = "refused during the handshake";
		break;
	default:
		(void)snprintf(ret_text, 128, "the connection ended (event %u)", event->event);
		return;
	}
	(void)snprintf(ret_text, 128, "%s", text);
}

int zsocket_fd(void *socket)
{
	int fd = -1;
	size_t size = sizeof(fd);

	return zmq_getsockopt(socket, ZMQ_FD, &fd, &size) ? -1 : fd;
}

uint32_t zsocket_events(void *socket)
{
	int events = 0;
	size_t size = sizeof(events);

	return zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) ? 0 : (uint32_t)events;
}

bool zcontext_user_key(const char *user_id, uint8_t ret_key[32])
{
	return user_id && strlen(user_id) == ZCONTEXT_USER_ID && zmq_z85_decode(ret_key, user_id) != NULL;
}
