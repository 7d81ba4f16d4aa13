/* actors/store/store_db_session.c - operations on a session as a whole: create, fork, rename, archive, delete.
 *
 * A fork is a row that names the session whose messages it goes on from, and how far: of several generations the one
 * that owns the message itself, so that a chain is no longer than it must be. A fork point never stands between a call
 * and its result, and so never between two rows of one owner that belong together.
 *
 *     active --delete--> deleted, purge wanted --nothing is left, no fork--> gone (its deleted parent wants purge)
 *                          ^        |
 *                          |        +--forks read up to max(fork_pos)--> deleted, purged --a fork goes--+
 *                          +-----------------------------------------------------------------------------+
 *
 * What is deleted goes bit by bit, between batches: a long session must not hold up everybody's writes.
 */
#include <errno.h>
#include <inttypes.h>

#include "actors/store/store_db_impl.h"
#include "proto/json.h"
#include "proto/utf8.h"

/* 0: *ret_session is set; STORE_E_NOT_FOUND without a text: no row. */
static int one_session(struct store_db *db, sqlite3_stmt *stmt, struct store_arena *arena,
	struct store_session *ret_session, struct qmt_err *err)
{
	int r = store__step(db, stmt, err);

	if (r != STORE_ROW)
		return r < 0 ? r : STORE_E_NOT_FOUND;
	r = store__session_row(db, stmt, arena, ret_session, err);
	store__done(stmt);
	return r;
}

static int session_by_id(struct store_db *db, struct qmt_str id, struct store_arena *arena,
	struct store_session *ret_session, struct qmt_err *err)
{
	sqlite3_stmt *stmt;
	int r = store__query(db, err, &stmt, SESSION_BY_ID, V_TEXT(id));

	return r < 0 ? r : one_session(db, stmt, arena, ret_session, err);
}

static int check_owner_max(struct store_db *db, struct qmt_str owner, uint64_t max, struct qmt_err *err)
{
	uint64_t count = 0;
	int r = owner.len && max ? store__session_count(db, owner, STORE_ALL, &count, err) : 0;

	if (r == 0 && max && count >= max)
		return qmt_err_set(err, STORE_E_LIMIT,
			"this peer has %llu sessions here, no more are allowed (to change that: [mesh] max_remote_sessions there)",
			(unsigned long long)count);
	return r;
}

/* A deleted session that forks use keeps its id. */
static int check_not_deleted(struct store_db *db, struct qmt_str id, struct qmt_err *err)
{
	uint64_t deleted = 0;
	sqlite3_stmt *stmt;
	int r = store__query(db, err, &stmt, SESSION_DELETED, V_TEXT(id));

	if (r == 0)
		r = store__number(db, stmt, &deleted, err);
	if (r == 0 && deleted)
		r = qmt_err_set(err, STORE_E_BAD, "id %.*s: is the id of a session that was deleted", QMT_STR_ARG(id));
	return r;
}

int store_db_session_create(struct store_db *db, const struct store_session_create *req, const char *fresh_id,
	uint64_t now_ms, struct store_arena *arena, struct store_session *ret_session, struct qmt_err *err)
{
	const struct store_session *s = &req->session;
	struct qmt_str id = s->id.len > 0 ? s->id : qmt_str(fresh_id);
	struct store_session there;
	sqlite3_stmt *stmt;
	int r = store__check_session(db, req, err);

	if (r != 0)
		return r;
	r = store__query(db, err, &stmt, SESSION_BY_REQUEST, V_TEXT(s->owner), V_TEXT(req->request));
	if (r == 0)
		r = one_session(db, stmt, arena, ret_session, err);
	if (r != STORE_E_NOT_FOUND)
		return r;
	r = session_by_id(db, id, arena, &there, err);
	if (r == 0) {
		if (!qmt_str_eq(there.owner, s->owner) || !qmt_str_eq(there.peer, s->peer) || s->peer.len == 0)
			return qmt_err_set(err, STORE_E_BAD, "id %.*s: a session with this id exists", QMT_STR_ARG(id));
		*ret_session = there;
		return 0;
	}
	if (r == STORE_E_NOT_FOUND)
		r = check_not_deleted(db, id, err);
	if (r != 0)
		return r;
	r = check_owner_max(db, s->owner, req->owner_max, err);
	if (r != 0)
		return r;
	r = store__run(db, err, SESSION_INSERT, V_TEXT(id), V_TEXT(s->owner), V_TEXT(req->request), V_TEXT(s->name),
		V_TEXT(s->agent), V_TEXT(s->cwd), V_TEXT(s->peer), V_TEXT(s->peer_name), V_TEXT(s->title),
		V_INT(s->remote_tools), V_INT(now_ms));
	if (r == 0)
		r = session_by_id(db, id, arena, ret_session, err);
	return r == STORE_E_NOT_FOUND ? store__fault(db, err) : r;
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

/* Where a fork leaves the session that it comes from. */
struct fork_point {
	int64_t key; /* owner of the message */
	uint64_t pos, turn, nth;
};

/* Is there a message at `pos` of the session `key`, and are all calls up to there answered? */
static int check_point(
	struct store_db *db, int64_t key, uint64_t pos, bool exact, struct fork_point *ret_point, struct qmt_err *err)
{
	uint64_t made = 0, calls = 0, results = 0;
	sqlite3_stmt *stmt;
	int r = store__query(db, err, &stmt, MESSAGE_BEFORE, V_INT(key), V_INT(pos));

	if (r == 0)
		r = store__step(db, stmt, err);
	if (r != STORE_ROW)
		return r < 0 ? r : STORE_E_NOT_FOUND;
	*ret_point = (struct fork_point){.key = key,
		.pos = store__column_u64(stmt, 0),
		.turn = store__column_u64(stmt, 1),
		.nth = sqlite3_column_type(stmt, 11) == SQLITE_NULL ? store__column_u64(stmt, 0) : store__column_u64(stmt, 11)};
	store__done(stmt);
	if (exact && ret_point->pos != pos)
		return qmt_err_set(err, STORE_E_BAD,
			"position %" PRIu64 " is an event, not a message: the last message before it is at %" PRIu64, pos,
			ret_point->pos);
	r = store__query(db, err, &stmt, CALLS_AT, V_INT(key), V_INT(ret_point->pos));
	if (r == 0)
		r = store__step(db, stmt, err);
	if (r != STORE_ROW)
		return r;
	made = store__column_u64(stmt, 0);
	calls = store__column_u64(stmt, 1);
	results = store__column_u64(stmt, 2);
	store__done(stmt);
	if (results >= calls)
		return 0;
	if (!exact && made > 1) /* before the calls were made, nothing is open */
		return check_point(db, key, made - 1, false, ret_point, err);
	return qmt_err_set(err, STORE_E_BAD,
		"message %" PRIu64 " stands between a tool call and its result: fork at %" PRIu64
		" or earlier, or behind the last result of message %" PRIu64,
		pos, made - 1, made);
}

/* Is the message that the session `of` has at `pos` the one that this owner has there? */
static int check_of(struct store_db *db, struct qmt_str of, const struct store_slot *source, int64_t owner,
	uint64_t pos, struct store_arena *arena, struct qmt_err *err)
{
	struct qmt_str id = {0};
	sqlite3_stmt *stmt;
	int r;

	if (of.len == 0 || qmt_str_is(of, source->id))
		return 0;
	r = store__query(db, err, &stmt, SESSION_ID, V_INT(owner));
	if (r == 0)
		r = store__step(db, stmt, err);
	if (r != STORE_ROW)
		return r < 0 ? r : store__fault(db, err);
	r = store__column(db, stmt, 0, arena, &id, err);
	store__done(stmt);
	if (r < 0 || qmt_str_eq(of, id))
		return r;
	return qmt_err_set(err, STORE_E_BAD,
		"message %" PRIu64 " of session %.*s is none of session %s: its own message there is of session %.*s", pos,
		QMT_STR_ARG(utf8_head(of, 2 * STORE_ID_CHARS)), source->id, QMT_STR_ARG(id));
}

static int find_point(struct store_db *db, const struct store_slot *source, uint64_t pos, struct qmt_str of,
	struct store_arena *arena, struct fork_point *ret_point, struct qmt_err *err)
{
	bool exact = pos != 0;
	struct store_segment *chain;
	uint32_t count, ancestors;
	int r;

	if (pos > source->last_pos || source->last_pos == 0)
		return qmt_err_set(err, STORE_E_BAD, "session %s has no message %" PRIu64 ": its last is %" PRIu64, source->id,
			pos, source->last_pos);
	if (!exact)
		pos = source->last_pos;
	/* whole: the fork's own chain must not be too long either */
	r = store__chain(db, source->key, source->last_pos, 1, arena, &chain, &count, err);
	if (r != 0)
		return r;
	for (uint32_t i = 0; i < count; i++) {
		if (pos <= chain[i].after)
			continue;
		ancestors = count - i;
		if (ancestors > db->limits.fork_depth_max)
			return qmt_err_set(err, STORE_E_TOO_LARGE,
				"session %s has %u ancestors: a fork of it would have more than [store] fork_depth_max (%" PRIu64
				")",
				source->id, ancestors - 1, db->limits.fork_depth_max);
		r = exact ? check_of(db, of, source, chain[i].key, pos, arena, err) : 0;
		if (r == 0)
			r = check_point(db, chain[i].key, pos, exact, ret_point, err);
		if (r != STORE_E_NOT_FOUND)
			return r;
		if (exact)
			break;
		pos = chain[i].after; /* of its own it has nothing that would do */
	}
	return qmt_err_set(err, STORE_E_BAD, "session %s has no message to fork at", source->id);
}

static int insert_fork(struct store_db *db, const struct store_session_fork *req, const struct store_slot *source,
	const struct fork_point *point, struct qmt_str name, const char *fresh_id, uint64_t now_ms, struct qmt_err *err)
{
	struct qmt_buf data QMT_CLEANUP(qmt_buf_free) = {0};
	struct store_slot *slot;
	int r = store__run(db, err, SESSION_FORK_INSERT, V_TEXT(qmt_str(fresh_id)), V_TEXT(req->owner),
		V_TEXT(req->request), V_TEXT(name), V_INT(now_ms), V_INT(point->key), V_INT(point->pos), V_INT(point->turn),
		V_INT(point->nth), V_INT(source->key));

	qmt_buf_printf(&data, "{\"from\":\"%s\",\"pos\":%" PRIu64 "}", source->id, point->pos);
	if (r == 0)
		r = store__slot_get(db, qmt_str(fresh_id), &slot, err); /* may take the place of source's */
	return r == 0 ? store__insert_event(db, slot, "forked", &data, now_ms, err) : r;
}

int store_db_session_fork(struct store_db *db, const struct store_session_fork *req, const char *fresh_id,
	uint64_t now_ms, struct store_arena *arena, struct store_session *ret_session, struct qmt_err *err)
{
	struct qmt_buf name QMT_CLEANUP(qmt_buf_free) = {0};
	struct store_session from;
	struct store_slot *slot, source;
	struct fork_point point;
	sqlite3_stmt *stmt;
	int r = store__check_name(db, "request", req->request, true, err);

	if (r == 0)
		r = store__check_name(db, "name", req->name, false, err);
	if (r == 0)
		r = store__check_name(db, "owner", req->owner, false, err);
	if (r == 0)
		r = store__query(db, err, &stmt, SESSION_BY_REQUEST, V_TEXT(req->owner), V_TEXT(req->request));
	if (r != 0)
		return r;
	r = one_session(db, stmt, arena, ret_session, err);
	if (r != STORE_E_NOT_FOUND)
		return r;
	r = store__slot_get(db, req->session, &slot, err);
	if (r != 0)
		return r;
	source = *slot;
	if (source.bookmark)
		return qmt_err_set(err, STORE_E_BAD, "session %s lives on another node: fork it there", source.id);
	r = session_by_id(db, req->session, arena, &from, err);
	if (r == 0)
		r = find_point(db, &source, req->pos, req->of, arena, &point, err);
	if (r == 0)
		r = check_owner_max(db, req->owner, req->owner_max, err);
	if (r != 0)
		return r;
	if (req->name.len)
		qmt_buf_printf(&name, "%.*s", QMT_STR_ARG(req->name));
	else if (from.name.len)
		qmt_buf_printf(
			&name, "Fork of %.*s", QMT_STR_ARG(utf8_head(from.name, (uint32_t)db->limits.name_max_bytes - 8)));
	r = name.failed ? store__no_memory(db, err) : 0;
	if (r == 0)
		r = insert_fork(db, req, &source, &point, qmt_buf_view(&name), fresh_id, now_ms, err);
	if (r == 0)
		r = session_by_id(db, qmt_str(fresh_id), arena, ret_session, err);
	return r == STORE_E_NOT_FOUND ? store__fault(db, err) : r;
}

/* ---- rename, archive, delete ------------------------------------------------------------------------------------- */

/* The session's slot, unless a turn of it runs. */
static int idle_session(struct store_db *db, struct qmt_str id, struct store_slot **ret_slot, struct qmt_err *err)
{
	int r = store__slot_get(db, id, ret_slot, err);

	if (r == 0 && (*ret_slot)->running)
		return qmt_err_set(err, STORE_E_BUSY,
			"turn %" PRIu64 " of session %s is under way: wait for its end, or cancel it", (*ret_slot)->last_turn,
			(*ret_slot)->id);
	return r;
}

/* Of a bookmark the events are where the session is. */
static int note(struct store_db *db, struct store_slot *slot, const char *kind, const struct qmt_buf *data,
	uint64_t now_ms, struct qmt_err *err)
{
	return slot->bookmark ? 0 : store__insert_event(db, slot, kind, data, now_ms, err);
}

int store_db_session_rename(struct store_db *db, const struct store_session_rename *req, uint64_t now_ms,
	struct store_arena *arena, struct store_session *ret_session, struct qmt_err *err)
{
	struct qmt_buf data QMT_CLEANUP(qmt_buf_free) = {0};
	struct store_session session;
	struct store_slot *slot;
	int r = store__check_name(db, "name", req->name, false, err);

	if (r == 0)
		r = store__slot_get(db, req->session, &slot, err);
	if (r == 0)
		r = session_by_id(db, req->session, arena, &session, err);
	if (r == 0 && !qmt_str_eq(session.name, req->name)) {
		qmt_buf_printf(&data, "{\"name\":");
		json_quote(&data, req->name);
		qmt_buf_printf(&data, "}");
		r = store__run(db, err, SESSION_RENAME, V_TEXT(req->name), V_INT(slot->key));
		if (r == 0)
			r = note(db, slot, "renamed", &data, now_ms, err);
		if (r == 0)
			r = session_by_id(db, req->session, arena, &session, err);
	}
	if (r == 0)
		*ret_session = session;
	return r;
}

int store_db_session_archive(struct store_db *db, const struct store_session_archive *req, uint64_t now_ms,
	struct store_arena *arena, struct store_session *ret_session, struct qmt_err *err)
{
	const struct qmt_buf nothing = {.data = (char[]){"{}"}, .len = 2};
	struct store_slot *slot;
	int r = idle_session(db, req->session, &slot, err);

	if (r == 0 && slot->archived != req->archived) {
		r = store__run(db, err, SESSION_ARCHIVE, V_INT(req->archived ? now_ms : 0), V_INT(slot->key));
		if (r == 0)
			r = note(db, slot, req->archived ? "archived" : "unarchived", &nothing, now_ms, err);
		if (r == 0)
			slot->archived = req->archived;
	}
	return r == 0 ? session_by_id(db, req->session, arena, ret_session, err) : r;
}

int store_db_session_delete(
	struct store_db *db, const struct store_session_delete *req, uint64_t now_ms, struct qmt_err *err)
{
	struct store_slot *slot;
	int r = idle_session(db, req->session, &slot, err);

	if (r == 0)
		r = store__run(db, err, SESSION_DELETE, V_INT(now_ms), V_INT(slot->key));
	if (r == 0)
		*slot = (struct store_slot){0};
	return r;
}

/* ---- purge ------------------------------------------------------------------------------------------------------- */

/* Deletes up to `rows` rows of one kind behind position `keep`. */
static int purge_rows(
	struct store_db *db, enum store_sql id, int64_t key, int64_t keep, uint32_t *inout_left, struct qmt_err *err)
{
	const struct store_value values[] = {V_INT(key), V_INT(keep), V_INT(*inout_left)};
	int r;

	if (*inout_left == 0)
		return 0;
	r = store__run_values(db, id, values, 3, err);
	if (r == 0)
		*inout_left -= (uint32_t)sqlite3_changes(db->sql);
	return r;
}

/* Nothing of it is left to delete: it goes itself, unless forks read from it. */
static int purge_end(struct store_db *db, int64_t key, bool kept, struct qmt_err *err)
{
	int r;

	if (kept)
		return store__run(db, err, PURGE_KEPT, V_INT(key));
	r = store__run(db, err, PURGE_PARENT, V_INT(key));
	return r == 0 ? store__run(db, err, PURGE_SESSION, V_INT(key)) : r;
}

int store_db_purge(struct store_db *db, uint32_t rows, bool *ret_more, struct qmt_err *err)
{
	static const enum store_sql kinds[] = {STORE_SQL_PURGE_CALLS, STORE_SQL_PURGE_MESSAGES, STORE_SQL_PURGE_TURNS};
	uint32_t left = rows;
	sqlite3_stmt *stmt;
	int64_t key, keep;
	int r = store__query_values(db, STORE_SQL_PURGE_NEXT, NULL, 0, &stmt, err);

	if (r == 0)
		r = store__step(db, stmt, err);
	*ret_more = r == STORE_ROW;
	if (r != STORE_ROW)
		return r;
	key = sqlite3_column_int64(stmt, 0);
	store__done(stmt);
	r = store__query(db, err, &stmt, PURGE_KEEP, V_INT(key));
	if (r == 0)
		r = store__step(db, stmt, err);
	if (r != STORE_ROW)
		return r < 0 ? r : store__fault(db, err);
	keep = sqlite3_column_int64(stmt, 0);
	store__done(stmt);
	r = 0;
	for (size_t i = 0; r == 0 && i < sizeof kinds / sizeof *kinds; i++)
		r = purge_rows(db, kinds[i], key, keep, &left, err);
	if (r == 0 && left > 0)
		r = purge_end(db, key, keep >= 0, err);
	return r;
}
