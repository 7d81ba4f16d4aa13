/* test/bench/remote.c - asks and tells between two nodes, encrypted, through all layers of this tree.
 *
 *      remote rserver WORKERS            prints the address to give to the client, serves until killed
 *      remote rclient WORKERS ADDRESS    3,000 + 30,000 asks with 100 bytes, then 1,000,000 tells of 100 bytes and
 *                                        one ask that returns the count; prints remote_ask_p50_us,
 *                                        remote_ask_p99_us, remote_tell_kmps, remote_tell_cpu_ns
 *
 * remote_tell_cpu_ns is the processor time of both processes, all threads, for one tell: what it costs, whoever else
 * wants the processors. QMT_BENCH_ASKS and QMT_BENCH_TELLS set other numbers (for profiles).
 */
#include <errno.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "proto/contract/contract.h"
#include "runtime/base/os.h"
#include "transports/transports.h"

#define BENCH_PAYLOAD(F, T)    \
	F(T, U64, n, 1, "Number.") \
	F(T, BYTES, data, 2, "100 bytes.")
#define BENCH_WHERE(F, T) F(T, REF, service, 1, "Whom to send to.")
#define BENCH_MESSAGES(M)                                                                                        \
	M(bench, where, QMT_NO_FIELDS, "node_info", "Where it is.", here)                                            \
	M(bench, echo, BENCH_PAYLOAD, "node_info", "Says it back.", echoed)                                          \
	M(bench, count, BENCH_PAYLOAD, "node_info", "Counted.")                                                      \
	M(bench, report, QMT_NO_FIELDS, "node_info", "n of the answer is the count, data the processor time in ns.", \
		echoed)                                                                                                  \
	M(bench, here, BENCH_WHERE, "reply", "Answer.")                                                              \
	M(bench, echoed, BENCH_PAYLOAD, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(bench, BENCH_MESSAGES)
QMT_DEFINE_PROTOCOL(bench, BENCH_MESSAGES, "For measuring links.")

enum { WARM = 3000, ASKS = 30000, TELLS = 1000000, BURST = 256, SIZE = 100, CONNECT_MS = 10000 };

static uint64_t process_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t from_env(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static const uint8_t payload[SIZE] = {7};

/* ---- server ------------------------------------------------------------------------------------------------------ */

struct service {
	uint64_t count;
};

static void on_where(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	(void)body;
	QMT_REPLY(ctx, qmt_token(ctx), bench_here, .service = qmt_self(ctx));
}

static void on_echo(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct bench_echo *msg = body;

	(void)state;
	QMT_REPLY(ctx, qmt_token(ctx), bench_echoed, .n = msg->n, .data = msg->data);
}

static void on_count(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct service *service = state;

	(void)ctx;
	(void)body;
	service->count++;
}

static void on_report(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct service *service = state;
	uint64_t used = process_ns();

	(void)body;
	QMT_REPLY(ctx, qmt_token(ctx), bench_echoed, .n = service->count,
		.data = {(const uint8_t *)&used, (uint32_t)sizeof(used)});
	service->count = 0;
}

static qmt_handler *const service_handlers[bench_message_count] = {
	[bench_where_id] = on_where,
	[bench_echo_id] = on_echo,
	[bench_count_id] = on_count,
	[bench_report_id] = on_report,
};
static const struct qmt_actor_desc service_desc = {
	.abi = QMT_ABI,
	.name = "service",
	.state_size = sizeof(struct service),
	.accepts = {{&bench_protocol, service_handlers}},
};

/* ---- client ------------------------------------------------------------------------------------------------------ */

struct client {
	const char *peer;
	struct qmt_ref service;
	uint64_t asked, began_ns, left, asks, tells;
	uint64_t used_ns; /* by both processes before the tells */
	uint64_t *latencies;
};

static void die(const char *what)
{
	(void)fprintf(stderr, "remote: %s\n", what);
	_exit(1);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Processor time of the server, which it has reported, and of this process. */
static uint64_t used_by_both(const struct qmt_result *result)
{
	struct qmt_bytes data = ((const struct bench_echoed *)result->body)->data;
	uint64_t used = 0;

	if (data.len == sizeof(used))
		memcpy(&used, data.p, sizeof(used));
	return used + process_ns();
}

static void on_total(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct client *client = state;
	uint64_t took = qmt_now_ns(ctx) - client->began_ns, used;

	(void)arg;
	if (result->fail || ((const struct bench_echoed *)result->body)->n != client->tells)
		die(result->fail ? qmt_fail_name(result->fail) : "messages were lost");
	used = used_by_both(result) - client->used_ns;
	qsort(client->latencies, client->asks, sizeof(uint64_t), compare);
	printf("remote_ask_p50_us %.2f\nremote_ask_p99_us %.2f\nremote_tell_kmps %.0f\nremote_tell_cpu_ns %.0f\n",
		(double)client->latencies[client->asks / 2] / 1e3, (double)client->latencies[client->asks * 99 / 100] / 1e3,
		(double)client->tells * 1e6 / (double)took, (double)used / (double)client->tells);
	(void)fflush(stdout);
	_exit(0);
}

/* Gives way every BURST sends, as docs/guide tells authors to. */
static void tell_on(struct qmt_ctx *ctx, void *state)
{
	struct client *client = state;

	for (int i = 0; i < BURST && client->left; i++, client->left--)
		if (QMT_TELL(ctx, client->service, bench_count, .n = client->left, .data = {payload, SIZE}))
			die("a tell was refused");
	if (client->left)
		qmt_again(ctx);
	else if (QMT_ASK(ctx, client->service, 60000, on_total, NULL, bench_report, ))
		die("the last ask was refused");
}

static void on_ready(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct client *client = state;

	(void)arg;
	if (result->fail)
		die(qmt_fail_name(result->fail));
	client->used_ns = used_by_both(result);
	client->began_ns = qmt_now_ns(ctx);
	client->left = client->tells;
	tell_on(ctx, client);
}

static void ask_next(struct qmt_ctx *ctx, struct client *client);

static void on_echoed(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct client *client = state;
	const struct bench_echoed *echoed = result->body;

	(void)arg;
	if (result->fail || echoed->n != client->asked || echoed->data.len != SIZE)
		die(result->fail ? qmt_fail_name(result->fail) : "a wrong answer");
	if (client->asked >= WARM)
		client->latencies[client->asked - WARM] = qmt_now_ns(ctx) - client->began_ns;
	if (++client->asked < WARM + client->asks)
		ask_next(ctx, client);
	else if (QMT_ASK(ctx, client->service, 0, on_ready, NULL, bench_report, ))
		die("an ask was refused");
}

static void ask_next(struct qmt_ctx *ctx, struct client *client)
{
	client->began_ns = qmt_now_ns(ctx);
	if (QMT_ASK(ctx, client->service, 0, on_echoed, NULL, bench_echo, .n = client->asked, .data = {payload, SIZE}))
		die("an ask was refused");
}

static void on_here(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct client *client = state;

	(void)arg;
	if (result->fail)
		die(qmt_fail_name(result->fail));
	client->service = ((const struct bench_here *)result->body)->service;
	ask_next(ctx, client);
}

static int client_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct client *client = state;

	client->peer = config;
	client->asks = from_env("QMT_BENCH_ASKS", ASKS);
	client->tells = from_env("QMT_BENCH_TELLS", TELLS);
	client->latencies = calloc(client->asks + 1, sizeof(uint64_t));
	if (!client->latencies ||
		qmt_ask_name(ctx, client->peer, "service", &bench_where_type, &(struct bench_where){}, 0, on_here, NULL))
		die("the server cannot be asked");
	return 0;
}

static void tell_came_back(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body, int reason)
{
	(void)ctx;
	(void)state;
	(void)type;
	(void)body;
	die(qmt_fail_name(reason));
}

static const struct qmt_actor_desc client_desc = {
	.abi = QMT_ABI,
	.name = "client",
	.state_size = sizeof(struct client),
	.start = client_start,
	.undelivered = tell_came_back,
	.again = tell_on,
};

/* ---- both -------------------------------------------------------------------------------------------------------- */

static void wait_for(struct qmt_ctx *ctx, const char *peer)
{
	uint64_t deadline = qmt_os_real_now_ms() + CONNECT_MS;
	char name[80];
	struct qmt_ref link;

	(void)snprintf(name, sizeof(name), "peer/%s", peer);
	while (qmt_lookup(ctx, name, &link)) {
		if (qmt_os_real_now_ms() > deadline)
			die("no connection");
		(void)poll(NULL, 0, 1);
	}
	(void)poll(NULL, 0, 100); /* both sides are idle before the clock starts */
}

int main(int argc, char **argv)
{
	bool serves = argc > 2 && strcmp(argv[1], "rserver") == 0;
	struct qmt_err err = {0};
	struct qmt_system_options options = {.workers = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0};
	struct multiaddr listen = {.host_kind = MULTIADDR_IP4, .transport = MULTIADDR_TCP, .host = "127.0.0.1"};
	struct transports_peer server = {.name = "server"};
	struct transports_config config = {.node_name = "bench", .listen = &listen, .listen_count = 1, .peers = &server};
	struct identity identity;
	struct transports *transports;
	struct qmt_system *system;
	struct qmt_ctx *ctx;
	struct qmt_ref unused;
	char text[MULTIADDR_TEXT], peer[PEER_ID_TEXT + 1];

	if (argc < 3 || (!serves && (argc < 4 || strcmp(argv[1], "rclient") != 0))) {
		(void)fprintf(stderr, "usage: remote rserver WORKERS | remote rclient WORKERS ADDRESS\n");
		return 2;
	}
	if (!serves && multiaddr_parse(qmt_str(argv[3]), &server.addr, &err))
		die(err.text);
	qmt_os_heap_keep(); /* as qmtd does */
	if (identity_crypto_init())
		die("libsodium does not start");
	identity_generate(&identity);
	config.identity = &identity;
	config.peer_count = !serves;
	config.without_store = true;
	transports_limits_default(&config.limits);
	system = qmt_system_start(&options, &err);
	ctx = system ? qmt_outside_open(system) : NULL;
	if (!ctx || transports_start(ctx, &config, &transports, &err))
		die(err.text);
	if (serves) {
		if (qmt_spawn(ctx, &service_desc, &(struct qmt_spawn){.name = "service"}, &unused, &err))
			die(err.text);
		(void)transports_listening(transports, 0, &listen);
		multiaddr_text(&listen, text);
		printf("%s\n", text);
		(void)fflush(stdout);
	} else {
		peer_id_text(&server.addr.peer, peer);
		wait_for(ctx, peer);
		if (qmt_spawn(ctx, &client_desc, &(struct qmt_spawn){.config = peer}, &unused, &err))
			die(err.text);
	}
	for (;;)
		(void)pause();
}
