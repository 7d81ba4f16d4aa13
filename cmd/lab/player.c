/* cmd/lab/player.c - runs a scenario: the tree of steps under way, the loop that wakes them, variables and failures.
 *
 * A step is polled when it begins and whenever anything has happened (`changes`): a line of a process, an end, a timer,
 * something on the net. After each turn of the loop all pending steps are polled until nothing more has happened; then
 * the loop sleeps until the next event or the earliest deadline.
 */
#include "cmd/lab/player.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "cmd/lab/net.h"
#include "cmd/lab/space.h"

static enum lab_outcome (*const step_functions[LAB_STEP_COUNT])(struct lab_run *run) = {
#define LAB_STEP_ENTRY(group, name, usage, least, most, options, needs, traits, doc) lab_step_##name,
	LAB_STEPS(LAB_STEP_ENTRY)};

/* ---- time, notes, failures --------------------------------------------------------------------------------------- */

uint64_t player_now_ms(const struct player *player)
{
	return qmt_os_real_now_ms() - player->began_ms;
}

void player_changed(struct player *player)
{
	player->changes++;
}

void player_note(struct player *player, const char *format, ...)
{
	struct qmt_buf text = {0};
	char line[QMT_ERR_TEXT];
	va_list args;
	struct lab_note *notes = realloc(player->notes, (player->note_count + 1) * sizeof *notes);

	if (!notes)
		return;
	player->notes = notes;
	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	qmt_buf_str(&text, line);
	notes[player->note_count++] = (struct lab_note){player_now_ms(player), text.data};
}

enum lab_outcome lab_fail(struct lab_run *run, const char *expected, ...)
{
	struct lab_failure *failure = &run->player->failure;
	char text[QMT_ERR_TEXT];
	va_list args;

	if (failure->set)
		return LAB_FAILED;
	failure->set = true;
	failure->step = run->step;
	va_start(args, expected);
	vsnprintf(text, sizeof text, expected, args);
	va_end(args);
	qmt_buf_str(&failure->expected, text);
	return LAB_FAILED;
}

void lab_got(struct lab_run *run, const char *format, ...)
{
	char text[8 * QMT_ERR_TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	qmt_buf_str(&run->player->failure.got, text);
}

bool lab_late(const struct lab_run *run)
{
	return player_now_ms(run->player) >= run->deadline_ms;
}

/* ---- variables --------------------------------------------------------------------------------------------------- */

const char *lab_get(const struct player *player, const char *name)
{
	for (size_t i = 0; i < player->var_count; i++)
		if (strcmp(player->vars[i].name, name) == 0)
			return player->vars[i].value;
	return NULL;
}

void lab_set(struct player *player, const char *name, const char *value)
{
	char *copy = strdup(value);

	for (size_t i = 0; i < player->var_count; i++)
		if (strcmp(player->vars[i].name, name) == 0) {
			free(player->vars[i].value);
			player->vars[i].value = copy;
			return;
		}
	struct lab_var *vars = realloc(player->vars, (player->var_count + 1) * sizeof *vars);
	if (!vars) {
		free(copy);
		return;
	}
	player->vars = vars;
	vars[player->var_count++] = (struct lab_var){strdup(name), copy};
}

/* NAME_ADDR and NAME_IP of hosts, as the host where the step runs sees them; a step that runs nowhere sees them as
 * anybody
 * does. */
static const char *host_var(struct lab_run *run, const char *name, char room[128])
{
	struct player *player = run->player;

	for (unsigned i = 0; i < player->host_count; i++) {
		struct lab_host *host = &player->hosts[i];
		size_t len = strlen(host->upper);
		if (strncmp(name, host->upper, len) != 0 || name[len] != '_')
			continue;
		const char *address = run->host == host ? player->net_ops->own_address(player->net, host)
												: player->net_ops->address(player->net, run->host, host);
		if (address && strcmp(name + len + 1, "IP") == 0)
			return address;
		if (address && strcmp(name + len + 1, "ADDR") == 0) {
			snprintf(room, 128, "/ip4/%s/tcp/%d", address, LAB_NODE_PORT);
			return room;
		}
	}
	return NULL;
}

char *lab_expand(struct lab_run *run, const char *word)
{
	struct qmt_buf out = {0};
	char room[128];

	qmt_buf_str(&out, "");
	for (const char *at = word; *at; at++) {
		const char *end = at[0] == '$' && at[1] == '{' ? strchr(at, '}') : NULL;
		if (!end) {
			char byte = *at == LAB_LITERAL ? '$' : *at;
			qmt_buf_append(&out, &byte, 1);
			continue;
		}
		char *name = strndup(at + 2, (size_t)(end - at - 2));
		const char *value = name ? lab_get(run->player, name) : NULL;
		if (!value && name)
			value = host_var(run, name, room);
		if (!value) {
			lab_fail(run, "the variable ${%s} to be set", name ? name : "");
			free(name);
			qmt_buf_free(&out);
			return NULL;
		}
		free(name);
		qmt_buf_str(&out, value);
		at = end;
	}
	if (out.failed) {
		lab_fail(run, "memory");
		qmt_buf_free(&out);
	}
	return out.data;
}

/* ---- random: splitmix64, so that a seed means the same everywhere ------------------------------------------------ */

static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t lab_random(struct lab_run *run)
{
	for (struct lab_run *at = run; at; at = at->parent)
		if (at->random)
			return splitmix(&at->random);
	return splitmix(&run->player->random);
}

int64_t lab_random_between(struct lab_run *run, int64_t low, int64_t high)
{
	return low + (int64_t)(lab_random(run) % ((uint64_t)(high - low) + 1));
}

/* ---- the tree of steps ------------------------------------------------------------------------------------------- */

struct lab_run *lab_run_new(struct lab_run *parent, const struct lab_step *step)
{
	struct lab_run *run = calloc(1, sizeof *run), **tail;

	if (!run)
		return NULL;
	run->player = parent->player;
	run->parent = parent;
	run->step = step;
	run->last = parent->last;
	for (tail = &parent->children; *tail; tail = &(*tail)->sibling)
		;
	*tail = run;
	return run;
}

void lab_run_free(struct lab_run *run)
{
	if (!run)
		return;
	while (run->children)
		lab_run_free(run->children);
	if (run->parent) {
		struct lab_run **at = &run->parent->children;
		while (*at != run)
			at = &(*at)->sibling;
		*at = run->sibling;
	}
	for (unsigned i = 0; i < run->word_count; i++)
		free(run->words[i]);
	free(run->words);
	free(run);
}

static enum lab_outcome begin(struct lab_run *run)
{
	struct player *player = run->player;
	const struct lab_step *step = run->step;
	const char *within = lab_option(step, "within");
	uint64_t ms = player->scenario->deadline_ms;

	if (within) {
		char *text = lab_expand(run, within);
		if (!text || !lab_time(text, &ms)) {
			free(text);
			return lab_fail(run, "within= to be a time");
		}
		free(text);
	}
	run->deadline_ms = step->kind->traits & LAB_BLOCK ? UINT64_MAX : player_now_ms(player) + ms;
	if (step->id == LAB_STEP_run || step->id == LAB_STEP_spawn)
		run->host = lab_host_find(player, step->words[step->id == LAB_STEP_spawn]);
	run->words = calloc(step->word_count + 1u, sizeof *run->words);
	if (!run->words)
		return lab_fail(run, "memory");
	for (; run->word_count < step->word_count; run->word_count++)
		if (!(run->words[run->word_count] = lab_expand(run, step->words[run->word_count])))
			return LAB_FAILED;
	if (!(step->kind->traits & (LAB_BLOCK | LAB_DECLARES)) && step->id != LAB_STEP_note)
		player_note(player, "step %u: %s", step->line, step->text);
	return LAB_PENDING;
}

enum lab_outcome lab_run_poll(struct lab_run *run)
{
	enum lab_outcome outcome = run->round == 0 ? begin(run) : LAB_PENDING;

	if (outcome == LAB_FAILED)
		return outcome;
	outcome = step_functions[run->step->id](run);
	run->round++;
	if (outcome == LAB_PENDING && lab_late(run))
		outcome = lab_fail(run, "this to end in time");
	if (outcome == LAB_FAILED && !run->player->failure.set)
		lab_fail(run, "this step to succeed");
	return outcome;
}

static bool carried_out(const struct player *player, const struct lab_step *step)
{
	return player->options.planted ? !step->only_sound : !step->only_planted;
}

enum lab_outcome lab_sequence(struct lab_run *run)
{
	for (;;) {
		if (!run->children) {
			while (run->at && !carried_out(run->player, run->at))
				run->at = run->at->next;
			if (!run->at)
				return LAB_DONE;
			if (!lab_run_new(run, run->at))
				return lab_fail(run, "memory");
			run->at = run->at->next;
		}
		struct lab_run *child = run->children;
		enum lab_outcome outcome = lab_run_poll(child);
		if (outcome != LAB_DONE)
			return outcome;
		run->last = child->last;
		lab_run_free(child);
	}
}

static uint64_t earliest(const struct lab_run *run)
{
	uint64_t least = run->children ? UINT64_MAX : run->deadline_ms;

	if (!run->children && run->wake_ms && run->wake_ms < least)
		least = run->wake_ms;

	for (const struct lab_run *child = run->children; child; child = child->sibling) {
		uint64_t at = earliest(child);
		if (at < least)
			least = at;
	}
	return least;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer)
{
	player_changed(timer->data);
}

/* The files of the scenario whose name begins with `prefix`. */
int player_files_write(struct player *player, const char *prefix, struct qmt_err *err)
{
	const struct scenario *scenario = player->scenario;
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < scenario->file_count; i++) {
		const struct lab_file *file = &scenario->files[i];
		struct qmt_buf path = {0};
		if (strncmp(file->name, prefix, strlen(prefix)) != 0 ||
			lab_file_find(scenario, file->name, player->options.planted) != file)
			continue;
		qmt_buf_printf(&path, "%s/%s", player->options.folder, file->name);
		if (path.failed) {
			rc = -ENOMEM;
		} else {
			char *slash = strrchr(path.data, '/');
			*slash = '\0';
			rc = qmt_os_make_dirs(path.data, err);
			*slash = '/';
			if (rc == 0)
				rc = qmt_os_file_write(path.data, file->data.p, file->data.len, 0644, err);
		}
		qmt_buf_free(&path);
	}
	return rc;
}

static int open_world(struct player *player, struct qmt_err *err)
{
	int rc = space_enter((player->options.backend == LAB_NETNS ? SPACE_NET : 0) |
			(player->scenario->needs & LAB_NEED_DISK ? SPACE_MOUNT : 0),
		err);

	if (rc == 0 && (player->scenario->needs & LAB_NEED_CLOCK) && !player->options.clock_shim)
		rc = qmt_err_set(
			err, -ENOTSUP, "a clock of its own needs libqmt-lab-clock.so, which was not installed with qmt-lab");
	if (rc == 0)
		rc = player->net_ops->open(player, &player->net, err);
	if (rc == 0)
		rc = player->net_ops->network(player->net, "public", NULL, err);
	if (rc == 0)
		rc = player->net_ops->network(player->net, "lan", NULL, err);
	if (rc == 0)
		rc = player_files_write(player, "", err);
	return rc;
}

int player_run(const struct player_options *options, struct player *player)
{
	struct lab_run root = {.player = player, .deadline_ms = UINT64_MAX};
	struct qmt_err err = {0};
	char seed[32];
	enum lab_outcome outcome = LAB_PENDING;
	int rc;

	*player = (struct player){.options = *options, .scenario = options->scenario};
	player->began_ms = qmt_os_real_now_ms();
	player->random = options->seed;
	player->net_ops = options->backend == LAB_NETNS ? &packets_ops : &cable_ops;
	rc = uv_loop_init(&player->loop);
	if (rc != 0)
		return rc;
	uv_timer_init(&player->loop, &player->timer);
	player->timer.data = player;
	snprintf(seed, sizeof seed, "%" PRIu64, options->seed);
	lab_set(player, "SEED", seed);
	lab_set(player, "BACKEND", options->backend == LAB_NETNS ? "netns" : "loopback");
	rc = open_world(player, &err);
	if (rc != 0) {
		player->skip_room = err;
		player->skip = player->skip_room.text;
		return rc == -ENOTSUP ? 2 : rc;
	}
	root.at = player->scenario->steps;
	while (outcome == LAB_PENDING) {
		uint64_t before;
		do {
			before = player->changes;
			outcome = lab_sequence(&root);
		} while (outcome == LAB_PENDING && before != player->changes);
		if (outcome != LAB_PENDING)
			break;
		uint64_t until = earliest(&root), now = player_now_ms(player);
		uv_timer_start(&player->timer, on_timer, until > now ? until - now : 0, 0);
		uv_run(&player->loop, UV_RUN_ONCE);
	}
	while (root.children)
		lab_run_free(root.children);
	if (outcome == LAB_FAILED) /* what has been written already belongs into the report */
		uv_run(&player->loop, UV_RUN_NOWAIT);
	return player->skip ? 2 : outcome == LAB_DONE ? 0 : 1;
}

static void close_handle(uv_handle_t *handle, void *unused)
{
	(void)unused;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

void player_fini(struct player *player)
{
	while (player->processes) {
		struct lab_process *process = player->processes;
		player->processes = process->next;
		lab_process_free(process);
	}
	if (player->net)
		player->net_ops->close(player->net);
	uv_walk(&player->loop, close_handle, NULL);
	uv_run(&player->loop, UV_RUN_DEFAULT);
	uv_loop_close(&player->loop);
	for (size_t i = 0; i < player->var_count; i++) {
		free(player->vars[i].name);
		free(player->vars[i].value);
	}
	free(player->vars);
	for (size_t i = 0; i < player->note_count; i++)
		free(player->notes[i].text);
	free(player->notes);
	for (unsigned i = 0; i < player->host_count; i++) {
		free(player->hosts[i].dir);
	}
	free(player->hosts);
	qmt_buf_free(&player->failure.expected);
	qmt_buf_free(&player->failure.got);
}
