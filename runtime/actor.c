/* runtime/actor.c - making actors, and what an actor may say about itself. */
#include "scheduler.h"
#include "slab.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

struct actor_ext *qmt__actor_need_ext(struct qmt_actor *a)
{
	struct actor_ext *ext = actor_ext(a);

	if (!ext) {
		ext = calloc(1, sizeof *ext);
		atomic_store_explicit(&a->ext, ext, RELEASE); /* pairs with the acquire of qmt_system_actors */
	}
	return ext;
}

/* A later tenant of the block may have one where the one that is meant had none, or the other way round; then what is
 * brought along finds another generation. */
int qmt__ext_bring(struct qmt_ref who, struct actor_ext **ret_spare)
{
	struct actor_ext *spare = NULL;

	/* of a block that is not `who` any more nothing is looked at: what it holds is not the seed's */
	if (actor_gen(who.actor) != who.gen || !atomic_load_explicit(&who.actor->ext, RELAXED)) {
		spare = calloc(1, sizeof *spare);
		if (!spare)
			return -ENOMEM;
	}
	*ret_spare = spare;
	return 0;
}

struct actor_ext *qmt__ext_take(struct qmt_ctx *ctx, struct qmt_actor *a, struct actor_ext **spare)
{
	if (!actor_ext(a)) {
		QMT__INVARIANT(ctx, *spare != NULL);
		atomic_store_explicit(&a->ext, *spare, RELEASE); /* pairs with the acquire of qmt_system_actors */
	} else {
		qmt__actor_ext_free(*spare);
	}
	*spare = NULL;
	return actor_ext(a);
}

void qmt__actor_ext_free(struct actor_ext *ext)
{
	if (!ext)
		return;
	free(ext->initial);
	free(ext->big_state);
	free(ext->fail_text);
	free(ext->window);
	free(ext);
}

const char *qmt__actor_name_locked(struct qmt_actor *a, char room[ACTOR_NAME_SHOWN])
{
	const struct actor_ext *ext = atomic_load_explicit(&a->ext, ACQUIRE); /* pairs with qmt__actor_need_ext */

	if (!ext || !ext->names)
		return NULL;
	snprintf(room, ACTOR_NAME_SHOWN, "%s", qmt__name_text(ext->names));
	return room;
}

const char *qmt__actor_name(struct qmt_system *sys, struct qmt_actor *a, char room[ACTOR_NAME_SHOWN])
{
	/* Under the lock: a link may take a name over from another (qmt_register_over), and who looks may be anybody. */
	pthread_mutex_lock(&sys->registry.lock);
	if (!qmt__actor_name_locked(a, room))
		room[0] = '\0';
	pthread_mutex_unlock(&sys->registry.lock);
	return room;
}

const char *qmt__message_name(const struct qmt_actor_desc *desc, uint16_t type)
{
	uint32_t slot = type >> TYPE_SLOT_SHIFT, index = type & TYPE_INDEX_MASK;
	const struct qmt_protocol *protocol = slot < QMT_ACCEPTS_MAX ? desc->accepts[slot].protocol : NULL;

	return protocol && index < protocol->count ? protocol->types[index]->record.name : "(unknown)";
}

void qmt__link_child(struct qmt_actor *parent, struct qmt_actor *child)
{
	child->sibling_prev = NULL;
	child->sibling_next = parent->children;
	if (parent->children)
		parent->children->sibling_prev = child;
	parent->children = child;
}

/* ---- spawn ------------------------------------------------------------------------------------------------------- */

#define REFUSE(err, ...) qmt_err_set(err, QMT_FAIL_BAD_REQUEST, __VA_ARGS__)

static int check_accepts(const struct qmt_actor_desc *desc, struct qmt_err *err)
{
	for (unsigned i = 0; i < QMT_ACCEPTS_MAX; i++) {
		const struct qmt_accept *accept = &desc->accepts[i];

		if (!accept->protocol && !accept->handlers)
			continue;
		if (!accept->protocol)
			return REFUSE(err, "%s: accepts[%u] has handlers and no protocol", desc->name, i);
		if (!accept->handlers)
			return REFUSE(err, "%s: accepts %s without handlers", desc->name, accept->protocol->name);
		for (unsigned k = 0; k < i; k++)
			if (desc->accepts[k].protocol == accept->protocol)
				return REFUSE(err, "%s: accepts %s twice; one table of handlers a protocol", desc->name,
					accept->protocol->name);
	}
	return 0;
}

static int check_desc(const struct qmt_actor_desc *desc, struct qmt_err *err)
{
	if (desc->abi != QMT_ABI) /* nothing else of it can be read */
		return REFUSE(err, "a descriptor made for ABI %u, this is %u; rebuild its module", desc->abi, QMT_ABI);
	if (!desc->name)
		return REFUSE(err, "a descriptor without a name");
	if (desc->bound >= MAILBOX_HARD_LIMIT)
		return REFUSE(err, "%s: bound %u is over the limit of %u", desc->name, desc->bound, MAILBOX_HARD_LIMIT - 1);
	if (desc->overflow > QMT_DROP_OLD)
		return REFUSE(err, "%s: overflow %u is no enum qmt_overflow", desc->name, desc->overflow);
	if (desc->supervision.strategy > QMT_REST_FOR_ONE)
		return REFUSE(err, "%s: strategy %u is no enum qmt_strategy", desc->name, desc->supervision.strategy);
	if (desc->supervision.max_restarts > QMT_RESTARTS_MAX)
		return REFUSE(err, "%s: max_restarts %u is over the limit of %u", desc->name, desc->supervision.max_restarts,
			QMT_RESTARTS_MAX);
	return check_accepts(desc, err);
}

static int check_spawn(const struct qmt_actor_desc *desc, const struct qmt_spawn *opt, struct qmt_err *err)
{
	if (opt->restart > QMT_PERMANENT)
		return REFUSE(err, "%s: restart %u is no enum qmt_restart", desc->name, opt->restart);
	if (opt->name && !*opt->name)
		return REFUSE(err, "%s: an empty name; NULL is for none", desc->name);
	return 0;
}

/* The parts that not every actor has: a large state, parameters, a name. */
static int make_ext(struct qmt_ctx *ctx, struct qmt_actor *a, const struct qmt_actor_desc *desc,
	const struct qmt_spawn *opt, struct qmt_err *err)
{
	const struct qmt_param_value *values = opt ? opt->params : NULL;
	struct actor_ext *ext = qmt__actor_need_ext(a);
	int failed;

	if (!ext)
		return qmt_err_set(err, -ENOMEM, "%s: out of memory", desc->name);
	if (a->flags & ACTOR_BIG) {
		ext->big_state = calloc(1, desc->state_size);
		if (!ext->big_state)
			return qmt_err_set(err, -ENOMEM, "%s: out of memory", desc->name);
	}
	failed = qmt__params_image(desc, values, &ext->initial, err);
	if (failed)
		return failed;
	if (ext->initial)
		memcpy(actor_state(a), ext->initial, desc->state_size);
	if (opt && opt->name) {
		failed = qmt__registry_add(ctx->sys, opt->name, a);
		if (failed == QMT_FAIL_NAME_TAKEN)
			return qmt_err_set(err, failed, "%s: the name %s is taken", desc->name, opt->name);
		if (failed)
			return qmt_err_set(err, failed, "%s: out of memory", desc->name);
	}
	return 0;
}

/* A new actor, complete but neither linked to a parent nor scheduled. Its mailbox takes messages. */
int qmt__actor_new(struct qmt_ctx *ctx, const struct qmt_actor_desc *desc, const struct qmt_spawn *opt,
	struct qmt_actor **ret_actor, struct qmt_err *err)
{
	bool big = desc->state_size > STATE_INLINE_MAX;
	size_t bytes = offsetof(struct qmt_actor, state) + (big ? 0 : desc->state_size);
	uint32_t class = bytes <= 192 ? CLASS_ACTOR : CLASS_ACTOR + (uint32_t)((bytes + 63) / 64) - 3;
	struct qmt_actor *a = slab_alloc(ctx, class);

	if (unlikely(!a))
		return qmt_err_set(err, -ENOMEM, "%s: out of memory", desc->name);
	/* Born as one that is queued to run; before its name is seen. */
	atomic_store_explicit(&a->top, WORD_RUNNING, RELAXED);
	/* gen stays as the last tenant left it */
	atomic_store_explicit(&a->system, NULL, RELAXED);
	atomic_store_explicit(&a->zombies, NULL, RELAXED);
	atomic_store_explicit(&a->waiters, NULL, RELAXED);
	atomic_store_explicit(&a->desc, desc, RELAXED);
	atomic_store_explicit(&a->pending, 0, RELAXED);
	a->host = NULL;
	a->local = a->local_last = NULL;
	a->seen = 0;
	atomic_store_explicit(&a->done, 0, RELAXED);
	a->children = a->sibling_next = a->sibling_prev = NULL;
	a->asks = NULL;
	atomic_store_explicit(&a->ext, NULL, RELAXED);
	a->config = opt ? opt->config : NULL;
	a->timer_at = 0;
	a->timer_pos = 0;
	atomic_store_explicit(&a->ticks, 0, RELAXED);
	if (unlikely(ctx->sim != NULL))
		a->serial = atomic_fetch_add_explicit(&ctx->sys->serial, 1, RELAXED);
	status_set(a, STATUS_NEW);
	a->class = (uint8_t)class;
	a->restart = (uint8_t)(opt ? opt->restart : QMT_TEMPORARY) & 3;
	a->flags = big ? ACTOR_BIG : 0;
	SHOW(a->standing, CTL_NEW); /* the first turn runs `start` */
	a->reason = 0;
	atomic_store_explicit(&a->cycle, 0, RELAXED);
	if (!big)
		memset(a->state, 0, desc->state_size);
	if (unlikely(big || desc->params || (opt && (opt->name || opt->params)))) {
		int failed = make_ext(ctx, a, desc, opt, err);

		if (failed) {
			struct actor_ext *ext = actor_ext(a);

			/* The name came last, so nobody knows the actor; but qmt_system_actors may be looking at it. */
			if (ext)
				qmt__registry_drop(ctx->sys, a);
			qmt__actor_ext_free(ext);
			atomic_store_explicit(&a->top, WORD_CLOSED, RELAXED);
			slab_free(ctx, class, a);
			return failed;
		}
	}
	*ret_actor = a;
	return 0;
}

static void discard(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct qmt_ctx *host = a->host;

	a->restart = QMT_TEMPORARY;
	qmt__bury(ctx, a, QMT_FAIL_STOPPING);
	if (host)
		qmt__own_thread_quit(host);
	slab_free(ctx, a->class, a);
}

/* From outside, actors are children of the root, which links and schedules them on its own turn. */
static int give_to_root(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_err *err)
{
	struct qmt_actor *root = ctx->sys->root;
	struct qmt_msg *m = msg_alloc(ctx, 0);

	if (m) {
		m->flags = MSG_INTERNAL;
		m->type = INTERNAL_ADOPT;
		m->from = a;
		m->to_gen = actor_gen(root);
		atomic_store_explicit(&a->parent, root, RELAXED);
		if (qmt__system_push(ctx, root, m) == 0)
			return 0;
		msg_free(ctx, m);
	}
	return qmt_err_set(err, m ? QMT_FAIL_STOPPING : -ENOMEM, "%s: %s", actor_desc(a)->name,
		m ? "the system is stopping" : "out of memory");
}

int qmt_spawn(struct qmt_ctx *ctx, const struct qmt_actor_desc *desc, const struct qmt_spawn *opt,
	struct qmt_ref *ret_ref, struct qmt_err *err)
{
	struct qmt_actor *parent = ctx->cur, *a;
	bool outside = !parent || (parent->flags & ACTOR_OUTSIDE);
	struct qmt_ref ref;
	int failed = check_desc(desc, err);

	if (opt && likely(!failed))
		failed = check_spawn(desc, opt, err);
	if (unlikely(failed))
		return failed;
	if (unlikely(outside ? atomic_load_explicit(&ctx->sys->stopping, RELAXED) : parent->status != STATUS_RUN))
		return qmt_err_set(err, QMT_FAIL_STOPPING, "%s: %s is stopping", desc->name,
			outside ? "the system" : "its parent");
	failed = qmt__actor_new(ctx, desc, opt, &a, err);
	if (unlikely(failed))
		return failed;
	ref = actor_ref(a);
	if (unlikely(opt && opt->own_thread && !ctx->sim)) {
		failed = qmt__own_thread_start(ctx, a);
		if (failed) {
			qmt_err_set(err, failed, "%s: cannot start its thread: %s", desc->name, strerror(-failed));
			discard(ctx, a);
			return failed;
		}
	}
	if (unlikely(outside)) {
		failed = give_to_root(ctx, a, err);
		if (failed) {
			discard(ctx, a);
			return failed;
		}
	} else {
		atomic_store_explicit(&a->parent, parent, RELAXED);
		qmt__link_child(parent, a);
		schedule_last(ctx, a);
	}
	if (ret_ref)
		*ret_ref = ref;
	return 0;
}

/* ---- about itself ------------------------------------------------------------------------------------------------ */

struct qmt_ref qmt_self(struct qmt_ctx *ctx)
{
	return ctx->cur && !(ctx->cur->flags & ACTOR_OUTSIDE) ? actor_ref(ctx->cur) : (struct qmt_ref){0};
}

struct qmt_ref qmt_parent(struct qmt_ctx *ctx)
{
	struct qmt_actor *parent = ctx->cur ? atomic_load_explicit(&ctx->cur->parent, RELAXED) : NULL;

	return parent ? actor_ref(parent) : (struct qmt_ref){0};
}

struct qmt_system *qmt_system_of(struct qmt_ctx *ctx)
{
	return ctx->sys;
}

void qmt_stop_self(struct qmt_ctx *ctx)
{
	if (ctx->cur)
		ctx->ctl |= CTL_STOP;
}

static int send_end(struct qmt_ctx *ctx, struct qmt_ref who, uint16_t type)
{
	struct qmt_msg *m;
	int failed;

	if (!who.actor || who.rid || actor_gen(who.actor) != who.gen)
		return QMT_FAIL_NOT_RUNNING;
	m = msg_alloc(ctx, 0);
	if (!m)
		return -ENOMEM;
	m->flags = MSG_INTERNAL;
	m->type = type;
	m->to_gen = who.gen;
	m->from = ctx->cur;
	m->src_gen = ctx->cur ? actor_gen(ctx->cur) : 0;
	failed = qmt__system_push(ctx, who.actor, m);
	if (failed)
		msg_free(ctx, m);
	return failed;
}

int qmt_stop(struct qmt_ctx *ctx, struct qmt_ref who)
{
	return send_end(ctx, who, INTERNAL_STOP);
}

int qmt_kill(struct qmt_ctx *ctx, struct qmt_ref who)
{
	return send_end(ctx, who, INTERNAL_KILL);
}

void qmt_fail(struct qmt_ctx *ctx, const char *format, ...)
{
	char text[sizeof ctx->fail_text];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (ctx->cur)
		qmt__fail_text(ctx, "%s", text);
}

void qmt_again(struct qmt_ctx *ctx)
{
	ctx->ctl |= CTL_AGAIN;
}

void qmt_want_flush(struct qmt_ctx *ctx)
{
	ctx->ctl |= CTL_FLUSH;
}

void qmt_hold(struct qmt_ctx *ctx, bool on)
{
	if (!ctx->cur)
		return;
	if (on) {
		standing_set(ctx->cur, CTL_HOLD);
		ctx->ctl |= CTL_HOLD;
	} else {
		standing_clear(ctx->cur, CTL_HOLD);
		ctx->ctl &= ~(uint32_t)CTL_HOLD;
	}
}

bool qmt_is_running(struct qmt_ref ref)
{
	/* An actor that waits for its restart runs: its mailbox takes tells. */
	return ref.actor && actor_gen(ref.actor) == ref.gen &&
		!word_is_closed(atomic_load_explicit(&ref.actor->top, RELAXED));
}

/* ---- clock, random, log ------------------------------------------------------------------------------------------ */

uint64_t qmt_now_ms(struct qmt_ctx *ctx)
{
	return now_ns(ctx) / NS_PER_MS;
}

uint64_t qmt_now_ns(struct qmt_ctx *ctx)
{
	return now_ns(ctx);
}

uint64_t qmt_wall_ms(struct qmt_ctx *ctx)
{
	return qmt_os_wall_ms(ctx->sys->os);
}

void qmt_random(struct qmt_ctx *ctx, void *ret_bytes, size_t len)
{
	qmt_os_random(ctx->sys->os, ret_bytes, len);
}

void qmt_uuid(struct qmt_ctx *ctx, char ret_text[37])
{
	qmt_os_uuid(ctx->sys->os, ret_text);
}

const struct qmt_log *qmt_log_of(struct qmt_ctx *ctx)
{
	return ctx->log;
}

/* ---- our own bugs ------------------------------------------------------------------------------------------------ */

static const char *message_name(struct qmt_actor *a, const struct qmt_msg *m)
{
	if (!a || !m || (m->flags & MSG_SPECIAL))
		return m ? "(internal or reply)" : "(none)";
	return qmt__message_name(actor_desc(a), m->type);
}

void qmt__invariant_broken(struct qmt_ctx *ctx, const char *what, const char *file, int line)
{
	char text[512], name[ACTOR_NAME_SHOWN];
	struct qmt_actor *a = ctx ? ctx->cur : NULL;
	int len = snprintf(text, sizeof text, "qmt: broken invariant: %s (%s:%d); actor %s \"%s\", message %s\n", what,
		file, line, a ? actor_desc(a)->name : "(none)", a ? qmt__actor_name(ctx->sys, a, name) : "",
		message_name(a, ctx ? ctx->cur_msg : NULL));
	ssize_t wrote = write(STDERR_FILENO, text, len < (int)sizeof text ? (size_t)len : sizeof text - 1);

	(void)wrote;
	abort();
}
