/* cmd/lab/steps_set_up.c - steps that declare hosts and networks, and set variables. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>

#include "cmd/lab/net.h"

/* Read by the parser. */
enum lab_outcome lab_step_backend(struct lab_run *run)
{
	(void)run;
	return LAB_DONE;
}

enum lab_outcome lab_step_deadline(struct lab_run *run)
{
	(void)run;
	return LAB_DONE;
}

/* Read by the parser; what the machine cannot do was seen before the first step. */
enum lab_outcome lab_step_needs(struct lab_run *run)
{
	(void)run;
	return LAB_DONE;
}

static enum lab_outcome net_failed(struct lab_run *run, int rc, const struct qmt_err *err)
{
	if (rc == -ENOTSUP) {
		run->player->skip_room = *err;
		run->player->skip = run->player->skip_room.text;
	} else {
		lab_fail(run, "the network to be made");
		lab_got(run, "%s", err->text[0] ? err->text : strerror(-rc));
	}
	return LAB_FAILED;
}

enum lab_outcome lab_step_network(struct lab_run *run)
{
	struct qmt_err err = {0};
	int rc = run->player->net_ops->network(run->player->net, run->words[0], lab_option(run->step, "behind"), &err);

	return rc == 0 ? LAB_DONE : net_failed(run, rc, &err);
}

struct lab_host *lab_host_find(struct player *player, const char *name)
{
	for (unsigned i = 0; i < player->host_count; i++)
		if (strcmp(player->hosts[i].name, name) == 0)
			return &player->hosts[i];
	return NULL;
}

static bool host_folders(struct lab_host *host)
{
	struct qmt_buf path = {0};
	struct qmt_err err = {0};
	bool good;

	qmt_buf_printf(&path, "%s/home", host->dir);
	good = !path.failed && qmt_os_make_dirs(path.data, &err) == 0;
	path.len = 0;
	qmt_buf_printf(&path, "%s/clock", host->dir);
	good = good && !path.failed && lab_clock_write(path.data, 0, &err) == 0;
	qmt_buf_free(&path);
	return good;
}

/* Hosts are declared at the top, so their number is known: pointers to them stay good. */
static struct lab_host *host_room(struct player *player)
{
	if (!player->hosts)
		player->hosts = calloc(player->scenario->name_count, sizeof *player->hosts);
	return player->hosts ? &player->hosts[player->host_count] : NULL;
}

static enum lab_outcome host_add(struct lab_run *run, bool is_node)
{
	struct player *player = run->player;
	struct lab_host *host = host_room(player);
	const char *network = lab_option(run->step, "on"), *config = lab_option(run->step, "config");
	struct qmt_buf text = {0};
	struct qmt_err err = {0};
	int rc;

	if (!host)
		return lab_fail(run, "memory");
	*host = (struct lab_host){.player = player,
		.name = run->step->words[0],
		.network = network ? network : "lan",
		.index = player->host_count + 1,
		.is_node = is_node,
		.config = config};
	for (size_t i = 0; host->name[i] && i < sizeof host->upper - 1; i++)
		host->upper[i] = host->name[i] == '-' ? '_' : (char)toupper((unsigned char)host->name[i]);
	qmt_buf_printf(&text, "%s/%s", player->options.folder, host->name);
	host->dir = text.data;
	if (!host->dir || !host_folders(host))
		return lab_fail(run, "a folder for the host");
	if (is_node && !config) { /* scenario.c has seen that one of them is there */
		struct qmt_buf name = {0};
		qmt_buf_printf(&name, "%s.toml", host->name);
		const struct lab_file *file = lab_file_find(player->scenario, name.data, player->options.planted);
		name.len = 0;
		qmt_buf_printf(&name, "%s.ini", host->name);
		if (!file)
			file = lab_file_find(player->scenario, name.data, player->options.planted);
		qmt_buf_free(&name);
		host->config = file ? file->name : "";
	}
	rc = player->net_ops->host(player->net, host, &err);
	if (rc != 0) {
		free(host->dir);
		return net_failed(run, rc, &err);
	}
	player->host_count++;
	return LAB_DONE;
}

enum lab_outcome lab_step_host(struct lab_run *run)
{
	return host_add(run, false);
}

enum lab_outcome lab_step_node(struct lab_run *run)
{
	return host_add(run, true);
}

enum lab_outcome lab_step_set(struct lab_run *run)
{
	lab_set(run->player, run->words[0], run->words[1]);
	return LAB_DONE;
}

enum lab_outcome lab_step_random(struct lab_run *run)
{
	int64_t low, high;
	char text[32];

	if (!lab_number(run->words[1], &low) || !lab_number(run->words[2], &high) || low > high)
		return lab_fail(run, "two whole numbers, the smaller first");
	snprintf(text, sizeof text, "%" PRId64, lab_random_between(run, low, high));
	lab_set(run->player, run->words[0], text);
	player_note(run->player, "%s is %s", run->words[0], text);
	return LAB_DONE;
}
