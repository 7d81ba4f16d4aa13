/* actors/admission/admission_revoke.c - who is out: decided by the inviter, signed, told to everybody, kept for ever.
 *
 * The inviter writes it to its store, cuts at once and tells the members that are linked; each verifies the signature,
 * keeps it, cuts and passes it on. Two that meet compare how many they know and, when that differs, exchange them.
 * What is known already is not passed on again, so it ends.
 */
#include <errno.h>

#include "actors/admission/admission_internal.h"

uint32_t revocations_of(const struct admission *self, const struct mesh *mesh)
{
	uint32_t count = 0;

	for (const struct revocation_row *row = self->revocations; row; row = row->next)
		count += strcmp(row->revocation.mesh_id, mesh->id) == 0;
	return count;
}

void told_revocations(const struct admission *self, const struct mesh *mesh, struct told *told)
{
	uint32_t count = revocations_of(self, mesh), at = 0;

	if (!count)
		return;
	told->proofs = calloc(count, sizeof *told->proofs);
	told->room = calloc(count, sizeof *told->room);
	for (const struct revocation_row *row = self->revocations; told->proofs && told->room && row; row = row->next)
		if (strcmp(row->revocation.mesh_id, mesh->id) == 0) {
			told->proofs[at].proof =
				(struct qmt_bytes){told->room[at], revocation_encode(&row->revocation, told->room[at])};
			at++;
		}
	told->proof_count = at;
}

const struct revocation_row *revocation_that_ends(const struct admission *self, const struct membership *membership)
{
	for (const struct revocation_row *row = self->revocations; row; row = row->next)
		if (revocation_covers(&row->revocation, membership))
			return row;
	return NULL;
}

static bool is_known(const struct admission *self, const struct revocation *revocation)
{
	for (const struct revocation_row *row = self->revocations; row; row = row->next)
		if (row->revocation.of_invite == revocation->of_invite &&
			strcmp(row->revocation.subject, revocation->subject) == 0 &&
			strcmp(row->revocation.mesh_id, revocation->mesh_id) == 0)
			return true;
	return false;
}

bool revocations_full(const struct admission *self, const char *mesh)
{
	uint32_t count = 0;

	for (const struct revocation_row *row = self->revocations; row; row = row->next)
		count += strcmp(row->revocation.mesh_id, mesh) == 0;
	return count >= ADMISSION_REVOCATIONS;
}

static bool keep(struct admission *self, const struct revocation *revocation)
{
	struct revocation_row *row = revocations_full(self, revocation->mesh_id) ? NULL : calloc(1, sizeof *row);

	if (!row)
		return false;
	row->revocation = *revocation;
	row->next = self->revocations;
	self->revocations = row;
	return true;
}

static void noted(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)state;
	(void)arg;
	if (result->fail)
		QMT_LOG(ctx, QMT_ERROR, "mesh.not_noted", "reason", qmt_fail_name(result->fail), "note",
			"a revocation holds until the restart of this node, and is heard again afterwards");
}

static void store_it(
	struct qmt_ctx *ctx, const struct revocation *revocation, const char *text, qmt_continuation *then, void *arg)
{
	uint8_t bytes[REVOCATION_BYTES];
	struct store_revocation_add msg = {.revocation = {.mesh = qmt_str(revocation->mesh_id),
										   .kind = qmt_str(revocation->of_invite ? "invite" : "peer"),
										   .subject = qmt_str(revocation->subject),
										   .revoked_at = revocation->at,
										   .proof = {bytes, revocation_encode(revocation, bytes)}},
		.text = qmt_str(text)};
	struct qmt_ref store;

	if (qmt_lookup(ctx, "store", &store) != 0)
		store = (struct qmt_ref){0};
	qmt_ask_or(ctx, store, &store_revocation_add_type, &msg, ADMISSION_LOCAL_MS, then, arg);
}

/* This node is out of a mesh, until it is told to join again. */
static void drop_out(struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh, const char *why)
{
	mesh->state = MESH_REVOKED;
	mesh->has_membership = mesh->renewing = false;
	qmt_text(mesh->text, sizeof mesh->text, "%s", why);
	QMT_LOG(ctx, QMT_ERROR, "mesh.out", "mesh", mesh->id, "reason", mesh->text);
	qmt_timer_cancel(ctx, &mesh->renew);
	qmt_timer_cancel(ctx, &mesh->expiry);
	mesh_store(ctx, mesh);
	if (qmt_ref_is_set(self->peers))
		(void)QMT_TELL(ctx, self->peers, peers_undial, .scope = qmt_str(mesh->id));
	mesh_end_roles(ctx, self, mesh, mesh->text);
	mesh_tell_scopes(ctx, self);
	join_end_waits(ctx, mesh, QMT_FAIL_NOT_ALLOWED, mesh->text);
}

/* Whom it means is out, on all links of this node; if that is this node itself, it is out of the mesh. */
static void act(struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh, const struct revocation *revocation)
{
	static const char why[] = "its membership of the mesh was revoked";
	bool me = mesh->has_membership && revocation_covers(revocation, &mesh->membership);

	me = me || (!revocation->of_invite && strcmp(revocation->subject, self->self_text) == 0);
	QMT_LOG(ctx, QMT_WARN, "mesh.revoked", "mesh", mesh->id, revocation->of_invite ? "invite" : "peer",
		revocation->subject);
	for (struct contact *contact = self->contacts; contact && !me; contact = contact->next) {
		bool hit = contact->mesh == mesh &&
			(contact->has_membership ? revocation_covers(revocation, &contact->membership)
									 : !revocation->of_invite && strcmp(revocation->subject, contact->peer) == 0);
		if (!hit)
			continue;
		qmt_timer_cancel(ctx, &contact->timer);
		contact->has_membership = false;
		contact_role(ctx, self, contact, AUTHORITY_NONE, AUTHORITY_NONE, why);
		if (qmt_ref_is_set(self->peers) && !mesh_hosts(self, mesh))
			(void)QMT_TELL(
				ctx, self->peers, peers_undial, .peer_id = qmt_str(contact->peer), .scope = qmt_str(mesh->id));
	}
	if (me && !mesh_hosts(self, mesh))
		drop_out(ctx, self, mesh, "its inviter revoked this node's membership");
}

/* To all members that are linked, also to whom it is about, so that it knows why; `act` comes behind it. */
static uint32_t pass_on(struct qmt_ctx *ctx, struct admission *self, const struct mesh *mesh,
	const struct revocation *revocation, struct qmt_str except)
{
	uint8_t bytes[REVOCATION_BYTES];
	struct admission_proof proof = {.proof = {bytes, revocation_encode(revocation, bytes)}};
	struct admission_revoked msg = {.mesh = qmt_str(mesh->id), .revocations = {&proof, 1}};
	uint32_t told = 0;

	for (struct contact *contact = self->contacts; contact; contact = contact->next)
		if (contact->mesh == mesh && contact->shared && contact->role != AUTHORITY_NONE &&
			!qmt_str_is(except, contact->peer))
			told += qmt_tell_name(ctx, contact->peer, "admission", &admission_revoked_type, &msg) == 0;
	return told;
}

void revocations_take(struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh,
	const struct admission_proof *proofs, uint32_t count, struct qmt_str from)
{
	for (uint32_t i = 0; i < count && i < ADMISSION_REVOCATIONS; i++) {
		struct revocation revocation;
		struct qmt_err err = {0};

		if (revocation_decode(proofs[i].proof, &revocation, &err) != 0 || strcmp(revocation.mesh_id, mesh->id) != 0 ||
			!revocation_verify(&revocation)) {
			QMT_LOG(ctx, QMT_WARN, "mesh.hostile", "mesh", mesh->id, "reason",
				err.text[0] ? err.text : "a revocation that the mesh's inviter did not sign");
			return;
		}
		if (is_known(self, &revocation))
			continue;
		if (!keep(self, &revocation)) {
			/* Who cannot remember who is out must not let anybody in. */
			drop_out(ctx, self, mesh,
				revocations_full(self, mesh->id) ? "its inviter has revoked more than this node can keep"
												 : "out of memory for what its inviter revoked");
			return;
		}
		store_it(ctx, &revocation, "heard from a member", noted, NULL);
		(void)pass_on(ctx, self, mesh, &revocation, from);
		act(ctx, self, mesh, &revocation);
	}
}

void revoke_on_revoked(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct admission_revoked *msg = body;
	struct admission *self = state;
	struct mesh *mesh = mesh_find(self, msg->mesh);
	struct contact *from = mesh ? contact_find(self, mesh, msg->origin) : NULL;

	if (from && from->role != AUTHORITY_NONE) /* signatures cost: a stranger's are not looked at */
		revocations_take(ctx, self, mesh, msg->revocations.items, msg->revocations.count, msg->origin);
}

/* ---- by this node's owner ---------------------------------------------------------------------------------------- */

static struct revocation made(
	struct qmt_ctx *ctx, const struct admission *self, const struct mesh *mesh, bool of_invite, struct qmt_str subject)
{
	struct revocation revocation = {.of_invite = of_invite, .at = qmt_wall_ms(ctx) / 1000};

	memcpy(revocation.mesh_id, mesh->id, strlen(mesh->id));
	revocation.mesh_id_len = (uint16_t)strlen(mesh->id);
	qmt_text(revocation.subject, sizeof revocation.subject, "%.*s", QMT_STR_ARG(subject));
	revocation_sign(self->config->identity, &revocation);
	return revocation;
}

void revoke_invite(struct qmt_ctx *ctx, struct admission *self, const struct store_invite *invite)
{
	struct mesh *mesh = mesh_find(self, invite->mesh);
	struct revocation revocation;

	if (!mesh || !mesh_hosts(self, mesh) || !invite->uses) /* nobody came by it */
		return;
	revocation = made(ctx, self, mesh, true, invite->id);
	if (is_known(self, &revocation))
		return;
	if (!keep(self, &revocation)) /* the store has it, and lets nobody in; those that are there go now */
		QMT_LOG(ctx, QMT_ERROR, "mesh.full", "mesh", mesh->id, "reason",
			"no more revocations can be kept: those who came by this invite may be let in by others until their "
			"memberships end");
	store_it(ctx, &revocation, "by qmt invite revoke", noted, NULL);
	(void)pass_on(ctx, self, mesh, &revocation, (struct qmt_str){0});
	act(ctx, self, mesh, &revocation);
}

static void revoked(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct admission *self = state;
	struct op *revoking = arg, *op = revoking->of;
	struct mesh *mesh = mesh_find(self, qmt_str(revoking->revocation.mesh_id));

	if (result->fail && !op->failed) {
		op->failed = true;
		(void)qmt_reply_fail(ctx, op->token, result->fail, NULL, 0,
			"%.*s%sthe store did not say that it has noted it: it holds now, and must be said again to hold after a "
			"restart",
			QMT_STR_ARG(result->text), result->text.len ? "; " : "");
	}
	/* Also without an answer: the store may have it, and who is to go must not stay because of that. */
	if (mesh) {
		op->meshes++;
		if (!is_known(self, &revoking->revocation) && !keep(self, &revoking->revocation))
			QMT_LOG(ctx, QMT_ERROR, "mesh.full", "mesh", mesh->id, "reason", "no memory for a revocation");
		op->told += pass_on(ctx, self, mesh, &revoking->revocation, (struct qmt_str){0});
		act(ctx, self, mesh, &revoking->revocation);
	}
	op_end(revoking);
	if (--op->waits)
		return;
	if (!op->failed)
		(void)QMT_REPLY(ctx, op->token, admission_mesh_revoked, .meshes = op->meshes, .told = op->told);
	op_end(op);
}

void revoke_on_mesh_revoke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct admission_mesh_revoke *msg = body;
	struct admission *self = state;
	struct mesh *only = msg->mesh.len ? mesh_called(self, msg->mesh) : NULL;
	struct peer_id id;
	struct qmt_err err = {0};
	struct op *op = NULL;

	if (peer_id_parse(msg->peer_id, &id, &err) != 0)
		qmt_err_set(&err, -EINVAL, "\"%.*s\" is no PeerId (qmt peers)", QMT_STR_ARG(msg->peer_id));
	else if (peer_id_compare(&id, &self->config->identity->id) == 0)
		qmt_err_set(&err, -EINVAL, "that is this node itself");
	else if (msg->mesh.len && (!only || !mesh_hosts(self, only)))
		qmt_err_set(&err, -EINVAL, "this node has no mesh of that name: only an inviter can revoke (qmt meshes)");
	else if (!self->loaded)
		qmt_err_set(&err, -EAGAIN, "the store has not told yet which meshes there are: try again");
	for (struct mesh *mesh = self->meshes; mesh && !err.code; mesh = mesh->next)
		if (mesh_hosts(self, mesh) && (!only || mesh == only) && revocations_full(self, mesh->id))
			qmt_err_set(&err, -ENOSPC,
				"%s has %d revocations, which are the most: make a new mesh (qmt invite create --name) for those that "
				"stay",
				mesh->id, ADMISSION_REVOCATIONS);
	if (err.code)
		(void)qmt_reply_fail(ctx, qmt_token(ctx), err.code == -EAGAIN ? QMT_FAIL_FAILED : QMT_FAIL_BAD_REQUEST, NULL, 0,
			"%s", err.text);
	else
		op = op_new(ctx, self);
	if (!op)
		return;
	op->waits = 1;
	for (struct mesh *mesh = self->meshes; mesh; mesh = mesh->next) {
		struct op *revoking;

		if (!mesh_hosts(self, mesh) || (only && mesh != only))
			continue;
		revoking = op_raw(self);
		if (!revoking) {
			op->failed = true;
			(void)qmt_reply_fail(ctx, op->token, QMT_FAIL_FAILED, NULL, 0, "out of memory");
			break;
		}
		revoking->of = op;
		revoking->revocation = made(ctx, self, mesh, false, msg->peer_id);
		op->waits++;
		store_it(ctx, &revoking->revocation, "by qmt mesh revoke", revoked, revoking);
	}
	if (--op->waits == 0) {
		if (!op->failed)
			(void)qmt_reply_fail(
				ctx, op->token, QMT_FAIL_NOT_FOUND, NULL, 0, "this node has no mesh: nobody was let in");
		op_end(op);
	}
}

/* ---- from the store ---------------------------------------------------------------------------------------------- */

void revocations_load(struct qmt_ctx *ctx, struct admission *self, const struct store_revocation *rows, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct mesh *mesh = mesh_find(self, rows[i].mesh);
		struct revocation revocation;
		bool unsigned_yet = rows[i].proof.len == 0;

		if (!mesh)
			continue;
		if (unsigned_yet && mesh_hosts(self, mesh)) { /* the process ended between the word and its signature */
			revocation = made(ctx, self, mesh, qmt_str_is(rows[i].kind, "invite"), rows[i].subject);
		} else if (revocation_decode(rows[i].proof, &revocation, NULL) != 0 || !revocation_verify(&revocation)) {
			QMT_LOG(ctx, QMT_ERROR, "mesh.damaged", "mesh", mesh->id, "reason",
				"a stored revocation is damaged: whom it means is let in until another member tells of it");
			continue;
		}
		if (is_known(self, &revocation))
			continue;
		if (!keep(self, &revocation)) {
			QMT_LOG(ctx, QMT_ERROR, "mesh.full", "mesh", mesh->id, "reason", "not all revocations can be kept");
			if (!mesh_hosts(self, mesh))
				mesh->state = MESH_REVOKED; /* it could not tell who is out */
			continue;
		}
		if (unsigned_yet)
			store_it(ctx, &revocation, "by qmt invite revoke", noted, NULL);
	}
}
