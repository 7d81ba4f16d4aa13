/* test/lib/failing_memory.h - malloc and its kin, counted, and failing when a test says so: for "the Nth allocation
 * fails".
 *
 * Include it in one file of a program: it defines the functions, visible, so that the libraries use them too.
 * Threads: one. Sanitizers have an allocator of their own, which these would bypass: there SANITIZED is defined,
 *          nothing
 *          fails and nothing is counted.
 */
#ifndef TEST_LIB_FAILING_MEMORY_H
#define TEST_LIB_FAILING_MEMORY_H

#include <errno.h>

#include "runtime/base/bytes.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static volatile long left = -1;                        /* allocations that still succeed; <0: all */
static volatile bool failed __attribute__((unused));   /* one did not */
static volatile bool only_one __attribute__((unused)); /* those behind it succeed again */
static volatile long live;                             /* blocks in use */

#ifndef SANITIZED
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *block);

static bool out_of_memory(void)
{
	if (left != 0) {
		left -= left > 0;
		return false;
	}
	failed = true;
	left -= only_one;
	errno = ENOMEM;
	return true;
}

static void *counted(void *block)
{
	if (block)
		live++;
	return block;
}

QMT_EXPORT void *malloc(size_t size)
{
	return out_of_memory() ? NULL : counted(__libc_malloc(size));
}

QMT_EXPORT void *calloc(size_t count, size_t size)
{
	return out_of_memory() ? NULL : counted(__libc_calloc(count, size));
}

QMT_EXPORT void *realloc(void *old, size_t size)
{
	void *block = out_of_memory() ? NULL : __libc_realloc(old, size);

	return old ? block : counted(block);
}

QMT_EXPORT void *aligned_alloc(size_t align, size_t size)
{
	return out_of_memory() ? NULL : counted(__libc_memalign(align, size));
}

QMT_EXPORT void free(void *block)
{
	if (block)
		live--;
	__libc_free(block);
}
#endif

#endif
