/* actors/store/store_db_policy.c - what the owner says of peers (qmt peers allow, block, forget). */
#include "actors/store/store_db_impl.h"

static bool is_policy(struct qmt_str word)
{
#define IS(name, doc) || qmt_str_is(word, #name)
	return false STORE_POLICIES(IS);
#undef IS
}

/* PeerIds, names and events have bounds of their own, whatever the owner allows names of sessions to be. */
static int check_field(const char *what, struct qmt_str text, uint32_t max, bool needed, struct qmt_err *err)
{
	if (needed && text.len == 0)
		return qmt_err_set(err, STORE_E_BAD, "%s: is missing", what);
	if (text.len > max)
		return qmt_err_set(err, STORE_E_TOO_LARGE, "%s: %u bytes, the bound is %u", what, text.len, max);
	for (uint32_t i = 0; i < text.len; i++)
		if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f)
			return qmt_err_set(err, STORE_E_BAD, "%s: has a control character at byte %u", what, i + 1);
	return 0;
}

/* The audit row of a word, in the transaction of the word. */
static int note_word(struct store_db *db, const char *event, struct qmt_str peer_id, struct qmt_str text,
	uint64_t now_ms, struct qmt_err *err)
{
	return store_db_audit_add(
		db, &(struct store_audit){.event = qmt_str(event), .peer_id = peer_id, .text = text}, now_ms, err);
}

static int check_policy_name(struct store_db *db, const struct store_policy_put *req, struct qmt_err *err)
{
	struct store_arena arena QMT_CLEANUP(store_arena_fini) = {0};
	struct qmt_str other = {0};
	sqlite3_stmt *stmt;
	int r = store__query(db, err, &stmt, POLICY_NAMED, V_TEXT(req->name), V_TEXT(req->peer_id));

	if (r == 0)
		r = store__step(db, stmt, err);
	if (r != STORE_ROW)
		return r;
	r = store__column(db, stmt, 0, &arena, &other, err);
	store__done(stmt);
	return r ? r
			 : qmt_err_set(err, STORE_E_BAD, "%.*s is already called %.*s: choose another name", QMT_STR_ARG(other),
				   QMT_STR_ARG(req->name));
}

int store_db_policy_put(struct store_db *db, const struct store_policy_put *req, uint64_t now_ms, struct qmt_err *err)
{
	uint64_t others = 0;
	sqlite3_stmt *stmt;
	int r = check_field("peer_id", req->peer_id, STORE_PEER_CHARS, true, err);

	if (r == 0)
		r = check_field("name", req->name, STORE_POLICY_NAME, false, err);
	if (r == 0)
		r = check_field("note", req->note, STORE_AUDIT_TEXT, false, err);
	if (r == 0 && !is_policy(req->policy))
		r = qmt_err_set(err, STORE_E_BAD, "policy: \"%.*s\" is none", QMT_STR_ARG(req->policy));
	if (r == 0 && req->name.len)
		r = check_policy_name(db, req, err);
	if (r == 0)
		r = store__query(db, err, &stmt, POLICY_COUNT, V_TEXT(req->peer_id));
	if (r == 0)
		r = store__number(db, stmt, &others, err);
	if (r == 0 && others >= db->limits.policies_max)
		r = qmt_err_set(err, STORE_E_TOO_LARGE,
			"policies_max = %llu peers are allowed or blocked: qmt peers forget one, or set [store] policies_max",
			(unsigned long long)db->limits.policies_max);
	if (r == 0)
		r = store__run(
			db, err, POLICY_PUT, V_TEXT(req->peer_id), V_TEXT(req->policy), V_TEXT(req->name), V_INT(now_ms));
	if (r == 0)
		r = note_word(db, qmt_str_is(req->policy, "block") ? "peer_blocked" : "peer_allowed", req->peer_id, req->note,
			now_ms, err);
	return r;
}

int store_db_policy_forget(
	struct store_db *db, const struct store_policy_forget *req, uint64_t now_ms, struct qmt_err *err)
{
	int r = check_field("peer_id", req->peer_id, STORE_PEER_CHARS, true, err);

	if (r == 0)
		r = check_field("note", req->note, STORE_AUDIT_TEXT, false, err);
	if (r == 0)
		r = store__run(db, err, POLICY_FORGET, V_TEXT(req->peer_id));
	if (r == 0 && sqlite3_changes(db->sql) == 0)
		return qmt_err_set(
			err, STORE_E_NOT_FOUND, "peer %.*s is neither allowed nor blocked", QMT_STR_ARG(req->peer_id));
	if (r == 0)
		r = note_word(db, "peer_forgotten", req->peer_id, req->note, now_ms, err);
	return r;
}

int store_db_policy_list(struct store_db *db, const struct store_policy_list *req, struct store_arena *arena,
	struct store_policies *ret_policies, struct qmt_err *err)
{
	struct store_policy *items = NULL;
	uint64_t most = 0;
	uint32_t count = 0;
	sqlite3_stmt *stmt;
	int r = store__query(db, err, &stmt, POLICY_COUNT, V_TEXT(qmt_str("")));

	(void)req;
	if (r == 0)
		r = store__number(db, stmt, &most, err);
	if (r == 0 && most) {
		items = store_arena_take(arena, (size_t)most * sizeof *items);
		if (!items)
			return store__no_memory(db, err);
	}
	if (r == 0)
		r = store__query_values(db, STORE_SQL_POLICY_LIST, NULL, 0, &stmt, err);
	while (r == 0 && (r = store__step(db, stmt, err)) == STORE_ROW) {
		struct store_policy *item = &items[count];

		if (count == most) { /* one more since the count: the next look shows it */
			store__done(stmt);
			r = 0;
			break;
		}
		*item = (struct store_policy){.since_ms = store__column_u64(stmt, 3)};
		r = store__column(db, stmt, 0, arena, &item->peer_id, err);
		if (r == 0)
			r = store__column(db, stmt, 1, arena, &item->policy, err);
		if (r == 0)
			r = store__column(db, stmt, 2, arena, &item->name, err);
		if (r != 0)
			store__done(stmt);
		count++;
	}
	if (r == 0)
		*ret_policies = (struct store_policies){.policies = {items, count}};
	return r;
}
