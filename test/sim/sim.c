/* test/sim/sim.c - runs seeds: build/test/sim/sim [-v] FIRST_SEED COUNT
 *
 *      set up 2 to 4 nodes -> steps: {work | fault | nothing}, time goes on, checks -> heal -> settle -> histories ->
 *      stop all
 *
 * Each 20th seed is run twice: the two traces must be the same.
 */
#include "test/sim/sim.h"

#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <unistd.h>

#include "test/sim/sim_faults.h"

enum { TWICE_EACH = 20, RUN_SECONDS = 120 };

struct sim sim;
static const char *program;

/* ---- chance and record ------------------------------------------------------------------------------------------- */

/* SplitMix64 (Steele, Lea, Flood, 2014). */
uint64_t sim_random(void)
{
	uint64_t z = sim.random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint32_t sim_below(uint32_t n)
{
	return (uint32_t)(sim_random() % n);
}

bool sim_chance(uint32_t percent)
{
	return sim_below(100) < percent;
}

void sim_event(const char *format, ...)
{
	char *text = sim.events[sim.event_count++ % SIM_SHOWN];
	va_list args;
	int head = snprintf(text, SIM_EVENT_TEXT, "%8" PRIu64 " ms  ", sim.now_ms);

	va_start(args, format);
	(void)vsnprintf(text + head, SIM_EVENT_TEXT - (size_t)head, format, args);
	va_end(args);
	for (const char *p = text; *p; p++) /* FNV-1a */
		sim.hash = (sim.hash ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
	if (sim.verbose)
		(void)fprintf(stderr, "%s\n", text);
}

static void print_events(void)
{
	uint64_t first = sim.event_count > SIM_SHOWN ? sim.event_count - SIM_SHOWN : 0;

	(void)printf("the last events:\n");
	for (uint64_t i = first; i < sim.event_count; i++)
		(void)printf("  %s\n", sim.events[i % SIM_SHOWN]);
	(void)printf("to repeat: %s -v %" PRIu64 " 1\n", program, sim.seed);
	(void)fflush(stdout);
}

static int forget(const char *path, const struct stat *what, int flag, struct FTW *walk)
{
	(void)what;
	(void)flag;
	(void)walk;
	return remove(path);
}

static void remove_folder(void)
{
	if (sim.folder[0])
		(void)nftw(sim.folder, forget, 8, FTW_DEPTH | FTW_PHYS);
	sim.folder[0] = '\0';
}

_Noreturn void sim_violation(const char *invariant, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	(void)printf("VIOLATION seed %" PRIu64 ": %s\n  %s\n", sim.seed, invariant, text);
	print_events();
	remove_folder();
	_exit(1);
}

/* An assertion of the runtime, or worse; SIGALRM: a run that does not end. */
static void crashed(int number)
{
	(void)signal(number, SIG_DFL);
	(void)printf("VIOLATION seed %" PRIu64 ": nothing crashes\n  signal %d\n", sim.seed, number);
	print_events();
	remove_folder();
	(void)raise(number);
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

void sim_run(uint64_t ms)
{
	uint64_t slice = 1, turns;

	for (uint64_t done = 0; done < ms; done += slice) {
		uint32_t first = sim_below(sim.node_count);

		turns = 0;
		if (slice > ms - done)
			slice = ms - done;
		sim.now_ms += slice;
		for (uint32_t i = 0; i < sim.node_count; i++) {
			struct sim_node *node = &sim.nodes[(first + i) % sim.node_count];

			if (!node->system)
				continue;
			if (node->frozen_ms > 0) {
				node->frozen_ms -= node->frozen_ms < slice ? node->frozen_ms : slice;
				continue;
			}
			sim_memory_enter(node);
			turns += qmt_system_run(node->system, slice);
			sim_memory_leave(node);
			if (node->gave_up) { /* as a service manager would */
				sim_node_stop(node, false);
				sim_node_start(node);
			}
		}
		slice = turns ? 1 : slice < 16 ? slice * 2 : slice;
	}
}

static int fail_commit(void *arg)
{
	(void)arg;
	if (!sim.commit_faults)
		return 0;
	sim.commit_faults--;
	sim_event("a commit fails");
	return 1; /* SQLite rolls back */
}

/* Each connection of a store. */
static int connected(sqlite3 *db, char **ret_text, const struct sqlite3_api_routines *api)
{
	(void)ret_text;
	(void)api;
	sqlite3_commit_hook(db, fail_commit, NULL);
	return SQLITE_OK;
}

/* ---- a run ------------------------------------------------------------------------------------------------------- */

static void check(void)
{
	sim_asks_check();
	sim_mill_check();
	sim_gears_check();
}

static uint64_t run(uint64_t seed, bool verbose)
{
	uint32_t steps;
	const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

	sim = (struct sim){.seed = seed, .random = seed * UINT64_C(0x2545f4914f6cdd1d), .verbose = verbose};
	sim.hash = UINT64_C(0xcbf29ce484222325);
	(void)snprintf(sim.folder, sizeof sim.folder, "%s/qmt-sim-XXXXXX", base);
	if (!mkdtemp(sim.folder)) {
		sim.folder[0] = '\0';
		sim_violation("set-up", "cannot make a folder below %s", base);
	}
	sim_asks_reset();
	sim_sessions_reset();
	sim_mill_reset();
	sim_gears_reset();
	sim.hub = loop_hub_new();
	if (sim_chance(60))
		loop_hub_slow_dials(sim.hub, 500);
	sim.node_count = 2 + sim_below(SIM_NODES - 1);
	for (uint32_t i = 0; i < sim.node_count; i++)
		sim_node_init(&sim.nodes[i], i);
	for (uint32_t i = 0; i < sim.node_count; i++)
		sim_node_start(&sim.nodes[i]);
	if (sim_chance(30))
		sim_mill_burst(&sim.nodes[0], &sim.nodes[1]);
	sim_run(sim_chance(80) ? 600 : 10);
	steps = 40 + sim_below(60);
	for (uint32_t i = 0; i < steps; i++) {
		if (sim_chance(60))
			sim_sessions_step();
		if (sim_chance(80))
			sim_mill_step();
		if (sim_chance(70))
			sim_gears_step();
		if (sim_chance(8))
			sim_fault();
		sim_run(sim_chance(70) ? sim_below(20) : sim_below(600));
		check();
	}
	sim.ending = true;
	sim_heal();
	sim_sessions_settle();
	check();
	sim_mill_settle();
	sim_gears_settle();
	sim_sessions_check();
	check();
	for (uint32_t i = 0; i < sim.node_count; i++)
		sim_node_stop(&sim.nodes[i], sim_chance(50));
	loop_hub_free(sim.hub);
	remove_folder();
	return sim.hash;
}

static bool number_of(const char *text, uint64_t *ret_number)
{
	char *end;

	*ret_number = strtoull(text, &end, 10);
	return *text && !*end;
}

int main(int argc, char **argv)
{
	bool verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
	uint64_t first, count, twice = 0;

	program = argv[0];
	if (argc != 3 + verbose || !number_of(argv[1 + verbose], &first) || !number_of(argv[2 + verbose], &count)) {
		(void)fprintf(stderr, "usage: %s [-v] FIRST_SEED COUNT\n", argv[0]);
		return 2;
	}
	if (!sim_memory_init() || identity_crypto_init() || sqlite3_auto_extension((void (*)(void))connected) != SQLITE_OK)
		return 1;
	(void)signal(SIGABRT, crashed);
	(void)signal(SIGALRM, crashed);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	(void)signal(SIGSEGV, crashed);
#endif
	for (uint64_t seed = first; seed < first + count; seed++) {
		uint64_t hash;

		(void)alarm(RUN_SECONDS);
		hash = run(seed, verbose);
		if (seed % TWICE_EACH == 0) {
			twice++;
			if (run(seed, verbose) != hash)
				sim_violation("the same seed gives the same trace", "two runs differ");
		}
		if (verbose)
			(void)printf("seed %" PRIu64 ": %016" PRIx64 "\n", seed, hash);
	}
	(void)printf("%" PRIu64 " seeds from %" PRIu64 ", %" PRIu64 " of them twice\n", count, first, twice);
	return 0;
}
