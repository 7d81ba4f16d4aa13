/* actors/session/session.h - a conversation as an actor: prompts, turns, tools.
 *
 * Threads:   an actor, registered as "session/<id>" by who spawns it.   Blocks: never; tools run as jobs and children.
 * Contract:  proto/contract/session.def. Uses store, router and provider/<name> (or the same name on a peer) by their
 *            contracts.
 * Order:     one turn at a time; a prompt meanwhile is refused ("busy"). A prompt whose request id was taken before is
 *            answered with that turn and never run again; while that turn runs its watcher gets the events too.
 * Kept:      `prompted` is answered after the commit of the prompt, turn_end is told after the commit of the end. An
 *            answer with tool calls is committed before its tools run, their results in one commit before the model is
 *            asked again.
 * Cancel:    is answered when the turn has ended; upstream is told at once, tools are killed. session.interrupt does
 *            the same because the node stops; what was said so far is stored.
 * Watchers:  at most max_watchers; one that goes away does not end the turn.
 * Idle:      without a turn for idle_minutes it ends by itself; who has its name may meet it while it does.
 * Limits:    session_params.def.
 * Failure:   whatever fails (store, router, provider, tool) ends the turn with a class and a text, never the session.
 *            A turn that an earlier incarnation left running is ended as interrupted before the next prompt.
 */
#ifndef ACTORS_SESSION_SESSION_H
#define ACTORS_SESSION_SESSION_H

#include "actors/session/session_limits.h"
#include "proto/contract/contract.h"
#include "runtime/actor.h"

enum { SESSION_WATCHERS = 64 /* largest max_watchers */, SESSION_WAITERS = 16 };

/* What the configuration says of an agent's sessions. */
struct session_agent {
	const char *system;       /* NULL: no system message */
	const char *const *tools; /* allow-list, closed by NULL; NULL: no tools */
	const char *parameters;   /* JSON object of further request members; may be NULL */
	bool allow_remote_tools;  /* [mesh] allow_remote_tools */
	struct session_limits limits;
};

/* config of session_desc: borrowed until the actor has ended. */
struct session_config;
/* Copies what it needs. Of a session that a peer owns, tools are on only if both the session and the agent say so.
 * NULL and err: a tool that does not exist, a limit out of range, a cwd that is not absolute, no memory. */
struct session_config *session_config_new(
	const struct store_session *session, const struct session_agent *agent, struct qmt_err *err);
struct session_config *session_config_free(struct session_config *config);

extern const struct qmt_actor_desc session_desc;

#endif
