/* actors/provider/openai_info.h - provider.info of an upstream: its models, asked for at most once in models_cache_ms.
 *
 * Threads: belongs to one provider actor.   Blocks: never.
 * Order:   asks that come while the upstream is being asked wait for that one answer.
 * Limits:  info_timeout_ms, max_models; INFO_WAITERS_MAX asks wait at once, one more is answered without models.
 */
#ifndef PROVIDER_OPENAI_INFO_H
#define PROVIDER_OPENAI_INFO_H

#include "actors/provider/curl_loop.h"
#include "actors/provider/provider.h"

enum { INFO_WAITERS_MAX = 256 };

struct openai_info;

/* models_url is copied. NULL: out of memory. */
struct openai_info *openai_info_new(
	const struct provider_config *config, struct curl_loop *loop, const char *models_url);
/* Those that wait are answered with an error. Returns NULL. */
struct openai_info *openai_info_free(struct qmt_ctx *ctx, struct openai_info *info);
/* Answers the ask that is being handled, now or when the upstream has answered. */
void openai_info_ask(struct qmt_ctx *ctx, struct openai_info *info, uint32_t active);

#endif
