/* transports/control_client.h - talk to a running qmtd through its control socket, one call after the other.
 *
 * Threads: a client belongs to one thread. Uses czmq, whose context is process-wide: for `qmt`, tools and tests, never
 *          in qmtd. It takes no signal handlers (zsys_handler_set(NULL)).
 * Blocks:  every call that takes a timeout, until it is over, or the wake descriptor is readable.
 * Order:   told messages are kept, in order, until control_client_next takes them; asks may be made in between.
 * Limits:  CONTROL_QUEUE_BYTES of told messages that nobody has taken; beyond, the client gives up (-ENOBUFS).
 * Gate:    the same HELLO and envelopes as between nodes, with an identity made for this one connection. The socket's
 *          file mode is what makes the caller the owner.
 */
#ifndef TRANSPORTS_CONTROL_CLIENT_H
#define TRANSPORTS_CONTROL_CLIENT_H

#include "proto/contract/contract.h"
#include "runtime/actor.h"

struct control_client;

enum { CONTROL_TIMEOUT_MS = 5000, CONTROL_QUEUE_BYTES = 64 << 20 };

/* Outcomes of control_client_next; <0 is the environment, in all calls:
 * -ENOENT, -ECONNREFUSED nobody listens there; -EACCES not this user's; -EPIPE the node went away; -ETIMEDOUT no
 * answer; -EINTR the wake descriptor is readable (from ask and open); -EPROTO refused by HELLO; -ENOBUFS; -ENOMEM.
 * err names the socket and, where there is one, the way out. */
enum { CONTROL_E_TIMEOUT = 1, CONTROL_E_WAKE = 2 };

/* path: the socket's file. timeout_ms covers connect and HELLO; 0: CONTROL_TIMEOUT_MS. */
QMT_MUST_CHECK int control_client_open(
	const char *path, uint64_t timeout_ms, int wake_fd, struct control_client **ret_client, struct qmt_err *err);
/* Does not wait. NULL is fine. Returns NULL. Replies and events stay valid. */
struct control_client *control_client_close(struct control_client *client);

/* While fd (-1: none) is readable, calls that wait end early. The caller reads it empty before it goes on. */
void control_client_set_wake(struct control_client *client, int fd);
/* What is sent from now on carries this trace (runtime/actor.h), so that lines in the logs of nodes can be found by
 * it; 0: none. */
void control_client_trace(struct control_client *client, uint64_t trace);
/* Who answers, from HELLO. Valid as long as the client. */
const char *control_client_node_id(const struct control_client *client);
const char *control_client_node_name(const struct control_client *client);

/* What came of an ask, as struct qmt_result. Free with control_reply_free, also after failures ({0} is fine). */
struct control_reply {
	int fail;                    /* 0, or enum qmt_fail as the node said it */
	const struct qmt_type *type; /* when fail == 0 */
	const void *body;            /* struct of that type */
	struct qmt_str kind, text;   /* when fail != 0; may be empty */
	uint64_t retry_after_ms;
	void *memory; /* what the pointers above point into */
};

/* Asks the actor registered as `name`. 0: a reply (ret_reply->fail == 0). > 0: ret_reply->fail, and err holds the
 * node's text ("not found: no session 'x'"). <0: no answer; *ret_reply is empty. timeout_ms 0: CONTROL_TIMEOUT_MS; it
 * is the ask's deadline on the node too. */
QMT_MUST_CHECK int control_client_ask(struct control_client *client, const char *name, const struct qmt_type *type,
	const void *body, uint64_t timeout_ms, struct control_reply *ret_reply, struct qmt_err *err);
#define CONTROL_ASK(client, name, timeout_ms, ret_reply, err, msg, ...) \
	control_client_ask(client, name, &msg##_type, &(struct msg){__VA_ARGS__}, timeout_ms, ret_reply, err)
/* Queues a tell to the actor registered as `name`; sent when this returns 0. */
QMT_MUST_CHECK int control_client_tell(struct control_client *client, const char *name, const struct qmt_type *type,
	const void *body, struct qmt_err *err);
void control_reply_free(struct control_reply *reply);

/* A fresh ref that stands for this client: put it into a message (a field of kind REF, e.g. node.prompt's watcher).
 * What is told to it comes out of control_client_next with the same `to`. Meaningful only in calls with this client. */
struct qmt_ref control_client_watch(struct control_client *client);

struct control_event {
	struct qmt_ref to;           /* from control_client_watch */
	const struct qmt_type *type; /* a message of any contract protocol */
	const void *body;
	void *memory;
};

/* The next told message. 0; CONTROL_E_TIMEOUT after timeout_ms (UINT64_MAX: wait for ever, 0: only look);
 * CONTROL_E_WAKE; <0. */
QMT_MUST_CHECK int control_client_next(
	struct control_client *client, uint64_t timeout_ms, struct control_event *ret_event, struct qmt_err *err);
void control_event_free(struct control_event *event);

#endif
