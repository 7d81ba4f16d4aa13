/* cmd/lab/upstream_script.c - parses the script of an upstream. Complaints are gathered: a person mends them in one go.
 * What the steps do on the wire is in upstream_answer.c. */
#include "cmd/lab/upstream_script.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>

#include "cmd/lab/scenario.h"
#include "runtime/base/os.h"

enum { TEXT_TO_END = -1, WORDS = 4, TIMES_MAX = 1000000000, STATUS_MIN = 100, STATUS_MAX = 999 };

/* clang-format off */
const struct upstream_step_kind upstream_step_kinds[UPSTREAM_STEP_COUNT] = {
#define TOP UPSTREAM_TOP
#define HEAD UPSTREAM_HEAD
#define BODY UPSTREAM_BODY
#define END UPSTREAM_END
#define UPSTREAM_STEP_ROW(name, usage, least, most, place, doc) {#name, usage, least, most, place, doc},
	UPSTREAM_STEPS(UPSTREAM_STEP_ROW)
#undef UPSTREAM_STEP_ROW
#undef TOP
#undef HEAD
#undef BODY
#undef END
};
/* clang-format on */

struct parser {
	struct upstream_script *script;
	struct qmt_buf *complaints;
	upstream_env_fn *env;
	unsigned line, errors;
	/* of the answer that is being read */
	struct upstream_answer *answer;
	struct qmt_buf headers;
	char status[80];
	uint64_t length;
	enum upstream_place at;
	bool length_auto, endless_headers;
	const char *eol;
};

/* ---- memory: all of it goes with the script ---------------------------------------------------------------------- */

static void *keep(struct parser *p, void *block)
{
	return lab_heap_keep(&p->script->heap, block);
}

/* The bytes of a buffer, which is empty afterwards. */
static struct qmt_bytes keep_bytes(struct parser *p, struct qmt_buf *buf)
{
	struct qmt_bytes bytes = {0};

	if (buf->failed)
		p->script->heap.failed = true;
	else if (buf->data && keep(p, buf->data))
		bytes = (struct qmt_bytes){(const uint8_t *)buf->data, (uint32_t)buf->len};
	else if (!buf->data)
		return bytes;
	if (!buf->failed)
		*buf = (struct qmt_buf){0};
	qmt_buf_free(buf);
	return bytes;
}

struct upstream_script *upstream_script_free(struct upstream_script *script)
{
	if (!script)
		return NULL;
	lab_heap_free(&script->heap);
	free(script);
	return NULL;
}

__attribute__((format(printf, 2, 3))) static void complain(struct parser *p, const char *format, ...)
{
	char text[QMT_ERR_TEXT];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	qmt_buf_printf(p->complaints, "%s:%u: %s\n", p->script->path, p->line, text);
	p->errors++;
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

/* At a `$`: appends what stands for it to *out and returns what follows. */
static const char *expand(struct parser *p, const char *at, struct qmt_buf *out)
{
	const char *name = at + 2, *end = name;
	char copy[128];

	if (at[1] == '$' && at[2] == '{') {
		qmt_buf_str(out, "${");
		return at + 3;
	}
	while (isalnum((unsigned char)*end) || *end == '_')
		end++;
	size_t len = (size_t)(end - name);
	const char *standing_in = strncmp(end, ":-", 2) == 0 ? end + 2 : NULL;
	const char *close = strchr(end, '}');

	if (at[1] != '{' || len == 0 || len >= sizeof copy || isdigit((unsigned char)*name) || !close ||
		(!standing_in && close != end)) {
		qmt_buf_append(out, at, 1);
		return at + 1;
	}
	memcpy(copy, name, len);
	copy[len] = '\0';

	const char *value = p->env(copy);

	if (value)
		qmt_buf_str(out, value);
	else if (standing_in)
		qmt_buf_append(out, standing_in, (size_t)(close - standing_in));
	else
		complain(p, "%s is not in the environment (`set %s ...` in the scenario, or ${%s:-default})", copy, copy, copy);
	return close + 1;
}

/* At a backslash. */
static const char *escape(struct parser *p, const char *at, struct qmt_buf *out)
{
	static const char names[] = "rnt0\"\\", values[] = "\r\n\t\0\"\\";
	const char *found = at[1] ? strchr(names, at[1]) : NULL;

	if (found) {
		qmt_buf_append(out, &values[found - names], 1);
		return at + 2;
	}
	if (at[1] == 'x' && isxdigit((unsigned char)at[2]) && isxdigit((unsigned char)at[3])) {
		char digits[3] = {at[2], at[3], '\0'};
		char byte = (char)strtoul(digits, NULL, 16);

		qmt_buf_append(out, &byte, 1);
		return at + 4;
	}
	complain(p, "\\%c: no such escape (there are \\r \\n \\t \\0 \\xNN \\\" \\\\)", at[1] ? at[1] : ' ');
	return at + 1;
}

/* Takes the next word out of *at. False: none is left. */
static bool word_next(struct parser *p, const char **at, struct qmt_bytes *ret_word)
{
	const char *from = *at + strspn(*at, " \t");
	struct qmt_buf word = {0};
	bool quoted = *from == '"';

	*at = from;
	if (!*from || *from == '#')
		return false;
	from += quoted;
	while (*from && (quoted ? *from != '"' : *from != ' ' && *from != '\t')) {
		if (*from == '$')
			from = expand(p, from, &word);
		else if (quoted && *from == '\\')
			from = escape(p, from, &word);
		else
			qmt_buf_append(&word, from++, 1);
	}
	if (quoted && !*from)
		complain(p, "a \" that nothing closes");
	else if (quoted && from[1] && from[1] != ' ' && from[1] != '\t')
		complain(p, "a word goes on behind its closing \" (put \\\" for a quote inside)");
	*at = from + (quoted && *from);
	qmt_buf_str(&word, ""); /* a word may be empty, but it is there */
	*ret_word = keep_bytes(p, &word);
	return true;
}

static const char *text_of(struct qmt_bytes word)
{
	return word.p ? (const char *)word.p : "";
}

/* The rest of the line, without blanks around it. */
static struct qmt_bytes text_to_end(struct parser *p, const char *at)
{
	struct qmt_buf text = {0};

	at += strspn(at, " \t");
	while (*at)
		if (*at == '$')
			at = expand(p, at, &text);
		else
			qmt_buf_append(&text, at++, 1);
	while (text.len && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
		text.data[--text.len] = '\0';
	return keep_bytes(p, &text);
}

static bool number_of(struct parser *p, struct qmt_bytes word, uint64_t most, uint64_t *ret_number)
{
	int64_t number;

	if (isdigit((unsigned char)text_of(word)[0]) && lab_number(text_of(word), &number) && (uint64_t)number <= most) {
		*ret_number = (uint64_t)number;
		return true;
	}
	complain(p, "\"%s\" is not a number from 0 to %llu", text_of(word), (unsigned long long)most);
	return false;
}

static bool time_of(struct parser *p, struct qmt_bytes word, uint64_t *ret_ms)
{
	if (lab_time(text_of(word), ret_ms))
		return true;
	complain(p, "\"%s\" is not a time (50ms, 2s)", text_of(word));
	return false;
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static struct upstream_op *add_op(struct parser *p, enum upstream_op_kind kind)
{
	struct upstream_answer *answer = p->answer;
	struct upstream_op *ops = lab_heap_grow(&p->script->heap, answer->ops, answer->op_count, sizeof *ops);

	if (!ops)
		return NULL;
	answer->ops = ops;
	ops[answer->op_count] = (struct upstream_op){.kind = kind, .line = p->line, .times = 1};
	return &ops[answer->op_count++];
}

static uint64_t body_bytes(struct parser *p)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < p->answer->op_count; i++) {
		const struct upstream_op *op = &p->answer->ops[i];

		if (op->kind == UPSTREAM_OP_BODY)
			bytes += op->times * op->data.len;
		if (op->kind == UPSTREAM_OP_ENDLESS)
			complain(p, "length auto cannot count a body that is endless (length N)");
	}
	return bytes;
}

static void end_answer(struct parser *p)
{
	struct upstream_answer *answer = p->answer;
	struct qmt_buf head = {0};

	if (!answer)
		return;
	if (!answer->bare) {
		qmt_buf_printf(&head, "HTTP/1.1 %s\r\n", p->status[0] ? p->status : "200 OK");
		qmt_buf_append(&head, p->headers.data, p->headers.len);
		if (answer->framing == UPSTREAM_CHUNKED)
			qmt_buf_str(&head, "Transfer-Encoding: chunked\r\n");
		else if (answer->framing == UPSTREAM_LENGTH)
			qmt_buf_printf(
				&head, "Content-Length: %llu\r\n", (unsigned long long)(p->length_auto ? body_bytes(p) : p->length));
		else
			qmt_buf_str(&head, "Connection: close\r\n");
		if (!p->endless_headers)
			qmt_buf_str(&head, "\r\n");
	}
	p->script->heap.failed |= p->headers.failed;
	answer->head = keep_bytes(p, &head);
	qmt_buf_free(&p->headers);
	p->answer = NULL;
}

static void begin_answer(struct parser *p, const struct qmt_bytes *words)
{
	struct upstream_script *s = p->script;
	struct upstream_answer *answers;

	end_answer(p);
	answers = lab_heap_grow(&p->script->heap, s->answers, s->answer_count, sizeof *answers);
	if (!answers)
		return;
	if (text_of(words[1])[0] != '/' && strcmp(text_of(words[1]), "*") != 0)
		complain(p, "PATH \"%s\" begins with / or is *", text_of(words[1]));
	s->answers = answers;
	p->answer = &answers[s->answer_count++];
	*p->answer = (struct upstream_answer){.method = text_of(words[0]), .path = text_of(words[1]), .line = p->line};
	p->status[0] = '\0';
	p->at = UPSTREAM_HEAD;
	p->length_auto = p->endless_headers = false;
	p->eol = "\n";
}

static void set_status(struct parser *p, const struct qmt_bytes *words, unsigned count)
{
	static const struct {
		uint64_t code;
		const char *reason;
	} known[] = {{200, "OK"}, {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"},
		{408, "Request Timeout"}, {413, "Payload Too Large"}, {429, "Too Many Requests"},
		{500, "Internal Server Error"}, {502, "Bad Gateway"}, {503, "Service Unavailable"}, {504, "Gateway Timeout"},
		{529, "Overloaded"}};
	const char *reason = count > 1 ? text_of(words[1]) : "Unknown";
	uint64_t code;

	if (!number_of(p, words[0], STATUS_MAX, &code))
		return;
	if (code < STATUS_MIN) {
		complain(p, "status %llu: a status has three digits", (unsigned long long)code);
		return;
	}
	for (size_t i = 0; count == 1 && i < sizeof known / sizeof known[0]; i++)
		if (known[i].code == code)
			reason = known[i].reason;
	(void)snprintf(p->status, sizeof p->status, "%llu %s", (unsigned long long)code, reason);
}

static void set_framing(struct parser *p, enum upstream_framing framing, struct qmt_bytes word)
{
	if (p->answer->framing != UPSTREAM_UNTIL_CLOSE)
		complain(p, "chunked and length stand once in an answer, one of them");
	p->answer->framing = framing;
	if (framing != UPSTREAM_LENGTH)
		return;
	p->length_auto = strcmp(text_of(word), "auto") == 0;
	if (!p->length_auto && !number_of(p, word, INT64_MAX, &p->length))
		return;
}

static void put_event(struct parser *p, struct qmt_buf *out, const char *text, size_t len)
{
	qmt_buf_str(out, "data: ");
	qmt_buf_append(out, text, len);
	qmt_buf_str(out, p->eol);
	qmt_buf_str(out, p->eol);
}

/* Opens what a script names: beside the script. */
static int read_beside(struct parser *p, const char *name, struct qmt_buf *ret_data, struct qmt_err *err)
{
	const char *slash = strrchr(p->script->path, '/');
	struct qmt_buf path QMT_CLEANUP(qmt_buf_free) = {0};

	if (slash && name[0] != '/')
		qmt_buf_append(&path, p->script->path, (size_t)(slash - p->script->path) + 1);
	qmt_buf_str(&path, name);
	if (path.failed)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	return qmt_os_file_read(path.data, UPSTREAM_SCRIPT_BYTES, ret_data, err);
}

/* Each line of the file is an event, and a part of its own. */
static void add_event_file(struct parser *p, const char *name, uint64_t times)
{
	struct qmt_buf data QMT_CLEANUP(qmt_buf_free) = {0};
	struct qmt_err err = {0};
	int rc = read_beside(p, name, &data, &err);

	if (rc == -ENOMEM) {
		p->script->heap.failed = true;
		return;
	}
	if (rc) {
		complain(p, "%s (files of a script lie beside it)", err.text);
		return;
	}
	for (size_t at = 0; at < data.len;) {
		const char *from = data.data + at, *end = memchr(from, '\n', data.len - at);
		size_t len = end ? (size_t)(end - from) : data.len - at;

		at += len + 1;
		len -= len && from[len - 1] == '\r';
		if (len == 0)
			continue;
		struct qmt_buf event = {0};
		struct upstream_op *op = add_op(p, UPSTREAM_OP_BODY);

		put_event(p, &event, from, len);
		if (op) {
			op->data = keep_bytes(p, &event);
			op->times = times;
		}
		qmt_buf_free(&event);
	}
}

static void add_event(struct parser *p, struct qmt_bytes text, uint64_t times)
{
	struct qmt_buf event = {0};
	struct upstream_op *op;

	if (text_of(text)[0] == '@') {
		add_event_file(p, text_of(text) + 1, times);
		return;
	}
	op = add_op(p, UPSTREAM_OP_BODY);
	put_event(p, &event, text_of(text), text.len);
	if (op) {
		op->data = keep_bytes(p, &event);
		op->times = times;
	}
	qmt_buf_free(&event);
}

static void add_data(struct parser *p, enum upstream_op_kind kind, struct qmt_bytes data, uint64_t times)
{
	struct upstream_op *op = add_op(p, kind);

	if (op) {
		op->data = data;
		op->times = times;
	}
}

static void set_eol(struct parser *p, const char *word)
{
	if (strcmp(word, "on") == 0)
		p->eol = "\r\n";
	else if (strcmp(word, "off") == 0)
		p->eol = "\n";
	else if (strcmp(word, "cr") == 0)
		p->eol = "\r";
	else
		complain(p, "crlf %s (on, off or cr)", word);
}

static void add_split(struct parser *p, const struct qmt_bytes *words, unsigned count)
{
	bool at = strcmp(text_of(words[0]), "at") == 0, off = strcmp(text_of(words[0]), "off") == 0;
	unsigned number = at ? 1 : 0, time = number + 1;
	struct upstream_op *op;

	if (count > time + 1 || (at && count < 2) || (off && count > 1)) {
		complain(p, "split: N [TIME], at N [TIME], or off");
		return;
	}
	op = add_op(p, at ? UPSTREAM_OP_SPLIT_AT : UPSTREAM_OP_SPLIT);
	if (!op || off)
		return;
	op->ms = at ? UPSTREAM_SPLIT_PAUSE_MS : 0;
	if (!number_of(p, words[number], INT64_MAX, &op->number) || (count > time && !time_of(p, words[time], &op->ms)))
		return;
	if (!at && op->number == 0)
		complain(p, "split 0: a piece has at least one byte (split off ends it)");
}

static void add_endless(struct parser *p, enum upstream_op_kind kind, const struct qmt_bytes *words, unsigned count)
{
	struct upstream_op *op = add_op(p, kind);

	if (strcmp(text_of(words[0]), "endless") != 0)
		complain(p, "\"%s\" where endless is due", text_of(words[0]));
	if (kind == UPSTREAM_OP_HEADERS) {
		p->endless_headers = true;
		if (p->answer->bare)
			complain(p, "bare and headers endless do not go together");
	}
	if (op && count > 1)
		op->data = words[1];
	if (op && count > 1 && op->data.len == 0)
		complain(p, "an endless body needs at least one byte to repeat");
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

static void take_step(struct parser *p, const char *at, uint64_t times);

static enum upstream_step_id find_step(const char *name, size_t len)
{
	unsigned id = 0;

	while (id < UPSTREAM_STEP_COUNT &&
		(strlen(upstream_step_kinds[id].name) != len || memcmp(upstream_step_kinds[id].name, name, len) != 0))
		id++;
	return (enum upstream_step_id)id;
}

static void take_repeat(struct parser *p, const char *at)
{
	struct qmt_bytes number;
	uint64_t times;
	const char *step;

	if (!word_next(p, &at, &number) || !number_of(p, number, TIMES_MAX, &times))
		return;
	step = at + strspn(at, " \t");

	enum upstream_step_id id = find_step(step, strcspn(step, " \t"));

	if (id != UPSTREAM_sse && id != UPSTREAM_text && id != UPSTREAM_raw && id != UPSTREAM_bytes) {
		complain(p, "repeat: only sse, text, raw and bytes can be repeated");
		return;
	}
	take_step(p, step, times);
}

/* Is the step due here? */
static bool is_in_place(struct parser *p, enum upstream_step_id id)
{
	const struct upstream_step_kind *kind = &upstream_step_kinds[id];
	enum upstream_place needs = kind->place;

	if (needs != UPSTREAM_TOP && !p->answer) {
		complain(p, "%s: in front of the first `on METHOD PATH`", kind->name);
		return false;
	}
	if (needs == UPSTREAM_TOP)
		return true;
	if (p->at == UPSTREAM_END) {
		complain(p, "%s: the answer has ended in the line above (begin another with `on`)", kind->name);
		return false;
	}
	if (needs == UPSTREAM_HEAD && p->at != UPSTREAM_HEAD) {
		complain(p, "%s: stands in front of the first byte of the body", kind->name);
		return false;
	}
	if (id == UPSTREAM_headers && p->at != UPSTREAM_HEAD) {
		complain(p, "headers endless: no body can stand in front of it");
		return false;
	}
	/* splitting the head, and silence in front of it, are in order */
	if (needs == UPSTREAM_END || (needs == UPSTREAM_BODY && id != UPSTREAM_split && id != UPSTREAM_wait))
		p->at = needs;
	return true;
}

static void do_step(struct parser *p, enum upstream_step_id id, const struct qmt_bytes *words, unsigned count,
	struct qmt_bytes text, uint64_t times)
{
	struct upstream_op *op;

	switch (id) {
	case UPSTREAM_on:
		begin_answer(p, words);
		break;
	case UPSTREAM_status:
		set_status(p, words, count);
		break;
	case UPSTREAM_header:
		qmt_buf_append(&p->headers, text_of(words[0]), words[0].len);
		qmt_buf_str(&p->headers, "\r\n");
		break;
	case UPSTREAM_chunked:
		set_framing(p, UPSTREAM_CHUNKED, (struct qmt_bytes){0});
		break;
	case UPSTREAM_length:
		set_framing(p, UPSTREAM_LENGTH, words[0]);
		break;
	case UPSTREAM_bare:
		p->answer->bare = true;
		break;
	case UPSTREAM_headers:
		add_endless(p, UPSTREAM_OP_HEADERS, words, count);
		break;
	case UPSTREAM_sse:
		add_event(p, text, times);
		break;
	case UPSTREAM_text:
		add_data(p, UPSTREAM_OP_BODY, text, times);
		break;
	case UPSTREAM_raw:
		add_data(p, UPSTREAM_OP_BODY, words[0], times);
		break;
	case UPSTREAM_bytes:
		add_data(p, UPSTREAM_OP_BYTES, words[0], times);
		break;
	case UPSTREAM_crlf:
		set_eol(p, text_of(words[0]));
		break;
	case UPSTREAM_split:
		add_split(p, words, count);
		break;
	case UPSTREAM_wait:
		op = add_op(p, UPSTREAM_OP_WAIT);
		if (op)
			(void)time_of(p, words[0], &op->ms);
		break;
	case UPSTREAM_body:
		add_endless(p, UPSTREAM_OP_ENDLESS, words, count);
		break;
	case UPSTREAM_close:
		(void)add_op(p, UPSTREAM_OP_CLOSE);
		break;
	case UPSTREAM_reset:
		(void)add_op(p, UPSTREAM_OP_RESET);
		break;
	case UPSTREAM_hang:
		(void)add_op(p, UPSTREAM_OP_HANG);
		break;
	case UPSTREAM_repeat:
	case UPSTREAM_STEP_COUNT:
		break;
	}
}

static void take_step(struct parser *p, const char *at, uint64_t times)
{
	size_t len = strcspn(at, " \t");
	enum upstream_step_id id = find_step(at, len);
	const struct upstream_step_kind *kind = &upstream_step_kinds[id];
	struct qmt_bytes words[WORDS] = {0}, text = {0}, more;
	int count = 0;

	if (id == UPSTREAM_STEP_COUNT) {
		complain(p, "no such step: %.*s (see qmt-lab upstream --help)", (int)len, at);
		return;
	}
	at += len;
	if (id == UPSTREAM_repeat) {
		take_repeat(p, at);
		return;
	}
	if (kind->least == TEXT_TO_END) {
		text = text_to_end(p, at);
		if (at[strspn(at, " \t")] == '\0') {
			complain(p, "%s wants a text: %s", kind->name, kind->usage);
			return;
		}
	} else {
		while (count < WORDS && word_next(p, &at, &words[count]))
			count++;
		if (count < kind->least || count > kind->most || word_next(p, &at, &more)) {
			complain(p, "%s takes other words: %s", kind->name, kind->usage);
			return;
		}
	}
	if (!p->script->heap.failed && is_in_place(p, id))
		do_step(p, id, words, (unsigned)count, text, times);
}

static void take_lines(struct parser *p, struct qmt_str text)
{
	for (size_t at = 0; at < text.len && !p->script->heap.failed;) {
		const char *from = text.p + at, *end = memchr(from, '\n', text.len - at);
		size_t len = end ? (size_t)(end - from) : text.len - at;
		struct qmt_buf line QMT_CLEANUP(qmt_buf_free) = {0};

		at += len + 1;
		p->line++;
		len -= len && from[len - 1] == '\r';
		qmt_buf_append(&line, from, len);
		if (line.failed) {
			p->script->heap.failed = true;
		} else if (len && memchr(from, '\0', len)) {
			complain(p, "a zero byte (write \\0 in quotes)");
		} else if (len) {
			const char *step = line.data + strspn(line.data, " \t");

			if (*step && *step != '#')
				take_step(p, step, 1);
		}
	}
}

int upstream_script_parse(const char *path, struct qmt_str text, upstream_env_fn *env,
	struct upstream_script **ret_script, struct qmt_buf *complaints)
{
	struct upstream_script *script = calloc(1, sizeof *script);
	struct parser p = {.script = script, .complaints = complaints, .env = env};
	char *name;

	if (!script)
		return -ENOMEM;
	name = keep(&p, qmt_str_dup(qmt_str(path)));
	script->path = name ? name : "";
	if (name) {
		take_lines(&p, text);
		end_answer(&p);
		if (!p.errors && script->answer_count == 0) {
			p.line = 1;
			complain(&p, "no answer in it (begin one with `on POST /v1/chat/completions`)");
		}
	}
	qmt_buf_free(&p.headers);
	if (script->heap.failed || p.errors || complaints->failed) {
		int rc = script->heap.failed || complaints->failed ? -ENOMEM : -EINVAL;
		upstream_script_free(script);
		return rc;
	}
	*ret_script = script;
	return 0;
}

int upstream_script_load(
	const char *path, upstream_env_fn *env, struct upstream_script **ret_script, struct qmt_buf *complaints)
{
	struct qmt_buf text QMT_CLEANUP(qmt_buf_free) = {0};
	struct qmt_err err = {0};
	int rc = qmt_os_file_read(path, UPSTREAM_SCRIPT_BYTES, &text, &err);

	if (rc) {
		qmt_buf_printf(complaints, "%s\n", err.text);
		return rc;
	}
	return upstream_script_parse(path, qmt_buf_view(&text), env, ret_script, complaints);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static bool fits(const struct upstream_answer *answer, struct qmt_str method, struct qmt_str path)
{
	return (strcmp(answer->method, "*") == 0 || qmt_str_is(method, answer->method)) &&
		(strcmp(answer->path, "*") == 0 || qmt_str_is(path, answer->path));
}

struct upstream_answer *upstream_script_take(
	struct upstream_script *script, struct qmt_str method, struct qmt_str target)
{
	const char *query = target.len ? memchr(target.p, '?', target.len) : NULL;
	struct qmt_str path = query ? qmt_strn(target.p, (size_t)(query - target.p)) : target;
	struct upstream_answer *last = NULL;

	for (unsigned i = 0; i < script->answer_count; i++) {
		struct upstream_answer *answer = &script->answers[i];

		if (!fits(answer, method, path))
			continue;
		last = answer;
		if (!answer->used)
			break;
	}
	if (last)
		last->used = true;
	return last;
}
