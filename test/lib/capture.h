/* test/lib/capture.h - captured HTTP answers (test/vectors/openai/NAME.http) for tests; every fault ends the test. */
#ifndef TEST_CAPTURE_H
#define TEST_CAPTURE_H

#include "runtime/base/bytes.h"

struct capture {
	struct qmt_buf all;
	struct qmt_str head; /* status line and headers, without the empty line */
	struct qmt_str body;
};

void capture_load(struct capture *capture, const char *name);
void capture_free(struct capture *capture);

#endif
