/* actors/store/store_db_joined.c - meshes that this node is in, where their members were found, and who was revoked.
 *
 * A revocation is a fact that its inviter signed: it is kept until the mesh is left, so that whoever was sent away
 * stays away over restarts and whatever it shows. What this node revokes itself has no proof until the actor
 * "admission" has signed it.
 */
#include <errno.h>

#include "actors/store/store_db_impl.h"
#include "proto/multiaddr.h"

static int check_mesh(struct qmt_str mesh, struct qmt_err *err)
{
	return mesh.len > 0 && mesh.len <= STORE_MESH_BYTES
		? 0
		: qmt_err_set(err, STORE_E_BAD, "mesh: no mesh id of up to %d bytes", STORE_MESH_BYTES);
}

/* The one number that a query gives. */
static int count_of(struct store_db *db, enum store_sql sql, const struct store_value *values, int count,
	uint64_t *ret_count, struct qmt_err *err)
{
	sqlite3_stmt *stmt;
	int r = store__query_values(db, sql, values, count, &stmt, err);

	if (r == 0)
		r = store__step(db, stmt, err);
	if (r != STORE_ROW)
		return r;
	*ret_count = store__column_u64(stmt, 0);
	store__done(stmt);
	return 0;
}

static int has_mesh(struct store_db *db, struct qmt_str mesh, bool *ret_has, struct qmt_err *err)
{
	uint64_t count = 0;
	int r = count_of(db, STORE_SQL_MESH_HAS, &(struct store_value)V_TEXT(mesh), 1, &count, err);

	*ret_has = count > 0;
	return r;
}

static int note(struct store_db *db, const char *event, struct qmt_str mesh, struct qmt_str invite,
	struct qmt_str peer_id, struct qmt_str text, uint64_t now_ms, struct qmt_err *err)
{
	return store_db_audit_add(db,
		&(struct store_audit){
			.event = qmt_str(event), .mesh = mesh, .invite = invite, .peer_id = peer_id, .text = text},
		now_ms, err);
}

int store_db_mesh_put(struct store_db *db, const struct store_mesh_put *req, uint64_t now_ms, struct qmt_err *err)
{
	const struct store_mesh *mesh = &req->mesh;
	int r = check_mesh(mesh->mesh, err);

	if (r == 0 && (mesh->token.len == 0 || mesh->token.len > 1024 || mesh->membership.len > 2048))
		r = qmt_err_set(err, STORE_E_BAD, "token, membership: out of range");
	if (r == 0 && !qmt_str_is(mesh->state, "joining") && !qmt_str_is(mesh->state, "active") &&
		!qmt_str_is(mesh->state, "left") && !qmt_str_is(mesh->state, "revoked"))
		r = qmt_err_set(err, STORE_E_BAD, "state: joining, active, left or revoked");
	if (r == 0)
		r = store__run(db, err, MESH_PUT, V_TEXT(mesh->mesh), V_TEXT(mesh->state), V_TEXT(mesh->token),
			V_BLOB(mesh->membership), V_INT(mesh->joined_ms ? mesh->joined_ms : now_ms), V_INT(now_ms));
	return r;
}

int store_db_mesh_forget(struct store_db *db, const struct store_mesh_forget *req, uint64_t now_ms, struct qmt_err *err)
{
	bool has = false;
	int r = has_mesh(db, req->mesh, &has, err);

	if (r == 0 && !has)
		return qmt_err_set(err, STORE_E_NOT_FOUND, "this node is not in that mesh (see: qmt meshes)");
	if (r == 0)
		r = store__run(db, err, ADDRESSES_DROP_MESH, V_TEXT(req->mesh));
	if (r == 0) /* who joins again is told them again */
		r = store__run(db, err, REVOCATIONS_DROP_MESH, V_TEXT(req->mesh));
	if (r == 0)
		r = store__run(db, err, MESH_FORGET, V_TEXT(req->mesh));
	if (r == 0)
		r = note(db, "left", req->mesh, (struct qmt_str){0}, (struct qmt_str){0}, (struct qmt_str){0}, now_ms, err);
	return r;
}

int store_db_addresses_put(
	struct store_db *db, const struct store_addresses_put *req, uint64_t now_ms, struct qmt_err *err)
{
	bool has = false;
	int r = has_mesh(db, req->mesh, &has, err);

	if (r == 0 && !has)
		return qmt_err_set(err, STORE_E_NOT_FOUND, "this node is not in that mesh");
	for (uint32_t i = 0; r == 0 && i < req->addresses.count && i < STORE_ADDRESSES; i++)
		if (req->addresses.items[i].len > MULTIADDR_TEXT)
			r = qmt_err_set(err, STORE_E_BAD, "addresses: an overlong one");
	if (r == 0)
		r = store__run(db, err, ADDRESSES_DROP, V_TEXT(req->mesh), V_TEXT(req->peer_id));
	for (uint32_t i = 0; r == 0 && i < req->addresses.count && i < STORE_ADDRESSES; i++)
		r = store__run(db, err, ADDRESS_PUT, V_TEXT(req->mesh), V_TEXT(req->peer_id), V_TEXT(req->addresses.items[i]),
			V_INT(now_ms - i));
	return r;
}

int store_db_revocation_add(
	struct store_db *db, const struct store_revocation_add *req, uint64_t now_ms, struct qmt_err *err)
{
	const struct store_revocation *it = &req->revocation;
	bool of_peer = qmt_str_is(it->kind, "peer");
	uint64_t known = 0;
	int r = check_mesh(it->mesh, err);

	if (r == 0 && !of_peer && !qmt_str_is(it->kind, "invite"))
		r = qmt_err_set(err, STORE_E_BAD, "kind: peer or invite");
	if (r == 0)
		r = count_of(db, STORE_SQL_REVOCATION_HAS,
			(const struct store_value[]){V_TEXT(it->mesh), V_TEXT(it->kind), V_TEXT(it->subject)}, 3, &known, err);
	if (r != 0 || known)
		return r;
	r = store__run(db, err, REVOCATION_PUT, V_TEXT(it->mesh), V_TEXT(it->kind), V_TEXT(it->subject),
		V_INT(it->revoked_at), V_BLOB(it->proof));
	if (r == 0 && of_peer)
		r = store__run(db, err, MEMBER_REVOKE, V_INT(now_ms), V_TEXT(it->mesh), V_TEXT(it->subject));
	if (r == 0)
		r = note(db, "revoked", it->mesh, of_peer ? (struct qmt_str){0} : it->subject,
			of_peer ? it->subject : (struct qmt_str){0}, req->text, now_ms, err);
	return r;
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

struct rows {
	struct store_db *db;
	struct store_arena *arena;
	sqlite3_stmt *stmt;
	struct qmt_err *err;
};

static int text_at(const struct rows *rows, int column, struct qmt_str *ret_text)
{
	return store__column(rows->db, rows->stmt, column, rows->arena, ret_text, rows->err);
}

static int mesh_row(const struct rows *rows, void *item)
{
	struct store_mesh *mesh = item;
	int r = text_at(rows, 0, &mesh->mesh);

	r = r ? r : text_at(rows, 1, &mesh->state);
	r = r ? r : text_at(rows, 2, &mesh->token);
	r = r ? r : store__column_blob(rows->db, rows->stmt, 3, rows->arena, &mesh->membership, rows->err);
	mesh->joined_ms = store__column_u64(rows->stmt, 4);
	return r;
}

static int hosted_row(const struct rows *rows, void *item)
{
	return text_at(rows, 0, item);
}

static int address_row(const struct rows *rows, void *item)
{
	struct store_address *address = item;
	int r = text_at(rows, 0, &address->mesh);

	r = r ? r : text_at(rows, 1, &address->peer_id);
	return r ? r : text_at(rows, 2, &address->address);
}

static int revocation_row(const struct rows *rows, void *item)
{
	struct store_revocation *it = item;
	int r = text_at(rows, 0, &it->mesh);

	r = r ? r : text_at(rows, 1, &it->kind);
	r = r ? r : text_at(rows, 2, &it->subject);
	it->revoked_at = store__column_u64(rows->stmt, 3);
	return r ? r : store__column_blob(rows->db, rows->stmt, 4, rows->arena, &it->proof, rows->err);
}

static int list(struct store_db *db, enum store_sql sql, uint32_t most, size_t size,
	int (*row)(const struct rows *rows, void *item), struct store_arena *arena, void **ret_items, uint32_t *ret_count,
	struct qmt_err *err)
{
	struct rows rows = {db, arena, NULL, err};
	char *items = store_arena_take(arena, most * size);
	uint32_t count = 0;
	int r = items ? store__query_values(db, sql, &(struct store_value)V_INT(most), 1, &rows.stmt, err)
				  : store__no_memory(db, err);

	if (r != 0)
		return r;
	while ((r = store__step(db, rows.stmt, err)) == STORE_ROW && count < most) {
		r = row(&rows, items + count++ * size);
		if (r < 0) {
			store__done(rows.stmt);
			return r;
		}
	}
	if (r == STORE_ROW)
		store__done(rows.stmt);
	*ret_items = items;
	*ret_count = count;
	return r < 0 ? r : 0;
}

int store_db_mesh_list(struct store_db *db, const void *req, struct store_arena *arena,
	struct store_mesh_list_reply *ret_meshes, struct qmt_err *err)
{
	void *items[4];
	uint32_t counts[4];
	int r = list(
		db, STORE_SQL_MESH_LIST, STORE_MESHES, sizeof(struct store_mesh), mesh_row, arena, &items[0], &counts[0], err);

	(void)req;
	if (r == 0)
		r = list(db, STORE_SQL_MESH_HOSTED, STORE_MESHES, sizeof(struct qmt_str), hosted_row, arena, &items[1],
			&counts[1], err);
	if (r == 0)
		r = list(db, STORE_SQL_ADDRESS_LIST, STORE_ADDRESS_ROWS, sizeof(struct store_address), address_row, arena,
			&items[2], &counts[2], err);
	if (r == 0)
		r = list(db, STORE_SQL_REVOCATION_LIST, STORE_REVOCATION_ROWS, sizeof(struct store_revocation), revocation_row,
			arena, &items[3], &counts[3], err);
	if (r == 0 && counts[3] == STORE_REVOCATION_ROWS) /* with some of them left out somebody might come in who is out */
		r = qmt_err_set(err, STORE_E_TOO_LARGE, "there are more than %d revocations: qmt leave a mesh",
			STORE_REVOCATION_ROWS - 1);
	if (r != 0)
		return r;
	*ret_meshes = (struct store_mesh_list_reply){
		.joined = {items[0], counts[0]},
		.hosted = {items[1], counts[1]},
		.addresses = {items[2], counts[2]},
		.revocations = {items[3], counts[3]},
	};
	return 0;
}
