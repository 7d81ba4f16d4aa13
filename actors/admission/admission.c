/* actors/admission/admission.c - invites are made, listed and revoked; the store keeps the record.
 *
 *   invite_create: signed here -> store.invite_add committed -> peers.list for the addresses -> told
 *   the others:    asked of the store, its answer is told in this contract's words
 *
 * An *op* is a request under way; they hang in a list, so that none is left when the actor ends. */
#include "actors/admission/admission_internal.h"

#include <errno.h>

#include "proto/invite.h"
#include "proto/utf8.h"

struct op *op_raw(struct admission *self)
{
	struct op *op = calloc(1, sizeof *op);

	if (!op)
		return NULL;
	op->next = self->ops;
	op->pprev = &self->ops;
	if (self->ops)
		self->ops->pprev = &op->next;
	self->ops = op;
	return op;
}

struct op *op_new(struct qmt_ctx *ctx, struct admission *self)
{
	struct op *op = op_raw(self);

	if (op)
		op->token = qmt_token(ctx);
	else
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, "memory", 0, "out of memory");
	return op;
}

void op_end(struct op *op)
{
	texts_free(op->addresses, op->address_count);
	if (op->early)
		explicit_bzero(op->early, strlen(op->early));
	free(op->early);
	*op->pprev = op->next;
	if (op->next)
		op->next->pprev = op->pprev;
	free(op);
}

void admission_ask(struct qmt_ctx *ctx, const char *name, const struct qmt_type *type, const void *body,
	qmt_continuation *then, struct op *op)
{
	struct qmt_ref to;

	if (qmt_lookup(ctx, name, &to) != 0)
		to = (struct qmt_ref){0};
	qmt_ask_or(ctx, to, type, body, ADMISSION_LOCAL_MS, then, op);
}

/* ---- create ------------------------------------------------------------------------------------------------------ */

static int check_name(struct qmt_str name, struct qmt_err *err)
{
	if (name.len > INVITE_NAME)
		return qmt_err_set(err, -EINVAL, "name: %u bytes, at most %d", name.len, INVITE_NAME);
	if (!utf8_check(name))
		return qmt_err_set(err, -EINVAL, "name: is not UTF-8");
	for (uint32_t i = 0; i < name.len; i++)
		if (utf8_control(qmt_strn(name.p + i, name.len - i)))
			return qmt_err_set(err, -EINVAL, "name: has a control character at byte %u", i + 1);
	return 0;
}

/* The address as it stands behind a URL: the token names the PeerId already. */
static void without_peer(struct qmt_str text, char ret_text[MULTIADDR_TEXT])
{
	struct multiaddr addr;

	ret_text[0] = '\0';
	if (multiaddr_parse(text, &addr, NULL) != 0)
		return;
	addr.has_peer = false;
	multiaddr_text(&addr, ret_text);
}

static struct store_invite record_of(const struct op *op, char id[INVITE_ID_TEXT + 1], char mesh[MESH_ID])
{
	const struct invite *invite = &op->invite;

	invite_id_text(invite->id, id);
	return (struct store_invite){.id = qmt_str(id),
		.mesh = qmt_strn(mesh, invite_mesh_id(invite, mesh)),
		.name = qmt_strn(invite->name, invite->name_len),
		.client = invite->client,
		.expires_at = invite->expires_at,
		.max_uses = invite->max_uses,
		.created_ms = op->created_ms};
}

static void tell_created(struct qmt_ctx *ctx, const struct op *op, const struct qmt_str *from, uint32_t count)
{
	char id[INVITE_ID_TEXT + 1], mesh[MESH_ID], token[INVITE_TOKEN + 1], url[INVITE_URL + 1];
	char texts[ADMISSION_ADDRESSES][MULTIADDR_TEXT];
	struct qmt_str addresses[ADMISSION_ADDRESSES];
	uint32_t used = 0;

	for (uint32_t i = 0; i < count && used < ADMISSION_ADDRESSES; i++) {
		without_peer(from[i], texts[used]);
		addresses[used] = qmt_str(texts[used]);
		used += texts[used][0] != '\0';
	}
	invite_token(&op->invite, token);
	snprintf(url, sizeof url, INVITE_URL_PREFIX "%s", token);
	(void)QMT_REPLY(ctx, op->token, admission_invite_created, .invite = record_of(op, id, mesh),
		.token = qmt_str(token), .url = qmt_str(url), .addresses = {addresses, used});
	explicit_bzero(token, sizeof token);
	explicit_bzero(url, sizeof url);
}

static void created_addresses(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op)
{
	const struct peers_list_reply *list = result->fail ? NULL : result->body;

	(void)state;
	tell_created(ctx, op, list ? list->listen_addresses.items : NULL, list ? list->listen_addresses.count : 0);
	op_end(op);
}

static void created(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct admission *self = state;
	struct op *op = op_;
	char mesh[MESH_ID];

	if (!result->fail)
		mesh_host(ctx, self, qmt_strn(mesh, invite_mesh_id(&op->invite, mesh)));
	if (!result->fail && !self->config->advertised_count) {
		admission_ask(ctx, "peers", &peers_list_type, &(struct peers_list){}, created_addresses, op);
		return;
	}
	if (result->fail)
		(void)qmt_reply_result(ctx, op->token, result);
	else
		tell_created(ctx, op, self->config->advertised, self->config->advertised_count);
	op_end(op);
}

static void on_invite_create(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct admission *self = state;
	const struct admission_invite_create *request = body;
	char id[INVITE_ID_TEXT + 1], mesh[MESH_ID];
	uint64_t now_ms = qmt_wall_ms(ctx);
	struct qmt_err err = {0};
	struct op *op;

	if (!self->config->mesh)
		qmt_err_set(&err, -EINVAL, "this node is in no mesh: set [mesh] enabled = true");
	else if (request->ttl_s > (uint64_t)INT64_MAX - now_ms / 1000)
		qmt_err_set(&err, -EINVAL, "ttl_s: too long");
	else
		(void)check_name(request->name, &err);
	if (err.code) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0, "%s", err.text);
		return;
	}
	op = op_new(ctx, self);
	if (!op)
		return;
	op->created_ms = now_ms;
	op->invite = (struct invite){.client = request->client,
		.max_uses = request->max_uses,
		.expires_at = request->ttl_s ? now_ms / 1000 + request->ttl_s : 0,
		.name_len = (uint8_t)request->name.len};
	if (request->name.len)
		memcpy(op->invite.name, request->name.p, request->name.len);
	qmt_uuid(ctx, id);
	if (invite_id_parse(qmt_str(id), op->invite.id) != 0) { /* cannot happen: it is a uuid */
		(void)qmt_reply_fail(ctx, op->token, QMT_FAIL_FAILED, NULL, 0, "no uuid");
		op_end(op);
		return;
	}
	invite_sign(self->config->identity, &op->invite);
	admission_ask(ctx, "store", &store_invite_add_type, &(struct store_invite_add){.invite = record_of(op, id, mesh)},
		created, op);
}

/* ---- the store's answers ----------------------------------------------------------------------------------------- */

/* A continuation: the failure as it is, or the answer by TELL, which sees it as `answer`. */
#define RELAY(name, type_of_answer, TELL)                                                          \
	static void name(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_) \
	{                                                                                              \
		struct op *op = op_;                                                                       \
		const struct type_of_answer *answer = result->body;                                        \
\
		(void)state;                                                                               \
		if (result->fail) {                                                                        \
			(void)qmt_reply_result(ctx, op->token, result);                                        \
		} else {                                                                                   \
			TELL;                                                                                  \
		}                                                                                          \
		op_end(op);                                                                                \
	}
RELAY(listed, store_invites,
	(void)QMT_REPLY(ctx, op->token, admission_invites, .total = answer->total,
		.invites = {answer->invites.items, answer->invites.count}))
RELAY(revoked, store_invite_revoked, revoke_invite(ctx, state, &answer->invite);
	  (void)QMT_REPLY(ctx, op->token, admission_invite_revoked, .invite = answer->invite, .already = answer->already,
		  .peers = {answer->peers.items, answer->peers.count}))
RELAY(audited, store_audits,
	(void)QMT_REPLY(ctx, op->token, admission_audit_reply, .rows = {answer->rows.items, answer->rows.count}))

static void on_invite_list(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct admission_invite_list *request = body;
	struct op *op = op_new(ctx, state);

	if (op)
		admission_ask(ctx, "store", &store_invite_list_type,
			&(struct store_invite_list){.offset = request->offset, .limit = request->limit}, listed, op);
}

static void on_invite_revoke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct admission_invite_revoke *request = body;
	struct op *op = op_new(ctx, state);

	if (op)
		admission_ask(ctx, "store", &store_invite_revoke_type, &(struct store_invite_revoke){.invite = request->invite},
			revoked, op);
}

static void on_audit(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct admission_audit *request = body;
	struct op *op = op_new(ctx, state);

	if (op)
		admission_ask(ctx, "store", &store_audit_list_type,
			&(struct store_audit_list){.before = request->before, .limit = request->limit}, audited, op);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct admission *self = state;

	self->config = config;
	mesh_load(ctx, self);
	return 0;
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct admission *self = state;

	while (self->ops)
		op_end(self->ops);
	mesh_stop(ctx, self);
}

static qmt_handler *const handlers[admission_message_count] = {
	[admission_invite_create_id] = on_invite_create,
	[admission_invite_list_id] = on_invite_list,
	[admission_invite_revoke_id] = on_invite_revoke,
	[admission_audit_id] = on_audit,
	[admission_join_id] = join_on_join,
	[admission_show_id] = mesh_on_show,
	[admission_leave_id] = mesh_on_leave,
	[admission_revoked_id] = revoke_on_revoked,
	[admission_members_id] = mesh_on_members,
	[admission_links_start_id] = mesh_on_links_start,
	[admission_mesh_join_id] = join_on_mesh_join,
	[admission_mesh_leave_id] = join_on_mesh_leave,
	[admission_mesh_list_id] = mesh_on_list,
	[admission_mesh_revoke_id] = revoke_on_mesh_revoke,
};

/* As a subscriber. */
static qmt_handler *const peers_handlers[peers_message_count] = {
	[peers_shared_id] = mesh_on_shared,
	[peers_down_id] = mesh_on_peer_down,
};

const struct qmt_actor_desc admission_desc = {.abi = QMT_ABI,
	.name = "admission",
	.doc = "Invites to this node's meshes.",
	.state_size = sizeof(struct admission),
	.accepts = {{&admission_protocol, handlers}, {&peers_protocol, peers_handlers}},
	.start = start,
	.stop = stop};
