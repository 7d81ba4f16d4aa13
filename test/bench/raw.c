/* test/bench/raw.c - the limits that our figures are ratios to: what is below any runtime, measured on the same machine
 * in the same minute.
 *
 *      raw queue     a multi-producer queue (Vyukov's, intrusive), one message in, one out, one thread
 *      raw pages     first touch of fresh memory, 192 bytes of it, as a slab of actors does it
 *      raw curve     two processes, a DEALER and a ROUTER with CURVE, blocking calls, no actors: asks with 100 bytes;
 *                    tells of 100 bytes, 32 a frame through msgpack-c; the same without any encoding, 128 a frame
 *      raw codec     a tell of 100 bytes with its envelope through proto/: written, and read into a struct
 *
 * Prints lines `<metric> <value>`. `…_cpu_ns`: processor time of both processes, all threads, for one.
 */
#include <msgpack.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "proto/codec.h"
#include "proto/envelope.h"
#include "runtime/base/os.h"

enum { WARM = 3000, ASKS = 30000, TELLS = 1 << 20, SIZE = 100, KEY = 41, HWM = 1000 };

static void die(const char *what)
{
	(void)fprintf(stderr, "raw: %s: %s\n", what, zmq_strerror(zmq_errno()));
	_exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static void say(const char *metric, double value)
{
	printf("%s %.2f\n", metric, value);
}

/* ---- the queue --------------------------------------------------------------------------------------------------- */

struct item {
	_Atomic(struct item *) next;
};
struct queue {
	_Atomic(struct item *) last;
	struct item *first;
	struct item stub;
};

static void put(struct queue *queue, struct item *item)
{
	struct item *before;

	atomic_store_explicit(&item->next, NULL, memory_order_relaxed);
	before = atomic_exchange_explicit(&queue->last, item, memory_order_acq_rel);
	atomic_store_explicit(&before->next, item, memory_order_release);
}

static struct item *take(struct queue *queue)
{
	struct item *item = queue->first, *next = atomic_load_explicit(&item->next, memory_order_acquire);

	if (item == &queue->stub) {
		if (!next)
			return NULL;
		queue->first = item = next;
		next = atomic_load_explicit(&item->next, memory_order_acquire);
	}
	if (!next) {
		if (item != atomic_load_explicit(&queue->last, memory_order_acquire))
			return NULL;
		put(queue, &queue->stub);
		next = atomic_load_explicit(&item->next, memory_order_acquire);
		if (!next)
			return NULL;
	}
	queue->first = next;
	return item;
}

static int bench_queue(void)
{
	enum { TIMES = 20000000 };
	static struct queue queue;
	static struct item item;
	uint64_t began;

	queue.first = &queue.stub;
	atomic_store(&queue.last, &queue.stub);
	began = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (int i = 0; i < TIMES; i++) {
		put(&queue, &item);
		if (take(&queue) != &item)
			die("the queue");
	}
	say("raw_queue_ns", (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - began) / TIMES);
	return 0;
}

/* ---- pages ------------------------------------------------------------------------------------------------------- */

static int bench_pages(void)
{
	enum { REGION = 256 << 10, REGIONS = 768, ACTOR = 192, LINE = 64 };
	uint64_t began = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	for (int i = 0; i < REGIONS; i++) {
		char *region = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		if (region == MAP_FAILED)
			die("mmap");
		/* That it is populated is not enough: a host that builds its own tables sees the first store. */
		for (size_t at = 0; at < REGION; at += LINE)
			*(volatile char *)(region + at) = 1;
	}
	say("raw_pages_ns", (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - began) / ((double)REGION * REGIONS / ACTOR));
	return 0;
}

/* ---- CURVE ------------------------------------------------------------------------------------------------------- */

static char server_public[KEY], server_secret[KEY], client_public[KEY], client_secret[KEY];
static const char payload[SIZE] = {7};

static void must(int rc, const char *what)
{
	if (rc < 0)
		die(what);
}

static void *server_socket(void *context, int pipe_fd)
{
	void *socket = zmq_socket(context, ZMQ_ROUTER);
	int one = 1, zero = 0, hwm = HWM;
	char endpoint[128] = "";
	size_t len = sizeof(endpoint);

	must(zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &one, sizeof(one)), "CURVE");
	must(zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, server_secret, KEY), "CURVE");
	must(zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof(zero)), "LINGER");
	must(zmq_setsockopt(socket, ZMQ_RCVHWM, &hwm, sizeof(hwm)), "RCVHWM");
	must(zmq_bind(socket, "tcp://127.0.0.1:*"), "bind");
	must(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &len), "endpoint");
	must((int)write(pipe_fd, endpoint, sizeof(endpoint)), "pipe");
	return socket;
}

static void *client_socket(void *context, int pipe_fd)
{
	void *socket = zmq_socket(context, ZMQ_DEALER);
	int hwm = HWM;
	char endpoint[128];

	must((int)read(pipe_fd, endpoint, sizeof(endpoint)), "pipe");
	must(zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server_public, KEY), "CURVE");
	must(zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, client_public, KEY), "CURVE");
	must(zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, client_secret, KEY), "CURVE");
	must(zmq_setsockopt(socket, ZMQ_SNDHWM, &hwm, sizeof(hwm)), "SNDHWM");
	must(zmq_connect(socket, endpoint), "connect");
	return socket;
}

/* Answers an ask with its own bytes. */
static void echo(void *socket)
{
	char id[256], body[256];
	int id_len = zmq_recv(socket, id, sizeof(id), 0), len = zmq_recv(socket, body, sizeof(body), 0);

	must(id_len, "recv");
	must(len, "recv");
	must(zmq_send(socket, id, (size_t)id_len, ZMQ_SNDMORE), "send");
	must(zmq_send(socket, body, (size_t)len, 0), "send");
}

static void ask(void *socket)
{
	char body[256];

	must(zmq_send(socket, payload, SIZE, 0), "send");
	must(zmq_recv(socket, body, sizeof(body), 0), "recv");
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void asks(void)
{
	static uint64_t took[ASKS];
	int fds[2];

	must(pipe(fds), "pipe");
	(void)fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		void *socket = server_socket(zmq_ctx_new(), fds[1]);

		for (int i = 0; i < WARM + ASKS; i++)
			echo(socket);
		(void)pause(); /* the last answer is still on its way; the parent ends us */
	}
	void *context = zmq_ctx_new(), *socket = client_socket(context, fds[0]);
	for (int i = 0; i < WARM + ASKS; i++) {
		uint64_t began = now_ns();

		ask(socket);
		if (i >= WARM)
			took[i - WARM] = now_ns() - began;
	}
	qsort(took, ASKS, sizeof(took[0]), compare);
	say("raw_ask_p50_us", (double)took[ASKS / 2] / 1e3);
	say("raw_ask_p99_us", (double)took[ASKS * 99 / 100] / 1e3);
	(void)kill(child, SIGKILL);
	(void)waitpid(child, NULL, 0);
	(void)zmq_close(socket);
	(void)zmq_ctx_term(context);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

/* The six fields around a tell, as msgpack-c's users write them. */
static void pack(msgpack_packer *packer, uint64_t number)
{
	msgpack_pack_array(packer, 6);
	msgpack_pack_uint8(packer, 1);
	msgpack_pack_uint64(packer, number);
	msgpack_pack_uint64(packer, 0x1234567890);
	msgpack_pack_uint64(packer, 0x9876543210);
	msgpack_pack_str(packer, 7);
	msgpack_pack_str_body(packer, "counter", 7);
	msgpack_pack_bin(packer, SIZE);
	msgpack_pack_bin_body(packer, payload, SIZE);
}

static uint64_t unpack_all(msgpack_unpacked *unpacked, const char *data, size_t len)
{
	uint64_t count = 0;
	size_t at = 0;

	while (at < len) {
		if (msgpack_unpack_next(unpacked, data, len, &at) != MSGPACK_UNPACK_SUCCESS ||
			unpacked->data.via.array.ptr[5].via.bin.size != SIZE)
			die("msgpack");
		count++;
	}
	return count;
}

static void receive_tells(int pipe_fd, uint32_t batch, bool encoded)
{
	void *socket = server_socket(zmq_ctx_new(), pipe_fd);
	msgpack_unpacked unpacked;
	uint64_t count = 0;

	msgpack_unpacked_init(&unpacked);
	echo(socket);
	while (count < TELLS) {
		zmq_msg_t frame;

		zmq_msg_init(&frame);
		must(zmq_msg_recv(&frame, socket, 0), "recv");
		must(zmq_msg_recv(&frame, socket, 0), "recv");
		count += encoded ? unpack_all(&unpacked, zmq_msg_data(&frame), zmq_msg_size(&frame)) : batch;
		zmq_msg_close(&frame);
	}
	echo(socket);
	(void)pause();
}

static uint64_t used_ns(pid_t child)
{
	clockid_t clock;

	if (clock_getcpuclockid(child, &clock))
		die("clock of the child");
	return clock_ns(clock) + clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void tells(const char *name, uint32_t batch, bool encoded)
{
	int fds[2];
	char metric[64];
	msgpack_sbuffer buffer;
	msgpack_packer packer;

	must(pipe(fds), "pipe");
	(void)fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		receive_tells(fds[1], batch, encoded);
	void *context = zmq_ctx_new(), *socket = client_socket(context, fds[0]);
	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	ask(socket);
	uint64_t used = used_ns(child), began = now_ns();
	for (uint32_t i = 0; i < TELLS; i += batch) {
		if (encoded || i == 0) {
			msgpack_sbuffer_clear(&buffer);
			for (uint32_t k = 0; k < batch; k++)
				pack(&packer, i + k);
		}
		must(zmq_send(socket, buffer.data, buffer.size, 0), "send");
	}
	ask(socket);
	uint64_t took = now_ns() - began;
	used = used_ns(child) - used;
	(void)snprintf(metric, sizeof(metric), "%s_kmps", name);
	say(metric, TELLS * 1e6 / (double)took);
	(void)snprintf(metric, sizeof(metric), "%s_cpu_ns", name);
	say(metric, (double)used / TELLS);
	(void)kill(child, SIGKILL);
	(void)waitpid(child, NULL, 0);
	msgpack_sbuffer_destroy(&buffer);
	(void)zmq_close(socket);
	(void)zmq_ctx_term(context);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static int bench_curve(void)
{
	if (zmq_curve_keypair(server_public, server_secret) || zmq_curve_keypair(client_public, client_secret))
		die("this libzmq has no CURVE");
	qmt_os_heap_keep(); /* as qmtd does */
	asks();
	tells("raw_tell32", 32, true);
	tells("raw_tell128_bare", 128, false);
	return 0;
}

/* ---- the codec --------------------------------------------------------------------------------------------------- */

#define TELL(F, T)             \
	F(T, U64, n, 1, "Number.") \
	F(T, BYTES, data, 2, "100 bytes.")
QMT_DECLARE_RECORD(tell, TELL)
QMT_DEFINE_RECORD(tell, TELL, "What test/bench/remote.c tells.")

static int bench_codec(void)
{
	enum { TIMES = 2000000 };
	struct envelope env = {.kind = ENVELOPE_TELL, .to = 5, .type = 7};
	struct qmt_buf out = {0};
	uint64_t began = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	char room[256];

	for (uint64_t i = 0; i < TIMES; i++) {
		struct tell body = {.n = i, .data = {(const uint8_t *)payload, SIZE}};

		out.len = 0;
		envelope_put(&out, &env);
		if (codec_encode(&tell_record, &body, NULL, &out))
			die("the codec");
	}
	say("codec_encode_ns", (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - began) / TIMES);
	began = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (uint64_t i = 0; i < TIMES; i++) {
		struct qmt_bytes data = {(const uint8_t *)out.data, (uint32_t)out.len};
		struct tell body;

		if (envelope_get(&data, &env, NULL) || codec_decode_one(&tell_record, env.body, NULL, &body, room, NULL) ||
			body.data.len != SIZE)
			die("the codec");
	}
	say("codec_decode_ns", (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - began) / TIMES);
	qmt_buf_free(&out);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(void);
	} all[] = {{"queue", bench_queue}, {"pages", bench_pages}, {"curve", bench_curve}, {"codec", bench_codec}};

	for (size_t i = 0; argc == 2 && i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(argv[1], all[i].name) == 0)
			return all[i].run();
	(void)fprintf(stderr, "usage: raw queue|pages|curve|codec\n");
	return 2;
}
