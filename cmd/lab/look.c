/* cmd/lab/look.c - tests of what a process wrote, of files and of JSON. */
#include <errno.h>
#include <regex.h>

#include "cmd/lab/player.h"
#include "proto/json.h"

enum { SHOWN_BYTES = 1500 };

/* What was there, for a report: the end of it when it is long. */
static void show(struct qmt_buf *why, struct qmt_str text)
{
	if (!why)
		return;
	why->len = 0;
	if (text.len > SHOWN_BYTES)
		qmt_buf_printf(why, "[…%u bytes before]\n", text.len - SHOWN_BYTES);
	if (text.len > SHOWN_BYTES)
		text = qmt_strn(text.p + text.len - SHOWN_BYTES, SHOWN_BYTES);
	qmt_buf_append(why, text.p, text.len);
	if (!text.len)
		qmt_buf_str(why, "(nothing)");
}

static struct qmt_str chomp(struct qmt_str text)
{
	if (text.len && text.p[text.len - 1] == '\n')
		text.len--;
	return text;
}

static bool contains(struct qmt_str text, const char *part)
{
	return part[0] == '\0' || (text.len && memmem(text.p, text.len, part, strlen(part)));
}

/* 1 found, 0 not, -1 after lab_fail. group, where wanted: what the first ( ) took, else all of it. */
static int matches(struct lab_run *run, struct qmt_str text, const char *expression, struct qmt_str *ret_group)
{
	regex_t regex;
	regmatch_t at[2] = {{.rm_so = 0, .rm_eo = (regoff_t)text.len}, {-1, -1}};
	char reason[256];
	int rc = regcomp(&regex, expression, REG_EXTENDED | REG_NEWLINE);

	if (rc != 0) {
		regerror(rc, &regex, reason, sizeof reason);
		lab_fail(run, "a regular expression, not %s: %s", expression, reason);
		return -1;
	}
	rc = regexec(&regex, text.p ? text.p : "", 2, at, REG_STARTEND);
	regfree(&regex);
	if (rc == 0 && ret_group) {
		regmatch_t *group = at[1].rm_so >= 0 ? &at[1] : &at[0];
		*ret_group = qmt_strn(text.p + group->rm_so, (size_t)(group->rm_eo - group->rm_so));
	}
	return rc == 0;
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

static bool as_number(struct qmt_str text, double *ret_number)
{
	char room[64], *end;

	if (!text.len || text.len >= sizeof room)
		return false;
	memcpy(room, text.p, text.len);
	room[text.len] = '\0';
	*ret_number = strtod(room, &end);
	return end != room && *end == '\0';
}

int lab_compare(struct lab_run *run, struct qmt_str have, const char *op, const char *want)
{
	struct qmt_str wanted = qmt_str(want);
	double a, b;
	bool numbers = as_number(have, &a) && as_number(wanted, &b);

	if (strcmp(op, "has") == 0)
		return contains(have, want);
	if (strcmp(op, "lacks") == 0)
		return !contains(have, want);
	if (strcmp(op, "matches") == 0)
		return matches(run, have, want, NULL);
	if (strcmp(op, "==") == 0)
		return numbers ? a == b : qmt_str_eq(have, wanted);
	if (strcmp(op, "!=") == 0)
		return numbers ? a != b : !qmt_str_eq(have, wanted);
	if (strcmp(op, "<") != 0 && strcmp(op, "<=") != 0 && strcmp(op, ">") != 0 && strcmp(op, ">=") != 0) {
		lab_fail(run, "one of == != < <= > >= has lacks matches exists missing, not %s", op);
		return -1;
	}
	if (!numbers)
		return 0;
	return op[0] == '<' ? (op[1] ? a <= b : a < b) : op[1] ? a >= b : a > b;
}

/* ---- JSON paths -------------------------------------------------------------------------------------------------- */

/* A value as text: a string without quotes, everything else as JSON. */
static void text_of(const struct json *value, struct qmt_buf *out)
{
	out->len = 0;
	qmt_buf_str(out, "");
	if (json_is_string(value))
		qmt_buf_append(out, json_str(value).p, json_str(value).len);
	else
		out->failed |= json_write(value, out) != 0;
}

/* Does the member fit all of "key=value&key=value"? */
static bool member_fits(const struct json *member, struct qmt_str wanted)
{
	struct qmt_buf text = {0};
	bool fits = true;

	while (fits && wanted.len) {
		const char *end = memchr(wanted.p, '&', wanted.len);
		struct qmt_str one = qmt_strn(wanted.p, end ? (size_t)(end - wanted.p) : wanted.len);
		const char *equals = one.len ? memchr(one.p, '=', one.len) : NULL;
		char *key = equals ? strndup(one.p, (size_t)(equals - one.p)) : NULL;
		const struct json *value = key ? json_get(member, key) : NULL;

		text_of(value, &text);
		fits = value && qmt_str_eq(qmt_buf_view(&text), qmt_strn(equals + 1, one.len - (size_t)(equals + 1 - one.p)));
		free(key);
		wanted = end ? qmt_strn(end + 1, wanted.len - one.len - 1) : (struct qmt_str){0};
	}
	qmt_buf_free(&text);
	return fits;
}

/* How many members of the array fit; *ret_first is the first of them. */
static size_t members_with(const struct json *array, struct qmt_str wanted, const struct json **ret_first)
{
	size_t found = 0;

	*ret_first = NULL;
	for (size_t i = 0; i < json_count(array); i++)
		if (member_fits(json_at(array, i), wanted) && found++ == 0)
			*ret_first = json_at(array, i);
	return found;
}

/* Finds what lies at the path. 1 and *ret_text; 0: nothing lies there; -1 after lab_fail: no path. */
static int path_find(struct lab_run *run, const struct json *value, const char *path, struct qmt_buf *ret_text)
{
	const char *at = path;

	while (*at) {
		if (*at == '.' && at[1] == '\0') {
			at++;
		} else if (*at == '.') {
			size_t len = strcspn(at + 1, ".[#");
			char *key = strndup(at + 1, len);
			value = key && json_is_object(value) ? json_get(value, key) : NULL;
			free(key);
			at += 1 + len;
		} else if (*at == '#' && at[1] == '\0') {
			if (!value)
				return 0;
			ret_text->len = 0;
			qmt_buf_printf(ret_text, "%zu", json_count(value));
			return 1;
		} else if (*at == '[' && strchr(at, ']')) {
			const char *end = strchr(at, ']'), *equals = memchr(at, '=', (size_t)(end - at));
			char *rest;
			long index = equals ? 0 : strtol(at + 1, &rest, 10);
			size_t found = 0;
			if (!equals && rest != end)
				goto no_path;
			if (!json_is_array(value))
				value = NULL;
			else if (equals)
				found = members_with(value, qmt_strn(at + 1, (size_t)(end - at - 1)), &value);
			else if (index < 0)
				value = (size_t)-index <= json_count(value) ? json_at(value, json_count(value) - (size_t)-index) : NULL;
			else
				value = (size_t)index < json_count(value) ? json_at(value, (size_t)index) : NULL;
			at = end + 1;
			if (equals && strcmp(at, "#") == 0) {
				ret_text->len = 0;
				qmt_buf_printf(ret_text, "%zu", found);
				return 1;
			}
		} else {
			goto no_path;
		}
		if (!value)
			return 0;
	}
	text_of(value, ret_text);
	return 1;
no_path:
	lab_fail(run, "a path (.key [0] [-1] [key=value&key=value] #), not %s", path);
	return -1;
}

/* PATH OP VALUE [and ...] on one value. */
static int conditions(struct lab_run *run, const struct json *value, char **words, unsigned count, struct qmt_buf *why)
{
	struct qmt_buf have = {0};
	int rc = 1;

	for (unsigned at = 0; rc == 1; at++) {
		const char *path = at < count ? words[at] : NULL, *op = at + 1 < count ? words[at + 1] : NULL;
		bool alone = op && (strcmp(op, "exists") == 0 || strcmp(op, "missing") == 0);
		if (!path || !op || (!alone && at + 2 >= count)) {
			lab_fail(run, "PATH OP VALUE [and PATH OP VALUE]...");
			rc = -1;
			break;
		}
		int found = path_find(run, value, path, &have);
		if (found < 0)
			rc = -1;
		else if (alone)
			rc = found == (op[0] == 'e');
		else
			rc = found ? lab_compare(run, qmt_buf_view(&have), op, words[at + 2]) : 0;
		if (rc == 0 && why) {
			why->len = 0;
			qmt_buf_printf(why, "%s is %s", path, found ? have.data : "not there");
		}
		at += alone ? 2 : 3;
		if (at >= count)
			break;
		if (rc == 1 && strcmp(words[at], "and") != 0) {
			lab_fail(run, "\"and\", not %s", words[at]);
			rc = -1;
		}
	}
	qmt_buf_free(&have);
	return rc;
}

/* Calls `use` for each line that is a JSON document until it gives something else than 0. */
static int lines_find(struct lab_run *run, struct qmt_str text, char **words, unsigned count, const char *save_path,
	struct qmt_buf *saved)
{
	int rc = 0;

	for (uint32_t begin = 0; rc >= 0 && (save_path || rc == 0) && begin < text.len;) {
		const char *from = text.p + begin, *end = memchr(from, '\n', text.len - begin);
		uint32_t len = end ? (uint32_t)(end - from) : text.len - begin;
		struct json *value = NULL;
		if (len && json_parse(qmt_strn(from, len), &value, NULL) == 0) {
			int holds = count ? conditions(run, value, words, count, NULL) : 1;
			if (holds > 0 && save_path)
				holds = path_find(run, value, save_path, saved);
			if (holds != 0)
				rc = holds;
		}
		json_free(value);
		begin += len + 1;
	}
	return rc;
}

static int json_test(struct lab_run *run, struct qmt_str text, char **words, unsigned count, struct qmt_buf *why)
{
	struct json *value = NULL;
	struct qmt_err err = {0};
	int rc = 0;

	if (json_parse(text, &value, &err) != 0) {
		show(why, text);
		if (why)
			qmt_buf_printf(why, "\n(no JSON document: %s)", err.text);
	} else {
		rc = conditions(run, value, words, count, why);
		if (rc == 0 && why) {
			qmt_buf_str(why, "\nin ");
			qmt_buf_append(why, text.p, text.len < SHOWN_BYTES ? text.len : SHOWN_BYTES);
		}
	}
	json_free(value);
	return rc;
}

/* save VAR [matches RE | json PATH | line PATH [and ...]] */
static int save(struct lab_run *run, struct qmt_str text, char **words, unsigned count)
{
	struct qmt_buf value = {0};
	struct qmt_str part = chomp(text);
	struct json *document = NULL;
	int rc = -1;

	if (count == 1) {
		qmt_buf_append(&value, part.p, part.len);
		rc = 1;
	} else if (count == 3 && strcmp(words[1], "matches") == 0) {
		rc = matches(run, text, words[2], &part);
		qmt_buf_append(&value, part.p, part.len);
	} else if (count == 3 && strcmp(words[1], "json") == 0) {
		rc = json_parse(text, &document, NULL) == 0 ? path_find(run, document, words[2], &value) : 0;
	} else if (count >= 3 && strcmp(words[1], "line") == 0) {
		bool more = count > 3;
		rc = lines_find(run, text, words + 4, more ? count - 4 : 0, words[2], &value);
	} else {
		lab_fail(run, "save VAR [matches REGEXP | json PATH | line PATH [and PATH OP VALUE]...]");
	}
	if (rc == 1)
		lab_set(run->player, words[0], value.data ? value.data : "");
	json_free(document);
	qmt_buf_free(&value);
	return rc;
}

/* TEXT, or the file behind @. */
static int is_exactly(struct lab_run *run, struct qmt_str text, const char *want)
{
	struct qmt_buf data = {0}, path = {0};
	struct qmt_err err = {0};
	int rc;

	if (want[0] != '@')
		return qmt_str_eq(chomp(text), chomp(qmt_str(want)));
	qmt_buf_printf(&path, "%s/%s", run->player->options.folder, want + 1);
	rc = path.failed ? -ENOMEM : qmt_os_file_read(path.data, LAB_FILE_BYTES, &data, &err);
	if (rc != 0)
		lab_fail(run, "the file %s: %s", want + 1, err.text);
	else
		rc = qmt_str_eq(chomp(text), chomp(qmt_buf_view(&data)));
	qmt_buf_free(&path);
	qmt_buf_free(&data);
	return rc;
}

int lab_test(struct lab_run *run, char **words, unsigned count, struct qmt_str text, struct qmt_buf *why)
{
	const char *name = words[0];
	int rc;

	if (strcmp(name, "json") == 0)
		return json_test(run, text, words + 1, count - 1, why);
	if (strcmp(name, "is") == 0)
		rc = is_exactly(run, text, words[1]);
	else if (strcmp(name, "empty") == 0)
		rc = chomp(text).len == 0;
	else if (strcmp(name, "line") == 0)
		rc = lines_find(run, text, words + 1, count - 1, NULL, NULL);
	else if (strcmp(name, "save") == 0)
		rc = save(run, text, words + 1, count - 1);
	else if (count == 2)
		rc = lab_compare(run, text, name, words[1]);
	else
		rc = -1;
	if (rc == 0)
		show(why, text);
	if (rc < 0)
		lab_fail(run, "a test, not %s", name);
	return rc;
}
