/* cmd/qmt_sessions.c - the commands on sessions: session create, list, show and what changes one. */
#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "cmd/qmt_node.h"
#include "cmd/qmt_request.h"

static void show_id(const void *body)
{
	const struct node_session_reply *reply = body;

	cli_text(1, reply->session.id);
	cli_text(1, qmt_str("\n"));
}

int qmt_session_create(const struct cli *cli)
{
	char room[37], cwd[PATH_MAX] = "";
	const char *request = request_id(cli, room);

	if (!request)
		return CLI_FAILED;
	if (cli->option[CLI_OPTION_cwd] && !realpath(cli->option[CLI_OPTION_cwd], cwd)) {
		cli_error("--cwd %s: %s", cli->option[CLI_OPTION_cwd], strerror(errno));
		return CLI_USAGE;
	}
	return node_ask_and_show(cli, "node_manager", &node_session_create_type,
		&(struct node_session_create){.request = qmt_str(request),
			.on = qmt_str(cli->option[CLI_OPTION_on]),
			.agent = qmt_str(cli->option[CLI_OPTION_agent]),
			.cwd = qmt_str(cwd),
			.name = qmt_str(cli->option[CLI_OPTION_name])},
		show_id);
}

static struct qmt_str state_of(const struct store_session *session)
{
	if (session->archived_ms)
		return qmt_str("archived");
	return session->state.len ? session->state : qmt_str("new");
}

static void show_list(const void *body)
{
	const struct node_session_list_reply *reply = body;
	struct cli_rows rows = {.columns = 6};

	for (uint32_t i = 0; i < reply->sessions.count; i++) {
		const struct store_session *session = &reply->sessions.items[i];
		cli_cell(&rows, session->id);
		cli_cell(&rows, session->name);
		cli_cell(&rows, session->agent);
		cli_cell(&rows, session->peer.len ? session->peer_name : qmt_str("here"));
		cli_cell(&rows, state_of(session));
		cli_cell(&rows, session->title);
	}
	cli_rows_print(&rows, (const char *const[]){"SESSION", "NAME", "AGENT", "ON", "STATE", "TITLE"});
	if (reply->total > reply->sessions.count)
		printf("(%llu in all: --offset and --limit show the others)\n", (unsigned long long)reply->total);
}

int qmt_session_list(const struct cli *cli)
{
	uint64_t offset, limit;

	if (cli_number(cli, CLI_OPTION_offset, 0, UINT32_MAX, &offset) != CLI_OK ||
		cli_number(cli, CLI_OPTION_limit, 0, 100, &limit) != CLI_OK)
		return CLI_USAGE;
	if (cli->option[CLI_OPTION_all] && cli->option[CLI_OPTION_archived]) {
		cli_error("--all and --archived: which of them?");
		return CLI_USAGE;
	}
	return node_ask_and_show(cli, "node_manager", &node_session_list_type,
		&(struct node_session_list){.offset = offset,
			.limit = (uint32_t)limit,
			.archived = cli->option[CLI_OPTION_all] ? 2
				: cli->option[CLI_OPTION_archived]  ? 1
													: 0},
		show_list);
}

static void show_message(const struct chat_message *message)
{
	printf("\n[%llu] ", (unsigned long long)message->pos);
	cli_text(1, message->role);
	if (message->tool_name.len) {
		putchar(' ');
		cli_text(1, message->tool_name);
	}
	if (message->author.len) {
		fputs(" by ", stdout);
		cli_text(1, message->author);
	}
	printf("%s\n", message->is_error ? " (error)" : "");
	if (message->content.len) {
		cli_text(1, message->content);
		if (message->content.p[message->content.len - 1] != '\n')
			putchar('\n');
	}
	for (uint32_t i = 0; i < message->tool_calls.count; i++) {
		printf("-> ");
		cli_text(1, message->tool_calls.items[i].name);
		putchar(' ');
		cli_text(1, message->tool_calls.items[i].arguments);
		putchar('\n');
	}
}

static void show_session(const struct store_session *session)
{
	cli_field("session", session->id);
	cli_field("name", session->name);
	cli_field("agent", session->agent);
	cli_field("cwd", session->cwd);
	cli_field("on", session->peer.len ? session->peer_name : qmt_str("this node"));
	cli_field("state", state_of(session));
	if (session->parent.len) {
		cli_field("fork of", session->parent);
		printf("up to    message %llu\n", (unsigned long long)session->fork_pos);
	}
	printf("turns    %llu, %llu messages\ntokens   %llu in, %llu out\n", (unsigned long long)session->turns,
		(unsigned long long)session->messages,
		(unsigned long long)(session->usage.input_tokens + session->usage.cached_tokens),
		(unsigned long long)(session->usage.output_tokens + session->usage.reasoning_tokens));
}

/* Without --limit every page is fetched; with --json a page is one document. */
int qmt_session_show(const struct cli *cli)
{
	struct control_client *client;
	uint64_t from, limit;
	int status = CLI_OK;
	bool head = true;

	if (cli_number(cli, CLI_OPTION_from, 1, UINT32_MAX, &from) != CLI_OK ||
		cli_number(cli, CLI_OPTION_limit, 0, 1000, &limit) != CLI_OK)
		return CLI_USAGE;
	client = node_connect(cli, -1);
	if (!client)
		return CLI_FAILED;
	do {
		struct control_reply reply = {0};
		status = NODE_ASK(client, "node_manager", cli->timeout_ms, &reply, node_session_show,
			.session = qmt_str(cli->argv[0]), .from = from, .limit = (uint32_t)limit,
			.events = cli->option[CLI_OPTION_events] != NULL);
		const struct node_session_show_reply *page = reply.body;
		if (status == CLI_OK && cli->json) {
			status = cli_json(&reply.type->record, page);
			from = 0;
		} else if (status == CLI_OK) {
			if (head)
				show_session(&page->session);
			head = false;
			for (uint32_t i = 0; i < page->messages.count; i++)
				show_message(&page->messages.items[i]);
			from = limit || page->next <= from ? 0 : page->next;
		}
		control_reply_free(&reply);
	} while (status == CLI_OK && from);
	control_client_close(client);
	return status;
}

int qmt_session_resume(const struct cli *cli)
{
	return node_ask_and_show(cli, "node_manager", &node_session_resume_type,
		&(struct node_session_resume){.session = qmt_str(cli->argv[0])}, show_id);
}

/* --at N or SESSION:N. */
static int fork_point(const struct cli *cli, uint64_t *ret_pos, struct qmt_str *ret_of)
{
	const char *at = cli->option[CLI_OPTION_at], *colon, *digits;
	char *end;

	*ret_pos = 0;
	*ret_of = (struct qmt_str){0};
	if (!at)
		return CLI_OK;
	colon = strrchr(at, ':');
	digits = colon ? colon + 1 : at;
	errno = 0;
	*ret_pos = strtoull(digits, &end, 10);
	if (*digits < '0' || *digits > '9' || *end || errno || *ret_pos == 0 || colon == at) {
		cli_error("--at %s: must be the number of a message, from 1, as `qmt session show` prints it", at);
		return CLI_USAGE;
	}
	if (colon)
		*ret_of = qmt_strn(at, (size_t)(colon - at));
	return CLI_OK;
}

int qmt_session_fork(const struct cli *cli)
{
	char room[37];
	const char *request = request_id(cli, room);
	struct node_session_fork fork = {.session = qmt_str(cli->argv[0]), .name = qmt_str(cli->option[CLI_OPTION_name])};

	if (!request)
		return CLI_FAILED;
	if (fork_point(cli, &fork.pos, &fork.of) != CLI_OK)
		return CLI_USAGE;
	fork.request = qmt_str(request);
	return node_ask_and_show(cli, "node_manager", &node_session_fork_type, &fork, show_id);
}

int qmt_session_rename(const struct cli *cli)
{
	return node_ask_and_show(cli, "node_manager", &node_session_rename_type,
		&(struct node_session_rename){.session = qmt_str(cli->argv[0]), .name = qmt_str(cli->argv[1])}, show_id);
}

static int set_archived(const struct cli *cli, bool archived)
{
	return node_ask_and_show(cli, "node_manager", &node_session_archive_type,
		&(struct node_session_archive){.session = qmt_str(cli->argv[0]), .archived = archived}, show_id);
}

int qmt_session_archive(const struct cli *cli)
{
	return set_archived(cli, true);
}

int qmt_session_unarchive(const struct cli *cli)
{
	return set_archived(cli, false);
}

int qmt_session_close(const struct cli *cli)
{
	return node_ask_and_show(cli, "node_manager", &node_session_close_type,
		&(struct node_session_close){.session = qmt_str(cli->argv[0])}, show_id);
}

int qmt_session_delete(const struct cli *cli)
{
	return node_ask_and_show(cli, "node_manager", &node_session_delete_type,
		&(struct node_session_delete){.session = qmt_str(cli->argv[0])}, show_id);
}
