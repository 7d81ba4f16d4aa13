/* actors/node_manager/node_session_ops.c - fork, rename, archive, delete, close: here, or passed on to the host.
 *
 * What was done on another node is then done to the bookmark here: if that fails, the request may be repeated, and both
 * sides take a second time as none.
 */
#include "actors/node_manager/node_internal.h"

#include "runtime/port.h"

bool node_keep_session(struct qmt_ctx *ctx, struct session_op *op, const struct store_session *session)
{
	op->texts = calloc(1, qmt_record_extra(&store_session_record, session) + 1);
	if (!op->texts) {
		node_refuse(ctx, &op->find.op, QMT_FAIL_FAILED, NULL, "out of memory");
		return false;
	}
	op->find.op.drop = node_session_op_drop;
	qmt_record_copy(&store_session_record, session, &op->session, op->texts);
	return true;
}

void node_session_op_drop(struct node_op *op)
{
	free(((struct session_op *)op)->texts);
}

/* Answers with the session as it was found. */
static void answer_kept(struct qmt_ctx *ctx, struct session_op *op)
{
	(void)QMT_REPLY(ctx, op->find.op.token, node_session_reply, .session = op->session);
	node_op_end(ctx, op);
}

static bool actor_of(struct qmt_ctx *ctx, struct qmt_str session, struct qmt_ref *ret_ref)
{
	char name[80];

	snprintf(name, sizeof name, "session/%.*s", QMT_STR_ARG(session));
	return qmt_lookup(ctx, name, ret_ref) == 0;
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

static void fork_here(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	const struct node_session_fork *request = op->op.body;

	node_ask_store(ctx, &store_session_fork_type,
		&(struct store_session_fork){.request = request->request,
			.session = session->id,
			.pos = request->pos,
			.of = request->of,
			.name = request->name,
			.owner = request->origin,
			.owner_max = self->config->max_remote_sessions},
		node_created, op);
}

static void forked_there(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct session_op *op = op_;
	const struct node_session_fork *request = op->find.op.body;
	const struct node_session_reply *answer = result->body;
	struct store_session_create bookmark = {.request = request->request};

	if (result->fail) {
		node_relay(ctx, state, result, op);
		return;
	}
	bookmark.session = answer->session;
	bookmark.session.peer = op->session.peer;
	bookmark.session.peer_name = op->session.peer_name;
	bookmark.session.owner = (struct qmt_str){0};
	node_ask_store(ctx, &store_session_create_type, &bookmark, node_created, op);
}

static void fork_there(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	struct node_session_fork request = *(const struct node_session_fork *)op->op.body;

	if (!node_keep_session(ctx, (struct session_op *)op, session))
		return;
	request.session = session->id;
	request.origin = (struct qmt_str){0};
	node_ask_host(
		ctx, self, session->peer, &node_session_fork_type, &request, forked_there, &op->op, session->peer_name);
}

void node_on_session_fork(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct node_session_fork *request = body;

	if (request->request.len == 0) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, "bad_request", 0, "the request id is missing");
		return;
	}
	node_find(ctx, state, body, sizeof(struct session_op), request->session, request->origin, fork_here, fork_there);
}

/* ---- rename and archive ------------------------------------------------------------------------------------------ */

static void changed(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct node_op *op = op_;
	const struct store_session_created *answer = result->body;

	if (result->fail) {
		node_relay(ctx, state, result, op);
		return;
	}
	(void)QMT_REPLY(ctx, op->token, node_session_reply, .session = answer->session);
	node_op_end(ctx, op);
}

static void rename_here(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	const struct node_session_rename *request = op->op.body;

	(void)self;
	node_ask_store(ctx, &store_session_rename_type,
		&(struct store_session_rename){.session = session->id, .name = request->name}, changed, op);
}

static void renamed_there(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct session_op *op = op_;

	if (result->fail)
		node_relay(ctx, state, result, op);
	else
		rename_here(ctx, state, &op->find, &op->session);
}

static void rename_there(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	const struct node_session_rename *request = op->op.body;

	if (node_keep_session(ctx, (struct session_op *)op, session))
		node_ask_host(ctx, self, session->peer, &node_session_rename_type,
			&(struct node_session_rename){.session = session->id, .name = request->name}, renamed_there, &op->op,
			session->peer_name);
}

void node_on_session_rename(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct node_session_rename *request = body;

	node_find(
		ctx, state, body, sizeof(struct session_op), request->session, request->origin, rename_here, rename_there);
}

static void archive_here(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	const struct node_session_archive *request = op->op.body;

	(void)self;
	node_ask_store(ctx, &store_session_archive_type,
		&(struct store_session_archive){.session = session->id, .archived = request->archived}, changed, op);
}

static void archived_there(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct session_op *op = op_;

	if (result->fail)
		node_relay(ctx, state, result, op);
	else
		archive_here(ctx, state, &op->find, &op->session);
}

static void archive_there(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	const struct node_session_archive *request = op->op.body;

	if (node_keep_session(ctx, (struct session_op *)op, session))
		node_ask_host(ctx, self, session->peer, &node_session_archive_type,
			&(struct node_session_archive){.session = session->id, .archived = request->archived}, archived_there,
			&op->op, session->peer_name);
}

void node_on_session_archive(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct node_session_archive *request = body;

	node_find(
		ctx, state, body, sizeof(struct session_op), request->session, request->origin, archive_here, archive_there);
}

/* ---- delete ------------------------------------------------------------------------------------------------------ */

static void deleted(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct session_op *op = op_;
	struct qmt_ref actor;

	if (result->fail) {
		node_relay(ctx, state, result, op);
		return;
	}
	if (actor_of(ctx, op->session.id, &actor))
		(void)qmt_stop(
			ctx, actor); /* without it, it leaves when it has been idle long enough: the store knows it no more */
	answer_kept(ctx, op);
}

static void delete_kept(struct qmt_ctx *ctx, struct session_op *op)
{
	node_ask_store(
		ctx, &store_session_delete_type, &(struct store_session_delete){.session = op->session.id}, deleted, op);
}

static void delete_here(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	(void)self;
	if (node_keep_session(ctx, (struct session_op *)op, session))
		delete_kept(ctx, (struct session_op *)op);
}

static void deleted_there(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	/* One that its host has no more is only a bookmark. */
	if (result->fail && result->fail != QMT_FAIL_NOT_FOUND)
		node_relay(ctx, state, result, op_);
	else
		delete_kept(ctx, op_);
}

static void delete_there(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	if (node_keep_session(ctx, (struct session_op *)op, session))
		node_ask_host(ctx, self, session->peer, &node_session_delete_type,
			&(struct node_session_delete){.session = session->id}, deleted_there, &op->op, session->peer_name);
}

void node_on_session_delete(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct node_session_delete *request = body;

	node_find(
		ctx, state, body, sizeof(struct session_op), request->session, request->origin, delete_here, delete_there);
}

/* ---- close ------------------------------------------------------------------------------------------------------- */

static void closed(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct session_op *op = op_;
	struct qmt_ref actor;

	if (result->fail && result->fail != QMT_FAIL_STOPPING && result->fail != QMT_FAIL_NOT_RUNNING) {
		node_relay(ctx, state, result, op);
		return;
	}
	if (actor_of(ctx, op->session.id, &actor))
		(void)qmt_stop(ctx, actor);
	answer_kept(ctx, op);
}

static void close_here(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	struct qmt_ref actor;

	(void)self;
	if (!node_keep_session(ctx, (struct session_op *)op, session))
		return;
	if (actor_of(ctx, session->id, &actor))
		qmt_ask_or(ctx, actor, &session_interrupt_type, &(struct session_interrupt){}, NODE_LOCAL_MS, closed, op);
	else
		answer_kept(ctx, (struct session_op *)op);
}

static void close_there(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	node_ask_host(ctx, self, session->peer, &node_session_close_type,
		&(struct node_session_close){.session = session->id}, node_relay, &op->op, session->peer_name);
}

void node_on_session_close(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct node_session_close *request = body;

	node_find(ctx, state, body, sizeof(struct session_op), request->session, request->origin, close_here, close_there);
}
