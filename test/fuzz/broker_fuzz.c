/* test/fuzz/broker_fuzz.c - any two texts, with a line end between them, as pattern and topic: what is valid is matched
 * as the slow way does. */
#include "runtime/broker.h"

#include <stdio.h>
#include <stdlib.h>

#define MUST(x)                                                     \
	do {                                                            \
		if (!(x)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                           \
	} while (0)

enum { LEVELS = QMT_DELIVERY_TEXT_MAX };

static unsigned split(struct qmt_str text, struct qmt_str *levels)
{
	unsigned count = 0;

	for (uint32_t at = 0, end; at <= text.len; at = end + 1) {
		for (end = at; end < text.len && text.p[end] != '/'; end++)
			;
		MUST(count < LEVELS);
		levels[count++] = qmt_strn(text.p + at, end - at);
	}
	return count;
}

/* reaches[t]: the pattern so far takes the first t levels. */
static bool means(struct qmt_str pattern, struct qmt_str topic)
{
	static struct qmt_str want[LEVELS], have[LEVELS];
	bool reaches[LEVELS + 1] = {true};
	unsigned wants = split(pattern, want), haves = split(topic, have);

	for (unsigned p = 0; p < wants; p++) {
		if (qmt_str_is(want[p], "**")) {
			for (unsigned t = 1; t <= haves; t++)
				reaches[t] |= reaches[t - 1];
			continue;
		}
		for (unsigned t = haves; t > 0; t--)
			reaches[t] = reaches[t - 1] && (qmt_str_is(want[p], "*") || qmt_str_eq(want[p], have[t - 1]));
		reaches[0] = false;
	}
	return reaches[haves];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *line = size ? memchr(data, '\n', size) : NULL;
	struct qmt_str pattern, topic;

	if (!line)
		return 0;
	pattern = qmt_strn((const char *)data, (size_t)(line - data));
	topic = qmt_strn((const char *)line + 1, size - pattern.len - 1);
	if (qmt_topic_is_valid(topic))
		MUST(qmt_pattern_is_valid(topic) && qmt_topic_matches(topic, topic));
	if (qmt_topic_is_valid(topic) && qmt_pattern_is_valid(pattern))
		MUST(qmt_topic_matches(pattern, topic) == means(pattern, topic));
	return 0;
}
