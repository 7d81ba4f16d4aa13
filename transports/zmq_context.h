/* transports/zmq_context.h - a ZeroMQ context with its ZAP handler, and what every socket of ours has in common.
 *
 * Threads: open and free from one thread; socket and close from any. A socket itself belongs to one owner at a time;
 *          handing an actor from worker to worker is the fence that libzmq asks for.
 * Blocks:  free, until its deadline; the rest never (LINGER is 0 everywhere).
 * ZAP:     one handler per context, ready before the first bind. It admits every CURVE key and makes it the User-Id of
 *          the connection's messages (z85); anything but CURVE is refused. libzmq would admit everybody if none
 *          answered.
 * Invariant: a socket made here is closed by zcontext_close, or at the latest by zcontext_free.
 */
#ifndef TRANSPORTS_ZMQ_CONTEXT_H
#define TRANSPORTS_ZMQ_CONTEXT_H

#include "runtime/base/bytes.h"
#include "runtime/base/err.h"
#include "transports/transports.h"

enum { ZCONTEXT_USER_ID = 40 }; /* z85 of a CURVE key */

struct zcontext;

QMT_MUST_CHECK int zcontext_open(struct zcontext **ret_context, struct qmt_err *err);
/* 0, or -ETIMEDOUT when libzmq did not let go in time (it is left behind, err says so). NULL is fine. */
int zcontext_free(struct zcontext *context, uint64_t deadline_ms, struct qmt_err *err);

/* A socket with our options: LINGER 0, high-water marks, MAXMSGSIZE, HANDSHAKE_IVL, IPv6. NULL and err. */
void *zcontext_socket(struct zcontext *context, int type, const struct transports_limits *limits, struct qmt_err *err);
/* A PAIR that receives the events of `socket`. NULL and err. */
void *zcontext_monitor(struct zcontext *context, void *socket, struct qmt_err *err);
void zcontext_close(struct zcontext *context, void *socket); /* NULL is fine */
/* A socket and its monitor, in the order that does not stop the I/O thread. Either may be NULL. */
void zcontext_close_both(struct zcontext *context, void *socket, void *monitor);

/* One event of a monitor, without waiting. */
struct zevent {
	uint16_t event; /* ZMQ_EVENT_* */
	uint32_t value; /* descriptor, or errno, or ZMQ_PROTOCOL_ERROR_* */
};
bool zevent_next(void *monitor, struct zevent *ret_event);
/* Why a connection ended or never came to be, in words. */
void zevent_text(const struct zevent *event, char ret_text[128]);

int zsocket_fd(void *socket);          /* ZMQ_FD, -1: error */
uint32_t zsocket_events(void *socket); /* ZMQ_EVENTS; looks at all pending commands */

/* The 32 bytes of a User-Id. false: not one. */
bool zcontext_user_key(const char *user_id, uint8_t ret_key[32]);

#endif
