/* actors/store/store_db_open.c - the database file: made, checked, opened, migrated, refused.
 *
 * A new file is built beside its place (PATH.new; no journal: a half-made one is thrown away), and renamed when it is
 * complete. So whatever stands at PATH is a whole database whose head carries our application id, and the head alone
 * tells ours from a stranger's: its 100 bytes are read through the file of an `immutable` connection, which takes no
 * lock, looks at no journal and writes nothing (a descriptor of our own would, when it is closed, drop the locks that
 * this process holds on the file). The rename is made durable by the first commit: SQLite syncs the directory when it
 * syncs a write-ahead log that it has just made there.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "actors/store/store_db_impl.h"
#include "actors/store/store_schema.h"

static bool is_memory(const char *path)
{
	return strcmp(path, ":memory:") == 0;
}

/* PATH as the URI of SQLite, so that its own special names ("file:…", "?") have no meaning in it. */
static char *uri_of(const char *path, const char *query)
{
	struct qmt_buf uri = {0};

	qmt_buf_str(&uri, "file:");
	for (const char *c = path; *c; c++)
		if (strchr("%?#", *c))
			qmt_buf_printf(&uri, "%%%02x", (unsigned)(unsigned char)*c);
		else
			qmt_buf_append(&uri, c, 1);
	qmt_buf_str(&uri, query);
	if (uri.failed)
		qmt_buf_free(&uri);
	return uri.data;
}

/* Closes what failed to open as well. */
static int open_sqlite(const char *path, const char *query, int flags, sqlite3 **ret_sql, struct qmt_err *err)
{
	char *uri = is_memory(path) ? qmt_str_dup(qmt_str(path)) : uri_of(path, query);
	sqlite3 *sql = NULL;
	int r = 0;

	if (!uri)
		return store__fault_set(path, -ENOMEM, NULL, err);
	if (sqlite3_open_v2(uri, &sql, flags | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL) !=
		SQLITE_OK)
		r = sql ? store__fault_of(path, sql, err) : store__fault_set(path, -ENOMEM, NULL, err);
	free(uri);
	if (r < 0) {
		sqlite3_close_v2(sql);
		return r;
	}
	*ret_sql = sql;
	return 0;
}

static int execute(const char *path, sqlite3 *sql, const char *text, struct qmt_err *err)
{
	return sqlite3_exec(sql, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : store__fault_of(path, sql, err);
}

/* The first column of the first row. */
static int read_number(const char *path, sqlite3 *sql, const char *text, int64_t *ret_number, struct qmt_err *err)
{
	sqlite3_stmt *stmt;
	int r = 0;

	if (sqlite3_prepare_v2(sql, text, -1, &stmt, NULL) != SQLITE_OK)
		return store__fault_of(path, sql, err);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		*ret_number = sqlite3_column_int64(stmt, 0);
	else
		r = store__fault_of(path, sql, err);
	sqlite3_finalize(stmt);
	return r;
}

static int refuse_newer(const char *path, uint64_t version, struct qmt_err *err)
{
	char detail[100];

	snprintf(detail, sizeof detail, "its version is %llu, this program knows up to %u", (unsigned long long)version,
		store_schema_newest());
	return store__fault_set(path, -EPROTONOSUPPORT, detail, err);
}

static int check_version(const char *path, sqlite3 *sql, int64_t *ret_version, struct qmt_err *err)
{
	int64_t version;
	int r = read_number(path, sql, "PRAGMA user_version", &version, err);

	if (r < 0)
		return r;
	if (version > store_schema_newest())
		return refuse_newer(path, (uint64_t)version, err);
	*ret_version = version;
	return 0;
}

/* The head of a database file; source: sqlite.org/fileformat2.html, 1.3. */
enum { HEAD_BYTES = 100, HEAD_USER_VERSION = 60, HEAD_APPLICATION_ID = 68 };

static uint32_t head_number(const unsigned char *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Zeros behind the end of a shorter file. */
static int read_head(const char *path, unsigned char ret_head[HEAD_BYTES], struct qmt_err *err)
{
	sqlite3 *sql;
	sqlite3_file *file = NULL;
	int r = open_sqlite(path, "?immutable=1&mode=ro", SQLITE_OPEN_READONLY, &sql, err);

	if (r < 0)
		return r;
	if (sqlite3_file_control(sql, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK || !file || !file->pMethods) {
		r = store__fault_of(path, sql, err);
	} else {
		int got = file->pMethods->xRead(file, ret_head, HEAD_BYTES, 0);

		if (got != SQLITE_OK && got != SQLITE_IOERR_SHORT_READ)
			r = store__fault_set(path, -EIO, sqlite3_errstr(got), err);
	}
	sqlite3_close_v2(sql);
	return r;
}

/* Whose file is it? Changes nothing, not even a lock. Nothing beyond the head is looked at: a run that was killed while
 * it moved its log leaves a file that is whole only together with that log. */
static int probe(const char *path, struct qmt_err *err)
{
	unsigned char head[HEAD_BYTES] = {0};
	int r = read_head(path, head, err);
	char detail[80];

	if (r < 0)
		return r;
	if (memcmp(head, "SQLite format 3", 16) != 0) /* with its NUL */
		return store__fault_set(path, -EMEDIUMTYPE, "no SQLite database, or its first bytes are damaged", err);
	if (head_number(head + HEAD_APPLICATION_ID) != STORE_APPLICATION_ID) {
		snprintf(detail, sizeof detail, "a SQLite database of another program, application id 0x%08x",
			head_number(head + HEAD_APPLICATION_ID));
		return store__fault_set(path, -EMEDIUMTYPE, detail, err);
	}
	if (head_number(head + HEAD_USER_VERSION) > store_schema_newest())
		return refuse_newer(path, head_number(head + HEAD_USER_VERSION), err);
	return 0;
}

static int migrate(const char *path, sqlite3 *sql, struct qmt_err *err)
{
	int64_t version;
	char pragmas[100];
	int r = check_version(path, sql, &version, err);

	if (r < 0 || version == store_schema_newest())
		return r;
	r = execute(path, sql, "BEGIN IMMEDIATE", err);
	if (r < 0)
		return r;
	for (const struct store_migration *m = store_migrations; r == 0 && m->sql; m++)
		if (m->version > version)
			r = execute(path, sql, m->sql, err);
	snprintf(pragmas, sizeof pragmas, "PRAGMA application_id = %d; PRAGMA user_version = %u; COMMIT",
		STORE_APPLICATION_ID, store_schema_newest());
	if (r == 0)
		r = execute(path, sql, pragmas, err);
	if (r < 0)
		sqlite3_exec(sql, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

/* PATH with something behind it. */
static char *beside(const char *path, const char *suffix)
{
	struct qmt_buf name = {0};

	qmt_buf_str(&name, path);
	qmt_buf_str(&name, suffix);
	if (name.failed)
		qmt_buf_free(&name);
	return name.data;
}

static bool exists_beside(const char *path, const char *suffix)
{
	char *name = beside(path, suffix);
	struct stat st;
	bool is = name && stat(name, &st) == 0;

	free(name);
	return is;
}

static int create(const char *path, const char *building, struct qmt_err *err)
{
	sqlite3 *sql;
	int r = open_sqlite(building, "", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &sql, err);

	if (r < 0)
		return r;
	r = execute(building, sql, "PRAGMA journal_mode = OFF; PRAGMA synchronous = FULL", err);
	if (r == 0)
		r = migrate(building, sql, err);
	sqlite3_close_v2(sql);
	/* Conversations are nobody else's business; the files beside it get the mode of this one. */
	if (r == 0 && chmod(building, 0600) < 0)
		r = store__fault_set(path, -EIO, strerror(errno), err);
	if (r == 0 && renameat2(AT_FDCWD, building, AT_FDCWD, path, RENAME_NOREPLACE) < 0)
		r = store__fault_set(path, -EIO, strerror(errno), err);
	return r;
}

/* Nothing stands at PATH: is the place fit for a new file? */
static int check_place(const char *path, struct qmt_err *err)
{
	char *dir = qmt_str_dup(qmt_str(path));
	struct stat st;
	int r = 0;

	if (!dir)
		return store__fault_set(path, -ENOMEM, NULL, err);

	char *slash = strrchr(dir, '/');
	const char *where = slash == dir ? "/" : slash ? dir : ".";

	if (slash)
		*slash = '\0';
	if (slash == dir)
		where = "/";
	if (stat(where, &st) < 0)
		r = store__fault_set(path, errno == ENOENT ? -ENOENT : -EIO, strerror(errno), err);
	else if (!S_ISDIR(st.st_mode))
		r = store__fault_set(path, -ENOENT, "not a directory", err);
	else if (access(where, W_OK | X_OK) < 0)
		r = store__fault_set(path, -EROFS, strerror(errno), err);
	else if (exists_beside(path, "-wal") || exists_beside(path, "-journal"))
		/* SQLite would play it into the new file. */
		r = store__fault_set(path, -EUCLEAN,
			"the file is missing, its journal (-wal or -journal) is there: put the file back, or move the journal away",
			err);
	free(dir);
	return r;
}

/* Looks at what stands at PATH. *ret_missing: nothing, and the place is fit. */
static int inspect(const char *path, bool *ret_missing, struct qmt_err *err)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		if (errno != ENOENT)
			return store__fault_set(path, errno == ENOTDIR ? -ENOENT : -EIO, strerror(errno), err);
		*ret_missing = true;
		return check_place(path, err);
	}
	*ret_missing = false;
	if (!S_ISREG(st.st_mode))
		return store__fault_set(path, -EMEDIUMTYPE, "no regular file", err);
	if (st.st_size == 0)
		return store__fault_set(path, -EMEDIUMTYPE,
			"the file is empty; a store never is: restore a backup, or remove it to begin with nothing", err);
	return probe(path, err);
}

static int make_file(const char *path, struct qmt_err *err)
{
	char *building = beside(path, ".new");
	int r;

	if (!building)
		return store__fault_set(path, -ENOMEM, NULL, err);
	/* Left by a run that was killed while it made the file; by its name it is ours, and nothing was ever acknowledged
	 * in it. */
	unlink(building);
	r = create(path, building, err);
	if (r < 0)
		unlink(building);
	free(building);
	return r;
}

static int configure(struct store_db *db, enum store_db_mode mode, struct qmt_err *err)
{
	const struct store_limits *limits = &db->limits;
	char text[400];
	int64_t version, page_bytes;
	int r;

	/* Until the version is known, nothing of a newer program's log may be moved. */
	sqlite3_db_config(db->sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	sqlite3_busy_timeout(db->sql, (int)limits->busy_timeout_ms);
	r = check_version(db->path, db->sql, &version, err);
	if (r < 0)
		return r;
	if (mode == STORE_DB_READ)
		return version == store_schema_newest()
			? execute(db->path, db->sql, "PRAGMA cell_size_check = ON; PRAGMA query_only = ON", err)
			: store__fault_set(db->path, -EPROTONOSUPPORT,
				  "its version is older: it is migrated when it is opened for writing", err);
	sqlite3_db_config(db->sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
	if (sqlite3_db_readonly(db->sql, "main") == 1)
		return store__fault_set(db->path, -EROFS, NULL, err);
	snprintf(text, sizeof text,
		"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cell_size_check = ON; PRAGMA secure_delete = OFF;"
		"PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = %llu; PRAGMA journal_size_limit = %llu",
		(unsigned long long)limits->wal_checkpoint_pages, (unsigned long long)limits->wal_keep_bytes);
	r = execute(db->path, db->sql, text, err);
	if (r == 0)
		r = read_number(db->path, db->sql, "PRAGMA page_size", &page_bytes, err);
	if (r == 0 && limits->max_bytes > 0) {
		snprintf(text, sizeof text, "PRAGMA max_page_count = %llu",
			(unsigned long long)limits->max_bytes / (unsigned long long)page_bytes);
		r = execute(db->path, db->sql, text, err);
	}
	if (r == 0)
		r = migrate(db->path, db->sql, err);
	for (enum store_sql id = 0; r == 0 && id < STORE_SQL_COUNT; id++)
		r = store__prepare(db, id, err);
	return r;
}

static int open_handle(const char *path, const struct store_limits *limits, enum store_db_mode mode,
	struct store_db **ret_db, struct qmt_err *err)
{
	struct store_db *db = calloc(1, sizeof *db);
	int flags = mode == STORE_DB_READ ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE, r = -ENOMEM;

	if (db) {
		db->path = qmt_str_dup(qmt_str(path));
		db->limits = *limits;
		db->memory = is_memory(path);
	}
	if (!db || !db->path)
		store__fault_set(path, -ENOMEM, NULL, err);
	else
		r = open_sqlite(path, "", flags, &db->sql, err);
	if (r == 0)
		r = configure(db, mode, err);
	if (r < 0) {
		store_db_close(db);
		return r;
	}
	*ret_db = db;
	return 0;
}

int store_db_open(const char *path, const struct store_limits *limits, enum store_db_mode mode,
	struct store_db **ret_db, struct qmt_err *err)
{
	bool missing = false;
	int r = is_memory(path) ? 0 : inspect(path, &missing, err);

	if (r < 0)
		return r;
	if (missing && mode == STORE_DB_READ)
		return store__fault_set(path, -EUCLEAN, "the file is missing", err);
	if (missing)
		r = make_file(path, err);
	return r < 0 ? r : open_handle(path, limits, mode, ret_db, err);
}

struct store_db *store_db_close(struct store_db *db)
{
	if (!db)
		return NULL;
	if (db->in_batch)
		store_db_rollback(db);
	for (enum store_sql id = 0; id < STORE_SQL_COUNT; id++)
		sqlite3_finalize(db->stmts[id]);
	sqlite3_close_v2(db->sql);
	free(db->path);
	free(db);
	return NULL;
}

int store_check(const char *path, uint64_t busy_timeout_ms, struct qmt_err *err)
{
	bool missing = false;
	sqlite3 *sql;
	int64_t version;
	int r = is_memory(path) ? 0 : inspect(path, &missing, err);

	if (r < 0 || missing || is_memory(path))
		return r;
	r = open_sqlite(path, "", SQLITE_OPEN_READWRITE, &sql, err);
	if (r < 0)
		return r;
	sqlite3_db_config(sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	sqlite3_busy_timeout(sql, (int)busy_timeout_ms);
	r = check_version(path, sql, &version, err);
	if (r == 0 && sqlite3_db_readonly(sql, "main") == 1)
		r = store__fault_set(path, -EROFS, NULL, err);
	if (r == 0) /* the lock is to be had, and the tables can be read */
		r = execute(path, sql, "BEGIN IMMEDIATE; SELECT count(*) FROM sqlite_schema; ROLLBACK", err);
	sqlite3_close_v2(sql);
	return r;
}
