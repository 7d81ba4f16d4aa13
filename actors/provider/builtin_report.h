/* actors/provider/builtin_report.h - results of tools in plain words. Pure.
 *
 * Threads: values.   Blocks: never.   Limit: each repeated result is cut to limit_bytes and says so.
 * It knows the shapes of this project's tools (numbered lines of read_tool, JSON of shell and write_file) and repeats
 * any other text as it is.
 */
#ifndef PROVIDER_BUILTIN_REPORT_H
#define PROVIDER_BUILTIN_REPORT_H

#include "proto/contract/contract.h"
#include "runtime/base/bytes.h"

/* messages: what came after the user's message. Appends one paragraph for each call. 0 or -ENOMEM. */
QMT_MUST_CHECK int builtin_report(
	const struct chat_message *messages, uint32_t count, uint32_t limit_bytes, struct qmt_buf *out);

#endif
