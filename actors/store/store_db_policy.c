/* actors/store/store_db_policy.c - what the owner says of peers (qmt peers allow, block, forget). */
#include "actors/store/store_db_impl.h"

static bool is_policy(struct qmt_str word)
{
#define IS(name, doc) || qmt_str_is(word, #name)
	return false STORE_POLICIES(IS);
#undef IS
}

/* The one number that a statement gives. */
static int number_of(struct store_db *db, sqlite3_stmt *stmt, uint64_t *ret_number, struct qmt_err *err)
{
	int r = store__step(db, stmt, err);

	if (r != STORE_ROW)
		return r;
	*ret_number = store__column_u64(stmt, 0);
	store__done(stmt);
	return 0;
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
	int r = store__check_name(db, "peer_id", req->peer_id, true, err);

	if (r == 0)
		r = store__check_name(db, "name", req->name, false, err);
	if (r == 0 && !is_policy(req->policy))
		r = qmt_err_set(err, STORE_E_BAD, "policy: \"%.*s\" is none", QMT_STR_ARG(req->policy));
	if (r == 0 && req->name.len)
		r = check_policy_name(db, req, err);
	if (r == 0)
		r = store__query(db, err, &stmt, POLICY_COUNT, V_TEXT(req->peer_id));
	if (r == 0)
		r = number_of(db, stmt, &others, err);
	if (r == 0 && others >= db->limits.policies_max)
		r = qmt_err_set(err, STORE_E_TOO_LARGE,
			"policies_max = %llu peers are allowed or blocked: qmt peers forget one, or set [store] policies_max",
			(unsigned long long)db->limits.policies_max);
	return r
		? r
		: store__run(db, err, POLICY_PUT, V_TEXT(req->peer_id), V_TEXT(req->policy), V_TEXT(req->name), V_INT(now_ms));
}

int store_db_policy_forget(struct store_db *db, const struct store_policy_forget *req, struct qmt_err *err)
{
	int r = store__run(db, err, POLICY_FORGET, V_TEXT(req->peer_id));

	if (r == 0 && sqlite3_changes(db->sql) == 0)
		r = qmt_err_set(err, STORE_E_NOT_FOUND, "peer %.*s is neither allowed nor blocked", QMT_STR_ARG(req->peer_id));
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
		r = number_of(db, stmt, &most, err);
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
