/* cmd/qmt_identity.c - `qmt identity`: the key pair of a node, as a file. */
#include <errno.h>
#include <unistd.h>

#include "cmd/home.h"
#include "cmd/qmt_input.h"
#include "cmd/qmt_node.h"
#include "proto/json.h"

/* --file, else the home's; heap. NULL after an error on stderr. */
static char *file_of(const struct cli *cli)
{
	const char *given = cli->option[CLI_OPTION_file];
	char *path = given ? strdup(given) : home_file(cli->home, "mesh_identity.key");

	if (!path)
		cli_error("out of memory");
	return path;
}

static int print_id(const struct cli *cli, const struct peer_id *id, const char *file)
{
	char text[PEER_ID_TEXT + 1], key[2 * PEER_ID_KEY + 1];
	struct qmt_buf line = {0};

	peer_id_text(id, text);
	identity_public_hex(id, key);
	if (cli->json) {
		qmt_buf_printf(&line, "{\"peer_id\":\"%s\",\"public_key\":\"%s\"", text, key);
		if (file) {
			qmt_buf_str(&line, ",\"file\":");
			json_quote(&line, qmt_str(file));
		}
		qmt_buf_str(&line, "}\n");
	} else {
		qmt_buf_printf(&line, "%s\n", text);
	}
	if (line.failed) {
		cli_error("out of memory");
		return CLI_FAILED;
	}
	fwrite(line.data, 1, line.len, stdout);
	qmt_buf_free(&line);
	return CLI_OK;
}

static int read_file(const char *path, struct identity *ret_identity)
{
	struct qmt_err err = {0};
	bool created;
	int rc;

	if (identity_crypto_init() != 0) {
		cli_error("libsodium cannot be used on this machine");
		return CLI_FAILED;
	}
	rc = home_identity(path, false, ret_identity, &created, &err);
	if (rc == -ENOENT)
		cli_error(
			"%s: no identity yet: it is made when qmtd first starts on this home, or by `qmt identity new`", path);
	else if (rc != 0)
		cli_error("%s", err.text);
	return rc == 0 ? CLI_OK : CLI_FAILED;
}

/* Works from the file when no node runs; a running node knows best (identity_file may lie elsewhere). */
int qmt_identity_show(const struct cli *cli)
{
	struct qmt_err err = {0};
	struct control_client *client = NULL;
	char *socket = cli->option[CLI_OPTION_file] ? NULL : home_socket(cli->home, &err);
	char *file = file_of(cli);
	struct identity identity;
	struct peer_id id;
	int status = CLI_FAILED;

	if (socket && control_client_open(socket, 0, -1, &client, &err) == 0) {
		if (peer_id_parse(qmt_str(control_client_node_id(client)), &id, &err) == 0)
			status = print_id(cli, &id, NULL);
		else
			cli_error("%s", err.text);
	} else if (file && read_file(file, &identity) == CLI_OK) {
		status = print_id(cli, &identity.id, NULL);
		identity_fini(&identity);
	}
	control_client_close(client);
	free(socket);
	free(file);
	return status;
}

int qmt_identity(const struct cli *cli)
{
	return qmt_identity_show(cli);
}

/* Writes it where the command says. The home's own file is a running node's: its lock is taken meanwhile. */
static int store(const struct cli *cli, const struct identity *identity)
{
	struct qmt_err err = {0};
	char *file = file_of(cli);
	int lock = -1, rc = 0, status = CLI_FAILED;

	if (!file)
		return CLI_FAILED;
	if (!cli->option[CLI_OPTION_file]) {
		lock = home_lock(cli->home, &err);
		rc = lock < 0 ? lock : 0;
	}
	if (rc == 0)
		rc = home_identity_write(file, identity, cli->option[CLI_OPTION_force] != NULL, &err);
	if (rc == -EEXIST)
		cli_error(
			"%s: there is an identity, nothing was changed: with --force it is replaced, and its PeerId lost", file);
	else if (rc != 0)
		cli_error("%s", err.text);
	else
		status = print_id(cli, &identity->id, file);
	if (lock >= 0)
		close(lock);
	free(file);
	return status;
}

int qmt_identity_new(const struct cli *cli)
{
	struct identity identity;
	int status;

	if (identity_crypto_init() != 0) {
		cli_error("libsodium cannot be used on this machine");
		return CLI_FAILED;
	}
	identity_generate(&identity);
	status = store(cli, &identity);
	identity_fini(&identity);
	return status;
}

int qmt_identity_import(const struct cli *cli)
{
	struct identity identity;
	struct qmt_err err = {0};
	struct qmt_buf data = {0};
	int status = CLI_FAILED;

	if (identity_crypto_init() != 0) {
		cli_error("libsodium cannot be used on this machine");
		return CLI_FAILED;
	}
	if (input_read(IDENTITY_INPUT, &data, &err) != 0) {
		cli_error("%s", err.text);
		return CLI_FAILED;
	}
	if (identity_from_input((struct qmt_bytes){(const uint8_t *)data.data, (uint32_t)data.len}, &identity, &err) != 0) {
		cli_error("standard input: %s", err.text);
	} else {
		status = store(cli, &identity);
		identity_fini(&identity);
	}
	input_wipe(&data);
	return status;
}

int qmt_identity_export(const struct cli *cli)
{
	struct identity identity;
	char *file = file_of(cli);
	char text[IDENTITY_HEX + 1];
	int status = CLI_FAILED;

	if (isatty(1)) {
		cli_error("standard output is a terminal, and this a secret: send it to a file or a pipe");
	} else if (file && read_file(file, &identity) == CLI_OK) {
		if (cli->option[CLI_OPTION_base64])
			identity_base64(&identity, text);
		else
			identity_hex(&identity, text);
		puts(text);
		explicit_bzero(text, sizeof text);
		identity_fini(&identity);
		status = CLI_OK;
	}
	free(file);
	return status;
}
