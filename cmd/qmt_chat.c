/* cmd/qmt_chat.c - `qmt chat`: prompt, stream, cancel.
 *
 *   prompt ── prompted ──> events: delta* tool* notice* ── turn_end ──> exit
 *                │ duplicate and over: the stored answer is printed
 *   Ctrl-C: the turn is cancelled (also upstream) and turn_end is awaited; a second Ctrl-C leaves at once (the turn is
 *   cancelled all the same).
 *
 * SIGINT and SIGTERM come through a descriptor, so that waiting for the node can end early without a race. */
#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cmd/qmt_node.h"
#include "cmd/qmt_request.h"
#include "proto/json.h"

enum { CHAT_TEXT_BYTES = 16 << 20, CHAT_CANCEL_MS = 10000 };

struct chat {
	const struct cli *cli;
	struct control_client *client;
	struct qmt_str session; /* as given: id, prefix or name */
	const char *request;
	uint64_t turn;
	int signal_fd;
	int signals; /* Ctrl-Cs seen */
	bool cancel_sent, newline_due;
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
	struct qmt_buf buf = {0};

	if (strcmp(argument, "-") != 0) {
		qmt_buf_str(&buf, argument);
	} else {
		for (;;) {
			char *room = qmt_buf_reserve(&buf, 65536);
			ssize_t n = room ? read(0, room, 65536) : 0;
			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				break;
			buf.len += (size_t)n;
			if (buf.len > CHAT_TEXT_BYTES) {
				cli_error("standard input: over %d bytes, the largest prompt", CHAT_TEXT_BYTES);
				qmt_buf_free(&buf);
				return NULL;
			}
		}
		qmt_buf_append(&buf, "", 0);
	}
	if (buf.failed || buf.len == 0) {
		cli_error(buf.failed ? "out of memory" : "the prompt is empty");
		qmt_buf_free(&buf);
		return NULL;
	}
	*ret_len = (uint32_t)buf.len;
	return buf.data;
}

static void json_line(const struct qmt_type *type, const void *body)
{
	struct json *value = json_from_record(&type->record, body, true);
	struct json *line = json_object();
	struct qmt_buf buf = {0};
	void *iter = NULL;
	struct qmt_str key;
	const struct json *member;

	/* event first: "session.delta" -> "delta" */
	if (line && json_set(line, "event", json_new_str(qmt_str(strchr(type->record.name, '.') + 1))) == 0)
		while (json_next(value, &iter, &key, &member)) {
			char name[64];
			snprintf(name, sizeof name, "%.*s", QMT_STR_ARG(key));
			if (json_set(line, name, json_copy(member)) != 0)
				break;
		}
	if (line && json_write(line, &buf) == 0)
		printf("%.*s\n", (int)buf.len, buf.data);
	fflush(stdout);
	json_free(value);
	json_free(line);
	qmt_buf_free(&buf);
}

/* Ends the line of the answer before something else is said on the terminal. */
static void end_line(struct chat *chat)
{
	if (chat->newline_due)
		cli_text(1, qmt_str("\n"));
	chat->newline_due = false;
}

static void note(struct chat *chat, const char *mark, struct qmt_str text)
{
	end_line(chat); /* what the model says next is another message */
	fputs(mark, stderr);
	cli_text(2, text);
	fputc('\n', stderr);
}

static void show_tool(struct chat *chat, const struct session_tool *tool)
{
	struct qmt_buf buf = {0};

	if (qmt_str_is(tool->state, "started")) {
		qmt_buf_printf(&buf, "%.*s %.*s", QMT_STR_ARG(tool->name), QMT_STR_ARG(tool->arguments));
		note(chat, "-> ", qmt_buf_view(&buf));
	} else {
		struct qmt_str first = tool->result;
		for (uint32_t i = 0; i < first.len; i++)
			if (first.p[i] == '\n')
				first.len = i;
		qmt_buf_printf(&buf, "%.*s%s %.*s%s", QMT_STR_ARG(tool->name), tool->is_error ? " failed:" : ":",
			QMT_STR_ARG(first), first.len < tool->result.len ? " ..." : "");
		note(chat, "<- ", qmt_buf_view(&buf));
	}
	qmt_buf_free(&buf);
}

/* -1: goes on; else the exit code. */
static int show_end(struct chat *chat, const struct session_turn_end *end)
{
	end_line(chat);
	if (qmt_str_is(end->outcome, "complete"))
		return CLI_OK;
	if (qmt_str_is(end->outcome, "cancelled")) {
		cli_error("the turn was cancelled");
		return CLI_FAILED;
	}
	fprintf(stderr, "qmt: the turn ended: %.*s%s%.*s: ", QMT_STR_ARG(end->outcome), end->kind.len ? " " : "",
		QMT_STR_ARG(end->kind));
	cli_text(2, end->text);
	if (end->retry_after_ms)
		fprintf(stderr, " (try again in %llu s)", (unsigned long long)((end->retry_after_ms + 999) / 1000));
	fputc('\n', stderr);
	return CLI_FAILED;
}

static int show_event(struct chat *chat, const struct control_event *event)
{
	if (chat->cli->json)
		json_line(event->type, event->body);
	if (event->type == &session_turn_end_type) {
		const struct session_turn_end *end = event->body;
		if (chat->cli->json)
			return qmt_str_is(end->outcome, "complete") ? CLI_OK : CLI_FAILED;
		return show_end(chat, end);
	}
	if (chat->cli->json)
		return -1;
	if (event->type == &session_delta_type) {
		const struct session_delta *delta = event->body;
		if (delta->text.len) {
			cli_text(1, delta->text);
			chat->newline_due = delta->text.p[delta->text.len - 1] != '\n';
		}
	} else if (event->type == &session_tool_type) {
		show_tool(chat, event->body);
	} else if (event->type == &session_notice_type) {
		note(chat, "note: ", ((const struct session_notice *)event->body)->text);
	}
	return -1;
}

/* A request that was taken before and is over: what was answered then. */
static int show_stored(struct chat *chat, struct qmt_str state)
{
	uint64_t from = 1;
	int status = CLI_OK;

	fprintf(stderr, "qmt: this request was taken before: turn %llu is %.*s\n", (unsigned long long)chat->turn,
		QMT_STR_ARG(state));
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
			cli_text(1, message->content);
			chat->newline_due = true;
		}
		control_reply_free(&reply);
	}
	end_line(chat);
	return status == CLI_OK && !qmt_str_is(state, "complete") ? CLI_FAILED : status;
}

/* Sends the cancel; what is still said of the turn comes as events. */
static int cancel(struct chat *chat)
{
	struct control_reply reply = {0};
	struct qmt_err err = {0};
	int rc;

	control_client_set_wake(chat->client, -1); /* this ask itself must go through */
	rc = CONTROL_ASK(chat->client, "node_manager", CHAT_CANCEL_MS, &reply, &err, node_cancel, .session = chat->session,
		.turn = chat->turn);
	control_client_set_wake(chat->client, chat->signal_fd);
	control_reply_free(&reply);
	if (rc != 0) {
		cli_error("the turn could not be cancelled: %s", err.text);
		return CLI_FAILED;
	}
	chat->cancel_sent = true;
	return -1;
}

static int follow(struct chat *chat)
{
	int status = -1;

	while (status < 0) {
		struct control_event event = {0};
		struct qmt_err err = {0};
		int rc = control_client_next(chat->client, chat->cancel_sent ? CHAT_CANCEL_MS : UINT64_MAX, &event, &err);
		if (rc == 0) {
			status = show_event(chat, &event);
			control_event_free(&event);
		} else if (rc == CONTROL_E_WAKE) {
			signals_take(chat);
			if (chat->signals && !chat->cancel_sent)
				status = cancel(chat);
			else if (chat->signals > 1)
				status = CLI_FAILED;
		} else if (rc == CONTROL_E_TIMEOUT) {
			cli_error("the turn was cancelled, but its end was not reported");
			status = CLI_FAILED;
		} else {
			end_line(chat);
			cli_error("%s; the turn may go on there: `qmt session show` tells, or repeat with --request %s", err.text,
				chat->request);
			status = CLI_FAILED;
		}
	}
	return status;
}

int qmt_chat(const struct cli *cli)
{
	char room[37];
	uint32_t len = 0;
	struct chat chat = {.cli = cli, .session = qmt_str(cli->argv[0]), .request = request_id(cli, room)};
	char *text = chat.request ? read_text(cli->argv[1], &len) : NULL;
	struct control_reply reply = {0};
	int status;

	if (!text)
		return CLI_FAILED;
	chat.signal_fd = signals_open();
	chat.client = chat.signal_fd < 0 ? NULL : node_connect(cli, chat.signal_fd);
	if (!chat.client) {
		free(text);
		return CLI_FAILED;
	}
	status = NODE_ASK(chat.client, "node_manager", cli->timeout_ms, &reply, node_prompt, .session = chat.session,
		.request = qmt_str(chat.request), .text = {text, len}, .watcher = control_client_watch(chat.client));
	if (status == CLI_OK) {
		const struct node_prompted *prompted = reply.body;
		chat.turn = prompted->turn;
		if (cli->json)
			json_line(reply.type, reply.body);
		status = prompted->duplicate && !qmt_str_is(prompted->state, "running") ? show_stored(&chat, prompted->state)
																				: follow(&chat);
	}
	control_reply_free(&reply);
	control_client_close(chat.client);
	close(chat.signal_fd);
	free(text);
	return status;
}
