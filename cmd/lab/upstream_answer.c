/* cmd/lab/upstream_answer.c - see upstream_answer.h.
 *
 *      READING --whole request--> ANSWERING --last step, framed--> READING
 *         |                           |  \--endless, hang: until the client goes
 *         v                           v
 *      CLOSED <--client gone, close, reset, no framing, refused
 *
 * An answer is pulled: when all that waits in `out` has left, the next step is asked for more. So whatever the steps
 * are, a slow reader holds them up and nothing piles up here. Each piece is one uv_write, and the next one begins
 * when the loop has come round: one send call each.
 */
#include "cmd/lab/upstream_answer.h"

#include <ctype.h>
#include <stdarg.h>

enum { READ_BYTES = 65536, ENDLESS_BYTES = 4096 };

enum cut { CUT_NONE, CUT_AHEAD, CUT_DONE };

struct upstream_connection {
	struct upstream *upstream;
	struct upstream_connection *next, **self;
	uv_tcp_t tcp;
	uv_timer_t timer;
	uv_write_t write;
	unsigned open_handles;
	bool closed, writing, waiting;
	char room[READ_BYTES];
	struct qmt_buf in; /* the request, and what follows it */
	bool continued;    /* "100 Continue" was said for it */
	/* the answer under way */
	struct upstream_answer *answer;
	uint64_t request, counted; /* number; repetitions of the step so far */
	unsigned op;
	bool head_out, flushed, hanging;
	struct qmt_buf out, held; /* for the socket; of the body, while it is to be cut at one place */
	size_t out_at, piece;
	uint64_t piece_ms, pause_ms;
	enum cut cut;
	uint64_t cut_at, cut_ms;
	uint64_t body_at, sent; /* bytes of the body, framed so far; bytes that left */
	size_t writing_bytes;
};

static void advance(struct upstream_connection *c);

void upstream_event(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vprintf(format, args);
	va_end(args);
	(void)putchar('\n');
	(void)fflush(stdout);
}

/* Bytes of a client as one line. */
static void event_text(const char *head, uint64_t number, const char *text, size_t len)
{
	if (head)
		(void)printf("%s %llu ", head, (unsigned long long)number);
	for (size_t i = 0; i < len; i++)
		(void)putchar((unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i]);
	(void)putchar('\n');
	(void)fflush(stdout);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
	struct upstream_connection *c = handle->data;

	if (--c->open_handles)
		return;
	qmt_buf_free(&c->in);
	qmt_buf_free(&c->out);
	qmt_buf_free(&c->held);
	free(c);
}

static void end(struct upstream_connection *c, bool reset)
{
	if (c->closed)
		return;
	c->closed = true;
	*c->self = c->next;
	if (c->next)
		c->next->self = c->self;
	uv_close((uv_handle_t *)&c->timer, on_closed);
	if (!reset || uv_tcp_close_reset(&c->tcp, on_closed))
		uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void end_with(struct upstream_connection *c, const char *what, bool reset)
{
	upstream_event(
		"%s, request %llu after %llu bytes", what, (unsigned long long)c->request, (unsigned long long)c->sent);
	end(c, reset);
}

/* A client that had not read all resets the connection, also when it only meant to close it. */
static void client_gone(struct upstream_connection *c, int status)
{
	const char *how = status == UV_EOF ? "closed by client" : "closed by client (reset)";

	if (c->closed)
		return;
	if (c->answer)
		end_with(c, how, false);
	else if (c->in.len)
		upstream_event("%s in the middle of a request", how);
	else
		upstream_event("idle connection closed");
	end(c, false);
}

void upstream_close_all(struct upstream *upstream)
{
	while (upstream->connections)
		end(upstream->connections, false);
}

/* ---- body -------------------------------------------------------------------------------------------------------- */

static void put_framed(struct upstream_connection *c, const void *data, size_t len)
{
	bool chunked = c->answer->framing == UPSTREAM_CHUNKED;

	if (len == 0)
		return; /* a chunk of no bytes would be the last one */
	if (chunked)
		qmt_buf_printf(&c->out, "%zx\r\n", len);
	qmt_buf_append(&c->out, data, len);
	if (chunked)
		qmt_buf_str(&c->out, "\r\n");
	c->body_at += len;
}

static void flush_held(struct upstream_connection *c)
{
	put_framed(c, c->held.data, c->held.len);
	c->held.len = 0;
}

static void put_body(struct upstream_connection *c, const void *data, size_t len)
{
	if (c->cut == CUT_NONE) {
		put_framed(c, data, len);
		return;
	}
	qmt_buf_append(&c->held, data, len);
	if (c->cut == CUT_AHEAD && c->body_at + c->held.len >= c->cut_at) {
		size_t first = c->cut_at > c->body_at ? (size_t)(c->cut_at - c->body_at) : 0;

		put_framed(c, c->held.data, first);
		qmt_buf_consume(&c->held, first);
		c->cut = CUT_DONE;
		c->pause_ms = c->cut_ms;
	}
}

static void put_endless(struct upstream_connection *c, const struct upstream_op *op)
{
	char block[2 * ENDLESS_BYTES];
	size_t len = 0;

	if (op->data.len >= ENDLESS_BYTES) {
		put_body(c, op->data.p, op->data.len);
		return;
	}
	if (op->kind == UPSTREAM_OP_HEADERS) {
		memset(block, 'a', ENDLESS_BYTES);
		qmt_buf_printf(&c->out, "X-Endless-%llu: %.*s\r\n", (unsigned long long)++c->counted, ENDLESS_BYTES, block);
		return;
	}
	do {
		size_t part = op->data.len ? op->data.len : 1;

		memcpy(block + len, op->data.len ? (const char *)op->data.p : "x", part);
		len += part;
	} while (len < ENDLESS_BYTES);
	put_body(c, block, len);
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static bool next_request(struct upstream_connection *c);

static void put_head(struct upstream_connection *c)
{
	if (!c->head_out)
		qmt_buf_append(&c->out, c->answer->head.p, c->answer->head.len);
	c->head_out = true;
}

static void on_waited(uv_timer_t *timer)
{
	struct upstream_connection *c = timer->data;

	c->waiting = false;
	advance(c);
}

static void wait_ms(struct upstream_connection *c, uint64_t ms)
{
	c->waiting = ms > 0 && uv_timer_start(&c->timer, on_waited, ms, 0) == 0;
}

/* The answer is over, and all of it has left. */
static void finish(struct upstream_connection *c)
{
	struct upstream_answer *answer = c->answer;

	upstream_event("sent %llu bytes, request %llu", (unsigned long long)c->sent, (unsigned long long)c->request);
	c->answer = NULL;
	if (answer->bare || answer->framing == UPSTREAM_UNTIL_CLOSE)
		end(c, false);
	else
		(void)next_request(c);
}

/* The last step, or the end of them: first what is still held leaves, then it is carried out. */
static void last_step(struct upstream_connection *c, const struct upstream_op *op)
{
	if (!c->flushed) {
		c->flushed = true;
		put_head(c);
		flush_held(c);
		if (!op && c->answer->framing == UPSTREAM_CHUNKED)
			qmt_buf_str(&c->out, "0\r\n\r\n");
		return;
	}
	if (!op) {
		finish(c);
	} else if (op->kind == UPSTREAM_OP_CLOSE) {
		end_with(c, "closed", false);
	} else if (op->kind == UPSTREAM_OP_RESET) {
		end_with(c, "reset", true);
	} else if (op->kind == UPSTREAM_OP_HANG) {
		upstream_event(
			"hanging, request %llu after %llu bytes", (unsigned long long)c->request, (unsigned long long)c->sent);
		c->hanging = true;
	} else {
		put_endless(c, op);
	}
}

static void set_split(struct upstream_connection *c, const struct upstream_op *op)
{
	flush_held(c);
	if (op->kind == UPSTREAM_OP_SPLIT_AT) {
		c->cut = CUT_AHEAD;
		c->cut_at = op->number;
		c->cut_ms = op->ms;
		c->piece = 0;
	} else {
		c->cut = CUT_NONE;
		c->piece = (size_t)op->number;
		c->piece_ms = op->ms;
	}
}

static void step(struct upstream_connection *c)
{
	const struct upstream_op *op = c->op < c->answer->op_count ? &c->answer->ops[c->op] : NULL;

	switch (op ? op->kind : UPSTREAM_OP_CLOSE) {
	case UPSTREAM_OP_SPLIT:
	case UPSTREAM_OP_SPLIT_AT:
		set_split(c, op);
		c->op++;
		break;
	case UPSTREAM_OP_WAIT:
		if (c->held.len) {
			flush_held(c); /* and come back when it has left */
			break;
		}
		wait_ms(c, op->ms);
		c->op++;
		break;
	case UPSTREAM_OP_BODY:
	case UPSTREAM_OP_BYTES:
		put_head(c);
		if (c->counted == op->times) {
			c->counted = 0;
			c->op++;
			break;
		}
		c->counted++;
		if (op->kind == UPSTREAM_OP_BODY) {
			put_body(c, op->data.p, op->data.len);
		} else {
			flush_held(c);
			qmt_buf_append(&c->out, op->data.p, op->data.len);
		}
		break;
	case UPSTREAM_OP_HEADERS:
	case UPSTREAM_OP_ENDLESS:
	case UPSTREAM_OP_CLOSE:
	case UPSTREAM_OP_RESET:
	case UPSTREAM_OP_HANG:
		last_step(c, op);
		break;
	}
}

static void on_written(uv_write_t *write, int status)
{
	struct upstream_connection *c = write->data;

	c->writing = false;
	if (c->closed)
		return;
	if (status < 0) {
		client_gone(c, status);
		return;
	}
	c->sent += c->writing_bytes;
	c->out_at += c->writing_bytes;
	if (c->piece && c->out_at < c->out.len)
		wait_ms(c, c->piece_ms);
	advance(c);
}

static void write_piece(struct upstream_connection *c)
{
	size_t left = c->out.len - c->out_at;
	uv_buf_t buf;
	int rc;

	c->writing_bytes = c->piece && c->piece < left ? c->piece : left;
	buf = uv_buf_init(c->out.data + c->out_at, (unsigned)c->writing_bytes);
	c->write.data = c;
	c->writing = true;
	rc = uv_write(&c->write, (uv_stream_t *)&c->tcp, &buf, 1, on_written);
	if (rc) {
		c->writing = false;
		client_gone(c, rc);
	}
}

static void advance(struct upstream_connection *c)
{
	while (c->answer && !c->closed && !c->writing && !c->waiting && !c->hanging) {
		if (c->out.failed || c->held.failed) {
			end_with(c, "out of memory", true);
		} else if (c->out_at < c->out.len) {
			write_piece(c);
		} else {
			c->out.len = c->out_at = 0;
			if (c->pause_ms) {
				wait_ms(c, c->pause_ms);
				c->pause_ms = 0;
			} else {
				step(c);
			}
		}
	}
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

/* The value of a header in the head, without blanks in front; false: it is not there. */
static bool find_header(const char *head, size_t len, const char *name, struct qmt_str *ret_value)
{
	size_t name_len = strlen(name);
	const char *end = head + len;

	for (const char *line = memchr(head, '\n', len); line && line + 1 < end;
		 line = memchr(line, '\n', (size_t)(end - line))) {
		line++;
		if ((size_t)(end - line) <= name_len || strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
			continue;
		const char *value = line + name_len + 1, *stop = memchr(value, '\r', (size_t)(end - value));

		value += strspn(value, " \t");
		*ret_value = qmt_strn(value, stop > value ? (size_t)(stop - value) : 0);
		return true;
	}
	return false;
}

static void print_headers(const struct upstream_connection *c, size_t head)
{
	const char *end = c->in.data + head - 2;

	for (const char *line = memchr(c->in.data, '\n', head); line && line + 1 < end;) {
		const char *stop = memchr(line + 1, '\r', (size_t)(end - line));

		if (!stop)
			break;
		event_text("header", c->request, line + 1, (size_t)(stop - line) - 1);
		line = memchr(stop, '\n', (size_t)(end - stop));
	}
}

/* Bytes of the body that the head announces; false and ret_why: not to be understood. */
static bool body_size(const char *head, size_t len, uint64_t *ret_size, const char **ret_why)
{
	struct qmt_str value;
	char *stop;

	*ret_size = 0;
	if (find_header(head, len, "Transfer-Encoding", &value)) {
		*ret_why = "a chunked request";
		return false;
	}
	if (!find_header(head, len, "Content-Length", &value))
		return true;
	*ret_size = strtoull(value.p, &stop, 10);
	*ret_why = "Content-Length is no number, or too large";
	return isdigit((unsigned char)value.p[0]) && stop == value.p + value.len && *ret_size <= UPSTREAM_REQUEST_BYTES;
}

/* Else curl waits a second before it sends a long body. 25 bytes into a socket in which nothing waits. */
static void say_continue(struct upstream_connection *c)
{
	char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
	uv_buf_t buf = uv_buf_init(line, sizeof line - 1);

	if (!c->continued)
		(void)uv_try_write((uv_stream_t *)&c->tcp, &buf, 1);
	c->continued = true;
}

/* Bytes of the first request in c->in, its head among them; 0: not all are there; <0 and ret_why: it is none. */
static int64_t request_size(struct upstream_connection *c, size_t *ret_head, const char **ret_why)
{
	const char *blank = c->in.len ? memmem(c->in.data, c->in.len, "\r\n\r\n", 4) : NULL;
	struct qmt_str value;
	uint64_t body;

	if (!blank) {
		*ret_why = "a head without end";
		return c->in.len > UPSTREAM_HEAD_BYTES ? -1 : 0;
	}
	*ret_head = (size_t)(blank - c->in.data) + 4;
	if (!body_size(c->in.data, *ret_head, &body, ret_why))
		return -1;
	if (c->in.len >= *ret_head + body)
		return (int64_t)(*ret_head + body);
	if (find_header(c->in.data, *ret_head, "Expect", &value))
		say_continue(c);
	return 0;
}

/* The two words of the request line. */
static bool request_line(const struct upstream_connection *c, struct qmt_str *ret_method, struct qmt_str *ret_target)
{
	size_t line = strcspn(c->in.data, "\r\n"), method = strcspn(c->in.data, " \r\n"), target;
	const char *at = c->in.data + method + 1;

	if (method == 0 || method + 1 >= line)
		return false;
	target = strcspn(at, " \r\n");
	if (target == 0 || method + 1 + target >= line || strncmp(at + target, " HTTP/1.", 8) != 0)
		return false;
	*ret_method = qmt_strn(c->in.data, method);
	*ret_target = qmt_strn(at, target);
	return true;
}

static void begin_answer(struct upstream_connection *c, struct qmt_str method, struct qmt_str target, size_t body)
{
	struct upstream *upstream = c->upstream;
	char line[32] = "default";

	c->answer = upstream_script_take(upstream->script, method, target);
	if (c->answer)
		(void)snprintf(line, sizeof line, "%u", c->answer->line);
	else
		c->answer = upstream_script_take(upstream->defaults, method, target);
	c->request = ++upstream->requests;
	c->op = 0;
	c->counted = c->body_at = c->sent = c->pause_ms = 0;
	c->head_out = c->flushed = c->hanging = c->continued = false;
	c->piece = 0;
	c->cut = CUT_NONE;
	upstream_event("request %llu %.*s %.*s bytes=%zu line=%s", (unsigned long long)c->request, QMT_STR_ARG(method),
		QMT_STR_ARG(target), body, line);
}

/* Takes a request out of what came in. False: none is whole. */
static bool next_request(struct upstream_connection *c)
{
	const char *why = "";
	size_t head = 0;
	struct qmt_str method, target;
	int64_t size = request_size(c, &head, &why);

	if (size == 0)
		return false;
	if (size > 0 && !request_line(c, &method, &target)) {
		why = "no request line of HTTP/1.1";
		size = -1;
	}
	if (size < 0) {
		upstream_event("refused: %s", why);
		end(c, false);
		return false;
	}
	begin_answer(c, method, target, (size_t)size - head);
	if (c->upstream->print_headers)
		print_headers(c, head);
	if (c->upstream->print_bodies && (size_t)size > head)
		event_text(NULL, 0, c->in.data + head, (size_t)size - head);
	qmt_buf_consume(&c->in, (size_t)size);
	return true;
}

static void on_room(uv_handle_t *handle, size_t size, uv_buf_t *ret_buf)
{
	struct upstream_connection *c = handle->data;

	(void)size;
	*ret_buf = uv_buf_init(c->room, sizeof c->room);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
	struct upstream_connection *c = stream->data;

	if (got < 0) {
		client_gone(c, (int)got);
		return;
	}
	qmt_buf_append(&c->in, buf->base, (size_t)got);
	if (c->in.failed || c->in.len > UPSTREAM_HEAD_BYTES + (size_t)UPSTREAM_REQUEST_BYTES) {
		upstream_event("refused: a request of %zu bytes", c->in.len);
		end(c, false);
		return;
	}
	if (!c->answer && next_request(c))
		advance(c);
}

void upstream_accept(struct upstream *upstream)
{
	struct upstream_connection *c = calloc(1, sizeof *c);

	if (!c) {
		upstream_event("out of memory");
		return;
	}
	c->upstream = upstream;
	c->tcp.data = c->timer.data = c;
	/* neither can fail: they only prepare the handles */
	(void)uv_tcp_init(&upstream->loop, &c->tcp);
	(void)uv_timer_init(&upstream->loop, &c->timer);
	c->open_handles = 2;
	c->self = &upstream->connections;
	c->next = upstream->connections;
	if (c->next)
		c->next->self = &c->next;
	upstream->connections = c;
	if (uv_accept((uv_stream_t *)&upstream->listener, (uv_stream_t *)&c->tcp) || uv_tcp_nodelay(&c->tcp, 1) ||
		uv_read_start((uv_stream_t *)&c->tcp, on_room, on_read))
		end(c, false);
}
