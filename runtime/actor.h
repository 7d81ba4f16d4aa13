/* runtime/actor.h - all that the author of an actor module includes.
 *
 * An actor is one `const struct qmt_actor_desc` plus a state that the runtime allocates, zeroes and frees.
 * Threads:   one worker at a time runs an actor; state needs no lock. `ctx` is valid until the handler returns and only
 *            on its thread (an outside thread has its own, see system.h).
 * Blocks:    a handler never blocks, sleeps or takes a lock. Blocking work goes to qmt_job, or the actor is spawned
 *            with own_thread. Timers, jobs, descriptors, children and replies come back as calls on the actor's own
 *            turn.
 * Order:     lanes: system, urgent, normal. FIFO per sender, receiver and lane. Replies take the normal lane.
 * Ownership: what a send is given is copied (deeply, along the field table) into one allocation; the runtime frees it
 *            after the handler unless qmt_keep was called. Pointers in a received body live exactly as long as it does.
 * Failure:   qmt_fail (or a start hook that returns non-zero) ends the incarnation; the parent restarts it by its
 *            policy. The mailbox survives a restart: tells are kept, asks are answered QMT_FAIL_RESTARTING.
 * Refs:      are weak: they keep nobody alive, are not counted, and need no release. One to an actor that has ended
 *            stays harmless for ever, by its generation: sends to it return QMT_FAIL_NOT_RUNNING. An actor lives until
 *            it stops, is stopped, is killed, or gives up; its parent's end is its own.
 */
#ifndef QMT_ACTOR_H
#define QMT_ACTOR_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/log.h"
#include "message.h"

#ifdef __cplusplus
extern "C" {
#endif

#define QMT_ABI 1

struct qmt_ctx;    /* the worker that runs the current turn, or an outside thread's handle */
struct qmt_msg;    /* a message that somebody owns */
struct qmt_system;

/* Why a send or an ask did not succeed. Codes travel on the wire: append only. (table: runtime/failures.def) */
enum qmt_fail {
#define QMT_FAILURE(name, value, text, doc) QMT_FAIL_##name = value,
#include "failures.def"
#undef QMT_FAILURE
};
QMT_EXPORT const char *qmt_fail_name(int code); /* "mailbox full"; "unknown failure" for others */

/* ---- the descriptor ---------------------------------------------------------------------------------------------- */

/* body: the struct of the message type that this handler stands for. */
typedef void qmt_handler(struct qmt_ctx *ctx, void *state, const void *body);

/* The protocols that an actor understands; handlers[i] serves the protocol's message with index i, NULL: refused. */
struct qmt_accept {
	const struct qmt_protocol *protocol;
	qmt_handler *const *handlers;
};
enum { QMT_ACCEPTS_MAX = 4 };

enum qmt_restart { QMT_TEMPORARY, QMT_TRANSIENT, QMT_PERMANENT }; /* never / after a failure / always */

/* Who is restarted when a child is to be. The others are ended as by qmt_stop, newest first, each after the one before
 * has ended, then all are started in the order in which they were spawned, each after the `start` of the one before.
 * Temporary ones are ended and not started again. A child that ends for good touches nobody.
 *   ONE_FOR_ONE   only the child: the children do not depend on each other. When their parent ends, all end at once.
 *   ONE_FOR_ALL   all children. When their parent ends, they end newest first.
 *   REST_FOR_ONE  the child and those that were spawned after it; otherwise as ONE_FOR_ALL. */
enum qmt_strategy { QMT_ONE_FOR_ONE, QMT_ONE_FOR_ALL, QMT_REST_FOR_ONE };

enum { QMT_RESTARTS_MAX = 1 << 16 };

/* What an actor does about its children. Zero fields mean the defaults in []. */
struct qmt_supervision {
	/* [5] over all children in a true sliding window (those that are restarted along with one do not count); one more,
	 * or no memory to note it, fails the supervisor itself. At most QMT_RESTARTS_MAX. */
	uint32_t max_restarts;
	uint32_t window_ms;    /* [5000] */
	uint32_t backoff_ms;   /* [0] wait before a restart, doubled each time within the window, with jitter */
	uint32_t backoff_max_ms; /* [backoff_ms * 64] */
	uint8_t strategy;      /* enum qmt_strategy */
};

enum qmt_param_kind { QMT_PARAM_BOOL, QMT_PARAM_U32, QMT_PARAM_U64, QMT_PARAM_STR };

/* A parameter of a module: filled into the state before `start`, at each (re)start. STR fields are `const char *` and
 * live as long as the actor. Closed by name == NULL. */
struct qmt_param {
	const char *name;
	uint32_t kind; /* enum qmt_param_kind */
	uint32_t offset;
	const char *dflt; /* text form; NULL: must be given */
	uint64_t min, max; /* of numbers; max 0: no bound */
	const char *doc;
};

/* What a send over the bound meets. Replies pass every bound.
 *   BLOCK     taken, and the *sending actor* handles nothing until the mailbox is half empty (it can still be stopped).
 *             Links and outside threads are not made to wait: QMT_FAIL_FULL.
 *   REFUSE    QMT_FAIL_FULL.
 *   DROP_NEW  a tell vanishes; an ask, for which somebody waits, gets QMT_FAIL_FULL.
 *   DROP_OLD  taken; the oldest ones go when the actor takes messages, asks among them are answered QMT_FAIL_FULL. */
enum qmt_overflow { QMT_BLOCK, QMT_REFUSE, QMT_DROP_NEW, QMT_DROP_OLD };

struct qmt_outgoing; /* port.h */
struct qmt_bond;     /* port.h */

struct qmt_actor_desc {
	uint32_t abi;        /* QMT_ABI */
	const char *name;    /* kind: "session" */
	const char *doc;
	uint32_t state_size;
	uint32_t bound;      /* messages in the normal lane; 0: unbounded (refused beyond 2^21) */
	uint8_t overflow;    /* enum qmt_overflow, at the bound */
	/* Actors of other nodes that hold a ref to it may link with it (qmt_link), so their ends, and that of the
	 * connection, are its own unless link_died says otherwise. False: they are told QMT_FAIL_NOT_ALLOWED. */
	bool remote_links;
	const struct qmt_param *params;        /* may be NULL */
	struct qmt_supervision supervision;    /* of its children */
	struct qmt_accept accepts[QMT_ACCEPTS_MAX];

	/* Hooks, all optional. */
	/* Before the first message, at each incarnation. config: the pointer given at spawn. Non-zero: failed. */
	int (*start)(struct qmt_ctx *ctx, void *state, const void *config);
	/* Last call of an incarnation (stop or failure, children already gone): release what state holds. */
	void (*stop)(struct qmt_ctx *ctx, void *state);
	/* A child ended for good or is restarted. reason: enum qmt_fail, 0 for a wanted end (also of a child that is
	 * restarted along with another), QMT_FAIL_CANCELLED after qmt_kill. */
	void (*child_ended)(struct qmt_ctx *ctx, void *state, struct qmt_ref child, int reason, bool restarted);
	/* A monitored actor ended (see qmt_monitor). */
	void (*down)(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason);
	/* An actor linked to this one has ended (see qmt_link; the link is gone). True: go on. False, or without the hook:
	 * this one ends too, after a failure (reason not 0) as failed. */
	bool (*link_died)(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason);
	/* A tell of this actor could not be delivered after it had been accepted (the receiver ended with it in its
	 * mailbox, the link died, it was dropped at a bound). Without memory for the way back it is only counted. */
	void (*undelivered)(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body, int reason);
	/* Runs after qmt_again, when others had their turn. */
	void (*again)(struct qmt_ctx *ctx, void *state);
	/* Runs at the end of a turn that called qmt_want_flush. */
	void (*flush)(struct qmt_ctx *ctx, void *state);
	/* Link actors only (port.h): gets everything sent to refs with rid != 0 and to names behind it. */
	void (*outgoing)(struct qmt_ctx *ctx, void *state, const struct qmt_outgoing *out);
	/* Link actors only: what becomes of links (qmt_link) between an actor here and one behind it. Of MADE: 0, or the
	 * enum qmt_fail that the actor here is told with its link_died. */
	int (*bond)(struct qmt_ctx *ctx, void *state, const struct qmt_bond *bond);
};

/* ---- spawn and stop ---------------------------------------------------------------------------------------------- */

struct qmt_param_value {
	const char *name, *value;
};

struct qmt_spawn {
	const char *name;             /* local registry name, registered before start; NULL: none. Copied. */
	const void *config;           /* borrowed until the actor has ended; handed to start at each incarnation */
	const struct qmt_param_value *params; /* closed by name == NULL; may be NULL. Copied. */
	uint8_t restart;              /* enum qmt_restart */
	bool own_thread;              /* runs on a thread of its own and may block; in a seeded system as any other */
};

/* Starts a child of the current actor (outside: of the root). opt may be NULL. Returns 0; QMT_FAIL_NAME_TAKEN,
 * QMT_FAIL_BAD_REQUEST (a parameter, the descriptor: wrong ABI, no handlers, a protocol twice, ...; reason in err,
 * which may be NULL), QMT_FAIL_STOPPING; <0 out of memory. Then nothing was started. */
QMT_EXPORT QMT_MUST_CHECK int qmt_spawn(struct qmt_ctx *ctx, const struct qmt_actor_desc *desc,
	const struct qmt_spawn *opt, struct qmt_ref *ret_ref, struct qmt_err *err);
QMT_EXPORT struct qmt_ref qmt_self(struct qmt_ctx *ctx);
QMT_EXPORT struct qmt_ref qmt_parent(struct qmt_ctx *ctx);
QMT_EXPORT struct qmt_system *qmt_system_of(struct qmt_ctx *ctx);
/* Ends this actor after the handler, children first. */
QMT_EXPORT void qmt_stop_self(struct qmt_ctx *ctx);
/* Asks another to end as by qmt_stop_self; passes its bound. By its parent: for good, whatever its restart policy says.
 * Returns 0 or QMT_FAIL_NOT_RUNNING; <0 out of memory. */
QMT_EXPORT int qmt_stop(struct qmt_ctx *ctx, struct qmt_ref who);
/* Ends an actor and its children for good, whoever asks and whatever its restart policy says, with reason
 * QMT_FAIL_CANCELLED. What waits in its mailbox is not handled but undelivered; only the turn that runs at the moment
 * goes on (a handler cannot be broken off; at most 256 messages). Its `stop` hook runs. As qmt_stop. */
QMT_EXPORT int qmt_kill(struct qmt_ctx *ctx, struct qmt_ref who);
/* This incarnation failed, after the handler; the text is logged with the restart. The ask that is being handled gets
 * QMT_FAIL_NO_REPLY, unless it was answered. */
QMT_EXPORT void qmt_fail(struct qmt_ctx *ctx, const char *format, ...) QMT_PRINTF(2, 3);

static inline bool qmt_ref_is_set(struct qmt_ref ref)
{
	return ref.actor != NULL;
}
static inline bool qmt_ref_eq(struct qmt_ref a, struct qmt_ref b)
{
	return a.actor == b.actor && a.gen == b.gen && a.rid == b.rid;
}

/* ---- tell and ask ------------------------------------------------------------------------------------------------ */

/* Copies *body (a struct of `type`) and queues it. Returns 0; QMT_FAIL_NOT_RUNNING, _FULL, _UNKNOWN_MESSAGE, _NO_ROUTE;
 * <0 out of memory. With a bounded target and QMT_BLOCK it is accepted and the *sending actor* waits. */
QMT_EXPORT int qmt_tell(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body);
/* The same in the urgent lane: before all normal messages that the receiver has not begun to handle, FIFO among
 * urgent ones, behind system messages. Counts for the bound as any. The receiver looks at the start of its turn and
 * when it has used up what it had taken, so at most a turn (256 messages) later. It handles at most 256 urgent ones in
 * a row while a normal one waits: a flood does not starve the normal lane. qmt_hold and qmt_ask_exclusive do not hold
 * this lane. Behind a link, and for a receiver without memory to sort, it is as qmt_tell. */
QMT_EXPORT int qmt_tell_urgent(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body);
/* The same as qmt_tell, but never makes the sending actor wait: QMT_FAIL_FULL at a QMT_BLOCK bound. */
QMT_EXPORT int qmt_try_tell(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body);
/* The same as qmt_tell, but the message counts for within_ms only: the receiver does not handle it later, and then it
 * comes back to `undelivered` with QMT_FAIL_DEADLINE (as soon as its place in the mailbox is reached). Behind a link:
 * until the link takes it. 0: QMT_FAIL_DEADLINE at once. At most 2^32 - 1 ms. */
QMT_EXPORT int qmt_tell_within(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body,
	uint64_t within_ms);
/* qmt_tell to `count` actors, in this order. A body over 32 bytes is copied once and shared: nobody may write to it,
 * not even after qmt_keep. Returns how many it failed for; ret_outcomes (NULL, or `count` long) says why: as
 * qmt_tell. */
QMT_EXPORT uint32_t qmt_tell_all(struct qmt_ctx *ctx, const struct qmt_ref *to, uint32_t count,
	const struct qmt_type *type, const void *body, int *ret_outcomes);
/* As qmt_tell, later; cancelled when this actor ends. Returns 0 or <0. */
QMT_EXPORT int qmt_tell_after(struct qmt_ctx *ctx, uint64_t delay_ms, struct qmt_ref to, const struct qmt_type *type,
	const void *body);
#define QMT_TELL(ctx, to, msg, ...) qmt_tell(ctx, to, &msg##_type, &(struct msg){__VA_ARGS__})

/* What came of an ask. Valid until the continuation returns. */
struct qmt_result {
	int fail;                     /* 0, or enum qmt_fail */
	const struct qmt_type *type;  /* of the reply, when fail == 0 */
	const void *body;             /* the reply, when fail == 0 */
	struct qmt_str kind;          /* class of an application error, e.g. "rate_limited" */
	struct qmt_str text;          /* for people */
	uint64_t retry_after_ms;      /* 0: unknown */
};
typedef void qmt_continuation(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg);

enum { QMT_ASK_DEFAULT_MS = 5000 };

/* Asks; `then` runs exactly once on this actor's turn (with QMT_FAIL_DEADLINE after timeout_ms; 0: the default), unless
 * this incarnation ends before. Other messages are served meanwhile. On failure to send, `then` is NOT called and the
 * reason is returned, as in qmt_tell. arg: borrowed, any. */
QMT_EXPORT QMT_MUST_CHECK int qmt_ask(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type,
	const void *body, uint64_t timeout_ms, qmt_continuation *then, void *arg);
#define QMT_ASK(ctx, to, timeout_ms, then, arg, msg, ...) \
	qmt_ask(ctx, to, &msg##_type, &(struct msg){__VA_ARGS__}, timeout_ms, then, arg)
/* Like qmt_ask, and until `then` was called this actor takes no normal message, other replies neither; system and
 * urgent lane, timers, descriptors and jobs go on. For handlers whose state must not change meanwhile. A circle of such
 * asks ends with the first deadline, and is reported (system.h, deadlock_ms). The answer passes qmt_hold.
 * QMT_FAIL_BAD_REQUEST: of itself, or another one is under way. */
QMT_EXPORT QMT_MUST_CHECK int qmt_ask_exclusive(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type,
	const void *body, uint64_t timeout_ms, qmt_continuation *then, void *arg);
/* Like qmt_ask, but a failure to send reaches `then` too (later, on a turn of its own). Without memory even for
 * that the incarnation fails. For callers with one error path. */
QMT_EXPORT void qmt_ask_or(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type, const void *body,
	uint64_t timeout_ms, qmt_continuation *then, void *arg);

/* Right to answer an ask: plain data, may be stored and used once; a late or second use is dropped. */
struct qmt_token {
	void *ask;
	uint32_t gen;
};
/* The token of the message that is being handled; .ask == NULL when it was a tell. */
QMT_EXPORT struct qmt_token qmt_token(struct qmt_ctx *ctx);
/* Answers. The type must be of the request's protocol. Returns 0, or <0 out of memory. No asker: nothing happens. */
QMT_EXPORT int qmt_reply(struct qmt_ctx *ctx, struct qmt_token token, const struct qmt_type *type, const void *body);
#define QMT_REPLY(ctx, token, msg, ...) qmt_reply(ctx, token, &msg##_type, &(struct msg){__VA_ARGS__})
/* Answers with a failure; kind may be NULL. text by printf. */
QMT_EXPORT int qmt_reply_fail(struct qmt_ctx *ctx, struct qmt_token token, int fail, const char *kind,
	uint64_t retry_after_ms, const char *format, ...) QMT_PRINTF(6, 7);
/* Passes an outcome on as it is (a relay's continuation). */
QMT_EXPORT int qmt_reply_result(struct qmt_ctx *ctx, struct qmt_token token, const struct qmt_result *result);
/* Hands the message that is being handled to another actor; its answer goes to the first asker. As qmt_tell. */
QMT_EXPORT int qmt_forward(struct qmt_ctx *ctx, struct qmt_ref to);
/* Takes the message being handled over from the runtime: its body stays valid until qmt_msg_free. NULL outside a
 * handler. */
QMT_EXPORT struct qmt_msg *qmt_keep(struct qmt_ctx *ctx);
QMT_EXPORT void qmt_msg_free(struct qmt_ctx *ctx, struct qmt_msg *msg); /* NULL is fine */
/* Who sent the message being handled; unset for asks from outside and replies. */
QMT_EXPORT struct qmt_ref qmt_sender(struct qmt_ctx *ctx);

/* ---- names and peers --------------------------------------------------------------------------------------------- */

/* Local registry: text -> ref; gone when the actor ends, kept over its restarts. A name it has already is fine. Returns
 * 0, QMT_FAIL_NAME_TAKEN, <0 (out of memory, or called from outside). */
QMT_EXPORT QMT_MUST_CHECK int qmt_register(struct qmt_ctx *ctx, const char *name);
QMT_EXPORT void qmt_unregister(struct qmt_ctx *ctx, const char *name); /* only this actor's own names */
/* 0 or QMT_FAIL_UNKNOWN_ACTOR */
QMT_EXPORT QMT_MUST_CHECK int qmt_lookup(struct qmt_ctx *ctx, const char *name, struct qmt_ref *ret_ref);
/* Sends to a *name* on a peer (PeerId text); empty or NULL peer: this node. The link in use is the one registered as
 * "peer/<PeerId>" at this moment; none: QMT_FAIL_NO_ROUTE. Nobody of that name: QMT_FAIL_UNKNOWN_ACTOR, of a peer as
 * the answer. */
QMT_EXPORT int qmt_tell_name(struct qmt_ctx *ctx, const char *peer, const char *name, const struct qmt_type *type,
	const void *body);
QMT_EXPORT QMT_MUST_CHECK int qmt_ask_name(struct qmt_ctx *ctx, const char *peer, const char *name,
	const struct qmt_type *type, const void *body, uint64_t timeout_ms, qmt_continuation *then, void *arg);
/* `down` is called once when `who` ends (for a ref behind a link: or the link does). Already gone: called soon. */
QMT_EXPORT QMT_MUST_CHECK int qmt_monitor(struct qmt_ctx *ctx, struct qmt_ref who);
QMT_EXPORT void qmt_demonitor(struct qmt_ctx *ctx, struct qmt_ref who);
/* Links this incarnation and that of `who`: when one of them ends, restarted afterwards or not, so does the other (see
 * the hook link_died). A link holds once; a restarted actor links again. Already gone: as if it ended soon. A muted
 * actor is told at once. Each link that both made is one of its own.
 * An actor behind a link to a peer: as one here, if its descriptor says remote_links; what stands in the way comes as
 * the reason of link_died: NOT_ALLOWED, NOT_RUNNING, FULL (bonds_max of the link, here or there), UNKNOWN_MESSAGE (the
 * peer's version knows no links), PEER_GONE (the connection has ended: both sides are told). What a sender told before
 * it ended may arrive after that.
 * Returns 0; QMT_FAIL_NO_ROUTE: the port knows no links; <0 (out of memory, itself, nobody, or called from outside). */
QMT_EXPORT QMT_MUST_CHECK int qmt_link(struct qmt_ctx *ctx, struct qmt_ref who);
/* Undoes what this actor linked, and what `who` linked with it: after this link_died is not called for it. */
QMT_EXPORT void qmt_unlink(struct qmt_ctx *ctx, struct qmt_ref who);
/* `then` runs once when the `start` of who has returned 0 (fail 0; at once if it has), or when it ended before that
 * (fail is the reason), or after timeout_ms as in an ask. A start that fails and is tried again is waited for. Returns
 * 0; QMT_FAIL_NOT_RUNNING, QMT_FAIL_NO_ROUTE (behind a link to a peer); <0. To hear of an end: qmt_monitor, or: */
QMT_EXPORT QMT_MUST_CHECK int qmt_await_start(struct qmt_ctx *ctx, struct qmt_ref who, uint64_t timeout_ms,
	qmt_continuation *then, void *arg);
/* The same when who has ended for good: fail is the reason, 0 for a wanted end, text of a failure says more.
 * QMT_FAIL_DEADLINE: it has not. */
QMT_EXPORT QMT_MUST_CHECK int qmt_await_end(struct qmt_ctx *ctx, struct qmt_ref who, uint64_t timeout_ms,
	qmt_continuation *then, void *arg);

/* ---- time, random, log ------------------------------------------------------------------------------------------- */

QMT_EXPORT uint64_t qmt_now_ms(struct qmt_ctx *ctx);      /* monotonic */
QMT_EXPORT uint64_t qmt_now_ns(struct qmt_ctx *ctx);      /* monotonic */
QMT_EXPORT uint64_t qmt_wall_ms(struct qmt_ctx *ctx);     /* since the epoch */
QMT_EXPORT void qmt_random(struct qmt_ctx *ctx, void *ret_bytes, size_t len);
QMT_EXPORT void qmt_uuid(struct qmt_ctx *ctx, char ret_text[37]); /* version 7, lower case */
QMT_EXPORT const struct qmt_log *qmt_log_of(struct qmt_ctx *ctx);
#define QMT_LOG(ctx, level, ...) qmt_log(qmt_log_of(ctx), level, __VA_ARGS__, NULL)

struct qmt_timer { /* plain data; {0} is no timer */
	uint64_t id;
};
typedef void qmt_timer_fn(struct qmt_ctx *ctx, void *state, void *arg);
/* Calls fn once after delay_ms on this actor's turn; gone when the incarnation ends. Returns 0 or <0. ret_timer may
 * be NULL. */
QMT_EXPORT int qmt_timer_start(struct qmt_ctx *ctx, uint64_t delay_ms, qmt_timer_fn *fn, void *arg,
	struct qmt_timer *ret_timer);
/* After this fn is not called. A timer that has fired, or {0}: nothing happens. Sets *timer to {0}. */
QMT_EXPORT void qmt_timer_cancel(struct qmt_ctx *ctx, struct qmt_timer *timer);

/* ---- traces ------------------------------------------------------------------------------------------------------ */

/* A trace is a number that follows one piece of work; 0: none. What is sent while a trace is set carries it: every kind
 * of tell and ask, on every node that it comes to. It is set while an actor handles a message that carries one, in the
 * continuation of an ask that was made with one (also when the deadline tells), in `done` of a job and in `done` and
 * `output` of a child that were started with one, in `undelivered` of a tell that carried one. Everywhere else there is
 * none: timers (also qmt_tell_after), descriptors, the other hooks and a new actor's start belong to nobody's work.
 * A message keeps its trace when it is kept, forwarded or waits for a restart; one that was made by hand (port.h) has
 * the trace of when it was made. Answers need none: the asker knows.
 * Lines that are logged meanwhile (QMT_LOG) end in trace=<16 hex digits>.
 * It is a label and no proof: whoever sends a message chooses it. */
QMT_EXPORT uint64_t qmt_trace(struct qmt_ctx *ctx);
/* Sets it until this call of the module returns; from outside until it is set again. */
QMT_EXPORT void qmt_trace_set(struct qmt_ctx *ctx, uint64_t trace);
/* One to begin with, made of the text that the work is known by (the id of a request): the same for the same text, so
 * who repeats a request goes on with its trace, and who knows the id can find the lines. Never 0. */
QMT_EXPORT uint64_t qmt_trace_of(struct qmt_str text);

/* ---- turns ------------------------------------------------------------------------------------------------------- */

QMT_EXPORT void qmt_again(struct qmt_ctx *ctx);          /* run the `again` hook once after the others had their turn */
QMT_EXPORT void qmt_want_flush(struct qmt_ctx *ctx);      /* run the `flush` hook before this turn ends */
/* Take no normal messages, replies neither, until qmt_hold(ctx, false). Urgent ones go on. */
QMT_EXPORT void qmt_hold(struct qmt_ctx *ctx, bool on);

/* ---- jobs: descriptors, blocking work, children ------------------------------------------------------------------ */

enum { QMT_FD_READ = 1, QMT_FD_WRITE = 2, QMT_FD_EDGE = 4, QMT_FD_HANGUP = 8 /* only reported */ };
typedef void qmt_fd_fn(struct qmt_ctx *ctx, void *state, int fd, uint32_t events, void *arg);
/* Calls fn on this actor's turn when fd is ready. Level-triggered unless QMT_FD_EDGE: then, after fn returned, it is
 * armed again by itself. Watching a watched fd changes events, fn and arg. fd stays yours: unwatch before close.
 * Returns 0 or <0 (errno). Gone when the incarnation ends. */
QMT_EXPORT QMT_MUST_CHECK int qmt_fd_watch(struct qmt_ctx *ctx, int fd, uint32_t events, qmt_fd_fn *fn, void *arg);
QMT_EXPORT void qmt_fd_unwatch(struct qmt_ctx *ctx, int fd); /* after this fn is not called for it */

struct qmt_job {
	void (*run)(void *arg);                                       /* on a pool thread; may block; no ctx */
	void (*done)(struct qmt_ctx *ctx, void *state, void *arg);    /* afterwards, on this actor's turn */
	void (*drop)(void *arg);                                      /* instead of done, when the incarnation ended */
};
/* Runs blocking work; exactly one of done and drop follows run (at the end of the system what did not run yet is
 * dropped without). Returns 0; <0: nothing will be called. */
QMT_EXPORT QMT_MUST_CHECK int qmt_job_start(struct qmt_ctx *ctx, const struct qmt_job *job, void *arg);

/* Output of a child as it comes. which: 1 stdout, 2 stderr. data: valid until the call returns. False: nothing more of
 * this child is read before qmt_child_resume (which does nothing within this call), so it waits when its pipes are
 * full. */
typedef bool qmt_child_output_fn(struct qmt_ctx *ctx, void *state, int which, struct qmt_bytes data, void *arg);
struct qmt_child_options {
	const char *const *argv;      /* closed by NULL; argv[0] is looked up in PATH */
	const char *const *env;       /* closed by NULL; NULL: this process's */
	const char *cwd;              /* NULL: this process's */
	int cwd_fd;                   /* > 0: start there instead of cwd */
	uint64_t output_limit_bytes;  /* per stream; what is beyond is read and dropped; 0: 1 MiB */
	uint64_t timeout_ms;          /* then the whole group is killed; 0: none */
	uint64_t cpu_seconds, memory_bytes, open_files; /* rlimits; 0: inherit */
	qmt_child_output_fn *output;  /* gets it instead of the result, without output_limit_bytes; NULL: none */
	uint32_t output_bytes;        /* at most so many a call of output; 0, or more: 16 KiB */
};
struct qmt_child_result {
	int exit_code;                /* -1 when it died by a signal */
	int signal;
	bool timed_out;
	bool out_truncated, err_truncated;
	struct qmt_str out, err;      /* valid until the call returns; empty with options.output */
	uint64_t out_total_bytes, err_total_bytes;
};
struct qmt_child { uint64_t id; };
typedef void qmt_child_fn(struct qmt_ctx *ctx, void *state, const struct qmt_child_result *result, void *arg);
/* Starts a child in its own process group (posix_spawn, CLOEXEC, stdin /dev/null, PDEATHSIG), collects its output and
 * calls done once, when it has ended and its pipes are closed (pipes that a grandchild keeps open are given 200 ms
 * in which they may be read). arg goes to done and output. The group is killed when the incarnation ends. Returns 0;
 * <0 errno with the reason in err (may be NULL). */
QMT_EXPORT QMT_MUST_CHECK int qmt_child_start(struct qmt_ctx *ctx, const struct qmt_child_options *opt,
	qmt_child_fn *done, void *arg, struct qmt_child *ret_child, struct qmt_err *err);
/* After `output` returned false: goes on reading. Returns 0, also when the child is over or is being read; <0: out of
 * memory, still paused. */
QMT_EXPORT QMT_MUST_CHECK int qmt_child_resume(struct qmt_ctx *ctx, struct qmt_child child);
/* Sends a signal to the group; done still follows. */
QMT_EXPORT void qmt_child_kill(struct qmt_ctx *ctx, struct qmt_child child, int signal);

#ifdef __cplusplus
}
#endif

#endif
