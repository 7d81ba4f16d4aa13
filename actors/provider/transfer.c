/* actors/provider/transfer.c - see transfer.h.
 *
 * HTTP/1.1 on purpose: one connection carries one answer, so cancelling closes it, and the server sees that at once.
 * Times: one timer a transfer. Bytes that arrive move no timer, they only note the time; when the timer fires too early
 *        it is set
 * again for the rest.
 */
#include "transfer.h"

#include <errno.h>

struct transfer {
	/* const after new */
	struct curl_loop *loop;
	const struct curl_api *curl; /* the loop's */
	CURL *easy;
	struct curl_slist *headers;
	struct qmt_buf request;
	struct transfer_events events;
	void *arg;
	struct transfer_options options; /* its texts are not kept, libcurl has copies */
	uint64_t started_ms;
	/* owner: the actor */
	bool running;
	bool head_seen, body_seen;
	bool stopped, too_large;
	uint64_t last_byte_ms, drain_ms; /* drain_ms: when draining ends; 0: not draining */
	size_t header_bytes, body_bytes;
	struct qmt_timer timer;
	char detail[CURL_ERROR_SIZE];
};

/* ---- limits of time ---------------------------------------------------------------------------------------------- */

struct limit {
	uint64_t at_ms; /* UINT64_MAX: none */
	uint32_t ms;
	const char *what, *name;
};

static void lower(struct limit *limit, uint64_t from_ms, uint32_t ms, const char *what, const char *name)
{
	if (ms > 0 && from_ms + ms < limit->at_ms)
		*limit = (struct limit){from_ms + ms, ms, what, name};
}

static struct limit next_limit(const struct transfer *t)
{
	struct limit limit = {.at_ms = UINT64_MAX};

	if (t->drain_ms > 0)
		return (struct limit){t->drain_ms, 0, "no end of the answer", "drain_timeout_ms"};
	lower(&limit, t->started_ms, t->options.total_ms, "no complete answer", t->options.total_name);
	if (!t->body_seen)
		lower(&limit, t->started_ms, t->options.first_byte_ms, "no answer", "first_byte_timeout_ms");
	else
		lower(&limit, t->last_byte_ms, t->options.idle_ms, "the stream was silent and nothing came", "idle_timeout_ms");
	return limit;
}

static void finish(struct qmt_ctx *ctx, struct transfer *t, enum transfer_outcome outcome, const char *text)
{
	struct transfer_end end = {outcome, text, t->detail};

	qmt_timer_cancel(ctx, &t->timer);
	t->events.done(ctx, t->arg, &end); /* t may be gone */
}

static void on_time(struct qmt_ctx *ctx, void *state, void *arg);

static void set_timer(struct qmt_ctx *ctx, struct transfer *t)
{
	struct limit limit = next_limit(t);
	uint64_t now = qmt_now_ms(ctx);

	qmt_timer_cancel(ctx, &t->timer);
	if (limit.at_ms == UINT64_MAX)
		return;
	if (qmt_timer_start(ctx, limit.at_ms > now ? limit.at_ms - now : 0, on_time, t, &t->timer) < 0)
		qmt_fail(ctx, "out of memory"); /* a request without its limits could hang for ever */
}

static void on_time(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct transfer *t = arg;
	struct limit limit = next_limit(t);
	char text[160];

	(void)state;
	t->timer = (struct qmt_timer){0};
	if (limit.at_ms > qmt_now_ms(ctx)) {
		set_timer(ctx, t);
		return;
	}
	curl_loop_remove(ctx, t->loop, t->easy);
	t->running = false;
	snprintf(text, sizeof text, "%s within %u ms (%s)", limit.what, limit.ms, limit.name);
	finish(ctx, t, TRANSFER_TIMEOUT, text);
}

void transfer_drain(struct qmt_ctx *ctx, struct transfer *t, uint32_t ms)
{
	t->drain_ms = qmt_now_ms(ctx) + ms;
	set_timer(ctx, t);
}

/* ---- callbacks of libcurl ---------------------------------------------------------------------------------------- */

enum { ABORT = 0 }; /* any length but the one that was given */

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	struct qmt_ctx *ctx = curl_loop_ctx(t->loop);
	struct qmt_str line = qmt_strn(data, size * count);

	t->header_bytes += line.len;
	if (t->header_bytes > t->options.header_bytes) {
		t->too_large = true;
		return ABORT;
	}
	if (t->head_seen) /* trailers */
		return line.len;
	if (t->events.header)
		t->events.header(t->arg, line);
	if (!(line.len <= 2 && (line.p[0] == '\r' || line.p[0] == '\n')) || transfer_status(t) < 200)
		return line.len; /* not the end, or that of an interim answer */
	t->head_seen = true;
	if (t->events.head(ctx, t->arg) != 0) {
		t->stopped = true;
		return ABORT;
	}
	return line.len;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	struct qmt_ctx *ctx = curl_loop_ctx(t->loop);
	struct qmt_str bytes = qmt_strn(data, size * count);

	t->last_byte_ms = qmt_now_ms(ctx);
	if (!t->body_seen) { /* another limit holds from here, and it may be the nearer one */
		t->body_seen = true;
		set_timer(ctx, t);
	}
	t->body_bytes += bytes.len;
	if (t->body_bytes > t->options.body_bytes) {
		t->too_large = true;
		return CURL_WRITEFUNC_ERROR;
	}
	if (t->events.body(ctx, t->arg, bytes) != 0) {
		t->stopped = true;
		return CURL_WRITEFUNC_ERROR;
	}
	return bytes.len;
}

void transfer_loop_done(struct qmt_ctx *ctx, void *state, const struct curl_api *curl, CURL *easy, CURLcode result)
{
	struct transfer *t = NULL;
	char text[256] = "";
	enum transfer_outcome outcome = TRANSFER_COMPLETE;
	long os_errno = 0;

	(void)state;
	curl->curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
	t->running = false;
	if (t->too_large) {
		bool header = t->header_bytes > t->options.header_bytes;

		outcome = TRANSFER_TOO_LARGE;
		snprintf(text, sizeof text, "the answer's %s are over %u bytes (%s)", header ? "headers" : "contents",
			header ? t->options.header_bytes : t->options.body_bytes,
			header ? "header_limit_bytes" : "response_limit_bytes");
	} else if (t->stopped) {
		outcome = TRANSFER_STOPPED;
	} else if (result == CURLE_OPERATION_TIMEDOUT) { /* the only limit of time that libcurl itself was given */
		outcome = TRANSFER_TIMEOUT;
		snprintf(text, sizeof text, "no connection within %u ms (connect_timeout_ms)", t->options.connect_ms);
	} else if (result != CURLE_OK) {
		outcome = TRANSFER_BROKEN;
		t->curl->curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_errno);
		if (result == CURLE_COULDNT_CONNECT)
			snprintf(text, sizeof text, "no connection (%s); does the server at base_url run?",
				os_errno ? strerrordesc_np((int)os_errno) : "all addresses failed");
		else if (t->head_seen)
			snprintf(text, sizeof text, "the connection broke in the middle of the answer (%s)",
				t->curl->curl_easy_strerror(result));
		else
			snprintf(text, sizeof text, "no answer (%s)", t->curl->curl_easy_strerror(result));
	}
	finish(ctx, t, outcome, text);
}

/* ---- begin and end ----------------------------------------------------------------------------------------------- */

static bool add_header(struct transfer *t, const char *name, const char *value)
{
	struct qmt_buf line = {0};
	struct curl_slist *list = NULL;

	qmt_buf_printf(&line, "%s%s", name, value);
	if (!line.failed)
		list = t->curl->curl_slist_append(t->headers, line.data);
	if (line.data)
		explicit_bzero(line.data, line.len); /* the token is one of them */
	qmt_buf_free(&line);
	if (list)
		t->headers = list;
	return list != NULL;
}

static bool set_up(struct transfer *t, const struct transfer_options *options)
{
	CURL *easy = t->easy;
	bool ok = add_header(t, "Accept: ", options->accept) && add_header(t, "User-Agent: qmt/", QMT_VERSION);

	if (options->bearer[0])
		ok = ok && add_header(t, "Authorization: Bearer ", options->bearer);
	if (options->post)
		ok = ok && add_header(t, "Content-Type: ", "application/json") && add_header(t, "Expect:", "");
	ok = ok && t->curl->curl_easy_setopt(easy, CURLOPT_URL, options->url) == CURLE_OK;
	ok = ok &&
		t->curl->curl_easy_setopt(easy, CURLOPT_PROXY, options->proxy) ==
			CURLE_OK; /* "" also keeps the environment out */
	if (options->ca_file[0])
		ok = ok && t->curl->curl_easy_setopt(easy, CURLOPT_CAINFO, options->ca_file) == CURLE_OK;
	t->curl->curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->headers);
	t->curl->curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	t->curl->curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	t->curl->curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	t->curl->curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	t->curl->curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	/* A transfer that is taken away while its host's name is looked up leaves that thread to itself; without this it
	 * would be waited for, and with it everything on this actor, as long as the resolver takes. */
	t->curl->curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	t->curl->curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)options->connect_ms);
	t->curl->curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->detail);
	t->curl->curl_easy_setopt(easy, CURLOPT_PRIVATE, (char *)t);
	t->curl->curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	t->curl->curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
	t->curl->curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	t->curl->curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
	if (options->post) {
		t->curl->curl_easy_setopt(easy, CURLOPT_POST, 1L);
		t->curl->curl_easy_setopt(easy, CURLOPT_POSTFIELDS, t->request.data);
		t->curl->curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->request.len);
	}
	return ok;
}

struct transfer *transfer_new(struct qmt_ctx *ctx, struct curl_loop *loop, const struct transfer_options *options,
	struct qmt_buf *body, const struct transfer_events *events, void *arg)
{
	struct transfer *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	t->loop = loop;
	t->curl = curl_loop_api(loop);
	t->events = *events;
	t->arg = arg;
	t->options = *options;
	t->started_ms = qmt_now_ms(ctx);
	t->easy = t->curl->curl_easy_init();
	if (options->post)
		t->request = *body;
	if (!t->easy || !set_up(t, options) || curl_loop_add(ctx, loop, t->easy) < 0) {
		t->request = (struct qmt_buf){0}; /* stays the caller's */
		return transfer_free(ctx, t);
	}
	if (options->post)
		*body = (struct qmt_buf){0};
	t->running = true;
	set_timer(ctx, t);
	return t;
}

struct transfer *transfer_free(struct qmt_ctx *ctx, struct transfer *t)
{
	if (!t)
		return NULL;
	if (t->running)
		curl_loop_remove(ctx, t->loop, t->easy);
	qmt_timer_cancel(ctx, &t->timer);
	t->curl->curl_easy_cleanup(t->easy);
	for (struct curl_slist *item = t->headers; item; item = item->next)
		explicit_bzero(item->data, strlen(item->data));
	t->curl->curl_slist_free_all(t->headers);
	qmt_buf_free(&t->request);
	free(t);
	return NULL;
}

unsigned transfer_status(const struct transfer *t)
{
	long status = 0;

	t->curl->curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	return (unsigned)status;
}

struct qmt_str transfer_content_type(const struct transfer *t)
{
	char *type = NULL;
	struct qmt_str text;

	t->curl->curl_easy_getinfo(t->easy, CURLINFO_CONTENT_TYPE, &type);
	text = qmt_str(type);
	for (uint32_t i = 0; i < text.len; i++)
		if (type[i] == ';' || type[i] == ' ')
			text.len = i;
	return text;
}
