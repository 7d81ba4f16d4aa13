/* actors/provider/peer_request.h - what a request may say that came from another node.
 *
 * Threads: values.   Blocks: never.
 * Rule:    only parameters of PROVIDER_PEER_PARAMETERS, and those that this node's owner added (peer_parameters);
 *          addresses, keys, headers and what the provider decides itself from nobody. A model is a name, never a path
 *          or an address: some servers load what they are told.
 */
#ifndef PROVIDER_PEER_REQUEST_H
#define PROVIDER_PEER_REQUEST_H

#include "runtime/base/bytes.h"
#include "runtime/base/err.h"

enum { PEER_REQUEST_E_REFUSED = 1 };

/* further: names with commas between. 0, also for parameters that are no JSON object, which the provider refuses;
 * PEER_REQUEST_E_REFUSED and err; -ENOMEM. */
QMT_MUST_CHECK int peer_request_check(
	struct qmt_str model, struct qmt_str parameters, const char *further, struct qmt_err *err);
/* Whether `further` is such a list: else err says what is wrong. 0 or -EINVAL. */
QMT_MUST_CHECK int peer_parameters_check(const char *further, struct qmt_err *err);

#endif
