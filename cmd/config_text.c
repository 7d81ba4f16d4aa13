/* cmd/config_text.c - rules for single texts: names, labels, URLs, secrets, addresses; the nearest word. */
#include <stdarg.h>

#include "config_value.h"
#include "proto/multiaddr.h"
#include "proto/utf8.h"

enum { NAME_BYTES = 64, LABEL_BYTES = 255, NEAR_BYTES = 64 };

static QMT_PRINTF(3, 4) bool wrong(struct config_reason *reason, const char *hint, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(reason->text, sizeof reason->text, format, args);
	va_end(args);
	snprintf(reason->hint, sizeof reason->hint, "%s", hint ? hint : "");
	return false;
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

bool config_word_next(const char **rest, struct qmt_str *ret_word)
{
	const char *p = *rest ? *rest + strspn(*rest, " ") : "";
	size_t len = strcspn(p, " ");

	*ret_word = qmt_strn(p, len);
	*rest = p + len;
	return len > 0;
}

bool config_word_in(struct qmt_str word, const char *words)
{
	struct qmt_str candidate;

	while (config_word_next(&words, &candidate))
		if (qmt_str_eq(word, candidate))
			return true;
	return false;
}

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Edits (insert, drop, change a byte, swap two neighbours) from a to b: optimal string alignment. */
static unsigned distance(struct qmt_str a, struct qmt_str b)
{
	unsigned rows[3][NEAR_BYTES + 1];

	if (a.len > NEAR_BYTES || b.len > NEAR_BYTES)
		return NEAR_BYTES;
	for (unsigned j = 0; j <= b.len; j++)
		rows[0][j] = j;
	for (unsigned i = 1; i <= a.len; i++) {
		unsigned *row = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];

		row[0] = i;
		for (unsigned j = 1; j <= b.len; j++) {
			unsigned change = up[j - 1] + (a.p[i - 1] != b.p[j - 1]);

			row[j] = least(change, least(up[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1])
				row[j] = least(row[j], up2[j - 2] + 1);
		}
	}
	return rows[a.len % 3][b.len];
}

void config_nearest_try(struct config_nearest *nearest, struct qmt_str candidate)
{
	unsigned d = distance(nearest->word, candidate);

	if (d < nearest->best) {
		nearest->best = d;
		nearest->found = candidate;
	}
}

bool config_nearest_found(const struct config_nearest *nearest)
{
	uint32_t len = nearest->word.len > nearest->found.len ? nearest->word.len : nearest->found.len;

	return nearest->best <= (len < 6 ? 1 : len / 3);
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

bool config_text_is_name(struct qmt_str text, struct qmt_str shown, struct config_reason *ret_reason)
{
	if (text.len == 0)
		return wrong(ret_reason, NULL, "must not be empty");
	if (text.len > NAME_BYTES)
		return wrong(ret_reason, NULL, "a name has at most %d bytes, this one %u", NAME_BYTES, text.len);
	for (uint32_t i = 0; i < text.len; i++) {
		char c = text.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
				c == '-'))
			return wrong(ret_reason, "letters, digits, _ . and -", "%s is no name", config_show(shown).text);
	}
	return true;
}

bool config_text_is_label(struct qmt_str text, struct qmt_str shown, struct config_reason *ret_reason)
{
	if (text.len == 0)
		return wrong(ret_reason, NULL, "must not be empty");
	if (text.len > LABEL_BYTES)
		return wrong(ret_reason, NULL, "at most %d bytes, this one has %u", LABEL_BYTES, text.len);
	for (uint32_t i = 0; i < text.len; i++)
		if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f)
			return wrong(ret_reason, NULL, "%s has a control character", config_show(shown).text);
	return true;
}

bool config_text_is_secret(struct qmt_str text, struct config_reason *ret_reason)
{
	for (uint32_t i = 0; i < text.len; i++)
		if ((unsigned char)text.p[i] <= 0x20 || text.p[i] == 0x7f)
			return wrong(
				ret_reason, "does the variable or file end in a line end?", "has a blank or control character in it");
	if (memmem(text.p ? text.p : "", text.len, "${", 2))
		return wrong(ret_reason, "${NAME} or ${NAME:-default}, upper case", "has a ${ that names no variable");
	return true;
}

bool config_text_is_url(struct qmt_str text, struct qmt_str shown, struct config_reason *ret_reason)
{
	uint32_t at = 0, host, port = 0;

	for (uint32_t i = 0; i < text.len; i++)
		if ((unsigned char)text.p[i] <= 0x20 || text.p[i] == 0x7f)
			return wrong(ret_reason, NULL, "%s has a blank in it", config_show(shown).text);
	if (text.len >= 7 && strncasecmp(text.p, "http://", 7) == 0)
		at = 7;
	else if (text.len >= 8 && strncasecmp(text.p, "https://", 8) == 0)
		at = 8;
	else
		return wrong(ret_reason, "for example http://127.0.0.1:8080/v1", "%s is no http:// or https:// URL",
			config_show(shown).text);
	host = at;
	for (uint32_t i = host; i < text.len; i++) {
		if (text.p[i] == '?' || text.p[i] == '#')
			return wrong(ret_reason, NULL, "%s: a base URL has no ? and no #", config_show(shown).text);
		if (text.p[i] == '@' && !memchr(text.p + host, '/', i - host)) /* not shown: it may be a password */
			return wrong(ret_reason, "use api_key", "a base URL has no user name or password in it");
	}
	if (at < text.len && text.p[at] == '[') { /* IPv6 */
		const char *close = memchr(text.p + at, ']', text.len - at);

		if (!close)
			return wrong(ret_reason, NULL, "%s: [ without ]", config_show(shown).text);
		at = (uint32_t)(close - text.p) + 1;
	}
	while (at < text.len && text.p[at] != ':' && text.p[at] != '/')
		at++;
	if (at == host)
		return wrong(ret_reason, NULL, "%s has no host", config_show(shown).text);
	if (at < text.len && text.p[at] == ':') {
		for (at++; at < text.len && text.p[at] != '/'; at++) {
			if (text.p[at] < '0' || text.p[at] > '9' || port > 65535)
				return wrong(ret_reason, NULL, "%s: the port is no number from 1 to 65535", config_show(shown).text);
			port = port * 10 + (uint32_t)(text.p[at] - '0');
		}
		if (port == 0 || port > 65535)
			return wrong(ret_reason, NULL, "%s: the port is no number from 1 to 65535", config_show(shown).text);
	}
	return true;
}

/* ---- addresses --------------------------------------------------------------------------------------------------- */

static bool is_tcp(
	struct qmt_str text, struct qmt_str shown, struct multiaddr *ret_addr, struct config_reason *ret_reason)
{
	struct qmt_err err = {0};

	if (multiaddr_parse(text, ret_addr, &err)) {
		const char *hint = "example: /ip4/192.168.1.100/tcp/9000";

		if (shown.p != text.p) /* what it says holds parts of the text */
			return wrong(
				ret_reason, hint, "%s is no address once its variables are filled in", config_show(shown).text);
		return wrong(ret_reason, strchr(err.text, '(') ? NULL : hint, "%s", err.text);
	}
	if (ret_addr->transport != MULTIADDR_TCP)
		return wrong(ret_reason, "use /tcp", "not in this version: %s", config_show(shown).text);
	return true;
}

bool config_text_is_listen(struct qmt_str text, struct qmt_str shown, struct config_reason *ret_reason)
{
	struct multiaddr addr;

	if (!is_tcp(text, shown, &addr, ret_reason))
		return false;
	if (addr.host_kind == MULTIADDR_DNS4 || addr.host_kind == MULTIADDR_DNS6)
		return wrong(ret_reason, "an IP address of this host, or /ip4/0.0.0.0", "cannot listen on a DNS name: %s",
			config_show(shown).text);
	if (addr.has_peer)
		return wrong(ret_reason, "the PeerId is that of identity_file", "an address to listen on has no /p2p: %s",
			config_show(shown).text);
	return true;
}

bool config_text_is_dial(struct qmt_str text, struct qmt_str shown, struct config_reason *ret_reason)
{
	struct multiaddr addr;

	if (!is_tcp(text, shown, &addr, ret_reason))
		return false;
	if (addr.port == 0)
		return wrong(
			ret_reason, "the port that the peer listens on", "cannot dial port 0: %s", config_show(shown).text);
	if (multiaddr_is_wildcard(&addr))
		return wrong(
			ret_reason, "an address of the peer", "cannot dial a wildcard address: %s", config_show(shown).text);
	return true;
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

uint32_t config_text_bad_byte(struct qmt_str text)
{
	uint32_t valid = utf8_valid_prefix(text);

	for (uint32_t i = 0; i < valid; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (c == 0x7f || (c < 0x20 && c != '\t' && c != '\n' && c != '\r'))
			return i;
	}
	return valid;
}
