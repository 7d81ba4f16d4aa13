/* actors/store/store_db_admission.c - invites and who was admitted by them.
 *
 * A use is counted in the same transaction that looks whether there is one left, and all of that through the one
 * connection that writes: of any number that ask for the last use one gets it, whatever dies in between. What was
 * decided is in the audit log in that transaction, too.
 */
#include <errno.h>

#include "actors/store/store_db_impl.h"

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static int check_id(struct qmt_str id, struct qmt_err *err)
{
	return id.len == STORE_ID_CHARS ? 0 : qmt_err_set(err, STORE_E_BAD, "invite: its id is a uuid");
}

static int check_peer(struct qmt_str id, struct qmt_err *err)
{
	return id.len == STORE_PEER_CHARS ? 0 : qmt_err_set(err, STORE_E_BAD, "peer_id: no PeerId");
}

/* The name in it is an inviter's: any UTF-8, also control characters; the caller has looked at its form. */
static int check_mesh(struct qmt_str mesh, struct qmt_err *err)
{
	return mesh.len > STORE_PEER_CHARS && mesh.len <= STORE_MESH_BYTES
		? 0
		: qmt_err_set(err, STORE_E_BAD, "mesh: no mesh id of up to %d bytes", STORE_MESH_BYTES);
}

/* ---- audit ------------------------------------------------------------------------------------------------------- */

/* The bounds are the store's own: what is noted must not depend on what the owner allows names to be. */
static int check_audit(const struct store_audit *req, struct qmt_err *err)
{
	if (req->event.len == 0)
		return qmt_err_set(err, STORE_E_BAD, "event: is missing");
	if (req->event.len > STORE_EVENT_BYTES || req->text.len > STORE_AUDIT_TEXT || req->mesh.len > STORE_MESH_BYTES ||
		req->invite.len > STORE_ID_CHARS || req->peer_id.len > STORE_PEER_CHARS)
		return qmt_err_set(
			err, STORE_E_TOO_LARGE, "a field of an audit row is too long (text: %d bytes)", STORE_AUDIT_TEXT);
	return 0;
}

int store_db_audit_note(
	struct store_db *db, const struct store_audit *req, uint64_t merge_ms, uint64_t now_ms, struct qmt_err *err)
{
	uint64_t count = req->count ? req->count : 1, since_ms = now_ms > merge_ms ? now_ms - merge_ms : 0;
	int r = check_audit(req, err);

	if (r == 0 && merge_ms) {
		r = store__run(db, err, AUDIT_MERGE, V_INT(count), V_INT(now_ms), V_TEXT(req->text), V_TEXT(req->event),
			V_TEXT(req->mesh), V_TEXT(req->invite), V_TEXT(req->peer_id), V_INT(since_ms));
		if (r == 0 && sqlite3_changes(db->sql) > 0)
			return 0;
	}
	if (r == 0)
		r = store__run(db, err, AUDIT_INSERT, V_INT(now_ms), V_TEXT(req->event), V_TEXT(req->mesh), V_TEXT(req->invite),
			V_TEXT(req->peer_id), V_TEXT(req->text), V_INT(count));
	if (r == 0)
		r = store__run(db, err, AUDIT_TRIM, V_INT(db->limits.audit_max));
	return r;
}

int store_db_audit_add(struct store_db *db, const struct store_audit *req, uint64_t now_ms, struct qmt_err *err)
{
	return store_db_audit_note(db, req, 0, now_ms, err);
}

/* Of fields that were looked at before anything was written. */
static int note(struct store_db *db, const char *event, const struct store_invite *invite, struct qmt_str peer_id,
	const char *text, uint64_t now_ms, struct qmt_err *err)
{
	return store_db_audit_add(db,
		&(struct store_audit){.event = qmt_str(event),
			.mesh = invite->mesh,
			.invite = invite->id,
			.peer_id = peer_id,
			.text = qmt_str(text)},
		now_ms, err);
}

static int audit_row(struct store_db *db, sqlite3_stmt *stmt, struct store_arena *arena, struct store_audit *ret_row,
	struct qmt_err *err)
{
	struct store_audit row = {.seq = store__column_u64(stmt, 0), .at_ms = store__column_u64(stmt, 1),
		.count = store__column_u64(stmt, 7),
		.last_ms = store__column_u64(stmt, 8)};
	struct qmt_str *const texts[] = {&row.event, &row.mesh, &row.invite, &row.peer_id, &row.text};
	int r = 0;

	for (int i = 0; r == 0 && i < 5; i++)
		r = store__column(db, stmt, i + 2, arena, texts[i], err);
	if (row.last_ms == 0)
		row.last_ms = row.at_ms;
	if (r == 0)
		*ret_row = row;
	return r;
}

static uint32_t bounded(uint32_t asked, uint32_t dflt, uint32_t max)
{
	return asked == 0 ? dflt : asked < max ? asked : max;
}

int store_db_audit_list(struct store_db *db, const struct store_audit_list *req, struct store_arena *arena,
	struct store_audits *ret_audits, struct qmt_err *err)
{
	uint32_t limit = bounded(req->limit, STORE_AUDIT_DEFAULT, STORE_AUDIT_MAX), count = 0;
	struct store_audit *rows = store_arena_take(arena, (limit + 1) * sizeof *rows);
	int64_t before = req->before == 0 || req->before > INT64_MAX ? INT64_MAX : (int64_t)req->before;
	sqlite3_stmt *stmt;
	int r = rows ? store__query(db, err, &stmt, AUDIT_LIST, V_INT(before), V_INT(limit)) : store__no_memory(db, err);

	if (r < 0)
		return r;
	while ((r = store__step(db, stmt, err)) == STORE_ROW) {
		r = count < limit ? audit_row(db, stmt, arena, &rows[count++], err) : 0;
		if (r < 0) {
			store__done(stmt);
			return r;
		}
	}
	if (r < 0)
		return r;
	*ret_audits = (struct store_audits){.rows = {rows, count}};
	return 0;
}

/* ---- invites ----------------------------------------------------------------------------------------------------- */

static int invite_row(struct store_db *db, sqlite3_stmt *stmt, struct store_arena *arena,
	struct store_invite *ret_invite, struct qmt_err *err)
{
	struct store_invite invite = {
		.client = sqlite3_column_int(stmt, 3),
		.can_invite = sqlite3_column_int(stmt, 4),
		.expires_at = store__column_u64(stmt, 5),
		.max_uses = (uint32_t)store__column_u64(stmt, 6),
		.uses = (uint32_t)store__column_u64(stmt, 7),
		.created_ms = store__column_u64(stmt, 8),
		.revoked_ms = store__column_u64(stmt, 9),
	};
	int r = store__column(db, stmt, 0, arena, &invite.id, err);

	if (r == 0)
		r = store__column(db, stmt, 1, arena, &invite.mesh, err);
	if (r == 0)
		r = store__column(db, stmt, 2, arena, &invite.name, err);
	if (r == 0)
		*ret_invite = invite;
	return r;
}

/* Reads the first row of a query that gives one at most. STORE_E_NOT_FOUND without a text: none. */
static int one_invite(struct store_db *db, sqlite3_stmt *stmt, struct store_arena *arena,
	struct store_invite *ret_invite, struct qmt_err *err)
{
	int r = store__step(db, stmt, err);

	if (r != STORE_ROW)
		return r < 0 ? r : STORE_E_NOT_FOUND;
	r = invite_row(db, stmt, arena, ret_invite, err);
	store__done(stmt);
	return r;
}

static int invite_by_id(struct store_db *db, struct qmt_str id, struct store_arena *arena,
	struct store_invite *ret_invite, struct qmt_err *err)
{
	sqlite3_stmt *stmt;
	int r = store__query(db, err, &stmt, INVITE_BY_ID, V_TEXT(id));

	return r < 0 ? r : one_invite(db, stmt, arena, ret_invite, err);
}

int store_db_invite_add(struct store_db *db, const struct store_invite_add *req, uint64_t now_ms,
	struct store_arena *arena, struct qmt_err *err)
{
	const struct store_invite *invite = &req->invite;
	struct store_invite there;
	int r = check_id(invite->id, err);

	if (r == 0)
		r = check_mesh(invite->mesh, err);
	if (r == 0 && (invite->name.len > STORE_MESH_BYTES || invite->expires_at > INT64_MAX))
		r = qmt_err_set(err, STORE_E_BAD, "name, expires_at: out of range");
	if (r == 0) {
		r = invite_by_id(db, invite->id, arena, &there, err);
		if (r == 0)
			return qmt_err_set(err, STORE_E_BAD, "invite %.*s: there is one of this id", QMT_STR_ARG(invite->id));
		r = r == STORE_E_NOT_FOUND ? 0 : r;
	}
	if (r == 0)
		r = store__run(db, err, INVITE_INSERT, V_TEXT(invite->id), V_TEXT(invite->mesh), V_TEXT(invite->name),
			V_INT(invite->client), V_INT(invite->can_invite), V_INT(invite->expires_at), V_INT(invite->max_uses),
			V_INT(now_ms));
	if (r == 0)
		r = note(db, "invite_created", invite, (struct qmt_str){0}, "", now_ms, err);
	return r;
}

int store_db_invite_list(struct store_db *db, const struct store_invite_list *req, struct store_arena *arena,
	struct store_invites *ret_invites, struct qmt_err *err)
{
	uint32_t limit = bounded(req->limit, STORE_LIST_DEFAULT, STORE_LIST_MAX), count = 0;
	struct store_invite *items = store_arena_take(arena, (limit + 1) * sizeof *items);
	int64_t offset = req->offset > INT64_MAX ? INT64_MAX : (int64_t)req->offset;
	uint64_t total = 0;
	sqlite3_stmt *stmt;
	int r = items ? store__query_values(db, STORE_SQL_INVITE_COUNT, NULL, 0, &stmt, err) : store__no_memory(db, err);

	if (r == 0)
		r = store__step(db, stmt, err);
	if (r == STORE_ROW) {
		total = store__column_u64(stmt, 0);
		store__done(stmt);
		r = store__query(db, err, &stmt, INVITE_LIST, V_INT(limit), V_INT(offset));
	}
	if (r < 0)
		return r;
	while ((r = store__step(db, stmt, err)) == STORE_ROW) {
		r = count < limit ? invite_row(db, stmt, arena, &items[count++], err) : 0;
		if (r < 0) {
			store__done(stmt);
			return r;
		}
	}
	if (r < 0)
		return r;
	*ret_invites = (struct store_invites){.invites = {items, count}, .total = total};
	return 0;
}

/* The invite of this id or unique prefix of one. */
static int find_invite(struct store_db *db, struct qmt_str key, struct store_arena *arena,
	struct store_invite *ret_invite, struct qmt_err *err)
{
	struct store_invite invite, second;
	char end[STORE_ID_CHARS + 2];
	sqlite3_stmt *stmt;
	int r;

	if (key.len < STORE_PREFIX_MIN || key.len > STORE_ID_CHARS)
		return qmt_err_set(err, STORE_E_BAD, "invite: give its id, or at least %d characters of it", STORE_PREFIX_MIN);
	memcpy(end, key.p, key.len);
	end[key.len] = '~'; /* behind all digits and letters */
	r = store__query(db, err, &stmt, INVITE_BY_PREFIX, V_TEXT(key), V_TEXT(qmt_strn(end, key.len + 1)));
	if (r == 0)
		r = store__step(db, stmt, err);
	if (r != STORE_ROW)
		return r < 0 ? r
					 : qmt_err_set(err, STORE_E_NOT_FOUND, "no invite %.*s (see: qmt invite list)", QMT_STR_ARG(key));
	r = invite_row(db, stmt, arena, &invite, err);
	if (r == 0)
		r = store__step(db, stmt, err);
	if (r == STORE_ROW) {
		r = invite_row(db, stmt, arena, &second, err);
		if (r == 0)
			r = qmt_err_set(err, STORE_E_BAD, "several invites begin with %.*s: %.*s, %.*s …: give more of the id",
				QMT_STR_ARG(key), QMT_STR_ARG(invite.id), QMT_STR_ARG(second.id));
	}
	store__done(stmt);
	if (r == 0)
		*ret_invite = invite;
	return r;
}

/* Who came in by it. */
static int admitted_by(struct store_db *db, struct qmt_str id, struct store_arena *arena, uint32_t most,
	const struct qmt_str **ret_peers, uint32_t *ret_count, struct qmt_err *err)
{
	struct qmt_str *peers = store_arena_take(arena, (most + 1) * sizeof *peers);
	uint32_t count = 0;
	sqlite3_stmt *stmt;
	int r = peers ? store__query(db, err, &stmt, ADMISSIONS_OF, V_TEXT(id)) : store__no_memory(db, err);

	if (r < 0)
		return r;
	while ((r = store__step(db, stmt, err)) == STORE_ROW) {
		r = count < most ? store__column(db, stmt, 0, arena, &peers[count++], err) : 0;
		if (r < 0) {
			store__done(stmt);
			return r;
		}
	}
	*ret_peers = peers;
	*ret_count = count;
	return r;
}

int store_db_invite_revoke(struct store_db *db, const struct store_invite_revoke *req, uint64_t now_ms,
	struct store_arena *arena, struct store_invite_revoked *ret_revoked, struct qmt_err *err)
{
	struct store_invite_revoked revoked = {0};
	int r = find_invite(db, req->invite, arena, &revoked.invite, err);

	if (r != 0)
		return r;
	r = admitted_by(db, revoked.invite.id, arena, revoked.invite.uses, &revoked.peers.items, &revoked.peers.count, err);
	revoked.already = revoked.invite.revoked_ms != 0;
	if (r == 0 && !revoked.already) {
		revoked.invite.revoked_ms = now_ms;
		r = store__run(db, err, INVITE_REVOKE, V_INT(now_ms), V_TEXT(revoked.invite.id));
		if (r == 0)
			r = store__run(db, err, MEMBERSHIPS_REVOKE_INVITE, V_INT(now_ms), V_TEXT(revoked.invite.id));
		if (r == 0)
			r = note(db, "invite_revoked", &revoked.invite, (struct qmt_str){0}, "", now_ms, err);
	}
	if (r == 0)
		*ret_revoked = revoked;
	return r;
}

/* ---- admission --------------------------------------------------------------------------------------------------- */

/* What stands in the way of this peer, or was there before. NULL: it is a new one, and may come in. */
static int judge(struct store_db *db, const struct store_admit *req, const struct store_invite *invite, uint64_t now_ms,
	const char **ret_outcome, struct qmt_err *err)
{
	uint64_t blocked = 0, revoked = 0, admitted = 0;
	sqlite3_stmt *stmt;
	int r = store__query(db, err, &stmt, PEER_BLOCKED, V_TEXT(req->peer_id));

	if (r == 0)
		r = store__number(db, stmt, &blocked, err);
	if (r == 0)
		r = store__query(db, err, &stmt, MEMBER_REVOKED, V_TEXT(req->mesh), V_TEXT(req->peer_id));
	if (r == 0)
		r = store__number(db, stmt, &revoked, err);
	if (r == 0)
		r = store__query(db, err, &stmt, ADMISSION_GET, V_TEXT(invite->id), V_TEXT(req->peer_id));
	if (r == 0)
		r = store__number(db, stmt, &admitted, err);
	if (r != 0)
		return r;
	if (!qmt_str_eq(invite->mesh, req->mesh))
		*ret_outcome = "unknown";
	else if (blocked)
		*ret_outcome = "blocked";
	else if (invite->revoked_ms || revoked)
		*ret_outcome = "revoked";
	else if (admitted) /* an invite lets in until it expires; who is in stays in, and renews */
		*ret_outcome = "already";
	else if (invite->expires_at && now_ms / 1000 > invite->expires_at)
		*ret_outcome = "expired";
	else
		*ret_outcome = invite->max_uses && invite->uses >= invite->max_uses ? "used_up" : NULL;
	return 0;
}

int store_db_admit(struct store_db *db, const struct store_admit *req, uint64_t now_ms, struct store_arena *arena,
	struct store_admitted *ret_admitted, struct qmt_err *err)
{
	struct store_admitted admitted = {0};
	struct store_invite *invite = &admitted.invite;
	const char *outcome = "unknown";
	int r = check_id(req->invite, err);

	if (r == 0)
		r = check_mesh(req->mesh, err);
	if (r == 0)
		r = check_peer(req->peer_id, err);
	if (r == 0 && (req->lifetime_s == 0 || req->lifetime_s > STORE_LIFETIME_MAX))
		r = qmt_err_set(err, STORE_E_BAD, "lifetime_s: 1 to %d", STORE_LIFETIME_MAX);
	if (r != 0)
		return r;
	r = invite_by_id(db, req->invite, arena, invite, err);
	if (r == 0)
		r = judge(db, req, invite, now_ms, &outcome, err);
	if (r == STORE_E_NOT_FOUND) {
		*invite = (struct store_invite){0};
		r = store_arena_text(arena, req->invite.p, req->invite.len, &invite->id) &&
				store_arena_text(arena, req->mesh.p, req->mesh.len, &invite->mesh)
			? 0
			: store__no_memory(db, err);
	}
	if (r == 0 && !outcome) {
		outcome = "ok";
		invite->uses++;
		r = store__run(db, err, ADMISSION_INSERT, V_TEXT(invite->id), V_TEXT(req->peer_id), V_INT(now_ms));
		if (r == 0)
			r = store__run(db, err, INVITE_USE, V_TEXT(invite->id));
	}
	if (r < 0)
		return r;
	admitted.outcome = qmt_str(outcome);
	admitted.admitted = strcmp(outcome, "ok") == 0 || strcmp(outcome, "already") == 0;
	if (admitted.admitted) {
		admitted.issued_at = now_ms / 1000;
		admitted.expires_at = admitted.issued_at + req->lifetime_s;
		r = store__run(db, err, MEMBERSHIP_PUT, V_TEXT(req->mesh), V_TEXT(req->peer_id), V_TEXT(invite->id),
			V_INT(invite->client), V_INT(invite->can_invite), V_INT(admitted.issued_at), V_INT(admitted.expires_at));
	}
	if (r == 0)
		r = note(db, admitted.admitted ? "admitted" : "refused", invite, req->peer_id, outcome, now_ms, err);
	if (r == 0)
		*ret_admitted = admitted;
	return r;
}
