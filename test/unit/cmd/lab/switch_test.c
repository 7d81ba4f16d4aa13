/* The switch carries each frame where it belongs and does to it what the fault of its pair says: in order, within
 * bounds, and the same for the same seed. On socket pairs instead of TAPs: needs no rights, so it is never skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "cmd/lab/switch.h"
#include "cmd/lab/switch_tcp.h"

enum { PORTS = 4, WAIT_MS = 20000, ROOM = 2048, UDP_HEAD = 14 + 20 + 8 };

struct world {
	uv_loop_t loop;
	uv_timer_t deadline;
	bool late;
	struct net_switch *net_switch;
	struct switch_port *ports[PORTS]; /* 0 to 2 on segment 1, 3 on segment 2 */
	int far[PORTS];                   /* the host's end */
	unsigned changes;
	bool forced; /* ports take what a queue can hold */
	uint8_t got[ROOM];
};

static void on_changed(void *arg)
{
	((struct world *)arg)->changes++;
}

static const uint8_t *mac_of(unsigned port)
{
	static const uint8_t macs[PORTS][6] = {
		{2, 0, 0, 0, 0, 0}, {2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, {2, 0, 0, 0, 0, 3}};

	return macs[port];
}

static void plug(struct world *world, unsigned port, unsigned segment)
{
	int pair[2], bytes = 8 << 20;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	/* What the test does not read must not be lost. */
	world->forced = setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) == 0;
	assert_int_equal(switch_plug(world->ports[port], segment, mac_of(port), pair[0]), 0);
	if (world->far[port] >= 0)
		close(world->far[port]);
	world->far[port] = pair[1];
}

static void open_world(struct world *world, uint64_t seed)
{
	*world = (struct world){0};
	assert_int_equal(uv_loop_init(&world->loop), 0);
	uv_timer_init(&world->loop, &world->deadline);
	world->net_switch = switch_new(&world->loop, seed, on_changed, world);
	assert_non_null(world->net_switch);
	for (unsigned i = 0; i < PORTS; i++) {
		world->far[i] = -1;
		world->ports[i] = switch_port_new(world->net_switch);
		assert_non_null(world->ports[i]);
		plug(world, i, i < 3 ? 1 : 2);
	}
}

static void close_world(struct world *world)
{
	switch_close(world->net_switch);
	for (unsigned i = 0; i < PORTS; i++)
		close(world->far[i]);
	uv_close((uv_handle_t *)&world->deadline, NULL);
	uv_run(&world->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&world->loop), 0);
}

static int set_up(void **state)
{
	struct world *world = malloc(sizeof *world);

	assert_non_null(world);
	open_world(world, 1);
	*state = world;
	return 0;
}

static int tear_down(void **state)
{
	close_world(*state);
	free(*state);
	return 0;
}

static void on_deadline(uv_timer_t *timer)
{
	((struct world *)timer->data)->late = true;
}

static void one_turn(struct world *world)
{
	world->deadline.data = world;
	uv_timer_start(&world->deadline, on_deadline, WAIT_MS, 0);
	uv_run(&world->loop, UV_RUN_ONCE);
	uv_timer_stop(&world->deadline);
	assert_false(world->late);
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

/* A UDP packet with a number and so many bytes of payload (at least 2). */
static size_t make_udp(uint8_t *frame, unsigned from, const uint8_t *to_mac, unsigned number, size_t payload)
{
	size_t ip = payload + 28;

	memset(frame, 0, UDP_HEAD + payload);
	memcpy(frame, to_mac, 6);
	memcpy(frame + 6, mac_of(from), 6);
	frame[12] = 8;
	frame[14] = 0x45;
	frame[16] = (uint8_t)(ip >> 8);
	frame[17] = (uint8_t)ip;
	frame[23] = 17;
	frame[UDP_HEAD] = (uint8_t)(number >> 8);
	frame[UDP_HEAD + 1] = (uint8_t)number;
	return UDP_HEAD + payload;
}

static void put(struct world *world, unsigned port, const uint8_t *frame, size_t len)
{
	assert_int_equal(send(world->far[port], frame, len, 0), (ssize_t)len);
}

static void put_udp(struct world *world, unsigned from, unsigned to, unsigned number, size_t payload)
{
	uint8_t frame[ROOM];

	put(world, from, frame, make_udp(frame, from, mac_of(to), number, payload));
}

/* The next frame at the port, its length; 0: none is there. */
static size_t take(struct world *world, unsigned port)
{
	ssize_t n = recv(world->far[port], world->got, sizeof world->got, 0);

	return n > 0 ? (size_t)n : 0;
}

static unsigned number_of(const struct world *world)
{
	return (unsigned)(world->got[UDP_HEAD] << 8 | world->got[UDP_HEAD + 1]);
}

static void expect(struct world *world, unsigned port, unsigned number)
{
	while (take(world, port) == 0)
		one_turn(world);
	assert_int_equal(number_of(world), number);
}

/* All that was put is read: a frame that was put last has come out at port 2, and of it nobody else knows. */
static void sync_from(struct world *world, unsigned from)
{
	put_udp(world, from, 2, 0xffff, 2);
	expect(world, 2, 0xffff);
}

static struct net_fault *fault(struct world *world)
{
	return switch_fault(world->ports[0], world->ports[1]);
}

static void apply(struct world *world)
{
	switch_apply(world->ports[0], world->ports[1]);
}

/* ---- where frames go --------------------------------------------------------------------------------------------- */

static void test_forward(void **state)
{
	struct world *world = *state;
	const uint8_t all[6] = {255, 255, 255, 255, 255, 255}, unknown[6] = {2, 9};
	uint8_t frame[ROOM];

	put_udp(world, 0, 1, 1, 2);
	expect(world, 1, 1);
	put(world, 0, frame, make_udp(frame, 0, all, 2, 2));
	expect(world, 1, 2);
	expect(world, 2, 2);
	put(world, 0, frame, make_udp(frame, 0, unknown, 3, 2));
	expect(world, 1, 3);
	expect(world, 2, 3);
	put_udp(world, 0, 3, 4, 2); /* on another segment: known to nobody here */
	expect(world, 1, 4);
	expect(world, 2, 4);
	put_udp(world, 0, 0, 5, 2); /* to itself */
	put(world, 0, frame, 5);    /* no frame at all */
	sync_from(world, 0);
	for (unsigned i = 0; i < PORTS; i++)
		assert_int_equal(take(world, i), 0);
	assert_null(switch_fault(world->ports[0], world->ports[0]));
}

static void test_unplug(void **state)
{
	struct world *world = *state;

	fault(world)->delay_ms = 1000000;
	apply(world);
	put_udp(world, 0, 1, 1, 2);
	sync_from(world, 0);
	switch_unplug(world->ports[1]);
	switch_unplug(world->ports[1]);
	put_udp(world, 0, 1, 2, 2); /* nobody has that address now: all the others get it */
	expect(world, 2, 2);
	plug(world, 1, 2);
	*fault(world) = (struct net_fault){0};
	apply(world); /* what was on its way is lost */
	put_udp(world, 3, 1, 3, 2);
	expect(world, 1, 3);
	/* The host's end goes away, as when somebody deletes the interface: no turning in circles. */
	close(world->far[1]);
	world->far[1] = -1;
	put_udp(world, 3, 1, 4, 2);
	sync_from(world, 0);
	unsigned turns = 0;
	uv_timer_start(&world->deadline, on_deadline, 50, 0);
	for (; !world->late; turns++)
		uv_run(&world->loop, UV_RUN_ONCE);
	assert_in_range(turns, 1, 20);
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

/* Bytes are payload; the frame that reaches `after` passes, the next does not. */
static void test_after(void **state)
{
	struct world *world = *state;

	for (unsigned then = NET_THEN_CUT; then <= NET_THEN_STALL; then++) {
		uint64_t before = switch_bytes(world->ports[1], world->ports[0]);
		unsigned changes = world->changes;
		*fault(world) = (struct net_fault){.after_bytes = 250, .then = then};
		apply(world);
		for (unsigned i = 1; i <= 5; i++)
			put_udp(world, 0, 1, i, 100);
		for (unsigned i = 1; i <= 3; i++)
			expect(world, 1, i);
		sync_from(world, 0);
		assert_int_equal(take(world, 1), 0);
		assert_int_equal(fault(world)->block, then == NET_THEN_CUT ? NET_CUT : NET_STALLED);
		assert_int_equal(world->changes, changes + 2); /* bytes, which were asked for; the cut */
		assert_int_equal(switch_bytes(world->ports[0], world->ports[1]) - before, 300);
		*fault(world) = (struct net_fault){0};
		apply(world);
		put_udp(world, 0, 1, 6, 2);
		for (unsigned i = then == NET_THEN_CUT ? 6 : 4; i <= 6; i++)
			expect(world, 1, i);
	}
}

/* A stall holds so much, and a delay, in order; the rest is lost. */
static void test_bounds(void **state)
{
	enum { BYTES = 1400 };
	struct world *world = *state;
	const size_t len = UDP_HEAD + BYTES;
	const struct {
		struct net_fault fault;
		size_t most;
	} cases[] = {{{.block = NET_STALLED}, SWITCH_HELD_BYTES},
		{{.delay_ms = UINT64_MAX, .jitter_ms = UINT64_MAX}, SWITCH_LANE_BYTES}};

	for (unsigned i = 0; i < 2; i++) {
		unsigned fits = (unsigned)(cases[i].most / len), number = 0, came = 0;
		*fault(world) = cases[i].fault;
		apply(world);
		while (number < fits + 50) {
			for (unsigned burst = 0; burst < 16; burst++)
				put_udp(world, 0, 1, number++, BYTES);
			sync_from(world, 0);
		}
		assert_int_equal(take(world, 1), 0);
		switch_heal_all(world->net_switch);
		while (take(world, 1) > 0)
			assert_int_equal(number_of(world), came++);
		if (world->forced) /* else the far end cannot take them all at once */
			assert_int_equal(came, fits);
		assert_in_range(came, 1, fits);
	}
}

/* What of 400 frames is lost, comes twice or comes late, as text. */
static void draw_run(uint64_t seed, bool disturbed, struct qmt_buf *out)
{
	struct world world;

	open_world(&world, seed);
	*fault(&world) = (struct net_fault){.lose = 1000, .duplicate = 1000, .reorder = 500};
	apply(&world);
	for (unsigned i = 0; i < 400; i += 40) {
		for (unsigned n = i; n < i + 40; n++) {
			put_udp(&world, 0, 1, n, 20);
			if (disturbed)
				put_udp(&world, 1, 0, n, 20);
		}
		sync_from(&world, 0);
		sync_from(&world, 1);
		apply(&world); /* what was held back comes behind its burst, whatever the time */
		while (take(&world, 1) > 0)
			qmt_buf_printf(out, "%u ", number_of(&world));
		while (take(&world, 0) > 0)
			;
	}
	close_world(&world);
}

/* The same seed means the same, whatever the other direction does; another seed means something else. */
static void test_seed(void **state)
{
	struct qmt_buf first = {0}, second = {0}, disturbed = {0}, other = {0};

	(void)state;
	draw_run(5, false, &first);
	draw_run(5, false, &second);
	draw_run(5, true, &disturbed);
	draw_run(6, false, &other);
	assert_int_equal(first.failed || second.failed || disturbed.failed || other.failed, 0);
	assert_string_equal(first.data, second.data);
	assert_string_equal(first.data, disturbed.data);
	assert_string_not_equal(first.data, other.data);
	qmt_buf_free(&first);
	qmt_buf_free(&second);
	qmt_buf_free(&disturbed);
	qmt_buf_free(&other);
}

/* What is on its way when a stall begins is held with the rest, in front of it; a cut takes both. */
static void test_delay_and_stall(void **state)
{
	struct world *world = *state;

	for (unsigned i = 0; i < 2; i++) {
		*fault(world) = (struct net_fault){.delay_ms = 1000000};
		apply(world);
		put_udp(world, 0, 1, 1, 2);
		sync_from(world, 0);
		*fault(world) = (struct net_fault){.block = NET_STALLED};
		apply(world);
		put_udp(world, 0, 1, 2, 2);
		sync_from(world, 0);
		assert_int_equal(take(world, 1), 0);
		if (i == 1) {
			fault(world)->block = NET_CUT;
			apply(world);
		}
		switch_heal_all(world->net_switch);
		put_udp(world, 0, 1, 3, 2);
		for (unsigned n = i == 0 ? 1 : 3; n <= 3; n++)
			expect(world, 1, n);
	}
}

/* ARP is not lost, drawn for or delayed: only a cut or a stall stops it. */
static void test_arp(void **state)
{
	struct world *world = *state;
	uint8_t frame[60];

	memset(frame, 0, sizeof frame);
	memcpy(frame, mac_of(1), 6);
	frame[12] = 8;
	frame[13] = 6;
	*fault(world) = (struct net_fault){.lose = 10000, .delay_ms = 100000, .bits_per_second = 1};
	apply(world);
	put(world, 0, frame, sizeof frame);
	sync_from(world, 0);
	assert_int_equal(take(world, 1), sizeof frame);
	assert_int_equal(switch_bytes(world->ports[0], world->ports[1]), 0);
	fault(world)->block = NET_CUT;
	apply(world);
	put(world, 0, frame, sizeof frame);
	sync_from(world, 0);
	assert_int_equal(take(world, 1), 0);
}

/* Jitter keeps the order. */
static void test_jitter(void **state)
{
	struct world *world = *state;

	*fault(world) = (struct net_fault){.jitter_ms = 30};
	apply(world);
	for (unsigned i = 0; i < 50; i++)
		put_udp(world, 0, 1, i, 20);
	for (unsigned i = 0; i < 50; i++)
		expect(world, 1, i);
}

/* ---- headers ----------------------------------------------------------------------------------------------------- */

/* Whatever length and header fields a frame claims, nothing is read beyond it. */
static void test_hostile_frames(void **state)
{
	struct world *world = *state;
	struct tcp_flows flows = {0};
	uint8_t frame[80], answer[TCP_RESET_BYTES];

	for (size_t len = 0; len <= 60; len++)
		for (unsigned head = 0; head < 16; head++)
			for (unsigned total = 0; total < 64; total += 3)
				for (unsigned protocol = 0; protocol < 2; protocol++) {
					uint8_t *exact = malloc(len + 1); /* its end is watched by ASan */
					assert_non_null(exact);
					make_udp(frame, 0, mac_of(1), 1, 20);
					frame[14] = (uint8_t)(0x40 | head);
					frame[17] = (uint8_t)total;
					frame[23] = protocol ? 6 : 17;
					memcpy(exact, frame, len);
					assert_true(packet_payload(exact, len) <= len);
					assert_int_equal(tcp_flows_see(&flows, 0, exact, len, answer), TCP_PASS);
					free(exact);
				}
	tcp_flows_free(&flows);
	put_udp(world, 0, 1, 7, 2);
	expect(world, 1, 7);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_forward), TEST(test_unplug), TEST(test_after), TEST(test_bounds),
		TEST(test_seed), TEST(test_delay_and_stall), TEST(test_arp), TEST(test_jitter), TEST(test_hostile_frames)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
