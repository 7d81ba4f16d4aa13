/* test/lib/session_world.h - one session among fake neighbours: store, router, providers, a link to a peer, a client.
 *
 * Two modes: seeded (virtual clock, one thread, no children) and real. Everything is asked of the client actor and its
 * view comes back as text lines, so that a test reads what a user would see:
 *   prompted 1 running [dup] · refused CODE KIND: TEXT · cancelled true · delta OFFSET TEXT · thinks TEXT · tool NAME
 *   started · tool NAME finished [error] RESULT · notice TEXT · end OUTCOME FINISH STEPS [CODE KIND: TEXT]
 * A script says what a provider does with the next request; parts are separated by '|':
 *   text:T  think:T  piece:N (N bytes of a tool call's arguments)  call:ID:NAME:JSON (for the finish)  finish:REASON
 *   error:KIND:RETRY_MS:TEXT (a finish)  refuse:FAIL:KIND:RETRY_MS:TEXT (instead of accepted)  wait:MS  gap  die
 *   early (the next pieces come before accepted)
 * A script without finish or error stays open. Without a script: the provider answers "ok".
 */
#ifndef TEST_SESSION_WORLD_H
#define TEST_SESSION_WORLD_H

#include <pthread.h>

#include "actors/session/history.h"
#include "actors/session/session.h"
#include "runtime/system.h"

enum { WORLD_SCRIPTS = 64, WORLD_TURNS = 16 };

struct world_turn {
	char request[64];
	char state[16];
};

struct world {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool seeded;
	struct qmt_system *sys;
	struct qmt_ctx *out;
	struct qmt_ref session, client, store, provider, router, link;
	struct session_agent agent;
	struct store_session record;
	struct session_config *config;

	/* what the client saw */
	struct qmt_buf log;
	/* the store: what is in it */
	struct history history;
	struct world_turn turns[WORLD_TURNS];
	uint32_t turn_count, checkpoints, ends, appends;
	struct qmt_buf checkpoint;
	/* faults: of the messages called so (store.append, …) the next are failed, or handled only after delay_ms */
	const char *fail_message, *delay_message;
	uint32_t fail_count, page; /* page: messages in a page of history, 0: all */
	uint64_t delay_ms;
	/* the router */
	bool route_peer;
	int route_fail;
	/* the provider */
	const char *scripts[WORLD_SCRIPTS];
	uint32_t script_count, script_next;
	uint32_t chats, cancels;
	uint32_t busy, deaf;         /* so many cancels does the link refuse as busy; so many does the provider not hear */
	struct qmt_buf last_request; /* the conversation of the last chat, as lines "role: content" */
	struct qmt_buf last_tools;   /* names of its tools */
	char last_peer_name[64];     /* where the link was asked to deliver it */
	uint32_t ok_count;
};

/* agent may be changed between new and start. cwd: absolute, kept. */
struct world *world_new(bool seeded, const char *cwd);
void world_start(struct world *w);
void world_free(struct world *w);

void world_script(struct world *w, const char *script);
void world_prompt(struct world *w, const char *request, const char *text);
/* The same by who has seen the first `shown` bytes. */
void world_prompt_again(struct world *w, const char *request, const char *text, uint64_t shown);
void world_cancel(struct world *w, uint64_t turn);
void world_cancel_request(struct world *w, const char *request);
/* The node stops. */
void world_interrupt(struct world *w);
/* Seeded: runs for ms of virtual time. */
void world_run(struct world *w, uint64_t ms);
/* Until `part` was in the client's log `times` times (deadline: 20 s, virtual 2 h). Fails the test otherwise. */
void world_wait(struct world *w, const char *part, uint32_t times);
/* The log since the last call; in one of two rooms. */
const char *world_log(struct world *w);
/* What the store holds: "role: content [calls name(args)] [result-of id]" lines and "turn N STATE". */
const char *world_stored(struct world *w);
/* Ends the provider (it is not started again), the link, the client. */
void world_stop_actor(struct world *w, struct qmt_ref who);
void world_start_provider(struct world *w);
void world_start_client(struct world *w);

#endif
