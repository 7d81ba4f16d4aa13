/* cmd/qmt_input.c - see qmt_input.h. */
#include "cmd/qmt_input.h"

#include <errno.h>
#include <unistd.h>

#include "runtime/base/os.h"

void input_wipe(struct qmt_buf *data)
{
	if (data->data)
		explicit_bzero(data->data, data->len);
	qmt_buf_free(data);
}

int input_read(size_t limit, struct qmt_buf *ret_data, struct qmt_err *err)
{
	struct qmt_buf data = {0};
	char *room = qmt_buf_reserve(&data, limit + 1); /* in one piece: growing would leave copies behind */
	ssize_t got = 1;

	if (!room)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	while (got != 0 && data.len <= limit) {
		got = read(0, room + data.len, limit + 1 - data.len);
		if (got < 0 && errno != EINTR) {
			int code = -errno;
			input_wipe(&data);
			return qmt_err_set(err, code, "standard input: %s", strerror(-code));
		}
		if (got > 0)
			data.len += (size_t)got;
	}
	if (data.len > limit) {
		input_wipe(&data);
		return qmt_err_set(err, -EFBIG, "standard input: longer than %zu bytes", limit);
	}
	*ret_data = data;
	return 0;
}

int input_argument(const char *argument, size_t limit, struct qmt_buf *ret_text, struct qmt_err *err)
{
	struct qmt_buf text = {0};
	int rc;

	if (strcmp(argument, "-") == 0) {
		rc = input_read(limit, &text, err);
	} else if (argument[0] == '@') {
		rc = qmt_os_file_read(argument + 1, limit, &text, err);
	} else {
		qmt_buf_str(&text, argument);
		rc = text.failed ? qmt_err_set(err, -ENOMEM, "out of memory") : 0;
		if (rc == 0)
			*ret_text = text;
		return rc;
	}
	if (rc != 0)
		return rc;
	if (text.len > 0 && text.data[text.len - 1] == '\n')
		text.len--;
	*ret_text = text;
	return 0;
}

void input_hide(const char *argument)
{
	char *text = (char *)(uintptr_t)argument;

	if (argument[0] != '@' && strcmp(argument, "-") != 0)
		memset(text, '*', strlen(text));
}
