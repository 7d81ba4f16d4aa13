/* actors/session/turn.h - one turn: from a user's prompt to the final answer, as a state machine.
 *
 *            prompt                 begun            pages           resolved        accepted, chunk
 *   IDLE ------------> STORING_PROMPT ----> LOADING ------> ROUTING ---------> ASKING ----------> STREAMING
 *     ^    refused, dup. |   ^ busy, nobody runs   ^   ^       ^                 |                  |   |
 *     +------------------+   v                     |   |       | time   WAITING <+-- may be retried-+   |
 *     ^             RECOVERING (ends a turn that   |   |       +----------+                             | finish with
 *     |              an earlier incarnation left)  |   |                                                | tool calls
 *     |                                            |   +---- STORING_RESULTS <- RUNNING_TOOLS <- STORING_ANSWER
 *     |  stored, or could not be                   |                                 | cancel
 *   ENDING <------- from every state behind STORING_PROMPT <------------------- CANCELLING (tools are ending)
 *
 * Threads:    the session's turn.   Blocks: never.
 * Answers:    `epoch` grows with each move; a continuation that was made for an older one is stale and does nothing.
 * Cancel:     in ENDING: nothing more. In STORING_* and RECOVERING: noted, the store's answer then leads to ENDING. In
 *             RUNNING_TOOLS: CANCELLING. Elsewhere: ENDING at once. An interrupt (the node stops) is a cancel with
 *             another outcome.
 * Invariant:  see turn_check; checked at every move. A move that is not in the table fails the session (a bug of ours).
 */
#ifndef ACTORS_SESSION_TURN_H
#define ACTORS_SESSION_TURN_H

#include "actors/session/history.h"
#include "actors/session/session.h"
#include "actors/session/tools.h"

#define TURN_STATES(S)                                                  \
	S(IDLE, B(STORING_PROMPT))                                          \
	S(STORING_PROMPT, B(LOADING) | B(RECOVERING) | B(ENDING) | B(IDLE)) \
	S(RECOVERING, B(STORING_PROMPT) | B(IDLE))                          \
	S(LOADING, B(ROUTING) | B(ENDING))                                  \
	S(ROUTING, B(ASKING) | B(ENDING))                                   \
	S(ASKING, B(STREAMING) | B(WAITING) | B(ENDING))                    \
	S(STREAMING, B(STORING_ANSWER) | B(WAITING) | B(ENDING))            \
	S(WAITING, B(ROUTING) | B(ENDING))                                  \
	S(STORING_ANSWER, B(RUNNING_TOOLS) | B(ENDING))                     \
	S(RUNNING_TOOLS, B(STORING_RESULTS) | B(CANCELLING) | B(ENDING))    \
	S(STORING_RESULTS, B(ROUTING) | B(ENDING))                          \
	S(CANCELLING, B(ENDING))                                            \
	S(ENDING, B(IDLE))

enum turn_state {
#define S(name, moves) TURN_##name,
	TURN_STATES(S)
#undef S
};

/* A request to a model that is under way (request[0] != 0), and what came of it. */
struct model_call {
	char request[37];
	char *peer; /* PeerId; NULL: this node */
	char *name; /* "provider/<name>" */
	char *model;
	struct qmt_ref monitored;
	uint64_t seq;         /* of the last chunk */
	uint64_t last_ms;     /* when it came, or when the model was asked */
	uint64_t piece_bytes; /* of tool calls, so far */
	struct qmt_timer watchdog;
	/* outlive the request */
	struct qmt_buf text, reasoning;
	struct qmt_timer checkpoint;
	uint64_t checkpoint_ms; /* when the last one was sent */
	bool checkpoint_sent;   /* it is not answered yet */
};

/* A request that was given up; its cancel may have been lost (a full link takes no more). */
struct closed_call {
	char request[37];
	char *peer, *name; /* as in model_call */
	uint64_t sent_ms;  /* the last cancel */
	bool lost;         /* it came back: to be sent again */
};
enum { CLOSED_CALLS = 4 }; /* of that many the cancel can be sent again: a turn has one call open, retries are few */

/* One tool call of the answer. */
struct tool_run {
	const struct chat_tool_call *call; /* in the history */
	bool started, ended;
	bool reads_only;
	bool has_child;
	struct qmt_child child;
	struct qmt_buf result;
	bool is_error;
};

struct tool_batch {
	uint64_t id; /* which; calls of an older one are stale */
	struct tool_run *runs;
	uint32_t count, next, running;
	bool alone; /* the one that runs tolerates no other beside it */
	struct qmt_timer grace;
};

struct turn {
	enum turn_state state;
	uint64_t epoch;
	/* the prompt */
	uint64_t trace; /* what came with it, or made of its request id: set while anything is done for this turn */
	struct qmt_msg *prompt_msg;
	const struct session_prompt *prompt;
	uint64_t number; /* 0: not stored yet */
	bool cancel, recovered;
	bool interrupt; /* of a turn that is cancelled: because the node stops */
	struct qmt_token prompts[SESSION_WAITERS], cancels[SESSION_WAITERS];
	uint32_t prompt_count, cancel_count;
	struct qmt_ref watchers[SESSION_WATCHERS];
	uint32_t watcher_count;
	/* the work */
	struct history history;
	uint32_t loaded; /* messages of the history that were there before this turn's answers */
	struct model_call call;
	struct tool_batch batch;
	struct qmt_timer wait; /* for a retry */
	uint32_t steps, retries;
	uint64_t visible_bytes; /* of the text that watchers were told */
	struct chat_usage usage;
	char finish[32];
	/* the end */
	const char *outcome;
	uint32_t fail;
	char kind[48];
	char text[QMT_ERR_TEXT];
	uint64_t retry_after_ms;
};

struct session {
	const struct session_config *config;
	struct turn turn;
	bool stopping;         /* the node is: no turn begins any more */
	struct qmt_timer idle; /* runs while there is no turn */
	uint64_t batches;      /* ids given so far */
	struct closed_call closed[CLOSED_CALLS];
	uint32_t closed_next;
	struct qmt_timer recancel;  /* runs while one of them is lost */
	struct tool_call *children; /* calls that wait for a child process */
	struct chat_tool *offers;   /* for the model */
	uint32_t offer_count;
};

struct session_config {
	char *id, *agent, *cwd, *owner, *system, *parameters;
	bool refuses_tools; /* the owner is a peer and may not run tools here */
	uint64_t tools;     /* bit i: tool_at(i) is allowed */
	struct session_limits limits;
};

/* ---- turn.c: states, prompt, end --------------------------------------------------------------------------------- */
void turn_move(struct qmt_ctx *ctx, struct session *s, enum turn_state to);
void turn_on_prompt(struct qmt_ctx *ctx, void *state, const void *body);
void turn_on_cancel(struct qmt_ctx *ctx, void *state, const void *body);
void turn_on_interrupt(struct qmt_ctx *ctx, void *state, const void *body);
void turn_on_down(struct qmt_ctx *ctx, struct session *s, struct qmt_ref who);
/* Ends the turn, from any state in which it is stored. outcome: complete, cancelled, failed, limit. */
void turn_end(struct qmt_ctx *ctx, struct session *s, const char *outcome, int fail, const char *kind,
	uint64_t retry_after_ms, const char *format, ...) QMT_PRINTF(7, 8);
/* As cancelled, or as interrupted. */
void turn_end_cancelled(struct qmt_ctx *ctx, struct session *s);
/* As a failure of the store. what: "the answer could not be stored". */
void turn_store_failed(struct qmt_ctx *ctx, struct session *s, const struct qmt_result *result, const char *what);
/* There is no turn: from now on the session may leave memory. */
void turn_await(struct qmt_ctx *ctx, struct session *s);
/* Frees all that a turn holds, for stop. */
void turn_drop(struct qmt_ctx *ctx, struct session *s);
/* From here to the end of this call it is work of the turn. For what comes with no trace, or one of its own: timers,
 * the pieces of an answer, a cancel. */
static inline void turn_trace(struct qmt_ctx *ctx, const struct session *s)
{
	if (s->turn.trace && qmt_trace(ctx) != s->turn.trace)
		qmt_trace_set(ctx, s->turn.trace);
}
/* True when a continuation that got turn_arg() still belongs to what is awaited. */
static inline void *turn_arg(const struct session *s)
{
	return (void *)(uintptr_t)s->turn.epoch;
}
static inline bool turn_is_now(const struct session *s, const void *arg)
{
	return (uintptr_t)arg == (uintptr_t)s->turn.epoch;
}

/* ---- turn_model.c: the request to the model, its stream, retries ------------------------------------------------- */
/* Makes a new step: asks the router, then the model. From LOADING and STORING_RESULTS. */
void model_step(struct qmt_ctx *ctx, struct session *s);
void model_on_chunk(struct qmt_ctx *ctx, void *state, const void *body);
void model_on_finish(struct qmt_ctx *ctx, void *state, const void *body);
void model_on_down(struct qmt_ctx *ctx, struct session *s, struct qmt_ref who, int reason);
void model_on_undelivered(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body, int reason);
/* Forgets the request; cancel: also tells the provider to end it. What came so far stays. */
void model_close(struct qmt_ctx *ctx, struct session *s, bool cancel);
void model_fini(struct session *s); /* for stop */

/* ---- turn_tools.c: the calls of an answer ------------------------------------------------------------------------ */
/* Runs the calls of the last message of the history. Moves to RUNNING_TOOLS. */
void tools_start(struct qmt_ctx *ctx, struct session *s);
/* Ends what runs; moves to CANCELLING. */
void tools_cancel(struct qmt_ctx *ctx, struct session *s);
void tools_free(struct qmt_ctx *ctx, struct session *s);
/* The results of the calls, in their order, missing ones made up, go to the history. 0 or -ENOMEM. */
QMT_MUST_CHECK int tools_results(struct session *s);

/* ---- turn_tell.c: what watchers get ------------------------------------------------------------------------------ */
void tell_watch(struct session *s, struct qmt_ref watcher);
/* The turn's visible text from byte `shown` on, to one watcher that joins late. */
void tell_again(struct qmt_ctx *ctx, struct session *s, struct qmt_ref watcher, uint64_t shown);
void tell_delta(struct qmt_ctx *ctx, struct session *s, struct qmt_str text, struct qmt_str reasoning);
void tell_notice(struct qmt_ctx *ctx, struct session *s, const char *level, const char *format, ...) QMT_PRINTF(4, 5);
void tell_tool(struct qmt_ctx *ctx, struct session *s, const struct chat_tool_call *call, const struct tool_run *ended);
void tell_end(struct qmt_ctx *ctx, struct session *s);

#endif
