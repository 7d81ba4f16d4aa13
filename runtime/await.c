/* runtime/await.c - waiting for an actor's start, or for its end.
 *
 * An ask of which the question is a system message: it passes the bound and finds an actor that is down, too. The actor
 * keeps it and sends the same block back as the answer, so answering needs no memory. Deadline, late answers and the
 * asker's own end are those of any ask (ask.c).
 */
#include "send.h"

#include <errno.h>

enum { AWAIT_TEXT_MAX = 200 };

/* Body of INTERNAL_AWAIT_*; of the answer, seen as a struct failure. ask and src_gen of the message are the right to
 * answer. */
struct await {
	struct failure failure;
	char text[AWAIT_TEXT_MAX];
};

static int await(
	struct qmt_ctx *ctx, struct qmt_ref who, uint16_t type, uint64_t timeout_ms, qmt_continuation *then, void *arg)
{
	struct qmt_msg *m;
	struct ask *ask;

	if (!ctx->cur)
		return -ENOTSUP;
	if (!who.actor || actor_gen(who.actor) != who.gen)
		return QMT_FAIL_NOT_RUNNING;
	if (who.rid)
		return QMT_FAIL_NO_ROUTE;
	m = msg_alloc(ctx, sizeof(struct await));
	ask = m ? qmt__ask_open_plain(ctx, timeout_ms, then, arg) : NULL;
	if (!ask) {
		qmt_msg_free(ctx, m);
		return -ENOMEM;
	}
	m->flags = MSG_INTERNAL;
	m->type = type;
	m->to_gen = who.gen;
	m->ask = ask;
	m->src_gen = atomic_load_explicit(&ask->gen, RELAXED);
	if (qmt__system_push(ctx, who.actor, m)) {
		msg_free(ctx, m);
		qmt__ask_close(ctx, ask);
		return QMT_FAIL_NOT_RUNNING;
	}
	return 0;
}

int qmt_await_start(struct qmt_ctx *ctx, struct qmt_ref who, uint64_t timeout_ms, qmt_continuation *then, void *arg)
{
	return await(ctx, who, INTERNAL_AWAIT_START, timeout_ms, then, arg);
}

int qmt_await_end(struct qmt_ctx *ctx, struct qmt_ref who, uint64_t timeout_ms, qmt_continuation *then, void *arg)
{
	return await(ctx, who, INTERNAL_AWAIT_END, timeout_ms, then, arg);
}

/* ---- on the turn of who is waited for ---------------------------------------------------------------------------- */

static struct qmt_token token_of(const struct qmt_msg *m)
{
	return (struct qmt_token){m->ask, m->src_gen};
}

/* Sends m back. text: may be NULL. Takes m. */
static void answer(struct qmt_ctx *ctx, struct qmt_msg *m, int fail, const char *text)
{
	struct await *body = (struct await *)(void *)m->body;

	snprintf(body->text, sizeof body->text, "%s", text ? text : fail ? qmt_fail_name(fail) : "");
	body->failure = (struct failure){.fail = fail, .text = qmt_str(body->text)};
	m->flags = MSG_REPLY | MSG_FAIL;
	m->type = 0;
	qmt__ask_return(ctx, token_of(m), m);
}

/* Those that gave up waiting need not be kept. */
static void purge(struct qmt_ctx *ctx, struct actor_ext *ext)
{
	for (struct qmt_msg **at = &ext->awaiting; *at;) {
		struct qmt_msg *m = *at;

		if (qmt_token_waits(token_of(m))) {
			at = &m->next;
		} else {
			*at = m->next;
			msg_free(ctx, m);
		}
	}
}

void qmt__await_message(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	struct actor_ext *ext;

	if (m->to_gen != actor_gen(a)) {
		answer(ctx, m, QMT_FAIL_NOT_RUNNING, NULL);
		return;
	}
	if (m->type == INTERNAL_AWAIT_START && a->status == STATUS_RUN && !(ctx->ctl & CTL_FAIL)) {
		answer(ctx, m, 0, NULL);
		return;
	}
	ext = qmt__actor_need_ext(a);
	if (!ext) {
		answer(ctx, m, QMT_FAIL_FAILED, "out of memory");
		return;
	}
	purge(ctx, ext);
	m->next = ext->awaiting;
	ext->awaiting = m;
}

/* `start` has returned 0. */
void qmt__await_started(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	for (struct qmt_msg **at = &actor_ext(a)->awaiting; *at;) {
		struct qmt_msg *m = *at;

		if (m->type == INTERNAL_AWAIT_START) {
			*at = m->next;
			answer(ctx, m, 0, NULL);
		} else {
			at = &m->next;
		}
	}
}

void qmt__await_gone(struct qmt_ctx *ctx, struct qmt_msg *m, int reason)
{
	/* Who waits for a start has to hear that there was none. */
	answer(ctx, m, !reason && m->type == INTERNAL_AWAIT_START ? QMT_FAIL_NOT_RUNNING : reason, NULL);
}

/* `ext` of an actor that has ended. */
void qmt__await_ended(struct qmt_ctx *ctx, struct actor_ext *ext, int reason)
{
	while (ext->awaiting) {
		struct qmt_msg *m = ext->awaiting;

		ext->awaiting = m->next;
		if (reason == QMT_FAIL_FAILED)
			answer(ctx, m, reason, ext->fail_text);
		else
			qmt__await_gone(ctx, m, reason);
	}
}
