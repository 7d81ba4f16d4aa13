/* actors/session/history.c - see the header. */
#include "history.h"

#include <errno.h>

static struct qmt_str keep(char **at, struct qmt_str text)
{
	if (!text.len)
		return (struct qmt_str){0};
	char *p = *at;
	memcpy(p, text.p, text.len);
	p[text.len] = 0;
	*at += text.len + 1;
	return qmt_strn(p, text.len);
}

static size_t text_bytes(const struct chat_message *m)
{
	size_t bytes = (size_t)m->role.len + m->content.len + m->reasoning.len + m->tool_call_id.len + m->tool_name.len;
	for (uint32_t i = 0; i < m->tool_calls.count; i++)
		bytes += (size_t)m->tool_calls.items[i].id.len + m->tool_calls.items[i].name.len +
			m->tool_calls.items[i].arguments.len;
	return bytes;
}

static bool make_room(struct history *history)
{
	if (history->count < history->cap)
		return true;
	uint32_t cap = history->cap ? history->cap * 2 : 32;
	struct chat_message *items = realloc(history->items, cap * sizeof(*items));
	if (!items)
		return false;
	history->items = items;
	void **blocks = realloc(history->blocks, cap * sizeof(*blocks));
	if (!blocks)
		return false;
	history->blocks = blocks;
	history->cap = cap;
	return true;
}

int history_add(struct history *history, const struct chat_message *message)
{
	uint32_t calls = message->tool_calls.count;
	size_t bytes = text_bytes(message);
	/* one NUL behind each text */
	char *block = malloc(calls * sizeof(struct chat_tool_call) + bytes + 5 + (size_t)calls * 3);
	if (!block || !make_room(history)) {
		free(block);
		return -ENOMEM;
	}
	struct chat_tool_call *copies = (struct chat_tool_call *)(void *)block;
	char *at = (char *)(copies + calls);
	struct chat_message m = *message;
	m.role = keep(&at, m.role);
	m.content = keep(&at, m.content);
	m.reasoning = keep(&at, m.reasoning);
	m.tool_call_id = keep(&at, m.tool_call_id);
	m.tool_name = keep(&at, m.tool_name);
	m.author = (struct qmt_str){0}; /* no model is told who wrote */
	for (uint32_t i = 0; i < calls; i++) {
		const struct chat_tool_call *call = &message->tool_calls.items[i];
		struct qmt_str id = keep(&at, call->id), name = keep(&at, call->name), arguments = keep(&at, call->arguments);
		copies[i] = (struct chat_tool_call){.id = id, .name = name, .arguments = arguments};
	}
	m.tool_calls.items = calls ? copies : NULL;
	history->items[history->count] = m;
	history->blocks[history->count++] = block;
	history->bytes += bytes;
	return 0;
}

void history_free(struct history *history)
{
	for (uint32_t i = 0; i < history->count; i++)
		free(history->blocks[i]);
	free(history->blocks);
	free(history->items);
	*history = (struct history){0};
}

/* ---- the request ------------------------------------------------------------------------------------------------- */

static bool is_role(const struct chat_message *m, const char *role)
{
	return qmt_str_is(m->role, role);
}

/* The result for `id` among the tool messages from `at` on. */
static const struct chat_message *find_result(const struct history *history, uint32_t at, struct qmt_str id)
{
	for (; at < history->count && is_role(&history->items[at], "tool"); at++)
		if (qmt_str_eq(history->items[at].tool_call_id, id))
			return &history->items[at];
	return NULL;
}

static struct chat_message plain(const struct chat_message *m)
{
	struct chat_message copy = *m;
	copy.reasoning = (struct qmt_str){0};
	copy.pos = copy.turn = copy.created_ms = 0;
	return copy;
}

int history_request(
	const struct history *history, const char *system, struct chat_message **ret_messages, uint32_t *ret_count)
{
	size_t most = history->count + 1u;
	for (uint32_t i = 0; i < history->count; i++)
		most += history->items[i].tool_calls.count;
	struct chat_message *out = malloc(most * sizeof(*out));
	if (!out)
		return -ENOMEM;
	uint32_t count = 0;
	if (system && *system)
		out[count++] = (struct chat_message){.role = qmt_str("system"), .content = qmt_str(system)};
	for (uint32_t i = 0; i < history->count; i++) {
		const struct chat_message *m = &history->items[i];
		if (is_role(m, "tool")) /* taken with its call, or an orphan */
			continue;
		if (!m->content.len && !m->tool_calls.count)
			continue;
		out[count++] = plain(m);
		for (uint32_t c = 0; c < m->tool_calls.count; c++) {
			const struct chat_tool_call *call = &m->tool_calls.items[c];
			const struct chat_message *result = find_result(history, i + 1, call->id);
			out[count++] = result
				? plain(result)
				: (struct chat_message){.role = qmt_str("tool"),
					  .tool_call_id = call->id,
					  .tool_name = call->name,
					  .is_error = true,
					  .content =
						  qmt_str("error: no result is known: the turn was cut off before or while the tool ran")};
		}
	}
	*ret_messages = out;
	*ret_count = count;
	return 0;
}
