/* cmd/lab/switch_tcp.h - the TCP connections that pass between two ports, and how an onlooker ends them.
 *
 * Threads: values of their owner.   Blocks: never.   Limit: SWITCH_FLOWS connections; the oldest is forgotten.
 * How:     A receiver takes a RST only with exactly the number that it expects next (RFC 5961 3.2); it has told us that
 *          number with its last ACK, and answers a wrong one with a challenge ACK that tells us again. So a connection
 *          that must end gets a RST to each side at once, and every later segment of it is not passed on but answered
 *          with the RST that a closed port gives (RFC 9293 3.10.7.1). A SYN begins a new connection and passes.
 */
#ifndef CMD_LAB_SWITCH_TCP_H
#define CMD_LAB_SWITCH_TCP_H

#include "runtime/base/bytes.h"

/* Ethernet, IPv4 and TCP headers without options: a RST. */
enum { TCP_RESET_BYTES = 14 + 20 + 20 };

struct tcp_flow;
/* {0} is empty and valid. Side 0 and 1 are the two ports; "way" is the side that sends. */
struct tcp_flows {
	struct tcp_flow *rows;
	unsigned count, room;
	unsigned last;   /* the row that was looked for last */
	unsigned oldest; /* next to be forgotten when all are in use */
};

/* The frame is IPv4, whole as far as its headers say. */
bool packet_is_ipv4(const uint8_t *frame, size_t len);
/* Bytes behind the TCP or UDP header (of another protocol: behind the IP header); 0: not IPv4. */
uint32_t packet_payload(const uint8_t *frame, size_t len);

/* Takes note of a frame, and says what becomes of it. DROP and ANSWER: its connection was reset; with ANSWER ret_reset
 * goes to the sender. */
enum tcp_verdict { TCP_PASS, TCP_DROP, TCP_ANSWER };
enum tcp_verdict tcp_flows_see(
	struct tcp_flows *flows, unsigned way, const uint8_t *frame, size_t len, uint8_t ret_reset[TCP_RESET_BYTES]);
/* Marks all connections as reset. send: called for each side that one is known of; mac: of the two sides. */
void tcp_flows_reset(struct tcp_flows *flows, const uint8_t *const mac[2],
	void (*send)(void *arg, unsigned to_side, const uint8_t frame[TCP_RESET_BYTES]), void *arg);
void tcp_flows_free(struct tcp_flows *flows); /* empty and reusable afterwards */

#endif
