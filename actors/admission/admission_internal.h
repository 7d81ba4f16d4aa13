/* actors/admission/admission_internal.h - the state of the actor "admission"; for admission*.c only.
 *
 * Threads: all of it belongs to the actor's turn.
 */
#ifndef ACTORS_ADMISSION_INTERNAL_H
#define ACTORS_ADMISSION_INTERNAL_H

#include "actors/admission/admission.h"
#include "proto/authority.h"
#include "proto/membership.h"
#include "proto/revocation.h"

enum {
	ADMISSION_LOCAL_MS = 60000, /* answers of this node's own actors; a store under load may take its time */
	ADMISSION_PEER_MS = 20000,
	ADMISSION_ADDRESSES = 16, /* of one node */
};

struct op {
	struct op *next, **pprev;
	struct qmt_token token;
	struct invite invite; /* invite_create: signed */
	uint64_t created_ms;
	/* join, at the host */
	struct peer_id peer;
	char peer_text[PEER_ID_TEXT + 1];
	char **addresses;
	uint32_t address_count;
	char *early; /* mesh_join before the store has told: the token */
	/* revoke */
	struct op *of; /* the request that this is a part of */
	struct revocation revocation;
	char mesh[MEMBERSHIP_MESH_ID + 1];
	bool joins; /* of a peer that asks to be let in */
	uint32_t meshes, told, waits;
	bool failed;
};

enum mesh_state { MESH_HOSTED, MESH_JOINING, MESH_ACTIVE, MESH_EXPIRED, MESH_REFUSED, MESH_REVOKED };

/* A qmt join that waits. */
struct joiner {
	struct joiner *next;
	struct qmt_token token;
	struct qmt_timer timer;
	struct mesh *mesh;
	bool already;
};

struct mesh {
	struct mesh *next;
	struct admission *self;
	char id[MEMBERSHIP_MESH_ID + 1];
	struct peer_id inviter;
	char inviter_text[PEER_ID_TEXT + 1];
	enum mesh_state state;
	/* joined */
	char token[INVITE_TOKEN + 1];
	struct membership membership;
	bool has_membership, renewing;
	bool leaving; /* the store is asked to forget it: nothing more is written of it */
	uint32_t failures;
	uint64_t joined_ms;
	struct qmt_timer renew, expiry;
	struct joiner *joiners;
	char text[300];   /* what went wrong */
	char **addresses; /* of the inviter */
	uint32_t address_count;
};

/* A peer in a mesh that this node is in: linked, or remembered for its addresses. */
struct contact {
	struct contact *next;
	struct mesh *mesh;
	struct peer_id id;
	char peer[PEER_ID_TEXT + 1];
	bool shared;           /* a link shares the scope */
	uint8_t role, granted; /* enum authority_role */
	bool has_membership;
	struct membership membership;
	struct qmt_timer timer; /* of its membership, or until it has to have shown one */
	char **addresses;
	uint32_t address_count;
};

struct admission {
	const struct admission_config *config;
	struct op *ops;
	struct qmt_ref peers; /* unset: no links yet */
	bool loaded;
	struct qmt_timer reload;
	struct mesh *meshes;
	struct contact *contacts;
	struct revocation_row {
		struct revocation_row *next;
		struct revocation revocation;
	} * revocations;
	char self_text[PEER_ID_TEXT + 1];
	char addresses[ADMISSION_ADDRESSES][MULTIADDR_TEXT]; /* where this node can be dialed */
	struct qmt_str address_strs[ADMISSION_ADDRESSES];
	uint32_t address_count;
};

/* admission.c */
struct op *op_new(struct qmt_ctx *ctx, struct admission *self); /* of the ask that is handled; NULL: it was answered */
struct op *op_raw(struct admission *self);                      /* nobody waits for it. NULL: out of memory */
void op_end(struct op *op);
/* Asks a neighbour; that it is not there comes to `then` as well. */
void admission_ask(struct qmt_ctx *ctx, const char *name, const struct qmt_type *type, const void *body,
	qmt_continuation *then, struct op *op);

/* admission_mesh.c: meshes and who is met in them */
void mesh_load(struct qmt_ctx *ctx, struct admission *self);
void mesh_stop(struct qmt_ctx *ctx, struct admission *self);
void mesh_on_links_start(struct qmt_ctx *ctx, void *state, const void *body);
void mesh_on_shared(struct qmt_ctx *ctx, void *state, const void *body);
void mesh_on_peer_down(struct qmt_ctx *ctx, void *state, const void *body);
void mesh_on_show(struct qmt_ctx *ctx, void *state, const void *body);
void mesh_on_leave(struct qmt_ctx *ctx, void *state, const void *body);
void mesh_on_members(struct qmt_ctx *ctx, void *state, const void *body);
void mesh_on_list(struct qmt_ctx *ctx, void *state, const void *body);
struct mesh *mesh_find(struct admission *self, struct qmt_str id);
/* By id, or by the name when one mesh alone has it. NULL: none, or several. */
struct mesh *mesh_called(struct admission *self, struct qmt_str name);
struct mesh *mesh_new(struct admission *self, struct qmt_str id);
void mesh_free(struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh);
bool mesh_hosts(const struct admission *self, const struct mesh *mesh);
/* This node hosts the mesh from now on. */
void mesh_host(struct qmt_ctx *ctx, struct admission *self, struct qmt_str id);
void mesh_tell_scopes(struct qmt_ctx *ctx, struct admission *self);
void mesh_dial(struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh);
/* It has, or had, a membership: timers, roles of those that are there, shown to them. */
void mesh_start_membership(struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh);
void mesh_ask_on(struct qmt_ctx *ctx, struct mesh *mesh); /* a membership that was not renewed is asked for again */
void mesh_end_roles(struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh, const char *why);
struct contact *contact_find(struct admission *self, const struct mesh *mesh, struct qmt_str peer);
struct contact *contact_need(struct admission *self, struct mesh *mesh, struct qmt_str peer);
void contact_role(struct qmt_ctx *ctx, struct admission *self, struct contact *contact, uint8_t role, uint8_t granted,
	const char *cut);
/* A membership that was verified: its role, its end. */
void contact_admit(
	struct qmt_ctx *ctx, struct admission *self, struct contact *contact, const struct membership *membership);
void contact_addresses(struct qmt_ctx *ctx, struct admission *self, struct contact *contact,
	const struct qmt_str *addresses, uint32_t count);
void contact_meet(struct qmt_ctx *ctx, struct admission *self, struct contact *contact);
/* What is told of a mesh: members that are there, and all revocations. Texts are borrowed from the state. */
struct told {
	struct admission_member *members;
	struct qmt_str *strs;
	struct admission_proof *proofs;
	uint8_t (*room)[REVOCATION_BYTES];
	uint32_t member_count, proof_count;
};
/* Without this peer. What there is no memory for is left out: it is told another time. */
void told_members(struct admission *self, const struct mesh *mesh, struct qmt_str except, struct told *told);
void told_revocations(const struct admission *self, const struct mesh *mesh, struct told *told);
void told_free(struct told *told);
void mesh_take_members(struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh,
	const struct admission_member *members, uint32_t count);
/* To the others: this one is there. */
void mesh_tell_member(struct qmt_ctx *ctx, struct admission *self, const struct contact *contact);
char **texts_copy(const struct qmt_str *texts, uint32_t count, uint32_t *ret_count);
char **texts_free(char **texts, uint32_t count); /* NULL */

/* admission_join.c */
void join_ask(struct qmt_ctx *ctx, struct admission *self, struct contact *host);
void join_on_join(struct qmt_ctx *ctx, void *state, const void *body);
void join_on_mesh_join(struct qmt_ctx *ctx, void *state, const void *body);
void join_on_mesh_leave(struct qmt_ctx *ctx, void *state, const void *body);
void join_early(struct qmt_ctx *ctx, struct admission *self); /* what was asked before the store had told */
void join_end_waits(struct qmt_ctx *ctx, struct mesh *mesh, int fail, const char *text);
void mesh_store(struct qmt_ctx *ctx, const struct mesh *mesh);

/* admission_revoke.c */
uint32_t revocations_of(const struct admission *self, const struct mesh *mesh);
const struct revocation_row *revocation_that_ends(const struct admission *self, const struct membership *membership);
bool revocations_full(const struct admission *self, const char *mesh);
void revocations_load(struct qmt_ctx *ctx, struct admission *self, const struct store_revocation *rows, uint32_t count);
/* What others say: verified here, kept, acted on, passed on. */
void revocations_take(struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh,
	const struct admission_proof *proofs, uint32_t count, struct qmt_str from);
void revoke_on_revoked(struct qmt_ctx *ctx, void *state, const void *body);
void revoke_on_mesh_revoke(struct qmt_ctx *ctx, void *state, const void *body);
/* All who came by this invite of this node. */
void revoke_invite(struct qmt_ctx *ctx, struct admission *self, const struct store_invite *invite);

#endif
