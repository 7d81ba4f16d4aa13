/* test/lib/http_stub.c - see http_stub.h. */
#include "http_stub.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/bytes.h"

enum { LOOK_MS = 5 }; /* how often a waiting connection looks at the flags */

struct request {
	char *text;
	bool complete, gone;
	uint32_t released;
};

struct connection {
	struct http_stub *stub;
	pthread_t thread;
	int fd;
};

struct http_stub {
	int fd;
	uint16_t port;
	pthread_t thread;
	pthread_mutex_t lock; /* guards the rest; `changed` is signalled by every change */
	pthread_cond_t changed;
	bool stopping;
	const struct http_step *scripts[HTTP_STUB_REQUESTS];
	uint32_t script_count;
	struct request requests[HTTP_STUB_REQUESTS];
	uint32_t request_count;
	struct connection connections[HTTP_STUB_REQUESTS];
	uint32_t connection_count;
};

static bool is_stopping(struct http_stub *stub)
{
	pthread_mutex_lock(&stub->lock);
	bool stopping = stub->stopping;
	pthread_mutex_unlock(&stub->lock);
	return stopping;
}

static void set_flag(struct http_stub *stub, bool *flag)
{
	pthread_mutex_lock(&stub->lock);
	*flag = true;
	pthread_cond_broadcast(&stub->changed);
	pthread_mutex_unlock(&stub->lock);
}

/* ---- a connection ------------------------------------------------------------------------------------------------ */

/* Bytes of the body that the headers announce; -1: the headers are not complete. */
static long body_length(const char *text, size_t *ret_head)
{
	const char *end = strstr(text, "\r\n\r\n");

	if (!end)
		return -1;
	*ret_head = (size_t)(end - text) + 4;
	for (const char *line = text; line < end; line = strstr(line, "\r\n") + 2)
		if (strncasecmp(line, "Content-Length:", 15) == 0)
			return strtol(line + 15, NULL, 10);
	return 0;
}

/* Waits until there is something to read. False: the stub stops. */
static bool wait_readable(struct http_stub *stub, int fd)
{
	while (!is_stopping(stub)) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

		if (poll(&poll_fd, 1, LOOK_MS) > 0)
			return true;
	}
	return false;
}

/* Reads one request. NULL: the client went. */
static struct request *read_request(struct http_stub *stub, int fd)
{
	struct qmt_buf text = {0};
	struct request *request = NULL;

	while (!request && wait_readable(stub, fd)) {
		char *room = qmt_buf_reserve(&text, 65536);
		ssize_t got = room ? recv(fd, room, 65536, 0) : 0;
		size_t head = 0;

		if (got <= 0 || text.len + (size_t)got > HTTP_STUB_BYTES)
			break;
		text.len += (size_t)got;
		text.data[text.len] = '\0';

		long body = body_length(text.data, &head);

		if (body < 0 || text.len < head + (size_t)body)
			continue;
		pthread_mutex_lock(&stub->lock);
		if (stub->request_count < HTTP_STUB_REQUESTS) {
			request = &stub->requests[stub->request_count++];
			request->text = text.data;
			request->complete = true;
			text = (struct qmt_buf){0};
		}
		pthread_cond_broadcast(&stub->changed);
		pthread_mutex_unlock(&stub->lock);
		if (!request)
			break;
	}
	qmt_buf_free(&text);
	return request;
}

static bool send_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		text += sent;
		len -= (size_t)sent;
	}
	return true;
}

static bool send_chunk(int fd, const char *text, size_t len)
{
	struct qmt_buf out = {0};
	bool sent;

	qmt_buf_printf(&out, "%zx\r\n", len);
	qmt_buf_append(&out, text, len);
	qmt_buf_str(&out, "\r\n");
	sent = !out.failed && send_all(fd, out.data, out.len);
	qmt_buf_free(&out);
	return sent;
}

static bool is_released(struct http_stub *stub, struct request *request)
{
	pthread_mutex_lock(&stub->lock);
	bool released = request->released > 0;
	if (released)
		request->released--;
	pthread_mutex_unlock(&stub->lock);
	return released;
}

/* Until the client goes (false), or the wait is released (true). */
static bool wait_for(struct http_stub *stub, int fd, struct request *request, bool releasable)
{
	while (!is_stopping(stub)) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		char byte;

		if (releasable && is_released(stub, request))
			return true;
		if (poll(&poll_fd, 1, LOOK_MS) > 0 && recv(fd, &byte, 1, 0) <= 0)
			return false;
	}
	return false;
}

/* Sends the text again and again until the client goes; one that stops reading without going is left by the stop of the
 * stub. */
static void flood(struct http_stub *stub, int fd, const char *text, size_t len)
{
	enum { AT_ONCE = 64 };
	struct qmt_buf many = {0};
	size_t at = 0;

	for (int i = 0; i < AT_ONCE; i++)
		qmt_buf_append(&many, text, len);
	while (!many.failed && !is_stopping(stub)) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
		ssize_t sent;

		if (poll(&poll_fd, 1, LOOK_MS) <= 0)
			continue;
		sent = send(fd, many.data + at, many.len - at, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			break;
		if (sent > 0)
			at = (at + (size_t)sent) % many.len;
	}
	qmt_buf_free(&many);
}

/* Returns true when the connection may take another request. */
static bool play(struct http_stub *stub, int fd, struct request *request, const struct http_step *step)
{
	for (;; step++) {
		size_t len = step->len > 0 ? step->len : step->text ? strlen(step->text) : 0;
		bool there = true;

		switch (step->what) {
		case HTTP_END:
			return true;
		case HTTP_SEND:
			there = send_all(fd, step->text, len);
			break;
		case HTTP_CRUMBS:
			for (size_t i = 0; i < len && there; i++)
				there = send_all(fd, step->text + i, 1);
			break;
		case HTTP_CHUNK:
			there = send_chunk(fd, step->text, len);
			break;
		case HTTP_WAIT:
			there = wait_for(stub, fd, request, true);
			break;
		case HTTP_STALL:
			there = wait_for(stub, fd, request, false);
			break;
		case HTTP_FLOOD:
			flood(stub, fd, step->text, len);
			there = false;
			break;
		case HTTP_CLOSE:
			return false;
		case HTTP_RESET:
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
			return false;
		}
		if (!there) {
			set_flag(stub, &request->gone);
			return false;
		}
	}
}

static void *serve(void *arg)
{
	static const struct http_step nothing[] = {
		{HTTP_SEND, "HTTP/1.1 500 No script\r\nContent-Length: 0\r\n\r\n", 0}, {HTTP_END, NULL, 0}};
	struct connection *connection = arg;
	struct http_stub *stub = connection->stub;
	struct request *request, *last = NULL;
	bool more = true;

	while (more && (request = read_request(stub, connection->fd))) {
		uint32_t number = (uint32_t)(request - stub->requests);

		pthread_mutex_lock(&stub->lock);
		const struct http_step *script = number < stub->script_count ? stub->scripts[number] : nothing;
		pthread_mutex_unlock(&stub->lock);
		more = play(stub, connection->fd, request, script);
		last = request;
	}
	if (more && last)
		set_flag(stub, &last->gone);
	close(connection->fd);
	return NULL;
}

/* ---- the stub ---------------------------------------------------------------------------------------------------- */

static void *accept_all(void *arg)
{
	struct http_stub *stub = arg;

	while (wait_readable(stub, stub->fd)) {
		int fd = accept4(stub->fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
		pthread_mutex_lock(&stub->lock);
		if (stub->connection_count < HTTP_STUB_REQUESTS) {
			struct connection *connection = &stub->connections[stub->connection_count];

			*connection = (struct connection){.stub = stub, .fd = fd};
			if (pthread_create(&connection->thread, NULL, serve, connection) == 0) {
				stub->connection_count++;
				fd = -1;
			}
		}
		pthread_mutex_unlock(&stub->lock);
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

struct http_stub *http_stub_start(void)
{
	struct http_stub *stub = calloc(1, sizeof *stub);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof address;
	pthread_condattr_t attr;

	if (!stub)
		return NULL;
	pthread_mutex_init(&stub->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&stub->changed, &attr);
	pthread_condattr_destroy(&attr);
	stub->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (stub->fd < 0 || bind(stub->fd, (struct sockaddr *)&address, len) < 0 || listen(stub->fd, 16) < 0 ||
		getsockname(stub->fd, (struct sockaddr *)&address, &len) < 0 ||
		pthread_create(&stub->thread, NULL, accept_all, stub) != 0) {
		if (stub->fd >= 0)
			close(stub->fd);
		free(stub);
		return NULL;
	}
	stub->port = ntohs(address.sin_port);
	return stub;
}

void http_stub_stop(struct http_stub *stub)
{
	if (!stub)
		return;
	set_flag(stub, &stub->stopping);
	pthread_join(stub->thread, NULL);
	for (uint32_t i = 0; i < stub->connection_count; i++)
		pthread_join(stub->connections[i].thread, NULL);
	for (uint32_t i = 0; i < stub->request_count; i++)
		free(stub->requests[i].text);
	close(stub->fd);
	pthread_cond_destroy(&stub->changed);
	pthread_mutex_destroy(&stub->lock);
	free(stub);
}

uint16_t http_stub_port(const struct http_stub *stub)
{
	return stub->port;
}

void http_stub_script(struct http_stub *stub, const struct http_step *steps)
{
	pthread_mutex_lock(&stub->lock);
	if (stub->script_count < HTTP_STUB_REQUESTS)
		stub->scripts[stub->script_count++] = steps;
	pthread_mutex_unlock(&stub->lock);
}

void http_stub_release(struct http_stub *stub, uint32_t request)
{
	pthread_mutex_lock(&stub->lock);
	stub->requests[request].released++;
	pthread_mutex_unlock(&stub->lock);
}

/* Waits for *flag. */
static bool wait_flag(struct http_stub *stub, const bool *flag, uint32_t timeout_ms)
{
	struct timespec until;
	bool set;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&stub->lock);
	while (!*flag && pthread_cond_timedwait(&stub->changed, &stub->lock, &until) == 0)
		;
	set = *flag;
	pthread_mutex_unlock(&stub->lock);
	return set;
}

const char *http_stub_request(struct http_stub *stub, uint32_t request, uint32_t timeout_ms)
{
	return wait_flag(stub, &stub->requests[request].complete, timeout_ms) ? stub->requests[request].text : NULL;
}

bool http_stub_gone(struct http_stub *stub, uint32_t request, uint32_t timeout_ms)
{
	return wait_flag(stub, &stub->requests[request].gone, timeout_ms);
}

uint32_t http_stub_connections(struct http_stub *stub)
{
	pthread_mutex_lock(&stub->lock);
	uint32_t count = stub->connection_count;
	pthread_mutex_unlock(&stub->lock);
	return count;
}

uint32_t http_stub_requests(struct http_stub *stub)
{
	pthread_mutex_lock(&stub->lock);
	uint32_t count = stub->request_count;
	pthread_mutex_unlock(&stub->lock);
	return count;
}
