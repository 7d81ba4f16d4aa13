/* test/lib/samples.h - records for tests of whatever walks field tables: one with every kind of field, and random
 * contents for any table. Same seed, same contents.
 */
#ifndef TEST_SAMPLES_H
#define TEST_SAMPLES_H

#include "proto/codec.h"

#define SAMPLE_PART(F, T)             \
	F(T, U32, number, 1, "A number.") \
	F(T, STR, text, 2, "A text.")

#define SAMPLE(F, T)                           \
	F(T, BOOL, flag, 1, "bool")                \
	F(T, U32, small, 2, "uint32_t")            \
	F(T, U64, large, 3, "uint64_t")            \
	F(T, I64, whole, 4, "int64_t")             \
	F(T, F64, real, 5, "double")               \
	F(T, STR, text, 6, "text")                 \
	F(T, BYTES, bytes, 7, "bytes")             \
	F(T, REF, ref, 8, "ref")                   \
	F(T, REC(sample_part), part, 9, "record")  \
	F(T, LIST(sample_part), parts, 10, "list") \
	F(T, STRS, words, 300, "texts; a key of two bytes")

QMT_DECLARE_RECORD(sample_part, SAMPLE_PART)
QMT_DECLARE_RECORD(sample, SAMPLE)

/* One level of a record that holds itself: for tests of depth. */
struct sample_tree {
	struct {
		const struct sample_tree *items;
		uint32_t count;
	} children;
};
extern const struct qmt_record sample_tree_record;

/* Memory for contents; freed as a whole. {0} is empty. */
struct sample_room {
	struct sample_block *blocks;
};
void *sample_alloc(struct sample_room *room, size_t size); /* zeroed, aligned; aborts without memory */
void sample_free(struct sample_room *room);

/* A body with random contents: about one field in four stays empty; numbers sit at the edges of their widths more than
 * by chance. */
void *sample_random(const struct qmt_record *record, uint64_t *seed, struct sample_room *room);
bool sample_equal(const struct qmt_record *record, const void *a, const void *b);

/* Refs that cross as their rid. */
extern const struct codec_refs sample_refs;
struct qmt_ref sample_ref(uint32_t rid);

#endif
