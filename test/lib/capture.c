/* test/lib/capture.c - captured HTTP answers for tests. */
#include "capture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "runtime/base/os.h"

enum { CAPTURE_BYTES = 1 << 20 };

void capture_load(struct capture *capture, const char *name)
{
	struct qmt_err err = {0};
	char path[256];

	*capture = (struct capture){0};
	snprintf(path, sizeof path, "test/vectors/openai/%s", name);
	if (qmt_os_file_read(path, CAPTURE_BYTES, &capture->all, &err) < 0)
		fail_msg("%s (run from the top of the tree)", err.text);

	const char *end = strstr(capture->all.data, "\r\n\r\n");

	if (!end)
		fail_msg("%s: no end of headers", path);
	capture->head = qmt_strn(capture->all.data, (size_t)(end - capture->all.data) + 2);
	capture->body = qmt_strn(end + 4, capture->all.len - capture->head.len - 2);
}

void capture_free(struct capture *capture)
{
	qmt_buf_free(&capture->all);
}
