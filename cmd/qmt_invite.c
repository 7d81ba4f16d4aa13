/* cmd/qmt_invite.c - `qmt invite show` and `qmt invite qr`: what can be said of an invite without a node. */
#include "cmd/qmt_invite.h"

#include <inttypes.h>

#include "cmd/invite_text.h"
#include "cmd/qmt_input.h"
#include "cmd/qmt_node.h"
#include "cmd/qr.h"
#include "proto/invite.h"
#include "proto/json.h"
#include "runtime/base/os.h"

/* What was found out about one. */
struct shown {
	struct invite invite;
	bool decoded, has_addr;
	struct multiaddr addr;
	int outcome; /* 0, or enum invite_outcome */
	struct qmt_err err;
};

static void judge(struct qmt_str text, uint64_t now, struct shown *ret_shown)
{
	struct shown shown = {0};
	struct qmt_str token;

	shown.outcome = invite_split(text, &token, &shown.has_addr, &shown.addr, &shown.err);
	if (shown.outcome == 0)
		shown.outcome = invite_decode(token, &shown.invite, &shown.err);
	shown.decoded = shown.outcome == 0;
	if (shown.decoded)
		shown.outcome = invite_verify(&shown.invite, now, &shown.err);
	*ret_shown = shown;
}

static struct json *number(uint64_t value)
{
	return value <= INT64_MAX ? json_new_int((int64_t)value) : json_new_real((double)value);
}

/* Every field is always there; null is what is not known. */
static int show_json(const struct shown *shown)
{
	const struct invite *invite = &shown->invite;
	struct json *object QMT_CLEANUP(json_cleanup) = json_object();
	struct qmt_buf line = {0};
	const char *kind = invite_outcome_name(shown->outcome);
	char id[INVITE_ID_TEXT + 1], inviter[INVITE_INVITER_TEXT], mesh[MESH_ID], addr[MULTIADDR_TEXT];
	bool known = shown->decoded;
	int rc = 0;

	invite_id_text(invite->id, id);
	invite_inviter_text(invite, inviter);
	rc |= json_set(object, "version", known ? json_new_int(INVITE_VERSION) : json_new_null());
	rc |= json_set(object, "invite_id", known ? json_new_str(qmt_str(id)) : json_new_null());
	rc |= json_set(object, "inviter_peer_id", known ? json_new_str(qmt_str(inviter)) : json_new_null());
	rc |= json_set(object, "mesh_name",
		invite->name_len ? json_new_str(qmt_strn(invite->name, invite->name_len)) : json_new_null());
	rc |= json_set(object, "expires_at", known ? number(invite->expires_at) : json_new_null());
	rc |= json_set(object, "max_uses", known ? json_new_int(invite->max_uses) : json_new_null());
	rc |= json_set(object, "can_invite", known ? json_new_bool(invite->can_invite) : json_new_null());
	rc |=
		json_set(object, "role", known ? json_new_str(qmt_str(invite->client ? "client" : "member")) : json_new_null());
	rc |= json_set(
		object, "mesh_id", known ? json_new_str(qmt_strn(mesh, invite_mesh_id(invite, mesh))) : json_new_null());
	rc |= json_set(object, "valid", json_new_bool(shown->outcome == 0));
	rc |= json_set(object, "error_kind", kind ? json_new_str(qmt_str(kind)) : json_new_null());
	rc |= json_set(object, "error", kind ? json_new_str(qmt_str(shown->err.text)) : json_new_null());
	if (shown->has_addr) {
		multiaddr_text(&shown->addr, addr);
		rc |= json_set(object, "address", json_new_str(qmt_str(addr)));
	}
	if (rc != 0 || json_write(object, &line) != 0) {
		cli_error("out of memory");
		return CLI_FAILED;
	}
	qmt_buf_str(&line, "\n");
	cli_text(1, qmt_buf_view(&line));
	qmt_buf_free(&line);
	return CLI_OK;
}

static void show_text(const struct shown *shown)
{
	const struct invite *invite = &shown->invite;
	char id[INVITE_ID_TEXT + 1], inviter[INVITE_INVITER_TEXT], mesh[MESH_ID], text[MULTIADDR_TEXT], until[INVITE_TIME];

	if (shown->decoded) {
		invite_id_text(invite->id, id);
		invite_inviter_text(invite, inviter);
		invite_time(invite->expires_at, until);
		cli_field("invite", qmt_str(id));
		cli_field("inviter", qmt_str(inviter));
		cli_field("mesh", qmt_strn(mesh, invite_mesh_id(invite, mesh)));
		cli_field("role", qmt_str(invite->client ? "client" : "member"));
		cli_field("expires", qmt_str(until));
		snprintf(text, sizeof text, "%" PRIu32, invite->max_uses);
		cli_field("uses", qmt_str(invite->max_uses ? text : "any number"));
		if (shown->has_addr) {
			multiaddr_text(&shown->addr, text);
			cli_field("dial", qmt_str(text));
		}
		cli_field("valid", qmt_str(shown->outcome == 0 ? "yes, unless it was revoked or used up" : "no"));
	}
	if (shown->outcome != 0) {
		fflush(stdout);
		cli_error("%s: %s", invite_outcome_name(shown->outcome), shown->err.text);
	}
}

static int read_invite(const struct cli *cli, struct qmt_buf *ret_text)
{
	struct qmt_err err = {0};

	if (identity_crypto_init() != 0)
		cli_error("libsodium cannot be used on this machine");
	else if (input_argument(cli->argv[0], 2 * INVITE_TEXT_MAX, ret_text, &err) != 0)
		cli_error("%s", err.text);
	else
		return CLI_OK;
	return CLI_FAILED;
}

int qmt_invite_show(const struct cli *cli)
{
	struct qmt_buf text = {0};
	struct shown shown;
	uint64_t now;
	int status;

	if (cli_number(cli, CLI_OPTION_now, qmt_os_real_wall_ms(NULL) / 1000, INT64_MAX, &now) != CLI_OK)
		return CLI_USAGE;
	status = read_invite(cli, &text);
	if (status != CLI_OK)
		return status;
	judge(qmt_buf_view(&text), now, &shown);
	if (cli->json)
		status = show_json(&shown);
	else
		show_text(&shown);
	input_wipe(&text);
	return shown.outcome != 0 ? CLI_FAILED : status;
}

/* ---- QR ------------------------------------------------------------------------------------------------------ */

static int write_picture(const char *path, const struct qmt_buf *data)
{
	struct qmt_err err = {0};

	if (strcmp(path, "-") == 0) {
		fwrite(data->data, 1, data->len, stdout);
		return CLI_OK;
	}
	if (qmt_os_file_write(path, data->data, data->len, 0600, &err) == 0)
		return CLI_OK;
	cli_error("%s", err.text);
	return CLI_FAILED;
}

int invite_draw(const char *png, const char *svg, struct qmt_str url)
{
	struct qmt_buf out = {0};
	struct qmt_err err = {0};
	struct qr qr;
	int status = CLI_OK;

	if (qr_make(url, &qr, &err) != 0) {
		cli_error("%s", err.text);
		return CLI_FAILED;
	}
	if (png)
		qr_png(&qr, &out);
	else if (svg)
		qr_svg(&qr, &out);
	else
		qr_terminal(&qr, &out);
	if (out.failed) {
		cli_error("out of memory");
		status = CLI_FAILED;
	} else if (png || svg) {
		status = write_picture(png ? png : svg, &out);
	} else {
		fwrite(out.data, 1, out.len, stdout);
	}
	qr_free(&qr);
	input_wipe(&out);
	return status;
}

int qmt_invite_qr(const struct cli *cli)
{
	struct qmt_buf text = {0}, url = {0};
	struct shown shown;
	int status;

	if (cli->option[CLI_OPTION_png] && cli->option[CLI_OPTION_svg]) {
		cli_error("--png and --svg: one picture at a time");
		return CLI_USAGE;
	}
	status = read_invite(cli, &text);
	if (status != CLI_OK)
		return status;
	judge(qmt_buf_view(&text), 0, &shown);
	if (!shown.decoded || shown.outcome == INVITE_E_SIGNATURE) {
		cli_error("%s: %s", invite_outcome_name(shown.outcome), shown.err.text);
		status = CLI_FAILED;
	} else {
		if (text.len < strlen(INVITE_URL_PREFIX) ||
			memcmp(text.data, INVITE_URL_PREFIX, strlen(INVITE_URL_PREFIX)) != 0)
			qmt_buf_str(&url, INVITE_URL_PREFIX);
		qmt_buf_append(&url, text.data, text.len);
		if (url.failed) {
			cli_error("out of memory");
			status = CLI_FAILED;
		} else {
			status = invite_draw(cli->option[CLI_OPTION_png], cli->option[CLI_OPTION_svg], qmt_buf_view(&url));
		}
	}
	input_wipe(&text);
	input_wipe(&url);
	return status;
}
