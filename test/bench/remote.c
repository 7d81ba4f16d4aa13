/* test/bench/remote.c - asks and tells between two nodes, encrypted, through all layers of this tree.
 *
 *      remote rserver WORKERS            prints the address to give to the client, serves until killed
 *      remote rclient WORKERS ADDRESS    3,000 + 30,000 asks with 100 bytes, then 1,000,000 tells of 100 bytes and
 * one ask that
 *                                        returns the count; prints remote_ask_p50_us, remote_ask_p99_us,
 * remote_tell_kmps
 */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "proto/contract/contract.h"
#include "runtime/base/os.h"
#include "transports/transports.h"

#define BENCH_PAYLOAD(F, T)    \
	F(T, U64, n, 1, "Number.") \
	F(T, BYTES, data, 2, "100 bytes.")
#define BENCH_WHERE(F, T) F(T, REF, service, 1, "Whom to send to.")
#define BENCH_MESSAGES(M)                                                                 \
	M(bench, where, QMT_NO_FIELDS, "node_info", "Where it is.", here)                     \
	M(bench, echo, BENCH_PAYLOAD, "node_info", "Says it back.", echoed)                   \
	M(bench, count, BENCH_PAYLOAD, "node_info", "Counted.")                               \
	M(bench, report, QMT_NO_FIELDS, "node_info", "n of the answer is the count.", echoed) \
	M(bench, here, BENCH_WHERE, "reply", "Answer.")                                       \
	M(bench, echoed, BENCH_PAYLOAD, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(bench, BENCH_MESSAGES)
QMT_DEFINE_PROTOCOL(bench, BENCH_MESSAGES, "For measuring links.")

enum { WARM = 3000, ASKS = 30000, TELLS = 1000000, BURST = 256, SIZE = 100, CONNECT_MS = 10000 };

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

	(void)body;
	QMT_REPLY(ctx, qmt_token(ctx), bench_echoed, .n = service->count);
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
	uint64_t asked, began_ns, left;
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

static void on_total(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct client *client = state;
	uint64_t took = qmt_now_ns(ctx) - client->began_ns;

	(void)arg;
	if (result->fail || ((const struct bench_echoed *)result->body)->n != TELLS)
		die(result->fail ? qmt_fail_name(result->fail) : "messages were lost");
	qsort(client->latencies, ASKS, sizeof(uint64_t), compare);
	printf("remote_ask_p50_us %.2f\nremote_ask_p99_us %.2f\nremote_tell_kmps %.0f\n",
		(double)client->latencies[ASKS / 2] / 1e3, (double)client->latencies[ASKS * 99 / 100] / 1e3,
		TELLS * 1e6 / (double)took);
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
	if (++client->asked < WARM + ASKS) {
		ask_next(ctx, client);
		return;
	}
	client->began_ns = qmt_now_ns(ctx);
	client->left = TELLS;
	tell_on(ctx, client);
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
	client->latencies = calloc(ASKS, sizeof(uint64_t));
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
	if (identity_crypto_init())
		die("libsodium does not start");
	identity_generate(&identity);
	config.identity = &identity;
	config.peer_count = !serves;
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
