/* test/bench/actors.c - the runtime's own benchmarks, written the way the guide tells authors to write.
 *
 *     actors NAME WORKERS      pingpong ring fanin fork ask spawn skynet
 *
 * Prints lines `<metric> <value>`; `<work>_cpu_ns` is the processor time of the process for one. An unknown name prints
 * nothing and ends with 2. Set-up is not timed: the actors exist and are idle before the clock starts.
 * QMT_BENCH_DIV=n does one n-th of the work (for sanitizers). QMT_BENCH_TRACE set: all of it carries a trace.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/os.h"
#include "runtime/system.h"

enum { GIVE_WAY = 256, PATIENCE_MS = 300000 };

#define BENCH_BALL(F, T) F(T, U64, left, 1, "Hops left.")
#define BENCH_PEERS(F, T) F(T, REF, next, 1, "Whom to send to.") F(T, U64, count, 2, "How many.")
#define BENCH_ITEM(F, T) F(T, U64, value, 1, "Any.")
#define BENCH_RANGE(F, T) F(T, U64, first, 1, "First number.") F(T, U64, size, 2, "How many.")
#define BENCH_MESSAGES(M)                                                \
	M(bench, ball, BENCH_BALL, "local", "Goes around.")                  \
	M(bench, peers, BENCH_PEERS, "local", "Set-up.", ready)              \
	M(bench, ready, QMT_NO_FIELDS, "reply", "Answer to peers and wait.") \
	M(bench, go, QMT_NO_FIELDS, "local", "The clock runs.")              \
	M(bench, item, BENCH_ITEM, "local", "Counted, summed or echoed.")    \
	M(bench, range, BENCH_RANGE, "local", "To add up.")                  \
	M(bench, wait, QMT_NO_FIELDS, "local", "To the referee: answered when all is done.", ready)
QMT_DECLARE_PROTOCOL(bench, BENCH_MESSAGES)
QMT_DEFINE_PROTOCOL(bench, BENCH_MESSAGES, "Benchmarks.")

static struct qmt_ref referee_ref; /* const once the clock runs */

static void reply_ready(struct qmt_ctx *ctx)
{
	if (QMT_REPLY(ctx, qmt_token(ctx), bench_ready))
		abort();
}

/* ---- the referee: answers who waits when it has got as many items as expected ------------------------------------ */

struct referee {
	uint64_t want, sum;
	struct qmt_token waiting;
	bool waited;
};

static void referee_check(struct qmt_ctx *ctx, struct referee *referee)
{
	if (referee->want || !referee->waited)
		return;
	referee->waited = false;
	if (QMT_REPLY(ctx, referee->waiting, bench_ready))
		abort();
}

static void referee_peers(struct qmt_ctx *ctx, void *state, const void *body)
{
	((struct referee *)state)->want = ((const struct bench_peers *)body)->count;
	reply_ready(ctx);
}

static void referee_wait(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct referee *referee = state;

	(void)body;
	referee->waiting = qmt_token(ctx);
	referee->waited = true;
	referee_check(ctx, referee);
}

static void referee_item(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct referee *referee = state;

	referee->sum += ((const struct bench_item *)body)->value;
	referee->want--;
	referee_check(ctx, referee);
}

static qmt_handler *const referee_handlers[bench_message_count] = {
	[bench_peers_id] = referee_peers, [bench_wait_id] = referee_wait, [bench_item_id] = referee_item};
static const struct qmt_actor_desc referee_desc = {.abi = QMT_ABI,
	.name = "referee",
	.state_size = sizeof(struct referee),
	.accepts = {{&bench_protocol, referee_handlers}}};

static void done(struct qmt_ctx *ctx, uint64_t value)
{
	if (QMT_TELL(ctx, referee_ref, bench_item, .value = value))
		abort();
}

/* ---- ping-pong and ring ------------------------------------------------------------------------------------------ */

struct node {
	struct qmt_ref next;
};

static void node_peers(struct qmt_ctx *ctx, void *state, const void *body)
{
	((struct node *)state)->next = ((const struct bench_peers *)body)->next;
	reply_ready(ctx);
}

static void node_ball(struct qmt_ctx *ctx, void *state, const void *body)
{
	uint64_t left = ((const struct bench_ball *)body)->left;

	if (left == 0)
		done(ctx, 0);
	else
		QMT_TELL(ctx, ((struct node *)state)->next, bench_ball, .left = left - 1);
}

static qmt_handler *const node_handlers[bench_message_count] = {
	[bench_peers_id] = node_peers, [bench_ball_id] = node_ball};
static const struct qmt_actor_desc node_desc = {
	.abi = QMT_ABI, .name = "node", .state_size = sizeof(struct node), .accepts = {{&bench_protocol, node_handlers}}};

/* ---- fan-in: senders give way, the bounded counter makes them wait ----------------------------------------------- */

struct sender {
	struct qmt_ref to;
	uint64_t left;
};

static void sender_again(struct qmt_ctx *ctx, void *state)
{
	struct sender *sender = state;

	for (unsigned i = 0; i < GIVE_WAY && sender->left; i++)
		QMT_TELL(ctx, sender->to, bench_item, .value = sender->left--);
	if (sender->left)
		qmt_again(ctx);
}

static void sender_peers(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct bench_peers *peers = body;

	*(struct sender *)state = (struct sender){peers->next, peers->count};
	reply_ready(ctx);
}

static void sender_go(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)body;
	sender_again(ctx, state);
}

static qmt_handler *const sender_handlers[bench_message_count] = {
	[bench_peers_id] = sender_peers, [bench_go_id] = sender_go};
static const struct qmt_actor_desc sender_desc = {.abi = QMT_ABI,
	.name = "sender",
	.state_size = sizeof(struct sender),
	.accepts = {{&bench_protocol, sender_handlers}},
	.again = sender_again};

struct counter {
	uint64_t left, sum;
};

static void counter_peers(struct qmt_ctx *ctx, void *state, const void *body)
{
	((struct counter *)state)->left = ((const struct bench_peers *)body)->count;
	reply_ready(ctx);
}

static void counter_item(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct counter *counter = state;

	counter->sum += ((const struct bench_item *)body)->value;
	if (--counter->left == 0)
		done(ctx, counter->sum);
}

static qmt_handler *const counter_handlers[bench_message_count] = {
	[bench_peers_id] = counter_peers, [bench_item_id] = counter_item};
static const struct qmt_actor_desc counter_desc = {.abi = QMT_ABI,
	.name = "counter",
	.state_size = sizeof(struct counter),
	.bound = 1024,
	.accepts = {{&bench_protocol, counter_handlers}}};

/* ---- fork: one driver, round robin over 64 counters -------------------------------------------------------------- */

enum { FORK_WIDTH = 64 };

struct driver {
	struct qmt_ref to[FORK_WIDTH];
	uint32_t known;
	uint64_t left;
};

static void driver_again(struct qmt_ctx *ctx, void *state)
{
	struct driver *driver = state;

	for (unsigned round = 0; round < GIVE_WAY / FORK_WIDTH && driver->left; round++, driver->left--)
		for (unsigned i = 0; i < FORK_WIDTH; i++)
			QMT_TELL(ctx, driver->to[i], bench_item, .value = driver->left);
	if (driver->left)
		qmt_again(ctx);
}

static void driver_peers(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct bench_peers *peers = body;
	struct driver *driver = state;

	driver->to[driver->known++] = peers->next;
	driver->left = peers->count;
	reply_ready(ctx);
}

static void driver_go(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)body;
	driver_again(ctx, state);
}

static qmt_handler *const driver_handlers[bench_message_count] = {
	[bench_peers_id] = driver_peers, [bench_go_id] = driver_go};
static const struct qmt_actor_desc driver_desc = {.abi = QMT_ABI,
	.name = "driver",
	.state_size = sizeof(struct driver),
	.accepts = {{&bench_protocol, driver_handlers}},
	.again = driver_again};

/* ---- ask --------------------------------------------------------------------------------------------------------- */

struct asker {
	struct qmt_ref to;
	uint64_t left;
};

static void asker_next(struct qmt_ctx *ctx, struct asker *asker);

static void asker_answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct asker *asker = state;

	(void)arg;
	if (result->fail || ((const struct bench_item *)result->body)->value != asker->left)
		abort();
	if (--asker->left)
		asker_next(ctx, asker);
	else
		done(ctx, 0);
}

static void asker_next(struct qmt_ctx *ctx, struct asker *asker)
{
	if (QMT_ASK(ctx, asker->to, 0, asker_answered, NULL, bench_item, .value = asker->left))
		abort();
}

static void asker_peers(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct bench_peers *peers = body;

	*(struct asker *)state = (struct asker){peers->next, peers->count};
	reply_ready(ctx);
}

static void asker_go(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)body;
	asker_next(ctx, state);
}

static qmt_handler *const asker_handlers[bench_message_count] = {
	[bench_peers_id] = asker_peers, [bench_go_id] = asker_go};
static const struct qmt_actor_desc asker_desc = {.abi = QMT_ABI,
	.name = "asker",
	.state_size = sizeof(struct asker),
	.accepts = {{&bench_protocol, asker_handlers}}};

static void echo_item(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	if (QMT_REPLY(ctx, qmt_token(ctx), bench_item, .value = ((const struct bench_item *)body)->value))
		abort();
}

static qmt_handler *const echo_handlers[bench_message_count] = {[bench_item_id] = echo_item};
static const struct qmt_actor_desc echo_desc = {
	.abi = QMT_ABI, .name = "echo", .accepts = {{&bench_protocol, echo_handlers}}};

/* ---- spawn: kept, each has run its start ------------------------------------------------------------------------- */

static _Atomic uint64_t idlers_left;

static int idler_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)config;
	*(uint64_t *)state = 1;
	if (atomic_fetch_sub_explicit(&idlers_left, 1, memory_order_relaxed) == 1)
		done(ctx, 0);
	return 0;
}

static const struct qmt_actor_desc idler_desc = {
	.abi = QMT_ABI, .name = "idler", .state_size = sizeof(uint64_t), .start = idler_start};

struct nursery {
	struct qmt_ref *kept;
	uint64_t left;
};

static void nursery_again(struct qmt_ctx *ctx, void *state)
{
	struct nursery *nursery = state;

	for (unsigned i = 0; i < GIVE_WAY && nursery->left; i++)
		if (qmt_spawn(ctx, &idler_desc, NULL, &nursery->kept[--nursery->left], NULL))
			abort();
	if (nursery->left)
		qmt_again(ctx);
}

static void nursery_peers(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct nursery *nursery = state;

	nursery->left = ((const struct bench_peers *)body)->count;
	nursery->kept = calloc(nursery->left, sizeof *nursery->kept);
	if (!nursery->kept)
		abort();
	reply_ready(ctx);
}

static void nursery_go(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)body;
	nursery_again(ctx, state);
}

static void nursery_stop(struct qmt_ctx *ctx, void *state)
{
	(void)ctx;
	free(((struct nursery *)state)->kept);
}

static qmt_handler *const nursery_handlers[bench_message_count] = {
	[bench_peers_id] = nursery_peers, [bench_go_id] = nursery_go};
static const struct qmt_actor_desc nursery_desc = {.abi = QMT_ABI,
	.name = "nursery",
	.state_size = sizeof(struct nursery),
	.accepts = {{&bench_protocol, nursery_handlers}},
	.again = nursery_again,
	.stop = nursery_stop};

/* ---- skynet: ten children each; sums go up, who has reported ends ------------------------------------------------ */

struct range {
	uint64_t first, size;
};

/* config: the range to add up. A parent outlives its children, so it keeps theirs. */
struct sky {
	uint64_t sum;
	uint32_t left;
	struct range parts[10];
};

static void sky_report(struct qmt_ctx *ctx, uint64_t sum)
{
	QMT_TELL(ctx, qmt_parent(ctx), bench_item, .value = sum);
	qmt_stop_self(ctx);
}

static int leaf_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)state;
	sky_report(ctx, ((const struct range *)config)->first);
	return 0;
}

static const struct qmt_actor_desc sky_desc, leaf_desc = {.abi = QMT_ABI, .name = "leaf", .start = leaf_start};

static int sky_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	const struct range *range = config;
	struct sky *sky = state;
	uint64_t part = range->size / 10;

	sky->left = 10;
	for (unsigned i = 0; i < 10; i++) {
		struct qmt_spawn opt = {.config = &sky->parts[i]};

		sky->parts[i] = (struct range){range->first + i * part, part};
		if (qmt_spawn(ctx, part == 1 ? &leaf_desc : &sky_desc, &opt, NULL, NULL))
			abort();
	}
	return 0;
}

static void sky_item(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct sky *sky = state;

	sky->sum += ((const struct bench_item *)body)->value;
	if (--sky->left == 0)
		sky_report(ctx, sky->sum);
}

static qmt_handler *const sky_handlers[bench_message_count] = {[bench_item_id] = sky_item};
static const struct qmt_actor_desc sky_desc = {.abi = QMT_ABI,
	.name = "sky",
	.state_size = sizeof(struct sky),
	.accepts = {{&bench_protocol, sky_handlers}},
	.start = sky_start};

/* Parent of the whole tree: gets the result. */
struct ground {
	struct range all;
};

static void ground_range(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct bench_range *range = body;
	struct ground *ground = state;

	ground->all = (struct range){range->first, range->size};
	if (qmt_spawn(ctx, &sky_desc, &(struct qmt_spawn){.config = &ground->all}, NULL, NULL))
		abort();
}

static void ground_item(struct qmt_ctx *ctx, void *state, const void *body)
{
	uint64_t sum = ((const struct bench_item *)body)->value, n = ((struct ground *)state)->all.size;

	if (sum != n * (n - 1) / 2)
		abort();
	done(ctx, sum);
}

static qmt_handler *const ground_handlers[bench_message_count] = {
	[bench_range_id] = ground_range, [bench_item_id] = ground_item};
static const struct qmt_actor_desc ground_desc = {.abi = QMT_ABI,
	.name = "ground",
	.state_size = sizeof(struct ground),
	.accepts = {{&bench_protocol, ground_handlers}}};

/* ---- the runs, from the thread outside --------------------------------------------------------------------------- */

static struct qmt_ctx *outside;
static uint64_t divisor = 1;

static struct qmt_ref spawn(const struct qmt_actor_desc *desc)
{
	struct qmt_err err;
	struct qmt_ref ref;

	if (qmt_spawn(outside, desc, NULL, &ref, &err)) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	return ref;
}

static void ask(struct qmt_ref to, const struct qmt_type *type, const void *body)
{
	struct qmt_result result;

	if (qmt_outside_ask(outside, to, type, body, PATIENCE_MS, &result)) {
		fprintf(stderr, "%s: %s\n", type->record.name, qmt_fail_name(result.fail));
		exit(1);
	}
}

static void set_up(struct qmt_ref who, struct qmt_ref next, uint64_t count)
{
	ask(who, &bench_peers_type, &(struct bench_peers){.next = next, .count = count});
}

static uint64_t process_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static double cpu_ns; /* processor time of what run timed last */

/* Sends `type` to each of them, waits until the referee has its items; nanoseconds. */
static double run(const struct qmt_ref *who, unsigned count, const struct qmt_type *type, const void *body)
{
	uint64_t used = process_ns(), start = qmt_now_ns(outside);

	for (unsigned i = 0; i < count; i++)
		if (qmt_tell(outside, who[i], type, body))
			abort();
	ask(referee_ref, &bench_wait_type, NULL);
	cpu_ns = (double)(process_ns() - used);
	return (double)(qmt_now_ns(outside) - start);
}

static void say_cpu(const char *work, double units)
{
	printf("%s_cpu_ns %.1f\n", work, cpu_ns / units);
}

static void bench_circle(const char *work, unsigned count, uint64_t hops)
{
	struct qmt_ref nodes[503];

	for (unsigned i = 0; i < count; i++)
		nodes[i] = spawn(&node_desc);
	for (unsigned i = 0; i < count; i++)
		set_up(nodes[i], nodes[(i + 1) % count], 0);
	set_up(referee_ref, (struct qmt_ref){0}, 1);
	printf("%s_ns %.1f\n", work, run(nodes, 1, &bench_ball_type, &(struct bench_ball){.left = hops}) / (double)hops);
	say_cpu(work, (double)hops);
}

static void bench_pingpong(void)
{
	bench_circle("pingpong", 2, 2000000 / divisor);
}

static void bench_ring(void)
{
	bench_circle("ring", 503, 5000000 / divisor);
}

static void bench_fanin(void)
{
	uint64_t each = 1000000 / divisor;
	struct qmt_ref counter = spawn(&counter_desc), senders[4];

	set_up(counter, (struct qmt_ref){0}, 4 * each);
	for (unsigned i = 0; i < 4; i++) {
		senders[i] = spawn(&sender_desc);
		set_up(senders[i], counter, each);
	}
	set_up(referee_ref, (struct qmt_ref){0}, 1);
	printf("fanin_mps %.3f\n", 4e3 * (double)each / run(senders, 4, &bench_go_type, NULL));
	say_cpu("fanin", 4 * (double)each);
}

static void bench_fork(void)
{
	uint64_t each = 100000 / divisor;
	struct qmt_ref driver = spawn(&driver_desc);

	for (unsigned i = 0; i < FORK_WIDTH; i++) {
		struct qmt_ref counter = spawn(&counter_desc);

		set_up(counter, (struct qmt_ref){0}, each);
		set_up(driver, counter, each);
	}
	set_up(referee_ref, (struct qmt_ref){0}, FORK_WIDTH);
	printf("fork_mps %.3f\n", FORK_WIDTH * 1e3 * (double)each / run(&driver, 1, &bench_go_type, NULL));
	say_cpu("fork", FORK_WIDTH * (double)each);
}

static void bench_ask(void)
{
	uint64_t asks = 1000000 / divisor;
	struct qmt_ref echo = spawn(&echo_desc), asker = spawn(&asker_desc);

	set_up(asker, echo, asks);
	set_up(referee_ref, (struct qmt_ref){0}, 1);
	printf("ask_ns %.1f\n", run(&asker, 1, &bench_go_type, NULL) / (double)asks);
	say_cpu("ask", (double)asks);
}

static double resident_bytes(void)
{
	long size = 0, resident = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!file || fscanf(file, "%ld %ld", &size, &resident) != 2)
		abort();
	fclose(file);
	return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void bench_spawn(void)
{
	uint64_t count = 1000000 / divisor;
	struct qmt_ref nursery = spawn(&nursery_desc);
	struct qmt_result result;
	double before, took;

	atomic_store(&idlers_left, count);
	set_up(nursery, (struct qmt_ref){0}, count);
	set_up(referee_ref, (struct qmt_ref){0}, 1);
	before = resident_bytes();
	took = run(&nursery, 1, &bench_go_type, NULL);
	printf("spawn_ns %.1f\nspawn_rss %.0f\n", took / (double)count, (resident_bytes() - before) / (double)count);
	say_cpu("spawn", (double)count);

	/* Once more, in memory that has been touched: what is left is the runtime's own. */
	if (qmt_stop(outside, nursery) || qmt_outside_await_end(outside, nursery, PATIENCE_MS, &result))
		abort();
	nursery = spawn(&nursery_desc);
	atomic_store(&idlers_left, count);
	set_up(nursery, (struct qmt_ref){0}, count);
	set_up(referee_ref, (struct qmt_ref){0}, 1);
	took = run(&nursery, 1, &bench_go_type, NULL);
	printf("spawn_warm_ns %.1f\n", took / (double)count);
	say_cpu("spawn_warm", (double)count);
}

static void bench_skynet(void)
{
	const struct bench_range all = {.first = 0, .size = divisor == 1 ? 1000000 : 10000};
	struct qmt_ref ground = spawn(&ground_desc);

	set_up(referee_ref, (struct qmt_ref){0}, 1);
	printf("skynet_ms %.1f\n", run(&ground, 1, &bench_range_type, &all) / 1e6);
}

static const struct {
	const char *name;
	void (*run)(void);
} benches[] = {
	{"pingpong", bench_pingpong},
	{"ring", bench_ring},
	{"fanin", bench_fanin},
	{"fork", bench_fork},
	{"ask", bench_ask},
	{"spawn", bench_spawn},
	{"skynet", bench_skynet},
};

int main(int argc, char **argv)
{
	const char *div = getenv("QMT_BENCH_DIV");
	struct qmt_system *sys;
	struct qmt_err err;

	if (div)
		divisor = strtoull(div, NULL, 10);
	for (size_t i = 0; argc >= 3 && i < sizeof benches / sizeof *benches; i++) {
		if (strcmp(argv[1], benches[i].name) != 0)
			continue;
		sys = qmt_system_start(&(struct qmt_system_options){.workers = (uint32_t)strtoul(argv[2], NULL, 10)}, &err);
		if (!sys) {
			fprintf(stderr, "%s\n", err.text);
			return 1;
		}
		outside = qmt_outside_open(sys);
		if (getenv("QMT_BENCH_TRACE"))
			qmt_trace_set(outside, 1);
		referee_ref = spawn(&referee_desc);
		benches[i].run();
		qmt_outside_close(outside);
		if (qmt_system_stop(sys, PATIENCE_MS, &err))
			fprintf(stderr, "%s\n", err.text);
		qmt_system_free(sys);
		return 0;
	}
	return 2;
}
