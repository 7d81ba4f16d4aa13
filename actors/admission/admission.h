/* actors/admission/admission.h - invites to this node's meshes.
 *
 * Threads:   an actor, registered as "admission".   Blocks: never.
 * Contract:  proto/contract/admission.def; the record of invites and uses is in "store".
 * Order:     requests run side by side; an invite is told to nobody before it is committed.
 * Secrets:   tokens are in answers only, never in a log.
 */
#ifndef ACTORS_ADMISSION_H
#define ACTORS_ADMISSION_H

#include "proto/contract/contract.h"
#include "proto/identity.h"
#include "runtime/actor.h"

/* config of admission_desc: borrowed until the actor has ended. */
struct admission_config {
	const struct identity *identity;
	const struct qmt_str *advertised; /* none: what "peers" listens on */
	uint32_t advertised_count;
	bool mesh; /* false: there is nothing to invite to, invite_create says so */
};

extern const struct qmt_actor_desc admission_desc;

#endif
