/* runtime/ask.c - questions, answers and deadlines.
 *
 * The asker keeps a type-stable record of each pending ask; the message carries its address and generation as the right
 * to answer. An answer is a message to the asker's mailbox; its turn compares generation and owner, so late and second
 * answers drop out without any bookkeeping at the answerer. Deadlines are lazy: one timer an actor, armed for the first
 * deadline, never cancelled, looked at when it is due.
 */
#include "clock.h"
#include "send.h"

#include <errno.h>
#include <stdarg.h>

enum {
	EXACT_BELOW_MS = 1000, /* shorter timeouts are worth the exact clock */
	MARGIN_PART = 64,      /* longer ones get this part of themselves more: see clock.h */
	FAIL_TEXT_MAX = 1024,  /* bytes of a failure's text, more is cut */
};

/* ---- the record -------------------------------------------------------------------------------------------------- */

static struct ask *ask_open(struct qmt_ctx *ctx, const struct qmt_type *type, uint64_t timeout_ms,
	qmt_continuation *then, void *arg)
{
	struct qmt_actor *a = ctx->cur;
	struct ask *ask = slab_alloc(ctx, CLASS_ASK);
	uint64_t deadline;

	if (unlikely(!ask))
		return NULL;
	if (!timeout_ms)
		timeout_ms = QMT_ASK_DEFAULT_MS;
	if (timeout_ms > UINT32_MAX)
		timeout_ms = UINT32_MAX;
	if (timeout_ms < EXACT_BELOW_MS)
		deadline = now_ns(ctx) + timeout_ms * NS_PER_MS;
	else
		deadline = clock_coarse_ns(ctx) + timeout_ms * NS_PER_MS + (ctx->sim ? 0 :
		timeout_ms * NS_PER_MS / MARGIN_PART);
	ask->arg = arg;
	ask->then = then;
	atomic_store_explicit(&ask->owner, a, RELAXED);
	atomic_store_explicit(&ask->owner_gen, actor_gen(a), RELAXED);
	atomic_store_explicit(&ask->deadline_ns, deadline, RELAXED);
	atomic_store_explicit(&ask->protocol, type->protocol, RELAXED);
	ask->prev = NULL;
	ask->next = a->asks;
	if (a->asks)
		a->asks->prev = ask;
	a->asks = ask;
	if (unlikely(a->timer_at == 0 || deadline < a->timer_at))
		qmt__timer_arm(ctx, a, deadline);
	return ask;
}

/* For who may be in the middle of traced work. */
static COLD struct ask *ask_open_traced(struct qmt_ctx *ctx, uint64_t trace, const struct qmt_type *type,
	uint64_t timeout_ms, qmt_continuation *then, void *arg)
{
	struct ask *ask;

	if (trace && !qmt__ask_trace(ctx, trace, &then, &arg))
		return NULL;
	ask = ask_open(ctx, type, timeout_ms, then, arg);
	if (!ask && trace)
		qmt_msg_free(ctx, arg);
	return ask;
}

/* Ends the record: answers from now on are late. */
static void ask_close(struct qmt_ctx *ctx, struct qmt_actor *a, struct ask *ask)
{
	if (ask->prev)
		ask->prev->next = ask->next;
	else
		a->asks = ask->next;
	if (ask->next)
		ask->next->prev = ask->prev;
	atomic_store_explicit(&ask->gen, atomic_load_explicit(&ask->gen, RELAXED) + 1, RELAXED);
	slab_free(ctx, CLASS_ASK, ask);
}

/* The same, and `then` will not be called. */
static void ask_drop(struct qmt_ctx *ctx, struct qmt_actor *a, struct ask *ask)
{
	qmt__ask_untrace(ctx, ask);
	ask_close(ctx, a, ask);
}

/* Nothing is waited for any more: the normal lane goes on. An answer that was taken and not told counts as dealt with:
 * it was pushed, and `done` has to follow. */
static void exclusive_end(struct qmt_ctx *ctx, struct qmt_actor *a, struct actor_ext *ext)
{
	if (ext->exclusive_reply) {
		qmt_msg_free(ctx, ext->exclusive_reply);
		atomic_store_explicit(&a->done, atomic_load_explicit(&a->done, RELAXED) + 1, RELAXED);
	}
	ext->exclusive_reply = NULL;
	ext->exclusive = NULL;
	qmt__wait_end(ext, WAIT_ANSWER);
	standing_clear(a, CTL_EXCLUSIVE);
	ctx->ctl &= ~(uint32_t)CTL_EXCLUSIVE;
}

void qmt__asks_release(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct actor_ext *ext = actor_ext(a);

	if (ext && ext->exclusive)
		exclusive_end(ctx, a, ext);
	while (a->asks)
		ask_drop(ctx, a, a->asks);
}

struct qmt_ref qmt__ask_owner(struct ask *ask, uint32_t gen)
{
	/* Read between two looks at the generation; the record may be another's by now. */
	if (atomic_load_explicit(&ask->gen, ACQUIRE) == gen) {
		struct qmt_actor *owner = atomic_load_explicit(&ask->owner, RELAXED);
		uint32_t owner_gen = atomic_load_explicit(&ask->owner_gen, ACQUIRE);

		if (atomic_load_explicit(&ask->gen, RELAXED) == gen)
			return (struct qmt_ref){owner, owner_gen, 0};
	}
	return (struct qmt_ref){0};
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static void msg_make_ask(const struct qmt_ctx *ctx, struct qmt_msg *m, struct ask *ask)
{
	m->flags = unlikely(ctx->cur->flags & ACTOR_OUTSIDE) ? MSG_ASK | MSG_OUTSIDE : MSG_ASK;
	m->ask = ask;
	m->src_gen = atomic_load_explicit(&ask->gen, RELAXED);
}

static int check_asker(struct qmt_ctx *ctx)
{
	return unlikely(!ctx->cur) ? -ENOTSUP : 0; /* from outside: qmt_outside_ask */
}

/* Of an actor behind a link. */
static int ask_remote(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body,
	uint64_t timeout_ms, qmt_continuation *then, void *arg)
{
	struct ask *ask = ask_open_traced(ctx, ctx->trace, type, timeout_ms, then, arg);
	int failed;

	if (!ask)
		return -ENOMEM;
	failed = qmt__outgoing_ask(ctx, to, type, body, NULL, ask, timeout_ms);
	if (failed)
		ask_drop(ctx, ctx->cur, ask);
	return failed;
}

/* Not simply of an actor that runs here: of nobody, behind a link, or with a trace. */
static COLD int ask_otherwise(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body,
	uint64_t timeout_ms, qmt_continuation *then, void *arg)
{
	struct qmt_msg *m;
	int failed;

	if (!to.actor)
		return QMT_FAIL_NOT_RUNNING;
	if (to.rid)
		return ask_remote(ctx, to, type, body, timeout_ms, then, arg);
	if (!ctx->trace)
		return QMT_FAIL_NOT_RUNNING;
	m = qmt__msg_copy_prefixed(ctx, &type->record, body, 0);
	if (!m)
		return -ENOMEM;
	failed = qmt_ask_msg(ctx, to, type, &m, timeout_ms, then, arg);
	if (failed)
		msg_free(ctx, m);
	return failed;
}

int qmt_ask(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body, uint64_t timeout_ms,
	qmt_continuation *then, void *arg)
{
	const struct qmt_actor_desc *desc;
	struct qmt_msg *m;
	struct ask *ask;
	int accepted, failed = check_asker(ctx);

	if (unlikely(failed))
		return failed;
	if (unlikely(!to.actor || ctx->trace))
		return ask_otherwise(ctx, to, type, body, timeout_ms, then, arg);
	failed = check_target(to, type, &desc, &accepted);
	if (unlikely(failed))
		return to.rid ? ask_otherwise(ctx, to, type, body, timeout_ms, then, arg) : failed;
	m = msg_copy(ctx, &type->record, body);
	if (unlikely(!m))
		return -ENOMEM;
	ask = ask_open(ctx, type, timeout_ms, then, arg);
	if (unlikely(!ask)) {
		qmt_msg_free(ctx, m);
		return -ENOMEM;
	}
	m->type = (uint16_t)accepted;
	m->to_gen = to.gen;
	msg_make_ask(ctx, m, ask);
	failed = deliver(ctx, to.actor, desc, m);
	if (unlikely(failed)) {
		msg_free(ctx, m);
		ask_close(ctx, ctx->cur, ask);
	}
	return failed;
}

int qmt_ask_msg(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, struct qmt_msg **msg,
	uint64_t timeout_ms, qmt_continuation *then, void *arg)
{
	const struct qmt_actor_desc *desc = NULL;
	struct qmt_msg *m = *msg;
	struct ask *ask;
	uint8_t prefixed = m->flags & MSG_PREFIXED;
	int accepted = 0, failed = check_asker(ctx);

	if (failed)
		return failed;
	if (!to.actor)
		return QMT_FAIL_NOT_RUNNING;
	if (!to.rid) {
		failed = check_target(to, type, &desc, &accepted);
		if (failed)
			return failed;
	}
	ask = unlikely(prefixed) ? ask_open_traced(ctx, msg_trace(m), type, timeout_ms, then, arg)
							 : ask_open(ctx, type, timeout_ms, then, arg);
	if (!ask)
		return -ENOMEM;
	if (to.rid) {
		failed = qmt__outgoing_ask(ctx, to, type, msg_body(m), m, ask, timeout_ms);
	} else {
		m->type = (uint16_t)accepted;
		m->to_gen = to.gen;
		msg_make_ask(ctx, m, ask);
		if (unlikely(prefixed)) {
			m->flags |= prefixed;
			((struct prefix *)(void *)m->body)->deadline_ns = 0; /* that of an earlier way */
		}
		failed = deliver(ctx, to.actor, desc, m);
	}
	if (failed)
		ask_drop(ctx, ctx->cur, ask);
	else
		msg_given(ctx, msg);
	return failed;
}

int qmt_ask_exclusive(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body,
	uint64_t timeout_ms, qmt_continuation *then, void *arg)
{
	struct qmt_actor *a = ctx->cur;
	struct actor_ext *ext;
	int failed = check_asker(ctx);

	if (failed)
		return failed;
	ext = qmt__actor_need_ext(a);
	if (!ext)
		return -ENOMEM;
	if (ext->exclusive || to.actor == a)
		return QMT_FAIL_BAD_REQUEST;
	failed = qmt_ask(ctx, to, type, body, timeout_ms, then, arg);
	if (failed)
		return failed;
	ext->exclusive = a->asks; /* the newest stands first */
	qmt__wait_begin(ctx, ext, WAIT_ANSWER, to);
	ctx->ctl |= CTL_EXCLUSIVE;
	standing_set(a, CTL_EXCLUSIVE);
	qmt__wait_look(ctx, a, to.actor);
	return 0;
}

/* ctx->cur asks a failure of itself, so that `then` hears of it on a turn of its own. */
static void fail_later(struct qmt_ctx *ctx, const struct qmt_type *type, int fail, qmt_continuation *then, void *arg)
{
	struct ask *ask = ctx->cur ? ask_open_traced(ctx, ctx->trace, type, 0, then, arg) : NULL;

	if (!ask && ctx->cur) {
		/* `then` cannot be called: so that nobody waits for it, this incarnation ends. */
		qmt__fail_text(ctx, "out of memory for an ask of %s", type->record.name);
		return;
	}
	if (!ask) {
		qmt_log(ctx->sys->log, QMT_ERROR, "ask.lost", "message", type->record.name, "reason", "asked from outside",
			NULL);
		return;
	}
	qmt__ask_fail(ctx, (struct qmt_token){ask, atomic_load_explicit(&ask->gen, RELAXED)},
		fail < 0 ? QMT_FAIL_FAILED : fail);
}

void qmt_ask_or(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body,
	uint64_t timeout_ms, qmt_continuation *then, void *arg)
{
	int failed = qmt_ask(ctx, to, type, body, timeout_ms, then, arg);

	if (failed)
		fail_later(ctx, type, failed, then, arg);
}

static bool is_here(const char *peer)
{
	return !peer || !*peer;
}

int qmt_tell_name(struct qmt_ctx *ctx, const char *peer, const char *name, const struct qmt_type *type,
	const void *body)
{
	struct qmt_ref to;

	if (!is_here(peer))
		return qmt__outgoing_tell_name(ctx, peer, name, type, body);
	return qmt_lookup(ctx, name, &to) ? QMT_FAIL_UNKNOWN_ACTOR : qmt_tell(ctx, to, type, body);
}

int qmt_ask_name(struct qmt_ctx *ctx, const char *peer, const char *name, const struct qmt_type *type, const void *body,
	uint64_t timeout_ms, qmt_continuation *then, void *arg)
{
	struct qmt_ref to;
	struct ask *ask;
	int failed = check_asker(ctx);

	if (failed)
		return failed;
	if (is_here(peer))
		return qmt_lookup(ctx, name, &to) ? QMT_FAIL_UNKNOWN_ACTOR
										  : qmt_ask(ctx, to, type, body, timeout_ms, then, arg);
	ask = ask_open_traced(ctx, ctx->trace, type, timeout_ms, then, arg);
	if (!ask)
		return -ENOMEM;
	failed = qmt__outgoing_ask_name(ctx, peer, name, type, body, ask, timeout_ms);
	if (failed)
		ask_drop(ctx, ctx->cur, ask);
	return failed;
}

/* ---- answering --------------------------------------------------------------------------------------------------- */

struct qmt_token qmt_token(struct qmt_ctx *ctx)
{
	const struct qmt_msg *m = ctx->cur_msg;

	if (!m || !(m->flags & MSG_ASK))
		return (struct qmt_token){0};
	return (struct qmt_token){m->ask, m->src_gen};
}

static bool token_is_open(struct qmt_token token)
{
	return token.ask && atomic_load_explicit(&((struct ask *)token.ask)->gen, RELAXED) == token.gen;
}

/* Takes m. The record may be another asker's by now: the receiver checks. Replies pass bounds. */
static void send_reply(struct qmt_ctx *ctx, struct qmt_token token, struct qmt_msg *m)
{
	struct ask *ask = token.ask;
	struct qmt_actor *owner = atomic_load_explicit(&ask->owner, RELAXED);

	m->ask = ask;
	m->src_gen = token.gen;
	m->to_gen = 0;
	switch (mailbox_push(owner, m)) {
	case PUSH_WAKES:
		schedule(ctx, owner);
		break;
	case PUSH_QUEUED:
		break;
	default:
		msg_free(ctx, m);
	}
}

/* A reply must be of the request's protocol: its type travels as an index into that. */
static bool protocol_fits(struct qmt_token token, const struct qmt_type *type)
{
	return atomic_load_explicit(&((struct ask *)token.ask)->protocol, RELAXED) == type->protocol;
}

static int reply_wrong_protocol(struct qmt_ctx *ctx, struct qmt_token token, const struct qmt_type *type)
{
	return qmt_reply_fail(ctx, token, QMT_FAIL_UNKNOWN_MESSAGE, NULL, 0,
		"answered with %s, which is not of the request's protocol", type->record.name);
}

int qmt_reply(struct qmt_ctx *ctx, struct qmt_token token, const struct qmt_type *type, const void *body)
{
	struct qmt_msg *m;

	if (unlikely(!token_is_open(token)))
		return 0;
	if (unlikely(!protocol_fits(token, type)))
		return reply_wrong_protocol(ctx, token, type);
	m = msg_copy(ctx, &type->record, body);
	if (unlikely(!m))
		return -ENOMEM;
	m->flags = MSG_REPLY;
	m->type = type->index;
	send_reply(ctx, token, m);
	return 0;
}

void qmt_reply_msg(struct qmt_ctx *ctx, struct qmt_token token, const struct qmt_type *type, struct qmt_msg **msg)
{
	struct qmt_msg *m = *msg;

	msg_given(ctx, msg);
	if (!token_is_open(token)) {
		qmt_msg_free(ctx, m);
		return;
	}
	if (!protocol_fits(token, type)) {
		qmt_msg_free(ctx, m);
		(void)reply_wrong_protocol(ctx, token, type); /* out of memory: the deadline tells */
		return;
	}
	if (unlikely(m->flags & MSG_PREFIXED)) {
		(void)qmt_reply(ctx, token, type, msg_body(m)); /* out of memory: the deadline tells */
		qmt_msg_free(ctx, m);
		return;
	}
	m->flags = MSG_REPLY;
	m->type = type->index;
	send_reply(ctx, token, m);
}

static int reply_failure(struct qmt_ctx *ctx, struct qmt_token token, int fail, struct qmt_str kind,
	struct qmt_str text, uint64_t retry_after_ms)
{
	struct failure *failure;
	struct qmt_msg *m;
	char *room;

	if (!token_is_open(token))
		return 0;
	m = msg_alloc(ctx, sizeof *failure + kind.len + text.len);
	if (!m)
		return -ENOMEM;
	failure = (struct failure *)(void *)m->body;
	room = (char *)(failure + 1);
	*failure = (struct failure){.fail = fail, .retry_after_ms = retry_after_ms};
	if (kind.len)
		failure->kind = qmt_strn(memcpy(room, kind.p, kind.len), kind.len);
	if (text.len)
		failure->text = qmt_strn(memcpy(room + kind.len, text.p, text.len), text.len);
	m->flags = MSG_REPLY | MSG_FAIL;
	m->type = 0;
	send_reply(ctx, token, m);
	return 0;
}

int qmt_reply_fail(struct qmt_ctx *ctx, struct qmt_token token, int fail, const char *kind, uint64_t retry_after_ms,
	const char *format, ...)
{
	char text[FAIL_TEXT_MAX];
	va_list args;

	va_start(args, format);
	qmt_text_va(text, sizeof text, format, args);
	va_end(args);
	return reply_failure(ctx, token, fail ? fail : QMT_FAIL_FAILED, qmt_str(kind), qmt_str(text), retry_after_ms);
}

int qmt_reply_result(struct qmt_ctx *ctx, struct qmt_token token, const struct qmt_result *result)
{
	if (result->fail)
		return reply_failure(ctx, token, result->fail, result->kind, result->text, result->retry_after_ms);
	return qmt_reply(ctx, token, result->type, result->body);
}

/* A failure of the runtime's own. Without memory the asker's deadline has to tell. */
void qmt__ask_fail(struct qmt_ctx *ctx, struct qmt_token token, int fail)
{
	(void)reply_failure(ctx, token, fail, (struct qmt_str){0}, qmt_str(qmt_fail_name(fail)), 0);
}

/* ---- on the asker's turn ----------------------------------------------------------------------------------------- */

void qmt__ask_answered(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	struct ask *ask = m->ask;
	struct qmt_result result = {0};
	qmt_continuation *then;
	void *arg;

	if (unlikely(atomic_load_explicit(&ask->gen, RELAXED) != m->src_gen ||
		atomic_load_explicit(&ask->owner, RELAXED) != a))
		return; /* late, or a second answer */
	then = ask->then;
	arg = ask->arg;
	if (unlikely(m->flags & MSG_FAIL)) {
		const struct failure *failure = (const struct failure *)(const void *)m->body;

		result.fail = failure->fail;
		result.kind = failure->kind;
		result.text = failure->text;
		result.retry_after_ms = failure->retry_after_ms;
	} else {
		result.type = atomic_load_explicit(&ask->protocol, RELAXED)->types[m->type];
		result.body = m->body;
	}
	ask_close(ctx, a, ask); /* first: the next ask of `then` gets this hot block */
	then(ctx, actor_state(a), &result, arg);
}

/* Whether m, a reply, is what the actor waits for. */
bool qmt__exclusive_is_answered(struct qmt_actor *a, const struct qmt_msg *m)
{
	const struct actor_ext *ext = actor_ext(a);

	return m->ask == ext->exclusive && m->src_gen == atomic_load_explicit(&m->ask->gen, RELAXED);
}

/* The answer has come: the normal lane is free from now on, also for what `then` does. */
void qmt__exclusive_answered(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct actor_ext *ext = actor_ext(a);
	struct qmt_msg *m = ext->exclusive_reply;

	ext->exclusive_reply = NULL;
	exclusive_end(ctx, a, ext);
	SHOW_HOT(ctx->cur_msg, m);
	SHOW_HOT(ctx->cur_type, CUR_REPLY);
	qmt__ask_answered(ctx, a, m);
	trace_over(ctx);
	SHOW_HOT(ctx->cur_msg, NULL);
	if (ctx->ctl & CTL_KEPT)
		ctx->ctl &= ~(uint32_t)CTL_KEPT;
	else
		msg_free(ctx, m);
}

uint64_t qmt__asks_due(struct qmt_ctx *ctx, struct qmt_actor *a, uint64_t now)
{
	const struct qmt_result late = {.fail = QMT_FAIL_DEADLINE, .text = qmt_str(qmt_fail_name(QMT_FAIL_DEADLINE))};
	uint64_t first = 0;
	struct ask *ask = a->asks, *next;

	/* New asks go in front; nothing but this loop ends one meanwhile. */
	for (; ask && !(ctx->ctl & (CTL_STOP | CTL_FAIL)); ask = next) {
		uint64_t deadline = atomic_load_explicit(&ask->deadline_ns, RELAXED);

		next = ask->next;
		if (unlikely(a->standing & CTL_EXCLUSIVE) && actor_ext(a)->exclusive == ask && actor_ext(a)->exclusive_reply)
			continue; /* the answer came in time, and is told as soon as this actor may go on */
		if (deadline <= now) {
			qmt_continuation *then = ask->then;
			void *arg = ask->arg;

			if (unlikely(a->standing & CTL_EXCLUSIVE) && actor_ext(a)->exclusive == ask)
				exclusive_end(ctx, a, actor_ext(a));
			ask_close(ctx, a, ask);
			then(ctx, actor_state(a), &late, arg);
			trace_over(ctx);
		} else if (!first || deadline < first) {
			first = deadline;
		}
	}
	return first;
}

/* ---- for await.c ------------------------------------------------------------------------------------------------- */

struct ask *qmt__ask_open_plain(struct qmt_ctx *ctx, uint64_t timeout_ms, qmt_continuation *then, void *arg)
{
	static const struct qmt_type none; /* of no protocol: no reply fits */

	return ask_open_traced(ctx, ctx->trace, &none, timeout_ms, then, arg);
}

void qmt__ask_close(struct qmt_ctx *ctx, struct ask *ask)
{
	ask_drop(ctx, ctx->cur, ask);
}

void qmt__ask_return(struct qmt_ctx *ctx, struct qmt_token token, struct qmt_msg *m)
{
	send_reply(ctx, token, m);
}
