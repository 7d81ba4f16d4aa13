/* actors/store/store_db.c - a connection: failures as text, statements, batches. */
#include <errno.h>

#include "actors/store/store_db_impl.h"

static const char *const statements[] = {
#define S(name, sql) [STORE_SQL_##name] = sql,
#include "actors/store/store_sql.def"
#undef S
};

/* ---- failures ---------------------------------------------------------------------------------------------------- */

/* The classes, once: code for the caller, class for programs, way out for people. */
static const struct fault {
	int code;
	const char *kind, *what;
} faults[] = {
	{-ENOSPC, "full", "no space left (disk, quota or max_bytes): free some space; what was acknowledged is kept"},
	{-EBUSY, "locked", "another process has locked it: end that process (a second node, a backup, an open sqlite3)"},
	{-EUCLEAN, "damaged",
		"damaged: stop the node, copy the file and those beside it, then restore a backup, or save what can be read "
		"with `sqlite3 FILE .recover | sqlite3 NEWFILE`; nothing was changed"},
	{-EROFS, "read_only", "cannot be written: check its owner and mode, those of its directory, and the mount"},
	{-ENOMEM, "memory", "out of memory"},
	{-EIO, "io", "input/output error: check the disk and the kernel's log"},
	/* only at open */
	{-ENOENT, "missing", "its directory does not exist: create it, or name another path"},
	{-EMEDIUMTYPE, "foreign", "not a store of qmt; it was not touched: name another path, or move it away"},
	{-EPROTONOSUPPORT, "newer",
		"made by a newer version of qmt; it was not touched: start that version, or name another path"},
};

static const struct {
	int sqlite, code;
} codes[] = {
	{SQLITE_FULL, -ENOSPC},
	{SQLITE_BUSY, -EBUSY},
	{SQLITE_LOCKED, -EBUSY},
	{SQLITE_PROTOCOL, -EBUSY},
	{SQLITE_CORRUPT, -EUCLEAN},
	{SQLITE_NOTADB, -EUCLEAN},
	{SQLITE_FORMAT, -EUCLEAN},
	{SQLITE_ERROR, -EUCLEAN}, /* a table or column is not there */
	{SQLITE_SCHEMA, -EUCLEAN},
	{SQLITE_CONSTRAINT, -EUCLEAN}, /* the writer looks before it writes: an index contradicts its table */
	{SQLITE_MISMATCH, -EUCLEAN},
	{SQLITE_READONLY, -EROFS},
	{SQLITE_PERM, -EROFS},
	{SQLITE_CANTOPEN, -EROFS},
	{SQLITE_AUTH, -EROFS},
	{SQLITE_NOMEM, -ENOMEM},
};

static const struct fault *fault_of(int code)
{
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		if (faults[i].code == code)
			return &faults[i];
	return fault_of(-EIO);
}

int store__fault_set(const char *path, int code, const char *detail, struct qmt_err *err)
{
	const char *what = fault_of(code)->what;

	return detail ? qmt_err_set(err, code, "store %s: %s (%s)", path, what, detail)
				  : qmt_err_set(err, code, "store %s: %s", path, what);
}

int store__fault_of(const char *path, sqlite3 *sql, struct qmt_err *err)
{
	int extended = sqlite3_extended_errcode(sql), code = -EIO, os = sqlite3_system_errno(sql);
	char detail[300];

	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (codes[i].sqlite == (extended & 0xff))
			code = codes[i].code;
	if (extended == SQLITE_IOERR_NOMEM)
		code = -ENOMEM;
	else if (code == -EIO && os == ENOSPC) /* met by fsync, which SQLite does not translate */
		code = -ENOSPC;

	/* The system's number is left over from earlier calls unless the class says that the system was asked. */
	if (os != 0 && (code == -EIO || (extended & 0xff) == SQLITE_CANTOPEN))
		snprintf(detail, sizeof detail, "%s, SQLite code %d: %s", sqlite3_errmsg(sql), extended, strerror(os));
	else
		snprintf(detail, sizeof detail, "%s, SQLite code %d", sqlite3_errmsg(sql), extended);
	return store__fault_set(path, code, detail, err);
}

int store__fault(struct store_db *db, struct qmt_err *err)
{
	return store__fault_of(db->path, db->sql, err);
}

int store__no_memory(struct store_db *db, struct qmt_err *err)
{
	return store__fault_set(db->path, -ENOMEM, NULL, err);
}

int store__no_session(struct qmt_str id, struct qmt_err *err)
{
	return qmt_err_set(err, STORE_E_NOT_FOUND, "no session %.*s (see: qmt session list)", QMT_STR_ARG(id));
}

const char *store_db_kind(int result)
{
	if (result < 0)
		return fault_of(result)->kind;
	return result == STORE_E_BUSY ? "busy"
		: result == STORE_E_ENDED ? "ended"
		: result == STORE_E_LIMIT ? "limit"
								  : NULL;
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

int store__prepare(struct store_db *db, enum store_sql id, struct qmt_err *err)
{
	if (db->stmts[id] ||
		sqlite3_prepare_v3(db->sql, statements[id], -1, SQLITE_PREPARE_PERSISTENT, &db->stmts[id], NULL) == SQLITE_OK)
		return 0;
	return store__fault(db, err);
}

static int bind(sqlite3_stmt *stmt, int index, const struct store_value *value)
{
	if (value->kind == STORE_INT)
		return sqlite3_bind_int64(stmt, index, value->number);
	if ((value->kind == STORE_TEXT_OR_NULL || value->kind == STORE_BLOB_OR_NULL) && value->text.len == 0)
		return sqlite3_bind_null(stmt, index);
	if (value->kind == STORE_BLOB_OR_NULL)
		return sqlite3_bind_blob64(stmt, index, value->text.p, value->text.len, SQLITE_STATIC);
	return sqlite3_bind_text64(
		stmt, index, value->text.len > 0 ? value->text.p : "", value->text.len, SQLITE_STATIC, SQLITE_UTF8);
}

int store__query_values(struct store_db *db, enum store_sql id, const struct store_value *values, int count,
	sqlite3_stmt **ret_stmt, struct qmt_err *err)
{
	int r = store__prepare(db, id, err);

	if (r < 0)
		return r;
	for (int i = 0; i < count; i++)
		if (bind(db->stmts[id], i + 1, &values[i]) != SQLITE_OK)
			return store__fault(db, err);
	*ret_stmt = db->stmts[id];
	return 0;
}

int store__step(struct store_db *db, sqlite3_stmt *stmt, struct qmt_err *err)
{
	int r = sqlite3_step(stmt);

	if (r == SQLITE_ROW)
		return STORE_ROW;
	if (r == SQLITE_DONE)
		r = 0;
	else
		r = store__fault(db, err);
	store__done(stmt);
	return r;
}

int store__number(struct store_db *db, sqlite3_stmt *stmt, uint64_t *ret_number, struct qmt_err *err)
{
	int r = store__step(db, stmt, err);

	if (r < 0)
		return r;
	*ret_number = r == STORE_ROW ? store__column_u64(stmt, 0) : 0;
	if (r == STORE_ROW)
		store__done(stmt);
	return 0;
}

void store__done(sqlite3_stmt *stmt)
{
	if (stmt)
		sqlite3_reset(stmt); /* its result repeats what step returned */
}

int store__run_values(
	struct store_db *db, enum store_sql id, const struct store_value *values, int count, struct qmt_err *err)
{
	sqlite3_stmt *stmt;
	int r = store__query_values(db, id, values, count, &stmt, err);

	return r < 0 ? r : store__step(db, stmt, err);
}

static int run_plain(struct store_db *db, enum store_sql id, struct qmt_err *err)
{
	return store__run_values(db, id, NULL, 0, err);
}

int store__column(struct store_db *db, sqlite3_stmt *stmt, int column, struct store_arena *arena,
	struct qmt_str *ret_text, struct qmt_err *err)
{
	const void *text = sqlite3_column_text(stmt, column);
	size_t len = (size_t)sqlite3_column_bytes(stmt, column);

	if (!text) {
		if (sqlite3_column_type(stmt, column) != SQLITE_NULL)
			return store__no_memory(db, err);
		*ret_text = (struct qmt_str){0};
		return 0;
	}
	return store_arena_text(arena, text, len, ret_text) ? 0 : store__no_memory(db, err);
}

int store__column_blob(struct store_db *db, sqlite3_stmt *stmt, int column, struct store_arena *arena,
	struct qmt_bytes *ret_bytes, struct qmt_err *err)
{
	const void *bytes = sqlite3_column_blob(stmt, column);
	size_t len = (size_t)sqlite3_column_bytes(stmt, column);
	struct qmt_str copy = {0};

	if (bytes && !store_arena_text(arena, bytes, len, &copy))
		return store__no_memory(db, err);
	*ret_bytes = (struct qmt_bytes){(const uint8_t *)copy.p, copy.len};
	return 0;
}

/* ---- batches ----------------------------------------------------------------------------------------------------- */

int store_db_begin(struct store_db *db, struct qmt_err *err)
{
	sqlite3_stmt *stmt;
	int r = run_plain(db, STORE_SQL_BEGIN_WRITE, err);

	if (r < 0)
		return r;
	db->in_batch = true;
	db->changes_before = sqlite3_total_changes64(db->sql);
	r = store__query_values(db, STORE_SQL_DATA_VERSION, NULL, 0, &stmt, err);
	if (r == 0)
		r = store__step(db, stmt, err);
	if (r == STORE_ROW) {
		int64_t version = sqlite3_column_int64(stmt, 0);

		store__done(stmt);
		if (version != db->data_version)
			store__slots_drop(db);
		db->data_version = version;
		return 0;
	}
	store_db_rollback(db);
	return r < 0 ? r : store__fault_set(db->path, -EUCLEAN, "no data version", err);
}

int store_db_commit(struct store_db *db, struct qmt_err *err)
{
	int r = store__slots_flush(db, err);

	if (r == 0)
		r = run_plain(db, STORE_SQL_COMMIT, err);
	if (r < 0) {
		store_db_rollback(db);
		return r;
	}
	db->in_batch = false;
	db->rows += (uint64_t)(sqlite3_total_changes64(db->sql) - db->changes_before);
	return 0;
}

uint64_t store_db_changes(const struct store_db *db)
{
	return (uint64_t)sqlite3_total_changes64(db->sql);
}

uint64_t store_db_rows(const struct store_db *db)
{
	return db->rows;
}

void store_db_rollback(struct store_db *db)
{
	store__slots_drop(db);
	db->in_batch = false;
	/* SQLite has rolled back by itself after some failures. A rollback that fails leaves the lock to close. */
	if (!sqlite3_get_autocommit(db->sql))
		(void)run_plain(db, STORE_SQL_ROLLBACK, NULL);
}
