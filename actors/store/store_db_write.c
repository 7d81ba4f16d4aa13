/* actors/store/store_db_write.c - operations that write, inside a batch.
 *
 * Each first looks whether it can be done, and only then writes: so a request that is refused leaves nothing to undo,
 * and a batch needs no savepoint per request (SQLite would copy each page that it touches once more). What the look-ups
 * find is kept in slots; a rollback drops them all.
 */
#include <errno.h>
#include <inttypes.h>

#include "actors/store/store_db_impl.h"
#include "proto/json.h"

static const char running[] = "running", interrupted[] = "interrupted";

/* ---- slots ------------------------------------------------------------------------------------------------------- */

static struct store_slot *slot_place(struct store_db *db, struct qmt_str id)
{
	uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */

	for (uint32_t i = 0; i < id.len; i++)
		hash = (hash ^ (unsigned char)id.p[i]) * UINT64_C(1099511628211);
	return &db->slots[(hash ^ hash >> 32) % STORE_SLOTS];
}

static int slot_flush(struct store_db *db, struct store_slot *slot, struct qmt_err *err)
{
	if (slot->touched_ms == 0)
		return 0;

	int r = store__run(db, err, SESSION_TOUCH, V_INT(slot->touched_ms), V_INT(slot->key));

	if (r == 0) {
		slot->updated_ms = slot->touched_ms;
		slot->touched_ms = 0;
	}
	return r;
}

int store__slots_flush(struct store_db *db, struct qmt_err *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < STORE_SLOTS; i++)
		r = slot_flush(db, &db->slots[i], err);
	return r;
}

void store__slots_drop(struct store_db *db)
{
	memset(db->slots, 0, sizeof db->slots);
}

int store__slot_get(struct store_db *db, struct qmt_str id, struct store_slot **ret_slot, struct qmt_err *err)
{
	struct store_slot *slot = slot_place(db, id);
	sqlite3_stmt *stmt;

	if (id.len != STORE_ID_CHARS)
		return store__no_session(id, err);
	if (slot->key != 0 && memcmp(slot->id, id.p, STORE_ID_CHARS) == 0) {
		*ret_slot = slot;
		return 0;
	}

	int r = slot_flush(db, slot, err); /* it makes room */

	if (r == 0)
		r = store__query(db, err, &stmt, SESSION_STATE, V_TEXT(id));
	if (r == 0)
		r = store__step(db, stmt, err);
	if (r != STORE_ROW)
		return r < 0 ? r : store__no_session(id, err);
	*slot = (struct store_slot){
		.key = sqlite3_column_int64(stmt, 0),
		.bookmark = sqlite3_column_bytes(stmt, 1) > 0,
		.titled = sqlite3_column_int(stmt, 2),
		.last_pos = store__column_u64(stmt, 3),
		.last_turn = store__column_u64(stmt, 4),
		.running = sqlite3_column_int(stmt, 5),
		.checkpoint = sqlite3_column_int(stmt, 6),
		.updated_ms = store__column_u64(stmt, 7),
		.last_nth = store__column_u64(stmt, 8),
		.archived = sqlite3_column_int(stmt, 9),
	};
	memcpy(slot->id, id.p, STORE_ID_CHARS);
	store__done(stmt);
	*ret_slot = slot;
	return 0;
}

/* The slot, if this turn of it runs. STORE_E_NOT_FOUND, STORE_E_ENDED. */
static int slot_of_turn(
	struct store_db *db, struct qmt_str id, uint64_t turn, struct store_slot **ret_slot, struct qmt_err *err)
{
	struct store_slot *slot;
	int r = store__slot_get(db, id, &slot, err);

	if (r != 0)
		return r;
	if (turn == 0 || turn > slot->last_turn)
		return qmt_err_set(err, STORE_E_NOT_FOUND, "session %s has no turn %llu (its last is %llu)", slot->id,
			(unsigned long long)turn, (unsigned long long)slot->last_turn);
	*ret_slot = slot;
	if (turn < slot->last_turn || !slot->running)
		return qmt_err_set(err, STORE_E_ENDED, "turn %llu of session %s has ended", (unsigned long long)turn, slot->id);
	return 0;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static int insert_message(struct store_db *db, struct store_slot *slot, const struct chat_message *m, bool partial,
	uint64_t now_ms, struct qmt_err *err)
{
	uint64_t pos = slot->last_pos + 1, created_ms = m->created_ms ? m->created_ms : now_ms;
	uint64_t nth = slot->last_nth + !qmt_str_is(m->role, "event");
	int r = store__run(db, err, MESSAGE_INSERT, V_INT(slot->key), V_INT(pos), V_INT(slot->last_turn), V_TEXT(m->role),
		V_OPT(m->content), V_OPT(m->reasoning), V_INT(m->tool_calls.count), V_OPT(m->tool_call_id), V_OPT(m->tool_name),
		V_INT(m->is_error), V_INT(partial), V_INT(created_ms), V_INT(nth), V_OPT(m->author));

	for (uint32_t i = 0; r == 0 && i < m->tool_calls.count; i++) {
		const struct chat_tool_call *call = &m->tool_calls.items[i];

		r = store__run(db, err, CALL_INSERT, V_INT(slot->key), V_INT(pos), V_INT(i + 1), V_TEXT(call->id),
			V_TEXT(call->name), V_OPT(call->arguments));
	}
	if (r == 0) {
		slot->last_pos = pos;
		slot->last_nth = nth;
		if (now_ms < slot->updated_ms || now_ms - slot->updated_ms >= STORE_TOUCH_MS)
			slot->touched_ms = now_ms;
	}
	return r;
}

int store__insert_event(struct store_db *db, struct store_slot *slot, const char *kind, const struct qmt_buf *data,
	uint64_t now_ms, struct qmt_err *err)
{
	struct chat_message event = {.role = qmt_str("event"), .tool_name = qmt_str(kind), .content = qmt_buf_view(data)};

	if (data->failed)
		return store__no_memory(db, err);
	return insert_message(db, slot, &event, false, now_ms, err);
}

static int set_checkpoint(struct store_db *db, struct store_slot *slot, struct qmt_str text, struct qmt_err *err)
{
	int r = store__run(db, err, TURN_CHECKPOINT, V_OPT(text), V_INT(slot->key), V_INT(slot->last_turn));

	if (r == 0)
		slot->checkpoint = text.len > 0;
	return r;
}

static int insert_messages(struct store_db *db, struct store_slot *slot, const struct chat_message *messages,
	uint32_t count, uint64_t now_ms, struct qmt_err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < count; i++) {
		r = insert_message(db, slot, &messages[i], false, now_ms, err);
		if (r == 0 && slot->checkpoint && qmt_str_is(messages[i].role, "assistant"))
			r = set_checkpoint(db, slot, (struct qmt_str){0}, err);
	}
	return r;
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

/* The beginning of a prompt as one line: cut between characters, control characters become blanks. */
static size_t make_title(struct qmt_str text, char ret_title[STORE_TITLE_CHARS * 4])
{
	uint32_t chars = 0, at = 0;

	for (; at < text.len && at < STORE_TITLE_CHARS * 4; at++) {
		unsigned char c = (unsigned char)text.p[at];

		if ((c & 0xc0) != 0x80 && chars++ == STORE_TITLE_CHARS)
			break;
		ret_title[at] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
	}
	return at;
}

static int insert_turn(struct store_db *db, struct store_slot *slot, const struct store_turn_begin *req,
	uint64_t now_ms, struct qmt_err *err)
{
	struct chat_message prompt = {.role = qmt_str("user"), .content = req->text, .author = req->author};
	char title[STORE_TITLE_CHARS * 4];
	int r = store__run(db, err, TURN_INSERT, V_INT(slot->key), V_INT(slot->last_turn + 1), V_INT(slot->last_pos + 1),
		V_TEXT(req->request), V_INT(now_ms));

	if (r < 0)
		return r;
	slot->last_turn++;
	slot->running = true;
	slot->checkpoint = false;
	r = insert_message(db, slot, &prompt, false, now_ms, err);
	slot->touched_ms = now_ms;
	if (r < 0 || slot->titled)
		return r;
	slot->titled = true;
	return store__run(db, err, SESSION_TITLE, V_TEXT(qmt_strn(title, make_title(req->text, title))), V_INT(slot->key));
}

int store_db_turn_begin(struct store_db *db, const struct store_turn_begin *req, uint64_t now_ms,
	struct store_arena *arena, struct store_turn_begun *ret_begun, struct qmt_err *err)
{
	struct store_slot *slot;
	sqlite3_stmt *stmt;
	int r = store__check_name(db, "request", req->request, true, err);

	if (r == 0 && req->text.len == 0)
		r = qmt_err_set(err, STORE_E_BAD, "text: a prompt is not empty");
	if (r == 0)
		r = store__check_size(db, "text", req->text.len, err);
	if (r == 0)
		r = store__check_name(db, "author", req->author, false, err);
	if (r == 0)
		r = store__slot_get(db, req->session, &slot, err);
	if (r == 0 && slot->bookmark)
		r = qmt_err_set(err, STORE_E_BAD, "session %s lives on another node: prompt it there", slot->id);
	if (r == 0 && slot->archived)
		r = qmt_err_set(err, STORE_E_BAD, "session %s is archived: `qmt session unarchive %s` makes it active again",
			slot->id, slot->id);
	if (r == 0)
		r = store__query(db, err, &stmt, TURN_BY_REQUEST, V_INT(slot->key), V_TEXT(req->request));
	if (r == 0)
		r = store__step(db, stmt, err);
	if (r == STORE_ROW) {
		struct store_turn_begun begun = {.turn = store__column_u64(stmt, 0), .duplicate = true};

		r = store__column(db, stmt, 1, arena, &begun.state, err);
		store__done(stmt);
		if (r == 0)
			*ret_begun = begun;
		return r;
	}
	if (r == 0 && slot->running)
		r = qmt_err_set(err, STORE_E_BUSY, "turn %llu of session %s is under way: wait for its end, or cancel it",
			(unsigned long long)slot->last_turn, slot->id);
	if (r == 0)
		r = insert_turn(db, slot, req, now_ms, err);
	if (r == 0)
		*ret_begun = (struct store_turn_begun){.turn = slot->last_turn, .state = qmt_str(running)};
	return r;
}

int store_db_append(
	struct store_db *db, const struct store_append *req, uint64_t now_ms, uint64_t *ret_pos, struct qmt_err *err)
{
	struct store_slot *slot;
	int r = slot_of_turn(db, req->session, req->turn, &slot, err);

	if (r == 0)
		r = store__check_messages(db, req->messages.items, req->messages.count, err);
	if (r == 0)
		r = insert_messages(db, slot, req->messages.items, req->messages.count, now_ms, err);
	if (r == 0)
		*ret_pos = slot->last_pos;
	return r;
}

int store_db_checkpoint(struct store_db *db, const struct store_checkpoint *req, struct qmt_err *err)
{
	struct store_slot *slot;
	int r = slot_of_turn(db, req->session, req->turn, &slot, err);

	if (r == 0)
		r = store__check_size(db, "text", req->text.len, err);
	return r == 0 ? set_checkpoint(db, slot, req->text, err) : r;
}

/* Numbers that come from a provider: a wrong one must not push the sum out of what SQLite holds. */
static uint64_t token_count(uint64_t tokens)
{
	return tokens > UINT64_C(1) << 53 ? UINT64_C(1) << 53 : tokens;
}

/* The event of the turn's end. */
static int tell_end(struct store_db *db, struct store_slot *slot, const struct store_turn_end *req,
	const struct chat_usage *u, uint64_t now_ms, struct qmt_err *err)
{
	struct qmt_buf data QMT_CLEANUP(qmt_buf_free) = {0};

	qmt_buf_printf(&data, "{\"turn\":%" PRIu64 ",\"outcome\":", slot->last_turn);
	json_quote(&data, req->state);
	qmt_buf_printf(&data, ",\"finish\":");
	json_quote(&data, req->finish);
	qmt_buf_printf(&data, ",\"error\":");
	json_quote(&data, req->error);
	qmt_buf_printf(&data,
		",\"steps\":%" PRIu32 ",\"input_tokens\":%" PRIu64 ",\"output_tokens\":%" PRIu64 ",\"cached_tokens\":%" PRIu64
		",\"reasoning_tokens\":%" PRIu64 "}",
		req->steps, u->input_tokens, u->output_tokens, u->cached_tokens, u->reasoning_tokens);
	return store__insert_event(db, slot, "turn_end", &data, now_ms, err);
}

static int end_turn(struct store_db *db, struct store_slot *slot, const struct store_turn_end *req, uint64_t now_ms,
	struct qmt_err *err)
{
	const struct chat_usage u = {
		.input_tokens = token_count(req->usage.input_tokens),
		.output_tokens = token_count(req->usage.output_tokens),
		.cached_tokens = token_count(req->usage.cached_tokens),
		.reasoning_tokens = token_count(req->usage.reasoning_tokens),
	};
	int r = store__run(db, err, TURN_END, V_TEXT(req->state), V_OPT(req->finish), V_OPT(req->error), V_INT(req->steps),
		V_INT(u.input_tokens), V_INT(u.output_tokens), V_INT(u.cached_tokens), V_INT(u.reasoning_tokens), V_INT(now_ms),
		V_INT(slot->key), V_INT(slot->last_turn));

	if (r == 0)
		r = tell_end(db, slot, req, &u, now_ms, err);
	if (r == 0)
		r = store__run(db, err, SESSION_USAGE, V_INT(u.input_tokens), V_INT(u.output_tokens), V_INT(u.cached_tokens),
			V_INT(u.reasoning_tokens), V_INT(slot->key));
	if (r == 0) {
		slot->running = slot->checkpoint = false;
		slot->touched_ms = now_ms;
	}
	return r;
}

/* The next call of message `pos` that has no result; STORE_ROW or 0. One at a time: answering it changes the table. */
static int next_open_call(struct store_db *db, struct store_slot *slot, int64_t pos, struct store_arena *arena,
	struct chat_message *ret_answer, struct qmt_err *err)
{
	sqlite3_stmt *stmt;
	int r = store__query(db, err, &stmt, CALLS_OPEN, V_INT(slot->key), V_INT(pos));

	if (r == 0)
		r = store__step(db, stmt, err);
	if (r != STORE_ROW)
		return r;
	*ret_answer = (struct chat_message){.role = qmt_str("tool"), .content = qmt_str(interrupted), .is_error = true};
	r = store__column(db, stmt, 0, arena, &ret_answer->tool_call_id, err);
	if (r == 0)
		r = store__column(db, stmt, 1, arena, &ret_answer->tool_name, err);
	store__done(stmt);
	return r < 0 ? r : STORE_ROW;
}

/* A model refuses a history in which a call has no result. */
static int answer_open_calls(
	struct store_db *db, struct store_slot *slot, uint64_t now_ms, struct store_arena *arena, struct qmt_err *err)
{
	struct chat_message answer;
	sqlite3_stmt *stmt;
	int64_t pos = 0, calls = 0;
	int r = store__query(db, err, &stmt, MESSAGE_LAST_CALLS, V_INT(slot->key), V_INT(slot->last_turn));

	if (r == 0)
		r = store__step(db, stmt, err);
	if (r == STORE_ROW) {
		pos = sqlite3_column_int64(stmt, 0);
		calls = sqlite3_column_int64(stmt, 1);
		store__done(stmt);
		r = 0;
	}
	while (r == 0 && calls-- > 0) {
		r = next_open_call(db, slot, pos, arena, &answer, err);
		if (r == STORE_ROW)
			r = insert_message(db, slot, &answer, false, now_ms, err);
		else
			calls = 0;
	}
	return r;
}

static int keep_checkpoint(
	struct store_db *db, struct store_slot *slot, uint64_t now_ms, struct store_arena *arena, struct qmt_err *err)
{
	struct chat_message cut = {.role = qmt_str("assistant")};
	sqlite3_stmt *stmt;

	if (!slot->checkpoint)
		return 0;

	int r = store__query(db, err, &stmt, TURN_TEXT, V_INT(slot->key), V_INT(slot->last_turn));

	if (r == 0)
		r = store__step(db, stmt, err);
	if (r != STORE_ROW)
		return r;
	r = store__column(db, stmt, 0, arena, &cut.content, err);
	store__done(stmt);
	return r == 0 ? insert_message(db, slot, &cut, true, now_ms, err) : r;
}

/* What is missing in a turn that did not come to its end; then end_turn follows. The session gives a result to each
 * call itself, if it has the memory. */
static int repair_turn(struct store_db *db, struct store_slot *slot, bool cut_off, uint64_t now_ms, struct qmt_err *err)
{
	struct store_arena arena QMT_CLEANUP(store_arena_fini) = {0};
	int r = answer_open_calls(db, slot, now_ms, &arena, err);

	return r == 0 && cut_off ? keep_checkpoint(db, slot, now_ms, &arena, err) : r;
}

int store_db_turn_end(struct store_db *db, const struct store_turn_end *req, uint64_t now_ms, struct qmt_err *err)
{
	struct store_slot *slot;
	int r = slot_of_turn(db, req->session, req->turn, &slot, err);

	if (r == STORE_E_ENDED) /* a retry, or it was ended otherwise: it keeps its state */
		return 0;
	if (r == 0)
		r = store__check_end(db, req, err);
	if (r == 0)
		r = insert_messages(db, slot, req->messages.items, req->messages.count, now_ms, err);
	if (r == 0 && !qmt_str_is(req->state, "complete"))
		r = repair_turn(db, slot, qmt_str_is(req->state, interrupted), now_ms, err);
	return r == 0 ? end_turn(db, slot, req, now_ms, err) : r;
}

/* ---- recovery ---------------------------------------------------------------------------------------------------- */

/* Ids of sessions with a running turn, at most as many as fit. */
enum { RECOVER_AT_ONCE = 64 };

static int running_sessions(
	struct store_db *db, char ret_ids[RECOVER_AT_ONCE][STORE_ID_CHARS + 1], int *ret_count, struct qmt_err *err)
{
	sqlite3_stmt *stmt;
	int r = store__query(db, err, &stmt, TURNS_RUNNING, V_INT(RECOVER_AT_ONCE)), count = 0;

	if (r < 0)
		return r;
	while ((r = store__step(db, stmt, err)) == STORE_ROW && count < RECOVER_AT_ONCE) {
		const char *id = (const char *)sqlite3_column_text(stmt, 0);

		snprintf(ret_ids[count++], STORE_ID_CHARS + 1, "%s", id ? id : "");
	}
	if (r == STORE_ROW)
		store__done(stmt);
	*ret_count = count;
	return r < 0 ? r : 0;
}

static int interrupt(struct store_db *db, const char *id, uint64_t now_ms, struct qmt_err *err)
{
	struct store_turn_end end = {.session = qmt_str(id), .state = qmt_str(interrupted)};
	struct store_slot *slot;
	int r = store__slot_get(db, end.session, &slot, err);

	if (r != 0)
		return r;
	end.turn = slot->last_turn;
	return store_db_turn_end(db, &end, now_ms, err);
}

/* One batch, and pass after pass over those that still run. A pass that ends none would go on for ever: then the index
 * lies. */
static int interrupt_all(struct store_db *db, uint64_t now_ms, uint64_t *ret_turns, struct qmt_err *err)
{
	char ids[RECOVER_AT_ONCE][STORE_ID_CHARS + 1], first[STORE_ID_CHARS + 1] = "";
	uint64_t turns = 0;
	int count, r;

	while ((r = running_sessions(db, ids, &count, err)) == 0 && count > 0) {
		if (strcmp(first, ids[0]) == 0)
			return qmt_err_set(err, -EUCLEAN, "store %s: damaged: session %s has a running turn that is not its last",
				db->path, first);
		memcpy(first, ids[0], sizeof first);
		for (int i = 0; r == 0 && i < count; i++)
			r = interrupt(db, ids[i], now_ms, err);
		if (r != 0)
			return r < 0 ? r : -EUCLEAN;
		turns += (uint64_t)count;
	}
	*ret_turns = turns;
	return r;
}

int store_db_recover(struct store_db *db, uint64_t now_ms, uint64_t *ret_turns, struct qmt_err *err)
{
	uint64_t turns = 0;
	int r = store_db_begin(db, err);

	if (r < 0)
		return r;
	r = interrupt_all(db, now_ms, &turns, err);
	if (r < 0) {
		store_db_rollback(db);
		return r;
	}
	r = store_db_commit(db, err);
	if (r == 0)
		*ret_turns = turns;
	return r;
}

/* ---- pins -------------------------------------------------------------------------------------------------------- */

int store_db_pin_put(struct store_db *db, const struct store_pin_put *req, uint64_t now_ms, struct qmt_err *err)
{
	struct store_arena arena QMT_CLEANUP(store_arena_fini) = {0};
	struct store_pin there;
	int r = store__check_name(db, "name", req->name, true, err);

	if (r == 0)
		r = store__check_name(db, "peer_id", req->peer_id, true, err);
	if (r == 0)
		r = store_db_pin_get(db, &(struct store_pin_get){.name = req->name}, &arena, &there, err);
	if (r != 0)
		return r;
	if (there.peer_id.len == 0)
		return store__run(db, err, PIN_PUT, V_TEXT(req->name), V_TEXT(req->peer_id), V_INT(now_ms));
	if (qmt_str_eq(there.peer_id, req->peer_id))
		return 0;
	return qmt_err_set(err, STORE_E_BAD,
		"peer %.*s is pinned to %.*s: if it really has a new identity, qmt peers forget %.*s", QMT_STR_ARG(req->name),
		QMT_STR_ARG(there.peer_id), QMT_STR_ARG(req->name));
}

int store_db_pin_forget(struct store_db *db, const struct store_pin_forget *req, struct qmt_err *err)
{
	int r = store__run(db, err, PIN_FORGET, V_TEXT(req->name));

	if (r == 0 && sqlite3_changes(db->sql) == 0)
		r = qmt_err_set(err, STORE_E_NOT_FOUND, "no peer %.*s is pinned", QMT_STR_ARG(req->name));
	return r;
}
