/* cmd/qmt_chat.c - `qmt chat`: prompt, stream, cancel.
 *
 *   prompt ── prompted ──> events: delta* tool* notice* ── turn_end ──> exit
 *     ^          │ duplicate and over: the stored answer is shown
 *     └──────────┴── a gap in the text, or no event for --check seconds (turn_end may have been lost, the session's
 *                    host may be away): the same request again. It joins the turn if that runs (what of its text was
 *                    not shown is told again), or says what became of it.
 *   Ctrl-C: the turn of this request is cancelled (also upstream, also before `prompted`) and turn_end is awaited; a
 *   second Ctrl-C leaves at once (the turn is cancelled all the same).
 *
 * SIGINT and SIGTERM come through a descriptor, so that waiting for the node can end early without a race. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cmd/qmt_chat_show.h"
#include "cmd/qmt_node.h"
#include "cmd/qmt_request.h"
#include "proto/utf8.h"
#include "transports/transports.h"

enum { CHAT_CHECK_S = 5, CHAT_CHECK_MAX_MS = 60000 /* looks at a silent turn get rarer up to this */ };

enum { GOES_ON = -1 }; /* of functions that return an exit code */

struct chat {
	const struct cli *cli;
	struct control_client *client;
	struct qmt_str session; /* as given (id, prefix or name), then its id */
	struct qmt_str text;
	const char *request;
	uint64_t trace;
	struct qmt_ref watcher;
	char id[64];
	uint64_t turn; /* 0: not known yet */
	uint64_t check_ms;
	int signal_fd;
	int signals; /* Ctrl-Cs seen */
	bool cancel_sent;
	bool behind; /* a gap was seen and is not closed yet */
	struct chat_show show;
};

static int signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return -1;
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void signals_take(struct chat *chat)
{
	struct signalfd_siginfo info;

	while (read(chat->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
		chat->signals++;
}

/* The prompt: the argument, or standard input for "-". Heap, NULL after an error on stderr. */
static char *read_text(const char *argument, uint32_t *ret_len)
{
	const bool from_stdin = strcmp(argument, "-") == 0;
	struct transports_limits limits;
	struct qmt_buf buf = {0};
	uint32_t valid;

	transports_limits_default(&limits);
	if (!from_stdin)
		qmt_buf_str(&buf, argument);
	while (from_stdin && buf.len <= limits.body_bytes) {
		char *room = qmt_buf_reserve(&buf, 65536);
		ssize_t n = room ? read(0, room, 65536) : 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		buf.len += (size_t)n;
	}
	if (buf.failed) {
		cli_error("out of memory");
	} else if (buf.len > limits.body_bytes) {
		cli_error("standard input: over %llu bytes, the longest message that a node takes",
			(unsigned long long)limits.body_bytes);
	} else if (buf.len == 0) {
		cli_error("the prompt is empty");
	} else if ((valid = utf8_valid_prefix(qmt_buf_view(&buf))) < buf.len) {
		cli_error("%s: byte %u (0x%02x) is no UTF-8: a prompt is text", from_stdin ? "standard input" : "the prompt",
			valid + 1, (unsigned)(unsigned char)buf.data[valid]);
	} else {
		*ret_len = (uint32_t)buf.len;
		return buf.data;
	}
	qmt_buf_free(&buf);
	return NULL;
}

/* Says what went wrong and how to come back to the turn. */
static int failed(struct chat *chat, const char *what)
{
	chat_show_end_line(&chat->show);
	cli_error("%s; %s: repeat with --request %s (in the logs: trace=%016" PRIx64 ")", what,
		chat->turn ? "the turn may go on there, `qmt session show` tells" : "the prompt may have been taken",
		chat->request, chat->trace);
	return CLI_FAILED;
}

/* ---- what is stored ---------------------------------------------------------------------------------------------- */

/* Shows what the store has of the turn's text beyond what was shown. */
static int show_stored(struct chat *chat)
{
	uint64_t from = 1, offset = 0;
	int status = CLI_OK;

	while (status == CLI_OK && from) {
		struct control_reply reply = {0};
		status = NODE_ASK(chat->client, "node_manager", chat->cli->timeout_ms, &reply, node_session_show,
			.session = chat->session, .from = from, .limit = 1000);
		const struct node_session_show_reply *page = reply.body;
		from = status == CLI_OK && page->next > from ? page->next : 0;
		for (uint32_t i = 0; status == CLI_OK && i < page->messages.count; i++) {
			const struct chat_message *message = &page->messages.items[i];
			if (message->turn != chat->turn || !qmt_str_is(message->role, "assistant") || !message->content.len)
				continue;
			if (offset + message->content.len > chat->show.shown && offset >= chat->show.shown)
				chat_show_end_line(&chat->show); /* another message */
			(void)chat_show_delta(&chat->show,
				&(struct session_delta){
					.session = chat->session, .turn = chat->turn, .offset = offset, .text = message->content});
			offset += message->content.len;
		}
		control_reply_free(&reply);
	}
	return status;
}

/* The turn is over, its end was not seen. */
static int show_over(struct chat *chat, struct qmt_str state)
{
	int status = show_stored(chat);

	if (status != CLI_OK)
		return status;
	return chat_show_end(&chat->show,
		&(struct session_turn_end){
			.session = chat->session, .turn = chat->turn, .outcome = state, .visible_bytes = chat->show.shown});
}

/* ---- prompt and cancel ------------------------------------------------------------------------------------------- */

static int cancel(struct chat *chat);

/* A signal ended a wait. */
static int woken(struct chat *chat)
{
	signals_take(chat);
	if (chat->signals && !chat->cancel_sent)
		return cancel(chat);
	if (chat->signals < 2)
		return GOES_ON;
	chat_show_end_line(&chat->show);
	cli_error("left; the node was asked to cancel the turn (--request %s)", chat->request);
	return CLI_FAILED;
}

/* Cancels the turn of this request; what is still said of it comes as events. */
static int cancel(struct chat *chat)
{
	struct control_reply reply = {0};
	struct qmt_err err = {0};
	char text[QMT_ERR_TEXT + 64];
	int rc;

	chat->cancel_sent = true;
	rc = CONTROL_ASK(chat->client, "node_manager", chat->cli->timeout_ms, &reply, &err, node_cancel,
		.session = chat->session, .turn = chat->turn, .request = qmt_str(chat->request));
	control_reply_free(&reply);
	if (rc == -EINTR)
		return woken(chat);
	if (rc == 0)
		return GOES_ON;
	snprintf(text, sizeof text, "the turn could not be cancelled: %s", err.text);
	return failed(chat, text);
}

/* Whether the same request may do better another time, or may have been taken. */
static bool is_final(int fail)
{
	return fail == QMT_FAIL_NOT_FOUND || fail == QMT_FAIL_BAD_REQUEST || fail == QMT_FAIL_NOT_ALLOWED ||
		fail == QMT_FAIL_TOO_LARGE || fail == -EMSGSIZE;
}

/* Sends the request, the first time or again. */
static int prompt(struct chat *chat)
{
	struct control_reply reply = {0};
	struct qmt_err err = {0};
	bool first = chat->turn == 0;
	int status = GOES_ON;
	int rc = CONTROL_ASK(chat->client, "node_manager", chat->cli->timeout_ms, &reply, &err, node_prompt,
		.session = chat->session, .request = qmt_str(chat->request), .text = chat->text, .watcher = chat->watcher,
		.shown = chat->show.shown);

	if (rc == 0) {
		const struct node_prompted *prompted = reply.body;
		bool running = qmt_str_is(prompted->state, "running");
		chat->turn = prompted->turn;
		snprintf(chat->id, sizeof chat->id, "%.*s", QMT_STR_ARG(prompted->session));
		chat->session = qmt_str(chat->id);
		if (first)
			chat_show_json(&chat->show, reply.type, prompted);
		if (first && prompted->duplicate && !running && !chat->show.json)
			cli_error("this request was taken before: turn %llu is %.*s", (unsigned long long)chat->turn,
				QMT_STR_ARG(prompted->state));
		if (!running)
			status = show_over(chat, prompted->state);
	} else if (rc == -EINTR) {
		status = woken(chat);
	} else if (!first && rc > 0 && qmt_str_is(reply.kind, "busy")) {
		/* another turn runs: this one must be over */
		status = show_over(chat, qmt_str("over (how it ended was not reported)"));
	} else if (is_final(rc)) {
		cli_error("%s", err.text);
		status = CLI_FAILED;
	} else {
		status = failed(chat, err.text);
	}
	control_reply_free(&reply);
	return status;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static int show_event(struct chat *chat, const struct control_event *event)
{
	if (event->type == &session_delta_type) {
		const struct session_delta *delta = event->body;
		bool was_behind = chat->behind;
		if (delta->turn != chat->turn)
			return GOES_ON;
		chat->behind = !chat_show_delta(&chat->show, delta);
		/* asked for once: what is told again may be lost as well, and turn_end comes */
		return chat->behind && !was_behind && !chat->cancel_sent ? prompt(chat) : GOES_ON;
	}
	if (event->type == &session_turn_end_type) {
		const struct session_turn_end *end = event->body;
		if (chat->turn && end->turn != chat->turn)
			return GOES_ON;
		chat->turn = end->turn;
		if (end->visible_bytes > chat->show.shown)
			(void)show_stored(chat); /* what was missed; without it the end is told all the same */
		return chat_show_end(&chat->show, end);
	}
	if (event->type == &session_tool_type) {
		chat_show_tool(&chat->show, event->body);
	} else if (event->type == &session_notice_type) {
		chat_show_json(&chat->show, event->type, event->body);
		chat_show_note(&chat->show, "note: ", ((const struct session_notice *)event->body)->text);
	} else if (event->type == &session_lost_type) { /* the link may come back meanwhile */
		chat_show_json(&chat->show, event->type, event->body);
		chat_show_note(&chat->show, "note: ", ((const struct session_lost *)event->body)->text);
	}
	return GOES_ON;
}

/* Nothing was heard for a while. */
static int look(struct chat *chat)
{
	if (chat->turn)
		return prompt(chat);
	/* The cancel was answered, no turn was told of. The same request again would begin one. */
	return failed(chat, "cancelled");
}

static int follow(struct chat *chat)
{
	uint64_t wait_ms = chat->check_ms;
	int status = GOES_ON;

	while (status == GOES_ON) {
		struct control_event event = {0};
		struct qmt_err err = {0};
		int rc = control_client_next(chat->client, wait_ms, &event, &err);
		if (rc == 0) {
			status = show_event(chat, &event);
			control_event_free(&event);
			wait_ms = chat->check_ms;
		} else if (rc == CONTROL_E_WAKE) {
			status = woken(chat);
		} else if (rc == CONTROL_E_TIMEOUT) {
			status = look(chat);
			wait_ms = wait_ms * 2 < CHAT_CHECK_MAX_MS ? wait_ms * 2 : CHAT_CHECK_MAX_MS;
		} else {
			status = failed(chat, err.text);
		}
	}
	return status;
}

int qmt_chat(const struct cli *cli)
{
	char room[37];
	uint32_t len = 0;
	uint64_t check_s;
	struct chat chat = {.cli = cli, .session = qmt_str(cli->argv[0]), .show = {.json = cli->json}};
	char *text;
	int status;

	if (cli_number(cli, CLI_OPTION_check, CHAT_CHECK_S, 3600, &check_s) != CLI_OK)
		return CLI_USAGE;
	chat.check_ms = check_s ? check_s * 1000 : 1000;
	chat.request = request_id(cli, room);
	text = chat.request ? read_text(cli->argv[1], &len) : NULL;
	if (!text)
		return CLI_FAILED;
	chat.text = qmt_strn(text, len);
	chat.signal_fd = signals_open();
	chat.client = chat.signal_fd < 0 ? NULL : node_connect(cli, chat.signal_fd);
	if (!chat.client) {
		free(text);
		return CLI_FAILED;
	}
	chat.trace = qmt_trace_of(qmt_str(chat.request));
	control_client_trace(chat.client, chat.trace);
	if (cli->option[CLI_OPTION_trace]) {
		char line[32];

		snprintf(line, sizeof line, "trace=%016" PRIx64 "\n", chat.trace);
		cli_text(2, qmt_str(line));
	}
	chat.watcher = control_client_watch(chat.client);
	status = prompt(&chat);
	if (status == GOES_ON)
		status = follow(&chat);
	control_client_close(chat.client);
	close(chat.signal_fd);
	free(text);
	return status;
}
