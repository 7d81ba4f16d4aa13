/* actors/admission/admission.h - invites to this node's meshes, meshes that it joined, and who is a member of them.
 *
 * Threads:   an actor, registered as "admission".   Blocks: never.
 * Contract:  proto/contract/admission.def; the record of invites and uses is in "store".
 * Order:     requests run side by side; an invite is told to nobody before it is committed.
 * Trust:     who asks is the PeerId that the link has proven. In a mesh a peer has no role until its membership was
 *            verified here: signature of the mesh's inviter, this mesh, this PeerId, not expired, not revoked. The
 *            inviter itself needs none: the mesh id names its key.
 * Life:      a membership is renewed from half of its lifetime on. When it ends, its peer loses its role on all links
 *            at that second, and this node, in its own case, those of the whole mesh.
 * Limits:    ADMISSION_MESHES_MAX meshes; of each ADMISSION_REVOCATIONS (who cannot keep one leaves that mesh: it could
 *            not tell who is out) and ADMISSION_CONTACTS peers; ADMISSION_JOINS requests of one peer at a time.
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
	bool mesh;                        /* false: there is nothing to invite to, invite_create says so */
	const struct qmt_str *join_addrs; /* where inviters may be dialed when nothing else is said */
	uint32_t join_addr_count;
	const struct admission_peer { /* configured peers of known PeerId */
		struct peer_id id;
		const char *address;
	} * peers;
	uint32_t peer_count;
	uint64_t lifetime_s;   /* of memberships that are given here; 0: a week */
	uint64_t join_wait_ms; /* how long mesh_join waits for the inviter before it says so; 0: 15 s */
	uint64_t show_ms;      /* a link whose peer shows nothing in this time is cut; 0: 30 s */
};

enum { ADMISSION_MESHES_MAX = 15 /* a link shares up to 16 scopes, one is the LAN's */, ADMISSION_REVOCATIONS = 1024 };
enum { ADMISSION_CONTACTS = 256, ADMISSION_JOINS = 2 };

extern const struct qmt_actor_desc admission_desc;

#endif
