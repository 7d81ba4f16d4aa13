/* actors/session/session_limits.h - limits and times of a session, from session_params.def.
 *
 * Threads: values.   Blocks: never.
 */
#ifndef ACTORS_SESSION_SESSION_LIMITS_H
#define ACTORS_SESSION_SESSION_LIMITS_H

#include "runtime/base/bytes.h"
#include "runtime/base/err.h"

struct session_limits {
#define SESSION_PARAM(name, dflt, min, max, doc) uint64_t name;
#include "session_params.def"
#undef SESSION_PARAM
};

/* All defaults. */
void session_limits_init(struct session_limits *limits);
/* 0, or -ERANGE with the name, the value and the range of the first that is out of it. */
QMT_MUST_CHECK int session_limits_check(const struct session_limits *limits, struct qmt_err *err);

#endif
