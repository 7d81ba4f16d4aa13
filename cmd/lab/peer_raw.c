/* cmd/lab/peer_raw.c - strangers on the port: TCP connections without libzmq, so that it is surely the node that ends
 * them. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/lab/peer.h"
#include "runtime/base/os.h"

enum { GARBAGE_BYTES = 4096, GARBAGE_COUNT = 16, FLOOD_COUNT = 200, COUNT_MAX = 60000, GREETING = 64 };

struct raw {
	struct qmt_buf out, in; /* of what came, the first GREETING bytes */
	size_t sent;
	bool connected, closed;
};

/* ---- many at once ------------------------------------------------------------------------------------------------ */

static int open_one(struct peer *peer, struct pollfd *item)
{
	int fd = socket(peer->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	*item = (struct pollfd){.fd = fd, .events = POLLOUT};
	if (connect(fd, (struct sockaddr *)&peer->addr, peer->addr_len) && errno != EINPROGRESS)
		return -errno;
	return 0;
}

static void close_one(struct pollfd *item, struct raw *raw)
{
	close(item->fd);
	item->fd = -1;
	raw->closed = true;
}

/* The connect has ended. 0, or -errno. */
static int connected(struct pollfd *item, struct raw *raw)
{
	int error = 0;
	socklen_t len = sizeof error;

	if (getsockopt(item->fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	raw->connected = true;
	/* reset at once is a cut, too */
	return error == ECONNRESET || error == EPIPE ? 0 : -error;
}

static void write_some(struct pollfd *item, struct raw *raw)
{
	ssize_t sent = send(item->fd, raw->out.data + raw->sent, raw->out.len - raw->sent, MSG_NOSIGNAL);

	if (sent > 0)
		raw->sent += (size_t)sent;
	else if (sent < 0 && errno != EAGAIN && errno != EINTR)
		raw->sent = raw->out.len; /* the read tells that it is over */
}

static void read_some(struct pollfd *item, struct raw *raw)
{
	char room[4096];
	ssize_t got = recv(item->fd, room, sizeof room, 0);

	if (got > 0 && raw->in.len < GREETING)
		qmt_buf_append(&raw->in, room, (size_t)got);
	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
		close_one(item, raw);
}

/* Something can be done with it. 0, or -errno: it could not connect. */
static int serve_one(struct pollfd *item, struct raw *raw)
{
	int rc = 0;

	if (!raw->connected)
		rc = connected(item, raw);
	if (!rc && (item->revents & POLLOUT) && raw->sent < raw->out.len)
		write_some(item, raw);
	if (!rc && (item->revents & (POLLIN | POLLHUP | POLLERR)))
		read_some(item, raw);
	item->events = (short)(POLLIN | (raw->sent < raw->out.len ? POLLOUT : 0));
	return rc;
}

/* Until all are closed. Returns how many are not; <0: one could not connect. */
static int64_t run_all(struct peer *peer, struct pollfd *items, struct raw *raws, uint64_t count)
{
	uint64_t open = count;

	while (open) {
		uint64_t now = qmt_os_real_now_ms();

		if (now >= peer->deadline_ms)
			break;
		if (poll(items, (nfds_t)count, (int)(peer->deadline_ms - now)) < 0 && errno != EINTR)
			return -errno;
		open = 0;
		for (uint64_t i = 0; i < count; i++) {
			int rc = items[i].fd >= 0 && items[i].revents ? serve_one(&items[i], &raws[i]) : 0;

			if (rc)
				return rc;
			open += !raws[i].closed;
		}
	}
	return (int64_t)open;
}

static bool is_let_in(const struct raw *raw)
{
	/* a node greets with mechanism CURVE, at byte 12; whoever gets another one may go on without a key */
	return raw->in.len >= 17 && (uint8_t)raw->in.data[0] == 0xff && memcmp(raw->in.data + 12, "CURVE", 5) != 0;
}

static int judge(struct peer *peer, struct raw *raws, uint64_t count, int64_t open, uint64_t began_ms)
{
	if (open < 0) {
		peer_say("failed: cannot connect to %s: %s", peer->endpoint, strerror((int)-open));
		return PEER_LET;
	}
	for (uint64_t i = 0; i < count; i++)
		if (is_let_in(&raws[i])) {
			peer_say("let in: the node speaks ZMTP without CURVE");
			return PEER_LET;
		}
	if (open) {
		peer_say("let: %lld of %llu connections are still open after %llu ms", (long long)open,
			(unsigned long long)count, (unsigned long long)(qmt_os_real_now_ms() - began_ms));
		return PEER_LET;
	}
	peer_say("cut: %llu connections, all within %llu ms", (unsigned long long)count,
		(unsigned long long)(qmt_os_real_now_ms() - began_ms));
	return PEER_HELD;
}

int peer_raw(struct peer *peer, uint64_t count, peer_bytes_fn *make)
{
	struct pollfd *items = calloc(count, sizeof *items);
	struct raw *raws = calloc(count, sizeof *raws);
	uint64_t made = 0, began_ms = qmt_os_real_now_ms();
	int64_t rc = items && raws ? 0 : -ENOMEM;

	for (; !rc && made < count; made++) {
		rc = open_one(peer, &items[made]);
		if (make)
			make(peer, made, &raws[made].out);
		if (raws[made].out.failed)
			rc = -ENOMEM;
	}
	if (!rc) {
		peer_say("opened %llu", (unsigned long long)count);
		rc = run_all(peer, items, raws, count);
	}

	int verdict = judge(peer, raws, made, rc, began_ms);

	for (uint64_t i = 0; i < made; i++) {
		if (items[i].fd > 0)
			close(items[i].fd);
		qmt_buf_free(&raws[i].out);
		qmt_buf_free(&raws[i].in);
	}
	free(items);
	free(raws);
	return verdict;
}

/* ---- modes ------------------------------------------------------------------------------------------------------- */

static uint64_t count_of(const struct peer *peer, uint64_t dflt)
{
	uint64_t count = peer->count ? peer->count : dflt;

	return count < COUNT_MAX ? count : COUNT_MAX;
}

int peer_mode_silent(struct peer *peer)
{
	return peer_raw(peer, 1, NULL);
}

int peer_mode_flood_connections(struct peer *peer)
{
	return peer_raw(peer, count_of(peer, FLOOD_COUNT), NULL);
}

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* ZMTP 3.1 (rfc.zeromq.org/spec/37): signature, version, mechanism, as-server, filler. */
static void put_greeting(struct qmt_buf *out, const char *mechanism)
{
	uint8_t greeting[GREETING] = {0xff, [9] = 0x7f, 3, 0};

	memcpy(greeting + 12, mechanism, strlen(mechanism));
	qmt_buf_append(out, greeting, sizeof greeting);
}

static void make_garbage(struct peer *peer, uint64_t index, struct qmt_buf *out)
{
	uint64_t state = peer->seed + index * 0x5851f42d4c957f2d;

	if (index % 2)
		put_greeting(out, "CURVE");
	for (size_t i = 0; i < GARBAGE_BYTES / sizeof state; i++) {
		uint64_t word = next_random(&state);

		qmt_buf_append(out, &word, sizeof word);
	}
}

int peer_mode_garbage(struct peer *peer)
{
	return peer_raw(peer, count_of(peer, GARBAGE_COUNT), make_garbage);
}

/* Mechanism NULL: greeting, READY, and a message. */
static void make_plain(struct peer *peer, uint64_t index, struct qmt_buf *out)
{
	static const char ready[] = "\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06"
								"DEALER",
					  message[] = "\x00\x05hello";

	(void)peer;
	(void)index;
	put_greeting(out, "NULL");
	qmt_buf_append(out, ready, sizeof ready - 1);
	qmt_buf_append(out, message, sizeof message - 1);
}

int peer_mode_plain(struct peer *peer)
{
	return peer_raw(peer, 1, make_plain);
}
