/* actors/provider/curl_loop.h - HTTP transfers inside an actor: libcurl's multi socket interface on the actor's own
 * turns.
 *
 * Threads: belongs to one actor; every call and callback is on its turn. No thread of ours (libcurl may use one of its
 *          own to look a host name up).
 * Blocks:  never. Nothing polls: sockets are watched by qmt_fd_watch, libcurl's one timer is a qmt_timer.
 * Order:   `done` comes once for each added transfer that was not removed, never from inside curl_loop_add or _remove.
 * Limits:  connections kept open for another use: as given to curl_loop_new.
 * Callbacks of a transfer (write, header) run inside libcurl: there curl_loop_ctx is valid, and transfers must not be
 * removed.
 */
#ifndef PROVIDER_CURL_LOOP_H
#define PROVIDER_CURL_LOOP_H

#include "curl_api.h"
#include "runtime/actor.h"

struct curl_loop;

/* The transfer is out of the loop and is the receiver's to clean up, or to add again. */
typedef void curl_loop_done_fn(
	struct qmt_ctx *ctx, void *state, const struct curl_api *curl, CURL *easy, CURLcode result);

/* NULL and err: out of memory, or no libcurl. state: of the actor, for done. */
struct curl_loop *curl_loop_new(
	struct qmt_ctx *ctx, void *state, uint32_t idle_connections, curl_loop_done_fn *done, struct qmt_err *err);
/* Transfers must have been removed. Closes all connections. NULL is fine. */
void curl_loop_free(struct qmt_ctx *ctx, struct curl_loop *loop);
/* Starts a transfer. 0 or -ENOMEM. */
QMT_MUST_CHECK int curl_loop_add(struct qmt_ctx *ctx, struct curl_loop *loop, CURL *easy);
/* Ends a transfer at once: a connection with an unfinished answer is closed. Not inside a callback of libcurl. */
void curl_loop_remove(struct qmt_ctx *ctx, struct curl_loop *loop, CURL *easy);
/* libcurl, as long as the loop lives. */
const struct curl_api *curl_loop_api(const struct curl_loop *loop);
/* The context of the turn that runs, for callbacks of transfers. */
struct qmt_ctx *curl_loop_ctx(const struct curl_loop *loop);

#endif
