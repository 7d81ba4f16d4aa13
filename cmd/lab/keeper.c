/* cmd/lab/keeper.c - see keeper.h. A keeper forks before there is any thread or loop, and the player is a fork of
 * it: no
 * exec, so both run on what the file was parsed into. */
#include "cmd/lab/keeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char prefix[] = "qmt-lab.";

/* ---- files ------------------------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *at)
{
	(void)stat, (void)at;
	if (kind == FTW_DNR)
		(void)!chmod(path, 0700);
	(void)remove(path);
	return 0;
}

static void remove_all(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* A folder is called PREFIX, the keeper's pid, a dot, and something random. While that process lives (or the number has
 * gone to another) it is not left: the keeper may not have come to lock it yet. */
static bool keeper_lives(const char *name)
{
	char *end;
	long pid = strtol(name + sizeof prefix - 1, &end, 10);

	return *end != '.' || pid <= 0 || kill((pid_t)pid, 0) == 0 || errno == EPERM;
}

void keeper_sweep(const char *base)
{
	DIR *dir = opendir(base);

	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		char path[4096];
		struct stat stat;
		if (strncmp(entry->d_name, prefix, sizeof prefix - 1) != 0 || keeper_lives(entry->d_name))
			continue;
		snprintf(path, sizeof path, "%s/%s/.lock", base, entry->d_name);
		int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0)
			continue;
		bool left = fstat(fd, &stat) == 0 && stat.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0;
		if (left) {
			*strrchr(path, '/') = '\0';
			remove_all(path);
		}
		close(fd);
	}
	if (dir)
		closedir(dir);
}

static int folder_make(const char *base, char room[4096], int *ret_lock)
{
	char path[4200];

	snprintf(room, 4096, "%s/%s%d.XXXXXX", base, prefix, (int)getpid());
	if (!mkdtemp(room))
		return -errno;
	snprintf(path, sizeof path, "%s/.lock", room);
	*ret_lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return *ret_lock >= 0 && flock(*ret_lock, LOCK_EX | LOCK_NB) == 0 ? 0 : -errno;
}

static void write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nobody listens any more */
		data += n;
		len -= (size_t)n;
	}
}

/* ---- the player's process ---------------------------------------------------------------------------------------- */

static void say(int fd, enum report_verdict verdict, const char *text, size_t len)
{
	char head[32];

	snprintf(head, sizeof head, "%d\n", (int)verdict);
	write_all(fd, head, strlen(head));
	write_all(fd, text, len);
}

static void play(const struct keeper_options *options, const char *folder, int fd)
{
	struct player *player = calloc(1, sizeof *player);
	struct qmt_buf text = {0};
	int rc = !player ? -ENOMEM
					 : player_run(&(struct player_options){.scenario = options->scenario,
									  .backend = options->backend,
									  .folder = folder,
									  .programs = options->programs,
									  .clock_shim = options->clock_shim,
									  .seed = options->seed,
									  .planted = options->planted},
						   player);

	if (rc == 1)
		report_failure(player, options->rows, &text);
	else if (rc == 2)
		qmt_buf_printf(&text, "%s", player->skip);
	else if (rc < 0)
		qmt_buf_printf(&text, "  %s\n", player && player->skip ? player->skip : strerror(-rc));
	if (player)
		player_fini(player);
	free(player);
	say(fd,
		rc == 0       ? REPORT_PASSED
			: rc == 1 ? REPORT_FAILED
			: rc == 2 ? REPORT_SKIPPED
					  : REPORT_BROKEN,
		text.data ? text.data : "", text.len);
	qmt_buf_free(&text);
}

/* ---- the keeper's process ---------------------------------------------------------------------------------------- */

/* Kills every process whose parent is this one, until there is none: orphans come to the reaper, and are killed too. */
static void kill_children(void)
{
	for (;;) {
		DIR *proc = opendir("/proc");
		pid_t me = getpid();
		for (struct dirent *entry; proc && (entry = readdir(proc));) {
			char path[300], line[512];
			int pid, parent;
			if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
				continue;
			snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
			FILE *file = fopen(path, "re");
			if (!file)
				continue;
			const char *end = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
			if (end && sscanf(end + 1, " %*c %d", &parent) == 1 && parent == me && sscanf(line, "%d", &pid) == 1)
				kill(pid, SIGKILL);
			fclose(file);
		}
		if (proc)
			closedir(proc);
		if (waitpid(-1, NULL, 0) < 0 && errno == ECHILD)
			return;
	}
}

/* Gathers what the player says until it has ended or must end. Returns why it was broken off, or NULL. */
static const char *watch(
	pid_t player, int said_fd, int signals_fd, uint64_t limit_ms, struct qmt_buf *said, int *ret_status)
{
	uint64_t end = qmt_os_real_now_ms() + limit_ms;
	bool open = true, ended = false;

	while (open || !ended) {
		struct pollfd fds[2] = {{open ? said_fd : -1, POLLIN, 0}, {signals_fd, POLLIN, 0}};
		uint64_t now = qmt_os_real_now_ms();
		if (now >= end)
			return "it has not ended within --limit";
		if (poll(fds, 2, (int)(end - now)) < 0 && errno != EINTR)
			return "poll failed";
		if (fds[0].revents) {
			char room[65536];
			ssize_t n = read(said_fd, room, sizeof room);
			if (n > 0)
				qmt_buf_append(said, room, (size_t)n);
			else if (n == 0)
				open = false;
		}
		if (fds[1].revents) {
			struct signalfd_siginfo info;
			if (read(signals_fd, &info, sizeof info) == sizeof info && info.ssi_signo != SIGCHLD)
				return "it was interrupted";
			if (!ended && waitpid(player, ret_status, WNOHANG) == player)
				ended = true;
		}
	}
	return NULL;
}

static void keep(const struct keeper_options *options, int out_fd, pid_t parent)
{
	char folder[4096];
	struct qmt_buf said = {0};
	sigset_t signals;
	int lock = -1, pipes[2], status = 0;
	const char *broken;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (getppid() != parent)
		return;
	int signals_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	int rc = folder_make(options->base, folder, &lock);
	if (rc != 0 || signals_fd < 0 || pipe2(pipes, O_CLOEXEC) != 0) {
		qmt_buf_printf(&said, "  %s: %s\n", folder, strerror(rc ? -rc : errno));
		say(out_fd, REPORT_BROKEN, said.data, said.len);
		return;
	}
	pid_t me = getpid(), player = fork();
	if (player == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigprocmask(SIG_UNBLOCK, &signals, NULL);
		close(lock);
		close(out_fd);
		if (getppid() == me)
			play(options, folder, pipes[1]);
		_exit(0);
	}
	close(pipes[1]);
	broken = player < 0 ? "fork failed" : watch(player, pipes[0], signals_fd, options->limit_ms, &said, &status);
	kill_children();
	if (!options->keep)
		remove_all(folder);
	if (broken || said.len < 2) {
		struct qmt_buf text = {0};
		qmt_buf_printf(&text, "  %s", broken ? broken : "the player ended without a word");
		if (!broken && WIFSIGNALED(status))
			qmt_buf_printf(&text, " (signal %d)", WTERMSIG(status));
		qmt_buf_str(&text, "\n");
		say(out_fd, REPORT_BROKEN, text.data, text.len);
		qmt_buf_free(&text);
	} else {
		if (options->keep)
			qmt_buf_printf(&said, "  kept: %s\n", folder);
		write_all(out_fd, said.data, said.len);
	}
	qmt_buf_free(&said);
}

/* ---- from outside ------------------------------------------------------------------------------------------------ */

int keeper_start(const struct keeper_options *options, struct keeper *ret_keeper)
{
	int pipes[2];
	pid_t parent = getpid(), pid;

	if (pipe2(pipes, O_CLOEXEC) != 0)
		return -errno;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		close(pipes[0]);
		keep(options, pipes[1], parent);
		_exit(0);
	}
	close(pipes[1]);
	if (pid < 0) {
		close(pipes[0]);
		return -EAGAIN;
	}
	*ret_keeper = (struct keeper){.pid = pid, .fd = pipes[0]};
	return 0;
}

int keeper_read(struct keeper *keeper, struct report *report)
{
	char room[65536];
	ssize_t n = read(keeper->fd, room, sizeof room);
	int status;

	if (n > 0)
		qmt_buf_append(&keeper->said, room, (size_t)n);
	if (n > 0 || (n < 0 && errno == EINTR))
		return 0;
	while (waitpid(keeper->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(keeper->fd);
	const char *line = keeper->said.len ? memchr(keeper->said.data, '\n', keeper->said.len) : NULL;
	if (line) {
		report->verdict = (enum report_verdict)(keeper->said.data[0] - '0');
		report->text = qmt_strn(line + 1, keeper->said.len - (size_t)(line + 1 - keeper->said.data));
	} else {
		report->verdict = REPORT_BROKEN;
		report->text = qmt_str("  its keeper was killed\n");
	}
	return 1;
}

void keeper_stop(const struct keeper *keeper)
{
	kill(keeper->pid, SIGTERM);
}

void keeper_free(struct keeper *keeper)
{
	qmt_buf_free(&keeper->said);
}
