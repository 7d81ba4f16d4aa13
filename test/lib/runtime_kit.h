/* test/lib/runtime_kit.h - what tests of the runtime share: a protocol, waiting for events, starting and stopping.
 *
 * Threads: a latch may be used from any. Checks that fail in a handler abort: cmocka can only be left from its own
 *          thread.
 */
#ifndef TEST_RUNTIME_KIT_H
#define TEST_RUNTIME_KIT_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/port.h"
#include "runtime/system.h"

#define KIT_ENTRY(F, T) \
	F(T, STR, name, 1, "A text in a list.") \
	F(T, U64, value, 2, "A number in a list.")
#define KIT_POKE(F, T) \
	F(T, U64, value, 1, "Any number.") \
	F(T, REF, ref, 2, "Any actor.")
#define KIT_ANSWER(F, T) F(T, U64, value, 1, "Any number.")
#define KIT_NOTE(F, T) \
	F(T, STR, text, 1, "A text.") \
	F(T, BYTES, bytes, 2, "Bytes.") \
	F(T, LIST(kit_entry), entries, 3, "A list of records with pointers.") \
	F(T, STRS, words, 4, "A list of texts.") \
	F(T, REC(kit_entry), inner, 5, "A record inside.") \
	F(T, LIST(kit_point), points, 6, "A list of flat records.") \
	F(T, BOOL, flag, 7, "A flag.") \
	F(T, F64, number, 8, "A number.")
#define KIT_POINT(F, T) \
	F(T, U32, x, 1, "Across.") \
	F(T, I64, y, 2, "Up.")
#define KIT_MESSAGES(M) \
	M(kit, poke, KIT_POKE, "anyone", "Does what the test wants.", answer) \
	M(kit, answer, KIT_ANSWER, "reply", "Answers a poke.") \
	M(kit, note, KIT_NOTE, "anyone", "Has every kind of field.") \
	M(kit, stop, QMT_NO_FIELDS, "anyone", "Says stop, or anything else.")
#define KIT2_MESSAGES(M) M(kit2, hello, KIT_ANSWER, "anyone", "A message of another protocol.")
QMT_DECLARE_RECORD(kit_entry, KIT_ENTRY)
QMT_DECLARE_RECORD(kit_point, KIT_POINT)
QMT_DECLARE_PROTOCOL(kit, KIT_MESSAGES)
QMT_DECLARE_PROTOCOL(kit2, KIT2_MESSAGES)

/* Counts events; tests wait for a number of them. */
struct kit_latch {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t count;
};
#define KIT_LATCH {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}

void kit_latch_add(struct kit_latch *latch, uint64_t more);
void kit_latch_reset(struct kit_latch *latch);
uint64_t kit_latch_count(struct kit_latch *latch);
/* Until at least `count` events happened. Ends the program with a message after KIT_PATIENCE_MS. */
void kit_latch_wait(struct kit_latch *latch, uint64_t count);

enum { KIT_PATIENCE_MS = 60000 };

/* In handlers. */
#define kit_check(condition) \
	((condition) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), abort()))

/* A system with an outside handle; log lines are kept. */
struct kit {
	struct qmt_system *sys;
	struct qmt_ctx *out;
	struct qmt_log *log;
	FILE *log_file;
};
void kit_start(struct kit *kit, uint32_t workers);
void kit_start_seeded(struct kit *kit, uint64_t seed);
/* Stops, checks that all ended, frees. */
void kit_stop(struct kit *kit);
/* Whether the log has a line with this text. */
bool kit_logged(struct kit *kit, const char *text);

struct qmt_ref kit_spawn(struct kit *kit, const struct qmt_actor_desc *desc, const struct qmt_spawn *opt);
/* Asks with a poke; returns the failure, or 0 and *ret_value of the answer. */
int kit_ask(struct kit *kit, struct qmt_ref to, uint64_t value, uint64_t timeout_ms, uint64_t *ret_value);
void kit_answer(struct qmt_ctx *ctx, uint64_t value); /* to the message being handled */
/* Waits until the actor has ended. */
void kit_wait_gone(struct kit *kit, struct qmt_ref who);

/* A description that accepts the kit's protocol. */
#define KIT_DESC(name_, handlers_, ...) \
	{.abi = QMT_ABI, .name = name_, .accepts = {{&kit_protocol, handlers_}}, __VA_ARGS__}

#endif
