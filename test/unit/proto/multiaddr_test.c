/* Addresses: every form that the project knows is read and written in canonical form; anything else is refused by its
 * part. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "proto/multiaddr.h"

#define PEER "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"
#define LABEL63 "abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijklmnopqrstuvwxy"

static const struct {
	const char *text;
	const char *canonical; /* NULL: the same */
	enum multiaddr_host host_kind;
	const char *host;
	enum multiaddr_transport transport;
	uint16_t port;
	bool has_peer, wildcard;
} good[] = {
	/* reference 1.16: what the lost examples of the document held */
	{"/ip4/0.0.0.0/tcp/9001", NULL, MULTIADDR_IP4, "0.0.0.0", MULTIADDR_TCP, 9001, false, true},
	{"/ip4/192.168.1.100/tcp/9000", NULL, MULTIADDR_IP4, "192.168.1.100", MULTIADDR_TCP, 9000, false, false},
	{"/ip4/0.0.0.0/tcp/0", NULL, MULTIADDR_IP4, "0.0.0.0", MULTIADDR_TCP, 0, false, true},
	{"/ip6/::1/tcp/9000", NULL, MULTIADDR_IP6, "::1", MULTIADDR_TCP, 9000, false, false},
	{"/ip6/::/tcp/9000", NULL, MULTIADDR_IP6, "::", MULTIADDR_TCP, 9000, false, true},
	{"/ip4/10.0.0.1/udp/9000/quic", NULL, MULTIADDR_IP4, "10.0.0.1", MULTIADDR_QUIC, 9000, false, false},
	{"/ip4/10.0.0.1/udp/9000", NULL, MULTIADDR_IP4, "10.0.0.1", MULTIADDR_UDP, 9000, false, false},
	{"/ip4/10.0.0.1/tcp/9000/p2p/" PEER, NULL, MULTIADDR_IP4, "10.0.0.1", MULTIADDR_TCP, 9000, true, false},
	{"/ip6/fe80::1/udp/9000/quic/p2p/" PEER, NULL, MULTIADDR_IP6, "fe80::1", MULTIADDR_QUIC, 9000, true, false},
	/* canonical form: RFC 5952, lower case, no leading zeros */
	{"/ip6/2001:0DB8:0000:0000:0001:0000:0000:0001/tcp/1", "/ip6/2001:db8::1:0:0:1/tcp/1", MULTIADDR_IP6,
		"2001:db8::1:0:0:1", MULTIADDR_TCP, 1, false, false},
	{"/ip6/0:0:0:0:0:0:0:0/tcp/00009000", "/ip6/::/tcp/9000", MULTIADDR_IP6, "::", MULTIADDR_TCP, 9000, false, true},
	{"/ip6/::ffff:10.0.0.1/tcp/65535", NULL, MULTIADDR_IP6, "::ffff:10.0.0.1", MULTIADDR_TCP, 65535, false, false},
	{"/dns4/GPU-Box.Example.org/tcp/9000", "/dns4/gpu-box.example.org/tcp/9000", MULTIADDR_DNS4, "gpu-box.example.org",
		MULTIADDR_TCP, 9000, false, false},
	{"/dns6/a/tcp/9000", NULL, MULTIADDR_DNS6, "a", MULTIADDR_TCP, 9000, false, false},
	{"/dns4/3com.com/tcp/1", NULL, MULTIADDR_DNS4, "3com.com", MULTIADDR_TCP, 1, false, false},
};

/* Known forms are read field by field, and what is written reads back as the same address. */
static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		struct multiaddr addr, again;
		struct qmt_err err = {0};
		char text[MULTIADDR_TEXT], peer[PEER_ID_TEXT + 1];

		if (multiaddr_parse(qmt_str(good[i].text), &addr, &err) < 0)
			fail_msg("%s: %s", good[i].text, err.text);
		assert_int_equal(addr.host_kind, good[i].host_kind);
		assert_string_equal(addr.host, good[i].host);
		assert_int_equal(addr.transport, good[i].transport);
		assert_int_equal(addr.port, good[i].port);
		assert_int_equal(addr.has_peer, good[i].has_peer);
		assert_int_equal(multiaddr_is_wildcard(&addr), good[i].wildcard);
		multiaddr_text(&addr, text);
		assert_string_equal(text, good[i].canonical ? good[i].canonical : good[i].text);
		assert_int_equal(multiaddr_parse(qmt_str(text), &again, &err), 0);
		assert_memory_equal(&again, &addr, sizeof addr);
		if (addr.has_peer) {
			peer_id_text(&addr.peer, peer);
			assert_string_equal(peer, PEER);
		}
	}
}

static const struct {
	const char *text, *reason;
} bad[] = {
	{"", "empty address (example: /ip4/192.168.1.100/tcp/9000)"},
	{"192.168.1.100:9000", "192.168.1.100:9000: an address begins with \"/\" (example: /ip4/192.168.1.100/tcp/9000)"},
	{"ip4/1.2.3.4/tcp/9", "ip4/1.2.3.4/tcp/9: an address begins with \"/\" (example: /ip4/192.168.1.100/tcp/9000)"},
	{"/", "/: an address begins with /ip4, /ip6, /dns4 or /dns6"},
	{"//", "/: an address begins with /ip4, /ip6, /dns4 or /dns6"},
	{"/ip5/1.2.3.4/tcp/9", "/ip5: an address begins with /ip4, /ip6, /dns4 or /dns6"},
	{"/IP4/1.2.3.4/tcp/9", "/IP4: an address begins with /ip4, /ip6, /dns4 or /dns6"},
	{"/p2p/" PEER, "/p2p: an address begins with /ip4, /ip6, /dns4 or /dns6"},
	{"/ip4", "/ip4: its address is missing"},
	{"/ip4/", "/ip4: its address is missing"},
	{"/ip4//tcp/9", "/ip4: its address is missing"},
	{"/ip4/300.0.0.1/tcp/9", "/ip4/300.0.0.1: not an IPv4 address"},
	{"/ip4/1.2.3/tcp/9", "/ip4/1.2.3: not an IPv4 address"},
	{"/ip4/01.2.3.4/tcp/9", "/ip4/01.2.3.4: not an IPv4 address"},
	{"/ip4/0x1.2.3.4/tcp/9", "/ip4/0x1.2.3.4: not an IPv4 address"},
	{"/ip4/::1/tcp/9", "/ip4/::1: not an IPv4 address"},
	{"/ip4/localhost/tcp/9", "/ip4/localhost: not an IPv4 address"},
	{"/ip6/1.2.3.4/tcp/9", "/ip6/1.2.3.4: not an IPv6 address"},
	{"/ip6/fe80::1%eth0/tcp/9", "/ip6/fe80::1%eth0: not an IPv6 address"},
	{"/ip6/1::2::3/tcp/9", "/ip6/1::2::3: not an IPv6 address"},
	{"/dns4/a..b/tcp/9", "/dns4/a..b: a part of the host name is empty"},
	{"/dns4/a./tcp/9", "/dns4/a.: a part of the host name is empty"},
	{"/dns4/.a/tcp/9", "/dns4/.a: a part of the host name is empty"},
	{"/dns4/a_b/tcp/9", "/dns4/a_b: not a host name (letters, digits, - and .)"},
	{"/dns4/-a/tcp/9", "/dns4/-a: no part of a host name begins or ends with -"},
	{"/dns4/a-.b/tcp/9", "/dns4/a-.b: no part of a host name begins or ends with -"},
	{"/dns4/x" LABEL63 "/tcp/9", "/dns4/x" LABEL63 ": a part of a host name has at most 63 characters"},
	{"/dns4/1.2.3.4/tcp/9", "/dns4/1.2.3.4: a host name does not end in a number (addresses go behind /ip4 or /ip6)"},
	{"/ip4/1.2.3.4", "/ip4/1.2.3.4: /tcp/PORT or /udp/PORT must follow"},
	{"/ip4/1.2.3.4/", "/: expected /tcp/PORT or /udp/PORT"},
	{"/ip4/1.2.3.4/sctp/9", "/sctp: expected /tcp/PORT or /udp/PORT"},
	{"/ip4/1.2.3.4/p2p/" PEER, "/p2p: expected /tcp/PORT or /udp/PORT"},
	{"/ip4/1.2.3.4/tcp", "/tcp: its port is missing"},
	{"/ip4/1.2.3.4/tcp/", "/tcp/: not a port (0 to 65535)"},
	{"/ip4/1.2.3.4/tcp/65536", "/tcp/65536: not a port (0 to 65535)"},
	{"/ip4/1.2.3.4/udp/99999999999999999999", "/udp/99999999999999999999: not a port (0 to 65535)"},
	{"/ip4/1.2.3.4/tcp/-1", "/tcp/-1: not a port (0 to 65535)"},
	{"/ip4/1.2.3.4/tcp/+1", "/tcp/+1: not a port (0 to 65535)"},
	{"/ip4/1.2.3.4/tcp/9a", "/tcp/9a: not a port (0 to 65535)"},
	{"/ip4/1.2.3.4/tcp/9/", "/: expected /p2p/PEERID or the end"},
	{"/ip4/1.2.3.4/tcp/9/ws", "/ws: expected /p2p/PEERID or the end"},
	{"/ip4/1.2.3.4/udp/9/quic-v1", "/quic-v1: expected /quic, /p2p/PEERID or the end"},
	{"/ip4/1.2.3.4/tcp/9/quic", "/quic: only once, behind /udp/PORT"},
	{"/ip4/1.2.3.4/udp/9/quic/quic", "/quic: only once, behind /udp/PORT"},
	{"/ip4/1.2.3.4/tcp/9/p2p", "/p2p: its PeerId is missing"},
	{"/ip4/1.2.3.4/tcp/9/p2p/", "/p2p/: empty PeerId"},
	{"/ip4/1.2.3.4/tcp/9/p2p/12D3KooW", "/p2p/12D3KooW: a PeerId of 6 bytes, expected 38 (an ed25519 key)"},
	{"/ip4/1.2.3.4/tcp/9/p2p/" PEER "/", "/: nothing may follow /p2p/PEERID"},
	{"/ip4/1.2.3.4/tcp/9/p2p/" PEER "/p2p/" PEER, "/p2p: nothing may follow /p2p/PEERID"},
	{" /ip4/1.2.3.4/tcp/9", "byte 0x20 at 0 has no place in an address"},
	{"/ip4/1.2.3.4/tcp/9\n", "byte 0x0a at 18 has no place in an address"},
	{"/dns4/b\xc3\xbc.de/tcp/9", "byte 0xc3 at 7 has no place in an address"},
};

/* Anything else is refused, the message shows the part and what is wrong with it, and nothing is written. */
static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct multiaddr addr, untouched;
		struct qmt_err err = {0};

		memset(&addr, 0x5a, sizeof addr);
		memset(&untouched, 0x5a, sizeof untouched);
		assert_int_equal(multiaddr_parse(qmt_str(bad[i].text), &addr, &err), -EINVAL);
		assert_string_equal(err.text, bad[i].reason);
		assert_memory_equal(&addr, &untouched, sizeof addr);
	}
}

/* No beginning of a valid address is read as more than it says: it is refused, or ends where a part ends. */
static void test_prefixes(void **state)
{
	static const char text[] = "/ip4/10.0.0.1/udp/9000/quic/p2p/" PEER;

	(void)state;
	for (uint32_t len = 0; len < sizeof text - 1; len++) {
		struct multiaddr addr;
		char back[MULTIADDR_TEXT];

		if (multiaddr_parse(qmt_strn(text, len), &addr, NULL) < 0)
			continue;
		multiaddr_text(&addr, back);
		assert_int_equal(strlen(back), len);
		assert_memory_equal(back, text, len);
	}
}

/* A NUL ends nothing: the text has a length. Lengths at the limits are taken, one more is refused. */
static void test_limits(void **state)
{
	static const char nul[] = "/ip4/1.2.3.4/tcp/9\0/p2p/x";
	struct multiaddr addr;
	struct qmt_err err = {0};
	char host[MULTIADDR_HOST + 1], text[2 * MULTIADDR_TEXT], back[MULTIADDR_TEXT];

	(void)state;
	assert_int_equal(multiaddr_parse(qmt_strn(nul, sizeof nul - 1), &addr, &err), -EINVAL);
	assert_string_equal(err.text, "byte 0x00 at 18 has no place in an address");

	memset(host, 'a', sizeof host);
	for (size_t i = 49; i < sizeof host; i += 50)
		host[i] = '.';
	host[MULTIADDR_HOST - 1] = '\0'; /* 253 characters */
	snprintf(text, sizeof text, "/dns4/%s/udp/65535/quic/p2p/" PEER, host);
	assert_int_equal(multiaddr_parse(qmt_str(text), &addr, &err), 0);
	multiaddr_text(&addr, back);
	assert_string_equal(back, text);

	host[MULTIADDR_HOST - 1] = 'a';
	host[MULTIADDR_HOST] = '\0';
	snprintf(text, sizeof text, "/dns4/%s/tcp/1", host);
	assert_int_equal(multiaddr_parse(qmt_str(text), &addr, &err), -EINVAL);
	assert_non_null(strstr(err.text, "a host name has at most 253 characters"));

	memset(text, '/', MULTIADDR_TEXT);
	assert_int_equal(multiaddr_parse(qmt_strn(text, MULTIADDR_TEXT), &addr, &err), -EINVAL);
	assert_string_equal(err.text, "an address of 400 bytes, at most 399");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad),
		cmocka_unit_test(test_prefixes), cmocka_unit_test(test_limits)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
