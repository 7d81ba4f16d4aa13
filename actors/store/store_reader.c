/* actors/store/store_reader.c - see the header. The arena is given back after each answer: a reply is copied. */
#include "actors/store/store_reader.h"

#include <errno.h>

struct store_reader {
	struct store_db *db;
	struct store_arena arena;
	uint64_t requests; /* for metrics.get */
};

void store_reply_fail(struct qmt_ctx *ctx, struct qmt_token token, int result, const char *text)
{
	static const int fails[] = {
		[STORE_E_NOT_FOUND] = QMT_FAIL_NOT_FOUND,
		[STORE_E_BAD] = QMT_FAIL_BAD_REQUEST,
		[STORE_E_TOO_LARGE] = QMT_FAIL_TOO_LARGE,
		[STORE_E_BUSY] = QMT_FAIL_FAILED,
		[STORE_E_ENDED] = QMT_FAIL_FAILED,
		[STORE_E_LIMIT] = QMT_FAIL_TOO_LARGE,
	};
	int fail = result > 0 ? fails[result] : QMT_FAIL_FAILED;

	qmt_reply_fail(ctx, token, fail, store_db_kind(result), 0, "%s", text);
}

#define READ(message, reply)                                                                                          \
	static void read_##message(struct qmt_ctx *ctx, struct store_db *db, struct store_arena *arena, const void *body) \
	{                                                                                                                 \
		struct store_##reply answer;                                                                                  \
		struct qmt_err err;                                                                                           \
		int r = store_db_##message(db, body, arena, &answer, &err);                                                   \
\
		if (r == 0)                                                                                                   \
			qmt_reply(ctx, qmt_token(ctx), &store_##reply##_type, &answer);                                           \
		else                                                                                                          \
			store_reply_fail(ctx, qmt_token(ctx), r, err.text);                                                       \
	}
READ(session_list, sessions)
READ(history, page)
READ(pin_get, pin)
READ(policy_list, policies)
READ(audit_list, audits)
READ(invite_list, invites)
READ(mesh_list, mesh_list_reply)

static void read_session_find(struct qmt_ctx *ctx, struct store_db *db, struct store_arena *arena, const void *body)
{
	struct store_session_found answer;
	struct qmt_err err;
	int r = store_db_session_find(db, body, arena, &answer.session, &err);

	if (r == 0)
		qmt_reply(ctx, qmt_token(ctx), &store_session_found_type, &answer);
	else
		store_reply_fail(ctx, qmt_token(ctx), r, err.text);
}

store_read *store_read_of(uint32_t message)
{
	static store_read *const reads[store_message_count] = {
		[store_session_find_id] = read_session_find,
		[store_session_list_id] = read_session_list,
		[store_history_id] = read_history,
		[store_pin_get_id] = read_pin_get,
		[store_policy_list_id] = read_policy_list,
		[store_audit_list_id] = read_audit_list,
		[store_invite_list_id] = read_invite_list,
		[store_mesh_list_id] = read_mesh_list,
	};

	return message < store_message_count ? reads[message] : NULL;
}

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct store_reader *reader = state;
	const struct store_reader_config *c = config;
	struct qmt_err err;
	int r = store_db_open(c->path, &c->limits, STORE_DB_READ, &reader->db, &err);

	if (r < 0)
		qmt_fail(ctx, "%s", err.text);
	return r;
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct store_reader *reader = state;

	(void)ctx;
	reader->db = store_db_close(reader->db);
	store_arena_fini(&reader->arena);
}

static void handle(struct qmt_ctx *ctx, void *state, uint32_t message, const void *body)
{
	struct store_reader *reader = state;

	reader->requests++;
	store_read_of(message)(ctx, reader->db, &reader->arena, body);
	store_arena_reset(&reader->arena);
}

#define HANDLER(message)                                                         \
	static void on_##message(struct qmt_ctx *ctx, void *state, const void *body) \
	{                                                                            \
		handle(ctx, state, store_##message##_id, body);                          \
	}
HANDLER(session_find)
HANDLER(session_list)
HANDLER(history)
HANDLER(pin_get)
HANDLER(policy_list)
HANDLER(audit_list)
HANDLER(invite_list)
HANDLER(mesh_list)

static qmt_handler *const handlers[store_message_count] = {
	[store_session_find_id] = on_session_find,
	[store_session_list_id] = on_session_list,
	[store_history_id] = on_history,
	[store_pin_get_id] = on_pin_get,
	[store_policy_list_id] = on_policy_list,
	[store_audit_list_id] = on_audit_list,
	[store_invite_list_id] = on_invite_list,
	[store_mesh_list_id] = on_mesh_list,
};

/* The rest is the store's; the two rows of this name are added up by who asked both. */
static void on_metrics(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct store_reader *reader = state;
	const struct metric row = METRIC_VALUE(store_requests, reader->requests);

	(void)body;
	(void)QMT_REPLY(ctx, qmt_token(ctx), metrics_values, .metrics = {&row, 1});
}

static qmt_handler *const metrics_handlers[metrics_message_count] = {[metrics_get_id] = on_metrics};

const struct qmt_actor_desc store_reader_desc = {
	.abi = QMT_ABI,
	.name = "store_reader",
	.doc = "Reads the store on a connection of its own.",
	.state_size = sizeof(struct store_reader),
	.accepts = {{&store_protocol, handlers}, {&metrics_protocol, metrics_handlers}},
	.start = start,
	.stop = stop,
};
