/* actors/session/edit_match.c - see the header. */
#include "edit_match.h"

#include <errno.h>

struct lines {
	struct qmt_str *at; /* without newline */
	size_t count;
	bool ends; /* the last one ends with a newline */
};

static int split(struct qmt_str text, struct lines *ret_lines)
{
	size_t count = 0;
	const char *end = text.p + text.len;
	for (const char *p = text.p; p < end; count++) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		p = newline ? newline + 1 : end;
	}
	struct lines lines = {
		.at = malloc((count + 1) * sizeof(*lines.at)), .count = count, .ends = text.len && end[-1] == '\n'};
	if (!lines.at)
		return -ENOMEM;
	const char *p = text.p;
	for (size_t i = 0; i < count; i++) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		lines.at[i] = qmt_strn(p, (size_t)((newline ? newline : end) - p));
		p = newline ? newline + 1 : end;
	}
	*ret_lines = lines;
	return 0;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct qmt_str indent_of(struct qmt_str line)
{
	uint32_t n = 0;
	while (n < line.len && is_space(line.p[n]))
		n++;
	return qmt_strn(line.p, n);
}

static struct qmt_str trim(struct qmt_str line)
{
	uint32_t skip = indent_of(line).len;
	line = qmt_strn(line.p + skip, line.len - skip);
	while (line.len && is_space(line.p[line.len - 1]))
		line.len--;
	return line;
}

static bool starts_with(struct qmt_str text, struct qmt_str start)
{
	return text.len >= start.len && memcmp(text.p, start.p, start.len) == 0;
}

/* The white space by which a block of the file differs from the old text. */
struct shift {
	struct qmt_str prefix;
	bool removed; /* the file has less, not more */
};

/* file: the first of count lines to compare. */
static bool same_shifted(const struct qmt_str *file, const struct qmt_str *old, size_t count, struct shift *ret_shift)
{
	struct shift shift = {0};
	bool known = false;
	for (size_t i = 0; i < count; i++) {
		struct qmt_str a = trim(file[i]), b = trim(old[i]);
		if (a.len == 0 && b.len == 0)
			continue;
		struct qmt_str have = indent_of(file[i]), want = indent_of(old[i]);
		if (!qmt_str_eq(qmt_strn(file[i].p + have.len, file[i].len - have.len),
				qmt_strn(old[i].p + want.len, old[i].len - want.len)))
			return false;
		bool removed = have.len < want.len;
		struct qmt_str wide = removed ? want : have, narrow = removed ? have : want;
		struct qmt_str prefix = qmt_strn(wide.p, wide.len - narrow.len);
		if (!qmt_str_eq(qmt_strn(wide.p + prefix.len, narrow.len), narrow))
			return false;
		if (known && (!qmt_str_eq(prefix, shift.prefix) || (removed != shift.removed && prefix.len)))
			return false;
		shift = (struct shift){prefix, removed};
		known = true;
	}
	*ret_shift = shift;
	return known;
}

static bool same_trimmed(const struct qmt_str *file, const struct qmt_str *old, size_t count, struct shift *ret_shift)
{
	for (size_t i = 0; i < count; i++)
		if (!qmt_str_eq(trim(file[i]), trim(old[i])))
			return false;
	*ret_shift = (struct shift){0};
	return true;
}

static void append_shifted(struct qmt_buf *out, struct qmt_str text, const struct shift *shift)
{
	const char *end = text.p + text.len;
	for (const char *p = text.p; p < end;) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		struct qmt_str line = qmt_strn(p, (size_t)((newline ? newline + 1 : end) - p));
		p += line.len;
		if (shift->removed && starts_with(line, shift->prefix))
			line = qmt_strn(line.p + shift->prefix.len, line.len - shift->prefix.len);
		else if (!shift->removed && trim(line).len && trim(line).p[0] != '\n')
			qmt_buf_append(out, shift->prefix.p, shift->prefix.len);
		qmt_buf_append(out, line.p, line.len);
	}
}

typedef bool compare_lines(
	const struct qmt_str *file, const struct qmt_str *old, size_t count, struct shift *ret_shift);

static void replace_lines(struct qmt_str file, const struct lines *have, const struct lines *want,
	struct qmt_str new_text, bool all, compare_lines *same, struct edit_result *result)
{
	const char *copied = file.p;
	size_t work = 0;
	for (size_t i = 0; i + want->count <= have->count;) {
		struct shift shift;
		if (!qmt_str_eq(trim(have->at[i]), trim(want->at[0]))) {
			i++;
			continue;
		}
		work += want->count;
		if (work > EDIT_WORK) {
			result->found = 0;
			break;
		}
		if (!same(have->at + i, want->at, want->count, &shift)) {
			i++;
			continue;
		}
		struct qmt_str last = have->at[i + want->count - 1];
		const char *end = last.p + last.len;
		if (want->ends && end < file.p + file.len)
			end++;
		qmt_buf_append(&result->text, copied, (size_t)(have->at[i].p - copied));
		append_shifted(&result->text, new_text, &shift);
		copied = end;
		result->found++;
		i += want->count;
	}
	if (result->found)
		qmt_buf_append(&result->text, copied, (size_t)(file.p + file.len - copied));
	if (result->found == 0 || (result->found > 1 && !all))
		qmt_buf_free(&result->text);
}

static void replace_exact(
	struct qmt_str file, struct qmt_str old_text, struct qmt_str new_text, bool all, struct edit_result *result)
{
	const char *end = file.p + file.len, *copied = file.p;
	for (const char *at; (at = memmem(copied, (size_t)(end - copied), old_text.p, old_text.len)) != NULL;
		 copied = at + old_text.len) {
		qmt_buf_append(&result->text, copied, (size_t)(at - copied));
		qmt_buf_append(&result->text, new_text.p, new_text.len);
		result->found++;
	}
	qmt_buf_append(&result->text, copied, (size_t)(end - copied));
	if (result->found == 0 || (result->found > 1 && !all))
		qmt_buf_free(&result->text);
}

/* Models write \n; a file with \r\n keeps its own. */
static struct qmt_str with_line_ends_of(struct qmt_str file, struct qmt_str text, struct qmt_buf *room)
{
	const char *newline = file.len ? memchr(file.p, '\n', file.len) : NULL;
	if (!newline || newline == file.p || newline[-1] != '\r' || (text.len && memchr(text.p, '\r', text.len)))
		return text;
	for (uint32_t i = 0; i < text.len; i++) {
		if (text.p[i] == '\n')
			qmt_buf_append(room, "\r", 1);
		qmt_buf_append(room, text.p + i, 1);
	}
	return qmt_buf_view(room);
}

static void lines_free(struct lines *lines)
{
	free(lines->at);
}

int edit_replace(
	struct qmt_str file, struct qmt_str old_text, struct qmt_str new_text, bool all, struct edit_result *ret_result)
{
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf old_room = {0}, new_room = {0};
	QMT_CLEANUP(lines_free) struct lines have = {0}, want = {0};
	old_text = with_line_ends_of(file, old_text, &old_room);
	new_text = with_line_ends_of(file, new_text, &new_room);
	if (old_room.failed || new_room.failed)
		return -ENOMEM;

	struct edit_result result = {.match = "exact"};
	if (file.len)
		replace_exact(file, old_text, new_text, all, &result);
	if (!result.found && (split(file, &have) || split(old_text, &want)))
		return -ENOMEM;
	bool words = false;
	for (size_t i = 0; i < want.count; i++)
		words |= trim(want.at[i]).len != 0;
	if (!result.found && words && want.count <= EDIT_LINES) {
		static const struct {
			const char *name;
			compare_lines *same;
		} matchers[] = {{"indentation", same_shifted}, {"trimmed", same_trimmed}};
		for (size_t i = 0; i < 2 && !result.found; i++) {
			result.match = matchers[i].name;
			replace_lines(file, &have, &want, new_text, all, matchers[i].same, &result);
		}
	}
	if (!result.found)
		result.match = NULL;
	if (result.text.failed) {
		qmt_buf_free(&result.text);
		return -ENOMEM;
	}
	*ret_result = result;
	return 0;
}
