/* actors/session/turn_tell.c - what watchers get. A watcher that cannot be reached any more is dropped; one whose
 * queue is full misses the piece, which it sees by the offset of the next. */
#include <stdarg.h>

#include "actors/session/tool_text.h"
#include "actors/session/turn.h"
#include "proto/utf8.h"

enum { TOOL_RESULT_SHOWN = 4096 };

void tell_watch(struct session *s, struct qmt_ref watcher)
{
	struct turn *t = &s->turn;
	if (!qmt_ref_is_set(watcher))
		return;
	for (uint32_t i = 0; i < t->watcher_count; i++)
		if (qmt_ref_eq(t->watchers[i], watcher))
			return;
	if (t->watcher_count == s->config->limits.max_watchers) { /* the oldest is the likeliest to be gone */
		memmove(t->watchers, t->watchers + 1, sizeof(*t->watchers) * (t->watcher_count - 1));
		t->watcher_count--;
	}
	t->watchers[t->watcher_count++] = watcher;
}

void tell_again(struct qmt_ctx *ctx, struct session *s, struct qmt_ref watcher, uint64_t shown)
{
	struct turn *t = &s->turn;
	uint64_t offset = 0;
	if (!qmt_ref_is_set(watcher))
		return;
	for (uint32_t i = t->loaded; i <= t->history.count; i++) {
		struct qmt_str text = i < t->history.count ? t->history.items[i].content : qmt_buf_view(&t->call.text);
		if (i < t->history.count && !qmt_str_is(t->history.items[i].role, "assistant"))
			continue;
		uint64_t skip = shown > offset ? shown - offset : 0;
		while (skip < text.len && ((unsigned char)text.p[skip] & 0xc0) == 0x80)
			skip++; /* whoever says so has it from elsewhere */
		if (skip < text.len)
			qmt_tell(ctx, watcher, &session_delta_type,
				&(struct session_delta){.session = qmt_str(s->config->id),
					.turn = t->number,
					.offset = offset + skip,
					.text = qmt_strn(text.p + skip, text.len - skip)});
		offset += text.len;
	}
}

static void tell_all(struct qmt_ctx *ctx, struct session *s, const struct qmt_type *type, const void *body)
{
	struct turn *t = &s->turn;
	for (uint32_t i = 0; i < t->watcher_count;) {
		int fail = qmt_tell(ctx, t->watchers[i], type, body);
		if (fail == QMT_FAIL_NOT_RUNNING || fail == QMT_FAIL_NO_ROUTE || fail == QMT_FAIL_PEER_GONE)
			t->watchers[i] = t->watchers[--t->watcher_count];
		else
			i++;
	}
}

void tell_delta(struct qmt_ctx *ctx, struct session *s, struct qmt_str text, struct qmt_str reasoning)
{
	struct turn *t = &s->turn;
	tell_all(ctx, s, &session_delta_type,
		&(struct session_delta){.session = qmt_str(s->config->id),
			.turn = t->number,
			.offset = t->visible_bytes,
			.text = text,
			.reasoning = reasoning});
	t->visible_bytes += text.len;
}

void tell_notice(struct qmt_ctx *ctx, struct session *s, const char *level, const char *format, ...)
{
	char text[QMT_ERR_TEXT];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	tell_all(ctx, s, &session_notice_type,
		&(struct session_notice){.session = qmt_str(s->config->id),
			.turn = s->turn.number,
			.level = qmt_str(level),
			.text = tool_text_valid(text)});
}

void tell_tool(struct qmt_ctx *ctx, struct session *s, const struct chat_tool_call *call, const struct tool_run *ended)
{
	struct session_tool event = {.session = qmt_str(s->config->id),
		.turn = s->turn.number,
		.id = call->id,
		.name = call->name,
		.arguments = call->arguments,
		.state = qmt_str(ended ? "finished" : "started")};
	if (ended) {
		event.result = utf8_head(qmt_buf_view(&ended->result), TOOL_RESULT_SHOWN);
		event.is_error = ended->is_error;
	}
	tell_all(ctx, s, &session_tool_type, &event);
}

void tell_end(struct qmt_ctx *ctx, struct session *s)
{
	struct turn *t = &s->turn;
	bool why = strcmp(t->outcome, "complete") != 0 && strcmp(t->outcome, "cancelled") != 0;
	tell_all(ctx, s, &session_turn_end_type,
		&(struct session_turn_end){.session = qmt_str(s->config->id),
			.turn = t->number,
			.outcome = qmt_str(t->outcome),
			.finish = qmt_str(t->finish),
			.usage = t->usage,
			.fail = why ? t->fail : 0,
			.kind = qmt_str(why ? t->kind : ""),
			.text = qmt_str(why ? t->text : ""),
			.retry_after_ms = why ? t->retry_after_ms : 0,
			.steps = t->steps,
			.visible_bytes = t->visible_bytes});
}
