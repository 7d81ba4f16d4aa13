/* test/lib/tcp_proxy.c - see tcp_proxy.h. One thread, poll(2), small buffers: what cannot be written is not read. */
#include "tcp_proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/base/os.h"

enum { CONNECTIONS = 64, BUFFER = 65536 };

struct half {
	int from, to;
	size_t len, at;
	char data[BUFFER];
};

struct tcp_proxy {
	struct qmt_os_thread *thread;
	int listen_fd, wake_fd;
	uint16_t target;
	atomic_int paused, cut, quit;
	atomic_uint_fast64_t bytes;
	struct half *halves[CONNECTIONS]; /* two a connection */
};

static int open_socket(uint16_t port, int listening, uint16_t *ret_port)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
	socklen_t size = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (listening ? bind(fd, (struct sockaddr *)&addr, size) || listen(fd, 64)
				  : connect(fd, (struct sockaddr *)&addr, size)) {
		close(fd);
		return -1;
	}
	if (ret_port && getsockname(fd, (struct sockaddr *)&addr, &size) == 0)
		*ret_port = ntohs(addr.sin_port);
	return fd;
}

static void close_pair(struct tcp_proxy *proxy, int i)
{
	int first = i & ~1;

	close(proxy->halves[first]->from);
	close(proxy->halves[first]->to);
	free(proxy->halves[first]);
	free(proxy->halves[first + 1]);
	proxy->halves[first] = proxy->halves[first + 1] = NULL;
}

static void accept_one(struct tcp_proxy *proxy)
{
	int fd = accept4(proxy->listen_fd, NULL, NULL, SOCK_CLOEXEC),
		other = fd >= 0 ? open_socket(proxy->target, 0, NULL) : -1;

	for (int i = 0; fd >= 0 && other >= 0 && i < CONNECTIONS; i += 2) {
		if (proxy->halves[i])
			continue;
		proxy->halves[i] = calloc(1, sizeof(struct half));
		proxy->halves[i + 1] = calloc(1, sizeof(struct half));
		proxy->halves[i]->from = proxy->halves[i + 1]->to = fd;
		proxy->halves[i]->to = proxy->halves[i + 1]->from = other;
		return;
	}
	if (fd >= 0)
		close(fd);
	if (other >= 0)
		close(other);
}

/* False: the connection is over. */
static int move(struct tcp_proxy *proxy, struct half *half, short revents)
{
	ssize_t n;

	if (half->at == half->len && revents & (POLLIN | POLLHUP | POLLERR)) {
		n = recv(half->from, half->data, BUFFER, MSG_DONTWAIT);
		if (n <= 0)
			return 0;
		half->len = (size_t)n;
		half->at = 0;
	}
	if (half->at < half->len) {
		n = send(half->to, half->data + half->at, half->len - half->at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			half->at += (size_t)n;
			atomic_fetch_add(&proxy->bytes, (uint64_t)n);
		}
	}
	return 1;
}

static void run(void *arg)
{
	struct tcp_proxy *proxy = arg;

	while (!atomic_load(&proxy->quit)) {
		struct pollfd items[CONNECTIONS + 2] = {
			{.fd = proxy->wake_fd, .events = POLLIN}, {.fd = proxy->listen_fd, .events = POLLIN}};
		int paused = atomic_load(&proxy->paused);

		for (int i = 0; i < CONNECTIONS; i++) {
			struct half *half = proxy->halves[i];

			items[i + 2].fd = -1;
			if (!half || paused)
				continue;
			items[i + 2].fd = half->at < half->len ? half->to : half->from;
			items[i + 2].events = half->at < half->len ? POLLOUT : POLLIN;
		}
		(void)poll(items, CONNECTIONS + 2, 1000);
		if (items[0].revents) {
			uint64_t n;

			if (read(proxy->wake_fd, &n, sizeof(n)) < 0)
				return;
		}
		if (atomic_exchange(&proxy->cut, 0)) {
			for (int i = 0; i < CONNECTIONS; i += 2)
				if (proxy->halves[i])
					close_pair(proxy, i);
			continue;
		}
		if (atomic_load(&proxy->paused))
			continue;
		for (int i = 0; i < CONNECTIONS; i++)
			if (items[i + 2].fd >= 0 && items[i + 2].revents && proxy->halves[i] &&
				!move(proxy, proxy->halves[i], items[i + 2].revents))
				close_pair(proxy, i);
		if (items[1].revents)
			accept_one(proxy);
	}
}

static void wake(struct tcp_proxy *proxy)
{
	uint64_t one = 1;

	assert_int_equal(write(proxy->wake_fd, &one, sizeof(one)), sizeof(one));
}

struct tcp_proxy *tcp_proxy_start(uint16_t target_port, uint16_t *port)
{
	struct tcp_proxy *proxy = calloc(1, sizeof(*proxy));

	assert_non_null(proxy);
	proxy->target = target_port;
	proxy->listen_fd = open_socket(*port, 1, port);
	proxy->wake_fd = eventfd(0, EFD_CLOEXEC);
	assert_true(proxy->listen_fd >= 0 && proxy->wake_fd >= 0);
	assert_int_equal(qmt_os_thread_start("proxy", run, proxy, &proxy->thread), 0);
	return proxy;
}

struct tcp_proxy *tcp_proxy_stop(struct tcp_proxy *proxy)
{
	atomic_store(&proxy->quit, 1);
	wake(proxy);
	qmt_os_thread_join(proxy->thread);
	for (int i = 0; i < CONNECTIONS; i += 2)
		if (proxy->halves[i])
			close_pair(proxy, i);
	close(proxy->listen_fd);
	close(proxy->wake_fd);
	free(proxy);
	return NULL;
}

void tcp_proxy_pause(struct tcp_proxy *proxy, int on)
{
	atomic_store(&proxy->paused, on);
	wake(proxy);
}

void tcp_proxy_cut(struct tcp_proxy *proxy)
{
	atomic_store(&proxy->cut, 1);
	wake(proxy);
}

uint64_t tcp_proxy_bytes(struct tcp_proxy *proxy)
{
	return atomic_load(&proxy->bytes);
}
