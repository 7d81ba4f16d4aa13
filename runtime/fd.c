/* runtime/fd.c - descriptors: readiness becomes a call on the actor's turn.
 *
 * All are in the one epoll (park.c); whoever polls sends the watch's own message, in the system lane, to the owner.
 * There is at most one such message a watch: `state` holds the events that were seen and not yet handled, and who adds
 * the first one has the message. Level-triggered ones are one-shot in epoll and armed again after fn returned, so that
 * they cannot flood.
 *
 * Watches are type-stable and have a generation that travels through epoll, because a poller may hold an event of a
 * watch that has gone. While the message is under way the watch is pinned: an unwatch then marks it dead, and who gets
 * the message frees it.
 */
#include "scheduler.h"
#include "slab.h"

#include <errno.h>
#include <sys/epoll.h>

struct watch {
	struct watch *next, *prev; /* of the owner; next also links free blocks */
	qmt_fd_fn *fn;
	void *arg;                 /* (offset 24: free_block.magazine_next) */
	_Atomic uint64_t state;    /* generation << 32 | epoll events seen */
	struct qmt_actor *owner;
	struct qmt_msg *message;   /* who turns the events from 0 has it; the owner otherwise */
	int fd;
	uint8_t events;            /* QMT_FD_* */
	bool dead;
};
_Static_assert(sizeof(struct watch) == 64, "one line");

struct fd_event {
	struct watch *watch;
};

static uint32_t state_gen(uint64_t state)
{
	return (uint32_t)(state >> 32) & 0xffff;
}

static uint64_t state_next(uint64_t state)
{
	return (uint64_t)((state_gen(state) + 1) & 0xffff) << 32;
}

static int epoll_set(struct qmt_ctx *ctx, int op, struct watch *watch)
{
	/* addresses have 47 bits and end in six zeroes; the first few numbers are park.c's */
	uint64_t gen = state_gen(atomic_load_explicit(&watch->state, RELAXED));
	struct epoll_event event = {.data.u64 = gen << 48 | (uint64_t)(uintptr_t)watch};

	if (watch->events & QMT_FD_READ)
		event.events |= EPOLLIN;
	if (watch->events & QMT_FD_WRITE)
		event.events |= EPOLLOUT;
	event.events |= watch->events & QMT_FD_EDGE ? EPOLLET : EPOLLONESHOT;
	return epoll_ctl(ctx->sys->epoll_fd, op, watch->fd, &event) < 0 ? -errno : 0;
}

static struct watch *find(const struct actor_ext *ext, int fd)
{
	struct watch *watch = ext ? ext->watches : NULL;

	while (watch && watch->fd != fd)
		watch = watch->next;
	return watch;
}

static void watch_free(struct qmt_ctx *ctx, struct watch *watch, struct qmt_msg *message)
{
	msg_free(ctx, message);
	slab_free(ctx, CLASS_WATCH, watch);
}

static struct watch *watch_new(struct qmt_ctx *ctx, int fd)
{
	struct watch *watch = slab_alloc(ctx, CLASS_WATCH);
	struct qmt_msg *message = watch ? msg_alloc(ctx, sizeof(struct fd_event)) : NULL;

	if (!message) {
		if (watch)
			slab_free(ctx, CLASS_WATCH, watch);
		return NULL;
	}
	((struct fd_event *)(void *)message->body)->watch = watch;
	message->flags = MSG_INTERNAL;
	message->type = INTERNAL_FD;
	watch->owner = ctx->cur;
	watch->message = message;
	watch->fd = fd;
	watch->dead = false;
	return watch;
}

int qmt_fd_watch(struct qmt_ctx *ctx, int fd, uint32_t events, qmt_fd_fn *fn, void *arg)
{
	struct actor_ext *ext;
	struct watch *watch;
	bool fresh;
	int failed;

	if (!ctx->cur)
		return -ENOTSUP;
	if (ctx->sim)
		return -ENOSYS;
	ext = qmt__actor_need_ext(ctx->cur);
	if (!ext)
		return -ENOMEM;
	watch = find(ext, fd);
	fresh = !watch;
	if (fresh)
		watch = watch_new(ctx, fd);
	if (!watch)
		return -ENOMEM;
	watch->events = (uint8_t)(events & (QMT_FD_READ | QMT_FD_WRITE | QMT_FD_EDGE));
	watch->fn = fn;
	watch->arg = arg;
	failed = epoll_set(ctx, fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, watch);
	if (!fresh)
		return failed;
	if (failed) {
		watch_free(ctx, watch, watch->message);
		return failed;
	}
	watch->prev = NULL;
	watch->next = ext->watches;
	if (ext->watches)
		ext->watches->prev = watch;
	ext->watches = watch;
	atomic_fetch_add_explicit(&ctx->sys->watched_fds, 1, RELAXED);
	return 0;
}

static void unwatch(struct qmt_ctx *ctx, struct actor_ext *ext, struct watch *watch)
{
	uint64_t state = atomic_load_explicit(&watch->state, RELAXED);

	epoll_ctl(ctx->sys->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL); /* may be closed already */
	atomic_fetch_sub_explicit(&ctx->sys->watched_fds, 1, RELAXED);
	if (watch->prev)
		watch->prev->next = watch->next;
	else
		ext->watches = watch->next;
	if (watch->next)
		watch->next->prev = watch->prev;
	watch->dead = true;
	/* A poller that comes later sees another generation; one that came before has the message. */
	while (!atomic_compare_exchange_weak_explicit(&watch->state, &state, state_next(state), ACQ_REL, RELAXED))
		;
	if ((uint32_t)state == 0)
		watch_free(ctx, watch, watch->message);
}

void qmt_fd_unwatch(struct qmt_ctx *ctx, int fd)
{
	struct actor_ext *ext = ctx->cur ? actor_ext(ctx->cur) : NULL;
	struct watch *watch = find(ext, fd);

	if (watch)
		unwatch(ctx, ext, watch);
}

void qmt__fds_release(struct qmt_ctx *ctx, struct qmt_actor *a)
{
	struct actor_ext *ext = actor_ext(a);

	while (ext->watches)
		unwatch(ctx, ext, ext->watches);
}

/* By the poller: epoll said so. */
void qmt__fd_ready(struct qmt_ctx *ctx, uint64_t data, uint32_t events)
{
	struct watch *watch = (struct watch *)(uintptr_t)(data & ((UINT64_C(1) << 48) - 1));
	uint64_t state = atomic_load_explicit(&watch->state, RELAXED);
	struct qmt_msg *message;

	do {
		if (state_gen(state) != data >> 48)
			return;
	} while (!atomic_compare_exchange_weak_explicit(&watch->state, &state, state | events, ACQ_REL, RELAXED));
	if ((uint32_t)state != 0 || !events)
		return;
	message = watch->message;
	if (qmt__system_push(ctx, watch->owner, message))
		watch_free(ctx, watch, message); /* its owner has ended, and left it to us */
}

static uint32_t events_for(const struct watch *watch, uint32_t seen)
{
	uint32_t events = 0;

	if (seen & (EPOLLHUP | EPOLLERR))
		events |= QMT_FD_HANGUP | (watch->events & (QMT_FD_READ | QMT_FD_WRITE));
	if (seen & EPOLLIN)
		events |= QMT_FD_READ;
	if (seen & EPOLLOUT)
		events |= QMT_FD_WRITE;
	return events;
}

/* On the owner's turn; or on that of a later tenant of its block, when the owner has ended. Takes m. */
void qmt__fd_event(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m)
{
	struct watch *watch = ((struct fd_event *)(void *)m->body)->watch;
	uint64_t state = atomic_load_explicit(&watch->state, RELAXED);
	uint32_t gen = state_gen(state);

	if (watch->dead) {
		watch_free(ctx, watch, m);
		return;
	}
	/* From here on a poller may send the message again. */
	state = atomic_exchange_explicit(&watch->state, (uint64_t)gen << 32, ACQ_REL);
	if (a->status != STATUS_RUN || ctx->ctl & (CTL_STOP | CTL_FAIL))
		return;
	watch->fn(ctx, actor_state(a), watch->fd, events_for(watch, (uint32_t)state), watch->arg);
	/* fn may have ended the watch; then the block says another generation */
	if (state_gen(atomic_load_explicit(&watch->state, RELAXED)) == gen && !(watch->events & QMT_FD_EDGE))
		(void)epoll_set(ctx, EPOLL_CTL_MOD, watch); /* fails when fd was closed without unwatch: nothing comes then */
}
