/* actors/store/store_db_check.c - is a request well formed? Looked at before anything is read or written for it. */
#include "actors/store/store_db_impl.h"

int store__check_name(
	const struct store_db *db, const char *what, struct qmt_str text, bool needed, struct qmt_err *err)
{
	if (needed && text.len == 0)
		return qmt_err_set(err, STORE_E_BAD, "%s: is missing", what);
	if (text.len > db->limits.name_max_bytes)
		return qmt_err_set(err, STORE_E_TOO_LARGE, "%s: %u bytes, the bound is %llu (name_max_bytes)", what, text.len,
			(unsigned long long)db->limits.name_max_bytes);
	for (uint32_t i = 0; i < text.len; i++)
		if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f)
			return qmt_err_set(err, STORE_E_BAD, "%s: has a control character at byte %u", what, i + 1);
	return 0;
}

int store__check_size(const struct store_db *db, const char *what, uint64_t bytes, struct qmt_err *err)
{
	if (bytes <= db->limits.message_max_bytes)
		return 0;
	return qmt_err_set(err, STORE_E_TOO_LARGE, "%s: %llu bytes, the bound is %llu (message_max_bytes)", what,
		(unsigned long long)bytes, (unsigned long long)db->limits.message_max_bytes);
}

static int check_message(const struct store_db *db, const struct chat_message *m, struct qmt_err *err)
{
	bool assistant = qmt_str_is(m->role, "assistant"), tool = qmt_str_is(m->role, "tool");
	uint64_t bytes = (uint64_t)m->content.len + m->reasoning.len + m->tool_call_id.len + m->tool_name.len;

	if (!assistant && !tool && !qmt_str_is(m->role, "user") && !qmt_str_is(m->role, "system"))
		return qmt_err_set(
			err, STORE_E_BAD, "role \"%.*s\": must be system, user, assistant or tool", QMT_STR_ARG(m->role));
	if (m->tool_calls.count > 0 && !assistant)
		return qmt_err_set(err, STORE_E_BAD, "tool_calls: only an assistant message has them, not one of role %.*s",
			QMT_STR_ARG(m->role));
	if (tool && m->tool_call_id.len == 0)
		return qmt_err_set(err, STORE_E_BAD, "tool_call_id: is missing in a message of role tool");
	for (uint32_t i = 0; i < m->tool_calls.count; i++) {
		const struct chat_tool_call *call = &m->tool_calls.items[i];

		bytes += (uint64_t)call->id.len + call->name.len + call->arguments.len;
	}
	return store__check_size(db, "message", bytes, err);
}

int store__check_messages(
	const struct store_db *db, const struct chat_message *messages, uint32_t count, struct qmt_err *err)
{
	for (uint32_t i = 0; i < count; i++) {
		int r = check_message(db, &messages[i], err);

		if (r != 0) {
			qmt_err_prefix(err, "messages[%u]", i);
			return r;
		}
	}
	return 0;
}

static bool is_id(struct qmt_str id)
{
	if (id.len != STORE_ID_CHARS)
		return false;
	for (uint32_t i = 0; i < id.len; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? id.p[i] != '-' : !(id.p[i] >= '0' && id.p[i] <= '9') && !(id.p[i] >= 'a' && id.p[i] <= 'f'))
			return false;
	}
	return true;
}

int store__check_session(const struct store_db *db, const struct store_session_create *req, struct qmt_err *err)
{
	const struct store_session *s = &req->session;
	const struct {
		const char *what;
		struct qmt_str text;
	} names[] = {
		{"name", s->name}, {"agent", s->agent}, {"owner", s->owner}, {"peer", s->peer}, {"peer_name", s->peer_name}};
	int r = store__check_name(db, "request", req->request, true, err);

	for (size_t i = 0; r == 0 && i < sizeof names / sizeof *names; i++)
		r = store__check_name(db, names[i].what, names[i].text, false, err);
	if (r == 0)
		r = store__check_size(db, "cwd", s->cwd.len, err);
	if (r == 0)
		r = store__check_size(db, "title", s->title.len, err);
	if (r == 0 && s->id.len > 0 && !is_id(s->id))
		r = qmt_err_set(err, STORE_E_BAD, "id \"%.*s\": is no uuid in lower case", QMT_STR_ARG(s->id));
	return r;
}

int store__check_end(const struct store_db *db, const struct store_turn_end *req, struct qmt_err *err)
{
	static const char *const states[] = {"complete", "cancelled", "failed", "limit", "interrupted"};
	bool known = false;
	int r;

	for (size_t i = 0; i < sizeof states / sizeof *states; i++)
		known |= qmt_str_is(req->state, states[i]);
	if (!known)
		return qmt_err_set(err, STORE_E_BAD,
			"state \"%.*s\": must be complete, cancelled, failed, limit or interrupted", QMT_STR_ARG(req->state));
	r = store__check_name(db, "finish", req->finish, false, err);
	if (r == 0)
		r = store__check_size(db, "error", req->error.len, err);
	return r == 0 ? store__check_messages(db, req->messages.items, req->messages.count, err) : r;
}
