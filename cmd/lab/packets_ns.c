/* cmd/lab/packets_ns.c - unshare(2), setns(2), tun.txt of the kernel's documentation, netdevice(7), rtnetlink's old
 * ioctls: nothing here needs the program `ip`. */
#include "cmd/lab/packets_ns.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_tun.h>

/* What the kernel keeps of frames that this process has not read yet: some round trips of a full TCP window. */
enum { TAP_QUEUE_FRAMES = 4096 };

#define TUN "/dev/net/tun"

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define OWNED_FD QMT_CLEANUP(fd_close) int

/* ---- namespaces -------------------------------------------------------------------------------------------------- */

/* thread-self: what this thread has entered, not what the process began with. */
static int ns_open(struct qmt_err *err)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	return fd >= 0 ? fd : qmt_err_set(err, -errno, "/proc/thread-self/ns/net: %s (is /proc mounted?)", strerror(errno));
}

int ns_enter(int ns)
{
	return setns(ns, CLONE_NEWNET) == 0 ? 0 : -errno;
}

void ns_leave(int home)
{
	int rc = setns(home, CLONE_NEWNET); /* ns_home has seen that it can be done */

	assert(rc == 0);
	(void)rc;
}

static int unshare_net(struct qmt_err *err)
{
	if (unshare(CLONE_NEWNET) == 0)
		return 0;
	return qmt_err_set(err, -ENOTSUP,
		"no network namespace can be made here: %s (run as root, in a container with "
		"CAP_SYS_ADMIN, or allow user namespaces)",
		strerror(errno));
}

static int flags_add(int socket_fd, const char *name, short flags)
{
	struct ifreq request = {0};

	snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
	if (ioctl(socket_fd, SIOCGIFFLAGS, &request) != 0)
		return -errno;
	request.ifr_flags = (short)(request.ifr_flags | flags);
	return ioctl(socket_fd, SIOCSIFFLAGS, &request) == 0 ? 0 : -errno;
}

static int any_socket(struct qmt_err *err)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd >= 0 ? fd : qmt_err_set(err, -errno, "socket: %s", strerror(errno));
}

/* Of the namespace that the thread has just made. */
static int basics(struct qmt_err *err)
{
	OWNED_FD fd = any_socket(err);
	int rc = fd < 0 ? fd : flags_add(fd, "lo", IFF_UP);

	if (rc != 0)
		return fd < 0 ? rc : qmt_err_set(err, rc, "lo: %s", strerror(-rc));
	/* IPv6 would chat on its own (router solicitation and the like), and nobody here speaks it. A kernel without it has
	 * no such file. */
	rc = ns_sysctl("ipv6/conf/default/disable_ipv6", "1", err);
	return rc == -ENOENT ? 0 : rc;
}

int ns_new(int home, int *ret_ns, struct qmt_err *err)
{
	int rc = unshare_net(err), ns = -1;

	if (rc != 0)
		return rc;
	ns = ns_open(err);
	rc = ns < 0 ? ns : basics(err);
	ns_leave(home);
	if (rc == 0)
		*ret_ns = ns;
	else
		fd_close(&ns);
	return rc;
}

/* Can all that a host needs be had? */
static int rehearse(int home, struct qmt_err *err)
{
	const uint8_t mac[6] = {2};
	OWNED_FD ns = -1;
	OWNED_FD tap = -1;
	int rc = ns_new(home, &ns, err);

	if (rc == 0)
		rc = ns_enter(ns);
	if (rc == 0) {
		rc = ns_tap("eth0", mac, (struct in_addr){htonl(0x0a000001)}, &tap, err);
		ns_leave(home);
	}
	return rc == 0 || rc == -ENOMEM ? rc : qmt_err_set(err, -ENOTSUP, "%s", err ? err->text : "");
}

int ns_home(int *ret_home, struct qmt_err *err)
{
	OWNED_FD home = ns_open(err);
	struct qmt_err why = {0};
	int rc;

	if (home < 0)
		return home;
	/* Root of a user namespace may leave the machine's network, but never comes back: then home is one of its own. */
	if (setns(home, CLONE_NEWNET) != 0) {
		rc = unshare_net(err);
		if (rc != 0)
			return rc;
		close(home);
		home = ns_open(err);
		if (home < 0)
			return home;
		rc = basics(err);
		if (rc != 0)
			return rc;
	}
	rc = rehearse(home, &why);
	if (rc != 0)
		return qmt_err_set(err, rc, "netns: %s", why.text);
	*ret_home = home;
	home = -1;
	return 0;
}

/* ---- inside ------------------------------------------------------------------------------------------------------ */

static struct sockaddr inet(struct in_addr address)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = address};
	struct sockaddr any;

	memcpy(&any, &in, sizeof any);
	return any;
}

static int tap_failed(struct qmt_err *err, const char *what)
{
	int error = errno;

	return qmt_err_set(err, -error, TUN ": %s: %s (%s)", what, strerror(error),
		error == EACCES ? "run as root, or give yourself the right to it"
						: "modprobe tun; a container needs --device " TUN " and CAP_NET_ADMIN");
}

/* Address, mask, queue and MAC; then up. */
static int tap_set_up(const char *name, const uint8_t mac[6], struct in_addr address)
{
	struct qmt_err unused;
	OWNED_FD fd = any_socket(&unused);
	struct ifreq request = {0};

	if (fd < 0)
		return fd;
	snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
	request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(request.ifr_hwaddr.sa_data, mac, 6);
	if (ioctl(fd, SIOCSIFHWADDR, &request) != 0)
		return -errno;
	request.ifr_qlen = TAP_QUEUE_FRAMES;
	if (ioctl(fd, SIOCSIFTXQLEN, &request) != 0 && errno != EPERM) /* refused in a user namespace: it has 500 then */
		return -errno;
	request.ifr_addr = inet(address);
	if (ioctl(fd, SIOCSIFADDR, &request) != 0)
		return -errno;
	request.ifr_netmask = inet((struct in_addr){htonl(0xffffff00)});
	if (ioctl(fd, SIOCSIFNETMASK, &request) != 0)
		return -errno;
	return flags_add(fd, name, IFF_UP);
}

int ns_tap(const char *name, const uint8_t mac[6], struct in_addr address, int *ret_fd, struct qmt_err *err)
{
	/* The TAP comes to be in the namespace of who opens the device. */
	OWNED_FD fd = open(TUN, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int rc;

	if (fd < 0)
		return tap_failed(err, "open");
	snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
	if (ioctl(fd, TUNSETIFF, &request) != 0)
		return tap_failed(err, name);
	rc = tap_set_up(name, mac, address);
	if (rc != 0)
		return qmt_err_set(err, rc, "interface %s: %s", name, strerror(-rc));
	*ret_fd = fd;
	fd = -1;
	return 0;
}

int ns_route(
	const char *interface, struct in_addr network, struct in_addr mask, struct in_addr gateway, struct qmt_err *err)
{
	OWNED_FD fd = any_socket(err);
	char name[IFNAMSIZ];
	struct rtentry route = {
		.rt_dst = inet(network), .rt_genmask = inet(mask), .rt_gateway = inet(gateway), .rt_dev = name};

	if (fd < 0)
		return fd;
	snprintf(name, sizeof name, "%s", interface);
	route.rt_flags = gateway.s_addr ? RTF_UP | RTF_GATEWAY : RTF_UP;
	if (ioctl(fd, SIOCADDRT, &route) != 0)
		return qmt_err_set(err, -errno, "route by %s: %s", interface, strerror(errno));
	return 0;
}

int ns_sysctl(const char *name, const char *value, struct qmt_err *err)
{
	char path[128];
	int rc = 0;

	snprintf(path, sizeof path, "/proc/sys/net/%s", name);
	/* The folder shows the namespace of who opens the file. */
	OWNED_FD fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		rc = qmt_err_set(err, -errno, "%s: %s%s", path, strerror(errno),
			errno == EROFS ? " (a container shows /proc/sys read-only: run it with --privileged)" : "");
	return rc;
}
