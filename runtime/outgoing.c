/* runtime/outgoing.c - messages to what lies behind a link: wrapped, and queued to the link actor.
 *
 * Body of the wrapped message: struct outgoing_box, the name, then the copied struct and its variable parts; or the
 * message itself, when the sender gave one away.
 *
 * By name: finding the link and queuing to it is one step for who takes the name over (qmt_register_over), and all that
 * takes time comes before or after it. Otherwise a sender that was stopped in between could still queue to a link that
 * has been told that nothing follows, and has perhaps said so to its peer.
 */
#include "send.h"

#include <errno.h>

/* NULL: out of memory. Owns `inner` from now on. */
static struct qmt_msg *wrap(struct qmt_ctx *ctx, uint32_t rid, struct qmt_str name, const struct qmt_type *type,
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
	*box = (struct outgoing_box){.out = {.type = type, .body = body, .rid = rid}, .inner = inner};
	box->out.trace = inner ? msg_trace(inner) : ctx->trace;
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
	return m;
}

/* Takes m on success only. *ret_wakes: the caller must schedule the link. */
static int queue(struct qmt_ctx *ctx, struct qmt_ref link, struct qmt_msg *m, bool *ret_wakes)
{
	const struct qmt_actor_desc *desc = atomic_load_explicit(&link.actor->desc, ACQUIRE);
	int failed;

	if (actor_gen(link.actor) != link.gen)
		return QMT_FAIL_PEER_GONE;
	if (!desc->outgoing)
		return QMT_FAIL_NO_ROUTE;
	m->to_gen = link.gen;
	failed = enqueue(ctx, link.actor, desc, m, ret_wakes);
	return failed == QMT_FAIL_NOT_RUNNING ? QMT_FAIL_PEER_GONE : failed;
}

/* Takes m on success only. */
static int send_to_link(struct qmt_ctx *ctx, struct qmt_ref link, struct qmt_msg *m)
{
	bool wakes = false;
	int failed = queue(ctx, link, m, &wakes);

	if (wakes)
		schedule(ctx, link.actor);
	return failed;
}

/* The same, to the link that has the name. */
static int send_to_peer(struct qmt_ctx *ctx, const char *peer, struct qmt_msg *m)
{
	struct qmt_ref link;
	bool wakes = false;
	int failed;

	if (!qmt__registry_hold(ctx->sys, "peer/", peer, &link))
		return QMT_FAIL_NO_ROUTE;
	failed = queue(ctx, link, m, &wakes);
	qmt__registry_release(ctx->sys);
	if (wakes) /* until then nobody runs it, so it cannot end */
		schedule(ctx, link.actor);
	return failed;
}

/* Undoes wrap: the inner message stays with its owner. */
static void unwrap(struct qmt_ctx *ctx, struct qmt_msg *m)
{
	((struct outgoing_box *)(void *)m->body)->inner = NULL;
	msg_free(ctx, m);
}

int qmt__outgoing_tell(struct qmt_ctx *ctx, struct qmt_ref link, const struct qmt_type *type, const void *body,
	struct qmt_msg *inner, uint64_t deadline_ns)
{
	struct qmt_msg *m = wrap(ctx, link.rid, (struct qmt_str){0}, type, body, inner);
	int failed;

	if (!m)
		return -ENOMEM;
	((struct outgoing_box *)(void *)m->body)->deadline_ns = deadline_ns;
	failed = send_to_link(ctx, link, m);
	if (failed)
		unwrap(ctx, m);
	return failed;
}

int qmt__outgoing_tell_name(struct qmt_ctx *ctx, const char *peer, const char *name, const struct qmt_type *type,
	const void *body)
{
	struct qmt_msg *m = wrap(ctx, 0, qmt_str(name), type, body, NULL);
	int failed;

	if (!m)
		return -ENOMEM;
	failed = send_to_peer(ctx, peer, m);
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

static void make_fresh_ask(struct qmt_msg *m, struct ask *ask, uint64_t timeout_ms)
{
	make_ask(m, ask, atomic_load_explicit(&ask->gen, RELAXED), timeout_ms ? timeout_ms : QMT_ASK_DEFAULT_MS);
}

int qmt__outgoing_ask(struct qmt_ctx *ctx, struct qmt_ref link, const struct qmt_type *type, const void *body,
	struct qmt_msg *inner, struct ask *ask, uint64_t timeout_ms)
{
	struct qmt_msg *m = wrap(ctx, link.rid, (struct qmt_str){0}, type, body, inner);
	int failed;

	if (!m)
		return -ENOMEM;
	make_fresh_ask(m, ask, timeout_ms);
	failed = send_to_link(ctx, link, m);
	if (failed)
		unwrap(ctx, m);
	return failed;
}

int qmt__outgoing_ask_name(struct qmt_ctx *ctx, const char *peer, const char *name, const struct qmt_type *type,
	const void *body, struct ask *ask, uint64_t timeout_ms)
{
	struct qmt_msg *m = wrap(ctx, 0, qmt_str(name), type, body, NULL);
	int failed;

	if (!m)
		return -ENOMEM;
	make_fresh_ask(m, ask, timeout_ms);
	failed = send_to_peer(ctx, peer, m);
	if (failed)
		unwrap(ctx, m);
	return failed;
}

/* Hands m on, with its right to answer. On success m belongs to the link. */
int qmt__outgoing_forward(struct qmt_ctx *ctx, struct qmt_ref link, const struct qmt_type *type, struct qmt_msg *m)
{
	struct qmt_msg *wrapped = wrap(ctx, link.rid, (struct qmt_str){0}, type, msg_body(m), m);
	int failed;

	if (!wrapped)
		return -ENOMEM;
	((struct outgoing_box *)(void *)wrapped->body)->out.from = qmt_sender(ctx);
	if (m->flags & MSG_ASK) {
		/* Read while the record may become another's: then the answer will be late anyway. */
		uint64_t deadline = atomic_load_explicit(&m->ask->deadline_ns, RELAXED), now = now_ns(ctx);

		make_ask(wrapped, m->ask, m->src_gen, deadline > now ? (deadline - now) / NS_PER_MS : 1);
	} else if (m->flags & MSG_PREFIXED) {
		((struct outgoing_box *)(void *)wrapped->body)->deadline_ns = ((struct prefix *)(void *)m->body)->deadline_ns;
	}
	failed = send_to_link(ctx, link, wrapped);
	if (failed)
		unwrap(ctx, wrapped);
	return failed;
}
