/* actors/admission/admission_mesh.c - the meshes of this node, and the peers that are met in them.
 *
 * A mesh:     hosted                                (this node made an invite to it)
 *             joining --joined--> active --expired--> expired --joined again--> active
 *                \--told no--> refused   \--revoked--> revoked     (both: not tried again until `qmt join`)
 * A contact, when a link shares the scope of a mesh:
 *     it is the inviter       it may what a member may, by its PeerId; this node shows its membership, or asks to join
 *     this node is inviter    waits for what the other shows or asks; cut after show_ms
 *     neither                 both show; cut after show_ms
 * Each side judges the other by itself. What `peers` knows of roles goes with the last link, so at each new link it is
 * shown again.
 */
#include <errno.h>

#include "actors/admission/admission_internal.h"

enum { RELOAD_MS = 1000, SHOW_MS = 30000, RENEW_MIN_MS = 250, LOOK_AGAIN_MS = 3600000 };

static void on_contact_due(struct qmt_ctx *ctx, void *state, void *arg);

/* ---- texts ------------------------------------------------------------------------------------------------------- */

char **texts_free(char **texts, uint32_t count)
{
	for (uint32_t i = 0; texts && i < count; i++)
		free(texts[i]);
	free(texts);
	return NULL;
}

static bool texts_same(char *const *a, uint32_t a_count, char *const *b, uint32_t b_count)
{
	bool same = a_count == b_count;

	for (uint32_t i = 0; same && i < a_count; i++)
		same = strcmp(a[i], b[i]) == 0;
	return same;
}

/* Those that can be dialed, at most ADMISSION_ADDRESSES. NULL: none. */
char **texts_copy(const struct qmt_str *texts, uint32_t count, uint32_t *ret_count)
{
	char **copies = calloc(ADMISSION_ADDRESSES, sizeof *copies);
	uint32_t used = 0;
	struct multiaddr addr;

	for (uint32_t i = 0; copies && i < count && used < ADMISSION_ADDRESSES; i++) {
		if (multiaddr_parse(texts[i], &addr, NULL) != 0 || addr.transport != MULTIADDR_TCP || addr.port == 0 ||
			multiaddr_is_wildcard(&addr))
			continue;
		copies[used] = qmt_str_dup(texts[i]);
		used += copies[used] != NULL;
	}
	*ret_count = used;
	return copies;
}

/* ---- meshes ------------------------------------------------------------------------------------------------------ */

struct mesh *mesh_find(struct admission *self, struct qmt_str id)
{
	for (struct mesh *mesh = self->meshes; mesh; mesh = mesh->next)
		if (qmt_str_is(id, mesh->id))
			return mesh;
	return NULL;
}

struct mesh *mesh_called(struct admission *self, struct qmt_str name)
{
	struct mesh *found = mesh_find(self, name);
	uint32_t count = 0;

	for (struct mesh *mesh = self->meshes; mesh && !found; mesh = mesh->next)
		count += qmt_str_is(name, mesh->id + PEER_ID_TEXT + 1);
	for (struct mesh *mesh = self->meshes; mesh && count == 1 && !found; mesh = mesh->next)
		if (qmt_str_is(name, mesh->id + PEER_ID_TEXT + 1))
			found = mesh;
	return found;
}

bool mesh_hosts(const struct admission *self, const struct mesh *mesh)
{
	return peer_id_compare(&mesh->inviter, &self->config->identity->id) == 0;
}

struct mesh *mesh_new(struct admission *self, struct qmt_str id)
{
	struct mesh *mesh, **at = &self->meshes;
	struct peer_id inviter;
	uint32_t count = 0;

	for (struct mesh *other = self->meshes; other; other = other->next)
		count++;
	if (count >= ADMISSION_MESHES_MAX || id.len > MEMBERSHIP_MESH_ID || memchr(id.p, '\0', id.len) ||
		mesh_id_inviter(id, &inviter, NULL) != 0)
		return NULL;
	mesh = calloc(1, sizeof *mesh);
	if (!mesh)
		return NULL;
	mesh->self = self;
	memcpy(mesh->id, id.p, id.len);
	mesh->inviter = inviter;
	peer_id_text(&inviter, mesh->inviter_text);
	mesh->state = mesh_hosts(self, mesh) ? MESH_HOSTED : MESH_JOINING;
	while (*at)
		at = &(*at)->next;
	*at = mesh;
	return mesh;
}

static void contact_free(struct qmt_ctx *ctx, struct admission *self, struct contact *contact)
{
	struct contact **at = &self->contacts;

	while (*at != contact)
		at = &(*at)->next;
	*at = contact->next;
	qmt_timer_cancel(ctx, &contact->timer);
	texts_free(contact->addresses, contact->address_count);
	free(contact);
}

void mesh_free(struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh)
{
	struct mesh **at = &self->meshes;

	for (struct contact *contact = self->contacts, *next; contact; contact = next) {
		next = contact->next;
		if (contact->mesh == mesh)
			contact_free(ctx, self, contact);
	}
	while (*at != mesh)
		at = &(*at)->next;
	*at = mesh->next;
	qmt_timer_cancel(ctx, &mesh->renew);
	qmt_timer_cancel(ctx, &mesh->expiry);
	texts_free(mesh->addresses, mesh->address_count);
	explicit_bzero(mesh->token, sizeof mesh->token);
	free(mesh);
}

void mesh_host(struct qmt_ctx *ctx, struct admission *self, struct qmt_str id)
{
	if (mesh_find(self, id))
		return;
	if (mesh_new(self, id))
		mesh_tell_scopes(ctx, self);
	else
		QMT_LOG(ctx, QMT_WARN, "admission.full", "reason", "too many meshes: nobody can join this one now");
}

/* Offered on links: what this node is in, or on its way into. */
void mesh_tell_scopes(struct qmt_ctx *ctx, struct admission *self)
{
	struct qmt_str scopes[ADMISSION_MESHES_MAX];
	uint32_t count = 0;

	if (!qmt_ref_is_set(self->peers))
		return;
	for (struct mesh *mesh = self->meshes; mesh; mesh = mesh->next)
		if (mesh->state != MESH_REFUSED && mesh->state != MESH_REVOKED)
			scopes[count++] = qmt_str(mesh->id);
	(void)QMT_TELL(ctx, self->peers, peers_scopes, .scopes = {scopes, count});
}

/* The inviter, and members that were heard of. */
void mesh_dial(struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh)
{
	struct qmt_str strs[ADMISSION_ADDRESSES];

	if (!qmt_ref_is_set(self->peers) || mesh_hosts(self, mesh) || mesh->state == MESH_REFUSED ||
		mesh->state == MESH_REVOKED)
		return;
	for (uint32_t i = 0; i < mesh->address_count; i++)
		strs[i] = qmt_str(mesh->addresses[i]);
	if (mesh->address_count)
		(void)QMT_TELL(ctx, self->peers, peers_dial, .peer_id = qmt_str(mesh->inviter_text), .scope = qmt_str(mesh->id),
			.addresses = {strs, mesh->address_count});
	for (struct contact *contact = self->contacts; contact; contact = contact->next) {
		if (contact->mesh != mesh || !contact->address_count || peer_id_compare(&contact->id, &mesh->inviter) == 0)
			continue;
		for (uint32_t i = 0; i < contact->address_count; i++)
			strs[i] = qmt_str(contact->addresses[i]);
		(void)QMT_TELL(ctx, self->peers, peers_dial, .peer_id = qmt_str(contact->peer), .scope = qmt_str(mesh->id),
			.addresses = {strs, contact->address_count});
	}
}

/* ---- contacts ---------------------------------------------------------------------------------------------------- */

struct contact *contact_find(struct admission *self, const struct mesh *mesh, struct qmt_str peer)
{
	for (struct contact *contact = self->contacts; contact; contact = contact->next)
		if (contact->mesh == mesh && qmt_str_is(peer, contact->peer))
			return contact;
	return NULL;
}

struct contact *contact_need(struct admission *self, struct mesh *mesh, struct qmt_str peer)
{
	struct contact *contact = contact_find(self, mesh, peer);
	uint32_t count = 0;
	struct peer_id id;

	if (contact || peer_id_parse(peer, &id, NULL) != 0 || peer_id_compare(&id, &self->config->identity->id) == 0)
		return contact;
	for (struct contact *other = self->contacts; other; other = other->next)
		count += other->mesh == mesh && peer_id_compare(&other->id, &mesh->inviter) != 0;
	if (count >= ADMISSION_CONTACTS && peer_id_compare(&id, &mesh->inviter) != 0)
		return NULL;
	contact = calloc(1, sizeof *contact);
	if (!contact)
		return NULL;
	contact->mesh = mesh;
	contact->id = id;
	peer_id_text(&id, contact->peer);
	contact->next = self->contacts;
	self->contacts = contact;
	return contact;
}

void contact_role(struct qmt_ctx *ctx, struct admission *self, struct contact *contact, uint8_t role, uint8_t granted,
	const char *cut)
{
	contact->role = role;
	contact->granted = granted;
	if (qmt_ref_is_set(self->peers))
		(void)QMT_TELL(ctx, self->peers, peers_role, .peer_id = qmt_str(contact->peer),
			.scope = qmt_str(contact->mesh->id), .role = role, .granted = granted, .cut = qmt_str(cut));
}

/* Of what a peer signed, so of any size. An hour at most: whoever waits looks at the wall clock again then, which may
 * have been set meanwhile. */
static uint64_t ms_until(struct qmt_ctx *ctx, uint64_t unix_seconds)
{
	uint64_t now_ms = qmt_wall_ms(ctx), now_s = now_ms / 1000;

	if (unix_seconds <= now_s)
		return 0;
	return unix_seconds - now_s > LOOK_AGAIN_MS / 1000 ? LOOK_AGAIN_MS : unix_seconds * 1000 - now_ms;
}

/* Until it has expired: the second of expires_at is its last. */
static uint64_t ms_left(struct qmt_ctx *ctx, const struct membership *membership)
{
	return membership->expires_at == UINT64_MAX ? LOOK_AGAIN_MS : ms_until(ctx, membership->expires_at + 1);
}

static void start_timer(struct qmt_ctx *ctx, uint64_t delay_ms, qmt_timer_fn *fn, void *arg, struct qmt_timer *timer)
{
	qmt_timer_cancel(ctx, timer);
	if (qmt_timer_start(ctx, delay_ms ? delay_ms : 1, fn, arg, timer) != 0)
		qmt_fail(ctx, "out of memory"); /* a membership that never ends is worse than a restart */
}

void contact_admit(
	struct qmt_ctx *ctx, struct admission *self, struct contact *contact, const struct membership *membership)
{
	bool was = contact->role != AUTHORITY_NONE;
	uint8_t granted = contact->granted;

	contact->has_membership = true;
	contact->membership = *membership;
	/* Whom this node has let in takes it for what it is: the inviter. */
	if (mesh_hosts(self, contact->mesh))
		granted = AUTHORITY_MEMBER;
	contact_role(ctx, self, contact, membership->client ? AUTHORITY_CLIENT : AUTHORITY_MEMBER, granted, "");
	if (membership->expires_at)
		start_timer(ctx, ms_left(ctx, membership), on_contact_due, contact, &contact->timer);
	else
		qmt_timer_cancel(ctx, &contact->timer);
	if (!was)
		QMT_LOG(ctx, QMT_INFO, "mesh.member", "mesh", contact->mesh->id, "peer", contact->peer, "role",
			membership->client ? "client" : "member");
}

static uint64_t show_ms(const struct admission *self)
{
	return self->config->show_ms ? self->config->show_ms : SHOW_MS;
}

/* Its membership has ended without a new one, or it has shown none. */
static void on_contact_due(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct contact *contact = arg;
	const char *why = contact->has_membership ? "its membership of the mesh has expired"
											  : "it showed no membership of the mesh that it named";

	contact->timer = (struct qmt_timer){0};
	if (contact->has_membership && ms_left(ctx, &contact->membership)) {
		start_timer(ctx, ms_left(ctx, &contact->membership), on_contact_due, contact, &contact->timer);
		return;
	}
	if (!contact->has_membership && contact->role != AUTHORITY_NONE)
		return;
	contact->has_membership = false;
	QMT_LOG(ctx, QMT_WARN, "mesh.cut", "mesh", contact->mesh->id, "peer", contact->peer, "reason", why);
	contact_role(ctx, state, contact, AUTHORITY_NONE, AUTHORITY_NONE, why);
}

void contact_addresses(struct qmt_ctx *ctx, struct admission *self, struct contact *contact,
	const struct qmt_str *addresses, uint32_t count)
{
	struct qmt_str strs[ADMISSION_ADDRESSES];
	struct qmt_ref store;
	uint32_t used = 0;
	char **copies;

	if (count == 0)
		return;
	copies = texts_copy(addresses, count, &used);
	if (!copies || used == 0 || texts_same(copies, used, contact->addresses, contact->address_count)) {
		texts_free(copies, used);
		return;
	}
	texts_free(contact->addresses, contact->address_count);
	contact->addresses = copies;
	contact->address_count = used;
	for (uint32_t i = 0; i < used; i++)
		strs[i] = qmt_str(copies[i]);
	if (!mesh_hosts(self, contact->mesh) && qmt_lookup(ctx, "store", &store) == 0)
		(void)QMT_TELL(ctx, store, store_addresses_put, .mesh = qmt_str(contact->mesh->id),
			.peer_id = qmt_str(contact->peer), .addresses = {strs, used});
}

static bool is_told(const struct contact *contact, const struct mesh *mesh, struct qmt_str except)
{
	return contact->mesh == mesh && contact->shared && contact->role != AUTHORITY_NONE && contact->address_count &&
		!qmt_str_is(except, contact->peer);
}

void told_members(struct admission *self, const struct mesh *mesh, struct qmt_str except, struct told *told)
{
	size_t count = 0, addresses = 0;
	struct qmt_str *at;

	for (const struct contact *contact = self->contacts; contact; contact = contact->next)
		if (is_told(contact, mesh, except)) {
			count++;
			addresses += contact->address_count;
		}
	if (!count)
		return;
	told->members = calloc(count, sizeof *told->members);
	told->strs = at = calloc(addresses, sizeof *told->strs);
	for (struct contact *contact = self->contacts; told->members && told->strs && contact; contact = contact->next) {
		if (!is_told(contact, mesh, except))
			continue;
		told->members[told->member_count++] =
			(struct admission_member){.peer_id = qmt_str(contact->peer), .addresses = {at, contact->address_count}};
		for (uint32_t i = 0; i < contact->address_count; i++)
			*at++ = qmt_str(contact->addresses[i]);
	}
}

void told_free(struct told *told)
{
	free(told->members);
	free(told->strs);
	free(told->proofs);
	free(told->room);
}

void mesh_tell_member(struct qmt_ctx *ctx, struct admission *self, const struct contact *contact)
{
	struct qmt_str strs[ADMISSION_ADDRESSES];
	struct admission_member member = {.peer_id = qmt_str(contact->peer)};

	if (!mesh_hosts(self, contact->mesh) || !contact->address_count)
		return;
	for (uint32_t i = 0; i < contact->address_count; i++)
		strs[i] = qmt_str(contact->addresses[i]);
	member.addresses.items = strs;
	member.addresses.count = contact->address_count;
	struct admission_members msg = {.mesh = qmt_str(contact->mesh->id), .members = {&member, 1}};
	for (struct contact *other = self->contacts; other; other = other->next)
		if (other != contact && other->mesh == contact->mesh && other->shared && other->role != AUTHORITY_NONE)
			(void)qmt_tell_name(ctx, other->peer, "admission", &admission_members_type, &msg);
}

void mesh_take_members(struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh,
	const struct admission_member *members, uint32_t count)
{
	for (uint32_t i = 0; i < count && i < ADMISSION_CONTACTS; i++) {
		struct contact *contact = contact_need(self, mesh, members[i].peer_id);

		if (contact)
			contact_addresses(ctx, self, contact, members[i].addresses.items, members[i].addresses.count);
	}
	mesh_dial(ctx, self, mesh);
}

void mesh_on_members(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct admission_members *msg = body;
	struct admission *self = state;
	struct mesh *mesh = mesh_find(self, msg->mesh);

	if (mesh && !mesh_hosts(self, mesh) && qmt_str_is(msg->origin, mesh->inviter_text))
		mesh_take_members(ctx, self, mesh, msg->members.items, msg->members.count);
}

/* ---- showing ----------------------------------------------------------------------------------------------------- */

static void send_revocations(struct qmt_ctx *ctx, struct admission *self, const struct mesh *mesh, const char *peer)
{
	struct told told = {0};

	told_revocations(self, mesh, &told);
	struct admission_revoked msg = {.mesh = qmt_str(mesh->id), .revocations = {told.proofs, told.proof_count}};
	if (told.proof_count)
		(void)qmt_tell_name(ctx, peer, "admission", &admission_revoked_type, &msg);
	told_free(&told);
}

/* Is it let in? 0: *ret_membership holds. <0 and *ret_over: it was revoked. */
static int judge(struct qmt_ctx *ctx, struct admission *self, const struct contact *contact, struct qmt_bytes bytes,
	struct membership *ret_membership, const struct revocation_row **ret_over, struct qmt_err *err)
{
	int rc = membership_decode(bytes, ret_membership, err);

	if (rc == 0)
		rc = membership_verify(
			ret_membership, qmt_str(contact->mesh->id), &contact->id, qmt_wall_ms(ctx) / 1000, err);
	if (rc == 0 && (*ret_over = revocation_that_ends(self, ret_membership)) != NULL)
		rc = qmt_err_set(err, -EACCES, "this membership was revoked");
	return rc;
}

static void shown(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct admission *self = state;
	struct op *op = arg;
	struct mesh *mesh = mesh_find(self, qmt_str(op->mesh));
	struct contact *contact = mesh ? contact_find(self, mesh, qmt_str(op->peer_text)) : NULL;
	const struct admission_shown *answer = result->fail ? NULL : result->body;
	const struct revocation_row *over = NULL;
	struct membership membership;
	struct qmt_err err = {0};

	op_end(op);
	if (!contact || !answer || !contact->shared)
		return; /* the link has ended: it is shown on the next one */
	if (answer->role != contact->granted && answer->role < AUTHORITY_OWNER && !mesh_hosts(self, mesh))
		contact_role(ctx, self, contact, contact->role, (uint8_t)answer->role, "");
	revocations_take(ctx, self, mesh, answer->revocations.items, answer->revocations.count, qmt_str(contact->peer));
	if (mesh->state != MESH_ACTIVE && !mesh_hosts(self, mesh))
		return;
	if (answer->membership.len && peer_id_compare(&contact->id, &mesh->inviter) != 0 &&
		judge(ctx, self, contact, answer->membership, &membership, &over, &err) == 0)
		contact_admit(ctx, self, contact, &membership);
	if (answer->count < revocations_of(self, mesh) && contact->role != AUTHORITY_NONE)
		send_revocations(ctx, self, mesh, contact->peer);
	if (!qmt_str_is(qmt_str(contact->peer), mesh->inviter_text))
		return;
	if (answer->role == AUTHORITY_NONE) /* by its clock it has expired, say: it may give another one, or says why not */
		join_ask(ctx, self, contact);
	mesh_take_members(ctx, self, mesh, answer->members.items, answer->members.count);
}

static void show(struct qmt_ctx *ctx, struct admission *self, struct contact *contact)
{
	struct op *op = op_raw(self);
	const struct mesh *mesh = contact->mesh;
	uint8_t bytes[MEMBERSHIP_BYTES];
	struct admission_show msg = {.mesh = qmt_str(mesh->id),
		.addresses = {self->address_strs, self->address_count},
		.revocations = revocations_of(self, mesh)};

	if (mesh->has_membership)
		msg.membership = (struct qmt_bytes){bytes, membership_encode(&mesh->membership, bytes)};
	if (!op)
		return;
	memcpy(op->mesh, mesh->id, sizeof op->mesh);
	memcpy(op->peer_text, contact->peer, sizeof op->peer_text);
	if (qmt_ask_name(ctx, contact->peer, "admission", &admission_show_type, &msg, ADMISSION_PEER_MS, shown, op) != 0)
		op_end(op);
}

void contact_meet(struct qmt_ctx *ctx, struct admission *self, struct contact *contact)
{
	struct mesh *mesh = contact->mesh;
	bool is_inviter = peer_id_compare(&contact->id, &mesh->inviter) == 0;

	if (!contact->shared || mesh->state == MESH_REFUSED || mesh->state == MESH_REVOKED)
		return;
	if (is_inviter)
		contact_role(
			ctx, self, contact, mesh->state == MESH_ACTIVE ? AUTHORITY_MEMBER : AUTHORITY_NONE, contact->granted, "");
	else if (!contact->has_membership)
		start_timer(ctx, show_ms(self), on_contact_due, contact, &contact->timer);
	if (is_inviter && mesh->state != MESH_ACTIVE)
		join_ask(ctx, self, contact);
	else if (mesh->state == MESH_ACTIVE || mesh_hosts(self, mesh))
		show(ctx, self, contact);
}

void mesh_on_show(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct admission_show *msg = body;
	struct admission *self = state;
	struct mesh *mesh = mesh_find(self, msg->mesh);
	struct admission_shown answer = {.role = AUTHORITY_NONE};
	struct told told = {0};
	const struct revocation_row *over = NULL;
	struct admission_proof proof;
	uint8_t bytes[REVOCATION_BYTES], own[MEMBERSHIP_BYTES];
	struct membership membership;
	struct contact *contact;
	struct qmt_err err = {0};
	bool in = mesh && (mesh->state == MESH_ACTIVE || mesh_hosts(self, mesh));

	contact = in && msg->origin.len ? contact_need(self, mesh, msg->origin) : NULL;
	if (!contact) { /* of a mesh that this node is not in, nothing is said */
		(void)qmt_reply(ctx, qmt_token(ctx), &admission_shown_type, &answer);
		return;
	}
	if (peer_id_compare(&contact->id, &mesh->inviter) == 0) {
		contact_role(ctx, self, contact, AUTHORITY_MEMBER, contact->granted, "");
		answer.role = AUTHORITY_MEMBER;
	} else if (judge(ctx, self, contact, msg->membership, &membership, &over, &err) == 0) {
		bool is_new = contact->role == AUTHORITY_NONE;
		contact_addresses(ctx, self, contact, msg->addresses.items, msg->addresses.count);
		contact_admit(ctx, self, contact, &membership);
		answer.role = contact->role;
		if (is_new)
			mesh_tell_member(ctx, self, contact);
	} else {
		QMT_LOG(ctx, QMT_WARN, "mesh.refused", "mesh", mesh->id, "peer", contact->peer, "reason", err.text);
		if (contact->has_membership)
			start_timer(ctx, show_ms(self), on_contact_due, contact, &contact->timer);
		contact->has_membership = false;
		contact_role(ctx, self, contact, AUTHORITY_NONE, contact->granted, "");
		if (over) { /* so that it knows, and asks no more; of others it hears nothing */
			proof.proof = (struct qmt_bytes){bytes, revocation_encode(&over->revocation, bytes)};
			answer.revocations.items = &proof;
			answer.revocations.count = 1;
		}
	}
	if (answer.role != AUTHORITY_NONE) {
		if (mesh->has_membership)
			answer.membership = (struct qmt_bytes){own, membership_encode(&mesh->membership, own)};
		answer.count = revocations_of(self, mesh);
		if (answer.count != msg->revocations)
			told_revocations(self, mesh, &told);
		if (mesh_hosts(self, mesh))
			told_members(self, mesh, msg->origin, &told);
		answer.revocations.items = told.proofs;
		answer.revocations.count = told.proof_count;
		answer.members.items = told.members;
		answer.members.count = told.member_count;
	}
	(void)qmt_reply(ctx, qmt_token(ctx), &admission_shown_type, &answer);
	told_free(&told);
	/* It may have come to the mesh after this node had shown. */
	if (answer.role != AUTHORITY_NONE && contact->granted == AUTHORITY_NONE && contact->shared &&
		mesh->state == MESH_ACTIVE && peer_id_compare(&contact->id, &mesh->inviter) != 0)
		show(ctx, self, contact);
}

void mesh_on_leave(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct admission_leave *msg = body;
	struct admission *self = state;
	struct mesh *mesh = mesh_find(self, msg->mesh);
	struct contact *contact = mesh ? contact_find(self, mesh, msg->origin) : NULL;

	if (!contact)
		return;
	QMT_LOG(ctx, QMT_INFO, "mesh.left", "mesh", mesh->id, "peer", contact->peer);
	qmt_timer_cancel(ctx, &contact->timer);
	contact->has_membership = false; /* the scope stays shared: it may join again over this link */
	contact->addresses = texts_free(contact->addresses, contact->address_count);
	contact->address_count = 0;
	contact_role(ctx, self, contact, AUTHORITY_NONE, AUTHORITY_NONE, "it left the mesh");
	if (qmt_ref_is_set(self->peers) && !mesh_hosts(self, mesh))
		(void)QMT_TELL(ctx, self->peers, peers_undial, .peer_id = qmt_str(contact->peer), .scope = qmt_str(mesh->id));
	if (!contact->shared)
		contact_free(ctx, self, contact);
}

/* ---- own membership ---------------------------------------------------------------------------------------------- */

static void on_renew(struct qmt_ctx *ctx, void *state, void *arg);

static uint64_t half_of(const struct membership *m)
{
	return m->issued_at < m->expires_at ? m->issued_at + (m->expires_at - m->issued_at) / 2 : m->expires_at;
}

/* At half of its time, and some times between that and its end. Never at once: by a clock that differs from the
 * inviter's each new one may be past its half, and would be asked for without a pause. */
static void renew_later(struct qmt_ctx *ctx, struct mesh *mesh)
{
	uint64_t until_half = ms_until(ctx, half_of(&mesh->membership)), delay = ms_left(ctx, &mesh->membership) / 8;

	delay = delay < RENEW_MIN_MS ? RENEW_MIN_MS : delay;
	start_timer(ctx, delay < until_half ? until_half : delay, on_renew, mesh, &mesh->renew);
}

void mesh_ask_on(struct qmt_ctx *ctx, struct mesh *mesh)
{
	if (mesh->has_membership && mesh->membership.expires_at)
		renew_later(ctx, mesh);
}

static void on_renew(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct admission *self = state;
	struct mesh *mesh = arg;
	struct contact *host = contact_find(self, mesh, qmt_str(mesh->inviter_text));

	mesh->renew = (struct qmt_timer){0};
	if (host && host->shared && ms_until(ctx, half_of(&mesh->membership)) == 0)
		join_ask(ctx, self, host);
	renew_later(ctx, mesh); /* whatever comes of it: until there is a new one it is asked again */
}

static void on_expiry(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct admission *self = state;
	struct mesh *mesh = arg;

	mesh->expiry = (struct qmt_timer){0};
	if (ms_left(ctx, &mesh->membership)) {
		start_timer(ctx, ms_left(ctx, &mesh->membership), on_expiry, mesh, &mesh->expiry);
		return;
	}
	qmt_timer_cancel(ctx, &mesh->renew);
	mesh->state = MESH_EXPIRED;
	mesh->has_membership = false;
	qmt_text(mesh->text, sizeof mesh->text,
		"the membership has expired, and its inviter was not there to renew it; it is asked when it is back");
	QMT_LOG(ctx, QMT_ERROR, "mesh.expired", "mesh", mesh->id, "reason", mesh->text);
	mesh_end_roles(ctx, self, mesh, "the membership of the mesh has expired");
}

void mesh_end_roles(struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh, const char *why)
{
	for (struct contact *contact = self->contacts; contact; contact = contact->next) {
		if (contact->mesh != mesh)
			continue;
		qmt_timer_cancel(ctx, &contact->timer);
		contact->has_membership = false;
		contact_role(ctx, self, contact, AUTHORITY_NONE, AUTHORITY_NONE, why);
	}
}

void mesh_start_membership(struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh)
{
	const struct membership *m = &mesh->membership;

	qmt_timer_cancel(ctx, &mesh->renew);
	qmt_timer_cancel(ctx, &mesh->expiry);
	mesh->state = MESH_ACTIVE;
	mesh->text[0] = '\0';
	if (m->expires_at) {
		renew_later(ctx, mesh);
		start_timer(ctx, ms_left(ctx, m), on_expiry, mesh, &mesh->expiry);
	}
	for (struct contact *contact = self->contacts; contact; contact = contact->next)
		if (contact->mesh == mesh)
			contact_meet(ctx, self, contact);
}

/* ---- links ------------------------------------------------------------------------------------------------------- */

void mesh_on_shared(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_shared *msg = body;
	struct admission *self = state;

	for (uint32_t i = 0; i < msg->scopes.count; i++) {
		struct mesh *mesh = mesh_find(self, msg->scopes.items[i]);
		struct contact *contact = mesh ? contact_need(self, mesh, msg->peer_id) : NULL;

		if (!contact)
			continue;
		contact->shared = true;
		contact_meet(ctx, self, contact);
	}
}

void mesh_on_peer_down(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_down *msg = body;
	struct admission *self = state;

	for (struct contact *contact = self->contacts, *next; contact; contact = next) {
		next = contact->next;
		if (!qmt_str_is(msg->peer.peer_id, contact->peer))
			continue;
		qmt_timer_cancel(ctx, &contact->timer);
		contact->shared = contact->has_membership = false;
		contact->role = contact->granted = AUTHORITY_NONE;
		contact->mesh->renewing = false;
		if (!contact->address_count)
			contact_free(ctx, self, contact);
	}
}

static void announced(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)state;
	(void)arg;
	if (result->fail)
		QMT_LOG(ctx, QMT_ERROR, "admission.deaf", "reason", qmt_fail_name(result->fail));
}

static void take_address(struct admission *self, struct qmt_str text)
{
	if (self->address_count == ADMISSION_ADDRESSES || text.len >= MULTIADDR_TEXT)
		return;
	memcpy(self->addresses[self->address_count], text.p, text.len);
	self->addresses[self->address_count][text.len] = '\0';
	self->address_strs[self->address_count] = qmt_str(self->addresses[self->address_count]);
	self->address_count++;
}

/* Own addresses are known: now others may be met. */
static void on_addresses(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct admission *self = state;
	const struct peers_list_reply *list = result->fail ? NULL : result->body;

	(void)arg;
	self->address_count = 0;
	for (uint32_t i = 0; i < self->config->advertised_count; i++)
		take_address(self, self->config->advertised[i]);
	for (uint32_t i = 0; list && !self->config->advertised_count && i < list->listen_addresses.count; i++)
		take_address(self, list->listen_addresses.items[i]);
	mesh_tell_scopes(ctx, self);
	qmt_ask_or(ctx, self->peers, &peers_subscribe_type, &(struct peers_subscribe){.watcher = qmt_self(ctx)},
		ADMISSION_LOCAL_MS, announced, NULL);
	for (struct mesh *mesh = self->meshes; mesh; mesh = mesh->next)
		mesh_dial(ctx, self, mesh);
}

static void announce(struct qmt_ctx *ctx, struct admission *self)
{
	if (self->loaded && qmt_ref_is_set(self->peers))
		qmt_ask_or(ctx, self->peers, &peers_list_type, &(struct peers_list){}, ADMISSION_LOCAL_MS, on_addresses, NULL);
}

void mesh_on_links_start(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct admission *self = state;

	(void)body;
	for (struct contact *contact = self->contacts; contact; contact = contact->next) {
		qmt_timer_cancel(ctx, &contact->timer);
		contact->shared = contact->has_membership = false;
		contact->role = contact->granted = AUTHORITY_NONE;
	}
	if (qmt_lookup(ctx, "peers", &self->peers) == 0)
		announce(ctx, self);
}

/* ---- from the store ---------------------------------------------------------------------------------------------- */

static void on_reload(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct admission *self = state;

	(void)arg;
	self->reload = (struct qmt_timer){0};
	mesh_load(ctx, self);
}

static void load_joined(struct qmt_ctx *ctx, struct admission *self, const struct store_mesh *row)
{
	struct mesh *mesh = mesh_find(self, row->mesh) ? NULL : mesh_new(self, row->mesh);

	if (!mesh || row->token.len > INVITE_TOKEN) {
		QMT_LOG(ctx, QMT_WARN, "mesh.skipped", "reason", "a stored mesh is damaged, or one too many");
		return;
	}
	memcpy(mesh->token, row->token.p, row->token.len);
	mesh->joined_ms = row->joined_ms;
	if (qmt_str_is(row->state, "revoked"))
		mesh->state = MESH_REVOKED;
	else if (row->membership.len && membership_decode(row->membership, &mesh->membership, NULL) == 0 &&
		membership_verify(
			&mesh->membership, qmt_str(mesh->id), &self->config->identity->id, qmt_wall_ms(ctx) / 1000, NULL) == 0)
		mesh->has_membership = true;
}

static void loaded(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct admission *self = state;
	const struct store_mesh_list_reply *all = result->body;

	(void)arg;
	if (result->fail || result->type != &store_mesh_list_reply_type) {
		char why[200];
		qmt_text(why, sizeof why, "the store does not tell which meshes there are: %.*s", QMT_STR_ARG(result->text));
		QMT_LOG(ctx, QMT_WARN, "admission.waiting", "reason", why);
		start_timer(ctx, RELOAD_MS, on_reload, NULL, &self->reload);
		return;
	}
	for (uint32_t i = 0; i < all->joined.count; i++)
		load_joined(ctx, self, &all->joined.items[i]);
	for (uint32_t i = 0; i < all->hosted.count; i++)
		if (!mesh_find(self, all->hosted.items[i]))
			(void)mesh_new(self, all->hosted.items[i]);
	for (uint32_t i = 0; i < all->addresses.count; i++) {
		const struct store_address *row = &all->addresses.items[i];
		struct mesh *mesh = mesh_find(self, row->mesh);
		bool of_inviter = mesh && qmt_str_is(row->peer_id, mesh->inviter_text);
		struct contact *contact = mesh && !of_inviter ? contact_need(self, mesh, row->peer_id) : NULL;
		char ***to = of_inviter ? &mesh->addresses : contact ? &contact->addresses : NULL;
		uint32_t *count = of_inviter ? &mesh->address_count : contact ? &contact->address_count : NULL;

		if (!to || *count >= ADMISSION_ADDRESSES)
			continue;
		if (!*to)
			*to = calloc(ADMISSION_ADDRESSES, sizeof **to);
		if (*to && ((*to)[*count] = qmt_str_dup(row->address)) != NULL)
			++*count;
	}
	revocations_load(ctx, self, all->revocations.items, all->revocations.count);
	self->loaded = true;
	for (struct mesh *mesh = self->meshes; mesh; mesh = mesh->next) {
		if (mesh->has_membership && revocation_that_ends(self, &mesh->membership))
			mesh->state = MESH_REVOKED;
		else if (mesh->has_membership && mesh->state == MESH_JOINING)
			mesh_start_membership(ctx, self, mesh);
	}
	announce(ctx, self);
	join_early(ctx, self);
}

void mesh_load(struct qmt_ctx *ctx, struct admission *self)
{
	struct qmt_ref store;

	peer_id_text(&self->config->identity->id, self->self_text);
	if (qmt_lookup(ctx, "store", &store) != 0)
		store = (struct qmt_ref){0};
	if (qmt_lookup(ctx, "peers", &self->peers) != 0)
		self->peers = (struct qmt_ref){0}; /* it says when it starts; in a restart of this actor it is there */
	qmt_ask_or(ctx, store, &store_mesh_list_type, &(struct store_mesh_list){}, ADMISSION_LOCAL_MS, loaded, NULL);
}

void mesh_stop(struct qmt_ctx *ctx, struct admission *self)
{
	while (self->meshes) {
		struct mesh *mesh = self->meshes;

		while (mesh->joiners) {
			struct joiner *joiner = mesh->joiners;

			mesh->joiners = joiner->next;
			free(joiner);
		}
		mesh_free(ctx, self, mesh);
	}
	while (self->revocations) {
		struct revocation_row *row = self->revocations;

		self->revocations = row->next;
		free(row);
	}
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

static const char *const state_names[] = {[MESH_HOSTED] = "hosted",
	[MESH_JOINING] = "joining",
	[MESH_ACTIVE] = "active",
	[MESH_EXPIRED] = "expired",
	[MESH_REFUSED] = "refused",
	[MESH_REVOKED] = "revoked"};

void mesh_on_list(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct admission *self = state;
	struct admission_mesh rows[ADMISSION_MESHES_MAX];
	uint32_t count = 0;

	(void)body;
	for (struct mesh *mesh = self->meshes; mesh; mesh = mesh->next) {
		struct admission_mesh *row = &rows[count++];

		*row = (struct admission_mesh){.mesh = qmt_str(mesh->id),
			.state = qmt_str(state_names[mesh->state]),
			.expires_at = mesh->has_membership ? mesh->membership.expires_at : 0,
			.text = qmt_str(mesh->text)};
		if (mesh_hosts(self, mesh))
			row->role = qmt_str("host");
		else if (mesh->has_membership)
			row->role = qmt_str(mesh->membership.client ? "client" : "member");
		for (struct contact *contact = self->contacts; contact; contact = contact->next)
			row->members += contact->mesh == mesh && contact->shared && contact->role != AUTHORITY_NONE;
	}
	(void)QMT_REPLY(ctx, qmt_token(ctx), admission_meshes, .meshes = {rows, count});
}
