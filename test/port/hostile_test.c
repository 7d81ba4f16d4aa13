/* test/port/hostile_test.c - strangers and liars on the port of a node: each is refused, and the node lives on.
 *
 * Every case ends by asking the node something and by looking at its descriptors, so nothing may be left behind.
 */
#include <setjmp.h>
#include <stdarg.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include "proto/codec.h"
#include "proto/envelope.h"
#include "runtime/base/os.h"
#include "test/lib/hostile.h"
#include "test/lib/tcp_proxy.h"
#include "transports/channel_key.h"
#include "transports/link_records.h"

static struct mesh_node node;
static char log_name[] = "/tmp/qmt-hostile-XXXXXX";
static int log_fd = -1;

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(log_name, sizeof(log_name), "/tmp/qmt-hostile-XXXXXX");
	log_fd = mkstemp(log_name);
	assert_true(log_fd >= 0);
	mesh_node_init(&node, "victim", NULL, 0);
	node.log_fd = log_fd;
	node.config.limits.hello_ms = 300;
	node.config.limits.unproven_max = 8;
	mesh_node_start(&node);
	return 0;
}

static bool no_links(void *arg)
{
	(void)arg;
	return mesh_links(&node) == 0;
}

static int tear_down(void **state)
{
	struct qmt_result result;

	(void)state;
	mesh_until(no_links, NULL, "no link is left");
	assert_int_equal(MESH_ASK(&node, node.probe, &result, probe_say, .n = 9), 0);
	mesh_node_stop(&node);
	close(log_fd);
	unlink(log_name);
	return 0;
}

/* How often `text` is in the log. */
static int logged(const char *text)
{
	static char log[1 << 20];
	ssize_t len = pread(log_fd, log, sizeof(log) - 1, 0);
	int count = 0;

	log[len > 0 ? len : 0] = '\0';
	for (const char *at = log; (at = strstr(at, text)); at++)
		count++;
	return count;
}

static bool is_logged(void *arg)
{
	return logged(arg) > 0;
}

static bool is_up(void *arg)
{
	(void)arg;
	return mesh_links(&node) == 1 && logged("link.up") > 0;
}

static bool two_are_up(void *arg)
{
	(void)arg;
	return logged("link.up") == 2;
}

/* A hostile peer with a link in use: its PeerId may be either side of the one-link rule, so it plays both. */
static void open_link(struct hostile *peer)
{
	struct qmt_err err = {0};

	if (hostile_open(peer, node.port, 0, &err))
		fail_msg("%s", err.text);
	hostile_says_use(peer, 1);
	mesh_until(is_up, NULL, "the link is up");
}

/* ---- without HELLO ----------------------------------------------------------------------------------------------- */

static int raw_socket(void)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(node.port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void wait_closed(int fd)
{
	char room[256];
	struct pollfd item = {.fd = fd, .events = POLLIN};
	uint64_t deadline = qmt_os_real_now_ms() + MESH_WAIT_MS;

	while (qmt_os_real_now_ms() < deadline) {
		if (poll(&item, 1, 1000) == 1 && read(fd, room, sizeof(room)) <= 0)
			return;
	}
	fail_msg("the connection was not closed");
}

/* Bytes that are no ZMTP close the connection. */
static void garbage(void **state)
{
	int fd = raw_socket();
	char bytes[4096];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 37 + 11);
	assert_true(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0);
	wait_closed(fd);
	close(fd);
}

/* A connection that says nothing is closed after hello_ms; so is one that passed CURVE and then says nothing. */
static void silent(void **state)
{
	struct hostile peer;
	struct qmt_err err = {0};
	int fd = raw_socket();

	(void)state;
	assert_int_equal(hostile_open(&peer, node.port, HOSTILE_NO_HELLO, &err), 0);
	wait_closed(fd);
	hostile_wait_cut(&peer);
	hostile_close(&peer);
	close(fd);
}

/* ZMTP without CURVE does not get in. */
static void plain_zmtp(void **state)
{
	struct hostile peer;
	struct qmt_err err = {0};

	(void)state;
	assert_int_equal(hostile_open(&peer, node.port, HOSTILE_PLAIN, &err), 0);
	(void)zmq_send(peer.socket, "hello", 5, ZMQ_DONTWAIT);
	hostile_wait_cut(&peer);
	mesh_until(no_links, NULL, "nothing is left of it");
	hostile_close(&peer);
}

/* More than unproven_max connections at once: the further ones are cut, and there is room again when they have gone. */
static void many_unproven(void **state)
{
	int fds[20];
	struct qmt_err err = {0};
	struct hostile peer;

	(void)state;
	for (int i = 0; i < 20; i++)
		fds[i] = raw_socket();
	mesh_until(is_logged, "unproven_max", "the limit is in the log");
	for (int i = 0; i < 20; i++) {
		wait_closed(fds[i]);
		close(fds[i]);
	}
	assert_int_equal(logged("unproven_max"), 1);
	open_link(&peer);
	hostile_close(&peer);
	(void)err;
}

/* Connections that say nothing keep nobody out: over the bound the oldest of them goes, and who says HELLO comes in
 * although hello_ms is far away. */
static void silent_ones_make_room(void **state)
{
	int fds[20];
	struct hostile peer;

	(void)state;
	mesh_node_stop(&node);
	node.config.limits.hello_ms = 60000;
	mesh_node_start(&node);
	for (int i = 0; i < 20; i++)
		fds[i] = raw_socket();
	open_link(&peer);
	wait_closed(fds[0]); /* the oldest */
	for (int i = 0; i < 20; i++)
		close(fds[i]);
	hostile_close(&peer);
}

/* A frame longer than hello_frame_bytes before HELLO has ended cuts the connection. */
static void long_first_frame(void **state)
{
	struct hostile peer;
	struct qmt_err err = {0};
	char *frame = calloc(1, 100000);

	(void)state;
	assert_int_equal(hostile_open(&peer, node.port, HOSTILE_NO_HELLO, &err), 0);
	hostile_send(&peer, frame, 100000);
	hostile_wait_cut(&peer);
	mesh_until(is_logged, "hello_frame_bytes", "the reason is in the log");
	hostile_close(&peer);
	free(frame);
}

/* A message whose parts never end is not held without bound: libzmq shows nothing of it, and the connection is cut for
 * the bytes that came, long before hello_ms. */
static void endless_parts(void **state)
{
	enum { PART = 100000, PARTS = 200 };
	struct hostile peer;
	struct qmt_err err = {0};
	char *part = calloc(1, PART);
	uint16_t port = 0;
	struct tcp_proxy *proxy;
	uint64_t deadline = qmt_os_real_now_ms() + MESH_WAIT_MS;

	(void)state;
	mesh_node_stop(&node);
	node.config.limits.hello_ms = 60000;
	mesh_node_start(&node);
	proxy = tcp_proxy_start(node.port, &port);
	assert_int_equal(hostile_open(&peer, port, HOSTILE_NO_HELLO, &err), 0);
	for (int i = 0; i < PARTS; i++)
		assert_int_equal(zmq_send(peer.socket, part, PART, i + 1 < PARTS ? ZMQ_SNDMORE : 0), PART);
	while (tcp_proxy_bytes(proxy) < PART * 5 && qmt_os_real_now_ms() < deadline && !logged("HELLO needs"))
		(void)poll(NULL, 0, 1); /* polls: bytes at a proxy; deadline above */
	tcp_proxy_pause(proxy, 1);  /* the last part never comes */
	mesh_until(is_logged, "more bytes than HELLO needs", "the reason is in the log");
	tcp_proxy_stop(proxy);
	hostile_close(&peer);
	free(part);
}

/* A first frame that is no HELLO, and one that is cut short, are refused with words. */
static void malformed_hello(void **state)
{
	static const uint8_t frames[][4] = {
		{1, 0xc1, 0, 0}, {3, 0x80, 0, 0}, {1, 0x81, 0x01, 0x91}, {0xff, 0xff, 0xff, 0xff}, {1, 0x80, 0, 0}};

	(void)state;
	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		struct hostile peer;
		struct qmt_err err = {0};

		assert_int_equal(hostile_open(&peer, node.port, HOSTILE_NO_HELLO, &err), 0);
		hostile_send(&peer, frames[i], i == 4 ? 2 : 4);
		hostile_wait_cut(&peer);
		hostile_close(&peer);
	}
}

/* A dialer that names another CURVE key in HELLO than the one of its connection (as a relay in the middle has to) sees
 * that the listener's signature does not fit. */
static void relayed_hello(void **state)
{
	struct hostile peer;
	struct qmt_err err = {0};

	(void)state;
	assert_int_equal(hostile_open(&peer, node.port, HOSTILE_WRONG_KEY, &err), -EKEYREJECTED);
	hostile_wait_cut(&peer);
	hostile_close(&peer);
}

/* A routing id that the peer chose itself is hostile: only ids that the ROUTER made count. */
static void chosen_routing_id(void **state)
{
	struct hostile peer;
	struct qmt_err err = {0};

	(void)state;
	assert_int_equal(hostile_open(&peer, node.port, HOSTILE_NO_HELLO | HOSTILE_NAMED, &err), 0);
	hostile_send(&peer, "\1\x80", 2);
	hostile_wait_cut(&peer);
	mesh_until(is_logged, "routing id", "the reason is in the log");
	mesh_until(no_links, NULL, "nothing is left of it");
	hostile_close(&peer);
}

/* ---- after HELLO ------------------------------------------------------------------------------------------------- */

/* Each of these frames from a proven peer cuts its link, says why once, and hurts nobody. */
static void bad_frames(void **state)
{
	static const uint8_t deep_head[] = {ENVELOPE_VERSION, 0x98, 0, 0, 0xa5, 'p', 'r', 'o', 'b', 'e', 0x92, 1, 0xa9, 'p',
		'r', 'o', 'b', 'e', '.', 's', 'a', 'y', 0, 0, 0};
	uint8_t deep[1100];
	struct {
		const void *data;
		size_t len;
	} frames[] = {
		{"\x02\x98", 2},                             /* unknown version */
		{"\x01\x98\x00\x01", 4},                     /* truncated */
		{"\x01\xdd\xff\xff\xff\xff", 6},             /* an array of 2^32 - 1 */
		{"\x01\x98\x00\x00\xdb\xff\xff\xff\xff", 9}, /* a name of 4 GB */
		{"\x01\x98\x00\x00\xa1"
		 "a\x07\x00\x00\x00\x80",
			11},              /* a type number that was never named */
		{"\x01\xc1", 2},      /* not msgpack */
		{deep, sizeof(deep)}, /* 1,000 deep */
		{"", 0},              /* nothing */
	};

	(void)state;
	memset(deep, 0x91, sizeof(deep));
	memcpy(deep, deep_head, sizeof(deep_head));
	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		struct hostile peer;

		assert_int_equal(ftruncate(log_fd, 0), 0);
		(void)lseek(log_fd, 0, SEEK_SET);
		open_link(&peer);
		hostile_send(&peer, frames[i].data, frames[i].len);
		hostile_wait_cut(&peer);
		hostile_close(&peer);
		mesh_until(no_links, NULL, "the link is gone");
		assert_int_equal(logged("link.hostile"), 1);
	}
}

/* A body that does not fit its message is the sender's failure, answered, logged once; the link stays. */
static void bad_bodies(void **state)
{
	static const char *const bodies[] = {
		"\x81\x01\xa1x", "\x81\x02\xa2\xff\xff", "\x81\xa1k\x01", "\x81\x03\xcf\xff\xff\xff\xff\xff\xff\xff\xff"};
	static const size_t lens[] = {4, 5, 4, 11};
	struct hostile peer;
	struct qmt_buf frame = {0};
	uint8_t room[4096];
	int errors = 0;

	(void)state;
	open_link(&peer);
	for (uint64_t i = 0; i < 400; i++) {
		struct envelope env = {.kind = ENVELOPE_ASK,
			.id = i + 1,
			.to_name = qmt_str("probe"),
			.type = 1,
			.type_name = qmt_str("probe.say"),
			.deadline_ms = 1000};

		frame.len = 0;
		hostile_put_envelope(&frame, &env, bodies[i % 4], lens[i % 4]);
		hostile_send(&peer, frame.data, frame.len);
	}
	while (errors < 400) {
		struct qmt_bytes data = {room + 1, 0};
		int len = hostile_receive(&peer, room, sizeof(room), MESH_WAIT_MS);
		struct envelope env;

		assert_true(len > 0);
		data.len = (uint32_t)len - 1;
		while (envelope_get(&data, &env, NULL) == 0)
			errors += env.kind == ENVELOPE_ERROR;
	}
	assert_int_equal(mesh_links(&node), 1);
	assert_int_equal(logged("link.refused"), 1);
	qmt_buf_free(&frame);
	hostile_close(&peer);
}

/* Pieces: beyond the end, never begun, twice begun, longer than body_bytes, more than reassembly_bytes: each cuts
 * the link. */
static void bad_pieces(void **state)
{
	enum { SIZE = 60000 };
	static const struct {
		uint64_t total;
		uint32_t len;
		uint32_t repeat;
		bool same_id;
	} cases[] = {
		{0, 10, 1, true},
		{5, 10, 1, true},
		{100, 10, 2, true},
		{1ull << 40, 10, 1, true},
		{SIZE + 1, SIZE, 2000, false},
	};
	char *data = calloc(1, SIZE);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hostile peer;

		assert_int_equal(ftruncate(log_fd, 0), 0);
		(void)lseek(log_fd, 0, SEEK_SET);
		open_link(&peer);
		for (uint32_t n = 0; n < cases[i].repeat; n++) {
			struct envelope env = {.kind = ENVELOPE_CONTROL, .type = LINK_PIECE, .id = cases[i].same_id ? 1 : n};
			struct link_piece piece = {.total = cases[i].total, .data = {(const uint8_t *)data, cases[i].len}};
			struct qmt_buf frame = {0};

			qmt_buf_append(&frame, &(uint8_t){ENVELOPE_VERSION}, 1);
			envelope_put(&frame, &env);
			assert_int_equal(codec_encode(&link_piece_record, &piece, NULL, &frame), 0);
			if (zmq_send(peer.socket, frame.data, frame.len, n < 100 ? 0 : ZMQ_DONTWAIT) < 0)
				n--;
			qmt_buf_free(&frame);
			if (logged("link.hostile"))
				break;
		}
		hostile_wait_cut(&peer);
		hostile_close(&peer);
		mesh_until(no_links, NULL, "the link is gone");
		assert_int_equal(logged("link.hostile"), 1);
	}
	free(data);
}

/* Waits for a control envelope of this type. */
static void wait_control(struct hostile *peer, enum link_control type)
{
	static uint8_t room[65536];

	for (;;) {
		struct qmt_bytes data = {room + 1, 0};
		int len = hostile_receive(peer, room, sizeof(room), MESH_WAIT_MS);
		struct envelope env;

		assert_true(len > 0);
		data.len = (uint32_t)len - 1;
		while (envelope_get(&data, &env, NULL) == 0)
			if (env.kind == ENVELOPE_CONTROL && env.type == type)
				return;
	}
}

static void send_piece(struct hostile *peer, uint64_t id, uint64_t total, uint32_t len)
{
	static const uint8_t data[60000];

	hostile_say(peer, &(struct envelope){.kind = ENVELOPE_CONTROL, .type = LINK_PIECE, .id = id}, &link_piece_record,
		&(struct link_piece){.total = total, .data = {data, len}});
}

/* Before a link is in use nobody's pieces are kept. */
static void early_piece(void **state)
{
	struct hostile peer = {0};
	struct qmt_err err = {0};

	(void)state;
	do /* the side that decides, and does not */
		identity_generate(&peer.identity);
	while (peer_id_compare(&peer.identity.id, &node.identity.id) > 0);
	assert_int_equal(hostile_open(&peer, node.port, HOSTILE_KNOWN, &err), 0);
	send_piece(&peer, 1, 1000000, 60000);
	hostile_wait_cut(&peer);
	assert_int_equal(logged("not in use yet"), 2); /* link.hostile and link.cut */
	hostile_close(&peer);
}

/* All links together hold no more than reassembly_node_bytes; what one gives back another may have. */
static void pieces_of_all(void **state)
{
	struct hostile peers[3];

	(void)state;
	mesh_node_stop(&node);
	node.config.limits.body_bytes = node.config.limits.reassembly_bytes = 65536;
	node.config.limits.reassembly_node_bytes = 100000;
	mesh_node_start(&node);
	open_link(&peers[0]);
	send_piece(&peers[0], 1, 61000, 60000);
	hostile_say(&peers[0], &(struct envelope){.kind = ENVELOPE_CONTROL, .type = LINK_PING}, &link_stamp_record,
		&(struct link_stamp){.stamp = 1});
	wait_control(&peers[0], LINK_PONG); /* it is held now */
	assert_int_equal(hostile_open(&peers[1], node.port, 0, &(struct qmt_err){0}), 0);
	hostile_says_use(&peers[1], 1);
	mesh_until(two_are_up, NULL, "the second link is up");
	send_piece(&peers[1], 1, 61000, 60000);
	hostile_wait_cut(&peers[1]);
	assert_int_equal(logged("more than reassembly_node_bytes"), 2);
	hostile_close(&peers[0]);
	hostile_close(&peers[1]);
	mesh_until(no_links, NULL, "both links are gone");
	assert_int_equal(ftruncate(log_fd, 0), 0);
	(void)lseek(log_fd, 0, SEEK_SET);
	open_link(&peers[2]);
	send_piece(&peers[2], 1, 61000, 60000);
	hostile_say(&peers[2], &(struct envelope){.kind = ENVELOPE_CONTROL, .type = LINK_PING}, &link_stamp_record,
		&(struct link_stamp){.stamp = 1});
	wait_control(&peers[2], LINK_PONG);
	hostile_close(&peers[2]);
}

/* A peer that asks without end and reads nothing is cut when twice queue_bytes of answers wait. */
static void never_reads(void **state)
{
	struct hostile peer;
	struct qmt_buf frame = {0};
	uint64_t deadline = qmt_os_real_now_ms() + MESH_WAIT_MS;

	(void)state;
	mesh_node_stop(&node);
	node.config.limits.queue_bytes = 100000;
	mesh_node_start(&node);
	open_link(&peer);
	for (uint64_t i = 1; !logged("does not read") && qmt_os_real_now_ms() < deadline; i++) {
		static const uint8_t body[] = {0x81, 0x06, 0xcd, 0xc3, 0x50}; /* pad: 50,000 bytes of answer */
		struct envelope env = {.kind = ENVELOPE_ASK,
			.id = i,
			.to_name = qmt_str("probe"),
			.type = 1,
			.type_name = qmt_str("probe.say"),
			.deadline_ms = 1000};

		frame.len = 0;
		for (int n = 0; n < 16; n++)
			hostile_put_envelope(&frame, &env, body, sizeof(body));
		if (zmq_send(peer.socket, frame.data, frame.len, ZMQ_DONTWAIT) < 0)
			(void)poll(NULL, 0, 1); /* polls: a full socket of a stranger; deadline above */
	}
	mesh_until(is_logged, "read", "it is cut");
	mesh_until(no_links, NULL, "the link is gone");
	qmt_buf_free(&frame);
	hostile_close(&peer);
}

/* The owner's and local messages, from a peer, by name and by a number it made up, reach nobody. */
static void may_not(void **state)
{
	static const char *const types[] = {
		"probe.owner", "probe.secret", "probe.event", "peers.forget", "peers.list", "link.end", "wire.cut"};
	struct hostile peer;
	struct qmt_buf frame = {0};
	uint8_t room[4096];
	int errors = 0;

	(void)state;
	open_link(&peer);
	for (uint32_t i = 0; i < 7; i++) {
		struct envelope env = {.kind = ENVELOPE_ASK,
			.id = i + 1,
			.to_name = qmt_str(i < 3 ? "probe" : "peers"),
			.type = 10 + i,
			.type_name = qmt_str(types[i]),
			.deadline_ms = 1000};

		frame.len = 0;
		hostile_put_envelope(&frame, &env, "\x80", 1);
		env.to_name = (struct qmt_str){0};
		env.to = 1 + i;
		env.id += 100;
		hostile_put_envelope(&frame, &env, "\x80", 1);
		hostile_send(&peer, frame.data, frame.len);
	}
	while (errors < 14) {
		struct qmt_bytes data = {room + 1, 0};
		int len = hostile_receive(&peer, room, sizeof(room), MESH_WAIT_MS);
		struct envelope env;

		assert_true(len > 0);
		data.len = (uint32_t)len - 1;
		while (envelope_get(&data, &env, NULL) == 0) {
			assert_int_not_equal(env.kind, ENVELOPE_REPLY);
			errors += env.kind == ENVELOPE_ERROR;
		}
	}
	assert_int_equal(mesh_totals(&node).events, 0);
	qmt_buf_free(&frame);
	hostile_close(&peer);
}

/* When the deadline of an ask has passed, or its asker has ended, the peer is told that nobody waits any more. */
static void asks_are_cancelled(void **state)
{
	struct hostile peer;
	struct qmt_ref asker;
	struct qmt_err err = {0};
	struct probe_ask_peer ask = {.timeout_ms = 50};
	char id[PEER_ID_TEXT + 1];
	uint64_t asked;

	(void)state;
	mesh_node_stop(&node);
	node.config.limits.suspect_ms = 100;
	mesh_node_start(&node);
	open_link(&peer);
	peer_id_text(&peer.identity.id, id);
	ask.peer = qmt_str(id);
	assert_int_equal(qmt_tell(node.ctx, node.probe, &probe_ask_peer_type, &ask), 0);
	asked = hostile_wait(&peer, ENVELOPE_ASK).id;
	assert_int_equal(hostile_wait(&peer, ENVELOPE_CANCEL).id, asked);
	/* an actor that ends while it waits for an hour */
	assert_int_equal(qmt_spawn(node.ctx, &probe_desc, NULL, &asker, &err), 0);
	ask.timeout_ms = 3600000;
	assert_int_equal(qmt_tell(node.ctx, asker, &probe_ask_peer_type, &ask), 0);
	asked = hostile_wait(&peer, ENVELOPE_ASK).id;
	assert_int_equal(qmt_stop(node.ctx, asker), 0);
	assert_int_equal(hostile_wait(&peer, ENVELOPE_CANCEL).id, asked);
	hostile_close(&peer);
}

/* The choices of the side that decides may arrive in another order than they were made: the highest number holds, and
 * the link that lost before it was ever used is retired. */
static void choices_out_of_order(void **state)
{
	struct hostile first = {0}, second;
	struct qmt_err err = {0};
	struct probe_ask_peer ask = {.timeout_ms = 5000};
	char id[PEER_ID_TEXT + 1];

	(void)state;
	do
		identity_generate(&first.identity);
	while (peer_id_compare(&first.identity.id, &node.identity.id) > 0);
	second = first;
	assert_int_equal(hostile_open(&first, node.port, HOSTILE_KNOWN, &err), 0);
	assert_int_equal(hostile_open(&second, node.port, HOSTILE_KNOWN, &err), 0);
	hostile_says_use(&second, 2);
	mesh_until(is_logged, "link.up", "the second link is up");
	hostile_says_use(&first, 1);
	wait_control(&first, LINK_BYE);
	peer_id_text(&first.identity.id, id);
	ask.peer = qmt_str(id);
	assert_int_equal(qmt_tell(node.ctx, node.probe, &probe_ask_peer_type, &ask), 0);
	(void)hostile_wait(&second, ENVELOPE_ASK).id;
	/* said twice, or by the side that may not: nothing changes */
	hostile_says_use(&second, 2);
	hostile_says_use(&second, 1);
	assert_int_equal(logged("link.up"), 1);
	hostile_close(&first);
	hostile_close(&second);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(garbage),
		CASE(silent),
		CASE(plain_zmtp),
		CASE(many_unproven),
		CASE(silent_ones_make_room),
		CASE(long_first_frame),
		CASE(endless_parts),
		CASE(malformed_hello),
		CASE(relayed_hello),
		CASE(chosen_routing_id),
		CASE(bad_frames),
		CASE(bad_bodies),
		CASE(bad_pieces),
		CASE(early_piece),
		CASE(pieces_of_all),
		CASE(never_reads),
		CASE(may_not),
		CASE(asks_are_cancelled),
		CASE(choices_out_of_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
