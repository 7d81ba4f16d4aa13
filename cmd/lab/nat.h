/* cmd/lab/nat.h - the packet filter of a router: what kind of NAT it is. By the program nft.
 *
 * Threads: the one that has entered the router's namespace.   Blocks: until nft has ended, at most NAT_WAIT_MS.
 */
#ifndef CMD_LAB_NAT_H
#define CMD_LAB_NAT_H

#include "runtime/base/err.h"

enum { NAT_WAIT_MS = 10000 };

/* Names of the router's interfaces. */
#define NAT_INSIDE "lan"
#define NAT_OUTSIDE "wan"

bool nat_is_kind(const char *kind);
/* 0; -ENOTSUP and why: no nft, or it was refused; <0 errno. */
QMT_MUST_CHECK int nat_set_up(const char *kind, struct qmt_err *err);

#endif
