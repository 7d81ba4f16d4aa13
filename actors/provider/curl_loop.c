/* actors/provider/curl_loop.c - see curl_loop.h.
 *
 * libcurl says which sockets it waits for (on_socket) and until when (on_timeout); the actor tells it what happened
 * (curl_multi_socket_action). Its callbacks know no ctx, so each entry from the actor notes the one of the turn.
 *
 * A socket must be unwatched before it is closed: libcurl reports CURL_POLL_REMOVE in front of each close, and does not
 * watch idle connections at all.
 */
#include "curl_loop.h"

#include <errno.h>

struct curl_loop {
	struct curl_api curl; /* const after new */
	CURLM *multi;
	void *state;
	curl_loop_done_fn *done;
	struct qmt_ctx *ctx; /* of the running turn; NULL outside */
	struct qmt_timer timer;
};

static struct qmt_ctx *enter(struct curl_loop *loop, struct qmt_ctx *ctx)
{
	struct qmt_ctx *outer = loop->ctx;

	loop->ctx = ctx;
	return outer;
}

static void leave(struct curl_loop *loop, struct qmt_ctx *outer)
{
	loop->ctx = outer;
}

struct qmt_ctx *curl_loop_ctx(const struct curl_loop *loop)
{
	return loop->ctx;
}

const struct curl_api *curl_loop_api(const struct curl_loop *loop)
{
	return &loop->curl;
}

/* Hands finished transfers on. `done` may add and remove others. */
static void reap(struct qmt_ctx *ctx, struct curl_loop *loop)
{
	CURLMsg *message;
	int left;

	while ((message = loop->curl.curl_multi_info_read(loop->multi, &left))) {
		CURL *easy = message->easy_handle;
		CURLcode result = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		loop->curl.curl_multi_remove_handle(loop->multi, easy); /* message is void from here */
		loop->done(ctx, loop->state, &loop->curl, easy, result);
	}
}

static void act(struct qmt_ctx *ctx, struct curl_loop *loop, curl_socket_t socket, int events)
{
	struct qmt_ctx *outer = enter(loop, ctx);
	int running;
	CURLMcode code = loop->curl.curl_multi_socket_action(loop->multi, socket, events, &running);

	if (code == CURLM_OK)
		reap(ctx, loop);
	else
		qmt_fail(ctx, "libcurl: %s", loop->curl.curl_multi_strerror(code));
	leave(loop, outer);
}

static void on_ready(struct qmt_ctx *ctx, void *state, int fd, uint32_t events, void *arg)
{
	int mask = 0;

	(void)state;
	if (events & QMT_FD_READ)
		mask |= CURL_CSELECT_IN;
	if (events & QMT_FD_WRITE)
		mask |= CURL_CSELECT_OUT;
	if (events & QMT_FD_HANGUP)
		mask |= CURL_CSELECT_ERR;
	act(ctx, arg, fd, mask);
}

static void on_time(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct curl_loop *loop = arg;

	(void)state;
	loop->timer = (struct qmt_timer){0};
	act(ctx, loop, CURL_SOCKET_TIMEOUT, 0);
}

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *arg, void *socket_arg)
{
	struct curl_loop *loop = arg;
	uint32_t events = 0;

	(void)easy;
	(void)socket_arg;
	if (what == CURL_POLL_REMOVE) {
		qmt_fd_unwatch(loop->ctx, socket);
		return 0;
	}
	if (what & CURL_POLL_IN)
		events |= QMT_FD_READ;
	if (what & CURL_POLL_OUT)
		events |= QMT_FD_WRITE;
	return qmt_fd_watch(loop->ctx, socket, events, on_ready, loop) == 0 ? 0 : -1;
}

static int on_timeout(CURLM *multi, long timeout_ms, void *arg)
{
	struct curl_loop *loop = arg;

	(void)multi;
	qmt_timer_cancel(loop->ctx, &loop->timer);
	if (timeout_ms < 0)
		return 0;
	/* Also for 0: libcurl must not be entered again from inside its own callback. */
	return qmt_timer_start(loop->ctx, (uint64_t)timeout_ms, on_time, loop, &loop->timer) == 0 ? 0 : -1;
}

struct curl_loop *curl_loop_new(
	struct qmt_ctx *ctx, void *state, uint32_t idle_connections, curl_loop_done_fn *done, struct qmt_err *err)
{
	struct curl_loop *loop = calloc(1, sizeof *loop);

	(void)ctx;
	if (!loop) {
		qmt_err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	if (curl_api_open(&loop->curl, err)) {
		free(loop);
		return NULL;
	}
	/* Counted, and guarded against other threads by libcurl. */
	if (loop->curl.curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(loop);
		qmt_err_set(err, -ENOMEM, "libcurl does not start");
		return NULL;
	}
	loop->state = state;
	loop->done = done;
	loop->multi = loop->curl.curl_multi_init();
	if (!loop->multi) {
		curl_loop_free(ctx, loop);
		qmt_err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	loop->curl.curl_multi_setopt(loop->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	loop->curl.curl_multi_setopt(loop->multi, CURLMOPT_SOCKETDATA, loop);
	loop->curl.curl_multi_setopt(loop->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
	loop->curl.curl_multi_setopt(loop->multi, CURLMOPT_TIMERDATA, loop);
	loop->curl.curl_multi_setopt(loop->multi, CURLMOPT_MAXCONNECTS, (long)idle_connections);
	return loop;
}

void curl_loop_free(struct qmt_ctx *ctx, struct curl_loop *loop)
{
	if (!loop)
		return;
	enter(loop, ctx);
	loop->curl.curl_multi_cleanup(loop->multi);
	qmt_timer_cancel(ctx, &loop->timer);
	loop->curl.curl_global_cleanup();
	free(loop);
}

int curl_loop_add(struct qmt_ctx *ctx, struct curl_loop *loop, CURL *easy)
{
	struct qmt_ctx *outer = enter(loop, ctx);
	CURLMcode code;

	code = loop->curl.curl_multi_add_handle(loop->multi, easy);
	leave(loop, outer);
	return code == CURLM_OK ? 0 : -ENOMEM;
}

void curl_loop_remove(struct qmt_ctx *ctx, struct curl_loop *loop, CURL *easy)
{
	struct qmt_ctx *outer = enter(loop, ctx);

	loop->curl.curl_multi_remove_handle(loop->multi, easy);
	leave(loop, outer);
}
