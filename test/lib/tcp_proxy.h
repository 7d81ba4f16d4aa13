/* test/lib/tcp_proxy.h - a TCP relay on loopback whose connections can be paused, cut and counted.
 *
 * Threads: runs one of its own; the switches may be used from any.   Blocks: start and stop.
 */
#ifndef TEST_TCP_PROXY_H
#define TEST_TCP_PROXY_H

#include <stdint.h>

struct tcp_proxy;

/* *port: where to listen, 0: anywhere; then where it listens. */
struct tcp_proxy *tcp_proxy_start(uint16_t target_port, uint16_t *port);
struct tcp_proxy *tcp_proxy_stop(struct tcp_proxy *proxy);
void tcp_proxy_pause(struct tcp_proxy *proxy, int on); /* reads nothing: the network is dead, connections stay */
void tcp_proxy_cut(struct tcp_proxy *proxy);           /* closes all connections */
uint64_t tcp_proxy_bytes(struct tcp_proxy *proxy);     /* so far, both ways */

#endif
