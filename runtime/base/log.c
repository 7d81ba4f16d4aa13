/* runtime/base/log.c - filter, line format, escaping.
 *
 *     2026-11-24T07:30:00.123Z info link.up peer=12D3… name="with space"
 *
 * A line is at most LOG_LINE bytes. That is PIPE_BUF: one write(2) of it to a pipe is never mixed with another
 * process's line nor cut in two. What does not fit is left out, and the line says so with a last key truncated=true.
 * Nothing that a peer sends may draw on the reader's terminal or forge a second line: control characters (C0, DEL, C1),
 * line and paragraph separators, direction overrides and bytes that are no UTF-8 appear as \xNN.
 */
#include "log.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LINE = 4096, COMPONENTS_MAX = 64 };
_Static_assert(LOG_LINE <= PIPE_BUF, "a line must be one atomic write to a pipe");

static const char *const level_names[] = {
	[QMT_DEBUG] = "debug",
	[QMT_INFO] = "info",
	[QMT_WARN] = "warn",
	[QMT_ERROR] = "error",
	[QMT_OFF] = "off",
};

struct rule {
	struct qmt_str component; /* points into filter */
	enum qmt_level level;
};

struct qmt_log {
	int fd;
	uint64_t (*now_ms)(void *);
	void *arg;
	enum qmt_level level; /* of components without a rule */
	uint32_t count;
	const uint64_t *trace; /* of a face: borrowed; NULL: lines show none */
	char *filter;          /* owned, but by a face */
	struct rule rules[COMPONENTS_MAX];
};

/* ---- the filter -------------------------------------------------------------------------------------------------- */

static bool level_parse(struct qmt_str text, enum qmt_level *ret_level)
{
	for (unsigned i = 0; i < sizeof level_names / sizeof level_names[0]; i++)
		if (qmt_str_is(text, level_names[i])) {
			*ret_level = (enum qmt_level)i;
			return true;
		}
	return false;
}

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static bool is_component(struct qmt_str text)
{
	for (uint32_t i = 0; i < text.len; i++)
		if (!is_name_char(text.p[i]))
			return false;
	return text.len > 0;
}

static const struct rule *rule_find(const struct qmt_log *log, struct qmt_str component)
{
	for (uint32_t i = 0; i < log->count; i++)
		if (qmt_str_eq(log->rules[i].component, component))
			return &log->rules[i];
	return NULL;
}

/* One `level` or `component=level` between two commas. */
static int part_parse(struct qmt_log *log, struct qmt_str part, bool *have_level, struct qmt_err *err)
{
	const char *equals = part.len > 0 ? memchr(part.p, '=', part.len) : NULL;
	struct qmt_str name = qmt_strn(part.p, equals ? (size_t)(equals - part.p) : 0);
	struct qmt_str word = equals ? qmt_strn(equals + 1, part.len - name.len - 1) : part;
	enum qmt_level level;

	if (part.len == 0)
		return qmt_err_set(err, -EINVAL, "log filter \"%s\": empty part between commas", log->filter);
	if (equals && !is_component(name))
		return qmt_err_set(err, -EINVAL, "log filter: \"%.*s\": bad component name \"%.*s\" (letters, digits, _ and -)",
			QMT_STR_ARG(part), QMT_STR_ARG(name));
	if (!level_parse(word, &level))
		return qmt_err_set(err, -EINVAL, "log filter: \"%.*s\": no such level \"%.*s\" (debug, info, warn, error, off)",
			QMT_STR_ARG(part), QMT_STR_ARG(word));
	if (!equals) {
		if (*have_level)
			return qmt_err_set(
				err, -EINVAL, "log filter: \"%.*s\": a second level for all components", QMT_STR_ARG(part));
		*have_level = true;
		log->level = level;
		return 0;
	}
	if (rule_find(log, name))
		return qmt_err_set(err, -EINVAL, "log filter: \"%.*s\": component given twice", QMT_STR_ARG(part));
	if (log->count == COMPONENTS_MAX)
		return qmt_err_set(
			err, -EINVAL, "log filter: \"%.*s\": more than %d components", QMT_STR_ARG(part), COMPONENTS_MAX);
	log->rules[log->count++] = (struct rule){name, level};
	return 0;
}

static int filter_parse(struct qmt_log *log, struct qmt_err *err)
{
	const char *p = log->filter;
	bool have_level = false;

	if (*p == '\0')
		return 0; /* QMT_LOG= is as good as no QMT_LOG */
	for (;;) {
		size_t len = strcspn(p, ",");
		int failed = part_parse(log, qmt_strn(p, len), &have_level, err);

		if (failed)
			return failed;
		if (p[len] == '\0')
			return 0;
		p += len + 1;
	}
}

struct qmt_log *qmt_log_new(int fd, const char *filter, uint64_t (*now_ms)(void *), void *arg, struct qmt_err *err)
{
	struct qmt_log *log = calloc(1, sizeof *log);

	if (!log || !(log->filter = qmt_str_dup(qmt_str(filter)))) {
		free(log);
		qmt_err_set(err, -ENOMEM, "log: out of memory");
		return NULL;
	}
	log->fd = fd;
	log->now_ms = now_ms;
	log->arg = arg;
	log->level = QMT_INFO;
	return filter_parse(log, err) ? qmt_log_free(log) : log;
}

struct qmt_log *qmt_log_free(struct qmt_log *log)
{
	if (log && !log->trace)
		free(log->filter);
	free(log);
	return NULL;
}

struct qmt_log *qmt_log_traced(const struct qmt_log *log, const uint64_t *trace)
{
	struct qmt_log *face = malloc(sizeof *face);

	if (!face)
		return NULL;
	*face = *log;
	face->trace = trace;
	return face;
}

bool qmt_log_on(const struct qmt_log *log, enum qmt_level level, const char *event)
{
	if (!log || level >= QMT_OFF)
		return false;
	if (log->count == 0)
		return level >= log->level;

	const struct rule *rule = rule_find(log, qmt_strn(event, strcspn(event, ".")));

	return level >= (rule ? rule->level : log->level);
}

/* ---- the line ---------------------------------------------------------------------------------------------------- */

enum { TRACE_SHOWN = sizeof " trace=0123456789abcdef" - 1 };
static const char truncated_mark[] = "\" truncated=true\n"; /* the longest possible end, without a trace */

struct line {
	uint32_t len;
	uint32_t reserved; /* bytes in front of the end */
	bool cut;
	char text[LOG_LINE];
};

/* Bytes that still fit in front of the longest end. */
static size_t line_room(const struct line *line)
{
	size_t used = line->len + line->reserved + sizeof truncated_mark - 1;

	return used < sizeof line->text ? sizeof line->text - used : 0;
}

/* All of it or nothing, so that no escape and no character is cut in two. */
static void put(struct line *line, const char *text, size_t len)
{
	if (line->cut || len > line_room(line)) {
		line->cut = true;
		return;
	}
	memcpy(line->text + line->len, text, len);
	line->len += (uint32_t)len;
}

/* Names come from our own code; a stray character must still not break the line. */
static void put_name(struct line *line, const char *name)
{
	for (; *name; name++)
		put(line, is_name_char(*name) || *name == '.' ? name : "_", 1);
}

/* Length of the well-formed UTF-8 character at p (RFC 3629, table in section 4), 0 if it is none. Reads no byte behind
 * a closing NUL. */
static unsigned utf8_char(const unsigned char *p, uint32_t *ret_code)
{
	unsigned more;

	if (p[0] < 0x80)
		more = 0;
	else if (p[0] >= 0xc2 && p[0] <= 0xdf)
		more = 1;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		more = 2;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		more = 3;
	else
		return 0;

	uint32_t code = more == 0 ? p[0] : p[0] & (0x3fu >> more);

	for (unsigned i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3fu);
	}
	if ((more == 2 && (code < 0x800 || (code >= 0xd800 && code <= 0xdfff))) ||
		(more == 3 && (code < 0x10000 || code > 0x10ffff)))
		return 0;
	*ret_code = code;
	return more + 1;
}

static bool is_drawn(uint32_t code)
{
	return code >= 0x20 && !(code >= 0x7f && code <= 0x9f)                         /* C0, DEL, C1 */
		&& code != 0x200e && code != 0x200f && !(code >= 0x2028 && code <= 0x202e) /* marks, separators, overrides */
		&& !(code >= 0x2066 && code <= 0x2069) && code != 0xfeff;                  /* isolates, byte order mark */
}

static bool is_plain(const char *value)
{
	if (*value == '\0')
		return false;
	for (const unsigned char *p = (const unsigned char *)value; *p;) {
		uint32_t code;
		unsigned len = utf8_char(p, &code);

		if (len == 0 || !is_drawn(code) || code == ' ' || code == '"' || code == '=' || code == '\\')
			return false;
		p += len;
	}
	return true;
}

static void put_escaped(struct line *line, const unsigned char *p, unsigned len)
{
	char room[5];

	for (unsigned i = 0; i < len; i++) {
		snprintf(room, sizeof room, "\\x%02x", p[i]);
		put(line, room, 4);
	}
}

static const char *short_escape(uint32_t code)
{
	switch (code) {
	case '"':
		return "\\\"";
	case '\\':
		return "\\\\";
	case '\n':
		return "\\n";
	case '\t':
		return "\\t";
	case '\r':
		return "\\r";
	default:
		return NULL;
	}
}

static void put_quoted(struct line *line, const char *value)
{
	put(line, "\"", 1);
	if (line->cut)
		return;
	for (const unsigned char *p = (const unsigned char *)value; *p && !line->cut;) {
		uint32_t code;
		unsigned len = utf8_char(p, &code);

		if (len == 0) {
			put_escaped(line, p, 1);
			p++;
			continue;
		}
		if (short_escape(code))
			put(line, short_escape(code), 2);
		else if (is_drawn(code))
			put(line, (const char *)p, len);
		else
			put_escaped(line, p, len);
		p += len;
	}
	/* put() has kept room for this quote: a cut value is closed too. */
	line->text[line->len++] = '"';
}

/* A key of whose value nothing fits is taken back: half a name reads as another one, "" as a value. */
static void put_pair(struct line *line, const char *key, const char *value)
{
	uint32_t before = line->len;

	put(line, " ", 1);
	put_name(line, key);
	put(line, "=", 1);

	uint32_t start = line->len;

	if (!value)
		put(line, "-", 1);
	else if (is_plain(value) && strlen(value) <= line_room(line))
		put(line, value, strlen(value));
	else
		put_quoted(line, value);
	if (line->cut && line->len <= start + 2)
		line->len = before;
}

static void put_time(struct line *line, uint64_t ms)
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm = {0};
	char room[64];

	if (!gmtime_r(&seconds, &tm)) /* a year that does not fit: show something that is plainly no time */
		tm = (struct tm){.tm_year = -1900, .tm_mon = -1};

	int len = snprintf(room, sizeof room, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
		tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ms % 1000));

	put(line, room, (size_t)len);
}

void qmt_log(const struct qmt_log *log, enum qmt_level level, const char *event, ...)
{
	if (!qmt_log_on(log, level, event))
		return;

	struct line line;
	va_list args;
	const char *key;

	const uint64_t trace = log->trace ? *log->trace : 0;

	line.len = 0;
	line.reserved = trace ? TRACE_SHOWN : 0;
	line.cut = false;
	put_time(&line, log->now_ms(log->arg));
	put(&line, " ", 1);
	put(&line, level_names[level], strlen(level_names[level]));
	put(&line, " ", 1);
	put_name(&line, event);

	va_start(args, event);
	while (!line.cut && (key = va_arg(args, const char *)))
		put_pair(&line, key, va_arg(args, const char *));
	va_end(args);

	if (trace)
		line.len +=
			(uint32_t)snprintf(line.text + line.len, TRACE_SHOWN + 1, " trace=%016llx", (unsigned long long)trace);

	/* truncated_mark without its quote: put_quoted has closed what it opened. */
	const char *end = line.cut ? truncated_mark + 1 : "\n";

	memcpy(line.text + line.len, end, strlen(end));
	line.len += (uint32_t)strlen(end);

	/* A log that cannot be written must not stop the program, and there is nobody to tell: the line is lost. */
	while (write(log->fd, line.text, line.len) < 0 && errno == EINTR)
		continue;
}

const char *qmt_log_u64(char room[24], uint64_t value)
{
	snprintf(room, 24, "%llu", (unsigned long long)value);
	return room;
}
