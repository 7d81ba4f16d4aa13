/* test/lib/session_world_impl.h - what the fakes of a session's world share. */
#ifndef TEST_SESSION_WORLD_IMPL_H
#define TEST_SESSION_WORLD_IMPL_H

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "session_world.h"

static inline void world_unlock(struct world **w)
{
	pthread_cond_broadcast(&(*w)->changed);
	pthread_mutex_unlock(&(*w)->lock);
}
#define LOCKED(of)                                          \
	QMT_CLEANUP(world_unlock) struct world *locked_ = (of); \
	pthread_mutex_lock(&locked_->lock)

struct fake {
	struct world *w;
	struct stream *stream; /* the provider's, one at a time is enough */
};

static inline int fake_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	((struct fake *)state)->w = (struct world *)(uintptr_t)config;
	return 0;
}

extern const struct qmt_actor_desc world_provider_desc, world_link_desc;

#endif
