/* cmd/lab/steps_faults.c - steps that break things and mend them. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "cmd/lab/net.h"
#include "cmd/lab/space.h"

/* ---- links ------------------------------------------------------------------------------------------------------- */

/* The fault of the pair that the first two words name; NULL after lab_fail. */
static struct net_fault *pair(struct lab_run *run, struct lab_host **ret_a, struct lab_host **ret_b)
{
	struct player *player = run->player;
	struct net_fault *fault = NULL;

	*ret_a = lab_host_find(player, run->words[0]);
	*ret_b = lab_host_find(player, run->words[1]);
	if (*ret_a && *ret_b && *ret_a != *ret_b)
		fault = player->net_ops->fault(player->net, *ret_a, *ret_b);
	if (!fault)
		lab_fail(run, "%s and %s to be two hosts that can meet", run->words[0], run->words[1]);
	return fault;
}

static void apply(struct lab_run *run, struct lab_host *a, struct lab_host *b)
{
	run->player->net_ops->apply(run->player->net, a, b);
	player_changed(run->player);
}

static uint64_t after_bytes(const struct lab_run *run)
{
	const char *after = lab_option(run->step, "after");
	char *text = after ? lab_expand((struct lab_run *)run, after) : NULL;
	uint64_t bytes = 0;

	if (text && (!lab_bytes(text, &bytes) || !bytes))
		lab_fail((struct lab_run *)run, "after= to be a number of bytes");
	free(text);
	return bytes;
}

static enum lab_outcome block(struct lab_run *run, enum net_block block, int then)
{
	struct lab_host *a, *b;
	struct net_fault *fault = pair(run, &a, &b);
	uint64_t after = after_bytes(run);

	if (!fault || run->player->failure.set)
		return LAB_FAILED;
	if (after) {
		fault->after_bytes = after;
		fault->then = (typeof(fault->then))then;
	} else {
		fault->block = block;
	}
	apply(run, a, b);
	return LAB_DONE;
}

enum lab_outcome lab_step_cut(struct lab_run *run)
{
	return block(run, NET_CUT, NET_THEN_CUT);
}

enum lab_outcome lab_step_stall(struct lab_run *run)
{
	return block(run, NET_STALLED, NET_THEN_STALL);
}

enum lab_outcome lab_step_reset(struct lab_run *run)
{
	struct lab_host *a, *b;
	struct net_fault *fault = pair(run, &a, &b);
	uint64_t after = after_bytes(run);

	if (!fault || run->player->failure.set)
		return LAB_FAILED;
	if (after) {
		fault->after_bytes = after;
		fault->then = NET_THEN_RESET;
		apply(run, a, b);
	} else {
		run->player->net_ops->reset(run->player->net, a, b);
	}
	return LAB_DONE;
}

enum lab_outcome lab_step_heal(struct lab_run *run)
{
	struct lab_host *a, *b;

	if (run->word_count == 1) {
		run->player->net_ops->heal_all(run->player->net);
		player_changed(run->player);
		return LAB_DONE;
	}
	struct net_fault *fault = pair(run, &a, &b);
	if (!fault)
		return LAB_FAILED;
	*fault = (struct net_fault){0};
	apply(run, a, b);
	return LAB_DONE;
}

enum lab_outcome lab_step_delay(struct lab_run *run)
{
	struct lab_host *a, *b;
	struct net_fault *fault = pair(run, &a, &b);
	const char *jitter = lab_option(run->step, "jitter");

	if (!fault)
		return LAB_FAILED;
	if (!lab_time(run->words[2], &fault->delay_ms) || (jitter && !lab_time(jitter, &fault->jitter_ms)))
		return lab_fail(run, "a time, not %s", run->words[2]);
	apply(run, a, b);
	return LAB_DONE;
}

enum lab_outcome lab_step_rate(struct lab_run *run)
{
	struct lab_host *a, *b;
	struct net_fault *fault = pair(run, &a, &b);

	if (!fault)
		return LAB_FAILED;
	if (!lab_rate(run->words[2], &fault->bits_per_second))
		return lab_fail(run, "a rate, not %s", run->words[2]);
	apply(run, a, b);
	return LAB_DONE;
}

static enum lab_outcome share(struct lab_run *run, size_t offset)
{
	struct lab_host *a, *b;
	struct net_fault *fault = pair(run, &a, &b);

	if (!fault)
		return LAB_FAILED;
	if (!lab_percent(run->words[2], (unsigned *)(void *)((char *)fault + offset)))
		return lab_fail(run, "percent, not %s", run->words[2]);
	apply(run, a, b);
	return LAB_DONE;
}

enum lab_outcome lab_step_loss(struct lab_run *run)
{
	return share(run, offsetof(struct net_fault, lose));
}

enum lab_outcome lab_step_duplicate(struct lab_run *run)
{
	return share(run, offsetof(struct net_fault, duplicate));
}

enum lab_outcome lab_step_reorder(struct lab_run *run)
{
	return share(run, offsetof(struct net_fault, reorder));
}

/* ---- hosts ------------------------------------------------------------------------------------------------------- */

static struct lab_host *host_of(struct lab_run *run)
{
	struct lab_host *host = lab_host_find(run->player, run->words[0]);

	if (!host)
		lab_fail(run, "%s to be a host that was declared above", run->words[0]);
	return host;
}

static enum lab_outcome result(struct lab_run *run, int rc, const struct qmt_err *err)
{
	if (rc == 0)
		return LAB_DONE;
	lab_fail(run, "this to work");
	lab_got(run, "%s", err->text[0] ? err->text : strerror(-rc));
	return LAB_FAILED;
}

enum lab_outcome lab_step_move(struct lab_run *run)
{
	struct lab_host *host = host_of(run);
	struct qmt_err err = {0};

	if (!host)
		return LAB_FAILED;
	host->network = run->step->words[1];
	enum lab_outcome outcome =
		result(run, run->player->net_ops->move(run->player->net, host, run->words[1], &err), &err);
	player_changed(run->player);
	return outcome;
}

enum lab_outcome lab_step_disk(struct lab_run *run)
{
	struct lab_host *host = host_of(run);
	struct qmt_err err = {0};
	struct qmt_buf path = {0};
	uint64_t bytes;
	int rc;

	if (!host)
		return LAB_FAILED;
	if (host->starts)
		return lab_fail(run, "the disk in front of the first start of %s", host->name);
	if (!lab_bytes(run->words[1], &bytes) || bytes < 65536)
		return lab_fail(run, "a size of at least 64kB, not %s", run->words[1]);
	rc = space_disk(host->dir, bytes, &err);
	qmt_buf_printf(&path, "%s/home", host->dir);
	if (rc == 0)
		rc = path.failed ? -ENOMEM : qmt_os_make_dirs(path.data, &err);
	path.len = 0;
	qmt_buf_printf(&path, "%s/", host->name);
	if (rc == 0) /* what the scenario put there lies below the new file system now */
		rc = path.failed ? -ENOMEM : player_files_write(run->player, path.data, &err);
	path.len = 0;
	qmt_buf_printf(&path, "%s/clock", host->dir);
	if (rc == 0)
		rc = path.failed ? -ENOMEM : lab_clock_write(path.data, 0, &err);
	qmt_buf_free(&path);
	return result(run, rc, &err);
}

static void filler_path(const struct lab_host *host, struct qmt_buf *out)
{
	qmt_buf_printf(out, "%s/.filler", host->dir);
}

enum lab_outcome lab_step_fill(struct lab_run *run)
{
	static const char zeros[4096];
	struct lab_host *host = host_of(run);
	struct qmt_buf path = {0};
	struct qmt_err err = {0};
	int rc = 0;

	if (!host)
		return LAB_FAILED;
	filler_path(host, &path);
	int fd = path.failed ? -1 : open(path.data, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	while (fd >= 0 && rc == 0)
		rc = write(fd, zeros, sizeof zeros) < 0 ? -errno : 0; /* the folder's own file system ends this */
	if (fd >= 0)
		close(fd);
	qmt_buf_free(&path);
	return result(run, rc == -ENOSPC ? 0 : rc ? rc : -EIO, &err);
}

enum lab_outcome lab_step_empty(struct lab_run *run)
{
	struct lab_host *host = host_of(run);
	struct qmt_buf path = {0};
	struct qmt_err err = {0};
	int rc;

	if (!host)
		return LAB_FAILED;
	filler_path(host, &path);
	rc = path.failed ? -ENOMEM : unlink(path.data) == 0 ? 0 : -errno;
	qmt_buf_free(&path);
	return result(run, rc, &err);
}

/* In place: programs have the file mapped (clock_shim.c). */
int lab_clock_write(const char *path, int64_t offset_ms, struct qmt_err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	ssize_t n = fd < 0 ? -1 : pwrite(fd, &offset_ms, sizeof offset_ms, 0);
	int rc = n == sizeof offset_ms ? 0 : qmt_err_set(err, -errno, "%s: %s", path, strerror(errno));

	if (fd >= 0)
		close(fd);
	return rc;
}

enum lab_outcome lab_step_clock(struct lab_run *run)
{
	struct lab_host *host = host_of(run);
	struct qmt_buf path = {0};
	struct qmt_err err = {0};
	const char *text = run->words[1];
	uint64_t ms;
	int rc;

	if (!host)
		return LAB_FAILED;
	if ((text[0] != '+' && text[0] != '-') || !lab_time(text + 1, &ms))
		return lab_fail(run, "a time with + or - in front, not %s", text);
	qmt_buf_printf(&path, "%s/clock", host->dir);
	rc = path.failed ? -ENOMEM : lab_clock_write(path.data, text[0] == '-' ? -(int64_t)ms : (int64_t)ms, &err);
	qmt_buf_free(&path);
	return result(run, rc, &err);
}
