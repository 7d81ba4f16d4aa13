/* cmd/qmt_mesh.c - `qmt join`, `leave`, `meshes` and `mesh revoke`: into a mesh, out of it, and who else has to go. */
#include <inttypes.h>

#include "cmd/invite_text.h"
#include "cmd/qmt_input.h"
#include "cmd/qmt_node.h"
#include "proto/identity.h"
#include "proto/invite.h"
#include "runtime/base/os.h"

static void show_joined(const void *body)
{
	const struct admission_mesh_joined *reply = body;
	char until[INVITE_TIME];

	invite_time(reply->expires_at, until);
	cli_field("mesh", reply->mesh_id);
	cli_field("state", qmt_str(reply->already_joined ? "was joined before" : "joined"));
	cli_field("role", reply->role);
	cli_field("membership until", qmt_str(until));
}

/* Without a node first: what is no invite, or has expired, needs none. */
static int check_invite(struct qmt_str text)
{
	struct invite invite;
	struct multiaddr addr;
	struct qmt_str token;
	struct qmt_err err = {0};
	bool has_addr;
	int rc = invite_split(text, &token, &has_addr, &addr, &err);

	if (rc == 0)
		rc = invite_decode(token, &invite, &err);
	if (rc == 0)
		rc = invite_verify(&invite, qmt_os_real_wall_ms(NULL) / 1000, &err);
	if (rc != 0)
		cli_error("%s: %s", invite_outcome_name(rc), err.text);
	return rc == 0 ? CLI_OK : CLI_FAILED;
}

int qmt_join(const struct cli *cli)
{
	struct qmt_str addr = qmt_str(cli->option[CLI_OPTION_addr]);
	struct qmt_buf text = {0};
	struct qmt_err err = {0};
	struct multiaddr parsed;
	int status;

	if (addr.len && multiaddr_parse(addr, &parsed, &err) != 0) {
		cli_error("--addr: %s", err.text);
		return CLI_USAGE;
	}
	if (identity_crypto_init() != 0) {
		cli_error("libsodium cannot be used on this machine");
		return CLI_FAILED;
	}
	if (input_argument(cli->argv[0], 2 * INVITE_TEXT_MAX, &text, &err) != 0) {
		cli_error("%s", err.text);
		return CLI_FAILED;
	}
	input_hide(cli->argv[0]);
	status = check_invite(qmt_buf_view(&text));
	if (status == CLI_OK)
		status = node_ask_and_show(cli, "admission", &admission_mesh_join_type,
			&(struct admission_mesh_join){
				.token = qmt_buf_view(&text), .addresses = {addr.len ? &addr : NULL, addr.len ? 1 : 0}},
			show_joined);
	input_wipe(&text);
	return status;
}

static void show_left(const void *body)
{
	(void)body;
	cli_field("state", qmt_str("left"));
}

int qmt_leave(const struct cli *cli)
{
	return node_ask_and_show(cli, "admission", &admission_mesh_leave_type,
		&(struct admission_mesh_leave){.mesh = qmt_str(cli->argv[0])}, show_left);
}

static void show_meshes(const void *body)
{
	const struct admission_meshes *reply = body;
	struct cli_rows rows = {.columns = 6};

	for (uint32_t i = 0; i < reply->meshes.count; i++) {
		const struct admission_mesh *mesh = &reply->meshes.items[i];
		char until[INVITE_TIME], members[16];

		invite_time(mesh->expires_at, until);
		snprintf(members, sizeof members, "%" PRIu32, mesh->members);
		cli_cell(&rows, mesh->mesh);
		cli_cell(&rows, mesh->state);
		cli_cell(&rows, mesh->role.len ? mesh->role : qmt_str("-"));
		cli_cell(&rows, qmt_str(members));
		cli_cell(&rows, qmt_str(mesh->expires_at ? until : "-"));
		cli_cell(&rows, mesh->text);
	}
	cli_rows_print(&rows, (const char *const[]){"MESH", "STATE", "ROLE", "CONNECTED", "UNTIL", "NOTE"});
}

int qmt_meshes(const struct cli *cli)
{
	return node_ask_and_show(cli, "admission", &admission_mesh_list_type, &(struct admission_mesh_list){}, show_meshes);
}

static void show_revoked(const void *body)
{
	const struct admission_mesh_revoked *reply = body;
	char text[80];

	snprintf(text, sizeof text, "from %" PRIu32 " meshes; %" PRIu32 " connected members were told", reply->meshes,
		reply->told);
	cli_field("revoked", qmt_str(text));
}

int qmt_mesh_revoke(const struct cli *cli)
{
	return node_ask_and_show(cli, "admission", &admission_mesh_revoke_type,
		&(struct admission_mesh_revoke){
			.peer_id = qmt_str(cli->argv[0]), .mesh = qmt_str(cli->option[CLI_OPTION_name])},
		show_revoked);
}
