/* proto/multiaddr.c - addresses as libp2p writes them, the part of that language that this project dials and listens
 * on.
 *
 * The text is a row of /name/value parts. Every error shows the part that is wrong, and what would have been right.
 */
#include "multiaddr.h"

#include <arpa/inet.h>
#include <errno.h>

enum { DNS_NAME = MULTIADDR_HOST - 1, DNS_LABEL = 63, PORT_MAX = 65535 };

static const char *const host_names[] = {
	[MULTIADDR_IP4] = "ip4", [MULTIADDR_IP6] = "ip6", [MULTIADDR_DNS4] = "dns4", [MULTIADDR_DNS6] = "dns6"};

/* Cuts the next "/part" off *rest. False: nothing is left. An empty part is a part. */
static bool take(struct qmt_str *rest, struct qmt_str *ret_part)
{
	if (rest->len == 0)
		return false;

	const char *from =
		rest->p + 1; /* parse() has seen to it that the text begins with a slash, and so does every rest */
	uint32_t left = rest->len - 1;
	const char *slash = left > 0 ? memchr(from, '/', left) : NULL;
	uint32_t len = slash ? (uint32_t)(slash - from) : left;

	*ret_part = (struct qmt_str){from, len};
	*rest = (struct qmt_str){from + len, left - len};
	return true;
}

static int check_characters(struct qmt_str text, struct qmt_err *err)
{
	if (text.len == 0)
		return qmt_err_set(err, -EINVAL, "empty address (example: /ip4/192.168.1.100/tcp/9000)");
	if (text.len >= MULTIADDR_TEXT)
		return qmt_err_set(err, -EINVAL, "an address of %u bytes, at most %d", text.len, MULTIADDR_TEXT - 1);
	for (uint32_t i = 0; i < text.len; i++) {
		if (text.p[i] <= 0x20 || text.p[i] > 0x7e)
			return qmt_err_set(
				err, -EINVAL, "byte 0x%02x at %u has no place in an address", (unsigned char)text.p[i], i);
	}
	if (text.p[0] != '/')
		return qmt_err_set(err, -EINVAL, "%.*s: an address begins with \"/\" (example: /ip4/192.168.1.100/tcp/9000)",
			QMT_STR_ARG(text));
	return 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || is_digit(c);
}

/* RFC 1123 host name in lower case. Returns what is wrong with it, or NULL. */
static const char *dns_fault(const char *name)
{
	const char *label = name;
	bool number = true;

	if (strlen(name) > DNS_NAME)
		return "a host name has at most 253 characters";
	for (const char *at = name;; at++) {
		if (*at != '\0' && *at != '.') {
			if (!is_name_char(*at) && *at != '-')
				return "not a host name (letters, digits, - and .)";
			number = number && is_digit(*at);
			continue;
		}
		if (at == label)
			return "a part of the host name is empty";
		if (at - label > DNS_LABEL)
			return "a part of a host name has at most 63 characters";
		if (*label == '-' || at[-1] == '-')
			return "no part of a host name begins or ends with -";
		if (*at == '\0')
			break;
		label = at + 1;
		number = true;
	}
	return number ? "a host name does not end in a number (addresses go behind /ip4 or /ip6)" : NULL;
}

static const char *host_fault(struct multiaddr *addr, struct qmt_str value)
{
	char text[MULTIADDR_TEXT];
	struct in6_addr number; /* also room for the smaller in_addr */
	int family = addr->host_kind == MULTIADDR_IP4 ? AF_INET : AF_INET6;

	memcpy(text, value.p, value.len);
	text[value.len] = '\0';
	if (addr->host_kind == MULTIADDR_IP4 || addr->host_kind == MULTIADDR_IP6) {
		if (inet_pton(family, text, &number) != 1 || !inet_ntop(family, &number, addr->host, sizeof addr->host))
			return family == AF_INET ? "not an IPv4 address" : "not an IPv6 address";
		return NULL;
	}
	for (char *at = text; *at; at++)
		*at = *at >= 'A' && *at <= 'Z' ? (char)(*at - 'A' + 'a') : *at;

	const char *fault = dns_fault(text);

	if (!fault)
		memcpy(addr->host, text, value.len + 1);
	return fault;
}

static int parse_host(struct qmt_str *rest, struct multiaddr *addr, struct qmt_err *err)
{
	struct qmt_str name = {NULL, 0}, value;
	size_t kind = 0, kinds = sizeof host_names / sizeof *host_names;

	(void)take(rest, &name);
	while (kind < kinds && !qmt_str_is(name, host_names[kind]))
		kind++;
	if (kind == kinds)
		return qmt_err_set(err, -EINVAL, "/%.*s: an address begins with /ip4, /ip6, /dns4 or /dns6", QMT_STR_ARG(name));
	addr->host_kind = (uint8_t)kind;
	if (!take(rest, &value) || value.len == 0)
		return qmt_err_set(err, -EINVAL, "/%.*s: its address is missing", QMT_STR_ARG(name));

	const char *fault = host_fault(addr, value);

	return fault ? qmt_err_set(err, -EINVAL, "/%.*s/%.*s: %s", QMT_STR_ARG(name), QMT_STR_ARG(value), fault) : 0;
}

static bool parse_port(struct qmt_str value, uint16_t *ret_port)
{
	uint32_t port = 0;

	for (uint32_t i = 0; i < value.len; i++) {
		if (!is_digit(value.p[i]) || (port = port * 10 + (uint32_t)(value.p[i] - '0')) > PORT_MAX)
			return false;
	}
	*ret_port = (uint16_t)port;
	return value.len > 0;
}

static int parse_transport(struct qmt_str *rest, struct multiaddr *addr, struct qmt_err *err)
{
	struct qmt_str name, value;

	if (!take(rest, &name))
		return qmt_err_set(
			err, -EINVAL, "/%s/%s: /tcp/PORT or /udp/PORT must follow", host_names[addr->host_kind], addr->host);
	if (!qmt_str_is(name, "tcp") && !qmt_str_is(name, "udp"))
		return qmt_err_set(err, -EINVAL, "/%.*s: expected /tcp/PORT or /udp/PORT", QMT_STR_ARG(name));
	addr->transport = qmt_str_is(name, "tcp") ? MULTIADDR_TCP : MULTIADDR_UDP;
	if (!take(rest, &value))
		return qmt_err_set(err, -EINVAL, "/%.*s: its port is missing", QMT_STR_ARG(name));
	if (!parse_port(value, &addr->port))
		return qmt_err_set(err, -EINVAL, "/%.*s/%.*s: not a port (0 to 65535)", QMT_STR_ARG(name), QMT_STR_ARG(value));
	return 0;
}

/* What may follow: /quic, /p2p/PEERID. */
static int parse_tail(struct qmt_str rest, struct multiaddr *addr, struct qmt_err *err)
{
	struct qmt_str name, value;

	while (take(&rest, &name)) {
		if (addr->has_peer)
			return qmt_err_set(err, -EINVAL, "/%.*s: nothing may follow /p2p/PEERID", QMT_STR_ARG(name));
		if (qmt_str_is(name, "quic")) {
			if (addr->transport != MULTIADDR_UDP)
				return qmt_err_set(err, -EINVAL, "/quic: only once, behind /udp/PORT");
			addr->transport = MULTIADDR_QUIC;
			continue;
		}
		if (!qmt_str_is(name, "p2p"))
			return qmt_err_set(err, -EINVAL, "/%.*s: expected %s/p2p/PEERID or the end", QMT_STR_ARG(name),
				addr->transport == MULTIADDR_UDP ? "/quic, " : "");
		if (!take(&rest, &value))
			return qmt_err_set(err, -EINVAL, "/p2p: its PeerId is missing");

		int r = peer_id_parse(value, &addr->peer, err);

		if (r < 0) {
			qmt_err_prefix(err, "/p2p/%.*s", QMT_STR_ARG(value));
			return r;
		}
		addr->has_peer = true;
	}
	return 0;
}

int multiaddr_parse(struct qmt_str text, struct multiaddr *ret_addr, struct qmt_err *err)
{
	struct multiaddr addr = {0};
	struct qmt_str rest = text;
	int r = check_characters(text, err);

	if (r == 0)
		r = parse_host(&rest, &addr, err);
	if (r == 0)
		r = parse_transport(&rest, &addr, err);
	if (r == 0)
		r = parse_tail(rest, &addr, err);
	if (r == 0)
		*ret_addr = addr;
	return r;
}

void multiaddr_text(const struct multiaddr *addr, char ret_text[MULTIADDR_TEXT])
{
	char peer[PEER_ID_TEXT + 1] = "";

	if (addr->has_peer)
		peer_id_text(&addr->peer, peer);
	snprintf(ret_text, MULTIADDR_TEXT, "/%s/%s/%s/%u%s%s%s", host_names[addr->host_kind], addr->host,
		addr->transport == MULTIADDR_TCP ? "tcp" : "udp", addr->port, addr->transport == MULTIADDR_QUIC ? "/quic" : "",
		addr->has_peer ? "/p2p/" : "", peer);
}

bool multiaddr_is_wildcard(const struct multiaddr *addr)
{
	return (addr->host_kind == MULTIADDR_IP4 && strcmp(addr->host, "0.0.0.0") == 0) ||
		(addr->host_kind == MULTIADDR_IP6 && strcmp(addr->host, "::") == 0);
}
