/* cmd/invite_text.c - see invite_text.h. */
#include "cmd/invite_text.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "proto/invite.h"
#include "proto/utf8.h"

/* ---- addresses --------------------------------------------------------------------------------------------------- */

static bool add_url(struct invite_urls *urls, struct qmt_str url, const char *address)
{
	struct qmt_buf text = {0};

	if (urls->count == INVITE_URLS)
		return true;
	qmt_buf_append(&text, url.p, url.len);
	if (address)
		qmt_buf_printf(&text, "#%s", address);
	if (text.failed) {
		qmt_buf_free(&text);
		return false;
	}
	urls->items[urls->count++] = text.data;
	return true;
}

int invite_urls_make(const struct admission_invite_created *created, struct invite_urls *ret_urls)
{
	struct invite_urls urls = {0};
	bool fine = add_url(&urls, created->url, NULL);

	for (uint32_t i = 0; fine && i < created->addresses.count; i++) {
		struct multiaddr addr;
		char text[MULTIADDR_TEXT];
		if (multiaddr_parse(created->addresses.items[i], &addr, NULL) != 0 || addr.port == 0 ||
			multiaddr_is_wildcard(&addr))
			continue;
		multiaddr_text(&addr, text);
		fine = add_url(&urls, created->url, text);
	}
	if (!fine) {
		invite_urls_free(&urls);
		return -ENOMEM;
	}
	*ret_urls = urls;
	return 0;
}

void invite_urls_free(struct invite_urls *urls)
{
	for (uint32_t i = 0; i < urls->count; i++) {
		explicit_bzero(urls->items[i], strlen(urls->items[i]));
		free(urls->items[i]);
	}
	urls->count = 0;
}

struct qmt_str invite_urls_best(const struct invite_urls *urls)
{
	return qmt_str(urls->items[urls->count > 1]);
}

/* ---- what is asked for ------------------------------------------------------------------------------------------- */

int invite_name(struct qmt_str name, struct qmt_err *err)
{
	if (name.len > INVITE_NAME)
		return qmt_err_set(err, -EINVAL, "%u bytes, at most %d", name.len, INVITE_NAME);
	if (!utf8_check(name)) /* it could not even be sent */
		return qmt_err_set(err, -EINVAL, "is not UTF-8");
	return 0;
}

int invite_ttl(const char *text, uint64_t *ret_ttl_s, struct qmt_err *err)
{
	uint64_t seconds = INVITE_TTL_DEFAULT;

	if (text && ttl_parse(qmt_str(text), &seconds, err) != 0)
		return -EINVAL;
	if (seconds == 0)
		return qmt_err_set(err, -EINVAL, "an invite of no time at all would have expired at once (for ever is none)");
	*ret_ttl_s = seconds == TTL_NONE ? 0 : seconds;
	return 0;
}

int invite_uses(const char *text, uint32_t *ret_uses, struct qmt_err *err)
{
	unsigned long long value = INVITE_USES_DEFAULT;
	char *end = NULL;

	errno = 0;
	if (text)
		value = strtoull(text, &end, 10);
	if (text && (errno || end == text || *end || text[0] < '0' || text[0] > '9' || value > UINT32_MAX))
		return qmt_err_set(
			err, -EINVAL, "\"%s\" is not a number from 0 to %" PRIu32 " (0: any number)", text, UINT32_MAX);
	*ret_uses = (uint32_t)value;
	return 0;
}

/* ---- shown ------------------------------------------------------------------------------------------------------- */

void invite_time(uint64_t unix_seconds, char ret_text[INVITE_TIME])
{
	time_t seconds = (time_t)unix_seconds;
	struct tm parts;

	if (unix_seconds == 0)
		snprintf(ret_text, INVITE_TIME, "never");
	else if (unix_seconds > UINT64_C(253402300799) || !gmtime_r(&seconds, &parts)) /* behind the year 9999 */
		snprintf(ret_text, INVITE_TIME, "%" PRIu64 " s since 1970", unix_seconds);
	else
		strftime(ret_text, INVITE_TIME, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

void invite_summary(const struct store_invite *invite, char ret_text[INVITE_SUMMARY])
{
	char until[INVITE_TIME], uses[32];

	invite_time(invite->expires_at, until);
	snprintf(uses, sizeof uses, "%" PRIu32 " %s", invite->max_uses, invite->max_uses == 1 ? "use" : "uses");
	snprintf(ret_text, INVITE_SUMMARY, "%s, %s%s", invite->max_uses ? uses : "any number of uses",
		invite->expires_at ? "until " : "never expires", invite->expires_at ? until : "");
}
