/* proto/multiaddr.h - addresses as libp2p writes them: /ip4/1.2.3.4/tcp/9000/p2p/12D3Koo…
 *
 * Threads: values.   Blocks: never.
 * Known:   one of /ip4 /ip6 /dns4 /dns6, then /tcp/PORT or /udp/PORT[/quic], then optionally /p2p/PEERID. Nothing else.
 * Text:    written in canonical form (ip6 as RFC 5952, no leading zeros).
 */
#ifndef PROTO_MULTIADDR_H
#define PROTO_MULTIADDR_H

#include "proto/peer_id.h"

enum { MULTIADDR_HOST = 254, MULTIADDR_TEXT = 400 };
enum multiaddr_host { MULTIADDR_IP4, MULTIADDR_IP6, MULTIADDR_DNS4, MULTIADDR_DNS6 };
enum multiaddr_transport { MULTIADDR_TCP, MULTIADDR_UDP, MULTIADDR_QUIC };

struct multiaddr {
	uint8_t host_kind; /* enum multiaddr_host */
	uint8_t transport; /* enum multiaddr_transport */
	bool has_peer;
	uint16_t port;
	char host[MULTIADDR_HOST];
	struct peer_id peer;
};

/* Errors name the part: "/ip4/300.0.0.1: not an IPv4 address"; "port 0 cannot be dialed" is the caller's business. */
QMT_MUST_CHECK int multiaddr_parse(struct qmt_str text, struct multiaddr *ret_addr, struct qmt_err *err);
void multiaddr_text(const struct multiaddr *addr, char ret_text[MULTIADDR_TEXT]);
bool multiaddr_is_wildcard(const struct multiaddr *addr); /* 0.0.0.0, :: */

#endif
