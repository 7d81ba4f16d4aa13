/* cmd/lab/packets_ns.h - network namespaces without a name, and what is set up inside one.
 *
 * Threads: the one that enters; the process should have no other.   Blocks: while the kernel makes one (ms).
 * Clean:   A namespace lives as long as a descriptor of it or a process in it, a TAP as long as its descriptor: nothing
 *          is there to be taken away.
 */
#ifndef CMD_LAB_PACKETS_NS_H
#define CMD_LAB_PACKETS_NS_H

#include <netinet/in.h>

#include "runtime/base/err.h"

/* The namespace that the thread is in, or one of its own when it could not come back to that. -ENOTSUP with the reason:
 * this process can make none, or no TAP in one. space.h has made it root of something before. */
QMT_MUST_CHECK int ns_home(int *ret_home, struct qmt_err *err);
/* A new one with `lo` up; the thread is back home afterwards. */
QMT_MUST_CHECK int ns_new(int home, int *ret_ns, struct qmt_err *err);
/* For the thread, until the next ns_enter. 0 or -errno. Coming home cannot fail. */
QMT_MUST_CHECK int ns_enter(int ns);
void ns_leave(int home);

/* ---- inside one: the thread has entered it ----------------------------------------------------------------------- */

/* A TAP with an address of a /24 that is up; *ret_fd gives and takes Ethernet frames, never blocks. */
QMT_MUST_CHECK int ns_tap(
	const char *name, const uint8_t mac[6], struct in_addr address, int *ret_fd, struct qmt_err *err);
/* Packets to network/mask leave by the interface, through the gateway unless that is 0.0.0.0. */
QMT_MUST_CHECK int ns_route(
	const char *interface, struct in_addr network, struct in_addr mask, struct in_addr gateway, struct qmt_err *err);
/* name: below /proc/sys/net. */
QMT_MUST_CHECK int ns_sysctl(const char *name, const char *value, struct qmt_err *err);

#endif
