/* runtime/waits.h - the picture of one actor, with the texts that it points to.
 *
 * Threads: any.   Blocks: never.
 */
#ifndef QMT_RUNTIME_WAITS_H
#define QMT_RUNTIME_WAITS_H

#include "internal.h"

struct actor_shown {
	struct qmt_actor_info info; /* points into this struct: not to be copied away from it */
	char name[ACTOR_NAME_SHOWN], waits_for_name[ACTOR_NAME_SHOWN];
};
/* Fills shown->info. False: it is no actor (any more). The registry's lock is held. */
bool qmt__actor_show_locked(struct qmt_system *sys, struct qmt_actor *a, struct actor_shown *shown);

#endif
