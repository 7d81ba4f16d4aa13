/* proto/ttl.c - see ttl.h. */
#include "ttl.h"

#include <errno.h>
#include <stdio.h>

static const struct {
	char unit;
	uint32_t seconds;
} units[] = {{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};
enum { UNITS = sizeof units / sizeof *units };

static const char forms[] = "write it as 45s, 30m, 24h, 7d, 1h30m, 3600 (seconds), or none";

/* A character of the text as a message shows it. */
static void shown(char c, char ret_text[8])
{
	if (c > ' ' && c < 0x7f)
		snprintf(ret_text, 8, "'%c'", c);
	else
		snprintf(ret_text, 8, "0x%02x", (unsigned char)c);
}

static int wrong(struct qmt_err *err, struct qmt_str text, uint32_t at, const char *what)
{
	char c[8] = "the end";

	if (at < text.len)
		shown(text.p[at], c);
	return qmt_err_set(err, -EINVAL, "not a span of time: %s at %u: %s (%s)", c, at, what, forms);
}

int ttl_parse(struct qmt_str text, uint64_t *ret_seconds, struct qmt_err *err)
{
	uint64_t sum = 0;
	uint32_t at = 0;
	int next = 0; /* unit that may come */

	if (qmt_str_is(text, "none")) {
		*ret_seconds = TTL_NONE;
		return 0;
	}
	if (text.len == 0)
		return qmt_err_set(err, -EINVAL, "an empty span of time (%s)", forms);
	while (at < text.len) {
		uint64_t value = 0;
		uint32_t start = at;
		int unit = next;
		for (; at < text.len && text.p[at] >= '0' && text.p[at] <= '9'; at++) {
			value = value * 10 + (uint64_t)(text.p[at] - '0');
			if (value > TTL_MAX)
				return wrong(err, text, start, "too long, at most 36500d");
		}
		if (at == start)
			return wrong(err, text, at, "a number is wanted");
		if (at == text.len) {
			if (start != 0)
				return wrong(err, text, at, "a unit is wanted: d, h, m or s");
			sum = value;
			break;
		}
		while (unit < UNITS && units[unit].unit != text.p[at])
			unit++;
		if (unit == UNITS) {
			for (int i = 0; i < next; i++)
				if (units[i].unit == text.p[at])
					return wrong(err, text, at, "units come once, in the order d h m s");
			return wrong(err, text, at, "no unit: d, h, m or s");
		}
		sum += value * units[unit].seconds; /* no overflow: both are small */
		if (sum > TTL_MAX)
			return wrong(err, text, start, "too long, at most 36500d");
		next = unit + 1;
		at++;
	}
	*ret_seconds = sum;
	return 0;
}

void ttl_text(uint64_t seconds, char ret_text[TTL_TEXT])
{
	size_t len = 0;

	if (seconds == TTL_NONE || seconds == 0) {
		snprintf(ret_text, TTL_TEXT, "%s", seconds ? "none" : "0s");
		return;
	}
	for (int i = 0; i < UNITS && len < TTL_TEXT; i++) {
		if (seconds / units[i].seconds == 0)
			continue;
		len += (size_t)snprintf(
			ret_text + len, TTL_TEXT - len, "%llu%c", (unsigned long long)(seconds / units[i].seconds), units[i].unit);
		seconds %= units[i].seconds;
	}
}
