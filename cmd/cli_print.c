/* cmd/cli_print.c - tables, texts and JSON on the terminal. What comes from other nodes or models is made harmless
 * first. */
#include <errno.h>
#include <unistd.h>

#include "cmd/cli.h"
#include "proto/json.h"
#include "proto/utf8.h"
#include "runtime/base/log.h"

/* What a terminal would act on (escape sequences, a change of direction) becomes a visible mark. */
static void printable(struct qmt_buf *out, struct qmt_str text, bool one_line)
{
	for (uint32_t i = 0; i < text.len; i++) {
		char c = text.p[i];
		uint32_t control = utf8_control(qmt_strn(text.p + i, text.len - i));

		if ((c == '\n' || c == '\t') && !one_line)
			qmt_buf_append(out, &c, 1);
		else if (c == '\n' || c == '\t')
			qmt_buf_str(out, " ");
		else if (control == 0)
			qmt_buf_append(out, &c, 1);
		else
			for (uint32_t k = 0; k < control; k++)
				qmt_buf_printf(out, "\\x%02x", (unsigned)(unsigned char)text.p[i + k]);
		i += control ? control - 1 : 0;
	}
}

static void write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nobody reads any more: the work goes on */
		data += n;
		len -= (size_t)n;
	}
}

void cli_text(int fd, struct qmt_str text)
{
	struct qmt_buf buf = {0};

	fflush(fd == 2 ? stderr : stdout);
	if (!isatty(fd)) {
		write_all(fd, text.p, text.len);
		return;
	}
	printable(&buf, text, false);
	write_all(fd, buf.data, buf.len);
	qmt_buf_free(&buf);
}

/* Columns that a UTF-8 text takes, one a code point: right for names and ids, close enough for the rest. */
static size_t width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

void cli_cell(struct cli_rows *rows, struct qmt_str text)
{
	struct qmt_buf buf = {0};

	if (rows->used == rows->room) {
		size_t room = rows->room ? rows->room * 2 : 64;
		char **texts = realloc(rows->texts, room * sizeof *texts);
		if (!texts)
			abort(); /* a CLI without memory for a table has nothing left to say */
		rows->texts = texts;
		rows->room = room;
	}
	qmt_buf_str(&buf, "");
	printable(&buf, text, true);
	if (buf.failed)
		abort();
	rows->texts[rows->used++] = buf.data;
}

void cli_cell_number(struct cli_rows *rows, uint64_t number)
{
	char room[24];

	cli_cell(rows, qmt_str(qmt_log_u64(room, number)));
}

void cli_cell_list(struct cli_rows *rows, const struct qmt_str *items, uint32_t count)
{
	struct qmt_buf buf = {0};

	for (uint32_t i = 0; i < count; i++)
		qmt_buf_printf(&buf, "%s%.*s", i ? " " : "", QMT_STR_ARG(items[i]));
	cli_cell(rows, qmt_buf_view(&buf));
	qmt_buf_free(&buf);
}

void cli_rows_print(struct cli_rows *rows, const char *const heads[])
{
	size_t *widths = calloc(rows->columns + 1, sizeof *widths);

	if (!widths)
		abort();
	for (size_t c = 0; c < rows->columns; c++)
		widths[c] = width(heads[c]);
	for (size_t i = 0; i < rows->used; i++)
		if (width(rows->texts[i]) > widths[i % rows->columns])
			widths[i % rows->columns] = width(rows->texts[i]);
	for (size_t i = 0; i < rows->columns + rows->used; i++) {
		const char *text = i < rows->columns ? heads[i] : rows->texts[i - rows->columns];
		bool last = i % rows->columns == rows->columns - 1;
		printf("%s%*s", text, last ? 0 : (int)(widths[i % rows->columns] - width(text) + 2), "");
		if (last)
			putchar('\n');
	}
	for (size_t i = 0; i < rows->used; i++)
		free(rows->texts[i]);
	free(rows->texts);
	free(widths);
	*rows = (struct cli_rows){.columns = rows->columns};
}

void cli_field(const char *label, struct qmt_str text)
{
	struct qmt_buf buf = {0};

	qmt_buf_printf(&buf, "%-9s", label);
	printable(&buf, text, true);
	if (!buf.failed)
		puts(buf.data);
	qmt_buf_free(&buf);
}

int cli_json(const struct qmt_record *record, const void *body)
{
	struct json *value = json_from_record(record, body, true);
	struct qmt_buf buf = {0};
	int rc = CLI_FAILED;

	if (value && json_write(value, &buf) == 0) {
		qmt_buf_str(&buf, "\n");
		cli_text(1, qmt_buf_view(&buf));
		rc = CLI_OK;
	} else {
		cli_error("out of memory");
	}
	json_free(value);
	qmt_buf_free(&buf);
	return rc;
}
