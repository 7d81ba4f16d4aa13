/* actors/provider/openai_url.h - base_url -> the address of one endpoint. Pure.
 *
 * Threads: values.   Blocks: never.
 * "http://h/v1", "http://h/v1/" and "http://h/v1//" mean the same. A query (?api-version=…) stays behind the path. User
 * names in the address are refused: they would end up in logs.
 */
#ifndef PROVIDER_OPENAI_URL_H
#define PROVIDER_OPENAI_URL_H

#include "runtime/base/bytes.h"
#include "runtime/base/err.h"

/* *ret_url: free it. 0; -EINVAL with err ("base_url: …"); -ENOMEM. */
QMT_MUST_CHECK int openai_url(const char *base_url, const char *endpoint, char **ret_url, struct qmt_err *err);

#endif
