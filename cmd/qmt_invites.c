/* cmd/qmt_invites.c - `qmt invite create`, `list`, `revoke` and `qmt audit`: what only the node can do, because the
 * record of uses is in its store. */
#include <inttypes.h>

#include "cmd/invite_text.h"
#include "cmd/qmt_invite.h"
#include "cmd/qmt_node.h"
#include "proto/invite.h"
#include "proto/json.h"
#include "runtime/base/os.h"

static int no_memory(void)
{
	cli_error("out of memory");
	return CLI_FAILED;
}

/* ---- create ------------------------------------------------------------------------------------------------------ */

static int print_json(
	const struct qmt_type *type, const struct admission_invite_created *created, const struct invite_urls *urls)
{
	struct json *object QMT_CLEANUP(json_cleanup) = json_from_record(&type->record, created, true);
	struct json *list = json_array();
	struct qmt_buf line = {0};
	int rc = 0;

	for (uint32_t i = 0; i < urls->count; i++)
		rc |= json_add(list, json_new_str(qmt_str(urls->items[i])));
	rc |= json_set(object, "urls", list);
	if (rc != 0 || json_write(object, &line) != 0)
		return no_memory();
	qmt_buf_str(&line, "\n");
	cli_text(1, qmt_buf_view(&line));
	explicit_bzero(line.data, line.len);
	qmt_buf_free(&line);
	return CLI_OK;
}

static int print_created(const struct cli *cli, const struct control_reply *reply)
{
	const struct admission_invite_created *created = reply->body;
	struct invite_urls urls;
	char summary[INVITE_SUMMARY];
	int status = CLI_OK;

	if (invite_urls_make(created, &urls) != 0)
		return no_memory();
	if (cli->json) {
		status = print_json(reply->type, created, &urls);
	} else {
		for (uint32_t i = 0; i < urls.count; i++)
			puts(urls.items[i]);
		fflush(stdout);
		invite_summary(&created->invite, summary);
		fprintf(stderr, "invite %.*s: %s\n", QMT_STR_ARG(created->invite.id), summary);
	}
	if (status == CLI_OK && cli->option[CLI_OPTION_qr] && !cli->json)
		status = invite_draw(NULL, NULL, invite_urls_best(&urls));
	if (status == CLI_OK && (cli->option[CLI_OPTION_png] || cli->option[CLI_OPTION_svg]))
		status = invite_draw(cli->option[CLI_OPTION_png], cli->option[CLI_OPTION_svg], invite_urls_best(&urls));
	invite_urls_free(&urls);
	return status;
}

static int create_request(const struct cli *cli, struct admission_invite_create *ret_request)
{
	const char *role = cli->option[CLI_OPTION_role];
	struct admission_invite_create request = {.name = qmt_str(cli->option[CLI_OPTION_name])};
	struct qmt_err err = {0};

	if (invite_name(request.name, &err) != 0) {
		cli_error("--name: %s", err.text);
	} else if (invite_ttl(cli->option[CLI_OPTION_ttl], &request.ttl_s, &err) != 0) {
		cli_error("--ttl: %s", err.text);
	} else if (invite_uses(cli->option[CLI_OPTION_uses], &request.max_uses, &err) != 0) {
		cli_error("--uses: %s", err.text);
	} else if (role && strcmp(role, "member") != 0 && strcmp(role, "client") != 0) {
		cli_error("--role: \"%s\" is neither member nor client", role);
	} else if (cli->option[CLI_OPTION_png] && cli->option[CLI_OPTION_svg]) {
		cli_error("--png and --svg: one picture at a time");
	} else if (strcmp(cli->option[CLI_OPTION_png] ? cli->option[CLI_OPTION_png] : "", "-") == 0 ||
		strcmp(cli->option[CLI_OPTION_svg] ? cli->option[CLI_OPTION_svg] : "", "-") == 0) {
		cli_error("the picture goes to a file here: standard output has the URLs (qmt invite qr can draw there)");
	} else {
		request.client = role && strcmp(role, "client") == 0;
		*ret_request = request;
		return CLI_OK;
	}
	return CLI_USAGE;
}

int qmt_invite_create(const struct cli *cli)
{
	struct admission_invite_create request;
	struct control_reply reply = {0};
	struct control_client *client;
	int status = create_request(cli, &request);

	if (status != CLI_OK)
		return status;
	client = node_connect(cli, -1);
	if (!client)
		return CLI_FAILED;
	status = node_ask(client, "admission", &admission_invite_create_type, &request, cli->timeout_ms, &reply);
	if (status == CLI_OK)
		status = print_created(cli, &reply);
	control_reply_free(&reply);
	control_client_close(client);
	return status;
}

/* ---- list, revoke ------------------------------------------------------------------------------------------------ */

static const char *state_of(const struct store_invite *invite)
{
	if (invite->revoked_ms)
		return "revoked";
	if (invite->expires_at && qmt_os_real_wall_ms(NULL) / 1000 > invite->expires_at)
		return "expired";
	return invite->max_uses && invite->uses >= invite->max_uses ? "used up" : "open";
}

static void show_invites(const void *body)
{
	const struct admission_invites *reply = body;
	struct cli_rows rows = {.columns = 6};

	for (uint32_t i = 0; i < reply->invites.count; i++) {
		const struct store_invite *invite = &reply->invites.items[i];
		char uses[32], until[INVITE_TIME];
		if (invite->max_uses)
			snprintf(uses, sizeof uses, "%" PRIu32 " of %" PRIu32, invite->uses, invite->max_uses);
		else
			snprintf(uses, sizeof uses, "%" PRIu32, invite->uses);
		invite_time(invite->expires_at, until);
		cli_cell(&rows, invite->id);
		cli_cell(&rows, invite->name.len ? invite->name : qmt_str("-"));
		cli_cell(&rows, qmt_str(invite->client ? "client" : "member"));
		cli_cell(&rows, qmt_str(uses));
		cli_cell(&rows, qmt_str(until));
		cli_cell(&rows, qmt_str(state_of(invite)));
	}
	cli_rows_print(&rows, (const char *const[]){"INVITE", "MESH", "ROLE", "USED", "EXPIRES", "STATE"});
	if (reply->total > reply->invites.count)
		printf("(%llu in all: --offset and --limit show the others)\n", (unsigned long long)reply->total);
}

int qmt_invite_list(const struct cli *cli)
{
	uint64_t offset, limit;

	if (cli_number(cli, CLI_OPTION_offset, 0, UINT32_MAX, &offset) != CLI_OK ||
		cli_number(cli, CLI_OPTION_limit, 0, 100, &limit) != CLI_OK)
		return CLI_USAGE;
	return node_ask_and_show(cli, "admission", &admission_invite_list_type,
		&(struct admission_invite_list){.offset = offset, .limit = (uint32_t)limit}, show_invites);
}

static void show_revoked(const void *body)
{
	const struct admission_invite_revoked *reply = body;

	cli_field("invite", reply->invite.id);
	cli_field("state", qmt_str(reply->already ? "was revoked before" : "revoked: nobody comes in by it any more"));
	for (uint32_t i = 0; i < reply->peers.count; i++)
		cli_field("came in", reply->peers.items[i]);
}

int qmt_invite_revoke(const struct cli *cli)
{
	return node_ask_and_show(cli, "admission", &admission_invite_revoke_type,
		&(struct admission_invite_revoke){.invite = qmt_str(cli->argv[0])}, show_revoked);
}

/* ---- audit ------------------------------------------------------------------------------------------------------- */

static void show_audit(const void *body)
{
	const struct admission_audit_reply *reply = body;
	struct cli_rows rows = {.columns = 7};

	for (uint32_t i = 0; i < reply->rows.count; i++) {
		const struct store_audit *row = &reply->rows.items[i];
		char at[INVITE_TIME];
		invite_time((row->last_ms ? row->last_ms : row->at_ms) / 1000, at);
		cli_cell_number(&rows, row->seq);
		cli_cell(&rows, qmt_str(at));
		cli_cell(&rows, row->event);
		cli_cell_number(&rows, row->count);
		cli_cell(&rows, row->text.len ? row->text : qmt_str("-"));
		cli_cell(&rows, row->invite.len ? row->invite : qmt_str("-"));
		cli_cell(&rows, row->peer_id.len ? row->peer_id : qmt_str("-"));
	}
	cli_rows_print(&rows, (const char *const[]){"SEQ", "TIME", "EVENT", "TIMES", "OUTCOME", "INVITE", "PEER ID"});
}

int qmt_audit(const struct cli *cli)
{
	uint64_t limit, before;

	if (cli_number(cli, CLI_OPTION_limit, 0, 1000, &limit) != CLI_OK ||
		cli_number(cli, CLI_OPTION_before, 0, INT64_MAX, &before) != CLI_OK)
		return CLI_USAGE;
	return node_ask_and_show(cli, "admission", &admission_audit_type,
		&(struct admission_audit){.before = before, .limit = (uint32_t)limit}, show_audit);
}
