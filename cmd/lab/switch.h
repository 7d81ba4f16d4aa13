/* cmd/lab/switch.h - the Ethernet of a netns scenario: ports on segments, and what is wrong between two of them.
 *
 * Threads: the loop's.   Blocks: never.
 * Ports:   A port is a host's interface or one side of a router: a descriptor that gives and takes one frame a call (a
 *          TAP; in tests a SOCK_SEQPACKET). Which address is where is known when it is plugged; frames to an unknown
 *          one, to all or to a group go to every port of the segment.
 * Faults:  Belong to a pair of ports and stay when one is plugged elsewhere; what was on its way then is lost. Cut and
 *          stall hold every frame. The others hold IPv4 only: a lost ARP would cost a second, and its timers are the
 *          kernel's, so a seed would not mean the same draws twice.
 * Order:   Each direction keeps its order, jitter or not; only what `reorder` chooses is overtaken.
 * Random:  The nth IPv4 frame of a direction has the nth draws of that direction: a matter of the seed alone.
 * Bytes:   What is counted is the payload of TCP and UDP, so that it compares with the loopback backend.
 * Limits:  switch_limits.def.
 */
#ifndef CMD_LAB_SWITCH_H
#define CMD_LAB_SWITCH_H

#include <uv.h>

#include "cmd/lab/net.h"

enum {
#define LIMIT(name, value, doc) name = (value),
#include "cmd/lab/switch_limits.def"
#undef LIMIT
};

struct net_switch;
struct switch_port;

/* changed (may be NULL) is called when bytes have passed between two ports whose bytes were asked for since the last
 * call, and when an `after_bytes` was reached. NULL: out of memory. */
struct net_switch *switch_new(uv_loop_t *loop, uint64_t seed, void (*changed)(void *arg), void *arg);
/* Unplugs all and frees everything, the last of it when the loop runs. NULL is fine. */
void switch_close(struct net_switch *net_switch);

/* A port that is not plugged in; it lives until switch_close. NULL: out of memory. */
struct switch_port *switch_port_new(struct net_switch *net_switch);
/* Takes fd (non-blocking) on success only. 0 or -errno. */
QMT_MUST_CHECK int switch_plug(struct switch_port *port, unsigned segment, const uint8_t mac[6], int fd);
void switch_unplug(struct switch_port *port); /* closes its descriptor; may be repeated */

/* NULL: out of memory, or a == b. */
struct net_fault *switch_fault(struct switch_port *a, struct switch_port *b);
/* The fault was changed: what waits is let go, held or dropped as it now says. */
void switch_apply(struct switch_port *a, struct switch_port *b);
/* Ends the TCP connections of the pair by RST to both ends; those that are silent, too. New ones pass. */
void switch_reset(struct switch_port *a, struct switch_port *b);
uint64_t switch_bytes(struct switch_port *a, struct switch_port *b); /* both ways */
void switch_heal_all(struct net_switch *net_switch);

#endif
