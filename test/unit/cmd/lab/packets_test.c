/* Hosts of a netns scenario speak UDP and TCP with each other, hear multicast, feel each fault, are seen through a NAT
 * as its kind says, and nothing of them is left at the end. Skipped where no namespace or no TAP can be had. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/sockios.h>

#include "cmd/lab/net.h"
#include "cmd/lab/packets_ns.h"
#include "cmd/lab/space.h"

enum { HOSTS = 4, EARS = 6, WAIT_MS = 20000, TEXTS = 128, TEXT_BYTES = 1200 };

/* player.c's is of the same make; the rest of the player is not needed here. */
void player_changed(struct player *player)
{
	player->changes++;
}

/* A UDP socket on a host, and what it has heard. */
struct ear {
	uv_poll_t poll;
	struct lab_host *host;
	int fd;
	unsigned count;
	char texts[TEXTS][16];
	struct sockaddr_in from[TEXTS];
};

struct world {
	struct player player;
	struct net *net;
	struct lab_host hosts[HOSTS];
	unsigned host_count;
	unsigned fds;          /* in front of it all */
	struct ear ears[EARS]; /* here, so that a test that fails leaves no handle on its stack */
	unsigned ear_count;
	uv_timer_t deadline, tick;
	bool late;
};

/* ---- world ------------------------------------------------------------------------------------------------------- */

static unsigned fds_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static int set_up(void **state)
{
	struct world *world = calloc(1, sizeof *world);
	struct qmt_err err = {0};
	int rc;

	assert_non_null(world);
	world->fds = fds_open();
	assert_int_equal(uv_loop_init(&world->player.loop), 0);
	uv_timer_init(&world->player.loop, &world->deadline);
	uv_timer_init(&world->player.loop, &world->tick);
	world->player.random = 7;
	rc = packets_ops.open(&world->player, &world->net, &err);
	if (rc != 0) {
		print_message("%s\n", err.text);
		assert_int_equal(rc, -ENOTSUP);
		assert_null(world->net);
	}
	*state = world;
	return 0;
}

static void close_world(struct world *world)
{
	packets_ops.close(world->net);
	world->net = NULL;
	uv_run(&world->player.loop, UV_RUN_NOWAIT);
}

static int tear_down(void **state)
{
	struct world *world = *state;

	close_world(world);
	for (unsigned i = 0; i < world->ear_count; i++) {
		uv_close((uv_handle_t *)&world->ears[i].poll, NULL);
		close(world->ears[i].fd);
	}
	uv_close((uv_handle_t *)&world->deadline, NULL);
	uv_close((uv_handle_t *)&world->tick, NULL);
	uv_run(&world->player.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&world->player.loop), 0);
	assert_int_equal(fds_open(), world->fds);
	free(world);
	return 0;
}

/* The world, or the test is skipped. */
static struct world *permitted(void **state)
{
	struct world *world = *state;

	if (!world->net)
		skip();
	return world;
}

static void add_network(struct world *world, const char *name, const char *behind)
{
	struct qmt_err err = {0};
	int rc = packets_ops.network(world->net, name, behind, &err);

	if (rc == -ENOTSUP) {
		print_message("%s\n", err.text);
		skip();
	}
	if (rc != 0)
		fail_msg("%s", err.text);
}

static struct lab_host *add_host(struct world *world, const char *name, const char *network)
{
	struct lab_host *host = &world->hosts[world->host_count++];
	struct qmt_err err = {0};

	*host = (struct lab_host){.player = &world->player, .name = name, .network = network};
	if (packets_ops.host(world->net, host, &err) != 0)
		fail_msg("%s", err.text);
	return host;
}

static const char *own(struct world *world, const struct lab_host *host)
{
	return packets_ops.own_address(world->net, host);
}

static struct net_fault *fault(struct world *world, struct lab_host *a, struct lab_host *b)
{
	struct net_fault *found = packets_ops.fault(world->net, a, b);

	assert_non_null(found);
	assert_ptr_equal(found, packets_ops.fault(world->net, b, a));
	return found;
}

static void heal(struct world *world, struct lab_host *a, struct lab_host *b)
{
	*fault(world, a, b) = (struct net_fault){0};
	packets_ops.apply(world->net, a, b);
}

static void on_deadline(uv_timer_t *timer)
{
	((struct world *)timer->data)->late = true;
}

/* Runs the loop until it holds. */
#define AWAIT(world, condition)                                                       \
	do {                                                                              \
		(world)->deadline.data = (world);                                             \
		uv_timer_start(&(world)->deadline, on_deadline, WAIT_MS, 0);                  \
		while (!(condition)) {                                                        \
			uv_run(&(world)->player.loop, UV_RUN_ONCE);                               \
			if ((world)->late)                                                        \
				fail_msg("line %d: waited %d ms for " #condition, __LINE__, WAIT_MS); \
		}                                                                             \
		uv_timer_stop(&(world)->deadline);                                            \
	} while (0)

/* ---- sockets ----------------------------------------------------------------------------------------------------- */

static struct sockaddr_in place(const char *address, unsigned port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	assert_int_equal(inet_pton(AF_INET, address, &in.sin_addr), 1);
	return in;
}

static int host_socket(struct world *world, const struct lab_host *host, int type, const char *address, unsigned port)
{
	struct sockaddr_in in = place(address, port);
	int fd, on = 1;

	assert_int_equal(packets_ops.enter(world->net, host), 0);
	fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	packets_ops.leave(world->net);
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
	if (bind(fd, (struct sockaddr *)&in, sizeof in) != 0)
		fail_msg("bind %s:%u on %s: %s", address, port, host->name, strerror(errno));
	return fd;
}

static void on_heard(uv_poll_t *poll, int status, int events)
{
	struct ear *ear = poll->data;
	char text[TEXT_BYTES];

	(void)status;
	(void)events;
	while (ear->count < TEXTS) {
		socklen_t len = sizeof ear->from[0];
		ssize_t n = recvfrom(ear->fd, text, sizeof text, 0, (struct sockaddr *)&ear->from[ear->count], &len);
		if (n < 0)
			break;
		snprintf(ear->texts[ear->count++], sizeof ear->texts[0], "%.*s", (int)n, text);
	}
}

static struct ear *ear_open(struct world *world, struct lab_host *host, const char *address, unsigned port)
{
	struct ear *ear = &world->ears[world->ear_count++];

	*ear = (struct ear){.host = host, .fd = host_socket(world, host, SOCK_DGRAM, address, port)};
	assert_int_equal(uv_poll_init(&world->player.loop, &ear->poll, ear->fd), 0);
	ear->poll.data = ear;
	assert_int_equal(uv_poll_start(&ear->poll, UV_READABLE, on_heard), 0);
	return ear;
}

static void say_padded(const struct ear *ear, const char *address, unsigned port, const char *text, size_t len)
{
	struct sockaddr_in in = place(address, port);
	char room[TEXT_BYTES] = {0};

	snprintf(room, sizeof room, "%s", text);
	if (sendto(ear->fd, room, len, 0, (struct sockaddr *)&in, sizeof in) < 0)
		fail_msg("%s cannot send to %s: %s", ear->host->name, address, strerror(errno));
}

static void say(const struct ear *ear, const char *address, unsigned port, const char *text)
{
	say_padded(ear, address, port, text, strlen(text));
}

/* From one ear to the other, on the network that they share. */
static void tell(struct world *world, const struct ear *from, const struct ear *to, const char *text)
{
	struct sockaddr_in in;
	socklen_t len = sizeof in;

	assert_int_equal(getsockname(to->fd, (struct sockaddr *)&in, &len), 0);
	say(from, packets_ops.address(world->net, from->host, to->host), ntohs(in.sin_port), text);
}

/* Tells, and waits until it is heard: afterwards both have each other's hardware address. */
static void tell_heard(struct world *world, const struct ear *from, struct ear *to, const char *text)
{
	unsigned before = to->count;

	tell(world, from, to, text);
	AWAIT(world, to->count > before);
	assert_string_equal(to->texts[to->count - 1], text);
}

struct three {
	struct lab_host *a, *b, *c;
	struct ear *at_a, *at_b, *at_c;
};

/* Three hosts on one network that have met. */
static void three_open(struct world *world, struct three *three)
{
	add_network(world, "lan", NULL);
	three->a = add_host(world, "a", "lan");
	three->b = add_host(world, "b", "lan");
	three->c = add_host(world, "c", "lan");
	three->at_a = ear_open(world, three->a, own(world, three->a), 4000);
	three->at_b = ear_open(world, three->b, own(world, three->b), 4000);
	three->at_c = ear_open(world, three->c, own(world, three->c), 4000);
	tell_heard(world, three->at_a, three->at_b, "ab");
	tell_heard(world, three->at_b, three->at_a, "ba");
	tell_heard(world, three->at_a, three->at_c, "ac");
	tell_heard(world, three->at_c, three->at_b, "cb");
	three->at_a->count = three->at_b->count = three->at_c->count = 0;
}

/* What `a` has sent up to now has come to the switch: a later datagram, on another way, has arrived. */
static void a_has_sent(struct world *world, struct three *three)
{
	tell_heard(world, three->at_a, three->at_c, "mark");
}

/* ---- hosts ------------------------------------------------------------------------------------------------------- */

static void test_exchange(void **state)
{
	struct world *world = permitted(state);
	struct three three;
	char want[32];

	three_open(world, &three);
	assert_string_equal(own(world, three.a), "10.1.0.2");
	assert_string_equal(packets_ops.address(world->net, three.b, three.a), "10.1.0.2");
	tell_heard(world, three.at_a, three.at_b, "hello");
	assert_string_equal(inet_ntop(AF_INET, &three.at_b->from[0].sin_addr, want, sizeof want), "10.1.0.2");
	tell_heard(world, three.at_b, three.at_a, "and you");
	assert_int_equal(three.at_c->count, 0);
	struct ear *alone = ear_open(world, three.c, "127.0.0.1", 4000);
	say(alone, "127.0.0.1", 4000, "myself");
	AWAIT(world, alone->count == 1);
	/* 5 there and 7 back; two and two of the meeting. */
	assert_int_equal(packets_ops.bytes(world->net, three.a, three.b), 5 + 7 + 2 + 2);
	assert_int_equal(packets_ops.bytes(world->net, three.b, three.a), 5 + 7 + 2 + 2);
	/* Who has asked is told when there are more, once. */
	uint64_t before = world->player.changes;
	tell_heard(world, three.at_a, three.at_b, "x");
	tell_heard(world, three.at_a, three.at_b, "y");
	assert_int_equal(world->player.changes, before + 1);
}

/* Networks do not meet, and nobody is on one that is not there. */
static void test_isolated(void **state)
{
	struct world *world = permitted(state);
	struct qmt_err err = {0};
	struct lab_host *a, *b;
	struct lab_host nowhere = {.name = "nowhere", .network = "moon"};

	add_network(world, "lan", NULL);
	add_network(world, "lan", NULL);
	add_network(world, "other", NULL);
	a = add_host(world, "a", "lan");
	b = add_host(world, "b", "other");
	assert_null(packets_ops.fault(world->net, a, b));
	assert_null(packets_ops.fault(world->net, a, a));
	assert_int_equal(packets_ops.bytes(world->net, a, b), 0);
	packets_ops.apply(world->net, a, b);
	packets_ops.reset(world->net, a, b);
	assert_string_equal(own(world, b), "10.2.0.2");
	assert_int_equal(packets_ops.host(world->net, &nowhere, &err), -ENOENT);
	assert_non_null(strstr(err.text, "network moon"));
	assert_int_equal(packets_ops.network(world->net, "lan", "cone", &err), -EEXIST);
	assert_int_equal(packets_ops.network(world->net, "x", "open", &err), -EINVAL);
	assert_non_null(strstr(err.text, "symmetric"));
}

static void test_multicast(void **state)
{
	struct world *world = permitted(state);
	struct three three;
	struct ear *b, *c;
	struct ip_mreqn group = {0};

	three_open(world, &three);
	b = ear_open(world, three.b, "0.0.0.0", 5353);
	c = ear_open(world, three.c, "0.0.0.0", 5353);
	inet_pton(AF_INET, "224.0.0.251", &group.imr_multiaddr);
	inet_pton(AF_INET, own(world, three.b), &group.imr_address);
	assert_int_equal(setsockopt(b->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group), 0);
	say(three.at_a, "224.0.0.251", 5353, "who?");
	AWAIT(world, b->count == 1);
	assert_string_equal(b->texts[0], "who?");
	assert_int_equal(b->from[0].sin_addr.s_addr, place(own(world, three.a), 0).sin_addr.s_addr);
	a_has_sent(world, &three);
	assert_int_equal(c->count, 0); /* has not joined */
	/* Loss is a matter of each pair, also for a group. */
	inet_pton(AF_INET, own(world, three.c), &group.imr_address);
	assert_int_equal(setsockopt(c->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group), 0);
	fault(world, three.a, three.b)->block = NET_CUT;
	packets_ops.apply(world->net, three.a, three.b);
	say(three.at_a, "224.0.0.251", 5353, "again");
	AWAIT(world, c->count == 1);
	packets_ops.heal_all(world->net);
	say(three.at_a, "224.0.0.251", 5353, "healed");
	AWAIT(world, b->count == 2);
	assert_string_equal(b->texts[1], "healed");
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static void test_cut(void **state)
{
	struct world *world = permitted(state);
	struct three three;

	three_open(world, &three);
	fault(world, three.a, three.b)->block = NET_CUT;
	packets_ops.apply(world->net, three.a, three.b);
	tell(world, three.at_a, three.at_b, "lost");
	tell(world, three.at_b, three.at_a, "lost too");
	a_has_sent(world, &three);
	tell_heard(world, three.at_b, three.at_c, "b too");
	heal(world, three.a, three.b);
	tell_heard(world, three.at_a, three.at_b, "there");
	tell_heard(world, three.at_b, three.at_a, "back");
	assert_int_equal(three.at_a->count, 1);
	assert_int_equal(three.at_b->count, 1);
}

static void test_stall(void **state)
{
	struct world *world = permitted(state);
	struct three three;

	three_open(world, &three);
	fault(world, three.a, three.b)->block = NET_STALLED;
	packets_ops.apply(world->net, three.a, three.b);
	tell(world, three.at_a, three.at_b, "1");
	tell(world, three.at_a, three.at_b, "2");
	a_has_sent(world, &three);
	tell_heard(world, three.at_c, three.at_b, "c");
	assert_int_equal(three.at_b->count, 1);
	heal(world, three.a, three.b);
	AWAIT(world, three.at_b->count == 3);
	assert_string_equal(three.at_b->texts[1], "1");
	assert_string_equal(three.at_b->texts[2], "2");
}

static void test_delay(void **state)
{
	struct world *world = permitted(state);
	struct three three;
	uint64_t begin;

	three_open(world, &three);
	fault(world, three.a, three.b)->delay_ms = 300;
	fault(world, three.a, three.b)->jitter_ms = 20;
	packets_ops.apply(world->net, three.a, three.b);
	begin = uv_hrtime();
	tell(world, three.at_a, three.at_b, "slow");
	tell(world, three.at_a, three.at_b, "slow 2");
	tell(world, three.at_c, three.at_b, "fast");
	AWAIT(world, three.at_b->count == 3);
	assert_true(uv_hrtime() - begin >= 300 * 1000000ull);
	assert_string_equal(three.at_b->texts[0], "fast");
	assert_string_equal(three.at_b->texts[1], "slow");
	assert_string_equal(three.at_b->texts[2], "slow 2");
	/* What is on its way when the delay goes, comes at once and first. */
	fault(world, three.a, three.b)->delay_ms = 3600000;
	packets_ops.apply(world->net, three.a, three.b);
	tell(world, three.at_a, three.at_b, "early");
	a_has_sent(world, &three);
	heal(world, three.a, three.b);
	tell(world, three.at_a, three.at_b, "later");
	AWAIT(world, three.at_b->count == 5);
	assert_string_equal(three.at_b->texts[3], "early");
	assert_string_equal(three.at_b->texts[4], "later");
}

static void test_rate(void **state)
{
	struct world *world = permitted(state);
	struct three three;
	uint64_t begin;

	three_open(world, &three);
	fault(world, three.a, three.b)->bits_per_second = 400000;
	packets_ops.apply(world->net, three.a, three.b);
	begin = uv_hrtime();
	for (unsigned i = 0; i < 10; i++) /* 10 * (1000 + 42) * 8 bits */
		say_padded(three.at_a, own(world, three.b), 4000, "full", 1000);
	AWAIT(world, three.at_b->count == 10);
	assert_true(uv_hrtime() - begin >= 10ull * 1042 * 8 * 1000000000 / 400000);
	/* The queue is bounded: 24 kB fit, 60 kB do not. */
	for (unsigned i = 0; i < 60; i++)
		say_padded(three.at_a, own(world, three.b), 4000, "many", 1000);
	a_has_sent(world, &three);
	heal(world, three.a, three.b);
	tell(world, three.at_a, three.at_b, "end");
	AWAIT(world, strcmp(three.at_b->texts[three.at_b->count - 1], "end") == 0);
	assert_in_range(three.at_b->count, 10 + 16 + 1, 10 + 40 + 1);
}

static void test_loss(void **state)
{
	struct world *world = permitted(state);
	struct three three;

	three_open(world, &three);
	fault(world, three.a, three.b)->lose = 10000;
	packets_ops.apply(world->net, three.a, three.b);
	for (unsigned i = 0; i < 20; i++)
		tell(world, three.at_a, three.at_b, "lost");
	a_has_sent(world, &three);
	heal(world, three.a, three.b);
	tell_heard(world, three.at_a, three.at_b, "end");
	assert_int_equal(three.at_b->count, 1);
}

static void test_duplicate(void **state)
{
	struct world *world = permitted(state);
	struct three three;

	three_open(world, &three);
	fault(world, three.a, three.b)->duplicate = 10000;
	packets_ops.apply(world->net, three.a, three.b);
	tell(world, three.at_a, three.at_b, "twice");
	AWAIT(world, three.at_b->count == 2);
	heal(world, three.a, three.b);
	tell(world, three.at_a, three.at_b, "once");
	tell(world, three.at_a, three.at_b, "end");
	AWAIT(world, three.at_b->count == 4);
	assert_string_equal(three.at_b->texts[1], "twice");
	assert_string_equal(three.at_b->texts[2], "once");
}

static void test_reorder(void **state)
{
	enum { MANY = 40 };
	struct world *world = permitted(state);
	struct three three;
	unsigned seen = 0, inversions = 0;

	three_open(world, &three);
	fault(world, three.a, three.b)->reorder = 3000;
	packets_ops.apply(world->net, three.a, three.b);
	for (unsigned i = 0; i < MANY; i++) {
		char text[16];
		snprintf(text, sizeof text, "%u", i);
		tell(world, three.at_a, three.at_b, text);
	}
	AWAIT(world, three.at_b->count == MANY);
	for (unsigned i = 0; i < MANY; i++) {
		seen += (unsigned)strtoul(three.at_b->texts[i], NULL, 10);
		if (i > 0 && strtoul(three.at_b->texts[i - 1], NULL, 10) > strtoul(three.at_b->texts[i], NULL, 10))
			inversions++;
	}
	assert_int_equal(seen, MANY * (MANY - 1) / 2); /* all of them */
	assert_true(inversions > 0);
}

/* ---- TCP --------------------------------------------------------------------------------------------------------- */

struct pipe_ends {
	int listener, client, server;
};

static bool is_ready(int fd, short events)
{
	struct pollfd one = {fd, events, 0};

	return poll(&one, 1, 0) == 1;
}

/* The loop has no handle for these sockets, so it is woken to look at them. */
static void on_tick(uv_timer_t *timer)
{
	(void)timer;
}

static void tcp_connect(
	struct world *world, struct lab_host *from, struct lab_host *to, unsigned port, struct pipe_ends *ret_ends)
{
	struct sockaddr_in in = place(packets_ops.address(world->net, from, to), port);
	struct pipe_ends ends = {.listener = host_socket(world, to, SOCK_STREAM, own(world, to), port),
		.client = host_socket(world, from, SOCK_STREAM, own(world, from), 0)};

	uv_timer_start(&world->tick, on_tick, 1, 1);
	assert_int_equal(listen(ends.listener, 1), 0);
	assert_int_equal(connect(ends.client, (struct sockaddr *)&in, sizeof in), -1);
	assert_int_equal(errno, EINPROGRESS);
	AWAIT(world, is_ready(ends.listener, POLLIN));
	ends.server = accept4(ends.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(ends.server >= 0);
	AWAIT(world, is_ready(ends.client, POLLOUT));
	*ret_ends = ends;
}

static void tcp_close(struct pipe_ends *ends)
{
	close(ends->client);
	close(ends->server);
	close(ends->listener);
}

static void tcp_say(struct world *world, int from, int to, const char *text)
{
	char got[16] = {0};

	assert_int_equal(write(from, text, strlen(text)), (ssize_t)strlen(text));
	AWAIT(world, is_ready(to, POLLIN));
	assert_int_equal(read(to, got, sizeof got), (ssize_t)strlen(text));
	assert_string_equal(got, text);
}

/* Nothing is on its way: neither side waits for an ACK or owes one. */
static void tcp_quiet(struct world *world, const struct pipe_ends *ends)
{
	int client = 1, server = 1;

	AWAIT(world,
		ioctl(ends->client, SIOCOUTQ, &client) == 0 && ioctl(ends->server, SIOCOUTQ, &server) == 0 &&
			client + server == 0);
}

static void expect_reset(struct world *world, int fd)
{
	char byte;

	AWAIT(world, is_ready(fd, POLLIN));
	assert_int_equal(read(fd, &byte, 1), -1);
	assert_int_equal(errno, ECONNRESET);
}

static void test_reset(void **state)
{
	struct world *world = permitted(state);
	struct three three;
	struct pipe_ends first, second;

	three_open(world, &three);
	tcp_connect(world, three.a, three.b, 5000, &first);
	tcp_say(world, first.client, first.server, "there");
	tcp_say(world, first.server, first.client, "back");
	tcp_quiet(world, &first);
	packets_ops.reset(world->net, three.a, three.b);
	expect_reset(world, first.client);
	expect_reset(world, first.server);
	tcp_close(&first);
	tcp_connect(world, three.a, three.b, 5000, &second);
	tcp_say(world, second.client, second.server, "again");
	/* A side that has just been sent more than it has acknowledged is reached all the same. */
	assert_int_equal(write(second.client, "more", 4), 4);
	packets_ops.reset(world->net, three.a, three.b);
	expect_reset(world, second.client);
	tcp_close(&second);
}

/* Writes as much as fits and reads as much as there is. Returns what was read. */
static size_t tcp_pump(int from, int to, size_t *left)
{
	static const char zeros[65536];
	char room[65536];
	size_t got = 0;
	ssize_t n;

	while (*left > 0 && (n = write(from, zeros, *left < sizeof zeros ? *left : sizeof zeros)) > 0)
		*left -= (size_t)n;
	while ((n = read(to, room, sizeof room)) > 0)
		got += (size_t)n;
	return got;
}

/* 5 MB cross in the time that a prompt may take; then `after` cuts a stream where it says. */
static void test_stream(void **state)
{
	enum { MUCH = 5 << 20, SOME = 200000 };
	struct world *world = permitted(state);
	struct three three;
	struct pipe_ends ends;
	size_t left = MUCH, got = 0;
	uint64_t begin, bytes;

	three_open(world, &three);
	tcp_connect(world, three.a, three.b, 5000, &ends);
	begin = uv_hrtime();
	AWAIT(world, (got += tcp_pump(ends.client, ends.server, &left)) == MUCH);
	print_message("5 MB in %u ms\n", (unsigned)((uv_hrtime() - begin) / 1000000));
	bytes = packets_ops.bytes(world->net, three.a, three.b);
	assert_true(bytes >= MUCH);
	*fault(world, three.a, three.b) = (struct net_fault){.after_bytes = SOME, .then = NET_THEN_CUT};
	packets_ops.apply(world->net, three.a, three.b);
	uint64_t before = world->player.changes;
	left = MUCH;
	got = 0;
	AWAIT(world,
		(got += tcp_pump(ends.client, ends.server, &left),
			world->player.changes > before + 1 || fault(world, three.a, three.b)->block == NET_CUT));
	got += tcp_pump(ends.client, ends.server, &left);
	assert_int_equal(fault(world, three.a, three.b)->block, NET_CUT);
	assert_in_range(packets_ops.bytes(world->net, three.a, three.b) - bytes, SOME, SOME + 1460);
	assert_in_range(got, 1, SOME + 1460);
	heal(world, three.a, three.b);
	AWAIT(world, (got += tcp_pump(ends.client, ends.server, &left)) == MUCH);
	tcp_close(&ends);
}

/* ---- NAT --------------------------------------------------------------------------------------------------------- */

struct nat {
	struct lab_host *in, *s, *t;
	const char *router;
	struct ear *at_in, *at_s, *at_t;
	unsigned seen_by_s, seen_by_t; /* ports */
};

/* A host behind a router and two outside; it has spoken to both of them, or only to the first. */
static void nat_open(struct world *world, struct nat *nat, const char *kind, bool both)
{
	if (strcmp(kind, "cone") != 0) { /* where this one works, the others must */
		struct qmt_err err = {0};
		add_network(world, "any", "cone");
		if (packets_ops.network(world->net, "home", kind, &err) != 0)
			fail_msg("%s", err.text);
	} else {
		add_network(world, "home", kind);
	}
	nat->in = add_host(world, "in", "home");
	nat->router = packets_ops.address(world->net, NULL, nat->in);
	nat->s = add_host(world, "s", "public");
	nat->t = add_host(world, "t", "public");
	nat->at_in = ear_open(world, nat->in, own(world, nat->in), 7777);
	nat->at_s = ear_open(world, nat->s, own(world, nat->s), 4001);
	nat->at_t = ear_open(world, nat->t, own(world, nat->t), 4002);
	tell_heard(world, nat->at_s, nat->at_t, "st");
	tell_heard(world, nat->at_t, nat->at_s, "ts");
	nat->at_s->count = nat->at_t->count = 0;
	if (strcmp(kind, "noudp") == 0)
		return;
	tell_heard(world, nat->at_in, nat->at_s, "out");
	nat->seen_by_s = ntohs(nat->at_s->from[0].sin_port);
	/* Seen as the router, which is how others must dial it. */
	assert_int_equal(
		nat->at_s->from[0].sin_addr.s_addr, place(packets_ops.address(world->net, nat->s, nat->in), 0).sin_addr.s_addr);
	assert_string_equal(packets_ops.address(world->net, nat->s, nat->in), nat->router);
	assert_memory_equal(own(world, nat->in), "192.168.", 8);
	say(nat->at_s, nat->router, nat->seen_by_s, "answer");
	AWAIT(world, nat->at_in->count == 1);
	assert_string_equal(nat->at_in->texts[0], "answer");
	if (!both)
		return;
	tell_heard(world, nat->at_in, nat->at_t, "out");
	nat->seen_by_t = ntohs(nat->at_t->from[0].sin_port);
}

static void test_cone(void **state)
{
	struct world *world = permitted(state);
	struct nat nat;

	nat_open(world, &nat, "cone", false);
	say(nat.at_t, nat.router, nat.seen_by_s, "stranger");
	tell_heard(world, nat.at_t, nat.at_s, "sent"); /* so that has passed the switch */
	say(nat.at_s, nat.router, nat.seen_by_s, "known");
	AWAIT(world, nat.at_in->count == 2);
	assert_string_equal(nat.at_in->texts[1], "known");
	/* The same port for everybody, and who was spoken to may answer. */
	tell_heard(world, nat.at_in, nat.at_t, "out");
	assert_int_equal(ntohs(nat.at_t->from[0].sin_port), nat.seen_by_s);
	say(nat.at_t, nat.router, nat.seen_by_s, "no stranger");
	AWAIT(world, nat.at_in->count == 3);
	assert_string_equal(nat.at_in->texts[2], "no stranger");
}

static void test_full(void **state)
{
	struct world *world = permitted(state);
	struct nat nat;

	nat_open(world, &nat, "full", false);
	say(nat.at_t, nat.router, nat.seen_by_s, "stranger");
	AWAIT(world, nat.at_in->count == 2);
	assert_string_equal(nat.at_in->texts[1], "stranger");
	assert_int_equal(nat.at_in->from[1].sin_addr.s_addr, place(own(world, nat.t), 0).sin_addr.s_addr);
	/* ... and is answered from the same port. */
	tell_heard(world, nat.at_in, nat.at_t, "welcome");
	assert_int_equal(ntohs(nat.at_t->from[0].sin_port), nat.seen_by_s);
}

static void test_symmetric(void **state)
{
	struct world *world = permitted(state);
	struct nat nat;

	nat_open(world, &nat, "symmetric", true);
	assert_int_not_equal(nat.seen_by_s, nat.seen_by_t);
}

static void test_noudp(void **state)
{
	struct world *world = permitted(state);
	struct nat nat;
	struct pipe_ends ends;

	nat_open(world, &nat, "noudp", false);
	tell(world, nat.at_in, nat.at_s, "out");
	tcp_connect(world, nat.in, nat.s, 5000, &ends);
	tcp_say(world, ends.client, ends.server, "tcp");
	tell_heard(world, nat.at_t, nat.at_s, "only me");
	assert_int_equal(nat.at_s->count, 1);
	tcp_close(&ends);
}

/* A fault of a host behind a router with one outside lies between the router and that one. */
static void test_fault_behind(void **state)
{
	struct world *world = permitted(state);
	struct nat nat;

	nat_open(world, &nat, "cone", true);
	fault(world, nat.in, nat.s)->block = NET_CUT;
	packets_ops.apply(world->net, nat.in, nat.s);
	tell(world, nat.at_in, nat.at_s, "lost");
	tell_heard(world, nat.at_in, nat.at_t, "not lost");
	packets_ops.heal_all(world->net);
	tell_heard(world, nat.at_in, nat.at_s, "there");
	assert_int_equal(nat.at_s->count, 2);
}

/* ---- change and end ---------------------------------------------------------------------------------------------- */

static void test_move(void **state)
{
	struct world *world = permitted(state);
	struct qmt_err err = {0};
	struct lab_host *a, *b;
	struct ear *at_b, *moved;
	char text[32];

	add_network(world, "lan", NULL);
	a = add_host(world, "a", "lan");
	b = add_host(world, "b", "public");
	at_b = ear_open(world, b, own(world, b), 4000);
	ear_open(world, a, own(world, a), 4000);
	assert_null(packets_ops.fault(world->net, a, b));
	assert_int_equal(packets_ops.move(world->net, a, "public", &err), 0);
	assert_string_equal(a->network, "public");
	assert_string_equal(own(world, a), "198.51.100.3");
	moved = ear_open(world, a, own(world, a), 4000);
	tell_heard(world, moved, at_b, "moved");
	assert_string_equal(inet_ntop(AF_INET, &at_b->from[0].sin_addr, text, sizeof text), "198.51.100.3");
	tell_heard(world, at_b, moved, "seen");
	/* To where it is: a new address. The old one is not there any more. */
	assert_int_equal(packets_ops.move(world->net, a, "public", &err), 0);
	assert_string_equal(own(world, a), "198.51.100.4");
	moved = ear_open(world, a, own(world, a), 4000);
	say(at_b, "198.51.100.3", 4000, "nobody");
	tell_heard(world, at_b, moved, "you");
	assert_int_equal(moved->count, 1);
	assert_int_equal(packets_ops.move(world->net, a, "moon", &err), -ENOENT);
	assert_non_null(strstr(err.text, "move a"));
}

static bool has_interface(const char *name)
{
	/* thread-self: the namespace that this thread has entered */
	FILE *file = fopen("/proc/thread-self/net/dev", "r");
	char line[512];
	bool found = false;

	assert_non_null(file);
	while (fgets(line, sizeof line, file))
		found = found || strstr(line, name);
	fclose(file);
	return found;
}

static void test_end(void **state)
{
	struct world *world = permitted(state);
	struct lab_host *a, *in;
	int home, spaces[2];

	add_network(world, "home", "cone");
	a = add_host(world, "a", "public");
	in = add_host(world, "in", "home");
	home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(home >= 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(packets_ops.enter(world->net, i ? in : a), 0);
		spaces[i] = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
		assert_true(spaces[i] >= 0);
		assert_true(has_interface("eth0"));
		packets_ops.leave(world->net);
	}
	assert_false(has_interface("wan:"));
	close_world(world);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(ns_enter(spaces[i]), 0);
		assert_true(has_interface("lo"));
		assert_false(has_interface("eth0"));
		close(spaces[i]);
	}
	ns_leave(home);
	close(home);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_exchange), TEST(test_isolated), TEST(test_multicast), TEST(test_cut),
		TEST(test_stall), TEST(test_delay), TEST(test_rate), TEST(test_loss), TEST(test_duplicate), TEST(test_reorder),
		TEST(test_reset), TEST(test_stream), TEST(test_cone), TEST(test_full), TEST(test_symmetric), TEST(test_noudp),
		TEST(test_fault_behind), TEST(test_move), TEST(test_end)};
	struct qmt_err err = {0};
	uv_loop_t first;

	/* The first loop of a process opens descriptors that stay. */
	if (uv_loop_init(&first) != 0 || uv_loop_close(&first) != 0)
		return 1;
	if (space_enter(SPACE_NET, &err) != 0)
		printf("# %s\n", err.text);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
