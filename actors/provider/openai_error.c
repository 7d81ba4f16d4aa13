/* actors/provider/openai_error.c - see openai_error.h.
 *
 * The status decides the class; the body only refines it, because servers agree on statuses far more than on envelopes.
 * Inside a 200 stream there is no status: there a numeric code is read as one, and else the type's name decides.
 */
#include "openai_error.h"

#include <stdarg.h>
#include <time.h>

#include "proto/utf8.h"
#include "provider.h"

/* ---- when to come back ------------------------------------------------------------------------------------------- */

static void take_value(struct qmt_str line, size_t at, char ret_text[OPENAI_HINT_TEXT])
{
	size_t end = line.len;

	while (at < end && (line.p[at] == ' ' || line.p[at] == '\t'))
		at++;
	while (end > at && (unsigned char)line.p[end - 1] <= ' ')
		end--;
	if (end - at >= OPENAI_HINT_TEXT)
		return; /* no number, date or duration is that long */
	memcpy(ret_text, line.p + at, end - at);
	ret_text[end - at] = '\0';
}

void openai_hints_header(struct openai_hints *hints, struct qmt_str line)
{
	const struct {
		const char *name;
		char *to;
	} known[] = {
		{"retry-after:", hints->retry_after},
		{"retry-after-ms:", hints->retry_after_ms},
		{"x-ratelimit-reset-requests:", hints->reset_requests},
		{"date:", hints->date},
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		size_t len = strlen(known[i].name);

		if (line.len > len && strncasecmp(line.p, known[i].name, len) == 0)
			take_value(line, len, known[i].to);
	}
}

static uint64_t bounded(double ms)
{
	if (!(ms > 0))
		return 0;
	return ms > OPENAI_RETRY_MAX_MS ? OPENAI_RETRY_MAX_MS
									: (uint64_t)(ms + 0.999); /* a hint may not become "at once" */
}

/* Decimal digits with an optional fraction. Returns behind them, NULL: none. (strtod would take "inf", "-1".) */
static const char *take_number(const char *text, double *ret_value)
{
	const char *at = text;
	double value = 0, scale = 1;

	for (; *at >= '0' && *at <= '9'; at++)
		value = value * 10 + (*at - '0');
	if (at == text)
		return NULL;
	if (*at == '.') {
		for (at++; *at >= '0' && *at <= '9'; at++) {
			scale /= 10;
			value += (*at - '0') * scale;
		}
	}
	*ret_value = value;
	return at;
}

/* "6m0s", "1.5s", "20ms", "2h": at least one part, each with its unit. Returns behind it, NULL: not a duration. */
static const char *take_duration(const char *text, double *ret_ms)
{
	static const struct {
		const char *name;
		double ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}}; /* "ms" before "m" */
	const char *at = text, *end;
	double sum = 0, value;

	while ((end = take_number(at, &value))) {
		size_t i = 0;

		while (i < sizeof units / sizeof *units && strncmp(end, units[i].name, strlen(units[i].name)) != 0)
			i++;
		if (i == sizeof units / sizeof *units)
			return NULL;
		sum += value * units[i].ms;
		at = end + strlen(units[i].name);
	}
	if (at == text)
		return NULL;
	*ret_ms = sum;
	return at;
}

static int month_number(const char *name)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

	for (int i = 0; i < 12; i++)
		if (strncmp(months + 3 * i, name, 3) == 0)
			return i;
	return -1;
}

bool openai_date_parse(const char *text, uint64_t *ret_wall_ms)
{
	char month[4] = "", weekday[10] = "", zone[4] = "";
	struct tm when = {0};
	int year, end = 0;

	if (sscanf(text, "%9[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d %3s%n", weekday, &when.tm_mday, month, &year,
			&when.tm_hour, &when.tm_min, &when.tm_sec, zone, &end) == 8) {
		if (year < 1000) /* "94": not this form */
			return false;
	} else if (sscanf(text, "%9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d %3s%n", weekday, &when.tm_mday, month, &year,
				   &when.tm_hour, &when.tm_min, &when.tm_sec, zone, &end) == 8) {
		year += year < 70 ? 2000 : 1900;
	} else if (sscanf(text, "%9[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n", weekday, month, &when.tm_mday, &when.tm_hour,
				   &when.tm_min, &when.tm_sec, &year, &end) != 7) {
		return false;
	}
	when.tm_mon = month_number(month);
	when.tm_year = year - 1900;
	if (text[end] != '\0' || (zone[0] && strcmp(zone, "GMT") != 0) || when.tm_mon < 0 || when.tm_mday < 1 ||
		when.tm_mday > 31 || when.tm_hour < 0 || when.tm_hour > 23 || when.tm_min < 0 || when.tm_min > 59 ||
		when.tm_sec < 0 || when.tm_sec > 60 || year < 1970)
		return false;
	*ret_wall_ms = (uint64_t)timegm(&when) * 1000;
	return true;
}

uint64_t openai_hints_ms(const struct openai_hints *hints, uint64_t wall_ms)
{
	uint64_t until, now;
	double value;
	const char *end;

	end = take_number(hints->retry_after_ms, &value);
	if (end && *end == '\0')
		return bounded(value);
	end = take_number(hints->retry_after, &value);
	if (end && *end == '\0')
		return bounded(value * 1000);
	if (openai_date_parse(hints->retry_after, &until)) {
		if (!openai_date_parse(hints->date, &now))
			now = wall_ms;
		return until > now ? bounded((double)(until - now)) : 0;
	}
	end = take_duration(hints->reset_requests, &value);
	return end && *end == '\0' ? bounded(value) : 0;
}

/* "Please try again in 1.2s." */
static uint64_t hint_in_text(struct qmt_str text)
{
	static const char phrase[] = "try again in ";
	char rest[32] = "";
	double ms;

	for (size_t i = 0; i + sizeof phrase - 1 < text.len; i++) {
		if (strncasecmp(text.p + i, phrase, sizeof phrase - 1) != 0)
			continue;
		snprintf(rest, sizeof rest, "%.*s", (int)(text.len - i - (sizeof phrase - 1)), text.p + i + sizeof phrase - 1);
		return take_duration(rest, &ms) ? bounded(ms) : 0;
	}
	return 0;
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

void openai_error_set(struct openai_error *ret_error, const char *kind, const char *format, ...)
{
	va_list args;

	ret_error->kind = kind;
	ret_error->retry_after_ms = 0;
	va_start(args, format);
	qmt_text_va(ret_error->text, sizeof ret_error->text, format, args);
	va_end(args);
}

/* Length of the character at the start of `text`; 0: no valid one. */
static uint32_t char_length(struct qmt_str text)
{
	unsigned char lead = (unsigned char)text.p[0];
	uint32_t len = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;

	return len <= text.len && utf8_check(qmt_strn(text.p, len)) ? len : 0;
}

/* One line out of what an upstream wrote: white space joined, control characters dropped, what is no UTF-8 shown as
 * "?", the key ("Incorrect API key provided: sk-…") replaced, cut on a character boundary. */
static void clean(struct qmt_str from, const char *secret, char *ret_text, size_t size)
{
	enum { SHORTEST = 4, PIECE_MAX = 4 }; /* replacing a shorter key would only cut holes into plain words */
	size_t at = 0, secret_len = secret && strlen(secret) >= SHORTEST ? strlen(secret) : 0;

	for (uint32_t i = 0; i < from.len && at + PIECE_MAX < size;) {
		struct qmt_str rest = qmt_strn(from.p + i, from.len - i);
		uint32_t len = char_length(rest);

		if (secret_len > 0 && rest.len >= secret_len && memcmp(rest.p, secret, secret_len) == 0) {
			memcpy(ret_text + at, "***", 3);
			at += 3;
			i += (uint32_t)secret_len;
		} else if (len > 1 || (len == 1 && *rest.p > ' ' && *rest.p != 0x7f)) {
			memcpy(ret_text + at, rest.p, len);
			at += len;
			i += len;
		} else {
			if (len == 0)
				ret_text[at++] = '?';
			else if (at > 0 && ret_text[at - 1] != ' ')
				ret_text[at++] = ' ';
			i++;
		}
	}
	while (at > 0 && ret_text[at - 1] == ' ')
		at--;
	ret_text[at] = '\0';
}

/* ---- class ------------------------------------------------------------------------------------------------------- */

static bool contains(struct qmt_str text, const char *part)
{
	size_t len = strlen(part);

	for (size_t i = 0; i + len <= text.len; i++)
		if (strncasecmp(text.p + i, part, len) == 0)
			return true;
	return false;
}

static bool is_context(struct qmt_str type, struct qmt_str code, struct qmt_str message)
{
	static const char *const phrases[] = {"maximum context length", "context size", "context window", "context length",
		"prompt is too long", "exceeds the model's context"};

	if (qmt_str_is(type, "exceed_context_size_error") || contains(code, "context_length") ||
		contains(code, "context_window") || contains(type, "context_length") || contains(type, "context_window"))
		return true;
	for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
		if (contains(message, phrases[i]))
			return true;
	return false;
}

static const char *kind_of_status(unsigned status)
{
	switch (status) {
	case 401:
	case 403:
		return provider_error_authentication;
	case 404:
		return provider_error_not_found;
	case 408:
		return provider_error_timeout;
	case 429:
		return provider_error_rate_limited;
	case 503:
	case 529:
		return provider_error_overloaded;
	default:
		return status >= 500 ? provider_error_server_error : provider_error_invalid_request;
	}
}

static const char *kind_of_type(struct qmt_str type)
{
	static const struct {
		const char *part, *kind;
	} known[] = {
		{"authentication", provider_error_authentication},
		{"permission", provider_error_authentication},
		{"invalid_api_key", provider_error_authentication},
		{"not_found", provider_error_not_found},
		{"rate_limit", provider_error_rate_limited},
		{"insufficient_quota", provider_error_rate_limited},
		{"overloaded", provider_error_overloaded},
		{"unavailable", provider_error_overloaded},
		{"timeout", provider_error_timeout},
		{"invalid_request", provider_error_invalid_request},
		{"not_supported", provider_error_invalid_request},
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (contains(type, known[i].part))
			return known[i].kind;
	return provider_error_server_error;
}

struct said {
	struct qmt_str message, type, code;
	unsigned status; /* a numeric code; 0: none */
	double retry_s;
};

static struct said read_envelope(const struct json *error)
{
	struct said said = {0};

	if (json_is_string(error)) { /* Ollama: {"error": "model not found"} */
		said.message = json_str(error);
		return said;
	}
	said.message = json_str(json_get(error, "message"));
	said.type = json_str(json_get(error, "type"));
	said.code = json_str(json_get(error, "code"));

	int64_t number = json_int(json_get(error, "code"), 0);

	if (number >= 400 && number <= 599)
		said.status = (unsigned)number;
	said.retry_s = json_real(json_get(error, "retry_after"), 0);
	return said;
}

static void fill(
	const struct said *said, const char *kind, const char *prefix, const char *secret, struct openai_error *ret_error)
{
	char message[OPENAI_ERROR_TEXT - 64];
	uint64_t hint = bounded(said->retry_s * 1000);

	clean(said->message.len > 0 ? said->message : said->type, secret, message, sizeof message);
	openai_error_set(ret_error, kind, "%s%s%s", prefix, message[0] ? ": " : "", message);
	if (hint == 0)
		hint = hint_in_text(said->message);
	ret_error->retry_after_ms = hint;
}

void openai_error_malformed(const char *prefix, struct qmt_str said, const char *secret, struct openai_error *ret_error)
{
	fill(&(struct said){.message = said}, provider_error_malformed, prefix, secret, ret_error);
	ret_error->retry_after_ms = 0;
}

void openai_error_envelope(const struct json *error, const char *secret, struct openai_error *ret_error)
{
	struct said said = read_envelope(error);
	const char *kind;

	if (is_context(said.type, said.code, said.message))
		kind = provider_error_context_window_exceeded;
	else if (said.status)
		kind = kind_of_status(said.status);
	else
		kind = kind_of_type(
			said.code.len > 0 && kind_of_type(said.type) == provider_error_server_error ? said.code : said.type);
	fill(&said, kind, "the upstream reported an error", secret, ret_error);
}

void openai_error_http(unsigned status, struct qmt_str body, const struct openai_hints *hints, uint64_t wall_ms,
	const char *secret, struct openai_error *ret_error)
{
	QMT_CLEANUP(json_cleanup) struct json *json = NULL;
	struct said said = {0};
	const char *kind = kind_of_status(status);
	char prefix[64];

	snprintf(prefix, sizeof prefix, "the upstream answered %u", status);
	if (status >= 300 && status < 400) {
		openai_error_set(
			ret_error, kind, "%s, a redirect: those are not followed, base_url must be the final address", prefix);
		return;
	}
	if (json_parse(body, &json, NULL) == 0)
		said = read_envelope(json_get(json, "error") ? json_get(json, "error") : json);
	else if (body.len > 0 && body.p[0] != '<') /* a page of HTML helps nobody */
		said.message = body;
	if ((kind == provider_error_invalid_request || kind == provider_error_server_error) &&
		is_context(said.type, said.code, said.message))
		kind = provider_error_context_window_exceeded;
	fill(&said, kind, prefix, secret, ret_error);

	uint64_t hint = openai_hints_ms(hints, wall_ms);

	if (hint > 0)
		ret_error->retry_after_ms = hint;
}
