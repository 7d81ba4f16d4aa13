/* proto/ttl.h - spans of time as people write them: 45s 30m 24h 7d 3600 1h30m none.
 *
 * Threads: values.   Blocks: never.
 * Format:  numbers with a unit, d h m s, each at most once and in this order, nothing between; or one number without a
 *          unit (seconds); or "none". Nothing else: no sign, no blank, no fraction, no other case. The original takes
 *          whatever it cannot read for "none" (an invite that is valid for ever): here that is an error.
 * Limit:   TTL_MAX seconds.
 */
#ifndef PROTO_TTL_H
#define PROTO_TTL_H

#include "runtime/base/bytes.h"
#include "runtime/base/err.h"

#define TTL_MAX UINT64_C(3153600000) /* 36,500 days */
#define TTL_NONE UINT64_MAX          /* "none" */

/* 0; -EINVAL and err, which names the place: "1w: 'w' at 1 is no unit (d h m s)". */
QMT_MUST_CHECK int ttl_parse(struct qmt_str text, uint64_t *ret_seconds, struct qmt_err *err);
/* The same in the largest units: "7d", "1h30m", "none", "0s". */
enum { TTL_TEXT = 32 };
void ttl_text(uint64_t seconds, char ret_text[TTL_TEXT]);

#endif
