/* cmd/lab/nat.c - rulesets for nft.
 *
 * The kernel's masquerade keeps the port of the sender when it is free, so a host is seen with one port by everybody
 * (endpoint-independent mapping, RFC 4787 4.1), and lets in what answers (address and port dependent filtering): `cone`
 * is what most routers do. fully-random takes another port for each destination. `full` remembers who has sent from a
 * port, and lets anybody in to it; when two hosts use one port, the first one has it.
 * What comes to the router itself vanishes: an ICMP error or a RST would tell on a hole that is being punched.
 */
#include "cmd/lab/nat.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/os.h"

struct nat_kind {
	const char *name, *masquerade, *tables, *forward;
};

static const struct nat_kind kinds[] = {
	{"cone", "masquerade", "", ""},
	{"symmetric", "masquerade fully-random", "", ""},
	{"full", "masquerade",
		"table ip qmt_full {\n"
		"  map senders { type inet_service : ipv4_addr; flags dynamic; size 65535; }\n"
		"  chain leave { type filter hook postrouting priority 90;\n"
		"    oifname \"" NAT_OUTSIDE "\" meta l4proto udp add @senders { udp sport : ip saddr }; }\n"
		"  chain come { type nat hook prerouting priority -100;\n"
		"    iifname \"" NAT_OUTSIDE "\" meta l4proto udp dnat to udp dport map @senders; }\n"
		"}\n",
		""},
	{"noudp", "masquerade", "", "meta l4proto udp drop;"},
	{NULL, NULL, NULL, NULL},
};

static const struct nat_kind *kind_find(const char *name)
{
	const struct nat_kind *kind = kinds;

	while (kind->name && strcmp(kind->name, name) != 0)
		kind++;
	return kind->name ? kind : NULL;
}

bool nat_is_kind(const char *kind)
{
	return kind_find(kind) != NULL;
}

static void ruleset(const struct nat_kind *kind, struct qmt_buf *out)
{
	qmt_buf_printf(out,
		"%s"
		"table ip qmt_nat {\n"
		"  chain leave { type nat hook postrouting priority 100; oifname \"" NAT_OUTSIDE "\" %s; }\n"
		"}\n"
		"table ip qmt_filter {\n"
		"  chain pass { type filter hook forward priority 0; policy drop;\n"
		"    %s ct state established,related accept; ct status dnat accept; iifname \"" NAT_INSIDE "\" accept; }\n"
		"  chain self { type filter hook input priority 0;\n"
		"    iifname \"" NAT_OUTSIDE "\" ct state new meta l4proto { udp, tcp } drop; }\n"
		"}\n",
		kind->tables, kind->masquerade, kind->forward);
}

static const char *nft_path(void)
{
	static const char *const places[] = {"/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft"};

	for (size_t i = 0; i < sizeof places / sizeof *places; i++)
		if (access(places[i], X_OK) == 0)
			return places[i];
	return NULL;
}

/* Reads what nft complains about, until it has ended and the pipe, too, or time is up. */
static void gather(const struct qmt_os_child *child, char *room, size_t size)
{
	uint64_t until = qmt_os_real_now_ms() + NAT_WAIT_MS, now;
	struct pollfd fds[2] = {{child->err_fd, POLLIN, 0}, {child->pidfd, POLLIN, 0}};
	size_t len = 0;

	while ((fds[0].fd >= 0 || fds[1].fd >= 0) && (now = qmt_os_real_now_ms()) < until) {
		char part[256];
		if (poll(fds, 2, (int)(until - now)) <= 0)
			continue;
		if (fds[1].revents)
			fds[1].fd = -1;
		if (!fds[0].revents)
			continue;
		ssize_t n = read(child->err_fd, part, sizeof part);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			fds[0].fd = -1;
		for (ssize_t i = 0; i < n && len + 1 < size; i++)
			room[len++] = part[i];
	}
	room[len] = '\0';
	room[strcspn(room, "\n")] = '\0';
}

static int run_nft(const char *path, const char *rules, struct qmt_err *err)
{
	const char *const argv[] = {path, rules, NULL}, *const env[] = {NULL};
	struct qmt_os_child child;
	char text[256];
	int status = 0, rc = qmt_os_child_spawn(&(struct qmt_os_child_options){.argv = argv, .env = env}, &child, err);

	if (rc != 0)
		return rc;
	gather(&child, text, sizeof text);
	rc = qmt_os_child_reap(&child, &status);
	if (rc == 0) {
		qmt_os_child_kill(&child, SIGKILL);
		struct pollfd end = {child.pidfd, POLLIN, 0};
		(void)poll(&end, 1, -1); /* SIGKILL: at once */
		(void)qmt_os_child_reap(&child, &status);
	}
	close(child.pidfd);
	close(child.out_fd);
	close(child.err_fd);
	if (rc == 0)
		return qmt_err_set(err, -ETIMEDOUT, "%s did not end in %d s", path, NAT_WAIT_MS / 1000);
	if (rc < 0)
		return qmt_err_set(err, rc, "%s: %s", path, strerror(-rc));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return qmt_err_set(
			err, -ENOTSUP, "NAT: %s was refused: %s (the kernel needs nf_tables and nf_nat)", path, text);
	return 0;
}

int nat_set_up(const char *kind, struct qmt_err *err)
{
	const struct nat_kind *row = kind_find(kind);
	const char *path = nft_path();
	struct qmt_buf rules = {0};
	int rc;

	if (!row)
		return qmt_err_set(err, -EINVAL, "behind=%s: no such NAT (cone, symmetric, full, noudp)", kind);
	if (!path)
		return qmt_err_set(err, -ENOTSUP, "NAT: there is no /usr/sbin/nft (install the package nftables)");
	ruleset(row, &rules);
	rc = rules.failed ? -ENOMEM : run_nft(path, rules.data, err);
	qmt_buf_free(&rules);
	return rc;
}
