/* runtime/test_kit.h - tests of actors: one thread, a virtual clock, every choice from a seed.
 *
 * A kit is a seeded system with *probes* in it: actors that only record what they are sent. It spawns the actor under
 * test as a child of a probe of its own, sends as that probe, and says what must come of it:
 *
 *     struct qmt_kit *kit = QMT_KIT_OPEN(.seed = 1);
 *     struct qmt_ref counter = QMT_KIT_SPAWN(kit, &counter_desc, NULL);
 *     QMT_KIT_ASK(kit, counter, counter_add, .amount = 2);
 *     QMT_KIT_EXPECT_REPLY(kit, counter_total, .total = 2);
 *     QMT_KIT_CLOSE(kit);
 *
 * Threads:  a kit belongs to the thread that opened it. Several kits may be open.
 * Time:     stands still. An expectation runs whatever can run *now*; only QMT_KIT_ADVANCE moves the clock.
 * Blocks:   never. Actors that never come to rest are a failure after options.max_turns.
 * Order:    messages of one probe, and answers, are expected in the order in which they came, each of them once.
 * Failures: file:line, what was expected and what came go to options.failed. Without one they are printed and the
 *           program aborts. `failed` may leave by longjmp (cmocka, Check, Unity: the kit is then closed by the
 *           framework's teardown, or not at all), or return: then the kit goes on, and what should have been returned
 *           is a zeroed body. It is never called from a handler.
 * Lifetime: bodies and results that the kit returns live until it is closed.
 * Memory:   when the kit itself gets none it says so and aborts: a test has no use for less.
 */
#ifndef QMT_TEST_KIT_H
#define QMT_TEST_KIT_H

#include "system.h"

#ifdef __cplusplus
extern "C" {
#endif

struct qmt_kit;

/* Which allocation fails. Counts messages, actors and asks that turns make; with QMT_KIT_HEAP all of malloc besides. */
struct qmt_kit_faults {
	uint64_t left; /* allocations until one fails; 0: none does */
	uint64_t also; /* so many behind that one fail, too */
	bool counting; /* a turn runs */
	bool failed;   /* one did */
};

struct qmt_kit_options {
	uint64_t seed;               /* the same seed gives the same run */
	const struct qmt_log *log;   /* of the system; borrowed; NULL: silent */
	uint64_t start_wall_ms;      /* where the clock begins */
	uint64_t max_turns;          /* within one expectation; 0: 1,000,000 */
	uint32_t max_restarts;       /* of actors under test, within 5 s; beyond, the kit's own actor fails. 0: 1000 */
	struct qmt_kit_faults *heap; /* &qmt_kit_heap after QMT_KIT_HEAP; NULL: malloc is left alone */
	void (*failed)(void *arg, const char *file, int line, const char *text); /* NULL: prints and aborts */
	void *arg;
};

/* What the macros below stand for, with the place where they stand. */
struct qmt_kit_at {
	const char *file;
	int line;
};
#define QMT_KIT_AT ((struct qmt_kit_at){__FILE__, __LINE__})

/* ---- begin and end ----------------------------------------------------------------------------------------------- */

#define QMT_KIT_OPEN(...) qmt_kit_open(QMT_KIT_AT, &(struct qmt_kit_options){__VA_ARGS__})
QMT_EXPORT struct qmt_kit *qmt_kit_open(struct qmt_kit_at at, const struct qmt_kit_options *opt);
/* Stops everything, which must end within a virtual minute. Returns NULL; NULL is fine. */
#define QMT_KIT_CLOSE(kit) qmt_kit_close(kit, QMT_KIT_AT)
QMT_EXPORT struct qmt_kit *qmt_kit_close(struct qmt_kit *kit, struct qmt_kit_at at);
/* How many expectations failed so far (where `failed` returns). */
QMT_EXPORT uint32_t qmt_kit_failures(const struct qmt_kit *kit);
/* For what the kit does not cover: an outside handle (system.h). */
QMT_EXPORT struct qmt_ctx *qmt_kit_ctx(struct qmt_kit *kit);
/* Of all that ran: equal for equal seeds. */
QMT_EXPORT uint64_t qmt_kit_trace_hash(const struct qmt_kit *kit);
/* A check of the test's own, reported the same way. Returns the condition. */
#define QMT_KIT_CHECK(kit, condition) qmt_kit_check(kit, QMT_KIT_AT, (condition), #condition)
QMT_EXPORT bool qmt_kit_check(struct qmt_kit *kit, struct qmt_kit_at at, bool holds, const char *text);

/* ---- actors ------------------------------------------------------------------------------------------------------ */

/* Spawns it and runs its start. opt may be NULL; its restart policy holds. A start that fails is the actor's end:
 * QMT_KIT_EXPECT_END. */
#define QMT_KIT_SPAWN(kit, desc, opt) qmt_kit_spawn(kit, QMT_KIT_AT, desc, opt)
QMT_EXPORT struct qmt_ref qmt_kit_spawn(
	struct qmt_kit *kit, struct qmt_kit_at at, const struct qmt_actor_desc *desc, const struct qmt_spawn *opt);
/* A probe that takes all messages of up to QMT_ACCEPTS_MAX protocols. name: as in qmt_spawn, so that it can stand in
 * for the actor that is looked up by it; NULL: none. */
#define QMT_KIT_PROBE(kit, name, ...) \
	qmt_kit_probe(kit, QMT_KIT_AT, name, (const struct qmt_protocol *const[]){__VA_ARGS__, NULL})
QMT_EXPORT struct qmt_ref qmt_kit_probe(
	struct qmt_kit *kit, struct qmt_kit_at at, const char *name, const struct qmt_protocol *const *protocols);

/* ---- sending ----------------------------------------------------------------------------------------------------- */

/* Tells as `from` (a probe; a zero ref: the kit's own, which takes nothing). The send must have this outcome: 0, or an
 * enum qmt_fail. Returns what came. A full QMT_BLOCK mailbox takes it and the probe does not wait. */
#define QMT_KIT_TELL(kit, to, msg, ...) QMT_KIT_TELL_AS(kit, ((struct qmt_ref){NULL, 0, 0}), to, msg, __VA_ARGS__)
#define QMT_KIT_TELL_AS(kit, from, to, msg, ...) \
	qmt_kit_tell(kit, QMT_KIT_AT, 0, from, to, &msg##_type, &(struct msg){__VA_ARGS__})
#define QMT_KIT_TELL_FAILS(kit, fail, to, msg, ...) \
	qmt_kit_tell(kit, QMT_KIT_AT, fail, ((struct qmt_ref){NULL, 0, 0}), to, &msg##_type, &(struct msg){__VA_ARGS__})
QMT_EXPORT int qmt_kit_tell(struct qmt_kit *kit, struct qmt_kit_at at, int outcome, struct qmt_ref from,
	struct qmt_ref to, const struct qmt_type *type, const void *body);
/* Asks, with QMT_ASK_DEFAULT_MS (as a function: timeout_ms); the answer is for QMT_KIT_EXPECT_REPLY and its like. */
#define QMT_KIT_ASK(kit, to, msg, ...) qmt_kit_ask(kit, QMT_KIT_AT, 0, to, &msg##_type, &(struct msg){__VA_ARGS__}, 0)
#define QMT_KIT_ASK_FAILS(kit, fail, to, msg, ...) \
	qmt_kit_ask(kit, QMT_KIT_AT, fail, to, &msg##_type, &(struct msg){__VA_ARGS__}, 0)
QMT_EXPORT int qmt_kit_ask(struct qmt_kit *kit, struct qmt_kit_at at, int outcome, struct qmt_ref to,
	const struct qmt_type *type, const void *body, uint64_t timeout_ms);

/* ---- expecting --------------------------------------------------------------------------------------------------- */

/* The next message of the probe is this one, field by field (fields that are not named are zero). Returns its body. */
#define QMT_KIT_EXPECT(kit, probe, msg, ...) \
	((const struct msg *)qmt_kit_expect(kit, QMT_KIT_AT, probe, &msg##_type, &(struct msg){__VA_ARGS__}))
/* It is of this type, whatever its fields. */
#define QMT_KIT_EXPECT_ANY(kit, probe, msg) \
	((const struct msg *)qmt_kit_expect(kit, QMT_KIT_AT, probe, &msg##_type, NULL))
QMT_EXPORT const void *qmt_kit_expect(
	struct qmt_kit *kit, struct qmt_kit_at at, struct qmt_ref probe, const struct qmt_type *type, const void *body);
/* Nothing came. */
#define QMT_KIT_EXPECT_NONE(kit, probe) qmt_kit_expect_none(kit, QMT_KIT_AT, probe)
QMT_EXPORT bool qmt_kit_expect_none(struct qmt_kit *kit, struct qmt_kit_at at, struct qmt_ref probe);
/* Answers the ask that was expected last from any probe. */
#define QMT_KIT_REPLY(kit, msg, ...) qmt_kit_reply(kit, QMT_KIT_AT, &msg##_type, &(struct msg){__VA_ARGS__})
QMT_EXPORT void qmt_kit_reply(struct qmt_kit *kit, struct qmt_kit_at at, const struct qmt_type *type, const void *body);
#define QMT_KIT_REPLY_FAIL(kit, fail) qmt_kit_reply_fail(kit, QMT_KIT_AT, fail)
QMT_EXPORT void qmt_kit_reply_fail(struct qmt_kit *kit, struct qmt_kit_at at, int fail);

/* The oldest ask of the kit that was not looked at yet: it was answered with this. Returns the body. */
#define QMT_KIT_EXPECT_REPLY(kit, msg, ...) \
	((const struct msg *)qmt_kit_expect_reply(kit, QMT_KIT_AT, &msg##_type, &(struct msg){__VA_ARGS__}))
#define QMT_KIT_EXPECT_REPLY_ANY(kit, msg) \
	((const struct msg *)qmt_kit_expect_reply(kit, QMT_KIT_AT, &msg##_type, NULL))
QMT_EXPORT const void *qmt_kit_expect_reply(
	struct qmt_kit *kit, struct qmt_kit_at at, const struct qmt_type *type, const void *body);
/* It failed in this way. Returns the whole result. */
#define QMT_KIT_EXPECT_FAILURE(kit, fail) qmt_kit_expect_failure(kit, QMT_KIT_AT, fail)
QMT_EXPORT const struct qmt_result *qmt_kit_expect_failure(struct qmt_kit *kit, struct qmt_kit_at at, int fail);
/* It is not answered yet. */
#define QMT_KIT_EXPECT_NO_REPLY(kit) qmt_kit_expect_no_reply(kit, QMT_KIT_AT)
QMT_EXPORT bool qmt_kit_expect_no_reply(struct qmt_kit *kit, struct qmt_kit_at at);
/* Runs, and takes the outcome of the oldest ask, whatever it is; NULL: not answered yet. */
#define QMT_KIT_RESULT(kit) qmt_kit_result(kit, QMT_KIT_AT)
QMT_EXPORT const struct qmt_result *qmt_kit_result(struct qmt_kit *kit, struct qmt_kit_at at);

/* Runs what is runnable and due, up to ms later. */
#define QMT_KIT_ADVANCE(kit, ms) qmt_kit_advance(kit, QMT_KIT_AT, ms)
QMT_EXPORT void qmt_kit_advance(struct qmt_kit *kit, struct qmt_kit_at at, uint64_t ms);

/* An actor that the kit spawned, or watches, has ended for good; reason: 0 (it was wanted) or an enum qmt_fail (a
 * handler or start that failed: QMT_FAIL_FAILED). */
#define QMT_KIT_EXPECT_END(kit, who, reason) qmt_kit_expect_end(kit, QMT_KIT_AT, who, reason, false)
/* One that the kit spawned failed, or ended, and was restarted. */
#define QMT_KIT_EXPECT_RESTART(kit, who, reason) qmt_kit_expect_end(kit, QMT_KIT_AT, who, reason, true)
QMT_EXPORT bool qmt_kit_expect_end(
	struct qmt_kit *kit, struct qmt_kit_at at, struct qmt_ref who, int reason, bool restarted);
/* It runs, or waits for its restart. */
#define QMT_KIT_EXPECT_ALIVE(kit, who) qmt_kit_expect_alive(kit, QMT_KIT_AT, who)
QMT_EXPORT bool qmt_kit_expect_alive(struct qmt_kit *kit, struct qmt_kit_at at, struct qmt_ref who);
/* Watches an actor that another one spawned, for QMT_KIT_EXPECT_END (reason as in the hook `down`). */
#define QMT_KIT_WATCH(kit, who) qmt_kit_watch(kit, QMT_KIT_AT, who)
QMT_EXPORT void qmt_kit_watch(struct qmt_kit *kit, struct qmt_kit_at at, struct qmt_ref who);

/* ---- allocations that fail --------------------------------------------------------------------------------------- */

/* From now on the nth allocation that a turn makes fails (1: the next one), and no other; 0: none. What the kit does
 * itself is not counted. A loop over n = 1, 2, … until qmt_kit_alloc_failed says false has met them all. */
QMT_EXPORT void qmt_kit_fail_alloc(struct qmt_kit *kit, uint64_t nth);
QMT_EXPORT bool qmt_kit_alloc_failed(const struct qmt_kit *kit); /* since the last qmt_kit_fail_alloc */

/* Once in a test program (glibc only): malloc, calloc, realloc and aligned_alloc of the whole program, libraries too,
 * fail as the kit with .heap = &qmt_kit_heap says. A sanitizer has an allocator of its own: there it changes nothing,
 * and only the runtime's own blocks are counted. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define QMT_KIT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define QMT_KIT_SANITIZED 1
#endif
#endif
static inline bool qmt_kit_out_of_memory(struct qmt_kit_faults *faults)
{
	if (!faults->counting || !faults->left || --faults->left)
		return false;
	faults->failed = true;
	if (faults->also) {
		faults->also--;
		faults->left = 1;
	}
	return true;
}
#ifdef QMT_KIT_SANITIZED
#define QMT_KIT_HEAP static struct qmt_kit_faults qmt_kit_heap;
#else
#define QMT_KIT_HEAP                                                                           \
	static struct qmt_kit_faults qmt_kit_heap;                                                 \
	void *__libc_malloc(size_t size);                                                          \
	void *__libc_calloc(size_t count, size_t size);                                            \
	void *__libc_realloc(void *block, size_t size);                                            \
	void *__libc_memalign(size_t alignment, size_t size);                                      \
	QMT_EXPORT void *malloc(size_t size);                                                      \
	QMT_EXPORT void *calloc(size_t count, size_t size);                                        \
	QMT_EXPORT void *realloc(void *block, size_t size);                                        \
	QMT_EXPORT void *aligned_alloc(size_t alignment, size_t size);                             \
	void *malloc(size_t size)                                                                  \
	{                                                                                          \
		return qmt_kit_out_of_memory(&qmt_kit_heap) ? NULL : __libc_malloc(size);              \
	}                                                                                          \
	void *calloc(size_t count, size_t size)                                                    \
	{                                                                                          \
		return qmt_kit_out_of_memory(&qmt_kit_heap) ? NULL : __libc_calloc(count, size);       \
	}                                                                                          \
	void *realloc(void *block, size_t size)                                                    \
	{                                                                                          \
		return qmt_kit_out_of_memory(&qmt_kit_heap) ? NULL : __libc_realloc(block, size);      \
	}                                                                                          \
	void *aligned_alloc(size_t alignment, size_t size)                                         \
	{                                                                                          \
		return qmt_kit_out_of_memory(&qmt_kit_heap) ? NULL : __libc_memalign(alignment, size); \
	}
#endif

#ifdef __cplusplus
}
#endif

#endif
