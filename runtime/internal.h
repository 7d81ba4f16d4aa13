/* runtime/internal.h - the structures of the hot core; for the files of runtime/ only.
 *
 * Threads:   each field says who may touch it. "turn" is the worker that runs the actor at the moment; the right to run
 *            an actor passes through its mailbox word (mailbox.h) and the run queues (scheduler.h), always
 *            acquire/release.
 * Lifetimes: blocks of actors, asks and descriptors watched are type-stable: their memory is never used for anything
 *            else while the system lives, so a stale reference may be looked at; its generation tells. A parent
 *            outlives its children. A child's last act is to push itself on parent->zombies.
 */
#ifndef QMT_RUNTIME_INTERNAL_H
#define QMT_RUNTIME_INTERNAL_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/os.h"
#include "port.h"
#include "system.h"

/* orders of atomics, short */
#define RELAXED memory_order_relaxed
#define ACQUIRE memory_order_acquire
#define RELEASE memory_order_release
#define ACQ_REL memory_order_acq_rel
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define CACHE_LINE _Alignas(64)
/* Off the path of a message: keeps the hot functions' registers free. */
#define COLD __attribute__((noinline))
/* Of a plain field with one writer at a time: what others may look at meanwhile, and at what it points to (a block
 * that may be new). */
#define SHOW(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELEASE)
#define LOOK(field) __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
/* The same for what each message writes: one store as well, without the reloads that gcc makes after any atomic (12
 * instructions a message). The thread sanitizer wants to see an atomic. */
#if defined(__SANITIZE_THREAD__)
#define SHOW_HOT(field, value) SHOW(field, value)
#else
#define SHOW_HOT(field, value) (*(volatile __typeof__(field) *)&(field) = (value))
#endif
#define HOT inline __attribute__((always_inline))

/* Our own invariants. Stays on; says which actor and message were at work. */
#define QMT__INVARIANT(ctx, condition) \
	(likely(condition) ? (void)0 : qmt__invariant_broken(ctx, #condition, __FILE__, __LINE__))

enum {
	TURN_MESSAGES = 256,       /* most messages a turn */
	URGENT_MESSAGES = 256,     /* most of the urgent lane before a normal one has its turn */
	RING_SLOTS = 256,          /* local run queue of a worker; what does not fit goes to blocks of half that size */
	SLOT_RUNS = 64,            /* turns out of the LIFO slot before the ring has its turn */
	TICK_TURNS = 64,           /* turns between looks at the clock */
	LATE_US = 50,              /* work that waits longer makes its worker late: others are woken and may take it */
	POLL_US = 50,              /* between looks at descriptors while busy */
	BLOCK_OLD_US = 5000,       /* an overflow block this old is taken first */
	WATCH_MIN_MS = 2,          /* the watch: somebody works, somebody sleeps */
	WATCH_MAX_MS = 32,
	SPIN_MAX = 200,            /* looks before parking, adaptive down to 0 */
	WORKERS_MAX = 64,
	MAILBOX_HARD_LIMIT = 1 << 21, /* of unbounded mailboxes: the count in the mailbox word has 22 bits */
	MESSAGE_SLAB_MAX = 1024,   /* bytes with header; larger ones are malloc'ed */
	STATE_INLINE_MAX = 336,    /* bytes of state in the actor's block; larger states are malloc'ed */
	ACTOR_NAME_SHOWN = 128,    /* bytes of a name in logs and pictures, longer ones are cut */
	JOB_IDLE_MS = 10000,       /* a pool thread without work ends after this */
	JOB_THREADS = 4,           /* default of qmt_system_options.job_threads */
};

/* ---- messages ---------------------------------------------------------------------------------------------------- */

enum {
	MSG_ASK = 1,       /* `ask` holds the right to answer */
	MSG_REPLY = 2,     /* an answer: `ask`, src_gen; type is an index in the protocol of the request */
	MSG_FAIL = 4,      /* with MSG_REPLY: the body is a struct failure */
	MSG_FROM = 8,      /* `from` is the sender */
	MSG_INTERNAL = 16, /* type is an enum internal */
	MSG_OUTSIDE = 32,  /* with MSG_ASK: an outside thread asks, there is no sender */
	MSG_URGENT = 64,   /* was pushed together with SYS: the receiver puts it in front */
	MSG_PREFIXED = 128, /* a request whose body begins with a struct prefix */
	MSG_SPECIAL = MSG_REPLY | MSG_INTERNAL,
	MSG_SLOW = MSG_SPECIAL | MSG_PREFIXED, /* not simply for the handler */
};

/* 32 bytes; the body follows. Owned by exactly one place at a time. */
struct qmt_msg {
	struct qmt_msg *next;
	uint32_t to_gen;  /* incarnation of the block that the sender meant */
	uint16_t type;    /* accept slot << 12 | index of the message */
	uint8_t flags;
	uint8_t class;    /* slab class; MSG_CLASS_* */
	union {
		struct ask *ask;
		struct qmt_actor *from;
	};
	uint32_t src_gen; /* of ask or from */
	uint32_t unused;
	_Alignas(16) unsigned char body[];
};
_Static_assert(sizeof(struct qmt_msg) == 32, "the header is part of the measured design");

enum { TYPE_SLOT_SHIFT = 12, TYPE_INDEX_MASK = (1 << TYPE_SLOT_SHIFT) - 1 };

/* In qmt_ctx.cur_type, besides the types of messages. */
enum { CUR_REPLY = 0xffff, CUR_OUTGOING = 0xfffe, CUR_OTHER = 0xfffd };

enum {
	MSG_CLASS_HEAP = 0x7f, /* malloc'ed */
	MSG_CLASS_CARE = 0x80, /* flag: owns more than its block, see qmt__msg_free_slow */
};

/* What only few requests have stands in front of their body (message.h: 32 bytes, so the rest stays aligned). */
struct prefix {
	uint64_t deadline_ns;   /* not to be handled later than this; 0: none */
	struct qmt_msg *shared; /* the body is that of a struct shared; NULL: it follows */
	uint64_t trace;         /* trace.h; 0: none */
	uint64_t unused;
};
/* Body of a message that several envelopes point to; never in a mailbox itself. Immutable. */
struct shared {
	_Atomic uint32_t refs; /* acq_rel: the last one frees what the others have read */
	_Alignas(16) unsigned char body[];
};

/* What the runtime sends to itself. The first ones travel in the normal lane, the rest in the system lane. */
enum internal {
	INTERNAL_OUTGOING, /* to a link actor: struct outgoing_box */
	INTERNAL_BOUNCE,   /* back to a sender: struct bounce */
	INTERNAL_STOP,     /* qmt_stop */
	INTERNAL_ADOPT,    /* to the root: a child spawned from outside; struct adopt */
	INTERNAL_MONITOR,  /* `from` watches the receiver; kept by it and sent back as INTERNAL_DOWN; struct down */
	INTERNAL_DEMONITOR,
	INTERNAL_DOWN,     /* struct down */
	INTERNAL_KILL,     /* qmt_kill */
	INTERNAL_LINK,     /* link.c: struct link_note; each end keeps one and sends it as one of the next two */
	INTERNAL_UNLINK,
	INTERNAL_LINK_DIED,
	INTERNAL_AWAIT_START, /* await.c: struct await; kept and sent back as the reply */
	INTERNAL_AWAIT_END,
	INTERNAL_SUSPECT,  /* to the root: `from` may wait in a circle; struct suspicion (waits.c) */
	INTERNAL_FD,       /* struct fd_event */
	INTERNAL_JOB,      /* embedded in a struct job */
};

/* Body of a failed reply; both texts follow it. */
struct failure {
	int fail;
	uint64_t retry_after_ms;
	struct qmt_str kind, text;
};

/* Body of an undelivered tell on its way back. */
struct bounce {
	const struct qmt_type *type;
	struct qmt_msg *message;
	int reason;
};

/* ---- asks -------------------------------------------------------------------------------------------------------- */

/* The asker's record of a pending ask; type-stable. Late repliers look at owner, owner_gen, gen, protocol. */
struct ask {
	struct ask *next, *prev; /* the asker's pending asks; next also links free blocks */
	void *arg;
	qmt_continuation *then;  /* (offset 24: free_block.magazine_next) */
	struct qmt_actor *_Atomic owner;
	_Atomic uint32_t gen;
	_Atomic uint32_t owner_gen;
	_Atomic uint64_t deadline_ns;
	const struct qmt_protocol *_Atomic protocol; /* of the request: replies are of the same */
};
_Static_assert(sizeof(struct ask) == 64, "one line");

/* ---- actors ------------------------------------------------------------------------------------------------------ */

enum status {
	STATUS_NEW,        /* start has not run yet */
	STATUS_RUN,
	STATUS_STOPPING,   /* waits for its children */
	STATUS_ENDED,      /* the incarnation is over; the parent decides (it owns the actor now) */
	STATUS_RESTARTING, /* waits for restart_at */
	STATUS_DEAD,
};

/* What another thread may set in `pending`; the SYS bit of the mailbox word says that there is something. */
enum {
	PENDING_END = 1,    /* the parent stops: end for good */
	PENDING_TIMER = 2,  /* the actor's entry in the timer heap was due */
	PENDING_UNMUTE = 4, /* the full mailbox it waited for has room */
	PENDING_AGAIN = 8,  /* by its own turn: qmt_again */
	PENDING_CYCLE = 16, /* the parent restarts it along with another: end this incarnation */
	PENDING_GO = 32,    /* the parent: its turn to start again */
	PENDING_STARTED = 64, /* a child has started that the next one waits for */
};

/* What the current turn asked for (qmt_ctx.ctl: one test a message), and what stands longer (actor.standing). */
enum {
	CTL_STOP = 1,
	CTL_FAIL = 2,
	CTL_FULL = 4,      /* it overfilled the mailbox of ctx->full */
	CTL_AGAIN = 8,
	CTL_FLUSH = 16,
	CTL_HOLD = 32,     /* standing: qmt_hold */
	CTL_MUTED = 64,    /* standing: waits for a full mailbox */
	CTL_DOWN = 128,    /* standing: not running (status says why) */
	CTL_KEPT = 256,    /* the current message is not ours any more */
	CTL_NEW = 512,     /* standing, until `start` was called */
	CTL_EXCLUSIVE = 1024, /* standing: waits for the answer to qmt_ask_exclusive */
	CTL_TRACED = 2048, /* qmt_trace_set was called: over with the handler (trace.h) */
	CTL_STANDING = CTL_HOLD | CTL_MUTED | CTL_DOWN | CTL_EXCLUSIVE,
	CTL_BREAK = CTL_STOP | CTL_FAIL | CTL_FULL | CTL_TRACED | CTL_STANDING,
};

enum {
	ACTOR_FINAL = 1,    /* to be ended for good, whatever its restart policy says */
	ACTOR_BIG = 2,      /* state lies outside the block */
	ACTOR_OUTSIDE = 4,  /* stands for an outside thread that asks */
	ACTOR_STARTED = 8,  /* `start` was called in this incarnation, `stop` is due */
	ACTOR_TIMED = 16,   /* may have an entry in the timer heap */
	ACTOR_CYCLE = 32,   /* this incarnation ends because the parent restarts it along with another */
	ACTOR_HELD = 64,    /* restarting, and its turn has not come */
	ACTOR_KILLED = 128, /* by qmt_kill */
};

struct qmt_actor {
	/* line 0: written by other threads */
	CACHE_LINE struct qmt_actor *queue_next; /* injected, zombie or free: an actor is in at most one of these lists */
	_Atomic uint64_t top;                    /* mailbox.h; says closed while the block is free */
	struct qmt_msg *_Atomic system;          /* system lane, newest first; passes the bound */
	struct qmt_actor *_Atomic zombies;       /* children that ended (offset 24: free_block.magazine_next) */
	struct qmt_msg *_Atomic waiters;         /* one small message for each sender that waits because we are full */
	const struct qmt_actor_desc *_Atomic desc;
	_Atomic uint32_t gen;
	_Atomic uint32_t pending;                /* PENDING_* */
	struct qmt_ctx *host;                    /* own_thread: who runs it; NULL: the workers. const after spawn */
	/* line 1: the turn's own */
	CACHE_LINE struct qmt_msg *local;        /* taken, in order */
	struct qmt_msg *local_last;              /* valid while local is set */
	uint32_t seen;                           /* count up to which messages were taken */
	uint32_t timer_pos;                      /* position in the timer heap + 1; timer lock */
	_Atomic uint64_t done;                   /* messages dealt with, modulo 2^64; readers: senders, the turn of `top` */
	struct qmt_actor *_Atomic parent;
	struct qmt_actor *children, *sibling_next, *sibling_prev; /* sibling_*: the parent's turn */
	/* line 2 */
	struct ask *asks;
	struct actor_ext *_Atomic ext;           /* what only some need; NULL until then */
	const void *config;
	uint64_t timer_at;                       /* when the next look at timers and asks is armed; 0: not */
	union {
		_Atomic uint64_t ticks;              /* of clock_ticks, in turns; extrapolated (scheduler.c) */
		uint32_t serial;                     /* seeded: order of spawning, for the trace */
	};
	uint8_t status;                          /* enum status; status_set */
	uint8_t class;                           /* slab class */
	uint8_t restart : 7;                     /* enum qmt_restart; const after spawn */
	uint8_t mixed : 1;                       /* `local` may hold urgent messages among the others */
	uint8_t flags;                           /* ACTOR_* */
	uint16_t standing;                       /* CTL_STANDING bits, CTL_NEW; standing_set */
	uint8_t reason;                          /* enum qmt_fail, of the end */
	_Atomic uint8_t cycle;                   /* supervisor.c: the parent's; while CYCLE_STARTING the turn's own */
	_Alignas(16) unsigned char state[];
};
_Static_assert(offsetof(struct qmt_actor, state) == 176, "192 bytes with a state of 16");

/* Why an actor does not go on, and for whom it waits: an edge of the wait-for graph (waits.c). Written by its own turn,
 * looked at by anybody who holds the registry's lock. */
enum wait_kind { WAIT_ANSWER /* qmt_ask_exclusive */, WAIT_ROOM /* muted */, WAIT_KINDS };
struct wait_edge {
	_Atomic uint64_t number;        /* 0: it does not wait; else another one for each wait of this actor */
	struct qmt_actor *_Atomic on;
	_Atomic uint32_t on_gen;
	_Atomic uint64_t since_ns;
};

/* Rarely used parts of an actor. */
struct actor_ext {
	/* for the whole life */
	_Atomic uint32_t restarts;
	struct wait_edge waits[WAIT_KINDS];
	uint64_t waits_begun;           /* numbers given to edges */
	uint64_t deadlocked;            /* edge with which it stood in a circle that was reported; registry's lock */
	struct name_entry *names;       /* registry.c; changed under the registry's lock only */
	void *initial;                  /* state with parameters filled in, and their texts; NULL: zeroes */
	void *big_state;
	struct qmt_msg *watchers;       /* INTERNAL_MONITOR messages of those that watch us */
	struct qmt_msg *awaiting;       /* INTERNAL_AWAIT_* messages of those that wait for our start or end */
	uint64_t restart_at_ns;
	char *fail_text;                /* of the last failure, until it was logged with the restart */
	/* for the incarnation */
	struct timer_set *timers;       /* timer.c */
	struct watch *watches;          /* fd.c */
	struct child_process *processes; /* child.c */
	struct monitored *monitored;    /* monitor.c: whom we watch */
	struct qmt_msg *deferred;       /* system messages that wait until we are no longer muted, in order */
	struct qmt_msg *urgent, *urgent_last; /* taken and sorted out, in order */
	uint32_t urgent_run;            /* handled since the last normal one */
	uint64_t urgent_done;           /* part of actor.done */
	uint64_t urgent_mark;           /* done - urgent_done, when urgent_run was 0 */
	struct ask *exclusive;          /* qmt_ask_exclusive: what is waited for; NULL: nothing */
	struct qmt_msg *exclusive_reply; /* has come, and waits until we may go on */
	struct restart_window *window;  /* supervisor.c: of our children */
	struct qmt_actor *cycle_at;     /* supervisor.c: the child that the cycle waits for */
	uint64_t cycle_restart_at_ns;
	uint8_t cycle_phase;            /* supervisor.c: enum cycle_phase */
	struct qmt_msg *links;          /* link.c: what we send to those linked to us */
};

static inline void *actor_state(struct qmt_actor *a)
{
	return unlikely(a->flags & ACTOR_BIG) ? atomic_load_explicit(&a->ext, RELAXED)->big_state : a->state;
}

static inline const struct qmt_actor_desc *actor_desc(struct qmt_actor *a)
{
	return atomic_load_explicit(&a->desc, RELAXED);
}

static inline struct actor_ext *actor_ext(struct qmt_actor *a)
{
	return atomic_load_explicit(&a->ext, RELAXED);
}

static inline uint32_t actor_gen(struct qmt_actor *a)
{
	return atomic_load_explicit(&a->gen, RELAXED);
}

static inline uint32_t actor_restarts(struct qmt_actor *a)
{
	struct actor_ext *ext = actor_ext(a);

	return ext ? atomic_load_explicit(&ext->restarts, RELAXED) : 0;
}

/* By who has the right to run it; qmt_system_actors looks on. */
static inline void status_set(struct qmt_actor *a, enum status status)
{
	SHOW(a->status, (uint8_t)status);
}

static inline void standing_set(struct qmt_actor *a, uint32_t bits)
{
	SHOW(a->standing, (uint16_t)(a->standing | bits));
}

static inline void standing_clear(struct qmt_actor *a, uint32_t bits)
{
	SHOW(a->standing, (uint16_t)(a->standing & ~bits));
}

static inline struct qmt_ref actor_ref(struct qmt_actor *a)
{
	return (struct qmt_ref){a, actor_gen(a), 0};
}

/* ---- memory (slab.h) --------------------------------------------------------------------------------------------- */

enum {
	CLASS_MESSAGE = 0,                   /* 16 classes of 64 .. 1024 bytes */
	CLASS_ACTOR = MESSAGE_SLAB_MAX / 64, /* 6 classes of 192 .. 512 bytes */
	CLASS_ASK = CLASS_ACTOR + 6,
	CLASS_WATCH,
	CLASSES,
};

struct free_block {
	struct free_block *next;
	void *untouched[2]; /* late senders still look at them */
	struct free_block *magazine_next;
};

/* Blocks of one class that a worker keeps; two magazines and a piece of fresh memory. */
struct cache {
	struct free_block *current, *full;
	uint32_t count; /* in current */
	char *bump, *bump_end;
	size_t region_bytes; /* of the last region taken */
};

/* Full magazines between workers, one depot a class. */
struct depot {
	CACHE_LINE _Atomic uint32_t lock; /* spin lock: guards the rest */
	_Atomic uint32_t magazines;
	struct free_block *top;      /* full magazines */
	struct free_block *partial;  /* magazines of less than MAGAZINE blocks */
	struct region *regions;      /* all memory of the class */
	struct leftover *leftovers;  /* fresh pieces that a closed handle gave back */
};

struct region {
	struct region *next;
	char *start;
	size_t bytes;
};

/* ---- workers ----------------------------------------------------------------------------------------------------- */

enum ctx_kind { CTX_WORKER, CTX_OWN_THREAD, CTX_OUTSIDE, CTX_SEEDED };

/* Overflow of a ring: the owner takes its newest block back (depth first, hot), thieves the oldest. */
struct run_block {
	struct run_block *newer, *older;
	uint64_t born_ns;
	uint32_t count;
	struct qmt_actor *actors[RING_SLOTS / 2];
};

struct qmt_ctx {
	/* line 0: looked at by thieves */
	CACHE_LINE struct qmt_actor *_Atomic slot; /* what the current turn made runnable last: hot */
	_Atomic uint32_t head, tail;               /* of ring */
	_Atomic uint32_t late;                     /* work here waits too long: others may take it */
	_Atomic uint32_t turns;                    /* progress, for the watch */
	_Atomic uint32_t parked;                   /* in epoll_wait, or about to be */
	/* private to the thread */
	/* these three: written by SHOW_HOT, for slow.c */
	CACHE_LINE struct qmt_actor *cur;
	struct qmt_msg *cur_msg;
	uint16_t cur_type;                         /* of the message being handled; CUR_* */
	uint32_t ctl;                              /* CTL_* */
	uint64_t trace;                            /* of what is being handled; 0: none (trace.h) */
	struct qmt_actor *full;                    /* CTL_FULL */
	uint32_t full_gen;
	uint32_t slot_runs;
	uint32_t mark_tail;
	enum ctx_kind kind;
	uint64_t mark_ns, last_poll_ns;
	struct qmt_system *sys;
	struct qmt_log *log;                       /* sys->log, whose lines show `trace`; NULL: none */
	struct sim *sim;                           /* seeded systems only */
	uint32_t spin, parks, random;
	uint32_t skipped;                          /* turns that were not run before the next timed one (scheduler.c) */
	char fail_text[200];                       /* CTL_FAIL */
	struct qmt_token fail_token;               /* CTL_FAIL: of the ask that was being handled */
	uint64_t fail_trace;                       /* CTL_FAIL */
	struct cache cache[CLASSES];
	/* shared */
	CACHE_LINE struct qmt_actor *_Atomic ring[RING_SLOTS];
	CACHE_LINE _Atomic uint32_t block_lock;    /* spin lock: guards newest, oldest */
	_Atomic uint32_t blocks;
	struct run_block *newest, *oldest;
	/* own_thread and outside: the one actor and its wake-up */
	CACHE_LINE struct qmt_actor *hosted;
	pthread_mutex_t wake_lock;                 /* guards ready, quit */
	pthread_cond_t wake;
	bool ready, quit;
	uint64_t wait_until_ns;                    /* its own thread: when timers of hosted are due; 0: never */
	struct qmt_msg *answer;                    /* outside: what the last result points into */
	struct qmt_result *result;                 /* outside: where the pending answer goes */
	bool answered;
};

/* A thread of the system other than a worker; joined when it has ended, or at the end. */
struct thread_record {
	struct thread_record *next;
	struct qmt_os_thread *thread;
	struct qmt_ctx *ctx; /* NULL: a thread of the job pool */
	_Atomic bool ended; /* release by the thread as its last act; acquire by who joins it */
};

struct timer_heap {
	pthread_mutex_t lock; /* guards the rest and actor.timer_pos */
	struct timer_entry {
		uint64_t at_ns, sequence;
		struct qmt_actor *actor;
	} *entries;
	uint32_t count, capacity;
	uint64_t sequence;
	_Atomic uint64_t next_ns; /* UINT64_MAX: none. A hint for who has no lock. */
};

struct registry {
	pthread_mutex_t lock; /* guards the rest, actor_ext.names, and actor_ext against release while it is looked at */
	struct name_entry **buckets;
	uint32_t bucket_count, count;
};

struct job_pool {
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t wake;  /* by qmt_job_start, system stop */
	struct job *first, **end; /* in order */
	uint32_t queued, threads, idle, limit;
	bool quit;
};

struct qmt_system {
	/* const after start */
	struct qmt_os *os;
	const struct qmt_log *log;
	uint32_t worker_count;
	struct qmt_ctx *workers[WORKERS_MAX];
	struct qmt_os_thread *worker_threads[WORKERS_MAX];
	struct qmt_actor *root;
	struct sim *sim;
	struct qmt_kit_faults *faults; /* test_kit.c: which allocation of a turn fails; NULL: none. Seeded only */
	int epoll_fd, wake_fd, timer_fd, watch_fd;
	void (*root_failed)(void *arg);
	qmt_deadlock_fn *deadlock;
	void *callback_arg;
	uint64_t deadlock_ms;
	uint64_t slow_ns;                 /* a handler that runs longer is reported */
	struct qmt__slow_watch *slow;     /* slow.c; NULL: none is reported */
	uint64_t start_ticks, start_ns; /* clock_ticks and now_ns at the same moment */
	struct suspects *suspects;      /* waits.c; the root's turn */

	CACHE_LINE _Atomic uint64_t sleep;   /* park.c: sleepers | tokens << 32 */
	_Atomic uint32_t watching;           /* the watch timer is armed */
	_Atomic uint32_t watch_ms;
	_Atomic uint32_t watch_turns[WORKERS_MAX]; /* of each worker, when the watch was armed */
	_Atomic uint32_t watch_tail[WORKERS_MAX];
	_Atomic bool quit;                   /* workers end */
	_Atomic uint32_t workers_running;
	_Atomic uint32_t polling;            /* a busy worker looks at the descriptors */
	_Atomic uint32_t watched_fds;
	_Atomic uint32_t serial;
	_Atomic uint32_t child_ids;
	_Atomic bool stopping;               /* no more spawns from outside */
	_Atomic uint64_t link_ids;
	struct {
		_Atomic uint64_t dead_letters, dropped, failed, restarted, gave_up, deadlocks, slow_handlers;
	} counters; /* qmt_system_counters */

	CACHE_LINE pthread_mutex_t inject_lock; /* guards inject_first, inject_last, and writes of injected */
	struct qmt_actor *inject_first, *inject_last;
	_Atomic uint32_t injected;

	struct timer_heap timers;
	struct registry registry;
	struct job_pool jobs;

	pthread_mutex_t state_lock; /* guards the rest */
	pthread_cond_t state_changed; /* by the root's end, and by a worker's end */
	bool root_ended;
	struct thread_record *threads;
	bool left_behind; /* a thread did not end in time: nothing may be freed */

	struct qmt_ctx *control; /* for the thread that stops and frees the system */

	struct depot depots[CLASSES];
};

static inline void count_one(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, RELAXED);
}

static inline bool ctx_is_worker(const struct qmt_ctx *ctx)
{
	return ctx->kind == CTX_WORKER;
}

_Noreturn void qmt__invariant_broken(struct qmt_ctx *ctx, const char *what, const char *file, int line);

/* Monotonic; in a seeded system the virtual clock. */
static inline uint64_t now_ns(const struct qmt_ctx *ctx)
{
	return qmt_os_now_ns(ctx->sys->os);
}

enum { NS_PER_US = 1000, NS_PER_MS = 1000000 };

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static inline void spin_lock(_Atomic uint32_t *lock)
{
	while (atomic_exchange_explicit(lock, 1, ACQUIRE))
		while (atomic_load_explicit(lock, RELAXED))
			cpu_relax();
}

static inline void spin_unlock(_Atomic uint32_t *lock)
{
	atomic_store_explicit(lock, 0, RELEASE);
}

/* ---- what the files of the core call in each other --------------------------------------------------------------- */

/* turn.c */
void qmt__turn(struct qmt_ctx *ctx, struct qmt_actor *a);
uint64_t qmt__set_aside(struct qmt_ctx *ctx, struct qmt_actor *a);
/* Puts urgent messages that were sorted out back in front of `local`: for who ends the actor. */
void qmt__urgent_to_local(struct qmt_actor *a);

/* actor.c */
int qmt__actor_new(struct qmt_ctx *ctx, const struct qmt_actor_desc *desc, const struct qmt_spawn *opt,
	struct qmt_actor **ret_actor, struct qmt_err *err);
struct actor_ext *qmt__actor_need_ext(struct qmt_actor *a); /* NULL: out of memory */
void qmt__actor_ext_free(struct actor_ext *ext);
/* For what `who` is to keep in its ext: the room for that, when it has none yet (else *ret_spare is NULL), so that it
 * is the caller who fails without memory. A message takes it along. 0; -ENOMEM. */
int qmt__ext_bring(struct qmt_ref who, struct actor_ext **ret_spare);
/* On the turn of `a`, which still is whom it was brought for. Takes *spare. Never NULL. */
struct actor_ext *qmt__ext_take(struct qmt_ctx *ctx, struct qmt_actor *a, struct actor_ext **spare);
/* The first of its names, "" without one. Any thread. Returns room. */
const char *qmt__actor_name(struct qmt_system *sys, struct qmt_actor *a, char room[ACTOR_NAME_SHOWN]);
/* The same while the registry's lock is held; NULL without one. */
const char *qmt__actor_name_locked(struct qmt_actor *a, char room[ACTOR_NAME_SHOWN]);
/* "module.message". Also for a type that is another descriptor's, as who looks from outside may see: "(unknown)". */
const char *qmt__message_name(const struct qmt_actor_desc *desc, uint16_t type);
void qmt__link_child(struct qmt_actor *parent, struct qmt_actor *child);

/* params.c: parses parameters into the image of a state. Returns 0 and *ret_image (NULL: no parameters). */
int qmt__params_image(const struct qmt_actor_desc *desc, const struct qmt_param_value *values, void **ret_image,
	struct qmt_err *err);

/* supervisor.c */
bool qmt__end_step(struct qmt_ctx *ctx, struct qmt_actor *a); /* false: the actor is not ours any more */
void qmt__start_incarnation(struct qmt_ctx *ctx, struct qmt_actor *a);
void qmt__reap(struct qmt_ctx *ctx, struct qmt_actor *a);
void qmt__cycle_pending(struct qmt_ctx *ctx, struct qmt_actor *a, uint32_t pending);
/* Answers the asks of a list and drops its replies; returns the rest and sets local_last to its end. Adds to
 * *handled. */
struct qmt_msg *qmt__bounce_asks(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m, uint32_t *handled);
void qmt__bury(struct qmt_ctx *ctx, struct qmt_actor *a, int reason);
/* at the end of the system: as if it had ended, without its hooks */
void qmt__abandon(struct qmt_ctx *ctx, struct qmt_actor *a);
void qmt__fail_text(struct qmt_ctx *ctx, const char *format, ...) QMT_PRINTF(2, 3);

/* send.c */
/* 0 or QMT_FAIL_NOT_RUNNING: m is still yours */
int qmt__system_push(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m);
/* takes m */
void qmt__undeliver(struct qmt_ctx *ctx, const struct qmt_actor_desc *desc, struct qmt_msg *m, int reason);
void qmt__bounced(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m);
void qmt__waiters_release(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *closed);
void qmt__mute(struct qmt_ctx *ctx, struct qmt_actor *a);
void qmt__unmute(struct qmt_ctx *ctx, struct qmt_actor *a);

/* waits.c */
/* The turn of the one whose ext it is waits from now on. */
void qmt__wait_begin(struct qmt_ctx *ctx, struct actor_ext *ext, enum wait_kind kind, struct qmt_ref on);
void qmt__wait_end(struct actor_ext *ext, enum wait_kind kind);
/* After `a` shows that it waits: whether that has closed a circle. */
void qmt__wait_look(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_actor *on);
void qmt__suspect_message(struct qmt_ctx *ctx, struct qmt_actor *root, struct qmt_msg *m); /* takes m */

/* slow.c */
int qmt__slow_start(struct qmt_system *sys);
void qmt__slow_begin(struct qmt_system *sys);
void qmt__slow_stop(struct qmt_system *sys);
void qmt__slow_free(struct qmt_system *sys);
uint64_t qmt__slow_ms(struct qmt_system *sys, struct qmt_actor *a); /* 0: no handler of it is too slow */

/* outgoing.c */
struct outgoing_box {
	struct qmt_outgoing out;
	struct qmt_msg *inner; /* the body's message, when it was not copied */
	_Alignas(16) uint64_t deadline_ns; /* of a tell: not to be handed to the link later than this; 0: none */
};
int qmt__outgoing_tell(struct qmt_ctx *ctx, struct qmt_ref link, const struct qmt_type *type, const void *body,
	struct qmt_msg *inner, uint64_t deadline_ns);
int qmt__outgoing_ask(struct qmt_ctx *ctx, struct qmt_ref link, const struct qmt_type *type, const void *body,
	struct qmt_msg *inner, struct ask *ask, uint64_t timeout_ms);
/* To the actor called `name` behind the link that is called peer/<peer>. */
int qmt__outgoing_tell_name(struct qmt_ctx *ctx, const char *peer, const char *name, const struct qmt_type *type,
	const void *body);
int qmt__outgoing_ask_name(struct qmt_ctx *ctx, const char *peer, const char *name, const struct qmt_type *type,
	const void *body, struct ask *ask, uint64_t timeout_ms);
int qmt__outgoing_forward(struct qmt_ctx *ctx, struct qmt_ref link, const struct qmt_type *type, struct qmt_msg *m);

/* ask.c */
void qmt__ask_answered(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m);
struct qmt_ref qmt__ask_owner(struct ask *ask, uint32_t gen); /* unset: from outside, or over */
void qmt__ask_fail(struct qmt_ctx *ctx, struct qmt_token token, int fail);
/* For await.c: an ask of which the message is no body of a type. */
struct ask *qmt__ask_open_plain(struct qmt_ctx *ctx, uint64_t timeout_ms, qmt_continuation *then, void *arg);
void qmt__ask_close(struct qmt_ctx *ctx, struct ask *ask); /* of ctx->cur */
void qmt__ask_return(struct qmt_ctx *ctx, struct qmt_token token, struct qmt_msg *m); /* m is a reply; takes it */
void qmt__asks_release(struct qmt_ctx *ctx, struct qmt_actor *a);
bool qmt__exclusive_is_answered(struct qmt_actor *a, const struct qmt_msg *m);
void qmt__exclusive_answered(struct qmt_ctx *ctx, struct qmt_actor *a);
uint64_t qmt__asks_due(struct qmt_ctx *ctx, struct qmt_actor *a, uint64_t now); /* next deadline, 0: none */

/* timer.c */
int qmt__timers_init(struct qmt_system *sys);
void qmt__timers_fini(struct qmt_system *sys);
void qmt__timer_arm(struct qmt_ctx *ctx, struct qmt_actor *a, uint64_t at_ns);
void qmt__timer_forget(struct qmt_ctx *ctx, struct qmt_actor *a);
void qmt__timers_fire(struct qmt_ctx *ctx, uint64_t now);
void qmt__timers_due(struct qmt_ctx *ctx, struct qmt_actor *a);
void qmt__timers_release(struct qmt_ctx *ctx, struct qmt_actor *a);

/* registry.c */
int qmt__registry_init(struct qmt_system *sys);
void qmt__registry_fini(struct qmt_system *sys);
int qmt__registry_add(struct qmt_system *sys, const char *name, struct qmt_actor *a);
void qmt__registry_drop(struct qmt_system *sys, struct qmt_actor *a); /* all names; ext is free to go afterwards */
const char *qmt__name_text(const struct name_entry *name);
/* Finds prefix + name. True: the name stays with who has it until qmt__registry_release, which comes soon. */
bool qmt__registry_hold(struct qmt_system *sys, const char *prefix, const char *name, struct qmt_ref *ret_ref);
void qmt__registry_release(struct qmt_system *sys);
/* What the holder of prefix + name says of itself: see qmt_peer_up. */
void qmt__registry_note(struct qmt_system *sys, const char *prefix, const char *name, bool shares);
/* fn for each name that begins so, under the lock: it only takes notes. name: what follows the prefix. */
void qmt__registry_each(struct qmt_system *sys, const char *prefix,
	void (*fn)(void *arg, const char *name, struct qmt_ref ref, bool shares), void *arg);

/* monitor.c */
void qmt__monitor_message(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m); /* takes m */
void qmt__monitors_release(struct qmt_ctx *ctx, struct qmt_actor *a);
void qmt__watchers_tell(struct qmt_ctx *ctx, struct actor_ext *ext, int reason);

/* link.c */
void qmt__link_message(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m); /* takes m */
void qmt__links_started(struct qmt_ctx *ctx, struct qmt_actor *a);                   /* `start` has returned 0 */
void qmt__links_release(struct qmt_ctx *ctx, struct actor_ext *ext, int reason);

/* await.c */
void qmt__await_message(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m); /* takes m */
void qmt__await_started(struct qmt_ctx *ctx, struct qmt_actor *a);
void qmt__await_ended(struct qmt_ctx *ctx, struct actor_ext *ext, int reason);
void qmt__await_gone(struct qmt_ctx *ctx, struct qmt_msg *m, int reason); /* takes m */

/* job.c */
int qmt__jobs_init(struct qmt_system *sys, uint32_t limit);
void qmt__jobs_quit(struct qmt_system *sys);
void qmt__jobs_fini(struct qmt_system *sys);
void qmt__job_done(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m); /* takes m */
void qmt__job_drop(struct qmt_msg *m);
struct qmt_msg *qmt__job_message(struct job *job);
int qmt__job_detached(struct qmt_ctx *ctx, void (*run)(void *arg), void *arg);
void qmt__job_run(struct qmt_ctx *ctx, struct job *job); /* seeded: on this thread */

/* fd.c */
void qmt__fd_ready(struct qmt_ctx *ctx, uint64_t data, uint32_t events);
void qmt__fd_event(struct qmt_ctx *ctx, struct qmt_actor *a, struct qmt_msg *m); /* takes m */
void qmt__fds_release(struct qmt_ctx *ctx, struct qmt_actor *a);

/* child.c */
void qmt__children_release(struct qmt_ctx *ctx, struct qmt_actor *a);

/* own_thread.c */
int qmt__host_init(struct qmt_ctx *ctx);
void qmt__host_fini(struct qmt_ctx *ctx);
void qmt__host_wake(struct qmt_ctx *host);
bool qmt__host_wait(struct qmt_ctx *host); /* until its actor is to run; false: quit */
int qmt__own_thread_start(struct qmt_ctx *ctx, struct qmt_actor *a);
void qmt__own_thread_quit(struct qmt_ctx *host);
/* joins what has ended */
int qmt__thread_add(struct qmt_system *sys, const char *name, void (*run)(void *record), struct qmt_ctx *ctx);
void qmt__thread_ended(struct qmt_system *sys, struct thread_record *record); /* a thread's last act */
bool qmt__threads_join(struct qmt_system *sys, uint64_t until_ns); /* false: some are left */

/* outside.c */
extern const struct qmt_actor_desc qmt__outside_desc;

/* system.c */
struct qmt_ctx *qmt__ctx_new(struct qmt_system *sys, enum ctx_kind kind);
struct qmt_ctx *qmt__ctx_free(struct qmt_ctx *ctx);
void qmt__root_ended(struct qmt_system *sys);

/* sim.c */
int qmt__sim_init(struct qmt_system *sys);
void qmt__sim_fini(struct qmt_system *sys);
void qmt__sim_schedule(struct sim *sim, struct qmt_actor *a);
int qmt__sim_job(struct sim *sim, struct job *job);
bool qmt__sim_step(struct qmt_system *sys, uint64_t until_ns); /* false: nothing left before until_ns */
void qmt__sim_taken(struct sim *sim, const struct qmt_msg *m);
struct qmt_ctx *qmt__sim_ctx(struct sim *sim); /* the handle of all turns */

#endif
