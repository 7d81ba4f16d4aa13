/* actors/store/store_db_read.c - operations that read.
 *
 * What takes several statements runs in one read transaction, so that it is a picture of one moment.
 */
#include <errno.h>

#include "actors/store/store_db_impl.h"
#include "proto/utf8.h"

int store__session_row(struct store_db *db, sqlite3_stmt *stmt, struct store_arena *arena,
	struct store_session *ret_session, struct qmt_err *err)
{
	struct store_session s = {
		.created_ms = store__column_u64(stmt, 8),
		.updated_ms = store__column_u64(stmt, 9),
		.messages = store__column_u64(stmt, 10),
		.turns = store__column_u64(stmt, 11),
		.usage = {.input_tokens = store__column_u64(stmt, 14),
			.output_tokens = store__column_u64(stmt, 15),
			.cached_tokens = store__column_u64(stmt, 16),
			.reasoning_tokens = store__column_u64(stmt, 17)},
		.remote_tools = sqlite3_column_int(stmt, 18),
		.last = store__column_u64(stmt, 19),
		.archived_ms = store__column_u64(stmt, 20),
		.fork_pos = store__column_u64(stmt, 22),
	};
	const struct {
		int column;
		struct qmt_str *ret_text;
	} texts[] = {{1, &s.id}, {2, &s.name}, {3, &s.agent}, {4, &s.cwd}, {5, &s.owner}, {6, &s.peer}, {7, &s.peer_name},
		{12, &s.state}, {13, &s.title}, {21, &s.parent}};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof texts / sizeof *texts; i++)
		r = store__column(db, stmt, texts[i].column, arena, texts[i].ret_text, err);
	if (r == 0)
		*ret_session = s;
	return r;
}

/* A read transaction; inside a batch that one serves. */
static int read_begin(struct store_db *db, struct qmt_err *err)
{
	return db->in_batch ? 0 : store__run_values(db, STORE_SQL_BEGIN_READ, NULL, 0, err);
}

static void read_end(struct store_db *db)
{
	if (!db->in_batch && !sqlite3_get_autocommit(db->sql))
		(void)store__run_values(db, STORE_SQL_ROLLBACK, NULL, 0, NULL); /* there is nothing to commit */
}

/* Takes at most `limit` sessions from a statement. */
static int take_sessions(struct store_db *db, sqlite3_stmt *stmt, uint32_t limit, struct store_arena *arena,
	struct store_session **ret_items, uint32_t *ret_count, struct qmt_err *err)
{
	struct store_session *items = store_arena_take(arena, limit * sizeof *items);
	uint32_t count = 0;
	int r = STORE_ROW;

	if (!items) {
		store__done(stmt);
		return store__no_memory(db, err);
	}
	while (count < limit && (r = store__step(db, stmt, err)) == STORE_ROW) {
		r = store__session_row(db, stmt, arena, &items[count], err);
		if (r < 0)
			break;
		count++;
	}
	store__done(stmt);
	if (r < 0)
		return r;
	*ret_items = items;
	*ret_count = count;
	return 0;
}

/* ---- find -------------------------------------------------------------------------------------------------------- */

/* One more than is listed, to know whether that was all. */
enum { FIND_LIMIT = STORE_CANDIDATES + 1, LABEL_BYTES = 24 };

static int find_by_id(struct store_db *db, struct qmt_str key, struct qmt_str owner, struct store_arena *arena,
	struct store_session **ret_items, uint32_t *ret_count, struct qmt_err *err)
{
	sqlite3_stmt *stmt;
	int r = store__query(db, err, &stmt, SESSION_BY_ID, V_TEXT(key));

	if (r == 0)
		r = take_sessions(db, stmt, 1, arena, ret_items, ret_count, err);
	if (r == 0 && *ret_count && owner.len && !qmt_str_eq(owner, (*ret_items)[0].owner))
		*ret_count = 0;
	return r;
}

static int find_by_name(struct store_db *db, struct qmt_str key, struct qmt_str owner, struct store_arena *arena,
	struct store_session **ret_items, uint32_t *ret_count, struct qmt_err *err)
{
	sqlite3_stmt *stmt;
	int r = store__query(db, err, &stmt, SESSION_BY_NAME, V_TEXT(key), V_TEXT(owner), V_INT(FIND_LIMIT));

	return r < 0 ? r : take_sessions(db, stmt, FIND_LIMIT, arena, ret_items, ret_count, err);
}

static int find_by_prefix(struct store_db *db, struct qmt_str key, struct qmt_str owner, struct store_arena *arena,
	struct store_session **ret_items, uint32_t *ret_count, struct qmt_err *err)
{
	char from[STORE_ID_CHARS], to[STORE_ID_CHARS];
	sqlite3_stmt *stmt;

	if (key.len < STORE_PREFIX_MIN || key.len >= STORE_ID_CHARS)
		return 0;
	for (uint32_t i = 0; i < key.len; i++)
		from[i] = to[i] = key.p[i] >= 'A' && key.p[i] <= 'F' ? (char)(key.p[i] + ('a' - 'A')) : key.p[i];
	if (to[key.len - 1] == 0x7f || (to[key.len - 1] & 0x80)) /* in no id, and no text comes next to it */
		return 0;
	to[key.len - 1]++;

	int r = store__query(db, err, &stmt, SESSION_BY_PREFIX, V_TEXT(qmt_strn(from, key.len)),
		V_TEXT(qmt_strn(to, key.len)), V_TEXT(owner), V_INT(FIND_LIMIT));

	return r < 0 ? r : take_sessions(db, stmt, FIND_LIMIT, arena, ret_items, ret_count, err);
}

static int ambiguous(struct qmt_str key, const struct store_session *items, uint32_t count, struct qmt_err *err)
{
	struct qmt_buf text QMT_CLEANUP(qmt_buf_free) = {0};

	for (uint32_t i = 0; i < count && i < STORE_CANDIDATES; i++) {
		struct qmt_str label = utf8_head(items[i].name.len > 0 ? items[i].name : items[i].title, LABEL_BYTES);

		qmt_buf_printf(&text, "%s%.*s", i > 0 ? ", " : "", QMT_STR_ARG(items[i].id));
		if (label.len > 0)
			qmt_buf_printf(&text, " (%.*s)", QMT_STR_ARG(label));
	}
	key = utf8_head(key, QMT_ERR_TEXT / 8);
	return qmt_err_set(err, STORE_E_BAD, "\"%.*s\" means several sessions: %s%s", QMT_STR_ARG(key),
		text.failed || !text.data ? "" : text.data, count > STORE_CANDIDATES ? ", and more" : "");
}

int store_db_session_find(struct store_db *db, const struct store_session_find *req, struct store_arena *arena,
	struct store_session *ret_session, struct qmt_err *err)
{
	/* The owner's own first: peers must not be able to make its names ambiguous, by whatever name or id. */
	static const struct {
		int (*find)(struct store_db *db, struct qmt_str key, struct qmt_str owner, struct store_arena *arena,
			struct store_session **ret_items, uint32_t *ret_count, struct qmt_err *err);
		bool of_peers; /* looks at those of all peers; only for the owner */
	} ways[] = {{find_by_id, false}, {find_by_name, false}, {find_by_prefix, false}, {find_by_name, true},
		{find_by_prefix, true}};
	struct store_session *items = NULL;
	uint32_t count = 0;
	int r;

	if (req->key.len == 0)
		return qmt_err_set(err, STORE_E_BAD,
			"which session? an id, the beginning of one (%d characters or more), or a name", STORE_PREFIX_MIN);
	r = read_begin(db, err);
	for (size_t i = 0; r == 0 && count == 0 && i < sizeof ways / sizeof *ways; i++)
		if (!ways[i].of_peers || req->owner.len == 0)
			r = ways[i].find(db, req->key, ways[i].of_peers ? qmt_str("*") : req->owner, arena, &items, &count, err);
	read_end(db);
	if (r < 0)
		return r;
	if (count == 0)
		return store__no_session(req->key, err);
	if (count > 1)
		return ambiguous(req->key, items, count, err);
	*ret_session = items[0];
	return 0;
}

/* ---- list -------------------------------------------------------------------------------------------------------- */

int store__session_count(
	struct store_db *db, struct qmt_str owner, uint32_t archived, uint64_t *ret_count, struct qmt_err *err)
{
	sqlite3_stmt *stmt;
	int r = owner.len > 0 ? store__query(db, err, &stmt, SESSION_COUNT_OWNER, V_INT(archived), V_TEXT(owner))
						  : store__query(db, err, &stmt, SESSION_COUNT, V_INT(archived));

	if (r == 0)
		r = store__step(db, stmt, err);
	if (r != STORE_ROW)
		return r;
	*ret_count = store__column_u64(stmt, 0);
	store__done(stmt);
	return 0;
}

static uint32_t bounded(uint32_t limit, uint32_t dflt, uint32_t max)
{
	return limit == 0 ? dflt : limit > max ? max : limit;
}

int store_db_session_list(struct store_db *db, const struct store_session_list *req, struct store_arena *arena,
	struct store_sessions *ret_sessions, struct qmt_err *err)
{
	uint32_t limit = bounded(req->limit, STORE_LIST_DEFAULT, STORE_LIST_MAX), count = 0;
	uint64_t offset = req->offset > INT64_MAX ? INT64_MAX : req->offset, total = 0;
	struct store_session *items = NULL;
	sqlite3_stmt *stmt;
	int r;

	if (req->archived > STORE_ALL)
		return qmt_err_set(err, STORE_E_BAD, "archived: %u is none of 0, 1, 2", req->archived);
	r = read_begin(db, err);
	if (r == 0)
		r = store__session_count(db, req->owner, req->archived, &total, err);
	if (r == 0)
		r = req->owner.len > 0
			? store__query(db, err, &stmt, SESSION_LIST_OWNER, V_INT(req->archived), V_INT(limit), V_INT(offset),
				  V_TEXT(req->owner))
			: store__query(db, err, &stmt, SESSION_LIST, V_INT(req->archived), V_INT(limit), V_INT(offset));
	if (r == 0)
		r = take_sessions(db, stmt, limit, arena, &items, &count, err);
	read_end(db);
	if (r == 0) {
		*ret_sessions = (struct store_sessions){.total = total};
		ret_sessions->sessions.items = items;
		ret_sessions->sessions.count = count;
	}
	return r;
}

/* ---- history ----------------------------------------------------------------------------------------------------- */

struct paging {
	struct chat_message *items;
	uint32_t count, limit;
	uint64_t bytes;
	uint64_t next; /* 0: all that was asked for is there */
	bool events;
};

static int read_total(struct store_db *db, struct qmt_str id, int64_t *ret_key, uint64_t *ret_last,
	uint64_t *ret_messages, struct qmt_err *err)
{
	sqlite3_stmt *stmt;
	int r = store__query(db, err, &stmt, TOTAL, V_TEXT(id));

	if (r == 0)
		r = store__step(db, stmt, err);
	if (r != STORE_ROW)
		return r < 0 ? r : store__no_session(id, err);
	*ret_key = sqlite3_column_int64(stmt, 0);
	*ret_last = store__column_u64(stmt, 1);
	*ret_messages = store__column_u64(stmt, 2);
	store__done(stmt);
	return 0;
}

int store__chain(struct store_db *db, int64_t key, uint64_t total, uint64_t from, struct store_arena *arena,
	struct store_segment **ret_chain, uint32_t *ret_count, struct qmt_err *err)
{
	struct store_segment *chain = store_arena_take(arena, (db->limits.fork_depth_max + 1) * sizeof *chain);
	uint64_t upto = total;
	uint32_t count = 0;

	if (!chain)
		return store__no_memory(db, err);
	for (;;) {
		sqlite3_stmt *stmt;
		int r = store__query(db, err, &stmt, SESSION_FORK, V_INT(key));

		if (r == 0)
			r = store__step(db, stmt, err);
		if (r < 0)
			return r;
		if (r != STORE_ROW || count > db->limits.fork_depth_max) {
			store__done(r == STORE_ROW ? stmt : NULL);
			return qmt_err_set(err, -EUCLEAN, "store %s: damaged: %s", db->path,
				r == STORE_ROW ? "a session has more ancestors than fork_depth_max" : "a session's parent is missing");
		}

		bool forked = sqlite3_column_type(stmt, 0) != SQLITE_NULL;
		uint64_t after = forked ? store__column_u64(stmt, 1) : 0;
		int64_t parent = sqlite3_column_int64(stmt, 0);

		store__done(stmt);
		if (after > upto)
			after = upto; /* a fork of a fork before the older one's point */
		chain[count++] = (struct store_segment){.key = key, .after = after, .upto = upto};
		if (!forked || from > after)
			break;
		key = parent;
		upto = after;
	}
	*ret_chain = chain;
	*ret_count = count;
	return 0;
}

static int read_calls(struct store_db *db, int64_t key, int64_t calls, struct store_arena *arena,
	struct chat_message *m, struct qmt_err *err)
{
	struct chat_tool_call *items;
	sqlite3_stmt *stmt;
	int64_t count = 0;
	int r = store__query(db, err, &stmt, CALL_RANGE, V_INT(key), V_INT(m->pos));

	if (r < 0)
		return r;
	if (calls < 0 || calls > INT32_MAX)
		return qmt_err_set(err, -EUCLEAN, "store %s: damaged: message %llu", db->path, (unsigned long long)m->pos);
	items = store_arena_take(arena, (size_t)calls * sizeof *items);
	if (!items)
		return store__no_memory(db, err);
	while (count < calls && (r = store__step(db, stmt, err)) == STORE_ROW) {
		r = store__column(db, stmt, 0, arena, &items[count].id, err);
		if (r == 0)
			r = store__column(db, stmt, 1, arena, &items[count].name, err);
		if (r == 0)
			r = store__column(db, stmt, 2, arena, &items[count].arguments, err);
		if (r < 0)
			break;
		count++;
	}
	store__done(stmt);
	if (r < 0)
		return r;
	if (count < calls)
		return qmt_err_set(
			err, -EUCLEAN, "store %s: damaged: message %llu has lost tool calls", db->path, (unsigned long long)m->pos);
	m->tool_calls.items = items;
	m->tool_calls.count = (uint32_t)count;
	return 0;
}

static int read_message(struct store_db *db, sqlite3_stmt *stmt, struct store_arena *arena,
	struct chat_message *ret_message, struct qmt_err *err)
{
	struct chat_message m = {
		.pos = store__column_u64(stmt, 0),
		.turn = store__column_u64(stmt, 1),
		.is_error = sqlite3_column_int(stmt, 8),
		.created_ms = store__column_u64(stmt, 9),
	};
	const struct {
		int column;
		struct qmt_str *ret_text;
	} texts[] = {
		{2, &m.role}, {3, &m.content}, {4, &m.reasoning}, {6, &m.tool_call_id}, {7, &m.tool_name}, {10, &m.author}};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof texts / sizeof *texts; i++)
		r = store__column(db, stmt, texts[i].column, arena, texts[i].ret_text, err);
	if (r == 0)
		*ret_message = m;
	return r;
}

static uint64_t text_bytes(const struct chat_message *m)
{
	uint64_t bytes = (uint64_t)m->content.len + m->reasoning.len;

	for (uint32_t i = 0; i < m->tool_calls.count; i++)
		bytes += m->tool_calls.items[i].arguments.len;
	return bytes;
}

/* Reads one ancestor's part of the page. */
static int read_segment(struct store_db *db, const struct store_segment *segment, uint64_t from,
	struct store_arena *arena, struct paging *page, struct qmt_err *err)
{
	uint64_t first = from > segment->after ? from : segment->after + 1;
	sqlite3_stmt *stmt;
	int r = page->events
		? store__query(db, err, &stmt, MESSAGE_RANGE, V_INT(segment->key), V_INT(first), V_INT(segment->upto))
		: store__query(db, err, &stmt, MESSAGE_ONLY_RANGE, V_INT(segment->key), V_INT(first), V_INT(segment->upto));

	if (r < 0)
		return r;
	while ((r = store__step(db, stmt, err)) == STORE_ROW) {
		struct chat_message *m = &page->items[page->count];

		if (page->count == page->limit || page->bytes >= db->limits.page_bytes) {
			page->next = store__column_u64(stmt, 0);
			store__done(stmt);
			return 0;
		}

		int64_t calls = sqlite3_column_int64(stmt, 5);

		r = read_message(db, stmt, arena, m, err);
		if (r == 0 && calls > 0)
			r = read_calls(db, segment->key, calls, arena, m, err);
		if (r < 0) {
			store__done(stmt);
			return r;
		}
		page->count++;
		page->bytes += text_bytes(m);
	}
	return r;
}

static int read_page(struct store_db *db, const struct store_history *req, struct store_arena *arena,
	struct store_page *ret_page, struct qmt_err *err)
{
	uint64_t from = req->from == 0 ? 1 : req->from, last = 0, messages = 0;
	struct paging page = {
		.limit = bounded(req->limit, STORE_HISTORY_DEFAULT, STORE_HISTORY_MAX), .events = req->events};
	struct store_segment *chain = NULL;
	uint32_t segments = 0;
	int64_t key = 0;
	int r = read_total(db, req->session, &key, &last, &messages, err);

	if (r != 0)
		return r;
	if (from <= last) {
		if (page.limit > last - from + 1)
			page.limit = (uint32_t)(last - from + 1);
		page.items = store_arena_take(arena, (page.limit + 1) * sizeof *page.items);
		if (!page.items)
			return store__no_memory(db, err);
		r = store__chain(db, key, last, from, arena, &chain, &segments, err);
		while (r == 0 && segments > 0 && page.next == 0)
			r = read_segment(db, &chain[--segments], from, arena, &page, err);
	}
	if (r < 0)
		return r;
	*ret_page = (struct store_page){.total = messages, .next = page.next, .last = last};
	ret_page->messages.items = page.items;
	ret_page->messages.count = page.count;
	return 0;
}

int store_db_history(struct store_db *db, const struct store_history *req, struct store_arena *arena,
	struct store_page *ret_page, struct qmt_err *err)
{
	int r = read_begin(db, err);

	if (r < 0)
		return r;
	r = read_page(db, req, arena, ret_page, err);
	read_end(db);
	return r;
}

/* ---- pins -------------------------------------------------------------------------------------------------------- */

int store_db_pin_get(struct store_db *db, const struct store_pin_get *req, struct store_arena *arena,
	struct store_pin *ret_pin, struct qmt_err *err)
{
	struct store_pin pin = {.name = req->name};
	sqlite3_stmt *stmt;
	int r = store__query(db, err, &stmt, PIN_GET, V_TEXT(req->name));

	if (r == 0)
		r = store__step(db, stmt, err);
	if (r == STORE_ROW) {
		r = store__column(db, stmt, 0, arena, &pin.peer_id, err);
		store__done(stmt);
	}
	if (r == 0)
		*ret_pin = pin;
	return r;
}
