/* actors/admission/admission_join.c - coming into a mesh: both sides of `admission.join`, `qmt join` and `qmt leave`.
 *
 *   the joiner:  token verified offline -> noted in the store as joining -> scope offered, inviter dialed -> (a link
 *                shares the scope) -> asks join -> membership verified -> noted -> shown to whoever is there
 *   the host:    its own signature on the grant -> one transaction of the store looks, counts and notes -> signs a
 *                membership for the PeerId that the link has proven
 *
 * A refusal is final, until somebody asks again: nothing is gained by asking every second for what was denied. A host
 * that cannot be reached is dialed for ever.
 */
#include <errno.h>

#include "actors/admission/admission_internal.h"
#include "proto/utf8.h"

enum { LIFETIME_S = 7 * 86400, JOIN_WAIT_MS = 15000, JOIN_AGAIN_MS = 1000 };

/* ---- the host ---------------------------------------------------------------------------------------------------- */

static const char *words_of(struct qmt_str outcome)
{
	static const struct {
		const char *outcome, *words;
	} all[] = {
		{"unknown", "its inviter does not know this invite (any more)"},
		{"blocked", "its inviter has blocked this node"},
		{"revoked", "the invite, or this node's membership, was revoked"},
		{"expired", "the invite has expired"},
		{"used_up", "the invite is used up: all its uses are spent by other nodes"},
		{"invalid", "its inviter did not sign this invite"},
	};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (qmt_str_is(outcome, all[i].outcome))
			return all[i].words;
	return "its inviter refused";
}

static void tell_joined(struct qmt_ctx *ctx, struct admission *self, const struct op *op,
	const struct store_admitted *admitted, const struct membership *membership, struct mesh *mesh)
{
	struct told told = {0};
	uint8_t bytes[MEMBERSHIP_BYTES];
	struct admission_joined answer = {.outcome = admitted->outcome};

	if (membership)
		answer.membership = (struct qmt_bytes){bytes, membership_encode(membership, bytes)};
	if (mesh) {
		told_members(self, mesh, qmt_str(op->peer_text), &told);
		told_revocations(self, mesh, &told);
		answer.members.items = told.members;
		answer.members.count = told.member_count;
		answer.revocations.items = told.proofs;
		answer.revocations.count = told.proof_count;
	}
	if (!membership)
		answer.text = qmt_str(words_of(admitted->outcome));
	(void)qmt_reply(ctx, op->token, &admission_joined_type, &answer);
	told_free(&told);
}

static void admitted(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct admission *self = state;
	struct op *op = op_;
	const struct store_admitted *admitted = result->body;
	char id[MESH_ID];
	struct membership membership = {0};
	struct contact *contact;
	struct mesh *mesh;

	if (result->fail || !admitted->admitted) {
		if (result->fail)
			(void)qmt_reply_result(ctx, op->token, result);
		else
			tell_joined(ctx, self, op, admitted, NULL, NULL);
		if (!result->fail)
			QMT_LOG(ctx, QMT_WARN, "mesh.refused", "peer", op->peer_text, "invite", op->mesh, "reason",
				words_of(admitted->outcome));
		op_end(op);
		return;
	}
	membership.mesh_id_len = (uint16_t)invite_mesh_id(&op->invite, id);
	memcpy(membership.mesh_id, id, membership.mesh_id_len);
	membership.peer = op->peer;
	memcpy(membership.invite_id, op->invite.id, INVITE_ID);
	membership.client = op->invite.client;
	membership.can_invite = op->invite.can_invite;
	membership.issued_at = admitted->issued_at;
	membership.expires_at = admitted->expires_at;
	membership_sign(self->config->identity, &membership);
	mesh = mesh_find(self, qmt_strn(id, membership.mesh_id_len));
	contact = mesh ? contact_need(self, mesh, qmt_str(op->peer_text)) : NULL;
	if (revocation_that_ends(self, &membership)) { /* said after the store had looked */
		tell_joined(ctx, self, op, &(struct store_admitted){.outcome = qmt_str("revoked")}, NULL, NULL);
		op_end(op);
		return;
	}
	tell_joined(ctx, self, op, admitted, &membership, mesh);
	if (contact) {
		bool is_new = contact->role == AUTHORITY_NONE;
		struct qmt_str strs[ADMISSION_ADDRESSES];
		for (uint32_t i = 0; i < op->address_count; i++)
			strs[i] = qmt_str(op->addresses[i]);
		contact_addresses(ctx, self, contact, strs, op->address_count);
		contact_admit(ctx, self, contact, &membership);
		if (is_new)
			mesh_tell_member(ctx, self, contact);
	}
	op_end(op);
}

void join_on_join(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct admission_join *msg = body;
	struct admission *self = state;
	struct store_admitted no = {.outcome = qmt_str("invalid")};
	char id[INVITE_ID_TEXT + 1], mesh[MESH_ID];
	struct peer_id inviter;
	struct qmt_err err = {0};
	struct op *op = op_new(ctx, self);
	uint32_t joining = 0;

	if (!op)
		return;
	if (peer_id_parse(msg->origin, &op->peer, &err) != 0) { /* by this node's own owner: nobody to admit */
		(void)qmt_reply_fail(ctx, op->token, QMT_FAIL_NOT_ALLOWED, NULL, 0, "not over a link");
		op_end(op);
		return;
	}
	peer_id_text(&op->peer, op->peer_text);
	for (const struct op *other = self->ops; other; other = other->next)
		joining += other->joins && peer_id_compare(&other->peer, &op->peer) == 0;
	if (!self->loaded || joining >= ADMISSION_JOINS) {
		(void)qmt_reply_fail(ctx, op->token, QMT_FAIL_FULL, NULL, 0, "%s",
			self->loaded ? "it is asked to let you in already: wait for the answer" : "not ready yet, ask again");
		op_end(op);
		return;
	}
	op->joins = true;
	op->addresses = texts_copy(msg->addresses.items, msg->addresses.count, &op->address_count);
	/* As of the beginning of time: whether it has expired matters only to who is not in yet, which the store knows. */
	if (invite_decode(msg->token, &op->invite, &err) != 0 || invite_inviter(&op->invite, &inviter, &err) != 0 ||
		peer_id_compare(&inviter, &self->config->identity->id) != 0 || invite_verify(&op->invite, 0, &err) != 0) {
		QMT_LOG(ctx, QMT_WARN, "mesh.refused", "peer", op->peer_text, "reason",
			err.text[0] ? err.text : "another node's invite");
		tell_joined(ctx, self, op, &no, NULL, NULL);
		op_end(op);
		return;
	}
	invite_id_text(op->invite.id, id);
	memcpy(op->mesh, id, sizeof id);
	admission_ask(ctx, "store", &store_admit_type,
		&(struct store_admit){.invite = qmt_str(id),
			.mesh = qmt_strn(mesh, invite_mesh_id(&op->invite, mesh)),
			.peer_id = qmt_str(op->peer_text),
			.lifetime_s = self->config->lifetime_s ? self->config->lifetime_s : LIFETIME_S},
		admitted, op);
}

/* ---- the joiner -------------------------------------------------------------------------------------------------- */

static void noted(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)state;
	(void)arg;
	if (result->fail)
		QMT_LOG(ctx, QMT_ERROR, "mesh.not_noted", "reason", qmt_fail_name(result->fail), "note",
			"after a restart this node joins again, which spends no use");
}

void mesh_store(struct qmt_ctx *ctx, const struct mesh *mesh)
{
	uint8_t bytes[MEMBERSHIP_BYTES];
	struct store_mesh_put msg = {.mesh = {.mesh = qmt_str(mesh->id),
									 .state = qmt_str(mesh->state == MESH_REVOKED ? "revoked"
											 : mesh->has_membership               ? "active"
																				  : "joining"),
									 .token = qmt_str(mesh->token)}};
	struct qmt_ref store;

	if (mesh->leaving)
		return;
	if (mesh->has_membership)
		msg.mesh.membership = (struct qmt_bytes){bytes, membership_encode(&mesh->membership, bytes)};
	if (qmt_lookup(ctx, "store", &store) != 0)
		store = (struct qmt_ref){0};
	qmt_ask_or(ctx, store, &store_mesh_put_type, &msg, ADMISSION_LOCAL_MS, noted, NULL);
}

/* fail 0: it is in. */
void join_end_waits(struct qmt_ctx *ctx, struct mesh *mesh, int fail, const char *text)
{
	while (mesh->joiners) {
		struct joiner *joiner = mesh->joiners;
		struct qmt_str name = qmt_str(mesh->id + PEER_ID_TEXT + 1);

		mesh->joiners = joiner->next;
		qmt_timer_cancel(ctx, &joiner->timer);
		if (fail)
			(void)qmt_reply_fail(ctx, joiner->token, fail, NULL, 0, "%s", text);
		else
			(void)QMT_REPLY(ctx, joiner->token, admission_mesh_joined, .mesh_id = qmt_str(mesh->id),
				.mesh_name = qmt_str_is(name, "anon") ? (struct qmt_str){0} : name,
				.inviter_peer_id = qmt_str(mesh->inviter_text), .already_joined = joiner->already,
				.role = qmt_str(mesh->membership.client ? "client" : "member"),
				.expires_at = mesh->membership.expires_at);
		free(joiner);
	}
}

static void refused(
	struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh, const struct admission_joined *answer)
{
	bool out = qmt_str_is(answer->outcome, "revoked") || qmt_str_is(answer->outcome, "blocked");
	bool was_in = mesh->has_membership;

	qmt_text(mesh->text, sizeof mesh->text, "%s", words_of(answer->outcome));
	QMT_LOG(ctx, QMT_ERROR, was_in ? "mesh.not_renewed" : "mesh.refused", "mesh", mesh->id, "reason", mesh->text);
	if (was_in && !out) { /* it holds to its end; it is asked again meanwhile */
		mesh_ask_on(ctx, mesh);
		return;
	}
	mesh->state = was_in ? MESH_REVOKED : MESH_REFUSED;
	mesh->has_membership = false;
	qmt_timer_cancel(ctx, &mesh->renew);
	qmt_timer_cancel(ctx, &mesh->expiry);
	if (was_in) {
		mesh_store(ctx, mesh);
	} else {
		struct qmt_ref store;
		if (qmt_lookup(ctx, "store", &store) == 0)
			(void)QMT_TELL(ctx, store, store_mesh_forget, .mesh = qmt_str(mesh->id));
	}
	(void)QMT_TELL(ctx, self->peers, peers_undial, .scope = qmt_str(mesh->id));
	mesh_end_roles(ctx, self, mesh, mesh->text);
	mesh_tell_scopes(ctx, self);
	join_end_waits(ctx, mesh, QMT_FAIL_NOT_ALLOWED, mesh->text);
}

static void on_again(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct admission *self = state;
	struct mesh *mesh = arg;
	struct contact *host = contact_find(self, mesh, qmt_str(mesh->inviter_text));

	mesh->renew = (struct qmt_timer){0};
	if (host && host->shared)
		join_ask(ctx, self, host);
}

static void joined(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct admission *self = state;
	struct op *op = arg;
	struct mesh *mesh = mesh_find(self, qmt_str(op->mesh));
	const struct admission_joined *answer = result->fail ? NULL : result->body;
	struct membership membership;
	struct qmt_err err = {0};

	op_end(op);
	if (!mesh || mesh->leaving || mesh->state == MESH_REVOKED)
		return; /* left, or out, meanwhile */
	mesh->renewing = false;
	if (!answer) {
		qmt_text(mesh->text, sizeof mesh->text, "its inviter did not answer: %s%s%.*s", qmt_fail_name(result->fail),
			result->text.len ? ": " : "", QMT_STR_ARG(result->text));
		qmt_timer_cancel(ctx, &mesh->renew);
		if (qmt_timer_start(ctx, JOIN_AGAIN_MS, on_again, mesh, &mesh->renew) != 0)
			qmt_fail(ctx, "out of memory");
		return;
	}
	if (answer->membership.len == 0) {
		refused(ctx, self, mesh, answer);
		return;
	}
	if (membership_decode(answer->membership, &membership, &err) != 0 ||
		membership_verify(&membership, qmt_str(mesh->id), &self->config->identity->id, qmt_wall_ms(ctx) / 1000, &err) !=
			0) {
		qmt_text(mesh->text, sizeof mesh->text, "its inviter gave a membership that does not hold: %s", err.text);
		QMT_LOG(ctx, QMT_ERROR, "mesh.hostile", "mesh", mesh->id, "reason", mesh->text);
		join_end_waits(ctx, mesh, QMT_FAIL_FAILED, mesh->text);
		return;
	}
	QMT_LOG(ctx, QMT_INFO, mesh->has_membership ? "mesh.renewed" : "mesh.joined", "mesh", mesh->id, "role",
		membership.client ? "client" : "member");
	mesh->membership = membership;
	mesh->has_membership = true;
	mesh->state = MESH_ACTIVE;
	mesh_store(ctx, mesh);
	revocations_take(
		ctx, self, mesh, answer->revocations.items, answer->revocations.count, qmt_str(mesh->inviter_text));
	if (mesh->state != MESH_ACTIVE)
		return;
	struct contact *host = contact_find(self, mesh, qmt_str(mesh->inviter_text));
	if (host && host->shared) /* it has let this node in, so it grants what it signed */
		contact_role(ctx, self, host, AUTHORITY_MEMBER, membership.client ? AUTHORITY_CLIENT : AUTHORITY_MEMBER, "");
	mesh_take_members(ctx, self, mesh, answer->members.items, answer->members.count);
	mesh_start_membership(ctx, self, mesh);
	join_end_waits(ctx, mesh, 0, "");
}

void join_ask(struct qmt_ctx *ctx, struct admission *self, struct contact *host)
{
	struct mesh *mesh = host->mesh;
	struct admission_join msg = {.token = qmt_str(mesh->token), .addresses = {self->address_strs, self->address_count}};
	struct op *op = mesh->renewing || !mesh->token[0] ? NULL : op_raw(self);

	if (!op)
		return;
	memcpy(op->mesh, mesh->id, sizeof op->mesh);
	mesh->renewing = true;
	if (qmt_ask_name(ctx, host->peer, "admission", &admission_join_type, &msg, ADMISSION_PEER_MS, joined, op) != 0) {
		mesh->renewing = false; /* the link has just ended; the next one is met anew */
		op_end(op);
	}
}

/* ---- qmt join ---------------------------------------------------------------------------------------------------- */

static void told_why(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct op *op = arg;

	(void)state;
	(void)qmt_reply_fail(ctx, op->token, QMT_FAIL_NO_ROUTE, NULL, 0,
		"not in yet: %.*s%s%s; it is tried on (qmt meshes shows it, qmt leave ends it)",
		result->fail ? (int)result->text.len : 0, result->fail && result->text.p ? result->text.p : "",
		result->fail && op->mesh[0] ? "; " : "", op->mesh);
	op_end(op);
}

static void on_wait_over(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct admission *self = state;
	struct joiner *joiner = arg, **at = &joiner->mesh->joiners;
	struct mesh *mesh = joiner->mesh;
	struct op *op = op_raw(self); /* .mesh: what else to say */

	while (*at != joiner)
		at = &(*at)->next;
	*at = joiner->next;
	QMT_LOG(ctx, QMT_WARN, "mesh.unreachable", "mesh", mesh->id, "note", "its inviter is dialed on");
	if (op) {
		op->token = joiner->token;
		memcpy(op->peer_text, mesh->inviter_text, sizeof op->peer_text);
		qmt_text(op->mesh, sizeof op->mesh, "%s",
			mesh->text[0]             ? mesh->text
				: mesh->address_count ? ""
									  : "where its inviter can be dialed is not known (--addr, or a URL with #)");
		qmt_ask_or(ctx, self->peers, &peers_resolve_type, &(struct peers_resolve){.name = qmt_str(op->peer_text)},
			ADMISSION_LOCAL_MS, told_why, op);
	} else {
		(void)qmt_reply_fail(ctx, joiner->token, QMT_FAIL_FAILED, NULL, 0, "out of memory");
	}
	free(joiner);
}

static bool fits(const struct invite *invite, struct qmt_err *err)
{
	for (uint32_t i = 0; i < invite->name_len; i++)
		if (utf8_control(qmt_strn(invite->name + i, invite->name_len - i))) {
			qmt_err_set(err, -EINVAL,
				"the name of its mesh has a control character: such a mesh cannot be told from others in lists and "
				"logs, so it is not joined");
			return false;
		}
	return true;
}

/* Where to dial, in this order: asked for, configured, of the peer in the configuration, of the URL. */
static void choose_addresses(struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh,
	const struct admission_mesh_join *msg, const struct multiaddr *fragment)
{
	struct qmt_str all[4 * ADMISSION_ADDRESSES];
	char text[MULTIADDR_TEXT];
	struct qmt_ref store;
	uint32_t count = 0, used = 0;

	for (uint32_t i = 0; i < msg->addresses.count && count < ADMISSION_ADDRESSES; i++)
		all[count++] = msg->addresses.items[i];
	for (uint32_t i = 0; i < self->config->join_addr_count && count < 2 * ADMISSION_ADDRESSES; i++)
		all[count++] = self->config->join_addrs[i];
	for (uint32_t i = 0; i < self->config->peer_count && count < 3 * ADMISSION_ADDRESSES; i++)
		if (peer_id_compare(&self->config->peers[i].id, &mesh->inviter) == 0)
			all[count++] = qmt_str(self->config->peers[i].address);
	if (fragment) {
		multiaddr_text(fragment, text);
		all[count++] = qmt_str(text);
	}
	char **copies = texts_copy(all, count, &used);
	if (!copies || !used) { /* those of the last time may still do */
		texts_free(copies, used);
		return;
	}
	texts_free(mesh->addresses, mesh->address_count);
	mesh->addresses = copies;
	mesh->address_count = used;
	if (qmt_lookup(ctx, "store", &store) == 0)
		(void)QMT_TELL(ctx, store, store_addresses_put, .mesh = qmt_str(mesh->id),
			.peer_id = qmt_str(mesh->inviter_text), .addresses = {all, count});
}

static void wait_for(
	struct qmt_ctx *ctx, struct admission *self, struct mesh *mesh, struct qmt_token token, bool already)
{
	struct joiner *joiner = calloc(1, sizeof *joiner);
	uint64_t wait_ms = self->config->join_wait_ms ? self->config->join_wait_ms : JOIN_WAIT_MS;

	if (!joiner || qmt_timer_start(ctx, wait_ms, on_wait_over, joiner, &joiner->timer) != 0) {
		free(joiner);
		(void)qmt_reply_fail(ctx, token, QMT_FAIL_FAILED, NULL, 0, "out of memory");
		return;
	}
	joiner->token = token;
	joiner->mesh = mesh;
	joiner->already = already;
	joiner->next = mesh->joiners;
	mesh->joiners = joiner;
}

/* At the start, before the store has told: it is done then. */
static void keep_for_later(struct qmt_ctx *ctx, struct admission *self, const struct admission_mesh_join *msg)
{
	struct op *op = op_new(ctx, self);

	if (!op)
		return;
	op->early = qmt_str_dup(msg->token);
	op->addresses = texts_copy(msg->addresses.items, msg->addresses.count, &op->address_count);
	if (op->early)
		return;
	(void)qmt_reply_fail(ctx, op->token, QMT_FAIL_FAILED, NULL, 0, "out of memory");
	op_end(op);
}

static void join(
	struct qmt_ctx *ctx, struct admission *self, const struct admission_mesh_join *msg, struct qmt_token asker)
{
	struct invite invite;
	struct multiaddr fragment;
	bool has_fragment = false;
	struct qmt_str token, id;
	char text[MESH_ID];
	struct qmt_err err = {0};
	struct peer_id inviter;
	struct mesh *mesh;
	int rc = invite_split(msg->token, &token, &has_fragment, &fragment, &err);

	if (rc == 0)
		rc = invite_decode(token, &invite, &err);
	if (rc == 0)
		rc = invite_verify(&invite, qmt_wall_ms(ctx) / 1000, &err);
	if (rc == 0)
		rc = invite_inviter(&invite, &inviter, &err);
	if (rc != 0) {
		QMT_LOG(ctx, QMT_ERROR, "mesh.not_joined", "kind", invite_outcome_name(rc), "reason", err.text);
		(void)qmt_reply_fail(
			ctx, asker, QMT_FAIL_BAD_REQUEST, invite_outcome_name(rc), 0, "%s: %s", invite_outcome_name(rc), err.text);
		return;
	}
	if (!self->config->mesh)
		qmt_err_set(
			&err, -EINVAL, "this node has no mesh networking: set [mesh] enabled = true, or start it with --mesh");
	else if (peer_id_compare(&inviter, &self->config->identity->id) == 0)
		qmt_err_set(&err, -EINVAL, "that is an invite of this node itself: it is for others");
	else
		(void)fits(&invite, &err);
	if (err.code) {
		QMT_LOG(ctx, QMT_ERROR, "mesh.not_joined", "reason", err.text);
		(void)qmt_reply_fail(ctx, asker, QMT_FAIL_BAD_REQUEST, NULL, 0, "%s", err.text);
		return;
	}
	id = qmt_strn(text, invite_mesh_id(&invite, text));
	mesh = mesh_find(self, id);
	if (mesh && mesh->leaving) {
		(void)qmt_reply_fail(ctx, asker, QMT_FAIL_FAILED, NULL, 0, "this mesh is being left: try again");
		return;
	}
	if (mesh && mesh->state == MESH_ACTIVE) {
		wait_for(ctx, self, mesh, asker, true);
		join_end_waits(ctx, mesh, 0, "");
		return;
	}
	mesh = mesh ? mesh : mesh_new(self, id);
	if (!mesh) {
		(void)qmt_reply_fail(ctx, asker, QMT_FAIL_FULL, NULL, 0,
			"this node is in %d meshes, which are the most: qmt leave one of them (qmt meshes)", ADMISSION_MESHES_MAX);
		return;
	}
	invite_token(&invite, mesh->token);
	mesh->state = MESH_JOINING;
	mesh->has_membership = false;
	mesh->text[0] = '\0';
	mesh_store(ctx, mesh);
	choose_addresses(ctx, self, mesh, msg, has_fragment ? &fragment : NULL);
	wait_for(ctx, self, mesh, asker, false);
	mesh_tell_scopes(ctx, self);
	mesh_dial(ctx, self, mesh);
	struct contact *host = contact_find(self, mesh, qmt_str(mesh->inviter_text));
	if (host)
		contact_meet(ctx, self, host);
}

void join_on_mesh_join(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct admission *self = state;

	if (self->loaded)
		join(ctx, self, body, qmt_token(ctx));
	else
		keep_for_later(ctx, self, body);
}

void join_early(struct qmt_ctx *ctx, struct admission *self)
{
	for (struct op *op = self->ops, *next; op; op = next) {
		struct qmt_str strs[ADMISSION_ADDRESSES];
		struct admission_mesh_join msg = {.token = qmt_str(op->early), .addresses = {strs, op->address_count}};

		next = op->next;
		if (!op->early)
			continue;
		for (uint32_t i = 0; i < op->address_count; i++)
			strs[i] = qmt_str(op->addresses[i]);
		join(ctx, self, &msg, op->token);
		op_end(op);
	}
}

/* ---- qmt leave --------------------------------------------------------------------------------------------------- */

static void left(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct admission *self = state;
	struct op *op = op_;
	struct mesh *mesh = mesh_find(self, qmt_str(op->mesh));

	if (result->fail) {
		if (mesh)
			mesh->leaving = false;
		(void)qmt_reply_result(ctx, op->token, result);
		op_end(op);
		return;
	}
	if (mesh) {
		struct admission_leave msg = {.mesh = qmt_str(mesh->id)};

		for (struct contact *contact = self->contacts; contact; contact = contact->next)
			if (contact->mesh == mesh && contact->shared)
				(void)qmt_tell_name(ctx, contact->peer, "admission", &admission_leave_type, &msg);
		if (qmt_ref_is_set(self->peers))
			(void)QMT_TELL(ctx, self->peers, peers_undial, .scope = qmt_str(mesh->id));
		/* Those that hear it cut the links that are there for nothing else. */
		mesh_end_roles(ctx, self, mesh, "");
		join_end_waits(ctx, mesh, QMT_FAIL_FAILED, "left");
		mesh_free(ctx, self, mesh);
		mesh_tell_scopes(ctx, self);
	}
	(void)QMT_REPLY(ctx, op->token, admission_done, );
	op_end(op);
}

void join_on_mesh_leave(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct admission_mesh_leave *msg = body;
	struct admission *self = state;
	struct mesh *mesh = mesh_called(self, msg->mesh);
	struct op *op;

	if (!mesh || mesh_hosts(self, mesh)) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), mesh ? QMT_FAIL_BAD_REQUEST : QMT_FAIL_NOT_FOUND, NULL, 0, "%s",
			mesh ? "this node's own mesh cannot be left: qmt invite revoke, and qmt mesh revoke, send others away"
				 : "this node is in no mesh of that name, or in several: give its id (qmt meshes)");
		return;
	}
	if (mesh->state == MESH_REFUSED) { /* the store has forgotten it */
		mesh_free(ctx, self, mesh);
		(void)QMT_REPLY(ctx, qmt_token(ctx), admission_done, );
		return;
	}
	op = op_new(ctx, self);
	if (!op)
		return;
	memcpy(op->mesh, mesh->id, sizeof op->mesh);
	mesh->leaving = true; /* an answer of its inviter that comes now must not write it anew */
	admission_ask(
		ctx, "store", &store_mesh_forget_type, &(struct store_mesh_forget){.mesh = qmt_str(mesh->id)}, left, op);
}
