/* test/sim/sim_memory.c - a node gets no memory: the Nth allocation that it makes from now on fails, or all from the
 * Nth on for a while.
 *
 * Counted are blocks of the runtime (slab.c), malloc and its kin as our code calls them (the linker's --wrap: also
 * under sanitizers, whose allocators cannot be replaced), jansson's and SQLite's allocations (both take functions). Not
 * counted: what libsodium and libc allocate for themselves; the simulation's own (nothing is counted but while the node
 * runs).
 */
#include <errno.h>
#include <jansson.h>
#include <sqlite3.h>

#include "runtime/slab.h"
#include "runtime/test_kit.h"
#include "test/sim/sim.h"

static struct qmt_kit_faults faults;
static struct sim_node *short_node; /* NULL: all have memory */
static uint64_t until_ms;

/* ---- who allocates ----------------------------------------------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
char *__wrap_strdup(const char *text);

static bool fails(void)
{
	if (!qmt_kit_out_of_memory(&faults))
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return fails() ? NULL : __real_aligned_alloc(align, size);
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

static sqlite3_mem_methods sqlite_memory; /* SQLite's own */

static void *sqlite_malloc(int size)
{
	return fails() ? NULL : sqlite_memory.xMalloc(size);
}

static void *sqlite_realloc(void *old, int size)
{
	return fails() ? NULL : sqlite_memory.xRealloc(old, size);
}

bool sim_memory_was_short(void)
{
	return sim.was_short || faults.failed;
}

bool sim_memory_init(void)
{
	sqlite3_mem_methods counted;

	json_set_alloc_funcs(__wrap_malloc, free);
	if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_memory) != SQLITE_OK)
		return false;
	counted = sqlite_memory;
	counted.xMalloc = sqlite_malloc;
	counted.xRealloc = sqlite_realloc;
	/* no pools of its own, and no count under a lock: each allocation is one of these */
	return sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK &&
		sqlite3_config(SQLITE_CONFIG_MALLOC, &counted) == SQLITE_OK;
}

/* ---- a fault ----------------------------------------------------------------------------------------------------- */

static void count_blocks(struct sim_node *node, struct qmt_kit_faults *what)
{
	node->system->faults = what;
	qmt__slab_count(qmt__sim_ctx(node->system->sim));
}

void sim_memory_fault(struct sim_node *node)
{
	if (short_node || !node->system)
		return;
	faults = (struct qmt_kit_faults){.left = 1 + sim_below(sim_chance(60) ? 40 : 1500)};
	if (sim_chance(50))
		faults.also = 1 + sim_below(sim_chance(50) ? 10 : 400);
	until_ms = sim.now_ms + 2000;
	short_node = node;
	sim_event("%s: allocation %u fails, and %u more", node->name, (unsigned)faults.left, (unsigned)faults.also);
	count_blocks(node, &faults);
}

void sim_memory_heal(void)
{
	if (!short_node)
		return;
	count_blocks(short_node, NULL);
	if (faults.failed)
		sim_event("%s: there is memory again", short_node->name);
	sim.was_short |= faults.failed;
	short_node = NULL;
	faults = (struct qmt_kit_faults){0};
}

void sim_memory_enter(const struct sim_node *node)
{
	faults.counting = node == short_node;
}

void sim_memory_leave(struct sim_node *node)
{
	if (node != short_node)
		return;
	faults.counting = false;
	if (!faults.left || sim.now_ms > until_ms)
		sim_memory_heal();
}
