/* actors/store/store.c - the actor: requests of one turn become one commit, answers leave after it.
 *
 * A turn of this actor serves what waited when the last one ended, so a turn is a batch: the first write opens it, each
 * handler executes its request and queues the answer, and `flush`, at the end of the turn, commits and sends them all.
 * One sync of the disk serves as many requests as came in while the last sync ran.
 *
 *      none --first write--> open --flush: commit--> none
 *                              |  --a request or the commit fails--> failed --flush--> none
 *
 * Of a committed batch each request gets its own answer, of a failed one all get the failure.
 *
 * A batch that has failed executes nothing more: each try could wait for a lock or a sick disk once again.
 */
#include "actors/store/store.h"

#include <assert.h>
#include <errno.h>

#include "actors/store/store_reader.h"

/* What a request will be told after the commit. */
struct answer {
	struct qmt_token token;
	const struct qmt_type *type; /* NULL: failed */
	const void *body;            /* of type; in the arena */
	int result;                  /* why it failed */
	struct qmt_str text;         /* in the arena, ends in NUL */
};

enum batch_state { BATCH_NONE, BATCH_OPEN, BATCH_FAILED };

struct store {
	/* const after start */
	struct store_limits limits;
	struct store_reader_config reader_config;
	struct qmt_ref reader; /* unset: in memory */
	/* owner: the actor */
	struct store_db *db;
	enum batch_state batch;
	struct qmt_err failure; /* of a failed batch */
	struct answer *answers; /* room for limits.batch_max */
	uint32_t count;
	uint64_t bytes;
	uint64_t changes_before; /* the request that is being handled */
	struct store_arena arena;
	struct qmt_timer purge;                     /* runs while deleted sessions may have rows */
	uint64_t requests, commits, failed_batches; /* for metrics.get */
};

/* ---- batches ----------------------------------------------------------------------------------------------------- */

static void send_answer(struct qmt_ctx *ctx, const struct store *store, const struct answer *answer)
{
	if (store->batch == BATCH_FAILED)
		store_reply_fail(ctx, answer->token, store->failure.code, store->failure.text);
	else if (answer->type)
		qmt_reply(ctx, answer->token, answer->type, answer->body);
	else
		store_reply_fail(ctx, answer->token, answer->result, answer->text.p);
}

static void fail_batch(struct store *store, int result)
{
	store->batch = BATCH_FAILED;
	store->failure.code = result;
}

/* Commits and answers; nothing without an open or failed batch. */
static void end_batch(struct qmt_ctx *ctx, struct store *store)
{
	if (store->batch == BATCH_NONE)
		return;
	if (store->batch == BATCH_OPEN) {
		int r = store_db_commit(store->db, &store->failure);

		if (r < 0)
			fail_batch(store, r);
		else
			store->commits++;
	}
	store->failed_batches += store->batch == BATCH_FAILED;
	if (store->batch == BATCH_FAILED)
		QMT_LOG(
			ctx, QMT_ERROR, "store.batch_failed", "requests", QMT_LOG_U64(store->count), "reason", store->failure.text);
	for (uint32_t i = 0; i < store->count; i++)
		send_answer(ctx, store, &store->answers[i]);
	store->batch = BATCH_NONE;
	store->count = 0;
	store->bytes = 0;
	store_arena_reset(&store->arena);
}

/* Queues the answer to the request that is being handled. */
static void queue_answer(struct qmt_ctx *ctx, struct store *store, const struct answer *answer)
{
	store->answers[store->count] = *answer;
	store->answers[store->count++].token = qmt_token(ctx);
	if (store->count >= store->limits.batch_max || store->bytes >= store->limits.batch_bytes)
		end_batch(ctx, store);
	else
		qmt_want_flush(ctx);
}

/* May the request be executed? Opens the batch if need be. */
static bool begin_request(struct qmt_ctx *ctx, struct store *store)
{
	store->requests++;
	store->changes_before = store_db_changes(store->db);
	if (store->batch == BATCH_NONE) {
		int r = store_db_begin(store->db, &store->failure);

		store->batch = BATCH_OPEN;
		if (r < 0)
			fail_batch(store, r);
	}
	if (store->batch == BATCH_OPEN)
		return true;
	queue_answer(ctx, store, &(struct answer){0});
	return false;
}

/* The request was executed with this result; body (of type, not in the arena) is what it is told if that was 0. */
static void end_request(struct qmt_ctx *ctx, struct store *store, int result, const struct qmt_err *err,
	const struct qmt_type *type, const void *body)
{
	struct answer answer = {.result = result};
	bool memory = true;

	/* What is refused has written nothing: the batch goes on, and would commit it. */
	assert(result <= 0 || store_db_changes(store->db) == store->changes_before);

	if (result == 0) {
		void *copy = store_arena_take(&store->arena, type->record.size);

		memory = copy != NULL;
		if (memory && type->record.size > 0)
			memcpy(copy, body, type->record.size);
		answer.type = type;
		answer.body = copy;
	} else if (result > 0) {
		memory = store_arena_text(&store->arena, err->text, strlen(err->text), &answer.text);
	}
	if (result < 0 || !memory) {
		store_db_rollback(store->db);
		if (memory)
			store->failure = *err;
		else
			result = qmt_err_set(&store->failure, -ENOMEM, "store: out of memory");
		fail_batch(store, result);
	}
	queue_answer(ctx, store, &answer);
}

/* ---- writes ------------------------------------------------------------------------------------------------------ */

static void on_session_create(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	struct store_session_created created = {0};
	struct qmt_err err;
	char id[37];

	if (!begin_request(ctx, store))
		return;
	qmt_uuid(ctx, id);

	int r = store_db_session_create(store->db, body, id, qmt_wall_ms(ctx), &store->arena, &created.session, &err);

	end_request(ctx, store, r, &err, &store_session_created_type, &created);
}

static void on_session_fork(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	struct store_session_created created = {0};
	struct qmt_err err;
	char id[37];

	if (!begin_request(ctx, store))
		return;
	qmt_uuid(ctx, id);

	int r = store_db_session_fork(store->db, body, id, qmt_wall_ms(ctx), &store->arena, &created.session, &err);

	end_request(ctx, store, r, &err, &store_session_created_type, &created);
}

static void on_session_rename(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	struct store_session_created created = {0};
	struct qmt_err err;

	if (begin_request(ctx, store))
		end_request(ctx, store,
			store_db_session_rename(store->db, body, qmt_wall_ms(ctx), &store->arena, &created.session, &err), &err,
			&store_session_created_type, &created);
}

static void on_session_archive(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	struct store_session_created created = {0};
	struct qmt_err err;

	if (begin_request(ctx, store))
		end_request(ctx, store,
			store_db_session_archive(store->db, body, qmt_wall_ms(ctx), &store->arena, &created.session, &err), &err,
			&store_session_created_type, &created);
}

/* Rows of deleted sessions, some at a time: other requests come between. After a failure it rests until the next
 * deletion or start: what is deleted is gone for all who ask anyway. */
static void on_purge(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct store *store = state;
	struct qmt_err err;
	bool more = false;
	int r;

	(void)arg;
	store->purge = (struct qmt_timer){0};
	end_batch(ctx, store);
	r = store_db_begin(store->db, &err);
	if (r == 0) {
		r = store_db_purge(store->db, (uint32_t)store->limits.purge_rows, &more, &err);
		if (r == 0)
			r = store_db_commit(store->db, &err);
		else
			store_db_rollback(store->db);
	}
	if (r < 0)
		QMT_LOG(ctx, QMT_WARN, "store.purge_failed", "reason", err.text);
	else if (more)
		(void)qmt_timer_start(ctx, 0, on_purge, NULL, &store->purge);
}

static void on_session_delete(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	struct qmt_err err;

	if (begin_request(ctx, store))
		end_request(
			ctx, store, store_db_session_delete(store->db, body, qmt_wall_ms(ctx), &err), &err, &store_done_type, NULL);
	if (!store->purge.id)
		(void)qmt_timer_start(ctx, 0, on_purge, NULL, &store->purge);
}

static void on_turn_begin(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	const struct store_turn_begin *req = body;
	struct store_turn_begun begun = {0};
	struct qmt_err err;

	if (!begin_request(ctx, store))
		return;
	store->bytes += req->text.len;
	end_request(ctx, store, store_db_turn_begin(store->db, req, qmt_wall_ms(ctx), &store->arena, &begun, &err), &err,
		&store_turn_begun_type, &begun);
}

static uint64_t text_bytes(const struct chat_message *messages, uint32_t count)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < count; i++) {
		bytes += (uint64_t)messages[i].content.len + messages[i].reasoning.len;
		for (uint32_t k = 0; k < messages[i].tool_calls.count; k++)
			bytes += messages[i].tool_calls.items[k].arguments.len;
	}
	return bytes;
}

static void on_append(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	const struct store_append *req = body;
	struct store_appended appended = {0};
	struct qmt_err err;

	if (!begin_request(ctx, store))
		return;
	store->bytes += text_bytes(req->messages.items, req->messages.count);
	end_request(ctx, store, store_db_append(store->db, req, qmt_wall_ms(ctx), &appended.pos, &err), &err,
		&store_appended_type, &appended);
}

static void on_checkpoint(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	const struct store_checkpoint *req = body;
	struct qmt_err err;

	if (!begin_request(ctx, store))
		return;
	store->bytes += req->text.len;
	end_request(ctx, store, store_db_checkpoint(store->db, req, &err), &err, &store_done_type, NULL);
}

static void on_turn_end(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	const struct store_turn_end *req = body;
	struct qmt_err err;

	if (!begin_request(ctx, store))
		return;
	store->bytes += text_bytes(req->messages.items, req->messages.count);
	end_request(ctx, store, store_db_turn_end(store->db, req, qmt_wall_ms(ctx), &err), &err, &store_done_type, NULL);
}

static void on_pin_put(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	struct qmt_err err;

	if (begin_request(ctx, store))
		end_request(
			ctx, store, store_db_pin_put(store->db, body, qmt_wall_ms(ctx), &err), &err, &store_done_type, NULL);
}

static void on_pin_forget(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	struct qmt_err err;

	if (begin_request(ctx, store))
		end_request(ctx, store, store_db_pin_forget(store->db, body, &err), &err, &store_done_type, NULL);
}

static void on_invite_add(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	struct qmt_err err;

	if (begin_request(ctx, store))
		end_request(ctx, store, store_db_invite_add(store->db, body, qmt_wall_ms(ctx), &store->arena, &err), &err,
			&store_done_type, NULL);
}

static void on_invite_revoke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	struct store_invite_revoked revoked = {0};
	struct qmt_err err;

	if (begin_request(ctx, store))
		end_request(ctx, store,
			store_db_invite_revoke(store->db, body, qmt_wall_ms(ctx), &store->arena, &revoked, &err), &err,
			&store_invite_revoked_type, &revoked);
}

static void on_admit(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	struct store_admitted admitted = {0};
	struct qmt_err err;

	if (begin_request(ctx, store))
		end_request(ctx, store, store_db_admit(store->db, body, qmt_wall_ms(ctx), &store->arena, &admitted, &err), &err,
			&store_admitted_type, &admitted);
}

/* A write that is answered by done. */
#define DONE_HANDLER(message)                                                                          \
	static void on_##message(struct qmt_ctx *ctx, void *state, const void *body)                       \
	{                                                                                                  \
		struct store *store = state;                                                                   \
		struct qmt_err err;                                                                            \
\
		if (begin_request(ctx, store))                                                                 \
			end_request(ctx, store, store_db_##message(store->db, body, qmt_wall_ms(ctx), &err), &err, \
				&store_done_type, NULL);                                                               \
	}
DONE_HANDLER(mesh_put)
DONE_HANDLER(mesh_forget)
DONE_HANDLER(addresses_put)
DONE_HANDLER(revocation_add)

static void on_audit_add(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	const struct store_audit_add *req = body;
	struct qmt_err err;

	if (begin_request(ctx, store))
		end_request(ctx, store, store_db_audit_note(store->db, &req->row, req->merge_ms, qmt_wall_ms(ctx), &err), &err,
			&store_done_type, NULL);
}

static void on_policy_put(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	struct qmt_err err;

	if (begin_request(ctx, store))
		end_request(
			ctx, store, store_db_policy_put(store->db, body, qmt_wall_ms(ctx), &err), &err, &store_done_type, NULL);
}

static void on_policy_forget(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct store *store = state;
	struct qmt_err err;

	if (begin_request(ctx, store))
		end_request(
			ctx, store, store_db_policy_forget(store->db, body, qmt_wall_ms(ctx), &err), &err, &store_done_type, NULL);
}

/* ---- reads ------------------------------------------------------------------------------------------------------- */

static void read_or_forward(struct qmt_ctx *ctx, struct store *store, uint32_t message, const void *body)
{
	if (qmt_ref_is_set(store->reader)) { /* which counts it */
		int r = qmt_forward(ctx, store->reader);

		if (r != 0)
			qmt_reply_fail(ctx, qmt_token(ctx), r > 0 ? r : QMT_FAIL_FAILED, NULL, 0, "the store's reader: %s",
				r > 0 ? qmt_fail_name(r) : strerror(-r));
		return;
	}
	store->requests++;
	end_batch(ctx, store); /* one connection: what is not committed must not be seen */
	store_read_of(message)(ctx, store->db, &store->arena, body);
	store_arena_reset(&store->arena);
}

#define READ_HANDLER(message)                                                    \
	static void on_##message(struct qmt_ctx *ctx, void *state, const void *body) \
	{                                                                            \
		read_or_forward(ctx, state, store_##message##_id, body);                 \
	}
READ_HANDLER(session_find)
READ_HANDLER(session_list)
READ_HANDLER(history)
READ_HANDLER(pin_get)
READ_HANDLER(audit_list)
READ_HANDLER(invite_list)
READ_HANDLER(mesh_list)

/* Asked to learn what became of a word whose answer was lost: what came before it is in it. */
static void on_policy_list(struct qmt_ctx *ctx, void *state, const void *body)
{
	end_batch(ctx, state);
	read_or_forward(ctx, state, store_policy_list_id, body);
}

static void on_metrics(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct store *store = state;
	const struct metric rows[] = {
		METRIC_VALUE(store_requests, store->requests),
		METRIC_VALUE(store_commits, store->commits),
		METRIC_VALUE(store_rows, store_db_rows(store->db)),
		METRIC_VALUE(store_failed_batches, store->failed_batches),
	};

	(void)body;
	(void)QMT_REPLY(ctx, qmt_token(ctx), metrics_values, .metrics = {rows, sizeof rows / sizeof *rows});
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static int open_and_recover(struct qmt_ctx *ctx, struct store *store, const char *path, struct qmt_err *err)
{
	uint64_t interrupted = 0;
	int r = store_db_open(path, &store->limits, STORE_DB_WRITE, &store->db, err);

	if (r == 0)
		r = store_db_recover(store->db, qmt_wall_ms(ctx), &interrupted, err);
	if (r == 0)
		QMT_LOG(ctx, QMT_INFO, "store.open", "path", path, "interrupted_turns", QMT_LOG_U64(interrupted));
	return r;
}

static int start_reader(struct qmt_ctx *ctx, struct store *store, struct qmt_err *err)
{
	const struct qmt_spawn spawn = {
		.name = "store/reader",
		.config = &store->reader_config,
		.restart = QMT_PERMANENT,
		.own_thread = true,
	};
	int r = qmt_spawn(ctx, &store_reader_desc, &spawn, &store->reader, err);

	if (r != 0)
		qmt_err_prefix(err, "store/reader");
	return r;
}

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct store *store = state;
	const struct store_config *c = config;
	struct qmt_err err = {.text = "out of memory"};
	int r = -ENOMEM;

	store->reader_config = (struct store_reader_config){.path = c->path, .limits = store->limits};
	store->answers = calloc(store->limits.batch_max, sizeof *store->answers);
	if (store->answers)
		r = open_and_recover(ctx, store, c->path, &err);
	if (r == 0 && strcmp(c->path, ":memory:") != 0)
		r = start_reader(ctx, store, &err);
	if (r != 0)
		qmt_fail(ctx, "%s", err.text);
	else
		(void)qmt_timer_start(ctx, 0, on_purge, NULL, &store->purge);
	return r;
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct store *store = state;

	end_batch(ctx, store);
	store->db = store_db_close(store->db);
	free(store->answers);
	store->answers = NULL;
	store_arena_fini(&store->arena);
}

static void flush(struct qmt_ctx *ctx, void *state)
{
	end_batch(ctx, state);
}

static qmt_handler *const handlers[store_message_count] = {
	[store_session_create_id] = on_session_create,
	[store_session_fork_id] = on_session_fork,
	[store_session_rename_id] = on_session_rename,
	[store_session_archive_id] = on_session_archive,
	[store_session_delete_id] = on_session_delete,
	[store_session_find_id] = on_session_find,
	[store_session_list_id] = on_session_list,
	[store_turn_begin_id] = on_turn_begin,
	[store_append_id] = on_append,
	[store_checkpoint_id] = on_checkpoint,
	[store_turn_end_id] = on_turn_end,
	[store_history_id] = on_history,
	[store_pin_get_id] = on_pin_get,
	[store_audit_list_id] = on_audit_list,
	[store_invite_list_id] = on_invite_list,
	[store_pin_put_id] = on_pin_put,
	[store_pin_forget_id] = on_pin_forget,
	[store_policy_put_id] = on_policy_put,
	[store_policy_forget_id] = on_policy_forget,
	[store_policy_list_id] = on_policy_list,
	[store_invite_add_id] = on_invite_add,
	[store_invite_revoke_id] = on_invite_revoke,
	[store_admit_id] = on_admit,
	[store_audit_add_id] = on_audit_add,
	[store_mesh_put_id] = on_mesh_put,
	[store_mesh_forget_id] = on_mesh_forget,
	[store_addresses_put_id] = on_addresses_put,
	[store_revocation_add_id] = on_revocation_add,
	[store_mesh_list_id] = on_mesh_list,
};

static qmt_handler *const metrics_handlers[metrics_message_count] = {[metrics_get_id] = on_metrics};

#define LIMIT_PARAM(name, dflt, min, max, doc) \
	{#name, QMT_PARAM_U64, (uint32_t)offsetof(struct store, limits.name), #dflt, min, max, doc},
static const struct qmt_param params[] = {STORE_LIMITS(LIMIT_PARAM){0}};

const struct qmt_actor_desc store_desc = {
	.abi = QMT_ABI,
	.name = "store",
	.doc = "Keeps sessions, messages, pins, invites, admissions, what was said of peers, and the audit.",
	.state_size = sizeof(struct store),
	.params = params,
	.accepts = {{&store_protocol, handlers}, {&metrics_protocol, metrics_handlers}},
	.start = start,
	.stop = stop,
	.flush = flush,
};
