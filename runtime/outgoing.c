/* runtime/outgoing.c - messages to what lies behind a link: wrapped, and queued to the link actor.
 *
 * Body of the wrapped message: struct outgoing_box, the name, then the copied struct and its variable parts; or the
 * message itself, when the sender gave one away.
 */
#include "send.h"

#include <errno.h>

/* NULL: out of memory. Owns `inner` from now on. */
static struct qmt_msg *wrap(struct qmt_ctx *ctx, struct qmt_ref link, struct qmt_str name, const struct qmt_type *type,
	const void *body, struct qmt_msg *inner)
{
	size_t name_room = (name.len + (size_t)15) / 16 * 16, body_room = (type->record.size + (size_t)15) / 16 * 16;
	size_t bytes = sizeof(struct outgoing_box) + name_room;
	struct outgoing_box *box;
	struct qmt_msg *m;
	char *room;

	_Static_assert(sizeof(struct outgoing_box) % 16 == 0, "what follows is aligned");
	if (!inner)
		bytes += body_room + qmt_record_extra(&type->record, body);
	m = msg_alloc(ctx, bytes);
	if (!m)
		return NULL;
	box = (struct outgoing_box *)(void *)m->body;
	room = (char *)(box + 1);
	*box = (struct outgoing_box){.out = {.type = type, .body = body, .rid = link.rid}, .inner = inner};
	if (name.len)
		box->out.to_name = qmt_strn(memcpy(room, name.p, name.len), name.len);
	if (!inner) {
		qmt_record_copy(&type->record, body, room + name_room, room + name_room + body_room);
		box->out.body = room + name_room;
	}
	if (ctx->cur && !(ctx->cur->flags & ACTOR_OUTSIDE))
		box->out.from = actor_ref(ctx->cur);
	m->class |= MSG_CLASS_CARE;
	m->flags = MSG_INTERNAL;
	m->type = INTERNAL_OUTGOING;
	m->to_gen = link.gen;
	return m;
}

/* Takes m on success only. */
static int send_to_link(struct qmt_ctx *ctx, struct qmt_ref link, struct qmt_msg *m)
{
	const struct qmt_actor_desc *desc = atomic_load_explicit(&link.actor->desc, ACQUIRE);
	int failed;

	if (actor_gen(link.actor) != link.gen)
		return QMT_FAIL_PEER_GONE;
	if (!desc->outgoing)
		return QMT_FAIL_NO_ROUTE;
	failed = deliver(ctx, link.actor, desc, m);
	return failed == QMT_FAIL_NOT_RUNNING ? QMT_FAIL_PEER_GONE : failed;
}

/* Undoes wrap: the inner message stays with its owner. */
static void unwrap(struct qmt_ctx *ctx, struct qmt_msg *m)
{
	((struct outgoing_box *)(void *)m->body)->inner = NULL;
	msg_free(ctx, m);
}

int qmt__outgoing_tell(struct qmt_ctx *ctx, struct qmt_ref link, struct qmt_str name, const struct qmt_type *type,
	const void *body, struct qmt_msg *inner)
{
	struct qmt_msg *m = wrap(ctx, link, name, type, body, inner);
	int failed;

	if (!m)
		return -ENOMEM;
	failed = send_to_link(ctx, link, m);
	if (failed)
		unwrap(ctx, m);
	return failed;
}

static void make_ask(struct qmt_msg *m, struct ask *ask, uint32_t gen, uint64_t time_left_ms)
{
	struct qmt_outgoing *out = &((struct outgoing_box *)(void *)m->body)->out;

	m->flags |= MSG_ASK;
	m->ask = ask;
	m->src_gen = gen;
	out->is_ask = true;
	out->token = (struct qmt_token){ask, gen};
	out->deadline_ms = time_left_ms;
}

int qmt__outgoing_ask(struct qmt_ctx *ctx, struct qmt_ref link, struct qmt_str name, const struct qmt_type *type,
	const void *body, struct qmt_msg *inner, struct ask *ask, uint64_t timeout_ms)
{
	struct qmt_msg *m = wrap(ctx, link, name, type, body, inner);
	int failed;

	if (!m)
		return -ENOMEM;
	make_ask(m, ask, atomic_load_explicit(&ask->gen, RELAXED), timeout_ms ? timeout_ms : QMT_ASK_DEFAULT_MS);
	failed = send_to_link(ctx, link, m);
	if (failed)
		unwrap(ctx, m);
	return failed;
}

/* Hands m on, with its right to answer. On success m belongs to the link. */
int qmt__outgoing_forward(struct qmt_ctx *ctx, struct qmt_ref link, const struct qmt_type *type, struct qmt_msg *m)
{
	struct qmt_msg *wrapped = wrap(ctx, link, (struct qmt_str){0}, type, m->body, m);
	int failed;

	if (!wrapped)
		return -ENOMEM;
	((struct outgoing_box *)(void *)wrapped->body)->out.from = qmt_sender(ctx);
	if (m->flags & MSG_ASK) {
		/* Read while the record may become another's: then the answer will be late anyway. */
		uint64_t deadline = atomic_load_explicit(&m->ask->deadline_ns, RELAXED), now = now_ns(ctx);

		make_ask(wrapped, m->ask, m->src_gen, deadline > now ? (deadline - now) / NS_PER_MS : 1);
	}
	failed = send_to_link(ctx, link, wrapped);
	if (failed)
		unwrap(ctx, wrapped);
	return failed;
}
