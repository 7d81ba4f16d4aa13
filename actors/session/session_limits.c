/* actors/session/session_limits.c - the table of limits: defaults and ranges. */
#include "session_limits.h"

#include <errno.h>
#include <inttypes.h>

void session_limits_init(struct session_limits *limits)
{
	*limits = (struct session_limits){
#define SESSION_PARAM(name, dflt, min, max, doc) .name = dflt,
#include "session_params.def"
#undef SESSION_PARAM
	};
}

int session_limits_check(const struct session_limits *limits, struct qmt_err *err)
{
	static const struct {
		const char *name;
		size_t offset;
		uint64_t min, max;
	} table[] = {
#define SESSION_PARAM(name, dflt, min, max, doc) {#name, offsetof(struct session_limits, name), min, max},
#include "session_params.def"
#undef SESSION_PARAM
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		uint64_t value;
		memcpy(&value, (const char *)limits + table[i].offset, sizeof(value));
		if (value < table[i].min || value > table[i].max)
			return qmt_err_set(err, -ERANGE, "%s = %" PRIu64 ": must be from %" PRIu64 " to %" PRIu64, table[i].name,
				value, table[i].min, table[i].max);
	}
	if (limits->shell_timeout_max_ms < limits->shell_timeout_ms)
		return qmt_err_set(err, -ERANGE,
			"shell_timeout_max_ms = %" PRIu64 ": must be at least shell_timeout_ms (%" PRIu64 ")",
			limits->shell_timeout_max_ms, limits->shell_timeout_ms);
	return 0;
}
