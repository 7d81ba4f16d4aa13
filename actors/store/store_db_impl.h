/* actors/store/store_db_impl.h - what the files of the database layer share; nobody else includes it.
 *
 * store_db.c: failures, statements, batches. store_db_open.c: the file. store_db_check.c: is a request well formed?
 * store_db_session.c, store_db_write.c, store_db_read.c: the operations on sessions. store_db_admission.c: invites,
 * admissions, the audit. store_db_policy.c: what the owner says of peers.
 */
#ifndef STORE_DB_IMPL_H
#define STORE_DB_IMPL_H

#include <sqlite3.h>

#include "actors/store/store_db.h"

enum store_sql {
#define S(name, sql) STORE_SQL_##name,
#include "actors/store/store_sql.def"
#undef S
	STORE_SQL_COUNT
};

enum { STORE_ID_CHARS = 36, STORE_PEER_CHARS = 52, STORE_EVENT_BYTES = 64, STORE_POLICY_NAME = 64 };

/* What the writer knows of a session, so that an append costs one row and no look-up. Dropped at a rollback and when
 * another connection has written. */
struct store_slot {
	int64_t key; /* 0: the slot is free */
	char id[STORE_ID_CHARS + 1];
	uint64_t last_pos, last_turn;
	uint64_t last_nth; /* messages up to last_pos, events not counted */
	uint64_t updated_ms; /* as stored */
	uint64_t touched_ms; /* to be stored at the commit; 0: nothing */
	bool running;        /* last_turn has not ended */
	bool checkpoint;     /* it has one */
	bool titled;
	bool bookmark;
	bool archived;
};
enum { STORE_SLOTS = 512 };
/* While a turn runs, updated_ms may be this old: with its index it costs as much as a message. */
enum { STORE_TOUCH_MS = 1000 };

struct store_db {
	/* const after open */
	sqlite3 *sql;
	char *path;
	struct store_limits limits;
	bool memory;
	/* owner: the thread */
	sqlite3_stmt *stmts[STORE_SQL_COUNT];
	bool in_batch;
	sqlite3_int64 changes_before; /* of the batch */
	uint64_t rows;                /* see store_db_rows */
	int64_t data_version;
	struct store_slot slots[STORE_SLOTS];
};

/* A value to bind. */
struct store_value {
	enum { STORE_INT, STORE_TEXT, STORE_TEXT_OR_NULL, STORE_BLOB_OR_NULL } kind;
	int64_t number;
	struct qmt_str text;
};
/* clang-format off */
#define V_INT(x) {.kind = STORE_INT, .number = (int64_t)(x)}
#define V_TEXT(x) {.kind = STORE_TEXT, .text = (x)}
#define V_BLOB(x) {.kind = STORE_BLOB_OR_NULL, .text = qmt_strn((const char *)(x).p, (x).len)} /* empty: NULL */
#define V_OPT(x) {.kind = STORE_TEXT_OR_NULL, .text = (x)} /* an absent or empty text is NULL */
/* clang-format on */

/* How many sessions this owner has; of empty: all that there are. archived: as in store.session_list. */
enum { STORE_ALL = 2 };
QMT_MUST_CHECK int store__session_count(
	struct store_db *db, struct qmt_str owner, uint32_t archived, uint64_t *ret_count, struct qmt_err *err);

/* A session and its ancestors, oldest last; each owns the positions (after, upto]. */
struct store_segment {
	int64_t key;
	uint64_t after, upto;
};
/* The chain of the session `key`, whose last position is `total`, as far back as position `from`. */
QMT_MUST_CHECK int store__chain(struct store_db *db, int64_t key, uint64_t total, uint64_t from,
	struct store_arena *arena, struct store_segment **ret_chain, uint32_t *ret_count, struct qmt_err *err);

int store__prepare(struct store_db *db, enum store_sql id, struct qmt_err *err); /* once; afterwards nothing */
/* Binds and runs a statement that gives no rows. */
int store__run_values(
	struct store_db *db, enum store_sql id, const struct store_value *values, int count, struct qmt_err *err);
#define store__run(db, err, id, ...)                                                 \
	store__run_values(db, STORE_SQL_##id, (const struct store_value[]){__VA_ARGS__}, \
		(int)(sizeof((const struct store_value[]){__VA_ARGS__}) / sizeof(struct store_value)), err)
/* Binds; rows come by store__step. The texts must live until the statement is done. */
int store__query_values(struct store_db *db, enum store_sql id, const struct store_value *values, int count,
	sqlite3_stmt **ret_stmt, struct qmt_err *err);
#define store__query(db, err, ret_stmt, id, ...)                                       \
	store__query_values(db, STORE_SQL_##id, (const struct store_value[]){__VA_ARGS__}, \
		(int)(sizeof((const struct store_value[]){__VA_ARGS__}) / sizeof(struct store_value)), ret_stmt, err)
enum { STORE_ROW = 100 }; /* apart from enum store_outcome: both travel in one int */
/* STORE_ROW; 0: no more (the statement is done); <0 failed (done, too). */
int store__step(struct store_db *db, sqlite3_stmt *stmt, struct qmt_err *err);
/* First column of the one row, as a number, of a query that was bound; 0 when there is none. */
int store__number(struct store_db *db, sqlite3_stmt *stmt, uint64_t *ret_number, struct qmt_err *err);
/* Leaves a statement before its last row; NULL is fine. */
void store__done(sqlite3_stmt *stmt);
/* Copies a text column; NULL gives the absent text. 0, -ENOMEM. */
int store__column(struct store_db *db, sqlite3_stmt *stmt, int column, struct store_arena *arena,
	struct qmt_str *ret_text, struct qmt_err *err);
/* Copies a blob column; NULL gives no bytes. 0, -ENOMEM. */
int store__column_blob(struct store_db *db, sqlite3_stmt *stmt, int column, struct store_arena *arena,
	struct qmt_bytes *ret_bytes, struct qmt_err *err);
static inline uint64_t store__column_u64(sqlite3_stmt *stmt, int column)
{
	return (uint64_t)sqlite3_column_int64(stmt, column);
}
/* Fills a session from a row of SESSION_ROW. */
int store__session_row(struct store_db *db, sqlite3_stmt *stmt, struct store_arena *arena,
	struct store_session *ret_session, struct qmt_err *err);

/* The failure that the connection has just met, as code and text for people. */
int store__fault(struct store_db *db, struct qmt_err *err);
int store__fault_of(const char *path, sqlite3 *sql, struct qmt_err *err);
/* A failure whose class is known; detail may be NULL. Returns code. */
int store__fault_set(const char *path, int code, const char *detail, struct qmt_err *err);
int store__no_memory(struct store_db *db, struct qmt_err *err);
/* "not found" for a session. */
int store__no_session(struct qmt_str id, struct qmt_err *err);

/* Are the parts of a request well formed and within the limits? STORE_E_BAD, STORE_E_TOO_LARGE. */
int store__check_name(
	const struct store_db *db, const char *what, struct qmt_str text, bool needed, struct qmt_err *err);
int store__check_size(const struct store_db *db, const char *what, uint64_t bytes, struct qmt_err *err);
int store__check_messages(
	const struct store_db *db, const struct chat_message *messages, uint32_t count, struct qmt_err *err);
int store__check_session(const struct store_db *db, const struct store_session_create *req, struct qmt_err *err);
int store__check_end(const struct store_db *db, const struct store_turn_end *req, struct qmt_err *err);

/* The session's slot, read if it is not there; it may take the place of any other. STORE_E_NOT_FOUND. */
int store__slot_get(struct store_db *db, struct qmt_str id, struct store_slot **ret_slot, struct qmt_err *err);
/* kind: see STORE_EVENTS; data: a JSON object. */
int store__insert_event(struct store_db *db, struct store_slot *slot, const char *kind, const struct qmt_buf *data,
	uint64_t now_ms, struct qmt_err *err);
/* Writes what the slots owe (updated_ms). */
int store__slots_flush(struct store_db *db, struct qmt_err *err);
void store__slots_drop(struct store_db *db);

#endif
